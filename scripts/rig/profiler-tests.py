#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What scripts/profile.py makes of the profiler's counts; TAP on stdout.

The files of functions are those of a small program with the layout of a
kernel's tree, compiled here with debug information like the kernel's.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rig import RigError, categories, profiler  # noqa: E402

_FILES = {
    "net/ipv4/output.c": '#include "../../kernel/sched/inline.h"\nint send(int n) { return twice(n) + 1; }\n',
    "kernel/sched/core.c": "int schedule(int n) { return n * 3; }\n",
    "kernel/sched/inline.h": "static inline __attribute__((always_inline)) int twice(int n) { return n * 2; }\n",
    "kernel/locking/lock.S": ".text\n.globl lock\n.type lock, @function\nlock: nop\nret\n.size lock, .-lock\n",
    "init/main.c": "int send(int); int schedule(int); int lock(void);\n"
                   "int main(int n) { return send(n) + schedule(n) + lock(); }\n",
}
_CATEGORIES = {
    "net/ipv4/tcp_output.c": "network stack",
    "net/9p/client.c": "other",
    "net/core/skbuff.c": "network stack",
    "kernel/sched/core.c": "scheduler",
    "kernel/kthread.c": "scheduler",
    "kernel/locking/qspinlock.c": "locking",
    "kernel/futex/core.c": "locking",
    "arch/x86/lib/copy_user_64.S": "copy and checksum",
    "arch/x86/lib/csum-partial_64.c": "copy and checksum",
    "lib/checksum.c": "copy and checksum",
    "drivers/net/virtio_net.c": "driver",
    "mm/slub.c": "memory management",
    "arch/x86/mm/fault.c": "memory management",
    "kernel/softirq.c": "interrupt",
    "arch/x86/kernel/apic/apic.c": "interrupt",
    "arch/x86/kernel/irq_64.c": "interrupt",
    "kernel/sys.c": "other",
    "": "other",
}


class Tap:
    def __init__(self) -> None:
        self.count = 0
        self.failed = False

    def equal(self, name: str, got: object, expected: object) -> None:
        self.count += 1
        if got == expected:
            print(f"ok {self.count} - {name}")
            return
        self.failed = True
        print(f"not ok {self.count} - {name}\n# expected {expected!r}\n# got {got!r}")

    def refused(self, name: str, what: str, path: Path) -> None:
        try:
            profiler.read(path)
            said = "nothing"
        except RigError as error:
            said = str(error)
        self.equal(name, what in said or said, True)


def build(tree: Path, objects: Path, *flags: str) -> Path:
    """A program of _FILES, and an object directory beside them, as kbuild does."""
    for name, text in _FILES.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    objects.mkdir(parents=True, exist_ok=True)
    sources = [str(tree / name) for name in _FILES if not name.endswith(".h")]
    program = objects / "vmlinux"
    subprocess.run(["cc", "-O2", "-fno-inline-functions", "-no-pie", "-Wl,-z,noexecstack", *flags,
                    "-o", str(program), *sources], check=True, cwd=objects)
    return program


def addresses(program: Path) -> dict[str, int]:
    listing = subprocess.run(["nm", str(program)], check=True, capture_output=True, text=True).stdout
    words = [line.split() for line in listing.splitlines()]
    return {word[2]: int(word[0], 16) for word in words if len(word) == 3}


def test_sources(tap: Tap, work: Path) -> None:
    tree = work / "linux"
    program = build(tree, work / "objects", "-g", "-gdwarf-5")
    sources = categories.Sources(program, tree)
    symbols = addresses(program)
    for name, file in (("send", "net/ipv4/output.c"), ("schedule", "kernel/sched/core.c"),
                       ("lock", "kernel/locking/lock.S"), ("main", "init/main.c")):
        tap.equal(f"{name} is of {file}", sources.file(symbols[name]), file)
    tap.equal("what is inlined is the function's it is inlined into", sources.category(symbols["send"] + 1),
              "network stack")
    tap.equal("code without debug information is of no file", sources.file(symbols["_start"]), "")
    tap.equal("address 0 is user space", sources.category(0), categories.USER)


