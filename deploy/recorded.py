"""What was recorded of the change that asks: a pipeline that only names it is answered by its record."""

from __future__ import annotations

import msgspec

from deploy.change import Change, Origin, Provenance, Rollout, Vcs, most
from deploy.traffic import Known

#: An origin that is said when asking never makes light of one that was recorded.
_WEIGHT = {Origin.UNKNOWN: 0, Origin.HUMAN: 1, Origin.MIXED: 2, Origin.AI: 3}


def with_record(asking: Change, known: Known | None) -> Change:
    """The change as it asks, with what its record says beside it.

    Where both say something the asking one counts, but for the origin, of which the less human one does, and the lines,
    of which the most do: who asks may be the agent. Approvals and actions are those of both.
    """
    if known is None or known.change.service != asking.service:
        return asking
    told = known.change
    return msgspec.structs.replace(
        asking,
        environment=asking.environment or told.environment,
        version=asking.version or told.version,
        previous_version=asking.previous_version or told.previous_version,
        rollout=asking.rollout if asking.rollout != Rollout() else told.rollout,
        provenance=_provenance(asking.provenance, told.provenance, known),
        vcs=_vcs(asking.vcs, told.vcs),
        actions=tuple(dict.fromkeys((*asking.actions, *told.actions))),
        labels=told.labels | asking.labels,
    )


def _provenance(asking: Provenance, told: Provenance, known: Known) -> Provenance:
    lead = told if _WEIGHT[told.origin] >= _WEIGHT[asking.origin] else asking
    author, operator = told.author or asking.author, told.operator or asking.operator
    named = (asking.author, asking.operator, *asking.involved, *told.involved)
    return msgspec.structs.replace(
        lead,
        author=author,
        operator=operator,
        involved=tuple(dict.fromkeys(name for name in named if name not in ("", author, operator))),
        approvers=tuple(dict.fromkeys((*asking.approvers, *known.approvers))),
    )


def _vcs(asking: Vcs, told: Vcs) -> Vcs:
    # Lines are of a revision: those recorded say nothing of another.
    if asking.revision and told.revision and asking.revision != told.revision:
        return asking
    return Vcs(
        repository=asking.repository or told.repository,
        revision=asking.revision or told.revision,
        lines_added=most((asking.lines_added, told.lines_added)),
        lines_removed=most((asking.lines_removed, told.lines_removed)),
    )
