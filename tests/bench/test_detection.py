"""The table of goals: what counts as met, what as too few to tell, and the pure parts of the small benches."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from bench import ROOT, BenchError, DataMissingError, detection, lorden, measured, peeking, pictures, vectors, young
from bench.cases import Truth
from bench.data import Service
from bench.figures import Rate
from bench.goals import Line, placebo_line, share_line, silent_freezes, within
from bench.replayed_rows import Cut, together
from bench.run_replay import Outcome, Replayed


def rate(frozen: int, changes: int, low: float = 0.0, high: float = 0.0) -> Rate:
    return Rate(frozen, changes, 1000 * frozen / changes if changes else math.nan, low, high, 0, 0)


@pytest.mark.parametrize(
    ("found", "met"),
    [
        (rate(0, 1000), True),
        (rate(0, 100), None),  # the upper end of 0 of 100 is 30
        (rate(3, 1000, 1.0, 6.0), True),
        (rate(3, 1000, 1.0, 8.0), None),
        (rate(5, 1000, 1.0, 6.0), False),
        (rate(1, 100, 0.0, 30.0), None),  # one alone is 10 per 1,000
        (rate(2, 100, 0.0, 30.0), False),
        (rate(0, 0), None),
    ],
)
def test_a_rate_keeps_its_goal_only_where_its_interval_does(found: Rate, met: bool | None) -> None:
    assert placebo_line("x", found, 4, 7, "x").met is met


def test_a_share_of_nothing_is_no_miss() -> None:
    assert share_line("x", 0, 0, 0.5, "x").met is None
    assert share_line("x", 1, 2, 0.5, "x").met is True
    assert share_line("x", 0, 2, 0.5, "x").met is False


def replayed(outcomes: dict[str, Outcome], onset: int | None) -> Replayed:
    truth = {name: Truth("s", 60_000, 0, onset, name) for name in outcomes}
    return Replayed(outcomes, truth, {}, 1.0)


def test_caught_within_five_samples_counts_the_deciding_one_and_nothing_before_the_harm() -> None:
    onset = 300_000
    moments = {"first": onset, "fifth": onset + 240_000, "sixth": onset + 300_000, "early": onset - 1, "never": None}
    runs = [replayed({name: Outcome(at, "harmful", "") for name, at in moments.items()}, onset)]
    assert within(runs, 5) == (2, 5)


def test_a_freeze_for_a_silence_is_told_by_its_reason() -> None:
    outcomes = {
        "silent": Outcome(1, "harmful", "latency silent for 240 s (away 240 = 4.0 intervals, p=3.4e-04)"),
        "missing": Outcome(1, "harmful", "latency: version v2 not seen for 240, slowest of 6 start-ups 40, p=1e-05"),
        "high": Outcome(1, "harmful", "latency 100 > 1 before (n=8, p=4.2e-07)"),
        "calm": Outcome(None, "healthy", "latency silent for 240 s"),
    }
    assert silent_freezes([replayed(outcomes, None)]) == 2


def test_all_placebos_together_by_length_of_the_watch() -> None:
    lines = [
        Line("placebo per 1,000: a, watch 60", "", "", True, "", {"frozen": 1, "changes": 400, "silent": 1}),
        Line(
            "placebo per 1,000: b, watch 60, 6 services", "", "", True, "", {"frozen": 2, "changes": 600, "silent": 0}
        ),
        Line("placebo per 1,000: b, watch 30", "", "", True, "", {"frozen": 0, "changes": 500, "silent": 0}),
        Line("young", "", "", True, "", {"frozen": 9, "changes": 9}),
    ]
    found = {line.row: (line.figure, line.met) for line in together(lines)}
    assert found["placebo per 1,000: all together, watch 60"] == ("3.0 (3 of 1000)", False)
    assert found["placebo per 1,000: all together, watch 30"] == ("0.0 (0 of 500)", True)
    assert found["silence: false per 1,000"] == ("0.7 (1 of 1500 placebo changes)", True)


@pytest.mark.parametrize(("error", "met"), [(DataMissingError("no nab"), None), (BenchError("replay died"), False)])
def test_a_row_that_cannot_be_measured_costs_its_own_line(
    monkeypatch: pytest.MonkeyPatch, error: BenchError, met: bool | None
) -> None:
    def fail(cut: Cut) -> list[Line]:
        raise error

    monkeypatch.setitem(detection.ROWS, "nab", fail)
    [line], _ = detection.measure("nab", Cut())
    assert line.met is met
    assert str(error) in line.figure


def test_absent_numbers_may_not_end_healthy() -> None:
    unknown, known = np.full((10, 3), np.nan), np.ones((10, 3))
    blank = vectors.Vector("x", False, np.ones((10, 1)), unknown, unknown)
    seen = vectors.Vector("x", False, np.ones((10, 1)), known, known)
    bad = vectors.Vector("x", True, np.ones((10, 1)), known, known)
    healthy, unsure, frozen = Outcome(None, "healthy", ""), Outcome(None, "inconclusive", ""), Outcome(1, "harmful", "")
    assert [vectors.right(blank, one) for one in (healthy, unsure, frozen)] == [False, True, False]
    assert [vectors.right(seen, one) for one in (healthy, unsure, frozen)] == [True, True, False]
    assert [vectors.right(bad, one) for one in (healthy, unsure, frozen)] == [False, False, True]


def test_a_vector_becomes_a_canary_beside_what_ran_before() -> None:
    vector = next(one for one in vectors.vectors() if one.name.startswith("11 errors"))
    case = vectors.case(vector)
    [change] = case.changes
    assert change["instances"] == ["new-0"]
    new, old = list(case.telemetry)
    for record, samples in ((new, 11), (old, 14)):
        errors, requests = record["metrics"]
        assert (errors["name"], requests["name"]) == ("calls.errors", "calls.requests")
        assert len(errors["times"]) == len(errors["values"]) == samples
    assert sum(time < change["time"] for time in old["metrics"][0]["times"]) == 3
    assert min(new["metrics"][0]["times"]) > change["time"]


def shop(count: int, rows: int) -> list[Service]:
    times = 60_000 * np.arange(rows, dtype=np.int64)
    return [
        Service(f"s{i}", 60_000, times, {"m": np.full(rows, 100.0 + i)}, np.zeros(rows, dtype=np.bool_))
        for i in range(count)
    ]


def test_a_young_service_has_forty_samples_and_harm_from_the_fifth() -> None:
    [window, *_] = young.windows(shop(8, 400), 2, first=young.BEFORE)
    assert len(set(window.changed)) == young.CHANGED
    case = young.case("x", window, "+100%")
    [change] = case.changes
    values = {record["resource"]["service.name"]: record["metrics"][0] for record in case.telemetry}
    assert len(values) == 8
    ill = values[change["service"]]
    assert sum(time < change["time"] for time in ill["times"]) == young.BEFORE
    [truth] = case.truth.values()
    doubled = [time for time, value in zip(ill["times"], ill["values"], strict=True) if value >= 200]
    assert min(doubled) == truth.onset_ms == change["time"] + 4 * 60_000 + 30_000
    assert len(young.case("x", window).changes) == young.CHANGED


def test_windows_with_a_label_in_them_are_left_out() -> None:
    services = shop(young.CHANGED, 400)
    services[0].labels[:] = True
    assert young.windows(services, 2, first=young.BEFORE) == []


def test_three_sigma_are_caught_and_noise_is_not() -> None:
    assert np.isfinite(lorden.delays(3, 3.0, 0.004, past=1_500)).all()
    assert not np.isfinite(lorden.delays(3, 0.0, 0.004, past=1_500)).any()


@pytest.mark.parametrize("test", [peeking.two_by_two, peeking.order, peeking.concurrent])
def test_a_stream_is_the_same_every_time(test: object) -> None:
    assert callable(test)
    assert [test(seed, 300) for seed in range(3)] == [test(seed, 300) for seed in range(3)]


def test_the_naive_test_trips_far_more_often_than_it_promises() -> None:
    assert np.mean([peeking.z_test(seed, 2_000) for seed in range(60)]) > 0.3


def test_the_page_of_figures_has_every_line_and_counts_what_is_missed() -> None:
    lines = [
        {"row": "a | b", "goal": "<= 4", "figure": "3.0", "met": True, "command": "nab"},
        {"row": "c", "goal": "<= 4", "figure": "5.0", "met": False, "command": "nab"},
        {"row": "d", "goal": "", "figure": "data absent: no nab", "met": None, "command": ""},
    ]
    text = measured.page({"lines": lines})
    assert "1 met, 1 missed, 0 not to tell" in text
    assert "| a \\| b | <= 4 | 3.0 | met | `python -m bench nab` |" in text
    assert text.endswith("d: data absent: no nab\n")


def test_the_pictures_of_the_document_are_those_that_the_bench_draws() -> None:
    text = (ROOT / "docs" / "detection.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"\(detection/(\w+)\.png\)", text))
    drawn = {path.stem for path in pictures.FOLDER.glob("*.png")}
    assert shown == drawn
    assert shown <= {name for name in dir(pictures) if callable(getattr(pictures, name))}
