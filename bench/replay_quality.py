"""False freezes, recall and delay of `haltline replay` on public data: placebo, labels, injected harm, shuffle."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec
import numpy as np

from bench import OUT, DataMissingError
from bench.cases import (
    HARMS,
    SEED,
    Case,
    Moment,
    Truth,
    change,
    copies,
    elsewhere,
    labelled_moments,
    placebo,
    policy,
    quiet_moments,
    thin,
)
from bench.data import Service, jumpstarter, microsoft, nab, nezha, petshop, telemetry
from bench.figures import Rate, Recall, frozen_moments, plain, rate, recall
from bench.run_replay import Replayed, command, run
from bench.tables import pair, table

WATCH = 60
WATCHES = (30, 60, 120)
# A fault comes about every eight and a half minutes, so the watch of one ends before the next begins.
NEZHA_WATCH = 8
NAMED, TOUCHED = 5, 3


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
    watches: tuple[int, ...]
    rows: int | None

    def cut(self, services: Sequence[Service]) -> list[Service]:
        """Some of the services, and of each no more than the last rows."""
        some = thin(services, self.series)
        return [service.part(len(service) - self.rows, len(service)) if self.rows else service for service in some]


FULL = Size(quick=False, series=1000, moments=80, onsets=1000, watches=WATCHES, rows=None)
QUICK = Size(quick=True, series=4, moments=8, onsets=10, watches=(WATCH,), rows=3_000)


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
        parts += _injected(name, moments, services, history=4_320, touch=None, named=())
    return parts


def _injected(
    name: str,
    moments: list[Moment],
    services: Sequence[Service],
    *,
    history: int,
    touch: dict[str, list[str]] | None,
    named: Sequence[str],
) -> list[Part]:
    def with_harm(harm: str, places: dict[str, Moment] | None = None) -> list[Case]:
        label = f"{name}-{'shuffle' if places else harm}"
        return [copies(label, moments, WATCH, harm=harm, history=history, touch=touch, named=named, elsewhere=places)]

    made = [Part(name, "none", "untouched", lambda: with_harm("none"))]
    made += [Part(name, harm, "injected", partial(with_harm, harm)) for harm in HARMS]
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
    return parts + _injected("jumpstarter 3/5", moments, services, history=2_016, touch=touch, named=named)


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


def main(argv: list[str]) -> int:
    """Measure, print the tables, write `replay_quality.json` and `replay_quality.png` below bench/out."""
    parser = argparse.ArgumentParser(prog="python -m bench replay_quality", description=__doc__)
    parser.add_argument("--sets", default=",".join(SETS), help="data sets, separated by commas (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="a small part of everything, in under three minutes")
    parser.add_argument("--only", default="", help="only these kinds: placebo, labelled, injected, shuffle")
    parser.add_argument(
        "--jobs", type=int, default=min(2, os.cpu_count() or 1), help="replays at once (default: %(default)s)"
    )
    parser.add_argument("--keep", type=Path, help="keep the records and decisions of every replay in this folder")
    parser.add_argument("--out", type=Path, default=OUT, help="where the JSON and the plot go (default: %(default)s)")
    options = parser.parse_args(argv)
    chosen = [name for name in options.sets.split(",") if name]
    if unknown := [name for name in chosen if name not in SETS]:
        parser.error(f"no data set {unknown[0]!r}; there are: {', '.join(SETS)}")
    command()
    size = QUICK if options.quick else FULL
    parts = _parts(chosen, size, options.only)
    if not parts:
        raise DataMissingError("none of the chosen sets is here")
    began = time.perf_counter()
    with ThreadPoolExecutor(options.jobs) as pool:
        runs = list(pool.map(lambda part: [run(case, options.keep) for case in part.make() if case.changes], parts))
    report(list(zip(parts, runs, strict=True)), options.out, quick=options.quick)
    print(f"\n{len(parts)} lines measured in {time.perf_counter() - began:.0f} s; figures and plot in {options.out}")
    return 0


def _parts(chosen: Sequence[str], size: Size, only: str) -> list[Part]:
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


Measured = list[tuple[Part, list[Replayed]]]


def report(measured: Measured, out: Path, *, quick: bool) -> None:
    """Print the four tables; write the same figures as JSON and as a plot."""
    false_by_itself = {part.data: frozen_moments(runs) for part, runs in measured if part.what == "untouched"}
    rates: list[tuple[Part, Rate, float]] = []
    recalls: list[tuple[Part, Recall, float]] = []
    for part, runs in measured:
        speed = sum(float(r.summary.get("points_read", 0)) for r in runs) / max(1e-9, sum(r.seconds for r in runs))
        if part.what in {"placebo", "untouched", "shuffle"}:
            rates.append((part, rate(runs), speed))
        elif part.what == "labelled":
            recalls.append((part, recall(runs), speed))
        else:
            left_out = false_by_itself.get(part.data, frozenset())
            recalls.append((part, recall(runs, early_counts=False, without=left_out), speed))
    for what, title in (
        ("placebo", "Harmless changes (placebo): freezes per 1,000 with a 95 % interval bootstrapped by series"),
        ("untouched", "Untouched copies of the windows into which harm is put"),
        ("shuffle", "Shuffle: the harm is in one service, the change on another"),
    ):
        if rows := [_rate_row(*item) for item in rates if item[0].what == what]:
            print("\n" + table(title, RATE_HEADER, rows))
    placebos = [item for item in rates if item[0].what == "placebo" and item[0].part == f"watch {WATCH}"]
    if len(placebos) > 1:
        frozen, changes = sum(r.frozen for _, r, _ in placebos), sum(r.changes for _, r, _ in placebos)
        print(f"all together, watch {WATCH}: {frozen} of {changes} = {1000 * frozen / changes:.1f} per 1,000")
    for what, title in (
        ("labelled", "Labelled harm: caught, with the delay of the caught (median / p90)"),
        ("injected", "Injected harm, where the untouched copy does not freeze: caught after it began"),
    ):
        if rows := [_recall_row(*item) for item in recalls if item[0].what == what]:
            print("\n" + table(title, RECALL_HEADER, rows))
    out.mkdir(parents=True, exist_ok=True)
    figures = [
        {"set": part.data, "part": part.part, "what": part.what, "figures": plain(figure)}
        for part, figure, _ in [*rates, *recalls]
    ]
    text = msgspec.json.format(msgspec.json.encode({"quick": quick, "seed": SEED, "lines": figures}), indent=1)
    (out / "replay_quality.json").write_bytes(text + b"\n")
    plot(rates, recalls, out / "replay_quality.png")


RATE_HEADER = ["set", "", "changes", "freezes", "per 1,000 [95 %]", "harmful", "unsure", "points/s"]
RECALL_HEADER = [
    "set", "", "harmful", "caught", "recall", "early", "unsure",
    "samples of harm", "samples from change", "s from change", "s from onset", "with misses", "points/s",
]  # fmt: skip


def _rate_row(part: Part, figure: Rate, speed: float) -> list[str]:
    counts = [str(figure.changes), str(figure.frozen), figure.text(), str(figure.harmful_verdicts), str(figure.unsure)]
    return [part.data, part.part, *counts, f"{speed:,.0f}"]


def _recall_row(part: Part, figure: Recall, speed: float) -> list[str]:
    return [
        part.data, part.part, str(figure.harmful), str(figure.caught), f"{figure.share:.2f}", str(figure.early),
        str(figure.unsure), pair(figure.samples_of_harm), pair(figure.samples_from_change),
        pair(figure.seconds_from_change), pair(figure.seconds_from_onset), pair((figure.all_p50, figure.all_p90)),
        f"{speed:,.0f}",
    ]  # fmt: skip


def plot(rates: list[tuple[Part, Rate, float]], recalls: list[tuple[Part, Recall, float]], path: Path) -> None:
    """Left the false freezes with their intervals and the goal, right the recall of each kind of harm."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(15, 1.5 + 0.24 * max(len(rates), len(recalls), 8)))
    for row, (_, value, _) in enumerate(rates):
        left.plot([value.low, value.high], [row, row], color="tab:gray", lw=2)
        left.plot(value.per_1000, row, "o", color="tab:red" if value.per_1000 > 5 else "tab:green")
        left.annotate(f"n={value.changes}", (value.high, row), xytext=(6, -3), textcoords="offset points", fontsize=7)
    left.axvline(5, color="black", lw=0.8, ls="--")
    left.set_yticks(range(len(rates)), [f"{part.data} · {part.what} · {part.part}" for part, _, _ in rates], fontsize=8)
    left.set_xscale("symlog", linthresh=5)
    left.set_xlim(left=0)
    left.set_xlabel("freezes per 1,000 harmless changes (dashed: the goal)")
    left.invert_yaxis()
    shares = [0.0 if np.isnan(found.share) else found.share for _, found, _ in recalls]
    right.barh(range(len(recalls)), shares, color="tab:blue")
    for row, (_, found, _) in enumerate(recalls):
        text = f"{found.caught} of {found.harmful}"
        right.annotate(text, (shares[row], row), xytext=(4, -3), textcoords="offset points", fontsize=7)
    right.set_yticks(range(len(recalls)), [f"{part.data} · {part.part}" for part, _, _ in recalls], fontsize=8)
    right.set_xlim(0, 1.1)
    right.set_xlabel("share of harmful changes frozen")
    right.invert_yaxis()
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)
