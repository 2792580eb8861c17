# SPDX-License-Identifier: GPL-2.0
"""How sure is a ratio of two organisations?

Runs of the same round ran soon after one another, so what the machine did in
between disturbs their ratio less than it does the figures themselves. The
logarithms of the rounds' ratios are taken for draws of one normal distribution;
the interval is Student's for their mean. So the ratio is the geometric mean,
and the interval that of the inverse ratio turned around.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from statistics import fmean, stdev


@dataclass(frozen=True)
class Interval:
    ratio: float
    low: float  # both infinitely far off with fewer than two rounds
    high: float
    rounds: int

    @property
    def width(self) -> float:
        """How far it reaches to either side, as a fraction of the ratio."""
        return math.sqrt(self.high / self.low) - 1 if self.low > 0 else math.inf


def of_ratios(ratios: list[float], confidence: float) -> Interval:
    """The interval of positive RATIOS, one a round."""
    if not ratios:
        raise ValueError("no round has both runs")
    logs = [math.log(ratio) for ratio in ratios]
    mean = fmean(logs)
    if len(logs) < 2:
        return Interval(math.exp(mean), 0, math.inf, len(logs))
    reach = t_quantile((1 + confidence) / 2, len(logs) - 1) * stdev(logs) / math.sqrt(len(logs))
    # Beyond this no float; and nobody believes such an interval anyway.
    reach = min(reach, 300)
    return Interval(math.exp(mean), math.exp(mean - reach), math.exp(mean + reach), len(logs))


@functools.cache
def t_quantile(probability: float, freedom: int) -> float:
    """Student's t: the value that a draw does not exceed with PROBABILITY > 1/2."""
    low, high = 0.0, 1.0
    while _t_distribution(high, freedom) < probability:
        low, high = high, high * 2
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        if _t_distribution(middle, freedom) < probability:
            low = middle
        else:
            high = middle
    return high


def _t_distribution(t: float, freedom: int) -> float:
    """Probability that a draw is at most T, which is not negative: the finite
    sums of Abramowitz and Stegun, 26.7.3 and 26.7.4.
    """
    angle = math.atan(t / math.sqrt(freedom))
    squared = math.cos(angle) ** 2
    term = math.cos(angle) if freedom % 2 else 1.0
    total = 0.0 if freedom == 1 else term
    for k in range(3 if freedom % 2 else 2, freedom - 1, 2):
        term *= squared * (k - 1) / k
        total += term
    if freedom % 2:
        inside = 2 / math.pi * (angle + math.sin(angle) * total)
    else:
        inside = math.sin(angle) * total
    return (1 + inside) / 2
