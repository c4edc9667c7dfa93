"""Operator orders: what a person told haltline to do, as a record on `haltline.orders`."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from deploy.errors import InvalidOrder, InvalidTime
from deploy.scope import parse_scope
from deploy.times import format_time, parse_time


class Verb(StrEnum):
    FREEZE = "freeze"
    UNFREEZE = "unfreeze"
    APPROVE = "approve"
    WITHDRAW = "withdraw"
    REFUSE = "refuse"


class Order(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One order; `id` is given by whoever issues it and makes repeats of the same order the same order.

    A freeze names `matchers` and `ends_at`; an unfreeze names a `freeze` id, or `matchers` equal to those of the
    freezes to end. An approval names `change` and `revision`, since when that could be read where it is known, and what
    loss it `confirms`; a refusal says no to the same. Who withdraws takes back all that they said of the change.
    """

    id: str
    verb: Verb
    time: int
    by: str
    reason: str = ""
    matchers: tuple[str, ...] = ()
    starts_at: int | None = None
    ends_at: int | None = None
    freeze: str = ""
    change: str = ""
    revision: str = ""
    since: int | None = None
    confirms: str = ""
    signature: str = ""


_TIMES = ("time", "starts_at", "ends_at", "since")


def order_from_object(record: object) -> Order:
    """Read an order record.

    Raises:
        InvalidOrder: the text names the field and what it needs.
    """
    if not isinstance(record, dict):
        raise InvalidOrder(f"an order is a JSON object, not {type(record).__name__}")
    record = {key: value for key, value in record.items() if value is not None}
    try:
        record |= {field: parse_time(record[field]) for field in _TIMES if field in record}
        order = msgspec.convert(record, Order)
        scope = parse_scope(order.matchers)
    except (msgspec.ValidationError, InvalidTime) as error:
        raise InvalidOrder(f"order: {error}") from None
    if order.verb is Verb.FREEZE and (not scope or order.ends_at is None):
        raise InvalidOrder("order: a freeze needs `matchers` and `ends_at`")
    if order.verb is Verb.UNFREEZE and not (order.freeze or scope):
        raise InvalidOrder("order: an unfreeze needs the id of a `freeze`, or `matchers`")
    if order.verb in (Verb.APPROVE, Verb.REFUSE) and not (order.change and order.revision):
        raise InvalidOrder("order: a yes or no needs the id of a `change` and its `revision`")
    if order.verb is Verb.WITHDRAW and not order.change:
        raise InvalidOrder("order: who withdraws needs the id of a `change`")
    if not order.by or (not order.reason and order.verb in (Verb.FREEZE, Verb.UNFREEZE)):
        raise InvalidOrder("order: `by` and `reason` must not be empty")
    return order


def order_to_object(order: Order) -> dict[str, Any]:
    record: dict[str, Any] = msgspec.to_builtins(order)
    return record | {field: format_time(record[field]) for field in _TIMES if record.get(field) is not None}
