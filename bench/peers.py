"""Peers as a control: the own past of a service beside the same without what the other services of its set did.

Public sets with several services at once (JumpStarter, PetShop, Microsoft a sample an hour and a minute), all metrics
of a service together, a watch of 60 samples, the error rate as it ships; every other service of the set is a peer (at
most 16, as in the product), all of them unchanged. Placebo and injected harm as in `bench/own_past.py`; the harm is in
the changed service alone. Waves: harm of +50 % for 20 samples in **all** services of the set at once, from the fifth
sample after a harmless change of one of them: what is frozen then, is frozen for what hits everybody.

Rule: whether peers are used is decided by the past of each series before each change; no constant is of a set.
"""

from __future__ import annotations

import argparse
import json
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from math import log
from pathlib import Path

import numpy as np

from bench import OUT
from bench.judged import share
from bench.own_past import HARMS, ONSET, combine
from bench.tables import table
from bench.telemetry import Floats, Service, jumpstarter, microsoft, petshop, present
from deploy.policy import Breaker
from detectors.own_past import SPAN, Calibration, calibrate
from detectors.peers import PeersCalibration, calibrate_peers
from stream.peers import MOST

WATCH, LASTS = 60, 20
SHOWN = ("+25 %", "+50 %", "+100 %", "-50 %")
MODES = ("alone", "with peers")


@dataclass(frozen=True, eq=False)
class Metric:
    """One metric of a changed service at a change: both calibrations, and what it and its peers did afterwards."""

    plain: Calibration
    control: PeersCalibration | None
    future: Floats
    peers: Floats

    def log_p(self, mode: str, future: Floats, peers: Floats | None = None) -> Floats:
        """Running log p, float64[looks]."""
        if mode == "alone" or self.control is None:
            return self.plain.start().update(future).log_p
        chosen = self.peers if peers is None else peers
        return self.control.start().update(future, chosen[:, list(self.control.chosen)]).log_p


