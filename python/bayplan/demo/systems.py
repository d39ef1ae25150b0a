"""The right-hand side and the Jacobian of a reaction network, as two factories.

The network is turned into small tables once, on the host.  Arrays that a device function finds
in its closure are constant memory on the device, read by all lanes at the same address at the
same time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bayplan import CUDAFactory
from bayplan.kernel import device

from .problems import Problem, Reaction

__all__ = ["Jacobian", "RightHandSide", "Rows", "net_change", "rows"]


class Rows(NamedTuple):
    """A ragged table: row ``i`` is ``column[start[i]:start[i + 1]]`` with the same of `value`."""

    start: NDArray[np.uint32]
    column: NDArray[np.uint32]
    value: NDArray[Any]


def rows(table: Iterable[Sequence[tuple[int, float]]], real: type) -> Rows:
    """Flatten rows of ``(column, value)`` pairs."""
    lists = [list(row) for row in table]
    flat = [pair for row in lists for pair in row]
    return Rows(
        np.cumsum([0, *map(len, lists)], dtype=np.uint32),
        np.array([column for column, _ in flat], dtype=np.uint32),
        np.array([value for _, value in flat], dtype=real),
    )


def net_change(reaction: Reaction) -> list[tuple[int, float]]:
    """List ``(species, molecules gained)`` of one reaction, without the unchanged ones."""
    change = Counter(reaction.products)
    change.subtract(Counter(reaction.reactants))
    return sorted((species, float(gain)) for species, gain in change.items() if gain)


def _reactants(problem: Problem) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    table = rows([[(species, 1.0) for species in r.reactants] for r in problem.reactions], float)
    return table.start, table.column


class RightHandSide(CUDAFactory):
    """Sums the rates of all reactions into the time derivative of every species.

    Device function: ``rhs(mem, constants, y, dy)``.
    """

    def __init__(self, problem: Problem, **kw: Any) -> None:
        super().__init__(**kw)
        self.problem = problem
        self.register_buffer("rates", len(problem.reactions), "local")

    def build(self) -> Any:
        """Compile ``rhs(mem, constants, y, dy)``."""
        L = self.buffers
        real = self.precision
        problem = self.problem
        nothing = real(0.0)
        n_reactions, n_species = len(problem.reactions), problem.n_species
        first, species = _reactants(problem)
        changes = [dict(net_change(reaction)) for reaction in problem.reactions]
        row, reaction_of, gain = rows(
            [
                [(r, change[s]) for r, change in enumerate(changes) if s in change]
                for s in range(n_species)
            ],
            real,
        )

        @device
        def rhs(mem, constants, y, dy):
            b = L.views(mem)
            rates = b.rates
            for r in range(n_reactions):
                rate = constants[r]
                for s in range(first[r], first[r + 1]):
                    rate *= y[species[s]]
                rates[r] = rate
            for i in range(n_species):
                total = nothing
                for k in range(row[i], row[i + 1]):
                    total += gain[k] * rates[reaction_of[k]]
                dy[i] = total

        return rhs


class Jacobian(CUDAFactory):
    """Writes the dense matrix of derivatives of the right-hand side.

    Device function: ``jacobian(mem, constants, y, matrix)``.
    """

    def __init__(self, problem: Problem, **kw: Any) -> None:
        super().__init__(**kw)
        self.problem = problem
        n_slots = sum(len(reaction.reactants) for reaction in problem.reactions)
        self.register_buffer("slopes", n_slots, "local")

    def build(self) -> Any:
        """Compile ``jacobian(mem, constants, y, matrix)``."""
        L = self.buffers
        real = self.precision
        problem = self.problem
        nothing = real(0.0)
        n_reactions, n_species = len(problem.reactions), problem.n_species
        first, species = _reactants(problem)
        row, changed, gain = rows([net_change(r) for r in problem.reactions], real)

        @device
        def jacobian(mem, constants, y, matrix):
            b = L.views(mem)
            slopes = b.slopes  # of a reaction's rate by each of its reactants
            for r in range(n_reactions):
                for s in range(first[r], first[r + 1]):
                    slope = constants[r]
                    for other in range(first[r], first[r + 1]):
                        if other != s:
                            slope *= y[species[other]]
                    slopes[s] = slope
            for i in range(n_species):
                for j in range(n_species):
                    matrix[i, j] = nothing
            for r in range(n_reactions):
                for k in range(row[r], row[r + 1]):
                    for s in range(first[r], first[r + 1]):
                        matrix[changed[k], species[s]] += gain[k] * slopes[s]

        return jacobian
