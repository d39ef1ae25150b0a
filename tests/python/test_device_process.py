"""Budgets and slots when a process forks, and when one ends."""

from __future__ import annotations

import contextlib
import gc
import os
import subprocess
import sys
import textwrap
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bayplan

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
quiet = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def in_child(work: Callable[[], None]) -> int:
    """Run `work` in a forked process; 0 if it raised nothing."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


class Ship:
    """One of everything."""

    def __init__(self) -> None:
        self.root = bayplan.Budget(1000, name="root")
        self.budget = bayplan.Budget(800, parent=self.root)
        self.sim = bayplan.SimBackend(events="manual")
        self.stream = self.sim.stream()
        self.manager = bayplan.SlotManager(self.budget, backend=self.sim)
        self.a = self.manager.allocate("a", 100)
        self.a.copy_from(np.arange(100, dtype=np.uint8))
        self.b = self.manager.allocate("b", 100)
        self.manager.evict("b")
        self.promised = self.budget.reserve(50)
        self.budget.charge(10, "tag")
        self.log = self.root.evictions
        self.seen: list[Any] = []
        self.subscription = self.log.subscribe(callback=self.seen.append)
        self.edges: list[Any] = []
        self.watch = self.budget.subscribe("MEDIUM", self.edges.append)
        self.held = self.manager.use("a", self.stream)
        self.held.__enter__()
        self.view = self.manager["a"].view(np.uint8)

    def calls(self) -> dict[str, Callable[[], Any]]:
        """Everything that asks the tree or changes it."""
        budget, manager, slot = self.budget, self.manager, self.a
        calls: dict[str, Callable[[], Any]] = {
            "Budget": lambda: bayplan.Budget(10, parent=budget),
            "SlotManager": lambda: bayplan.SlotManager(budget, backend=self.sim),
            "charge": lambda: budget.charge(1),
            "refund": lambda: budget.refund(10, "tag"),
            "reserve": lambda: budget.reserve(1),
            "take": lambda: self.promised.take(1),
            "set_limit": lambda: budget.set_limit(10),
            "trim": budget.trim,
            "make_room": lambda: budget.make_room(700),
            "stats": budget.stats,
            "stats of a tag": lambda: budget.stats("tag"),
            "tags": budget.tags,
            "observe": budget.observe,
            "subscribe": lambda: budget.subscribe("HIGH", print),
            "drain": budget.drain,
            "check": budget.check,
            "dump": budget.dump,
            "log.publish": lambda: self.log.publish("x"),
            "log.subscribe": self.log.subscribe,
            "subscription.drain": self.subscription.drain,
            "subscription.resync": lambda: self.subscription.resync(0),
            "allocate": lambda: manager.allocate("c", 1),
            "deallocate": lambda: manager.deallocate("b"),
            "deallocate what is not there": lambda: manager.deallocate("z", missing_ok=True),
            "touch": lambda: manager.touch("a"),
            "use": lambda: manager.use("b").__enter__(),
            "prefetch": lambda: manager.prefetch("b"),
            "evict": lambda: manager.evict("a"),
            "plan": lambda: manager.plan(700),
            "manager.make_room": lambda: manager.make_room(700),
            "lru_candidate": manager.lru_candidate,
            "manager.stats": manager.stats,
            "manager[]": lambda: manager["a"],
            "iter": lambda: list(manager),
            "copy_from": lambda: slot.copy_from(np.zeros(3, np.uint8)),
            "copy_to": slot.copy_to,
            "view": lambda: slot.view(np.uint8),
            "stream": self.sim.stream,
            "complete": self.sim.complete,
        }
        for name in ("used", "reserved", "retiring", "available", "peak", "pressure", "limit"):
            calls[name] = lambda name=name: getattr(budget, name)
        for name in ("state", "generation", "charged", "resident", "host_uses", "busy"):
            calls[f"slot.{name}"] = lambda name=name: getattr(slot, name)
        return calls


def refused(calls: dict[str, Callable[[], Any]]) -> list[str]:
    """Names of the calls that did not raise ForkedProcess."""
    wrong = []
    for name, call in calls.items():
        try:
            call()
        except bayplan.ForkedProcess:
            continue
        except Exception as error:
            wrong.append(f"{name}: {error!r}")
        else:
            wrong.append(f"{name}: no exception")
    return wrong


@needs_fork
@quiet
def test_every_call_is_refused_in_a_child() -> None:
    ship = Ship()
    before = ship.root.dump()

    def work() -> None:
        assert refused(ship.calls()) == []

    assert in_child(work) == 0
    assert ship.root.dump() == before


@needs_fork
@quiet
def test_finalisers_do_nothing_in_a_child() -> None:
    ship = Ship()
    before = ship.root.dump()

    def work() -> None:
        assert repr(ship.budget)
        assert repr(ship.manager)
        assert repr(ship.a)
        ship.manager.close()
        ship.promised.close()
        ship.subscription.unsubscribe()
        ship.watch.unsubscribe()
        vars(ship).clear()
        gc.collect()

    assert in_child(work) == 0
    assert ship.root.dump() == before
    ship.root.check()
    ship.held.__exit__(None, None, None)
    assert ship.sim.held == 1
    assert np.array_equal(ship.a.copy_to(), np.arange(100))
    del ship.view
    ship.manager.close()
    ship.promised.close()
    ship.budget.refund(10, "tag")
    assert ship.root.used == ship.root.reserved == 0
    assert [record.cause for record in ship.seen] == ["closed"]


@needs_fork
@quiet
def test_a_child_makes_trees_of_its_own() -> None:
    ship = Ship()

    def work() -> None:
        other = Ship()
        other.held.__exit__(None, None, None)
        del other.view
        other.sim.complete()
        other.manager.allocate("c", 700)
        assert other.manager["a"].state == "evicted"
        other.root.check()
        os.waitpid(os.fork() or os._exit(len(refused(other.calls()))), 0)

    assert in_child(work) == 0
    ship.root.check()


@needs_fork
@quiet
def test_fork_while_other_threads_allocate() -> None:
    """Whoever held the lock is not there in the child."""
    budget = bayplan.Budget(1000)
    manager = bayplan.SlotManager(budget, backend=bayplan.SimBackend())
    is_over = threading.Event()

    def allocate(place: int) -> None:
        i = 0
        while not is_over.is_set():
            with contextlib.suppress(bayplan.Busy):  # the other thread evicts it just now
                manager.allocate(f"{place}-{i % 3}", 200, replace=True)
            i += 1

    def work() -> None:
        with pytest.raises(bayplan.ForkedProcess):
            budget.charge(1)
        own = bayplan.Budget(100)
        own.charge(100)
        gc.collect()

    threads = [threading.Thread(target=allocate, args=(place,)) for place in range(2)]
    for thread in threads:
        thread.start()
    try:
        assert [in_child(work) for _ in range(6)] == [0] * 6
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
    budget.check()
    manager.close()
    assert budget.used == 0


# ---- the end of a process --------------------------------------------------------

FURNISH = """
    import threading, time
    import numpy as np
    import bayplan
    budget = bayplan.Budget(1000, evict_at=(95, 50))
    sim = bayplan.SimBackend(events="manual")
    stream = sim.stream()
    manager = bayplan.SlotManager(budget, backend=sim, policy=lambda slot: slot.nbytes)
    for i in range(5):
        manager.allocate(f"a{i}", 100 + i).copy_from(np.full(100, i, np.uint8))
    with manager.use("a1", stream):
        pass
    manager.evict("a1")
    budget.subscribe("LOW" if False else "MEDIUM", lambda edge: None)
    log = budget.evictions.subscribe(callback=lambda record: None)
