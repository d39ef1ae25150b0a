"""Which backend a name means: the simulator, or a device that has to answer."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NoReturn

from . import _core, messages

if TYPE_CHECKING:
    from .budget import Budget

__all__ = ["NAMES", "VARIABLE", "capacity_of", "resolve"]

NAMES = ("auto", "sim", "cuda", "vmm")
VARIABLE = "BAYPLAN_BACKEND"
"""Environment variable that says what ``"auto"`` means; read at every use."""


def resolve(backend: str | _core.SimBackend, budget: Budget) -> _core.SimBackend:
    """
    Find the backend that a slot manager asked for.

    Parameters
    ----------
    backend : str or SimBackend
        A backend, which is taken as it is; or ``"sim"``: the one the budget (or a budget above
        it) was made for, else a private simulator of this budget, always the same; or
        ``"cuda"``, ``"vmm"``: a device has to answer; or ``"auto"``: what the budget was made
        for, else what the environment variable BAYPLAN_BACKEND names, else ``"cuda"``.
    budget : Budget
        Whose bytes the backend will hold.

    Returns
    -------
    SimBackend

    Raises
    ------
    BufferValueError
        No such backend.
    DeviceUnavailable
        No device answers; says what was tried. The simulator is never taken instead.
    NotYetError
        A device answers, but this version cannot drive it.
    """
    if isinstance(backend, _core.SimBackend):
        return backend
    if not isinstance(backend, str):
        raise TypeError(f"backend must be a name or a SimBackend, not {type(backend).__name__}")
    name = _checked(backend, "")
    if name == "auto":
        if budget.device is not None:
            return budget.device
        name = _checked(os.environ.get(VARIABLE) or "auto", f"{VARIABLE}: ")
    if name == "sim":
        return budget.device or budget._simulator()
    _refuse(name)


def capacity_of(device: object) -> int:
    """
    Ask how many bytes a device has.

    Parameters
    ----------
    device : SimBackend or None
        None is the machine's device.

    Returns
    -------
    int
        Bytes.

    Raises
    ------
    BufferValueError
        A simulator without a capacity.
    DeviceUnavailable, NotYetError
        As `resolve`.
    """
    if device is None:
        if os.environ.get(VARIABLE) == "sim":
            raise _core.DeviceUnavailable(
                f"{VARIABLE}=sim names no capacity to take a fraction of: "
                "pass device=SimBackend(capacity=...)"
            )
        _refuse("cuda")
    if not isinstance(device, _core.SimBackend):
        raise TypeError(f"device must be a SimBackend or None, not {type(device).__name__}")
    if device.capacity is None:
        raise _core.BufferValueError(
            "a fraction of a simulator without a capacity: make it with SimBackend(capacity=...)"
        )
    return device.capacity


def observation_of(device: _core.SimBackend, stats: _core.BudgetStats) -> _core.Observation:
    """
    Say what a device has that no slot manager has been made for yet.

    Parameters
    ----------
    device : SimBackend
        Whom to ask.
    stats : BudgetStats
        Of the budget.

    Returns
    -------
    Observation
        In bytes.
    """
    tracked = stats.used + stats.reserved + stats.retiring + stats.cached
    if device.capacity is None:
        return _core.Observation((None, None, tracked, 0))
    untracked = max(0, device.used - tracked)
    return _core.Observation((device.capacity - device.used, device.capacity, tracked, untracked))


def _checked(name: str, where: str) -> str:
    if name not in NAMES:
        hint = messages.nearest(name, NAMES) or f"; there are {', '.join(NAMES)}"
        raise _core.BufferValueError(f"{where}there is no backend {name!r}{hint}")
    return name


def _refuse(name: str) -> NoReturn:
    """Say why there is no CUDA backend: no device, or no code for it yet."""
    _core._probe_driver()
    name = "cuda" if name == "auto" else name
    raise _core.NotYetError(
        f"a device answers, but backend {name!r} is not there yet; "
        f"backend='sim' (or {VARIABLE}=sim) simulates one"
    )
