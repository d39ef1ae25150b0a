"""The rules of the house as functions from texts to complaints.

Every rule takes text, not files, so that the tests can show it a violation and see it complain.
"""

import ast
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
MAX_FUNCTION_LINES = 60

# Who may use whom in src/. A public header bayplan/plan.h counts as room "plan".
C_ARROWS: dict[str, set[str]] = {
    "base": set(),
    "plan": {"base"},
    "launch": {"base"},
    "registry": {"base", "plan"},
    "placement": {"base", "plan", "registry", "launch"},
    "device": {"base"},
    "backend": {"base"},
    "runtime": {"base", "device", "backend"},
}
C_STANDARD = {
    "assert.h", "errno.h", "float.h", "inttypes.h", "limits.h", "math.h", "stdalign.h",
    "stdarg.h", "stdatomic.h", "stdbool.h", "stddef.h", "stdint.h", "stdio.h", "stdlib.h",
    "string.h",
}  # fmt: skip
# Headers of the system beyond the language, and the rooms they belong to.
C_SYSTEM = {
    "pthread.h": {"base"},
    "time.h": {"base"},
    "dlfcn.h": {"backend"},
    "unistd.h": {"backend"},
}

# Mutable globals: what there is one of in a process, and the files that have it.
C_GLOBALS: dict[str, set[str]] = {
    "base/process.c": {"n_forks", "once"},  # the count of forks
    "runtime/fault.c": {"is_over"},  # the process ends: no driver call any more
}

# Who may use whom in python/bayplan/. "" is the package itself (bayplan/__init__.py).
PYTHON_ARROWS: dict[str, set[str]] = {
    "_core": set(),
    "messages": {"_core"},
    "words": {"_core"},
    "draw": {"_core", "messages"},
    "kernel": {"_core", "messages", "layout"},
    "layout": {"_core", "messages", "words", "draw", "kernel"},
    "factory": {"_core", "messages", "layout", "kernel"},
    "plans": {"_core", "draw"},
    "pressure": {"_core"},
    "sizes": {"_core"},
    "backends": {"_core", "messages"},
    "budget": {"_core", "backends", "draw", "pressure", "sizes"},
    "slots": {"_core", "backends", "budget", "draw"},
    "": {"_core", "messages", "layout", "factory", "plans", "pressure", "budget", "slots"},
    # These are users of the package like any other.
    "demo": {"_core", "messages", "layout", "factory", "kernel", "draw", ""},
    "models": {""},
    "cli": {
        "_core",
        "messages",
        "layout",
        "factory",
        "kernel",
        "draw",
        "demo",
        "backends",
        "models",
        "",
    },
    "__main__": {"cli"},
}
# Heavy or optional packages, and the only parts of the house that may name them.
PYTHON_GUESTS: dict[str, set[str]] = {
    "numba": {"kernel", "demo"},
    "llvmlite": {"kernel"},
    "cuda": {"kernel"},
    "matplotlib": {"draw", "demo"},
    "rich": {"draw", "demo", "models", "cli"},
    "scipy": {"demo"},
    "cupy": set(),
    "torch": set(),
    "cubie": set(),
}


class Function(NamedTuple):
    """A function of a source text: its name, first line and length in lines."""

    name: str
    line: int
    n_lines: int


# ---- C text ---------------------------------------------------------------

_C_NOISE = re.compile(r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", re.DOTALL)


def strip_c(text: str) -> str:
    """Blank out comments and literals; every line stays where it was."""
    return _C_NOISE.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), text)


def _without_preprocessor(text: str) -> str:
    text = re.sub(r"#ifdef __cplusplus.*?#endif", _blank, text, flags=re.DOTALL)
    return re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", _blank, text, flags=re.MULTILINE)


