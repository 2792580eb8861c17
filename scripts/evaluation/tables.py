# SPDX-License-Identifier: GPL-2.0
"""A table, as text, Markdown or HTML."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape


@dataclass
class Table:
    title: str
    header: list[str]
    rows: list[list[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    words: tuple[int, ...] = (0,)  # columns of words; others are of numbers

    def text(self) -> str:
        lines = [self.header, *self.rows]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.header))]
        drawn = ["  ".join(cell.ljust(width) if column in self.words else cell.rjust(width)
                           for column, (cell, width) in enumerate(zip(line, widths, strict=True))).rstrip()
                 for line in lines]
        drawn.insert(1, "-" * (sum(widths) + 2 * (len(widths) - 1)))
        return "\n".join([self.title, "", *drawn, *(f"  {note}" for note in self.notes)])

    def markdown(self) -> str:
        rule = ["---" if column in self.words else "---:" for column in range(len(self.header))]
        return "\n".join(f"| {' | '.join(line)} |" for line in [self.header, rule, *self.rows])

    def html(self) -> str:
        def line(cells: list[str], tag: str) -> str:
            return "<tr>" + "".join(f"<{tag}{kind(column)}>{escape(cell)}</{tag}>"
                                    for column, cell in enumerate(cells)) + "</tr>"

        def kind(column: int) -> str:
            return "" if column in self.words else ' class="n"'

        body = "\n".join(line(row, "td") for row in self.rows)
        notes = "".join(f'<p class="note">{escape(note)}</p>' for note in self.notes)
        return (f'<h3>{escape(self.title)}</h3><div class="table"><table>\n'
                f"<thead>{line(self.header, 'th')}</thead>\n<tbody>{body}</tbody></table></div>{notes}")
