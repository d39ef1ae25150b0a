"""CUDAFactory and BufferOwner: settings, routing of keys, lazy rebuilds."""

from __future__ import annotations

import dataclasses
import gc
import weakref
from typing import Any, NamedTuple

import numpy as np
import pytest

import bayplan
from bayplan import BufferOwner, CUDAFactory


@dataclasses.dataclass(frozen=True)
class Settings:
    tolerance: float = 1e-3
    max_steps: int = 10

    def __post_init__(self) -> None:
        if self.max_steps < 1:
            raise ValueError(f"max_steps must be at least 1, got {self.max_steps}")


class Counting(CUDAFactory):
    """Builds a tuple that tells what it was built from, and counts its builds."""

    def __init__(self, **kw: Any) -> None:
        super().__init__(**kw)
        self.n_builds = 0

    def build(self) -> Any:
        self.n_builds += 1
        return (type(self).__name__, self.buffers.digest, self.n_builds)


class Solver(Counting):
    def __init__(self, n: int = 3, **kw: Any) -> None:
        super().__init__(**kw)
        self.register_buffer("residual", n, "shared")
        self.register_buffer("delta", n, "local")
        self.setup_compile_settings(Settings())


class Step(Counting):
    def __init__(self, solver: Any, **kw: Any) -> None:
        super().__init__(**kw)
        self.solver = solver
        self.register_buffer("state", 4, "shared")
        self.register_child(solver, "newton")

    def build(self) -> Any:
        return (*super().build(), self.solver.device_function)


@pytest.fixture
def registry() -> bayplan.BufferRegistry:
    return bayplan.BufferRegistry(mode="sequential")


@pytest.fixture
def tree(registry: bayplan.BufferRegistry) -> tuple[Step, Solver]:
    solver = Solver(registry=registry)
    return Step(solver, registry=registry), solver


def test_the_product_is_built_once_and_cached(tree: tuple[Step, Solver]) -> None:
    step, solver = tree
    first = step.device_function
    assert step.device_function is first
    assert (step.n_builds, solver.n_builds) == (1, 1)


def test_an_edit_below_rebuilds_the_parent_when_it_is_read(tree: tuple[Step, Solver]) -> None:
    step, solver = tree
    first = step.device_function
    solver.register_buffer("residual", 7, "shared")
    assert (step.n_builds, solver.n_builds) == (1, 1), "nothing is built before it is read"
    assert step.device_function is not first
    assert (step.n_builds, solver.n_builds) == (2, 2)
    assert step.buffers.shared.nbytes == (4 + 7) * 4


def test_a_setting_of_a_child_rebuilds_child_and_parent(tree: tuple[Step, Solver]) -> None:
    step, solver = tree
    _ = step.device_function
    assert solver.update_compile_settings(tolerance=1e-6) == {"tolerance"}
    assert solver.compile_settings.tolerance == 1e-6
    _ = step.device_function
    assert (step.n_builds, solver.n_builds) == (2, 2)


def test_an_update_that_leaves_the_digest_equal_rebuilds_nothing(
    tree: tuple[Step, Solver],
) -> None:
    step, solver = tree
    _ = step.device_function
    step.update_compile_settings(newton_delta_location="shared")
    step.update_compile_settings(newton_delta_location="local")
    solver.update_compile_settings(tolerance=1e-3, residual_size=3)
    _ = step.device_function
    assert (step.n_builds, solver.n_builds) == (1, 1)


def test_location_keys_reach_down_the_tree(tree: tuple[Step, Solver]) -> None:
    step, solver = tree
    taken = step.update_compile_settings({"newton_delta_location": "shared"}, state_size=5)
    assert taken == {"newton_delta_location", "state_size"}
    assert solver.buffers["delta"].location == "shared"
    assert step.buffers["state"].shape == (5,)


def test_unknown_keys_raise_and_change_nothing(tree: tuple[Step, Solver]) -> None:
    step, solver = tree
    before = step.registry.dump()
    with pytest.raises(bayplan.BufferKeyError, match=r"Solver .*'tolerence'.*'tolerance'"):
        solver.update_compile_settings(tolerence=1.0, delta_location="shared")
    assert step.registry.dump() == before
    assert solver.compile_settings == Settings()
    taken = solver.update_compile_settings(tolerence=1.0, delta_location="shared", silent=True)
    assert taken == {"delta_location"}


def test_a_setting_that_the_dataclass_refuses_changes_no_buffer(
    tree: tuple[Step, Solver],
) -> None:
    _, solver = tree
    before = solver.registry.dump()
    with pytest.raises(ValueError, match="max_steps must be at least 1, got 0"):
        solver.update_compile_settings(max_steps=0, delta_location="shared")
    assert solver.registry.dump() == before


