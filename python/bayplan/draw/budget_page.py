"""A tree of budgets as HTML, for notebooks: no script, no file, no matplotlib."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING

from .budget_rows import PARTS, PRESSURES, Row, budget_rows, percent
from .colours import FIELDS, PRESSURE_INKS

if TYPE_CHECKING:
    from ..budget import Budget

_BAR = (
    "position:relative;width:{width};height:14px;border:1px solid #888;background:#fff;"
    "overflow:hidden"
)
_PIECE = "position:absolute;left:{left:.4f}%;width:{width:.4f}%;top:0;height:100%;{fill}"
_CELL = "text-align:{side};padding:1px 8px;white-space:nowrap"
_SIDES = ("left", "left", "right", "right", "right", "left")
_HEAD = ("budget", "", "in use", "limit", "", "pressure")


def budget_html(budget: Budget) -> str:
    """
    Draw a budget and all below it as a self-contained piece of HTML.

    Parameters
    ----------
    budget : Budget
        Where to begin.

    Returns
    -------
    str
        A ``<div>`` with a row per budget: a bar to scale with a tick where each pressure begins
        and a tooltip on every piece, bytes, percent and pressure, and its tags.
    """
    lines = [_line("".join(_cell(cell, k, "th") for k, cell in enumerate(_HEAD)))]
    for row in budget_rows(budget):
        lines.append(_line("".join(_cells(row))))
        lines += [_line(_tag(row, tag, n)) for tag, n in row.tags]
    table = f"<table style='border-collapse:collapse'>{''.join(lines)}</table>"
    return f"<div style='font-family:sans-serif;color:#123'>{table}{colour_key(FIELDS)}</div>"


def colour_key(colours: Mapping[str, str]) -> str:
    """What the colours of bars mean."""
    items = (
        f"<span style='display:inline-block;width:10px;height:10px;border:1px solid #888;"
        f"background:{colour};margin:0 4px 0 12px'></span>{part}"
        for part, colour in colours.items()
    )
    return f"<div style='font-size:11px'>{''.join(items)}</div>"


def bar_div(pieces: list[tuple[str, int, str]], row: Row, width: str) -> str:
    """A bar of (what, bytes, colour) pieces over a budget's limit, with its levels as ticks."""
    whole = max(row.limit, row.in_use)
    inner, end = [], 0
    for what, n, colour in pieces:
        if n and whole:
            inner.append(
                f'<div style="{_place(end, n, whole, colour)}" '
                f'title="{escape(what)}: {n:,} bytes"></div>'
            )
        end += n
    for level, name in zip(row.levels, PRESSURES[1:], strict=True):
        at = level * row.limit / (100 * whole) * 100 if whole else level
        style = (
            f"position:absolute;left:{at:.4f}%;top:0;height:100%;width:0;border-left:2px solid "
            f"{PRESSURE_INKS[name]}"
        )
        inner.append(f'<div style="{style}" title="{name} from {level} %"></div>')
    return f'<div style="{_BAR.format(width=width)}">{"".join(inner)}</div>'


def _place(begin: int, n: int, whole: int, colour: str) -> str:
    fill = f"background:{colour};box-sizing:border-box;border-right:1px solid #fff"
    return _PIECE.format(left=100 * begin / whole, width=100 * n / whole, fill=fill)


def pressure_span(pressure: int) -> str:
    """The name of a pressure in its colour."""
    name = PRESSURES[pressure]
    return f"<b style='color:{PRESSURE_INKS[name]}'>{name}</b>"


def _cells(row: Row) -> list[str]:
    pieces = [(p, n, FIELDS[p]) for p, n in zip(PARTS[:3], row.parts, strict=True)]
    notes = f" <span style='color:#b3261e'>{escape(row.notes)}</span>" if row.notes else ""
    return [
        _cell(row.lines + row.name, 0, "td"),
        f'<td style="{_CELL.format(side="left")}">{bar_div(pieces, row, "240px")}</td>',
        _cell(f"{row.in_use:,}", 2, "td"),
        _cell(f"{row.limit:,}", 3, "td"),
        _cell(percent(row.in_use, row.limit), 4, "td"),
        f'<td style="{_CELL.format(side="left")}">{pressure_span(row.pressure)}{notes}</td>',
    ]


def _tag(row: Row, tag: str, n: int) -> str:
    empty = _cell("", 1, "td")
    return "".join(
        (_cell(f"{row.below}  {tag}", 0, "td", "color:#5f6b76;"), empty, _cell(f"{n:,}", 2, "td"))
    )


def _cell(text: str, column: int, tag: str, style: str = "") -> str:
    # Branches of the tree stand in blanks, which HTML would swallow.
    shown = escape(text).replace("  ", "&nbsp;&nbsp;")
    return f'<{tag} style="{style}{_CELL.format(side=_SIDES[column])}">{shown}</{tag}>'


def _line(cells: str) -> str:
    return f"<tr>{cells}</tr>"
