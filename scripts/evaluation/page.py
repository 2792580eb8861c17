# SPDX-License-Identifier: GPL-2.0
"""The evaluation as one HTML file, which needs no other and no network, or as
text; and what README and the kernel's documentation show of it. All are made of a
results' file and of nothing else.
"""

from __future__ import annotations

from dataclasses import replace
from html import escape
from textwrap import indent
from typing import Any

from rig.clock import TOLERANCE

from . import hosted, sections, svg
from .parts import PUBLISHED
from .store import Store
from .tables import Table

# What a document quotes: the beginnings of tables' titles, by section.
_QUOTED = {
    "figure2": ("Throughput, ratio to MsgP", "Context switches"),
    "figure3": ("Throughput of",),
    "table1": ("Acquisitions that", "Attempts to take"),
    "figure5": ("Throughput, ratio to MsgP",),
    "table2": ("L2 data cache misses per KB, modelled", "By their reason"),
    "table3": ("Cycles for",),
    "instructions": ("Instructions per KB by part",),
    "cpu": ("CPU time per KB, ratio to MsgP",),
    "offloads": ("Throughput to that without TSO",),
    "latency": ("Median latency, ratio to MsgP", "Requests a second, ratio"),
    "rate": ("Connections a second, ratio to MsgP",),
    "memory": ("Slabs, bytes",),
}

_TITLE = "Connection-parallel TCP on today's Linux: the paper's evaluation, run again"

_STYLE = f"""
:root{{color-scheme:light dark;{svg.STYLE_LIGHT}--warn:#fff4d6;--faint:#5b6672}}
@media (prefers-color-scheme:dark){{:root{{{svg.STYLE_DARK}--warn:#3a2f10;--faint:#a3adb8}}}}
@media print{{:root{{{svg.STYLE_LIGHT}--warn:#fff4d6;--faint:#444}}}}
*{{box-sizing:border-box}}
body{{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}}
main{{max-width:72rem;margin:0 auto;padding:1rem}}
h1{{font-size:1.55rem;line-height:1.25;margin:.5rem 0}}
h2{{font-size:1.2rem;margin:2.2rem 0 .4rem;border-top:1px solid var(--grid);padding-top:1rem}}
p,li{{max-width:46rem}}
p{{margin:.5rem 0}}
.plots{{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,21rem),1fr));gap:1rem;margin:1rem 0}}
figure{{margin:0;max-width:38rem;break-inside:avoid}}
figcaption{{font-weight:600;font-size:.95rem;margin-bottom:.2rem}}
figure svg{{width:100%;height:auto;display:block}}
h3{{font-size:.95rem;margin:1.4rem 0 .2rem;break-after:avoid}}
.table{{overflow-x:auto;margin:0 0 .2rem;break-inside:avoid}}
table{{border-collapse:collapse;font-size:.88rem;font-variant-numeric:tabular-nums}}
th,td{{padding:.25rem .6rem;border-bottom:1px solid var(--grid);text-align:left;vertical-align:top;white-space:nowrap}}
td.n,th.n{{text-align:right}}
th:first-child,td:first-child{{padding-left:0}}
.note{{font-size:.83rem;color:var(--faint);margin:.2rem 0 .8rem}}
.warn{{background:var(--warn);padding:.6rem .9rem;border-radius:.3rem;margin:.8rem 0;max-width:48rem}}
.warn ul{{margin:.3rem 0;padding-left:1.2rem}}
nav{{font-size:.9rem}}nav a{{margin-right:.8rem;color:inherit;display:inline-block}}
{svg.STYLE}
@media print{{nav{{display:none}}table{{font-size:8pt}}body{{font-size:10pt}}.table{{overflow:visible}}
th,td{{white-space:normal;padding:.15rem .35rem}}}}
"""


def html(store: Store) -> str:
    parts = [_banner(store), f"<h1>{escape(_TITLE)}</h1>"]
    paper = PUBLISHED
    parts += [f"<p>{escape(paper['authors'])}, “{escape(paper['title'])}”, {escape(paper['where'])}. "
              f"The paper's system: {escape(paper['system'])}.</p>"]
    parts += [_warning("What to keep in mind", limits(store)), _list("What ran where", provenance(store))]
    built = sections.build(store)
    parts.append("<nav>" + "".join(f'<a href="#{one.name}">{escape(one.title.partition(":")[0])}</a>' for one in built)
                 + '<a href="#method">Method</a></nav>')
    for section in built:
        parts.append(f'<section><h2 id="{section.name}">{escape(section.title)}</h2>')
        parts += [f"<p>{escape(paragraph)}</p>" for paragraph in section.paragraphs]
        plots = [block for block in section.blocks if not isinstance(block, Table)]
        drawn = [f"<figure><figcaption>{escape(plot.title)}</figcaption>{drawing}</figure>"
                 for plot in plots if (drawing := plot.svg())]
        parts.append(f'<div class="plots">{"".join(drawn)}</div>' if drawn else "")
        parts += [block.html() for block in section.blocks if isinstance(block, Table)]
        parts.append("</section>")
    parts.append('<section><h2 id="method">Method</h2>')
    parts += [f"<p>{escape(paragraph)}</p>" for paragraph in method(store)]
    parts.append("</section>")
    body = "\n".join(part for part in parts if part)
    return (f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"/>'
            f'<meta name="viewport" content="width=device-width, initial-scale=1"/>'
            f"<title>{escape(_TITLE)}</title><style>{_STYLE}</style></head>\n"
            f"<body><main>\n{body}\n</main></body></html>\n")


