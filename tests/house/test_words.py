"""The project's texts speak about the project alone."""

import subprocess

import pytest
from house_rules import ROOT, word_complaints

SKIP = {".venv", "build", "dist", "_build", ".git", "__pycache__"}
TEXTS = {".c", ".h", ".py", ".pyi", ".md", ".toml", ".txt", ".csv", ".cfg"}


def texts():
    """Every text of the project: what git knows, else what lies there."""
    known = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    paths = (
        [ROOT / line for line in known.stdout.splitlines()]
        if known.returncode == 0
        else [p for p in ROOT.rglob("*") if not SKIP & set(p.relative_to(ROOT).parts)]
    )
    return [
        p
        for p in paths
        if p.is_file() and (p.suffix in TEXTS or p.name in ("Makefile", "run"))
        # These two hold the words themselves.
        if p.name not in ("house_rules.py", "test_words.py")
    ]


def test_no_stray_words():
    found = texts()
    assert len(found) > 30
    said = [c for p in found for c in word_complaints(str(p.relative_to(ROOT)), p.read_text())]
    assert said == []


@pytest.mark.parametrize(
    "line",
    ["see /home/someone/notes", "# TODO: later", "as in the prototype", "read DEVELOPERS.md"],
)
def test_a_stray_word_is_seen(line):
    assert len(list(word_complaints("a.md", line))) == 1


@pytest.mark.parametrize("line", ["-Wall -Wstrict-prototypes", "python/work/list", "todo list"])
def test_what_is_no_stray_word(line):
    assert list(word_complaints("a.md", line)) == []
