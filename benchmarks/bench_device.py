"""Measure budgets and slots beside plain Python and cachetools, in one run.

``python benchmarks/bench_device.py [--quick]`` prints the report and writes it to
``benchmarks/results/device-<machine>.md``. Everything runs on the simulator: what is measured is
what bayplan adds to the device's own work.
"""

from __future__ import annotations

import heapq
import platform
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import NamedTuple

import numpy as np
from report import HERE, RESULTS, ROOT, machine, number, slug, table

import bayplan

try:
    import cachetools
except ImportError:
    cachetools = None

HEAD = ("microseconds per call (best round)", "ours", "peer", "peer / ours", "target", "")
SLOT = 4096  # bytes of a slot


class Row(NamedTuple):
    """One line; times in seconds per call."""

    what: str
    ours: float
    peer: float | None
    target: float | None

    def cells(self) -> tuple[str, ...]:
        """The line's texts."""
        peer, target = self.peer, self.target
        return (
            self.what,
            number(self.ours * 1e6),
            "-" if peer is None else number(peer * 1e6),
            "-" if peer is None else number(peer / self.ours),
            "-" if target is None else number(target * 1e6),
            "" if target is None else "met" if self.ours <= target else "MISSED",
        )


def best(work: Callable[[], None], n_calls: int, rounds: int = 7) -> float:
    """Seconds per call of the fastest round of `work`, which makes `n_calls` of them."""
    least = float("inf")
    for _ in range(rounds):
        begin = time.perf_counter()
        work()
        least = min(least, time.perf_counter() - begin)
    return least / n_calls


# ---- the ledger ------------------------------------------------------------


