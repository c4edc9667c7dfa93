"""Advice: a policy that is a policy, and rules that follow the numbers."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.policy import Effect, Guardrail, Policy, parse_policy
from stream.backtest import advice, guardrails
from stream.backtest.advice import Measured
from stream.backtest.proportion import Rate, rate
from stream.backtest.result import AtRate, Case, Metric, Visible
from stream.signals import SignalId

GOAL = 5.0


def at(error_rate: float, hits: int, of: int = 1_000) -> AtRate:
    return AtRate(error_rate, rate({f"s{i}": (hits // 10 + (i < hits % 10), of // 10) for i in range(10)}))


def case(**lengths: int | None) -> Case:
    return Case(
        name="c1", why="labelled", service="checkout", changes=("c1",), change="c1", began_at=0, harm_at=None,
        noticed_at=None, caught_at=None, metric="", control="", reason="", alone={},
        lengths={int(name[1:]) * 60_000: when for name, when in lengths.items()},
    )  # fmt: skip


def metric(name: str, **fields: object) -> Metric:
    given: dict[str, object] = {
        "metric": name, "services": 3, "ratio": False, "bounded": False, "false": rate({"a": (0, 500)}), "spoke": 0,
        "first": 0, "shifts": (Visible("+100 %", 9, 10),), "sees": "+100 %", "least": None,
    }  # fmt: skip
    return Metric(**(given | fields))  # type: ignore[arg-type]  # a factory with defaults


class TestErrorRate:
    def test_the_largest_that_keeps_the_goal_is_chosen(self) -> None:
        chosen, why = advice.choose_error_rate([at(0.001, 0), at(0.002, 1), at(0.004, 2), at(0.007, 9)], GOAL, 0.002)
        assert chosen == 0.004
        assert "2 of 1000 placebo changes frozen = 2 per 1,000" in why

    def test_one_that_may_well_break_the_goal_is_not(self) -> None:
        assert advice.choose_error_rate([at(0.001, 1), at(0.002, 5)], GOAL, 0.002)[0] == 0.001

    def test_too_few_placebo_changes_change_nothing(self) -> None:
        chosen, why = advice.choose_error_rate([at(0.001, 0, 100), at(0.004, 1, 100)], GOAL, 0.004)
        assert chosen == 0.004
        assert "100 placebo changes are too few" in why

    def test_where_none_keeps_the_goal_it_says_so(self) -> None:
        chosen, why = advice.choose_error_rate([at(0.0005, 40), at(0.004, 90)], GOAL, 0.004)
        assert chosen == 0.0005
        assert "stay in observe" in why

    @given(st.floats(0.5, 100))
    def test_so_many_are_enough_and_one_fewer_is_not(self, goal: float) -> None:
        needed = advice.enough_for(goal)
        assert rate({"a": (0, needed)}).high <= goal + 0.06
        assert rate({"a": (0, needed - 1)}).high >= goal - 0.06


class TestWatch:
    def test_it_stays_where_longer_catches_little_more(self) -> None:
        cases = [case(m30=1, m60=1, m120=1)] * 10 + [case(m30=None, m60=None, m120=1)]
        assert advice.choose_watch(cases, Policy(), 30 * 60_000)[0] == Policy().watch.at_least

    def test_it_grows_where_longer_catches_more(self) -> None:
        cases = [case(m30=1, m60=1, m120=1)] * 5 + [case(m30=None, m60=1, m120=1)] * 5
        best, why = advice.choose_watch(cases, Policy(), 30 * 60_000)
        assert best == 60 * 60_000
        assert "5 in 30m, 10 in 1h, 10 in 2h" in why

    def test_without_incidents_it_stays(self) -> None:
        assert advice.choose_watch([], Policy(), 30 * 60_000)[0] == Policy().watch.at_least


class TestBetter:
    def measured(self, caught: int, delay: int = 60_000, false: int = 2, incidents: int = 10) -> Measured:
        return Measured(0.004, "", at(0.004, false).rate, (delay,) * caught, incidents)

    @pytest.mark.parametrize(
        ("new", "old", "better"),
        [
            ((6,), (5,), True),
            ((5, 30_000), (5, 60_000), True),
            ((5, 60_000, 1), (5, 60_000, 2), False),
            ((5,), (5,), False),
            ((4, 1_000, 0), (5,), False),
            ((9, 1_000, 8), (5,), False),
            ((9, 1_000, 8), (5, 60_000, 9), True),
        ],
    )
    def test_more_or_as_many_sooner_and_never_beyond_the_goal(
        self, new: tuple[int, ...], old: tuple[int, ...], better: bool
    ) -> None:
        assert self.measured(*new).better_than(self.measured(*old), GOAL, named=True) is better

    def test_where_nothing_was_named_as_much_is_enough(self) -> None:
        assert self.measured(5, false=4).better_than(self.measured(5), GOAL, named=False)
        assert not self.measured(5, false=6).better_than(self.measured(5), GOAL, named=False)
        assert not self.measured(5, delay=90_000).better_than(self.measured(5), GOAL, named=False)
        assert self.measured(0, incidents=0).better_than(self.measured(0, incidents=0), GOAL, named=False)


class TestGuardrails:
    def choose(self, *metrics: Metric, placebos: object = (), incidents: object = ()) -> dict[str, str]:
        evidence = guardrails.Evidence(placebos, incidents)  # type: ignore[arg-type]
        return {one.metric: one.why for one in guardrails.choose(metrics, evidence, GOAL) if one.guardrail}

    def test_the_metric_that_told_of_the_incidents_is_named_and_those_that_add_nothing_are_not(self) -> None:
        calm = (("latency", -0.1), ("cpu", -0.1), ("memory", -0.1))
        told = (("latency", -8.0), ("cpu", -0.2), ("memory", -0.3))
        chosen = self.choose(
            metric("latency", spoke=3, first=3), metric("cpu"), metric("memory"),
            placebos=[calm] * 800, incidents=[[told]] * 3,
        )  # fmt: skip
        assert list(chosen) == ["latency"]
        assert "told of 3 incidents by itself, first in 3" in chosen["latency"]

    def test_one_that_speaks_falsely_is_not_named_however_much_it_told(self) -> None:
        noisy = metric("noisy", spoke=9, first=9, false=rate({"a": (9, 500)}))
        assert "noisy" not in self.choose(noisy, placebos=[(("noisy", -0.1),)], incidents=[[(("noisy", -9.0),)]])

    def test_without_incidents_those_that_see_are_named_at_most_five(self) -> None:
        blind = metric("blind", shifts=(Visible("+100 %", 1, 10),))
        never = metric("never", false=rate({}))
        chosen = self.choose(*(metric(f"m{i}") for i in range(7)), blind, never)
        assert len(chosen) == guardrails.MOST
        assert not {"blind", "never"} & set(chosen)

    def test_what_the_policy_said_of_a_guardrail_stays(self) -> None:
        signal = SignalId("http.duration", name="p99", guardrail=True, harm="up", effect=Effect(0.2, True))
        named = metric("p99", least=0.9, guardrail=True)
        [rail] = guardrails.as_policy([named, metric("cpu")], {"p99": signal})
        assert rail == Guardrail(name="p99", value="http.duration", harm="up", least_effect=Effect(0.2, True))

    @pytest.mark.parametrize(
        ("fields", "effect"),
        [
            ({"least": None}, None),
            ({"least": 0.05}, None),
            ({"least": 0.42}, Effect(0.2, True)),
            ({"least": 9.0}, Effect(0.25, True)),
            ({"least": 0.5, "bounded": True}, None),
        ],
    )
    def test_the_least_effect_is_half_of_the_least_that_told(
        self, fields: dict[str, object], effect: Effect | None
    ) -> None:
        [rail] = guardrails.as_policy([metric("cpu", guardrail=True, **fields)], {"cpu": SignalId("cpu")})
        assert rail.least_effect == effect

    def test_a_ratio_becomes_errors_over_requests_with_an_effect_of_its_own_unit(self) -> None:
        ratio = metric("a.errors / a.requests", ratio=True, least=0.03, guardrail=True)
        [rail] = guardrails.as_policy([ratio], {ratio.metric: SignalId("a.errors", "a.requests", harm="up")})
        assert (rail.errors, rail.over, rail.value, rail.harm) == ("a.errors", "a.requests", "", "up")
        assert rail.least_effect == Effect(0.015, False)


names = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=30)


@given(
    rails=st.lists(
        st.builds(
            Guardrail, name=names, value=names, harm=st.sampled_from(["up", "down", "both"]),
            least_effect=st.sampled_from([None, Effect(0.1, True), Effect(0.005, False)]),
            services=st.lists(names, max_size=2).map(tuple),
        ),
        max_size=4, unique_by=lambda rail: rail.name,
    ),
    why=names,
    error_rate=st.sampled_from(guardrails.ERROR_RATES),
    minutes=st.integers(1, 2_880),
)  # fmt: skip
def test_the_fragment_is_the_policy_that_was_meant(
    rails: list[Guardrail], why: str, error_rate: float, minutes: int
) -> None:
    meant = advice.suggested(Policy(), error_rate, minutes * 60_000, tuple(rails))
    text = advice.fragment(meant, {rail.name: why for rail in rails})
    read, warnings = parse_policy(text, "suggested")
    assert warnings == []
    assert read.guardrails == meant.guardrails
    assert read.breaker.error_rate == error_rate
    assert read.watch.at_least == minutes * 60_000
    assert read.watch.at_most >= read.watch.at_least


def test_a_ratio_in_the_fragment_is_read_back() -> None:
    rail = Guardrail(
        name="error_ratio", errors="a.errors", over="a.requests", harm="up", least_effect=Effect(0.01, False)
    )
    meant = msgspec.structs.replace(Policy(), guardrails=(rail,))
    assert parse_policy(advice.fragment(meant, {}))[0].guardrails == (rail,)


def test_a_rate_of_nothing_is_no_advice() -> None:
    nothing = AtRate(0.004, Rate(0, 0, None, 0.0, 1_000.0))
    assert advice.choose_error_rate([nothing], GOAL, 0.004)[0] == 0.004
