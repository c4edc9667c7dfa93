"""Witnesses: services that a change did not touch say how they fare, and nothing is frozen by their word alone."""

from __future__ import annotations

import itertools
from math import log

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deploy.calls import Calls
from deploy.change import Change, Phase
from deploy.evidence import Report
from deploy.freeze import Freeze
from deploy.judge import Decision
from deploy.verdict import Verdict
from stream.pipeline import Pipeline
from stream.watch import Watch
from stream.witness import always_asked
from tests.factories import NOON, Recording, change, columns, gauges, policy, samples

MINUTE = 60_000
BEFORE, AFTER = 600, 25
CALLS = """mode: enforce
watch: {at_least: 20m, samples: 20}
guardrails: [{name: success, value: success, harm: down}]
services: {web: {calls: [checkout]}, checkout: {calls: [db]}, db: {calls: []}}
"""
NAMES = ("web", "checkout", "db", "mail", "news", "stock", "tax")
ILL = log(0.05)
SLOW = settings(deadline=None, max_examples=6, suppress_health_check=[HealthCheck.too_slow])


def fleet(*ill: str, at: int = 3, seed: int = 0) -> Recording:
    """Services that report their success once a minute; some lose half of it from so many minutes after noon on."""
    rng = np.random.default_rng(seed)
    said: Recording = {}
    for name in NAMES:
        values = 100.0 - rng.exponential(0.5, BEFORE + AFTER)
        if name in ill:
            values[BEFORE + at :] -= 50.0
        start = NOON - BEFORE * MINUTE + int(rng.integers(1, 59)) * 1_000
        said |= gauges({"success": values, "cpu": rng.normal(1.0, 0.1, len(values))}, service=name, start=start)
    return said


def reports(said: Recording, *changes: Change, rules: str = CALLS) -> list[Report]:
    watch = Watch(policy(rules))
    found = watch.telemetry(columns([one for one in samples(said) if one[1] < NOON]), span=0)
    for one in changes or (flag(),):
        found += watch.change(one)
    return found + watch.telemetry(columns([one for one in samples(said) if one[1] >= NOON]), span=0)


def decisions(said: Recording, *changes: Change, each: int = 0, rules: str = CALLS) -> list[Decision]:
    pipeline = Pipeline(policy(rules))
    found = pipeline.telemetry(columns([one for one in samples(said) if one[1] < NOON]))
    for one in changes or (flag(),):
        found += pipeline.change(one)
    later = [one for one in samples(said) if one[1] >= NOON]
    times = [list(group) for _, group in itertools.groupby(later, key=lambda one: one[1])]
    for start in range(0, len(times), each or len(times)):
        block = times[start : start + (each or len(times))]
        found += pipeline.telemetry(columns(sample for group in block for sample in group))
    return found + pipeline.finish()


def flag(identity: str = "c1", **fields: object) -> Change:
    """A change without a version: nothing tells new from old."""
    return change(identity, version="", previous_version="", **fields)


def about(found: list[Report]) -> set[str]:
    return {one.service for one in found}


def last(found: list[Decision], identity: str = "c1") -> Verdict:
    return [one for one in found if isinstance(one, Verdict) and one.change == identity][-1]


def frozen(found: list[Decision]) -> set[str]:
    return {one.caused_by for one in found if isinstance(one, Freeze)}


def test_a_caller_that_fails_is_told_though_the_changed_service_is_well() -> None:
    found = reports(fleet("web"))
    [*_, web] = [one for one in found if one.service == "web"]
    assert web.change == "c1"
    assert web.log_p == web.families["past"] < ILL
    assert web.onset is not None
    assert web.onset >= NOON + 3 * MINUTE


def test_it_raises_the_rank_of_the_change_and_freezes_nothing() -> None:
    ill, well = decisions(fleet("web")), decisions(fleet())
    assert frozen(ill) == frozen(well) == set()
    assert last(ill).blame > last(well).blame
    assert last(ill).log_e > last(well).log_e
    assert any("web" in share.reason for share in last(ill).shares)


def test_callers_that_are_well_and_bystanders_before_there_is_evidence_say_nothing() -> None:
    assert about(reports(fleet())) == {"checkout"}
    assert about(reports(fleet("mail", "news"))) == {"checkout"}


