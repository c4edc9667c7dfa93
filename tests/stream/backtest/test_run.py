"""A whole backtest: what it counts, what it catches, what it suggests, and what it admits."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from deploy.change import Change
from deploy.policy import Policy, parse_policy
from stream.backtest import Backtest, Label, Options, backtest
from stream.columns import Columns
from stream.replay import decide
from tests.factories import Recording, change, columns, gauges, policy, shop
from tests.stream.backtest.history import HARM, LASTED, MINUTE, ROWS, SERVICES, START, changes, telemetry

QUICK = Options(placebo=60, injections=4)


def run(
    said: Recording | None = None,
    told: list[Change] | None = None,
    labels: tuple[Label, ...] = (),
    rules: Policy | None = None,
    options: Options = QUICK,
) -> Backtest:
    recorded = changes() if told is None else told
    return backtest(recorded, [columns(telemetry() if said is None else said)], rules or policy(""), labels, options)


@pytest.fixture(scope="module")
def found() -> Backtest:
    return run()


def test_the_history_is_told_as_it_is(found: Backtest) -> None:
    history = found.history
    assert (history.services, history.series, history.samples, history.changes) == (3, 6, 6 * ROWS, 4)
    assert (history.starts_at, history.ends_at) == (START, START + (ROWS - 1) * MINUTE)


def test_the_incident_is_caught_by_the_metric_that_was_harmed_before_people_were(found: Backtest) -> None:
    [case] = found.incidents.cases
    assert (case.name, case.why, case.service, case.metric, case.control) == (
        "bad", "rolled_back", "checkout", "latency", "past",
    )  # fmt: skip
    assert case.caught_at is not None
    assert HARM + 3 * MINUTE < case.caught_at < HARM + LASTED * MINUTE < (case.noticed_at or 0)
    assert list(case.alone) == ["latency"]
    assert set(case.lengths) == {30 * MINUTE, 60 * MINUTE, 120 * MINUTE}
    assert found.incidents.caught.hits == 1


def test_what_is_caught_is_what_replay_freezes(found: Backtest) -> None:
    [freeze] = [one for one in decide(changes(), [columns(telemetry())], policy("")) if hasattr(one, "caused_by")]
    assert (freeze.caused_by, freeze.starts_at) == ("bad", found.incidents.cases[0].caught_at)


def test_harmless_changes_are_no_incidents(found: Backtest) -> None:
    assert (found.incidents.others.hits, found.incidents.others.of, found.incidents.stopped) == (0, 3, ())


def test_placebo_changes_are_thinned_to_the_number_asked_for(found: Backtest) -> None:
    placebo = found.placebo
    assert placebo.changes == 60 < placebo.moments
    assert placebo.unjudged == placebo.canaries == 0
    assert [one.error_rate for one in placebo.rates] == sorted(one.error_rate for one in placebo.rates)
    hits = [one.rate.hits for one in placebo.rates]
    assert hits == sorted(hits), "a larger error rate freezes no fewer"
    assert len(placebo.frozen) == placebo.at(0.004).hits
    assert placebo.without == {}


def test_each_metric_is_told_by_what_it_said_and_what_it_can_see(found: Backtest) -> None:
    told = {one.metric: one for one in found.metrics}
    assert set(told) == {"latency", "cpu"}
    latency, cpu = told["latency"], told["cpu"]
    assert (latency.spoke, latency.first, cpu.spoke, cpu.first) == (1, 1, 0, 0)
    assert latency.services == 3
    assert latency.false.of == 60
    for metric in (latency, cpu):
        assert [shift.shift for shift in metric.shifts] == ["+25 %", "+50 %", "+100 %", "-50 %"]
        up = [shift.seen for shift in metric.shifts[:3]]
        assert up == sorted(up), "a larger shift is seen no less"
        # Where only some hours of history lie before the moment, even a doubling cannot be told.
        assert metric.shifts[2].share >= 0.75
    assert latency.least is not None
    assert 1.0 < latency.least < 3.0


def test_the_suggested_policy_is_one_and_was_tried(found: Backtest) -> None:
    suggested = found.suggested
    read, warnings = parse_policy(suggested.policy)
    assert warnings == []
    assert tuple(rail.name for rail in read.guardrails) == suggested.guardrails
    assert read.breaker.error_rate == suggested.error_rate
    assert suggested.caught.hits == 1
    assert [one.metric for one in found.metrics if one.guardrail] == list(suggested.guardrails)
    # What is promised is what a backtest of that very policy finds.
    again = run(rules=read)
    assert again.placebo.at(read.breaker.error_rate) == suggested.false
    assert again.incidents.cases[0].caught_at == found.incidents.cases[0].suggested_at


def test_too_little_history_is_admitted(found: Backtest) -> None:
    assert any("60 placebo changes cannot show a rate of 5 per 1,000" in note for note in found.notes)
    assert any("few incidents are known (1)" in note for note in found.notes)
    assert found.suggested.error_rate == 0.004


def test_the_curve_shows_the_harm_above_what_was_expected(found: Backtest) -> None:
    curve = found.incidents.cases[0].curve
    assert curve is not None
    assert len(curve.times) == len(curve.values) == len(curve.expected) == len(curve.low) == len(curve.high)
    assert all(b - a == MINUTE for a, b in itertools.pairwise(curve.times))
    before = sum(time <= HARM for time in curve.times)
    assert curve.expected[:before] == [None] * before
    told = list(zip(curve.values, curve.low, curve.high, strict=True))[before:]
    assert [value > high for value, _, high in told[2:22]] == [True] * 20  # type: ignore[operator]  # none is missing
    assert all(low < value < high for value, low, high in told[:2])  # type: ignore[operator]


def test_the_cut_and_the_order_of_the_records_change_no_byte(found: Backtest) -> None:
    said = telemetry()
    parts: list[Columns] = []
    for key, (times, values) in reversed(said.items()):
        middle = len(times) // 3
        cut = (slice(middle, None), slice(0, middle))
        parts += [columns({key: (times[part], values[part])}) for part in cut]
    again = backtest(list(reversed(changes())), parts, policy(""), (), QUICK)
    assert msgspec.json.encode(again) == msgspec.json.encode(found)


def test_an_incident_by_window_is_that_of_the_change_before_it() -> None:
    label = Label(name="INC-7", service="checkout", starts_at=HARM + 3 * MINUTE, ends_at=HARM + 23 * MINUTE)
    lost = Label(name="INC-8", service="cart", starts_at=START + 5 * MINUTE, ends_at=START + 6 * MINUTE)
    told = [one for one in changes() if one.phase != "rolled_back"]
    found = run(told=told, labels=(label, lost), options=Options(placebo=1, injections=1))
    [case] = found.incidents.cases
    assert (case.name, case.why, case.changes, case.noticed_at) == ("INC-7", "window", ("bad",), None)
    assert case.harm_at is not None
    assert case.harm_at <= (case.caught_at or 0) <= case.harm_at + 6 * MINUTE
    assert found.incidents.alone == ("INC-8",)
    assert any("haltline judges changes only" in note for note in found.notes)


def test_harm_that_nobody_labelled_is_shown_as_what_was_stopped() -> None:
    told = [one for one in changes() if one.phase != "rolled_back"]
    found = run(told=told, options=Options(placebo=1, injections=1))
    assert found.incidents.cases == ()
    [stopped] = found.incidents.stopped
    assert (stopped.change, stopped.service) == ("bad", "checkout")
    assert found.incidents.others.hits == 1


def test_without_changes_there_are_placebo_changes_still() -> None:
    found = run(said=telemetry(factor=1.0), told=[])
    assert found.placebo.changes == 60
    assert found.suggested.guardrails, "both see a doubling"
    assert any("no incident is known" in note for note in found.notes)


def test_a_history_too_short_for_anything_says_so() -> None:
    found = run(said=telemetry(rows=110), told=[])
    assert (found.placebo.moments, found.placebo.changes) == (0, 0)
    assert set(found.placebo.without) == {f"{service} in production" for service in SERVICES}
    assert "110 samples; 100 and a watch are needed" in found.placebo.without["cart in production"]
    assert found.suggested.false.per_1000 is None
    assert [one.guardrail for one in found.metrics] == [False, False]
    assert parse_policy(found.suggested.policy)[0].guardrails == ()


def test_an_environment_that_is_not_guarded_has_no_placebo_changes() -> None:
    found = run(rules=policy("environments: {production: {guarded: false}}"), options=Options(placebo=5, injections=1))
    assert set(found.placebo.without.values()) == {"its environment is not guarded"}


def test_where_instances_run_beside_each_other_a_placebo_change_is_of_one_of_them() -> None:
    said = shop(seconds=900, before=880, canary=0, period=10_000)
    rules = policy("watch: {at_least: 5m, samples: 1}")
    found = run(said=said, told=[], rules=rules, options=Options(placebo=20, injections=2))
    assert found.placebo.canaries == found.placebo.changes == 20
    told = {one.metric: one for one in found.metrics}
    ratio = told["http.server.errors / http.server.requests"]
    assert ratio.ratio
    assert [one.shift for one in ratio.shifts] == ["+1 point", "+5 points", "+20 points"]
    assert ratio.shifts[-1].share == 1.0
    rails = parse_policy(found.suggested.policy)[0].guardrails
    assert ("http.server.errors", "http.server.requests") in {(rail.errors, rail.over) for rail in rails}


def test_the_guardrails_of_the_policy_keep_their_names() -> None:
    rules = policy("guardrails: [{name: p99, value: latency, harm: up, least_effect: 20%}]")
    found = run(rules=rules, options=Options(placebo=5, injections=1))
    assert {one.metric for one in found.metrics} == {"p99", "cpu"}
    assert found.incidents.cases[0].metric == "p99"
    [rail] = parse_policy(found.suggested.policy)[0].guardrails
    assert rail == rules.guardrails[0]


def test_nothing_recorded_is_nothing_found() -> None:
    found = backtest([change()], [columns(gauges({}))], policy(""))
    assert (found.history.services, found.history.starts_at, found.placebo.moments) == (0, None, 0)
    assert found.incidents.others.of == 1
