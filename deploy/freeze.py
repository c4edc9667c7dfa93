"""Freezes: scopes that must not deploy for a time. An Alertmanager silence turned round.

A freeze's state is a function of its times and the clock; nothing stores it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

import msgspec

from deploy.errors import DeployError
from deploy.order import Order, Verb
from deploy.scope import covers, parse_scope
from deploy.times import format_time, parse_time


class Mode(StrEnum):
    """`observe` records what would have been frozen; only `enforce` holds anything."""

    OBSERVE = "observe"
    ENFORCE = "enforce"


class State(StrEnum):
    PENDING = "pending"
    ACTIVE = "active"
    EXPIRED = "expired"


class Freeze(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One freeze; times are Unix milliseconds.

    `passes` lists scopes that go through it (each a list of matchers): the revert, the last good version.
    `caused_by` is the change that tripped it, empty where a person made it. `ended_by` says who ended it early and why.
    """

    id: str
    matchers: tuple[str, ...]
    starts_at: int
    ends_at: int
    caused_by: str = ""
    level: int = 1
    mode: Mode = Mode.ENFORCE
    reason: str = ""
    created_by: str = "haltline"
    passes: tuple[tuple[str, ...], ...] = ()
    trip: int = 1
    ended_by: str = ""


def freeze_id(*cause: object) -> str:
    """The id of the freeze that these causes make: the same causes, the same freeze."""
    digest = hashlib.blake2b("\x1f".join(map(str, cause)).encode(), digest_size=6)
    return f"fz-{digest.hexdigest()}"


def state_of(freeze: Freeze, now: int) -> State:
    if now < freeze.starts_at:
        return State.PENDING
    return State.ACTIVE if now < freeze.ends_at else State.EXPIRED


def holds(freeze: Freeze, labels: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether this freeze, while active, keeps a change with these labels from going."""
    if not covers(parse_scope(freeze.matchers), labels):
        return False
    return not any(covers(parse_scope(scope), labels) for scope in freeze.passes)


def freeze_to_object(freeze: Freeze) -> dict[str, Any]:
    record: dict[str, Any] = msgspec.to_builtins(freeze)
    # The promised fields always stand in the record, defaults or not.
    promised = {
        "caused_by": freeze.caused_by,
        "level": freeze.level,
        "mode": freeze.mode.value,
        "reason": freeze.reason,
    }
    return record | promised | {"starts_at": format_time(freeze.starts_at), "ends_at": format_time(freeze.ends_at)}


def freeze_from_object(record: object) -> Freeze:
    """Read a freeze record.

    Raises:
        DeployError: naming the field that is wrong.
    """
    if not isinstance(record, dict):
        raise DeployError(f"a freeze is a JSON object, not {type(record).__name__}")
    try:
        times = {field: parse_time(record.get(field)) for field in ("starts_at", "ends_at")}
        freeze = msgspec.convert(record | times, Freeze)
    except msgspec.ValidationError as error:
        raise DeployError(f"freeze: {error}") from None
    # Here rather than when a gate asks: one record nobody can match must not be the answer to every question.
    for scope in (freeze.matchers, *freeze.passes):
        parse_scope(scope)
    return freeze


#: No freeze locks out the fixers: what a person froze lets every revert through.
ANY_REVERT = (('reverts!=""',),)


class FreezeBook:
    """Every known freeze, folded from freeze records and operator orders in any order, any number of times.

    The judge and every reader fold the same way, so a reader that sees an order before the judge has answered it
    already knows what the answer will be: a person's freeze needs no worker to hold.
    """

    def __init__(self) -> None:
        self._freezes: dict[str, Freeze] = {}
        self._ends: list[Order] = []

    def __iter__(self) -> Iterator[Freeze]:
        return iter(sorted(self._freezes.values(), key=lambda freeze: (freeze.starts_at, freeze.id)))

    def get(self, identity: str) -> Freeze | None:
        return self._freezes.get(identity)

    def active(self, now: int) -> list[Freeze]:
        return [freeze for freeze in self if state_of(freeze, now) is State.ACTIVE]

    def forget(self, identity: str) -> None:
        """Drop a freeze whose tombstone came, long after it expired."""
        self._freezes.pop(identity, None)

    def record(self, freeze: Freeze) -> list[Freeze]:
        """Take in a freeze record; returns the freezes that are now different."""
        known = self._freezes.get(freeze.id)
        # An early end is final: a repeat of the first record, made again after a restart, does not undo it.
        if known is not None and known.ended_by and (not freeze.ended_by or known.ends_at <= freeze.ends_at):
            return []
        for order in self._ends:
            freeze = _ended(freeze, order)
        if freeze == known:
            return []
        self._freezes[freeze.id] = freeze
        return [freeze]

    def order(self, order: Order) -> list[Freeze]:
        """Carry out an operator's order; returns the freezes that are now different."""
        if order.verb is Verb.FREEZE:
            starts_at = order.starts_at if order.starts_at is not None else order.time
            assert order.ends_at is not None  # `order_from_object` refuses a freeze without
            return self.record(
                Freeze(
                    id=freeze_id("order", order.id),
                    matchers=tuple(str(matcher) for matcher in parse_scope(order.matchers)),
                    starts_at=starts_at,
                    ends_at=order.ends_at,
                    reason=order.reason,
                    created_by=order.by,
                    passes=ANY_REVERT,
                )
            )
        if order.verb is not Verb.UNFREEZE or order in self._ends:
            return []
        self._ends.append(order)  # for the freezes that are still on their way
        changed = []
        for freeze in list(self._freezes.values()):
            ended = _ended(freeze, order)
            if ended is not freeze:
                self._freezes[ended.id] = ended
                changed.append(ended)
        return changed


def _ended(freeze: Freeze, order: Order) -> Freeze:
    """The freeze after this unfreeze, or the freeze itself where the order means another or comes too late.

    Named by its id a freeze ends even before it began; by matchers only those that had begun are meant. Of two orders
    the earlier counts, whichever arrives first.
    """
    if order.time >= freeze.ends_at:
        return freeze
    if order.freeze:
        if order.freeze != freeze.id:
            return freeze
    elif order.time < freeze.starts_at or parse_scope(freeze.matchers) != parse_scope(order.matchers):
        return freeze
    return msgspec.structs.replace(
        freeze,
        starts_at=min(freeze.starts_at, order.time),
        ends_at=order.time,
        ended_by=f"{order.by}: {order.reason}",
    )
