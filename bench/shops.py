"""Simulated shops: services that call each other, overlapping changes, at most one of them guilty, harm that spreads.

The noise of latency and CPU is drawn in blocks from the fault-free hours of Nezha's pods; what fails, how releases go
and how harm spreads to callers are assumptions, each with its number in this file. A seed gives a shop byte for byte.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bench.data import Floats, milliseconds, nezha
from deploy.change import Change, Kind, Phase, Rollout
from stream.columns import Columns, SeriesKey

PERIOD_MS = 60_000
START_MS = milliseconds("2026-03-02T08:00:00Z")
OLD = 3
SUCCESS, SEEN = "rpc.server.success_rate", "rpc.client.success_rate"
LATENCY, CPU = "rpc.server.duration.p90", "process.cpu.utilization"
#: The policy of both benches: three named guardrails; CPU is judged with the rest.
GUARDRAILS = (
    {"name": "success", "value": SUCCESS, "harm": "down", "least_effect": 2},
    {"name": "success_seen", "value": SEEN, "harm": "down", "least_effect": 2},
    {"name": "latency", "value": LATENCY, "harm": "up", "least_effect": "10%"},
)


@dataclass(frozen=True)
class Shop:
    """Services in layers, callers first; `calls` with how likely a call is needed and how much of its time it waits."""

    calls: Mapping[str, Mapping[str, tuple[float, float]]]

    @property
    def services(self) -> list[str]:
        return list(self.calls)

    def callers(self, service: str) -> list[str]:
        return [name for name, called in self.calls.items() if service in called]

    def below(self, service: str) -> set[str]:
        """Every service that this one depends on, near or far."""
        found: set[str] = set()
        left = [service]
        while left:
            for called in self.calls[left.pop()]:
                if called not in found:
                    found.add(called)
                    left.append(called)
        return found

    def above(self, service: str) -> set[str]:
        return {name for name in self.calls if service in self.below(name)}


@dataclass(frozen=True)
class Harm:
    """What goes wrong from minute `at` on: points of success lost, factors of latency and CPU; `hidden` where the pod
    itself reports nothing of it. `suffers` names the services that it shows in, where that is not the changed one."""

    at: int
    points: float = 0.0
    latency: float = 1.0
    cpu: float = 1.0
    hidden: bool = False
    suffers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Release:
    """One change as it is carried out: `canary` and `rolling` bring new pods of a new version, `never` and `idle` new
    pods that do not report, or get no traffic; `flag` turns something on for `shares` of the requests of all pods."""

    id: str
    service: str
    minute: int
    how: str
    pods: int = 1
    harm: Harm | None = None
    shares: tuple[tuple[int, float], ...] = ((0, 1.0),)
    names_instances: bool = False
    start_up: int = 1


@dataclass(frozen=True, eq=False)
class Incident:
    """What replay is given, and the truth: who is guilty (None: nobody), of what, and since when."""

    name: str
    changes: tuple[Change, ...]
    columns: Columns
    calls: Mapping[str, tuple[str, ...]]
    guilty: str | None
    kind: str
    size: float
    onset_ms: int | None
    started_ms: Mapping[str, int] = field(default_factory=dict)


@functools.cache
def noise() -> dict[str, list[Floats]]:
    """Logarithm over a rolling median of 31 minutes, fault-free hours only: one array a pod, float64[minutes]."""
    pods, faults = nezha.load("onlineboutique")
    found: dict[str, list[Floats]] = {}
    for metric, column in ((LATENCY, "PodServerLatencyP90(s)"), (CPU, "CpuUsage(m)")):
        rows = found[metric] = []
        for pod in pods:
            if pod.instance is None or column not in pod.metrics:
                continue
            last = max((fault.time_ms for fault in faults if fault.time_ms <= int(pod.times[-1])), default=0)
            x = pod.metrics[column][pod.times > last + 600_000]
            x = x[np.isfinite(x) & (x > 0)]
            if x.size > 400:
                y = np.log(x)
                rows.append(y - np.array([np.median(y[max(0, i - 15) : i + 16]) for i in range(y.size)]))
    return found


def shop(rng: np.random.Generator, services: int, layers: int = 4) -> Shop:
    """A random layered shop: each service but the last layer's calls one to three of the layers below."""
    cuts = np.sort(rng.choice(np.arange(1, services), layers - 1, replace=False))
    layer = np.searchsorted(cuts, np.arange(services), side="right")
    calls: dict[str, dict[str, tuple[float, float]]] = {f"s{i:02d}": {} for i in range(services)}
    for i in range(services):
        deeper = np.flatnonzero(layer > layer[i])
        if deeper.size:
            nearer = np.where(layer[deeper] == layer[i] + 1, 4.0, 1.0)
            many = min(int(rng.integers(1, 4)), deeper.size)
            for j in rng.choice(deeper, many, replace=False, p=nearer / nearer.sum()):
                calls[f"s{i:02d}"][f"s{j:02d}"] = (float(rng.uniform(0.3, 0.9)), float(rng.uniform(0.2, 0.6)))
        if i and layer[i] and not any(f"s{i:02d}" in called for called in calls.values()):
            above = int(rng.choice(np.flatnonzero(layer < layer[i])))
            calls[f"s{above:02d}"][f"s{i:02d}"] = (float(rng.uniform(0.3, 0.9)), float(rng.uniform(0.2, 0.6)))
    return Shop(calls)


