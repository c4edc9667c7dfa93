"""What a point, a series and a calibration cost: online and lazy past, the live watch, river and a rolling z in numpy.

Everything in one run on one core, in processor time, so that the ratios hold on any machine: each figure is the median
of many equal parts, with the cheapest beside it. Series are log-normal noise around a daily swing, one sample a minute.
river's detectors are one object a series, as they are meant to be used; their bytes are those that Python knows of.
"""

from __future__ import annotations

import argparse
import json
import sys
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import thread_time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from river.anomaly import HalfSpaceTrees
from river.drift import ADWIN

from bench import OUT
from bench.tables import short, table
from deploy.policy import Policy
from detectors.online_past import OnlinePast
from detectors.own_past import calibrate
from stream.columns import Columns, SeriesKey
from stream.samples import Samples
from stream.series import Series
from stream.watch import Watch

Floats = NDArray[np.float64]

MINUTE = 60_000
START = 1_700_006_400_000
WATCH = 60
DAYS = 1.5
"""The season is known after a day: what a point costs then is measured."""
ROLLING = 60
KEPT = 4_032
"""Raw samples that the lazy past reads: two weeks at five minutes."""
LIVE_WARM = 640


@dataclass(frozen=True)
class Cost:
    """One way to follow series: microseconds a point (median, best), bytes a series, milliseconds a calibration."""

    name: str
    series: int
    point_us: float
    point_best_us: float
    series_bytes: float
    calibration_ms: float | None = None


def samples(series: int, steps: int, seed: int = 1) -> Iterator[tuple[int, Floats]]:
    """Time in ms and one value of each series, ``steps`` times; drawn from 97 rows of noise in turn."""
    rng = np.random.default_rng(seed)
    level = rng.lognormal(3.0, 1.0, series)
    rows = rng.lognormal(0.0, 0.1, (97, series)) * level
    for step in range(steps):
        swing = 1.0 + 0.5 * np.sin(2.0 * np.pi * step / 1440.0)
        yield START + step * MINUTE, rows[step % 97] * swing


def timed(
    take: Callable[[int, Floats], object], feed: Iterator[tuple[int, Floats]], series: int
) -> tuple[float, float]:
    """Median and best microseconds a point of ``take``, in parts of ten steps."""
    spent, parts = 0.0, []
    for number, (time, values) in enumerate(feed, 1):
        begin = thread_time()
        take(time, values)
        spent += thread_time() - begin
        if number % 10 == 0:
            parts.append(spent)
            spent = 0.0
    each = 1e6 * np.array(parts) / (10.0 * series)
    return float(np.median(each)), float(each.min())


def milliseconds(call: Callable[[int], object], times: int) -> float:
    """Median milliseconds of a call, after one for warming up."""
    call(0)
    parts = []
    for number in range(times):
        begin = thread_time()
        call(number)
        parts.append(thread_time() - begin)
    return 1e3 * float(np.median(parts))


def online(series: int, steps: int) -> Cost:
    """The online past, all series at once."""
    past, rows = OnlinePast(series), np.arange(series)
    warm = int(DAYS * 1440.0)
    feed = samples(series, warm + steps)

    def take(time: int, values: Floats) -> None:
        past.update(rows, np.full(series, time), values)

    for _ in range(warm):
        take(*next(feed))
    point, best = timed(take, feed, series)
    calibration = milliseconds(lambda n: past.calibration(n % series, watch=WATCH), 200)
    return Cost("online past", series, point, best, past.nbytes / past.capacity, calibration)


def lazy(steps: int) -> Cost:
    """The lazy past: two weeks of raw samples are kept, and read out when a change starts."""
    # Storing is one call a series and message, here of one sample; a hundred series that have been full once.
    store = Samples()
    many = [Series(SeriesKey(f"s{i}", "production", "latency", (), "1", "a"), store) for i in range(100)]
    feed = samples(len(many), KEPT + 64 + steps)
    block = [next(feed) for _ in range(KEPT + 64)]
    times = np.array([time for time, _ in block])
    values = np.array([row for _, row in block])
    for number, one in enumerate(many):
        one.extend(times, values[:, number])
        one.trim(int(times[64]))

    def take(time: int, row: Floats) -> None:
        moment = np.array([time])
        for number, one in enumerate(many):
            one.extend(moment, row[number : number + 1])

    point, best = timed(take, feed, len(many))
    size = store.nbytes / len(many)
    end = int(many[0].times[-1]) / 1000.0
    calibration = milliseconds(
        lambda n: calibrate(many[n % len(many)].values[-KEPT:], period=60.0, end=end, watch=WATCH), 100
    )
    return Cost("lazy past", len(many), point, best, size, calibration)


def live(services: int, steps: int) -> Cost:
    """The watch as a worker has it: services of ten series each, a message a service and minute, learned as they come.

    Bytes are all that Python knows of: rows, raw samples, keys and books. A calibration is a change's, over its series.
    """
    each = 10
    keys = [
        tuple(SeriesKey(f"s{i:05d}", "production", f"m{j}", (), "", "") for j in range(each)) for i in range(services)
    ]
    index = np.arange(each, dtype=np.int32)
    feed = samples(services * each, LIVE_WARM + steps)
    tracemalloc.start()
    watch = Watch(Policy())

    def take(time: int, row: Floats) -> None:
        times = np.full(each, time)
        for number, own in enumerate(keys):
            watch.telemetry(Columns(own, index, times, row[number * each : (number + 1) * each]))

    for _ in range(LIVE_WARM):
        take(*next(feed))
    # Rows are made for thousands at once, and the rest of them will be used.
    spare = (watch.store.past.capacity - watch.store.rows) * watch.store.past.row_bytes
    size = (tracemalloc.get_traced_memory()[0] - spare) / watch.series
    tracemalloc.stop()
    point, best = timed(take, feed, services * each)
    chosen = list(watch.services())

    def begin(number: int) -> None:
        service = chosen[number % len(chosen)]
        for own in (service.past(service.clock, "", service.series) or {}).values():
            own.calibration(watch=WATCH, harm="both", least_effect=None, relative=True)

    return Cost("live watch", services * each, point, best, size, milliseconds(begin, 50) / each)


