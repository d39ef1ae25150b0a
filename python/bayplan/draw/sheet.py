"""A sheet of paper in inches: rectangles and texts first, matplotlib at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from .colours import FAINT, GAP, GAP_LINE, INK, KEPT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Mean advance of a DejaVu Sans character as a part of the font size, a little generous.
_ADVANCE = 0.62
_POINTS = 72.0


def text_width(text: str, points: float) -> float:
    """Estimated width of a text in inches."""
    return len(text) * _ADVANCE * points / _POINTS


class Fill(NamedTuple):
    """A rectangle; y grows downwards."""

    x: float
    y: float
    width: float
    height: float
    colour: str
    edge: str = "white"
    hatch: str | None = None


class Words(NamedTuple):
    """A text at (x, y); `across` and `upright` as matplotlib's ha and va."""

    x: float
    y: float
    text: str
    points: float = 7.0
    colour: str = INK
    across: str = "left"
    upright: str = "center"
    rotation: float = 0.0
    weight: str = "normal"


class KeyRow(NamedTuple):
    """What the key says of a box that could not hold its own name."""

    number: int
    colour: str
    text: str


class Sheet:
    """Fills and words collected from top to bottom; `y` is where the next thing goes."""

    def __init__(self, width: float) -> None:
        self.width = width
        self.y = 0.1
        self.fills: list[Fill] = []
        self.words: list[Words] = []
        self.key: list[KeyRow] = []

    def heading(self, text: str, points: float, *, weight: str = "bold") -> None:
        """A line of text on its own, cut where the sheet ends."""
        room = int(self.width / (_ADVANCE * points / _POINTS))
        text = text if len(text) <= room else text[: room - 3] + "..."
        height = 1.9 * points / _POINTS
        self.words.append(Words(0, self.y + height / 2, text, points, weight=weight))
        self.y += height

    def box(self, fill: Fill, names: tuple[str, ...], detail: str, *, kept: bool, key: str) -> None:
        """A rectangle with the first name that fits in it, or a number and a row of the key."""
        self._fill(fill, kept)
        if not any(self.label(fill, name, detail) for name in names):
            self.number(fill, key)

    def more(self, fill: Fill, name: str, *, kept: bool) -> None:
        """Another piece of a box: its name faintly, where it fits."""
        self._fill(fill, kept)
        if text_width(name, 6.5) + 0.06 <= fill.width:
            x, y = fill.x + fill.width / 2, fill.y + fill.height / 2
            self.words.append(Words(x, y, name, 6.5, FAINT, "center"))

    def _fill(self, fill: Fill, kept: bool) -> None:
        self.fills.append(fill)
        if kept:
            foot = min(0.045, fill.height / 5)
            at = fill.y + fill.height - foot
            self.fills.append(fill._replace(y=at, height=foot, colour=KEPT))

    def label(self, fill: Fill, name: str, detail: str) -> bool:
        """Write a name, and a detail where there is room, into a rectangle; False if it cannot."""
        x, y = fill.x + fill.width / 2, fill.y + fill.height / 2
        for points in (8.0, 7.0, 6.0):
            high = 1.25 * points / _POINTS
            if text_width(name, points) + 0.06 <= fill.width and high <= fill.height:
                small = points - 1.5
                if fill.height >= high + 1.5 * small / _POINTS + 0.04 and (
                    text_width(detail, small) + 0.06 <= fill.width
                ):
                    self.words.append(Words(x, y + high / 2, detail, small, FAINT, "center"))
                    y -= high / 2
                self.words.append(Words(x, y, name, points, across="center"))
                return True
            if text_width(name, points) + 0.06 <= fill.height and high + 0.02 <= fill.width:
                self.words.append(Words(x, y, name, points, across="center", rotation=90))
                return True
        return False

    def number(self, fill: Fill, key: str) -> None:
        """Refer a rectangle to the key."""
        n = len(self.key) + 1
        self.key.append(KeyRow(n, fill.colour, key))
        # Numbers of boxes lower than a line would hide their neighbours' in one column.
        is_low = fill.height < 5.0 / _POINTS
        x = fill.x + fill.width * (0.06 + 0.88 * (0.618 * n % 1) if is_low else 0.5)
        y = fill.y + fill.height / 2
        for points in (6.0, 5.0):
            if text_width(str(n), points) + 0.02 <= fill.width:
                self.words.append(Words(x, y, str(n), points, across="center"))
                return
            if text_width(str(n), points) <= fill.height and points / _POINTS <= fill.width:
                self.words.append(Words(x, y, str(n), points, across="center", rotation=90))
                return

    def gap(self, x: float, y: float, width: float, height: float) -> None:
        """Hatched bytes that nobody uses."""
        self.fills.append(Fill(x, y, width, height, GAP, GAP_LINE, "////"))

    def draw_key(self, points: float = 6.5) -> None:
        """All rows of the key so far, in columns read downwards, and forget them."""
        if not self.key:
            return
        line = 1.5 * points / _POINTS
        rows = sorted(self.key)
        widest = max(text_width(row.text, points) for row in rows)
        column = min(self.width, 0.52 + widest)
        n_columns = max(1, int(self.width // column))
        n_lines = -(-len(rows) // n_columns)
        self.y += 0.04
        for i, row in enumerate(rows):
            x, y = (i // n_lines) * column, self.y + (i % n_lines) * line
            self.fills.append(Fill(x + 0.26, y + 0.02, 0.13, line - 0.04, row.colour))
            self.words.append(
                Words(x + 0.22, y + line / 2, str(row.number), points, FAINT, "right")
            )
            self.words.append(Words(x + 0.44, y + line / 2, row.text, points))
        self.y += n_lines * line + 0.04
        self.key = []

    def render(self, ax: Axes, width: float, height: float) -> None:
        """Put everything on `ax`, which has that many inches; shrink if that is too little."""
        from matplotlib.patches import Rectangle

        scale = min(1.0, width / self.width, height / self.y)
        ax.set_axis_off()
        ax.set_xlim(0, width / scale)
        ax.set_ylim(height / scale, 0)
        for f in self.fills:
            style: dict[str, Any] = {"hatch": f.hatch} if f.hatch else {}
            corner, line = (f.x, f.y), 0.5 * scale
            ax.add_patch(
                Rectangle(corner, f.width, f.height, fc=f.colour, ec=f.edge, lw=line, **style)
            )
        for w in self.words:
            ax.text(
                w.x, w.y, w.text, fontsize=w.points * scale, color=w.colour, ha=w.across,
                va=w.upright, rotation=w.rotation, weight=w.weight, clip_on=False,
                parse_math=False,
            )  # fmt: skip
