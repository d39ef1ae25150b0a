"""What the kernel face leans on: names of Numba's, imports, and who imports whom."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import bayplan
import bayplan.kernel

FOLDER = Path(bayplan.kernel.__file__).parent
NUMBA = {"numba", "numba_cuda", "llvmlite"}


def test_numba_is_the_one_this_was_written_for():
    """Semi-private names are used: a new minor version is looked at before it is allowed."""
    import numba_cuda

    version = tuple(int(part) for part in numba_cuda.__version__.split(".")[:2])
    assert (0, 30) <= version < (0, 31)


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_numba_is_imported_in_one_place():
    """compat.py has every name; __init__.py only looks whether there is a Numba."""
    importers = {path.name for path in FOLDER.glob("*.py") if _imports(path) & NUMBA}
    assert importers == {"__init__.py", "compat.py"}


def _run(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_importing_the_package_imports_no_numba():
    program = (
        "import sys, bayplan; "
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'numba', 'llvmlite', 'cuda'}))"
    )
    assert _run(program) == "[]"


@pytest.mark.parametrize("missing", ["numba", "numba_cuda", "numba.cuda"])
def test_without_numba_cuda_the_extra_is_named(missing):
    program = (
        "import sys\n"
        f"sys.modules[{missing!r}] = None\n"
        "import bayplan\n"
        "try:\n"
        "    import bayplan.kernel\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    text = _run(program)
    assert "pip install 'bayplan[cu13]'" in text
    assert "'bayplan[sim]'" in text


@pytest.mark.ptx
def test_the_simulator_is_seen_by_the_environment():
    program = (
        "import os; os.environ['NUMBA_ENABLE_CUDASIM'] = '1'\n"
        "import bayplan.kernel, sys\n"
        "print(bayplan.kernel.is_simulated(), 'bayplan.kernel.lower' in sys.modules)\n"
    )
    assert _run(program) == "True False"
