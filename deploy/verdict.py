"""Verdicts: what production says of one change, with every number that led to it."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from deploy.errors import DeployError
from deploy.evidence import Finding
from deploy.freeze import Mode
from deploy.scope import parse_scope
from deploy.times import MINUTE_MS, format_time, parse_time


class VerdictState(StrEnum):
    """`warming` while watched without a decision; `inconclusive` when the watch ended without enough to judge by."""

    WARMING = "warming"
    HEALTHY = "healthy"
    INCONCLUSIVE = "inconclusive"
    HARMFUL = "harmful"


#: New starts wait for seconds on early evidence; no policy makes them wait longer. Milliseconds.
LONGEST_HOLD = 10 * MINUTE_MS
#: Stand among the changes that share the blame for none of them, and for all that are not named.
NOBODY, OTHERS = "", "*"


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """What one change did of it, 0 to 1, and why; the change is empty for nobody, `*` for all that are not named."""

    change: str
    blame: float
    reason: str


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict of one change at `time` (Unix milliseconds, event time of the sample that decided).

    `log_e` is the natural logarithm of the largest combined e-value so far; `blame` its share among the changes
    active at once, 0 to 1; `shares` say how it was shared, with nobody among them, and why. `ended` marks the last
    verdict of a watch. `since` is when it came to this state. A harmful one names its `lane`, and whether it is a
    `discovery` there: with e-LOND the share of false ones among a lane's discoveries is bounded.

    `newest_sample` is the event time of the newest sample that it rests on, and `sample_age_ms` how old that was when
    it arrived: where that is more than the policy lets pass, a verdict is inconclusive and never healthy.

    A warming one whose evidence has passed the watch bar says until when (`hold_until`) new starts of its service and
    environment wait. That is no freeze, and ends by itself; in observe mode nothing waits. `hold_passes` lists scopes
    that go all the same, each a list of matchers.
    """

    change: str
    service: str
    environment: str = ""
    time: int
    state: VerdictState
    log_e: float = 0.0
    blame: float = 0.0
    reason: str = ""
    evidence: tuple[Finding, ...] = ()
    shares: tuple[Share, ...] = ()
    onset: int | None = None
    ended: bool = False
    since: int | None = None
    lane: str = ""
    discovery: bool = False
    newest_sample: int | None = None
    sample_age_ms: int = 0
    hold_until: int | None = None
    hold_mode: Mode = Mode.ENFORCE
    hold_passes: tuple[tuple[str, ...], ...] = ()

    @property
    def reached(self) -> int:
        """When it came to this state, Unix milliseconds."""
        return self.time if self.since is None else self.since

    def held_at(self, now: int) -> bool:
        """Whether new starts wait, or would in enforce mode, at `now` (Unix milliseconds)."""
        return self.hold_until is not None and now < self.hold_until


def finding_to_object(finding: Finding) -> dict[str, Any]:
    record: dict[str, Any] = {
        "service": finding.service,
        "metric": finding.metric,
        "attributes": finding.attributes,
        "control": finding.control,
        "log_e": finding.log_e,
        "log_p": finding.log_p,
        "effect": finding.effect,
        "samples": finding.samples,
        "reason": finding.reason,
    }
    return record if finding.expected is None else record | {"expected": finding.expected}


def verdict_to_object(verdict: Verdict) -> dict[str, Any]:
    """The verdict record, its promised fields first and always there."""
    record: dict[str, Any] = {
        "change": verdict.change,
        "service": verdict.service,
        "time": format_time(verdict.time),
        "state": verdict.state.value,
        "log_e": verdict.log_e,
        "blame": verdict.blame,
        "reason": verdict.reason,
        "evidence": [finding_to_object(finding) for finding in verdict.evidence],
    }
    if verdict.shares:
        record["shares"] = msgspec.to_builtins(verdict.shares)
    if verdict.environment:
        record["environment"] = verdict.environment
    if verdict.onset is not None:
        record["onset"] = format_time(verdict.onset)
    if verdict.ended:
        record["ended"] = True
    if verdict.since is not None and verdict.since != verdict.time:
        record["since"] = format_time(verdict.since)
    if verdict.lane:
        record |= {"lane": verdict.lane, "discovery": verdict.discovery}
    if verdict.newest_sample is not None:
        record |= {"newest_sample": format_time(verdict.newest_sample), "sample_age_ms": verdict.sample_age_ms}
    if verdict.hold_until is not None:
        record |= {
            "hold_until": format_time(verdict.hold_until),
            "hold_mode": verdict.hold_mode.value,
            "hold_passes": [list(scope) for scope in verdict.hold_passes],
        }
    return record


def verdict_from_object(record: object) -> Verdict:
    """Read a verdict record.

    Raises:
        DeployError: naming the field that is wrong.
    """
    if not isinstance(record, dict):
        raise DeployError(f"a verdict is a JSON object, not {type(record).__name__}")
    fields = ("time", "onset", "since", "newest_sample", "hold_until")
    times = {field: parse_time(record[field]) for field in fields if record.get(field) is not None}
    try:
        verdict = msgspec.convert(record | times, Verdict)
    except msgspec.ValidationError as error:
        raise DeployError(f"verdict: {error}") from None
    # Here rather than when a gate asks, as with freezes.
    for scope in verdict.hold_passes:
        parse_scope(scope)
    return verdict
