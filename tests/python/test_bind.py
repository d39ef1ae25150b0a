"""`Layout.bind` and the bank arithmetic, against their definitions."""

from __future__ import annotations

import pickle
from collections import Counter

import model
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import Double, Factory

import bayplan
from bayplan import BufferValueError, NotYetError


def layout_of(registry, **buffers):
    """A layout of name=(size, location, keywords)."""
    owner = Factory()
    for name, (size, location, said) in buffers.items():
        registry.register(owner, name, size, location, **said)
    return registry.build_layout(owner)


def shared(registry, size, **said):
    return layout_of(registry, x=(size, "shared", said))


# ---- strides -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "said", "stride"),
    [
        (0, {}, 0),
        (1, {}, 4),
        (2, {}, 12),
        (3, {}, 12),
        (4, {}, 20),
        (1, {"dtype": "u1"}, 4),
        (5, {"dtype": "u1"}, 12),
        (1, {"dtype": "f8"}, 8),
        (2, {"dtype": "f8"}, 24),
        (16, {"dtype": "f8"}, 136),
        (2, {"dtype": "c16"}, 48),
        (4, {"align": 16}, 16),
        (8, {"align": 16}, 48),
        (1, {"align": 1024}, 1024),
        (300, {"align": 1024}, 3072),
        (1, {"dtype": "S3"}, 4),
        (3, {"dtype": "V12"}, 36),
    ],
)
def test_pad_by_hand(registry, size, said, stride):
    bound = shared(registry, size, **said).bind()
    assert bound.stride == stride
    assert bound.policy == "pad"
    assert bound.dynamic_shared_bytes(7) == 7 * stride


dtypes = st.sampled_from(["u1", "f2", "f4", "f8", "c16", "S3", "S12"])
buffers = st.lists(
    st.tuples(
        st.integers(0, 40),
        st.sampled_from(["shared", "block", "local"]),
        dtypes,
        st.sampled_from([None, 1, 16, 32, 256]),
    ),
    max_size=5,
)


@given(buffers, buffers, st.integers(0, 100), st.sampled_from([0, 1, 16, 100, 1024]))
def test_bound_numbers_equal_their_definitions(own, below, runs, reserve):
    registry = bayplan.BufferRegistry(mode="packed")
    reference = model.Registry("packed")
    parent, child = Factory(), Double()
    for owner, key, declared in ((parent, 0, own), (child, 1, below)):
        for i, (size, location, dtype, align) in enumerate(declared):
            registry.register(owner, f"b{i}", size, location, dtype=dtype, align=align)
            reference.register(
                key, "", np.dtype(getattr(owner, "precision", "f4")), f"b{i}", size, location,
                dtype=np.dtype(dtype), align=align,
            )  # fmt: skip
    registry.add_child(parent, child)
    reference.add_child((0, "", np.dtype("f4")), (1, "", np.dtype("f8")))
    regions = reference.layout(0, np.dtype("f4")).regions
    layout = registry.build_layout(parent)
    assert layout.shared.nbytes == regions["shared"].nbytes
    bound = layout.bind(reserve_bytes=reserve)
    unit = max(4, regions["shared"].widest, regions["shared"].align)
    multiples = [m * unit for m in range(1, 2 * regions["shared"].nbytes + 3, 2)]
    stride = next(m for m in multiples if m >= regions["shared"].nbytes)
    assert bound.stride == (stride if regions["shared"].nbytes else 0)
    arena = max(16, regions["shared"].align, regions["block"].align)
    assert bound.arena_align == arena
    assert bound.reserve_bytes == reserve
    assert bound.block_offset == model.round_up(reserve, arena)
    assert bound.slices_offset == model.round_up(
        bound.block_offset + regions["block"].nbytes, arena
    )
    assert bound.dynamic_shared_bytes(runs) == bound.slices_offset + runs * bound.stride
    plain = layout.bind(policy="none")
    assert (plain.stride, plain.policy) == (regions["shared"].nbytes, "none")


