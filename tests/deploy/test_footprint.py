"""The footprint of a change: what it moved, how large it was, how soon it came."""

from __future__ import annotations

from math import isnan, log, log1p

from deploy.change import Vcs
from deploy.footprint import footprints, metrics_of
from deploy.policy import Policy
from deploy.verdict import Verdict, VerdictState
from tests.factories import NOON, change, finding, policy


def verdict(identity: str, **fields: object) -> Verdict:
    given: dict[str, object] = {"service": "checkout", "time": NOON, "state": VerdictState.HEALTHY, "ended": True}
    return Verdict(change=identity, **(given | fields))  # type: ignore[arg-type]  # a factory


def test_it_has_size_pace_and_the_effect_on_each_guardrail() -> None:
    one = change("a", vcs=Vcs(lines_added=40, lines_removed=3))
    two = change("b", time=NOON + 60_000)
    worse = finding(effect=0.03, expected=0.01)
    said = {"a": verdict("a"), "b": verdict("b", evidence=(worse, finding(-3.0, effect=-9.0)))}
    first, second = footprints([one, two], said, ("error_ratio", "p99"))
    assert first[0] == log1p(43)
    assert isnan(first[1])
    assert first[2:] == (0.0, 0.0)
    assert isnan(second[0])
    assert second[1:] == (log1p(60), log(4.0), 0.0)


def test_a_change_that_is_still_watched_leaves_none_yet_but_sets_the_pace() -> None:
    changes = [change(name, time=NOON + seconds * 1_000) for name, seconds in (("a", 0), ("b", 10), ("c", 25))]
    said = {"a": verdict("a"), "b": verdict("b", ended=False), "c": verdict("c")}
    rows = footprints(changes, said, ())
    assert len(rows) == 2
    assert rows[1][1] == log1p(15)


def test_guardrails_are_its_metrics_and_without_any_those_named_most_often() -> None:
    rules = policy("guardrails: [{name: errors, value: e}, {name: p99, value: p}]")
    assert metrics_of(rules, []) == ("errors", "p99")
    twice = verdict("a", evidence=(finding(metric="z"), finding(metric="y")))
    once = verdict("b", evidence=(finding(metric="z"),))
    assert metrics_of(Policy(), [twice, once]) == ("z", "y")
