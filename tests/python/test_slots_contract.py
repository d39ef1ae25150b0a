"""What SlotManager and Slot promise, on the simulator."""

from __future__ import annotations

import threading
import time

import pytest
from slots_support import checksum, evictions, filled, make, refused, sound

import bayplan

# ---- allocate ------------------------------------------------------------------


def test_a_slot_is_resident_and_charged():
    slots = make(1000)
    slot = slots.allocate("weights", 300, kind="model", priority=-3)
    assert isinstance(slot, bayplan.Slot)
    assert (slot.name, slot.kind, slot.nbytes, slot.charged) == ("weights", "model", 300, 300)
    assert (slot.state, slot.resident, slot.priority, slot.pinned) == ("resident", True, -3, False)
    assert (slot.host_uses, slot.host_bytes, slot.busy) == (0, 0, False)
    assert slot.manager is slots
    assert slots["weights"] is slot
    assert (slots.budget.used, slots.allocated, slots.available) == (300, 300, 700)
    assert slots.loaded_count == len(slots) == 1
    sound(slots)


@pytest.mark.parametrize(
    ("of_budget", "of_backend", "charged"),
    [(1, 1, 300), (256, 1, 512), (1, 512, 512), (64, 16, 320)],
)
def test_charges_are_rounded_to_the_larger_granularity(of_budget, of_backend, charged):
    budget = bayplan.Budget(4096, granularity=of_budget)
    slots = bayplan.SlotManager(budget, backend=bayplan.SimBackend(granularity=of_backend))
    slot = slots.allocate("a", 300)
    assert (slot.nbytes, slot.charged, budget.used) == (300, charged, charged)
    assert slots.deallocate("a") == charged
    sound(slots)


def test_names_come_in_order_of_allocation_and_generations_are_new():
    slots = make(100)
    for name in "abc":
        slots.allocate(name, 10)
    slots.allocate("a", 20, replace=True)
    assert list(slots) == ["b", "c", "a"]
    assert "a" in slots
    assert "d" not in slots
    assert 7 not in slots
    first = {name: slots[name].generation for name in slots}
    assert len(set(first.values())) == 3
    slots.evict("b")
    assert slots["b"].generation == first["b"]
    slots.prefetch("b")
    assert slots["b"].generation > max(first.values())


def test_exactly_the_limit_fits_and_one_byte_more_evicts_the_oldest():
    slots = make(1000)
    for i, name in enumerate("abcd"):
        filled(slots, name, 250, i)
    slots.touch("a")
    assert slots.available == 0
    assert evictions(slots.budget) == []
    slots.allocate("e", 1)
    assert evictions(slots.budget) == [("b", "pressure")]
    assert (slots["b"].state, slots.loaded_count, len(slots)) == ("evicted", 4, 5)
    sound(slots)


def test_equal_ages_go_in_order_of_insertion_and_priority_comes_first():
    slots = make(400)
    slots.allocate("kept", 100, priority=1)
    for name in "abc":
        slots.allocate(name, 100)
    assert slots.plan(100) == ["a"]
    assert slots.plan(300) == ["a", "b", "c"]
    assert slots.plan(301) == ["a", "b", "c", "kept"]
    slots.allocate("big", 301)
    assert slots.loaded_count == 1


def test_pinned_and_used_slots_never_go():
    slots = make(300)
    slots.allocate("pinned", 100, pin=True)
    slots.allocate("used", 100)
    slots.allocate("free", 100)
    with slots.use("used"), refused(slots, bayplan.BudgetExceeded, "BAY-E003") as info:
        slots.allocate("big", 101)
    assert (info.value.requested, info.value.available, info.value.limit) == (101, 0, 300)
    assert (info.value.evictable, info.value.pinned, info.value.used) == (100, 100, 300)
    assert (info.value.loaded, info.value.total, info.value.evicted) == (3, 3, ())
    with slots.use("used"):
        slots.allocate("small", 100)
    assert evictions(slots.budget) == [("free", "pressure")]
    assert slots.lru_candidate() in ("used", "small")
    sound(slots)


def test_on_shortage_raise_refuses_and_evicts_nothing():
    slots = make(300, on_shortage="raise")
    filled(slots, "a", 200, 1)
    with refused(slots, bayplan.BudgetExceeded, "BAY-E003", "101", "evict 'a'"):
        slots.allocate("b", 101)
    slots.allocate("b", 100)
    sound(slots)


