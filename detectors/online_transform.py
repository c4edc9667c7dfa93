"""The transform of `detectors.transform`, one value at a time in compiled code: chosen once, and again when it no
longer fits."""

import numba
import numpy as np

from detectors import online_row as at
from detectors import transform

FORMS = ("log", "asinh", "ratio", "bounded")
LOG, ASINH, RATIO, BOUNDED = range(4)
SMALLEST, LARGEST = transform.SMALLEST, transform.LARGEST
RATIO_UNIT, BOUNDED_UNIT = transform.RATIO_UNIT, transform.BOUNDED_UNIT
ANY, AS_RATIO, AS_COUNT, AS_BOUNDED = range(len(transform.KINDS))
STRANGE = 5.0
"""A unit so many times too large or too small is fixed anew."""

BELOW_ZERO, FRACTION, OVER_HUNDRED, OVER_ONE = at.BELOW_ZERO, at.FRACTION, at.OVER_HUNDRED, at.OVER_ONE
AT_HUNDRED, AT_ONE, UNDER_HUNDRED, UNDER_ONE = at.AT_HUNDRED, at.AT_ONE, at.UNDER_HUNDRED, at.UNDER_ONE


@numba.njit(cache=True, nogil=True)
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


@numba.njit(cache=True, nogil=True)
def inverse(form, unit, top, y):  # type: ignore[no-untyped-def]
    """Back to own units, as ``Transform.inverse``."""
    if form == BOUNDED:
        return top * (1.0 - max(np.exp(-y) - BOUNDED_UNIT, 0.0))
    if form == ASINH:
        return np.sinh(y) * unit
    shift = 0.0 if form == RATIO else np.log(unit)
    return np.copysign(np.expm1(abs(y - shift)), y - shift) * unit


@numba.njit(cache=True, nogil=True)
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


@numba.njit(cache=True, nogil=True)
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


@numba.njit(cache=True, nogil=True)
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


@numba.njit(cache=True, nogil=True)
def fit(kind, facts, values):  # type: ignore[no-untyped-def]
    """Form, unit and top from the first ``values`` (float64[n], finite)."""
    form, top = form_of(kind, facts, np.median(values))
    if form == BOUNDED and top == 100.0:
        top = max(100.0, values.max())
    sizes = np.abs(values) if form == ASINH else values[values > 0.0]
    usual = np.median(sizes) if len(sizes) else 0.0
    if form == ASINH and usual == 0.0:
        usual = np.median(sizes[sizes > 0.0])
    return form, unit_of(form, kind, facts, usual), top