def of_objects(name: str, make: Callable[[int], Callable[[float], object]], series: int, steps: int) -> Cost:
    """One detector object a series; its bytes are what the allocations of making and feeding them leave behind."""
    feed = samples(series, 300 + steps)
    early = [next(feed) for _ in range(300)]
    tracemalloc.start()
    detectors = [make(number) for number in range(series)]
    for _, values in early:
        for detector, value in zip(detectors, values.tolist(), strict=True):
            detector(value)
    size = tracemalloc.get_traced_memory()[0] / series
    tracemalloc.stop()

    def take(_: int, values: Floats) -> None:
        for detector, value in zip(detectors, values.tolist(), strict=True):
            detector(value)

    point, best = timed(take, feed, series)
    return Cost(name, series, point, best, size)


def trees(number: int) -> Callable[[float], object]:
    """river's half-space trees with their defaults, scored and taught with each value (scaled to 0 … 1)."""
    model: Any = HalfSpaceTrees(seed=number)

    def take(value: float) -> float:
        x = {"value": value / (value + 20.0)}
        score = model.score_one(x)
        model.learn_one(x)
        return float(score)

    return take


def adwin(_: int) -> Callable[[float], object]:
    """river's ADWIN with its defaults."""
    untyped: Any = ADWIN
    model = untyped()

    def take(value: float) -> bool:
        model.update(value)
        return bool(model.drift_detected)

    return take


def rolling(series: int, steps: int) -> Cost:
    """The distance from the mean of the last 60 in standard deviations, plain numpy over all series at once."""
    ring = np.zeros((ROLLING, series), dtype=np.float32)
    total, square, place = np.zeros(series), np.zeros(series), 0

    def take(_: int, values: Floats) -> Floats:
        nonlocal place
        mean = total / ROLLING
        z = (values - mean) / np.sqrt(np.maximum(square / ROLLING - mean * mean, 1e-12))
        kept, old = values.astype(np.float32), ring[place].astype(np.float64)
        np.add(total, kept - old, out=total)
        np.add(square, kept.astype(np.float64) ** 2 - old * old, out=square)
        ring[place] = kept
        place = (place + 1) % ROLLING
        return np.asarray(z)

    feed = samples(series, 2 * ROLLING + steps)
    for _ in range(2 * ROLLING):
        take(*next(feed))
    point, best = timed(take, feed, series)
    return Cost("rolling z, numpy", series, point, best, (ring.nbytes + total.nbytes + square.nbytes) / series)


def draw(costs: Sequence[Cost], path: Path) -> None:
    """Three panels of bars: point, series, calibration."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    panels: list[tuple[str, str, Callable[[Cost], float | None], float]] = [
        ("a point", "µs", lambda c: c.point_us, 0.15),
        ("a series", "bytes", lambda c: c.series_bytes, 2048.0),
        ("a calibration", "ms", lambda c: c.calibration_ms, 5.0),
    ]
    figure, axes = pyplot.subplots(1, 3, figsize=(13, 3.6), constrained_layout=True)
    for axis, (title, unit, get, goal) in zip(axes, panels, strict=True):
        known = [(f"{c.name} ({c.series:,})", value) for c in costs if (value := get(c)) is not None][::-1]
        bars = axis.barh([name for name, _ in known], [value for _, value in known], color="#4a7fb5")
        axis.bar_label(bars, [short(value) for _, value in known], padding=3)
        axis.axvline(goal, color="#b5484a", linestyle="--", zorder=0)
        axis.set_xscale("log")
        sizes = [value for _, value in known]
        axis.set_xlim(min(sizes) / 3.0, max(sizes) * (max(sizes) / min(sizes)) ** 0.5 * 3.0)
        axis.set_title(f"{title}, {unit} (goal {goal:g}, dashed)")
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def measure(*, quick: bool = False) -> list[Cost]:
    """Every way, the smaller parts first; ``quick`` takes about a fifth of the time."""
    steps = 50 if quick else 300
    few = 20 if quick else 100
    return [
        online(1_000, steps),
        *([] if quick else [online(20_000, steps)]),
        lazy(steps),
        live(20 if quick else 200, steps),
        of_objects("river HalfSpaceTrees", trees, few, 20),
        of_objects("river ADWIN", adwin, few, 50),
        rolling(1_000 if quick else 20_000, steps),
    ]


def main(argv: Sequence[str]) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m bench cost", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer series and points")
    parser.add_argument("--out", type=Path, default=OUT, help="where cost.json and .png go (default: %(default)s)")
    given = parser.parse_args(argv)
    costs = measure(quick=given.quick)
    first = costs[0]
    rows = [
        [
            f"{c.name}, {c.series:,} series", f"{c.point_us:.3f}", f"{c.point_best_us:.3f}",
            f"{c.point_us / first.point_us:,.1f}", f"{c.series_bytes:,.0f}",
            "-" if c.calibration_ms is None else f"{c.calibration_ms:.2f}",
        ]
        for c in costs
    ]  # fmt: skip
    header = ["", "µs a point", "best", f"of {first.name}", "bytes a series", "ms a calibration"]
    print(table("processor time on one core; goals .15 µs, 2,048 bytes, 5 ms", header, rows))
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "cost.json").write_text(json.dumps([asdict(c) for c in costs], indent=1) + "\n")
    draw(costs, given.out / "cost.png")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
