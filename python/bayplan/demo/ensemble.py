"""The host side: the factory tree of one method, its kernel, and its launches."""

from __future__ import annotations

import csv
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from typing import Any, NamedTuple

import numpy as np
from numba import config, cuda
from numpy.typing import NDArray

from bayplan import BoundLayout, BudgetExceeded, BufferRegistry
from bayplan.kernel import kernel

from .dirk import DirkStep
from .linear import LINEAR_SOLVERS
from .loop import DONE, EnsembleLoop
from .problems import Problem
from .rosenbrock import RosenbrockStep

__all__ = ["METHODS", "Ensemble", "Results", "Sweep", "build_kernel", "build_tree", "read_sweep"]

METHODS: dict[str, type[RosenbrockStep] | type[DirkStep]] = {
    "rosenbrock": RosenbrockStep,
    "dirk": DirkStep,
}

ON_DEVICE = not config.ENABLE_CUDASIM
DYNAMIC_SHARED_BYTES = 48 * 1024
"""What every CUDA device grants a block without being asked."""

LANES = 128 if ON_DEVICE else 8
"""Most runs in one block; the simulator makes each of them a thread."""


class Sweep(NamedTuple):
    """Initial values and rate constants; the last axis is the run."""

    initial: NDArray[np.float64]
    constants: NDArray[np.float64]

    @property
    def n_runs(self) -> int:
        """How many runs there are."""
        n_runs: int = self.initial.shape[1]
        return n_runs

    def repeated(self, n_runs: int) -> Sweep:
        """Give `n_runs` runs, beginning again whenever the end is reached."""
        rows = np.arange(n_runs) % self.n_runs
        return Sweep(self.initial[:, rows], self.constants[:, rows])


class Results(NamedTuple):
    """What became of each run; the last axis is the run."""

    final: NDArray[Any]
    n_accepted: NDArray[np.int64]
    n_rejected: NDArray[np.int64]
    outcome: NDArray[np.int64]
    seconds: float

    @property
    def n_unfinished(self) -> int:
        """Runs that gave up before the end."""
        return int(np.count_nonzero(self.outcome != DONE))


def read_sweep(problem: Problem) -> Sweep:
    """Read a problem's sweep: ``y2`` is an initial value, ``k3`` a rate constant, from 1."""
    text = resources.files(__package__).joinpath("sweeps", problem.sweep).read_text("utf-8")
    table = list(csv.DictReader(text.splitlines()))
    initial = np.tile(np.array(problem.initial)[:, None], len(table))
    constants = np.tile(np.array(problem.constants)[:, None], len(table))
    for run, row in enumerate(table):
        for column, value in row.items():
            target = {"y": initial, "k": constants}[column[0]]
            target[int(column[1:]) - 1, run] = float(value)
    return Sweep(initial, constants)


def build_tree(
    problem: Problem,
    *,
    method: str,
    linear: str,
    precision: str,
    registry: BufferRegistry | None = None,
) -> EnsembleLoop:
    """Put the factories of one integrator together; nothing is compiled yet."""
    kw: dict[str, Any] = {"precision": precision, "registry": registry}
    solver = LINEAR_SOLVERS[linear](problem.n_species, **kw)
    step = METHODS[method](problem, solver, **kw)
    return EnsembleLoop(problem, step, rtol=problem.accuracy[precision].rtol, **kw)


def build_kernel(loop_factory: EnsembleLoop) -> tuple[Any, BoundLayout]:
    """Compile the kernel, one run per lane, and return it with its bound layout."""
    B = loop_factory.buffers.bind()
    loop = loop_factory.device_function

    @kernel
    def integrate(first, end, initial, constants, atol, final, counts):
        run = first + cuda.grid(1)
        mem = B.root(cuda.threadIdx.x)
        # Spare lanes repeat the last run and store nothing: all reach the same barriers.
        loop(mem, min(run, end - 1), run < end, initial, constants, atol, final, counts)

    return integrate, B


@dataclass
class Ensemble:
    """One problem, one integrator; may be run again after its buffers have moved."""

    problem: Problem
    method: str
    linear: str
    precision: str
    registry: BufferRegistry | None = None

    def __post_init__(self) -> None:
        self.loop = build_tree(
            self.problem,
            method=self.method,
            linear=self.linear,
            precision=self.precision,
            registry=self.registry,
        )

    @property
    def title(self) -> str:
        """Names the parts."""
        return f"{self.problem.name} {self.precision} {self.method}/{self.linear}"

    def run(self, sweep: Sweep, on_progress: Callable[[int], None] | None = None) -> Results:
        """Integrate all runs of `sweep`; `on_progress` is told of finished runs."""
        real = self.loop.precision
        integrate, bound = build_kernel(self.loop)
        n_runs = sweep.n_runs
        lanes = block_size(bound, n_runs)
        atol = np.full(self.problem.n_species, self.problem.accuracy[self.precision].atol, real)
        inputs = [cuda.to_device(np.ascontiguousarray(array, real)) for array in sweep]
        atol = cuda.to_device(atol)
        final = cuda.to_device(np.full((self.problem.n_species, n_runs), np.nan, real))
        counts = cuda.to_device(np.full((3, n_runs), -1, np.int64))

        def launch(first: int, end: int) -> None:
            n_blocks = -(-(end - first) // lanes)
            configured = integrate[n_blocks, lanes, 0, bound.dynamic_shared_bytes(lanes)]
            configured(first, end, *inputs, atol, final, counts)
            cuda.synchronize()

        if ON_DEVICE:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Numba thinks little of one block
                launch(0, 1)  # compiles; what is timed below is the solution alone
        started = time.perf_counter()
        batch = lanes * (1024 if ON_DEVICE else 1)
        for first in range(0, n_runs, batch):
            end = min(first + batch, n_runs)
            launch(first, end)
            if on_progress is not None:
                on_progress(end - first)
        seconds = time.perf_counter() - started
        accepted, rejected, outcome = counts.copy_to_host()
        return Results(final.copy_to_host(), accepted, rejected, outcome, seconds)


def block_size(bound: BoundLayout, n_runs: int) -> int:
    """Choose the runs per block: as many as the shared bytes that every device grants hold.

    Raises
    ------
    BudgetExceeded
        If not even one run fits.
    """
    lanes = min(LANES, n_runs)
    while lanes > 1 and bound.dynamic_shared_bytes(lanes) > DYNAMIC_SHARED_BYTES:
        lanes //= 2
    needed = bound.dynamic_shared_bytes(lanes)
    if needed > DYNAMIC_SHARED_BYTES:
        raise BudgetExceeded(
            f"one run needs {needed} bytes of shared memory, a block has {DYNAMIC_SHARED_BYTES}"
        )
    return lanes
