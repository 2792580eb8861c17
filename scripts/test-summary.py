#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""test-summary.py TAP-FILE LOG... - put the logs of test.sh's stages together.

Writes all of their results, numbered anew, with their comments to TAP-FILE, and
prints a table for each organisation: a row per test, a column per boot.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from rig import ORGS, VARIANTS

_RESULT = re.compile(r"(not )?ok\b *\d* *-? *(.*)")
# As test-guest.sh names its boots: connp-t debug groups=8
_BOOT = re.compile(rf"(?P<org>{'|'.join(sorted(ORGS, key=len, reverse=True))})"
                   rf"(?P<boot>(?: (?:{'|'.join(VARIANTS)}))?(?: groups=\d+)?): (?P<test>[^:#]+)")


@dataclass
class Cell:
    """What came of one test in one boot."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def add(self, failed: bool, skipped: bool) -> None:
        self.failed += failed
        self.skipped += skipped and not failed
        self.passed += not failed and not skipped

    def __str__(self) -> str:
        parts = [f"{self.failed} FAILED"] if self.failed else []
        parts += [str(self.passed)] if self.passed else []
        parts += [f"{self.skipped} skipped"] if self.skipped else []
        return ", ".join(parts) or "-"


Table = dict[str, dict[str, Cell]]  # by test, by boot


def read(logs: list[Path], tap: Path) -> dict[str, Table]:
    """Copy the results of LOGS to TAP; return the tables by organisation."""
    tables: dict[str, Table] = {}
    number = 0
    with tap.open("w") as out:
        out.write("TAP version 13\n")
        for log in logs:
            out.write(f"# stage {log.stem}\n")
            for line in log.read_text(errors="replace").splitlines():
                found = _RESULT.match(line)
                if not found:
                    if line.startswith("#"):
                        out.write(f"{line}\n")
                    continue
                number += 1
                out.write(f"{found[1] or ''}ok {number} - {found[2]}\n")
                boot = _BOOT.match(found[2])
                org, column, test = (boot["org"], boot["boot"].strip() or "default", boot["test"].strip()) \
                    if boot else ("", "result", log.stem)
                rows = tables.setdefault(org, {})
                cell = rows.setdefault(test, {}).setdefault(column, Cell())
                cell.add(bool(found[1]), "# SKIP" in found[2])
        out.write(f"1..{number}\n")
    return tables


def show(title: str, table: Table) -> None:
    columns: list[str] = []
    for row in table.values():
        columns += [column for column in row if column not in columns]
    widths = [max(len(test) for test in table)]
    widths += [max([len(column), *(len(str(row.get(column, "-"))) for row in table.values())]) for column in columns]
    print(f"\n{title}")
    for cells in [["", *columns], *([test, *(str(row.get(column, "-")) for column in columns)]
                                    for test, row in table.items())]:
        first, *rest = (cell.ljust(width) if i == 0 else cell.rjust(width)
                        for i, (cell, width) in enumerate(zip(cells, widths)))
        print("  ".join([first, *rest]).rstrip())


def main() -> None:
    if len(sys.argv) < 3:
        sys.exit("usage: test-summary.py TAP-FILE LOG...")
    tap, logs = Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]]
    tables = read(logs, tap)
    titles: defaultdict[str, str] = defaultdict(lambda: "outside of a guest, by stage", ORGS)
    for org in ["", *ORGS]:
        if org in tables:
            show(titles[org], tables[org])
    print(f"\nresults that passed, by test and boot; all of them: {tap}")


if __name__ == "__main__":
    main()
