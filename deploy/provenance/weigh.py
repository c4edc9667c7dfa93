"""Votes into one statement: who or what made a change, how sure that is, and what says so.

Each witness (the commit's own text, a note, a trace, a forge, the deployer) is believed as far as its strongest sign
weighs. Witnesses that agree add up, 1 - (1 - a)(1 - b). Where one says that an AI had a hand in it and another that
none had, both cannot be right: the product of the two beliefs is conflict, is taken from both, and is shown. This is
Dempster's rule with the conflict given to `unknown` (Yager 1987). Under a contradiction it is the AI's hand that is
named, however little is left of the belief in it: nobody can take a sign back by claiming the contrary. No sign at all
is `unknown`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import prod

import msgspec

from deploy.change import Approver, Origin, Provenance, ProvenanceEvidence
from deploy.provenance.vote import WITNESS, Lines, Vote

AUTONOMY = ("suggest", "edit", "agent", "autonomous")
#: From this share of the lines on it is an AI's work, not a mixed one.
ALL_OF_IT = 0.95
_AI_HAND = (Origin.AI, Origin.MIXED)


class Shares(msgspec.Struct, frozen=True, kw_only=True):
    """The lines that a change adds, by who is said to have written them; the rest nobody spoke for."""

    changed: int
    ai: int
    human: int

    @property
    def nobody(self) -> int:
        return max(0, self.changed - self.ai - self.human)

    @property
    def ai_share(self) -> float:
        return self.ai / self.changed if self.changed else 0.0


class Attribution(msgspec.Struct, frozen=True, kw_only=True):
    """Who or what made a change.

    `odds` has a belief for each origin and adds up to 1; `conflict` is the part of unknown that comes of contradiction.
    """

    origin: Origin
    confidence: float
    odds: dict[str, float]
    conflict: float = 0.0
    tools: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    autonomy: str = ""
    lines: Shares | None = None
    author: str = ""
    operator: str = ""
    approvers: tuple[Approver, ...] = ()
    votes: tuple[Vote, ...] = ()

    @property
    def signed(self) -> bool:
        """Whether there is any sign that counts."""
        return any(vote.weight for vote in self.votes)


def weigh(
    votes: Iterable[Vote],
    *,
    changed: int | None = None,
    author: str = "",
    operator: str = "",
    approvers: Sequence[Approver] = (),
) -> Attribution:
    """Put votes together; `changed` is how many lines the change adds, where known."""
    votes = tuple(votes)
    counted = [vote for vote in votes if vote.weight > 0 and vote.origin is not Origin.UNKNOWN]
    lines = _lines(counted, changed)
    hand, human = _belief(counted, _AI_HAND), _belief(counted, (Origin.HUMAN,))
    conflict = hand * human
    hand, human = hand - conflict, human - conflict
    all_of_it = _all_of_it(counted, lines)
    odds = {
        Origin.HUMAN: human,
        Origin.AI: hand * all_of_it,
        Origin.MIXED: hand * (1 - all_of_it),
        Origin.UNKNOWN: max(0.0, 1 - hand - human),
    }
    origin = Origin.UNKNOWN
    if any(vote.origin in _AI_HAND for vote in counted):
        origin = Origin.AI if all_of_it > 0.5 else Origin.MIXED
    elif counted:
        origin = Origin.HUMAN
    spoke = [vote for vote in counted if vote.origin in _AI_HAND]
    return Attribution(
        origin=origin,
        confidence=round(odds[origin], 3) if origin is not Origin.UNKNOWN else 0.0,
        odds={str(name): round(value, 3) for name, value in odds.items()},
        conflict=round(conflict, 3),
        tools=_names(vote.tool for vote in votes),
        models=_names(vote.model for vote in spoke),
        autonomy=max((vote.autonomy for vote in spoke if vote.autonomy in AUTONOMY), key=AUTONOMY.index, default=""),
        lines=lines,
        author=author,
        operator=operator,
        approvers=tuple(approvers),
        votes=votes,
    )


def provenance_of(one: Attribution) -> Provenance:
    """As the change record carries it: every sign quoted, those that do not count with the reason why."""
    return Provenance(
        origin=one.origin,
        confidence=one.confidence if one.origin is not Origin.UNKNOWN else None,
        autonomy=one.autonomy,
        tools=one.tools,
        models=one.models,
        author=one.author,
        operator=one.operator,
        approvers=one.approvers,
        evidence=tuple(
            ProvenanceEvidence(source=vote.source, text=f"{vote.text} ({vote.note})" if vote.note else vote.text)
            for vote in one.votes
        ),
    )


def _witnesses(votes: Iterable[Vote], origins: Sequence[Origin]) -> Mapping[str, Vote]:
    """The strongest sign of each witness for one of these origins; of equals, that for less of an AI's hand."""
    strongest: dict[str, Vote] = {}
    for vote in votes:
        if vote.origin in origins:
            witness = WITNESS.get(vote.source, vote.source)
            known = strongest.get(witness)
            if known is None or (vote.weight, vote.origin is Origin.MIXED) > (
                known.weight,
                known.origin is Origin.MIXED,
            ):
                strongest[witness] = vote
    return strongest


def _belief(votes: Iterable[Vote], origins: Sequence[Origin]) -> float:
    return 1 - prod(1 - vote.weight for vote in _witnesses(votes, origins).values())


def _lines(votes: Iterable[Vote], changed: int | None) -> Shares | None:
    """The lines of the most trusted source that counts lines."""
    told: dict[str, tuple[float, int, int]] = {}
    for vote in votes:
        if vote.lines is not None:
            weight, ai, human = told.get(vote.source, (0.0, 0, 0))
            told[vote.source] = max(weight, vote.weight), ai + vote.lines.ai, human + vote.lines.human
    if not told:
        return None
    _, ai, human = max(told.values())
    lines = Lines(ai, human)
    total = lines.attributed if changed is None else changed
    # More lines than the change adds were counted in another commit: only their proportion can be kept.
    scale = min(1.0, total / lines.attributed) if lines.attributed else 0.0
    ai = round(lines.ai * scale)
    return Shares(changed=total, ai=ai, human=min(total - ai, round(lines.human * scale)))


def _all_of_it(votes: Sequence[Vote], lines: Shares | None) -> float:
    """How far it is an AI's alone, given that one had a hand in it: by lines where known, else as the signs say."""
    if lines is not None and lines.changed and lines.ai:
        return 1.0 if lines.ai_share >= ALL_OF_IT else 0.0
    strongest = _witnesses(votes, _AI_HAND).values()
    ai = 1 - prod(1 - vote.weight for vote in strongest if vote.origin is Origin.AI)
    mixed = 1 - prod(1 - vote.weight for vote in strongest if vote.origin is Origin.MIXED)
    alone = ai * (1 - mixed)
    return alone / (alone + mixed) if alone + mixed else 0.0


def _names(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in names if name))
