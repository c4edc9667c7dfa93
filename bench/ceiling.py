"""What could be caught at all in single series: harm that changes a number, harm that hindsight would see, harm caught.

Microsoft's series a minute, a harmless change every 60 samples with 1,500 before it, harm from its fifth sample on, as
in `bench/own_past.py`. `moves` is the share in which the harm changes any number. `hindsight` is a judge that nobody
can build: of one statistic it knows how far it goes in all harmless watches of that series, those to come too, and
freezes beyond all of them but 4 of 1,000 (of each series one). The statistic, too, is the one that catches most of this
kind of harm, picked afterwards. `caught` is the detector of the product at its share of the error rate.

Then, what the exponents and shares of what lasts rest on: how often it went beyond so many times its largest excursion
after harmless changes, in units of the one in N + 1 that chance allows at 1; and the same of what came soon and stayed.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from math import log

import numpy as np

from bench.own_past import HARMS, ONSET, learn
from bench.tables import table
from bench.telemetry import Floats, Service, jumpstarter, microsoft, nab, present
from deploy.policy import Breaker
from detectors import bank
from detectors.combine import FAMILIES
from detectors.own_past import Calibration

WATCH, EVERY, BEFORE, FALSE = 60, 60, 1_500, 0.004
SHOWN = ("+25 %", "+50 %", "+100 %", "-50 %", "ramp", "zero")
UP, DOWN = (0, 1, 2, 3), (4, 5, 6, 7)
ROOM, LEAST_SHADOWS = 1, 30
STEPS = (0.5, 0.7, 1.0, 1.5, 2.0, 3.0)


def distances(past: Calibration, values: Floats) -> Floats:
    """How far the watch ``values`` left its level by each statistic, float64[windows, 9], transformed; 0 for not."""
    found = np.zeros((len(past.yardsticks), bank.COUNT))
    y = past.transform.forward(values)
    for away, yardstick in zip(found, past.yardsticks, strict=True):
        for season in range(len(past.seasons)):
            residual = (y - past.seasons[season])[: yardstick.window]
            residual = residual[~np.isnan(residual)]
            if residual.size:
                far = bank.slide(residual).max(axis=0) - bank.SIGNS * yardstick.level
                np.copyto(away, np.maximum(far, 0.0), where=yardstick.baseline // 3 == season)
    return found


def reached(past: Calibration, values: Floats) -> Floats:
    """The same of the further direction: b1, b3, b10, b30 and the geometric mean of b3 and b10, flat."""
    away = distances(past, values)
    both = np.sqrt(np.maximum(away[:, 1] * away[:, 2], away[:, 5] * away[:, 6]))
    return np.column_stack([np.maximum(away[:, list(UP)], away[:, list(DOWN)]), both]).ravel()


def quiet(service: Service) -> list[int]:
    """The moments of harmless changes."""
    touched = np.concatenate([[0], np.cumsum(service.labelled)])
    n = service.values.shape[1]
    return [at for at in range(BEFORE - 1, n - WATCH - 1, EVERY) if touched[at + 1 + WATCH] == touched[max(at - 59, 0)]]


def measure(service: Service, alpha: float) -> Iterator[tuple[str, Floats]]:
    """By harm: float64[moments, 2 + candidates], whether it moves, is caught, and is beyond hindsight by each."""
    row = service.values[0]
    pasts = {at: found[0] for at, found in learn(service, quiet(service), WATCH).items()}
    pasts = {at: past for at, past in pasts.items() if len(past.yardsticks) == 3}
    calm = np.array([reached(past, row[at + 1 : at + 1 + WATCH]) for at, past in pasts.items()])
    limit = np.sort(calm, axis=0)[-1 - max(1, int(FALSE * len(calm)))]
    for harm in SHOWN:
        lines = []
        for at, past in pasts.items():
            was = row[at + 1 : at + 1 + WATCH]
            now = was.copy()
            now[ONSET:] = HARMS[harm](now[ONSET:], past.level)
            moves = not np.array_equal(was, now, equal_nan=True)
            caught = past.start().update(now).log_p[-1] <= log(alpha)
            lines.append([moves, caught, *(reached(past, now) > limit)])
        yield harm, np.array(lines, dtype=np.float64)


def beyond(service: Service) -> tuple[Floats, Floats]:
    """Harmless watches in which what lasts, and what stays, went beyond STEPS times its past: float64[2, steps].

    With them how many 1 / (N + 1) make, float64[2].
    """
    hits, expected = np.zeros((2, len(STEPS))), np.zeros(2)
    for at, pasts in learn(service, quiet(service), WATCH).items():
        for past, row in zip(pasts, service.values, strict=True):
            if len(past.yardsticks) <= ROOM + 1 or past.yardsticks[ROOM + 1].disjoint[1] < LEAST_SHADOWS:
                continue
            first, later = past.yardsticks[ROOM], past.yardsticks[ROOM + 1]
            away = distances(past, row[at + 1 : at + 1 + WATCH])
            soon, late = away[ROOM] / first.excursion, away[ROOM + 1] / later.excursion
            lasts = np.sqrt(max(soon[1] * soon[2], soon[5] * soon[6]))
            stays = np.sqrt(max(soon[1] * late[3], soon[5] * late[7]))
            hits += np.array([[lasts], [stays]]) > np.array(STEPS)
            expected += 1.0 / (np.array([first.disjoint[1], later.disjoint[3]]) + 1.0)
    return hits, expected


def main(argv: Sequence[str]) -> int:
    """Print one line a kind of harm."""
    parser = argparse.ArgumentParser(prog="python -m bench ceiling", description=__doc__)
    parser.parse_args(list(argv))
    if not present():
        return 0
    alpha = Breaker().error_rate * (1.0 - FAMILIES["silence"])
    found: dict[str, list[Floats]] = {}
    for service in microsoft():
        if service.period == 60.0:
            for harm, lines in measure(service, alpha):
                found.setdefault(harm, []).append(lines)
    rows = []
    for harm, parts in found.items():
        share = np.concatenate(parts).mean(axis=0)
        rows.append([harm, *(f"{value:.3f}" for value in (share[0], share[2:].max(), share[1]))])
    n = sum(map(len, next(iter(found.values()))))
    print(table(f"harm in one series of Microsoft's, {n} moments", ["", "moves", "hindsight", "caught"], rows))
    rows = []
    for name, services in (("Microsoft 60 s", microsoft), ("NAB", nab), ("JumpStarter", jumpstarter)):
        counted = [beyond(service) for service in services() if service.group != "microsoft 1 h"]
        shares = np.sum([hits for hits, _ in counted], axis=0) / np.sum([made for _, made in counted], axis=0)[:, None]
        for what, line in zip(("lasts", "stays"), shares, strict=True):
            rows.append([f"{name}, {what}", *(f"{share:.2f}" for share in line)])
    header = ["", *(f"> {step:g}" for step in STEPS)]
    print("\n" + table("harmless watches in which it went so far beyond its past, of N + 1", header, rows))
    return 0
