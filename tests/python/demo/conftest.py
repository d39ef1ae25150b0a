"""The demo's tests: nearly all run in the simulator, one file looks at PTX, one at a device."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

for package in ("numba.cuda", "scipy", "rich", "matplotlib"):
    pytest.importorskip(package, reason=f"the demo needs {package}")
sys.path.insert(0, str(Path(__file__).parent))

from bayplan.kernel import is_simulated  # noqa: E402

SKIPPED = {
    "ptx": "needs the compiler: runs without NUMBA_ENABLE_CUDASIM",
    "gpu": "needs the compiler: runs without NUMBA_ENABLE_CUDASIM",
    "sim": "needs the simulator: runs with NUMBA_ENABLE_CUDASIM=1",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    left_out = ("ptx", "gpu") if is_simulated() else ("sim",)
    for item in items:
        if here not in item.path.parents:
            continue
        for mark in left_out:
            if item.get_closest_marker(mark):
                item.add_marker(pytest.mark.skip(reason=SKIPPED[mark]))


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let device functions compile without a driver."""
    import numba.cuda.dispatcher

    device = SimpleNamespace(compute_capability=(8, 0))
    monkeypatch.setattr(numba.cuda.dispatcher, "get_current_device", lambda: device)
