"""What is on its way: told twice it is the same, an end that was lost ends by itself, names are one person's."""

from __future__ import annotations

import pytest

from deploy.change import Approver, Change, Origin, Phase, Provenance, Rollout
from deploy.lookalike import skeleton
from deploy.policy import parse_policy
from deploy.question import Question
from deploy.traffic import LOST_MS, Traffic
from deploy.verdict import Verdict, VerdictState
from tests.factories import NOON, change

POLICY, _ = parse_policy(
    "people: {bo: {aliases: [bo@example.org]}}\n"
    "lanes: [{name: ai, match: [origin=ai], pace: {cool_off: 1h}}]\napprovals: {unknown: ai}"
)
MINUTE = 60_000


def one(after: int = 0, phase: Phase = Phase.STARTED, origin: Origin = Origin.AI, **fields: object) -> Change:
    return change(time=NOON + after * MINUTE, phase=phase, provenance=Provenance(origin=origin), **fields)


def test_told_twice_is_told_once() -> None:
    records = [one(), one(5, Phase.PROGRESSED, rollout=Rollout(share=0.5)), one(9, Phase.FINISHED)]
    for told in (records, [*records, *records]):
        traffic = Traffic(POLICY, told)
        known = traffic.known("c1")
        assert known is not None
        assert (known.started_at, known.ended_at, known.share) == (NOON, NOON + 9 * MINUTE, 1.0)
        assert len(traffic.starts("ai", NOON - 1, NOON + 10 * MINUTE)) == 1


@pytest.mark.parametrize("phase", [Phase.FINISHED, Phase.ROLLED_BACK, Phase.FAILED])
def test_a_rollout_runs_until_it_ends_or_its_end_is_lost(phase: Phase) -> None:
    traffic = Traffic(POLICY, [one(), one(5, phase)])
    assert traffic.running(NOON + 6 * MINUTE) == []
    lost = Traffic(POLICY, [one()])
    assert [len(lost.running(NOON + after)) for after in (-1, 0, LOST_MS - 1, LOST_MS)] == [0, 1, 1, 0]
    assert Traffic(POLICY, [one(phase=Phase.PLANNED)]).running(NOON + 1) == []


def test_an_unknown_origin_runs_in_the_lane_of_what_it_is_treated_as() -> None:
    traffic = Traffic(POLICY, [one(origin=Origin.UNKNOWN), one(origin=Origin.HUMAN)])
    known = traffic.known("c1")
    assert known is not None
    assert (known.lane, known.labels["origin"]) == ("ai", ("unknown", "ai"))


def test_harm_counts_from_when_it_was_first_said() -> None:
    traffic = Traffic(POLICY, [one()])
    for after in (3, 30):
        harm = Verdict(change="c1", service="checkout", time=NOON + after, since=NOON + 3, state=VerdictState.HARMFUL)
        traffic.verdict(harm)
    assert traffic.harm("ai") == (NOON + 3, "c1")
    assert traffic.harm("people") is None


def test_approvals_and_questions_are_one_persons_by_any_name() -> None:
    traffic = Traffic(POLICY)
    for number, who in enumerate(("bo", "BO@example.org", "eve")):
        made = Provenance(approvers=(Approver(who=who, at=NOON + number),))
        traffic.change(change(f"c{number}", provenance=made))
    assert [name for _, name in traffic.approvals("bo", NOON - 1, NOON + 9)] == ["c0", "c1"]
    question = Question(id="q", to="bo", asks="?", asked_at=NOON, deadline=NOON + 9)
    for _ in range(2):
        traffic.question(question)
    assert (traffic.questions_to("bo", NOON - 1), traffic.asked("q")) == ([NOON], [question])
    assert traffic.questions_to("bo", NOON) == []


@pytest.mark.parametrize("name", ["сheckout", "CHECKOUT", "check\u200bout", "ｃheckout", "checkοut", " checkout "])
def test_what_looks_like_a_name_has_its_skeleton(name: str) -> None:
    assert skeleton(name) == "checkout"


@pytest.mark.parametrize("name", ["check-out", "checkouts", "касса", "checkou7"])
def test_what_does_not_has_its_own(name: str) -> None:
    assert skeleton(name) != "checkout"


def test_approvals_of_one_moment_are_as_many_as_one_teller_names_and_told_by_two_they_are_one() -> None:
    def given(*names: str) -> Provenance:
        return Provenance(approvers=tuple(Approver(who=who, at=NOON) for who in names))

    traffic = Traffic(POLICY, [change("c1", provenance=given("bo")), change("c2", provenance=given("bo@example.org"))])
    assert traffic.approvals("bo", NOON - 1, NOON) == [(NOON, "c1"), (NOON, "c2")]
    traffic.approved("bo", NOON, "3484a3fb9d0c")
    assert len(traffic.approvals("bo", NOON - 1, NOON)) == 2
    for revision in ("0badc0ffee00", "1badc0ffee00", "1badc0ffee00"):
        traffic.approved("bo", NOON, revision)
    assert len(traffic.approvals("bo", NOON - 1, NOON)) == 3
    assert traffic.approvals("bo", NOON, NOON + 1) == []
