"""Which CDEvents are changes, and what of them the change says."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.change import Action, Change, Kind, Origin, Phase
from stream.errors import Unreadable
from stream.wire import decode_changes, encode
from tests.stream.wire.conformance import CASES

DIGEST = "sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427"
GOLDEN = {case.name: case for case in CASES}


def cdevent(type: str, subject: dict[str, Any] | None = None, haltline: Any = None, **context: Any) -> dict[str, Any]:
    event: dict[str, Any] = {
        "context": {"id": "c-1", "source": "/ci", "timestamp": "2026-11-21T09:14:03.120Z", "type": type} | context,
        "subject": {"id": "checkout", "content": {"environment": {"id": "production"}}} if subject is None else subject,
    }
    return event | ({} if haltline is None else {"customData": {"haltline": haltline}})


def read(event: dict[str, Any]) -> tuple[Change, ...]:
    return decode_changes("haltline.changes", encode(event), {})


@pytest.mark.parametrize(
    "name", ["CDEvents 0.5, bare", "CDEvents 0.5, binary", "CDEvents 0.5, structured", "CDEvents 0.4, bare"]
)
def test_a_deployed_service_is_a_started_change_in_every_form(name: str) -> None:
    (change,) = GOLDEN[name].read(GOLDEN[name].value)  # type: ignore[misc]  # a case of changes
    assert (change.id, change.service, change.environment) == (
        "271069a8-fc18-44f1-b38f-9d70a1695819",
        "mySubject123",
        "test123",
    )
    assert (change.phase, change.kind, change.version) == (Phase.STARTED, Kind.CODE, DIGEST)
    assert change.time == 1_679_322_425_315


def test_the_old_types_of_jenkins_are_read() -> None:
    case = GOLDEN["CDEvents 0.1, bare"]
    (change,) = case.read(case.value)  # type: ignore[misc]  # a case of changes
    assert (change.phase, change.version) == (Phase.STARTED, DIGEST)


def test_a_rollback_ends_the_change_that_haltline_names() -> None:
    case = GOLDEN["CDEvents 0.5, rolled back"]
    (change,) = case.read(case.value)  # type: ignore[misc]  # a case of changes
    assert (change.id, change.phase, change.service) == ("checkout-481", Phase.ROLLED_BACK, "checkout")


def test_a_rollback_that_names_none_is_its_own() -> None:
    (change,) = read(cdevent("dev.cdevents.service.rolledback.0.3.0"))
    assert (change.id, change.phase) == ("c-1", Phase.ROLLED_BACK)


@pytest.mark.parametrize(("predicate", "verb"), [("created", "create"), ("modified", "modify"), ("deleted", "delete")])
def test_an_environment_event_is_an_infrastructure_change_with_its_action(predicate: str, verb: str) -> None:
    (change,) = read(cdevent(f"dev.cdevents.environment.{predicate}.0.3.0", {"id": "prod-eu", "content": {}}))
    assert (change.kind, change.environment) == (Kind.INFRASTRUCTURE, "prod-eu")
    assert change.actions == (Action(verb=verb, kind="environment", name="prod-eu"),)


def test_a_removed_service_is_a_change_that_deletes() -> None:
    (change,) = read(cdevent("dev.cdevents.service.removed.0.3.0"))
    assert change.actions == (Action(verb="delete", kind="service", name="checkout"),)


def test_the_fields_of_haltline_win_over_those_of_the_event() -> None:
    ours = {
        "id": "checkout-481",
        "time": 1_763_716_443_000,
        "version": "v2",
        "environment": None,
        "provenance": {"origin": "ai"},
        "ticket": "OPS-1",
    }
    (change,) = read(cdevent("dev.cdevents.service.deployed.0.3.0", haltline=ours))
    assert (change.id, change.time, change.version) == ("checkout-481", 1_763_716_443_000, "v2")
    assert (change.service, change.environment) == ("checkout", "production")
    assert change.provenance.origin is Origin.AI
    assert change.extra["ticket"] == "OPS-1"


@pytest.mark.parametrize(
    "type",
    [
        "dev.cdevents.change.merged.0.3.0",
        "dev.cdevents.artifact.published.0.3.0",
        "dev.cdevents.approval.closed.0.1.0",
        "dev.cdevents.service.published.0.3.0",
        "dev.cdevents.pipelinerun.finished.0.3.0",
        "dev.cdevents.incident.detected.0.3.0",
        "dev.cdevents.somethingnew.happened.9.0.0",
        "dev.cdeventsx.othertool-thing.made.0.1.0",
    ],
)
@pytest.mark.parametrize("ours", [None, {}, {"id": "x"}, "text", 5])
def test_an_event_that_is_no_change_is_read_and_is_none(type: str, ours: Any) -> None:
    assert read(cdevent(type, haltline=ours)) == ()
    assert read(cdevent(type, {}, haltline=ours, timestamp="never")) == ()


def test_an_approval_that_names_its_change_lends_it_the_approver() -> None:
    case = GOLDEN["CDEvents 0.6 draft, approval"]
    (change,) = case.read(case.value)  # type: ignore[misc]  # a case of changes
    assert (change.id, change.phase) == ("checkout-481", Phase.PLANNED)
    assert [approver.who for approver in change.provenance.approvers] == ["bob"]


def test_a_refused_approval_lends_no_approver() -> None:
    subject = {"id": "a", "content": {"responder": "urn:user:bob", "decision": "rejected"}}
    ours = {"id": "checkout-481", "service": "checkout"}
    (change,) = read(cdevent("dev.cdevents.approval.closed.0.1.0", subject, ours))
    assert change.provenance.approvers == ()


def test_a_merge_that_names_its_change_lends_it_the_repository() -> None:
    subject = {"id": "42", "content": {"repository": {"id": "shop/checkout"}}}
    (change,) = read(
        cdevent("dev.cdevents.change.merged.0.3.0", subject, {"id": "checkout-481", "service": "checkout"})
    )
    assert change.vcs.repository == "shop/checkout"


@pytest.mark.parametrize(
    "type",
    [
        "dev.cdevents.service.deployed.0.9.7",
        "dev.cdevents.service.deployed.0.3.0-draft",
        "dev.cdevents.service.deployed",
    ],
)
def test_unknown_minor_versions_and_unknown_fields_are_tolerated(type: str) -> None:
    event = cdevent(type, specversion="0.9.0", domainId="cdevents:v0:github") | {
        "newTopLevel": [1],
        "customDataContentType": "x",
    }
    assert [change.service for change in read(event)] == ["checkout"]


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (cdevent("dev.cdevents.service.deployed.0.3.0", timestamp="1970-01-01T00:00:00Z"), "time"),
        (cdevent("dev.cdevents.service.deployed.0.3.0", timestamp=None), "time"),
        (cdevent("dev.cdevents.service.deployed.0.3.0", id=7), "type"),
        (cdevent("dev.cdevents.service.deployed.0.3.0", id="x" * 1_000_000), "size"),
        (cdevent("dev.cdevents.service.deployed.0.3.0", {"id": 5}), "type"),
        (cdevent("dev.cdevents.service.deployed.0.3.0", haltline="text"), "type"),
        (cdevent("dev.cdevents.service.deployed.0.3.0", haltline={"phase": "exploded"}), "value"),
        ({"context": {"type": 5}, "subject": {}}, "type"),
        ({"context": [], "subject": {}}, "type"),
    ],
)
def test_a_change_that_cannot_be_read_is_refused_by_its_fault(event: dict[str, Any], kind: str) -> None:
    with pytest.raises(Unreadable) as refused:
        read(event)
    assert refused.value.kind == kind, str(refused.value)
