"""The norm in which errors are measured."""

from __future__ import annotations

import math
from typing import Any

from bayplan.kernel import device

__all__ = ["rms_norm"]


def rms_norm(n: int, real: type) -> Any:
    """Compile ``norm(x, y, z, rtol, atol) -> scalar`` for vectors of length `n`.

    The root mean square of ``x_i / (atol_i + rtol * max(|y_i|, |z_i|))``.
    """
    nothing, share = real(0.0), real(1.0 / n)

    @device
    def norm(x, y, z, rtol, atol):
        total = nothing
        for i in range(n):
            part = x[i] / (atol[i] + rtol * max(abs(y[i]), abs(z[i])))
            total += part * part
        return real(math.sqrt(total * share))

    return norm
