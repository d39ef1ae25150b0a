"""The demo's DIRK solver through views beside the same solver with offsets by hand.

Both are launched in turn on the same runs, stride and block size; the best of several rounds
counts, and the ratio is what is reported. `make bench-gpu` runs it on a device; in Numba's
simulator (NUMBA_ENABLE_CUDASIM=1, few `--runs`) it checks itself, and its times mean nothing.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numba import config, cuda

from bayplan.demo import by_hand
from bayplan.demo.ensemble import block_size, build_kernel, build_tree, read_sweep
from bayplan.demo.problems import PROBLEMS, Problem

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


class Row(NamedTuple):
    """One solver in one precision; times in seconds."""

    title: str
    ours: float
    by_hand: float
    difference: float
    limit: float

    @property
    def agrees(self) -> bool:
        """Whether the two solvers gave the same results within the stated limit."""
        return self.difference <= self.limit


def best_of(rounds: int, launches: list[Callable[[], None]]) -> list[float]:
    """Best time of each launch, taken in turn so that a drift of the clock meets all."""
    best = [float("inf")] * len(launches)
    for _ in range(rounds + 1):  # the first round compiles
        for i, launch in enumerate(launches):
            cuda.synchronize()
            started = time.perf_counter()
            launch()
            cuda.synchronize()
            best[i] = min(best[i], time.perf_counter() - started)
    return best


def compare(problem: Problem, precision: str, n_runs: int, rounds: int) -> Row:
    """Time both solvers on `n_runs` runs and compare their results."""
    tree = build_tree(problem, method="dirk", linear="lu", precision=precision)
    integrate, bound = build_kernel(tree)
    real = tree.precision
    stride = bound.stride // np.dtype(real).itemsize
    old_way = by_hand.build_kernel(problem, real, stride)
    lanes = block_size(bound, n_runs)
    n_blocks = -(-n_runs // lanes)
    accuracy = problem.accuracy[precision]
    sweep = read_sweep(problem).repeated(n_runs)
    arrays = (*sweep, np.full(problem.n_species, accuracy.atol))
    inputs = [cuda.to_device(np.ascontiguousarray(array, real)) for array in arrays]
    finals = [cuda.to_device(np.zeros((problem.n_species, n_runs), real)) for _ in range(2)]
    counts = cuda.to_device(np.zeros((3, n_runs), np.int64))
    shared_bytes = bound.dynamic_shared_bytes(lanes)

    def ours() -> None:
        integrate[n_blocks, lanes, 0, shared_bytes](0, n_runs, *inputs, finals[0], counts)

    def theirs() -> None:
        old_way[n_blocks, lanes, 0, shared_bytes](n_runs, *inputs, finals[1], counts)

    times = best_of(rounds, [ours, theirs])
    return Row(
        f"{problem.name} {precision}",
        *times,
        difference(problem, *(final.copy_to_host() for final in finals)),
        accuracy.must_meet,
    )


def difference(problem: Problem, ours: Any, theirs: Any) -> float:
    """Largest difference in the norm of the demo's checks."""
    ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
    return float(np.max(np.abs(ours - theirs) / (problem.floor + np.abs(theirs))))


def device_name() -> str:
    """Name the device, or say that there is none."""
    if config.ENABLE_CUDASIM:
        return "Numba's simulator (times mean nothing)"
    name = cuda.get_current_device().name
    return name.decode() if isinstance(name, bytes) else str(name)


def report(rows: list[Row], n_runs: int) -> str:
    """Give the table as Markdown."""
    lines = [
        f"# Views beside offsets by hand on {device_name()}",
        "",
        f"The demo's DIRK solver with LU, {n_runs:,} runs; best round of each.",
        "",
        "| solver | views, ms | by hand, ms | ratio | difference | limit | |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for row in rows:
        lines.append(
            f"| {row.title} | {row.ours * 1e3:.3g} | {row.by_hand * 1e3:.3g} "
            f"| {row.ours / row.by_hand:.3f} | {row.difference:.1e} | {row.limit:.0e} "
            f"| {'agrees' if row.agrees else 'DIFFERS'} |"
        )
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Print the table, keep it where it was taken on a device; 1 if results differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--problem", choices=list(PROBLEMS), action="append")
    options = parser.parse_args(arguments)
    rows = [
        compare(PROBLEMS[name], precision, options.runs, options.rounds)
        for name in options.problem or PROBLEMS
        for precision in PROBLEMS[name].accuracy
    ]
    text = report(rows, options.runs)
    print(text)
    if not config.ENABLE_CUDASIM:
        RESULTS.mkdir(exist_ok=True)
        slug = re.sub(r"[^a-z0-9]+", "-", device_name().lower()).strip("-")
        (RESULTS / f"views-{slug}.md").write_text(text)
    return 0 if all(row.agrees for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