def text(store: Store) -> str:
    parts = [*([_MADE_UP] if _made_up(store) else []), _TITLE,
             "\n".join(f"* {line}" for line in [*provenance(store), *limits(store)])]
    for section in sections.build(store):
        parts += ["", section.title, *section.paragraphs]
        parts += [block.text() for block in section.blocks if isinstance(block, Table)]
    parts += ["", "Method", *method(store)]
    return "\n\n".join(parts) + "\n"


def markdown(store: Store, folder: str) -> str:
    """The beginning of Figure 2 for a document, with the plots that lie in FOLDER."""
    figure2 = next(section for section in sections.build(store) if section.name == "figure2")
    blocks = []
    for block in figure2.blocks[:5]:
        if isinstance(block, Table):
            notes = "\n".join(block.notes)
            blocks += [f"**{block.title}**", block.markdown(), *([notes] if notes else [])]
        elif block.svg():
            blocks.append(f"![{block.title}]({folder}/{store.path.stem}-{block.name}.svg)")
    page = f"{folder}/{store.path.stem}.html"
    blocks.append("; ".join(provenance(store)) + f". All figures, tables and limits are in `{page}`. Generated by "
                  f"`scripts/paper.py --markdown {folder}/{store.path.name}`.")
    return "\n\n".join([*([_MADE_UP] if _made_up(store) else []), *blocks])


def rst(store: Store, folder: str) -> str:
    """The tables that tcp_connp_evaluation.rst speaks of, without their spread's notes."""
    blocks = []
    for section in sections.build(store):
        tables = [block for block in section.blocks
                  if isinstance(block, Table) and block.title.startswith(_QUOTED.get(section.name, ()))]
        for table in tables:
            title, _, drawn = replace(table, notes=[]).text().partition("\n\n")
            blocks.append(f"{section.title.partition(':')[0]}. {title}::\n\n{indent(drawn, '  ')}")
    blocks.append("; ".join(provenance(store)) + f". Generated by ``scripts/paper.py --rst {folder}/{store.path.name}``; "
                  f"with spread, method and limits in ``{folder}/{store.path.stem}.html``.")
    return "\n\n".join([*([_MADE_UP] if _made_up(store) else []), *blocks])


def drawings(store: Store) -> dict[str, str]:
    """Each plot as a file of its own, by the file's name."""
    return {f"{block.name}.svg": svg.standalone(drawing) for section in sections.build(store)
            for block in section.blocks if not isinstance(block, Table) and (drawing := block.svg())}


def provenance(store: Store) -> list[str]:
    """Where, when and how the figures came about."""
    first, last = store.sessions[0], store.session
    machine = last["machine"]
    if hosted.is_hosted(store):
        ran = [hosted.machines(store), hosted.kernels(store)]
    else:
        ran = [f"{machine['cpu']}, {machine['cores']} cores; QEMU {machine['qemu']} with {machine['accel'].upper()}; "
               f"guests with {machine['cores']} vCPUs (UP: 1), 6 NICs"]
    commits = list(dict.fromkeys(session["commit"] for session in store.sessions))
    sessions = len(store.sessions)
    return [
        f"Linux {last['kernel']}; commit {', then '.join(commits)}",
        *ran,
        f"begun {first['date']}" + (f", gone on with {sessions - 1} times, the last time {last['date']}"
                                    if sessions > 1 else ""),
        f"plan “{store.plan.level}”, at most {store.plan.hours:g} hours; {len(store.runs)} runs",
    ]


