# SPDX-License-Identifier: GPL-2.0
"""make paper HOST=... CLIENTS=...: the plan on a machine that has booted one of
the kernels, over ssh, in the place of guests.

The server runs one kernel, and what it runs decides which arms of the plan can be
had now; nothing here boots anything. Its clients are machines on the other side of
its NICs. ptcpbench is brought to all of them and taken away in the end, with all
that was changed there (rig/remote.py).

The scripts on the server are those of the guest, and the figures are made by the
same code: Booted is to rig/bench.py what a Guest is.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, BinaryIO

from rig import BUILD, ORGS, TOP, RigError, bench, categories, clock, initramfs, memory, perf, results
from rig.clients import MAX_NICS, PTCPBENCH
from rig.guest import Setup
from rig.remote import Remote

from . import kinds
from .bootwise import Waiting
from .plan import Arm, Boot, Cell, Experiment

_POLL_SECONDS = 0.1
# What ends when its connections do, or when it is told so, does so soon.
_BESIDE_SECONDS = 30
# What is expected beside a run's window: ssh's round trips.
_BOOT_SECONDS = 1.0
_RUN_SECONDS = 2.0

# Seconds of a profile: counted, and then sampled as long. ptcpbench says once a
# second that its window is open.
_PROFILED = 5
_PROFILE_WINDOW = 2 * _PROFILED + 4
_PROFILE_WARMUP = 2
_SCRIPT_SECONDS = 900

# Room for thousands of connections at once, as in guest-init.sh; ptcpbench asks
# for its buffers past the sysctls if it may.
_SYSCTLS = {"net.core.wmem_max": 4194304, "net.core.rmem_max": 4194304, "net.core.somaxconn": 65535,
            "net.ipv4.tcp_max_syn_backlog": 65535}
# Mode crr leaves a connection in TIME_WAIT for each request.
_SERVER_SYSCTLS = {**_SYSCTLS, "net.ipv4.tcp_max_tw_buckets": 1048576}

_PTCPBENCH = """#!/bin/sh
dir=${0%/bin/ptcpbench}
exec "$dir/lib/LOADER" --library-path "$dir/lib" "$dir/lib/ptcpbench" "$@"
"""

# A line each: what _probe() reads.
_PROBE = r"""
echo "user $(id -u)"
echo "release $(uname -r)"
echo "version $(uname -v)"
echo "machine $(uname -m)"
echo "cores $(nproc)"
echo "cpu $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)"
echo "groups $(head -n 1 /proc/net/tcp_connp 2>/dev/null)"
echo "cmdline $(cat /proc/cmdline)"
echo "build $(sha256sum </sys/kernel/notes | head -c 16)"
[ ! -e /proc/lockdep ] || echo "lockdep yes"
[ ! -e /proc/lock_stat ] || echo "lock_stat yes"
echo "python $(command -v python3)"
echo "connection $SSH_CONNECTION"
"""


# What perf stat can count: of $1 together, and of each of the others alone.
_PERF_PROBE = r"""
command -v perf >/dev/null || { echo none; exit 0; }
perf stat -a -x, -o "$dir/stat" -e "$1" true >/dev/null 2>&1 && cat "$dir/stat"
shift
for event; do
	perf stat -a -x, -o "$dir/stat" -e "$event" true >/dev/null 2>&1 && cat "$dir/stat"
done
rm -f "$dir/stat"
"""


@dataclass(frozen=True)
class Kernel:
    """What a machine has booted."""

    org: str
    groups: int  # 0: it has none
    default_groups: bool  # nobody chose their number
    variant: str  # "": one to measure; lockstat; or another, for nothing here
    release: str
    version: str  # as 6.12.117
    build: str

    def gives(self, arm: Arm, variant: str) -> bool:
        if arm.org != self.org or variant != self.variant:
            return False
        return self.default_groups if not arm.groups else arm.groups == self.groups

    def __str__(self) -> str:
        return self.org + (f"({self.groups})" if self.groups else "") + (f", {self.variant}" if self.variant else "")


@dataclass(frozen=True)
class Nic:
    """One of the server's, and whose connections come to it."""

    address: str
    device: str
    mtu: int
    client: str
    client_mtu: int  # of the client's NIC


def read_probe(name: str, text: str) -> dict[str, str]:
    found = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        found[key] = value.strip()
    if found.get("machine") != "x86_64":
        raise RigError(f"{name}: ptcpbench is built for x86_64, this machine is {found.get('machine') or 'unknown'}")
    return found


