"""What the compiled code does with memory: spaces, widths, offsets, frames."""

from __future__ import annotations

import re

import numpy as np
import pytest
from kernel_tools import Node, compile_kernel, layout_of
from numba import cuda

from bayplan.kernel import device

pytestmark = pytest.mark.ptx
types = pytest.importorskip("numba.cuda.types")

PAIR = [("x", "f4"), ("n", "i4")]


def _array_signature(*more):
    return (types.float32[::1], *more)


def _compile(function, *more, cc=(8, 0), **options):
    return compile_kernel(function, _array_signature(*more), cc, **options)


# Bytes of one element of an instruction's type.
ITEM_BYTES = {"b64": 8, "f64": 8, "u64": 8, "f32": 4, "b32": 4, "u32": 4}
ITEM_BYTES |= {"u16": 2, "b16": 2, "u8": 1, "b8": 1}
_ACCESS = re.compile(r"\b((?:ld|st)\.(?:shared|global))(?:\.v(\d))?\.(\w+)\s[^\[]*\[([^\]]+)\]")


def _accesses(compiled, kind: str) -> list[tuple[int, int]]:
    """(constant byte offset, bytes) of every element; `kind` like "st.shared"."""
    found = []
    for what, width, item, place in _ACCESS.findall(compiled.ptx):
        if what == kind:
            offset = int(m[1]) if (m := re.search(r"\+(\d+)$", place)) else 0
            n = ITEM_BYTES[item]
            found += [(offset + k * n, n) for k in range(int(width or 1))]
    return found


def _offsets(compiled, kind: str) -> set[int]:
    return {offset for offset, _ in _accesses(compiled, kind)}


def _assert_clean(compiled):
    assert compiled.n_generic == 0
    assert compiled.count(r"\bcall") == 0
    assert compiled.count(r"\.local") == 0
    assert compiled.assemble()[1] == 0


# ---- widths -----------------------------------------------------------------


@pytest.mark.parametrize(("align", "width"), [(16, "v4"), (8, "v2")])
def test_four_loads_are_one_where_aligned(align, width, cc):
    buffers = [("pad", 1, "shared"), ("a", 4, "shared", {"align": align})]
    node = Node("Wide", buffers)
    bound = node.layout.bind()
    layout = node.layout

    def kern(o):
        b = layout.views(bound.root(cuda.threadIdx.x))
        o[0] = b.a[0] + b.a[1] + b.a[2] + b.a[3]

    compiled = _compile(kern, cc=cc)
    loads = [line for line in compiled.instructions if "ld.shared" in line]
    assert len(loads) == {"v4": 1, "v2": 2}[width], loads
    assert all(f".shared.{width}." in line for line in loads)


def test_mixed_element_types():
    names = ["f2", "f4", "f8", "i1", "u2", "i4", "i8", "c8", "c16", "?"]
    node = Node(
        "Mixed", [(f"b_{n.strip('?') or 'bool'}", 2, "shared", {"dtype": n}) for n in names]
    )
    layout, bound = node.layout, node.layout.bind()

    def kern(o):
        b = layout.views(bound.root(cuda.threadIdx.x))
        b.b_f8[1] = o[0]
        b.b_i1[1] = 3
        b.b_u2[0] = 4
        b.b_i8[1] = 5
        b.b_c8[1] = o[0] + 1j * o[1]
        b.b_c16[1] = o[0] + 1j * o[1]
        b.b_bool[1] = o[0] > 0

    compiled = _compile(kern)
    _assert_clean(compiled)
    written = sum(n_bytes for _, n_bytes in _accesses(compiled, "st.shared"))
    assert written == 8 + 1 + 2 + 8 + 8 + 16 + 1


def test_records():
    layout = layout_of("Records", [("a", 3, "shared"), ("r", 4, "shared", {"dtype": PAIR})])
    bound = layout.bind(policy="none")

    def kern(o):
        b = layout.views(bound.root(0))
        b.r[1].x = o[0]
        b.r[2]["n"] = 7

    compiled = _compile(kern)
    _assert_clean(compiled)
    first = layout["r"].offset
    assert _offsets(compiled, "st.shared") == {first + 8, first + 16 + 4}


def test_n_dimensional():
    layout = layout_of("Grid", [("a", 1, "shared"), ("m", (3, 4, 5), "shared", {"dtype": "f8"})])
    bound = layout.bind(policy="none")

    def kern(o):
        b = layout.views(bound.root(0))
        b.m[2, 3, 4] = o[0]
        b.m[1, 0, 2] = o[1]
        o[2] = b.m.shape[0] * 100 + b.m.shape[1] * 10 + b.m.shape[2]
        o[3] = b.m.size + b.m.ndim

    compiled = _compile(kern)
    _assert_clean(compiled)
    first = bound.slices_offset + layout["m"].offset
    assert _offsets(compiled, "st.shared") == {first + 8 * 59, first + 8 * 22}


