"""Slot managers in processes: garbage, threads, forks, and the end of the interpreter."""

from __future__ import annotations

import gc
import os
import random
import signal
import subprocess
import sys
import threading
import traceback
import weakref

import numpy as np
import pytest
from slots_support import checksum, filled, make, pattern, sound

import bayplan

# ---- garbage -------------------------------------------------------------------


def test_a_manager_that_is_dropped_gives_everything_back():
    slots = make(300)
    budget, backend = slots.budget, slots.backend
    filled(slots, "a", 100)
    slots.allocate("b", 100, load=lambda slot: None)
    slots.evict("a")
    gc.disable()
    try:
        del slots  # no cycle: its last reference is its end
        assert (budget.used, budget.retiring, backend.used) == (0, 0, 0)
    finally:
        gc.enable()
    budget.check()


def test_a_slot_keeps_its_manager():
    slot = make(300).allocate("a", 100)
    gc.collect()
    slot.copy_from(b"x" * 100)
    assert slot.manager["a"] is slot
    budget = slot.manager.budget
    del slot
    assert budget.used == 0


def test_a_dropped_slot_object_is_not_a_dropped_slot():
    slots = make(300)
    ref = weakref.ref(slots.allocate("a", 100))
    assert ref() is None
    assert slots["a"].resident


def make_cycle(link, sim):
    """A manager that only itself can reach; a weak reference to it."""
    box = []
    policy = (lambda slot: len(box)) if link == "policy" else "lru"
    slots = bayplan.SlotManager(bayplan.Budget(300), backend=sim, policy=policy)
    box.append(slots)
    slot = slots.allocate("a", 100, load=(lambda slot: len(box)) if link == "load" else None)
    if link == "attribute":
        slots.me = [slots, slot, slots.use("a")]
    if link == "subscription":
        slots.seen = slots.budget.evictions.subscribe(callback=lambda record: len(box))
    if link == "pressure":
        slots.budget.subscribe(bayplan.MemoryPressure.HIGH, lambda edge: len(box))
    return weakref.ref(slots)


@pytest.mark.parametrize("link", ["load", "policy", "attribute", "subscription", "pressure"])
def test_cycles_are_collected(link):
    sim = bayplan.SimBackend()
    ref = make_cycle(link, sim)
    assert sim.used == 100
    gc.collect()
    assert ref() is None
    assert sim.used == 0


def test_arrays_outlive_everything():
    slots = make(300)
    filled(slots, "a", 100, 4)
    budget, backend = slots.budget, slots.backend
    array = slots["a"].view().numpy()[10:]
    del slots
    gc.collect()
    assert (array == pattern(4, 100)[10:]).all()
    array += 1
    assert budget.used == 100
    del budget
    gc.collect()
    array -= 1
    assert (array == pattern(4, 100)[10:]).all()
    assert backend.used == 100
    del array
    gc.collect()
    assert backend.used == 0


def test_views_in_cycles_are_collected():
    slots = make(300)
    view = slots.allocate("a", 100).view()
    box = [view]
    box.append(box)
    del view, box
    assert slots["a"].host_uses == 1
    gc.collect()
    assert slots["a"].host_uses == 0


def test_many_managers_leave_nothing_behind():
    sim = bayplan.SimBackend()
    budget = bayplan.Budget(10_000)

    def churn(n):
        for _ in range(n):
            slots = bayplan.SlotManager(budget, backend=sim)
            for name in "abc":
                slots.allocate(name, 10)
            slots.evict("a")
            with slots.use("a"):
                slots["b"].view().numpy()[:] = 1

    churn(10)
    gc.collect()
    objects = len(gc.get_objects())
    churn(300)
    gc.collect()
    assert len(gc.get_objects()) - objects < 20
    assert (budget.used, sim.used) == (0, 0)
    budget.check()


def test_managers_in_one_tree_do_not_hold_each_other():
    budget, sim = bayplan.Budget(300), bayplan.SimBackend()
    kept = bayplan.SlotManager(budget, backend=sim, policy=lambda s: s.nbytes)
    for _ in range(20):
        dropped = bayplan.SlotManager(budget, backend=sim, policy=lambda s: s.nbytes)
        dropped.allocate("x", 10)
        kept.allocate("y", 10, replace=True)
        del dropped
    assert budget.used == 10
    assert kept.plan(300) == ["y"]


# ---- threads -------------------------------------------------------------------

N_THREADS = 8


