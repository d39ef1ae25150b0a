"""Whether the demo runs on a GPU or in Numba's CUDA simulator.

Numba reads ``NUMBA_ENABLE_CUDASIM`` when it is imported, and never again.  So the choice is made
here, before that, and without Numba: the driver's own library is asked for devices.
"""

from __future__ import annotations

import ctypes
import os
import sys

from bayplan import DeviceUnavailable

__all__ = ["CHOICES", "choose", "n_devices"]

CHOICES = ("auto", "gpu", "simulator")

_VARIABLE = "NUMBA_ENABLE_CUDASIM"


def n_devices() -> int:
    """Count the CUDA devices of this machine; 0 without a driver."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def choose(wanted: str) -> str:
    """Settle where kernels run in this process, and say it in a sentence.

    Parameters
    ----------
    wanted : {"auto", "gpu", "simulator"}
        ``"auto"`` takes a GPU if there is one, unless the environment asks for the simulator.

    Returns
    -------
    str
        What was chosen, and why.

    Raises
    ------
    DeviceUnavailable
        If a GPU is wanted and there is none, or if Numba was imported for the other choice.
    """
    is_asked_for = os.environ.get(_VARIABLE, "0") not in ("", "0")
    if wanted == "gpu" and not n_devices():
        raise DeviceUnavailable("--device gpu: this machine has no CUDA device")
    if wanted == "gpu":
        simulate, why = False, "On the GPU."
    elif wanted == "simulator":
        simulate, why = True, "In Numba's CUDA simulator, as asked for."
    elif is_asked_for:
        simulate, why = True, f"In Numba's CUDA simulator: {_VARIABLE} is set."
    elif n_devices():
        simulate, why = False, "On the GPU."
    else:
        simulate, why = True, "No CUDA device found: in Numba's CUDA simulator, small ensembles."
    numba = sys.modules.get("numba")
    if numba is None:
        os.environ[_VARIABLE] = str(int(simulate))
    elif bool(numba.config.ENABLE_CUDASIM) != simulate:
        here = "its simulator" if numba.config.ENABLE_CUDASIM else "a GPU"
        raise DeviceUnavailable(f"Numba was already imported in this process, for {here}")
    return why
