# SPDX-License-Identifier: GPL-2.0
"""One boot of one of our kernels in QEMU, from command line to verdict.

    with Guest(Setup(org="msgp", nics=6)) as guest:
        guest.start(["sh", "-c", "uname -r"])
        guest.wait_booted()
        ...                             # drive it from guest.clients
        status = guest.wait()

The script runs in the guest as the only thing there; its output and its exit
status come back through a 9p share. A guest that oopses, warns, stalls, ends
without a status or outlives its time raises GuestFailure, with the console
kept and the decoded trace in the message.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NoReturn

from . import BUILD, ORGS, TOP, RigError, clock, machine
from .clients import PTCPBENCH, Clients, guest_address, guest_address6, host_address, mac
from .console import Console, decode
from .initramfs import Initramfs

# A boot to the script takes 3 to 6 s under TCG on an idle machine; debug
# kernels take several times as long, and other work may share the machine.
BOOT_SECONDS = 120
DEBUG_BOOT_SECONDS = 600
# A KVM that cannot run the kernel hangs right after the firmware.
PROBE_SECONDS = 15
# After a fault: how long the kernel may take to print the rest of the trace.
TRACE_SECONDS = 3
# What runs beside a guest ends when its connections do, so soon after it.
_BESIDE_SECONDS = 30
_POLL_SECONDS = 0.02
# An instruction a nanosecond, and the TSC counts these.
_VIRTUAL_TSC_KHZ = 1_000_000


class GuestFailure(RigError):
    """The guest did not come through; the message has the reason and trace."""


@dataclass
class Setup:
    """What to boot, and on what machine."""

    org: str
    variant: str = ""  # "": the kernel that is measured
    nics: int = 0
    cpus: int = 0  # 0: as many as the host has cores
    memory_mb: int = 0  # 0: enough for the kernel and a few hundred connections
    mtu: int = 1500
    tso: bool = False
    append: str = ""
    copies: list[tuple[Path, str]] = field(default_factory=list)
    timeout: float = 600.0  # of the script, once the guest is booted
    boot_timeout: float = 0.0  # 0: generous
    accel: str = ""  # "": probed
    groups: int = 0  # connection groups; 0: what the kernel has by default
    # The guest's clock counts instructions and skips idle time, so that what
    # it sees does not depend on the host's load: for what measures time.
    virtual_time: bool = False
    plugin: str = ""  # of QEMU's TCG: its path and, after commas, its options

    def __post_init__(self) -> None:
        if self.org not in ORGS:
            raise RigError(f"ORG={self.org} is not an organisation; use one of: {' '.join(ORGS)}")
        # A UP kernel runs one CPU whatever the machine has.
        self.cpus = 1 if self.org == "up" else self.cpus or machine.cores()
        self.memory_mb = self.memory_mb or (4096 if self.variant else 2048)
        self.boot_timeout = self.boot_timeout or (DEBUG_BOOT_SECONDS if self.variant else BOOT_SECONDS)

    @property
    def builddir(self) -> Path:
        return BUILD / (self.org + (f"-{self.variant}" if self.variant else ""))

    @property
    def kernel(self) -> Path:
        return self.builddir / "arch/x86/boot/bzImage"


class Guest:
    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        if not setup.kernel.exists():
            variant = f" VARIANT={setup.variant}" if setup.variant else ""
            raise RigError(f"no kernel at {setup.kernel}; build it with: make kernel ORG={setup.org}{variant}")
        if setup.memory_mb > machine.memory_mb():
            raise RigError(f"the guest needs {setup.memory_mb} MiB, this machine has {machine.memory_mb()} MiB free")
        self.accel = "tcg" if setup.virtual_time or setup.plugin else setup.accel or accelerator(setup)
        self.clients: Clients | None = None
        self.folder = BUILD / "guest" / f"{setup.builddir.name}-{os.getpid()}-{time.monotonic_ns()}"
        self.share = self.folder / "share"
        self._beside: dict[subprocess.Popen[bytes], str] = {}  # and what it is
        self._qemu: subprocess.Popen[bytes] | None = None
        self._console: Console | None = None
        self._output: BinaryIO | None = None
        self._output_read = 0
        self._kept = False

    def __enter__(self) -> Guest:
        machine.check_programs()
        self.share.mkdir(parents=True)
        try:
            if self.setup.nics:
                self.clients = Clients(self.setup.nics, self.setup.mtu, self.setup.tso)
                self.clients.__enter__()
        except BaseException:
            shutil.rmtree(self.folder)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 trace: TracebackType | None) -> None:
        try:
            self._stop()
        finally:
            if self.clients:
                self.clients.__exit__(kind, value, trace)
        if self._kept or (kind and issubclass(kind, Exception)):
            (self.folder / "initramfs.cpio").unlink(missing_ok=True)
            print(f"console kept in {self.folder}/console.log", file=sys.stderr)
        else:
            shutil.rmtree(self.folder)

    # Starting

    def start(self, script: list[str], output: BinaryIO | None = None) -> None:
        """Boot, and run SCRIPT there. Its output goes to OUTPUT as it comes."""
        self._output = output
        self._write_share(script, interactive=False)
        command = self._command(["-serial", "stdio"])
        self._qemu = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                      stderr=subprocess.STDOUT, start_new_session=True)
        assert self._qemu.stdout
        self._console = Console(self._qemu.stdout, self.folder / "console.log")
        self._started = time.monotonic()

    def interact(self) -> int:
        """Boot to a shell on this terminal; return when the guest has left."""
        self._write_share([], interactive=True)
        return subprocess.run(self._command(["-serial", "mon:stdio"]), check=False).returncode

    def _write_share(self, script: list[str], interactive: bool) -> None:
        setup = self.setup
        rows, columns = shutil.get_terminal_size().lines, shutil.get_terminal_size().columns
        settings = {
            "RIG_ORG": setup.org, "RIG_CPUS": setup.cpus, "RIG_NICS": setup.nics, "RIG_MTU": setup.mtu,
            "RIG_TSO": "on" if setup.tso else "off", "RIG_INTERACTIVE": "yes" if interactive else "",
            "RIG_ROWS": rows, "RIG_COLUMNS": columns, **self._ends(),
        }
        lines = [f"export {name}={shlex.quote(str(value))}" for name, value in settings.items()]
        if interactive:
            lines.append(f"export TERM={shlex.quote(os.environ.get('TERM', 'vt100'))}")
        (self.share / "settings").write_text("\n".join(lines) + "\n")
        (self.share / "run").write_text(f"exec {shlex.join(script)}\n")
        (self.share / "output").touch()

    def _command(self, serial: list[str]) -> list[str]:
        setup = self.setup
        image = self.folder / "initramfs.cpio"
        initramfs = Initramfs()
        for source, destination in setup.copies:
            initramfs.add(source, destination)
        initramfs.pack(setup.builddir, image)

        kvm = self.accel == "kvm"
        # no_timer_check: they come, but busy waiting finds that out within some
        # instructions, which an emulator without CPU time does not keep to.
        append = ("console=ttyS0 panic=-1 oops=panic reboot=t nokaslr printk.devkmsg=on no_timer_check "
                  f"tsc=reliable tsc_early_khz={_VIRTUAL_TSC_KHZ if setup.virtual_time else machine.tsc_khz()} "
                  f"{setup.append}")
        if setup.groups:
            append += f" tcp_connp.groups={setup.groups}"
        command = [
            # Threads have names, so that those of the vCPUs are known.
            machine.QEMU, "-name", "connp-rig,debug-threads=on", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", *serial,
            # Without an RTC the kernel spends a second of each boot looking for it.
            "-M", "microvm,acpi=off,rtc=on,pit=on,pic=on",
            "-accel", "kvm" if kvm else f"tcg,thread={'single' if setup.virtual_time else 'multi'}",
            # Without RDRAND early programs burn most of their time on entropy.
            "-cpu", "host" if kvm else "qemu64,+rdrand",
            "-smp", str(setup.cpus), "-m", str(setup.memory_mb),
            "-kernel", str(setup.kernel), "-initrd", str(image), "-append", append.strip(),
            "-fsdev", f"local,id=share,path={self.share},security_model=none",
            "-device", "virtio-9p-device,fsdev=share,mount_tag=share",
        ]
        if setup.virtual_time:
            command += ["-icount", "shift=0,sleep=off"]
        if setup.plugin:
            command += ["-plugin", setup.plugin]
        tso = "on" if setup.tso else "off"
        offloads = "".join(f",{end}_{kind}={tso}" for end in ("host", "guest") for kind in ("tso4", "tso6", "ecn", "ufo"))
        for nic in range(1, setup.nics + 1):
            command += ["-netdev", f"tap,id=net{nic},ifname=tap{nic},script=no,downscript=no",
                        "-device", f"virtio-net-device,netdev=net{nic},mac={mac(nic)}{offloads}"]
        # Should this program die without cleaning up, QEMU dies with it.
        command = ["setpriv", "--pdeathsig", "KILL", *command]
        if self.clients:
            command = self.clients.command(command)
        (self.folder / "command").write_text(shlex.join(command) + "\n")
        return command

    def spawn(self, argv: list[str], stdout: int | BinaryIO | None = None) -> subprocess.Popen[bytes]:
        """Run ARGV beside the guest, in the clients' namespace. Its failure is
        the run's failure, and it does not outlive the run.
        """
        assert self.clients
        command = self.clients.command(["setpriv", "--pdeathsig", "KILL", *argv])
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stdout, start_new_session=True,
                                   env={**os.environ, "SHARE": str(self.share), **self._ends()})
        self._beside[process] = shlex.join(argv)
        return process

    def _ends(self) -> dict[str, str]:
        """Addresses of all NICs, for scripts on either side."""
        kinds = {"GUEST4": guest_address, "GUEST6": guest_address6, "HOST4": host_address}
        return {f"RIG_{name}": ",".join(map(address, range(1, self.setup.nics + 1))) for name, address in kinds.items()}

    @property
    def addresses(self) -> str:
        """Of its NICs, as ptcpbench takes them."""
        return self._ends()["RIG_GUEST4"]

    def sink(self, name: str, options: list[str]) -> None:
        """Run ptcpbench's other end beside the guest; sunk() is what it said."""
        with (self.folder / f"{name}.log").open("wb") as log:
            self.spawn([str(PTCPBENCH), "sink", "--address", self.addresses,
                        f"--json={self.folder / name}.json", *options], log)

    def sunk(self, name: str) -> dict[str, Any]:
        result: dict[str, Any] = json.loads((self.folder / f"{name}.json").read_text())
        return result

    def hold(self, conns: int) -> None:
        """Open connections to guest-memory.sh beside the guest, until it is done."""
        self.spawn([sys.executable, str(TOP / "scripts/rig/hold-connections.py"), self.addresses, str(conns)])

    # Waiting

    def wait_booted(self) -> None:
        """Return when the script starts."""
        assert self._console
        while not clock.mark_file(self.share, "start").exists():
            self.check()
            if self._status():
                break
            if time.monotonic() - self._started > self.setup.boot_timeout:
                self._fail(f"the guest did not reach its script within {self.setup.boot_timeout:g} s")
            time.sleep(_POLL_SECONDS)

    def wait_file(self, name: str, seconds: float, tick: Callable[[], None] | None = None) -> None:
        """Return once the guest has made the share's file NAME; meanwhile call
        TICK now and then.
        """
        path = self.share / name
        limit = time.monotonic() + seconds
        while not path.exists():
            self.check()
            self._forward_output()
            if tick:
                tick()
            if (self.share / "status").exists():
                self._fail(f"the guest's script ended without making {name}")
            if time.monotonic() > limit:
                self._fail(f"the guest did not make {name} within {seconds:g} s")
            time.sleep(_POLL_SECONDS)

    def wait(self) -> int:
        """Return the script's exit status once the guest has left."""
        assert self._qemu and self._console
        self.wait_booted()
        limit = time.monotonic() + self.setup.timeout
        while self._qemu.poll() is None:
            self.check()
            self._forward_output()
            if time.monotonic() > limit:
                self._fail(f"the script did not end within {self.setup.timeout:g} s")
            time.sleep(_POLL_SECONDS)
        self._console.join()
        self._forward_output()
        self.wait_beside()
        status = self._status()
        if not status.isdecimal():
            self._fail(status or "the guest left no exit status")
        return int(status)

    def console(self) -> list[str]:
        """All that the kernel has said."""
        assert self._console
        return self._console.lines()

    def wait_beside(self) -> None:
        """Return when all that spawn() started has ended well."""
        for process, what in self._beside.items():
            try:
                process.wait(_BESIDE_SECONDS)
            except subprocess.TimeoutExpired:
                self._fail(f"the guest is done, but `{what}` beside it did not end within {_BESIDE_SECONDS} s")
        self.check()

    def cpu_seconds(self) -> dict[str, float]:
        """CPU time so far on the host: of the threads that are the guest's CPUs
        ("vcpus"), and of all of QEMU ("qemu").
        """
        self.check()
        assert self._qemu
        process = Path(f"/proc/{self._qemu.pid}")
        seconds = {"vcpus": 0.0, "qemu": _cpu_time(process)[1]}
        for task in (process / "task").iterdir():
            try:
                name, used = _cpu_time(task)
            except (FileNotFoundError, ProcessLookupError):
                continue  # QEMU's helpers come and go
            if name.startswith("CPU "):
                seconds["vcpus"] += used
        return seconds

    def elapsed(self, first: str = "start", last: str = "end") -> clock.Elapsed:
        """Time between two clock marks, on the guest's clock and the host's."""
        return clock.elapsed(self.share, first, last)

    def check(self) -> None:
        """Raise GuestFailure if something already went wrong."""
        assert self._qemu and self._console
        if self._console.fault:
            # The rest of the trace is still on its way.
            limit = time.monotonic() + TRACE_SECONDS
            while self._qemu.poll() is None and time.monotonic() < limit:
                time.sleep(_POLL_SECONDS)
            self._fail(f"kernel fault: {self._console.fault.strip()}")
        if self._qemu.poll() is not None:
            self._console.join()
            if self._console.fault:
                self._fail(f"kernel fault: {self._console.fault.strip()}")
            if not self._console.done:
                self._fail(f"the guest ended without its success token (QEMU's exit status {self._qemu.returncode})")
        for process, what in self._beside.items():
            if process.poll():
                self._fail(f"`{what}` beside the guest ended with status {process.returncode}")

    def _status(self) -> str:
        """The script's exit status, or why guest-init.sh did not run it."""
        path = self.share / "status"
        return path.read_text().strip() if path.exists() else ""

    def _forward_output(self) -> None:
        if self._output is None:
            return
        with (self.share / "output").open("rb") as file:
            file.seek(self._output_read)
            data = file.read()
        self._output_read += len(data)
        self._output.write(data)
        self._output.flush()

    # Ending

    def keep(self, wanted: bool = True) -> None:
        """Keep the run's folder (console, share), as a failure does by itself."""
        self._kept = wanted

    def _fail(self, reason: str) -> NoReturn:
        assert self._console
        self._stop()
        self._forward_output()
        shown = decode(self._console.trace(), self.setup.builddir) or self._console.tail(15)
        name = f"{self.setup.org}{f' ({self.setup.variant})' if self.setup.variant else ''}"
        self.keep()
        raise GuestFailure("\n".join([f"{name}: {reason}", *(f"    {line}" for line in shown)]))

    def _stop(self) -> None:
        for process in self._beside:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if self._qemu and self._qemu.poll() is None:
            self._qemu.kill()
            self._qemu.wait()
        if self._console:
            self._console.join()


