"""LLVM code for views, roots and allocators: constant offsets from base pointers."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._core import ChildRegion, Layout, Placement
from .arguments import check_allocator
from .compat import cgutils, impl_registry, ir, nvvm, nvvmutils, types
from .entries import (
    bytes_owner,
    find,
    kept_to_zero,
    local_owners,
    phase_to_zero,
    scratch_to_zero,
    view_shape,
)
from .types import (
    AllocatorType,
    BoundLayoutType,
    EnterMethodType,
    LayoutType,
    PhaseType,
    RegionType,
    RootMethodType,
    ViewsMethodType,
    ViewsType,
    array_type,
    describe,
    local_member,
)

_I8_POINTER = ir.IntType(8).as_pointer()
_NULL = _I8_POINTER(None)
_LOCAL_ALIGN = 16
_ARENA_SYMBOL = "_bayplan_dynamic_shared"
# Location to the member of a region that points to it.
_MEMBERS = {"block": "block", "shared": "shared", "persistent_local": "persistent"}
# One entry per argument of `views`, after the layout itself.
_ARENA_MEMBERS = ("shared", "persistent", "block")


def _i64(value: int) -> Any:
    return ir.Constant(ir.IntType(64), value)


def _advance(builder: Any, pointer: Any, n_bytes: int) -> Any:
    if n_bytes == 0:
        return pointer
    return builder.gep(pointer, [_i64(n_bytes)], inbounds=True)


def _struct(context: Any, builder: Any, ty: Any, value: Any = None) -> Any:
    return cgutils.create_struct_proxy(ty)(context, builder, value=value)


# ---- arrays -----------------------------------------------------------------


def _make_array(context: Any, builder: Any, entry: Placement, pointer: Any) -> Any:
    """Make an array struct with constant shape and strides over `pointer`."""
    ty = array_type(entry)
    item_bytes = entry.dtype.itemsize
    shape = view_shape(entry)
    strides = item_bytes * np.cumprod((1, *shape[:0:-1]), dtype=np.int64)[::-1]
    array = context.make_array(ty)(context, builder)
    context.populate_array(
        array,
        data=builder.bitcast(pointer, array.data.type),
        shape=[_i64(n) for n in shape],
        strides=[_i64(int(n)) for n in strides],
        itemsize=_i64(item_bytes),
        meminfo=None,
    )
    return array._getvalue()


def _alloca(builder: Any, n_bytes: int, align: int = _LOCAL_ALIGN) -> Any:
    """Bytes of the function's frame: one place per site, not cleared."""
    if n_bytes == 0:
        return _NULL
    with builder.goto_entry_block():
        slot = builder.alloca(ir.ArrayType(ir.IntType(8), n_bytes))
        slot.align = align
        return builder.bitcast(slot, _I8_POINTER)


def _array_bytes(context: Any, builder: Any, ty: Any, value: Any) -> Any:
    """Point at an arena's first byte; null for None."""
    if not isinstance(ty, types.Array):
        return _NULL
    array = context.make_array(ty)(context, builder, value)
    return builder.bitcast(array.data, _I8_POINTER)


# ---- zero filling -----------------------------------------------------------


