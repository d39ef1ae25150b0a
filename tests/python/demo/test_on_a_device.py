"""The demo on a GPU."""

from __future__ import annotations

import pytest

from bayplan import cli
from bayplan.demo import device

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not device.n_devices(), reason="no CUDA device"),
]


def test_demo_on_a_device(tmp_path, capsys):
    arguments = ["--device", "gpu", "--runs", "2000", "--picture", str(tmp_path / "map.png")]
    assert cli.main(["demo", *arguments]) == 0
    out = capsys.readouterr().out
    assert out.startswith("On the GPU.")
    assert "the same results within" in out
    assert "All checks: met" in out


def test_repeated_runs_give_the_same_bits():
    """Runs of the same parameters in other lanes and blocks: no byte is shared by mistake."""
    import numpy as np

    from bayplan.demo.ensemble import Ensemble, read_sweep
    from bayplan.demo.problems import PROBLEMS

    for problem in PROBLEMS.values():
        for method in ("rosenbrock", "dirk"):
            ensemble = Ensemble(problem, method, "lu", "float64")
            results = ensemble.run(read_sweep(problem).repeated(64 * 20))
            assert results.n_unfinished == 0
            again = results.final.reshape(problem.n_species, 20, 64)
            np.testing.assert_array_equal(again, np.broadcast_to(again[:, :1], again.shape))
