"""Prometheus' remote write, 1.0 and 2.0, as its body stands on a topic: snappy's block format around protobuf.

The two versions have no field in common, so that the message itself tells which it is. Markers of staleness, as any
other NaN, are no sample: what stays away is silent anyway.
Source: prometheus.io/docs/specs/prw.
"""

from __future__ import annotations

import cramjam
import msgspec
import numpy as np

from deploy.times import EARLIEST_MS, LATEST_MS
from stream.cloudevents import Event
from stream.columns import Columns, Int64, MetricKind, SeriesKey
from stream.hash128 import PADDING, Bytes
from stream.json_text import MAX_BYTES, check_size, unreadable
from stream.series_ids import SeriesIds
from stream.wire import remote_write_scan as at
from stream.wire.otlp_points import Parts, Points
from stream.wire.prometheus_names import HISTOGRAM, UNSPECIFIED, prometheus_key
from stream.wire.protobuf import LENGTH, VARINT, fields, varints

_WHAT = "remote write"
_LEAST_SAMPLE, _LEAST_SYMBOL = 11, 2
#: How a request begins: with a series or metadata of 1.0, a symbol or a series of 2.0.
_FIRST = {number << 3 | LENGTH for number in (at.SERIES, at.METADATA, at.SYMBOL, at.SERIES_2)}
#: A request begins with as many bytes at least that did not stand before.
_SHORTEST = 4
_PROTOBUF = ("application/x-protobuf", "application/protobuf")


class RemoteWrite:
    name = "remote-write"

    def accepts(self, event: Event, topic: str) -> bool:
        return event.content_type in (*_PROTOBUF, "", "application/octet-stream") and looks_like_remote_write(
            event.data or b""
        )

    def decode(self, event: Event, ids: SeriesIds) -> Columns:
        return _Request(*_decompressed(check_size(event.data)), ids).columns()


def looks_like_remote_write(value: bytes) -> bool:
    """Whether bytes are a block of snappy's that begins with a series or a symbol."""
    size, at_ = _declared(value)
    if not 0 < size <= MAX_BYTES or at_ + 1 >= len(value) or len(value) > 32 + size + size // 6:
        return False
    tag = value[at_]
    # The first element is a literal: nothing stands before it that could be copied. Its length may take a byte or two.
    start = at_ + 1 + max(0, (tag >> 2) - 59)
    if tag & 3 or tag >> 2 < min(_SHORTEST, size) - 1 or start >= len(value) or value[start] not in _FIRST:
        return False
    if value[0] != 0x0A:
        return True
    # A short message of OTLP might look so; of this length, it is soon tried.
    try:
        return len(bytes(cramjam.snappy.decompress_raw(value))) == size
    except cramjam.DecompressionError:
        return False


def _declared(value: bytes) -> tuple[int, int]:
    """How long a block says that its content is, and the place after that; 0 where it says nothing."""
    size = shift = 0
    for place, byte in enumerate(value[:5]):
        size |= (byte & 127) << shift
        if byte < 128:
            return size, place + 1
        shift += 7
    return 0, 0


def _decompressed(value: bytes) -> tuple[Bytes, int]:
    """The content with `PADDING`, and its length; what says that it is too long is not begun."""
    size, _ = _declared(value)
    if size > MAX_BYTES:
        raise unreadable("size", f"{_WHAT}: {size} bytes when decompressed, at most {MAX_BYTES} are read")
    room = bytearray(size + PADDING)
    try:
        written = cramjam.snappy.decompress_raw_into(value, memoryview(room)[:size]) if size else 0
    except cramjam.DecompressionError as error:
        raise unreadable("syntax", f"{_WHAT}: not snappy's block format: {error}") from None
    if not size or written != size:
        raise unreadable("syntax", f"{_WHAT}: not snappy's block format, or empty")
    # As `padded` makes them, of which compiled code is one kind more otherwise.
    data = np.frombuffer(room, np.uint8)
    data.setflags(write=False)
    return data, size