def test_a_reservation_pays_for_a_slot():
    slots = make(300)
    slots.allocate("pinned", 200, pin=True)
    with slots.budget.reserve(100) as reservation:
        with pytest.raises(bayplan.BudgetExceeded):
            slots.allocate("a", 60)
        slots.allocate("a", 60, reservation=reservation)
        assert (reservation.left, slots.budget.reserved, slots.budget.used) == (40, 40, 260)
        sound(slots)
    assert (slots.budget.reserved, slots.available) == (0, 40)
    sound(slots)


def test_evicted_contents_come_back_byte_for_byte():
    slots = make(1000)
    sums = {str(i): filled(slots, str(i), 400, i, priority=i % 2) for i in range(7)}
    assert slots.loaded_count == 2
    for _ in range(3):
        for name, wanted in sums.items():
            with slots.use(name) as slot:
                assert checksum(slot) == wanted
        sound(slots)
    stats = slots.stats()
    assert stats.restores >= 12
    assert stats.moved_in_bytes == 400 * stats.restores
    assert stats.evictions["pressure"] == stats.restores + 7 - stats.loaded


def test_refusals_name_who_was_evicted_for_nothing():
    """Room was made, but the device had none: what went stays evicted, with its contents."""
    slots = make(300, fail="alloc:#4-")
    sums = {name: filled(slots, name, 100, i) for i, name in enumerate("abc")}
    with pytest.raises(bayplan.BudgetExceeded) as info:
        slots.allocate("d", 100)
    assert info.value.code == "BAY-E004"
    assert info.value.evicted
    assert set(info.value.evicted) == {n for n in "abc" if not slots[n].resident}
    assert list(slots) == ["a", "b", "c"]
    assert {n: checksum(slots[n]) for n in slots} == sums
    sound(slots)


# ---- the device may still use it -------------------------------------------------


def in_flight(limit=300):
    """Three slots of 100; the device still uses 'a', the least recently used."""
    slots = make(limit, events="manual")
    sums = {name: filled(slots, name, 100, i) for i, name in enumerate("abc")}
    stream = slots.backend.stream()
    with slots.use("a", stream, write=False):
        pass
    for name in "bc":
        slots.touch(name)
    return slots, stream, sums


def test_a_busy_slot_is_no_candidate_without_leave_to_wait():
    slots, _, sums = in_flight()
    assert slots["a"].busy
    slots.allocate("d", 100)
    assert evictions(slots.budget) == [("b", "pressure")]
    with slots.use("c"), slots.use("d"), pytest.raises(bayplan.BudgetExceeded) as info:
        slots.allocate("e", 100)
    assert info.value.in_flight == 100
    slots.backend.complete()
    assert not slots["a"].busy
    slots.allocate("e", 100)
    assert checksum(slots["a"]) == sums["a"]
    sound(slots)


def test_with_a_timeout_a_call_waits_for_the_device():
    slots, _, _ = in_flight(100 * 3)
    with slots.use("b"), slots.use("c"):
        began = time.monotonic()
        with pytest.raises(bayplan.BudgetExceeded) as info:
            slots.allocate("d", 100, timeout=0.1)
        assert 0.09 < time.monotonic() - began < 5
        assert info.value.in_flight == 100
        timer = threading.Timer(0.05, slots.backend.complete)
        timer.start()
        slot = slots.allocate("d", 100, timeout=30)
        timer.join()
    assert slot.resident
    sound(slots)


def test_a_slot_on_its_way_is_waited_for():
    slots, _, sums = in_flight()
    slots.evict("a")
    assert (slots["a"].state, slots.budget.retiring, slots.budget.used) == ("evicting", 100, 200)
    for call in (lambda: slots.use("a").__enter__(), lambda: slots.prefetch("a")):
        with pytest.raises(TimeoutError, match="'a'"):
            call()
    with pytest.raises(TimeoutError, match="'a'"), slots.use("a", timeout=0.05):
        pass
    for call in (slots.evict, slots.deallocate):
        with pytest.raises(bayplan.Busy, match="'a'"):
            call("a")
    timer = threading.Timer(0.05, slots.backend.complete)
    timer.start()
    with slots.use("a", timeout=30) as slot:
        assert checksum(slot) == sums["a"]
    timer.join()
    assert evictions(slots.budget) == [("a", "explicit")]
    sound(slots)


def test_deallocated_bytes_retire_until_the_device_is_done():
    slots, _, _ = in_flight()
    assert slots.deallocate("a") == 100
    assert "a" not in slots
    assert (slots.budget.used, slots.budget.retiring, slots.stats().retiring) == (200, 100, 100)
    assert slots.available == 0
    assert slots.backend.complete() == 1
    assert (slots.budget.retiring, slots.available) == (0, 100)
    sound(slots)


