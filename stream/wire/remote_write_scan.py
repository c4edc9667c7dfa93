"""Prometheus' remote write out of protobuf's bytes, compiled: the samples, and an id of the series of each.

Sources: prometheus/prometheus, `prompb/remote.proto` and `types.proto` for 1.0,
`prompb/io/prometheus/write/v2/types.proto`
for 2.0, in which a request has a table of symbols and labels are places in it.
"""

from __future__ import annotations

import numba
import numpy as np

from stream.hash128 import absorb, as_bits, as_double, combine, hash_bytes, hash_more, load64
from stream.wire.protobuf import (
    ANY,
    FIXED64,
    LENGTH,
    TEXT,
    VARINT,
    are_fields,
    are_varints,
    field,
    is_sound,
    is_utf8,
    usual_field,
    varint,
    zigzag,
)

#: What is said of a message: it was read; it is broken at a place; a sample there has an impossible time; a label is no
#: place in the table of symbols.
READ, BROKEN, BAD_TIME, NO_SYMBOL = range(4)
#: Fields of a request: the series of 1.0, the metadata of 1.0, the symbols and the series of 2.0.
SERIES, METADATA, SYMBOL, SERIES_2 = 1, 3, 4, 5
#: Of a series whether it is of native histograms of these kinds, in `kinds`.
PLAIN, NATIVE, CUSTOM, LEVEL = range(4)

_LABEL, _EXEMPLAR, _METADATA = range(2, 5)
SCHEMA = np.full((5, 6), ANY, np.int64)
for _kind, _number, _what in (
    (_LABEL, 1, TEXT), (_LABEL, 2, TEXT), (_EXEMPLAR, 1, _LABEL), (_METADATA, 2, TEXT), (_METADATA, 4, TEXT),
    (_METADATA, 5, TEXT),
):  # fmt: skip
    SCHEMA[_kind, _number] = _what
SCHEMA.setflags(write=False)
_CUSTOM_SCHEMA, _GAUGE_HINT = -53, 3
_COUNTER, _HISTOGRAM = 1, 3
_ZERO = np.uint64(0)


@numba.njit(cache=True, nogil=True)
def symbols_of(data, end, seed, begins, stops, hi, lo):  # type: ignore[no-untyped-def]
    """The table of symbols: where each is and its hash. Returns how many, or -1 and a place that cannot be read; and
    whether the message is of version 2.
    """
    count, at, second = np.int64(0), np.int64(0), False
    while at < end:
        number, wire, start, stop = usual_field(data, at, end)
        if stop < 0:
            number, wire, start, stop = field(data, at, end)
            if stop < 0:
                return np.int64(-1), at, second
        at = stop
        if wire != LENGTH or number < SYMBOL or number > SERIES_2:
            continue
        second = True
        if number == SYMBOL:
            if not is_utf8(data, start, stop):
                return np.int64(-1), start, second
            begins[count], stops[count] = start, stop
            hi[count], lo[count] = hash_bytes(data, start, stop, seed)
            count += 1
    return count, np.int64(0), second


