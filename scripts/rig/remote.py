# SPDX-License-Identifier: GPL-2.0
"""A machine that ssh reaches, and what we do there: files in a directory of our
own, processes, settings. All of it is undone when the `with` block is left:

    with Remote("root@server") as server:
        server.raise_sysctl("net.core.somaxconn", 65535)
        server.put({"bin/hello": b"#!/bin/sh\necho hello\n"})
        print(server.run('"$dir/bin/hello"'))

A process on the other side holds the directory, and waits for its input to end.
So it also cleans up when this program is killed, or the network between fails.
All commands share its connection (ControlMaster).
"""

from __future__ import annotations

import io
import os
import re
import select
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from . import RigError

_CONNECT_SECONDS = 15
_COMMAND_SECONDS = 120
_LEAVE_SECONDS = 30

# Where ip and ethtool are, which not every PATH has.
_PATH = "PATH=$PATH:/usr/sbin:/sbin"

_GUARD = _PATH + r"""
dir=$(mktemp -d "${TMPDIR:-/tmp}/connp-paper.XXXXXX") || exit
mkdir "$dir/pids"
leave()
{
	trap '' HUP INT TERM PIPE
	# What begins only now finds no pids/, and ends.
	mv "$dir/pids" "$dir/leaving"
	[ ! -e "$dir/bin/stop" ] || "$dir/bin/stop" "$dir"/leaving/*
	failed=0
	if [ -e "$dir/undo" ]; then
		# The last change first.
		sed '1!G;h;$!d' "$dir/undo" >"$dir/undo.sh"
		. "$dir/undo.sh"
	fi
	rm -rf "$dir"
	exit $failed
}
trap leave HUP INT TERM
echo "$dir"
cat >/dev/null
leave
"""

# run NAME COMMAND...: in a process group of its own, which pids/NAME has while
# it is there; from before COMMAND begins, so that stop finds it.
_RUN = r"""#!/bin/sh
dir=${0%/bin/run}
name=$1
shift
PATH=$dir/bin:$PATH:/usr/sbin:/sbin
export PATH
setsid sh -c 'echo $$ >"$0" && exec "$@"' "$dir/pids/$name" "$@" </dev/null &
wait $!
status=$?
rm -f "$dir/pids/$name"
exit $status
"""

# stop FILE...: end the process groups that these have.
_STOP = r"""#!/bin/sh
for file; do
	[ -e "$file" ] && read -r group <"$file" || continue
	kill -TERM "-$group" 2>/dev/null
	n=0
	while kill -0 "-$group" 2>/dev/null && [ $n -lt 50 ]; do
		sleep 0.1
		n=$((n + 1))
	done
	kill -KILL "-$group" 2>/dev/null
	rm -f "$file"
done
"""

# Prints what it was, if that was too little, or "fixed" where it cannot be set.
# (Not `read`: some shells' reads a byte at a time, of which /proc has but one.)
_RAISE = r"""
file=/proc/sys/$(echo "$1" | tr . /)
now=$(cat "$file" 2>/dev/null) || { echo fixed; exit 0; }
[ "$now" -lt "$2" ] || exit 0
{ echo "$now" >"$file"; } 2>/dev/null || { echo fixed; exit 0; }
echo "echo $now >$file || failed=1" >>"$dir/undo"
echo "$2" >"$file"
echo "$now"
"""