"""
ENDINGS = {
    "live slots": "",
    "uses that have begun": """
        use = manager.use("a2", stream)
        use.__enter__()
        promised = budget.reserve(10)
    """,
    "views and their arrays": """
        view = manager["a2"].view(np.uint8)
        array = view.numpy()
        del view
    """,
    "cycles": """
        class Keeper:
            pass
        keeper = Keeper()
        keeper.all = [manager, budget, sim, keeper, manager["a0"], log]
        manager.keeper = keeper if hasattr(manager, "__dict__") else None
        del manager, budget, sim, log
    """,
    "things kept by the module": """
        bayplan.kept = [manager, budget, sim, stream, log]
    """,
    "a daemon thread that allocates": """
        def work():
            i = 0
            while True:
                try:
                    manager.allocate(f"b{i % 3}", 50, replace=True)
                except bayplan.BayplanError:
                    pass
                i += 1
        threading.Thread(target=work, daemon=True).start()
        time.sleep(0.05)
    """,
    "a daemon thread that waits": """
        for i in range(5):
            manager.deallocate(f"a{i}", missing_ok=False) if i != 1 else None
        manager.close()
        other = bayplan.SlotManager(budget, backend=sim)
        other.allocate("w", 900)
        with other.use("w", stream):
            pass
        def work():
            other.allocate("x", 900, timeout=None)
        threading.Thread(target=work, daemon=True).start()
        time.sleep(0.05)
    """,
    "an atexit function": """
        import atexit
        def last():
            manager.allocate("late", 10)
            manager.evict("late")
            budget.check()
        atexit.register(last)
    """,
    "a finaliser that calls back": """
        class Last:
            def __del__(self):
                try:
                    budget.charge(1)
                    manager.allocate("late", 10)
                except (bayplan.BayplanError, TypeError, AttributeError, ImportError):
                    pass
        last = Last()
    """,
    "an exception": """
        import sys
        sys.excepthook = lambda *what: None
        use = manager.use("a2")
        use.__enter__()
        raise SystemExit(0)
    """,
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_interpreter_exit(ending: str) -> None:
    script = textwrap.dedent(FURNISH) + textwrap.dedent(ENDINGS[ending])
    package = str(Path(bayplan.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", script],
        env=os.environ | {"PYTHONPATH": package},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
