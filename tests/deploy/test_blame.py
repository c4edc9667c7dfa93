"""Blame: a share of what was seen, shared with what else could explain it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from deploy.blame import ENOUGH, Suspect, blame_of
from tests.factories import NOON, policy

MINUTE = 60_000
GRAPH = policy("services: {cart: {calls: [pricing]}, checkout: {calls: [cart]}}")


def suspect(change: str = "c1", log_p: float = -20.0, **fields: Any) -> Suspect:
    given: dict[str, Any] = {"service": "cart", "environment": "production", "since": NOON, "concurrent": False}
    return Suspect(change=change, log_p=log_p, **(given | fields))


def blame(one: Suspect, *others: Suspect, after: int = MINUTE) -> float:
    return blame_of(one, others, GRAPH, NOON + after)


SUSPECTS = st.builds(
    suspect,
    change=st.text(max_size=3),
    log_p=st.floats(-1e6, 0),
    service=st.sampled_from(["cart", "checkout", "pricing", "mail"]),
    environment=st.sampled_from(["", "production", "staging"]),
    since=st.integers(NOON - 10**8, NOON),
    concurrent=st.booleans(),
)


@given(SUSPECTS, st.lists(SUSPECTS, max_size=5))
def test_blame_is_a_share_and_another_suspect_never_adds_to_it(one: Suspect, others: list[Suspect]) -> None:
    shares = [blame(one, *others[:count]) for count in range(len(others) + 1)]
    assert all(0.0 <= share <= 1.0 for share in shares)
    assert all(later <= earlier for earlier, later in pairwise(shares))


@given(st.floats(-1e6, 0), st.floats(-1e6, 0))
def test_more_evidence_is_never_less_blame(a: float, b: float) -> None:
    weak, strong = max(a, b), min(a, b)
    assert blame(suspect(log_p=strong), suspect("c2")) >= blame(suspect(log_p=weak), suspect("c2"))


def test_one_alone_with_evidence_has_it_and_without_has_none() -> None:
    assert blame(suspect()) > 0.9
    assert blame(suspect(log_p=0.0)) == 0.0


def test_two_alike_share_it() -> None:
    assert 0.4 < blame(suspect(), suspect("c2")) < 0.5


def test_a_caller_suffers_from_its_callee_and_not_the_other_way() -> None:
    caller, callee = suspect(service="checkout"), suspect("c2", service="pricing")
    assert blame(caller, callee) < blame(callee, caller)
    assert blame(callee, caller) > 0.9


def test_a_nearer_callee_explains_more() -> None:
    near, far = suspect("c2", service="cart"), suspect("c2", service="pricing")
    assert blame(suspect(service="checkout"), near) < blame(suspect(service="checkout"), far)


def test_calls_in_a_circle_end() -> None:
    circle = policy("services: {a: {calls: [b]}, b: {calls: [a]}}")
    assert blame_of(suspect(service="a"), [suspect("c2", service="b")], circle, NOON) >= ENOUGH


def test_a_service_that_nobody_calls_explains_nothing() -> None:
    assert blame(suspect(), suspect("c2", service="mail")) == blame(suspect())


def test_without_a_call_graph_anything_explains_a_little() -> None:
    shared = blame_of(suspect(), [suspect("c2", service="mail")], policy(), NOON)
    assert 0.8 < shared < blame_of(suspect(), [], policy(), NOON)


def test_another_environment_explains_nothing() -> None:
    assert blame(suspect(), suspect("c2", environment="staging")) == blame(suspect())


def test_new_beside_old_is_not_explained_by_a_callee_of_both() -> None:
    callee = suspect("c2", service="pricing")
    beside = msgspec.structs.replace(suspect(), concurrent=True)
    assert blame(beside, callee) > 0.8 > blame(suspect(), callee)


def test_an_older_change_is_blamed_less() -> None:
    old = suspect("c2", since=NOON - 3 * 60 * MINUTE)
    assert blame(suspect(), old) > 0.8 > blame(old, suspect())


def test_harm_that_began_while_the_change_was_young_stays_its_own() -> None:
    began = suspect(onset=NOON + MINUTE)
    assert blame(began, after=10 * 60 * MINUTE) > blame(suspect(), after=10 * 60 * MINUTE)
