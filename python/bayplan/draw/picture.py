"""Pictures of layouts with matplotlib: one factory as a map, a whole tree as nested blocks."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any, NamedTuple

from .bands import LOCATIONS, Band, Box, band_of, bands, title
from .colours import FAINT, Palette
from .phase_map import draw_phase_map
from .sheet import Fill, Sheet, Words, text_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .. import _core

WIDTH = 12.0
WIDE = 18.0
_MANY = 100  # entries from which a sheet is wide
_MARGIN = 0.25
_LEFT = 0.62  # room for addresses left of the map
_ROW = 0.40
_ROW_GAP = 0.05
_MOST_ROWS = 32
_HEADER = 0.24  # a child's title bar in the tree
_LEAF = 0.95  # least height of a buffer in the tree
_FOOT = "dark foot: kept between calls     hatched: unused     numbers: see the key"


def require_matplotlib() -> Any:
    """Import matplotlib, or say what to install."""
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install bayplan[plot]") from error
    return matplotlib


# ---- one factory ----------------------------------------------------------


def plot(layout: _core.Layout, ax: Axes | None = None) -> Axes:
    """
    Draw one factory's layout: every region to scale, wrapped into rows of equal bytes.

    Where buffers live in some phases alone, a region is drawn as address x phase, with the live
    bytes as a line and idle bytes hatched.

    Parameters
    ----------
    layout : Layout
        What to draw.
    ax : matplotlib.axes.Axes, optional
        Where. Without it a figure of pyplot is made, as high as it must be for names to be
        readable; on axes that are given, everything shrinks until it fits.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn on, in inches from the upper left corner.

    Raises
    ------
    ImportError
        Without matplotlib (the ``plot`` extra).
    """
    require_matplotlib()
    many = sum(len(band.boxes) for band in bands(layout)) > _MANY
    return on_axes(map_sheet(layout, WIDE if many else WIDTH), ax)


def map_sheet(layout: _core.Layout, width: float) -> Sheet:
    """Everything `plot` draws, on a sheet `width` inches wide."""
    sheet = Sheet(width)
    sheet.heading(title(layout), 11)
    palette = Palette(layout.children)
    shown = [band for band in bands(layout) if band.boxes]
    for band in shown:
        sheet.y += 0.08
        sheet.heading(f"{band.location}: {band.summary()}", 8.5)
        if band.is_phased:
            draw_phase_map(sheet, band, palette)
        elif band.nbytes:
            _draw_map(sheet, band, palette)
        sheet.draw_key()
        empty = [box.name for box in band.boxes if not box.nbytes]
        if empty:
            sheet.heading("of size 0: " + ", ".join(empty), 6.5, weight="normal")
    if not shown:
        sheet.heading("no buffers", 8.5, weight="normal")
    _draw_foot(sheet)
    return sheet


def _draw_foot(sheet: Sheet) -> None:
    sheet.y += 0.06
    sheet.heading(_FOOT, 6.5, weight="normal")
    sheet.words[-1] = sheet.words[-1]._replace(colour=FAINT)


def _power_of_two(n: int) -> int:
    return 1 << max(0, n - 1).bit_length()


def _pieces(begin: int, nbytes: int, row_bytes: int) -> list[tuple[int, int, int]]:
    """(row, first byte in the row, bytes) of a range that may run over several rows."""
    pieces = []
    end = begin + nbytes
    while begin < end:
        row, at = divmod(begin, row_bytes)
        n = min(end - begin, row_bytes - at)
        pieces.append((row, at, n))
        begin += n
    return pieces


def row_bytes_for(band: Band, width: float) -> int:
    """Bytes per row of a map: the fewest rows in which nearly as many names fit as ever do."""
    boxes = [box for box in band.boxes if box.nbytes]
    tried: dict[int, int] = {band.nbytes: _names_that_fit(boxes, band.nbytes, width)}
    row_bytes = _power_of_two(band.nbytes) // 2
    most = min(_MOST_ROWS, 2 + len(boxes) // 4)
    while row_bytes >= 4 and -(-band.nbytes // row_bytes) <= most:
        tried[row_bytes] = _names_that_fit(boxes, row_bytes, width)
        row_bytes //= 2
    enough = 0.9 * max(tried.values())
    return next(row_bytes for row_bytes, fit in tried.items() if fit >= enough)


def _names_that_fit(boxes: list[Box], row_bytes: int, width: float) -> int:
    fit = 0
    for box in boxes:
        longest = max(n for _, _, n in _pieces(box.offset, box.nbytes, row_bytes))
        fit += text_width(box.name, 6.0) + 0.06 <= width * longest / row_bytes
    return fit


def _draw_map(sheet: Sheet, band: Band, palette: Palette) -> None:
    width = sheet.width - _LEFT
    row_bytes = row_bytes_for(band, width)
    scale, top = width / row_bytes, sheet.y + 0.02

    def place(piece: tuple[int, int, int]) -> tuple[float, float, float]:
        row, at, n = piece
        return _LEFT + at * scale, top + row * (_ROW + _ROW_GAP), n * scale

    for gap in band.gaps:
        for piece in _pieces(gap.offset, gap.nbytes, row_bytes):
            x, y, w = place(piece)
            sheet.gap(x, y, w, _ROW)
    drawn = sorted((b for b in band.boxes if b.nbytes), key=lambda b: (b.offset, b.lane))
    for i, box in enumerate(drawn):
        pieces = _pieces(box.offset, box.nbytes, row_bytes)
        named = max(pieces, key=lambda piece: piece[2])
        for piece in pieces:
            x, y, w = place(piece)
            high = _ROW / box.n_lanes
            fill = Fill(x, y + box.lane * high, w, high, palette.of(box.child, i))
            if piece is named:
                sheet.box(fill, (box.name,), _size(box), kept=box.keep, key=_key(box, band))
            else:
                sheet.more(fill, box.name, kept=box.keep)
    n_rows = -(-band.nbytes // row_bytes)
    if band.has_addresses:
        for row in range(n_rows):
            y = top + row * (_ROW + _ROW_GAP) + _ROW / 2
            address = f"{row * row_bytes:,}"
            sheet.words.append(Words(_LEFT - 0.06, y, address, 6.5, FAINT, "right"))
    sheet.y = top + n_rows * (_ROW + _ROW_GAP)


def _size(box: Box) -> str:
    return f"{box.nbytes:,} B"


def _key(box: Box, band: Band) -> str:
    where = f" @ {box.offset:,}" if band.has_addresses else ""
    return f"{box.name}{where}: {_size(box)}"


# ---- a tree ---------------------------------------------------------------


class _Leaf(NamedTuple):
    """A buffer of the tree at its address in the root's region."""

    box: Box
    path: str
    owner: str
    begin: int
    depth: int


