# SPDX-License-Identifier: GPL-2.0
"""Sections on requests: how long they take on connections that stay, and how many
connections a second can be made for one request each.
"""

from __future__ import annotations

from rig import results

from . import data, hosted, parts
from .parts import Section
from .plan import Experiment
from .store import Store

_QUANTILES = (("p50", "median"), ("p90", "90 %"), ("p99", "99 %"), ("p99.9", "99.9 %"))

_WHERE = ("The clients take the times, on the host's clock and on the same cores as the guest, so a client that waits "
          "for a core is in them. ")


def requests(store: Store, experiment: Experiment, section: Section) -> None:
    section.paragraphs.append(
        "A byte asked, a byte answered, over and over on each connection, with one request under way on each "
        "(ptcpbench -m rr): from just before the request is sent to when its answer is there. " + _where(store) + "With many connections "
        "the CPUs are busy all the time, and the latency is little else than the number of connections by the requests "
        "a second. The paper has no such figure.")
    section.blocks += [
        parts.plot(store, experiment, "latency-median", "Median latency by connections", "microseconds",
                   _quantile("p50"), decades=True),
        parts.plot(store, experiment, "latency-99", "99th percentile of latency by connections", "microseconds",
                   _quantile("p99"), decades=True),
        *(parts.spreads(store, experiment, f"Latency, {name}, microseconds", _quantile(key), ".0f")
          for key, name in _QUANTILES),
        parts.ratios(store, experiment, "Median latency, ratio to MsgP (less is better)", _quantile("p50")),
        parts.spreads(store, experiment, "Requests a second", data.key("rps"), ".0f"),
        parts.ratios(store, experiment, "Requests a second, ratio to MsgP", data.key("rps")),
        parts.spreads(store, experiment, f"{_cpus(store)}, microseconds a request", _microseconds, ".1f"),
    ]


def connections(store: Store, experiment: Experiment, section: Section) -> None:
    section.paragraphs.append(
        "A connection for each request: connect, a byte asked, a byte answered, close (ptcpbench -m crr), with as many "
        "under way as the first column says. The server closes first, so TIME_WAIT is at its side. " + _where(store) +
        "The paper has no such figure: its connections stay.")
    section.blocks += [
        parts.plot(store, experiment, "rate", "Connections a second", "connections a second", data.key("rps")),
        parts.spreads(store, experiment, "Connections a second", data.key("rps"), ".0f"),
        parts.ratios(store, experiment, "Connections a second, ratio to MsgP", data.key("rps")),
        *(parts.spreads(store, experiment, f"From connect to answer, {name}, microseconds", _quantile(key), ".0f")
          for key, name in (_QUANTILES[0], _QUANTILES[2])),
        parts.spreads(store, experiment, f"{_cpus(store)}, microseconds a connection", _microseconds,
                      ".1f"),
    ]


def _where(store: Store) -> str:
    return hosted.WHERE if hosted.is_hosted(store) else _WHERE


def _cpus(store: Store) -> str:
    return "CPU time of the server" if hosted.is_hosted(store) else "CPU time of the guest's CPUs"


def _quantile(name: str) -> data.Figure:
    return lambda run: float(run["latency"][name]) if run.get("latency") else None


def _microseconds(run: results.Run) -> float | None:
    used = run.get("cpu", {}).get("vcpus")
    return 1e6 * used / run["total_requests"] if used and run["total_requests"] else None
