"""The same on a device, where there is one: `make test-gpu`."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_tools import Node, layout_of
from numba import cuda

from bayplan.kernel import device, enable_large_shared, is_simulated, kernel

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(is_simulated() or not cuda.is_available(), reason="no device"),
]


def test_a_tree_of_views():
    kid = Node("Kid", [("q", 3, "shared", {"dtype": "f8"}), ("t", 3)])
    parts = [("p", 4, "shared"), ("n", 1, "persistent_local", {"zero": True})]
    node = Node("Parent", parts, [("kid", kid)])
    inner, layout, bound = kid.layout, node.layout, node.layout.bind()

    @device
    def work(mem, x):
        b = inner.views(mem)
        for i in range(3):
            b.t[i] = i
            b.q[i] = x * b.t[i]
        return b.q[2]

    @device
    def step(mem, x):
        b = layout.views(mem)
        b.n[0] += 1
        b.p[3] = work(b.kid, x) + b.n[0]
        return b.p[3]

    @kernel
    def kern(out):
        run = cuda.grid(1)
        mem = bound.root(cuda.threadIdx.x)
        total = step(mem, run)
        total += step(mem, run)
        out[run] = total

    out = np.zeros(128, np.float32)
    kern[4, 32, 0, bound.dynamic_shared_bytes(32)](out)
    np.testing.assert_array_equal(out, 4 * np.arange(128) + 3)


def test_zero_filling_by_those_who_share():
    buffers = [
        ("w", 100, "block", {"zero": True, "keep": True, "dtype": "i4"}),
        ("s", 5, "shared", {"zero": True, "keep": True, "dtype": "i4"}),
    ]
    layout = layout_of("Zero", buffers)
    bound = layout.bind(lanes_per_run=4)

    @kernel
    def kern(out):
        thread = cuda.threadIdx.x
        b = layout.views(bound.root(thread // 4))
        b.w[thread] += thread
        b.s[thread % 4] += thread
        cuda.syncthreads()
        first = 4 * (thread // 4)
        out[thread, 0] = b.w[63 - thread] + b.w[99]
        out[thread, 1] = b.s[0] + b.s[1] + b.s[2] + b.s[3] + b.s[4] - 4 * first

    out = np.zeros((64, 2), np.int32)
    for _ in range(3):  # shared memory holds what the launch before left
        kern[1, 64, 0, bound.dynamic_shared_bytes(16)](out)
        np.testing.assert_array_equal(out[:, 0], np.arange(64)[::-1])
        np.testing.assert_array_equal(out[:, 1], 6)


def test_phases_that_share_bytes():
    layout = layout_of(
        "Phased",
        [
            ("early", 4, "shared", {"dtype": "i4", "live": "a"}),
            ("late", 4, "shared", {"dtype": "i4", "live": "b", "zero": True}),
        ],
        phases="ab",
    )
    assert layout["early"].offset == layout["late"].offset
    bound = layout.bind(lanes_per_run=4)

    @kernel
    def kern(out):
        thread = cuda.threadIdx.x
        lane = thread % 4
        b = layout.views(bound.root(thread // 4))
        a = b.a()
        a.early[lane] = thread
        cuda.syncthreads()
        mirrored = a.early[3 - lane]
        z = b.b()  # the run's lanes meet here, before and after it is zeroed
        z.late[lane] += mirrored
        cuda.syncthreads()
        out[thread] = z.late[3 - lane]

    out = np.zeros(64, np.int32)
    for _ in range(3):  # shared memory holds what the launch before left
        kern[1, 64, 0, bound.dynamic_shared_bytes(16)](out)
        np.testing.assert_array_equal(out, np.arange(64))


def test_more_than_48_kib():
    layout = layout_of("Large", [("x", 14_000, "shared")])
    bound = layout.bind()
    n_bytes = bound.dynamic_shared_bytes(1)
    assert n_bytes > 48 * 1024
    if n_bytes > cuda.get_current_device().MAX_SHARED_MEMORY_PER_BLOCK_OPTIN:
        pytest.skip("this device has no more than 48 KiB")

    @kernel
    def kern(out):
        b = layout.views(bound.root(0))
        for i in range(cuda.threadIdx.x, 14_000, cuda.blockDim.x):
            b.x[i] = i
        cuda.syncthreads()
        out[cuda.threadIdx.x] = b.x[13_999 - cuda.threadIdx.x]

    out = np.zeros(32, np.float32)
    enable_large_shared(kern, n_bytes, "void(float32[::1])")
    kern[1, 32, 0, n_bytes](out)
    np.testing.assert_array_equal(out, 13_999 - np.arange(32))
