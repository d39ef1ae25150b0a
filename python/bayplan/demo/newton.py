"""The simplified Newton iteration for one stage of a diagonally implicit method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from bayplan import CUDAFactory
from bayplan.kernel import device

from .norms import rms_norm
from .systems import RightHandSide

__all__ = ["NewtonFunctions", "NewtonSettings", "NewtonSolver"]


class NewtonFunctions(NamedTuple):
    """The device functions of the Newton solver."""

    prepare: Any
    """``prepare(mem, c) -> bool`` makes ``c I - J`` ready; the caller has written ``J``."""

    solve: Any
    """``solve(mem, constants, base, z, c, rtol, atol) -> bool`` improves the guess ``z``."""


@dataclass(frozen=True)
class NewtonSettings:
    """When the iteration has converged, and when it is given up."""

    tolerance: float = 0.03
    """Of the remaining error, in units of the error allowed in one step."""

    max_iterations: int = 10


class NewtonSolver(CUDAFactory):
    """Solves ``c z = f(base + z)`` with one decomposition of ``c I - J`` for all iterations.

    Source of the convergence test: E. Hairer and G. Wanner, *Solving Ordinary Differential
    Equations II*, 2nd edition, section IV.8.
    """

    def __init__(self, rhs: RightHandSide, linear: CUDAFactory, **kw: Any) -> None:
        super().__init__(**kw)
        n = rhs.problem.n_species
        self.n = n
        self.rhs = rhs
        self.linear = linear
        self.setup_compile_settings(NewtonSettings())
        self.register_buffer("point", n, "shared")
        self.register_buffer("delta", n, "local")
        self.register_child(self.rhs, "rhs")
        self.register_child(self.linear, "linear")

    def build(self) -> NewtonFunctions:
        """Compile ``prepare`` and ``solve``."""
        return NewtonFunctions(self._build_prepare(), self._build_solve())

    def _build_prepare(self) -> Any:
        L = self.buffers
        linear_prepare = self.linear.product.prepare

        @device
        def prepare(mem, c):
            b = L.views(mem)
            return linear_prepare(b.linear, c)

        return prepare

    def _build_solve(self) -> Any:
        L = self.buffers
        n = self.n
        real = self.precision
        one, tolerance = real(1.0), real(self.compile_settings.tolerance)
        max_iterations = self.compile_settings.max_iterations
        rhs = self.rhs.device_function
        linear_solve = self.linear.product.solve
        norm = rms_norm(n, real)

        @device
        def solve(mem, constants, base, z, c, rtol, atol):
            b = L.views(mem)
            point, delta = b.point, b.delta
            previous = one
            for iteration in range(max_iterations):
                for i in range(n):
                    point[i] = base[i] + z[i]
                rhs(b.rhs, constants, point, delta)
                for i in range(n):
                    delta[i] -= c * z[i]
                if not linear_solve(b.linear, delta):
                    return False
                for i in range(n):
                    z[i] += delta[i]
                size = norm(delta, base, point, rtol, atol)
                rate = size / previous
                if iteration == 0:
                    rate = one / (one + one)
                if not rate < one:  # it diverges, or left the numbers
                    return False
                if size * rate / (one - rate) <= tolerance:
                    return True
                previous = size
            return False

        return solve
