"""Bad input: refused by the right family, said in words, and without a trace.

Every test ends with the registry's dump as it was before the bad call (see
``support.refused``).
"""

from __future__ import annotations

import contextlib
import copy
import gc
import os
import pickle
import threading

import numpy as np
import pytest
from support import ANY, Factory, NewtonSolver, NoWeakref, refused

import bayplan
from bayplan import BufferKeyError, BufferValueError, NotYetError

MAX_BYTES = 1 << 48


@pytest.fixture
def newton(registry):
    """A solver with a few buffers of every sort, one child and an override."""
    owner = NewtonSolver()
    registry.register(owner, "delta", 4, "local")
    registry.register(owner, "residual", 8, "shared")
    registry.register(owner, "history", 2, "persistent_local")
    registry.register(owner, "view", 4, same_as="residual")
    owner.linear = Factory()
    registry.register(owner.linear, "pivots", 3, "shared", dtype=np.int32)
    registry.add_child(owner, owner.linear, "linear")
    registry.update(owner, delta_location="shared")
    registry.build_layout(owner)
    return owner


# ---- unknown things -----------------------------------------------------------


def test_unknown_buffer_names_what_exists(registry, newton):
    with refused(
        registry, BufferKeyError, "BAY-E100", "'detla'", "has", "delta", "residual", buffer="detla"
    ):
        registry.unregister(newton, "detla")


def test_unknown_buffer_of_a_layout(registry, newton):
    layout = registry.build_layout(newton)
    with refused(
        registry, BufferKeyError, "BAY-E100", "'detla'", "delta", "residual", buffer="detla"
    ):
        layout["detla"]


def test_unknown_factory(registry, newton):
    stranger = NewtonSolver()
    with refused(registry, BufferKeyError, None) as info:
        registry.unregister(stranger, "delta")
    assert info.value.code in ("BAY-E100", "BAY-E101")
    assert "NewtonSolver" in str(info.value)
    with refused(registry, BufferKeyError, "BAY-E101"):
        registry.unregister_all(stranger)
    with refused(registry, BufferKeyError, None) as info:
        registry.remove_child(stranger, "linear")
    assert info.value.code in ("BAY-E101", "BAY-E102")
    with refused(registry, BufferKeyError, None) as info:
        registry.update(stranger, delta_size=3, strict=True)
    assert info.value.code in ("BAY-E101", "BAY-E104")


def test_unknown_child(registry, newton):
    with refused(registry, BufferKeyError, "BAY-E102", "'liner'", "linear", buffer=ANY) as info:
        registry.remove_child(newton, "liner")
    assert isinstance(info.value, KeyError)


def test_unknown_key_when_strict(registry, newton):
    with refused(registry, BufferKeyError, "BAY-E104", "detla_size", buffer=ANY):
        registry.update(newton, detla_size=3, strict=True)


def test_message_lists_are_cut_when_long(registry):
    owner = NewtonSolver()
    for i in range(200):
        registry.register(owner, f"buffer_number_{i}", 1)
    with refused(registry, BufferKeyError, "BAY-E100", "...", buffer="nope") as info:
        registry.unregister(owner, "nope")
    assert len(str(info.value)) < 256


# ---- sizes ----------------------------------------------------------------------


@pytest.mark.parametrize("size", [-1, np.int64(-7), -(10**30)])
def test_negative_size(registry, newton, size):
    with refused(registry, BufferValueError, "BAY-E112", int(size), buffer="x"):
        registry.register(newton, "x", size)
    with refused(registry, BufferValueError, "BAY-E112", int(size), buffer="x"):
        registry.register(newton, "x", (3, size))


def test_negative_size_is_in_the_attributes(registry, newton):
    with refused(registry, BufferValueError, "BAY-E112", buffer="x", value=-1):
        registry.register(newton, "x", -1)


