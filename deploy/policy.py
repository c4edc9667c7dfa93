"""The policy: one reviewed YAML file that says what is guarded, by which numbers, and what a breaker may do.

A broken file is refused with its line and with what would be valid. A key that this version does not know is kept out
of the way with a warning, so that one file serves workers of two versions.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from deploy.errors import InvalidMatcher, InvalidPolicy, InvalidTime
from deploy.freeze import Mode
from deploy.scope import parse_matcher
from deploy.times import HOUR_MS, MINUTE_MS, SECOND_MS, format_duration, parse_duration
from deploy.verdict import LONGEST_HOLD


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """An environment that is not named is guarded, in the policy's own mode."""

    guarded: bool = True
    mode: Mode | None = None


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """`calls` names the services that this one depends on."""

    tier: int | None = None
    calls: tuple[str, ...] = ()
    mode: Mode | None = None


class Watch(msgspec.Struct, frozen=True, kw_only=True):
    """How long production is judged against a change: the longer of time and samples, capped. Milliseconds."""

    at_least: int = 30 * MINUTE_MS
    samples: int = 30
    at_most: int = 24 * HOUR_MS

    def length(self, period_ms: int) -> int:
        """Milliseconds to watch a service whose samples come every `period_ms`."""
        return min(max(self.at_least, self.samples * period_ms), self.at_most)


class Effect(msgspec.Struct, frozen=True):
    """The least effect that matters: in the metric's own unit, or a share of the level before the change."""

    size: float
    relative: bool


class Guardrail(msgspec.Struct, frozen=True, kw_only=True):
    """A number that must not get worse: a metric's `value`, or the ratio of two counters `errors` over `over`."""

    name: str
    value: str = ""
    errors: str = ""
    over: str = ""
    harm: str = "both"
    least_effect: Effect | None = None
    services: tuple[str, ...] = ()

    @property
    def metrics(self) -> tuple[str, ...]:
        return (self.value,) if self.value else (self.errors, self.over)

    def applies(self, service: str) -> bool:
        return not self.services or service in self.services


class Detector(msgspec.Struct, frozen=True, kw_only=True):
    """A detector of river, by its import path, for the vector of a service's metrics."""

    name: str
    river: str
    parameters: dict[str, Any] = {}
    services: tuple[str, ...] = ()

    def applies(self, service: str) -> bool:
        return not self.services or service in self.services


class Breaker(msgspec.Struct, frozen=True, kw_only=True):
    """How much a breaker may do by itself. Milliseconds.

    `error_rate` is the share of harmless changes that may be frozen; `open_for` is multiplied by the number of trips.
    `watch_rate` is the share of harmless changes for which new starts may wait, `watch_hold` after each report that
    says so; at 0 none ever waits.
    """

    error_rate: float = 0.004
    watch_rate: float = 0.05
    watch_hold: int = 15 * SECOND_MS
    open_for: int = 5 * MINUTE_MS
    open_at_most: int = 60 * MINUTE_MS
    trips_window: int = 60 * MINUTE_MS

    @property
    def watch_bar(self) -> float:
        """The p-value from which new starts wait; never stricter than what freezes."""
        return max(self.watch_rate, self.error_rate)


class Classes(msgspec.Struct, frozen=True, kw_only=True):
    """Which classes of changes are compared with the rest: one for each value of a label, and of labels together.

    `error_rate` bounds the false accusations a day, over all classes.
    """

    by: tuple[str, ...] = ("origin", "tool", "model", "autonomy", "team", "tier")
    products: tuple[tuple[str, ...], ...] = ()
    error_rate: float = 0.05

    @property
    def dimensions(self) -> tuple[tuple[str, ...], ...]:
        """The labels of each kind of class; one label alone is a product of one."""
        return (*((label,) for label in self.by), *self.products)


