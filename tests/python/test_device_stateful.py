"""Budgets and slots beside the model, through histories that hypothesis makes up.

Every call is a rule, bad calls included. After each step the tree's own
``check`` holds, every figure, slot, record and edge agrees with the model, and
a refused call has left ``dump`` as it was.
"""

from __future__ import annotations

import sys
from typing import Any

from device_pair import Loader, Pair
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

NAMES = ["a", "b", "c", "größe", "x" * 255]
indices = st.integers(0, 7)
names = st.sampled_from(NAMES)
some_names = st.one_of(names, names, names, st.sampled_from(["", "x" * 256, "nothing"]))
LAST = 2**63
sizes = st.one_of(
    st.sampled_from([1, 8, 16, 100, 250, 256, 257, 500, 999, 1000, 1001]),
    st.integers(1, 1200),
)
some_sizes = st.one_of(
    sizes, sizes, sizes, st.sampled_from([0, LAST - 1, LAST - 16, LAST, 2 * LAST - 1])
)
tags = st.sampled_from([None, "weights", "", "y" * 255])
limits = st.sampled_from([0, 1, 100, 500, 1000, 1000, 2000, LAST - 1, LAST])
policies = st.sampled_from(["lru", "lru", "mru", "big_first", lambda slot: -slot.nbytes])
CAUSES = ["explicit", "replaced", "pressure", "limit", "oom", "sweep", "closed"]


