"""NumPy dtypes: through the core's canonical text and back, in this process and in another."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
from support import Factory

import bayplan
from bayplan import BufferValueError

PLAIN = [
    *("?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "g"),
    *("F", "D", "G", "S5", "U3", "V7", "M8[ns]", "m8[3h]", "M8"),
]
INNER = np.dtype([("u", "i1"), ("v", "f8")], align=True)
RECORDS = [
    np.dtype([("a", "f4"), ("b", "i8")]),
    np.dtype([("a", "i1"), ("b", "f8")], align=True),
    np.dtype([("a", "i1"), ("inner", INNER), ("c", "c8", (2, 3))]),
    np.dtype([("inner", INNER), ("z", "i1")], align=True),
    np.dtype([("packed", np.dtype([("u", "i1"), ("v", "f8")])), ("z", "f8")], align=True),
    np.dtype({"names": ["x", "y"], "formats": ["f4", "f4"], "offsets": [8, 2], "itemsize": 24}),
    np.dtype({"names": ["x", "y"], "formats": ["f8", "u1"], "offsets": [0, 3], "itemsize": 8}),
    np.dtype([('it\'s "quoted"', "f4"), ("größe", "S2")]),
    np.dtype([("half", "f2"), ("long", "g"), ("when", "M8[25s]")]),
]
ALL = [*map(np.dtype, PLAIN), *RECORDS]


@pytest.mark.parametrize("dtype", ALL, ids=str)
def test_there_and_back(registry, dtype):
    owner = Factory()
    registry.register(owner, "a", 3, "shared", dtype=dtype)
    layout = registry.build_layout(owner)
    for record in (registry.entries(owner)[0], layout["a"], layout.placements[0]):
        assert record.dtype == dtype
        assert record.dtype.itemsize == dtype.itemsize
        assert record.dtype.alignment == dtype.alignment
        assert record.dtype.isalignedstruct == dtype.isalignedstruct
        assert record.dtype.fields == dtype.fields
    assert layout["a"].align == dtype.alignment
    assert layout["a"].nbytes == 3 * dtype.itemsize


@pytest.mark.parametrize("dtype", ALL, ids=str)
def test_as_precision(registry, dtype):
    owner = Factory()
    owner.precision = dtype
    registry.register(owner, "a", 2, "shared")
    layout = registry.build_layout(owner)
    assert layout.precision == dtype == layout["a"].dtype
    assert layout.shared.size == 2


def test_another_process_reads_every_dtype(registry, tmp_path):
    """Its table of dtypes is empty, so the texts alone must say it all."""
    owner = Factory()
    for i, dtype in enumerate(ALL):
        registry.register(owner, f"b{i}", 1, "shared", dtype=dtype)
    layout = registry.build_layout(owner)
    path = tmp_path / "layout.pickle"
    path.write_bytes(pickle.dumps((layout, ALL)))
    code = (
        "import pickle, sys\n"
        "layout, dtypes = pickle.load(open(sys.argv[1], 'rb'))\n"
        "assert [p.dtype for p in layout.placements] == dtypes\n"
        "assert [p.dtype.isalignedstruct for p in layout.placements]"
        " == [d.isalignedstruct for d in dtypes]\n"
        "print(layout.digest)"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, str(path)], check=True, capture_output=True, text=True
    )
    assert out.stdout.strip() == layout.digest


def test_alignment_tells_two_records_apart(registry):
    """The same fields at the same offsets, but one may lie at any byte."""
    fields = {"names": ["a", "b"], "formats": ["f4", "f4"], "offsets": [0, 4], "itemsize": 8}
    one, two = Factory(), Factory()
    registry.register(one, "a", 1, dtype=np.dtype(fields))
    registry.register(two, "a", 1, dtype=np.dtype(fields, align=True))
    assert registry.build_layout(one) != registry.build_layout(two)


@pytest.mark.parametrize(
    "given", [np.float64, float, "f8", "float64", np.dtype("f8"), np.dtype("f8").newbyteorder("=")]
)
def test_spellings_of_one_dtype(registry, given):
    owner = Factory()
    registry.register(owner, "a", 1, dtype=given)
    before = registry.layout_version(owner)
    registry.register(owner, "a", 1, dtype="<f8" if sys.byteorder == "little" else ">f8")
    assert registry.layout_version(owner) == before


class HasDtype:
    """Anything with an attribute ``dtype`` is a dtype to NumPy."""

    dtype = np.dtype("i2")


def test_objects_with_a_dtype(registry):
    owner = Factory()
    registry.register(owner, "a", 1, dtype=HasDtype())
    assert registry.entries(owner)[0].dtype == np.int16


@pytest.mark.parametrize(
    ("dtype", "why"),
    [
        (object, "Python objects"),
        (np.dtype([("a", "f4"), ("b", [("c", object)])]), "Python objects"),
        ("S0", "no bytes"),
        ("V0", "no bytes"),
        (np.dtype([]), "no bytes"),
        (np.dtype(("f4", (2, 3))), "subarray"),
        (np.dtype("f8").newbyteorder("S"), "byte order"),
        (np.dtype([("a", np.dtype("i4").newbyteorder("S"))]), "byte order"),
        (np.dtypes.StringDType(), "Python objects|fixed-size"),
        (np.dtype([(("a title", "a"), "f4")]), "titles"),
    ],
    ids=str,
)
def test_refused(registry, dtype, why):
    owner = Factory()
    with pytest.raises(BufferValueError, match=why) as info:
        registry.register(owner, "a", 1, dtype=dtype)
    assert info.value.code == "BAY-E116"
    assert (info.value.factory, info.value.buffer) == ("Factory", "a")
    assert registry.n_factories == 0


def test_texts_from_outside_are_checked(registry):
    """A packed layout whose dtype text is another one of the same length."""
    owner = Factory()
    registry.register(owner, "a", 1, "shared", dtype="f8")
    unpack, (data,) = registry.build_layout(owner).__reduce__()
    assert data.count(b"<f8") == 1
    for other in (b">f8", b"<f4", b"|O8", b"zzz", b"{}}"):
        with pytest.raises(BufferValueError) as info:
            unpack(data.replace(b"<f8", other))
        assert info.value.code == "BAY-E124"
    assert unpack(data) == registry.build_layout(owner)


def test_many_dtypes_in_one_process():
    """The module's table of dtypes grows, and what it handed out stays."""
    registry = bayplan.BufferRegistry()
    owner = Factory()
    for n in range(1, 600):
        registry.register(owner, f"b{n}", 1, dtype=f"V{n}")
    assert [e.dtype.itemsize for e in registry.entries(owner)] == list(range(1, 600))
