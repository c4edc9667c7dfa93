"""Lanes: e-LOND over overlapping watches, and what a lane's own budget holds back."""

from __future__ import annotations

from math import exp, log
from statistics import NormalDist

import numpy as np
import pytest

from deploy.change import Change, Origin, Provenance
from deploy.freeze import Freeze
from deploy.judge import Judge
from deploy.lanes import DEFAULT, Lane, Lanes, lanes_of
from deploy.verdict import Verdict, VerdictState
from detectors.combine import Elond, log_p_to_log_e
from tests.factories import NOON, change, policy, report

STRICT = """
mode: enforce
lanes:
  - {name: agents, match: ['origin=~"ai|mixed"'], false_discovery: 0.05}
  - {name: people, match: [origin=human]}
"""


def by(origin: str, identity: str = "c1") -> Change:
    return change(identity, provenance=Provenance(origin=Origin(origin)))


def lane(text: str, *changes: Change) -> list[str]:
    lanes = Lanes(policy(text))
    for one in changes:
        lanes.started(one)
    return [one.name for one in lanes.all()]


def test_without_lanes_each_origin_is_one() -> None:
    assert lane("", by("ai", "a"), by("human", "b"), by("unknown", "c")) == ["ai", "human", "unknown"]


def test_the_first_lane_that_matches_takes_a_change_and_what_none_matches_goes_elsewhere() -> None:
    assert lane(STRICT, by("mixed", "a"), by("human", "b"), by("unknown", "c")) == ["agents", "other", "people"]


def test_the_threshold_is_that_of_elond_by_the_order_of_the_starts() -> None:
    lanes = Lanes(policy(STRICT))
    for number in range(20):
        lanes.started(by("ai", f"c{number}"))
    late, early = lanes.test("c15", 0.0), lanes.test("c3", 50.0)
    assert late.needs == pytest.approx(Elond(0.05, 15, 0).log_threshold)
    assert early.needs == pytest.approx(Elond(0.05, 3, 0).log_threshold)
    assert (late.discovery, early.discovery) == (False, True)
    # One discovery doubles what a false one costs, so it halves what the next must show.
    assert lanes.test("c15", 0.0).needs == pytest.approx(late.needs - log(2.0))


def test_a_discovery_stays_one_and_a_change_counts_once() -> None:
    lanes = Lanes(policy(STRICT))
    lanes.started(by("ai"))
    lanes.started(by("ai"))
    assert lanes.test("c1", 40.0).discovery
    assert lanes.test("c1", 0.0).discovery
    assert lanes.all() == [Lane("agents", 0.05, True, changes=1, harmful=1, discoveries=1)]


def test_false_discoveries_stay_within_the_budget_whatever_the_changes_share_and_whichever_ends_first() -> None:
    """400 days of 60 overlapping changes; harmless ones move together, harmful ones are told sooner."""
    rng = np.random.default_rng(5)
    rules = policy("lanes: [{name: all, match: [service=checkout], false_discovery: 0.1}]")
    shares, caught = [], 0
    for _ in range(400):
        lanes = Lanes(rules)
        harm = rng.random(60) < 0.1
        common = rng.normal()
        z = np.sqrt(0.7) * common + np.sqrt(0.3) * rng.normal(size=60)
        # One-sided normal p-values; dependence is as strong as it is when one wave goes through all services.
        p = np.array([1.0 - NormalDist().cdf(float(one)) for one in z]).clip(1e-15)
        log_e = [log_p_to_log_e(-18.0 if bad else log(one)) for bad, one in zip(harm, p, strict=True)]
        for number in range(60):
            lanes.started(change(f"c{number}"))
        for number in sorted(range(60), key=lambda i: -log_e[i]):
            if log_e[number] > 0.0:
                lanes.test(f"c{number}", log_e[number])
        found = [i for i in range(60) if log_e[i] > 0.0 and lanes.test(f"c{i}", log_e[i]).discovery]
        shares.append(sum(not harm[i] for i in found) / max(1, len(found)))
        caught += sum(harm[i] for i in found)
    assert float(np.mean(shares)) <= 0.1
    assert caught > 1500


def test_a_lane_without_a_budget_freezes_at_the_error_rate_and_says_whether_it_was_a_discovery() -> None:
    for log_p, discovery in ((log(0.0035), False), (-30.0, True)):
        judge = Judge(policy("mode: enforce"))
        judge.change(by("ai"))
        said, froze = judge.report(report("c1", log_p))
        assert isinstance(said, Verdict)
        assert isinstance(froze, Freeze)
        assert (said.lane, said.discovery) == ("ai", discovery)


def test_a_budgeted_lane_freezes_by_discovery_alone_and_says_what_is_missing() -> None:
    judge = Judge(policy(STRICT))
    judge.change(by("ai"))
    [said] = judge.report(report("c1", log(0.0035)))
    assert isinstance(said, Verdict)
    assert (said.state, said.lane, said.discovery) == (VerdictState.HARMFUL, "agents", False)
    assert "not frozen: log_e" in said.reason
    assert "lane agents needs" in said.reason
    assert judge.report(report("c1", log(0.003), after=61_000)) == []
    again, froze = judge.report(report("c1", -30.0, after=62_000))
    assert isinstance(again, Verdict)
    assert again.discovery
    assert again.reached == said.time
    assert isinstance(froze, Freeze)
    assert judge.report(report("c1", -31.0, after=63_000)) == []


def test_other_lanes_of_the_same_policy_are_not_held_back() -> None:
    judge = Judge(policy(STRICT))
    judge.change(by("human"))
    assert [type(one) for one in judge.report(report("c1", log(0.0035)))] == [Verdict, Freeze]


def test_the_share_that_chance_may_have_made() -> None:
    assert Lane("a").false_share(0.004) == 0.0
    assert Lane("a", changes=100, harmful=1).false_share(0.004) == pytest.approx(0.4)
    assert Lane("a", changes=1000, harmful=1).false_share(0.004) == 1.0


def test_a_reader_of_the_topics_comes_to_what_the_judge_knows() -> None:
    judge = Judge(policy("mode: enforce"))
    starts, last = [], {}
    for number in range(30):
        one = change(f"c{number:02}", service=f"s{number}", time=NOON + number)
        starts.append(one)
        judge.change(one)
        log_p = [-40.0, log(0.0035), -0.1][number % 3]
        for said in judge.report(report(one.id, log_p, service=one.service, ended=True)):
            if isinstance(said, Verdict):
                last[one.id] = said
    [found] = judge.lanes.all()
    assert (found.changes, found.harmful, found.discoveries) == (30, 20, 10)
    assert found.budget == DEFAULT
    assert lanes_of(judge.policy, reversed(starts), last) == [found]
    assert exp(Elond(DEFAULT, 30, 10).log_threshold) > 1.0
