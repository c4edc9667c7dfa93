"""CloudFormation: what `aws cloudformation describe-change-set` prints.

Source: docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_ResourceChange.html.
"""

from __future__ import annotations

from typing import Any

import msgspec

from deploy.plans.plan import Found

_STACK = "AWS::CloudFormation::Stack"
#: What an action does beside `Modify`, which says it in `Replacement`.
_ACTIONS = {"Add": "", "Import": "", "Remove": "delete"}
_REPLACEMENT = {"True": "replace", "False": "", "": "", "Conditional": "replace, perhaps"}


class _Resource(msgspec.Struct, frozen=True, rename="pascal"):
    action: str = ""
    logical_resource_id: str = ""
    physical_resource_id: str = ""
    resource_type: str = ""
    replacement: str = ""
    policy_action: str = ""
    change_set_id: str = ""


class _Change(msgspec.Struct, frozen=True, rename="pascal"):
    type: str = ""
    resource_change: _Resource | None = None


class _ChangeSet(msgspec.Struct, frozen=True, rename="pascal"):
    changes: tuple[_Change, ...] | None = None
    status: str = "CREATE_COMPLETE"
    next_token: str = ""


def read(data: Any, found: Found) -> None:
    change_set = msgspec.json.decode(data, type=_ChangeSet)
    if change_set.changes is None:
        found.unknown("it has no Changes; `aws cloudformation describe-change-set` prints them")
    if change_set.status != "CREATE_COMPLETE":
        found.unknown(f"the change set is {change_set.status}, so what it will do is not all in it")
    if change_set.next_token:
        found.unknown("it is one page of several (NextToken); describe the change set without --no-paginate")
    for one in change_set.changes or ():
        resource = one.resource_change
        if one.type != "Resource" or resource is None:
            found.unknown(f"a change of type {one.type!r} is not known")
            continue
        found.resources += 1
        name = resource.logical_resource_id or resource.physical_resource_id
        if resource.action == "Modify" and resource.resource_type == _STACK:
            found.unknown(f"{name}: the nested stack has its own change set, which is not here")
            continue
        modified = resource.action == "Modify"
        verb = _REPLACEMENT.get(resource.replacement) if modified else _ACTIONS.get(resource.action)
        if verb is None:
            what = f"{resource.action!r} with replacement {resource.replacement!r}"
            found.unknown(f"{name}: action {what} is not known")
        elif verb and resource.policy_action != "Retain":
            found.destroys(verb, resource.resource_type, name)
