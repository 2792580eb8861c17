#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Tests of the evaluation's programs, without a guest; TAP on stdout.

The runs here are made up by Imitation, which knows what it put in, so what comes
out can be checked. Their results' file says that they are made up, and so does
each page that is made of it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
import paper  # noqa: E402
from evaluation import data, kinds, page, parts, plan, runner, sections, svg  # noqa: E402
from evaluation.interval import of_ratios, t_quantile  # noqa: E402
from evaluation.kinds import Begin, Kind, Tick  # noqa: E402
from evaluation.plan import Arm, Boot, Cell, Experiment, Plan  # noqa: E402
from evaluation.store import Store, put_aside  # noqa: E402
from rig import RigError, categories, counters, profiler, results, tap  # noqa: E402

_CELLS = (Cell(6, 10, False, 1500), Cell(192, 10, False, 1500))
_ARMS = tuple(map(Arm.parse, ("up", "msgp", "connp-l(128)", "connp-t")))
_SPEED = {"up": 800.0, "msgp": 1000.0, "connp-l": 1100.0, "connp-t": 900.0}


class Interrupted(Exception):
    """As ^C would end a session."""


class Imitation:
    """Runs that take no time, on a clock of their own."""

    def __init__(self) -> None:
        self.time = 0.0
        self.boots: list[Boot] = []
        self.runs = 0
        self.interrupt_after = -1
        self.noise: dict[int, float] = {}  # by connections: how much every other run is faster
        self.broken: Arm | None = None
        self.refused: Callable[[Arm], bool] = lambda arm: False

    def kinds(self) -> dict[str, Kind]:
        return {name: Kind(name, "", kind.figure, self._measure, lambda run: "made up", alone=kind.alone)
                for name, kind in kinds.ALL.items()}

    def _measure(self, boot: Boot, begin: Begin, tick: Tick) -> Iterator[results.Run]:
        self.boots.append(boot)
        self.time += 5
        for cell in boot.cells:
            if self.runs == self.interrupt_after:
                raise Interrupted
            begin(cell.conns)
            tick()
            if boot.arm == self.broken:
                raise RigError("made up: a warning in the guest\nwith a trace")
            self.runs += 1
            self.time += cell.duration + boot.warmup
            yield self._run(boot.arm, cell)

    def _run(self, arm: Arm, cell: Cell) -> results.Run:
        mbps = _SPEED[arm.org]
        # MsgP's stays, so that the ratio is as noisy as this.
        if arm != data.REFERENCE and len(self.boots) // len(_ARMS) % 2:
            mbps *= 1 + self.noise.get(cell.conns, 0)
        grouped = arm.org.startswith("connp")
        size = int(mbps * 125000 * (cell.duration or 1))
        return {"org": arm.org, "conns": cell.conns, "mbps": mbps, "bytes": size,
                "seconds": cell.duration, "ctxsw": 5000, "fairness": 0.99, "retransmits": 3,
                "groups": arm.groups or 2 * (arm.org == "connp-t"), "clock_error": 0.0, "refused": self.refused(arm),
                "counters": {"TcpOutSegs": 100000, "TcpRetransSegs": 3,
                             **({"acquisitions": 1000, "contended": 20} if grouped else {})},
                "locks": {"socket": {"acquired": 1000, "contended": 10}, "table": {"acquired": 100, "contended": 0},
                          "group": {"acquired": 500 * grouped, "contended": 25 * grouped}},
                "slab": 4000 * cell.conns, "pages": 0, "socket": 2304,
                # 7 us a KB, and so 70 us a request of which there are a tenth.
                "cpu": {"vcpus": 7e-6 * size / 1024, "qemu": 9e-6 * size / 1024}, "total_bytes": size,
                "rps": 10 * mbps, "total_requests": size / 10240,
                "latency": {"p50": 1e6 / mbps, "p90": 2e6 / mbps, "p99": 3e6 / mbps, "p99.9": 4e6 / mbps},
                **self._profile(size)}

    @staticmethod
    def _profile(size: int) -> results.Run:
        """For a KB 1000 instructions of the network stack and 100 of the scheduler,
        with 50 more of its locks; misses of 0.5, 0.25 and 0.125 there.
        """
        kilobytes = size / 1024
        nothing = dict.fromkeys(profiler.COLUMNS, 0)
        misses = {"l2_cold": 0.5 * kilobytes, "l2_capacity": 0.25 * kilobytes, "l2_coherence": 0.125 * kilobytes}
        stack = {**nothing, "insns": 1000 * kilobytes, **misses}
        return {"categories": {**{name: nothing for name in categories.ALL}, "network stack": stack,
                               categories.SCHEDULER: {**nothing, "insns": 100 * kilobytes}},
                "scheduler_locks": {"lock_insns": 50 * kilobytes, "lock_l2_misses": 0},
                "functions": [{"name": "tcp_ack", "file": "net/ipv4/tcp_input.c", "category": "network stack",
                               "insns": 77 * kilobytes, **misses}]}


