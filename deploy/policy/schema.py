"""The JSON Schema of a policy, for editors to complete and check it by; made from the structs that read it."""

from __future__ import annotations

from typing import Any

import msgspec

from deploy.freeze import Mode
from deploy.policy.check import UNKNOWN_AS
from deploy.policy.model import Effect, Policy
from deploy.times import format_duration

_DURATION = {"type": "string", "pattern": r"^(\d+(\.\d+)?(ms|s|m|h|d|w))+$", "examples": ["30m", "1h30m"]}
_PERCENT = {"type": "string", "pattern": r"^\s*\d+(\.\d+)?%\s*$"}
_SHARE = {"anyOf": [{"type": "number", "exclusiveMinimum": 0, "maximum": 1}, _PERCENT], "examples": [0.1, "10%"]}
_MATCHER = {"type": "string", "examples": ["tier=1", 'origin=~"ai|mixed"', "service!=search"]}
_WRITTEN: dict[str, dict[str, Any]] = {
    "duration": _DURATION,
    "share": _SHARE,
    "shares": {"type": "array", "items": _SHARE},
    "match": {"type": "array", "items": _MATCHER},
}
_EFFECT = {"anyOf": [{"type": "number", "minimum": 0}, _PERCENT], "examples": [0.005, "10%"]}


def schema() -> dict[str, Any]:
    """The schema, draft 2020-12. Unknown keys are allowed, as a policy may be written for a later version."""
    made = msgspec.json.schema(Policy)
    definitions: dict[str, Any] = {name: _as_written(one) for name, one in made["$defs"].items()}
    definitions[Effect.__name__] = _EFFECT
    policy = definitions.pop(Policy.__name__)
    policy["properties"]["version"] = {"const": 1}
    definitions["Approvals"]["properties"]["unknown"] = {"enum": list(UNKNOWN_AS), "default": UNKNOWN_AS[0]}
    definitions["Lane"]["properties"]["match"] = _WRITTEN["match"]
    definitions["Guardrail"]["properties"]["harm"] = {"enum": ["up", "down", "both"], "default": "both"}
    definitions["Mode"] = {"enum": [mode.value for mode in Mode]}
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "haltline policy"}
    return head | {key: value for key, value in policy.items() if key != "title"} | {"$defs": definitions}


def _as_written(node: Any) -> Any:
    """A node as the file has it rather than the struct: durations as `30m`, shares also as `10%`."""
    if isinstance(node, list):
        return [_as_written(one) for one in node]
    if not isinstance(node, dict):
        return node
    kind = node.get("x-haltline")
    if kind is None:
        made = {key: _as_written(value) for key, value in node.items() if key != "default"}
        # A mapping that YAML leaves empty is null, and reads as if it were not there.
        return made | ({"default": node["default"]} if _plain(node.get("default")) else {})
    written = dict(_WRITTEN[kind])
    default = node.get("default")
    if kind == "duration" and isinstance(default, int):
        written["default"] = format_duration(default)
    return written


def _plain(value: object) -> bool:
    return isinstance(value, str | int | float | bool)
