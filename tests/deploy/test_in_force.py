"""A new policy: changes that begin later are judged by it, those that are judged already keep theirs."""

from __future__ import annotations

from math import log

from hypothesis import given
from hypothesis import strategies as st

from deploy.freeze import Freeze, Mode
from deploy.judge import Judge
from deploy.lanes import lanes_of
from deploy.policy import Policies, Policy
from deploy.verdict import Verdict
from tests.factories import NOON, change, policy, report

LENIENT = "mode: enforce\nbreaker: {error_rate: 0.000001, open_for: 1m}"
STRICT = "mode: observe\nbreaker: {error_rate: 0.004, open_for: 9m}"


@given(st.lists(st.integers(-50, 50), max_size=12), st.integers(-60, 60))
def test_the_policy_in_force_is_the_last_that_was_taken_by_then(taken: list[int], time: int) -> None:
    policies = Policies(Policy(version=-1))
    for number, since in enumerate(sorted(taken)):
        policies.take(Policy(version=number), since)
    expected = sum(since <= time for since in taken) - 1
    assert policies.at(time).version == expected
    assert policies.until(time)[-1].version == expected
    assert len(policies.until(time)) == expected + 2


def two() -> Policies:
    """A lenient policy that freezes, and from a minute after noon a strict one that observes."""
    policies = Policies(policy(LENIENT))
    policies.take(policy(STRICT), NOON + 60_000)
    return policies


def test_each_change_is_frozen_by_the_policy_in_force_when_it_began() -> None:
    judge = Judge(two())
    judge.change(change("early"))
    judge.change(change("late", service="cart", time=NOON + 60_000))
    # Enough for the new policy's error rate and not for the old one's.
    assert not any(isinstance(one, Freeze) for one in judge.report(report("early", log(0.001), after=120_000)))
    _, observed = judge.report(report("late", log(0.001), service="cart", after=121_000))
    assert isinstance(observed, Freeze)
    assert (observed.mode, observed.ends_at - observed.starts_at >= 9 * 60_000) == (Mode.OBSERVE, True)
    _, enforced = judge.report(report("early", -30.0, after=122_000))
    assert isinstance(enforced, Freeze)
    assert (enforced.mode, enforced.ends_at - enforced.starts_at < 2 * 60_000) == (Mode.ENFORCE, True)


def test_what_is_told_first_of_two_changes_and_policies_decides_nothing() -> None:
    def told(*order: str) -> list[object]:
        judge = Judge(two())
        for one in order:
            judge.change(change(one, service=one, time=NOON + 60_000 * (one == "late")))
        reports = [report(one, log(0.001), service=one, after=120_000) for one in ("early", "late")]
        return [one for given in reports for one in judge.report(given)]

    assert told("early", "late") == told("late", "early")


def test_lanes_and_classes_are_counted_again_by_the_new_policy_as_a_reader_would() -> None:
    policies = Policies(policy("mode: enforce"))
    new = policy("mode: enforce\nlanes: [{name: carts, match: [service=~cart.*]}]\nclasses: {by: [service]}")
    policies.take(new, NOON + 60_000)
    judge, starts, last = Judge(policies), [], {}
    for number in range(6):
        one = change(f"c{number}", service=f"cart{number}", time=NOON + 20_000 * number)
        starts.append(one)
        judge.change(one)
        for said in judge.report(report(one.id, -40.0, service=one.service, after=20_000 * number + 1_000)):
            if isinstance(said, Verdict):
                last[one.id] = said
    assert judge.lanes.all() == lanes_of(new, starts, last)
    assert [one.name for one in judge.lanes.all()] == ["carts"]
    assert {one.name: (one.changes, one.harmful) for one in judge.classes.views()} == {
        f"service=cart{number}": (1, 1) for number in range(6)
    }
