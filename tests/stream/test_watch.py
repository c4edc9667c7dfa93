"""Watch: the same evidence however the stream is cut, and none from what is no harm."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from math import isfinite, log
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deploy.change import Change, Phase
from deploy.evidence import Report
from deploy.policy import Policies, Policy
from stream.columns import MetricKind
from stream.watch import Watch
from tests.factories import NOON, Recording, Sample, change, columns, gauges, policy, samples, shop

SLOW = settings(deadline=None, max_examples=5, suppress_health_check=[HealthCheck.too_slow])
FREEZES = log(Policy().breaker.error_rate)


def moments(recording: Recording) -> list[list[Sample]]:
    return [list(group) for _, group in itertools.groupby(samples(recording), key=lambda one: one[1])]


def watched(
    recording: Recording, changes: Sequence[Change] = (change(),), each: int = 0, rules: Policy | None = None
) -> list[Report]:
    """The reports of a watch that gets these samples so many moments at a time; all at once for 0."""
    watch = Watch(rules or policy())
    reports = [report for one in changes for report in watch.change(one)]
    groups = moments(recording)
    for start in range(0, len(groups), each or len(groups)):
        block = groups[start : start + (each or len(groups))]
        reports += watch.telemetry(columns(sample for group in block for sample in group), span=0)
        reports += watch.advance(watch.clock)
    return reports + watch.finish()


def by_time(reports: Iterable[Report]) -> list[Report]:
    """Each change's reports keep their order; those of different changes are told when each one's samples come."""
    return sorted(reports, key=lambda one: (one.time, one.change))


def worst(reports: Iterable[Report]) -> Report:
    return min(reports, key=lambda one: one.log_p)


def first_harm(reports: Iterable[Report]) -> Report | None:
    return next((one for one in reports if one.log_p <= FREEZES), None)


def drifting(seed: int = 0, rates: tuple[float, ...] = (1.01, 1.013, 0.995, 1.0), seconds: int = 420) -> Recording:
    """Each instance sleeps a second between samples and works a little beside."""
    recording = shop(seed=seed, seconds=seconds, before=200, harm_after=None)
    return {
        key: ([int(NOON + (time - NOON) * rates[int(key.instance[1])]) for time in times], values)
        for key, (times, values) in recording.items()
    }


def first_errors(seed: int = 0) -> Recording:
    """Counters of errors that show themselves with the first error, as most libraries' do."""
    found: Recording = {}
    for key, (times, values) in shop(seed=seed, harm_after=20).items():
        start = 0
        if key.metric.endswith("errors"):
            start = next((i for i, value in enumerate(values) if value and key.version == "v2"), len(values))
        if start < len(values):
            found[key] = (times[start:], values[start:])
    return found


# -- the cut of the stream --------------------------------------------------------------------------------------------

STREAMS: dict[str, Callable[[int], Recording]] = {
    "plain": lambda seed: shop(seed=seed),
    "jitter, phases and gaps": lambda seed: shop(seed=seed, jitter=0.2, phases=True, gaps=0.05),
    "counters since start": lambda seed: shop(seed=seed, kind=MetricKind.CUMULATIVE, phases=True),
    "new instances come late": lambda seed: shop(seed=seed, seconds=240, starts_after=60, harm_after=80),
    "clocks that run apart": drifting,
    "counters that begin with the first error": first_errors,
    "young services that borrow from each other": lambda seed: {
        key: said
        for number, name in enumerate(("checkout", "cart", "mail", "pay", "stock"))
        for key, said in shop(
            seed=seed + number, service=name, before=60, seconds=90, canary=int(not number), phases=True
        ).items()
    },
    "nothing before the change": lambda seed: shop(seed=seed, before=0, seconds=90, jitter=0.2, phases=True),
    "two services of different periods": lambda seed: {
        **shop(seed=seed, instances=3),
        **shop(seed=seed + 1, instances=2, canary=0, period=5_000, before=60, seconds=70, service="cart"),
    },
}


@pytest.mark.parametrize("name", STREAMS)
@given(seed=st.integers(0, 50), each=st.sampled_from([1, 2, 7, 50]))
@SLOW
def test_the_cut_of_a_stream_into_messages_changes_no_report(name: str, seed: int, each: int) -> None:
    recording = STREAMS[name](seed)
    both = (change(), change("c2", service="cart", version=""))
    assert by_time(watched(recording, both, each=each)) == by_time(watched(recording, both))


