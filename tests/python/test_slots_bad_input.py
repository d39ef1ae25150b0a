"""What SlotManager and Slot refuse, and that nothing is lost by it."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from slots_support import refused, sound, stocked

import bayplan

VALUE = bayplan.BufferValueError


@pytest.fixture
def slots():
    made = stocked()
    yield made
    sound(made)


# ---- names and sizes -----------------------------------------------------------


@pytest.mark.parametrize("name", [None, 7, b"x", "", "nul\0", "\ud800", "x" * 256, ["a"]])
def test_what_is_no_name(slots, name):
    with refused(slots, VALUE, "BAY-E110"):
        slots.allocate(name, 10)
    assert name not in slots


@pytest.mark.parametrize("name", ["x" * 255, "ä" * 127, "two words", "7", "a/b"])
def test_what_is_a_name(slots, name):
    assert slots.allocate(name, 10) is slots[name]


class Sly(str):
    """A text that wants a say in what it equals."""

    def __hash__(self):
        return 7

    def __eq__(self, other):
        raise AssertionError("asked")


def test_a_subclass_of_str_is_its_text(slots):
    slots.allocate(Sly("new"), 10)
    assert slots["new"] is slots[Sly("new")]
    assert type(slots["new"].name) is str
    assert Sly("new") in slots
    slots.touch(Sly("new"))
    assert slots.deallocate(Sly("new")) == 10


@pytest.mark.parametrize(
    ("nbytes", "code"),
    [
        (0, "BAY-E112"),
        (-1, "BAY-E112"),
        (2**63, "BAY-E112"),
        (2**64 - 1, "BAY-E112"),
        (2**64, "BAY-E113"),
        (1.5, "BAY-E112"),
        ("10", "BAY-E112"),
        (True, "BAY-E112"),
        (None, "BAY-E112"),
    ],
)
def test_what_is_no_size(slots, nbytes, code):
    with refused(slots, VALUE, code):
        slots.allocate("new", nbytes)
    with refused(slots, VALUE, code):
        slots.allocate("a", nbytes, replace=True)
    assert "new" not in slots


@pytest.mark.parametrize("nbytes", [601, 2**40, 2**63 - 1])
def test_more_than_there_can_be(slots, nbytes):
    with refused(slots, bayplan.BudgetExceeded, "BAY-E003") as info:
        slots.allocate("new", nbytes)
    assert (info.value.requested, info.value.limit, info.value.evicted) == (nbytes, 600, ())
    assert f"{nbytes:,} bytes" in str(info.value)
    with refused(slots, bayplan.BudgetExceeded, "BAY-E003"):
        slots.make_room(nbytes)
    with refused(slots, bayplan.BudgetExceeded, "BAY-E003"):
        slots.plan(nbytes)
    again = pickle.loads(pickle.dumps(info.value))
    assert (str(again), again.requested, again.evicted) == (str(info.value), nbytes, ())


def test_sizes_of_numpy_are_sizes(slots):
    assert slots.allocate("new", np.int32(10)).nbytes == 10
    assert slots.plan(np.uint8(0)) == []


@pytest.mark.parametrize("nbytes", [-1, 2**64, 1.0, None, "1"])
def test_what_nobody_can_make_room_for(slots, nbytes):
    for call in (slots.plan, slots.make_room):
        with refused(slots, VALUE, None):
            call(nbytes)


# ---- options -------------------------------------------------------------------


@pytest.mark.parametrize(
    "option",
    [
        {"pin": 1},
        {"priority": 1.0},
        {"priority": 2**31},
        {"priority": -(2**31) - 1},
        {"priority": True},
        {"keep": "device"},
        {"keep": False},
        {"load": 7},
        {"replace": "yes"},
        {"kind": 7},
        {"kind": "x" * 256},
        {"timeout": -1},
        {"timeout": -0.001},
        {"timeout": math.nan},
        {"timeout": "1"},
        {"timeout": True},
    ],
    ids=str,
)
def test_options_that_are_none(slots, option):
    with refused(slots, VALUE, None, *(k for k in option if k != "kind")):
        slots.allocate("new", 10, **option)
    assert "new" not in slots


def test_timeouts_are_judged_everywhere(slots):
    for call in (
        lambda: slots.use("a", timeout=-1),
        lambda: slots.make_room(1, timeout=-1),
        lambda: slots.make_room(1, math.nan),
    ):
        with refused(slots, VALUE, "BAY-E122", "timeout"):
            call()
    slots.make_room(1, timeout=None)
    slots.make_room(1, timeout=math.inf)


def test_reservations_of_others(slots):
    other = bayplan.Budget(100)
    with other.reserve(50) as reservation, refused(slots, VALUE, None):
        slots.allocate("new", 10, reservation=reservation)
    with refused(slots, TypeError, None):
        slots.allocate("new", 10, reservation=object())
    with slots.budget.reserve(50) as over:
        pass
    with refused(slots, bayplan.StaleHandle, None):
        slots.allocate("new", 10, reservation=over)
    child = bayplan.Budget(100, parent=slots.budget)
    with child.reserve(50) as reservation, pytest.raises(VALUE):
        slots.allocate("new", 10, reservation=reservation)
    assert "new" not in slots


@pytest.mark.parametrize("stream", [7, "s", object()])
def test_what_is_no_stream(slots, stream):
    with refused(slots, TypeError, None):
        slots.use("a", stream)
    with refused(slots, TypeError, None):
        slots.prefetch("a", stream)


def test_streams_of_another_backend(slots):
    stream = bayplan.SimBackend().stream()
    with refused(slots, VALUE, None, "another backend"):
        slots.use("a", stream)


def test_wrong_calls(slots):
    for call in (
        lambda: slots.allocate("new"),
        lambda: slots.allocate("new", 1, 2),
        lambda: slots.allocate("new", 1, size=2),
        lambda: slots.touch(),
        lambda: slots.use(),
        lambda: slots.evict("a", "b"),
        lambda: slots["a"].copy_from(),
        lambda: slots["a"].view(dtype="u1", order="F"),
        lambda: type(slots["a"])(),
        lambda: type(slots["a"].view())(),
        lambda: type(slots.use("a"))(),
    ):
        with refused(slots, TypeError, None):
            call()


def test_managers_that_cannot_be():
    budget, sim = bayplan.Budget(100), bayplan.SimBackend()
    for policy in ("fifo", "rank", "LRU", "", 7, None):
        with pytest.raises(VALUE, match="policy"):
            bayplan.SlotManager(budget, backend=sim, policy=policy)
    for shortage in ("ignore", "", None, True):
        with pytest.raises(VALUE, match="on_shortage"):
            bayplan.SlotManager(budget, backend=sim, on_shortage=shortage)
    with pytest.raises(TypeError):
        bayplan.SlotManager(100, backend=sim)
    with pytest.raises(TypeError):
        bayplan.SlotManager(budget, backend=object())
    with pytest.raises(TypeError):
        bayplan.SlotManager()
    budget.check()


# ---- names that are there, or not ------------------------------------------------


def test_a_name_that_is_taken(slots):
    for name in ("a", "gone"):
        with refused(slots, bayplan.SlotExists, "BAY-E204", name):
            slots.allocate(name, 10)


def test_names_that_are_not_there(slots):
    for call in (slots.touch, slots.use, slots.prefetch, slots.evict, slots.deallocate):
        with refused(slots, bayplan.BufferKeyError, "BAY-E205", "'c'", "a", "b", "gone"):
            call("c")
        with refused(slots, VALUE, "BAY-E110"):
            call(7)
    with refused(slots, bayplan.BufferKeyError, "BAY-E205", "'c'"):
        slots["c"]
    with refused(slots, VALUE, "BAY-E110"):
        slots.deallocate(7, missing_ok=True)


def test_nothing_after_deallocation(slots):
    slot, use = slots["a"], slots.use("a")
    slots.deallocate("a")
    for call in (slots.touch, slots.use, slots.prefetch, slots.evict, slots.deallocate):
        with refused(slots, bayplan.BufferKeyError, "BAY-E205", "'a'"):
            call("a")
    for call in (
        lambda: slot.state,
        lambda: slot.nbytes,
        lambda: slot.copy_from(b"x"),
        slot.copy_to,
        slot.view,
        use.__enter__,
    ):
        with refused(slots, bayplan.StaleHandle, "BAY-E130"):
            call()
    slots.allocate("a", 100)
    with refused(slots, bayplan.StaleHandle, "BAY-E130"), use:
        pass


def test_in_use_by_the_host(slots):
    with slots.use("a"):
        for call in (
            lambda: slots.deallocate("a"),
            lambda: slots.deallocate("a", missing_ok=True),
            lambda: slots.evict("a"),
            lambda: slots.allocate("a", 10, replace=True),
        ):
            with refused(slots, bayplan.Busy, "BAY-E203", "'a'"):
                call()


def test_a_pinned_slot_is_not_evicted(slots):
    slots.allocate("pinned", 100, pin=True)
    with refused(slots, bayplan.Busy, "BAY-E203", "'pinned'"):
        slots.evict("pinned")


def test_a_use_within_itself(slots):
    with slots.use("a") as slot:
        use = slots.use("a")
        with use:
            with refused(slots, bayplan.Busy, "BAY-E203", "'a'"):
                use.__enter__()
            assert slot.host_uses == 2
    use.__exit__(None, None, None)  # over already
    assert slots["a"].host_uses == 0


# ---- arrays --------------------------------------------------------------------


def test_arrays_that_do_not_fit(slots):
    slot = slots["a"]
    with refused(slots, VALUE, "BAY-E112", 201, 200) as info:
        slot.copy_from(np.zeros(201, np.uint8))
    assert (info.value.value, info.value.limit) == (201, 200)
    with refused(slots, VALUE, "BAY-E112", 208, 200):
        slot.copy_to(np.zeros(26))
    for array in ([object()], {}, np.array([None])):
        with refused(slots, VALUE, "BAY-E116"):
            slot.copy_from(array)
    with refused(slots, VALUE, "BAY-E116"):
        slot.copy_to(np.zeros(3, object))
    frozen = np.zeros(10)
    frozen.flags.writeable = False
    with refused(slots, VALUE, "BAY-E122", "read-only"):
        slot.copy_to(frozen)
    for out in ([0, 0], b"xx", 7):
        with refused(slots, TypeError, None):
            slot.copy_to(out)
    with refused(slots, ValueError, None):
        slot.copy_from([[1, 2], [3]])


def test_views_that_do_not_fit(slots):
    slot = slots["a"]
    for dtype, shape in (("f4", 51), ("u1", (2, 101)), ("u1", (2**62, 4)), ("f8", (2**63, 0))):
        with refused(slots, VALUE, "BAY-E112"):
            slot.view(dtype, shape)
    with refused(slots, VALUE, "BAY-E112", 200, 16):
        slot.view(np.complex128)
    for dtype in (object, "no such", "U", "V0"):
        with refused(slots, VALUE, None):
            slot.view(dtype)
    for shape in (-1, 1.5, "4", (1,) * 40, (2, None)):
        with refused(slots, VALUE, "BAY-E112"):
            slot.view("u1", shape)
    assert slot.host_uses == 0


def test_no_room_to_bring_a_slot_back(slots):
    slots.allocate("pinned", 90, pin=True)
    with slots.use("a"), slots.use("b"):
        for call in (
            lambda: slots.prefetch("gone"),
            slots.use("gone").__enter__,
            slots["gone"].view,
            lambda: slots["gone"].copy_from(b"x"),
        ):
            with refused(slots, bayplan.BudgetExceeded, "BAY-E003"):
                call()
    assert not slots["gone"].resident
