"""Searches: pins, capacities, budgets, clocks, progress, Ctrl-C."""

from __future__ import annotations

import hashlib
import itertools
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import model
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plan_tools import arrays, check_plan, check_valid, hard_problem, problems
from support import words

import bayplan
from bayplan import BufferValueError

ENDLESS = 10**15  # nodes


def columns(buffers):
    """The same as lists, in the model's order: sizes, align, first, last."""
    sizes, first, last, align = arrays(buffers)
    return [c.tolist() for c in (sizes, align, first, last)]


# ---- pins ----------------------------------------------------------------------


def meet(a, b):
    """Whether two (size, first, last) overlap in time and both take space."""
    return min(a[0], b[0]) > 0 and max(a[1], b[1]) < min(a[2], b[2])


def lowest(placed, buffer):
    """The lowest offset of `buffer` beside `placed`, (offset, buffer) pairs; gaps are used."""
    size, _, _, align = buffer
    taken = sorted((o, o + b[0]) for o, b in placed if meet(b, buffer))
    at = 0
    for low, high in taken:
        if at + size <= low:
            break
        at = max(at, model.round_up(high, align))
    return at


def optimum_with_pins(buffers, pins):
    """The lowest height there is: every order of the free buffers, each as low as it goes.

    Take an optimal placement and its free buffers by offset: as low as the pins and the earlier
    ones allow is never above where it was.
    """
    fixed = [(p, b) for p, b in zip(pins, buffers, strict=True) if p >= 0]
    free = [b for p, b in zip(pins, buffers, strict=True) if p < 0]
    best = None
    for order in itertools.permutations(free):
        placed = list(fixed)
        for buffer in order:
            placed.append((lowest(placed, buffer), buffer))
        top = model.height([o for o, _ in placed], [b[0] for _, b in placed])
        best = top if best is None else min(best, top)
    return best


@st.composite
def pinned(draw, max_n):
    """Buffers, and pins that no two of them fight over."""
    buffers = draw(problems(max_n))
    pins, placed = [], []
    for buffer in buffers:
        pin = draw(st.integers(0, 8)) * buffer[3] if draw(st.booleans()) else -1
        for other, known in placed:
            if meet(buffer, known) and pin < other + known[0] and other < pin + buffer[0]:
                pin = -1
        if pin >= 0:
            placed.append((pin, buffer))
        pins.append(pin)
    return buffers, pins


def test_the_reference_with_pins_by_hand():
    two = [(4, 0, 2, 1), (4, 0, 2, 1)]
    assert optimum_with_pins(two, [-1, -1]) == 8
    assert optimum_with_pins(two, [2, -1]) == 10
    assert optimum_with_pins(two, [4, -1]) == 8
    assert optimum_with_pins([(4, 0, 2, 1), (4, 2, 4, 1)], [9, -1]) == 13
    assert optimum_with_pins([(0, 0, 2, 1), (4, 0, 2, 1)], [9, -1]) == 4


@settings(max_examples=150)
@given(pinned(5))
def test_pins_against_brute_force(problem):
    buffers, pins = problem
    sizes, first, last, align = arrays(buffers)
    best = optimum_with_pins(buffers, pins)
    for mode in ("auto", "fast", "optimal"):
        plan = bayplan.plan(
            sizes, first, last, align=align, pins=np.array(pins, dtype=np.int64), mode=mode
        )
        check_plan(plan, buffers, pins)
        assert plan.lower_bound <= best <= plan.height
        if mode == "optimal":
            assert (plan.status, plan.height) == ("optimal", best)


@settings(max_examples=60)
@given(pinned(25))
def test_pins_of_many(problem):
    buffers, pins = problem
    sizes, first, last, align = arrays(buffers)
    plan = bayplan.plan(sizes, first, last, align=align, pins=np.array(pins, dtype=np.int64))
    check_plan(plan, buffers, pins)


@pytest.mark.parametrize(
    ("pins", "says"),
    [
        ([0, 2, -1], ["buffers 0 and 1", "0", "2"]),
        ([-1, 8, 4], ["buffer 2", "4", "alignment 8"]),
        ([-2, -1, -1], ["buffer 0", "-2"]),
        ([0, 4], ["sizes has 3", "pins has 2"]),
    ],
)
def test_bad_pins(pins, says):
    with pytest.raises(BufferValueError) as info:
        bayplan.plan([4, 4, 8], [0, 0, 0], [2, 2, 2], align=[1, 1, 8], pins=pins)
    assert info.value.code == "BAY-E122"
    words(str(info.value), *says)


@pytest.mark.parametrize("pins", [[0.0, -1.0], [np.nan, 1.0], [None, 0], ["0", "1"], 3])
def test_pins_that_are_no_integers(pins):
    with pytest.raises(BufferValueError, match="pins must be a one-dimensional array of integers"):
        bayplan.plan([4, 4], [0, 0], [1, 1], pins=pins)


