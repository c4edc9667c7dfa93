"""One pass over OTLP as JSON, in compiled code: from bytes to arrays of resources, metrics and points.

What it does not understand, be it wrong or only rare, it leaves to the plain reading of `stream.wire.otlp_json`, which
must take whatever is taken here and say the same of it. Names are lowerCamelCase alone, as the specification of OTLP
has it; any order of keys; unknown fields are skipped, strictly read.
"""

from __future__ import annotations

import numpy as np

from stream.hash128 import combine, hash_bytes
from stream.wire.json_bytes import (
    DEEPEST,
    MINUS,
    OPEN,
    OPEN_LIST,
    QUOTE,
    RARE,
    after_space,
    any_string_end,
    byte_at,
    compiled,
    literal_end,
    loose_end,
    real,
    value_end,
    whole,
    word_at,
)
from stream.wire.json_members import item, member, opened
from stream.wire.names import table_of

NAMES = (
    "resourceMetrics", "resource", "scopeMetrics", "metrics", "attributes",
    "name", "unit", "gauge", "sum", "histogram", "exponentialHistogram", "summary",
    "dataPoints", "aggregationTemporality", "isMonotonic",
    "startTimeUnixNano", "timeUnixNano", "asDouble", "asInt", "flags",
    "count", "bucketCounts", "explicitBounds", "min", "max",
    "scale", "zeroCount", "zeroThreshold", "positive", "negative", "offset",
    "quantileValues", "quantile", "value", "scope",
)  # fmt: skip
(
    RESOURCE_METRICS, RESOURCE, SCOPE_METRICS, METRICS, ATTRIBUTES,
    NAME, UNIT, GAUGE, SUM, HISTOGRAM, EXPONENTIAL, SUMMARY,
    DATA_POINTS, TEMPORALITY, MONOTONIC,
    START, TIME, AS_DOUBLE, AS_INT, FLAGS,
    COUNT, BUCKET_COUNTS, BOUNDS, MIN, MAX,
    SCALE, ZERO_COUNT, ZERO_THRESHOLD, POSITIVE, NEGATIVE, OFFSET,
    QUANTILES, QUANTILE, VALUE, SCOPE,
) = range(1, len(NAMES) + 1)  # fmt: skip
TABLE = table_of(NAMES)

#: The arrays are too small: to be tried again with larger ones.
FULL = -2

#: Columns of a point's whole numbers (int64): times in ns, the bytes of its attributes, its metric, its flags; of a
#: histogram where its bounds and counts stand, of an exponential one scale and offsets.
(
    P_TIME, P_START, P_FIRST, P_STOP, P_METRIC, P_FLAGS,
    P_BOUNDS, P_BOUNDS_STOP, P_COUNTS, P_COUNTS_STOP, P_BELOW, P_BELOW_STOP, P_SCALE, P_OFFSET, P_BELOW_OFFSET,
) = range(15)  # fmt: skip
POINT = 15
#: Columns of a point's reals (float64): its value or sum, least and most, NaN where it has none; its count, what lies
#: about zero and how far that reaches.
V_VALUE, V_MIN, V_MAX, V_COUNT, V_ZEROS, V_ZERO_THRESHOLD = range(6)
VALUES = 6
#: Columns of a metric (int64): bytes of its name, its unit and its scope, its type (`GAUGE` … `SUMMARY`), what the type
#: says, the resource that it belongs to.
M_NAME, M_NAME_STOP, M_UNIT, M_UNIT_STOP, M_SCOPE, M_SCOPE_STOP, M_TYPE, M_TEMPORALITY, M_MONOTONIC, M_RESOURCE = range(
    10
)
METRIC = 10
#: Columns of a resource (int64): bytes of its attributes.
R_FIRST, R_STOP = range(2)
#: Rows beside those for what is skipped: unknown keys of the objects that are read, one a level.
ROWS = DEEPEST + 10

