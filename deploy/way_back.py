"""The way back: a revert passes what would hold a change, so it must be one."""

from __future__ import annotations

from deploy.change import Change, same_revision
from deploy.inquiry import GateState
from deploy.rule import Decision, Word


def way_back(change: Change, state: GateState) -> tuple[bool, Word | None]:
    """Whether a change that says it is a revert is one, and what to say where it is not."""
    if not change.reverts:
        return False, None
    why = _not_one(change, state)
    if not why:
        return True, _unsaid(change, state)
    reason = f"not a revert of {change.reverts}: {why}; it is treated as any other change"
    return False, Word(rule="way_back", decision=Decision.ALLOW, reason=reason, cause=f"not_a_revert:{change.reverts}")


def _unsaid(change: Change, state: GateState) -> Word | None:
    """What it is the way back to, where the change that asks does not say it itself: its answer is for that alone."""
    known = state.traffic.known(change.reverts)
    back_to = "" if known is None else known.change.previous_version
    if change.version or not back_to:
        return None
    reason = f"it does not say what it brings: this is for {back_to}, which ran before {change.reverts}, and no other"
    return Word(rule="way_back", decision=Decision.ALLOW, reason=reason, cause=f"back_to:{back_to}")


def _not_one(change: Change, state: GateState) -> str:
    known = state.traffic.known(change.reverts)
    if known is None:
        causes = {freeze.caused_by for freeze in state.freezes} | {verdict.change for verdict in state.verdicts}
        # Of a service whose changes nobody tells of nobody can tell: its fixers are not locked out.
        heard = change.reverts not in causes and state.traffic.hears_of(change.service)
        return "nobody has heard of that change" if heard else ""
    undone = known.change
    if change.reverts == change.id:
        return "a change cannot revert itself"
    if undone.service != change.service:
        return f"that was of {undone.service}"
    if undone.environment and change.environment and undone.environment != change.environment:
        return f"that was in {undone.environment}"
    if change.version and undone.previous_version and change.version != undone.previous_version:
        return f"it brings {change.version}, before that change ran {undone.previous_version}"
    if change.version and change.version == undone.version:
        return f"it brings {change.version} again"
    if change.vcs.revision and same_revision(change.vcs.revision, undone.vcs.revision):
        return "it is the same revision again"
    before = state.traffic.revisions(undone.service, undone.previous_version)
    if change.vcs.revision and before and not any(same_revision(change.vcs.revision, one) for one in before):
        return f"it is {change.vcs.revision[:12]}, {undone.previous_version} was {before[0][:12]}"
    return ""
