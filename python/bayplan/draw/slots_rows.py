"""Slots as rows for the eye: what text, tables, HTML and pictures of slots share.

States, sizes and the order in which slots would go are the core's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from .. import _core
from .budget_rows import Row as BudgetRow
from .budget_rows import budget_row, plain
from .sheet import text_width

if TYPE_CHECKING:
    from ..slots import SlotManager

MOST_ROWS = 60
"""Rows of a table; more slots than that are counted in its last line."""
SIZE_CELLS = 12
_MOST_LINES = 32


class SlotRow(NamedTuple):
    """One slot; `number` counts allocations, `goes` says who is evicted first (1), if known."""

    number: int
    name: str
    state: str
    nbytes: int
    charged: int
    generation: int
    priority: int
    pinned: bool
    host_uses: int
    busy: bool
    has_copy: bool
    kind: str
    goes: int | None

    @property
    def is_resident(self) -> bool:
        """Whether its bytes are on the device."""
        return self.state == "resident"

    @property
    def notes(self) -> str:
        """What keeps it on the device, or away from it."""
        notes = ["pinned"] if self.pinned else []
        if self.host_uses:
            notes.append("in use" if self.host_uses == 1 else f"in use {self.host_uses} times")
        if self.busy:
            notes.append("in flight")
        if self.state == "evicted" and not self.has_copy:
            notes.append("no copy")
        return ", ".join(notes)


class Scene(NamedTuple):
    """A manager's slots, and the budget they are charged to."""

    rows: tuple[SlotRow, ...]
    budget: BudgetRow
    policy: str
    backend: str

    @property
    def resident(self) -> list[SlotRow]:
        """Slots on the device."""
        return [row for row in self.rows if row.is_resident]

    @property
    def leaving(self) -> list[SlotRow]:
        """Slots on the device in the order in which they would go, then those that cannot."""
        last = len(self.rows) + 1
        return sorted(self.resident, key=lambda row: (row.goes or last, row.number))

    @property
    def absent(self) -> list[SlotRow]:
        """Slots that are not on the device, or on their way."""
        return [row for row in self.rows if not row.is_resident]

    @property
    def resident_bytes(self) -> int:
        """Bytes of slots on the device, as charged."""
        return sum(row.charged for row in self.resident)

    @property
    def other_bytes(self) -> int:
        """Bytes used under the budget by others than these slots."""
        return max(0, self.budget.used - self.resident_bytes)

    def heads(self) -> tuple[str, str]:
        """Two lines: the slots, the budget."""
        n = len(self.rows)
        return (
            f"{n:,} {'slot' if n == 1 else 'slots'}, {len(self.resident):,} loaded: "
            f"{self.resident_bytes:,} bytes; {self.policy} on {self.backend}",
            f"{self.budget.name}: {self.budget.sentence()}",
        )

    def rest(self, rows: Sequence[SlotRow]) -> str:
        """What is to be said of rows that are not shown."""
        loaded = sum(row.is_resident for row in rows)
        n_bytes = sum(row.nbytes for row in rows)
        return f"... and {len(rows):,} more, {loaded:,} loaded: {n_bytes:,} bytes"


def scene(slots: SlotManager) -> Scene:
    """Read a manager; slots that go meanwhile are left out."""
    order = _order(slots)
    rows = []
    for number, name in enumerate(slots):
        try:
            slot = slots[name]
            row = SlotRow(
                number,
                plain(name),
                slot.state,
                slot.nbytes,
                slot.charged,
                slot.generation,
                slot.priority,
                slot.pinned,
                slot.host_uses,
                slot.busy,
                slot.host_bytes > 0,
                plain(slot.kind or ""),
                order.get(name),
            )
        except (_core.BufferKeyError, _core.StaleHandle):
            continue
        rows.append(row)
    policy = slots.policy if isinstance(slots.policy, str) else "by key"
    return Scene(tuple(rows), budget_row(slots.budget), policy, slots.backend.name)


