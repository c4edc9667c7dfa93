"""`haltline send`: changes and telemetry into Kafka, checked before anything is sent."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from deploy.change import Change, Kind, Origin, Phase, change_from_object
from deploy.errors import DeployError
from deploy.times import parse_time
from haltline import broker
from haltline.cli.face import CONTEXT
from haltline.cli.options import connection, labels, now_ms, settings_of, text
from haltline.cli.output import clean
from haltline.errors import HaltlineError, UnreadableInput
from stream import topics
from stream.errors import Unreadable

if TYPE_CHECKING:
    from stream.wire.outgoing import Wire


@click.group(context_settings=CONTEXT)
def send() -> None:
    """Send changes, telemetry or evidence to Kafka. Everything is checked first; one bad record and nothing is sent.

    \b
    Examples:
      haltline send change --service checkout --version v2 --id checkout-481 --origin ai
      haltline send change change.json
      haltline send telemetry telemetry.jsonl.gz
    """


@send.command(context_settings=CONTEXT)
@click.argument("file", required=False, metavar="[FILE|-]")
@click.option("-s", "--service", help="Service that changes.", callback=text)
@click.option("--id", "identity", help="Id; a later phase of the same change has the same.", callback=text)
@click.option("-e", "--environment", help="Where.  [default: production, or the context's]", callback=text)
@click.option("--phase", type=click.Choice([phase.value for phase in Phase]), help="[default: started]")
@click.option("--kind", type=click.Choice([kind.value for kind in Kind]), help="[default: code]")
@click.option("--version", "version", help="Version that it brings.", callback=text)
@click.option("--previous-version", help="Version that was there.", callback=text)
@click.option("--instance", "instances", multiple=True, help="Instance that has it; may be repeated.", callback=text)
@click.option("--share", type=float, help="Share of the service that has it, 0 to 1.")
@click.option("--origin", type=click.Choice([origin.value for origin in Origin]), help="Who or what made it.")
@click.option("--author", help="Its author.", callback=text)
@click.option("--tool", "tools", multiple=True, help="Tool that wrote it; may be repeated.", callback=text)
@click.option("--revision", help="Its commit.", callback=text)
@click.option("--reverts", help="Id of the change that it takes back.", callback=text)
@click.option("--time", "at", metavar="TIME", help="When (RFC 3339 or Unix ms).  [default: now]")
@click.option("-l", "--label", "own", multiple=True, metavar="NAME=VALUE", help="Label of your own.", callback=labels)
@click.option("--dry-run", is_flag=True, help="Print the records and send nothing.")
@connection
@click.pass_context
def change(ctx: click.Context, /, file: str | None, environment: str | None, dry_run: bool, **given: Any) -> None:
    """Send a change: from a FILE with JSON (an object, an array or lines, native or CDEvents), or from flags.

    \b
    Examples:
      haltline send change --service checkout --version v2 --previous-version v1 --id checkout-481
      haltline send change --service checkout --id checkout-481 --phase finished
      jq ... | haltline send change -
    """
    settings = settings_of(ctx, environment=environment)
    flags = {name: value for name, value in given.items() if value not in (None, (), {})}
    if file is not None and flags:
        raise click.UsageError("give either a file or the flags of one change", ctx)
    if file is None and not (given["service"] and given["identity"]):
        raise click.UsageError("give --service and --id, or a file with changes", ctx)
    changes = list(_read_changes(file)) if file is not None else [_from_flags(given, settings.environment)]
    from stream.wire.outgoing import encode_change

    wires = [encode_change(one) for one in changes]
    _send(ctx, settings.change_topics[0], wires, dry_run=dry_run)
    if not dry_run:
        for one in changes:
            click.echo(clean(f"change/{one.id} {one.phase.value}"))


@send.command(context_settings=CONTEXT)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--topic", help="Topic to send to.  [default: the first telemetry topic]")
@click.option("--dry-run", is_flag=True, help="Only check the records.")
@connection
@click.pass_context
def telemetry(ctx: click.Context, files: tuple[str, ...], topic: str | None, dry_run: bool) -> None:
    """Send telemetry: FILEs of JSON lines as the README describes them, also `.gz`; `-` is standard input.

    \b
    Examples:
      haltline send telemetry telemetry.jsonl
      my-exporter | haltline send telemetry -
    """
    settings = settings_of(ctx)
    # Standard input comes only once, and is read twice: to check it all, and to send it.
    kept = {file: _stdin() for file in files if file == "-"}
    count = sum(points for file in files for _, points in _read_telemetry(file, kept))
    if not dry_run:
        wires = (wire for file in files for wire, _ in _read_telemetry(file, kept))
        with broker.producer(settings) as client:
            broker.send(client, topic or _first(settings.telemetry_topics), wires)
    click.echo(f"{count} samples {'are good' if dry_run else 'sent'}")


@send.command(context_settings=CONTEXT)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--dry-run", is_flag=True, help="Only check the records.")
@connection
@click.pass_context
def evidence(ctx: click.Context, files: tuple[str, ...], dry_run: bool) -> None:
    """Send evidence of who made and approved changes: attestations, agent traces, GitHub or GitLab payloads, CDEvents.

    FILEs hold one JSON value, an array, or one a line; `-` is standard input. What belongs to a change is joined with
    it by commit, artifact, pull request or chain, in whatever order it arrives.

    \b
    Examples:
      haltline send evidence "$GITHUB_EVENT_PATH"
      cosign download attestation registry.example/shop:v7 | haltline send evidence -
    """
    settings = settings_of(ctx)
    wires = [wire for file in files for wire in _read_evidence(file)]
    _send(ctx, settings.change_topics[0], wires, dry_run=dry_run)
    if not dry_run:
        click.echo(f"{len(wires)} records sent")


def _read_evidence(file: str) -> Iterator[Wire]:
    """The records of a file as they will be sent, each under a key of its own: none takes the place of another."""
    from hashlib import blake2b

    from stream.json_text import encode
    from stream.wire import decode_told
    from stream.wire.outgoing import Wire

    raw = b"".join(_lines(file, {}))
    try:
        whole = msgspec.json.decode(raw)
        records = [("", one) for one in (whole if isinstance(whole, list) else [whole])]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        records = [(f":{number}", _json(file, number, line)) for number, line in _numbered(raw)]
    for place, record in records:
        value = encode(record)
        try:
            told = decode_told(topics.CHANGES.name, value, None)
        except (Unreadable, DeployError) as error:
            raise UnreadableInput(f"{file}{place}: {error}") from None
        if not told.pieces:
            raise UnreadableInput(f"{file}{place}: says nothing of who made or approved a change")
        key = f"evidence-{blake2b(value, digest_size=12).hexdigest()}"
        yield Wire(key.encode(), value, [("content-type", b"application/json")])


def _numbered(raw: bytes) -> Iterator[tuple[int, bytes]]:
    return ((number, line) for number, line in enumerate(raw.splitlines(), 1) if line.strip())


def _json(file: str, number: int, line: bytes) -> Any:
    try:
        return msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableInput(f"{file}:{number}: not JSON: {error}") from None


def _first(names: tuple[str, ...]) -> str:
    return topics.TELEMETRY.name if topics.TELEMETRY.name in names else names[0]


def _send(ctx: click.Context, topic: str, wires: list[Wire], *, dry_run: bool) -> None:
    if dry_run:
        for wire in wires:
            click.echo((wire.value or b"").decode())
        return
    with broker.producer(settings_of(ctx)) as client:
        broker.send(client, topic, wires)


def _from_flags(given: dict[str, Any], environment: str) -> Change:
    record: dict[str, Any] = {
        "id": given["identity"],
        "service": given["service"],
        "environment": environment,
        "time": _time(given["at"]),
        "labels": given["own"],
    }
    record |= {name: given[name] for name in ("phase", "kind", "version", "previous_version", "reverts") if given[name]}
    if given["instances"]:
        record["instances"] = list(given["instances"])
    if given["share"] is not None:
        record["rollout"] = {"share": given["share"]}
    provenance = {"origin": given["origin"], "author": given["author"], "tools": list(given["tools"])}
    record["provenance"] = {name: value for name, value in provenance.items() if value}
    if given["revision"]:
        record["vcs"] = {"revision": given["revision"]}
    return change_from_object(record)


def _time(given: str | None) -> int:
    if given is None:
        return now_ms()
    return parse_time(int(given) if given.isdecimal() else given)


def _read_changes(file: str) -> Iterator[Change]:
    """The changes of a file: one JSON text, or one a line."""
    from stream.wire import decode_changes

    raw = b"".join(_lines(file, {}))
    try:
        yield from decode_changes(topics.CHANGES.name, raw, None)
        return
    except (Unreadable, DeployError) as error:
        lines = [(number, line) for number, line in enumerate(raw.splitlines(), 1) if line.strip()]
        if len(lines) < 2 or raw.lstrip()[:1] == b"[" or not lines[0][1].rstrip().endswith(b"}"):
            raise UnreadableInput(f"{file}: {error}") from None
    for number, line in lines:
        try:
            yield from decode_changes(topics.CHANGES.name, line, None)
        except (Unreadable, DeployError) as error:
            raise UnreadableInput(f"{file}:{number}: {error}") from None


def _read_telemetry(file: str, kept: dict[str, list[bytes]]) -> Iterator[tuple[Wire, int]]:
    """The records of a file as they will be sent, and the number of samples in each."""
    from stream.wire import decode_telemetry
    from stream.wire.outgoing import Wire

    for number, line in enumerate(_lines(file, kept), 1):
        if not line.strip():
            continue
        try:
            columns = decode_telemetry(topics.TELEMETRY.name, line, None)
        except (Unreadable, DeployError) as error:
            raise UnreadableInput(f"{file}:{number}: {error}") from None
        # All samples of a service in one partition: whoever watches it sees all of it.
        key = _service(line).encode() or None
        yield Wire(key, line.strip(), [("content-type", b"application/json")]), len(columns)


def _service(line: bytes) -> str:
    """The service of a line that was found good: of its one resource, or of the first of several."""
    record = msgspec.json.decode(line)
    resource = (record[0] if isinstance(record, list) else record) if record else {}
    return str(resource.get("resource", {}).get("service.name", ""))


def _lines(file: str, kept: dict[str, list[bytes]]) -> Iterator[bytes]:
    if file == "-":
        yield from kept[file] if file in kept else _stdin()
        return
    try:
        with gzip.open(file) if file.endswith(".gz") else Path(file).open("rb") as lines:
            yield from lines
    except (OSError, EOFError) as error:
        raise HaltlineError(
            f"{file}: cannot be read: {(getattr(error, 'strerror', None) or str(error)).lower()}"
        ) from None


def _stdin() -> list[bytes]:
    return sys.stdin.buffer.readlines()
