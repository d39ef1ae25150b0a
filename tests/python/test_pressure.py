"""Pressure by name: exact at every threshold, and the same as the core's."""

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bayplan
from bayplan import APPLIED, DEFERRED, Budget, LimitChange, MemoryPressure
from bayplan.pressure import LEVELS

LOW, MEDIUM, HIGH, CRITICAL = MemoryPressure


def test_names_and_order():
    assert [one.name for one in MemoryPressure] == ["LOW", "MEDIUM", "HIGH", "CRITICAL"]
    assert list(MemoryPressure) == [0, 1, 2, 3]
    assert LOW < MEDIUM < HIGH < CRITICAL


def test_should_evict_is_critical_alone():
    assert [one.should_evict for one in MemoryPressure] == [False, False, False, True]


@pytest.mark.parametrize(("threshold", "level"), [(50, MEDIUM), (80, HIGH), (95, CRITICAL)])
def test_thresholds_are_exact(threshold, level):
    below = MemoryPressure(level - 1)
    of = MemoryPressure.from_utilization
    assert of(threshold) is of(float(threshold)) is of(Decimal(threshold)) is level
    assert of(math.nextafter(threshold, 0)) is below
    assert of(math.nextafter(threshold, 200)) is level
    assert of(Fraction(threshold) - Fraction(1, 10**40)) is below
    assert of(Decimal(threshold) - Decimal("1e-20")) is below
    # float32 would round this to the threshold.
    assert np.float32(threshold - 1e-9) == threshold
    assert of(threshold - 1e-9) is below


@pytest.mark.parametrize(
    ("percent", "level"), [(0, LOW), (0.0, LOW), (100, CRITICAL), (1e300, CRITICAL),
                           (math.inf, CRITICAL), (96, CRITICAL)]
)  # fmt: skip
def test_ends(percent, level):
    assert MemoryPressure.from_utilization(percent) is level


def test_own_levels():
    of = MemoryPressure.from_utilization
    assert [of(p, (1, 2, 100)) for p in (0, 1, 99, 100)] == [LOW, MEDIUM, HIGH, CRITICAL]
    assert of(60, levels=[60, 70, 80]) is MEDIUM


@pytest.mark.parametrize("percent", [-1, -1e-300, math.nan, Fraction(-1, 10)])
def test_impossible_utilisations(percent):
    with pytest.raises(bayplan.BufferValueError, match="at least 0, not "):
        MemoryPressure.from_utilization(percent)


@pytest.mark.parametrize(
    "levels", [(), (50,), (50, 80), (80, 50, 95), (50, 50, 95), (0, 50, 80), (50, 80, 101)]
)
def test_impossible_levels(levels):
    with pytest.raises(bayplan.BufferValueError, match="three ascending percents"):
        MemoryPressure.from_utilization(10, levels)
    with pytest.raises(bayplan.BufferValueError):
        Budget(100, levels=levels)


@given(st.integers(1, 2**63 - 1), st.data())
def test_a_budget_says_the_same(limit, data):
    edges = [limit * level // 100 + d for level in LEVELS for d in (-1, 0, 1)]
    near = st.sampled_from([n for n in edges if 1 <= n <= limit] or [limit])
    used = data.draw(st.one_of(near, st.integers(1, limit)))
    budget = Budget(limit)
    budget.charge(used)
    pressure = budget.pressure
    assert isinstance(pressure, MemoryPressure)
    assert pressure is budget.stats().pressure
    assert pressure is MemoryPressure.from_utilization(Fraction(100 * used, limit))


def test_an_empty_budget_of_nothing_is_critical():
    assert Budget(0).pressure is CRITICAL
    assert Budget(0).pressure.should_evict


def test_a_changed_limit():
    assert (bayplan.APPLIED, bayplan.DEFERRED) == (LimitChange.APPLIED, LimitChange.DEFERRED)
    budget = Budget("1 kB")
    assert budget.set_limit("2KiB") is APPLIED
    assert budget.limit == 2048
    budget.charge(1001)
    assert budget.set_limit(1001) is APPLIED
    assert budget.set_limit(1000) is DEFERRED
    assert (budget.limit, budget.over, budget.available) == (1000, 1, 0)
    before = budget.dump()
    with pytest.raises(bayplan.BufferValueError):
        budget.set_limit("-1 B")
    with pytest.raises(bayplan.BufferValueError):
        budget.set_limit(-1)
    assert budget.dump() == before


def test_a_pressure_is_written_by_its_name():
    pressure = MemoryPressure.HIGH
    assert (str(pressure), f"{pressure}", f"{pressure:d}") == ("HIGH", "HIGH", "2")
    assert pressure == 2
