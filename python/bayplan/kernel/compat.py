"""Every name taken from Numba, and which of its two faces is running.

Most of these names are semi-private: they are held to `numba-cuda < 0.31` by the
tests and imported nowhere else. In the simulator there is no compiler, and only
`cuda`, `SIMULATED`, `jit_parameters`, `running_kernel`, `simulator` and `BlockThread` exist.
"""

from __future__ import annotations

import inspect
import sys

from numba import cuda
from numba.cuda.core import config

__all__ = ["SIMULATED", "cuda", "is_setting_attribute", "jit_parameters"]

SIMULATED: bool = bool(config.ENABLE_CUDASIM)

if SIMULATED:
    # The running launch. Asked for directly: the simulator swaps a module's `cuda` back as
    # soon as the first lane leaves a device function of it, while others are still inside.
    from numba.cuda.simulator import kernel as simulator
    from numba.cuda.simulator.kernel import BlockThread
    from numba.cuda.simulator.kernel import _get_kernel_context as running_kernel

    __all__ += ["BlockThread", "running_kernel", "simulator"]
else:
    from llvmlite import ir
    from numba.cuda import cgutils, nvvmutils, types
    from numba.cuda.core import ir as numba_ir
    from numba.cuda.core import ir_utils
    from numba.cuda.core.errors import NumbaError, TypingError
    from numba.cuda.cudadecl import registry as decl_registry
    from numba.cuda.cudadrv import driver, nvvm
    from numba.cuda.cudaimpl import registry as impl_registry
    from numba.cuda.datamodel import models
    from numba.cuda.dispatcher import CUDADispatcher
    from numba.cuda.extending import register_model, typeof_impl
    from numba.cuda.np.numpy_support import from_dtype
    from numba.cuda.typing import signature
    from numba.cuda.typing.templates import AttributeTemplate

    __all__ += [
        "AttributeTemplate",
        "CUDADispatcher",
        "NumbaError",
        "TypingError",
        "cgutils",
        "decl_registry",
        "driver",
        "from_dtype",
        "impl_registry",
        "ir",
        "ir_utils",
        "models",
        "numba_ir",
        "nvvm",
        "nvvmutils",
        "register_model",
        "signature",
        "typeof_impl",
        "types",
    ]


def jit_parameters() -> frozenset[str] | None:
    """Return the options that `cuda.jit` takes, or None where it takes any."""
    parameters = inspect.signature(cuda.jit).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return frozenset(parameter.name for parameter in parameters)


def is_setting_attribute() -> bool:
    """Whether an attribute is being typed for an assignment to it.

    Numba types `b.x = v` by asking for the type of `b.x` and converts `v` to it
    before any lowering of ours is reached, so a clear refusal has to come from
    the typing; the attribute template is not told why it is asked.
    """
    frame = sys._getframe(1)
    for _ in range(6):
        if frame.f_code.co_name == "resolve_setattr":
            return True
        if frame.f_back is None:
            return False
        frame = frame.f_back
    return False
