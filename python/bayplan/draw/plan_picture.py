"""A plan as a picture with matplotlib: address against time.

From the bottom: unused bytes, buffers, lines, labels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .colours import GAP, INK, LOAD, tint
from .sheet import text_width
from .tiles import PlanLike, Tile, head, steps, tiles

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MANY = 100  # buffers from which a figure is large
_SIZE, _LARGE = (11.0, 6.0), (18.0, 10.0)


def plot_plan(plan: PlanLike, ax: Axes | None = None) -> Axes:
    """
    Draw a plan: a rectangle per buffer, live bytes as a line, unused bytes in grey.

    Parameters
    ----------
    plan : Plan
        What to draw.
    ax : matplotlib.axes.Axes, optional
        Where. Without it a figure of pyplot is made, larger for many buffers.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn on: x is time, y is bytes. Buffers are labelled with their number (and
        size) where there is room.

    Raises
    ------
    ImportError
        Without matplotlib (the ``plot`` extra).
    """
    taken = tiles(plan)
    if ax is None:
        ax = _new_axes(_LARGE if len(taken) > _MANY else _SIZE)
    ax.set_title(head(plan, taken), fontsize=10, loc="left")
    ax.set_xlabel("time")
    ax.set_ylabel("bytes")
    if not taken:
        return ax
    begin, end = min(t.first for t in taken), max(t.last for t in taken)
    ax.set_xlim(begin, end)
    ax.set_ylim(0, plan.height * 1.02)
    ax.ticklabel_format(style="plain", useOffset=False)
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    _draw_tiles(ax, plan, taken, (begin, end))
    _draw_lines(ax, plan)
    below = -0.5 / _inches(ax)[1]
    ax.legend(
        loc="upper center", bbox_to_anchor=(0.5, below), ncols=4, fontsize=8, frameon=False
    )  # fmt: skip
    return ax


def _new_axes(size: tuple[float, float]) -> Axes:
    try:
        from matplotlib import pyplot as plt
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install bayplan[plot]") from error
    return plt.subplots(figsize=size, layout="constrained")[1]


def _inches(ax: Axes) -> tuple[float, float]:
    box = ax.get_window_extent().transformed(ax.figure.dpi_scale_trans.inverted())
    return box.width, box.height


def _draw_tiles(ax: Axes, plan: PlanLike, taken: list[Tile], span: tuple[int, int]) -> None:
    from matplotlib.collections import PolyCollection
    from matplotlib.patches import Rectangle

    begin, end = span
    ax.add_patch(
        Rectangle((begin, 0), end - begin, plan.height, fc=GAP, ec="none", zorder=1, label="unused")
    )
    corners = [
        ((t.first, t.offset), (t.last, t.offset), (t.last, t.top), (t.first, t.top)) for t in taken
    ]
    line = 0.6 if len(taken) <= _MANY else 0.3
    fills = [tint(tile.number) for tile in taken]
    ax.add_collection(
        PolyCollection(corners, facecolors=fills, edgecolors="#566573", linewidths=line, zorder=2)
    )
    width, height = _inches(ax)
    # The layout engine will take a little for the labels of the axes.
    x_inches, y_inches = 0.9 * width / (end - begin), 0.9 * height / (plan.height * 1.02)
    for tile in taken:
        _label(ax, tile, (tile.last - tile.first) * x_inches, tile.size * y_inches)


def _label(ax: Axes, tile: Tile, width: float, height: float) -> None:
    """Number and size, or the number alone, upright or turned, where it fits."""
    number, long = str(tile.number), f"{tile.number}: {tile.size:,} B"
    for points in (8.0, 6.5, 5.0):
        high = 1.3 * points / 72
        for text in (long, number):
            wide = text_width(text, points) + 0.04
            if wide <= width and high <= height:
                turn = 0
            elif height > width and wide <= height and high <= width:
                turn = 90
            else:
                continue
            x, y = (tile.first + tile.last) / 2, tile.offset + tile.size / 2
            ax.text(
                x, y, text, fontsize=points, color=INK, ha="center", va="center",
                rotation=turn, zorder=3, clip_on=True,
            )  # fmt: skip
            return


def _draw_lines(ax: Axes, plan: PlanLike) -> None:
    live = steps(plan)
    ax.step(
        live.times, live.live, where="post", color=LOAD, lw=1.4, zorder=2.5,
        label=f"live bytes (at most {plan.load:,})",
    )  # fmt: skip
    ax.axhline(plan.height, color=INK, lw=1.2, zorder=2.5, label=f"height {plan.height:,}")
    if plan.lower_bound < plan.height:
        ax.axhline(
            plan.lower_bound, color=INK, lw=1, ls=":", zorder=2.5,
            label=f"proven bound {plan.lower_bound:,}",
        )  # fmt: skip