class _Node(NamedTuple):
    """A factory's block in the root's region; the root has path ""."""

    band: Band
    path: str
    labels: tuple[str, ...]  # from long to short
    begin: int
    depth: int


def plot_tree(
    layout: _core.Layout,
    path: str | PathLike[str] | None = None,
    fig: Figure | None = None,
) -> Figure:
    """
    Draw a layout and all below it: children's blocks nested in their parents'.

    Parameters
    ----------
    layout : Layout
        The root.
    path : path-like, optional
        Where to save the picture (PNG, SVG, PDF: by suffix).
    fig : matplotlib.figure.Figure, optional
        An empty figure to draw on; it is resized. Without it a new one is made, unknown to
        pyplot.

    Returns
    -------
    matplotlib.figure.Figure
        The figure. One band per region that holds bytes, to scale over the root's bytes.

    Raises
    ------
    ImportError
        Without matplotlib (the ``plot`` extra).
    """
    require_matplotlib()
    ax = _on_new_figure(tree_sheet(layout, WIDTH), fig=fig)
    figure = ax.get_figure(root=True)
    assert figure is not None
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure


def tree_sheet(layout: _core.Layout, width: float) -> Sheet:
    """Everything `plot_tree` draws, on a sheet `width` inches wide."""
    sheet = Sheet(width)
    sheet.heading(title(layout), 11)
    walks = [_walk(layout, location) for location in LOCATIONS]
    palette = Palette(dict.fromkeys(node.path for nodes, _ in walks for node in nodes if node.path))
    shown = [(nodes, leaves) for nodes, leaves in walks if nodes[0].band.nbytes]
    for nodes, leaves in shown:
        sheet.y += 0.08
        sheet.heading(f"{nodes[0].band.location}: {nodes[0].band.summary()}", 8.5)
        _draw_tree(sheet, nodes, leaves, palette)
        sheet.draw_key()
    if not shown:
        sheet.heading("no bytes", 8.5, weight="normal")
    _draw_foot(sheet)
    return sheet


