"""Colours of drawings: one hue per owner, tints in turn for neighbours."""

from __future__ import annotations

from collections.abc import Iterable

# Light enough for black text. The first is for a layout's own buffers.
_HUES = (
    ("#a9cce8", "#c6def0", "#8fbcdf"),
    ("#f6c58f", "#fad9b4", "#f0b26f"),
    ("#b3d9a7", "#cde7c5", "#9acb8b"),
    ("#d9b8e0", "#e8d3ec", "#c89fd2"),
    ("#f2b0b0", "#f8cccc", "#ea9696"),
    ("#e5dc8c", "#efe9b3", "#d9cd69"),
    ("#a5dcd8", "#c5eae7", "#86cdc7"),
    ("#d8c3ae", "#e7d9cb", "#c8ac90"),
)
GAP = "#e3e3e3"
GAP_LINE = "#9a9a9a"
KEPT = "#2c5d8a"
INK = "#15202b"
FAINT = "#5f6b76"
LOAD = "#b3261e"
# The fields of a budget, and the pressures: behind a picture, and as ink.
FIELDS = {"used": "#4a90c2", "reserved": "#9fc5e8", "retiring": "#b7a3c9", "available": "#ffffff"}
PRESSURE_FILLS = {"LOW": "#ffffff", "MEDIUM": "#fdf6d8", "HIGH": "#fbe3c4", "CRITICAL": "#f6cfca"}
PRESSURE_INKS = {"LOW": "#2e7d32", "MEDIUM": "#8a6d00", "HIGH": "#b45309", "CRITICAL": "#b3261e"}


def tint(i: int) -> str:
    """The fill of the i-th of many boxes without owners: neighbours get other hues."""
    hue = _HUES[i % len(_HUES)]
    return hue[i // len(_HUES) % len(hue)]


class Palette:
    """Fills by owner: None is the layout itself, children follow in their order."""

    def __init__(self, children: Iterable[str]) -> None:
        self._hue = {name: 1 + i % (len(_HUES) - 1) for i, name in enumerate(children)}

    def of(self, child: str | None, i: int) -> str:
        """The fill of the i-th box of an owner."""
        hue = _HUES[0] if child is None else _HUES[self._hue[child]]
        return hue[i % len(hue)]
