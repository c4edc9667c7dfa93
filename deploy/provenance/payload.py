"""Reading fields out of other people's JSON: what is missing or of another type is empty."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from deploy.errors import InvalidTime
from deploy.times import parse_time

_SHA = re.compile(r"[0-9a-f]{7,64}")


def at(record: object, *path: str) -> Any:
    """What stands at this path, None where there is nothing.

    >>> at({"a": {"b": 1}}, "a", "b"), at({"a": []}, "a", "b")
    (1, None)
    """
    for name in path:
        record = record.get(name) if isinstance(record, dict) else None
    return record


def text(record: object, *path: str) -> str:
    value = at(record, *path)
    return value if isinstance(value, str) else ""


def number(record: object, *path: str) -> int | None:
    """A whole number that fits into 64 bits, as the ids and counts of forges do."""
    value = at(record, *path)
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63 else None


def sha(record: object, *path: str) -> str:
    """A commit id of at least seven digits, in lower case; empty for none and for the id of no commit (all zeros)."""
    value = text(record, *path).lower()
    return value if _SHA.fullmatch(value) and value.strip("0") else ""


def time(record: object, *path: str) -> int | None:
    """A time (Unix ms) in any of the forms that forges write: RFC 3339, `2021-04-28 21:50:00 +0200`, `… UTC`."""
    value = at(record, *path)
    if isinstance(value, str):
        value = value.replace(" UTC", " +0000")
        if found := re.fullmatch(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d) ([+-]\d{4})", value):
            value = datetime.strptime(" ".join(found.groups()), "%Y-%m-%d %H:%M:%S %z").isoformat()
    try:
        return parse_time(value)
    except (InvalidTime, ValueError):
        return None
