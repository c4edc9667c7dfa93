"""OTLP metrics out of protobuf's bytes, compiled: where each point is, what it says, and an id of its series.

Whatever order the fields come in: the Collector writes a resource after its metrics and a metric's name after its
points, so each level is gone over twice, first for what names it and then for what it holds; a field is stepped over by
its length. Source: opentelemetry-proto, `opentelemetry/proto/metrics/v1/metrics.proto`.
"""

from __future__ import annotations

import numba
import numpy as np

from stream.hash128 import as_bits, as_double, combine, hash_more, load64
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

#: Members of `Metric.data`.
GAUGE, SUM, HISTOGRAM, EXPONENTIAL, SUMMARY = 5, 7, 9, 10, 11
DELTA, CUMULATIVE = 1, 2

#: What `scan` says of a message: it was read; it is broken at a place; a point has an impossible time.
READ, BROKEN, BAD_TIME = 0, 1, 2

#: Columns of a row of `metrics`: where the resource, the scope and the metric are, the member of its data, temporality
#: and monotony.
RESOURCE_AT, RESOURCE_END, SCOPE_AT, SCOPE_END, METRIC_AT, METRIC_END, MEMBER, TEMPORALITY, MONOTONIC = range(9)

_KEY_VALUE, _ANY_VALUE, _ARRAY, _KEY_VALUES, _RESOURCE, _ENTITY, _SCOPE, _EXEMPLAR = range(2, 10)
#: The messages around the points, for `is_sound`.
SCHEMA = np.full((10, 12), ANY, np.int64)
for _kind, _number, _what in (
    (_KEY_VALUE, 1, TEXT), (_KEY_VALUE, 2, _ANY_VALUE),
    (_ANY_VALUE, 1, TEXT), (_ANY_VALUE, 5, _ARRAY), (_ANY_VALUE, 6, _KEY_VALUES),
    (_ARRAY, 1, _ANY_VALUE), (_KEY_VALUES, 1, _KEY_VALUE),
    (_RESOURCE, 1, _KEY_VALUE), (_RESOURCE, 3, _ENTITY),
    (_ENTITY, 1, TEXT), (_ENTITY, 2, TEXT), (_ENTITY, 3, TEXT), (_ENTITY, 4, TEXT),
    (_SCOPE, 1, TEXT), (_SCOPE, 2, TEXT), (_SCOPE, 3, _KEY_VALUE),
    (_EXEMPLAR, 7, _KEY_VALUE),
):  # fmt: skip
    SCHEMA[_kind, _number] = _what
SCHEMA.setflags(write=False)

#: By member: the field that holds a point's attributes, its exemplars, its flags.
_ATTRIBUTES = np.array([0, 0, 0, 0, 0, 7, 0, 7, 0, 9, 1, 7])
_EXEMPLARS = np.array([0, 0, 0, 0, 0, 5, 0, 5, 0, 8, 11, 0])
_FLAGS = np.array([0, 0, 0, 0, 0, 8, 0, 8, 0, 10, 10, 8])
_NANOSECONDS = np.uint64(1_000_000)


