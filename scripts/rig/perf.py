# SPDX-License-Identifier: GPL-2.0
"""What perf tells of a machine with a PMU, in the form that profiler.py gives to
what the modelled caches tell.

    totals = read_stat(text)                       # of perf stat -x,
    shares = by_category(read_script(lines), places)  # of perf record -g

How much there was is from perf stat, which counts; to which part of the system it
belongs is from perf record, which samples. A function is of a part by its source
file, as for the model: of the kernel by the debug information of its vmlinux, of a
module by its directory, for that is where its source is.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import BUILD, RigError, categories

# By our name for the count, perf's for the event; the first of these that a PMU
# has. The generic event knows of no L2, so it is the last level and only loads.
NEEDED = {"cycles": "cycles", "insns": "instructions"}
MISSES = ("l2_rqsts.miss", "l2_cache_req_stat.ic_dc_miss_in_l2", "LLC-load-misses")

# What perf script is to print of each sample.
FIELDS = "event,period,ip,sym,dso"

_SAMPLE = re.compile(r"\s*(\d+)\s+(\S+?):(?:[ukhGHDp]+:)?\s*")
_FRAME = re.compile(r"\s+([0-9a-f]+)\s+(.*?)(?:\+0x[0-9a-f]+)?\s+\((.*)\)\s*")
_MODULE = re.compile(r"\[(\w+)\]")
_FUNCTIONS = 40


def read_stat(text: str) -> dict[str, float]:
    """By event what `perf stat -x,` counted; events that it could not count are
    not there.
    """
    found = {}
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.split(",")
        if len(fields) < 5 or not (fields[0].startswith("<not ") or re.fullmatch(r"\d+(\.\d+)?", fields[0])):
            raise RigError(f"perf stat printed a line that is not as perf.py knows it: {line!r}")
        if not fields[0].startswith("<"):
            found[_plain(fields[2])] = float(fields[0])
    return found


def choose(counted: dict[str, float]) -> dict[str, str]:
    """By our names the events to use, of those that could be COUNTED; nothing if
    there is no PMU, or not enough of one.
    """
    misses = next((event for event in MISSES if event in counted), None)
    if not misses or any(event not in counted for event in NEEDED.values()):
        return {}
    return {**NEEDED, "misses": misses}


def _plain(event: str) -> str:
    """Without the modifiers that perf adds where it may not look at the kernel."""
    return re.sub(r":[ukhGHDp]+$", "", event)


@dataclass(frozen=True)
class Frame:
    address: int
    symbol: str
    where: str  # as perf says: [kernel.kallsyms], [a module], or a file

    @property
    def kernel(self) -> bool:
        return bool(self.address >> 63)


@dataclass(frozen=True)
class Sample:
    event: str
    period: int
    frames: tuple[Frame, ...]  # the innermost first


def read_script(lines: Iterable[str]) -> Iterator[Sample]:
    """What `perf script -F FIELDS` printed: a line that tells event and period, then
    one for each frame, then an empty one.
    """
    head: tuple[str, int] | None = None
    frames: list[Frame] = []
    for line in lines:
        frame = _FRAME.fullmatch(line.rstrip("\n"))
        start = None if frame else _SAMPLE.fullmatch(line.rstrip("\n"))
        if frame and head:
            frames.append(Frame(int(frame[1], 16), frame[2], frame[3]))
        elif start or not line.strip():
            if head:
                yield Sample(*head, tuple(frames))
            head, frames = (start[2], int(start[1])) if start else None, []
        else:
            raise RigError(f"perf script printed a line that is not as perf.py knows it: {line!r}")
    if head:
        yield Sample(*head, tuple(frames))


class Places:
    """Where in the source the code of a running kernel is from."""

    def __init__(self, sources: categories.Sources, slide: int, modules: dict[str, str]) -> None:
        self._sources = sources
        self._slide = slide  # of the addresses, by KASLR
        self._modules = modules  # by name, their files

    def file(self, frame: Frame) -> str:
        module = _MODULE.fullmatch(frame.where)
        if module:
            return self._modules.get(module[1], "").rpartition("/kernel/")[2]
        return self._sources.file(frame.address - self._slide) if frame.kernel else ""

    def category(self, frame: Frame) -> str:
        return categories.of_file(self.file(frame)) if frame.kernel else categories.USER


def profile(samples: Iterable[Sample], places: Places, events: dict[str, str],
            totals: dict[str, float]) -> dict[str, Any]:
    """As profiler.py gives it: categories, scheduler_locks and functions, of the
    TOTALS by event, divided as the samples are.
    """
    columns = {event: column for column, event in events.items()}
    parts = {category: dict.fromkeys(events, 0.0) for category in categories.ALL}
    locks = dict.fromkeys(events, 0.0)
    functions: dict[tuple[str, str, str], dict[str, float]] = {}
    sums = dict.fromkeys(events, 0)
    for sample in samples:
        column = columns.get(_plain(sample.event))
        if not column or not sample.frames:
            continue
        first = sample.frames[0]
        category = places.category(first)
        sums[column] += sample.period
        parts[category][column] += sample.period
        if category == categories.LOCKING and _caller(sample, places) == categories.SCHEDULER:
            locks[column] += sample.period
        key = first.symbol if first.kernel else categories.USER, places.file(first), category
        functions.setdefault(key, dict.fromkeys(events, 0.0))[column] += sample.period
    empty = [events[column] for column, number in sums.items() if not number]
    if empty:
        raise RigError(f"perf record has no sample of {' and '.join(empty)}")
    scale = {column: totals[event] / sums[column] for column, event in events.items()}

    def scaled(counts: dict[str, float]) -> dict[str, int]:
        return {column: round(number * scale[column]) for column, number in counts.items()}

    return {
        "categories": {category: scaled(counts) for category, counts in parts.items()},
        "scheduler_locks": {f"lock_{column}": number for column, number in scaled(locks).items()},
        "functions": [{"name": name, "file": file, "category": category, **scaled(counts)}
                      for (name, file, category), counts in _most(functions)],
    }


def _caller(sample: Sample, places: Places) -> str:
    """The part whose call of a lock, through whatever of these, this is."""
    return next((category for frame in sample.frames
                 if (category := places.category(frame)) != categories.LOCKING), "")


def _most(functions: dict[tuple[str, str, str], dict[str, float]]) -> list[tuple[tuple[str, str, str],
                                                                                dict[str, float]]]:
    wanted = {key for column in ("insns", "misses", "cycles")
              for key in sorted(functions, key=lambda one: -functions[one][column])[:_FUNCTIONS]}
    return [(key, functions[key]) for key in sorted(wanted, key=lambda one: (-functions[one]["misses"], one))]


def vmlinux_of(notes: str, named: str) -> Path | None:
    """The vmlinux with the build ID that is in a running kernel's NOTES (in hex): the
    NAMED one, or that of build/linux.
    """
    for path in [Path(named)] if named else [BUILD / "linux/vmlinux"]:
        if path.exists():
            said = subprocess.run(["readelf", "-n", str(path)], capture_output=True, text=True, check=False).stdout
            build = re.search(r"Build ID: ([0-9a-f]+)", said)
            if build and build[1] in notes:
                return path
        elif named:
            raise RigError(f"VMLINUX={named}: no such file")
    return None


def start_of_text(vmlinux: Path) -> int:
    said = subprocess.run(["nm", str(vmlinux)], capture_output=True, text=True, check=True).stdout
    found = re.search(r"^([0-9a-f]+) T _stext$", said, re.MULTILINE)
    if not found:
        raise RigError(f"{vmlinux} has no symbol _stext")
    return int(found[1], 16)
