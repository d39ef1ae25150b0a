"""Drawings of budgets and slots: text to the letter, tables, HTML and pictures by their parts."""

import contextlib
import io
import itertools
import os
import re
import subprocess
import sys
import threading
from html import escape

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bayplan
from bayplan import Budget, SimBackend, SlotManager, draw
from bayplan.draw.budget_rows import PRESSURES, SIGNS, bar, cells, percent, plain, size
from bayplan.draw.colours import FIELDS, KEPT
from bayplan.draw.slots_picture import slots_sheet
from bayplan.draw.slots_rows import lines_for, scene


@pytest.fixture
def plt():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    yield pyplot
    pyplot.close("all")


def crowd(n, seed=5):
    """A manager of n slots of all kinds in a tree of budgets, most of them full."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 400, n).tolist()
    top = Budget(2 * sum(sizes) + 1000, name="gpu")
    models = Budget(sum(sizes), name="models", parent=top)
    slots = SlotManager(models, backend="sim")
    for i, n_bytes in enumerate(sizes):
        name = f"slot-{i}" if i % 7 else f"a long name of a slot, {i} $x_2$ <&>"
        slots.allocate(name, n_bytes, pin=i % 11 == 3, priority=int(i % 3 == 2))
    for name in list(slots)[4:n:9]:
        if not slots[name].pinned:
            slots.evict(name)
    top.charge(500, "activations")
    return slots


# ---- figures ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (0, 8, "0.00 %"),
        (1, 3, "33.33 %"),
        (2, 3, "66.66 %"),
        (949_999_999, 10**9, "94.99 %"),
        (95, 100, "95.00 %"),
        (3, 2, "150.00 %"),
        (2**62, 2**63 - 1, "50.00 %"),
        (0, 0, "-"),
        (5, 0, "-"),
    ],
)
def test_percents_are_cut(part, whole, text):
    assert percent(part, whole) == text


@pytest.mark.parametrize(
    ("n", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.00 KiB"), (8 << 30, "8.00 GiB"),
     ((8 << 30) - 1, "7.99 GiB"), (200_000_000, "190.73 MiB"), (3 << 40, "3.00 TiB")],
)  # fmt: skip
def test_sizes(n, text):
    assert size(n) == text


def test_names_stay_on_their_line():
    assert plain("graph") == "graph"
    assert plain("größe") == "größe"
    assert plain("two\nlines\x1b[31m") == "two\\nlines\\x1b[31m"
    assert plain("x" * 255) == "x" * 33 + "..."


@given(
    st.lists(st.integers(0, 2**62), min_size=3, max_size=3),
    st.integers(0, 2**63 - 1),
    st.integers(4, 64),
)
def test_bars_show_what_is_not_nothing(parts, whole, width):
    counts = cells(parts, whole, width)
    assert all((n > 0) == (part > 0) for n, part in zip(counts, parts, strict=True))
    is_full = sum(parts) >= whole and sum(parts) > 0
    assert (sum(counts) == width) if is_full else (sum(counts) < width)
    drawn = bar(parts, whole, width)
    assert len(drawn) == width
    assert [drawn.count(sign) for sign in SIGNS[:3]] == counts
    total = max(whole, sum(parts), 1)
    for n, part in zip(counts, parts, strict=True):
        assert abs(n - width * part / total) <= 3


# ---- text -------------------------------------------------------------------------


def test_slots_to_the_letter():
    budget = Budget(1000, name="gpu")
    slots = SlotManager(budget, backend="sim")
    slots.allocate("embedding", 200)
    slots.allocate("graph", 100, pin=True, kind="table")
    slots.allocate("entity", 50)
    slots.allocate("old", 400)
    slots.evict("old")
    slots.touch("embedding")
    budget.charge(150, "activations")
    with slots.use("entity"):
        shown = slots.text()
    numbers = [slots[name].generation for name in slots]
    assert shown.splitlines() == [
        "4 slots, 3 loaded: 350 bytes; lru on sim",
        "gpu: 500 of 1,000 bytes (50.00 %), MEDIUM, 500 available",
        SIGNS[0] * 32 + SIGNS[3] * 32,
        "█ used  ▓ reserved  ▒ retiring  · available",
        "",
        "slot       state     size          bytes  goes  generation  kind",
        f"embedding  resident  ██████          200   1st  {numbers[0]:>10}",
        f"graph      resident  ███             100        {numbers[1]:>10}  table  pinned",
        f"entity     resident  ██               50        {numbers[2]:>10}         in use",
        f"old        evicted   ░░░░░░░░░░░░    400        {numbers[3]:>10}",
    ]


def test_budgets_to_the_letter():
    top = Budget(1000, name="gpu")
    models = Budget(600, name="models", parent=top)
    tables = Budget(100, name="tables", parent=models)
    other = Budget(0, parent=top)
    models.charge(200, "weights")
    tables.charge(100)
    with top.reserve(100):
        top.set_limit(380)
        shown = top.text()
    assert shown.splitlines() == [
        "budget                                  in use  limit            pressure",
        f"gpu           {'█' * 18}{'▓' * 6}     400    380  105.26 %  CRITICAL  over by 20",
        f"├─ models     {'█' * 12}{'·' * 12}     300    600   50.00 %  MEDIUM",
        "│    weights                               200",
        f"│  └─ tables  {'█' * 24}     100    100  100.00 %  CRITICAL",
        f"└─ budget     {'·' * 24}       0      0         -  CRITICAL",
        "█ used  ▓ reserved  ▒ retiring  · available",
    ]
    assert top.children == (models, other)
    del models, tables
    assert "tables" not in top.text()


@pytest.mark.parametrize("n", [0, 1, 13, 60, 61, 200])
def test_every_slot_is_in_the_text_or_counted(n):
    slots = crowd(n)
    lines = slots.text().splitlines()
    assert all(line == line.rstrip() for line in lines)
    assert max(map(len, lines)) <= 110
    rows = lines[6 : 6 + n]
    for name, row in zip(list(slots)[:60], rows, strict=False):
        assert row.startswith(plain(name) + " ")
        assert f" {slots[name].state} " in row
        assert f" {slots[name].nbytes:,} " in row
    if n > 60:
        rest = [slots[name] for name in list(slots)[60:]]
        loaded, total = sum(s.resident for s in rest), sum(s.nbytes for s in rest)
        assert lines[-1] == f"... and {n - 60} more, {loaded} loaded: {total:,} bytes"
    else:
        assert len(lines) == (4 if n == 0 else 6 + n)


def test_the_order_is_the_order_of_evictions():
    slots = crowd(40)
    rows = [row for row in scene(slots).rows if row.goes is not None]
    told = [list(slots)[row.number] for row in sorted(rows, key=lambda row: row.goes)]
    assert len(told) == sum(slots[n].resident and not slots[n].pinned for n in slots)
    log = slots.budget.evictions.subscribe()
    slots.make_room(slots.budget.available + sum(slots[name].charged for name in told))
    assert [one.key for one in log.drain()] == told
    assert not any(row.goes for row in scene(slots).rows)


def test_drawing_changes_nothing():
    slots = crowd(30)
    top = slots.budget.parent
    before, stats = top.dump(), top.stats()
    for draw_it in (slots.text, slots._repr_html_, top.text, top._repr_html_, top.history):
        draw_it()
    scene(slots)
    assert (top.dump(), top.stats()) == (before, stats)
    assert slots.budget.stats().refusals == 0


def test_a_key_is_not_called_to_draw():
    def key(slot):
        raise RuntimeError(slot.name)

    slots = SlotManager(Budget(100), backend="sim", policy=key)
    slots.allocate("a", 10)
    assert "; by key on sim" in slots.text()
    assert "1st" not in slots.text()


def test_granularity_is_shown():
    budget = Budget(4096, granularity=256)
    slots = SlotManager(budget, backend="sim")
    slots.allocate("a", 100)
    head, row = slots.text().splitlines()[-2:]
    assert head.split() == ["slot", "state", "size", "bytes", "charged", "goes", "generation"]
    assert row.split()[3:5] == ["100", "256"]


# ---- rich -------------------------------------------------------------------------


@pytest.mark.parametrize("n", [0, 1, 13, 200])
@pytest.mark.parametrize("width", [80, 110])
def test_rich_cuts_no_number(n, width):
    console = pytest.importorskip("rich.console")
    slots = crowd(n)
    out = console.Console(width=width, record=True, file=io.StringIO())
    out.print(slots, slots.budget.parent)
    said = out.export_text()
    assert "…" not in said
    for name in list(slots)[:60]:
        assert f" {slots[name].nbytes:,} " in said
    assert slots.text().splitlines()[0] in said
    assert ("... and 140 more" in said) == (n == 200)
    assert "activations" in said


def test_markup_in_names_is_text():
    console = pytest.importorskip("rich.console")
    slots = SlotManager(Budget(100, name="[red]b[/red]"), backend="sim")
    slots.allocate("[bold]a[/bold]", 10)
    out = console.Console(width=110, record=True, file=io.StringIO())
    out.print(slots, slots.budget)
    said = out.export_text()
    assert "[bold]a[/bold]" in said
    assert said.count("[red]b[/red]") == 2


# ---- HTML -------------------------------------------------------------------------


def spans(html, what):
    """(left, width) in percent of the pieces of the bar called so."""
    found = re.findall(
        r'left:([\d.]+)%;width:([\d.]+)%[^>]*title="' + what + r': [\d,]+ bytes"', html
    )
    return [(float(left), float(wide)) for left, wide in found]


def test_html_bars_are_to_scale():
    budget = Budget(1000, name="a<b")
    slots = SlotManager(budget, backend="sim")
    slots.allocate("<graph>", 250)
    budget.charge(125)
    with budget.reserve(500):
        html, tree = slots._repr_html_(), budget._repr_html_()
    assert spans(html, "slots") == [(0, 25)]
    assert spans(html, "others") == [(25, 12.5)]
    assert spans(html, "reserved") == [(37.5, 50)]
    assert spans(tree, "used") == [(0, 37.5)]
    assert spans(tree, "reserved") == [(37.5, 50)]
    assert spans(tree, "retiring") == []
    for level, name in zip((50, 80, 95), PRESSURES[1:], strict=True):
        assert f"left:{level:.4f}%" in tree
        assert f'title="{name} from {level} %"' in tree
    assert "&lt;graph&gt;" in html
    assert "<graph>" not in html
    assert "a&lt;b" in tree
    assert "a<b" not in tree + html


@pytest.mark.parametrize("n", [0, 1, 13, 200])
def test_html_is_well_formed(n):
    from html.parser import HTMLParser

    class Balanced(HTMLParser):
        def __init__(self):
            super().__init__()
            self.open = []

        def handle_starttag(self, tag, attrs):
            self.open.append(tag)

        def handle_endtag(self, tag):
            assert self.open.pop() == tag

    slots = crowd(n)
    for html in (slots._repr_html_(), slots.budget.parent._repr_html_()):
        parser = Balanced()
        parser.feed(html)
        parser.close()
        assert parser.open == []
        assert "<script" not in html
        assert "http" not in html
    for name in slots:
        tip = f'title="{escape(plain(name))}: {slots[name].nbytes:,} bytes, '
        assert slots._repr_html_().count(tip) == 1


# ---- pictures ---------------------------------------------------------------------


def band(ax, label):
    """Upper and lower edges of one field of the stack, at the points of the history."""
    (poly,) = [c for c in ax.collections if c.get_label() == label]
    return poly.get_paths()[0].vertices


def test_use_over_time_is_the_history(plt):
    budget = Budget(1000, name="gpu")
    slots = SlotManager(budget, backend="sim")
    slots.allocate("a", 300)
    budget.charge(200)
    with budget.reserve(100):
        budget.charge(300)
        slots.evict("a")
    budget.set_limit(800)
    ax = budget.plot()
    past = budget.history()
    assert [line.get_label() for line in ax.lines[1:]] == ["limit", "peak 900"]
    total, limit, peak = (line.get_ydata() for line in ax.lines)
    in_use = past["used"] + past["reserved"] + past["retiring"]
    assert total[:-1].tolist() == in_use.tolist()
    assert limit[:-1].tolist() == past["limit"].tolist()
    assert ax.lines[0].get_xdata()[:-1].tolist() == past["when"].tolist()
    assert set(peak) == {900}
    for part in ("used", "reserved", "retiring"):
        ys = band(ax, part)[:, 1]
        assert max(ys) <= in_use.max()
        face = next(c for c in ax.collections if c.get_label() == part).get_facecolor()[0]
        assert tuple(face[:3]) == pytest.approx(
            [int(FIELDS[part][i : i + 2], 16) / 255 for i in (1, 3, 5)]
        )
    assert [t.get_text() for t in ax.texts] == list(PRESSURES)
    heights = [t.xy[1] for t in ax.texts]
    assert heights == sorted(heights)
    assert "gpu: 500 of 800 bytes (62.50 %), MEDIUM" in ax.get_title(loc="left")
    ax.figure.canvas.draw()


def test_bands_follow_the_limit(plt):
    budget = Budget(1000)
    budget.charge(100)
    budget.set_limit(500)
    budget.charge(1)
    ax = budget.plot()
    medium = ax.collections[1].get_paths()[0].vertices[:, 1]
    assert {500.0, 800.0, 250.0, 400.0} <= set(medium.tolist())


def test_names_of_bands_do_not_collide(plt):
    for levels in ((50, 80, 95), (1, 2, 3), (97, 98, 99), (1, 50, 51)):
        budget = Budget(1000, levels=levels)
        budget.charge(5)
        ax = budget.plot()
        ax.figure.canvas.draw()
        boxes = [text.get_window_extent() for text in ax.texts]
        for below, above in itertools.pairwise(boxes):
            assert below.y1 <= above.y0 + 1


def test_use_of_nothing_and_of_no_limit(plt):
    ax = Budget(100).plot()
    assert ax.lines[0].get_ydata().tolist() == [0, 0]
    ax.figure.canvas.draw()
    budget = Budget(0)
    budget.set_limit(10)
    budget.charge(10)
    budget.set_limit(0)
    budget.plot().figure.canvas.draw()


@pytest.mark.parametrize("n", [0, 1, 13, 200])
def test_picture_has_every_slot(plt, n):
    slots = crowd(n)
    seen = scene(slots)
    ax = slots.plot()
    ax.figure.canvas.draw()
    words = [text.get_text() for text in ax.texts]
    for row in seen.rows:
        shown = [w for w in words if w == row.name or w.startswith(f"{row.name}: {row.nbytes:,} B")]
        assert len(shown) == 1, row
    boxes = [p for p in ax.patches if p.get_height() == pytest.approx(0.40)]
    assert len(boxes) == n
    left = sum(p.get_width() for p in boxes if p.get_x() < 0.02)
    assert left >= 0
    assert len([p for p in ax.patches if p.get_facecolor()[:3] == pytest.approx(
        [int(KEPT[i : i + 2], 16) / 255 for i in (1, 3, 5)])]) == sum(
        row.pinned for row in seen.rows)  # fmt: skip
    assert ax.figure.get_size_inches()[1] < 20


def test_boxes_are_to_scale_and_inside(plt):
    seen = scene(crowd(200))
    sheet = slots_sheet(seen, 18.0)
    slots = [f for f in sheet.fills if f.height == 0.40]
    for rows in (seen.resident, seen.absent):
        taken, slots = slots[: len(rows)], slots[len(rows) :]
        order = sorted(rows, key=lambda r: (r.goes or len(seen.rows) + 1, r.number))
        scales = [f.width / row.nbytes for f, row in zip(taken, order, strict=True)]
        assert scales == pytest.approx([scales[0]] * len(rows))
        assert max(f.x + f.width for f in taken) <= 18.0
        for one, after in itertools.pairwise(taken):
            assert after.y > one.y or after.x == pytest.approx(one.x + one.width)
    assert slots == []


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=50))
def test_lines_keep_order_and_lose_nothing(sizes):
    row = scene(crowd(1)).rows[0]
    rows = [row._replace(name=f"slot-{i}", nbytes=n) for i, n in enumerate(sizes)]
    lines = lines_for(rows, 12.0)
    assert [one for line in lines for one in line] == rows
    assert all(lines)


def test_pictures_on_given_axes(plt):
    figure, axes = plt.subplots(2)
    slots = crowd(13)
    assert slots.plot(axes[0]) is axes[0]
    assert slots.budget.plot(axes[1]) is axes[1]
    assert draw.plot_budget(Budget(10), axes[1]) is axes[1]
    assert plt.get_fignums() == [figure.number]


def test_drawing_while_others_change_everything():
    budget = Budget(100_000, name="gpu")
    slots = SlotManager(budget, backend="sim")
    stop = threading.Event()

    def churn(seed):
        rng = np.random.default_rng(seed)
        while not stop.is_set():
            name = f"{seed}-{rng.integers(8)}"
            with contextlib.suppress(bayplan.BayplanError):
                if name in slots:
                    slots.deallocate(name)
                else:
                    slots.allocate(name, int(rng.integers(1, 30_000)))
            child = Budget(10, name=name, parent=budget)
            child.charge(1, name)

    threads = [threading.Thread(target=churn, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(100):
            lines = slots.text().splitlines()
            n, loaded = (int(word) for word in re.findall(r"^(\d+) slots?, (\d+) ", lines[0])[0])
            assert loaded <= n <= 24
            assert budget.text().splitlines()[1].startswith("gpu ")
            slots._repr_html_()
            budget._repr_html_()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    slots.close()
    assert budget.used == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_is_told():
    code = (
        "import os, sys, bayplan\n"
        "budget = bayplan.Budget(100)\n"
        "slots = bayplan.SlotManager(budget, backend='sim')\n"
        "slot = slots.allocate('a', 10)\n"
        "if os.fork() == 0:\n"
        "    for draw in (slots.text, slots._repr_html_, budget.text, budget._repr_html_):\n"
        "        try:\n            draw()\n"
        "        except bayplan.ForkedProcess:\n            continue\n"
        "        os._exit(1)\n"
        "    os._exit(7)\n"
        "print(os.waitstatus_to_exitcode(os.wait()[1]), slot.state)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "7 resident\n", done.stderr


def test_without_extras():
    code = (
        "import sys; sys.modules['matplotlib'] = sys.modules['rich'] = None\n"
        "import bayplan\n"
        "budget = bayplan.Budget(100)\n"
        "slots = bayplan.SlotManager(budget, backend='sim')\n"
        "print(len(slots.text() + budget.text() + slots._repr_html_()) > 9)\n"
        "for one in (slots, budget):\n"
        "    try:\n        one.plot()\n"
        "    except ImportError as error:\n        print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    need = "pictures need matplotlib: pip install bayplan[plot]\n"
    assert done.stdout == f"True\n{need}{need}", done.stderr


def test_a_device_without_room_is_drawn(plt):
    sim = SimBackend(capacity=50)
    slots = SlotManager(Budget(100, device=sim))
    slots.allocate("a", 40)
    with pytest.raises(bayplan.BudgetExceeded):
        slots.allocate("b", 60, keep=None)
    assert "a" in slots.text()
    slots.plot().figure.canvas.draw()
