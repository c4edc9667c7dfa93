"""Numbers as the ProtoJSON format of protobuf has them, read from parsed JSON."""

from __future__ import annotations

import re

from stream.json_text import unreadable

#: What stands in JSON for a number; None where it is missing or null.
Number = int | float | str | None
#: The least and the most of the types of protobuf.
UINT64, INT64 = (0, 2**64 - 1), (-(2**63), 2**63 - 1)
UINT32, INT32 = (0, 2**32 - 1), (-(2**31), 2**31 - 1)
_DIGITS = re.compile(r"-?[0-9]{1,30}")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_NOT_FINITE = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


def integer(field: str, value: Number, range: tuple[int, int]) -> int:
    """A whole number as ProtoJSON has it: a number without a fraction, or a string of digits; 0 where it is missing."""
    if value is None:
        return 0
    if isinstance(value, str):
        if not _DIGITS.fullmatch(value):
            raise unreadable("type", f"`{field}` is {value[:40]!r}, must be an integer")
    elif isinstance(value, float) and not value.is_integer():
        raise unreadable("type", f"`{field}` is {value!r}, must be an integer")
    number = int(value)
    if not range[0] <= number <= range[1]:
        raise unreadable("value", f"`{field}` is {str(value)[:40]}, must be from {range[0]} to {range[1]}")
    return number


def real(field: str, value: Number) -> float:
    """A double as ProtoJSON has it: a number, also in a string, or one of the three that JSON lacks; NaN if missing."""
    if value is None:
        return float("nan")
    if isinstance(value, str):
        if value in _NOT_FINITE:
            return _NOT_FINITE[value]
        if len(value) > 400 or not _NUMBER.fullmatch(value):
            raise unreadable("type", f"`{field}` is {value[:40]!r}, must be a number, NaN, Infinity or -Infinity")
    try:
        number = float(value)
    except OverflowError:
        number = float("inf")
    if number in (float("inf"), float("-inf")):
        raise unreadable("value", f"`{field}` is {str(value)[:40]}, beyond what a double holds")
    return number


def item(field: str, value: Number) -> float:
    """A double in a list, which must be there."""
    if value is None:
        raise unreadable("type", f"`{field}` has a null")
    return real(field, value)


def zero(field: str, value: Number) -> float:
    """A double that is zero where it is missing."""
    return 0.0 if value is None else real(field, value)
