"""The plots of the page, as SVG text: no library, no script, and colours that follow the reader's light or dark."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from math import floor, log10

from deploy.times import HOUR_MS, MINUTE_MS, SECOND_MS, format_time
from stream.backtest.curve import Curve
from stream.backtest.result import AtRate, Case

_DAY_MS = 24 * HOUR_MS
_WIDTH, _HEIGHT = 640, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 14, 52, 30
_STEPS = tuple(
    count * unit
    for unit, counts in (
        (SECOND_MS, (1, 5, 15, 30)),
        (MINUTE_MS, (1, 5, 15, 30)),
        (HOUR_MS, (1, 3, 6, 12)),
        (_DAY_MS, (1, 2, 7, 14)),
    )
    for count in counts
)


def rates_chart(rates: Sequence[AtRate], goal: float, suggested: AtRate) -> str:
    """Frozen placebo changes per 1,000, with intervals, at each error rate; the goal is a dashed line.

    `suggested` is what the suggested policy did, beside what the policy did so far.
    """
    shown = [one for one in rates if one.rate.per_1000 is not None]
    if not shown:
        return ""
    beside = [suggested] if suggested.rate.per_1000 is not None else []
    y = _Axis(0.0, 1.1 * max(goal, *(one.rate.high for one in [*shown, *beside])), _HEIGHT - _BOTTOM, 28)
    step = (_WIDTH - _LEFT - _RIGHT) / len(shown)
    parts = [_grid(y)]
    for number, one in enumerate(shown):
        x = _LEFT + (number + 0.4) * step
        parts.append(f'<text class="tick middle" x="{x:.1f}" y="{_HEIGHT - 10}">{one.error_rate:g}</text>')
        parts.append(_point("rate", one, x, y))
        parts += [_point("chosen", two, x + 0.35 * step, y) for two in beside if two.error_rate == one.error_rate]
    at = y(goal)
    parts.append(f'<path class="goal" d="M{_LEFT} {at:.1f}H{_WIDTH - _RIGHT}"/>')
    parts.append(f'<text class="tick" x="{_LEFT + 4}" y="{at - 5:.1f}">goal {goal:g}</text>')
    parts.append(f'<text class="tick" x="{_LEFT}" y="12">frozen per 1,000 placebo changes, by error_rate</text>')
    return _svg("Frozen placebo changes per 1,000 at each error rate, with 95 % intervals", parts)


def _point(kind: str, one: AtRate, x: float, y: _Axis) -> str:
    rate = one.rate
    low, high, middle = y(rate.low), y(rate.high), y(rate.per_1000 or 0.0)
    return (
        f'<g class="{kind}"><title>{rate.hits} of {rate.of} frozen at {one.error_rate:g}</title>'
        f'<path class="whisker" d="M{x:.1f} {low:.1f}V{high:.1f}m-6 0h12M{x - 6:.1f} {low:.1f}h12"/>'
        f'<circle cx="{x:.1f}" cy="{middle:.1f}" r="4.5"/>'
        f'<text class="value" x="{x + 9:.1f}" y="{middle - 5:.1f}">{rate.per_1000:g}</text></g>'
    )


def incident_chart(case: Case, curve: Curve) -> str:
    """One metric before and after a change: what was expected, and when what happened."""
    lines = [curve.values, curve.beside or []]
    told = [value for line in lines for value in line if value is not None]
    if not told:
        return ""
    low, high = min(told), max(told)
    # The band is drawn whole unless it would press what happened into a line.
    band = [value for line in (curve.low, curve.high) for value in line if value is not None]
    room = 0.6 * (high - low) or abs(high) or 1.0
    low, high = max(min([low, *band]), low - room), min(max([high, *band]), high + room)
    y = _Axis(low, high if high > low else low + 1.0, _HEIGHT - _BOTTOM, _TOP)
    x = _Axis(curve.times[0], curve.times[-1], _LEFT, _WIDTH - _RIGHT)
    parts = [_grid(y), _clock(x, curve.times[0], curve.times[-1])]
    known = [
        (x(time), y.inside(below), y.inside(above))
        for time, below, above in zip(curve.times, curve.low, curve.high, strict=True)
        if below is not None and above is not None
    ]
    if known:
        edge = [f"{at:.1f} {above:.1f}" for at, _, above in known]
        edge += [f"{at:.1f} {below:.1f}" for at, below, _ in reversed(known)]
        parts.append(f'<path class="band" d="M{"L".join(edge)}Z"/>')
    parts.append(f'<path class="expected" d="{_line(x, y, curve.times, curve.expected)}"/>')
    if curve.beside is not None:
        parts.append(f'<path class="beside" d="{_line(x, y, curve.times, curve.beside)}"/>')
    parts.append(f'<path class="told" d="{_line(x, y, curve.times, curve.values)}"/>')
    marks = [("change", case.began_at, "change"), ("harm", case.harm_at, "harm"), ("freeze", case.caught_at, "freeze")]
    marks.append(("people", case.noticed_at, "taken back"))
    parts += _marks(x, [(kind, at, text) for kind, at, text in marks if at is not None], curve)
    unit = f" ({curve.unit})" if curve.unit and curve.unit != "1" else ""
    parts.append(f'<text class="tick" x="{_LEFT}" y="12">{escape(curve.metric + unit)}</text>')
    return _svg(f"{case.service}: {curve.metric} before and after {case.change}", parts)


def _marks(x: _Axis, marks: Sequence[tuple[str, int, str]], curve: Curve) -> Iterable[str]:
    """Upright lines with their names; names that would cover each other stand in different rows."""
    taken = [-1e9, -1e9, -1e9]
    for kind, at, text in sorted(marks, key=lambda mark: mark[1]):
        if not curve.times[0] <= at <= curve.times[-1]:
            continue
        place = x(at)
        width = 7.0 * len(text) + 8
        start = min(place, _WIDTH - _RIGHT - width)
        row = next((row for row, end in enumerate(taken) if start >= end), len(taken) - 1)
        taken[row] = start + width
        height = 25 + 11 * row
        yield f'<path class="mark {kind}" d="M{place:.1f} {height + 3}V{_HEIGHT - _BOTTOM}"/>'
        yield f'<text class="name {kind}" x="{start + 3:.1f}" y="{height}">{escape(text)}</text>'


class _Axis:
    """From numbers to places on the paper."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.high, self._start = low, high, start
        self._scale = (end - start) / (high - low or 1.0)

    def __call__(self, value: float) -> float:
        return self._start + (value - self.low) * self._scale

    def inside(self, value: float) -> float:
        return self(min(max(value, self.low), self.high))


