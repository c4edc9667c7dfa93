"""Which lines of the replay bench are measured on which data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from bench import DataMissingError
from bench.cases import SEED, Case, Moment, Truth, change, placebo, policy, quiet_moments
from bench.data import Service, jumpstarter, microsoft, nab, nezha, petshop, telemetry
from bench.harm import HARMS, WHOLE, copies, elsewhere, labelled_moments, repeated
from stream.backtest.quiet import thin

WATCH = 60
WATCHES = (30, 60, 120)
# A fault comes about every eight and a half minutes, so the watch of one ends before the next begins.
NEZHA_WATCH = 8
NAMED, TOUCHED = 5, 3
REPEATED = ("+100%", "ramp", "zero")


@dataclass(frozen=True)
class Part:
    """One line of a table: cases that are made only when their turn comes, and what to make of their outcomes."""

    data: str
    part: str
    what: str
    make: Callable[[], list[Case]]


@dataclass(frozen=True)
class Size:
    """How much to measure."""

    quick: bool
    series: int
    moments: int
    onsets: int
    repeats: int
    watches: tuple[int, ...]
    harms: tuple[str, ...]
    again: tuple[str, ...]
    rows: int | None

    def cut(self, services: Sequence[Service]) -> list[Service]:
        """Some of the services, and of each no more than the last rows."""
        some = thin(services, self.series)
        return [service.part(len(service) - self.rows, len(service)) if self.rows else service for service in some]


FULL = Size(
    quick=False,
    series=1000,
    moments=80,
    onsets=1000,
    repeats=30,
    watches=WATCHES,
    harms=HARMS,
    again=REPEATED,
    rows=None,
)
QUICK = Size(
    quick=True,
    series=4,
    moments=8,
    onsets=10,
    repeats=6,
    watches=(WATCH,),
    harms=("+50%", "+100%", "zero", "null"),
    again=("+100%",),
    rows=3_000,
)


def single_series(name: str, services: Sequence[Service], size: Size, *, labels: bool, injected: bool) -> list[Part]:
    """Placebo, and where asked labelled and injected harm, on services of one metric."""
    some = size.cut(services)
    parts = [
        Part(name, f"watch {watch}", "placebo", partial(placebo, f"{name}-w{watch}", some, watch))
        for watch in size.watches
    ]
    if labels:
        onsets = thin(labelled_moments(services), size.onsets)
        parts.append(
            Part(name, "labelled", "labelled", lambda: [copies(f"{name}-labels", onsets, WATCH, harm="label")])
        )
    if injected:
        fit = [moment for moment in quiet_moments(services, WATCH) if moment.index >= 1_500]
        moments = thin(fit, size.moments)
        parts += _injected(name, moments, services, history=WHOLE, size=size, touch=None, named=())
        often = [moment for service in some for moment in thin(_settled(service), size.repeats)]
        parts += [Part(name, harm, "repeated", partial(_repeated, name, often, harm)) for harm in size.again]
    return parts


def _repeated(name: str, moments: Sequence[Moment], harm: str) -> list[Case]:
    return [repeated(f"{name}-repeated-{harm}", moments, WATCH, harm=harm)]


def _settled(service: Service) -> list[Moment]:
    return [moment for moment in quiet_moments([service], WATCH) if moment.index >= 1_500]


def _injected(
    name: str,
    moments: list[Moment],
    services: Sequence[Service],
    *,
    history: int,
    size: Size,
    touch: dict[str, list[str]] | None,
    named: Sequence[str],
) -> list[Part]:
    def with_harm(harm: str, places: dict[str, Moment] | None = None) -> list[Case]:
        label = f"{name}-{'shuffle' if places else harm}"
        return [copies(label, moments, WATCH, harm=harm, history=history, touch=touch, named=named, elsewhere=places)]

    made = [Part(name, "none", "untouched", lambda: with_harm("none"))]
    made += [Part(name, harm, "injected", partial(with_harm, harm)) for harm in size.harms]
    made.append(
        Part(name, "+100% elsewhere", "shuffle", lambda: with_harm("+100%", elsewhere(moments, services, WATCH)))
    )
    return made


def microsoft60(size: Size) -> list[Part]:
    return single_series("microsoft60", microsoft.load(60), size, labels=True, injected=True)


def microsoft1h(size: Size) -> list[Part]:
    return single_series("microsoft1h", microsoft.load(3600), size, labels=True, injected=False)


def nab_real(size: Size) -> list[Part]:
    """Windows are centred on what was marked, so they give no onsets."""
    return single_series("nab", nab.load(artificial=False), size, labels=False, injected=False)


def jumpstarter_d2(size: Size) -> list[Part]:
    """19 metrics together; injected harm in three of five named guardrails."""
    services = jumpstarter.load()
    some = size.cut(services)
    parts = [
        Part(
            "jumpstarter",
            f"watch {watch}",
            "placebo",
            partial(placebo, f"jumpstarter-w{watch}", some, watch),
        )
        for watch in size.watches
    ]
    onsets = thin(labelled_moments(services), size.onsets)
    parts.append(
        Part("jumpstarter", "labelled", "labelled", lambda: [copies("jumpstarter-labels", onsets, WATCH, harm="label")])
    )
    named = guardrails(services)
    rng = np.random.default_rng(SEED)
    moments = thin([moment for moment in quiet_moments(services, WATCH) if moment.index >= 1_440], size.moments)
    touch = {moment.name: sorted(rng.choice(named, TOUCHED, replace=False).tolist()) for moment in moments}
    return parts + _injected("jumpstarter 3/5", moments, services, history=4_032, size=size, touch=touch, named=named)


def guardrails(services: Sequence[Service]) -> list[str]:
    """Five metrics drawn with the fixed seed among those that are above zero and move in every service."""
    alive = [
        name
        for name in services[0].metrics
        if all(
            np.median(s.metrics[name]) > 0 and np.ptp(np.percentile(s.metrics[name], [25, 75])) > 0 for s in services
        )
    ]
    return sorted(np.random.default_rng(SEED).choice(alive, min(NAMED, len(alive)), replace=False).tolist())


def petshop_free(size: Size) -> list[Part]:
    """Placebo on the run without issues; the issues themselves are `python -m bench petshop`."""
    services = petshop.issue_free()[: 10 if size.quick else None]
    return [
        Part("petshop", f"watch {watch}", "placebo", partial(placebo, f"petshop-w{watch}", services, watch))
        for watch in size.watches
    ]


def nezha_shop(shop: str, size: Size) -> list[Part]:
    """Faults in one stream as they came, and placebo in the hours after the last of them."""
    services, faults = nezha.load(shop)
    pods = [service for service in services if service.instance]
    settled = faults[-1].time_ms + 3_600_000
    first_row = min(int(np.searchsorted(pod.times, settled)) for pod in pods)
    alone = {pod.name for pod in pods if sum(other.name == pod.name for other in pods) == 1}

    def injected() -> list[Case]:
        changes, truth = [], {}
        for turn, fault in enumerate(faults):
            ident = f"{shop}/{turn}/{fault.kind}/{fault.pod}"
            # A service of one pod has nothing beside it: naming the pod would tell nothing apart.
            instances = () if fault.service in alone else (fault.pod,)
            changes.append(change(ident, fault.service, fault.time_ms, instances=instances))
            truth[ident] = Truth(fault.service, nezha.PERIOD_MS, fault.time_ms, fault.time_ms, ident)
        watch_s = NEZHA_WATCH * nezha.PERIOD_MS // 1000
        return [
            Case(f"{shop}-faults", changes, telemetry(services), policy(watch_s=watch_s, samples=NEZHA_WATCH), truth)
        ]

    watched = thin(pods, size.series)
    parts = [
        Part(
            shop,
            f"watch {watch}",
            "placebo",
            partial(placebo, f"{shop}-w{watch}", watched, watch, first_row=first_row),
        )
        for watch in size.watches
    ]
    return [*parts, Part(shop, "faults", "labelled", injected)]


SETS: dict[str, Callable[[Size], list[Part]]] = {
    "microsoft60": microsoft60,
    "microsoft1h": microsoft1h,
    "nab": nab_real,
    "jumpstarter": jumpstarter_d2,
    "petshop": petshop_free,
    "onlineboutique": lambda size: nezha_shop("onlineboutique", size),
    "trainticket": lambda size: nezha_shop("trainticket", size),
}


def parts_of(chosen: Sequence[str], size: Size, only: str) -> list[Part]:
    """The lines to measure, of these kinds if any are named; a set that is not here is skipped with one line."""
    parts: list[Part] = []
    for name in chosen:
        try:
            parts += SETS[name](size)
        except DataMissingError as error:
            print(f"{name}: skipped: {error}")
    wanted = set(filter(None, only.split(",")))
    # What was injected is only read beside the untouched copies.
    return [
        part
        for part in parts
        if not wanted or part.what in wanted or (part.what == "untouched" and "injected" in wanted)
    ]
