"""The reference model itself, on cases worked out by hand."""

from __future__ import annotations

import device_model as model
import pytest


@pytest.fixture
def tree():
    return model.Tree()


def figures(budget):
    return budget.used, budget.reserved, budget.retiring, budget.available


def keys(tree):
    return [(record.key, record.cause) for record in tree.log]


def refuses(code, call, *args, **said):
    with pytest.raises(model.Refused) as info:
        call(*args, **said)
    assert info.value.codes == {code}
    return info.value.report


# ---- the ledger ---------------------------------------------------------------


def test_a_child_rounds_and_its_parents_carry_that(tree):
    root = tree.budget(1000)
    leaf = tree.budget(500, parent=root, granularity=64)
    assert tree.charge(leaf, 65, "weights") == 128
    assert figures(leaf) == (128, 0, 0, 372)
    assert figures(root) == (128, 0, 0, 872)
    assert tree.refund(leaf, 65, "weights") == 128
    assert figures(root) == (0, 0, 0, 1000)
    assert (root.peak, root.n_charges) == (128, 1)


def test_the_nearest_budget_without_room_refuses(tree):
    root = tree.budget(100, name="all")
    leaf = tree.budget(500, parent=root, name="leaf")
    assert refuses(model.BUDGET_EXCEEDED, tree.charge, leaf, 501).budget == "leaf"
    report = refuses(model.BUDGET_EXCEEDED, tree.charge, leaf, 101)
    assert (report.budget, report.requested, report.available) == ("all", 101, 100)
    assert (leaf.n_refusals, root.n_refusals) == (1, 1)
    assert tree.charge(leaf, 100) == 100


@pytest.mark.parametrize("n", [0, -1, 2**63, 2**63 - 1])
def test_sizes_that_cannot_be(tree, n):
    refuses(model.BAD_SIZE, tree.charge, tree.budget(100, granularity=2), n)


def test_a_reservation_goes_back(tree):
    budget = tree.budget(100)
    promised = tree.reserve(budget, 60)
    assert tree.take(promised, 20, "a") == 20
    assert figures(budget) == (20, 40, 0, 40)
    refuses(model.BUDGET_EXCEEDED, tree.take, promised, 41)
    tree.close_reservation(promised)
    assert figures(budget) == (20, 0, 0, 80)
    refuses(model.STALE, tree.take, promised, 1)


@pytest.mark.parametrize(
    ("in_use", "limit", "level"),
    [(0, 0, 3), (0, 1, 0), (499, 1000, 0), (500, 1000, 1), (799, 1000, 1), (800, 1000, 2),
     (949, 1000, 2), (950, 1000, 3), (2**62, 2**63 - 1, 1), (2**62 - 1, 2**63 - 1, 0)],
)  # fmt: skip
def test_pressure_by_hand(in_use, limit, level):
    assert model.pressure_of(in_use, limit, (50, 80, 95)) == level


def test_edges_fall_later_than_they_rise(tree):
    budget = tree.budget(100)
    watch = tree.watch(budget, 2)
    for n in (79, 1):
        tree.charge(budget, n)
    tree.refund(budget, 5)  # 75: not below 75
    assert watch.edges == [True]
    tree.refund(budget, 1)
    assert watch.edges == [True, False]


# ---- slots ------------------------------------------------------------------


def three(tree, limit=300, **said):
    budget = tree.budget(limit)
    manager = tree.manager(budget, model.Sim(), **said)
    for name, n in (("a", 100), ("b", 110), ("c", 90)):
        tree.allocate(manager, name, n)
    return budget, manager


@pytest.mark.parametrize(
    ("policy", "victims"),
    [
        ("lru", ["a"]),
        ("mru", ["c", "b"]),
        ("big_first", ["b"]),
        (lambda slot: -ord(slot.name), ["c", "b"]),
    ],
)
def test_policies_by_hand(tree, policy, victims):
    budget, manager = three(tree, policy=policy)
    assert tree.plan(manager, 100) == victims
    tree.allocate(manager, "d", 100)
    assert keys(tree) == [(name, "pressure") for name in victims]
    assert budget.used <= 300


def test_priority_goes_before_age(tree):
    budget = tree.budget(30)
    manager = tree.manager(budget, model.Sim())
    for name, priority in (("a", 1), ("b", 0), ("c", 0)):
        tree.allocate(manager, name, 10, priority=priority)
    tree.touch(manager, "b")
    assert tree.plan(manager, 30) == ["c", "b", "a"]


