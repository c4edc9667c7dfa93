"""The demo's first act on a real Kafka: every answer is asked for and is as it must be."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest
from rich.console import Console

from haltline.demo.before import ask_before
from haltline.demo.display import Display
from stream import topics as catalogue

pytestmark = pytest.mark.kafka


async def test_the_gate_asks_holds_lets_go_as_a_canary_and_lists_what_would_be_lost(kafka: str, tmp_path: Path) -> None:
    catalogue.create(kafka)
    env = {name: value for name, value in os.environ.items() if not name.startswith("HALTLINE_")} | {
        "HALTLINE_BOOTSTRAP_SERVERS": kafka,
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }
    said = io.StringIO()
    await ask_before(
        Display(Console(file=said, width=10_000), plain=True), (sys.executable, "-m", "haltline"), env, tmp_path
    )
    text = " ".join(said.getvalue().split())
    assert "needs 1 approval by senior or above, has 0: nobody approved it" in text
    assert "approved 900 lines in 9s, to read them takes 3m" in text
    assert "allow checkout in production, up to 10% of instances" in text
    assert "would recreate environment aws_elastic_beanstalk_environment.cost_explorer_prod" in text
