"""The change record: what is read, what is kept, what is refused by name, and the labels that matchers see."""

from __future__ import annotations

import json
from typing import Any

import pytest

from deploy.change import Kind, Origin, Phase, change_from_object, change_to_object, labels_of
from deploy.errors import InvalidChange

TIME = "2026-11-21T09:14:03.120Z"
FULL: dict[str, Any] = {
    "id": "checkout-481",
    "service": "checkout",
    "environment": "production",
    "phase": "started",
    "time": TIME,
    "kind": "code",
    "version": "v2",
    "previous_version": "v1",
    "instances": ["checkout-7f9c"],
    "rollout": {"strategy": "canary", "share": 0.1},
    "provenance": {
        "origin": "ai",
        "confidence": 0.97,
        "autonomy": "agent",
        "tools": ["some-agent", "another"],
        "models": [],
        "author": "author@example.org",
        "approvers": [{"who": "approver@example.org", "role": "senior", "at": "2026-11-21T09:02:00Z"}],
        "evidence": [{"source": "commit-trailer", "text": "Assisted-by: some-agent"}],
    },
    "vcs": {"repository": "shop/checkout", "revision": "3484a3f", "lines_added": 40, "lines_removed": 3},
    "actions": [{"verb": "delete", "kind": "environment", "name": "prod-eu"}],
    "labels": {"team": "payments"},
}


def record(**fields: object) -> dict[str, Any]:
    return {"id": "c-1", "service": "checkout", "time": TIME} | fields


def test_the_promised_record_reads_and_writes_itself_but_for_what_is_empty() -> None:
    written = json.loads(json.dumps(change_to_object(change_from_object(FULL))))
    expected = FULL | {"provenance": {k: v for k, v in FULL["provenance"].items() if v}}
    expected.pop("kind")  # the default
    assert written == expected
    assert change_from_object(written) == change_from_object(FULL)


def test_what_is_missing_has_the_promised_default_and_a_missing_sign_is_not_human() -> None:
    change = change_from_object(record(phase=None, environment=None))
    assert (change.phase, change.kind, change.provenance.origin) == (Phase.STARTED, Kind.CODE, Origin.UNKNOWN)


def test_unknown_fields_are_kept_and_written_again() -> None:
    change = change_from_object(record(ticket={"number": 7}, extra="mine"))
    assert change_to_object(change) == record(ticket={"number": 7}, extra="mine", phase="started")


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"id": None}, "id"),
        ({"id": ""}, "id"),
        ({"id": " "}, "id"),
        ({"id": 7}, "id"),
        ({"service": "s" * 2_000}, "service"),
        ({"time": None}, "time"),
        ({"time": "noon"}, "time"),
        ({"time": 0}, "time"),
        ({"phase": "begun"}, "phase"),
        ({"kind": "magic"}, "kind"),
        ({"provenance": {"origin": "robot"}}, "provenance.origin"),
        ({"rollout": {"share": 1.5}}, "rollout.share"),
        ({"rollout": {"share": float("nan")}}, "rollout.share"),
        ({"vcs": {"lines_added": -900}}, "vcs.lines_added"),
        ({"vcs": {"lines_added": 900, "lines_removed": -900}}, "vcs.lines_removed"),
        ({"watch_until": "later"}, "watch_until"),
        ({"labels": {"team": 1}}, "labels"),
        ({"instances": "checkout-7f9c"}, "instances"),
    ],
)
def test_a_wrong_field_is_refused_by_its_name(fields: dict[str, object], named: str) -> None:
    with pytest.raises(InvalidChange, match=named) as refused:
        change_from_object(record(**fields))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("value", [None, [], "change", 7])
def test_what_is_no_object_is_refused(value: object) -> None:
    with pytest.raises(InvalidChange, match="JSON object"):
        change_from_object(value)


def test_labels_carry_every_value_and_the_tier_that_the_policy_gives() -> None:
    labels = labels_of(change_from_object(FULL | {"reverts": "checkout-480"}), tier=1)
    assert labels["tool"] == ("some-agent", "another")
    assert labels["approver"] == ("approver@example.org",)
    assert (labels["team"], labels["origin"], labels["tier"]) == (("payments",), ("ai",), ("1",))
    assert (labels["reverts"], labels["revision"]) == (("checkout-480",), ("3484a3f",))


def test_a_label_of_ones_own_cannot_pose_as_another_service() -> None:
    change = change_from_object(record(labels={"service": "cart", "reverts": "c-0", "origin": "human"}))
    labels = labels_of(change)
    assert (labels["service"], labels["reverts"], labels["origin"]) == (("checkout",), (), ("unknown",))
