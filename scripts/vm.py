#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""make vm ORG=connp-l: a shell in the guest that everything else here measures
and tests, with the same kernel, programs, NICs and clients' namespace.

Reads ORG, VARIANT, NICS, CPUS, TSO, MTU and GROUPS (of connp-l) or TGROUPS (of
connp-t) from the environment.
"""

from __future__ import annotations

import sys
import termios

from rig import RigError, machine, options, program
from rig.guest import Guest, Setup


def main() -> int:
    if not sys.stdin.isatty():
        raise RigError("a shell needs a terminal on stdin; to run a script in the guest use scripts/guest-run.py")
    org = options.org()
    setup = Setup(org, options.variant(), nics=options.nics(),
                  cpus=options.cpus(machine.cores()), mtu=options.mtu(), tso=options.tso(),
                  append="loglevel=4", groups=options.groups(org))
    saved = termios.tcgetattr(sys.stdin)
    try:
        with Guest(setup) as guest:
            assert guest.clients
            print(f"""\
{setup.org} on {setup.cpus} vCPUs ({guest.accel.upper()}), {setup.nics} NICs: 10.77.N.1 and fd77:N::1 here, .2 and ::2 on the host
Leave with `exit`, or at once with Ctrl-A X.
The host's side, from another terminal:  ip netns exec {guest.clients.name} bash
/share in the guest is {guest.share} on the host; both go when you leave.
""", flush=True)
            return guest.interact()
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, saved)


if __name__ == "__main__":
    program.run("vm", main)
