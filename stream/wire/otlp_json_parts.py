"""The buckets of histograms and the quantiles of summaries, out of the arrays that a message was read into.

What `stream.wire.otlp_scan.expand` does with the bytes of protobuf, and it must say the same of the same points.
"""

from __future__ import annotations

import numpy as np

from stream.hash128 import as_bits, combine
from stream.wire.json_bytes import compiled
from stream.wire.otlp_json_scan import (
    EXPONENTIAL,
    HISTOGRAM,
    P_BELOW,
    P_BELOW_STOP,
    P_BOUNDS,
    P_BOUNDS_STOP,
    P_COUNTS,
    P_COUNTS_STOP,
    P_OFFSET,
    P_SCALE,
    V_ZEROS,
)

#: Buckets of exponential histograms are merged until an octave has four, so that their bounds stay the same for long.
_SCALE = 2
_SPREAD = np.uint64(0x9E3779B97F4A7C15)


@compiled
def expand(chosen, kinds, points, values, counts, reals, hi, lo, seed, part_hi, part_lo, of, places, told):  # type: ignore[no-untyped-def]
    """The parts of the chosen points (int64[n], indices), whose types are in ``kinds``; returns how many there are.

    For each part: `part_hi` and `part_lo` an id of its series, `of` its point, `places` (float64) the upper bound of a
    bucket or the quantile, `told` (float64) how many values were at or below it, or the value at it.
    """
    parts = 0
    for one in chosen:
        first, kind = parts, kinds[one]
        if kind == HISTOGRAM:
            parts = _buckets(points[one], counts, reals, places, told, parts)
        elif kind == EXPONENTIAL:
            parts = _exponential(points[one], values[one, V_ZEROS], counts, places, told, parts)
        else:
            for place in range(points[one, P_BOUNDS], points[one, P_BOUNDS_STOP], 2):
                if 0.0 <= reals[place] <= 1.0 and np.isfinite(reals[place + 1]):
                    # Without the sign that a zero may have.
                    places[parts], told[parts] = reals[place] + 0.0, reals[place + 1]
                    parts += 1
        for part in range(first, parts):
            of[part] = one
            part_hi[part], part_lo[part] = combine(hi[one], lo[one], as_bits(places[part]), _SPREAD, seed)
    return parts


@compiled
def _buckets(point, counts, reals, places, told, parts):  # type: ignore[no-untyped-def]
    first, bounds = point[P_BOUNDS], point[P_BOUNDS_STOP] - point[P_BOUNDS]
    if point[P_COUNTS_STOP] - point[P_COUNTS] != bounds + 1:
        return parts
    total = 0.0
    for one in range(bounds):
        bound = reals[first + one]
        if not np.isfinite(bound) or (one > 0 and bound <= reals[first + one - 1]):
            return parts
        total += counts[point[P_COUNTS] + one]
        places[parts + one], told[parts + one] = bound, total
    return parts + bounds


@compiled
def _exponential(point, zeros, counts, places, told, parts):  # type: ignore[no-untyped-def]
    total = zeros
    for one in range(point[P_BELOW], point[P_BELOW_STOP]):
        total += counts[one]
    scale, offset = point[P_SCALE], point[P_OFFSET]
    shift = min(max(0, scale - _SCALE), 62)
    width = 2.0 ** -np.float64(scale - shift)
    index, open_index = offset, (offset >> shift) - 1
    for one in range(point[P_COUNTS], point[P_COUNTS_STOP] + 1):
        last = one == point[P_COUNTS_STOP]
        merged = index >> shift
        if (last and index > offset) or (not last and merged != open_index):
            # The bucket before is complete; of the first one this is its lower bound.
            bound = 2.0 ** (np.float64(open_index + 1) * width)
            if 0.0 < bound < np.inf:
                places[parts], told[parts] = bound, total
                parts += 1
            open_index = merged
        if not last:
            total += counts[one]
            index += 1
    return parts
