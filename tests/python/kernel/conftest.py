"""Two runs make one test of the kernel face.

With NUMBA_ENABLE_CUDASIM=1 the tests marked `sim` run, without it those marked
`ptx`; the rest is the same in both. A test that this run leaves out is skipped
with a reason that names the other run, and no test may need both.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("numba.cuda", reason="numba-cuda is not installed")
sys.path.insert(0, str(Path(__file__).parent))

from bayplan.kernel import is_simulated

SKIPPED = {
    "ptx": "needs the compiler: runs without NUMBA_ENABLE_CUDASIM",
    "sim": "needs the simulator: runs with NUMBA_ENABLE_CUDASIM=1",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    left_out = "ptx" if is_simulated() else "sim"
    for item in items:
        if here not in item.path.parents:
            continue
        marks = {mark for mark in SKIPPED if item.get_closest_marker(mark)}
        if len(marks) == 2:
            raise pytest.UsageError(f"{item.nodeid} is marked for both runs: neither has it")
        if left_out in marks:
            item.add_marker(pytest.mark.skip(reason=SKIPPED[left_out]))


@pytest.fixture(params=[(8, 0), (9, 0)], ids=["cc80", "cc90"])
def cc(request: pytest.FixtureRequest) -> tuple[int, int]:
    """The compute capabilities that PTX is looked at for."""
    return request.param


@pytest.fixture(autouse=True)
def no_gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let device functions compile without a driver.

    Compiling a device function that is called asks for the current device, to read
    its compute capability. This one name is all that has to be replaced.
    """
    if is_simulated() or request.node.get_closest_marker("gpu"):
        return
    import numba.cuda.dispatcher

    device = SimpleNamespace(compute_capability=(8, 0))
    monkeypatch.setattr(numba.cuda.dispatcher, "get_current_device", lambda: device)
