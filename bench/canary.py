"""Simulated canaries from real noise: healthy ones tripped, harmful ones caught, delay over Lorden's bound, peeking.

Counts are simulated once a second with bursts, unequal instances and a bad start; gauges once a minute, their noise
drawn in blocks from the fault-free hours of Nezha's pods. Seeds are fixed: the same table every time.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from math import log, sqrt

import numpy as np

from bench.data import Floats, nezha
from bench.tables import short, table
from detectors.combine import families_log_p, service_log_p
from detectors.concurrent import ConcurrentCalibration, ConcurrentTest, Pool, calibrate_concurrent, pool
from detectors.counts import AT_ONCE, CountsCalibration, CountsTest, calibrate_counts
from detectors.order import OrderTest
from detectors.silence import gap_log_p, never_reported_log_p

HEALTHY, HARMED, SHARE = 0.005, 0.05, 0.1
OLD = 9
HISTORY_S = 2400
DAY_S = 86_400
POISSON = CountsCalibration(1.0, 0, False, "Poisson")
FREEZE = log(0.008)


def wilson(hits: int, n: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927)."""
    z = 1.96
    middle, half = (hits + z * z / 2) / (n + z * z), z * sqrt(hits * (n - hits) / n + z * z / 4) / (n + z * z)
    return middle - half, middle + half


def per_thousand(hits: int, n: int) -> str:
    """Hits of n as a rate per 1,000 with its interval."""
    low, high = wilson(hits, n)
    return f"{1000 * hits / n:.1f} [{1000 * max(low, 0.0):.1f}, {1000 * high:.1f}] of {n}"


def rates(rng: np.random.Generator, bins: int, instances: int) -> Floats:
    """Healthy failure rate of each instance in each second, float64[bins, instances].

    Instances differ by 15 %; every two hours each of them alone fails 4 times as often for some 5 s, and all of them
    10 times as often for some 30 s.
    """
    rate = np.tile(HEALTHY * rng.lognormal(0.0, 0.15, instances), (bins, 1))
    for i in range(instances):
        for start in rng.integers(0, bins, rng.poisson(bins / 7200)):
            rate[start : start + rng.geometric(0.2), i] *= 4.0
    for start in rng.integers(0, bins, rng.poisson(bins / 7200)):
        rate[start : start + rng.geometric(1 / 30)] *= 10.0
    return np.minimum(rate, 0.5)


def counts_healthy(runs: int, requests: float) -> int:
    """Healthy canaries that ever pass ln 200 in a day of looks, one a second."""
    hits = 0
    for seed in range(runs):
        rng = np.random.default_rng((1, int(requests), seed))
        rate = rates(rng, HISTORY_S + DAY_S, OLD + 1)
        rate[HISTORY_S : HISTORY_S + 3, 0] *= 3.0  # the first seconds of a new instance are its worst
        load = np.full(rate.shape, requests / (OLD + 1))
        events = rng.binomial(np.maximum(rng.poisson(load), 0), rate).astype(np.float64)
        before, after = slice(0, HISTORY_S), slice(HISTORY_S, None)
        test = CountsTest(calibrate_counts(events[before, 1:], load[before, 1:]), least_effect=0.005)
        evidence = test.update(
            events[after, 0], load[after, 0], events[after, 1:].sum(axis=1), load[after, 1:].sum(axis=1)
        )
        hits += bool(evidence.log_e_max[-1] >= log(200.0))
    return hits


def counts_delay(runs: int, requests: float, threshold: float, onset: int, *, noisy: bool, past: bool = True) -> Floats:
    """Seconds from the onset to ``log e >= ln threshold``, float64[runs]; inf where not within half an hour."""
    delays = np.full(runs, np.inf)
    bins = 1800 + onset
    for seed in range(runs):
        rng = np.random.default_rng((2, int(requests), onset, seed))
        rate = rates(rng, HISTORY_S + bins, OLD + 1) if noisy else np.full((HISTORY_S + bins, OLD + 1), HEALTHY)
        rate[HISTORY_S + onset :, 0] = HARMED
        load = np.full(rate.shape, requests / (OLD + 1))
        events = rng.poisson(load * rate).astype(np.float64)
        calibration = calibrate_counts(events[:HISTORY_S, 1:], load[:HISTORY_S, 1:]) if past else POISSON
        test = CountsTest(calibration, least_effect=0.005)
        after = slice(HISTORY_S, None)
        evidence = test.update(
            events[after, 0], load[after, 0], events[after, 1:].sum(axis=1), load[after, 1:].sum(axis=1)
        )
        reached = np.flatnonzero(evidence.log_e_max >= log(threshold))
        if reached.size and reached[0] >= onset:
            delays[seed] = reached[0] - onset + 1
        elif reached.size:
            delays[seed] = np.nan  # tripped before the harm: counted with the healthy ones, not as a catch
    return delays


