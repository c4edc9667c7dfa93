"""A dead letter keeps the record as it was and says what was wrong with it."""

from __future__ import annotations

import pytest

from stream.dead_letter import PREFIX, dead_letter
from stream.errors import Unreadable
from stream.wire import decode_telemetry
from stream.wire.outgoing import Wire


def letter_of(value: bytes | None, **given: object) -> Wire:
    with pytest.raises(Unreadable) as refused:
        decode_telemetry("telemetry", value, {})
    record: dict[str, object] = {"key": b"k", "headers": [("a", b"1")]} | given
    return dead_letter("telemetry", 3, 41, record["key"], value, record["headers"], refused.value)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [None, b"", b"\xff\x00broken", b"{" * 1_000])
def test_key_value_and_headers_stay_as_they_were(value: bytes | None) -> None:
    headers = [("a", b"1"), ("a", b"2"), ("null", None), ("ce_type", b"\xff")]
    letter = letter_of(value, key=b"\x00\xff", headers=headers)
    assert (letter.key, letter.value) == (b"\x00\xff", value)
    assert letter.headers[: len(headers)] == headers
    assert headers == [("a", b"1"), ("a", b"2"), ("null", None), ("ce_type", b"\xff")]


def test_six_headers_say_where_and_why() -> None:
    added = {name: value for name, value in letter_of(b"{oops").headers if name.startswith(PREFIX)}
    assert set(added) == {
        f"__haltline.errors.{name}" for name in ("topic", "partition", "offset", "exception", "message", "stacktrace")
    }
    said = {name.removeprefix(PREFIX): (value or b"").decode() for name, value in added.items()}
    assert (said["topic"], said["partition"], said["offset"]) == ("telemetry", "3", "41")
    assert said["exception"] == "stream.errors.Unreadable"
    assert said["message"].startswith("telemetry: JSON is malformed")
    assert "Unreadable" in said["stacktrace"]


def test_no_headers_and_no_key_are_none_still() -> None:
    letter = letter_of(b"{", key=None, headers=None)
    assert letter.key is None
    assert len(letter.headers) == 6


def test_headers_are_utf_8_and_bounded_whatever_the_error_says() -> None:
    letter = dead_letter("t", 0, 0, None, b"x", {}, ValueError("é\ud800" * 100_000))
    for _, value in letter.headers:
        assert value is not None
        assert len(value) <= 8_192
        value.decode()
