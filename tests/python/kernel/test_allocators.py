"""Allocators: every form of call, their errors, and that they cost nothing.

Cases named `[compiled-...]` run without the simulator, `[simulated-...]` with it.
"""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from kernel_tools import Node, compile_kernel, define
from numba import cuda

from bayplan.kernel import Allocator, kernel, make_allocator

BOTH = [
    pytest.param("compiled", marks=pytest.mark.ptx),
    pytest.param("simulated", marks=pytest.mark.sim),
]
LOCATIONS = ["shared", "persistent_local", "block", "local"]
LONG = "(shared, persistent) or (shared, persistent, block)"

# Location and call, and whether it is one.
FORMS = {
    ("shared", "s"): True,
    ("shared", "s, p"): True,
    ("shared", "s, None"): True,
    ("shared", "s, p, w"): True,
    ("persistent_local", "p"): True,
    ("persistent_local", "s, p"): True,
    ("persistent_local", "None, p"): True,
    ("persistent_local", "None, p, None"): True,
    ("block", "w"): True,
    ("block", "s, p, w"): True,
    ("block", "None, None, w"): True,
    ("local", ""): True,
    ("local", "s, p"): True,
    ("local", "None, None"): True,
    ("local", "s, p, w"): True,
    ("shared", ""): f"takes (shared), {LONG}; got 0 arguments",
    ("shared", "s, p, w, s"): f"takes (shared), {LONG}; got 4 arguments",
    ("persistent_local", ""): f"takes (persistent), {LONG}; got 0 arguments",
    ("block", ""): "takes (block) or (shared, persistent, block); got 0 arguments",
    ("block", "s, p"): "takes (block) or (shared, persistent, block); got 2 arguments",
    ("local", "s"): f"takes (), {LONG}; got 1 arguments",
    ("shared", "None"): "needs a shared arena of {needed} bytes, got None",
    ("shared", "None, p"): "needs a shared arena of {needed} bytes, got None",
    ("persistent_local", "s, None"): "needs a persistent arena of {needed} bytes, got None",
    ("block", "s, p, None"): "needs a block arena of {needed} bytes, got None",
    ("shared", "1, p"): ": the shared arena must be a C-contiguous 1-D array, got an integer",
    ("shared", "m, p"): ": the shared arena must be a C-contiguous 1-D array, got a 2-D array",
    ("local", "s, 0.5"): ": the persistent arena must be a C-contiguous 1-D array, got a number",
    ("persistent_local", "p[::2]"): ": the persistent arena must be a C-contiguous 1-D array, "
    "got a non-contiguous array",
}


def _node(location: str, **keywords) -> Node:
    """A buffer `x` of three floats that does not lie first."""
    node = Node("Owner", [("first", 5, location, {"align": 8}), ("x", 3, location, keywords)])
    if location != "local":
        assert node.layout["x"].offset in (0, 20, 24)
    return node


def _kernel(allocator, call: str):
    source = (
        "def outer(alloc):\n"
        "    def kern(out, s, p, w, m):\n"
        f"        x = alloc({call})\n"
        "        x[1] = 2.5\n"
        "        out[0] = x[1] + x.size\n"
        "    return kern"
    )
    return define(source)["outer"](allocator)


def _signature():
    from numba.cuda import types

    arenas = types.uint8[::1], types.float64[::1], types.int32[::1]
    return (types.float32[::1], *arenas, types.float32[:, ::1])


def _arguments():
    arenas = np.zeros(64, np.uint8), np.zeros(8), np.zeros(16, np.int32)
    return (np.zeros(1, np.float32), *arenas, np.zeros((2, 2), np.float32))


@pytest.mark.parametrize(("location", "call"), FORMS, ids=lambda value: value or "()")
@pytest.mark.parametrize("path", BOTH)
def test_form(path, location, call):
    node = _node(location)
    entry = node.layout["x"]
    kern = _kernel(node.allocator("x"), call)
    expected = FORMS[location, call]
    if expected is True:
        _check_good(path, kern, entry)
        return
    expected = expected.replace("{needed}", str(entry.offset + entry.nbytes))
    text = f"allocator of buffer 'x' ({location}){'' if expected[0] == ':' else ' '}{expected}"
    assert _error(path, kern).endswith(text) if path == "simulated" else text in _error(path, kern)


def _error(path: str, kern) -> str:
    if path == "simulated":
        with pytest.raises(TypeError) as caught:
            kernel(kern)[1, 1](*_arguments())
        return str(caught.value)
    from numba.cuda.core.errors import NumbaError

    with pytest.raises(NumbaError) as raised:
        compile_kernel(kern, _signature())
    return str(raised.value)


