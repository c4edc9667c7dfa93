"""Blame: changes that were active at once, and nobody, share what was seen."""

from __future__ import annotations

from math import fsum, log
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.blame import ENOUGH, Blame, blame
from deploy.calls import Calls
from deploy.suspect import Sight, Suspect, response, timing
from deploy.verdict import NOBODY, OTHERS
from tests.factories import NOON, policy

MINUTE = 60_000
GRAPH = Calls(policy("services: {cart: {calls: [pricing]}, checkout: {calls: [cart]}, web: {calls: [checkout]}}"))
NO_GRAPH = Calls(policy())
RATE = 0.004


def suspect(change: str = "c1", log_p: float = -20.0, at: int = NOON + MINUTE, **fields: Any) -> Suspect:
    """A change of cart at noon; its evidence came all `at` one moment."""
    known: dict[str, Any] = {
        "service": "cart",
        "environment": "production",
        "since": NOON,
        "onset": at if log_p < -3.0 else None,
        "grown": ((at, log_p),) if log_p < 0.0 else (),
        "slack": 3 * MINUTE,
    }
    return Suspect(change=change, log_p=log_p, **(known | fields))


def sight(service: str, log_p: float = -20.0, at: int = NOON + MINUTE) -> Sight:
    return Sight(service, log_p, ((at, log_p),), at)


def share(*suspects: Suspect, calls: Calls = GRAPH) -> Blame:
    return blame(suspects, calls, RATE)


SIGHTS = st.builds(sight, st.sampled_from(["cart", "checkout", "mail"]), st.floats(-1e6, 0))
SUSPECTS = st.builds(
    suspect,
    change=st.text(min_size=1, max_size=3),
    log_p=st.floats(-1e9, 0),
    at=st.integers(NOON - MINUTE, NOON + 10**8),
    service=st.sampled_from(["cart", "checkout", "pricing", "mail"]),
    environment=st.sampled_from(["", "production", "staging"]),
    since=st.integers(NOON - 10**8, NOON),
    control=st.sampled_from(["", "worse", "same"]),
    named=st.booleans(),
    seen=st.lists(SIGHTS, max_size=3).map(tuple),
)
TOGETHER = st.lists(SUSPECTS, min_size=1, max_size=7, unique_by=lambda one: one.change)


# -- shares -----------------------------------------------------------------------------------------------------------


@given(TOGETHER, st.booleans(), st.randoms(use_true_random=False))
def test_shares_of_all_and_nobody_add_up_to_one_in_any_order(many: list[Suspect], graph: bool, random: Random) -> None:
    calls = GRAPH if graph else NO_GRAPH
    found = share(*many, calls=calls)
    assert fsum(found.shares.values()) == pytest.approx(1.0)
    assert found.shares.keys() == {one.change for one in many} | {NOBODY}
    assert all(0.0 <= one <= 1.0 for one in [*found.shares.values(), *found.fits.values()])
    random.shuffle(many)
    assert share(*many, calls=calls) == found


@given(TOGETHER)
def test_what_a_verdict_names_adds_up_to_one(many: list[Suspect]) -> None:
    told = share(*many).named(many[0].change)
    assert fsum(one.blame for one in told) == pytest.approx(1.0)
    assert (told[0].change, told[-1].change) == (many[0].change, NOBODY)
    assert all(one.reason for one in told)


def test_many_changes_are_named_to_the_largest_and_summed_up() -> None:
    told = share(*(suspect(f"c{i:02d}", -5.0 - i) for i in range(20))).named("c00")
    assert [one.change for one in told] == ["c00", *(f"c{i}" for i in range(19, 11, -1)), OTHERS, NOBODY]
    assert told[-2].reason == "11 others"


@given(st.floats(-1e6, 0), st.floats(-1e6, 0))
def test_more_evidence_is_never_less_blame(a: float, b: float) -> None:
    weak, strong = max(a, b), min(a, b)
    assert share(suspect(log_p=strong), suspect("c2")).of("c1") >= share(suspect(log_p=weak), suspect("c2")).of("c1")


def test_one_alone_with_evidence_has_it_and_without_has_none() -> None:
    assert share(suspect()).of("c1") > 0.9
    assert share(suspect(log_p=0.0)).of("c1") == 0.0


