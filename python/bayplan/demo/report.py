"""What the demo prints: results, and the memory map of a whole factory tree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from bayplan import Layout, Placement

if TYPE_CHECKING:
    from .lifetimes import Saving

__all__ = ["COPIES", "Row", "memory_map", "moved", "saved", "totals", "walk"]

COPIES = {
    "shared": "per run",
    "block": "per block",
    "persistent_local": "per thread",
    "local": "per thread",
}
_STYLES = {"shared": "cyan", "block": "magenta", "persistent_local": "green", "local": "yellow"}


class Row(NamedTuple):
    """A factory (without `placement`) or one of its buffers, somewhere in the tree."""

    path: tuple[str, ...]
    """Names of children from the root down, and the buffer's name at the end."""

    layout: Layout
    placement: Placement | None
    base: dict[str, int]
    """Where the factory's block begins in each memory of the root, in bytes."""

    @property
    def address(self) -> int | None:
        """The buffer's first byte in the root's region; local arrays have none."""
        if self.placement is None or self.placement.location == "local":
            return None
        address: int = self.base[self.placement.location] + self.placement.offset
        return address


def walk(
    layout: Layout,
    path: tuple[str, ...] = (),
    base: dict[str, int] | None = None,
) -> Iterator[Row]:
    """Yield every factory of the tree, each followed by its buffers and its children."""
    base = base or {"shared": 0, "block": 0, "persistent_local": 0}
    yield Row(path, layout, None, base)
    for placement in layout.placements:
        if not placement.is_rollup:
            yield Row((*path, placement.name), layout, placement, base)
    for name, child in layout.children.items():
        below = {location: start + getattr(child, location) for location, start in base.items()}
        yield from walk(child.layout, (*path, name), below)


def memory_map(layout: Layout, title: str) -> Table:
    """Show every factory and buffer of a tree: location, address in its memory, bytes."""
    table = Table(title=title, title_justify="left", box=SIMPLE, pad_edge=False)
    table.add_column("factory / buffer")
    table.add_column("location")
    for column in ("address", "bytes"):
        table.add_column(column, justify="right")
    table.add_column("elements")
    table.add_column("kept")
    for row in walk(layout):
        indent = "  " * len(row.path)
        placement = row.placement
        if placement is None:
            child = f"{row.path[-1]}: " if row.path else ""
            table.add_row(Text(f"{indent}{child}{row.layout.name}", style="bold"))
            continue
        shape = " x ".join(map(str, placement.shape))
        table.add_row(
            f"{indent}{placement.name}",
            Text(placement.location, style=_STYLES[placement.location]),
            "-" if row.address is None else str(row.address),
            str(placement.nbytes),
            f"{shape} {placement.dtype}",
            "yes" if placement.keep else "",
        )
    return table


def totals(layout: Layout, dynamic_bytes: dict[int, int]) -> Table:
    """Show the bytes of each memory, and what a launch needs by runs per block."""
    table = Table(box=SIMPLE, pad_edge=False)
    table.add_column("memory")
    for column in ("bytes", "least possible", ""):
        table.add_column(column, justify="right" if column else "left")
    for location, copies in COPIES.items():
        region = getattr(layout, location)
        bound = "" if region.lower_bound is None else str(region.lower_bound)
        table.add_row(
            Text(location, style=_STYLES[location]),
            str(region.nbytes),
            bound,
            f"{copies}, {region.status}" if location != "local" else f"{copies}, an estimate",
        )
    for lanes, n_bytes in dynamic_bytes.items():
        table.add_row(f"a block of {lanes}", str(n_bytes), "", "dynamic shared bytes")
    return table


def saved(rows: Iterable[tuple[str, Saving]]) -> Table:
    """Show what lifetimes save; a row is the name of a tree and one of its placements."""
    table = Table(box=SIMPLE, pad_edge=False)
    table.add_column("integrator")
    table.add_column("placement")
    for column in ("bytes of a run", "by lifetimes", "runs in a block", "by lifetimes"):
        table.add_column(column, justify="right")
    for title, saving in rows:
        table.add_row(title, saving.placement, *map(str, saving[1:]))
    return table


def moved(before: Layout, after: Layout) -> Table:
    """Show the buffers that lie elsewhere in `after`."""
    table = Table(box=SIMPLE, pad_edge=False)
    for column in ("buffer", "before", "after"):
        table.add_column(column)
    places = {row.path: row for row in walk(before) if row.placement is not None}
    for row in walk(after):
        old = places.get(row.path)
        if old is None or row.placement is None or old.placement is None:
            continue
        if (old.placement.location, old.address) != (row.placement.location, row.address):
            table.add_row(".".join(row.path), _place(old), _place(row))
    return table


def _place(row: Row) -> str:
    assert row.placement is not None
    where = "" if row.address is None else f" at {row.address}"
    return f"{row.placement.location}{where}"