#: Told apart from the ids of other formats, in which the same bytes may mean another series.
FORMAT = int.from_bytes(b"otlpjson", "little")

_NO, _ONE = np.uint64(0), np.uint64(1)
_BOTH_VALUES = np.uint64((1 << AS_DOUBLE) | (1 << AS_INT))
_NAN, _INFINITY = (np.uint64(int.from_bytes(word, "little")) for word in (b'NaN"', b"Infinity"))


@compiled
def _double(text, p):  # type: ignore[no-untyped-def]
    """A number, or one of the three that JSON lacks, in quotes."""
    if byte_at(text, p) != QUOTE:
        return real(text, p)
    word = word_at(text, p + 1)
    if word & np.uint64(0xFFFFFFFF) == _NAN:
        return p + 5, np.nan
    if word == _INFINITY and byte_at(text, p + 9) == QUOTE:
        return p + 10, np.inf
    if byte_at(text, p + 1) == MINUS and word_at(text, p + 2) == _INFINITY and byte_at(text, p + 10) == QUOTE:
        return p + 11, -np.inf
    return RARE, 0.0


@compiled
def _natural(text, p):  # type: ignore[no-untyped-def]
    p, number = whole(text, p)
    return (p, number) if number >= 0 else (RARE, 0)


@compiled
def _counts(text, p, counts, used):  # type: ignore[no-untyped-def]
    """A list of natural numbers put behind the ``used`` ones; the place behind it and how many are used then."""
    p = opened(text, p, OPEN_LIST)
    first = True
    while p >= 0:
        p, more = item(text, p, first)
        if p < 0 or not more:
            break
        if used == len(counts):
            return FULL, used
        p, number = _natural(text, p)
        counts[used] = number
        used += 1
        first = False
    return p, used


@compiled
def _reals(text, p, reals, used):  # type: ignore[no-untyped-def]
    """As ``_counts``, of doubles."""
    p = opened(text, p, OPEN_LIST)
    first = True
    while p >= 0:
        p, more = item(text, p, first)
        if p < 0 or not more:
            break
        if used == len(reals):
            return FULL, used
        p, number = _double(text, p)
        reals[used] = number
        used += 1
        first = False
    return p, used


@compiled
def _buckets(text, p, keys, counts, used):  # type: ignore[no-untyped-def]
    """One side of an exponential histogram: the place behind it, its offset, and how many counts are used then."""
    offset = 0
    p = opened(text, p, OPEN)
    seen, first = _NO, True
    while p >= 0:
        p, name, seen = member(TABLE, text, p, first, seen, keys, 6)
        if p < 0 or name < 0:
            break
        if name == OFFSET:
            p, offset = whole(text, p)
            if p >= 0 and not -(1 << 31) <= offset < 1 << 31:
                p = RARE
        elif name == BUCKET_COUNTS:
            p, used = _counts(text, p, counts, used)
        else:
            p = value_end(text, p, keys)
        first = False
    return p, offset, used


@compiled
def _quantiles(text, p, keys, reals, used):  # type: ignore[no-untyped-def]
    """The quantiles of a summary, as pairs of what and how much."""
    p = opened(text, p, OPEN_LIST)
    first = True
    while p >= 0:
        p, more = item(text, p, first)
        if p < 0 or not more:
            break
        if used + 2 > len(reals):
            return FULL, used
        quantile, value = 0.0, 0.0
        p = opened(text, p, OPEN)
        seen, one = _NO, True
        while p >= 0:
            p, name, seen = member(TABLE, text, p, one, seen, keys, 6)
            if p < 0 or name < 0:
                break
            if name == QUANTILE:
                p, quantile = _double(text, p)
            elif name == VALUE:
                p, value = _double(text, p)
            else:
                p = value_end(text, p, keys)
            one = False
        reals[used], reals[used + 1] = quantile, value
        used += 2
        first = False
    return p, used


