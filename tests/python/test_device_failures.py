"""The k-th action of the device fails, for every k of every scenario.

Whatever fails: each call succeeds or is refused with one of the errors it may
raise, the ledger is the sum of its owners, no slot and no byte is lost, every
residency ends once, and when the device works again so does everything.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import device_model as model
import numpy as np
import pytest

import bayplan

KINDS = ("alloc", "free", "copy", "event", "sync", "host")
ERRORS = (
    bayplan.BudgetExceeded,
    bayplan.Busy,
    bayplan.DeviceFault,
    bayplan.SlotExists,
    bayplan.StaleHandle,
    MemoryError,
    TimeoutError,
)


def bytes_of(name: str, n: int) -> np.ndarray:
    """Bytes that only this slot has."""
    return np.random.default_rng(list(name.encode())).integers(0, 256, n, np.uint8)


class World:
    """Three slots of known bytes in a budget that has no room for a fourth."""

    def __init__(self, fail: str | None, **sim: Any) -> None:
        self.root = bayplan.Budget(2000)
        self.budget = bayplan.Budget(1000, parent=self.root)
        self.sim = bayplan.SimBackend(fail=fail, **sim)
        self.stream = self.sim.stream()
        self.slots = bayplan.SlotManager(self.budget, backend=self.sim)
        self.log = self.root.evictions.subscribe()
        self.records: list[bayplan.Evicted] = []
        self.known: dict[str, np.ndarray] = {}  # what each slot has to have
        self.n_refused = 0

    def call(self, what: Callable[[], Any]) -> Any:
        """One call, and everything that has to hold after it, failed or not."""
        before = set(self.slots)
        answer = None
        try:
            answer = what()
        except ERRORS:
            self.n_refused += 1
            assert set(self.slots) == before
        self.check()
        return answer

    def check(self) -> None:
        """The ledger is the sum of the slots; records come once."""
        self.root.check()
        here = sum(self.slots[name].charged for name in self.slots if self.slots[name].resident)
        stats = self.budget.stats()
        assert (stats.used, self.root.used) == (here, here)
        assert stats.used + stats.reserved + stats.retiring <= stats.limit
        assert stats.reserved == 0
        self.records += self.log.drain()
        assert model.dense(self.records)
        assert set(self.known) <= set(self.slots)

    # ---- calls that know what they change -----------------------------------------

    def allocate(self, name: str, n: int, **said: Any) -> None:
        if self.call(lambda: self.slots.allocate(name, n, **said)) is None:
            return
        self.known.pop(name, None)
        self.write(name)

    def load(self, name: str, n: int, **said: Any) -> None:
        data = bytes_of(name, n)
        loaded = self.call(
            lambda: self.slots.allocate(name, n, load=lambda slot: slot.copy_from(data), **said)
        )
        if loaded is not None:
            self.known[name] = data

    def write(self, name: str) -> None:
        data = bytes_of(name, self.slots[name].nbytes)

        def copy() -> bool:
            self.slots[name].copy_from(data)
            return True

        if self.call(copy):
            self.known[name] = data

    def use(self, name: str, stream: Any = None, write: bool = False) -> None:
        def use() -> None:
            with self.slots.use(name, stream, write=write):
                pass

        if name in self.slots:
            self.call(use)

    def evict(self, name: str) -> None:
        if name in self.slots:
            self.call(lambda: self.slots.evict(name))

    def deallocate(self, name: str) -> None:
        def deallocate() -> None:
            self.slots.deallocate(name)
            self.known.pop(name, None)

        if name in self.slots:
            self.call(deallocate)

    # ---- the end ----------------------------------------------------------------------

    def read_all(self) -> None:
        """Nothing is lost; asking again is safe."""
        for name, data in self.known.items():
            for _ in range(4):
                got = self.call(lambda name=name: self.slots[name].copy_to())
                if got is not None:
                    break
            assert got is not None, name
            assert np.array_equal(got, data), name

    def finish(self) -> None:
        self.sim.complete()
        self.call(self.budget.trim)
        self.read_all()
        self.slots.close()
        self.root.check()
        stats = self.root.stats()
        assert (stats.used, stats.reserved, stats.retiring) == (0, 0, 0)
        self.records += self.log.drain()
        assert model.dense(self.records)
        assert len(self.records) == stats.evictions


# ---- scenarios -----------------------------------------------------------------------


def fill(w: World) -> None:
    for name in "abc":
        w.allocate(name, 300)


def shortage(w: World) -> None:
    """Two go for a large one, come back, and others go for them."""
    fill(w)
    w.allocate("d", 500)
    for name in "abcd":
        w.use(name, w.stream)


def explicit(w: World) -> None:
    """Out and in by request, clean and dirty."""
    fill(w)
    for write in (True, False):
        w.use("a", w.stream, write=write)
        w.evict("a")
        w.use("a", None, write=write)
        w.evict("a")
    w.deallocate("b")
    w.deallocate("a")


def replacement(w: World) -> None:
    """Larger than the old one and all that is free; once with a loader."""
    fill(w)
    w.allocate("b", 600, replace=True)
    w.load("b", 350, replace=True)
    w.evict("b")
    w.use("b")


def loaders(w: World) -> None:
    """Slots that are filled again instead of copied."""
    for name in "abcd":
        w.load(name, 300, keep=None)
    for name in "abcd":
        w.use(name, w.stream)


def a_lower_limit(w: World) -> None:
    fill(w)
    w.budget.set_limit(350)

    def trim() -> bool:
        w.budget.trim()
        return True

    before = w.budget.stats()
    try:
        trim()
    except ERRORS:
        assert w.budget.stats().limit == before.limit
    w.budget.set_limit(1000)
    w.check()
    w.use("a")


def rooms(w: World) -> None:
    fill(w)
    w.call(lambda: w.budget.make_room(400))
    w.call(lambda: w.slots.make_room(1000))
    if "a" in w.slots:
        w.call(lambda: w.slots.prefetch("a", w.stream))


def small_device(w: World) -> None:
    """The budget has room, the device has not."""
    fill(w)
    w.allocate("d", 250)
    w.use("a", w.stream)


SCENARIOS: dict[str, tuple[Callable[[World], None], dict[str, Any]]] = {
    "shortage": (shortage, {}),
    "shortage, late events": (shortage, {"events": "late", "polls": 2}),
    "explicit": (explicit, {}),
    "explicit, events by hand": (explicit, {"events": "manual"}),
    "replacement": (replacement, {}),
    "loaders": (loaders, {}),
    "a lower limit": (a_lower_limit, {}),
    "rooms": (rooms, {"events": "late", "polls": 2}),
    "small device": (small_device, {"capacity": 700}),
}


def counts(name: str) -> dict[str, int]:
    """How many actions of each kind a scenario takes when nothing fails."""
    scenario, sim = SCENARIOS[name]
    world = World(None, **sim)
    scenario(world)
    found = {kind: world.sim.actions(kind) for kind in KINDS}
    world.finish()
    return found


EVERY_FAILURE = [
    pytest.param(name, kind, id=f"{name}-{kind}") for name in SCENARIOS for kind in KINDS
]


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenarios_pass_when_nothing_fails(name: str) -> None:
    found = counts(name)
    assert found["alloc"] >= 3
    assert found["copy"] >= 3


@pytest.mark.parametrize("width", ["", "-"], ids=["once", "ever after"])
@pytest.mark.parametrize(("name", "kind"), EVERY_FAILURE)
def test_every_action_fails(name: str, kind: str, width: str) -> None:
    scenario, sim = SCENARIOS[name]
    n_refused = 0
    for k in range(1, counts(name)[kind] + 1):
        world = World(f"{kind}:#{k}{width}", **sim)
        scenario(world)
        n_refused += world.n_refused
        assert world.sim.actions(kind) >= k
        if not width:
            world.finish()
            assert world.sim.used == 0
            continue
        world.slots.close()  # a device that never works again is given up
        world.root.check()
        assert world.root.used == world.root.retiring == world.root.reserved == 0
    if kind == "alloc" and not width and not {"events", "capacity"} & set(sim):
        assert n_refused == 0  # one more try is enough


# ---- a device that dies -----------------------------------------------------------------


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_fault_releases_the_ledger(name: str) -> None:
    scenario, sim = SCENARIOS[name]
    world = World(None, **sim)
    scenario(world)
    slots = world.slots
    evicted = {n for n in slots if slots[n].state == "evicted" and slots[n].host_bytes}
    copies = {n: data for n, data in world.known.items() if n in evicted}
    world.sim.fault()
    with pytest.raises(bayplan.DeviceFault):
        world.slots.allocate("z", 1)
    world.root.check()
    assert world.budget.used == world.budget.retiring == 0
    assert not any(world.slots[n].resident for n in world.slots)
    for n, data in copies.items():
        assert np.array_equal(world.slots[n].copy_to(), data)
    world.slots.close()
    world.root.check()


# ---- at random --------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_random_failures(seed: int) -> None:
    rng = random.Random(seed)
    parts = []
    for kind in KINDS:
        at = 0
        for _ in range(rng.randrange(8)):
            at += rng.randrange(1, 25)
            parts.append(f"{kind}:#{at}")
    events = rng.choice(["immediate", "late", "manual"])
    world = World(",".join(parts), events=events, capacity=rng.choice([None, 800]))
    for _ in range(200):
        random_call(world, rng)
    world.finish()


def random_call(world: World, rng: random.Random) -> None:
    name, n = rng.choice("abcdef"), rng.choice([100, 300, 450])
    stream, replace = rng.choice([None, world.stream]), rng.random() < 0.7
    calls = [
        lambda: world.allocate(name, n, replace=replace),
        lambda: world.load(name, n, replace=replace),
        lambda: world.use(name, stream, write=False),
        lambda: world.use(name, stream, write=True),
        lambda: world.evict(name),
        lambda: world.deallocate(name),
        lambda: world.call(lambda: world.budget.make_room(n)),
        lambda: world.call(world.budget.trim),
        lambda: world.sim.complete(1),
    ]
    rng.choice(calls)()
