"""The networks are the published equations, on the device and in the reference."""

from __future__ import annotations

import numpy as np
import pytest
from harness import Arenas
from published import EQUATIONS

from bayplan import BufferRegistry
from bayplan.demo import reference
from bayplan.demo.ensemble import read_sweep
from bayplan.demo.problems import PROBLEMS
from bayplan.demo.systems import Jacobian, RightHandSide

pytestmark = pytest.mark.sim


@pytest.fixture(params=PROBLEMS)
def case(request):
    """A problem, and a random state and constants for it."""
    problem = PROBLEMS[request.param]
    random = np.random.default_rng(17)
    y = random.uniform(0.1, 1.0, problem.n_species)
    k = np.array(problem.constants) * random.uniform(0.5, 2.0, len(problem.constants))
    if problem.name == "hires":  # only two of its constants are parameters
        k = np.where(np.isin(np.arange(len(k)), (0, 11)), k, problem.constants)
    return problem, y, k


def on_device(factory, problem, y, k, shape):
    out = np.full(shape, np.nan)
    Arenas(factory).call(factory.device_function, k, y, out)
    return out


def complex_step(f, y):
    """The Jacobian of f, exact to rounding."""
    columns = []
    for j in range(len(y)):
        shifted = y.astype(complex)
        shifted[j] += 1e-30j
        columns.append(f(shifted).imag / 1e-30)
    return np.stack(columns, axis=1)


def test_right_hand_side(case):
    problem, y, k = case
    factory = RightHandSide(problem, precision="f8", registry=BufferRegistry())
    found = on_device(factory, problem, y, k, problem.n_species)
    expected = EQUATIONS[problem.name](y, k)
    scale = np.abs(k).max()
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15 * scale)
    rhs, _ = reference.equations(problem, k)
    np.testing.assert_allclose(rhs(0.0, y), expected, rtol=1e-12, atol=1e-15 * scale)


def test_jacobian(case):
    problem, y, k = case
    factory = Jacobian(problem, precision="f8", registry=BufferRegistry())
    found = on_device(factory, problem, y, k, (problem.n_species, problem.n_species))
    expected = complex_step(lambda state: EQUATIONS[problem.name](state, k), y)
    scale = np.abs(k).max()
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15 * scale)
    _, jacobian = reference.equations(problem, k)
    np.testing.assert_allclose(jacobian(0.0, y), expected, rtol=1e-12, atol=1e-15 * scale)


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_reference_meets_the_published_solution(name):
    problem = PROBLEMS[name]
    found = reference.solve(problem, np.array(problem.initial), np.array(problem.constants))
    assert reference.relative_error(problem, found, np.array(problem.published)) < 2e-9


@pytest.mark.parametrize("name", PROBLEMS)
def test_sweep(name):
    problem = PROBLEMS[name]
    sweep = read_sweep(problem)
    assert sweep.initial.shape == (problem.n_species, 64)
    assert sweep.constants.shape == (len(problem.reactions), 64)
    assert tuple(sweep.initial[:, 0]) == problem.initial  # the nominal run comes first
    assert tuple(sweep.constants[:, 0]) == problem.constants
    swept = {"robertson": (0, 3), "hires": (0, 2), "pollu": (2, 1)}[name.removesuffix("-late")]
    for array, n_swept in zip(sweep, swept, strict=True):
        nominal = array[:, :1]
        assert np.count_nonzero((array != nominal).any(axis=1)) == n_swept
        ratio = array[nominal[:, 0] != 0] / nominal[nominal[:, 0] != 0]
        assert ratio.min() >= 0.5 - 1e-5
        assert ratio.max() <= 2.0 + 1e-5
    both = np.concatenate([sweep.initial, sweep.constants])
    assert len(np.unique(both, axis=1).T) == 64
    again = sweep.repeated(130)
    np.testing.assert_array_equal(again.constants[:, 128:], sweep.constants[:, :2])
