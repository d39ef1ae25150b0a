"""Long random histories of budgets and slots, bayplan beside the model.

Every answer, every figure and every record has to agree after each step. The
seeds are fixed: the same histories run every time.
"""

from __future__ import annotations

import random
from typing import Any

import device_model as model
import pytest
from device_pair import Loader, Pair

NAMES = [f"slot{i}" for i in range(7)]
TAGS = [None, None, "weights", "tables"]


def by_size(slot: Any) -> int:
    """A policy: odd sizes first, then by size."""
    return (slot.nbytes + 1) % 2 * 10_000 + slot.nbytes


def plain() -> Pair:
    """One budget, one manager, a device without events."""
    pair = Pair()
    pair.add_sim()
    pair.add_budget(1000)
    pair.add_manager(0, 0)
    pair.add_watch(0, 2)
    return pair


def tree(manual: bool, capacity: int | None) -> Pair:
    """Four budgets on one tree, five managers on two devices."""
    pair = Pair()
    pair.add_sim(capacity=capacity, manual=manual)
    pair.add_sim(granularity=32, manual=manual)
    pair.add_budget(4000)
    pair.add_budget(2500, parent=0, granularity=64, levels=(30, 60, 90), release=10)
    pair.add_budget(2000, parent=0, evict_at=(95, 70))
    pair.add_budget(1200, parent=1, granularity=16, release=60)
    pair.add_manager(1, 0)
    pair.add_manager(2, 1, policy="mru")
    pair.add_manager(3, 0, policy="big_first")
    pair.add_manager(0, 0, policy=by_size, strict=True)
    pair.add_manager(2, 0)
    for budget in range(4):
        for level in (1, 2, 3):
            pair.add_watch(budget, level)
    return pair