@pytest.mark.parametrize("size", [True, np.bool_(False), 3.0, np.float64(2), "3", None, b"3", 3j])
def test_size_that_is_no_integer(registry, newton, size):
    with refused(registry, BufferValueError, "BAY-E112", buffer="x"):
        registry.register(newton, "x", size)
    with refused(registry, BufferValueError, "BAY-E112", buffer="x"):
        registry.register(newton, "x", (2, size))


@pytest.mark.parametrize("size", [(), ((2, 3),), tuple([1] * 33)])
def test_shape_without_or_with_too_many_dimensions(registry, newton, size):
    with refused(registry, BufferValueError, "BAY-E112", buffer="x"):
        registry.register(newton, "x", size)


@pytest.mark.parametrize(
    "size", [MAX_BYTES // 4, 2**62, 2**63, 2**64, 10**30, (2**24, 2**24), (2**40, 2**40)]
)
def test_huge_size(registry, newton, size):
    with refused(registry, BufferValueError, "BAY-E113", buffer="x"):
        registry.register(newton, "x", size)
    with refused(registry, BufferValueError, "BAY-E113", buffer="delta"):
        registry.update(newton, delta_size=size)


def test_largest_total_is_one_byte_less(registry):
    owner = NewtonSolver()
    registry.register(owner, "x", MAX_BYTES - 1, "shared", dtype="u1")
    assert registry.get_aggregate_bytes(owner, "shared") == MAX_BYTES - 1
    said = {"value": MAX_BYTES, "limit": MAX_BYTES}
    with refused(registry, BufferValueError, "BAY-E113", "2^48", buffer="y", **said):
        registry.register(owner, "y", 1, "local", dtype="u1")


def test_tree_too_large_is_refused_when_planned(registry):
    top, low = NewtonSolver(), Factory()
    registry.register(low, "x", MAX_BYTES - 1, "shared", dtype="u1")
    registry.add_child(top, low, "a")
    registry.add_child(top, low, "b")
    before = registry.layout_version(top)
    with refused(registry, BufferValueError, "BAY-E113"):
        registry.build_layout(top)
    assert registry.layout_version(top) == before
    assert registry.build_layout(low).shared.nbytes == MAX_BYTES - 1
    registry.remove_child(top, "b")
    assert registry.build_layout(top).shared.nbytes == MAX_BYTES - 1


@pytest.mark.parametrize("size", [-1, True, 2.5, "shared", None])
def test_bad_size_in_an_update(registry, newton, size):
    with refused(registry, BufferValueError, "BAY-E112", buffer="delta"):
        registry.update(newton, delta_size=size)


# ---- words and numbers ------------------------------------------------------------


@pytest.mark.parametrize("location", ["global", "Shared", "", "shared ", "regs"])
def test_unknown_location(registry, newton, location):
    with refused(registry, BufferValueError, "BAY-E114", repr(location), "shared", buffer="x"):
        registry.register(newton, "x", 1, location)
    with refused(registry, BufferValueError, "BAY-E114", repr(location), "shared", buffer="delta"):
        registry.update(newton, delta_location=location)


@pytest.mark.parametrize("location", [3, None, b"shared", ("shared",)])
def test_location_that_is_no_text(registry, newton, location):
    with refused(registry, BufferValueError, "BAY-E114", buffer="x"):
        registry.register(newton, "x", 1, location)
    with refused(registry, BufferValueError, "BAY-E114", buffer="delta"):
        registry.update(newton, delta_location=location)


@pytest.mark.parametrize("location", ["global", "", "auto", 3, None])
def test_size_of_an_unknown_region(registry, newton, location):
    with refused(registry, BufferValueError, None) as info:
        registry.get_aggregate_size(newton, location)
    assert info.value.code == "BAY-E114"
    with refused(registry, BufferValueError, None):
        registry.get_child_aggregate_size(newton.linear, location)


@pytest.mark.parametrize("dtype", [object, "O", np.dtype([("a", "O"), ("b", "f4")]), "S0", "V0"])
def test_dtype_without_fixed_bytes(registry, newton, dtype):
    with refused(registry, BufferValueError, "BAY-E116", buffer="x"):
        registry.register(newton, "x", 3, dtype=dtype)


def test_dtype_of_the_other_byte_order(registry, newton):
    """No kernel of this machine could read it."""
    other = np.dtype("f4").newbyteorder("S")
    with refused(registry, BufferValueError, "BAY-E116", "byte order", buffer="x"):
        registry.register(newton, "x", 3, dtype=other)


@pytest.mark.parametrize("dtype", ["no such type", 3, [("a",)], b"\xff"])
def test_dtype_that_is_none_at_all(registry, newton, dtype):
    with refused(registry, BufferValueError, "BAY-E116", buffer="x"):
        registry.register(newton, "x", 3, dtype=dtype)


def test_bad_precision_of_the_owner_opens_nothing(registry, newton):
    class Strange(NewtonSolver):
        precision = object

    with refused(registry, BufferValueError, "BAY-E116", factory="Strange", buffer=None):
        registry.register(Strange(), "x", 3)

    class Failing(NewtonSolver):
        @property
        def precision(self):
            raise RuntimeError("no precision today")

    with refused(registry, RuntimeError, None) as info:
        registry.register(Failing(), "x", 3)
    assert str(info.value) == "no precision today"


@pytest.mark.parametrize("align", [0, 3, 24, -8, 2048, 2**70, True, 4.0, "16"])
def test_align_not_a_power_of_two(registry, newton, align):
    with refused(registry, BufferValueError, "BAY-E115", align, buffer="x"):
        registry.register(newton, "x", 1, align=align)


@pytest.mark.parametrize("uses", [-1.0, float("nan"), float("inf"), -float("inf")])
def test_uses_out_of_range(registry, newton, uses):
    with refused(registry, BufferValueError, "BAY-E122", buffer="x"):
        registry.register(newton, "x", 1, uses=uses)


# ---- names ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", "a b", "1a", "a-b", "a.b", "_a", "__a", "for", "None", "a\0b", "a\n", "x" * 256),
        *("views", "root", "bind", "region", "²", "a²"),
    ],
)
def test_bad_and_reserved_names(registry, newton, name):
    with refused(registry, BufferValueError, "BAY-E110", buffer=ANY):
        registry.register(newton, name, 1)
    with refused(registry, BufferValueError, "BAY-E110", buffer=ANY):
        registry.add_child(newton, Factory(), name)


