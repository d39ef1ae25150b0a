"""Slot managers as users meet them: the C type, backends by name, and the drawings."""

from __future__ import annotations

from collections.abc import Callable, ItemsView, KeysView, ValuesView
from typing import TYPE_CHECKING, Any, Self

from . import _core, backends
from .budget import Budget

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .pressure import MemoryPressure

__all__ = ["SlotManager"]


class SlotManager(_core.SlotManager):
    """
    Named slots of device memory under one budget; what is not needed goes when room is short.

    A slot has a name, a size and contents, which may leave the device (*evicted*, copied to the
    host) and come back at the next `use`. Where a new slot or a returning one finds no room, the
    slots that are not pinned and not in use go in the order of the policy.

    Parameters
    ----------
    budget : Budget
        What the slots are charged to.
    backend : str or SimBackend
        Where the bytes are: ``"sim"`` (a private simulator of this budget), ``"cuda"``,
        ``"vmm"``, a backend object, or ``"auto"``: what the budget was made for, else what the
        environment variable BAYPLAN_BACKEND says, else a device, which has to answer.
    policy : str or callable
        Who goes first among slots of one priority: ``"lru"`` (least recently used), ``"mru"``
        (most recently used), ``"big_first"``, or a key that takes a slot; the smallest goes
        first.
    on_shortage : {"evict", "raise"}
        Whether a request that finds no room evicts others or is refused.

    Raises
    ------
    BufferValueError
        No such backend, policy or `on_shortage`.
    DeviceUnavailable
        No device answers; says what was tried.
    """

    def __new__(
        cls,
        budget: Budget,
        *,
        backend: str | _core.SimBackend = "auto",
        policy: str | Callable[[_core.Slot], Any] = "lru",
        on_shortage: str = "evict",
    ) -> Self:
        """Make a manager without slots."""
        if not isinstance(budget, Budget):
            raise TypeError(f"budget must be a Budget, not {type(budget).__name__}")
        return super().__new__(
            cls,
            budget,
            backend=backends.resolve(backend, budget),
            policy=policy,
            on_shortage=on_shortage,
        )

    def keys(self) -> KeysView[str]:
        """Return a view of the names, in order of allocation."""
        return KeysView(self)

    def values(self) -> ValuesView[_core.Slot]:
        """Return a view of the slots, in order of allocation."""
        return ValuesView(self)

    def items(self) -> ItemsView[str, _core.Slot]:
        """Return a view of (name, slot), in order of allocation."""
        return ItemsView(self)

    def text(self) -> str:
        """Draw every slot as a row of fixed-width text: state, bytes, who would go first."""
        from . import draw

        return draw.slots_text(self)

    def plot(self, ax: Axes | None = None) -> Axes:
        """
        Draw the budget as a map with matplotlib (extra ``plot``): a box per slot, to scale.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where. Without it a figure of pyplot is made, as high as it must be for names to be
            readable; on axes that are given, everything shrinks until it fits.

        Returns
        -------
        matplotlib.axes.Axes
            The axes drawn on, in inches from the upper left corner.

        Raises
        ------
        ImportError
            Without matplotlib.
        """
        from . import draw

        return draw.plot_slots(self, ax)

    def _repr_html_(self) -> str:
        from . import draw

        return draw.slots_html(self)

    def __rich__(self) -> Any:
        from . import draw

        return draw.rich_slots(self)

    if TYPE_CHECKING:

        @property
        def budget(self) -> Budget:
            """What the slots are charged to."""
            ...

        @property
        def pressure(self) -> MemoryPressure:
            """How full the budget is."""
            ...
