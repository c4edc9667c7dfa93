"""Points in InfluxDB's line protocol, as Telegraf writes them to Kafka by default.

Source: InfluxData, Line protocol reference. A field is a series; text is none, true is 1. A point without a time has
that of its message. Times are nanoseconds, or of a coarser precision, which their size tells.
"""

from __future__ import annotations

import re

from stream.cloudevents import Event
from stream.columns import Columns, SeriesKey
from stream.errors import Unreadable
from stream.json_text import check_size, unreadable
from stream.series_ids import SeriesIds
from stream.wire import influx_scan, rows_scan
from stream.wire.rows import PlainRows, RowReader, Rows, columns
from stream.wire.telegraf_json import field_key, milliseconds

_WHAT = "influx line"
_FORMAT = int.from_bytes(b"influxln", "little")
_TEXT_TYPES = {"", "text/plain", "application/octet-stream", "text/influx", "application/x-influx"}
_SKIPPED = re.compile(r"(?:[ \t\r\n]++|#[^\n]*+)*+")
_SERIES = re.compile(r"(?:[^\x00-\x20\\]|\\[^\x00-\x1f])++(?= )")
_FIELD = re.compile(r"((?:[^\x00-\x20\\=,]|\\[^\x00-\x1f])++)=")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_TOKEN = re.compile(r"[^\x00-\x20,]++")
_TIME = re.compile(r"( +-?[0-9]{1,30})?+ *+\r?(?:\n|\Z)")
_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_WHOLE = re.compile(r"(-?[0-9]{1,20})i|([0-9]{1,20})u")
_TRUTH = dict.fromkeys(("t", "T", "true", "True", "TRUE"), 1.0) | dict.fromkeys(
    ("f", "F", "false", "False", "FALSE"), 0.0
)
_PAIR = re.compile(r"\\(.)", re.DOTALL)
_TAG = re.compile(r"((?:[^\\=]|\\.)++)=((?:[^\\=]|\\.)++)", re.DOTALL)
_COMMA = re.compile(r"((?:[^\\,]|\\.)*+)(?:,|\Z)", re.DOTALL)
_BOM = b"\xef\xbb\xbf"
#: So much of a record is looked at to see whether it is in this format.
_FIRST = 4_096


class InfluxLines:
    name = "influx-lines"

    def __init__(self) -> None:
        self._reader = RowReader(influx_scan.influx)

    def accepts(self, event: Event, topic: str) -> bool:
        """Text whose first line has a name and, after a space, a field with its equals sign."""
        if event.content_type not in _TEXT_TYPES or not event.data or event.data.startswith(_BOM):
            return False
        text = event.data[:_FIRST].decode(errors="replace")
        start = _SKIPPED.match(text)
        series = _SERIES.match(text, start.end() if start else 0)
        if series is None or series[0][0] in "{[,":
            return False
        spaces = len(text) - len(text[series.end() :].lstrip(" "))
        return _FIELD.match(text, spaces) is not None

    def decode(self, event: Event, ids: SeriesIds) -> Columns:
        value = check_size(event.data)
        rows = self._reader.read(value) or read_plainly(value)
        times = rows.places[:, rows_scan.TIME]
        missing = times == rows_scan.NO_TIME
        times[:] = milliseconds(times)
        if missing.any():
            if event.arrived is None:
                raise unreadable("time", f"{_WHAT}: a point without a time in a message without one")
            times[missing] = event.arrived
        return columns(_WHAT, rows, ids, _FORMAT, key_of)


def read_plainly(value: bytes) -> Rows:
    """Read a message line by line.

    Raises:
        Unreadable: a line that is no point, naming it by its number.
    """
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        raise unreadable("syntax", f"{_WHAT}: not UTF-8 ({error.reason} at byte {error.start})") from None
    rows = PlainRows()
    place = 0
    while True:
        skipped = _SKIPPED.match(text, place)
        place = skipped.end() if skipped else place
        if place == len(text):
            return rows.rows()
        try:
            place = _point(rows, text, place)
        except Unreadable as error:
            line = text.count("\n", 0, place) + 1
            raise unreadable(error.kind, f"{_WHAT}: line {line}: {error}") from None


