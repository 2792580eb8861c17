#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What kcsan.py makes of a console with reports of KCSAN; TAP on stdout.

The code that races is that of a small program, compiled here with debug
information like the kernel's.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from rig import RigError, kcsan, tap  # noqa: E402

# An access is the call of check(), as if KCSAN's compiler had put it there.
_HEADER = """\
void check(void);
static inline __attribute__((always_inline)) void add(void)
{
	check();
}
"""
_SOURCE = """\
#include "list.h"
void check(void) { __asm__ volatile (""); }
void reader(void)
{
	check();
}
void writer(void)
{
	add();
}
int main(void) { reader(); writer(); return 0; }
"""
_REPORT = """\
[   10.000000] ==================================================================
[   10.000001] BUG: KCSAN: data-race in reader / writer
[   10.000002]
[   10.000003] write to 0xffff888003c0a2f8 of 8 bytes by interrupt on cpu 1:
[   10.000004]  writer+{writer}
[   10.000005]  tcp_v4_rcv+0x10/0x20
[   10.000006]
[   10.000007] read to 0xffff888003c0a2f8 of 8 bytes by task 73 on cpu 0:
[   10.000008]  reader+{reader}
[   10.000009]
[   10.000010] value changed: 0x0000000000000000 -> 0x0000000000000001
[   10.000011]
[   10.000012] Reported by Kernel Concurrency Sanitizer on:
[   10.000013] CPU: 0 UID: 0 PID: 73 Comm: test Not tainted 6.12.117-connp-t #1
[   10.000014] ==================================================================
"""
_ONE_SIDE = """\
[   11.000000] ==================================================================
[   11.000001] BUG: KCSAN: data-race in reader+{reader}
[   11.000002]
[   11.000003] race at unknown origin, with read to 0xffff888003c0a2f8 of 8 bytes by task 73 on cpu 0:
[   11.000004]  reader+{reader}
[   11.000005] ==================================================================
"""
_RACE = "reader: check(); <> writer: add();"


def build(work: Path, tree: Path | None = None, *options: str) -> dict[str, str]:
    """Compile the program, whose source is in the tree, with these options; where
    in a function the address after its call is, in the kernel's form, by name.
    """
    tree = tree or work
    (tree / "list.h").write_text(_HEADER)
    (tree / "race.c").write_text(_SOURCE)
    subprocess.run(["gcc", "-O1", "-g", "-fno-optimize-sibling-calls", "-fno-inline-functions-called-once", "-no-pie",
                    *options, "-o", work / "vmlinux", tree / "race.c"], check=True)
    symbols = subprocess.run(["nm", "-n", "--defined-only", work / "vmlinux"],
                             stdout=subprocess.PIPE, text=True, check=True).stdout
    (work / "System.map").write_text(symbols)
    starts = [(int(line.split()[0], 16), line.split()[2]) for line in symbols.splitlines()]
    code = subprocess.run(["objdump", "-d", "--no-show-raw-insn", work / "vmlinux"],
                          stdout=subprocess.PIPE, text=True, check=True).stdout
    frames = {}
    for (start, name), (end, _) in zip(starts, starts[1:]):
        if name in ("reader", "writer"):
            after = re.search(rf"<{name}>:\n(?:.*\n)*?.*call.*<check>\n *([0-9a-f]+):", code)
            assert after
            frames[name] = f"{int(after[1], 16) - start:#x}/{end - start:#x}"
    return frames


def judged(work: Path, console: str, known: str) -> str:
    kcsan.KNOWN = work / "known"
    kcsan.KNOWN.write_text(known)
    return kcsan.judge(console.splitlines(), work)


def results(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith("#")]


def test_no_report(folder: Path) -> None:
    said = results(judged(folder, "booted\n", ""))
    assert said == ["rig: begin kcsan", "ok 1 - no data race that is not known, 0 that are", "rig: end 0"], said


def test_a_race_that_is_not_known(folder: Path) -> None:
    said = judged(folder, _REPORT.format(**build(folder)), "# Why.\nreader: other(); <> writer: add();\n")
    assert results(said) == ["rig: begin kcsan", f"not ok 1 - {_RACE}", "rig: end 1"], said
    assert "# [   10.000010] value changed" in said and "race.c:5" in said, said


def test_a_race_that_is_known(folder: Path) -> None:
    said = results(judged(folder, _REPORT.format(**build(folder)), f"# Why.\n{_RACE}\n"))
    assert said[1:] == ["ok 1 - no data race that is not known, 1 that are", "rig: end 0"], said


def test_source_that_another_clone_compiled(folder: Path) -> None:
    work, tree = folder / "org", folder / "linux"
    work.mkdir()
    tree.mkdir()
    frames = build(work, tree, f"-fdebug-prefix-map={tree}=/elsewhere/build/other/../linux")
    said = results(judged(work, _REPORT.format(**frames), f"# Why.\n{_RACE}\n"))
    assert said[1:] == ["ok 1 - no data race that is not known, 1 that are", "rig: end 0"], said


def test_several_reports_of_one_race(folder: Path) -> None:
    said = results(judged(folder, _REPORT.format(**build(folder)) * 2, ""))
    assert said[1:] == [f"not ok 1 - {_RACE}", "rig: end 1"], said


def test_a_race_of_which_one_side_is_seen(folder: Path) -> None:
    frames = build(folder)
    said = results(judged(folder, (_REPORT + _ONE_SIDE).format(**frames), f"# Why.\n{_RACE}\n"))
    assert said[1:] == ["not ok 1 - reader: check();", "rig: end 1"], said


def refused(folder: Path, console: str, known: str) -> str:
    try:
        return judged(folder, console, known)
    except RigError as error:
        return str(error)


def test_a_list_that_does_not_say_why(folder: Path) -> None:
    said = refused(folder, _REPORT.format(**build(folder)), f"{_RACE}\n")
    assert "no comment above says why" in said, said


def test_code_that_is_not_in_the_kernel(folder: Path) -> None:
    said = refused(folder, _REPORT.format(**build(folder)).replace(" reader+", " elsewhere+"), "")
    assert "0 functions elsewhere" in said, said


if __name__ == "__main__":
    sys.exit(tap.run(globals()))
