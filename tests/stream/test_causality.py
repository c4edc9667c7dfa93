"""Causality: whatever happened later, nothing that was said before is said otherwise.

`--until` cuts off the future. The whole way is taken, from files to files: several services that call each other,
instances, counters, late and missing samples, overlapping changes of every phase.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deploy.change import Change, Phase, change_to_object
from stream.columns import MetricKind
from stream.replay import replay
from tests.factories import NOON, Recording, change, gauges, key, objects, policy, shop

RULES = """mode: enforce
watch: {at_least: 20s, samples: 10}
services: {front: {calls: [checkout]}, checkout: {calls: [cart]}}
guardrails: [{name: p99, value: http.server.duration.p99, harm: up, least_effect: 10%}]
"""
SLOW = settings(
    deadline=None, max_examples=12, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
Json = dict[str, Any]


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1_000)


def run(
    folder: Path, telemetry: Iterable[Json], changes: Iterable[Change], rules: str, until: int | None
) -> list[Json]:
    """Every line that replay writes, verdicts first."""
    folder.mkdir(exist_ok=True)
    for name, records in (("changes", map(change_to_object, changes)), ("telemetry", telemetry)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))
    replay([folder / "changes.jsonl"], [folder / "telemetry.jsonl"], folder / "out", policy(rules), until)
    written = [(folder / "out" / name).read_bytes() for name in ("verdicts.jsonl", "freezes.jsonl")]
    return [json.loads(line) for data in written for line in data.splitlines()]


def known_at(lines: Iterable[Json], cut: int) -> list[Json]:
    """What had been said by then. A last verdict is left out: it may say that the input ended."""
    said = (one for one in lines if not one.get("ended"))
    return [one for one in said if ms(one.get("time") or one["starts_at"]) <= cut]


def holds(folder: Path, telemetry: list[Json], changes: list[Change], rules: str, cuts: Iterable[int]) -> int:
    """Check each cut; gives how many lines the whole has."""
    whole = run(folder / "whole", telemetry, changes, rules, None)
    for cut in cuts:
        assert known_at(run(folder / "cut", telemetry, changes, rules, cut), cut) == known_at(whole, cut), cut
    return len(whole)


@st.composite
def happenings(draw: st.DrawFn) -> list[Change]:
    """Changes of several services at any time around noon, some with later phases, named instances or a revert."""
    told: list[Change] = []
    for number in range(draw(st.integers(1, 4))):
        service = draw(st.sampled_from(["checkout", "cart", "front"]))
        at = NOON + draw(st.integers(-20_000, 15_000))
        instances = draw(st.sampled_from([(), ("p1",), ("p0n", "p1")]))
        version = draw(st.sampled_from(["v2", ""]))
        one = change(f"c{number}", service=service, time=at, instances=instances, version=version)
        told.append(one)
        phase = draw(st.sampled_from([None, Phase.PROGRESSED, Phase.FINISHED, Phase.ROLLED_BACK, Phase.FAILED]))
        if phase is not None:
            told.append(change(one.id, service=service, time=at + draw(st.integers(0, 12_000)), phase=phase))
    return told


@given(
    seed=st.integers(0, 2**32 - 1),
    changes=happenings(),
    gaps=st.sampled_from([0.0, 0.1, 0.5]),
    kind=st.sampled_from([MetricKind.DELTA, MetricKind.CUMULATIVE]),
    late=st.booleans(),
    cuts=st.lists(st.integers(-25_000, 32_000), min_size=2, max_size=4),
)
@SLOW
def test_cutting_off_the_future_changes_no_earlier_line(
    tmp_path: Path,
    seed: int,
    changes: list[Change],
    gaps: float,
    kind: MetricKind,
    late: bool,
    cuts: list[int],
) -> None:
    rng = np.random.default_rng(seed)
    said: Recording = {}
    for number, service in enumerate(("checkout", "cart", "front")):
        harm = None if number == 2 else int(rng.integers(0, 15))
        said |= shop(
            service=service, seed=int(rng.integers(2**31)), harm_after=harm, gaps=gaps, kind=kind, phases=True,
            jitter=0.3, canary=number % 2, before=int(rng.integers(30, 130)),
        )  # fmt: skip
    telemetry = list(objects(said))
    if late:
        # Half of the series lay in a buffer, and came in pieces some seconds after they were measured.
        telemetry = [piece for one in telemetry for piece in (held(one) if rng.random() < 0.5 else [one])]
    holds(tmp_path, telemetry, changes, RULES, [NOON + cut for cut in cuts])


def held(one: Json) -> list[Json]:
    """The same samples in pieces of four, each of which arrived three seconds after its last sample."""
    [metric] = one["metrics"]
    pieces = []
    for start in range(0, len(metric["times"]), 4):
        part = {name: metric[name][start : start + 4] for name in ("times", "values")}
        pieces.append(one | {"metrics": [metric | part], "arrived": part["times"][-1] + 3_000})
    return pieces


def test_nor_on_days_of_telemetry_with_seasons_restarts_silence_and_missed_harm(tmp_path: Path) -> None:
    """Two days, a sample a minute: a daily swing, bursts, a nightly job, a collector that was away."""
    minute, rows = 60_000, 2_880
    rng = np.random.default_rng(8)
    clock = np.arange(rows)
    said: Recording = {}
    for service in ("checkout", "cart", "front"):
        swing = 1.0 + 0.4 * np.sin(2 * np.pi * clock / 1_440)
        drift = np.exp(np.convolve(rng.normal(0.0, 0.05, rows), 0.9 ** np.arange(40), "same"))
        latency = 0.2 * swing * drift * rng.lognormal(0.0, 0.1, rows)
        latency[rng.random(rows) < 0.01] *= 8.0
        latency[clock % 1_440 // 5 == 36] *= 3.0
        memory = 100.0 + (clock + int(rng.integers(300))) % 300
        success = 100.0 - rng.exponential(0.05, rows)
        if service == "checkout":
            latency[1_500:1_525] *= 1.4
            latency[2_410:2_435] *= 6.0
        latency[700:745] = memory[700:745] = success[700:745] = np.nan
        said |= gauges(
            {"http.server.duration.p99": latency, "memory": memory, "success": success}, service=service,
            start=NOON - 2_400 * minute, period=minute,
        )  # fmt: skip
    stopped = said[key("success", service="cart", version="", instance="")]
    said[key("success", service="cart", version="", instance="")] = (stopped[0][:2_415], stopped[1][:2_415])
    told = [
        change(f"c{row}", service=service, time=NOON + (row - 2_400) * minute + 1_000, version="")
        for service, moments in {
            "checkout": (300, 1_498, 2_405, 2_420),
            "cart": (400, 2_440),
            "front": (2_400,),
        }.items()
        for row in moments
    ]
    rules = """mode: enforce
