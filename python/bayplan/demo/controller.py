"""The step size controller."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

from bayplan import CUDAFactory
from bayplan.kernel import device

__all__ = ["ControllerFunctions", "ControllerSettings", "StepController"]


class ControllerFunctions(NamedTuple):
    """The device functions of the controller."""

    start: Any
    """``start(mem)`` forgets the past; called once, before the first step."""

    propose: Any
    """``propose(mem, h, error) -> h`` gives the size of the next step."""


@dataclass(frozen=True)
class ControllerSettings:
    """Gains for an error estimate of order `order`, and the limits of one change."""

    order: int
    safety: float = 0.9
    smallest: float = 0.2
    largest: float = 6.0


class StepController(CUDAFactory):
    """Proportional-integral control of the step size.

    Source: K. Gustafsson, ACM Trans. Math. Softw. 17 (1991) 533-554, with the gains 0.7 and 0.4
    of E. Hairer and G. Wanner, *Solving Ordinary Differential Equations II*, section IV.2.

    `history` remembers the error of the last accepted step from one call to the next: it is
    declared persistent-local, and therefore kept.
    """

    def __init__(self, order: int, **kw: Any) -> None:
        super().__init__(**kw)
        self.setup_compile_settings(ControllerSettings(order))
        self.register_buffer("history", 2, "persistent_local")

    def build(self) -> ControllerFunctions:
        """Compile ``start`` and ``propose``."""
        L = self.buffers
        real = self.precision
        settings = self.compile_settings
        nothing, one, tiny, hopeless = map(real, (0.0, 1.0, 1e-4, 1e4))
        safety, smallest, largest = map(
            real, (settings.safety, settings.smallest, settings.largest)
        )
        plain, integral, proportional = (
            real(gain / (settings.order + 1)) for gain in (1.0, 0.7, 0.4)
        )

        @device
        def start(mem):
            b = L.views(mem)
            b.history[0] = one  # error of the last accepted step
            b.history[1] = nothing  # whether the last step was rejected

        @device
        def propose(mem, h, error):
            b = L.views(mem)
            history = b.history
            if not error <= one:  # rejected: too large, or not a number
                history[1] = one
                if not error < hopeless:
                    return h * smallest
                return h * max(smallest, safety * real(math.pow(error, -plain)))
            error = max(error, tiny)
            change = safety * real(math.pow(error, -integral))
            change *= real(math.pow(history[0], proportional))
            change = min(largest, max(smallest, change))
            if history[1] == one:  # no growth right after a rejection
                change = min(one, change)
            history[0] = error
            history[1] = nothing
            return h * change

        return ControllerFunctions(start, propose)
