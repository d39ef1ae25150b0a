"""The whole solver: the same numbers wherever its buffers lie, and not a byte too many."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from harness import Arenas

from bayplan import BufferRegistry
from bayplan.demo import by_hand
from bayplan.demo.ensemble import Ensemble, build_kernel, build_tree, read_sweep
from bayplan.demo.loop import DONE, TOO_MANY_STEPS, TOO_SMALL_STEP
from bayplan.demo.problems import HIRES, ROBERTSON
from bayplan.demo.report import walk
from bayplan.kernel import device

pytestmark = pytest.mark.sim

SHORT = dataclasses.replace(ROBERTSON, t_end=3e-3)
SHORTER = dataclasses.replace(ROBERTSON, t_end=2e-4)
TREES = [("dirk", "lu"), ("dirk", "bicgstab"), ("rosenbrock", "lu"), ("rosenbrock", "bicgstab")]


def make(method="dirk", linear="lu", precision="float64", problem=SHORT):
    registry = BufferRegistry(mode="sequential")
    return build_tree(problem, method=method, linear=linear, precision=precision, registry=registry)


def inputs(loop, n_runs=1):
    """Launch arguments for the first runs of the problem's sweep."""
    problem, real = loop.problem, loop.precision
    sweep = read_sweep(problem)
    accuracy = problem.accuracy[np.dtype(real).name]
    return [
        sweep.initial[:, :n_runs].astype(real),
        sweep.constants[:, :n_runs].astype(real),
        np.full(problem.n_species, accuracy.atol, real),
    ]


def outputs(loop, n_runs=1):
    return [
        np.full((loop.problem.n_species, n_runs), np.nan, loop.precision),
        np.full((3, n_runs), -1, np.int64),
    ]


