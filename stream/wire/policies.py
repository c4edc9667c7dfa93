"""Policies on their topic: haltline's own records, or the YAML file itself as a record's value."""

from __future__ import annotations

from deploy.errors import InvalidPolicy
from deploy.policy import Policy, PolicyRecord
from deploy.policy.record import policy_record_from_object
from stream.cloudevents import Event, Headers, unwrap
from stream.json_text import parse, unreadable
from stream.topics import POLICIES

_TYPE = "dev.cdeventsx.haltline-policy."


def decode_policy_record(value: bytes | None, headers: Headers) -> PolicyRecord:
    """The record of a policy, whose text need not be a policy.

    Raises:
        Unreadable: it is neither a record nor text.
    """
    event = unwrap(value, headers)
    if event.type:
        if not event.type.startswith(_TYPE):
            raise unreadable("format", f"the event's type {event.type!r} is not {_TYPE}*")
        try:
            return policy_record_from_object(parse("policy", event.data))
        except InvalidPolicy as error:
            raise unreadable("value", str(error)) from None
    return PolicyRecord(text=_text(event), name=POLICIES.name)


def decode_policy(value: bytes | None, headers: Headers) -> tuple[PolicyRecord, Policy, list[str]]:
    """The record, the policy that its text is, and its warnings.

    Raises:
        Unreadable: it is none; of a text the message has line and column.
    """
    record = decode_policy_record(value, headers)
    try:
        return record, *record.read()
    except InvalidPolicy as error:
        raise unreadable("value", str(error)) from None


def _text(event: Event) -> str:
    try:
        return (event.data or b"").decode()
    except UnicodeDecodeError:
        raise unreadable("syntax", f"{POLICIES.name}: a policy is YAML in UTF-8") from None
