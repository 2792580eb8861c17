# SPDX-License-Identifier: GPL-2.0
"""This host, as far as the rig depends on it: its cores, the rate of its TSC,
the state of the tree, and the accelerator QEMU can really use here.
"""

from __future__ import annotations

import functools
import json
import os
import platform
import shutil
import subprocess
from pathlib import Path

from . import BUILD, TOP, RigError

QEMU = "qemu-system-x86_64"

# What the rig runs on the host, and the Debian package that has it.
PROGRAMS = {
    QEMU: "qemu-system-x86",
    "busybox": "busybox-static",
    "ip": "iproute2",
    "ethtool": "ethtool",
    "iperf3": "iperf3",
    "setpriv": "util-linux",
    "ldd": "libc-bin",
    "cc": "gcc",
}


def check_programs() -> None:
    """Stop early, naming every missing package at once."""
    # A user's PATH often lacks the directories where ip and ethtool are.
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    missing = {package for program, package in PROGRAMS.items() if not shutil.which(program)}
    if missing:
        raise RigError("missing programs; install them with: apt install " + " ".join(sorted(missing)))
    if platform.machine() != "x86_64":
        raise RigError(f"the rig boots x86_64 kernels only, this machine is {platform.machine()}")


def cores() -> int:
    return len(os.sched_getaffinity(0))


def cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"


def memory_mb() -> int:
    """Memory a guest could still get, in MiB."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) // 1024
    raise RigError("/proc/meminfo has no MemAvailable line")


def commit() -> str:
    """The tree's commit, marked -dirty when tracked files differ from it."""
    done = subprocess.run(["git", "-C", str(TOP), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
                          capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


@functools.cache
def qemu_version() -> str:
    done = subprocess.run([QEMU, "--version"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[0].removeprefix("QEMU emulator version ")


@functools.cache
def tsc_khz() -> int:
    source = Path(__file__).with_name("tsc-khz.c")
    program = BUILD / "guest" / "tsc-khz"
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        program.parent.mkdir(parents=True, exist_ok=True)
        fresh = program.with_name(f"{program.name}.{os.getpid()}")
        subprocess.run(["cc", "-O2", "-o", str(fresh), str(source)], check=True)
        fresh.replace(program)
    return int(subprocess.run([program], capture_output=True, text=True, check=True).stdout)


def remembered_accelerator() -> str | None:
    """The accelerator an earlier probe found, if it was on this very setup."""
    forced = os.environ.get("ACCEL")
    if forced:
        if forced not in ("kvm", "tcg"):
            raise RigError(f"ACCEL={forced}: expected kvm or tcg, or leave it unset to have it probed")
        return forced
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    try:
        probe = json.loads(_probe_file().read_text())
    except (FileNotFoundError, ValueError):
        return None
    return probe["accel"] if probe["setup"] == _setup() else None


def remember_accelerator(accel: str) -> None:
    probe = _probe_file()
    probe.parent.mkdir(parents=True, exist_ok=True)
    fresh = probe.with_name(f"{probe.name}.{os.getpid()}")
    fresh.write_text(json.dumps({"setup": _setup(), "accel": accel}, indent=1) + "\n")
    fresh.replace(probe)


def _probe_file() -> Path:
    return BUILD / "guest" / "accelerator.json"


def _setup() -> str:
    """What decides whether KVM boots a guest: CPU, host kernel, QEMU."""
    return f"{cpu_model()}; {platform.release()}; QEMU {qemu_version()}"
