"""A plan as the gate sees it: what it destroys, and what nobody can say of it."""

from __future__ import annotations

from typing import Any

import msgspec

from deploy.change import Action
from deploy.errors import DeployError

#: Bytes; a plan beyond it is held unread.
LARGEST = 512 * 1024 * 1024
#: More than a person will look through; the rest is counted.
MOST_LISTED = 1_000


class Plan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a plan of this `format` does: `resources` it touches, what of them it destroys, what is not understood.

    `digest` is the SHA-256 of the file: the answer is for that plan and no other. `destroys` and `unknown` list at most
    `MOST_LISTED`, `more` counts the rest.
    """

    format: str
    digest: str
    resources: int = 0
    destroys: tuple[Action, ...] = ()
    unknown: tuple[str, ...] = ()
    more: int = 0


class Found:
    """What a reader has found so far; bounded, however large the plan."""

    def __init__(self) -> None:
        self.resources = 0
        self._destroys: list[Action] = []
        self._unknown: list[str] = []
        self._more = 0

    def destroys(self, verb: str, kind: str, name: str) -> None:
        if len(self._destroys) < MOST_LISTED:
            self._destroys.append(Action(verb=verb, kind=kind, name=name))
        else:
            self._more += 1

    def unknown(self, text: str) -> None:
        if len(self._unknown) < MOST_LISTED:
            self._unknown.append(text[:300])
        else:
            self._more += 1

    def plan(self, form: str, digest: str) -> Plan:
        return Plan(
            format=form,
            digest=digest,
            resources=self.resources,
            destroys=tuple(self._destroys),
            unknown=tuple(self._unknown),
            more=self._more,
        )


def plan_to_object(plan: Plan) -> dict[str, Any]:
    record: dict[str, Any] = msgspec.to_builtins(plan)
    return record


def plan_from_object(record: object) -> Plan:
    """Read a plan that another haltline has read.

    Raises:
        DeployError: naming the field that is wrong.
    """
    try:
        return msgspec.convert(record, Plan)
    except msgspec.ValidationError as error:
        raise DeployError(f"plan: {error}") from None
