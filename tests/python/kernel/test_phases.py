"""Phases: what is reachable where, what entering fills, and what it costs (nothing).

The texts run in both runs: as `[compiled-...]` without, as `[simulated-...]` with
the simulator.
"""

from __future__ import annotations

import pickle
import re

import numpy as np
import pytest
from kernel_tools import Node, compile_kernel, define, layout_of
from numba import cuda

import bayplan
from bayplan.kernel import device, kernel

BOTH = [
    pytest.param("compiled", marks=pytest.mark.ptx),
    pytest.param("simulated", marks=pytest.mark.sim),
]
VIEWS = "(mem), (shared, persistent) or (shared, persistent, block)"
PHASES = ("predict", "solve", "finish")

# Declaration order places alike with and without phases.
SEQUENTIAL = bayplan.BufferRegistry(mode="sequential")
POISONED = bayplan.BufferRegistry(poison=True)


def _launch(function, bound, *args, runs=1, threads=None):
    n_bytes = bound.dynamic_shared_bytes(runs)
    kernel(function)[1, threads or runs, 0, n_bytes](*args)


# ---- texts ------------------------------------------------------------------

MISTAKES = {
    "another phase's buffer": (
        ["p = b.predict()", "p.work[0] = 1"],
        "buffer 'work' of layout 'Step' is not alive in phase 'predict' (it lives in 'solve')",
    ),
    "a buffer of several phases, too early": (
        ["p = b.predict()", "p.late[0] = 1"],
        "buffer 'late' of layout 'Step' is not alive in phase 'predict' "
        "(it lives in 'solve' to 'finish')",
    ),
    "a buffer whose life is over": (
        ["f = b.finish()", "o[1] = f.work[0]"],
        "buffer 'work' of layout 'Step' is not alive in phase 'finish' (it lives in 'solve')",
    ),
    "another phase's child": (
        ["p = b.predict()", "p.newton.jac[0] = 1"],
        "child 'newton' of layout 'Step' is not alive in phase 'predict' (it lives in 'solve')",
    ),
    "a local of another phase": (
        ["f = b.finish()", "f.tmp[0] = 1"],
        "buffer 'tmp' of layout 'Step' is not alive in phase 'finish' (it lives in 'solve')",
    ),
    "a roll-up of another phase": (
        ["f = b.finish()", "f.newton_shared[0] = 1"],
        "buffer 'newton_shared' of layout 'Step' is not alive in phase 'finish' "
        "(it lives in 'solve')",
    ),
    "a phased buffer of the views": (
        ["b.work[0] = 1"],
        "buffer 'work' of layout 'Step' lives in phase 'solve': enter it first, s = b.solve()",
    ),
    "a phased buffer of the views after entering": (
        ["s = b.solve()", "s.work[0] = 1", "b.work[0] = 1"],
        "buffer 'work' of layout 'Step' lives in phase 'solve': enter it first, s = b.solve()",
    ),
    "a buffer of several phases of the views": (
        ["b.late[0] = 1"],
        "buffer 'late' of layout 'Step' lives in phases 'solve' to 'finish': "
        "enter one of them first, s = b.solve()",
    ),
    "a phased child of the views": (
        ["b.newton.jac[0] = 1"],
        "child 'newton' of layout 'Step' lives in phase 'solve': enter it first, s = b.solve()",
    ),
    "a phased roll-up of the views": (
        ["b.newton_shared[0] = 1"],
        "buffer 'newton_shared' of layout 'Step' lives in phase 'solve': "
        "enter it first, s = b.solve()",
    ),
    "a phase that is not called": (
        ["b.solve.work[0] = 1"],
        "phase 'solve' of layout 'Step' is not entered: s = b.solve(), then s.work",
    ),
    "a phase kept and not called": (
        ["s = b.solve", "s.work[0] = 1"],
        "phase 'solve' of layout 'Step' is not entered: s = b.solve(), then s.work",
    ),
    "a phase of a phase": (
        ["s = b.solve()", "f = s.finish()"],
        "phase 'finish' of layout 'Step' is entered from the views: b = L.views(mem), b.finish()",
    ),
    "a phase of the region": (
        ["s = mem.solve()"],
        "phase 'solve' of layout 'Step' is entered from the views: b = L.views(mem), b.solve()",
    ),
    "a phase of a child": (
        ["s = b.solve()", "s.newton.sweep()"],
        "phase 'sweep' of layout 'Newton' is entered from the views: b = L.views(mem), b.sweep()",
    ),
    "a phased buffer of a child": (
        ["s = b.solve()", "s.newton.pivots[0] = 1"],
        "buffer 'pivots' of layout 'Newton' lives in phase 'sweep': "
        "only the function that opens the layout can enter that",
    ),
    "a phased buffer of the own region": (
        ["mem.late[0] = 1"],
        "buffer 'late' of layout 'Step' lives in phases 'solve' to 'finish': "
        "only the function that opens the layout can enter that",
    ),
    "a phased child of the own region": (
        ["mem.newton.jac[0] = 1"],
        "child 'newton' of layout 'Step' lives in phase 'solve': "
        "only the function that opens the layout can enter that",
    ),
    "a phased local of the own region": (
        ["mem.tmp[0] = 1"],
        "buffer 'tmp' of layout 'Step' is local: "
        "it exists only inside the function that opens the layout",
    ),
    "a phase of the unopened layout": (
        ["s = L.solve()"],
        "layout 'Step' is not open: b = L.views(mem), then s = b.solve()",
    ),
    "a misspelled phase": (
        ["s = b.slove()"],
        "layout 'Step' has no buffer, child or phase 'slove' (has: state, rhs, work, late, tmp, "
        "newton; phases: predict, solve, finish) (did you mean 'solve'?)",
    ),
    "a misspelled buffer of a phase": (
        ["s = b.solve()", "s.wrok[0] = 1"],
        "layout 'Step' has no buffer, child or phase 'wrok' (has: state, rhs, work, late, tmp, "
        "newton; phases: predict, solve, finish) (did you mean 'work'?)",
    ),
    "arguments to a phase": (
        ["s = b.solve(1)"],
        "phase 'solve' of layout 'Step': entering takes no arguments, got 1",
    ),
    "a keyword to a phase": (
        ["s = b.solve(mem=mem)"],
        "phase 'solve' of layout 'Step': entering takes no arguments, got 1",
    ),
    "rebinding a buffer of a phase": (
        ["s = b.solve()", "s.work = b.state"],
        "cannot rebind 'work' of layout 'Step'; write to its elements: .work[...] = value",
    ),
    "rebinding a phase": (
        ["b.solve = b.predict"],
        "cannot rebind phase 'solve' of layout 'Step'; enter it: s = b.solve()",
    ),
    "views of a phase": (
        ["s = b.solve()", "L.views(s)"],
        f"layout 'Step': views takes {VIEWS}; got phase 'solve' of layout 'Step' for mem",
    ),
    "the region of another phase's child": (
        ["s = b.solve()", "N.views(s)"],
        f"layout 'Newton': views takes {VIEWS}; got phase 'solve' of layout 'Step' for mem",
    ),
}


