"""Layouts and Numba's disk cache.

The key of a kernel on disk covers its code and what its closure captured, device
functions and their captures included; it is blind to module globals. A layout
read from a global would leave a stale kernel behind when it changes, so the
decorators refuse that.
"""

from __future__ import annotations

import dis
import types
from collections.abc import Iterator
from typing import Any

from .._core import BoundLayout, Layout
from . import messages
from .allocators import Allocator

_GLOBAL_LOADS = frozenset({"LOAD_GLOBAL", "LOAD_NAME"})
_ATTRIBUTE_LOADS = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
# Instructions that may stand between a load and the attribute taken of it.
_TRANSPARENT = frozenset({"CACHE", "EXTENDED_ARG", "NOP", "PUSH_NULL"})


def _python_function(value: object) -> types.FunctionType | None:
    """Return the function behind a dispatcher or a simulated kernel, or the function itself."""
    inner = getattr(value, "py_func", value)
    return inner if isinstance(inner, types.FunctionType) else None


def _what(value: object) -> str | None:
    """Say what an object is if kernels must not read it from a global."""
    if isinstance(value, Layout):
        return messages.label(value)
    if isinstance(value, BoundLayout):
        return f"bound {messages.label(value.layout)}"
    if isinstance(value, Allocator):
        return messages.allocator_label(value.placement)
    return None


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """Yield a function's code and that of the functions inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def _global_reads(function: types.FunctionType) -> Iterator[tuple[str, object]]:
    """Yield (dotted path, value) of the globals a function reads, through modules."""
    for code in _codes(function.__code__):
        path, value = "", None
        for instruction in dis.get_instructions(code):
            if instruction.opname in _TRANSPARENT:
                continue
            name = instruction.argval
            if instruction.opname in _GLOBAL_LOADS and name in function.__globals__:
                path, value = name, function.__globals__[name]
            elif instruction.opname in _ATTRIBUTE_LOADS and isinstance(value, types.ModuleType):
                path, value = f"{path}.{name}", getattr(value, name, None)
            else:
                value = None
            if value is not None and not isinstance(value, types.ModuleType):
                yield path, value


def refuse_global_layouts(function: types.FunctionType) -> None:
    """Refuse a device function or kernel that reads a layout from a module global.

    Raises
    ------
    TypeError
        Naming the function, the layout and the global.
    """
    for path, value in _global_reads(function):
        what = _what(value)
        if what is not None:
            raise TypeError(messages.from_global(function.__qualname__, path, what))


def captured(function: object) -> dict[str, object]:
    """Return what a function's closure captured, by name; empty for anything else."""
    inner = _python_function(function)
    if inner is None or inner.__closure__ is None:
        return {}
    names = inner.__code__.co_freevars
    cells = zip(names, inner.__closure__, strict=True)
    return {name: cell.cell_contents for name, cell in cells if not _is_empty(cell)}


def _is_empty(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018  (reading is the test)
    except ValueError:
        return True
    return False


def reached_layouts(function: object) -> list[object]:
    """Return the layouts, bound layouts and allocators that a function's closure reaches.

    Follows captured device functions. These are what a disk cache key covers.
    """
    found: list[object] = []
    seen: set[int] = set()
    stack = [function]
    while stack:
        value = stack.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if _what(value) is not None:
            found.append(value)
        stack.extend(captured(value).values())
    return found


def refuse_hidden_layouts(kernel: types.FunctionType) -> None:
    """Refuse a disk-cached kernel that reaches layouts through a global device function.

    Raises
    ------
    TypeError
        Naming the kernel, the layout and the global.
    """
    seen: set[int] = set()
    stack: list[object] = [kernel]
    while stack:
        function = _python_function(stack.pop())
        if function is None or id(function) in seen:
            continue
        seen.add(id(function))
        stack.extend(captured(function).values())
        for path, value in _global_reads(function):
            hidden = reached_layouts(value)
            if hidden:
                what = f"a function of {_what(hidden[0])}"
                raise TypeError(messages.from_global(kernel.__qualname__, path, what))
            stack.append(value)
