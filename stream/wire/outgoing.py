"""The records that haltline itself writes and reads back, each a structured CloudEvent with its key.

The bytes follow from the record alone: the event's id is the record's id and a digest of its content, and its time is
the record's own. So a decision made again after a restart is the same record again.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from deploy.change import Change, change_to_object
from deploy.errors import DeployError, InvalidMatcher, InvalidTime
from deploy.evidence import Report
from deploy.freeze import Freeze, freeze_from_object, freeze_to_object
from deploy.gate import Answer, answer_to_object
from deploy.order import Order, order_from_object, order_to_object
from deploy.policy.record import PolicyRecord, policy_record_to_object
from deploy.scope import parse_scope
from deploy.times import format_time, parse_time
from deploy.verdict import Verdict, verdict_from_object, verdict_to_object
from stream.cloudevents import Headers, unwrap, wrap
from stream.json_text import encode, parse, unreadable, validation_kind
from stream.wire.changes import decode_changes

T = TypeVar("T")

SOURCE = "haltline"
#: The version of these records' shapes, the last part of each event type.
SHAPE = "0.1.0"
_PREFIX = "dev.cdeventsx.haltline-"


class Wire(msgspec.Struct, frozen=True):
    """One Kafka record to send; `headers` is the list of pairs that every client takes.

    Only a dead letter has a header or a value that is None, where the record that it keeps had one.
    """

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


def encode_change(change: Change) -> Wire:
    predicate = change.phase.value.replace("_", "")
    return _wire(f"change.{predicate}", change.id, change.id, change.time, change_to_object(change))


def encode_report(report: Report) -> Wire:
    return _wire("evidence.reported", report.change, report.change, report.time, report_to_object(report))


def encode_verdict(verdict: Verdict) -> Wire:
    return _wire("verdict.reached", verdict.change, verdict.change, verdict.time, verdict_to_object(verdict))


def encode_freeze(freeze: Freeze, time: int) -> Wire:
    """`time` is the event time of what made the freeze or ended it, in Unix milliseconds."""
    predicate = "ended" if freeze.ended_by else "created"
    return _wire(f"freeze.{predicate}", freeze.id, freeze.id, time, freeze_to_object(freeze))


def encode_order(order: Order) -> Wire:
    """Keyed by scope, so that the orders for one scope keep their order; else by the freeze or change that it names."""
    scope = order.freeze or order.change or ",".join(sorted(str(matcher) for matcher in parse_scope(order.matchers)))
    return _wire("order.given", scope, order.id, order.time, order_to_object(order))


def encode_answer(answer: Answer) -> Wire:
    """An answer of the gate for the ledger; the same cause gives the same id, whenever it was asked."""
    return _wire("gate.answered", answer.id, answer.id, answer.at, answer_to_object(answer))


def encode_policy(record: PolicyRecord, identity: str) -> Wire:
    """A policy to put in force; `identity` is the id of what it says, so that compaction keeps one of each."""
    return _wire("policy.applied", identity, identity, record.time, policy_record_to_object(record))


def decode_change(value: bytes | None, headers: Headers) -> Change:
    """One change from a record of haltline's own changes topic.

    Raises:
        Unreadable: it cannot be read, or it does not tell of exactly one change.
    """
    changes = decode_changes("haltline.changes", value, headers)
    if len(changes) != 1:
        raise unreadable("format", f"the record tells of {len(changes)} changes, must be one")
    return changes[0]


def decode_report(value: bytes | None, headers: Headers) -> Report:
    """Raises `Unreadable`, as each of these does."""
    return _decode("evidence", report_from_object, value, headers)


def decode_verdict(value: bytes | None, headers: Headers) -> Verdict:
    return _decode("verdict", verdict_from_object, value, headers)


def decode_freeze(value: bytes | None, headers: Headers) -> Freeze:
    return _decode("freeze", freeze_from_object, value, headers)


def decode_order(value: bytes | None, headers: Headers) -> Order:
    return _decode("order", order_from_object, value, headers)


def report_to_object(report: Report) -> dict[str, Any]:
    record: dict[str, Any] = msgspec.to_builtins(report)
    return record | {field: format_time(record[field]) for field in ("time", "onset") if record.get(field) is not None}


def report_from_object(record: object) -> Report:
    """Read an evidence record.

    Raises:
        DeployError: naming the field that is wrong.
    """
    if not isinstance(record, dict):
        raise DeployError(f"evidence is a JSON object, not {type(record).__name__}")
    times = {field: parse_time(record[field]) for field in ("time", "onset") if record.get(field) is not None}
    try:
        return msgspec.convert(record | times, Report)
    except msgspec.ValidationError as error:
        raise DeployError(f"evidence: {error}") from None


def _wire(subject: str, key: str, identity: str, time: int, record: dict[str, Any]) -> Wire:
    _check_finite(subject, record)
    digest = hashlib.blake2b(encode(record), digest_size=8).hexdigest()
    kind = f"{_PREFIX}{subject}.{SHAPE}"
    value, headers = wrap(kind, SOURCE, f"{identity}.{digest}", identity, time, record)
    return Wire(key=key.encode(), value=value, headers=[*headers.items()])


def _check_finite(subject: str, record: object) -> None:
    """JSON has no infinity: it would be written as `null` and could not be read back."""
    if isinstance(record, dict):
        for value in record.values():
            _check_finite(subject, value)
    elif isinstance(record, list):
        for value in record:
            _check_finite(subject, value)
    elif isinstance(record, float) and not math.isfinite(record):
        raise ValueError(f"{subject}: {record} cannot be written as JSON")


def _decode(subject: str, read: Callable[[object], T], value: bytes | None, headers: Headers) -> T:
    event = unwrap(value, headers)
    if event.type and not event.type.startswith(f"{_PREFIX}{subject}."):
        raise unreadable("format", f"the event's type {event.type!r} is not {_PREFIX}{subject}.*")
    record = parse(subject, event.data)
    try:
        return read(record)
    except DeployError as error:
        raise unreadable(_kind(error, record), str(error)) from None


def _kind(error: DeployError, record: object) -> str:
    cause = error.__context__
    if isinstance(error, InvalidTime) or isinstance(cause, InvalidTime):
        return "time"
    if isinstance(cause, msgspec.ValidationError):
        return validation_kind(str(cause))
    return "value" if isinstance(record, dict) or isinstance(error, InvalidMatcher) else "type"
