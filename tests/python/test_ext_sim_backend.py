"""SimBackend and SimStream as Python sees them, and the look for a driver."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
import weakref

import pytest
from test_ext_fork import in_child

import bayplan
from bayplan import _core
from bayplan._core import Budget, SimBackend, SlotManager

KINDS = ("alloc", "free", "copy", "event", "sync", "host")


def test_defaults():
    device = SimBackend()
    assert (device.name, device.capacity, device.granularity) == ("sim", None, 1)
    assert (device.used, device.held) == (0, 0)
    assert [device.actions(kind) for kind in KINDS] == [0] * 6
    assert repr(device) == "<SimBackend: 0 bytes used>"


def test_options():
    device = SimBackend(4096, "late", "alloc:#7,copy:#2-3,free:#5-", 512, 3)
    assert (device.capacity, device.granularity) == (4096, 512)
    assert repr(device) == "<SimBackend: 0 of 4096 bytes used>"
    again = SimBackend(capacity=0, events="manual", fail=None, granularity=1, polls=2**32 - 1)
    assert again.capacity == 0


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"capacity": -1}, "capacity must be"),
        ({"capacity": 2**64}, "capacity must be"),
        ({"capacity": "1GIB"}, "did you mean"),
        ({"capacity": 1.5}, "capacity must be"),
        ({"capacity": True}, "capacity must be"),
        ({"events": "never"}, "events must be 'immediate', 'manual' or 'late', not 'never'"),
        ({"events": None}, "events must be"),
        ({"events": 1}, "events must be"),
        ({"fail": 3}, "fail must be"),
        ({"fail": "alloc"}, "alloc"),
        ({"fail": "nope:#1"}, "nope"),
        ({"fail": "alloc:#0"}, "#0"),
        ({"fail": "alloc:#3-2"}, "3-2"),
        ({"fail": "alloc:#1,,copy:#2"}, "fail"),
        ({"granularity": 0}, "granularity must be at least 1"),
        ({"granularity": 3}, "3"),
        ({"granularity": -1}, "granularity must be"),
        ({"polls": 0}, "polls must be at least 1"),
        ({"polls": 2**32}, "polls must be below"),
        ({"polls": 1.5}, "polls must be"),
    ],
)
def test_options_that_cannot_be(options, match):
    with pytest.raises(bayplan.BufferValueError, match=match):
        SimBackend(**options)


def test_a_capacity_in_words():
    assert SimBackend("2 MiB").capacity == 2**21


def test_wrong_calls():
    device = SimBackend()
    for call in (
        lambda: SimBackend(1, 2, 3, 4, 5, 6),
        lambda: SimBackend(nope=1),
        lambda: device.complete(1, 2),
        lambda: device.complete(nope=1),
        lambda: device.actions(),
        lambda: device.stream(1),
        lambda: _core.SimStream(),
    ):
        with pytest.raises(TypeError):
            call()
    for n in (-1, 2**64, 1.5, "1"):
        with pytest.raises(bayplan.BufferValueError):
            device.complete(n)
    for kind in ("Alloc", "", "allocs", 3, None, "\ud800"):
        with pytest.raises(bayplan.BufferValueError):
            device.actions(kind)


def test_used_and_actions_follow_what_a_manager_does():
    device = SimBackend(capacity=4096, granularity=256)
    budget = Budget(4096)
    manager = SlotManager(budget, backend=device)
    slot = manager.allocate("a", 100)
    assert (device.used, budget.used, slot.charged) == (256, 256, 256)
    assert device.actions("alloc") == 1
    manager.evict("a")
    assert (device.used, device.actions("free")) == (0, 1)
    assert device.actions("copy") + device.actions("host") > 0


def test_events_are_held_back_until_complete():
    device = SimBackend(events="manual")
    budget = Budget(1000)
    manager = SlotManager(budget, backend=device)
    manager.allocate("a", 300)
    stream = device.stream()
    for _ in range(3):
        with manager.use("a", stream=stream):
            pass
    n_held = device.held
    assert n_held > 0
    assert device.complete(0) == 0
    assert device.complete(1) == 1
    assert device.held == n_held - 1
    assert device.complete() == n_held - 1
    assert (device.complete(None), device.held) == (0, 0)
    manager.deallocate("a")
    assert budget.retiring == 0
    assert device.used == 0


def test_what_the_device_still_uses_retires_until_complete():
    device = SimBackend(events="manual")
    budget = Budget(1000)
    manager = SlotManager(budget, backend=device)
    manager.allocate("a", 300)
    with manager.use("a", stream=device.stream()):
        pass
    manager.deallocate("a")
    assert (budget.used, budget.retiring, device.used) == (0, 300, 300)
    device.complete()
    assert (budget.used, budget.retiring, device.used) == (0, 0, 0)
    budget.check()


def test_an_allocation_that_fails_once_is_tried_again():
    device = SimBackend(fail="alloc:#2")
    manager = SlotManager(Budget(1000), backend=device)
    manager.allocate("a", 100)
    assert manager.allocate("b", 100).state == "resident"
    assert device.actions("alloc") == 3


def test_allocations_that_go_on_failing():
    device = SimBackend(fail="alloc:#2-")
    budget = Budget(1000)
    manager = SlotManager(budget, backend=device)
    manager.allocate("a", 100, pin=True)
    before = budget.dump()
    with pytest.raises(bayplan.BudgetExceeded) as info:
        manager.allocate("b", 100)
    assert (info.value.code, info.value.evicted) == ("BAY-E004", ())
    assert budget.dump() == before
    budget.check()


def test_fault():
    device = SimBackend()
    budget = Budget(1000)
    manager = SlotManager(budget, backend=device)
    manager.allocate("a", 100)
    device.fault()
    with pytest.raises(bayplan.DeviceFault):
        manager.allocate("b", 100)
    manager.close()
    assert budget.used == 0
    budget.check()


def test_streams():
    device, other = SimBackend(), SimBackend()
    stream = device.stream()
    assert stream.backend is device
    assert repr(stream) != repr(device.stream())
    manager = SlotManager(Budget(1000), backend=device)
    manager.allocate("a", 100)
    with pytest.raises(bayplan.BufferValueError, match="another backend"):
        manager.use("a", stream=other.stream())
    for wrong in (3, "stream", device):
        with pytest.raises(TypeError, match="stream must be"):
            manager.use("a", stream=wrong)
    ref = weakref.ref(device)
    del device, manager, wrong
    gc.collect()
    assert ref() is stream.backend
    del stream
    assert ref() is None


def test_a_manager_keeps_its_device():
    budget = Budget(1000)
    manager = SlotManager(budget, backend=SimBackend())
    manager.allocate("a", 100)
    gc.collect()
    assert manager.evict("a") is not NotImplemented
    for wrong in (None, "sim", 3, budget):
        with pytest.raises(TypeError):
            SlotManager(budget, backend=wrong)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_every_call_in_a_forked_child_is_refused():
    device = SimBackend(100)
    held = [device.stream()]

    def work():
        for call in (
            device.stream,
            device.complete,
            device.fault,
            lambda: device.actions("alloc"),
            lambda: device.used,
            lambda: device.held,
        ):
            with pytest.raises(bayplan.ForkedProcess) as info:
                call()
            assert info.value.code == "BAY-E202"
        assert (device.name, device.capacity) == ("sim", 100)
        repr(device)
        del held[:]
        SimBackend().stream()

    assert in_child(work) == 0
    assert device.complete() == 0


def test_nothing_leaks():
    def churn(n):
        for i in range(n):
            device = SimBackend(capacity=i, events="manual")
            device.stream(), device.complete(), device.used, repr(device)
            with pytest.raises(bayplan.BufferValueError):
                device.actions("nope")

    churn(50)
    gc.collect()
    before = len(gc.get_objects())
    churn(500)
    gc.collect()
    assert len(gc.get_objects()) - before < 50


# ---- the driver ----------------------------------------------------------------------


def has_device() -> bool:
    try:
        _core._probe_driver()
    except bayplan.DeviceUnavailable:
        return False
    return True


@pytest.mark.skipif(has_device(), reason="a device answers")
def test_the_look_for_a_driver_is_quick_and_says_what_it_tried():
    start = time.perf_counter()
    with pytest.raises(bayplan.DeviceUnavailable, match="libcuda") as info:
        _core._probe_driver()
    assert time.perf_counter() - start < 0.1
    assert info.value.code == "BAY-E200"


@pytest.mark.skipif(not has_device(), reason="needs a device")
def test_the_look_for_a_driver_finds_it():
    assert _core._probe_driver() is None


def test_import_looks_for_no_driver():
    code = "import bayplan; print('libcuda' in open('/proc/self/maps').read())"
    if not os.path.exists("/proc/self/maps"):
        pytest.skip("reads /proc/self/maps")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.stderr) == ("False", "")
