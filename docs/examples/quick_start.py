"""An ensemble of Newton iterations for square roots, one run per lane."""

import numpy as np
from numba import cuda

from bayplan import CUDAFactory
from bayplan.kernel import device, kernel


class Residual(CUDAFactory):
    """r = x * x - a, with the square kept in a buffer of its own."""

    def __init__(self, n, **kw):
        super().__init__(**kw)
        self.register_buffer("square", n, "local")

    def build(self):
        L = self.buffers
        n = L["square"].size

        @device
        def residual(mem, x, a, r):
            b = L.views(mem)
            for i in range(n):
                b.square[i] = x[i] * x[i]
                r[i] = b.square[i] - a[i]

        return residual


class Newton(CUDAFactory):
    """Six Newton steps for n square roots at once."""

    def __init__(self, n, **kw):
        super().__init__(**kw)
        self.residual = Residual(n, **kw)
        self.register_buffer("x", n, "shared")
        self.register_buffer("r", n, "shared")
        self.register_child(self.residual, "residual")

    def build(self):
        L = self.buffers
        n = L["x"].size
        one, two = self.precision(1), self.precision(2)
        residual = self.residual.device_function

        @device
        def newton(mem, a, out):
            b = L.views(mem)
            for i in range(n):
                b.x[i] = one
            for _ in range(6):
                residual(b.residual, b.x, a, b.r)
                for i in range(n):
                    b.x[i] -= b.r[i] / (two * b.x[i])
            for i in range(n):
                out[i] = b.x[i]

        return newton


def build_kernel(factory):
    """The kernel of one run per lane, and the bound layout it is launched with."""
    B = factory.buffers.bind()
    newton = factory.device_function

    @kernel
    def roots(a, out):
        run = cuda.grid(1)
        mem = B.root(cuda.threadIdx.x)
        if run < a.shape[0]:
            newton(mem, a[run], out[run])

    return roots, B


def solve(factory, a, lanes=4):
    """Roots of every row of `a`."""
    roots, B = build_kernel(factory)
    out = np.zeros_like(a)
    blocks = -(-len(a) // lanes)
    roots[blocks, lanes, 0, B.dynamic_shared_bytes(lanes)](a, out)
    return out


def main():
    """Solve, move two buffers, solve again."""
    a = np.arange(1, 31, dtype=np.float32).reshape(10, 3)
    factory = Newton(3)
    print(factory.buffers.text())
    first = solve(factory, a)
    print("roots found:", np.allclose(first, np.sqrt(a), rtol=1e-4), "\n")

    factory.update_compile_settings(r_location="local", residual_square_location="shared")
    print(factory.buffers.text())
    second = solve(factory, a)
    print("the same numbers:", np.allclose(first, second, rtol=1e-6))


if __name__ == "__main__":
    main()
