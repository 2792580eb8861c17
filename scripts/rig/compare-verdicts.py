#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What the kernel's own selftests said in a guest, against what is expected.

    compare-verdicts.py NAME VERDICTS LOG           TAP on stdout: a line for each
                                                    result that VERDICTS expects
                                                    to pass
    compare-verdicts.py --list VERDICTS LOG...      write VERDICTS from the LOGs

A LOG is the output of guest-conformance.sh, one boot after the other. A test
has a result for each case it reports, in TAP, as `PASS: case` or as
`TEST: case [ OK ]`, and one of its own, by its exit status.

A line of VERDICTS is `VERDICT TEST` or `VERDICT TEST: CASE`, and perhaps
` # reason`. The verdict is "pass" if the result passed in all LOGs, "fail" or
"skip" if it did so in all of them, and else "unsteady". Only the first kind is
asserted. --list keeps the reasons of lines whose verdict is as before.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

PASS, FAIL, SKIP, UNSTEADY = "pass", "fail", "skip", "unsteady"

_SKIPPED = 4
_TIMED_OUT = 124

_TAP = re.compile(r"\s*(not )?ok \d+ (?:- )?(.*)")
_WORD = re.compile(r"\s*(PASS|FAIL|SKIP): (.*)")
_BRACKETS = re.compile(r"\s*TEST: (.*?)\s*\[\s*(OK|FAIL|SKIP|XFAIL)\s*\]")
_BY_WORD = {"PASS": PASS, "OK": PASS, "FAIL": FAIL, "SKIP": SKIP, "XFAIL": SKIP}
# What differs from run to run: names of namespaces, as lib.sh's setup_ns makes
# them, counters, and times.
_VARIABLE = ((re.compile(r"\b(ns\w*)-[A-Za-z0-9]{6}\b"), r"\1"), (re.compile(r"\d+ => \d+"), "N => N"),
             (re.compile(r":? min=\d.*"), ""))


@dataclass
class Log:
    """The verdict on each result, by its name, in the order of the log."""

    verdicts: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, int] = field(default_factory=dict)  # by test

    def add(self, name: str, verdict: str, reason: str = "") -> None:
        unique, number = name, 1
        while unique in self.verdicts:
            number += 1
            unique = f"{name} ({number})"
        self.verdicts[unique] = verdict
        self.reasons[unique] = reason


def case(line: str) -> tuple[str, str, str] | None:
    """Name, verdict and reason, if this line reports a case."""
    if found := _TAP.match(line):
        name, _, remark = found[2].partition("#")
        verdict = SKIP if remark.strip().upper().startswith("SKIP") else FAIL if found[1] else PASS
        # kselftest_harness: name # SKIP reason; mptcp: name # time=12ms
        reason = re.sub(r"^\s*SKIP\s*", "", remark, flags=re.IGNORECASE) if verdict == SKIP else ""
    elif found := _BRACKETS.match(line):
        name, verdict, reason = found[1], _BY_WORD[found[2]], ""
    elif found := _WORD.match(line):
        name, verdict, reason = found[2], _BY_WORD[found[1]], ""
    else:
        return None
    for pattern, constant in _VARIABLE:
        name = pattern.sub(constant, name)
    return " ".join(name.split()), verdict, reason.strip()


def read(path: Path) -> Log:
    log = Log()
    test = ""
    for line in path.read_text(errors="replace").splitlines():
        if found := re.match(r"rig: begin (.*)", line):
            test = found[1]
        elif found := re.match(r"rig: end (\d+) (\d+)", line):
            status = int(found[1])
            log.seconds[test] = int(found[2])
            verdict = PASS if not status else SKIP if status == _SKIPPED else FAIL
            reason = "" if not status else "timed out" if status == _TIMED_OUT else f"exit status {status}"
            log.add(test, verdict, reason)
            test = ""
        elif found := re.match(r"rig: guest (\d+)", line):
            if test:
                log.add(test, FAIL, "did not end")
            test = ""
            if found[1] != "0":
                log.add("guest", FAIL, f"exit status {found[1]}")
        elif test and (result := case(line)):
            name, verdict, reason = result
            log.add(f"{test}: {name}", verdict, reason)
    return log


@dataclass
class Entry:
    verdict: str
    reason: str


def read_verdicts(path: Path) -> tuple[list[str], dict[str, Entry]]:
    """The comment at the top, and what follows, by name."""
    header: list[str] = []
    entries: dict[str, Entry] = {}
    for line in path.read_text().splitlines():
        if line.startswith("#"):
            header.append(line)
        elif line:
            verdict, _, rest = line.partition(" ")
            name, _, reason = rest.partition(" # ")
            entries[name] = Entry(verdict, reason)
    return header, entries


def write_verdicts(path: Path, logs: list[Log]) -> None:
    header, before = read_verdicts(path)
    names = list(dict.fromkeys(name for log in logs for name in log.verdicts))
    lines = [*header, ""]
    counts = dict.fromkeys((PASS, FAIL, SKIP, UNSTEADY), 0)
    # A test's own result comes after those of its cases; here, before them.
    for name in sorted(names, key=lambda name: (names.index(name.partition(": ")[0]), names.index(name))
                       if name.partition(": ")[0] in names else (len(names), 0)):
        seen = [log.verdicts.get(name, "nothing") for log in logs]
        verdict = seen[0] if len(set(seen)) == 1 else UNSTEADY
        counts[verdict] += 1
        reason = next((log.reasons[name] for log in logs if log.reasons.get(name)), "")
        if verdict == UNSTEADY:
            reason = ", ".join(seen)
        if name in before and before[name].verdict == verdict:
            reason = before[name].reason
        lines.append(f"{verdict} {name}" + (f" # {reason}" if reason and verdict != PASS else ""))
    path.write_text("\n".join(lines) + "\n")
    print(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))


def compare(boot: str, path: Path, log: Log) -> bool:
    """Print TAP; return whether all that has to pass did."""
    _, expected = read_verdicts(path)
    number = failed = 0
    ran = {name.partition(": ")[0] for name in log.verdicts}
    if log.verdicts.get("guest"):
        ran |= {name.partition(": ")[0] for name in expected}
    print("TAP version 13")
    for name, entry in expected.items():
        if entry.verdict != PASS or name.partition(": ")[0] not in ran:
            continue
        number += 1
        verdict = log.verdicts.get(name, "no result")
        failed += verdict != PASS
        print(f"{'ok' if verdict == PASS else 'not ok'} {number} - {boot}: {name}")
        if verdict != PASS:
            reason = log.reasons.get(name)
            print(f"# {verdict}{f' ({reason})' if reason else ''} here, pass on the list")
    for name, verdict in log.verdicts.items():
        known = expected.get(name)
        if verdict == PASS and (known is None or known.verdict != PASS):
            print(f"# {name}: passes, and is {f'{known.verdict!r} on' if known else 'not on'} the list")
        elif known is None:
            print(f"# {name}: {verdict}, and is not on the list")
    number += 1
    print(f"{'not ok' if 'guest' in log.verdicts else 'ok'} {number} - {boot}: the guests end well")
    print(f"1..{number}")
    return not failed and "guest" not in log.verdicts


def main() -> None:
    if len(sys.argv) >= 4 and sys.argv[1] == "--list":
        write_verdicts(Path(sys.argv[2]), [read(Path(name)) for name in sys.argv[3:]])
    elif len(sys.argv) == 4:
        sys.exit(not compare(sys.argv[1], Path(sys.argv[2]), read(Path(sys.argv[3]))))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
