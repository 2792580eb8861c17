#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""make soak: a kernel that checks itself, under load, with everything at once.

    [VARIANT=fulldebug] [SOAK=20] scripts/soak.py ORG

Boots one organisation's kernel and holds a load of verified streams for SOAK
minutes: over the taps, where the host's own TCP is the other side, and inside of
the guest over loopback and over a network that loses, delays and corrupts. All
the while segments of every kind are thrown at it, memory runs out, for all or for
a cgroup, there are bad neighbours, CPUs go offline and come back, network
namespaces, devices, addresses and connections come and go, and readers look at all
of it, BPF's among them (scripts/rig/guest-soak.sh). TAP and a summary on
stdout: what load was held, which faults were injected, and what was lost.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from rig import BUILD, ORGS, TOP, RigError, options, program
from rig.guest import Guest, Setup

NICS = 6
STREAMS = 48
# What the guest does, each by the name it has there.
LOADS = ("taps", "loopback", "badnet")
DISTURBANCES = ("fuzz", "storm", "neighbour", "memory", "dynaddr", "kmemleak")
# What it says at the end: of these there have to be some, and none of those.
INJECTED = ("times_storm", "times_neighbour", "times_memory", "times_dynaddr", "allocations_refused_by_failslab",
            "allocations_refused_by_fail_page_alloc", "times_of_tcp_memory_pressure", "CPUs_offline_and_online",
            "namespaces_ended_under_load", "devices_unregistered_under_load", "times_all_was_read",
            "corrupted_segments_refused", "segments_of_the_fuzzer")
AFTER = ("sockets_in_use", "orphans", "connections_in_TIME_WAIT")
AFTER_GROUPS = ("queued_and_not_drained", "connections_in_groups", "bytes_on_queues")
# These kernels have all that a test needs.  But it may come to little, and stock has no groups.
NO_MATTER = ("too few rounds", "no connection groups")
# A round of the load is over soon, but a machine that does all this is slow.
ROUND_SECONDS = 900
PROGRESS_SECONDS = 60


def text(path: Path) -> str:
    """What a file says; "" if who would have written it did not come to that."""
    return path.read_text(errors="replace").strip() if path.exists() else ""


@dataclass
class Load:
    """What one kind of load came to, over all of its rounds."""

    rounds: int = 0
    streams: int = 0
    bytes: int = 0
    wrong: list[str] = field(default_factory=list)

    def add(self, folder: Path) -> None:
        """One round: what both ends said, and how they ended."""
        self.rounds += 1
        for end in ("serve", "sink"):
            status, log = (text(folder / f"{end}.{kind}") for kind in ("status", "log"))
            if not status:
                self.wrong.append(f"{folder.name}: {end} did not run to its end: {log}")
            elif status != "0":
                self.wrong.append(f"{folder.name}: {end} ended with status {status}: {log}")
        sent, received = (json.loads((folder / f"{end}.json").read_text())
                          if (folder / f"{end}.json").exists() else {} for end in ("serve", "sink"))
        self.streams += int(received.get("conns", 0))
        self.bytes += int(received.get("total_bytes", 0))
        if sent.get("total_bytes") != received.get("total_bytes"):
            self.wrong.append(f"{folder.name}: {sent.get('total_bytes')} bytes were sent, "
                              f"{received.get('total_bytes')} received")


def hold_taps(guest: Guest, ptcpbench: Path, deadline: float) -> None:
    """The host's side of the load over the taps: a verifying sink a round."""
    number, told = 0, time.monotonic()
    while True:
        number += 1
        folder = guest.share / f"taps-{number}"
        while not (folder / "ready").exists():
            guest.check()
            if (guest.share / "loads-ended").exists() or (guest.share / "status").exists():
                return
            if time.monotonic() > deadline:
                raise RigError("the guest did not end its loads in time")
            time.sleep(0.1)
        with (folder / "sink.log").open("wb") as log:
            sink = guest.spawn(
                ["sh", "-c", f'status=0; "$@" || status=$?; echo $status >{folder}/sink.status', "sink",
                 str(ptcpbench), "sink", "--verify", "--address", guest.addresses, "--connections", str(STREAMS),
                 f"--json={folder}/sink.json"], log)
        limit = time.monotonic() + ROUND_SECONDS
        while sink.poll() is None or not (folder / "serve.status").exists():
            guest.check()
            if time.monotonic() > limit:
                raise RigError(f"round {number} over the taps did not end within {ROUND_SECONDS} s")
            time.sleep(0.1)
        if time.monotonic() - told > PROGRESS_SECONDS:
            told = time.monotonic()
            print(f"== soak: {guest.setup.org}: {number} rounds over the taps, "
                  f"about {max(0, deadline - ROUND_SECONDS - told) / 60:.0f} minutes to go", file=sys.stderr, flush=True)


