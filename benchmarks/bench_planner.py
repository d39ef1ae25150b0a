"""Compare the planner with OmniMalloc, in one run: time, height, and what is proved.

``python benchmarks/bench_planner.py [--quick]`` prints the report and writes it to
``benchmarks/results/planner-<machine>.md``. Public instances are read from
``../shared/data/packing`` beside the repository; without that folder their part is left out.
"""

from __future__ import annotations

import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from planning_problems import Problem, registry_shaped, tilings, trace
from report import RESULTS, ROOT, machine, number, slug, table

import bayplan

try:
    import omnimalloc
except ImportError:
    omnimalloc = None

PACKING = ROOT.parent / "shared" / "data" / "packing"
CAPACITY = 1048576
HEAD = (
    "", "buffers", "load", "ours", "ms", "says", "theirs", "ms",
    "height ratio", "time ratio", "target", "",
)  # fmt: skip


class Found(NamedTuple):
    """One planner's answer."""

    height: int
    seconds: float
    says: str


def timed(call: Callable[[], Any], repeat: int = 3) -> tuple[Any, float]:
    """The answer and the least of a few times; one is enough where it takes a second."""
    best = float("inf")
    for _ in range(repeat):
        begin = time.perf_counter()
        answer = call()
        best = min(best, time.perf_counter() - begin)
        if best > 1:
            break
    return answer, best


def ours(problem: Problem, repeat: int = 3, **wishes: Any) -> Found:
    """What bayplan answers."""
    plan, seconds = timed(
        lambda: bayplan.plan(
            problem.sizes, problem.first, problem.last, align=problem.align, **wishes
        ),
        repeat,
    )
    return Found(plan.height, seconds, plan.status)


def theirs(problem: Problem, allocator: str) -> Found | None:
    """What OmniMalloc answers, on one thread, its objects made before the clock starts."""
    if omnimalloc is None:
        return None
    omnimalloc.set_max_threads(1)
    rows = zip(problem.sizes.tolist(), problem.first.tolist(), problem.last.tolist(), strict=True)
    buffers = [omnimalloc.Allocation(i, *row) for i, row in enumerate(rows)]
    placed, seconds = timed(lambda: omnimalloc.allocate(buffers, allocator), 1)
    return Found(max(buffer.height for buffer in placed), seconds, "")


def row(
    problem: Problem, found: Found, peer: Found | None, target: str, met: bool
) -> tuple[str, ...]:
    """A line of the table."""
    load = bayplan.plan(problem.sizes, problem.first, problem.last, mode="fast").load
    return (
        problem.name, f"{len(problem.sizes):,}", f"{load:,}",
        f"{found.height:,}", number(found.seconds * 1e3), found.says,
        f"{peer.height:,}" if peer else "-", number(peer.seconds * 1e3) if peer else "-",
        f"{peer.height / found.height:.3f}" if peer else "-",
        number(peer.seconds / found.seconds) if peer else "-",
        target, "met" if met else "MISSED",
    )  # fmt: skip


# ---- parts -----------------------------------------------------------------


def public_instances() -> Iterator[tuple[str, ...]]:
    """MiniMalloc's files: the decision at 1 MiB, and the optimum from scratch."""
    for path in sorted(PACKING.glob("*.csv")):
        problem = Problem(path.name.partition(".")[0], *bayplan.read_csv(path))
        fits = ours(problem, mode="optimal", capacity=CAPACITY)
        named = problem._replace(name=f"{problem.name}, does it fit 1 MiB?")
        is_met = fits.says == "feasible" and fits.seconds <= 2
        yield row(named, fits, None, "fits, 2 s", is_met)
        best = ours(problem, mode="optimal")
        peer = theirs(problem, "supermalloc")
        is_met = best.says == "optimal" and best.seconds <= 2
        yield row(problem, best, peer, "proved, 2 s", is_met)


def known_optima() -> Iterator[tuple[str, ...]]:
    """Squares cut into rectangles."""
    for problem in tilings():
        best = ours(problem, mode="optimal")
        peer = theirs(problem, "supermalloc")
        is_met = (best.says, best.height) == ("optimal", problem.optimum) and best.seconds <= 1
        yield row(problem, best, peer, "proved, 1 s", is_met)


def long_traces(quick: bool) -> Iterator[tuple[str, ...]]:
    """Mode fast beside the peer's portfolio of greedy allocators."""
    limits = {10_000: 0.01, 100_000: 0.1} | ({} if quick else {1_000_000: 1.5})
    for n, seconds in limits.items():
        problem = trace(n, n)
        found = ours(problem, mode="fast")
        peer = theirs(problem, "omni") if n <= 100_000 else None
        load = bayplan.plan(problem.sizes, problem.first, problem.last, mode="fast").load
        is_met = found.seconds <= seconds and found.height <= 1.12 * load
        yield row(problem, found, peer, f"1.12 x load, {seconds:g} s", is_met)


