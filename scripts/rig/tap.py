# SPDX-License-Identifier: GPL-2.0
"""Run tests that are functions; TAP on stdout."""

from __future__ import annotations

import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path


def run(names: Mapping[str, object]) -> int:
    """Call what is named test_..., each with a folder of its own; return the exit status."""
    tests = [(name, test) for name, test in names.items() if name.startswith("test_") and callable(test)]
    failed = 0
    print(f"TAP version 13\n1..{len(tests)}")
    for number, (name, test) in enumerate(tests, 1):
        title = name.removeprefix("test_").replace("_", " ")
        with tempfile.TemporaryDirectory() as folder:
            try:
                test(Path(folder))
                print(f"ok {number} - {title}")
            except Exception:  # pylint: disable=broad-except
                failed += 1
                print(f"not ok {number} - {title}")
                print("".join(f"# {line}\n" for line in traceback.format_exc().splitlines()), end="")
    return int(failed > 0)
