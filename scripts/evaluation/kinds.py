# SPDX-License-Identifier: GPL-2.0
"""The kinds of experiments: what one boot measures, and in which guest.

A kind that cannot run here (its tool is not in this tree, its kernel is not
built) says so, and its experiments are left out of the plan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rig import BUILD, bench, memory, results
from rig.clients import MAX_NICS
from rig.guest import Guest, Setup

from . import data
from .plan import Boot, Cell, Experiment, Plan

# Told how many connections a run has that begins; and called meanwhile.
Begin = Callable[[int], None]
Tick = Callable[[], None]

# Seconds, under TCG on two cores: a boot to its script and the end of it; a run
# beyond its window, and for each connection; idle connections of mode memory.
_BOOT = 8.0
_RUN = 2.5
_CONNECTION = 1 / 500


@dataclass(frozen=True)
class Kind:
    name: str
    variant: str  # of the kernel
    figure: data.Figure  # rounds end when its ratios are known
    measure: Callable[[Boot, Begin, Tick], Iterator[results.Run]]
    outcome: Callable[[results.Run], str]
    missing: Callable[[], str] = lambda: ""  # why it cannot be run at all
    alone: bool = False  # a boot has one run only
    factor: float = 1.0  # how much longer than the measured kernel takes beside the window

    def boot(self, plan: Plan) -> float:
        """Measured seconds that a boot may have."""
        return 0 if self.alone else plan.boot

    def seconds(self, boot: Boot) -> float:
        """What a boot is expected to take."""
        runs = sum(boot.warmup + cell.duration + self.factor * (_RUN + cell.conns * _CONNECTION) for cell in boot.cells)
        return self.factor * _BOOT + runs

    def absent(self, experiment: Experiment) -> str:
        """Why EXPERIMENT is left out, or nothing."""
        why = self.missing()
        if why:
            return why
        absent = sorted({setup.builddir.name for arm in experiment.arms
                         if not (setup := Setup(arm.org, self.variant)).kernel.exists()})
        variant = f" VARIANT={self.variant}" if self.variant else ""
        return f"these kernels are not built: {' '.join(absent)} (make kernel ORG=...{variant})" if absent else ""


def _setup(boot: Boot, cell: Cell, variant: str) -> Setup:
    return Setup(boot.arm.org, variant, nics=min(MAX_NICS, min(boot.conns)), mtu=cell.mtu, tso=cell.tso,
                 groups=boot.arm.groups)


def _bench(variant: str) -> Callable[[Boot, Begin, Tick], Iterator[results.Run]]:
    def measure(boot: Boot, begin: Begin, tick: Tick) -> Iterator[results.Run]:
        cell = boot.cells[0]
        loads = bench.Loads(boot.conns, cell.duration, boot.warmup)
        with Guest(loads.prepare(_setup(boot, cell, variant))) as guest:
            yield from bench.runs(guest, loads, begin, tick)
    return measure


def _memory(boot: Boot, begin: Begin, tick: Tick) -> Iterator[results.Run]:
    for cell in boot.cells:
        begin(cell.conns)
        yield memory.measure(_setup(boot, cell, ""), cell.conns, tick)


def _not_run(what: str) -> Callable[[], str]:
    return lambda: f"make paper does not run {what} yet"


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
    Kind("stream", "", data.key("mbps"), _bench(""), bench.outcome, _bench_missing),
    # Its rounds end with the plan's number: shares near 0 have no ratio.
    Kind("contention", "lockstat", data.key("none"), _bench("lockstat"), _contention_outcome, _bench_missing,
         factor=2.5),
    Kind("memory", "", data.key("slab"), _memory, _memory_outcome, _bench_missing, alone=True),
    Kind("rr", "", data.key("none"), _bench(""), bench.outcome, _not_run("mode rr of ptcpbench")),
    Kind("crr", "", data.key("none"), _bench(""), bench.outcome, _not_run("mode crr of ptcpbench")),
    Kind("profile", "", data.key("none"), _bench(""), bench.outcome, _not_run("scripts/profile.py")),
)}