class Remote:
    """A `with` block's machine. What `dir` is in a script, `folder` is here."""

    def __init__(self, name: str) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.@:%\[\]-]*", name):
            raise RigError(f"{name!r} is no name for ssh: expected one as in ~/.ssh/config, perhaps with a user, "
                           "as in root@server")
        self.name = name
        self.folder = ""
        self._guard: subprocess.Popen[bytes] | None = None
        self._local = Path()
        self._started: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Remote:
        self._local = Path(tempfile.mkdtemp(prefix="connp-ssh-"))
        try:
            self._connect()
            self.put({"bin/run": _RUN.encode(), "bin/stop": _STOP.encode()})
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _connect(self) -> None:
        with (self._local / "stderr").open("wb") as errors:
            # A session of its own, lest ^C end it before it has cleaned up.
            self._guard = subprocess.Popen([*self._ssh("-M"), shlex.join(["sh", "-c", _GUARD])], stdin=subprocess.PIPE,
                                           stdout=subprocess.PIPE, stderr=errors, start_new_session=True)
        assert self._guard.stdout
        ready, _, _ = select.select([self._guard.stdout], [], [], 2 * _CONNECT_SECONDS)
        self.folder = self._guard.stdout.readline().decode().strip() if ready else ""
        if not self.folder.startswith("/"):
            status = self._guard.poll() if self._guard.poll() is not None else "none yet"
            raise RigError(f"{self.name}: cannot log in and make a directory there (ssh's exit status {status}): "
                           f"{self._guard_said() or 'it said nothing'}")

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 trace: TracebackType | None) -> None:
        for process in self._started:
            if process.poll() is None:
                process.kill()
                process.wait()
        guard, self._guard = self._guard, None
        if guard and guard.stdin:
            guard.stdin.close()
            try:
                status = guard.wait(_LEAVE_SECONDS)
            except subprocess.TimeoutExpired:
                guard.kill()
                status = guard.wait()
            if self.folder and status:
                print(f"== {self.name}: what was changed there may not be as before (status {status}): "
                      f"{self._guard_said()}", file=sys.stderr)
        shutil.rmtree(self._local)

    def _guard_said(self) -> str:
        return (self._local / "stderr").read_text(errors="replace").strip()

    def _ssh(self, *options: str) -> list[str]:
        return [*shlex.split(os.environ.get("SSH") or "ssh"), "-T", "-o", "BatchMode=yes",
                "-o", f"ConnectTimeout={_CONNECT_SECONDS}", "-o", "ServerAliveInterval=15",
                "-o", f"ControlPath={self._local}/control", *options, "--", self.name]

    def _command(self, script: str, arguments: tuple[str, ...]) -> list[str]:
        whole = f"{_PATH}\ndir={shlex.quote(self.folder)}\n{script}"
        return [*self._ssh("-o", "ControlMaster=no"), shlex.join(["sh", "-c", whole, "sh", *arguments])]

    # Commands

    def run(self, script: str, *arguments: str, stdin: bytes = b"") -> str:
        """Run SCRIPT, for sh, with ARGUMENTS as its $1 and so on; what it printed."""
        return self.output(script, *arguments, stdin=stdin).decode()

    def output(self, script: str, *arguments: str, stdin: bytes = b"", seconds: float = _COMMAND_SECONDS) -> bytes:
        try:
            done = subprocess.run(self._command(script, arguments), input=stdin, capture_output=True, check=False,
                                  timeout=seconds, start_new_session=True)
        except subprocess.TimeoutExpired as error:
            raise RigError(self._failure(script, arguments, f"has not ended in {seconds:g} s")) from error
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip()
            raise RigError(self._failure(script, arguments, f"ended with status {done.returncode}: {said}"))
        return done.stdout

    def _failure(self, script: str, arguments: tuple[str, ...], what: str) -> str:
        short = " ".join([" ".join(script.split())[:100], *arguments])
        return f"{self.name}: `{short}` {what}"

    def start(self, name: str, argv: list[str], output: BinaryIO | int | None = None,
              **environment: str) -> subprocess.Popen[bytes]:
        """Run ARGV there, until it ends or stop() is called with its NAME. $dir in
        it is the directory.
        """
        words = [word.replace("$dir", self.folder) for word in argv]
        settings = [f"{key}={value.replace('$dir', self.folder)}" for key, value in environment.items()]
        command = [*self._ssh("-o", "ControlMaster=no"),
                   shlex.join(["env", *settings, f"{self.folder}/bin/run", name, *words])]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output,
                                   stderr=subprocess.STDOUT if output else None, start_new_session=True)
        self._started.append(process)
        return process

    def stop(self, name: str) -> None:
        self.run('"$dir/bin/stop" "$dir/pids/$1"', name)

    # Files

    def put(self, files: dict[str, bytes]) -> None:
        """Make these programs in the directory."""
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for name, content in files.items():
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode, entry.mtime = len(content), 0o755, int(time.time())
                tar.addfile(entry, io.BytesIO(content))
        self.run('tar -C "$dir" -xf -', stdin=archive.getvalue())

    def get(self, name: str, folder: Path) -> None:
        """Copy all that is in the directory's NAME to FOLDER."""
        archive = self.output('tar -C "$dir/$1" -cf - .', name)
        subprocess.run(["tar", "-C", str(folder), "-xf", "-", "--no-same-owner"], input=archive, check=True)

    # Settings

    def raise_sysctl(self, name: str, least: int) -> None:
        """Have it at LEAST, until the block is left."""
        before = self.run(_RAISE, name, str(least)).strip()
        if before == "fixed":
            self.say(f"{name} cannot be set, and stays as it is")
        elif before:
            self.say(f"{name} is {before}, and {least} until this is over")

    def change(self, what: str, command: str, undo: str) -> None:
        """COMMAND, for sh; and UNDO when the block is left."""
        self.run('echo "$2 || failed=1" >>"$dir/undo"\neval "$1"', command, undo)
        self.say(f"{what}, until this is over")

    def say(self, text: str) -> None:
        print(f"== {self.name}: {text}", file=sys.stderr, flush=True)
