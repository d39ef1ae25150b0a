"""Any thread may call anything of a budget tree."""

from __future__ import annotations

import contextlib
import gc
import json
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

import bayplan

SPARES = 4


@pytest.fixture(autouse=True)
def switch_often() -> Iterator[None]:
    """Let threads change places as often as the interpreter can."""
    old = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(old)


def run_together(*works: Callable[[], None]) -> None:
    """Run all at once; the first exception of any of them is raised."""
    failures: list[BaseException] = []
    barrier = threading.Barrier(len(works))

    def guarded(work: Callable[[], None]) -> None:
        try:
            barrier.wait(30)
            work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive(), "deadlock"
    if failures:
        raise failures[0]


class Tree:
    """Two leaves under one root, three managers on three devices."""

    def __init__(self) -> None:
        self.root = bayplan.Budget(6000, name="root")
        self.left = bayplan.Budget(4000, parent=self.root, evict_at=(95, 60))
        self.right = bayplan.Budget(4000, parent=self.root, granularity=64)
        self.budgets = [self.root, self.left, self.right]
        self.sims = [
            bayplan.SimBackend(),
            bayplan.SimBackend(events="late", polls=3),
            bayplan.SimBackend(capacity=2500, events="late", polls=2),
        ]
        self.streams = [[sim.stream() for _ in range(2)] for sim in self.sims]
        policies = ["lru", "mru", lambda slot: slot.nbytes % 7]
        self.managers = [
            bayplan.SlotManager(budget, backend=sim, policy=policy)
            for budget, sim, policy in zip(
                [self.left, self.right, self.right], self.sims, policies, strict=True
            )
        ]
        self.records: list[bayplan.Evicted] = []
        self.subscription = self.root.evictions.subscribe()


class Worker:
    """One thread's calls: slots that all share, and one of its own whose bytes it knows."""

    def __init__(self, tree: Tree, seed: int) -> None:
        self.tree = tree
        self.rng = random.Random(seed)
        self.place = seed % len(tree.managers)
        self.manager = tree.managers[self.place]
        self.name = f"own{seed}"
        self.data = np.full(200 + seed, seed + 1, np.uint8)
        self.is_written = False
        self.codes: set[str] = set()

    def run(self, n_steps: int) -> None:
        steps = [
            self.keep_own, self.read_own, self.shared_slot, self.ledger, self.promise, self.room,
            self.look, self.use_shared,
        ]  # fmt: skip
        for _ in range(n_steps):
            try:
                self.rng.choice(steps)()
            except bayplan.BayplanError as error:
                self.codes.add(error.code)
            except TimeoutError:
                self.codes.add("timeout")

    def keep_own(self) -> None:
        if self.name not in self.manager:
            self.manager.allocate(self.name, len(self.data), timeout=0.02)
        self.manager[self.name].copy_from(self.data)
        self.is_written = True

    def read_own(self) -> None:
        if self.name in self.manager:
            with self.manager.use(self.name, self.stream(), write=False, timeout=0.02) as slot:
                got = slot.copy_to()
            assert not self.is_written or np.array_equal(got, self.data)

    def stream(self) -> bayplan.SimStream | None:
        return self.rng.choice([None, *self.tree.streams[self.place]])

    def shared(self) -> str:
        return f"shared{self.rng.randrange(SPARES)}"

    def shared_slot(self) -> None:
        rng, name = self.rng, self.shared()
        call = rng.choice(
            [
                lambda: self.manager.allocate(
                    name, rng.randrange(1, 900), replace=rng.random() < 0.5, timeout=0.01
                ),
                lambda: self.manager.allocate(name, 300, load=lambda slot: slot.state),
                lambda: self.manager.deallocate(name, missing_ok=True),
                lambda: self.manager.evict(name),
                lambda: self.manager.touch(name),
                lambda: self.manager.prefetch(name, self.stream()),
            ]
        )
        call()

    def use_shared(self) -> None:
        with self.manager.use(self.shared(), self.stream(), timeout=0.01) as slot:
            time.sleep(0)
            assert slot.host_uses >= 1
            assert slot.resident

    def ledger(self) -> None:
        budget = self.rng.choice(self.tree.budgets)
        n = budget.charge(self.rng.randrange(1, 300), self.name)
        time.sleep(0)
        assert budget.refund(n, self.name) == n

    def promise(self) -> None:
        with self.rng.choice(self.tree.budgets).reserve(self.rng.randrange(1, 300)) as promised:
            n = promised.take(1, self.name)
            promised.budget.refund(n, self.name)

    def room(self) -> None:
        budget = self.rng.choice(self.tree.budgets)
        call = self.rng.choice(
            [
                lambda: budget.make_room(self.rng.randrange(1000), timeout=0.01),
                lambda: self.manager.make_room(self.rng.randrange(1000)),
                budget.trim,
                lambda: budget.set_limit(self.rng.choice([3000, 6000])),
            ]
        )
        call()

    def look(self) -> None:
        budget = self.rng.choice(self.tree.budgets)
        stats = budget.stats()
        in_use = stats.used + stats.reserved + stats.retiring
        assert stats.available == max(0, stats.limit - in_use)
        assert stats.over == max(0, in_use - stats.limit)
        assert stats.peak >= in_use
        self.manager.plan(100)
        json.loads(budget.dump())
        budget.check()
        self.tree.records += self.tree.subscription.drain()


