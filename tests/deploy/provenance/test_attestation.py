"""Attestations join an artifact with its commit, and weigh as much as their signature."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from deploy.change import Origin
from deploy.errors import InvalidProvenance
from deploy.provenance.attestation import load_key, pae, read_attestation

DIGEST, COMMIT = "ab" * 32, "7fd1a60b01f91b314f59955a4e4d4e80d8edf11d"
KIND = "application/vnd.in-toto+json"
ED = ed25519.Ed25519PrivateKey.generate()
P256 = ec.generate_private_key(ec.SECP256R1())


def statement(kind: str = "https://slsa.dev/provenance/v1", **predicate: Any) -> dict[str, Any]:
    slsa = {
        "buildDefinition": {
            "buildType": "https://actions.example/v1",
            "resolvedDependencies": [
                {"uri": "git+https://github.com/o/r@refs/heads/main", "digest": {"gitCommit": COMMIT}}
            ],
        },
        "runDetails": {
            "builder": {"id": "https://builder.example"},
            "metadata": {"finishedOn": "2026-11-21T09:00:00Z"},
        },
    }
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "shop", "digest": {"sha256": DIGEST}}],
        "predicateType": kind,
        "predicate": predicate or slsa,
    }


def envelope(record: dict[str, Any], *signers: Any, body: bytes | None = None) -> dict[str, Any]:
    payload = msgspec.json.encode(record)
    signatures = [
        one.sign(pae(KIND, payload)) if one is ED else one.sign(pae(KIND, payload), ec.ECDSA(SHA256()))
        for one in signers
    ]
    return {
        "payloadType": KIND,
        "payload": base64.b64encode(body or payload).decode(),
        "signatures": [{"keyid": "", "sig": base64.b64encode(one).decode()} for one in signatures],
    }


def public(key: Any) -> Any:
    return load_key(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def test_the_encoding_that_is_signed_is_that_of_dsses_own_example() -> None:
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


@pytest.mark.parametrize("key", [ED, P256], ids=["Ed25519", "P-256"])
def test_a_signed_statement_joins_artifact_and_commit(key: Any) -> None:
    piece = read_attestation(envelope(statement(), key), [public(ED), public(P256)])
    assert (piece.artifacts, piece.revisions) == ((f"sha256:{DIGEST}",), (COMMIT,))
    assert piece.votes[0].note == "verified"
    assert piece.votes[0].weight == 0, "SLSA says nothing of an AI"
    assert "by https://builder.example" in piece.text
    assert piece.time == 1_795_251_600_000


def test_a_bundle_is_opened_and_the_old_slsa_is_read() -> None:
    old = statement(
        "https://slsa.dev/provenance/v0.2",
        builder={"id": "https://old.example"},
        invocation={"configSource": {"uri": "git+https://x", "digest": {"sha1": COMMIT}}},
    )
    piece = read_attestation(
        {"mediaType": "application/vnd.dev.sigstore.bundle+json", "dsseEnvelope": envelope(old, ED)}
    )
    assert piece.revisions == (COMMIT,)
    assert "https://old.example" in piece.text


def test_without_a_key_it_joins_and_says_that_nobody_verified_it() -> None:
    for record in (envelope(statement(), ED), statement()):
        piece = read_attestation(record)
        assert piece.revisions == (COMMIT,)
        assert piece.votes[0].note.startswith("unverified")


def test_with_a_key_what_it_does_not_fit_joins_nothing() -> None:
    stranger = ed25519.Ed25519PrivateKey.generate()
    forged = envelope(statement(), ED, body=msgspec.json.encode(statement() | {"subject": statement()["subject"] * 2}))
    for record in (envelope(statement(), P256), forged):
        piece = read_attestation(record, [public(stranger)])
        assert (piece.revisions, piece.artifacts) == ((), ())
        assert "no configured key fits its signature" in piece.text
    assert read_attestation(forged, [public(ED)]).revisions == (), "the payload was changed after it was signed"


@pytest.mark.parametrize(("signed", "weight"), [(True, 0.97), (False, 0.5)])
def test_a_source_summary_may_say_that_an_ai_assisted(signed: bool, weight: float) -> None:
    record = statement(
        "https://slsa.dev/verification_summary/v1", verifiedLevels=["SLSA_SOURCE_LEVEL_2", "ORG_SOURCE_AI_ASSISTED"]
    ) | {"subject": [{"digest": {"gitCommit": COMMIT}, "annotations": {"sourceRefs": ["refs/heads/main"]}}]}
    piece = read_attestation(envelope(record, ED), [public(ED)] if signed else [])
    assert piece.revisions == (COMMIT,)
    vote = piece.votes[1]
    assert (vote.origin, vote.weight) == (Origin.MIXED, weight)


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"payloadType": "text/plain", "payload": "", "signatures": [{"sig": ""}]}, "payloadType 'text/plain'"),
        ({"payloadType": KIND, "payload": "%", "signatures": []}, "`payload` is not base64"),
        ({"payloadType": KIND, "payload": 5, "signatures": []}, "`payload` must be a base64 string"),
        ({"payloadType": KIND, "payload": "", "signatures": []}, "no signatures"),
        ({"payloadType": KIND, "payload": "e30=", "signatures": ["x"]}, "signatures[].sig"),
        ({"payloadType": KIND, "payload": "e30=", "signatures": [{"sig": ""}]}, "`predicateType` is missing"),
        ({"payloadType": KIND, "payload": "ew==", "signatures": [{"sig": ""}]}, "payload: "),
        ({"dsseEnvelope": []}, "`dsseEnvelope` must be"),
        (statement() | {"subject": [{"digest": {"md5": "ab"}}]}, "no `subject` has a digest"),
        (statement() | {"subject": [{"digest": {"sha256": "not hex"}}]}, "no `subject` has a digest"),
    ],
)
def test_what_is_no_attestation_is_one_clear_line(record: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidProvenance, match="attestation: ") as refused:
        read_attestation(record)
    assert said in str(refused.value)


def test_a_key_of_another_kind_is_refused() -> None:
    other = ec.generate_private_key(ec.SECP384R1()).public_key()
    with pytest.raises(InvalidProvenance, match="must be Ed25519 or ECDSA on P-256"):
        load_key(other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(InvalidProvenance, match="not a public key"):
        load_key(b"-----BEGIN PUBLIC KEY-----\nrubbish\n-----END PUBLIC KEY-----\n")
