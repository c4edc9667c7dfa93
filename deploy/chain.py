"""The way of a change, joined: artifact, commit, pull request, approvals, deploy, in whatever order they are told.

A fold over pieces. Pieces are of one story when they share a commit, an artifact's digest, a pull request, a chain or
a linked event of CDEvents, or the id of a change; what shares nothing stays apart. The result depends on the set of
pieces alone: told twice or in another order it is the same, so that a late piece corrects a change and decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from deploy.change import Approver, Change, Vcs, most
from deploy.provenance.declared import declared_piece
from deploy.provenance.piece import Approval, Piece
from deploy.provenance.signs import split_identity
from deploy.provenance.vote import Source, Vote
from deploy.provenance.weigh import Attribution, provenance_of, weigh
from deploy.times import format_time, parse_time

#: A commit id is joined by its first digits from this many on.
_SHORTEST = 7


class Chain:
    """Every piece told so far, and which belong together."""

    def __init__(self) -> None:
        self._pieces: list[Piece] = []
        self._known: set[bytes] = set()
        self._parent: dict[str, str] = {}
        self._members: dict[str, list[int]] = {}
        self._short: dict[str, set[str]] = {}
        #: What was said of one change by name. It leads from that change to the rest, and joins nothing for others.
        self._own: dict[str, list[Piece]] = {}
        #: Every approval in the order in which they were told: who, when (Unix ms), and of which change or revision.
        self.given: list[tuple[str, int, str]] = []

    def tell(self, piece: Piece) -> bool:
        """Take a piece in; gives whether anything new was told."""
        identity = msgspec.msgpack.encode(piece)
        keys = list(_keys(piece))
        if identity in self._known or not keys:
            return False
        self._known.add(identity)
        for one in piece.approvals:
            if one.at is not None and not one.withdrawn and not one.refused:
                self.given.append((one.who, one.at, piece.change or one.revision or piece.request))
        if piece.change:
            self._own.setdefault(piece.change, []).append(piece)
            return True
        number = len(self._pieces)
        self._pieces.append(piece)
        root = self._find(keys[0])
        for key in keys[1:]:
            root = self._union(root, self._find(key))
        self._members.setdefault(root, []).append(number)
        for revision in piece.revisions:
            self._join_short(revision)
        return True

    def told(self) -> Iterator[Piece]:
        """Every piece, so that another chain can be told the same."""
        yield from self._pieces
        for own in self._own.values():
            yield from own

    def story(self, change: Change, until: int | None = None) -> list[Piece]:
        """The pieces that belong to a change, by time, those without one last.

        What was said of another change that shares the way is left out. With `until` (Unix ms) it is the story as it
        was then: what came later also joins nothing.
        """
        own = [one for one in self._own.get(change.id, ()) if _by(one, until)]
        keys = [*change_keys(change), *(key for one in own for key in _keys(one))]
        whole = self.story_of(keys)
        known = [one for one in whole if _by(one, until)]
        if len(known) < len(whole):
            then = Chain()
            for one in known:
                then.tell(one)
            known = then.story_of(keys)
        return sorted([*own, *known], key=_order)

    def story_of(self, keys: Iterable[str]) -> list[Piece]:
        """The pieces that belong to what these keys name, as `revision:3484a3f`."""
        roots = {self._find(near) for key in keys for near in self._near(key) if near in self._parent}
        numbers = {number for root in roots for number in self._members.get(root, ())}
        return sorted((self._pieces[number] for number in numbers), key=_order)

    def attribution(self, change: Change) -> Attribution:
        """Who made a change and who approved it, by its own word and the pieces of its story."""
        return attribute(change, self.story(change))

    def enrich(self, change: Change, until: int | None = None) -> Change:
        """The change with what its story adds: provenance and vcs. Where only it speaks of itself it is the same."""
        if not self._known:
            return change
        story = self.story(change, until)
        own = set(declared_piece(change).events)
        others = (one.source is not Source.DECLARED and not own & set(one.events[:1]) for one in story)
        return enriched(change, story) if any(others) else change

    def _near(self, key: str) -> Iterator[str]:
        """The key itself, and for a commit id the one known id that it is the beginning of, or that begins it."""
        yield key
        if key.startswith("revision:"):
            found = self._of_same_beginning(key.removeprefix("revision:"))
            if len(found) == 1:
                yield f"revision:{found[0]}"

    def _of_same_beginning(self, revision: str) -> list[str]:
        near = self._short.get(revision[:_SHORTEST], set())
        return sorted(one for one in near if one != revision and (one.startswith(revision) or revision.startswith(one)))

    def _join_short(self, revision: str) -> None:
        """Join short ids with the full one, where only one begins so."""
        near = self._short.setdefault(revision[:_SHORTEST], set())
        near.add(revision)
        longest = [one for one in near if not any(other != one and other.startswith(one) for other in near)]
        for short in near:
            full = [one for one in longest if one.startswith(short)]
            if len(full) == 1 and full[0] != short:
                self._union(self._find(f"revision:{short}"), self._find(f"revision:{full[0]}"))

    def _find(self, key: str) -> str:
        root = key
        while (parent := self._parent.setdefault(root, root)) != root:
            root = parent
        while self._parent[key] != root:
            self._parent[key], key = root, self._parent[key]
        return root

    def _union(self, one: str, other: str) -> str:
        if one == other:
            return one
        small, large = sorted((one, other), key=lambda root: len(self._members.get(root, ())))
        self._parent[small] = large
        moved = self._members.pop(small, [])
        self._members.setdefault(large, []).extend(moved)
        return large


def _by(piece: Piece, until: int | None) -> bool:
    return until is None or piece.time is None or piece.time <= until


def _order(piece: Piece) -> tuple[bool, int, str, str]:
    return piece.time is None, piece.time or 0, piece.source, piece.text


def change_keys(change: Change) -> Iterator[str]:
    """What a change record can be joined by."""
    return _keys(declared_piece(change))


def _keys(piece: Piece) -> Iterator[str]:
    yield from (f"revision:{one}" for one in piece.revisions if len(one) >= _SHORTEST)
    yield from (f"artifact:{one}" for one in piece.artifacts)
    yield from (f"event:{one}" for one in piece.events)
    for kind, value in (("request", piece.request), ("chain", piece.chain), ("change", piece.change)):
        if value:
            yield f"{kind}:{value}"


def standing_approvals(pieces: Iterable[Piece]) -> list[Approval]:
    """The last word of each approver on each revision, those that took it back left out, oldest first."""
    last: dict[tuple[str, str, str], Approval] = {}
    everything = sorted(
        (one for piece in pieces for one in piece.approvals),
        key=lambda one: (one.at or 0, one.withdrawn, one.who, one.revision),
    )
    for one in everything:
        if one.withdrawn:
            # Who takes it back takes back what they said of every revision.
            last = {key: kept for key, kept in last.items() if key[0] != one.who}
        else:
            last[one.who, one.revision, one.confirms] = one
    return sorted(last.values(), key=lambda one: (one.at or 0, one.who, one.revision))


def since_superseded(approver: Approver, story: Iterable[Piece]) -> str:
    """The head that a pull request got after this approval of an earlier one; empty where it still is the head."""
    if not approver.revision or approver.at is None:
        return ""
    at = parse_time(approver.at)
    for one in story:
        if one.request and one.revisions and not one.approvals and one.time is not None and one.time > at:
            head = one.revisions[0]
            if approver.revision not in one.revisions:
                return head
    return ""


def attribute(change: Change, story: Iterable[Piece]) -> Attribution:
    """Weigh what a change declares with what its story says."""
    own = declared_piece(change)
    return attribute_pieces([own, *(one for one in story if one != own)])


def attribute_pieces(pieces: Sequence[Piece]) -> Attribution:
    """Weigh what these pieces say together; the first that names an author, an operator or lines is believed."""
    votes: dict[Vote, None] = dict.fromkeys(vote for one in pieces for vote in one.votes)
    declared = next((one.author for one in pieces if one.author and one.source is Source.DECLARED), "")
    own = next((one.added for one in pieces[:1] if one.added is not None), None)
    return weigh(
        votes,
        changed=own if own is not None else most(one.added for one in pieces),
        author=declared or _author(pieces),
        operator=next((one.operator for one in pieces if one.operator), ""),
        approvers=_approvers([known for one in pieces for known in one.approvers], pieces),
    )


def enriched(change: Change, story: Iterable[Piece]) -> Change:
    """The change record with provenance and vcs as the story has them.

    What it said itself of its vcs stays, but for the lines: who says fewer than others do does not make it small.
    """
    pieces = list(story)
    provenance = provenance_of(attribute(change, pieces))
    named = [name for one in pieces for name in (one.author, one.operator)]
    own = ("", provenance.author, provenance.operator)
    involved = dict.fromkeys((*change.provenance.involved, *(name for name in named if name not in own)))
    # What the record quotes itself says more than that it declares something.
    quoted = change.provenance.evidence
    found = [one for one in provenance.evidence if not (quoted and one.source == Source.DECLARED)]
    evidence = tuple(dict.fromkeys((*quoted, *found)))
    vcs = change.vcs
    return msgspec.structs.replace(
        change,
        provenance=msgspec.structs.replace(provenance, evidence=evidence, involved=tuple(involved)),
        vcs=Vcs(
            repository=vcs.repository or next((one.repository for one in pieces if one.repository), ""),
            revision=vcs.revision or _revision(pieces),
            lines_added=most((vcs.lines_added, *(one.added for one in pieces))),
            lines_removed=most((vcs.lines_removed, *(one.removed for one in pieces))),
        ),
    )


def _author(pieces: Iterable[Piece]) -> str:
    """The account that opened the pull request, as approvals name accounts too; else who wrote the commit."""
    named = [(not one.request, one.time or 0, one.author) for one in pieces if one.author]
    if not named:
        return ""
    name, email = split_identity(min(named)[2])
    return email or name


def _approvers(declared: Iterable[Approver], pieces: Sequence[Piece]) -> tuple[Approver, ...]:
    """Those declared and those who approved; `since` is when the revision was first heard of, and could be read."""
    found = {(one.who, one.revision, one.confirms): one for one in declared}
    for one in standing_approvals(pieces):
        heard = [
            piece.time
            for piece in pieces
            if piece.time is not None
            and one.revision in piece.revisions
            and not piece.approvals
            # A record made after it, as by who asks now, says nothing of when it could be read.
            and (one.at is None or piece.time <= one.at)
        ]
        since = min(heard) if one.revision and heard else one.since
        found[one.who, one.revision, one.confirms] = Approver(
            who=one.who,
            role=one.role,
            at=None if one.at is None else format_time(one.at),
            revision=one.revision,
            since=None if since is None else format_time(since),
            confirms=one.confirms,
            signature=one.signature,
            refused=one.refused,
            why=one.why if one.refused else "",
        )
    return tuple(found.values())


def _revision(pieces: Iterable[Piece]) -> str:
    """What the artifact was built from, else what was deployed or merged last."""
    pieces = list(pieces)
    built = [one.revisions[0] for one in pieces if one.artifacts and one.revisions]
    if built:
        return built[-1]
    return next((one.revisions[-1] for one in reversed(pieces) if one.revisions), "")