def session(chosen: Plan, **changes: Any) -> dict[str, Any]:
    return {"date": "2000-01-01 00:00 UTC", "commit": "made-up", "kernel": "0.0.0", "made_up": True,
            "machine": {"cpu": "none", "cores": 2, "qemu": "none", "accel": "tcg"},
            "identity": {"kernel msgp": "0"}, "plan": chosen.to_json(),
            "left_out": {"table1 of up": "this is a test"}, **changes}


def small_plan(rounds: tuple[int, int] = (3, 5), hours: float = 10) -> Plan:
    return Plan("quick", hours, 0.05, 0.95, 300, (Experiment("figure2", "stream", _ARMS, _CELLS, 1, rounds),))


def carry_out(imitation: Imitation, path: Path, chosen: Plan, **changes: Any) -> tuple[Store, int]:
    store = Store(path)
    store.begin(**session(chosen, **changes))
    try:
        return store, runner.Runner(store, imitation.kinds(), lambda: imitation.time).run()
    except Interrupted:
        return store, 0


def refuses(action: Callable[[], object], text: str) -> None:
    try:
        action()
    except RigError as error:
        assert text in str(error), error
        return
    raise AssertionError(f"nothing was refused with {text!r}")


# The tests; each has a folder of its own


def test_quantiles_of_students_t(_folder: Path) -> None:
    # As printed in tables.
    for probability, freedom, value in ((0.975, 1, 12.7062), (0.975, 2, 4.3027), (0.975, 4, 2.7764), (0.975, 9, 2.2622),
                                        (0.95, 5, 2.0150), (0.995, 10, 3.1693), (0.975, 120, 1.9799)):
        assert abs(t_quantile(probability, freedom) - value) < 1e-4, (probability, freedom)


def test_interval_of_ratios(_folder: Path) -> None:
    # Logarithms 0, 0.1 and 0.2: mean 0.1, standard deviation 0.1.
    known = of_ratios([1.0, 1.1051709181, 1.2214027582], 0.95)
    assert abs(known.ratio - 1.1051709) < 1e-6
    assert abs(known.width - 0.2819903) < 1e-6
    assert abs(known.low * known.high - known.ratio ** 2) < 1e-9
    turned = of_ratios([1 / 1.0, 1 / 1.1051709181, 1 / 1.2214027582], 0.95)
    assert abs(turned.low - 1 / known.high) < 1e-9 and abs(turned.high - 1 / known.low) < 1e-9


def test_one_round_has_no_interval(_folder: Path) -> None:
    known = of_ratios([1.5], 0.95)
    assert known.low == 0 and known.width > 1e9


def test_levels_of_the_plan(_folder: Path) -> None:
    levels = plan.levels()
    times = [paper.expected(one) for one in levels]
    assert [one.level for one in levels] == ["quick", "half", "short", "long", "full"]
    assert times == sorted(times)
    for one, seconds in zip(levels, times, strict=True):
        assert seconds < 3600 * one.hours, f"{one.level} does not fit its own time"
        assert Plan.from_json(one.to_json()) == one
    assert levels[0].hours < 20 / 60 and levels[-1].hours <= 12
    # Figure 2 as the paper has it.
    figure2 = next(one for one in levels[-1].experiments if one.name == "figure2")
    assert [cell.conns for cell in figure2.cells] == [6, 24, 96, 192, 768, 1536, 3072, 6144, 16384]


