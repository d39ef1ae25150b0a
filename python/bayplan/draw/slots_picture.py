"""Slots as a picture with matplotlib: the budget as a bar, the slots as a map to scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .budget_rows import PRESSURES, size
from .colours import FAINT, FIELDS, GAP, PRESSURE_INKS, tint
from .picture import WIDE, WIDTH, on_axes, require_matplotlib
from .sheet import Fill, Sheet, Words, text_width
from .slots_rows import Scene, SlotRow, lines_for, scene

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..slots import SlotManager

_MANY = 100  # slots from which a sheet is wide
_BAR = 0.30
_LINE, _GAP = 0.40, 0.05
_INSET = 0.01  # so that lines at the edge of the sheet are not cut
_OTHERS = "#b4bcc2"
_ABSENT = "#f7f7f7"
_FOOT = (
    "on the device from left to right, line by line: who would go first     "
    "dark foot: pinned     numbers: see the key"
)


def plot_slots(slots: SlotManager, ax: Axes | None = None) -> Axes:
    """
    Draw a manager's slots: the budget as a bar, then a box per slot, to scale among themselves.

    Parameters
    ----------
    slots : SlotManager
        What to draw.
    ax : matplotlib.axes.Axes, optional
        Where. Without it a figure of pyplot is made, as high as it must be for names to be
        readable; on axes that are given, everything shrinks until it fits.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn on, in inches from the upper left corner.

    Raises
    ------
    ImportError
        Without matplotlib (the ``plot`` extra).
    """
    require_matplotlib()
    seen = scene(slots)
    return on_axes(slots_sheet(seen, WIDE if len(seen.rows) > _MANY else WIDTH), ax)


def slots_sheet(seen: Scene, width: float) -> Sheet:
    """Everything `plot_slots` draws, on a sheet `width` inches wide."""
    sheet = Sheet(width)
    first, second = seen.heads()
    sheet.heading(first, 11)
    sheet.heading(second, 8.5)
    _draw_bar(sheet, seen)
    for title, rows in (("on the device", seen.leaving), ("not on the device", seen.absent)):
        if rows:
            total = sum(row.nbytes for row in rows)
            n = f"{len(rows):,} {'slot' if len(rows) == 1 else 'slots'}"
            sheet.y += 0.08
            sheet.heading(f"{title}: {n}, {total:,} bytes ({size(total)})", 8.5)
            _draw_slots(sheet, rows)
            sheet.draw_key()
    sheet.y += 0.06
    sheet.heading(_FOOT, 6.5, weight="normal")
    sheet.words[-1] = sheet.words[-1]._replace(colour=FAINT)
    return sheet


def _draw_bar(sheet: Sheet, seen: Scene) -> None:
    """The whole budget in one row, with a tick where each pressure begins."""
    budget = seen.budget
    whole = max(budget.limit, budget.in_use, 1)
    wide = sheet.width - 2 * _INSET
    scale, top = wide / whole, sheet.y + 0.02
    sheet.fills.append(Fill(_INSET, top, wide, _BAR, "#ffffff", edge=FAINT))
    pieces = [
        ("slots", seen.resident_bytes, FIELDS["reserved"]),
        ("others", seen.other_bytes, _OTHERS),
        ("reserved", budget.reserved, GAP),
        ("retiring", budget.retiring, FIELDS["retiring"]),
        ("available", budget.available, ""),
    ]
    end = 0
    for what, n, colour in pieces:
        fill = Fill(_INSET + end * scale, top, n * scale, _BAR, colour)
        if colour and n:
            sheet.fills.append(fill)
        if n:
            sheet.label(fill, f"{what} {size(n)}", "")
        end += n
    sheet.y = top + _BAR
    if not budget.limit:
        return
    right = 0.0
    for level, name in zip(budget.levels, PRESSURES[1:], strict=True):
        x = _INSET + level * budget.limit / 100 * scale
        ink = PRESSURE_INKS[name]
        sheet.fills.append(Fill(x, sheet.y - 0.06, 0.02, 0.1, ink, edge="none"))
        words = f"{name} {level} %"
        at = max(right, min(x, sheet.width - text_width(words, 6.0)))
        sheet.words.append(Words(at, sheet.y + 0.09, words, 6.0, ink))
        right = at + text_width(words, 6.0) + 0.08
    sheet.y += 0.14


def _draw_slots(sheet: Sheet, rows: list[SlotRow]) -> None:
    """Boxes in as many lines as their names need; no box is broken."""
    lines = lines_for(rows, sheet.width)
    scale = (sheet.width - 2 * _INSET) / max(sum(row.nbytes for row in line) for line in lines)
    sheet.y += 0.02
    for line in lines:
        x = _INSET
        for row in line:
            colour, edge = (tint(row.number), "white") if row.is_resident else (_ABSENT, FAINT)
            fill = Fill(x, sheet.y, row.nbytes * scale, _LINE, colour, edge)
            n_bytes = f"{row.nbytes:,} B"
            key = f"{row.name}: {n_bytes}"
            sheet.box(fill, (row.name,), n_bytes, kept=row.pinned, key=key)
            x += fill.width
        sheet.y += _LINE + _GAP
