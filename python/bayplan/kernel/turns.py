"""How long the simulator's lanes run before they hand the interpreter on."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .compat import SimulatedKernel

__all__ = ["PatientKernel", "long_turns"]

LONG_TURN = 0.05
"""Seconds. At Python's own 0.005 handing over took up to fifty times as long as the work."""

_lock = threading.Lock()
_before: list[float] = []  # one entry per launch that runs; the first is the user's own


@contextmanager
def long_turns() -> Iterator[None]:
    """Set the interpreter's switch interval to `LONG_TURN` while any launch runs.

    The simulator's lanes are Python threads, and its main thread asks them in a busy
    loop whether they wait at a barrier. A longer interval that the user has set stays.
    """
    with _lock:
        _before.append(sys.getswitchinterval())
        sys.setswitchinterval(max(_before[-1], LONG_TURN))
    try:
        yield
    finally:
        with _lock:
            first = _before[0]
            _before.pop()
            if not _before:
                sys.setswitchinterval(first)


class PatientKernel(SimulatedKernel):
    """A simulated kernel whose launches take long turns."""

    def __call__(self, *args: Any) -> None:
        """Launch on what the configuration in brackets said."""
        with long_turns():
            super().__call__(*args)
