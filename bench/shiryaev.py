"""Shiryaev-Roberts beside the bank: would it see small lasting shifts sooner, at the same rate of false freezes?

The statistic is a mixture over effects of 0.8, 1.5, 2.5 and 4 sigma, up and down apart, of residuals clipped at
4 sigma:

    M_t = (M_{t-1} + 1) exp(d z_t - d^2 / 2),    x = ln max over directions of mean over d of M_t

(Roberts 1966; Pollak 1985). It is judged as the bank's statistics are (`detectors/own_past.py`): by the largest x of
every shadow watch of the own past, p = R^-a / (N + 1) with R = x / Q and the tail `a` of b30. Its season and level are
those of the smallest 90 % quantile among four. Q is never below ln(2 w (N + 1)), which is what white noise gives: the
mean of M_t is t. Sigma is never below half of the least effect.

Variants: the bank alone; the bank with Shiryaev-Roberts, which gets 0.2 or 0.05 of the error rate; the first with b30
silenced; Shiryaev-Roberts alone. Every variant is also given the error rate at which it freezes as many harmless
changes as the bank alone does, over all sets together: only what it catches there is gained.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import islice
from math import log
from pathlib import Path

import numba
import numpy as np

from bench import OUT
from bench.lorden import NOISE, PAST, SHIFTS, WATCH, bound, mean_delay
from bench.own_past import HARMS, ONSET, combine
from bench.tables import short, table
from bench.telemetry import Floats, Service, jumpstarter, microsoft, nab, present
from deploy.policy import Breaker
from detectors import bank, own_past, shadow
from detectors.own_past import Calibration, calibrate
from detectors.season import seasons
from detectors.transform import fit

EFFECTS = np.array([0.8, 1.5, 2.5, 4.0])
CLIP = 4.0
SHARES = (0.2, 0.05)
LENGTHS = (60, 360)
B30 = (3, 7)
VARIANTS = ("bank", *(f"bank and SR, {share:g}" for share in SHARES), "SR for b30, 0.2", "SR alone")


@numba.njit(cache=True, nogil=True)
def follow(z, effects):  # type: ignore[no-untyped-def]
    """Running maximum of x after each of the standardised residuals ``z`` (float64[n], NaN = missing): float64[n]."""
    up, down = np.zeros(len(effects)), np.zeros(len(effects))
    out = np.empty(len(z))
    top = -np.inf
    for i in range(len(z)):
        if not np.isnan(z[i]):
            value = min(max(z[i], -4.0), 4.0)
            high, low = 0.0, 0.0
            for d in range(len(effects)):
                half = 0.5 * effects[d] ** 2
                # A watch of a few hundred samples at 4 sigma would not fit into a float.
                up[d] = min((up[d] + 1.0) * np.exp(effects[d] * value - half), 1e250)
                down[d] = min((down[d] + 1.0) * np.exp(-effects[d] * value - half), 1e250)
                high += up[d]
                low += down[d]
            top = max(top, np.log(max(high, low, 1e-300) / len(effects)))
        out[i] = top
    return out


@numba.njit(cache=True, nogil=True)
def shadows(y, levels, odd, sigma, watch, stride, effects):  # type: ignore[no-untyped-def]
    """The largest x of each shadow watch in ``y`` around ``levels`` (float64[n] both): NaN where none counts."""
    count = max(0, (len(y) - 1 - watch) // stride + 1)
    out = np.full(count, np.nan)
    for s in range(count):
        moment = len(y) - 1 - watch - s * stride
        part = y[moment + 1 : moment + 1 + watch]
        if odd[moment] or np.isnan(levels[moment]) or 2 * np.isnan(part).sum() > watch:
            continue
        out[s] = follow((part - levels[moment]) / sigma, effects)[-1]
    return out


class Statistic:
    """Shiryaev-Roberts of one series at the start of a change; ``ready`` is False where too few shadows count."""

    def __init__(self, history: Floats, *, period: float, end: float, watch: int) -> None:
        tail = min(len(history), own_past.SPAN + max(LENGTHS))
        recent = np.ascontiguousarray(history[len(history) - tail :])
        self._transform = fit(recent)
        whole = self._transform.forward(history)
        day = seasons(whole, period=period, end=end, watch=watch, tail=tail)[0]
        best = (np.inf, np.empty(0), np.zeros(watch), 0.0, 1.0)
        for season in (np.zeros(tail + watch), day):
            y = whole[len(whole) - tail :] - season[:tail]
            known = ~np.isnan(y)
            if np.count_nonzero(known) < own_past.NEEDED or np.isnan(season[tail:]).any():
                continue
            values, last = y[known], np.cumsum(known) - 1
            medians = bank.rolling_medians(values, (shadow.LEVELS[0], *LENGTHS))
            odd = shadow.odd_moments(values, medians, last)
            for column in range(1, 1 + len(LENGTHS)):
                steps = np.abs(values[1:] - medians[:-1, column])[-shadow.RECENT :]
                steps = steps[~np.isnan(steps)]
                if len(steps) < shadow.ENOUGH:
                    continue
                sigma = max(1.4826 * float(np.median(steps)), own_past.LEAST / 2.0)
                levels = np.where(last >= 0, medians[last, column], np.nan)
                found = shadows(y, levels, odd, sigma, watch, shadow.stride_of(watch), EFFECTS)
                found = found[~np.isnan(found)]
                if len(found) < shadow.ENOUGH:
                    continue
                wide = float(np.quantile(found, 0.9))
                if wide < best[0] * (shadow.SEASON_GAIN if season is day else 1.0):
                    best = (wide, found, season[tail:], float(levels[-1]), sigma)
        self.ready = bool(len(best[1]))
        _, found, self._season, self._level, self._sigma = best
        if self.ready:
            disjoint = len(found) * min(1.0, shadow.stride_of(watch) / watch)
            self._q = max(float(found.max()), log(2.0 * watch * (disjoint + 1.0)))
            self._rank = log(disjoint + 1.0)
            self._tail = float(shadow.tails(np.full(bank.COUNT, disjoint))[B30[0]])

    def log_p(self, future: Floats) -> Floats:
        """Running log p of the samples after the change, float64[n]."""
        if not self.ready:
            return np.zeros(len(future))
        y = self._transform.forward(future) - self._season[: len(future)]
        x = np.maximum(follow((y - self._level) / self._sigma, EFFECTS), 1e-9)
        return np.asarray(np.minimum(-self._tail * np.log(x / self._q) - self._rank, 0.0))


def paths(past: Calibration, statistic: Statistic, future: Floats) -> dict[str, Floats]:
    """Running log p of one series by variant."""
    whole = past.start().update(future).log_p
    least = past.least.copy()
    least[list(B30)] = np.inf
    without = replace(past, least=least).start().update(future).log_p
    new = statistic.log_p(future)
    both = [np.minimum(whole - log(1.0 - share), new - log(share)) for share in SHARES]
    instead = np.minimum(without - log(1.0 - SHARES[0]), new - log(SHARES[0]))
    return dict(zip(VARIANTS, (whole, *both, instead, new), strict=True))


Found = dict[str, dict[str, list[float]]]
"""By kind of change and by variant: the smallest log p of each change."""


def judge(service: Service) -> tuple[str, Found]:
    """The placebo changes of one service, and harm injected into every fourth of them that the bank leaves alone."""
    found: Found = defaultdict(lambda: defaultdict(list))
    touched = np.concatenate([[0], np.cumsum(service.labelled)])
    n = service.values.shape[1]
    for number, at in enumerate(range(service.first - 1, n - 60, service.every)):
        if touched[min(at + 1 + WATCH, n)] - touched[at - 59]:
            continue
        learnt = []
        for row in service.values:
            when = {"period": service.period, "end": service.start + at * service.period, "watch": WATCH}
            learnt.append((calibrate(row[: at + 1], **when), Statistic(row[: at + 1], **when), row[at + 1 : at + 61]))  # type: ignore[arg-type]
        calm = _over_metrics([paths(*one) for one in learnt])
        for name, log_p in calm.items():
            found["placebo"][name].append(float(log_p[-1]))
        if len(learnt) > 1 or number % 4 or at < 1000:
            continue
        for harm in ("+10 %", "+25 %", "+50 %", "+100 %", "-25 %", "ramp"):
            ill = []
            for past, statistic, future in learnt:
                x = future.copy()
                x[ONSET:] = HARMS[harm](x[ONSET:], past.level)
                ill.append(paths(past, statistic, x))
            for name, log_p in _over_metrics(ill).items():
                # A change that freezes by itself is no harm caught.
                found[harm][name].append(float(log_p[-1]) if calm[name][-1] > log(0.004) else 0.0)
    return service.group, {kind: dict(by) for kind, by in found.items()}


def _over_metrics(rows: Sequence[Mapping[str, Floats]]) -> dict[str, Floats]:
    return {name: combine(np.array([row[name] for row in rows])) for name in VARIANTS}


def shifts(seed: int) -> dict[float, dict[str, Floats]]:
    """The running log p of one stream of exchangeable noise by shift (sigma) and variant."""
    found = {}
    for shift in SHIFTS:
        noise = np.random.default_rng((26, seed)).standard_normal(PAST + WATCH)
        noise[PAST:] += shift
        values = 200.0 * np.exp(NOISE * noise)
        past = calibrate(values[:PAST], period=60.0, end=0.0, watch=WATCH)
        found[shift] = paths(past, Statistic(values[:PAST], period=60.0, end=0.0, watch=WATCH), values[PAST:])
    return found


def main(argv: Sequence[str]) -> int:
    """Print the tables, write JSON; 10 services of JumpStarter unless `--all`."""
    parser = argparse.ArgumentParser(prog="python -m bench shiryaev", description=__doc__)
    parser.add_argument("--runs", type=int, default=200, help="simulated streams (default: %(default)s)")
    parser.add_argument("--services", type=int, default=10, help="services of JumpStarter (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args(list(argv))
    if not present():
        return 0
    alpha = Breaker().error_rate
    pasts = [one for one in microsoft() if one.group == "microsoft 60 s"] + list(nab())
    pasts += islice(jumpstarter(), given.services)
    with ProcessPoolExecutor(given.jobs) as pool:
        judged = list(pool.map(judge, pasts))
        streams = list(pool.map(shifts, range(given.runs)))
    groups: dict[str, Found] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for group, found in judged:
        for kind, by in found.items():
            for name, values in by.items():
                groups[group][kind][name] += values
    calm = {name: np.sort(np.concatenate([groups[g]["placebo"][name] for g in groups])) for name in VARIANTS}
    hits = int(np.count_nonzero(calm["bank"] <= log(alpha)))
    # Between the last that freezes and the next: so many as the bank alone freezes.
    equal = {name: float(np.exp(0.5 * (calm[name][hits - 1] + calm[name][hits]))) for name in VARIANTS}
    document: dict[str, object] = {"alpha": alpha, "equal": equal}
    for title, rates in (
        (f"at an error rate of {alpha:g}", dict.fromkeys(VARIANTS, alpha)),
        (f"at the rate at which each freezes {hits} harmless ones, as the bank does", equal),
    ):
        rows = []
        for name in VARIANTS:
            bar = log(rates[name])
            row = [name, f"{rates[name]:.4f}"]
            for group in groups:
                calm_here = groups[group]["placebo"][name]
                frozen = sum(log_p <= bar for log_p in calm_here)
                row.append(f"{1000 * frozen / len(calm_here):.1f} ({frozen} of {len(calm_here)})")
            for shift in SHIFTS[:2]:
                first = np.array([_first(one[shift][name], bar) for one in streams])
                row.append(f"{float(np.mean(np.isfinite(first))):.3f}")
                row.append(short(mean_delay(first) / bound(shift, rates[name])))
            rows.append(row)
        header = ["", "alpha", *groups, "3 sigma", "ratio", "1 sigma", "ratio"]
        print(table(f"harmless per 1,000, and shifts caught, {title}", header, rows) + "\n")
        document[title] = rows
        for group in groups:
            harms = [kind for kind in groups[group] if kind != "placebo"]
            if harms:
                caught = [
                    [
                        name,
                        *(f"{float(np.mean(np.array(groups[group][k][name]) <= log(rates[name]))):.2f}" for k in harms),
                    ]
                    for name in VARIANTS
                ]
                n = len(groups[group][harms[0]]["bank"])
                print(table(f"injected harm caught, {group} (n={n}), {title}", ["", *harms], caught) + "\n")
                document[f"{group}, {title}"] = caught
    OUT.mkdir(parents=True, exist_ok=True)
    Path(OUT / "shiryaev.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


def _first(log_p: Floats, bar: float) -> float:
    reached = np.flatnonzero(log_p <= bar)
    return float(reached[0] + 1) if reached.size else float("inf")
