"""The registry beside cubie's buffer_registry: the same work, in the same run.

Every group holds one benchmark called "ours" and, where cubie can do the same, one called
"theirs". `report.py` runs this file and prints ratios and targets. Numbers are per operation:
`extra_info["operations"]` says how many one round does.
"""

from types import SimpleNamespace

import numpy as np
import pytest

import bayplan

SIZES = (10, 100, 1000)
BATCH = 1000


class Owner:
    """A factory as both registries want it."""

    precision = np.float32
    # What cubie's get_allocator reads of its parents.
    compile_settings = SimpleNamespace(unroll=SimpleNamespace(unroll_other_small=(True, None)))


class Ours:
    """bayplan, planning in declaration order as cubie does."""

    name = "ours"

    def __init__(self):
        self.registry = bayplan.BufferRegistry(mode="sequential")

    def register(self, owner, name, size):
        self.registry.register(owner, name, size, "shared")

    def register_call(self, owner, name, size):
        return self.registry.register, (owner, name, size, "shared")

    def size_call(self, owner):
        return self.registry.get_aggregate_size, (owner, "shared")

    def rebuild(self, owner):
        self.registry.invalidate_layout(owner)
        return self.registry.build_layout(owner).shared.size

    def allocator_call(self, owner, name):
        return self.registry.get_allocator, (owner, name)


class Theirs:
    """cubie's registry."""

    name = "theirs"

    def __init__(self):
        module = pytest.importorskip("cubie.buffer_registry", reason="the bench extra brings cubie")
        self.registry = module.BufferRegistry()

    def register(self, owner, name, size):
        self.registry.register(name, owner, size, "shared")

    def register_call(self, owner, name, size):
        return self.registry.register, (name, owner, size, "shared")

    def size_call(self, owner):
        return self.registry.shared_buffer_size, (owner,)

    def rebuild(self, owner):
        self.registry.clear_layout(owner)
        return self.registry.shared_buffer_size(owner)

    def allocator_call(self, owner, name):
        return self.registry.get_allocator, (name, owner)


@pytest.fixture(params=[Ours, Theirs], ids=lambda side: side.name)
def side(request):
    return request.param


def sizes_of(n):
    return [1 + 7 * i % 40 for i in range(n)]


def filled(side, n):
    """A registry with one owner of n shared buffers, and that owner."""
    made, owner = side(), Owner()
    for i, size in enumerate(sizes_of(n)):
        made.register(owner, f"buffer_{i}", size)
    return made, owner


def many(benchmark, call, *arguments, iterations=500):
    """Both sides in rounds of equally many calls, so that the timer's own cost vanishes."""
    return benchmark.pedantic(call, arguments, iterations=iterations, rounds=40, warmup_rounds=1)


def describe(benchmark, operations=1, target_us=None):
    benchmark.extra_info["operations"] = operations
    benchmark.extra_info["target_us"] = target_us


@pytest.mark.benchmark(group="register a new buffer")
def test_register(benchmark, side):
    describe(benchmark, BATCH, 0.5)
    names = [f"buffer_{i}" for i in range(BATCH)]

    def fresh():
        made, owner = side(), Owner()
        call, _ = made.register_call(owner, "first", 1)
        made.register(owner, "first", 1)
        return (call, [made.register_call(owner, name, 8)[1] for name in names], owner), {}

    def work(call, arguments, owner):
        for some in arguments:
            call(*some)

    benchmark.pedantic(work, setup=fresh, rounds=50)


@pytest.mark.benchmark(group="register again, unchanged")
def test_register_unchanged(benchmark, side):
    describe(benchmark, target_us=0.25)
    made, owner = filled(side, 100)
    call, arguments = made.register_call(owner, "buffer_50", sizes_of(100)[50])
    many(benchmark, call, *arguments)


@pytest.mark.parametrize("n", SIZES)
def test_size_query(benchmark, side, n):
    benchmark.group = f"ask an unchanged size, {n} buffers"
    describe(benchmark, target_us=0.1)
    made, owner = filled(side, n)
    call, arguments = made.size_call(owner)
    assert call(*arguments) == sum(sizes_of(n))
    assert many(benchmark, call, *arguments) == sum(sizes_of(n))


@pytest.mark.parametrize("n", SIZES)
def test_rebuild(benchmark, side, n):
    benchmark.group = f"rebuild a layout of {n} buffers"
    describe(benchmark, target_us=10 if n == 100 else None)
    made, owner = filled(side, n)
    assert many(benchmark, made.rebuild, owner, iterations=20) == sum(sizes_of(n))


@pytest.mark.benchmark(group="get an unchanged allocator")
def test_get_allocator(benchmark, side):
    if side is Ours:
        pytest.importorskip("numba.cuda", reason="allocators need numba-cuda")
    describe(benchmark, target_us=0.3)
    made, owner = filled(side, 100)
    call, arguments = made.allocator_call(owner, "buffer_50")
    assert callable(call(*arguments))
    many(benchmark, call, *arguments)


# ---- what cubie has no counterpart for ------------------------------------


class Tree:
    """10^4 factories of 100 buffers, and what their registration costs in resident bytes."""

    def __init__(self, fan_out):
        before = resident_bytes()
        self.registry = bayplan.BufferRegistry(mode="sequential")
        self.owners = [Owner() for _ in range(10_000)]
        names = [f"b{i:02d}" for i in range(100)]
        for i, owner in enumerate(self.owners):
            for name in names:
                self.registry.register(owner, name, 4, "shared")
            if i:
                parent = self.owners[(i - 1) // fan_out]
                self.registry.add_child(parent, owner, f"c{i}")
        self.n_bytes = resident_bytes() - before


def resident_bytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


@pytest.mark.parametrize(("fan_out", "target_us"), [(2, 1000), (100, 1000), (9999, None)])
def test_edit_in_a_large_tree(benchmark, fan_out, target_us):
    benchmark.group = f"edit a leaf of 10^4 x 100, fan-out {fan_out}, read the root"
    describe(benchmark, target_us=target_us)
    tree = Tree(fan_out)
    registry, root, leaf = tree.registry, tree.owners[0], tree.owners[-1]
    assert registry.build_layout(root).shared.nbytes == 10_000 * 100 * 16
    edited = [0]

    def edit_and_read():
        edited[0] += 1
        registry.register(leaf, "b50", 4 + edited[0] % 2, "shared")
        return registry.get_aggregate_bytes(root, "shared")

    benchmark.pedantic(edit_and_read, rounds=50, warmup_rounds=2)


def test_memory_of_a_buffer():
    """Names of three letters take four bytes; owners and their weak references are counted too."""
    per_buffer = Tree(100).n_bytes / 1e6 - 4
    print(f"bytes per buffer beyond its name: {per_buffer:.1f}")
    assert per_buffer <= 100