class _Pods:
    """The pods of one service: when each lives, and what it shows by itself."""

    def __init__(self, rng: np.random.Generator, service: str, minutes: int, release: list[Release]) -> None:
        self.names = [f"{service}-v1-{i}" for i in range(OLD)]
        self.versions = ["v1"] * OLD
        life = [np.ones(minutes, bool) for _ in range(OLD)]
        self.traffic = [np.ones(minutes, bool) for _ in range(OLD)]
        self.new: dict[str, list[int]] = {}
        for one in release:
            if one.how == "flag":
                continue
            self.new[one.id] = []
            for number in range(one.pods):
                begin = one.minute + one.start_up + (number * 2 if one.how == "rolling" else 0)
                alive = np.arange(minutes) >= begin
                self.names.append(f"{service}-{one.id}-{number}")
                self.versions.append(one.id)
                life.append(alive if one.how != "never" else np.zeros(minutes, bool))
                self.traffic.append(alive if one.how in ("canary", "rolling") else np.zeros(minutes, bool))
                self.new[one.id].append(len(self.names) - 1)
                if one.how == "rolling" and number < OLD:
                    life[number] = life[number] & ~alive
                    self.traffic[number] = life[number]
        self.life = np.column_stack(life)
        self.served = np.column_stack(self.traffic) & self.life
        shape = self.life.shape
        self.failing = np.zeros(shape)
        self.hidden = np.zeros(shape)
        self.slow = np.ones(shape)
        self.busy = np.ones(shape)
        # Requests fail now and then; most samples are exactly 100.
        dips = rng.random(shape) < 0.003
        self.failing[dips] += rng.uniform(0.5, 4.0, int(dips.sum()))
        for i in range(shape[1]):
            # An instance in 20 has, in an hour, one to three bad minutes; half of the time all of them have.
            for _ in range(rng.poisson(0.05 * minutes / 60)):
                at, length = int(rng.integers(minutes)), int(rng.integers(1, 4))
                who = slice(None) if rng.random() < 0.5 else slice(i, i + 1)
                self.failing[at : at + length, who] += rng.uniform(2.0, 20.0)
                self.slow[at : at + length, who] *= rng.uniform(1.5, 4.0)

    def release(self, rng: np.random.Generator, one: Release) -> None:
        """Warm-up of its new pods, and its harm."""
        for i in self.new.get(one.id, ()):
            born = int(np.argmax(self.life[:, i])) if self.life[:, i].any() else len(self.life)
            self.slow[born : born + 3, i] *= rng.uniform(1.0, 3.0)
            self.busy[born : born + 3, i] *= rng.uniform(1.0, 2.5)
            self.failing[born : born + 2, i] += rng.uniform(0.0, 10.0) * (rng.random() < 0.3)
        if one.harm is not None and not one.harm.suffers:
            self.harm(one, one.harm, self.new.get(one.id, range(self.life.shape[1])))

    def harm(self, one: Release, harm: Harm, pods: Iterable[int]) -> None:
        """The harm of a release in these pods, by its share."""
        minute = np.arange(len(self.life))
        share = np.zeros(len(minute))
        for since, part in one.shares:
            share[minute >= one.minute + since] = part
        share[minute < harm.at] = 0.0
        for i in pods:
            (self.hidden if harm.hidden else self.failing)[:, i] += harm.points * share
            self.slow[:, i] *= 1.0 + (harm.latency - 1.0) * share
            self.busy[:, i] *= 1.0 + (harm.cpu - 1.0) * share


