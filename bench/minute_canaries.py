"""Minute canaries: 40 minutes of history, a gauge a minute, 1 to 6 overlapping canaries, at most one harmful.

10 to 30 services; each canary runs 1 to 3 new pods beside 3 old ones. Success, latency and CPU are gauges of each pod,
and every caller tells what it sees of a service as a whole, without a version. Half of the incidents have one harmful
canary: its pods lose 5 to 50 points of success from 0 to 7 minutes after they came (half of them with 1.5 to 4 times
the latency, half with 1.3 to 2.5 times the CPU); in a third of these the pods report nothing wrong and only callers see
it; in a fifth of all the new pods never serve: they never report, or report CPU and get no traffic. Benign are all
other changes, those beside a harmful one included. A delay is in samples from the onset (never served: from the change)
and counts the deciding one.

Rule: one policy for everything, three guardrails named (success of the pods, success as callers see it, latency), alpha
as it ships. Constants of blame and of the detectors may be chosen on even seeds; the tables are of odd seeds.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from bench import OUT
from bench.judged import Judged, judge, policy, share
from bench.shops import GUARDRAILS, PERIOD_MS, Harm, Incident, Release, incident, noise, shop
from bench.tables import pair, short, table

HISTORY, WATCH, SPREAD = 40, 20, 10
KINDS = ("told by its pods", "seen by callers only", "never reports", "gets no traffic")


def case(seed: int) -> Incident:
    """The incident of one seed."""
    rng = np.random.default_rng((11, seed))
    place = shop(rng, int(rng.integers(10, 31)))
    count = int(rng.integers(1, 7))
    where = rng.choice(place.services, count, replace=False)
    bad = int(rng.integers(count)) if seed // 2 % 2 else None
    releases, kind, size = [], "", 0.0
    for number, service in enumerate(where):
        minute, start_up = HISTORY + int(rng.integers(SPREAD)), int(rng.integers(1, 3))
        how, harm = "canary", None
        if number == bad:
            draw = rng.random()
            kind = (
                KINDS[3] if draw < 0.1 else KINDS[2] if draw < 0.2 else KINDS[1] if draw < 0.2 + 0.8 / 3 else KINDS[0]
            )
            if kind in KINDS[2:]:
                how = "never" if kind == KINDS[2] else "idle"
            else:
                size = float(rng.uniform(5.0, 50.0))
                slow = float(rng.uniform(1.5, 4.0)) if rng.random() < 0.5 else 1.0
                busy = float(rng.uniform(1.3, 2.5)) if rng.random() < 0.5 else 1.0
                at = minute + start_up + int(rng.integers(8))
                harm = Harm(at, size, slow, busy, kind == KINDS[1])
        releases.append(
            Release(
                f"c{number}",
                str(service),
                minute,
                how,
                int(rng.integers(1, 4)),
                harm,
                names_instances=bool(rng.random() < 0.5),
                start_up=start_up,
            )
        )
    minutes = max(one.minute for one in releases) + WATCH + 2
    guilty = None if bad is None else f"c{bad}"
    return incident(rng, f"shop {seed}", place, releases, minutes, guilty=guilty, kind=kind, size=size)


def run(seeds: Sequence[int], *, graph: bool = True) -> list[Judged]:
    """Judge the incidents of these seeds, with the call graph in the policy or without."""
    noise()
    found = []
    for seed in seeds:
        one = case(seed)
        found.append(judge(one, policy(GUARDRAILS, one.calls if graph else {}, WATCH)))
    return found


def delay(one: Judged) -> float:
    """Samples from the onset to the freeze of the guilty change; infinite if missed, or frozen before its harm."""
    at = one.frozen.get(one.incident.guilty or "")
    onset = one.incident.onset_ms
    if at is None or onset is None or at < onset:
        return math.inf
    return (at - onset) // PERIOD_MS + 1


def middle(delays: Sequence[float]) -> tuple[float, float]:
    """Median and 90 % point of the caught."""
    met = sorted(one for one in delays if one < math.inf)
    return (met[math.ceil(0.5 * len(met)) - 1], met[math.ceil(0.9 * len(met)) - 1]) if met else (math.nan, math.nan)


def rows_of(found: Sequence[Judged], groups: Sequence[tuple[str, Callable[[Judged], bool]]]) -> list[list[str]]:
    """A row a group of harmful cases: caught, delay, guilty first."""
    rows = []
    for name, belongs in groups:
        some = [one for one in found if one.incident.guilty and belongs(one)]
        delays = [delay(one) for one in some]
        caught = sum(one < math.inf for one in delays)
        early = sum(one.incident.guilty in one.frozen for one in some) - caught
        first = sum(bool(one.first()) for one in some)
        by_blame = sum(bool(one.first("blame")) for one in some)
        rows.append(
            [name, share(caught, len(some)), pair(middle(delays)), str(early), share(first, len(some)),
             share(by_blame, len(some))]
        )  # fmt: skip
    return rows


GROUPS: list[tuple[str, Callable[[Judged], bool]]] = [
    ("all", lambda one: True),
    *((kind, lambda one, kind=kind: one.incident.kind == kind) for kind in KINDS),
    *(
        (f"{low} to {high} points", lambda one, low=low, high=high: low <= one.incident.size < high)
        for low, high in ((5, 10), (10, 20), (20, 35), (35, 50))
    ),
    ("one change", lambda one: len(one.last) == 1),
    ("2 to 6 changes", lambda one: len(one.last) > 1),
]


def benign(found: Sequence[Judged]) -> list[list[str]]:
    """False freezes: of changes where nothing was wrong, of innocent ones beside a harmful one, of both."""
    counts = {"nothing wrong": [0, 0], "beside a harmful one": [0, 0]}
    for one in found:
        row = counts["beside a harmful one" if one.incident.guilty else "nothing wrong"]
        for change in one.last:
            if change != one.incident.guilty:
                row[0] += change in one.frozen
                row[1] += 1
    counts["all benign"] = [sum(row[0] for row in counts.values()), sum(row[1] for row in counts.values())]
    return [
        [name, f"{1000 * hits / n:.1f}" if n else "-", share(hits, n)] for name, (hits, n) in counts.items()
    ]  # fmt: skip


def main(argv: Sequence[str]) -> int:
    """Print the tables, write JSON and a plot; `--size` below 1 takes fewer shops."""
    parser = argparse.ArgumentParser(prog="python -m bench minute_canaries", description=__doc__)
    parser.add_argument("--size", type=float, default=1.0, help="share of the 400 shops (default: %(default)s)")
    parser.add_argument("--choosing", action="store_true", help="the even seeds, on which constants are chosen")
    parser.add_argument("--no-graph", action="store_true", help="a policy that does not say who calls whom")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of JSON and plot (default: bench/out)")
    given = parser.parse_args(list(argv))
    seeds = range(0 if given.choosing else 1, 2 * max(4, int(400 * given.size)), 2)
    found = run(seeds, graph=not given.no_graph)
    harmful = rows_of(found, GROUPS)
    false = benign(found)
    header = ["harm", "caught", "samples p50 / p90", "early", "guilty first", "by blame"]
    print(table(f"{len(found)} shops, {sum(len(one.last) for one in found)} changes", header, harmful))
    print(table("\nbenign changes frozen", ["", "per 1,000", "share"], false))
    ranked = sum(one.score(one.incident.guilty) > 0.0 for one in found if one.incident.guilty)
    print(f"\nguilty ones with any rank: {share(ranked, sum(one.incident.guilty is not None for one in found))}")
    print(f"seconds an incident: {short(float(np.mean([one.seconds for one in found])))}")
    given.out.mkdir(parents=True, exist_ok=True)
    cases = [_plain(one) for one in found]
    document = {"harmful": [dict(zip(header, row, strict=True)) for row in harmful], "benign": false, "cases": cases}
    (given.out / "minute_canaries.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    _plot(given.out / "minute_canaries.png", found)
    return 0


def _plain(one: Judged) -> dict[str, object]:
    told = delay(one)
    return {
        "shop": one.incident.name,
        "changes": len(one.last),
        "guilty": one.incident.guilty,
        "kind": one.incident.kind,
        "points": round(one.incident.size, 1),
        "samples": None if told == math.inf else told,
        "first": one.first(),
        "innocents_frozen": sorted(set(one.frozen) - {one.incident.guilty}),
        "log_e": {change: round(verdict.log_e, 2) for change, verdict in one.last.items()},
        "blame": {change: round(verdict.blame, 3) for change, verdict in one.last.items()},
    }


def _plot(path: Path, found: Sequence[Judged]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for kind in KINDS:
        delays = np.array([delay(one) for one in found if one.incident.kind == kind])
        if delays.size:
            steps = np.arange(1, WATCH + 1)
            left.step(steps, [(delays <= step).mean() for step in steps], where="post", label=f"{kind} ({delays.size})")
    left.set(xlabel="samples of harm", ylabel="share caught", ylim=(0, 1))
    left.axhline(0.9, color="grey", linewidth=0.8, linestyle=":")
    left.legend(fontsize=8)
    for kind in KINDS[:2]:
        some = [one for one in found if one.incident.kind == kind]
        points = [one.incident.size for one in some]
        late = [min(delay(one), WATCH + 2) for one in some]
        right.scatter(points, late, s=10, label=kind)
    right.axhline(WATCH + 2, color="grey", linewidth=0.8, linestyle=":")
    right.set(xlabel="points of success lost by the new pods", ylabel=f"samples of harm ({WATCH + 2}: missed)")
    right.legend(fontsize=8)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
