"""Bytes as people write them."""

import pickle
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bayplan
from bayplan import Budget, BufferValueError, SimBackend
from bayplan.sizes import UNITS, parse_size


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [
        ("8GiB", 8 << 30),
        ("1.5 GB", 1_500_000_000),
        ("512MiB", 512 << 20),
        ("512 MiB", 512 << 20),
        ("  7\tB ", 7),
        ("0 B", 0),
        ("0.5KiB", 512),
        ("1_000 kB", 1_000_000),
        ("1KB", 1000),
        ("0.001 kB", 1),
        ("2 TiB", 2 << 40),
        ("3TB", 3 * 10**12),
        ("9223372036854775807 B", 2**63 - 1),
        ("0.1000000000000000 GB", 10**8),
    ],
)
def test_sizes(text, n_bytes):
    found = parse_size(text)
    assert found == n_bytes
    assert type(found) is int
    assert Budget(text).limit == n_bytes


@given(st.integers(0, 10**6), st.integers(0, 999), st.sampled_from(sorted(UNITS)))
def test_sizes_are_exact(whole, thousandths, unit):
    text = f"{whole}.{thousandths:03} {unit}"
    exact = (whole + Fraction(thousandths, 1000)) * UNITS[unit]
    if exact.denominator == 1 and exact < 2**63:
        assert parse_size(text) == exact
    else:
        with pytest.raises(BufferValueError):
            parse_size(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "'' is no size"),
        ("GiB", "'GiB' is no size"),
        ("eight GiB", "is no size: write a number and a unit, as '8GiB'"),
        ("1e9 B", "'1e9 B' is no size"),
        ("0x10 B", "is no size"),
        ("1,5 GB", "is no size"),
        ("1.5.1 GB", "is no size"),
        (".5 GB", "is no size"),
        ("1. GB", "is no size"),
        ("٣ GB", "is no size"),
        ("nan GB", "is no size"),
        ("4096", "'4096' has no unit: write '4096 B', or the number itself"),
        ("8 G", "there is no unit 'G' (did you mean 'GB' or 'GiB'?)"),
        ("8gib", "there is no unit 'gib' (did you mean 'GiB'?)"),
        ("8 Gb", "there is no unit 'Gb' (did you mean 'GB'?)"),
        ("8 PB", "there is no unit 'PB'; units are B, kB"),
        ("-1 GiB", "'-1 GiB': a size cannot be negative"),
        ("0.1GiB", "107,374,182.4 bytes, no whole number: write 107374182 or 107374183"),
        ("1.5 B", "no whole number: write 1 or 2"),
        ("8 EiB", "no unit 'EiB'"),
        ("9223372036854775808 B", "2**63 bytes or more"),
        ("8388608 TiB", "2**63 bytes or more"),
        ("9" * 1000 + " B", "..."),
    ],
)
def test_bad_sizes(text, said):
    with pytest.raises(BufferValueError) as caught:
        parse_size(text)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 250
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    with pytest.raises(BufferValueError):
        Budget(text)


def test_a_fraction_of_the_device():
    sim = SimBackend(capacity=1001)
    assert Budget(0.5, device=sim).limit == 500
    assert Budget(1.0, device=sim).limit == 1001
    budget = Budget(0.1, device=sim)
    # The float 0.1 is a little more than a tenth.
    assert budget.limit == int(Fraction(0.1) * 1001) == 100
    assert budget.set_limit(0.25) is bayplan.APPLIED
    assert budget.limit == 250
    assert Budget(0.5, parent=budget).limit == 500  # of the device, not of the parent


@pytest.mark.parametrize("limit", [0.0, -0.5, 1.0000001, 8e9, float("nan"), float("inf")])
def test_what_is_no_fraction(limit):
    with pytest.raises(BufferValueError, match="a fraction of the device, above 0 and at most 1"):
        Budget(limit, device=SimBackend(capacity=1000))


def test_a_fraction_of_nothing():
    with pytest.raises(BufferValueError, match=r"SimBackend\(capacity=...\)"):
        Budget(0.5, device=SimBackend())
    with pytest.raises(TypeError, match="device must be a SimBackend or None, not int"):
        Budget(0.5, device=0)
    with pytest.raises(TypeError, match="device must be a SimBackend or None, not str"):
        Budget(1000, device="sim")


@pytest.mark.parametrize("limit", [None, [], (8,), b"8GiB", 1j])
def test_what_is_no_limit(limit):
    with pytest.raises(BufferValueError, match="limit must be an integer >= 0, not "):
        Budget(limit)