@given(
    st.lists(st.tuples(st.integers(1, 40), st.sampled_from(["f4", "f8", "c16"])), min_size=1),
)
def test_pad_leaves_the_widest_access_conflict_free(declared):
    registry = bayplan.BufferRegistry()
    owner = Factory()
    for i, (size, dtype) in enumerate(declared):
        registry.register(owner, f"b{i}", size, "shared", dtype=dtype)
    bound = registry.build_layout(owner).bind()
    widest = max(np.dtype(dtype).itemsize for _, dtype in declared)
    assert bayplan.bank_conflicts(bound.stride, widest) == 1


def test_stride_given(registry):
    layout = shared(registry, 3)
    bound = layout.bind(stride=20)
    assert bound.stride == 20
    assert bound.dynamic_shared_bytes(3) == 60
    assert layout.bind(stride=np.int64(12)).stride == 12
    assert layout.bind(stride=12).layout is layout


@pytest.mark.parametrize(
    "said",
    [
        {"stride": 8},
        {"stride": 0},
        {"stride": -4},
        {"stride": 14},
        {"stride": 2**64},
        {"lanes_per_run": 0},
        {"lanes_per_run": 3},
        {"lanes_per_run": 64},
        {"lanes_per_run": -1},
        {"reserve_bytes": -1},
        {"reserve_bytes": 2**63},
        {"reserve_bytes": 2**64},
        {"policy": "padded"},
        {"policy": ""},
    ],
)
def test_bad_values(registry, said):
    layout = shared(registry, 3)
    ((name, value),) = said.items()
    with pytest.raises(BufferValueError) as info:
        layout.bind(**said)
    assert info.value.code in ("BAY-E122", "BAY-E113")
    assert str(value) in str(info.value)
    assert name.split("_")[0] in str(info.value)
    assert layout.bind().stride == 12


@pytest.mark.parametrize(
    "said",
    [
        *({"stride": 12.0}, {"stride": "12"}, {"stride": True}, {"lanes_per_run": 1.0}),
        *({"policy": 3}, {"reserve_bytes": 0.5}, {"lanes_per_run": None}, {"lanes_per_run": True}),
    ],
)
def test_bad_types(registry, said):
    with pytest.raises((TypeError, BufferValueError)):
        shared(registry, 3).bind(**said)


def test_positional_arguments_are_refused(registry):
    with pytest.raises(TypeError):
        shared(registry, 3).bind(16)


def test_interleave_is_not_yet(registry):
    with pytest.raises(NotYetError):
        shared(registry, 3).bind(policy="interleave")


def test_reserve_and_block(registry):
    layout = layout_of(registry, x=(3, "shared", {}), y=(5, "block", {}))
    bound = layout.bind(reserve_bytes=20)
    assert (bound.block_offset, bound.slices_offset, bound.stride) == (32, 64, 12)
    assert bound.dynamic_shared_bytes(0) == 64
    assert bound.dynamic_shared_bytes(32) == 64 + 32 * 12


@pytest.mark.parametrize("lanes", [1, 2, 4, 8, 16, 32])
def test_lanes(registry, lanes):
    layout = shared(registry, 3)
    bound = layout.bind(lanes_per_run=lanes)
    assert bound.lanes_per_run == lanes
    assert bound.dynamic_shared_bytes(5) == 60
    assert (bound == layout.bind()) == (lanes == 1)


@pytest.mark.parametrize("runs", [-1, 2**64, 1.0, True, None, "3"])
def test_bad_number_of_runs(registry, runs):
    with pytest.raises((TypeError, BufferValueError)):
        shared(registry, 3).bind().dynamic_shared_bytes(runs)


def test_too_many_runs_for_64_bits(registry):
    with pytest.raises(BufferValueError) as info:
        shared(registry, 3).bind().dynamic_shared_bytes(2**62)
    assert info.value.code == "BAY-E113"


# ---- identity ------------------------------------------------------------------


