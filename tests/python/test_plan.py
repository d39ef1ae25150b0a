"""`bayplan.plan` against the model and against brute force; its arguments and its errors."""

from __future__ import annotations

import model
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plan_tools import arrays, check_plan, problems
from support import words

import bayplan
from bayplan import BufferValueError

SIMPLE = ("sequential", "packed")
SEARCHING = ("auto", "fast", "optimal")


@settings(max_examples=200)
@given(problems(12, 1000), st.sampled_from(SIMPLE))
def test_simple_modes_equal_the_model(buffers, mode):
    sizes, first, last, align = arrays(buffers)
    plan = bayplan.plan(sizes, first, last, align=align, mode=mode)
    assert plan.offsets.tolist() == model.place(mode, sizes.tolist(), align.tolist())
    check_plan(plan, buffers)
    assert plan.nodes == 0


@settings(max_examples=200)
@given(problems(14, 1000), st.sampled_from(SEARCHING))
def test_searching_modes_are_valid(buffers, mode):
    sizes, first, last, align = arrays(buffers)
    plan = bayplan.plan(sizes, first, last, align=align, mode=mode)
    check_plan(plan, buffers)
    again = bayplan.plan(sizes, first, last, align=align, mode=mode)
    assert again.offsets.tolist() == plan.offsets.tolist()
    assert again[1:] == plan[1:]
    assert (plan.interrupted, again.interrupted) == (False, False)


@settings(max_examples=100)
@given(problems(5))
def test_bounds_against_brute_force(buffers):
    sizes, first, last, align = arrays(buffers)
    best = model.optimum(*(list(map(int, c)) for c in (sizes, align, first, last)))
    for mode in SIMPLE + SEARCHING:
        plan = bayplan.plan(sizes, first, last, align=align, mode=mode)
        assert plan.lower_bound <= best <= plan.height
        if plan.status == "optimal" or mode == "optimal":
            assert (plan.status, plan.height) == ("optimal", best)


@settings(max_examples=25)
@given(
    st.lists(st.tuples(st.integers(0, 20), st.sampled_from([1, 2, 4, 8])), min_size=6, max_size=6)
)
def test_bounds_of_six_always_alive(pairs):
    buffers = [(size, 0, 1, align) for size, align in pairs]
    sizes, first, last, align = arrays(buffers)
    best = model.optimum(*(list(map(int, c)) for c in (sizes, align, first, last)))
    plan = bayplan.plan(sizes, first, last, align=align)
    assert plan.load == sum(sizes)
    assert plan.lower_bound >= model.alignment_bound(*(list(map(int, c)) for c in (sizes, align)))
    assert plan.load <= plan.lower_bound <= best <= plan.height


def test_brute_force_finds_known_optima():
    """The reference itself, on cases worked out by hand."""
    assert model.optimum([4, 8], [4, 8], [0, 0], [1, 1]) == 12
    assert model.optimum([9, 8, 1], [8, 8, 1], [0] * 3, [1] * 3) == 18
    assert model.optimum([4, 8, 4], [1, 1, 1], [0, 1, 2], [2, 3, 4]) == 12
    assert model.optimum([5, 5], [1, 1], [0, 1], [1, 2]) == 5
    assert model.optimum([], [], [], []) == 0


def test_by_hand():
    sizes, first, last = np.array([4, 8, 2]), np.zeros(3, int), np.ones(3, int)
    align = np.array([4, 8, 2])
    plan = bayplan.plan(sizes, first, last, align=align, mode="sequential")
    assert (plan.offsets.tolist(), plan.height, plan.load) == ([0, 8, 16], 18, 14)
    plan = bayplan.plan(sizes, first, last, align=align, mode="packed")
    assert (plan.offsets.tolist(), plan.height, plan.status) == ([8, 0, 12], 14, "optimal")
    plan = bayplan.plan(sizes, first, last, align=align)
    assert (plan.height, plan.status) == (14, "optimal")


