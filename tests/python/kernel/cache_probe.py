"""Prints what Numba's disk cache makes of kernels; run as a program by test_cache.py.

    python cache_probe.py '{"outer": 4, "inner": 3, ...}'

`outer` and `inner` are sizes of buffers, `edits` a number of edits made and taken
back first, `split` builds every name anew at run time, `save` also saves and loads.
"""

from __future__ import annotations

import hashlib
import json
import sys
from types import SimpleNamespace
from typing import Any

import numba.cuda.codegen
import numba.cuda.dispatcher
from numba import cuda
from numba.cuda import types
from numba.cuda.cudadrv import devices

import bayplan
from bayplan.kernel import device, kernel

CC = (8, 0)
SIGNATURE = (types.float32[::1],)


class Inner:
    """Owns what only a device function sees."""


class Outer:
    """Owns what the kernel captures."""


def pretend_a_device() -> None:
    """Compile and look into the disk cache without a driver."""
    present = SimpleNamespace(compute_capability=CC)
    numba.cuda.dispatcher.get_current_device = lambda: present
    numba.cuda.codegen.get_current_device = lambda: present
    devices.get_context = lambda devnum=None: SimpleNamespace(device=present)
    numba.cuda.codegen.JITCUDACodegen.magic_tuple = lambda self: ("no device",)


def make_layouts(options: dict[str, Any]) -> tuple[Any, Any, Any]:
    def name(text: str) -> str:
        return "".join(list(text)) if options.get("split") else sys.intern(text)

    registry = bayplan.BufferRegistry()
    inner, outer = Inner(), Outer()
    for k in range(options.get("edits", 0)):
        registry.register(outer, f"gone{k}", k + 1, "shared")
        registry.build_layout(outer)
        registry.unregister(outer, f"gone{k}")
    registry.register(inner, name("jac"), options["inner"], name("shared"))
    registry.register(outer, name("state"), options["outer"], name("shared"))
    registry.register(outer, name("hist"), 3, options.get("hist", name("persistent_local")))
    registry.add_child(outer, inner, name("newton"))
    layout = registry.build_layout(outer)
    return layout, registry.build_layout(inner), registry.get_allocator(outer, name("state"))


def make_newton(layout: Any) -> Any:
    @device
    def newton(mem, x):
        b = layout.views(mem)
        b.jac[0] = x
        return b.jac[1]

    return newton


def make_kernels(bound: Any, layout: Any, newton: Any, state: Any) -> dict[str, Any]:
    @kernel(cache=True)
    def direct(out):
        b = layout.views(bound.root(cuda.threadIdx.x))
        out[0] = newton(b.newton, out[1])

    @device
    def step(mem, x):
        b = layout.views(mem)
        return newton(b.newton, x)

    @kernel(cache=True)
    def hidden(out):
        out[0] = step(bound.root(0), out[1])

    @kernel(cache=True)
    def allocates(out):
        out[0] = state(out)[0]

    return {"direct": direct, "hidden": hidden, "allocates": allocates}


def key_of(dispatcher: Any) -> str:
    codegen = SimpleNamespace(magic_tuple=lambda: ("no device",))
    key = dispatcher._cache._index_key(SIGNATURE, codegen)
    return hashlib.sha256(repr(key).encode()).hexdigest()


def save_or_load(dispatcher: Any) -> str:
    """Load the kernel from disk; save it if it is not there."""
    from numba.cuda.descriptor import cuda_target
    from numba.cuda.dispatcher import _Kernel

    found = dispatcher._cache.load_overload(SIGNATURE, cuda_target.target_context)
    if found is not None:
        return "hit"
    compiled = _Kernel(dispatcher.py_func, SIGNATURE, **dispatcher.targetoptions)
    compiled._codelibrary.get_asm_str(cc=CC)
    dispatcher._cache.save_overload(SIGNATURE, compiled)
    return "miss"


def main(options: dict[str, Any]) -> dict[str, Any]:
    pretend_a_device()
    layout, inner, state = make_layouts(options)
    bound = layout.bind(policy=options.get("policy", "pad"))
    kernels = make_kernels(bound, layout, make_newton(inner), state)
    result: dict[str, Any] = {name: key_of(made) for name, made in kernels.items()}
    if options.get("save"):
        result["disk"] = {name: save_or_load(made) for name, made in kernels.items()}
    return result


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
