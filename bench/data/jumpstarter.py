"""JumpStarter's Dataset2: online services of 19 unnamed metrics each, 25 days, rows marked by operators.

The files hold no times; 7,200 rows over 25 days make a row every 5 minutes. All services share the rows' clock.
"""

from __future__ import annotations

import numpy as np

from bench.data import Service, folder, milliseconds, opened

PERIOD_MS = 300_000
# A Monday; any would do, as the files hold no times.
START_MS = milliseconds("2021-03-01T00:00:00Z")


def load() -> list[Service]:
    """The services `service0` … in the order of their numbers, with the metrics `m0` … `m18`."""
    base = folder("jumpstarter") / "Dataset2"
    paths = {path.name.partition(".")[0]: path for path in (base / "test").glob("service*.csv*")}
    services = []
    for name in sorted(paths, key=lambda name: int(name.removeprefix("service"))):
        with opened(paths[name]) as file:
            table = np.loadtxt(file, delimiter=",", ndmin=2)
        label_path = next((base / "test_label").glob(f"{name}.csv*"))
        with opened(label_path) as file:
            labels = np.loadtxt(file, delimiter=",", ndmin=1) > 0
        times = START_MS + PERIOD_MS * np.arange(len(table), dtype=np.int64)
        metrics = {f"m{i}": np.ascontiguousarray(table[:, i]) for i in range(table.shape[1])}
        services.append(Service(name, PERIOD_MS, times, metrics, labels))
    return services
