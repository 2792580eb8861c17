# SPDX-License-Identifier: GPL-2.0
"""The client side of the rig: the host's own TCP behind one tap a guest NIC,
in a network namespace made for the run.

The namespace has no default route and forwards nothing, so nothing leaves the
machine, and the addresses mean something only inside it. QEMU runs in it too;
that is how it reaches the taps.
"""

from __future__ import annotations

import itertools
import os
import re
import subprocess
from types import TracebackType

from . import BUILD, RigError

PTCPBENCH = BUILD / "tools/ptcpbench"
MAX_NICS = 6
_PREFIX = "connp-rig"
_serial = itertools.count(1)


def guest_address(nic: int) -> str:
    return f"10.77.{nic}.1"


def guest_address6(nic: int) -> str:
    return f"fd77:{nic}::1"


def host_address(nic: int) -> str:
    return f"10.77.{nic}.2"


def mac(nic: int) -> str:
    """guest-init.sh finds a NIC's number in the last byte."""
    return f"52:54:00:77:00:{nic:02x}"


class Clients:
    """A namespace with a tap per NIC, deleted on leaving the `with` block."""

    def __init__(self, nics: int, mtu: int = 1500, tso: bool = False) -> None:
        if not 1 <= nics <= MAX_NICS:
            raise RigError(f"nics={nics}: expected 1 to {MAX_NICS}")
        self.name = f"{_PREFIX}-{os.getpid()}-{next(_serial)}"
        self.nics = nics
        self.mtu = mtu
        self.tso = tso

    def __enter__(self) -> Clients:
        if os.geteuid() != 0:
            raise RigError("taps and network namespaces need root: run this with sudo")
        if not os.path.exists("/dev/net/tun"):
            raise RigError("/dev/net/tun is missing: load the tun module (modprobe tun)")
        delete_abandoned()
        _run(["ip", "netns", "add", self.name])
        try:
            self._populate()
        except BaseException:
            self._delete()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._delete()

    def command(self, argv: list[str]) -> list[str]:
        """ARGV as it runs inside the namespace; ip execs, so the pid is ARGV's."""
        return ["ip", "netns", "exec", self.name, *argv]

    def _populate(self) -> None:
        batch = ["link set lo up"]
        for nic in range(1, self.nics + 1):
            tap = f"tap{nic}"
            batch += [
                f"tuntap add dev {tap} mode tap vnet_hdr",
                f"link set {tap} mtu {self.mtu}",
                f"addr add {host_address(nic)}/24 dev {tap}",
                f"addr add fd77:{nic}::2/64 dev {tap} nodad",
                f"link set {tap} up",
            ]
        _run(["ip", "-n", self.name, "-batch", "-"], "\n".join(batch) + "\n")
        settings = ["net.ipv4.ip_forward=0", "net.ipv6.conf.all.forwarding=0", "net.core.somaxconn=65535",
                    "net.ipv4.ip_local_port_range=10000 65000"]
        _run(self.command(["sysctl", "-q", "-w", *settings]))
        onoff = "on" if self.tso else "off"
        for nic in range(1, self.nics + 1):
            _run(self.command(["ethtool", "-K", f"tap{nic}", "tso", onoff, "gso", onoff]))

    def _delete(self) -> None:
        subprocess.run(["ip", "netns", "delete", self.name], check=False)


def delete_abandoned() -> None:
    """Delete what rigs left behind that could not clean up (SIGKILL)."""
    for entry in _run(["ip", "netns", "list"]).splitlines():
        name = entry.split()[0]
        owner = re.fullmatch(rf"{_PREFIX}-(\d+)-\d+", name)
        if owner and not os.path.exists(f"/proc/{owner[1]}"):
            subprocess.run(["ip", "netns", "delete", name], check=False)


def _run(argv: list[str], text: str | None = None) -> str:
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RigError(f"`{' '.join(argv)}` failed: {done.stderr.strip() or done.returncode}")
    return done.stdout
