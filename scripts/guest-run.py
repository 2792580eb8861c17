#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Boot one of our kernels, run one script in it, and pass its verdict on.

    scripts/guest-run.py --org connp-l [options] -- SCRIPT [ARGUMENTS]

SCRIPT is a file of the host, which is copied into the guest, or else a command
there. The guest has this tree's tools (ptcpbench) in /bin and its selftests in
/selftests. What the script prints comes out here; its exit status becomes this
program's. Whatever else goes wrong (an oops, a warning, a lockdep splat, a
stall, no status, a clock that runs wrong) is exit status 99, with the trace on
stderr and the console kept.

With --nics N the guest has nic1 to nicN, and the host's end is a namespace with
tap1 to tapN: 10.77.N.1 and fd77:N::1 in the guest, .2 and ::2 on the host.
--host-script runs a shell command in that namespace beside the guest's script;
$SHARE there is the guest's /share. Both must succeed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rig import ORGS, VARIANTS, RigError, kcsan, program
from rig.guest import Guest, Setup

RIG_FAILED = 99


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--org", required=True, choices=ORGS)
    parser.add_argument("--variant", default="", choices=VARIANTS, help="boot this kernel of ORG (VARIANT=)")
    parser.add_argument("--append", default="", help="words to add to the kernel's command line")
    parser.add_argument("--nics", type=int, default=0, help="network interfaces (0 to 6; more than 0 needs root)")
    parser.add_argument("--cpus", type=int, default=0, help="virtual CPUs (default: the host's cores)")
    parser.add_argument("--memory", type=int, default=0, metavar="MB")
    parser.add_argument("--mtu", type=int, default=1500)
    parser.add_argument("--tso", action="store_true", help="leave TSO and GSO on")
    parser.add_argument("--timeout", type=float, default=600, metavar="SECONDS", help="for the script (default 600)")
    parser.add_argument("--copy", action="append", default=[], metavar="FILE_OR_DIR:DEST",
                        help="put a file, or what a directory holds, at DEST in the guest")
    parser.add_argument("--virtual-time", action="store_true",
                        help="the guest's clock counts instructions, whatever the host's load (slow)")
    parser.add_argument("--plugin", default="", metavar="FILE[,OPTION=VALUE...]", help="of QEMU's TCG, such as tcgprof.so")
    parser.add_argument("--host-script", metavar="COMMAND", help="shell command to run in the clients' namespace")
    parser.add_argument("--keep", action="store_true", help="keep the run's folder (console, share) also on success")
    parser.add_argument("script", nargs="+", help="what to run in the guest")
    return parser.parse_args()


def copies(arguments: argparse.Namespace) -> list[tuple[Path, str]]:
    wanted = []
    for copy in arguments.copy:
        source, colon, destination = copy.rpartition(":")
        if not colon or not destination.startswith("/"):
            raise RigError(f"--copy {copy}: expected FILE_OR_DIR:DEST with an absolute DEST")
        wanted.append((Path(source), destination))
    return wanted


def main() -> int:
    arguments = parse()
    setup = Setup(arguments.org, arguments.variant, arguments.nics, arguments.cpus, arguments.memory, arguments.mtu,
                  arguments.tso, arguments.append, copies(arguments), arguments.timeout,
                  virtual_time=arguments.virtual_time, plugin=arguments.plugin)
    script = list(arguments.script)
    if Path(script[0]).is_file():
        inside = f"/script/{Path(script[0]).name}"
        setup.copies.append((Path(script[0]), inside))
        script[0] = inside
    if arguments.host_script and not arguments.nics:
        raise RigError("--host-script needs --nics: without taps there is no namespace to run it in")

    with Guest(setup) as guest:
        guest.start(script, sys.stdout.buffer)
        if arguments.host_script:
            guest.wait_booted()
            guest.spawn(["sh", "-c", arguments.host_script])
        status = guest.wait()
        elapsed = guest.elapsed()
        if elapsed.wrong and not setup.virtual_time:
            raise RigError(f"{elapsed}; is the host's TSC stable (tsc_early_khz is taken from it)?")
        if arguments.variant == "kcsan":
            sys.stdout.write(kcsan.judge(guest.console(), setup.builddir))
        if arguments.keep:
            guest.keep()
        return status


if __name__ == "__main__":
    program.run("guest-run", main, RIG_FAILED)
