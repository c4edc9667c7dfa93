"""A recorded history with one harmful change among harmless ones: three services, two metrics, two days of minutes."""

from __future__ import annotations

import numpy as np

from deploy.change import Change, Phase
from tests.factories import NOON, Recording, change, gauges

MINUTE = 60_000
DAY = 24 * 60 * MINUTE
START = NOON - 2 * DAY
SERVICES = ("cart", "checkout", "payment")
#: When the harmful change of checkout was made, and for how long it did harm.
HARM = START + 2_300 * MINUTE + 30_000
LASTED = 20
ROWS = 2_880


def telemetry(seed: int = 0, rows: int = ROWS, factor: float = 3.0) -> Recording:
    """Latency and cpu of each service; the harmful change makes checkout's latency `factor` times as long."""
    rng = np.random.default_rng(seed)
    said: Recording = {}
    for service in SERVICES:
        latency = 0.2 * rng.lognormal(0.0, 0.08, rows)
        cpu = 40.0 * rng.lognormal(0.0, 0.05, rows)
        if service == "checkout":
            first = (HARM - START) // MINUTE + 3
            latency[first : first + LASTED] *= factor
        said |= gauges({"latency": latency.tolist(), "cpu": cpu.tolist()}, start=START, service=service)
    return said


def changes() -> list[Change]:
    """The harmful change, taken back after its harm; a harmless one of each service."""
    harmless = [
        change(f"ok-{service}", service=service, time=START + (900 + 97 * turn) * MINUTE, version="")
        for turn, service in enumerate(SERVICES)
    ]
    harmful = change("bad", time=HARM, version="")
    taken_back = change("bad", time=HARM + (3 + LASTED) * MINUTE, phase=Phase.ROLLED_BACK, version="")
    return [*harmless, harmful, taken_back]
