"""The `provenance` object that a deployer sends with a change: a statement, weighed like any other.

Who says that an AI had a hand in it is believed more than who says that none had.
"""

from __future__ import annotations

from deploy.change import Change, Origin, Provenance
from deploy.provenance.cdevents import digest_of
from deploy.provenance.payload import text
from deploy.provenance.piece import Piece
from deploy.provenance.signs import signs
from deploy.provenance.vote import Source, Vote, quote


def declared_votes(provenance: Provenance) -> list[Vote]:
    """The vote of a declared provenance; with no origin given, none."""
    origin = provenance.origin
    if origin is Origin.UNKNOWN:
        return []
    weight = signs().weights["declared_human" if origin is Origin.HUMAN else "declared"]
    sure = 1.0 if provenance.confidence is None else max(0.0, min(1.0, provenance.confidence))
    tools, models = provenance.tools or ("",), provenance.models or ("",)
    said = " ".join((f"origin: {origin.value}", *provenance.tools, *provenance.models))
    votes = []
    for index in range(max(len(tools), len(models))):
        tool = tools[index] if index < len(tools) else ""
        model = models[index] if index < len(models) else ""
        votes.append(
            Vote(
                source=Source.DECLARED,
                text=quote(said),
                origin=origin,
                weight=weight * sure,
                tool=tool,
                model=model,
                autonomy=provenance.autonomy,
            )
        )
    return votes


def declared_piece(change: Change) -> Piece:
    """What a change record says of its own way."""
    provenance, vcs = change.provenance, change.vcs
    event = change.extra.get("cdevents")
    digest = digest_of(change.version)
    # An approval told as an event counts, and is taken back, as an event.
    told_as_event = ".approval." in text(event, "type")
    return Piece(
        source=Source.DECLARED,
        text=quote(f"change {change.id} declares origin {provenance.origin.value}"),
        time=change.time,
        revisions=(vcs.revision.lower(),) if vcs.revision else (),
        artifacts=(digest,) if digest else (),
        chain=text(event, "chainId"),
        events=tuple(one for one in (text(event, "id"),) if one),
        change=change.id,
        repository=vcs.repository,
        author=provenance.author,
        operator=provenance.operator,
        votes=tuple(declared_votes(provenance)),
        approvers=() if told_as_event else provenance.approvers,
        added=vcs.lines_added,
        removed=vcs.lines_removed,
    )