@compiled
def _points(text, p, kind, metric, points, values, counts, reals, keys, used):  # type: ignore[no-untyped-def]
    """The data points of a metric. ``used`` (int64[5]): resources, metrics, points, counts and reals so far."""
    p = opened(text, p, OPEN_LIST)
    first = True
    while p >= 0:
        p, more = item(text, p, first)
        if p < 0 or not more:
            break
        row = used[2]
        if row == len(points):
            return FULL
        p = opened(text, p, OPEN)
        seen, one = _NO, True
        time, start, flags, begin, end = 0, 0, 0, 0, 0
        value = 0.0 if kind == SUMMARY else np.nan
        number_point = kind <= SUM
        if not number_point:
            for column in range(P_BOUNDS, POINT):
                points[row, column] = 0
            values[row, V_MIN] = values[row, V_MAX] = np.nan
            values[row, V_COUNT] = values[row, V_ZEROS] = values[row, V_ZERO_THRESHOLD] = 0.0
        while p >= 0:
            p, name, seen = member(TABLE, text, p, one, seen, keys, 5)
            if p < 0 or name < 0:
                break
            one = False
            if name == ATTRIBUTES:
                begin = p
                p = loose_end(text, p) if byte_at(text, p) == OPEN_LIST else RARE
                end = p
            elif name == TIME:
                p, time = _natural(text, p)
            elif name == START:
                p, start = _natural(text, p)
            elif name == FLAGS:
                p, flags = _natural(text, p)
            elif number_point:
                if name == AS_DOUBLE:
                    p, value = _double(text, p)
                elif name == AS_INT:
                    p, number = whole(text, p)
                    value = np.float64(number)
                else:
                    p = value_end(text, p, keys)
                if seen & _BOTH_VALUES == _BOTH_VALUES:
                    p = RARE
            elif name == COUNT:
                p, number = _natural(text, p)
                values[row, V_COUNT] = number
            elif name == SUM:
                p, value = _double(text, p)
            elif name == QUANTILES and kind == SUMMARY:
                points[row, P_BOUNDS] = used[4]
                p, used[4] = _quantiles(text, p, keys, reals, used[4])
                points[row, P_BOUNDS_STOP] = used[4]
            elif name == BUCKET_COUNTS and kind == HISTOGRAM:
                points[row, P_COUNTS] = used[3]
                p, used[3] = _counts(text, p, counts, used[3])
                points[row, P_COUNTS_STOP] = used[3]
            elif name == BOUNDS and kind == HISTOGRAM:
                points[row, P_BOUNDS] = used[4]
                p, used[4] = _reals(text, p, reals, used[4])
                points[row, P_BOUNDS_STOP] = used[4]
            elif name == MIN and kind != SUMMARY:
                p, values[row, V_MIN] = _double(text, p)
            elif name == MAX and kind != SUMMARY:
                p, values[row, V_MAX] = _double(text, p)
            elif name == SCALE and kind == EXPONENTIAL:
                p, points[row, P_SCALE] = whole(text, p)
                if not -(1 << 31) <= points[row, P_SCALE] < 1 << 31:
                    p = RARE
            elif name == ZERO_COUNT and kind == EXPONENTIAL:
                p, number = _natural(text, p)
                values[row, V_ZEROS] = number
            elif name == ZERO_THRESHOLD and kind == EXPONENTIAL:
                p, values[row, V_ZERO_THRESHOLD] = _double(text, p)
            elif name == POSITIVE and kind == EXPONENTIAL:
                points[row, P_COUNTS] = used[3]
                p, points[row, P_OFFSET], used[3] = _buckets(text, p, keys, counts, used[3])
                points[row, P_COUNTS_STOP] = used[3]
            elif name == NEGATIVE and kind == EXPONENTIAL:
                points[row, P_BELOW] = used[3]
                p, points[row, P_BELOW_OFFSET], used[3] = _buckets(text, p, keys, counts, used[3])
                points[row, P_BELOW_STOP] = used[3]
            else:
                p = value_end(text, p, keys)
        if p < 0:
            return p
        # Nobody will read the attributes of what is left out.
        unread = bool(flags & 1) or (number_point and not np.isfinite(value))
        if flags >= 1 << 32 or (time == 0 and not unread) or (unread and begin and value_end(text, begin, keys) != end):
            return RARE
        points[row, P_TIME], points[row, P_START] = time, start
        points[row, P_FIRST], points[row, P_STOP] = begin, end
        points[row, P_METRIC], points[row, P_FLAGS] = metric, flags
        values[row, V_VALUE] = value
        used[2] += 1
        first = False
    return p


