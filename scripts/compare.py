#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""make compare: the paper's benchmark on each organisation, in one table.

Boots each organisation's kernel once a round, in an order that rotates from
round to round, and in each boot runs ptcpbench once for every number of
connections: the guest sends, sinks in the clients' namespace discard. Prints
tables and saves it all in results/latest.json and in a copy with date and
commit in its name.

From the environment, so from make's command line:
  CONNS      connections, a list (default "6 192", up to 16384)
  DURATION   measured seconds of each run (default 10)
  WARMUP     seconds before that (default 2)
  ROUNDS     how often each organisation runs (default 3)
  ORGS       which, some of configs/organisations (default: all)
  GROUPS     connection groups of connp-l, a power of two (default 128); write
             `make compare GROUPS=1`, for bash does not pass on `GROUPS=1 make`
  TGROUPS    connection groups of connp-t, and so its threads, a power of two
             (default: as many as CPUs)
  TSO        on or off (default): segmentation by the NICs
  NICS, CPUS, MTU   of the guest (default 6, the host's cores, 1500)
  APPEND     more parameters for the kernels, such as
             sysctl.net.ipv4.tcp_connp.poll_us=0
  ACCEL      kvm or tcg; unset: kvm where it boots the kernel

  --table FILE [--markdown]   print the tables of a saved result and do no more
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from rig import BUILD, TOP, RigError, counters, machine, options, program, results
from rig.clients import guest_address
from rig.guest import Guest, Setup


@dataclass(frozen=True)
class Plan:
    conns: list[int]
    duration: int
    warmup: int
    rounds: int
    orgs: list[str]
    groups: dict[str, int]  # of an organisation; 0: what its kernel has
    tso: bool
    nics: int
    cpus: int
    mtu: int
    append: str

    @staticmethod
    def from_environment() -> Plan:
        orgs = options.orgs()
        plan = Plan(
            conns=options.conns(),
            duration=options.number("DURATION", 10, 1, 86400),
            warmup=options.number("WARMUP", 2, 0, 3600),
            rounds=options.number("ROUNDS", 3, 1, 1000),
            orgs=orgs,
            groups={org: options.groups(org) for org in orgs},
            tso=options.tso(),
            nics=options.nics(),
            cpus=options.cpus(machine.cores()),
            mtu=options.mtu(),
            append=os.environ.get("APPEND", ""),
        )
        if min(plan.conns) < plan.nics:
            raise RigError(f"CONNS={min(plan.conns)} is fewer than NICS={plan.nics}: some NICs would stay idle; "
                           "lower NICS")
        return plan

    def order(self, turn: int) -> list[str]:
        """The organisations in the order of one round, another first each time."""
        first = turn % len(self.orgs)
        return self.orgs[first:] + self.orgs[:first]

    def settling(self, conns: int) -> float:
        """Most seconds a run may take beyond its window: to open its
        connections, and in the end to drain 256 KB of each at a few MB/s.
        """
        return 60 + conns / 10

    def setup(self, org: str) -> Setup:
        # The kernel and small tools; and the buffers of the connections, most
        # of whose payload is shared pages of the file that is sent.
        memory = 2048 + max(self.conns) // 4
        timeout = sum(self.warmup + self.duration + 3 * self.settling(conns) for conns in self.conns)
        return Setup(org, nics=self.nics, cpus=self.cpus, memory_mb=memory, mtu=self.mtu, tso=self.tso,
                     append=self.append, groups=self.groups[org], timeout=timeout,
                     copies=[(TOP / "scripts/rig/guest-bench.sh", "/script/guest-bench.sh")])


class Progress:
    """Tells on stderr which run it is, how it went, and what remains."""

    def __init__(self, runs: int) -> None:
        self._runs = runs
        self._done = 0
        self._began = time.monotonic()
        self._live = sys.stderr.isatty()
        self._last_live = 0.0

    def begin(self, what: str) -> None:
        self._what = what
        self._phase_began = time.monotonic()
        self._write(f"[{self._done + 1:>2}/{self._runs}] {what} ...", end="" if self._live else "\n")

    def tick(self) -> None:
        """On a terminal, once a second: how long the run has been going on."""
        now = time.monotonic()
        if self._live and now - self._last_live >= 1:
            self._last_live = now
            self._write(f"\r[{self._done + 1:>2}/{self._runs}] {self._what} ... {now - self._phase_began:.0f} s", end="")

    def end(self, outcome: str) -> None:
        self._done += 1
        elapsed = time.monotonic() - self._began
        rest = elapsed / self._done * (self._runs - self._done)
        self._write(f"{chr(13) if self._live else ''}[{self._done:>2}/{self._runs}] {self._what}: {outcome}; "
                    f"{_minutes(elapsed)} so far, about {_minutes(rest)} to go")

    @staticmethod
    def _write(text: str, end: str = "\n") -> None:
        print(text, end=end, file=sys.stderr, flush=True)


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def compare(plan: Plan) -> results.Result:
    machine.check_programs()
    for org in plan.orgs:
        Guest(plan.setup(org))  # says which kernel is missing before anything runs
    ptcpbench = BUILD / "tools/ptcpbench"
    if not ptcpbench.exists():
        raise RigError(f"{ptcpbench} is missing; build it with: make -C tools/net/ptcpbench")

    runs: list[results.Run] = []
    releases: set[str] = set()
    progress = Progress(plan.rounds * len(plan.orgs) * len(plan.conns))
    for turn in range(plan.rounds):
        for org in plan.order(turn):
            boot_runs, release = boot(plan, turn, org, ptcpbench, progress)
            runs += boot_runs
            releases.add(release.removesuffix(f"-{org}"))
    if len(releases) != 1:
        raise RigError(f"the kernels are of different versions ({', '.join(sorted(releases))}): rebuild them")
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": machine.commit(),
        "host": {"cpu": machine.cpu_model(), "cores": machine.cores(), "qemu": machine.qemu_version()},
        "kernel": releases.pop(),
        "accel": Guest(plan.setup(plan.orgs[0])).accel,
        "cpus": plan.cpus,
        "duration": plan.duration,
        "warmup": plan.warmup,
        "mtu": plan.mtu,
        "append": plan.append,
        "runs": runs,
    }


