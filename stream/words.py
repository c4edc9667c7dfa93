"""Numbers of a finding in words: `error_ratio 0.042 > 0.006`, `p=2.1e-05`."""

from __future__ import annotations

import numpy as np


def against(title: str, value: float, expected: float) -> str:
    """What was seen beside what was expected."""
    sign = ">" if value > expected else "<" if value < expected else "="
    return f"{title} {value:.4g} {sign} {expected:.4g}"


def p_value(log_p: float) -> str:
    """A p-value given by its natural logarithm."""
    return f"p={power(log_p)}"


def power(log: float) -> str:
    """A number given by its natural logarithm, also where it is too large or small for a float."""
    exponent = log / np.log(10.0)
    whole = int(np.floor(exponent))
    if -3 <= whole <= 3:
        return f"{10.0**exponent:.2g}"
    return f"{10.0 ** (exponent - whole):.1f}e{whole:+03d}"
