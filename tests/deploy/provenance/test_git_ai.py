"""git-ai notes: lines by session and person, the old and the new keys, and notes that hang on the wrong commit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.change import Origin
from deploy.errors import InvalidProvenance
from deploy.provenance.git_ai import LONGEST_NOTE, claim, note_votes, read_note
from deploy.provenance.weigh import Attribution, weigh
from tests.haltline.checkout import git_ai_note

HERE, PARENT = "a" * 40, "b" * 40
SESSION, PERSON, OLD = "s_0123456789abcd::t_0123456789abcd", "h_0123456789abcd", "d9978a8723e02b52"


def judged(note: str, added: int | None = 20) -> Attribution:
    return weigh(note_votes(read_note(note.encode()), HERE, (PARENT,), added), changed=added)


def test_lines_are_counted_by_session_and_person_and_the_rest_nobody_speaks_for() -> None:
    found = judged(git_ai_note(HERE, {"a.py": {SESSION: "1-5,7", PERSON: "8-9"}, '"b c.py"': {OLD: "1-4"}}))
    assert (found.origin, found.tools, found.models) == (Origin.MIXED, ("cursor",), ("some-model",))
    assert found.lines is not None
    assert (found.lines.ai, found.lines.human, found.lines.nobody) == (10, 2, 8)
    assert [vote.text for vote in found.votes] == ["cursor some-model wrote 10 lines", "Grace wrote 2 lines"]
    assert found.confidence == 0.95


def test_a_note_of_a_person_alone_is_human_and_one_of_an_ai_alone_is_ai() -> None:
    assert judged(git_ai_note(HERE, {"a": {PERSON: "1-20"}})).origin is Origin.HUMAN
    assert judged(git_ai_note(HERE, {"a": {SESSION: "1-20"}})).origin is Origin.AI
    assert judged(git_ai_note(HERE, {})).origin is Origin.UNKNOWN


def test_a_line_that_two_sessions_claim_is_the_last_ones() -> None:
    note = read_note(git_ai_note(HERE, {"a": {OLD: "1-10", PERSON: "4-6"}}).encode())
    assert (note.ai, note.human) == (7, 3)
    assert note.operators == ("Ada <ada@example.org>",)


@pytest.mark.parametrize(("base", "added"), [("c" * 40, 20), (HERE, 5)])
def test_a_note_of_another_commit_weighs_less_and_says_so(base: str, added: int) -> None:
    found = judged(git_ai_note(base, {"a": {SESSION: "1-10"}}), added)
    assert found.confidence == 0.75
    assert "rebased, squashed or copied" in found.votes[0].note
    assert found.lines is not None
    assert found.lines.ai <= added


def test_a_huge_range_is_counted_without_being_walked() -> None:
    assert read_note(git_ai_note(HERE, {"a": {SESSION: "1-999999999"}}).encode()).ai == 999_999_999


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a.py\n  s_1 1-2\n", "no line `---`"),
        (b"---\n{", "metadata"),
        (b"---\n[]", "JSON object"),
        (b"---\n{}", "schema_version"),
        (b'---\n{"schema_version":"authorship/4.0.0"}', "schema_version 'authorship/4.0.0'"),
        (b'a\n  s_1 2-1\n---\n{"schema_version":"authorship/3.0.0"}', "line 2: '2-1' is no range"),
        (b'a\n  s_1 0\n---\n{"schema_version":"authorship/3.0.0"}', "'0' is no range"),
        (b'a\n  rubbish\n---\n{"schema_version":"authorship/3.0.0"}', "line 2 'rubbish'"),
        (b'---\n{"schema_version":"authorship/3.0.0","prompts":[]}', "`prompts` must be"),
        (b"\xff\n---\n{}", "UTF-8"),
        (b" " * (LONGEST_NOTE + 1), "at most"),
    ],
)
def test_a_note_that_cannot_be_read_is_one_clear_line(content: bytes, said: str) -> None:
    with pytest.raises(InvalidProvenance, match="git-ai note") as refused:
        read_note(content)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(content: bytes) -> None:
    for note in (content, b'a\n  s_1 1\n---\n{"schema_version":"authorship/3.0.0"}' + content, content + b"\n---\n{}"):
        try:
            read_note(note)
        except InvalidProvenance:
            continue


spans = st.lists(st.tuples(st.integers(1, 30), st.integers(0, 9)).map(lambda one: (one[0], sum(one))), max_size=6)


@given(spans, spans)
def test_claims_are_sets_of_lines(first: list[tuple[int, int]], second: list[tuple[int, int]]) -> None:
    def lines(of: list[tuple[int, int]]) -> set[int]:
        return {line for start, end in of for line in range(start, end + 1)}

    count, taken = claim(first, [])
    assert (count, lines(taken)) == (len(lines(first)), lines(first))
    more, both = claim(second, taken)
    assert (more, lines(both)) == (len(lines(second) - lines(first)), lines(first) | lines(second))
