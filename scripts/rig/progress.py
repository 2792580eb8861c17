# SPDX-License-Identifier: GPL-2.0
"""Tells on stderr which run of a long series it is, how it went, what remains."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable


def clock(seconds: float) -> str:
    """45:07, or 3:45:07 from an hour on."""
    minutes, rest = divmod(int(seconds), 60)
    hours, short = divmod(minutes, 60)
    return f"{hours}:{short:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Progress:
    """REMAINING says how many seconds there are to go; by default, as many for
    each run that is left as those before it took.
    """

    def __init__(self, runs: int, remaining: Callable[[], float] | None = None) -> None:
        self.runs = runs
        self._remaining = remaining or self._at_this_rate
        self._done = 0
        self._began = time.monotonic()
        self._live = sys.stderr.isatty()
        self._last_live = 0.0

    def begin(self, what: str) -> None:
        self._what = what
        self._phase_began = time.monotonic()
        self._write(f"{self._number()} {what} ...", end="" if self._live else "\n")

    def tick(self) -> None:
        """On a terminal, once a second: how long the run has been going on."""
        now = time.monotonic()
        if self._live and now - self._last_live >= 1:
            self._last_live = now
            self._write(f"\r{self._number()} {self._what} ... {now - self._phase_began:.0f} s", end="")

    def end(self, outcome: str, what: str = "") -> None:
        """WHAT, if it is not what was begun last."""
        self._what = what or self._what
        number = self._number()
        self._done += 1
        elapsed = time.monotonic() - self._began
        self._write(f"{chr(13) if self._live else ''}{number} {self._what}: {outcome}; "
                    f"{clock(elapsed)} so far, about {clock(self._remaining())} to go")

    def say(self, text: str) -> None:
        """Something between two runs."""
        self._write(f"== {text}")

    def _number(self) -> str:
        return f"[{self._done + 1:>2}/{self.runs}]"

    def _at_this_rate(self) -> float:
        return (time.monotonic() - self._began) / self._done * (self.runs - self._done)

    @staticmethod
    def _write(text: str, end: str = "\n") -> None:
        print(text, end=end, file=sys.stderr, flush=True)