def test_pins_that_are_not_alive_together_may_overlap():
    plan = bayplan.plan([4, 4, 0, 4], [0, 1, 0, 5], [1, 2, 9, 5], pins=[3, 3, 3, 3])
    assert (plan.offsets.tolist(), plan.height) == ([3, 3, 3, 3], 7)


@pytest.mark.parametrize("mode", ["sequential", "packed"])
@pytest.mark.parametrize("wish", [{"pins": [0, 4]}, {"capacity": 8}])
def test_simple_modes_refuse_what_they_cannot_do(mode, wish):
    with pytest.raises(BufferValueError) as info:
        bayplan.plan([4, 4], [0, 0], [1, 1], mode=mode, **wish)
    words(str(info.value), mode, *wish)


# ---- capacity ------------------------------------------------------------------


@settings(max_examples=100)
@given(problems(5))
def test_capacity_against_brute_force(buffers):
    sizes, first, last, align = arrays(buffers)
    best = model.optimum(*columns(buffers))
    for capacity in {best, best + 1, max(best - 1, 0), 0}:
        plan = bayplan.plan(sizes, first, last, align=align, capacity=capacity, mode="optimal")
        check_valid(plan, buffers)
        assert plan.lower_bound <= best <= plan.height
        if capacity < best:
            assert plan.status == "infeasible"
        else:
            assert (plan.status, plan.height <= capacity) == ("feasible", True)


def test_capacity_in_all_three_answers():
    sizes, first, last = hard_problem(0, 30)
    load = 1_000_000
    assert bayplan.plan(sizes, first, last, capacity=load - 1).status == "infeasible"
    plan = bayplan.plan(sizes, first, last, capacity=2 * load)
    assert (plan.status, plan.height <= 2 * load) == ("feasible", True)
    plan = bayplan.plan(sizes, first, last, capacity=load + 1, budget=500)
    assert (plan.status, plan.height > load + 1) == ("unknown", True)
    assert plan.lower_bound <= load + 1


@pytest.mark.parametrize("capacity", [-1, 2**64, 1.0, True, "8"])
def test_bad_capacity(capacity):
    with pytest.raises(BufferValueError, match="capacity"):
        bayplan.plan([4], [0], [1], capacity=capacity)


# ---- budgets -------------------------------------------------------------------


def rows_of(sizes, first, last, align=None):
    """(size, first, last, align) of every buffer."""
    aligned = np.ones_like(sizes) if align is None else align
    return list(zip(*(c.tolist() for c in (sizes, first, last, aligned)), strict=True))


@pytest.mark.parametrize("seed", range(4))
def test_a_budget_cut_anywhere_is_valid_and_claims_nothing(seed):
    rng = np.random.default_rng(seed)
    n = 24
    sizes, align = rng.integers(1, 60, n), 2 ** rng.integers(0, 4, n)
    first = rng.integers(0, 8, n)
    last = first + rng.integers(1, 5, n)
    full = bayplan.plan(sizes, first, last, align=align, mode="optimal")
    assert full.status == "optimal"
    buffers = rows_of(sizes, first, last, align)
    for budget in [*range(1, 80), *range(80, 2000, 97)]:
        plan = bayplan.plan(sizes, first, last, align=align, mode="optimal", budget=budget)
        check_plan(plan, buffers)
        assert plan.nodes <= budget
        assert plan.lower_bound <= full.height <= plan.height
        assert not plan.interrupted


def test_a_budget_cut_on_a_hard_problem():
    sizes, first, last = hard_problem(1, 30)
    buffers = rows_of(sizes, first, last)
    heights = []
    for budget in (1, 10, 100, 1000, 10_000, 100_000):
        plan = bayplan.plan(sizes, first, last, mode="optimal", budget=budget)
        heights.append(plan.height)
        assert plan.nodes <= budget
        assert (plan.status, plan.lower_bound) == ("feasible", 1_000_000)
        if budget in (1, 100_000):
            check_plan(plan, buffers)
    assert heights == sorted(heights, reverse=True)


def test_fast_uses_no_nodes():
    sizes, first, last = hard_problem(2, 30)
    assert bayplan.plan(sizes, first, last, mode="fast").nodes == 0
    assert bayplan.plan(sizes, first, last, mode="fast", budget=7).nodes == 0


@pytest.mark.parametrize("budget", [0, -1, 1.5, True, 2**64, "9"])
def test_bad_budget(budget):
    with pytest.raises(BufferValueError, match="budget"):
        bayplan.plan([4], [0], [1], budget=budget)