def kernel_of(name: str, probe: dict[str, str]) -> Kernel:
    """The organisation by what the kernel says of itself; stock says nothing."""
    release = probe["release"]
    header = re.match(r"tcp_connp (\S+) groups (\d+) ", probe["groups"] + " ")
    if header:
        org, groups = header[1], int(header[2])
    else:
        org, groups = "msgp" if " SMP" in f" {probe['version']}" else "up", 0
    said = next((one for one in ORGS if release.endswith(f"-{one}")), org)
    if org not in ORGS or said != org:
        raise RigError(f"{name}: the kernel calls itself {release}, and is of the organisation {org}")
    variant = "lockstat" if "lock_stat" in probe else "one that checks its locks" if "lockdep" in probe else ""
    version = re.match(r"\d+(?:\.\d+)*", release)
    return Kernel(org, groups, "tcp_connp.groups=" not in probe["cmdline"], variant, release,
                  version[0] if version else release, probe["build"])


def clients_asked(text: str) -> dict[str, list[str]]:
    """CLIENTS="a b=10.0.1.1 b=10.0.2.1": by name, the addresses that were given."""
    found: dict[str, list[str]] = {}
    for word in text.split():
        name, equals, address = word.partition("=")
        if not name or (equals and not address):
            raise RigError(f"CLIENTS={text}: {word!r} is neither a name nor name=address")
        found.setdefault(name, [])
        if address:
            found[name].append(address)
    if not found:
        raise RigError("HOST needs CLIENTS: the ssh names of the machines on the other side of its NICs, as in "
                       'CLIENTS="client1 client2" (if HOST is of your shell: env -u HOST make paper)')
    return found


def deal(reach: dict[str, list[str]]) -> dict[str, str]:
    """By address its client, of those which REACH it: each client has one, and
    they have as many as can be.
    """
    dealt: dict[str, str] = {}
    for client in sorted(reach, key=lambda one: len(reach[one])):
        free = [address for address in reach[client] if address not in dealt]
        if not free:
            raise RigError(f"{client} reaches none of the server's addresses that other clients do not need "
                           f"(of {', '.join(reach[client]) or 'none'}); leave it out, or choose: "
                           f'CLIENTS="{client}=ADDRESS ..."')
        dealt[free[0]] = client
    for address in dict.fromkeys(address for addresses in reach.values() for address in addresses):
        if address not in dealt and len(dealt) < MAX_NICS:
            able = [client for client in reach if address in reach[client]]
            dealt[address] = min(able, key=lambda one: list(dealt.values()).count(one))
    return dealt


