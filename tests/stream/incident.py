"""An incident as records: a service on four instances, one of them renewed to a version that fails in three of ten."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from deploy.freeze import Freeze
from deploy.policy import parse_policy
from stream.replay import decide
from stream.wire import decode_changes, decode_telemetry

BEFORE_S, CALM_S, AFTER_S = 60, 4, 30
INSTANCES = 4
POLICY = "version: 1\nmode: enforce\n"
Json = dict[str, Any]


@dataclass(frozen=True)
class Incident:
    """What happens to `service` from `start` (Unix ms) on: a minute of peace, a change, and soon its harm."""

    service: str
    start: int
    seed: int = 1
    harmful: bool = True

    @property
    def moment(self) -> int:
        """When the change was made."""
        return self.start + BEFORE_S * 1_000 - 500

    @cached_property
    def change(self) -> Json:
        return {
            "id": f"{self.service}-2",
            "service": self.service,
            "environment": "production",
            "time": self.moment,
            "version": "v2",
            "previous_version": "v1",
        }

    @cached_property
    def telemetry(self) -> list[Json]:
        """One record a second and instance, in the order of time."""
        rng = np.random.default_rng(self.seed)
        return [
            self._sample(second, instance, rng)
            for second in range(BEFORE_S + CALM_S + AFTER_S)
            for instance in range(INSTANCES)
        ]

    def _sample(self, second: int, instance: int, rng: np.random.Generator) -> Json:
        new = instance == 0 and second >= BEFORE_S
        failing = new and self.harmful and second >= BEFORE_S + CALM_S
        requests = int(rng.poisson(25))
        errors = int(rng.binomial(requests, 0.3 if failing else 0.003))
        times = [self.start + second * 1_000]
        return {
            "resource": {
                "service.name": self.service,
                "service.version": "v2" if new else "v1",
                "service.instance.id": f"{self.service}-{instance}{'-new' if new else ''}",
                "deployment.environment.name": "production",
            },
            "metrics": [
                {"name": "http.server.requests", "kind": "delta", "times": times, "values": [requests]},
                {"name": "http.server.errors", "kind": "delta", "times": times, "values": [errors]},
            ],
        }

    def until(self, second: int) -> list[Json]:
        """The telemetry before this second."""
        return self.telemetry[: second * INSTANCES]

    def since(self, second: int) -> list[Json]:
        return self.telemetry[second * INSTANCES :]

    def one_record_an_instance(self) -> list[Json]:
        """The same samples, all of one instance in one record."""
        merged: dict[str, Json] = {}
        for record in self.telemetry:
            whole = merged.setdefault(record["resource"]["service.instance.id"], {**record, "metrics": {}})
            for metric in record["metrics"]:
                column = whole["metrics"].setdefault(metric["name"], {**metric, "times": [], "values": []})
                column["times"] += metric["times"]
                column["values"] += metric["values"]
        return [{**record, "metrics": list(record["metrics"].values())} for record in merged.values()]

    @cached_property
    def freezes(self) -> list[Freeze]:
        """What replay makes of the same records."""
        return replayed([self.change], self.telemetry)

    @property
    def freeze(self) -> Freeze:
        [freeze] = self.freezes
        return freeze


def replayed(changes: Sequence[Json], telemetry: Sequence[Json], policy: str = POLICY) -> list[Freeze]:
    """The freezes that replay decides on."""
    read = [change for record in changes for change in decode_changes("haltline.changes", encoded(record), {})]
    columns = [decode_telemetry("haltline.telemetry", encoded(record), {}) for record in telemetry]
    return [one for one in decide(read, columns, parse_policy(policy)[0]) if isinstance(one, Freeze)]


def encoded(record: object) -> bytes:
    return json.dumps(record).encode()
