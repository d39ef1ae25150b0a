"""What layouts, bound layouts and allocators do in Numba's simulator: plain Python.

Scratch that a device would leave undefined is filled with 0xFF bytes: NaN for
floats, -1 or the largest value for integers. Layouts of a registry with
`poison=True` have phased scratch filled so whenever its life begins.
"""

from __future__ import annotations

import operator
import threading
from typing import Any

import numpy as np

from .._core import BoundLayout, ChildRegion, Layout, Placement
from . import messages
from .arguments import (
    ARENA_ORDER,
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
from .entries import (
    begins,
    bytes_owner,
    kept_to_zero,
    phase_to_zero,
    reach,
    reach_from_outside,
    scratch_to_zero,
    view_shape,
)

_FILL = 0xFF
_NO_BYTES = np.zeros(0, np.uint8)


class Region:
    """What a device function receives: its part of each memory, for one layout.

    Arrays and child regions are made when first asked for and then kept, so that
    opening a region again, which kernels do all the time, costs little.
    """

    _layout: Layout
    _memories: dict[str, Any]
    _lanes_per_run: int
    _phased: dict[str, Any]

    def __init__(self, layout: Layout, memories: dict[str, Any], lanes_per_run: int = 1) -> None:
        self.__dict__.update(
            _layout=layout, _memories=memories, _lanes_per_run=lanes_per_run, _phased={}
        )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        value = self._make(name)
        # Found in __dict__ from now on, without another call.
        self.__dict__[name] = value
        return value

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(messages.rebind(self._layout, name))

    def _make(self, name: str) -> Any:
        return self._open(reach_from_outside(self._layout, name))

    def _open(self, entry: Any) -> Any:
        """Return a child's region, or the array of a buffer that is not local."""
        if isinstance(entry, ChildRegion):
            return self._child(entry)
        return _view(self._memories[entry.location], entry.offset, entry)

    def _open_phased(self, entry: Any) -> Any:
        """Do the same for what lives in some phases; made once, though never an attribute."""
        made = self._phased.get(entry.name)
        if made is None:
            made = self._phased[entry.name] = self._open(entry)
        return made

    def _child(self, child: Any) -> Region:
        memories = {}
        for location, memory in self._memories.items():
            first = getattr(child, location)
            memories[location] = memory[first : first + getattr(child.layout, location).nbytes]
        return Region(child.layout, memories, self._lanes_per_run)


class Views(Region):
    """An opened layout: attributes are arrays and the children's regions."""

    _region: Region
    _locals: dict[str, Any]
    _entered: set[str]
    _is_poisoned: bool

    def __init__(self, region: Region, is_poisoned: bool) -> None:
        self.__dict__.update(region.__dict__)
        self.__dict__.update(_region=region, _locals={}, _entered=set(), _is_poisoned=is_poisoned)

    def _make(self, name: str) -> Any:
        if name in self._layout.phases:
            return Enter(self, name)
        return self._reach(name)

    def _reach(self, name: str, phase: str | None = None) -> Any:
        """Return what lives in a phase, or always."""
        entry = reach(self._layout, name, phase)
        if isinstance(entry, Placement) and entry.location == "local":
            return _view(self._local_bytes(entry), 0, entry)
        if entry.live is not None:
            return self._region._open_phased(entry)
        return getattr(self._region, name)

    def _local_bytes(self, entry: Placement) -> Any:
        """Return the bytes of a local buffer and of those that are same_as it."""
        owner = bytes_owner(self._layout, entry)
        memory = self._locals.get(owner.name)
        if memory is None:
            memory = self._locals[owner.name] = np.full(owner.nbytes, _FILL, np.uint8)
            for other in self._layout.local.placements:
                is_mine = bytes_owner(self._layout, other).name == owner.name
                if other.zero and other.live is None and is_mine:
                    memory[: other.nbytes] = 0
        return memory

    def _poison(self, phase: str) -> None:
        """Fill what begins in a phase and nobody else can be using.

        That leaves out block-wide bytes, and shared ones where a run has several
        lanes: compiled code has no barrier at the entry, so one lane may have
        written before another one enters. What is carried through a loop is filled
        when its phase is first entered; later that may be the loop's next turn.
        """
        own = _OWN if self._lanes_per_run > 1 else ("shared", *_OWN)
        is_again = phase in self._entered
        self._entered.add(phase)
        for entry in begins(self._layout, phase):
            if entry.location not in own or (is_again and entry.carried):
                continue
            if entry.location == "local":
                self._local_bytes(entry)[...] = _FILL
            else:
                memory = self._memories[entry.location]
                memory[entry.offset : entry.offset + entry.nbytes] = _FILL


class Enter:
    """`b.solve` of a phase "solve", to be called."""

    __slots__ = ("_entered", "_phase", "_views", "_zeroed")

    _phase: str
    _views: Views
    _entered: Phase
    _zeroed: list[Placement]

    def __init__(self, views: Views, phase: str) -> None:
        self._views, self._phase = views, phase
        self._entered = Phase(views, phase)
        self._zeroed = phase_to_zero(views._layout, phase)

    def __call__(self, *args: Any, **named: Any) -> Phase:
        """Enter the phase: fill what begins in it, return what lives in it."""
        views = self._views
        if args or named:
            n_args = len(args) + len(named)
            raise TypeError(messages.enter_arguments(views._layout, self._phase, n_args))
        if views._is_poisoned:
            views._poison(self._phase)
        if self._zeroed:
            fills = [(entry, getattr(self._entered, entry.name)) for entry in self._zeroed]
            _zero(fills, views._lanes_per_run)
        return self._entered

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(messages.not_entered(self._views._layout, self._phase, name))


class Phase:
    """An entered phase: attributes are what lives in it, and what lives always."""

    _views: Views
    _phase: str

    def __init__(self, views: Views, phase: str) -> None:
        self.__dict__.update(_views=views, _phase=phase)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        value = self._views._reach(name, self._phase)
        self.__dict__[name] = value
        return value

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(messages.rebind(self._views._layout, name))


# ---- arrays -----------------------------------------------------------------


def _view(memory: Any, offset: int, entry: Placement) -> Any:
    """Return the array of a buffer in bytes of its memory."""
    flat = memory[offset : offset + entry.nbytes].view(entry.dtype)
    array = flat.reshape(view_shape(entry))
    # Compiled code reads fields of records as attributes and as items.
    return array if entry.dtype.names is None else array.view(np.recarray)


def _new_local(entry: Placement) -> Any:
    memory = np.full(entry.nbytes, 0 if entry.zero else _FILL, np.uint8)
    return _view(memory, 0, entry)


def _unwrap(value: Any) -> Any:
    """Return the NumPy array in the simulator's wrappers of kernel arguments."""
    value = getattr(value, "_item", value)
    return getattr(value, "_ary", value)


def describe(value: Any) -> Argument:
    """Say what an argument is, in the words that the compiler path uses too."""
    if isinstance(value, Views):
        return views_argument(value._layout)
    if isinstance(value, Phase):
        return phase_argument(value._views._layout, value._phase)
    if isinstance(value, Region):
        return region_argument(value._layout)
    value = _unwrap(value)
    if isinstance(value, np.ndarray):
        return array_argument(value.ndim, value.flags.c_contiguous)
    if value is None:
        return NONE
    if isinstance(value, bool | np.bool_):
        return NUMBER
    if isinstance(value, int | np.integer):
        return INTEGER
    if isinstance(value, float | complex | np.number):
        return NUMBER
    return OTHER


def _arena(value: Any, who: str, location: str, needed: int) -> Any:
    """Return an arena as bytes; IndexError if it has fewer than needed."""
    if value is None:
        return _NO_BYTES
    memory = _unwrap(value).view(np.uint8)
    if memory.size < needed:
        arena = messages.ARENA_NAMES[location]
        raise IndexError(messages.short_arena(who, arena, needed, memory.size))
    return memory


# ---- the running kernel -----------------------------------------------------


def _in_kernel() -> bool:
    return hasattr(threading.current_thread(), "syncthreads")


def _dynamic_bytes_of_launch() -> Any:
    from .compat import running_kernel

    try:
        return running_kernel().shared.array(0, np.dtype(np.uint8))
    except ValueError:  # NumPy makes no array over a buffer of no bytes
        return _NO_BYTES


def _wait_for_block() -> None:
    from .compat import running_kernel

    running_kernel().syncthreads()


def _zero(fills: list[Any], lanes_per_run: int) -> None:
    """Zero arrays; those that other threads share, between two barriers.

    The simulator has no barrier of a run's lanes, so theirs is the block's.
    """
    own = ("local", "persistent_local") if lanes_per_run > 1 else ("shared", *_OWN)
    is_shared = any(entry.location not in own for entry, _ in fills) and _in_kernel()
    if is_shared:
        _wait_for_block()
    for _, array in fills:
        array[...] = np.zeros((), array.dtype)
    if is_shared:
        _wait_for_block()


_OWN = ("local", "persistent_local")


# ---- what the classes call --------------------------------------------------


def views(layout: Layout, *args: Any) -> Views:
    """Do what `layout.views(mem)` does, or `layout.views(shared, persistent[, block])`.

    Raises
    ------
    TypeError
        For wrong arguments, and a region made for another layout.
    IndexError
        For an arena that is too short.
    """
    region: Any = args[0] if args else None
    is_mine = type(region) is Region and region._layout is layout and len(args) == 1
    if not is_mine and not check_views(layout, [describe(arg) for arg in args]):
        region = Region(layout, _arenas(layout, args))
    opened = Views(region, layout.poison)
    fills = [(entry, getattr(opened, entry.name)) for entry in _scratch_fills(layout)]
    if fills:
        _zero(fills, region._lanes_per_run)
    return opened


def _scratch_fills(layout: Layout) -> list[Placement]:
    """Return the buffers that opening zeroes; locals are zero from their birth."""
    made: list[Placement] | None = vars(layout).get("_kernel_scratch_fills")
    if made is None:
        made = [entry for entry in scratch_to_zero(layout) if entry.location != "local"]
        vars(layout)["_kernel_scratch_fills"] = made
    return made


def _arenas(layout: Layout, args: tuple[Any, ...]) -> dict[str, Any]:
    memories = {}
    for i, location in enumerate(ARENA_ORDER):
        value = args[i] if i < len(args) else None
        needed = getattr(layout, location).nbytes
        memories[location] = _arena(value, messages.label(layout), location, needed)
    return memories


def root(bound: BoundLayout, *args: Any) -> Region:
    """Do what `bound.root(run)` does.

    Raises
    ------
    TypeError
        For anything but one integer.
    IndexError
        For a launch that gave too few dynamic shared bytes.
    RuntimeError
        Outside a kernel.
    """
    layout = bound.layout
    check_root(layout, [describe(arg) for arg in args])
    if not _in_kernel():
        raise RuntimeError(messages.outside_kernel(layout))
    run = operator.index(args[0])
    memories = {
        **_dynamic_memories(bound, run),
        "persistent_local": np.full(layout.persistent_local.nbytes, _FILL, np.uint8),
    }
    fills = [
        (fill.entry, _view(memories[fill.entry.location], fill.offset, fill.entry))
        for fill in kept_to_zero(layout)
    ]
    if fills:
        _zero(fills, bound.lanes_per_run)
    return Region(layout, memories, bound.lanes_per_run)


def _dynamic_memories(bound: BoundLayout, run: int) -> dict[str, Any]:
    """Return the block's bytes and this run's slice."""
    layout = bound.layout
    first = bound.slices_offset + run * bound.stride
    block_end = bound.block_offset + layout.block.nbytes
    end = first + layout.shared.nbytes
    needed = max(end if layout.shared.nbytes else 0, block_end if layout.block.nbytes else 0)
    if needed == 0 and run >= 0:
        return {"shared": _NO_BYTES, "block": _NO_BYTES}
    arena = _dynamic_bytes_of_launch()
    if run < 0 or needed > arena.size:
        raise IndexError(messages.short_launch(layout, run, needed, arena.size))
    return {"shared": arena[first:end], "block": arena[bound.block_offset : block_end]}


def allocate(entry: Placement, arenas: tuple[Any, ...]) -> Any:
    """Do what an allocator does.

    Raises
    ------
    TypeError
        For a wrong number of arguments, or None for an arena that is needed.
    IndexError
        For an arena that is too short.
    """
    index = check_allocator(entry, [describe(arena) for arena in arenas])
    if entry.location == "local":
        return _new_local(entry)
    if index is None:
        array = _view(_NO_BYTES, 0, entry)
    else:
        needed = entry.offset + entry.nbytes
        memory = _arena(arenas[index], messages.allocator_label(entry), entry.location, needed)
        array = _view(memory, entry.offset, entry)
    if entry.zero:
        array[...] = np.zeros((), array.dtype)
    return array
