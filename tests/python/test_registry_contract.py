"""One test for each promise of the registry's table and of its ten rules."""

from __future__ import annotations

import gc
import itertools
import json
from collections import ChainMap, OrderedDict, UserDict
from types import MappingProxyType

import numpy as np
import pytest
from support import ANY, Double, Factory, NewtonSolver, assert_disjoint, refused

import bayplan
from bayplan import BufferKeyError, BufferValueError

MEMORIES = ("shared", "block", "persistent_local")


# ---- register --------------------------------------------------------------------


def test_register_returns_ids_that_are_never_reused(registry):
    owner = Factory()
    a = registry.register(owner, "a", 1)
    b = registry.register(owner, "b", 1)
    assert a != b
    assert registry.register(owner, "a", 9, "shared") == a
    registry.unregister(owner, "a")
    assert registry.register(owner, "a", 1) not in (a, b)
    assert registry.register(owner, "b", 1) == b


def test_register_same_values_again_changes_nothing(registry):
    owner = Factory()
    said = {"dtype": "f8", "align": 64, "keep": True, "zero": True, "uses": 2.5}
    registry.register(owner, "a", (2, 3), "shared", **said)
    registry.register(owner, "b", 3)
    layout, version, dump = (
        registry.build_layout(owner),
        registry.layout_version(owner),
        registry.dump(),
    )
    registry.register(owner, "a", (2, 3), "shared", **said)
    registry.register(owner, "b", np.int64(3), "local", dtype=None, align=None)
    assert registry.layout_version(owner) == version
    assert registry.dump() == dump
    assert registry.build_layout(owner) is layout


@pytest.mark.parametrize(
    "change",
    [
        {"size": 5},
        {"size": (2, 2)},
        {"location": "block"},
        {"dtype": "f8"},
        {"align": 64},
        {"keep": True},
        {"zero": True},
        {"uses": 2.0},
    ],
)
def test_register_other_values_is_an_edit(registry, change):
    owner = Factory()
    said = {"size": 4, "location": "shared"}
    registry.register(owner, "a", **said)
    version, dump = registry.layout_version(owner), registry.dump()
    registry.register(owner, "a", **(said | change))
    assert registry.layout_version(owner) > version
    assert registry.dump() != dump


def test_register_replacing_keeps_the_position(sequential):
    owner = Factory()
    for name in "abc":
        sequential.register(owner, name, 4, "shared")
    sequential.register(owner, "a", 8, "shared")
    layout = sequential.build_layout(owner)
    assert [p.name for p in layout.placements] == ["a", "b", "c"]
    assert [p.offset for p in layout.placements] == [0, 32, 48]


def test_register_defaults(registry):
    owner = Factory()
    registry.register(owner, "a", 3)
    (entry,) = registry.entries(owner)
    assert entry.location == entry.declared_location == "local"
    assert entry.dtype == np.dtype("f4")
    assert (entry.size, entry.shape, entry.zero, entry.keep) == (3, (3,), False, False)
    assert (entry.uses, entry.same_as, entry.live, entry.child) == (1.0, None, None, None)


def test_register_follows_the_owners_precision(registry):
    for precision in (np.float64, "f8", np.dtype("f8"), float):
        owner = Factory()
        owner.precision = precision
        registry.register(owner, "a", 3, "shared")
        registry.register(owner, "b", 3, "shared", dtype="u1")
        layout = registry.build_layout(owner)
        assert layout.precision == np.dtype("f8")
        assert layout["a"].dtype == np.dtype("f8")
        assert layout["b"].dtype == np.dtype("u1")


@pytest.mark.parametrize(
    "dtype",
    ["f2", "c16", "S5", "U3", "V7", "M8[s]", "m8[ns]", "?", [("a", "u1"), ("b", "f8")]],
)
def test_any_fixed_size_dtype(registry, dtype):
    owner = Factory()
    registry.register(owner, "a", 3, "shared", dtype=dtype)
    wanted = np.dtype(dtype)
    placement = registry.build_layout(owner)["a"]
    assert placement.dtype == wanted
    assert placement.nbytes == 3 * wanted.itemsize
    assert placement.align == wanted.alignment


def test_aligned_record_keeps_its_alignment(registry):
    record = np.dtype([("a", "u1"), ("b", "f8")], align=True)
    packed = np.dtype([("a", "u1"), ("b", "f8")])
    owner = Factory()
    registry.register(owner, "one", 1, "shared", dtype="u1")
    registry.register(owner, "a", 1, "shared", dtype=record)
    registry.register(owner, "p", 1, "shared", dtype=packed)
    layout = registry.build_layout(owner)
    assert (layout["a"].align, layout["p"].align) == (8, 1)
    assert (layout["a"].nbytes, layout["p"].nbytes) == (16, 9)
    assert layout["a"].offset % 8 == 0


# ---- unregister --------------------------------------------------------------------


