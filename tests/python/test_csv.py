"""Tables of buffers in files: MiniMalloc's format."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import words

import bayplan
from bayplan import BufferValueError, PackingInstance

int64 = st.integers(-(2**63), 2**63 - 1)


def read(tmp_path, text):
    """What the file `buffers.csv` with this content says."""
    path = tmp_path / "buffers.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return bayplan.read_csv(path)


def lists(instance):
    """Columns as lists, None for those that are not there."""
    columns = (*instance, instance.offsets)
    return [None if c is None else c.tolist() for c in columns]


def test_by_hand(tmp_path):
    found = read(tmp_path, "id,lower,upper,size\nb1,0,3,4\nb2,3,9,2\n")
    assert type(found) is PackingInstance
    assert lists(found) == [[4, 2], [0, 3], [3, 9], None, None]
    assert found._fields == ("sizes", "first", "last", "align")
    assert all(c.dtype == np.int64 for c in found[:3])
    sizes, first, last, align = found
    assert align is None
    assert bayplan.plan(sizes, first, last).height == 4


def test_all_columns_in_any_order(tmp_path):
    found = read(tmp_path, "offset,size,id,alignment,upper,lower\n32,4,x,16,3,-7\n,0,y,1,9,9\n")
    assert lists(found) == [[4, 0], [-7, 9], [3, 9], [16, 1], [32, -1]]
    again = pickle.loads(pickle.dumps(found))
    assert lists(again) == lists(found)


@pytest.mark.parametrize(
    "text",
    [
        "id,lower,upper,size\r\n0,1,2,3\r\n",
        "id,lower,upper,size\n0,1,2,3",
        "id,lower,upper,size\n\n\n0,1,2,3\n\n",
        "\n\r\nid,lower,upper,size\n0,1,2,3\n",
        "id, lower ,\tupper,size\n 0 , 1,2 ,3\t\n",
        b"\xef\xbb\xbfid,lower,upper,size\n\xff\xfe,1,2,3\n",
        "id,lower,upper,size\n,1,2,3\n",
        "id,lower,upper,size\n0,01,2,003\n",
    ],
)
def test_forms_of_the_same(tmp_path, text):
    assert lists(read(tmp_path, text)) == [[3], [1], [2], None, None]


def test_no_buffers(tmp_path):
    assert lists(read(tmp_path, "id,lower,upper,size\n")) == [[], [], [], None, None]
    assert lists(read(tmp_path, "id,lower,upper,size,offset")) == [[], [], [], None, []]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", ["line 1", "column names"]),
        ("\n\n", ["line 1", "column names"]),
        ("id,lower,upper\n", ["line 1", "no column 'size'"]),
        ("lower,upper,size\n", ["line 1", "no column 'id'"]),
        ("id,lower,upper,size,width\n", ["line 1", "column 5", "'width'", "alignment"]),
        ("id,lower,upper,size,lower\n", ["line 1", "column 5", "'lower'", "twice"]),
        ("id,lower,upper,Size\n", ["line 1", "column 4", "'Size'"]),
        ("id,lower,upper,size\n0,1,2\n", ["line 2", "column 4 size", "3 of 4"]),
        ("id,lower,upper,size\n0,1,2,3\n0,1,2,3,4\n", ["line 3", "column 5", "'4'", "too many"]),
        ("id,lower,upper,size\n0,1,2,3,\n", ["line 2", "column 5", "too many"]),
        ("id,lower,upper,size\n\n0,a,2,3\n", ["line 3", "column 2 lower", "'a'", "no integer"]),
        ("id,lower,upper,size\n0,1,2.0,3\n", ["line 2", "column 3 upper", "'2.0'", "no integer"]),
        ("id,lower,upper,size\n0,1,nan,3\n", ["line 2", "column 3 upper", "'nan'"]),
        ("id,lower,upper,size\n0,1,2,\n", ["line 2", "column 4 size", "''", "no integer"]),
        ("id,lower,upper,size\n0,-,2,3\n", ["line 2", "column 2 lower", "'-'", "no integer"]),
        ("id,lower,upper,size\n0,+1,2,3\n", ["line 2", "column 2 lower", "'+1'"]),
        ("id,lower,upper,size\n0,1,2,-3\n", ["line 2", "column 4 size", "'-3'", "negative"]),
        ("id,lower,upper,size\n0,5,2,3\n", ["line 2", "upper", "below"]),
        (f"id,lower,upper,size\n0,1,{2**63},3\n", ["line 2", "column 3", 2**63, "64 bits"]),
        (f"id,lower,upper,size\n0,{-(2**63) - 1},2,3\n", ["column 2", "64 bits"]),
        ("id,lower,upper,size\n0,1,2,99999999999999999999999\n", ["column 4", "64 bits"]),
        ('id,lower,upper,size\n0,"1",2,3\n', ["line 2", "column 2", '"1"']),
        ("id,lower,upper,size,alignment\n0,1,2,3,6\n", ["column 5 alignment", "'6'", "power"]),
        ("id,lower,upper,size,alignment\n0,1,2,3,0\n", ["column 5 alignment", "'0'", "power"]),
        (f"id,lower,upper,size,alignment\n0,1,2,3,{2**33}\n", ["alignment", 2**33, "2^32"]),
        ("id,lower,upper,size,alignment\n0,1,2,3,\n", ["column 5 alignment", "no integer"]),
        ("id,lower,upper,size,offset\n0,1,2,3,-2\n", ["column 5 offset", "'-2'", "no offset"]),
        ("id,lower,upper,size\n0," + "x" * 90 + ",2,3\n", ["line 2", "xxxx...", "no integer"]),
        (b"id,lower,upper,size\n0,\x00,2,3\n", ["line 2", "column 2"]),
        (b"\x80\x81\n", ["line 1", "column 1"]),
    ],
)
def test_malformed(tmp_path, text, says):
    with pytest.raises(BufferValueError) as info:
        read(tmp_path, text)
    assert info.value.code == "BAY-E122"
    words(str(info.value), "buffers.csv:", *says)


def test_a_long_path_leaves_room_for_the_message(tmp_path):
    deep = tmp_path / ("d" * 200)
    deep.mkdir()
    (deep / "x.csv").write_text("id,lower,upper,size\n0,1,2,q\n")
    with pytest.raises(BufferValueError) as info:
        bayplan.read_csv(deep / "x.csv")
    assert str(info.value).startswith("...ddd")
    words(str(info.value), "x.csv: line 2, column 4 size: 'q' is no integer")


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        bayplan.read_csv(tmp_path / "none.csv")
    with pytest.raises(FileNotFoundError):
        bayplan.write_csv(tmp_path / "none" / "x.csv", [1], [0], [1])


def test_what_is_written(tmp_path):
    path = tmp_path / "out.csv"
    bayplan.write_csv(str(path), [4, 0], [-3, 0], [5, 0])
    assert path.read_bytes() == b"id,lower,upper,size\n0,-3,5,4\n1,0,0,0\n"
    bayplan.write_csv(path, [4, 8], [0, 1], [1, 2], align=[4, 8], offsets=np.array([16, -1]))
    assert path.read_bytes() == (
        b"id,lower,upper,size,alignment,offset\n0,0,1,4,4,16\n1,1,2,8,8,\n"
    )
    bayplan.write_csv(path, [], [], [])
    assert path.read_bytes() == b"id,lower,upper,size\n"


@settings(max_examples=100)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 2**63 - 1), int64, int64, st.integers(0, 32), st.integers(-1, 2**63 - 1)
        ),
        max_size=20,
    ),
    st.booleans(),
    st.booleans(),
)
def test_there_and_back(tmp_path_factory, rows, has_align, has_offsets):
    path = tmp_path_factory.getbasetemp() / "there.csv"
    sizes = [r[0] for r in rows]
    first, last = [min(r[1:3]) for r in rows], [max(r[1:3]) for r in rows]
    align = [2 ** r[3] for r in rows] if has_align else None
    offsets = [r[4] for r in rows] if has_offsets else None
    bayplan.write_csv(path, sizes, first, last, align=align, offsets=offsets)
    assert lists(bayplan.read_csv(path)) == [sizes, first, last, align, offsets]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sizes": [4, -1]}, ["sizes[1]"]),
        ({"sizes": [1.5, 2]}, ["sizes", "integers"]),
        ({"last": [1]}, ["sizes has 2", "last has 1"]),
        ({"offsets": [1]}, ["sizes has 2", "offsets has 1"]),
        ({"align": [1, float("nan")]}, ["align", "integers"]),
    ],
)
def test_bad_columns(tmp_path, change, says):
    said = {"sizes": [4, 4], "first": [0, 0], "last": [1, 1]} | change
    with pytest.raises(BufferValueError) as info:
        bayplan.write_csv(tmp_path / "bad.csv", **said)
    words(str(info.value), *says)
    assert not (tmp_path / "bad.csv").exists()