def test_auto_stays_with_declaration_order_where_it_is_best():
    sizes, zeros, ones = np.array([8, 4, 8]), np.zeros(3, int), np.ones(3, int)
    plan = bayplan.plan(sizes, zeros, ones, align=np.array([1, 4, 1]))
    assert plan.offsets.tolist() == [0, 8, 12]
    assert plan.status == "optimal"


def test_simple_modes_ignore_lifetimes_when_they_place():
    sizes = np.array([4, 4, 4])
    first, last = np.array([0, 1, 2]), np.array([1, 2, 3])
    plan = bayplan.plan(sizes, first, last, mode="sequential")
    assert (plan.offsets.tolist(), plan.height, plan.load) == ([0, 4, 8], 12, 4)
    assert (plan.lower_bound, plan.status) == (4, "feasible")
    plan = bayplan.plan(sizes, first, last)
    assert (plan.offsets.tolist(), plan.height, plan.status) == ([0, 0, 0], 4, "optimal")


def test_half_open_lifetimes():
    assert bayplan.plan(np.array([4, 4]), np.array([0, 1]), np.array([1, 2])).load == 4
    assert bayplan.plan(np.array([4, 4]), np.array([0, 0]), np.array([1, 2])).load == 8
    assert bayplan.plan(np.array([4]), np.array([3]), np.array([3])).load == 0


def test_nothing_to_plan():
    empty = np.array([], dtype=np.int64)
    plan = bayplan.plan(empty, empty, empty)
    assert (plan.offsets.shape, plan.height, plan.load, plan.lower_bound) == ((0,), 0, 0, 0)
    assert plan.status == "optimal"


def test_extreme_times_and_sizes():
    low, high = np.iinfo(np.int64).min, np.iinfo(np.int64).max
    plan = bayplan.plan(np.array([4, 4]), np.array([low, 0]), np.array([high, high]))
    assert (plan.load, plan.height) == (8, 8)
    zeros, ones = np.zeros(2, int), np.ones(2, int)
    plan = bayplan.plan(np.array([2**62, 2**62 - 1]), zeros, ones)
    assert plan.height == 2**63 - 1
    for n in (2**62, 2**63 - 1):
        with pytest.raises(BufferValueError) as info:
            bayplan.plan(np.array([n, n]), zeros, ones)
        assert info.value.code == "BAY-E113"
    with pytest.raises(BufferValueError) as info:
        bayplan.plan(np.array([2**63, 1], dtype=np.uint64), zeros, ones)
    assert info.value.code == "BAY-E122"


def test_alignments_up_to_four_gib():
    sizes, zeros, ones = np.array([1, 1]), np.zeros(2, int), np.ones(2, int)
    plan = bayplan.plan(sizes, zeros, ones, align=np.array([1, 2**32]), mode="sequential")
    assert plan.offsets.tolist() == [0, 2**32]
    assert plan.height == 2**32 + 1


@pytest.mark.parametrize("kind", "i1 u1 i2 u2 i4 u4 i8 u8 >i4 >u8 <i8".split())
def test_any_integer_dtype(kind):
    sizes = np.array([4, 8, 2], dtype=kind)
    first, last = np.zeros(3, dtype=kind), np.ones(3, dtype=kind)
    align = np.array([4, 8, 2], dtype=kind)
    plan = bayplan.plan(sizes, first, last, align=align, mode="packed")
    assert plan.offsets.tolist() == [8, 0, 12]


def test_lists_and_tuples_will_do():
    plan = bayplan.plan([4, 8], (0, 0), [1, 1])
    assert plan.offsets.tolist() == [0, 4]


