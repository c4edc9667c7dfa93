"""Votes into a distribution: agreement adds up, contradiction is shown, absence is unknown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.change import Origin
from deploy.provenance.vote import Lines, Source, Vote
from deploy.provenance.weigh import provenance_of, weigh


def vote(source: Source = Source.TRAILER, origin: str = "mixed", weight: float = 0.9, **fields: object) -> Vote:
    return Vote(source=source, text="a sign", origin=Origin(origin), weight=weight, **fields)  # type: ignore[arg-type]  # fields of any type


def test_witnesses_that_agree_add_up_and_one_that_repeats_itself_does_not() -> None:
    assert weigh([vote(), vote(weight=0.8)]).confidence == 0.9
    assert weigh([vote(), vote(Source.IDENTITY, weight=0.5)]).confidence == 0.9, "all of a commit is one witness"
    assert weigh([vote(), vote(Source.GITHUB, weight=0.5)]).confidence == 0.95


def test_a_contradiction_lowers_confidence_is_shown_and_hides_no_ai() -> None:
    found = weigh([vote(weight=0.9), vote(Source.DECLARED, "human", 0.5)])
    assert found.origin is Origin.MIXED
    assert (found.confidence, found.conflict) == (0.45, 0.45)
    assert found.odds == {"human": 0.05, "ai": 0.0, "mixed": 0.45, "unknown": 0.5}
    assert weigh([vote(weight=0.1), vote(Source.DECLARED, "human", 0.9)]).origin is Origin.MIXED


def test_lines_tell_an_ais_work_from_a_mixed_one() -> None:
    note = vote(Source.GIT_AI, "ai", 0.95, lines=Lines(96))
    assert weigh([note], changed=100).origin is Origin.AI
    half = weigh([note], changed=192)
    assert half.origin is Origin.MIXED
    assert half.lines is not None
    assert (half.lines.ai, half.lines.human, half.lines.nobody) == (96, 0, 96)


def test_lines_of_another_commit_keep_their_proportion_only() -> None:
    votes = [
        vote(Source.GIT_AI, "mixed", 0.75, lines=Lines(30)),
        vote(Source.GIT_AI, "mixed", 0.75, lines=Lines(0, 10)),
    ]
    found = weigh(votes, changed=12)
    assert found.lines is not None
    assert (found.lines.ai, found.lines.human, found.lines.nobody) == (9, 3, 0)


def test_the_record_quotes_every_sign_with_why_it_does_not_count() -> None:
    found = weigh(
        [vote(), Vote(source=Source.TRAILER, text="Approved-by: X", note="a claim")], author="ada@example.org"
    )
    record = provenance_of(found)
    assert [(one.source, one.text) for one in record.evidence] == [
        ("commit-trailer", "a sign"),
        ("commit-trailer", "Approved-by: X (a claim)"),
    ]
    assert record.confidence == 0.9
    assert provenance_of(weigh([])).confidence is None, "nobody is confident of knowing nothing"


votes = st.lists(
    st.builds(
        vote,
        st.sampled_from(list(Source)),
        st.sampled_from(["ai", "mixed", "human", "unknown"]),
        st.floats(0, 1),
        lines=st.one_of(st.none(), st.builds(Lines, st.integers(0, 50), st.integers(0, 50))),
    ),
    max_size=8,
)


@given(votes, st.one_of(st.none(), st.integers(0, 60)))
def test_the_odds_are_a_distribution_in_whatever_order_signs_come(votes: list[Vote], changed: int | None) -> None:
    found = weigh(votes, changed=changed)
    assert sum(found.odds.values()) == pytest.approx(1, abs=0.003)
    assert all(0 <= value <= 1 for value in (*found.odds.values(), found.conflict, found.confidence))
    assert found.conflict <= found.odds["unknown"] + 0.002
    again = weigh(votes[::-1], changed=changed)
    assert (again.origin, again.confidence, again.odds) == (found.origin, found.confidence, found.odds)
    counted = {one.origin for one in votes if one.weight}
    assert (found.origin is Origin.HUMAN) <= (Origin.HUMAN in counted)
    if counted & {Origin.AI, Origin.MIXED}:
        assert found.origin in (Origin.AI, Origin.MIXED), "no claim takes a sign of an AI back"
    if found.lines is not None:
        assert 0 <= found.lines.ai + found.lines.human <= max(found.lines.changed, 0)