def test_hours_choose_the_largest_plan_that_fits(_folder: Path) -> None:
    levels = plan.levels()
    for hours in (0.3, 0.7, 2, 5, 20):
        chosen = plan.fitting(levels, hours, paper.expected)
        assert paper.expected(chosen) <= 3600 * hours and chosen.hours == hours
        larger = [one for one in levels if paper.expected(one) > paper.expected(chosen)]
        assert all(paper.expected(one) > 3600 * hours for one in larger)
    refuses(lambda: plan.fitting(levels, 0.01, paper.expected), "too short")
    refuses(lambda: paper.hours("two"), "HOURS=two")


def test_no_figure_is_left_without_runs_for_another(_folder: Path) -> None:
    # With the least rounds of a level there are runs of each.
    for one in plan.levels()[1:]:
        experiments = {experiment.name: experiment for experiment in one.experiments}
        assert experiments.keys() >= {"figure2", "figure5", "table1", "profile", "offloads", "latency", "rate",
                                      "memory"}, one.level
        assert {6, 192, 3072} <= {cell.conns for cell in experiments["figure2"].cells}, one.level
        assert experiments["figure2"].arms == _ARMS, one.level


def test_only_what_can_be_run_is_planned(folder: Path) -> None:
    imitation = Imitation()
    original = kinds.ALL.copy()
    try:
        kinds.ALL.update(imitation.kinds())
        kinds.ALL["profile opteron275"] = replace(
            kinds.ALL["stream"], variant="none", beside=(), missing=lambda: "")
        kinds.ALL["rr"] = replace(kinds.ALL["stream"], missing=lambda: "there is no tool")
        chosen = next(one for one in plan.levels() if one.level == "half")
        usable, left_out = paper.possible(chosen)
    finally:
        kinds.ALL.update(original)
    names = {one.name for one in usable.experiments}
    assert "latency" not in names and left_out["latency"] == "there is no tool"
    assert "profile" not in names and "up-none is not built" in left_out["profile"]
    for one in chosen.experiments:
        left = {name for name in left_out if name == one.name or name.startswith(f"{one.name} of ")}
        kept = next((other.arms for other in usable.experiments if other.name == one.name), ())
        assert len(kept) + (len(left) if kept else len(one.arms)) == len(one.arms), one.name
    assert folder.exists()


def test_wrong_plans_are_refused(folder: Path) -> None:
    good = plan.FILE.read_text()
    for change, text in (("rounds = [2, 4]", "rounds = [4, 2]"), ('"connp-t"]', '"connp-x"]'),
                         ("hours = 2\n", "hours = \n")):
        assert change in good
        (folder / "plan.toml").write_text(good.replace(change, text))
        refuses(lambda: plan.levels(folder / "plan.toml"), "")


def test_boots_hold_cells_that_go_together(_folder: Path) -> None:
    cells = [Cell(conns, 20, tso, 1500) for tso in (False, True) for conns in (6, 24, 96, 192)]
    experiment = Experiment("figure2", "stream", _ARMS, tuple(cells), 5, (1, 1))
    found = experiment.batches(cells, 60)
    assert [cell for batch in found for cell in batch] == cells
    assert [len(batch) for batch in found] == [2, 2, 2, 2]
    assert all(len({cell.tso for cell in batch}) == 1 for batch in found)
    assert [len(batch) for batch in experiment.batches(cells, 0)] == [1] * 8
    # A boot has as many NICs as connections, up to six.
    cells = [Cell(conns, 1, False, 1500) for conns in (1, 6, 24)]
    assert [[cell.conns for cell in batch] for batch in experiment.batches(cells, 60)] == [[1], [6, 24]]


