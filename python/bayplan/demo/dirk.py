"""One step of a diagonally implicit Runge-Kutta method.

Source: E. Hairer and G. Wanner, *Solving Ordinary Differential Equations II*, 2nd edition,
section IV.6, table 6.5: SDIRK of order 4 with an embedded order 3, five stages with the same
diagonal, L-stable and stiffly accurate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayplan import CUDAFactory
from bayplan.kernel import device

from .newton import NewtonSolver
from .norms import rms_norm
from .problems import Problem
from .systems import Jacobian, RightHandSide

__all__ = ["SDIRK4", "DirkStep", "DirkTableau"]


@dataclass(frozen=True)
class DirkTableau:
    """Coefficients of a Runge-Kutta method with one constant ``gamma`` on the diagonal.

    Row ``i`` of `a` has the coefficients left of the diagonal.
    """

    name: str
    gamma: float
    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    b_embedded: tuple[float, ...]
    order: int
    embedded_order: int

    @property
    def n_stages(self) -> int:
        """Stages, each one nonlinear system."""
        return len(self.b)


SDIRK4 = DirkTableau(
    name="SDIRK4",
    gamma=1 / 4,
    a=(
        (),
        (1 / 2,),
        (17 / 50, -1 / 25),
        (371 / 1360, -137 / 2720, 15 / 544),
        (25 / 24, -49 / 48, 125 / 16, -85 / 12),
    ),
    b=(25 / 24, -49 / 48, 125 / 16, -85 / 12, 1 / 4),
    b_embedded=(59 / 48, -17 / 96, 225 / 32, -85 / 12, 0.0),
    order=4,
    embedded_order=3,
)


class DirkStep(CUDAFactory):
    """One step of a diagonally implicit method, each stage solved by Newton's iteration.

    Device function: ``step(mem, constants, y, h, rtol, atol, y_new) -> error``.  The step is
    good if the error is at most 1; infinity says that it could not be computed.

    A stage is kept as its increment ``z_i = h gamma f(Y_i)``.  The error estimate is multiplied
    by ``(I - h gamma J)^-1``, so that it stays bounded for infinitely stiff components.
    """

    def __init__(
        self,
        problem: Problem,
        linear: CUDAFactory,
        tableau: DirkTableau = SDIRK4,
        **kw: Any,
    ) -> None:
        super().__init__(**kw)
        n = problem.n_species
        self.n = n
        self.tableau = tableau
        self.jacobian = Jacobian(problem, **kw)
        self.newton = NewtonSolver(RightHandSide(problem, **kw), linear, **kw)
        self.phases("linearise", "start", "stage", "finish")
        self.loop("stage")  # each stage needs the ones before it: their lives begin at the start
        self.register_buffer("stages", (tableau.n_stages, n), "shared", live=("start", "finish"))
        self.register_buffer("base", n, "shared", live="stage")
        self.register_buffer("increment", n, "shared", live=("start", "finish"))
        self.register_child(self.jacobian, "jacobian", live="linearise")
        self.register_child(self.newton, "newton")

    @property
    def embedded_order(self) -> int:
        """Order of the error estimate."""
        return self.tableau.embedded_order

    def build(self) -> Any:
        """Compile the step."""
        L = self.buffers
        real = self.precision
        tableau = self.tableau
        n, n_stages = self.n, tableau.n_stages
        # The increments are h gamma f: all weights are divided by gamma once, here.
        a: NDArray[Any] = np.zeros((n_stages, n_stages), real)
        for s, row in enumerate(tableau.a):
            a[s, :s] = np.array(row) / tableau.gamma
        weight = np.array(tableau.b, real) / real(tableau.gamma)
        difference = weight - np.array(tableau.b_embedded, real) / real(tableau.gamma)
        one, nothing, failed = real(1.0), real(0.0), real(math.inf)
        gamma = real(tableau.gamma)
        jacobian = self.jacobian.device_function
        prepare, newton = self.newton.product
        filter_error = self.newton.linear.product.solve
        norm = rms_norm(n, real)

        @device
        def step(mem, constants, y, h, rtol, atol, y_new):
            b = L.views(mem)
            c = one / (h * gamma)
            linearise = b.linearise()
            jacobian(linearise.jacobian, constants, y, b.newton.linear.matrix)
            if not prepare(b.newton, c):
                return failed
            start = b.start()
            for i in range(n):
                start.increment[i] = nothing
            for s in range(n_stages):  # the last increment is the guess for the next one
                stage = b.stage()
                stages, base, increment = stage.stages, stage.base, stage.increment
                for i in range(n):
                    value = y[i]
                    for k in range(s):
                        value += a[s, k] * stages[k, i]
                    base[i] = value
                if not newton(b.newton, constants, base, increment, c, rtol, atol):
                    return failed
                for i in range(n):
                    stages[s, i] = increment[i]
            finish = b.finish()
            stages, increment = finish.stages, finish.increment
            for i in range(n):
                value = nothing
                error = nothing
                for s in range(n_stages):
                    value += weight[s] * stages[s, i]
                    error += difference[s] * stages[s, i]
                y_new[i] = y[i] + value
                increment[i] = c * error
            if not filter_error(b.newton.linear, increment):
                return failed
            return norm(increment, y, y_new, rtol, atol)

        return step
