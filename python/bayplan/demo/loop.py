"""The time loop of one run: the root of the factory tree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numba import cuda

from bayplan import CUDAFactory
from bayplan.kernel import device

from .controller import StepController
from .dirk import DirkStep
from .problems import Problem
from .rosenbrock import RosenbrockStep

__all__ = ["DONE", "TOO_MANY_STEPS", "TOO_SMALL_STEP", "EnsembleLoop", "LoopSettings"]

DONE, TOO_MANY_STEPS, TOO_SMALL_STEP = range(3)
"""How a run ended."""


@dataclass(frozen=True)
class LoopSettings:
    """What is asked of the integration."""

    t_end: float
    rtol: float
    first_step: float = 1e-4
    max_steps: int = 5000
    """Steps tried, accepted or not, before a run gives up."""


class EnsembleLoop(CUDAFactory):
    """Integrates one run of the ensemble from time 0 to `LoopSettings.t_end`.

    Device function: ``loop(mem, run, is_real, initial, constants, atol, final, counts)``.
    The arrays lie in global memory; their last index is the run, so that neighbouring lanes
    read neighbouring words.  Lanes with ``is_real`` false work like the others, so that all
    lanes of a block reach its barriers, and store nothing.

    The absolute tolerances are the same for all runs: one copy per block, filled by all its
    lanes together.
    """

    def __init__(
        self,
        problem: Problem,
        step: RosenbrockStep | DirkStep,
        *,
        rtol: float,
        **kw: Any,
    ) -> None:
        super().__init__(**kw)
        n = problem.n_species
        self.problem = problem
        self.step = step
        self.controller = StepController(step.embedded_order, **kw)
        self.setup_compile_settings(LoopSettings(t_end=problem.t_end, rtol=rtol))
        self.register_buffer("tolerances", n, "block")
        self.register_buffer("state", n, "shared")
        self.register_buffer("candidate", n, "shared")
        self.register_buffer("constants", len(problem.reactions), "shared")
        self.register_child(self.step, "step")
        self.register_child(self.controller, "controller")

    def build(self) -> Any:
        """Compile the loop."""
        L = self.buffers
        real = self.precision
        settings = self.compile_settings
        n, n_reactions = self.problem.n_species, len(self.problem.reactions)
        nothing, one = real(0.0), real(1.0)
        t_end, rtol, first_step = map(real, (settings.t_end, settings.rtol, settings.first_step))
        max_steps = settings.max_steps
        step = self.step.device_function
        start, propose = self.controller.product
        fill_tolerances = self._build_fill()

        @device
        def loop(mem, run, is_real, initial, constants, atol, final, counts):
            b = L.views(mem)
            state, candidate = b.state, b.candidate
            for r in range(n_reactions):
                b.constants[r] = constants[r, run]
            for i in range(n):
                state[i] = initial[i, run]
            fill_tolerances(b.tolerances, atol)
            start(b.controller)
            t, h = nothing, first_step
            n_accepted = 0
            n_tried = 0
            outcome = TOO_MANY_STEPS
            while n_tried < max_steps:
                n_tried += 1
                h = min(h, t_end - t)
                error = step(b.step, b.constants, state, h, rtol, b.tolerances, candidate)
                proposed = propose(b.controller, h, error)
                if error <= one:
                    n_accepted += 1
                    t += h
                    for i in range(n):
                        state[i] = candidate[i]
                    if not t < t_end:
                        outcome = DONE
                        break
                h = proposed
                if t + h == t:
                    outcome = TOO_SMALL_STEP
                    break
            if is_real:
                for i in range(n):
                    final[i, run] = state[i]
                counts[0, run] = n_accepted
                counts[1, run] = n_tried - n_accepted
                counts[2, run] = outcome

        return loop

    def _build_fill(self) -> Any:
        n = self.problem.n_species
        is_common = self.buffers["tolerances"].location == "block"

        @device
        def fill_together(tolerances, atol):
            for i in range(cuda.threadIdx.x, n, cuda.blockDim.x):
                tolerances[i] = atol[i]
            cuda.syncthreads()

        @device
        def fill_alone(tolerances, atol):
            for i in range(n):
                tolerances[i] = atol[i]

        return fill_together if is_common else fill_alone