def test_arms_are_interleaved(folder: Path) -> None:
    imitation = Imitation()
    carry_out(imitation, folder / "runs", small_plan((4, 4)))
    arms = [boot.arm for boot in imitation.boots]
    assert len(arms) == 16
    rounds = [arms[start:start + 4] for start in range(0, 16, 4)]
    assert all(set(one) == set(_ARMS) for one in rounds)
    assert {one[0] for one in rounds} == set(_ARMS)


def test_rounds_end_when_ratios_are_known(folder: Path) -> None:
    imitation = Imitation()
    imitation.noise = {192: 0.5}
    store, _ = carry_out(imitation, folder / "runs", small_plan((3, 7)))
    assert len(store.of("figure2", _ARMS[0], _CELLS[0])) == 3
    assert len(store.of("figure2", _ARMS[0], _CELLS[1])) == 7


def test_time_ends_a_session(folder: Path) -> None:
    imitation = Imitation()
    chosen = small_plan((50, 50), hours=0.2)
    store, _ = carry_out(imitation, folder / "runs", chosen)
    assert 0.1 * 3600 < imitation.time <= 0.2 * 3600, imitation.time
    # Only whole rounds, for others' runs would be for nothing.
    assert len({len(store.of("figure2", arm, cell)) for arm in _ARMS for cell in _CELLS}) == 1
    before = len(store.runs)
    store, _ = carry_out(imitation, folder / "runs", chosen)
    assert len(store.runs) > before


def test_what_is_needed_comes_before_more(folder: Path) -> None:
    first = small_plan((1, 9)).experiments[0]
    second = replace(first, name="figure5", rounds=(3, 9))
    imitation = Imitation()
    # Time for six rounds: of 4 arms, in one boot each, of 27 s.
    needed = 6 * 4 * 27
    chosen = replace(small_plan(hours=1.5 * needed / 3600), experiments=(first, second))
    store, _ = carry_out(imitation, folder / "runs", chosen)
    rounds = {one.name: len(store.of(one.name, _ARMS[0], _CELLS[0])) for one in chosen.experiments}
    assert rounds["figure5"] >= 3 and rounds["figure2"] > 1, rounds
    # The file has them in the order in which they ran.
    ran = list(dict.fromkeys((key.experiment, key.round) for key in store.runs))
    assert ran[:4] == [("figure2", 1), ("figure5", 1), ("figure5", 2), ("figure5", 3)], ran


def test_interrupted_sessions_go_on(folder: Path) -> None:
    whole = Imitation()
    reference, _ = carry_out(whole, folder / "whole", small_plan())
    imitation = Imitation()
    for stop in range(1, whole.runs, 2):
        imitation.interrupt_after = stop
        carry_out(imitation, folder / "runs", small_plan())
        # Interrupted in the middle of a line.
        with (folder / "runs").open("ab") as file:
            file.write(b'{"what":"run","exper')
    imitation.interrupt_after = -1
    store, _ = carry_out(imitation, folder / "runs", small_plan())
    assert imitation.runs == whole.runs
    assert store.runs.keys() == reference.runs.keys()
    assert Store(folder / "runs").runs == store.runs
    carry_out(imitation, folder / "runs", small_plan())
    assert imitation.runs == whole.runs, "what is complete was run again"


def test_what_changed_is_noticed(folder: Path) -> None:
    carry_out(Imitation(), folder / "runs", small_plan((1, 1)))
    store = Store(folder / "runs")
    lines = len((folder / "runs").read_bytes().splitlines())
    refuses(lambda: store.begin(**session(small_plan(), identity={"kernel msgp": "1"})), "kernel msgp: 0 then, 1 now")
    assert len((folder / "runs").read_bytes().splitlines()) == lines
    said = " ".join(store.begin(**session(small_plan((2, 2)), commit="another")))
    assert "made-up and is another" in said and "the plan has changed" in said
    said = " ".join(store.begin(**session(small_plan((2, 2)), commit="another")))
    assert "commit" not in said and "plan" not in said
    aside = put_aside(folder / "runs")
    assert aside and aside.exists() and not (folder / "runs").exists()
    assert Store(aside).runs == store.runs


