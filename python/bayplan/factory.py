"""Factories: objects that own buffers and build Numba CUDA device functions.

`BufferOwner` has the buffer hooks alone, for classes that already have a base;
`CUDAFactory` adds settings and a product that is rebuilt only when something a
kernel can see has changed.
"""

from __future__ import annotations

import dataclasses
import itertools
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ._core import BayplanError, BufferKeyError, BufferValueError
from .layout import BufferRegistry, Layout, buffer_registry
from .messages import nearest

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import DTypeLike

__all__ = ["BufferOwner", "CUDAFactory"]

# No two products ever share a stamp, so a child replaced by another one shows.
_product_stamps = itertools.count(1)


class BufferOwner:
    """Buffer hooks for a class that already has a base.

    The registry is `bayplan.buffer_registry` unless the instance has an
    attribute `registry`; elements are counted in the instance's `precision`
    (`numpy.float32` if it has none). Children are held strongly.
    """

    registry: BufferRegistry = buffer_registry
    precision: Any = np.float32
    _building_thread: int | None = None

    @property
    def _owned_children(self) -> dict[str, object]:
        # Made on first use: a mixin cannot count on its __init__ being called.
        return cast("dict[str, object]", self.__dict__.setdefault("_bayplan_children", {}))

    def _refuse_in_build(self, what: str) -> None:
        if self._building_thread == threading.get_ident():
            raise BayplanError(
                f"{type(self).__name__}.build() {what}: declare buffers before (in __init__), "
                "build() only reads them"
            )

    def register_buffer(
        self, name: str, size: int | tuple[int, ...], location: str = "local", **kw: Any
    ) -> int:
        """Register a buffer of this factory; see `BufferRegistry.register`."""
        self._refuse_in_build(f"registers buffer {name!r}")
        return self.registry.register(self, name, size, location, **kw)

    def register_child(self, child: object, name: str = "child", *, live: Any = None) -> None:
        """Give `child` bytes in this factory; see `BufferRegistry.add_child`."""
        self._refuse_in_build(f"registers child {name!r}")
        other = getattr(child, "registry", self.registry)
        if isinstance(other, BufferRegistry) and other is not self.registry:
            raise BufferValueError(
                f"{type(self).__name__} cannot take {type(child).__name__} as child {name!r}: "
                "it belongs to another registry"
            )
        self.registry.add_child(self, child, name, live=live)
        self._owned_children[name] = child

    def remove_child(self, name: str) -> None:
        """Take a child's bytes back; `BufferKeyError` if there is none of that name."""
        self._refuse_in_build(f"removes child {name!r}")
        self.registry.remove_child(self, name)
        self._owned_children.pop(name, None)

    def phases(self, *names: str) -> None:
        """Declare this factory's phases; see `BufferRegistry.phases`."""
        self._refuse_in_build("declares phases")
        self.registry.phases(self, *names)

    def loop(self, first: str, last: str | None = None) -> None:
        """Declare that phases of this factory repeat; see `BufferRegistry.loop`."""
        self._refuse_in_build("declares a loop")
        self.registry.loop(self, first, last)

    @property
    def buffers(self) -> Layout:
        """The current layout: immutable, planned only if something changed."""
        return self.registry.build_layout(self)

    def get_buffer_allocator(self, name: str) -> Callable[..., Any]:
        """Return the kernel-side allocator of one buffer."""
        return self.registry.get_allocator(self, name)

    def get_aggregate_buffer_size(self, location: str) -> int:
        """Elements of this factory's precision in `location`, children included."""
        return self.registry.get_aggregate_size(self, location)

    def get_child_buffer_size(self, child: object, location: str) -> int:
        """Elements of *this* factory's precision that `child` needs in `location`."""
        n_bytes = self.registry.get_child_aggregate_bytes(child, location)
        item_bytes: int = np.dtype(self.precision).itemsize
        return -(-n_bytes // item_bytes)


class CUDAFactory(BufferOwner):
    """A factory with settings and a cached device function.

    Parameters
    ----------
    precision : dtype_like, optional
        Element type that sizes are counted in and that buffers without a dtype
        of their own take.
    registry : BufferRegistry, optional
        Where the buffers are registered; `bayplan.buffer_registry` by default.

    Notes
    -----
    A subclass registers its buffers and children in `__init__` and overrides
    `build`. The product is rebuilt when it is read after the settings, this
    factory's layout digest or a child's product changed; an update that leaves
    all three as they were rebuilds nothing.
    """

    def __init__(
        self, *, precision: DTypeLike = np.float32, registry: BufferRegistry | None = None
    ) -> None:
        self.registry = buffer_registry if registry is None else registry
        self.precision = np.dtype(precision).type
        self._settings: Any = None
        self._settings_stamp = 0
        self._product: Any = None
        self._built_from: tuple[Any, ...] | None = None
        self._product_stamp = 0

    # -- settings ---------------------------------------------------------------

    @property
    def compile_settings(self) -> Any:
        """The settings dataclass; None before `setup_compile_settings`."""
        return self._settings

    def setup_compile_settings(self, settings: Any) -> None:
        """Take a (frozen) dataclass instance as this factory's settings.

        A field `precision`, if there is one, becomes the factory's precision.

        Raises
        ------
        TypeError
            If `settings` is no dataclass instance.
        """
        if not dataclasses.is_dataclass(settings) or isinstance(settings, type):
            raise TypeError(
                f"{type(self).__name__}: settings must be a dataclass instance, "
                f"not {type(settings).__name__}"
            )
        if "precision" in _field_names(settings):
            precision = np.dtype(cast("Any", settings).precision)
            self.registry.set_precision(self, precision)
            self.precision = precision.type
        self._settings = settings
        self._settings_stamp += 1

    def update_compile_settings(
        self, updates_dict: Mapping[str, Any] | None = None, *, silent: bool = False, **kw: Any
    ) -> set[str]:
        """Change settings, buffer locations and sizes in one step.

        Keys that name a field of the settings go there; `<buffer>_location` and
        `<buffer>_size`, with `<child>_` in front for a descendant's, go to the
        registry; `precision` goes to both. Either everything is done or nothing.

        Parameters
        ----------
        updates_dict : mapping, optional
            Key to new value; keyword arguments are added to it.
        silent : bool, optional
            Leave unknown keys alone instead of raising.

        Returns
        -------
        set of str
            The keys that were recognised.

        Raises
        ------
        BufferKeyError
            For a key that nothing answers to, unless `silent`.
        BufferValueError
            For a key that is both a setting and a buffer's, and for values that
            the registry refuses.
        """
        updates = {**(updates_dict or {}), **kw}
        settings_keys = _field_names(self._settings) & updates.keys()
        buffer_keys = self.registry._probe(self, updates)
        self._check_keys(updates, settings_keys, buffer_keys, silent)
        changes = {key: updates[key] for key in settings_keys}
        settings = dataclasses.replace(self._settings, **changes) if changes else self._settings
        precision = np.dtype(updates["precision"]) if "precision" in updates else None
        buffer_updates = {key: updates[key] for key in buffer_keys}
        if buffer_updates or precision is not None:
            self.registry._update(self, buffer_updates, strict=True, precision=precision)
        if any(not _same(updates[key], getattr(self._settings, key)) for key in changes):
            self._settings_stamp += 1
        self._settings = settings
        if precision is not None:
            self.precision = precision.type
        return {*settings_keys, *buffer_keys, *({"precision"} & updates.keys())}

    def _check_keys(
        self, updates: Mapping[str, Any], settings: set[str], buffers: set[str], silent: bool
    ) -> None:
        for key in sorted(settings & buffers):
            raise BufferValueError(
                f"{type(self).__name__}: key {key!r} has two meanings: a field of "
                f"{type(self._settings).__name__} and a buffer's key"
            )
        unknown = sorted(set(updates) - settings - buffers - {"precision"})
        if unknown and not silent:
            known = [*sorted(_field_names(self._settings)), *_buffer_keys(self)]
            raise BufferKeyError(
                f"{type(self).__name__} has no setting or buffer for {unknown[0]!r}"
                + nearest(unknown[0], known)
            )

    # -- product ----------------------------------------------------------------

    def build(self) -> Any:
        """Return the device function, or a named tuple with a field `device_function`.

        Called with a current layout in `self.buffers`; buffers and children must
        not be registered here.
        """
        raise NotImplementedError(f"{type(self).__name__} does not override build()")

    @property
    def product(self) -> Any:
        """What `build` returned, rebuilt first if it is out of date."""
        for factory in _children_first(self):
            factory._rebuild_if_stale()
        return self._product

    @property
    def device_function(self) -> Any:
        """The device function, rebuilt first if it is out of date."""
        product = self.product
        return product.device_function if hasattr(product, "_fields") else product

    def _rebuild_if_stale(self) -> None:
        built_from = (
            self._settings_stamp,
            self.precision,
            self.buffers.digest,
            tuple(
                (name, child._product_stamp)
                for name, child in self._owned_children.items()
                if isinstance(child, CUDAFactory)
            ),
        )
        if built_from == self._built_from:
            return
        if self._building_thread == threading.get_ident():
            raise BayplanError(f"{type(self).__name__}.build() reads its own product")
        self._building_thread = threading.get_ident()
        try:
            product = self.build()
        finally:
            self._building_thread = None
        self._product = product
        self._product_stamp = next(_product_stamps)
        self._built_from = built_from

    def _invalidate_cache(self) -> None:
        """Drop the product and the layout snapshot; both are made anew when read."""
        self.registry.invalidate_layout(self)
        self._product = None
        self._built_from = None


def _children_first(root: CUDAFactory) -> Iterator[CUDAFactory]:
    """Yield every factory below `root` once, children before parents, then `root`."""
    done: set[int] = set()
    stack = [(root, False)]
    while stack:
        factory, is_expanded = stack.pop()
        if id(factory) in done:
            continue
        if is_expanded:
            done.add(id(factory))
            yield factory
            continue
        stack.append((factory, True))
        stack.extend(
            (child, False)
            for child in factory._owned_children.values()
            if isinstance(child, CUDAFactory)
        )


def _field_names(settings: Any) -> set[str]:
    if settings is None:
        return set()
    return {field.name for field in dataclasses.fields(settings) if field.init}


def _buffer_keys(factory: BufferOwner) -> Iterator[str]:
    for entry in factory.registry.entries(factory):
        yield f"{entry.name}_location"
        yield f"{entry.name}_size"


def _same(new: Any, old: Any) -> bool:
    """Whether a setting kept its value; arrays are compared by content."""
    if new is old:
        return True
    if isinstance(new, np.ndarray) or isinstance(old, np.ndarray):
        return type(new) is type(old) and new.dtype == old.dtype and np.array_equal(new, old)
    return type(new) is type(old) and bool(new == old)
