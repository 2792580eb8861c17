# SPDX-License-Identifier: GPL-2.0
"""The guest's root: an initramfs of host binaries with their libraries.

Every program lies in /bin under its own name. The shell is the host's plain
/bin/sh, not busybox's, whose shell prefers its own applets: so `ip` in a guest
script is always iproute2's. Busybox's applets come last in PATH (guest-init.sh).

Packed with the kernel's own gen_init_cpio, which needs neither root nor a
staging directory. Packing takes less time than telling whether it is needed,
so every boot packs its own.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from . import BUILD, TOP, RigError

# Programs every guest has, beside what the tree builds.
_HOST_PROGRAMS = ("busybox", "bash", "ip", "ss", "tc", "ethtool", "iperf3", "setpriv", "nstat")
_DIRECTORIES = ("/bin", "/dev", "/proc", "/sys", "/tmp", "/run", "/share", "/root", "/etc", "/var", "/usr", "/selftests")
_LINKS = {"/sbin": "bin", "/usr/bin": "../bin", "/usr/sbin": "../bin", "/bin/env": "busybox", "/var/run": "../run"}
_ELF_MAGIC = b"\x7fELF"


class Initramfs:
    def __init__(self) -> None:
        self._files: dict[str, Path] = {}
        self.add(Path(__file__).with_name("guest-init.sh"), "/init")
        self.add(Path(__file__).with_name("guest-mark.sh"), "/bin/rig-mark")
        self.add(Path("/bin/sh"), "/bin/sh")
        for name in _HOST_PROGRAMS:
            path = shutil.which(name)
            if not path:
                raise RigError(f"{name} is missing on this host, and the guest needs it")
            self.add(Path(path), f"/bin/{name}")
        # What the tree has built, and the scripts of its selftests.
        for built in sorted((BUILD / "tools").glob("*")):
            if built.is_file() and built.stat().st_mode & 0o111:
                self.add(built, f"/bin/{built.name}")
        for tests in (TOP / "tools/testing/selftests/net/tcp_connp", BUILD / "selftests"):
            if tests.is_dir():
                self.add(tests, "/selftests")

    def add(self, source: Path, destination: str) -> None:
        """Put a file, or all files below a directory, at DESTINATION."""
        if not source.exists():
            raise RigError(f"{source}: no such file or directory (to be copied into the guest)")
        if source.is_dir():
            for below in sorted(source.rglob("*")):
                if below.is_file():
                    self._files[f"{destination}/{below.relative_to(source)}"] = below
        else:
            self._files[destination] = source
        for path in self._files:
            if re.search(r"\s", path):
                raise RigError(f"{path!r}: gen_init_cpio cannot take a name with white space")

    def pack(self, builddir: Path, output: Path) -> None:
        """Write the archive, with the gen_init_cpio of the kernel in BUILDDIR."""
        files = dict(self._files)
        files.update({str(library): library for library in libraries(list(self._files.values()))})
        directories = set(_DIRECTORIES)
        for path in files:
            directories.update(str(parent) for parent in Path(path).parents if str(parent) != "/")
        lines = [f"dir {directory} 0755 0 0" for directory in sorted(directories)]
        lines += [f"slink {name} {target} 0777 0 0" for name, target in _LINKS.items()]
        lines.append("nod /dev/console 0600 0 0 c 5 1")
        for path, source in files.items():
            lines.append(f"file {path} {source.resolve()} {source.stat().st_mode & 0o777:04o} 0 0")

        packer = builddir / "usr/gen_init_cpio"
        if not packer.exists():
            raise RigError(f"{packer} is missing: the kernel in {builddir} is not built completely")
        with output.open("wb") as archive:
            done = subprocess.run([packer, "-"], input="\n".join(lines) + "\n", text=True, stdout=archive,
                                  stderr=subprocess.PIPE, check=False)
        if done.returncode:
            raise RigError(f"gen_init_cpio failed: {done.stderr.strip()}")


def libraries(files: list[Path]) -> set[Path]:
    """The shared libraries and the loader that FILES need, as ldd tells."""
    programs = [str(path) for path in files if _is_elf(path)]
    listing = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=False).stdout
    absent = re.findall(r"^\s*(\S+) => not found", listing, re.MULTILINE)
    if absent:
        raise RigError(f"libraries missing on this host: {' '.join(sorted(set(absent)))}")
    found = re.findall(r"^\s*(?:\S+ => )?(/\S+) \(0x", listing, re.MULTILINE)
    return {Path(path) for path in found}


def _is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_ELF_MAGIC)) == _ELF_MAGIC
