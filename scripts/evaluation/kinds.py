# SPDX-License-Identifier: GPL-2.0
"""The kinds of experiments: what one boot measures, and in which guest.

A kind that cannot run here, or not with some organisation (a tool or a kernel is
not built), says so, and that is left out of the plan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from rig import BUILD, RigError, bench, categories, memory, profiler, results
from rig.guest import Guest, Setup

from . import data
from .plan import Arm, Boot, Cell, Plan

# Told how many connections a run has that begins; and called meanwhile.
Begin = Callable[[int], None]
Tick = Callable[[], None]

# Seconds, under TCG on two idle cores: a boot to its script and the end of it; a
# run beyond its window, and for each connection.
_BOOT = 8.0
_RUN = 2.5
_CONNECTION = 1 / 500
# Under the profiler: a boot, with what reads the debug information; a run, and
# how many bytes a second are sent.
_PROFILE_BOOT = 20.0
_PROFILE_RUN = 6.0
_PROFILED_BYTES = 8 << 20

# Functions of a profile that are kept, and what of them.
_FUNCTIONS = 25
_OF_FUNCTION = ("name", "file", "category", "insns", *profiler.L2_MISSES)


def _beside_window(cell: Cell) -> float:
    return _RUN + cell.conns * _CONNECTION


def _slowly_beside_window(cell: Cell) -> float:
    return 2.5 * _beside_window(cell)


def _profiled(cell: Cell) -> float:
    return _PROFILE_RUN + profiler.payload(cell.conns) / _PROFILED_BYTES + 3 * cell.conns * _CONNECTION


@dataclass(frozen=True)
class Kind:
    name: str
    variant: str  # of the kernel
    figure: data.Figure  # rounds end when its ratios are known
    measure: Callable[[Boot, Begin, Tick], Iterator[results.Run]]
    outcome: Callable[[results.Run], str]
    missing: Callable[[], str] = lambda: ""  # why it cannot be run at all
    alone: bool = False  # a boot has one run only
    boot_seconds: float = _BOOT
    run_seconds: Callable[[Cell], float] = _beside_window  # beside warm-up and window
    beside: tuple[str, ...] = ()  # further variants that it needs of an organisation
    unusable: Callable[[str], str] = lambda org: ""  # why not with this organisation

    def boot(self, plan: Plan) -> float:
        """Measured seconds that a boot may have."""
        return 0 if self.alone else plan.boot

    def seconds(self, boot: Boot) -> float:
        """What a boot is expected to take."""
        return self.boot_seconds + sum(boot.warmup + cell.duration + self.run_seconds(cell) for cell in boot.cells)

    @property
    def variants(self) -> tuple[str, ...]:
        return (self.variant, *self.beside)

    def absent(self, arm: Arm) -> str:
        """Why ARM is left out, or nothing."""
        for variant in self.variants:
            setup = Setup(arm.org, variant)
            if not setup.kernel.exists():
                how = f" VARIANT={variant}" if variant else ""
                return f"{setup.builddir.name} is not built (make kernel ORG={arm.org}{how})"
        return self.unusable(arm.org)


def _setup(boot: Boot, cell: Cell, variant: str) -> Setup:
    return Setup(boot.arm.org, variant, nics=cell.nics, mtu=cell.mtu, tso=cell.tso,
                 groups=boot.arm.groups)


def _bench(mode: str, variant: str = "") -> Callable[[Boot, Begin, Tick], Iterator[results.Run]]:
    def measure(boot: Boot, begin: Begin, tick: Tick) -> Iterator[results.Run]:
        cell = boot.cells[0]
        loads = bench.Loads(boot.conns, cell.duration, boot.warmup, mode)
        with Guest(loads.prepare(_setup(boot, cell, variant))) as guest:
            yield from bench.runs(guest, loads, begin, tick)
    return measure


def _memory(boot: Boot, begin: Begin, tick: Tick) -> Iterator[results.Run]:
    for cell in boot.cells:
        begin(cell.conns)
        with Guest(memory.prepare(_setup(boot, cell, ""), cell.conns)) as guest:
            yield memory.measure(guest, cell.conns, tick)


def _profile(cache: str) -> Callable[[Boot, Begin, Tick], Iterator[results.Run]]:
    def measure(boot: Boot, begin: Begin, tick: Tick) -> Iterator[results.Run]:
        cell = boot.cells[0]
        loads = {conns: profiler.payload(conns) for conns in boot.conns}
        for run in profiler.measure(_setup(boot, cell, ""), loads, begin, tick, cache):
            functions = [{name: function[name] for name in _OF_FUNCTION} for function in _most(run["functions"])]
            yield {**run, "backend": "model", "functions": functions, "refused": False}
    return measure


def _most(functions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that execute and those that miss most."""
    by_insns = sorted(functions, key=lambda one: int(one["insns"]), reverse=True)[:_FUNCTIONS]
    by_misses = sorted(functions, key=profiler.l2_misses, reverse=True)[:_FUNCTIONS]
    return [one for one in functions if one in by_insns or one in by_misses]