def _step(registry=POISONED) -> tuple[Node, Node]:
    newton = Node(
        "Newton",
        [("jac", 3, "shared"), ("pivots", 3, "shared", {"live": "sweep"})],
        phases=["sweep"],
        registry=registry,
    )
    step = Node(
        "Step",
        [
            ("state", 3, "shared"),
            ("rhs", 3, "shared", {"live": "predict"}),
            ("work", 3, "shared", {"live": "solve"}),
            ("late", 3, "shared", {"live": ("solve", "finish")}),
            ("tmp", 3, {"live": "solve"}),
        ],
        [("newton", newton, "solve")],
        phases=PHASES,
        registry=registry,
    )
    return step, newton


def _kernel(lines: list[str]):
    step, newton = _step()
    body = [
        "def outer(L, B, N):",
        "    def kern(o):",
        "        mem = B.root(cuda.threadIdx.x)",
        "        b = L.views(mem)",
        *("        " + line for line in lines),
        "        o[0] = b.state[0]",
        "    return kern",
    ]
    bound = step.layout.bind()
    return define("\n".join(body))["outer"](step.layout, bound, newton.layout), bound


def _signature():
    from numba.cuda import types

    return (types.float32[::1],)


def _compile_error(kern) -> str:
    from numba.cuda.core.errors import NumbaError

    with pytest.raises(NumbaError) as caught:
        compile_kernel(kern, _signature())
    return str(caught.value)


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("path", BOTH)
def test_mistake(path, mistake):
    lines, expected = MISTAKES[mistake]
    kern, bound = _kernel(lines)
    if path == "compiled":
        assert expected in _compile_error(kern)
        return
    with pytest.raises((AttributeError, TypeError)) as caught:
        _launch(kern, bound, np.zeros(64, np.float32))
    assert str(caught.value).endswith(expected)


