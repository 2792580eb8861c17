# SPDX-License-Identifier: GPL-2.0
"""What the sections of the evaluation are made of: tables and plots that several
of them have.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rig import ORGS, results

from . import data
from .data import REFERENCE
from .interval import Interval
from .plan import Arm, Cell, Experiment
from .store import Store
from .svg import Bars, Lines, Point, Series
from .tables import Table

# The paper's own numbers.
PUBLISHED = tomllib.loads(Path(__file__).with_name("published.toml").read_text())

COLOURS = {org: number for number, org in enumerate(ORGS)}

Plot = Lines | Bars

# A table of the paper; what of a row of it stands in a column; and ours beside it.
Published = dict[str, Any]
Theirs = Callable[[list[float], int], str]
Ours = Callable[[Arm, Cell], str]
# What a part of the system's counts are summed up to.
Count = Callable[[dict[str, int]], int]


@dataclass
class Section:
    name: str
    title: str
    paragraphs: list[str] = field(default_factory=list)
    blocks: list[Table | Plot] = field(default_factory=list)


def published_label(arm: Arm) -> str:
    """The organisation in a table of the paper's numbers, with the groups it had there."""
    return ORGS[arm.org] + (f"({arm.groups})" if arm.groups else "(4)" if arm.org == "connp-t" else "")


def label(store: Store, arm: Arm) -> str:
    """The organisation as tables call it, with the groups it had."""
    groups = arm.groups
    if not groups:
        groups = next((run.get("groups", 0) for key, run in store.runs.items() if key.arm == arm), 0)
    return ORGS[arm.org] + (f"({groups})" if groups else "")


def spreads(store: Store, experiment: Experiment, title: str, figure: data.Figure, form: str,
            upright: bool = False) -> Table:
    """Median, lowest and highest run: a row a cell, a column an arm; or turned."""
    def cell_text(arm: Arm, cell: Cell) -> str:
        return spread_text(data.spread(store, experiment.name, arm, cell, figure), form)
    table = grid(store, experiment, title, list(experiment.arms), cell_text, upright)
    table.notes.append(f"Median (lowest–highest). {runs_text(store, experiment)}")
    return table


def ratios(store: Store, experiment: Experiment, title: str, figure: data.Figure, upright: bool = False) -> Table:
    def cell_text(arm: Arm, cell: Cell) -> str:
        return interval_text(data.ratio(store, experiment.name, (arm, cell), (REFERENCE, cell), figure))
    others = [arm for arm in experiment.arms if arm != REFERENCE]
    table = grid(store, experiment, title, others, cell_text, upright)
    widths = [known.width for arm in others for cell in experiment.cells
              if (known := data.ratio(store, experiment.name, (arm, cell), (REFERENCE, cell), figure))]
    close = sum(width <= store.plan.interval for width in widths)
    table.notes.append(f"{intervals_note(store)} {close} of {len(widths)} are known to within "
                       f"{100 * store.plan.interval:.0f} %; a ratio whose interval holds 1 is no difference seen.")
    return table


def grid(store: Store, experiment: Experiment, title: str, arms: list[Arm], text: Callable[[Arm, Cell], str],
         upright: bool) -> Table:
    names = {cell: str(cell.conns) for cell in experiment.cells}
    if len({cell.duration for cell in experiment.cells}) > 1:
        names = {cell: f"{cell.conns}, {cell.duration} s" for cell in experiment.cells}
    if upright:
        return Table(title, ["organisation", *(f"{name} conns" for name in names.values())],
                     [[label(store, arm), *(text(arm, cell) for cell in names)] for arm in arms])
    return Table(title, ["conns", *(label(store, arm) for arm in arms)],
                 [[name, *(text(arm, cell) for arm in arms)] for cell, name in names.items()])


def plot(store: Store, experiment: Experiment, name: str, title: str, unit: str, figure: data.Figure,
         decades: bool = False) -> Lines:
    return Lines(name, title, "connections", unit, [
        Series(label(store, arm), COLOURS[arm.org],
               points(store, experiment, arm, list(experiment.cells), figure, lambda cell: cell.conns))
        for arm in experiment.arms], decades=decades)


def points(store: Store, experiment: Experiment, arm: Arm, cells: list[Cell], figure: data.Figure,
           x: Callable[[Cell], float]) -> list[Point]:
    known = [(cell, data.spread(store, experiment.name, arm, cell, figure)) for cell in cells]
    return [Point(x(cell), one.median, one.low, one.high) for cell, one in known if one]


def ratio_plot(store: Store, experiment: Experiment, name: str, title: str, figure: data.Figure) -> Lines:
    lines = Lines(name, title, "connections", "ratio to MsgP", level=1.0, from_zero=False)
    for arm in experiment.arms:
        if arm == REFERENCE:
            continue
        known = [(cell, data.ratio(store, experiment.name, (arm, cell), (REFERENCE, cell), figure))
                 for cell in experiment.cells]
        lines.series.append(Series(label(store, arm), COLOURS[arm.org],
                                   [ratio_point(cell.conns, one) for cell, one in known if one]))
    return lines


def ratio_point(x: float, known: Interval) -> Point:
    """Without a bar where one round, or two far apart, say nothing of the spread."""
    if known.width > 1:
        return Point(x, known.ratio, known.ratio, known.ratio)
    return Point(x, known.ratio, known.low, known.high)


def spread_text(spread: data.Spread | None, form: str) -> str:
    if not spread:
        return "-"
    if spread.runs == 1 or spread.low == spread.high:
        return f"{spread.median:{form}}"
    return f"{spread.median:{form}} ({spread.low:{form}}–{spread.high:{form}})"


def interval_text(known: Interval | None) -> str:
    if not known:
        return "-"
    if known.rounds < 2:
        return f"{known.ratio:.2f} (1 round)"
    if known.width > 9:
        return f"{known.ratio:.2f} (unknown)"
    return f"{known.ratio:.2f} ({known.low:.2f}–{known.high:.2f})"


def intervals_note(store: Store) -> str:
    return f"In brackets the {100 * store.plan.confidence:.0f} % confidence interval."


def runs_text(store: Store, experiment: Experiment) -> str:
    counts = [len(store.of(experiment.name, arm, cell)) for cell in experiment.cells for arm in experiment.arms]
    low, high = min(counts), max(counts)
    times = sorted({cell.duration for cell in experiment.cells if cell.duration})
    text = f"{low} to {high} runs each" if low < high else f"{low} run{'s' if low > 1 else ''} each"
    return text + (f", of {' and '.join(map(str, times))} s after {experiment.warmup} s of warm-up." if times else ".")


def published_table(name: str, title: str) -> Table:
    """A table of the paper that has a row an organisation, a column a load."""
    paper = PUBLISHED[name]
    table = Table(title, ["organisation", *(f"{conns} conns" for conns in paper["conns"])])
    for key, row in paper.items():
        if key not in ("source", "what", "conns"):
            table.rows.append([published_label(Arm.parse(key)), *map(str, row)])
    table.notes.append(f"{paper['source']} of the paper.")
    return table


def percent(figure: data.Figure) -> data.Figure:
    def hundredfold(run: results.Run) -> float | None:
        share = figure(run)
        return None if share is None else 100 * share
    return hundredfold
