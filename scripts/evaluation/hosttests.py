#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Tests of what make paper HOST=... decides and reads, without hosts; TAP on stdout.
scripts/test-hosts.sh has hosts.

No machine with a PMU was at hand: what perf is said to have printed here is made up,
in the form that perf-stat(1) documents for -x, and that perf script 6.1 was seen to
print for the event cpu-clock.
"""

from __future__ import annotations

import functools
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from evaluation import hosts, page, sections, tests  # noqa: E402
from evaluation.bootwise import Bootwise  # noqa: E402
from evaluation.plan import Arm, Cell, Experiment  # noqa: E402
from evaluation.store import Key, Store  # noqa: E402
from evaluation.tables import Table  # noqa: E402
from evaluation.tests import refuses  # noqa: E402
from rig import categories, perf, profiler, tap  # noqa: E402
from rig.remote import Remote  # noqa: E402

_PROBE = {"user": "0", "release": "6.12.117", "version": "#1 SMP PREEMPT_DYNAMIC", "groups": "", "cmdline": "quiet",
          "build": "0"}


def kernel(**probe: str) -> hosts.Kernel:
    return hosts.kernel_of("a host", {**_PROBE, **probe})


def test_what_is_booted(_folder: Path) -> None:
    assert str(kernel()) == "msgp" and kernel().version == "6.12.117"
    assert kernel(version="#1 PREEMPT").org == "up"
    locks = kernel(groups="tcp_connp connp-l groups 128 version 1", release="6.12.117-connp-l")
    assert str(locks) == "connp-l(128)"
    assert locks.gives(Arm("connp-l", 128), "") and not locks.gives(Arm("connp-l", 64), "")
    assert not locks.gives(Arm("connp-t"), "") and not locks.gives(Arm("connp-l", 128), "lockstat")
    threads = "tcp_connp connp-t groups 8 version 1"
    assert kernel(groups=threads).gives(Arm("connp-t"), "")
    # Chosen by somebody, so not what the kernel makes by itself.
    assert not kernel(groups=threads, cmdline="quiet tcp_connp.groups=8").gives(Arm("connp-t"), "")
    assert kernel(lockdep="yes", lock_stat="yes").gives(Arm("msgp"), "lockstat")
    assert not kernel(lockdep="yes").gives(Arm("msgp"), "") and not kernel(lock_stat="yes").gives(Arm("msgp"), "")
    refuses(lambda: kernel(release="6.12.117-connp-l"), "calls itself 6.12.117-connp-l, and is of the organisation")


def test_clients_that_are_asked_for(_folder: Path) -> None:
    assert hosts.clients_asked("a b") == {"a": [], "b": []}
    assert hosts.clients_asked("a=10.0.0.1 b a=10.0.1.1") == {"a": ["10.0.0.1", "10.0.1.1"], "b": []}
    for text in ("", "=1", "a="):
        refuses(functools.partial(hosts.clients_asked, text), "CLIENTS")
    for name in ("-oProxyCommand=x", "a b", "a;b", ""):
        refuses(functools.partial(Remote, name), "no name for ssh")


def test_addresses_are_dealt_to_clients(_folder: Path) -> None:
    # Whoever reaches one only, has it; and the others as many as can be.
    assert hosts.deal({"a": ["1", "2", "3"], "b": ["1"]}) == {"1": "b", "2": "a", "3": "a"}
    dealt = hosts.deal({"a": list("123456789"), "b": list("123456789")})
    assert len(dealt) == 6 and list(dealt.values()).count("a") == 3
    refuses(lambda: hosts.deal({"a": ["1"], "b": ["1"]}), "b reaches none")
    refuses(lambda: hosts.deal({"a": ["1"], "b": []}), "b reaches none")


def booted(store: Store, imitation: tests.Imitation, org: str) -> Bootwise:
    def possible(_experiment: Experiment, arm: Arm, _cell: Cell) -> bool:
        return arm.org == org
    return Bootwise(store, imitation.kinds(), possible, lambda: imitation.time)


def test_rounds_wait_for_other_boots(folder: Path) -> None:
    imitation = tests.Imitation()
    imitation.noise = {192: 0.5}
    chosen = tests.small_plan((2, 5))
    store = Store(folder / "runs")

    def boot(org: str) -> tuple[int, set[str]]:
        """How many runs it made, and which organisations are waited for then."""
        before = imitation.runs
        store.begin(**tests.session(chosen))
        series = booted(store, imitation, org)
        series.run()
        return imitation.runs - before, {arm.org for _, arm, _ in series.waiting()}

    assert boot("msgp") == (4, {"up", "connp-l", "connp-t"})
    assert boot("msgp") == (0, {"up", "connp-l", "connp-t"}), "one organisation went on by itself"
    assert boot("up") == (4, {"connp-l", "connp-t"})
    assert boot("connp-l") == (4, {"connp-t"})
    # The last one's completes the first rounds: where ratios are not known, it begins others.
    runs, waited = boot("connp-t")
    assert runs > 4 and waited == {"up", "msgp", "connp-l"}, (runs, waited)
    for org in ("up", "msgp", "connp-l", "connp-t"):
        boot(org)
    counts = {str(arm): len(store.of("figure2", arm, cell)) for arm in chosen.experiments[0].arms
              for cell in chosen.experiments[0].cells if cell.conns == 192}
    assert set(counts.values()) <= {4, 5}, counts


def hosted_session(chosen: Any, **changes: Any) -> dict[str, Any]:
    machine = {"cpu": "none", "cores": 8, "backend": "hosts", "server": "made-up", "booted": "msgp",
               "release": "0.0.0", "nics": ["nic1 for a"], "clients": {"a": "none, 2 cores"}}
    return tests.session(chosen, machine=machine, **changes)


def test_page_of_hosts(folder: Path) -> None:
    store = Store(folder / "runs")
    store.begin(**hosted_session(tests.small_plan((2, 2)), left_out={"profile": "there is no PMU"}))
    booted(store, tests.Imitation(), "msgp").run()
    for made in (page.text(store), page.html(store)):
        assert "server made-up: none, 8 cores" in made and "The server runs one kernel at a time" in made
        assert "Not measured: profile, because there is no PMU." in made
        assert "QEMU" not in made and "taps" not in made


_STAT = """# started on Thu Jan  1 00:00:00 1970

