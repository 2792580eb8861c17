# SPDX-License-Identifier: GPL-2.0
"""The paper's benchmark in one boot: ptcpbench, once for each number of
connections. The guest sends, sinks in the clients' namespace discard; or, in mode
rr and crr, these ask and the guest answers.

    loads = Loads([6, 192], duration=10, warmup=2)
    with Guest(loads.prepare(Setup("msgp", nics=6))) as guest:
        for run in runs(guest, loads, progress.begin, progress.tick):
            ...
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from . import TOP, RigError, clients, clock, counters, results
from .guest import Setup

PTCPBENCH = clients.PTCPBENCH


class System(Protocol):
    """What is measured, with its clients: a guest, or a machine that has booted
    the kernel (evaluation/hosts.py). Guest says what each of these is.
    """

    setup: Setup
    share: Path

    @property
    def addresses(self) -> str: ...
    def start(self, script: list[str], output: BinaryIO | None = None) -> None: ...
    def wait_file(self, name: str, seconds: float, tick: Callable[[], None] | None = None) -> None: ...
    def sink(self, name: str, options: list[str]) -> None: ...
    def sunk(self, name: str) -> dict[str, Any]: ...
    def hold(self, conns: int) -> None: ...
    def wait_beside(self) -> None: ...
    def wait(self) -> int: ...
    def cpu_seconds(self) -> dict[str, float]: ...
    def elapsed(self, first: str = "start", last: str = "end") -> clock.Elapsed: ...


@dataclass(frozen=True)
class Loads:
    conns: list[int]  # of one run after the other
    duration: int  # measured seconds of each
    warmup: int  # seconds before that
    mode: str = "stream"  # of ptcpbench

    @staticmethod
    def settling(conns: int) -> float:
        """Most seconds a run may take beyond its window: to open its
        connections, and in the end to drain 256 KB of each at a few MB/s.
        """
        return 60 + conns / 10

    def prepare(self, setup: Setup) -> Setup:
        """SETUP with what these loads need: memory, time, the guest's script."""
        # The kernel and small tools; and the buffers of the connections, most
        # of whose payload is shared pages of the file that is sent.
        memory = 2048 + max(self.conns) // 4
        timeout = sum(self.warmup + self.duration + 3 * self.settling(conns) for conns in self.conns)
        return replace(setup, memory_mb=memory, timeout=timeout,
                       copies=[*setup.copies, (TOP / "scripts/rig/guest-bench.sh", "/script/guest-bench.sh")])


def check_built() -> None:
    if not PTCPBENCH.exists():
        raise RigError(f"{PTCPBENCH} is missing; build it with: make -C tools/net/ptcpbench")


def runs(guest: System, loads: Loads, begin: Callable[[int], None], tick: Callable[[], None]) -> Iterator[results.Run]:
    """Boot the guest and run them all. BEGIN is told before each how many
    connections it has, TICK is called meanwhile.
    """
    setup = guest.setup
    window = ["--duration", str(loads.duration), "--warmup", str(loads.warmup)]
    # Who knows when all requests began is the sink, so it has their window.
    at_serve, at_sink = (window, []) if loads.mode == "stream" else ([], window)
    guest.start(["/script/guest-bench.sh", " ".join(map(str, loads.conns)), "--mode", loads.mode,
                 "--address", guest.addresses, "--timeout", str(int(loads.settling(max(loads.conns)))), *at_serve],
                sys.stderr.buffer)
    for conns in loads.conns:
        begin(conns)
        settling = loads.settling(conns)
        guest.wait_file(f"{conns}/ready", setup.boot_timeout + settling, tick)
        before = guest.cpu_seconds()
        guest.sink(f"sink-{conns}", ["--mode", loads.mode, "--connections", str(conns),
                                     "--timeout", str(int(settling)), *at_sink])
        guest.wait_file(f"{conns}/done", loads.warmup + loads.duration + 2 * settling, tick)
        cpu = {threads: round(seconds - before[threads], 2) for threads, seconds in guest.cpu_seconds().items()}
        guest.wait_beside()
        yield {"org": setup.org, "conns": conns, "nics": setup.nics, "tso": setup.tso, "cpu": cpu,
               **_measured(guest, conns, guest.sunk(f"sink-{conns}"))}
    if guest.wait():
        raise RigError(f"{setup.org}: the benchmark failed in the guest; its output is above")


def release(guest: System) -> str:
    """The kernel's, without the organisation's name at its end."""
    return (guest.share / "release").read_text().strip().removesuffix(f"-{guest.setup.org}")


def outcome(run: results.Run) -> str:
    """In a few words, for the line that tells of progress."""
    if "rps" in run:
        text = f"{run['rps']:.0f} requests/s, median {run['latency']['p50']:.0f} us"
    else:
        text = f"{run['mbps']:.0f} Mb/s"
    if run["refused"]:
        text += f" refused, the guest's clock went {100 * run['clock_error']:+.1f} % wrong"
    return text


def _measured(guest: System, conns: int, sink: dict[str, Any]) -> results.Run:
    folder = guest.share / str(conns)
    serve = json.loads((folder / "serve.json").read_text())
    groups = _number_of_groups(guest.setup, folder / "after")
    counted = counters.difference(folder / "before", folder / "after")
    elapsed = guest.elapsed(f"before-{conns}", f"after-{conns}")
    figures = _figures(f"{guest.setup.org}, {conns} connections", serve, sink)
    run = {"groups": groups, **figures, "counters": counted, "clock_error": round(elapsed.error, 5),
           "refused": not elapsed.right}
    locks = counters.locks(folder / "before", folder / "after")
    if locks:
        run["locks"] = locks
    if guest.setup.org == "connp-t":
        run["threads"] = counters.threads(counted, elapsed.guest, groups)
    return run


def _figures(name: str, serve: dict[str, Any], sink: dict[str, Any]) -> results.Run:
    """What both ends say, which must agree on what was transferred in all."""
    what = "total_bytes" if serve["mode"] == "stream" else "total_requests"
    if serve[what] != sink[what]:
        unit = what.removeprefix("total_")
        raise RigError(f"{name}: the guest counted {serve[what]} {unit}, the sinks counted {sink[what]}")
    of_serve = {key: serve[key] for key in ("retransmits", "ctxsw", "fairness", what)}
    if serve["mode"] == "stream":
        return {**{key: serve[key] for key in ("seconds", "bytes", "mbps")}, **of_serve}
    return {**{key: sink[key] for key in ("seconds", "requests", "rps")}, "latency": sink["latency_us"], **of_serve}


def _number_of_groups(setup: Setup, snapshot: Path) -> int:
    """Connection groups that the guest says it has, which must be as asked."""
    groups = counters.read_groups(snapshot)
    if not groups and not setup.org.startswith("connp-"):
        return 0
    if not groups or groups.org != setup.org:
        found = f"that of {groups.org}" if groups else "missing"
        raise RigError(f"{setup.org}: the guest's /proc/net/tcp_connp is {found}")
    if setup.groups not in (0, groups.count):
        raise RigError(f"{setup.org}: the guest has {groups.count} groups, not the {setup.groups} asked for")
    return groups.count
