"""What authors of device functions read when something is wrong.

The compiler path and the simulator take their words from here, so that one
mistake has one text. Nothing in this file needs Numba.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..messages import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .._core import Layout, Placement

# What the arena of a location is called in the arguments of views and allocators.
ARENA_NAMES = {"shared": "shared", "persistent_local": "persistent", "block": "block"}
VIEWS_FORMS = "(mem), (shared, persistent) or (shared, persistent, block)"
# The block arena comes third, so two arguments cannot serve a block-wide buffer.
_ALLOCATOR_FORMS = {
    "shared": "(shared), (shared, persistent) or (shared, persistent, block)",
    "persistent_local": "(persistent), (shared, persistent) or (shared, persistent, block)",
    "local": "(), (shared, persistent) or (shared, persistent, block)",
    "block": "(block) or (shared, persistent, block)",
}


def label(layout: Layout) -> str:
    """How messages call a layout: its factory's type name, else its short digest."""
    return f"layout {layout.name!r}" if layout.name else f"layout {layout.digest[:8]}"


def _label_with_digest(layout: Layout) -> str:
    if not layout.name:
        return label(layout)
    return f"{label(layout)} ({layout.digest[:8]})"


def known_names(layout: Layout) -> list[str]:
    """The buffers, then the children; roll-ups are left out."""
    own = [entry.name for entry in layout.placements if not entry.is_rollup]
    return [*own, *layout.children]


def unknown(layout: Layout, name: str) -> str:
    """A name that the layout does not have."""
    names = known_names(layout)
    has = ", ".join(names) if names else "nothing"
    kinds = "buffer or child"
    if layout.phases:
        kinds = "buffer, child or phase"
        has += "; phases: " + ", ".join(layout.phases)
    hint = nearest(name, [*names, *layout.phases])
    return f"{label(layout)} has no {kinds} {name!r} (has: {has}){hint}"


# ---- phases -----------------------------------------------------------------


def _lives(layout: Layout, kind: str, name: str, live: tuple[str, str]) -> str:
    phases = "phase" if live[0] == live[1] else "phases"
    return f"{kind} {name!r} of {label(layout)} lives in {phases} {_span(live)}"


def _span(live: tuple[str, str]) -> str:
    first, last = live
    return repr(first) if first == last else f"{first!r} to {last!r}"


def not_alive(layout: Layout, kind: str, name: str, live: tuple[str, str], phase: str) -> str:
    """A buffer or child asked of a phase that it does not live in."""
    return (
        f"{kind} {name!r} of {label(layout)} is not alive in phase {phase!r} "
        f"(it lives in {_span(live)})"
    )


def enter_first(layout: Layout, kind: str, name: str, live: tuple[str, str]) -> str:
    """A buffer or child that lives in some phases, asked of the views."""
    which = "it" if live[0] == live[1] else "one of them"
    return f"{_lives(layout, kind, name, live)}: enter {which} first, s = b.{live[0]}()"


def out_of_reach(layout: Layout, kind: str, name: str, live: tuple[str, str]) -> str:
    """A buffer or child that lives in some phases, asked of a region."""
    return (
        f"{_lives(layout, kind, name, live)}: "
        "only the function that opens the layout can enter that"
    )


def phase_label(layout: Layout, phase: str) -> str:
    """How messages call a phase."""
    return f"phase {phase!r} of {label(layout)}"


def not_entered(layout: Layout, phase: str, name: str) -> str:
    """Anything asked of a phase that was named, not called."""
    return f"{phase_label(layout, phase)} is not entered: s = b.{phase}(), then s.{name}"


def entered_from_views(layout: Layout, phase: str) -> str:
    """A phase asked of a region or of another phase."""
    return f"{phase_label(layout, phase)} is entered from the views: b = L.views(mem), b.{phase}()"


def enter_arguments(layout: Layout, phase: str, n_args: int) -> str:
    """A phase entered with arguments."""
    return f"{phase_label(layout, phase)}: entering takes no arguments, got {n_args}"


def wrong_region(layout: Layout, got: Layout) -> str:
    """A region that was made for another layout."""
    return (
        f"{_label_with_digest(layout)} was given the region of {_label_with_digest(got)}; "
        "pass the region made for it"
    )


def region_with_arenas(layout: Layout) -> str:
    """A region and arenas in one call."""
    return f"{label(layout)}: views takes {VIEWS_FORMS}; a region is passed alone"


def views_count(layout: Layout, n_args: int) -> str:
    """A wrong number of arguments to views."""
    return f"{label(layout)}: views takes {VIEWS_FORMS}; got {n_args} arguments"