def settle(tree: Tree) -> None:
    """Whatever was dropped is gone, and no event is held back."""
    gc.collect()
    for sim in tree.sims:
        sim.complete()
    tree.root.check()


def test_eight_threads_on_one_tree() -> None:
    tree = Tree()
    workers = [Worker(tree, seed) for seed in range(8)]
    run_together(*(lambda w=worker: w.run(1500) for worker in workers))
    settle(tree)
    codes = set().union(*(worker.codes for worker in workers))
    allowed = {"BAY-E003", "BAY-E004", "BAY-E203", "BAY-E204", "BAY-E205", "BAY-E130"}
    assert codes <= {*allowed, "BAY-E206", "BAY-E208", "timeout"}, codes
    for budget in tree.budgets:
        assert budget.tags() == {}
        assert budget.reserved == 0
    held = {m: sum(m[name].charged for name in m if m[name].resident) for m in tree.managers}
    assert tree.left.used == held[tree.managers[0]]
    assert tree.right.used == held[tree.managers[1]] + held[tree.managers[2]]
    assert tree.root.used == tree.left.used + tree.right.used
    for manager in tree.managers:
        manager.close()
    tree.root.check()
    assert (tree.root.used, tree.root.reserved, tree.root.retiring) == (0, 0, 0)
    assert [sim.used for sim in tree.sims] == [0, 0, 0]
    check_log(tree)


def check_log(tree: Tree) -> None:
    """Every residency ended once, and every reader's record came once."""
    records = tree.records + tree.subscription.drain()
    assert tree.subscription.missed == 0
    assert sorted(record.seq for record in records) == list(range(len(records)))
    assert len({record.generation for record in records}) == len(records)
    assert tree.root.evictions.next == len(records)
    assert tree.root.stats().evictions == len(records)


def test_charges_of_eight_threads_add_up() -> None:
    budget = bayplan.Budget(8 * 64)
    leaf = bayplan.Budget(8 * 64, parent=budget)

    def work() -> None:
        for _ in range(2000):
            leaf.charge(64)
            leaf.refund(64)

    run_together(*[work] * 8)
    stats = leaf.stats()
    assert (stats.used, stats.charges, stats.refusals) == (0, 16000, 0)
    assert stats.peak <= 8 * 64
    assert budget.stats().charges == 16000