def test_once_there_is_evidence_the_services_below_and_bystanders_are_asked() -> None:
    found = reports(fleet("checkout", "web"))
    assert about(found) == set(NAMES)
    assert min(one.log_p for one in found if one.service == "mail") == 0.0


def test_bystanders_that_nothing_can_judge_are_not_asked() -> None:
    def short(before: int) -> Recording:
        kept = before + AFTER
        return {
            key: (times[-kept:], values[-kept:]) if key.service in ("mail", "db") else (times, values)
            for key, (times, values) in fleet("checkout", "web").items()
        }

    assert about(reports(short(12))) == set(NAMES)
    assert about(reports(short(8))) == set(NAMES) - {"mail"}, "what the service depends on is asked in any case"


def test_only_named_metrics_of_a_witness_count() -> None:
    found = reports(fleet("checkout", "web"))
    assert {finding.metric for one in found if one.service == "web" for finding in one.findings} == {"success"}


def test_harm_of_its_own_is_frozen_and_so_it_is_while_its_callers_suffer() -> None:
    assert frozen(decisions(fleet("checkout"))) == {"c1"}
    assert frozen(decisions(fleet("checkout", "web"))) == {"c1"}


def test_what_is_everywhere_at_once_freezes_nothing_once_others_have_shown_it() -> None:
    said = fleet(*NAMES)
    # The changed service is the last to tell.
    late = {key: ([time + 59_000 for time in times], values) if key.service == "checkout" else (times, values)
            for key, (times, values) in said.items()}  # fmt: skip
    found = decisions(late)
    assert frozen(found) == set()
    assert last(found).shares[-1].blame > 0.5
    assert last(found).blame < 0.5


def test_trouble_from_an_unchanged_service_below_is_nobodys() -> None:
    said = fleet("checkout", "db", at=3)
    early = {key: ([time - 30_000 for time in times], values) if key.service == "db" else (times, values)
             for key, (times, values) in said.items()}  # fmt: skip
    found = decisions(early)
    assert frozen(found) == set()
    assert last(found).shares[-1].blame > last(found).blame


def test_a_service_that_is_being_changed_itself_is_no_witness() -> None:
    found = reports(fleet("web"), flag("c2", service="web"), flag(time=NOON + MINUTE))
    assert {one.service for one in found if one.change == "c1"} == {"checkout"}


def test_a_rollback_ends_what_witnesses_say() -> None:
    back = flag(phase=Phase.ROLLED_BACK, time=NOON + 2 * MINUTE)
    assert about(reports(fleet("web"), flag(), back)) == {"checkout"}


def test_another_environment_is_not_asked() -> None:
    rules = CALLS
    said = {key: value for key, value in fleet("checkout").items() if key.service == "checkout"}
    staging = gauges({"success": [50.0] * (BEFORE + AFTER)}, service="mail", environment="staging",
                     start=NOON - BEFORE * MINUTE)  # fmt: skip
    assert about(reports(said | staging, rules=rules)) == {"checkout"}


def test_a_service_with_more_callers_than_are_asked_asks_the_first() -> None:
    many = "services: {" + ", ".join(f"s{i}: {{calls: [db]}}" for i in range(9)) + "}"
    rules = policy("guardrails: [{name: success, value: success}]\n" + many)
    assert always_asked(Calls(rules), rules, "db") == ("s0", "s1", "s2", "s3")
    assert always_asked(Calls(rules), policy(many), "db") == ()


def test_without_named_guardrails_others_are_asked_about_what_gave_the_evidence() -> None:
    found = reports(fleet("checkout", "web"), rules="mode: enforce")
    seen = [one for one in found if one.service == "web" and one.findings]
    assert seen
    assert {finding.metric for one in seen for finding in one.findings} == {"success"}


@pytest.mark.parametrize("ill", [("web",), ("checkout", "web"), NAMES, ("checkout", "db")])
@given(st.integers(0, 50), st.sampled_from([1, 3, 40]))
@SLOW
def test_how_many_samples_come_at_once_changes_no_decision(ill: tuple[str, ...], seed: int, each: int) -> None:
    said = fleet(*ill, seed=seed)
    told = (flag(), flag("c2", service="mail"))
    assert decisions(said, *told, each=each) == decisions(said, *told)
