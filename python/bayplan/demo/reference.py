"""What every result is checked against: SciPy's Radau method with tight tolerances.

The right-hand side is written a second time here, as matrix algebra on the stoichiometric
matrix, so that a mistake in the device code cannot hide in the reference.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from .problems import Problem

__all__ = ["REFERENCE_RTOL", "equations", "relative_error", "solve"]

REFERENCE_RTOL = 1e-9

Vector = NDArray[np.float64]
Derivative = Callable[[float, Vector], Vector]


def equations(problem: Problem, constants: Vector) -> tuple[Derivative, Derivative]:
    """Return the right-hand side and the Jacobian, as functions of time and state."""
    reactions = problem.reactions
    change = np.zeros((problem.n_species, len(reactions)))
    order = np.zeros((len(reactions), problem.n_species))
    for r, reaction in enumerate(reactions):
        np.add.at(change, (list(reaction.products), r), 1.0)
        np.subtract.at(change, (list(reaction.reactants), r), 1.0)
        np.add.at(order, (r, list(reaction.reactants)), 1.0)

    def rhs(_: float, y: Vector) -> Vector:
        result: Vector = change @ (constants * np.prod(y**order, axis=1))
        return result

    def jacobian(_: float, y: Vector) -> Vector:
        # d(prod y^order)/dy_j = order_j * prod y^(order - e_j)
        lowered = order[:, None, :] - np.eye(problem.n_species)[None, :, :]
        slopes = order * np.prod(y ** np.maximum(lowered, 0.0), axis=2)
        result: Vector = change @ (constants[:, None] * slopes)
        return result

    return rhs, jacobian


def solve(problem: Problem, initial: Vector, constants: Vector) -> Vector:
    """Integrate one run to `Problem.t_end` and return the final state.

    Raises
    ------
    RuntimeError
        If SciPy does not reach the end.
    """
    rhs, jacobian = equations(problem, constants)
    solution = solve_ivp(
        rhs,
        (0.0, problem.t_end),
        initial,
        method="Radau",
        jac=jacobian,
        rtol=REFERENCE_RTOL,
        atol=1e-5 * problem.floor,
        t_eval=(problem.t_end,),
    )
    if not solution.success:
        raise RuntimeError(f"SciPy could not integrate {problem.name}: {solution.message}")
    final: Vector = solution.y[:, -1]
    return final


def relative_error(problem: Problem, found: Vector, expected: Vector) -> float:
    """Measure ``max |found - expected| / (floor + |expected|)``; infinity if not finite.

    Species are the first axis of `found`; `expected` has the same shape or is one state.
    """
    expected = expected.reshape(problem.n_species, -1)
    found = np.asarray(found, np.float64).reshape(problem.n_species, -1)
    if not np.isfinite(found).all():
        return float("inf")
    return float(np.max(np.abs(found - expected) / (problem.floor + np.abs(expected))))
