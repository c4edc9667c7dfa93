"""Small vectors that other judges got wrong, each as a canary through `haltline replay`: trips, or rightly does not.

New instances beside old ones, a sample a minute, each vector a replay of its own that ends with its last sample. A few
samples before say how often one comes; one vector has none. Right is a freeze where it must trip; where it must not,
none, and without any number to compare with never `healthy`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.cases import SEED, Case, Truth, change, policy
from bench.data import Floats, Json, milliseconds
from bench.run_replay import Outcome, command, run
from bench.tables import table

START_MS = milliseconds("2024-03-04T10:00:00Z")
MINUTE_MS = 60_000
WATCH = 60


@dataclass(frozen=True, eq=False)
class Vector:
    """`new` and `old` float64[samples, instances] after the change, `before` those of the old ones before it.

    With `requests` the values are errors of so many requests a sample. `trips` is what a judge must do.
    """

    name: str
    trips: bool
    new: Floats
    old: Floats
    before: Floats
    requests: float | None = None


def vectors() -> list[Vector]:
    """All of them, the same every time."""
    rng = np.random.default_rng(SEED)
    ones, none, some = np.ones((10, 3)), np.empty((0, 3)), np.ones((3, 3))
    high = np.array([1.0, 1.0, 1.0] + [100.0] * 7)[:, None]
    zero, once = np.zeros((14, 1)), np.ones((11, 1))
    few = np.array([0.0, 1.0, 2.0, 1.0, 0.0, 0.0])[:, None]
    unknown = np.full((40, 3), np.nan)
    return [
        Vector("7 of 10 at 100 against 1, 40 samples before", True, high, ones, np.ones((40, 3))),
        Vector("7 of 10 at 100 against 1, 3 samples before", True, high, ones, some),
        Vector("7 of 10 at 100 against 1, nothing before", True, high, ones, none),
        Vector("11 errors against 0, equal exposure", True, once, zero[:11], zero[:3], 100.0),
        Vector("[0,1,2,1,0,0] errors against zeros", False, few, zero[:6], zero[:3], 100.0),
        *(_wild(rng, draw) for draw in range(1, 6)),
        Vector("ties: all values equal", False, np.ones((30, 1)), np.ones((30, 3)), np.ones((40, 3))),
        Vector("baseline all NaN", False, high, unknown[:10], unknown),
        Vector("history NaN, the old beside it known: 7 of 10 at 100", True, high, ones, unknown),
    ]


def _wild(rng: np.random.Generator, draw: int) -> Vector:
    wild, calm = 100 + 30 * rng.standard_normal((60, 1)), 100 + 5 * rng.standard_normal((300, 3))
    return Vector(f"standard deviation x6, draw {draw} of 5", True, wild, calm[240:], calm[:240])


def case(vector: Vector) -> Case:
    """One replay of it."""
    record = change("vector", "vector", START_MS, instances=[f"new-{i}" for i in range(vector.new.shape[1])])
    truth = Truth("vector", MINUTE_MS, START_MS, START_MS if vector.trips else None, vector.name)
    whole = np.concatenate([vector.before, vector.old])
    telemetry = [_record(vector, f"new-{i}", column, 0) for i, column in enumerate(vector.new.T)]
    telemetry += [_record(vector, f"old-{i}", column, len(vector.before)) for i, column in enumerate(whole.T)]
    return Case("vector", [record], telemetry, policy(watch_s=WATCH * 60, samples=WATCH), {"vector": truth})


def _record(vector: Vector, instance: str, values: Floats, before: int) -> Json:
    times = [START_MS + MINUTE_MS * (i - before) + MINUTE_MS // 2 for i in range(len(values))]
    numbers = [None if value != value else value for value in values.tolist()]
    columns: list[Json] = [{"name": "value", "kind": "gauge", "times": times, "values": numbers}]
    if vector.requests is not None:
        columns = [
            {"name": "calls.errors", "kind": "delta", "times": times, "values": numbers},
            {"name": "calls.requests", "kind": "delta", "times": times, "values": [vector.requests] * len(times)},
        ]
    resource = {
        "service.name": "vector", "service.instance.id": instance, "deployment.environment.name": "production",
    }  # fmt: skip
    return {"resource": resource, "metrics": columns}


def right(vector: Vector, said: Outcome) -> bool:
    """Whether that is what a judge must say."""
    if vector.trips:
        return said.frozen_ms is not None
    compared = bool(np.isfinite(vector.old).any())
    return said.frozen_ms is None and (compared or said.state != "healthy")


def measure() -> list[tuple[Vector, Outcome]]:
    """What is said of each."""
    return [(vector, run(case(vector)).outcomes["vector"]) for vector in vectors()]


def main(argv: Sequence[str]) -> int:
    """Print one line a vector; 1 if any is judged wrongly."""
    argparse.ArgumentParser(prog="python -m bench vectors", description=__doc__).parse_args(list(argv))
    command()
    found = measure()
    rows = [
        [vector.name, "trip" if vector.trips else "no trip", said.state, "right" if right(vector, said) else "WRONG",
         said.reason[:90]]
        for vector, said in found
    ]  # fmt: skip
    print(table("vectors that other judges got wrong", ["", "must", "verdict", "", "because"], rows))
    return 0 if all(right(vector, said) for vector, said in found) else 1
