"""The pictures of docs/detection.md, drawn with the detectors themselves on simulated series, the same every time.

`shadows` is what a shadow change is, `looking` why looking often costs nothing, `windows` how evidence grows in nested
windows, `blind` what cannot be seen. `goals` is drawn from the last `python -m bench detection`, where there is one.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from math import log
from pathlib import Path
from typing import Any

import numpy as np

from bench import OUT, ROOT
from bench.canary import POISSON
from bench.data import Floats
from bench.peeking import LOOKS, z_values
from deploy.policy import Breaker
from detectors.bank import rolling_median, slide
from detectors.combine import families_log_p, service_log_p
from detectors.counts import CountsTest
from detectors.own_past import Calibration, calibrate

FOLDER = ROOT / "docs" / "detection"
WATCH, PERIOD = 60, 60.0
SIZES = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0)
METRICS, SERVICES = 19, 40
CALM, ILL, QUIET = "tab:blue", "tab:red", "0.6"


def latency(seed: int, length: int) -> Floats:
    """Milliseconds, one a minute: noise that hangs together, a busy hour a day, now and then some bad minutes."""
    rng = np.random.default_rng((31, seed))
    noise = rng.normal(0.0, 0.05, length)
    slow = np.zeros(length)
    for i in range(1, length):
        slow[i] = 0.97 * slow[i - 1] + rng.normal(0.0, 0.02)
    minute = (np.arange(length) + int(rng.integers(1440))) % 1440
    busy = 0.25 * np.exp(-(((minute - 720) / 180.0) ** 2))
    for start in rng.integers(0, length, length // 500):
        noise[start : start + int(rng.integers(1, 4))] += rng.uniform(0.2, 0.7)
    return np.asarray(120.0 * np.exp(noise + slow + busy))


def shadows(plt: Any) -> Any:
    """Above, a series with its change and some shadows; below, how far each shadow watch went, and the real one."""
    values = latency(7, 3_000)
    at, window = 2_900, 15
    values[at + 5 :] *= 1.5
    y = np.log(values)
    rows, level = slide(y), rolling_median(y, 60)

    def excursion(begin: int) -> float:
        return float(rows[begin + 3 : begin + 1 + window, 1].max() - level[begin])

    begins = np.arange(100, at - window, 10)
    found = np.array([excursion(int(begin)) for begin in begins])
    figure, (above, below) = plt.subplots(2, 1, figsize=(9, 6), layout="constrained")
    shown = slice(at - 300, at + 60)
    above.plot(np.arange(shown.start - at, shown.stop - at), values[shown], lw=0.9, color=CALM)
    for begin in range(at - 285, at - window, 45):
        above.axvspan(begin - at, begin - at + window, color=QUIET, alpha=0.35, lw=0)
    above.axvspan(0, window, color=ILL, alpha=0.25, lw=0)
    above.axvline(0, color=ILL, lw=1.2)
    above.set(xlabel="minutes from the change", ylabel="latency, ms")
    above.set_title("A change (red) and some of its shadows (grey), 15 minutes each")
    percent = 100.0 * (np.exp(found) - 1.0)
    real = 100.0 * (np.exp(excursion(at)) - 1.0)
    below.hist(percent, bins=60, color=QUIET)
    below.axvline(percent.max(), color="black", lw=1.0, ls="--", label=f"the largest of {len(found)} shadows")
    below.axvline(real, color=ILL, lw=1.6, label="after the change")
    below.set(
        xlabel="how far at least three samples in a row rose above the hour before, %", ylabel="shadow watches",
    )  # fmt: skip
    below.legend(frameon=False)
    return figure


def looking(plt: Any) -> Any:
    """The share of harmless streams that ever tripped, by the number of looks so far."""
    runs = 300
    naive = np.array([np.maximum.accumulate(np.abs(z_values(seed, LOOKS)) >= 1.96) for seed in range(runs)])
    safe = np.zeros((runs, LOOKS), dtype=bool)
    for seed in range(runs):
        rng = np.random.default_rng((3, seed))
        x, y = rng.poisson(0.5, LOOKS).astype(np.float64), rng.poisson(4.5, LOOKS).astype(np.float64)
        evidence = CountsTest(POISSON).update(x, np.full(LOOKS, 100.0), y, np.full(LOOKS, 900.0))
        safe[seed] = evidence.log_e_max >= log(20.0)
    figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
    looks = np.arange(1, LOOKS + 1)
    axes.plot(looks, 100 * naive.mean(axis=0), color=ILL, label="z-test at 5 %, asked again at every look")
    axes.plot(looks, 100 * safe.mean(axis=0), color=CALM, label="haltline's test of error counts at 5 %")
    axes.axhline(5, color="black", lw=0.8, ls="--", label="promised: at most 5 %")
    axes.set(xscale="log", xlabel="looks so far", ylabel="harmless streams that ever tripped, %", ylim=(-1, 75))
    axes.set_title(f"{runs} streams in which nothing is wrong")
    axes.legend(frameon=False, loc="upper left")
    return figure


def _service(log_p: Floats, named: Sequence[int]) -> Floats:
    """Log p of a service at each look from those of its metrics, float64[metrics, looks]."""
    mask = np.zeros(len(log_p), dtype=bool)
    mask[list(named)] = True
    guardrail = mask if named else None
    combined = [service_log_p(column, guardrail=guardrail) for column in log_p.T]
    return np.array([families_log_p({"past": one, "silence": 0.0}) for one in combined])


def windows(plt: Any) -> Any:
    """The p-value of one series after each sample, for harm of several sizes."""
    values = latency(11, 5_760 + WATCH)
    history, future = values[:5_760], values[5_760:]
    past = calibrate(history, period=PERIOD, end=0.0, watch=WATCH)
    figure, (above, below) = plt.subplots(2, 1, figsize=(9, 6), sharex=True, layout="constrained")
    looks = np.arange(1, WATCH + 1)
    for size, color in ((0.0, CALM), (0.25, "tab:olive"), (0.5, "tab:orange"), (1.0, ILL)):
        x = future.copy()
        x[4:] *= 1.0 + size
        evidence = past.start().update(x)
        label = f"+{size:.0%} from the fifth sample" if size else "nothing wrong"
        above.plot(looks, x, color=color, lw=1.0, label=label)
        below.step(looks, np.exp(_service(evidence.log_p[None, :], ())), where="post", color=color)
    for edge in (5, 15, 60):
        below.axvline(edge, color=QUIET, lw=0.8, ls=":")
        below.annotate(f"{edge} ", (edge, 1.3), ha="right", fontsize=8, color="0.4")
    alpha = Breaker().error_rate
    below.axhline(alpha, color="black", lw=0.8, ls="--")
    below.annotate(f"freeze at {alpha:g}", (WATCH, alpha * 1.15), ha="right", fontsize=8)
    above.set(ylabel="latency, ms")
    above.legend(frameon=False, fontsize=8, ncols=2, loc="upper left")
    above.set_title("One change, looked at after every sample, against four days of its own past")
    below.set(
        xlabel="samples since the change (dotted: ends of the nested windows)",
        ylabel="p",
        yscale="log",
        ylim=(2e-4, 2.5),
    )
    return figure


def blind(plt: Any) -> Any:
    """The share of changes caught by size of harm, and by how many of nineteen metrics show it."""
    pasts: list[list[tuple[Calibration, Floats]]] = []
    for service in range(SERVICES):
        rows = []
        for metric in range(METRICS):
            values = latency(1_000 + service * METRICS + metric, 1_440 + WATCH)
            rows.append((calibrate(values[:1_440], period=PERIOD, end=0.0, watch=WATCH), values[1_440:]))
        pasts.append(rows)
    kinds: tuple[tuple[str, int, int, int | None], ...] = (
        ("in all 19, none named", METRICS, 0, None),
        ("in 3 of 5 named", 3, 5, None),
        ("in 3 of 19, none named", 3, 0, None),
        ("in 1 of 19, not named", 1, 0, None),
        ("in 3 of 5 named, one sample only", 3, 5, 1),
    )
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for name, ill, named, lasting in kinds:
        shares = []
        for size in SIZES:
            caught = 0
            for rows in pasts:
                log_p = []
                for number, (past, future) in enumerate(rows):
                    x = future.copy()
                    if number < ill:
                        x[4 : None if lasting is None else 4 + lasting] *= 1.0 + size
                    log_p.append(past.start().update(x).log_p)
                caught += bool(_service(np.array(log_p), range(named))[-1] <= log(Breaker().error_rate))
            shares.append(caught / SERVICES)
        axes.plot([100 * size for size in SIZES], shares, marker="o", ms=4, label=name, ls="--" if lasting else "-")
    axes.set(
        xscale="log", ylim=(-0.03, 1.03), xlabel="harm, % more than usual, from the fifth sample on",
        ylabel=f"caught within {WATCH} samples",
    )  # fmt: skip
    axes.set_xticks([100 * size for size in SIZES], [f"+{size:.0%}" for size in SIZES])
    axes.minorticks_off()
    axes.set_title(f"{SERVICES} simulated services of {METRICS} metrics, a day of history")
    axes.legend(frameon=False, fontsize=8)
    return figure


def goals(plt: Any, measured: Path) -> Any:
    """Freezes of harmless changes by set and length of the watch, from the last run of the table of goals."""
    lines = json.loads(measured.read_text(encoding="utf-8"))["lines"]
    shown = [line for line in lines if line["row"].startswith("placebo") and "high" in line["numbers"]]
    figure, axes = plt.subplots(figsize=(8, 1.2 + 0.26 * len(shown)), layout="constrained")
    for place, line in enumerate(shown):
        numbers = line["numbers"]
        rate = 1000 * numbers["frozen"] / numbers["changes"]
        axes.plot([numbers["low"], numbers["high"]], [place, place], color=QUIET, lw=2)
        axes.plot(rate, place, "o", color=ILL if rate > 4 else CALM)
        text = f"{numbers['frozen']} of {numbers['changes']}"
        axes.annotate(text, (numbers["high"], place), xytext=(5, -3), textcoords="offset points", fontsize=7)
    axes.axvline(4, color="black", lw=0.8, ls="--")
    axes.set_yticks(range(len(shown)), [line["row"].partition(": ")[2] for line in shown], fontsize=8)
    axes.set_xscale("symlog", linthresh=5)
    axes.set_xlim(left=-0.3)
    axes.invert_yaxis()
    axes.set_xlabel("freezes per 1,000 harmless changes, with 95 % interval (dashed: the goal of 4)")
    return figure


def main(argv: Sequence[str]) -> int:
    """Write the PNGs into docs/detection."""
    parser = argparse.ArgumentParser(prog="python -m bench pictures", description=__doc__)
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder (default: docs/detection)")
    parser.add_argument("--only", default="", help="names of pictures, separated by commas")
    given = parser.parse_args(list(argv))
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    made = {"shadows": shadows, "looking": looking, "windows": windows, "blind": blind}
    measured = OUT / "detection.json"
    wanted = set(filter(None, given.only.split(","))) or {*made, "goals"}
    given.out.mkdir(parents=True, exist_ok=True)
    for name in sorted(wanted):
        if name == "goals" and not measured.exists():
            print(f"goals: left as it is: {measured} is not there; `python -m bench detection` makes it")
            continue
        figure = goals(plt, measured) if name == "goals" else made[name](plt)
        figure.savefig(given.out / f"{name}.png", dpi=90, metadata={"Software": None})
        plt.close(figure)
        print(given.out / f"{name}.png")
    return 0
