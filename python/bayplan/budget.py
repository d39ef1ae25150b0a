"""Budgets as users meet them: the C type, sizes in words, and the way to the drawings."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self, SupportsIndex

from . import _core, backends
from .pressure import APPLIED, DEFERRED, LimitChange, MemoryPressure
from .sizes import parse_size

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Budget"]


def _bytes_of(limit: SupportsIndex | str | float, device: object) -> SupportsIndex:
    """Turn a limit as people write it into bytes; a fraction is rounded down."""
    if isinstance(limit, str):
        return parse_size(limit)
    if isinstance(limit, float):
        from fractions import Fraction

        if not 0 < limit <= 1:
            raise _core.BufferValueError(
                f"a float limit is a fraction of the device, above 0 and at most 1, not {limit!r}"
            )
        return int(Fraction(limit) * backends.capacity_of(device))
    return limit


class Budget(_core.Budget):
    """
    A limit on bytes of device memory, and the account of who has them.

    Every byte is in exactly one field: *used* (resident), *reserved* (promised) or *retiring*
    (evicted, but the device may still use it); together they never exceed the limit, unless it
    was lowered below what is in use. Budgets form trees: what a budget grants, its parents carry.

    Parameters
    ----------
    limit : int, str or float
        Bytes; a size such as ``"8GiB"`` or ``"1.5 GB"``; or a fraction of the device's memory,
        above 0.0 and at most 1.0.
    name : str, optional
        For messages and drawings.
    levels : sequence of three int
        Percents of the limit at which MEDIUM, HIGH and CRITICAL begin.
    release : int
        Percents below a level at which its edge falls again (see `subscribe`).
    evict_at : (int, int), optional
        After an admission that leaves the budget at or above the first percent, evict down to
        the second.
    parent : Budget, optional
        The budget whose bytes these are, too.
    granularity : int
        Power of two; every request is rounded up to it.
    device : SimBackend, optional
        The device the bytes are on: what slot managers of this budget use by default, and what
        a fraction is of. By default the parent's.

    Raises
    ------
    BufferValueError
        A value that cannot be; the message names it.
    DeviceUnavailable
        A fraction without a device to ask.
    """

    _device: _core.SimBackend | None
    _children: list[weakref.ref[Budget]]

    def __new__(
        cls,
        limit: SupportsIndex | str | float,
        *,
        name: str | None = None,
        levels: Sequence[int] = (50, 80, 95),
        release: int = 5,
        evict_at: tuple[int, int] | None = None,
        parent: Budget | None = None,
        granularity: int = 1,
        device: _core.SimBackend | None = None,
    ) -> Self:
        """Make a budget."""
        if device is None and isinstance(parent, Budget):
            device = parent.device
        if device is not None and not isinstance(device, _core.SimBackend):
            raise TypeError(f"device must be a SimBackend or None, not {type(device).__name__}")
        self = super().__new__(
            cls,
            _bytes_of(limit, device),
            name=name,
            levels=levels,
            release=release,
            evict_at=evict_at,
            parent=parent,
            granularity=granularity,
        )
        self._device = device
        self._children = []
        if isinstance(parent, Budget):
            parent._children.append(weakref.ref(self, parent._children.remove))
        return self

    @property
    def device(self) -> _core.SimBackend | None:
        """The device it was made for, or None: slot managers then say where."""
        return self._device

    @property
    def children(self) -> tuple[Budget, ...]:
        """Budgets directly below, in order of making."""
        alive = (child() for child in tuple(self._children))
        return tuple(child for child in alive if child is not None)

    def _simulator(self) -> _core.SimBackend:
        """Return the private simulator of this budget."""
        found: _core.SimBackend | None = self.__dict__.get("_sim")
        if found is None:
            found = self.__dict__.setdefault("_sim", _core.SimBackend())
        return found

    def set_limit(self, limit: SupportsIndex | str | float) -> LimitChange:
        """
        Change the limit. Writes the account only: nothing is evicted by this call.

        Parameters
        ----------
        limit : int, str or float
            As for the budget itself.

        Returns
        -------
        LimitChange
            APPLIED, or DEFERRED where more than that is in use now; then the next admission,
            or `trim`, evicts.
        """
        is_deferred = super().set_limit(_bytes_of(limit, self._device))
        return DEFERRED if is_deferred else APPLIED

    def observe(self) -> _core.Observation:
        """
        Ask the device itself for its free memory.

        Returns
        -------
        Observation
            Bytes free and in total, tracked (by this budget) and untracked (in use on the device
            beyond that; 0 where the device has no capacity). Asked is the backend of the budget's
            first slot manager, or else the device that the budget was made for.

        Raises
        ------
        DeviceUnavailable
            There is neither.
        DeviceFault
            The device has failed.
        """
        try:
            return super().observe()
        except _core.DeviceUnavailable:
            if self._device is None:
                raise
        return backends.observation_of(self._device, self.stats())

    def text(self) -> str:
        """Draw this budget and all below it as fixed-width text: bars, bytes, pressure, tags."""
        from . import draw

        return draw.budget_text(self)

    def plot(self, ax: Axes | None = None) -> Axes:
        """
        Draw use over time with matplotlib (extra ``plot``).

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where; by default a new figure of pyplot.

        Returns
        -------
        matplotlib.axes.Axes
            The axes drawn on: x counts admissions, releases and touches, y is bytes. Used,
            reserved and retiring bytes are stacked, before bands of the pressure levels and
            under the limit.

        Raises
        ------
        ImportError
            Without matplotlib.
        """
        from . import draw

        return draw.plot_budget(self, ax)

    def _repr_html_(self) -> str:
        from . import draw

        return draw.budget_html(self)

    def __rich__(self) -> Any:
        from . import draw

        return draw.rich_budget(self)

    if TYPE_CHECKING:

        @property
        def parent(self) -> Budget | None:
            """The budget whose bytes these are, too."""
            ...

        @property
        def pressure(self) -> MemoryPressure:
            """How full it is."""
            ...
