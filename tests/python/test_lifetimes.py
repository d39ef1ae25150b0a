"""Phases, loops and lifetimes: how they settle, what may share bytes, what must stand between."""

from __future__ import annotations

import copy
import pickle
import random

import numpy as np
import pytest
import shadow
from support import Factory, Half, NewtonSolver, Slotted, Unhashable, refused

import bayplan
from bayplan import BufferKeyError, BufferValueError


@pytest.fixture
def solver(registry):
    """Three phases, the middle one a loop; no buffers."""
    owner = NewtonSolver()
    registry.phases(owner, "predict", "solve", "commit")
    registry.loop(owner, "solve")
    return owner


def lives(layout):
    return {p.name: p.live for p in layout.placements}


def settled(registry, phases, loops, *declared):
    """What each declaration, a (live, carried) pair, settles to."""
    owner = Factory()
    registry.phases(owner, *phases)
    for first, last in loops:
        registry.loop(owner, first, last)
    for i, (live, carried) in enumerate(declared):
        registry.register(owner, f"b{i}", 4, "shared", live=live, carried=carried)
    return list(lives(registry.build_layout(owner)).values())


# ---- phases and loops --------------------------------------------------------


def test_phases_and_loops_of_a_layout(registry):
    owner = NewtonSolver()
    assert registry.phases(owner, "a", "b", "c", "d") is None
    assert registry.loop(owner, "b", "c") is None
    registry.loop(owner, "c")
    registry.loop(owner, "b", "d")
    layout = registry.build_layout(owner)
    assert layout.phases == ("a", "b", "c", "d")
    assert layout.loops == (("b", "d"), ("b", "c"), ("c", "c"))
    again = pickle.loads(pickle.dumps(layout))
    assert (again.phases, again.loops) == (layout.phases, layout.loops)
    assert copy.copy(layout).phases is layout.phases


def test_without_phases_everything_is_as_ever(registry):
    owner = Factory()
    registry.register(owner, "x", 1, "shared")
    layout = registry.build_layout(owner)
    assert (layout.phases, layout.loops, layout["x"].live, layout.hazards()) == ((), (), None, ())
    assert layout.table()[["first", "last"]].tolist() == [(0, 1)]


def test_the_same_phases_and_loops_again_change_nothing(registry, solver):
    before = registry.layout_version(solver)
    registry.phases(solver, "predict", "solve", "commit")
    registry.loop(solver, "solve")
    registry.loop(solver, "solve", "solve")
    registry.loop(solver, first="solve", last=None)
    assert registry.layout_version(solver) == before
    registry.loop(solver, "solve", "commit")
    assert registry.layout_version(solver) > before


@pytest.mark.parametrize("kind", [Factory, Half, Unhashable, Slotted])
def test_phases_can_be_the_first_contact(registry, kind):
    owner = kind()
    registry.phases(owner, "only")
    layout = registry.build_layout(owner)
    assert layout.phases == ("only",)
    assert layout.precision == np.dtype(getattr(owner, "precision", "f4"))


def test_no_phases_of_an_unknown_factory_are_no_contact(registry):
    registry.phases(Factory())
    assert registry.n_factories == 0


def test_phases_keep_their_buffers_when_they_move(registry, solver):
    registry.register(solver, "x", 1, "shared", live=("predict", "solve"))
    registry.phases(solver, "begin", "predict", "between", "solve", "commit")
    layout = registry.build_layout(solver)
    assert layout["x"].live == ("predict", "solve")
    assert layout.table()[["first", "last"]].tolist() == [(1, 4)]
    assert layout.loops == (("solve", "solve"),)


def test_no_names_forget_phases_and_loops(registry, solver):
    registry.phases(solver)
    assert (registry.build_layout(solver).phases, registry.build_layout(solver).loops) == ((), ())
    registry.phases(solver, "solve")
    assert registry.build_layout(solver).loops == ()