def test_foreign_files_are_refused(folder: Path) -> None:
    for content in ('{"what":"other"}\n', "[]\n", "text\n", '{"what":"session","format":99}\n'):
        (folder / "runs").write_text(content)
        refuses(lambda: Store(folder / "runs"), "runs:1 is not a line of a file of `make paper`")


def test_failures_do_not_end_a_session(folder: Path) -> None:
    imitation = Imitation()
    imitation.broken = Arm("connp-t")
    store, failures = carry_out(imitation, folder / "runs", small_plan((4, 4)))
    assert failures == 2, "an arm is left out after two failures"
    assert len(store.of("figure2", Arm("msgp"), _CELLS[1])) == 4
    assert not store.of("figure2", imitation.broken, _CELLS[0])
    assert "Failed in round 1: figure2, connp-t: made up: a warning in the guest" in page.text(store)
    imitation.broken = Arm("msgp")
    hopeless = replace(small_plan(), experiments=(replace(small_plan().experiments[0], arms=(Arm("msgp"),)),))
    carry_out(imitation, folder / "other", hopeless)


def test_refused_runs_enter_no_figure(folder: Path) -> None:
    imitation = Imitation()
    imitation.refused = lambda arm: arm == Arm("up")
    store, _ = carry_out(imitation, folder / "runs", small_plan((2, 2)))
    assert len(store.runs) == 16 and not store.of("figure2", Arm("up"), _CELLS[0])
    assert data.ratio(store, "figure2", (Arm("up"), _CELLS[0]), (data.REFERENCE, _CELLS[0]), data.key("mbps")) is None
    assert "4 runs are left out, because the guest's clock" in page.text(store)


def test_ratios_are_of_the_same_round(folder: Path) -> None:
    store, _ = carry_out(Imitation(), folder / "runs", small_plan((3, 3)))
    known = data.ratio(store, "figure2", (_ARMS[2], _CELLS[0]), (data.REFERENCE, _CELLS[0]), data.key("mbps"))
    assert known and abs(known.ratio - 1.1) < 1e-12 and known.rounds == 3
    spread = data.spread(store, "figure2", _ARMS[0], _CELLS[0], data.key("mbps"))
    assert spread == data.Spread(800, 800, 800, 3)


class Checker(HTMLParser):
    """Tags are closed in order, ids and references go together, and nothing is
    fetched.
    """

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        for name, value in attrs:
            assert name not in ("src", "srcset", "action", "data"), f"<{tag} {name}>"
            assert tag not in ("script", "link", "iframe", "img", "object", "embed")
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "xlink:href"):
                self.references.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open}"
        self.open.pop()


def whole_store(folder: Path, imitation: Imitation | None = None, **changes: Any) -> Store:
    """All kinds of sections, with the full plan's experiments."""
    full = next(one for one in plan.levels() if one.level == "full")
    experiments = tuple(replace(one, rounds=(2, 2)) for one in full.experiments)
    whole = replace(full, hours=1000, experiments=experiments)
    return carry_out(imitation or Imitation(), folder / "all.jsonl", whole, **changes)[0]


def test_page_is_whole_and_needs_nothing_else(folder: Path) -> None:
    store = whole_store(folder)
    paper.write_page(store, folder / "out")
    document = (folder / "out/all.html").read_text()
    checker = Checker()
    checker.feed(document)
    checker.close()
    assert not checker.open
    assert len(set(checker.ids)) == len(checker.ids)
    assert all(reference[0] == "#" and reference[1:] in checker.ids for reference in checker.references)
    # As XML too; and the only address in it is that of SVG's name space.
    ElementTree.fromstring(document.partition("\n")[2])
    assert "url(" not in document and "@import" not in document
    assert "://" not in document.replace("http://www.w3.org/2000/svg", "")
    drawings = list((folder / "out").glob("*.svg"))
    assert len(drawings) >= 5
    for drawing in drawings:
        root = ElementTree.parse(drawing).getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert "nan" not in drawing.read_text()