def _zero(builder: Any, entry: Placement, pointer: Any, start: Any, step: Any) -> None:
    """Store zeros over a buffer, from word `start` in steps of `step`."""
    align = entry.dtype.alignment
    word_bytes = min(8, align, entry.nbytes & -entry.nbytes)
    word = ir.IntType(8 * word_bytes)
    words = builder.bitcast(pointer, word.as_pointer())
    count = _i64(entry.nbytes // word_bytes)
    with cgutils.for_range_slice(builder, start, count, step) as (index, _):
        target = builder.gep(words, [index], inbounds=True)
        builder.store(ir.Constant(word, 0), target, align=word_bytes)


def _sreg(builder: Any, name: str) -> Any:
    return builder.zext(nvvmutils.call_sreg(builder, name), ir.IntType(64))


def _thread_in_block(builder: Any) -> tuple[Any, Any]:
    """Return this thread's linear index in the block, and the block's threads."""
    index, count = _i64(0), _i64(1)
    for axis in ("z", "y", "x"):
        extent = _sreg(builder, f"ntid.{axis}")
        index = builder.add(builder.mul(index, extent), _sreg(builder, f"tid.{axis}"))
        count = builder.mul(count, extent)
    return index, count


def _barrier(builder: Any) -> None:
    kind = ir.FunctionType(ir.VoidType(), ())
    barrier = cgutils.get_or_insert_function(builder.module, kind, "llvm.nvvm.barrier0")
    builder.call(barrier, ())


def _run_barrier(builder: Any, lanes_per_run: int) -> None:
    """Wait for the lanes of this run: neighbours in one warp."""
    i32 = ir.IntType(32)
    mask = ir.Constant(i32, 2**lanes_per_run - 1)
    first = builder.and_(nvvmutils.call_sreg(builder, "laneid"), i32(-lanes_per_run & 31))
    kind = ir.FunctionType(ir.VoidType(), (i32,))
    barrier = cgutils.get_or_insert_function(builder.module, kind, "llvm.nvvm.bar.warp.sync")
    builder.call(barrier, (builder.shl(mask, first),))


def _zero_alone(builder: Any, fills: list[tuple[Placement, Any]]) -> None:
    for entry, pointer in fills:
        _zero(builder, entry, pointer, _i64(0), _i64(1))


def _zero_as_run(builder: Any, fills: list[tuple[Placement, Any]], lanes_per_run: int) -> None:
    """Share the work among the run's lanes; none is ahead or behind of it."""
    if not fills:
        return
    if lanes_per_run == 1:
        _zero_alone(builder, fills)
        return
    _run_barrier(builder, lanes_per_run)
    lane = builder.and_(_sreg(builder, "laneid"), _i64(lanes_per_run - 1))
    for entry, pointer in fills:
        _zero(builder, entry, pointer, lane, _i64(lanes_per_run))
    _run_barrier(builder, lanes_per_run)


def _zero_as_block(builder: Any, fills: list[tuple[Placement, Any]]) -> None:
    """Share the work among the block's threads, between two barriers."""
    if not fills:
        return
    _barrier(builder)
    thread, n_threads = _thread_in_block(builder)
    for entry, pointer in fills:
        _zero(builder, entry, pointer, thread, n_threads)
    _barrier(builder)


def _zero_all(builder: Any, fills: list[tuple[Placement, Any]], lanes_per_run: int) -> None:
    """Zero (buffer, pointer) pairs, each with those who share it."""
    fills = [fill for fill in fills if fill[0].nbytes]
    own = ("local", "persistent_local")
    _zero_alone(builder, [fill for fill in fills if fill[0].location in own])
    _zero_as_run(builder, [fill for fill in fills if fill[0].location == "shared"], lanes_per_run)
    _zero_as_block(builder, [fill for fill in fills if fill[0].location == "block"])


# ---- root -------------------------------------------------------------------


def _dynamic_arena(builder: Any, align: int) -> Any:
    """Point at the dynamic shared memory of the launch, as a generic pointer.

    Declared here rather than through `cuda.shared.array(0, ...)`, which would
    read its length.
    """
    arena = builder.module.globals.get(_ARENA_SYMBOL)
    if arena is None:
        arena = cgutils.add_global_variable(
            builder.module,
            ir.ArrayType(ir.IntType(8), 0),
            _ARENA_SYMBOL,
            nvvm.ADDRSPACE_SHARED,
        )
        arena.linkage, arena.align = "external", align
    arena.align = max(arena.align, align)
    return builder.addrspacecast(arena, _I8_POINTER, "generic")


@impl_registry.lower(RootMethodType, BoundLayoutType, types.Integer)
def _lower_root(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    bound = sig.args[0].bound
    layout = bound.layout
    run = context.cast(builder, args[1], sig.args[1], types.uintp)
    region = _struct(context, builder, sig.return_type)
    region.run = run
    region.block = region.shared = _NULL
    if layout.shared.nbytes or layout.block.nbytes:
        arena = _dynamic_arena(builder, bound.arena_align)
        region.block = _advance(builder, arena, bound.block_offset)
        first = _advance(builder, arena, bound.slices_offset)
        # In 64 bits: a product in 32 bits and its extension cost an instruction more.
        slice_offset = builder.mul(run, _i64(bound.stride), flags=["nuw", "nsw"])
        region.shared = builder.gep(first, [slice_offset], inbounds=True)
    persistent = layout.persistent_local
    region.persistent = _alloca(builder, persistent.nbytes, max(_LOCAL_ALIGN, persistent.align))
    fills = [
        (fill.entry, _advance(builder, getattr(region, _MEMBERS[fill.entry.location]), fill.offset))
        for fill in kept_to_zero(layout)
    ]
    _zero_all(builder, fills, bound.lanes_per_run)
    return region._getvalue()


# ---- views ------------------------------------------------------------------


def _bases(context: Any, builder: Any, sig: Any, args: Any) -> dict[str, Any]:
    """Return the base pointers that the arguments of `views` stand for."""
    if isinstance(sig.args[1], RegionType):
        region = _struct(context, builder, sig.args[1], args[1])
        return {name: getattr(region, name) for name in (*_ARENA_MEMBERS, "run")}
    bases = {**dict.fromkeys(_ARENA_MEMBERS, _NULL), "run": _i64(0)}
    for name, ty, value in zip(_ARENA_MEMBERS, sig.args[1:], args[1:], strict=False):
        bases[name] = _array_bytes(context, builder, ty, value)
    return bases


@impl_registry.lower(ViewsMethodType, LayoutType, types.VarArg(types.Any))
def _lower_views(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    ty = sig.return_type
    views = _struct(context, builder, ty)
    for name, value in _bases(context, builder, sig, args).items():
        setattr(views, name, value)
    for entry in local_owners(ty.layout):
        align = max(_LOCAL_ALIGN, entry.align)
        setattr(views, local_member(entry.name), _alloca(builder, entry.nbytes, align))
    _zero_own(builder, ty, views, scratch_to_zero(ty.layout))
    return views._getvalue()


@impl_registry.lower(EnterMethodType, ViewsType)
def _lower_enter(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    """Views and phases are the same struct: entering is a matter of types, and zeroing."""
    ty = sig.return_type
    _zero_own(
        builder, ty, _struct(context, builder, ty, args[0]), phase_to_zero(ty.layout, ty.phase)
    )
    return args[0]


def _zero_own(builder: Any, ty: Any, views: Any, entries: list[Placement]) -> None:
    fills = [(entry, _pointer(builder, ty.layout, views, entry)) for entry in entries]
    _zero_all(builder, fills, ty.lanes_per_run)


def _pointer(builder: Any, layout: Layout, struct: Any, entry: Placement) -> Any:
    """Point at a buffer of opened views, or of a region (which has no locals)."""
    if entry.location == "local":
        return getattr(struct, local_member(bytes_owner(layout, entry).name))
    if entry.nbytes == 0:
        return _NULL
    return _advance(builder, getattr(struct, _MEMBERS[entry.location]), entry.offset)


@impl_registry.lower_getattr_generic(RegionType)
@impl_registry.lower_getattr_generic(PhaseType)
@impl_registry.lower_getattr_generic(ViewsType)
def _lower_attribute(context: Any, builder: Any, ty: Any, value: Any, name: str) -> Any:
    if name in ty.layout.phases:
        return value
    struct = _struct(context, builder, ty, value)
    entry = find(ty.layout, name)
    if not isinstance(entry, ChildRegion):
        pointer = _pointer(builder, ty.layout, struct, entry)
        return _make_array(context, builder, entry, pointer)
    region = _struct(context, builder, RegionType(entry.layout, ty.lanes_per_run))
    region.run = struct.run
    for location, member in _MEMBERS.items():
        pointer = _advance(builder, getattr(struct, member), getattr(entry, location))
        is_empty = getattr(entry.layout, location).nbytes == 0
        setattr(region, member, _NULL if is_empty else pointer)
    return region._getvalue()


# ---- allocators and captured objects ----------------------------------------


@impl_registry.lower(AllocatorType, AllocatorType, types.VarArg(types.Any))
def _lower_allocator(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    entry = sig.args[0].allocator.placement
    arena_types, arenas = sig.args[1:], args[1:]
    index = check_allocator(entry, [describe(ty) for ty in arena_types])
    if entry.location == "local":
        pointer = _alloca(builder, entry.nbytes, max(_LOCAL_ALIGN, entry.align))
    elif index is None:
        pointer = _NULL
    else:
        base = _array_bytes(context, builder, arena_types[index], arenas[index])
        pointer = _advance(builder, base, entry.offset)
    if entry.zero and entry.nbytes:
        _zero_alone(builder, [(entry, pointer)])
    return _make_array(context, builder, entry, pointer)


@impl_registry.lower_constant(LayoutType)
@impl_registry.lower_constant(BoundLayoutType)
@impl_registry.lower_constant(AllocatorType)
def _lower_captured(context: Any, builder: Any, ty: Any, value: Any) -> Any:
    return context.get_dummy_value()


@impl_registry.lower_getattr(LayoutType, "views")
@impl_registry.lower_getattr(BoundLayoutType, "root")
def _lower_method(context: Any, builder: Any, ty: Any, value: Any) -> Any:
    return context.get_dummy_value()