class History:
    """One seed's choices."""

    def __init__(self, pair: Pair, seed: int) -> None:
        self.pair = pair
        self.rng = random.Random(seed)
        self.limits = [made.limit for _, made in pair.budgets]
        calls = {
            "allocate": 20, "use": 12, "end_use": 12, "touch": 6, "copy_from": 8, "copy_to": 5,
            "evict": 4, "deallocate": 7, "charge": 5, "refund": 5, "reserve": 3, "take": 3,
            "close_reservation": 2, "set_limit": 4, "trim": 2, "make_room": 3, "room_of": 3,
            "plan": 4, "prefetch": 4, "publish": 1, "complete": 10, "drop_use": 2,
            "drop_reservation": 1, "flip_loader": 3,
        }  # fmt: skip
        self.calls = [name for name, weight in calls.items() for _ in range(weight)]

    def size(self) -> int:
        return self.rng.choice(
            [1, 7, 32, 100, 250, 256, 400, 600, 1000, self.rng.randrange(1, 900)]
        )

    def odd_size(self) -> int:
        """Now and then one that cannot be, or just does or does not fit."""
        rng = self.rng
        if rng.random() < 0.03:
            return rng.choice([0, 2**63 - 1, 2**63 - 64, 2**63, 2**64 - 1])
        if rng.random() < 0.1:
            budget = rng.choice(self.pair.budgets)[1]
            return max(0, budget.available + rng.choice([-1, 0, 1]))
        return self.size()

    def budget(self) -> int:
        return self.rng.randrange(len(self.pair.budgets))

    def manager(self) -> int:
        return self.rng.randrange(len(self.pair.managers))

    def name_in(self, manager: int) -> str:
        """Mostly one that is there."""
        there = list(self.pair.managers[manager][1].by_name)
        return self.rng.choice(there if there and self.rng.random() < 0.7 else NAMES)

    def stream_for(self, manager: int) -> int | None:
        """A stream of the manager's device."""
        sim = self.pair.managers[manager][1].sim
        places = [
            i for i, (_, place) in enumerate(self.pair.streams) if self.pair.sims[place][1] is sim
        ]
        return self.rng.choice([None, *places, *places])

    def place_in(self, things: list[Any]) -> int | None:
        return self.rng.randrange(len(things)) if things else None

    def step(self) -> None:
        call = self.rng.choice(self.calls)
        getattr(self, f"do_{call}")()
        self.pair.compare()

    # ---- slots ---------------------------------------------------------------------

    def do_allocate(self) -> None:
        rng, manager = self.rng, self.manager()
        n = self.odd_size()
        said: dict[str, Any] = {}
        if rng.random() < 0.05:
            said["pin"] = True
        if rng.random() < 0.3:
            said["priority"] = rng.choice([-1, 1, 2])
        if rng.random() < 0.2:
            said["keep"] = None
        if rng.random() < 0.35:
            said["replace"] = True
        if rng.random() < 0.2:
            said["kind"] = rng.choice(["model", "table"])
        if rng.random() < 0.25 and n < 10_000:
            said["loader"] = Loader(rng.randbytes(rng.randrange(1, n + 1) if n else 0))
            said["loader"].fails = rng.random() < 0.2
        if rng.random() < 0.15:
            said["reservation"] = self.place_in(self.pair.reservations)
        name = self.name_in(manager) if said.get("replace") else rng.choice(NAMES)
        self.pair.allocate(manager, name, n, **said)

    def do_use(self) -> None:
        manager = self.manager()
        if len(self.pair.uses) < 6:
            stream, write = self.stream_for(manager), self.rng.random() < 0.6
            self.pair.use(manager, self.name_in(manager), stream, write)

    def do_end_use(self) -> None:
        place = self.place_in(self.pair.uses)
        if place is not None:
            self.pair.end_use(place)

    def do_drop_use(self) -> None:
        place = self.place_in(self.pair.uses)
        if place is not None:
            self.pair.drop_use(place)

    def do_prefetch(self) -> None:
        manager = self.manager()
        self.pair.prefetch(manager, self.name_in(manager), self.stream_for(manager))

    def do_touch(self) -> None:
        manager = self.manager()
        self.pair.touch(manager, self.name_in(manager))

    def do_evict(self) -> None:
        manager = self.manager()
        self.pair.evict(manager, self.name_in(manager))

    def do_deallocate(self) -> None:
        manager = self.manager()
        self.pair.deallocate(manager, self.name_in(manager))

    def do_copy_from(self) -> None:
        manager = self.manager()
        name = self.name_in(manager)
        slot = self.pair.managers[manager][1].by_name.get(name)
        n = slot.nbytes if slot is not None else 1
        n = self.rng.choice([n, n, n, n // 2, n + 1])
        self.pair.copy_from(manager, name, self.rng.randbytes(n))

    def do_copy_to(self) -> None:
        manager = self.manager()
        self.pair.copy_to(manager, self.name_in(manager))

    def do_plan(self) -> None:
        self.pair.plan(self.manager(), self.odd_size())

    def do_room_of(self) -> None:
        self.pair.room_of(self.manager(), self.odd_size())

    def do_flip_loader(self) -> None:
        if self.pair.loaders:
            loader = self.rng.choice(self.pair.loaders)
            loader.fails = not loader.fails

    # ---- the ledger ------------------------------------------------------------------

    def do_charge(self) -> None:
        self.pair.charge(self.budget(), self.odd_size(), self.rng.choice(TAGS))

    def do_refund(self) -> None:
        budget = self.budget()
        tags = [t for t, n in self.pair.budgets[budget][1].charged.items() if n]
        tag = self.rng.choice([*tags, *TAGS])
        charged = self.pair.budgets[budget][1].charged.get(tag, 0)
        self.pair.refund(budget, self.rng.choice([charged, charged, self.odd_size()]), tag)

    def do_reserve(self) -> None:
        if len(self.pair.reservations) < 6:
            self.pair.reserve(self.budget(), self.odd_size())

    def do_take(self) -> None:
        place = self.place_in(self.pair.reservations)
        if place is not None:
            self.pair.take(place, self.odd_size(), self.rng.choice(TAGS))

    def do_close_reservation(self) -> None:
        place = self.place_in(self.pair.reservations)
        if place is not None:
            self.pair.close_reservation(place)
            self.pair.reservations.pop(place)

    def do_drop_reservation(self) -> None:
        place = self.place_in(self.pair.reservations)
        if place is not None:
            self.pair.drop_reservation(place)

    def do_set_limit(self) -> None:
        budget = self.budget()
        first = self.limits[budget]
        others = [first // 2, first * 2, self.size() * 2, 2**63]
        self.pair.set_limit(budget, self.rng.choice([*[first] * 5, *others]))

    def do_trim(self) -> None:
        self.pair.trim(self.budget())

    def do_make_room(self) -> None:
        self.pair.make_room(self.budget(), self.odd_size())

    def do_publish(self) -> None:
        rng = self.rng
        key = rng.choice(["mesh", "slot1", "", "x" * 255, "x" * 256])
        self.pair.publish(key, rng.choice([None, "asset"]), self.size(), rng.choice(CAUSES))

    def do_complete(self) -> None:
        sim = self.rng.randrange(len(self.pair.sims))
        self.pair.complete(sim, self.rng.choice([None, 1, 2]))


CAUSES = ["explicit", "replaced", "pressure", "limit", "oom", "sweep", "closed"]
SHAPES = {
    "plain": plain,
    "tree": lambda: tree(manual=False, capacity=None),
    "short_device": lambda: tree(manual=False, capacity=1500),
    "late_events": lambda: tree(manual=True, capacity=None),
    "late_events_short_device": lambda: tree(manual=True, capacity=1800),
}


def run(shape: str, seed: int, n_steps: int) -> Pair:
    pair = SHAPES[shape]()
    history = History(pair, seed)
    for _ in range(n_steps):
        history.step()
    pair.finish()
    return pair


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("shape", SHAPES)
def test_random_history(shape: str, seed: int) -> None:
    pair = run(shape, seed, 400)
    causes = {record.cause for record in pair.model.log}
    assert {"explicit", "pressure"} <= causes


def test_same_seed_same_victims() -> None:
    runs = [run("tree", 99, 250) for _ in range(2)]
    assert runs[0].trail == runs[1].trail
    logs = [pair.model.log for pair in runs]
    assert [vars(record) for record in logs[0]] == [vars(record) for record in logs[1]]
    assert sum(record.cause in model.FOR_ROOM for record in logs[0]) > 10


def test_a_replaced_slot_in_flight_holds_nobody_back() -> None:
    """Its copy waits for the device; the copy of who goes for the new one does not."""
    pair = Pair()
    pair.add_sim(manual=True)
    pair.add_budget(600)
    pair.add_manager(0, 0)
    pair.allocate(0, "a", 256)
    pair.allocate(0, "b", 256)
    pair.use(0, "a", 0, True)
    pair.end_use(0)
    sim = pair.sims[0][0]
    n_syncs = sim.actions("sync")
    pair.allocate(0, "a", 100, replace=True)
    pair.compare()
    assert (sim.held, sim.actions("sync")) == (1, n_syncs)
    assert [record.key for record in pair.model.log] == ["b", "a"]
    pair.finish()


def test_equal_charges_are_equal_sizes() -> None:
    pair = Pair()
    pair.add_sim()
    pair.add_budget(600, granularity=16)
    pair.add_manager(0, 0, policy="big_first")
    pair.allocate(0, "old", 250)
    pair.allocate(0, "new", 256)
    pair.plan(0, 100)
    pair.allocate(0, "more", 256)
    pair.compare()
    assert [record.key for record in pair.model.log] == ["old"]
    pair.finish()


def test_no_copy_queues_behind_work_in_flight_unasked() -> None:
    pair = Pair()
    pair.add_sim(manual=True)
    pair.add_budget(600)
    pair.add_manager(0, 0)
    pair.allocate(0, "a", 256)
    pair.allocate(0, "b", 256)
    pair.use(0, "a", 0, True)
    pair.end_use(0)
    pair.evict(0, "a")  # its copy waits
    pair.allocate(0, "c", 300)  # refused: the copy of "b" would wait behind it
    pair.compare()
    assert pair.managers[0][1].by_name["b"].state == "resident"
    pair.complete(0, None)
    pair.allocate(0, "c", 300)
    pair.compare()
    pair.finish()


def test_promises_count_for_evict_at_and_limits_have_their_cause() -> None:
    pair = Pair()
    pair.add_sim()
    pair.add_budget(100, evict_at=(90, 50))
    pair.add_manager(0, 0)
    pair.allocate(0, "a", 30)
    pair.allocate(0, "b", 30)
    pair.reserve(0, 30)  # 90: "a" and "b" go, for 50 and less
    pair.compare()
    pair.allocate(0, "c", 40)
    pair.set_limit(0, 35)
    pair.trim(0)
    pair.compare()
    causes = [(record.key, record.cause) for record in pair.model.log]
    assert causes == [("a", "pressure"), ("b", "pressure"), ("c", "limit")]
    pair.finish()