def test_zero_size_costs_nothing():
    layout = layout_of("Empty", [("s", 0, "shared"), ("l", 0), ("p", (3, 0), "persistent_local")])
    bound = layout.bind()

    def kern(o):
        b = layout.views(bound.root(cuda.threadIdx.x))
        o[0] = b.s.size + b.l.size + b.p.size + len(b.l) + b.p.shape[0]
        o[1] = b.child_shared.size + b.child_persistent_local.size

    compiled = _compile(kern)
    _assert_clean(compiled)
    assert "shared" not in "".join(compiled.instructions)
    assert "_bayplan" not in compiled.ptx


def test_unused_buffers_cost_nothing():
    wide = [(f"s{k}", 8, "shared") for k in range(32)] + [(f"l{k}", 8) for k in range(32)]
    many, few = layout_of("Many", wide), layout_of("Few", [("s0", 8, "shared"), ("l0", 8)])

    def kernel_over(layout):
        bound = layout.bind(stride=4096)

        def kern(o):
            b = layout.views(bound.root(cuda.threadIdx.x))
            b.s0[2] = o[0]
            b.l0[1] = o[1]
            o[2] = b.l0[1]

        return _compile(kern)

    def without_names(compiled):
        return [re.sub(r"_ZN\w+", "kernel", line) for line in compiled.instructions]

    assert without_names(kernel_over(many)) == without_names(kernel_over(few))


# ---- where things are -------------------------------------------------------


def test_arena_order_and_reserve():
    buffers = [("w", 5, "block"), ("s", 3, "shared"), ("b8", 1, "block", {"dtype": "f8"})]
    layout = layout_of("Arena", buffers)
    bound = layout.bind(reserve_bytes=100)
    assert bound.block_offset >= 100

    def kern(o):
        b = layout.views(bound.root(1))
        b.w[0] = o[0]
        b.s[1] = o[1]

    compiled = _compile(kern)
    _assert_clean(compiled)
    block = bound.block_offset + layout["w"].offset
    run = bound.slices_offset + bound.stride + layout["s"].offset + 4
    assert _offsets(compiled, "st.shared") == {block, run}
    assert re.search(r"\.extern \.shared \.align 16 \.b8 _bayplan_dynamic_shared\[\]", compiled.ptx)
    assert "dynamic_smem_size" not in compiled.ptx


@pytest.mark.parametrize("align", [32, 128])
def test_arena_alignment_follows_the_layout(align):
    layout = layout_of("Aligned", [("s", 4, "shared", {"align": align})])
    bound = layout.bind()

    def kern(o):
        layout.views(bound.root(cuda.threadIdx.x)).s[0] = o[0]

    assert f".shared .align {bound.arena_align} .b8 _bayplan" in _compile(kern).ptx
    assert bound.arena_align == align


def test_block_buffers_are_the_same_for_every_run():
    layout = layout_of("Block", [("w", 4, "block"), ("s", 4, "shared")])
    bound = layout.bind()

    def kern(o, run):
        b = layout.views(bound.root(run))
        b.w[1] = o[0]

    compiled = _compile(kern, types.int32)
    assert _offsets(compiled, "st.shared") == {bound.block_offset + 4}
    assert compiled.count(r"\bmul|\bmad") == 0


def test_children_lie_at_their_offsets():
    grandchild = Node("Grandchild", [("g", 2, "shared"), ("gw", 2, "block")])
    child = Node("Child", [("c", 3, "shared")], [("down", grandchild)])
    parent = Node(
        "Parent", [("p", 5, "shared"), ("pw", 1, "block")], [("one", child), ("two", child)]
    )
    layout, bound = parent.layout, parent.layout.bind(policy="none")
    inner = child.layout

    @device
    def work(mem, x):
        c = inner.views(mem)
        c.c[2] = x
        c.down.g[1] = x
        c.down.gw[1] = x

    def kern(o):
        b = layout.views(bound.root(0))
        work(b.one, o[0])
        work(b.two, o[1])

    expected = set()
    for region in layout.children.values():
        down = inner.children["down"]
        base = bound.slices_offset + region.shared
        expected.add(base + inner["c"].offset + 8)
        expected.add(base + down.shared + 4)
        expected.add(bound.block_offset + region.block + down.block + 4)
    assert len(expected) == 6
    compiled = _compile(kern)
    _assert_clean(compiled)
    assert _offsets(compiled, "st.shared") == expected


