"""What the tests of the commands share: a user of a Kafka, who has no settings of their own."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import pytest

from stream import topics


@pytest.fixture
def bootstrap(kafka: str) -> str:
    """The Kafka of the user; the session's, with the topics that haltline has."""
    topics.create(kafka)
    return kafka


@pytest.fixture
def env(bootstrap: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A user of this Kafka, for this process and for those it starts."""
    for name in [name for name in os.environ if name.startswith("HALTLINE_")]:
        monkeypatch.delenv(name)
    for name, value in {
        "HALTLINE_BOOTSTRAP_SERVERS": bootstrap,
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "HALTLINE_USER": "ada",
    }.items():
        monkeypatch.setenv(name, value)
    return dict(os.environ)


@pytest.fixture
def service() -> str:
    return f"s{uuid.uuid4().hex[:10]}"
