"""Owners of every kind, and one way to say that a call must be refused."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any
from unittest.mock import ANY

import numpy as np
import pytest

import bayplan

KINDS = (
    bayplan.BufferKeyError,
    bayplan.BufferValueError,
    bayplan.StaleHandle,
    bayplan.NotYetError,
)


class Factory:
    """An owner as most are: no precision of its own (float32)."""


class NewtonSolver(Factory):
    """The owner whose name the messages must carry."""


class Half(Factory):
    precision = np.float16


class Double(Factory):
    precision = np.dtype("f8")


class Named(Factory):
    precision = "int16"


class Unhashable(Factory):
    """All of these are equal, and none can be a dictionary's key."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Unhashable)

    __hash__ = None  # type: ignore[assignment]


class Slotted:
    """No __dict__, but a place for weak references."""

    __slots__ = ("__weakref__", "precision")

    def __init__(self, precision: Any = np.float64) -> None:
        self.precision = precision


class NoWeakref:
    """Cannot be referred to weakly."""

    __slots__ = ()


@contextlib.contextmanager
def refused(
    registry: bayplan.BufferRegistry,
    kind: type[Exception],
    code: str | None,
    *says: object,
    factory: str | None = "NewtonSolver",
    buffer: Any = None,
    **attributes: object,
) -> Iterator[pytest.ExceptionInfo[Exception]]:
    """The block must raise exactly `kind` and leave the registry as it was.

    `says` are the words and numbers the message must hold; `attributes` are
    those of the exception (`value=`, `limit=`). `factory` and `buffer` may be
    ANY. Without a `code` the caller looks at the exception's fields.
    """
    before = registry.dump()
    with pytest.raises(kind) as info:
        yield info
    assert registry.dump() == before
    registry.check()
    error = info.value
    words(str(error), *says)
    if code is None:
        return
    assert type(error) is kind
    assert isinstance(error, bayplan.BayplanError)
    assert error.code == code
    assert error.factory == factory
    assert error.buffer == buffer
    for name, wanted in attributes.items():
        assert getattr(error, name) == wanted, name
    words(str(error), *(x for x in (factory, buffer) if x and x is not ANY))
    assert error.args == (str(error),)  # KeyError's own __str__ would quote it


def words(text: str, *parts: object) -> None:
    """Every part is in the text."""
    for part in parts:
        assert str(part) in text, text


def spans(layout: bayplan.Layout, location: str) -> list[tuple[int, int, str]]:
    """(offset, end, name) of everything with bytes in a region, by offset."""
    return sorted(
        (p.offset, p.offset + p.nbytes, p.name)
        for p in layout.placements
        if p.location == location and p.nbytes
    )


def assert_disjoint(layout: bayplan.Layout, location: str) -> None:
    """No two of a region's placements meet."""
    for (_, end, a), (offset, _, b) in itertools.pairwise(spans(layout, location)):
        assert end <= offset, (a, b)
