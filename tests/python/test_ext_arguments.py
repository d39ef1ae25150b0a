"""How methods take their arguments, and what their documentation says of it."""

from __future__ import annotations

import enum
import inspect

import numpy as np
import pytest
from support import Factory

import bayplan
from bayplan import BufferValueError, _core


def test_keywords_and_positions_mean_the_same(registry):
    one, two = Factory(), Factory()
    registry.register(one, "a", (2, 3), "shared", dtype="f8", align=32, keep=True, zero=True)
    registry.register(
        zero=True, keep=True, align=32, dtype="f8", location="shared", size=(2, 3), name="a",
        factory=two,
    )  # fmt: skip
    assert registry.build_layout(one) == registry.build_layout(two)
    assert registry.dump(one)[10:] == registry.dump(two)[10:]


def test_keywords_that_are_not_interned(registry):
    owner = Factory()
    name = "".join(["si", "ze"])
    registry.register(owner, "a", **{name: 4, "".join(["loca", "tion"]): "shared"})
    assert registry.get_aggregate_size(owner, "".join(["sha", "red"])) == 4


@pytest.mark.parametrize(
    ("args", "kwargs", "says"),
    [
        ((), {}, "factory"),
        (("f", "a"), {}, "size"),
        (("f", "a", 1, "local", "f4"), {}, "at most 4 positional arguments .5 given"),
        (("f", "a", 1), {"size": 2}, "multiple values for argument 'size'"),
        (("f", "a", 1), {"sizes": 2}, "unexpected keyword argument 'sizes'"),
    ],
)
def test_wrong_calls(registry, args, kwargs, says):
    with pytest.raises(TypeError, match=says) as info:
        registry.register(*args, **kwargs)
    assert "register()" in str(info.value)
    assert registry.n_factories == 0


class Few(enum.IntEnum):
    THREE = 3


class MyInt(int):
    """An integer that must not be asked what it is."""

    def __index__(self):
        raise AssertionError("asked")

    __int__ = __index__


@pytest.mark.parametrize("three", [3, np.int8(3), np.uint64(3), np.intp(3), Few.THREE, MyInt(3)])
def test_integers(registry, three):
    owner = Factory()
    registry.register(owner, "a", three, "shared")
    registry.register(owner, "b", (three, 2), "shared")
    registry.register(owner, "c", [three, three], "shared")
    assert [p.shape for p in registry.build_layout(owner).placements] == [(3,), (3, 2), (3, 3)]
    assert all(type(n) is int for p in registry.build_layout(owner).placements for n in p.shape)


class Indexable:
    def __index__(self):
        return 3

    # Without an address: test ids must be the same in every worker.
    def __repr__(self):
        return "Indexable()"


@pytest.mark.parametrize(
    "size",
    [
        Indexable(),
        np.array(3),
        np.array([3]),
        np.timedelta64(3, "s"),
        range(3),
        {3},
        "3",
        3.0,
        np.True_,
    ],
    ids=repr,
)
def test_what_is_no_size(registry, size):
    with pytest.raises(BufferValueError) as info:
        registry.register(Factory(), "a", size)
    assert info.value.code == "BAY-E112"
    assert repr(size)[:20] in str(info.value)


@pytest.mark.parametrize(
    ("argument", "values"),
    [
        ("keep", [0, 1, "yes", 2.0]),
        ("zero", [0, 1, None]),
        ("uses", ["many", None, 1j]),
        ("same_as", [3, b"x"]),
    ],
)
def test_what_is_no_flag_or_number(registry, argument, values):
    for value in values:
        with pytest.raises(BufferValueError, match=argument) as info:
            registry.register(Factory(), "a", 1, "shared", **{argument: value})
        assert info.value.buffer == "a"
    assert registry.n_factories == 0


@pytest.mark.parametrize("flag", [True, np.True_])
def test_flags(registry, flag):
    owner = Factory()
    registry.register(owner, "a", 1, "shared", keep=flag, zero=flag, uses=np.float32(2.5))
    entry = registry.entries(owner)[0]
    assert (entry.keep, entry.zero, entry.uses) == (True, True, 2.5)


def test_options_of_a_registry():
    assert (bayplan.BufferRegistry().mode, bayplan.BufferRegistry().budget) == ("auto", None)
    made = bayplan.BufferRegistry(mode="packed", budget=np.int64(500), poison=False)
    assert (made.mode, made.budget, made.poison) == ("packed", 500, False)
    assert bayplan.BufferRegistry(poison=np.True_).poison is True
    for bad in ({"mode": "best"}, {"mode": 3}, {"budget": 0}, {"budget": True}, {"poison": 1}):
        with pytest.raises(BufferValueError):
            bayplan.BufferRegistry(**bad)
    for mode in ("sequential", "packed", "fast", "optimal"):
        assert bayplan.BufferRegistry(mode=mode).mode == mode
    with pytest.raises(TypeError):
        bayplan.BufferRegistry("auto")


def test_subclass_with_arguments_of_its_own():
    class Named(bayplan.BufferRegistry):
        def __new__(cls, title, **options):
            return super().__new__(cls, **options)

        def __init__(self, title, **options):
            super().__init__()
            self.title = title

    made = Named("main", mode="sequential")
    owner = Factory()
    made.register(owner, "a", 3, "shared")
    assert (made.title, made.mode, made.n_factories) == ("main", "sequential", 1)


def test_classes_are_checked():
    for bad in ({"layout": int}, {"bound": bayplan.Layout}, {"layout": 3}):
        with pytest.raises(TypeError):
            _core._set_classes(**bad)
    _core._set_classes(layout=bayplan.Layout, bound=bayplan.BoundLayout)


def documented():
    for kind in (_core.BufferRegistry, _core.Layout, _core.BoundLayout):
        for name, value in vars(kind).items():
            if not name.startswith("__"):
                yield f"{kind.__name__}.{name}", value
    for name in ("plan", "bank_conflicts", "unpack_layout", "unpack_bound"):
        yield name, getattr(_core, name)


@pytest.mark.parametrize(("name", "value"), list(documented()), ids=lambda x: str(x)[:40])
def test_everything_has_a_docstring_and_a_signature(name, value):
    assert inspect.getdoc(value)
    if callable(value):
        assert inspect.signature(value)


def test_keyword_only_arguments_are_so_documented(registry):
    owner = Factory()
    signature = inspect.signature(bayplan.BufferRegistry.register)
    for name, parameter in signature.parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY:
            args = [owner, "a", 1, "local", parameter.default]
            with pytest.raises(TypeError, match="positional"):
                registry.register(*args)
            registry.register(owner, "a", 1, **{name: parameter.default})