@numba.njit(cache=True, nogil=True)
def scan(  # type: ignore[no-untyped-def]
    data, end, seed, second, symbol_hi, symbol_lo, earliest, latest,
    hi, lo, times, starts, values, sums, kinds, owners, begins, stops, series,
):  # fmt: skip
    """Scan a request, `data[:end]` (uint8, with `PADDING` more); `second` says that it is of version 2.

    Returns what became of it, the place where it went wrong, and how many samples and rows of `series` (int64[m, 2]:
    where each is) there are. For each sample: `hi` and `lo` (uint64) are an id of its series; `times` and `starts`
    (int64) Unix ms, 0 in `starts` where nobody said; `values` (float64) its value, of a native histogram its count;
    `sums` (float64) that one's sum; `kinds` (int8) what it is; `owners` (int32) its row; `begins` and `stops` (int32)
    where it is. What is not finite is left out, markers of staleness among it. Room for a sample in eleven bytes is
    enough.
    """
    points, rows, at = np.int64(0), np.int64(0), np.int64(0)
    while at < end:
        number, wire, series_at, series_end = usual_field(data, at, end)
        if series_end < 0:
            number, wire, series_at, series_end = field(data, at, end)
            if series_end < 0:
                return BROKEN, at, points, rows
        at = series_end
        if wire != LENGTH:
            continue
        if number == METADATA and not second and not is_sound(data, series_at, series_end, _METADATA, SCHEMA):
            return BROKEN, series_at, points, rows
        if number != (SERIES_2 if second else SERIES):
            continue
        begun = points
        series_hi, series_lo = _ZERO, _ZERO
        created, kind = np.int64(0), np.int64(0)
        from_here, to_here = np.int64(-1), np.int64(-1)
        place = series_at
        while place < series_end:
            number, wire, start, stop = usual_field(data, place, series_end)
            if stop < 0:
                number, wire, start, stop = field(data, place, series_end)
                if stop < 0:
                    return BROKEN, place, points, rows
            if number == 1 and wire == LENGTH and not second:
                # A range of labels that follow each other is hashed at once.
                if place != to_here:
                    if from_here >= 0:
                        series_hi, series_lo = hash_more(series_hi, series_lo, data, from_here, to_here, seed)
                    from_here = place
                to_here = stop
            elif number == 1 and second and (wire in (LENGTH, VARINT)):
                status, series_hi, series_lo = _symbols(
                    data, start, stop, symbol_hi, symbol_lo, series_hi, series_lo, seed
                )
                if status != READ:
                    return status, start, points, rows
            elif number == 2 and wire == LENGTH:
                value, time, since = 0.0, np.int64(0), np.int64(0)
                while start < stop:
                    number, wire, content, after = usual_field(data, start, stop)
                    if after < 0:
                        number, wire, content, after = field(data, start, stop)
                        if after < 0:
                            return BROKEN, start, points, rows
                    if number == 1 and wire == FIXED64:
                        value = as_double(load64(data, content))
                    elif wire == VARINT:
                        if number == 2:
                            time, _ = varint(data, content, after)
                        elif number == 3 and second:
                            since, _ = varint(data, content, after)
                    start = after
                if np.isfinite(value):
                    if time < earliest or time >= latest:
                        return BAD_TIME, place, points, rows
                    times[points], starts[points], values[points] = time, since, value
                    sums[points], kinds[points] = np.nan, PLAIN
                    owners[points], begins[points], stops[points] = rows, place, stop
                    points += 1
            elif number == (3 if second else 4) and wire == LENGTH:
                status, form, count, total, time, since = _histogram(data, start, stop, second)
                if status != READ:
                    return status, start, points, rows
                if np.isfinite(count) and form != LEVEL and not np.isnan(total):
                    if time < earliest or time >= latest:
                        return BAD_TIME, place, points, rows
                    times[points], starts[points], values[points] = time, since, count
                    sums[points], kinds[points] = total, form
                    owners[points], begins[points], stops[points] = rows, start, stop
                    points += 1
            elif wire == LENGTH and number == (4 if second else 3):
                sound = _is_exemplar(data, start, stop) if second else is_sound(data, start, stop, _EXEMPLAR, SCHEMA)
                if not sound:
                    return BROKEN, start, points, rows
            elif number == 5 and second and wire == LENGTH:
                series_hi, series_lo = hash_more(series_hi, series_lo, data, start, stop, seed)
                while start < stop:
                    number, wire, content, after = field(data, start, stop)
                    if after < 0:
                        return BROKEN, start, points, rows
                    if number == 1 and wire == VARINT:
                        kind, _ = varint(data, content, after)
                    start = after
            elif number == 6 and second and wire == VARINT:
                created, _ = varint(data, start, stop)
            place = stop
        if points == begun:
            if not second and not are_labels_sound(data, series_at, series_end):
                return BROKEN, series_at, points, rows
            continue
        if from_here >= 0:
            series_hi, series_lo = hash_more(series_hi, series_lo, data, from_here, to_here, seed)
        for point in range(begun, points):
            hi[point], lo[point] = series_hi, series_lo
            if kinds[point] != PLAIN:
                hi[point], lo[point] = combine(series_hi, series_lo, np.uint64(kinds[point]), _ZERO, seed)
            if starts[point] == 0:
                starts[point] = created
            if kind != _COUNTER and kind != _HISTOGRAM and kinds[point] == PLAIN:
                starts[point] = 0  # only what counts has a beginning
        series[rows, 0], series[rows, 1] = series_at, series_end
        rows += 1
    return READ, np.int64(0), points, rows


