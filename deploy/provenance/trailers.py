"""Commit trailers, found as git finds them: in the last paragraph only, and nowhere inside quoted text.

The rules are those of git-interpret-trailers(1): the title is never a trailer; the last paragraph counts when all its
lines are trailers, or when git itself wrote one of them and at least a quarter are; a line that begins with white space
carries the one above on. Where git would take a trailer out of a fenced block, this does not.
"""

from __future__ import annotations

import re

import msgspec

from deploy.provenance.lookalike import fold

_LINE = re.compile(r"(?P<key>[A-Za-z0-9-]+)[ \t]*:(?P<value>.*)", re.DOTALL)
_GITS_OWN = ("Signed-off-by: ", "(cherry picked from commit ")
_FENCE = re.compile(r"\s{0,3}(?P<mark>`{3,}|~{3,})")


class Trailer(msgspec.Struct, frozen=True):
    """One trailer; `text` is the line as it stands there, `disguised` whether its key only looks like ASCII."""

    key: str
    value: str
    text: str
    disguised: bool = False


def trailers(message: str) -> list[Trailer]:
    """The trailers of a commit message, in order.

    >>> [one.key for one in trailers("Fix it\\n\\nWhy.\\n\\nAssisted-by: some-agent\\nFixes: #4")]
    ['Assisted-by', 'Fixes']
    >>> trailers("Explain trailers\\n\\n> Assisted-by: some-agent")
    []
    """
    lines = message.rstrip().split("\n")
    start = len(lines)
    while start > 0 and lines[start - 1].strip():
        start -= 1
    if not any(line.strip() for line in lines[:start] if not line.startswith("#")):
        return []
    fenced = _fenced(lines)
    found: list[list[str]] = []
    counted = others = 0
    gits_own, carries_on = False, False
    for line, quoted in zip(lines[start:], fenced[start:], strict=True):
        read = line if line.isascii() else fold(line)
        if line[:1] in (" ", "\t") and not quoted:
            if carries_on and found:
                found[-1].append(line)
            others += not carries_on
            continue
        carries_on = False
        if line.startswith("#"):
            continue
        if not quoted and read.startswith(_GITS_OWN[1]):
            counted, gits_own, carries_on = counted + 1, True, True
            found.append([])
        elif not quoted and _LINE.fullmatch(read):
            counted, carries_on = counted + 1, True
            gits_own = gits_own or read.startswith(_GITS_OWN[0])
            found.append([line])
        else:
            others += 1
    if others and not (gits_own and counted * 3 >= others):
        return []
    return [_trailer(lines) for lines in found if lines and _LINE.match(fold(lines[0]))]


def _trailer(lines: list[str]) -> Trailer:
    text = " ".join(line.strip() for line in lines)
    plain = _LINE.fullmatch(text)
    match = plain or _LINE.fullmatch(fold(text))
    assert match is not None
    return Trailer(match["key"], match["value"].strip(), text, disguised=plain is None)


def _fenced(lines: list[str]) -> list[bool]:
    """For each line whether it is a part of a fenced block."""
    inside, mark = [], ""
    for line in lines:
        found = _FENCE.match(line)
        if found and not mark:
            mark = found["mark"]
            inside.append(True)
            continue
        inside.append(bool(mark))
        if found and mark and found["mark"].startswith(mark):
            mark = ""
    return inside
