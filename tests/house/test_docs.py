"""What the documentation shows is what happens."""

import doctest
import importlib.util
import os
import re
import subprocess
import sys

from house_rules import ROOT

README = (ROOT / "README.md").read_text()


def run(arguments, cwd=ROOT):
    env = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def blocks(text):
    """(language, content) of every fenced block."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_the_factory_in_the_readme_prints_what_is_shown():
    fenced = blocks(README)
    code = fenced[[language for language, _ in fenced].index("python")]
    shown = fenced[fenced.index(code) + 1]
    assert shown[0] == "text"
    lines = [line for line in code[1].splitlines() if line]
    assert len(lines) <= 10
    assert run(["-c", code[1]]) == shown[1]


def test_quick_start_runs():
    said = run(["docs/examples/quick_start.py"])
    assert "roots found: True" in said
    assert "the same numbers: True" in said
    assert "the same numbers: False" not in said


def test_planning_alone_prints_what_is_shown():
    shown = [text for language, text in blocks((ROOT / "docs/planner.md").read_text())
             if language == "text"]  # fmt: skip
    assert shown == [run(["docs/examples/plan_alone.py"])]


def test_the_budget_in_the_readme_prints_what_is_shown():
    fenced = blocks(README)
    (code,) = [text for language, text in fenced if language == "python" and "Budget(" in text]
    shown = fenced[fenced.index(("python", code)) + 1]
    assert shown[0] == "text"
    assert run(["-c", code]) == shown[1]


def test_what_the_page_about_devices_shows_is_what_happens():
    page = "docs/device.md"
    code = "\n".join(text for language, text in blocks((ROOT / page).read_text())
                     if language == "pycon")  # fmt: skip
    said = []
    examples = doctest.DocTestParser().get_doctest(code, {}, page, None, 0)
    failed, tried = doctest.DocTestRunner().run(examples, out=said.append)
    assert failed == 0, "".join(said)
    assert tried > 40


def test_an_example_that_is_wrong_is_seen():
    said = []
    wrong = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "x", None, 0)
    assert doctest.DocTestRunner().run(wrong, out=said.append).failed == 1


def test_every_command_of_the_readme_is_a_target():
    makefile = (ROOT / "Makefile").read_text()
    commands = set(re.findall(r"`make ([a-z-]+)`", README))
    assert {"demo", "test", "check", "bench", "sanitize", "fuzz", "docs", "test-gpu"} <= commands
    for command in commands:
        assert re.search(rf"^{command}:", makefile, re.MULTILINE), command


def test_every_room_is_in_the_readme():
    rooms = {path.name for path in (ROOT / "src").iterdir() if any(path.iterdir())}
    for room in rooms - {"include"}:
        assert f"src/{room}/" in README, room


def test_error_table_has_every_status():
    spec = importlib.util.spec_from_file_location("docs_conf", ROOT / "docs/conf.py")
    conf = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(conf)
    header = (ROOT / "src/include/bayplan/base.h").read_text()
    rows = conf.error_rows(header)
    assert len(rows) == len(re.findall(r"^    X\(", header, re.MULTILINE)) - 1
    assert len({code for code, *_ in rows}) == len(rows)
    assert ("BAY-E100", "BP_UNKNOWN_BUFFER", "BufferKeyError", "no such buffer") in rows
