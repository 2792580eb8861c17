#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""make paper: the paper's evaluation, from runs to one page.

Boots the organisations' kernels in guests and runs what the plan says
(scripts/evaluation/plan.toml), round by round. Each run is appended to the
results' file at once; the same command goes on where it was interrupted. Then
writes beside that file the page, all tables as text, and each plot.

From the environment, so from make's command line:
  QUICK=1    the smallest plan, in under 20 minutes
  HOURS=n    the largest plan that fits so many hours (from each start)
  LEVEL=name a certain level of the plan: see there (default full, a night)
  PLAN=FILE  another plan file than scripts/evaluation/plan.toml
  RESULTS=FILE   where the runs are kept (default results/paper/LEVEL.jsonl)
  FRESH=1    put that file aside and begin anew
  ACCEL      kvm or tcg; unset: kvm where it boots the kernel
  HOST=name  no guests: a server that ssh reaches as root and that has booted one
             of the kernels. Runs what of the plan this kernel can give, and says
             which to boot for the rest; the same command then goes on.
             RESULTS is results/paper/HOST-LEVEL.jsonl by default
  CLIENTS="a b ..."      with HOST: ssh names of the machines behind its NICs, which
             are found by their routes; or name=address, for each address one
  SSH        how to call ssh (default ssh), as in SSH="ssh -F config"
  VMLINUX    with HOST: the vmlinux of its kernel, with debug information, for perf
             (default: one that was built here, if its build ID is the same)

  --page FILE [--output DIR]   only make the page of a results' file
  --markdown FILE   only print what README shows of a results' file
  --rst FILE        only print what Documentation shows of it
  --plan     only tell what would run, and for how long
  --kernels  only list what kernels the plan needs, as ORG [VARIANT]
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from evaluation import bootwise, hosts, kinds, page, plan, runner
from evaluation.store import Store, put_aside
from rig import TOP, RigError, bench, machine, program
from rig.guest import Guest, Setup
from rig.progress import clock


def batches(experiment: plan.Experiment, chosen: plan.Plan) -> list[tuple[plan.Cell, ...]]:
    return experiment.batches(list(experiment.cells), kinds.ALL[experiment.kind].boot(chosen))


def seconds(experiment: plan.Experiment, boot: plan.Boot) -> float:
    return kinds.ALL[experiment.kind].seconds(boot)


