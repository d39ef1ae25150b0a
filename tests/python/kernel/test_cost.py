"""Views cost nothing: no more instructions and registers than offsets by hand."""

from __future__ import annotations

import pytest
from kernel_tools import Node, compile_kernel, define

from bayplan.kernel import device

pytestmark = pytest.mark.ptx

ITEMS = 8


def _signature():
    from numba.cuda import types

    return types.float32[::1], types.float32, types.int32


def _flat_source(n_buffers: int, access, opening: list[str]) -> str:
    """A kernel over n buffers in a ring, each reading its neighbour."""
    body = list(opening)
    for k in range(n_buffers):
        mine, before = access(k, "i"), access((k - 1) % n_buffers, "i")
        body += [f"for i in range({ITEMS}):", f"    {mine} = {before} * a + {mine}"]
    body += ["s = np.float32(0)", "t = r & 7"]
    body += [f"s += {access(k, 't')}" for k in range(n_buffers)]
    body += ["out[r] = s"]
    return _kernel_source(body)


def _kernel_source(body: list[str]) -> str:
    lines = ["def outer(B=None, L=None, work=None):", "    def kern(out, a, n):"]
    lines += ["        r = cuda.threadIdx.x", *("        " + line for line in body)]
    return "\n".join([*lines, "    return kern"])


def _flat_by_hand(n_buffers: int, stride_bytes: int, run: str = "r"):
    """One uint32 base per run, constant uint32 offsets into it."""
    opening = [
        "sh = cuda.shared.array(0, np.float32, alignment=16)",
        f"base = np.uint32({run}) * np.uint32({stride_bytes // 4})",
    ]

    def access(k, i):
        return f"sh[base + np.uint32({k * ITEMS}) + np.uint32({i})]"

    return define(_flat_source(n_buffers, access, opening))["outer"]()


def _flat_by_views(bound, run: str = "r"):
    n_buffers = len(bound.layout.shared.placements)
    source = _flat_source(n_buffers, lambda k, i: f"b.b{k}[{i}]", [f"b = L.views(B.root({run}))"])
    return define(source)["outer"](bound, bound.layout)


def _assert_no_dearer(views, by_hand):
    assert views.n_generic == by_hand.n_generic == 0
    assert views.count(r"\bcall") == 0
    assert len(views.instructions) <= len(by_hand.instructions)
    registers, frame = views.assemble()
    assert frame == 0
    assert registers <= by_hand.assemble()[0]


@pytest.mark.parametrize(
    ("n_buffers", "policy"), [(1, "pad"), (2, "pad"), (8, "pad"), (32, "pad"), (8, "none")]
)
def test_flat(n_buffers, policy, cc):
    node = Node("Flat", [(f"b{k}", ITEMS, "shared") for k in range(n_buffers)])
    bound = node.layout.bind(policy=policy)
    offsets = [placement.offset for placement in bound.layout.shared.placements]
    assert offsets == [4 * ITEMS * k for k in range(n_buffers)]
    by_hand = compile_kernel(_flat_by_hand(n_buffers, bound.stride), _signature(), cc)
    views = compile_kernel(_flat_by_views(bound), _signature(), cc)
    assert views.count(r"ld\.shared") > 0
    assert views.count(r"st\.shared") > 0
    _assert_no_dearer(views, by_hand)


@pytest.mark.parametrize("run", ["r // 2", "cuda.grid(1) % 8", "cuda.laneid"])
def test_run_of_any_integer_type(run, cc):
    node = Node("Flat", [(f"b{k}", ITEMS, "shared") for k in range(2)])
    bound = node.layout.bind()
    by_hand = compile_kernel(_flat_by_hand(2, bound.stride, run), _signature(), cc)
    views = compile_kernel(_flat_by_views(bound, run), _signature(), cc)
    _assert_no_dearer(views, by_hand)


# ---- three levels: step calls newton twice, newton calls solve twice --------

LEVELS = ["solve", "newton", "step"]


def _level_source(name, below, parameters: str, opening: str, access, call: str) -> str:
    """A device function over three buffers that calls the one below it twice."""
    lines = [f"def outer({below or 'unused'}=None, L=None):"]
    lines += [f"    def {name}({parameters}, a):"]
    p, q, w = (access(v, "i") for v in "pqw")
    lines += [
        f"        {opening}",
        f"        for i in range({ITEMS}):",
        f"            {p} = {q} * a + {p}",
        f"            {w} = {p} - {q}",
        f"        s = {call} + {call}" if below else "        s = np.float32(0)",
        f"        for i in range({ITEMS}):",
        f"            s += {w} * {p}",
        "        return s",
        f"    return {name}",
    ]
    return "\n".join(lines)


def _tree_by_hand(layouts, stride_bytes: int):
    below = None
    for depth, name in enumerate(LEVELS):
        layout = layouts[depth]

        def access(v, i, layout=layout):
            return f"sh[base + np.uint32({layout[v].offset // 4}) + np.uint32({i})]"

        lower_name, call = None, ""
        if below is not None:
            lower_name = LEVELS[depth - 1]
            offset = layout.children[lower_name].shared // 4
            call = f"{lower_name}(sh, base + np.uint32({offset}), a)"
        source = _level_source(name, lower_name, "sh, base", "pass", access, call)
        below = device(define(source)["outer"](below))
    body = [
        "sh = cuda.shared.array(0, np.float32, alignment=16)",
        f"out[r] = work(sh, np.uint32(r) * np.uint32({stride_bytes // 4}), a)",
    ]
    return define(_kernel_source(body))["outer"](work=below)


def _tree_by_views(layouts, bound):
    below = None
    for depth, name in enumerate(LEVELS):
        lower_name = None if below is None else LEVELS[depth - 1]
        source = _level_source(
            name,
            lower_name,
            "mem",
            "b = L.views(mem)",
            lambda v, i: f"b.{v}[{i}]",
            f"{lower_name}(b.{lower_name}, a)",
        )
        below = device(define(source)["outer"](below, layouts[depth]))
    return define(_kernel_source(["out[r] = work(B.root(r), a)"]))["outer"](bound, work=below)


@pytest.mark.parametrize("policy", ["none", "pad"])
def test_three_levels(policy, cc):
    nodes: list[Node] = []
    for name in LEVELS:
        children = [(LEVELS[len(nodes) - 1], nodes[-1])] if nodes else []
        nodes.append(Node(name, [(v, ITEMS, "shared") for v in "pqw"], children))
    layouts = [node.layout for node in nodes]
    bound = layouts[-1].bind(policy=policy)
    by_hand = compile_kernel(_tree_by_hand(layouts, bound.stride), _signature(), cc)
    views = compile_kernel(_tree_by_views(layouts, bound), _signature(), cc)
    assert views.count(r"ld\.shared") > 0
    _assert_no_dearer(views, by_hand)
