"""Young services: judged as one thing by what others showed, unless something old runs beside the new."""

from __future__ import annotations

import numpy as np
import pytest

from deploy.evidence import Report
from stream.watch import Watch
from tests.factories import NOON, Recording, change, columns, gauges, policy, samples

MINUTE = 60_000
AFTER = 15
RULES = """watch: {at_least: 15m, samples: 15}
guardrails:
  - {name: success, value: success, harm: down}
  - {name: latency, value: latency, harm: up}
  - {name: cpu, value: cpu, harm: up}
"""
OTHERS = ("cart", "mail", "news", "stock", "tax", "web")


def said(rng: np.random.Generator, before: int, wave: float, **fields: str) -> Recording:
    """Three metrics a minute, `before` noon and after it; `wave` spreads all of them from noon on."""
    count = before + AFTER
    out = np.where(np.arange(count) < before, 0.0, wave)
    values = {
        "success": 99.0 - rng.exponential(0.5, count) - 20.0 * out,
        "latency": rng.lognormal(0.0, 0.1, count) * (1.0 + out),
        "cpu": rng.normal(1.0, 0.1, count) + out,
    }
    return gauges(values, start=NOON - before * MINUTE, period=MINUTE, **fields)


def fleet(*, instances: int, wave: float, before: int = 40) -> Recording:
    """Services with so many samples; those of checkout come by instance where there are several."""
    rng = np.random.default_rng(3)
    recording: Recording = {}
    for name in OTHERS:
        recording |= said(rng, before, 0.0, service=name)
    if instances == 1:
        return recording | said(rng, before, wave)
    for number in range(instances):
        recording |= said(rng, before, wave, version="v1", instance=f"p{number}")
    return recording | said(rng, 0, wave, version="v2", instance="new")


def metrics(recording: Recording, version: str) -> dict[str, Report]:
    """The last report that names each metric."""
    watch = Watch(policy(RULES))
    found = watch.change(change(version=version, previous_version=""))
    found += watch.telemetry(columns(samples(recording)), span=0) + watch.finish()
    return {finding.metric: report for report in found for finding in report.findings if report.service == "checkout"}


def test_all_metrics_of_a_young_service_are_judged_as_one() -> None:
    found = metrics(fleet(instances=1, wave=0.6), version="")
    assert found["together"].log_p < -4.0
    assert "together" not in metrics(fleet(instances=1, wave=0.0), version="")


@pytest.mark.parametrize("before", [4, 8])
def test_with_too_few_samples_nothing_is_said(before: int) -> None:
    assert metrics(fleet(instances=1, wave=0.6, before=before), version="") == {}


def test_what_comes_over_old_and_new_alike_is_not_held_against_it_by_what_others_showed() -> None:
    assert "together" not in metrics(fleet(instances=3, wave=0.6), version="v2")