@pytest.mark.parametrize("name", [3, None, b"x", ("x",), "\ud800"])
def test_name_that_is_no_text(registry, newton, name):
    with refused(registry, BufferValueError, "BAY-E110", buffer=ANY):
        registry.register(newton, name, 1)
    with refused(registry, BufferValueError, "BAY-E110", buffer=ANY):
        registry.add_child(newton, Factory(), name)


def test_good_names(registry):
    owner = Factory()
    for name in ("a", "A9_", "größe", "名前", "x" * 255, "match", "view", "print", "shared"):
        registry.register(owner, name, 1)
        assert registry.build_layout(owner)[name].size == 1


def test_buffer_takes_a_childs_name(registry, newton):
    with refused(registry, BufferValueError, "BAY-E111", "linear", buffer="linear"):
        registry.register(newton, "linear", 1)


@pytest.mark.parametrize("name", ["delta", "linear_shared", "linear_persistent_local"])
def test_child_takes_a_buffers_name(registry, newton, name):
    with refused(registry, BufferValueError, "BAY-E111", name, buffer=ANY):
        registry.add_child(newton, Factory(), name)


@pytest.mark.parametrize("memory", ["shared", "block", "persistent_local"])
def test_child_whose_rollup_collides(registry, memory):
    owner = NewtonSolver()
    registry.register(owner, f"child_{memory}", 4, "shared")
    with refused(registry, BufferValueError, "BAY-E111", f"child_{memory}", buffer=ANY):
        registry.add_child(owner, Factory())


def test_childs_name_too_long_for_its_rollups(registry):
    owner = NewtonSolver()
    with refused(registry, BufferValueError, None) as info:
        registry.add_child(owner, Factory(), "x" * 250)
    assert info.value.code == "BAY-E110"