# ---- clocks --------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0, 0.0, 0.2, np.float32(0.1)])
def test_a_time_limit_ends_the_search(seconds):
    sizes, first, last = hard_problem(3, 30)
    begin = time.perf_counter()
    plan = bayplan.plan(sizes, first, last, mode="optimal", budget=ENDLESS, time_limit=seconds)
    assert time.perf_counter() - begin < float(seconds) + 5
    assert plan.interrupted
    assert plan.status == "feasible"
    check_plan(plan, rows_of(sizes, first, last))


def test_a_time_limit_that_is_not_reached_changes_nothing():
    sizes, first, last = hard_problem(4, 20)
    one = bayplan.plan(sizes, first, last, mode="optimal", budget=3000)
    for limit in (None, 1e9, float("inf"), 10**6):
        two = bayplan.plan(sizes, first, last, mode="optimal", budget=3000, time_limit=limit)
        assert two.offsets.tolist() == one.offsets.tolist()
        assert two[1:] == one[1:]
        assert not two.interrupted


@pytest.mark.parametrize("seconds", [-1, -0.5, float("nan"), "soon", True, [1], 1j])
def test_bad_time_limit(seconds):
    with pytest.raises(BufferValueError, match="time_limit must be a number of seconds"):
        bayplan.plan([4], [0], [1], time_limit=seconds)


# ---- progress ------------------------------------------------------------------


def test_progress_goes_one_way_and_ends_with_the_plan():
    sizes, first, last = hard_problem(5, 30)
    told = []
    plan = bayplan.plan(
        sizes, first, last, mode="optimal", budget=60_000, progress=lambda *now: told.append(now)
    )
    assert told[-1] == (plan.nodes, plan.height, plan.lower_bound)
    assert len(told) >= 2
    nodes, heights, bounds = zip(*told, strict=True)
    assert list(nodes) == sorted(nodes)
    assert list(heights) == sorted(heights, reverse=True)
    assert list(bounds) == sorted(bounds)
    quiet = bayplan.plan(sizes, first, last, mode="optimal", budget=60_000)
    assert quiet.offsets.tolist() == plan.offsets.tolist()


def test_progress_of_a_plan_without_a_search():
    told = []
    bayplan.plan([4, 8], [0, 0], [1, 1], mode="sequential", progress=lambda *now: told.append(now))
    assert told == [(0, 12, 12)]


def test_an_exception_in_progress_comes_out():
    sizes, first, last = hard_problem(6, 30)
    told = []

    def progress(nodes, height, bound):
        told.append(nodes)
        raise ZeroDivisionError("enough")

    with pytest.raises(ZeroDivisionError, match="enough"):
        bayplan.plan(sizes, first, last, mode="optimal", budget=ENDLESS, progress=progress)
    assert len(told) == 1
    with pytest.raises(ZeroDivisionError, match="enough"):
        bayplan.plan([4], [0], [1], progress=progress)


def test_progress_may_plan():
    sizes, first, last = hard_problem(7, 30)
    inner = []

    def progress(*_):
        inner.append(bayplan.plan(sizes[:20], first[:20], last[:20]).height)

    bayplan.plan(sizes, first, last, mode="optimal", budget=5000, progress=progress)
    assert len(set(inner)) == 1


@pytest.mark.parametrize("progress", [3, "print", []])
def test_bad_progress(progress):
    with pytest.raises(BufferValueError, match="progress must be a function"):
        bayplan.plan([4], [0], [1], progress=progress)


# ---- Ctrl-C --------------------------------------------------------------------

