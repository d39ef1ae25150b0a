"""Drawings say what the layout says: text to the letter, pictures box by box."""

import subprocess
import sys

import numpy as np
import pytest
from layout_standins import child, layout, placement, rollups

from bayplan import draw
from bayplan.draw.bands import Box, Gap, band_of, bands, gaps_between, with_lanes
from bayplan.draw.colours import LOAD
from bayplan.draw.picture import WIDE, WIDTH, map_sheet, row_bytes_for, tree_sheet

NAMES = ("residual", "jacobian", "delta", "stage", "accumulator", "h")


@pytest.fixture
def newton():
    return layout(
        "NewtonSolver",
        [
            placement("residual", "shared", 0, 20, keep=True),
            placement("jacobian", "shared", 80, (20, 20)),
            placement("pivots", "shared", 1680, 20, "i4"),
            placement("scale", "shared", 1792, 20, "f8", align=64),
            placement("delta", "local", 0, 20),
            placement("none", "local", 0, 0),
            placement("h", "persistent_local", 0, 1, keep=True, zero=True),
        ],
        align=64,
        status="feasible",
    )


@pytest.fixture
def tree(newton):
    step = layout(
        "Step",
        [
            placement("stages", "shared", 0, (3, 20)),
            *rollups("newton", newton, shared=256, persistent_local=0),
            placement("weights", "block", 0, 64),
        ],
        [child("newton", newton, 256)],
    )
    return layout(
        "Loop",
        [
            placement("state", "shared", 0, 20, "f8"),
            *rollups("step", step, shared=192, persistent_local=64),
            placement("t", "persistent_local", 0, 1, "f8", keep=True),
        ],
        [child("step", step, 192, 0, 64)],
        align=64,
    )