@given(seed=st.integers(0, 50), order=st.integers(0, 2**32))
@SLOW
def test_samples_one_by_one_twice_and_shuffled_within_a_moment_say_the_same(seed: int, order: int) -> None:
    recording = shop(seed=seed, instances=3)
    shuffle = Random(order).shuffle
    watch = Watch(policy())
    watch.change(change())
    reports: list[Report] = []
    for group in moments(recording):
        twice = group + group
        shuffle(twice)
        for sample in twice:
            reports += watch.telemetry(columns([sample]))
    reports += watch.finish()
    whole = watched(recording)
    assert reports[-1] == whole[-1]
    mine, theirs = first_harm(reports), first_harm(whole)
    assert mine is not None
    assert theirs is not None
    assert mine.time == theirs.time


@given(seed=st.integers(0, 50), after=st.integers(0, 28))
@SLOW
def test_a_change_that_is_heard_of_after_its_telemetry_is_judged_alike(seed: int, after: int) -> None:
    recording = shop(seed=seed)
    watch = Watch(policy())
    reports: list[Report] = []
    heard = False
    for group in moments(recording):
        if not heard and group[0][1] > NOON + after * 1_000:
            reports += watch.change(change())
            heard = True
        reports += watch.telemetry(columns(group), span=0)
    reports += watch.finish()
    assert heard
    assert reports == watched(recording)


@given(seed=st.integers(0, 20), cut=st.integers(2, 29))
@SLOW
def test_the_future_changes_no_earlier_report(seed: int, cut: int) -> None:
    recording = shop(seed=seed, jitter=0.2, phases=True, gaps=0.1)
    known = {
        key: ([t for t in times if t <= NOON + cut * 1_000], values[: sum(t <= NOON + cut * 1_000 for t in times)])
        for key, (times, values) in recording.items()
    }
    known = {key: said for key, said in known.items() if said[0]}
    clock = max(times[-1] for times, _ in known.values())
    before = [one for one in watched(known) if one.time <= clock and not one.ended]
    assert before == [one for one in watched(recording) if one.time <= clock and not one.ended]


# -- harm and no harm -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"jitter": 0.2},
        {"phases": True},
        {"gaps": 0.05, "phases": True},
        {"kind": MetricKind.CUMULATIVE},
        {"period": 10_000},
        {"versions": ("", "")},
        {"instances": 2},
    ],
    ids=str,
)
def test_errors_of_a_new_instance_are_found_within_six_samples(said: dict[str, Any]) -> None:
    found = first_harm(watched(shop(**said)))
    assert found is not None
    assert found.time <= NOON + 10 * int(said.get("period", 1_000))
    assert found.findings[0].metric == "error_ratio"
    assert "concurrent" in {finding.control for finding in found.findings}


@pytest.mark.parametrize("name", ["calm", "drift", "drift of all", "gaps", "counters"])
def test_a_harmless_change_is_not_frozen(name: str) -> None:
    harmless: dict[str, Callable[[], Recording]] = {
        "calm": lambda: shop(harm_after=None, seconds=400),
        "drift": lambda: drifting(seconds=480),
        "drift of all": lambda: drifting(rates=(1.01,) * 4, seconds=480),
        "gaps": lambda: shop(harm_after=None, seconds=400, gaps=0.1, phases=True, jitter=0.2),
        "counters": lambda: shop(harm_after=None, seconds=400, kind=MetricKind.CUMULATIVE),
    }
    recording = harmless[name]()
    for each in (0, 1):
        assert first_harm(watched(recording, each=each)) is None


def test_a_clock_a_little_slower_than_its_period_is_never_silence() -> None:
    """A collector that sleeps a second and works ten milliseconds falls a look behind every hundred samples."""
    reports = watched(drifting(rates=(1.01,) * 4, seconds=480), each=1)
    assert worst(reports).families.get("silence", 0.0) == 0.0


def test_a_counter_that_restarts_counts_from_zero() -> None:
    recording = shop(harm_after=None, seconds=300, kind=MetricKind.CUMULATIVE)
    restarted: Recording = {}
    for key, (times, values) in recording.items():
        if key.kind is MetricKind.CUMULATIVE and key.instance == "p2":
            at = 200
            values = values[:at] + [value - values[at - 1] for value in values[at:]]
        restarted[key] = (times, values)
    assert worst(watched(restarted)).log_p == worst(watched(recording)).log_p