8000000,,cycles,5000000,100.00,,
4000000,,instructions,5000000,100.00,0.50,insn per cycle
<not supported>,,l2_cache_req_stat.ic_dc_miss_in_l2,0,100.00,,
2000.00,,LLC-load-misses:u,5000000,75.00,,
<not counted>,,l2_rqsts.miss,0,0.00,,
"""


def test_perf_stat_is_read(_folder: Path) -> None:
    counted = perf.read_stat(_STAT)
    assert counted == {"cycles": 8e6, "instructions": 4e6, "LLC-load-misses": 2000}, counted
    assert perf.choose(counted) == {"cycles": "cycles", "insns": "instructions", "misses": "LLC-load-misses"}
    assert perf.choose({**counted, "l2_rqsts.miss": 1.0})["misses"] == "l2_rqsts.miss"
    # As it is where there is no PMU.
    none = perf.read_stat("<not supported>,,cycles,0,100.00,,\n<not supported>,,instructions,0,100.00,,\n")
    assert not none and not perf.choose(none)
    refuses(lambda: perf.read_stat("Error:\n"), "perf stat printed a line")


_TEXT = 0xffffffff81000000
_SLIDE = 0x1000000
_SCRIPT = """       100 cycles:
\tffffffff82000100 tcp_ack+0x10 ([kernel.kallsyms])
\tffffffff82000200 schedule ([kernel.kallsyms])

       300 cycles:
\tffffffff82000300 _raw_spin_lock ([kernel.kallsyms])
\tffffffff82000310 queued_spin_lock_slowpath ([kernel.kallsyms])
\tffffffff82000200 schedule ([kernel.kallsyms])

       200 cycles:
\tffffffff82000300 _raw_spin_lock ([kernel.kallsyms])
\tffffffff82000100 tcp_ack ([kernel.kallsyms])

       400 cycles:
\tffffffffc0000010 poll ([some_nic])

         5 instructions:
\t          415016 main (/usr/bin/a program (deleted))
\tffffffffffffffff [unknown] ([unknown])

         1 LLC-load-misses:uk:
