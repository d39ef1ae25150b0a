"""A plan as fixed-width text: a map of address against time, and a key."""

from __future__ import annotations

from bisect import bisect_right
from string import ascii_lowercase, ascii_uppercase

from .tiles import PlanLike, Steps, Tile, head, steps, tiles

_SIGNS = ascii_lowercase + ascii_uppercase
_COLUMNS = 64
_ROWS = 16
_MOST_IN_KEY = 52
_BARS = " ▁▂▃▄▅▆▇█"


def plan_text(plan: PlanLike) -> str:
    """
    Draw a plan as text.

    Parameters
    ----------
    plan : Plan
        What to draw.

    Returns
    -------
    str
        A line of figures, the map (a letter per buffer, a dot for unused bytes, high addresses
        above), live bytes as bars under it, and a key. A cell shows what lies at its middle, so
        in large plans small buffers may not show.
    """
    taken = tiles(plan)
    lines = [head(plan, taken)]
    if taken:
        lines += ["", *_map(plan, taken), ""]
        lines += _key(plan, taken)
    return "\n".join(line.rstrip() for line in lines)


def _moments(taken: list[Tile], live: Steps) -> list[tuple[int, int]]:
    """(time, live bytes) of every column: one per birth or death, or evenly spread moments."""
    events = sorted({t.first for t in taken} | {t.last for t in taken})
    times = events[:-1]
    if len(times) > _COLUMNS:
        begin, end = events[0], events[-1]
        times = [begin + (2 * k + 1) * (end - begin) // (2 * _COLUMNS) for k in range(_COLUMNS)]
    return [(time, live.live[bisect_right(live.times, time) - 1]) for time in times]


def _map(plan: PlanLike, taken: list[Tile]) -> list[str]:
    moments = _moments(taken, steps(plan))
    n_rows = min(_ROWS, plan.height)
    rows = [["."] * len(moments) for _ in range(n_rows)]
    for tile in taken:
        sign = _SIGNS[tile.number % len(_SIGNS)]
        # Rows whose middle, (2 row + 1) height / (2 n_rows), lies in the tile.
        low = -(-(2 * n_rows * tile.offset - plan.height) // (2 * plan.height))
        high = -(-(2 * n_rows * tile.top - plan.height) // (2 * plan.height))
        for column, (time, _) in enumerate(moments):
            if tile.first <= time < tile.last:
                for row in range(max(low, 0), min(high, n_rows)):
                    rows[row][column] = sign
    width = max(len("live"), len(f"{plan.height:,}"))
    wide = max(1, _COLUMNS // (2 * len(moments)))
    lines = []
    for row in reversed(range(n_rows)):
        address = f"{row * plan.height // n_rows:,}".rjust(width)
        lines.append(f"{address} |{''.join(sign * wide for sign in rows[row])}")
    bars = "".join(_BARS[8 * live // plan.height] * wide for _, live in moments)
    return [*lines, f"{'live'.rjust(width)} |{bars}"]


def _key(plan: PlanLike, taken: list[Tile]) -> list[str]:
    shown = sorted(taken)[:_MOST_IN_KEY]
    cells = [("", "buffer", "alive", "offset", "bytes")]
    for tile in shown:
        sign = _SIGNS[tile.number % len(_SIGNS)]
        alive = f"{tile.first}..{tile.last}"
        cells.append((sign, str(tile.number), alive, f"{tile.offset:,}", f"{tile.size:,}"))
    widths = [max(len(row[k]) for row in cells) for k in range(5)]
    lines = [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in cells
    ]
    if len(taken) > len(shown):
        lines.append(f"... and {len(taken) - len(shown):,} more")
    empty = len(plan.sizes) - len(taken)
    if empty:
        lines.append(f"{empty:,} of size 0 or never alive")
    return lines