@pytest.mark.ptx
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("return b.solve()", "the buffers in a phase of layout 'Step' cannot be returned"),
        ("return b.solve", "the phases of layout 'Step' cannot be returned"),
    ],
)
def test_no_phase_is_returned(line, expected):
    step, _ = _step()
    body = f"def outer(L):\n    def work(mem):\n        b = L.views(mem)\n        {line}\n"
    work = device(define(body + "    return work")["outer"](step.layout))
    bound = step.layout.bind()

    def kern(o):
        work(bound.root(0))

    assert expected in _compile_error(kern)


# ---- what a phase reaches ---------------------------------------------------


@pytest.mark.parametrize("path", BOTH)
def test_a_step_in_three_phases(path):
    step, newton = _step()
    L, N, bound = step.layout, newton.layout, step.layout.bind()

    @device
    def solve(mem, x):
        b = N.views(mem)
        for i in range(3):
            b.jac[i] = 2 * x[i]
        s = b.sweep()
        for i in range(3):
            s.pivots[i] = b.jac[i] + 1
        x[0] = s.pivots[0] + s.pivots[1] + s.pivots[2]

    def kern(o):
        b = L.views(bound.root(cuda.threadIdx.x))
        for i in range(3):
            b.state[i] = i + 1
        p = b.predict()
        for i in range(3):
            p.rhs[i] = 10 * p.state[i]
        o[0] = p.rhs[0] + p.rhs[1] + p.rhs[2]
        s = b.solve()
        for i in range(3):
            s.tmp[i] = s.state[i]
            s.work[i] = s.tmp[i]
        solve(s.newton, s.work)
        for i in range(3):
            s.late[i] = s.work[0] + s.newton.jac[i]
        f = b.finish()
        for i in range(3):
            o[i + 1] = f.late[i] + f.state[i]

    if path == "compiled":
        compiled = compile_kernel(kern, _signature())
        assert compiled.n_generic == 0
        assert compiled.assemble()[1] == 0
        return
    out = np.zeros(4, np.float32)
    _launch(kern, bound, out)
    # The pivots are 3, 5, 7; the Jacobian is 2, 4, 6; the state is 1, 2, 3.
    np.testing.assert_array_equal(out, [60, 18, 21, 24])


@pytest.mark.parametrize("path", BOTH)
def test_a_child_with_kept_bytes_is_still_called_in_its_phase(path):
    """Its bytes live always; the phase says where it is called."""
    kid = Node("Kid", [("count", 1, "shared", {"keep": True, "zero": True})])
    step = Node("Step", [("x", 1)], [("kid", kid, "solve")], phases=["predict", "solve"])
    assert step.layout["kid_shared"].live is None
    assert step.layout.children["kid"].live == ("solve", "solve")
    L, bound = step.layout, step.layout.bind()

    def right(o):
        b = L.views(bound.root(0))
        for _ in range(3):
            s = b.solve()
            s.kid.count[0] += 2
        o[0] = b.kid_shared[0]

    def wrong(o):
        b = L.views(bound.root(0))
        o[0] = b.kid.count[0]

    expected = "child 'kid' of layout 'Step' lives in phase 'solve': enter it first, s = b.solve()"
    if path == "compiled":
        compile_kernel(right, _signature())
        assert expected in _compile_error(wrong)
        return
    out = np.zeros(1, np.float32)
    _launch(right, bound, out)
    assert out[0] == 6
    with pytest.raises(AttributeError) as caught:
        _launch(wrong, bound, out)
    assert str(caught.value).endswith(expected)


@pytest.mark.parametrize("location", ["shared", "local", "persistent_local", "block"])
@pytest.mark.parametrize("path", BOTH)
def test_allocators_know_no_phases(path, location):
    node = Node("Classic", [("other", 2, location), ("x", 3, location, {"live": "a"})], phases="ab")
    alloc = node.allocator("x")
    n_bytes = 4 * 5

    def kern(o):
        shared = cuda.shared.array(0, np.dtype(np.uint8))
        x = alloc(shared, shared, shared)
        for i in range(3):
            x[i] = o[i]
        o[0] = x[2]

    if path == "compiled":
        compile_kernel(kern, _signature())
        return
    out = np.array([1, 2, 3], np.float32)
    kernel(kern)[1, 1, 0, n_bytes](out)
    np.testing.assert_array_equal(out, [3, 2, 3])


