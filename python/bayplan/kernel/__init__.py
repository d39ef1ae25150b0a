"""The kernel face: how device functions reach their buffers.

Needs numba-cuda. Importing this package teaches Numba the types of layouts,
bound layouts and allocators; `import bayplan` alone does not.
"""

from __future__ import annotations

from importlib.util import find_spec

try:
    import numba.cuda  # noqa: F401

    # numba alone has a numba.cuda too, a retired one.
    if find_spec("numba_cuda") is None:
        raise ModuleNotFoundError("No module named 'numba_cuda'", name="numba_cuda")
except ImportError as error:
    raise ImportError(
        "bayplan's kernel face needs numba-cuda: pip install 'bayplan[cu13]' (or [cu12]) for a "
        "GPU, 'bayplan[sim]' for the simulator alone"
    ) from error

from . import messages, sim
from .allocators import Allocator, make_allocator
from .compat import SIMULATED
from .decorators import device, is_simulated, kernel
from .launch import enable_large_shared

if not SIMULATED:
    from . import dce, lower  # noqa: F401  (lower registers types and lowerings)

    dce.install()

__all__ = [
    "Allocator",
    "device",
    "enable_large_shared",
    "is_simulated",
    "kernel",
    "make_allocator",
    "messages",
    "sim",
]
