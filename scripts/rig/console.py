# SPDX-License-Identifier: GPL-2.0
"""Watches a guest's console: keeps it in a file, and notices a kernel fault and
the guest's last word.
"""

from __future__ import annotations

import re
import subprocess
import threading
from pathlib import Path
from typing import IO

from . import BUILD

_PREFIX = r"^(?:\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ?)?"

# KCSAN's reports are judged when all is over, see kcsan.py.
# Anchored where the kernel puts the word at the start of its message, because
# "WARNING" and "BUG" also occur inside harmless boot messages.
_FAULT = re.compile(
    _PREFIX + r"(?:WARNING:|BUG: (?!KCSAN:)|Oops|UBSAN:|KASAN:|INFO: task .* blocked|INFO: trying to register|"
    r"INFO: rcu|Kernel panic|general protection fault|Out of memory:|ODEBUG:|refcount_t:|"
    r".* invoked oom-killer|Unable to handle|unable to handle|watchdog: BUG|list_(?:add|del) corruption|"
    r"clocksource: .*unstable|rcu: INFO: .*(?:stall|starved)|.*detected stalls? on CPU|"
    r".*: page allocation failure|unregister_netdevice: waiting|"
    r"kernel BUG at |Call Trace:|-+\[ cut here \]-+|=+\[? ?lockdep)")
_DONE = re.compile(_PREFIX + r"rig: done$")

# A test that makes allocations fail says so before and after (connp_faults.h
# of the selftests): what the kernel then says of allocations that fail is what
# was asked for. Everything else counts as ever.
_INJECTION_BEGINS = re.compile(_PREFIX + r"connp: allocations are made to fail$")
_INJECTION_ENDS = re.compile(_PREFIX + r"connp: allocations are no longer made to fail$")
_INJECTED = re.compile(_PREFIX + r".*: (?:page allocation failure: |vmalloc error: size )")
_CALL_TRACE = re.compile(_PREFIX + r"Call Trace:")
# From the first line of such a report to that of its trace, at most.
_LINES_TO_TRACE = 8

# A trace starts a little before the line that gave it away and rarely is longer.
_LINES_BEFORE = 4
_LINES_AFTER = 120


class Console:
    """Reads STREAM in a thread until it ends."""

    def __init__(self, stream: IO[bytes], log: Path) -> None:
        self._stream = stream
        self._log = log
        self._lines: list[str] = []
        self._fault_at: int | None = None
        self._injecting = False
        self._injected_at: int | None = None  # a report whose trace is to come
        self.done = False
        self._thread = threading.Thread(target=self._read, name="console", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with self._log.open("wb") as log:
            for raw in self._stream:
                log.write(raw)
                log.flush()
                self._take(raw.decode(errors="replace").rstrip("\r\n"))

    def _take(self, line: str) -> None:
        self._lines.append(line)
        if _DONE.match(line):
            self.done = True
        elif self._fault_at is None and not self._expected(line) and _FAULT.match(line):
            self._fault_at = len(self._lines) - 1
        # Else the next test's failures would pass for injected ones.
        if self._fault_at is None and self.done and self._injecting:
            self._fault_at = len(self._lines) - 1

    def _expected(self, line: str) -> bool:
        """Is this the report of an allocation that was made to fail?"""
        number = len(self._lines)
        if _INJECTION_BEGINS.match(line):
            self._injecting = True
        elif _INJECTION_ENDS.match(line):
            self._injecting = False
        elif self._injecting and _INJECTED.match(line):
            self._injected_at = number
            return True
        elif self._injected_at is not None and _CALL_TRACE.match(line):
            begun, self._injected_at = self._injected_at, None
            return number - begun <= _LINES_TO_TRACE
        return False

    def join(self) -> None:
        """Wait for the rest of the console, once QEMU has ended."""
        self._thread.join(timeout=10)

    @property
    def fault(self) -> str | None:
        """The line that tells of the first kernel fault, if there was one."""
        return None if self._fault_at is None else self._lines[self._fault_at]

    def lines(self) -> list[str]:
        return self._lines

    def tail(self, count: int) -> list[str]:
        return self._lines[-count:]

    def trace(self) -> list[str]:
        """The console around the first fault."""
        if self._fault_at is None:
            return []
        return self._lines[max(0, self._fault_at - _LINES_BEFORE):self._fault_at + _LINES_AFTER]


def decode(trace: list[str], builddir: Path) -> list[str]:
    """TRACE with source lines where the kernel has debug information, else
    (it is symbolised by kallsyms already) as it is.
    """
    vmlinux = builddir / "vmlinux"
    script = BUILD / "linux/scripts/decode_stacktrace.sh"
    if not trace or not script.exists() or not _has_debug_info(vmlinux):
        return trace
    done = subprocess.run([script, vmlinux, BUILD / "linux"], input="\n".join(trace) + "\n", text=True,
                          capture_output=True, check=False, timeout=300)
    return done.stdout.splitlines() if done.returncode == 0 and done.stdout.strip() else trace


def _has_debug_info(vmlinux: Path) -> bool:
    if not vmlinux.exists():
        return False
    sections = subprocess.run(["readelf", "-SW", str(vmlinux)], capture_output=True, text=True, check=False).stdout
    return ".debug_info" in sections
