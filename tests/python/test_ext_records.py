"""Records and layout objects as Python objects: identity, immutability, pickles, words."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref

import numpy as np
import pytest
from support import Double, Factory, NewtonSolver

import bayplan
from bayplan import BufferValueError, _core


@pytest.fixture
def tree(sequential):
    """NewtonSolver (float32) with two buffers and a child of one float64 buffer."""
    owner = NewtonSolver()
    owner.linear = Double()
    sequential.register(owner, "delta", 3, "shared")
    sequential.register(owner, "history", (2, 2), "persistent_local", zero=True)
    sequential.register(owner.linear, "pivots", 2, "shared")
    sequential.add_child(owner, owner.linear, "linear")
    return owner


def records(registry, owner):
    layout = registry.build_layout(owner)
    yield layout["delta"]
    yield layout.shared
    yield layout.children["linear"]
    yield from registry.entries(owner)
    yield bayplan.plan([4], [0], [1])


def test_records_are_immutable_tuples_with_names(sequential, tree):
    for record in records(sequential, tree):
        kind = type(record)
        assert getattr(bayplan, kind.__name__) is kind
        assert [getattr(record, name) for name in kind.__match_args__] == list(record)
        assert all(getattr(kind, name).__doc__ for name in kind.__match_args__)
        with pytest.raises(AttributeError):
            setattr(record, kind.__match_args__[0], None)
        with pytest.raises(TypeError):
            record[0] = None


def test_records_pickle(sequential, tree):
    for record in records(sequential, tree):
        again = pickle.loads(pickle.dumps(record))
        assert type(again) is type(record)
        if isinstance(record, bayplan.Plan):
            assert again.offsets.tolist() == record.offsets.tolist()
            assert again[1:] == record[1:]
        elif isinstance(record, bayplan.Region):
            assert again == record
        else:
            assert list(again) == list(record)


def test_exact_records(sequential, tree):
    layout = sequential.build_layout(tree)
    f4, f8 = np.dtype("f4"), np.dtype("f8")
    assert tuple(layout["delta"]) == (
        *("delta", "shared", 0, 12, 3, (3,), f4, None, False, False, 4, False, 0, False),
    )
    assert tuple(layout["linear_shared"]) == (
        *("linear_shared", "shared", 16, 16, 4, (4,), f4, None, False, False, 8, True, 2, False),
    )
    assert tuple(layout.children["linear"])[2:] == (16, 0, 16, None)
    assert layout.children["linear"].layout["pivots"].dtype == f8
    shared, below = layout.shared, layout.children["linear"].layout.shared
    assert (shared.nbytes, shared.size, shared.align) == (32, 8, 8)
    assert (below.nbytes, below.size, below.align, below.status) == (16, 2, 8, "optimal")
    entry = sequential.entries(tree)[0]
    assert (entry.offset, entry.slice, entry.uses) == (0, slice(0, 3), 1.0)
    assert (entry.same_as, entry.child) == (None, None)
    assert sequential.entries(tree)[-1].child == "linear"


def test_whose_bytes_a_placement_has(sequential):
    owner = Factory()
    sequential.register(owner, "a", 1)
    sequential.register(owner, "x", 4)
    sequential.register(owner, "bits", 3, same_as="x", dtype="i4")
    sequential.register(owner, "few", 1, same_as="bits", dtype="i1")
    layout = sequential.build_layout(owner)
    assert [p.bytes_of for p in layout.placements] == [0, 1, 1, 1]
    again = pickle.loads(pickle.dumps(layout))
    assert [p.bytes_of for p in again.placements] == [0, 1, 1, 1]
    assert pickle.loads(pickle.dumps(layout["few"])).bytes_of == 1


def test_one_object_for_one_layout(sequential, tree):
    parent = sequential.build_layout(tree)
    child = sequential.build_layout(tree.linear)
    assert parent.children["linear"].layout is child
    assert sequential.layout(tree) is parent
    sequential.invalidate_layout(tree)
    assert sequential.build_layout(tree) == parent


def test_layouts_die_with_their_last_holder(sequential, tree):
    child = weakref.ref(sequential.build_layout(tree).children["linear"].layout)
    assert child() is not None
    sequential.register(tree.linear, "pivots", 7, "shared")
    sequential.build_layout(tree)
    gc.collect()
    assert child() is None
    again = sequential.build_layout(tree).children["linear"].layout
    assert again["pivots"].size == 7


def test_layout_kept_by_a_cycle_is_collected(sequential, tree):
    layout = sequential.build_layout(tree)
    layout.me = layout
    layout.bound = layout.bind()
    gone = weakref.ref(layout)
    del layout
    sequential.unregister_all(tree)
    sequential.build_layout(tree)
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("remake", [copy.copy, copy.deepcopy])
def test_copies_are_the_object_itself(sequential, tree, remake):
    layout = sequential.build_layout(tree)
    assert remake(layout) is layout
    assert remake(layout.bind()).layout is layout


def test_bound_layouts_pickle(sequential, tree):
    layout = sequential.build_layout(tree)
    bounds = {
        layout.bind(),
        layout.bind(policy="none"),
        layout.bind(stride=64),
        layout.bind(stride=64, policy="none"),
        layout.bind(lanes_per_run=4),
        layout.bind(reserve_bytes=100),
    }
    assert len(bounds) == len({b.digest for b in bounds}) == 6
    for bound in bounds:
        again = pickle.loads(pickle.dumps(bound))
        assert type(again) is bayplan.BoundLayout
        assert again == bound
        assert hash(again) == hash(bound)
        assert again.digest == bound.digest
        assert again.dynamic_shared_bytes(3) == bound.dynamic_shared_bytes(3)
        assert bound.__reduce__() == again.__reduce__()
        assert (again.policy, again.stride) == (bound.policy, bound.stride)


def test_damaged_bound_layouts_are_refused(sequential, tree):
    unpack, (data,) = sequential.build_layout(tree).bind().__reduce__()
    assert unpack is _core.unpack_bound
    for n in range(len(data)):
        with pytest.raises(BufferValueError):
            unpack(data[:n])
    for i in range(40):
        if i in range(16, 24):  # another number of lanes may be legal
            continue
        damaged = data[:i] + bytes([data[i] ^ 0x55]) + data[i + 1 :]
        try:
            unpack(damaged)
        except bayplan.BayplanError:
            continue
        assert i in range(8, 16) or i in range(24, 32)
    for other in (3, "text", bytearray(data), None):
        with pytest.raises(BufferValueError):
            unpack(other)
        with pytest.raises(BufferValueError):
            _core.unpack_layout(other)


def test_membership(sequential, tree):
    layout = sequential.build_layout(tree)
    for name in ("delta", "linear_shared", "linear_persistent_local"):
        assert name in layout
    for name in ("detla", "linear", "", 3, None, "delta\0", "\ud800"):
        assert name not in layout
    assert "child_shared" in sequential.build_layout(tree.linear)


def test_explain(sequential, tree):
    layout = sequential.build_layout(tree)
    assert layout.explain("linear_shared") == (
        "'linear_shared' is the bytes of a child (4 of float32, 16 bytes): one copy per run, in "
        "that run's slice of dynamic shared memory. It lies at byte 16, behind 'delta', after "
        "4 bytes of padding; its offset is a multiple of 8. The region has 32 bytes; 28 are "
        "needed at least."
    )
    assert "kept between two calls" in layout.explain("history")
    with pytest.raises(bayplan.BufferKeyError, match="delta"):
        layout.explain("detla")


def test_diff(sequential, tree):
    before = sequential.build_layout(tree)
    assert before.diff(before) == ""
    sequential.update(tree, delta_location="local", linear_pivots_size=4)
    sequential.register(tree, "extra", 1, "block", dtype="i1")
    sequential.unregister(tree, "history")
    lines = before.diff(sequential.build_layout(tree)).splitlines()
    assert lines == [
        "delta: shared at 0, 3 of float32, 12 bytes -> local at 0, 3 of float32, 12 bytes",
        "history: persistent_local at 0, 2 x 2 of float32, 16 bytes -> gone",
        "linear_shared: shared at 16, 4 of float32, 16 bytes -> "
        "shared at 0, 8 of float32, 32 bytes",
        "linear_persistent_local: persistent_local at 16, 0 of float32, 0 bytes -> "
        "persistent_local at 0, 0 of float32, 0 bytes",
        "extra: new, block at 0, 1 of int8, 1 byte",
        "child linear: its own layout differs",
        "block region: 0 -> 1 byte",
        "persistent_local region: 16 -> 0 bytes",
        "local region: 0 -> 12 bytes",
    ]


def test_attribute_errors_help(sequential, tree):
    layout = sequential.build_layout(tree)
    with pytest.raises(AttributeError, match="delta"):
        layout.delta  # noqa: B018
    assert not hasattr(layout, "_no_such_private_thing")
    assert not hasattr(layout.bind(), "stride_in_furlongs")


def test_only_owners_that_can_be_weak(registry):
    for bad in (3, "text", (), None, 1.5, object()):
        with pytest.raises(TypeError, match=f"'{type(bad).__name__}' objects allow none"):
            registry.register(bad, "a", 1)
        with pytest.raises(TypeError, match="__weakref__"):
            registry.add_child(Factory(), bad)
        assert registry.build_layout(bad).placements == ()
        assert registry.get_child_aggregate_size(bad, "shared") == 0
    assert registry.n_factories == 0
