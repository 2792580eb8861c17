# SPDX-License-Identifier: GPL-2.0
"""The paper's benchmark under tools/tcgprof: for a fixed number of bytes after a
warm-up, what each part of the kernel cost in instructions and modelled misses.

    for run in measure(Setup("msgp", nics=6), {6: 64 << 20}, progress.begin, progress.tick):
        print(run["categories"]["scheduler"]["insns"] / run["bytes"] * 1024)

A run has org, groups, conns, nics, tso, mtu, cpus, cache, bytes, seconds, ctxsw and
retransmits; `categories`, for each of categories.ALL the COLUMNS; `scheduler_locks`,
the instructions and L2 misses of locks that the scheduler called, which are in
`locking` as well; and `functions`, those that cost most: name, file, category, COLUMNS.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from . import BUILD, TOP, RigError, categories
from .clients import PTCPBENCH
from .guest import Guest, Setup

Run = dict[str, Any]

PLUGIN = BUILD / "tcgprof/tcgprof.so"
_FORMAT = "# tcgprof 1"

CACHES = ("opteron275", "xeon", "none")
COLUMNS = ("insns", "loads", "stores", "io", "l1_misses", "l2_cold", "l2_capacity", "l2_coherence", "dirty", "upgrades")
L2_MISSES = ("l2_cold", "l2_capacity", "l2_coherence")
_LOCK_COLUMNS = ("lock_insns", "lock_l2_misses")

# Of the bytes, per cent that are sent before anything is counted.
_WARMUP = 25
# Bytes a second that the guest sends at least, with the model in the way.
_SLOWEST = 1 << 20
# As many functions as a reader may want to see.
_FUNCTIONS = 40


@dataclass(frozen=True)
class Row:
    """What a function cost on one vCPU."""

    vcpu: int
    start: int
    name: str
    counts: dict[str, int]


@dataclass(frozen=True)
class Window:
    """From a start to a stop: one of the plugin's files."""

    vcpus: int
    cache: str
    rows: list[Row]


def read(path: Path) -> Window:
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise RigError(f"{path}: {error.strerror}; "
                       "the guest has not stopped the profiler as often as it should") from error
    if len(lines) < 4 or lines[0] != _FORMAT:
        raise RigError(f"{path} is not the profiler's, or of another version than {_FORMAT!r}; it begins: {lines[:1]}")
    names = lines[3].split("\t")[3:]
    rows = []
    for line in lines[4:]:
        vcpu, start, symbol, *numbers = line.split("\t")
        rows.append(Row(int(vcpu), int(start, 16), symbol, dict(zip(names, map(int, numbers), strict=True))))
    return Window(int(lines[1].removeprefix("# vcpus ")), lines[2].removeprefix("# cache "), rows)


def by_category(window: Window, sources: categories.Sources) -> dict[str, dict[str, int]]:
    """The sums over all vCPUs."""
    sums = {category: dict.fromkeys(COLUMNS, 0) for category in categories.ALL}
    for row in window.rows:
        _add(sums[sources.category(row.start)], row)
    return sums


def scheduler_locks(window: Window, sources: categories.Sources) -> dict[str, int]:
    """What the locks cost that the scheduler called."""
    rows = [row for row in window.rows if sources.category(row.start) == categories.SCHEDULER]
    return {column: sum(row.counts[column] for row in rows) for column in _LOCK_COLUMNS}


def functions(window: Window, sources: categories.Sources) -> list[dict[str, Any]]:
    """Those that miss or execute most, in the order of misses."""
    sums: dict[tuple[int, str], dict[str, int]] = {}
    for row in window.rows:
        _add(sums.setdefault((row.start, row.name), dict.fromkeys(COLUMNS, 0)), row)
    by_misses = sorted(sums, key=lambda function: (-l2_misses(sums[function]), -sums[function]["insns"], function))
    by_insns = sorted(sums, key=lambda function: (-sums[function]["insns"], function))
    wanted = {*by_misses[:_FUNCTIONS], *by_insns[:_FUNCTIONS]}
    return [{"name": name, "file": sources.file(start), "category": sources.category(start), **sums[start, name]}
            for start, name in by_misses if (start, name) in wanted]