def test_a_use_without_a_stream_is_synchronised_before_its_bytes_move():
    slots = make(300, events="manual")
    wanted = filled(slots, "a", 100)
    assert slots.backend.actions("sync") == 0
    slots.evict("a")
    assert slots.backend.actions("sync") == 0  # copies are the host's doing, which is over
    with slots.use("a"):
        pass
    slots.evict("a")
    assert slots.backend.actions("sync") == 1
    assert checksum(slots["a"]) == wanted


# ---- deallocate, touch, use, prefetch, evict ---------------------------------------


def test_deallocate():
    slots = make(300)
    slot = slots.allocate("a", 100)
    slots.allocate("b", 100)
    slots.evict("b")
    assert slots.deallocate("a") == 100
    assert slots.deallocate("b") == 0
    assert slots.deallocate("a", missing_ok=True) == 0
    assert evictions(slots.budget) == [("b", "explicit"), ("a", "explicit")]
    assert len(slots) == slots.budget.used == slots.backend.used == 0
    assert slot.name == "a"
    with pytest.raises(bayplan.StaleHandle):
        _ = slot.state
    assert slots.allocate("a", 50) is not slot
    assert repr(slot) == "<Slot 'a': 100 bytes, gone>"


def test_a_pinned_slot_may_be_deallocated():
    slots = make(300)
    slots.allocate("a", 100, pin=True)
    assert slots.deallocate("a") == 100


def test_touch_makes_the_youngest():
    slots = make(300)
    for name in "abc":
        slots.allocate(name, 100)
    assert slots.touch("a") is None
    assert slots["a"].last_use > slots["c"].last_use
    assert slots.lru_candidate() == "b"
    slots.evict("b")
    slots.touch("b")
    assert slots["b"].state == "evicted"


def test_use_counts_and_gives_the_slot():
    slots = make(300)
    slots.allocate("a", 100)
    use = slots.use("a")
    assert use.slot is slots["a"]
    assert slots["a"].host_uses == 0
    with use as slot, slots.use("a") as again:
        assert slot is again is slots["a"]
        assert (slot.host_uses, slots.stats().in_use) == (2, 1)
        for refusal in (lambda: slots.evict("a"), lambda: slots.deallocate("a")):
            with refused(slots, bayplan.Busy, "BAY-E203", "'a'"):
                refusal()
        with refused(slots, bayplan.Busy, "BAY-E203", "'a'"):
            slots.allocate("a", 50, replace=True)
    assert slots["a"].host_uses == 0
    with use:  # a use may be used again
        assert slots["a"].host_uses == 1
    slots.evict("a")


def test_a_use_that_is_dropped_ends():
    slots = make(300)
    slots.allocate("a", 100)
    use = slots.use("a")
    use.__enter__()
    assert slots["a"].host_uses == 1
    del use
    assert slots["a"].host_uses == 0
    slots.evict("a")
    sound(slots)


def test_a_use_survives_what_its_block_raises():
    slots = make(300)
    slots.allocate("a", 100)
    with pytest.raises(KeyError, match="from the block"), slots.use("a"):
        raise KeyError("from the block")
    assert slots["a"].host_uses == 0


def test_only_dirty_contents_are_copied():
    slots = make(300)
    wanted = filled(slots, "a", 100, 5)
    slots.evict("a")
    copies = slots.backend.actions("copy")
    with slots.use("a", write=False) as slot:
        assert slot.host_bytes == 100
        assert not slot.dirty
    slots.evict("a")
    assert slots.backend.actions("copy") == copies + 1  # in, and not out again
    with slots.use("a") as slot:
        assert slot.dirty
    slots.evict("a")
    assert slots.backend.actions("copy") == copies + 3
    assert checksum(slots["a"]) == wanted
    assert slots.stats().moved_out_bytes == 200


def test_prefetch_restores_and_makes_room():
    slots = make(300)
    wanted = filled(slots, "a", 200, 1)
    filled(slots, "b", 200, 2)
    assert [slots[n].state for n in "ab"] == ["evicted", "resident"]
    assert slots.prefetch("a") is None
    assert [slots[n].state for n in "ab"] == ["resident", "evicted"]
    assert (slots["a"].host_uses, checksum(slots["a"])) == (0, wanted)
    slots.prefetch("b", slots.backend.stream())
    sound(slots)


def test_evict_keeps_the_slot_and_its_contents():
    slots = make(300)
    wanted = filled(slots, "a", 200)
    for _ in range(2):
        assert slots.evict("a") is None
    assert (len(slots), slots.loaded_count, slots.budget.used) == (1, 0, 0)
    assert (slots["a"].host_bytes, checksum(slots["a"])) == (200, wanted)
    assert slots["a"].state == "evicted"  # reading brought nothing back
    assert evictions(slots.budget) == [("a", "explicit")]


