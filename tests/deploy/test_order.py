"""Operator orders: what may be ordered and what is refused, by name."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.errors import DeployError
from deploy.order import Order, Verb, order_from_object, order_to_object

NOW, LATER = "2026-11-21T10:00:00.000Z", "2026-11-21T10:30:00.000Z"


def record(**fields: object) -> dict[str, Any]:
    freeze = {"id": "o-1", "verb": "freeze", "time": NOW, "by": "ada", "reason": "incident 7"}
    return freeze | {"matchers": ["service=checkout"], "ends_at": LATER} | fields


def test_a_written_order_reads_back_as_itself() -> None:
    order = order_from_object(record(starts_at=NOW))
    assert order_from_object(order_to_object(order)) == order
    assert order_to_object(order)["ends_at"] == LATER


def test_an_unfreeze_names_a_freeze_or_a_scope() -> None:
    named = order_from_object(record(verb="unfreeze", freeze="fz-1", matchers=None, ends_at=None))
    assert named == Order(
        id="o-1", verb=Verb.UNFREEZE, time=1_795_255_200_000, by="ada", reason="incident 7", freeze="fz-1"
    )
    assert order_from_object(record(verb="unfreeze", ends_at=None)).matchers == ("service=checkout",)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"matchers": []}, "matchers"),
        ({"ends_at": None}, "ends_at"),
        ({"ends_at": "soon"}, "soon"),
        ({"matchers": ["checkout"]}, "NAME=VALUE"),
        ({"matchers": ["service=~("]}, "RE2"),
        ({"by": ""}, "by"),
        ({"reason": ""}, "reason"),
        ({"reason": None}, "reason"),
        ({"verb": "thaw"}, "thaw"),
        ({"verb": "unfreeze", "matchers": []}, "unfreeze needs"),
        ({"time": None}, "time"),
    ],
)
def test_an_order_that_cannot_be_carried_out_is_refused(fields: dict[str, object], named: str) -> None:
    with pytest.raises(DeployError, match=named):
        order_from_object(record(**fields))