def _point(rows: PlainRows, text: str, place: int) -> int:
    """Read the point at `place`; returns the place of the next line."""
    series = _SERIES.match(text, place)
    if series is None or series[0].startswith(","):
        raise unreadable("syntax", f"{text[place : place + 40]!r} is no `measurement,tag=value field=value time`")
    tags, name = rows.part(series[0].encode()), (0, 0)
    place = series.end()
    while text.startswith(" ", place):
        place += 1
    fields: list[tuple[str, float]] = []
    while True:
        field = _FIELD.match(text, place)
        if field is None:
            raise unreadable("syntax", f"{text[place : place + 40]!r} is no `field=value`")
        place = field.end()
        string = _STRING.match(text, place) if text.startswith('"', place) else None
        if string is not None:
            place = string.end()
        else:
            token = _TOKEN.match(text, place)
            fields.append((field[1], _number(field[1], token[0] if token else "")))
            place = token.end() if token else place
        if not text.startswith(",", place):
            break
        place += 1
    end = _TIME.match(text, place)
    if end is None:
        raise unreadable("syntax", f"{text[place : place + 40]!r} is no time")
    time = rows_scan.NO_TIME
    if end[1] is not None:
        time = int(end[1])
        if not 0 <= time < 2**63:
            raise unreadable("time", f"time {end[1].strip()} is not between 2000-01-01 and 2100-01-01")
    for key, value in fields:
        rows.add(time, tags, name, rows.part(key.encode()), value)
    return end.end()


def _number(field: str, token: str) -> float:
    if token in _TRUTH:
        return _TRUTH[token]
    whole = _WHOLE.fullmatch(token)
    if whole is not None:
        number = int(whole[1] or whole[2])
        least, most = (-(2**63), 2**63) if whole[1] else (0, 2**64)
        if not least <= number < most:
            raise unreadable("value", f"`{field[:80]}` is {token}, beyond 64 bits")
        return float(number)
    if len(token) > 400 or not _FLOAT.fullmatch(token):
        raise unreadable("type", f"`{field[:80]}` is {token[:40]!r}, no number, text or boolean")
    value = float(token)
    if value in (float("inf"), float("-inf")):
        raise unreadable("value", f"`{field[:80]}` is {token[:40]}, beyond what a double holds")
    return value


def key_of(series: bytes, _: bytes, field: bytes) -> SeriesKey:
    """The key of one field of a point."""
    measurement, *parts = _split(series.decode())
    tags: dict[str, str] = {}
    for part in parts:
        pair = _TAG.fullmatch(part)
        if pair is None:
            raise unreadable("syntax", f"{_WHAT}: {part[:40]!r} of {measurement[:40]!r} is no `tag=value`")
        name = _plain(pair[1], ",= ")
        if name in tags:
            raise unreadable("value", f"{_WHAT}: the tag {name[:80]!r} stands twice in one point")
        tags[name] = _plain(pair[2], ",= ")
    return field_key(_WHAT, _plain(measurement, ", "), tags, _plain(field.decode(), ",= "))


def _split(text: str) -> list[str]:
    """The parts between commas that no backslash stands before."""
    parts: list[str] = []
    place = 0
    while True:
        part = _COMMA.match(text, place)
        if part is None:
            # A backslash at the very end.
            return [*parts, text[place:]]
        parts.append(part[1])
        place = part.end()
        if place == len(text):
            return [*parts, ""] if part.end(1) < place else parts


def _plain(text: str, escaped: str) -> str:
    return _PAIR.sub(lambda pair: pair[1] if pair[1] in escaped else pair[0], text) if "\\" in text else text
