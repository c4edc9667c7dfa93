"""The policy in force: the file that was named, else the last good one on its topic, else one that asks nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from deploy.policy import Policy, policy_id
from haltline.settings import Settings
from stream import topics
from stream.errors import Unreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from deploy.policy import PolicyRecord
    from haltline.state import Record, State

    Warn = Callable[[str], None]


class InForce(msgspec.Struct, frozen=True, kw_only=True):
    """A policy as it came; `since` is when Kafka took it (Unix ms, None for a file), `record` is None for a file."""

    policy: Policy
    id: str
    since: int | None = None
    record: PolicyRecord | None = None
    warnings: tuple[str, ...] = ()


NONE = InForce(policy=Policy(), id=policy_id(Policy()))


class Book:
    """The policies on their topic, oldest first. They are read when asked for: most readers need the last alone."""

    def __init__(self) -> None:
        self._records: list[Record] = []
        self._read: dict[int, InForce | str] = {}

    def __len__(self) -> int:
        return len(self._records)

    def take(self, record: Record) -> None:
        self._records.append(record)

    def latest(self) -> InForce | None:
        """The last that is good."""
        return next(iter(self._good(reversed(range(len(self._records))))), None)

    def all(self) -> list[InForce]:
        """Every good one, oldest first."""
        return list(self._good(range(len(self._records))))

    def refused(self) -> list[str]:
        """What is wrong with those after the last good one."""
        said: list[str] = []
        for number in reversed(range(len(self._records))):
            found = self._of(number)
            if isinstance(found, InForce):
                break
            said.append(found)
        return said[::-1]

    def _good(self, numbers: range | Iterator[int]) -> Iterator[InForce]:
        for number in numbers:
            found = self._of(number)
            if isinstance(found, InForce):
                yield found

    def _of(self, number: int) -> InForce | str:
        found = self._read.get(number)
        if found is None:
            found = self._read[number] = _read(self._records[number])
        return found


def topics_of(settings: Settings) -> tuple[str, ...]:
    """What must be read to know the policy in force: nothing where a file was named."""
    return () if settings.policy is not None else (topics.POLICIES.name,)


def named(settings: Settings, warn: Warn = lambda _line: None) -> InForce | None:
    """The policy of the file that was named, None where none was.

    Raises:
        InvalidPolicy: the file is none.
    """
    if settings.policy is None:
        return None
    from deploy.policy import load_policy

    policy, warnings = load_policy(settings.policy)
    for line in warnings:
        warn(line)
    return InForce(policy=policy, id=policy_id(policy))


def told(state: State, warn: Warn = lambda _line: None) -> InForce:
    """The policy that the topic has put in force, `NONE` where it has none."""
    found = state.policies.latest() or NONE
    for line in state.policies.refused():
        warn(f"policy refused, {found.id if found.record is not None else 'none'} stays: {line}")
    return found


def in_force(settings: Settings, state: State, warn: Warn = lambda _line: None) -> Policy:
    """The policy in force; `state` has read `topics_of`.

    Raises:
        InvalidPolicy: the file that was named is none.
    """
    return (named(settings, warn) or told(state, warn)).policy


def _read(record: Record) -> InForce | str:
    from stream.wire.policies import decode_policy

    try:
        told, policy, warnings = decode_policy(record.value, record.headers)
    except Unreadable as error:
        return f"{record.topic}[{record.partition}]@{record.offset}: {error}"
    return InForce(policy=policy, id=policy_id(policy), since=record.timestamp, record=told, warnings=tuple(warnings))
