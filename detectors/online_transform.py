"""The transform of `detectors.transform`, one value at a time in compiled code: chosen once, and again when it no
longer fits."""

from typing import Any

import numba
import numpy as np

from detectors import online_row as at
from detectors import transform

FORMS = transform.FORMS
LOG, ASINH, RATIO, BOUNDED = range(4)
SMALLEST, LARGEST = transform.SMALLEST, transform.LARGEST
RATIO_UNIT, BOUNDED_UNIT = transform.RATIO_UNIT, transform.BOUNDED_UNIT
ANY, AS_RATIO, AS_COUNT, AS_BOUNDED = range(len(transform.KINDS))
STRANGE = 5.0
"""A unit so many times too large or too small is fixed anew."""

# Nothing here makes an array, so numba is told not to count who uses them: that was half of the time of a sample.
OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": False}
compiled = numba.njit(**OPTIONS, forceinline=True)

BELOW_ZERO, FRACTION, OVER_HUNDRED, OVER_ONE = at.BELOW_ZERO, at.FRACTION, at.OVER_HUNDRED, at.OVER_ONE
AT_HUNDRED, AT_ONE, UNDER_HUNDRED, UNDER_ONE = at.AT_HUNDRED, at.AT_ONE, at.UNDER_HUNDRED, at.UNDER_ONE


@compiled
def forward(form, unit, top, value):  # type: ignore[no-untyped-def]
    """One finite value on the scale of the detector, as ``Transform.forward``.

    >>> round(forward(LOG, 2.0, 0.0, 18.0), 6) == round(float(np.log(20.0)), 6)
    True
    """
    if form == BOUNDED:
        return -np.log(max(top - value, 0.0) / top + BOUNDED_UNIT)
    units = min(abs(value) / unit, LARGEST)
    if form == ASINH:
        return np.copysign(np.arcsinh(units), value)
    # The values are rounded to 1/2048 afterwards: log1p would be dearer and say no more.
    size = np.log(1.0 + units)
    return np.copysign(size, value) + (0.0 if form == RATIO else np.log(unit))


@compiled
def inverse(form, unit, top, y):  # type: ignore[no-untyped-def]
    """Back to own units, as ``Transform.inverse``."""
    if form == BOUNDED:
        return top * (1.0 - max(np.exp(-y) - BOUNDED_UNIT, 0.0))
    if form == ASINH:
        return np.sinh(y) * unit
    shift = 0.0 if form == RATIO else np.log(unit)
    return np.copysign(np.expm1(abs(y - shift)), y - shift) * unit


@compiled
def facts_of(value):  # type: ignore[no-untyped-def]
    """What one value says about the kind of its metric, as bits."""
    facts = 0
    if value < 0.0:
        facts |= BELOW_ZERO
    if value != np.floor(value):
        facts |= FRACTION
    if value > 1.0:
        facts |= OVER_ONE
    elif value < 1.0:
        facts |= UNDER_ONE
    else:
        facts |= AT_ONE
    if value > 100.0:
        facts |= OVER_HUNDRED
    elif value < 100.0:
        facts |= UNDER_HUNDRED
    else:
        facts |= AT_HUNDRED
    return facts


@compiled
def form_of(kind, facts, usual):  # type: ignore[no-untyped-def]
    """Form and top of a metric of this ``kind`` whose usual value is ``usual``."""
    if kind == AS_RATIO:
        return RATIO, 0.0
    if kind == AS_BOUNDED:
        return BOUNDED, 1.0 if not facts & OVER_ONE else 100.0
    if kind == ANY and not facts & BELOW_ZERO:
        if facts & AT_HUNDRED and facts & UNDER_HUNDRED and not facts & OVER_HUNDRED and usual > 90.0:
            return BOUNDED, 100.0
        if facts & AT_ONE and facts & UNDER_ONE and not facts & OVER_ONE and usual > 0.9:
            return BOUNDED, 1.0
    return (ASINH if facts & BELOW_ZERO else LOG), 0.0


@compiled
def unit_of(form, kind, facts, usual):  # type: ignore[no-untyped-def]
    """The unit of a metric whose usual size is ``usual`` (0: none is known)."""
    if form == RATIO:
        return RATIO_UNIT
    if form == BOUNDED:
        return BOUNDED_UNIT
    unit = 0.1 * abs(usual) if usual != 0.0 else 1.0
    if form == LOG and (kind == AS_COUNT or not facts & FRACTION):
        unit = max(unit, 1.0)
    return max(unit, SMALLEST)


@compiled
def median(values, begin, end, spare, kept):  # type: ignore[no-untyped-def]
    """Median of ``values[begin:end]``: of all, of their sizes, of the positive ones (``kept`` 0, 1, 2); 0 of none.

    ``spare`` float64 is working space for as many.
    """
    count = 0
    for i in range(begin, end):
        value = abs(values[i]) if kept == 1 else values[i]
        if kept == 2 and not value > 0.0:
            continue
        place = count
        while place > 0 and spare[place - 1] > value:
            spare[place] = spare[place - 1]
            place -= 1
        spare[place] = value
        count += 1
    return 0.5 * (spare[(count - 1) // 2] + spare[count // 2]) if count else 0.0


@compiled
def fit(kind, facts, values, count, spare):  # type: ignore[no-untyped-def]
    """Form, unit and top from the first ``count`` of ``values`` (finite)."""
    form, top = form_of(kind, facts, median(values, 0, count, spare, 0))
    if form == BOUNDED and top == 100.0:
        for i in range(count):
            top = max(top, values[i])
    usual = median(values, 0, count, spare, 1 if form == ASINH else 2)
    if form == ASINH and usual == 0.0:
        for i in range(count):
            spare[count + i] = abs(values[i])
        usual = median(spare, count, 2 * count, spare, 2)
    return form, unit_of(form, kind, facts, usual), top