def test_contents_that_are_not_kept_are_lost():
    slots = make(300)
    filled(slots, "a", 200, keep=None)
    slots.evict("a")
    assert (slots["a"].host_bytes, slots.backend.actions("copy")) == (0, 1)
    with refused(slots, bayplan.StaleHandle, "BAY-E206", "'a'"), slots.use("a"):
        pass
    for read in (slots["a"].copy_to, slots["a"].view):
        with refused(slots, bayplan.StaleHandle, "BAY-E206", "'a'"):
            read()
    slots.allocate("a", 100, replace=True)
    sound(slots)


# ---- plan, make_room, figures ------------------------------------------------------


def test_plan_is_pure_and_knows_its_own_slots_alone():
    budget = bayplan.Budget(400)
    ours = bayplan.SlotManager(budget, backend=bayplan.SimBackend())
    others = bayplan.SlotManager(budget, backend=bayplan.SimBackend())
    others.allocate("oldest", 200)
    ours.allocate("a", 100)
    ours.allocate("b", 100)
    before = budget.dump()
    assert [len(ours.plan(n)) for n in (0, 1, 100, 101, 200)] == [0, 1, 1, 2, 2]
    assert ours.plan(200) == ["a", "b"]
    assert ours.plan(150) == ours.plan(150)
    with refused(ours, bayplan.BudgetExceeded, "BAY-E003", beside=(others,)):
        ours.plan(201)
    assert budget.dump() == before


def test_plans_of_many_names():
    slots = make(1000)
    for i in range(100):
        slots.allocate(str(i), 10)
    assert slots.plan(1000) == [str(i) for i in range(100)]
    assert slots.make_room(995) == [str(i) for i in range(100)]


def test_make_room_says_who_went():
    budget = bayplan.Budget(400)
    ours = bayplan.SlotManager(budget, backend=bayplan.SimBackend())
    others = bayplan.SlotManager(budget, backend=bayplan.SimBackend())
    others.allocate("a", 100)
    for name in "abc":
        ours.allocate(name, 100)
    assert ours.make_room(0) == []
    planned = ours.plan(150)
    assert ours.make_room(150) == planned == ["a", "b"]
    assert ours.make_room(200) == []
    assert others["a"].resident
    assert (budget.available, ours.loaded_count) == (200, 1)
    with refused(ours, bayplan.BudgetExceeded, "BAY-E003", beside=(others,)):
        ours.make_room(301)
    sound(ours, others)


def test_lru_candidate():
    slots = make(300)
    assert slots.lru_candidate() is None
    slots.allocate("pinned", 10, pin=True)
    assert slots.lru_candidate() is None
    slots.allocate("a", 10)
    slots.allocate("b", 10)
    assert slots.lru_candidate() == "a"
    with slots.use("a"):
        assert slots.lru_candidate() == "b"
    assert slots.lru_candidate() == "b"


def test_figures():
    slots = make(1000)
    filled(slots, "a", 300)
    slots.allocate("b", 300, pin=True)
    slots.allocate("c", 300)
    slots.evict("a")
    with slots.use("c"):
        stats = slots.stats()
    assert (stats.loaded, stats.total, stats.evicted, stats.pinned, stats.in_use) == (2, 3, 1, 1, 1)
    assert (stats.allocated, stats.retiring, stats.host_bytes) == (600, 0, 300)
    assert (stats.failed_frees, stats.restores) == (0, 0)
    assert (stats.moved_out_bytes, stats.moved_in_bytes) == (300, 0)
    assert stats.evictions == {
        "explicit": 1,
        "replaced": 0,
        "pressure": 0,
        "limit": 0,
        "oom": 0,
        "sweep": 0,
        "closed": 0,
    }
    assert slots.pressure is bayplan.MemoryPressure.MEDIUM
    assert slots.pressure == slots.budget.pressure
    assert (slots.available, slots.allocated, slots.loaded_count) == (400, 600, 2)
    assert isinstance(stats, bayplan.SlotStats)


def test_frees_that_fail_are_tried_again():
    slots = make(300, fail="free:#1-2")
    filled(slots, "a", 300)
    assert slots.deallocate("a") == 300
    assert slots.stats().failed_frees >= 1
    assert slots.budget.used == 0
    for _ in range(4):
        slots.budget.trim()
    assert (slots.budget.retiring, slots.available, slots.backend.used) == (0, 300, 0)
    sound(slots)


