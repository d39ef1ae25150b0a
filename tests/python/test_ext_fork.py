"""A registry after os.fork: whole, unlocked, and apart from the parent's."""

from __future__ import annotations

import os
import sys
import threading
import traceback

import pytest
from support import Factory

import bayplan

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


def in_child(work) -> int:
    """Run `work` in a forked process; the number of its exceptions."""
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


def make_tree(registry, n):
    """A parent of n children, more than are planned under the GIL."""
    parent = Factory()
    parent.children = [Factory() for _ in range(n)]
    for i, child in enumerate(parent.children):
        registry.register(child, "a", i + 1, "shared")
        registry.add_child(parent, child, f"c{i}")
    return parent


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_child_reads_edits_and_collects(registry):
    parent = make_tree(registry, 20)
    before = registry.build_layout(parent)
    n_before = registry.n_factories

    def work():
        assert registry.build_layout(parent) is before
        registry.update(parent, c3_a_size=100)
        assert registry.get_aggregate_size(parent, "shared") == 210 + 96
        parent.children.clear()
        assert registry.n_factories == 1
        registry.check()

    assert in_child(work) == 0
    assert registry.build_layout(parent) is before
    assert registry.n_factories == n_before


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_fork_while_another_thread_plans():
    """The planning thread is not there in the child; its lock must not be held."""
    registry = bayplan.BufferRegistry()
    parent = make_tree(registry, 400)
    is_over = threading.Event()

    def plan():
        while not is_over.is_set():
            registry.update(parent, c7_a_size=registry.layout_version(parent) % 50 + 1)
            registry.build_layout(parent)

    def work():
        registry.register(parent, "own", 3, "shared")
        assert registry.build_layout(parent)["own"].size == 3
        registry.check()

    thread = threading.Thread(target=plan)
    thread.start()
    try:
        assert [in_child(work) for _ in range(20)] == [0] * 20
    finally:
        is_over.set()
        thread.join()
    registry.check()
