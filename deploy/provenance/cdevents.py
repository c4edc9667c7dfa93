"""CDEvents as pieces: merges, artifacts, approvals and deployments, which their chain, links and digests join.

CDEvents has no field for an author or a commit; what stands under `customData.haltline` (native `provenance` and `vcs`)
says it. Source: cdevents/spec 0.4 to 0.6-draft, `links.md`.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

from deploy.provenance.payload import at, sha, text, time
from deploy.provenance.people import approval_or_vote
from deploy.provenance.piece import Approval, Piece
from deploy.provenance.vote import Source, Vote, quote

_TYPE = re.compile(r"dev\.cdevents\.(?P<subject>[a-z]+)\.(?P<predicate>[a-z]+)(?:\.|$)")
_DIGEST = re.compile(r"sha(?:256|384|512):[0-9a-f]{32,128}")
_SUBJECTS = ("change", "artifact", "approval", "service")


def is_cdevent(record: dict[str, Any]) -> bool:
    return isinstance(record.get("context"), dict) and isinstance(record.get("subject"), dict)


def read_cdevent(record: dict[str, Any]) -> tuple[Piece, ...]:
    """The piece of an event about a change, an artifact, an approval or a service; none for any other."""
    context, subject = record["context"], record["subject"]
    match = _TYPE.match(text(context, "type"))
    if match is None or match["subject"] not in _SUBJECTS:
        return ()
    content, identity = subject.get("content"), text(subject, "id")
    ours = at(record, "customData", "haltline")
    of = match["subject"]
    artifacts = [digest_of(text(content, "artifactId")), digest_of(identity) if of == "artifact" else ""]
    source = text(subject, "source") or text(context, "source")
    revisions = [sha(ours, "vcs", "revision"), sha(content, "change", "id")]
    named = []
    repository = text(content, "repository", "id") or text(ours, "vcs", "repository")
    request = ""
    if of == "change":
        revisions.append(sha(subject, "id"))
        named.append(f"{source}#{identity}")
        request = f"{repository}#{identity}" if repository and not revisions[-1] else ""
    elif change := text(content, "change", "id"):
        named.append(f"{text(content, 'change', 'source') or source}#{change}")
    who = text(content, "responder").removeprefix("urn:user:")
    said = f"{of} {identity} {match['predicate']}" + (f" by {who}" if who else "")
    approvals: tuple[Approval, ...] = ()
    votes: tuple[Vote, ...] = ()
    if of == "approval" and match["predicate"] == "closed" and who:
        decision = text(content, "decision")
        if decision:
            approvals, votes = approval_or_vote(
                who, Source.CDEVENTS, said=f"{said}: {decision}", at=time(context, "timestamp"),
                role=text(ours, "role"), revision=sha(ours, "vcs", "revision"), withdrawn=decision != "approved",
            )  # fmt: skip
    author = text(ours, "provenance", "author")
    return (
        Piece(
            source=Source.CDEVENTS,
            text=quote(said),
            time=time(context, "timestamp"),
            revisions=tuple(dict.fromkeys(one for one in revisions if one)),
            artifacts=tuple(dict.fromkeys(one for one in artifacts if one)),
            request=request,
            chain=text(context, "chainId"),
            events=tuple(dict.fromkeys(one for one in (text(context, "id"), *_links(context), *named) if one)),
            change=text(ours, "id"),
            repository=repository,
            author=author,
            operator=text(ours, "provenance", "operator"),
            approvals=approvals,
            votes=votes,
        ),
    )


def digest_of(purl: str) -> str:
    """The digest in a package URL or an image reference; empty where it has none.

    >>> digest_of("pkg:oci/shop@sha256%3A" + "ab" * 32)[:15]
    'sha256:abababab'
    """
    found = _DIGEST.search(unquote(purl).lower())
    return found[0] if found else ""


def _links(context: dict[str, Any]) -> list[str]:
    links = context.get("links")
    return [
        text(link, side, "contextId")
        for link in (links if isinstance(links, list) else ())
        for side in ("target", "from")
    ]
