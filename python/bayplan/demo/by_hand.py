"""The old way: the same integrator with offsets written by hand.

This is what the factories of this package save: one person knows all buffers of all functions,
adds up their sizes, and hands slices down through every call.  Moving `delta` to shared memory
means editing the offsets behind it, the signature of `newton`, and all its callers.

The arithmetic is that of `DirkStep` with `LUSolver`, operation by operation, so that both give
the same numbers.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import cuda
from numpy.typing import NDArray

from .controller import ControllerSettings
from .dirk import SDIRK4
from .loop import DONE, TOO_MANY_STEPS, TOO_SMALL_STEP, LoopSettings
from .newton import NewtonSettings
from .norms import rms_norm
from .problems import Problem
from .systems import net_change, rows

__all__ = ["Offsets", "build_kernel", "offsets"]


class Offsets(NamedTuple):
    """Where each shared buffer of a run begins, in elements, and where the slice ends."""

    state: int
    candidate: int
    constants: int
    stages: int
    base: int
    increment: int
    point: int
    matrix: int
    end: int


def offsets(problem: Problem) -> Offsets:
    """Add the sizes up."""
    n, n_reactions = problem.n_species, len(problem.reactions)
    state = 0
    candidate = state + n
    constants = candidate + n
    stages = constants + n_reactions
    base = stages + SDIRK4.n_stages * n
    increment = base + n
    point = increment + n
    matrix = point + n
    end = matrix + n * n
    return Offsets(state, candidate, constants, stages, base, increment, point, matrix, end)


def build_kernel(problem: Problem, real: type, stride: int) -> Any:
    """Compile ``integrate(end, initial, constants, atol, final, counts)``.

    The dynamic shared memory holds the tolerances of the block, and then, `stride` elements
    apart, the slices of its runs.
    """
    n, n_reactions = problem.n_species, len(problem.reactions)
    n_slots = sum(len(reaction.reactants) for reaction in problem.reactions)
    at_constants, at_end = offsets(problem).constants, offsets(problem).end
    kind = np.dtype(real)
    loop = _loop(problem, real)

    @cuda.jit
    def integrate(end, initial, constants, atol, final, counts):
        arena = cuda.shared.array(0, kind)
        tolerances = arena[:n]
        first = n + cuda.threadIdx.x * stride
        mine = arena[first : first + at_end]
        history = cuda.local.array(2, kind)
        pivots = cuda.local.array(n, np.dtype(np.int32))
        rates = cuda.local.array(n_reactions, kind)
        slopes = cuda.local.array(n_slots, kind)
        delta = cuda.local.array(n, kind)
        run = min(cuda.grid(1), end - 1)
        for i in range(cuda.threadIdx.x, n, cuda.blockDim.x):
            tolerances[i] = atol[i]
        cuda.syncthreads()
        for i in range(n):
            mine[i] = initial[i, run]
        for r in range(n_reactions):
            mine[at_constants + r] = constants[r, run]
        n_accepted, n_tried, outcome = loop(mine, history, pivots, rates, slopes, delta, tolerances)
        if cuda.grid(1) < end:
            for i in range(n):
                final[i, run] = mine[i]
            counts[0, run] = n_accepted
            counts[1, run] = n_tried - n_accepted
            counts[2, run] = outcome

    return integrate


def _loop(problem: Problem, real: type) -> Any:
    settings = LoopSettings(problem.t_end, problem.accuracy[np.dtype(real).name].rtol)
    n, at_candidate = problem.n_species, offsets(problem).candidate
    nothing, one = real(0.0), real(1.0)
    t_end, rtol, first_step = map(real, (settings.t_end, settings.rtol, settings.first_step))
    max_steps = settings.max_steps
    step, propose = _step(problem, real, rtol), _propose(real)

    @cuda.jit(device=True)
    def loop(mine, history, pivots, rates, slopes, delta, tolerances):
        history[0] = one
        history[1] = nothing
        t, h = nothing, first_step
        n_accepted = 0
        n_tried = 0
        outcome = TOO_MANY_STEPS
        while n_tried < max_steps:
            n_tried += 1
            h = min(h, t_end - t)
            error = step(h, mine, pivots, rates, slopes, delta, tolerances)
            proposed = propose(history, h, error)
            if error <= one:
                n_accepted += 1
                t += h
                for i in range(n):
                    mine[i] = mine[at_candidate + i]
                if not t < t_end:
                    outcome = DONE
                    break
            h = proposed
            if t + h == t:
                outcome = TOO_SMALL_STEP
                break
        return n_accepted, n_tried, outcome

    return loop


def _propose(real: type) -> Any:
    settings = ControllerSettings(SDIRK4.embedded_order)
    nothing, one, tiny, hopeless = map(real, (0.0, 1.0, 1e-4, 1e4))
    safety, smallest, largest = map(real, (settings.safety, settings.smallest, settings.largest))
    plain, integral, proportional = (real(g / (settings.order + 1)) for g in (1.0, 0.7, 0.4))

    @cuda.jit(device=True)
    def propose(history, h, error):
        if not error <= one:
            history[1] = one
            if not error < hopeless:
                return h * smallest
            return h * max(smallest, safety * real(math.pow(error, -plain)))
        error = max(error, tiny)
        change = safety * real(math.pow(error, -integral))
        change *= real(math.pow(history[0], proportional))
        change = min(largest, max(smallest, change))
        if history[1] == one:
            change = min(one, change)
        history[0] = error
        history[1] = nothing
        return h * change

    return propose


def _step(problem: Problem, real: type, rtol: Any) -> Any:
    n, n_stages = problem.n_species, SDIRK4.n_stages
    a: NDArray[Any] = np.zeros((n_stages, n_stages), real)
    for s, row in enumerate(SDIRK4.a):
        a[s, :s] = np.array(row) / SDIRK4.gamma
    weight = np.array(SDIRK4.b, real) / real(SDIRK4.gamma)
    difference = weight - np.array(SDIRK4.b_embedded, real) / real(SDIRK4.gamma)
    one, nothing, failed = real(1.0), real(0.0), real(math.inf)
    gamma = real(SDIRK4.gamma)
    jacobian, prepare, solve = _jacobian(problem, real), _prepare(n, real), _solve(n)
    newton, norm = _newton(problem, real, rtol), rms_norm(n, real)
    _, at_new, at_constants, at_stages, at_base, at_increment, at_point, at_matrix, at_end = (
        offsets(problem)
    )

    @cuda.jit(device=True)
    def step(h, mine, pivots, rates, slopes, delta, tolerances):
        y, y_new = mine[:at_new], mine[at_new:at_constants]
        constants, stages = mine[at_constants:at_stages], mine[at_stages:at_base]
        base, increment = mine[at_base:at_increment], mine[at_increment:at_point]
        point, matrix = mine[at_point:at_matrix], mine[at_matrix:at_end]
        c = one / (h * gamma)
        jacobian(constants, y, matrix, slopes)
        if not prepare(matrix, pivots, c):
            return failed
        for i in range(n):
            increment[i] = nothing
        for s in range(n_stages):
            for i in range(n):
                value = y[i]
                for k in range(s):
                    value += a[s, k] * stages[k * n + i]
                base[i] = value
            if not newton(
                base, increment, c, constants, point, matrix, pivots, rates, delta, tolerances
            ):
                return failed
            for i in range(n):
                stages[s * n + i] = increment[i]
        for i in range(n):
            value = nothing
            error = nothing
            for s in range(n_stages):
                value += weight[s] * stages[s * n + i]
                error += difference[s] * stages[s * n + i]
            y_new[i] = y[i] + value
            increment[i] = c * error
        if not solve(matrix, pivots, increment):
            return failed
        return norm(increment, y, y_new, rtol, tolerances)

    return step


def _newton(problem: Problem, real: type, rtol: Any) -> Any:
    settings = NewtonSettings()
    n, max_iterations = problem.n_species, settings.max_iterations
    one, tolerance = real(1.0), real(settings.tolerance)
    rhs, solve, norm = _rhs(problem, real), _solve(n), rms_norm(n, real)

    @cuda.jit(device=True)
    def newton(base, z, c, constants, point, matrix, pivots, rates, delta, tolerances):
        previous = one
        for iteration in range(max_iterations):
            for i in range(n):
                point[i] = base[i] + z[i]
            rhs(constants, point, delta, rates)
            for i in range(n):
                delta[i] -= c * z[i]
            if not solve(matrix, pivots, delta):
                return False
            for i in range(n):
                z[i] += delta[i]
            size = norm(delta, base, point, rtol, tolerances)
            rate = size / previous
            if iteration == 0:
                rate = one / (one + one)
            if not rate < one:
                return False
            if size * rate / (one - rate) <= tolerance:
                return True
            previous = size
        return False

    return newton


def _prepare(n: int, real: type) -> Any:
    nothing = real(0.0)

    @cuda.jit(device=True)
    def prepare(a, pivots, c):
        for i in range(n):
            for j in range(n):
                a[i * n + j] = -a[i * n + j]
            a[i * n + i] += c
        for k in range(n):
            best = k
            for i in range(k + 1, n):
                if abs(a[i * n + k]) > abs(a[best * n + k]):
                    best = i
            pivots[k] = best
            if not abs(a[best * n + k]) > nothing:
                return False
            if best != k:
                for j in range(n):
                    swapped = a[k * n + j]
                    a[k * n + j] = a[best * n + j]
                    a[best * n + j] = swapped
            for i in range(k + 1, n):
                if a[i * n + k] != nothing:
                    factor = a[i * n + k] / a[k * n + k]
                    a[i * n + k] = factor
                    for j in range(k + 1, n):
                        a[i * n + j] -= factor * a[k * n + j]
        return True

    return prepare


def _solve(n: int) -> Any:
    @cuda.jit(device=True)
    def solve(a, pivots, x):
        for k in range(n):
            swapped = x[k]
            x[k] = x[pivots[k]]
            x[pivots[k]] = swapped
        for i in range(n):
            total = x[i]
            for j in range(i):
                total -= a[i * n + j] * x[j]
            x[i] = total
        for back in range(n):
            i = n - 1 - back
            total = x[i]
            for j in range(i + 1, n):
                total -= a[i * n + j] * x[j]
            x[i] = total / a[i * n + i]
        return True

    return solve


def _rhs(problem: Problem, real: type) -> Any:
    n, n_reactions = problem.n_species, len(problem.reactions)
    nothing = real(0.0)
    first, species, _ = rows([[(s, 1.0) for s in r.reactants] for r in problem.reactions], real)
    changes = [dict(net_change(reaction)) for reaction in problem.reactions]
    row, reaction_of, gain = rows(
        [[(r, change[s]) for r, change in enumerate(changes) if s in change] for s in range(n)],
        real,
    )

    @cuda.jit(device=True)
    def rhs(constants, y, dy, rates):
        for r in range(n_reactions):
            rate = constants[r]
            for s in range(first[r], first[r + 1]):
                rate *= y[species[s]]
            rates[r] = rate
        for i in range(n):
            total = nothing
            for k in range(row[i], row[i + 1]):
                total += gain[k] * rates[reaction_of[k]]
            dy[i] = total

    return rhs


def _jacobian(problem: Problem, real: type) -> Any:
    n, n_reactions = problem.n_species, len(problem.reactions)
    nothing = real(0.0)
    first, species, _ = rows([[(s, 1.0) for s in r.reactants] for r in problem.reactions], real)
    row, changed, gain = rows([net_change(r) for r in problem.reactions], real)

    @cuda.jit(device=True)
    def jacobian(constants, y, matrix, slopes):
        for r in range(n_reactions):
            for s in range(first[r], first[r + 1]):
                slope = constants[r]
                for other in range(first[r], first[r + 1]):
                    if other != s:
                        slope *= y[species[other]]
                slopes[s] = slope
        for i in range(n * n):
            matrix[i] = nothing
        for r in range(n_reactions):
            for k in range(row[r], row[r + 1]):
                for s in range(first[r], first[r + 1]):
                    matrix[changed[k] * n + species[s]] += gain[k] * slopes[s]

    return jacobian
