"""`device` and `kernel`: `cuda.jit` for both of Numba's faces."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

from .cache import refuse_global_layouts, refuse_hidden_layouts
from .compat import SIMULATED, cuda, jit_parameters

if SIMULATED:
    from .turns import be_patient

    be_patient()

__all__ = ["device", "kernel"]

# Options that change how code is compiled, not what it does: without a compiler
# they are dropped. Any other option that the simulator does not know is an error.
_COMPILER_ONLY = frozenset({"forceinline", "launch_bounds", "lineinfo", "lto", "max_registers"})


def _options(options: dict[str, Any]) -> dict[str, Any]:
    known = jit_parameters()
    if known is None:
        return options
    return {
        name: value
        for name, value in options.items()
        if name in known or name not in _COMPILER_ONLY
    }


def _decorate(signature: Any, check: Callable[[Any], None], options: dict[str, Any]) -> Any:
    """Apply cuda.jit, with or without a signature (or being applied to a function)."""
    options = _options(options)
    is_bare = isinstance(signature, types.FunctionType)
    jit = cuda.jit(**options) if is_bare or signature is None else cuda.jit(signature, **options)

    def wrap(function: Any) -> Any:
        check(function)
        return jit(function)

    return wrap(signature) if is_bare else wrap


def device(signature: Any = None, **options: Any) -> Any:
    """Make a device function that reads its buffers through views.

    `cuda.jit(device=True, forceinline=True)`, less what the simulator refuses.
    Device functions are inlined by the compiler, so that views cost nothing;
    `forceinline=False` says otherwise.

    Parameters
    ----------
    signature : function, str or tuple, optional
        The function itself (`@device`), or a Numba signature (`@device(...)`).
    **options
        As of `numba.cuda.jit`.

    Raises
    ------
    TypeError
        If the function reads a layout from a module global.
    """
    options.setdefault("forceinline", True)
    return _decorate(signature, refuse_global_layouts, {**options, "device": True})


def kernel(signature: Any = None, **options: Any) -> Any:
    """Make a kernel: `cuda.jit`, less what the simulator refuses.

    Raises
    ------
    TypeError
        If it reads a layout from a module global; with `cache=True` also if a
        device function that it reads from a global captured one.
    """

    def check(function: types.FunctionType) -> None:
        refuse_global_layouts(function)
        if options.get("cache"):
            refuse_hidden_layouts(function)

    return _decorate(signature, check, dict(options))


def is_simulated() -> bool:
    """Whether kernels run in Numba's simulator (`NUMBA_ENABLE_CUDASIM=1`)."""
    return SIMULATED
