"""Cases to put before haltline: native records plus the truth about each change; here the harmless (placebo) ones.

A case is a function of the data and a fixed seed alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.data import Json, Service, telemetry

SEED = 20_261_121
SPACING = 60


@dataclass(frozen=True)
class Truth:
    """What is known of one change: whose series it was put on, and when its harm began (None: harmless).

    `felt` is whether the harm changed a number at all: half of nothing is nothing.
    """

    series: str
    period_ms: int
    change_ms: int
    onset_ms: int | None
    moment: str
    felt: bool = True


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