@pytest.mark.parametrize("memory", ["shared", "block", "persistent_local"])
def test_rollup_registered_updated_or_removed_by_hand(registry, newton, memory):
    name = f"linear_{memory}"
    with refused(registry, BufferValueError, "BAY-E119", name, buffer=name):
        registry.register(newton, name, 4, "shared")
    with refused(registry, BufferValueError, "BAY-E119", name, buffer=name):
        registry.update(newton, {f"{name}_size": 4})
    with refused(registry, BufferValueError, "BAY-E119", name, buffer=name):
        registry.update(newton, {f"{name}_location": "shared"})
    with refused(registry, BufferValueError, "BAY-E119", name, buffer=name):
        registry.unregister(newton, name)


# ---- the same bytes -----------------------------------------------------------------


def test_same_as_nothing(registry, newton):
    with refused(registry, BufferKeyError, "BAY-E100", "'nothing'", "delta", buffer="nothing"):
        registry.register(newton, "x", 1, same_as="nothing")


def test_same_as_itself(registry, newton):
    with refused(registry, BufferValueError, "BAY-E118", buffer="delta"):
        registry.register(newton, "delta", 4, same_as="delta")
    with refused(registry, BufferValueError, "BAY-E118", buffer="x"):
        registry.register(newton, "x", 4, same_as="x")


def test_same_as_in_a_circle(registry, newton):
    with refused(registry, BufferValueError, "BAY-E118", "view", buffer="residual"):
        registry.register(newton, "residual", 4, same_as="view")
    registry.register(newton, "third", 4, same_as="view")
    with refused(registry, BufferValueError, "BAY-E118", buffer="residual"):
        registry.register(newton, "residual", 4, same_as="third")


def test_same_as_smaller_target(registry, newton):
    with refused(registry, BufferValueError, "BAY-E118", 36, 32, buffer="x", value=36, limit=32):
        registry.register(newton, "x", 9, same_as="residual")
    with refused(registry, BufferValueError, "BAY-E118", 40, 32, buffer="x"):
        registry.register(newton, "x", 5, dtype="f8", same_as="residual")


def test_target_cannot_shrink_below_its_alias(registry, newton):
    says = ("residual", "view", 12, 16)
    with refused(registry, BufferValueError, "BAY-E118", *says, buffer=ANY):
        registry.register(newton, "residual", 3, "shared")
    with refused(registry, BufferValueError, "BAY-E118", *says, buffer=ANY):
        registry.update(newton, residual_size=3)


def test_alias_cannot_outgrow_its_target(registry, newton):
    with refused(registry, BufferValueError, "BAY-E118", 36, 32, buffer="view"):
        registry.update(newton, view_size=9)
    assert registry.update(newton, view_size=9, residual_size=9) == {"view_size", "residual_size"}


def test_alias_has_no_location_of_its_own(registry, newton):
    with refused(registry, BufferValueError, "BAY-E118", "residual", buffer="view"):
        registry.update(newton, view_location="local")


def test_target_of_an_alias_cannot_be_unregistered(registry, newton):
    with refused(registry, BufferValueError, "BAY-E118", "view", buffer="residual"):
        registry.unregister(newton, "residual")


@pytest.mark.parametrize("target", ["linear", "linear_shared", 3])
def test_same_as_something_that_is_no_buffer(registry, newton, target):
    with refused(registry, (BufferValueError, BufferKeyError, TypeError), None):
        registry.register(newton, "x", 1, same_as=target)


# ---- kept buffers ---------------------------------------------------------------------


def test_kept_buffer_moved_to_local(registry, newton):
    with refused(registry, BufferValueError, "BAY-E117", "local", buffer="history"):
        registry.update(newton, history_location="local")


def test_kept_buffer_declared_local(registry, newton):
    with refused(registry, BufferValueError, "BAY-E117", "local", buffer="x"):
        registry.register(newton, "x", 1, "local", keep=True)


