"""The command line: what it prints, what it refuses, and its exit status."""

from __future__ import annotations

import os
import subprocess
import sys
import types

import pytest

from bayplan import BufferKeyError, cli
from bayplan.demo import device

pytestmark = pytest.mark.sim

SMALL = ["--problem", "robertson", "--precision", "float32", "--runs", "2"]


def demo(tmp_path, *arguments, picture="map.svg"):
    return cli.main(["demo", *arguments, "--picture", str(tmp_path / picture)])


def test_small_demo(tmp_path, capsys):
    assert demo(tmp_path, *SMALL) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "simulator" in out
    assert "vs SciPy" in out
    assert "All checks: met" in out
    assert "bit for bit the same results: met" in out
    assert "step_newton_delta_location=shared" in out
    lines = [line.split() for line in out.splitlines()]
    results = [line for line in lines if line[:2] == ["robertson", "float32"]]
    assert [line[2] for line in results] == ["rosenbrock/lu", "dirk/lu"]
    for line in results:
        worst, published, limit, verdict = line[-4:]
        assert 0 < float(worst) <= float(limit)
        assert 0 < float(published) <= float(limit)
        assert verdict == "met"
    maps = [line[1] for line in lines if line[:1] == ["delta"]]
    assert maps == ["local", "shared"]  # the map before the move, and after
    assert (tmp_path / "map.svg").read_text().lstrip().startswith("<?xml")


def test_png_and_other_parts(tmp_path, capsys):
    chosen = [*SMALL, "--method", "rosenbrock", "--linear", "bicgstab"]
    moves = [
        "--set",
        "step_linear_matrix_location=persistent_local",
        "--set",
        "point_location=local",
    ]
    assert demo(tmp_path, *chosen, *moves, picture="map.png") == 0
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")
    out = capsys.readouterr().out
    assert "rosenbrock/bicgstab" in out
    assert "step_point_location=local" in out


def test_a_missed_tolerance_is_status_1(tmp_path, capsys, monkeypatch):
    from bayplan.demo import problems, run

    strict = {"float32": problems.Accuracy(1e-4, 1e-9, 1e-12)}
    changed = run.PROBLEMS["robertson"].__class__(
        **{**vars(run.PROBLEMS["robertson"]), "accuracy": strict}
    )
    monkeypatch.setattr(run, "PROBLEMS", {"robertson": changed})
    assert demo(tmp_path, *SMALL) == 1
    assert "All checks: NOT MET" in capsys.readouterr().out


def test_runs_that_share_a_buffer_are_found_out(tmp_path, capsys):
    """The check can fail: one set of constants for both runs of a block is wrong."""
    assert (
        demo(tmp_path, *SMALL, "--method", "rosenbrock", "--set", "constants_location=block") == 1
    )
    out = capsys.readouterr().out
    assert "bit for bit the same results: NOT MET" in out
    assert "one for all runs of a block" in out.replace("\n", " ")
    assert "All checks: NOT MET" in out


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        (
            "newton_detla_location=shared",
            ["newton_detla_location", "did you mean 'newton_delta_location'"],
        ),
        ("newton_delta_location=sharde", ["sharde"]),
        ("history_location=local", ["history"]),
        ("newton_delta_location", ["--set", "newton_delta_location"]),
        ("delta_size=-1", ["-1"]),
    ],
)
def test_bad_settings(tmp_path, capsys, assignment, words):
    assert demo(tmp_path, *SMALL, "--set", assignment) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("bayplan demo: ")
    assert "Traceback" not in err
    for word in words:
        assert word in err
    assert not (tmp_path / "map.svg").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--problem", "brusselator"],
        ["--runs", "0"],
        ["--runs", "many"],
        ["--precision", "float16"],
        ["--method", "euler"],
        ["--picture", "map.txt"],
        ["--picture", "/nowhere/at/all/map.png"],
        ["--problem", "robertson-late", "--precision", "float32"],
    ],
)
def test_bad_arguments(arguments, capsys):
    try:
        status = cli.main(["demo", *arguments])
    except SystemExit as end:
        status = end.code
    assert status == 2
    assert arguments[1] in capsys.readouterr().err


def test_keys_are_completed():
    from bayplan.demo import overrides
    from bayplan.demo.ensemble import build_tree
    from bayplan.demo.problems import ROBERTSON

    loop = build_tree(ROBERTSON, method="rosenbrock", linear="lu", precision="float32")
    assert overrides.complete(loop, {"rates_location": "shared"}) == {
        "step_rhs_rates_location": "shared"
    }
    assert overrides.complete(loop, {"state_location": "local"}) == {"state_location": "local"}
    assert overrides.complete(loop, {"max_steps": 9}) == {"max_steps": 9}
    with pytest.raises(BufferKeyError, match="'nonsense'"):
        overrides.complete(loop, {"nonsense": 1})


def test_a_key_with_several_meanings_is_refused():
    from bayplan.demo import overrides
    from bayplan.demo.ensemble import build_tree
    from bayplan.demo.problems import ROBERTSON

    loop = build_tree(ROBERTSON, method="rosenbrock", linear="lu", precision="float32")
    loop.controller.register_buffer("point", 1)
    both = "controller_point_location, step_point_location"
    with pytest.raises(BufferKeyError, match=both):
        overrides.complete(loop, {"point_location": "shared"})


# ---- where it runs -----------------------------------------------------------------------


@pytest.fixture
def fresh(monkeypatch):
    """A process in which Numba was not imported, with no device and no wish."""
    monkeypatch.delitem(sys.modules, "numba", raising=False)
    monkeypatch.delenv("NUMBA_ENABLE_CUDASIM", raising=False)
    monkeypatch.setattr(device, "n_devices", lambda: 0)
    return monkeypatch


def test_no_device_means_simulator(fresh):
    assert "simulator" in device.choose("auto")
    assert os.environ["NUMBA_ENABLE_CUDASIM"] == "1"


def test_a_device_is_used(fresh):
    fresh.setattr(device, "n_devices", lambda: 2)
    assert "GPU" in device.choose("auto")
    assert os.environ["NUMBA_ENABLE_CUDASIM"] == "0"
    fresh.setenv("NUMBA_ENABLE_CUDASIM", "1")
    assert "NUMBA_ENABLE_CUDASIM is set" in device.choose("auto")
    assert os.environ["NUMBA_ENABLE_CUDASIM"] == "1"
    assert "as asked" in device.choose("simulator")
    assert "GPU" in device.choose("gpu")
    assert os.environ["NUMBA_ENABLE_CUDASIM"] == "0"


def test_a_device_that_is_not_there(fresh):
    with pytest.raises(RuntimeError, match="no CUDA device"):
        device.choose("gpu")
    assert "NUMBA_ENABLE_CUDASIM" not in os.environ


def test_numba_cannot_change_its_mind(fresh):
    config = types.SimpleNamespace(ENABLE_CUDASIM=0)
    fresh.setitem(sys.modules, "numba", types.SimpleNamespace(config=config))
    with pytest.raises(RuntimeError, match="already imported"):
        device.choose("simulator")


def test_python_m_bayplan(tmp_path):
    """The real command in a process of its own: it finds no device by itself and says so."""
    environment = {k: v for k, v in os.environ.items() if k != "NUMBA_ENABLE_CUDASIM"}
    environment["CUDA_VISIBLE_DEVICES"] = ""
    done = subprocess.run(
        [sys.executable, "-m", "bayplan", "demo", *SMALL, "--picture", str(tmp_path / "map.png")],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.startswith("No CUDA device found")
    assert "All checks: met" in done.stdout
