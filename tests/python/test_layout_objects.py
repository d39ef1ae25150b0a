"""Layouts as objects: immutable, comparable, picklable, and the same everywhere."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import random
import subprocess
import sys
import weakref

import model
import numpy as np
import pytest
from support import Double, Factory, NewtonSolver, words

import bayplan
from bayplan import BufferKeyError, BufferValueError

RECORD = np.dtype([("a", "u1"), ("b", "f8")], align=True)


def make_tree(registry):
    """A layout with everything in it, and its owners."""
    owner, child, grandchild = NewtonSolver(), Double(), Factory()
    registry.register(owner, "a", 3, "shared")
    registry.register(owner, "b", (2, 3), "shared", dtype="f8", zero=True)
    registry.register(owner, "view", 2, same_as="b")
    registry.register(owner, "c", 5, "local", dtype="i2")
    registry.register(owner, "d", 1, "persistent_local", dtype=RECORD)
    registry.register(owner, "e", 7, "block", align=32)
    registry.register(owner, "none", 0, "shared")
    registry.register(child, "x", 3, "shared")
    registry.register(child, "y", 3, "local")
    registry.register(grandchild, "z", 9, "persistent_local")
    registry.add_child(child, grandchild, "deep")
    registry.add_child(owner, child, "newton")
    registry.add_child(owner, child, "again")
    return owner, child, grandchild


@pytest.fixture
def tree(sequential):
    return make_tree(sequential)


@pytest.fixture
def layout(sequential, tree):
    return sequential.build_layout(tree[0])


# ---- what is in it ---------------------------------------------------------------


def test_by_hand(layout):
    """Offsets and sizes worked out on paper, in declaration order."""
    shared = {p.name: (p.offset, p.nbytes, p.align) for p in layout.shared.placements}
    assert shared == {
        "a": (0, 12, 4),
        "b": (16, 48, 8),
        "view": (16, 8, 8),
        "none": (64, 0, 4),
        "newton_shared": (64, 24, 8),
        "again_shared": (88, 24, 8),
    }
    assert (layout.shared.nbytes, layout.shared.align, layout.shared.size) == (112, 8, 28)
    assert (layout.shared.lower_bound, layout.shared.flat_lower_bound) == (108, 108)
    assert layout.shared.status == "feasible"
    assert (layout.block.nbytes, layout.block.align) == (32, 32)
    assert (layout["d"].offset, layout["d"].nbytes) == (0, 16)
    assert layout["newton_persistent_local"].offset == 16
    assert layout["again_persistent_local"].offset == 52
    assert (layout.persistent_local.nbytes, layout.persistent_local.align) == (88, 8)
    assert layout.local.nbytes == 10 + 24 + 24
    assert layout.local.align == 8
    assert layout.local.status == "optimal"
    assert layout.local.lower_bound == layout.local.flat_lower_bound == 58
    assert all(p.offset == 0 for p in layout.local.placements)


def test_placements_are_records(layout):
    b = layout["b"]
    assert (b.name, b.location, b.offset, b.nbytes) == ("b", "shared", 16, 48)
    assert (b.size, b.shape, b.dtype, b.live) == (6, (2, 3), np.dtype("f8"), None)
    assert (b.keep, b.zero, b.align, b.is_rollup) == (False, True, 8, False)
    assert layout["d"].dtype == RECORD
    assert layout["d"].keep is True
    rollup = layout["newton_shared"]
    assert (rollup.size, rollup.shape, rollup.dtype) == (6, (6,), np.dtype("f4"))
    assert rollup.is_rollup is True
    assert [p.name for p in layout.placements] == [
        "a", "b", "view", "c", "d", "e", "none",
        "newton_shared", "newton_block", "newton_persistent_local",
        "again_shared", "again_block", "again_persistent_local",
    ]  # fmt: skip
    with pytest.raises(AttributeError):
        b.offset = 0
    assert isinstance(layout.placements, tuple)


def test_regions_list_their_own_placements(layout):
    names = [p.name for loc in ("shared", "block", "local", "persistent_local")
             for p in getattr(layout, loc).placements]  # fmt: skip
    assert sorted(names) == sorted(p.name for p in layout.placements)


def test_name_and_precision(sequential, tree, layout):
    assert layout.name == "NewtonSolver"
    assert layout.precision == np.dtype("f4")
    assert isinstance(layout.precision, np.dtype)
    assert sequential.build_layout(tree[1]).precision == np.dtype("f8")


def test_children_are_a_read_only_mapping(sequential, tree, layout):
    assert list(layout.children) == ["newton", "again"]
    part = layout.children["newton"]
    assert (part.name, part.shared, part.block, part.persistent_local) == ("newton", 64, 28, 16)
    assert part.layout is sequential.build_layout(tree[1])
    assert part.layout.children["deep"].layout["z"].size == 9
    with pytest.raises(TypeError):
        layout.children["x"] = part
    with pytest.raises(KeyError):
        layout.children["nothing"]


def test_unknown_name(layout):
    with pytest.raises(BufferKeyError) as info:
        layout["bb"]
    words(str(info.value), "NewtonSolver", "'bb'", "a, b, view")
    assert (info.value.code, info.value.buffer) == ("BAY-E100", "bb")
    for bad in (3, None, b"a", ("a",)):
        with pytest.raises(BufferValueError, match="must be a str"):
            layout[bad]


def test_empty_layout():
    layout = bayplan.BufferRegistry().build_layout(Factory())
    for location in ("shared", "block", "local", "persistent_local"):
        region = getattr(layout, location)
        assert (region.nbytes, region.size, region.align, region.placements) == (0, 0, 1, ())
        assert (region.lower_bound, region.flat_lower_bound, region.status) == (0, 0, "optimal")
    assert dict(layout.children) == {}
    assert layout.placements == ()
    assert layout.version == 0


# ---- slices and tables --------------------------------------------------------------


def test_slices_are_in_elements_of_the_precision(sequential):
    owner = Factory()
    sequential.register(owner, "a", 3, "shared")
    sequential.register(owner, "b", (2, 3), "shared", dtype="f8")
    sequential.register(owner, "p", 2, "persistent_local")
    sequential.register(owner, "q", 2, "persistent_local", dtype="f8")
    sequential.register(owner, "n", 0, "shared")
    sequential.register(owner, "l", (2, 2), "local")
    sequential.register(owner, "m", 5, "local", dtype="u1")
    layout = sequential.build_layout(owner)
    assert dict(layout.shared_slices) == {
        "a": slice(0, 3),
        "b": slice(4, 16),
        "n": slice(16, 16),
        "child_shared": slice(0, 0),
    }
    assert dict(layout.persistent_local_slices) == {
        "p": slice(0, 2),
        "q": slice(2, 6),
        "child_persistent_local": slice(0, 0),
    }
    assert dict(layout.local_sizes) == {"l": 4, "m": 5}
    arena = np.zeros(layout.shared.size, dtype=layout.precision)
    arena[layout.shared_slices["b"]] = 1
    assert arena.sum() == 12


def test_slices_that_do_not_divide_evenly_say_so(sequential):
    owner = NewtonSolver()
    sequential.register(owner, "a", 3, "shared", dtype="u1")
    sequential.register(owner, "b", 4, "shared")
    layout = sequential.build_layout(owner)
    with pytest.raises(BufferValueError) as info:
        layout.shared_slices["a"]
    assert info.value.code == "BAY-E123"
    assert info.value.buffer == "a"
    words(str(info.value), "'a'", "bytes", 3, 4)
    assert layout["b"].offset == 4


def test_table(layout):
    table = layout.table()
    assert table.dtype.names == (
        "name", "location", "offset", "nbytes", "size", "dtype", "first", "last",
    )  # fmt: skip
    assert len(table) == len(layout.placements)
    for row, p in zip(table, layout.placements, strict=True):
        assert (row["name"], row["location"]) == (p.name, p.location)
        assert (row["offset"], row["nbytes"], row["size"]) == (p.offset, p.nbytes, p.size)
        assert str(row["dtype"])
    assert table["nbytes"].sum() == sum(p.nbytes for p in layout.placements)
    again = layout.table()
    assert not np.shares_memory(table, again) or not table.flags.writeable
    assert (again == table).all()


def test_table_with_names_beyond_ascii(sequential):
    owner = Factory()
    sequential.register(owner, "größe", 3, "shared")
    sequential.register(owner, "n" * 255, 3, "shared")
    assert list(sequential.build_layout(owner).table()["name"]) == ["größe", "n" * 255]
    assert len(bayplan.BufferRegistry().build_layout(owner).table()) == 0


def test_hazards_are_none_where_nothing_is_shared_in_time(layout):
    assert layout.hazards() == ()
    assert layout.hazards(lanes_per_run=4) == ()


# ---- immutability, identity ------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["name", "precision", "version", "digest", "shared", "placements", "children", "local_sizes"],
)
def test_layout_is_immutable(layout, name):
    value = getattr(layout, name)
    with pytest.raises(AttributeError):
        setattr(layout, name, 3)
    with pytest.raises(AttributeError):
        delattr(layout, name)
    assert getattr(layout, name) == value
    with pytest.raises(TypeError):
        layout["a"] = 3
    with pytest.raises(AttributeError):
        layout.shared.nbytes = 3


def test_layout_cannot_be_made_by_hand():
    with pytest.raises(TypeError):
        bayplan.Layout()
    with pytest.raises(TypeError):
        bayplan.BoundLayout()


def test_layouts_are_of_the_public_classes(layout):
    assert type(layout) is bayplan.Layout
    assert type(layout.children["newton"].layout) is bayplan.Layout
    assert type(layout.bind()) is bayplan.BoundLayout
    assert type(pickle.loads(pickle.dumps(layout))) is bayplan.Layout


def test_digest_is_32_hex_digits(layout):
    assert len(layout.digest) == 32
    assert set(layout.digest) <= set("0123456789abcdef")


def test_equality_is_by_what_kernels_see(sequential, tree, layout):
    other = bayplan.BufferRegistry(mode="packed")
    a, b = Factory(), NewtonSolver()
    other.register(a, "x", 3, "shared", uses=2.0)
    sequential.register(b, "x", 3, "shared")
    one, two = other.build_layout(a), sequential.build_layout(b)
    assert one == two
    assert not one != two
    assert hash(one) == hash(two)
    assert one.digest == two.digest
    assert one.name != two.name
    assert one != layout
    assert one != 3
    assert (one == "x") is False
    assert len({one, two, layout}) == 2
    with pytest.raises(TypeError):
        one < two  # noqa: B015


@pytest.mark.parametrize(
    "change",
    [
        {"name": "y"},
        {"size": 4},
        {"size": (3, 1)},
        {"location": "block"},
        {"location": "local"},
        {"dtype": "i4"},
        {"dtype": "V4"},
        {"align": 8},
        {"zero": True},
        {"precision": "f8", "dtype": "f4"},
    ],
)
def test_digest_differs_where_kernels_would(registry, change):
    def digest(precision="f4", name="x", size=3, location="shared", **said):
        owner = Factory()
        owner.precision = precision
        registry.register(owner, name, size, location, **said)
        return registry.build_layout(owner).digest

    assert digest() == digest()
    assert digest(**change) != digest()


def test_digest_tells_when_zeroing_happens(registry):
    """Kept buffers are zeroed by root(), scratch by views(): another kernel."""
    digests = set()
    for keep in (True, False):
        owner = Factory()
        registry.register(owner, "x", 3, "shared", zero=True, keep=keep)
        digests.add(registry.build_layout(owner).digest)
    assert len(digests) == 2


def test_digest_sees_a_childs_inside(registry):
    digests = set()
    for name in ("x", "y"):
        owner, child = Factory(), Factory()
        registry.register(child, name, 3, "shared")
        registry.add_child(owner, child)
        digests.add(registry.build_layout(owner).digest)
    assert len(digests) == 2


def test_digest_is_blind_to_type_and_registry(registry):
    digests = set()
    for kind in (Factory, NewtonSolver):
        for home in (registry, bayplan.BufferRegistry()):
            digests.add(home.build_layout(make_tree(home)[0]).digest)
            owner = kind()
            home.register(owner, "x", 3)
            digests.add(home.build_layout(owner).digest)
    assert len(digests) == 2


# ---- history leaves no trace -------------------------------------------------------------


def wander(registry, owner, child, names, rng):
    """One random edit or read that later declarations will undo."""
    name = rng.choice(names)
    rng.choice(
        [
            lambda: registry.register(owner, name, rng.randrange(50), "block"),
            lambda: registry.update(owner, {f"{name}_size": 7}),
            lambda: registry.update(owner, {f"{name}_location": "shared"}),
            lambda: registry.build_layout(owner),
            lambda: registry.invalidate_layout(owner),
            lambda: registry.register(child, name, 5, "shared"),
        ]
    )()


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("mode", ["auto", "sequential", "packed"])
def test_same_declarations_by_random_histories(seed, mode):
    """Wander about at random, then declare the same thing: the same digest."""
    rng = random.Random(seed)
    declared = [
        (f"b{i}", rng.randrange(9), rng.choice(["shared", "block", "local"]), rng.choice([1, 16]))
        for i in range(6)
    ]
    digests, packs = set(), set()
    for n_steps in (0, 3, 20):
        registry = bayplan.BufferRegistry(mode=mode)
        owner, child = Factory(), Factory()
        registry.register(owner, "gone", 1)
        registry.add_child(owner, child, "gone_too")
        # Positions are declarations: these keep theirs from now on.
        for name, size, location, align in declared:
            registry.register(owner, name, size, location, align=align)
        for _ in range(n_steps):
            wander(registry, owner, child, [d[0] for d in declared], rng)
        registry.unregister(owner, "gone")
        registry.remove_child(owner, "gone_too")
        if n_steps:
            registry.register(child, "x", 1)
            registry.unregister_all(child)
        registry.reset_overrides(owner)
        for name, size, location, align in rng.sample(declared, len(declared)):
            registry.register(owner, name, size, location, align=align)
        registry.register(child, "x", 3, "shared")
        registry.add_child(owner, child)
        layout = registry.build_layout(owner)
        digests.add(layout.digest)
        packs.add(pickle.dumps(layout))
        registry.check()
    assert len(digests) == 1
    assert len(packs) == 1


@pytest.mark.parametrize(
    ("own", "below"),
    [
        ([(7, 1)], [(1, 8), (1, 8)]),
        ([], [(1, 8), (1, 8)]),
        ([(9, 8)], [(9, 8), (3, 4)]),
        ([(1, 1), (1, 1)], [(4, 16), (4, 16)]),
        ([(4, 4)], [(8, 8)]),
    ],
)
def test_flat_lower_bound_is_no_more_than_a_flat_plan_needs(own, below):
    """Nothing that a plan of the flattened tree can reach may be ruled out."""
    registry = bayplan.BufferRegistry()
    owner, child = Factory(), Factory()
    for who, declared in ((owner, own), (child, below)):
        for i, (size, align) in enumerate(declared):
            registry.register(who, f"b{i}", size, "shared", dtype="u1", align=align)
    registry.add_child(owner, child)
    sizes, aligns = zip(*own, *below, strict=True)
    best = model.optimum(sizes, aligns, [0] * len(sizes), [1] * len(sizes))
    region = registry.build_layout(owner).shared
    assert sum(sizes) <= region.flat_lower_bound <= best
    assert region.flat_lower_bound <= region.lower_bound <= region.nbytes


# ---- versions -------------------------------------------------------------------------------


def test_an_edit_that_leaves_the_bytes_keeps_version_and_object(sequential):
    owner, child = Factory(), Factory()
    sequential.register(owner, "a", 3, "shared")
    sequential.register(child, "x", 3, "shared")
    sequential.add_child(owner, child)
    layout = sequential.build_layout(owner)
    sequential.register(owner, "a", 3, "shared", uses=5.0)
    assert sequential.layout_version(owner) > layout.version
    assert sequential.build_layout(owner) is layout
    sequential.update(child, x_size=4)
    sequential.update(child, x_size=3)
    assert sequential.build_layout(owner) is layout
    assert sequential.build_layout(child) is layout.children["child"].layout


def test_local_edit_of_a_child_is_seen_in_the_parents_digest(sequential):
    owner, child = Factory(), Factory()
    sequential.register(child, "x", 3, "local")
    sequential.add_child(owner, child)
    layout = sequential.build_layout(owner)
    sequential.update(child, x_size=4)
    again = sequential.build_layout(owner)
    assert again.digest != layout.digest
    assert again.version > layout.version
    assert (again.local.nbytes, layout.local.nbytes) == (16, 12)


def test_old_layouts_stay_as_they_were(sequential, tree, layout):
    packed, digest = pickle.dumps(layout), layout.digest
    sequential.update(tree[0], a_size=100, newton_x_size=50)
    sequential.unregister_all(tree[1])
    sequential.build_layout(tree[0])
    assert (pickle.dumps(layout), layout.digest) == (packed, digest)
    assert layout["a"].size == 3


# ---- pickles --------------------------------------------------------------------------------


def test_pickle_keeps_what_kernels_see_and_drops_the_report(layout):
    again = pickle.loads(pickle.dumps(layout))
    assert again == layout
    assert hash(again) == hash(layout)
    assert again.digest == layout.digest
    assert again is not layout
    assert again.placements == layout.placements
    assert list(again.children) == list(layout.children)
    assert again.children["newton"].layout == layout.children["newton"].layout
    assert again.children["newton"][2:] == layout.children["newton"][2:]
    for location in ("shared", "block", "local", "persistent_local"):
        old, new = getattr(layout, location), getattr(again, location)
        assert (new.nbytes, new.size, new.align) == (old.nbytes, old.size, old.align)
        assert (new.lower_bound, new.flat_lower_bound, new.status) == (None, None, None)
    assert again.version is None or again.version == 0
    assert again.name is None
    assert again.bind().digest == layout.bind().digest
    assert again["child_persistent_local" if not layout.children else "a"].size == layout["a"].size


def test_pickle_is_one_canonical_block_of_bytes(layout):
    function, (data,) = layout.__reduce__()
    assert function is bayplan._core.unpack_layout
    assert type(data) is bytes
    assert pickle.loads(pickle.dumps(layout)).__reduce__()[1] == (data,)
    assert copy.copy(layout) == layout
    assert copy.deepcopy(layout) == layout


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_in_every_protocol(layout, protocol):
    assert pickle.loads(pickle.dumps(layout, protocol)) == layout


SCRIPT = """
import pickle, sys
sys.path.insert(0, sys.argv[1])
import bayplan
from test_layout_objects import make_tree
registry = bayplan.BufferRegistry(mode="sequential")
junk = [object() for _ in range(int(sys.argv[2]))]
owners = make_tree(registry)
layout = registry.build_layout(owners[0])
sent = pickle.loads(sys.stdin.buffer.read())
assert sent == layout and hash(sent) == hash(layout)
sys.stdout.buffer.write(pickle.dumps((layout.digest, layout.bind().digest, hash(layout),
    layout.__reduce__()[1][0], sent.__reduce__()[1][0])))
