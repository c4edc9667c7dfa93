"""Questions to people: one a hold, to one person, with what is known, what else could be done, and until when."""

from __future__ import annotations

from typing import Any

import msgspec

from deploy.errors import DeployError
from deploy.times import format_time, parse_time


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """One question; times are Unix milliseconds.

    `id` follows from what is asked about, so a change that asks again asks the same question. A yes is an approval of
    `revision`, and where it `confirms` a loss, of exactly that.
    """

    id: str
    to: str
    asks: str
    evidence: tuple[str, ...] = ()
    alternative: str = ""
    asked_at: int
    deadline: int
    change: str = ""
    service: str = ""
    environment: str = ""
    rule: str = ""
    revision: str = ""
    confirms: str = ""


def question_to_object(question: Question) -> dict[str, Any]:
    record: dict[str, Any] = msgspec.to_builtins(question)
    record["evidence"] = list(question.evidence)
    return record | {field: format_time(record[field]) for field in ("asked_at", "deadline")}


def question_from_object(record: object) -> Question:
    """Read a question.

    Raises:
        DeployError: naming the field that is wrong.
    """
    if not isinstance(record, dict):
        raise DeployError(f"a question is a JSON object, not {type(record).__name__}")
    times = {field: parse_time(record.get(field)) for field in ("asked_at", "deadline")}
    try:
        return msgspec.convert(record | times, Question)
    except msgspec.ValidationError as error:
        raise DeployError(f"question: {error}") from None