def information(requests: float) -> float:
    """Nats a second between harmed and healthy on the new version, the healthy rate known (Poisson)."""
    return (HARMED * log(HARMED / HEALTHY) - HARMED + HEALTHY) * requests * SHARE


def knowing(runs: int, requests: float, threshold: float, onset: int | None) -> Floats:
    """The same seconds for a test that is told both rates and that events come one by one, looking once a second.

    ``onset`` None: it is also told the moment (Wald's sequential test). Else it spreads its weight over moments as the
    real one does, and the harm begins after so many seconds.
    """
    well, ill = (rate * requests * SHARE for rate in (HEALTHY, HARMED))
    before = onset or 0
    rng = np.random.default_rng((7, int(requests), before))
    events = np.hstack([rng.poisson(well, (runs, before)), rng.poisson(ill, (runs, 1800))])
    delays, log_e = np.full(runs, np.inf), np.full(runs, 0.0 if onset is None else log(AT_ONCE))
    for t in range(events.shape[1]):
        spent = 0.0
        if onset is not None:
            spent = 1.0 - (1.0 - AT_ONCE) * (t + 1.0) ** -0.25
            if t:
                log_e = np.logaddexp(log_e, log((1.0 - AT_ONCE) * (t**-0.25 - (t + 1.0) ** -0.25)))
        log_e = log_e + events[:, t] * log(ill / well) - (ill - well)
        said = log_e if onset is None else np.logaddexp(log_e, log(1.0 - spent))
        delays[np.isinf(delays) & (said >= log(threshold))] = t + 1 - before
    delays[delays <= 0] = np.nan
    return delays


def peeking(runs: int, looks: int) -> int:
    """Poisson canaries without harm, tested at alpha 5 % at every look, that ever trip."""
    hits = 0
    for seed in range(runs):
        rng = np.random.default_rng((3, seed))
        x, y = rng.poisson(0.5, looks).astype(np.float64), rng.poisson(4.5, looks).astype(np.float64)
        evidence = CountsTest(POISSON).update(x, np.full(looks, 100.0), y, np.full(looks, 900.0))
        hits += bool(evidence.log_e_max[-1] >= log(20.0))
    return hits


@dataclass(frozen=True)
class Minute:
    """One simulated release: gauges of its new and old instances, float64[bins, instances] a metric."""

    history: dict[str, Floats]
    new: dict[str, Floats]
    old: dict[str, Floats]
    onset: int
    serves: bool


METRICS = {"success": ("bounded", "down"), "latency": ("value", "up"), "cpu": ("value", "up")}
BEFORE, AFTER = 40, 20


def residuals(column: str) -> list[Floats]:
    """Logarithm over a rolling median, fault-free hours only, one array a pod."""
    pods, faults = nezha.load("onlineboutique")
    found = []
    for pod in pods:
        if pod.instance is None or column not in pod.metrics:
            continue
        last = max((f.time_ms for f in faults if f.time_ms <= int(pod.times[-1])), default=0)
        x = pod.metrics[column][pod.times > last + 600_000]
        x = x[np.isfinite(x) & (x > 0)]
        if x.size > 200:
            y = np.log(x)
            level = np.array([np.median(y[max(0, i - 15) : i + 16]) for i in range(y.size)])
            found.append(y - level)
    return found


