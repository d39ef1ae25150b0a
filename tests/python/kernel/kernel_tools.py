"""Layouts in one line, PTX, and what can be counted in it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import bayplan

REGISTRY = bayplan.BufferRegistry()


class Node:
    """A factory of any type name, with the buffers, children and phases given.

    A third item of a child is the phases it is called in; loops are (first, last).
    """

    def __init__(
        self,
        name: str,
        buffers: Iterable[tuple[Any, ...]],
        children: Iterable[tuple[Any, ...]] = (),
        precision: Any = "f4",
        phases: Iterable[str] = (),
        loops: Iterable[tuple[str, str]] = (),
        registry: bayplan.BufferRegistry = REGISTRY,
    ) -> None:
        self.registry = registry
        self.owner = type(name, (), {"precision": precision})()
        if phases:
            registry.phases(self.owner, *phases)
        for loop in loops:
            registry.loop(self.owner, *loop)
        for buffer in buffers:
            *positional, last = buffer
            keywords = last if isinstance(last, dict) else {}
            names = positional if isinstance(last, dict) else buffer
            registry.register(self.owner, *names, **keywords)
        for child_name, child, *live in children:
            registry.add_child(self.owner, child.owner, child_name, live=live[0] if live else None)
        self.children = list(children)

    @property
    def layout(self) -> Any:
        return self.registry.build_layout(self.owner)

    def allocator(self, name: str) -> Any:
        return self.registry.get_allocator(self.owner, name)


def layout_of(name: str, *args: Any, **kw: Any) -> Any:
    """The layout of a node that nothing else is wanted of."""
    return Node(name, *args, **kw).layout


# ---- PTX --------------------------------------------------------------------

_INSTRUCTION = re.compile(r"(@%?!?\w+\s+)?[a-z][\w.:]*(\s+.*)?;$")


@dataclass(frozen=True)
class Compiled:
    """PTX of a kernel, and what ptxas makes of it."""

    ptx: str
    cc: tuple[int, int]

    @property
    def instructions(self) -> list[str]:
        lines = (line.strip() for line in self.ptx.splitlines())
        return [line for line in lines if _INSTRUCTION.match(line) and not line.startswith(".")]

    def count(self, pattern: str) -> int:
        return sum(bool(re.search(pattern, line)) for line in self.instructions)

    @property
    def n_generic(self) -> int:
        """Loads and stores that name no memory."""
        return self.count(r"\b(ld|st)(\.volatile)?(\.v\d)?\.[usfb]\d")

    def assemble(self) -> tuple[int, int]:
        """Registers and bytes of stack frame, by ptxas."""
        with TemporaryDirectory() as folder:
            source = Path(folder, "kernel.ptx")
            source.write_text(self.ptx)
            command = [ptxas(), "-v", f"-arch=sm_{self.cc[0]}{self.cc[1]}", str(source)]
            done = subprocess.run(
                [*command, "-o", str(source.with_suffix(".cubin"))],
                capture_output=True,
                text=True,
                check=True,
            )
        registers = re.search(r"Used (\d+) registers", done.stderr)
        frame = re.search(r"(\d+) bytes stack frame", done.stderr)
        assert registers is not None
        return int(registers[1]), int(frame[1]) if frame else 0


def ptxas() -> str:
    """The assembler of NVIDIA's nvidia-cuda-nvcc wheel."""
    import nvidia

    for root in nvidia.__path__:
        for path in Path(root).glob("*/bin/ptxas"):
            return str(path)
    raise FileNotFoundError("ptxas: pip install nvidia-cuda-nvcc")


def compile_kernel(
    function: Callable[..., Any], signature: Any, cc: tuple[int, int] = (8, 0), **options: Any
) -> Compiled:
    """Compile a kernel, jitted or not, to PTX."""
    from numba import cuda

    plain = getattr(function, "py_func", function)
    ptx, _ = cuda.compile_ptx(plain, signature, cc=cc, **options)
    return Compiled(ptx, cc)


def define(source: str, **names: Any) -> dict[str, Any]:
    """Run generated source in a module namespace that has `np` and `cuda`."""
    import numpy as np
    from numba import cuda

    namespace: dict[str, Any] = {"np": np, "cuda": cuda, **names}
    exec(compile(source, "<generated>", "exec"), namespace)
    return namespace
