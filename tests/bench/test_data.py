"""The loaders of public data and the cases made of them, on tiny files in the shape of the real ones."""

import gzip
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from bench import DataMissingError
from bench.cases import Case, Moment, placebo, quiet_moments
from bench.data import Service, folder, jumpstarter, microsoft, nab, nezha, petshop, telemetry
from bench.figures import rate, recall
from bench.harm import copies, elsewhere, harmed, labelled_moments, repeated
from bench.run_replay import Outcome, Replayed, outcomes

ROOT, FRONT, OTHER = "search", "site", "queue"


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HALTLINE_DATA", str(tmp_path))
    return tmp_path


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")


def series(rows: int = 400, name: str = "checkout", *, seed: int = 1, labelled: slice | None = None) -> Service:
    values = 100 + np.random.default_rng(seed).normal(size=rows)
    labels = np.zeros(rows, dtype=np.bool_)
    if labelled is not None:
        labels[labelled] = True
    times = 1_600_000_000_000 + 60_000 * np.arange(rows, dtype=np.int64)
    return Service(name, 60_000, times, {"value": values, "other": values + 1}, labels)


def petshop_issue(base: Path, run: str, name: str, start: int, issue_at: int, level: float) -> None:
    header = ["microservice", *[c for c in (ROOT, FRONT, OTHER) for _ in range(2)]]
    metrics = ["metric", *["latency", "requests"] * 3]
    statistics = ["statistic", *["p99", "Sum"] * 3]
    rows = []
    for row in range(5):
        cells = [level + row, 10 * level, level + row, 10 * level, 1.0, 2.0]
        rows.append(",".join([f"{start + 300 * row}.0", *map(str, cells)]))
    text = "\n".join([",".join(header), ",".join(metrics), ",".join(statistics), "unix_timestamp,,,,,,", *rows]) + "\n"
    put(base / run / "train" / name / "metrics.csv", text)
    target = {
        "target": {"node": FRONT, "metric": "latency", "agg": "Average", "timestamp": issue_at},
        "root_cause": {"node": ROOT, "metric": None},
        "metadata": {"reproducibility": {"command": "aws ssm put-parameter --name x --value 1 --overwrite"}},
    }
    put(base / run / "train" / name / "target.json", json.dumps(target))


@pytest.fixture
def shop(data: Path) -> Path:
    base = data / "petshop" / "dataset"
    for run in petshop.RUNS:
        graph = f",{ROOT},{FRONT},{OTHER}\n{ROOT},0.0,0.0,0.0\n{FRONT},1.0,1.0,1.0\n{OTHER},0.0,0.0,0.0\n"
        put(base / run / "graph.csv", graph)
        petshop_issue(base, run, "issue_0", 1_681_336_000, 1_681_336_400, 1.0)
        petshop_issue(base, run, "issue_1", 1_681_340_000, 1_681_340_450, 2.0)
    return data


def test_a_missing_folder_is_named_together_with_what_to_set(data: Path) -> None:
    with pytest.raises(DataMissingError, match="HALTLINE_DATA"):
        folder("petshop")


def test_missing_samples_leave_as_null_and_all_rows_leave_once() -> None:
    service = series(1_500)
    service.metrics["value"][3] = np.nan
    objects = list(telemetry([service]))
    column = [value for record in objects for m in record["metrics"] if m["name"] == "value" for value in m["values"]]
    assert len(objects) > 1
    assert len(column) == 1_500
    assert [i for i, value in enumerate(column) if value is None] == [3]
    assert objects[0]["resource"] == {"service.name": "checkout", "deployment.environment.name": "production"}


def test_microsoft_rows_come_in_order_once_with_their_labels(data: Path) -> None:
    text = "TimeStamp,Value,Label\n2018-05-10 01:00:00,2.0,1\n2018-05-10 00:00:00,1.0,0\n2018-05-10 01:00:00,9.0,0\n"
    put(data / "microsoft-cloud-monitoring" / "data" / "crash" / "app.csv", text)
    (service,) = microsoft.load(3600)
    assert service.metrics["value"].tolist() == [1.0, 2.0]
    assert service.labels.tolist() == [False, True]
    assert service.onsets() == [1]
    assert microsoft.load(60) == []


