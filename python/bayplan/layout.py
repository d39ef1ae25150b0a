"""Registry and layouts as users meet them: the C types and what Python adds.

Nothing is computed here that the core knows: these classes add the way into
`bayplan.kernel` and `bayplan.draw`, and words.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, SupportsIndex
from weakref import WeakValueDictionary

from . import _core
from .words import explain_placement, list_changes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["BoundLayout", "BufferRegistry", "Layout", "buffer_registry"]

# One allocator for one placement, as long as anybody holds it. The key leaves
# `bytes_of` and `carried` out: an edit of another buffer may change them alone.
_allocators: WeakValueDictionary[tuple[Any, ...], Any] = WeakValueDictionary()


def _kernel_messages() -> Any:
    """Return `bayplan.kernel.messages` if the kernel face is in use, else None."""
    kernel = sys.modules.get("bayplan.kernel")
    return getattr(kernel, "messages", None)


class Layout(_core.Layout):
    """Immutable snapshot of where every buffer of one factory lies.

    Layouts come from `BufferRegistry.build_layout`. See also `views`, which is
    how device functions use a layout, and `bind`, which fixes what a launch
    decides.
    """

    def views(self, *arenas: Any, **named: Any) -> Any:
        """Open this layout in a device function: ``b = L.views(mem)``.

        Compiled code does not come here; this is what the simulator runs.

        Parameters
        ----------
        *arenas
            The region a caller or `BoundLayout.root` gave, or the arenas
            themselves: ``(shared, persistent)`` or ``(shared, persistent, block)``.

        Returns
        -------
        object
            Attributes are the buffers' arrays and the children's regions.
        """
        from .kernel import messages, sim

        if named:
            raise TypeError(messages.keywords(named))
        return sim.views(self, *arenas)

    def allocator(self, name: str) -> Callable[..., Any]:
        """Return the device function object that gives the array of one buffer.

        Parameters
        ----------
        name : str
            A buffer, or a roll-up of a child.

        Returns
        -------
        Allocator
            The same object for an equal placement.

        Raises
        ------
        BufferKeyError
            The layout has no such buffer.
        """
        try:
            return self.__dict__["_allocators"][name]  # type: ignore[no-any-return]
        except (KeyError, TypeError):
            return self._make_allocator(name)

    def _make_allocator(self, name: str) -> Callable[..., Any]:
        placement = self[name]
        key = placement[:-2]
        allocator = _allocators.get(key)
        if allocator is None:
            from .kernel import make_allocator

            allocator = _allocators.setdefault(key, make_allocator(placement, self))
        self.__dict__.setdefault("_allocators", {})[name] = allocator
        return allocator  # type: ignore[no-any-return]

    def explain(self, name: str) -> str:
        """Say in a paragraph why a buffer lies where it lies.

        Raises
        ------
        BufferKeyError
            The layout has no such buffer.
        """
        return explain_placement(self, self[name])

    def diff(self, other: _core.Layout) -> str:
        """Say what is different in `other`, a line each; empty if they are equal."""
        return "\n".join(list_changes(self, other))

    def text(self) -> str:
        """Draw every region as fixed-width text."""
        from . import draw

        return draw.text(self)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw every region with matplotlib (extra ``plot``).

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        matplotlib.axes.Axes
        """
        from . import draw

        return draw.plot(self, ax)

    def _repr_html_(self) -> str:
        from . import draw

        return draw.html(self)

    def __getattr__(self, name: str) -> Any:
        messages = None if name.startswith("_") else _kernel_messages()
        if messages is not None:
            raise AttributeError(messages.unopened(self, name), name=name, obj=self)
        hint = f"; did you mean layout[{name!r}]?" if name in self else ""
        raise AttributeError(
            f"{type(self).__name__!r} object has no attribute {name!r}{hint}", name=name, obj=self
        )

    if TYPE_CHECKING:

        def bind(
            self,
            *,
            stride: SupportsIndex | None = None,
            policy: str = "pad",
            lanes_per_run: SupportsIndex = 1,
            reserve_bytes: SupportsIndex = 0,
        ) -> BoundLayout: ...


class BoundLayout(_core.BoundLayout):
    """A layout and what a launch decides about it; from `Layout.bind`."""

    def root(self, *run: Any, **named: Any) -> Any:
        """Open the arenas of one run at the top of a kernel: ``mem = B.root(run)``.

        Compiled code does not come here; this is what the simulator runs.

        Parameters
        ----------
        run : int
            The run's index in its block.

        Returns
        -------
        object
            The region that ``L.views(mem)`` opens.
        """
        from .kernel import messages, sim

        if named:
            raise TypeError(messages.keywords(named))
        return sim.root(self, *run)

    def __getattr__(self, name: str) -> Any:
        messages = None if name.startswith("_") else _kernel_messages()
        text = (
            f"{type(self).__name__!r} object has no attribute {name!r}"
            if messages is None
            else messages.bound_attribute(self.layout, name)
        )
        raise AttributeError(text, name=name, obj=self)

    if TYPE_CHECKING:

        @property
        def layout(self) -> Layout: ...


class BufferRegistry(_core.BufferRegistry):
    """Named buffers of factories, and the layouts planned from them.

    Parameters
    ----------
    mode : str
        How regions are planned: 'auto', 'sequential' or 'packed'.
    budget : int, optional
        Nodes a search may use; kept for the searching modes.
    poison : bool
        Whether the simulator fills the bytes of buffers that are not alive with
        poison, so that a wrong lifetime shows.
    """

    def get_allocator(self, factory: object, name: str) -> Callable[..., Any]:
        """Return the kernel-side allocator of one buffer of a factory.

        Raises
        ------
        BufferKeyError
            The factory has no such buffer.
        """
        layout = self.build_layout(factory)
        try:  # as Layout.allocator does; a call less
            return layout.__dict__["_allocators"][name]  # type: ignore[no-any-return]
        except (KeyError, TypeError):
            return layout._make_allocator(name)

    if TYPE_CHECKING:

        def build_layout(self, factory: object) -> Layout: ...

        def layout(self, factory: object) -> Layout: ...


_core._set_classes(layout=Layout, bound=BoundLayout)

#: The process's default registry; own instances are equal citizens.
buffer_registry = BufferRegistry()