@numba.njit(cache=True, nogil=True)
def _symbols(data, at, end, symbol_hi, symbol_lo, hi, lo, seed):  # type: ignore[no-untyped-def]
    """Add the symbols that are named here to a hash."""
    while at < end:
        place = np.int64(data[at])
        at += 1
        if place > 127:
            place, at = varint(data, at - 1, end)
            if at < 0:
                return BROKEN, hi, lo
            place &= np.int64(0xFFFFFFFF)
        if place >= len(symbol_hi):
            return NO_SYMBOL, hi, lo
        hi, lo = absorb(hi, lo, symbol_hi[place], symbol_lo[place], seed)
    return READ, hi, lo


@numba.njit(cache=True, nogil=True)
def are_labels_sound(data, at, end):  # type: ignore[no-untyped-def]
    """Whether the labels of a series of version 1 can be read."""
    while at < end:
        number, wire, start, stop = field(data, at, end)
        if number == 1 and wire == LENGTH and not is_sound(data, start, stop, _LABEL, SCHEMA):
            return False
        at = stop
    return True


@numba.njit(cache=True, nogil=True)
def _histogram(data, at, end, second):  # type: ignore[no-untyped-def]
    """A native histogram: whether it can be read, its kind, count, sum, time and start."""
    count, total = 0.0, 0.0
    time, since, layout, hint = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    while at < end:
        number, wire, start, stop = field(data, at, end)
        if stop < 0:
            return BROKEN, PLAIN, count, total, time, since
        at = stop
        if wire == VARINT:
            value, _ = varint(data, start, stop)
            if number == 1:
                count = np.float64(np.uint64(value))
            elif number == 4:
                layout = zigzag(value)
            elif number == 14:
                hint = value & np.int64(0xFFFFFFFF)
            elif number == 15:
                time = value
            elif number == 17 and second:
                since = value
        elif wire == FIXED64:
            if number == 2:
                count = as_double(load64(data, start))
            elif number == 3:
                total = as_double(load64(data, start))
        elif wire == LENGTH and not _is_part(data, number, start, stop):
            return BROKEN, PLAIN, count, total, time, since
    kind = LEVEL if hint == _GAUGE_HINT else CUSTOM if layout == _CUSTOM_SCHEMA else NATIVE
    return READ, kind, count, total, time, since


@numba.njit(cache=True, nogil=True)
def _is_part(data, number, at, end):  # type: ignore[no-untyped-def]
    """Whether a part of a native histogram can be read: spans, or packed numbers."""
    if number == 8 or number == 11:
        return are_fields(data, at, end)
    if number == 10 or number == 13 or number == 16:
        return (end - at) % 8 == 0
    return (number != 9 and number != 12) or are_varints(data, at, end)


@numba.njit(cache=True, nogil=True)
def _is_exemplar(data, at, end):  # type: ignore[no-untyped-def]
    """Whether an exemplar of version 2 can be read: its labels are packed numbers."""
    while at < end:
        number, wire, start, stop = field(data, at, end)
        if stop < 0 or (number == 1 and wire == LENGTH and not are_varints(data, start, stop)):
            return False
        at = stop
    return True


#: Buckets are merged until an octave has four, so that their bounds stay the same for long.
_SCHEMA = np.int64(2)
_SPREAD = np.uint64(0x9E3779B97F4A7C15)


@numba.njit(cache=True, nogil=True)
def expand(data, chosen, kinds, hi, lo, begins, stops, seed, part_hi, part_lo, of, places, told):  # type: ignore[no-untyped-def]
    """The buckets of the chosen native histograms (int64[n], indices), as those of OTLP come out of `otlp_scan.expand`.

    Room for two parts in a byte is enough.
    """
    parts = np.int64(0)
    for one in chosen:
        first = parts
        parts = _buckets(data, begins[one], stops[one], kinds[one] == CUSTOM, places, told, parts)
        for part in range(first, parts):
            of[part] = one
            part_hi[part], part_lo[part] = combine(hi[one], lo[one], as_bits(places[part]), _SPREAD, seed)
    return parts