def _profile_outcome(run: results.Run) -> str:
    kilobytes = run["bytes"] / 1024
    insns = sum(counts["insns"] for counts in run["categories"].values())
    misses = sum(map(profiler.l2_misses, run["categories"].values()))
    return f"{insns / kilobytes:.0f} instructions and {misses / kilobytes:.2f} L2 misses per KB"


def _profile_missing() -> str:
    return _bench_missing() or ("" if profiler.PLUGIN.exists() else
                                f"{profiler.PLUGIN.relative_to(BUILD.parent)} is not built (make tools)")


def _no_debug_information(org: str) -> str:
    try:
        categories.for_kernel(Setup(org).builddir)
    except RigError as error:
        return str(error)
    return ""


def contended(run: results.Run, lock: str) -> float | None:
    """Share of the attempts to take LOCK that did not succeed at once, as the
    kernel with lock statistics counted them.
    """
    counted = run.get("locks", {}).get(lock)
    if not counted or not counted["acquired"]:
        return None
    return float(counted["contended"] / counted["acquired"])


def _contention_outcome(run: results.Run) -> str:
    shares = {lock: contended(run, lock) for lock in run.get("locks", {})}
    return ", ".join(f"{lock} {100 * share:.2f} % contended" for lock, share in shares.items() if share is not None)


def _memory_outcome(run: results.Run) -> str:
    return f"{run['slab'] / run['conns']:.0f} bytes a connection"


def _bench_missing() -> str:
    return "" if bench.PTCPBENCH.exists() else f"{bench.PTCPBENCH.relative_to(BUILD.parent)} is not built (make tools)"


ALL = {kind.name: kind for kind in (
    Kind("stream", "", data.key("mbps"), _bench("stream"), bench.outcome, _bench_missing),
    Kind("rr", "", data.key("rps"), _bench("rr"), bench.outcome, _bench_missing),
    Kind("crr", "", data.key("rps"), _bench("crr"), bench.outcome, _bench_missing),
    # Its rounds end with the plan's number: shares near 0 have no ratio.
    Kind("contention", "lockstat", data.key("none"), _bench("stream", "lockstat"), _contention_outcome, _bench_missing,
         boot_seconds=2.5 * _BOOT, run_seconds=_slowly_beside_window),
    Kind("memory", "", data.key("slab"), _memory, _memory_outcome, _bench_missing, alone=True),
    # So do these: what is executed hardly differs from run to run.
    *(Kind(f"profile {cache}", "", data.key("none"), _profile(cache), _profile_outcome, _profile_missing,
           boot_seconds=_PROFILE_BOOT, run_seconds=_profiled, beside=("profile",), unusable=_no_debug_information)
      for cache in ("opteron275", "xeon")),
)}
