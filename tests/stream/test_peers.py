"""Peers in the stream: a changed service beside services that it has nothing to do with, whoever was read first."""

from __future__ import annotations

import itertools
from math import log

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deploy.change import Change
from deploy.evidence import Finding, Report
from deploy.policy import Policy
from stream.watch import Watch
from tests.factories import NOON, Recording, change, columns, gauges, policy, samples

MINUTE = 60_000
BEFORE, AFTER = 900, 40
NAMES = ("checkout", "cart", "mail", "news", "pay", "stock", "tax")
FREEZES = log(Policy().breaker.error_rate)
RULES = "mode: enforce\nwatch: {at_least: 40m, samples: 40}\npeers: {history: 4032, metrics: all}\n"
SLOW = settings(deadline=None, max_examples=6, suppress_health_check=[HealthCheck.too_slow])


def fleet(seed: int = 0, *, wander: float = 0.05, phases: bool = True) -> Recording:
    """Services under one load that wanders; each tells its latency once a minute, in a phase of its own."""
    rng = np.random.default_rng(seed)
    load = np.zeros(BEFORE + AFTER)
    for i in range(1, len(load)):
        load[i] = 0.99 * load[i - 1] + rng.normal(0.0, wander)
    said: Recording = {}
    for name in NAMES:
        values = rng.lognormal(3.0, 1.0) * np.exp(load) * rng.lognormal(0.0, 0.02, len(load))
        start = NOON - BEFORE * MINUTE + (int(rng.integers(1, 59)) * 1_000 if phases else 1_000)
        said |= gauges({"latency": values}, service=name, start=start)
    return said


def times(said: Recording, factor: float, *services: str, at: int = 4) -> Recording:
    """The recording with these services so many times as slow from some minutes after noon on."""
    return {
        one: (
            when,
            [
                v * factor if one.service in services and t > NOON + at * MINUTE else v
                for t, v in zip(when, values, strict=True)
            ],
        )
        for one, (when, values) in said.items()
    }


def reports(said: Recording, *changes: Change, each: int = 0, rules: str = RULES) -> list[Report]:
    """What is reported of these changes, so many moments a message; by default all at once."""
    watch = Watch(policy(rules))
    found = [report for one in changes or (plain(),) for report in watch.change(one)]
    groups = [list(group) for _, group in itertools.groupby(samples(said), key=lambda one: one[1])]
    for start in range(0, len(groups), each or len(groups)):
        block = groups[start : start + (each or len(groups))]
        found += watch.telemetry(columns(sample for group in block for sample in group), span=0)
        found += watch.advance(watch.clock)
    return found + watch.finish()


def plain(identity: str = "c1", **fields: object) -> Change:
    return change(identity, **({"version": "", "previous_version": ""} | fields))


def of(found: list[Report], service: str = "checkout") -> Report:
    return [one for one in found if one.service == service][-1]


def findings(report: Report) -> list[Finding]:
    return [one for one in report.findings if one.control in ("past", "peers")]


def test_harm_that_hides_in_the_load_is_seen_beside_the_peers_which_the_evidence_names() -> None:
    said = times(fleet(), 1.7, "checkout")
    report = of(reports(said))
    assert report.log_p <= FREEZES
    (found,) = findings(report)
    assert found.control == "peers"
    assert found.reason.startswith("latency ")
    assert " by 6 peers (n=" in found.reason
    alone = {one: told for one, told in said.items() if one.service == "checkout"}
    assert of(reports(alone)).log_p > FREEZES


@pytest.mark.parametrize("seed", range(4))
def test_a_wave_that_hits_everybody_is_no_evidence(seed: int) -> None:
    assert of(reports(times(fleet(seed), 2.0, *NAMES))).log_p > FREEZES


def test_services_that_never_moved_together_are_judged_by_their_own_past() -> None:
    found = findings(of(reports(times(fleet(wander=0.0), 3.0, "checkout"))))
    assert {one.control for one in found} == {"past"}


def test_who_calls_it_or_is_called_is_no_peer() -> None:
    calls = "services: {checkout: {calls: [cart, pay]}, web: {calls: [checkout]}, stock: {calls: [checkout]}}\n"
    said = times(fleet(), 1.5, "checkout")
    assert {one.control for one in findings(of(reports(said, rules=RULES + calls)))} <= {"past"}
    some = "services: {checkout: {calls: [cart, pay]}}\n"
    (found,) = findings(of(reports(said, rules=RULES + some)))
    assert " by 4 peers (n=" in found.reason


def test_what_is_being_changed_itself_is_no_peer() -> None:
    others = [plain(name, service=name, time=NOON - MINUTE) for name in ("cart", "mail", "news")]
    assert {one.control for one in findings(of(reports(times(fleet(), 1.5, "checkout"), plain(), *others)))} <= {"past"}


@given(seed=st.integers(0, 20), each=st.sampled_from([1, 3, 50]), phases=st.booleans())
@SLOW
def test_the_cut_of_a_stream_into_messages_changes_no_report(seed: int, each: int, phases: bool) -> None:
    said = times(fleet(seed, phases=phases), 1.3, "checkout", "mail")
    whole = reports(said)
    assert any(one.control == "peers" for report in whole for one in report.findings)
    key = lambda one: (one.time, one.change, one.service)  # noqa: E731
    assert sorted(reports(said, each=each), key=key) == sorted(whole, key=key)


@given(seed=st.integers(0, 20), cut=st.integers(5, AFTER - 2))
@SLOW
def test_what_comes_later_changes_nothing_that_was_said(seed: int, cut: int) -> None:
    said = times(fleet(seed), 1.5, "checkout")
    moment = NOON + cut * MINUTE
    early = {one: ([t for t in when if t <= moment], values) for one, (when, values) in said.items()}
    before = {one: (when, values[: len(when)]) for one, (when, values) in early.items()}
    told, whole = ([one for one in reports(x) if one.service == "checkout" and not one.ended] for x in (before, said))
    assert told == [one for one in whole if one.time <= moment]
    assert told