def minute_canary(rng: np.random.Generator, noise: dict[str, list[Floats]], harm: str) -> Minute:
    """One release of one service with 3 old and 1 to 3 new instances; ``harm``: none, success or never."""
    n_new = int(rng.integers(1, 4))
    pods, bins = 3 + n_new, BEFORE + AFTER
    onset = int(rng.integers(0, 8)) if harm == "success" else 0
    values: dict[str, Floats] = {}
    for metric, apart in (("latency", 0.05), ("cpu", 0.15)):
        source = noise[metric][int(rng.integers(len(noise[metric])))]
        starts = rng.integers(0, source.size - bins, pods)
        own = np.column_stack([source[s : s + bins] for s in starts])
        together = np.cumsum(rng.normal(0, 0.02, bins))[:, None]
        values[metric] = np.exp(own + together + rng.normal(0, apart, pods))
    success = np.full((bins, pods), 100.0)
    dips = rng.random((bins, pods)) < 0.003
    success[dips] -= rng.uniform(0.5, 4.0, int(dips.sum()))
    # Healthy bursts: one instance in 20 has, within the hour, one to three bad minutes; half of the time all have.
    for i in range(pods):
        if rng.random() < 0.05:
            at, length = int(rng.integers(bins)), int(rng.integers(1, 4))
            who = slice(None) if rng.random() < 0.5 else slice(i, i + 1)
            success[at : at + length, who] -= rng.uniform(2.0, 20.0)
            values["latency"][at : at + length, who] *= rng.uniform(1.5, 4.0)
    new = slice(3, None)
    # Warm-up of the new ones.
    values["latency"][BEFORE : BEFORE + 3, new] *= rng.uniform(1.0, 3.0)
    values["cpu"][BEFORE : BEFORE + 3, new] *= rng.uniform(1.0, 2.5)
    success[BEFORE : BEFORE + 2, new] -= rng.uniform(0.0, 10.0) * (rng.random() < 0.3)
    if harm == "success":
        success[BEFORE + onset :, new] -= rng.uniform(5.0, 50.0)
    values["success"] = np.clip(success, 0.0, 100.0)
    return Minute(
        {m: v[:BEFORE, :3] for m, v in values.items()},
        {m: v[BEFORE:, new] for m, v in values.items()},
        {m: v[BEFORE:, :3] for m, v in values.items()},
        onset,
        harm != "never",
    )


def decide(case: Minute, pools: dict[str, Pool | None], start_ups: Floats) -> int | None:
    """The minute after the change in which the release freezes, or None."""
    rows = []
    for metric, (kind, harm) in METRICS.items():
        calibration = calibrate_concurrent(
            case.history[metric], kind=kind, harm=harm, watch=30, pooled=pools.get(metric)
        )
        if case.serves:
            rows.append(ConcurrentTest(calibration).update(case.new[metric], case.old[metric]).log_p)
    for minute in range(AFTER):
        families = {"silence": 0.0}
        if case.serves:
            families["concurrent"] = service_log_p(
                np.array([row[minute] for row in rows]), guardrail=np.array([True, True, False])
            )
        else:
            waited = 60.0 * (minute + 1)
            families["silence"] = never_reported_log_p(waited, 60.0, start_ups, old_presence=1.0).log_p
        if families_log_p(families) <= FREEZE:
            return minute
    return None


