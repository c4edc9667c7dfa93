"""The pieces that compiled readers are made of, each against Python's own."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.errors import InvalidTime
from deploy.times import parse_time
from stream.hash128 import padded
from stream.wire.exact_float import exact_float
from stream.wire.json_bytes import DEEPEST, MOST_KEYS, RARE, real, value_end, whole
from stream.wire.names import number_of, table_of
from stream.wire.prometheus_json_scan import rfc3339

KEYS = np.empty((DEEPEST, MOST_KEYS + 1), np.uint64)
figures = st.text("0123456789", max_size=25)
numerals = st.builds(
    lambda sign, whole, part, power: f"{sign}{int(whole or 0)}{'.' if part else ''}{part}{power}",
    st.sampled_from(["", "-"]),
    figures,
    figures,
    st.just("") | st.builds("{}{}".format, st.sampled_from(["e", "E-", "e+"]), st.integers(0, 999)),
)


def check_real(text: str) -> bool:
    """Read as `float` reads it, its sign too, or left to it; whether it was read."""
    end, value = real(padded(text.encode() + b","), 0)
    if end == RARE:
        return False
    assert end == len(text)
    expected = float(json.loads(text))
    assert struct.pack("d", value) == struct.pack("d", expected), text
    return True


@settings(max_examples=2_000, deadline=None)
@given(numerals)
def test_a_numeral_is_the_double_nearest_to_it(text: str) -> None:
    check_real(text)


@settings(max_examples=3_000, deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(["{!r}", "{:.17g}", "{:.16e}", "{:.3f}"]))
def test_a_double_is_read_back(value: float, form: str) -> None:
    text = form.format(value)
    assert check_real(text) or len(text) > 19


def test_doubles_of_any_bits_are_read_back() -> None:
    bits = np.random.default_rng(1).integers(0, 2**64, 20_000, dtype=np.uint64)
    for value in bits.view(np.float64).tolist():
        if math.isfinite(value):
            assert check_real(repr(value))


@pytest.mark.parametrize(
    "text",
    [
        "9007199254740993",  # half-way, to the even one
        "9007199254740991.5",
        "1.7976931348623157e308",
        "4.9e-324",
        "2.2250738585072014e-308",
        "2.2250738585072011e-308",
        "5e-324",
        "2e-324",
        "1e-400",
        "0e999",
        "123456789012345678901234567890",
        "0.000000000000000000000000000000000000000000001",
        "100000000000000000000000000000000000000000000000000",
        "-0",
        "-0.0",
        "-0e1",
    ],
)
def test_a_hard_numeral_is_read_right(text: str) -> None:
    assert check_real(text)


def test_half_way_between_two_doubles_is_even() -> None:
    for low in np.random.default_rng(2).integers(2**52, 2**53, 5_000).tolist():
        assert check_real(str(2 * low + 1))
        assert exact_float(np.uint64(2 * low + 1), 0) == (float(2 * low + 1), True)


@pytest.mark.parametrize("text", ["", "-", "+1", "01", ".5", "1.", "1e", "1e+", "x", "--1", "1e999", "-1e999", "NaN"])
def test_what_is_no_number_of_json_is_left(text: str) -> None:
    assert real(padded(text.encode()), 0)[0] == RARE


@settings(max_examples=1_000, deadline=None)
@given(st.integers(-(2**70), 2**70), st.booleans())
def test_a_whole_number_is_read_or_left(number: int, quoted: bool) -> None:
    text = f'"{number}"' if quoted else str(number)
    end, value = whole(padded(text.encode()), 0)
    if abs(number) < 2**63 - 1:
        assert (end, value) == (len(text), number)
    else:
        assert end == RARE


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=20), inner, max_size=5),
    max_leaves=20,
)


@settings(max_examples=500, deadline=None)
@given(json_values, st.sampled_from([None, 1, "\t\r\n"]), st.booleans())
def test_a_value_ends_where_it_ends(value: Any, indent: Any, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
    assert value_end(padded(text + b" ,1"), 0, KEYS) in (len(text), RARE)
    if b"\\" not in text and "e" not in json.dumps(value):
        assert value_end(padded(text + b" ,1"), 0, KEYS) == len(text)


@settings(max_examples=1_000, deadline=None)
@given(st.lists(st.sampled_from(list(b'{}[],:"\\ 1-0.eE+tfnul\n\x00a')), max_size=12).map(bytes))
def test_what_is_taken_for_a_value_is_one(text: bytes) -> None:
    end = value_end(padded(text), 0, KEYS)
    if end != RARE:
        repeated: list[Any] = []

        def no_repeats(pairs: list[tuple[str, Any]]) -> None:
            repeated.extend(pairs if len(dict(pairs)) != len(pairs) else [])

        json.loads(text[:end], object_pairs_hook=no_repeats)
        assert not repeated


words = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=24)


@settings(max_examples=500, deadline=None)
@given(st.lists(words, min_size=1, max_size=40, unique=True), words)
def test_a_name_is_found_by_its_number_and_no_other_is(names: list[str], other: str) -> None:
    table = table_of(names)
    for name in (*names, other):
        expected = names.index(name) + 1 if name in names else 0
        assert number_of(table, padded(b"x" + name.encode() + b"y"), 1, 1 + len(name)) == expected


@settings(max_examples=200, deadline=None)
@given(st.from_regex(r"\A20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?Z\Z"))
def test_a_time_is_the_one_that_is_written(text: str) -> None:
    end, milliseconds = rfc3339(padded(text.encode()), 0)
    try:
        expected = parse_time(text)
    except InvalidTime:
        assert end == RARE
    else:
        assert (end, milliseconds) == (len(text), expected)


@settings(max_examples=500, deadline=None)
@given(st.datetimes())
def test_any_time_of_this_century_is_read(moment: Any) -> None:
    if 2_000 <= moment.year < 2_100:
        text = moment.isoformat() + "Z"
        assert rfc3339(padded(text.encode()), 0) == (len(text), parse_time(text))
