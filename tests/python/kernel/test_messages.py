"""Mistakes of authors: what is said, and that compiler and simulator say the same.

Each case runs in both: as `[compiled-...]` without, as `[simulated-...]` with the
simulator.
"""

from __future__ import annotations

import numpy as np
import pytest
from kernel_tools import Node, compile_kernel, define

BOTH = [
    pytest.param("compiled", marks=pytest.mark.ptx),
    pytest.param("simulated", marks=pytest.mark.sim),
]

VIEWS = "(mem), (shared, persistent) or (shared, persistent, block)"

# Lines of a kernel over `b = L.views(mem)` and what must be said. {step}, {newton} and
# {other} stand for the short digests of the layouts.
MISTAKES = {
    "misspelled": (
        ["b.resdual[0] = 1"],
        "layout 'Step' has no buffer or child 'resdual' "
        "(has: residual, work, local, hist, newton) (did you mean 'residual'?)",
    ),
    "unknown": (
        ["b.zzz[0] = 1"],
        "layout 'Step' has no buffer or child 'zzz' (has: residual, work, local, hist, newton)",
    ),
    "misspelled in a child": (
        ["b.newton.jak[0, 0] = 1"],
        "layout 'Newton' has no buffer or child 'jak' (has: jac, tmp) (did you mean 'jac'?)",
    ),
    "wrong region": (
        ["n = O.views(b.newton)", "n.q[0] = 1"],
        "layout 'Other' ({other}) was given the region of layout 'Newton' ({newton}); "
        "pass the region made for it",
    ),
    "own region for the child's": (
        ["n = N.views(mem)"],
        "layout 'Newton' ({newton}) was given the region of layout 'Step' ({step}); "
        "pass the region made for it",
    ),
    "rebinding a buffer": (
        ["b.residual = b.work"],
        "cannot rebind 'residual' of layout 'Step'; write to its elements: .residual[...] = value",
    ),
    "rebinding to a number": (
        ["b.residual = 1.0"],
        "cannot rebind 'residual' of layout 'Step'; write to its elements: .residual[...] = value",
    ),
    "rebinding a child": (
        ["b.newton = mem"],
        "cannot rebind 'newton' of layout 'Step'; write to its elements: .newton[...] = value",
    ),
    "rebinding in a region": (
        ["b.newton.jac = b.work"],
        "cannot rebind 'jac' of layout 'Newton'; write to its elements: .jac[...] = value",
    ),
    "not opened": (
        ["L.residual[0] = 1"],
        "layout 'Step' is not open: b = L.views(mem), then b.residual",
    ),
    "no such attribute": (
        ["L.open(mem)"],
        "layout 'Step' has no attribute 'open'; open it first: b = L.views(mem)",
    ),
    "root of an unbound layout": (
        ["L.root(0)"],
        "layout 'Step' is not bound: B = L.bind(...), then mem = B.root(run)",
    ),
    "local of a child": (
        ["b.newton.tmp[0] = 1"],
        "buffer 'tmp' of layout 'Newton' is local: "
        "it exists only inside the function that opens the layout",
    ),
    "local through the own region": (
        ["mem.local[0] = 1"],
        "buffer 'local' of layout 'Step' is local: "
        "it exists only inside the function that opens the layout",
    ),
    "views of a number": (
        ["L.views(1)"],
        f"layout 'Step': views takes {VIEWS}; got an integer for mem",
    ),
    "views of a float": (
        ["L.views(1.5)"],
        f"layout 'Step': views takes {VIEWS}; got a number for mem",
    ),
    "views of views": (
        ["L.views(b)"],
        f"layout 'Step': views takes {VIEWS}; got the views of layout 'Step' for mem",
    ),
    "views of a matrix": (
        ["L.views(m, o)"],
        f"layout 'Step': views takes {VIEWS}; got a 2-D array for mem",
    ),
    "views of every other item": (
        ["L.views(o[::2], o)"],
        f"layout 'Step': views takes {VIEWS}; got a non-contiguous array for mem",
    ),
    "region and arena": (
        ["L.views(mem, o)"],
        f"layout 'Step': views takes {VIEWS}; a region is passed alone",
    ),
    "no persistent arena": (
        ["L.views(o)"],
        "layout 'Step' needs a persistent arena of 8 bytes, got None",
    ),
    "None for shared": (
        ["L.views(None, o)"],
        "layout 'Step' needs a shared arena of 60 bytes, got None",
    ),
    "a matrix for persistent": (
        ["L.views(o, m)"],
        "layout 'Step': the persistent arena must be a C-contiguous 1-D array, got a 2-D array",
    ),
    "root of a float": (
        ["B.root(0.5)"],
        "bound layout 'Step': root takes one integer, the run's index in the block; got a number",
    ),
    "uneven roll-up": (
        ["d = D.views(o)", "d.kid_shared[0] = 1"],
        "roll-up 'kid_shared' holds 12 bytes, no whole number of float64 elements: "
        "reach the child through views instead",
    ),
}


