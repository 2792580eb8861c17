#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""make vm ORG=connp-l: a shell in the guest that everything else here measures
and tests, with the same kernel, programs, NICs and clients' namespace.

Reads ORG, DEBUG, NICS, CPUS, TSO, MTU and GROUPS from the environment.
"""

from __future__ import annotations

import os
import sys
import termios

from rig import RigError, machine, options
from rig.guest import Guest, Setup, exit_on_signals


def run() -> int:
    if not sys.stdin.isatty():
        raise RigError("a shell needs a terminal on stdin; to run a script in the guest use scripts/guest-run.py")
    setup = Setup(options.org(), debug=os.environ.get("DEBUG") == "1", nics=options.nics(),
                  cpus=options.cpus(machine.cores()), mtu=options.mtu(), tso=options.tso(),
                  append=f"loglevel=4 tcp_connp.groups={options.groups()}" if options.org() == "connp-l" else "loglevel=4")
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


def main() -> int:
    exit_on_signals()
    try:
        return run()
    except RigError as error:
        print(f"vm: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
