"""The judge: evidence to verdicts, verdicts to freezes, the same for the same records however often they are told."""

from __future__ import annotations

from math import isfinite, log
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.change import Change, Phase, Rollout, labels_of
from deploy.freeze import Freeze, Mode, holds
from deploy.judge import Decision, Judge
from deploy.order import Order, Verb
from deploy.verdict import Verdict, VerdictState
from tests.factories import NOON, change, finding, policy, report

MINUTE = 60_000


def judge(text: str = "mode: enforce", *changes: Change) -> Judge:
    """A judge who knows these changes; c1 where none is given."""
    found = Judge(policy(text))
    for one in changes or (change(),):
        found.change(one)
    return found


def freezes(decisions: list[Decision]) -> list[Freeze]:
    return [one for one in decisions if isinstance(one, Freeze)]


def verdicts(decisions: list[Decision]) -> list[Verdict]:
    return [one for one in decisions if isinstance(one, Verdict)]


def frozen(decisions: list[Decision]) -> Freeze:
    [found] = freezes(decisions)
    return found


# -- states -----------------------------------------------------------------------------------------------------------


def test_a_change_is_warming_from_its_start() -> None:
    [said] = verdicts(Judge(policy()).change(change()))
    assert (said.state, said.time, said.ended) == (VerdictState.WARMING, NOON, False)


def test_a_plan_is_not_judged_until_it_starts() -> None:
    one = Judge(policy())
    assert one.change(change(phase=Phase.PLANNED)) == []
    assert len(one.change(change())) == 1


ENDS: list[tuple[dict[str, Any], VerdictState, str]] = [
    ({"log_p": -0.1}, VerdictState.HEALTHY, "60 looks at 3 signals"),
    ({"log_p": -20.0}, VerdictState.HARMFUL, "error_ratio 0.042 > 0.002"),
    ({"log_p": 0.0, "tests": 0, "warming": "40 of 100 samples of history"}, VerdictState.INCONCLUSIVE, "40 of 100"),
    ({"log_p": 0.0, "tests": 0}, VerdictState.INCONCLUSIVE, "no control to compare with"),
    ({"log_p": 0.0, "looks": 0}, VerdictState.INCONCLUSIVE, "0 looks"),
    ({"log_p": 0.0, "cut_short": True}, VerdictState.INCONCLUSIVE, "the input ended after 60 looks"),
]


@pytest.mark.parametrize(("said", "state", "why"), ENDS)
def test_the_last_report_decides_the_last_word(said: dict[str, Any], state: VerdictState, why: str) -> None:
    last = verdicts(judge().report(report(ended=True, **said)))[-1]
    assert (last.state, last.ended) == (state, True)
    assert why in last.reason


def test_harm_is_said_once_and_again_at_the_end() -> None:
    one = judge()
    assert [said.state for said in verdicts(one.report(report()))] == [VerdictState.HARMFUL]
    assert one.report(report(after=70_000, log_p=-30.0)) == []
    [last] = one.report(report(after=90_000, log_p=-30.0, ended=True))
    assert isinstance(last, Verdict)
    assert (last.state, last.ended, last.time) == (VerdictState.HARMFUL, True, NOON + 90_000)


def test_evidence_short_of_the_bar_changes_nothing() -> None:
    one = judge()
    assert one.report(report(log_p=log(0.051), after=59_000)) == []
    assert freezes(one.report(report(log_p=log(0.0041)))) == []
    assert [type(said) for said in one.report(report(after=61_000, log_p=log(0.0035)))] == [Verdict, Freeze]


@given(st.floats(max_value=0.0, allow_nan=False, allow_infinity=False))
def test_every_number_of_a_verdict_is_finite(log_p: float) -> None:
    for said in verdicts(judge().report(report(log_p=log_p, ended=True))):
        assert isfinite(said.log_e)
        assert 0.0 <= said.blame <= 1.0


def test_an_ended_change_is_not_judged_again() -> None:
    one = judge()
    one.report(report(log_p=0.0, ended=True))
    assert one.report(report(after=70_000)) == []
    assert one.finish(NOON + 80_000) == []


