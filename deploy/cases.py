"""Example cases beside a policy: changes, what is known when they ask, and what the gate must answer.

    policy: shop.yaml
    now: 2026-11-21T10:00:00Z
    change: {service: checkout, environment: production}        # what every case's change has, where it says nothing
    cases:
      - name: an AI-assisted change without sign-off is held
        change: {provenance: {origin: ai}}
        given: {freezes: [...], changes: [...], verdicts: [...], questions: [...]}
        then: {decision: hold, rule: sign_off, says: nobody approved it}

A time may be written from `now`: `-10m` is ten minutes before. `plan` names a file beside the cases, `plan_text` is its
text, filled up with white space to `plan_bytes`. `evidence` is what others tell of the change: payloads of a forge,
attestations, traces.
A case with `policy_text` has a policy of its own; `refused` is then what must be wrong with it, `at` LINE:COLUMN where.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from deploy.change import change_from_object
from deploy.errors import DeployError, InvalidPolicy
from deploy.freeze import freeze_from_object
from deploy.gate import Answer, GateState, Request, decide
from deploy.plans import read_plan
from deploy.policy import Policy, load_policy, parse_policy
from deploy.policy.yaml_text import compose, read_text
from deploy.provenance.evidence import read_evidence
from deploy.question import question_from_object
from deploy.rule import Word
from deploy.times import parse_duration, parse_time
from deploy.told import state_told
from deploy.verdict import verdict_from_object

_TIMES = frozenset(
    {"at", "since", "time", "starts_at", "ends_at", "asked_at", "deadline", "hold_until", "onset", "submitted_at"}
)
_FROM_NOW = re.compile(r"([+-])((?:\d+(?:\.\d+)?(?:ms|s|m|h|d|w))+)")


class Given(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is known when the change asks."""

    freezes: tuple[dict[str, Any], ...] = ()
    verdicts: tuple[dict[str, Any], ...] = ()
    changes: tuple[dict[str, Any], ...] = ()
    questions: tuple[dict[str, Any], ...] = ()
    evidence: tuple[dict[str, Any], ...] = ()