def test_phases_that_are_named_stay(registry, solver):
    registry.register(solver, "x", 1, live="commit")
    registry.add_child(solver, Factory(), "kid", live="predict")
    for left, gone, by in (
        (("predict", "solve"), "commit", "x"),
        (("solve", "commit"), "predict", "kid"),
        (("predict", "commit"), "solve", "loop"),
    ):
        with refused(registry, BufferKeyError, "BAY-E103", by, buffer=gone):
            registry.phases(solver, *left)
    with pytest.raises(BufferKeyError):
        registry.phases(solver)


def test_orders_that_turn_a_lifetime_round(registry, solver):
    registry.register(solver, "x", 1, live=("predict", "commit"))
    with refused(registry, BufferValueError, "BAY-E125", "predict", "commit", buffer="x"):
        registry.phases(solver, "commit", "solve", "predict")
    registry.unregister(solver, "x")
    registry.phases(solver, "commit", "solve", "predict")
    registry.loop(solver, "commit", "solve")
    with refused(registry, BufferValueError, "BAY-E125", "loop"):
        registry.phases(solver, "solve", "commit", "predict")


def test_orders_that_leave_a_loop(registry):
    owner = NewtonSolver()
    registry.phases(owner, "a", "b", "c", "d")
    registry.loop(owner, "a", "b")
    registry.loop(owner, "c", "d")
    registry.register(owner, "x", 1, live="b", carried=True)
    with refused(registry, BufferValueError, "BAY-E125", "overlap"):
        registry.phases(owner, "a", "c", "b", "d")
    with refused(registry, BufferValueError, "BAY-E125", buffer="x"):
        registry.register(owner, "x", 1, live=("b", "c"), carried=True)


@pytest.mark.parametrize("crossing", [("a", "c"), ("b", "d"), ("b", "e")])
def test_loops_that_overlap_in_part(registry, crossing):
    owner = NewtonSolver()
    registry.phases(owner, "a", "b", "c", "d", "e")
    registry.loop(owner, "a", "b") if crossing[0] == "b" else registry.loop(owner, "b", "d")
    with refused(registry, BufferValueError, "BAY-E125", "overlaps", "in part"):
        registry.loop(owner, *crossing)


# ---- how lifetimes settle ----------------------------------------------------------


def test_entries_say_what_was_declared_and_layouts_what_was_settled(registry, solver):
    registry.register(solver, "x", 1, "shared", live=("predict", "solve"))
    registry.register(solver, "y", 1, "shared", live="solve", carried=True)
    registry.register(solver, "z", 1, "shared")
    x, y, z = registry.entries(solver)
    assert (x.live, x.carried) == (("predict", "solve"), False)
    assert (y.live, y.carried) == (("solve", "solve"), True)
    assert (z.live, z.carried) == (None, False)
    layout = registry.build_layout(solver)
    assert lives(layout) == {"x": ("predict", "solve"), "y": ("solve", "solve"), "z": None}
    assert [p.carried for p in layout.placements] == [False, True, False]
    assert layout.table()[["first", "last"]].tolist() == [(0, 2), (1, 2), (0, 3)]


ABCDE = ("a", "b", "c", "d", "e")


def test_carried_values_live_through_their_innermost_loop(registry):
    assert settled(
        registry, ABCDE, [("a", "e"), ("b", "d")],
        ("c", True), (("b", "d"), True), (("c", "e"), True), ("c", False),
    ) == [("b", "d"), ("b", "d"), ("a", "e"), ("c", "c")]  # fmt: skip


def test_what_a_loop_needs_from_before_it_needs_in_every_turn(registry):
    assert settled(
        registry, ABCDE, [("b", "d"), ("c", "d")],
        (("a", "b"), False), (("b", "c"), False), (("c", "e"), False), (("a", "a"), False),
    ) == [("a", "d"), ("b", "d"), ("c", "e"), ("a", "a")]  # fmt: skip


