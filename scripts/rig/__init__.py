# SPDX-License-Identifier: GPL-2.0
"""The rig: boots one of our kernels in QEMU and drives it.

machine.py     this host: cores, TSC rate, the accelerator found to work
initramfs.py   the guest's root: host binaries and their libraries
clients.py     the client side: a network namespace with one tap a NIC
console.py     watches the guest's console for faults
kcsan.py       what KCSAN reported on it, and what it may
clock.py       compares the guest's clock with the host's
counters.py    what the guest's kernel counted during a run
guest.py       puts these together: boot, run a script, judge the outcome
bench.py       the benchmark in one boot, and its runs' figures
memory.py      what idle connections cost the guest's kernel in memory
progress.py    tells the user how far a series of runs has come
options.py     what the user set on make's command line, checked
results.py     a comparison's JSON file and its tables
profiler.py    the benchmark under the profiler, tools/tcgprof
perf.py        the same of a machine with a PMU, by perf
remote.py      a machine that ssh reaches, and what we do there
categories.py  which part of the system a function is of
program.py     how each program begins and ends
guest-*.sh     what runs inside the guest; guest-init.sh is its /init
server-perf.sh what runs on a server beside that, for perf.py

The programs that use it are beside this folder: guest-run.py, compare.py,
vm.py and iperf3.py.
"""

import os
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("BUILD") or TOP / "build").resolve()


def _read_list(name: str) -> dict[str, str]:
    lines = (TOP / "configs" / name).read_text().splitlines()
    return dict(line.split(maxsplit=1) for line in lines if not line.startswith("#"))


# By name, what tables call them.
ORGS = _read_list("organisations")
# By name, of what their configuration consists.
VARIANTS = _read_list("variants")


class RigError(Exception):
    """Something the user can act on; the message says what and how."""
