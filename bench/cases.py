"""Cases to put before haltline: harmless (placebo) changes, labelled and injected harm, the change on another service.

A case is native records plus the truth about each of its changes, a function of the data and a fixed seed alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from bench.data import Json, Service, milliseconds, telemetry

SEED = 20_261_121
SPACING = 60
WEEK_MS = 7 * 86_400_000
# Copies of real windows are laid one after the other from here on, each shifted by whole weeks, so that the hour of the
# day and the day of the week stay true and no two copies of one window stand side by side as each other's control.
COPIES_FROM_MS = milliseconds("2001-01-01T00:00:00Z")
ONSET_AFTER = 5
SILENT_SAMPLES = 30
HARMS = ("+25%", "+50%", "+100%", "-50%", "ramp", "zero", "null", "absent")
_FACTOR = {"+10%": 1.1, "+25%": 1.25, "+50%": 1.5, "+100%": 2.0, "-25%": 0.75, "-50%": 0.5, "zero": 0.0}


@dataclass(frozen=True)
class Truth:
    """What is known of one change: whose series it was put on, and when its harm began (None: harmless)."""

    series: str
    period_ms: int
    change_ms: int
    onset_ms: int | None
    moment: str


@dataclass(frozen=True, eq=False)
class Case:
    """Records for one replay, and the truth of each change by its id."""

    name: str
    changes: list[Json]
    telemetry: Iterable[Json]
    policy: Json
    truth: Mapping[str, Truth]


@dataclass(frozen=True, eq=False)
class Moment:
    """A place in a service's telemetry: a change directly after row `index`."""

    service: Service
    index: int

    @property
    def name(self) -> str:
        return f"{self.service.name}@{self.index}"


def change(ident: str, service: str, time_ms: int, *, kind: str = "code", instances: Sequence[str] = ()) -> Json:
    """A native change record in production."""
    record: Json = {
        "id": ident,
        "service": service,
        "environment": "production",
        "phase": "started",
        "time": time_ms,
        "kind": kind,
    }
    return record | {"instances": list(instances)} if instances else record


def policy(
    *,
    watch_s: int,
    samples: int,
    named: Sequence[str] = (),
    calls: Mapping[str, Sequence[str]] | None = None,
) -> Json:
    """An enforcing policy that watches each change for exactly `watch_s` seconds, or `samples` if that is the same."""
    made: Json = {
        "version": 1,
        "mode": "enforce",
        "environments": {"production": {"guarded": True}},
        "watch": {"at_least": f"{watch_s}s", "samples": samples, "at_most": f"{watch_s}s"},
    }
    if calls:
        made["services"] = {name: {"calls": list(callees)} for name, callees in calls.items()}
    if named:
        made["guardrails"] = [{"name": name, "value": name} for name in named]
    return made


def between(service: Service, index: int) -> int:
    """The time of a change after row `index`: half a period later, and before the next row."""
    half = service.period_ms // 2
    following = (
        int(service.times[index + 1]) if index + 1 < len(service) else int(service.times[index]) + service.period_ms
    )
    return int(service.times[index]) + min(half, (following - int(service.times[index])) // 2)


def quiet_moments(services: Sequence[Service], watch: int) -> list[Moment]:
    """Every 60th row (or `watch`-th, if longer) with no label from 60 rows before to 60 rows (or the watch) after it.

    Services begin at different rows, so that harmless changes do not all happen in the same minute.
    """
    after = max(SPACING, watch)
    return [
        Moment(service, index)
        for turn, service in enumerate(services)
        for index in range(SPACING + turn * 7 % SPACING, len(service) - after, after)
        if not service.labels[index - SPACING : index + after + 1].any()
    ]


def placebo(name: str, services: Sequence[Service], watch: int, *, first_row: int = 0) -> list[Case]:
    """Harmless changes in real telemetry, one case for each sampling period; all earlier rows are history."""
    made = []
    for period_ms in sorted({service.period_ms for service in services}):
        alike = [service for service in services if service.period_ms == period_ms]
        changes, truth = [], {}
        for moment in quiet_moments(alike, watch):
            if moment.index < first_row:
                continue
            ident = f"placebo/{moment.name}"
            where = moment.service
            record = change(
                ident, where.name, between(where, moment.index), instances=[where.instance] if where.instance else ()
            )
            changes.append(record)
            truth[ident] = Truth(where.name, period_ms, record["time"], None, moment.name)
        seconds = watch * period_ms // 1000
        made.append(
            Case(
                f"{name}-{period_ms // 1000}s", changes, telemetry(alike), policy(watch_s=seconds, samples=watch), truth
            )
        )
    return made


T = TypeVar("T")


def thin(items: Sequence[T], most: int) -> list[T]:
    """At most `most` of the items, evenly spread.

    >>> thin(range(10), 3)
    [0, 3, 6]
    """
    if len(items) <= most:
        return list(items)
    return [items[i * len(items) // most] for i in range(most)]


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
    history: int = 4_320,
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
        truth[ident] = Truth(series, window.period_ms, record["time"], onset, moment.name)
        services += parts
        cursor = max(int(part.times[-1]) for part in parts) + watch * window.period_ms
    period_ms = moments[0].service.period_ms
    return Case(
        name, changes, telemetry(services), policy(watch_s=watch * period_ms // 1000, samples=watch, named=named), truth
    )


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
