"""Fixtures for the tests of the registry, its layouts and the pure planners."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, Phase, settings

# What compares bayplan with its model says what differs, as tests do.
pytest.register_assert_rewrite("device_pair")

COMMON = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}
# "ci" is the same run every time, and says what failed as it was found; "deep"
# looks further, in other places each time, and takes the minutes that making a
# failure small may need:
#     BAYPLAN_HYPOTHESIS=deep python -m pytest tests/python/test_stateful.py
settings.register_profile(
    "ci",
    max_examples=200,
    stateful_step_count=40,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    report_multiple_bugs=False,
    **COMMON,
)
settings.register_profile("deep", max_examples=3000, stateful_step_count=80, **COMMON)
settings.load_profile(os.environ.get("BAYPLAN_HYPOTHESIS", "ci"))


@pytest.fixture
def registry():
    """A fresh registry; its invariants must still hold when the test ends."""
    import bayplan

    made = bayplan.BufferRegistry()
    yield made
    made.check()


@pytest.fixture
def sequential():
    """A fresh registry that places in declaration order."""
    import bayplan

    made = bayplan.BufferRegistry(mode="sequential")
    yield made
    made.check()
