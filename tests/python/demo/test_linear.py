"""LU and BiCGSTAB against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from harness import Arenas

from bayplan import BufferRegistry
from bayplan.demo.linear import BiCGSTABSolver, LUSolver
from bayplan.kernel import device

pytestmark = pytest.mark.sim

SOLVERS = {"lu": LUSolver, "bicgstab": BiCGSTABSolver}


def solve(kind, jacobian, c, right_hand_sides, dtype="f8", **settings):
    """Prepare ``c I - J`` once and solve for every column; returns solutions and both answers."""
    n = len(jacobian)
    factory = SOLVERS[kind](n, precision=dtype, registry=BufferRegistry())
    if settings:
        factory.update_compile_settings(settings)
    prepare, solve_one = factory.product
    n_columns = right_hand_sides.shape[1]
    real = np.dtype(dtype).type

    @device
    def body(region, jacobian, c, columns, answers):
        matrix = region.matrix
        for i in range(n):
            for j in range(n):
                matrix[i, j] = jacobian[i, j]
        answers[0] = prepare(region, c)
        if answers[0]:
            for k in range(n_columns):
                answers[1 + k] = solve_one(region, columns[k])

    columns = np.array(right_hand_sides.T, dtype, order="C")
    answers = np.zeros(1 + n_columns, bool)
    Arenas(factory).call(body, jacobian.astype(dtype), real(c), columns, answers)
    return columns.T, answers


@pytest.mark.parametrize("n", [1, 2, 3, 8, 20])
@pytest.mark.parametrize("kind", SOLVERS)
def test_random_systems(kind, n):
    random = np.random.default_rng(n)
    jacobian = random.normal(size=(n, n)) - 2 * n * np.eye(n)
    b = random.normal(size=(n, 3))
    x, answers = solve(kind, jacobian, 1.5, b)
    assert answers.all()
    expected = np.linalg.solve(1.5 * np.eye(n) - jacobian, b)
    np.testing.assert_allclose(x, expected, rtol=1e-9, atol=1e-12)


def test_pivoting_is_needed_and_done():
    # The matrix 0 I - J has a zero in the corner, and a tiny pivot after it.
    matrix = np.array([[0.0, 2.0, 1.0], [1.0, 1e-17, 0.0], [3.0, 1.0, 5.0]])
    b = np.array([[1.0], [2.0], [3.0]])
    x, answers = solve("lu", -matrix, 0.0, b)
    assert answers.all()
    np.testing.assert_allclose(matrix @ x, b, rtol=1e-14)


def test_every_row_order_is_solved():
    random = np.random.default_rng(5)
    matrix = np.diag([3.0, 5.0, 7.0, 9.0]) + 0.1
    b = random.normal(size=(4, 1))
    for _ in range(10):
        rows = random.permutation(4)
        x, answers = solve("lu", -matrix[rows], 0.0, b[rows])
        assert answers.all()
        np.testing.assert_allclose(x, np.linalg.solve(matrix, b), rtol=1e-13)


@pytest.mark.parametrize("kind", SOLVERS)
@pytest.mark.parametrize("spoil", [0.0, np.nan])
def test_what_cannot_be_solved_is_said(kind, spoil):
    matrix = np.array([[spoil, spoil], [spoil, spoil]])
    _, answers = solve(kind, matrix, 0.0, np.ones((2, 1)))
    assert not answers[0]


def test_bicgstab_gives_up_when_told():
    random = np.random.default_rng(1)
    matrix = random.normal(size=(8, 8)) + 4 * np.eye(8)
    _, answers = solve("bicgstab", -matrix, 0.0, random.normal(size=(8, 1)), max_iterations=1)
    assert answers.tolist() == [True, False]


def test_float32():
    random = np.random.default_rng(2)
    matrix = random.normal(size=(8, 8)) + 16 * np.eye(8)
    b = random.normal(size=(8, 1))
    for kind in SOLVERS:
        x, answers = solve(kind, -matrix, 0.0, b, "f4")
        assert answers.all()
        assert x.dtype == np.float32
        np.testing.assert_allclose(x, np.linalg.solve(matrix, b), rtol=2e-4, atol=1e-6)