def test_buffers_of_the_same_bytes_live_together(registry):
    owner = Factory()
    registry.phases(owner, *ABCDE)
    registry.loop(owner, "d", "e")
    registry.register(owner, "whole", 4, "shared", live="a")
    registry.register(owner, "part", 2, same_as="whole", live="c")
    assert set(lives(registry.build_layout(owner)).values()) == {("a", "c")}
    registry.register(owner, "bit", 1, same_as="part", live="d", carried=True)
    layout = registry.build_layout(owner)
    assert set(lives(layout).values()) == {("a", "e")}
    assert all(p.carried for p in layout.placements)
    assert [e.live for e in registry.entries(owner)] == [("a", "a"), ("c", "c"), ("d", "d")]
    registry.register(owner, "twin", 4, same_as="whole")
    assert set(lives(registry.build_layout(owner)).values()) == {None}


def test_persistent_local_with_a_life_is_scratch(registry, solver):
    registry.register(solver, "x", 1, "persistent_local", live="predict")
    registry.register(solver, "y", 1, "persistent_local")
    layout = registry.build_layout(solver)
    assert (layout["x"].keep, layout["x"].live) == (False, ("predict", "predict"))
    assert (layout["y"].keep, layout["y"].live) == (True, None)
    registry.update(solver, x_location="local")
    assert registry.build_layout(solver)["x"].location == "local"


def test_kept_contents_have_no_phases(registry, solver):
    with refused(registry, BufferValueError, "BAY-E117", "kept", buffer="x"):
        registry.register(solver, "x", 1, "shared", live="solve", keep=True)
    registry.register(solver, "x", 1, "shared", live="solve", keep=False)


def test_carried_without_a_loop(registry, solver):
    for live in (None, "predict", ("solve", "commit")):
        with refused(registry, BufferValueError, "BAY-E125", "loop", buffer="x"):
            registry.register(solver, "x", 1, live=live, carried=True)


def test_zeroed_and_carried(registry, solver):
    with refused(registry, BufferValueError, "BAY-E125", "zero", buffer="x"):
        registry.register(solver, "x", 1, live="solve", carried=True, zero=True)
    registry.register(solver, "x", 1, live="solve", carried=True)
    with refused(registry, BufferValueError, "BAY-E125", "zero", buffer="y"):
        registry.register(solver, "y", 1, same_as="x", live="solve", zero=True)
    registry.register(solver, "y", 1, live="solve", zero=True)


# ---- children ----------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["auto", "sequential", "packed"])
def test_children_of_different_phases(mode):
    registry = bayplan.BufferRegistry(mode=mode)
    owner, kids = NewtonSolver(), [Factory() for _ in range(3)]
    registry.phases(owner, "a", "b")
    for kid, live in zip(kids, ("a", "b", ("a", "b")), strict=True):
        registry.register(kid, "x", 4, "shared")
        registry.register(kid, "y", 4, "block")
        registry.register(kid, "z", 4, "persistent_local", keep=False)
        registry.add_child(owner, kid, f"k{kids.index(kid)}", live=live)
    layout = registry.build_layout(owner)
    assert [c.live for c in layout.children.values()] == [("a", "a"), ("b", "b"), ("a", "b")]
    wanted = 32 if mode == "auto" else 48
    assert (layout.shared.nbytes, layout.block.nbytes) == (wanted, wanted)
    assert layout.persistent_local.nbytes == 48
    assert layout["k0_persistent_local"].live is None
    assert [e.live for e in registry.entries(owner)[:3]] == [("a", "a"), ("a", "a"), None]
    registry.check()


def test_kept_bytes_of_a_child_live_always(registry, solver):
    child, below = Factory(), Factory()
    registry.register(below, "x", 1, "shared", keep=True)
    registry.register(child, "y", 1, "block")
    registry.add_child(child, below, "below")
    registry.add_child(solver, child, "kid", live="solve")
    layout = registry.build_layout(solver)
    assert layout["kid_shared"].live is None
    assert layout["kid_block"].live == ("solve", "solve")
    assert layout.children["kid"].live == ("solve", "solve")
    registry.register(below, "x", 1, "shared")
    assert registry.build_layout(solver)["kid_shared"].live == ("solve", "solve")


