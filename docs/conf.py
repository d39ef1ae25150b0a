"""Sphinx configuration; also writes the error table from the core's status list."""

import re
from importlib.metadata import version as version_of
from pathlib import Path

HERE = Path(__file__).resolve().parent
BASE_H = HERE.parent / "src/include/bayplan/base.h"

project = "bayplan"
author = copyright = "bayplan developers"
release = version = version_of("bayplan")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["colon_fence", "deflist"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"bayplan {release}"
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_google_docstring = False

_FAMILIES = {
    "MEMORY": "MemoryError",
    "KEY": "BufferKeyError",
    "VALUE": "BufferValueError",
    "STALE": "StaleHandle",
    "NOT_YET": "NotYetError",
    "BUDGET": "BudgetExceeded",
    "DEVICE": "DeviceUnavailable",
    "FAULT": "DeviceFault",
    "BUSY": "Busy",
    "EXISTS": "SlotExists",
    "FORKED": "ForkedProcess",
    "TIMEOUT": "TimeoutError",
    "BUG": "BayplanError",
}


def error_rows(header: str) -> list[tuple[str, str, str, str]]:
    """(code, C name, exception, sentence) of every status but OK, from base.h."""
    row = r'X\((\w+),\s*"(BAY-\w+)",\s*(\w+),\s*"([^"]+)"\)'
    return [
        (code, f"BP_{name}", _FAMILIES[family], text)
        for name, code, family, text in re.findall(row, header)
        if family != "NONE"
    ]


def write_error_table(_app: object) -> None:
    """docs/_build/errors.inc, which errors.md includes."""
    lines = ["| code | status in C | exception in Python | meaning |", "|---|---|---|---|"]
    for code, name, family, text in error_rows(BASE_H.read_text()):
        lines.append(f"| `{code}` | `{name}` | `{family}` | {text} |")
    target = HERE / "_build/errors.inc"
    target.parent.mkdir(exist_ok=True)
    target.write_text("\n".join(lines) + "\n")


def keep_colons(_app, what: str, _name, _obj, _options, lines: list[str]) -> None:
    """Napoleon takes "The layout: immutable" on a property for a type and its description."""
    if what in ("property", "attribute") and lines:
        lines[0] = lines[0].replace(": ", " \N{EN DASH} ", 1)


def setup(app) -> None:
    app.connect("builder-inited", write_error_table)
    app.connect("autodoc-process-docstring", keep_colons, priority=400)