class Sets:
    """The services of one set on one grid: values float64[metrics, n] of each, all beginning at the same moment."""

    def __init__(self, name: str, services: Sequence[Service]) -> None:
        self.name, self.services = name, services
        self.period = services[0].period
        self.start = min(one.start for one in services)
        self.metrics = min(len(one.values) for one in services)
        length = max(self.offset(one) + one.values.shape[1] for one in services)
        self.values = np.full((len(services), self.metrics, length), np.nan)
        for number, one in enumerate(services):
            begin = self.offset(one)
            self.values[number, :, begin : begin + one.values.shape[1]] = one.values[: self.metrics]

    def offset(self, service: Service) -> int:
        return round((service.start - self.start) / self.period)

    def metric(self, number: int, which: int, at: int) -> Metric:
        """A metric of a service at a change after its sample `at`, judged by both controls."""
        service = self.services[number]
        others = [i for i in range(len(self.services)) if i != number]
        count = min(len(others), MOST)
        chosen = [others[(2 * i + 1) * len(others) // (2 * count)] for i in range(count)]
        here = self.offset(service) + at + 1
        begin = max(self.offset(service), here - SPAN - WATCH)
        history = self.values[number, which, begin:here]
        peers = self.values[chosen, which, begin : here + WATCH].T
        when = {"period": self.period, "end": service.start + at * self.period, "watch": WATCH}
        plain = calibrate(history, **when)  # type: ignore[arg-type]
        control = calibrate_peers(history, peers[: len(history)], plain, **when)  # type: ignore[arg-type]
        return Metric(plain, control, self.values[number, which, here : here + WATCH], peers[len(history) :])


def judge(job: tuple[str, int, int]) -> tuple[str, dict[str, dict[str, list[bool]]], int, int]:
    """Everything of one service: by kind of change and control whether it froze; metrics with peers, and all."""
    name, number, every = job
    group = Sets(name, list(SOURCES[name]()))
    service = group.services[number]
    bar = log(Breaker().error_rate)
    touched = np.concatenate([[0], np.cumsum(service.labelled)])
    n = service.values.shape[1]
    found: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    used = of = 0
    for at in range(max(service.first - 1, 239), n - WATCH - 1, every):
        if touched[at + 1 + WATCH] - touched[at - 59]:
            continue
        metrics = [group.metric(number, which, at) for which in range(group.metrics)]
        used, of = used + sum(one.control is not None for one in metrics), of + len(metrics)
        calm = {mode: [one.log_p(mode, one.future) for one in metrics] for mode in MODES}
        frozen = {mode: _freezes(calm[mode], bar) for mode in MODES}
        for mode in MODES:
            found["harmless"][mode].append(frozen[mode])
        ill = np.random.default_rng(zlib.crc32(f"{service.name} {at}".encode())).permutation(len(metrics))
        for mode in MODES:
            # What freezes by itself catches no harm.
            for harm in SHOWN:
                for label, some in ((harm, set(ill.tolist())), (f"{harm} in 3", set(ill[:3].tolist()))):
                    if len(some) < len(metrics) or label == harm:
                        rows = [
                            one.log_p(mode, _harmed(one, harm)) if which in some else calm[mode][which]
                            for which, one in enumerate(metrics)
                        ]
                        found[label][mode].append(_freezes(rows, bar) and not frozen[mode])
            waves = [one.log_p(mode, _wave(one.future[:, None])[:, 0], _wave(one.peers)) for one in metrics]
            found["a wave"][mode].append(_freezes(waves, bar))
    return name, {kind: dict(by) for kind, by in found.items()}, used, of


def _freezes(rows: Sequence[Floats], bar: float) -> bool:
    return bool(combine(np.array(rows))[-1] <= bar)


def _harmed(one: Metric, harm: str) -> Floats:
    x = one.future.copy()
    x[ONSET:] = HARMS[harm](x[ONSET:], one.plain.level)
    return x


def _wave(values: Floats) -> Floats:
    x = values.copy()
    x[ONSET : ONSET + LASTS] *= 1.5
    return x


def _an_hour() -> Iterator[Service]:
    return (one for one in microsoft() if one.group == "microsoft 1 h")


def _a_minute() -> Iterator[Service]:
    return (one for one in microsoft() if one.group == "microsoft 60 s")


SOURCES = {"jumpstarter": jumpstarter, "petshop": petshop, "microsoft 60 s": _a_minute, "microsoft 1 h": _an_hour}
#: Services of a set that are changed at most, and samples between two changes of one.
CUTS = {"jumpstarter": (10, 420), "petshop": (41, 60), "microsoft 60 s": (7, 240), "microsoft 1 h": (18, 60)}


def main(argv: Sequence[str]) -> int:
    """Print one table a set, write JSON; `--size` below 1 takes fewer changes."""
    parser = argparse.ArgumentParser(prog="python -m bench peers", description=__doc__)
    parser.add_argument("--size", type=float, default=1.0, help="share of the changes (default: %(default)s)")
    parser.add_argument("--sets", default=",".join(SOURCES), help="of these (default: all)")
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args(list(argv))
    if not present():
        return 0
    document = {}
    for name in given.sets.split(","):
        many, every = CUTS[name]
        many = min(many, len(list(SOURCES[name]())))
        with ProcessPoolExecutor(given.jobs) as pool:
            judged = list(pool.map(judge, [(name, number, int(every / given.size)) for number in range(many)]))
        kinds = list(dict.fromkeys(kind for _, found, _, _ in judged for kind in found))
        rows = []
        for kind in kinds:
            row = [kind]
            for mode in MODES:
                hits = [hit for _, found, _, _ in judged for hit in found.get(kind, {}).get(mode, [])]
                row.append(share(sum(hits), len(hits)))
            rows.append(row)
        used, of = sum(one[2] for one in judged), sum(one[3] for one in judged)
        print(
            table(f"{name}: frozen; peers are a control of {used} of {of} series", ["", *MODES], rows) + "\n",
            flush=True,
        )
        document[name] = {"used": used, "series": of, "frozen": rows}
    OUT.mkdir(parents=True, exist_ok=True)
    Path(OUT / "peers.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0
