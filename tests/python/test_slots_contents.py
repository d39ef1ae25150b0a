"""What is in a slot: replaced, loaded, copied, and seen where it is."""

from __future__ import annotations

import numpy as np
import pytest
from slots_support import checksum, evictions, filled, make, pattern, refused, sound

import bayplan

# ---- replace --------------------------------------------------------------------


def test_replace():
    slots = make(300)
    filled(slots, "a", 200, 1)
    old = slots["a"]
    new = slots.allocate("a", 250, replace=True, kind="second")
    assert new is slots["a"] is not old
    assert (new.nbytes, new.kind, slots.budget.used) == (250, "second", 250)
    assert evictions(slots.budget) == [("a", "replaced")]
    with pytest.raises(bayplan.StaleHandle):
        old.copy_to()
    slots.allocate("b", 50, replace=True)  # there is nothing to replace
    sound(slots)


@pytest.mark.parametrize("keep", ["host", None])
def test_a_failed_replacement_brings_the_old_slot_back(keep):
    slots = make(300)
    wanted = filled(slots, "a", 200, 1, keep=keep)
    slots.allocate("pinned", 50, pin=True)
    old, generation = slots["a"], slots["a"].generation
    with pytest.raises(bayplan.BudgetExceeded) as info:
        slots.allocate("a", 251, replace=True)
    assert info.value.requested == 251
    assert slots["a"] is old
    assert (old.nbytes, checksum(old)) == (200, wanted)
    assert old.generation >= generation
    sound(slots)


def test_a_replacement_the_device_refuses_brings_the_old_slot_back():
    slots = make(300, fail="alloc:#2-4")
    wanted = filled(slots, "a", 200, 1)
    old = slots["a"]
    with pytest.raises(bayplan.BudgetExceeded) as info:
        slots.allocate("a", 250, replace=True)
    assert info.value.code == "BAY-E004"
    assert slots["a"] is old
    assert checksum(old) == wanted
    assert list(slots) == ["a"]
    sound(slots)


# ---- load -----------------------------------------------------------------------


def loader(calls, value=7):
    def load(slot):
        calls.append((slot.name, slot.state, slot.host_uses))
        slot.copy_from(np.full(slot.nbytes, value, np.uint8))

    return load


def test_load_fills_a_slot_now_and_when_it_comes_back():
    slots = make(300)
    calls = []
    slot = slots.allocate("a", 200, keep=None, load=loader(calls))
    assert slot.resident
    assert (slot.copy_to() == 7).all()
    slots.evict("a")
    with slots.use("a") as again:
        assert (again.copy_to() == 7).all()
    slots.evict("a")
    slots.prefetch("a")
    assert [c[:2] for c in calls] == [("a", "restoring")] * 3
    sound(slots)


def test_load_is_not_asked_where_there_is_a_copy():
    slots = make(300)
    calls = []
    slots.allocate("a", 200, load=loader(calls)).copy_from(pattern(3, 200))
    wanted = checksum(slots["a"])
    slots.evict("a")
    assert checksum(slots["a"]) == wanted
    with slots.use("a") as slot:
        assert checksum(slot) == wanted
    assert len(calls) == 1


def test_load_may_use_other_slots():
    slots = make(300)
    filled(slots, "raw", 100, 9)

    def load(slot):
        with slots.use("raw", write=False) as raw:
            slot.copy_from(raw.copy_to())
        assert slots["derived"] is slot

    slots.allocate("derived", 100, keep=None, load=load)
    assert checksum(slots["derived"]) == checksum(slots["raw"])
    slots.evict("derived")
    slots.evict("raw")
    assert checksum(slots["derived"]) == checksum(slots["raw"])


# ---- copies and views ---------------------------------------------------------------


def test_copies_of_every_shape():
    slots = make(1000)
    slot = slots.allocate("a", 96)
    grid = np.arange(24, dtype="f4").reshape(4, 6)
    for array in (grid, grid.T, grid[:, ::2], [1, 2, 3], 5.0, grid.astype(">f4"), b"bytes"):
        slot.copy_from(array)
        data = np.ascontiguousarray(array).tobytes()
        assert slot.copy_to().tobytes()[: len(data)] == data
    slot.copy_from(grid)
    out = np.zeros((4, 6), "f4")
    assert slot.copy_to(out) is out
    assert (out == grid).all()
    odd = np.zeros((6, 4), "f4").T
    assert slot.copy_to(out=odd) is odd
    assert (odd == grid).all()
    assert (slot.copy_to(np.zeros(2, "f4")) == [0, 1]).all()
    assert slot.copy_to(np.zeros((0, 3))).shape == (0, 3)
    assert slot.copy_to().dtype == np.uint8
    assert slot.host_uses == 0


def test_copying_into_an_evicted_slot_brings_it_back():
    slots = make(300)
    filled(slots, "a", 200, 1)
    slots.evict("a")
    slots["a"].copy_from(pattern(2, 100))
    assert slots["a"].resident
    assert (slots["a"].copy_to()[:100] == pattern(2, 100)).all()
    assert (slots["a"].copy_to()[100:] == pattern(1, 200)[100:]).all()


