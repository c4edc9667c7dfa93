"""Replay: the same input gives the same bytes, the future changes nothing, and what cannot be read is named."""

from __future__ import annotations

import gzip
import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from datetime import datetime
from math import isfinite
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deploy.change import Change, Phase, change_to_object
from stream.replay import Summary, UnreadableInput, replay
from tests.factories import NOON, Recording, change, policy, samples, shop, telemetry_object

FILES = ("verdicts.jsonl", "freezes.jsonl", "summary.json")
SLOW = settings(
    deadline=None, max_examples=8, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
CHANGES = (
    change(),
    change(phase=Phase.FINISHED, time=NOON + 9_000),
    change("c2", service="cart", version=""),
    change("c3", time=NOON + 5_000),
)


def recording(seed: int = 0) -> Recording:
    return shop(seed=seed, phases=True) | shop(seed=seed + 1, instances=2, canary=0, service="cart")


def lines(objects: Iterable[dict[str, Any]]) -> list[str]:
    return [json.dumps(one) + "\n" for one in objects]


def whole(said: Recording) -> list[dict[str, Any]]:
    """One object a series."""
    return [telemetry_object(key, times, values) for key, (times, values) in said.items()]


def one_by_one(said: Recording) -> list[dict[str, Any]]:
    """One object a sample."""
    return [telemetry_object(key, [time], [value]) for key, time, value in samples(said)]


def by_resource(said: Recording) -> list[dict[str, Any]]:
    """All that one resource ever said in one object."""
    found: dict[str, dict[str, Any]] = {}
    for one in whole(said):
        resource = json.dumps(one["resource"])
        found.setdefault(resource, {"resource": one["resource"], "metrics": []})["metrics"] += one["metrics"]
    return list(found.values())


def write(path: Path, texts: Iterable[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = "".join(texts).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def run(
    folder: Path,
    telemetry: Iterable[dict[str, Any]],
    changes: Iterable[Change] = CHANGES,
    until: int | None = None,
    rules: str = "mode: enforce",
) -> dict[str, bytes]:
    """What replay writes for these records."""
    told = write(folder / "changes.jsonl", lines(map(change_to_object, changes)))
    said = write(folder / "telemetry.jsonl", lines(telemetry))
    replay([told], [said], folder / "out", policy(rules), until)
    return {name: (folder / "out" / name).read_bytes() for name in FILES}


def read(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()]


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1_000)


# -- the same input, the same bytes -----------------------------------------------------------------------------------


@given(seed=st.integers(0, 30), shuffle=st.integers(0, 2**32), cut=st.sampled_from([whole, one_by_one, by_resource]))
@SLOW
def test_the_order_of_lines_and_the_cut_into_objects_change_no_byte(
    tmp_path: Path, seed: int, shuffle: int, cut: Callable[[Recording], list[dict[str, Any]]]
) -> None:
    said, told = cut(recording(seed)), list(CHANGES)
    first = run(tmp_path / "a", whole(recording(seed)))
    Random(shuffle).shuffle(said)
    Random(shuffle).shuffle(told)
    assert run(tmp_path / "b", said, told) == first
    assert run(tmp_path / "b", said, told) == first


def test_files_folders_and_gzip_are_read_alike(tmp_path: Path) -> None:
    texts, told = lines(whole(recording())), lines(map(change_to_object, CHANGES))
    expected = run(tmp_path / "plain", whole(recording()))
    write(tmp_path / "telemetry" / "b.jsonl", texts[5:])
    write(tmp_path / "telemetry" / "a.jsonl.gz", texts[2:5])
    write(tmp_path / "telemetry" / "notes.txt", ["not ours\n"])
    more = write(tmp_path / "more.jsonl", ["\n", *texts[:2], "\n"])
    changes = [write(tmp_path / "c1.jsonl.gz", told[2:]), write(tmp_path / "c2.jsonl", told[:2])]
    replay(changes, [more, tmp_path / "telemetry"], tmp_path / "out", policy())
    assert {name: (tmp_path / "out" / name).read_bytes() for name in FILES} == expected


def test_samples_told_twice_count_once(tmp_path: Path) -> None:
    once = run(tmp_path / "a", whole(recording()))
    twice = run(tmp_path / "b", whole(recording()) + one_by_one(recording()))
    for name in ("verdicts.jsonl", "freezes.jsonl"):
        assert twice[name] == once[name]


def test_a_missing_sample_and_null_are_the_same(tmp_path: Path) -> None:
    said = whole(shop(gaps=0.1))
    full = {time for one in said for time in one["metrics"][0]["times"]}
    spelt = json.loads(json.dumps(said))
    for one in spelt:
        metric = one["metrics"][0]
        known = dict(zip(metric["times"], metric["values"], strict=True))
        metric["times"] = sorted(full)
        metric["values"] = [known.get(time) for time in metric["times"]]
    assert run(tmp_path / "a", said) == run(tmp_path / "b", spelt)


def test_times_may_be_text_or_numbers(tmp_path: Path) -> None:
    spelt = whole(recording())
    for one in spelt:
        for metric in one["metrics"]:
            metric["times"] = [
                datetime.fromtimestamp(time / 1_000).astimezone().isoformat(timespec="milliseconds")
                for time in metric["times"]
            ]
    assert run(tmp_path / "a", whole(recording())) == run(tmp_path / "b", spelt)


# -- time -------------------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 30), after=st.integers(1, 28))
@SLOW
def test_what_comes_later_changes_no_earlier_line(tmp_path: Path, seed: int, after: int) -> None:
    said = shop(seed=seed, phases=True, jitter=0.2, gaps=0.1)
    cut = max(time for times, _ in said.values() for time in times if time <= NOON + after * 1_000)
    early = run(tmp_path / "a", whole(said), until=cut)
    full = run(tmp_path / "b", whole(said))

    def before(written: dict[str, bytes]) -> list[dict[str, Any]]:
        known = [one for one in read(written["verdicts.jsonl"]) if ms(one["time"]) <= cut and not one.get("ended")]
        return known + [one for one in read(written["freezes.jsonl"]) if ms(one["starts_at"]) <= cut]

    assert before(early) == before(full)


def test_until_is_the_same_as_input_that_ends_there(tmp_path: Path) -> None:
    end = NOON + 15_000
    short = {key: [pair for pair in zip(*said, strict=True) if pair[0] <= end] for key, said in recording().items()}
    cut = {key: ([t for t, _ in pairs], [v for _, v in pairs]) for key, pairs in short.items()}
    assert run(tmp_path / "a", whole(recording()), until=end) == run(tmp_path / "b", whole(cut))


def test_what_arrived_late_counts_from_its_arrival_only(tmp_path: Path) -> None:
    """The new instance's samples lay in a buffer for ten seconds."""
    said = shop()
    held = {key: value for key, value in said.items() if key.version == "v2"}
    prompt = {key: value for key, value in said.items() if key not in held}
    late = [one | {"arrived": NOON + 25_000} for one in whole(held)]
    on_time = [one | {"arrived": time} for one in one_by_one(prompt) for time in [one["metrics"][0]["times"][0]]] + [
        one | {"arrived": one["metrics"][0]["times"][0]} for one in one_by_one(held)
    ]
    assert run(tmp_path / "a", on_time) == run(tmp_path / "b", whole(said))
    lines_late = read(run(tmp_path / "c", whole(prompt) + late, until=NOON + 24_000)["verdicts.jsonl"])
    assert {one["state"] for one in lines_late if one["change"] == "c1"} == {"warming", "inconclusive"}


def test_changes_come_before_samples_of_the_same_time(tmp_path: Path) -> None:
    verdicts = read(run(tmp_path, whole(shop()))["verdicts.jsonl"])
    assert [ms(one["time"]) for one in verdicts if one["state"] == "warming" and one["change"] == "c1"] == [NOON]


# -- what is written --------------------------------------------------------------------------------------------------

VERDICT = {
    "change": str, "service": str, "time": str, "state": str, "log_e": float, "blame": float, "reason": str,
    "evidence": list,
}  # fmt: skip
EVIDENCE = {
    "service": str, "metric": str, "attributes": dict, "control": str, "log_e": float, "effect": float,
    "samples": int, "reason": str,
}  # fmt: skip
FREEZE = {
    "id": str, "matchers": list, "starts_at": str, "ends_at": str, "caused_by": str, "level": int, "mode": str,
    "reason": str,
}  # fmt: skip


def check(record: dict[str, Any], fields: dict[str, type]) -> None:
    for name, kind in fields.items():
        assert type(record[name]) is kind, (name, record)
        assert kind is not float or isfinite(record[name])


@given(seed=st.integers(0, 30))
@SLOW
def test_every_line_has_what_was_promised(tmp_path: Path, seed: int) -> None:
    written = run(tmp_path, whole(recording(seed)), [*CHANGES, change("c4", service="nowhere")])
    verdicts, freezes = read(written["verdicts.jsonl"]), read(written["freezes.jsonl"])
    for verdict in verdicts:
        check(verdict, VERDICT)
        assert verdict["state"] in ("warming", "healthy", "inconclusive", "harmful")
        assert 0 <= verdict["blame"] <= 1
        for one in verdict["evidence"]:
            check(one, EVIDENCE)
    assert freezes
    for freeze in freezes:
        check(freeze, FREEZE)
        assert ms(freeze["starts_at"]) < ms(freeze["ends_at"])
        assert freeze["mode"] == "enforce"
        assert freeze["caused_by"] in ("c1", "c3")
    assert len({freeze["id"] for freeze in freezes}) == len(freezes)
    for identity in ("c1", "c2", "c3", "c4"):
        said = [one for one in verdicts if one["change"] == identity]
        states = [one["state"] for one in said[:-1]]
        assert states[0] == "warming"
        assert all(a != b for a, b in itertools.pairwise(states))
        assert [one.get("ended", False) for one in said] == [False] * len(states) + [True]
        assert said[-1]["state"] != "warming"
        times = [ms(one["time"]) for one in said]
        assert times == sorted(times)


def test_the_summary_counts(tmp_path: Path) -> None:
    written = run(tmp_path, whole(recording()))
    summary = json.loads(written["summary.json"])
    count = len(samples(recording()))
    assert summary["changes"] == 3
    assert sum(summary["verdicts"].values()) == 3
    assert summary["verdicts"]["harmful"] >= 1
    assert summary["freezes"] == {"1": len(read(written["freezes.jsonl"]))}
    assert summary["seconds_frozen"] >= 300
    assert summary["points"] == count
    assert summary["points_per_second"] > 0
    until = NOON + 10_000
    short = json.loads(run(tmp_path, whole(recording()), until=until)["summary.json"])
    assert short["points"] == sum(time <= until for _, time, _ in samples(recording()))
    assert short["ends_at"] <= until


def test_observe_writes_what_would_have_been_frozen(tmp_path: Path) -> None:
    enforced = read(run(tmp_path / "a", whole(recording()))["freezes.jsonl"])
    observed = read(run(tmp_path / "b", whole(recording()), rules="mode: observe")["freezes.jsonl"])
    assert [one | {"mode": "observe"} for one in enforced] == observed


def test_that_new_starts_wait_is_counted_and_writes_no_line(tmp_path: Path) -> None:
    never = run(tmp_path / "a", whole(recording()), rules="mode: enforce\nbreaker: {watch_hold: 0s}")
    waits = run(tmp_path / "b", whole(recording()), rules="mode: enforce")
    assert [never[name] for name in FILES[:2]] == [waits[name] for name in FILES[:2]]
    counted = [json.loads(one["summary.json"]).pop("holds") for one in (never, waits)]
    assert counted[0] == 0 < counted[1]


def test_an_unguarded_environment_is_judged_and_not_frozen(tmp_path: Path) -> None:
    written = run(tmp_path, whole(recording()), rules="mode: enforce\nenvironments: {production: {guarded: false}}")
    assert "harmful" in {one["state"] for one in read(written["verdicts.jsonl"])}
    assert written["freezes.jsonl"] == b""


def test_a_change_that_is_only_planned_has_no_verdict(tmp_path: Path) -> None:
    written = run(tmp_path, whole(recording()), [change(phase=Phase.PLANNED)])
    assert written["verdicts.jsonl"] == b""


def test_nothing_in_is_nothing_out(tmp_path: Path) -> None:
    written = run(tmp_path, [], [])
    assert written["verdicts.jsonl"] == written["freezes.jsonl"] == b""
    assert json.loads(written["summary.json"])["points"] == 0


def test_a_change_without_telemetry_is_inconclusive(tmp_path: Path) -> None:
    warming, last = read(run(tmp_path, [], [change()])["verdicts.jsonl"])
    assert (warming["state"], last["state"]) == ("warming", "inconclusive")
    assert "no telemetry" in last["reason"]


# -- what cannot be read ----------------------------------------------------------------------------------------------


def one_sample(time: str = "1763716443000", values: str = "1", service: str = "a") -> str:
    metrics = f'[{{"name": "m", "times": [{time}], "values": [{values}]}}]'
    return f'{{"resource": {{"service.name": "{service}"}}, "metrics": {metrics}}}'


BAD = {
    "broken": '{"resource": ',
    "not an object": "[1, 2]",
    "nan": one_sample(values="NaN"),
    "huge": one_sample(values="1e999"),
    "1970": one_sample(time="0"),
    "lengths": one_sample(values="1, 2"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_line_is_named_by_file_and_line(tmp_path: Path, name: str) -> None:
    told = write(tmp_path / "changes.jsonl", lines([change_to_object(change())]))
    good = lines(whole(shop())[:2])
    said = write(tmp_path / "telemetry.jsonl", [good[0], "\n", BAD[name] + "\n", good[1]])
    with pytest.raises(UnreadableInput) as caught:
        replay([told], [said], tmp_path / "out", policy())
    assert str(caught.value).startswith(f"{said}:3: ")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_bytes_that_are_no_utf8_are_named_by_file_and_line(tmp_path: Path) -> None:
    told = write(tmp_path / "changes.jsonl", lines([change_to_object(change())]))
    said = tmp_path / "telemetry.jsonl"
    said.write_bytes(one_sample(service="\xe9").encode("latin-1"))
    with pytest.raises(UnreadableInput, match=r"telemetry\.jsonl:1: "):
        replay([told], [said], tmp_path / "out", policy())


def test_a_bad_change_a_missing_file_an_empty_folder_and_broken_gzip_are_named(tmp_path: Path) -> None:
    good = write(tmp_path / "telemetry.jsonl", lines(whole(shop())[:1]))
    bad = write(tmp_path / "changes.jsonl", ['{"id": "c1", "service": "a"}\n'])
    empty = tmp_path / "empty"
    empty.mkdir()
    broken = tmp_path / "broken.jsonl.gz"
    broken.write_bytes(gzip.compress(b"{}\n" * 1_000)[:-12])
    for changes, telemetry, text in (
        (bad, good, f"{bad}:1: .*time"),
        (tmp_path / "none.jsonl", good, "none.jsonl: "),
        (empty, good, f"{empty}: no .jsonl"),
        (broken, good, f"{broken}"),
    ):
        with pytest.raises(UnreadableInput, match=text):
            replay([changes], [telemetry], tmp_path / "out", policy())


def test_the_command_ends_with_2_and_one_line_on_bad_input(tmp_path: Path) -> None:
    told = write(tmp_path / "changes.jsonl", lines([change_to_object(change())]))
    said = write(tmp_path / "telemetry.jsonl", ["{\n"])
    arguments = ["replay", "--changes", str(told), "--telemetry", str(said), "--out", str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-m", "haltline", *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert f"{said}:1: " in done.stderr


def test_the_summary_of_no_freeze_says_zero(tmp_path: Path) -> None:
    told = write(tmp_path / "changes.jsonl", lines([change_to_object(change())]))
    said = write(tmp_path / "telemetry.jsonl", lines(whole(shop(harm_after=None))))
    summary = replay([told], [said], tmp_path / "out", policy())
    assert isinstance(summary, Summary)
    assert summary.seconds_frozen == 0
    assert summary.freezes == {}