# ---- the cost ---------------------------------------------------------------

# Name to (lines with phases, lines without); `b` is open in both.
PAIRS = {
    "one after the other": (
        [
            "p = b.predict()",
            "for i in range(4): p.rhs[i] = t + b.state[i]",
            "s = b.solve()",
            "for i in range(4):",
            "    s.tmp[i] = t",
            "    s.work[i] = s.tmp[i] * b.state[i]",
            "o[r] = s.work[r & 3] + s.state[0]",
        ],
        [
            "for i in range(4): b.rhs[i] = t + b.state[i]",
            "for i in range(4):",
            "    b.tmp[i] = t",
            "    b.work[i] = b.tmp[i] * b.state[i]",
            "o[r] = b.work[r & 3] + b.state[0]",
        ],
    ),
    "in a loop": (
        [
            "for k in range(n):",
            "    p = b.predict()",
            "    for i in range(4): p.rhs[i] = t * p.sums[i]",
            "    s = b.solve()",
            "    for i in range(4):",
            "        s.work[(i + k) & 3] = s.sums[i] + t",
            "    for i in range(4):",
            "        s.sums[i] += s.work[i]",
            "f = b.finish()",
            "o[r] = f.last[r & 3]",
        ],
        [
            "for k in range(n):",
            "    for i in range(4): b.rhs[i] = t * b.sums[i]",
            "    for i in range(4):",
            "        b.work[(i + k) & 3] = b.sums[i] + t",
            "    for i in range(4):",
            "        b.sums[i] += b.work[i]",
            "o[r] = b.last[r & 3]",
        ],
    ),
    "with a child": (
        ["s = b.solve()", "s.work[r & 3] = t", "o[r] = child(s.child, s.work)"],
        ["b.work[r & 3] = t", "o[r] = child(b.child, b.work)"],
    ),
    "with zeroed buffers": (
        ["f = b.finish()", "o[r] = f.nulls[r & 3] + f.blanks[r & 3]"],
        ["o[r] = b.nulls[r & 3] + b.blanks[r & 3]"],
    ),
}


def _pair_kernel(lines: list[str], is_phased: bool, is_zeroed: bool, registry=SEQUENTIAL):
    kid = Node(
        "Kid",
        [("q", 4, "shared"), ("p", 4, "shared", {"live": "a"} if is_phased else {})],
        phases="ab" if is_phased else (),
        registry=registry,
    )
    live = {"live": "solve"} if is_phased else {}
    last = {"live": "finish"} if is_phased else {}
    node = Node(
        "Pair",
        [
            ("state", 4, "shared"),
            ("sums", 4, "shared", {"live": "predict", "carried": True} if is_phased else {}),
            ("rhs", 4, "shared", {"live": "predict"} if is_phased else {}),
            ("work", 4, "shared", live),
            ("last", 4, "shared", last),
            ("tmp", 4, live),
            ("nulls", 4, "shared", {**last, "zero": is_zeroed}),
            ("blanks", 40, {**last, "zero": is_zeroed}),
        ],
        [("child", kid, "solve") if is_phased else ("child", kid)],
        phases=PHASES if is_phased else (),
        loops=[("predict", "solve")] if is_phased else (),
        registry=registry,
    )
    enter = "s = b.a()" if is_phased else "s = b"
    child = define(
        "def outer(L):\n    def child(mem, x):\n        b = L.views(mem)\n"
        f"        {enter}\n        for i in range(4): s.p[i] = x[i] * b.q[i]\n"
        "        return s.p[1] - s.p[2]\n    return child"
    )["outer"](kid.layout)
    source = ["def outer(L, B, child):", "    def kern(o, t, n):", "        r = cuda.threadIdx.x"]
    source += ["        b = L.views(B.root(r))", *("        " + line for line in lines)]
    source += ["    return kern"]
    layout = node.layout
    return layout, define("\n".join(source))["outer"](layout, layout.bind(), device(child))


def _operations(compiled) -> list[str]:
    """Instructions without the number that Numba puts into a kernel's name."""
    return [re.sub(r"_ZN\w+?(?=_param)", "kern", line) for line in compiled.instructions]


def _pair_signature():
    from numba.cuda import types

    return types.float32[::1], types.float32, types.int32