def test_same_code(tap: Tap, work: Path) -> None:
    """The debug information has to be that of the code that was measured."""
    def refusal() -> str:
        try:
            categories.for_kernel(work / "org")
            return ""
        except RigError as error:
            return str(error)

    (work / "org").mkdir()
    tap.equal("no kernel with debug information", "VARIANT=profile" in refusal(), True)
    build(work / "linux", work / "org")
    build(work / "linux", work / "org-profile", "-g")
    for name in ("org", "org-profile"):
        (work / name / "System.map").write_text("a map\n")
    tap.equal("debug information does not make it other code", refusal(), "")
    build(work / "linux", work / "org", "-DOTHER", "-falign-functions=64")
    tap.equal("other code", "is not that of" in refusal(), True)


def write_window(path: Path, rows: list[tuple[int, int, str, int, int]]) -> None:
    """ROWS: vCPU, start, function, instructions and coherence misses."""
    names = [*profiler.COLUMNS, "lock_insns", "lock_l2_misses"]
    lines = ["# tcgprof 1", "# vcpus 2", "# cache xeon", "\t".join(["vcpu", "start", "symbol", *names])]
    for vcpu, start, name, insns, misses in rows:
        counts = {**dict.fromkeys(names, 0), "insns": insns, "l2_coherence": misses, "lock_insns": insns // 10}
        lines.append("\t".join([str(vcpu), f"{start:x}", name, *(str(counts[column]) for column in names)]))
    path.write_text("\n".join(lines) + "\n")


def test_windows(tap: Tap, work: Path) -> None:
    program = build(work / "linux", work / "windows", "-g")
    sources = categories.Sources(program, work / "linux")
    at = addresses(program)
    path = work / "window.1"
    send, schedule, lock = ((at[name], name) for name in ("send", "schedule", "lock"))
    write_window(path, [(0, 0, "[user]", 7, 0), (0, *send, 100, 3), (0, *schedule, 20, 1),
                        (1, *send, 50, 4), (1, *schedule, 30, 0), (1, *lock, 5, 9)])
    window = profiler.read(path)
    sums = profiler.by_category(window, sources)
    tap.equal("vCPUs and caches are read", (window.vcpus, window.cache), (2, "xeon"))
    tap.equal("instructions of a category are the sum over functions and vCPUs",
              {name: counts["insns"] for name, counts in sums.items() if counts["insns"]},
              {"network stack": 150, "scheduler": 50, "locking": 5, "user space": 7})
    tap.equal("so are misses",
              {name: profiler.l2_misses(counts) for name, counts in sums.items() if counts["l2_coherence"]},
              {"network stack": 7, "scheduler": 1, "locking": 9})
    tap.equal("the scheduler's locks are those that it called",
              profiler.scheduler_locks(window, sources)["lock_insns"], 5)
    tap.equal("functions are in the order of their misses",
              [(found["name"], found["category"], found["insns"]) for found in profiler.functions(window, sources)],
              [("lock", "locking", 5), ("send", "network stack", 150), ("schedule", "scheduler", 50),
               ("[user]", "user space", 7)])
    path.write_text("# tcgprof 2\n# vcpus 2\n# cache xeon\nvcpu\n")
    tap.refused("a window of another version", "another version", path)
    tap.refused("a window that is not there", "No such file", work / "window.9")


def main() -> int:
    tap = Tap()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name).resolve()
        for file, category in _CATEGORIES.items():
            tap.equal(f"{file or 'no file'}: {category}", categories.of_file(file), category)
        test_sources(tap, work)
        test_same_code(tap, work)
        test_windows(tap, work)
    print(f"1..{tap.count}")
    return int(tap.failed)


if __name__ == "__main__":
    sys.exit(main())
