#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Tests of compare-verdicts.py, without a guest; TAP on stdout.

Each has a log made up, and looks at what the program says about it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from rig import tap  # noqa: E402

_PROGRAM = Path(__file__).with_name("compare-verdicts.py")
_VERDICTS = """# Made up.

pass net/one: first
pass net/one: second
pass net/one
fail net/two: third # for want of it
pass net/two
"""
_DIFFERENCES = """# Made up.

# It is a test.
connp-t fail net/one: second
connp-t fail net/one
"""
_WANTED = "rig: wanted net/one\nrig: wanted net/two\n"
_ONE = """rig: begin net/one
ok 1 first
{0}ok 2 second

rig: end {1} 7
"""
_TWO = """rig: begin net/two
FAIL: third

rig: end 0 2
"""
_END = "\nrig: guest 0\n"
_AS_STOCK = _WANTED + _ONE.format("", 0) + _TWO + _END


def ran(*arguments: str | Path) -> tuple[int, list[str]]:
    done = subprocess.run([_PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False)
    return done.returncode, done.stdout.splitlines()


def compared(folder: Path, log: str, boot: str = "connp-l full", verdicts: str = _VERDICTS,
             differences: str = _DIFFERENCES) -> tuple[int, list[str]]:
    for name, content in (("verdicts", verdicts), ("differences", differences), ("log", log)):
        (folder / name).write_text(content)
    return ran(boot, *(folder / name for name in ("verdicts", "differences", "log")))


def says(lines: list[str], *wanted: str) -> None:
    """These are among the lines, and no other result is "not ok"."""
    for line in wanted:
        assert line in lines, (line, lines)
    failed, expected = ([line for line in some if line.startswith("not ok")] for some in (lines, wanted))
    assert failed == expected, lines


def test_what_is_as_on_stock_passes(folder: Path) -> None:
    status, lines = compared(folder, _AS_STOCK)
    assert status == 0
    says(lines, "ok 1 - connp-l full: net/one: first", "ok 2 - connp-l full: net/one: second",
         "ok 3 - connp-l full: net/one", "ok 4 - connp-l full: net/two", "ok 5 - connp-l full: the guests end well",
         "1..5")
    assert not any("difference" in line for line in lines)


def test_a_result_lost(folder: Path) -> None:
    status, lines = compared(folder, _AS_STOCK.replace("ok 1 first", "not ok 1 first"))
    assert status == 1
    says(lines, "not ok 1 - connp-l full: net/one: first", "# fail here, pass on stock")
    status, lines = compared(folder, _AS_STOCK.replace("ok 1 first", "ok 1 first # SKIP for once"))
    assert status == 1
    says(lines, "not ok 1 - connp-l full: net/one: first", "# skip (for once) here, pass on stock")
    status, lines = compared(folder, _AS_STOCK.replace("ok 1 first\n", ""))
    assert status == 1
    says(lines, "not ok 1 - connp-l full: net/one: first", "# no result here, pass on stock")
    status, lines = compared(folder, _AS_STOCK.replace("rig: end 0 2", "rig: end 124 2"))
    assert status == 1
    says(lines, "not ok 4 - connp-l full: net/two", "# no result (timed out) here, pass on stock")


def test_a_result_gained(folder: Path) -> None:
    status, lines = compared(folder, _AS_STOCK.replace("FAIL: third", "PASS: third\nPASS: fourth"))
    assert status == 0
    says(lines, "# net/two: third: passes, and is 'fail' on the list",
         "# net/two: fourth: passes, and is not on the list")


def test_a_known_difference(folder: Path) -> None:
    status, lines = compared(folder, _WANTED + _ONE.format("not ", 1) + _TWO + _END, "connp-t full")
    assert status == 0
    says(lines, "ok 2 - connp-t full: net/one: second # known difference: fail, pass on stock",
         "ok 3 - connp-t full: net/one # known difference: fail (exit status 1), pass on stock")


def test_a_known_difference_that_is_unsteady(folder: Path) -> None:
    unsteady = _DIFFERENCES.replace("fail net/one: second", "unsteady net/one: second")
    for word, said in (("not ", " # known difference: fail, pass on stock"), ("", "")):
        status, lines = compared(folder, _WANTED + _ONE.format(word, 1) + _TWO + _END, "connp-t full",
                                 differences=unsteady)
        assert status == 0
        says(lines, f"ok 2 - connp-t full: net/one: second{said}")
    status, lines = compared(folder, _WANTED + _ONE.format("", 1).replace("ok 2 second\n", "") + _TWO + _END,
                             "connp-t full", differences=unsteady)
    assert status == 1
    says(lines, "not ok 2 - connp-t full: net/one: second")


def test_a_known_difference_of_another_organisation(folder: Path) -> None:
    status, lines = compared(folder, _WANTED + _ONE.format("not ", 1) + _TWO + _END)
    assert status == 1
    says(lines, "not ok 2 - connp-l full: net/one: second", "# fail here, pass on stock",
         "not ok 3 - connp-l full: net/one")


def test_a_known_difference_that_is_none_any_more(folder: Path) -> None:
    status, lines = compared(folder, _AS_STOCK, "connp-t full")
    assert status == 1
    says(lines, "not ok 2 - connp-t full: net/one: second", "# pass here, pass on stock, fail by differences",
         "not ok 3 - connp-t full: net/one")
    # Nor is it another verdict than the one on the list.
    status, lines = compared(folder, _AS_STOCK.replace("ok 2 second\n", ""), "connp-t full")
    assert status == 1
    says(lines, "not ok 2 - connp-t full: net/one: second", "# no result here, pass on stock, fail by differences",
         "not ok 3 - connp-t full: net/one")


def test_a_test_that_did_not_run(folder: Path) -> None:
    status, lines = compared(folder, _WANTED + _ONE.format("", 0) + _END)
    assert status == 1
    says(lines, "not ok 4 - connp-l full: net/two", "# no result (did not run) here, pass on stock")
    # It is no known difference either, and does not hide behind one of its results.
    status, lines = compared(folder, _WANTED + _TWO + _END, "connp-t full")
    assert status == 1
    says(lines, "not ok 1 - connp-t full: net/one: first", "not ok 2 - connp-t full: net/one: second",
         "not ok 3 - connp-t full: net/one", "# no result (did not run) here, pass on stock, fail by differences")


def test_a_test_that_was_not_asked_for(folder: Path) -> None:
    status, lines = compared(folder, "rig: wanted net/one\n" + _ONE.format("", 0) + _END)
    assert status == 0
    says(lines, "# not asked for: net/two", "1..4")


def test_a_guest_that_failed(folder: Path) -> None:
    log = _WANTED + _ONE.format("", 0) + _TWO.partition("\n\n")[0]
    status, lines = compared(folder, log + "\nrig: guest 99\n")
    assert status == 1
    says(lines, "not ok 4 - connp-l full: net/two", "# no result (did not end) here, pass on stock",
         "not ok 5 - connp-l full: the guests end well")
    # The next boot's tests are their own.
    status, lines = compared(folder, _WANTED + _ONE.format("", 0) + "\nrig: guest 99\n" + _TWO + _END)
    assert status == 1
    says(lines, "not ok 5 - connp-l full: the guests end well")


def test_differences_have_to_be_justified(folder: Path) -> None:
    for differences, reason in (("connp-t fail net/one\n", "no comment above says why"),
                                ("# Why.\n\nconnp-t fail net/one\n", "no comment above says why"),
                                ("# Why.\n" + 2 * "connp-t fail net/one\n", "listed twice"),
                                ("# Why.\nconnp-t fail net/three\n", "does not pass on stock"),
                                ("# Why.\nconnp-t fail net/two: third\n", "does not pass on stock"),
                                ("# Why.\nconnp-x fail net/one\n", "expected ORGANISATION"),
                                ("# Why.\nconnp-t pass net/one\n", "expected ORGANISATION")):
        status, lines = compared(folder, _AS_STOCK, differences=differences)
        assert status == 1 and reason in lines[0], (differences, lines)


def test_names_that_differ_from_run_to_run(folder: Path) -> None:
    said = ("ok 1 InDestUnreachs delivered {0}", "ok 2 sk[0] = {0}, connection was reset",
            "ok 3 counter: {0} => {0}{0}", "ok 4 Server failed with -{0}: because of {0}",
            "ok 5 Trace events matched expectations: {0} a[{0}]",
            "PASS: reached ns1-abcde{0}", "ok 6 worst case: min={0} max={0}", "ok 7 chk last # time={0}ms")
    for number in "12":
        cases = "\n".join(said).format(number)
        (folder / number).write_text(f"rig: begin net/one\n{cases}\n\nrig: end 0 1\n{_END}")
    (folder / "verdicts").write_text("# Made up.\n")
    status, lines = ran("--list", folder / "verdicts", folder / "1", folder / "2")
    assert status == 0 and lines == [f"{len(said) + 1} pass, 0 fail, 0 skip, 0 unsteady"], lines


def test_a_list_of_some_of_the_tests(folder: Path) -> None:
    (folder / "verdicts").write_text(_VERDICTS)
    (folder / "log").write_text("rig: wanted net/one\nrig: begin net/zero\n\nrig: end 0 1\n"
                                + _ONE.format("not ", 1) + _END)
    status, lines = ran("--list", folder / "verdicts", folder / "log")
    assert status == 0 and lines == ["3 pass, 3 fail, 0 skip, 0 unsteady"], lines
    written = (folder / "verdicts").read_text()
    assert written == """# Made up.

pass net/one: first
fail net/one: second
fail net/one # exit status 1
fail net/two: third # for want of it
pass net/two
pass net/zero
""", written


def test_the_list_says_what_is_unsteady(folder: Path) -> None:
    (folder / "verdicts").write_text(_VERDICTS)
    (folder / "1").write_text(_AS_STOCK.replace("ok 2 second\n", ""))
    (folder / "2").write_text(_AS_STOCK.replace("ok 1 first", "not ok 1 first"))
    status, _ = ran("--list", folder / "verdicts", folder / "1", folder / "2")
    assert status == 0
    # Reasons are kept, and what is of one test is together.
    assert (folder / "verdicts").read_text() == """# Made up.

unsteady net/one: first # pass, fail
pass net/one
unsteady net/one: second # no result, pass
fail net/two: third # for want of it
pass net/two
"""


def test_no_list_is_made_of_a_guest_that_failed(folder: Path) -> None:
    (folder / "verdicts").write_text(_VERDICTS)
    (folder / "1").write_text(_AS_STOCK + "\nrig: guest 99\n")
    status, lines = ran("--list", folder / "verdicts", folder / "1")
    assert status == 1 and "a guest did not end well" in lines[0], lines
    assert (folder / "verdicts").read_text() == _VERDICTS


if __name__ == "__main__":
    sys.exit(tap.run(globals()))
