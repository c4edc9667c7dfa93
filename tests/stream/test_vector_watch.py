"""A detector of river that the policy names, on the metrics of a service together."""

from __future__ import annotations

import numpy as np

from deploy.evidence import Report
from stream.watch import Watch
from tests.factories import NOON, change, columns, gauges, policy

FOREST = """
mode: enforce
detectors:
  - {name: forest, river: river.anomaly.HalfSpaceTrees, parameters: {n_trees: 8, height: 6, window_size: 60}}
"""
BEFORE, AFTER = 600, 12


def recording(harm: float, seed: int = 1) -> dict:  # type: ignore[type-arg]
    rng = np.random.default_rng(seed)
    values = {}
    for metric in ("cpu", "latency", "queue"):
        values[metric] = rng.lognormal(2.0, 0.1, BEFORE + AFTER)
        values[metric][BEFORE + 1 :] *= harm
    return gauges(values, start=NOON - BEFORE * 60_000)


def reports(text: str, harm: float, each: int | None = None) -> list[Report]:
    watch = Watch(policy(text))
    said = watch.change(change())
    block = columns(recording(harm))
    if each is None:
        said += watch.telemetry(block, span=0)
    else:
        order = np.argsort(block.times, kind="stable")
        for part in np.array_split(order, len(order) // each):
            said += watch.telemetry(
                type(block)(block.keys, block.series[part], block.times[part], block.values[part]), span=0
            )
    return said + watch.finish()


def test_the_forest_is_one_more_number_with_a_past_of_its_own() -> None:
    with_forest, without = reports(FOREST, 3.0), reports("mode: enforce", 3.0)
    named = {finding.metric for report in with_forest for finding in report.findings}
    assert {"cpu", "latency", "queue"} & named
    assert with_forest[-1].log_p < np.log(0.004) and without[-1].log_p < np.log(0.004)


def test_the_forest_says_its_numbers_where_it_speaks() -> None:
    watch = Watch(policy(FOREST))
    watch.change(change())
    watch.telemetry(columns(recording(3.0)), span=0)
    (service,) = watch._services.values()
    (active,) = service.watches.values()
    (vector,) = active._vectors
    assert vector.ready
    words = [look for (signal, _), look in active._words.items() if signal.metric == "forest"]
    assert words and "river.anomaly.HalfSpaceTrees on 3 metrics" in words[0].describe().reason


def test_a_watch_in_which_the_forest_spoke_ends_like_any_other() -> None:
    ends = FOREST + "watch: {at_least: 8m, samples: 8}\n"
    watch = Watch(policy(ends))
    watch.change(change())
    said = watch.telemetry(columns(recording(3.0)), span=0)
    assert said[-1].ended and said[-1].log_p < np.log(0.004)
    assert watch.watched == 0


def test_without_harm_the_forest_keeps_quiet() -> None:
    assert reports(FOREST, 1.0)[-1].log_p > np.log(0.004)


def test_the_cut_of_the_stream_changes_no_report() -> None:
    assert reports(FOREST, 3.0) == reports(FOREST, 3.0, each=6)


def test_a_detector_for_other_services_is_not_made() -> None:
    watch = Watch(policy(FOREST.replace("name: forest,", "name: forest, services: [cart],")))
    watch.change(change())
    watch.telemetry(columns(recording(3.0)), span=0)
    (service,) = watch._services.values()
    (active,) = service.watches.values()
    assert active._vectors == []
