"""Every tree compiles for real devices, and no buffer is reached through a generic pointer."""

from __future__ import annotations

import re

import pytest

from bayplan import BufferRegistry
from bayplan.demo import by_hand
from bayplan.demo.ensemble import build_kernel, build_tree
from bayplan.demo.problems import HIRES, POLLU

pytestmark = [pytest.mark.ptx, pytest.mark.usefixtures("no_gpu")]


def signature(precision, n_indices):
    """Of the kernels: `n_indices` integers, then the arrays."""
    from numba.cuda import types

    real = getattr(types, precision)
    matrix, vector, counts = real[:, ::1], real[::1], types.int64[:, ::1]
    return (*[types.int64] * n_indices, matrix, matrix, vector, matrix, counts)


def compiled(kernel, signature):
    from numba import cuda

    text, _ = cuda.compile_ptx(kernel.py_func, signature, cc=(8, 0))
    return text


def n_instructions(text):
    return len(re.findall(r"^\s+(?:@!?%p\d+ )?[a-z][\w.:]*(?:\s.*)?;$", text, re.MULTILINE))


def tree(problem, method, linear, precision):
    return build_tree(
        problem, method=method, linear=linear, precision=precision, registry=BufferRegistry()
    )


@pytest.mark.parametrize(  # every pair of choices at least once
    ("method", "linear", "precision"),
    [
        ("rosenbrock", "lu", "float32"),
        ("rosenbrock", "bicgstab", "float64"),
        ("dirk", "lu", "float64"),
        ("dirk", "bicgstab", "float32"),
    ],
)
def test_compiles(method, linear, precision):
    kernel, _ = build_kernel(tree(HIRES, method, linear, precision))
    text = compiled(kernel, signature(precision, 2))
    assert re.search(r"\bld\.shared", text)
    assert re.search(r"\bst\.shared", text)
    assert "bar.sync" in text
    generic = re.findall(r"^\s*(?:@%p\d+ )?(?:ld|st)\.(?:v\d\.)?[fbsu]\d+.*$", text, re.MULTILINE)
    assert generic == []
    if precision == "float32":  # nothing is computed in double precision by accident
        assert re.findall(r"^\s*(?:add|mul|fma|div|sqrt)\S*\.f64.*$", text, re.MULTILINE) == []


def test_the_tree_costs_no_more_than_offsets_by_hand():
    loop = tree(POLLU, "dirk", "lu", "float32")
    kernel, bound = build_kernel(loop)
    by_tree = compiled(kernel, signature("float32", 2))
    old_way = by_hand.build_kernel(POLLU, loop.precision, bound.stride // 4)
    by_offsets = compiled(old_way, signature("float32", 1))
    assert 1000 < n_instructions(by_tree) <= n_instructions(by_offsets)
