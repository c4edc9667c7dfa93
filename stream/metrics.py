"""The worker's Prometheus metrics: what it froze, how fast, how far behind it is.

Base units, names after the Prometheus naming practice, and no label whose values a producer could invent without end:
change ids travel as exemplars, services stay in the records.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeAlias
from wsgiref.simple_server import WSGIServer

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
    make_wsgi_app,
    start_http_server,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from deploy.freeze import Freeze
from deploy.scope import parse_matcher

if TYPE_CHECKING:
    from threading import Thread
    from wsgiref.types import StartResponse, WSGIEnvironment

FreezeTimes: TypeAlias = tuple[int | str, str, str, int, int]
"""Level, mode, environment, starts_at and ends_at (Unix milliseconds, the end excluded) of one freeze."""

LEVELS = ("L1", "L2", "L3", "manual")
MODES = ("enforce", "observe")
STATES = ("warming", "healthy", "inconclusive", "harmful")
VERBS = ("freeze", "unfreeze", "approve", "refuse", "withdraw", "force", "disable")
REASONS = ("syntax", "type", "value", "time", "size", "empty", "format")
#: What became of a snapshot: written or not; restored, not as it was written, or not to be had.
OUTCOMES = ("written", "failed", "restored", "refused", "unread")
OTHER = "other"
ANY = "any"
NONE = "none"

DECISION_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
AGE_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900)

# Environments come from changes, that is from outside; a real estate has a handful.
MOST_ENVIRONMENTS = 64
# OpenMetrics allows 128 characters for an exemplar's names and values together.
LONGEST_EXEMPLAR = 128


class ActiveFreezes(Collector):
    """Count the freezes in force at the moment of the scrape, so that expiry needs no event.

    A combination once seen stays as 0: an alert then resolves on a number and not on a series that went missing, which
    a failed scrape looks like too.
    """

    def __init__(self, freezes: Callable[[], Iterable[FreezeTimes]], clock: Callable[[], float]) -> None:
        self._freezes = freezes
        self._clock = clock
        self._seen: set[tuple[str, str, str]] = set()
        self._environments: set[str] = set()

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Name the metric without asking for freezes, which may not be loaded yet."""
        yield self._family()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Give one gauge of the freezes whose time holds the clock's now."""
        now_ms = self._clock() * 1000
        active = dict.fromkeys(self._seen, 0)
        for level, mode, environment, starts_at_ms, ends_at_ms in tuple(self._freezes()):
            key = (level_label(level), _known(mode, MODES), self._environment(environment))
            active[key] = active.get(key, 0) + (starts_at_ms <= now_ms < ends_at_ms)
        self._seen.update(active)
        family = self._family()
        for key, count in sorted(active.items()):
            family.add_metric(key, count)
        yield family

    def _environment(self, name: str) -> str:
        if name not in self._environments and len(self._environments) >= MOST_ENVIRONMENTS:
            return OTHER
        self._environments.add(name)
        return name

    @staticmethod
    def _family() -> GaugeMetricFamily:
        return GaugeMetricFamily(
            "haltline_freezes_active", "Freezes in force now.", labels=("level", "mode", "environment")
        )


