"""Reading a policy file: YAML into the structs of the model, each error with its place and what would be valid."""

from __future__ import annotations

import difflib
import re
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from msgspec import inspect

from deploy.errors import InvalidPolicy, InvalidTime
from deploy.policy.check import check
from deploy.policy.model import Effect, Policy
from deploy.policy.yaml_text import Marks, Place, compose, dotted, read_text
from deploy.times import parse_duration


def load_policy(path: Path) -> tuple[Policy, list[str]]:
    """Read a policy file; returns the policy and warnings, one line each.

    Raises:
        InvalidPolicy: `FILE:LINE:COLUMN: what is wrong; what would be valid`.
    """
    return parse_policy(read_text(path), str(path))


def parse_policy(text: str, name: str = "policy") -> tuple[Policy, list[str]]:
    """Read a policy from YAML text; `name` stands in messages for the file.

    >>> policy, warnings = parse_policy("version: 1\\nmode: enforce\\nwatch: {at_least: 10m}")
    >>> policy.mode.value, policy.watch.at_least, warnings
    ('enforce', 600000, [])
    """
    policy, warnings, _ = parse_marked(text, name)
    return policy, warnings


def parse_marked(text: str, name: str) -> tuple[Policy, list[str], Marks]:
    """As `parse_policy`, with where in the file everything stands."""
    document, marks = compose(text, name)
    if document is None:
        # A file that was only begun to be written must not pass for a policy that asks nothing of anybody.
        raise InvalidPolicy(f"{name}:1:1: says nothing; the least that a policy says is `version: 1`")
    if not isinstance(document, dict):
        raise InvalidPolicy(f"{name}:1:1: a policy is a mapping with `version: 1`, not a {type(document).__name__}")
    if document and not set(document) & set(Policy.__struct_fields__):
        # Keys that a later haltline knows are ignored, but a text of nothing else is another file, or a broken record.
        known = ", ".join(Policy.__struct_fields__)
        raise InvalidPolicy(f"{name}:1:1: says nothing that a policy says; known are {known}")
    reader = _Reader(marks)
    policy = reader.read(document, _policy_type(), ())
    check(policy, marks)
    return policy, reader.warnings, marks


@cache
def _policy_type() -> inspect.Type:
    return inspect.type_info(Policy)


class _Reader:
    """Values from the file into the types of the model, from the leaves up so that each error knows its place."""

    def __init__(self, marks: Marks) -> None:
        self._marks = marks
        self.warnings: list[str] = []

    def read(self, value: Any, kind: inspect.Type, place: Place) -> Any:
        if isinstance(kind, inspect.UnionType):
            if value is None:
                return None
            return self.read(value, next(one for one in kind.types if not isinstance(one, inspect.NoneType)), place)
        if isinstance(kind, inspect.Metadata):
            written = (kind.extra_json_schema or {}).get("x-haltline")
            return self._scalar(value, str(written), place) if written else self.read(value, kind.type, place)
        if isinstance(kind, inspect.StructType):
            if kind.cls is Effect:
                return _effect(value, self._marks.where(place))
            if isinstance(value, dict):
                value = self._fields(value, kind, place)
            return self._convert(value, kind.cls, place)
        if isinstance(kind, inspect.DictType) and isinstance(value, dict):
            return {key: self.read(entry, kind.value_type, (*place, key)) for key, entry in value.items()}
        if isinstance(kind, inspect.VarTupleType) and isinstance(value, list):
            return [self.read(item, kind.item_type, (*place, index)) for index, item in enumerate(value)]
        return value

    def _fields(self, value: dict[str, Any], kind: inspect.StructType, place: Place) -> dict[str, Any]:
        types = {field.name: field.type for field in kind.fields}
        read = {}
        for key, entry in value.items():
            if key in types:
                read[key] = self.read(entry, types[key], (*place, key))
                continue
            near = difflib.get_close_matches(key, types, 1)
            hint = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(types)}"
            here = (*place, key)
            self.warnings.append(f"{self._marks.where(here)}: {dotted(here)}is not known and ignored; {hint}")
        return read

    def _scalar(self, value: Any, written: str, place: Place) -> Any:
        where = self._marks.where(place)
        if written == "duration":
            try:
                return parse_duration(value)
            except InvalidTime as error:
                raise InvalidPolicy(f"{where}: {dotted(place).strip()}: {error}") from None
        if written == "share":
            return _share(value, where, dotted(place))
        if written == "shares" and isinstance(value, list):
            places = [(*place, index) for index in range(len(value))]
            pairs = zip(value, places, strict=True)
            return [_share(item, self._marks.where(one), dotted(one)) for item, one in pairs]
        return value

    def _convert(self, value: Any, struct: Any, base: Place) -> Any:
        try:
            return msgspec.convert(value, struct)
        except msgspec.ValidationError as error:
            message, _, where = str(error).partition(" - at `$")
            place = (*base, *_place_of(where.rstrip("`")))
            valid = f"; valid fields are {', '.join(struct.__struct_fields__)}" if place == base else ""
            if place and place[-1] == "mode":
                valid = "; valid are observe and enforce"
            elif place and place[-1] == "when_unreachable":
                valid = "; valid are allow, deny and last_known"
            raise self._marks.refuse(place, f"{message[0].lower()}{message[1:]}{valid}") from None


def _place_of(where: str) -> Place:
    return tuple(int(i) if i else key for i, key in re.findall(r"\[(\d+)\]|\.?([^.\[\]]+)", where) if key != "...")


def _percent(value: object) -> object:
    """A number as it is, a text such as `10%` as the share that it is, anything else as None."""
    if isinstance(value, str) and value.strip().endswith("%"):
        try:
            return float(value.strip()[:-1]) / 100
        except ValueError:
            return None
    return value


def _share(value: object, where: str, place: str) -> float:
    number = _percent(value)
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 < number <= 1:
        raise InvalidPolicy(f"{where}: {place}{value!r} is not a share above 0 and up to 1, such as 0.1 or 10%")
    return float(number)


def _effect(value: object, where: str) -> Effect:
    number = _percent(value)
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number < 1e300:
        raise InvalidPolicy(f"{where}: least_effect {value!r} is not a number such as 0.005, or a share such as 10%")
    return Effect(float(number), isinstance(value, str))