"""


@pytest.mark.parametrize("hash_seed", ["0", "1", "4711"])
def test_another_process_with_another_hash_seed_agrees(layout, hash_seed):
    here = os.path.dirname(os.path.abspath(__file__))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, here, str(int(hash_seed) % 97)],
        input=pickle.dumps(layout),
        capture_output=True,
        timeout=120,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
    )
    assert done.returncode == 0, done.stderr.decode()
    digest, bound, hashed, made, sent = pickle.loads(done.stdout)
    assert (digest, bound) == (layout.digest, layout.bind().digest)
    assert hashed == hash(layout)
    assert made == sent == layout.__reduce__()[1][0]


def test_damaged_bytes_are_refused(layout):
    function, (data,) = layout.__reduce__()
    rng = random.Random(3)
    codes = set()
    wrong = [b"", data[:-1], data + b"\0", data[: len(data) // 2], b"\0" * len(data)]
    for _ in range(300):
        damaged = bytearray(data)
        damaged[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        wrong.append(bytes(damaged))
    for damaged in wrong:
        try:
            made = function(damaged)
        except BufferValueError as error:
            codes.add(error.code)
            continue
        # A flipped bit may say another, lawful layout: then it says just that.
        assert made != layout
        assert made.__reduce__()[1] == (damaged,)
    assert codes == {"BAY-E124"}
    for kind in ("text", 3, None):
        with pytest.raises(BufferValueError, match="must be bytes"):
            function(kind)


# ---- weak references, caches, garbage ----------------------------------------------------------


def test_layouts_can_be_referred_to_weakly(sequential):
    owner = Factory()
    sequential.register(owner, "a", 3)
    seen = weakref.ref(sequential.build_layout(owner))
    assert seen() is sequential.build_layout(owner)
    sequential.register(owner, "a", 4)
    sequential.build_layout(owner)
    gc.collect()
    assert seen() is None


def test_caches_of_a_layout_live_as_long_as_its_bytes(sequential):
    owner = Factory()
    sequential.register(owner, "a", 3)
    layout = sequential.build_layout(owner)
    layout.__dict__["cache"] = 3
    del layout
    gc.collect()
    assert sequential.build_layout(owner).__dict__["cache"] == 3


def test_repr_says_what_it_is(layout):
    words(repr(layout), "Layout", "NewtonSolver")
    words(repr(layout.bind()), "BoundLayout")