def test_a_value_that_the_registry_refuses_changes_no_setting(
    tree: tuple[Step, Solver],
) -> None:
    _, solver = tree
    before = solver.registry.dump()
    with pytest.raises(bayplan.BufferValueError, match="nowhere"):
        solver.update_compile_settings(tolerance=0.5, delta_location="nowhere")
    assert solver.compile_settings == Settings()
    assert solver.registry.dump() == before


def test_a_key_that_is_a_setting_and_a_buffers_is_refused(
    registry: bayplan.BufferRegistry,
) -> None:
    @dataclasses.dataclass(frozen=True)
    class Clash:
        delta_size: int = 1

    solver = Solver(registry=registry)
    solver.setup_compile_settings(Clash())
    with pytest.raises(bayplan.BufferValueError, match="'delta_size' has two meanings"):
        solver.update_compile_settings(delta_size=2)
    assert solver.compile_settings == Clash()


def test_precision_restamps_settings_and_buffers(registry: bayplan.BufferRegistry) -> None:
    @dataclasses.dataclass(frozen=True)
    class WithPrecision:
        precision: Any = np.float32

    solver = Solver(registry=registry)
    solver.setup_compile_settings(WithPrecision())
    assert solver.update_compile_settings(precision=np.float64) == {"precision"}
    assert solver.precision is np.float64
    assert solver.compile_settings.precision is np.float64
    assert solver.buffers["residual"].dtype == np.float64
    assert solver.buffers.shared.nbytes == 24


def test_array_settings_are_compared_by_content(registry: bayplan.BufferRegistry) -> None:
    @dataclasses.dataclass(frozen=True)
    class Tableau:
        a: Any = None

    factory = Counting(registry=registry)
    factory.setup_compile_settings(Tableau(np.arange(3.0)))
    _ = factory.device_function
    factory.update_compile_settings(a=np.arange(3.0))
    _ = factory.device_function
    assert factory.n_builds == 1
    factory.update_compile_settings(a=np.arange(4.0))
    _ = factory.device_function
    assert factory.n_builds == 2


def test_settings_must_be_a_dataclass_instance(registry: bayplan.BufferRegistry) -> None:
    factory = Counting(registry=registry)
    for bad in ({"tolerance": 1}, Settings):
        with pytest.raises(TypeError, match="Counting: settings must be a dataclass instance"):
            factory.setup_compile_settings(bad)


def test_registering_inside_build_is_an_error(registry: bayplan.BufferRegistry) -> None:
    class Late(CUDAFactory):
        def build(self) -> Any:
            self.register_buffer("late", 1)

    late = Late(registry=registry)
    with pytest.raises(bayplan.BayplanError, match=r"Late\.build\(\) registers buffer 'late'"):
        _ = late.device_function
    assert registry.entries(late) == ()
    late.register_buffer("late", 1)


def test_phases_loops_and_lifetimes_are_handed_on(registry: bayplan.BufferRegistry) -> None:
    child = Counting(registry=registry)
    child.register_buffer("x", 2, "shared")
    owner = Counting(registry=registry)
    owner.phases("predict", "solve", "finish")
    owner.loop("predict", "solve")
    owner.loop("finish")
    owner.register_buffer("sum", 3, "shared", live="solve", carried=True)
    owner.register_child(child, "early", live="predict")
    owner.register_child(child, "both", live=("solve", "finish"))
    layout = owner.buffers
    assert layout.phases == ("predict", "solve", "finish")
    assert layout.loops == (("predict", "solve"), ("finish", "finish"))
    assert layout["sum"].live == ("predict", "solve")
    assert {name: region.live for name, region in layout.children.items()} == {
        "early": ("predict", "predict"),
        "both": ("solve", "finish"),
    }


def test_a_new_lifetime_rebuilds_what_was_compiled(registry: bayplan.BufferRegistry) -> None:
    """What a kernel may name where has changed, though no byte has moved."""
    owner = Counting(registry=registry)
    owner.phases("a", "b")
    owner.register_buffer("x", 2, "shared", live="a")
    before = owner.buffers["x"]
    assert owner.device_function[2] == 1
    owner.register_buffer("x", 2, "shared", live=("a", "b"))
    assert owner.buffers["x"].offset == before.offset
    assert owner.device_function[2] == 2
    owner.loop("a", "b")
    assert owner.device_function[2] == 3


@pytest.mark.parametrize(
    ("declare", "what"),
    [
        (lambda owner: owner.phases("a"), "declares phases"),
        (lambda owner: owner.loop("a"), "declares a loop"),
    ],
)
def test_declaring_phases_inside_build_is_an_error(
    registry: bayplan.BufferRegistry, declare: Any, what: str
) -> None:
    class Bad(CUDAFactory):
        def build(self) -> Any:
            declare(self)

    bad = Bad(registry=registry)
    with pytest.raises(bayplan.BayplanError, match=what):
        _ = bad.device_function
    assert bad.buffers.phases == ()


