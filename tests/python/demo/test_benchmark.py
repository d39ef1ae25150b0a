"""The benchmark against offsets by hand checks itself; its times are not looked at."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

pytestmark = pytest.mark.sim

SCRIPT = Path(__file__).resolve().parents[3] / "benchmarks" / "views_on_device.py"


@pytest.fixture
def benchmark_script():
    spec = importlib.util.spec_from_file_location("views_on_device", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_both_solvers_agree_and_the_table_says_so(benchmark_script, capsys):
    assert benchmark_script.main(["--runs", "2", "--rounds", "1", "--problem", "robertson"]) == 0
    out = capsys.readouterr().out
    assert out.count("| agrees |") == 2
    assert "100,000" not in out
    assert "2 runs" in out


def test_results_that_differ_are_an_error(benchmark_script, capsys, monkeypatch):
    monkeypatch.setattr(benchmark_script, "difference", lambda *_: 1.0)
    assert benchmark_script.main(["--runs", "1", "--rounds", "1", "--problem", "robertson"]) == 1
    assert "DIFFERS" in capsys.readouterr().out