\tffffffff82000200 schedule ([kernel.kallsyms])
"""


class Sources(categories.Sources):
    """Of three functions."""

    def __init__(self) -> None:  # pylint: disable=super-init-not-called
        self._ranges = [(_TEXT + start, 0x100, name) for start, name in (
            (0x100, "net/ipv4/tcp_input.c"), (0x200, "kernel/sched/core.c"), (0x300, "kernel/locking/spinlock.c"))]
        self._starts = [start for start, _, _ in self._ranges]


def profiled() -> dict[str, Any]:
    places = perf.Places(Sources(), _SLIDE, {"some_nic": "/lib/modules/1/kernel/drivers/net/ethernet/some_nic.ko.xz"})
    counted = perf.read_stat(_STAT)
    return perf.profile(perf.read_script(_SCRIPT.splitlines()), places, perf.choose(counted), counted)


def test_perf_script_is_read(_folder: Path) -> None:
    samples = list(perf.read_script(_SCRIPT.splitlines()))
    assert [sample.period for sample in samples] == [100, 300, 200, 400, 5, 1]
    assert samples[0].frames[0] == perf.Frame(0xffffffff82000100, "tcp_ack", "[kernel.kallsyms]")
    assert [len(sample.frames) for sample in samples] == [2, 3, 2, 1, 2, 1]
    refuses(lambda: list(perf.read_script(["100 cycles:", "what is this"])), "perf script printed a line")


def test_what_perf_saw_is_put_in_its_place(_folder: Path) -> None:
    found = profiled()
    cycles = {name: counts["cycles"] for name, counts in found["categories"].items() if counts["cycles"]}
    # 1000 were sampled, of the 8 million that were counted.
    assert cycles == {"network stack": 800000, "locking": 4000000, "driver": 3200000}, cycles
    assert found["scheduler_locks"]["lock_cycles"] == 2400000, found["scheduler_locks"]
    assert found["categories"]["user space"]["insns"] == 4000000
    assert found["categories"]["scheduler"]["misses"] == 2000
    by_name = {function["name"]: function for function in found["functions"]}
    assert by_name["poll"]["file"] == "drivers/net/ethernet/some_nic.ko.xz"
    assert by_name["tcp_ack"]["file"] == "net/ipv4/tcp_input.c" and by_name["tcp_ack"]["cycles"] == 800000
    assert profiler.l2_misses(found["categories"]["scheduler"]) == 2000
    refuses(lambda: perf.profile([], perf.Places(Sources(), 0, {}), {"cycles": "cycles"}, {"cycles": 1.0}),
            "no sample of cycles")


def test_page_of_what_perf_saw(folder: Path) -> None:
    experiment = Experiment("profile", "profile opteron275", (Arm("msgp"),), (Cell(6, 0, False, 1500),), 0, (1, 1))
    store = Store(folder / "runs")
    store.begin(**hosted_session(replace(tests.small_plan(), experiments=(experiment,))))
    run = {"backend": "perf", "org": "msgp", "groups": 0, "conns": 6, "cache": "LLC-load-misses", "bytes": 1 << 20,
           "seconds": 5.0, "ctxsw": 7, "retransmits": 0, "refused": False, **profiled()}
    store.add_run(Key("profile", Arm("msgp"), experiment.cells[0], 1), run, 1)
    made = page.text(store)
    tables = {block.title: block for section in sections.build(store) for block in section.blocks
              if isinstance(block, Table)}
    found = next(table for title, table in tables.items() if "in the paper, cycles here" in title and
                 "ratio" not in title)
    # Of 1024 KB: the scheduler's own cycles, of which there is no sample, and its locks'.
    assert found.rows[0][2] == f"{2400000 / 1024:.1f}", found.rows
    misses = next(table for title, table in tables.items() if title.endswith("event LLC-load-misses"))
    assert misses.rows[0][2] == f"{2000 / 1024:.2f}", misses.rows
    for section in ("table2", "table3", "instructions"):
        blocks = next(one for one in sections.build(store) if one.name == section).blocks
        assert all("Back end: perf" in " ".join(block.notes) for block in blocks if isinstance(block, Table)
                   and not block.title.startswith("The paper's")), section
    assert "emulated" not in made and "guest's" not in made


if __name__ == "__main__":
    # What the programs say about progress is not wanted here.
    sys.stderr = open("/dev/null", "w")  # pylint: disable=consider-using-with,unspecified-encoding
    sys.exit(tap.run(globals()))
