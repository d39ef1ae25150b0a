"""`device` and `kernel`: options of both faces, and what they refuse."""

from __future__ import annotations

import types

import numpy as np
import pytest
from kernel_tools import Node, define, layout_of

from bayplan.kernel import device, is_simulated, kernel
from bayplan.kernel.cache import captured, reached_layouts

LAYOUT = layout_of("Global", [("x", 3, "shared")])
OPTIONS = {"lineinfo": True, "max_registers": 32, "launch_bounds": 128, "lto": True}


def _functions(**names):
    """Functions that read `names` from the globals of a module."""
    source = (
        "def reads_layout(mem):\n"
        "    return L.views(mem).x[0]\n"
        "def reads_bound(out):\n"
        "    B.root(0)\n"
        "def reads_allocator(s):\n"
        "    return alloc(s)[0]\n"
        "def reads_attribute(mem):\n"
        "    return shop.inner.L.views(mem).x[0]\n"
        "def reads_inside(mem):\n"
        "    def inner():\n"
        "        return L\n"
        "    return inner()\n"
        "def calls_helper(out, mem):\n"
        "    out[0] = helper(mem)\n"
    )
    return define(source, **names)


def _module(name: str, **names) -> types.ModuleType:
    module = types.ModuleType(name)
    vars(module).update(names)
    return module


@pytest.mark.parametrize("decorate", [device, kernel], ids=["device", "kernel"])
@pytest.mark.parametrize(
    ("function", "what", "path"),
    [
        ("reads_layout", "layout 'Global'", "L"),
        ("reads_bound", "bound layout 'Global'", "B"),
        ("reads_allocator", "allocator of buffer 'x' (shared)", "alloc"),
        ("reads_attribute", "layout 'Global'", "shop.inner.L"),
        ("reads_inside", "layout 'Global'", "L"),
    ],
)
def test_layouts_in_globals_are_refused(decorate, function, what, path):
    names = {
        "L": LAYOUT,
        "B": LAYOUT.bind(),
        "alloc": LAYOUT.allocator("x"),
        "shop": _module("shop", inner=_module("inner", L=LAYOUT)),
    }
    with pytest.raises(TypeError) as caught:
        decorate(_functions(**names)[function])
    assert str(caught.value) == (
        f"{function} reads {what} from the module global {path!r}: a kernel cached on disk would "
        "not notice when it changes. Make the function inside another one and capture it there"
    )


def test_with_options_they_are_refused_too():
    with pytest.raises(TypeError, match="from the module global 'L'"):
        device(forceinline=False)(_functions(L=LAYOUT)["reads_layout"])


def test_other_globals_are_fine():
    functions = _functions(L=3, B=None, alloc=np.zeros(3), shop=_module("shop"))
    for name in ("reads_layout", "reads_bound", "reads_allocator", "reads_attribute"):
        device(functions[name])


def _capturing(layout):
    @device
    def helper(mem):
        return layout.views(mem).x[0]

    return helper


def test_device_functions_in_globals_hide_layouts_from_the_disk_cache():
    function = _functions(helper=_capturing(LAYOUT))["calls_helper"]
    kernel(function)
    with pytest.raises(TypeError) as caught:
        kernel(cache=True)(function)
    assert str(caught.value).startswith(
        "calls_helper reads a function of layout 'Global' from the module global 'helper': "
    )


def test_they_are_found_behind_other_functions():
    hidden = _functions(helper=_capturing(LAYOUT))["calls_helper"]
    middle = device(hidden)

    def kern(out, mem):
        middle(out, mem)

    with pytest.raises(TypeError, match="kern reads a function of layout 'Global'"):
        kernel(cache=True)(kern)


def test_captured_device_functions_are_fine_with_the_disk_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    helper = _capturing(LAYOUT)

    def kern(out):
        out[0] = helper(out)

    kernel(cache=True)(kern)
    assert captured(kern) == {"helper": helper}
    assert reached_layouts(kern) == [LAYOUT]


def test_reached_layouts_follow_every_capture():
    inner = layout_of("Inner", [("x", 3, "shared")])
    bound = Node("Outer", [("y", 1)]).layout.bind()
    helper = _capturing(inner)

    @device
    def middle(mem):
        return helper(mem)

    def kern(out):
        bound.root(0)
        middle(out)
        kern(out)

    found = reached_layouts(kern)
    assert len(found) == 2
    assert inner in found
    assert bound in found


@pytest.mark.sim
def test_the_simulator_ignores_what_only_a_compiler_knows():
    layout = LAYOUT
    bound = layout.bind()

    @device(forceinline=True, lineinfo=True)
    def work(mem):
        return layout.views(mem).x.size

    @kernel(**OPTIONS)
    def kern(out):
        out[0] = work(bound.root(0))

    out = np.zeros(1)
    kern[1, 1, 0, bound.dynamic_shared_bytes(1)](out)
    assert out[0] == 3


@pytest.mark.sim
def test_the_simulator_still_refuses_unknown_options():
    with pytest.raises(TypeError, match="no_such_option"):
        device(no_such_option=1)


@pytest.mark.ptx
def test_the_compiler_gets_every_option():
    def kern(out):
        out[0] = 1

    made = kernel(**OPTIONS)(kern)
    assert {name: made.targetoptions[name] for name in OPTIONS} == OPTIONS
    made = device(kern)
    assert made.targetoptions["forceinline"] is True
    assert made.targetoptions["device"] is True
    assert device(forceinline=False)(kern).targetoptions["forceinline"] is False


def test_signatures_are_passed_on():
    def add(a, b):
        return a + b

    made = device("float32(float32, float32)")(add)
    assert made.py_func is add if hasattr(made, "py_func") else made.fn is add


@pytest.mark.sim
def test_mode_in_the_simulator():
    assert is_simulated()


@pytest.mark.ptx
def test_mode_with_the_compiler():
    assert not is_simulated()
