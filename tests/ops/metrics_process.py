"""A process with the worker's real metrics, whose freezes come as JSON lines on its input; it ends with its input."""

from __future__ import annotations

import json
import sys

from prometheus_client import CollectorRegistry

from stream.metrics import FreezeTimes, Metrics


def main() -> None:
    freezes: list[FreezeTimes] = []
    metrics = Metrics(CollectorRegistry(), version="test", topics=("haltline.telemetry",), freezes=lambda: freezes)
    server = metrics.serve(int(sys.argv[1]))
    print(server.port, flush=True)
    for line in sys.stdin:
        freezes = [(level, mode, environment, start, end) for level, mode, environment, start, end in json.loads(line)]
        for level, mode, *_ in freezes:
            metrics.froze(level, mode, change="checkout-481", decision_seconds=0.02, sample_age_seconds=1.1)
    server.close()


if __name__ == "__main__":
    main()