def expected(chosen: plan.Plan) -> float:
    return chosen.expected(lambda experiment: batches(experiment, chosen), seconds)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path, metavar="FILE", help="only make the page of this results' file")
    parser.add_argument("--output", type=Path, metavar="DIR", help="with --page: where (default: beside the file)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="only print what README shows of this file")
    parser.add_argument("--rst", type=Path, metavar="FILE", help="only print what Documentation shows of this file")
    parser.add_argument("--plan", action="store_true", help="only tell what would run")
    parser.add_argument("--kernels", action="store_true", help="only list the kernels that the plan needs")
    arguments = parser.parse_args()
    if arguments.output and not arguments.page:
        parser.error("--output needs --page FILE")
    if arguments.page:
        write_page(Store(arguments.page), arguments.output or arguments.page.parent)
        return 0
    if arguments.markdown:
        print(page.markdown(Store(arguments.markdown), str(arguments.markdown.parent)))
        return 0
    if arguments.rst:
        print(page.rst(Store(arguments.rst), str(arguments.rst.parent)))
        return 0
    chosen = choose()
    if arguments.kernels:
        print("\n".join(kernels(chosen)))
        return 0
    if arguments.plan:
        print(describe(*possible(chosen)))
        return 0
    return run(chosen)


def choose() -> plan.Plan:
    """The plan that the environment asks for."""
    asked = [name for name in ("QUICK", "HOURS", "LEVEL") if os.environ.get(name)]
    if len(asked) > 1:
        raise RigError(f"{' and '.join(asked)} exclude each other")
    levels = plan.levels(Path(os.environ.get("PLAN") or plan.FILE))
    if asked == ["HOURS"]:
        return plan.fitting(levels, hours(os.environ["HOURS"]), expected)
    level = "quick" if asked == ["QUICK"] else os.environ.get("LEVEL") or "full"
    for one in levels:
        if one.level == level:
            return one
    raise RigError(f"LEVEL={level} is none; use one of: {' '.join(one.level for one in levels)}")


def hours(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value <= 1000:
        raise RigError(f"HOURS={text}: expected a number of hours, such as 2 or 0.5")
    return value


def kernels(chosen: plan.Plan) -> list[str]:
    # A host has booted what it has.
    if os.environ.get("HOST"):
        return []
    return sorted({f"{arm.org} {variant}".strip() for one in chosen.experiments for arm in one.arms
                   for variant in kinds.ALL[one.kind].variants})


def possible(chosen: plan.Plan, by_name: dict[str, kinds.Kind] = kinds.ALL) -> tuple[plan.Plan, dict[str, str]]:
    """What of the plan can be run here; and why not, by the name of what cannot."""
    experiments, left_out = [], {}
    for one in chosen.experiments:
        kind = by_name[one.kind]
        absent = {arm: kind.missing() or kind.absent(arm) for arm in one.arms}
        arms = tuple(arm for arm in one.arms if not absent[arm])
        if arms:
            experiments.append(replace(one, arms=arms))
            left_out.update({f"{one.name} of {arm}": why for arm, why in absent.items() if why})
        else:
            left_out[one.name] = "; ".join(dict.fromkeys(absent.values()))
    return replace(chosen, experiments=tuple(experiments)), left_out


def describe(chosen: plan.Plan, left_out: dict[str, str]) -> str:
    lines = [f"plan {chosen.level}: about {clock(expected(chosen))} for the least number of rounds, "
             f"{chosen.hours:g} hours at most (without building kernels)"]
    for one in chosen.experiments:
        takes = sum(seconds(one, plan.Boot(arm, cells, one.warmup))
                    for cells in batches(one, chosen) for arm in one.arms)
        lines.append(f"  {one.name}: {', '.join(map(str, one.arms))} in {len(one.cells)} cells, {one.rounds[0]} to "
                     f"{one.rounds[1]} rounds of about {clock(takes)}")
    return "\n".join([*lines, *(f"  {name} LEFT OUT, because {why}" for name, why in left_out.items())])


def run(chosen: plan.Plan) -> int:
    where = hosts.from_environment()
    if where:
        with where:
            return carry_out(chosen, where)
    machine.check_programs()
    return carry_out(chosen, None)


def carry_out(chosen: plan.Plan, where: hosts.Hosts | None) -> int:
    """In guests, or on hosts."""
    by_name = where.own_kinds() if where else kinds.ALL
    usable, left_out = possible(chosen, by_name)
    if not usable.experiments:
        raise RigError("\n    ".join(["nothing of the plan can be run here:",
                                     *(f"{name}: {why}" for name, why in left_out.items())]))
    name = f"{where.file_name}-{chosen.level}" if where else chosen.level
    path = Path(os.environ.get("RESULTS") or TOP / f"results/paper/{name}.jsonl")
    if os.environ.get("FRESH") and (aside := put_aside(path)):
        print(f"== {path.name} is now {aside.name}", file=sys.stderr)
    store = Store(path)
    now = {"date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"), "commit": machine.commit(),
           **(where.session() if where else session(usable)), "plan": usable.to_json(), "left_out": left_out}
    for line in store.begin(**now):
        print(f"== {line}", file=sys.stderr)
    print(f"== {describe(usable, left_out)}\n== runs are kept in {path}", file=sys.stderr, flush=True)
    series = bootwise.Bootwise(store, by_name, where.gives) if where else runner.Runner(store, by_name)
    try:
        failures = series.run()
    except (KeyboardInterrupt, SystemExit):
        print("\n== interrupted; the same command goes on from here", file=sys.stderr)
        raise
    finally:
        # Of what is there, whatever ended the runs.
        write_page(store, path.parent)
    if where and isinstance(series, bootwise.Bootwise):
        for line in where.what_waits(series.waiting()):
            print(f"== {line}", file=sys.stderr)
    if failures:
        raise RigError(f"{failures} boots failed, which the page tells; it is made of the others")
    return 0


def session(chosen: plan.Plan) -> dict[str, Any]:
    """Of guests on this machine."""
    setups = {setup.builddir.name: setup for one in chosen.experiments for arm in one.arms
              for setup in [Setup(arm.org, kinds.ALL[one.kind].variant)]}
    accel = Guest(next(iter(setups.values()))).accel
    host = {"cpu": machine.cpu_model(), "cores": machine.cores(), "qemu": machine.qemu_version(), "accel": accel}
    identity = {f"kernel {name}": digest(setup.kernel) for name, setup in sorted(setups.items())}
    identity["ptcpbench"] = digest(bench.PTCPBENCH)
    identity["machine"] = f"{host['cpu']}, {host['cores']} cores, QEMU {host['qemu']}, {accel}"
    releases = {(setup.builddir / "include/config/kernel.release").read_text().strip().removesuffix(f"-{setup.org}")
                for setup in setups.values()}
    if len(releases) != 1:
        raise RigError(f"the kernels are of different versions ({', '.join(sorted(releases))}): rebuild them")
    return {"kernel": releases.pop(), "machine": host, "identity": identity}


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def write_page(store: Store, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    name = store.path.stem
    files = {f"{name}.html": page.html(store), f"{name}.txt": page.text(store),
             **{f"{name}-{plot}": drawing for plot, drawing in page.drawings(store).items()}}
    for file, content in files.items():
        (folder / file).write_text(content)
    print(f"written: {folder / name}.html, {name}.txt, and {len(files) - 2} plots as {name}-*.svg",
          file=sys.stderr)


if __name__ == "__main__":
    program.run("paper", main)
