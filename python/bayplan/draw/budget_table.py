"""A tree of budgets as fixed-width text, and as a table for rich."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from .budget_rows import KEY, PRESSURES, Row, bar, budget_rows, percent

if TYPE_CHECKING:
    from ..budget import Budget

_HEAD = ("budget", "", "in use", "limit", "", "pressure", "")
_RIGHT = (False, False, True, True, True, False, False)
_WIDTH = 24
STYLES = ("green", "yellow", "dark_orange", "bold red")
"""Of the pressures, for rich."""


def budget_text(budget: Budget) -> str:
    """
    Draw a budget and all below it as fixed-width text.

    Parameters
    ----------
    budget : Budget
        Where to begin.

    Returns
    -------
    str
        A row per budget, children under their parents: a bar, bytes in use (used, reserved and
        retiring), the limit, percent and pressure; under it the tags that have bytes, and at the
        end what the bars are made of. Lines end without blanks; no newline at the end.
    """
    rows: list[tuple[str, ...]] = [_HEAD]
    for row in budget_rows(budget):
        rows.append(_cells(row))
        rows += [_tag_cells(row, tag, n) for tag, n in row.tags]
    widths = [max(len(row[k]) for row in rows) for k in range(len(_HEAD))]
    return "\n".join([*(_line(row, widths) for row in rows), KEY])


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.lines + row.name,
        bar(row.parts, row.limit, _WIDTH),
        f"{row.in_use:,}",
        f"{row.limit:,}",
        percent(row.in_use, row.limit),
        PRESSURES[row.pressure],
        row.notes,
    )


def _tag_cells(row: Row, tag: str, n_bytes: int) -> tuple[str, ...]:
    return (f"{row.below}  {tag}", "", f"{n_bytes:,}", "", "", "", "")


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    cells = (
        cell.rjust(width) if right else cell.ljust(width)
        for cell, width, right in zip(row, widths, _RIGHT, strict=True)
    )
    return "  ".join(cells).rstrip()


def rich_budget(budget: Budget) -> Any:
    """
    Make a table of a budget and all below it for rich.

    Parameters
    ----------
    budget : Budget
        Where to begin.

    Returns
    -------
    rich.table.Table

    Raises
    ------
    ImportError
        Without rich (the ``demo`` extra).
    """
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=SIMPLE, pad_edge=False, padding=(0, 1, 0, 0), caption=KEY, caption_justify="left"
    )
    for head, right in zip(_HEAD, _RIGHT, strict=True):
        # Where the terminal is narrow, names are folded and no number is cut.
        side: Literal["left", "right"] = "right" if right else "left"
        table.add_column(head, justify=side, no_wrap=head != "budget", overflow="fold")
    for row in budget_rows(budget):
        cells = [Text(cell) for cell in _cells(row)]
        cells[1].stylize(STYLES[row.pressure])
        cells[5].stylize(STYLES[row.pressure])
        table.add_row(*cells)
        for tag, n in row.tags:
            table.add_row(*(Text(cell, style="dim") for cell in _tag_cells(row, tag, n)))
    return table
