"""How full a budget is, in four words, and what a changed limit meant."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import TYPE_CHECKING

from . import _core

if TYPE_CHECKING:
    from decimal import Decimal
    from fractions import Fraction

__all__ = ["APPLIED", "DEFERRED", "LimitChange", "MemoryPressure"]

LEVELS = (50, 80, 95)
"""Percents of the limit at which MEDIUM, HIGH and CRITICAL begin."""


class MemoryPressure(enum.IntEnum):
    """
    How much of a budget is in use: used, reserved and retiring bytes together.

    Attributes
    ----------
    LOW
        Below 50 % of the limit.
    MEDIUM
        From 50 % on.
    HIGH
        From 80 % on.
    CRITICAL
        From 95 % on; a budget of 0 bytes always.
    """

    LOW = 0
    MEDIUM = 1
    HIGH = 2
    CRITICAL = 3

    def __str__(self) -> str:
        return self.name

    def __format__(self, spec: str) -> str:
        return int.__format__(self, spec) if spec else self.name

    @property
    def should_evict(self) -> bool:
        """Whether it is time to make room: CRITICAL."""
        return self >= MemoryPressure.CRITICAL

    @classmethod
    def from_utilization(
        cls, percent: float | Fraction | Decimal, levels: Sequence[int] = LEVELS
    ) -> MemoryPressure:
        """
        Name the pressure at a utilisation.

        Parameters
        ----------
        percent : number
            Percent of the limit in use, >= 0; may be above 100. Compared as it is, without
            rounding: the float just below 95.0 is HIGH.
        levels : sequence of three int
            Ascending percents, 1 to 100, at which MEDIUM, HIGH and CRITICAL begin.

        Returns
        -------
        MemoryPressure

        Raises
        ------
        BufferValueError
            A negative percent or NaN; levels that are not three ascending percents.
        """
        steps = tuple(levels)
        is_ascending = all(a < b for a, b in zip((0, *steps), (*steps, 101), strict=True))
        if len(steps) != 3 or not is_ascending:
            raise _core.BufferValueError(
                f"levels must be three ascending percents from 1 to 100, not {steps}"
            )
        if not percent >= 0:
            raise _core.BufferValueError(f"a utilisation in percent is at least 0, not {percent}")
        return cls(sum(percent >= step for step in steps))


class LimitChange(enum.Enum):
    """What `Budget.set_limit` did."""

    APPLIED = "applied"
    """No more than the new limit is in use."""

    DEFERRED = "deferred"
    """More is in use: the next admission, or `Budget.trim`, evicts down to the limit."""


APPLIED = LimitChange.APPLIED
DEFERRED = LimitChange.DEFERRED

_core._set_classes(pressure=MemoryPressure)