def boot(plan: Plan, turn: int, org: str, ptcpbench: Path, progress: Progress) -> tuple[list[results.Run], str]:
    """One round of one organisation: its runs, and the kernel's release."""
    addresses = ",".join(guest_address(nic) for nic in range(1, plan.nics + 1))
    runs = []
    with Guest(plan.setup(org)) as guest:
        guest.start(["/script/guest-bench.sh", addresses, str(plan.duration), str(plan.warmup),
                     str(int(plan.settling(max(plan.conns)))), *map(str, plan.conns)], sys.stderr.buffer)
        for conns in plan.conns:
            progress.begin(f"round {turn + 1}, {org}, {conns} connections")
            guest.wait_file(f"{conns}/ready", guest.setup.boot_timeout + plan.settling(conns), progress.tick)
            sink = guest.folder / f"sink-{conns}.json"
            with (guest.folder / f"sink-{conns}.log").open("wb") as log:
                guest.spawn([str(ptcpbench), "sink", "--address", addresses, "--connections", str(conns),
                             "--timeout", str(int(plan.settling(conns))), f"--json={sink}"], log)
            guest.wait_file(f"{conns}/done", plan.warmup + plan.duration + 2 * plan.settling(conns), progress.tick)
            guest.wait_beside()
            run = measured(guest, conns, sink)
            runs.append({"org": org, "conns": conns, "nics": plan.nics, "tso": plan.tso, "round": turn + 1, **run})
            outcome = f"{run['mbps']:.0f} Mb/s"
            if run["refused"]:
                outcome += f" refused, the guest's clock went {100 * run['clock_error']:+.1f} % wrong"
            progress.end(outcome)
        release = (guest.share / "release").read_text().strip()
        if guest.wait():
            raise RigError(f"{org}: the benchmark failed in the guest; its output is above")
    return runs, release


def measured(guest: Guest, conns: int, sink: Path) -> results.Run:
    folder = guest.share / str(conns)
    serve = json.loads((folder / "serve.json").read_text())
    received = json.loads(sink.read_text())["total_bytes"]
    if received != serve["total_bytes"]:
        raise RigError(f"{guest.setup.org}, {conns} connections: the guest sent {serve['total_bytes']} bytes, "
                       f"the sinks received {received}")
    groups = number_of_groups(guest.setup, folder / "after")
    counted = counters.difference(folder / "before", folder / "after")
    elapsed = guest.elapsed(f"before-{conns}", f"after-{conns}")
    figures = {key: serve[key] for key in ("seconds", "bytes", "mbps", "retransmits", "ctxsw", "fairness")}
    run = {"groups": groups, **figures, "counters": counted, "clock_error": round(elapsed.error, 5),
           "refused": not elapsed.right}
    if guest.setup.org == "connp-t":
        run["threads"] = counters.threads(counted, elapsed.guest, groups)
    return run


def number_of_groups(setup: Setup, snapshot: Path) -> int:
    """Connection groups that the guest says it has, which must be as asked."""
    groups = counters.read_groups(snapshot)
    if not groups and not setup.org.startswith("connp-"):
        return 0
    if not groups or groups.org != setup.org:
        raise RigError(f"{setup.org}: the guest's /proc/net/tcp_connp is {'that of ' + groups.org if groups else 'missing'}")
    if setup.groups not in (0, groups.count):
        raise RigError(f"{setup.org}: the guest has {groups.count} groups, not the {setup.groups} asked for")
    return groups.count


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, metavar="FILE", help="print the tables of this saved result only")
    parser.add_argument("--markdown", action="store_true", help="with --table: for a document")
    arguments = parser.parse_args()
    if arguments.markdown and not arguments.table:
        parser.error("--markdown needs --table FILE")
    if arguments.table:
        result = results.load(arguments.table)
        print(results.markdown(result, arguments.table) if arguments.markdown else results.table(result))
        return 0
    result = compare(Plan.from_environment())
    day = result["date"].split()[0]
    for name in ("latest", f"{day}-{result['commit']}"):
        results.save(result, TOP / f"results/{name}.json")
    print(f"\n{results.table(result)}\n\nsaved: results/latest.json and results/{day}-{result['commit']}.json")
    if not results.complete(result):
        raise RigError("no run of some row has a figure to trust; see the runs marked refused")
    return 0


if __name__ == "__main__":
    program.run("compare", main)
