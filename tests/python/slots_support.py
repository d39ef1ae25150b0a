"""Slot managers on simulators, and one way to say that nothing was lost."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import bayplan


def make(
    limit: int = 1000, *, policy: Any = "lru", on_shortage: str = "evict", **sim: Any
) -> bayplan.SlotManager:
    """A manager on a budget and a simulator of its own."""
    return bayplan.SlotManager(
        bayplan.Budget(limit),
        backend=bayplan.SimBackend(**sim),
        policy=policy,
        on_shortage=on_shortage,
    )


def pattern(seed: int, nbytes: int) -> np.ndarray:
    """Bytes that no other seed gives."""
    return np.random.default_rng(seed).integers(0, 256, nbytes, dtype=np.uint8)


def checksum(slot: bayplan.Slot) -> int:
    return zlib.crc32(slot.copy_to().tobytes())


def filled(slots: bayplan.SlotManager, name: str, nbytes: int, seed: int = 0, **how: Any) -> int:
    """Allocate a slot, fill it, and say what its checksum is."""
    data = pattern(seed, nbytes)
    slots.allocate(name, nbytes, **how).copy_from(data)
    return zlib.crc32(data.tobytes())


def stocked() -> bayplan.SlotManager:
    """Two slots with contents, one that is evicted, and 100 of 600 bytes left."""
    slots = make(600)
    filled(slots, "a", 200, 1)
    filled(slots, "b", 300, 2)
    filled(slots, "gone", 50, 3)
    slots.evict("gone")
    return slots


def sound(*managers: bayplan.SlotManager) -> None:
    """The ledger of the one budget of these managers is the sum of their slots."""
    (budget,) = {m.budget for m in managers}
    budget.check()
    resident = [s for m in managers if not m.closed for s in map(m.__getitem__, m) if s.resident]
    assert budget.used == sum(s.charged for s in resident) + sum(budget.tags().values())
    assert budget.used + budget.reserved + budget.retiring + budget.available - budget.over == (
        budget.limit
    )
    for m in managers:
        if not m.closed:
            assert m.allocated == sum(m[name].charged for name in m if m[name].resident)


@contextlib.contextmanager
def refused(
    slots: bayplan.SlotManager,
    kind: type[BaseException],
    code: str | None,
    *says: object,
    beside: tuple[bayplan.SlotManager, ...] = (),
) -> Iterator[pytest.ExceptionInfo[Any]]:
    """The block must raise exactly `kind` and leave everything as it was, contents too.

    `beside` are the other managers of the budget.
    """
    budget = slots.budget
    before = budget.dump()
    sums = {name: _sum_of(slots[name]) for name in slots}
    assert budget.dump() == before
    with pytest.raises(kind) as info:
        yield info
    assert type(info.value) is kind
    assert budget.dump() == before
    assert {name: _sum_of(slots[name]) for name in slots} == sums
    sound(slots, *beside)
    for part in says:
        assert str(part) in str(info.value)
    if code is not None:
        assert info.value.code == code
        assert info.value.args == (str(info.value),)


def _sum_of(slot: bayplan.Slot) -> int | None:
    """Of what can be read without moving anything: no restore, no loader."""
    if slot.state == "evicted" and slot.host_bytes == 0:
        return None
    return checksum(slot) if slot.state in ("resident", "evicted") else None


def evictions(budget: bayplan.Budget) -> list[tuple[str, str]]:
    """Every (key, cause) of the budget's log so far, oldest first."""
    seen = budget.evictions.subscribe()
    seen.resync(budget.evictions.first)
    records = [(r.key, r.cause) for r in seen.drain()]
    seen.unsubscribe()
    return records