class Then(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What must come of it; what is left out is not looked at.

    `rule` must be among those that decided, `says` in what they said, `silent` in nothing that anybody said.
    """

    decision: str = ""
    rule: str = ""
    says: str | tuple[str, ...] = ()
    silent: str | tuple[str, ...] = ()
    max_share: float | None = None
    asks: str | None = None
    until: str = ""
    refused: str = ""
    at: str = ""


class Case(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    then: Then
    change: dict[str, Any] = {}
    given: Given = msgspec.field(default_factory=Given)
    plan: str = ""
    plan_text: str = ""
    plan_bytes: int = 0
    policy: str = ""
    policy_text: str = ""
    now: str = ""


class Cases(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file of cases."""

    cases: tuple[Case, ...]
    policy: str = ""
    now: str = "2026-11-21T10:00:00Z"
    change: dict[str, Any] = {}
    given: Given = msgspec.field(default_factory=Given)


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One case; `wrong` says how the answer was otherwise than it must be, and is empty where it was not."""

    where: str
    name: str
    wrong: str
    answer: Answer | None = None


def run_cases(path: Path) -> Iterator[Result]:
    """Run every case of a file.

    Raises:
        InvalidPolicy: the file is not one of cases, or its policy is none; with the place.
    """
    document, marks = compose(read_text(path), str(path))
    try:
        cases = msgspec.convert(document, Cases)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `$")
        place = tuple(int(i) if i else key for i, key in re.findall(r"\[(\d+)\]|\.([^.\[\]`]+)", where))
        raise marks.refuse(place, message[0].lower() + message[1:]) from None
    policies: dict[str, Policy] = {}
    for index, case in enumerate(cases.cases):
        where = marks.where(("cases", index))
        try:
            yield _run(case, cases, path.parent, policies, where)
        except InvalidPolicy:
            raise
        except (DeployError, OSError) as error:
            yield Result(where=where, name=case.name, wrong=f"cannot be asked: {error}")


def cases_of(policy: Path) -> Path:
    """Where the cases of a policy are: `shop.yaml` has `shop.cases.yaml` beside it."""
    return policy.with_name(f"{policy.stem}.cases{policy.suffix}")


def _run(case: Case, cases: Cases, folder: Path, policies: dict[str, Policy], where: str) -> Result:
    if case.policy_text:
        try:
            policy = parse_policy(case.policy_text, "policy")[0]
        except InvalidPolicy as error:
            return Result(where=where, name=case.name, wrong=_refused(str(error), case.then))
        if case.then.refused:
            return Result(where=where, name=case.name, wrong="the policy is read and not refused")
    else:
        named = case.policy or cases.policy
        if not named:
            return Result(where=where, name=case.name, wrong="names no policy, and neither does its file")
        if named not in policies:
            policies[named] = load_policy(folder / named)[0]
        policy = policies[named]
    now = parse_time(case.now or cases.now)
    answer = decide(_request(case, cases, folder, now), policy, _state(case, cases, policy, now), now)
    return Result(where=where, name=case.name, wrong=_wrong(answer, case.then, now), answer=answer)


def _request(case: Case, cases: Cases, folder: Path, now: int) -> Request:
    record = {"id": "asking", "time": now} | _timed(_merged(cases.change, case.change), now)
    data = (folder / case.plan).read_bytes() if case.plan else case.plan_text.encode()
    plan = read_plan(data.ljust(case.plan_bytes)) if data else None
    return Request(change=change_from_object(record), plan=plan)


def _state(case: Case, cases: Cases, policy: Policy, now: int) -> GateState:
    def all_of(kind: str, defaults: dict[str, Any], read: Callable[[object], Any]) -> list[Any]:
        records = (*getattr(cases.given, kind), *getattr(case.given, kind))
        return [read(_timed(defaults | record, now)) for record in records]

    changes = {"time": "-10m", "service": cases.change.get("service", ""), "environment": "production"}
    freezes = {"starts_at": "-1m", "ends_at": "+12m"}
    questions = {"asked_at": "-1h", "deadline": "+3h", "asks": ""}
    return state_told(
        policy,
        changes=all_of("changes", changes, change_from_object),
        pieces=[piece for pieces in all_of("evidence", {}, read_evidence) for piece in pieces],
        questions=all_of("questions", questions, question_from_object),
        verdicts=all_of("verdicts", {"time": "-1m"}, verdict_from_object),
        freezes=all_of("freezes", freezes, freeze_from_object),
    )


def _wrong(answer: Answer, then: Then, now: int) -> str:
    """How an answer is otherwise than it must be."""
    said = "; ".join(answer.reasons)
    deciding = {word.rule for word in answer.words if not word.observed and word.decision is answer.decision}
    if then.refused:
        return "the policy is read and not refused"
    if then.decision and answer.decision != then.decision:
        return f"{answer.decision}, must be {then.decision}: {said}"
    if then.rule and then.rule not in deciding:
        return f"decided by {', '.join(sorted(deciding)) or 'no rule'}, must be {then.rule}: {said}"
    for text in (then.says,) if isinstance(then.says, str) else then.says:
        if text not in said and not any(text in turn for turn in _turns(answer.words)):
            return f"must say {text!r}: {said}"
    for text in (then.silent,) if isinstance(then.silent, str) else then.silent:
        if text and text in said:
            return f"must not say {text!r}: {said}"
    if then.max_share is not None and answer.max_share != then.max_share:
        return f"max_share is {answer.max_share}, must be {then.max_share}: {said}"
    asked = answer.question.to if answer.question is not None else ""
    if then.asks is not None and asked != then.asks:
        return f"asks {asked or 'nobody'}, must ask {then.asks or 'nobody'}: {said}"
    if then.until and answer.until != _moment(then.until, now):
        return f"ends at {answer.until}, must be {then.until}: {said}"
    return ""


def _turns(words: tuple[Word, ...]) -> Iterator[str]:
    return (word.turn for word in words)


def _refused(error: str, then: Then) -> str:
    if not then.refused:
        return f"its policy is refused: {error}"
    if then.refused not in error:
        return f"must be refused with {then.refused!r}: {error}"
    return "" if not then.at or error.startswith(f"policy:{then.at}: ") else f"must be refused at {then.at}: {error}"


def _merged(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """`own` over `base`, mapping by mapping; a null takes away."""
    merged = dict(base)
    for name, value in own.items():
        known = merged.get(name)
        merged[name] = _merged(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return {name: value for name, value in merged.items() if value is not None}


def _timed(value: Any, now: int, name: str = "") -> Any:
    """The same with times that are written from now as times."""
    if isinstance(value, dict):
        return {key: _timed(item, now, key) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_timed(item, now, name) for item in value]
    return _moment(value, now) if name in _TIMES and isinstance(value, str) else value


def _moment(text: str, now: int) -> int | str:
    found = _FROM_NOW.fullmatch(text)
    if found is None:
        return text
    length = parse_duration(found[2])
    return now + (length if found[1] == "+" else -length)