def integrate(loop, n_runs=1, lanes=1, missing=0):
    """Run the kernel with exactly the dynamic bytes it needs, less `missing`."""
    integrate, bound = build_kernel(loop)
    final, counts = outputs(loop, n_runs)
    last = bound.slices_offset + (lanes - 1) * bound.stride + bound.layout.shared.nbytes
    n_blocks = -(-n_runs // lanes)
    integrate[n_blocks, lanes, 0, last - missing](0, n_runs, *inputs(loop, n_runs), final, counts)
    return final, counts


def numbers(result):
    final, counts = result
    assert np.isfinite(final).all()
    return final.tobytes(), counts.tobytes()


# ---- every buffer in every location --------------------------------------------------


def keys_and_locations(method, linear):
    """Every ``<path>_location`` of the tree, with what its buffer's `keep` allows."""
    found = []
    for row in walk(make(method, linear).buffers):
        if row.placement is not None:
            locations = ["shared", "block", "persistent_local"]
            if not row.placement.keep:
                locations += ["local", "auto"]
            found.append((f"{'_'.join(row.path)}_location", locations))
    return found


@pytest.mark.parametrize(("method", "linear"), TREES)
def test_every_buffer_in_every_location(method, linear):
    problem = SHORT if linear == "lu" else SHORTER
    expected = numbers(integrate(make(method, linear, problem=problem)))
    moves = keys_and_locations(method, linear)
    assert len(moves) >= 12
    loop = make(method, linear, problem=problem)
    for key, locations in moves:
        for location in locations:
            assert loop.update_compile_settings({key: location}) == {key}
            assert numbers(integrate(loop)) == expected, (key, location)
        loop = make(method, linear, problem=problem)


@pytest.mark.parametrize("location", ["shared", "block", "persistent_local", "local"])
def test_all_buffers_in_one_location(location):
    loop = make()
    expected = numbers(integrate(loop))
    moves = {key: location for key, locations in keys_and_locations("dirk", "lu")
             if location in locations}  # fmt: skip
    assert loop.update_compile_settings(moves) == set(moves)
    assert numbers(integrate(loop)) == expected
    region = getattr(loop.buffers, location)
    assert region.nbytes > 0
    if location != "local":  # kept ones stay behind
        for other in {"shared", "block", "persistent_local"} - {location}:
            assert getattr(loop.buffers, other).nbytes == 0


def test_kept_buffers_are_never_local():
    loop = make()
    kept = {
        ".".join(row.path) for row in walk(loop.buffers) if row.placement and row.placement.keep
    }
    assert kept == {"controller.history", "step.newton.linear.matrix", "step.newton.linear.pivots"}
    before = loop.registry.dump()
    for path in kept:
        key = f"{path.replace('.', '_')}_location"
        with pytest.raises(ValueError, match=path.rsplit(".", 1)[-1]):
            loop.update_compile_settings({key: "local"})
    assert loop.registry.dump() == before


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("lanes", [1, 3, 4])
def test_several_runs_in_a_block(lanes, precision):
    loop = make(precision=precision)
    final, counts = integrate(loop, n_runs=4, lanes=lanes)
    assert (counts[2] == DONE).all()
    for run in range(4):
        alone, _ = integrate(make(precision=precision), n_runs=run + 1, lanes=1)
        np.testing.assert_array_equal(final[:, run], alone[:, run])
    assert len(np.unique(final, axis=1).T) == 4


# ---- arenas to the last byte ------------------------------------------------------------


def call_loop(loop, fill, missing=(0, 0, 0)):
    run = loop.device_function

    @device
    def body(region, *arguments):
        run(region, 0, True, *arguments)

    arenas = Arenas(loop, fill)
    final, counts = outputs(loop)
    arenas.call(body, *inputs(loop), final, counts, missing=missing)
    assert counts[2, 0] == DONE
    return arenas


LOCATIONS = ("shared", "persistent_local", "block")


@pytest.mark.parametrize("everything_in", [None, *LOCATIONS])
@pytest.mark.parametrize(("method", "linear"), TREES)
def test_arenas_are_used_to_the_last_byte_and_not_beyond(method, linear, everything_in):
    loop = make(method, linear)
    if everything_in:
        moves = {key: everything_in for key, _ in keys_and_locations(method, linear)}
        loop.update_compile_settings(moves)
    # A byte that ends up the same from two different fills was written; one that does not was not.
    one, two = (call_loop(loop, fill) for fill in (0xAB, 0x54))
    assert one.guards_are_whole()
    assert two.guards_are_whole()
    for memory, location in enumerate(LOCATIONS):
        is_buffer = np.zeros(one.sizes[memory], bool)
        for row in walk(one.layout):
            if row.placement is not None and row.placement.location == location:
                is_buffer[row.address : row.address + row.placement.nbytes] = True
        is_written = one.contents(memory) == two.contents(memory)
        np.testing.assert_array_equal(is_written, is_buffer)
        if is_buffer.size:
            assert is_buffer[-1] or is_buffer.size - np.flatnonzero(is_buffer)[-1] < 16


@pytest.mark.parametrize("memory", [0, 1, 2])
def test_one_byte_less_is_an_error(memory):
    missing = tuple(int(i == memory) for i in range(3))
    with pytest.raises(IndexError, match="bytes"):
        call_loop(make(), 0xAB, missing)


@pytest.mark.parametrize("lanes", [1, 4])
def test_one_dynamic_byte_less_is_an_error(lanes):
    integrate(make(), n_runs=4, lanes=lanes)
    with pytest.raises(IndexError, match="dynamic"):
        integrate(make(), n_runs=4, lanes=lanes, missing=1)


# ---- against a layout made by hand --------------------------------------------------------

# EnsembleLoop(DirkStep, LUSolver) of HIRES in float64, in declaration order, each buffer at the
# next multiple of its alignment. Made by hand with n = 8 species, 15 reactions of which one has
# no reactants, one has two and the others one, and the five stages of SDIRK4. The columns are
# path, location, address in the root's region, bytes.
BY_HAND = """
    tolerances                  block              0    64
    state                       shared             0    64
    candidate                   shared            64    64
    constants                   shared           128   120
    step.stages                 shared           248   320
    step.base                   shared           568    64
    step.increment              shared           632    64
    step.jacobian.slopes        local              -   120
    step.newton.point           shared           696    64
    step.newton.delta           local              -    64
    step.newton.rhs.rates       local              -   120
    step.newton.linear.matrix   shared           760   512
    step.newton.linear.pivots   persistent_local   0    32
    controller.history          persistent_local  32    16
"""
BY_HAND_BYTES = {"shared": 1272, "block": 64, "persistent_local": 48, "local": 304}

# The same in float32: everything but the pivots has half the bytes.
BY_HAND_32 = """
    tolerances                  block              0    32
    state                       shared             0    32
    candidate                   shared            32    32
    constants                   shared            64    60
    step.stages                 shared           124   160
    step.base                   shared           284    32
    step.increment              shared           316    32
    step.jacobian.slopes        local              -    60
    step.newton.point           shared           348    32
    step.newton.delta           local              -    32
    step.newton.rhs.rates       local              -    60
    step.newton.linear.matrix   shared           380   256
    step.newton.linear.pivots   persistent_local   0    32
    controller.history          persistent_local  32     8
"""
BY_HAND_BYTES_32 = {"shared": 636, "block": 32, "persistent_local": 40, "local": 152}


@pytest.mark.parametrize(
    ("precision", "table", "totals"),
    [("float64", BY_HAND, BY_HAND_BYTES), ("float32", BY_HAND_32, BY_HAND_BYTES_32)],
)
def test_the_layout_is_the_one_made_by_hand(precision, table, totals):
    layout = make(precision=precision, problem=HIRES).buffers
    found = [
        (
            ".".join(row.path),
            row.placement.location,
            "-" if row.address is None else str(row.address),
            str(row.placement.nbytes),
        )
        for row in walk(layout)
        if row.placement is not None
    ]
    expected = [tuple(line.split()) for line in table.strip().splitlines()]
    assert sorted(found) == sorted(expected)
    assert {name: getattr(layout, name).nbytes for name in totals} == totals


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("problem", [SHORT, dataclasses.replace(HIRES, t_end=0.05)])
def test_the_solver_written_by_hand_agrees(problem, precision):
    loop = make(precision=precision, problem=problem)
    n = problem.n_species
    stride = by_hand.offsets(problem).end
    itemsize = np.dtype(precision).itemsize
    assert stride * itemsize == loop.buffers.shared.nbytes  # same buffers, same sizes
    final, counts = outputs(loop, 3)
    kernel = by_hand.build_kernel(problem, loop.precision, stride)
    kernel[1, 3, 0, (n + 3 * stride) * itemsize](3, *inputs(loop, 3), final, counts)
    assert (counts[2] == DONE).all()
    assert numbers((final, counts)) == numbers(integrate(loop, n_runs=3, lanes=3))


# ---- the loop itself -----------------------------------------------------------------------


def test_spare_lanes_store_nothing():
    loop = make()
    kernel, bound = build_kernel(loop)
    final, counts = outputs(loop, 4)
    kernel[1, 4, 0, bound.dynamic_shared_bytes(4)](0, 3, *inputs(loop, 4), final, counts)
    assert (counts[2] == [DONE, DONE, DONE, -1]).all()
    assert np.isnan(final[:, 3]).all()
    assert np.isfinite(final[:, :3]).all()


def test_a_run_gives_up_after_its_last_step():
    loop = make()
    loop.update_compile_settings(max_steps=3)
    _, counts = integrate(loop)
    assert counts[2, 0] == TOO_MANY_STEPS
    assert counts[0, 0] + counts[1, 0] == 3


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy says what the test is about
@pytest.mark.parametrize("method", ["dirk", "rosenbrock"])
def test_a_run_that_is_no_number_ends(method):
    loop = make(method)
    kernel, bound = build_kernel(loop)
    initial, constants, atol = inputs(loop)
    initial[0, 0] = np.nan
    final, counts = outputs(loop)
    kernel[1, 1, 0, bound.dynamic_shared_bytes(1)](0, 1, initial, constants, atol, final, counts)
    assert counts[2, 0] == TOO_SMALL_STEP
    assert counts[0, 0] == 0


@pytest.mark.parametrize(("method", "linear"), TREES)
def test_short_run_against_the_reference(method, linear):
    from bayplan.demo import reference

    problem = dataclasses.replace(HIRES, t_end=1.0)
    ensemble = Ensemble(problem, method, linear, "float64", BufferRegistry())
    sweep = read_sweep(problem).repeated(2)
    told = []
    results = ensemble.run(sweep, told.append)
    assert sum(told) == 2
    assert results.n_unfinished == 0
    for run in range(2):
        expected = reference.solve(problem, sweep.initial[:, run], sweep.constants[:, run])
        error = reference.relative_error(problem, results.final[:, run], expected)
        assert 0 < error < problem.accuracy["float64"].must_meet


def test_moving_a_buffer_rebuilds_only_what_sees_it():
    loop = make()
    products = {
        "loop": loop.product,
        "step": loop.step.product,
        "newton": loop.step.newton.product,
        "jacobian": loop.step.jacobian.product,
        "controller": loop.controller.product,
    }
    loop.update_compile_settings(step_newton_delta_location="shared")
    assert loop.product is not products["loop"]
    assert loop.step.product is not products["step"]
    assert loop.step.newton.product is not products["newton"]
    assert loop.step.jacobian.product is products["jacobian"]
    assert loop.controller.product is products["controller"]