def test_sections_show_what_was_put_in(folder: Path) -> None:
    store = whole_store(folder)
    text = page.text(store)
    found = {section.name for section in sections.build(store)}
    assert {part.name for part in sections.PARTS} == found, found
    # The imitation's ratios, shares and sizes, and the paper's own numbers.
    for words in ("1.10 (1.10–1.10)", "0.80 (0.80–0.80)", "ConnP-T(2)", "89", "2.26", "4000", "5.00",
                  "of the opposite sign", "37.3", "0.88", "0.50 / 0.25 / 0.12", "2904", "150.0", "7.00", "70.0",
                  "11000", "tcp_ack"):
        assert words in text, words
    assert "Not measured: table1 of up, because this is a test." in text
    assert "emulated (TCG)" in text
    # Though Figure 3 has runs as long as the paper's.
    assert "Throughput is of 12 and 15 and 20 s a run, the paper's of 3 minutes." in text


def test_sections_without_runs_say_so(folder: Path) -> None:
    left_out = {"latency": "this is a test", "figure2 of up": "this is another"}
    store, _ = carry_out(Imitation(), folder / "runs.jsonl", small_plan((1, 1)), left_out=left_out)
    built = {section.name: section for section in sections.build(store)}
    assert built.keys() == {part.name for part in sections.PARTS}
    assert "Not measured here, because this is a test." in built["latency"].paragraphs
    assert "Not measured: up, because this is another." in built["figure2"].paragraphs
    for name in ("table1", "table2", "table3", "figure3", "figure5", "offloads", "rate", "memory", "instructions"):
        assert "Not run in this plan (“quick”)." in built[name].paragraphs, name
    # The paper's numbers are there nevertheless.
    text = page.text(store)
    for words in ("52.3", "3488", " 89 ", "2.26"):
        assert words in text, words
    paper.write_page(store, folder)
    document = (folder / "runs.html").read_text()
    ElementTree.fromstring(document.partition("\n")[2])
    assert document.count("<section>") == len(sections.PARTS) + 1


def test_each_measured_number_is_of_the_file(folder: Path) -> None:
    """Whatever stands in a table follows from the runs: others, others."""
    def numbers(store: Store) -> set[str]:
        return set(re.findall(r"\d+\.\d+|\d{3,}", page.text(store).partition("Figure 2")[2]))

    first = numbers(whole_store(folder))
    (folder / "all.jsonl").unlink()
    # The same plan without a single run has only the paper's and those of words.
    imitation = Imitation()
    imitation.refused = lambda arm: True
    typed = numbers(whole_store(folder, imitation))
    for words in ("1.10", "11000", "0.88"):
        assert words in first and words not in typed, words
    assert "2904" in typed


def test_a_document_shows_figure_2(folder: Path) -> None:
    shown = page.markdown(whole_store(folder), "there")
    for words in ("![Throughput by connections](there/all-throughput.svg)", "| 6 | 800 | 1000 | 1100 | 900 |",
                  "| 6 | 0.80 (0.80–0.80) | 1.10 (1.10–1.10) | 0.90 (0.90–0.90) |", "of the opposite sign",
                  "`scripts/paper.py --markdown there/all.jsonl`"):
        assert words in shown, words
    assert page.drawings(Store(folder / "all.jsonl")).keys() >= {"throughput.svg", "throughput-ratio.svg"}


def test_an_axis_has_round_numbers_around_all_values(folder: Path) -> None:
    del folder
    decades = svg._Axis.in_decades([3, 400])
    assert decades.ticks == (1, 10, 100, 1000)
    heights = [decades.at(tick) for tick in decades.ticks]
    assert all(abs(heights[at] - heights[at + 1] - (heights[0] - heights[3]) / 3) < 1e-6 for at in range(3))
    assert svg._Axis.in_decades([0.02, 0.03]).ticks == (0.01, 0.02, 0.05, 0.1)
    assert svg._Axis.in_decades([100]).ticks == (100, 200, 500, 1000)
    assert svg._Axis.over([3, 12], True).ticks == (0, 2, 4, 6, 8, 10, 12)
    assert svg._Axis.over([7], False).at(7) > 0


