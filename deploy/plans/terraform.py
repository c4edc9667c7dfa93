"""Terraform and OpenTofu: `terraform show -json PLAN`, and the lines of `terraform plan -json`.

Source: developer.hashicorp.com/terraform/internals/json-format (1.x) and .../machine-readable-ui.
"""

from __future__ import annotations

from typing import Any

import msgspec

from deploy.plans.plan import Found

#: What `change.actions` may hold, and whether it destroys.
_ACTIONS = {
    ("no-op",): "",
    ("create",): "",
    ("read",): "",
    ("update",): "",
    ("delete",): "delete",
    # Destroyed before its successor exists, or after: what was in it is gone either way.
    ("delete", "create"): "recreate",
    ("create", "delete"): "replace",
    ("forget",): "",
    ("create", "forget"): "",
}
_LINE_ACTIONS = {
    "noop": "",
    "create": "",
    "read": "",
    "update": "",
    "move": "",
    "import": "",
    "remove": "",
    "delete": "delete",
    "replace": "recreate",
}


class _Change(msgspec.Struct, frozen=True):
    actions: tuple[str, ...] = ()


class _Resource(msgspec.Struct, frozen=True):
    change: _Change
    address: str = ""
    mode: str = "managed"
    type: str = ""
    name: str = ""
    deposed: str = ""
    action_reason: str = ""


class _Plan(msgspec.Struct, frozen=True):
    """Only what is asked for: the values of resources, which make a plan large, are skipped without being built."""

    format_version: str = ""
    resource_changes: tuple[_Resource, ...] | None = None
    errored: bool = False
    complete: bool = True
    deferred_changes: tuple[msgspec.Raw, ...] | None = None
    action_invocations: tuple[msgspec.Raw, ...] | None = None


class _LineResource(msgspec.Struct, frozen=True):
    addr: str = ""
    resource_type: str = ""


class _LineChange(msgspec.Struct, frozen=True):
    resource: _LineResource
    action: str


class _Sums(msgspec.Struct, frozen=True):
    remove: int = 0


class _Line(msgspec.Struct, frozen=True):
    level: str = msgspec.field(default="", name="@level")
    type: str = ""
    change: _LineChange | None = None
    changes: _Sums | None = None
    message: str = msgspec.field(default="", name="@message")


def read(data: Any, found: Found) -> None:
    plan = msgspec.json.decode(data, type=_Plan)
    if plan.format_version.partition(".")[0] != "1":
        found.unknown(f"its format_version is {plan.format_version!r}, known is 1.x")
    if plan.resource_changes is None:
        found.unknown("it has no resource_changes; `terraform show -json PLAN` writes them")
    if plan.errored or not plan.complete:
        found.unknown("planning did not come to its end, so what it will do is not all in it")
    if plan.deferred_changes:
        found.unknown(f"{len(plan.deferred_changes)} changes are deferred to a later plan")
    if plan.action_invocations:
        found.unknown(
            f"{len(plan.action_invocations)} actions of providers are invoked, which say nothing of what they do"
        )
    for resource in plan.resource_changes or ():
        if resource.mode == "data":
            continue
        found.resources += resource.change.actions != ("no-op",)
        address = resource.address or f"{resource.type}.{resource.name}"
        verb = _ACTIONS.get(resource.change.actions)
        if verb is None:
            found.unknown(f"{address}: actions {list(resource.change.actions)} are not known")
        elif verb:
            # What an earlier run left over of a replacement may be all that still holds the data.
            deposed = f" (deposed {resource.deposed})" if resource.deposed else ""
            found.destroys(verb, resource.type, f"{address}{deposed}")


def read_lines(data: Any, found: Found) -> None:
    removed, told = 0, None
    for number, line in enumerate(bytes(data).splitlines(), 1):
        if not line.strip():
            continue
        try:
            one = msgspec.json.decode(line, type=_Line)
        except (msgspec.DecodeError, RecursionError) as error:
            found.unknown(f"line {number}: {str(error)[:200]}")
            continue
        if one.level == "error":
            found.unknown(f"line {number}: planning failed: {one.message[:200]}")
        if one.type == "change_summary" and one.changes is not None:
            told = one.changes.remove
        if one.type != "planned_change" or one.change is None:
            continue
        found.resources += 1
        verb = _LINE_ACTIONS.get(one.change.action)
        if verb is None:
            found.unknown(f"{one.change.resource.addr}: action {one.change.action!r} is not known")
        elif verb:
            removed += 1
            found.destroys(verb, one.change.resource.resource_type, one.change.resource.addr)
    # The summary is the last thing that planning says: without it, or with another count, lines are missing.
    if told is None:
        found.unknown("it has no change_summary, so it is not whole")
    elif told != removed:
        found.unknown(f"its change_summary removes {told} resources, its lines {removed}")