def test_chance_weighs_as_much_as_a_change_that_just_reached_the_error_rate() -> None:
    found = share(suspect(log_p=log(RATE), at=NOON))
    assert found.of("c1") == pytest.approx(found.of(NOBODY))


def test_of_two_alike_on_one_service_each_has_half() -> None:
    found = share(suspect(), suspect("c2"))
    assert found.of("c1") == found.of("c2")
    assert found.fits["c1"] == pytest.approx(0.5)


# -- place ------------------------------------------------------------------------------------------------------------


def test_a_caller_suffers_from_its_callee_and_not_the_other_way() -> None:
    louder = suspect("caller", -30.0, service="checkout")
    found = share(louder, suspect("callee", -15.0, service="pricing"))
    assert found.of("callee") > 0.6 > found.of("caller")
    assert found.fits["caller"] < ENOUGH < found.fits["callee"]


def test_a_callee_with_too_little_to_explain_it_explains_nothing() -> None:
    found = share(suspect("caller", service="checkout"), suspect("callee", -4.0, service="pricing"))
    assert found.fits["caller"] == pytest.approx(1.0)


def test_a_callee_that_was_ill_at_another_time_explains_nothing() -> None:
    long_ago = suspect("callee", service="pricing", since=NOON - 60 * MINUTE, at=NOON - 30 * MINUTE)
    assert share(suspect("caller", service="checkout"), long_ago).fits["caller"] == pytest.approx(1.0)


def test_calls_in_a_circle_end() -> None:
    circle = Calls(policy("services: {a: {calls: [b]}, b: {calls: [a]}}"))
    found = share(suspect(service="a"), suspect("c2", service="b"), calls=circle)
    assert found.of("c1") == found.of("c2")
    assert found.fits["c1"] >= ENOUGH


def test_a_service_that_nobody_calls_explains_nothing() -> None:
    assert share(suspect(control="worse"), suspect("c2", service="mail")).fits["c1"] > 0.9


def test_two_incidents_at_once_are_both_frozen_though_they_share_the_blame() -> None:
    found = share(*(suspect(f"c{i}", service=f"s{i}", control="worse") for i in range(6)))
    assert found.of("c0") < ENOUGH
    assert min(found.fits.values()) > 0.9


def test_without_a_call_graph_what_is_worse_than_the_old_beside_it_explains_the_rest() -> None:
    found = share(suspect(control="worse"), suspect("c2", service="mail"), calls=NO_GRAPH)
    assert found.fits["c2"] < ENOUGH < 0.9 < found.fits["c1"]
    alike = share(suspect(), suspect("c2", service="mail"), calls=NO_GRAPH)
    assert alike.of("c1") == alike.of("c2")


def test_another_environment_explains_nothing() -> None:
    callee = suspect("c2", service="pricing", environment="staging")
    assert share(suspect(), callee).fits["c1"] == pytest.approx(1.0)


# -- control ----------------------------------------------------------------------------------------------------------


def test_new_beside_old_is_not_explained_by_a_callee_of_both() -> None:
    callee = suspect("c2", service="pricing")
    assert share(suspect(control="worse"), callee).fits["c1"] > 0.7
    assert share(suspect(), callee).fits["c1"] < ENOUGH


def test_of_two_changes_of_one_service_the_one_whose_new_instances_are_worse_did_it() -> None:
    found = share(suspect(control="worse", named=True), suspect("flag", -25.0, control="worse"))
    assert found.of("c1") > 0.8
    assert found.fits["flag"] < ENOUGH


def test_new_instances_as_good_as_the_old_speak_for_the_other_change() -> None:
    assert share(suspect(control="same", named=True), suspect("flag")).of("flag") > 0.7


# -- time and dose ----------------------------------------------------------------------------------------------------


def test_an_older_change_is_blamed_less() -> None:
    found = share(suspect(), suspect("old", since=NOON - 3 * 60 * MINUTE))
    assert found.of("c1") > 0.8
    assert found.fits["old"] < ENOUGH


def test_harm_that_began_while_the_change_was_young_stays_its_own() -> None:
    assert timing(suspect(at=NOON + MINUTE)) > 0.9 > timing(suspect(at=NOON + 60 * MINUTE))


