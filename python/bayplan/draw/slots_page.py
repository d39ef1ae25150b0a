"""Slots as HTML, for notebooks: no script, no file, no matplotlib."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from .budget_page import bar_div, colour_key, pressure_span
from .budget_rows import PRESSURES
from .colours import FIELDS, tint
from .sheet import text_width
from .slots_rows import MOST_ROWS, Scene, SlotRow, columns, lines_for, scene

if TYPE_CHECKING:
    from ..slots import SlotManager

_CELL = "text-align:{side};padding:1px 8px;white-space:nowrap"
_LINE = "display:flex;height:20px;margin-top:2px;width:{width:.2f}%"
_INCHES = 10.0  # as wide as a notebook's cell is taken to be
_BOX = (
    "flex:{n} 1 0px;min-width:1px;background:{fill};border:1px solid {edge};overflow:hidden;"
    "font-size:11px;line-height:20px;text-indent:2px;white-space:nowrap;box-sizing:border-box;"
    "color:#123"
)
_COLOURS = {
    "slots": FIELDS["used"],
    "others": "#7f8c8d",
    "reserved": FIELDS["reserved"],
    "retiring": FIELDS["retiring"],
    "available": FIELDS["available"],
}
_HOLLOW = "repeating-linear-gradient(45deg,#fff 0 4px,{colour} 4px 6px)"


def slots_html(slots: SlotManager) -> str:
    """
    Draw a manager's slots as a self-contained piece of HTML.

    Parameters
    ----------
    slots : SlotManager
        What to draw.

    Returns
    -------
    str
        A ``<div>``: the budget as a bar to scale with a tick where each pressure begins, the
        slots on the device and those that are not as bars to scale among themselves (a tooltip
        on every box), and a table that can be folded away.
    """
    seen = scene(slots)
    first, second = (escape(line) for line in seen.heads())
    name = PRESSURES[seen.budget.pressure]
    second = second.replace(f", {name},", f", {pressure_span(seen.budget.pressure)},", 1)
    parts = [f"<div style='font-family:sans-serif;color:#123'><b>{first}</b><div>{second}</div>"]
    budget = seen.budget
    counts = (
        seen.resident_bytes, seen.other_bytes, budget.reserved, budget.retiring, budget.available
    )  # fmt: skip
    pieces = [(what, n, colour) for n, (what, colour) in zip(counts, _COLOURS.items(), strict=True)]
    parts += [bar_div(pieces, budget, "auto"), colour_key(_COLOURS)]
    for title, rows in (("on the device", seen.leaving), ("not on the device", seen.absent)):
        if rows:
            parts += [f"<div style='margin-top:6px;font-size:12px'>{title}</div>", _boxes(rows)]
    if seen.rows:
        parts.append(_table(seen))
    return "\n".join([*parts, "</div>"])


def _boxes(rows: list[SlotRow]) -> str:
    """Lines of boxes, all to one scale; no box is broken."""
    lines = lines_for(rows, _INCHES)
    longest = max(sum(row.nbytes for row in line) for line in lines)
    parts = []
    for line in lines:
        total = sum(row.nbytes for row in line)
        inner = "".join(_box(row, _INCHES * row.nbytes / longest) for row in line)
        parts.append(f'<div style="{_LINE.format(width=100 * total / longest)}">{inner}</div>')
    return "".join(parts)


def _box(row: SlotRow, inches: float) -> str:
    """A slot; its name where it fits, and in a tooltip."""
    colour = tint(row.number)
    fill = colour if row.is_resident else _HOLLOW.format(colour=colour)
    edge = "#fff" if row.is_resident else "#bbb"
    name, notes = escape(row.name), f", {row.notes}" if row.notes else ""
    style = _BOX.format(n=row.nbytes, fill=fill, edge=edge)
    shown = name if text_width(row.name, 8.0) + 0.06 <= inches else ""
    tip = f"{name}: {row.nbytes:,} bytes, {row.state}{notes}"
    return f'<div style="{style}" title="{tip}">{shown}</div>'


def _table(seen: Scene) -> str:
    shown, rest = seen.rows[:MOST_ROWS], seen.rows[MOST_ROWS:]
    every = [column for column in columns(seen, shown) if column.head != "size"]
    sides = ["right" if column.is_right else "left" for column in every]
    lines = [_row([column.head for column in every], sides, "th")]
    lines += [_row([column.cells[i] for column in every], sides, "td") for i in range(len(shown))]
    more = f"<div>{escape(seen.rest(rest))}</div>" if rest else ""
    n = len(seen.rows)
    return (
        f"<details><summary>{n:,} {'slot' if n == 1 else 'slots'}</summary>"
        f"<table>{''.join(lines)}</table>{more}</details>"
    )


def _row(cells: list[str], sides: list[str], tag: str) -> str:
    inner = (
        f'<{tag} style="{_CELL.format(side=side)}">{escape(cell)}</{tag}>'
        for cell, side in zip(cells, sides, strict=True)
    )
    return f"<tr>{''.join(inner)}</tr>"
