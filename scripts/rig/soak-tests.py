#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What soak.py makes of what the guest has left, without a guest; TAP on stdout."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
import soak  # noqa: E402
from rig import tap  # noqa: E402


def count(file: Path, names: tuple[str, ...], others: dict[str, int], number: int) -> None:
    """What the guest has counted: these NUMBERs of others, and NUMBER of all the rest."""
    file.write_text("".join(f"{name} {others.get(name, number)}\n" for name in names))


def leave(share: Path) -> None:
    """What a guest leaves in which all went well."""
    for name in soak.LOADS:
        for number in (1, 2):
            folder = share / f"{name}-{number}"
            folder.mkdir()
            for end in ("serve", "sink"):
                (folder / f"{end}.log").write_text("")
                (folder / f"{end}.status").write_text("0\n")
                (folder / f"{end}.json").write_text(json.dumps({"conns": 24, "total_bytes": 1000}))
    for name in soak.DISTURBANCES:
        (share / f"{name}.log").write_text("1..1\nok 1 - all of it\n")
        (share / f"{name}.ended").write_text("0\n")
    count(share / "injected", soak.INJECTED, {}, 3)
    count(share / "after", soak.AFTER + soak.AFTER_GROUPS, {}, 0)


def judged(share: Path) -> tuple[list[str], list[str]]:
    """What did not pass, and all that was said."""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        results = soak.Tap("connp-t debug")
        soak.judge(share, results, 1)
    lines = said.getvalue().splitlines()
    failed = [line.partition(": soak: ")[2] for line in lines if line.startswith("not ok")]
    assert results.failed == len(failed) and results.count == sum("ok " in line and "soak: " in line for line in lines)
    return failed, lines


def test_all_went_well(share: Path) -> None:
    leave(share)
    failed, lines = judged(share)
    assert not failed, failed
    assert "  load held  badnet: 48 streams in 2 rounds, 0 MiB verified, 0 errors" in lines, lines
    assert "  injected   3 times storm" in lines and "  left       0 bytes on queues" in lines, lines


def test_a_load_that_lost_something(share: Path) -> None:
    leave(share)
    for name, end, kind, content in (("taps", "sink", "status", "1\n"), ("loopback", "serve", "status", ""),
                                     ("badnet", "sink", "json", json.dumps({"conns": 24, "total_bytes": 999}))):
        (share / f"{name}-2" / f"{end}.{kind}").write_text(content)
    failed, lines = judged(share)
    assert failed == [f"{name}: every byte right, no connection lost" for name in soak.LOADS], failed
    assert "# badnet-2: 1000 bytes were sent, 999 received" in lines, lines


def test_a_load_that_was_none(share: Path) -> None:
    leave(share)
    for number in (1, 2):
        (share / f"taps-{number}").rename(share / f"other{number}")
        for end in ("serve", "sink"):
            (share / f"loopback-{number}" / f"{end}.json").write_text(json.dumps({"conns": 24, "total_bytes": 0}))
    failed, _ = judged(share)
    assert failed == [f"{name}: every byte right, no connection lost" for name in ("taps", "loopback")], failed


def test_a_disturbance_that_failed(share: Path) -> None:
    leave(share)
    (share / "fuzz.ended").write_text("1\n")
    (share / "fuzz.log").write_text("not ok 1 - a SYN\n")
    (share / "storm.ended").unlink()
    (share / "kmemleak.ended").write_text("4\n")
    (share / "memory.log").write_text("1..1\nok 1 # SKIP cgroup: the kernel lacks it\n")
    (share / "neighbour.log").write_text("1..1\nok 1 # SKIP this kernel has no connection groups\n")
    failed, lines = judged(share)
    assert failed == [f"{name} ends well" for name in ("fuzz", "storm", "memory", "kmemleak")], failed
    assert "# not ok 1 - a SYN" in lines and "# ok 1 # SKIP cgroup: the kernel lacks it" in lines, lines


def test_what_was_not_counted(share: Path) -> None:
    leave(share)
    (share / "injected").unlink()
    count(share / "after", soak.AFTER + soak.AFTER_GROUPS[:-1], {}, 0)
    failed, lines = judged(share)
    assert failed == [f"the guest has counted what it should ({name})" for name in ("injected", "after")], failed
    assert f"# {soak.AFTER_GROUPS[-1]}" in lines and "# devices_unregistered_under_load" in lines, lines


def test_numbers_that_should_not_be(share: Path) -> None:
    leave(share)
    count(share / "injected", soak.INJECTED, {"times_storm": 0}, 3)
    count(share / "after", soak.AFTER + soak.AFTER_GROUPS, {"sockets_in_use": 1}, 0)
    failed, _ = judged(share)
    assert failed == ["times storm: there were some", "sockets in use: none"], failed


if __name__ == "__main__":
    sys.exit(tap.run(globals()))
