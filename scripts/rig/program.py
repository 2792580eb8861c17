# SPDX-License-Identifier: GPL-2.0
"""How each program that uses the rig begins and ends."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from . import RigError


def run(name: str, body: Callable[[], int], failed: int = 1) -> NoReturn:
    """Exit with what BODY returns; if the rig failed, say why, and with FAILED."""
    # SIGTERM and SIGHUP unwind like ^C, so that guests and namespaces go.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    try:
        status = body()
    except RigError as error:
        # On a terminal a line that tells of progress may be unfinished.
        print(f"{chr(10) if sys.stderr.isatty() else ''}{name}: {error}", file=sys.stderr)
        status = failed
    except KeyboardInterrupt:
        status = 130
    sys.exit(status)


def _leave(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)
