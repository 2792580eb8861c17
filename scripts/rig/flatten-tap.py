#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""flatten-tap.py BOOT COUNT-FILE STATUS-FILE - the output of guest-tests.sh on
stdin becomes one list of numbered TAP results on stdout, as it comes.

Each result is named after its boot and its test. Numbering goes on from the
number in COUNT-FILE, and is left there. A test that gives no results, or ends
otherwise than its results say, is a failed one; so is the boot, if the status
in STATUS-FILE (written before stdin ends) is not 0.
"""

from __future__ import annotations

import re
import signal
import sys
import time
from pathlib import Path

SKIPPED = 4
_IGNORED = re.compile(r"TAP version|\d+\.\.\d+$|# Totals|# Planned tests")


class Flattener:
    def __init__(self, boot: str, count: int) -> None:
        self.boot = boot
        self.count = count
        self.test = ""  # "": between two tests
        self.results = 0
        self.failed = 0
        self.skipped = 0
        self.reason = ""
        self.begun = 0.0

    def result(self, passed: bool, what: str) -> None:
        self.count += 1
        print(f"{'ok' if passed else 'not ok'} {self.count} - {self.boot}: {what}", flush=True)

    def line(self, line: str) -> None:
        if found := re.match(r"rig: begin (\S+)", line):
            self.test = found[1]
            self.results = self.failed = self.skipped = 0
            self.reason = ""
            self.begun = time.monotonic()
        elif found := re.match(r"rig: end (\d+)", line):
            self.end(int(found[1]))
        elif found := re.match(r"1\.\.0 # SKIP (.*)", line):
            self.reason = found[1]
        elif found := re.match(r"(not )?ok \d+ (?:- )?(.*)", line):
            self.results += 1
            self.failed += bool(found[1])
            self.skipped += "# SKIP" in found[2]
            self.result(not found[1], f"{self.test}: {found[2]}")
        elif line and not _IGNORED.match(line):
            print(line if line.startswith("#") else f"# {line}", flush=True)

    def end(self, status: int) -> None:
        if status == SKIPPED and not self.results:
            self.result(True, f"{self.test} # SKIP {self.reason}")
        elif status == SKIPPED and self.skipped and not self.failed:
            pass  # ksft_exit_skip() in the middle has said so
        elif status and not self.failed:
            self.result(False, f"{self.test}: {ended(status)}")
        elif not self.results:
            self.result(False, f"{self.test}: gave no result")
        print(f"# {self.test} took {time.monotonic() - self.begun:.0f} s", flush=True)
        self.test = ""


def ended(status: int) -> str:
    """How a test ended that has not told itself; tests set an alarm for when they hang."""
    if status - 128 == signal.SIGALRM:
        return "hung, until its alarm"
    if 128 < status <= 128 + signal.NSIG:
        return f"was killed by signal {status - 128}"
    return f"ended with status {status}"


def main() -> None:
    boot, count_file, status_file = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    flattener = Flattener(boot, int(count_file.read_text()))
    for line in sys.stdin:
        flattener.line(line.rstrip("\n"))
    status = status_file.read_text().strip()
    if flattener.test:
        flattener.result(False, f"{flattener.test}: did not end")
    flattener.result(status == "0", "the guest ends well")
    count_file.write_text(f"{flattener.count}\n")


if __name__ == "__main__":
    main()