def test_unregister_removes_overrides_too(registry):
    owner = Factory()
    registry.register(owner, "a", 4)
    registry.update(owner, a_location="shared")
    registry.unregister(owner, "a")
    assert registry.overrides(owner) == {}
    assert registry.entries(owner) == ()
    registry.register(owner, "a", 4)
    assert registry.build_layout(owner)["a"].location == "local"


def test_unregister_all_leaves_children(registry):
    owner, child = Factory(), Factory()
    registry.register(owner, "a", 4)
    registry.register(owner, "b", 4, same_as="a")
    registry.add_child(owner, child)
    registry.update(owner, a_location="shared")
    registry.unregister_all(owner)
    assert [e.name for e in registry.entries(owner)] == [f"child_{m}" for m in MEMORIES]
    assert registry.overrides(owner) == {}
    assert registry.children(owner) == {"child": child}


def test_unregister_of_an_alias_frees_its_target(registry):
    owner = Factory()
    registry.register(owner, "a", 4)
    registry.register(owner, "b", 4, same_as="a")
    registry.unregister(owner, "b")
    registry.unregister(owner, "a")
    assert registry.entries(owner) == ()


# ---- children --------------------------------------------------------------------------


def test_child_brings_three_rollups_in_place(sequential):
    owner, child = Factory(), Factory()
    sequential.register(owner, "a", 1, "shared")
    sequential.add_child(owner, child, "newton")
    sequential.register(owner, "b", 1, "shared")
    names = [p.name for p in sequential.build_layout(owner).placements]
    assert names == ["a", "newton_shared", "newton_block", "newton_persistent_local", "b"]
    rollups = [e for e in sequential.entries(owner) if e.child is not None]
    assert [e.location for e in rollups] == list(MEMORIES)
    assert {e.child for e in rollups} == {"newton"}


def test_child_sizes_follow_for_ever(registry):
    top, middle, low = Factory(), Factory(), Factory()
    registry.add_child(top, middle)
    registry.add_child(middle, low)
    assert registry.get_aggregate_size(top, "shared") == 0
    registry.register(low, "a", 5, "shared")
    assert registry.get_aggregate_size(top, "shared") == 5
    registry.update(low, a_size=7)
    assert registry.get_aggregate_size(top, "shared") == 7
    registry.update(low, a_location="block")
    assert registry.get_aggregate_size(top, "shared") == 0
    assert registry.get_aggregate_size(top, "block") == 7
    registry.unregister(low, "a")
    assert registry.get_aggregate_size(top, "block") == 0


def test_child_same_name_and_child_is_a_no_op(registry):
    owner, child = Factory(), Factory()
    registry.add_child(owner, child)
    version, dump = registry.layout_version(owner), registry.dump()
    registry.add_child(owner, child, "child")
    assert (registry.layout_version(owner), registry.dump()) == (version, dump)


def test_child_replaced_in_place(sequential):
    owner, one, two = Factory(), Factory(), Factory()
    sequential.register(one, "a", 1, "shared")
    sequential.register(two, "a", 3, "shared")
    sequential.add_child(owner, one)
    sequential.register(owner, "b", 1, "shared")
    assert sequential.build_layout(owner)["b"].offset == 4
    sequential.add_child(owner, two)
    layout = sequential.build_layout(owner)
    assert next(p.name for p in layout.placements) == "child_shared"
    assert layout["b"].offset == 12
    assert sequential.children(owner) == {"child": two}
    version = sequential.layout_version(owner)
    sequential.register(one, "a", 9, "shared")
    assert sequential.layout_version(owner) == version


def test_child_under_two_names_or_two_parents_has_separate_bytes(registry):
    one, two, child = Factory(), Factory(), Factory()
    registry.register(child, "a", 3, "shared")
    registry.add_child(one, child, "x")
    registry.add_child(one, child, "y")
    registry.add_child(two, child)
    layout = registry.build_layout(one)
    assert layout.shared.nbytes == 24
    assert {layout["x_shared"].offset, layout["y_shared"].offset} == {0, 12}
    assert layout.children["x"].layout is layout.children["y"].layout
    registry.register(child, "a", 4, "shared")
    assert registry.get_aggregate_size(one, "shared") == 8
    assert registry.get_aggregate_size(two, "shared") == 4


def test_child_removed_takes_its_rollups_along(registry):
    owner, child = Factory(), Factory()
    registry.register(child, "a", 3, "shared")
    registry.add_child(owner, child)
    registry.remove_child(owner, "child")
    assert registry.entries(owner) == ()
    assert registry.children(owner) == {}
    assert registry.get_aggregate_size(owner, "shared") == 0
    registry.register(owner, "child_shared", 4, "shared")
    registry.add_child(child, owner, "now_below")


