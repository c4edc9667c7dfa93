"""Histograms as a Collector sends them, from their bytes to a freeze: what the policy asks of them is judged."""

from __future__ import annotations

import numpy as np
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from deploy.freeze import Freeze, Mode
from deploy.policy import Effect, Guardrail, Policy
from deploy.verdict import Verdict
from stream.histograms import Histograms, asked_of
from stream.pipeline import Pipeline
from stream.series_ids import SeriesIds
from stream.wire.telemetry import decode_telemetry
from tests.factories import NOON, change

STEP_MS = 10_000
BEFORE, AFTER = 150, 12
BOUNDS = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5]
METRIC = "http.server.request.duration"
SLOW = Guardrail(name="slow", errors=f"{METRIC}.over_0.5", over=f"{METRIC}.count", harm="up")
P99 = Guardrail(name="p99", value=f"{METRIC}.p99", harm="up", least_effect=Effect(0.1, relative=True))


def message(step: int, version: str, instance: str, counts: np.ndarray, total: float) -> bytes:
    """What one instance has counted so far, as an SDK exports it."""
    request = ExportMetricsServiceRequest()
    block = request.resource_metrics.add()
    names = {"service.name": "checkout", "service.version": version, "service.instance.id": instance}
    for name, text in (names | {"deployment.environment.name": "production"}).items():
        block.resource.attributes.add(key=name).value.string_value = text
    metric = block.scope_metrics.add().metrics.add(name=METRIC, unit="s")
    metric.histogram.aggregation_temporality = 2
    metric.histogram.data_points.add(
        time_unix_nano=(NOON + step * STEP_MS) * 1_000_000, start_time_unix_nano=NOON * 1_000_000, sum=total,
        count=int(counts.sum()), bucket_counts=counts.tolist(), explicit_bounds=BOUNDS,
    )  # fmt: skip
    return request.SerializeToString()


def frozen(policy: Policy, slower: float) -> list[str]:
    """The changes that were frozen when the new version's latencies are so many times those of the old."""
    rng = np.random.default_rng(1)
    asked = asked_of([policy])
    ids = SeriesIds(buckets_of=asked)
    histograms, pipeline = Histograms(ids, asked), Pipeline(policy)
    counted = {name: (np.zeros(len(BOUNDS) + 1, np.int64), 0.0) for name in ("a", "b", "c", "d")}
    said: list[Freeze | Verdict] = []
    for step in range(1, BEFORE + AFTER):
        if step == BEFORE:
            said += pipeline.change(change(time=NOON + step * STEP_MS - 1, version="v2", previous_version="v1"))
        for name, (counts, total) in counted.items():
            new = name == "d" and step >= BEFORE
            latencies = rng.lognormal(-2.5, 0.8, 300) * (slower if new else 1.0)
            counts = counts + np.histogram(latencies, [0.0, *BOUNDS, np.inf])[0]
            counted[name] = counts, total + latencies.sum()
            value = message(step, "v2" if new else "v1", f"{name}2" if new else name, *counted[name])
            said += pipeline.telemetry(histograms.derive(decode_telemetry("otlp_metrics", value, {}, ids)))
    return [one.caused_by for one in said if isinstance(one, Freeze)]


@pytest.mark.parametrize("rail", [SLOW, P99], ids=["over a bound", "a quantile"])
def test_a_slower_version_is_frozen_and_one_that_is_as_fast_is_not(rail: Guardrail) -> None:
    policy = Policy(mode=Mode.ENFORCE, guardrails=(rail,))
    assert len(frozen(policy, slower=4.0)) == 1
    assert frozen(policy, slower=1.0) == []