class Metrics:
    """All metrics of one worker process; create it once and call it where things happen.

    Every method is bookkeeping in memory (a microsecond or two). `freezes` is called from the scrape's thread and must
    give a snapshot, such as a tuple made in one step from a dictionary's values; `clock` gives Unix seconds.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        version: str = "unknown",
        topics: Iterable[str] = (),
        freezes: Callable[[], Iterable[FreezeTimes]] = tuple,
        clock: Callable[[], float] = time.time,
    ) -> None:
        # Each `_created` sample would be one more series for nothing that anybody here asks.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library leaves this one function untyped
        self.registry = registry
        self._clock = clock
        Info("haltline_build", "Version of this worker.", registry=registry).info({"version": version})
        ProcessCollector(registry=registry)
        registry.register(ActiveFreezes(freezes, clock))
        self._freezes = Counter("haltline_freezes", "Freezes made.", ("level", "mode"), registry=registry)
        self._verdicts = Counter("haltline_verdicts", "Verdicts by state entered.", ("state",), registry=registry)
        self._holds = Counter(
            "haltline_holds", "Changes for which new starts began to wait some seconds.", ("mode",), registry=registry
        )
        self._decision = Histogram(
            "haltline_decision_seconds",
            "From the arrival of the deciding sample to the durable freeze.",
            buckets=DECISION_BUCKETS,
            registry=registry,
        )
        self._age = Histogram(
            "haltline_sample_age_seconds",
            "From the event time of the deciding sample to the durable freeze.",
            buckets=AGE_BUCKETS,
            registry=registry,
        )
        self._lag_seconds = Gauge(
            "haltline_lag_seconds", "Age of the oldest record not yet read.", ("topic",), registry=registry
        )
        self._lag_records = Gauge("haltline_lag_records", "Records not yet read.", ("topic",), registry=registry)
        self._dead = Counter(
            "haltline_dead_letters", "Records that could not be read.", ("topic", "reason"), registry=registry
        )
        self._last = Gauge(
            "haltline_last_message_timestamp_seconds", "When the last record arrived.", ("topic",), registry=registry
        )
        self._series = Gauge("haltline_series", "Series that have state here.", registry=registry)
        self._refused_series = Counter(
            "haltline_series_refused", "Series not read: their service has too many.", ("service",), registry=registry
        )
        self._points = Counter("haltline_points", "Telemetry samples read.", registry=registry)
        self._watched = Gauge("haltline_changes_watched", "Changes under watch.", registry=registry)
        self._snapshots = Counter(
            "haltline_snapshots", "Snapshots of partitions by what became of them.", ("outcome",), registry=registry
        )
        self._snapshot_bytes = Gauge("haltline_snapshot_bytes", "Bytes of the latest snapshot.", registry=registry)
        self._orders = Counter("haltline_orders", "Operator orders obeyed.", ("verb",), registry=registry)
        self._policy = Info("haltline_policy", "The latest policy that this worker heard of.", registry=registry)
        self._start_at_zero(topics)

    def _start_at_zero(self, topics: Iterable[str]) -> None:
        """Create the known label values, because `increase()` cannot see a counter's first step out of nothing."""
        for level in LEVELS:
            for mode in MODES:
                self._freezes.labels(level, mode)
        for mode in MODES:
            self._holds.labels(mode)
        for state in STATES:
            self._verdicts.labels(state)
        for verb in VERBS:
            self._orders.labels(verb)
        for outcome in OUTCOMES:
            self._snapshots.labels(outcome)
        for topic in topics:
            for reason in (*REASONS, OTHER):
                self._dead.labels(topic, reason)

    def froze(
        self,
        level: int | str,
        mode: str,
        *,
        change: str | None = None,
        decision_seconds: float | None = None,
        sample_age_seconds: float | None = None,
    ) -> None:
        """Count one new freeze, once its record is durable; a person's freeze has no durations."""
        self._freezes.labels(level_label(level), _known(mode, MODES)).inc()
        exemplar = {"change_id": change} if change and len("change_id" + change) <= LONGEST_EXEMPLAR else None
        for histogram, seconds in ((self._decision, decision_seconds), (self._age, sample_age_seconds)):
            if seconds is not None and math.isfinite(seconds):
                # A producer's clock may run ahead of ours; a negative duration would only bend the sum.
                histogram.observe(max(seconds, 0.0), exemplar)

    def verdict(self, state: str) -> None:
        """Count one verdict that entered `state`."""
        self._verdicts.labels(_known(state, STATES)).inc()

    def held(self, mode: str) -> None:
        """Count one change for which new starts began to wait, or in observe mode would have."""
        self._holds.labels(_known(mode, MODES)).inc()

    def message(self, topic: str) -> None:
        """Note that a record of `topic` arrived now."""
        self._last.labels(topic).set(self._clock())

    def refused_series(self, service: str, count: int) -> None:
        """Count series that are one too many for their service."""
        self._refused_series.labels(service).inc(count)

    def points(self, count: int) -> None:
        """Count telemetry samples; call it once a record, not once a sample."""
        self._points.inc(count)

    def lag(self, topic: str, *, records: int, seconds: float) -> None:
        """Set how far this worker is behind on its partitions of `topic`; seconds of the worst partition."""
        self._lag_records.labels(topic).set(records)
        self._lag_seconds.labels(topic).set(max(seconds, 0.0))

    def dead_letter(self, topic: str, reason: str) -> None:
        """Count one record sent to the dead-letter topic, by `Unreadable.kind`; anything else counts as other."""
        self._dead.labels(topic, _known(reason, REASONS)).inc()

    def order(self, verb: str) -> None:
        """Count one operator order that was obeyed."""
        self._orders.labels(_known(verb, VERBS)).inc()

    def snapshot(self, outcome: str, size: int | None = None) -> None:
        """Count one snapshot that was written, or restored, or not; `size` is its bytes on the topic."""
        self._snapshots.labels(_known(outcome, OUTCOMES)).inc()
        if size is not None:
            self._snapshot_bytes.set(size)

    def policy(self, identity: str) -> None:
        """Note the policy for changes to come."""
        self._policy.info({"policy": identity})

    def series(self, count: int) -> None:
        """Set the number of series with state in this worker."""
        self._series.set(count)

    def watched(self, count: int) -> None:
        """Set the number of changes under watch."""
        self._watched.set(count)

    def serve(
        self, port: int, addr: str = "127.0.0.1", *, healthy: Callable[[], str | None] = lambda: None
    ) -> MetricsServer:
        """Serve /metrics and /healthz from prometheus_client's own thread; port 0 takes a free one.

        `healthy` gives None or, in words, why this process should be restarted. Raises OSError when the port is taken.
        """
        server, thread = start_http_server(port, addr, self.registry)
        server.set_app(_routes(self.registry, healthy))
        return MetricsServer(server, thread)