def test_a_change_that_nothing_was_heard_of_is_inconclusive_when_its_watch_ends() -> None:
    one = judge()
    assert one.advance(NOON + 30 * MINUTE - 1) == []
    [last] = verdicts(one.advance(NOON + 30 * MINUTE))
    assert (last.state, last.time) == (VerdictState.INCONCLUSIVE, NOON + 30 * MINUTE)
    assert "no telemetry" in last.reason
    assert one.unheard() == []


def test_a_rollback_of_an_unheard_change_ends_its_watch() -> None:
    one = judge()
    one.change(change(phase=Phase.ROLLED_BACK, time=NOON + MINUTE))
    [last] = verdicts(one.advance(NOON + 2 * MINUTE))
    assert last.time == NOON + MINUTE


def test_watch_until_wins_over_the_policy() -> None:
    one = judge("mode: enforce", change(watch_until=NOON + MINUTE))
    [last] = verdicts(one.advance(NOON + 2 * MINUTE))
    assert last.time == NOON + MINUTE


# -- told again, told early, told in another order --------------------------------------------------------------------


def test_evidence_that_comes_before_its_change_waits_for_it() -> None:
    early, late = Judge(policy()), judge()
    assert early.report(report()) == []
    assert early.report(report(after=70_000, ended=True)) == []
    told = early.change(change())
    assert told[1:] == late.report(report()) + late.report(report(after=70_000, ended=True))


@given(st.integers(0, 2**32))
def test_repeats_and_older_reports_change_nothing(seed: int) -> None:
    said = [report(after=60_000 + i * 1_000, log_p=-5.0 - i) for i in range(6)]
    once = judge()
    expected = [one for told in said for one in once.report(told)]
    shuffled = Random(seed)
    again = judge()
    found: list[Decision] = []
    for i, told in enumerate(said):
        found += again.report(told)
        for _ in range(3):
            found += again.report(shuffled.choice(said[: i + 1]))
            again.change(change())
    assert found == expected


def test_the_same_records_make_the_same_freeze() -> None:
    assert frozen(judge().report(report())) == frozen(judge().report(report()))
    other = frozen(judge("mode: enforce", change("c2")).report(report("c2")))
    assert other.id != frozen(judge().report(report())).id


def test_a_freeze_known_from_before_a_restart_is_not_made_again() -> None:
    known = frozen(judge().report(report()))
    one = judge()
    one.freezes.record(known)
    assert freezes(one.report(report())) == []


def test_a_verdict_spoken_before_a_restart_stands() -> None:
    before = judge()
    [*_, last] = verdicts(before.report(report(log_p=0.0, ended=True)))
    one = judge()
    one.known(last)
    assert one.report(report(after=70_000)) == []


# -- freezes ----------------------------------------------------------------------------------------------------------


def test_a_harmful_change_freezes_its_service_in_its_environment() -> None:
    freeze = frozen(judge().report(report()))
    assert freeze.matchers == ('environment="production"', 'service="checkout"')
    assert (freeze.starts_at, freeze.level, freeze.mode, freeze.caused_by) == (NOON + MINUTE, 1, Mode.ENFORCE, "c1")
    assert 5 * MINUTE <= freeze.ends_at - freeze.starts_at <= 5.5 * MINUTE
    assert freeze.reason == "error_ratio 0.042 > 0.002"


@pytest.mark.parametrize(
    ("next_change", "held"),
    [
        (change("next", version="v3"), True),
        (change("next", version="v2"), True),
        (change("next", version=""), True),
        (change("next", version="v1"), False),
        (change("next", version="v3", reverts="c1"), False),
        (change("next", version="v3", reverts="c0"), True),
        (change("next", version="v3", service="cart"), False),
        (change("next", version="v3", environment="staging"), False),
    ],
)
def test_a_freeze_holds_what_must_stop_and_lets_the_fixers_pass(next_change: Change, held: bool) -> None:
    assert holds(frozen(judge().report(report())), labels_of(next_change)) is held


def test_the_last_healthy_version_passes_where_no_previous_one_is_named() -> None:
    one = judge("mode: enforce", change("c0", version="v1", previous_version="", time=NOON - MINUTE))
    one.report(report("c0", log_p=0.0, after=-1_000, looks=59, ended=True))
    one.change(change(previous_version=""))
    freeze = frozen(one.report(report()))
    assert not holds(freeze, labels_of(change("next", version="v1")))
    assert holds(freeze, labels_of(change("next", version="v0")))


