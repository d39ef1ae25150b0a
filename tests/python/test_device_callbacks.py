"""Code of the user that runs inside calls: it calls back in, drops things, collects, raises.

Policies, loaders, subscribers of edges and of evictions all do something at
random on the same tree. Nothing can be foretold; but the ledger is the sum of
its owners after every call, records come once, and nothing is left at the end.
"""

from __future__ import annotations

import gc
import logging
import random
from typing import Any

import device_model as model
import numpy as np
import pytest

import bayplan

DEEPEST = 3


class Chaos:
    """A tree, and functions that do what they like with it."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.depth = 0
        self.n_inner = 0
        self.root = bayplan.Budget(1500)
        self.budget = bayplan.Budget(1000, parent=self.root, evict_at=(95, 60))
        self.sims = [bayplan.SimBackend(events=events) for events in ("immediate", "late")]
        self.streams = [sim.stream() for sim in self.sims]
        self.managers = [
            bayplan.SlotManager(self.budget, backend=self.sims[0], policy=self.policy),
            bayplan.SlotManager(self.budget, backend=self.sims[1]),
        ]
        self.records = self.root.evictions.subscribe()
        self.callbacks = self.root.evictions.subscribe(callback=self.on_eviction)
        self.watches = [self.budget.subscribe(level, self.on_edge) for level in (1, 2, 3)]
        self.kept: list[Any] = []

    # ---- what is called from inside -------------------------------------------------

    def policy(self, slot: Any) -> int:
        self.maybe(0.03)
        return slot.nbytes % 5

    def on_eviction(self, record: Any) -> None:
        self.maybe(0.5)

    def on_edge(self, edge: Any) -> None:
        self.maybe(0.5)

    def load(self, slot: Any) -> None:
        self.maybe(0.5)
        slot.copy_from(np.full(slot.nbytes, 7, np.uint8))
        self.maybe(0.2)

    def maybe(self, share: float) -> None:
        """Something else, now and then; and sometimes an exception at the end of it."""
        if self.depth >= DEEPEST or self.rng.random() > share:
            return
        self.depth += 1
        try:
            self.n_inner += 1
            self.step()
        finally:
            self.depth -= 1
        if self.rng.random() < 0.2:
            raise model.LoadFailed

    # ---- one call --------------------------------------------------------------------

    def step(self) -> None:
        try:
            self.rng.choice(self.calls())()
        except (bayplan.BayplanError, TimeoutError, model.LoadFailed):
            pass

    def calls(self) -> list[Any]:
        rng, budget = self.rng, self.rng.choice([self.root, self.budget])
        place = rng.randrange(2)
        slots, stream = self.managers[place], rng.choice([None, self.streams[place]])
        name, n = f"slot{rng.randrange(5)}", rng.choice([50, 150, 400])
        replace = rng.random() < 0.6
        return [
            lambda: slots.allocate(name, n, replace=replace),
            lambda: slots.allocate(name, n, replace=replace, load=self.load, keep=None),
            lambda: slots.deallocate(name),
            lambda: slots.evict(name),
            lambda: slots.use(name, stream).__enter__(),  # dropped in use
            lambda: self.use(slots, name, stream),
            lambda: self.hold(slots, name),
            lambda: self.kept.append(budget.reserve(50)),
            lambda: self.kept.append(slots[name].view(np.uint8)),
            self.let_go,
            gc.collect,
            lambda: slots.plan(n),
            lambda: slots.make_room(n),
            lambda: budget.make_room(n),
            lambda: budget.set_limit(rng.choice([800, 1000, 1500])),
            budget.trim,
            budget.drain,
            self.callbacks.drain,
            lambda: self.sims[1].complete(1),
        ]

    def use(self, slots: Any, name: str, stream: Any) -> None:
        with slots.use(name, stream):
            self.maybe(0.5)

    def hold(self, slots: Any, name: str) -> None:
        use = slots.use(name)
        use.__enter__()
        self.kept.append(use)

    def let_go(self) -> None:
        """Drop something; now and then in a cycle that only the collector frees."""
        if self.kept:
            cycle = [self.kept.pop(self.rng.randrange(len(self.kept)))]
            if self.rng.random() < 0.5:
                cycle.append(cycle)

    def check(self) -> None:
        self.root.check()
        here = [s[name] for s in self.managers for name in s if s[name].resident]
        assert self.budget.stats().used == sum(slot.charged for slot in here)
        records = self.records.drain()
        assert model.dense(records)

    def finish(self) -> None:
        for watch in self.watches:
            watch.unsubscribe()
        self.callbacks.unsubscribe()
        self.kept.clear()
        gc.collect()
        for manager in self.managers:
            manager.close()
        self.check()
        stats = self.root.stats()
        assert (stats.used, stats.reserved, stats.retiring) == (0, 0, 0)
        assert [sim.used for sim in self.sims] == [0, 0]


@pytest.fixture
def quiet_and_quick():
    """No lines about exceptions, of which there are many; collections look at the test alone."""
    logger = logging.getLogger("bayplan")
    logger.setLevel(logging.CRITICAL)
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
    logger.setLevel(logging.NOTSET)


@pytest.mark.parametrize("seed", range(8))
def test_code_of_the_user_does_what_it_likes(seed: int, quiet_and_quick: None) -> None:
    chaos = Chaos(seed)
    for _ in range(400):
        chaos.step()
        chaos.check()
    assert chaos.n_inner > 20
    chaos.finish()
