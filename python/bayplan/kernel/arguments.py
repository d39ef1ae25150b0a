"""What `views`, `root` and allocators accept: one set of checks for both paths.

The compiler sees types, the simulator sees values; each side says what an
argument is as an `Argument`, and the rules and the texts are here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from .._core import Layout, Placement
from . import messages
from .entries import is_uneven_rollup

# The order in which arenas are passed.
ARENA_ORDER = ("shared", "persistent_local", "block")


class Argument(NamedTuple):
    """What one argument is: a word for the rules, a text for the messages."""

    kind: Literal["region", "arena", "none", "integer", "other"]
    text: str
    layout: Layout | None = None


def array_argument(n_dims: int, is_contiguous: bool) -> Argument:
    """Describe an array; only C-contiguous 1-D arrays are arenas."""
    if n_dims != 1:
        return Argument("other", f"a {n_dims}-D array")
    if not is_contiguous:
        return Argument("other", "a non-contiguous array")
    return Argument("arena", "a 1-D array")


def region_argument(layout: Layout) -> Argument:
    """Describe the region of a layout."""
    return Argument("region", f"the region of {messages.label(layout)}", layout)


def views_argument(layout: Layout) -> Argument:
    """Describe an opened layout."""
    return Argument("other", f"the views of {messages.label(layout)}")


def phase_argument(layout: Layout, phase: str) -> Argument:
    """Describe an entered phase."""
    return Argument("other", messages.phase_label(layout, phase))


NONE = Argument("none", "None")
INTEGER = Argument("integer", "an integer")
NUMBER = Argument("other", "a number")
OTHER = Argument("other", "another object")


def check_views(layout: Layout, arguments: Sequence[Argument]) -> bool:
    """Check the arguments of `views`; whether they are a region, not arenas.

    Raises
    ------
    TypeError
        With the text for the author.
    """
    if not 1 <= len(arguments) <= len(ARENA_ORDER):
        raise TypeError(messages.views_count(layout, len(arguments)))
    mem = arguments[0]
    if mem.layout is not None:
        if any(argument.kind != "none" for argument in arguments[1:]):
            raise TypeError(messages.region_with_arenas(layout))
        if mem.layout is not layout and mem.layout != layout:
            raise TypeError(messages.wrong_region(layout, mem.layout))
        return True
    if mem.kind not in ("arena", "none"):
        raise TypeError(messages.bad_mem(layout, mem.text))
    who = messages.label(layout)
    for location, argument in zip(ARENA_ORDER, arguments, strict=False):
        _check_arena(who, location, argument)
    for i, location in enumerate(ARENA_ORDER):
        n_bytes = getattr(layout, location).nbytes
        is_given = i < len(arguments) and arguments[i].kind == "arena"
        if n_bytes and not is_given:
            raise TypeError(messages.missing_arena(who, messages.ARENA_NAMES[location], n_bytes))
    return False


def _check_arena(who: str, location: str, argument: Argument) -> None:
    if argument.kind not in ("arena", "none"):
        raise TypeError(messages.bad_arena(who, messages.ARENA_NAMES[location], argument.text))


def check_allocator(entry: Placement, arguments: Sequence[Argument]) -> int | None:
    """Check the arguments of an allocator; the index of the arena it uses, if any.

    Raises
    ------
    TypeError
        With the text for the author.
    """
    if is_uneven_rollup(entry):
        raise TypeError(messages.uneven_rollup(entry))
    index = _arena_index(entry, len(arguments))
    who = messages.allocator_label(entry)
    for i, argument in enumerate(arguments):
        location = entry.location if len(arguments) == 1 else ARENA_ORDER[i]
        _check_arena(who, location, argument)
    if index is None or entry.nbytes == 0:
        return None
    if arguments[index].kind == "none":
        arena = messages.ARENA_NAMES[entry.location]
        raise TypeError(messages.missing_arena(who, arena, entry.offset + entry.nbytes))
    return index


def _arena_index(entry: Placement, n_args: int) -> int | None:
    """Which argument a buffer's bytes come from; TypeError if no form has so many."""
    if entry.location == "local":
        if n_args in (0, 2, 3):
            return None
    elif n_args == 1:
        return 0
    elif n_args in (2, 3) and ARENA_ORDER.index(entry.location) < n_args:
        return ARENA_ORDER.index(entry.location)
    raise TypeError(messages.allocator_count(entry, n_args))


def check_root(layout: Layout, arguments: Sequence[Argument]) -> None:
    """Check the arguments of `root`.

    Raises
    ------
    TypeError
        With the text for the author.
    """
    if len(arguments) != 1:
        raise TypeError(messages.root_argument(layout, f"{len(arguments)} arguments"))
    if arguments[0].kind != "integer":
        raise TypeError(messages.root_argument(layout, arguments[0].text))
