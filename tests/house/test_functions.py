"""No function is longer than MAX_FUNCTION_LINES."""

import pytest
from house_rules import MAX_FUNCTION_LINES, ROOT, Function, c_functions, python_functions

C_FILES = sorted(
    path
    for folder in ("src", "tests/core", "tests/fuzz", "benchmarks/core")
    for path in (ROOT / folder).rglob("*.[ch]")
)
PYTHON_FILES = sorted(
    path
    for folder in ("python", "tests", "benchmarks", "docs", ".ci")
    for path in (ROOT / folder).rglob("*.py")
)


def too_long(path, functions):
    where = path.relative_to(ROOT)
    return [
        f"{where}:{f.line} {f.name} has {f.n_lines} lines"
        for f in functions
        if f.n_lines > MAX_FUNCTION_LINES
    ]


def test_there_is_something_to_measure():
    measured = {f.name for p in C_FILES for f in c_functions(p.read_text())}
    assert {"bp_status_code", "bp_round_up"} <= measured
    assert len(measured) > 100


@pytest.mark.parametrize("path", C_FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_c_functions_are_short(path):
    assert too_long(path, c_functions(path.read_text())) == []


@pytest.mark.parametrize("path", PYTHON_FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_python_functions_are_short(path):
    assert too_long(path, python_functions(path.read_text())) == []


# ---- the rulers measure right ---------------------------------------------

C_TEXT = """\
#define WRAP(x) \\
    do { \\
        x; \\
    } while (0)
/* a { comment */
static const int table[] = {
    1, 2,
};
struct pair { int a; int b; };

#ifdef __cplusplus
extern "C" {
#endif
static bool first(const char *s,
                  int n)
{
    if (n) {
        return '{' == *s; // }
    }
    return "}}"[0];
}

int last(void)
{
    return 0;
}
"""


def test_c_functions_are_found_whole():
    assert list(c_functions(C_TEXT)) == [Function("first", 14, 8), Function("last", 23, 4)]


def test_a_long_c_function_is_seen(tmp_path):
    body = "    x += 1;\n" * (MAX_FUNCTION_LINES - 3)
    fits = list(c_functions("int f(void)\n{\n" + body + "}\n"))
    assert fits == [Function("f", 1, MAX_FUNCTION_LINES)]
    assert too_long(ROOT / "a.c", fits) == []
    (long,) = c_functions("int f(void)\n{\n    x += 1;\n" + body + "}\n")
    assert too_long(ROOT / "a.c", [long]) == ["a.c:1 f has 61 lines"]


PYTHON_TEXT = '''\
def outer(x):
    """Summary.

    More.
    """
    y = x

    @wrap
    def inner(z):
        return z

    return inner(y)


class C:
    async def method(self):
        return 1
'''


def test_python_functions_count_their_own_lines():
    found = {f.name: f.n_lines for f in python_functions(PYTHON_TEXT)}
    assert found == {"outer": 6, "inner": 2, "method": 2}


def test_a_long_python_function_is_seen():
    text = "def f():\n" + "    x = 1\n" * MAX_FUNCTION_LINES
    assert too_long(ROOT / "a.py", python_functions(text)) == ["a.py:1 f has 61 lines"]
