# SPDX-License-Identifier: GPL-2.0
"""The rig: boots one of our kernels in QEMU and drives it.

machine.py    this host: cores, TSC rate, which accelerator really boots
initramfs.py  the guest's root: host binaries and their libraries
clients.py    the client side: a network namespace with one tap a NIC
console.py    watches the guest's console for faults and clock marks
guest.py      puts them together: boot, run a script, judge the outcome
guest-init.sh /init inside the guest

The programs that use it are beside this folder: guest-run.py, compare.py,
vm.py and iperf3.py.
"""

from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
BUILD = TOP / "build"
ORGS = ("up", "msgp", "connp-l")


class RigError(Exception):
    """Something the user can act on; the message says what and how."""
