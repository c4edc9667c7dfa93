"""Classes of changes: counted once, by outcome alone, accused when harm says so, and the same for every reader."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from deploy.change import Change, Origin, Provenance
from deploy.classes import LEAST, LEAST_REST, Classes, Standing, classes_of, keys_of
from deploy.judge import Judge
from deploy.policy import Policy
from deploy.verdict import Verdict, VerdictState
from tests.factories import NOON, change, policy, report

MINUTE = 60_000


def made_by(identity: str, tool: str = "", origin: str = "ai", **fields: Any) -> Change:
    provenance = Provenance(origin=Origin(origin), tools=(tool,) if tool else ())
    return change(identity, provenance=provenance, **fields)


def told(outcomes: list[tuple[str, bool]], text: str = "") -> Classes:
    """A class book that saw changes of these tools end, a minute apart."""
    classes = Classes(policy(text))
    for number, (tool, harmful) in enumerate(outcomes):
        time = NOON + number * MINUTE
        classes.started(made_by(f"c{number}", tool, time=time))
        classes.ended(f"c{number}", time + MINUTE // 2, harmful=harmful)
    return classes


CALM = [("good" if number % 4 else "bad", number % 100 == 49) for number in range(400)]


# -- which classes ----------------------------------------------------------------------------------------------------


def test_a_change_is_of_a_class_for_each_label_and_each_product_that_is_named() -> None:
    rules = policy("services: {checkout: {tier: 1}}\nclasses: {by: [origin, team, tier], products: [[origin, tier]]}")
    one = made_by("c", "x", labels={"team": "payments"})
    assert keys_of(one, rules) == (("origin=ai",), ("team=payments",), ("tier=1",), ("origin=ai,tier=1",))


def test_an_absent_sign_is_no_class_and_an_unknown_origin_is_its_own() -> None:
    assert keys_of(change(), Policy()) == (("origin=unknown",), (), (), (), (), ())
    by_product = policy("classes: {by: [], products: [[origin, tool]]}")
    assert keys_of(change(), by_product) == ((),)


def test_every_tool_of_a_change_is_a_class() -> None:
    one = change(provenance=Provenance(tools=("b", "a", "b")))
    assert keys_of(one, Policy())[1] == ("tool=a", "tool=b")


# -- what counts ------------------------------------------------------------------------------------------------------


def test_an_outcome_counts_once_for_its_classes_and_as_one_of_the_rest_for_the_others() -> None:
    classes = told([("x", True), ("y", False)])
    assert classes.ended("c0", NOON, harmful=True) == ()
    assert classes.ended("never started", NOON, harmful=True) == ()
    x, y = classes.view("tool=x"), classes.view("tool=y")
    assert (x.changes, x.harmful, x.rest, x.rest_harmful) == (1, 1, 1, 0)
    assert (y.changes, y.harmful, y.rest, y.rest_harmful) == (1, 0, 1, 1)
    assert (classes.view("origin=ai").changes, classes.view("origin=ai").rest) == (2, 0)


def test_a_sandbox_says_nothing_of_a_class() -> None:
    classes = Classes(policy("environments: {sandbox: {guarded: false}}"))
    classes.started(made_by("c", "x", environment="sandbox"))
    assert classes.ended("c", NOON, harmful=True) == ()
    assert classes.views() == []


def test_an_inconclusive_verdict_counts_for_nobody() -> None:
    one = Judge(policy())
    for identity, said in (("a", {"log_p": 0.0, "tests": 0}), ("b", {"log_p": 0.0}), ("c", {})):
        one.change(made_by(identity, "x", service=identity))
        one.report(report(identity, service=identity, ended=True, **said))
    found = one.classes.view("tool=x")
    assert (found.changes, found.harmful, found.harms) == (2, 1, ("c",))


def test_harm_counts_at_once_and_health_when_the_watch_ends() -> None:
    one = Judge(policy())
    one.change(made_by("a", "x"))
    one.report(report("a"))
    assert one.classes.view("tool=x").harmful == 1
    one.change(made_by("b", "x", service="cart"))
    one.report(report("b", log_p=-0.1, service="cart"))
    assert one.classes.view("tool=x").changes == 1
    one.report(report("b", log_p=-0.1, service="cart", after=70_000, ended=True))
    assert one.classes.view("tool=x").changes == 2


# -- accusation -------------------------------------------------------------------------------------------------------


def test_a_label_alone_is_never_evidence() -> None:
    classes = told([("bad", False)] * 300)
    assert {one.standing for one in classes.views()} <= {Standing.CALM, Standing.TOO_FEW}
    assert all(one.log_e == 0.0 and one.needs is None for one in classes.views())


def test_a_tool_that_turns_bad_is_accused_and_the_others_are_not() -> None:
    classes = told([*CALM, *[("bad", number % 3 == 0) for number in range(18)]])
    bad, good = classes.view("tool=bad"), classes.view("tool=good")
    assert bad.standing is Standing.ACCUSED
    assert bad.needs is not None and bad.log_e >= bad.needs
    assert bad.accused_at is not None and bad.accused_at > NOON + 400 * MINUTE
    assert good.standing is Standing.CALM
    assert "log_e" in bad.reason and ">=" in bad.reason


def test_the_outcome_that_accuses_says_so_once() -> None:
    classes = told(CALM)
    named: list[str] = []
    for number in range(18):
        classes.started(made_by(f"d{number}", "bad", time=NOON + (400 + number) * MINUTE))
        named += classes.ended(f"d{number}", NOON + (400 + number) * MINUTE, harmful=number % 3 == 0)
    assert named == ["tool=bad"]


def test_a_class_that_became_good_again_is_let_go() -> None:
    bad = [*CALM, *[("bad", number % 3 == 0) for number in range(18)]]
    after = [("good" if number % 4 else "bad", number % 40 == 1) for number in range(1200)]
    assert told(bad).view("tool=bad").accused_at is not None
    assert told([*bad, *after]).view("tool=bad").accused_at is None


@pytest.mark.parametrize("harms", [1, LEAST - 1])
def test_a_class_with_too_little_data_says_so_and_is_not_accused(harms: int) -> None:
    one = told([*CALM, *[("new", True)] * harms]).view("tool=new")
    assert one.standing is Standing.TOO_FEW
    assert one.reason.startswith("too little data: ")
    assert told([*CALM, *[("new", True)] * 8]).view("tool=new").standing is Standing.ACCUSED


def test_without_a_rest_nobody_is_accused() -> None:
    classes = told([("only", number % 2 == 0) for number in range(200)])
    assert classes.view("origin=ai").standing is Standing.TOO_FEW
    few = told([*[("other", False)] * (LEAST_REST - 1), *[("only", True)] * 20])
    assert few.view("tool=only").standing is Standing.TOO_FEW


def test_stakes_of_all_classes_stay_within_the_error_rate() -> None:
    """Ten days, every change harmful, so that everything that may be staked is."""
    rng = np.random.default_rng(3)
    rules = policy("classes: {error_rate: 0.05}")
    classes, staked = Classes(rules), 0.0
    for number, time in enumerate(np.sort(rng.integers(0, 10 * 24 * 60 * MINUTE, 2000)).tolist()):
        tools = [f"t{value}" for value in rng.integers(0, 40, 2)]
        one = change(
            f"c{number}", time=NOON + time, provenance=Provenance(tools=tuple(tools)), labels={"team": tools[0]}
        )
        classes.started(one)
        purses = {name: state.purse for name, state in classes._states.items()}
        classes.ended(one.id, NOON + time, harmful=True)
        staked += sum(purses[name] - state.purse for name, state in classes._states.items())
    assert 0.05 < staked <= 0.05 * 11


def test_intervals_hold_the_rates_seen() -> None:
    one = told([*CALM, ("bad", True)]).view("tool=bad")
    assert one.rate[0] <= one.harmful / one.changes <= one.rate[1]
    assert one.rest_rate[0] <= one.rest_harmful / one.rest <= one.rest_rate[1]
    assert one.difference[0] < 0.0 < one.difference[1]


# -- for every reader -------------------------------------------------------------------------------------------------


def test_a_reader_of_the_topics_comes_to_what_the_judge_knows() -> None:
    rng = np.random.default_rng(4)
    judge = Judge(policy())
    starts: list[Change] = []
    last: dict[str, Verdict] = {}
    for number in range(300):
        tool = "bad" if rng.random() < 0.2 else "good"
        one = made_by(f"c{number:03}", tool, service=f"s{number}", time=NOON + number * MINUTE)
        starts.append(one)
        judge.change(one)
        harmful = rng.random() < (0.3 if tool == "bad" and number > 200 else 0.02)
        said = {"service": one.service, "log_p": -20.0 if harmful else -0.1}
        spoken = judge.report(report(one.id, after=number * MINUTE + 10_000, **said))
        spoken += judge.report(report(one.id, after=number * MINUTE + 30_000, ended=True, **said))
        last |= {verdict.change: verdict for verdict in spoken if isinstance(verdict, Verdict)}
    assert judge.classes.view("tool=bad").harmful > 3
    shuffled = dict(sorted(last.items(), reverse=True))
    assert classes_of(judge.policy, reversed(starts), shuffled).views() == judge.classes.views()


def test_the_verdict_that_accuses_a_class_names_it_with_its_numbers() -> None:
    judge = Judge(policy())
    said: list[Verdict] = []
    for number in range(140):
        tool = "bad" if number >= 120 else "good"
        one = made_by(f"c{number}", tool, service=f"s{number}", time=NOON + number * 10 * MINUTE)
        judge.change(one)
        log_p = -20.0 if number >= 120 else -0.1
        after = number * 10 * MINUTE + 1_000
        spoken = judge.report(report(one.id, log_p, after=after, service=one.service, ended=True))
        said += [verdict for verdict in spoken if isinstance(verdict, Verdict)]
    naming = [one for one in said if "accuses tool=bad" in one.reason]
    assert len(naming) == 1
    assert naming[0].state is VerdictState.HARMFUL
    assert "harmful against 0 of 120" in naming[0].reason