def test_kept_declaration_under_a_local_override(registry, newton):
    registry.update(newton, residual_location="local")
    with refused(registry, BufferValueError, "BAY-E117", "local", buffer="residual"):
        registry.register(newton, "residual", 8, "shared", keep=True)


# ---- children ---------------------------------------------------------------------------


def test_cycle_is_refused_with_its_path(registry):
    class Loop(Factory):
        pass

    class Step(Factory):
        pass

    loop, step, newton = Loop(), Step(), NewtonSolver()
    registry.add_child(loop, step, "step")
    registry.add_child(step, newton, "newton")
    with refused(registry, BufferValueError, "BAY-E120", "Loop > Step > NewtonSolver", buffer=ANY):
        registry.add_child(newton, loop, "again")
    with refused(registry, BufferValueError, "BAY-E120", buffer=ANY):
        registry.add_child(newton, newton, "self")


def test_failed_add_child_opens_neither_factory(registry, newton):
    with refused(registry, BufferValueError, None):
        registry.add_child(NewtonSolver(), Factory(), "_bad")
    with refused(registry, BufferValueError, None):
        registry.add_child(newton, Factory(), "delta")
    owner = NewtonSolver()
    with refused(registry, BufferValueError, "BAY-E120", buffer=ANY):
        registry.add_child(owner, owner)


def test_child_of_another_registry(registry, newton):
    other = bayplan.BufferRegistry()
    stranger = Factory()
    other.register(stranger, "x", 4, "shared")
    before = other.dump()
    with refused(registry, BufferValueError, None, "registry") as info:
        registry.add_child(newton, stranger, "stranger")
    assert isinstance(info.value, bayplan.BayplanError)
    assert other.dump() == before


@pytest.mark.parametrize("child", [None, 3, "linear", NoWeakref()])
def test_child_that_cannot_be_one(registry, newton, child):
    with refused(registry, TypeError, None):
        registry.add_child(newton, child)


def test_owner_without_weak_references(registry):
    for owner in (NoWeakref(), 3, "name", None, (1, 2), {}):
        with refused(registry, TypeError, None, "weak", type(owner).__name__):
            registry.register(owner, "x", 1)


# ---- updates --------------------------------------------------------------------------------


def test_one_good_and_one_bad_key(registry, newton):
    with refused(registry, BufferValueError, "BAY-E114", "nowhere", buffer="residual"):
        registry.update(newton, delta_size=100, residual_location="nowhere")
    with refused(registry, BufferKeyError, "BAY-E104", "detla_size", buffer=ANY):
        registry.update(newton, delta_size=100, detla_size=3, strict=True)
    with refused(registry, BufferValueError, "BAY-E112", -3, factory="Factory", buffer="pivots"):
        registry.update(newton, delta_size=100, linear_pivots_size=-3)
    assert registry.build_layout(newton)["delta"].size == 4


def test_key_with_two_meanings_names_both(registry, newton):
    registry.register(newton, "linear_pivots", 2, "shared")
    says = ("linear_pivots_size", "'linear_pivots'", "'pivots'", "Factory")
    with refused(registry, BufferValueError, "BAY-E121", *says, factory=ANY, buffer=ANY):
        registry.update(newton, linear_pivots_size=3)


def test_two_keys_that_contradict_each_other(registry, newton):
    with refused(registry, BufferValueError, "BAY-E121", buffer="delta"):
        registry.update(newton, delta_size=3, delta_buffer_size=4)
    assert registry.update(newton, delta_size=3, delta_buffer_size=3) == {
        "delta_size",
        "delta_buffer_size",
    }


def test_one_child_under_two_names_told_two_things(registry, newton):
    registry.add_child(newton, newton.linear, "second")
    with refused(registry, BufferValueError, "BAY-E121", factory="Factory", buffer="pivots"):
        registry.update(newton, linear_pivots_size=5, second_pivots_size=6)


@pytest.mark.parametrize("updates", [3, "delta_size", [("delta_size", 3)], {"delta_size"}])
def test_updates_that_are_no_mapping(registry, newton, updates):
    with refused(registry, BufferValueError, None, "mapping"):
        registry.update(newton, updates)


