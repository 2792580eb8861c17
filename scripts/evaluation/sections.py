# SPDX-License-Identifier: GPL-2.0
"""The evaluation, figure by figure: from a results' file to tables and plots,
with what the paper says beside them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from rig import ORGS, results

from . import costs, data, kinds, latency, parts
from .data import REFERENCE
from .interval import Interval
from .parts import PUBLISHED, Section
from .plan import Arm, Experiment
from .store import Store
from .svg import Lines, Point, Series
from .tables import Table


@dataclass(frozen=True)
class Part:
    """A section, of which experiment's runs it is, and what makes it. Without runs
    it is the paper's tables and statement, and why there is nothing beside them.
    """

    name: str
    title: str
    experiment: str
    fill: Callable[[Store, Experiment, Section], None]
    published: Callable[[], list[Table]] = list


def build(store: Store) -> list[Section]:
    """All that the evaluation has, in the order of the paper."""
    found = []
    for part in PARTS:
        experiment = next((one for one in store.plan.experiments if one.name == part.experiment), None)
        section = Section(part.name, part.title)
        statement = PUBLISHED.get(part.name, {}).get("statement")
        section.paragraphs += [statement] if statement else []
        if experiment and any(store.of(part.experiment, arm, cell)
                              for arm in experiment.arms for cell in experiment.cells):
            part.fill(store, experiment, section)
            left = [f"{name.removeprefix(f'{part.experiment} of ')}, because {why}" for name, why in
                    store.session["left_out"].items() if name.startswith(f"{part.experiment} of ")]
            section.paragraphs += [f"Not measured: {'; '.join(left)}."] if left else []
        else:
            section.paragraphs.append(_why_not(store, part.experiment, experiment is not None))
            section.blocks += part.published()
        found.append(section)
    return found


def _why_not(store: Store, experiment: str, planned: bool) -> str:
    why = store.session["left_out"].get(experiment)
    if why:
        return f"Not measured here, because {why}."
    if planned:
        return "Not measured here: it is in the plan, but has no run that counts."
    return f"Not run in this plan (“{store.plan.level}”)."


# The figures


def _figure2(store: Store, experiment: Experiment, section: Section) -> None:
    machine = store.session["machine"]
    if "accel" in machine and machine["cores"] > 1:
        section.paragraphs.append(
            f"UP's guest uses one of this machine's {machine['cores']} cores; QEMU's own thread and the clients have "
            "the rest. The other guests use all of them and share them with these. So UP looks better here than with "
            "clients on machines of their own.")
    section.blocks += [
        parts.plot(store, experiment, "throughput", "Throughput by connections", "Mb/s", data.key("mbps")),
        parts.ratio_plot(store, experiment, "throughput-ratio", "Throughput, MsgP's of the same round = 1",
                         data.key("mbps")),
        _paper_ratios(store, experiment),
        parts.spreads(store, experiment, "Throughput, Mb/s", data.key("mbps"), ".0f"),
        parts.ratios(store, experiment, "Throughput, ratio to MsgP", data.key("mbps")),
        _paper_throughput(),
    ]
    section.blocks += [
        parts.spreads(store, experiment, "Context switches per MB of payload", _switches_per_mb, ".2f"),
        parts.spreads(store, experiment, "Segments that were sent again, per million sent", _retransmitted, ".0f"),
        parts.spreads(store, experiment, "Fairness among connections (Jain's index: 1 is equal shares)",
                      data.key("fairness"), ".3f"),
    ]


def _figure3(store: Store, experiment: Experiment, section: Section) -> None:
    durations = sorted({cell.duration for cell in experiment.cells})
    lines = Lines("short-long", "Throughput of short and long runs", "connections", "Mb/s")
    for arm in experiment.arms:
        for duration in durations:
            cells = [cell for cell in experiment.cells if cell.duration == duration]
            colour = parts.COLOURS[arm.org] + len(ORGS) * (duration != durations[-1])
            lines.series.append(Series(
                f"{parts.label(store, arm)}, {duration} s", colour,
                parts.points(store, experiment, arm, cells, data.key("mbps"), lambda cell: cell.conns),
                dashed=duration != durations[-1]))
    table = Table(f"Throughput of {durations[0]} s to that of {durations[-1]} s, in the same round",
                  ["conns", *(parts.label(store, arm) for arm in experiment.arms)])
    for conns in sorted({cell.conns for cell in experiment.cells}):
        cells = [cell for cell in experiment.cells if cell.conns == conns]
        short, long = cells[0], cells[-1]
        known = [data.ratio(store, experiment.name, (arm, short), (arm, long), data.key("mbps"))
                 for arm in experiment.arms]
        table.rows.append([str(conns), *map(parts.interval_text, known)])
    section.blocks += [lines, table, parts.spreads(store, experiment, "Throughput, Mb/s", data.key("mbps"), ".0f")]


def _table1(store: Store, experiment: Experiment, section: Section) -> None:
    paper = PUBLISHED["table1"]
    section.paragraphs.append(
        "Percent of the acquisitions of a lock that did not succeed at once, counted in a kernel built for it "
        "(CONFIG_LOCK_STAT), the same way in each organisation. An acquisition that is only tried, and given up, is "
        "in neither number. The paper's are those of " + paper["what"] + ". Linux has no global lock for lookups: its "
        "table of connections is read without one (RCU), and what is left to lock is the socket, and for connections "
        "that come and go a bucket of the table. ConnP-L only tries a group's lock when packets come, and leaves them "
        "to whoever holds it: the last table has what its own counters (/proc/net/tcp_connp) say of these, too.")
    loads = [cell.conns for cell in experiment.cells]
    table = Table("Acquisitions that did not succeed at once, %", ["organisation", "lock"], words=(0, 1))
    for conns in loads:
        table.header += [f"{conns}: paper", f"{conns}: here"]
    for arm in experiment.arms:
        for lock in ("group", "socket", "table"):
            figure = parts.percent(_contended(lock))
            here = [data.spread(store, experiment.name, arm, cell, figure) for cell in experiment.cells]
            if not any(here):
                continue
            # MsgP's in the paper is the table's, ConnP-L's the group's.
            counterpart = lock == ("group" if arm.groups else "table")
            row = [parts.label(store, arm), lock]
            for conns, spread in zip(loads, here, strict=True):
                known = counterpart and conns in paper["conns"] and str(arm) in paper
                row += [f"{paper[str(arm)][paper['conns'].index(conns)]}" if known else "-",
                        parts.spread_text(spread, ".2f")]
            table.rows.append(row)
    table.notes.append(parts.runs_text(store, experiment))
    section.blocks += [table, _tried(store, experiment)]


def _tried(store: Store, experiment: Experiment) -> Table:
    grouped = replace(experiment, arms=tuple(arm for arm in experiment.arms if arm.groups))
    return parts.spreads(store, grouped, "Attempts to take a group's lock that found it taken, tries included, %",
                         parts.percent(_group_contended), ".2f", upright=True)


def _figure5(store: Store, experiment: Experiment, section: Section) -> None:
    section.paragraphs.append(
        "The last table is from the counters of /proc/net/tcp_connp in the measured kernel, which also count "
        "an attempt that found the lock taken and left its packets to whoever holds it.")
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
                ratio_points.append(parts.ratio_point(arm.groups, known))
        lines.series.append(Series(name, number + 1, points))
        ratios.series.append(Series(name, number + 1, ratio_points))
    section.blocks += [
        lines, ratios,
        parts.spreads(store, experiment, "Throughput, Mb/s", data.key("mbps"), ".0f", upright=True),
        parts.ratios(store, experiment, "Throughput, ratio to MsgP", data.key("mbps"), upright=True),
        _tried(store, experiment),
    ]


def _offloads(store: Store, experiment: Experiment, section: Section) -> None:
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
            row = [parts.label(store, arm), str(conns)]
            spreads = [data.spread(store, experiment.name, arm, cells[setting], data.key("mbps"))
                       for setting in settings]
            speeds.rows.append(row + [parts.spread_text(spread, ".0f") for spread in spreads])
            known = [data.ratio(store, experiment.name, (arm, cells[setting]), (arm, cells[settings[0]]),
                                data.key("mbps")) for setting in settings[1:]]
            gains.rows.append(row + list(map(parts.interval_text, known)))
    gains.notes.append(parts.intervals_note(store))
    speeds.notes.append(parts.runs_text(store, experiment))
    section.blocks += [gains, speeds]


def _memory(store: Store, experiment: Experiment, section: Section) -> None:
    section.paragraphs.append(
        "Connections that were accepted and stand idle: by how much the kernel's slabs grew, for each, with everything "
        "that goes with a socket (file, inode, name). And the size of the TCP socket alone, where the kernel tells it. "
        "Groups themselves are a fixed number, whatever the number of connections.")
    section.blocks += [
        parts.spreads(store, experiment, "Slabs, bytes per connection", _slab_per_connection, ".0f"),
        parts.spreads(store, experiment, "A TCP socket, bytes", data.key("socket"), ".0f"),
    ]


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


def _paper_ratios(store: Store, experiment: Experiment) -> Table:
    table = Table("Ratios of throughput that the paper states, and here",
                  ["ratio", "conns", "paper", "here", "here, the difference is"], words=(0, 4))
    for stated in PUBLISHED["ratio"]:
        over, under = Arm.parse(stated["over"]), Arm.parse(stated["under"])
        cell = next((cell for cell in experiment.cells if cell.conns == stated["conns"]), None)
        known = data.ratio(store, experiment.name, (over, cell), (under, cell), data.key("mbps")) if cell else None
        table.rows.append([f"{parts.label(store, over)} to {parts.label(store, under)}", str(stated["conns"]),
                           f"{stated['ratio']:.2f}", parts.interval_text(known), _direction(stated["ratio"], known)])
    table.notes.append(parts.intervals_note(store))
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
        table.rows.append([parts.published_label(Arm.parse(one["arm"])), str(one["conns"]), str(one["mbps"]),
                           one["source"]])
    return table


def _paper_contention() -> Table:
    return parts.published_table("table1", "The paper's: acquisitions that did not succeed at once, %")


PARTS = (
    Part("figure2", "Figure 2: throughput by connections", "figure2", _figure2, lambda: [_paper_throughput()]),
    Part("figure3", "Figure 3: short and long runs", "figure3", _figure3),
    Part("table1", "Table 1: contention for locks", "table1", _table1, lambda: [_paper_contention()]),
    Part("figure5", "Figure 5: throughput by groups", "figure5", _figure5),
    Part("table2", "Table 2 and Figure 6: L2 misses", "profile", costs.misses, costs.published_misses),
    Part("table3", "Table 3: the scheduler", "profile", costs.scheduler, costs.published_scheduler),
    Part("instructions", "Instructions by part of the system", "profile", costs.instructions),
    Part("cpu", "CPU time", "figure2", costs.cpu),
    Part("offloads", "Section 4.1: TSO and jumbo frames", "offloads", _offloads),
    Part("latency", "Latency", "latency", latency.requests),
    Part("rate", "Connections a second", "rate", latency.connections),
    Part("memory", "Memory of a connection", "memory", _memory),
)