def test_a_child_gets_another_life_in_place(registry, solver):
    child = Factory()
    registry.add_child(solver, child, live="solve")
    before = registry.layout_version(solver)
    registry.add_child(solver, child, live=("solve", "solve"))
    assert registry.layout_version(solver) == before
    registry.add_child(solver, child, live=("predict", "commit"))
    assert registry.build_layout(solver).children["child"].live == ("predict", "commit")
    registry.add_child(solver, child)
    assert registry.build_layout(solver).children["child"].live is None
    assert registry.layout_version(solver) > before


# ---- what layouts make of it --------------------------------------------------------


def test_lifetimes_save_bytes(registry, solver):
    for name, live in (("x", "predict"), ("y", "solve"), ("z", "commit")):
        registry.register(solver, name, 4, "shared", live=live)
    layout = registry.build_layout(solver)
    assert (layout.shared.nbytes, layout.shared.lower_bound, layout.shared.status) == (
        *(16, 16, "optimal"),
    )
    assert {p.offset for p in layout.placements} == {0}
    for mode in ("sequential", "packed"):
        plain = bayplan.BufferRegistry(mode=mode)
        plain.phases(solver, "predict", "solve", "commit")
        for name, live in (("x", "predict"), ("y", "solve"), ("z", "commit")):
            plain.register(solver, name, 4, "shared", live=live)
        assert [p.offset for p in plain.build_layout(solver).placements] == [0, 16, 32]


def test_lifetimes_are_part_of_what_kernels_see(registry):
    digests = set()
    for phases, loops, live, carried, called in (
        ((), (), None, False, None),
        (("a", "b"), (), None, False, None),
        (("a", "c"), (), None, False, None),
        (("a", "b"), ("a",), None, False, None),
        (("a", "b"), ("a",), "a", False, None),
        (("a", "b"), ("a",), "b", False, None),
        (("a", "b"), ("a",), "a", True, None),
        (("a", "b"), (), None, False, "a"),
    ):
        owner, child = Factory(), Factory()
        registry.phases(owner, *phases)
        for first in loops:
            registry.loop(owner, first)
        registry.register(owner, "x", 4, "shared", live=live, carried=carried)
        registry.add_child(owner, child, live=called)
        layout = registry.build_layout(owner)
        again = pickle.loads(pickle.dumps(layout))
        assert (again, again.placements) == (layout, layout.placements)
        assert [c.live for c in again.children.values()] == [called and (called, called)]
        digests.add(layout.digest)
    assert len(digests) == 8


def test_poison_is_report_data():
    plain, poisoned = bayplan.BufferRegistry(), bayplan.BufferRegistry(poison=True)
    assert (plain.poison, poisoned.poison) == (False, True)
    layouts = []
    for registry in (plain, poisoned):
        owner, child = Factory(), Factory()
        registry.register(owner, "x", 4, "shared")
        registry.add_child(owner, child)
        layouts.append(registry.build_layout(owner))
        assert layouts[-1].children["child"].layout.poison is registry.poison
        assert registry.build_layout(child).poison is registry.poison
        assert registry.build_layout(Factory()).poison is registry.poison
    assert [layout.poison for layout in layouts] == [False, True]
    assert layouts[0] == layouts[1]
    assert layouts[0].digest == layouts[1].digest
    assert pickle.loads(pickle.dumps(layouts[1])).poison is False


