"""What the core exports, hides and wants, read from its object files."""

import importlib.util
import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from house_rules import C_ARROWS, C_GLOBALS, ROOT, Symbol, declared_names, symbol_complaints

SOURCES = {room: sorted((ROOT / "src" / room).glob("*.c")) for room in C_ARROWS}
FLAGS = ["-std=c11", "-D_POSIX_C_SOURCE=200809L", "-O1", "-fPIC", "-fvisibility=hidden"]


def compile_objects(sources, folder):
    """Object files of C sources; the only include paths are the core's own."""
    compiler = os.environ.get("CC", "cc")
    paths = [f"-I{ROOT / 'src/include'}", f"-I{ROOT / 'src'}"]

    def build(source):
        target = Path(folder) / f"{source.parent.name}.{source.stem}.o"
        subprocess.run([compiler, *FLAGS, *paths, "-c", source, "-o", target], check=True)
        return target

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(build, sources))


def read_symbols(path):
    """The symbol table of an object file, sections by name."""
    text = subprocess.run(
        ["readelf", "-SsW", path], check=True, capture_output=True, text=True
    ).stdout
    sections = dict(re.findall(r"^\s*\[\s*(\d+)\] (\S+)", text, re.MULTILINE))
    row = r"^\s*\d+: [0-9a-f]+\s+\S+ (\w+)\s+(\w+)\s+(\w+)\s+(?:\[[^]]*\]\s+)?(\w+) (\S+)$"
    return [
        Symbol(name, kind, bind, visibility, sections.get(index, "" if index == "UND" else index))
        for kind, bind, visibility, index, name in re.findall(row, text, re.MULTILINE)
        if kind not in ("FILE", "SECTION")
    ]


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    """{room: [symbols of each of its files]}."""
    folder = tmp_path_factory.mktemp("objects")
    return {
        room: [read_symbols(path) for path in compile_objects(sources, folder)]
        for room, sources in SOURCES.items()
        if sources
    }


def test_every_object_keeps_the_rules(objects):
    assert {"base", "plan", "registry"} <= set(objects)
    for room, files in objects.items():
        for source, symbols in zip(SOURCES[room], files, strict=True):
            name = f"{room}/{source.name}"
            may_have = C_GLOBALS.get(name, set())
            assert [f"src/{name}: {c}" for c in symbol_complaints(symbols, may_have)] == []
            assert may_have <= {s.name for s in symbols if s.kind == "OBJECT"}, name


def test_rooms_call_only_along_the_arrows(objects):
    home = {
        s.name: room
        for room, files in objects.items()
        for symbols in files
        for s in symbols
        if s.section and s.bind != "LOCAL"
    }
    wrong = [
        f"{room} -> {home[s.name]}: {s.name}"
        for room, files in objects.items()
        for symbols in files
        for s in symbols
        if not s.section and s.name in home and home[s.name] not in (room, *C_ARROWS[room])
    ]
    assert wrong == []


def test_headers_declare_what_is_exported(objects):
    for room, files in objects.items():
        header = ROOT / f"src/include/bayplan/{room}.h"
        declared = declared_names(header.read_text()) if header.exists() else set()
        exported = {
            s.name
            for symbols in files
            for s in symbols
            if s.section and s.bind != "LOCAL" and s.visibility == "DEFAULT"
        }
        assert exported == declared, room


def test_the_extension_exports_its_door_and_the_core():
    path = importlib.util.find_spec("bayplan._core").origin
    lines = subprocess.run(
        ["nm", "-D", "--defined-only", path], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    names = {line.split()[-1] for line in lines}
    assert "PyInit__core" in names
    strange = {n for n in names if not re.match(r"bp_(?!_)|PyInit__core$|_init$|_fini$", n)}
    assert strange == set()


# ---- the rules can fail ---------------------------------------------------


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("__attribute__((visibility(\"default\"))) int plan(void) { return 0; }",
         "plan is exported but not named bp_..."),
        ("__attribute__((visibility(\"default\"))) int bp__plan(void) { return 0; }",
         "bp__plan is exported but not named bp_..."),
        ("int bp_plan(void) { return 0; }", "bp_plan crosses files but is not named bp__..."),
        ("int helper(void) { return 0; }", "helper crosses files but is not named bp__..."),
        ("static int n; int bp__next(void) { return ++n; }", "n is a mutable global"),
        ("static int n = 7; int bp__next(void) { return ++n; }", "n is a mutable global"),
        ("static _Thread_local int n; int bp__next(void) { return ++n; }", "n is thread-local"),
        ("int Py_Initialize(void); int bp__x(void) { return Py_Initialize(); }",
         "Py_Initialize is wanted from outside the core"),
        ("int cuInit(int); int bp__x(void) { return cuInit(0); }",
         "cuInit is wanted from outside the core"),
    ],
)  # fmt: skip
def test_a_wrong_symbol_is_seen(text, complaint, tmp_path):
    source = tmp_path / "wrong.c"
    source.write_text(text + "\n")
    (path,) = compile_objects([source], tmp_path)
    assert list(symbol_complaints(read_symbols(path))) == [complaint]


def test_right_symbols_pass(tmp_path):
    source = tmp_path / "right.c"
    source.write_text(
        '#include "bayplan/base.h"\n'
        'static const char *const names[] = {"a", "b"};\n'
        "const char *bp__name(int i);\n"
        "const char *bp__name(int i) { return names[i]; }\n"
        "const char *bp_status_text(bp_status s) { return bp__name((int)s); }\n"
    )
    (path,) = compile_objects([source], tmp_path)
    symbols = read_symbols(path)
    assert {s.name for s in symbols if s.section} >= {"names", "bp__name", "bp_status_text"}
    assert list(symbol_complaints(symbols)) == []


def test_a_global_is_allowed_by_name_alone(tmp_path):
    source = tmp_path / "two.c"
    source.write_text("static int n, m; int bp__next(void) { return ++n + ++m; }\n")
    (path,) = compile_objects([source], tmp_path)
    assert list(symbol_complaints(read_symbols(path), {"n"})) == ["m is a mutable global"]


def test_declared_names():
    text = "/* BP_API int bp_no(void); */\nBP_API BP_MUST_USE bp_status\nbp_yes(int n);\n"
    assert declared_names(text) == {"bp_yes"}