def test_arenas_of_the_author():
    layout = layout_of("Own", [("s", 4, "shared"), ("p", 4, "persistent_local"), ("w", 4, "block")])

    def kern(o, shared, persistent, block):
        b = layout.views(shared, persistent, block)
        b.s[1] = o[0]
        b.p[2] = o[1]
        b.w[3] = o[2]

    arena = types.float64[::1]
    compiled = _compile(kern, arena, types.uint8[::1], arena)
    assert "_bayplan" not in compiled.ptx
    assert _offsets(compiled, "st.global") == {4, 8, 12}


# ---- locals and persistent bytes --------------------------------------------


def test_locals_are_aligned_and_not_cleared():
    layout = layout_of("Locals", [("w", 64), ("v", 3, {"dtype": "f8"})])

    bound = layout.bind()

    def kern(o, n):
        b = layout.views(bound.root(0))
        for i in range(n):
            b.w[i] = o[i]
        for i in range(n):
            o[i] += b.w[n - 1 - i]

    compiled = _compile(kern, types.int32)
    depot = re.search(r"\.local \.align (\d+) \.b8\s+\w+\[(\d+)\]", compiled.ptx)
    assert depot is not None
    assert (int(depot[1]), int(depot[2])) == (16, 256)
    assert compiled.count(r"st\.local") <= 8  # the loop's store, unrolled at most
    assert compiled.n_generic == 0


def test_small_locals_stay_in_registers():
    layout = layout_of("Small", [("w", 4), ("h", 4, "persistent_local")])
    bound = layout.bind()

    def kern(o):
        b = layout.views(bound.root(0))
        for i in range(4):
            b.w[i] = o[i]
            b.h[i] = o[i + 4]
        o[9] = b.w[0] + b.w[3] + b.h[2]

    compiled = _compile(kern)
    _assert_clean(compiled)


def test_each_opening_has_its_own_locals():
    layout = layout_of("Twice", [("w", 2)])
    bound = layout.bind()

    def kern(o):
        mem = bound.root(0)
        first, second = layout.views(mem), layout.views(mem)
        first.w[0] = o[0]
        second.w[0] = o[1]
        o[2] = first.w[0] - second.w[0]

    compiled = _compile(kern)
    _assert_clean(compiled)
    assert compiled.count(r"sub\.\S*f32") == 1


def test_persistent_bytes_last_across_calls():
    child = Node("Counter", [("n", 1, "persistent_local", {"zero": True, "dtype": "i4"})])
    parent = Node("Caller", [], [("counter", child)])
    inner, layout, bound = child.layout, parent.layout, parent.layout.bind()

    @device
    def count(mem):
        c = inner.views(mem)
        c.n[0] += 1
        return c.n[0]

    def kern(o):
        b = layout.views(bound.root(0))
        count(b.counter)
        count(b.counter)
        o[0] = count(b.counter)

    compiled = _compile(kern)
    _assert_clean(compiled)
    # 1 + 1 + 1, known when compiled.
    assert compiled.count(r"0f40400000|1077936128") == 1


# ---- zero filling -----------------------------------------------------------


def test_kept_shared_is_zeroed_once_by_root():
    kid = Node("Kid", [("k", 3, "shared", {"keep": True, "zero": True}), ("plain", 2, "shared")])
    node = Node("Zero", [("a", 2, "shared")], [("kid", kid)])
    layout, bound = node.layout, node.layout.bind(policy="none")

    def kern(o):
        bound.root(0)

    compiled = _compile(kern)
    first = bound.slices_offset + layout.children["kid"].shared + kid.layout["k"].offset
    assert _offsets(compiled, "st.shared") == {first, first + 4, first + 8}
    assert compiled.count("bar") == 0


def test_scratch_is_zeroed_at_every_opening():
    layout = layout_of("Scratch", [("a", 1, "shared"), ("z", 2, "shared", {"zero": True})])
    bound = layout.bind(policy="none")

    def once(o):
        layout.views(bound.root(0))

    def never(o):
        bound.root(0)

    first = bound.slices_offset + layout["z"].offset
    assert _offsets(_compile(once), "st.shared") == {first, first + 4}
    assert _compile(never).count(r"st\.shared") == 0


def test_local_zero_is_seen_by_the_reader():
    layout = layout_of("LocalZero", [("z", 4, {"zero": True})])
    bound = layout.bind()

    def kern(o):
        b = layout.views(bound.root(0))
        b.z[1] = o[0]
        o[1] = b.z[0] + b.z[2] + b.z[3]

    compiled = _compile(kern)
    _assert_clean(compiled)
    assert compiled.count(r"st\.global") == 1
    assert compiled.count(r"ld\.global") == 0  # only zeros are added