class DeviceMachine(RuleBasedStateMachine):
    """One tree; budgets, managers and streams are picked by number."""

    @initialize(
        data=st.data(),
        manual=st.booleans(),
        capacity=st.sampled_from([None, None, 700, 1500]),
        granularity=st.sampled_from([1, 1, 16]),
    )
    def start(self, data: Any, manual: bool, capacity: int | None, granularity: int) -> None:
        self.pair = pair = Pair()
        pair.add_sim(capacity=capacity, manual=manual)
        pair.add_sim(granularity=granularity)
        pair.add_budget(2000, release=data.draw(st.sampled_from([0, 5, 50])))
        mark = data.draw(st.sampled_from([None, (95, 50), (100, 0), (1, 1)]))
        pair.add_budget(1000, parent=0, evict_at=mark, granularity=granularity)
        pair.add_manager(1, 0, policy=data.draw(policies))
        pair.add_manager(0, data.draw(st.integers(0, 1)), policy=data.draw(policies))
        for name in data.draw(st.lists(names, max_size=4)):  # half full
            self.allocate_plain(data.draw(indices), name, data.draw(sizes))

    def teardown(self) -> None:
        if sys.exc_info()[0] is None and hasattr(self, "pair"):
            self.pair.finish()

    def budget(self, i: int) -> int:
        return i % len(self.pair.budgets)

    def manager(self, i: int) -> int:
        return i % len(self.pair.managers)

    def streams_of(self, manager: int) -> list[int]:
        sim = self.pair.managers[manager][1].sim
        return [i for i, (_, at) in enumerate(self.pair.streams) if self.pair.sims[at][1] is sim]

    # ---- more of everything ------------------------------------------------------

    @precondition(lambda self: len(self.pair.budgets) < 5)
    @rule(i=indices, limit=limits, granularity=st.sampled_from([1, 64]))
    def new_budget(self, i: int, limit: int, granularity: int) -> None:
        if limit < LAST:
            self.pair.add_budget(limit, parent=self.budget(i), granularity=granularity)

    @precondition(lambda self: len(self.pair.managers) < 5)
    @rule(i=indices, j=indices, policy=policies, strict=st.booleans())
    def new_manager(self, i: int, j: int, policy: Any, strict: bool) -> None:
        self.pair.add_manager(self.budget(i), j % 2, policy=policy, strict=strict)

    @precondition(lambda self: len(self.pair.managers) > 1)
    @rule(i=indices, is_dropped=st.booleans())
    def close_manager(self, i: int, is_dropped: bool) -> None:
        place = self.manager(i)
        made = self.pair.managers[place][1]
        if not any(held.slot.manager is made for held in self.pair.uses):
            (self.pair.drop_manager if is_dropped else self.pair.close)(place)

    @rule(i=indices, level=st.integers(0, 3))
    def watch(self, i: int, level: int) -> None:
        if len(self.pair.model.watches) < 6:
            self.pair.add_watch(self.budget(i), level)

    # ---- slots ----------------------------------------------------------------------

    @rule(i=indices, name=some_names, n=some_sizes, replace=st.booleans(), data=st.data())
    def allocate(self, i: int, name: str, n: int, replace: bool, data: Any) -> None:
        said = data.draw(
            st.fixed_dictionaries(
                {},
                optional={
                    "pin": st.booleans(),
                    "priority": st.integers(-1, 1),
                    "keep": st.sampled_from(["host", None]),
                    "kind": st.sampled_from([None, "model"]),
                },
            )
        )
        self.pair.allocate(self.manager(i), name, n, replace=replace, **said)

    @rule(i=indices, name=names, n=sizes)
    def allocate_plain(self, i: int, name: str, n: int) -> None:
        self.pair.allocate(self.manager(i), name, n, replace=True)

    @rule(i=indices, j=indices, n=sizes, priority=st.integers(-1, 1))
    def allocate_new(self, i: int, j: int, n: int, priority: int) -> None:
        name = f"new{len(self.pair.trail) + j}"
        self.pair.allocate(self.manager(i), name, n, priority=priority)

    @rule(i=indices, j=indices, stream=st.none() | indices, write=st.booleans())
    def use_for_a_moment(self, i: int, j: int, stream: int | None, write: bool) -> None:
        """Of a slot that is there."""
        manager = self.manager(i)
        there = list(self.pair.managers[manager][1].by_name)
        streams = self.streams_of(manager)
        n_uses = len(self.pair.uses)
        if there:
            found = None if stream is None else streams[stream % 2]
            self.pair.use(manager, there[j % len(there)], found, write)
        if len(self.pair.uses) > n_uses:
            self.pair.end_use(n_uses)

    @rule(i=indices, name=names, n=sizes, fails=st.booleans(), replace=st.booleans())
    def allocate_and_load(self, i: int, name: str, n: int, fails: bool, replace: bool) -> None:
        loader = Loader(name.encode()[:1] * n)
        loader.fails = fails
        self.pair.allocate(self.manager(i), name, n, loader=loader, replace=replace)
        loader.fails = False

    @precondition(lambda self: self.pair.reservations)
    @rule(i=indices, j=indices, name=names, n=sizes)
    def allocate_of_reservation(self, i: int, j: int, name: str, n: int) -> None:
        place = j % len(self.pair.reservations)
        self.pair.allocate(self.manager(i), name, n, reservation=place)

    @rule(i=indices, name=some_names)
    def deallocate(self, i: int, name: str) -> None:
        self.pair.deallocate(self.manager(i), name)

    @rule(i=indices, name=some_names)
    def touch(self, i: int, name: str) -> None:
        self.pair.touch(self.manager(i), name)

    @rule(i=indices, name=some_names)
    def evict(self, i: int, name: str) -> None:
        self.pair.evict(self.manager(i), name)

    @precondition(lambda self: len(self.pair.uses) < 5)
    @rule(i=indices, name=names, stream=st.none() | indices, write=st.booleans())
    def use(self, i: int, name: str, stream: int | None, write: bool) -> None:
        manager = self.manager(i)
        streams = self.streams_of(manager)
        found = None if stream is None else streams[stream % len(streams)]
        self.pair.use(manager, name, found, write)

    @precondition(lambda self: self.pair.uses)
    @rule(i=indices, is_dropped=st.booleans())
    def end_use(self, i: int, is_dropped: bool) -> None:
        place = i % len(self.pair.uses)
        (self.pair.drop_use if is_dropped else self.pair.end_use)(place)

    @rule(i=indices, name=names, stream=st.none() | indices)
    def prefetch(self, i: int, name: str, stream: int | None) -> None:
        manager = self.manager(i)
        streams = self.streams_of(manager)
        self.pair.prefetch(manager, name, None if stream is None else streams[stream % 2])

    @rule(i=indices, name=names, fraction=st.sampled_from([0.0, 0.5, 1.0, 1.0, 1.1]))
    def copy_from(self, i: int, name: str, fraction: float) -> None:
        manager = self.manager(i)
        slot = self.pair.managers[manager][1].by_name.get(name)
        if slot is not None:
            n = int(slot.nbytes * fraction)
            self.pair.copy_from(manager, name, bytes(k * 7 % 251 for k in range(n)))

    @rule(i=indices, name=names)
    def copy_to(self, i: int, name: str) -> None:
        self.pair.copy_to(self.manager(i), name)

    @rule(i=indices, n=some_sizes)
    def plan(self, i: int, n: int) -> None:
        self.pair.plan(self.manager(i), n)

    @rule(i=indices, n=some_sizes)
    def room_of_manager(self, i: int, n: int) -> None:
        self.pair.room_of(self.manager(i), n)

    # ---- the ledger -------------------------------------------------------------------

    @rule(i=indices, n=some_sizes, tag=tags)
    def charge(self, i: int, n: int, tag: str | None) -> None:
        self.pair.charge(self.budget(i), n, tag)

    @rule(i=indices, more=st.sampled_from([-1, 0, 1]), tag=tags)
    def charge_at_the_edge(self, i: int, more: int, tag: str | None) -> None:
        budget = self.budget(i)
        chain = self.pair.budgets[budget][1].chain()
        room = min(above.available for above in chain)
        self.pair.charge(budget, max(0, room + more), tag)

    @rule(i=indices, n=some_sizes, tag=tags, is_all=st.booleans())
    def refund(self, i: int, n: int, tag: str | None, is_all: bool) -> None:
        budget = self.budget(i)
        charged = self.pair.budgets[budget][1].charged.get(tag, 0)
        self.pair.refund(budget, charged if is_all else n, tag)

    @precondition(lambda self: len(self.pair.reservations) < 5)
    @rule(i=indices, n=some_sizes)
    def reserve(self, i: int, n: int) -> None:
        self.pair.reserve(self.budget(i), n)

    @precondition(lambda self: self.pair.reservations)
    @rule(i=indices, n=some_sizes, tag=tags)
    def take(self, i: int, n: int, tag: str | None) -> None:
        self.pair.take(i % len(self.pair.reservations), n, tag)

    @precondition(lambda self: self.pair.reservations)
    @rule(i=indices, is_dropped=st.booleans())
    def close_reservation(self, i: int, is_dropped: bool) -> None:
        place = i % len(self.pair.reservations)
        (self.pair.drop_reservation if is_dropped else self.pair.close_reservation)(place)

    @rule(i=indices, limit=limits)
    def set_limit(self, i: int, limit: int) -> None:
        self.pair.set_limit(self.budget(i), limit)

    @rule(i=indices)
    def trim(self, i: int) -> None:
        self.pair.trim(self.budget(i))

    @rule(i=indices, n=some_sizes)
    def make_room(self, i: int, n: int) -> None:
        self.pair.make_room(self.budget(i), n)

    @rule(key=some_names, kind=st.none() | names, n=some_sizes, cause=st.sampled_from(CAUSES))
    def publish(self, key: str, kind: str | None, n: int, cause: str) -> None:
        self.pair.publish(key, kind, n, cause)

    # ---- the device ---------------------------------------------------------------------

    @rule(i=st.integers(0, 1), n=st.sampled_from([None, 0, 1, 2]))
    def complete(self, i: int, n: int | None) -> None:
        self.pair.complete(i, n)

    # ---- what always holds ----------------------------------------------------------------

    @invariant()
    def both_sides_agree(self) -> None:
        if hasattr(self, "pair"):
            self.pair.compare()


TestDeviceMachine = DeviceMachine.TestCase
