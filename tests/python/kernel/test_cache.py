"""Keys of Numba's disk cache: they follow what kernels see of a layout, and no more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.ptx

PROBE = Path(__file__).with_name("cache_probe.py")
BASE = {"outer": 4, "inner": 3}
KERNELS = {"direct", "hidden", "allocates"}


def _probe(folder: Path, hash_seed: int = 0, **options) -> dict:
    environment = {
        **os.environ,
        "NUMBA_CACHE_DIR": str(folder),
        "PYTHONHASHSEED": str(hash_seed),
    }
    done = subprocess.run(
        [sys.executable, str(PROBE), json.dumps(BASE | options)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> dict:
    return _probe(tmp_path_factory.mktemp("cache"))


def _changed(base: dict, other: dict) -> set[str]:
    return {name for name in KERNELS if base[name] != other[name]}


# What differs between two processes, and which kernels must have another key.
CASES = {
    "nothing": ({}, set()),
    "string identities": ({"split": True}, set()),
    "hash seed": ({"hash_seed": 77}, set()),
    "versions": ({"edits": 5}, set()),
    "a buffer's size": ({"outer": 64}, {"direct", "hidden", "allocates"}),
    "a child's size": ({"inner": 64}, {"direct", "hidden"}),
    "a location": ({"hist": "shared"}, {"direct", "hidden"}),
    "the binding": ({"policy": "none", "outer": 4, "inner": 3}, None),
}


@pytest.mark.parametrize("case", CASES)
def test_keys_across_processes(case, base, tmp_path):
    options, expected = CASES[case]
    changed = _changed(base, _probe(tmp_path, **options))
    if expected is None:
        expected = {"direct", "hidden"} if _binding_differs() else set()
        assert expected, "the two policies must give different strides here"
    if case in ("a child's size", "a location"):
        # Planned anew, the parent's own buffer may have moved; its allocator says so.
        changed.discard("allocates")
    assert changed == expected


def _binding_differs() -> bool:
    from kernel_tools import Node

    inner = Node("Inner", [("jac", 3, "shared")])
    layout = Node("Outer", [("state", 4, "shared")], [("newton", inner)]).layout
    return layout.bind(policy="pad") != layout.bind(policy="none")


def test_kernels_on_disk(tmp_path):
    first = _probe(tmp_path, save=True)
    assert first["disk"] == dict.fromkeys(KERNELS, "miss")
    again = _probe(tmp_path, save=True, split=True, edits=3)
    assert again["disk"] == dict.fromkeys(KERNELS, "hit")
    changed = _probe(tmp_path, save=True, inner=64)
    assert changed["disk"]["direct"] == changed["disk"]["hidden"] == "miss"
    back = _probe(tmp_path, save=True)
    assert back["disk"] == dict.fromkeys(KERNELS, "hit")