def limits(store: Store) -> list[str]:
    """What the figures are not, as far as the results' file tells it."""
    found = hosted.limits(store) if hosted.is_hosted(store) else _guest_limits(store.session["machine"])
    if store.plan.level == "quick":
        found.append("This is the quick plan: too few and too short runs to rest anything on.")
    # Figure 3 is about nothing else.
    durations = {cell.duration for one in store.plan.experiments for cell in one.cells
                 if one.kind == "stream" and one.name != "figure3"}
    if durations and max(durations) < 180:
        spoken = " and ".join(map(str, sorted(durations)))
        found.append(f"Throughput is of {spoken} s a run, the paper's of 3 minutes.")
    found += [f"Not measured: {name}, because {why}." for name, why in store.session["left_out"].items()]
    planned = {one.name for one in store.plan.experiments} | set(store.session["left_out"])
    absent = [part.title for part in sections.PARTS if part.experiment not in planned]
    found += [f"Not run in this plan: {'; '.join(absent)}."] if absent else []
    incomplete = sum(not store.of(one.name, arm, cell) for one in store.plan.experiments for arm in one.arms
                     for cell in one.cells)
    if incomplete:
        found.append(f"Of the plan's points {incomplete} {'has' if incomplete == 1 else 'have'} no run that counts "
                     "and so no figure, shown as “-”.")
    refused = sum(run["refused"] for run in store.runs.values())
    if refused:
        found.append(f"{refused} run{'s are' if refused > 1 else ' is'} left out, because the guest's clock was not seen "
                     f"to agree with the host's to within {100 * TOLERANCE:.0f} %.")
    kept = {(one.name, arm, cell) for one in store.plan.experiments for arm in one.arms for cell in one.cells}
    other = sum((key.experiment, key.arm, key.cell) not in kept for key in store.runs)
    if other:
        found.append(f"{other} runs are of an earlier plan, and not shown.")
    found += [f"Failed in round {failure['round']}: {failure['experiment']}, {failure['arm']}: "
              f"{failure['why'].splitlines()[0]}" for failure in store.failures]
    return found


def _guest_limits(machine: dict[str, Any]) -> list[str]:
    """What guests on this machine cannot tell."""
    found = []
    if machine["accel"] == "tcg":
        found.append("The guests are emulated (TCG). Absolute figures, such as Mb/s and microseconds, are the "
                     "emulator's and not those of any hardware; organisations can be compared with each other, as far "
                     "as they differ in how much they execute. The emulator has no caches and no cost of moving a line "
                     "from one to another.")
    else:
        found.append("The guests are virtual machines (KVM) on this machine, which their clients share.")
    if machine["cores"] != 4:
        found.append(f"The paper's machine had 4 cores, this one has {machine['cores']}. The clients, "
                     "which the paper had on machines of their own, run on the same cores as the guest.")
    return found


def method(store: Store) -> list[str]:
    plan = store.plan
    percent = f"{100 * plan.confidence:.0f} %"
    width = f"{100 * plan.interval:.0f} %"
    guests = [
        "Server is the guest: it sends a file by sendfile() over all connections at once, with 256 KB socket "
        "buffers, as many threads as CPUs, connections dealt out evenly to threads and NICs, as in section "
        "4.2 of the paper. Clients are the host's own TCP, behind six taps. In the sections on latency and "
        "connections a second it is the clients that ask, a byte, and the server answers with a byte.",
        "Misses and instructions are those of a fixed number of bytes: 128 MB, or 64 KB a connection where that is "
        "more, of which the first quarter is sent before anything is counted.",
        "All organisations run once in each round, soon after one another, and another one first in each "
        "round. A ratio is the geometric mean of the ratios of the same round.",
    ]
    return [
        *(hosted.METHOD if hosted.is_hosted(store) else guests),
        f"A ratio's interval is Student's for the mean of the ratios' logarithms, with {percent} confidence.",
        f"Rounds end when the intervals of all ratios to MsgP reach no further than {width} to either side, or "
        "at the plan's limit, or when the time is over. To stop at the first small interval makes intervals a "
        "little too small; the least number of rounds bounds that.",
        "Figures other than ratios are medians, with the lowest and the highest run. Counters of locks and "
        "groups are of the whole run, warm-up included, other figures of its measured window.",
        "This page is generated by scripts/paper.py --page from the file of all runs. Only the paper's "
        "numbers were typed in, into scripts/evaluation/published.toml, from its text and tables; curves "
        "without numbers in the text are left out.",
    ]


_MADE_UP = "Made-up numbers, for a test. Nothing on this page was measured."


def _made_up(store: Store) -> bool:
    return any(session.get("made_up") for session in store.sessions)


def _banner(store: Store) -> str:
    return f'<p class="warn"><strong>{_MADE_UP}</strong></p>' if _made_up(store) else ""


def _warning(title: str, lines: list[str]) -> str:
    return f'<div class="warn">{_list(title, lines)}</div>' if lines else ""


def _list(title: str, lines: list[Any]) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<strong>{escape(title)}</strong><ul>{items}</ul>"
