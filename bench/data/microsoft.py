"""Microsoft's cloud monitoring data: production series at 60 s and 1 h, marked point by point by domain experts."""

from __future__ import annotations

import csv

import numpy as np

from bench.data import Service, folder, milliseconds, number, opened, usual_period_ms


def load(period_s: int | None = None) -> list[Service]:
    """Every series (of one sampling period, if given) as a service of its own with the metric `value`, by name."""
    services = []
    for path in sorted(folder("microsoft-cloud-monitoring").glob("data/*/*.csv")):
        with opened(path) as file:
            rows = sorted((milliseconds(row["TimeStamp"]), row["Value"], row["Label"]) for row in csv.DictReader(file))
        # A few rows stand in the file twice; the first one counts.
        kept = [row for i, row in enumerate(rows) if i == 0 or row[0] != rows[i - 1][0]]
        times = np.array([row[0] for row in kept], dtype=np.int64)
        values = np.array([number(row[1]) for row in kept])
        labels = np.array([float(row[2] or 0) > 0 for row in kept])
        services.append(Service(path.stem, usual_period_ms(times), times, {"value": values}, labels))
    return [service for service in services if period_s is None or service.period_ms == period_s * 1000]