def test_the_harmful_version_itself_is_never_the_last_good_one() -> None:
    freeze = frozen(judge("mode: enforce", change(previous_version="v2")).report(report()))
    assert holds(freeze, labels_of(change("next", version="v2")))


def test_nothing_is_frozen_in_an_unguarded_environment() -> None:
    said = judge("mode: enforce\nenvironments: {production: {guarded: false}}").report(report())
    assert [type(one) for one in said] == [Verdict]


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("mode: enforce", Mode.ENFORCE),
        ("mode: observe", Mode.OBSERVE),
        ("tier: 1", Mode.OBSERVE),
        ("mode: enforce\nservices: {checkout: {mode: observe}}", Mode.OBSERVE),
        ("environments: {production: {mode: enforce}}", Mode.ENFORCE),
        ("environments: {production: {mode: enforce}}\nservices: {checkout: {mode: observe}}", Mode.OBSERVE),
    ],
)
def test_the_mode_is_the_nearest_that_the_policy_names(text: str, mode: Mode) -> None:
    assert frozen(judge(text).report(report())).mode is mode


def test_a_second_harmful_change_within_the_hour_freezes_longer() -> None:
    one = judge("mode: enforce", change(), change("c2", time=NOON + 20 * MINUTE))
    first = frozen(one.report(report(ended=True)))
    second = frozen(one.report(report("c2", after=21 * MINUTE)))
    assert second.trip == 2
    assert second.ends_at - second.starts_at >= 2 * 5 * MINUTE > first.ends_at - first.starts_at
    assert second.id != first.id


def test_a_harmful_change_an_hour_later_freezes_as_the_first_one_did() -> None:
    one = judge("mode: enforce", change(), change("c2", time=NOON + 70 * MINUTE))
    one.report(report(ended=True))
    assert frozen(one.report(report("c2", after=71 * MINUTE))).trip == 1


def test_an_order_ends_a_freeze_and_the_same_evidence_does_not_bring_it_back() -> None:
    one = judge()
    freeze = frozen(one.report(report()))
    order = Order(id="o1", verb=Verb.UNFREEZE, time=NOON + 2 * MINUTE, by="ada", reason="fixed", freeze=freeze.id)
    ended = frozen(one.order(order))
    assert (ended.id, ended.ends_at, ended.ended_by) == (freeze.id, order.time, "ada: fixed")
    assert one.order(order) == []
    assert one.report(report(after=3 * MINUTE)) == []


def test_a_person_freezes_what_no_evidence_did() -> None:
    order = Order(
        id="o1", verb=Verb.FREEZE, time=NOON, by="ada", reason="sale", matchers=("service=cart",), ends_at=NOON + MINUTE
    )
    freeze = frozen(judge().order(order))
    assert (freeze.caused_by, freeze.created_by, freeze.ends_at) == ("", "ada", NOON + MINUTE)


# -- new starts wait --------------------------------------------------------------------------------------------------


def held(decisions: list[Decision]) -> Verdict:
    [found] = decisions
    assert isinstance(found, Verdict)
    return found


def test_early_evidence_makes_new_starts_wait_and_freezes_nothing() -> None:
    said = held(judge().report(report(log_p=log(0.02))))
    assert (said.state, said.hold_until, said.hold_mode) == (VerdictState.WARMING, NOON + 75_000, Mode.ENFORCE)
    assert (said.time, said.reached, said.ended) == (NOON + MINUTE, NOON, False)
    assert said.reason == "error_ratio 0.042 > 0.002, p=0.02"
    assert said.hold_passes == (('reverts!=""',), ('version="v1"',))


def test_each_later_report_renews_the_wait_and_a_repeat_does_not() -> None:
    one = judge()
    first = report(log_p=log(0.02))
    assert one.report(first) != []
    assert one.report(first) == []
    later = held(one.report(report(log_p=log(0.01), after=70_000)))
    assert later.hold_until == NOON + 85_000


def test_a_freeze_a_calm_end_and_a_harmful_one_end_the_wait() -> None:
    one = judge()
    one.report(report(log_p=log(0.02)))
    assert [said.hold_until for said in verdicts(one.report(report(after=61_000)))] == [None]
    calm = judge()
    calm.report(report(log_p=log(0.02)))
    last = held(calm.report(report(log_p=log(0.02), after=62_000, ended=True)))
    assert (last.state, last.hold_until) == (VerdictState.HEALTHY, None)
    assert one.report(report(after=63_000, log_p=-30.0)) == []


