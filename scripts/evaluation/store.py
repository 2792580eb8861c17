# SPDX-License-Identifier: GPL-2.0
"""The results' file, to which a series of runs is appended as it happens.

A line is a JSON object. "what" says of which sort it is:

session   a start of the program: date, commit, plan, machine, identity (of what
          must not change within a file: kernels, tools, machine), left_out (why
          an experiment of the plan cannot be run), made_up (true in tests)
run       one run: experiment, arm, cell, round, session (counted from 1), took
          (seconds), and run, whose keys depend on the kind of experiment
failure   a boot that ended without its runs: experiment, arm, cells, round,
          session, why

A line that was cut off when a session was interrupted is dropped.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rig import RigError, results

from .plan import Arm, Cell, Plan

_FORMAT = 1


@dataclass(frozen=True)
class Key:
    """Which run it is."""

    experiment: str
    arm: Arm
    cell: Cell
    round: int


class Store:
    """What a file holds; and appends to it once a session has begun."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sessions: list[dict[str, Any]] = []
        self.runs: dict[Key, results.Run] = {}
        self.failures: list[dict[str, Any]] = []
        self._by_cell: dict[tuple[str, Arm, Cell], dict[int, results.Run]] = {}
        self._whole = 0  # bytes up to the end of the last whole line
        if path.exists():
            self._read()

    def _read(self) -> None:
        data = self.path.read_bytes()
        self._whole = data.rfind(b"\n") + 1
        for number, line in enumerate(data[:self._whole].splitlines(), 1):
            try:
                self._take(json.loads(line))
            except (ValueError, KeyError, TypeError) as error:
                raise RigError(f"{self.path}:{number} is not a line of a file of `make paper`: {error!r}") from error

    def _take(self, entry: dict[str, Any]) -> None:
        if entry["what"] == "session":
            if entry["format"] != _FORMAT:
                raise ValueError(f"format {entry['format']}, this program knows {_FORMAT}")
            Plan.from_json(entry["plan"])
            self.sessions.append(entry)
        elif entry["what"] == "run":
            key = Key(entry["experiment"], Arm.parse(entry["arm"]), Cell(**entry["cell"]), entry["round"])
            self.runs[key] = entry["run"]
            if not entry["run"]["refused"]:
                self._by_cell.setdefault((key.experiment, key.arm, key.cell), {})[key.round] = entry["run"]
        elif entry["what"] == "failure":
            self.failures.append(entry)
        else:
            raise ValueError(f"unknown sort {entry['what']!r}")

    # Asking

    @property
    def session(self) -> dict[str, Any]:
        if not self.sessions:
            raise RigError(f"{self.path} holds no session of `make paper`")
        return self.sessions[-1]

    @property
    def plan(self) -> Plan:
        """What the last session was to do."""
        return Plan.from_json(self.session["plan"])

    def of(self, experiment: str, arm: Arm, cell: Cell) -> dict[int, results.Run]:
        """Runs whose figures count, by round."""
        return self._by_cell.get((experiment, arm, cell), {})

    def failed(self, experiment: str, arm: Arm, cell: Cell) -> list[int]:
        """The rounds in which it failed."""
        return [entry["round"] for entry in self.failures
                if entry["experiment"] == experiment and entry["arm"] == str(arm) and asdict(cell) in entry["cells"]]

    # Appending

    def begin(self, **session: Any) -> list[str]:
        """Begin a session; return what the user should know about going on
        where another one stopped.
        """
        said = self._going_on(session) if self.sessions else []
        self._append({"what": "session", "format": _FORMAT, **session})
        return said

    def _going_on(self, session: dict[str, Any]) -> list[str]:
        last = self.session
        # A kernel that was not there then, or is not needed now, is mixed with nothing.
        known = {name: value for earlier in self.sessions for name, value in earlier["identity"].items()}
        changed = [f"{name}: {known[name]} then, {value} now"
                   for name, value in session["identity"].items() if known.get(name, value) != value]
        if changed:
            raise RigError("\n    ".join([
                f"{self.path} has runs of something else, which must not be mixed with new ones:", *changed,
                "FRESH=1 puts that file aside and begins anew"]))
        said = [f"going on with {self.path}: {len(self.runs)} runs are there, the first of {self.sessions[0]['date']}"]
        if last["commit"] != session["commit"]:
            said.append(f"the commit was {last['commit']} and is {session['commit']}; "
                        "the kernels and tools are the same")
        if Plan.from_json(last["plan"]) != Plan.from_json(session["plan"]):
            said.append("the plan has changed: runs that it does not have any more stay in the file, "
                        "and out of the page")
        return said

    def add_run(self, key: Key, run: results.Run, took: float) -> None:
        self._append({"what": "run", "experiment": key.experiment, "arm": str(key.arm), "cell": asdict(key.cell),
                      "round": key.round, "session": len(self.sessions), "took": round(took, 1), "run": run})

    def add_failure(self, experiment: str, arm: Arm, cells: list[Cell], turn: int, why: str) -> None:
        self._append({"what": "failure", "experiment": experiment, "arm": str(arm),
                      "cells": [asdict(cell) for cell in cells], "round": turn, "session": len(self.sessions),
                      "why": why})

    def _append(self, entry: dict[str, Any]) -> None:
        line = json.dumps(entry, separators=(",", ":")).encode() + b"\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("r+b" if self.path.exists() else "xb") as file:
            file.truncate(self._whole)
            file.seek(self._whole)
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        self._whole += len(line)
        # As it will be read, lest what a session knows differ from the file.
        self._take(json.loads(line))


def put_aside(path: Path) -> Path | None:
    """Give the file a name of its own, by the date of its last session."""
    if not path.exists():
        return None
    sessions = Store(path).sessions
    date = sessions[-1]["date"].replace(" ", "-").replace(":", "") if sessions else "empty"
    number = 1
    while (aside := path.with_name(f"{path.stem}-{date}{f'-{number}' if number > 1 else ''}.jsonl")).exists():
        number += 1
    path.rename(aside)
    return aside
