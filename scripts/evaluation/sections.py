# SPDX-License-Identifier: GPL-2.0
"""The evaluation, figure by figure: from a results' file to tables and plots,
with what the paper says beside them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rig import ORGS, results

from . import data, kinds
from .data import REFERENCE
from .interval import Interval
from .plan import Arm, Cell, Experiment
from .store import Store
from .svg import Bars, Lines, Point, Series
from .tables import Table

PUBLISHED = tomllib.loads(Path(__file__).with_name("published.toml").read_text())

_COLOURS = {org: number for number, org in enumerate(ORGS)}

Plot = Lines | Bars


@dataclass
class Section:
    name: str
    title: str
    paragraphs: list[str] = field(default_factory=list)
    blocks: list[Table | Plot] = field(default_factory=list)


def build(store: Store) -> list[Section]:
    """Those that the file has runs for, in the order of the paper."""
    found = []
    for name, make in _SECTIONS:
        experiment = next((one for one in store.plan.experiments if one.name == name), None)
        if experiment and any(store.of(name, arm, cell) for arm in experiment.arms for cell in experiment.cells):
            found.append(make(store, experiment))
    return found


def label(store: Store, arm: Arm) -> str:
    """The organisation as tables call it, with the groups it had."""
    groups = arm.groups
    if not groups:
        groups = next((run.get("groups", 0) for key, run in store.runs.items() if key.arm == arm), 0)
    return ORGS[arm.org] + (f"({groups})" if groups else "")


# The figures


def _figure2(store: Store, experiment: Experiment) -> Section:
    section = Section("figure2", "Figure 2: throughput by connections")
    section.blocks += [
        _plot(store, experiment, "throughput", "Throughput by connections", "Mb/s", data.key("mbps")),
        _ratio_plot(store, experiment, "throughput-ratio", "Throughput, MsgP's of the same round = 1",
                    data.key("mbps")),
        _paper_ratios(store, experiment),
        _spreads(store, experiment, "Throughput, Mb/s", data.key("mbps"), ".0f"),
        _ratios(store, experiment, "Throughput, ratio to MsgP", data.key("mbps")),
        _paper_throughput(),
    ]
    section.blocks += [
        _spreads(store, experiment, "Context switches per MB of payload", _switches_per_mb, ".2f"),
        _spreads(store, experiment, "Segments that were sent again, per million sent", _retransmitted, ".0f"),
        _spreads(store, experiment, "Fairness among connections (Jain's index: 1 is equal shares)",
                 data.key("fairness"), ".3f"),
    ]
    return section


def _figure3(store: Store, experiment: Experiment) -> Section:
    durations = sorted({cell.duration for cell in experiment.cells})
    section = Section("figure3", "Figure 3: short and long runs", [PUBLISHED["figure3"]["statement"]])
    lines = Lines("short-long", "Throughput of short and long runs", "connections", "Mb/s")
    for arm in experiment.arms:
        for duration in durations:
            cells = [cell for cell in experiment.cells if cell.duration == duration]
            lines.series.append(Series(
                f"{label(store, arm)}, {duration} s", _COLOURS[arm.org] + len(ORGS) * (duration != durations[-1]),
                _points(store, experiment, arm, cells, data.key("mbps"), lambda cell: cell.conns),
                dashed=duration != durations[-1]))
    table = Table(f"Throughput of {durations[0]} s to that of {durations[-1]} s, in the same round",
                  ["conns", *(label(store, arm) for arm in experiment.arms)])
    for conns in sorted({cell.conns for cell in experiment.cells}):
        cells = [cell for cell in experiment.cells if cell.conns == conns]
        short, long = cells[0], cells[-1]
        table.rows.append([str(conns), *(_interval(data.ratio(store, experiment.name, (arm, short), (arm, long),
                                                              data.key("mbps"))) for arm in experiment.arms)])
    section.blocks += [lines, table, _spreads(store, experiment, "Throughput, Mb/s", data.key("mbps"), ".0f")]
    return section


def _table1(store: Store, experiment: Experiment) -> Section:
    paper = PUBLISHED["table1"]
    section = Section("table1", "Table 1: contention for locks", [
        "Percent of the acquisitions of a lock that did not succeed at once, counted in a kernel built for it "
        "(CONFIG_LOCK_STAT), the same way in each organisation. An acquisition that is only tried, and given up, is "
        "in neither number. The paper's are those of " + paper["what"] + ". Linux has no global lock for lookups: its "
        "table of connections is read without one (RCU), and what is left to lock is the socket, and for connections "
        "that come and go a bucket of the table."])
    loads = [cell.conns for cell in experiment.cells]
    table = Table("Acquisitions that did not succeed at once, %", ["organisation", "lock"], words=(0, 1))
    for conns in loads:
        table.header += [f"{conns}: paper", f"{conns}: here"]
    for arm in experiment.arms:
        for lock in ("group", "socket", "table"):
            figure = _percent(_contended(lock))
            here = [data.spread(store, experiment.name, arm, cell, figure) for cell in experiment.cells]
            if not any(here):
                continue
            # MsgP's in the paper is the table's, ConnP-L's the group's.
            counterpart = lock == ("group" if arm.groups else "table")
            row = [label(store, arm), lock]
            for conns, spread in zip(loads, here, strict=True):
                known = counterpart and conns in paper["conns"] and str(arm) in paper
                row += [f"{paper[str(arm)][paper['conns'].index(conns)]}" if known else "-",
                        _spread(spread, ".2f")]
            table.rows.append(row)
    table.notes.append(_runs(store, experiment))
    section.blocks.append(table)
    return section


def _figure5(store: Store, experiment: Experiment) -> Section:
    section = Section("figure5", "Figure 5: throughput by groups", [
        PUBLISHED["figure5"]["statement"],
        "The last table is from the counters of /proc/net/tcp_connp in the measured kernel, which also count "
        "an attempt that found the lock taken and left its packets to whoever holds it."])
    grouped = [arm for arm in experiment.arms if arm.groups]
    lines = Lines("groups", "Throughput by number of groups", "groups of ConnP-L", "Mb/s")
    ratios = Lines("groups-ratio", "Throughput by number of groups, MsgP's of the same round = 1", "groups of ConnP-L",
                   "ratio to MsgP", level=1.0, from_zero=False)
    for number, cell in enumerate(experiment.cells):
        name = f"{cell.conns} connections"
        points, ratio_points = [], []
        for arm in grouped:
            spread = data.spread(store, experiment.name, arm, cell, data.key("mbps"))
            if spread:
                points.append(Point(arm.groups, spread.median, spread.low, spread.high))
            known = data.ratio(store, experiment.name, (arm, cell), (REFERENCE, cell), data.key("mbps"))
            if known:
                ratio_points.append(_ratio_point(arm.groups, known))
        lines.series.append(Series(name, number + 1, points))
        ratios.series.append(Series(name, number + 1, ratio_points))
    section.blocks += [
        lines, ratios,
        _spreads(store, experiment, "Throughput, Mb/s", data.key("mbps"), ".0f", upright=True),
        _ratios(store, experiment, "Throughput, ratio to MsgP", data.key("mbps"), upright=True),
        _spreads(store, experiment, "Attempts to take a group's lock that found it taken, %",
                 _percent(_group_contended), ".2f", upright=True),
    ]
    return section


def _offloads(store: Store, experiment: Experiment) -> Section:
    section = Section("offloads", "Section 4.1: TSO and jumbo frames", [PUBLISHED["offloads"]["statement"]])
    settings = sorted({(cell.tso, cell.mtu) for cell in experiment.cells})
    gains = Table("Throughput to that without TSO at MTU 1500, of the same organisation and round",
                  ["organisation", "conns"])
    speeds = Table("Throughput, Mb/s", ["organisation", "conns"])
    for tso, mtu in settings:
        name = f"{'TSO' if tso else 'no TSO'}, {mtu}"
        speeds.header.append(name)
        if (tso, mtu) != settings[0]:
            gains.header.append(name)
    for conns in sorted({cell.conns for cell in experiment.cells}):
        cells = {(cell.tso, cell.mtu): cell for cell in experiment.cells if cell.conns == conns}
        for arm in experiment.arms:
            row = [label(store, arm), str(conns)]
            spreads = [data.spread(store, experiment.name, arm, cells[setting], data.key("mbps"))
                       for setting in settings]
            speeds.rows.append(row + [_spread(spread, ".0f") for spread in spreads])
            gains.rows.append(row + [_interval(data.ratio(store, experiment.name, (arm, cells[setting]),
                                                          (arm, cells[settings[0]]), data.key("mbps")))
                                     for setting in settings[1:]])
    gains.notes.append(_intervals_note(store))
    speeds.notes.append(_runs(store, experiment))
    section.blocks += [gains, speeds]
    return section


def _memory(store: Store, experiment: Experiment) -> Section:
    section = Section("memory", "Memory of a connection", [
        "Connections that were accepted and stand idle: by how much the kernel's slabs grew, for each, with everything "
        "that goes with a socket (file, inode, name). And the size of the TCP socket alone, where the kernel tells it. "
        "Groups themselves are a fixed number, whatever the number of connections."])
    section.blocks += [
        _spreads(store, experiment, "Slabs, bytes per connection", _slab_per_connection, ".0f"),
        _spreads(store, experiment, "A TCP socket, bytes", data.key("socket"), ".0f"),
    ]
    return section


_SECTIONS: tuple[tuple[str, Callable[[Store, Experiment], Section]], ...] = (
    ("figure2", _figure2),
    ("figure3", _figure3),
    ("table1", _table1),
    ("figure5", _figure5),
    ("offloads", _offloads),
    ("memory", _memory),
)


# Figures of a run


def _switches_per_mb(run: results.Run) -> float | None:
    return run["ctxsw"] / (run["bytes"] / 1e6) if run["bytes"] else None


def _retransmitted(run: results.Run) -> float | None:
    counted = run["counters"]
    return 1e6 * counted["TcpRetransSegs"] / counted["TcpOutSegs"] if counted["TcpOutSegs"] else None


def _group_contended(run: results.Run) -> float | None:
    counted = run["counters"]
    return counted["contended"] / counted["acquisitions"] if counted.get("acquisitions") else None


def _slab_per_connection(run: results.Run) -> float | None:
    return float(run["slab"] / run["conns"])


def _contended(lock: str) -> data.Figure:
    return lambda run: kinds.contended(run, lock)


def _percent(figure: data.Figure) -> data.Figure:
    def percent(run: results.Run) -> float | None:
        share = figure(run)
        return None if share is None else 100 * share
    return percent


# Tables and plots that several sections have


def _spreads(store: Store, experiment: Experiment, title: str, figure: data.Figure, form: str,
             upright: bool = False) -> Table:
    """Median, lowest and highest run: a row a cell, a column an arm; or turned."""
    def cell_text(arm: Arm, cell: Cell) -> str:
        return _spread(data.spread(store, experiment.name, arm, cell, figure), form)
    table = _grid(store, experiment, title, list(experiment.arms), cell_text, upright)
    table.notes.append(f"Median (lowest–highest). {_runs(store, experiment)}")
    return table


def _ratios(store: Store, experiment: Experiment, title: str, figure: data.Figure, upright: bool = False) -> Table:
    def cell_text(arm: Arm, cell: Cell) -> str:
        return _interval(data.ratio(store, experiment.name, (arm, cell), (REFERENCE, cell), figure))
    others = [arm for arm in experiment.arms if arm != REFERENCE]
    table = _grid(store, experiment, title, others, cell_text, upright)
    widths = [known.width for arm in others for cell in experiment.cells
              if (known := data.ratio(store, experiment.name, (arm, cell), (REFERENCE, cell), figure))]
    close = sum(width <= store.plan.interval for width in widths)
    table.notes.append(f"{_intervals_note(store)} {close} of {len(widths)} are known to within "
                       f"{100 * store.plan.interval:.0f} %; a ratio whose interval holds 1 is no difference seen.")
    return table


def _grid(store: Store, experiment: Experiment, title: str, arms: list[Arm], text: Callable[[Arm, Cell], str],
          upright: bool) -> Table:
    names = {cell: str(cell.conns) for cell in experiment.cells}
    if len({cell.duration for cell in experiment.cells}) > 1:
        names = {cell: f"{cell.conns}, {cell.duration} s" for cell in experiment.cells}
    if upright:
        return Table(title, ["organisation", *(f"{name} conns" for name in names.values())],
                     [[label(store, arm), *(text(arm, cell) for cell in names)] for arm in arms])
    return Table(title, ["conns", *(label(store, arm) for arm in arms)],
                 [[name, *(text(arm, cell) for arm in arms)] for cell, name in names.items()])


def _plot(store: Store, experiment: Experiment, name: str, title: str, unit: str, figure: data.Figure) -> Lines:
    return Lines(name, title, "connections", unit, [
        Series(label(store, arm), _COLOURS[arm.org],
               _points(store, experiment, arm, list(experiment.cells), figure, lambda cell: cell.conns))
        for arm in experiment.arms])


def _points(store: Store, experiment: Experiment, arm: Arm, cells: list[Cell], figure: data.Figure,
            x: Callable[[Cell], float]) -> list[Point]:
    spreads = [(cell, data.spread(store, experiment.name, arm, cell, figure)) for cell in cells]
    return [Point(x(cell), spread.median, spread.low, spread.high) for cell, spread in spreads if spread]


def _ratio_plot(store: Store, experiment: Experiment, name: str, title: str, figure: data.Figure) -> Lines:
    lines = Lines(name, title, "connections", "ratio to MsgP", level=1.0, from_zero=False)
    for arm in experiment.arms:
        if arm == REFERENCE:
            continue
        known = [(cell, data.ratio(store, experiment.name, (arm, cell), (REFERENCE, cell), figure))
                 for cell in experiment.cells]
        lines.series.append(Series(label(store, arm), _COLOURS[arm.org],
                                   [_ratio_point(cell.conns, one) for cell, one in known if one]))
    return lines


def _ratio_point(x: float, known: Interval) -> Point:
    """Without a bar where one round, or two far apart, say nothing of the spread."""
    if known.width > 1:
        return Point(x, known.ratio, known.ratio, known.ratio)
    return Point(x, known.ratio, known.low, known.high)


def _paper_ratios(store: Store, experiment: Experiment) -> Table:
    table = Table("Ratios of throughput that the paper states, and here",
                  ["ratio", "conns", "paper", "here", "here, the difference is"], words=(0, 4))
    for stated in PUBLISHED["ratio"]:
        over, under = Arm.parse(stated["over"]), Arm.parse(stated["under"])
        cell = next((cell for cell in experiment.cells if cell.conns == stated["conns"]), None)
        known = data.ratio(store, experiment.name, (over, cell), (under, cell), data.key("mbps")) if cell else None
        table.rows.append([f"{label(store, over)} to {label(store, under)}", str(stated["conns"]),
                           f"{stated['ratio']:.2f}", _interval(known), _direction(stated["ratio"], known)])
    table.notes.append(_intervals_note(store))
    return table


def _direction(stated: float, known: Interval | None) -> str:
    if not known:
        return "not measured"
    if known.rounds < 2:
        return "not known"
    if known.low <= 1 <= known.high:
        return "none seen"
    return "of the same sign" if (known.ratio > 1) == (stated > 1) else "of the opposite sign"


def _paper_throughput() -> Table:
    table = Table("The paper's throughput, Mb/s, as far as its text has numbers",
                  ["organisation", "conns", "Mb/s", "where"], words=(0, 3))
    for one in PUBLISHED["throughput"]:
        arm = Arm.parse(one["arm"])
        name = ORGS[arm.org] + (f"({arm.groups})" if arm.groups else "(4)" if arm.org == "connp-t" else "")
        table.rows.append([name, str(one["conns"]), str(one["mbps"]), one["source"]])
    return table


def _spread(spread: data.Spread | None, form: str) -> str:
    if not spread:
        return "-"
    if spread.runs == 1 or spread.low == spread.high:
        return f"{spread.median:{form}}"
    return f"{spread.median:{form}} ({spread.low:{form}}–{spread.high:{form}})"


def _interval(known: Interval | None) -> str:
    if not known:
        return "-"
    if known.rounds < 2:
        return f"{known.ratio:.2f} (1 round)"
    if known.width > 9:
        return f"{known.ratio:.2f} (unknown)"
    return f"{known.ratio:.2f} ({known.low:.2f}–{known.high:.2f})"


def _intervals_note(store: Store) -> str:
    return f"In brackets the {100 * store.plan.confidence:.0f} % confidence interval."


def _runs(store: Store, experiment: Experiment) -> str:
    counts = [len(store.of(experiment.name, arm, cell)) for cell in experiment.cells for arm in experiment.arms]
    low, high = min(counts), max(counts)
    times = sorted({cell.duration for cell in experiment.cells if cell.duration})
    text = f"{low} to {high} runs each" if low < high else f"{low} run{'s' if low > 1 else ''} each"
    return text + (f", of {' and '.join(map(str, times))} s after {experiment.warmup} s of warm-up." if times else ".")


