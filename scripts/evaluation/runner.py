# SPDX-License-Identifier: GPL-2.0
"""Carries out a plan: rounds over all experiments, arms interleaved, until each
cell's ratios are known well enough, or the plan's rounds or the time are over.

Whatever the results' file already has is not run again.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from rig import RigError
from rig.progress import Progress

from . import data, kinds
from .plan import Arm, Boot, Cell, Experiment
from .store import Key, Store

# An arm that failed so often in a cell is left out of it.
_FAILURES = 2
# So many failures before the first success, and something is wrong with all.
_HOPELESS = 3


class Runner:
    def __init__(self, store: Store, by_name: dict[str, kinds.Kind],
                 now: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._plan = store.plan
        self._kinds = by_name
        self._now = now
        self._end = now() + 3600 * self._plan.hours
        self._expected = self._took = 0.0  # of the boots so far
        self._turn = 0
        self._done = self._failures = 0
        self._late = False
        self._progress = Progress(0, self._remaining)

    def run(self) -> int:
        """Return how many boots failed."""
        most = max((experiment.rounds[1] for experiment in self._plan.experiments), default=0)
        # The least number of rounds of all of them, before any has more. When
        # something does not fit any more, something shorter may.
        for needed in (True, False):
            for self._turn in range(1, most + 1):
                for experiment in self._plan.experiments:
                    if (self._turn <= experiment.rounds[0]) == needed:
                        self._round(experiment)
        if self._late:
            self._progress.say("the time is over; the same command goes on from here")
        return self._failures

    def _round(self, experiment: Experiment) -> None:
        for cells in self._batches(experiment, self._wanted(experiment, self._turn)):
            boots = self._boots(experiment, cells, self._turn)
            expected = sum(self._seconds(experiment, boot) for boot in boots)
            if self._now() + self._rate() * expected > self._end:
                self._late = True
                continue
            for boot in boots:
                self._run(experiment, boot)

    def _wanted(self, experiment: Experiment, turn: int) -> list[Cell]:
        """The cells that take part in round TURN, as far as is known now."""
        least, most = experiment.rounds
        if turn > most:
            return []
        if turn <= least:
            return list(experiment.cells)
        figure = self._kinds[experiment.kind].figure
        # A round that was begun is finished, lest its runs be for nothing.
        return [cell for cell in experiment.cells
                if any(Key(experiment.name, arm, cell, turn) in self._store.runs for arm in experiment.arms)
                or not data.settled(self._store, experiment, cell, figure)]

    def _batches(self, experiment: Experiment, cells: list[Cell]) -> list[tuple[Cell, ...]]:
        return experiment.batches(cells, self._kinds[experiment.kind].boot(self._plan))

    def _boots(self, experiment: Experiment, cells: tuple[Cell, ...], turn: int) -> list[Boot]:
        """What is left to do of this, in the order of the round."""
        found = []
        for arm in experiment.order(turn - 1):
            left = tuple(cell for cell in cells if self._is_left(experiment, arm, cell, turn))
            if left:
                found.append(Boot(arm, left, experiment.warmup))
        return found

    def _is_left(self, experiment: Experiment, arm: Arm, cell: Cell, turn: int) -> bool:
        failed = self._store.failed(experiment.name, arm, cell)
        return len(failed) < _FAILURES and turn not in failed \
            and Key(experiment.name, arm, cell, turn) not in self._store.runs

    def _run(self, experiment: Experiment, boot: Boot) -> None:
        kind = self._kinds[experiment.kind]
        began = last = self._now()
        left = list(boot.cells)
        self._progress.runs = self._done + sum(len(one.cells) for _, one in self._left())

        def name(cell: Cell) -> str:
            return f"{experiment.name}, round {self._turn}: {describe(boot.arm, cell)}"

        def begin(conns: int) -> None:
            self._progress.begin(name(next(cell for cell in boot.cells if cell.conns == conns)))

        try:
            for run in kind.measure(boot, begin, self._progress.tick):
                key = Key(experiment.name, boot.arm, left[0], self._turn)
                self._store.add_run(key, run, self._now() - last)
                last = self._now()
                self._done += 1
                self._progress.end(kind.outcome(run), name(left.pop(0)))
        except RigError as failure:
            self._failures += 1
            # Without cells left it is the end of the guest that failed.
            self._store.add_failure(experiment.name, boot.arm, left or list(boot.cells), self._turn, str(failure))
            if not self._done and self._failures == _HOPELESS:
                raise
            self._progress.say(f"failed: {failure}")
        self._expected += self._seconds(experiment, boot)
        self._took += self._now() - began

    def _seconds(self, experiment: Experiment, boot: Boot) -> float:
        return self._kinds[experiment.kind].seconds(boot)

    def _rate(self) -> float:
        """How much longer boots take than expected, on this machine today."""
        return self._took / self._expected if self._expected > 60 else 1.0

    def _left(self) -> list[tuple[Experiment, Boot]]:
        """Boots that are still to come, in the most rounds that there may be."""
        found = []
        for experiment in self._plan.experiments:
            for turn in range(1, experiment.rounds[1] + 1):
                for cells in self._batches(experiment, self._wanted(experiment, turn)):
                    found += [(experiment, boot) for boot in self._boots(experiment, cells, turn)]
        return found

    def _remaining(self) -> float:
        left = self._rate() * sum(self._seconds(experiment, boot) for experiment, boot in self._left())
        return max(0.0, min(left, self._end - self._now()))


def describe(arm: Arm, cell: Cell) -> str:
    text = f"{arm}, {cell.conns} connections"
    if cell.tso:
        text += ", TSO"
    if cell.mtu != 1500:
        text += f", MTU {cell.mtu}"
    if cell.duration:
        text += f", {cell.duration} s"
    return text
