"""Numba's dead-code pass runs where it inlined an overload: no store may go."""

from __future__ import annotations

import pytest
from kernel_tools import Node, compile_kernel, define

from bayplan.kernel import device

pytestmark = pytest.mark.ptx

# Nothing that these store is read again. `twice` is an overload that Numba inlines
# or, for comparison, a device function that it does not.
STORES = {
    "constant index": ["b.j[0] = twice(o[0])"],
    "index": ["b.j[t] = twice(o[1])"],
    "constant slice": ["b.j[1:4] = twice(o[0])"],
    "slice": ["b.j[t : t + 2] = twice(o[0])"],
    "whole": ["b.j[:] = twice(o[0])"],
    "N-D": ["b.m[1, t] = twice(o[0])"],
    "N-D constant": ["b.m[1, 2] = twice(o[0])"],
    "row": ["b.m[t] = twice(o[0])"],
    "row, then item": ["b.m[1][t] = twice(o[0])"],
    "augmented": ["b.j[t] += twice(o[0])"],
    "augmented N-D": ["b.m[t, 1] -= twice(o[0])"],
    "bound view": ["j = b.j", "j[t] = twice(o[0])"],
    "bound slice": ["j = b.j[2:6]", "j[t] = twice(o[0])"],
    "through a child": ["b.kid.q[t] = twice(o[0])"],
    "child's bound view": ["q = b.kid.q", "q[t] = twice(o[0])"],
    "child opened here": ["c = K.views(b.kid)", "c.q[t] = twice(o[0])"],
    "plain store beside": ["b.j[t] = o[0]", "o[1] = twice(o[2])"],
    "record field": ["b.r[t].x = twice(o[0])"],
    "in a branch": ["if o[2] > 3:", "    b.j[t] = twice(o[0])"],
    "device function": ["child(b.kid, twice(o[0]), t)"],
    "allocator": ["a = alloc(sh)", "a[t] = twice(o[0])"],
}
# (form, in a loop) that Numba's pass drops when nothing holds it back.
LOST_BY_NUMBA = [
    ("slice", False),
    ("index", True),
    ("N-D", True),
    ("row", True),
    ("augmented", True),
    ("bound view", True),
    ("through a child", True),
    ("allocator", True),
]
PAIR = [("x", "f4"), ("y", "i4")]


def _node() -> Node:
    kid = Node("Kid", [("q", 4, "shared")])
    buffers = [
        ("j", 16, "shared"),
        ("m", (2, 3), "shared"),
        ("r", 2, "shared", {"dtype": PAIR}),
    ]
    return Node("Stores", buffers, [("kid", kid)])


def _inlined_twice():
    """An overload of `inline="always"`: what brings the dead-code pass on."""
    from numba.cuda.extending import overload

    def twice(x):
        raise NotImplementedError

    @overload(twice, inline="always")
    def _twice(x):
        return lambda x: x + x

    return twice


def _called_twice():
    @device
    def twice(x):
        return x + x

    return twice


def _kernel(lines: list[str], in_loop: bool, twice):
    node = _node()
    layout = node.layout
    kid = layout.children["kid"].layout

    @device
    def child(mem, x, t):
        c = kid.views(mem)
        c.q[t] = x

    looped = ["for t in range(4):", *("    " + line for line in lines)] if in_loop else lines
    body = [
        "def outer(B, L, K, alloc, child):",
        "    def kern(o):",
        "        sh = cuda.shared.array(0, np.uint8, alignment=16)",
        "        t = cuda.threadIdx.y",
        "        b = L.views(B.root(cuda.threadIdx.x))",
        *("        " + line for line in looped),
        "        cuda.syncthreads()",
        "    return kern",
    ]
    outer = define("\n".join(body), twice=twice)["outer"]
    return outer(layout.bind(), layout, kid, node.allocator("j"), child)


def _words_stored(lines: list[str], in_loop: bool, twice) -> int:
    """Words in the stores to shared memory."""
    from numba.cuda import types

    compiled = compile_kernel(_kernel(lines, in_loop, twice), (types.float32[::1],))
    widths = {"st.shared.v4": 4, "st.shared.v2": 2}
    stores = [line for line in compiled.instructions if "st.shared" in line]
    return sum(widths.get(line[line.index("st.") :][:12], 1) for line in stores)


@pytest.mark.parametrize("in_loop", [False, True], ids=["straight", "loop"])
@pytest.mark.parametrize("form", STORES)
def test_store_is_kept(form, in_loop):
    lines = STORES[form]
    expected = _words_stored(lines, in_loop, _called_twice())
    assert expected > 0
    assert _words_stored(lines, in_loop, _inlined_twice()) == expected


@pytest.mark.parametrize(("form", "in_loop"), LOST_BY_NUMBA)
def test_numba_alone_loses_it(form, in_loop, monkeypatch):
    """Shows that the test above can fail, and when Numba has mended it."""
    from numba.cuda.core import ir_utils

    monkeypatch.setattr(ir_utils, "remove_dead_extensions", {})
    assert _words_stored(STORES[form], in_loop, _inlined_twice()) == 0


def test_other_extensions_are_left_alone():
    from numba.cuda.core import ir, ir_utils

    from bayplan.kernel import dce

    def theirs(stmt, *rest):
        return stmt

    before = dict(ir_utils.remove_dead_extensions)
    try:
        for kind in ir.setitem_types:
            ir_utils.remove_dead_extensions[kind] = theirs
        dce.install()
        assert all(ir_utils.remove_dead_extensions[kind] is theirs for kind in ir.setitem_types)
    finally:
        ir_utils.remove_dead_extensions.clear()
        ir_utils.remove_dead_extensions.update(before)