def _order(slots: SlotManager) -> dict[str, int]:
    """Who would go first, second and so on; the first alone where all cannot be had."""
    if not isinstance(slots.policy, str):
        return {}  # a key is the user's code: not called to draw
    names = list(slots)
    can_go = 0
    for name in names:
        try:
            slot = slots[name]
            is_held = slot.pinned or slot.host_uses or slot.busy
            if slot.state == "resident" and not is_held:
                can_go += slot.charged
        except (_core.BufferKeyError, _core.StaleHandle):
            continue
    stats = slots.budget.stats()
    wanted = can_go + stats.available - stats.over
    try:
        order = slots.plan(wanted) if can_go and wanted > 0 else []
    except _core.BudgetExceeded:
        order = []
    if not order and can_go:
        first = slots.lru_candidate()
        order = [] if first is None else [first]
    return {name: i for i, name in enumerate(order, 1)}


class Column(NamedTuple):
    """A column of a table of slots."""

    head: str
    is_right: bool
    cells: list[str]


def columns(seen: Scene, shown: Sequence[SlotRow]) -> list[Column]:
    """The columns that say something about these rows, cells as text."""
    largest = max((row.nbytes for row in seen.rows), default=0)
    every = [
        Column("slot", False, [row.name for row in shown]),
        Column("state", False, [row.state for row in shown]),
        Column("size", False, [_size_bar(row, largest) for row in shown]),
        Column("bytes", True, [f"{row.nbytes:,}" for row in shown]),
    ]
    if any(row.charged != row.nbytes for row in seen.resident):
        cells = [f"{row.charged:,}" if row.is_resident else "" for row in shown]
        every.append(Column("charged", True, cells))
    if any(row.priority for row in seen.rows):
        every.append(Column("priority", True, [str(row.priority) for row in shown]))
    goes = ["" if row.goes is None else _ordinal(row.goes) for row in shown]
    every.append(Column("goes", True, goes))
    every.append(Column("generation", True, [f"{row.generation:,}" for row in shown]))
    if any(row.kind for row in seen.rows):
        every.append(Column("kind", False, [row.kind for row in shown]))
    if any(row.notes for row in seen.rows):
        every.append(Column("", False, [row.notes for row in shown]))
    return every


def _size_bar(row: SlotRow, largest: int) -> str:
    """Its size beside the largest slot's; hollow where it is not on the device."""
    n = max(1, (2 * SIZE_CELLS * row.nbytes + largest) // (2 * largest)) if largest else 0
    return ("█" if row.is_resident else "░") * n


def _ordinal(n: int) -> str:
    teens = n % 100 in (11, 12, 13)
    return f"{n:,}{'th' if teens else {1: 'st', 2: 'nd', 3: 'rd'}.get(n % 10, 'th')}"


def lines_for(rows: list[SlotRow], width: float) -> list[list[SlotRow]]:
    """The fewest lines, nearly equally long, in which nearly as many names fit as ever do."""
    most = min(_MOST_LINES, 2 + len(rows) // 4)
    tried = [_broken(rows, n) for n in range(1, most + 1)]
    fits = [_names_that_fit(lines, width) for lines in tried]
    enough = 0.9 * max(fits)
    return next(lines for lines, fit in zip(tried, fits, strict=True) if fit >= enough)


def _broken(rows: list[SlotRow], n_lines: int) -> list[list[SlotRow]]:
    total = sum(row.nbytes for row in rows)
    room = max(-(-total // n_lines), *(row.nbytes for row in rows), 1)
    lines: list[list[SlotRow]] = [[]]
    end = 0
    for row in rows:
        # A slot belongs to the line in which its middle would lie.
        if lines[-1] and 2 * end + row.nbytes > 2 * room * len(lines):
            lines.append([])
        lines[-1].append(row)
        end += row.nbytes
    return lines


def _names_that_fit(lines: list[list[SlotRow]], width: float) -> int:
    longest = max(sum(row.nbytes for row in line) for line in lines)
    return sum(
        text_width(row.name, 6.0) + 0.06 <= width * row.nbytes / longest
        for line in lines
        for row in line
    )
