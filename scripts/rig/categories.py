# SPDX-License-Identifier: GPL-2.0
"""Which part of the system a function is of, by the file that it is from, as the
kernel's own debug information tells.

A function inlined into another is that other's, wherever it is written.
"""

from __future__ import annotations

import bisect
import re
import subprocess
import tempfile
from pathlib import Path

from . import BUILD, RigError

USER = "user space"
OTHER = "other"
LOCKING = "locking"
SCHEDULER = "scheduler"

# In the order of every table.
ALL = ("network stack", SCHEDULER, LOCKING, "copy and checksum", "driver", "memory management", "interrupt", OTHER,
       USER)

# The longest beginning of a file's name counts; a directory ends with a slash.
_BY_NAME = {
    "net/": "network stack",
    "lib/dim/": "network stack",
    "lib/dynamic_queue_limits.c": "network stack",
    # A file system that speaks its own protocol over its own channel.
    "net/9p/": OTHER,

    "kernel/sched/": SCHEDULER,
    "kernel/kthread.c": SCHEDULER,
    "kernel/smpboot.c": SCHEDULER,
    "kernel/stop_machine.c": SCHEDULER,
    "kernel/workqueue.c": SCHEDULER,

    "kernel/futex/": LOCKING,
    "kernel/locking/": LOCKING,
    "arch/x86/kernel/paravirt-spinlocks.c": LOCKING,
    "lib/atomic": LOCKING,
    "lib/dec_and_lock.c": LOCKING,
    "lib/lockref.c": LOCKING,

    "arch/x86/lib/copy": "copy and checksum",
    "arch/x86/lib/csum": "copy and checksum",
    "arch/x86/lib/getuser.S": "copy and checksum",
    "arch/x86/lib/mem": "copy and checksum",
    "arch/x86/lib/putuser.S": "copy and checksum",
    "arch/x86/lib/usercopy": "copy and checksum",
    "lib/checksum.c": "copy and checksum",
    "lib/iov_iter.c": "copy and checksum",
    "lib/usercopy.c": "copy and checksum",

    "drivers/": "driver",
    "kernel/dma/": "driver",

    "mm/": "memory management",
    "arch/x86/lib/clear_page_64.S": "memory management",
    "arch/x86/mm/": "memory management",

    "arch/x86/kernel/apic/": "interrupt",
    "arch/x86/kernel/i8259.c": "interrupt",
    "arch/x86/kernel/irq": "interrupt",
    "arch/x86/kernel/smp.c": "interrupt",
    "kernel/irq/": "interrupt",
    "kernel/irq_work.c": "interrupt",
    "kernel/smp.c": "interrupt",
    "kernel/softirq.c": "interrupt",
}


def of_file(name: str) -> str:
    """The category of a file, by its name in the kernel's tree."""
    for length in range(len(name), 0, -1):
        found = _BY_NAME.get(name[:length])
        if found:
            return found
    return OTHER


class Sources:
    """The source files of the code of a vmlinux with debug information."""

    def __init__(self, vmlinux: Path, tree: Path) -> None:
        ranges = _ranges(vmlinux, _units(vmlinux, tree))
        if not ranges:
            raise RigError(f"{vmlinux} has no debug information with address ranges")
        ranges.sort()
        self._starts = [start for start, _, _ in ranges]
        self._ranges = ranges

    def file(self, address: int) -> str:
        """The name in the tree, or nothing."""
        at = bisect.bisect_right(self._starts, address) - 1
        if at < 0:
            return ""
        start, length, name = self._ranges[at]
        return name if address < start + length else ""

    def category(self, address: int) -> str:
        """Of code; user space, of which nothing is known, has address 0."""
        return of_file(self.file(address)) if address else USER


def for_kernel(builddir: Path) -> Sources:
    """For the measured kernel in BUILDDIR, which has no debug information itself:
    that of the kernel with VARIANT=profile, if its code is the same.
    """
    debug = builddir.with_name(f"{builddir.name}-profile")
    if not (debug / "vmlinux").exists():
        raise RigError(f"no {debug}/vmlinux to tell which file a function is of; "
                       f"build it with: make kernel ORG={builddir.name} VARIANT=profile")
    same = (builddir / "System.map").read_bytes() == (debug / "System.map").read_bytes()
    if not same or _code(builddir / "vmlinux") != _code(debug / "vmlinux"):
        raise RigError(f"the code of {debug}/vmlinux is not that of {builddir}/vmlinux: "
                       "build both from the same source")
    return Sources(debug / "vmlinux", BUILD / "linux")


def _code(vmlinux: Path) -> bytes:
    with tempfile.NamedTemporaryFile() as text:
        _run(["objcopy", "-O", "binary", "-j", ".text", str(vmlinux), text.name])
        return Path(text.name).read_bytes()


def _units(vmlinux: Path, tree: Path) -> dict[int, str]:
    """By its offset in the debug information, the file of each compilation."""
    units: dict[int, str] = {}
    offset = -1
    text = _run(["readelf", "--debug-dump=info", "--dwarf-depth=1", str(vmlinux)]).decode()
    for line in text.splitlines():
        if unit := re.match(r"  Compilation Unit @ offset (\w+):", line):
            offset = int(unit[1], 16)
        elif name := re.match(r" *<\w+> +DW_AT_name +: (?:\(.*?\): )?(.*)", line):
            units.setdefault(offset, name[1].strip().removeprefix(f"{tree}/"))
    return units


def _ranges(vmlinux: Path, units: dict[int, str]) -> list[tuple[int, int, str]]:
    """Start, length and file of every piece of code."""
    ranges = []
    name = ""
    for line in _run(["readelf", "--debug-dump=aranges", str(vmlinux)]).decode().splitlines():
        if unit := re.match(r"  Offset into \.debug_info: +(\w+)", line):
            name = units[int(unit[1], 16)]
        elif piece := re.match(r"    ([0-9a-f]{16}) ([0-9a-f]{16})", line):
            ranges.append((int(piece[1], 16), int(piece[2], 16), name))
    return [(start, length, name) for start, length, name in ranges if length]


def _run(argv: list[str]) -> bytes:
    done = subprocess.run(argv, capture_output=True, check=False)
    if done.returncode:
        raise RigError(f"`{' '.join(argv)}` failed: {done.stderr.decode().strip()}")
    return done.stdout
