"""`same_as`: two names for the same bytes, in every location."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_tools import compile_kernel, layout_of
from numba import cuda

from bayplan.kernel import kernel

BOTH = [
    pytest.param("compiled", marks=pytest.mark.ptx),
    pytest.param("simulated", marks=pytest.mark.sim),
]
LOCATIONS = ["shared", "block", "local", "persistent_local"]


def _layout(location: str, zero: str = ""):
    return layout_of(
        "Same",
        [
            ("other", 3, location),
            ("x", 4, location, {"zero": "x" in zero}),
            ("bits", 3, {"same_as": "x", "dtype": "i4", "zero": "b" in zero}),
        ],
    )


def _kernel(layout):
    bound = layout.bind()

    def kern(out):
        b = layout.views(bound.root(cuda.threadIdx.x))
        b.other[1] = 2.0
        b.x[1] = 1.0
        out[0] = b.bits[1]
        b.bits[2] = 0
        b.x[3] = 5.0
        out[1] = b.x[2] + b.other[1]

    return kern, bound


@pytest.mark.parametrize("location", LOCATIONS)
@pytest.mark.parametrize("path", BOTH)
def test_two_names_for_the_same_bytes(path, location):
    kern, bound = _kernel(_layout(location))
    if path == "compiled":
        from numba.cuda import types

        compiled = compile_kernel(kern, (types.int32[::1],))
        assert compiled.count(r"ld\.") == compiled.count(r"ld\.param")
        # The bits of 1.0, and 0.0 + 2.0, are known when compiled.
        assert compiled.count("1065353216") == 1
        return
    out = np.zeros(2, np.int32)
    kernel(kern)[1, 1, 0, bound.dynamic_shared_bytes(1)](out)
    np.testing.assert_array_equal(out, [np.float32(1).view(np.int32), 2])


@pytest.mark.parametrize("location", LOCATIONS)
@pytest.mark.parametrize(("zero", "n_zeroed"), [("x", 4), ("b", 3), ("xb", 4), ("", 0)])
@pytest.mark.sim
def test_zero_filling_covers_what_asked_for_it(location, zero, n_zeroed):
    layout = _layout(location, zero)
    bound = layout.bind()

    def kern(out):
        if bound.layout.shared.nbytes + bound.layout.block.nbytes:
            arena = cuda.shared.array(0, np.dtype(np.uint8))
            arena[:] = 0xFF
        b = layout.views(bound.root(0))
        for i in range(4):
            out[i] = b.x[i]

    out = np.full(4, 9, np.float32)
    kernel(kern)[1, 1, 0, bound.dynamic_shared_bytes(1)](out)
    np.testing.assert_array_equal(out, [0] * n_zeroed + [np.nan] * (4 - n_zeroed))


@pytest.mark.ptx
def test_shared_bytes_take_one_place_in_the_frame():
    layout = layout_of("Frame", [("x", 64), ("y", 64, {"same_as": "x"})])
    bound = layout.bind()

    def kern(out, n):
        b = layout.views(bound.root(0))
        for i in range(n):
            b.x[i] = out[i]
        for i in range(n):
            out[i] += b.y[n - 1 - i]

    from numba.cuda import types

    compiled = compile_kernel(kern, (types.float32[::1], types.int32))
    assert compiled.assemble()[1] == 256
