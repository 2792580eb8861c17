#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What the kernel's own selftests said in a guest, against what is expected.

    compare-verdicts.py BOOT VERDICTS DIFFERENCES LOG
                                                    TAP on stdout: a line for each
                                                    result that VERDICTS expects
                                                    to pass
    compare-verdicts.py --list VERDICTS LOG...      write to VERDICTS what the LOGs have

A LOG is the output of guest-conformance.sh, one boot after the other, each
after the tests that were asked for (`rig: wanted TEST`). A test has a result for
each case it reports, in TAP, as `PASS: case` or as `TEST: case [ OK ]`, and one
of its own, by its exit status. All results of the tests that were asked for
are expected.

A line of VERDICTS is `VERDICT TEST` or `VERDICT TEST: CASE`, and perhaps
` # reason`. The verdict is "pass" if the result passed in all LOGs, "fail" or
"skip" if it did so in all of them, and else "unsteady". Only the first kind is
asserted. --list keeps the reasons of lines whose verdict is as before, and all lines
of tests that the LOGs do not have.

A line of DIFFERENCES, `ORGANISATION VERDICT RESULT`, is about a result that is
"pass" in VERDICTS: in this organisation, BOOT's first word, it has to be VERDICT
instead, or to pass or fail if that is "unsteady". Why is in the comment above (justified.py).
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from rig import ORGS, RigError, justified, program  # noqa: E402

PASS, FAIL, SKIP, UNSTEADY = "pass", "fail", "skip", "unsteady"
# Of a test that did not come to its end, or not to this case.
NOTHING = "no result"

_SKIPPED = 4
_TIMED_OUT = 124

_TAP = re.compile(r"\s*(not )?ok \d+ (?:- )?(.*)")
_WORD = re.compile(r"\s*(PASS|FAIL|SKIP): (.*)")
_BRACKETS = re.compile(r"\s*TEST: (.*?)\s*\[\s*(OK|FAIL|SKIP|XFAIL)\s*\]")
_BY_WORD = {"PASS": PASS, "OK": PASS, "FAIL": FAIL, "SKIP": SKIP, "XFAIL": SKIP}
# What differs from run to run: names of namespaces, as lib.sh's setup_ns makes
# them, counters, times, descriptors, which of several ICMP errors came first, and
# how often TCP-AO's tracepoints were seen.
_VARIABLE = tuple((re.compile(pattern), constant) for pattern, constant in (
    (r"\b(ns\w*)-[A-Za-z0-9]{6}\b", r"\1"), (r"\d+ => \d+", "N => N"), (r":? min=\d.*", ""),
    (r"\b(delivered|ignored) \d+", r"\1 N"), (r"(sk\[\d+\]) = \d+", r"\1"), (r"(Server failed) with -.*", r"\1"),
    (r"(Trace events matched expectations): .*", r"\1")))


def test_of(name: str) -> str:
    return name.partition(": ")[0]


