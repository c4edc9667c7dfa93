"""How often the own past freezes for nothing, what it catches, and how much harm it takes: on the detector itself.

    python -m bench.own_past [SET …] [--watch 60] [--alpha 0.004] [--harm] [--online] [--json FILE]

Placebo: a change every 60 samples (petshop 12) where no label is near, all earlier samples as history, all metrics of a
service together, looked at after every sample. Recall: the change is put 4 samples before each labelled onset.
Injected: harm begins 5 samples after a placebo change that does not freeze by itself. One set of constants for all.
With `--online` the past is learned sample by sample in two kilobytes a series instead of read out of raw samples.
"""

import argparse
import json
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.telemetry import Floats, Service, jumpstarter, microsoft, nab, nezha, petshop, petshop_issues, present
from detectors.combine import ALONE_PAST
from detectors.online_past import OnlinePast
from detectors.own_past import Calibration, calibrate

LEAD = 4
ONSET = 4


@dataclass(frozen=True)
class Outcome:
    """One change: ``kind`` placebo, onset or the name of the injected harm; ``log_p`` of the service at each look."""

    service: str
    group: str
    kind: str
    at: int
    length: int
    log_p: Floats

    def look(self, alpha: float) -> int:
        """The first look (from 1) at which the service would freeze; 0 for none."""
        hit = np.flatnonzero(self.log_p <= np.log(alpha))
        return int(hit[0]) + 1 if len(hit) else 0


def combine(log_p: Floats) -> Floats:
    """One metric far out, or two out together, as ``detectors.combine``, from float64[metrics, looks]."""
    count = len(log_p)
    if count == 1:
        return np.asarray(np.minimum(log_p[0], 0.0))
    ranked = np.sort(log_p, axis=0)
    both = np.log(count / ALONE_PAST) + ranked[0]
    both = np.minimum(both, np.log(count * (count - 1.0) / 2.0 / (1.0 - ALONE_PAST)) + 2.0 * ranked[1])
    return np.asarray(np.minimum(both, 0.0))


HARMS: dict[str, Callable[[Floats, float], Floats]] = {
    "+10 %": lambda x, _: x * 1.1,
    "+25 %": lambda x, _: x * 1.25,
    "+50 %": lambda x, _: x * 1.5,
    "+100 %": lambda x, _: x * 2.0,
    "-25 %": lambda x, _: x * 0.75,
    "-50 %": lambda x, _: x * 0.5,
    "ramp": lambda x, _: x * (1.0 + 0.5 * np.minimum(np.arange(1, len(x) + 1) / 10.0, 1.0)),
    "variance x3": lambda x, level: level + np.sqrt(3.0) * (x - level),
    "zero": lambda x, _: x * 0.0,
}


Pasts = dict[int, list[Calibration]]


def learn(service: Service, moments: list[int], watch: int) -> Pasts:
    """The calibration of each metric after each of the moments, all from one pass over the samples."""
    online = OnlinePast(len(service.values))
    found: Pasts = {}
    begin = 0
    for at in sorted(set(moments)):
        times = np.rint(1000.0 * (service.start + service.period * np.arange(begin, at + 1))).astype(np.int64)
        for row, values in enumerate(service.values):
            online.update(np.full(len(times), row), times, values[begin : at + 1])
        found[at] = [online.calibration(row, watch=watch) for row in range(len(service.values))]
        begin = at + 1
    return found


def _watch(
    service: Service, at: int, watch: int, pasts: Pasts | None
) -> tuple[Floats, list[tuple[Calibration, Floats]]]:
    """Running log p of each metric for a change after sample ``at``, and the calibrations for other futures."""
    paths, kept = [], []
    for number, row in enumerate(service.values):
        past = (
            pasts[at][number]
            if pasts is not None
            else calibrate(row[: at + 1], period=service.period, end=service.start + at * service.period, watch=watch)
        )
        future = row[at + 1 : at + 1 + watch]
        paths.append(past.start().update(future).log_p)
        kept.append((past, future))
    return np.array(paths), kept


def judge(service: Service, watch: int, harm: bool, online: bool = False) -> list[Outcome]:
    """Every placebo and onset of one service; with ``harm`` the injected ones too."""
    found = []
    n = service.values.shape[1]
    touched = np.concatenate([[0], np.cumsum(service.labelled)])
    placebos = range(service.first - 1, n - 60, service.every)
    onsets = [onset - LEAD for onset in service.onsets if onset - LEAD >= 20]
    pasts = learn(service, [*placebos, *onsets], watch) if online else None
    for number, at in enumerate(placebos):
        # No label in the watch, nor in the 60 samples before it.
        if touched[min(at + 1 + max(watch, 60), n)] - touched[at - 59]:
            continue
        paths, kept = _watch(service, at, watch, pasts)
        placebo = Outcome(service.name, service.group, "placebo", at, 0, combine(paths))
        found.append(placebo)
        every = 20 if service.group != "microsoft 1 h" else 4
        if not harm or number % every or placebo.look(0.004) or at < 1000:
            continue
        for name, change in HARMS.items():
            for share in (len(kept),) if len(kept) == 1 else (len(kept), 3):
                # Which metrics suffer is drawn from the name, so that a run can be repeated.
                seed = zlib.crc32(f"{service.name} {at}".encode())
                ill = set(np.random.default_rng(seed).permutation(len(kept))[:share].tolist())
                rows = []
                for m, (past, future) in enumerate(kept):
                    x = future.copy()
                    if m in ill:
                        x[ONSET:] = change(x[ONSET:], past.level)
                    rows.append(past.start().update(x).log_p)
                label = name if share == len(kept) else f"{name} in 3"
                found.append(Outcome(service.name, service.group, label, at, 0, combine(np.array(rows))))
    for onset, length in zip(service.onsets, service.lengths, strict=True):
        at = onset - LEAD
        if (at < 60 or touched[onset] - touched[at - 4]) and not service.group.startswith("nezha"):
            continue
        if at >= 20:
            found.append(
                Outcome(service.name, service.group, "onset", at, length, combine(_watch(service, at, watch, pasts)[0]))
            )
    return found