def test_words_about_lifetimes(registry, solver):
    child = Factory()
    registry.register(child, "x", 2, "shared")
    registry.register(solver, "guess", 4, "shared", live="predict")
    registry.register(solver, "delta", 4, "shared", live="solve", carried=True)
    registry.register(solver, "view", 2, same_as="delta", live="solve")
    registry.register(solver, "state", 4, "shared")
    registry.add_child(solver, child, "kid", live=("predict", "solve"))
    layout = registry.build_layout(solver)
    guess, delta = layout.explain("guess"), layout.explain("delta")
    assert "It is alive in phase 'predict'." in guess
    assert "bytes of it are used by 'delta' (in phase 'solve'), 'view' (in phase" in guess
    assert "from one turn of a loop to the next" in delta
    assert "It shares bytes with 'view'. When it is not alive" in delta
    assert "used by 'guess' (in phase 'predict')." in delta
    assert "It is alive always." in layout.explain("state")
    assert "from phase 'predict' to 'solve'" in layout.explain("kid_shared")
    registry.register(child, "x", 2, "shared", keep=True)
    assert "called from phase 'predict' to 'solve' alone" in registry.build_layout(solver).explain(
        "kid_shared"
    )


def test_what_changed_about_lifetimes(registry, solver):
    registry.register(solver, "x", 4, "shared", live="predict")
    registry.add_child(solver, Factory(), "kid")
    before = registry.build_layout(solver)
    registry.phases(solver, "predict", "solve", "commit", "end")
    registry.loop(solver, "predict")
    registry.register(solver, "x", 4, "shared", live="predict", carried=True)
    registry.add_child(solver, registry.children(solver)["kid"] or Factory(), "kid", live="end")
    lines = before.diff(registry.build_layout(solver)).splitlines()
    assert lines[0].startswith("phases: ('predict', 'solve', 'commit') -> ")
    assert (
        lines[1] == "loops: (('solve', 'solve'),) -> (('predict', 'predict'), ('solve', 'solve'))"
    )
    assert any(line.startswith("x: ") and "carried=True" in line for line in lines)
    assert "child kid: called always -> in phase 'end'" in lines
    assert before.diff(before) == ""


# ---- hazards ---------------------------------------------------------------------------


def test_hazards_by_hand(registry, solver):
    registry.register(solver, "x", 4, "shared", live="predict")
    registry.register(solver, "y", 4, "shared", live="solve")
    layout = registry.build_layout(solver)
    step, call = layout.hazards()
    assert tuple(step) == ("x", "y", "predict", "solve", "step", None, "shared", "none")
    assert tuple(call) == ("y", "x", "solve", "predict", "call", None, "shared", "none")
    assert isinstance(step, bayplan.Hazard)
    assert [h.barrier for h in layout.hazards(2)] == ["syncwarp", "syncwarp"]
    assert [h.barrier for h in layout.hazards(lanes_per_run=32)] == ["syncwarp", "syncwarp"]
    again = pickle.loads(pickle.dumps(layout))
    assert again.hazards() == layout.hazards()


def test_hazards_round_a_loop(registry):
    owner = Factory()
    registry.phases(owner, "a", "b", "c")
    registry.loop(owner, "a", "b")
    registry.register(owner, "x", 4, "block", live="a")
    registry.register(owner, "y", 4, "block", live="b")
    found = {(h.when, h.before, h.after): h for h in registry.build_layout(owner).hazards()}
    assert set(found) == {("step", "x", "y"), ("loop", "y", "x"), ("call", "y", "x")}
    assert found["loop", "y", "x"].loop == ("a", "b")
    assert {h.barrier for h in found.values()} == {"syncthreads"}


def test_hazards_of_children_and_of_a_thread(registry, solver):
    kids = [Factory(), Factory()]
    for kid, live in zip(kids, ("predict", "commit"), strict=True):
        registry.register(kid, "x", 4, "shared")
        registry.add_child(solver, kid, f"{live}or", live=live)
    registry.register(solver, "p", 4, "persistent_local", live="predict")
    registry.register(solver, "q", 4, "persistent_local", live="solve")
    found = {(h.before, h.after): h.barrier for h in registry.build_layout(solver).hazards(8)}
    assert found == {
        ("predictor_shared", "commitor_shared"): "syncwarp",
        ("commitor_shared", "predictor_shared"): "syncwarp",
        ("p", "q"): "none",
        ("q", "p"): "none",
    }


