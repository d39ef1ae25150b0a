"""The reference model itself, on cases worked out by hand."""

from __future__ import annotations

import model
import numpy as np
import pytest

F4, F8, U1 = np.dtype("f4"), np.dtype("f8"), np.dtype("u1")
TOP, MID, LOW = ("top", "Top", F4), ("mid", "Mid", F8), ("low", "Low", F4)


@pytest.fixture
def tree():
    """Three levels: top > mid (as "m") > low (as "l")."""
    made = model.Registry("sequential")
    made.register(*TOP, "a", 3, "shared")
    made.register(*MID, "b", (2, 2), "shared")
    made.register(*LOW, "c", 5, "persistent_local", dtype=U1)
    made.add_child(MID, LOW, "l")
    made.add_child(TOP, MID, "m")
    return made


def refuses(codes, call, *args, **said):
    with pytest.raises(model.Refused) as info:
        call(*args, **said)
    assert info.value.codes == set(codes)


def test_layout_by_hand(tree):
    layout = tree.layout("top", F4)
    assert [(p.name, p.offset, p.nbytes) for p in layout.placements] == [
        ("a", 0, 12),
        ("m_shared", 16, 32),
        ("m_block", 0, 0),
        ("m_persistent_local", 0, 5),
    ]
    assert layout["m_persistent_local"].size == 2
    assert layout.regions["shared"] == model.Region(48, 12, 8, 44, 44, 8)
    assert layout.children[0].layout.children[0].layout["c"].keep is True


@pytest.mark.parametrize(
    ("mode", "offsets", "top"),
    [("sequential", [0, 8, 16], 18), ("packed", [8, 0, 12], 14)],
)
def test_modes_by_hand(mode, offsets, top):
    assert model.place(mode, [4, 8, 2], [4, 8, 2]) == offsets
    assert model.height(offsets, [4, 8, 2]) == top


def test_without_bytes_nothing_moves():
    assert model.place("sequential", [5, 0, 3], [1, 4, 1]) == [0, 4, 5]
    assert model.place("packed", [0, 0], [64, 1]) == [0, 0]
    assert model.height([4, 0], [0, 5]) == 5


def test_bounds_by_hand():
    assert model.alignment_bound([1, 1], [8, 8]) == 9
    assert model.alignment_bound([4, 8], [4, 8]) == 12
    assert model.alignment_bound([], []) == 0
    assert model.load([4, 4, 8], [0, 1, 1], [1, 3, 2]) == 12


def test_versions_reach_ancestors_only(tree):
    before = {k: f.version for k, f in tree.factories.items()}
    tree.register(*MID, "b", 4, "shared")
    after = {k: f.version for k, f in tree.factories.items()}
    assert after["mid"] == after["top"] > before["top"]
    assert after["low"] == before["low"]
    tree.register(*MID, "b", 4, "shared")
    assert {k: f.version for k, f in tree.factories.items()} == after


def test_keys_by_hand(tree):
    assert tree.probe("top", ["a_size", "m_b_location", "m_l_c_size", "x_size", "b_size"]) == {
        "a_size",
        "m_b_location",
        "m_l_c_size",
    }
    assert tree.update("top", {"m_l_c_buffer_size": 9, "other": 1}) == {"m_l_c_buffer_size"}
    assert tree.layout("low", F4)["c"].size == 9
    tree.register(*TOP, "m_b", 1)
    assert tree.probe("top", ["m_b_size"]) is None
    refuses({model.AMBIGUOUS_KEY}, tree.update, "top", {"m_b_size": 3})
    refuses({model.READ_ONLY}, tree.update, "top", {"m_shared_size": 3})
    refuses({model.UNKNOWN_KEY}, tree.update, "top", {"a_size": 1, "z": 1}, strict=True)
    assert tree.layout("top", F4)["a"].size == 3


