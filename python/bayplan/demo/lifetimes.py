"""What lifetimes save: the bytes of one run, and how many runs a block holds, with and without."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from bayplan import BoundLayout, BufferRegistry, Layout, Placement

from .ensemble import DYNAMIC_SHARED_BYTES, build_tree
from .problems import Problem
from .report import walk

__all__ = ["MAX_RUNS", "PLACEMENTS", "Saving", "runs_per_block", "savings"]

MAX_RUNS = 1024
"""Threads of a block, on every device."""


def _scratch_in_shared(placement: Placement) -> str | None:
    return "shared" if placement.location == "local" else None


def _matrix_per_thread(placement: Placement) -> str | None:
    return "persistent_local" if placement.name == "matrix" else _scratch_in_shared(placement)


PLACEMENTS: dict[str, Callable[[Placement], str | None]] = {
    "as declared": lambda placement: None,
    "scratch in shared": _scratch_in_shared,
    "and the matrix per thread": _matrix_per_thread,
}
"""Where buffers are moved to: a location, or None for where they are."""


class Saving(NamedTuple):
    """One placement of a tree's buffers, without lifetimes and with them."""

    placement: str
    bytes_before: int
    bytes_after: int
    runs_before: int
    runs_after: int


def savings(problem: Problem, *, method: str, linear: str, precision: str) -> list[Saving]:
    """Plan each placement twice: one buffer behind the other, and by lifetimes."""
    found = []
    for name, location_of in PLACEMENTS.items():
        plans = []
        for mode in ("sequential", "auto"):
            registry = BufferRegistry(mode=mode)
            tree = build_tree(
                problem, method=method, linear=linear, precision=precision, registry=registry
            )
            tree.update_compile_settings(_moves(tree.buffers, location_of))
            plans.append(tree.buffers)
        runs = [runs_per_block(layout.bind()) for layout in plans]
        found.append(Saving(name, *(layout.shared.nbytes for layout in plans), *runs))
    return found


def _moves(layout: Layout, location_of: Callable[[Placement], str | None]) -> dict[str, str]:
    moves = {}
    for row in walk(layout):
        location = None if row.placement is None else location_of(row.placement)
        if location is not None:
            moves[f"{'_'.join(row.path)}_location"] = location
    return moves


def runs_per_block(bound: BoundLayout) -> int:
    """Count the runs whose shared bytes fit where every device grants them."""
    fewest, most = 0, MAX_RUNS
    while fewest < most:
        middle = (fewest + most + 1) // 2
        if bound.dynamic_shared_bytes(middle) <= DYNAMIC_SHARED_BYTES:
            fewest = middle
        else:
            most = middle - 1
    return fewest