def minutes(runs: int, harm: str, *, services: int = 20) -> list[int | None]:
    """Delays in samples from the onset of ``runs`` releases in shops of ``services``; negative: frozen before it."""
    noise = {"latency": residuals("PodServerLatencyP90(s)"), "cpu": residuals("CpuUsage(m)")}
    delays: list[int | None] = []
    for shop in range(-(-runs // 10)):
        rng = np.random.default_rng((4, shop, len(harm)))
        others: dict[str, list[ConcurrentCalibration]] = {m: [] for m in METRICS}
        for _ in range(services - 1):
            case = minute_canary(rng, noise, "none")
            for metric, (kind, direction) in METRICS.items():
                others[metric].append(calibrate_concurrent(case.history[metric], kind=kind, harm=direction, watch=30))
        pools = {m: pool(c) for m, c in others.items()} if services > 1 else {}
        start_ups = rng.choice(np.array([60.0, 60.0, 60.0, 120.0]), 5)
        for _ in range(10):
            case = minute_canary(rng, noise, harm)
            frozen = decide(case, pools, start_ups)
            delays.append(None if frozen is None else frozen - case.onset + 1)
    return delays[:runs]


def silences(runs: int) -> tuple[list[int | None], int]:
    """Samples until a regular 1 s series that stops is silent, and false silences where samples are lost by chance."""
    delays: list[int | None] = []
    false = 0
    for seed in range(runs):
        rng = np.random.default_rng((5, seed))
        lost = rng.random(HISTORY_S + 1800) < rng.choice(np.array([0.0, 0.001, 0.01]))
        at = np.flatnonzero(~lost).astype(np.float64)
        gaps, watched = np.diff(at[at < HISTORY_S]), np.diff(at[at >= HISTORY_S])

        def frozen(gap: float, gaps: Floats = gaps) -> bool:
            return families_log_p({"silence": gap_log_p(gaps, gap, 1.0, watch=1800).log_p, "concurrent": 0.0}) <= FREEZE

        false += frozen(float(watched.max()))
        delays.append(next((missed for missed in range(1, 31) if frozen(missed + 1.0)), None))
    return delays, false


HISTORIES = (240, 480, 960, 2016, 4032)


def histories(runs: int) -> list[list[str]]:
    """By minutes of history of three old instances: a new one that is healthy, and one that is half as much higher.

    Noise lasts some samples, and now and then an instance alone is 2.5 times as high for some ten.
    """
    hits = {length: [0, 0] for length in HISTORIES}
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        n = HISTORIES[-1] + 30
        drawn, noise = rng.normal(size=(n, 4)), np.zeros((n, 4))
        for i in range(1, n):
            noise[i] = 0.8 * noise[i - 1] + 0.6 * drawn[i]
        values = np.exp(0.1 * noise)
        for j in range(4):
            for start in rng.integers(0, n, rng.poisson(n / 3000)):
                values[start : start + rng.geometric(0.1), j] *= 2.5
        values *= rng.lognormal(0.0, 0.05, 4)
        after = values[HISTORIES[-1] :]
        harmed = after.copy()
        harmed[3:, 3] *= 1.5
        for length, found in hits.items():
            past = calibrate_concurrent(values[HISTORIES[-1] - length : HISTORIES[-1], :3], watch=30)
            for place, told in enumerate((after, harmed)):
                log_p = ConcurrentTest(past).update(told[:, 3:], told[:, :3]).log_p[-1]
                found[place] += bool(log_p <= log(0.004))
    return [[str(length), per_thousand(well, runs), f"{ill / runs:.2f}"] for length, (well, ill) in hits.items()]


def vectors() -> list[list[str]]:
    """The vectors that other judges got wrong, with what this one says."""
    rows = []
    requests, zeros = np.full(11, 100.0), np.zeros(11)
    eleven = CountsTest(POISSON).update(np.ones(11), requests, zeros, requests).log_e_max[-1]
    rows.append(["11 errors against 0", "trip", f"log e {eleven:.1f}", str(bool(eleven >= log(200)))])
    few = CountsTest(POISSON).update(np.array([0.0, 1, 2, 1, 0, 0]), requests[:6], zeros[:6], requests[:6])
    rows.append(
        ["[0,1,2,1,0,0] against 0", "no trip", f"log e {few.log_e_max[-1]:.1f}", str(bool(few.log_e_max[-1] >= 5.3))]
    )
    new = np.array([1.0, 1, 1] + [100.0] * 7)[:, None]
    for name, history in (("40 bins before", np.ones((40, 3))), ("no history", np.empty((0, 1)))):
        test = ConcurrentTest(calibrate_concurrent(history, watch=30))
        p = test.update(new, np.ones((10, max(history.shape[1], 1)))).log_p[-1]
        rows.append([f"7 of 10 at 100 against 1, {name}", "trip", f"log p {p:.1f}", str(bool(p <= log(1 / 200)))])
    rng = np.random.default_rng(6)
    wild, calm = 100 + 30 * rng.standard_normal((60, 1)), 100 + 5 * rng.standard_normal((240, 3))
    p = ConcurrentTest(calibrate_concurrent(calm, watch=60)).update(wild, calm[:60]).log_p[-1]
    rows.append(["standard deviation x6, 240 bins before", "trip", f"log p {p:.1f}", str(bool(p <= log(1 / 200)))])
    e = OrderTest().update(wild, calm[:60]).log_e_max[-1]
    rows.append(["the same by order, no history", "trip", f"log e {e:.1f}", str(bool(e >= log(200)))])
    p = (
        ConcurrentTest(calibrate_concurrent(np.ones((40, 3)), watch=30))
        .update(np.ones((30, 1)), np.ones((30, 3)))
        .log_p[-1]
    )
    rows.append(["ties", "no trip", f"log p {p:.1f}", str(bool(p <= log(1 / 200)))])
    return rows


def main(argv: Sequence[str]) -> int:
    """Print the tables; with ``--size`` below 1 fewer runs."""
    parser = argparse.ArgumentParser(prog="python -m bench.canary", description=__doc__)
    parser.add_argument("--size", type=float, default=1.0)
    size = parser.parse_args(list(argv)).size

    def runs(n: int) -> int:
        return max(10, int(n * size))

    rows = []
    for requests in (20.0, 100.0, 2000.0):
        hits, n = counts_healthy(runs(300), requests), runs(300)
        rows.append([f"{requests:.0f}", per_thousand(hits, n)])
    print(
        table(
            "healthy canaries over a day, bursts and unequal instances (per 1,000, log e >= ln 200)",
            ["requests/s", "tripped"],
            rows,
        )
    )
    rows = []
    for noisy in (False, True):
        for requests in (20.0, 100.0, 1000.0, 2000.0):
            for threshold in (200.0, 1e4, 1e6):
                bound = log(threshold) / information(requests)
                cells = []
                for onset in (0, 60):
                    d = counts_delay(runs(200), requests, threshold, onset, noisy=noisy)
                    met = d[np.isfinite(d)]
                    cells += [
                        short(float(np.median(met))),
                        short(float(np.quantile(met, 0.9))),
                        short(met.mean() / bound),
                        f"{met.size / d.size:.2f}",
                    ]
                kind = "bursts" if noisy else "Poisson"
                rows.append([f"{kind} {requests:.0f}/s A={threshold:.0e}", short(bound), *cells])
    header = [
        "",
        "bound s",
        *(f"{c} {w}" for w in ("at once", "after 60") for c in ("median", "p90", "ratio", "caught")),
    ]
    print(table("\nerrors .5 -> 5 %, 10 % share: seconds, mean over Lorden's bound (healthy rate known)", header, rows))
    rows = []
    for requests in (20.0, 100.0, 1000.0, 2000.0):
        for threshold in (200.0, 1e4, 1e6):
            bound = log(threshold) / information(requests)
            cells = []
            for began in (None, 60):
                d = knowing(runs(2000), requests, threshold, began)
                cells += [short(float(np.nanmedian(d))), short(float(np.nanmean(d)) / bound)]
            rows.append([f"{requests:.0f}/s A={threshold:.0e}", short(bound), *cells])
    header = ["", "bound s", "median, told when", "ratio", "median after 60, not told", "ratio"]
    print(table("\nthe same, Poisson, by a test that is told both rates and has only to wait for events", header, rows))
    n = runs(500)
    print(table("\n10,000 looks at alpha 5 %", ["", "tripped"], [["Poisson", per_thousand(peeking(n, 10_000), n)]]))
    print(table("\nvectors", ["", "must", "said", "trips"], vectors()))
    print(
        table(
            "\nhistory of instances, values beside each other, alpha .004",
            ["minutes", "healthy tripped", "+50 % caught"],
            histories(runs(400)),
        )
    )
    delays, false = silences(runs(500))
    caught = [d for d in delays if d is not None]
    within = sum(d <= 5 for d in caught)
    print(
        table(
            "\nsilence of a regular 1 s series",
            ["", ""],
            [
                ["found within 5 samples", f"{within / len(delays):.3f}"],
                ["median samples", short(float(np.median(caught)))],
                ["false", per_thousand(false, len(delays))],
            ],
        )
    )
    rows = []
    for services in (20, 1):
        benign = [d for d in minutes(runs(1000), "none", services=services) if d is not None]
        rows.append([f"benign frozen per 1,000, {services} services", per_thousand(len(benign), runs(1000))])
        harmful = minutes(runs(240), "success", services=services) + minutes(runs(60), "never", services=services)
        late = [d for d in harmful if d is not None and d > 0]
        rows.append([f"harmful caught, {services} services", f"{len(late) / len(harmful):.2f}"])
        rows.append(
            [f"median, p90 samples, {services} services", f"{np.median(late):.0f}, {np.quantile(late, 0.9):.0f}"]
        )
    print(table("\nminute canaries (success 5 to 50 points, a fifth never serve), alpha .008", ["", ""], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
