"""The bench of classes runs the product's own code, and says the same of the same day."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import classes


def test_a_few_days_are_measured_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:  # type: ignore[no-untyped-def]  # pytest's own
    monkeypatch.setattr(classes, "RELEASES", (classes.USUAL,))
    classes.main(["--days", "3", "--out", str(tmp_path)])
    said = capsys.readouterr().out
    assert "one bad tool release" in said
    assert "harmless classes accused" in said
    document = json.loads((tmp_path / "classes.json").read_text())
    assert document["releases"][0]["days"] == 3
    assert document["harmless"][0]["class_days"] > 60
    assert (tmp_path / "classes.png").stat().st_size > 10_000


def test_a_day_is_the_same_each_time_and_the_bad_tool_is_the_one_accused() -> None:
    days = [classes.simulate.__wrapped__(classes.USUAL, 10_000 + seed) for seed in (0, 0, 1, 2)]
    assert days[0] == days[1]
    assert all(one.harmful is not None and 2 <= one.harmful <= 15 for one in days)


def test_the_upper_bound_of_a_count_is_poissons() -> None:
    assert classes._upper(0) == pytest.approx(3.689, abs=1e-3)
    assert classes._upper(5) == pytest.approx(11.668, abs=1e-3)