def l2_misses(counts: dict[str, int]) -> int:
    # perf does not know why they missed.
    return counts["misses"] if "misses" in counts else sum(counts[column] for column in L2_MISSES)


def _add(sums: dict[str, int], row: Row) -> None:
    for column in COLUMNS:
        sums[column] += row.counts[column]


def payload(conns: int) -> int:
    """Bytes to send: enough for every connection to get going, and for figures
    that do not change with more.
    """
    return max(128 << 20, conns * (64 << 10))


def measure(setup: Setup, loads: dict[int, int], begin: Callable[[int], None], tick: Callable[[], None],
            cache: str = CACHES[0]) -> Iterator[Run]:
    """Boot SETUP under the profiler, and run the benchmark for each number of
    connections of LOADS with so many bytes. BEGIN is told before each how many
    connections it has, TICK is called meanwhile; all runs come when QEMU has ended.
    """
    sources = categories.for_kernel(setup.builddir)
    for needed in (PLUGIN, BUILD / "tools/tcgprof", PTCPBENCH):
        if not needed.exists():
            raise RigError(f"{needed} is missing; build it with: make tools")
    results = BUILD / "guest" / f"profile-{setup.builddir.name}-{os.getpid()}"
    results.mkdir(parents=True)
    try:
        yield from _measure(_prepared(setup, loads, cache, results, sources), loads, begin, tick, results, sources)
    finally:
        for file in results.iterdir():
            file.unlink()
        results.rmdir()


def _prepared(setup: Setup, loads: dict[int, int], cache: str, results: Path, sources: categories.Sources) -> Setup:
    system_map = setup.builddir / "System.map"
    locks = results / "locks"
    locks.write_text("".join(f"{start:x}\n" for start in _functions(system_map)
                             if sources.category(start) == categories.LOCKING))
    timeout = sum(_seconds(conns, size) for conns, size in loads.items())
    return replace(setup, memory_mb=max(setup.memory_mb, 2048 + max(loads) // 4), timeout=timeout,
                   plugin=f"{PLUGIN},symbols={system_map},out={results}/window,cache={cache},locks={locks}",
                   copies=[*setup.copies, (TOP / "scripts/rig/guest-profile.sh", "/script/guest-profile.sh")])


def _functions(system_map: Path) -> Iterator[int]:
    for line in system_map.read_text().splitlines():
        address, kind, _ = line.split(" ", 2)
        if kind in "tTwW" and int(address, 16) >> 63:
            yield int(address, 16)


def _settling(conns: int) -> int:
    """Seconds to open the connections, each of which takes longer than usual."""
    return 120 + conns // 5


def _seconds(conns: int, size: int) -> float:
    return 2 * _settling(conns) + size / _SLOWEST


def _measure(setup: Setup, loads: dict[int, int], begin: Callable[[int], None], tick: Callable[[], None],
             results: Path, sources: categories.Sources) -> Iterator[Run]:
    said = {}
    with Guest(setup) as guest:
        guest.start(["/script/guest-profile.sh", guest.addresses, str(_WARMUP), str(_settling(max(loads))),
                     *(f"{conns}:{size}" for conns, size in loads.items())], sys.stderr.buffer)
        for conns, size in loads.items():
            begin(conns)
            guest.wait_file(f"{conns}/ready", setup.boot_timeout + _settling(conns), tick)
            guest.sink(f"sink-{conns}", ["--connections", str(conns), "--timeout", str(_settling(conns))])
            guest.wait_file(f"{conns}/done", _seconds(conns, size), tick)
            guest.wait_beside()
            said[conns] = json.loads((guest.share / f"{conns}/serve.json").read_text())
        if guest.wait():
            raise RigError(f"{setup.org}: the benchmark failed in the guest; its output is above")
    # The plugin writes when QEMU ends.
    for number, (conns, serve) in enumerate(said.items(), 1):
        window = read(results / f"window.{number}")
        yield {
            "org": setup.org, "groups": setup.groups, "conns": conns, "nics": setup.nics, "tso": setup.tso,
            "mtu": setup.mtu, "cpus": setup.cpus, "cache": window.cache,
            **{key: serve[key] for key in ("bytes", "seconds", "ctxsw", "retransmits")},
            "categories": by_category(window, sources), "scheduler_locks": scheduler_locks(window, sources),
            "functions": functions(window, sources),
        }
