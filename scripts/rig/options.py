# SPDX-License-Identifier: GPL-2.0
"""The variables a user sets on make's command line (make compare CONNS="6 192"),
which reach us in the environment: read, checked, refused with a reason.
"""

from __future__ import annotations

import os

from . import ORGS, VARIANTS, RigError
from .clients import MAX_NICS

MAX_CONNS = 16384


def number(name: str, default: int, low: int, high: int) -> int:
    text = os.environ.get(name) or str(default)
    return _checked(name, text, text, low, high)


def numbers(name: str, default: str, low: int, high: int) -> list[int]:
    text = os.environ.get(name) or default
    found = [_checked(name, text, word, low, high) for word in text.split()]
    _refuse_repeats(name, text, found)
    return found


def _checked(name: str, text: str, word: str, low: int, high: int) -> int:
    if not word.isascii() or not word.isdecimal() or not low <= int(word) <= high:
        raise RigError(f"{name}={text}: expected a whole number from {low} to {high}, got {word!r}")
    return int(word)


def _refuse_repeats(name: str, text: str, found: list[int] | list[str]) -> None:
    if not found or len(set(found)) != len(found):
        raise RigError(f"{name}={text}: expected at least one value, and each only once")


def conns() -> list[int]:
    return numbers("CONNS", "6 192", 1, MAX_CONNS)


def nics() -> int:
    return number("NICS", MAX_NICS, 1, MAX_NICS)


def cpus(cores: int) -> int:
    return number("CPUS", cores, 1, 255)


def mtu() -> int:
    # IPv6 needs 1280, and more than 9000 nobody's switch passes.
    return number("MTU", 1500, 1280, 9000)


def tso() -> bool:
    text = os.environ.get("TSO") or "off"
    if text not in ("on", "off"):
        raise RigError(f"TSO={text}: expected on or off")
    return text == "on"


def groups(org: str) -> int:
    """Connection groups to boot ORG with; 0: as many as its kernel makes."""
    if org == "connp-l":
        return _groups("GROUPS", 128)
    # By default the kernel knows best: as many as there are CPUs.
    if org == "connp-t" and os.environ.get("TGROUPS"):
        return _groups("TGROUPS", 1)
    return 0


def _groups(name: str, default: int) -> int:
    count = number(name, default, 1, 1024)
    if count & (count - 1):
        raise RigError(f"{name}={count}: expected a power of two")
    return count


def variant() -> str:
    text = os.environ.get("VARIANT") or ("debug" if os.environ.get("DEBUG") else "")
    if text and text not in VARIANTS:
        raise RigError(f"VARIANT={text} is none; leave it out, or use one of: {' '.join(VARIANTS)}")
    return text


def orgs() -> list[str]:
    text = os.environ.get("ORGS") or " ".join(ORGS)
    found = text.split()
    unknown = [org for org in found if org not in ORGS]
    if unknown:
        raise RigError(f"ORGS={text}: {unknown[0]!r} is not an organisation; use some of: {' '.join(ORGS)}")
    _refuse_repeats("ORGS", text, found)
    return found


def org() -> str:
    text = os.environ.get("ORG") or "connp-l"
    if text not in ORGS:
        raise RigError(f"ORG={text} is not an organisation; use one of: {' '.join(ORGS)}")
    return text