@dataclass
class Outside:
    """What goes wrong though nobody changed it: in one service, or everywhere (`service` None), from minute `at` on."""

    at: int
    minutes: int
    service: str | None = None
    points: float = 0.0
    latency: float = 1.0


def incident(
    rng: np.random.Generator, name: str, place: Shop, releases: Sequence[Release], minutes: int,
    *, guilty: str | None, kind: str, size: float = 0.0, outside: Outside | None = None,
) -> Incident:  # fmt: skip
    """Carry out the releases and record what every service shows, one sample a minute and metric."""
    pods = {
        service: _Pods(rng, service, minutes, [one for one in releases if one.service == service])
        for service in place.services
    }
    for one in releases:
        pods[one.service].release(rng, one)
        if one.harm is not None:
            for service in one.harm.suffers:
                pods[service].harm(one, one.harm, range(OLD))
    if outside is not None:
        rows = slice(outside.at, outside.at + outside.minutes)
        for service in place.services if outside.service is None else [outside.service]:
            pods[service].failing[rows] += outside.points * rng.uniform(0.7, 1.3)
            pods[service].slow[rows] *= 1.0 + (outside.latency - 1.0) * rng.uniform(0.7, 1.3)
    whole = _spread(place, pods)
    recorder = _Recorder(rng, minutes)
    for service in place.services:
        _record(recorder, rng, place, service, pods[service], whole[service])
    by_id = {one.id: one for one in releases}
    harm = by_id[guilty].harm if guilty else None
    onset = START_MS + harm.at * PERIOD_MS if harm else START_MS + by_id[guilty].minute * PERIOD_MS if guilty else None
    return Incident(
        name,
        tuple(record for one in releases for record in _records(one, pods[one.service])),
        recorder.columns(),
        {service: tuple(called) for service, called in place.calls.items()},
        guilty,
        kind,
        size,
        onset,
        {one.id: START_MS + one.minute * PERIOD_MS for one in releases},
    )


def _spread(place: Shop, pods: Mapping[str, _Pods]) -> dict[str, Floats]:
    """Failures and waiting go up to the callers, callees first; points that callers see fail, float64[minutes]."""
    whole: dict[str, Floats] = {}
    slower: dict[str, Floats] = {}
    for service in reversed(place.services):
        mine = pods[service]
        below = np.zeros(len(mine.life))
        waiting = np.zeros(len(mine.life))
        for called, (needed, waits) in place.calls[service].items():
            below += needed * whole[called]
            waiting += waits * np.minimum(slower[called] - 1.0, 20.0)
        mine.failing = np.clip(mine.failing + below[:, None], 0.0, 100.0)
        mine.slow = mine.slow * (1.0 + waiting[:, None])
        served = np.maximum(mine.served.sum(axis=1), 1)
        total = np.clip(mine.failing + mine.hidden, 0.0, 100.0)
        whole[service] = (total * mine.served).sum(axis=1) / served
        slower[service] = np.maximum((mine.slow * mine.served).sum(axis=1) / served, 1.0)
    return whole


