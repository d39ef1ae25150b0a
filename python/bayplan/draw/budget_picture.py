"""Use of a budget over time, with matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .budget_rows import PARTS, PRESSURES, Row, budget_row
from .colours import FAINT, FIELDS, INK, LOAD, PRESSURE_FILLS, PRESSURE_INKS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..budget import Budget

_SIZE = (11.0, 5.5)
_MOST_TICKS = 9
_UNITS = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B"))


def plot_budget(budget: Budget, ax: Axes | None = None) -> Axes:
    """
    Draw what a budget has admitted over time.

    Parameters
    ----------
    budget : Budget
        What to draw. It keeps about a thousand points of its past; of older ones every second
        has been dropped, again and again.
    ax : matplotlib.axes.Axes, optional
        Where. Without it a figure of pyplot is made.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn on: x counts the tree's admissions, releases and touches, y is bytes. Used,
        reserved and retiring bytes are stacked before bands of the pressure levels; the limit is
        a line.

    Raises
    ------
    ImportError
        Without matplotlib (the ``plot`` extra).
    """
    if ax is None:
        ax = _new_axes()
    row, past = budget_row(budget), budget.history()
    ax.set_title(f"{row.name}: {row.sentence()}", fontsize=10, loc="left", parse_math=False)
    ax.set_xlabel("admissions, releases and touches")
    # The last state lasts a little, so that it can be seen.
    when = past["when"].astype(np.float64)
    ends = np.append(when, when[-1] + max(1.0, 0.02 * (when[-1] - when[0])))
    columns = {
        name: np.append(past[name], past[name][-1]).astype(np.float64)
        for name in ("used", "reserved", "retiring", "limit")
    }
    top = 1.04 * max(float(columns["limit"].max()), float(_in_use(columns).max()), 1.0)
    ax.set_xlim(ends[0], ends[-1])
    ax.set_ylim(0, top)
    _draw_bands(ax, ends, columns["limit"], row, top)
    _draw_use(ax, ends, columns)
    ax.step(ends, columns["limit"], where="post", color=INK, lw=1.4, zorder=4, label="limit")
    ax.axhline(row.peak, color=LOAD, lw=0.9, ls=":", zorder=4, label=f"peak {row.peak:,}")
    _label_bytes(ax, top)
    ax.locator_params(axis="x", integer=True)
    below = -0.55 / _inches(ax)[1]
    ax.legend(
        loc="upper center", bbox_to_anchor=(0.5, below), ncols=5, fontsize=8, frameon=False
    )  # fmt: skip
    return ax


def _new_axes() -> Axes:
    try:
        from matplotlib import pyplot as plt
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install bayplan[plot]") from error
    return plt.subplots(figsize=_SIZE, layout="constrained")[1]


def _inches(ax: Axes) -> tuple[float, float]:
    box = ax.get_window_extent().transformed(ax.figure.dpi_scale_trans.inverted())
    return box.width, box.height


def _in_use(columns: dict[str, Any]) -> Any:
    return columns["used"] + columns["reserved"] + columns["retiring"]


def _draw_bands(ax: Axes, x: Any, limit: Any, row: Row, top: float) -> None:
    """Where each pressure begins, which moves with the limit."""
    edges = [limit * 0, *(limit * level / 100 for level in row.levels), limit * 0 + top]
    for name, low, high in zip(PRESSURES, edges, edges[1:], strict=False):
        ax.fill_between(x, low, high, step="post", fc=PRESSURE_FILLS[name], ec="none", zorder=1)
    least = 0.035 * top  # of height between two names
    at = -least
    for name, low, high in zip(PRESSURES, edges, edges[1:], strict=False):
        end = min(float(high[-1]), float(limit[-1])) if name == PRESSURES[-1] else float(high[-1])
        at = max((float(low[-1]) + end) / 2, at + least)
        ax.annotate(
            name, (1.006, at / top), xycoords="axes fraction", fontsize=8, va="center",
            color=PRESSURE_INKS[name], annotation_clip=False,
        )  # fmt: skip


def _draw_use(ax: Axes, x: Any, columns: dict[str, Any]) -> None:
    low = columns["used"] * 0
    for part in PARTS[:3]:
        high = low + columns[part]
        ax.fill_between(
            x, low, high, step="post", fc=FIELDS[part], ec="none", zorder=2, label=part
        )  # fmt: skip
        low = high
    ax.step(x, low, where="post", color=FAINT, lw=0.8, zorder=3)


def _label_bytes(ax: Axes, top: float) -> None:
    """Ticks at round numbers of a binary unit."""
    from matplotlib.ticker import MultipleLocator

    unit, name = next((unit, name) for unit, name in _UNITS if top >= 1.5 * unit or unit == 1)
    step: float = unit
    while top / step > _MOST_TICKS:
        step *= 2
    while top / step < _MOST_TICKS / 3 and step > 1:
        step /= 2
    ax.yaxis.set_major_locator(MultipleLocator(step))
    ax.yaxis.set_major_formatter(lambda value, _: f"{value / unit:g} {name}")