def test_child_block_is_aligned_to_its_own_needs(sequential):
    owner, child = Factory(), Factory()
    sequential.register(owner, "a", 1, "shared", dtype="u1")
    sequential.register(child, "v", 5, "shared", align=64)
    sequential.add_child(owner, child)
    layout = sequential.build_layout(owner)
    assert layout["child_shared"].offset == 64
    assert layout["child_shared"].align == 64
    assert layout["child_shared"].nbytes == 64
    assert layout.shared.nbytes == 128


def test_child_of_unregistered_owner_counts_zero(registry):
    owner, child = Factory(), Factory()
    registry.add_child(owner, child)
    assert registry.get_child_aggregate_size(child, "shared") == 0
    assert registry.get_child_aggregate_size(None, "shared") == 0
    assert registry.get_child_aggregate_size(Factory(), "shared") == 0
    assert registry.get_child_aggregate_bytes(None, "shared") == 0


def test_child_size_is_in_the_childs_precision(registry):
    owner, child = Factory(), Double()
    registry.register(child, "a", 3, "shared")
    registry.register(child, "b", 1, "shared", dtype="u1")
    registry.add_child(owner, child)
    assert registry.get_child_aggregate_size(child, "shared") == 4
    assert registry.get_child_aggregate_bytes(child, "shared") == 32
    assert registry.get_aggregate_size(owner, "shared") == 8


def test_children_are_listed_with_their_owners(registry):
    owner, one, two = Factory(), Factory(), Factory()
    registry.add_child(owner, one, "one")
    registry.add_child(owner, two, "two")
    assert list(registry.children(owner).items()) == [("one", one), ("two", two)]
    del two
    gc.collect()
    assert registry.children(owner) == {"one": one, "two": None}


def test_diamond_is_no_cycle(registry):
    top, left, right, low = Factory(), Factory(), Factory(), Factory()
    registry.add_child(left, low)
    registry.add_child(right, low)
    registry.add_child(top, left, "left")
    registry.add_child(top, right, "right")
    registry.register(low, "a", 2, "persistent_local")
    assert registry.get_aggregate_size(top, "persistent_local") == 4


def test_very_deep_and_very_wide_trees(registry):
    chain = [Factory() for _ in range(100_000)]
    for child, parent in itertools.pairwise(reversed(chain)):
        registry.add_child(parent, child)
    registry.register(chain[-1], "a", 5, "shared")
    assert registry.get_aggregate_size(chain[0], "shared") == 5
    registry.update(chain[-1], a_size=6)
    layout = registry.build_layout(chain[0])
    assert layout.shared.size == 6
    with pytest.raises(BufferValueError):
        registry.add_child(chain[-1], chain[0])
    registry.check()
    top = Factory()
    for i in range(10_000):
        registry.add_child(top, chain[-1], f"c{i}")
    assert registry.get_aggregate_size(top, "shared") == 60_000
    chain.reverse()
    chain.clear()  # from its end, so that parents die first: each death is an edit of those above
    assert registry.get_aggregate_size(top, "shared") == 0
    assert layout.shared.size == 6


# ---- layouts, versions ------------------------------------------------------------------


def test_layout_is_planned_only_when_something_changed(registry):
    owner, child = Factory(), Factory()
    registry.register(owner, "a", 3, "shared")
    registry.register(child, "b", 3, "shared")
    registry.add_child(owner, child)
    layout = registry.build_layout(owner)
    assert registry.build_layout(owner) is layout
    assert registry.layout(owner) is layout
    assert layout.children["child"].layout is registry.build_layout(child)
    other = Factory()
    registry.register(other, "x", 3)
    registry.build_layout(other)
    assert registry.build_layout(owner) is layout


def test_layout_version_grows_with_every_edit_below(registry):
    top, low = Factory(), Factory()
    registry.add_child(top, low)
    seen = [(registry.layout_version(top), registry.layout_version(low))]
    for edit in (
        lambda: registry.register(low, "a", 3),
        lambda: registry.register(low, "a", 4),
        lambda: registry.update(low, a_size=5),
        lambda: registry.update(top, child_a_location="shared"),
        lambda: registry.reset_overrides(low),
        lambda: registry.unregister(low, "a"),
    ):
        edit()
        seen.append((registry.layout_version(top), registry.layout_version(low)))
    tops, lows = zip(*seen, strict=True)
    assert list(tops) == sorted(set(tops))
    assert list(lows) == sorted(set(lows))
    low_before = registry.layout_version(low)
    registry.register(top, "b", 1)
    assert registry.layout_version(low) == low_before


def test_version_of_a_layout_is_when_its_bytes_changed(registry):
    owner = Factory()
    registry.register(owner, "a", 3, "shared")
    first = registry.build_layout(owner)
    registry.register(owner, "b", 3, "shared")
    registry.unregister(owner, "b")
    assert registry.layout_version(owner) > first.version
    again = registry.build_layout(owner)
    assert again.version == first.version
    assert again is first
    registry.register(owner, "a", 4, "shared")
    assert registry.build_layout(owner).version > first.version