def test_reading_the_own_product_inside_build_is_an_error(
    registry: bayplan.BufferRegistry,
) -> None:
    class Selfish(CUDAFactory):
        def build(self) -> Any:
            return self.device_function

    with pytest.raises(bayplan.BayplanError, match="reads its own product"):
        _ = Selfish(registry=registry).device_function


def test_a_build_that_raises_leaves_the_old_product_stale_not_lost(
    registry: bayplan.BufferRegistry,
) -> None:
    class Moody(Counting):
        fails = False

        def build(self) -> Any:
            if self.fails:
                raise RuntimeError("no")
            return super().build()

    moody = Moody(registry=registry)
    first = moody.device_function
    moody.fails = True
    moody.register_buffer("x", 1)
    with pytest.raises(RuntimeError, match="no"):
        _ = moody.device_function
    moody.fails = False
    assert moody.device_function != first


def test_a_named_tuple_product_gives_its_device_function(
    registry: bayplan.BufferRegistry,
) -> None:
    class Product(NamedTuple):
        device_function: str
        n_stages: int

    class Staged(CUDAFactory):
        def build(self) -> Any:
            return Product("f", 3)

    staged = Staged(registry=registry)
    assert staged.device_function == "f"
    assert staged.product.n_stages == 3


def test_invalidate_cache_drops_product_and_snapshot(tree: tuple[Step, Solver]) -> None:
    step, solver = tree
    digest = solver.buffers.digest
    version = solver.registry.layout_version(solver)
    _ = step.device_function
    solver._invalidate_cache()
    _ = step.device_function
    assert (step.n_builds, solver.n_builds) == (2, 2)
    assert solver.buffers.digest == digest
    assert solver.registry.layout_version(solver) == version


def test_a_replaced_child_rebuilds_the_parent(tree: tuple[Step, Solver]) -> None:
    step, _ = tree
    _ = step.device_function
    twin = Solver(registry=step.registry)
    step.solver = twin
    step.register_child(twin, "newton")
    assert step.device_function[-1] == twin.device_function
    assert step.n_builds == 2


def test_children_are_held_strongly_and_given_back(registry: bayplan.BufferRegistry) -> None:
    step = Counting(registry=registry)
    solver = Solver(registry=registry)
    step.register_child(solver, "newton")
    ref = weakref.ref(solver)
    del solver
    gc.collect()
    assert ref() is not None
    assert step.buffers.shared.nbytes == 12
    step.remove_child("newton")
    gc.collect()
    assert ref() is None
    assert step.buffers.shared.nbytes == 0


def test_a_child_of_another_registry_is_refused(registry: bayplan.BufferRegistry) -> None:
    step = Counting(registry=registry)
    stranger = Solver(registry=bayplan.BufferRegistry())
    with pytest.raises(bayplan.BufferValueError, match="Solver as child 'x'.*another registry"):
        step.register_child(stranger, "x")
    assert registry.children(step) == {}


def test_child_sizes_are_answered_in_the_parents_elements(
    registry: bayplan.BufferRegistry,
) -> None:
    child = Solver(n=3, registry=registry)
    parent = Counting(precision=np.float64, registry=registry)
    parent.register_child(child, "newton")
    assert registry.get_child_aggregate_size(child, "shared") == 3
    assert parent.get_child_buffer_size(child, "shared") == 2
    assert parent.get_child_buffer_size(None, "shared") == 0
    assert parent.get_aggregate_buffer_size("shared") == 2


def test_a_diamond_of_shared_children_builds_each_once(
    registry: bayplan.BufferRegistry,
) -> None:
    layers: list[CUDAFactory] = [Counting(registry=registry)]
    layers[0].register_buffer("x", 1, "shared")
    for _ in range(40):
        above = Counting(registry=registry)
        above.register_child(layers[-1], "left")
        above.register_child(layers[-1], "right")
        layers.append(above)
    _ = layers[-1].product
    assert [factory.n_builds for factory in layers] == [1] * 41  # type: ignore[attr-defined]


def test_buffer_owner_needs_no_init_and_holds_its_children() -> None:
    class Base:
        def __init__(self) -> None:
            self.ready = True

    class Owner(BufferOwner, Base):
        precision = np.float64

    owner, child = Owner(), Owner()
    child.register_buffer("x", 3, "shared")
    owner.register_child(child)
    assert owner.ready
    assert owner.buffers["child_shared"].nbytes == 24
    assert owner.get_aggregate_buffer_size("shared") == 3
    assert bayplan.buffer_registry.children(owner) == {"child": child}


def test_a_factory_without_build_says_so(registry: bayplan.BufferRegistry) -> None:
    class Bare(CUDAFactory):
        pass

    with pytest.raises(NotImplementedError, match=r"Bare does not override build\(\)"):
        _ = Bare(registry=registry).device_function