def test_nab_windows_mark_their_rows_and_made_up_series_can_be_left_out(data: Path) -> None:
    rows = "".join(f"2014-04-10 00:{minute:02}:00,{minute}\n" for minute in range(0, 60, 5))
    for name in ("realTweets/a.csv", "artificialWithAnomaly/b.csv"):
        put(data / "nab" / "data" / name, "timestamp,value\n" + rows)
    span = ["2014-04-10 00:10:00.000000", "2014-04-10 00:20:00.000000"]
    put(data / "nab" / "labels" / "combined_windows.json", json.dumps({"realTweets/a.csv": [span]}))
    (service,) = nab.load(artificial=False)
    assert np.flatnonzero(service.labels).tolist() == [2, 3, 4]
    assert service.period_ms == 300_000
    assert len(nab.load()) == 2


def test_jumpstarter_rows_lie_five_minutes_apart_and_services_are_in_the_order_of_their_numbers(data: Path) -> None:
    base = data / "jumpstarter" / "Dataset2"
    for name in ("service10", "service2"):
        put(base / "test" / f"{name}.csv.gz", "1.0,2.0\n3.0,4.0\n5.0,6.0\n")
        put(base / "test_label" / f"{name}.csv", "0\n1\n1\n")
    first, second = jumpstarter.load()
    assert (first.name, second.name) == ("service2", "service10")
    assert first.metrics["m1"].tolist() == [2.0, 4.0, 6.0]
    assert np.diff(first.times).tolist() == [300_000, 300_000]
    assert first.onsets() == [1]


def test_nezha_trusts_the_written_time_and_leaves_out_what_was_never_measured(data: Path) -> None:
    day = data / "nezha" / "2022-08-22"
    header = "Time,TimeStamp,PodName,CpuUsage(m),PodSuccessRate(%)\n"
    pod = "adservice-5f6585d649-fnmft"
    row = f"2022-08-22 03:51:19.607158889 +0000 UTC m=+0.1,1861140279,{pod},1.76,0\n"
    put(day / "metric" / f"{pod}_metric.csv", header + row)
    put(
        day / "metric" / "front_service.csv",
        "Time,TimeStamp,ServiceName,SuccessRate(%),LatencyP50(s)\n" + row.replace("1.76,0", "0,1.76"),
    )
    fault = {
        "inject_time": "2022-08-22 03:53:54",
        "inject_timestamp": "1",
        "inject_pod": pod,
        "inject_type": "cpu_contention",
    }
    put(day / "2022-08-22-fault_list.json", json.dumps({"03": [fault]}))
    (ad, front), (found,) = nezha.load("onlineboutique")
    assert (ad.name, ad.instance, list(ad.metrics)) == ("adservice", pod, ["CpuUsage(m)"])
    assert list(front.metrics) == ["LatencyP50(s)"]
    assert found.service == "adservice"
    assert found.time_ms - int(ad.times[0]) == 155_000


def test_a_petshop_issue_is_a_change_between_its_quiet_row_and_the_first_affected_one(shop: Path) -> None:
    case = next(iter(petshop.cases()))
    (record,) = case.changes
    (truth,) = case.truth.values()
    times = _times(case, ROOT)
    assert record["service"] == ROOT
    assert record["kind"] == "config"
    # Two quiet rows of the sibling and the issue's first row come before; its four others after.
    assert [time < record["time"] for time in times] == [True] * 3 + [False] * 4
    assert set(np.diff(times).tolist()) == {300_000}
    # The first affected row's numbers exist five minutes after that row began.
    assert times[3] - record["time"] == 299_000
    assert truth.onset_ms is not None
    assert record["time"] <= truth.onset_ms < times[3]


def test_petshop_history_holds_no_row_of_a_siblings_fault(shop: Path) -> None:
    case = next(iter(petshop.cases()))
    column = _column(case, ROOT, "latency.p99")
    # The sibling's rows run from 2 to 6; its issue falls into the second and is over in the fifth.
    assert column[:2] == [2.0, 6.0]
    assert column[2:] == [1.0, 2.0, 3.0, 4.0, 5.0]


def test_petshop_cases_can_stand_in_one_stream(shop: Path) -> None:
    every = list(petshop.cases())
    spans = [(min(_times(case, ROOT)), max(_times(case, ROOT))) for case in every]
    assert all(end < start for (_, end), (start, _) in pairwise(spans))
    assert len({record["id"] for case in every for record in case.changes}) == len(every) == 8


