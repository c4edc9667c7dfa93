"""Times and durations as the records carry them.

Inside haltline a time is an `int`: milliseconds since 1970 in UTC. On the wire it is an RFC 3339 string or that
integer.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime

from deploy.errors import InvalidTime

#: A clock before 2000 was never set; one from 2100 on counts seconds as milliseconds or is broken.
EARLIEST_MS = 946_684_800_000
LATEST_MS = 4_102_444_800_000

SECOND_MS = 1_000
MINUTE_MS = 60_000
HOUR_MS = 3_600_000

_UNITS_MS = {"ms": 1, "s": SECOND_MS, "m": MINUTE_MS, "h": HOUR_MS, "d": 24 * HOUR_MS, "w": 7 * 24 * HOUR_MS}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")


def parse_time(value: object) -> int:
    """Read an RFC 3339 string or integer Unix milliseconds into Unix milliseconds.

    Raises:
        InvalidTime: for anything else, and for times before 2000 or from 2100 on.

    >>> parse_time("2026-11-21T09:14:03.120Z")
    1795252443120
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise InvalidTime(f"time {value!r} is neither RFC 3339 nor integer Unix milliseconds")
    if isinstance(value, str):
        milliseconds = _parse_rfc3339(value)
    elif isinstance(value, float):
        if not math.isfinite(value) or value != int(value):
            raise InvalidTime(f"time {value!r} is not a whole number of Unix milliseconds")
        milliseconds = int(value)
    else:
        milliseconds = value
    if not EARLIEST_MS <= milliseconds < LATEST_MS:
        raise InvalidTime(f"time {value!r} is not between 2000-01-01 and 2100-01-01 (Unix milliseconds or RFC 3339)")
    return milliseconds


def _parse_rfc3339(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidTime(f"time {text[:40]!r} is not RFC 3339, such as 2026-11-21T09:14:03.120Z") from None
    if moment.tzinfo is None:
        raise InvalidTime(f"time {text[:40]!r} has no offset; write it in UTC, such as 2026-11-21T09:14:03Z")
    # Integer arithmetic: a float of seconds would lose the millisecond.
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1_000 + delta.microseconds // 1_000


def format_time(milliseconds: int) -> str:
    """Write Unix milliseconds as RFC 3339 in UTC, always with three decimals so that equal times are equal bytes.

    >>> format_time(1795252443120)
    '2026-11-21T09:14:03.120Z'
    """
    seconds, rest = divmod(milliseconds, 1_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:03d}Z"


def parse_duration(value: object) -> int:
    """Read a duration such as `30m`, `1h30m` or `250ms` into milliseconds.

    >>> parse_duration("1h30m")
    5400000
    """
    text = value if isinstance(value, str) else ""
    position, total = 0, 0.0
    for part in _DURATION.finditer(text):
        if part.start() != position:
            break
        total += float(part[1]) * _UNITS_MS[part[2]]
        position = part.end()
    if not text or position != len(text) or total > LATEST_MS:
        raise InvalidTime(f"duration {value!r} is not like 90s, 30m, 1h30m or 7d")
    return round(total)


def format_duration(milliseconds: int) -> str:
    """Write a duration in the largest two units that it has.

    >>> format_duration(5_400_000), format_duration(2_300), format_duration(-5_000)
    ('1h30m', '2.3s', '-5s')
    """
    if milliseconds < 0:
        return "-" + format_duration(-milliseconds)
    if milliseconds < MINUTE_MS:
        return f"{milliseconds / 1_000:.1f}".rstrip("0").rstrip(".") + "s"
    parts = []
    rest = milliseconds
    for unit in ("d", "h", "m", "s"):
        count, rest = divmod(rest, _UNITS_MS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts[:2])
