"""What tests of the planner share: problems, and what any plan promises."""

from __future__ import annotations

import itertools

import model
import numpy as np
from hypothesis import strategies as st


def arrays(buffers):
    """(sizes, first, last, align) as NumPy arrays."""
    columns = list(zip(*buffers, strict=True)) or [[], [], [], []]
    return [np.array(c, dtype=np.int64) for c in columns]


@st.composite
def problems(draw, max_n, max_size=20):
    out = []
    for _ in range(draw(st.integers(0, max_n))):
        first = draw(st.integers(-3, 6))
        out.append(
            (
                draw(st.integers(0, max_size)),
                first,
                first + draw(st.integers(0, 5)),
                draw(st.sampled_from([1, 1, 2, 4, 8, 16])),
            )
        )
    return out


def check_valid(plan, buffers, pins=None):
    """Everything any plan promises, whatever the mode; pairs are compared one by one."""
    sizes, first, last, align = ([b[k] for b in buffers] for k in range(4))
    offsets = [int(x) for x in plan.offsets]
    assert len(offsets) == len(buffers)
    assert all(o >= 0 and o % a == 0 for o, a in zip(offsets, align, strict=True))
    for i, j in itertools.combinations(range(len(buffers)), 2):
        together = min(sizes[i], sizes[j]) > 0 and max(first[i], first[j]) < min(last[i], last[j])
        apart = offsets[i] + sizes[i] <= offsets[j] or offsets[j] + sizes[j] <= offsets[i]
        assert apart or not together, (i, j)
    assert plan.height == model.height(offsets, sizes)
    assert plan.load == model.load(sizes, first, last)
    assert plan.load <= plan.lower_bound <= plan.height
    for offset, pin in zip(offsets, [] if pins is None else pins, strict=pins is not None):
        assert pin == -1 or offset == pin


def check_plan(plan, buffers, pins=None):
    """A plan without a capacity."""
    check_valid(plan, buffers, pins)
    assert plan.status == ("optimal" if plan.lower_bound == plan.height else "feasible")


def hard_problem(seed, n_long, moments=40, height=1_000_000):
    """(sizes, first, last) of load `height` at every moment, which hardly any plan reaches.

    Long buffers, staggered, and in every moment six more that exactly fill what is left.
    """
    rng = np.random.default_rng(seed)
    rows, live = [], np.zeros(moments, dtype=np.int64)
    while len(rows) < n_long:
        first = int(rng.integers(0, moments - 3))
        last = min(moments, first + int(rng.integers(3, 9)))
        size = int(rng.integers(20_000, 200_000))
        if live[first:last].max() + size <= 0.8 * height:
            live[first:last] += size
            rows.append((size, first, last))
    for t in range(moments):
        cuts = np.sort(rng.integers(1, height - live[t], 5))
        rows += [(int(size), t, t + 1) for size in np.diff([0, *cuts, height - live[t]])]
    return tuple(np.array(rows).T)
