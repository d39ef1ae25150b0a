"""The Numba types of layouts, regions, views and allocators, and how they are typed."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._core import BoundLayout, ChildRegion, Layout, Placement
from . import messages
from .allocators import Allocator
from .arguments import (
    INTEGER,
    NONE,
    NUMBER,
    OTHER,
    Argument,
    array_argument,
    check_allocator,
    check_root,
    check_views,
    phase_argument,
    region_argument,
    views_argument,
)
from .compat import (
    AttributeTemplate,
    NumbaError,
    TypingError,
    decl_registry,
    from_dtype,
    is_setting_attribute,
    models,
    register_model,
    signature,
    typeof_impl,
    types,
)
from .entries import local_owners, reach, reach_from_outside, view_shape

# ---- types ------------------------------------------------------------------


def _type_name(kind: str, layout: Layout) -> str:
    return f"{kind}[{layout.name or 'layout'} {layout.digest[:8]}]"


class LayoutType(types.Opaque):
    """A captured layout; equal contents of equal name are one type.

    The name has no part in what fits where. It is in the key because Numba keeps one
    object per key: messages would name whichever equal layout was compiled first.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        super().__init__(_type_name("Layout", layout))

    @property
    def key(self) -> Any:
        return self.layout, self.layout.name


class BoundLayoutType(types.Opaque):
    """A captured bound layout."""

    def __init__(self, bound: BoundLayout) -> None:
        self.bound = bound
        super().__init__(_type_name("BoundLayout", bound.layout))

    @property
    def key(self) -> Any:
        return self.bound, self.bound.layout.name


class _MemoryType(types.Type):
    """Base pointers into each memory, made for one layout."""

    def __init__(self, layout: Layout, lanes_per_run: int) -> None:
        self.layout, self.lanes_per_run = layout, lanes_per_run
        super().__init__(f"{_type_name(type(self).__name__, layout)}x{lanes_per_run}")

    @property
    def key(self) -> Any:
        return self.layout, self.layout.name, self.lanes_per_run


class RegionType(_MemoryType):
    """What a device function receives: its part of each memory."""


class ViewsType(_MemoryType):
    """An opened layout: attributes are arrays and the children's regions."""


class PhaseType(_MemoryType):
    """An entered phase: what lives in it, and what lives always."""

    def __init__(self, views: ViewsType, phase: str) -> None:
        self.views, self.phase = views, phase
        super().__init__(views.layout, views.lanes_per_run)
        self.name += f".{phase}"

    @property
    def key(self) -> Any:
        return self.views, self.phase


class _CallableType(types.Callable, types.Opaque):
    """Something to call that is checked by arguments.py.

    Numba's own BoundFunction would do for methods, but turns our errors into its
    CPU compiler's, which then miss the line of the author's source.
    """

    def get_call_signatures(self) -> tuple[list[Any], bool]:
        return [], True


class ViewsMethodType(_CallableType):
    """`L.views`, to be called with a region or with arenas."""

    def __init__(self, this: LayoutType) -> None:
        self.this = this
        super().__init__(f"{this.name}.views")

    @property
    def key(self) -> Any:
        return self.this

    def get_impl_key(self, sig: Any) -> Any:
        return ViewsMethodType

    def get_call_type(self, context: Any, args: Any, kws: Any) -> Any:
        layout = self.this.layout
        is_region = _checked(check_views, layout, args, kws)
        lanes = args[0].lanes_per_run if is_region else 1
        return signature(ViewsType(layout, lanes), *args, recvr=self.this)


class EnterMethodType(_CallableType):
    """`b.solve` of a phase "solve", to be called without arguments; a value like the views."""

    def __init__(self, this: ViewsType, phase: str) -> None:
        self.this, self.phase, self.layout = this, phase, this.layout
        super().__init__(f"{this.name}.{phase}")

    @property
    def key(self) -> Any:
        return self.this, self.phase

    def get_impl_key(self, sig: Any) -> Any:
        return EnterMethodType

    def get_call_type(self, context: Any, args: Any, kws: Any) -> Any:
        n_args = len(args) + len(kws)
        if n_args:
            raise TypingError(messages.enter_arguments(self.layout, self.phase, n_args))
        return signature(PhaseType(self.this, self.phase), recvr=self.this)


