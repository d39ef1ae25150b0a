"""Functions that slot managers call: those that raise, and those that call back in."""

from __future__ import annotations

import gc
import logging

import numpy as np
import pytest
from slots_support import checksum, evictions, filled, make, pattern, refused, sound, stocked

import bayplan


@pytest.fixture
def slots():
    made = stocked()
    yield made
    sound(made)


# ---- functions of the user's that raise --------------------------------------------


class Oops(Exception):
    pass


def test_a_policy_that_raises_changes_nothing():
    fails = False

    def policy(slot):
        if fails and slot.name == "b":
            raise Oops(slot.name)
        return slot.nbytes

    slots = make(300, policy=policy)
    for i, name in enumerate("abc"):
        filled(slots, name, 90, i)
    slots.evict("c")
    fails = True
    for call in (
        lambda: slots.allocate("d", 200),
        lambda: slots.allocate("a", 130, replace=True),
        lambda: slots.plan(200),
        lambda: slots.make_room(200),
        slots.lru_candidate,
    ):
        dump, sums = slots.budget.dump(), [checksum(slots["c"])]
        with pytest.raises(Oops, match="b"):
            call()
        assert slots.budget.dump() == dump
        assert [checksum(slots["c"])] == sums
    fails = False
    assert slots.plan(250) == ["a", "b"]
    sound(slots)


def test_a_policy_is_asked_only_where_something_may_have_to_go():
    asked = []

    def policy(slot):
        asked.append(slot.name)
        return slot.nbytes

    slots = make(300, policy=policy)
    for name in "abc":
        slots.allocate(name, 100)
    with slots.use("a") as slot:
        slot.copy_from(np.zeros(100, np.uint8))
        slot.view(write=False)
    slots.prefetch("b")
    slots.evict("c")
    slots.prefetch("c")
    slots.evict("c")
    assert slots.plan(100) == []
    assert slots.make_room(100) == []
    slots.allocate("d", 60)
    assert not asked
    slots.prefetch("c")  # no room for it
    assert set(asked) == {"a", "b", "d"}
    assert evictions(slots.budget)[-1] == ("d", "pressure")


def test_a_policy_that_raises_leaves_resident_slots_alone():
    def policy(slot):
        raise Oops(slot.name)

    slots = make(300, policy=policy)
    wanted = filled(slots, "a", 200)
    with slots.use("a", write=False) as slot:
        assert checksum(slot) == wanted
        assert slot.view(write=False).numpy().size == 200
    slots.evict("a")
    slots.prefetch("a")
    with pytest.raises(Oops):
        slots.allocate("b", 200)
    assert checksum(slots["a"]) == wanted


def test_a_refused_charge_names_who_goes_first_by_policy(caplog):
    fails = False

    def policy(slot):
        if fails:
            raise Oops
        return -slot.nbytes

    slots = make(300, policy=policy)
    slots.allocate("small", 50)
    slots.allocate("large", 200)
    for call in (lambda: slots.budget.charge(100), lambda: slots.budget.reserve(100)):
        with pytest.raises(bayplan.BudgetExceeded, match="evict 'large' ") as info:
            call()
        assert info.value.requested == 100
    fails = True
    with caplog.at_level(logging.ERROR, "bayplan"), pytest.raises(bayplan.BudgetExceeded):
        slots.budget.charge(100)
    assert [r.message for r in caplog.records] == ["a policy raised"]


@pytest.mark.parametrize(
    "key",
    [None, object(), 1j, "mixed", np.arange(2)],
    ids=["None", "object", "complex", "mixed", "array"],
)
def test_keys_that_have_no_order(key):
    keys = iter([1, key] * 50)
    slots = make(300, policy=lambda slot: next(keys))
    slots.allocate("a", 100)
    slots.allocate("b", 100)
    with pytest.raises((TypeError, ValueError)):
        slots.allocate("c", 200)
    assert list(slots) == ["a", "b"]
    assert slots.loaded_count == 2
    slots.budget.check()
    assert slots.budget.used == 200


