"""The arrows of the house: who may include or import whom."""

import pytest
from house_rules import (
    C_ARROWS,
    ROOT,
    heap_complaints,
    include_complaints,
    public_header_complaints,
    python_import_complaints,
)

C_FILES = sorted(p for p in (ROOT / "src").glob("*/*.[ch]"))
HEADERS = sorted((ROOT / "src/include/bayplan").glob("*.h"))
PACKAGE = ROOT / "python/bayplan"
MODULES = sorted(PACKAGE.rglob("*.py"))


def dotted(path):
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)


def test_the_house_stands():
    assert {p.parent.name for p in C_FILES} >= {"base", "plan", "registry", "launch", "ext"}
    assert {p.parent.name for p in C_FILES} <= {*C_ARROWS, "ext"}
    assert {p.stem for p in HEADERS} <= {*C_ARROWS, "bayplan"}
    assert "bayplan.__init__" in map(dotted, MODULES)


@pytest.mark.parametrize("path", C_FILES, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_includes_follow_the_arrows(path):
    assert list(include_complaints(path.parent.name, path.name, path.read_text())) == []


@pytest.mark.parametrize("path", HEADERS, ids=lambda p: p.name)
def test_public_headers(path):
    assert list(public_header_complaints(path.stem, path.read_text())) == []


@pytest.mark.parametrize("path", C_FILES, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_one_file_knows_the_heap(path):
    if path.parent.name == "base" and path.name == "alloc.c":
        return
    assert list(heap_complaints(path.name, path.read_text())) == []


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_imports_follow_the_arrows(path):
    assert list(python_import_complaints(dotted(path), path.read_text())) == []


# ---- each rule can fail ---------------------------------------------------


@pytest.mark.parametrize(
    ("room", "file", "line", "complaint"),
    [
        ("base", "map.c", '#include "registry/context.h"', "no arrow base -> registry"),
        ("plan", "plan.c", '#include "bayplan/registry.h"', "no arrow plan -> registry"),
        ("launch", "stride.c", '#include "bayplan/plan.h"', "no arrow launch -> plan"),
        ("registry", "a.c", '#include "placement/b.h"', "no arrow registry -> placement"),
        ("device", "a.c", '#include "backend/b.h"', "no arrow device -> backend"),
        ("backend", "a.c", '#include "device/b.h"', "no arrow backend -> device"),
        ("registry", "a.c", "#include <Python.h>", "which this room may not know"),
        ("registry", "a.c", "#include <cuda.h>", "which this room may not know"),
        ("registry", "a.c", "#include <pthread.h>", "which this room may not know"),
        ("plan", "a.c", '#include "model.h"', "without its room"),
        ("ext", "layout.c", "#include <Python.h>", "ext.h is the one file that does"),
        ("ext", "layout.c", '#include "registry/context.h"', "only public headers and its own"),
    ],
)
def test_a_wrong_include_is_seen(room, file, line, complaint):
    (said,) = include_complaints(room, file, f"/* x */\n{line}\n")
    assert f"src/{room}/{file}:2 includes " in said
    assert complaint in said


def test_right_includes_pass():
    text = '#include "base/map.h"\n#include "bayplan/plan.h"\n#include <string.h>\n'
    assert list(include_complaints("registry", "a.c", text)) == []
    assert list(include_complaints("ext", "ext.h", "#include <Python.h>\n")) == []


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('#include "bayplan/registry.h"\n', "no arrow"),
        ('#include "plan/model.h"\n', "no arrow"),
        ("#include <pthread.h>\n", "includes pthread.h"),
        ("\nBP_API int bp_plan_x(void);\n", "says nothing about bp_plan_x"),
        ("/* Runs. */\nBP_API bp_status bp_plan_x(void);\n", "bp_plan_x lacks BP_MUST_USE"),
    ],
)
def test_a_wrong_header_is_seen(text, complaint):
    (said,) = public_header_complaints("plan", text)
    assert complaint in said


@pytest.mark.parametrize("call", ["malloc(8)", "free (p)", "strdup(s)", "x = realloc(p, 2)"])
def test_a_heap_call_is_seen(call):
    (said,) = heap_complaints("a.c", f"int f(void)\n{{\n    {call};\n}}\n")
    assert said.startswith("a.c:3 calls ")


def test_what_is_no_heap_call():
    text = 'alloc->free(ctx, p, 8); alloc.realloc(c); bp__free_array(p); "free(x)"; // malloc(8)\n'
    assert list(heap_complaints("a.c", text)) == []


@pytest.mark.parametrize(
    ("module", "line", "complaint"),
    [
        ("bayplan.layout", "import numba", "imports numba"),
        ("bayplan.factory", "from numba import cuda", "imports numba"),
        ("bayplan.layout", "import matplotlib.pyplot as plt", "imports matplotlib"),
        ("bayplan.kernel.sim", "from numba import cuda", "the one place"),
        ("bayplan.kernel.__init__", "from numba.cuda import types", "the one place"),
        ("bayplan.kernel.types", "from ..factory import CUDAFactory", "no arrow kernel -> factory"),
        ("bayplan.kernel.types", "from bayplan import demo", "no arrow kernel -> demo"),
        ("bayplan.kernel.types", "import bayplan", "no arrow kernel -> bayplan"),
        ("bayplan.draw", "from . import kernel", "no arrow draw -> kernel"),
        ("bayplan.__init__", "from .demo import main", "no arrow  -> demo"),
        ("bayplan.factory", "def f():\n    from .cli import main", "no arrow factory -> cli"),
    ],
)
def test_a_wrong_import_is_seen(module, line, complaint):
    (said,) = python_import_complaints(module, line + "\n")
    assert complaint in said


def test_right_imports_pass():
    text = "from .compat import cuda\nfrom .. import _core\nfrom .types import RegionType\n"
    assert list(python_import_complaints("bayplan.kernel.lower", text)) == []
    assert list(python_import_complaints("bayplan.kernel.__init__", "import numba.cuda")) == []
    assert list(python_import_complaints("bayplan.kernel.compat", "from numba import cuda")) == []
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import matplotlib\n"
    assert list(python_import_complaints("bayplan.layout", text)) == []
    text = "import bayplan\nfrom bayplan import CUDAFactory\nimport scipy.integrate\n"
    assert list(python_import_complaints("bayplan.demo.solve", text)) == []
