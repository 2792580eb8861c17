# SPDX-License-Identifier: GPL-2.0
"""What the guest's kernel counted, from the copies of its files in /proc that
guest-bench.sh leaves in a folder before and after a run.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from . import RigError

# What nstat shows and a comparison of organisations may want to look at.
_TCP_COUNTERS = {
    "Tcp": ("InSegs", "OutSegs", "RetransSegs"),
    "TcpExt": ("TCPBacklogCoalesce", "TCPBacklogDrop", "TCPHPAcks", "TCPPureAcks", "TCPAutoCorking", "TCPTimeouts",
               "TCPLossProbes", "DelayedACKs"),
}
# Classes of locks in /proc/lock_stat: those of the sockets, of the table of
# established connections, and of the groups.
_LOCKS = {
    "socket": re.compile(r"slock-AF_INET6?(?:[/#]\d)*"),
    "table": re.compile(r"&ptr\[i\]|&g->ehash_lock"),
    "group": re.compile(r"&sq->lock"),
}
# Name, con-bounces, contentions, 4 of time, acq-bounces, acquisitions, 4 of time.
_LOCK_LINE = re.compile(r"\s*(\S.*):\s+\d+\s+(\d+)(?:\s+[\d.]+){4}\s+\d+\s+(\d+)(?:\s+[\d.]+){4}\s*")
# Columns of /proc/net/tcp_connp that do not count upwards.
_GAUGES = ("group", "conns", "bytes")


@dataclass(frozen=True)
class Groups:
    """/proc/net/tcp_connp: a header, a line of column names, a row a group."""

    org: str
    count: int
    columns: dict[str, list[int]]


def read_groups(folder: Path) -> Groups | None:
    """None: the organisation has no groups."""
    path = folder / "tcp_connp"
    if not path.exists():
        return None
    lines = path.read_text().splitlines()
    try:
        header = re.match(r"tcp_connp (\S+) groups (\d+) ", lines[0])
        if not header:
            raise ValueError("the first line does not name the organisation and the number of groups")
        rows = [[int(word) for word in line.split()] for line in lines[2:]]
        columns = dict(zip(lines[1].split(), (list(values) for values in zip(*rows, strict=True)), strict=True))
        if len(rows) != int(header[2]):
            raise ValueError(f"{len(rows)} rows")
    except (IndexError, ValueError) as error:
        raise RigError(f"/proc/net/tcp_connp is not as counters.py knows it ({error}); it begins: {lines[:3]}") from error
    return Groups(header[1], int(header[2]), columns)


def difference(before: Path, after: Path) -> dict[str, int]:
    """What happened between two snapshots."""
    result = {}
    first, last = read_groups(before), read_groups(after)
    if first and last:
        for column, values in last.columns.items():
            if column.endswith("_max"):
                result[column] = max(values)
            elif column not in _GAUGES:
                result[column] = sum(values) - sum(first.columns[column])
    first_tcp, last_tcp = _read_netstat(before), _read_netstat(after)
    for protocol, names in _TCP_COUNTERS.items():
        for name in names:
            result[protocol + name] = last_tcp[protocol, name] - first_tcp[protocol, name]
    return result


def threads(counted: dict[str, int], seconds: float, count: int) -> dict[str, float]:
    """What the threads that own the groups did in SECONDS, COUNT threads."""
    try:
        messages = counted["queued"]
        return {
            "seconds": round(seconds, 2),
            "messages": messages,
            "mean_batch": _ratio(counted["drained"], counted["batches"]),
            "wakeups_per_message": _ratio(counted["wakeups"], messages),
            "syncs": counted["sync"],
            "polls_paid": counted["polls_paid"],
            "polls_unpaid": counted["polls_unpaid"],
            "busy_share": _ratio(counted["busy_us"] / 1e6, seconds * count),
        }
    except KeyError as error:
        raise RigError(f"/proc/net/tcp_connp has no column {error}: the kernel is older than this rig; rebuild it") from error


def locks(before: Path, after: Path) -> dict[str, dict[str, int]]:
    """How often locks were acquired, and how often that did not succeed at once;
    nothing if this kernel does not count it.
    """
    if not (after / "lock_stat").exists():
        return {}
    first, last = _read_locks(before / "lock_stat"), _read_locks(after / "lock_stat")
    return {lock: {"contended": last[lock][0] - first[lock][0], "acquired": last[lock][1] - first[lock][1]}
            for lock in _LOCKS}


def _read_locks(path: Path) -> dict[str, tuple[int, int]]:
    found = dict.fromkeys(_LOCKS, (0, 0))
    lines = path.read_text().splitlines()
    if not lines or lines[0] != "lock_stat version 0.4":
        raise RigError(f"/proc/lock_stat is not as counters.py knows it; it begins: {lines[:1]}")
    for line in lines:
        row = _LOCK_LINE.fullmatch(line)
        for lock, name in _LOCKS.items():
            if row and name.fullmatch(row[1]):
                contended, acquired = found[lock]
                found[lock] = contended + int(row[2]), acquired + int(row[3])
    return found


def _ratio(part: float, whole: float) -> float:
    return round(part / whole, 6) if whole else 0.0


def _read_netstat(folder: Path) -> dict[tuple[str, str], int]:
    """/proc/net/snmp and netstat: a line of names, then a line of values."""
    found = {}
    for file in ("snmp", "netstat"):
        lines = (folder / file).read_text().splitlines()
        for names, values in zip(lines[::2], lines[1::2]):
            protocol = names.partition(":")[0]
            found.update({(protocol, name): int(value) for name, value in zip(names.split()[1:], values.split()[1:])})
    return found