class Lane(msgspec.Struct, frozen=True, kw_only=True):
    """Changes that share an error budget. With `false_discovery` a freeze in it needs the e-LOND threshold too."""

    name: str
    match: tuple[str, ...]
    false_discovery: float | None = None


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    version: int = 1
    mode: Mode = Mode.OBSERVE
    environments: dict[str, Environment] = {}
    services: dict[str, Service] = {}
    watch: Watch = msgspec.field(default_factory=Watch)
    guardrails: tuple[Guardrail, ...] = ()
    detectors: tuple[Detector, ...] = ()
    breaker: Breaker = msgspec.field(default_factory=Breaker)
    classes: Classes = msgspec.field(default_factory=Classes)
    lanes: tuple[Lane, ...] = ()

    def guarded(self, environment: str) -> bool:
        named = self.environments.get(environment)
        return named is None or named.guarded

    def mode_of(self, service: str, environment: str) -> Mode:
        """The mode of a scope: the service's own, else its environment's, else the policy's."""
        for named in (self.services.get(service), self.environments.get(environment)):
            if named is not None and named.mode is not None:
                return named.mode
        return self.mode

    def tier_of(self, service: str) -> int | None:
        named = self.services.get(service)
        return None if named is None else named.tier

    def calls(self, service: str) -> tuple[str, ...]:
        named = self.services.get(service)
        return () if named is None else named.calls


_DURATIONS = {("watch", "at_least"), ("watch", "at_most"), ("breaker", "open_for"), ("breaker", "open_at_most")} | {
    ("breaker", "trips_window"),
    ("breaker", "watch_hold"),
}
_STRUCTS: dict[tuple[str, ...], type[msgspec.Struct]] = {
    (): Policy,
    ("environments", "*"): Environment,
    ("services", "*"): Service,
    ("watch",): Watch,
    ("guardrails", "*"): Guardrail,
    ("detectors", "*"): Detector,
    ("breaker",): Breaker,
    ("classes",): Classes,
    ("lanes", "*"): Lane,
}
#: Levels of a policy are four; reading a text nested without end would take minutes.
_DEEPEST = 32
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.]*")
_Path = tuple[str | int, ...]
_Struct = TypeVar("_Struct", bound=msgspec.Struct)


