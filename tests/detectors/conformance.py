"""One shape over every detector, so that one kit can hold them all to what they share.

A subject learns from a past, float64[n, 3]: three old members, looks in rows, NaN = missing. A run started from that
takes looks in blocks, float64[k, 4]: the new member, then the old ones. Detectors of one series take the first column.
A new detector earns its place here with a subject in `SUBJECTS`; the tests are in `test_conformance.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.concurrent import ConcurrentTest, calibrate_concurrent
from detectors.counts import CountsTest, calibrate_counts
from detectors.order import OrderTest
from detectors.own_past import Calibration, calibrate
from detectors.pool import LENGTH, Pool
from detectors.replaced import ReplacedTest
from detectors.river_detector import RiverDetector
from detectors.silence import gap_log_p, traffic_shun

Floats = NDArray[np.float64]
Told = dict[str, Floats]
"""What a run says of each look of a block; `log_p` is always among it."""
Run = Callable[[Floats], Told]

WATCH, PERIOD, END = 30, 60.0, 1_700_000_000.0
YOUNG = 60
"""Samples of a service that has to borrow."""


@dataclass(frozen=True)
class Learned:
    """What a subject knows of a past: whether that is enough to judge by, and a new run for each call of `start`."""

    ready: bool
    start: Callable[[], Run]


@dataclass(frozen=True)
class Subject:
    """A detector in the common shape.

    `needs`: present samples of each old member without which it is not ready. `unit`: whether values of any unit give
    the same answer. `calibrated`: whether what the past was full of is no evidence. `beside`: whether old members that
    run beside the new one are the control. `made`: numbers of its kind, from numbers around 20.
    """

    learn: Callable[[Floats], Learned]
    needs: int = 0
    unit: bool = True
    calibrated: bool = True
    beside: bool = False
    made: Callable[[Floats], Floats] = lambda values: values


def _fields(evidence: Any, names: tuple[str, ...], log_p: Floats) -> Told:
    return {"log_p": log_p} | {name: np.asarray(getattr(evidence, name), np.float64) for name in names}


def _own_past(kind: str = "value") -> Callable[[Floats], Learned]:
    def learn(past: Floats) -> Learned:
        return _looking(calibrate(past[:, 0], period=PERIOD, end=END, watch=WATCH, kind=kind))

    return learn


def _borrowed(past: Floats) -> Learned:
    """An hour of the first member, and the whole past of the others in many services to borrow from."""
    others = past[:, 1:] if len(past) >= YOUNG else 20.0 * np.random.default_rng(7).lognormal(0.0, 0.1, (400, 2))
    pool = Pool.of([others[:, i % 2] * (1.0 + 0.1 * i) for i in range(8)], watch=WATCH)
    return _looking(calibrate(past[-YOUNG:, 0], period=PERIOD, end=END, watch=WATCH, pooled=pool))


def _looking(known: Calibration) -> Learned:
    def start() -> Run:
        looks = known.start()

        def run(block: Floats) -> Told:
            found = looks.update(block[:, 0])
            return _fields(found, ("effect", "expected"), found.log_p)

        return run

    return Learned(known.ready, start)


def _river(past: Floats) -> Learned:
    """A forest on the vector of the members, its score judged by its own past as the stream does it."""
    quarter = len(past) // 4
    forest = {"n_trees": 5, "height": 5, "window_size": 50}
    known = calibrate(
        RiverDetector("river.anomaly.HalfSpaceTrees", forest, past).scores[quarter:],
        period=PERIOD, end=END, watch=WATCH, harm="up",
    )  # fmt: skip

    def start() -> Run:
        detector = RiverDetector("river.anomaly.HalfSpaceTrees", forest, past)
        looks = known.start()

        def run(block: Floats) -> Told:
            scores = detector.update(block[:, :3])
            return {"log_p": looks.update(scores).log_p, "scores": scores}

        return run

    return Learned(known.ready, start)


def _concurrent(past: Floats) -> Learned:
    known = calibrate_concurrent(past, period=PERIOD, watch=WATCH)

    def start() -> Run:
        test = ConcurrentTest(known)

        def run(block: Floats) -> Told:
            found = test.update(block[:, :1], block[:, 1:])
            return _fields(found, ("effect", "statistic", "samples"), found.log_p)

        return run

    return Learned(known.ready, start)


def _replaced(past: Floats) -> Learned:
    """The first member is new, the others are gone."""
    known = calibrate_concurrent(past, period=PERIOD, watch=WATCH)

    def start() -> Run:
        test = ReplacedTest(known)

        def run(block: Floats) -> Told:
            found = test.update(block[:, :1], np.full_like(block[:, 1:], np.nan))
            return _fields(found, ("effect", "samples"), found.log_p)

        return run

    return Learned(ReplacedTest(known).ready, start)


def _order(past: Floats) -> Learned:
    def start() -> Run:
        test = OrderTest(history=past[-30:])

        def run(block: Floats) -> Told:
            found = test.update(block[:, :1], block[:, 1:])
            return _fields(found, ("log_e", "effect", "samples"), -np.maximum(found.log_e_max, 0.0))

        return run

    return Learned(True, start)


def _counts(past: Floats) -> Learned:
    """Events of a hundred requests a look and member."""
    known = calibrate_counts(past, _exposure(past))

    def start() -> Run:
        test = CountsTest(known)

        def run(block: Floats) -> Told:
            exposure = _exposure(block)
            old, beside = np.nansum(block[:, 1:], axis=1), np.nansum(exposure[:, 1:], axis=1)
            found = test.update(block[:, 0], exposure[:, 0], old, beside)
            return _fields(found, ("log_e", "new_ratio", "old_recent"), -found.log_e_max)

        return run

    return Learned(known.ready, start)


def _shun(past: Floats) -> Learned:
    """Requests of a look and member, where the new one may get none."""
    known = traffic_shun(past).calibration

    def start() -> Run:
        test = traffic_shun(past)

        def run(block: Floats) -> Told:
            there = np.isfinite(block).astype(np.float64)
            found = test.update(block[:, 0], there[:, 0], np.nansum(block[:, 1:], axis=1), there[:, 1:].sum(axis=1))
            return _fields(found, ("log_e",), -found.log_e_max)

        return run

    return Learned(known.ready, start)


def _silence(past: Floats) -> Learned:
    """Whether a sample came at all is everything."""
    gaps = np.diff(np.flatnonzero(np.isfinite(past[:, 0]))) * PERIOD

    def start() -> Run:
        state = [0.0, 0.0]

        def run(block: Floats) -> Told:
            out = np.empty(len(block))
            for i, value in enumerate(block[:, 0]):
                state[0] = 0.0 if np.isfinite(value) else state[0] + PERIOD
                state[1] = min(state[1], gap_log_p(gaps, state[0], PERIOD, watch=WATCH).log_p)
                out[i] = state[1]
            return {"log_p": out}

        return run

    return Learned(len(gaps) >= 10, start)


def _exposure(events: Floats) -> Floats:
    return np.where(np.isfinite(events), 100.0, np.nan)


def _whole(values: Floats) -> Floats:
    """Counts: what is less than nothing is nothing, and nobody counts to more than a million in a look."""
    return np.floor(np.clip(values, 0.0, 1e6))


def _of_hundred(values: Floats) -> Floats:
    """Events of a hundred requests."""
    return np.floor(np.clip(values, 0.0, 100.0))


def _success(values: Floats) -> Floats:
    return 100.0 - np.clip(np.abs(values) / 20.0, 0.0, 100.0)


SUBJECTS: Mapping[str, Subject] = {
    "own past": Subject(_own_past(), needs=100),
    "own past, counts": Subject(_own_past("count"), needs=100, unit=False, made=_whole),
    "own past, ratio": Subject(_own_past("ratio"), needs=100, unit=False, made=lambda values: np.abs(values) / 1_000),
    "own past, success": Subject(_own_past("bounded"), needs=100, unit=False, made=_success),
    "own past, borrowed": Subject(_borrowed, needs=2 * LENGTH),
    "river on its own past": Subject(_river, needs=133),
    "concurrent": Subject(_concurrent, needs=13, beside=True),
    "replaced": Subject(_replaced, needs=13, beside=True),
    "order": Subject(_order, calibrated=False, beside=True),
    "counts": Subject(_counts, needs=10, unit=False, beside=True, made=_of_hundred),
    "traffic": Subject(_shun, needs=10, unit=False, beside=True, made=_whole),
    "silence": Subject(_silence, needs=11),
}
