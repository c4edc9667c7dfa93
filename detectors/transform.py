"""Onto a scale on which harm is a step: one monotone transform for each kind of metric.

A doubling should look the same at any level, a failing request should weigh more in a metric that never fails, and no
sample may be impossible. So

* a positive quantity: ``log(x + c)``, ``c`` a tenth of its median, at least 1 for whole numbers (one request after
  silence is no event), continued below zero by its mirror image;
* a quantity with both signs: ``asinh(x / c)``, ``c`` a tenth of the median of ``|x|``;
* a ratio of failures: ``log(1 + x / 0.002)``;
* a bounded success rate, in which 1 or 100 is perfect: ``-log(failing share + 0.01)``.

The constants come from history before the change and from nothing else.
"""

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RATIO_UNIT = 0.002
BOUNDED_UNIT = 0.01
SMALLEST, LARGEST = 1e-150, 1e300
"""Between them no constant and no value overflows."""
KINDS = ("value", "ratio", "count", "bounded")
FORMS = ("log", "asinh", "ratio", "bounded")
_LOG, _ASINH, _RATIO, _BOUNDED = range(4)


@dataclass(frozen=True, slots=True)
class Transform:
    """A monotone map of one metric, with its inverse.

    ``form`` is ``log``, ``asinh``, ``ratio`` or ``bounded``; ``unit`` is the constant beside ``x`` in own units and
    ``top`` the perfect value of a bounded metric.

    >>> latency = fit(np.array([20.0, 21.5, 19.5, 20.5]))
    >>> step = latency.forward(np.array([20.0, 40.0, 80.0]))
    >>> np.round(np.diff(step), 2)
    array([0.65, 0.67])
    >>> float(np.round(latency.inverse(step)[2], 9))
    80.0
    >>> fit(np.array([100.0, 100.0, 99.5])).form
    'bounded'
    """

    form: str
    unit: float
    top: float = 0.0

    def forward(self, x: Floats) -> Floats:
        """Map own units, any shape, to the scale of the detector; NaN and infinities become NaN."""
        x = np.where(np.isfinite(x), x, np.nan)
        if self.form == "bounded":
            return -np.log(np.maximum(self.top - x, 0.0) / self.top + BOUNDED_UNIT)
        with np.errstate(over="ignore"):
            units = np.minimum(np.abs(x) / self.unit, LARGEST)
        if self.form == "asinh":
            return np.asarray(np.copysign(np.arcsinh(units), x))
        size = np.log1p(units)
        shift = 0.0 if self.form == "ratio" else np.log(self.unit)
        return np.asarray(np.copysign(size, x) + shift)

    @property
    def code(self) -> tuple[int, float, float]:
        """Form, unit and top, as compiled code takes them."""
        return FORMS.index(self.form), self.unit, self.top

    def inverse(self, y: Floats) -> Floats:
        """Map back to own units, any shape."""
        if self.form == "asinh":
            return np.asarray(np.sinh(y) * self.unit)
        if self.form == "bounded":
            return np.asarray(self.top * (1.0 - np.maximum(np.exp(-y) - BOUNDED_UNIT, 0.0)))
        shift = 0.0 if self.form == "ratio" else np.log(self.unit)
        return np.asarray(np.copysign(np.expm1(np.abs(y - shift)), y - shift) * self.unit)


@numba.njit(cache=True, nogil=True)
def forward(form, unit, top, value):  # type: ignore[no-untyped-def]
    """One finite value, as ``Transform.forward``; ``form``, ``unit`` and ``top`` are its ``code``.

    >>> latency = Transform("log", 2.0)
    >>> round(forward(*latency.code, 18.0), 9) == round(float(np.log(20.0)), 9)
    True
    """
    if form == _BOUNDED:
        return -np.log(max(top - value, 0.0) / top + BOUNDED_UNIT)
    units = min(abs(value) / unit, LARGEST)
    if form == _ASINH:
        return np.copysign(np.arcsinh(units), value)
    return np.copysign(np.log1p(units), value) + (0.0 if form == _RATIO else np.log(unit))


@numba.njit(cache=True, nogil=True)
def inverse(form, unit, top, value):  # type: ignore[no-untyped-def]
    """One value, as ``Transform.inverse``.

    >>> round(inverse(*Transform("log", 2.0).code, float(np.log(20.0))), 9)
    18.0
    """
    if form == _BOUNDED:
        return top * (1.0 - max(np.exp(-value) - BOUNDED_UNIT, 0.0))
    if form == _ASINH:
        return np.sinh(value) * unit
    size = value - (0.0 if form == _RATIO else np.log(unit))
    return np.copysign(np.expm1(abs(size)), size) * unit


def fit(history: Floats, kind: str = "value") -> Transform:
    """Choose the transform of a metric from its history (own units, NaN = missing).

    Raises ValueError for a ``kind`` outside ``KINDS``.
    """
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r}: expected one of {', '.join(KINDS)}")
    x = history[np.isfinite(history)]
    if kind == "ratio":
        return Transform("ratio", RATIO_UNIT)
    low, high = (float(x.min()), float(x.max())) if len(x) else (0.0, 0.0)
    if kind == "bounded":
        return Transform("bounded", BOUNDED_UNIT, 1.0 if high <= 1.0 else max(100.0, high))
    # A latency that always read 1 is no success rate: only values below the top show that it is one.
    if kind == "value" and high in (1.0, 100.0) and 0.0 <= low < high and float(np.median(x)) > 0.9 * high:
        return Transform("bounded", BOUNDED_UNIT, high)
    if low < 0.0:
        size = np.abs(x)
        unit = 0.1 * float(np.median(size)) or 0.1 * float(np.median(size[size > 0.0]))
        return Transform("asinh", max(unit, SMALLEST))
    positive = x[x > 0.0]
    unit = 0.1 * float(np.median(positive)) if len(positive) else 1.0
    if kind == "count" or bool(np.all(x == np.floor(x))):
        unit = max(unit, 1.0)
    return Transform("log", max(unit, SMALLEST))
