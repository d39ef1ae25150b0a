"""More than 48 KiB of dynamic shared memory, against a driver that writes down."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from bayplan import BudgetExceeded
from bayplan.kernel import enable_large_shared

DEVICE = SimpleNamespace(
    id=3, MAX_SHARED_MEMORY_PER_BLOCK_OPTIN=166912, RESERVED_SHARED_MEMORY_PER_BLOCK=1024
)


class Kernel:
    """A dispatcher with two compiled signatures."""

    def __init__(self, static: int = 0) -> None:
        self.py_func = self.__init__
        self.compiled: list[str] = []
        self.overloads = {name: self._loaded(name, static) for name in ("one", "two")}

    @staticmethod
    def _loaded(name: str, static: int):
        attributes = SimpleNamespace(shared=static)
        function = SimpleNamespace(name=name, handle=f"h-{name}", device=DEVICE, attrs=attributes)
        return SimpleNamespace(library=SimpleNamespace(get_cufunc=lambda: function))

    def compile(self, signature):
        self.compiled.append(signature)
        return self.overloads["two"]


@pytest.fixture
def calls(monkeypatch):
    from bayplan.kernel import compat

    made = []
    attributes = SimpleNamespace(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES="max-dynamic")
    fake = SimpleNamespace(
        binding=SimpleNamespace(CUfunction_attribute=attributes),
        driver=SimpleNamespace(cuKernelSetAttribute=lambda *args: made.append(args)),
    )
    monkeypatch.setattr(compat, "driver", fake)
    return made


@pytest.mark.ptx
def test_every_compiled_signature(calls):
    enable_large_shared(Kernel(), 100_000)
    assert calls == [("max-dynamic", 100_000, "h-one", 3), ("max-dynamic", 100_000, "h-two", 3)]


@pytest.mark.ptx
def test_one_signature(calls):
    made = Kernel()
    enable_large_shared(made, 100_000, "void(float32[::1])")
    assert made.compiled == ["void(float32[::1])"]
    assert calls == [("max-dynamic", 100_000, "h-two", 3)]


@pytest.mark.ptx
def test_the_last_byte(calls):
    enable_large_shared(Kernel(static=912), 166_000, "any")
    assert len(calls) == 1
    with pytest.raises(BudgetExceeded) as caught:
        enable_large_shared(Kernel(static=912), 166_001, "any")
    assert str(caught.value) == (
        "two asks for 166001 dynamic + 912 static = 166913 bytes of shared memory per block; "
        "the device allows 166912 (1024 more are the driver's)"
    )
    assert len(calls) == 1


@pytest.mark.ptx
def test_negative_bytes(calls):
    with pytest.raises(ValueError, match="-1"):
        enable_large_shared(Kernel(), -1)
    assert calls == []


@pytest.mark.ptx
def test_nothing_compiled(calls):
    made = Kernel()
    made.overloads = {}
    with pytest.raises(ValueError, match="not compiled yet"):
        enable_large_shared(made, 100_000)


@pytest.mark.ptx
def test_the_names_exist():
    """The driver attribute and the device attributes are spelled as the driver's are."""
    from bayplan.kernel.compat import driver

    attribute = driver.binding.CUfunction_attribute
    assert int(attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) == 8
    for name in vars(DEVICE):
        if name.isupper():
            assert hasattr(driver.binding.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}")


@pytest.mark.sim
def test_the_simulator_knows_no_limit():
    enable_large_shared(None, 10**9)
