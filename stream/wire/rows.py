"""Rows of numbers with the bytes that name them, as columns of series."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np

from deploy.times import EARLIEST_MS, LATEST_MS
from stream.columns import Columns, Float64, Int32, Int64, SeriesKey
from stream.hash128 import Bytes, padded
from stream.json_text import unreadable
from stream.series_ids import REFUSED, UNKNOWN, SeriesIds
from stream.wire import rows_scan as at
from stream.wire.json_bytes import MOST_KEYS, can_compile, is_utf8

Scan = Callable[..., int]
#: The key of the series that three parts of a name stand for.
KeyOf = Callable[[bytes, bytes, bytes], SeriesKey]


class Rows(msgspec.Struct, frozen=True):
    """`places` (int64[n, 7]) are places in `text`, their columns named in `stream.wire.rows_scan`; `values`
    (float64[n]) may be anything."""

    text: Bytes
    places: Int64
    values: Float64


class _Room:
    """The arrays that a message is read into, kept for the next one."""

    def __init__(self, rows: int) -> None:
        self.places = np.empty((rows, at.COLUMNS), np.int64)
        self.values = np.empty(rows, np.float64)
        self.keys = np.empty((at.ROWS, MOST_KEYS + 1), np.uint64)
        self.used = np.zeros(1, np.int64)


class RowReader:
    """Reads messages of one format into rows by compiled code."""

    #: Larger arrays are not kept.
    LARGEST = 1 << 16

    def __init__(self, scan: Scan) -> None:
        self._scan = scan
        self._rooms: list[_Room] = []

    def read(self, value: bytes) -> Rows | None:
        """The message's rows; None where it is for a plain reading."""
        if not can_compile() or not is_utf8(value):
            return None
        text = padded(value)
        # Two who read at once have a room each.
        room = self._rooms.pop() if self._rooms else _Room(1_024)
        while (told := self._scan(text, len(value), room.places, room.values, room.keys, room.used)) == at.FULL:
            room = _Room(4 * len(room.places))
        count = int(room.used[0])
        rows = Rows(text, room.places[:count].copy(), room.values[:count].copy()) if told == 0 else None
        if len(room.places) <= self.LARGEST:
            self._rooms.append(room)
        return rows


class PlainRows:
    """Rows that are gathered one by one."""

    def __init__(self) -> None:
        self._text = bytearray()
        self._places: list[tuple[int, ...]] = []
        self._values: list[float] = []

    def part(self, part: bytes) -> tuple[int, int]:
        """The places of a part of a name."""
        first = len(self._text)
        self._text += part
        return first, len(self._text)

    def add(
        self, time: int, tags: tuple[int, int], name: tuple[int, int], field: tuple[int, int], value: float
    ) -> None:
        self._places.append((time, *tags, *name, *field))
        self._values.append(value)

    def rows(self) -> Rows:
        places = np.array(self._places, np.int64).reshape(-1, at.COLUMNS)
        return Rows(padded(bytes(self._text)), places, np.array(self._values, np.float64))


def columns(what: str, rows: Rows, ids: SeriesIds, format: int, key_of: KeyOf) -> Columns:
    """The samples of rows whose times are Unix milliseconds; what is not finite is a missing sample.

    Raises:
        Unreadable: a time that no clock means, or what `key_of` raises of a series that is new.
    """
    there = np.isfinite(rows.values)
    if not there.all():
        rows = Rows(rows.text, rows.places[there], rows.values[there])
    times = rows.places[:, at.TIME].copy()
    check_times(what, times)
    series = _series(rows, ids, format, key_of)
    wanted = series != REFUSED
    if not wanted.all():
        series, times, rows = series[wanted], times[wanted], Rows(rows.text, rows.places, rows.values[wanted])
    return Columns(keys=ids.keys, series=series, times=times, values=rows.values)


def check_times(what: str, times: Int64) -> None:
    """Refuse Unix milliseconds (int64[n]) that no clock means.

    Raises:
        Unreadable: before 2000 or from 2100 on.
    """
    if len(times) and not EARLIEST_MS <= times.min() <= times.max() < LATEST_MS:
        wrong = times[(times < EARLIEST_MS) | (times >= LATEST_MS)][0]
        raise unreadable("time", f"{what}: time {wrong} (Unix milliseconds) is not between 2000-01-01 and 2100-01-01")


def _series(rows: Rows, ids: SeriesIds, format: int, key_of: KeyOf) -> Int32:
    count = len(rows.values)
    hi, lo = np.empty(count, np.uint64), np.empty(count, np.uint64)
    with np.errstate(over="ignore"):
        at.identify(rows.text, ids.seed, np.uint64(format), rows.places, count, hi, lo)
    series = ids.lookup(hi, lo)
    text: bytes | None = None
    for row in np.flatnonzero(series == UNKNOWN).tolist():
        text = text or rows.text.tobytes()
        _, *parts = rows.places[row].tolist()
        tags, name, field = (text[parts[part] : parts[part + 1]] for part in (0, 2, 4))
        series[row] = ids.add(int(hi[row]), int(lo[row]), key_of(tags, name, field))
    return series
