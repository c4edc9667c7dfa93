"""Rows of the table of goals that are simulated from real noise, or need no data at all, with fewer runs each."""

from __future__ import annotations

from collections.abc import Iterator
from math import log

import numpy as np

from bench import attribution, canary, classes, cost, lorden, minute_canaries, nab, peeking
from bench.attribution import NONE
from bench.goals import Line, lone, share_line
from bench.judged import share
from bench.minute_canaries import delay, middle
from bench.replayed_rows import Cut, Row
from bench.tables import pair, short
from bench.telemetry import present
from deploy.policy import Breaker


def minutes(cut: Cut) -> Iterator[Line]:
    """Minute canaries."""
    found = minute_canaries.run(range(1, 2 * cut.few(150, 6), 2))
    harmful = [one for one in found if one.incident.guilty]
    delays = [delay(one) for one in harmful]
    caught = sum(one < np.inf for one in delays)
    command = "minute_canaries"
    yield share_line("minute canaries: harmful ones caught", caught, len(harmful), 0.90, command)
    median = middle(delays)
    figure = f"{pair(median)} (median / p90 of the caught)"
    yield Line("minute canaries: samples of harm", "median <= 2", figure, median[0] <= 2, command)
    benign = [(one, change) for one in found for change in one.last if change != one.incident.guilty]
    frozen = sum(change in one.frozen for one, change in benign)
    figure = canary.per_thousand(frozen, len(benign))
    kept = 1000 * frozen / len(benign) <= 10
    yield Line("minute canaries: benign frozen per 1,000", "<= 10", figure, kept, command)
    first = sum(bool(one.first()) for one in harmful)
    yield share_line("minute canaries: guilty first", first, len(harmful), 0.93, command)


def canaries(cut: Cut) -> Iterator[Line]:
    """Counts a second, bursts and unequal instances."""
    runs = cut.few(300, 6)
    for requests in (20.0, 100.0, 2000.0):
        hits = canary.counts_healthy(runs, requests)
        few = lone(hits, runs, 5) or (not hits and 1000 * canary.wilson(0, runs)[1] > 5)
        kept = None if few else 1000 * hits / runs <= 5
        figure = canary.per_thousand(hits, runs) + (", too few to tell" if kept is None else "")
        row = f"canaries: healthy tripped per 1,000 days, {requests:g}/s"
        yield Line(row, "<= 5", figure, kept, "canary")
    runs = cut.few(200, 20)
    late = canary.counts_delay(runs, 100.0, 200.0, 0, noisy=True)
    figure = f"median {short(float(np.median(late)))}, p90 {short(float(np.quantile(late, 0.9)))} s of {runs}"
    row = "canaries: errors .5 -> 5 % at 100/s, with bursts"
    yield Line(row, "median <= 5 s", figure, bool(np.median(late) <= 5.0), "canary")
    for requests, noisy in ((100.0, False), (100.0, True), (1000.0, False), (1000.0, True)):
        found = canary.counts_delay(runs, requests, 1e4, 60, noisy=noisy)
        met = found[np.isfinite(found)]
        ratio = float(met.mean() / (log(1e4) / canary.information(requests)))
        kind = "bursts" if noisy else "Poisson"
        row = f"canaries: delay over Lorden's bound, {kind}, {requests:g}/s"
        figure = f"{ratio:.2f} (caught {met.size} of {runs})"
        yield Line(row, "<= 1.5", figure, ratio <= 1.5, "canary")


def looks(cut: Cut) -> Iterator[Line]:
    """Looking all the time."""
    for name, many, hits, runs in peeking.measure(cut.few(300, 10)):
        if name.startswith("z "):
            row, goal, kept = f"peeking, for comparison: {name}", "none", None
        else:
            # At exactly 5 % half of all measurements are above it: missed is what lies above with its whole interval.
            row, goal, kept = f"peeking at alpha 5 %: {name}", "<= .05", canary.wilson(hits, runs)[0] <= 0.05
        yield Line(f"{row}, {many:,} looks", goal, share(hits, runs), kept, "peeking")