def test_errors_and_requests_may_come_in_messages_of_their_own() -> None:
    """The errors of a moment count even if they arrive after the requests of the same moment."""
    recording = shop()
    watch = Watch(policy())
    reports = watch.change(change())
    for group in moments(recording):
        for metric in ("http.server.duration.p99", "http.server.requests", "http.server.errors"):
            part = [sample for sample in group if sample[0].metric == metric]
            reports += watch.telemetry(columns(part)) if part else []
    found, whole = first_harm(reports), first_harm(watched(recording))
    assert found is not None
    assert whole is not None
    assert (found.time, found.log_p) == (whole.time, whole.log_p)


def test_a_service_without_instances_or_versions_is_judged_by_its_own_past() -> None:
    rng = np.random.default_rng(0)
    calm = rng.lognormal(3, 0.1, 3_100)
    harm = np.concatenate([calm[:3_005], calm[3_005:] * 3])
    start = NOON - 2_999 * 60_000
    found = first_harm(watched(gauges({"latency": harm}, start=start), [change(version="")]))
    assert found is not None
    assert found.findings[0].control == "past"
    assert NOON + 6 * 60_000 <= found.time <= NOON + 15 * 60_000
    assert first_harm(watched(gauges({"latency": calm}, start=start), [change(version="")])) is None


def test_instances_that_a_later_record_names_are_new_from_then_on() -> None:
    """A rollout in place: the same instance ids before and after, named as they are reached."""
    recording = shop(canary=0, seconds=200)
    errors = next(key for key in recording if key.instance == "p1" and key.metric.endswith("errors"))
    times, values = recording[errors]
    recording[errors] = (times, [value if t <= NOON + 40_000 else 15.0 for t, value in zip(times, values, strict=True)])
    first = change(instances=("p0",), version="")
    later = change(instances=("p1",), version="", phase=Phase.PROGRESSED, time=NOON + 30_000)
    watch = Watch(policy())
    reports = watch.change(first)
    for group in moments(recording):
        if group[0][1] == later.time:
            reports += watch.change(later)
        reports += watch.telemetry(columns(group), span=0)
    found = first_harm(reports)
    assert found is not None
    assert found.findings[0].control == "concurrent"
    assert found.time <= NOON + 50_000


def test_only_the_instances_that_are_named_are_compared() -> None:
    recording = shop(harm_after=None, canary=0)
    harmless = watched(recording, [change(instances=("p3",), version="")])
    assert first_harm(harmless) is None
    assert harmless[-1].families["concurrent"] == 0.0


def test_the_version_tells_new_from_old_also_on_one_instance_id() -> None:
    flipped = {
        type(key)(**{**{f: getattr(key, f) for f in key.__struct_fields__}, "instance": key.instance[:2]}): said
        for key, said in shop().items()
    }
    found = first_harm(watched(flipped))
    assert found is not None
    assert "concurrent" in {finding.control for finding in found.findings}


# -- silence ----------------------------------------------------------------------------------------------------------


def heartbeat(service: str = "cart", seconds: int = 200) -> Recording:
    return gauges({"beat": [1.0] * seconds}, start=NOON - 120_000, period=1_000, service=service)


@pytest.mark.parametrize("each", [0, 1])
def test_a_regular_service_that_falls_silent_is_found_within_five_samples(each: int) -> None:
    """The other service moves time on."""
    quiet = shop(canary=0, seconds=130) | heartbeat()
    found = first_harm(watched(quiet, each=each))
    assert found is not None
    assert found.findings[0].control == "silence"
    assert found.time <= NOON + 9_000 + 5_501  # the last samples lie nine seconds after the change


def test_silence_of_everything_is_nobodys_harm() -> None:
    """Where all telemetry ends, time ends: the collector may be gone, or the recording."""
    assert first_harm(watched(shop(canary=0, seconds=130))) is None


def test_an_irregular_metric_that_stays_away_is_no_silence() -> None:
    rng = np.random.default_rng(1)
    values = np.where(rng.random(200) < 0.4, 1.0, np.nan)
    values[120:] = np.nan
    rare = gauges({"jobs": values}, start=NOON - 119_000, period=1_000)
    assert first_harm(watched(rare | heartbeat(), [change(version="")])) is None


