"""The same source in Numba's simulator: values, fillings, and what it can see."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_tools import Node, layout_of
from numba import cuda

from bayplan.kernel import device, kernel

pytestmark = pytest.mark.sim


def _launch(function, bound, *args, runs=1, blocks=1, threads=None, n_bytes=None):
    n_bytes = bound.dynamic_shared_bytes(runs) if n_bytes is None else n_bytes
    kernel(function)[blocks, threads or runs, 0, n_bytes](*args)


def test_a_tree_of_views():
    newton = Node(
        "Newton",
        [("residual", 3, "shared", {"dtype": "f8"}), ("jac", (3, 3), "shared"), ("tmp", 3)],
    )
    step = Node("Step", [("state", 3, "shared")], [("newton", newton)])
    inner, layout, bound = newton.layout, step.layout, step.layout.bind()

    @device
    def solve(mem, x):
        b = inner.views(mem)
        for i in range(3):
            b.tmp[i] = 1
            b.jac[i, i] = i
            b.residual[i] = x[i] - b.jac[i, i] * b.tmp[i]
        return b.residual[0] + b.residual[1] + b.residual[2]

    def kern(out):
        run = cuda.grid(1)
        b = layout.views(bound.root(cuda.threadIdx.x))
        for i in range(3):
            b.state[i] = run + i
        total = solve(b.newton, b.state)
        cuda.syncthreads()
        out[run, 0] = total
        out[run, 1] = b.newton.residual[2] + b.state[2]

    out = np.zeros((8, 2))
    _launch(kern, bound, out, runs=4, blocks=2)
    run = np.arange(8)
    np.testing.assert_array_equal(out[:, 0], 3 * run)
    np.testing.assert_array_equal(out[:, 1], run + run + 2)


def test_runs_use_every_byte_of_their_slice_and_no_other():
    layout = layout_of("Slices", [("a", 5, "shared", {"dtype": "u1"}), ("b", 3, "shared")])
    bound = layout.bind()
    n_runs = 3

    def kern(out):
        run = cuda.threadIdx.x
        b = layout.views(bound.root(run))
        for i in range(5):
            b.a[i] = 16 * (run + 1) + i
        for i in range(3):
            b.b[i] = run + 1
        cuda.syncthreads()
        if run == 0:
            arena = cuda.shared.array(0, np.dtype(np.uint8))
            for i in range(arena.size):
                out[i] = arena[i]

    n_bytes = bound.dynamic_shared_bytes(n_runs)
    out = np.zeros(n_bytes, np.uint8)
    _launch(kern, bound, out, runs=n_runs)
    expected = np.zeros(n_bytes, np.uint8)
    for run in range(n_runs):
        first = bound.slices_offset + run * bound.stride
        a, b = first + layout["a"].offset, first + layout["b"].offset
        expected[a : a + 5] = 16 * (run + 1) + np.arange(5)
        expected[b : b + 12] = np.full(3, run + 1, np.float32).view(np.uint8)
    np.testing.assert_array_equal(out, expected)


def test_block_buffers_are_shared_by_the_runs():
    layout = layout_of("Block", [("sums", 4, "block", {"dtype": "i4"}), ("a", 1, "shared")])
    bound = layout.bind(reserve_bytes=32)

    def kern(out):
        run = cuda.threadIdx.x
        b = layout.views(bound.root(run))
        b.sums[run] = run + 10
        b.a[0] = run
        cuda.syncthreads()
        out[run] = b.sums[3 - run] + b.a[0]

    out = np.zeros(4, np.int32)
    _launch(kern, bound, out, runs=4)
    np.testing.assert_array_equal(out, [13, 13, 13, 13])


def test_reserved_bytes_belong_to_others():
    layout = layout_of("Reserve", [("a", 4, "shared"), ("w", 2, "block")])
    bound = layout.bind(reserve_bytes=24)
    assert bound.dynamic_shared_bytes(2) >= 24 + layout.block.nbytes + 2 * layout.shared.nbytes

    def kern(out):
        other = cuda.shared.array(0, np.dtype(np.float32))
        for i in range(6):
            other[i] = i
        b = layout.views(bound.root(cuda.threadIdx.x))
        for i in range(4):
            b.a[i] = -1
        b.w[0] = -1
        b.w[1] = -1
        cuda.syncthreads()
        for i in range(6):
            out[i] = other[i]

    out = np.zeros(6, np.float32)
    _launch(kern, bound, out, runs=2)
    np.testing.assert_array_equal(out, np.arange(6))


FILLINGS = [("f2", np.nan), ("f4", np.nan), ("f8", np.nan), ("c8", np.nan)]
FILLINGS += [("i4", -1), ("u1", 255), ("i8", -1)]


@pytest.mark.parametrize("location", ["local", "persistent_local"])
@pytest.mark.parametrize(("dtype", "filling"), FILLINGS)
def test_undefined_bytes_look_undefined(location, dtype, filling):
    layout = layout_of("Filled", [("x", 3, location, {"dtype": dtype})])
    bound = layout.bind()

    def kern(out):
        b = layout.views(bound.root(0))
        for i in range(3):
            out[i] = b.x[i]

    out = np.zeros(3, dtype)
    _launch(kern, bound, out)
    np.testing.assert_array_equal(out, np.full(3, filling, dtype))


def test_locals_are_new_at_every_opening_and_persistent_bytes_last():
    layout = layout_of("Calls", [("x", 1), ("n", 1, "persistent_local", {"zero": True})])
    bound = layout.bind()

    @device
    def work(mem):
        b = layout.views(mem)
        was = b.x[0]
        b.x[0] = 5
        b.n[0] += 1
        return was

    def kern(out):
        mem = bound.root(cuda.threadIdx.x)
        for i in range(3):
            out[cuda.threadIdx.x, i] = work(mem)
        out[cuda.threadIdx.x, 3] = layout.views(mem).n[0]

    out = np.zeros((2, 4), np.float32)
    _launch(kern, bound, out, runs=2)
    assert np.isnan(out[:, :3]).all()
    np.testing.assert_array_equal(out[:, 3], [3, 3])


def test_zero_filling_by_root_and_by_views():
    kid = Node(
        "Kid", [("kept", 2, "shared", {"keep": True, "zero": True}), ("l", 2, {"zero": True})]
    )
    node = Node(
        "Zero",
        [
            ("scratch", 2, "shared", {"zero": True}),
            ("plain", 2, "shared"),
            ("w", 3, "block", {"zero": True}),
            ("wk", 3, "block", {"zero": True, "keep": True}),
        ],
        [("kid", kid)],
    )
    layout, inner, bound = node.layout, kid.layout, node.layout.bind()

    @device
    def count(mem):
        b = inner.views(mem)
        b.kept[1] += 1
        b.l[0] += 1
        return b.l[0]

    def kern(out):
        run = cuda.threadIdx.x
        arena = cuda.shared.array(0, np.dtype(np.uint8))
        if run == 0:
            arena[:] = 0xFF  # what an earlier block may have left
        cuda.syncthreads()
        mem = bound.root(run)
        for _ in range(3):
            b = layout.views(mem)
            out[run, 0] = b.scratch[0] + b.w[run]
            b.scratch[0] = 7
            b.w[run] = 9
            b.wk[run] += 1
            out[run, 1] = count(b.kid)
        out[run, 2] = b.kid.kept[1]
        out[run, 3] = b.kid.kept[0]
        out[run, 4] = b.wk[run]
        out[run, 5] = b.plain[0]

    out = np.zeros((2, 6), np.float32)
    _launch(kern, bound, out, runs=2)
    np.testing.assert_array_equal(out, [[0, 1, 3, 0, 3, np.nan]] * 2)


def test_lanes_of_a_run_share_its_bytes():
    layout = layout_of("Lanes", [("s", 4, "shared", {"zero": True, "keep": True, "dtype": "i4"})])
    bound = layout.bind(lanes_per_run=4)

    def kern(out):
        lane = cuda.threadIdx.x
        b = layout.views(bound.root(lane // 4))
        b.s[lane % 4] += lane
        cuda.syncthreads()
        out[lane] = b.s[0] + b.s[1] + b.s[2] + b.s[3]

    out = np.zeros(8, np.int32)
    _launch(kern, bound, out, runs=2, threads=8)
    np.testing.assert_array_equal(out, [6] * 4 + [22] * 4)


def test_n_dimensional_records_and_complex():
    pair = [("x", "f4"), ("n", "i4")]
    layout = layout_of(
        "Kinds",
        [
            ("m", (2, 3, 4), "shared", {"dtype": "f8"}),
            ("r", 2, "shared", {"dtype": pair}),
            ("z", 2, "persistent_local", {"dtype": "c16"}),
            ("h", 3, "shared", {"dtype": "i2"}),
        ],
    )
    bound = layout.bind()

    def kern(out):
        b = layout.views(bound.root(0))
        b.m[1, 2, 3] = 0.5
        b.r[1].x = 1.5
        b.r[1]["n"] = 2
        b.z[1] = 3 + 4j
        b.h[2] = -5
        out[0] = b.m[1, 2, 3]
        out[1] = b.r[1]["x"] + b.r[1].n
        out[2] = b.z[1].imag
        out[3] = b.h[2]
        out[4] = b.m.shape[0] * 100 + b.m.shape[1] * 10 + b.m.shape[2]

    out = np.zeros(5)
    _launch(kern, bound, out)
    np.testing.assert_array_equal(out, [0.5, 3.5, 4, -5, 234])


def test_zero_size_everywhere():
    locations = ["shared", "block", "local", "persistent_local"]
    layout = layout_of("Empty", [(f"e{k}", 0, where) for k, where in enumerate(locations)])
    bound = layout.bind()
    assert bound.dynamic_shared_bytes(4) == 0

    def kern(out):
        b = layout.views(bound.root(cuda.threadIdx.x))
        out[0] = b.e0.size + b.e1.size + b.e2.size + len(b.e3)
        out[1] = b.child_shared.size + b.child_persistent_local.size

    out = np.ones(2)
    _launch(kern, bound, out, runs=2)
    np.testing.assert_array_equal(out, [0, 0])


# ---- too few bytes ----------------------------------------------------------


def test_short_launch_names_the_run_and_the_bytes():
    layout = layout_of("Short", [("a", 3, "shared"), ("w", 4, "block")])
    bound = layout.bind()

    def kern(out):
        b = layout.views(bound.root(cuda.threadIdx.x))
        b.a[0] = 1

    needed = bound.slices_offset + 2 * bound.stride + layout.shared.nbytes
    given = needed - 1
    text = rf"run 2 of layout 'Short' needs {needed} dynamic shared bytes, the launch gave {given}$"
    with pytest.raises(IndexError, match=text):
        _launch(kern, bound, np.zeros(1), runs=3, n_bytes=given)
    _launch(kern, bound, np.zeros(1), runs=3, n_bytes=needed)


def test_a_launch_without_dynamic_bytes():
    layout = layout_of("None", [("a", 3, "shared")])
    bound = layout.bind()

    def kern(out):
        layout.views(bound.root(0))

    with pytest.raises(IndexError, match="run 0 of layout 'None' needs 12 dynamic .* gave 0$"):
        _launch(kern, bound, np.zeros(1), n_bytes=0)


def test_negative_runs_are_seen():
    layout = layout_of("Negative", [("a", 3, "shared")])
    bound = layout.bind()

    def kern(out):
        layout.views(bound.root(-1))

    with pytest.raises(IndexError, match="run -1 of layout 'Negative'"):
        _launch(kern, bound, np.zeros(1), runs=4)


def test_short_arenas():
    layout = layout_of("Arenas", [("a", 4, "shared"), ("p", 3, "persistent_local")])

    def kern(shared, persistent):
        b = layout.views(shared, persistent)
        b.a[3] = 1
        b.p[2] = 2

    shared, persistent = np.zeros(4, np.float32), np.zeros(12, np.uint8)
    kernel(kern)[1, 1](shared, persistent)
    np.testing.assert_array_equal(shared, [0, 0, 0, 1])
    np.testing.assert_array_equal(persistent.view(np.float32), [0, 0, 2])
    text = r"layout 'Arenas' needs 12 bytes of the persistent arena, it has 8$"
    with pytest.raises(IndexError, match=text):
        kernel(kern)[1, 1](shared, persistent[:8].copy())


def test_root_outside_a_kernel():
    bound = layout_of("Outside", [("a", 3, "shared")]).bind()
    with pytest.raises(RuntimeError, match="root can only be called inside a running kernel"):
        bound.root(0)


def test_views_on_the_host():
    """Arenas may be any arrays, so layouts can be looked into without a kernel."""
    layout = layout_of("Host", [("a", 2, "shared"), ("m", (2, 2), "shared", {"dtype": "i4"})])
    arena = np.zeros(layout.shared.nbytes, np.uint8)
    b = layout.views(arena)
    b.m[1, 0] = 9
    offset = layout["m"].offset + 8
    assert arena[offset : offset + 4].view("i4")[0] == 9


# ---- moving buffers ---------------------------------------------------------


def _recurrence(layout, bound):
    """Sums whose last bits depend on every step; `x` is written before it is read."""

    @device
    def work(mem, seed):
        b = layout.views(mem)
        for i in range(b.x.size):
            b.x[i] = seed / (i + 3)
        for _ in range(20):
            for i in range(b.x.size):
                b.x[i] = b.x[i] * b.y[i % 2] + b.x[i - 1] / 7
        return b.x[0] + b.x[1] * b.x[2]

    def kern(out):
        mem = bound.root(cuda.threadIdx.x)
        b = layout.views(mem)
        b.y[0], b.y[1] = 0.3, 0.7
        out[cuda.threadIdx.x] = work(mem, cuda.threadIdx.x + 1)

    return kern


def test_numbers_do_not_depend_on_the_location():
    """Bit for bit, here; compilers fuse differently for local and shared operands."""
    results = []
    for location in ("shared", "local", "persistent_local"):
        buffers = [("y", 2, "persistent_local"), ("x", 5, location)]
        layout = layout_of("Moved", buffers)
        bound = layout.bind()
        out = np.zeros(3, np.float32)
        _launch(_recurrence(layout, bound), bound, out, runs=3)
        results.append(out)
    assert results[0].all()
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


def test_local_arrays_made_on_one_line_are_distinct():
    """The simulator tells static arrays apart by their line; ours are none of them."""
    node = Node("Line", [("x", 3), ("y", 3)])
    x_alloc, y_alloc = node.allocator("x"), node.allocator("y")

    def kern(out):
        arrays = x_alloc(), y_alloc(), x_alloc()
        for k in range(3):
            arrays[k][0] = k
        out[cuda.threadIdx.x] = arrays[0][0] * 100 + arrays[1][0] * 10 + arrays[2][0]

    out = np.zeros(2)
    kernel(kern)[1, 2](out)
    np.testing.assert_array_equal(out, [12, 12])


def test_opening_a_region_again_gives_the_same_bytes():
    kid = Node("Kid", [("k", 2, "shared")])
    node = Node("Again", [("a", 2, "shared")], [("kid", kid)])
    layout, inner, bound = node.layout, kid.layout, node.layout.bind()

    def kern(out):
        mem = bound.root(0)
        layout.views(mem).a[0] = 3
        inner.views(layout.views(mem).kid).k[1] = 4
        b = layout.views(mem)
        out[0] = b.a[0] + b.kid.k[1]

    out = np.zeros(1)
    _launch(kern, bound, out)
    assert out[0] == 7
