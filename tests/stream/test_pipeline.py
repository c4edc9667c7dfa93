"""The pipeline: watch and judge together, and a harmful change frozen within seconds of event time."""

from __future__ import annotations

import itertools

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deploy.change import Change, Phase, labels_of
from deploy.freeze import Freeze, holds
from deploy.judge import Decision
from deploy.order import Order, Verb
from deploy.verdict import Verdict, VerdictState
from stream.pipeline import Pipeline
from tests.factories import NOON, Recording, change, columns, policy, samples, shop

SLOW = settings(deadline=None, max_examples=6, suppress_health_check=[HealthCheck.too_slow])


def decisions(recording: Recording, *changes: Change, each: int = 0) -> list[Decision]:
    """What comes out when these are told in the order of time, so many moments at a time, or all between changes."""
    pipeline = Pipeline(policy())
    waiting = sorted(changes, key=lambda one: one.time)
    found: list[Decision] = []
    block: list[tuple[object, int, float]] = []
    count = 0
    for time, group in itertools.groupby(samples(recording), key=lambda one: one[1]):
        due = bool(waiting) and waiting[0].time <= time
        if block and (due or (each and count >= each)):
            found += pipeline.telemetry(columns(block))  # type: ignore[arg-type]
            block, count = [], 0
        while waiting and waiting[0].time <= time:
            found += pipeline.change(waiting.pop(0))
        block += list(group)
        count += 1
    found += pipeline.telemetry(columns(block))  # type: ignore[arg-type]
    for one in waiting:
        found += pipeline.change(one)
    return found + pipeline.finish()


def freezes(found: list[Decision]) -> list[Freeze]:
    return [one for one in found if isinstance(one, Freeze)]


@given(st.integers(0, 50), st.sampled_from([1, 3, 40]))
@SLOW
def test_how_many_samples_come_at_once_changes_no_decision(seed: int, each: int) -> None:
    said = shop(seed=seed, jitter=0.2, phases=True, gaps=0.05) | shop(seed=seed, canary=0, service="cart")
    told = (change(), change("c2", service="cart"), change("c3", time=NOON + 8_500))
    assert decisions(said, *told, each=each) == decisions(said, *told)


def test_harm_is_frozen_within_seven_samples_and_the_revert_passes() -> None:
    found = decisions(shop(), change())
    [freeze] = freezes(found)
    assert NOON + 4_000 < freeze.starts_at <= NOON + 10_000
    assert not holds(freeze, labels_of(change("fix", version="v1")))
    assert holds(freeze, labels_of(change("next", version="v3")))


def test_a_harmless_change_ends_without_freeze() -> None:
    found = decisions(shop(harm_after=None), change(watch_until=NOON + 20_000))
    assert freezes(found) == []
    assert [one.state for one in found if isinstance(one, Verdict)] == [VerdictState.WARMING, VerdictState.HEALTHY]


def test_a_change_beside_the_harmful_one_is_not_frozen() -> None:
    said = shop() | shop(service="cart", harm_after=None, seed=1)
    assert [one.caused_by for one in freezes(decisions(said, change(), change("c2", service="cart")))] == ["c1"]


def test_what_happens_after_a_rollback_is_not_its_doing() -> None:
    rolled_back = change(phase=Phase.ROLLED_BACK, time=NOON + 5_000)
    assert freezes(decisions(shop(harm_after=8), change(), rolled_back)) == []


def test_an_order_passes_through() -> None:
    pipeline = Pipeline(policy())
    [freeze] = pipeline.order(
        Order(
            id="o1", verb=Verb.FREEZE, time=NOON, by="ada", reason="sale", matchers=("service=cart",), ends_at=NOON + 9
        )
    )
    assert isinstance(freeze, Freeze)
    assert freeze.reason == "sale"


def test_decisions_come_in_the_order_of_time() -> None:
    said = shop(jitter=0.2, gaps=0.1, phases=True) | shop(seed=3, service="cart", phases=True)
    told = [change(), change("c2", service="cart"), change("c3", service="nowhere"), change("c4", time=NOON + 7_500)]
    times = [one.time if isinstance(one, Verdict) else one.starts_at for one in decisions(said, *told)]
    assert times[:-4] == sorted(times[:-4])
