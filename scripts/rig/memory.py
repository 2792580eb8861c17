# SPDX-License-Identifier: GPL-2.0
"""What connections that stand idle cost the guest's kernel in memory."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from . import TOP, RigError, results
from .bench import System
from .guest import Setup

# To establish that many, and to notice it.
_SECONDS = 60
_PER_SECOND = 100


def prepare(setup: Setup, conns: int) -> Setup:
    """SETUP with what CONNS connections need: memory, time, the guest's script."""
    return replace(setup, memory_mb=2048 + conns // 16, timeout=2 * hold_seconds(conns),
                   copies=[*setup.copies, (TOP / "scripts/rig/guest-memory.sh", "/script/guest-memory.sh")])


def measure(guest: System, conns: int, tick: Callable[[], None]) -> results.Run:
    """Boot, and return: socket (bytes of one, as the kernel allocates it), slab
    (bytes that all slabs grew by), pages (bytes of TCP's buffers), conns.
    """
    setup = guest.setup
    guest.start(["/script/guest-memory.sh", guest.addresses, str(conns)], sys.stderr.buffer)
    guest.wait_file("listening", setup.boot_timeout + _SECONDS, tick)
    guest.hold(conns)
    guest.wait_file("done", hold_seconds(conns), tick)
    if guest.wait():
        raise RigError(f"{setup.org}: guest-memory.sh failed in the guest; its output is above")
    before, during = (_read(guest.share / name) for name in ("before", "during"))
    if during["conns"] - before["conns"] != conns:
        raise RigError(f"{setup.org}: {during['conns'] - before['conns']} connections more in the guest, not {conns}")
    socket = guest.share / "socket"
    return {"org": setup.org, "conns": conns, "refused": False,
            "socket": int(socket.read_text()) if socket.exists() else None,
            "slab": during["slab"] - before["slab"], "pages": during["pages"] - before["pages"]}


def hold_seconds(conns: int) -> float:
    """Most that it may take to establish them."""
    return _SECONDS + conns / _PER_SECOND


def _read(folder: Path) -> dict[str, int]:
    meminfo = (folder / "meminfo").read_text()
    sockstat = (folder / "sockstat").read_text()
    slab = re.search(r"^Slab: +(\d+) kB$", meminfo, re.MULTILINE)
    tcp = re.search(r"^TCP: .* mem (\d+)$", sockstat, re.MULTILINE)
    if not slab or not tcp:
        raise RigError("the guest's /proc/meminfo or /proc/net/sockstat is not as memory.py knows it")
    return {"slab": int(slab[1]) << 10, "conns": int((folder / "conns").read_text()), "pages": int(tcp[1]) << 12}
