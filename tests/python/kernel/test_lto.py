"""The launch path: LTO through nvJitLink, without a device; views stay free there."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from kernel_tools import Compiled, Node
from numba import cuda
from test_cost import ITEMS, _flat_by_hand, _flat_by_views, _signature

pytestmark = pytest.mark.ptx
CC = (8, 0)


@pytest.fixture(autouse=True)
def context_without_a_driver(monkeypatch):
    from numba.cuda import codegen
    from numba.cuda.cudadrv import devices

    device = SimpleNamespace(compute_capability=CC)
    monkeypatch.setattr(devices, "get_context", lambda devnum=None: SimpleNamespace(device=device))
    monkeypatch.setattr(codegen.JITCUDACodegen, "magic_tuple", lambda self: ("no device",))


def _linked(function) -> Compiled:
    from numba.cuda.dispatcher import _Kernel

    made = cuda.jit(lto=True)(function)
    compiled = _Kernel(made.py_func, _signature(), **made.targetoptions)
    assert compiled._codelibrary._lto
    return Compiled(compiled._codelibrary.get_lto_ptx(cc=CC).rstrip("\0"), CC)


@pytest.mark.parametrize("n_buffers", [2, 8])
def test_flat_after_link_time_optimisation(n_buffers):
    node = Node("Flat", [(f"b{k}", ITEMS, "shared") for k in range(n_buffers)])
    bound = node.layout.bind()
    views, by_hand = _linked(_flat_by_views(bound)), _linked(_flat_by_hand(n_buffers, bound.stride))
    assert views.count(r"ld\.shared") > 0
    assert views.n_generic == 0
    assert views.count(r"\bcall") == 0
    assert len(views.instructions) <= len(by_hand.instructions)
    assert views.assemble()[0] <= by_hand.assemble()[0]
