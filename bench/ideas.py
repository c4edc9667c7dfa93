"""What each idea of the own past is worth: the same placebo changes and the same harm, with it and without it.

Steeper tails of what lasts and unequal shares of the windows: on the detector itself, Microsoft 60 s, NAB and ten
services of JumpStarter, as `bench/own_past.py` does. Each is also given the error rate at which it freezes as many
harmless changes as the detector as it is. What was watched and found harmful left out of the past: +100 % for 20
samples at 30 moments of each Microsoft 60 s series, shadows from everywhere or from outside these watches. Pooled
shadows: `bench/minute_canaries.py` with and without what other services lend.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from math import log
from unittest.mock import patch

import numpy as np

from bench import minute_canaries
from bench.judged import share
from bench.own_past import ONSET, Outcome, judge
from bench.tables import table
from bench.telemetry import jumpstarter, microsoft, nab, present
from deploy.policy import Breaker
from detectors import shadow
from detectors.own_past import calibrate
from stream.neighbours import Neighbours

WATCH, SHOWN = 60, ("+25 %", "+50 %", "+100 %", "+50 % in 3")
HARM, LASTS, TIMES = 2.0, 20, 30


@contextmanager
def _as_it_is() -> Iterator[None]:
    yield


@contextmanager
def _flat() -> Iterator[None]:
    with patch.object(shadow, "TAILS", np.full(len(shadow.TAILS), shadow.SHARP_TAIL)):
        yield


@contextmanager
def _thirds() -> Iterator[None]:
    with patch.object(shadow, "shares_of", lambda windows: (1.0 / len(windows),) * len(windows)):
        yield


@contextmanager
def _alone() -> Iterator[None]:
    with (
        patch.object(Neighbours, "past", lambda *_: None),
        patch.object(Neighbours, "siblings", lambda *_: []),
    ):
        yield


def past_rows(services: int) -> list[list[str]]:
    """Placebo per 1,000 and injected harm caught, a row a variant and error rate."""
    alpha = Breaker().error_rate
    pasts = [one for one in microsoft() if one.group == "microsoft 60 s"] + list(nab())
    pasts += islice(jumpstarter(), services)
    rows, bar, most = [], log(alpha), 0
    for name, variant in (("as it is", _as_it_is), ("one tail of 1.5", _flat), ("windows alike", _thirds)):
        with variant():
            found = [outcome for one in pasts for outcome in judge(one, WATCH, True)]
        rows.append([name, f"{alpha:.4f}", *_cells(found, bar)])
        calm = np.sort([float(one.log_p[-1]) for one in found if one.kind == "placebo"])
        if variant is _as_it_is:
            most = int(np.count_nonzero(calm <= bar))
        else:
            equal = 0.5 * float(calm[most - 1] + calm[most])
            rows.append([f"{name}, as many frozen", f"{np.exp(equal):.4f}", *_cells(found, equal)])
    return rows


def _cells(found: Sequence[Outcome], bar: float) -> list[str]:
    calm = [one for one in found if one.kind == "placebo"]
    hits = sum(float(one.log_p[-1]) <= bar for one in calm)
    cells = [f"{1000 * hits / len(calm):.1f} ({hits} of {len(calm)})"]
    for harm in SHOWN:
        some = [float(one.log_p[-1]) <= bar for one in found if one.kind == harm and "nab" not in one.group]
        cells.append(f"{np.mean(some):.2f} of {len(some)}")
    return cells


def incident_rows() -> list[list[str]]:
    """The same harm again and again in one stream: caught with shadows from everywhere, and from unwatched time."""
    bar = log(Breaker().error_rate)
    rows = []
    for name, choosy in (
        ("shadows from everywhere", False),
        ("from time in which no harmful change was watched", True),
    ):
        hits = of = 0
        for one in microsoft():
            if one.group != "microsoft 60 s":
                continue
            values, usable = one.values[0].copy(), np.ones(one.values.shape[1], bool)
            room = (len(values) - 1_500) // TIMES
            for turn in range(TIMES):
                at = 1_440 + turn * room
                start = at + 1 + ONSET
                values[start : start + LASTS] *= HARM
                past = calibrate(
                    values[: at + 1], period=one.period, end=one.start + at * one.period, watch=WATCH,
                    usable=usable[: at + 1] if choosy else None,
                )  # fmt: skip
                log_p = past.start().update(values[at + 1 : at + 1 + WATCH]).log_p
                hits += bool(log_p[-1] <= bar < log_p[ONSET - 1])
                of += 1
                usable[at + 1 : at + 1 + WATCH + shadow.SETTLE] = False
        rows.append([name, share(hits, of)])
    return rows


def pool_rows(shops: int) -> list[list[str]]:
    """Minute canaries with and without what other services lend."""
    rows = []
    variants: tuple[tuple[str, Callable[[], object]], ...] = (("pooled", _as_it_is), ("each service by itself", _alone))
    for name, variant in variants:
        with variant():  # type: ignore[attr-defined]
            found = minute_canaries.run(range(1, 2 * shops, 2))
        harmful = [one for one in found if one.incident.guilty]
        caught = sum(minute_canaries.delay(one) < np.inf for one in harmful)
        rows.append([name, share(caught, len(harmful)), *minute_canaries.benign(found)[-1][1:]])
    return rows


def main(argv: Sequence[str]) -> int:
    """Print the three tables."""
    parser = argparse.ArgumentParser(prog="python -m bench ideas", description=__doc__)
    parser.add_argument("--services", type=int, default=10, help="services of JumpStarter (default: %(default)s)")
    parser.add_argument("--shops", type=int, default=100, help="minute canaries (default: %(default)s)")
    given = parser.parse_args(list(argv))
    if not present():
        return 0
    title = "past full of harm: +100 %, 30 times in each Microsoft 60 s series"
    print(table(title, ["", "caught"], incident_rows()), flush=True)
    header = ["", "caught", "benign per 1,000", "share"]
    print("\n" + table("minute canaries", header, pool_rows(given.shops)), flush=True)
    header = ["", "alpha", "harmless per 1,000", *SHOWN]
    print("\n" + table("own past", header, past_rows(given.services)))
    return 0