def test_the_issue_free_run_is_history_only_where_it_is_asked_for(shop: Path) -> None:
    source = shop / "petshop" / "dataset" / "high_traffic" / "train" / "issue_1" / "metrics.csv"
    put(shop / "petshop" / "dataset" / "low_traffic" / "noissue" / "metrics.csv", source.read_text(encoding="utf-8"))
    case = next(petshop.cases(issue_free_history=True))
    assert _column(case, ROOT, "latency.p99") == [2.0, 3.0, 4.0, 5.0, 6.0, 1.0, 2.0, 3.0, 4.0, 5.0]


def test_petshops_innocent_change_is_outside_the_blast_radius(shop: Path) -> None:
    graph = petshop.calls("high_traffic")
    assert petshop.touched(graph, ROOT) == {ROOT, FRONT}
    assert {case.changes[0]["service"] for case in petshop.shuffled_cases()} == {OTHER}


def test_placebo_keeps_its_distance_from_labels() -> None:
    service = series(600, labelled=slice(300, 305))
    (case,) = placebo("x", [service], 60)
    rows = [moment.index for moment in quiet_moments([service], 60)]
    assert rows
    assert all(not service.labels[row - 60 : row + 61].any() for row in rows)
    assert len(case.changes) == len(rows)
    assert case.policy["watch"] == {"at_least": "3600s", "samples": 60, "at_most": "3600s"}
    times = [change["time"] for change in case.changes]
    assert all(service.times[row] < time < service.times[row + 1] for row, time in zip(rows, times, strict=True))


def test_watches_of_one_services_placebo_never_overlap() -> None:
    for watch in (30, 60, 120):
        (case,) = placebo("x", [series(1_000)], watch)
        times = [change["time"] for change in case.changes]
        assert min(np.diff(times)) >= watch * 60_000


@pytest.mark.parametrize(
    ("harm", "factors"),
    [("+50%", [1.5] * 3), ("-50%", [0.5] * 3), ("zero", [0.0] * 3), ("ramp", [1.05, 1.10, 1.15])],
)
def test_injected_harm_begins_at_its_row_in_the_metrics_named(harm: str, factors: list[float]) -> None:
    service = series(100)
    made = harmed(service, 50, harm, ["value"])
    assert made.metrics["value"][:50].tolist() == service.metrics["value"][:50].tolist()
    assert made.metrics["value"][50:53] == pytest.approx(service.metrics["value"][50:53] * factors)
    assert made.metrics["other"] is service.metrics["other"]


def test_an_unknown_harm_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown harm 'fire'.*ramp"):
        harmed(series(100), 50, "fire")


def test_silence_is_thirty_rows_of_nothing_while_a_neighbour_goes_on() -> None:
    moment = Moment(series(400), 200)
    for harm in ("null", "absent"):
        case = copies("x", [moment], 60, harm=harm)
        (truth,) = case.truth.values()
        records = list(case.telemetry)
        seen = [
            time
            for record in records
            if record["resource"]["service.name"] == "checkout~0"
            for metric in record["metrics"]
            if metric["name"] == "value"
            for time, value in zip(metric["times"], metric["values"], strict=True)
            if value is not None
        ]
        assert truth.onset_ms is not None
        silent = range(truth.onset_ms, truth.onset_ms + 30 * 60_000, 60_000)
        assert not set(silent) & set(seen)
        assert max(seen) > silent[-1]
        neighbour = [record for record in records if record["resource"]["service.name"].endswith("-neighbour")]
        assert set(silent) <= {time for record in neighbour for time in record["metrics"][0]["times"]}


def test_copies_keep_the_hour_of_the_week_and_never_overlap_in_time() -> None:
    service = series(3_000)
    case = copies("x", [Moment(service, 1_000), Moment(service, 2_000)], 60, harm="+100%", history=500)
    spans: dict[str, list[int]] = {}
    for record in case.telemetry:
        spans.setdefault(record["resource"]["service.name"], []).extend(record["metrics"][0]["times"])
    first, second = spans["checkout~0"], spans["checkout~1"]
    assert first[-1] < second[0]
    week = 7 * 86_400_000
    assert (first[0] - int(service.times[501])) % week == (second[0] - int(service.times[1_501])) % week == 0
    assert [change["service"] for change in case.changes] == ["checkout~0", "checkout~1"]


