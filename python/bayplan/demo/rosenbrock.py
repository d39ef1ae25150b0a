"""One step of a Rosenbrock method: implicit, but linear, so there is no iteration.

Source: E. Hairer and G. Wanner, *Solving Ordinary Differential Equations II*, 2nd edition,
section IV.7: method RODAS (order 4 with an embedded order 3, six stages, L-stable and stiffly
accurate), in the form that needs no product with the Jacobian.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayplan import CUDAFactory
from bayplan.kernel import device

from .norms import rms_norm
from .problems import Problem
from .systems import Jacobian, RightHandSide

__all__ = ["RODAS", "RosenbrockStep", "RosenbrockTableau"]


@dataclass(frozen=True)
class RosenbrockTableau:
    """Coefficients of a Rosenbrock method for the transformed stages ``u``.

    With ``W = I / (h gamma) - J``, stage ``i`` solves
    ``W u_i = f(y + sum_j a_ij u_j) + sum_j (c_ij / h) u_j``.  The new value is
    ``y + sum_j m_j u_j`` and its error estimate ``sum_j e_j u_j``.
    """

    name: str
    gamma: float
    a: tuple[tuple[float, ...], ...]
    c: tuple[tuple[float, ...], ...]
    m: tuple[float, ...]
    e: tuple[float, ...]
    order: int
    embedded_order: int

    @property
    def n_stages(self) -> int:
        """Stages, each one evaluation and one linear solve."""
        return len(self.m)

    def square(self, triangle: tuple[tuple[float, ...], ...], real: type) -> NDArray[Any]:
        """Give a strictly lower triangle as a full matrix."""
        full: NDArray[Any] = np.zeros((self.n_stages, self.n_stages), real)
        for i, row in enumerate(triangle):
            full[i, : len(row)] = row
        return full


_LAST = (1.221224509226641, 6.019134481288629, 12.53708332932087, -0.6878860361058950)

RODAS = RosenbrockTableau(
    name="RODAS",
    gamma=0.25,
    a=(
        (),
        (1.544000000000000,),
        (0.9466785280815826, 0.2557011698983284),
        (3.314825187068521, 2.896124015972201, 0.9986419139977817),
        _LAST,
        (*_LAST, 1.0),
    ),
    c=(
        (),
        (-5.668800000000000,),
        (-2.430093356833875, -0.2063599157091915),
        (-0.1073529058151375, -9.594562251023355, -20.47028614809616),
        (7.496443313967647, -10.24680431464352, -33.99990352819905, 11.70890893206160),
        (
            *(8.083246795921522, -7.981132988064893, -31.52159432874371),
            *(16.31930543123136, -6.058818238834054),
        ),
    ),
    m=(*_LAST, 1.0, 1.0),
    e=(0.0, 0.0, 0.0, 0.0, 0.0, 1.0),
    order=4,
    embedded_order=3,
)


class RosenbrockStep(CUDAFactory):
    """One step of a Rosenbrock method.

    Device function: ``step(mem, constants, y, h, rtol, atol, y_new) -> error``.  The step is
    good if the error is at most 1; infinity says that it could not be computed.
    """

    def __init__(
        self,
        problem: Problem,
        linear: CUDAFactory,
        tableau: RosenbrockTableau = RODAS,
        **kw: Any,
    ) -> None:
        super().__init__(**kw)
        n = problem.n_species
        self.n = n
        self.tableau = tableau
        self.rhs = RightHandSide(problem, **kw)
        self.jacobian = Jacobian(problem, **kw)
        self.linear = linear
        self.phases("linearise", "solve", "finish")
        self.register_buffer("stages", (tableau.n_stages, n), "shared", live=("solve", "finish"))
        self.register_buffer("point", n, "shared", live="solve")
        self.register_buffer("slope", n, "shared", live=("solve", "finish"))
        self.register_child(self.rhs, "rhs", live="solve")
        self.register_child(self.jacobian, "jacobian", live="linearise")
        self.register_child(self.linear, "linear", live=("linearise", "solve"))

    @property
    def embedded_order(self) -> int:
        """Order of the error estimate."""
        return self.tableau.embedded_order

    def build(self) -> Any:
        """Compile the step."""
        L = self.buffers
        real = self.precision
        n, n_stages = self.n, self.tableau.n_stages
        a = self.tableau.square(self.tableau.a, real)
        c = self.tableau.square(self.tableau.c, real)
        m = np.array(self.tableau.m, real)
        e = np.array(self.tableau.e, real)
        one, nothing, failed = real(1.0), real(0.0), real(math.inf)
        gamma = real(self.tableau.gamma)
        rhs, jacobian = self.rhs.device_function, self.jacobian.device_function
        prepare, solve = self.linear.product
        norm = rms_norm(n, real)

        @device
        def step(mem, constants, y, h, rtol, atol, y_new):
            b = L.views(mem)
            first = b.linearise()
            jacobian(first.jacobian, constants, y, first.linear.matrix)
            if not prepare(first.linear, one / (h * gamma)):
                return failed
            then = b.solve()
            stages, point, slope = then.stages, then.point, then.slope
            for s in range(n_stages):
                for i in range(n):
                    value = y[i]
                    for k in range(s):
                        value += a[s, k] * stages[k, i]
                    point[i] = value
                rhs(then.rhs, constants, point, slope)
                for i in range(n):
                    value = nothing
                    for k in range(s):
                        value += c[s, k] * stages[k, i]
                    slope[i] += value / h
                if not solve(then.linear, slope):
                    return failed
                for i in range(n):
                    stages[s, i] = slope[i]
            finish = b.finish()
            stages, slope = finish.stages, finish.slope
            for i in range(n):
                value = nothing
                error = nothing
                for k in range(n_stages):
                    value += m[k] * stages[k, i]
                    error += e[k] * stages[k, i]
                y_new[i] = y[i] + value
                slope[i] = error
            return norm(slope, y, y_new, rtol, atol)

        return step
