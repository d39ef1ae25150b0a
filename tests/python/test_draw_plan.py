"""Drawings of plans: text to the letter, pictures rectangle by rectangle."""

import subprocess
import sys

import numpy as np
import pytest
from plan_tools import hard_problem

import bayplan
from bayplan import draw

SMALL = ([8, 8, 4], [0, 2, 0], [2, 4, 4])


@pytest.fixture
def plt():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    yield pyplot
    pyplot.close("all")


def random_plan(n, seed=3):
    rng = np.random.default_rng(seed)
    first = rng.integers(0, n, n)
    last = first + rng.integers(1, 40, n)
    return bayplan.plan(16 * rng.integers(1, 30, n), first, last, align=np.full(n, 16))


def test_text_to_the_letter():
    plan = bayplan.plan(*SMALL, pins=[0, 0, 8])
    wide = 64 // 4
    high = [f"{row:2} |{'c' * 2 * wide}" for row in (11, 10, 9, 8)]
    low = [f"{row:2} |{'a' * wide}{'b' * wide}".rjust(4) for row in reversed(range(8))]
    rows = [f"{line.partition(' |')[0].strip().rjust(4)} |{line.partition(' |')[2]}"
            for line in (*high, *low)]  # fmt: skip
    assert plan.text().splitlines() == [
        "3 buffers, 12 bytes, optimal, 0.0% of the area unused",
        "",
        *rows,
        f"live |{chr(0x2588) * 2 * wide}",
        "",
        "   buffer  alive  offset  bytes",
        "a       0   0..2       0      8",
        "b       1   2..4       0      8",
        "c       2   0..4       8      4",
    ]


def test_every_cell_shows_what_lies_at_its_middle():
    plan = random_plan(30)
    assert plan.height > 16
    lines = plan.text().splitlines()
    rows = [line.partition("|")[2] for line in lines[2:18]][::-1]
    events = sorted({*plan.first.tolist(), *plan.last.tolist()})
    signs = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    width = max(1, 64 // (2 * (len(events) - 1)))
    for r, row in enumerate(rows):
        middle = (2 * r + 1) * plan.height / 32
        for c, time in enumerate(events[:-1]):
            there = [
                signs[i]
                for i in range(30)
                if plan.first[i] <= time < plan.last[i]
                and plan.offsets[i] <= middle < plan.offsets[i] + plan.sizes[i]
            ]
            assert len(there) <= 1
            assert row[c * width] == (there[0] if there else ".")


def test_text_of_many_and_of_none():
    text = random_plan(500).text()
    assert text.splitlines()[-1] == "... and 448 more"
    assert max(map(len, text.splitlines())) <= 100
    assert bayplan.plan([], [], []).text() == "0 buffers, 0 bytes, optimal"
    assert bayplan.plan([0], [0], [1]).text() == "1 buffer, 0 bytes, optimal"
    said = bayplan.plan([4, 0], [0, 0], [1, 5]).text()
    assert said.endswith("\n1 of size 0 or never alive")


def test_the_head_says_how_good_it_is():
    sizes, first, last = hard_problem(0, 30)
    plan = bayplan.plan(sizes, first, last, mode="fast")
    head = plan.text().splitlines()[0]
    over = (plan.height - 1_000_000) / 1_000_000
    assert f"{over:.2%} above the proven bound of 1,000,000" in head
    plan = bayplan.plan(sizes, first, last, mode="optimal", budget=10**12, time_limit=0)
    assert plan.text().splitlines()[0].endswith(", interrupted")
    plan = bayplan.plan([4, 4], [0, 0], [1, 1], capacity=7)
    assert "capacity not met (infeasible)" in plan.text().splitlines()[0]


@pytest.mark.parametrize("n", [1, 5, 50, 500])
def test_picture_has_every_buffer(plt, n):
    plan = random_plan(n)
    ax = plan.plot()
    (tiles,) = ax.collections
    drawn = sorted(
        tuple(int(x) for x in (*path.vertices[:4].min(axis=0), *path.vertices[:4].max(axis=0)))
        for path in tiles.get_paths()
    )
    columns = (plan.first, plan.offsets, plan.last, plan.offsets + plan.sizes)
    assert drawn == sorted(zip(*(c.tolist() for c in columns), strict=True))
    live = ax.lines[0]
    assert max(live.get_ydata()) == plan.load
    assert ax.lines[1].get_ydata()[0] == plan.height
    numbers = [text.get_text().partition(":")[0] for text in ax.texts]
    assert len(numbers) == len(set(numbers))
    assert len(numbers) >= 0.5 * n
    assert {int(number) for number in numbers} <= set(range(n))
    ax.figure.canvas.draw()


def test_labels_stay_in_their_rectangles(plt):
    ax = random_plan(50).plot()
    ax.figure.canvas.draw()
    boxes = {str(i): path.get_extents() for i, path in enumerate(ax.collections[0].get_paths())}
    spans = sorted((box.x0, box.y0, box.x1, box.y1) for box in boxes.values())
    for text in ax.texts:
        box = ax.transData.inverted().transform(text.get_window_extent())
        (x0, y0), (x1, y1) = box
        x, y = text.get_position()
        home = next(s for s in spans if s[0] < x < s[2] and s[1] < y < s[3])
        room = 0.1 * (home[2] - home[0]), 0.25 * (home[3] - home[1])
        assert home[0] - room[0] <= x0, text
        assert x1 <= home[2] + room[0], text
        assert home[1] - room[1] <= y0, text
        assert y1 <= home[3] + room[1], text


def test_picture_on_given_axes(plt):
    figure, ax = plt.subplots()
    assert bayplan.plan(*SMALL).plot(ax) is ax
    assert draw.plot_plan(bayplan.plan([], [], []), ax) is ax
    assert plt.get_fignums() == [figure.number]


def test_without_matplotlib():
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "import bayplan\n"
        "plan = bayplan.plan([4], [0], [1])\n"
        "print(len(plan.text()) > 0)\n"
        "try:\n    plan.plot()\n"
        "except ImportError as error:\n    print(error)\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert said.stdout == "True\npictures need matplotlib: pip install bayplan[plot]\n", said.stderr
