#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""make soak: a kernel that checks itself, under load, with everything at once.

    [VARIANT=debug] [SOAK=20] scripts/soak.py ORG

Boots one organisation's kernel and holds a load of verified streams for SOAK
minutes: over the taps, where the host's own TCP is the other side, and inside of
the guest over loopback and over a network that loses, delays and corrupts. All
the while segments of every kind are thrown at it, memory runs out, CPUs go
offline and come back, network namespaces and connections come and go, and
readers look at all of it (scripts/rig/guest-soak.sh). TAP and a summary on
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
DISTURBANCES = ("fuzz", "storm", "kmemleak")
# A round of the load is over soon, but a machine that does all this is slow.
ROUND_SECONDS = 900
PROGRESS_SECONDS = 60
# The status of a selftest that was.
SKIPPED = "4"


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


def numbers(path: Path, tap: Tap) -> dict[str, int]:
    """NAME NUMBER lines, which the guest leaves."""
    words = [line.split() for line in text(path).splitlines()]
    if not words:
        tap.result(False, f"the guest has counted what it should ({path.name})")
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
        if status == SKIPPED:
            tap.result(True, f"{name} ends well # SKIP it does not apply to this kernel")
        else:
            tap.result(status == "0", f"{name} ends well", [f"status: {status or 'none'}", *log.splitlines()[-60:]])
    injected, after = (numbers(share / name, tap) for name in ("injected", "after"))
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
        raise RigError(f"usage: [VARIANT=debug] [SOAK=minutes] scripts/soak.py ORG; ORG is one of: {' '.join(ORGS)}")
    org = sys.argv[1]
    minutes = options.number("SOAK", 20, 1, 7 * 24 * 60)
    variant = options.variant() or "debug"
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