def _blank(match: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", match.group())


def c_functions(text: str) -> Iterator[Function]:
    """Every function defined in a C text, from its signature to its closing brace."""
    text = _without_preprocessor(strip_c(text))
    depth, start = 0, 0
    head = ""
    for i, char in enumerate(text):
        if char == "{":
            if depth == 0:
                head = text[start:i]
            depth += 1
        elif char == "}":
            depth -= 1
            if depth == 0:
                yield from _function_of(text, head, start, i)
                start = i + 1
        elif char == ";" and depth == 0:
            start = i + 1


def _function_of(text: str, head: str, start: int, end: int) -> Iterator[Function]:
    if not head.rstrip().endswith(")"):
        return
    name = re.search(r"(\w+)\s*\(", head)
    first = start + len(head) - len(head.lstrip())
    line = text.count("\n", 0, first) + 1
    yield Function(name.group(1) if name else "?", line, text.count("\n", first, end) + 1)


def c_includes(text: str) -> Iterator[tuple[int, str, bool]]:
    """(line, path, is it <...>) of every #include."""
    for number, line in enumerate(text.splitlines(), 1):
        match = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
        if match:
            yield number, match.group(2), match.group(1) == "<"


def _room_of_include(path: str) -> str | None:
    match = re.match(r"bayplan/(\w+)\.h$", path)
    if match:
        return match.group(1)
    room, slash, _ = path.partition("/")
    return room if slash else None


def include_complaints(room: str, file: str, text: str) -> Iterator[str]:
    """What is wrong with the includes of `file` in room `room` of src/."""
    for line, path, is_system in c_includes(text):
        where = f"src/{room}/{file}:{line} includes {path}"
        if room == "ext":
            yield from _ext_complaints(where, file, path, is_system)
        elif is_system:
            if path not in C_STANDARD and room not in C_SYSTEM.get(path, set()):
                yield f"{where}, which this room may not know"
        else:
            target = _room_of_include(path)
            if target is None:
                yield f"{where} without its room"
            elif target != room and target not in C_ARROWS[room]:
                yield f"{where}: no arrow {room} -> {target}"


def _ext_complaints(where: str, file: str, path: str, is_system: bool) -> Iterator[str]:
    if path == "Python.h" and file != "ext.h":
        yield f"{where}: ext.h is the one file that does"
    if not is_system and not path.startswith(("bayplan/", "ext/")):
        yield f"{where}: only public headers and its own"


def public_header_complaints(name: str, text: str) -> Iterator[str]:
    """Includes, prose and attributes of a public header src/include/bayplan/<name>.h."""
    allowed = set(C_ARROWS) if name == "bayplan" else C_ARROWS[name]
    for line, path, is_system in c_includes(text):
        if is_system and path not in {"stdbool.h", "stddef.h", "stdint.h"}:
            yield f"{name}.h:{line} includes {path}"
        if not is_system and (not path.startswith("bayplan/") or path[8:-2] not in allowed):
            yield f"{name}.h:{line} includes {path}: no arrow"
    for paragraph in re.split(r"\n\s*\n", text):
        declares = re.search(r"^BP_API[^;]*?(\w+)\(", paragraph, re.MULTILINE)
        if declares and "/*" not in paragraph:
            yield f"{name}.h says nothing about {declares.group(1)}"
    for match in re.finditer(r"^BP_API\s+bp_status\s+(\w+)\(", text, re.MULTILINE):
        if match.group(1) != "bp_fail":
            yield f"{name}.h: {match.group(1)} lacks BP_MUST_USE"


def declared_names(text: str) -> set[str]:
    """The functions a public header declares."""
    text = _without_preprocessor(strip_c(text))
    return set(re.findall(r"\bBP_API\b[^;{]*?\b(bp_\w+)\s*\(", text))


def heap_complaints(file: str, text: str) -> Iterator[str]:
    """Direct uses of the C heap."""
    pattern = re.compile(r"(?<![\w.>])(malloc|calloc|realloc|free|strdup|aligned_alloc)\s*\(")
    for number, line in enumerate(strip_c(text).splitlines(), 1):
        if match := pattern.search(line):
            yield f"{file}:{number} calls {match.group(1)}"


# ---- Python text ----------------------------------------------------------

_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def _n_lines(node: ast.stmt) -> int:
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


def _own_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring and without inner functions and classes."""
    total = _n_lines(node)
    if ast.get_docstring(node) is not None:
        total -= _n_lines(node.body[0])
    waiting: list[ast.AST] = list(node.body)
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, _SCOPES):
            total -= _n_lines(inner)
        else:
            waiting.extend(ast.iter_child_nodes(inner))
    return total


def python_functions(text: str) -> Iterator[Function]:
    """Every function of a Python text, inner ones too, each with its own lines."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield Function(node.name, node.lineno, _own_lines(node))


class _ForTypes(ast.NodeTransformer):
    """Drops what only a type checker reads."""

    def visit_If(self, node: ast.If) -> ast.AST:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return ast.Pass()
        return self.generic_visit(node)


def python_imports(module: str, text: str) -> Iterator[tuple[int, str]]:
    """(line, absolute dotted name) of what `module` ("bayplan.kernel.sim") imports at run time."""
    for node in ast.walk(_ForTypes().visit(ast.parse(text))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                stem = module.split(".")[: -node.level]
                base = ".".join(stem + ([base] if base else []))
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"


def part_of(module: str) -> str:
    """The part of the package a dotted module name belongs to: "kernel", "" for the package."""
    pieces = module.split(".")
    return pieces[1] if len(pieces) > 1 and pieces[1] in PYTHON_ARROWS else ""


def python_import_complaints(module: str, text: str) -> Iterator[str]:
    """What is wrong with the imports of `module` (dotted; packages end in ".__init__")."""
    part = part_of(module)
    for line, name in python_imports(module, text):
        top = name.split(".")[0]
        if top == "bayplan":
            target = part_of(name)
            if target not in (part, *PYTHON_ARROWS[part]):
                yield f"{module}:{line} imports {name}: no arrow {part} -> {target or 'bayplan'}"
        elif top in PYTHON_GUESTS and part not in PYTHON_GUESTS[top]:
            yield f"{module}:{line} imports {top}, which only {sorted(PYTHON_GUESTS[top])} may"
        elif part == "kernel" and top in ("numba", "llvmlite", "cuda"):
            is_probe = module == "bayplan.kernel.__init__" and name == "numba.cuda"
            if module != "bayplan.kernel.compat" and not is_probe:
                yield f"{module}:{line} imports {name}: kernel/compat.py is the one place for it"


# ---- words ----------------------------------------------------------------

_WORDS = {
    "a path of one machine": r"(?<![\w.])/(?:home|root|work|Users)/\w",
    "a mark of unfinished work": r"\b(?:TODO|FIXME|XXX|HACK)\b",
    "talk about how it was made": r"(?i)(?<!strict-)\bprototypes?\b",
    "a document of another place": r"\bDEVELOPERS\b",
}


def word_complaints(file: str, text: str) -> Iterator[str]:
    """Words that do not belong into the project's texts."""
    for number, line in enumerate(text.splitlines(), 1):
        for what, pattern in _WORDS.items():
            if match := re.search(pattern, line):
                yield f"{file}:{number} has {what}: {match.group()!r}"


# ---- symbols --------------------------------------------------------------


class Symbol(NamedTuple):
    """One row of an object file's symbol table."""

    name: str
    kind: str  # FUNC, OBJECT, TLS, NOTYPE ...
    bind: str  # LOCAL, GLOBAL, WEAK
    visibility: str  # DEFAULT, HIDDEN
    section: str  # "" where undefined


def symbol_complaints(symbols: Iterable[Symbol], may_have: Collection[str] = ()) -> Iterator[str]:
    """What is wrong with the symbols of a core object file; `may_have` are its mutable globals."""
    for s in symbols:
        if not s.section:
            if re.match(r"_?Py|npy|PyArray|cu[A-Z]|cuda[A-Z]", s.name):
                yield f"{s.name} is wanted from outside the core"
            continue
        if s.bind != "LOCAL":
            is_public = re.match(r"bp_(?!_)", s.name)
            if s.visibility == "DEFAULT" and not is_public:
                yield f"{s.name} is exported but not named bp_..."
            if s.visibility != "DEFAULT" and not s.name.startswith("bp__"):
                yield f"{s.name} crosses files but is not named bp__..."
        if s.kind == "TLS":
            yield f"{s.name} is thread-local"
        writable = s.section in (".data", ".bss") or s.section.startswith((".data.l", ".bss."))
        if s.kind == "OBJECT" and writable and s.name not in may_have:
            yield f"{s.name} is a mutable global"
