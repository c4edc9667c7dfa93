"""Evidence, a change and its verdict sent to a real Kafka, and what the commands tell of them."""

from __future__ import annotations

import csv
import io
import json
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from kafka import KafkaProducer

from deploy.verdict import Verdict, VerdictState
from haltline.cli.root import haltline
from stream import topics as catalogue
from stream.wire.outgoing import encode_verdict
from tests.deploy.test_chain import story

pytestmark = pytest.mark.kafka


@pytest.fixture(autouse=True)
def kafka_of(env: dict[str, str], bootstrap: str) -> str:
    """A user whose Kafka is the session's."""
    return bootstrap


def run(*args: str) -> Result:
    return CliRunner().invoke(haltline, args)


def ok(*args: str) -> str:
    result = run(*args)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_way_from_commit_to_production_is_told_although_its_pieces_come_late(kafka_of: str, tmp_path: Path) -> None:
    service, digest = f"s{uuid.uuid4().hex[:10]}", uuid.uuid4().hex * 2
    text = json.dumps(story()).replace("ab" * 32, digest)
    for known in ("ec26c3e57ca3a959ca5aad62de7213c562f8c821", "7fd1a60b01f91b314f59955a4e4d4e80d8edf11d"):
        text = text.replace(known, uuid.uuid4().hex + "00000000")
    text = text.replace("Codertocat/Hello-World", f"shop/{service}")
    records: list[dict[str, Any]] = json.loads(text)
    files = [tmp_path / "pieces.jsonl", tmp_path / "attestation.json"]
    files[0].write_text("".join(json.dumps(one) + "\n" for one in records[:4]))
    files[1].write_text(json.dumps(records[4]))

    assert ok("send", "evidence", str(files[0])) == "4 records sent\n"
    ok("send", "change", "--service", service, "--id", f"{service}-1", "--version", f"sha256:{digest}")
    ok("send", "change", "--service", service, "--id", f"{service}-2", "--version", "v2", "--origin", "human")
    assert "Origin:       unknown" in ok("describe", "change", f"{service}-1")
    ok("send", "evidence", str(files[1]))  # only now the artifact is joined to its commit
    now = time.time_ns() // 1_000_000
    verdict = Verdict(change=f"{service}-1", service=service, time=now, state=VerdictState.HARMFUL, reason="0.4 > 0.01")
    wire = encode_verdict(verdict)
    with KafkaProducer(bootstrap_servers=kafka_of, acks="all") as producer:
        producer.send(catalogue.VERDICTS.name, key=wire.key, value=wire.value, headers=wire.headers).get(timeout=60)

    page = ok("describe", "change", f"{service}-1")
    for told in (
        "ai (confidence 0.97)",
        "Author:       Copilot",
        "Approver:     octocat",
        "was built from",
        "harmful since",
    ):
        assert told in page
    record = json.loads(ok("describe", "change", f"{service}-1", "-o", "json"))
    assert (record["provenance"]["origin"], record["verdict"]["state"]) == ("ai", "harmful")
    assert len(record["story"]) == 5

    listed = ok("get", "changes", f"service={service}", "--origin", "ai", "--since", "7d", "-o", "name")
    assert listed == f"change/{service}-1\n"
    assert ok("get", "changes", f"service={service}", "--origin", "ai,human", "-o", "name").count("\n") == 2
    assert "is not one of human, ai, mixed, unknown" in run("get", "changes", "--origin", "robot").stderr

    rows = {(row["by"], row["value"]): row for row in csv.DictReader(io.StringIO(ok("touchpoints", "-o", "csv")))}
    assert rows["service", service] == {
        "by": "service", "value": service, "changes": "2", "ai": "1", "unknown": "0", "share": "0.5", "harmful": "1",
        "judged": "1", "rest_harmful": "0", "rest_judged": "0",
    }  # fmt: skip
    assert int(rows["tool", "copilot-agent"]["ai"]) >= 1
    assert json.loads(ok("touchpoints", "-o", "json", "--by", "autonomy"))[0]["changes"] >= 2
    table = ok("touchpoints", "--since", "1h")
    assert "changes reached production in 1h: " in table
    assert service in table


def test_evidence_is_checked_before_any_of_it_is_sent(tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text(json.dumps(story()[0]) + "\n" + json.dumps({"predicateType": "x", "subject": []}) + "\n")
    result = run("send", "evidence", str(bad))
    assert result.exit_code == 2
    assert result.stderr == (
        f"haltline: {bad}:2: attestation: no `subject` has a digest of sha256, sha384, sha512 or gitCommit\n"
    )
    bad.write_text('{"repository": {"full_name": "a/b"}, "starred_at": "now"}')
    assert "says nothing of who made or approved a change" in run("send", "evidence", "--dry-run", str(bad)).stderr