def test_harm_that_follows_a_step_of_the_rollout_is_its_own() -> None:
    steps = ((NOON, 0.01), (NOON + 60 * MINUTE, 0.5))
    at = NOON + 61 * MINUTE
    found = share(suspect("stepped", at=at, steps=steps), suspect("whole", at=at))
    assert found.of("stepped") > 0.7


def test_harm_that_grows_with_the_share_speaks_for_the_change_that_grew() -> None:
    grown = ((NOON + 6 * MINUTE, -5.0), (NOON + 31 * MINUTE, -20.0))
    stepped = suspect("stepped", grown=grown, steps=((NOON + 5 * MINUTE, 0.1), (NOON + 30 * MINUTE, 1.0)))
    whole = suspect("whole", grown=grown, since=NOON + 5 * MINUTE)
    assert timing(stepped) > 1.5 * timing(whole)


@given(st.integers(-(10**8), 10**8), st.lists(st.tuples(st.integers(0, 10**8), st.floats(0, 1)), max_size=5))
def test_the_response_to_a_rollout_is_a_share_and_none_before_it(after: int, steps: list[tuple[int, float]]) -> None:
    one = suspect(steps=tuple(sorted((NOON + time, share) for time, share in steps)))
    found = response(one, NOON + after)
    assert 0.0 <= found <= 1.0
    assert found == 0.0 if after < 0 else found > 0.0


# -- nobody -----------------------------------------------------------------------------------------------------------


def test_what_comes_from_an_ill_callee_that_nobody_changed_is_nobodys() -> None:
    found = share(suspect(service="checkout", seen=(sight("pricing"),)))
    assert found.fits["c1"] < ENOUGH
    assert found.of(NOBODY) > 0.7
    assert "pricing" in found.reasons["c1"]


def test_an_ill_caller_takes_nothing_from_the_change_below_it() -> None:
    alone, seen = share(suspect()), share(suspect(seen=(sight("checkout"),)))
    assert seen.fits == alone.fits
    assert seen.of("c1") > 0.9


def test_what_is_everywhere_at_once_is_nobodys() -> None:
    elsewhere = tuple(sight(f"s{i}") for i in range(4))
    for calls in (GRAPH, NO_GRAPH):
        found = share(suspect(seen=elsewhere), calls=calls)
        assert found.fits["c1"] < ENOUGH
        assert found.of(NOBODY) > 0.8
    assert share(suspect(seen=elsewhere, control="worse")).fits["c1"] > 0.7


def test_one_service_that_is_ill_by_itself_is_not_everywhere() -> None:
    elsewhere = (sight("s0"), *(sight(f"s{i}", -0.5) for i in range(1, 4)))
    assert share(suspect(seen=elsewhere)).fits["c1"] > ENOUGH
    mild = (sight("s0", -5.0), *elsewhere[1:])
    assert share(suspect(seen=mild)).fits["c1"] == pytest.approx(1.0)


def test_three_changes_of_services_that_have_nothing_to_do_with_each_other_were_hit_from_outside() -> None:
    found = share(*(suspect(f"c{i}", service=f"s{i}") for i in range(3)))
    assert max(found.fits.values()) < ENOUGH
    assert found.of(NOBODY) > 0.8


# -- neighbours -------------------------------------------------------------------------------------------------------


def test_a_caller_that_fails_points_at_the_change_below_it_which_is_never_frozen_for_that() -> None:
    quiet, innocent = suspect(log_p=-0.5, seen=(sight("checkout"),)), suspect("c2", -0.5, service="mail")
    found = share(quiet, innocent)
    assert found.of("c1") > 0.3 > found.of("c2")
    assert "checkout" in found.reasons["c1"]


def test_a_caller_that_suffers_says_more_than_a_callee() -> None:
    caller, callee = (share(suspect(log_p=0.0, seen=(sight(name),))).of("c1") for name in ("checkout", "pricing"))
    assert caller > callee > 0.0


def test_of_two_changes_below_a_failing_caller_the_one_with_evidence_of_its_own_did_it() -> None:
    seen = (sight("checkout", -30.0),)
    found = share(suspect("loud", -10.0, seen=seen), suspect("quiet", 0.0, service="pricing", seen=seen))
    assert found.of("loud") > 3 * found.of("quiet")
