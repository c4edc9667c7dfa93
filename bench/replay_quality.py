"""False freezes, recall and delay of `haltline replay` on public data: placebo, labels, injected harm, shuffle."""

from __future__ import annotations

import argparse
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np

from bench import OUT, BenchError, DataMissingError
from bench.cases import SEED
from bench.figures import Rate, Recall, frozen_moments, plain, rate, recall
from bench.replay_sets import FULL, QUICK, SETS, WATCH, Part, parts_of
from bench.run_replay import Replayed, command, run
from bench.tables import pair, table


def main(argv: list[str]) -> int:
    """Measure, print the tables, write `replay_quality.json` and `replay_quality.png` below bench/out."""
    parser = argparse.ArgumentParser(prog="python -m bench replay_quality", description=__doc__)
    parser.add_argument("--sets", default=",".join(SETS), help="data sets, separated by commas (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="a small part of everything, in under three minutes")
    parser.add_argument("--only", default="", help="only these kinds: placebo, labelled, injected, repeated, shuffle")
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
    parts = parts_of(chosen, size, options.only)
    if not parts:
        raise DataMissingError("none of the chosen sets is here")
    began = time.perf_counter()
    with ThreadPoolExecutor(options.jobs) as pool:
        runs = list(pool.map(lambda part: _measure(part, options.keep), parts))
    measured = [(part, found) for part, found in zip(parts, runs, strict=True) if not isinstance(found, BenchError)]
    report(measured, options.out, quick=options.quick)
    print(f"\n{len(measured)} lines measured in {time.perf_counter() - began:.0f} s; figures and plot in {options.out}")
    for failed in runs:
        if isinstance(failed, BenchError):
            print(f"not measured: {failed}")
    return 0 if len(measured) == len(parts) else 1


def _measure(part: Part, keep: Path | None) -> list[Replayed] | BenchError:
    """One failed replay costs its own line, not the hour of the others."""
    try:
        return [run(case, keep) for case in part.make() if case.changes]
    except BenchError as error:
        return error


Measured = list[tuple[Part, list[Replayed]]]


def report(measured: Measured, out: Path, *, quick: bool) -> None:
    """Print the four tables; write the same figures as JSON and as a plot."""
    false_by_itself = {part.data: frozen_moments(runs) for part, runs in measured if part.what == "untouched"}
    rates: list[tuple[Part, Rate, float]] = []
    recalls: list[tuple[Part, Recall, float]] = []
    for part, runs in measured:
        speed = sum(float(r.summary.get("points", 0)) for r in runs) / max(1e-9, sum(r.seconds for r in runs))
        if part.what in {"placebo", "untouched", "shuffle"}:
            rates.append((part, rate(runs), speed))
        elif part.what == "labelled":
            recalls.append((part, recall(runs), speed))
        else:
            left_out = false_by_itself.get(part.data, frozenset())
            left_out = left_out if part.what == "injected" else frozenset()
            recalls.append((part, recall(runs, early_counts=False, without=left_out), speed))
    for what, title in (
        ("placebo", "Harmless changes (placebo): freezes per 1,000 with a 95 % interval bootstrapped by series"),
        ("untouched", "Untouched copies of the windows into which harm is put"),
        ("shuffle", "Shuffle: the harm is in one service, the change on another"),
    ):
        if rows := [_rate_row(*item) for item in rates if item[0].what == what]:
            print("\n" + table(title, RATE_HEADER, rows))
        if what == "placebo":
            _print_total(rates)
    for what, title in (
        ("labelled", "Labelled harm: caught, with the delay of the caught (median / p90)"),
        ("injected", "Injected harm, where the untouched copy does not freeze: caught after it began"),
        ("repeated", "The same harm, 20 samples long, again and again in one stream: caught after it began"),
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


def _print_total(rates: list[tuple[Part, Rate, float]]) -> None:
    placebos = [item for item in rates if item[0].what == "placebo" and item[0].part == f"watch {WATCH}"]
    if len(placebos) > 1:
        frozen, changes = sum(r.frozen for _, r, _ in placebos), sum(r.changes for _, r, _ in placebos)
        print(f"all together, watch {WATCH}: {frozen} of {changes} = {1000 * frozen / changes:.1f} per 1,000")


RATE_HEADER = ["set", "", "changes", "freezes", "per 1,000 [95 %]", "harmful", "unsure", "points/s"]
RECALL_HEADER = [
    "set", "", "changes", "caught", "recall", "harmful", "early", "unsure",
    "samples of harm", "samples from change", "s from change", "s from onset", "with misses", "points/s",
]  # fmt: skip


def _rate_row(part: Part, figure: Rate, speed: float) -> list[str]:
    counts = [str(figure.changes), str(figure.frozen), figure.text(), str(figure.harmful_verdicts), str(figure.unsure)]
    return [part.data, part.part, *counts, f"{speed:,.0f}"]


def _recall_row(part: Part, figure: Recall, speed: float) -> list[str]:
    counts = [str(figure.harmful), str(figure.caught), f"{figure.share:.2f}", str(figure.harmful_verdicts)]
    return [
        part.data, part.part, *counts, str(figure.early), str(figure.unsure),
        pair(figure.samples_of_harm), pair(figure.samples_from_change), pair(figure.seconds_from_change),
        pair(figure.seconds_from_onset), pair((figure.all_p50, figure.all_p90)), f"{speed:,.0f}",
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
    right.set_yticks(
        range(len(recalls)), [f"{part.data} · {part.what} · {part.part}" for part, _, _ in recalls], fontsize=8
    )
    right.set_xlim(0, 1.1)
    right.set_xlabel("share of harmful changes frozen")
    right.invert_yaxis()
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)