class Booted:
    """One round of an arm on the server; see bench.System."""

    def __init__(self, hosts: Hosts, setup: Setup, alone: bool) -> None:
        self._hosts = hosts
        self._nics = hosts.nics_for(setup.nics, alone)
        self.setup = replace(setup, nics=len(self._nics))
        self._main: subprocess.Popen[bytes] | None = None
        # By what runs, on which machine, under which name there, since when.
        self._beside: dict[subprocess.Popen[bytes], tuple[Remote, str, Path]] = {}
        self.share = Path()

    def __enter__(self) -> Booted:
        self._local = Path(tempfile.mkdtemp(prefix="connp-paper-"))
        self.share = self._local / "share"
        self.share.mkdir()
        server = self._hosts.server
        server.run('rm -rf "$dir/share" && mkdir "$dir/share"')
        server.put({destination.lstrip("/"): source.read_bytes() for source, destination in self.setup.copies})
        self._hosts.set_tso(self.setup.tso)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            # What still runs does not when all went well. Unless interrupted,
            # when leaving the hosts does the same, and at once.
            if not kind or issubclass(kind, Exception):
                for process, (host, name, _log) in self._beside.items():
                    if process.poll() is None:
                        host.stop(name)
                if self._main and self._main.poll() is None:
                    self._hosts.server.stop("main")
        finally:
            shutil.rmtree(self._local)

    @property
    def addresses(self) -> str:
        return ",".join(nic.address for nic in self._nics)

    def start(self, script: list[str], output: BinaryIO | None = None) -> None:
        self._main = self._hosts.server.start("main", [f"$dir{script[0]}", *script[1:]], output, SHARE="$dir/share")

    def beside(self, name: str, script: list[str]) -> None:
        """Run SCRIPT on the server, too."""
        log = self._local / f"{name}.log"
        with log.open("wb") as file:
            process = self._hosts.server.start(name, [f"$dir{script[0]}", *script[1:]], file, SHARE="$dir/share")
        self._beside[process] = self._hosts.server, name, log

    def sink(self, name: str, options: list[str]) -> None:
        for client in self._clients():
            own = [nic.address for nic in self._nics if nic.client == client]
            only = [] if len(own) == len(self._nics) else ["--only", ",".join(own)]
            self._spawn(client, name, ["ptcpbench", "sink", "--address", self.addresses, *only,
                                       f"--json=$dir/{name}.json", *options])

    def sunk(self, name: str) -> dict[str, Any]:
        said = [json.loads(self._hosts.clients[client].run('cat "$dir/$1"', f"{name}.json"))
                for client in self._clients()]
        if len(said) > 1:
            # With several it is mode stream, where only their sum is wanted.
            return {**said[0], "total_bytes": sum(one["total_bytes"] for one in said)}
        result: dict[str, Any] = said[0]
        return result

    def hold(self, conns: int) -> None:
        clients = self._clients()
        for client in clients:
            numbers = [number for number, nic in enumerate(self._nics) if nic.client == client]
            count = sum(len(range(number, conns, len(self._nics))) for number in numbers)
            remote = self._hosts.clients[client]
            remote.run('rm -f "$dir/held" "$dir/done"')
            self._spawn(client, "hold", ["python3", "$dir/bin/hold-connections.py",
                                         ",".join(self._nics[number].address for number in numbers), str(count)])
        for client in clients:
            self._wait(self._hosts.clients[client], "held", memory.hold_seconds(conns), None)
        self._hosts.server.run('touch "$dir/share/held"')

    def _clients(self) -> list[str]:
        return list(dict.fromkeys(nic.client for nic in self._nics))

    def _spawn(self, client: str, name: str, argv: list[str]) -> None:
        host = self._hosts.clients[client]
        log = self._local / f"{name}-{client}.log"
        with log.open("wb") as file:
            self._beside[host.start(name, argv, file, SHARE="$dir")] = host, name, log

    def wait_file(self, name: str, seconds: float, tick: Callable[[], None] | None = None) -> None:
        self._wait(self._hosts.server, f"share/{name}", seconds, tick)
        self._fetch()

    def _wait(self, host: Remote, name: str, seconds: float, tick: Callable[[], None] | None) -> None:
        """Until HOST has that file; or something that makes it has ended."""
        waiter = host.start("wait", ["sh", "-c", 'until [ -e "$1" ]; do sleep 0.05; done', "sh", f"$dir/{name}"])
        limit = time.monotonic() + seconds
        why, last = "", False
        while waiter.poll() is None:
            if last:
                host.stop("wait")
                waiter.wait()
                raise RigError(self._failed() or why)
            if tick:
                tick()
            with contextlib.suppress(subprocess.TimeoutExpired):
                waiter.wait(_POLL_SECONDS)
            why = self._failed()
            if not why and self._main and self._main.poll() is not None:
                why = (f"{self._hosts.server.name}: the script there ended with status {self._main.returncode}, "
                       f"and has not made {name}; its output is above")
            if not why and time.monotonic() > limit:
                why = f"{host.name}: {name} was not there within {seconds:g} s"
            # It may have been made just before.
            if why and waiter.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    waiter.wait(1)
                last = True
        if waiter.returncode:
            raise RigError(why or f"{host.name}: waiting for {name} ended with status {waiter.returncode}")

    def _failed(self) -> str:
        """What of that on the clients has failed, and why: all of it, for one that
        fails takes the server with it, and that the others.
        """
        return "; ".join(f"{host.name}: {name} there ended with status {process.returncode}: "
                         f"{log.read_text(errors='replace').strip()}"
                         for process, (host, name, log) in self._beside.items() if process.poll())

    def wait_beside(self) -> None:
        for process, (host, name, _) in self._beside.items():
            try:
                process.wait(_BESIDE_SECONDS)
            except subprocess.TimeoutExpired:
                why = f"did not end within {_BESIDE_SECONDS} s of the server's end"
                raise RigError(f"{host.name}: {name} {why}") from None
        if why := self._failed():
            raise RigError(why)

    def wait(self) -> int:
        assert self._main
        try:
            status = self._main.wait(self.setup.timeout)
        except subprocess.TimeoutExpired:
            why = f"the script did not end within {self.setup.timeout:g} s"
            raise RigError(f"{self._hosts.server.name}: {why}") from None
        for client in self._clients():
            self._hosts.clients[client].run('touch "$dir/done"')
        self.wait_beside()
        self._fetch()
        return status

    def _fetch(self) -> None:
        self._hosts.server.get("share", self.share)

    def cpu_seconds(self) -> dict[str, float]:
        """CPU time so far, of all CPUs, without what they idled."""
        line = self._hosts.server.run("head -n 1 /proc/stat; getconf CLK_TCK").splitlines()
        user, nice, system, _idle, _iowait, irq, softirq, *_ = map(int, line[0].split()[1:])
        return {"vcpus": (user + nice + system + irq + softirq) / int(line[1])}

    def elapsed(self, first: str = "start", last: str = "end") -> clock.Elapsed:
        """By the server's one clock, so always right."""
        begin, end = (float(clock.mark_file(self.share, name).read_text().split()[0]) for name in (first, last))
        return clock.Elapsed(end - begin, end - begin, 0)


