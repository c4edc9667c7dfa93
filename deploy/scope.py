"""Scopes: sets of changes, written as matchers over change labels the way Prometheus and Alertmanager write them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

import msgspec

from deploy.errors import InvalidMatcher

_MATCHER = re.compile(r"""^\s*([a-zA-Z_][a-zA-Z0-9_.]*)\s*(=~|!~|!=|=)\s*("(?:[^"\\]|\\.)*"|[^"\s]*)\s*$""", re.DOTALL)
_ESCAPES = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}


class Matcher(msgspec.Struct, frozen=True, order=True):
    """One condition on a label: `service="checkout"`, `origin=~"ai|mixed"`. Patterns are RE2 and anchored."""

    name: str
    operator: str
    value: str

    def __str__(self) -> str:
        escaped = self.value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'{self.name}{self.operator}"{escaped}"'

    def matches(self, labels: Mapping[str, tuple[str, ...]]) -> bool:
        """Whether any value of the label fulfils it (`=`, `=~`), or none violates it (`!=`, `!~`); absent is empty."""
        values = labels.get(self.name) or ("",)
        if self.operator in ("=", "!="):
            hit = self.value in values
        elif len(values) == 1:
            hit = _fits(self.value, values[0])
        else:
            hit = any(_fits(self.value, value) for value in values)
        return hit if self.operator in ("=", "=~") else not hit


@lru_cache(maxsize=16_384)
def _fits(pattern: str, value: str) -> bool:
    # The same few services, environments and origins are asked about again and again, and calling RE2 costs 15 µs.
    return _compile(pattern).fullmatch(value) is not None


@lru_cache(maxsize=1024)
def _compile(pattern: str) -> re.Pattern[str]:
    # Patterns come from users. RE2 runs any of them in linear time; imported here because few commands need it.
    import re2

    options = re2.Options()
    options.log_errors = False
    try:
        compiled: re.Pattern[str] = re2.compile(pattern, options)
    except (re2.error, UnicodeError) as error:
        why = error.args[0] if error.args else error
        why = why.decode(errors="replace") if isinstance(why, bytes) else why
        raise InvalidMatcher(f"pattern {pattern!r} is not valid RE2: {why}") from None
    return compiled


@lru_cache(maxsize=4096)
def parse_matcher(text: str) -> Matcher:
    """Read one matcher; the value may stand without quotes where the shell took them.

    Raises:
        InvalidMatcher: naming the text and the valid form.

    >>> str(parse_matcher('service=checkout'))
    'service="checkout"'
    >>> parse_matcher('origin=~"ai|mixed"').matches({"origin": ("ai",)})
    True
    """
    found = _MATCHER.match(text)
    if found is None:
        raise InvalidMatcher(
            f"{text!r} is not a matcher; write NAME=VALUE, NAME!=VALUE, NAME=~PATTERN or NAME!~PATTERN"
        )
    name, operator, value = found.groups()
    if value.startswith('"'):
        value = re.sub(r'\\[\\"n]', lambda escape: _ESCAPES[escape[0]], value[1:-1])
    matcher = Matcher(name, operator, value)
    if operator in ("=~", "!~"):
        _compile(value)
    return matcher


def parse_scope(texts: Iterable[str]) -> tuple[Matcher, ...]:
    """Read a scope; equal scopes come out in equal order, so that they are the same scope."""
    return _parse(tuple(texts))


@lru_cache(maxsize=4096)
def _parse(texts: tuple[str, ...]) -> tuple[Matcher, ...]:
    return tuple(sorted({parse_matcher(text) for text in texts}))


def covers(scope: Iterable[Matcher], labels: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether every matcher of the scope holds for these labels. An empty scope covers nothing."""
    found = False
    for matcher in scope:
        if not matcher.matches(labels):
            return False
        found = True
    return found
