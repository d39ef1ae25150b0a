"""``--set key=value``: buffer keys for any factory of the tree, without spelling its whole path."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import Any

from bayplan import BufferKeyError, BufferValueError
from bayplan.messages import nearest

from .loop import EnsembleLoop
from .report import walk

__all__ = ["complete", "parse"]


def parse(assignments: Iterable[str]) -> dict[str, Any]:
    """Read ``key=value`` texts; values that look like integers become integers.

    Raises
    ------
    BufferValueError
        For a text without a key or a value.
    """
    updates: dict[str, Any] = {}
    for assignment in assignments:
        key, _, value = assignment.partition("=")
        if not key or not value:
            raise BufferValueError(f"--set {assignment!r}: expected <buffer>_location=<location>")
        updates[key] = int(value) if value.lstrip("-").isdigit() else value
    return updates


def complete(loop: EnsembleLoop, updates: dict[str, Any]) -> dict[str, Any]:
    """Put the names of the children in front of keys that begin further down the tree.

    ``newton_delta_location`` becomes ``step_newton_delta_location``, for that is where a
    `NewtonSolver` stands; a key of the root, or a field of its settings, stays as it is.

    Raises
    ------
    BufferKeyError
        If no buffer answers to a key, or several do.
    """
    settings = {field.name for field in fields(loop.compile_settings)}
    known = {
        f"{'_'.join(row.path)}_{what}"
        for row in walk(loop.buffers)
        if row.placement is not None
        for what in ("location", "size")
    }
    completed: dict[str, Any] = {}
    for key, value in updates.items():
        answers = [key] if key in known | settings else sorted(_ending_with(key, known))
        if not answers:
            ends = {end for name in known for end in _ends(name)}
            raise BufferKeyError(f"no buffer answers to {key!r}{nearest(key, ends | settings)}")
        if len(answers) > 1:
            raise BufferKeyError(f"several buffers answer to {key!r}: {', '.join(answers)}")
        completed[answers[0]] = value
    return completed


def _ending_with(key: str, known: set[str]) -> set[str]:
    return {name for name in known if name.endswith(f"_{key}")}


def _ends(name: str) -> Iterator[str]:
    """Yield a key without its first name, without its first two, and so on."""
    parts = name.split("_")
    for first in range(len(parts) - 1):
        yield "_".join(parts[first:])