def test_strided_reversed_and_read_only_arrays():
    table = np.array([[4, 0, 1, 4], [8, 0, 1, 8], [2, 0, 1, 2]], dtype=np.int64)
    table.setflags(write=False)
    plan = bayplan.plan(table[:, 0], table[:, 1], table[:, 2], align=table[:, 3], mode="packed")
    assert plan.offsets.tolist() == [8, 0, 12]
    plan = bayplan.plan(
        table[::-1, 0], table[::-1, 1], table[::-1, 2], align=table[::-1, 3], mode="sequential"
    )
    assert plan.offsets.tolist() == [0, 8, 16]
    records = np.zeros(2, dtype=[("pad", "u1"), ("size", "<i8"), ("first", "<i4"), ("last", "<i4")])
    records["size"], records["last"] = [3, 5], 1
    plan = bayplan.plan(records["size"], records["first"], records["last"])
    assert plan.offsets.tolist() == [0, 3]
    assert table.tolist() == [[4, 0, 1, 4], [8, 0, 1, 8], [2, 0, 1, 2]]


def test_outputs_belong_to_the_caller():
    sizes, zeros, ones = np.array([4, 8]), np.zeros(2, int), np.ones(2, int)
    one, two = bayplan.plan(sizes, zeros, ones), bayplan.plan(sizes, zeros, ones)
    assert one.offsets.dtype == np.int64
    assert one.offsets.ndim == 1
    assert not np.shares_memory(one.offsets, two.offsets)
    assert not np.shares_memory(one.offsets, sizes)
    assert type(one.height) is int
    assert type(one.load) is int
    assert type(one.nodes) is int
    with pytest.raises(AttributeError):
        one.height = 3
    offsets, height, load, lower_bound, status, nodes = one
    assert (height, load, lower_bound, status, nodes) == (12, 12, 12, "optimal", 0)
    assert offsets is one.offsets


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sizes": [4, -1]}, ["sizes[1]"]),
        ({"first": [0, 5]}, ["buffer 1", "1", "5"]),
        ({"align": [4, 3]}, ["align", "3"]),
        ({"align": [4, 0]}, ["align", "0"]),
        ({"align": [4, -4]}, ["align[1]"]),
        ({"align": [4, 2**33]}, ["align", 2**33]),
        ({"sizes": [4]}, ["sizes has 1", "first has 2"]),
        ({"last": [1, 1, 1]}, ["sizes has 2", "last has 3"]),
        ({"align": [1]}, ["sizes has 2", "align has 1"]),
        ({"sizes": [[4, 4]]}, ["sizes", "one-dimensional"]),
        ({"mode": "quick"}, ["mode", "quick", "sequential"]),
    ],
)
def test_errors(change, says):
    said = {"sizes": [4, 4], "first": [0, 0], "last": [1, 1], "align": [1, 1]} | change
    mode = said.pop("mode", "auto")
    said = {k: np.array(v) for k, v in said.items()}
    with pytest.raises(BufferValueError) as info:
        bayplan.plan(said["sizes"], said["first"], said["last"], align=said["align"], mode=mode)
    assert type(info.value) is BufferValueError
    assert info.value.code == "BAY-E122"
    words(str(info.value), *says)


@pytest.mark.parametrize("kind", ["f8", "O", "?", "S3", "c16"])
def test_arrays_that_are_not_of_integers(kind):
    good = np.array([1, 1])
    for k in range(4):
        said = [good, np.zeros(2, int), good, good]
        said[k] = said[k].astype(kind)
        with pytest.raises((TypeError, BufferValueError)):
            bayplan.plan(*said[:3], align=said[3])


def test_many_buffers():
    n = 200_000
    rng = np.random.default_rng(7)
    sizes = rng.integers(0, 5000, n)
    align = 2 ** rng.integers(0, 8, n)
    first = rng.integers(-1000, 1000, n)
    last = first + rng.integers(0, 50, n)
    plan = bayplan.plan(sizes, first, last, align=align, mode="sequential")
    top = 0
    for size, a, offset in zip(sizes[:5000], align[:5000], plan.offsets[:5000], strict=True):
        if size:
            assert offset == model.round_up(top, int(a))
            top = offset + size
    events = np.zeros(2100, dtype=np.int64)
    np.add.at(events, first + 1000, sizes)
    np.add.at(events, last + 1000, -sizes)
    assert plan.load == int(np.cumsum(events).max())