def test_a_policy_may_call_back_in():
    """It goes by the ranks that are there."""
    depth = 0

    def policy(slot):
        nonlocal depth
        depth += 1
        assert depth < 1000
        slots.plan(10)
        slots.touch(slot.name)
        return -slot.nbytes

    slots = make(300, policy=policy)
    slots.allocate("a", 100)
    slots.allocate("b", 200)
    assert slots.plan(200) == ["b"]
    slots.allocate("c", 200)
    assert evictions(slots.budget) == [("b", "pressure")]


def test_a_policy_whose_slot_goes_meanwhile_is_not_to_blame():
    def policy(slot):
        slots.deallocate(slot.name)
        return slot.nbytes  # raises StaleHandle

    slots = make(300, policy=policy)
    slots.allocate("a", 100)
    with pytest.raises(bayplan.BudgetExceeded):
        slots.plan(301)
    assert len(slots) == 0
    sound(slots)


def test_a_policy_may_deallocate_and_close():
    slots = make(300, policy=lambda slot: slots.deallocate("a", missing_ok=True))
    slots.allocate("a", 100)
    slots.allocate("b", 100)
    assert slots.plan(300) == ["b"]
    closing = make(300, policy=lambda slot: closing.close())
    closing.allocate("a", 100)
    with pytest.raises(bayplan.StaleHandle):
        closing.allocate("b", 250)
    assert closing.budget.used == 0


def failing_load(slot):
    slot.copy_from(pattern(99, slot.nbytes))
    raise Oops(slot.name)


def test_a_loader_that_raises_at_allocate(slots):
    with refused(slots, Oops, None, "new"):
        slots.allocate("new", 50, load=failing_load)
    assert "new" not in slots
    with refused(slots, Oops, None, "new"):
        slots.allocate("new", 50, load=failing_load, pin=True, keep=None)


def test_a_loader_that_raises_where_others_had_to_go(slots):
    sums = {name: checksum(slots[name]) for name in slots}
    with pytest.raises(Oops):
        slots.allocate("new", 400, load=failing_load)
    assert evictions(slots.budget)[1:] == [("a", "pressure"), ("b", "pressure")]
    assert {name: checksum(slots[name]) for name in slots} == sums


def test_a_loader_that_raises_in_a_replacement(slots):
    old = slots["a"]
    wanted = checksum(old)
    with pytest.raises(Oops):
        slots.allocate("a", 250, replace=True, load=failing_load)
    assert slots["a"] is old
    assert (old.nbytes, old.state, checksum(old)) == (200, "resident", wanted)
    assert list(slots) == ["a", "b", "gone"]
    old = slots["gone"]
    with refused(slots, Oops, None):
        slots.allocate("gone", 20, replace=True, load=failing_load)
    assert slots["gone"] is old
    assert old.state == "evicted"


def test_a_loader_that_raises_at_restore():
    slots = make(300)
    fails = False

    def load(slot):
        slot.copy_from(np.full(200, 5, np.uint8))
        if fails:
            raise Oops

    slots.allocate("a", 200, keep=None, load=load)
    slots.evict("a")
    fails = True
    for call in (
        lambda: slots.prefetch("a"),
        slots.use("a").__enter__,
        slots["a"].view,
        slots["a"].copy_to,
    ):
        with refused(slots, Oops, None):
            call()
        assert (slots["a"].state, slots["a"].host_uses) == ("evicted", 0)
    fails = False
    assert (slots["a"].copy_to() == 5).all()
    sound(slots)


def test_a_loader_that_calls_back_in(slots):
    def load(slot):
        for call in (
            lambda: slots.deallocate("new"),
            lambda: slots.evict("new"),
            slots.use("new").__enter__,
            lambda: slots.allocate("new", 10, replace=True),
            slot.view,
        ):
            with pytest.raises(bayplan.Busy):
                call()
        with pytest.raises(bayplan.SlotExists):
            slots.allocate("new", 10)
        slots.allocate("newer", 10, load=lambda s: s.copy_from(b"x" * 10))
        slots.deallocate("gone")
        slot.copy_from(b"y" * 20)

    slots.allocate("new", 20, load=load)
    assert slots["new"].copy_to().tobytes() == b"y" * 20
    assert list(slots) == ["a", "b", "new", "newer"]


