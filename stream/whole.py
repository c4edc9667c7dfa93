"""A signal over all its members: a ratio of sums, a sum of counts, a mean of values."""

from __future__ import annotations

import numpy as np

from stream.columns import Float64, Int64


def place(out: Float64, places: Int64, values: Float64, counted: bool) -> None:
    """Put values on their places: what is counted adds up, of anything else the latest stays."""
    inside = (places >= 0) & (places < len(out))
    places, values = places[inside], values[inside]
    if counted:
        sums = np.bincount(places, weights=values, minlength=len(out))
        hit = np.bincount(places, minlength=len(out)) > 0
        out[hit] = sums[hit]
    else:
        out[places] = values


def total(rows: list[Float64], length: int) -> Float64:
    """Sum over members; NaN only where none has a number."""
    if not rows:
        return np.full(length, np.nan)
    stacked = np.column_stack(rows)
    return np.where(np.isfinite(stacked).any(axis=1), np.nansum(stacked, axis=1), np.nan)


def first_known(rows: list[Float64], length: int) -> Float64:
    """Of several series of one member the first that has a number."""
    out = np.full(length, np.nan)
    for row in rows:
        out = np.where(np.isfinite(out), out, row)
    return out


def known_where(events: Float64, exposure: Float64) -> Float64:
    """A counter of errors says nothing while there are none: where there were requests, that is zero."""
    return np.where(np.isfinite(exposure), np.nan_to_num(events), np.nan)


def whole(rows: list[tuple[Float64, Float64]], length: int, *, ratio: bool, counted: bool) -> Float64:
    """The signal from its members: of each its values, or of a ratio its events and its exposure. float64[length]."""
    if not rows:
        return np.full(length, np.nan)
    if ratio:
        return _divide(total([row[0] for row in rows], length), total([row[1] for row in rows], length))
    values = [row[0] for row in rows]
    if len(values) == 1:
        return values[0]
    if counted:
        return total(values, length)
    stacked = np.column_stack(values)
    count = np.isfinite(stacked).sum(axis=1)
    return _divide(np.nansum(stacked, axis=1), np.where(count > 0, count, np.nan))


def _divide(above: Float64, below: Float64) -> Float64:
    out: Float64 = np.full(len(above), np.nan)
    np.divide(above, below, out=out, where=np.nan_to_num(below) > 0)
    return out