class Strange(dict):
    """A mapping whose items are whatever it was told."""

    def items(self):
        return self.told


@pytest.mark.parametrize(
    "told", [[5], [()], [("delta_size",)], ["delta_size"], [("delta_size", 3, 4)], 5, None]
)
def test_updates_whose_items_are_no_pairs(registry, newton, told):
    updates = Strange(delta_size=3)
    updates.told = told
    with refused(registry, (BufferValueError, TypeError), None):
        registry.update(newton, updates)


def test_update_keys_that_are_no_text(registry, newton):
    before = registry.dump()
    assert registry.update(newton, {3: 4, None: 5, ("delta",): 6, "a\0_size": 7}) == set()
    assert registry.dump() == before
    with refused(registry, BufferKeyError, "BAY-E104", "3", factory=ANY, buffer=ANY):
        registry.update(newton, {"delta_size": 9, 3: 4}, strict=True)


@pytest.mark.parametrize(
    "call",
    [
        lambda r, f, evil: r.register(f, "y", evil),
        lambda r, f, evil: r.register(f, "y", 3, evil),
        lambda r, f, evil: r.register(f, "y", 3, align=evil),
        lambda r, f, evil: r.register(f, "y", 3, dtype=evil),
        lambda r, f, evil: r.register(f, "y", 3, keep=evil),
        lambda r, f, evil: r.register(f, "y", 3, same_as=evil),
        lambda r, f, evil: r.register(f, evil, 3),
        lambda r, f, evil: r.add_child(f, Factory(), evil),
        lambda r, f, evil: r.update(f, delta_size=evil),
        lambda r, f, evil: r.update(f, evil),
    ],
)
def test_user_code_that_edits_in_the_middle_of_a_bad_call(registry, newton, call):
    """Describing a bad value runs its ``__repr__``, which may do anything."""
    others = []

    class Evil:
        def __repr__(self):
            registry.register(newton, "made_by_repr", 1)
            registry.unregister_all(newton)
            others.extend(Factory() for _ in range(50))
            for owner in others:
                registry.register(owner, "x", 1)
            gc.collect()
            return "evil" * 10_000

    with contextlib.suppress(BufferValueError):  # or the key means nothing any more
        call(registry, newton, Evil())
    registry.check()
    assert others
    assert {e.name for e in registry.entries(newton)} == {
        "linear_shared",
        "linear_block",
        "linear_persistent_local",
    }


def test_registries_are_neither_copied_nor_pickled(registry, newton):
    for call in (pickle.dumps, copy.copy, copy.deepcopy):
        with refused(registry, TypeError, None, "BufferRegistry"):
            call(registry)


# ---- lifetimes --------------------------------------------------------------------------------


@pytest.mark.parametrize("live", [3, 1.5, True, b"solve", ["predict", "solve"], ("predict",),
                                  ("predict", "solve", "commit"), (), ("predict", 2), (None, None),
                                  {"predict": 1}, "sol\0ve"])  # fmt: skip
def test_live_that_is_no_lifetime(registry, newton, live):
    registry.phases(newton, "predict", "solve", "commit")
    said = {"factory": "NewtonSolver", "buffer": "x"}
    with refused(registry, BufferValueError, "BAY-E125", "live", **said):
        registry.register(newton, "x", 1, live=live)
    with refused(registry, BufferValueError, "BAY-E125", "live", **said):
        registry.add_child(newton, Factory(), "x", live=live)


