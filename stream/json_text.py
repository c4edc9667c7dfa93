"""JSON as it comes from anywhere: read strictly, refused with one line, written the same way every time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from stream.errors import Unreadable

#: A larger record is refused before it is parsed. Kafka's own default limit is 1 MiB.
MAX_BYTES = 8 * 1024 * 1024
#: Deeper nesting is no record of this field, and would exhaust the stack of whoever writes it out again.
MAX_DEPTH = 64
#: An error text longer than this is cut: it becomes a log line and a header.
MAX_TEXT = 300
#: So many bytes are looked at for one that is no space before all of them are.
_SPACES = 64


def unreadable(kind: str, text: str) -> Unreadable:
    """The refusal as one line of bounded length, whatever the input put into it."""
    line = " ".join(text.split())
    return Unreadable(kind, line if len(line) <= MAX_TEXT else line[: MAX_TEXT - 1] + "…")


def check_size(value: bytes | None) -> bytes:
    """The bytes of a record that has some, and not too many.

    Raises:
        Unreadable: `empty` for a tombstone or no bytes, `size` beyond `MAX_BYTES`.
    """
    if value is None:
        raise unreadable("empty", "the record has no value (a tombstone)")
    if not value:
        raise unreadable("empty", "the record's value is empty")
    if len(value) > MAX_BYTES:
        raise unreadable("size", f"the record has {len(value)} bytes, at most {MAX_BYTES} are read")
    return value


def opening(value: bytes) -> bytes:
    """The first byte that is no space, without a copy of what follows it; none where all are.

    >>> opening(b" {}"), opening(b"")
    (b'{', b'')
    """
    return (value[:_SPACES].lstrip() or value.lstrip())[:1]


def validation_kind(text: str) -> str:
    """The kind of what msgspec says is wrong with a value."""
    if "missing required field `time" in text:
        return "time"
    return "value" if "out of range" in text or "Invalid enum" in text else "type"


@contextmanager
def reading(what: str, value: bytes) -> Iterator[None]:
    """Turn what a JSON parser raises while it reads `value` into `Unreadable`; `what` names the thing being read."""
    try:
        yield
    except msgspec.ValidationError as error:
        text = str(error)
        raise unreadable(validation_kind(text), f"{what}: {text}".replace(" - at `$.", " - at `")) from None
    except msgspec.DecodeError as error:
        raise unreadable("syntax", f"{what}: {_encoding_of(value) or error}") from None
    except UnicodeDecodeError as error:
        raise unreadable("syntax", f"{what}: {_encoding_of(value) or f'not UTF-8 ({error.reason})'}") from None
    except RecursionError:
        raise unreadable("syntax", f"{what}: nested too deeply") from None


def _encoding_of(value: bytes) -> str:
    """What is wrong with the encoding, if the first bytes show that it is the encoding."""
    if value.startswith(b"\xef\xbb\xbf"):
        return "starts with a byte order mark, must be plain UTF-8"
    if value.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\x00" in value[:4]:
        return "looks like UTF-16 or UTF-32, must be UTF-8"
    return ""


def parse(what: str, value: bytes | None) -> Any:
    """Read one JSON value of which every part will be kept.

    Raises:
        Unreadable: for no bytes or too many, text that is not strict JSON in UTF-8, numbers beyond a float, a key that
            stands twice in one object, and nesting beyond `MAX_DEPTH`.
    """
    value = check_size(value)
    with reading(what, value):
        record = msgspec.json.decode(value)
    _check_depth(what, record, MAX_DEPTH)
    refuse_repeated_keys(what, value)
    return record


def refuse_repeated_keys(what: str, value: bytes) -> None:
    """Refuse text in which an object has a key twice, as its readers would disagree on which one counts."""

    def no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        record = dict(pairs)
        if len(record) != len(pairs):
            seen: set[str] = set()
            key = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]  # add returns None, which goes on
            raise unreadable("value", f"{what}: the key {key[:80]!r} stands twice in one object")
        return record

    try:
        json.loads(value.decode(), object_pairs_hook=no_repeats)
    except RecursionError:
        raise unreadable("syntax", f"{what}: nested too deeply") from None
    except UnicodeDecodeError as error:
        raise unreadable("syntax", f"{what}: not UTF-8 ({error.reason} at byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise unreadable("syntax", f"{what}: {error}") from None
    except ValueError:
        # Python refuses integers of thousands of digits.
        raise unreadable("value", f"{what}: a number is out of range") from None


def _check_depth(what: str, record: object, deepest: int) -> None:
    level: list[object] = [record]
    for _ in range(deepest):
        inner: list[object] = []
        for item in level:
            if isinstance(item, dict):
                inner.extend(value for value in item.values() if isinstance(value, dict | list))
            elif isinstance(item, list):
                inner.extend(value for value in item if isinstance(value, dict | list))
        if not inner:
            return
        level = inner
    raise unreadable("syntax", f"{what}: nested more than {deepest} deep")


def encode(record: object) -> bytes:
    """Write JSON so that equal records are equal bytes: keys sorted, no white space.

    >>> encode({"b": 1, "a": 0.1})
    b'{"a":0.1,"b":1}'
    """
    return msgspec.json.encode(record, order="deterministic")