def test_refusals_by_hand(tree):
    refuses({model.CYCLE}, tree.add_child, LOW, TOP)
    refuses({model.NAME_TAKEN}, tree.add_child, TOP, LOW, "a")
    refuses({model.BAD_SIZE, model.BAD_NAME}, tree.register, *TOP, "1", True)
    refuses({model.KEEP_CONFLICT}, tree.update, "low", {"c_location": "local"})
    tree.register(*TOP, "v", 2, same_as="a")
    refuses({model.BAD_SAME_AS}, tree.register, *TOP, "a", 1, "shared")
    refuses({model.BAD_SAME_AS}, tree.register, *TOP, "a", 1, same_as="v")
    refuses({model.BAD_SAME_AS}, tree.unregister, "top", "a")
    refuses({model.TOO_LARGE}, tree.register, *TOP, "h", 2**47)


def test_the_dead_count_zero(tree):
    tree.kill("low")
    layout = tree.layout("mid", F8)
    assert layout.regions["persistent_local"].nbytes == 0
    assert layout["l_shared"].nbytes == 0
    assert tree.factories["mid"].children()[0].factory is None


@pytest.fixture
def phased():
    """Five phases; b to d repeat, and in there c does."""
    made = model.Registry("sequential")
    made.phases(*TOP, "a", "b", "c", "d", "e")
    made.loop("top", "b", "d")
    made.loop("top", "c")
    return made


@pytest.mark.parametrize(
    ("live", "carried", "settled"),
    [
        (None, False, None),
        ("a", False, ("a", "a")),
        (("a", "b"), False, ("a", "d")),
        (("a", "c"), False, ("a", "d")),
        (("b", "c"), False, ("b", "c")),
        (("c", "e"), False, ("c", "e")),
        ("c", True, ("c", "c")),
        (("b", "c"), True, ("b", "d")),
    ],
)
def test_lives_by_hand(phased, live, carried, settled):
    phased.register(*TOP, "x", 4, "shared", live=live, carried=carried)
    assert phased.layout("top", F4)["x"].live == settled


def test_lives_of_the_same_bytes_by_hand(phased):
    phased.register(*TOP, "x", 4, "shared", live="a")
    phased.register(*TOP, "y", 4, same_as="x", live="b")
    assert phased.layout("top", F4)["x"].live == ("a", "d")
    refuses({model.BAD_LIFE}, phased.register, *TOP, "z", 1, carried=True)
    refuses({model.UNKNOWN_PHASE}, phased.phases, *TOP, "a", "c", "d")
    refuses({model.BAD_LIFE}, phased.phases, *TOP, "a", "d", "c", "b", "e")
    refuses({model.BAD_LIFE}, phased.loop, "top", "a", "b")


def test_bounds_of_lives_by_hand(phased):
    phased.register(*TOP, "x", 4, "shared", live="a")
    phased.register(*TOP, "y", 2, "shared", live="e")
    phased.register(*MID, "z", 1, "shared")
    phased.register(*MID, "k", 1, "shared", keep=True)
    phased.add_child(TOP, MID, "m", "e")
    region = phased.layout("top", F4).regions["shared"]
    assert (region.nbytes, region.lower_bound, region.flat_load, region.kept) == (40, 32, 24, 8)
    assert phased.layout("top", F4)["m_shared"].live is None


def test_given_offsets_are_checked():
    blocks = [model.Block((n,), 4, 4, 4, 0, i, i + 1) for i, n in enumerate("xy")]
    assert model.place_blocks("auto", blocks, {"x": 0, "y": 0}) == [0, 0]
    late = [*blocks, model.Block(("z",), 4, 4, 4, 0, 0, 2)]
    assert model.place_blocks("auto", late, {"x": 0, "y": 0, "z": 4}) == [0, 0, 4]
    for wrong in ({"x": 0, "y": 4, "z": 4}, {"x": 0, "y": 0, "z": 2}, {"x": 0, "y": 0, "z": 12}):
        with pytest.raises(AssertionError):
            model.place_blocks("auto", late, wrong)