def test_lifetimes_of_phases_that_are_not_there(registry, newton):
    registry.phases(newton, "predict", "solve")
    says = ("no phase 'slove'", "has: predict, solve")
    for call in (
        lambda: registry.register(newton, "x", 1, live="slove"),
        lambda: registry.register(newton, "x", 1, live=("slove", "solve")),
        lambda: registry.register(newton, "x", 1, live=("predict", "slove")),
        lambda: registry.register(newton, "x", 1, live="slove", carried=True),
        lambda: registry.add_child(newton, Factory(), "x", live=("predict", "slove")),
    ):
        with refused(registry, BufferKeyError, "BAY-E103", *says, buffer="x"):
            call()
    for ends in (("slove",), ("slove", "solve"), ("predict", "slove")):
        with refused(registry, BufferKeyError, "BAY-E103", *says, buffer=ANY):
            registry.loop(newton, *ends)
    other = NewtonSolver()
    with refused(registry, BufferKeyError, "BAY-E103", "no phase 'solve'", "has: none", buffer="x"):
        registry.register(other, "x", 1, live="solve")
    with refused(registry, BufferKeyError, "BAY-E101", "no buffers here"):
        registry.loop(other, "solve")
    assert registry.layout_version(other) == 0


def test_lifetimes_the_wrong_way_round(registry, newton):
    registry.phases(newton, "predict", "solve")
    child = Factory()
    for call in (
        lambda: registry.register(newton, "x", 1, live=("solve", "predict")),
        lambda: registry.add_child(newton, child, "x", live=("solve", "predict")),
    ):
        with refused(registry, BufferValueError, "BAY-E125", "solve", "predict", buffer="x"):
            call()
    with refused(registry, BufferValueError, "BAY-E125", "solve", "predict", buffer=ANY):
        registry.loop(newton, "solve", "predict")
    assert registry.layout_version(child) == 0


@pytest.mark.parametrize("names", [("1st",), ("_a",), ("for",), ("views",), ("",), ("a b",),
                                   ("a", 3), (None,), (("a", "b"),), ("x" * 256,),
                                   ("a\0",)])  # fmt: skip
def test_phases_with_bad_names(registry, names):
    owner = NewtonSolver()
    with refused(registry, BufferValueError, "BAY-E110", buffer=ANY):
        registry.phases(owner, *names)
    assert registry.layout_version(owner) == 0


def test_phases_with_names_that_are_taken(registry, newton):
    registry.register(newton, "x", 1)
    for name in ("x", "linear", "linear_shared"):
        with refused(registry, BufferValueError, "BAY-E111", "taken", buffer=name):
            registry.phases(newton, "predict", name)
    with refused(registry, BufferValueError, "BAY-E111", "twice", buffer="predict"):
        registry.phases(newton, "predict", "solve", "predict")
    registry.phases(newton, "predict", "kid_block")
    with refused(registry, BufferValueError, "BAY-E111", buffer="predict"):
        registry.register(newton, "predict", 1)
    with refused(registry, BufferValueError, "BAY-E111", buffer="predict"):
        registry.add_child(newton, Factory(), "predict")
    with refused(registry, BufferValueError, "BAY-E111", buffer=ANY):
        registry.add_child(newton, Factory(), "kid")


def test_calls_of_phases_and_loop_with_wrong_arguments(registry, newton):
    registry.phases(newton, "predict", "solve")
    for call in (
        lambda: registry.phases(),
        lambda: registry.phases(newton, names=("a",)),
        lambda: registry.phases(newton, "a", last="b"),
        lambda: registry.loop(newton),
        lambda: registry.loop(newton, "predict", "solve", "commit"),
        lambda: registry.phases(NoWeakref(), "predict"),
    ):
        with refused(registry, TypeError, None):
            call()
    for ends in ((3,), (None,), ("predict", 3), (("predict", "solve"),)):
        with refused(registry, BufferValueError, "BAY-E125", "phase of a loop"):
            registry.loop(newton, *ends)


def test_more_phases_than_there_may_be(registry):
    owner = NewtonSolver()
    names = [f"p{i}" for i in range(4096)]
    with refused(registry, BufferValueError, "BAY-E122", 4096, 4095, value=4096, limit=4095):
        registry.phases(owner, *names)
    registry.phases(owner, *names[:4095])
    assert registry.build_layout(owner).phases == tuple(names[:4095])


