"""A real OpenTelemetry Collector feeds the worker, where Go can build one (`make test-full`; at first for minutes)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stream import topics
from stream.local_kafka import LocalKafka
from stream.series_ids import SeriesIds
from stream.wire import decode_telemetry
from stream.wire.by_service import decode_columns
from tests.conftest import require_tool
from tests.stream.collector import KINDS, Built, build, collector, generate
from tests.stream.reader import Reader
from tests.stream.worker_process import WorkerProcess, wait_for

OTLP = topics.OTLP_METRICS.name


@pytest.fixture(scope="module")
def built() -> Built:
    require_tool("go")
    return build()


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["otlp_proto", "otlp_json"])
def test_what_a_collector_exports_reaches_the_watch_of_its_service(
    built: Built, private_kafka: LocalKafka, tmp_path: Path, encoding: str
) -> None:
    bootstrap = private_kafka.bootstrap_servers
    topics.create(bootstrap)
    with (
        WorkerProcess(bootstrap, tmp_path / "worker", "--telemetry-topic", OTLP) as worker,
        collector(built, bootstrap, tmp_path, encoding) as address,
    ):
        for kind in KINDS:
            generate(built, address, kind, f"shop-{kind.lower()}")
        sent = Reader(bootstrap, OTLP)
        services = {f"shop-{kind.lower()}" for kind in KINDS}

        def told() -> dict[str, int]:
            """Samples by service, of what the Collector's exporter has sent by now."""
            counts: dict[str, int] = {}
            for record in sent.look():
                columns = decode_telemetry(OTLP, record.value, record.headers, SeriesIds())
                for number in columns.series.tolist():
                    name = columns.keys[number].service
                    counts[name] = counts.get(name, 0) + 1
            return counts

        wait_for("metrics of every kind", lambda: told().keys() == services)
        assert all(record.key is None for record in sent.records), "the exporter's default is no key"
        by_service = Reader(bootstrap, topics.BY_SERVICE.name)

        def passed() -> dict[str, tuple[int, set[int]]]:
            found: dict[str, tuple[int, set[int]]] = {}
            for record in by_service.look():
                columns = decode_columns(record.value, SeriesIds())
                for number, count in zip(*np.unique(columns.series, return_counts=True), strict=True):
                    name = columns.keys[int(number)].service
                    before, places = found.get(name, (0, set()))
                    found[name] = before + int(count), places | {record.partition}
            return found

        wait_for("all to be brought together", lambda: {k: n for k, (n, _) in passed().items()} == told())
        assert all(len(places) == 1 for _, places in passed().values())
        wait_for("the worker to have watched it", lambda: worker.metric("haltline_points_total") > 0)
        assert worker.metric("haltline_dead_letters_total") == 0
        sent.close()
        by_service.close()
