#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""make profile: where the instructions and the cache misses of a kilobyte go.

Boots one organisation's kernel under tools/tcgprof, runs the paper's benchmark
in it, and prints for a fixed number of bytes after a warm-up, per KB of payload:
instructions and misses by part of the system (the paper's Table 2 and Figure 6),
what the scheduler costs (Table 3), and the functions that miss most. Saves it
in results/profile-ORG.json.

The misses are those of modelled caches, of data only, one pair a vCPU, without
prefetching and without what devices write; the emulated CPUs run a few
instructions at a time, however long those would take. Compare organisations,
and do not take the figures for any machine's.

From the environment, so from make's command line:
  ORG        which (default connp-l)
  CONNS      connections, a list (default "6 192")
  BYTES      to be sent in each run, a number (default: 128 MB, or 64 KB for each
             connection if that is more); a quarter of it is the warm-up
  CACHE      opteron275, the paper's (default); xeon; or none, which counts only
             instructions and is several times faster
  GROUPS     connection groups of connp-l; TGROUPS: of connp-t
  TSO, NICS, CPUS, MTU   as for make compare

  --table FILE   print the tables of a saved profile and do no more
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
from pathlib import Path
from typing import Any

from rig import ORGS, TOP, RigError, categories, machine, options, profiler, program, results
from rig.guest import Setup

_TOP_FUNCTIONS = 15


def cache() -> str:
    text = os.environ.get("CACHE") or profiler.CACHES[0]
    if text not in profiler.CACHES:
        raise RigError(f"CACHE={text}: expected one of: {' '.join(profiler.CACHES)}")
    return text


def measure() -> dict[str, Any]:
    machine.check_programs()
    org, conns, nics = options.org(), options.conns(), options.nics()
    if min(conns) < nics:
        raise RigError(f"CONNS={min(conns)} is fewer than NICS={nics}: some NICs would stay idle; lower NICS")
    size = options.number("BYTES", 0, 0, 1 << 40)
    setup = Setup(org, nics=nics, cpus=options.cpus(machine.cores()), mtu=options.mtu(), tso=options.tso(),
                  groups=options.groups(org))
    loads = {number: size or profiler.payload(number) for number in conns}
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": machine.commit(),
        "host": {"cpu": machine.cpu_model(), "cores": machine.cores(), "qemu": machine.qemu_version()},
        "runs": list(profiler.measure(setup, loads, lambda number: say(org, number, loads[number]), lambda: None,
                                      cache())),
    }


def say(org: str, conns: int, size: int) -> None:
    print(f"== {org}, {conns} connections: {size >> 20} MB under the profiler", file=sys.stderr, flush=True)


def tables(result: dict[str, Any]) -> str:
    return "\n\n".join(block for run in result["runs"] for block in
                       (heading(result, run), by_category(run), scheduler(run), functions(run)))


def heading(result: dict[str, Any], run: profiler.Run) -> str:
    groups = f"({run['groups']})" if run["groups"] else ""
    return "\n".join([
        f"{ORGS[run['org']]}{groups}, {run['conns']} connections, {run['cpus']} vCPUs, {run['nics']} NICs, "
        f"MTU {run['mtu']}, TSO {'on' if run['tso'] else 'off'}",
        f"{run['bytes'] / (1 << 20):.1f} MB in {run['seconds']:.1f} s, {run['retransmits']} retransmits; "
        f"modelled caches: {run['cache']}",
        f"commit {result['commit']}, {result['date']}; QEMU {result['host']['qemu']}",
    ])


def kilobytes(run: profiler.Run) -> float:
    return float(run["bytes"] / 1024)


def by_category(run: profiler.Run) -> str:
    """The paper's Table 2 is the last row of its L2 column, Figure 6 the column."""
    total = dict.fromkeys(profiler.COLUMNS, 0)
    for counts in run["categories"].values():
        for column in profiler.COLUMNS:
            total[column] += counts[column]
    rows = [["per KB", "instr", "loads", "stores", "L1 misses", "L2 misses", "cold", "capacity", "coherence", "dirty"]]
    columns = len(rows[0]) if run["cache"] != "none" else 2
    for name, counts in [*run["categories"].items(), ("all", total)]:
        numbers = [counts["insns"], counts["loads"], counts["stores"], counts["l1_misses"], profiler.l2_misses(counts),
                   counts["l2_cold"], counts["l2_capacity"], counts["l2_coherence"], counts["dirty"]]
        rows.append([name, *(f"{number / kilobytes(run):.{0 if column < 3 else 2}f}"
                             for column, number in enumerate(numbers))])
    return "\n".join(results.aligned([row[:columns] for row in rows]))


def scheduler(run: profiler.Run) -> str:
    """Table 3, in instructions in the place of cycles."""
    own = run["categories"][categories.SCHEDULER]["insns"] / kilobytes(run)
    locks = run["scheduler_locks"]["lock_insns"] / kilobytes(run)
    return "\n".join(results.aligned([
        ["per KB", "instr", "of its locks", "together", "context switches"],
        [categories.SCHEDULER, f"{own:.1f}", f"{locks:.1f}", f"{own + locks:.1f}",
         f"{run['ctxsw'] / kilobytes(run):.4f}"],
    ]))


def functions(run: profiler.Run) -> str:
    rows = [["per KB", "instr", "L2 misses", "coherence", "category", "file"]]
    for function in run["functions"][:_TOP_FUNCTIONS]:
        rows.append([function["name"], f"{function['insns'] / kilobytes(run):.1f}",
                     f"{profiler.l2_misses(function) / kilobytes(run):.2f}",
                     f"{function['l2_coherence'] / kilobytes(run):.2f}", function["category"], function["file"]])
    return "\n".join(results.aligned(rows))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, metavar="FILE", help="print the tables of this saved profile only")
    arguments = parser.parse_args()
    if arguments.table:
        print(tables(json.loads(arguments.table.read_text())))
        return 0
    result = measure()
    path = TOP / f"results/profile-{options.org()}.json"
    results.save(result, path)
    print(f"{tables(result)}\n\nsaved: {path.relative_to(TOP)}")
    return 0


if __name__ == "__main__":
    program.run("profile", main)
