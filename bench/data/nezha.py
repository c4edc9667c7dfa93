"""Nezha: two microservice shops, telemetry of each pod every 60 s, faults put into one pod at a time.

The column `TimeStamp` and the field `inject_timestamp` are wrong by hours or years in places, so `Time` and
`inject_time` are read; `PodSuccessRate` is unusable and left out.
"""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.data import Floats, Service, folder, milliseconds, number, opened

PERIOD_MS = 60_000
DAYS = {"onlineboutique": ("2022-08-22", "2022-08-23"), "trainticket": ("2023-01-29", "2023-01-30")}
# `adservice-5f6585d649-fnmft`: the service, its replica set, its pod.
POD = re.compile(r"^(?P<service>.+)-[0-9a-f]{8,10}-[0-9a-z]{5}$")
SKIPPED = frozenset({"Time", "TimeStamp", "PodName", "ServiceName", "PodSuccessRate(%)"})


@dataclass(frozen=True)
class Fault:
    """One injected fault; it lasts three minutes."""

    service: str
    pod: str
    kind: str
    time_ms: int


def service_of(pod: str) -> str:
    """The service that a pod belongs to.

    >>> service_of("ts-basic-service-5dc8d4f9fd-46997")
    'ts-basic-service'
    """
    match = POD.match(pod)
    return match["service"] if match else pod


def load(shop: str) -> tuple[list[Service], list[Fault]]:
    """The pods of one shop (`onlineboutique` or `trainticket`) and its faults in order, over the days that are here."""
    days = [path for day in DAYS[shop] if (path := folder("nezha") / day).is_dir()]
    services: list[Service] = []
    faults: list[Fault] = []
    for day in days:
        services += [_pod(path) for path in sorted(day.glob("metric/*_metric.csv*"))]
        services += [_front(path) for path in sorted(day.glob("metric/front_service.csv*"))]
        for hour in json.loads((day / f"{day.name}-fault_list.json").read_text(encoding="utf-8")).values():
            for fault in hour:
                pod = fault["inject_pod"]
                faults.append(Fault(service_of(pod), pod, fault["inject_type"], milliseconds(fault["inject_time"])))
    return services, sorted(faults, key=lambda fault: (fault.time_ms, fault.pod))


def _columns(path: Path) -> tuple[NDArray[np.int64], dict[str, Floats]]:
    with opened(path) as file:
        # `2022-08-22 03:51:19.607158889 +0000 UTC m=+0.11`: to the second is exact enough at one sample a minute.
        rows = {milliseconds(row["Time"][:19]): row for row in csv.DictReader(file)}
    times = np.array(sorted(rows), dtype=np.int64)
    names = [name for name in next(iter(rows.values())) if name not in SKIPPED]
    return times, {name: np.array([number(rows[int(time)][name] or "") for time in times]) for name in names}


def _pod(path: Path) -> Service:
    times, metrics = _columns(path)
    pod = path.name.partition("_metric.csv")[0]
    return Service(service_of(pod), PERIOD_MS, times, metrics, np.zeros(len(times), dtype=np.bool_), instance=pod)


def _front(path: Path) -> Service:
    times, metrics = _columns(path)
    # What users see. A success rate of zero throughout was never measured.
    seen = {name: values for name, values in metrics.items() if np.any(values != 0)}
    return Service("front", PERIOD_MS, times, seen, np.zeros(len(times), dtype=np.bool_))
