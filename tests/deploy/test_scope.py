"""Matchers and scopes: written as in Alertmanager, matched against labels that may have several values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.errors import InvalidMatcher
from deploy.scope import Matcher, covers, parse_matcher, parse_scope

LABELS = {"service": ("checkout",), "origin": ("ai",), "tool": ("claude", "cursor"), "author": ()}


@pytest.mark.parametrize(
    ("matcher", "matches"),
    [
        ("service=checkout", True),
        ('service="checkout"', True),
        (' service = "checkout" ', True),
        ("service=check", False),
        ("service!=cart", True),
        ("service=~check", False),
        ("service=~check.*", True),
        ("service=~cart|checkout", True),
        ("service!~cart|checkout", False),
        ("origin=~ai|mixed", True),
        ("tool=cursor", True),
        ("tool!=cursor", False),
        ("tool!=gemini", True),
        ("tool!~c.*", False),
        ("author=", True),
        ("author!=", False),
        ("team=", True),
        ("team=payments", False),
        ("team!=payments", True),
        ("team=~.*", True),
        ("team=~.+", False),
    ],
)
def test_a_matcher_on_present_absent_and_many_valued_labels(matcher: str, matches: bool) -> None:
    assert parse_matcher(matcher).matches(LABELS) is matches


@pytest.mark.parametrize("text", ["", "checkout", "=x", "9a=b", "a==b c", 'a="b', 'a="b" c', "a b=c", "a=b c", "a~b"])
def test_what_is_no_matcher_is_refused_and_told_what_one_is(text: str) -> None:
    with pytest.raises(InvalidMatcher, match="write NAME=VALUE"):
        parse_matcher(text)


@pytest.mark.parametrize("pattern", ["(", "a**", "(?=look)", r"(a)\1", "\udcff"])
def test_a_pattern_that_re2_cannot_run_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidMatcher, match="not valid RE2"):
        parse_matcher(f'service=~"{pattern}"'.replace("\\", "\\\\"))


def test_a_hostile_pattern_answers_at_once() -> None:
    """Backtracking engines need longer than the universe for this one."""
    assert not parse_matcher("service=~(a+)+b").matches({"service": ("a" * 5_000,)})


@given(st.text(st.characters(codec="utf-8")), st.sampled_from(["=", "!="]))
def test_a_written_matcher_reads_back_as_itself(value: str, operator: str) -> None:
    matcher = Matcher("service", operator, value)
    assert parse_matcher(str(matcher)) == matcher


def test_the_same_scope_written_in_another_order_or_twice_is_the_same_scope() -> None:
    assert parse_scope(["service=a", 'environment="b"']) == parse_scope(["environment=b", 'service="a"', "service=a"])


def test_a_scope_covers_only_what_every_matcher_matches_and_an_empty_one_covers_nothing() -> None:
    assert covers(parse_scope(["service=checkout", "origin=ai"]), LABELS)
    assert not covers(parse_scope(["service=checkout", "origin=human"]), LABELS)
    assert not covers((), LABELS)
