# SPDX-License-Identifier: GPL-2.0
"""Lists of what is allowed although it is not wanted.

Such a file has paragraphs, of which the comment says why what the other lines
name is allowed. A line without a comment above is not.
"""

from __future__ import annotations

from pathlib import Path

from . import RigError


def read(path: Path) -> list[str]:
    found: list[str] = []
    why = False
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.startswith("#"):
            why = True
        elif not line.strip():
            why = False
        elif not why:
            raise RigError(f"{path}:{number}: no comment above says why: {line}")
        elif line in found:
            raise RigError(f"{path}:{number}: listed twice: {line}")
        else:
            found.append(line)
    return found