class RootMethodType(_CallableType):
    """`B.root`, to be called with the run's index in the block."""

    def __init__(self, this: BoundLayoutType) -> None:
        self.this = this
        super().__init__(f"{this.name}.root")

    @property
    def key(self) -> Any:
        return self.this

    def get_impl_key(self, sig: Any) -> Any:
        return RootMethodType

    def get_call_type(self, context: Any, args: Any, kws: Any) -> Any:
        bound = self.this.bound
        _checked(check_root, bound.layout, args, kws)
        return signature(RegionType(bound.layout, bound.lanes_per_run), *args, recvr=self.this)


class AllocatorType(_CallableType):
    """A captured allocator; calling it gives an array."""

    def __init__(self, allocator: Allocator) -> None:
        self.allocator = allocator
        entry = allocator.placement
        # The name is for people and symbols; what makes two of them equal is the key.
        super().__init__(f"Allocator[{entry.name} {entry.location}+{entry.offset}]")

    @property
    def key(self) -> Any:
        return self.allocator

    def get_impl_key(self, sig: Any) -> Any:
        return AllocatorType

    def get_call_type(self, context: Any, args: Any, kws: Any) -> Any:
        entry = self.allocator.placement
        _checked(check_allocator, entry, args, kws)
        return signature(array_type(entry), *args, recvr=self)


class _RegionModel(models.StructModel):
    """Three base pointers and the run; views have a pointer per local buffer too."""

    def __init__(self, manager: Any, fe_type: Any) -> None:
        super().__init__(manager, fe_type, [*_BASES, *self.local_members(fe_type)])

    def local_members(self, fe_type: Any) -> list[tuple[str, Any]]:
        return []

    def as_return(self, builder: Any, value: Any) -> Any:
        kinds = {ViewsType: "views", RegionType: "region", PhaseType: "buffers in a phase"}
        kind = kinds.get(type(self._fe_type), "phases")
        raise TypingError(messages.returned(self._fe_type.layout, kind))


_BASES = [
    ("block", types.voidptr),
    ("shared", types.voidptr),
    ("persistent", types.voidptr),
    ("run", types.uintp),
]


class _ViewsModel(_RegionModel):
    def local_members(self, fe_type: Any) -> list[tuple[str, Any]]:
        owners = local_owners(fe_type.layout)
        return [(local_member(entry.name), types.voidptr) for entry in owners]


def local_member(name: str) -> str:
    """Name the struct member that points to a local buffer's bytes."""
    return f"local_{name}"


register_model(RegionType)(_RegionModel)
for _views_type in (ViewsType, PhaseType, EnterMethodType):
    register_model(_views_type)(_ViewsModel)
for _type in (LayoutType, BoundLayoutType, ViewsMethodType, RootMethodType, AllocatorType):
    register_model(_type)(models.OpaqueModel)


@typeof_impl.register(Layout)
def _typeof_layout(value: Layout, context: Any) -> LayoutType:
    return LayoutType(value)


@typeof_impl.register(BoundLayout)
def _typeof_bound(value: BoundLayout, context: Any) -> BoundLayoutType:
    return BoundLayoutType(value)


@typeof_impl.register(Allocator)
def _typeof_allocator(value: Allocator, context: Any) -> AllocatorType:
    return AllocatorType(value)


# ---- arguments --------------------------------------------------------------


def is_none(ty: Any) -> bool:
    """Whether an argument is None or left out."""
    return isinstance(ty, types.NoneType | types.Omitted)