def test_repeated_harm_lasts_twenty_rows_and_does_not_grow_into_the_next() -> None:
    service = series(600)
    case = repeated("x", [Moment(service, 200), Moment(service, 400)], 60, harm="+100%")
    (record,) = case.telemetry
    values = np.array(record["metrics"][0]["values"])
    factor = values / service.metrics["value"]
    assert np.flatnonzero(factor > 1.5).tolist() == [*range(205, 225), *range(405, 425)]
    assert factor[205:225] == pytest.approx(2.0)
    assert factor[405:425] == pytest.approx(2.0)
    assert len(case.changes) == 2


def test_labelled_changes_come_before_an_onset_that_an_hour_of_peace_precedes() -> None:
    service = series(400, labelled=slice(200, 210))
    service.labels[230:235] = True
    assert [moment.index for moment in labelled_moments([service])] == [195]
    case = copies("x", labelled_moments([service]), 60, harm="label")
    (truth,) = case.truth.values()
    assert truth.onset_ms is not None
    assert truth.onset_ms - truth.change_ms == 4 * 60_000 + 30_000


def test_a_shuffled_change_is_harmless_and_on_another_service() -> None:
    services = [series(400, "a"), series(400, "b", seed=2)]
    moments = quiet_moments(services[:1], 60)
    case = copies("x", moments, 60, harm="+100%", elsewhere=elsewhere(moments, services, 60))
    assert {change["service"].partition("~")[0] for change in case.changes} == {"b"}
    assert all(truth.onset_ms is None and truth.series == "b" for truth in case.truth.values())


def test_decisions_are_read_back_by_change(tmp_path: Path) -> None:
    verdicts = [
        {"change": "one", "state": "warming", "time": "2026-01-01T00:00:00Z", "reason": "too little"},
        {"change": "one", "state": "harmful", "time": "2026-01-01T00:01:00Z", "reason": "p99 up"},
        {"change": "two", "state": "healthy", "time": "2026-01-01T00:01:00Z", "reason": "calm"},
    ]
    freezes = [{"caused_by": "one", "starts_at": "2026-01-01T00:01:00Z", "reason": "froze"}]
    put(tmp_path / "verdicts.jsonl", "".join(json.dumps(line) + "\n" for line in verdicts))
    put(tmp_path / "freezes.jsonl", "".join(json.dumps(line) + "\n" for line in freezes))
    found = outcomes(tmp_path, ["one", "two", "three"])
    assert found["one"] == Outcome(1_767_225_660_000, "harmful", "froze")
    assert found["two"] == Outcome(None, "healthy", "calm")
    assert found["three"] == Outcome(None, "none", "")


def test_figures_count_misses_as_infinite_and_the_deciding_sample_as_seen() -> None:
    services = [series(400, name, seed=seed) for seed, name in enumerate("abcd")]
    case = copies("x", [Moment(service, 200) for service in services], 60, harm="+100%")
    found = {}
    for turn, (ident, truth) in enumerate(case.truth.items()):
        assert truth.onset_ms is not None
        found[ident] = Outcome(None if turn else truth.onset_ms + 2 * 60_000, "harmful", "")
    figure = recall([Replayed(found, case.truth, {}, 0.0)])
    assert (figure.caught, figure.harmful) == (1, 4)
    assert figure.samples_of_harm == (3, 3)
    assert figure.samples_from_change == (7, 7)
    assert figure.all_p50 == np.inf


def test_the_interval_of_a_rate_draws_whole_series() -> None:
    (case,) = placebo("x", [series(1_000, "a"), series(1_000, "b", seed=2)], 60)
    all_on_one = {
        ident: Outcome(truth.change_ms if truth.series == "a" else None, "harmful", "")
        for ident, truth in case.truth.items()
    }
    figure = rate([Replayed(all_on_one, case.truth, {}, 0.0)])
    assert (figure.low, figure.high) == (0.0, 1000.0)
    assert 400 < figure.per_1000 < 600


def test_the_real_petshop_has_twenty_training_issues() -> None:
    try:
        folder("petshop")
    except DataMissingError as error:
        pytest.skip(str(error))
    every = list(petshop.cases())
    assert len(every) == 20
    assert all(len(case.changes) == 1 for case in every)
    assert len(petshop.issue_free()) == 41


def _times(case: Case, component: str) -> list[int]:
    (record,) = [record for record in case.telemetry if record["resource"]["service.name"] == component]
    return list(record["metrics"][0]["times"])


def _column(case: Case, component: str, metric: str) -> list[float | None]:
    (record,) = [record for record in case.telemetry if record["resource"]["service.name"] == component]
    return next(list(column["values"]) for column in record["metrics"] if column["name"] == metric)
