# SPDX-License-Identifier: GPL-2.0
"""Plots, written as SVG: lines over a logarithmic axis with bars for the spread,
and bars side by side.

Colours are CSS variables, which the page sets for light and for dark; a file of
its own brings them along (standalone()). They are told apart by colour and by
the form of the mark.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape

_WIDTH, _HEIGHT = 420, 290
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 10, 12, 40
_LEGEND_LINE = 17

_Across = Callable[[float], float]

# The series' colours: both sets keep a contrast of 3:1 to their background, and
# differ in lightness as well, for eyes that do not tell some hues apart.
LIGHT = ("#6b7280", "#1d4ed8", "#c2410c", "#047857", "#7e22ce", "#0e7490", "#a16207", "#be123c", "#4d7c0f", "#334155")
DARK = ("#9ca3af", "#7aa2ff", "#fb923c", "#34d399", "#c084fc", "#22d3ee", "#facc15", "#fb7185", "#a3e635", "#cbd5e1")


def variables(colours: tuple[str, ...], ink: str, paper: str, grid: str) -> str:
    """CSS declarations."""
    return "".join(f"--c{number}:{colour};" for number, colour in enumerate(colours)) + \
        f"--ink:{ink};--paper:{paper};--grid:{grid};"


STYLE_LIGHT = variables(LIGHT, "#1f2933", "#ffffff", "#d8dde3")
STYLE_DARK = variables(DARK, "#e4e7eb", "#14181d", "#3a424c")


@dataclass(frozen=True)
class Point:
    x: float
    y: float
    low: float
    high: float


@dataclass
class Series:
    name: str
    colour: int
    points: list[Point]
    dashed: bool = False


@dataclass
class Lines:
    """Y over X, which is drawn in doublings; ticks where the data are."""

    name: str  # of a file
    title: str
    x_label: str
    y_label: str
    series: list[Series] = field(default_factory=list)
    level: float | None = None  # a line across, for what is compared with
    from_zero: bool = True
    decades: bool = False  # y, too, by its logarithm; all are positive

    def svg(self) -> str:
        points = [point for one in self.series for point in one.points]
        if not points:
            return ""
        legend, below = _legend([(one.name, one.colour) for one in self.series], marks=True)
        xs = sorted({point.x for point in points})
        values = [value for point in points for value in (point.low, point.high, point.y)]
        if self.level is not None:
            values.append(self.level)
        y_axis = _Axis.in_decades(values) if self.decades else _Axis.over(values, self.from_zero)
        first, last = math.log2(xs[0]), math.log2(xs[-1])
        if first == last:
            first, last = first - 1, last + 1
        margin = 0.03 * (last - first)

        def across(x: float) -> float:
            share = (math.log2(x) - first + margin) / (last - first + 2 * margin)
            return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

        parts = [*y_axis.draw(self.y_label), *_x_ticks(xs, across, self.x_label)]
        if self.level is not None:
            at = y_axis.at(self.level)
            parts.append(f'<line class="level" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        for number, one in enumerate(self.series):
            parts += _series(one, number, len(self.series), across, y_axis)
        return _document(self.title, _HEIGHT + below, [*parts, *legend])


@dataclass
class Bars:
    """Groups of bars, each of parts that are stacked."""

    name: str
    title: str
    y_label: str
    groups: list[str]  # below the axis
    bars: list[str]  # within each group
    parts: list[str]  # of each bar, from below
    values: dict[tuple[str, str, str], float]  # group, bar, part

    def svg(self) -> str:
        sums = [sum(self.values.get((group, bar, part), 0) for part in self.parts)
                for group in self.groups for bar in self.bars]
        if not any(sums):
            return ""
        y_axis = _Axis.over(sums, True)
        legend, below = _legend([(part, number) for number, part in enumerate(self.parts)], marks=False)
        room = (_WIDTH - _LEFT - _RIGHT) / len(self.groups)
        width = room * 0.84 / len(self.bars)
        parts = y_axis.draw(self.y_label)
        extra = 10 + 5.2 * max(map(len, self.bars))  # for the bars' names, which stand on end
        for g, group in enumerate(self.groups):
            left = _LEFT + g * room + room * 0.08
            parts.append(_text(left + room * 0.42, _HEIGHT - _BOTTOM + extra + 16, group, "middle"))
            for b, bar in enumerate(self.bars):
                x, top = left + b * width, y_axis.at(0)
                for number, part in enumerate(self.parts):
                    value = self.values.get((group, bar, part), 0)
                    height = y_axis.at(0) - y_axis.at(value)
                    top -= height
                    if value:
                        parts.append(f'<rect x="{x + 1:.1f}" y="{top:.1f}" width="{width - 2:.1f}" '
                                     f'height="{height:.1f}" fill="var(--c{number % len(LIGHT)})"/>')
                at_x, at_y = x + width / 2 + 3, y_axis.at(0) + 5
                parts.append(f'<text class="small" x="{at_x:.1f}" y="{at_y:.1f}" text-anchor="end" '
                             f'transform="rotate(-90 {at_x:.1f} {at_y:.1f})">{escape(bar)}</text>')
        shifted = f'<g transform="translate(0 {extra - 14:.0f})">' + "".join(legend) + "</g>"
        return _document(self.title, _HEIGHT + below + extra - 14, [*parts, shifted])


def standalone(drawing: str) -> str:
    """The drawing as a file of its own."""
    style = (f"<style>svg{{{STYLE_LIGHT}background:var(--paper)}}"
             f"@media (prefers-color-scheme:dark){{svg{{{STYLE_DARK}}}}}{STYLE}</style>")
    head, rest = drawing.split(">", 1)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{head}>{style}{rest}\n'


# What the drawings need of a style sheet.
STYLE = ("svg text{font:11px system-ui,sans-serif;fill:var(--ink)}svg .small{font-size:9.5px}"
         "svg .grid{stroke:var(--grid);stroke-width:1}svg .axis{stroke:var(--ink);stroke-width:1}"
         "svg .level{stroke:var(--ink);stroke-width:1;stroke-dasharray:2 3}")


@dataclass(frozen=True)
class _Axis:
    """The upright one."""

    low: float
    high: float
    ticks: tuple[float, ...]
    scale: _Across
    digits: int = 0

    @staticmethod
    def over(values: list[float], from_zero: bool) -> _Axis:
        low, high = 0.0 if from_zero else min(values), max(values)
        span = high - low or abs(high) or 1.0
        # 1, 2 or 5 times a power of ten, for 4 to 8 lines.
        power = 10 ** math.floor(math.log10(span / 4))
        step = next(power * factor for factor in (1, 2, 5, 10) if span / (power * factor) <= 6)
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        last = max(last, first + 1)
        return _Axis(first * step, last * step, tuple(number * step for number in range(first, last + 1)), float,
                     max(0, -math.floor(math.log10(step) + 1e-9)))

    @staticmethod
    def in_decades(values: list[float]) -> _Axis:
        first, last = math.floor(math.log10(min(values)) + 1e-9), math.ceil(math.log10(max(values)) - 1e-9)
        last = max(last, first + 1)
        factors = (1, 2, 5) if last - first <= 2 else (1,)
        ticks = [factor * 10.0 ** power for power in range(first, last) for factor in factors] + [10.0 ** last]
        return _Axis(ticks[0], ticks[-1], tuple(ticks), math.log10, max(0, -first))

    def at(self, y: float) -> float:
        bottom = _HEIGHT - _BOTTOM
        low, high = self.scale(self.low), self.scale(self.high)
        return bottom - (self.scale(y) - low) / (high - low) * (bottom - _TOP)

    def draw(self, label: str) -> list[str]:
        parts = []
        for value in self.ticks:
            at = self.at(value)
            parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
            parts.append(_text(_LEFT - 5, at + 4, f"{value:.{self.digits}f}", "end"))
        middle = (_TOP + _HEIGHT - _BOTTOM) / 2
        parts.append(f'<text x="11" y="{middle}" text-anchor="middle" transform="rotate(-90 11 {middle})">'
                     f"{escape(label)}</text>")
        at = self.at(max(0.0, self.low))
        parts.append(f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        return parts


def _x_ticks(xs: list[float], across: _Across, label: str) -> list[str]:
    parts = []
    base = _HEIGHT - _BOTTOM
    end = -math.inf
    for x in xs:
        at, text = across(x), f"{x:.0f}"
        parts.append(f'<line class="axis" x1="{at:.1f}" x2="{at:.1f}" y1="{base}" y2="{base + 4}"/>')
        # No number over the one before it.
        half = 3.2 * len(text)
        if at - half > end + 7:
            at = min(at, _WIDTH - half)
            parts.append(_text(at, base + 16, text, "middle"))
            end = at + half
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, base + 32, label, "middle"))
    return parts


def _series(one: Series, number: int, count: int, across: _Across, axis: _Axis) -> list[str]:
    colour = f"var(--c{one.colour % len(LIGHT)})"
    # Side by side, so that no bar for the spread hides another.
    aside = (number - (count - 1) / 2) * min(3.0, 14 / count)
    points = sorted(one.points, key=lambda point: point.x)
    places = [(across(point.x) + aside, axis.at(point.y)) for point in points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dash = ' stroke-dasharray="5 3"' if one.dashed else ""
    parts = [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"{dash}/>']
    for point, (x, y) in zip(points, places, strict=True):
        if point.low < point.high:
            parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{axis.at(point.low):.1f}" '
                         f'y2="{axis.at(point.high):.1f}" stroke="{colour}" stroke-width="1"/>')
        parts.append(_mark(one.colour, x, y))
    return parts


def _mark(colour: int, x: float, y: float) -> str:
    fill = f'fill="var(--c{colour % len(LIGHT)})"'
    form = colour % 5
    if form == 0:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.2" {fill}/>'
    if form == 1:
        return f'<rect x="{x - 3:.1f}" y="{y - 3:.1f}" width="6" height="6" {fill}/>'
    corners = {2: ((0, -4), (3.8, 3), (-3.8, 3)), 3: ((0, -4.2), (4.2, 0), (0, 4.2), (-4.2, 0)),
               4: ((0, 4), (3.8, -3), (-3.8, -3))}[form]
    return f'<polygon points="{" ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)}" {fill}/>'


def _legend(entries: list[tuple[str, int]], marks: bool) -> tuple[list[str], int]:
    """Below the plot, in as many lines as it needs; and how high these are."""
    parts: list[str] = []
    x, line = float(_LEFT), 0
    for name, colour in entries:
        width = 16 + 6.4 * len(name) + 14
        if x + width > _WIDTH and x > _LEFT:
            x, line = float(_LEFT), line + 1
        y = _HEIGHT + line * _LEGEND_LINE + 6
        if marks:
            parts.append(_mark(colour, x + 5, y))
        else:
            parts.append(f'<rect x="{x:.1f}" y="{y - 5}" width="10" height="10" fill="var(--c{colour % len(LIGHT)})"/>')
        parts.append(_text(x + 15, y + 4, name, "start"))
        x += width
    return parts, (line + 1) * _LEGEND_LINE + 4


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _document(title: str, height: float, parts: list[str]) -> str:
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" role="img">'
            f"<title>{escape(title)}</title>" + "\n".join(parts) + "</svg>")
