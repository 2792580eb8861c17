# SPDX-License-Identifier: GPL-2.0
"""The plan file: experiments, cells, rounds; see plan.toml for what these are.

A plan is the experiments of one level. Its JSON form goes into the results'
file, so that the page needs no other.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rig import ORGS, RigError
from rig.clients import MAX_NICS

FILE = Path(__file__).with_name("plan.toml")


@dataclass(frozen=True)
class Arm:
    """An organisation, and with how many groups it boots."""

    org: str
    groups: int = 0  # 0: what its kernel makes

    @staticmethod
    def parse(text: str) -> Arm:
        found = re.fullmatch(r"([a-z-]+)(?:\((\d+)\))?", text)
        if not found or found[1] not in ORGS:
            raise RigError(f"{text!r} is no arm of an experiment: expected an organisation, as in {' '.join(ORGS)}, "
                           "perhaps with groups, as in connp-l(128)")
        return Arm(found[1], int(found[2] or 0))

    def __str__(self) -> str:
        return self.org + (f"({self.groups})" if self.groups else "")


@dataclass(frozen=True, order=True)
class Cell:
    """In what the arms are compared."""

    conns: int
    duration: int
    tso: bool
    mtu: int

    @property
    def nics(self) -> int:
        """None stays idle."""
        return min(MAX_NICS, self.conns)

    def goes_with(self, other: Cell) -> bool:
        """One boot can do both."""
        return replace(self, conns=other.conns) == other and self.nics == other.nics


@dataclass(frozen=True)
class Boot:
    """What one guest does: runs of one arm, in cells that differ in conns only."""

    arm: Arm
    cells: tuple[Cell, ...]
    warmup: int

    @property
    def conns(self) -> list[int]:
        return [cell.conns for cell in self.cells]


@dataclass(frozen=True)
class Experiment:
    name: str
    kind: str
    arms: tuple[Arm, ...]
    cells: tuple[Cell, ...]
    warmup: int
    rounds: tuple[int, int]  # at least, at most

    def batches(self, cells: list[Cell], seconds: float) -> list[tuple[Cell, ...]]:
        """CELLS as boots take them: such as go together, and measured for about
        SECONDS at most, or else alone.
        """
        found: list[list[Cell]] = []
        for cell in cells:
            last = found[-1] if found else []
            length = sum(one.duration + self.warmup for one in [*last, cell])
            if not last or not last[0].goes_with(cell) or length > seconds:
                found.append([])
            found[-1].append(cell)
        return [tuple(batch) for batch in found]

    def order(self, turn: int) -> list[Arm]:
        """The arms in the order of one round: another first each time."""
        first = turn % len(self.arms)
        return [*self.arms[first:], *self.arms[:first]]


@dataclass(frozen=True)
class Plan:
    level: str
    hours: float  # how long it may take
    interval: float
    confidence: float
    boot: float
    experiments: tuple[Experiment, ...]

    def to_json(self) -> dict[str, Any]:
        plan = asdict(self)
        for experiment, written in zip(self.experiments, plan["experiments"], strict=True):
            written["arms"] = [str(arm) for arm in experiment.arms]
        return plan

    @staticmethod
    def from_json(plan: dict[str, Any]) -> Plan:
        experiments = tuple(
            Experiment(one["name"], one["kind"], tuple(Arm.parse(arm) for arm in one["arms"]),
                       tuple(Cell(**cell) for cell in one["cells"]), one["warmup"],
                       (one["rounds"][0], one["rounds"][1]))
            for one in plan["experiments"])
        return Plan(plan["level"], plan["hours"], plan["interval"], plan["confidence"], plan["boot"], experiments)

    def expected(self, batches: Callable[[Experiment], list[tuple[Cell, ...]]],
                 seconds: Callable[[Experiment, Boot], float]) -> float:
        """Seconds that the least number of rounds takes."""
        return sum(experiment.rounds[0] * seconds(experiment, Boot(arm, cells, experiment.warmup))
                   for experiment in self.experiments for cells in batches(experiment) for arm in experiment.arms)


def levels(path: Path = FILE) -> list[Plan]:
    """All of the plan file, from the smallest level to the largest."""
    try:
        document = tomllib.loads(path.read_text())
        return [_level(name, document) for name in document["level"]]
    except tomllib.TOMLDecodeError as error:
        raise RigError(f"{path}: {error}") from error
    except KeyError as error:
        raise RigError(f"{path}: {error} is missing") from error


def fitting(plans: list[Plan], hours: float, expected: Callable[[Plan], float]) -> Plan:
    """The largest plan that fits, with HOURS as its limit."""
    fits = [plan for plan in plans if expected(plan) <= 3600 * hours]
    if not fits:
        raise RigError(f"HOURS={hours:g} is too short: the smallest plan, {plans[0].level}, takes about "
                       f"{expected(plans[0]) / 3600:.2f} hours")
    return replace(max(fits, key=expected), hours=hours)


def _level(name: str, document: dict[str, Any]) -> Plan:
    level = dict(document["level"][name])
    hours = float(level.pop("hours"))
    unknown = [experiment for experiment in level if experiment not in document["experiment"]]
    if unknown:
        raise RigError(f"plan: level {name} has {unknown[0]}, which is not an experiment")
    # In the order in which the plan has the experiments.
    experiments = tuple(_experiment(experiment, {**common, **level[experiment]})
                        for experiment, common in document["experiment"].items() if experiment in level)
    return Plan(name, hours, document["interval"], document["confidence"], document["boot"], experiments)


def _experiment(name: str, given: dict[str, Any]) -> Experiment:
    settings = given.get("settings", [{"tso": False, "mtu": 1500}])
    cells = tuple(Cell(conns, duration, setting["tso"], setting["mtu"])
                  for setting in settings for duration in given["duration"] for conns in given["conns"])
    least, most = given["rounds"]
    if not 1 <= least <= most:
        raise RigError(f"plan: {name} has rounds = [{least}, {most}]: expected at least 1, and not more than at most")
    arms = tuple(Arm.parse(text) for text in given["arms"])
    if len(set(arms)) != len(arms) or len(set(cells)) != len(cells):
        raise RigError(f"plan: {name} has something twice")
    return Experiment(name, given["kind"], arms, cells, given["warmup"], (least, most))
