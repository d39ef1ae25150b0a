"""Linear solvers for the matrices ``c I - J`` of implicit steps.

Both keep their matrix between two calls: the caller writes the Jacobian ``J`` into the buffer
``matrix`` of the solver's region, calls ``prepare`` once, and ``solve`` as often as it likes.
That is why `matrix` is declared with ``keep=True``: it may move between the shared, block and
persistent-local memories, but it can never become a local array.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from bayplan import CUDAFactory
from bayplan.kernel import device

__all__ = ["LINEAR_SOLVERS", "BiCGSTABSettings", "BiCGSTABSolver", "LUSolver", "LinearFunctions"]


class LinearFunctions(NamedTuple):
    """The device functions of a linear solver."""

    prepare: Any
    """``prepare(mem, c) -> bool`` turns the Jacobian in `matrix` into ``c I - J``, ready."""

    solve: Any
    """``solve(mem, x) -> bool`` replaces the right-hand side ``x`` by the solution."""


class LUSolver(CUDAFactory):
    """LU decomposition with partial pivoting, in place.

    Source of the algorithm: G. H. Golub and C. F. Van Loan, *Matrix Computations*, 4th edition,
    section 3.4.  Zero multipliers are skipped, as the matrices here are mostly zeros.
    """

    def __init__(self, n: int, **kw: Any) -> None:
        super().__init__(**kw)
        self.n = n
        self.register_buffer("matrix", (n, n), "shared", keep=True)
        self.register_buffer("pivots", n, "persistent_local", dtype=np.int32)

    def build(self) -> LinearFunctions:
        """Compile the decomposition and the substitution."""
        return LinearFunctions(self._build_prepare(), self._build_solve())

    def _build_prepare(self) -> Any:
        L = self.buffers
        n = self.n
        nothing = self.precision(0.0)

        @device
        def prepare(mem, c):
            b = L.views(mem)
            a = b.matrix
            pivots = b.pivots
            for i in range(n):
                for j in range(n):
                    a[i, j] = -a[i, j]
                a[i, i] += c
            for k in range(n):
                best = k
                for i in range(k + 1, n):
                    if abs(a[i, k]) > abs(a[best, k]):
                        best = i
                pivots[k] = best
                if not abs(a[best, k]) > nothing:  # zero, or not a number
                    return False
                if best != k:
                    for j in range(n):
                        swapped = a[k, j]
                        a[k, j] = a[best, j]
                        a[best, j] = swapped
                for i in range(k + 1, n):
                    if a[i, k] != nothing:
                        factor = a[i, k] / a[k, k]
                        a[i, k] = factor
                        for j in range(k + 1, n):
                            a[i, j] -= factor * a[k, j]
            return True

        return prepare

    def _build_solve(self) -> Any:
        L = self.buffers
        n = self.n

        @device
        def solve(mem, x):
            b = L.views(mem)
            a = b.matrix
            pivots = b.pivots
            for k in range(n):
                swapped = x[k]
                x[k] = x[pivots[k]]
                x[pivots[k]] = swapped
            for i in range(n):
                total = x[i]
                for j in range(i):
                    total -= a[i, j] * x[j]
                x[i] = total
            for back in range(n):
                i = n - 1 - back
                total = x[i]
                for j in range(i + 1, n):
                    total -= a[i, j] * x[j]
                x[i] = total / a[i, i]
            return True

        return solve


@dataclass(frozen=True)
class BiCGSTABSettings:
    """Where the iteration ends."""

    tolerance: float
    """Of the residual's 2-norm, relative to the right-hand side's."""

    max_iterations: int = 100


class BiCGSTABSolver(CUDAFactory):
    """The stabilised biconjugate gradient method with a Gauss-Seidel preconditioner.

    Source: H. A. van der Vorst, SIAM J. Sci. Stat. Comput. 13 (1992) 631-644, in the
    right-preconditioned form.
    """

    def __init__(self, n: int, **kw: Any) -> None:
        super().__init__(**kw)
        self.n = n
        rounding = float(np.finfo(self.precision).eps)
        self.setup_compile_settings(BiCGSTABSettings(tolerance=rounding**0.75))
        self.register_buffer("matrix", (n, n), "shared", keep=True)
        for name in ("residual", "shadow", "direction", "smoothed", "image", "turned"):
            self.register_buffer(name, n, "local")

    def build(self) -> LinearFunctions:
        """Compile the set-up and the iteration."""
        return LinearFunctions(self._build_prepare(), self._build_solve())

    def _build_prepare(self) -> Any:
        L = self.buffers
        n = self.n
        nothing = self.precision(0.0)

        @device
        def prepare(mem, c):
            b = L.views(mem)
            a = b.matrix
            for i in range(n):
                for j in range(n):
                    a[i, j] = -a[i, j]
                a[i, i] += c
                if not abs(a[i, i]) > nothing:  # zero, or not a number
                    return False
            return True

        return prepare

    def _build_solve(self) -> Any:
        L = self.buffers
        n = self.n
        nothing = self.precision(0.0)
        squared_tolerance = self.precision(self.compile_settings.tolerance**2)
        max_iterations = self.compile_settings.max_iterations
        dot, multiply, smooth = dot_product(n, nothing), product(n, nothing), gauss_seidel(n)

        @device
        def solve(mem, x):
            b = L.views(mem)
            a, residual, shadow, direction = b.matrix, b.residual, b.shadow, b.direction
            smoothed, image, turned = b.smoothed, b.image, b.turned
            for i in range(n):
                residual[i] = x[i]
                shadow[i] = x[i]
                direction[i] = x[i]
                x[i] = nothing
            rho = dot(residual, residual)
            goal = squared_tolerance * rho
            for _ in range(max_iterations):
                if dot(residual, residual) <= goal:
                    return True
                smooth(a, direction, smoothed)
                multiply(a, smoothed, image)
                across = dot(shadow, image)
                if across == nothing:
                    return False
                alpha = rho / across
                for i in range(n):
                    x[i] += alpha * smoothed[i]
                    residual[i] -= alpha * image[i]
                if dot(residual, residual) <= goal:
                    return True
                smooth(a, residual, smoothed)
                multiply(a, smoothed, turned)
                across = dot(turned, turned)
                if across == nothing or rho == nothing:
                    return False
                omega = dot(turned, residual) / across
                for i in range(n):
                    x[i] += omega * smoothed[i]
                    residual[i] -= omega * turned[i]
                previous = rho
                rho = dot(shadow, residual)
                if omega == nothing:
                    return False
                beta = (rho / previous) * (alpha / omega)
                for i in range(n):
                    direction[i] = residual[i] + beta * (direction[i] - omega * image[i])
            return False

        return solve


def dot_product(n: int, nothing: Any) -> Any:
    """Compile ``dot(x, y) -> scalar`` for vectors of length `n`."""

    @device
    def dot(x, y):
        total = nothing
        for i in range(n):
            total += x[i] * y[i]
        return total

    return dot


def product(n: int, nothing: Any) -> Any:
    """Compile ``multiply(a, x, y)``, which writes ``a x`` into ``y``."""

    @device
    def multiply(a, x, y):
        for i in range(n):
            total = nothing
            for j in range(n):
                total += a[i, j] * x[j]
            y[i] = total

    return multiply


def gauss_seidel(n: int) -> Any:
    """Compile ``smooth(a, x, y)``, which solves ``lower(a) y = x``."""

    @device
    def smooth(a, x, y):
        for i in range(n):
            total = x[i]
            for j in range(i):
                total -= a[i, j] * y[j]
            y[i] = total / a[i, i]

    return smooth


LINEAR_SOLVERS: dict[str, Callable[..., CUDAFactory]] = {
    "lu": LUSolver,
    "bicgstab": BiCGSTABSolver,
}
