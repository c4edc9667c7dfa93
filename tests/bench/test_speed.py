"""What the benches of speed feed, judge and draw."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import numpy as np
import pytest

from bench import recovery, scale, speed
from bench.fleet_feed import POINTS, STEP_MS, sweep
from bench.promises import Promise, all_kept, promise_table
from stream.columns import MetricKind
from stream.series_ids import SeriesIds
from stream.wire import decode_telemetry

START = 1_795_262_400_000


def test_a_fleet_of_any_size_is_as_many_series_keyed_by_their_service() -> None:
    ids = SeriesIds()
    for step in range(2):
        for key, value in sweep(40, step, START):
            columns = decode_telemetry("metrics", value, (), ids, START + 3_600_000)
            names = {columns.keys[number].service for number in columns.series.tolist()}
            assert names == {key.decode()}
            assert set(columns.times.tolist()) == {START + step * STEP_MS}
            assert len(columns) == len(np.unique(columns.series)) == POINTS
    assert len(ids) == 40 * POINTS


def test_its_counters_never_fall() -> None:
    ids, last = SeriesIds(), {}
    for step in range(5):
        for _, value in sweep(20, step, START):
            columns = decode_telemetry("metrics", value, (), ids, START + 3_600_000)
            for number, told in zip(columns.series.tolist(), columns.values.tolist(), strict=True):
                if columns.keys[number].kind is MetricKind.CUMULATIVE:
                    assert told > last.get(number, -1.0)
                    last[number] = told
    assert len(last) == 20 * POINTS // 2


def test_a_promise_says_its_goal_and_whether_it_is_kept() -> None:
    kept, missed = Promise("p99", "<=", 2.0, 2.0), Promise("rate", ">=", 1e6, 123_456.0)
    unknown, never = Promise("share", ">=", 0.3, math.nan), Promise("pause", "<=", 1.0, math.inf)
    assert (kept.met, missed.met, unknown.met, never.met) == (True, False, None, False)
    assert all_kept([kept, unknown])
    assert not all_kept([kept, missed])
    lines = promise_table([kept, missed, unknown, never]).splitlines()
    assert [line.split()[-1] for line in lines[2:]] == ["met", "missed", "-", "missed"]
    assert ">= 1,000,000   123,456" in lines[3]


def test_a_pause_is_the_longest_that_a_record_took_and_one_lost_took_for_ever() -> None:
    probes = [recovery.Probe(0, -1.0, 0.01), recovery.Probe(0, 2.0, 0.9), recovery.Probe(1, 0.5, 7.0)]
    shared = recovery.Shared([0], probes)
    assert (shared.pause(own=True), shared.pause(own=False)) == (0.9, 7.0)
    probes.append(recovery.Probe(0, 3.0, math.inf))
    assert shared.pause(own=True) == math.inf


def test_the_plots_are_drawn(tmp_path: Path) -> None:
    line = scale.Line(1000, 110, 50.0, 7.0, 7.5, 2e8, 2.5e8, 3e8, 0.2)
    lines = [line, msgspec.structs.replace(line, series=100_000, learned_us=math.nan, full_memory=math.nan)]
    scale._plot(tmp_path / "scale.png", lines)
    alone = recovery.Alone(5.0, 6.0, 7.0, 8.0, 0, 0)
    recovery._plot(tmp_path / "recovery.png", 1000, alone, recovery.Shared([0], [recovery.Probe(0, 1.0, 0.1)]))
    assert all((tmp_path / name).stat().st_size > 5_000 for name in ("scale.png", "recovery.png"))


def test_a_bench_that_measures_nothing_is_no_kept_promise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "decode.json").write_bytes(msgspec.json.encode({"goals": [Promise("old", "<=", 2.0, 1.0)]}))
    monkeypatch.setitem(speed.BENCHES, "decode", ("--no-such-option",))
    assert speed.main(["--only", "decode", "--out", str(tmp_path)]) == 1
    assert "decode  not measured, exit code 2" in capsys.readouterr().out


def test_what_was_not_measured_is_read_back_as_that() -> None:
    written = msgspec.json.encode({"goals": [Promise("times (d)", ">=", 20.0, math.nan)]})
    (read,) = msgspec.json.decode(written, type=speed.Goals).goals
    assert read.met is None
    assert read.cells() == ["times (d)", ">= 20", "-", "-"]
    assert all_kept([read])
