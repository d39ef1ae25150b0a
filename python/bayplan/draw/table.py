"""A layout as fixed-width text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .bands import Band, Box, bands, shape_text, title

if TYPE_CHECKING:
    from .. import _core

_HEAD = ("offset", "bytes", "name", "dtype", "shape", "live", "notes")
_RIGHT = (True, True, False, False, False, False, False)
_LIVE = _HEAD.index("live")


def text(layout: _core.Layout) -> str:
    """
    Draw a layout as a map in fixed-width text.

    Parameters
    ----------
    layout : Layout
        What to draw.

    Returns
    -------
    str
        One table per region: byte offset, bytes, name, dtype and shape of every buffer (and in
        which phases it is alive, where there are any), with the region's size, alignment, proven
        lower bound, status and unused bytes above it. Lines end without blanks; there is no
        newline at the end.
    """
    every_band = bands(layout)
    shown = [band for band in every_band if band.boxes]
    empty = [band.location for band in every_band if not band.boxes]
    rows = {band.location: _rows(band) for band in shown}
    every = [_HEAD, *(row for some in rows.values() for row in some)]
    widths = [max(len(row[k]) for row in every) for k in range(len(_HEAD))]
    if not layout.phases:
        widths[_LIVE] = 0
    lines = [title(layout), *_phases(layout)]
    for band in shown:
        lines += ["", f"{band.location}: {band.summary()}"]
        lines += [_line(row, widths) for row in (_HEAD, *rows[band.location])]
    if empty:
        lines += ["", f"empty: {', '.join(empty)}"]
    return "\n".join(lines + _children(layout))


def _rows(band: Band) -> list[tuple[str, ...]]:
    cells = [(box.offset, _box_row(box, band)) for box in band.boxes]
    if band.has_addresses:
        cells += [(g.offset, (f"{g.offset:,}", f"{g.nbytes:,}", "-", "", "", "", "unused"))
                  for g in band.gaps]  # fmt: skip
        cells.sort(key=lambda cell: cell[0])
    return [row for _, row in cells]


def _phases(layout: _core.Layout) -> list[str]:
    if not layout.phases:
        return []
    loops = [f"{first} - {last}" if first != last else first for first, last in layout.loops]
    repeated = f"; loops: {', '.join(loops)}" if loops else ""
    return [f"phases: {', '.join(layout.phases)}{repeated}"]


def _box_row(box: Box, band: Band) -> tuple[str, ...]:
    notes = [
        note
        for note, is_so in (
            (f"align {box.align}", box.align >= 16),
            (f"child {box.child}", box.child is not None),
            ("kept", box.keep),
            ("carried", box.carried),
            ("zeroed", box.zero),
            ("shares bytes", box.n_lanes > 1),
        )
        if is_so
    ]
    offset = f"{box.offset:,}" if band.has_addresses else "-"
    shape, live = shape_text(box.shape), band.live(box) or "always"
    return (offset, f"{box.nbytes:,}", box.name, box.dtype, shape, live, ", ".join(notes))


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    cells = [
        cell.rjust(width) if right else cell.ljust(width)
        for cell, width, right in zip(row, widths, _RIGHT, strict=True)
        if width
    ]
    return ("  " + "  ".join(cells)).rstrip()


def _children(layout: _core.Layout) -> list[str]:
    if not layout.children:
        return []
    lines = ["", "children (byte offsets of their blocks)"]
    width = max(len(name) for name in layout.children)
    for name, child in layout.children.items():
        at = f"shared {child.shared:,}, block {child.block:,}"
        at += f", persistent_local {child.persistent_local:,}"
        lines.append(f"  {name.ljust(width)}  {child.layout.name or 'layout'}: {at}")
    return lines
