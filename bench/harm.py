"""Harmful cases: windows with labelled or injected harm, the change elsewhere, and streams full of harm."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from bench.cases import SEED, SPACING, Case, Moment, Truth, between, change, policy, quiet_moments
from bench.data import Service, milliseconds, telemetry

WEEK_MS = 7 * 86_400_000
# Copies of real windows are laid one after the other from here on, each shifted by whole weeks, so that the hour of the
# day and the day of the week stay true and no two copies of one window stand side by side as each other's control.
COPIES_FROM_MS = milliseconds("2001-01-01T00:00:00Z")
# Rows of history of a copy: two weeks at one a minute, which is all that the public series have.
WHOLE = 20_160
ONSET_AFTER = 5
REPEATED_SAMPLES = 20
SILENT_SAMPLES = 30
HARMS = ("+25%", "+50%", "+100%", "-50%", "ramp", "zero", "null", "absent")
_FACTOR = {"+10%": 1.1, "+25%": 1.25, "+50%": 1.5, "+100%": 2.0, "-25%": 0.75, "-50%": 0.5, "zero": 0.0}


def labelled_moments(services: Sequence[Service], *, lead: int = 4) -> list[Moment]:
    """A change `lead` rows before each labelled onset that 60 rows without a label precede."""
    return [
        Moment(service, onset - 1 - lead)
        for service in services
        for onset in service.onsets()
        if onset > SPACING + lead and not service.labels[onset - SPACING : onset].any()
    ]


def harmed(service: Service, start: int, harm: str, metrics: Iterable[str] | None = None) -> Service:
    """The service with harm from row `start` on in the named metrics (all if None).

    `+25%`, `-50%` … multiply; `ramp` grows to +50 % over 10 rows; `variance` triples the distance from the median of
    the last 60 rows; `zero` drops to nothing; `null` has no numbers for 30 rows; `absent` is left to the caller, who
    leaves those rows out.
    """
    names = set(service.metrics if metrics is None else metrics)
    changed = dict(service.metrics)
    for name in names:
        values = service.metrics[name].copy()
        tail = values[start:]
        if harm in _FACTOR:
            tail *= _FACTOR[harm]
        elif harm == "ramp":
            tail *= 1 + 0.5 * np.minimum(1.0, np.arange(1, len(tail) + 1) / 10)
        elif harm == "variance":
            middle = np.nanmedian(values[max(0, start - SPACING) : start])
            tail[:] = middle + 3 * (tail - middle)
        elif harm == "null":
            tail[:SILENT_SAMPLES] = np.nan
        elif harm not in {"none", "absent"}:
            known = ", ".join([*_FACTOR, "ramp", "variance", "null", "absent", "none"])
            raise ValueError(f"unknown harm {harm!r}; there are {known}")
        changed[name] = values
    return replace(service, metrics=changed)


def copies(
    name: str,
    moments: Sequence[Moment],
    watch: int,
    *,
    harm: str = "none",
    history: int = WHOLE,
    onset_after: int = ONSET_AFTER,
    touch: Mapping[str, Sequence[str]] | None = None,
    named: Sequence[str] = (),
    elsewhere: Mapping[str, Moment] | None = None,
) -> Case:
    """Each moment as a service of its own, with at most `history` rows before its change and the watch after it.

    The harm begins at the `onset_after`-th row after the change, in the metrics that `touch` names for the moment; harm
    `label` is harm that is in the window already. With `elsewhere` the harm stays where it is and the change goes to
    the moment given there, so that it is harmless.
    """
    changes, truth, services = [], {}, []
    cursor = COPIES_FROM_MS
    for turn, moment in enumerate(moments):
        service = f"{moment.service.name}~{turn}"
        window, index = _window(moment, history, watch)
        shift = -((int(window.times[0]) - cursor) // WEEK_MS) * WEEK_MS
        window = replace(window, name=service, times=window.times + shift)
        start = index + onset_after
        onset: int | None = None if harm == "none" else int(window.times[start])
        made = window if harm == "label" else harmed(window, start, harm, (touch or {}).get(moment.name))
        parts = _without(made, start) if harm == "absent" else [made]
        changed, series = window, moment.service.name
        if elsewhere is not None:
            other, other_index = _window(elsewhere[moment.name], history, watch)
            lag = int(window.times[index]) - int(other.times[other_index])
            changed = replace(other, name=f"{other.name}~{turn}b", times=other.times + lag)
            parts.append(changed)
            index, onset, series = other_index, None, other.name
        if harm in {"null", "absent"}:
            parts.append(_clock(window, index))
        ident = f"{name}/{turn}/{moment.name}"
        record = change(ident, changed.name, between(changed, index))
        changes.append(record)
        felt = harm in {"none", "label", "absent"} or _differ(window, made)
        truth[ident] = Truth(series, window.period_ms, record["time"], onset, moment.name, felt)
        services += parts
        cursor = max(int(part.times[-1]) for part in parts) + watch * window.period_ms
    period_ms = moments[0].service.period_ms
    return Case(
        name, changes, telemetry(services), policy(watch_s=watch * period_ms // 1000, samples=watch, named=named), truth
    )


def _differ(one: Service, other: Service) -> bool:
    return any(not np.array_equal(one.metrics[name], other.metrics[name], equal_nan=True) for name in one.metrics)


def repeated(name: str, moments: Sequence[Moment], watch: int, *, harm: str) -> Case:
    """The same harm again and again in the streams as they are, 20 rows each time, so that the past is full of it."""
    changes, truth = [], {}
    streams = {moment.service.name: moment.service for moment in moments}
    for turn, moment in enumerate(moments):
        stream = streams[moment.service.name]
        start = moment.index + ONSET_AFTER
        stop = start + REPEATED_SAMPLES
        # Harm is worked out on the untouched rows, so that what was put in before does not grow into it.
        made = harmed(moment.service.part(0, stop), start, harm)
        columns = {metric: values.copy() for metric, values in stream.metrics.items()}
        for metric, values in columns.items():
            values[start:stop] = made.metrics[metric][start:stop]
        streams[moment.service.name] = replace(stream, metrics=columns)
        ident = f"{name}/{turn}/{moment.name}"
        record = change(ident, stream.name, between(stream, moment.index))
        changes.append(record)
        onset = int(stream.times[start])
        truth[ident] = Truth(stream.name, stream.period_ms, record["time"], onset, moment.name)
    period_ms = moments[0].service.period_ms
    rules = policy(watch_s=watch * period_ms // 1000, samples=watch)
    return Case(name, changes, telemetry(list(streams.values())), rules, truth)


def _window(moment: Moment, history: int, watch: int) -> tuple[Service, int]:
    first = max(0, moment.index + 1 - history)
    return moment.service.part(first, moment.index + watch + 2), moment.index - first


def _without(service: Service, start: int) -> list[Service]:
    """The service with 30 rows left out altogether."""
    rest = service.part(start + SILENT_SAMPLES, len(service))
    return [service.part(0, start)] + ([rest] if len(rest) else [])


def _clock(window: Service, index: int) -> Service:
    """Another service that keeps reporting around the change, so that time moves on while the first is silent."""
    around = window.part(index - SPACING, len(window))
    steps = np.arange(len(around), dtype=np.float64)
    return replace(around, name=f"{window.name}-neighbour", metrics={"value": 100 + np.sin(steps)})


def elsewhere(moments: Sequence[Moment], services: Sequence[Service], watch: int) -> dict[str, Moment]:
    """For each moment the same moment, or the nearest free of labels, of another service drawn with the seed."""
    rng = np.random.default_rng(SEED)
    quiet: dict[str, list[Moment]] = {}
    for moment in quiet_moments(services, watch):
        quiet.setdefault(moment.service.name, []).append(moment)
    chosen = {}
    for moment in moments:
        others = sorted(name for name in quiet if name != moment.service.name)
        candidates = quiet[others[int(rng.integers(len(others)))]]
        when = int(moment.service.times[moment.index])
        chosen[moment.name] = min(
            candidates, key=lambda other: (abs(int(other.service.times[other.index]) - when), other.index)
        )
    return chosen