def _grid(y: _Axis) -> str:
    """Level lines at round numbers."""
    parts = []
    span = y.high - y.low
    step = 10.0 ** floor(log10(span / 4)) if span > 0 else 1.0
    step *= next((times for times in (1, 2, 5) if span / (step * times) <= 5), 10)
    at = -(-y.low // step) * step
    while at <= y.high + 1e-9 * span:
        place = y(at)
        parts.append(f'<path class="grid" d="M{_LEFT} {place:.1f}H{_WIDTH - _RIGHT}"/>')
        parts.append(f'<text class="tick end" x="{_LEFT - 6}" y="{place + 4:.1f}">{_short(at, step)}</text>')
        at += step
    return "".join(parts)


def _clock(x: _Axis, start: int, end: int) -> str:
    """Times of day below, with the date at the first."""
    step = next((one for one in _STEPS if (end - start) / one <= 6), _STEPS[-1])
    parts = []
    at = -(-start // step) * step
    form = slice(5, 10) if step >= _DAY_MS else slice(11, 16) if step >= MINUTE_MS else slice(11, 19)
    while at <= end:
        place = x(at)
        if place < _WIDTH - 40:
            parts.append(f'<path class="grid" d="M{place:.1f} {_HEIGHT - _BOTTOM}v4"/>')
            parts.append(f'<text class="tick middle" x="{place:.1f}" y="{_HEIGHT - 14}">{format_time(at)[form]}</text>')
        at += step
    day = format_time(start)[:10]
    parts.append(f'<text class="tick end" x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 2}">{day} UTC</text>')
    return "".join(parts)


def _line(x: _Axis, y: _Axis, times: Sequence[int], values: Sequence[float | None]) -> str:
    """A path through what is known, broken where a sample is missing."""
    parts, pen = [], "M"
    for time, value in zip(times, values, strict=True):
        if value is None:
            pen = "M"
            continue
        parts.append(f"{pen}{x(time):.1f} {y.inside(value):.1f}")
        # A sample alone between two missing ones is a dot.
        parts += ["h.1"] if pen == "M" else []
        pen = "L"
    return "".join(parts)


def _short(value: float, step: float) -> str:
    value = 0.0 if abs(value) < step / 1_000 else value
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{letter}"
    return f"{value:.4g}"


def _svg(label: str, parts: Iterable[str]) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(label, quote=True)}">'
        f"{''.join(parts)}</svg>"
    )
