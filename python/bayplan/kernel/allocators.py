"""Allocators: one buffer's array out of arenas, for hand-written and ported code."""

from __future__ import annotations

import ast
from typing import Any

import numpy as np

from .._core import Placement
from . import messages

__all__ = ["Allocator", "make_allocator"]


class Allocator:
    """A device function object that gives the array of one buffer.

    `alloc(shared, persistent)` serves every location but block, so that moving a
    buffer changes no caller; `alloc(shared, persistent, block)` serves all. The
    short forms `alloc(shared)`, `alloc(persistent)`, `alloc(block)` and `alloc()`
    serve the location they name (the last one: local). Arenas are C-contiguous
    1-D arrays of any element type, taken as bytes; None where none is needed.

    A buffer declared with `zero=True` is zeroed at every call, without a barrier.
    What a local buffer holds at first is undefined otherwise.

    Instances are immutable and equal if they place equally.
    """

    __slots__ = ("__weakref__", "_content", "placement")

    placement: Placement
    _content: bytes

    def __init__(self, placement: Placement) -> None:
        object.__setattr__(self, "placement", placement)
        object.__setattr__(self, "_content", _pack(placement))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"allocators are immutable: cannot set {name!r}")

    def __call__(self, *arenas: Any, **named: Any) -> Any:
        from . import sim

        if named:
            raise TypeError(messages.keywords(named))
        return sim.allocate(self.placement, arenas)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Allocator) and self._content == other._content

    def __hash__(self) -> int:
        return hash(self._content)

    def __reduce__(self) -> tuple[Any, ...]:
        # One bytes object: pickles of nested tuples depend on the identity of
        # equal strings, and Numba's disk cache hashes pickles.
        return _unpack, (self._content,)

    def __repr__(self) -> str:
        entry = self.placement
        return f"<Allocator {entry.name}: {entry.dtype}{entry.shape} {entry.location}>"


def make_allocator(placement: Placement, owner: object = None) -> Allocator:
    """Return the allocator of one placement.

    Parameters
    ----------
    placement : Placement
        Of a buffer or a roll-up, from a layout.
    owner : object, optional
        The layout or region it comes from; not needed, nothing of it is kept.
    """
    return Allocator(placement)


def _pack(entry: Placement) -> bytes:
    """Everything of a placement that a kernel sees, as canonical text."""
    numbers = (int(entry.offset), int(entry.nbytes), int(entry.align))
    shape = tuple(int(n) for n in entry.shape)
    flags = (bool(entry.zero), bool(entry.is_rollup))
    return repr(
        (entry.name, entry.location, numbers, shape, _pack_dtype(entry.dtype), flags)
    ).encode()


def _pack_dtype(dtype: np.dtype[Any]) -> Any:
    return np.lib.format.dtype_to_descr(dtype), dtype.isalignedstruct


def _unpack_dtype(packed: Any) -> np.dtype[Any]:
    descr, is_aligned = packed
    dtype = np.lib.format.descr_to_dtype(descr)
    if not is_aligned or dtype.names is None or dtype.fields is None:
        return dtype
    fields = [dtype.fields[name] for name in dtype.names]
    return np.dtype(
        {
            "names": list(dtype.names),
            "formats": [field[0] for field in fields],
            "offsets": [field[1] for field in fields],
            "itemsize": dtype.itemsize,
        },
        align=True,
    )


def _unpack(content: bytes) -> Allocator:
    name, location, numbers, shape, dtype, flags = ast.literal_eval(content.decode())
    offset, n_bytes, align = numbers
    fields = {
        "name": name,
        "location": location,
        "offset": offset,
        "nbytes": n_bytes,
        "size": int(np.prod(shape, dtype=np.uint64)),
        "shape": shape,
        "dtype": _unpack_dtype(dtype),
        "zero": flags[0],
        "align": align,
        "is_rollup": flags[1],
    }
    # What an allocator does not look at is None.
    return Allocator(Placement([fields.get(field) for field in Placement.__match_args__]))
