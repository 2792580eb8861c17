# SPDX-License-Identifier: GPL-2.0
"""Sections on what a kilobyte costs: misses, the scheduler and instructions, all
counted by tools/tcgprof, or on hosts by perf; and CPU time. A kilobyte is 1024 bytes
of payload.
"""

from __future__ import annotations

from rig import categories, profiler, results

from . import data, hosted, parts
from .data import REFERENCE
from .parts import PUBLISHED, Section
from .plan import Arm, Cell, Experiment
from .store import Store
from .svg import Bars
from .tables import Table

_MISSES = "L2 data cache misses per KB"
_SCHEDULER = "Cycles for the scheduler and its synchronization per KB"
_FUNCTIONS = 15
_BACK_ENDS = {"model": "tools/tcgprof, modelled caches", "perf": "perf, the server's PMU"}


def misses(store: Store, experiment: Experiment, section: Section) -> None:
    section.paragraphs.append(hosted.MISSES if hosted.is_hosted(store) else (
        "Counted in a model of the caches while the guest's CPUs are emulated (tools/tcgprof): data only, a pair of "
        "caches for each CPU that are kept coherent, without prefetching and without what devices write. Emulated "
        "CPUs take turns of some instructions, however long these would take, so data that two of them write may "
        "change sides more seldom than on hardware. Compare organisations; do not take it for the misses of a machine."))
    # The same, with another cache.
    for one in store.plan.experiments:
        if one.kind.startswith("profile") and (one == experiment or _has_runs(store, one)):
            cache = one.kind.removeprefix("profile ")
            name = f"event {hosted.event(store, one)}" if hosted.is_hosted(store) else f"modelled {cache}"
            section.blocks += _misses(store, one, name, "" if one == experiment else f"-{cache}")
    _tell_back_end(store, experiment, section)


def _has_runs(store: Store, experiment: Experiment) -> bool:
    return any(store.of(experiment.name, arm, cell) for arm in experiment.arms for cell in experiment.cells)


def _misses(store: Store, experiment: Experiment, cache: str, suffix: str) -> list[Table | parts.Plot]:
    total = _beside(store, experiment, "table2", f"{_MISSES}, {cache}", _all_misses, ".2f")
    reasons = [] if hosted.is_hosted(store) else [_reasons(store, experiment, cache)]
    return [
        _bars(store, experiment, f"misses{suffix}", f"{_MISSES} by part of the system, {cache}", "misses per KB",
              profiler.l2_misses),
        total, _relative(store, experiment, "table2", f"{_MISSES}, {cache}, ratio to MsgP", _all_misses), *reasons,
        *_by_part(store, experiment, f"{_MISSES} by part of the system, {cache}, medians", profiler.l2_misses, ".2f"),
    ]


def _reasons(store: Store, experiment: Experiment, cache: str) -> Table:
    table = Table(f"By their reason, {cache}: cold / capacity / coherence, medians",
                  ["organisation", *(f"{cell.conns} conns" for cell in experiment.cells)])
    for arm in experiment.arms:
        table.rows.append([parts.label(store, arm), *(_by_reason(store, experiment, arm, cell)
                                                      for cell in experiment.cells)])
    table.notes.append("Cold: never seen before by this CPU's caches; capacity: seen, and displaced since; coherence: "
                       "taken away by another CPU's write.")
    return table


def _tell_back_end(store: Store, experiment: Experiment, section: Section) -> None:
    """Below each table, where its numbers are from."""
    names = sorted({run.get("backend", "model") for key, run in store.runs.items()
                    if key.experiment == experiment.name})
    for block in section.blocks:
        if isinstance(block, Table):
            block.notes.append(f"Back end: {' and '.join(_BACK_ENDS[name] for name in names)}.")


def published_misses() -> list[Table]:
    return [parts.published_table("table2", f"The paper's: {_MISSES}")]


