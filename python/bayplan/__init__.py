"""Buffers of CUDA device functions, placed by a C core.

Factories register named buffers; the registry lays them out in shared, block,
local and persistent-local memory; device functions reach them through views
that cost nothing at run time (`bayplan.kernel`, which needs numba-cuda).

Budgets account for device memory, and slot managers keep named allocations
within them: what is not needed is evicted when room is short, and comes back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._core import (
    BayplanError,
    BudgetExceeded,
    BudgetStats,
    BufferKeyError,
    BufferValueError,
    Busy,
    ChildRegion,
    DeviceFault,
    DeviceUnavailable,
    Entry,
    Evicted,
    EvictionLog,
    ForkedProcess,
    Hazard,
    NotYetError,
    Observation,
    Placement,
    PressureEdge,
    PressureWatch,
    Region,
    Reservation,
    SimBackend,
    SimStream,
    Slot,
    SlotExists,
    SlotStats,
    SlotUse,
    SlotView,
    StaleHandle,
    Subscription,
    __version__,
    bank_conflicts,
)
from .budget import Budget
from .layout import BoundLayout, BufferRegistry, Layout, buffer_registry
from .plans import PackingInstance, Plan, plan, read_csv, write_csv
from .pressure import APPLIED, DEFERRED, LimitChange, MemoryPressure
from .slots import SlotManager

if TYPE_CHECKING:
    from .factory import BufferOwner, CUDAFactory

__all__ = [
    "APPLIED",
    "DEFERRED",
    "BayplanError",
    "BoundLayout",
    "Budget",
    "BudgetExceeded",
    "BudgetStats",
    "BufferKeyError",
    "BufferOwner",
    "BufferRegistry",
    "BufferValueError",
    "Busy",
    "CUDAFactory",
    "ChildRegion",
    "DeviceFault",
    "DeviceUnavailable",
    "Entry",
    "Evicted",
    "EvictionLog",
    "ForkedProcess",
    "Hazard",
    "Layout",
    "LimitChange",
    "MemoryPressure",
    "NotYetError",
    "Observation",
    "PackingInstance",
    "Placement",
    "Plan",
    "PressureEdge",
    "PressureWatch",
    "Region",
    "Reservation",
    "SimBackend",
    "SimStream",
    "Slot",
    "SlotExists",
    "SlotManager",
    "SlotStats",
    "SlotUse",
    "SlotView",
    "StaleHandle",
    "Subscription",
    "__version__",
    "bank_conflicts",
    "buffer_registry",
    "plan",
    "read_csv",
    "write_csv",
]

# What is imported when it is first asked for: name to module. Submodules that
# need an extra (numba-cuda, matplotlib) are found by their own name.
_LAZY = {"BufferOwner": "factory", "CUDAFactory": "factory"}
_LAZY_MODULES = ("draw", "factory", "kernel")


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _LAZY:
        value = getattr(import_module(f".{_LAZY[name]}", __name__), name)
        globals()[name] = value
        return value
    if name in _LAZY_MODULES:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    own = {name for name in globals() if name not in ("Any", "TYPE_CHECKING", "annotations")}
    return sorted({*own, *__all__, *_LAZY_MODULES})