def test_new_instances_that_never_report_are_missed() -> None:
    recording = {key: said for key, said in shop(seconds=300, period=10_000).items() if key.version == "v1"}
    found = first_harm(watched(recording))
    assert found is not None
    assert "version v2 not seen" in found.findings[0].reason


# -- the life of a watch ----------------------------------------------------------------------------------------------


def last(reports: Sequence[Report]) -> Report:
    [found] = [one for one in reports if one.ended]
    assert found is reports[-1]
    return found


def test_a_rollback_ends_the_watch_and_what_comes_after_is_not_its_doing() -> None:
    rolled_back = change(phase=Phase.ROLLED_BACK, time=NOON + 10_000)
    reports = watched(shop(harm_after=12), [change(), rolled_back])
    assert first_harm(reports) is None
    assert last(reports).time == NOON + 10_000
    assert not last(reports).cut_short


@pytest.mark.parametrize("each", [0, 1])
def test_a_later_record_heard_before_the_first_telemetry_says_the_same(each: int) -> None:
    """As after a restart: the worker knows all changes, and hears the telemetry again."""
    rolled_back = change(phase=Phase.ROLLED_BACK, time=NOON + 10_000)
    watch = Watch(policy())
    reports = watch.change(change())
    for group in moments(shop()):
        if group[0][1] == rolled_back.time:
            reports += watch.change(rolled_back)
        reports += watch.telemetry(columns(group), span=0)
    assert first_harm(reports) is not None
    assert reports + watch.finish() == watched(shop(), [change(), rolled_back, rolled_back], each=each)


def test_watch_until_wins_over_the_policy() -> None:
    reports = watched(shop(harm_after=12), [change(watch_until=NOON + 10_000)])
    assert first_harm(reports) is None
    assert last(reports).time == NOON + 10_000


@pytest.mark.parametrize("until", [NOON - 60_000, NOON, NOON + 70 * 365 * 86_400_000])
def test_a_strange_watch_until_breaks_nothing(until: int) -> None:
    end = last(watched(shop(harm_after=None), [change(watch_until=until)]))
    assert end.time >= NOON


def test_a_change_that_is_only_planned_is_not_watched() -> None:
    assert watched(shop(), [change(phase=Phase.PLANNED)]) == []


def test_a_plan_that_starts_is_watched_from_its_start() -> None:
    planned = change(phase=Phase.PLANNED, time=NOON - 60_000)
    assert watched(shop(), [planned, change()]) == watched(shop())


def test_a_service_first_seen_after_the_change_is_judged_by_the_old_beside_it() -> None:
    found = first_harm(watched(shop(before=0, seconds=100) | heartbeat()))
    assert found is not None
    assert {one.control for one in found.findings} == {"concurrent"}
    for seed in range(20):
        calm = watched(shop(seed=seed, before=0, seconds=100, harm_after=None) | heartbeat())
        assert first_harm(calm) is None


def test_a_service_first_seen_after_the_change_with_nothing_old_in_it_has_nothing_to_judge_by() -> None:
    alone = {key: said for key, said in shop(before=0, seconds=100).items() if key.version == "v2"}
    reports = watched(alone | heartbeat())
    assert first_harm(reports) is None
    assert last(reports).tests == 0


def test_a_change_is_watched_in_its_own_environment_only() -> None:
    both = shop(harm_after=None) | shop(environment="staging")
    assert first_harm(watched(both)) is None
    found = first_harm(watched(both, [change(environment="")]))
    assert found is not None
    assert found.environment == "staging"


def test_two_changes_at_the_same_moment_are_both_watched() -> None:
    reports = watched(shop(), [change(), change("c2")])
    assert {one.change for one in reports if one.log_p <= FREEZES} == {"c1", "c2"}


def test_the_aftermath_of_harm_is_not_learnt_as_normal() -> None:
    """A second change sees the harm of the first, which was rolled back, as what it was."""
    rng = np.random.default_rng(3)
    values = rng.lognormal(3, 0.1, 3_300)
    values[3_000:3_020] *= 5
    values[3_200:] *= 3
    start = NOON - 2_999 * 60_000
    first = [change(version=""), change(version="", phase=Phase.ROLLED_BACK, time=NOON + 21 * 60_000)]
    second = change("c2", version="", time=NOON + 199 * 60_000)
    recording = gauges({"latency": values}, start=start)
    found = first_harm(one for one in watched(recording, [*first, second]) if one.change == "c2")
    assert found is not None
    assert found.time <= second.time + 10 * 60_000