@numba.njit(cache=True, nogil=True)
def scan(data, end, seed, earliest, latest, hi, lo, times, starts, values, sums, owners, begins, stops, metrics):  # type: ignore[no-untyped-def]
    """Scan an `ExportMetricsServiceRequest`, `data[:end]` (uint8, with `PADDING` more).

    Returns what became of it, the place where it went wrong or that of the point, and how many points and rows of
    `metrics` (int64[m, 9]) there are. For each point: `hi` and `lo` (uint64) are an id of its series; `times` and
    `starts` (int64) are Unix ms, in `starts` 0 where it has none; `values` (float64) is its value, or its count where
    it has one; `sums` (float64) NaN without one; `owners` (int32) its row; `begins` and `stops` (int32) where it is.
    Points without a value are left out. Times must lie in `[earliest, latest)`. Room for a point in eleven bytes is
    enough.
    """
    points, rows, at = np.int64(0), np.int64(0), np.int64(0)
    zero = np.uint64(0)
    while at < end:
        number, wire, resource_at, resource_end = field(data, at, end)
        if resource_end < 0:
            return BROKEN, at, points, rows
        at = resource_end
        if number != 1 or wire != LENGTH:
            continue
        resource_hi, resource_lo = zero, zero
        place = resource_at
        while place < resource_end:
            number, wire, start, stop = field(data, place, resource_end)
            if stop < 0:
                return BROKEN, place, points, rows
            if wire == LENGTH:
                if number == 1:
                    if not is_sound(data, start, stop, _RESOURCE, SCHEMA):
                        return BROKEN, start, points, rows
                    resource_hi, resource_lo = hash_more(resource_hi, resource_lo, data, start, stop, seed)
                elif number == 3 and not is_utf8(data, start, stop):
                    return BROKEN, start, points, rows
            place = stop
        place = resource_at
        while place < resource_end:
            number, wire, scope_at, scope_end = field(data, place, resource_end)
            place = scope_end
            if number != 2 or wire != LENGTH:
                continue
            scope_hi, scope_lo = resource_hi, resource_lo
            inner = scope_at
            while inner < scope_end:
                number, wire, start, stop = field(data, inner, scope_end)
                if stop < 0:
                    return BROKEN, inner, points, rows
                if wire == LENGTH:
                    if number == 1:
                        if not is_sound(data, start, stop, _SCOPE, SCHEMA):
                            return BROKEN, start, points, rows
                        scope_hi, scope_lo = hash_more(scope_hi, scope_lo, data, start, stop, seed)
                    elif number == 3 and not is_utf8(data, start, stop):
                        return BROKEN, start, points, rows
                inner = stop
            inner = scope_at
            while inner < scope_end:
                number, wire, start, stop = field(data, inner, scope_end)
                inner = stop
                if number != 2 or wire != LENGTH:
                    continue
                row = metrics[rows]
                row[RESOURCE_AT], row[RESOURCE_END] = resource_at, resource_end
                row[SCOPE_AT], row[SCOPE_END] = scope_at, scope_end
                row[METRIC_AT], row[METRIC_END] = start, stop
                status, where, first, metric_hi, metric_lo = _name(data, start, stop, seed, scope_hi, scope_lo, row)
                if status != READ:
                    return status, where, points, rows
                begun = points
                metric = start
                while metric < stop:
                    number, wire, member_at, member_end = field(data, metric, stop)
                    if metric == first:
                        # Another member of the same choice came before; only the last one counts.
                        points = begun
                    if wire == LENGTH and _is_member(number):
                        status, where, points = _points(
                            data, member_at, member_end, number, seed, metric_hi, metric_lo, earliest, latest,
                            number == row[MEMBER] and metric >= first, rows,
                            points, hi, lo, times, starts, values, sums, owners, begins, stops,
                        )  # fmt: skip
                        if status != READ:
                            return status, where, points, rows
                    metric = member_end
                if points > begun:
                    rows += 1
    return READ, np.int64(0), points, rows


@numba.njit(cache=True, nogil=True)
def _is_member(number):  # type: ignore[no-untyped-def]
    return number in (GAUGE, SUM, HISTOGRAM, EXPONENTIAL, SUMMARY)