@pytest.mark.ptx
@pytest.mark.parametrize("name", PAIRS)
def test_phases_cost_nothing(name, cc):
    """The same instructions in the same order, registers' numbers included."""
    is_zeroed = name == "with zeroed buffers"
    phased_lines, plain_lines = PAIRS[name]
    with_phases, phased_kernel = _pair_kernel(phased_lines, True, is_zeroed)
    without, plain_kernel = _pair_kernel(plain_lines, False, is_zeroed)
    assert with_phases.digest != without.digest
    places = [
        [(p.name, p.location, p.offset) for p in x.placements] for x in (with_phases, without)
    ]
    assert places[0] == places[1]
    phased = compile_kernel(phased_kernel, _pair_signature(), cc)
    plain = compile_kernel(plain_kernel, _pair_signature(), cc)
    assert phased.count(r"st\.shared") > 0 or is_zeroed
    assert _operations(phased) == _operations(plain)
    assert phased.n_generic == 0
    assert phased.assemble() == plain.assemble()


@pytest.mark.ptx
@pytest.mark.parametrize("name", PAIRS)
def test_poison_is_never_compiled(name):
    lines, _ = PAIRS[name]
    poisoned = bayplan.BufferRegistry(mode="sequential", poison=True)
    layouts, kernels = zip(
        *(_pair_kernel(lines, True, True, registry) for registry in (SEQUENTIAL, poisoned)),
        strict=True,
    )
    assert [layout.poison for layout in layouts] == [False, True]
    assert layouts[0] == layouts[1]
    first, second = (_operations(compile_kernel(each, _pair_signature())) for each in kernels)
    assert first == second


# ---- zero filling -----------------------------------------------------------


@pytest.mark.sim
@pytest.mark.parametrize("location", ["shared", "local", "persistent_local", "block"])
def test_entering_zeroes_what_begins_there(location):
    """Not opening, not another phase, and again at every entry."""
    layout = layout_of(
        "Zeroed",
        [
            ("x", 2, location, {"live": ("a", "b"), "zero": True}),
            ("y", 2, location, {"live": "b", "zero": True}),
            ("z", 2, location, {"live": "a"}),
        ],
        phases="ab",
        registry=SEQUENTIAL,
    )
    bound = layout.bind()

    def kern(out):
        if bound.layout.shared.nbytes + bound.layout.block.nbytes:
            arena = cuda.shared.array(0, np.dtype(np.uint8))
            arena[:] = 0xFF
        b = layout.views(bound.root(0))
        early = b.b()
        out[0] = early.x[0]
        first = b.a()
        out[1] = first.x[0]
        out[2] = first.z[0]
        first.x[0] = 5
        second = b.b()
        out[3] = second.x[0]
        out[4] = second.y[1]
        again = b.a()
        out[5] = again.x[0]

    out = np.full(6, 9, np.float32)
    _launch(kern, bound, out)
    # The phase that a buffer begins in is the one that zeroes it: x was not yet.
    np.testing.assert_array_equal(out, [np.nan, 0, np.nan, 5, 0, 0])