def test_managers_of_one_tree_compete_by_age(tree):
    root = tree.budget(300)
    left, right = (tree.budget(300, parent=root) for _ in "lr")
    one, two = tree.manager(left, model.Sim()), tree.manager(right, model.Sim())
    tree.allocate(one, "old", 100)
    tree.allocate(two, "mid", 100)
    tree.allocate(one, "new", 100)
    tree.allocate(two, "next", 150)
    assert keys(tree) == [("old", "pressure"), ("mid", "pressure")]
    assert tree.plan(two, 150) == ["next"]


def test_contents_follow_the_name(tree):
    _, manager = three(tree)
    slot = manager.by_name["a"]
    tree.copy_from(slot, b"x" * 100)
    first = slot.generation
    tree.evict(manager, "a")
    assert (slot.state, slot.has_copy) == ("evicted", True)
    assert tree.copy_to(slot) == b"x" * 100
    tree.use_end(tree.use_begin(manager, "a"))
    assert slot.state == "resident"
    assert slot.generation > first
    assert tree.copy_to(slot) == b"x" * 100


def test_what_keeps_nothing_is_lost(tree):
    manager = tree.manager(tree.budget(10), model.Sim())
    tree.allocate(manager, "a", 10, keep=None)
    tree.evict(manager, "a")
    refuses(model.CONTENTS_LOST, tree.use_begin, manager, "a")


def test_refusals_name_victims(tree):
    budget, manager = three(tree)
    held = tree.use_begin(manager, "b")
    report = refuses(model.BUDGET_EXCEEDED, tree.allocate, manager, "d", 200)
    assert (report.evictable, report.loaded, report.total) == (190, 3, 3)
    assert report.text.endswith(
        "Suggestion: evict 'a' and 'c' (190 bytes, least recently used) and raise the budget by "
        "10 bytes"
    )
    tree.use_end(held)
    assert figures(budget) == (300, 0, 0, 0)
    assert not tree.log


def test_a_replaced_slot_makes_room_for_the_new_one(tree):
    _, manager = three(tree)
    tree.allocate(manager, "b", 150, replace=True)
    assert keys(tree) == [("b", "replaced"), ("a", "pressure")]
    assert sorted(manager.by_name) == ["a", "b", "c"]


def test_events_hold_bytes_back(tree):
    budget = tree.budget(100)
    sim = model.Sim(manual=True)
    manager = tree.manager(budget, sim)
    tree.allocate(manager, "a", 60)
    tree.use_end(tree.use_begin(manager, "a"), "stream")
    report = refuses(model.BUDGET_EXCEEDED, tree.allocate, manager, "b", 60)
    assert (report.in_flight, report.evictable) == (60, 0)
    tree.evict(manager, "a")
    assert figures(budget) == (0, 0, 60, 40)
    assert manager.by_name["a"].state == "evicting"
    sim.complete()
    tree.settle()
    assert figures(budget) == (0, 0, 0, 100)


def test_a_small_device_evicts_once(tree):
    budget = tree.budget(1000)
    manager = tree.manager(budget, model.Sim(capacity=100))
    tree.allocate(manager, "a", 60)
    tree.allocate(manager, "b", 60)
    assert keys(tree) == [("a", "oom")]
    refuses(model.DEVICE_MEMORY, tree.allocate, manager, "c", 101)
    assert figures(budget) == (0, 0, 0, 1000)


def test_evict_at_and_a_lowered_limit(tree):
    budget = tree.budget(100, evict_at=(90, 50))
    manager = tree.manager(budget, model.Sim())
    for name in "abcd":
        tree.allocate(manager, name, 25)
        tree.settle()
    assert keys(tree) == [("a", "pressure"), ("b", "pressure")]
    assert tree.set_limit(budget, 30)
    assert tree.trim(budget) == 25
    assert keys(tree)[2:] == [("c", "limit")]


def test_records_are_dense_and_generations_single(tree):
    _, manager = three(tree)
    tree.evict(manager, "a")
    tree.publish("mesh", "asset", 10, "sweep")
    tree.deallocate(manager, "b")
    tree.deallocate(manager, "a")
    tree.close(manager)
    assert keys(tree) == [
        ("a", "explicit"), ("mesh", "sweep"), ("b", "explicit"), ("c", "closed"),
    ]  # fmt: skip
    assert model.dense(tree.log)
    assert not model.dense([*tree.log, tree.log[0]])


@pytest.mark.parametrize(
    ("n", "text"),
    [(1023, ""), (1024, " (1.00 KiB)"), (1536, " (1.50 KiB)"), (8 << 30, " (8.00 GiB)"),
     ((1 << 20) - 1, " (1024.00 KiB)")],
)  # fmt: skip
def test_units_by_hand(n, text):
    assert model.in_units(n) == text
