"""Planning alone: arrays of buffers in, offsets and proven bounds out; and tables in files.

The C core plans; this module has the words, the files and the way to the drawings.
"""

from __future__ import annotations

from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self, SupportsFloat, SupportsIndex

from . import _core

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

__all__ = ["PackingInstance", "Plan", "plan", "read_csv", "write_csv"]


class _Progress(Protocol):
    def __call__(self, nodes: int, height: int, lower_bound: int, /) -> object: ...


class _PlanFields(NamedTuple):
    offsets: NDArray[np.int64]
    height: int
    load: int
    lower_bound: int
    status: str
    nodes: int


class Plan(_PlanFields):
    """
    Where every buffer goes, and how good that is. Made by `plan`.

    A tuple of the first six attributes; the others say what was planned.

    Attributes
    ----------
    offsets : numpy.ndarray of int64
        Bytes, one per buffer.
    height : int
        Largest offset + size in bytes, not rounded.
    load : int
        Most bytes alive at once.
    lower_bound : int
        Bytes that no plan can beat (proven).
    status : str
        ``"optimal"`` (the height equals the proven bound) or ``"feasible"``. With a capacity:
        ``"feasible"`` (it fits), ``"infeasible"`` (proven: nothing fits) or ``"unknown"``; the
        offsets of the last two are the best that was found.
    nodes : int
        Search nodes used; 0 where nothing had to be searched.
    interrupted : bool
        The time limit or Ctrl-C ended the search: the same call may give another plan next time.
    sizes, first, last : numpy.ndarray of int64
        What was planned (read-only copies).
    """

    interrupted: bool
    sizes: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]

    @classmethod
    def _of(cls, found: _core.Plan) -> Self:
        """Wrap what the core found."""
        self = cls(*found)
        self.interrupted = found.interrupted
        self.sizes, self.first, self.last = found.sizes, found.first, found.last
        return self

    def text(self) -> str:
        """Draw address against time as fixed-width text: a head, the map, a key."""
        from . import draw

        return draw.plan_text(self)

    def plot(self, ax: Axes | None = None) -> Axes:
        """
        Draw address against time with matplotlib (extra ``plot``), live bytes as a line.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where; by default a new figure of pyplot.

        Returns
        -------
        matplotlib.axes.Axes
            The axes drawn on: x is time, y is bytes.

        Raises
        ------
        ImportError
            Without matplotlib.
        """
        from . import draw

        return draw.plot_plan(self, ax)


def plan(
    sizes: ArrayLike,
    first: ArrayLike,
    last: ArrayLike,
    *,
    align: ArrayLike | None = None,
    pins: ArrayLike | None = None,
    mode: str = "auto",
    budget: SupportsIndex | None = None,
    capacity: SupportsIndex | None = None,
    time_limit: SupportsFloat | None = None,
    progress: _Progress | None = None,
) -> Plan:
    """
    Give buffers offsets so that no two overlap in both time and address.

    Without a time limit the same arguments give the same bytes on every machine. The GIL is
    released while the core plans.

    Parameters
    ----------
    sizes : array of int, shape (n,)
        Bytes of each buffer, >= 0. At most 2**31 buffers.
    first, last : array of int, shape (n,)
        Buffer i is alive in first[i] <= t < last[i].
    align : array of int, shape (n,), optional
        Powers of two up to 2**32 that the offsets are multiples of; by default 1.
    pins : array of int, shape (n,), optional
        Offsets that are fixed; -1 where the planner is free. Not for the simple modes.
    mode : str
        ``"sequential"`` (declaration order) and ``"packed"`` (alignment descending) put one
        buffer after the other, whatever the lifetimes. ``"fast"``: the best of several first
        fits. ``"optimal"``: from there, exact search. ``"auto"``: declaration order if that
        equals the proven bound, else ``"optimal"`` with a small budget; with a capacity it is
        ``"optimal"``.
    budget : int, optional
        Search nodes, at least 1; by default the mode's own: 16,384 for ``"auto"``, 2,097,152 for
        ``"optimal"`` and for decisions, less where there are more than 512 buffers.
    capacity : int, optional
        Only decide: is there a plan of at most so many bytes? Not for the simple modes.
    time_limit : float, optional
        Seconds after which the search ends with the best plan so far.
    progress : callable, optional
        Called as ``progress(nodes, height, lower_bound)`` when the search has news, now and then
        in between, and at the end. An exception in it ends the search and is raised.

    Returns
    -------
    Plan
        ``"optimal"`` only where the height equals a proven bound.

    Raises
    ------
    BufferValueError
        No integer arrays of one length, a negative size, first > last, an alignment that is no
        power of two, a misaligned pin, two pins that overlap in time and address, sums beyond
        64 bits (with pins: 62), more than 2**31 buffers.

    Notes
    -----
    Exact search takes stretches of up to 8,192 buffers with about a million overlapping pairs
    (a stretch ends where nothing is alive); what is larger stays where first fit put it.

    Ctrl-C during the search is not an error: the search ends, the best plan so far is returned
    and says so (`Plan.interrupted`). The key press is used up; a second one after the return
    is an ordinary KeyboardInterrupt. Searches look for it about twenty times a second, in the
    main thread; the greedy stage before a search does not, so there it comes through when the
    plan is done.
    """
    return Plan._of(
        _core.plan(
            sizes,
            first,
            last,
            align=align,
            pins=pins,
            mode=mode,
            budget=budget,
            capacity=capacity,
            time_limit=time_limit,
            progress=progress,
        )
    )


class _InstanceFields(NamedTuple):
    sizes: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    align: NDArray[np.int64] | None


class PackingInstance(_InstanceFields):
    """
    Buffers read from a file, as `plan` takes them.

    A tuple of sizes, first, last and align (None without such a column).

    Attributes
    ----------
    offsets : numpy.ndarray of int64 or None
        The file's offsets, -1 where a cell was empty; None without such a column. In the same
        form as `pins`.
    """

    offsets: NDArray[np.int64] | None


def read_csv(path: str | PathLike[str]) -> PackingInstance:
    """
    Read buffers from a file in MiniMalloc's format.

    The first line names the columns ``id,lower,upper,size`` and maybe ``alignment`` and
    ``offset``, in any order; a buffer lives in ``lower <= t < upper``. Ids are not kept.

    Parameters
    ----------
    path : path-like
        Where.

    Returns
    -------
    PackingInstance
        ``(sizes, first, last, align)``, and `PackingInstance.offsets`.

    Raises
    ------
    BufferValueError
        Malformed: the message has file, line and column.
    OSError
        The file cannot be read.
    """
    sizes, first, last, align, offsets = _core.read_csv(Path(path).read_bytes(), fspath(path))
    instance = PackingInstance(sizes, first, last, align)
    instance.offsets = offsets
    return instance


def write_csv(
    path: str | PathLike[str],
    sizes: ArrayLike,
    first: ArrayLike,
    last: ArrayLike,
    *,
    align: ArrayLike | None = None,
    offsets: ArrayLike | None = None,
) -> None:
    """
    Write buffers to a file in MiniMalloc's format, with ids 0, 1, ...

    Parameters
    ----------
    path : path-like
        Where; a file that is there is replaced.
    sizes, first, last, align
        As `plan` takes them; without `align` there is no such column.
    offsets : array of int, optional
        A column ``offset``; negative ones become empty cells.

    Raises
    ------
    BufferValueError
        No integer arrays of one length, or a negative size.
    OSError
        The file cannot be written.
    """
    data = _core.write_csv(sizes, first, last, align=align, offsets=offsets)
    Path(path).write_bytes(data)