class LockedCounter:
    """What a budget is where nobody wrote one: an integer under a lock."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self.lock = threading.Lock()

    def charge(self, n: int) -> int:
        """Count n bytes, or refuse."""
        with self.lock:
            if n > self.limit - self.used:
                raise MemoryError(n)
            self.used += n
            return n

    def refund(self, n: int) -> int:
        """Count them no more."""
        with self.lock:
            self.used -= n
            return n


def pairs(budget: bayplan.Budget | LockedCounter, n: int) -> float:
    """Seconds per charge and refund."""
    charge, refund = budget.charge, budget.refund

    def work() -> None:
        for _ in range(n):
            charge(4096)
            refund(4096)

    return best(work, n)


def ledger(n: int) -> Iterator[Row]:
    """Charge and refund, at the root and four budgets down."""
    peer = pairs(LockedCounter(1 << 33), n)
    root = bayplan.Budget(1 << 33)
    yield Row("charge + refund", pairs(root, n), peer, 0.3e-6)
    leaf = root
    for _ in range(3):
        leaf = bayplan.Budget(1 << 33, parent=leaf)
    yield Row("charge + refund, three parents above", pairs(leaf, n), peer, None)


# ---- slots -----------------------------------------------------------------


def manager_of(n_slots: int, n_room: int | None = None, keep: str | None = None) -> tuple:
    """A manager with `n_slots` slots, room for `n_room`, and their names."""
    budget = bayplan.Budget((n_room or n_slots) * SLOT)
    slots = bayplan.SlotManager(budget, backend=bayplan.SimBackend())
    names = [f"slot{i}" for i in range(n_slots)]
    for name in names:
        slots.allocate(name, SLOT, keep=keep)
    return slots, names


def cache_of(n_slots: int) -> cachetools.LRUCache | None:
    """The peer, full: arrays by name, the least recently used goes."""
    if cachetools is None:
        return None
    cache = cachetools.LRUCache(n_slots * SLOT, getsizeof=lambda array: array.nbytes)
    for i in range(n_slots):
        cache[f"slot{i}"] = np.empty(SLOT, np.uint8)
    return cache


def touches(n: int) -> Row:
    """A new age for one of 1000."""
    slots, names = manager_of(1000)
    cache = cache_of(1000)
    order = random.Random(0).choices(names, k=n)
    touch = slots.touch

    def ours() -> None:
        for name in order:
            touch(name)

    def theirs() -> None:
        for name in order:
            cache[name]

    peer = None if cache is None else best(theirs, n)
    return Row("touch one of 1,000 slots", best(ours, n), peer, 0.1e-6)


def admissions(n: int) -> Row:
    """A new slot where each has to evict the oldest of 1000."""
    slots, _ = manager_of(1000)
    cache = cache_of(1000)
    count = iter(range(10**9))

    def ours() -> None:
        for _ in range(n):
            slots.allocate(f"new{next(count)}", SLOT, keep=None)
        for name in [name for name in slots if not slots[name].resident]:
            slots.deallocate(name)

    def theirs() -> None:
        for _ in range(n):
            cache[f"new{next(count)}"] = np.empty(SLOT, np.uint8)

    peer = None if cache is None else best(theirs, n)
    return Row("allocate, evict the oldest of 1,000, forget it", best(ours, n), peer, None)


def spills(n: int) -> Row:
    """Bring one back, copy another out: two copies of 4 KiB."""
    slots, names = manager_of(1000, n_room=500, keep="host")
    order = [names[i % 1000] for i in range(n)]

    def ours() -> None:
        for name in order:
            with slots.use(name):
                pass

    return Row("use, restore, spill the oldest of 500 (2 x 4 KiB)", best(ours, n), None, None)


def allocations(n: int) -> Iterator[Row]:
    """Allocate and deallocate with room to spare."""
    slots, _ = manager_of(1, n_room=n + 1)
    names = [f"new{i}" for i in range(n)]
    fill, clear = [], []
    for _ in range(7):
        begin = time.perf_counter()
        for name in names:
            slots.allocate(name, SLOT)
        middle = time.perf_counter()
        for name in names:
            slots.deallocate(name)
        fill.append(middle - begin)
        clear.append(time.perf_counter() - middle)
    cells: dict[str, np.ndarray] = {}

    def arrays() -> None:
        for name in names:
            cells[name] = np.empty(SLOT, np.uint8)

    yield Row("allocate", min(fill) / n, best(arrays, n), 1e-3)

    def drop() -> float:
        arrays()
        begin = time.perf_counter()
        for name in names:
            del cells[name]
        return time.perf_counter() - begin

    yield Row("deallocate", min(clear) / n, min(drop() for _ in range(7)) / n, 0.5e-3)


# ---- victims ---------------------------------------------------------------


def victims(n_slots: int) -> Iterator[Row]:
    """Who has to go, among very many; beside the smallest ages of a list."""
    slots, names = manager_of(n_slots)
    ages = list(range(n_slots))
    rng = random.Random(1)
    clock = n_slots

    def touch_some(n: int) -> None:
        nonlocal clock
        for i in rng.sample(range(n_slots), n):
            slots.touch(names[i])
            ages[i] = clock = clock + 1

    def plan_once(n: int) -> float:
        begin = time.perf_counter()
        planned = slots.plan(n * SLOT)
        seconds = time.perf_counter() - begin
        assert planned == [names[i] for _, i in smallest(n)]
        return seconds

    def smallest(n: int) -> list[tuple[int, int]]:
        return heapq.nsmallest(n, zip(ages, range(n_slots), strict=True))

    for n_touched in (0, n_slots // 100, n_slots):
        for n in (1, 100):
            ours, peer = [], []
            for _ in range(3):
                touch_some(n_touched)
                ours.append(plan_once(n))
                begin = time.perf_counter()
                smallest(n)
                peer.append(time.perf_counter() - begin)
            what = f"plan {n} of {n_slots:,} slots, {n_touched:,} touched since"
            yield Row(what, min(ours), min(peer), 1e-3)


# ---- the core --------------------------------------------------------------


def core_lines() -> list[str]:
    """What the C program says, or why it does not."""
    source, cmake = HERE / "core" / "bench_device.c", shutil.which("cmake")
    if cmake is None or not source.exists():
        return [f"No figures of the C core: {'cmake' if source.exists() else source.name} missing."]
    build = ROOT / "build" / "c" / "bench"
    options = ["-DBAYPLAN_BENCH=ON", "-DCMAKE_BUILD_TYPE=RelWithDebInfo"]
    quiet = {"check": True, "stdout": subprocess.DEVNULL}
    subprocess.run([cmake, "-S", ROOT, "-B", build, *options], **quiet)
    subprocess.run([cmake, "--build", build, "-j", "2", "--target", "bench_device"], **quiet)
    program = build / "benchmarks" / "core" / "bench_device"
    said = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    return ["The C core alone:", "", "```text", *said.splitlines(), "```"]


# ---- the report ------------------------------------------------------------


def report(quick: bool) -> str:
    """Everything, as Markdown."""
    scale = 10 if quick else 1
    rows = [
        *ledger(100_000 // scale),
        touches(100_000 // scale),
        *allocations(2000 // scale),
        admissions(2000 // scale),
        spills(2000 // scale),
        *victims(100_000 // scale),
    ]
    peer = f"cachetools {version('cachetools')}" if cachetools else "cachetools is not installed"
    lines = [
        f"# Device memory on {machine()}",
        "",
        f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, simulator. "
        "Peers: a Python class with a threading.Lock and an int (charge, refund); "
        f"LRUCache(maxsize, getsizeof) of {peer} (touch, admission); a dict of NumPy arrays "
        "(allocate, deallocate); heapq.nsmallest on a list of ages (plan). Slots have 4 KiB. "
        "Ours also allocates and frees memory of the simulated device, keeps the log, and may be "
        "called from any thread.",
        "",
        *table(HEAD, [row.cells() for row in rows]),
        "",
        *core_lines(),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print the report and keep it."""
    text = report("--quick" in sys.argv[1:])
    print(text)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"device-{slug()}.md"
    path.write_text(text)
    print(f"written to {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