def shifts(cut: Cut) -> Iterator[Line]:
    """The own past on exchangeable noise."""
    runs, alpha = cut.few(400, 20), Breaker().error_rate
    for shift in lorden.SHIFTS[:2]:
        found = lorden.delays(runs, shift, alpha)
        met = found[np.isfinite(found)]
        ratio = lorden.mean_delay(found) / lorden.bound(shift, alpha)
        figure = f"{ratio:.2f} (caught {share(met.size, runs)})"
        row = f"own past of 4,032 samples: delay over Lorden's bound, {shift:g} sigma"
        yield Line(row, "<= 1.5", figure, ratio <= 1.5, "lorden")
        if shift == 1.0:
            row = "own past of 4,032 samples: 1 sigma caught at all"
            yield Line(row, "> 0", share(met.size, runs), met.size > 0, "lorden")


def blame(cut: Cut) -> Iterator[Line]:
    """Who did it, among several."""
    found = attribution.run(range(1, 2 * cut.few(120, 6), 2))
    command = "attribution"
    guilty = [one for one in found if one.incident.guilty]
    yield share_line("attribution: guilty first", sum(bool(one.first()) for one in guilty), len(guilty), 0.93, command)
    nobody = [one for one in found if one.incident.kind in NONE]
    said = sum(one.nobody for one in nobody)
    yield share_line("attribution: nobody said when nobody did it", said, len(nobody), 0.95, command)
    same, of = attribution.again(found[: cut.few(40, 4)])
    yield Line("attribution: same answer in any order", "always", f"{same} of {of}", same == of, command)


def accusations(cut: Cut) -> Iterator[Line]:
    """Classes of changes: one bad release of a tool, and days on which no class is worse than the rest."""
    days, command = cut.few(100, 4), "classes"
    found = classes.noticed(classes.USUAL, days, 10_000)
    figure = f"{pair((found.median, found.p90))} (median / p90), {found.missed} of {days} days missed"
    row = "classes: harmful changes until a bad tool release is accused"
    yield Line(row, "median <= 5", figure, found.median <= classes.HARMFUL_GOAL, command)
    calm = classes.harmless("500 changes", classes.Day(), days, 20_000)
    figure = f"{calm.a_class_a_day:.3%}, upper {calm.upper:.3%} ({calm.accused} of {calm.class_days:,})"
    row = "classes: harmless ones accused in a day"
    yield Line(row, "<= 1 %", figure, calm.upper <= classes.ACCUSED_GOAL, command)


def streams(cut: Cut) -> Iterator[Line]:
    """One series without a change, against a public benchmark."""
    command = "nab"
    if not present():
        yield Line("NAB", "best >= 60, frozen >= 50", "data absent", None, command)
        return
    standard = nab.report(nab.FROZEN)["standard"]
    yield Line("NAB dev files, best threshold", ">= 60", f"{standard['best']:.1f}", standard["best"] >= 60, command)
    frozen = standard["frozen"]
    yield Line("NAB dev files, frozen threshold", ">= 50", f"{frozen:.1f}", frozen >= 50, command)


def costs(cut: Cut) -> Iterator[Line]:
    """Processor time and memory of the own past, beside river's detectors and a rolling z."""
    found = cost.measure(quick=cut.quick)
    online = [one for one in found if one.name == "online past"][-1]
    others = ", ".join(f"{one.name} {short(one.point_us)}" for one in found if one.name != online.name)
    figure = f"{online.point_us:.3f} µs, {online.series:,} series; {others}"
    yield Line("cost of a point", "<= .15 µs", figure, online.point_us <= 0.15, "cost")
    figure = f"{online.series_bytes:,.0f} bytes"
    yield Line("cost of a series", "<= 2,048 bytes", figure, online.series_bytes <= 2048, "cost")
    for one in found:
        if one.calibration_ms is not None and (one is online or one.name != online.name):
            figure = f"{one.calibration_ms:.2f} ms"
            yield Line(f"cost of a calibration, {one.name}", "<= 5 ms", figure, one.calibration_ms <= 5.0, "cost")


ROWS: dict[str, Row] = {
    "minutes": minutes,
    "canaries": canaries,
    "peeking": looks,
    "lorden": shifts,
    "attribution": blame,
    "classes": accusations,
    "nab": streams,
    "cost": costs,
}
