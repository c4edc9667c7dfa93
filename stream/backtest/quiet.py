"""Quiet moments: where a service's own telemetry runs on and nothing is known to have happened.

A change put there is harmless by construction, so each freeze of one is a freeze for nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

import msgspec
import numpy as np

from deploy.policy import Policy
from detectors.own_past import NEEDED
from detectors.transform import fit
from stream.columns import Columns, Float64, Int64, SeriesKey, split

#: Services get their moments at different rows, so that not everything changes in the same minute.
_STAGGER = 7
#: A service whose newest sample is older than so many periods says nothing at that moment.
_STALE = 3
#: First samples of a series by which its kind is told.
_TASTED = 1_000

T = TypeVar("T")


class Life(msgspec.Struct, frozen=True):
    """When one series was heard of (Unix ms), and whether it began as a success rate: 1 or 100 is perfect."""

    first: int
    last: int
    bounded: bool


class History(msgspec.Struct, frozen=True):
    """What was recorded of one service in one environment.

    `period` is the usual step of its series in ms, `times` (int64[n]) when its most talkative one was sampled.
    """

    service: str
    environment: str
    period: int
    times: Int64
    series: dict[SeriesKey, Life]
    samples: int

    def beside(self, start: int, end: int) -> list[str]:
        """The instances that ran from `start` to `end`; empty unless several of them report the same metric."""
        by_metric: dict[tuple[str, object], set[str]] = {}
        for key, life in self.series.items():
            if key.instance and life.first <= start and life.last >= end:
                by_metric.setdefault((key.metric, key.attributes), set()).add(key.instance)
        groups = sorted(sorted(names) for names in by_metric.values())
        return max(groups, key=len, default=[])


Stretch = tuple[int, int]


def histories(columns: Iterable[Columns]) -> list[History]:
    """The services in these samples, by name and environment."""
    parts: dict[SeriesKey, list[tuple[Int64, Float64]]] = {}
    for one in columns:
        for key, times, values in split(one):
            parts.setdefault(key, []).append((times, values))
    services: dict[tuple[str, str], dict[SeriesKey, tuple[Int64, bool]]] = {}
    for key in sorted(parts):
        times, first = np.unique(np.concatenate([part[0] for part in parts[key]]), return_index=True)
        values = np.concatenate([part[1] for part in parts[key]])[first[:_TASTED]]
        services.setdefault((key.service, key.environment), {})[key] = times, fit(values).form == "bounded"
    return [_history(*identity, series) for identity, series in sorted(services.items())]


def _history(service: str, environment: str, series: dict[SeriesKey, tuple[Int64, bool]]) -> History:
    steps = sorted(int(np.median(np.diff(times))) for times, _ in series.values() if len(times) > 1)
    longest = max((times for times, _ in series.values()), key=len)
    return History(
        service,
        environment,
        steps[(len(steps) - 1) // 2] if steps else 0,
        longest,
        {key: Life(int(times[0]), int(times[-1]), bounded) for key, (times, bounded) in series.items()},
        sum(len(times) for times, _ in series.values()),
    )


def quiet_moments(history: History, policy: Policy, blocked: Sequence[Stretch], turn: int) -> list[int]:
    """Moments (Unix ms) between two samples from which a whole watch lies outside of every `blocked` stretch.

    They follow each other at the distance of a watch, begin after as many samples as a past needs, and have a sample
    shortly before them.
    """
    if not history.period:
        return []
    length = policy.watch.length(history.period)
    rows = max(1, -(-length // history.period))
    times = history.times
    found = []
    for row in range(NEEDED + turn * _STAGGER % rows, len(times), rows):
        moment = int(times[row]) + history.period // 2
        following = int(times[row + 1]) if row + 1 < len(times) else moment
        if following <= moment:
            moment = (int(times[row]) + following) // 2
        end = moment + length
        if end + history.period > int(times[-1]) or following - int(times[row]) > _STALE * history.period:
            continue
        if not any(start < end and moment < stop for start, stop in blocked):
            found.append(moment)
    return found


def thin(items: Sequence[T], most: int) -> list[T]:
    """At most `most` of the items, evenly spread: always the same ones.

    >>> thin(range(10), 3)
    [0, 3, 6]
    """
    if len(items) <= most:
        return list(items)
    return [items[i * len(items) // most] for i in range(most)]