class Hosts:
    """The server and its clients, while the `with` block lasts."""

    def __init__(self, server: str, clients: dict[str, list[str]]) -> None:
        bench.check_built()
        self.server = Remote(server)
        self._asked = clients
        self.clients = {name: Remote(name) for name in clients}
        self.nics: list[Nic] = []
        self._stack = contextlib.ExitStack()
        self._tso: bool | None = None
        self._pythons: list[str] = []  # clients without one
        self._events: dict[str, str] = {}  # of perf, by our names
        self._vmlinux: Path | None = None
        self._no_perf = ""  # why not

    def __enter__(self) -> Hosts:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.server)
            for client in self.clients.values():
                stack.enter_context(client)
            self._prepare()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *reason: Any) -> None:
        self._stack.__exit__(*reason)

    def _prepare(self) -> None:
        probe = read_probe(self.server.name, self.server.run(_PROBE))
        if probe["user"] != "0":
            raise RigError(f"{self.server.name}: needs root there, as in HOST=root@{self.server.name}: only root sees "
                           "the counters of the groups and sets up NICs")
        self.kernel = kernel_of(self.server.name, probe)
        self.machine = {"cpu": probe["cpu"], "cores": int(probe["cores"])}
        self.client_machines = {}
        for name, client in self.clients.items():
            seen = read_probe(name, client.run(_PROBE))
            self.client_machines[name] = f"{seen['cpu']}, {seen['cores']} cores, Linux {seen['release']}"
            if not seen["python"]:
                self._pythons.append(name)
        self._find_nics(probe["connection"].split()[2:3])
        for nic in self.nics:
            self.server.say(f"{nic.address} ({nic.device}, MTU {nic.mtu}) serves {nic.client} (MTU {nic.client_mtu})")
        self._no_perf = self._prepare_perf()
        files = _programs()
        self.server.put({**files, "bin/rig-mark": (TOP / "scripts/rig/guest-mark.sh").read_bytes()})
        for name, least in _SERVER_SYSCTLS.items():
            self.server.raise_sysctl(name, least)
        for client in self.clients.values():
            client.put({**files, "bin/hold-connections.py": (TOP / "scripts/rig/hold-connections.py").read_bytes()})
            for name, least in _SYSCTLS.items():
                client.raise_sysctl(name, least)

    def _find_nics(self, ours: list[str]) -> None:
        """The server's addresses, and which client has which. That by which we
        came in is used only if there is no other.
        """
        devices = {}
        for link in json.loads(self.server.run("ip -j -4 address show up")):
            for address in link["addr_info"]:
                if address["scope"] == "global":
                    devices[address["local"]] = link["ifname"], int(link["mtu"])
        reach = {name: [address for address in asked or devices if self._reaches(name, address, bool(asked))]
                 for name, asked in self._asked.items()}
        unknown = [address for addresses in reach.values() for address in addresses if address not in devices]
        if unknown:
            raise RigError(f"{self.server.name} has no address {unknown[0]}; it has: {' '.join(devices) or 'none'}")
        for name, addresses in reach.items():
            if not self._asked[name] and set(addresses) - set(ours):
                reach[name] = [address for address in addresses if address not in ours]
        dealt = deal(reach)
        if left := [address for addresses in reach.values() for address in addresses if address not in dealt]:
            self.server.say(f"{' '.join(left)} not used: at most {MAX_NICS} NICs, as in the paper")
        # In the order of the server's.
        self.nics = [Nic(address, *devices[address], dealt[address], self._client_mtu(dealt[address], address))
                     for address in devices if address in dealt]

    def _reaches(self, client: str, address: str, asked: bool) -> bool:
        """Whether its route there has no gateway; one that was asked for may."""
        try:
            route = json.loads(self.clients[client].run('ip -j route get "$1"', address))[0]
        except RigError:
            if asked:
                raise
            return False
        return asked or ("gateway" not in route and route.get("type") != "local")

    def _client_mtu(self, client: str, address: str) -> int:
        remote = self.clients[client]
        device = json.loads(remote.run('ip -j route get "$1"', address))[0]["dev"]
        return int(remote.run('cat "/sys/class/net/$1/mtu"', device))

    def nics_for(self, count: int, alone: bool) -> list[Nic]:
        """COUNT of them, if there are as many; ALONE: of one client, which measures."""
        nics = self.nics
        if alone:
            most = max(self.clients, key=lambda client: sum(nic.client == client for nic in nics))
            nics = [nic for nic in nics if nic.client == most]
        return nics[:count]

    def set_tso(self, wanted: bool) -> None:
        """As clients.py does for taps: TSO and GSO of the server's NICs."""
        if wanted == self._tso:
            return
        for device in dict.fromkeys(nic.device for nic in self.nics):
            now = self._offloads(device)
            onoff = "on" if wanted else "off"
            if any(value != onoff for value in now.values()):
                was = " ".join(f"{name} {value}" for name, value in now.items())
                self.server.change(f"ethtool -K {device} tso {onoff} gso {onoff} (was: {was})",
                                   f"ethtool -K {device} tso {onoff} gso {onoff}", f"ethtool -K {device} {was}")
            if self._offloads(device)["tso"] != onoff:
                raise RigError(f"{self.server.name}: {device} does not turn TSO {onoff}")
        self._tso = wanted

    def _offloads(self, device: str) -> dict[str, str]:
        said = self.server.run('ethtool -k "$1"', device)
        found = {}
        for short, name in (("tso", "tcp-segmentation-offload"), ("gso", "generic-segmentation-offload")):
            line = re.search(rf"^{name}: (on|off)", said, re.MULTILINE)
            if not line:
                raise RigError(f"{self.server.name}: ethtool -k {device} says nothing of {name}")
            found[short] = line[1]
        return found

    # perf

    def _prepare_perf(self) -> str:
        """Why it cannot be used, or nothing."""
        said = self.server.run(_PERF_PROBE, ",".join([*perf.NEEDED.values(), perf.MISSES[-1]]), *perf.MISSES)
        if said.startswith("none"):
            return "the server has no perf"
        self._events = perf.choose(perf.read_stat(said))
        if not self._events:
            return "the server has no PMU that counts cycles, instructions and cache misses for perf"
        self._vmlinux = perf.vmlinux_of(self.server.run("od -An -v -tx1 /sys/kernel/notes | tr -d ' \\n'"),
                                        os.environ.get("VMLINUX", ""))
        if not self._vmlinux:
            return ("no vmlinux here has the build ID of the server's kernel; VMLINUX=FILE names one, which needs "
                    "debug information, to tell which part of the system a function is of")
        return ""

    def _places(self) -> perf.Places:
        assert self._vmlinux
        running = self.server.run("grep -w ' _stext$' /proc/kallsyms").split()[0]
        modules = self.server.run(r"""cut -d " " -f 1 /proc/modules | while read -r name; do
            echo "$name $(modinfo -n "$name" 2>/dev/null)"; done""")
        return perf.Places(categories.Sources(self._vmlinux, BUILD / "linux"),
                           int(running, 16) - perf.start_of_text(self._vmlinux),
                           dict((line.split(maxsplit=1) + [""])[:2] for line in modules.splitlines()))

    def _profile(self, boot: Boot, begin: kinds.Begin, tick: kinds.Tick) -> Iterator[results.Run]:
        for cell in boot.cells:
            begin(cell.conns)
            loads = bench.Loads([cell.conns], _PROFILE_WINDOW, _PROFILE_WARMUP)
            setup = loads.prepare(self._setup(boot, cell))
            setup = replace(setup, copies=[*setup.copies,
                                           (TOP / "scripts/rig/server-perf.sh", "/script/server-perf.sh")])
            with Booted(self, setup, alone=False) as server:
                serve = self._profiled(server, loads, tick)
                script = self.server.output(f'perf script -i "$dir/perf.data" -F {perf.FIELDS}',
                                            seconds=_SCRIPT_SECONDS)
                totals = perf.read_stat((server.share / f"{cell.conns}/perf-stat").read_text())
                # Of the seconds that were counted, so of as many of the bytes.
                part = _PROFILED / serve["seconds"]
                yield {"backend": "perf", "org": boot.arm.org, "groups": self.kernel.groups, "conns": cell.conns,
                       "nics": server.setup.nics, "tso": cell.tso, "mtu": cell.mtu, "cpus": self.machine["cores"],
                       "cache": self._events["misses"], "refused": False, "seconds": float(_PROFILED),
                       **{key: round(part * serve[key]) for key in ("bytes", "ctxsw", "retransmits")},
                       **perf.profile(perf.read_script(script.decode(errors="replace").splitlines()), self._places(),
                                      self._events, totals)}

    def _profiled(self, server: Booted, loads: bench.Loads, tick: kinds.Tick) -> dict[str, Any]:
        conns = loads.conns[0]
        settling = loads.settling(conns)
        server.start(["/script/guest-bench.sh", str(conns), "--address", server.addresses, "--progress",
                      "--timeout", str(int(settling)), "--duration", str(loads.duration),
                      "--warmup", str(loads.warmup)], sys.stderr.buffer)
        server.wait_file(f"{conns}/ready", settling, tick)
        server.beside("perf", ["/script/server-perf.sh", str(conns), str(_PROFILED), ",".join(self._events.values())])
        server.sink("sink", ["--connections", str(conns), "--timeout", str(int(settling))])
        server.wait_file(f"{conns}/done", loads.warmup + loads.duration + 2 * settling, tick)
        if server.wait():
            raise RigError(f"{self.server.name}: the benchmark failed; its output is above")
        result: dict[str, Any] = json.loads((server.share / f"{conns}/serve.json").read_text())
        return result

    # What of the plan can be had now

    def gives(self, experiment: Experiment, arm: Arm, cell: Cell) -> bool:
        return self.kernel.gives(arm, kinds.ALL[experiment.kind].variant) and self._has_mtu(cell)

    def _has_mtu(self, cell: Cell) -> bool:
        """It stays as it is: to change it takes the link down, ssh's perhaps."""
        return all(nic.mtu == nic.client_mtu == cell.mtu for nic in self.nics)

    def what_waits(self, waiting: Waiting) -> list[str]:
        """And what is to be done so that it need not."""
        found: dict[str, dict[str, int]] = {}
        for experiment, arm, cell in waiting:
            variant = kinds.ALL[experiment.kind].variant
            needs = []
            if not self.kernel.gives(arm, variant):
                needs.append(_what_to_boot(arm, variant, self.kernel))
            if not self._has_mtu(cell):
                needs.append(f"an MTU of {cell.mtu} on all NICs, the clients' too")
            runs = found.setdefault(" and ".join(needs), {})
            runs[experiment.name] = runs.get(experiment.name, 0) + 1
        if not found:
            return ["nothing of the plan is left for another kernel"]
        return ["left, and how to get it (the same command goes on):",
                *(f"  {needs}: {', '.join(f'{count} runs of {name}' for name, count in runs.items())}"
                  for needs, runs in found.items())]

    @property
    def file_name(self) -> str:
        return re.sub(r"[^A-Za-z0-9.]+", "-", self.server.name.rpartition("@")[2])

    def without_python(self) -> str:
        return f"there is no python3 on {' and '.join(self._pythons)}" if self._pythons else ""

    def identity(self) -> dict[str, str]:
        """What must stay while results go to one file."""
        kernel = self.kernel
        nics = ", ".join(f"{nic.address} of {nic.client}" for nic in self.nics)
        name = kernel.org + (f"-{kernel.variant}" if kernel.variant else "")
        return {f"kernel {name}": f"{kernel.release} {kernel.build}", "version": kernel.version,
                "ptcpbench": hashlib.sha256(PTCPBENCH.read_bytes()).hexdigest()[:16],
                "server": f"{self.server.name}, {self.machine['cpu']}", "addresses": nics,
                **{f"client {name}": what for name, what in self.client_machines.items()}}

    def session(self) -> dict[str, Any]:
        """What the results' file says of this start of the program."""
        return {"kernel": self.kernel.version, "identity": self.identity(), "machine": {
            **self.machine, "backend": "hosts", "server": self.server.name,
            "booted": str(self.kernel), "release": self.kernel.release,
            "nics": [f"{nic.device} for {nic.client}" for nic in self.nics],
            "clients": {name: what for name, what in self.client_machines.items()}}}

    def own_kinds(self) -> dict[str, kinds.Kind]:
        """Those of the plan, measured on the hosts."""
        made: dict[str, kinds.Kind] = {}
        for name, kind in kinds.ALL.items():
            changed = _Kind(**{field.name: getattr(kind, field.name) for field in fields(kind)})
            changed = replace(changed, boot_seconds=_BOOT_SECONDS, run_seconds=lambda cell: _RUN_SECONDS)
            if name == "memory":
                changed = replace(changed, measure=self._memory, missing=self.without_python)
            elif name == "profile opteron275":
                changed = replace(changed, measure=self._profile, missing=lambda: self._no_perf,
                                  run_seconds=lambda cell: _RUN_SECONDS + _PROFILE_WARMUP + _PROFILE_WINDOW)
            elif name.startswith("profile"):
                changed = replace(changed, missing=lambda: "hosts have the caches that they have")
            else:
                mode = name if name in ("rr", "crr") else "stream"
                changed = replace(changed, measure=self._bench(mode), missing=lambda: "")
            made[name] = changed
        return made

    def _setup(self, boot: Boot, cell: Cell) -> Setup:
        nics = min(len(self.nics), min(boot.conns))
        return Setup(boot.arm.org, nics=nics, mtu=cell.mtu, tso=cell.tso, groups=boot.arm.groups)

    def _bench(self, mode: str) -> Callable[[Boot, kinds.Begin, kinds.Tick], Iterator[results.Run]]:
        def measure(boot: Boot, begin: kinds.Begin, tick: kinds.Tick) -> Iterator[results.Run]:
            cell = boot.cells[0]
            loads = bench.Loads(boot.conns, cell.duration, boot.warmup, mode)
            # Only who measures by himself can tell of percentiles.
            with Booted(self, loads.prepare(self._setup(boot, cell)), alone=mode != "stream") as server:
                yield from bench.runs(server, loads, begin, tick)
        return measure

    def _memory(self, boot: Boot, begin: kinds.Begin, tick: kinds.Tick) -> Iterator[results.Run]:
        for cell in boot.cells:
            begin(cell.conns)
            with Booted(self, memory.prepare(self._setup(boot, cell), cell.conns), alone=False) as server:
                yield memory.measure(server, cell.conns, tick)