def _layouts():
    newton = Node("Newton", [("jac", (3, 3), "shared"), ("tmp", 3)])
    step = Node(
        "Step",
        [
            ("residual", 3, "shared"),
            ("work", 3, "shared"),
            ("local", 3),
            ("hist", 2, "persistent_local"),
        ],
        [("newton", newton)],
    )
    other = Node("Other", [("q", 4, "shared")])
    kid = Node("Kid", [("k", 3, "shared")])
    double = Node("Double", [("d", 1, "shared")], [("kid", kid)], precision="f8")
    return {node.owner.__class__.__name__: node for node in (newton, step, other, double)}


def _kernel(lines: list[str], nodes):
    body = [
        "def outer(L, B, N, O, D):",
        "    def kern(o, m):",
        "        mem = B.root(cuda.threadIdx.x)",
        "        b = L.views(mem)",
        *("        " + line for line in lines),
        "        o[0] = b.residual[0]",
        "    return kern",
    ]
    layout = nodes["Step"].layout
    rest = [nodes[name].layout for name in ("Newton", "Other", "Double")]
    return define("\n".join(body))["outer"](layout, layout.bind(), *rest)


def _compile_error(kern) -> str:
    from numba.cuda import types
    from numba.cuda.core.errors import NumbaError

    with pytest.raises(NumbaError) as caught:
        compile_kernel(kern, (types.float32[::1], types.float32[:, ::1]))
    return str(caught.value)


def _simulator_error(kern, n_bytes: int) -> str:
    from bayplan.kernel import kernel

    arrays = np.zeros(64, np.float32), np.zeros((2, 2), np.float32)
    with pytest.raises((AttributeError, TypeError)) as caught:
        kernel(kern)[1, 1, 0, n_bytes](*arrays)
    return str(caught.value)


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("path", BOTH)
def test_mistake(path, mistake):
    lines, template = MISTAKES[mistake]
    nodes = _layouts()
    digests = {name.lower(): node.layout.digest[:8] for name, node in nodes.items()}
    expected = template.format(**digests) if "{" in template else template
    kern = _kernel(lines, nodes)
    if path == "compiled":
        assert expected in _compile_error(kern)
    else:
        assert _simulator_error(kern, 4096).endswith(expected)


@pytest.mark.parametrize("path", BOTH)
def test_the_kernel_without_a_mistake(path):
    kern = _kernel(["b.residual[0] = 1"], _layouts())
    if path == "compiled":
        from numba.cuda import types

        compile_kernel(kern, (types.float32[::1], types.float32[:, ::1]))
    else:
        from bayplan.kernel import kernel

        out = np.zeros(64, np.float32)
        kernel(kern)[1, 1, 0, 4096](out, np.zeros((2, 2), np.float32))
        assert out[0] == 1


@pytest.mark.ptx
@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["return b"], "the views of layout 'Step' cannot be returned"),
        (["return mem"], "the region of layout 'Step' cannot be returned"),
        (["return b.newton"], "the region of layout 'Newton' cannot be returned"),
        (["return b.residual"], "array"),
    ],
)
def test_nothing_of_a_layout_is_returned(lines, expected):
    """The compiler refuses it; the simulator cannot see it."""
    from bayplan.kernel import device

    body = [
        "def outer(L):",
        "    def work(mem):",
        "        b = L.views(mem)",
        *("        " + line for line in lines),
        "    return work",
    ]
    layout = _layouts()["Step"].layout
    work = device(define("\n".join(body))["outer"](layout))
    bound = layout.bind()

    def kern(o, m):
        work(bound.root(0))

    assert expected in _compile_error(kern)


@pytest.mark.ptx
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "B.root()",
            "bound layout 'Step': root takes one integer, the run's index in the block; "
            "got 0 arguments",
        ),
        (
            "B.root(0, 1)",
            "bound layout 'Step': root takes one integer, the run's index in the "
            "block; got 2 arguments",
        ),
        ("L.views()", f"layout 'Step': views takes {VIEWS}; got 0 arguments"),
        ("L.views(o, o, o, o)", f"layout 'Step': views takes {VIEWS}; got 4 arguments"),
    ],
)
def test_counts(line, expected):
    """In the simulator Python itself counts, and says so in its own words."""
    assert expected in _compile_error(_kernel([line], _layouts()))


@pytest.mark.ptx
def test_keywords_are_refused():
    kern = _kernel(["L.views(mem=mem)"], _layouts())
    message = "arguments are passed by position here, not by name: mem"
    assert message in _compile_error(kern)


@pytest.mark.ptx
def test_bound_layouts_have_only_a_root():
    kern = _kernel(["o[0] = B.stride"], _layouts())
    message = (
        "bound layout 'Step' has no attribute 'stride' in a kernel: "
        "mem = B.root(run), then b = L.views(mem)"
    )
    assert message in _compile_error(kern)


def test_unnamed_layouts_are_called_by_their_digest():
    import pickle

    from bayplan.kernel import messages

    layout = pickle.loads(pickle.dumps(_layouts()["Step"].layout))
    assert layout.name is None
    assert messages.unknown(layout, "zzz").startswith(f"layout {layout.digest[:8]} has no buffer")
