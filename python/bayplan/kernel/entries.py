"""What a layout holds, as the compiler path and the simulator both ask for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from .._core import BufferKeyError, ChildRegion, Layout, Placement
from . import messages


class ZeroFill(NamedTuple):
    """A buffer that `root` zeroes, at byte offsets from the root's regions."""

    entry: Placement
    offset: int


def find(layout: Layout, name: str) -> Placement | ChildRegion:
    """Return the buffer, roll-up or child of that name.

    Raises
    ------
    AttributeError
        If there is none; says what there is.
    """
    child = layout.children.get(name)
    if child is not None:
        return child
    try:
        entry = layout[name]
    except BufferKeyError:
        raise AttributeError(messages.unknown(layout, name)) from None
    if is_uneven_rollup(entry):
        raise AttributeError(messages.uneven_rollup(entry))
    return entry


def is_uneven_rollup(entry: Placement) -> bool:
    """Whether a roll-up's bytes are no whole number of its elements."""
    return bool(entry.is_rollup and entry.nbytes % entry.dtype.itemsize)


def bytes_owner(layout: Layout, entry: Placement) -> Placement:
    """Return the buffer whose bytes an entry has: its own, unless it is `same_as` another."""
    return layout.placements[entry.bytes_of]


def local_owners(layout: Layout) -> list[Placement]:
    """Return the layout's own local buffers that have bytes of their own."""
    return [
        entry for entry in layout.local.placements if bytes_owner(layout, entry).name == entry.name
    ]


def scratch_to_zero(layout: Layout) -> list[Placement]:
    """Return the own buffers that opening the layout zeroes."""
    return [entry for entry in layout.placements if entry.zero and not entry.keep]


def kept_to_zero(layout: Layout) -> Iterator[ZeroFill]:
    """Yield the kept buffers of the whole tree that `root` zeroes."""
    if not any(entry.zero and entry.keep for node in _nodes(layout) for entry in node.placements):
        return
    stack = [(layout, {"shared": 0, "block": 0, "persistent_local": 0})]
    while stack:
        node, base = stack.pop()
        for entry in node.placements:
            if entry.zero and entry.keep:
                yield ZeroFill(entry, base[entry.location] + entry.offset)
        for child in node.children.values():
            offsets = {location: base[location] + getattr(child, location) for location in base}
            stack.append((child.layout, offsets))


def _nodes(layout: Layout) -> Iterator[Layout]:
    """Yield each layout object of the tree once."""
    seen = {id(layout)}
    stack = [layout]
    while stack:
        node = stack.pop()
        yield node
        for child in node.children.values():
            if id(child.layout) not in seen:
                seen.add(id(child.layout))
                stack.append(child.layout)


def view_shape(entry: Placement) -> tuple[int, ...]:
    """Return the shape of a buffer's view; a roll-up is counted in whole elements."""
    if entry.is_rollup:
        return (entry.nbytes // entry.dtype.itemsize,)
    return entry.shape
