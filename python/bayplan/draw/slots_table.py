"""Slots as fixed-width text, and as a table for rich."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from .budget_rows import KEY, bar
from .budget_table import STYLES
from .slots_rows import MOST_ROWS, columns, scene

if TYPE_CHECKING:
    from ..slots import SlotManager

_WIDTH = 64
_STATE_STYLES = {
    "resident": "green",
    "evicted": "dim",
    "evicting": "yellow",
    "restoring": "yellow",
}


def slots_text(slots: SlotManager) -> str:
    """
    Draw a manager's slots as fixed-width text.

    Parameters
    ----------
    slots : SlotManager
        What to draw.

    Returns
    -------
    str
        The budget as a bar, and a row per slot in order of allocation (60 at most): state, a bar
        of its size beside the largest slot's (hollow where it is not on the device), bytes, its
        number in the order in which slots would be evicted, the generation of its residency.
        What says nothing is left out. Lines end without blanks; no newline at the end.
    """
    seen = scene(slots)
    lines = [*seen.heads(), bar(seen.budget.parts, seen.budget.limit, _WIDTH), KEY]
    shown, rest = seen.rows[:MOST_ROWS], seen.rows[MOST_ROWS:]
    if shown:
        lines.append("")
        padded = []
        for head, is_right, cells in columns(seen, shown):
            width = max(map(len, (head, *cells)))
            padded.append([c.rjust(width) if is_right else c.ljust(width) for c in (head, *cells)])
        lines += ["  ".join(line).rstrip() for line in zip(*padded, strict=True)]
    if rest:
        lines.append(seen.rest(rest))
    return "\n".join(lines)


def rich_slots(slots: SlotManager) -> Any:
    """
    Make a table of a manager's slots for rich, with what `slots_text` has.

    Parameters
    ----------
    slots : SlotManager
        What to draw.

    Returns
    -------
    rich.console.Group or rich.text.Text
        The text alone where there are no slots.

    Raises
    ------
    ImportError
        Without rich (the ``demo`` extra).
    """
    from rich.box import SIMPLE
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    seen = scene(slots)
    first, second = seen.heads()
    head = Text(f"{first}\n{second}\n")
    head.append(
        bar(seen.budget.parts, seen.budget.limit, _WIDTH), style=STYLES[seen.budget.pressure]
    )
    head.append(f"\n{KEY}", style="dim")
    shown, rest = seen.rows[:MOST_ROWS], seen.rows[MOST_ROWS:]
    if not shown:
        return head
    table = Table(box=SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
    every = columns(seen, shown)
    for name, is_right, _ in every:
        # Where the terminal is narrow, names are folded and no number is cut.
        is_name = name in ("slot", "kind")
        side: Literal["left", "right"] = "right" if is_right else "left"
        table.add_column(name, justify=side, no_wrap=not is_name, overflow="fold")
    for i, row in enumerate(shown):
        cells = [Text(column.cells[i]) for column in every]
        for cell in cells[1:3]:
            cell.stylize(_STATE_STYLES[row.state])
        if not row.is_resident:
            cells[0].stylize("dim")
        table.add_row(*cells)
    return Group(head, table, Text(seen.rest(rest), style="dim")) if rest else Group(head, table)