@pytest.mark.parametrize("value", [0.0, 1e308, -1e308, 5e-324, 1e-300])
def test_extreme_values_give_finite_evidence(value: float) -> None:
    recording = shop(seconds=180)
    recording = {key: (times, values[:-20] + [value] * 20) for key, (times, values) in recording.items()}
    with np.errstate(all="ignore"):
        reports = watched(recording)
    for one in reports:
        assert isfinite(one.log_p)
        assert all(isfinite(found.log_e) and isfinite(found.effect) for found in one.findings)


def test_a_message_without_samples_is_nothing() -> None:
    """Every value of it was null."""
    watch = Watch(policy())
    watch.change(change())
    assert watch.telemetry(columns([])) == []
    watch.telemetry(columns(shop()))
    assert watch.telemetry(columns([])) == []


def test_a_sample_that_comes_late_is_put_where_it_belongs() -> None:
    """Half of the instances' samples are three seconds late; with that span known the evidence is the same."""
    recording = shop()
    late = {key: said for key, said in recording.items() if key.instance in ("p1", "p2")}
    early = {key: said for key, said in recording.items() if key not in late}
    watch = Watch(policy())
    reports = watch.change(change())
    arrivals = sorted(
        [(t, one) for one in samples(early) for t in (one[1],)]
        + [(t + 3_000, one) for one in samples(late) for t in (one[1],)],
        key=lambda pair: pair[0],
    )
    for _, group in itertools.groupby(arrivals, key=lambda pair: pair[0]):
        reports += watch.telemetry(columns(one for _, one in group), span=3_000)
    found, whole = first_harm(reports), first_harm(watched(recording))
    assert found is not None
    assert whole is not None
    assert found.findings[0].reason == whole.findings[0].reason


# -- a new policy -----------------------------------------------------------------------------------------------------

NEW = """
guardrails: [{name: slow, value: http.server.duration.p99, harm: up, services: [checkout]}]
watch: {at_least: 5s, samples: 2}
"""


def under(changes: Sequence[Change], rules: Policy | Policies, learn_at: int | None = None) -> list[Report]:
    """The reports of these changes; from a moment on services learn by the policy of then."""
    policies = Policies.of(rules)
    watch = Watch(policies)
    reports = [report for one in changes for report in watch.change(one)]
    for group in moments(shop(harm_after=None)):
        if learn_at is not None and group[0][1] >= learn_at:
            watch.learn_by(policies.at(group[0][1]))
        reports += watch.telemetry(columns(group), span=0)
    return reports + watch.finish()


def test_a_change_under_watch_keeps_its_policy_and_a_later_one_has_the_new() -> None:
    policies = Policies(policy("watch: {at_least: 20s, samples: 2}"))
    policies.take(policy(NEW), NOON + 1_000)
    early, late = change("early"), change("late", version="v3", time=NOON + 2_000)
    told = {one.change: one for one in under([early, late], policies, learn_at=NOON + 1_000) if one.ended}
    assert told["early"].time == NOON + 20_000
    assert told["late"].time == NOON + 7_000
    alone = [one for one in under([early], policy("watch: {at_least: 20s, samples: 2}")) if one.ended]
    assert told["early"].looks == alone[0].looks


def test_signals_that_a_new_policy_leaves_as_they_were_keep_what_was_learned() -> None:
    recording = moments(shop(seconds=1_100, before=1_098, harm_after=None))
    watch = Watch(policy("mode: enforce"))
    for group in recording:
        if group[0][1] == NOON - 30_000:
            watch.learn_by(policy("mode: observe"))
            rows = watch.store.rows
            watch.learn_by(policy(NEW))
        watch.telemetry(columns(group), span=0)
    assert rows > 0
    [service] = watch.services()
    assert service.learning is not None
    told = service.past(NOON, "c1", list(service.series))
    assert told is not None
    samples_behind = {signal.title: own.samples for signal, own in told.items()}
    # The ratio is as before; the p99 is a guardrail now, so another signal, with what was still raw.
    assert samples_behind["error_ratio"] > samples_behind["slow"] > 100
