"""Changes, telemetry and evidence with sane defaults: a test names only what it is about."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import log
from typing import Any

import numpy as np

from deploy.change import Change
from deploy.evidence import Finding, Report
from deploy.policy import Policy, parse_policy
from stream.columns import Columns, MetricKind, SeriesKey

#: Noon of some day, Unix ms: the moment of the change in most tests.
NOON = 1_763_726_400_000

#: What each series said: its times (Unix ms) and values.
Recording = dict[SeriesKey, tuple[list[int], list[float]]]
Sample = tuple[SeriesKey, int, float]


def change(identity: str = "c1", **fields: Any) -> Change:
    """A change of checkout in production from v1 to v2 at noon."""
    given: dict[str, Any] = {
        "service": "checkout",
        "environment": "production",
        "time": NOON,
        "version": "v2",
        "previous_version": "v1",
    }
    return Change(id=identity, **(given | fields))


def policy(text: str = "mode: enforce") -> Policy:
    """The policy in this YAML text."""
    return parse_policy("version: 1\n" + text)[0]


def key(metric: str = "latency", **fields: Any) -> SeriesKey:
    given: dict[str, Any] = {
        "service": "checkout",
        "environment": "production",
        "attributes": (),
        "version": "v1",
        "instance": "p0",
    }
    return SeriesKey(metric=metric, **(given | fields))


def shop(
    *,
    seconds: int = 150,
    before: int = 120,
    instances: int = 4,
    canary: int = 1,
    harm_after: int | None = 3,
    service: str = "checkout",
    environment: str = "production",
    period: int = 1_000,
    moment: int = NOON,
    starts_after: int = 2,
    jitter: float = 0.0,
    phases: bool = False,
    gaps: float = 0.0,
    kind: MetricKind = MetricKind.DELTA,
    versions: tuple[str, str] = ("v1", "v2"),
    harm: float = 0.3,
    seed: int = 0,
) -> Recording:
    """Several instances that report requests, errors and a p99, of which `canary` are replaced at `moment`.

    `before` of the `seconds` samples lie before the moment. The new instances fail in `harm` of their requests from
    `harm_after` samples after the moment on; None is a harmless change. `jitter` is a share of the period.
    """
    rng = np.random.default_rng(seed)
    recording: Recording = {}
    start = moment - before * period
    for number in range(instances):
        offset = int(rng.integers(0, period)) if phases else 0
        totals = {"http.server.requests": 0.0, "http.server.errors": 0.0}
        for i in range(seconds):
            new = number < canary and i >= before + starts_after
            if i == before + starts_after and number < canary:
                totals = dict.fromkeys(totals, 0.0)
            bad = new and harm_after is not None and i > before + harm_after
            requests = int(rng.poisson(40))
            errors = int(rng.binomial(requests, harm if bad else 0.003))
            said = {
                "http.server.requests": float(requests),
                "http.server.errors": float(errors),
                "http.server.duration.p99": float(rng.lognormal(-1.5, 0.1)),
            }
            wobble = int(rng.uniform(-jitter, jitter) * period)
            if rng.random() < gaps:
                continue
            for metric, value in said.items():
                counter = metric in totals
                if counter and kind is MetricKind.CUMULATIVE:
                    totals[metric] += value
                    value = totals[metric]
                one = SeriesKey(
                    service=service,
                    environment=environment,
                    metric=metric,
                    attributes=(),
                    version=versions[1] if new else versions[0],
                    instance=f"p{number}" + ("n" if new else ""),
                    kind=kind if counter else MetricKind.GAUGE,
                )
                times, values = recording.setdefault(one, ([], []))
                times.append(start + i * period + offset + wobble)
                values.append(value)
    return recording


def gauges(
    values: Mapping[str, Iterable[float]], *, start: int = NOON, period: int = 60_000, **fields: Any
) -> Recording:
    """One series without version or instance a metric, NaN where there is no sample."""
    recording: Recording = {}
    for metric, said in values.items():
        series = list(said)
        there = [i for i, value in enumerate(series) if value == value]
        one = key(metric, **({"version": "", "instance": ""} | fields))
        recording[one] = ([start + i * period for i in there], [float(series[i]) for i in there])
    return recording


def samples(recording: Recording) -> list[Sample]:
    """Every sample in the order of time."""
    found = [(one, t, v) for one, (times, values) in recording.items() for t, v in zip(times, values, strict=True)]
    return sorted(found, key=lambda sample: (sample[1], sample[0]))


def columns(said: Recording | Iterable[Sample], arrived: int | None = None) -> Columns:
    """Samples as one block of columns, in the order given."""
    listed = samples(said) if isinstance(said, dict) else list(said)
    keys = tuple(sorted({sample[0] for sample in listed}))
    places = {one: place for place, one in enumerate(keys)}
    return Columns(
        keys=keys,
        series=np.array([places[sample[0]] for sample in listed], np.int32),
        times=np.array([sample[1] for sample in listed], np.int64),
        values=np.array([sample[2] for sample in listed], np.float64),
        arrived=arrived,
    )


def objects(recording: Recording) -> Iterator[dict[str, Any]]:
    """The native telemetry records: one object a series."""
    for one, (times, values) in recording.items():
        yield telemetry_object(one, times, values)


def telemetry_object(one: SeriesKey, times: list[int], values: list[float]) -> dict[str, Any]:
    resource = {
        "service.name": one.service,
        "service.version": one.version,
        "service.instance.id": one.instance,
        "deployment.environment.name": one.environment,
    }
    metric = {"name": one.metric, "kind": one.kind.value, "attributes": dict(one.attributes)}
    return {
        "resource": {name: value for name, value in resource.items() if value},
        "metrics": [metric | {"times": times, "values": values}],
    }


def finding(log_p: float = -20.0, **fields: Any) -> Finding:
    given: dict[str, Any] = {
        "service": "checkout",
        "metric": "error_ratio",
        "control": "concurrent",
        "log_e": -log_p,
        "effect": 0.04,
        "samples": 300,
        "reason": "error_ratio 0.042 > 0.002",
    }
    return Finding(log_p=log_p, **(given | fields))


def report(
    identity: str = "c1", log_p: float = -20.0, *, after: int = 60_000, control: str = "concurrent", **fields: Any
) -> Report:
    """Evidence for a change, `after` ms after noon; harmful by default, calm with a `log_p` of 0."""
    given: dict[str, Any] = {
        "service": "checkout",
        "environment": "production",
        "time": NOON + after,
        "families": {control: log_p},
        "tests": 3,
        "looks": after // 1_000,
        "findings": (finding(log_p, control=control),) if log_p < log(0.05) else (),
    }
    return Report(change=identity, log_p=log_p, **(given | fields))
