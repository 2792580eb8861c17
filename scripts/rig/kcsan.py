# SPDX-License-Identifier: GPL-2.0
"""What KCSAN has reported on a console, against the list of what it may.

A race is two accesses, sorted and with " <> " in between; one, if KCSAN saw a
value change and not by whom. An access is the function and the line of source:

    tcp_current_mss: if (mtu != inet_csk(sk)->icsk_pmtu_cookie)

The function is the innermost one that is not a header's, for a helper such as
list_add() says little about what is accessed. The line is quoted without its
number, so that an entry is for these accesses only, and survives changes
elsewhere. The list is tools/testing/kcsan/known: paragraphs of which the comment
says why the races that the other lines name are harmless.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from . import TOP, RigError, justified

KNOWN = TOP / "tools/testing/kcsan/known"
_TITLE = re.compile(r"BUG: KCSAN: (?:data-race|assert: race) in ")
_ACCESS = re.compile(r"(?:^|\] )((?:read|write|race|assert)\b.* (?:to|at) 0x[0-9a-f]+ of \d+ bytes by .*):$")
# "tcp_poll+0x1a2/0x3f0": the address after the access, and the function's size.
_FRAME = re.compile(r" ([\w.]+)\+0x([0-9a-f]+)/0x([0-9a-f]+)(?: .*)?$")
_END = re.compile(r"=====+$")
_BETWEEN = " <> "
# Where the kernel's tree is, as seen by whoever compiled a file. That may have
# been another clone, or for another kernel: ccache does not mind.
_TREE = re.compile(r".*/\.\./linux/")


@dataclass
class Report:
    """One race: the lines that KCSAN printed about it, and where the accesses
    are, as the first frame of each stack has it.
    """

    lines: list[str]
    accesses: list[tuple[str, int, int]] = field(default_factory=list)


def reports(console: list[str]) -> list[Report]:
    found: list[Report] = []
    current: Report | None = None
    wanted = False
    for line in console:
        if _TITLE.search(line):
            current = Report([])
            found.append(current)
            wanted = False
        elif current and _END.search(line):
            current = None
        if not current:
            continue
        current.lines.append(line)
        if _ACCESS.search(line):
            wanted = True
        elif wanted and (frame := _FRAME.search(line)):
            current.accesses.append((frame[1], int(frame[2], 16), int(frame[3], 16)))
            wanted = False
    return found


class Kernel:
    """Where in the source the code of a kernel is, which runs with nokaslr."""

    def __init__(self, builddir: Path) -> None:
        self._builddir = builddir

    @cached_property
    def _functions(self) -> dict[tuple[str, int], list[int]]:
        """Where those of a name and a size, up to the next symbol, begin."""
        lines = [line.split() for line in (self._builddir / "System.map").read_text().splitlines()]
        symbols = [(int(address, 16), name) for address, _, name in lines]
        starts = sorted({address for address, _ in symbols})
        size = {start: end - start for start, end in zip(starts, starts[1:])}
        functions: dict[tuple[str, int], list[int]] = {}
        for address, name in symbols:
            functions.setdefault((name, size.get(address, 0)), []).append(address)
        return functions

    def names(self, accesses: Iterable[tuple[str, int, int]]) -> dict[tuple[str, int, int], tuple[str, str]]:
        """Of each: what the list has for it, and file and line."""
        addresses = {}
        for access in accesses:
            name, offset, size = access
            starts = self._functions.get((name, size), [])
            if len(starts) != 1:
                raise RigError(f"{self._builddir}/System.map has {len(starts)} functions {name} of {size} bytes")
            # The address is that after the call of KCSAN.
            addresses[access] = f"{starts[0] + offset - 1:#x}"
        if not addresses:
            return {}
        vmlinux = self._builddir / "vmlinux"
        # For each an address, and pairs of lines, innermost first.
        said = subprocess.run(["addr2line", "-a", "-f", "-i", "-e", vmlinux, *addresses.values()],
                              stdout=subprocess.PIPE, text=True, check=True).stdout
        where = {}
        for block in re.split(r"^0x", said, flags=re.MULTILINE)[1:]:
            address, *frames = block.splitlines()
            where[int(address, 16)] = list(zip(frames[::2], frames[1::2]))
        return {access: self._name(where[int(address, 16)]) for access, address in addresses.items()}

    def _name(self, frames: list[tuple[str, str]]) -> tuple[str, str]:
        for function, place in frames:
            path, _, number = place.split(" ")[0].rpartition(":")
            if path == "??" or not number.isdecimal():
                raise RigError(f"no line number is known in {function}: has vmlinux debug information?")
            if path.endswith(".c"):
                break
        source = self._builddir.parent / "linux" / _TREE.sub("", path)
        text = source.read_text().splitlines()[int(number) - 1]
        return f"{function}: {' '.join(text.split())}", ", ".join(place for _, place in frames)


def judge(console: list[str], builddir: Path) -> str:
    """A test's output, in the form of guest-tests.sh."""
    allowed = set(justified.read(KNOWN))
    found = reports(console)
    names = Kernel(builddir).names({access for report in found for access in report.accesses})
    lines = ["rig: begin kcsan"]
    seen: dict[str, Report] = {}
    for report in found:
        seen.setdefault(_BETWEEN.join(sorted(names[access][0] for access in report.accesses)), report)
    unknown = 0
    for race, report in sorted(seen.items()):
        if race in allowed:
            lines.append(f"# known: {race}")
            continue
        unknown += 1
        lines += [f"# {line}" for line in report.lines]
        lines += [f"# {names[access][1]}" for access in report.accesses]
        lines.append(f"not ok {unknown} - {race}")
    if not unknown:
        lines.append(f"ok 1 - no data race that is not known, {len(seen)} that are")
    lines.append(f"rig: end {1 if unknown else 0}")
    return "\n".join(lines) + "\n"