def scheduler(store: Store, experiment: Experiment, section: Section) -> None:
    unit = "cycles" if hosted.is_hosted(store) else "instructions"
    figure = _scheduling("cycles" if hosted.is_hosted(store) else "insns")
    section.paragraphs.append(hosted.SCHEDULER if hosted.is_hosted(store) else (
        "The paper has cycles here. Emulated CPUs have none, so this is the number of instructions: of the scheduler "
        "(kernel/sched, kernel threads' wake-ups, work queues) and of the locks that it takes. What an instruction "
        "costs there, with the misses that it has, is not in it. Interrupts of the other CPU to wake it, and idle CPUs "
        "waiting, are not counted as the scheduler's."))
    section.blocks += [
        _beside(store, experiment, "table3", f"{_SCHEDULER} in the paper, {unit} here", figure, ".1f"),
        _relative(store, experiment, "table3", f"{_SCHEDULER} in the paper, {unit} here; ratio to MsgP", figure),
        parts.spreads(store, experiment, "Context switches per MB of payload, under the profiler", _switches, ".2f"),
    ]
    _tell_back_end(store, experiment, section)


def published_scheduler() -> list[Table]:
    return [parts.published_table("table3", f"The paper's: {_SCHEDULER}")]


def instructions(store: Store, experiment: Experiment, section: Section) -> None:
    section.paragraphs.append(
        "The same runs: which part a function is of is told by its source file, from the debug information of a kernel "
        "with the same code; what the compiler inlined counts where it was inlined. The paper has no such figure.")
    section.blocks += [
        _bars(store, experiment, "instructions", "Instructions per KB by part of the system", "instructions per KB",
              _insns),
        *_by_part(store, experiment, "Instructions per KB by part of the system, medians", _insns, ".0f"),
        _functions(store, experiment),
    ]
    _tell_back_end(store, experiment, section)


def cpu(store: Store, experiment: Experiment, section: Section) -> None:
    section.paragraphs.append(hosted.CPU if hosted.is_hosted(store) else (
        "CPU time of the guest's CPUs for each KB, in the runs of Figure 2: what the host's scheduler accounted to the "
        "threads of QEMU that are these CPUs, to the nanosecond and whatever the guest believes. It is of the whole "
        "run, from when the server listens to its end, over all bytes of that run, so connecting, warm-up and draining "
        "are in it. A guest's CPU that idles sleeps and uses none. QEMU's other thread, which moves packets to and "
        "from the taps, is not in it, nor is what the clients use. Emulated, an instruction costs what its emulation "
        "costs; a miss of the guest's caches costs nothing. The paper has no such figure."))
    section.blocks += [
        parts.plot(store, experiment, "cpu", "CPU time per KB", "microseconds per KB", _microseconds),
        parts.spreads(store, experiment, "CPU time, microseconds per KB", _microseconds, ".2f"),
        parts.ratios(store, experiment, "CPU time per KB, ratio to MsgP", _microseconds),
    ]


# Figures of a run


def _per_kb(run: results.Run, count: float) -> float:
    return float(count / (run["bytes"] / 1024))


def _insns(counts: dict[str, int]) -> int:
    return counts["insns"]


def _all_misses(run: results.Run) -> float | None:
    return _per_kb(run, sum(map(profiler.l2_misses, run["categories"].values())))


def _scheduling(column: str) -> data.Figure:
    return lambda run: _per_kb(run, run["categories"][categories.SCHEDULER][column]
                               + run["scheduler_locks"][f"lock_{column}"])


def _switches(run: results.Run) -> float | None:
    return float(run["ctxsw"] / (run["bytes"] / 1e6))


def _microseconds(run: results.Run) -> float | None:
    used = run.get("cpu", {}).get("vcpus")
    return 1e6 * used / (run["total_bytes"] / 1024) if used and run["total_bytes"] else None


def _in_all(column: str) -> data.Figure:
    return lambda run: _per_kb(run, sum(counts[column] for counts in run["categories"].values()))


def _part(name: str, count: parts.Count) -> data.Figure:
    return lambda run: _per_kb(run, count(run["categories"][name]))


# Tables and plots


def _beside(store: Store, experiment: Experiment, table: str, title: str, figure: data.Figure, form: str) -> Table:
    """The paper's table beside ours."""
    paper = PUBLISHED[table]
    return _two_columns(
        store, experiment, paper, title, f"Here: median (lowest–highest). {parts.runs_text(store, experiment)}",
        list(experiment.arms), lambda values, at: f"{values[at]}",
        lambda arm, cell: parts.spread_text(data.spread(store, experiment.name, arm, cell, figure), form))


