"""Signed approvals: of somebody whose key the policy has only what that key signed counts."""

from __future__ import annotations

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from deploy.change import Approver, Origin, Provenance, Vcs
from deploy.errors import DeployError, InvalidPolicy
from deploy.gate import Answer, Decision, GateState, Request, decide
from deploy.policy import Policy, parse_policy
from deploy.signature import public_key, sign, signed
from deploy.traffic import Traffic
from tests.factories import NOON, change, policy

KEY, OTHER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
REVISION = "3484a3fb9d0c"
YES = Approver(who="bo", at=NOON - 60_000, revision=REVISION)


def public(key: Ed25519PrivateKey = KEY) -> str:
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode() + " bo@laptop"


def rules(*keys: str) -> Policy:
    listed = ", ".join(f"'{key}'" for key in keys)
    return policy(
        f"mode: enforce\npeople: {{bo: {{role: lead, keys: [{listed}]}}}}\napprovals: {{rules: [{{role: lead}}]}}"
    )


def asked(approver: Approver, by: Policy) -> Answer:
    made = Provenance(origin=Origin.AI, author="agent", approvers=(approver,))
    asking = change("c1", provenance=made, vcs=Vcs(revision=REVISION))
    return decide(Request(change=asking), by, GateState(traffic=Traffic(by)), NOON)


def test_an_approval_signed_with_the_persons_key_counts_and_an_unsigned_or_forged_one_does_not() -> None:
    assert asked(sign(YES, "c1", KEY), rules(public())).decision is Decision.ALLOW
    assert asked(sign(YES, "c1", KEY), rules(public(OTHER), public())).decision is Decision.ALLOW
    unsigned = asked(YES, rules(public()))
    assert unsigned.decision is Decision.HOLD
    assert "the approval of bo is not signed, and they have a key" in unsigned.reasons[0]
    forged = asked(sign(YES, "c1", OTHER), rules(public()))
    assert "the approval of bo is signed by none of their keys" in forged.reasons[0]
    assert asked(YES, rules()).decision is Decision.ALLOW, "who has no key is taken at their word"


@pytest.mark.parametrize(
    "field", [{"who": "cem"}, {"at": NOON}, {"revision": "3484a3fb9d0d"}, {"confirms": "loss-1"}, {"signature": "AAAA"}]
)
def test_a_signature_is_for_exactly_what_was_signed(field: dict[str, object]) -> None:
    whole = sign(YES, "c1", KEY)
    assert signed(whole, "c1", [public()])
    assert not signed(msgspec.structs.replace(whole, **field), "c1", [public()])
    assert not signed(whole, "c2", [public()]), "an approval of another change"


def test_how_a_time_or_a_revision_is_written_is_not_signed() -> None:
    whole = sign(YES, "c1", KEY)
    same = msgspec.structs.replace(whole, at="2025-11-21T11:59:00Z", revision=REVISION.upper())
    assert signed(same, "c1", [public()])


@given(st.text(max_size=80))
def test_what_is_no_signature_verifies_nothing(text: str) -> None:
    assert not signed(msgspec.structs.replace(YES, signature=text), "c1", [public()])


@pytest.mark.parametrize(
    "text", ["", "ssh-rsa AAAA", "ssh-ed25519", "ssh-ed25519 AAAA", "ssh-ed25519 !!", "-----BEGIN"]
)
def test_what_is_no_key_is_refused_where_it_stands(text: str) -> None:
    with pytest.raises(DeployError, match="is no public key such as"):
        public_key(text)
    with pytest.raises(InvalidPolicy, match=r"policy:2:22: .*keys\[0\].* is no public key"):
        parse_policy(f"version: 1\npeople: {{bo: {{keys: ['{text}']}}}}")
