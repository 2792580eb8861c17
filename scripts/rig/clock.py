# SPDX-License-Identifier: GPL-2.0
"""Does a second in the guest last a second on the host?

guest-mark.sh makes an empty file in the share between two looks at the guest's
clock; the file's time is the host's. So the host's moment lies between the
guest's two, however busy both machines are, and what is left open is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

# A guest's clock may differ from the host's by this fraction, no more.
TOLERANCE = 0.02

# /proc/uptime is cut off, not rounded, to this many seconds.
_RESOLUTION = 0.01


@dataclass(frozen=True)
class Elapsed:
    """Seconds between two marks; the guest's are known to within `slack`."""

    guest: float
    host: float
    slack: float

    @property
    def error(self) -> float:
        """How much too fast the guest's clock ran, as a fraction."""
        return self.guest / self.host - 1

    @property
    def right(self) -> bool:
        """The clock has been seen to be right: figures may rest on it."""
        return abs(self.guest - self.host) + self.slack <= TOLERANCE * self.host

    @property
    def wrong(self) -> bool:
        """The clock has been seen to be wrong. A short run can be neither."""
        return abs(self.guest - self.host) - self.slack > TOLERANCE * self.host

    def __str__(self) -> str:
        return f"the guest's clock ran {self.guest:.2f} s (within {self.slack:.2f} s) while the host's ran {self.host:.2f} s"


def mark_file(share: Path, name: str) -> Path:
    """Exists once the guest has passed the mark."""
    return share / f"mark-{name}.guest"


def elapsed(share: Path, first: str, last: str) -> Elapsed:
    start_low, start_high, start = _read(share, first)
    end_low, end_high, end = _read(share, last)
    shortest, longest = end_low - start_high, end_high - start_low
    return Elapsed((shortest + longest) / 2, end - start, (longest - shortest) / 2)


def _read(share: Path, name: str) -> tuple[float, float, float]:
    before, after = mark_file(share, name).read_text().split()
    return float(before), float(after) + _RESOLUTION, (share / f"mark-{name}").stat().st_mtime