class Tap:
    def __init__(self, name: str) -> None:
        self.name = name
        self.count = self.failed = 0

    def result(self, passed: bool, what: str, why: list[str] | None = None) -> None:
        self.count += 1
        self.failed += not passed
        print(f"{'ok' if passed else 'not ok'} {self.count} - {self.name}: soak: {what}")
        if not passed:
            for line in "\n".join(why or []).splitlines():
                print(f"# {line}")


def numbers(path: Path, names: tuple[str, ...], tap: Tap) -> dict[str, int]:
    """NAME NUMBER lines, which the guest leaves, one for each of these names."""
    words = [line.split() for line in text(path).splitlines()]
    missing = set(names) - {name for name, _ in words}
    tap.result(not missing, f"the guest has counted what it should ({path.name})", sorted(missing))
    return {name: int(number) for name, number in words}


def judge(share: Path, tap: Tap, minutes: int) -> None:
    """What is in the folder that the guest shares, when all is over."""
    loads = {name: Load() for name in LOADS}
    for folder in sorted(share.glob("*-*")):
        if (folder / "serve.log").exists():
            loads[folder.name.rpartition("-")[0]].add(folder)
    for name, load in loads.items():
        tap.result(not load.wrong and load.bytes > 0, f"{name}: every byte right, no connection lost",
                   load.wrong or ["none was received"])
    for name in DISTURBANCES:
        status, log = (text(share / f"{name}.{kind}") for kind in ("ended", "log"))
        left_out = [line for line in log.splitlines() if "# SKIP" in line and not any(why in line for why in NO_MATTER)]
        tap.result(status == "0" and not left_out, f"{name} ends well",
                   [f"status: {status or 'none'}", *left_out, *log.splitlines()[-60:]])
    injected = numbers(share / "injected", INJECTED, tap)
    after = numbers(share / "after", AFTER + (AFTER_GROUPS if tap.name.startswith("connp") else ()), tap)
    for name, number in injected.items():
        tap.result(number > 0, f"{name.replace('_', ' ')}: there were some")
    for name, number in after.items():
        tap.result(number == 0, f"{name.replace('_', ' ')}: none", [f"{number}"])

    print(f"\nsoak of {tap.name}, {minutes} minutes\n")
    rows = [("load held", f"{name}: {load.streams} streams in {load.rounds} rounds, "
                          f"{load.bytes / 2**20:.0f} MiB verified, {len(load.wrong)} errors")
            for name, load in loads.items()]
    rows += [("injected", f"{number} {name.replace('_', ' ')}") for name, number in injected.items()]
    rows += [("left", f"{number} {name.replace('_', ' ')}") for name, number in after.items()]
    for what, told in rows:
        print(f"  {what:<10} {told}")
    print(flush=True)


def main() -> int:
    if len(sys.argv) != 2 or sys.argv[1] not in ORGS:
        raise RigError(f"usage: [VARIANT=fulldebug] [SOAK=minutes] scripts/soak.py ORG; ORG is one of: {' '.join(ORGS)}")
    org = sys.argv[1]
    minutes = options.number("SOAK", 20, 1, 7 * 24 * 60)
    variant = options.variant() or "fulldebug"
    ptcpbench = BUILD / "tools/ptcpbench"
    if not ptcpbench.exists():
        raise RigError(f"{ptcpbench} is missing; build it with: make tools")
    setup = Setup(org, variant, nics=NICS, timeout=60 * minutes + 2 * ROUND_SECONDS,
                  copies=[(TOP / "scripts/rig/guest-soak.sh", "/script/soak")])
    tap = Tap(f"{org} {variant}")
    with Guest(setup) as guest:
        guest.start(["env", f"STREAMS={STREAMS}", f"FUZZ_SEED={os.environ.get('FUZZ_SEED', '')}",
                     "/script/soak", str(60 * minutes)], sys.stderr.buffer)
        guest.wait_booted()
        hold_taps(guest, ptcpbench, time.monotonic() + 60 * minutes + ROUND_SECONDS)
        status = guest.wait()
        tap.result(status == 0, "the guest ends well", [f"status {status}"])
        judge(guest.share, tap, minutes)
        if tap.failed:
            guest.keep()
    print(f"1..{tap.count}")
    return 1 if tap.failed else 0


if __name__ == "__main__":
    program.run("soak", main)