CTRL_C = """
import os, signal, sys, threading
sys.path.insert(0, {here!r})
from plan_tools import check_plan, hard_problem
import bayplan
signal.signal(signal.SIGINT, signal.default_int_handler)
sizes, first, last = hard_problem(8, 30)
buffers = [(int(s), int(f), int(l), 1) for s, f, l in zip(sizes, first, last)]
{body}
"""
FROM_OUTSIDE = """
threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
plan = bayplan.plan(sizes, first, last, mode="optimal", budget=10**15)
check_plan(plan, buffers)
print(plan.status, plan.interrupted, plan.nodes > 0)
"""
IN_PROGRESS = """
plan = bayplan.plan(sizes, first, last, mode="optimal", budget=10**15,
                    progress=lambda *_: signal.raise_signal(signal.SIGINT))
check_plan(plan, buffers)
print(plan.status, plan.interrupted, True)
"""
UNKNOWN = """
threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
plan = bayplan.plan(sizes, first, last, mode="optimal", budget=10**15, capacity=10**6)
print(plan.status, plan.interrupted, plan.height > 10**6)
"""
OTHER_SIGNAL = """
def ring(*_):
    raise TimeoutError("rings")
signal.signal(signal.SIGALRM, ring)
signal.setitimer(signal.ITIMER_REAL, 0.3)
try:
    bayplan.plan(sizes, first, last, mode="optimal", budget=10**15)
except TimeoutError as error:
    print("raised", error)
"""
OTHER_THREADS = """
count = 0
def work():
    global count
    while running:
        count += 1
running = True
threading.Thread(target=work).start()
bayplan.plan(sizes, first, last, mode="optimal", budget=10**15, time_limit=0.5)
running = False
print("counted", count > 1000)
"""


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (FROM_OUTSIDE, "feasible True True"),
        (IN_PROGRESS, "feasible True True"),
        (UNKNOWN, "unknown True True"),
        (OTHER_SIGNAL, "raised rings"),
        (OTHER_THREADS, "counted True"),
    ],
)
def test_in_a_process_of_its_own(body, answer):
    here = str(Path(__file__).parent)
    package = str(Path(bayplan.__file__).parents[1])
    path = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
    said = subprocess.run(
        [sys.executable, "-c", CTRL_C.format(here=here, body=body)],
        capture_output=True, text=True, timeout=60, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert (said.stdout.strip(), said.stderr) == (answer, "")


# ---- the same everywhere -------------------------------------------------------


def fingerprint():
    """Offsets of some searched plans, as text."""
    plans = []
    for seed in range(3):
        plans.append(bayplan.plan(*hard_problem(seed, 25), mode="optimal", budget=3000))
        rng = np.random.default_rng(seed)
        first = rng.integers(0, 20, 60)
        columns = (8 * rng.integers(1, 40, 60), first, first + rng.integers(1, 9, 60))
        plans.append(bayplan.plan(*columns, align=2 ** rng.integers(0, 6, 60)))
    return hashlib.sha256(b"".join(plan.offsets.tobytes() for plan in plans)).hexdigest()


def test_the_same_in_every_thread():
    with ThreadPoolExecutor(4) as pool:
        found = [pool.submit(fingerprint) for _ in range(8)]
        assert {future.result() for future in found} == {fingerprint()}


@pytest.mark.parametrize("seed", ["0", "1"])
def test_the_same_under_every_hash_seed(seed):
    here, package = str(Path(__file__).parent), str(Path(bayplan.__file__).parents[1])
    path = os.pathsep.join([here, package, *filter(None, [os.environ.get("PYTHONPATH")])])
    code = "import test_plan_search; print(test_plan_search.fingerprint())"
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": seed},
    )  # fmt: skip
    assert said.stdout.strip() == fingerprint(), said.stderr


# ---- too many, registries, the record ------------------------------------------


def test_more_buffers_than_can_be_numbered():
    many = np.broadcast_to(np.int8(1), 2**31 + 1)
    with pytest.raises(BufferValueError) as info:
        bayplan.plan(many, many, many)
    assert info.value.code == "BAY-E113"
    words(str(info.value), "sizes", 2**31 + 1, "2**31")


@pytest.mark.parametrize("mode", ["fast", "optimal"])
def test_registries_search(mode):
    owner = Owner()
    registry = bayplan.BufferRegistry(mode=mode, budget=500)
    for name, size, align in (("a", 1, 4), ("b", 3, 16), ("c", 3, 16), ("d", 1, 4)):
        registry.register(owner, name, size, "shared", align=align)
    layout = registry.build_layout(owner)
    assert (layout.shared.nbytes, layout.shared.status) == (32, "optimal")
    assert (registry.mode, registry.budget) == (mode, 500)


class Owner:
    """A factory of the least kind."""

    precision = np.float32


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.integers(0, 40), st.sampled_from([1, 2, 4, 8, 16])), max_size=12),
    st.sampled_from(["auto", "fast", "optimal"]),
    st.sampled_from([None, 1, 50]),
)
def test_a_region_is_planned_as_plan_does(pairs, mode, budget):
    registry, owner = bayplan.BufferRegistry(mode=mode, budget=budget), Owner()
    for i, (size, align) in enumerate(pairs):
        registry.register(owner, f"b{i}", size, "shared", dtype=np.int8, align=align)
    region = registry.build_layout(owner).shared
    sizes, align = [p[0] for p in pairs], [p[1] for p in pairs]
    zeros, ones = [0] * len(pairs), [1] * len(pairs)
    plan = bayplan.plan(sizes, zeros, ones, align=align, mode=mode, budget=budget)
    assert [p.offset for p in region.placements] == plan.offsets.tolist()
    assert (region.lower_bound, region.status) == (plan.lower_bound, plan.status)
    assert region.nbytes == model.round_up(plan.height, region.align)


def test_what_was_planned_stays_with_the_plan():
    sizes, first, last = np.array([4, 8]), np.array([0, 1]), np.array([1, 2])
    plan = bayplan.plan(sizes, first, last)
    sizes[0] = 99
    assert [c.tolist() for c in (plan.sizes, plan.first, plan.last)] == [[4, 8], [0, 1], [1, 2]]
    with pytest.raises(ValueError, match="read-only"):
        plan.sizes[0] = 1