class MetricsServer:
    """The running HTTP server of the metrics."""

    def __init__(self, server: WSGIServer, thread: Thread) -> None:
        self._server = server
        self._thread = thread
        self.port: int = server.server_port

    def close(self) -> None:
        """Stop answering and free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def freeze_times(freeze: Freeze) -> FreezeTimes:
    """Reduce a freeze to what its gauge needs; one that no change caused counts as manual.

    >>> freeze_times(Freeze(id="fz-1", matchers=('service="cart"',), starts_at=0, ends_at=9, caused_by="cart-7"))
    (1, 'enforce', 'any', 0, 9)
    """
    named = {matcher.name: matcher.value for matcher in map(parse_matcher, freeze.matchers) if matcher.operator == "="}
    level = freeze.level if freeze.caused_by else "manual"
    return level, freeze.mode.value, named.get("environment", ANY) or NONE, freeze.starts_at, freeze.ends_at


def level_label(level: int | str) -> str:
    """Write a freeze's level as its label.

    >>> level_label(2), level_label("L3"), level_label("manual"), level_label(17)
    ('L2', 'L3', 'manual', 'other')
    """
    return _known(f"L{level}" if isinstance(level, int) else level, LEVELS)


def _known(value: str, allowed: tuple[str, ...]) -> str:
    return value if value in allowed else OTHER


def _routes(
    registry: CollectorRegistry, healthy: Callable[[], str | None]
) -> Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]:
    """Answer /metrics and /healthz only; the library's own application answers every path with the metrics."""
    metrics = make_wsgi_app(registry)

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO")
        if path == "/metrics":
            answered: Iterable[bytes] = metrics(environ, start_response)
            return answered
        if path == "/healthz":
            reason = healthy()
            status, body = ("200 OK", "ok") if reason is None else ("503 Service Unavailable", reason)
        else:
            status, body = "404 Not Found", "not found; /metrics and /healthz are here"
        start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
        return [f"{body}\n".encode()]

    return answer
