"""Budgets as rows for the eye: what text, tables, HTML and pictures of budgets share.

Figures are the core's; percents are cut, not rounded, so that none reads as a level not reached.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ..budget import Budget

SIGNS = "█▓▒·"
"""Used, reserved, retiring, available: the cells of a bar."""
PARTS = ("used", "reserved", "retiring", "available")
KEY = "  ".join(f"{sign} {part}" for sign, part in zip(SIGNS, PARTS, strict=True))
PRESSURES = ("LOW", "MEDIUM", "HIGH", "CRITICAL")
_UNITS = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
_LONGEST = 36


class Row(NamedTuple):
    """One budget at one moment; `lines` are the branches that lead to it in a tree."""

    name: str
    lines: str
    below: str  # the branches of what hangs on it
    limit: int
    used: int
    reserved: int
    retiring: int
    cached: int
    available: int
    over: int
    peak: int
    pressure: int
    levels: tuple[int, ...]
    tags: tuple[tuple[str, int], ...]

    @property
    def in_use(self) -> int:
        """Used, reserved and retiring bytes."""
        return self.used + self.reserved + self.retiring

    @property
    def parts(self) -> tuple[int, int, int]:
        """The three fields, in the order of SIGNS."""
        return self.used, self.reserved, self.retiring

    @property
    def notes(self) -> str:
        """What is unusual about it."""
        notes = [f"over by {self.over:,}"] if self.over else []
        if self.cached:
            notes.append(f"{self.cached:,} idle in pools")
        return ", ".join(notes)

    def sentence(self) -> str:
        """Use, limit and pressure in a line."""
        words = (
            f"{self.in_use:,} of {self.limit:,} bytes ({percent(self.in_use, self.limit)}), "
            f"{PRESSURES[self.pressure]}, {self.available:,} available"
        )
        return f"{words}, {self.notes}" if self.notes else words


def budget_row(budget: Budget, lines: str = "", below: str = "") -> Row:
    """Read one budget; all its figures are of one moment."""
    stats = budget.stats()
    return Row(
        plain(budget.name or "budget"),
        lines,
        below,
        stats.limit,
        stats.used,
        stats.reserved,
        stats.retiring,
        stats.cached,
        stats.available,
        stats.over,
        stats.peak,
        int(stats.pressure),
        tuple(stats.levels),
        tuple((plain(tag), n) for tag, n in budget.tags().items() if n),
    )


def budget_rows(budget: Budget) -> list[Row]:
    """Read a budget and all below it, parents first."""
    rows = []
    waiting = [(budget, "", "")]
    while waiting:
        one, lines, below = waiting.pop()
        rows.append(budget_row(one, lines, below))
        children = one.children
        branches = [(below + "├─ ", below + "│  ")] * (len(children) - 1)
        branches.append((below + "└─ ", below + "   "))
        pairs = zip(children, branches[-len(children) :], strict=True) if children else ()
        waiting += [(child, *branch) for child, branch in reversed(list(pairs))]
    return rows


def percent(part: int, whole: int) -> str:
    """A part of a whole, cut after two digits; "-" of nothing."""
    if whole == 0:
        return "-"
    hundredths = part * 10_000 // whole
    return f"{hundredths // 100}.{hundredths % 100:02} %"


def size(n_bytes: int) -> str:
    """Bytes in the largest binary unit, for headings: "8.00 GiB"."""
    for unit, name in _UNITS:
        if n_bytes >= unit:
            return f"{n_bytes * 100 // unit / 100:.2f} {name}"
    return f"{n_bytes} B"


def plain(name: str, longest: int = _LONGEST) -> str:
    """A name that stays on its line: nothing unprintable, cut where it is too long."""
    shown = name if name.isprintable() else ascii(name)[1:-1]
    return shown if len(shown) <= longest else f"{shown[: longest - 3]}..."


def cells(parts: Sequence[int], whole: int, width: int) -> list[int]:
    """Cells of a bar for each part: one at least for what is not 0, none left over if full."""
    total = max(whole, sum(parts))
    if total == 0:
        return [0] * len(parts)
    counts, end, edge = [], 0, 0
    for part in parts:
        end += part
        before, edge = edge, (2 * width * end + total) // (2 * total)
        counts.append(max(edge - before, 1 if part else 0))
    most = width if sum(parts) >= whole else width - 1
    while sum(counts) > most and max(counts) > 1:
        counts[counts.index(max(counts))] -= 1
    return counts


def bar(parts: Sequence[int], whole: int, width: int) -> str:
    """A bar of fixed width: used, reserved, retiring, and dots for what is available."""
    counts = cells(parts, whole, width)
    drawn = "".join(sign * n for sign, n in zip(SIGNS, counts, strict=False))
    return drawn.ljust(width, SIGNS[-1])