class _Request:
    """One request on its way to columns."""

    def __init__(self, data: Bytes, size: int, ids: SeriesIds) -> None:
        self._data, self._ids = data, ids
        room = size // _LEAST_SYMBOL + 1
        begins, stops = np.empty(room, np.int32), np.empty(room, np.int32)
        hi, lo = np.empty(room, np.uint64), np.empty(room, np.uint64)
        symbols, place, self._second = at.symbols_of(data, size, ids.seed, begins, stops, hi, lo)
        if symbols < 0:
            raise self._broken(place)
        self._symbols = begins[:symbols], stops[:symbols]
        room = size // _LEAST_SAMPLE + 1
        self._hi, self._lo = np.empty(room, np.uint64), np.empty(room, np.uint64)
        times, starts = np.empty(room, np.int64), np.empty(room, np.int64)
        values, sums, kinds = np.empty(room), np.empty(room), np.empty(room, np.int8)
        owners, begins, stops = np.empty(room, np.int32), np.empty(room, np.int32), np.empty(room, np.int32)
        series = np.empty((room, 2), np.int64)
        status, place, count, rows = at.scan(
            data, size, ids.seed, self._second, hi[:symbols], lo[:symbols], EARLIEST_MS, LATEST_MS, self._hi,
            self._lo, times, starts, values, sums, kinds, owners, begins, stops, series,
        )  # fmt: skip
        if status == at.BROKEN:
            raise self._broken(place)
        if status == at.BAD_TIME:
            raise unreadable("time", f"{_WHAT}: the sample at byte {place} has no time from 2000 to 2099")
        if status == at.NO_SYMBOL:
            raise unreadable("value", f"{_WHAT}: a label at byte {place} is none of the {symbols} symbols")
        self._times, self._starts = times[:count], starts[:count]
        self._values, self._sums, self._kinds = values[:count], sums[:count], kinds[:count]
        self._owners, self._begins, self._stops = owners[:count], begins[:count], stops[:count]
        self._series: Int64 = series[:rows]
        self._known: dict[int, tuple[dict[str, str], int, str]] = {}

    def _broken(self, place: int) -> Exception:
        return unreadable("syntax", f"{_WHAT}: not a request of version 1.0 or 2.0, broken at byte {place}")

    def columns(self) -> Columns:
        native = self._kinds != at.PLAIN
        return Points(
            hi=self._hi[: len(self._times)],
            lo=self._lo[: len(self._times)],
            times=self._times,
            starts=self._starts,
            values=self._values,
            sums=self._sums,
            counted=native,
            exponential=self._kinds == at.NATIVE,
            summaries=np.zeros(len(native), np.bool_),
        ).columns(self._ids, self)

    def key(self, place: int, part: str) -> SeriesKey:
        """The key of a sample's series, or of this part of a native histogram."""
        labels, kind, unit = self._labels(int(self._owners[place]))
        if part:
            key = prometheus_key(_WHAT, labels, HISTOGRAM, unit)
            return msgspec.structs.replace(key, kind=MetricKind.CUMULATIVE, part=part)
        return prometheus_key(_WHAT, labels, kind, unit)

    def parts(self, chosen: Int64) -> Parts:
        room = 2 * int((self._stops[chosen] - self._begins[chosen]).sum())
        hi, lo, of = np.empty(room, np.uint64), np.empty(room, np.uint64), np.empty(room, np.int64)
        places, told = np.empty(room), np.empty(room)
        count = at.expand(
            self._data, chosen, self._kinds, self._hi, self._lo, self._begins, self._stops, self._ids.seed, hi, lo, of,
            places, told,
        )  # fmt: skip
        return Parts(of[:count], hi[:count], lo[:count], places[:count], told[:count])

    def _labels(self, row: int) -> tuple[dict[str, str], int, str]:
        """The labels of a series, its type and its unit."""
        found = self._known.get(row)
        if found is None:
            start, stop = self._series[row].tolist()
            read = self._by_symbols if self._second else self._by_name
            found = self._known[row] = read(self._data[start:stop].tobytes(), start, stop)
        return found

    def _by_name(self, text: bytes, start: int, stop: int) -> tuple[dict[str, str], int, str]:
        if not at.are_labels_sound(self._data, start, stop):
            raise unreadable("syntax", f"{_WHAT}: the labels of the series at byte {start} cannot be read")
        labels = {}
        for number, wire, label in fields(text):
            if number == 1 and wire == LENGTH:
                pair = {part: content for part, kind, content in fields(label) if kind == LENGTH and part in (1, 2)}
                labels[pair.get(1, b"").decode()] = pair.get(2, b"").decode()
        return labels, UNSPECIFIED, ""

    def _by_symbols(self, text: bytes, _start: int, _stop: int) -> tuple[dict[str, str], int, str]:
        references: list[int] = []
        metadata = b""
        for number, wire, content in fields(text):
            if number == 1 and wire in (LENGTH, VARINT):
                references += [one & 0xFFFFFFFF for one in (varints(content) if wire == LENGTH else [content])]
            elif number == 5 and wire == LENGTH:
                metadata += content
        if len(references) % 2:
            raise unreadable("value", f"{_WHAT}: a series has {len(references)} references, a name and no value")
        names = [self._symbol(one) for one in references]
        told = {number: content for number, wire, content in fields(metadata) if wire == VARINT}
        unit = told.get(4, 0) & 0xFFFFFFFF
        if unit >= len(self._symbols[0]) and unit:
            raise unreadable("value", f"{_WHAT}: a unit is none of the {len(self._symbols[0])} symbols")
        return dict(zip(names[::2], names[1::2], strict=True)), told.get(1, 0) & 0xFFFFFFFF, self._symbol(unit)

    def _symbol(self, number: int) -> str:
        begins, stops = self._symbols
        if not len(begins):
            return ""
        return self._data[int(begins[number]) : int(stops[number])].tobytes().decode()