def registries(n_cases: int) -> list[str]:
    """Many small problems, with alignments, at the budget of mode auto."""
    times, gaps, n_proved = [], [], 0
    for seed in range(n_cases):
        problem = registry_shaped(seed)
        begin = time.perf_counter()
        plan = bayplan.plan(problem.sizes, problem.first, problem.last, align=problem.align)
        times.append(time.perf_counter() - begin)
        n_proved += plan.status == "optimal"
        gaps.append(plan.height / plan.lower_bound - 1)
    median, worst = statistics.median(times) * 1e3, max(times) * 1e3
    rows = [
        ("optimum proved", f"{n_proved / n_cases:.2%}", "99 %", n_proved >= 0.99 * n_cases),
        ("worst gap to the proven bound", f"{max(gaps):.3%}", "0.2 %", max(gaps) <= 0.002),
        ("median ms", number(median), "0.3", median <= 0.3),
        ("worst ms", number(worst), "20", worst <= 20),
    ]
    head = (f"{n_cases} registry-shaped problems", "is", "target", "")
    return table(head, [(*cells, "met" if is_met else "MISSED") for *cells, is_met in rows])


def small_beside_peer(n_cases: int) -> list[str]:
    """The same without alignments, which the peer does not know."""
    if omnimalloc is None:
        return []
    mine, others, heights = 0.0, 0.0, []
    for seed in range(n_cases):
        problem = registry_shaped(seed)._replace(align=None)
        found, peer = ours(problem, 1), theirs(problem, "omni")
        assert peer is not None
        mine, others = mine + found.seconds, others + peer.seconds
        heights.append(peer.height / found.height)
    mean = statistics.fmean(heights)
    return [
        f"The first {n_cases} without alignments, beside OmniMalloc's default: its height is "
        f"{mean:.4f} x ours in the mean, {max(heights):.4f} x at most (never below "
        f"{min(heights):.4f} x); its time {number(others / mine)} x ours."
    ]


# Reading the arrays needs no more than their own bytes, so the peak is the plan's. (Not
# ru_maxrss: a process takes that over from its parent.)
_MEMORY = """
import re, sys
import numpy as np
import bayplan
def peak():
    return int(re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read()).group(1))
bayplan.plan([1], [0], [1], mode="fast")
sizes, first, last = np.load(sys.argv[1])
before = peak()
plan = bayplan.plan(sizes, first, last, mode="fast")
print(peak() - before)
"""


def memory(n: int) -> str:
    """Growth of the peak resident size over a plan, copies of the arguments included."""
    if not Path("/proc/self/status").exists():
        return "Memory of mode fast: not measured, there is no /proc/self/status."
    problem = trace(n, n)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "trace.npy")
        np.save(path, np.array([problem.sizes, problem.first, problem.last]))
        command = [sys.executable, "-c", _MEMORY, path]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    per_buffer = int(said) * 1024 / n
    verdict = "met" if 0 < per_buffer <= 200 else "MISSED"
    return (
        f"Memory of mode fast at {n:,}: {per_buffer:.0f} bytes per buffer, copies of the "
        f"arguments included (target 200, {verdict})."
    )


# ---- the report ------------------------------------------------------------


def report(quick: bool) -> str:
    """Everything, as Markdown."""
    peer = (
        f"OmniMalloc {version('omnimalloc')}" if omnimalloc else "no peer: pip install omnimalloc"
    )
    lines = [
        f"# Planner on {machine()}",
        "",
        f"Python {platform.python_version()}, {platform.system()} {platform.machine()}. Ours: "
        f"bayplan. Theirs: {peer}, one thread: supermalloc (its exact search, at its default "
        "of 3 s) and omni (its default). Ratios: theirs / ours.",
        "",
    ]
    cells = [*known_optima(), *long_traces(quick)]
    if PACKING.is_dir():
        cells = [*public_instances(), *cells]
    else:
        lines += [f"No public instances: there is no folder {PACKING}.", ""]
    lines += table(HEAD, cells)
    lines += ["", *registries(200 if quick else 2000)]
    lines += ["", *small_beside_peer(100 if quick else 500)]
    lines += ["", memory(100_000 if quick else 1_000_000)]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print the report and keep it."""
    text = report("--quick" in sys.argv[1:])
    print(text)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"planner-{slug()}.md"
    path.write_text(text)
    print(f"written to {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