def _cpu_time(process: Path) -> tuple[str, float]:
    """The name of a process or thread, and the seconds that it ran."""
    # Behind the name, which is in brackets, the third field is the first.
    name, _, rest = (process / "stat").read_text().partition("(")[2].rpartition(")")
    return name, sum(map(int, rest.split()[11:13])) / os.sysconf("SC_CLK_TCK")


def accelerator(setup: Setup) -> str:
    """kvm or tcg: whichever boots this very kernel here, tried once per machine.

    /dev/kvm existing proves nothing: it can be there and not run an ordinary
    64-bit kernel.
    """
    known = machine.remembered_accelerator()
    if known:
        return known
    print("== /dev/kvm exists: trying whether it boots a guest", file=sys.stderr, flush=True)
    # TCG's turn tells a KVM that does not work from a kernel that does not.
    # Only KVM hangs; a kernel that checks itself may take a minute to boot in TCG.
    for accel, patience in (("kvm", PROBE_SECONDS), ("tcg", 0)):
        if _boots(Setup(setup.org, setup.variant, accel=accel, boot_timeout=patience)):
            machine.remember_accelerator(accel)
            print(f"== using {accel.upper()}", file=sys.stderr, flush=True)
            return accel
    raise RigError(f"{setup.kernel} boots neither with KVM nor with TCG; "
                   f"look at it with: make vm ORG={setup.org} ACCEL=tcg")


def _boots(setup: Setup) -> bool:
    with Guest(setup) as guest:
        guest.start(["true"])
        try:
            return guest.wait() == 0
        except GuestFailure:
            guest.keep(False)
            return False
