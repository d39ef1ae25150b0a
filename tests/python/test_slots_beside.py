"""Two threads that want the same slot, and what a mark takes for room."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import bayplan


@pytest.fixture
def slots() -> Iterator[bayplan.SlotManager]:
    with bayplan.SlotManager(bayplan.Budget(1000), backend="sim") as manager:
        yield manager
        manager.budget.check()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


def filled(value: int) -> np.ndarray:
    return np.full(8, value, np.uint8)


class Slow:
    """A `load=` function that stops half-way until it is told to go on."""

    def __init__(self) -> None:
        self.calls = 0
        self.is_half, self.may_end = threading.Event(), threading.Event()

    def __call__(self, slot: bayplan.Slot) -> None:
        self.calls += 1
        slot.copy_from(filled(self.calls)[:4])
        self.is_half.set()
        assert self.may_end.wait(30)
        slot.copy_from(filled(self.calls))


def evicted_with_loader(slots: bayplan.SlotManager) -> Slow:
    load = Slow()
    load.may_end.set()
    slots.allocate("a", 8, keep=None, load=load)
    slots.evict("a")
    load.is_half.clear()
    load.may_end.clear()
    return load


def contents(slots: bayplan.SlotManager, timeout: float | None) -> list[int]:
    with slots.use("a", write=False, timeout=timeout) as slot:
        return slot.copy_to().tolist()


def test_the_second_waits_for_the_loader_of_the_first(
    slots: bayplan.SlotManager, pool: ThreadPoolExecutor
) -> None:
    load = evicted_with_loader(slots)
    first = pool.submit(contents, slots, None)
    assert load.is_half.wait(30)
    with pytest.raises(bayplan.Busy, match="'a' is being loaded"):
        contents(slots, 0)
    second = pool.submit(contents, slots, None)
    time.sleep(0.05)
    assert not second.done()
    load.may_end.set()
    assert first.result(30) == second.result(30) == [2] * 8
    assert load.calls == 2


@pytest.mark.parametrize(
    "look",
    [
        lambda slot: slot.copy_to(),
        lambda slot: slot.copy_from(filled(9)),
        lambda slot: slot.view(),
    ],
)
def test_nobody_else_sees_what_is_being_filled(
    slots: bayplan.SlotManager,
    pool: ThreadPoolExecutor,
    look: Callable[[bayplan.Slot], object],
) -> None:
    load = evicted_with_loader(slots)
    first = pool.submit(contents, slots, None)
    assert load.is_half.wait(30)
    with pytest.raises(bayplan.Busy, match="'a' is being loaded"):
        look(slots["a"])
    load.may_end.set()
    assert first.result(30) == [2] * 8


def test_a_loader_cannot_wait_for_itself(slots: bayplan.SlotManager) -> None:
    def load(slot: bayplan.Slot) -> None:
        with slots.use("a", timeout=None):
            pass

    with pytest.raises(bayplan.Busy, match="'a' is being loaded"):
        slots.allocate("a", 8, load=load)
    assert "a" not in slots


def test_a_call_that_made_a_slot_returns_it(slots: bayplan.SlotManager) -> None:
    """Though another thread may have replaced it before the call returned."""
    failures: list[Exception] = []
    named: set[str | None] = set()
    old = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def replace() -> None:
        for _ in range(10_000):
            try:
                assert slots.allocate("x", 900, replace=True).name == "x"
            except bayplan.Busy as error:  # the other one is at it
                named.add(error.buffer)
            except Exception as error:
                failures.append(error)

    threads = [threading.Thread(target=replace) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    sys.setswitchinterval(old)
    assert named <= {"x"}
    assert not failures, (len(failures), failures[0])
    assert (len(slots), slots["x"].resident, slots.budget.used) == (1, True, 900)


def test_all_bytes_at_once_need_no_old_ones(slots: bayplan.SlotManager) -> None:
    slot = slots.allocate("a", 8, keep=None)
    slot.copy_from(filled(1))
    slots.evict("a")
    with pytest.raises(bayplan.StaleHandle, match="'a' was evicted without a copy"):
        slot.copy_from(filled(2)[:4])
    slot.copy_from(filled(3))
    assert slot.resident
    assert slot.copy_to().tolist() == [3] * 8


@pytest.mark.parametrize("policy", ["lru", "mru", "big_first", lambda slot: slot.generation])
def test_a_mark_spares_what_reached_it(policy: object) -> None:
    budget = bayplan.Budget(1000, evict_at=(95, 90))
    slots = bayplan.SlotManager(budget, backend="sim", policy=policy)
    assert slots.allocate("big", 960).resident
    assert slots.allocate("big", 970, replace=True).resident
    slots.allocate("big", 500, replace=True)
    assert slots.allocate("late", 460).resident
    assert not slots["big"].resident
    slots.deallocate("late")
    slots.allocate("small", 460)
    slots.prefetch("big")
    assert slots["big"].resident
    assert not slots["small"].resident
    budget.check()