def describe(ty: Any) -> Argument:
    """Say what an argument is, in the words that the simulator uses too."""
    if isinstance(ty, RegionType):
        return region_argument(ty.layout)
    if isinstance(ty, ViewsType):
        return views_argument(ty.layout)
    if isinstance(ty, PhaseType):
        return phase_argument(ty.layout, ty.phase)
    if isinstance(ty, types.Array):
        return array_argument(ty.ndim, ty.layout == "C")
    if is_none(ty):
        return NONE
    if isinstance(ty, types.Integer):
        return INTEGER
    if isinstance(ty, types.Number | types.Boolean):
        return NUMBER
    return OTHER


def _checked(check: Any, subject: Any, args: Any, kws: Any) -> Any:
    """Run a check of arguments.py on types."""
    if kws:
        raise TypingError(messages.keywords(kws))
    try:
        return check(subject, [describe(ty) for ty in args])
    except TypeError as error:
        raise TypingError(str(error)) from None


def array_type(entry: Placement) -> Any:
    """Return the exact array type of a buffer's view."""
    try:
        dtype = from_dtype(np.dtype(entry.dtype))
    except (NumbaError, NotImplementedError):
        raise TypingError(messages.unsupported_dtype(entry.name, entry.dtype)) from None
    return types.Array(dtype, len(view_shape(entry)), "C")


# ---- attributes -------------------------------------------------------------


def _resolve_entry(ty: _MemoryType, attr: str) -> Any:
    """Type `views.attr`, `phase.attr` or `region.attr`."""
    if attr.startswith("__"):
        return None
    if is_setting_attribute():
        raise TypingError(messages.rebind(ty.layout, attr))
    if isinstance(ty, ViewsType) and attr in ty.layout.phases:
        return EnterMethodType(ty, attr)
    try:
        if isinstance(ty, RegionType):
            entry = reach_from_outside(ty.layout, attr)
        else:
            entry = reach(ty.layout, attr, getattr(ty, "phase", None))
    except AttributeError as error:
        raise TypingError(str(error)) from None
    if isinstance(entry, ChildRegion):
        return RegionType(entry.layout, ty.lanes_per_run)
    return array_type(entry)


@decl_registry.register_attr
class _ViewsAttributes(AttributeTemplate):
    key = ViewsType

    def generic_resolve(self, ty: ViewsType, attr: str) -> Any:
        return _resolve_entry(ty, attr)


@decl_registry.register_attr
class _PhaseAttributes(AttributeTemplate):
    key = PhaseType

    def generic_resolve(self, ty: PhaseType, attr: str) -> Any:
        return _resolve_entry(ty, attr)


@decl_registry.register_attr
class _EnterAttributes(AttributeTemplate):
    """A phase that was named and not called has nothing."""

    key = EnterMethodType

    def generic_resolve(self, ty: EnterMethodType, attr: str) -> Any:
        if attr.startswith("__"):
            return None
        raise TypingError(messages.not_entered(ty.layout, ty.phase, attr))


@decl_registry.register_attr
class _RegionAttributes(AttributeTemplate):
    """A parent may look into its child's buffers, its locals excepted."""

    key = RegionType

    def generic_resolve(self, ty: RegionType, attr: str) -> Any:
        return _resolve_entry(ty, attr)


@decl_registry.register_attr
class _LayoutAttributes(AttributeTemplate):
    key = LayoutType

    def generic_resolve(self, ty: LayoutType, attr: str) -> Any:
        if attr == "views":
            return ViewsMethodType(ty)
        if attr.startswith("__"):
            return None
        raise TypingError(messages.unopened(ty.layout, attr))


@decl_registry.register_attr
class _BoundLayoutAttributes(AttributeTemplate):
    key = BoundLayoutType

    def generic_resolve(self, ty: BoundLayoutType, attr: str) -> Any:
        if attr == "root":
            return RootMethodType(ty)
        if attr.startswith("__"):
            return None
        raise TypingError(messages.bound_attribute(ty.bound.layout, attr))