def test_in_observe_mode_the_wait_is_told_and_marked() -> None:
    assert held(judge("mode: observe").report(report(log_p=log(0.02)))).hold_mode is Mode.OBSERVE


@pytest.mark.parametrize(
    "text",
    [
        "breaker: {watch_hold: 0s}",
        "breaker: {watch_rate: 0.01}",
        "environments: {production: {guarded: false}}",
    ],
)
def test_nobody_waits_where_the_policy_says_so(text: str) -> None:
    assert judge(text).report(report(log_p=log(0.02))) == []


def test_an_error_rate_above_the_bar_of_the_watch_still_freezes() -> None:
    assert freezes(judge("breaker: {error_rate: 0.1}").report(report(log_p=log(0.08))))


def test_nobody_waits_for_a_change_that_another_explains() -> None:
    many = [change(f"c{i}") for i in range(8)]
    one = judge("mode: enforce", *many)
    for i in range(1, 8):
        one.report(report(f"c{i}", log_p=-5.0))
    assert one.report(report("c0", log_p=log(0.02), after=70_000)) == []


def test_the_harmful_version_itself_never_passes_the_wait() -> None:
    one = judge("mode: enforce", change(previous_version="v2"))
    assert held(one.report(report(log_p=log(0.02)))).hold_passes == (('reverts!=""',),)


# -- blame ------------------------------------------------------------------------------------------------------------


def test_of_two_changes_of_one_service_the_one_with_the_evidence_is_blamed() -> None:
    one = judge("mode: enforce", change(), change("c2"))
    one.report(report("c2", log_p=-0.1))
    assert frozen(one.report(report())).caused_by == "c1"


def test_what_is_everywhere_at_once_is_nobodys() -> None:
    """Ten services whose own past shows the same jump at once: no call graph says who broke whom."""
    calls = "mode: enforce\nservices: {" + ", ".join(f"s{i}: {{calls: [s9]}}" for i in range(9)) + "}"
    changes = [change(f"c{i}", service=f"s{i}") for i in range(10)]
    one = judge(calls, *changes)
    for i in range(10):
        one.report(report(f"c{i}", log_p=-3.0, after=1_000, service=f"s{i}", control="past"))
    told: list[Decision] = []
    for i in (9, *range(9)):
        told += one.report(report(f"c{i}", log_p=-12.0, service=f"s{i}", control="past"))
    assert {freeze.caused_by for freeze in freezes(told)} >= {"c9"}
    blamed = {said.change: said.blame for said in verdicts(one.finish(NOON + 2 * MINUTE))}
    assert max(blamed[f"c{i}"] for i in range(9)) < blamed["c9"]


def test_strong_evidence_without_blame_is_inconclusive_and_says_so() -> None:
    many = [change(f"c{i}") for i in range(8)]
    one = judge("mode: enforce", *many)
    for i in range(1, 8):
        one.report(report(f"c{i}", log_p=-5.0))
    told = one.report(report("c0", log_p=-6.0, after=70_000))
    assert told == []
    [last] = [said for said in verdicts(one.finish(NOON + 2 * MINUTE)) if said.change == "c0"]
    assert last.state is VerdictState.INCONCLUSIVE
    assert last.reason.startswith("own part of what was seen 0.1")


def test_a_change_that_began_later_shares_no_blame_for_what_was_there_before() -> None:
    one = judge("mode: enforce", change(), change("later", time=NOON + 10 * MINUTE))
    assert frozen(one.report(report())).caused_by == "c1"


def test_blames_told_at_one_moment_add_up_to_one_with_nobodys() -> None:
    changes = [change(f"c{i}", service=f"s{i}") for i in range(5)]
    one = judge("mode: enforce\nservices: {s1: {calls: [s0]}, s2: {calls: [s1]}}", *changes)
    for i, log_p in enumerate((-14.0, -9.0, -7.0, -1.0, 0.0)):
        one.report(report(f"c{i}", log_p, service=f"s{i}", control="past"))
    said = verdicts(one.finish(NOON + 2 * MINUTE))
    assert {told.time for told in said} == {NOON + 2 * MINUTE}
    [nobody] = {told.shares[-1].blame for told in said}
    assert sum(told.blame for told in said) + nobody == pytest.approx(1.0)
    assert all(sum(share.blame for share in told.shares) == pytest.approx(1.0) for told in said)
    assert all(told.blame == told.shares[0].blame for told in said)