def test_block_zero_waits_on_both_sides():
    layout = layout_of("BlockZero", [("w", 100, "block", {"zero": True, "keep": True})])
    bound = layout.bind()

    def kern(o):
        bound.root(0)

    compiled = _compile(kern)
    assert compiled.count(r"bar(rier)?(\.cta)?\.sync") == 2
    assert compiled.count(r"%ntid\.x") >= 1  # the threads share the work


@pytest.mark.parametrize("lanes", [2, 8, 32])
def test_run_zero_waits_for_its_lanes(lanes):
    layout = layout_of("RunZero", [("s", 40, "shared", {"zero": True, "keep": True})])
    bound = layout.bind(lanes_per_run=lanes)

    def kern(o):
        bound.root(cuda.threadIdx.x // lanes)

    compiled = _compile(kern)
    assert compiled.count(r"bar\.warp\.sync") == 2
    assert compiled.count(r"%laneid") >= 1
    assert compiled.count(r"\bbar(rier)?(\.cta)?\.sync") == 0


# ---- other builds -----------------------------------------------------------


def test_debug_and_lineinfo_builds():
    layout = layout_of("Debug", [("a", 4, "shared"), ("l", 4)])
    bound = layout.bind()

    def kern(o):
        b = layout.views(bound.root(cuda.threadIdx.x))
        b.l[1] = o[0]
        b.a[2] = b.l[1]

    for options in ({"debug": True, "opt": False}, {"lineinfo": True}):
        assert _compile(kern, **options).count(r"\bst\.") > 0


def test_not_inlined_device_function():
    layout = layout_of("Called", [("a", 4, "shared"), ("l", 4)])
    bound = layout.bind()

    @device(forceinline=False)
    def work(mem, x, n):
        b = layout.views(mem)
        for i in range(n):
            b.a[i % 4] = x
        return b.a[0]

    def kern(o, n):
        o[0] = work(bound.root(cuda.threadIdx.x), o[1], n)

    assert "st." in _compile(kern, types.int32).ptx


def test_views_may_be_passed_on():
    layout = layout_of("Passed", [("a", 4, "shared")])
    bound = layout.bind(policy="none")

    @device
    def helper(b, i):
        b.a[i] = 1
        return b.a[i]

    def kern(o):
        b = layout.views(bound.root(0))
        o[0] = helper(b, 1)

    compiled = _compile(kern)
    _assert_clean(compiled)
    assert _offsets(compiled, "st.shared") == {bound.slices_offset + 4}


def test_sizes_are_python_ints():
    layout = layout_of("Sizes", [("m", (np.int64(3), np.int32(4)), "shared")])
    entry = layout["m"]
    assert type(entry.size) is int
    assert [type(n) for n in entry.shape] == [int, int]


def test_a_view_chosen_at_run_time_is_generic():
    """Two memories behind one name cost what they cost in CUDA C: generic accesses."""
    layout = layout_of("Chosen", [("s", 40, "shared"), ("l", 40)])
    bound = layout.bind()

    def kern(o, n):
        b = layout.views(bound.root(cuda.threadIdx.x))
        for i in range(40):
            b.s[i] = o[i]
            b.l[i] = o[i + 1]
        x = b.s if n > 3 else b.l
        o[0] = x[n]

    assert _compile(kern, types.int32).n_generic > 0


def test_unsupported_element_types_are_named():
    from numba.cuda.core.errors import NumbaError

    layout = layout_of("Wide", [("x", 2, "shared", {"dtype": np.longdouble})])
    bound = layout.bind()

    def kern(o):
        layout.views(bound.root(0)).x[0] = 1

    text = f"buffer 'x' has element type {np.dtype(np.longdouble)}, which numba-cuda does not"
    with pytest.raises(NumbaError, match=text):
        _compile(kern)


def test_persistent_bytes_with_a_run_time_index_are_local_memory():
    """All persistent buffers are one array: one such index takes them all along."""
    buffers = [("h", 4, "persistent_local"), ("g", 6, "persistent_local", {"dtype": "f8"})]
    layout = layout_of("Spilled", buffers)
    bound = layout.bind()

    def kern(o, n):
        b = layout.views(bound.root(0))
        for i in range(4):
            b.h[i] = o[i]
        b.g[n] = o[4]
        o[5] = b.h[n] + b.g[3]

    compiled = _compile(kern, types.int32)
    assert compiled.n_generic == 0
    assert compiled.assemble()[1] == layout.persistent_local.nbytes == 64
