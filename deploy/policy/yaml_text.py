"""YAML as plain values with the place of each, without repeated keys, aliases and bottomless nests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deploy.errors import InvalidPolicy

#: Where a value stands: the keys and indices that lead to it.
Place = tuple[str | int, ...]
#: Levels of a policy are five; reading a text nested without end would take minutes.
_DEEPEST = 32
#: Thousands of services fit; what is larger is no file that anybody reviewed.
_LONGEST = 4 * 1024 * 1024
#: Up to here a broken text is read a second time, for a better word on what is wrong.
_SHORT = 256 * 1024


class Marks:
    """Where in the file each place is; a place that is not in the file is where its mapping is."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._marks: dict[Place, tuple[int, int]] = {}

    def __contains__(self, place: Place) -> bool:
        return place in self._marks

    def put(self, place: Place, mark: Any) -> None:
        self._marks[place] = (mark.line + 1, mark.column + 1)

    def where(self, place: Place) -> str:
        """`FILE:LINE:COLUMN`."""
        while place not in self._marks and place:
            place = place[:-1]
        line, column = self._marks.get(place, (1, 1))
        return f"{self._name}:{line}:{column}"

    def refuse(self, place: Place, text: str) -> InvalidPolicy:
        return InvalidPolicy(f"{self.where(place)}: {dotted(place)}{text}")


def dotted(place: Place) -> str:
    """The place as people write it, in backticks and with a space behind: `` `lanes[0].match` ``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")
    return f"`{text}` " if text else ""


def read_text(path: Path) -> str:
    """The text of a file.

    Raises:
        InvalidPolicy: it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidPolicy(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError as error:
        raise InvalidPolicy(f"{path}: cannot be read: not UTF-8 at byte {error.start}") from None


def compose(text: str, name: str) -> tuple[Any, Marks]:
    """Plain values from YAML, and where each stands.

    Raises:
        InvalidPolicy: `FILE:LINE:COLUMN: what is wrong`.
    """
    import yaml

    if len(text) > _LONGEST:
        raise InvalidPolicy(f"{name}:1:1: {len(text)} characters, at most {_LONGEST}")
    # The parser in C, where there is one, is ten times as fast; Python's says better what is wrong.
    fast: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return _compose(text, name, fast)
    except yaml.YAMLError as first:
        error = first
        try:
            if len(text) < _SHORT:
                return _compose(text, name, yaml.SafeLoader)
        except yaml.YAMLError as better:
            error = better
        mark = getattr(error, "problem_mark", None)
        problem = str(getattr(error, "problem", None) or str(error).splitlines()[0])
        if mark is not None and _tab(text, mark):
            problem = "a tab (\\t) in the indentation; YAML indents with spaces"
        elif problem == "but found another document":
            problem = "a second document begins; a file has one"
        raise InvalidPolicy(f"{_at(name, mark)}: not valid YAML: {problem}") from None
    except InvalidPolicy:
        raise
    except ValueError as error:  # a scalar that looks like a date and is none
        raise InvalidPolicy(f"{name}:1:1: not valid YAML: {error}") from None


def _compose(text: str, name: str, loader: Any) -> tuple[Any, Marks]:
    import yaml

    marks = Marks(name)
    scalars = yaml.SafeLoader("")

    def build(node: yaml.Node, place: Place) -> Any:
        if place not in marks:
            marks.put(place, node.start_mark)
        if isinstance(node, yaml.MappingNode):
            mapping: dict[str, Any] = {}
            for key_node, value_node in node.value:
                if not isinstance(key_node, yaml.ScalarNode):
                    raise InvalidPolicy(f"{_at(name, key_node.start_mark)}: a key must be a plain word")
                key = str(key_node.value)
                if key in mapping:
                    raise InvalidPolicy(f"{_at(name, key_node.start_mark)}: {dotted((*place, key))}is given twice")
                marks.put((*place, key), key_node.start_mark)
                mapping[key] = build(value_node, (*place, key))
            return mapping
        if isinstance(node, yaml.SequenceNode):
            return [build(item, (*place, index)) for index, item in enumerate(node.value)]
        if node.tag == "tag:yaml.org,2002:timestamp":
            return node.value  # records carry times as text
        return scalars.construct_object(node)  # a scalar: null, bool, int, float or text

    depth = 0
    for event in yaml.parse(text, Loader=loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise InvalidPolicy(f"{_at(name, event.start_mark)}: nested deeper than {_DEEPEST} levels")
        # An alias makes a document that is small to write and huge to read; a policy needs none.
        if isinstance(event, yaml.AliasEvent):
            where = _at(name, event.start_mark)
            raise InvalidPolicy(f"{where}: aliases (*{event.anchor}) are not allowed; write the value out")
    node = yaml.compose(text, Loader=loader)
    return (None if node is None else build(node, ())), marks


def _at(name: str, mark: Any) -> str:
    return f"{name}:{mark.line + 1}:{mark.column + 1}" if mark is not None else f"{name}:1:1"


def _tab(text: str, mark: Any) -> bool:
    """Whether the line at the mark is indented with a tab."""
    line = "".join(text.splitlines()[mark.line : mark.line + 1])
    return "\t" in line[: len(line) - len(line.lstrip())]
