"""Attestations: in-toto statements, bare or in DSSE envelopes, that say which commit an artifact was built from.

SLSA provenance (v1 and v0.2) joins artifact and commit and says nothing of an AI. A verification summary of the source
track may, by a level `ORG_SOURCE_AI_ASSISTED` or `ORG_SOURCE_AI_GENERATED`. A statement weighs as much as its
signature: one that no configured key verifies is `unverified`. Sources: in-toto/attestation spec/v1, slsa.dev/spec,
secure-systems-lab/dsse protocol.md.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from deploy.change import Origin
from deploy.errors import InvalidProvenance
from deploy.provenance.agent_trace import read_trace
from deploy.provenance.payload import at, text, time
from deploy.provenance.piece import Piece
from deploy.provenance.signs import signs
from deploy.provenance.vote import Source, Vote, quote

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    Key = Ed25519PublicKey | EllipticCurvePublicKey

_LEVELS = {"ORG_SOURCE_AI_ASSISTED": Origin.MIXED, "ORG_SOURCE_AI_GENERATED": Origin.AI}
#: What subjects are matched by; every other digest is weaker or unknown.
_ARTIFACT_DIGESTS = ("sha256", "sha384", "sha512")
_COMMIT_DIGESTS = ("gitCommit", "sha1")


def load_key(pem: bytes) -> Key:
    """A public key to verify with, from PEM.

    Raises:
        InvalidProvenance: it is no public key, or neither Ed25519 nor ECDSA on P-256.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidProvenance("key: not a public key in PEM") from None
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise InvalidProvenance("key: must be Ed25519 or ECDSA on P-256")


def is_attestation(record: dict[str, Any]) -> bool:
    return any(field in record for field in ("dsseEnvelope", "payloadType", "predicateType"))


def read_attestation(record: dict[str, Any], keys: Sequence[Key] = ()) -> Piece:
    """Read a DSSE envelope, a Sigstore bundle that has one, or a bare in-toto statement.

    Raises:
        InvalidProvenance: it is none of them; names the field.
    """
    record = record.get("dsseEnvelope", record)
    if not isinstance(record, dict):
        raise InvalidProvenance("attestation: `dsseEnvelope` must be a JSON object")
    if "payloadType" not in record:
        return _statement(record, verified=False, reason="not signed")
    kind, body = record.get("payloadType"), _decode(record.get("payload"), "payload")
    if not isinstance(kind, str) or not kind.startswith("application/vnd.in-toto"):
        raise InvalidProvenance(f"attestation: payloadType {str(kind)[:60]!r} is not application/vnd.in-toto+json")
    signatures = record.get("signatures")
    if not isinstance(signatures, list) or not signatures:
        raise InvalidProvenance("attestation: the envelope has no signatures")
    given = [_decode(one.get("sig") if isinstance(one, dict) else None, "signatures[].sig") for one in signatures]
    verified = any(_fits(key, signature, pae(kind, body)) for key in keys for signature in given)
    try:
        statement = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidProvenance(f"attestation: payload: {error}") from None
    if keys and not verified:
        # With keys there is no excuse: whoever can write to a topic could lend an artifact a better past.
        piece = _statement(statement, False, "no configured key fits its signature, so it joins nothing")
        return msgspec.structs.replace(piece, revisions=(), artifacts=())
    return _statement(statement, verified, "no key is configured to verify it")


def pae(kind: str, body: bytes) -> bytes:
    """DSSE's pre-authentication encoding: the bytes that are signed."""
    name = kind.encode()
    return b"DSSEv1 %d %b %d %b" % (len(name), name, len(body), body)


def _fits(key: Key, signature: bytes, message: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, message)
        else:
            key.verify(signature, message, ec.ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


def _statement(record: object, verified: bool, reason: str) -> Piece:
    if not isinstance(record, dict) or not isinstance(record.get("predicateType"), str):
        raise InvalidProvenance("attestation: the payload is no in-toto statement: `predicateType` is missing")
    kind = record["predicateType"]
    predicate = record.get("predicate")
    predicate = predicate if isinstance(predicate, dict) else {}
    artifacts = tuple(_digests(record.get("subject"), _ARTIFACT_DIGESTS, prefixed=True))
    commits = [*_digests(record.get("subject"), ("gitCommit",))]
    if not artifacts and not commits:
        raise InvalidProvenance("attestation: no `subject` has a digest of sha256, sha384, sha512 or gitCommit")
    commits += _sources(predicate)
    trust = "verified" if verified else f"unverified: {reason}"
    weight = signs().weights["attested" if verified else "unverified"]
    what = f"{artifacts[0][:19]}…" if artifacts else commits[0][:10]
    built = f" was built from {commits[0][:10]}" if artifacts and commits else ""
    builder = _builder(predicate)
    said = quote(f"{what}{built}{f' by {builder}' if builder else ''} ({kind.rpartition('://')[2]})")
    levels = predicate.get("verifiedLevels")
    levels = levels if isinstance(levels, list) else []
    votes = [Vote(source=Source.ATTESTATION, text=said, note=trust)]
    votes += [
        Vote(source=Source.ATTESTATION, text=level, origin=origin, weight=weight, note=trust)
        for level, origin in _LEVELS.items()
        if level in levels
    ]
    if kind.startswith("https://agent-trace.dev/"):
        scale = weight / signs().weights["attested"]
        votes += [
            msgspec.structs.replace(one, source=Source.ATTESTATION, weight=one.weight * scale, note=trust)
            for one in read_trace(predicate).votes
        ]
    return Piece(
        source=Source.ATTESTATION,
        text=f"{said}, {trust}",
        time=_time(predicate),
        revisions=tuple(dict.fromkeys(commits)),
        artifacts=artifacts,
        votes=tuple(votes),
    )


def _sources(predicate: dict[str, Any]) -> Iterator[str]:
    """The commits that an artifact was built from: SLSA v1, then v0.2."""
    yield from _digests(at(predicate, "buildDefinition", "resolvedDependencies"), _COMMIT_DIGESTS)
    yield from _digests([at(predicate, "invocation", "configSource")], _COMMIT_DIGESTS)


def _digests(items: object, names: Sequence[str], prefixed: bool = False) -> Iterator[str]:
    for item in items if isinstance(items, list) else []:
        for name in names:
            value = text(item, "digest", name).lower()
            if value and not set(value) - set("0123456789abcdef"):
                yield f"{name}:{value}" if prefixed else value
                break


def _builder(predicate: dict[str, Any]) -> str:
    return text(predicate, "runDetails", "builder", "id") or text(predicate, "builder", "id")


def _time(predicate: dict[str, Any]) -> int | None:
    for holder in (at(predicate, "runDetails", "metadata"), at(predicate, "metadata")):
        for field in ("finishedOn", "startedOn", "buildFinishedOn"):
            if (found := time(holder, field)) is not None:
                return found
    return None


def _decode(encoded: object, field: str) -> bytes:
    if not isinstance(encoded, str):
        raise InvalidProvenance(f"attestation: `{field}` must be a base64 string")
    try:
        # DSSE allows the URL-safe alphabet too.
        return base64.b64decode(encoded.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidProvenance(f"attestation: `{field}` is not base64") from None
