# SPDX-License-Identifier: GPL-2.0
"""What the page says of runs on hosts (hosts.py), where it differs from guests."""

from __future__ import annotations

from .plan import Experiment
from .store import Store


def is_hosted(store: Store) -> bool:
    return bool(store.session["machine"].get("backend") == "hosts")


def machines(store: Store) -> str:
    last = store.session["machine"]
    cores = max(session["machine"]["cores"] for session in store.sessions)
    clients = "; ".join(f"{name}: {what}" for name, what in last["clients"].items())
    return (f"server {last['server']}: {last['cpu']}, {cores} cores, NICs {', '.join(last['nics'])}, no guest; "
            f"clients over ssh: {clients}")


def kernels(store: Store) -> str:
    booted = dict.fromkeys(f"{session['machine']['booted']}: {session['machine']['release']}"
                           for session in store.sessions)
    return f"kernels that were booted: {', '.join(booted)}"


def limits(store: Store) -> list[str]:
    cores = max(session["machine"]["cores"] for session in store.sessions)
    found = [
        "The server runs one kernel at a time. Rounds are interleaved as it was booted, not run by run: a boot has all "
        "rounds of its organisation up to a multiple of the least number. What changed between boots (temperature, "
        "other load, other clients) is in the ratios, and the intervals, which come of the spread within boots, do not "
        "tell of it. Boot each organisation more than once before a small ratio is believed.",
        "That these kernels are configured alike but for the organisation is not checked.",
        "Interrupts of the NICs, their queues, GRO, clock rates and idle states of the CPUs are as whoever runs the "
        "server has set them up; only TSO and GSO were set, as each figure says.",
        "Requests and connection rates are measured by one client alone, over the NICs that it reaches.",
    ]
    if cores != 4:
        found.append(f"The paper's machine had 4 cores, this one has {cores}.")
    return found


METHOD = [
    "Server is a machine that has booted the organisation's kernel: it sends a file by sendfile() over all connections "
    "at once, with 256 KB socket buffers, as many threads as CPUs, connections dealt out evenly to threads and NICs, "
    "as in section 4.2 of the paper. Clients are machines of their own, each with its part of the NICs.",
    "The rounds of one organisation follow one another while its kernel is booted. A ratio is the geometric mean of "
    "the ratios of rounds with the same number.",
]

WHERE = "The client that asks takes the times, on its own clock. "

MISSES = (
    "Counted by the PMU of the server (perf), on all CPUs, in user space as well, for some seconds within the measured "
    "window; the events are named below. With l2_rqsts.miss or AMD's counterpart these are what misses in the L2, also "
    "for instructions and by prefetching; LLC-load-misses are loads that miss in the last level, which the paper's "
    "L2 was. To which part of the system they belong is sampled after that (perf record), for as long.")

SCHEDULER = (
    "Cycles of the scheduler (kernel/sched, kernel threads' wake-ups, work queues) and of the locks that it takes, as "
    "the call chains of the samples tell. Interrupts of another CPU to wake it, and CPUs that idle, are not the "
    "scheduler's.")

CPU = (
    "CPU time of the server for each KB, in the runs of Figure 2: all that /proc/stat accounts to other than idling, "
    "of the whole run, connecting, warm-up and draining included, over all bytes of that run. How exact that is "
    "depends on how the kernel was configured (VIRT_CPU_ACCOUNTING_GEN, IRQ_TIME_ACCOUNTING), and other programs on "
    "the server are in it. The paper has no such figure.")


def event(store: Store, experiment: Experiment) -> str:
    """Of perf, that the misses are."""
    return " and ".join(sorted({str(run["cache"]) for key, run in store.runs.items()
                                if key.experiment == experiment.name}))
