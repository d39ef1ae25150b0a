"""The simulator's main thread gives its lanes their turns."""

from __future__ import annotations

import time

from .compat import BlockThread, simulator

__all__ = ["PatientThread", "be_patient"]

PAUSE = 1e-4
"""Seconds between two looks at one lane."""


class PatientThread(BlockThread):
    """A simulated lane that is not asked in a busy loop whether it still runs.

    The lanes are Python threads, and the simulator's main thread asks each of them, again and
    again, whether it waits at a barrier or has ended. It holds the interpreter while it asks, so
    that at every barrier, and whenever a lane gave the interpreter up, a whole switch interval
    went by: up to fifty times as long as the work took.
    """

    def is_alive(self) -> bool:
        """Whether the lane still runs; others run meanwhile."""
        time.sleep(PAUSE)
        is_alive: bool = super().is_alive()
        return is_alive


def be_patient() -> None:
    """Make the lanes of every launch in the simulator patient ones."""
    simulator.BlockThread = PatientThread
