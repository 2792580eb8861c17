# SPDX-License-Identifier: GPL-2.0
"""What KCSAN has reported on a console, against the list of what it may.

The list is tools/testing/kcsan/known: paragraphs of which the comment says why
the accesses are harmless that the other lines name, as KCSAN titles them
("tcp_poll / tcp_recvmsg_locked", sorted; one name if the other is unknown).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from . import TOP, justified

KNOWN = TOP / "tools/testing/kcsan/known"
TITLE = re.compile(r"BUG: KCSAN: (?:data-race|assert: race) in (.*)")
_END = re.compile(r"=====+$")


@dataclass
class Report:
    """One race: its title, and the lines that KCSAN printed about it."""

    title: str
    lines: list[str]


def reports(console: list[str]) -> list[Report]:
    found: list[Report] = []
    current: Report | None = None
    for line in console:
        if title := TITLE.search(line):
            # Without the offsets that a race of unknown origin has.
            current = Report(re.sub(r"\+0x\S+", "", title[1]).strip(), [])
            found.append(current)
        elif current and _END.search(line):
            current = None
        if current:
            current.lines.append(line)
    return found


def judge(console: list[str]) -> str:
    """A test's output, in the form of guest-tests.sh."""
    allowed = justified.read(KNOWN)
    lines = ["rig: begin kcsan"]
    seen: dict[str, Report] = {}
    for report in reports(console):
        seen.setdefault(report.title, report)
    unknown = [report for title, report in sorted(seen.items()) if title not in allowed]
    lines += [f"# known: {title}" for title in sorted(seen) if title in allowed]
    for report in unknown:
        lines += [f"# {line}" for line in report.lines]
    lines += [f"not ok {number} - {report.title}" for number, report in enumerate(unknown, 1)]
    if not unknown:
        lines.append(f"ok 1 - no data race that is not known, {len(seen)} that are")
    lines.append(f"rig: end {1 if unknown else 0}")
    return "\n".join(lines) + "\n"