def _walk(layout: _core.Layout, location: str) -> tuple[list[_Node], list[_Leaf]]:
    """Every factory's block and every buffer in one region of the tree, parents first."""
    nodes: list[_Node] = []
    leaves: list[_Leaf] = []
    waiting: list[tuple[_core.Layout, str, tuple[str, ...], int, int]] = [(layout, "", (), 0, 0)]
    while waiting:
        owner, path, labels, begin, depth = waiting.pop()
        band = band_of(owner, location)
        nodes.append(_Node(band, path, labels, begin, depth))
        for box in band.boxes:
            at = begin + box.offset
            below = f"{path}.{box.child or box.name}".lstrip(".")
            if box.child is None:
                leaves.append(_Leaf(box, below, path, at, depth))
            elif box.nbytes:
                child = owner.children[box.child].layout
                full = (f"{box.child}: {child.name}",) if child.name else ()
                waiting.append((child, below, (*full, box.child), at, depth + 1))
    return nodes, leaves


def _draw_tree(sheet: Sheet, nodes: list[_Node], leaves: list[_Leaf], palette: Palette) -> None:
    root = nodes[0].band
    scale, top = sheet.width / root.nbytes, sheet.y + 0.02
    bottom = top + max(node.depth for node in nodes) * _HEADER + _LEAF
    for node in nodes:
        y = top + node.depth * _HEADER
        for gap in node.band.gaps:
            x = (node.begin + gap.offset) * scale
            sheet.gap(x, y, gap.nbytes * scale, bottom - y)
        if node.path:
            x, w = node.begin * scale, node.band.nbytes * scale
            fill = Fill(x, y - _HEADER, w, _HEADER, palette.of(node.path, 2))
            key = _tree_key(node.path, node.begin, node.band.nbytes, root)
            sheet.box(fill, node.labels, "", kept=False, key=key)
    for i, leaf in enumerate(sorted(leaves, key=lambda leaf: leaf.begin)):
        if leaf.box.nbytes:
            y = top + leaf.depth * _HEADER
            high = (bottom - y) / leaf.box.n_lanes
            x, w = leaf.begin * scale, leaf.box.nbytes * scale
            colour = palette.of(leaf.owner or None, i % 2)
            fill = Fill(x, y + leaf.box.lane * high, w, high, colour)
            key = _tree_key(leaf.path, leaf.begin, leaf.box.nbytes, root)
            sheet.box(fill, (leaf.box.name,), _size(leaf.box), kept=leaf.box.keep, key=key)
    sheet.y = bottom + 0.02


def _tree_key(path: str, begin: int, nbytes: int, root: Band) -> str:
    where = f" @ {begin:,}" if root.has_addresses else ""
    return f"{path}{where}: {nbytes:,} B"


# ---- figures --------------------------------------------------------------


def on_axes(sheet: Sheet, ax: Axes | None) -> Axes:
    """Render a sheet on axes that are given, or on a new figure of pyplot."""
    if ax is None:
        return _on_new_figure(sheet, pyplot=True)
    box = ax.get_window_extent().transformed(ax.figure.dpi_scale_trans.inverted())
    sheet.render(ax, box.width, box.height)
    return ax


def _on_new_figure(sheet: Sheet, *, pyplot: bool = False, fig: Figure | None = None) -> Axes:
    size = (sheet.width + 2 * _MARGIN, sheet.y + 2 * _MARGIN)
    if fig is not None:
        fig.set_size_inches(*size)
    elif pyplot:
        from matplotlib import pyplot as plt

        fig = plt.figure(figsize=size)
    else:
        from matplotlib.figure import Figure as NewFigure

        fig = NewFigure(figsize=size)
    ax = fig.add_axes(
        (_MARGIN / size[0], _MARGIN / size[1], sheet.width / size[0], sheet.y / size[1])
    )
    sheet.render(ax, sheet.width, sheet.y)
    return ax
