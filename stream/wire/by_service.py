"""Columns as the workers hand them to each other: one compact binary record, whose form has a version.

Little-endian: `hlc`, the version (one byte), three int64 (series, samples, arrival in Unix ms), the length of each
series' description (int64), the descriptions (MessagePack of a `SeriesKey` each) filled up to a multiple of eight, then
the samples: series (int64 index), times (int64 Unix ms), values (float64). Arrays are read where they stand.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import msgspec
import numba
import numpy as np

from stream.columns import Columns, Int64, SeriesKey
from stream.errors import Unreadable
from stream.hash128 import hash_bytes, padded
from stream.series_ids import REFUSED, UNKNOWN, SeriesIds

VERSION = 1
_MARK = b"hlc"
_HEAD = struct.Struct("<3sB4xqqq")
_ENCODER = msgspec.msgpack.Encoder()
_KEY = msgspec.msgpack.Decoder(SeriesKey)


def encode_key(key: SeriesKey) -> bytes:
    """The description of a series, which a sender keeps."""
    return _ENCODER.encode(key)


def encode_columns(described: Sequence[bytes], series: Int64, times: Int64, values: np.ndarray, arrived: int) -> bytes:
    """The record of samples of the series described (`encode_key`), which `series` indexes."""
    names = b"".join(described)
    lengths = np.fromiter(map(len, described), np.int64, len(described))
    return b"".join(
        (
            _HEAD.pack(_MARK, VERSION, len(described), len(times), arrived),
            lengths.astype("<i8").tobytes(),
            names,
            bytes(-len(names) % 8),
            series.astype("<i8").tobytes(),
            times.astype("<i8").tobytes(),
            values.astype("<f8").tobytes(),
        )
    )


def decode_columns(value: bytes | None, ids: SeriesIds) -> Columns:
    """The columns of a record, with when they first reached the broker.

    Raises:
        Unreadable: it is not such a record, is of a version that this worker does not know, or is not whole.
    """
    if value is None or len(value) < _HEAD.size or value[:3] != _MARK:
        raise Unreadable("format", "columns by service: the record does not begin with `hlc`")
    _, version, count, samples, arrived = _HEAD.unpack_from(value)
    if version != VERSION:
        raise Unreadable("format", f"columns by service: version {version}, this worker reads {VERSION}")
    start = _HEAD.size + 8 * count
    if count < 0 or samples < 0 or start + 24 * samples > len(value):
        raise Unreadable("size", f"columns by service: {count} series and {samples} samples in {len(value)} bytes")
    lengths = np.frombuffer(value, "<i8", count, _HEAD.size)
    ends = start + np.cumsum(lengths)
    body = int(ends[-1]) if count else start
    at = body + (start - body) % 8
    if (count and (lengths.min() < 0 or lengths.max() > len(value))) or len(value) != at + 24 * samples:
        raise Unreadable("size", f"columns by service: {len(value)} bytes, {at + 24 * samples} are told")
    series, times = (np.frombuffer(value, "<i8", samples, at + place * 8 * samples) for place in (0, 1))
    values = np.frombuffer(value, "<f8", samples, at + 16 * samples)
    if samples and (series.min() < 0 or series.max() >= count):
        raise Unreadable("value", "columns by service: a sample of a series that is not described")
    numbers = _numbers(value, ends - lengths, ends, ids)
    told = numbers[series]
    kept = (told != REFUSED) & np.isfinite(values)
    if not kept.all():
        told, times, values = told[kept], times[kept], values[kept]
    return Columns(ids.keys, told, times.astype(np.int64), values.astype(np.float64), arrived)


def _numbers(value: bytes, starts: Int64, ends: Int64, ids: SeriesIds) -> np.ndarray:
    """The number of each series described (int32[n])."""
    hi, lo = _hash(padded(value), starts, ends, ids.seed)
    numbers = ids.lookup(hi, lo)
    for place in np.flatnonzero(numbers == UNKNOWN).tolist():
        try:
            key = _KEY.decode(value[starts[place] : ends[place]])
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Unreadable("type", f"columns by service: series {place}: {error}") from None
        numbers[place] = ids.add(int(hi[place]), int(lo[place]), key)
    return numbers


@numba.njit(cache=True, nogil=True)
def _hash(data, starts, ends, seed):  # type: ignore[no-untyped-def]
    hi, lo = np.empty(len(starts), np.uint64), np.empty(len(starts), np.uint64)
    for i in range(len(starts)):
        hi[i], lo[i] = hash_bytes(data, starts[i], ends[i], seed)
    return hi, lo