def _check_good(path: str, kern, entry) -> None:
    if path == "compiled":
        compiled = compile_kernel(kern, _signature())
        assert compiled.n_generic == 0
        assert compiled.count(r"\bcall") == 0
        offset = f"+{entry.offset + 4}]"
        if entry.location == "local":
            assert compiled.count("st.global") == 1
        else:
            assert compiled.count("st.global") == 2
            assert sum(offset in line for line in compiled.instructions) >= 1
        return
    out, s, p, w, _ = arguments = _arguments()
    kernel(kern)[1, 1](*arguments)
    assert out[0] == 5.5
    arena = {"shared": s, "persistent_local": p, "block": w}.get(entry.location)
    assert [a.any() for a in (s, p, w)] == [a is arena for a in (s, p, w)]
    if arena is not None:
        at = entry.offset + 4
        assert arena.view(np.uint8)[at : at + 4].view(np.float32)[0] == 2.5


@pytest.mark.parametrize("location", LOCATIONS)
@pytest.mark.parametrize("path", BOTH)
def test_zero_fills_at_every_call(path, location):
    node = _node(location, zero=True)
    source = (
        "def outer(alloc):\n"
        "    def kern(out, s, p, w, m):\n"
        "        x = alloc(s, p, w)\n"
        "        x[1] = 2.5\n"
        "        y = alloc(s, p, w)\n"
        "        out[0] = y[0] + y[1] + y[2]\n"
        "    return kern"
    )
    kern = define(source)["outer"](node.allocator("x"))
    if path == "compiled":
        compiled = compile_kernel(kern, _signature())
        # Zeros are all there is to add up.
        assert compiled.count("ld.global|ld.local|add.*f32") == 0
        return
    arguments = _arguments()
    for array in arguments:
        array.view(np.uint8)[:] = 0xFF
    kernel(kern)[1, 1](*arguments)
    assert arguments[0][0] == 0


