# SPDX-License-Identifier: GPL-2.0
"""The paper's evaluation on today's Linux: what `make paper` runs and shows.

plan.toml       what is run: experiments, and how much of them at which level
plan.py         reads it, picks the level that fits the time, expects durations
kinds.py        the kinds of runs: what one boot measures, and in which guest
store.py        the results' file: a line a run, so that a series can go on
runner.py       the rounds, interleaved, until the intervals are small enough
hosts.py        the same kinds on booted machines, over ssh: HOST=, CLIENTS=
bootwise.py     and the rounds there, where one kernel is booted at a time
interval.py     ratios of the same round, and their confidence interval
published.toml  the paper's own numbers, each with its place there
data.py         what the runs of a results' file say: spreads and ratios
tables.py       a table, as text, Markdown or HTML
svg.py          plots
parts.py        what sections are made of, and the paper's tables
costs.py        sections on misses, the scheduler, instructions and CPU time
latency.py      sections on requests and connections a second
hosted.py       what these and the page say of hosts
sections.py     all sections, figure by figure
page.py         all of it as one HTML file, or as text
tests.py        the tests of these, without a guest
hosttests.py    and of what is for hosts, without any

Data flows one way, from plan to runner to the results' file, and from that file
alone to the page. scripts/paper.py is the program.
"""
