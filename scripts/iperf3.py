#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""make iperf3 ORG=msgp: the rig's check by a tool that is not ours. iperf3 in
the guest sends over every NIC at once to iperf3 clients in the namespace.

Reads ORG, CONNS (one number, in all), DURATION, NICS, CPUS, TSO, MTU and GROUPS
(of connp-l) or TGROUPS (of connp-t) from the environment.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from rig import RigError, machine, options, program
from rig.clients import guest_address
from rig.guest import Guest, Setup

WARMUP_SECONDS = 2


def main() -> int:
    org, nics = options.org(), options.nics()
    duration = options.number("DURATION", 10, 1, 3600)
    conns = options.number("CONNS", nics, nics, 128 * nics)
    if conns % nics:
        raise RigError(f"CONNS={conns}: expected a multiple of NICS={nics}, iperf3 gets the same number on each")
    setup = Setup(org, nics=nics, cpus=options.cpus(machine.cores()), mtu=options.mtu(), tso=options.tso(),
                  groups=options.groups(org),
                  copies=[(Path(__file__).parent / "rig/guest-iperf3.sh", "/script/guest-iperf3.sh")],
                  timeout=duration + 60)

    with Guest(setup) as guest:
        print(f"== {org}: booting ({guest.accel.upper()}, {setup.cpus} vCPUs)", file=sys.stderr, flush=True)
        guest.start(["/script/guest-iperf3.sh", str(nics)], sys.stdout.buffer)
        guest.wait_booted()
        guest.wait_file("ready", 30)
        print(f"== {conns} connections over {nics} NICs for {duration} s", file=sys.stderr, flush=True)
        results = []
        for nic in range(1, nics + 1):
            result = guest.folder / f"iperf3-{nic}.json"
            results.append(result)
            with result.open("wb") as file:
                guest.spawn(["iperf3", "--client", guest_address(nic), "--reverse", "--time", str(duration), "--omit",
                             str(WARMUP_SECONDS), "--parallel", str(conns // nics), "--json"], file)
        if guest.wait():
            raise RigError("iperf3 in the guest failed; its output is above")
        elapsed = guest.elapsed()
        if not elapsed.right:
            raise RigError(f"no figures: {elapsed}")
        report([json.loads(result.read_text()) for result in results])
    return 0


def report(results: list[dict[str, Any]]) -> None:
    total = retransmits = 0.0
    print(f"{'NIC':>4} {'Mb/s':>8} {'retransmits':>12}")
    for nic, result in enumerate(results, 1):
        mbps = result["end"]["sum_received"]["bits_per_second"] / 1e6
        again = result["end"]["sum_sent"]["retransmits"]
        print(f"{nic:>4} {mbps:>8.1f} {again:>12}")
        total += mbps
        retransmits += again
    print(f"{'sum':>4} {total:>8.1f} {retransmits:>12.0f}")


if __name__ == "__main__":
    program.run("iperf3", main)
