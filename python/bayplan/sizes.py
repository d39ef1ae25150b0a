"""Bytes as people write them: ``"8GiB"``, ``"1.5 GB"``, ``"512 MiB"``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from . import _core

if TYPE_CHECKING:
    from fractions import Fraction

__all__ = ["parse_size"]

_DECIMAL = {"B": 1, "KB": 10**3, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_BINARY = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
UNITS = {**_DECIMAL, **_BINARY}
"""Bytes of every unit."""

_KNOWN = "B, kB, MB, GB, TB (powers of 1,000) and KiB, MiB, GiB, TiB (powers of 1,024)"
_SIZE = re.compile(r"\s*([+-]?[0-9][0-9_]*(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", re.ASCII)
_MOST_DIGITS = 40


def parse_size(text: str) -> int:
    """
    Read a number of bytes.

    Parameters
    ----------
    text : str
        A number, maybe with a decimal point, and a unit: B, kB, MB, GB, TB are powers of 1,000,
        KiB, MiB, GiB, TiB of 1,024. Blanks around them do not matter, case does.

    Returns
    -------
    int
        Bytes, exactly.

    Raises
    ------
    BufferValueError
        No number, no unit or an unknown one, a negative size, no whole number of bytes, or
        2**63 bytes and more. The message says which.
    """
    from fractions import Fraction

    match = _SIZE.fullmatch(text)
    if match is None or len(match[1]) > _MOST_DIGITS:
        shown = text if len(text) <= _MOST_DIGITS else f"{text[:_MOST_DIGITS]}..."
        raise _core.BufferValueError(f"{shown!r} is no size: write a number and a unit, as '8GiB'")
    number, unit = match[1].replace("_", ""), match[2]
    if unit not in UNITS:
        raise _core.BufferValueError(_about_unit(text, number, unit))
    exact = Fraction(number) * UNITS[unit]
    if exact < 0:
        raise _core.BufferValueError(f"{text!r}: a size cannot be negative")
    if exact.denominator != 1:
        raise _core.BufferValueError(_about_fraction(text, exact))
    if exact >= 2**63:
        raise _core.BufferValueError(f"{text!r} is more than can be counted: 2**63 bytes or more")
    return int(exact)


def _about_unit(text: str, number: str, unit: str) -> str:
    if not unit:
        return f"{text!r} has no unit: write '{number} B', or the number itself"
    letters = unit.upper()
    near = [
        known
        for known in UNITS
        if known != "kB" and known.upper() in (letters, f"{letters}B", f"{letters}IB")
    ]
    hint = f" (did you mean {' or '.join(map(repr, near))}?)" if near else ""
    return f"{text!r}: there is no unit {unit!r}{hint}; units are {_KNOWN}"


def _about_fraction(text: str, exact: Fraction) -> str:
    from decimal import Decimal

    below = exact.numerator // exact.denominator
    value = Decimal(exact.numerator) / Decimal(exact.denominator)
    return f"{text!r} is {value:,f} bytes, no whole number: write {below} or {below + 1}"


_core._set_classes(size=parse_size)
