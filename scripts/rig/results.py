# SPDX-License-Identifier: GPL-2.0
"""A comparison's result: its JSON file, and the table made from it.

The file is an object that tells what was measured where (date, commit, host,
qemu, accel, cpus, kernel, duration, warmup, mtu) and has `runs`, a list with
one object a run: org, groups, conns, nics, tso, round, seconds, bytes, mbps,
retransmits, ctxsw, fairness, counters, clock_error, refused. seconds to
fairness are of the measured window; counters are of the whole run, warm-up
included: sums over the rows of /proc/net/tcp_connp (maxima where its column
says max) and some of what nstat shows. A run whose guest clock went wrong has
refused = true and enters no figure of the table.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from statistics import median
from typing import Any

from . import RigError

Result = dict[str, Any]
Run = dict[str, Any]

# What other organisations are compared with.
REFERENCE = "msgp"

_HOST_KEYS = ("date", "commit", "host", "accel", "cpus", "kernel", "duration", "warmup", "mtu", "runs")
_RUN_KEYS = ("org", "groups", "conns", "nics", "tso", "round", "seconds", "bytes", "mbps", "retransmits", "ctxsw",
             "counters", "clock_error", "refused")
_HEADERS = ("organisation", "conns", "Mb/s", "of MsgP", "ctxsw/MB", "retrans", "contended", "runs")
_NAMES = {"up": "UP", "msgp": "MsgP", "connp-l": "ConnP-L"}


def load(path: Path) -> Result:
    try:
        result = json.loads(path.read_text())
    except OSError as error:
        raise RigError(f"{path}: {error.strerror}; `make compare` writes results/latest.json") from error
    except ValueError as error:
        raise RigError(f"{path} is not JSON: {error}") from error
    if not isinstance(result, dict) or not isinstance(result.get("runs"), list):
        raise RigError(f"{path} is not a result of `make compare`: no list of runs in it")
    missing = [key for key in _HOST_KEYS if key not in result]
    missing += [f"runs[].{key}" for key in _RUN_KEYS if any(key not in run for run in result["runs"])]
    if missing:
        raise RigError(f"{path} is not a complete result of `make compare`: it lacks {', '.join(missing)}")
    return result


def save(result: Result, path: Path) -> None:
    """Write the file so that it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    fresh.write_text(json.dumps(result, indent=1) + "\n")
    fresh.replace(path)


def complete(result: Result) -> bool:
    """Whether each row of the table has a figure."""
    wanted = {(run["conns"], run["org"]) for run in result["runs"]}
    return wanted == {(run["conns"], run["org"]) for run in result["runs"] if not run["refused"]}


def provenance(result: Result) -> list[str]:
    """Where, when and how the figures came about."""
    runs = result["runs"]
    rounds = len({run["round"] for run in runs})
    host = result["host"]
    tso = "on" if runs[0]["tso"] else "off"
    return [
        f"Linux {result['kernel']}, commit {result['commit']}, {result['date']}",
        f"{host['cpu']}, {host['cores']} cores; QEMU {host['qemu']} with {result['accel'].upper()}, "
        f"{result['cpus']} vCPUs (UP: 1), {runs[0]['nics']} NICs, MTU {result['mtu']}, TSO {tso}",
        f"{rounds} interleaved rounds of {result['duration']} s after {result['warmup']} s of warm-up; "
        "median (lowest to highest)",
    ]


def table(result: Result) -> str:
    rows = [list(_HEADERS), *_rows(result)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADERS))]
    lines = ["  ".join(cell.ljust(width) if column == 0 else cell.rjust(width)
                       for column, (cell, width) in enumerate(zip(row, widths))) for row in rows]
    lines.insert(1, "-" * len(lines[0]))
    return "\n".join([*provenance(result), "", *lines])


def markdown(result: Result) -> str:
    rows = _rows(result)
    lines = [f"| {' | '.join(row)} |" for row in [list(_HEADERS), ["---", *["---:"] * (len(_HEADERS) - 1)], *rows]]
    return "\n".join([*lines, "", "; ".join(provenance(result)) + "."])


def _rows(result: Result) -> list[list[str]]:
    """One row an organisation and load, loads together, in the order run."""
    cells: dict[tuple[int, str], list[Run]] = {}
    for run in result["runs"]:
        cells.setdefault((run["conns"], run["org"]), []).append(run)
    orgs = list(dict.fromkeys(run["org"] for run in sorted(result["runs"], key=lambda run: list(_NAMES).index(run["org"]))))
    loads = sorted({conns for conns, _ in cells})
    return [_row(cells[conns, org], cells.get((conns, REFERENCE), []))
            for conns in loads for org in orgs if (conns, org) in cells]


def _row(runs: list[Run], reference: list[Run]) -> list[str]:
    first = runs[0]
    name = _NAMES[first["org"]] + (f"({first['groups']})" if first["groups"] else "")
    good = [run for run in runs if not run["refused"]]
    refused = len(runs) - len(good)
    count = f"{len(good)}" + (f", {refused} refused" if refused else "")
    if not good:
        return [name, str(first["conns"]), "refused", "", "", "", "", count]
    # Runs of the same round ran minutes apart at most: only these compare.
    base = {run["round"]: run["mbps"] for run in reference if not run["refused"]}
    ratios = [run["mbps"] / base[run["round"]] for run in good if run["round"] in base]
    return [
        name,
        str(first["conns"]),
        _spread([run["mbps"] for run in good], ".0f"),
        _spread(ratios, ".2f") if first["org"] != REFERENCE else "1",
        f"{median(run['ctxsw'] / (run['bytes'] / 1e6) for run in good):.1f}",
        f"{median(run['retransmits'] for run in good):.0f}",
        _contended(good),
        count,
    ]


def _spread(values: list[float], form: str) -> str:
    if not values:
        return "-"
    return f"{median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def _contended(runs: list[Run]) -> str:
    """Acquisitions of a group's lock that found it taken."""
    shares = [run["counters"]["contended"] / run["counters"]["acquisitions"]
              for run in runs if run["counters"].get("acquisitions")]
    return f"{100 * median(shares):.2f} %" if shares else "-"
