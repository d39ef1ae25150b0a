"""Who goes first: the policies, among them functions of the user's."""

from __future__ import annotations

import pytest
from slots_support import evictions, make, sound

import bayplan


@pytest.mark.parametrize(
    ("policy", "order"),
    [
        ("lru", ["c", "a", "b"]),
        ("mru", ["b", "a", "c"]),
        ("big_first", ["b", "c", "a"]),
        (lambda slot: slot.nbytes, ["a", "c", "b"]),
        (lambda slot: slot.name, ["a", "b", "c"]),
        (lambda slot: 0, ["c", "a", "b"]),
        (lambda slot: slot.last_use, ["c", "a", "b"]),
    ],
    ids=["lru", "mru", "big_first", "small_first", "by_name", "all_equal", "by_age"],
)
def test_policies(policy, order):
    slots = make(1000, policy=policy)
    for name, nbytes in (("a", 200), ("b", 500), ("c", 300)):
        slots.allocate(name, nbytes)
    slots.touch("a")
    slots.touch("b")
    assert slots.plan(1000) == order
    assert slots.lru_candidate() == order[0]
    slots.allocate("d", 1)
    assert evictions(slots.budget) == [(order[0], "pressure")]


def test_a_policy_is_asked_again_before_every_choice():
    wish = {"a": 1, "b": 2, "c": 3}
    asked = []

    def policy(slot):
        asked.append(slot.name)
        return wish[slot.name]

    slots = make(300, policy=policy)
    for name in wish:
        slots.allocate(name, 100)
    assert slots.policy is policy
    assert slots.plan(100) == ["a"]
    wish.update(a=9)
    asked.clear()
    assert slots.plan(200) == ["b", "c"]
    assert asked == ["a", "b", "c"]
    slots.evict("b")
    asked.clear()
    assert slots.plan(200) == ["c"]
    assert asked == ["a", "c"]


def by_size(**budget):
    """Slots of 100, 300 and 200 bytes; the smallest goes first."""
    slots = bayplan.SlotManager(
        bayplan.Budget(1000, **budget), backend=bayplan.SimBackend(), policy=lambda s: s.nbytes
    )
    for name, nbytes in (("a", 100), ("b", 300), ("c", 200)):
        slots.allocate(name, nbytes)
    return slots


def test_a_budget_goes_by_the_policies_too():
    slots = by_size()
    assert slots.budget.make_room(550) == 300
    assert [n for n in slots if slots[n].resident] == ["b"]
    slots = by_size()
    slots.budget.set_limit(520)
    slots.budget.trim()
    assert evictions(slots.budget) == [("a", "limit")]
    slots.allocate("d", 20)
    assert [n for n in slots if slots[n].resident] == ["b", "c", "d"]
    sound(slots)


def test_reclaiming_at_a_mark_goes_by_the_policies_too():
    slots = by_size(evict_at=(90, 50))
    slots.allocate("d", 350)
    assert evictions(slots.budget) == [("a", "pressure"), ("c", "pressure"), ("b", "pressure")]
    assert [n for n in slots if slots[n].resident] == ["d"]
    slots.prefetch("a")
    slots.budget.charge(450, "other")
    assert evictions(slots.budget)[3:] == [("a", "pressure"), ("d", "pressure")]
    sound(slots)


def test_policies_of_several_managers_meet_in_one_budget():
    budget = bayplan.Budget(400)
    sim = bayplan.SimBackend()
    by_size = bayplan.SlotManager(budget, backend=sim, policy=lambda s: s.nbytes)
    plain = bayplan.SlotManager(budget, backend=sim)
    by_size.allocate("large", 150)
    by_size.allocate("small", 50)
    plain.allocate("old", 100)
    by_size.touch("large")
    by_size.touch("small")
    plain.allocate("new", 200)
    # Heads: "small" of one manager, "old" of the other; the older of them goes.
    assert evictions(budget) == [("old", "pressure")]
    assert by_size.plan(100) == ["small", "large"]
    sound(by_size, plain)