@numba.njit(cache=True, nogil=True)
def _name(data, at, end, seed, hi, lo, row):  # type: ignore[no-untyped-def]
    """What a metric is: its member, temporality and monotony into `row`, and the hash of all that is no point.

    Returns the status, its place, where the first part of the member that counts is, and the hash.
    """
    member, temporality, monotonic = np.int64(0), np.int64(0), np.int64(0)
    first = np.int64(-1)
    place = at
    while place < end:
        number, wire, start, stop = field(data, place, end)
        if stop < 0:
            return BROKEN, place, first, hi, lo
        if wire == LENGTH:
            if _is_member(number):
                if number != member:
                    member, first = number, place
                    temporality, monotonic = np.int64(0), np.int64(0)
                inner = start
                while inner < stop:
                    part, kind, content, after = usual_field(data, inner, stop)
                    if after < 0:
                        part, kind, content, after = field(data, inner, stop)
                        if after < 0:
                            return BROKEN, inner, first, hi, lo
                    if kind == VARINT and (part == 2 or (part == 3 and member == SUM)):
                        value, _ = varint(data, content, after)
                        if part == 2:
                            temporality = value & np.int64(0xFFFFFFFF)
                        else:
                            monotonic = np.int64(value != 0)
                    inner = after
            elif number <= 3 or number == 12:
                sound = is_sound(data, start, stop, _KEY_VALUE, SCHEMA) if number == 12 else is_utf8(data, start, stop)
                if not sound:
                    return BROKEN, start, first, hi, lo
                if number != 2:
                    hi, lo = hash_more(hi ^ np.uint64(number), lo, data, start, stop, seed)
        place = stop
    row[MEMBER], row[TEMPORALITY], row[MONOTONIC] = member, temporality, monotonic
    told = np.uint64(member * 16 + min(temporality, np.int64(3)) * 2 + monotonic)
    hi, lo = combine(hi, lo, told, np.uint64(0), seed)
    return READ, np.int64(0), first, hi, lo


