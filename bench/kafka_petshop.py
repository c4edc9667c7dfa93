"""The PetShop training issues through a real Kafka and a real worker: the same freezes as replay, ids included."""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import yaml
from kafka import KafkaProducer

from bench import OUT
from bench.cases import Case
from bench.data import Json, petshop
from bench.tables import table
from deploy.freeze import Freeze
from stream import topics
from stream.local_kafka import LocalKafka
from stream.wire.outgoing import decode_freeze
from tests.stream.incident import encoded, replayed
from tests.stream.reader import Reader
from tests.stream.worker_process import WorkerProcess, wait_for

#: The worker is done when it has had nothing left to read for this long.
QUIET_S = 3.0
PATIENCE_S = 600.0


def main(argv: list[str]) -> int:
    """Drive every issue through the broker in the order of time; 1 where a freeze is not the one that replay makes."""
    parser = argparse.ArgumentParser(prog="python -m bench kafka_petshop", description=__doc__)
    parser.add_argument("--only", help="names of issues, such as high_traffic-issue_2,low_traffic-issue_0")
    parser.add_argument(
        "--history",
        type=int,
        default=120,
        help="rows of the run without issues before each change (default: %(default)s)",
    )
    parser.add_argument("--out", type=Path, default=OUT, help="where kafka_petshop.json goes (default: %(default)s)")
    options = parser.parse_args(argv)
    # With the few rows of its own history no issue is ever frozen, and there would be nothing to compare.
    found = [case for case in petshop.cases(issue_free_history=True) if not options.only or case.name in options.only]
    rows: list[Json] = []
    # A worker has one policy, and the runs differ in who calls whom.
    for _, cases in itertools.groupby(found, key=lambda case: case.policy):
        rows += compare(list(cases), options.history)
    shown = [[row["issue"], row["replay"] or "-", row["kafka"] or "-", _word(row)] for row in rows]
    print(table("PetShop through Kafka and through replay", ["issue", "replay", "kafka", ""], shown))
    same = sum(row["same"] for row in rows)
    frozen = sum(bool(row["replay"]) for row in rows)
    exact = sum(row["same"] and row["same_moment"] for row in rows)
    sent = sum(row["records"] for row in rows)
    print(
        f"\n{same} of {len(rows)} issues alike ({frozen} of them frozen), {exact} also in the deciding moment; "
        f"{sent:,} records"
    )
    options.out.mkdir(parents=True, exist_ok=True)
    text = msgspec.json.format(msgspec.json.encode(rows), indent=1)
    (options.out / "kafka_petshop.json").write_bytes(text + b"\n")
    return 0 if same == len(rows) else 1


def compare(cases: Sequence[Case], history: int) -> list[Json]:
    """Each issue's freeze by replay and by the worker; these cases have one policy."""
    policy = yaml.safe_dump(dict(cases[0].policy), sort_keys=False, allow_unicode=True)
    events = sorted(
        (event for case in cases for event in _events(case, history)),
        key=lambda event: (event[0], event[1] != "change"),
    )
    changes = [record for _, kind, _, record in events if kind == "change"]
    telemetry = [record for _, kind, _, record in events if kind != "change"]
    by_replay = {freeze.caused_by: freeze for freeze in replayed(changes, telemetry, policy)}
    by_kafka = _through_kafka(events, policy)
    rows = []
    for case in cases:
        (ident,) = case.truth
        one, other = by_replay.get(ident), by_kafka.get(ident, [])
        last = other[-1] if other else None
        rows.append(
            {
                "issue": case.name,
                "replay": one.id if one else None,
                "kafka": ", ".join(sorted({freeze.id for freeze in other})) or None,
                "same": (one is None) == (last is None) and {freeze.id for freeze in other} <= {one.id if one else ""},
                "same_moment": one is None or (last is not None and one.starts_at == last.starts_at),
                "records": sum(1 for _ in _events(case, history)),
            }
        )
    return rows


def _events(case: Case, history: int) -> Iterator[tuple[int, str, str, Json]]:
    """Time, kind, key and record of everything in a case: telemetry one moment of one service a record."""
    begin = case.changes[0]["time"] - history * petshop.PERIOD_MS
    for change in case.changes:
        yield change["time"], "change", change["id"], change
    for record in case.telemetry:
        moments: dict[int, list[Json]] = {}
        for metric in record["metrics"]:
            for moment, value in zip(metric["times"], metric["values"], strict=True):
                if moment >= begin:
                    moments.setdefault(moment, []).append({**metric, "times": [moment], "values": [value]})
        for moment, metrics in moments.items():
            yield moment, "telemetry", record["resource"]["service.name"], {**record, "metrics": metrics}


def _through_kafka(events: Sequence[tuple[int, str, str, Json]], policy: str) -> Mapping[str, list[Freeze]]:
    """The freezes that a worker made of these events, by the change that caused them."""
    with tempfile.TemporaryDirectory(prefix="haltline-petshop-") as name:
        folder = Path(name)
        (folder / "policy.yaml").write_text(policy, encoding="utf-8")
        with LocalKafka(folder / "kafka") as kafka:
            topics.create(kafka.bootstrap_servers)
            options = ("--policy", str(folder / "policy.yaml"))
            with WorkerProcess(kafka.bootstrap_servers, folder / "worker", *options) as worker:
                worker.ready()
                _produce(kafka.bootstrap_servers, events)
                _await_quiet(worker)
            reader = Reader(kafka.bootstrap_servers, topics.FREEZES.name)
            freezes = [decode_freeze(record.value, record.headers) for record in reader.look()]
            reader.close()
    made: dict[str, list[Freeze]] = {}
    for freeze in freezes:
        made.setdefault(freeze.caused_by, []).append(freeze)
    return made


def _produce(bootstrap: str, events: Sequence[tuple[int, str, str, Json]]) -> None:
    """Moment after moment, each durable before the next."""
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", metrics_enabled=False)
    for _, together in itertools.groupby(events, key=lambda event: (event[0], event[1])):
        for _, kind, key, record in together:
            topic = topics.CHANGES if kind == "change" else topics.TELEMETRY
            producer.send(topic.name, encoded(record), key=key.encode())
        producer.flush()
    producer.close()


def _await_quiet(worker: WorkerProcess) -> None:
    since = [time.monotonic()]

    def quiet() -> bool:
        if any(value for _, value in worker.samples("haltline_lag_records")):
            since[0] = time.monotonic()
        return time.monotonic() - since[0] > QUIET_S

    wait_for("the worker to have read everything", quiet, PATIENCE_S)


def _word(row: Json) -> str:
    if not row["same"]:
        return "DIFFERENT"
    return "same" if row["same_moment"] else "same, another moment"
