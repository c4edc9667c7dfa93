"""Who or what made a change, from evidence: one reader for each kind of sign, and the weighing of what they say.

Pure: readers take bytes or decoded JSON and give votes and pieces. The absence of a sign is `unknown`, never `human`.
"""

from deploy.provenance.commit import Commit, commit_votes
from deploy.provenance.evidence import read_evidence
from deploy.provenance.piece import Approval, Piece
from deploy.provenance.vote import Source, Vote
from deploy.provenance.weigh import Attribution, provenance_of, weigh

__all__ = [
    "Approval",
    "Attribution",
    "Commit",
    "Piece",
    "Source",
    "Vote",
    "commit_votes",
    "provenance_of",
    "read_evidence",
    "weigh",
]
