"""A layout as HTML, for notebooks: no script, no file, no matplotlib."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from .bands import Band, Box, Gap, bands, shape_text, title
from .colours import GAP, Palette

if TYPE_CHECKING:
    from .. import _core

_BAR = "position:relative;height:{height}px;border:1px solid #888;background:#fff;overflow:hidden"
_BOX = (
    "position:absolute;left:{left:.4f}%;width:{width:.4f}%;top:{top:.2f}%;height:{height:.2f}%;"
    "background:{colour};border-right:1px solid #fff;box-sizing:border-box;overflow:hidden;"
    "font-size:11px;line-height:20px;padding-left:2px;white-space:nowrap;color:#123"
)
_CELL = 'style="text-align:{side};padding:1px 8px"'
_HEAD = ("offset", "bytes", "name", "dtype", "shape", "align", "kept", "live")


def html(layout: _core.Layout) -> str:
    """
    Draw a layout as a self-contained piece of HTML.

    Parameters
    ----------
    layout : Layout
        What to draw.

    Returns
    -------
    str
        A ``<div>``: for every region that holds bytes a bar to scale (unused bytes in grey, a
        tooltip on every box) and a table that can be folded away.
    """
    palette = Palette(layout.children)
    parts = [f"<div style='font-family:sans-serif'><b>{escape(title(layout))}</b>"]
    for band in bands(layout):
        head = f"<b>{band.location}</b>: {escape(band.summary())}"
        parts.append(f"<div style='margin-top:6px'>{head}</div>")
        if band.nbytes:
            parts += [_bar(band, palette), _table(band)]
    return "\n".join([*parts, "</div>"])


def _bar(band: Band, palette: Palette) -> str:
    lanes = max((box.n_lanes for box in band.boxes), default=1)
    inner = [_gap_div(gap, band) for gap in band.gaps]
    inner += [
        _box_div(box, band, palette.of(box.child, i))
        for i, box in enumerate(band.boxes)
        if box.nbytes
    ]
    return f'<div style="{_BAR.format(height=20 * lanes)}">{"".join(inner)}</div>'


def _place(offset: int, nbytes: int, band: Band, lane: int, n_lanes: int, colour: str) -> str:
    return _BOX.format(
        left=100 * offset / band.nbytes,
        width=100 * nbytes / band.nbytes,
        top=100 * lane / n_lanes,
        height=100 / n_lanes,
        colour=colour,
    )


def _gap_div(gap: Gap, band: Band) -> str:
    style = _place(gap.offset, gap.nbytes, band, 0, 1, GAP)
    return f'<div style="{style}" title="{gap.nbytes:,} bytes unused at {gap.offset:,}"></div>'


def _box_div(box: Box, band: Band, colour: str) -> str:
    style = _place(box.offset, box.nbytes, band, box.lane, box.n_lanes, colour)
    where = f" at {box.offset:,}" if band.has_addresses else ""
    name = escape(box.name)
    return f'<div style="{style}" title="{name}: {box.nbytes:,} bytes{where}">{name}</div>'


def _table(band: Band) -> str:
    n_columns = len(_HEAD) if band.phases else len(_HEAD) - 1
    rows = [_row(_HEAD[:n_columns], "th")]
    for box in band.boxes:
        cells = (
            f"{box.offset:,}" if band.has_addresses else "-",
            f"{box.nbytes:,}",
            box.name,
            box.dtype,
            shape_text(box.shape),
            str(box.align),
            "yes" if box.keep else "",
            band.live(box) or "always",
        )
        rows.append(_row(cells[:n_columns], "td"))
    body = "".join(rows)
    count = len(band.boxes)
    return f"<details><summary>{count} entries</summary><table>{body}</table></details>"


def _row(cells: tuple[str, ...], tag: str) -> str:
    sides = ("right", "right", "left", "left", "left", "right", "left", "left")[: len(cells)]
    inner = "".join(
        f"<{tag} {_CELL.format(side=side)}>{escape(cell)}</{tag}>"
        for cell, side in zip(cells, sides, strict=True)
    )
    return f"<tr>{inner}</tr>"