def test_the_freeze_goes_to_the_callee_that_fell_ill_first_not_to_its_louder_caller() -> None:
    one = judge("services: {web: {calls: [checkout]}}", change("loud", service="web"), change("guilty"))
    one.report(report("guilty", -14.0, control="past"))
    assert freezes(one.report(report("loud", -25.0, after=61_000, service="web", control="past"))) == []
    last = {told.change: told for told in verdicts(one.finish(NOON + 2 * MINUTE))}
    assert last["guilty"].blame > last["loud"].blame
    score = {name: max(told.log_e, 0.0) * told.blame for name, told in last.items()}
    assert score["guilty"] > score["loud"]


def test_what_another_service_shows_ranks_a_change_and_never_freezes_or_ends_it() -> None:
    one = judge("services: {web: {calls: [checkout]}}", change(), change("c2", service="mail"))
    for identity, service in (("c1", "checkout"), ("c2", "mail")):
        one.report(report(identity, -0.5, service=service))
    seen = report(log_p=-20.0, after=70_000, service="web", control="past", onset=NOON + 50_000, ended=True)
    assert one.report(seen) == []
    last = {told.change: told for told in verdicts(one.finish(NOON + 2 * MINUTE))}
    assert last["c1"].blame > last["c2"].blame
    assert last["c1"].log_e > last["c2"].log_e
    assert freezes(one.finish(NOON + 2 * MINUTE)) == []


def test_a_step_of_the_rollout_just_before_the_harm_speaks_against_that_change() -> None:
    stepped = change("stepped", rollout=Rollout(strategy="canary", share=0.05), version="")
    one = judge("mode: enforce", stepped, change("whole", version=""))
    one.change(change("stepped", phase=Phase.PROGRESSED, time=NOON + 20 * MINUTE, rollout=Rollout(share=0.5)))
    for identity in ("stepped", "whole"):
        one.report(report(identity, -15.0, after=21 * MINUTE, control="past"))
    last = {told.change: told for told in verdicts(one.finish(NOON + 22 * MINUTE))}
    assert last["stepped"].blame > 1.5 * last["whole"].blame


def test_more_instances_named_later_are_a_step_too() -> None:
    grown = change("grown", instances=("p0",), version="")
    one = judge("mode: enforce", grown, change("whole", version=""))
    named = tuple(f"p{i}" for i in range(6))
    one.change(change("grown", phase=Phase.PROGRESSED, time=NOON + 20 * MINUTE, instances=named, version=""))
    for identity in ("grown", "whole"):
        one.report(report(identity, -15.0, after=21 * MINUTE, control="past"))
    last = {told.change: told for told in verdicts(one.finish(NOON + 22 * MINUTE))}
    assert last["grown"].blame > 1.5 * last["whole"].blame


def test_new_instances_with_no_old_beside_them_are_no_control_against_a_callee() -> None:
    beside = finding(control="concurrent", expected=0.002)
    alone = finding(control="concurrent", expected=None)
    fits = {}
    for name, said in (("beside", beside), ("alone", alone)):
        one = judge("services: {web: {calls: [checkout]}}", change("caller", service="web"), change("callee"))
        one.report(report("callee", -12.0, control="past"))
        fits[name] = freezes(one.report(report("caller", -12.0, after=61_000, service="web", findings=(said,))))
    assert fits["beside"]
    assert fits["alone"] == []


def test_what_new_instances_show_with_no_old_one_beside_them_counts_half() -> None:
    alone = finding(control="concurrent", expected=None)
    one = judge("mode: enforce", change("rolling", service="mail"), change("guilty"))
    one.report(report("rolling", -14.0, service="mail", findings=(alone,)))
    one.report(report("guilty", -11.0, after=61_000, control="past"))
    last = {told.change: told for told in verdicts(one.finish(NOON + 2 * MINUTE))}
    assert last["guilty"].blame > last["rolling"].blame
    assert "log p -7.0" in last["rolling"].shares[0].reason
