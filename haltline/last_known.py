"""The last state that the gate answered from, kept beside it for when Kafka is away: signed, with its age."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from deploy.change import Change, change_from_object, change_to_object
from deploy.errors import DeployError
from deploy.freeze import Freeze, freeze_from_object, freeze_to_object
from deploy.policy import PolicyRecord
from deploy.policy.record import policy_record_from_object, policy_record_to_object
from deploy.question import Question, question_from_object, question_to_object
from deploy.times import parse_time
from deploy.verdict import Verdict, verdict_from_object, verdict_to_object
from haltline.errors import HaltlineError
from haltline.settings import Settings

if TYPE_CHECKING:
    from deploy.provenance.piece import Piece

_KEY_BYTES = 32


class NotKept(HaltlineError):
    """There is no last known state that can be believed; the text says why."""


class LastKnown(msgspec.Struct, frozen=True, kw_only=True):
    """What was known at `taken_at` (Unix milliseconds)."""

    taken_at: int
    freezes: tuple[Freeze, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    changes: tuple[Change, ...] = ()
    questions: tuple[Question, ...] = ()
    #: What others told of the way of changes: who opened, reviewed and approved them.
    pieces: tuple[Piece, ...] = ()
    #: The policy in force, where it came by its topic.
    policy: PolicyRecord | None = None


class _File(msgspec.Struct, frozen=True):
    body: msgspec.Raw
    mac: str


def keep(settings: Settings, known: LastKnown) -> None:
    """Write it beside the others of this user, whole or not at all.

    Raises:
        HaltlineError: it cannot be written.
    """
    body = msgspec.json.encode(
        {
            "servers": settings.bootstrap_servers,
            "taken_at": known.taken_at,
            "freezes": list(map(freeze_to_object, known.freezes)),
            "verdicts": list(map(verdict_to_object, known.verdicts)),
            "changes": list(map(change_to_object, known.changes)),
            "questions": list(map(question_to_object, known.questions)),
            "pieces": known.pieces,
            "policy": None if known.policy is None else policy_record_to_object(known.policy),
        }
    )
    path = file_of(settings)
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        mac = _mac(_key(settings.gate_key, make=True), body)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(msgspec.json.encode(_File(msgspec.Raw(body), mac)))
        new.replace(path)
    except OSError as error:
        raise HaltlineError(f"{path}: the last known state cannot be kept: {error.strerror}") from None


def recall(settings: Settings) -> LastKnown:
    """Read it back.

    Raises:
        NotKept: there is none, it was altered, or it is of another Kafka.
    """
    path = file_of(settings)
    try:
        file = msgspec.json.decode(path.read_bytes(), type=_File)
        key = _key(settings.gate_key, make=False)
    except FileNotFoundError:
        raise NotKept("no last known state was kept") from None
    except (OSError, msgspec.DecodeError) as error:
        raise NotKept(f"the last known state in {path} cannot be read: {error}") from None
    body = bytes(file.body)
    if not hmac.compare_digest(_mac(key, body), file.mac):
        raise NotKept(f"the last known state in {path} is not as it was signed")
    try:
        record: dict[str, Any] = msgspec.json.decode(body)
        if record["servers"] != settings.bootstrap_servers:
            raise NotKept(f"the last known state is of {record['servers']}")
        return LastKnown(
            taken_at=parse_time(record["taken_at"]),
            freezes=tuple(map(freeze_from_object, record["freezes"])),
            verdicts=tuple(map(verdict_from_object, record["verdicts"])),
            changes=tuple(map(change_from_object, record["changes"])),
            questions=tuple(map(question_from_object, record["questions"])),
            pieces=_pieces(record["pieces"]),
            policy=None if record["policy"] is None else policy_record_from_object(record["policy"]),
        )
    except (KeyError, TypeError, DeployError, msgspec.DecodeError) as error:
        raise NotKept(f"the last known state in {path} is of another version: {error}") from None


def _pieces(record: object) -> tuple[Piece, ...]:
    from deploy.provenance.piece import Piece  # read only while Kafka is away

    return msgspec.convert(record, tuple[Piece, ...])


def file_of(settings: Settings) -> Path:
    """One file for each Kafka that is asked."""
    servers = hashlib.blake2b(settings.bootstrap_servers.encode(), digest_size=6).hexdigest()
    return settings.state_dir / f"last-known-{servers}.json"


def _mac(key: bytes, body: bytes) -> str:
    return hmac.new(key, body, hashlib.sha256).hexdigest()


def _key(path: Path, *, make: bool) -> bytes:
    """The key of this user, or the one that they name; made where there is none."""
    if make:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(secrets.token_bytes(_KEY_BYTES))
        except FileExistsError:
            pass
    key = path.read_bytes()
    if len(key) < _KEY_BYTES:
        raise OSError(0, f"{path} is no key: {len(key)} bytes, at least {_KEY_BYTES}")
    return key