def test_the_documentation_quotes_the_tables(folder: Path) -> None:
    store = whole_store(folder)
    shown = page.rst(store, "there")
    for words in ("Figure 2. Throughput, ratio to MsgP::\n\n  conns ", "Table 1. Acquisitions that did not",
                  "Table 2 and Figure 6. L2 data", "``scripts/paper.py --rst there/all.jsonl``"):
        assert words in shown, words
    for name, beginnings in page._QUOTED.items():
        section = next(one for one in page.sections.build(store) if one.name == name)
        for words in beginnings:
            assert any(block.title.startswith(words) for block in section.blocks), words


def test_made_up_runs_are_never_shown_as_measured(folder: Path) -> None:
    words = "Made-up numbers, for a test. Nothing on this page was measured."
    store = whole_store(folder)
    assert page.html(store).partition("<h1>")[0].count(words) == 1
    assert page.text(store).startswith(words)
    (folder / "all.jsonl").unlink()
    assert words not in page.html(whole_store(folder, made_up=False))


def test_the_papers_numbers_agree_with_each_other(_folder: Path) -> None:
    speeds = {(one["arm"], one["conns"]): one["mbps"] for one in parts.PUBLISHED["throughput"]}
    for stated in parts.PUBLISHED["ratio"]:
        over, under = (speeds.get((stated[end], stated["conns"])) for end in ("over", "under"))
        if over and under:
            assert abs(over / under - stated["ratio"]) < 0.006, stated
    for table in ("table1", "table2", "table3"):
        rows = {name: row for name, row in parts.PUBLISHED[table].items()
                if isinstance(row, list) and name != "conns"}
        assert all(Arm.parse(name) and len(row) == 3 for name, row in rows.items())


# With the points of contention and a class of more than one name, as the kernel
# writes them, but for the width of the columns.
_LOCK_STAT = """lock_stat version 0.4
-----
        class name    con-bounces    contentions   waittime-min ...
-----

    slock-AF_INET/1:  10  {socket}  0.12  90.00  1000.00  3.00  500  {taken}  0.05  100.00  5000.00  0.50
    ---------------
    slock-AF_INET/1   90          [<ffffffff81000000>] tcp_v4_rcv+0x900/0xb00

      slock-AF_INET:   0         1  0.00   0.00     0.00  0.00    0     1000  0.05  100.00  5000.00  0.50
          &ptr[i]#2:   0         9  0.00   0.00     0.00  0.00    0       70  0.05  100.00  5000.00  0.50
            &ptr[i]:   0         0  0.00   0.00     0.00  0.00    0       40  0.05  100.00  5000.00  0.50
"""


def test_lock_statistics_are_read(folder: Path) -> None:
    for name, socket, taken in (("before", 5, 100), ("after", 25, 900)):
        (folder / name).mkdir()
        (folder / name / "lock_stat").write_text(_LOCK_STAT.format(socket=socket, taken=taken))
    counted = counters.locks(folder / "before", folder / "after")
    assert counted == {"socket": {"contended": 20, "acquired": 800}, "table": {"contended": 0, "acquired": 0},
                       "group": {"contended": 0, "acquired": 0}}, counted
    assert kinds.contended({"locks": counted}, "socket") == 0.025
    assert kinds.contended({"locks": counted}, "group") is None
    assert not counters.locks(folder, folder)
    (folder / "after/lock_stat").write_text("lock_stat version 9\n")
    refuses(lambda: counters.locks(folder / "before", folder / "after"), "/proc/lock_stat")


if __name__ == "__main__":
    # What the programs say about progress is not wanted here.
    sys.stderr = open("/dev/null", "w")  # pylint: disable=consider-using-with,unspecified-encoding
    sys.exit(tap.run(globals()))
