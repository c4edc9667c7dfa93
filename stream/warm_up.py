"""Compile what is compiled, before the first incident rather than in the middle of it.

Numba keeps what it compiled on disk, so only the first run on a machine waits; `make setup` is that run.
"""

from __future__ import annotations

import logging

import numpy as np

from deploy.change import Change
from deploy.policy import Policy
from stream.columns import Columns, MetricKind, SeriesKey
from stream.series_ids import SeriesIds
from stream.watch import Watch
from stream.wire.json_bytes import can_compile
from stream.wire.telemetry import decode_telemetry

log = logging.getLogger("haltline.warm_up")

_START_MS = 1_700_000_000_000
_BEFORE, _AFTER = 240, 40
#: A message of each format that compiled code reads.
_MESSAGES = (
    b'{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"-","gauge":{"dataPoints":'
    b'[{"timeUnixNano":"1700000000000000000","asDouble":1.5}]}}]}]}]}',
    b'{"labels":{"job":"-"},"name":"-","timestamp":"2026-01-01T00:00:00Z","value":"1.5"}',
    b'{"fields":{"-":1.5},"name":"-","tags":{},"timestamp":1700000000}',
    b"- -=1.5 1700000000000000000",
)


def warm_up() -> None:
    """Run each decoder and each detector once, on numbers made for it."""
    if not can_compile():
        log.warning("numba may not compile here (NUMBA_DISABLE_JIT): telemetry is decoded many times slower")
    ids = SeriesIds()
    for message in _MESSAGES:
        decode_telemetry("-", message, {}, ids)
    watch = Watch(Policy())
    watch.telemetry(_shop(0, _BEFORE, ("v1", "v1", "v1")), span=0)
    watch.change(Change(id="-", service="-", time=_START_MS + _BEFORE * 1_000, version="v2"))
    watch.telemetry(_shop(_BEFORE + 1, _BEFORE + _AFTER, ("v1", "v1", "v2")), span=0)
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
