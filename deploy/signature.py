"""Signed approvals: who can only write to a topic, or run a pipeline, cannot say yes for somebody else.

A person's public keys stand in the policy, as OpenSSH writes them. What is signed (Ed25519) is DSSE's
pre-authentication encoding of a small JSON object: who approves which revision of which change, when, and which loss
that confirms.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

from deploy.change import Approver
from deploy.errors import DeployError, InvalidTime
from deploy.times import format_time, parse_time

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KIND = "application/vnd.haltline.approval+json"
_TYPE = b"ssh-ed25519"
_PREFIX = len(_TYPE).to_bytes(4, "big") + _TYPE + (32).to_bytes(4, "big")


def public_key(text: str) -> bytes:
    """The 32 bytes of an Ed25519 key as OpenSSH writes it, `ssh-ed25519 AAAA… comment`.

    Raises:
        DeployError: it is none.
    """
    kind, _, rest = text.strip().partition(" ")
    try:
        blob = base64.b64decode(rest.split(" ")[0], validate=True)
    except (binascii.Error, ValueError):
        blob = b""
    if kind != _TYPE.decode() or not blob.startswith(_PREFIX) or len(blob) != len(_PREFIX) + 32:
        raise DeployError(f"{text[:40]!r} is no public key such as `ssh-ed25519 AAAA… ada@laptop`")
    return blob[len(_PREFIX) :]


def message(approver: Approver, change: str) -> bytes:
    """What is signed: the same bytes however the time of the approval is written.

    Raises:
        InvalidTime: the time of the approval cannot be read.
    """
    from deploy.provenance.attestation import pae  # a policy without keys needs none of it

    said = {
        "at": format_time(parse_time(approver.at)),
        "change": change,
        "confirms": approver.confirms,
        "revision": approver.revision.strip().lower(),
        "who": approver.who,
    } | ({"refused": True} if approver.refused else {})
    return pae(KIND, msgspec.json.encode(said, order="sorted"))


def sign(approver: Approver, change: str, key: Ed25519PrivateKey) -> Approver:
    """The approval with its signature."""
    return msgspec.structs.replace(approver, signature=base64.b64encode(key.sign(message(approver, change))).decode())


def signed(approver: Approver, change: str, keys: Iterable[str]) -> bool:
    """Whether one of these public keys verifies the approval's signature."""
    if not approver.signature:
        return False
    try:
        given, said = base64.b64decode(approver.signature, validate=True), message(approver, change)
    except (binascii.Error, ValueError, InvalidTime):
        return False
    return any(_verifies(public_key(key), given, said) for key in keys)


@lru_cache(maxsize=4096)
def _verifies(key: bytes, signature: bytes, said: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, said)
    except InvalidSignature:
        return False
    return True