# ---- not yet ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda r, f: r.apply(object()),
        lambda r, f: r.build_layout(f).bind(policy="interleave"),
    ],
)
def test_not_yet(registry, newton, call):
    with refused(registry, NotYetError, None) as info:
        call(registry, newton)
    assert info.value.code == "BAY-E010"
    assert isinstance(info.value, NotImplementedError)
    assert isinstance(info.value, bayplan.BayplanError)


@pytest.mark.parametrize("options", [{"mode": "quick"}, {"mode": 3}, {"budget": -1}])
def test_bad_registry_options(options):
    with pytest.raises((BufferValueError, TypeError)):
        bayplan.BufferRegistry(**options)


# ---- the owner died, threads, forks ----------------------------------------------------------


def test_owner_that_died_counts_zero(registry, newton):
    registry.register(newton.linear, "extra", 5, "block")
    assert registry.build_layout(newton).block.nbytes == 20
    child = newton.linear
    del newton.linear
    assert registry.get_child_aggregate_size(child, "shared") == 3
    del child
    gc.collect()
    layout = registry.build_layout(newton)
    assert layout.block.nbytes == 0
    assert layout["linear_shared"].nbytes == 0
    assert registry.children(newton) == {"linear": None}
    assert registry.update(newton, linear_pivots_size=7) == set()
    with refused(registry, BufferKeyError, "BAY-E104", "linear_pivots_size", buffer=ANY):
        registry.update(newton, linear_pivots_size=7, strict=True)
    registry.remove_child(newton, "linear")
    assert registry.children(newton) == {}


def test_bad_calls_from_eight_threads(registry, newton):
    before = registry.dump()
    wrong: list[str] = []

    def work():
        for _ in range(50):
            for call in (
                lambda: registry.register(newton, "x", -1),
                lambda: registry.unregister(newton, "nope"),
                lambda: registry.update(newton, delta_size=9, residual_location="nowhere"),
                lambda: registry.add_child(newton, newton),
                lambda: registry.register(newton, "x", 9, same_as="residual"),
            ):
                try:
                    call()
                except bayplan.BayplanError:
                    continue
                wrong.append("accepted")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert registry.dump() == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_registry_used_after_fork(registry, newton):
    before = registry.dump()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:  # pragma: no cover - the other process
        status = 1
        try:
            same = registry.dump() == before
            registry.register(newton, "x", 3, "shared")
            registry.update(newton, linear_pivots_size=9)
            registry.check()
            os.write(writer, pickle.dumps((same, registry.build_layout(newton).digest)))
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        said = stream.read()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    same, digest = pickle.loads(said)
    assert same
    assert registry.dump() == before
    registry.register(newton, "x", 3, "shared")
    registry.update(newton, linear_pivots_size=9)
    assert registry.build_layout(newton).digest == digest


# ---- the exceptions themselves --------------------------------------------------------------


def test_exceptions_pickle_with_their_attributes(registry, newton):
    with pytest.raises(BufferValueError) as info:
        registry.register(newton, "x", 9, same_as="residual")
    error = info.value
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    for name in ("code", "factory", "buffer", "value", "limit"):
        assert getattr(again, name) == getattr(error, name)
    assert again.value == 36
    assert again.limit == 32


def test_families():
    base = bayplan.BayplanError
    for name, other in [
        ("BufferKeyError", KeyError),
        ("BufferValueError", ValueError),
        ("BudgetExceeded", MemoryError),
        ("DeviceUnavailable", RuntimeError),
        ("DeviceFault", RuntimeError),
        ("StaleHandle", RuntimeError),
        ("Busy", RuntimeError),
        ("SlotExists", ValueError),
        ("ForkedProcess", RuntimeError),
        ("NotYetError", NotImplementedError),
    ]:
        kind = getattr(bayplan, name)
        assert issubclass(kind, base), name
        assert issubclass(kind, other), name
        assert kind.__module__ == "bayplan"


def test_attributes_are_none_where_nothing_is_said(registry, newton):
    with pytest.raises(BufferKeyError) as info:
        registry.unregister(newton, "detla")
    assert info.value.value is None
    assert info.value.limit is None