@numba.njit(cache=True, nogil=True)
def _points(  # type: ignore[no-untyped-def]
    data, at, end, member, seed, metric_hi, metric_lo, earliest, latest, wanted, row,
            points, hi, lo, times, starts, values, sums, owners, begins, stops):  # fmt: skip
    """Read the points of one member of a metric; those that are not `wanted` are only checked."""
    attributes, exemplars, flags = _ATTRIBUTES[member], _EXEMPLARS[member], _FLAGS[member]
    counted = member >= HISTOGRAM
    place = at
    while place < end:
        number, wire, begin, stop = usual_field(data, place, end)
        if stop < 0:
            number, wire, begin, stop = field(data, place, end)
        place = stop
        if number != 1 or wire != LENGTH:
            continue
        time, start = np.uint64(0), np.uint64(0)
        # Zero is not written; only the sum of a summary cannot be missing.
        value, total = 0.0 if counted else np.nan, 0.0 if member == SUMMARY else np.nan
        missing = False
        # A range of attributes that follow each other is hashed at once.
        from_here, to_here = np.int64(-1), np.int64(-1)
        point_hi, point_lo = metric_hi, metric_lo
        inner = begin
        while inner < stop:
            number, wire, content, after = usual_field(data, inner, stop)
            if after < 0:
                number, wire, content, after = field(data, inner, stop)
                if after < 0:
                    return BROKEN, inner, points
            if wire == LENGTH:
                if number == attributes:
                    if inner != to_here:
                        if from_here >= 0:
                            point_hi, point_lo = hash_more(point_hi, point_lo, data, from_here, to_here, seed)
                        from_here = inner
                    to_here = after
                elif number == exemplars:
                    if not is_sound(data, content, after, _EXEMPLAR, SCHEMA):
                        return BROKEN, content, points
                elif counted and not _is_part(data, number, content, after, member):
                    return BROKEN, content, points
            elif wire == FIXED64:
                if number == 3:
                    time = load64(data, content)
                elif number == 2:
                    start = load64(data, content)
                elif number == 4:
                    word = load64(data, content)
                    value = np.float64(word) if counted else as_double(word)
                elif number == 6 and not counted:
                    value = np.float64(np.int64(load64(data, content)))
                elif number == 5 and counted:
                    total = as_double(load64(data, content))
            elif wire == VARINT and number == flags:
                bits, _ = varint(data, content, after)
                missing = bool(bits & 1)
            inner = after
        if missing or not wanted or not np.isfinite(value):
            if not _are_sound(data, begin, stop, attributes):
                return BROKEN, begin, points
            continue
        milliseconds = np.int64(time // _NANOSECONDS)
        if milliseconds < earliest or milliseconds >= latest:
            return BAD_TIME, begin, points
        if from_here >= 0:
            point_hi, point_lo = hash_more(point_hi, point_lo, data, from_here, to_here, seed)
        hi[points], lo[points] = point_hi, point_lo
        times[points], starts[points] = milliseconds, np.int64(start // _NANOSECONDS)
        values[points], sums[points] = value, total
        owners[points], begins[points], stops[points] = row, begin, stop
        points += 1
    return READ, np.int64(0), points


@numba.njit(cache=True, nogil=True)
def _is_part(data, number, at, end, member):  # type: ignore[no-untyped-def]
    """Whether a part of a histogram or summary that is no attribute can be read: packed numbers, messages of them."""
    if member == HISTOGRAM:
        return (number != 6 and number != 7) or (end - at) % 8 == 0
    if member == SUMMARY:
        return number != 6 or are_fields(data, at, end)
    if number != 8 and number != 9:
        return True
    while at < end:
        part, wire, start, stop = field(data, at, end)
        if stop < 0 or (part == 2 and wire == LENGTH and not are_varints(data, start, stop)):
            return False
        at = stop
    return True


@numba.njit(cache=True, nogil=True)
def _are_sound(data, at, end, attributes):  # type: ignore[no-untyped-def]
    """Whether the attributes of a point can be read."""
    while at < end:
        number, wire, start, stop = field(data, at, end)
        if number == attributes and wire == LENGTH and not is_sound(data, start, stop, _KEY_VALUE, SCHEMA):
            return False
        at = stop
    return True


@numba.njit(cache=True, nogil=True)
def keep_starts(counters, owners, starts):  # type: ignore[no-untyped-def]
    """Set to 0 the starts of points of which the metric (bool[m] by `owners`) is no counter that goes on."""
    for i in range(len(starts)):
        if not counters[owners[i]]:
            starts[i] = 0


@numba.njit(cache=True, nogil=True)
def is_point_sound(data, at, end, member):  # type: ignore[no-untyped-def]
    """Whether the attributes of this point of a metric with this member can be read."""
    return _are_sound(data, at, end, _ATTRIBUTES[member])


#: Buckets of exponential histograms are merged until an octave has four, so that their bounds stay the same for long.
_SCALE = np.int64(2)
_SPREAD = np.uint64(0x9E3779B97F4A7C15)


@numba.njit(cache=True, nogil=True)
def expand(data, chosen, members, hi, lo, begins, stops, seed, part_hi, part_lo, of, places, told):  # type: ignore[no-untyped-def]
    """The parts of the chosen points (int64[n], indices): buckets of histograms, quantiles of summaries.

    For each part: `part_hi` and `part_lo` an id of its series, `of` its point, `places` (float64) the upper bound of a
    bucket or the quantile, `told` (float64) how many values were at or below it, or the value at it. Room for a part in
    a byte is enough. Returns how many there are.
    """
    parts = np.int64(0)
    for one in chosen:
        member, begin, stop = members[one], begins[one], stops[one]
        first = parts
        if member == HISTOGRAM:
            parts = _buckets(data, begin, stop, places, told, parts)
        elif member == EXPONENTIAL:
            parts = _exponential(data, begin, stop, places, told, parts)
        else:
            parts = _quantiles(data, begin, stop, places, told, parts)
        for part in range(first, parts):
            of[part] = one
            part_hi[part], part_lo[part] = combine(hi[one], lo[one], as_bits(places[part]), _SPREAD, seed)
    return parts


@numba.njit(cache=True, nogil=True)
def _buckets(data, at, end, places, told, parts):  # type: ignore[no-untyped-def]
    counts, bounds = np.int64(0), np.int64(0)
    place = at
    while place < end:
        number, wire, start, stop = field(data, place, end)
        if (number == 6 or number == 7) and (wire in (LENGTH, FIXED64)):
            while start < stop:
                word = load64(data, start)
                if number == 6:
                    told[parts + counts] = np.float64(word)
                    counts += 1
                else:
                    places[parts + bounds] = as_double(word)
                    bounds += 1
                start += 8
        place = stop
    if counts != bounds + 1:
        return parts
    for one in range(bounds):
        if not np.isfinite(places[parts + one]) or (one > 0 and places[parts + one] <= places[parts + one - 1]):
            return parts
        if one > 0:
            told[parts + one] += told[parts + one - 1]
    return parts + bounds


@numba.njit(cache=True, nogil=True)
def _exponential(data, at, end, places, told, parts):  # type: ignore[no-untyped-def]
    scale, below = np.int64(0), 0.0
    place = at
    while place < end:
        number, wire, start, stop = field(data, place, end)
        if number == 6 and wire == VARINT:
            value, _ = varint(data, start, stop)
            scale = zigzag(value)
        elif number == 7 and wire == FIXED64:
            below += np.float64(load64(data, start))
        elif number == 9 and wire == LENGTH:
            below += _bucket_counts(data, start, stop, scale, 0.0, places, told, np.int64(-1))[1]
        place = stop
    place = at
    first = parts
    while place < end:
        number, wire, start, stop = field(data, place, end)
        if number == 8 and wire == LENGTH and parts == first:
            parts, _ = _bucket_counts(data, start, stop, scale, below, places, told, parts)
        place = stop
    return parts


@numba.njit(cache=True, nogil=True)
def _bucket_counts(data, at, end, scale, below, places, told, parts):  # type: ignore[no-untyped-def]
    """Add up the buckets of one side; their bounds are written from `parts` on unless that is negative."""
    offset = np.int64(0)
    place = at
    while place < end:
        number, wire, start, stop = field(data, place, end)
        if number == 1 and wire == VARINT:
            value, _ = varint(data, start, stop)
            offset = zigzag(value)
        place = stop
    shift = min(max(np.int64(0), scale - _SCALE), np.int64(62))
    width = 2.0 ** -np.float64(scale - shift)
    index, open_index = offset, (offset >> shift) - 1
    total = below
    place = at
    while place < end:
        number, wire, start, stop = field(data, place, end)
        if number == 2 and (wire in (LENGTH, VARINT)):
            while start < stop:
                value, start = varint(data, start, stop)
                merged = index >> shift
                if merged != open_index:
                    # The bucket before is complete; of the first one this is its lower bound.
                    if parts >= 0:
                        bound = 2.0 ** (np.float64(open_index + 1) * width)
                        if 0.0 < bound < np.inf:
                            places[parts], told[parts] = bound, total
                            parts += 1
                    open_index = merged
                total += np.float64(np.uint64(value))
                index += 1
        place = stop
    if parts >= 0 and index > offset:
        bound = 2.0 ** (np.float64(open_index + 1) * width)
        if 0.0 < bound < np.inf:
            places[parts], told[parts] = bound, total
            parts += 1
    return parts, total


@numba.njit(cache=True, nogil=True)
def _quantiles(data, at, end, places, told, parts):  # type: ignore[no-untyped-def]
    place = at
    while place < end:
        number, wire, start, stop = field(data, place, end)
        if number == 6 and wire == LENGTH:
            quantile, value = 0.0, 0.0
            while start < stop:
                part, kind, content, after = field(data, start, stop)
                if kind == FIXED64:
                    if part == 1:
                        quantile = as_double(load64(data, content))
                    elif part == 2:
                        value = as_double(load64(data, content))
                start = after
            if 0.0 <= quantile <= 1.0 and np.isfinite(value):
                places[parts], told[parts] = quantile + 0.0, value
                parts += 1
        place = stop
    return parts
