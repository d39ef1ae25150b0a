"""Owners are held weakly: none leaks, none is mistaken for another."""

from __future__ import annotations

import gc
import json
import os
import pickle
import sys
import weakref

import numpy as np
import pytest
from support import Factory, NoWeakref, Slotted, Unhashable

import bayplan

N = 100_000


def resident_bytes() -> int:
    """What this process holds in memory now."""
    with open("/proc/self/statm", encoding="ascii") as stream:
        return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def n_factories(registry: bayplan.BufferRegistry) -> int:
    return len(json.loads(registry.dump())["factories"])


needs_proc = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="reads /proc/self/statm"
)


@needs_proc
def test_many_factories_created_and_dropped(registry):
    def churn(n):
        for _ in range(n):
            owner = Factory()
            registry.register(owner, "a", 3, "shared")
            registry.register(owner, "b", (2, 2), dtype="f8")

    churn(N // 10)
    gc.collect()
    before, objects = resident_bytes(), len(gc.get_objects())
    churn(N)
    gc.collect()
    assert n_factories(registry) == 0
    assert len(gc.get_objects()) - objects < 100
    assert resident_bytes() - before < 4 << 20


@needs_proc
def test_many_trees_with_reference_cycles_created_and_dropped(registry):
    """Parent and child hold each other strongly; only the collector frees them."""

    def churn(n):
        for i in range(n):
            parent, child = Factory(), Factory()
            parent.child, child.parent = child, parent
            registry.register(child, "a", 3, "shared")
            registry.add_child(parent, child)
            if i % 16 == 0:
                assert registry.get_aggregate_bytes(parent, "shared") == 12

    churn(N // 20)
    gc.collect()
    before, objects = resident_bytes(), len(gc.get_objects())
    churn(N // 2)
    gc.collect()
    assert n_factories(registry) == 0
    assert len(gc.get_objects()) - objects < 100
    assert resident_bytes() - before < 16 << 20


@needs_proc
def test_layouts_and_errors_do_not_leak(registry):
    owner, child = Factory(), Factory()
    registry.register(child, "a", 3, "shared")
    registry.register(owner, "b", 3)
    registry.add_child(owner, child)

    def churn(n):
        for i in range(n):
            registry.update(owner, child_a_size=i % 7 + 1)
            layout = registry.build_layout(owner)
            layout.digest, layout.placements, layout["b"], layout.children, layout.bind().digest
            registry.entries(owner), registry.children(owner), registry.overrides(owner)
            with pytest.raises(bayplan.BufferKeyError):
                layout["nope"]
            with pytest.raises(bayplan.BufferValueError):
                registry.update(owner, b_size=-1)

    churn(500)
    gc.collect()
    before, objects = resident_bytes(), len(gc.get_objects())
    churn(5000)
    gc.collect()
    assert len(gc.get_objects()) - objects < 100
    assert resident_bytes() - before < 4 << 20


@needs_proc
def test_phases_and_hazards_do_not_leak(registry):
    owner, child = Factory(), Factory()
    registry.register(child, "a", 3, "shared")

    def churn(n):
        for i in range(n):
            registry.phases(owner)
            registry.phases(owner, "p", "q", f"r{i % 5}")
            registry.loop(owner, "p", "q")
            registry.register(owner, "b", 3, "shared", live="p", carried=True)
            registry.register(owner, "c", 3, "shared", live=f"r{i % 5}")
            registry.add_child(owner, child, live="q")
            layout = registry.build_layout(owner)
            layout.phases, layout.loops, layout.hazards(4), layout.table(), layout.children
            pickle.loads(pickle.dumps(layout)).hazards()
            for live in ("nope", ("q", "p"), 3, ("q", 3)):
                with pytest.raises(bayplan.BayplanError):
                    registry.register(owner, "d", 1, live=live)
            with pytest.raises(bayplan.BufferKeyError):
                registry.phases(owner, "p", "q")
            registry.unregister_all(owner)
            registry.remove_child(owner, "child")

    churn(300)
    gc.collect()
    before, objects = resident_bytes(), len(gc.get_objects())
    churn(3000)
    gc.collect()
    assert len(gc.get_objects()) - objects < 100
    assert resident_bytes() - before < 4 << 20


@needs_proc
def test_registries_do_not_leak():
    owner = Factory()

    def churn(n):
        for _ in range(n):
            registry = bayplan.BufferRegistry()
            registry.register(owner, "a", 3, "shared")
            registry.mine = registry if hasattr(registry, "__dict__") else None
            registry.build_layout(owner)

    churn(500)
    gc.collect()
    before, objects = resident_bytes(), len(gc.get_objects())
    churn(5000)
    gc.collect()
    assert len(gc.get_objects()) - objects < 100
    assert resident_bytes() - before < 4 << 20
    assert weakref.getweakrefcount(owner) <= 1


def test_registry_holds_no_strong_reference(registry):
    owner = Factory()
    count = sys.getrefcount(owner)
    registry.register(owner, "a", 3, "shared")
    layout = registry.build_layout(owner)
    registry.entries(owner)
    registry.add_child(Factory(), owner)
    assert sys.getrefcount(owner) == count
    seen = weakref.ref(owner)
    del owner
    assert seen() is None
    assert n_factories(registry) == 0
    assert layout["a"].size == 3


def test_unhashable_owners_that_compare_equal_stay_apart(registry):
    owners = [Unhashable() for _ in range(50)]
    for i, owner in enumerate(owners):
        registry.register(owner, "a", i, "shared")
    assert [registry.get_aggregate_size(o, "shared") for o in owners] == list(range(50))
    del owners[10:20], owner
    assert n_factories(registry) == 40
    registry.check()
    assert [registry.get_aggregate_size(o, "shared") for o in owners] == [
        *range(10),
        *range(20, 50),
    ]


def test_equality_and_hash_of_owners_are_never_asked(registry):
    class Touchy:
        def __eq__(self, other):
            raise AssertionError("compared")

        def __hash__(self):
            raise AssertionError("hashed")

        def __bool__(self):
            raise AssertionError("asked for its truth")

    parent, child = Touchy(), Touchy()
    registry.register(parent, "a", 1)
    registry.register(child, "a", 2, "shared")
    registry.add_child(parent, child)
    assert registry.children(parent)["child"] is child
    assert registry.get_aggregate_size(parent, "shared") == 2
    assert registry.get_child_aggregate_size(child, "shared") == 2
    registry.unregister_all(child)
    del parent, child
    assert n_factories(registry) == 0


def test_slotted_owners(registry):
    owner = Slotted(np.float64)
    registry.register(owner, "a", 3, "shared")
    assert registry.build_layout(owner)["a"].dtype == np.dtype("f8")
    del owner
    assert n_factories(registry) == 0
    with pytest.raises(TypeError, match="weak"):
        registry.register(NoWeakref(), "a", 1)
    assert n_factories(registry) == 0


def test_functions_classes_and_modules_can_own(registry):
    def function():
        pass

    for owner in (function, Factory, sys):
        registry.register(owner, "a", 3, "shared")
        assert registry.get_aggregate_size(owner, "shared") == 3
        registry.unregister_all(owner)


def test_a_new_owner_at_the_same_address_is_another_factory(registry):
    reused = False
    old_ids = set()
    for i in range(2000):
        owner = Factory()
        assert registry.layout_version(owner) == 0
        assert registry.entries(owner) == ()
        registry.register(owner, f"a{i}", i)
        reused |= id(owner) in old_ids
        old_ids.add(id(owner))
    assert reused


def test_owner_that_dies_while_its_precision_is_read(registry):
    class Parent(Factory):
        pass

    class Vanishing(Factory):
        @property
        def precision(self):
            victims.clear()
            gc.collect()
            return np.float64

    victims = [Factory()]
    registry.register(victims[0], "x", 3, "shared")
    parent = Parent()
    registry.add_child(parent, victims[0], "victim")
    registry.register(Vanishing(), "a", 1)
    assert registry.children(parent) == {"victim": None}
    owner = Vanishing()
    registry.register(owner, "a", 1)
    assert registry.build_layout(owner).precision == np.dtype("f8")
    assert n_factories(registry) == 2


def test_owner_dropped_inside_a_call_that_converts_its_arguments(registry):
    holder = [Factory()]
    registry.register(holder[0], "a", 3)

    class Dropping:
        def __index__(self):
            holder.clear()
            gc.collect()
            return 3

    with pytest.raises((bayplan.BufferValueError, TypeError)):
        registry.register(holder[0], "b", Dropping())
    registry.check()

    class Mapping(dict):
        def items(self):
            holder.clear()
            gc.collect()
            return super().items()

    holder.append(Factory())
    registry.register(holder[0], "a", 3)
    registry.update(holder[0], Mapping(a_size=5))
    registry.check()
    assert n_factories(registry) <= 1


def test_owner_may_edit_the_registry_while_it_dies(registry):
    other = Factory()

    class Restless(Factory):
        def __del__(self):
            registry.register(other, "from_the_grave", 1, "shared")
            registry.build_layout(other)
            try:
                registry.register(self, "late", 1)
            except Exception as error:
                said.append(type(error))

    said: list[type] = []
    owner = Restless()
    registry.register(owner, "a", 1)
    del owner
    gc.collect()
    assert registry.get_aggregate_size(other, "shared") == 1
    registry.check()
    assert n_factories(registry) == 1


def test_resurrected_owner_is_alive_or_gone_but_never_another(registry):
    """A weak reference is cleared before ``__del__`` brings the owner back."""
    grave: list[Factory] = []

    class Lazarus(Factory):
        def __del__(self):
            grave.append(self)

    parent = Factory()
    owner = Lazarus()
    registry.register(owner, "a", 3, "shared")
    registry.add_child(parent, owner)
    del owner
    gc.collect()
    (back,) = grave
    registry.check()
    listed = registry.children(parent)["child"]
    assert listed in (None, back)
    size = registry.get_aggregate_size(back, "shared")
    assert size == (0 if listed is None else 3)
    assert registry.get_aggregate_size(parent, "shared") == size
    registry.register(back, "b", 2, "block")
    assert registry.get_aggregate_size(back, "block") == 2
    registry.check()
    Lazarus.__del__ = lambda self: None


def test_callbacks_of_other_weak_references_see_a_sound_registry(registry):
    seen = []
    parent = Factory()

    def look(_):
        registry.check()
        registry.build_layout(parent)
        seen.append(n_factories(registry))

    for made_before in (True, False):
        owner = Factory()
        if made_before:
            ref = weakref.ref(owner, look)
        registry.register(owner, "a", 3, "shared")
        registry.add_child(parent, owner)
        if not made_before:
            ref = weakref.ref(owner, look)
        assert registry.get_aggregate_size(parent, "shared") == 3
        del owner
        assert ref() is None
        assert registry.get_aggregate_size(parent, "shared") == 0
        assert n_factories(registry) == 1
    assert len(seen) == 2
    assert set(seen) <= {1, 2}


def test_a_callback_called_by_hand_closes_no_wrong_factory(registry):
    """Python hands out every weak reference, with its callback."""
    owner, other = Factory(), Factory()
    registry.register(owner, "a", 3, "shared")
    registry.register(other, "b", 3, "shared")
    (ref,) = weakref.getweakrefs(owner)
    for _ in range(3):
        ref.__callback__(ref)
        ref.__callback__(weakref.ref(other))
        ref.__callback__(None)
        registry.check()
    assert registry.get_aggregate_size(other, "shared") == 3
    registry.register(owner, "c", 2, "shared")
    assert registry.get_aggregate_size(owner, "shared") in (2, 5)
    registry.check()


def test_a_registry_may_own_buffers_itself(registry):
    child = Factory()
    registry.register(registry, "a", 3, "shared")
    registry.register(child, "b", 4, "shared")
    registry.add_child(registry, child)
    assert registry.get_aggregate_size(registry, "shared") == 7
    home = bayplan.BufferRegistry()
    home.register(home, "a", 1)
    gone = weakref.ref(home)
    del home
    gc.collect()
    assert gone() is None


def test_dying_parent_leaves_the_child_alone(registry):
    parent, child = Factory(), Factory()
    registry.register(child, "a", 3, "shared")
    registry.add_child(parent, child)
    layout = registry.build_layout(parent)
    del parent
    assert n_factories(registry) == 1
    registry.update(child, a_size=4)
    assert registry.get_aggregate_size(child, "shared") == 4
    assert layout.children["child"].layout["a"].size == 3
    registry.check()


def test_layouts_outlive_owners_and_registry():
    registry = bayplan.BufferRegistry()
    owner, child = Factory(), Factory()
    registry.register(child, "a", 3, "shared")
    registry.add_child(owner, child)
    layout = registry.build_layout(owner)
    digest = layout.digest
    del registry, owner, child
    gc.collect()
    assert layout.children["child"].layout["a"].nbytes == 12
    assert layout.digest == digest
    assert layout.bind().dynamic_shared_bytes(2) == 24


def test_owner_that_outlives_its_registry():
    owner = Factory()
    registry = bayplan.BufferRegistry()
    registry.register(owner, "a", 3)
    gone = weakref.ref(registry)
    del registry
    gc.collect()
    assert gone() is None
    del owner
    gc.collect()


def test_registry_that_its_owner_holds_is_collected():
    """owner -> registry is the usual way round (CUDAFactory's `registry=`)."""
    owner = Factory()
    owner.registry = bayplan.BufferRegistry()
    owner.registry.register(owner, "a", 3)
    gone = weakref.ref(owner.registry)
    owner.me = owner
    del owner
    gc.collect()
    assert gone() is None


def test_module_survives_being_dropped_at_exit(tmp_path):
    """Owners that die in interpreter shutdown, in any order."""
    import subprocess

    script = tmp_path / "script.py"
    script.write_text(
        "import bayplan, sys\n"
        "class F: pass\n"
        "keep = [F() for _ in range(50)]\n"
        "for o in keep:\n"
        "    bayplan.buffer_registry.register(o, 'a', 3, 'shared')\n"
        "    o.layout = bayplan.buffer_registry.build_layout(o)\n"
        "    o.me = o\n"
        "    sys.keep = keep\n"
        "other = bayplan.BufferRegistry()\n"
        "other.register(other, 'self', 1)\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
