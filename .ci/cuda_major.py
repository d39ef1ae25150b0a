"""Print the CUDA major version of this machine's driver; nothing without a device."""

import ctypes


def main() -> None:
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return
    count, version = ctypes.c_int(0), ctypes.c_int(0)
    failed = (
        driver.cuInit(0)
        or driver.cuDeviceGetCount(ctypes.byref(count))
        or driver.cuDriverGetVersion(ctypes.byref(version))
    )
    if not failed and count.value > 0:
        print(version.value // 1000)


main()