def test_invalidate_plans_afresh_to_the_same_bytes(registry):
    owner = Factory()
    registry.register(owner, "a", 3, "shared")
    layout, version = registry.build_layout(owner), registry.layout_version(owner)
    registry.invalidate_layout(owner)
    assert registry.layout_version(owner) == version
    again = registry.build_layout(owner)
    assert again == layout
    assert again.version == layout.version
    assert again.digest == layout.digest


def test_edits_that_change_nothing_do_not_tick(registry):
    owner = Factory()
    registry.register(owner, "a", 3, "shared")
    registry.update(owner, a_location="block", a_size=4)
    version = registry.layout_version(owner)
    registry.update(owner, a_location="block", a_size=4)
    registry.update(owner, a_size=(4,))
    registry.update(owner)
    registry.update(owner, nothing_of_ours=3)
    assert registry.layout_version(owner) == version
    registry.unregister_all(owner)
    registry.reset_overrides(owner)
    version = registry.layout_version(owner)
    registry.unregister_all(owner)
    registry.reset_overrides(owner)
    assert registry.layout_version(owner) == version


def test_death_of_a_child_is_an_edit_of_its_parents(registry):
    owner, child = Factory(), Factory()
    registry.register(child, "a", 3, "shared")
    registry.add_child(owner, child)
    assert registry.get_aggregate_bytes(owner, "shared") == 12
    version = registry.layout_version(owner)
    del child
    gc.collect()
    assert registry.layout_version(owner) > version
    assert registry.get_aggregate_bytes(owner, "shared") == 0


# ---- sizes ----------------------------------------------------------------------------------