def test_a_loader_that_closes_the_manager():
    slots = make(300)
    with pytest.raises(bayplan.StaleHandle):
        slots.allocate("a", 100, load=lambda slot: slots.close())
    assert (slots.budget.used, slots.backend.used) == (0, 0)
    slots.budget.check()


def test_loaders_that_are_no_exception_stop_it_too(slots):
    def load(slot):
        raise KeyboardInterrupt

    with refused(slots, KeyboardInterrupt, None):
        slots.allocate("new", 50, load=load)


# ---- call-backs of the log and of pressure -------------------------------------------


def test_a_subscriber_that_raises_breaks_nothing(slots, caplog):
    def callback(record):
        raise Oops(record.key)

    subscription = slots.budget.evictions.subscribe(callback=callback)
    with caplog.at_level(logging.ERROR, "bayplan"):
        slots.evict("a")
        slots.evict("b")
        slots.allocate("c", 600)
    assert len([r for r in caplog.records if r.levelno >= logging.ERROR]) == 1
    assert slots["c"].resident
    subscription.unsubscribe()


def test_a_subscriber_may_call_back_in(slots):
    seen = []

    def callback(record):
        seen.append(record.key)
        if record.key == "a":
            slots.allocate("b", 100, replace=True)
            slots.prefetch("a")

    subscription = slots.budget.evictions.subscribe(callback=callback)
    slots.evict("a")
    assert seen == ["a"]
    assert slots["a"].resident  # a call: what the callback caused is delivered
    assert seen == ["a", "b"]
    subscription.unsubscribe()


def test_a_subscriber_that_brings_back_what_went_does_not_go_on_for_ever():
    slots = make(100)
    slots.allocate("a", 60)
    slots.allocate("b", 60)
    seen = []

    def callback(record):
        seen.append(record.key)
        with slots.use(record.key):
            pass

    subscription = slots.budget.evictions.subscribe(callback=callback)
    slots.prefetch("a")
    assert seen == ["b"]
    assert subscription.pending == 1
    subscription.unsubscribe()
    sound(slots)


def test_a_loader_fills_by_copies_and_not_by_views():
    slots = make(100)
    said = []

    def load(slot):
        with pytest.raises(bayplan.Busy, match="copy_from") as info:
            slot.view()
        said.append(str(info.value))
        slot.copy_from(pattern(1, 50))

    slots.allocate("a", 50, load=load)
    assert said
    assert slots["a"].view(write=False).numpy().tobytes() == pattern(1, 50).tobytes()


def test_edges_that_call_back_in_or_raise(slots, caplog):
    def callback(edge):
        if edge.rising:
            slots.deallocate("b", missing_ok=True)
        raise Oops

    watch = slots.budget.subscribe(bayplan.MemoryPressure.CRITICAL, callback)
    with caplog.at_level(logging.ERROR, "bayplan"):
        slots.allocate("c", 90)
    assert "b" not in slots
    assert slots["c"].resident
    watch.unsubscribe()


def test_a_callback_of_a_failed_call_does_not_hide_its_error(slots):
    """Nor does it lose what it was told."""
    seen = []
    subscription = slots.budget.evictions.subscribe(callback=lambda r: seen.append(r.key))
    failing = bayplan.SlotManager(slots.budget, backend=bayplan.SimBackend(capacity=10))
    with pytest.raises(bayplan.BudgetExceeded) as info:
        failing.allocate("c", 200)
    assert info.value.code == "BAY-E004"
    assert tuple(seen) == info.value.evicted
    subscription.unsubscribe()
    failing.close()


def test_collections_in_the_middle(slots):
    """Loaders and policies that collect garbage with managers in it."""

    def load(slot):
        doomed = make(100)
        doomed.allocate("x", 10, load=lambda s, keep=[doomed]: None)
        del doomed
        gc.collect()

    slots.allocate("new", 50, load=load)
    assert slots["new"].resident
