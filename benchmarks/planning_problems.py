"""Problems for the planner's benchmark: all seeded, so every run sees the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


class Problem(NamedTuple):
    """Buffers, and the optimum where it is known."""

    name: str
    sizes: Ints
    first: Ints
    last: Ints
    align: Ints | None = None
    optimum: int | None = None


def trace(n: int, seed: int) -> Problem:
    """A training step's tensors, as it were.

    Half live from their layer in the forward pass to the same layer in the backward pass, the
    others for a few steps; sizes are log-normal multiples of 512 bytes.
    """
    rng = np.random.default_rng(seed)
    sizes = 512 * (1 + rng.lognormal(3, 1.5, n).astype(np.int64))
    first = rng.integers(0, 2 * n, n)
    last = first + 1 + rng.geometric(0.02, n)
    kept = rng.random(n) < 0.5 * min(1.0, 2000 / n)
    first[kept] = rng.integers(0, n, int(kept.sum()))
    last[kept] = 2 * n - first[kept]
    return Problem(f"trace of {n:,}", sizes, first, last)


def registry_shaped(seed: int) -> Problem:
    """12..100 buffers of 4- and 8-byte items in 1..8 phases, alignments 4..16."""
    rng = np.random.default_rng(seed)
    n, n_phases = int(rng.integers(12, 101)), int(rng.integers(1, 9))
    item = rng.choice([4, 8], n)
    align = np.maximum(item, rng.choice([4, 4, 4, 8, 16], n))
    sizes = item * rng.integers(1, 65, n)
    first = rng.integers(0, n_phases, n)
    last = np.minimum(n_phases, first + rng.integers(1, n_phases + 1, n))
    return Problem(f"registry {seed}", sizes, first, last, align)


def tiling(n: int, seed: int, side: int = 1_000_000) -> Problem:
    """A square cut `n - 1` times from edge to edge: its height is the optimum."""
    rng = np.random.default_rng(seed)
    parts = [(0, 0, side, side)]
    while len(parts) < n:
        i = max(range(len(parts)), key=lambda k: _area(parts[k]))
        x0, y0, x1, y1 = parts.pop(i)
        if rng.random() < 0.5:
            cut = int(x0 + (x1 - x0) * rng.uniform(0.2, 0.8))
            parts += [(x0, y0, cut, y1), (cut, y0, x1, y1)]
        else:
            cut = int(y0 + (y1 - y0) * rng.uniform(0.2, 0.8))
            parts += [(x0, y0, x1, cut), (x0, cut, x1, y1)]
    return _shuffled(f"tiling of {n}", parts, side, rng)


def pinwheel(n: int, seed: int, side: int = 1_000_000) -> Problem:
    """A square cut into pinwheels of five again and again; no cut goes from edge to edge."""
    rng = np.random.default_rng(seed)
    parts = [(0, 0, side, side)]
    while len(parts) < n:
        i = max(range(len(parts)), key=lambda k: _area(parts[k]))
        x0, y0, x1, y1 = parts.pop(i)
        (a, b), (c, d) = (np.sort(rng.uniform(0.2, 0.8, 2)) for _ in range(2))
        xa, xb = int(x0 + (x1 - x0) * a), int(x0 + (x1 - x0) * b) + 1
        ya, yb = int(y0 + (y1 - y0) * c), int(y0 + (y1 - y0) * d) + 1
        parts += [
            (x0, y0, xb, ya), (xb, y0, x1, yb), (xa, yb, x1, y1), (x0, ya, xa, y1),
            (xa, ya, xb, yb),
        ]  # fmt: skip
    return _shuffled(f"pinwheels of {len(parts)}", parts, side, rng)


def _area(part: tuple[int, int, int, int]) -> int:
    return (part[2] - part[0]) * (part[3] - part[1])


def _shuffled(
    name: str, parts: list[tuple[int, int, int, int]], side: int, rng: np.random.Generator
) -> Problem:
    table = np.array(parts, dtype=np.int64)[rng.permutation(len(parts))]
    return Problem(name, table[:, 3] - table[:, 1], table[:, 0], table[:, 2], None, side)


def tilings() -> Iterator[Problem]:
    """Of 65 to 1025 rectangles."""
    for n in (65, 129, 257, 513, 1025):
        yield tiling(n, n)
        yield pinwheel(n, n)
