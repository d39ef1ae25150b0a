"""A plan as tiles for the eye: what its text and its picture share.

Offsets, bounds and live bytes are the core's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from .. import _core

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class PlanLike(Protocol):
    """A finished plan: `bayplan.Plan` or the core's record."""

    @property
    def offsets(self) -> NDArray[np.int64]: ...  # noqa: D102
    @property
    def height(self) -> int: ...  # noqa: D102
    @property
    def load(self) -> int: ...  # noqa: D102
    @property
    def lower_bound(self) -> int: ...  # noqa: D102
    @property
    def status(self) -> str: ...  # noqa: D102
    @property
    def interrupted(self) -> bool: ...  # noqa: D102
    @property
    def sizes(self) -> NDArray[np.int64]: ...  # noqa: D102
    @property
    def first(self) -> NDArray[np.int64]: ...  # noqa: D102
    @property
    def last(self) -> NDArray[np.int64]: ...  # noqa: D102


class Tile(NamedTuple):
    """A buffer that takes space: alive in [first, last) at [offset, offset + size)."""

    number: int
    first: int
    last: int
    offset: int
    size: int

    @property
    def top(self) -> int:
        """First byte above it."""
        return self.offset + self.size


def tiles(plan: PlanLike) -> list[Tile]:
    """Every buffer that takes space, by address, then time."""
    columns = (plan.first, plan.last, plan.offsets, plan.sizes)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    every = [Tile(i, *row) for i, row in enumerate(rows)]
    taken = [tile for tile in every if tile.size and tile.first < tile.last]
    return sorted(taken, key=lambda tile: (tile.offset, tile.first, tile.number))


class Steps(NamedTuple):
    """Live bytes: `live[k]` from `times[k]` until `times[k + 1]`; the last is 0."""

    times: list[int]
    live: list[int]


def steps(plan: PlanLike) -> Steps:
    """Live bytes over time."""
    times, live = _core.live_bytes(plan.sizes, plan.first, plan.last)
    return Steps(times.tolist(), live.tolist())


def head(plan: PlanLike, taken: list[Tile]) -> str:
    """Number of buffers, height, bound, status and unused area in one line."""
    n = len(plan.sizes)
    parts = [f"{n:,} {'buffer' if n == 1 else 'buffers'}", f"{plan.height:,} bytes"]
    if plan.status in ("infeasible", "unknown"):
        parts.append(f"capacity not met ({plan.status})")
    elif plan.lower_bound == plan.height:
        parts.append("optimal")
    if plan.lower_bound < plan.height:
        over = (plan.height - plan.lower_bound) / plan.lower_bound if plan.lower_bound else 1.0
        parts.append(f"{over:.2%} above the proven bound of {plan.lower_bound:,}")
    if taken:
        parts.append(f"{wasted(plan, taken):.1%} of the area unused")
    if plan.interrupted:
        parts.append("interrupted")
    return ", ".join(parts)


def wasted(plan: PlanLike, taken: list[Tile]) -> float:
    """Part of height x time that no buffer uses, from the first birth to the last death."""
    begin, end = min(t.first for t in taken), max(t.last for t in taken)
    used = sum(t.size * (t.last - t.first) for t in taken)
    return 1 - used / (plan.height * (end - begin))