def test_equality_hash_and_digest(registry):
    layout, other = shared(registry, 3), shared(registry, 4)
    bounds = [
        layout.bind(),
        layout.bind(stride=20),
        layout.bind(lanes_per_run=2),
        layout.bind(reserve_bytes=16),
        layout.bind(reserve_bytes=17),
        layout.bind(policy="none", stride=36),
        other.bind(),
    ]
    assert len({b.digest for b in bounds}) == len(bounds)
    assert len(set(bounds)) == len(bounds)
    assert layout.digest not in {b.digest for b in bounds}
    for b in bounds:
        assert len(b.digest) == 32
        assert set(b.digest) <= set("0123456789abcdef")
    again = shared(registry, 3).bind()
    assert again == bounds[0]
    assert hash(again) == hash(bounds[0])
    assert again.digest == bounds[0].digest
    assert bounds[0] != layout
    assert bounds[0] != 3


def test_pickle(registry):
    layout = layout_of(registry, x=(3, "shared", {}), y=(5, "block", {}))
    bound = layout.bind(reserve_bytes=20, lanes_per_run=4)
    again = pickle.loads(pickle.dumps(bound))
    assert again == bound
    assert hash(again) == hash(bound)
    assert again.digest == bound.digest
    assert type(again) is bayplan.BoundLayout
    assert again.layout == layout
    for name in (
        "stride", "policy", "lanes_per_run", "reserve_bytes", "block_offset", "slices_offset",
        "arena_align",
    ):  # fmt: skip
        assert getattr(again, name) == getattr(bound, name)
    assert pickle.dumps(again) == pickle.dumps(bound)


def test_immutable(registry):
    bound = shared(registry, 3).bind()
    for name in ("stride", "policy", "layout", "digest"):
        with pytest.raises(AttributeError):
            setattr(bound, name, 3)


# ---- banks ---------------------------------------------------------------------------


def conflicts_by_enumeration(stride: int, width: int, lanes_per_run: int = 1) -> int:
    """Count the words each bank is asked for, request by request.

    A warp's accesses of 8 bytes are served in two halves, of 16 bytes in four
    quarters. Every lane reads the same element of its own run's slice; the
    element index that is worst counts.
    """
    lanes_per_request = {8: 16, 16: 8}.get(width, 32)
    worst = 1
    for element in range(4):
        for start in range(0, 32, lanes_per_request):
            words = set()
            for lane in range(start, start + lanes_per_request):
                address = (lane // lanes_per_run) * stride + element * width
                words |= {byte // 4 for byte in range(address, address + width)}
            asked = Counter(word % 32 for word in words)
            worst = max(worst, *asked.values())
    return worst


@pytest.mark.parametrize("width", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("lanes", [1, 2, 4, 8, 16, 32, 64])
def test_bank_conflicts_equal_enumeration(width, lanes):
    for stride in [*range(0, 24 * width, width), *range(0, 4097, 31 * width), 128 * width]:
        assert bayplan.bank_conflicts(stride, width, lanes) == conflicts_by_enumeration(
            stride, width, lanes
        ), stride


def test_bank_conflicts_by_hand():
    assert bayplan.bank_conflicts(4, 4) == 1
    assert bayplan.bank_conflicts(128, 4) == 32
    assert bayplan.bank_conflicts(128, 4, lanes_per_run=8) == 4
    assert bayplan.bank_conflicts(128, 8) == 16
    assert bayplan.bank_conflicts(136, 8) == 1
    assert bayplan.bank_conflicts(0, 4) == 1


@pytest.mark.parametrize("count", [2, 4, 6, 8, 16, 32, 64])
def test_pad_cures_even_float64_counts(registry, count):
    """An even number of float64 is up to 16-way; one 8-byte pad cures it."""
    layout = shared(registry, count, dtype="f8")
    plain, padded = layout.bind(policy="none").stride, layout.bind().stride
    assert plain == 8 * count
    assert padded == plain + 8
    assert conflicts_by_enumeration(plain, 8) == min(16, count & -count)
    assert conflicts_by_enumeration(padded, 8) == 1
    assert bayplan.bank_conflicts(padded, 8) == 1


@pytest.mark.parametrize(
    ("stride", "width", "lanes"),
    [(10, 4, 1), (4, 3, 1), (4, 32, 1), (4, 0, 1), (8, 4, 0), (8, 4, 3), (-4, 4, 1), (8, 4, -1)],
)
def test_bank_conflicts_bad_values(stride, width, lanes):
    with pytest.raises(BufferValueError):
        bayplan.bank_conflicts(stride, width, lanes)
