# SPDX-License-Identifier: GPL-2.0
"""Carries out a plan where not all arms can be had at any time: a host runs one
kernel. What cannot be had now waits for another session. A session has of its arms
as many rounds as there are at least, and again as many once all arms have had those
and the ratios are still not known well enough.
"""

from __future__ import annotations

from collections.abc import Callable

from . import data, kinds
from .plan import Arm, Boot, Cell, Experiment
from .runner import Runner
from .store import Key, Store

# Whether an arm can be had now, in this cell.
Possible = Callable[[Experiment, Arm, Cell], bool]
Waiting = list[tuple[Experiment, Arm, Cell]]


class Bootwise(Runner):
    def __init__(self, store: Store, by_name: dict[str, kinds.Kind], possible: Possible,
                 *clock: Callable[[], float]) -> None:
        super().__init__(store, by_name, *clock)
        self._possible = possible

    def waiting(self) -> Waiting:
        """A session's runs that are wanted, and that cannot be had now."""
        return [(experiment, arm, cell) for experiment in self._plan.experiments
                for turn in range(1, experiment.rounds[1] + 1) for cell in self._wanted(experiment, turn)
                for arm in experiment.arms
                if self._is_left(experiment, arm, cell, turn) and not self._possible(experiment, arm, cell)]

    def _wanted(self, experiment: Experiment, turn: int) -> list[Cell]:
        least, most = experiment.rounds
        if turn <= least or turn > most:
            return super()._wanted(experiment, turn)
        first = turn - (turn - 1) % least
        figure = self._kinds[experiment.kind].figure
        return [cell for cell in experiment.cells
                if self._begun(experiment, cell, range(first, min(first + least, most + 1)))
                or (self._complete(experiment, cell, first)
                    and not data.settled(self._store, experiment, cell, figure))]

    def _begun(self, experiment: Experiment, cell: Cell, rounds: range) -> bool:
        """By an arm, so that the others follow, lest its runs be for nothing."""
        return any(Key(experiment.name, arm, cell, turn) in self._store.runs
                   for arm in experiment.arms for turn in rounds)

    def _complete(self, experiment: Experiment, cell: Cell, end: int) -> bool:
        """Whether all arms have had the rounds before END."""
        return not any(self._is_left(experiment, arm, cell, turn)
                       for arm in experiment.arms for turn in range(1, end))

    def _boots(self, experiment: Experiment, cells: tuple[Cell, ...], turn: int) -> list[Boot]:
        found = []
        for boot in super()._boots(experiment, cells, turn):
            had = tuple(cell for cell in boot.cells if self._possible(experiment, boot.arm, cell))
            if had:
                found.append(Boot(boot.arm, had, boot.warmup))
        return found
