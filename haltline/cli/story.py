"""The whole story of one change: who made it, who approved what, how it came to production, and what production did."""

from __future__ import annotations

from typing import Any

import msgspec

from deploy.chain import attribute, since_superseded
from deploy.change import Approver, Change, change_to_object
from deploy.freeze import freeze_to_object, state_of
from deploy.provenance.piece import Piece
from deploy.provenance.vote import Source, Vote
from deploy.provenance.weigh import Attribution
from deploy.times import format_time, parse_time
from deploy.verdict import verdict_to_object
from haltline.cli import kinds
from haltline.state import State

Rows = list[tuple[str, str]]


def record(identity: str, state: State, now: int) -> dict[str, Any]:
    """Everything about one change for a program: the change record, and beside it its story and what came of it."""
    shown: dict[str, Any] = {"id": identity}
    if identity in state.changes:
        change, own = state.told(identity), state.own(identity)
        story = state.chain.story(own)
        found = attribute(own, story)
        shown = change_to_object(change) | {
            "began": format_time(state.began.get(identity, change.time)),
            "odds": found.odds,
            "conflict": found.conflict,
            "signs": [msgspec.to_builtins(vote) for vote in found.votes],
            "story": [
                {"source": one.source.value, "text": one.text}
                | ({"time": format_time(one.time)} if one.time is not None else {})
                for one in story
                if one.source is not Source.DECLARED
            ],
        }
    verdict = state.verdicts.get(identity)
    shown["verdict"] = None if verdict is None else verdict_to_object(verdict)
    shown["freezes"] = [
        freeze_to_object(one) | {"state": state_of(one, now).value}
        for one in state.freezes
        if one.caused_by == identity
    ]
    return shown


def of_change(identity: str, state: State, now: int) -> Rows:
    """A change on one screen, from its making to its rollout; its verdict follows elsewhere."""
    change, own = state.told(identity), state.own(identity)
    story = state.chain.story(own)
    vcs = change.vcs
    began = state.began.get(identity, change.time)
    share = change.rollout.share
    lines = "" if vcs.lines_added is None else f", +{vcs.lines_added:,} −{vcs.lines_removed or 0:,} lines"
    rows: Rows = [
        ("Change", change.id),
        ("Service", change.service),
        ("Environment", change.environment),
        ("Kind", change.kind.value),
        ("Version", change.version),
        ("Previous", change.previous_version),
        ("Reverts", change.reverts),
        *_made(change, attribute(own, story)),
        ("Repository", vcs.repository),
        ("Revision", f"{vcs.revision}{lines}" if vcs.revision else lines.removeprefix(", ")),
        *_approved(change, story),
        *_way(story),
        ("Began", f"{kinds.brief(began)} ({kinds.age(began, now)} ago)"),
        ("Phase", f"{change.phase.value} since {kinds.brief(change.time)}"),
        (
            "Rollout",
            " ".join(part for part in (change.rollout.strategy, f"{share:.0%}" if share is not None else "") if part),
        ),
        ("Instances", ", ".join(change.instances)),
        ("Labels", ", ".join(f"{name}={value}" for name, value in sorted(change.labels.items()))),
    ]
    return rows + [("Action", f"{one.verb} {one.kind} {one.name}".strip()) for one in change.actions]


def _made(change: Change, found: Attribution) -> Rows:
    """Who made it, and each sign: what counts with its weight, what does not with the reason."""
    provenance = change.provenance
    sure = f" (confidence {provenance.confidence:g})" if provenance.confidence is not None else ""
    conflict = f"; signs contradict each other ({found.conflict:g})" if found.conflict else ""
    told = [one for one in found.votes if one.source is not Source.DECLARED]
    own = change.provenance.evidence if not told else ()
    return [
        ("Origin", provenance.origin.value + sure + conflict),
        ("Autonomy", provenance.autonomy),
        ("Tools", ", ".join(provenance.tools)),
        ("Models", ", ".join(provenance.models)),
        ("Author", provenance.author),
        ("Operator", provenance.operator),
        ("Involved", ", ".join(provenance.involved)),
        *(("Sign", f"{one.source}: {one.text}") for one in own),
        # What an attestation joins is told by its way.
        *(("Sign", _sign(one)) for one in found.votes if told and (one.weight or one.source is not Source.ATTESTATION)),
    ]


def _sign(vote: Vote) -> str:
    says = f" says {vote.origin.value} ({vote.weight:.2g})" if vote.weight else ""
    note = f" ({vote.note})" if vote.note else ""
    return f"{vote.source.value}{says}: {vote.text}{note}"


def _approved(change: Change, story: list[Piece]) -> Rows:
    return [("Refused" if one.refused else "Approver", _approver(one, story)) for one in change.provenance.approvers]


def _approver(one: Approver, story: list[Piece]) -> str:
    said = f"{one.who} {one.role}".strip()
    if one.at is not None:
        said += f" at {kinds.brief(parse_time(one.at))}"
    if one.revision:
        said += f" on {one.revision[:10]}"
    if one.confirms:
        said += f", confirms {one.confirms}"
    if one.refused and one.why:
        said += f": {one.why}"
    newer = since_superseded(one, story)
    return f"{said}, before {newer[:10]} came" if newer else said


def _way(story: list[Piece]) -> Rows:
    """Commits, artifacts, requests, reviews and deploys in the order of time, each told in one line."""
    rows, seen = [], set()
    for one in story:
        if one.source is Source.DECLARED or one.text in seen:
            continue
        seen.add(one.text)
        rows.append(("Way", f"{kinds.brief(one.time)} {one.text}" if one.time is not None else one.text))
    return rows