def load_policy(path: Path) -> tuple[Policy, list[str]]:
    """Read a policy file; returns the policy and warnings, one line each.

    Raises:
        InvalidPolicy: `FILE:LINE: what is wrong; what would be valid`.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidPolicy(f"{path}: cannot be read: {error}") from None
    return parse_policy(text, str(path))


def parse_policy(text: str, name: str = "policy") -> tuple[Policy, list[str]]:
    """Read a policy from YAML text; `name` stands in messages for the file.

    >>> policy, warnings = parse_policy("version: 1\\nmode: enforce\\nwatch: {at_least: 10m}")
    >>> policy.mode.value, policy.watch.at_least, warnings
    ('enforce', 600000, [])
    """
    lines: dict[_Path, int] = {}
    document = _compose(text, name, lines)
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise InvalidPolicy(f"{name}:1: a policy is a mapping with `version: 1`, not a {type(document).__name__}")
    warnings = list(_unknown_keys(document, (), lines, name))
    _convert_scalars(document, lines, name)
    # Entry by entry first: msgspec's own message for a whole mapping does not say which key.
    for section, struct in (("environments", Environment), ("services", Service)):
        entries = document.get(section)
        for key, entry in entries.items() if isinstance(entries, dict) else ():
            _convert(entry, struct, (section, key), lines, name)
    policy = _convert(document, Policy, (), lines, name)
    _check(policy, lines, name)
    return policy, warnings


def _convert(value: Any, struct: type[_Struct], base: _Path, lines: dict[_Path, int], name: str) -> _Struct:
    try:
        return msgspec.convert(value, struct)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `$")
        path = (*base, *_path_of(where.rstrip("`")))
        raise InvalidPolicy(
            f"{name}:{_line(lines, path)}: {_dotted(path)}{message[0].lower()}{message[1:]}{_valid(path)}"
        ) from None


def _compose(text: str, name: str, lines: dict[_Path, int]) -> Any:
    """Build plain values from YAML, noting the line of each path and refusing what YAML leaves unsaid."""
    import yaml

    def build(node: yaml.Node, path: _Path) -> Any:
        lines[path] = node.start_mark.line + 1
        if isinstance(node, yaml.MappingNode):
            mapping: dict[str, Any] = {}
            for key_node, value_node in node.value:
                if not isinstance(key_node, yaml.ScalarNode):
                    raise InvalidPolicy(f"{name}:{key_node.start_mark.line + 1}: a key must be a plain word")
                key = str(key_node.value)
                if key in mapping:
                    raise InvalidPolicy(f"{name}:{key_node.start_mark.line + 1}: {_dotted((*path, key))}is given twice")
                mapping[key] = build(value_node, (*path, key))
                lines[(*path, key)] = key_node.start_mark.line + 1
            return mapping
        if isinstance(node, yaml.SequenceNode):
            return [build(item, (*path, index)) for index, item in enumerate(node.value)]
        return yaml.SafeLoader("").construct_object(node)  # a scalar: null, bool, int, float, time or text

    try:
        # An alias makes a document that is small to write and huge to read; a policy needs none.
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            line = event.start_mark.line + 1 if event.start_mark else 1
            if depth > _DEEPEST:
                raise InvalidPolicy(f"{name}:{line}: nested deeper than {_DEEPEST} levels")
            if isinstance(event, yaml.AliasEvent):
                raise InvalidPolicy(f"{name}:{line}: aliases (*{event.anchor}) are not allowed; write the value out")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        return None if node is None else build(node, ())
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark is not None else 1
        problem = str(getattr(error, "problem", None) or str(error).splitlines()[0])
        raise InvalidPolicy(f"{name}:{line}: not valid YAML: {problem}") from None


def _unknown_keys(value: Any, path: _Path, lines: dict[_Path, int], name: str) -> Iterator[str]:
    pattern = tuple("*" if i == 1 else str(part) for i, part in enumerate(path))
    struct = _STRUCTS.get(pattern)
    if isinstance(value, dict):
        fields = struct.__struct_fields__ if struct is not None else None
        for key in list(value):
            if fields is not None and key not in fields:
                near = difflib.get_close_matches(key, fields, 1)
                hint = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(fields)}"
                yield f"{name}:{_line(lines, (*path, key))}: {_dotted((*path, key))}is not known and ignored; {hint}"
                del value[key]
            else:
                yield from _unknown_keys(value[key], (*path, key), lines, name)
    elif isinstance(value, list) and not path[1:]:
        for index, item in enumerate(value):
            yield from _unknown_keys(item, (*path, index), lines, name)


def _convert_scalars(document: dict[str, Any], lines: dict[_Path, int], name: str) -> None:
    for section, field in sorted(_DURATIONS):
        values = document.get(section)
        if isinstance(values, dict) and field in values:
            try:
                values[field] = parse_duration(values[field])
            except InvalidTime as error:
                raise InvalidPolicy(f"{name}:{_line(lines, (section, field))}: {section}.{field}: {error}") from None
    guardrails = document.get("guardrails")
    for index, guardrail in enumerate(guardrails if isinstance(guardrails, list) else ()):
        if isinstance(guardrail, dict) and guardrail.get("least_effect") is not None:
            path = ("guardrails", index, "least_effect")
            guardrail["least_effect"] = _effect(guardrail["least_effect"], f"{name}:{_line(lines, path)}")


def _effect(value: object, where: str) -> dict[str, object]:
    number = value
    relative = isinstance(value, str) and value.strip().endswith("%")
    if isinstance(value, str) and relative:
        try:
            number = float(value.strip()[:-1]) / 100
        except ValueError:
            number = None
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number < 1e300:
        raise InvalidPolicy(f"{where}: least_effect {value!r} is not a number such as 0.005, or a share such as 10%")
    return {"size": float(number), "relative": relative}


def _check(policy: Policy, lines: dict[_Path, int], name: str) -> None:
    def refuse(path: _Path, text: str) -> InvalidPolicy:
        return InvalidPolicy(f"{name}:{_line(lines, path)}: {_dotted(path)}{text}")

    if policy.version != 1:
        raise refuse(("version",), f"is {policy.version}; this haltline reads version 1")
    if policy.watch.samples < 1:
        raise refuse(("watch", "samples"), f"is {policy.watch.samples}; at least 1")
    if policy.watch.at_most < policy.watch.at_least:
        raise refuse(("watch",), "has `at_most` below `at_least`")
    if not 0 < policy.breaker.error_rate <= 0.5:
        raise refuse(("breaker", "error_rate"), f"is {policy.breaker.error_rate}; between 0 and 0.5")
    # Where the file does not name it, it follows an error rate above its default.
    if ("breaker", "watch_rate") in lines and not policy.breaker.error_rate <= policy.breaker.watch_rate <= 0.5:
        valid = f"between the error_rate, {policy.breaker.error_rate}, and 0.5"
        raise refuse(("breaker", "watch_rate"), f"is {policy.breaker.watch_rate}; {valid}")
    if policy.breaker.watch_hold > LONGEST_HOLD:
        given, most = format_duration(policy.breaker.watch_hold), format_duration(LONGEST_HOLD)
        raise refuse(("breaker", "watch_hold"), f"is {given}; at most {most}, what waits longer is frozen")
    names: set[str] = set()
    for index, guardrail in enumerate(policy.guardrails):
        path = ("guardrails", index)
        if guardrail.harm not in ("up", "down", "both"):
            raise refuse((*path, "harm"), f"is {guardrail.harm!r}; valid are up, down and both")
        if bool(guardrail.value) == bool(guardrail.errors or guardrail.over):
            raise refuse(path, "needs either `value`, or `errors` and `over`")
        if not guardrail.value and not (guardrail.errors and guardrail.over):
            raise refuse(path, "needs both `errors` and `over`")
        if guardrail.name in names:
            raise refuse((*path, "name"), f"{guardrail.name!r} is given twice")
        names.add(guardrail.name)
    for index, detector in enumerate(policy.detectors):
        # River takes seconds to import: only where the policy names it.
        from detectors.river_detector import check_detector

        try:
            check_detector(detector.river, detector.parameters)
        except ValueError as error:
            raise refuse(("detectors", index, "river"), str(error)) from None
        if detector.name in names:
            raise refuse(("detectors", index, "name"), f"{detector.name!r} is given twice")
        names.add(detector.name)
    _check_classes(policy.classes, refuse)
    _check_lanes(policy.lanes, refuse)


def _check_classes(classes: Classes, refuse: Callable[[_Path, str], InvalidPolicy]) -> None:
    if not 0 < classes.error_rate <= 0.5:
        raise refuse(("classes", "error_rate"), f"is {classes.error_rate}; between 0 and 0.5")
    seen: set[tuple[str, ...]] = set()
    places: list[tuple[_Path, tuple[str, ...]]] = [
        *((("classes", "by", index), (label,)) for index, label in enumerate(classes.by)),
        *((("classes", "products", index), labels) for index, labels in enumerate(classes.products)),
    ]
    for path, labels in places:
        if path[1] == "products" and len(set(labels)) < 2:
            raise refuse(path, "needs at least two labels, such as [origin, tier]")
        for label in labels:
            if not _LABEL.fullmatch(label):
                raise refuse(path, f"{label!r} is not the name of a label")
        if tuple(sorted(labels)) in seen:
            raise refuse(path, f"{' and '.join(labels)} is given twice")
        seen.add(tuple(sorted(labels)))


def _check_lanes(lanes: tuple[Lane, ...], refuse: Callable[[_Path, str], InvalidPolicy]) -> None:
    names: set[str] = set()
    for index, lane in enumerate(lanes):
        path: _Path = ("lanes", index)
        if not lane.name or lane.name in names:
            raise refuse((*path, "name"), f"{lane.name!r} is given twice" if lane.name else "is empty")
        names.add(lane.name)
        if not lane.match:
            raise refuse((*path, "match"), 'is empty; write matchers such as origin=~"ai|mixed"')
        for place, text in enumerate(lane.match):
            try:
                parse_matcher(text)
            except InvalidMatcher as error:
                raise refuse((*path, "match", place), str(error)) from None
        if lane.false_discovery is not None and not 0 < lane.false_discovery <= 0.5:
            raise refuse((*path, "false_discovery"), f"is {lane.false_discovery}; between 0 and 0.5")


def _line(lines: dict[_Path, int], path: _Path) -> int:
    while path not in lines and path:
        path = path[:-1]
    return lines.get(path, 1)


def _dotted(path: _Path) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
    return f"`{text}` " if text else ""


def _path_of(where: str) -> _Path:
    return tuple(int(i) if i else key for i, key in re.findall(r"\[(\d+)\]|\.?([^.\[\]]+)", where) if key != "...")


def _valid(path: _Path) -> str:
    if path and path[-1] == "mode":
        return "; valid are observe and enforce"
    struct = _STRUCTS.get(tuple("*" if i == 1 else str(part) for i, part in enumerate(path)))
    return f"; valid fields are {', '.join(struct.__struct_fields__)}" if struct is not None else ""
