"""Public packing instances, if they are beside the repository (their heights are proved there)."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from plan_tools import check_plan, check_valid

import bayplan

FOLDER = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "packing"
# Buffers, most bytes alive at once (which is the optimum), first digits of the file's SHA-256.
KNOWN = {
    "A.1048576.csv": (154, 1048576, "4660c0d84de8a0bc"),
    "C.1048576.csv": (203, 1039360, "88a286397f28b21d"),
    "E.1048576.csv": (215, 1048576, "25b153b783647453"),
    "G.1048576.csv": (308, 1048576, "60bc03e388349033"),
    "I.1048576.csv": (374, 1048576, "c3f205cb1a3daa5e"),
    "K.1048576.csv": (454, 1048576, "0ed830405f662b2c"),
}
CAPACITY = 1048576

pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason=f"no packing instances: there is no folder {FOLDER}"
)


@pytest.fixture(params=KNOWN)
def instance(request):
    """(name, instance, buffers as rows)."""
    path = FOLDER / request.param
    assert hashlib.sha256(path.read_bytes()).hexdigest()[:16] == KNOWN[request.param][2]
    found = bayplan.read_csv(path)
    n, load, _ = KNOWN[request.param]
    assert len(found.sizes) == n
    assert found.align is None
    assert found.offsets is None
    columns = (c.tolist() for c in found[:3])
    return load, found, [(*row, 1) for row in zip(*columns, strict=True)]


@pytest.mark.parametrize("mode", ["auto", "optimal"])
def test_fits_the_capacity(instance, mode):
    load, (sizes, first, last, _), buffers = instance
    plan = bayplan.plan(sizes, first, last, mode=mode, capacity=CAPACITY)
    check_valid(plan, buffers)
    assert (plan.status, plan.height <= CAPACITY, plan.load) == ("feasible", True, load)


def test_less_than_the_load_is_infeasible(instance):
    load, (sizes, first, last, _), _ = instance
    plan = bayplan.plan(sizes, first, last, mode="optimal", capacity=load - 1)
    assert (plan.status, plan.lower_bound) == ("infeasible", load)


def test_the_optimum_is_proved_from_scratch(instance):
    load, (sizes, first, last, _), buffers = instance
    plan = bayplan.plan(sizes, first, last, mode="optimal")
    check_plan(plan, buffers)
    assert (plan.status, plan.height) == ("optimal", load)


def test_written_and_read_again(instance, tmp_path):
    _, (sizes, first, last, _), _ = instance
    plan = bayplan.plan(sizes, first, last, mode="fast")
    bayplan.write_csv(tmp_path / "x.csv", sizes, first, last, offsets=plan.offsets)
    again = bayplan.read_csv(tmp_path / "x.csv")
    assert again.offsets.tolist() == plan.offsets.tolist()
    pinned = bayplan.plan(again.sizes, again.first, again.last, pins=again.offsets)
    assert pinned.offsets.tolist() == plan.offsets.tolist()
    assert pinned.height == plan.height
