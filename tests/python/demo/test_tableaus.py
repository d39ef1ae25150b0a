"""Order conditions and stability of the two methods, from their coefficients alone.

Source of the conditions: E. Hairer and G. Wanner, Solving Ordinary Differential Equations II,
2nd edition, section IV.7 (Rosenbrock methods; with gamma_ij = 0 they are those of Runge-Kutta
methods).
"""

from __future__ import annotations

import numpy as np
import pytest

from bayplan.demo.dirk import SDIRK4
from bayplan.demo.rosenbrock import RODAS


def classical_rosenbrock(tableau):
    """The coefficients (alpha, gamma_ij, b, b_embedded) before the change of variables."""
    s = tableau.n_stages
    inverse = np.eye(s) / tableau.gamma - tableau.square(tableau.c, float)
    gammas = np.linalg.inv(inverse)
    alpha = tableau.square(tableau.a, float) @ gammas
    b = np.array(tableau.m) @ gammas
    return alpha, gammas, b, b - np.array(tableau.e) @ gammas


def classical_dirk(tableau):
    s = tableau.n_stages
    a = tableau.gamma * np.eye(s)
    for i, row in enumerate(tableau.a):
        a[i, :i] = row
    return a, np.zeros((s, s)), np.array(tableau.b), np.array(tableau.b_embedded)


METHODS = {
    "RODAS": (RODAS, *classical_rosenbrock(RODAS)),
    "SDIRK4": (SDIRK4, *classical_dirk(SDIRK4)),
}


def defects(alpha, gammas, weights, order):
    """How far each order condition up to `order` is from being met."""
    beta = alpha + gammas
    one = np.ones(len(weights))
    a, b = alpha @ one, beta @ one
    conditions = {
        1: [(weights @ one, 1)],
        2: [(weights @ b, 1 / 2)],
        3: [(weights @ a**2, 1 / 3), (weights @ beta @ b, 1 / 6)],
        4: [
            (weights @ a**3, 1 / 4),
            (weights @ (a * (alpha @ b)), 1 / 8),
            (weights @ beta @ a**2, 1 / 12),
            (weights @ beta @ beta @ b, 1 / 24),
        ],
    }
    return [abs(left - right) for k in range(1, order + 1) for left, right in conditions[k]]


@pytest.fixture(params=METHODS)
def method(request):
    return METHODS[request.param]


def test_order(method):
    tableau, alpha, gammas, b, _ = method
    assert tableau.order == 4
    assert max(defects(alpha, gammas, b, 4)) < 1e-13


def test_embedded_order(method):
    tableau, alpha, gammas, _, embedded = method
    assert tableau.embedded_order == 3
    assert max(defects(alpha, gammas, embedded, 3)) < 1e-13
    assert max(defects(alpha, gammas, embedded, 4)) > 1e-3  # else it would estimate nothing


def test_the_diagonal_is_constant(method):
    tableau, alpha, gammas, _, _ = method
    np.testing.assert_allclose(np.diag(alpha + gammas), tableau.gamma, rtol=1e-13)


def test_stiffly_accurate(method):
    _, alpha, gammas, b, _ = method
    np.testing.assert_allclose((alpha + gammas)[-1], b, atol=1e-13)
    assert alpha[-1].sum() == pytest.approx(1, abs=1e-13)


def stability(alpha, gammas, weights, z):
    """The stability function R(z) = 1 + z b (I - z B)^-1 1."""
    s = len(weights)
    inner = np.linalg.solve(np.eye(s) - z * (alpha + gammas), np.ones(s))
    return 1 + z * (weights @ inner)


def test_l_stable(method):
    _, alpha, gammas, b, _ = method
    on_the_axis = [stability(alpha, gammas, b, 1j * y) for y in np.logspace(-3, 6, 400)]
    assert np.max(np.abs(on_the_axis)) <= 1 + 1e-12
    assert abs(stability(alpha, gammas, b, -1e9)) < 1e-7