def run_threads(work):
    """`work(i)` on eight threads at once; the exceptions they ended with."""
    errors = []
    barrier = threading.Barrier(N_THREADS)

    def run(i):
        try:
            barrier.wait(timeout=30)
            work(i)
        except BaseException as error:
            traceback.print_exc()
            errors.append(error)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(N_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert not any(thread.is_alive() for thread in threads)
    return errors


def test_threads_with_slots_of_their_own_and_too_little_room():
    """Every thread's contents come back byte for byte, whoever evicted them."""
    slots = make(N_THREADS * 300 // 2)
    slots.budget.check()

    def work(i):
        rng = random.Random(i)
        sums = {}
        for n in range(60):
            name = f"{i}-{rng.randrange(4)}"
            if name in sums and rng.random() < 0.2:
                slots.deallocate(name)
                del sums[name]
            elif name in sums:
                with slots.use(name, write=False, timeout=30) as slot:
                    assert checksum(slot) == sums[name]
            else:
                data = pattern(1000 * i + n, rng.randrange(1, 100))
                slot = slots.allocate(name, data.size, timeout=30)
                slot.copy_from(data)
                sums[name] = checksum(slot)

    refusals = [e for e in run_threads(work) if not isinstance(e, bayplan.BudgetExceeded)]
    assert refusals == []
    sound(slots)


def test_threads_that_want_the_same_names():
    slots = make(500, policy=lambda slot: slot.nbytes)
    expected = (
        bayplan.SlotExists,
        bayplan.BufferKeyError,
        bayplan.Busy,
        bayplan.BudgetExceeded,
        bayplan.StaleHandle,
        TimeoutError,
    )

    def load(slot):
        slot.copy_from(np.full(slot.nbytes, 1, np.uint8))

    def work(i):
        rng = random.Random(i)
        for _ in range(150):
            name = rng.choice("abc")
            try:
                match rng.randrange(8):
                    case 0:
                        slots.allocate(name, rng.randrange(1, 250))
                    case 1:
                        slots.allocate(name, rng.randrange(1, 250), replace=True)
                    case 2:
                        slots.allocate(name, rng.randrange(1, 250), replace=True, load=load)
                    case 3:
                        slots.deallocate(name, missing_ok=True)
                    case 4:
                        slots.evict(name)
                    case 5:
                        with slots.use(name) as slot:
                            slot.copy_to()
                    case 6:
                        slots[name].view().numpy()[:] = i
                    case _:
                        slots.touch(name)
            except expected:
                pass

    assert run_threads(work) == []
    sound(slots)
    assert all(slots[name].host_uses == 0 for name in slots)
    assert set(slots) <= set("abc")
    slots.close()
    assert (slots.budget.used, slots.backend.used) == (0, 0)


def test_closing_beside_seven_threads():
    for _ in range(10):
        slots = make(400)

        def work(i, slots=slots):
            if i == 0:
                slots.close()
                return
            try:
                for n in range(30):
                    slots.allocate(f"{i}-{n}", 50).copy_from(b"x" * 50)
            except (bayplan.StaleHandle, bayplan.BudgetExceeded):
                pass

        assert run_threads(work) == []
        assert (slots.budget.used, slots.backend.used) == (0, 0)
        slots.budget.check()


def test_arrays_dropped_on_other_threads():
    slots = make(300)
    slots.allocate("a", 100)
    arrays = [slots["a"].view().numpy() for _ in range(N_THREADS)]

    def work(i):
        arrays[i] = None

    assert run_threads(work) == []
    assert slots["a"].host_uses == 0
    sound(slots)


def test_a_wait_ends_with_a_key_press():
    """Ctrl-C reaches a call that waits for the device without end."""
    code = """
import _thread, threading, bayplan
slots = bayplan.SlotManager(bayplan.Budget(100), backend=bayplan.SimBackend(events="manual"))
slots.allocate("a", 100).copy_from(b"x" * 100)
with slots.use("a", slots.backend.stream()):
    pass
threading.Timer(0.2, _thread.interrupt_main).start()
try:
    slots.allocate("b", 100, timeout=None)
except KeyboardInterrupt:
    print("stopped", list(slots))
slots.backend.complete()
slots.budget.check()
print(slots.budget.used == 100 * slots.loaded_count, slots["a"].copy_to().tobytes() == b"x" * 100)
"""
    assert python(code).stdout == "stopped ['a']\nTrue True\n"


CLOSED_WHILE_WAITING = """
import signal, sys, threading, bayplan
sim = bayplan.SimBackend(capacity=1000, events="manual")
budget = bayplan.Budget(1.0, device=sim)
slots, other = bayplan.SlotManager(budget), bayplan.SlotManager(budget)
slots.allocate("a", 600)
other.allocate("c", 300)
if sys.argv[1] != "restore":
    stream = sim.stream()
    with slots.use("a", stream):
        pass
else:
    slots.evict("a")
    other.allocate("d", 600)
    with other.use("d", sim.stream()):
        pass
calls = {
    "allocate": lambda: slots.allocate("b", 600, timeout=5),
    "replace": lambda: slots.allocate("c", 700, timeout=None),
    "make_room": lambda: slots.make_room(600, timeout=5),
    "restore": lambda: slots.use("a", timeout=5).__enter__(),
    "budget": lambda: budget.make_room(600, timeout=5),
    "beside": lambda: other.allocate("b", 600, timeout=5),
}
def close():
    slots.close()
    slots.close()
if sys.argv[2] == "signal":
    signal.signal(signal.SIGALRM, lambda *_: close())
    signal.setitimer(signal.ITIMER_REAL, 0.1)
else:
    threading.Timer(0.1, close).start()
try:
    calls[sys.argv[1]]()
    print("made")
except bayplan.StaleHandle as error:
    print(error)
sim.complete()
budget.check()
print(slots.closed, len(slots), budget.used == other.allocated, budget.retiring)
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs signal.setitimer")
@pytest.mark.parametrize("by", ["signal", "thread"])
@pytest.mark.parametrize(
    "call", ["allocate", "replace", "make_room", "restore", "budget", "beside"]
)
def test_closing_ends_a_wait(call, by):
    """A signal handler's close() must not wait for the call that it interrupts."""
    said = "made" if call in ("budget", "beside") else "this slot manager is closed"
    done = python(CLOSED_WHILE_WAITING, call, by, timeout=10)
    assert done.stdout == f"{said}\nTrue 0 True 0\n"


# ---- forks and ends ---------------------------------------------------------------


def python(code, *args, timeout=60):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *args],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_is_told():
    slots = make(300)
    wanted = filled(slots, "a", 100, 1)
    slot, use = slots["a"], slots.use("a")
    array = slot.view().numpy()
    begun = slots.use("a")
    begun.__enter__()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            child_is_told(slots, slot, use)
            begun.__exit__(None, None, None)
            del array, begun, use, slot
            slots.close()
            gc.collect()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert checksum(slot) == wanted
    assert slot.host_uses == 2
    del array, begun
    assert slot.host_uses == 0
    sound(slots)


def child_is_told(slots, slot, use):
    for call in (
        lambda: slots.allocate("b", 10),
        lambda: slots.deallocate("a"),
        lambda: slots.touch("a"),
        lambda: slots.use("a"),
        lambda: slots.evict("a"),
        lambda: slots.prefetch("a"),
        lambda: slots.plan(1),
        lambda: slots.make_room(1),
        slots.lru_candidate,
        slots.stats,
        lambda: slots["a"],
        lambda: len(slots),
        lambda: list(slots),
        lambda: "a" in slots,
        lambda: slots.allocated,
        lambda: slots.available,
        lambda: slot.state,
        lambda: slot.copy_from(b"x"),
        slot.copy_to,
        slot.view,
        use.__enter__,
    ):
        with pytest.raises(bayplan.ForkedProcess) as info:
            call()
        assert info.value.code == "BAY-E202"
    repr(slots), repr(slot), slots.budget, slots.policy, slot.name


@pytest.mark.parametrize(
    "ending",
    [
        "",
        "array = slots['a'].view().numpy()",
        "use = slots.use('a'); use.__enter__()",
        "slots.me = slots; del slots",
        "import sys; sys.bayplan_slots = slots",
        "slots.budget.evictions.subscribe(callback=lambda r: print('called', r))",
        "import sys; sys.exit(0)",
        "import atexit; atexit.register(lambda: slots.evict('a'))",
        "import threading; threading.Thread(target=lambda: slots.evict('a')).start()",
    ],
)
def test_the_interpreter_ends_with_live_slots(ending):
    done = python(
        f"""
import bayplan
slots = bayplan.SlotManager(
    bayplan.Budget(300), backend=bayplan.SimBackend(events="manual"), policy=lambda s: s.nbytes
)
slots.allocate("a", 100, load=lambda slot: slot.copy_from(b"x" * 100))
slots.allocate("b", 100, keep=None)
with slots.use("b", slots.backend.stream()):
    pass
slots.evict("b")
{ending}
"""
    )
    assert done.stdout == ""
