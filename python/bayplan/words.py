"""Layouts in sentences: why a buffer lies where it lies, and what changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._core import ChildRegion, Layout, Placement, Region

__all__ = ["explain_placement", "list_changes"]

_REGIONS = ("shared", "block", "persistent_local", "local")
_COPIES = {
    "shared": "one copy per run, in that run's slice of dynamic shared memory",
    "block": "one copy per thread block, in dynamic shared memory before the runs' slices",
    "persistent_local": "one copy per thread, in bytes that last for the whole launch",
    "local": "one copy per thread, in a local array of the device function",
}


def _count(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _content(placement: Placement) -> str:
    shape = " x ".join(str(n) for n in placement.shape)
    return f"{shape} of {placement.dtype}, {_count(placement.nbytes, 'byte')}"


def _live(live: tuple[str, str] | None) -> str:
    """Say when something is alive."""
    if live is None:
        return "always"
    first, last = live
    return f"in phase {first!r}" if first == last else f"from phase {first!r} to {last!r}"


def _live_together(layout: Layout, one: Placement, other: Placement) -> bool:
    if one.live is None or other.live is None:
        return True
    (a, b), (c, d) = (map(layout.phases.index, live) for live in (one.live, other.live))
    return a <= d and c <= b


def _neighbour(layout: Layout, placement: Placement, region: Region) -> str:
    """Say what ends in front of a placement, and how many bytes are between."""
    ends = [
        (other.offset + other.nbytes, other.name)
        for other in region.placements
        if other.name != placement.name
        and other.nbytes
        and other.offset + other.nbytes <= placement.offset
        and _live_together(layout, placement, other)
    ]
    if not ends:
        return "at the start" if placement.offset == 0 else "with nothing in front of it"
    end, name = max(ends)
    gap = placement.offset - end
    padding = f", after {_count(gap, 'byte')} of padding" if gap else ""
    return f"behind {name!r}{padding}"


def _twins(placement: Placement, region: Region) -> list[Placement]:
    """Find the buffers that use some of the same bytes."""
    begin, end = placement.offset, placement.offset + placement.nbytes
    return [
        other
        for other in region.placements
        if other.name != placement.name
        and other.nbytes
        and other.offset < end
        and begin < other.offset + other.nbytes
    ]


def _sharing(placement: Placement, region: Region) -> str:
    """Say with whom bytes are shared, and when those others have them."""
    twins = _twins(placement, region)
    same = [repr(twin.name) for twin in twins if twin.bytes_of == placement.bytes_of]
    others = [
        f"{twin.name!r} ({_live(twin.live)})"
        for twin in twins
        if twin.bytes_of != placement.bytes_of
    ]
    text = f" It shares bytes with {', '.join(same)}." if same else ""
    if others:
        text += f" When it is not alive, bytes of it are used by {', '.join(others)}."
    return text


def _lifetime(layout: Layout, placement: Placement) -> str:
    """Say when a placement is alive, in a factory that has phases."""
    if not layout.phases:
        return ""
    text = f" It is alive {_live(placement.live)}."
    if placement.carried:
        text += " Its contents go from one turn of a loop to the next."
    if placement.is_rollup and placement.live is None and placement.nbytes:
        child = layout.children[placement.name.removesuffix(f"_{placement.location}")]
        if child.live is not None:
            text += (
                f" Its child is called {_live(child.live)} alone, but contents"
                " that are kept between two calls need it always."
            )
    return text


def _quality(region: Region) -> str:
    if region.status is None:
        return ""
    if region.status == "optimal":
        return f" The region has {_count(region.nbytes, 'byte')}; no plan has fewer."
    return (
        f" The region has {_count(region.nbytes, 'byte')}; "
        f"{region.lower_bound} are needed at least."
    )


def explain_placement(layout: Layout, placement: Placement) -> str:
    """Return a paragraph about one placement of a layout."""
    where = placement.location
    region: Region = getattr(layout, where)
    what = "the bytes of a child" if placement.is_rollup else "a buffer"
    text = f"{placement.name!r} is {what} ({_content(placement)}): {_COPIES[where]}."
    if where == "local":
        return text + " It has an array of its own, so it has no offset to choose."
    text += (
        f" It lies at byte {placement.offset}, {_neighbour(layout, placement, region)};"
        f" its offset is a multiple of {placement.align}."
    )
    text += _lifetime(layout, placement) + _sharing(placement, region)
    if placement.keep:
        text += " Its contents are kept between two calls."
    return text + _quality(region)


def _describe(placement: Placement) -> str:
    return f"{placement.location} at {placement.offset}, {_content(placement)}"


def _flags(placement: Placement) -> str:
    return (
        f"keep={placement.keep}, zero={placement.zero}, align={placement.align}, "
        f"live={placement.live}, carried={placement.carried}"
    )


def _placement_changes(before: Placement, after: Placement) -> Iterator[str]:
    if before == after:
        return
    if _describe(before) != _describe(after):
        yield f"{before.name}: {_describe(before)} -> {_describe(after)}"
    if _flags(before) != _flags(after):
        yield f"{before.name}: {_flags(before)} -> {_flags(after)}"


def _child_changes(before: ChildRegion, after: ChildRegion) -> Iterator[str]:
    if before.layout != after.layout:
        yield f"child {before.name}: its own layout differs"
    if before.live != after.live:
        yield f"child {before.name}: called {_live(before.live)} -> {_live(after.live)}"


def list_changes(before: Layout, after: Layout) -> Iterator[str]:
    """Yield a line for everything that differs between two layouts."""
    if before.precision != after.precision:
        yield f"precision: {before.precision} -> {after.precision}"
    for what in ("phases", "loops"):
        if getattr(before, what) != getattr(after, what):
            yield f"{what}: {getattr(before, what)} -> {getattr(after, what)}"
    old = {placement.name: placement for placement in before.placements}
    new = {placement.name: placement for placement in after.placements}
    for name, placement in old.items():
        if name in new:
            yield from _placement_changes(placement, new[name])
        else:
            yield f"{name}: {_describe(placement)} -> gone"
    for name, placement in new.items():
        if name not in old:
            yield f"{name}: new, {_describe(placement)}"
    for name, child in before.children.items():
        if name in after.children:
            yield from _child_changes(child, after.children[name])
    for name in _REGIONS:
        old_bytes, new_bytes = getattr(before, name).nbytes, getattr(after, name).nbytes
        if old_bytes != new_bytes:
            yield f"{name} region: {old_bytes} -> {_count(new_bytes, 'byte')}"