@compiled
def _metric(text, p, metrics, points, values, counts, reals, keys, used):  # type: ignore[no-untyped-def]
    row = used[1]
    if row == len(metrics):
        return FULL
    used[1] += 1
    for column in range(METRIC):
        metrics[row, column] = 0
    metrics[row, M_RESOURCE] = used[0]
    p = opened(text, p, OPEN)
    seen, first = _NO, True
    while p >= 0:
        p, name, seen = member(TABLE, text, p, first, seen, keys, 3)
        if p < 0 or name < 0:
            break
        first = False
        if name in (NAME, UNIT):
            if byte_at(text, p) != QUOTE:
                return RARE
            column = M_NAME if name == NAME else M_UNIT
            metrics[row, column] = p
            p = any_string_end(text, p + 1) + 1
            if p == RARE + 1:
                return RARE
            metrics[row, column + 1] = p
        elif GAUGE <= name <= SUMMARY:
            if metrics[row, M_TYPE] != 0:
                return RARE
            metrics[row, M_TYPE] = name
            p = _data(text, p, name, row, metrics, points, values, counts, reals, keys, used)
        else:
            p = value_end(text, p, keys)
    return p


@compiled
def _data(text, p, kind, row, metrics, points, values, counts, reals, keys, used):  # type: ignore[no-untyped-def]
    p = opened(text, p, OPEN)
    seen, first = _NO, True
    while p >= 0:
        p, name, seen = member(TABLE, text, p, first, seen, keys, 4)
        if p < 0 or name < 0:
            break
        first = False
        if name == DATA_POINTS:
            p = _points(text, p, kind, row, points, values, counts, reals, keys, used)
        elif name == TEMPORALITY and SUM <= kind <= EXPONENTIAL:
            # A name in place of the number is rare.
            c = byte_at(text, p)
            if c == QUOTE:
                return RARE
            p, metrics[row, M_TEMPORALITY] = _natural(text, p)
            if metrics[row, M_TEMPORALITY] >= 1 << 31:
                return RARE
        elif name == MONOTONIC and kind == SUM:
            metrics[row, M_MONOTONIC] = byte_at(text, p) == 116
            if byte_at(text, p) == 110:
                return RARE
            p = literal_end(text, p)
        else:
            p = value_end(text, p, keys)
    return p


@compiled
def _resource(text, p, resources, metrics, points, values, counts, reals, keys, used):  # type: ignore[no-untyped-def]
    if used[0] == len(resources):
        return FULL
    resources[used[0], R_FIRST], resources[used[0], R_STOP] = 0, 0
    p = opened(text, p, OPEN)
    seen, first = _NO, True
    while p >= 0:
        p, name, seen = member(TABLE, text, p, first, seen, keys, 1)
        if p < 0 or name < 0:
            break
        first = False
        if name == RESOURCE:
            p = opened(text, p, OPEN)
            inner, one = _NO, True
            while p >= 0:
                p, name, inner = member(TABLE, text, p, one, inner, keys, 2)
                if p < 0 or name < 0:
                    break
                one = False
                if name == ATTRIBUTES:
                    if byte_at(text, p) != OPEN_LIST:
                        return RARE
                    resources[used[0], R_FIRST] = p
                    p = value_end(text, p, keys)
                    resources[used[0], R_STOP] = p
                else:
                    p = value_end(text, p, keys)
        elif name == SCOPE_METRICS:
            p = opened(text, p, OPEN_LIST)
            one = True
            while p >= 0:
                p, more = item(text, p, one)
                if p < 0 or not more:
                    break
                one = False
                p = opened(text, p, OPEN)
                begin, stop, row = 0, 0, used[1]
                inner, least = _NO, True
                while p >= 0:
                    p, name, inner = member(TABLE, text, p, least, inner, keys, 2)
                    if p < 0 or name < 0:
                        break
                    least = False
                    if name == METRICS:
                        p = opened(text, p, OPEN_LIST)
                        start = True
                        while p >= 0:
                            p, more = item(text, p, start)
                            if p < 0 or not more:
                                break
                            start = False
                            p = _metric(text, p, metrics, points, values, counts, reals, keys, used)
                    elif name == SCOPE:
                        begin = p
                        p = value_end(text, p, keys)
                        stop = p
                    else:
                        p = value_end(text, p, keys)
                for each in range(row, used[1]):
                    metrics[each, M_SCOPE], metrics[each, M_SCOPE_STOP] = begin, stop
        else:
            p = value_end(text, p, keys)
    used[0] += 1
    return p


