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
import os
from dataclasses import dataclass
from pathlib import Path

from rig import TOP, RigError, bench, machine, options, program, results
from rig.guest import Guest, Setup
from rig.progress import Progress


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

    @property
    def loads(self) -> bench.Loads:
        return bench.Loads(self.conns, self.duration, self.warmup)

    def setup(self, org: str) -> Setup:
        return self.loads.prepare(Setup(org, nics=self.nics, cpus=self.cpus, mtu=self.mtu, tso=self.tso,
                                        append=self.append, groups=self.groups[org]))


def compare(plan: Plan) -> results.Result:
    machine.check_programs()
    for org in plan.orgs:
        Guest(plan.setup(org))  # says which kernel is missing before anything runs
    bench.check_built()

    runs: list[results.Run] = []
    releases: set[str] = set()
    progress = Progress(plan.rounds * len(plan.orgs) * len(plan.conns))
    for turn in range(plan.rounds):
        for org in plan.order(turn):
            boot_runs, release = boot(plan, turn, org, progress)
            runs += boot_runs
            releases.add(release)
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


def boot(plan: Plan, turn: int, org: str, progress: Progress) -> tuple[list[results.Run], str]:
    """One round of one organisation: its runs, and the kernel's release."""
    runs = []
    with Guest(plan.setup(org)) as guest:
        for run in bench.runs(guest, plan.loads,
                              lambda conns: progress.begin(f"round {turn + 1}, {org}, {conns} connections"),
                              progress.tick):
            runs.append({**run, "round": turn + 1})
            progress.end(bench.outcome(run))
        return runs, bench.release(guest)


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