def test_a_waiter_gets_what_another_thread_lets_go() -> None:
    budget = bayplan.Budget(100)
    sim = bayplan.SimBackend(events="manual")
    manager = bayplan.SlotManager(budget, backend=sim)
    manager.allocate("a", 80)
    with manager.use("a", sim.stream()):
        pass
    with pytest.raises(bayplan.BudgetExceeded) as info:
        manager.allocate("b", 80)
    assert info.value.in_flight == 80

    def later() -> None:
        time.sleep(0.05)
        assert sim.complete() == 1

    def wait() -> None:
        assert manager.allocate("b", 80, timeout=30).resident

    run_together(wait, later)
    assert manager["a"].state == "evicted"
    assert budget.used == 80


def test_a_wait_that_is_too_short_says_so() -> None:
    budget = bayplan.Budget(100)
    sim = bayplan.SimBackend(events="manual")
    manager = bayplan.SlotManager(budget, backend=sim)
    manager.allocate("a", 80)
    with manager.use("a", sim.stream()):
        pass
    begin = time.monotonic()
    with pytest.raises(bayplan.BudgetExceeded) as info:
        manager.allocate("b", 80, timeout=0.1)
    assert 0.09 < time.monotonic() - begin < 5
    assert info.value.in_flight == 80
    sim.complete()
    budget.check()
    manager.allocate("b", 80)


def test_nobody_waits_for_a_host_use() -> None:
    budget = bayplan.Budget(100)
    manager = bayplan.SlotManager(budget, backend=bayplan.SimBackend())
    manager.allocate("a", 80)
    with manager.use("a"):
        begin = time.monotonic()
        with pytest.raises(bayplan.BudgetExceeded):
            manager.allocate("b", 80, timeout=30)
        assert time.monotonic() - begin < 5


def test_finalisers_of_other_threads_during_admission() -> None:
    """Uses, reservations and managers are dropped while others allocate."""
    budget = bayplan.Budget(10_000)
    sim = bayplan.SimBackend()
    manager = bayplan.SlotManager(budget, backend=sim)
    is_over = threading.Event()

    def drop() -> None:
        try:
            for i in range(150):
                if i % 10 == 0:
                    gc.collect()
                promised = budget.reserve(50)
                other = bayplan.SlotManager(budget, backend=sim)
                cycle = [promised, other]
                cycle.append(cycle)
                with contextlib.suppress(bayplan.BudgetExceeded):
                    use = other.use(other.allocate("x", 50).name)
                    use.__enter__()
                    cycle.append(use)
                    del use
                del promised, other, cycle
        finally:
            is_over.set()

    def admit() -> None:
        i = 0
        while not is_over.is_set():
            with contextlib.suppress(bayplan.BudgetExceeded):
                manager.allocate(f"a{i % 3}", 4000, replace=True)
            i += 1

    run_together(drop, admit, admit_charges(budget, is_over))
    gc.collect()
    budget.check()
    assert budget.reserved == 0
    assert budget.used == manager.allocated
    manager.close()
    assert (budget.used, sim.used) == (0, 0)


def admit_charges(budget: bayplan.Budget, is_over: threading.Event) -> Callable[[], None]:
    def work() -> None:
        while not is_over.is_set():
            with contextlib.suppress(bayplan.BudgetExceeded):
                budget.refund(budget.charge(10))

    return work


def test_subscriptions_with_callbacks_stay_on_their_thread() -> None:
    budget = bayplan.Budget(100)
    manager = bayplan.SlotManager(budget, backend=bayplan.SimBackend())
    seen: list[tuple[int, str]] = []
    subscription = budget.evictions.subscribe(
        callback=lambda record: seen.append((threading.get_ident(), record.key))
    )

    def work() -> None:
        for i in range(20):
            manager.allocate(f"a{i}", 60)

    run_together(work)
    assert seen == []
    assert len(subscription.drain()) == 19
    assert [name for _, name in seen] == [f"a{i}" for i in range(19)]
    assert {thread for thread, _ in seen} == {threading.get_ident()}