@pytest.mark.parametrize("path", BOTH)
def test_shapes_dtypes_and_roll_ups(path):
    pair = [("x", "f4"), ("n", "i4")]
    kid = Node("Kid", [("k", 6, "shared"), ("h", 4, "persistent_local")])
    node = Node(
        "Owner",
        [
            ("m", (2, 3), "shared", {"dtype": "f8"}),
            ("r", 2, "persistent_local", {"dtype": pair}),
            ("z", 2, {"dtype": "c16"}),
            ("e", 0, "shared"),
        ],
        [("kid", kid)],
    )
    names = ["m", "r", "z", "e", "kid_shared"]
    allocators = [node.allocator(name) for name in names]
    source = (
        "def outer(m_alloc, r_alloc, z_alloc, e_alloc, kid_alloc, k_alloc):\n"
        "    def kern(out, shared, persistent):\n"
        "        m = m_alloc(shared, persistent)\n"
        "        m[1, 2] = 1.5\n"
        "        r = r_alloc(shared, persistent)\n"
        "        r[1].x = 2.5\n"
        "        z = z_alloc(shared, persistent)\n"
        "        z[1] = 3 + 4j\n"
        "        kid = kid_alloc(shared)\n"
        "        k = k_alloc(kid)\n"
        "        k[5] = 7\n"
        "        out[0] = m[1, 2] + m.shape[0] * 10 + m.shape[1]\n"
        "        out[1] = r[1].x + z[1].imag\n"
        "        out[2] = e_alloc(shared).size + e_alloc(None).size\n"
        "        out[3] = kid.size\n"
        "    return kern"
    )
    kern = define(source)["outer"](*allocators, kid.allocator("k"))
    if path == "compiled":
        from numba.cuda import types

        arena = types.uint8[::1]
        compiled = compile_kernel(kern, (types.float64[::1], arena, arena))
        assert compiled.n_generic == 0
        return
    layout = node.layout
    shared = np.zeros(layout.shared.nbytes, np.uint8)
    persistent = np.zeros(layout.persistent_local.nbytes, np.uint8)
    out = np.full(4, np.nan)
    kernel(kern)[1, 1](out, shared, persistent)
    np.testing.assert_array_equal(out, [24.5, 6.5, 0, layout["kid_shared"].nbytes // 4])
    at = layout["kid_shared"].offset + kid.layout["k"].offset + 20
    assert shared[at : at + 4].view(np.float32)[0] == 7


@pytest.mark.parametrize("path", BOTH)
def test_uneven_roll_up(path):
    kid = Node("Kid", [("k", 3, "shared")])
    node = Node("Double", [("d", 1, "shared")], [("kid", kid)], precision="f8")
    kern = _kernel(node.allocator("kid_shared"), "s")
    text = "roll-up 'kid_shared' holds 12 bytes, no whole number of float64 elements"
    assert text in _error(path, kern)


@pytest.mark.parametrize("path", BOTH)
def test_hidden_child_arenas(path):
    """A factory without children answers for the arenas of one."""
    node = Node("Leaf", [("x", 3, "shared")])
    allocators = [node.allocator(f"child_{where}") for where in ("shared", "persistent_local")]
    source = (
        "def outer(child_shared, child_persistent):\n"
        "    def kern(out, s, p, w, m):\n"
        "        out[0] = child_shared(s, p).size + child_persistent(p).size\n"
        "    return kern"
    )
    kern = define(source)["outer"](*allocators)
    if path == "compiled":
        assert compile_kernel(kern, _signature()).n_generic == 0
        return
    arguments = (np.ones(1, np.float32), *_arguments()[1:])
    kernel(kern)[1, 1](*arguments)
    assert arguments[0][0] == 0


@pytest.mark.sim
def test_short_arenas():
    node = _node("shared")
    needed = node.layout["x"].offset + 12
    kern = _kernel(node.allocator("x"), "s")
    out, _, p, w, m = _arguments()
    text = rf"allocator of buffer 'x' \(shared\) needs {needed} bytes of the shared arena, it has"
    with pytest.raises(IndexError, match=text):
        kernel(kern)[1, 1](out, np.zeros(needed - 1, np.uint8), p, w, m)
    kernel(kern)[1, 1](out, np.zeros(needed, np.uint8), p, w, m)
    assert out[0] == 5.5


@pytest.mark.ptx
def test_allocators_cost_no_more_than_offsets_by_hand(cc):
    from numba.cuda import types

    node = Node("Cost", [(f"b{k}", 4, "shared") for k in range(4)])
    layout = node.layout
    allocators = [node.allocator(f"b{k}") for k in range(4)]
    offsets = [np.uint32(layout[f"b{k}"].offset // 4) for k in range(4)]
    a0, a1, a2, a3 = allocators
    o0, o1, o2, o3 = offsets

    def by_allocators(out):
        s = cuda.shared.array(0, np.float32, alignment=16)
        b0, b1, b2, b3 = a0(s), a1(s), a2(s), a3(s)
        for i in range(4):
            b0[i] = b1[i] + out[i]
            b2[i] = b3[i] * b0[i]

    def by_hand(out):
        s = cuda.shared.array(0, np.float32, alignment=16)
        for k in range(4):
            i = np.uint32(k)
            s[o0 + i] = s[o1 + i] + out[k]
            s[o2 + i] = s[o3 + i] * s[o0 + i]

    ours = compile_kernel(by_allocators, (types.float32[::1],), cc)
    theirs = compile_kernel(by_hand, (types.float32[::1],), cc)
    assert len(ours.instructions) <= len(theirs.instructions)
    assert ours.n_generic == 0
    assert ours.assemble()[0] <= theirs.assemble()[0]


def test_unchanged_placements_have_the_same_allocator():
    node = Node("Same", [("x", 3, "shared")])
    assert node.allocator("x") is node.allocator("x")


def test_allocators_compare_by_what_they_place():
    one, other = _node("shared"), _node("shared")
    a, b = one.allocator("x"), make_allocator(other.layout["x"])
    assert (a, hash(a)) == (b, hash(b))
    assert a != one.allocator("first")
    assert a != _node("block").allocator("x")
    assert a != _node("shared", zero=True).allocator("x")
    assert a != _node("shared", dtype="i4").allocator("x")
    with pytest.raises(AttributeError, match="immutable"):
        a.placement = None


DTYPES = ["f4", "f8", "?", "c16", "i1", [("x", "f4"), ("n", "i2")]]
DTYPES += [np.dtype([("a", "i1"), ("b", "f8")], align=True), [("v", "f4", (3,))]]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_pickling(dtype):
    node = Node("Pickled", [("x", (2, 3), "shared", {"dtype": dtype})])
    a = node.allocator("x")
    b = pickle.loads(pickle.dumps(a))
    assert isinstance(b, Allocator)
    assert (a, hash(a), a.placement.dtype) == (b, hash(b), b.placement.dtype)
    assert a.placement.dtype.isalignedstruct == b.placement.dtype.isalignedstruct
    assert b.placement.shape == (2, 3)
    assert b.placement.size == 6
    assert pickle.dumps(a) == pickle.dumps(b)
