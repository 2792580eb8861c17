# SPDX-License-Identifier: GPL-2.0
"""What the runs of a results' file say: figures of runs, their spread, and their
ratio to another arm's in the same round.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from rig import results

from .interval import Interval, of_ratios
from .plan import Arm, Cell, Experiment
from .store import Store

# What other arms are compared with.
REFERENCE = Arm(results.REFERENCE)

# None: this run does not have it.
Figure = Callable[[results.Run], float | None]


@dataclass(frozen=True)
class Spread:
    median: float
    low: float
    high: float
    runs: int


def key(name: str) -> Figure:
    def figure(run: results.Run) -> float | None:
        value = run.get(name)
        return None if value is None else float(value)
    return figure


def spread(store: Store, experiment: str, arm: Arm, cell: Cell, figure: Figure) -> Spread | None:
    values = list(by_round(store, experiment, arm, cell, figure).values())
    return Spread(median(values), min(values), max(values), len(values)) if values else None


def by_round(store: Store, experiment: str, arm: Arm, cell: Cell, figure: Figure) -> dict[int, float]:
    return {turn: value for turn, run in store.of(experiment, arm, cell).items() if (value := figure(run)) is not None}


def ratio(store: Store, experiment: str, over: tuple[Arm, Cell], under: tuple[Arm, Cell],
          figure: Figure) -> Interval | None:
    """Of two arms, or of one in two cells; None if no round has both."""
    upper = by_round(store, experiment, *over, figure)
    lower = by_round(store, experiment, *under, figure)
    ratios = [value / lower[turn] for turn, value in upper.items() if value > 0 and lower.get(turn, 0) > 0]
    return of_ratios(ratios, store.plan.confidence) if ratios else None


def settled(store: Store, experiment: Experiment, cell: Cell, figure: Figure) -> bool:
    """Whether all arms' ratios to the reference are known well enough."""
    for arm in experiment.arms:
        if arm == REFERENCE:
            continue
        if store.failed(experiment.name, arm, cell) and not store.of(experiment.name, arm, cell):
            continue
        known = ratio(store, experiment.name, (arm, cell), (REFERENCE, cell), figure)
        if not known or known.width > store.plan.interval:
            return False
    return True