class _Recorder:
    """Samples of many series, each a minute apart with a phase of its own."""

    def __init__(self, rng: np.random.Generator, minutes: int) -> None:
        self._rng, self._minutes = rng, minutes
        self._keys: list[SeriesKey] = []
        self._times: list[np.ndarray] = []
        self._values: list[Floats] = []

    def phase(self) -> int:
        return int(self._rng.integers(1, 59)) * 1_000

    def add(self, key: SeriesKey, phase: int, values: Floats) -> None:
        """float64[minutes], NaN where there is no sample."""
        there = np.flatnonzero(np.isfinite(values))
        if there.size:
            self._keys.append(key)
            self._times.append(START_MS + there * PERIOD_MS + phase)
            self._values.append(values[there])

    def columns(self) -> Columns:
        sizes = [len(times) for times in self._times]
        return Columns(
            keys=tuple(self._keys),
            series=np.repeat(np.arange(len(sizes), dtype=np.int32), sizes),
            times=np.concatenate(self._times).astype(np.int64),
            values=np.concatenate(self._values),
        )


def _record(
    recorder: _Recorder, rng: np.random.Generator, place: Shop, service: str, mine: _Pods, whole: Floats
) -> None:
    minutes, count = mine.life.shape
    seen = np.where(mine.served, np.clip(100.0 - mine.failing, 0.0, 100.0), np.nan)
    lines: dict[str, Floats] = {SUCCESS: seen}
    for metric, factor, apart, usual in ((LATENCY, mine.slow, 0.05, 0.08), (CPU, mine.busy, 0.15, 0.3)):
        rows = noise()[metric]
        source = rows[int(rng.integers(len(rows)))]
        while source.size < minutes + 1:
            source = np.concatenate([source, source[::-1]])
        starts = rng.integers(0, source.size - minutes, count)
        own = np.column_stack([source[start : start + minutes] for start in starts])
        together = np.cumsum(rng.normal(0.0, 0.02, minutes))
        # A load that wanders, and comes back.
        together -= np.linspace(0.0, together[-1], minutes)
        level = usual * rng.lognormal(0.0, 0.7)
        values = level * np.exp(own + together[:, None] + rng.normal(0.0, apart, count)) * factor
        lines[metric] = np.where(mine.served if metric == LATENCY else mine.life, values, np.nan)
    for i, pod in enumerate(mine.names):
        phase = recorder.phase()
        for metric, columns in lines.items():
            key = SeriesKey(service, "production", metric, (), mine.versions[i], pod)
            recorder.add(key, phase, columns[:, i])
    for caller in place.callers(service) or ["users"]:
        # What each caller sees is the whole, but for the requests that happened to be its own.
        luck = np.where(whole > 0.0, rng.normal(1.0, 0.1, minutes), 1.0)
        key = SeriesKey(service, "production", SEEN, (("caller", caller),), "", "")
        recorder.add(key, recorder.phase(), np.clip(100.0 - whole * luck, 0.0, 100.0))


def _records(one: Release, mine: _Pods) -> list[Change]:
    versioned = one.how != "flag"
    first = Change(
        id=one.id,
        service=one.service,
        environment="production",
        time=START_MS + one.minute * PERIOD_MS,
        kind=Kind.CODE if versioned else Kind.FLAG,
        version=one.id if versioned else "",
        previous_version="v1" if versioned else "",
        instances=tuple(mine.names[i] for i in mine.new.get(one.id, ())) if one.names_instances else (),
        rollout=Rollout(strategy=one.how, share=one.shares[0][1] if len(one.shares) > 1 else None),
    )
    later = [
        Change(
            id=one.id,
            service=one.service,
            environment="production",
            time=first.time + since * PERIOD_MS,
            phase=Phase.PROGRESSED,
            kind=first.kind,
            rollout=Rollout(strategy=one.how, share=share),
        )
        for since, share in one.shares[1:]
    ]
    return [first, *later]