class _Kind(kinds.Kind):
    """Arms stay in the plan whatever is booted now."""

    def absent(self, arm: Arm) -> str:
        return ""


def from_environment() -> Hosts | None:
    host, clients = os.environ.get("HOST", "").strip(), os.environ.get("CLIENTS", "")
    if clients.strip() and not host:
        raise RigError("CLIENTS is for HOST=..., which is missing")
    return Hosts(host, clients_asked(clients)) if host else None


def _what_to_boot(arm: Arm, variant: str, now: Kernel) -> str:
    text = f"{ORGS[arm.org]} booted"
    if arm.groups:
        text += f" with tcp_connp.groups={arm.groups}"
    elif now.org == arm.org and not now.default_groups:
        text += " without tcp_connp.groups="
    return text + (", built with CONFIG_LOCK_STAT" if variant == "lockstat" else "")


def _programs() -> dict[str, bytes]:
    """ptcpbench with all that it needs of this machine."""
    libraries = initramfs.libraries([PTCPBENCH])
    loader = [library.name for library in libraries if library.name.startswith("ld-linux")]
    if len(loader) != 1:
        raise RigError(f"{PTCPBENCH}: ldd names no loader")
    return {"bin/ptcpbench": _PTCPBENCH.replace("LOADER", loader[0]).encode(),
            "lib/ptcpbench": PTCPBENCH.read_bytes(),
            **{f"lib/{library.name}": library.read_bytes() for library in libraries}}
