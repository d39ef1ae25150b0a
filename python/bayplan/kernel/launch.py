"""More than 48 KiB of dynamic shared memory, which Numba has no way to ask for."""

from __future__ import annotations

from typing import Any

from .._core import BudgetExceeded
from .compat import SIMULATED

# What every kernel may have without asking (CUDA C++ Programming Guide, "Technical
# Specifications per Compute Capability").
DEFAULT_LIMIT_BYTES = 48 * 1024


def enable_large_shared(kernel: Any, n_bytes: int, signature: Any = None) -> None:
    """Let a kernel be launched with up to `n_bytes` of dynamic shared memory.

    To be called before the launch, once per kernel, signature and device: the
    attribute belongs to the function as loaded on the current device. Does nothing
    in the simulator, which knows no limit.

    Parameters
    ----------
    kernel : dispatcher
        What `bayplan.kernel.kernel` or `cuda.jit` returned.
    n_bytes : int
        Dynamic bytes, as `B.dynamic_shared_bytes(runs_per_block)` gives them.
    signature : optional
        Of the arguments it will be launched with; compiled if it was not. By
        default every signature compiled so far.

    Raises
    ------
    BudgetExceeded
        If static and dynamic bytes exceed what the device lets a block have.
    ValueError
        If nothing was compiled yet and no signature is given, or `n_bytes` is negative.
    """
    if n_bytes < 0:
        raise ValueError(f"n_bytes must not be negative, got {n_bytes}")
    if SIMULATED:
        return
    for compiled in _compiled(kernel, signature):
        _raise_limit(compiled.library.get_cufunc(), n_bytes)


def _compiled(kernel: Any, signature: Any) -> list[Any]:
    if signature is not None:
        return [kernel.compile(signature)]
    overloads = list(kernel.overloads.values())
    if not overloads:
        raise ValueError(
            f"{kernel.py_func.__name__} is not compiled yet: pass the signature that "
            "enable_large_shared should compile it for"
        )
    return overloads


def _raise_limit(function: Any, n_bytes: int) -> None:
    from .compat import driver

    device = function.device
    limit = device.MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
    reserve = device.RESERVED_SHARED_MEMORY_PER_BLOCK
    static = function.attrs.shared
    if static + n_bytes > limit:
        raise BudgetExceeded(
            f"{function.name} asks for {n_bytes} dynamic + {static} static = {n_bytes + static} "
            f"bytes of shared memory per block; the device allows {limit} "
            f"({reserve} more are the driver's)"
        )
    attribute = driver.binding.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    driver.driver.cuKernelSetAttribute(attribute, n_bytes, function.handle, device.id)