def crowd(n):
    """A layout of n buffers of many sizes in all four memories, with gaps."""
    ends = dict.fromkeys(("shared", "block", "persistent_local", "local"), 0)
    made = []
    for i in range(n):
        where = ("shared", "shared", "block", "persistent_local", "local")[i % 5]
        dtype = ("f4", "f8", "i2")[i % 3]
        step = 64 if i % 11 == 0 else np.dtype(dtype).itemsize
        offset = -(-ends[where] // step) * step
        size = (1, 2, 8, 20, 40, 100)[(i * 7) % 6]
        at = 0 if where == "local" else offset
        made.append(placement(f"{NAMES[i % 6]}_{i}", where, at, size, dtype))
        ends[where] = offset + made[-1].nbytes
    return layout("Crowd", made, align=64)


# ---- text -----------------------------------------------------------------

NEWTON_TEXT = """\
NewtonSolver: float32, version 7, digest 0123456789ab

shared: 1,984 bytes per run, align 64, lower bound 1,920, feasible, 64 unused
  offset  bytes  name      dtype    shape    notes
       0     80  residual  float32  20       kept
      80  1,600  jacobian  float32  20 x 20
   1,680     80  pivots    int32    20
   1,760     32  -                           unused
   1,792    160  scale     float64  20       align 64
   1,952     32  -                           unused

persistent_local: 64 bytes per thread, align 64, lower bound 4, feasible, 60 unused
  offset  bytes  name      dtype    shape    notes
       0      4  h         float32  1        kept, zeroed
       4     60  -                           unused

local: 128 bytes per thread (a declared sum), align 64
  offset  bytes  name      dtype    shape    notes
       -     80  delta     float32  20
       -      0  none      float32  0

empty: block"""


def test_text_is_exact(newton):
    assert draw.text(newton) == NEWTON_TEXT


def test_text_names_children_and_where_they_lie(tree):
    lines = draw.text(tree).splitlines()
    assert lines[-2:] == [
        "children (byte offsets of their blocks)",
        "  step  Step: shared 192, block 0, persistent_local 64",
    ]
    (row,) = (line for line in lines if "step_shared" in line)
    assert row.split()[:2] == ["192", "2,240"]
    assert row.endswith("child step")


def test_text_of_an_unpickled_layout(newton):
    newton.name = newton.version = None
    for where in ("shared", "persistent_local"):
        region = getattr(newton, where)
        region.status = region.lower_bound = region.flat_lower_bound = None
    lines = draw.text(newton).splitlines()
    assert lines[0] == "layout: float32, digest 0123456789ab"
    assert lines[2] == "shared: 1,984 bytes per run, align 64, bounds not known, 64 unused"


def test_text_gives_a_flat_bound_that_differs(newton):
    newton.shared.flat_lower_bound = 1900
    assert "lower bound 1,920 (flat 1,900), feasible" in draw.text(newton)


def test_text_tells_who_shares_bytes(newton):
    twin = placement("twin", "shared", 80, 100)
    newton.shared.placements += (twin,)
    shared = [line.split()[2] for line in draw.text(newton).splitlines() if "shares bytes" in line]
    assert shared == ["jacobian", "twin"]


# ---- boxes and gaps -------------------------------------------------------


def box(name, offset, nbytes):
    return Box(name, offset, nbytes, "float32", (nbytes,), 4, False, False, None)


def test_gaps_are_what_no_box_covers():
    boxes = [box("b", 8, 8), box("a", 0, 4), box("inside", 10, 2), box("empty", 30, 0)]
    assert gaps_between(boxes, 40) == (Gap(4, 4), Gap(16, 14), Gap(30, 10))
    assert gaps_between([], 16) == (Gap(0, 16),)
    assert gaps_between([box("a", 0, 16)], 16) == ()


def test_boxes_that_overlap_get_lanes():
    boxes = [box("a", 0, 8), box("b", 0, 16), box("c", 8, 8), box("d", 16, 4), box("e", 12, 0)]
    lanes = {b.name: (b.lane, b.n_lanes) for b in with_lanes(boxes)}
    assert lanes == {"a": (1, 2), "b": (0, 2), "c": (1, 2), "d": (0, 1), "e": (0, 1)}


def test_bands_come_in_order_and_count_waste(newton):
    shown = bands(newton)
    assert [b.location for b in shown] == ["shared", "block", "persistent_local", "local"]
    assert [b.wasted for b in shown] == [64, 0, 60, 0]


def test_local_arrays_follow_each_other_and_then_the_children(tree):
    step = tree.children["step"].layout
    row = band_of(step, "local").boxes
    assert [(b.name, b.offset, b.nbytes, b.child) for b in row] == [("newton", 0, 128, "newton")]


# ---- HTML -----------------------------------------------------------------


def test_html_has_a_bar_to_scale_for_every_region_with_bytes(newton):
    page = draw.html(newton)
    assert page.count("position:relative") == 3
    assert f"left:{100 * 80 / 1984:.4f}%;width:{100 * 1600 / 1984:.4f}%" in page
    assert 'title="jacobian: 1,600 bytes at 80"' in page
    assert 'title="32 bytes unused at 1,760"' in page
    assert 'title="delta: 80 bytes"' in page


def test_html_escapes_names(newton):
    newton.name = "<Newton & co>"
    page = draw.html(newton)
    assert "&lt;Newton &amp; co&gt;" in page
    assert "<Newton" not in page


# ---- pictures -------------------------------------------------------------


@pytest.mark.parametrize(("n", "width"), [(5, WIDTH), (50, WIDTH), (500, WIDE)])
def test_every_buffer_is_named_in_its_box_or_in_the_key(n, width):
    made = crowd(n)
    sheet = map_sheet(made, width)
    texts = [w.text for w in sheet.words]
    for p in made.placements:
        assert any(t == p.name or t.startswith((f"{p.name} @", f"{p.name}: ")) for t in texts), p


@pytest.mark.parametrize("n", [5, 50, 500])
def test_pictures_stay_on_paper(n):
    assert map_sheet(crowd(n), WIDE if n > 100 else WIDTH).y < 48


@pytest.mark.parametrize("n", [5, 50])
def test_names_stay_inside_their_boxes(n):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = crowd(n)
    sheet = map_sheet(made, WIDTH)
    fig = Figure(figsize=(WIDTH, sheet.y))
    renderer = FigureCanvasAgg(fig).get_renderer()
    ax = fig.add_axes((0, 0, 1, 1))
    sheet.render(ax, WIDTH, sheet.y)
    names = {p.name for p in made.placements}
    seen = 0
    to_inches = ax.transData.inverted()
    for text in ax.texts:
        if text.get_text() not in names:
            continue
        seen += 1
        x, y = text.get_position()
        around = [
            f for f in sheet.fills if f.x <= x <= f.x + f.width and f.y <= y <= f.y + f.height
        ]
        extent = text.get_window_extent(renderer).transformed(to_inches)
        holder = min(around, key=lambda f: f.width)
        assert holder.x <= extent.x0, text.get_text()
        assert extent.x1 <= holder.x + holder.width, text.get_text()
    assert seen >= n // 3


def test_boxes_are_to_scale_and_gaps_hatched(newton):
    assert row_bytes_for(band_of(newton, "shared"), WIDTH - 0.62) == 1024
    sheet = map_sheet(newton, WIDTH)
    scale = (WIDTH - 0.62) / 1024
    gaps = [f for f in sheet.fills if f.hatch][:2]
    assert [round(f.width / scale, 6) for f in gaps] == [32, 32]
    assert [round((f.x - 0.62) / scale, 6) for f in gaps] == [1760 - 1024, 1952 - 1024]
    first, rest = (f for f in sheet.fills if round(f.width / scale, 6) in (944, 1600 - 944))
    assert first.x == pytest.approx(0.62 + 80 * scale)
    assert rest.x == pytest.approx(0.62)
    assert rest.y > first.y


def test_a_box_over_several_rows_keeps_its_bytes():
    big = layout("Big", [placement(f"b{i}", "shared", 400 * i, 100) for i in range(20)])
    band = band_of(big, "shared")
    row_bytes = row_bytes_for(band, 2.0)
    assert 1 < -(-band.nbytes // row_bytes) <= 7
    sheet = map_sheet(big, 2.62)
    area = sum(f.width for f in sheet.fills if f.height == pytest.approx(0.4))
    assert area == pytest.approx(band.nbytes * 2.0 / row_bytes)


def test_kept_buffers_have_a_foot(newton):
    from bayplan.draw.colours import KEPT

    feet = [f for f in map_sheet(newton, WIDTH).fills if f.colour == KEPT]
    assert len(feet) == 2  # residual, h


def test_plot_uses_the_axes_it_is_given(newton):
    from matplotlib.figure import Figure

    fig = Figure(figsize=(6, 2))
    ax = fig.add_axes((0, 0, 1, 1))
    assert draw.plot(newton, ax) is ax
    assert {"residual", "jacobian"} <= {t.get_text() for t in ax.texts}
    assert max(t.get_fontsize() for t in ax.texts) < 11  # shrunk to fit


def test_plot_makes_a_figure_of_its_own(newton):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    ax = draw.plot(newton)
    assert ax.figure.number in pyplot.get_fignums()
    pyplot.close(ax.figure)


def test_the_tree_nests_children_in_their_parents(tree):
    sheet = tree_sheet(tree, WIDTH)
    scale = WIDTH / tree.shared.nbytes
    named = {w.text: w for w in reversed(sheet.words)}

    def fill_behind(name):
        w = named[name]
        inside = (
            f
            for f in sheet.fills
            if f.x <= w.x <= f.x + f.width and f.y <= w.y <= f.y + f.height and not f.hatch
        )
        return min(inside, key=lambda f: f.width)

    step, newton, jacobian = map(
        fill_behind, ("step: Step", "newton: NewtonSolver", "jacobian")
    )  # fmt: skip
    assert step.x == pytest.approx(192 * scale)
    assert newton.x == pytest.approx((192 + 256) * scale)
    assert jacobian.x == pytest.approx((192 + 256 + 80) * scale)
    assert jacobian.width == pytest.approx(1600 * scale)
    assert step.y < newton.y < jacobian.y
    assert newton.x + newton.width <= step.x + step.width + 1e-9


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_plot_tree_saves_a_picture(tree, tmp_path, suffix):
    path = tmp_path / f"tree.{suffix}"
    fig = draw.plot_tree(tree, path)
    assert fig.get_size_inches()[0] == pytest.approx(12.5)
    assert path.read_bytes().startswith(b"\x89PNG" if suffix == "png" else b"<?xml")
    assert path.stat().st_size > 5000


def test_an_empty_layout_is_drawn_too():
    nothing = layout("Nothing", [])
    assert "no buffers" in [w.text for w in map_sheet(nothing, WIDTH).words]
    assert "no bytes" in [w.text for w in tree_sheet(nothing, WIDTH).words]
    assert draw.text(nothing).splitlines()[2:] == ["empty: shared, block, persistent_local, local"]


def test_empty_blocks_of_children_are_left_out(tree):
    step = tree.children["step"].layout
    assert "newton_block" in [p.name for p in step.placements]
    assert "newton_block" not in draw.text(step)
    assert "newton_block" not in draw.html(step)


def test_without_matplotlib_the_error_names_the_extra():
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from bayplan import draw\n"
        "try:\n    draw.plot(None)\nexcept ImportError as e:\n    print(e)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "pictures need matplotlib: pip install bayplan[plot]\n"


# ---- the core's own layouts -----------------------------------------------


def test_a_real_layout(registry):
    class Owner:
        precision = np.float32

    inner, outer = Owner(), Owner()
    registry.register(inner, "work", (4, 4), "shared")
    registry.register(inner, "spare", 3, "local")
    registry.register(outer, "state", 8, "shared", dtype=np.float64)
    registry.register(outer, "count", 1, "persistent_local", dtype=np.int32)
    registry.add_child(outer, inner, "solver")
    made = registry.build_layout(outer)
    text = draw.text(made)
    assert text.splitlines()[2].startswith("shared: 128 bytes per run, align 8, lower bound 128")
    for name in ("state", "count", "solver_shared"):
        assert name in text
    assert made.text() == text
    assert made._repr_html_() == draw.html(made)
    names = {w.text for w in tree_sheet(made, WIDTH).words}
    assert {"state", "solver: Owner", "work", "spare", "count"} <= names


# ---- phases ----------------------------------------------------------------------------------


@pytest.fixture
def phased(registry):
    """Shared: 16 bytes always, and 16, 8 and 4 of them in phases of their own on 16 more."""

    class Solver:
        pass

    owner = Solver()
    registry.phases(owner, "predict", "solve", "commit")
    registry.loop(owner, "predict", "solve")
    registry.loop(owner, "solve")
    registry.register(owner, "state", 4, "shared")
    registry.register(owner, "guess", 4, "shared", live="predict")
    registry.register(owner, "delta", 2, "shared", live="solve", carried=True)
    registry.register(owner, "part", 1, same_as="delta", live="solve")
    registry.register(owner, "norm", 1, "shared", live=("commit", "commit"))
    registry.register(owner, "old", 3, "persistent_local")
    return registry.build_layout(owner)


def test_text_says_what_lives_when(phased):
    lines = phased.text().splitlines()
    assert lines[1] == "phases: predict, solve, commit; loops: predict - solve, solve"
    assert lines[3].endswith("lower bound 32, optimal, 0 unused, 21% of the area idle")
    found = {line.split()[2]: line.split()[5:] for line in lines if " float32 " in line}
    assert found["state"] == ["always"]
    assert found["guess"] == ["predict", "shares", "bytes"]
    assert found["delta"] == ["solve", "carried,", "shares", "bytes"]
    assert found["norm"] == ["commit", "shares", "bytes"]
    assert found["old"] == ["always", "kept"]


def test_html_says_what_lives_when(phased):
    page = phased._repr_html_()
    assert page.count(">live</th>") == 2
    assert ">predict</td>" in page
    assert ">always</td>" in page


def test_a_band_knows_what_is_idle(phased):
    band = band_of(phased, "shared")
    assert band.is_phased
    assert [sorted(box.name for box in band.in_phase(t)) for t in range(3)] == [
        ["guess", "state"], ["delta", "part", "state"], ["norm", "state"],
    ]  # fmt: skip
    assert band.idle == pytest.approx((0 + 8 + 12) / (3 * 32))
    assert not band_of(phased, "persistent_local").is_phased


def test_a_phased_region_is_drawn_as_address_and_phase(phased):
    sheet = map_sheet(phased, 12.0)
    at = {words.text: words for words in sheet.words}
    for name in ("state", "guess", "delta", "norm", "predict", "solve", "commit", "loop", "32"):
        assert name in at, name
    assert at["predict"].x == pytest.approx(at["guess"].x)
    assert at["commit"].x == pytest.approx(at["norm"].x)
    assert at["solve"].x == pytest.approx(at["state"].x)  # the middle of three
    assert at["delta"].x < at["solve"].x < at["part"].x  # a lane each
    assert at["guess"].y < at["state"].y < at["predict"].y  # addresses go up
    assert any("live bytes, at most 32" in text for text in at)


def test_live_bytes_are_a_line_to_scale(phased):
    sheet = map_sheet(phased, 12.0)
    flat = [f for f in sheet.fills if f.colour == LOAD and f.width > f.height]
    heights = [fill.y for fill in flat]
    assert len(flat) == 3
    assert heights[0] < heights[1] < heights[2]  # 32, 24, 20 bytes
    per_byte = (heights[1] - heights[0]) / 8
    assert (heights[2] - heights[1]) / 4 == pytest.approx(per_byte)
    idle = [fill for fill in sheet.fills if fill.hatch]
    assert sorted(round(fill.height / per_byte) for fill in idle) == [8, 12]


def test_unphased_regions_are_drawn_as_ever(registry):
    owner = type("Owner", (), {})()
    registry.register(owner, "x", 4, "shared")
    plain = map_sheet(registry.build_layout(owner), 12.0)
    registry.phases(owner, "a", "b")
    phased = map_sheet(registry.build_layout(owner), 12.0)
    assert phased.fills == plain.fills


@pytest.mark.parametrize("n", [5, 50, 500])
def test_phased_pictures_name_everything_and_stay_on_paper(registry, n):
    owner = type("Owner", (), {})()
    names = [f"phase{i}" for i in range(16)]
    registry.phases(owner, *names)
    for i in range(n):
        first = 7 * i % 16
        live = (names[first], names[min(15, first + i % 3)])
        registry.register(owner, f"b{i}", 1 + 13 * i % 31, "shared", live=live)
    sheet = map_sheet(registry.build_layout(owner), 18.0)
    texts = {words.text.split(" @ ")[0] for words in sheet.words}
    assert {f"b{i}" for i in range(n)} <= texts
    for fill in sheet.fills:
        assert -0.03 <= fill.x
        assert fill.x + fill.width <= sheet.width + 0.03
        assert fill.y + fill.height <= sheet.y
