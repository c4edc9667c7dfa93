"""Ghosts: judged as the same change would be, and of no consequence to anything else."""

from __future__ import annotations

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deploy.change import Change, Phase
from deploy.judge import Decision
from deploy.verdict import Verdict, VerdictState
from stream.backtest.ghost import Ghost, HauntedPipeline, Role, Seen
from stream.backtest.shifts import Shift
from stream.replay import decide
from stream.signals import SignalId
from tests.factories import NOON, Recording, change, columns, gauges, policy, shop

SLOW = settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.too_slow])
RULES = policy("watch: {at_least: 25s, samples: 1}")


def ghost(one: Change, *later: Change, **fields: object) -> Ghost:
    given = {"role": Role.PLACEBO, "change": one, "policy": RULES, "due": one.time, "later": later}
    return Ghost(**(given | fields))  # type: ignore[arg-type]  # a factory with defaults


def haunted(
    said: Recording, changes: tuple[Change, ...] = (), ghosts: tuple[Ghost, ...] = ()
) -> tuple[list[Decision], dict[str, Seen]]:
    seen: dict[str, Seen] = {}
    pipeline = HauntedPipeline(RULES, ghosts, lambda one, _service, _watch: seen.update({one.ghost.change.id: one}))
    return list(decide(list(changes), [columns(said)], RULES, pipeline)), seen


def harmful(decisions: list[Decision], identity: str) -> int | None:
    told = [one for one in decisions if isinstance(one, Verdict) and one.change == identity]
    return next((one.time for one in told if one.state is VerdictState.HARMFUL), None)


@given(seed=st.integers(0, 60), harm=st.sampled_from([None, 3, 9]))
@SLOW
def test_a_ghost_is_judged_as_the_same_change_would_be(seed: int, harm: int | None) -> None:
    said = shop(seed=seed, harm_after=harm, phases=True, jitter=0.2)
    real, _ = haunted(said, (change(),))
    _, seen = haunted(said, (), (ghost(change()),))
    assert seen["c1"].frozen(RULES.breaker.error_rate) == harmful(real, "c1")
    last = [one for one in real if isinstance(one, Verdict)][-1]
    assert last.ended
    assert seen["c1"].reports[-1].ended
    assert (seen["c1"].log_p < -5) == (last.state is VerdictState.HARMFUL)


@given(seed=st.integers(0, 60))
@SLOW
def test_ghosts_change_no_decision_and_not_each_other(seed: int) -> None:
    said = shop(seed=seed) | shop(seed=seed + 1, canary=0, service="cart")
    told = (change(), change("c2", service="cart", version=""))
    one = ghost(change("g1", time=NOON - 10_000))
    other = ghost(change("g2", time=NOON - 9_000, instances=("p2",)))
    alone, first = haunted(said, told, (one,))
    together, both = haunted(said, told, (one, other))
    assert together == alone == haunted(said, told)[0]
    assert both["g1"] == first["g1"]


def test_a_ghost_ends_where_its_later_records_end_it() -> None:
    taken_back = change(phase=Phase.ROLLED_BACK, time=NOON + 2_000)
    _, seen = haunted(shop(harm_after=8), (), (ghost(change(), taken_back),))
    assert seen["c1"].frozen(0.004) is None
    assert seen["c1"].reports[-1].time == NOON + 2_000


def test_a_smaller_error_rate_freezes_later_or_never() -> None:
    _, seen = haunted(shop(), (), (ghost(change()),))
    times = [seen["c1"].frozen(rate) or 2**62 for rate in (0.007, 0.004, 1e-4, 1e-30)]
    assert times == sorted(times)
    assert times[0] < 2**62 == times[-1]


def test_one_metric_by_itself_is_all_that_a_narrow_ghost_sees() -> None:
    said = shop(canary=0)
    latency = SignalId("http.server.duration.p99")
    keys = tuple(key for key in said if key.metric == latency.metric)
    harmless = change(instances=("p1",), version="")
    only = ghost(harmless, only=(latency, keys), due=NOON + 27_000)
    harmed = msgspec.structs.replace(
        only, change=msgspec.structs.replace(harmless, id="harmed"), shift=Shift("+100 %", 2.0)
    )
    decisions, seen = haunted(said, (), (only, harmed))
    assert decisions == []
    assert set(seen["c1"].heard) == {latency}
    assert seen["c1"].frozen(0.004) is None
    assert NOON + 5_000 <= (seen["harmed"].frozen(0.004) or 0) <= NOON + 25_000


def test_a_service_that_says_nothing_is_not_judged() -> None:
    _, seen = haunted(shop(), (), (ghost(change("g1", service="nowhere")),))
    assert seen == {}
    _, seen = haunted(gauges({"latency": [1.0] * 20}, start=NOON - 600_000), (), (ghost(change("g1")),))
    assert not seen["g1"].judged