def bad_mem(layout: Layout, got: str) -> str:
    """A first argument of views that is neither region nor arena."""
    return f"{label(layout)}: views takes {VIEWS_FORMS}; got {got} for mem"


def bad_arena(who: str, arena: str, got: str) -> str:
    """Something that cannot serve as an arena; `who` is a label."""
    return f"{who}: the {arena} arena must be a C-contiguous 1-D array, got {got}"


def missing_arena(who: str, arena: str, n_bytes: int) -> str:
    """None, or nothing, where an arena is needed."""
    return f"{who} needs a {arena} arena of {n_bytes} bytes, got None"


def short_arena(who: str, arena: str, needed: int, n_bytes: int) -> str:
    """An arena that ends too early (only the simulator can see it)."""
    return f"{who} needs {needed} bytes of the {arena} arena, it has {n_bytes}"


def keywords(names: Iterable[str]) -> str:
    """Arguments passed by name."""
    return f"arguments are passed by position here, not by name: {', '.join(names)}"


def rebind(layout: Layout, name: str) -> str:
    """An assignment to an attribute of views or of a region."""
    if name in layout.phases:
        return f"cannot rebind {phase_label(layout, name)}; enter it: s = b.{name}()"
    return f"cannot rebind {name!r} of {label(layout)}; write to its elements: .{name}[...] = value"


def unopened(layout: Layout, name: str) -> str:
    """A buffer or anything else asked of the layout itself."""
    if name == "root":
        return unbound(layout)
    if name in known_names(layout):
        return f"{label(layout)} is not open: b = L.views(mem), then b.{name}"
    if name in layout.phases:
        return f"{label(layout)} is not open: b = L.views(mem), then s = b.{name}()"
    return f"{label(layout)} has no attribute {name!r}; open it first: b = L.views(mem)"


def unbound(layout: Layout) -> str:
    """Root asked of a layout that no launch has been decided for."""
    return f"{label(layout)} is not bound: B = L.bind(...), then mem = B.root(run)"


def bound_attribute(layout: Layout, name: str) -> str:
    """Anything but root asked of a bound layout in a kernel."""
    return (
        f"bound {label(layout)} has no attribute {name!r} in a kernel: "
        "mem = B.root(run), then b = L.views(mem)"
    )


def private(layout: Layout, name: str) -> str:
    """A local buffer reached for from outside its function."""
    return (
        f"buffer {name!r} of {label(layout)} is local: "
        "it exists only inside the function that opens the layout"
    )


def root_argument(layout: Layout, got: str) -> str:
    """Root called with anything but one integer."""
    return f"bound {label(layout)}: root takes one integer, the run's index in the block; got {got}"


def outside_kernel(layout: Layout) -> str:
    """Root called where there is no launch."""
    return f"bound {label(layout)}: root can only be called inside a running kernel"


def short_launch(layout: Layout, run: int, needed: int, n_bytes: int) -> str:
    """A launch with too few dynamic shared bytes."""
    return (
        f"run {run} of {label(layout)} needs {needed} dynamic shared bytes, "
        f"the launch gave {n_bytes}"
    )


def returned(layout: Layout, what: str) -> str:
    """Views or regions as a device function's result (only the compiler can see it)."""
    return f"the {what} of {label(layout)} cannot be returned: local buffers end with the function"


def uneven_rollup(entry: Placement) -> str:
    """A roll-up whose bytes are no whole number of the parent's elements."""
    return (
        f"roll-up {entry.name!r} holds {entry.nbytes} bytes, no whole number of {entry.dtype} "
        "elements: reach the child through views instead"
    )


def unsupported_dtype(name: str, dtype: object) -> str:
    """An element type that Numba cannot compile for."""
    return f"buffer {name!r} has element type {dtype}, which numba-cuda does not support"


def allocator_label(entry: Placement) -> str:
    """How messages call an allocator."""
    return f"allocator of buffer {entry.name!r} ({entry.location})"


def allocator_count(entry: Placement, n_args: int) -> str:
    """A call of an allocator with a number of arguments that fits no form."""
    forms = _ALLOCATOR_FORMS[entry.location]
    return f"{allocator_label(entry)} takes {forms}; got {n_args} arguments"


def from_global(function: str, path: str, what: str) -> str:
    """A layout that a function reads from a module's globals."""
    return (
        f"{function} reads {what} from the module global {path!r}: a kernel cached on disk would "
        "not notice when it changes. Make the function inside another one and capture it there"
    )
