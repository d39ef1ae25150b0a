"""Run device functions of factories on arenas that the test owns."""

from __future__ import annotations

from typing import Any

import numpy as np

from bayplan import CUDAFactory
from bayplan.kernel import kernel

GUARD = 64
"""Bytes before and after each arena that nobody may touch; keeps arenas aligned."""


class Harness(CUDAFactory):
    """A root with one child, `part`, for calling the child's device functions."""

    def __init__(self, part: CUDAFactory) -> None:
        super().__init__(precision=part.precision, registry=part.registry)
        self.part = part
        self.register_child(part, "part")

    def build(self) -> None:
        """Nothing: `Arenas.call` makes the kernels."""


class Arenas:
    """Guarded arenas for one lane of `part`, filled with a byte of choice."""

    def __init__(self, part: CUDAFactory, fill: int = 0xAB) -> None:
        self.harness = Harness(part)
        self.layout = self.harness.buffers
        self.sizes = [
            getattr(self.layout, location).nbytes
            for location in ("shared", "persistent_local", "block")
        ]
        self.fill = fill
        self.guarded = [np.full(size + 2 * GUARD, fill, np.uint8) for size in self.sizes]

    def call(self, body: Any, *arguments: Any, missing: tuple[int, int, int] = (0, 0, 0)) -> None:
        """Launch ``body(region of the part, *arguments)`` on one lane.

        `missing` bytes are taken from the end of the shared, persistent and block arenas.
        """
        L = self.layout
        shared, persistent, block = (
            GUARD + size - less for size, less in zip(self.sizes, missing, strict=True)
        )

        @kernel
        def run(a, b, c, *rest):
            opened = L.views(a[GUARD:shared], b[GUARD:persistent], c[GUARD:block])
            body(opened.part, *rest)

        run[1, 1](*self.guarded, *arguments)

    def contents(self, memory: int) -> np.ndarray:
        """The bytes of the shared (0), persistent (1) or block (2) arena."""
        return self.guarded[memory][GUARD : GUARD + self.sizes[memory]]

    def guards_are_whole(self) -> bool:
        """Whether nothing was written outside the arenas."""
        return all(
            (arena[:GUARD] == self.fill).all() and (arena[len(arena) - GUARD :] == self.fill).all()
            for arena in self.guarded
        )