@compiled
def scan(text, size, resources, metrics, points, values, counts, reals, keys, used):  # type: ignore[no-untyped-def]
    """Read a message into the arrays; 0, or `RARE`, or `FULL`. ``used`` (int64[5]) says how much of each is used."""
    used[:] = 0
    p = opened(text, after_space(text, 0), OPEN)
    seen, first = _NO, True
    while p >= 0:
        p, name, seen = member(TABLE, text, p, first, seen, keys, 0)
        if p < 0 or name < 0:
            break
        first = False
        if name == RESOURCE_METRICS:
            p = opened(text, p, OPEN_LIST)
            one = True
            while p >= 0:
                p, more = item(text, p, one)
                if p < 0 or not more:
                    break
                one = False
                p = _resource(text, p, resources, metrics, points, values, counts, reals, keys, used)
        else:
            p = value_end(text, p, keys)
    if p < 0:
        return p
    return 0 if after_space(text, p) == size else RARE


@compiled
def identify(text, seed, resources, metrics, points, count, hi, lo):  # type: ignore[no-untyped-def]
    """The 128-bit ids (uint64[n] each) of the first ``count`` points' series."""
    last = -1
    r_hi, r_lo, m_hi, m_lo = _NO, _NO, _NO, _NO
    resource = -1
    for row in range(count):
        metric = points[row, P_METRIC]
        if metric != last:
            last = metric
            if metrics[metric, M_RESOURCE] != resource:
                resource = metrics[metric, M_RESOURCE]
                r_hi, r_lo = hash_bytes(text, resources[resource, R_FIRST], resources[resource, R_STOP], seed)
            m_hi, m_lo = hash_bytes(text, metrics[metric, M_NAME], metrics[metric, M_NAME_STOP], seed)
            u_hi, u_lo = hash_bytes(text, metrics[metric, M_UNIT], metrics[metric, M_UNIT_STOP], seed)
            m_hi, m_lo = combine(m_hi, m_lo, u_hi, u_lo, seed)
            s_hi, s_lo = hash_bytes(text, metrics[metric, M_SCOPE], metrics[metric, M_SCOPE_STOP], seed)
            m_hi, m_lo = combine(m_hi, m_lo, s_hi, s_lo, seed)
            kind = metrics[metric, M_TYPE] * 8 + metrics[metric, M_TEMPORALITY] * 2 + metrics[metric, M_MONOTONIC]
            m_hi, m_lo = combine(m_hi, m_lo, np.uint64(kind), np.uint64(FORMAT), seed)
            m_hi, m_lo = combine(r_hi, r_lo, m_hi, m_lo, seed)
        a_hi, a_lo = hash_bytes(text, points[row, P_FIRST], points[row, P_STOP], seed)
        hi[row], lo[row] = combine(m_hi, m_lo, a_hi, a_lo, seed)