@pytest.mark.sim
def test_the_lanes_of_a_run_zero_together():
    layout = layout_of("Lanes", [("x", 4, "shared", {"live": "a", "zero": True})], phases="a")
    bound = layout.bind(lanes_per_run=4)

    def kern(out):
        lane = cuda.threadIdx.x
        b = layout.views(bound.root(lane // 4))
        s = b.a()
        s.x[lane % 4] += lane + 1
        cuda.syncthreads()
        out[lane] = s.x[3 - lane % 4]

    out = np.zeros(8, np.float32)
    _launch(kern, bound, out, runs=2, threads=8)
    np.testing.assert_array_equal(out, [4, 3, 2, 1, 8, 7, 6, 5])


@pytest.mark.ptx
@pytest.mark.parametrize(
    ("location", "lanes", "pattern"),
    [("shared", 4, r"bar\.warp\.sync"), ("block", 1, r"bar(rier)?(\.cta)?\.sync")],
)
def test_those_who_share_a_buffer_meet_before_and_after_it_is_zeroed(location, lanes, pattern):
    layout = layout_of("Meet", [("x", 8, location, {"live": "a", "zero": True})], phases="ab")
    bound = layout.bind(lanes_per_run=lanes)

    def entering(o):
        b = layout.views(bound.root(cuda.threadIdx.x // lanes))
        s = b.a()
        o[0] = s.x[cuda.threadIdx.x & 7]

    def elsewhere(o):
        b = layout.views(bound.root(cuda.threadIdx.x // lanes))
        b.b()
        o[0] = 1

    assert compile_kernel(entering, _signature()).count(pattern) == 2
    assert compile_kernel(elsewhere, _signature()).count(pattern) == 0


# ---- poison -----------------------------------------------------------------


def _poisoned(name, *args, **kw):
    return layout_of(name, *args, registry=bayplan.BufferRegistry(poison=True), **kw)


@pytest.mark.sim
@pytest.mark.parametrize("location", ["shared", "local", "persistent_local"])
def test_entering_poisons_what_begins_there(location):
    layout = _poisoned(
        "Poison",
        [
            ("always", 1, location),
            ("x", 1, location, {"live": ("a", "b")}),
            ("k", 1, location, {"live": "b", "dtype": "i4"}),
            ("y", 1, location, {"live": "b", "zero": True}),
        ],
        phases="ab",
    )
    bound = layout.bind()

    def kern(out):
        b = layout.views(bound.root(0))
        b.always[0] = 1
        first = b.a()
        out[0] = first.x[0]
        first.x[0] = 2
        second = b.b()
        out[1] = second.x[0]
        out[2] = second.k[0]
        out[3] = second.y[0]
        second.k[0] = 3
        again = b.b()
        out[4] = again.k[0]
        out[5] = b.a().x[0]
        out[6] = b.always[0]

    out = np.zeros(7, np.float32)
    _launch(kern, bound, out)
    np.testing.assert_array_equal(out, [np.nan, 2, -1, 0, -1, np.nan, 1])


@pytest.mark.sim
def test_a_child_is_poisoned_where_its_phase_begins():
    registry = bayplan.BufferRegistry(poison=True)
    kid = Node("Kid", [("q", 1, "shared")], registry=registry)
    node = Node("Mother", [("x", 1)], [("kid", kid, "b")], phases="ab", registry=registry)
    layout, bound = node.layout, node.layout.bind()

    def kern(out):
        b = layout.views(bound.root(0))
        b.b().kid.q[0] = 1
        out[0] = b.b().kid.q[0]

    out = np.zeros(1, np.float32)
    _launch(kern, bound, out)
    assert np.isnan(out[0])


@pytest.mark.sim
@pytest.mark.parametrize(("location", "lanes"), [("shared", 2), ("block", 1)])
def test_what_other_threads_use_is_not_poisoned(location, lanes):
    """One lane enters late; the other one has written by then, as it may."""
    layout = _poisoned("Shared", [("x", 2, location, {"live": "a"})], phases="a")
    bound = layout.bind(lanes_per_run=lanes)

    def kern(out):
        lane = cuda.threadIdx.x
        b = layout.views(bound.root(lane // lanes))
        if lane == 0:
            b.a().x[0] = 7
        cuda.syncthreads()
        if lane == 1:
            b.a().x[1] = 8
        cuda.syncthreads()
        out[lane] = b.a().x[lane]

    out = np.zeros(2, np.float32)
    _launch(kern, bound, out, runs=2 // lanes, threads=2)
    np.testing.assert_array_equal(out, [7, 8])


@pytest.mark.sim
@pytest.mark.parametrize("location", ["shared", "local", "persistent_local"])
@pytest.mark.parametrize(
    ("is_poisoned", "is_carried"), [(False, True), (True, True), (True, False)]
)
def test_a_wrong_lifetime_is_caught(location, is_poisoned, is_carried):
    """A sum goes from turn to turn; whoever forgets to say so gets NaN."""
    layout = layout_of(
        "Loop",
        [
            ("sum", 1, location, {"live": "add", "carried": is_carried}),
            ("term", 1, location, {"live": "make"}),
        ],
        phases=["make", "add", "report"],
        loops=[("make", "add")],
        registry=bayplan.BufferRegistry(poison=is_poisoned),
    )
    assert layout["sum"].live == (("make", "add") if is_carried else ("add", "add"))
    bound = layout.bind()

    def kern(out):
        b = layout.views(bound.root(0))
        for turn in range(4):
            m = b.make()
            m.term[0] = turn
            term = m.term[0]
            s = b.add()
            if turn == 0:
                s.sum[0] = 0
            s.sum[0] += term
            out[turn] = s.sum[0]

    out = np.zeros(4, np.float32)
    _launch(kern, bound, out)
    expected = [0, 1, 3, 6] if is_carried else [0, np.nan, np.nan, np.nan]
    np.testing.assert_array_equal(out, expected)


@pytest.mark.sim
@pytest.mark.parametrize("is_poisoned", [False, True])
def test_a_view_kept_beyond_its_buffers_life_is_caught(is_poisoned):
    """The bytes are another buffer's by then; that nothing was written yet hides it."""
    layout = layout_of(
        "Held",
        [("rhs", 2, "shared", {"live": "predict"}), ("work", 2, "shared", {"live": "solve"})],
        phases=["predict", "solve"],
        registry=bayplan.BufferRegistry(poison=is_poisoned),
    )
    assert layout["rhs"].offset == layout["work"].offset
    bound = layout.bind()

    def kern(out):
        b = layout.views(bound.root(0))
        rhs = b.predict().rhs
        rhs[0] = 3
        b.solve()
        out[0] = rhs[0]

    out = np.zeros(1, np.float32)
    _launch(kern, bound, out)
    np.testing.assert_array_equal(out, [np.nan if is_poisoned else 3])


@pytest.mark.sim
def test_what_is_carried_is_poisoned_before_the_first_turn():
    layout = _poisoned(
        "Loop",
        [("sum", 1, "shared", {"live": "add", "carried": True})],
        phases=["make", "add"],
        loops=[("make", "add")],
    )
    bound = layout.bind()

    def kern(out):
        arena = cuda.shared.array(0, np.dtype(np.uint8))
        arena[:] = 0
        b = layout.views(bound.root(0))
        for turn in range(2):
            out[turn] = b.make().sum[0]
            b.add().sum[0] = turn + 1

    out = np.zeros(2, np.float32)
    _launch(kern, bound, out)
    np.testing.assert_array_equal(out, [np.nan, 1])


def test_an_unpickled_layout_has_its_phases_and_no_poison():
    layout = _poisoned("Pickled", [("x", 1, {"live": "b"})], phases="ab", loops=["ab"])
    copy = pickle.loads(pickle.dumps(layout))
    assert copy == layout
    assert (copy.phases, copy.loops, copy["x"].live) == (("a", "b"), (("a", "b"),), ("b", "b"))
    assert (layout.poison, copy.poison) == (True, False)


@pytest.mark.sim
@pytest.mark.parametrize("location", ["shared", "local", "persistent_local"])
def test_two_names_for_the_same_bytes_begin_together(location):
    """Poison covers all of them, zeros what asked for it."""
    layout = _poisoned(
        "Same",
        [
            ("x", 3, location, {"live": "b"}),
            ("bits", 2, {"same_as": "x", "live": "a", "dtype": "i4", "zero": True}),
        ],
        phases="abc",
    )
    assert layout["x"].live == layout["bits"].live == ("a", "b")
    bound = layout.bind()

    def kern(out):
        b = layout.views(bound.root(0))
        s = b.a()
        s.x[:] = 1
        s = b.b()
        out[3:] = s.x
        s = b.a()
        out[:3] = s.x

    out = np.full(6, 9, np.float32)
    _launch(kern, bound, out)
    np.testing.assert_array_equal(out, [0, 0, np.nan, 1, 1, 1])


@pytest.mark.parametrize("path", BOTH)
def test_a_phase_is_handed_to_another_function(path):
    """Its type says what it has, there too."""
    step, _ = _step()
    L, bound = step.layout, step.layout.bind()

    @device
    def fill(s, value):
        for i in range(3):
            s.work[i] = value + s.state[i]

    def right(o):
        b = L.views(bound.root(0))
        b.state[2] = 2
        s = b.solve()
        fill(s, 5)
        o[0] = s.work[2]

    def wrong(o):
        b = L.views(bound.root(0))
        fill(b.predict(), 5)
        o[0] = b.state[0]

    expected = (
        "buffer 'work' of layout 'Step' is not alive in phase 'predict' (it lives in 'solve')"
    )
    if path == "compiled":
        assert compile_kernel(right, _signature()).n_generic == 0
        assert expected in _compile_error(wrong)
        return
    out = np.zeros(1, np.float32)
    _launch(right, bound, out)
    assert out[0] == 7
    with pytest.raises(AttributeError) as caught:
        _launch(wrong, bound, out)
    assert str(caught.value).endswith(expected)