def test_aggregates_include_children_in_every_location(registry):
    owner, child = Factory(), Double()
    for i, location in enumerate(("shared", "block", "local", "persistent_local"), 1):
        registry.register(owner, f"own_{location}", i, location)
        registry.register(child, f"of_{location}", i, location)
    registry.add_child(owner, child)
    for i, location in enumerate(("shared", "block", "local", "persistent_local"), 1):
        nbytes = registry.get_aggregate_bytes(owner, location)
        region = getattr(registry.build_layout(owner), location)
        assert nbytes == region.nbytes
        assert registry.get_aggregate_size(owner, location) == -(-nbytes // 4) == region.size
        assert 12 * i <= nbytes <= 12 * i + 8
    assert registry.get_aggregate_bytes(owner, "local") == 3 * 4 + 3 * 8


def test_aggregate_size_rounds_bytes_up(registry):
    owner = Double()
    registry.register(owner, "a", 9, "shared", dtype="u1")
    assert registry.get_aggregate_bytes(owner, "shared") == 9
    assert registry.get_aggregate_size(owner, "shared") == 2


# ---- update -----------------------------------------------------------------------------------


def make_tree(registry):
    """top > newton > linear, some names of each looking like the others'."""
    top, newton, linear = Factory(), NewtonSolver(), Factory()
    registry.register(top, "state", 3)
    registry.register(newton, "delta", 3)
    registry.register(linear, "pivots", 3)
    registry.register(linear, "work_buffer", 3)
    registry.add_child(top, newton, "newton")
    registry.add_child(newton, linear, "linear")
    return top, newton, linear


def test_update_reaches_down_the_tree(registry):
    top, newton, linear = make_tree(registry)
    keys = {
        "state_location": "shared",
        "state_size": 5,
        "newton_delta_location": "block",
        "newton_delta_size": (2, 2),
        "newton_linear_pivots_size": 7,
        "newton_linear_pivots_location": "shared",
        "unknown": 1,
        "newton_unknown_size": 1,
        "linear_pivots_size": 99,
        "delta_size": 99,
    }
    assert registry.update(top, keys) == set(list(keys)[:6])
    assert registry.build_layout(top)["state"].size == 5
    assert registry.build_layout(newton)["delta"].shape == (2, 2)
    assert registry.build_layout(linear)["pivots"].size == 7
    assert registry.overrides(top) == {"state_location": "shared"}
    assert registry.overrides(newton) == {"delta_location": "block"}


def test_update_takes_a_mapping_keywords_or_both(registry):
    top, *_ = make_tree(registry)
    assert registry.update(top, {"state_size": 1}) == {"state_size"}
    assert registry.update(top, state_size=2) == {"state_size"}
    assert registry.update(top, {"state_size": 3}, state_location="shared") == {
        "state_size",
        "state_location",
    }
    for i, kind in enumerate((OrderedDict, UserDict, ChainMap, MappingProxyType)):
        assert registry.update(top, kind({"state_size": 10 + i})) == {"state_size"}
        assert registry.build_layout(top)["state"].size == 10 + i
    assert registry.update(top, None) == set()
    assert registry.update(top, {}) == set()


def test_update_accepts_the_buffer_word_between(registry):
    top, _, linear = make_tree(registry)
    assert registry.update(top, newton_delta_buffer_size=9, newton_linear_work_buffer_size=4) == {
        "newton_delta_buffer_size",
        "newton_linear_work_buffer_size",
    }
    registry.register(linear, "work", 1)
    registry.update(linear, work_buffer_size=11, work_size=12)
    layout = registry.build_layout(linear)
    assert (layout["work_buffer"].size, layout["work"].size) == (11, 12)


def test_update_reaches_a_childs_buffer_named_like_a_memory(registry):
    """A roll-up can never be set, so it does not stand in the way."""
    owner, child = Factory(), Factory()
    registry.register(child, "shared", 3, "shared")
    registry.add_child(owner, child, "newton")
    assert registry.update(owner, newton_shared_size=5) == {"newton_shared_size"}
    assert registry.build_layout(owner)["newton_shared"].size == 5
    registry.unregister(child, "shared")
    with refused(registry, BufferValueError, "BAY-E119", factory="Factory", buffer="newton_shared"):
        registry.update(owner, newton_shared_size=5)


def test_update_of_unknown_keys_leaves_them_alone(registry):
    top, *_ = make_tree(registry)
    dump = registry.dump()
    assert registry.update(top, state=3, state_dtype="f8", size=3, _size=3, location="x") == set()
    assert registry.update(Factory(), state_size=3) == set()
    assert registry.dump() == dump


def test_update_is_one_edit_for_the_whole_tree(registry):
    top, newton, linear = make_tree(registry)
    before = registry.layout_version(top)
    registry.update(top, state_size=8, newton_delta_size=8, newton_linear_pivots_size=8)
    versions = {registry.layout_version(f) for f in (top, newton, linear)}
    assert len(versions) == 1
    assert versions.pop() > before


def test_update_size_and_register_last_writer_wins(registry):
    owner = Factory()
    registry.register(owner, "a", 3)
    registry.update(owner, a_size=(4, 5))
    assert registry.build_layout(owner)["a"].shape == (4, 5)
    registry.register(owner, "a", 6)
    assert registry.build_layout(owner)["a"].shape == (6,)


def test_update_probe_changes_nothing(registry):
    top, *_ = make_tree(registry)
    dump = registry.dump()
    asked = {"state_size": -1, "newton_delta_location": "nowhere", "other": 3}
    assert registry._probe(top, asked) == {"state_size", "newton_delta_location"}
    assert registry.dump() == dump


def test_overrides_can_be_saved_and_copied(registry):
    top, *_ = make_tree(registry)
    registry.update(top, state_location="shared")
    saved = registry.overrides(top)
    assert saved == {"state_location": "shared"}
    twin = Factory()
    registry.register(twin, "state", 3)
    assert registry.update(twin, saved) == set(saved)
    registry.reset_overrides(top)
    assert registry.overrides(top) == {}
    assert registry.build_layout(top)["state"].location == "local"
    assert registry.build_layout(twin)["state"].location == "shared"


# ---- introspection --------------------------------------------------------------------------


def test_entries_show_declared_and_effective(sequential):
    owner, child = Factory(), Factory()
    sequential.register(owner, "a", 3, "local")
    sequential.register(owner, "b", (2, 2), "shared", dtype="f8", zero=True, uses=3.0)
    sequential.register(owner, "c", 3, same_as="b")
    sequential.register(child, "x", 2, "shared")
    sequential.add_child(owner, child)
    sequential.update(owner, a_location="shared")
    a, b, c, *rollups = sequential.entries(owner)
    assert (a.location, a.declared_location) == ("shared", "local")
    assert (b.shape, b.size, b.dtype, b.zero, b.uses) == ((2, 2), 4, np.dtype("f8"), True, 3.0)
    assert (c.same_as, c.location) == ("b", "shared")
    assert (a.offset, a.slice, rollups[0].offset) == (None, None, None)
    layout = sequential.build_layout(owner)
    a, b, c, *rollups = sequential.entries(owner)
    assert (a.offset, a.slice) == (0, slice(0, 3))
    assert b.offset == c.offset == layout["b"].offset == 16
    assert rollups[0].offset == layout["child_shared"].offset == 48
    assert rollups[0].slice == slice(12, 14)
    assert len({e.owner_id for e in (a, b, c, *rollups)}) == 1
    with pytest.raises(AttributeError):
        a.offset = 4
    sequential.register(owner, "d", 1)
    assert sequential.entries(owner)[0].offset is None


def test_dump_is_the_same_text_for_the_same_state(registry):
    top, *_ = make_tree(registry)
    other = bayplan.BufferRegistry(mode="auto")
    keep = make_tree(other)
    assert registry.dump() == other.dump()
    assert json.loads(registry.dump())
    assert json.loads(registry.dump(top))
    registry.build_layout(top)
    assert registry.dump() == other.dump()
    registry.update(top, state_location="shared")
    assert registry.dump() != other.dump()
    del keep


def test_dump_lists_every_factory(registry):
    keep = make_tree(registry)
    assert len(json.loads(registry.dump())["factories"]) == 3
    assert "pivots" in registry.dump(keep[2])
    assert "pivots" not in registry.dump(keep[0])


def test_dump_survives_any_name(registry):
    class Größe:
        pass

    owner = Größe()
    registry.register(owner, "名前", 1, dtype=[('quote"\\', "f4"), ("new\nline", "u1")])
    text = json.dumps(json.loads(registry.dump()), ensure_ascii=False)
    assert "名前" in text
    assert "Größe" in text


# ---- the rules ----------------------------------------------------------------------------------


def test_rule_1_alignment_is_the_larger_of_both(sequential):
    owner = Factory()
    sequential.register(owner, "one", 1, "shared", dtype="u1")
    sequential.register(owner, "wide", 1, "shared", align=16)
    sequential.register(owner, "narrow", 1, "shared", dtype="f8", align=2)
    sequential.register(owner, "far", 1, "shared", dtype="u1", align=1024)
    layout = sequential.build_layout(owner)
    assert [p.align for p in layout.placements] == [1, 16, 8, 1024]
    assert [p.offset for p in layout.placements] == [0, 16, 24, 1024]
    assert (layout.shared.align, layout.shared.nbytes) == (1024, 2048)


def test_rule_2_size_zero_is_legal_everywhere(registry):
    owner, child = Factory(), Factory()
    for location in ("shared", "block", "local", "persistent_local"):
        for i, size in enumerate([0, (0, 5), (3, 0)]):
            registry.register(owner, f"{location}_{i}", size, location, align=64)
    registry.register(owner, "a", 3, "shared")
    registry.register(owner, "view", 0, same_as="a")
    registry.add_child(owner, child)
    layout = registry.build_layout(owner)
    assert layout["shared_1"].shape == (0, 5)
    for p in layout.placements:
        if p.name != "a":
            assert (p.nbytes, p.size) == (0, 0)
            assert p.offset % p.align == 0
            assert p.offset <= getattr(layout, p.location).nbytes
    for name in ("shared_0", "shared_1", "shared_2", "view", "child_shared"):
        s = layout.shared_slices[name]
        assert s.start == s.stop
    assert layout.block.nbytes == layout.persistent_local.nbytes == layout.local.nbytes == 0


def test_rule_2_childless_factory_answers_for_a_child(registry):
    owner = Double()
    registry.register(owner, "a", 3, "shared")
    layout = registry.build_layout(owner)
    for name, location in (
        ("child_shared", "shared"),
        ("child_persistent_local", "persistent_local"),
    ):
        hidden = layout[name]
        assert (hidden.name, hidden.location, hidden.size, hidden.nbytes) == (name, location, 0, 0)
        assert hidden.dtype == np.dtype("f8")
        assert name not in [e.name for e in registry.entries(owner)]
        assert name not in [p.name for p in layout.placements]
    assert layout.shared_slices["child_shared"] == slice(0, 0)
    assert layout.persistent_local_slices["child_persistent_local"] == slice(0, 0)
    with pytest.raises(BufferKeyError):
        layout["child_block"]
    digest = layout.digest
    registry.add_child(owner, Factory())
    assert registry.build_layout(owner).digest != digest


def test_rule_2_query_then_register_by_hand(registry):
    owner, child = NewtonSolver(), Factory()
    registry.register(child, "a", 3, "shared")
    registry.register(
        owner, "child_shared", registry.get_child_aggregate_size(child, "shared"), "shared"
    )
    layout = registry.build_layout(owner)
    assert layout["child_shared"].size == 3
    assert not layout["child_shared"].is_rollup
    with refused(registry, BufferValueError, "BAY-E111", "child_shared", buffer=ANY):
        registry.add_child(owner, child)


def test_rule_3_failed_first_register_leaves_no_context(registry):
    owner = NewtonSolver()
    with refused(registry, BufferValueError, "BAY-E112", buffer="a"):
        registry.register(owner, "a", -1)
    assert json.loads(registry.dump())["factories"] == []


def test_rule_3_reads_of_an_unknown_factory(registry):
    dump = registry.dump()
    stranger = Double()
    layout = registry.build_layout(stranger)
    assert layout.precision == np.dtype("f8")
    assert (len(layout.placements), len(layout.children)) == (0, 0)
    assert layout.shared.nbytes == layout.local.nbytes == 0
    assert registry.get_aggregate_size(stranger, "shared") == 0
    assert registry.get_aggregate_bytes(stranger, "local") == 0
    assert registry.layout_version(stranger) == 0
    assert registry.entries(stranger) == ()
    assert dict(registry.children(stranger)) == {}
    assert registry.overrides(stranger) == {}
    registry.invalidate_layout(stranger)
    with pytest.raises(BufferKeyError):
        layout["a"]
    with pytest.raises(BufferKeyError):
        registry.unregister(stranger, "a")
    assert registry.dump() == dump


def test_rule_4_numpy_integers_are_sizes(registry):
    owner = Factory()
    for i, kind in enumerate((np.int8, np.uint8, np.int64, np.uint64, np.intp)):
        registry.register(owner, f"a{i}", kind(3))
        registry.register(owner, f"b{i}", (kind(2), 5))
    layout = registry.build_layout(owner)
    assert layout["a0"].shape == (3,)
    assert layout["b4"].shape == (2, 5)
    assert all(type(x) is int for p in layout.placements for x in (*p.shape, p.size, p.nbytes))


def test_rule_5_override_survives_a_later_register(registry):
    owner = Factory()
    registry.register(owner, "a", 3, "local")
    registry.update(owner, a_location="shared")
    registry.register(owner, "a", 5, "block")
    (entry,) = registry.entries(owner)
    assert (entry.location, entry.declared_location, entry.size) == ("shared", "block", 5)
    registry.reset_overrides(owner)
    assert registry.build_layout(owner)["a"].location == "block"


def test_rule_5_keep_is_settled_at_registration(registry):
    owner = Factory()
    settled = {}
    for location in ("shared", "block", "local", "persistent_local", "auto"):
        for keep in (None, True, False):
            name = f"{location}_{keep}"
            if (location, keep) == ("local", True):
                continue
            registry.register(owner, name, 1, location, keep=keep)
            settled[name] = location == "persistent_local" if keep is None else keep
    assert {e.name: e.keep for e in registry.entries(owner)} == settled
    layout = registry.build_layout(owner)
    assert {p.name: p.keep for p in layout.placements} == settled
    assert layout["auto_True"].location == "persistent_local"
    assert layout["auto_None"].location == layout["auto_False"].location == "local"


def test_rule_5_keep_sticks_when_the_buffer_moves(registry):
    owner = NewtonSolver()
    registry.register(owner, "kept", 1, "persistent_local")
    registry.register(owner, "scratch", 1, "shared")
    for location in ("shared", "block", "persistent_local", "auto"):
        registry.update(owner, kept_location=location, scratch_location=location)
        kept, scratch = registry.entries(owner)
        assert (kept.keep, scratch.keep) == (True, False)
    assert kept.location == "persistent_local"
    with refused(registry, BufferValueError, "BAY-E117", "local", buffer="kept"):
        registry.update(owner, kept_location="local")
    registry.register(owner, "kept", 1, "shared")
    assert registry.entries(owner)[0].keep is False
    registry.update(owner, kept_location="local")


def test_rule_6_same_bytes(sequential):
    owner = Factory()
    sequential.register(owner, "one", 1, "shared", dtype="u1")
    sequential.register(owner, "a", 8, "local")
    sequential.register(owner, "b", 2, same_as="a", dtype="f8")
    sequential.register(owner, "c", 3, same_as="b", align=32)
    for location in ("shared", "block", "persistent_local"):
        sequential.update(owner, a_location=location)
        layout = sequential.build_layout(owner)
        offsets = {layout[n].offset for n in "abc"}
        assert offsets == ({32} if location == "shared" else {0})
        assert {layout[n].location for n in "abc"} == {location}
        region = getattr(layout, location)
        assert (region.nbytes, region.align) == (64 if location == "shared" else 32, 32)
        assert layout["b"].nbytes == 16
    sequential.update(owner, a_location="local")
    layout = sequential.build_layout(owner)
    assert layout.local.nbytes == 32
    assert [p.bytes_of for p in layout.placements] == [0, 1, 1, 1]


def test_rule_6_digest_tells_shared_bytes_from_separate_ones(registry):
    digests = set()
    for same_as in (None, "a"):
        owner = Factory()
        registry.register(owner, "a", 8)
        registry.register(owner, "b", 8, same_as=same_as)
        digests.add(registry.build_layout(owner).digest)
    assert len(digests) == 2


def test_rule_6_alias_takes_location_and_keep(registry):
    owner = Factory()
    registry.register(owner, "a", 8, "persistent_local")
    registry.register(owner, "b", 8, same_as="a")
    assert [(e.location, e.keep) for e in registry.entries(owner)] == [
        ("persistent_local", True)
    ] * 2
    registry.register(owner, "a", 8, "shared")
    assert [(e.location, e.keep) for e in registry.entries(owner)] == [("shared", False)] * 2


def test_rule_7_child_is_one_block_per_memory(registry):
    owner, child = Factory(), Factory()
    for location in MEMORIES:
        registry.register(owner, f"own_{location}", 3, location, dtype="u1")
        registry.register(child, f"x_{location}", 3, location)
        registry.register(child, f"y_{location}", 3, location, dtype="u1")
    registry.add_child(owner, child)
    layout = registry.build_layout(owner)
    part = layout.children["child"]
    assert part.name == "child"
    for location in MEMORIES:
        assert_disjoint(layout, location)
        rollup = layout[f"child_{location}"]
        assert rollup.is_rollup
        assert getattr(part, location) == rollup.offset
        assert rollup.nbytes == getattr(part.layout, location).nbytes == 16
        assert rollup.offset % 4 == 0


def test_rule_9_layout_is_a_pure_function_of_declarations(registry):
    other = bayplan.BufferRegistry(mode="auto")
    a, b = Factory(), NewtonSolver()
    registry.register(a, "x", 3, "shared")
    registry.register(a, "y", 9, "block", dtype="u1")
    other.register(b, "z", 1)
    other.register(b, "x", 30, "local")
    other.register(b, "y", 9, "block", dtype="u1")
    other.build_layout(b)
    other.update(b, x_size=3)
    other.register(b, "x", 3, "shared")
    other.unregister(b, "z")
    one, two = registry.build_layout(a), other.build_layout(b)
    assert one == two
    assert hash(one) == hash(two)
    assert one.digest == two.digest


def test_rule_10_precisions_may_meet(registry):
    owner, child, grandchild = Factory(), Double(), Factory()
    grandchild.precision = np.float16
    registry.register(owner, "a", 1, "shared")
    registry.register(child, "b", 1, "shared")
    registry.register(grandchild, "c", 1, "shared")
    registry.add_child(owner, child)
    registry.add_child(child, grandchild)
    layout = registry.build_layout(owner)
    inner = layout.children["child"].layout
    assert inner.precision == np.dtype("f8")
    assert inner.children["child"].layout.precision == np.dtype("f2")
    assert layout["child_shared"].offset % 8 == 0
    assert layout["child_shared"].dtype == np.dtype("f4")


def test_set_precision_restamps_what_follows_it(registry):
    top, owner = Factory(), Factory()
    registry.register(owner, "a", 3, "shared")
    registry.register(owner, "b", 3, "shared", dtype="f4")
    registry.add_child(top, owner)
    version = registry.layout_version(top)
    registry.set_precision(owner, np.float64)
    assert registry.layout_version(top) > version
    layout = registry.build_layout(owner)
    assert (layout["a"].dtype, layout["b"].dtype) == (np.dtype("f8"), np.dtype("f4"))
    assert layout.precision == np.dtype("f8")
    version = registry.layout_version(top)
    registry.set_precision(owner, "f8")
    assert registry.layout_version(top) == version


def test_precision_that_changed_is_followed_at_the_next_register(registry):
    owner = NewtonSolver()
    owner.precision = np.float32
    registry.register(owner, "a", 3, "shared")
    registry.register(owner, "b", 3, "shared", dtype="f4")
    registry.register(owner, "view", 3, "shared", same_as="b")
    layout = registry.build_layout(owner)
    owner.precision = np.float64
    assert registry.build_layout(owner) is layout
    with refused(registry, BufferValueError, "BAY-E118", 24, 12, buffer="view"):
        registry.register(owner, "c", 1)
    registry.unregister(owner, "view")
    registry.register(owner, "c", 1, "shared")
    layout = registry.build_layout(owner)
    assert [layout[n].nbytes for n in "abc"] == [24, 12, 8]
    assert layout.precision == np.dtype("f8")
    owner.precision = np.float32
    with refused(registry, BufferValueError, "BAY-E112", buffer="c"):
        registry.register(owner, "c", -1)
    assert registry.build_layout(owner) == layout


def test_two_registries_keep_apart(registry):
    other = bayplan.BufferRegistry()
    owner = Factory()
    registry.register(owner, "a", 3, "shared")
    other.register(owner, "a", 5, "block")
    assert registry.build_layout(owner)["a"].size == 3
    assert other.build_layout(owner)["a"].size == 5
    other.unregister_all(owner)
    assert registry.build_layout(owner)["a"].size == 3


def test_process_default_registry_is_a_registry():
    assert isinstance(bayplan.buffer_registry, bayplan.BufferRegistry)
    owner = Factory()
    bayplan.buffer_registry.register(owner, "a", 3, "shared")
    assert bayplan.buffer_registry.get_aggregate_size(owner, "shared") == 3
    bayplan.buffer_registry.check()


def test_owner_may_register_itself_while_its_precision_is_read(registry):
    class Curious(Factory):
        @property
        def precision(self):
            if not self.__dict__.get("asked"):
                self.asked = True
                registry.register(self, "inner", 1, "shared", dtype="u1")
            return np.float64

    owner = Curious()
    registry.register(owner, "outer", 1, "shared")
    registry.check()
    assert {e.name for e in registry.entries(owner)} == {"inner", "outer"}
