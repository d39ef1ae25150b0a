"""Exceptions: one type for every status, figures as attributes, all of it picklable."""

from __future__ import annotations

import copy
import pickle

import pytest

import bayplan
from bayplan import _core

FAMILIES = {
    "BufferKeyError": KeyError,
    "BufferValueError": ValueError,
    "NotYetError": NotImplementedError,
    "StaleHandle": RuntimeError,
    "BudgetExceeded": MemoryError,
    "DeviceUnavailable": RuntimeError,
    "DeviceFault": RuntimeError,
    "Busy": RuntimeError,
    "SlotExists": ValueError,
    "ForkedProcess": RuntimeError,
}
# The beginning of a code says what sort of rule was broken.
CODES = {
    "BAY-E001": MemoryError,
    "BAY-E002": bayplan.BayplanError,
    "BAY-E003": bayplan.BudgetExceeded,
    "BAY-E004": bayplan.BudgetExceeded,
    "BAY-E01": bayplan.NotYetError,
    "BAY-E10": bayplan.BufferKeyError,
    "BAY-E11": bayplan.BufferValueError,
    "BAY-E12": bayplan.BufferValueError,
    "BAY-E13": bayplan.StaleHandle,
    "BAY-E200": bayplan.DeviceUnavailable,
    "BAY-E201": bayplan.DeviceFault,
    "BAY-E202": bayplan.ForkedProcess,
    "BAY-E203": bayplan.Busy,
    "BAY-E204": bayplan.SlotExists,
    "BAY-E205": bayplan.BufferKeyError,
    "BAY-E206": bayplan.StaleHandle,
    "BAY-E207": bayplan.StaleHandle,
    "BAY-E208": TimeoutError,
    "BAY-E209": bayplan.BayplanError,
}
STATUSES = list(enumerate(_core._statuses()))
FIELDS = ("code", "factory", "buffer", "value", "limit")


def test_statuses_are_distinct():
    names, codes, texts, _ = zip(*(row for _, row in STATUSES), strict=True)
    assert len(set(names)) == len(set(codes)) == len(set(texts)) == len(STATUSES) > 20


@pytest.mark.parametrize(("number", "row"), STATUSES[1:], ids=lambda x: str(x)[:24])
def test_every_status_becomes_its_exception(number, row):
    _, code, text, kind = row
    with pytest.raises(kind) as info:
        _core._raise_status(number)
    error = info.value
    assert type(error) is kind
    assert [kind] == [k for prefix, k in CODES.items() if code.startswith(prefix)]
    if kind is MemoryError:
        return
    assert str(error) == text
    assert [getattr(error, name) for name in FIELDS] == [code, "Factory", "buffer", 7, 5]


@pytest.mark.parametrize("number", [0, -1, len(STATUSES), 10**30])
def test_no_such_failure(number):
    with pytest.raises((IndexError, OverflowError)):
        _core._raise_status(number)


@pytest.mark.parametrize("name", FAMILIES)
def test_families(name):
    kind = getattr(bayplan, name)
    assert kind.__mro__[1:3] == (bayplan.BayplanError, FAMILIES[name])
    assert kind.__module__ == "bayplan"
    assert kind.__doc__
    assert str(kind("plain 'text'")) == "plain 'text'"
    assert [getattr(kind("x"), field) for field in FIELDS] == [None] * 5


@pytest.mark.parametrize(
    "remake", [copy.copy, copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))]
)
@pytest.mark.parametrize(("number", "row"), STATUSES[2:], ids=lambda x: str(x)[:24])
def test_pickle_and_copy_keep_the_figures(number, row, remake):
    with pytest.raises((bayplan.BayplanError, TimeoutError)) as info:
        _core._raise_status(number)
    again = remake(info.value)
    assert type(again) is type(info.value) is row[3]
    assert str(again) == str(info.value)
    assert [getattr(again, name) for name in FIELDS] == [row[1], "Factory", "buffer", 7, 5]


def test_errors_keep_their_traceback_and_cause(registry):
    class Owner:
        pass

    def declare():
        registry.register(Owner(), "a", -1)

    with pytest.raises(bayplan.BufferValueError) as info:
        declare()
    assert info.traceback[-1].name == "declare"
    assert info.value.__cause__ is None
    assert info.value.__context__ is None


def test_a_repr_that_fails_hides_nothing(registry):
    class Owner:
        pass

    class Rude:
        def __repr__(self):
            raise RuntimeError("no")

    with pytest.raises(bayplan.BufferValueError, match=r"Owner: .*'a' .*no repr.*Rude"):
        registry.register(Owner(), "a", Rude())
