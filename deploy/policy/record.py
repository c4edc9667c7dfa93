"""A policy as somebody put it in force: its text as it was reviewed, who did, and why."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from deploy.errors import InvalidPolicy, InvalidTime
from deploy.policy.model import Policy
from deploy.policy.read import parse_policy
from deploy.times import format_time, parse_time


class PolicyRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`text` is the YAML, `name` what errors call it; `time` is Unix milliseconds, 0 where nobody said."""

    text: str
    name: str = "policy"
    by: str = ""
    reason: str = ""
    time: int = 0

    def read(self) -> tuple[Policy, list[str]]:
        """The policy and its warnings.

        Raises:
            InvalidPolicy: `NAME:LINE:COLUMN: what is wrong; what would be valid`.
        """
        return parse_policy(self.text, self.name)


def policy_id(policy: Policy) -> str:
    """What the policy is known by: it follows from what it says, not from how that is written.

    >>> policy_id(Policy()) == policy_id(Policy(mode="observe")), policy_id(Policy()) == policy_id(Policy(version=2))
    (True, False)
    """
    return hashlib.blake2b(msgspec.json.encode(policy, order="sorted"), digest_size=6).hexdigest()


def policy_record_from_object(record: object) -> PolicyRecord:
    """Read the record of a policy; what its text says is not looked at yet.

    Raises:
        InvalidPolicy: naming the field that is wrong.
    """
    if not isinstance(record, dict):
        raise InvalidPolicy(f"the record of a policy is a JSON object, not {type(record).__name__}")
    try:
        time = {"time": parse_time(record["time"])} if record.get("time") is not None else {}
        return msgspec.convert(record | time, PolicyRecord)
    except (msgspec.ValidationError, InvalidTime) as error:
        raise InvalidPolicy(f"the record of a policy: {error}") from None


def policy_record_to_object(record: PolicyRecord) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(record)
    return found | {"time": format_time(record.time)}
