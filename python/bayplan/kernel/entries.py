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


def reach(layout: Layout, name: str, phase: str | None = None) -> Placement | ChildRegion:
    """Return the buffer, roll-up or child of that name that lives in a phase, or always.

    Raises
    ------
    AttributeError
        If there is none, or it does not live there.
    """
    if name in layout.phases:
        raise AttributeError(messages.entered_from_views(layout, name))
    entry = find(layout, name)
    if entry.live is None or (phase is not None and _lives_in(layout, entry.live, phase)):
        return entry
    kind = kind_of(entry)
    if phase is None:
        raise AttributeError(messages.enter_first(layout, kind, name, entry.live))
    raise AttributeError(messages.not_alive(layout, kind, name, entry.live, phase))


def reach_from_outside(layout: Layout, name: str) -> Placement | ChildRegion:
    """Return what a region shows of that name: what lives always and is not local.

    Raises
    ------
    AttributeError
        If there is none, or only the function that opens the layout has it.
    """
    if name in layout.phases:
        raise AttributeError(messages.entered_from_views(layout, name))
    entry = find(layout, name)
    if not isinstance(entry, ChildRegion) and entry.location == "local":
        raise AttributeError(messages.private(layout, name))
    if entry.live is not None:
        raise AttributeError(messages.out_of_reach(layout, kind_of(entry), name, entry.live))
    return entry


def kind_of(entry: Placement | ChildRegion) -> str:
    """What messages call it."""
    return "child" if isinstance(entry, ChildRegion) else "buffer"


def _lives_in(layout: Layout, live: tuple[str, str], phase: str) -> bool:
    first, at, last = map(layout.phases.index, (live[0], phase, live[1]))
    return first <= at <= last


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
    """Return the own buffers that opening the layout zeroes: scratch that lives always."""
    return [
        entry for entry in layout.placements if entry.zero and not entry.keep and entry.live is None
    ]


def begins(layout: Layout, phase: str) -> list[Placement]:
    """Return the own buffers and roll-ups whose life begins in a phase."""
    return [
        entry for entry in layout.placements if entry.live is not None and entry.live[0] == phase
    ]


def phase_to_zero(layout: Layout, phase: str) -> list[Placement]:
    """Return the own buffers that entering a phase zeroes."""
    return [entry for entry in begins(layout, phase) if entry.zero]


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
