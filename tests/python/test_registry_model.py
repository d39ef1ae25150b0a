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
