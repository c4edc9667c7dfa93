"""Compile what is compiled, before the first incident rather than in the middle of it.

Numba keeps what it compiled on disk, so only the first run on a machine waits; `make setup` is that run.
"""

from __future__ import annotations

import logging

import numpy as np

from deploy.change import Change
from deploy.policy import Guardrail, Policy
from stream.columns import Columns, MetricKind, SeriesKey
from stream.histograms import Histograms, asked_of
from stream.repartition import Repartition
from stream.series_ids import SeriesIds
from stream.stale_code import discard_stale_code
from stream.watch import Watch
from stream.wire.by_service import decode_columns
from stream.wire.json_bytes import can_compile
from stream.wire.telemetry import decode_telemetry

log = logging.getLogger("haltline.warm_up")

_START_MS = 1_700_000_000_000
_BEFORE, _AFTER = 240, 40
#: A message of each format that compiled code reads.
_MESSAGES = (
    b'{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"-","gauge":{"dataPoints":'
    b'[{"timeUnixNano":"1700000000000000000","asDouble":1.5}]}},{"name":"-","histogram":{"dataPoints":'
    b'[{"timeUnixNano":"1700000000000000000","count":"1","bucketCounts":["1","0"],"explicitBounds":[0.5]}]}}]}]}]}',
    b'{"labels":{"job":"-"},"name":"-","timestamp":"2026-01-01T00:00:00Z","value":"1.5"}',
    b'{"fields":{"-":1.5},"name":"-","tags":{},"timestamp":1700000000}',
    b"- -=1.5 1700000000000000000",
)

#: OTLP as protobuf, with a point of each type.
_PROTOBUF = bytes.fromhex(
    "0a9302129002122f0a012d2a2a0a281900002a36fe9c971721000000000000f83f2a093101000000000000003a090a012d12040a02c3a9"
    "128c010a012d4a86010a401100368ffafd9c97171900002a36fe9c971721010000000000000029000000000000f03f3210000000000000"
    "000001000000000000003a08000000000000e03f0a401100368ffafd9c97171900cac471fe9c9717210200000000000000290000000000"
    "00f03f3210010000000000000001000000000000003a08000000000000e03f100212280a012d52230a1f1900002a36fe9c971721010000"
    "000000000030064204120201024a03120101100212240a012d5a1f0a1d1900002a36fe9c9717321209000000000000e03f110000000000"
    "00f03f"
)

#: Prometheus' remote write of both versions, a native histogram in the second.
_REMOTE_WRITE_1 = bytes.fromhex(
    "e008f0860a7f0a1f0a085f5f6e616d655f5f1213687474705f72657175657374735f746f74616c0a0b0a04636f646512033230300a110a"
    "03656e76120a70726f64756374696f6e0a190a08696e7374616e6365120d31302e302e302e373a383038300a0f0a036a6f621208636865"
    "636b6f75741210090000000000806a4010f8d6c4adaa330a7c0a290a081581781d70726f636573735f7265736964656e745f6d656d6f72"
    "795f62797465730afe7e00057e0ca3e1a141117e0c84010a0e3d0008027570fe640009640c0000f87f0d644c1a210a0f0a087472616365"
    "5f696412036162631125051800f03f18f8d6c421050c8e010a301d8700242e8701105f647572612169385f7365636f6e64735f6275636b"
    "6574faa900340a090a026c651203302e31121009059108c062400db4fe9100f69100003511910400691591008ffe2201ca2201000a2522"
    "10042b496e66119204806a15920c82010a2f3db4002376b4010c636f756efeb3014a85000c80010a2d1d8500217685000873756dfa3602"
    "118304403f3108141a1c0801120d2e78002c73220952657175657374732e"
)
_REMOTE_WRITE_2 = bytes.fromhex(
    "df01f03e220022085f5f6e616d655f5f2213687474705f72657175657374735f746f74616c22036a6f622208636865636b6f7574220869"
    "6e7374616e6365220d31302e01021c373a38303830221d2e3d004c5f6475726174696f6e5f7365636f6e64732209520d57442e2201732a"
    "270a0601020506030412170900010170806a4010f8d6c4adaa33189882c1adaa332a04080118082a3e0a0601070129101a2e080719012a"
    "b000000240299d978ccf08ba5b2530015a04080510025a0408021001620302040178f8d6c4adaa332a0408032009"
)


def warm_up() -> None:
    """Run each decoder and each detector once, on numbers made for it."""
    discard_stale_code()
    if not can_compile():
        log.warning("numba may not compile here (NUMBA_DISABLE_JIT): telemetry is decoded many times slower")
    seconds = "http_request_duration_seconds"
    rails = (
        Guardrail(name="-", value="-.p99"),
        Guardrail(name="+", errors="-.over_0.5", over="-.count"),
        Guardrail(name="s", value=f"{seconds}.p99"),
    )
    asked = asked_of([Policy(guardrails=rails)])
    ids = SeriesIds(buckets_of=asked)
    histograms = Histograms(ids, asked)
    for message in (*_MESSAGES, _PROTOBUF, _REMOTE_WRITE_1, _REMOTE_WRITE_2):
        histograms.derive(decode_telemetry("-", message, {}, ids))
    passing = Repartition()
    passing.add(_shop(0, 1, ("v1",)), _START_MS)
    for _, record in passing.take(1):
        decode_columns(record, ids)
    watch = Watch(Policy())
    watch.telemetry(_shop(0, _BEFORE, ("v1", "v1", "v1")), span=0)
    watch.change(Change(id="-", service="-", time=_START_MS + _BEFORE * 1_000, version="v2"))
    watch.telemetry(_shop(_BEFORE + 1, _BEFORE + _AFTER, ("v1", "v1", "v2")), span=0)
    # As a worker takes them, which does not know what else comes of the same moment.
    watch.telemetry(_shop(_BEFORE + _AFTER + 1, _BEFORE + _AFTER + 2, ("v1", "v1", "v2")))
    Watch(Policy()).restore(*watch.snapshot())
    watch.finish()


def _shop(first: int, last: int, versions: tuple[str, ...]) -> Columns:
    """Requests, errors and a latency of as many instances, one sample a second."""
    rng = np.random.default_rng(1)
    seconds = np.arange(first, last + 1)
    keys, values = [], []
    for number, version in enumerate(versions):
        for metric, kind in (("x.requests", MetricKind.DELTA), ("x.errors", MetricKind.DELTA), ("y", MetricKind.GAUGE)):
            keys.append(SeriesKey("-", "", metric, (), version, str(number), kind))
            values.append(rng.poisson(50.0, len(seconds)).astype(float))
    return Columns(
        keys=tuple(keys),
        series=np.repeat(np.arange(len(keys), dtype=np.int32), len(seconds)),
        times=np.tile(_START_MS + seconds * 1_000, len(keys)),
        values=np.concatenate(values),
    )


if __name__ == "__main__":
    warm_up()
