"""Which backend a name means, and what is said where no device answers."""

import os
import subprocess
import sys
import time

import pytest

import bayplan
from bayplan import (
    Budget,
    BufferValueError,
    DeviceUnavailable,
    SimBackend,
    SlotManager,
    _core,
    backends,
)


@pytest.fixture(autouse=True)
def no_variable(monkeypatch):
    monkeypatch.delenv(backends.VARIABLE, raising=False)


def has_device():
    try:
        _core._probe_driver()
    except DeviceUnavailable:
        return False
    return True


without_device = pytest.mark.skipif(has_device(), reason="a device answers")


def backend_of(budget, **options):
    with SlotManager(budget, **options) as slots:
        return slots.backend


def test_sim_is_private_to_a_budget():
    one, other = Budget(1000), Budget(1000)
    child = Budget(100, parent=one)
    sims = [backend_of(budget, backend="sim") for budget in (one, other, child)]
    assert [type(sim) for sim in sims] == [SimBackend] * 3
    assert len({id(sim) for sim in sims}) == 3
    assert backend_of(one, backend="sim") is sims[0]


def test_a_backend_is_taken_as_it_is():
    sim = SimBackend(capacity=500)
    assert backend_of(Budget(1000), backend=sim) is sim
    assert backend_of(Budget(1000, device=SimBackend()), backend=sim) is sim


def test_the_device_of_a_budget_and_below():
    sim = SimBackend(capacity=500)
    budget = Budget(0.5, device=sim)
    child = Budget(100, parent=budget)
    for one in (budget, child, Budget(50, parent=child)):
        assert one.device is sim
        assert backend_of(one) is sim
        assert backend_of(one, backend="sim") is sim
    other = SimBackend()
    assert Budget(100, parent=budget, device=other).device is other
    assert Budget(100).device is None


def test_the_variable_says_what_auto_is(monkeypatch):
    monkeypatch.setenv(backends.VARIABLE, "sim")
    budget = Budget(1000)
    assert backend_of(budget) is backend_of(budget, backend="sim")
    monkeypatch.setenv(backends.VARIABLE, "simm")
    with pytest.raises(BufferValueError, match=r"BAYPLAN_BACKEND: there is no backend 'simm' "
                                               r"\(did you mean 'sim'\?\)"):  # fmt: skip
        SlotManager(budget)
    assert backend_of(budget, backend="sim").name == "sim"


def test_what_is_no_backend():
    with pytest.raises(BufferValueError, match="no backend 'gpu'; there are auto, sim, cuda, vmm"):
        SlotManager(Budget(1000), backend="gpu")
    with pytest.raises(TypeError, match="a name or a SimBackend, not NoneType"):
        SlotManager(Budget(1000), backend=None)


@without_device
@pytest.mark.parametrize("name", ["auto", "cuda", "vmm"])
def test_no_device_is_said_soon_and_in_full(name):
    budget = Budget(1000)
    before = budget.dump()
    begin = time.perf_counter()
    with pytest.raises(DeviceUnavailable) as caught:
        SlotManager(budget, backend=name)
    assert time.perf_counter() - begin < 0.1
    assert "libcuda.so.1" in str(caught.value)
    assert caught.value.code == "BAY-E200"
    assert budget.dump() == before


@without_device
@pytest.mark.parametrize("value", ["", "auto", "cuda", "vmm"])
def test_the_variable_never_falls_back(monkeypatch, value):
    monkeypatch.setenv(backends.VARIABLE, value)
    with pytest.raises(DeviceUnavailable, match=r"libcuda\.so\.1"):
        SlotManager(Budget(1000))


@without_device
def test_a_fraction_asks_the_device():
    begin = time.perf_counter()
    with pytest.raises(DeviceUnavailable, match=r"libcuda\.so\.1"):
        Budget(0.5)
    assert time.perf_counter() - begin < 0.1


def test_a_device_that_answers_is_not_driven_yet(monkeypatch):
    monkeypatch.setattr(_core, "_probe_driver", lambda: None)
    for name, shown in (("auto", "cuda"), ("cuda", "cuda"), ("vmm", "vmm")):
        with pytest.raises(bayplan.NotYetError, match=f"backend '{shown}' is not there yet"):
            SlotManager(Budget(1000), backend=name)
    with pytest.raises(bayplan.NotYetError):
        Budget(0.5)


def libraries_opened(statement):
    """Run a statement in a new process and return what its loader says it looked for."""
    env = {**os.environ, "LD_DEBUG": "files"}
    env.pop(backends.VARIABLE, None)
    done = subprocess.run(
        [sys.executable, "-c", statement], env=env, capture_output=True, text=True
    )
    assert "calling init" in done.stderr, "this loader does not say what it does"
    return done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="asks the GNU loader")
def test_importing_looks_for_no_driver():
    quiet = "import bayplan; b = bayplan.Budget(10); s = bayplan.SlotManager(b, backend='sim')"
    assert "libcuda" not in libraries_opened(quiet)
    loud = "import bayplan; bayplan.SlotManager(bayplan.Budget(10))"
    assert "libcuda.so.1" in libraries_opened(loud)


def test_a_fraction_says_what_to_pass(monkeypatch):
    monkeypatch.setenv(backends.VARIABLE, "sim")
    with pytest.raises(DeviceUnavailable, match=r"pass device=SimBackend\(capacity="):
        Budget(0.5)


@pytest.mark.parametrize("capacity", [1000, None])
def test_a_device_is_observed_before_it_has_a_manager(capacity):
    device = SimBackend(capacity=capacity)
    budget = Budget(500, device=device)
    child = Budget(100, parent=budget)
    another = SlotManager(Budget(500), backend=device)
    another.allocate("slot", 300)
    budget.charge(200)
    before = budget.observe(), child.observe()
    assert before[0].untracked == (0 if capacity is None else 100)
    slots = SlotManager(budget)
    assert budget.observe() == before[0]
    SlotManager(child)
    assert child.observe() == before[1]
    slots.close()
    with pytest.raises(DeviceUnavailable):
        Budget(500).observe()
