"""Real telemetry through the real broker decides as replay does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import DataMissingError, kafka_petshop


def test_two_issues_are_frozen_through_kafka_as_by_replay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    only = "high_traffic-issue_1,high_traffic-issue_3"
    try:
        code = kafka_petshop.main(["--only", only, "--out", str(tmp_path)])
    except DataMissingError as error:
        pytest.skip(str(error))
    rows = json.loads((tmp_path / "kafka_petshop.json").read_text())
    assert [row["issue"] for row in rows] == only.split(",")
    # That nothing was frozen on either side would show nothing.
    assert any(row["replay"] for row in rows)
    assert [row["kafka"] for row in rows] == [row["replay"] for row in rows]
    assert code == 0
    assert "2 of 2 issues alike" in capsys.readouterr().out