@dataclass
class Log:
    """The verdict on each result, by its name, in the order of the log."""

    verdicts: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, int] = field(default_factory=dict)  # by test
    wanted: list[str] = field(default_factory=list)  # tests

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
        if found := re.match(r"rig: wanted (.*)", line):
            log.wanted.append(found[1])
        elif found := re.match(r"rig: begin (.*)", line):
            test = found[1]
        elif found := re.match(r"rig: end (\d+) (\d+)", line):
            status = int(found[1])
            log.seconds[test] = int(found[2])
            verdict = {0: PASS, _SKIPPED: SKIP, _TIMED_OUT: NOTHING}.get(status, FAIL)
            reason = "" if not status else "timed out" if status == _TIMED_OUT else f"exit status {status}"
            log.add(test, verdict, reason)
            test = ""
        elif found := re.match(r"rig: guest (\d+)", line):
            if test:
                log.add(test, NOTHING, "did not end")
            test = ""
            if found[1] != "0":
                log.add("guest", FAIL, f"exit status {found[1]}")
        elif test and (result := case(line)):
            name, verdict, reason = result
            log.add(f"{test}: {name}", verdict, reason)
    for test in log.wanted:
        if test not in log.verdicts:
            log.add(test, NOTHING, "did not run")
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
    if any("guest" in log.verdicts for log in logs):
        raise RigError(f"a guest did not end well: {path} is left as it was")
    header, before = read_verdicts(path)
    names = list(dict.fromkeys(name for log in logs for name in log.verdicts))
    asked = set(map(test_of, names))
    entries = {name: entry for name, entry in before.items() if test_of(name) not in asked}
    # Tests as they were, and then new ones; the cases of each as the logs have them.
    tests = list(dict.fromkeys(map(test_of, [*before, *names])))
    places = {name: (tests.index(test_of(name)), place) for place, name in enumerate([*entries, *names])}
    for name in names:
        seen = [log.verdicts.get(name, NOTHING) for log in logs]
        verdict = seen[0] if len(set(seen)) == 1 and seen[0] != NOTHING else UNSTEADY
        reason = next((log.reasons[name] for log in logs if log.reasons.get(name)), "")
        if verdict == UNSTEADY:
            reason = ", ".join(seen)
        if name in before and before[name].verdict == verdict:
            reason = before[name].reason
        entries[name] = Entry(verdict, reason if verdict != PASS else "")
    lines = [f"{entry.verdict} {name}" + (f" # {entry.reason}" if entry.reason else "")
             for name, entry in sorted(entries.items(), key=lambda item: places[item[0]])]
    path.write_text("\n".join([*header, "", *lines]) + "\n")
    verdicts = [entry.verdict for entry in entries.values()]
    print(", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in (PASS, FAIL, SKIP, UNSTEADY)))


def read_differences(path: Path, expected: dict[str, Entry]) -> dict[str, dict[str, str]]:
    """The verdicts that are expected instead, by organisation and name."""
    found: dict[str, dict[str, str]] = {org: {} for org in ORGS}
    for line in justified.read(path):
        org, _, rest = line.partition(" ")
        verdict, _, name = rest.partition(" ")
        if org not in found or verdict not in (FAIL, SKIP, UNSTEADY):
            raise RigError(f"{path}: expected ORGANISATION {FAIL}|{SKIP}|{UNSTEADY} RESULT: {line}")
        if name not in expected or expected[name].verdict != PASS:
            raise RigError(f"{path}: this does not pass on stock: {line}")
        found[org][name] = verdict
    return found


def compare(boot: str, verdicts: Path, differences: Path, log: Log) -> bool:
    """Print TAP; return whether all that has to pass did."""
    _, expected = read_verdicts(verdicts)
    known = read_differences(differences, expected).get(boot.partition(" ")[0], {})
    number = failed = 0
    print("TAP version 13")
    for name, entry in expected.items():
        if entry.verdict != PASS or test_of(name) not in log.wanted:
            continue
        number += 1
        verdict = log.verdicts.get(name, NOTHING)
        reason = f" ({log.reasons[name]})" if log.reasons.get(name) else ""
        wanted = known.get(name, PASS)
        if verdict == wanted or wanted == UNSTEADY and verdict in (PASS, FAIL):
            difference = f" # known difference: {verdict}{reason}, pass on stock" if verdict != PASS else ""
            print(f"ok {number} - {boot}: {name}{difference}")
        else:
            failed += 1
            print(f"not ok {number} - {boot}: {name}")
            print(f"# {verdict}{reason} here, pass on stock"
                  + (f", {known[name]} by {differences.name}" if name in known else ""))
    for name, verdict in log.verdicts.items():
        listed = expected.get(name)
        if verdict == PASS and (listed is None or listed.verdict != PASS):
            print(f"# {name}: passes, and is {f'{listed.verdict!r} on' if listed else 'not on'} the list")
        elif listed is None:
            print(f"# {name}: {verdict}, and is not on the list")
    if others := dict.fromkeys(test_of(name) for name in expected if test_of(name) not in log.wanted):
        print(f"# not asked for: {', '.join(others)}")
    number += 1
    print(f"{'not ok' if 'guest' in log.verdicts else 'ok'} {number} - {boot}: the guests end well")
    print(f"1..{number}")
    print(f"# {len(log.seconds)} tests, {sum(log.seconds.values())} s of the guests' time")
    return not failed and "guest" not in log.verdicts


def main() -> int:
    if len(sys.argv) >= 4 and sys.argv[1] == "--list":
        write_verdicts(Path(sys.argv[2]), [read(Path(name)) for name in sys.argv[3:]])
        return 0
    if len(sys.argv) != 5:
        raise RigError(__doc__)
    verdicts, differences, log = map(Path, sys.argv[2:])
    return 0 if compare(sys.argv[1], verdicts, differences, read(log)) else 1


if __name__ == "__main__":
    program.run("compare-verdicts", main)
