"""What `import bayplan` brings with it."""

import os
import subprocess
import sys

import pytest
from house_rules import ROOT

HEAVY = ("numba", "llvmlite", "cuda", "matplotlib", "scipy", "rich", "cupy", "torch")


def modules_after(statement):
    code = f"{statement}\nimport sys\nprint(*sorted(sys.modules))"
    env = {k: v for k, v in os.environ.items() if k != "NUMBA_ENABLE_CUDASIM"}
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=env
    )
    return set(done.stdout.split())


def heavy(modules):
    return sorted({m.split(".")[0] for m in modules} & set(HEAVY))


def test_import_is_light():
    modules = modules_after("import bayplan")
    assert "bayplan._core" in modules
    assert heavy(modules) == []
    assert "bayplan.kernel" not in modules
    assert "bayplan.demo" not in modules


def test_drawing_text_is_light():
    assert heavy(modules_after("import bayplan.draw")) == []


def test_heavy_modules_are_seen():
    assert heavy(modules_after("import rich")) == ["rich"]


def test_version_has_one_place():
    import bayplan

    text = (ROOT / "CMakeLists.txt").read_text()
    assert f"project(bayplan VERSION {bayplan.__version__} " in text
    assert bayplan.__version__ not in (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize("name", ["BufferRegistry", "Layout", "CUDAFactory", "buffer_registry"])
def test_the_front_door(name):
    import bayplan

    assert hasattr(bayplan, name)
