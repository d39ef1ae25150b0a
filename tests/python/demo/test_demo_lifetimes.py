"""Lifetimes in the demo's solvers: what they save, that they are true, and that lies are caught."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from bayplan import BufferRegistry
from bayplan.demo.ensemble import build_kernel, build_tree, read_sweep
from bayplan.demo.lifetimes import PLACEMENTS, Saving, runs_per_block, savings
from bayplan.demo.loop import DONE, TOO_SMALL_STEP
from bayplan.demo.problems import HIRES, PROBLEMS, ROBERTSON
from bayplan.demo.report import walk

SHORT = dataclasses.replace(ROBERTSON, t_end=3e-3)
TREES = [("dirk", "lu"), ("dirk", "bicgstab"), ("rosenbrock", "lu"), ("rosenbrock", "bicgstab")]


def tree(method, linear, registry, problem=SHORT, placement="scratch in shared"):
    loop = build_tree(problem, method=method, linear=linear, precision="float64", registry=registry)
    moves = {}
    for row in walk(loop.buffers):
        location = row.placement and PLACEMENTS[placement](row.placement)
        if location:
            moves[f"{'_'.join(row.path)}_location"] = location
    loop.update_compile_settings(moves)
    return loop


def integrate(loop):
    """One run of the kernel: what the solution is, and how it ended."""
    kernel, bound = build_kernel(loop)
    problem = loop.problem
    sweep = read_sweep(problem)
    inputs = [array[:, :1].astype(loop.precision) for array in sweep]
    atol = np.full(problem.n_species, problem.accuracy["float64"].atol)
    final = np.full((problem.n_species, 1), np.nan)
    counts = np.full((3, 1), -1, np.int64)
    kernel[1, 1, 0, bound.dynamic_shared_bytes(1)](0, 1, *inputs, atol, final, counts)
    return final, counts


# ---- what they save ---------------------------------------------------------

# The Jacobian's slopes lie where the stages will: a number for each reactant of each
# reaction, 36 float32 in POLLU and 15 float64 in HIRES. Nothing else is saved or lost.
SAVED = {
    ("pollu", "float32", "rosenbrock"): [
        Saving("as declared", 2500, 2500, 19, 19),
        Saving("scratch in shared", 2744, 2600, 17, 18),
        Saving("and the matrix per thread", 1144, 1000, 42, 48),
    ],
    ("pollu", "float32", "dirk"): [
        Saving("as declared", 2500, 2500, 19, 19),
        Saving("scratch in shared", 2824, 2680, 17, 18),
        Saving("and the matrix per thread", 1224, 1080, 39, 45),
    ],
    ("hires", "float64", "rosenbrock"): [
        Saving("as declared", 1272, 1272, 38, 38),
        Saving("scratch in shared", 1512, 1392, 32, 35),
        Saving("and the matrix per thread", 1000, 880, 49, 55),
    ],
}


@pytest.mark.parametrize("case", SAVED, ids=lambda case: f"{case[0]}-{case[2]}")
def test_what_is_saved(case):
    problem, precision, method = case
    found = savings(PROBLEMS[problem], method=method, linear="lu", precision=precision)
    assert found == SAVED[case]


@pytest.mark.parametrize(("method", "linear"), TREES)
def test_what_is_saved_is_what_never_lives_together(method, linear):
    """Bytes of the slopes, by the numbers of the layouts themselves."""
    plain = tree(method, linear, BufferRegistry(mode="sequential"), HIRES).buffers
    lived = tree(method, linear, BufferRegistry(), HIRES).buffers
    sizes = {row.path[-1]: row.placement.nbytes for row in walk(plain) if row.placement}
    assert plain.shared.nbytes - lived.shared.nbytes == sizes["slopes"] == 8 * 15


def test_runs_per_block_is_the_largest_number_that_fits():
    bound = tree("dirk", "lu", BufferRegistry(), HIRES).buffers.bind()
    n_runs = runs_per_block(bound)
    assert bound.dynamic_shared_bytes(n_runs) <= 48 * 1024 < bound.dynamic_shared_bytes(n_runs + 1)


# ---- that they are true -----------------------------------------------------


@pytest.mark.sim
@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize(("method", "linear"), TREES)
def test_sharing_and_poison_change_no_bit(method, linear, placement):
    results = []
    for registry in (BufferRegistry(mode="sequential"), BufferRegistry(poison=True)):
        final, counts = integrate(tree(method, linear, registry, placement=placement))
        assert counts[2, 0] == DONE
        results.append((final.tobytes(), counts.tobytes()))
    assert results[0] == results[1]


# ---- that lies are caught ---------------------------------------------------


@pytest.mark.sim
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of numbers that are none
@pytest.mark.parametrize("is_poisoned", [False, True])
def test_a_stage_that_forgets_the_ones_before_it_is_caught(is_poisoned):
    """Every name is used in a phase it lives in, so only the poison can see it."""
    loop = tree("dirk", "lu", BufferRegistry(poison=is_poisoned))
    n_stages = loop.step.tableau.n_stages
    loop.step.register_buffer("stages", (n_stages, loop.step.n), "shared", live=("stage", "finish"))
    _, counts = integrate(loop)
    n_accepted, _, outcome = counts[:, 0]
    if is_poisoned:  # not one step could be computed
        assert (n_accepted, outcome) == (0, TOO_SMALL_STEP)
    else:  # nothing took the bytes yet: right by luck
        assert (n_accepted, outcome) == (39, DONE)


@pytest.mark.sim
@pytest.mark.parametrize(
    ("method", "name", "live", "text"),
    [
        (
            "dirk",
            "stages",
            ("start", "stage"),
            "buffer 'stages' of layout 'DirkStep' is not alive in phase 'finish' "
            "(it lives in 'start' to 'stage')",
        ),
        (
            "rosenbrock",
            "slope",
            "finish",
            "buffer 'slope' of layout 'RosenbrockStep' is not alive in phase 'solve' "
            "(it lives in 'finish')",
        ),
    ],
)
def test_a_buffer_used_outside_its_life_is_named(method, name, live, text):
    loop = tree(method, "lu", BufferRegistry())
    shape = loop.step.buffers[name].shape
    loop.step.register_buffer(name, shape, "shared", live=live)
    with pytest.raises(AttributeError) as caught:
        integrate(loop)
    assert str(caught.value).endswith(text)