def test_no_hazards_where_nothing_is_shared(sequential):
    owner = Factory()
    sequential.phases(owner, "a", "b")
    sequential.register(owner, "x", 4, "shared", live="a")
    sequential.register(owner, "y", 4, "shared", live="b")
    assert sequential.build_layout(owner).hazards(4) == ()


# ---- no two live bytes ever overlap ------------------------------------------------------

SEEDS = range(150)


def tree(seed, mode="auto"):
    rng = random.Random(seed)
    registry = bayplan.BufferRegistry(mode=mode)
    program = shadow.random_program(rng, registry)
    registry.check()
    return rng, program, registry.build_layout(program.owner)


def layout_at(layout, path):
    for name in path:
        layout = layout.children[name].layout
    return layout


@pytest.mark.parametrize("seed", SEEDS)
def test_no_value_is_ever_lost(seed):
    rng, program, layout = tree(seed)
    memory = shadow.Shadow(rng)
    memory.play(program, layout)
    hazards = {}
    for path, where, before, after in memory.takeovers:
        if path not in hazards:
            found = layout_at(layout, path).hazards()
            hazards[path] = {(h.before, h.after, h.location) for h in found}
        assert (before, after, where) in hazards[path], path


def test_call_paths_are_worth_playing():
    """The trees above do share bytes, take them over in every way, and check often."""
    n_checks, n_takeovers, saved, whens = 0, 0, 0, set()
    for seed in SEEDS:
        rng, program, layout = tree(seed)
        memory = shadow.Shadow(rng)
        memory.play(program, layout)
        n_checks += memory.n_checks
        n_takeovers += len(memory.takeovers)
        plain = tree(seed, "packed")[2]
        saved += plain.shared.nbytes - layout.shared.nbytes
        whens |= {h.when for h in layout.hazards()}
    assert n_checks > 100 * len(SEEDS)
    assert n_takeovers > len(SEEDS)
    assert saved > 10 * len(SEEDS)
    assert whens == {"step", "loop", "call"}


def test_a_wrong_lifetime_is_noticed():
    registry = bayplan.BufferRegistry()
    program = shadow.Program(n_phases=3)
    program.declare(registry)
    for name, live in (("x", (0, 1)), ("y", (2, 2))):
        registry.register(program.owner, name, 4, "shared", live=shadow.span_names(live))
        program.values[name] = shadow.Value("shared", live)
    layout = registry.build_layout(program.owner)
    shadow.Shadow(random.Random(1)).play(program, layout)
    program.values["x"].live = (0, 2)
    with pytest.raises(shadow.Clash, match="shared is"):
        shadow.Shadow(random.Random(1)).play(program, layout)


def test_a_value_that_should_have_been_carried_is_noticed():
    registry = bayplan.BufferRegistry()
    program = shadow.Program(n_phases=2, loops=[(0, 1)])
    program.declare(registry)
    for name, live in (("x", (0, 0)), ("y", (1, 1))):
        registry.register(program.owner, name, 4, "block", live=shadow.span_names(live))
        program.values[name] = shadow.Value("block", live)
    layout = registry.build_layout(program.owner)
    assert layout.block.nbytes == 16
    program.values["x"].carried = True
    with pytest.raises(shadow.Clash):
        shadow.Shadow(random.Random(3)).play(program, layout, n_calls=20)


def test_most_wrong_lifetimes_in_random_trees_are_noticed():
    """Whoever counts on a value for longer than declared is caught where bytes are shared."""
    noticed = shared = 0
    for seed in SEEDS:
        rng, program, layout = tree(seed)
        owners = {(h.before, h.after) for h in layout.hazards() if h.when == "step"}
        lied = [n for n, v in program.values.items() if any(n == b for b, _ in owners) and v.live]
        if not lied:
            continue
        shared += 1
        value = program.values[lied[0]]
        value.live, value.carried = (value.live[0], program.n_phases - 1), False
        try:
            shadow.Shadow(rng).play(program, layout)
        except shadow.Clash:
            noticed += 1
    assert shared > 20
    assert noticed > 0.8 * shared