@numba.njit(cache=True, nogil=True)
def _buckets(data, at, end, custom, places, told, parts):  # type: ignore[no-untyped-def]
    room = end - at
    offsets, lengths = np.empty(room, np.int64), np.empty(room, np.int64)
    counts, bounds = np.empty(room), np.empty(room)
    spans, filled, ends = np.int64(0), np.int64(0), np.int64(0)
    layout, below, delta = np.int64(0), 0.0, np.int64(0)
    under, under_delta = 0.0, np.int64(0)
    while at < end:
        number, wire, start, stop = field(data, at, end)
        at = stop
        if wire == VARINT and (number == 4 or number == 6):
            value, _ = varint(data, start, stop)
            if number == 4:
                layout = zigzag(value)
            else:
                below = np.float64(np.uint64(value))
        elif wire == FIXED64 and number == 7:
            below = as_double(load64(data, start))
        elif number == 11 and wire == LENGTH:
            offsets[spans] = lengths[spans] = 0
            while start < stop:
                part, kind, content, after = field(data, start, stop)
                if kind == VARINT:
                    value, _ = varint(data, content, after)
                    if part == 1:
                        offsets[spans] = zigzag(value)
                    elif part == 2:
                        lengths[spans] = value & np.int64(0xFFFFFFFF)
                start = after
            spans += 1
        elif (number == 9 or number == 12) and (wire in (LENGTH, VARINT)):
            while start < stop:
                value, start = varint(data, start, stop)
                step = np.int64(np.uint64(value) >> np.uint64(1)) ^ -(value & 1)
                if number == 9:
                    under_delta += step
                    under += np.float64(under_delta)
                else:
                    delta += step
                    counts[filled] = np.float64(delta)
                    filled += 1
        elif (number == 10 or number == 13 or number == 16) and (wire in (LENGTH, FIXED64)):
            while start < stop:
                told_here = as_double(load64(data, start))
                start += 8
                if number == 10:
                    under += told_here
                elif number == 13:
                    counts[filled] = told_here
                    filled += 1
                else:
                    bounds[ends] = told_here
                    ends += 1
    if custom:
        return _custom(offsets[:spans], lengths[:spans], counts[:filled], bounds[:ends], places, told, parts)
    shift = max(np.int64(0), layout - _SCHEMA)
    if layout < -4 or layout > 8:
        return parts
    width = 2.0 ** -np.float64(layout - shift)
    total, index, taken = below + under, np.int64(0), np.int64(0)
    # The last bound that was written, of the merged buckets.
    last = np.int64(-(2**62))
    for span in range(spans):
        index += offsets[span]
        for _ in range(lengths[span]):
            if taken == filled or not -(1 << 40) < index < (1 << 40):
                return parts
            upper = (index + (np.int64(1) << shift) - 1) >> shift
            if last != upper and last != upper - 1:
                # Between this bucket and the one before it there is nothing.
                parts = _write(2.0 ** (np.float64(upper - 1) * width), total, places, told, parts)
            total += counts[taken]
            if last == upper:
                parts -= 1
            parts = _write(2.0 ** (np.float64(upper) * width), total, places, told, parts)
            last = upper
            taken += 1
            index += 1
    return parts


@numba.njit(cache=True, nogil=True)
def _write(bound, total, places, told, parts):  # type: ignore[no-untyped-def]
    # One that no double holds stands for the next, so that taking the last one back is always right.
    places[parts], told[parts] = min(max(bound, 5e-324), 1.7976931348623157e308), total
    return parts + 1


@numba.njit(cache=True, nogil=True)
def _custom(offsets, lengths, counts, bounds, places, told, parts):  # type: ignore[no-untyped-def]
    """Buckets of bounds that the message names; those without a count have none."""
    for one in range(len(bounds)):
        if not np.isfinite(bounds[one]) or (one > 0 and bounds[one] <= bounds[one - 1]):
            return parts
        places[parts + one], told[parts + one] = bounds[one], 0.0
    index, taken = np.int64(0), np.int64(0)
    for span in range(len(offsets)):
        index += offsets[span]
        for _ in range(lengths[span]):
            if taken == len(counts):
                break
            if index < 0 or index > len(bounds):
                return parts
            if index < len(bounds):
                told[parts + index] += counts[taken]
            taken += 1
            index += 1
    for one in range(1, len(bounds)):
        told[parts + one] += told[parts + one - 1]
    return parts + len(bounds)
