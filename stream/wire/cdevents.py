"""Changes as CDEvents, 0.1 to 0.5 and the custom events of other tools, dispatched on subject and predicate.

What CDEvents has no field for stands under `customData.haltline`, as fields of the native change record; they win.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

from deploy.change import Change
from stream.cloudevents import Event
from stream.json_text import unreadable
from stream.wire.native_change import read_change

#: `dev.cdevents.service.deployed.0.3.0`; what follows the predicate is the event's own version.
_TYPE = re.compile(r"dev\.cdevents\.(?P<subject>[a-z]+)\.(?P<predicate>[a-z]+)(?:\.|$)")

_SERVICE: dict[str, dict[str, Any]] = {
    "deployed": {"phase": "started"},
    "upgraded": {"phase": "started"},
    "rolledback": {"phase": "rolled_back"},
    "removed": {"phase": "started"},
}
_ENVIRONMENT_VERBS = {"created": "create", "modified": "modify", "deleted": "delete"}


class CDEvents:
    name = "cdevents"

    def accepts(self, event: Event, record: object, topic: str) -> bool:
        """By the CloudEvent's type, or by the shape: a `context` and a `subject`."""
        return event.type.startswith("dev.cdevents.") or (
            isinstance(record, dict) and "context" in record and "subject" in record
        )

    def decode(self, event: Event, record: object) -> tuple[Change, ...]:
        """The change that the event tells of; none where it is about something else or only lends provenance."""
        record = _object("the event", record)
        context, subject = _object("context", record.get("context")), _object("subject", record.get("subject"))
        kind = context.get("type") or event.type
        if not isinstance(kind, str) or not kind:
            raise unreadable("type", "cdevent: `context.type` must be a string")
        match = _TYPE.match(kind)
        topic, predicate = (match["subject"], match["predicate"]) if match else ("", "")
        content = subject.get("content")
        told = _told(topic, predicate, subject.get("id"), content if isinstance(content, dict) else {})
        ours = _haltline(record.get("customData"))
        if told is None:
            # Not a change by itself. With an id and a service it says something about one.
            if not (isinstance(ours, dict) and ours.get("id") and ours.get("service")):
                return ()
            told = _lent(topic, predicate, subject, context)
        if ours is not None:
            told |= {field: value for field, value in _object("customData.haltline", ours).items() if value is not None}
        told.setdefault("id", context.get("id") or event.id or None)
        told.setdefault("time", context.get("timestamp") or event.time or None)
        told.setdefault("cdevents", _trace(kind, context))
        return (read_change(told, f"cdevent {kind}"),)


def _told(topic: str, predicate: str, identity: object, content: dict[str, Any]) -> dict[str, Any] | None:
    """The native fields of an event that is a production change by itself, None for any other event."""
    if topic == "service" and predicate in _SERVICE:
        told = {"service": identity, "environment": _id_of(content.get("environment")), **_SERVICE[predicate]}
        if version := _version(content.get("artifactId")):
            told["version"] = version
        if predicate == "removed":
            told["actions"] = [{"verb": "delete", "kind": "service", "name": identity}]
        return told
    if topic == "environment" and predicate in _ENVIRONMENT_VERBS:
        action = {"verb": _ENVIRONMENT_VERBS[predicate], "kind": "environment", "name": identity}
        return {"service": identity, "environment": identity, "kind": "infrastructure", "actions": [action]}
    return None


def _lent(topic: str, predicate: str, subject: dict[str, Any], context: dict[str, Any]) -> dict[str, Any]:
    """What an event about a merge, an artifact or an approval adds to the change that `customData.haltline` names."""
    content = subject.get("content")
    content = content if isinstance(content, dict) else {}
    lent: dict[str, Any] = {"phase": "progressed" if topic == "service" else "planned"}
    if repository := _id_of(content.get("repository")):
        lent["vcs"] = {"repository": repository}
    if topic == "artifact" and (version := _version(subject.get("id"))):
        lent["version"] = version
    responder = content.get("responder")
    if topic == "approval" and content.get("decision") == "approved" and isinstance(responder, str) and responder:
        approver = {"who": responder.removeprefix("urn:user:"), "at": context.get("timestamp")}
        lent["provenance"] = {"approvers": [approver]}
    return lent


def _haltline(custom: object) -> object:
    return custom.get("haltline") if isinstance(custom, dict) else None


def _trace(kind: str, context: dict[str, Any]) -> dict[str, Any]:
    """Where the change was read from: events of one delivery share the chain."""
    named = {"type": kind, "id": context.get("id"), "source": context.get("source"), "chainId": context.get("chainId")}
    return {field: value for field, value in named.items() if isinstance(value, str) and value}


def _object(where: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise unreadable("type", f"cdevent: {where} must be a JSON object")
    return value


def _id_of(reference: object) -> str:
    identity = reference.get("id") if isinstance(reference, dict) else None
    return identity if isinstance(identity, str) else ""


def _version(purl: object) -> str:
    """The version in a package URL, percent-decoded; a tag where it has no version; empty where it is no package URL.

    >>> _version("pkg:oci/shop@sha256%3Ab31c"), _version("pkg:npm/%40shop/cart@v1.2?arch=arm64")
    ('sha256:b31c', 'v1.2')
    >>> _version("pkg:oci/shop?tag=v7"), _version("registry.example/shop:v7")
    ('v7', '')
    """
    if not isinstance(purl, str) or not purl.startswith("pkg:"):
        return ""
    path, _, qualifiers = purl.partition("#")[0].partition("?")
    version = unquote(path.rpartition("/")[2].partition("@")[2])
    if version:
        return version
    pairs = (pair.partition("=") for pair in qualifiers.split("&"))
    return next((unquote(value) for name, _, value in pairs if name == "tag"), "")