guardrails: [{name: success, value: success, harm: down}, {name: p99, value: http.server.duration.p99}]
services: {front: {calls: [checkout]}}
"""
    cuts = [NOON + int(row * minute) for row in (-900, -880.5, 0, 8, 11, 12.5, 16, 24, 41, 60, 66)]
    lines = holds(tmp_path, list(objects(said)), told, rules, cuts)
    frozen = (tmp_path / "whole" / "out" / "freezes.jsonl").read_bytes().splitlines()
    assert len(frozen) >= 1, "nothing was frozen, and nothing could have changed"
    assert lines >= 2 * len(told)


def test_what_came_late_is_known_from_when_it_came(tmp_path: Path) -> None:
    """A collector was away: all samples after the change came together, ten seconds after the last of them."""
    pieces = [(one, metric) for one in objects(shop()) for metric in one["metrics"]]
    said = []
    for one, metric in pieces:
        first = sum(time <= NOON for time in metric["times"])
        for part, arrived in ((slice(None, first), {}), (slice(first, None), {"arrived": NOON + 40_000})):
            cut = {name: metric[name][part] for name in ("times", "values")}
            said += [one | {"metrics": [metric | cut]} | arrived] if cut["times"] else []
    harmful = [one for one in run(tmp_path, said, [change()], "mode: enforce", None) if one.get("state") == "harmful"]
    assert harmful
    assert {ms(one["time"]) for one in harmful} == {NOON + 40_000}
    [freeze] = [json.loads(line) for line in (tmp_path / "out" / "freezes.jsonl").read_bytes().splitlines()]
    assert ms(freeze["starts_at"]) == NOON + 40_000