def test_records_reach_subscribers_with_kind_and_generation():
    slots = make(300)
    seen = slots.budget.evictions.subscribe(kinds=["model"])
    slots.allocate("a", 200, kind="model")
    slots.allocate("b", 100)
    generation = slots["a"].generation
    slots.allocate("c", 300)
    (record,) = seen.drain()
    assert record[:5] == ("a", "model", generation, 200, "pressure")
    assert seen.drain() == []


# ---- the end --------------------------------------------------------------------


def test_close_gives_everything_back():
    with make(300) as slots:
        slot = slots.allocate("a", 100)
        filled(slots, "b", 100)
        slots.evict("b")
    assert slots.closed
    slots.close()
    assert (slots.budget.used, slots.backend.used, len(slots), list(slots)) == (0, 0, 0, [])
    assert "a" not in slots
    assert evictions(slots.budget) == [("b", "explicit"), ("a", "closed")]
    for call in (
        lambda: slots.allocate("c", 1),
        lambda: slots.touch("a"),
        lambda: slots["a"],
        lambda: slots.stats(),
        lambda: slots.plan(1),
        lambda: slots.__enter__(),
        lambda: slot.state,
        lambda: slot.copy_to(),
        lambda: slot.copy_from(b"x"),
        lambda: slot.view(),
    ):
        with pytest.raises(bayplan.StaleHandle) as info:
            call()
        assert info.value.code == "BAY-E207"
    slots.budget.check()


def test_closing_waits_for_views_and_uses():
    slots = make(300)
    array = slots.allocate("a", 100).view().numpy()
    array[:] = 3
    use = slots.use("a")
    use.__enter__()
    slots.close()
    assert slots.closed
    assert slots.budget.used == 100
    array += 1  # the memory is still there
    assert (array == 4).all()
    del array
    assert slots.budget.used == 100
    use.__exit__(None, None, None)
    assert (slots.budget.used, slots.backend.used) == (0, 0)
    slots.budget.check()


def test_closing_waits_for_the_last_view():
    slots = make(300)
    array = slots.allocate("a", 100).view().numpy()
    slots.close()
    array[:] = 1
    del array
    assert (slots.budget.used, slots.backend.used) == (0, 0)


def test_a_device_that_fails_keeps_what_the_host_has():
    slots = make(300)
    wanted = filled(slots, "a", 100, 1)
    slots.evict("a")
    filled(slots, "b", 100, 2)
    slots.backend.fault()
    for call in (lambda: slots.allocate("c", 10), lambda: slots.prefetch("a")):
        with pytest.raises(bayplan.DeviceFault) as info:
            call()
        assert info.value.code == "BAY-E201"
    assert (checksum(slots["a"]), slots.budget.used) == (wanted, 0)
    slots.budget.check()
    slots.close()


# ---- as a mapping, and in words -----------------------------------------------------


def test_a_mapping_becomes_a_dict():
    slots = make(300)
    made = {name: slots.allocate(name, 50) for name in "abc"}
    assert dict(slots) == made
    assert list(slots.keys()) == list(made)
    assert list(slots.values()) == list(made.values())
    assert list(slots.items()) == list(made.items())
    assert "a" in slots.keys()
    assert len(slots.items()) == 3


def test_sizes_in_words():
    slots = make(10**6, capacity="1 MB")
    assert slots.allocate("a", "256 KiB").nbytes == 2**18
    assert slots.plan("0.5 MB") == []
    assert slots.make_room("0.9 MB") == ["a"]


def test_a_kind_cannot_be_empty():
    slots = make(300)
    with pytest.raises(bayplan.BufferValueError, match="kind cannot be empty"):
        slots.allocate("a", 10, kind="")
    assert len(slots) == 0


def test_host_memory_that_is_not_there_is_named():
    slots = make(100, fail="host:#1")
    slots.allocate("a", 60)
    with pytest.raises(MemoryError, match="host") as info:
        slots.allocate("b", 60)
    assert not isinstance(info.value, bayplan.BudgetExceeded)
    sound(slots)
    with pytest.raises(MemoryError, match=str(2**62)):
        make(2**63 - 1).allocate("a", 2**62)


def test_names_cannot_break_a_report():
    budget = bayplan.Budget(100, name="b\x07")
    slots = bayplan.SlotManager(budget, backend="sim")
    slots.allocate("a\nb\x1b[31m\x9b", 60)
    slots.allocate("größe", 10)
    with pytest.raises(bayplan.BudgetExceeded) as info:
        budget.charge(95)
    said = str(info.value)
    assert len(said.splitlines()) == 7
    assert r"evict 'a\x0ab\x1b[31m\x9b' and 'größe' (70 bytes" in said
    assert r"Budget 'b\x07': 100 bytes" in said