def test_views():
    slots = make(1000)
    slot = slots.allocate("a", 96)
    view = slot.view("f4", (4, 6))
    assert (view.slot, view.dtype, view.shape, view.nbytes) == (slot, np.dtype("f4"), (4, 6), 96)
    array = view.numpy()
    assert array.flags.c_contiguous
    assert array.flags.writeable
    array[:] = np.arange(24).reshape(4, 6)
    assert (slot.view("f4").numpy() == np.arange(24)).all()
    assert slot.view().numpy().dtype == np.uint8
    assert slot.view("u2", 3).shape == (3,)
    assert slot.view("f8", (0, 5)).numpy().shape == (0, 5)
    assert np.asarray(view).base is view
    exported = np.from_dlpack(view)
    exported[0, 0] = 100
    assert array[0, 0] == 100
    assert view.__dlpack_device__() == (1, 0)
    assert (slot.copy_to().view("f4")[1:] == np.arange(1, 24)).all()


@pytest.mark.parametrize("export", ["view", "numpy", "slice", "asarray", "dlpack"])
def test_a_view_holds_the_slot_until_its_last_array_is_gone(export):
    slots = make(300)
    slots.allocate("a", 100)
    made = {
        "view": lambda v: v,
        "numpy": lambda v: v.numpy(),
        "slice": lambda v: v.numpy()[10:20].reshape(2, 5),
        "asarray": np.asarray,
        "dlpack": np.from_dlpack,
    }[export](slots["a"].view())
    assert slots["a"].host_uses == 1
    with refused(slots, bayplan.Busy, "BAY-E203", "'a'"):
        slots.evict("a")
    del made
    assert slots["a"].host_uses == 0
    slots.evict("a")


def test_a_view_brings_an_evicted_slot_back():
    slots = make(300)
    wanted = filled(slots, "a", 200, 1)
    filled(slots, "b", 200, 2)
    assert not slots["a"].resident
    array = slots["a"].view().numpy()
    assert (array == pattern(1, 200)).all()
    assert slots["a"].resident
    array[0] ^= 255
    del array
    slots.evict("a")
    assert checksum(slots["a"]) != wanted


def test_a_view_that_does_not_write_leaves_the_slot_clean():
    slots = make(300)
    wanted = filled(slots, "a", 200, 1)
    slots.evict("a")
    moved = slots.stats().moved_out_bytes
    with slots.use("a", write=False) as slot:
        view = slot.view(np.float32, write=False)
        array = view.numpy()
        assert not array.flags.writeable
        assert not np.asarray(view).flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
        assert array.tobytes() == pattern(1, 200).tobytes()
        del view, array
    assert not slots["a"].dirty
    slots.evict("a")
    assert slots.stats().moved_out_bytes == moved
    assert checksum(slots["a"]) == wanted
    slots["a"].view()
    assert slots["a"].dirty


def test_all_bytes_at_once_refill_a_slot_that_kept_none():
    slots = make(300)
    slot = slots.allocate("a", 200, keep=None)
    slots.evict("a")
    with pytest.raises(bayplan.StaleHandle, match="'a'"):
        slot.copy_from(pattern(1, 199))
    with pytest.raises(bayplan.StaleHandle, match="'a'"):
        slot.copy_to()
    assert slot.state == "evicted"
    slot.copy_from(pattern(1, 200))
    assert slot.resident
    assert slot.copy_to().tobytes() == pattern(1, 200).tobytes()
    sound(slots)


def test_all_bytes_at_once_need_no_old_ones():
    slots = make(300)
    filled(slots, "a", 200, 1)
    slots.evict("a")
    moved = slots.stats().moved_in_bytes
    slots["a"].copy_from(pattern(2, 200))
    assert slots.stats().moved_in_bytes == moved
    assert slots["a"].copy_to().tobytes() == pattern(2, 200).tobytes()
    slots.evict("a")
    slots.prefetch("a")
    assert slots["a"].copy_to().tobytes() == pattern(2, 200).tobytes()


def test_messages_about_a_slot_name_it():
    slots = make(300)
    slot = slots.allocate("a", 200)
    for call in (
        lambda: slot.copy_from(np.zeros(201, np.uint8)),
        lambda: slot.copy_from(np.broadcast_to(np.uint8(7), (2**40,))),  # not made contiguous
        lambda: slot.copy_to(np.zeros(201, np.uint8)),
    ):
        with pytest.raises(bayplan.BufferValueError, match="slot 'a' has 200") as info:
            call()
        assert info.value.buffer == "a"
    slots.deallocate("a")
    for call in (slot.copy_to, slot.view, lambda: slot.state, lambda: slot.copy_from(b"x")):
        with pytest.raises(bayplan.StaleHandle, match="slot 'a' is gone") as info:
            call()
        assert info.value.buffer == "a"