def _relative(store: Store, experiment: Experiment, table: str, title: str, figure: data.Figure) -> Table:
    """Each organisation's to MsgP's, the paper's and ours."""
    paper = PUBLISHED[table]
    reference = paper[str(REFERENCE)]
    return _two_columns(
        store, experiment, paper, title, parts.intervals_note(store),
        [arm for arm in experiment.arms if arm != REFERENCE], lambda values, at: f"{values[at] / reference[at]:.2f}",
        lambda arm, cell: parts.interval_text(
            data.ratio(store, experiment.name, (arm, cell), (REFERENCE, cell), figure)))


def _two_columns(store: Store, experiment: Experiment, paper: parts.Published, title: str, note: str, arms: list[Arm],
                 theirs: parts.Theirs, ours: parts.Ours) -> Table:
    table = Table(title, ["organisation"])
    for cell in experiment.cells:
        table.header += [f"{cell.conns}: paper", f"{cell.conns}: here"]
    for arm in arms:
        row = [parts.label(store, arm)]
        for cell in experiment.cells:
            known = str(arm) in paper and cell.conns in paper["conns"]
            row += [theirs(paper[str(arm)], paper["conns"].index(cell.conns)) if known else "-", ours(arm, cell)]
        table.rows.append(row)
    table.notes.append(note)
    return table


def _median(store: Store, experiment: Experiment, arm: Arm, cell: Cell, figure: data.Figure) -> float | None:
    spread = data.spread(store, experiment.name, arm, cell, figure)
    return spread.median if spread else None


def _by_reason(store: Store, experiment: Experiment, arm: Arm, cell: Cell) -> str:
    known = [_median(store, experiment, arm, cell, _in_all(column)) for column in profiler.L2_MISSES]
    return " / ".join("-" if one is None else f"{one:.2f}" for one in known)


def _by_part(store: Store, experiment: Experiment, title: str, count: parts.Count, form: str) -> list[Table]:
    """A table a load."""
    found = []
    for cell in experiment.cells:
        table = Table(f"{title}, {cell.conns} connections",
                      ["part of the system", *(parts.label(store, arm) for arm in experiment.arms)])
        for name in categories.ALL:
            known = [_median(store, experiment, arm, cell, _part(name, count)) for arm in experiment.arms]
            table.rows.append([name, *("-" if one is None else f"{one:{form}}" for one in known)])
        found.append(table)
    return found


def _bars(store: Store, experiment: Experiment, name: str, title: str, unit: str, count: parts.Count) -> Bars:
    values = {}
    for cell in experiment.cells:
        for arm in experiment.arms:
            for part in categories.ALL:
                known = _median(store, experiment, arm, cell, _part(part, count))
                if known is not None:
                    values[f"{cell.conns} conns", parts.label(store, arm), part] = known
    return Bars(name, title, unit, [f"{cell.conns} conns" for cell in experiment.cells],
                [parts.label(store, arm) for arm in experiment.arms], list(categories.ALL), values)


def _functions(store: Store, experiment: Experiment) -> Table:
    """Those that execute most with the reference, or else the first arm that ran."""
    cell = experiment.cells[min(1, len(experiment.cells) - 1)]
    last = {arm: runs[max(runs)] for arm in experiment.arms if (runs := store.of(experiment.name, arm, cell))}
    table = Table(f"Functions that execute most, {cell.conns} connections, instructions per KB",
                  ["function", "file", "part", *(parts.label(store, arm) for arm in last)], words=(0, 1, 2))
    if not last:
        return table
    per_kb = {arm: {(one["name"], one["file"]): _per_kb(run, one["insns"]) for one in run["functions"]}
              for arm, run in last.items()}
    first = last.get(REFERENCE) or next(iter(last.values()))
    for one in sorted(first["functions"], key=lambda one: int(one["insns"]), reverse=True)[:_FUNCTIONS]:
        key = one["name"], one["file"]
        table.rows.append([*key, one["category"], *(f"{known[key]:.0f}" if key in known else "-"
                                                    for known in per_kb.values())])
    table.notes.append("Of the last run of each. “-”: not among those that execute or miss most there, so not kept.")
    return table