def _judge(job: tuple[Service, int, bool, bool]) -> list[Outcome]:
    return judge(*job)


def _issues(watch: int, online: bool) -> Iterator[Outcome]:
    for root, service in petshop_issues():
        at = service.onsets[0] - 1
        pasts = learn(service, [at], watch) if online else None
        yield Outcome(root, "petshop", "onset", at, 5, combine(_watch(service, at, watch, pasts)[0]))


def interval(counts: list[tuple[int, int]]) -> tuple[float, float]:
    """95 % interval of hits per 1,000, bootstrapped by series from (hits, changes) of each."""
    rng = np.random.default_rng(20261101)
    table = np.array(counts, dtype=np.float64)
    drawn = table[rng.integers(0, len(table), (2000, len(table)))].sum(axis=1)
    rates = 1000.0 * drawn[:, 0] / np.maximum(drawn[:, 1], 1.0)
    return float(np.quantile(rates, 0.025)), float(np.quantile(rates, 0.975))


def report(outcomes: list[Outcome], alpha: float) -> dict[str, dict[str, object]]:
    """Print the tables; return them as plain numbers."""
    groups: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        groups[outcome.group].append(outcome)
    result: dict[str, dict[str, object]] = {}
    total = [0, 0]
    print(f"{'set':16} {'placebo per 1,000 [95 % by series]':38} caught")
    for group, here in groups.items():
        counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        for o in here:
            if o.kind == "placebo":
                counts[o.service][0] += bool(o.look(alpha))
                counts[o.service][1] += 1
        hits, changes = sum(c[0] for c in counts.values()), sum(c[1] for c in counts.values())
        total[0] += hits
        total[1] += changes
        low, high = interval([(a, b) for a, b in counts.values()])
        onsets = [o for o in here if o.kind == "onset"]
        caught = [o.look(alpha) for o in onsets if o.look(alpha)]
        lasting = [o for o in onsets if o.length >= 5]
        old = [o for o in onsets if o.at >= 1440]
        delay = f"delay {np.median(caught) - LEAD:.0f}" if caught else ""
        rate = 1000.0 * hits / max(changes, 1)
        print(
            f"{group:16} {rate:6.2f} [{low:.1f}, {high:.1f}] {hits} of {changes:<8}"
            f" {len(caught)}/{len(onsets)};"
            f" of 5 samples and more {sum(bool(o.look(alpha)) for o in lasting)}/{len(lasting)};"
            f" with 1,440 of history {sum(bool(o.look(alpha)) for o in old)}/{len(old)} {delay}"
        )
        injected: dict[str, list[bool]] = defaultdict(list)
        for o in here:
            if o.kind not in ("placebo", "onset"):
                injected[o.kind].append(bool(o.look(alpha)))
        shares = {kind: float(np.mean(hit)) for kind, hit in injected.items()}
        if shares:
            n = len(next(iter(injected.values())))
            print(f"  injected n={n}: " + "  ".join(f"{kind} {share:.2f}" for kind, share in shares.items()))
        result[group] = {
            "placebo_per_1000": rate, "interval": (low, high), "placebos": changes, "onsets": len(onsets),
            "caught": len(caught), "injected": shares,
        }  # fmt: skip
    print(f"{'all':16} {1000.0 * total[0] / max(total[1], 1):6.2f} {total[0]} of {total[1]}")
    return result


SOURCES = {"microsoft": microsoft, "nab": nab, "jumpstarter": jumpstarter, "petshop": petshop, "nezha": nezha}


def measure(names: list[str], watch: int, harm: bool, jobs: int = 2, online: bool = False) -> list[Outcome]:
    """All outcomes of the named sets, in a fixed order."""
    todo = [(service, watch, harm, online) for name in names for service in SOURCES[name]()]
    with ProcessPoolExecutor(jobs) as pool:
        outcomes = [o for found in pool.map(_judge, todo) for o in found]
    return outcomes + (list(_issues(watch, online)) if "petshop" in names else [])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", help=f"of {', '.join(SOURCES)} (default: all)")
    parser.add_argument("--watch", type=int, default=60)
    parser.add_argument("--alpha", type=float, default=0.004)
    parser.add_argument("--harm", action="store_true", help="inject harm too")
    parser.add_argument("--online", action="store_true", help="learn the past sample by sample, two kilobytes a series")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if not present():
        return
    outcomes = measure(given.sets or list(SOURCES), given.watch, given.harm, given.jobs, given.online)
    result = report(outcomes, given.alpha)
    if given.json:
        given.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
