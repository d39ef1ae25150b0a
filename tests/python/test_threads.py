"""Any thread may call anything."""

from __future__ import annotations

import gc
import json
import os
import random
import signal
import sys
import threading
import time

import pytest
from support import Factory

import bayplan


@pytest.fixture(autouse=True)
def switch_often():
    """Let threads change places as often as the interpreter can."""
    old = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(old)


def run_together(*works):
    """Run all at once; the first exception of any of them is raised."""
    failures: list[BaseException] = []
    barrier = threading.Barrier(len(works))

    def guarded(work):
        try:
            barrier.wait(30)
            work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive(), "deadlock"
    if failures:
        raise failures[0]


def test_eight_threads_calling_everything(registry):
    shared = [Factory() for _ in range(6)]
    codes: set[str] = set()
    for i, owner in enumerate(shared):
        registry.register(owner, "base", 4, "shared")
        if i:
            registry.add_child(shared[i - 1], owner, "next")

    def worker(seed):
        rng = random.Random(seed)
        own = Factory()

        def step():
            owner = rng.choice([*shared, own])
            name = f"b{rng.randrange(4)}"
            location = rng.choice(["shared", "block", "local", "persistent_local", "auto"])
            rng.choice(
                [
                    lambda: registry.register(owner, name, rng.randrange(9), location),
                    lambda: registry.register(owner, name, rng.randrange(9), location, align=16),
                    lambda: registry.register(owner, "alias", 1, same_as="base"),
                    lambda: registry.unregister(owner, name),
                    lambda: registry.update(owner, {f"{name}_size": rng.randrange(9)}),
                    lambda: registry.update(owner, next_base_location=location),
                    lambda: registry.reset_overrides(owner),
                    lambda: registry.add_child(owner, rng.choice(shared), f"c{rng.randrange(3)}"),
                    lambda: registry.remove_child(owner, f"c{rng.randrange(3)}"),
                    lambda: registry.build_layout(owner).digest,
                    lambda: registry.get_aggregate_size(owner, "shared"),
                    lambda: registry.get_child_aggregate_size(owner, "block"),
                    lambda: registry.invalidate_layout(owner),
                    lambda: registry.layout_version(owner),
                    lambda: registry.entries(owner),
                    lambda: registry.children(owner),
                    lambda: registry.overrides(owner),
                    lambda: registry.dump(owner),
                    lambda: json.loads(registry.dump()),
                    registry.check,
                    lambda: registry.register(Factory(), "dies", 1),
                ]
            )()

        for _ in range(250):
            try:
                step()
            except bayplan.BayplanError as error:
                codes.add(error.code)

    run_together(*(lambda seed=seed: worker(seed) for seed in range(8)))
    assert all(code.startswith("BAY-E1") for code in codes), codes
    registry.check()
    gc.collect()
    assert len(json.loads(registry.dump())["factories"]) == len(shared)
    for owner in shared:
        layout = registry.build_layout(owner)
        registry.invalidate_layout(owner)
        assert registry.build_layout(owner) == layout


def test_planning_a_big_tree_while_others_edit(registry):
    top = Factory()
    leaves = [Factory() for _ in range(300)]
    for i, leaf in enumerate(leaves):
        for j in range(20):
            registry.register(leaf, f"b{j}", j + 1, "shared")
        registry.add_child(top, leaf, f"leaf{i}")
    done = threading.Event()
    heights = []

    def plan():
        try:
            for _ in range(25):
                layout = registry.build_layout(top)
                # Whole snapshots only: every leaf's part is as its own layout says.
                total = sum(c.layout.shared.nbytes for c in layout.children.values())
                assert total == layout.shared.nbytes
                heights.append(total)
        finally:
            done.set()

    def edit(seed):
        rng = random.Random(seed)
        while not done.is_set():
            registry.update(rng.choice(leaves), b0_size=rng.randrange(1, 50))
            time.sleep(0)

    run_together(plan, lambda: edit(1), lambda: edit(2), lambda: edit(3))
    assert len(set(heights)) > 1
    final = registry.build_layout(top)
    assert final.shared.nbytes == sum(
        registry.get_aggregate_bytes(leaf, "shared") for leaf in leaves
    )


def test_snapshot_of_both_or_of_neither(registry):
    """An atomic update of two leaves is never seen by halves."""
    top, left, right = Factory(), Factory(), Factory()
    for leaf, name in ((left, "left"), (right, "right")):
        registry.register(leaf, "x", 1, "shared")
        registry.add_child(top, leaf, name)
    done = threading.Event()

    def edit():
        try:
            for i in range(2000):
                registry.update(top, left_x_size=i % 50 + 1, right_x_size=i % 50 + 1)
        finally:
            done.set()

    def read():
        while not done.is_set():
            layout = registry.build_layout(top)
            sizes = [layout.children[n].layout["x"].size for n in ("left", "right")]
            assert sizes[0] == sizes[1]

    run_together(edit, read, read, read)


def test_layouts_are_read_by_many_threads(registry):
    owner = Factory()
    for i in range(50):
        registry.register(owner, f"b{i}", i, "shared")
    for _ in range(30):
        registry.register(owner, "b0", 1 + registry.layout_version(owner) % 100, "shared")
        layout = registry.build_layout(owner)
        digests = []

        def read(layout=layout, digests=digests):
            digests.append((layout.digest, hash(layout), layout.placements, len(layout.table())))

        run_together(*[read] * 8)
        assert len({d[:2] for d in digests}) == 1
        assert all(d[2] == digests[0][2] for d in digests)


def test_owners_die_in_other_threads(registry):
    parent = Factory()

    def churn(seed):
        for i in range(200):
            child = Factory()
            registry.register(child, "x", 3, "shared")
            registry.add_child(parent, child, f"c{seed}_{i % 5}")
            registry.build_layout(parent)
            del child

    run_together(*(lambda seed=seed: churn(seed) for seed in range(8)))
    gc.collect()
    assert registry.get_aggregate_bytes(parent, "shared") == 0
    assert set(registry.children(parent).values()) == {None}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_fork_while_other_threads_work(registry):
    """A child process never finds a lock that nobody will give back."""
    owners = [Factory() for _ in range(4)]
    for owner in owners:
        for j in range(30):
            registry.register(owner, f"b{j}", 3, "shared")
    done = threading.Event()

    def work(owner):
        i = 0
        while not done.is_set():
            i += 1
            registry.update(owner, b0_size=i % 9)
            registry.build_layout(owner)

    def fork():
        try:
            for _ in range(15):
                pid = os.fork()
                if pid == 0:  # pragma: no cover - the other process
                    signal.alarm(20)
                    status = 1
                    try:
                        registry.register(owners[0], "new", 3, "block")
                        registry.build_layout(owners[0])
                        registry.check()
                        status = 0
                    finally:
                        os._exit(status)
                assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        finally:
            done.set()

    run_together(fork, *(lambda o=o: work(o) for o in owners))


def test_planning_lets_other_threads_run():
    """`plan` gives up the interpreter's lock."""
    import numpy as np

    n = 300_000
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 1000, n)
    first = np.zeros(n, dtype=np.int64)
    last = rng.integers(1, 1000, n)
    ticks = 0
    done = threading.Event()

    def tick():
        nonlocal ticks
        while not done.is_set():
            ticks += 1
            time.sleep(0)

    thread = threading.Thread(target=tick)
    sys.setswitchinterval(1000.0)  # no thread is made to give way
    thread.start()
    before = ticks
    for _ in range(3):
        bayplan.plan(sizes, first, last, mode="packed")
    after = ticks
    done.set()
    thread.join()
    assert after > before
