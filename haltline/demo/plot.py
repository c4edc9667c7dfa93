"""The picture of the incident: error ratio of the old and the new instances, the evidence, and both moments."""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from pathlib import Path
from textwrap import shorten
from typing import Any

import msgspec

from haltline.demo.observer import Sample, Weight

_OLD, _NEW, _HARM, _FREEZE, _INK = "#4477aa", "#cc3311", "#bb5500", "#007788", "#333333"
_BEFORE_S, _AFTER_S = 8.0, 2.0
_BARS_HIGH = 5
"""The evidence is shown up to so many times what a freeze needs; it soon grows beyond any paper."""


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """What the picture shows; times in Unix milliseconds.

    `healthy` is when the last broken instance was gone, `unfrozen` when the freeze was ended; a p-value up to
    `error_rate` freezes.
    """

    service: str
    change: str
    old: str
    new: str
    samples: Sequence[Sample]
    weights: Sequence[Weight]
    harm: int
    frozen: int
    healthy: int
    unfrozen: int
    reason: str
    error_rate: float


def ratios(incident: Incident, version: str) -> tuple[list[float], list[float]]:
    """Seconds since the harm began, and the error ratio (percent) of that version's instances up to each of them."""
    seconds: dict[int, list[int]] = {}
    for sample in incident.samples:
        if (sample.service, sample.version) == (incident.service, version):
            # Instances cut their samples at full seconds, a little late; one that ends cuts a last one in between.
            counts = seconds.setdefault(round(sample.at / 1_000), [0, 0])
            counts[0] += sample.requests
            counts[1] += sample.errors
    points = [
        ((second * 1_000 - incident.harm) / 1_000, 100 * errors / requests)
        for second, (requests, errors) in sorted(seconds.items())
        if requests
    ]
    shown = [point for point in points if -_BEFORE_S <= point[0] <= _end(incident)]
    return [at for at, _ in shown], [ratio for _, ratio in shown]


def _end(incident: Incident) -> float:
    return (incident.unfrozen - incident.harm) / 1_000 + _AFTER_S


def draw(incident: Incident, folder: Path) -> tuple[Path, Path]:
    """Draw the incident as PNG and SVG into `folder`; gives both paths."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    style: dict[Any, Any] = {
        "font.family": "DejaVu Sans",
        "font.size": 11,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": "#999999",
        "axes.labelcolor": _INK,
        "xtick.color": _INK,
        "ytick.color": _INK,
        "svg.hashsalt": "haltline",
    }
    with plt.rc_context(style):
        figure, (above, below) = plt.subplots(2, 1, figsize=(11, 6.8), sharex=True, height_ratios=(3, 2))
        figure.subplots_adjust(left=0.075, right=0.97, top=0.845, bottom=0.085, hspace=0.1)
        _errors(above, incident)
        _evidence(below, incident)
        _moments(above, below, incident)
        below.set_xlim(-_BEFORE_S, _end(incident))
        below.set_xlabel("seconds since the harm began")
        took = (incident.frozen - incident.harm) / 1_000
        title = f"{incident.change} did harm; {took:.1f} s later {incident.service} was frozen"
        figure.text(0.075, 0.945, title, fontsize=16, fontweight="bold", color=_INK)
        figure.text(0.075, 0.908, shorten(incident.reason, 120, placeholder=" …"), fontsize=10.5, color="#666666")
        folder.mkdir(parents=True, exist_ok=True)
        paths = folder / "incident.png", folder / "incident.svg"
        for path in paths:
            figure.savefig(path, dpi=150)
        plt.close(figure)
    return paths


def _errors(axes: Any, incident: Incident) -> None:
    from matplotlib.patheffects import withStroke

    for version, colour, width in ((incident.old, _OLD, 1.8), (incident.new, _NEW, 2.4)):
        at, ratio = ratios(incident, version)
        axes.plot(at, ratio, color=colour, linewidth=width, marker="o", markersize=3.5, clip_on=False, zorder=3)
        if at:
            peak = ratio.index(max(ratio)) if version == incident.new else 0
            where, ha = ((at[peak], ratio[peak]), "center") if peak else ((at[0], max(ratio[:5])), "left")
            axes.annotate(
                f"{incident.service} {version}",
                where,
                xytext=(0, 8),
                textcoords="offset points",
                ha=ha,
                color=colour,
                fontweight="bold",
                # A rim of paper, so that it stays legible where it crosses a line.
                path_effects=[withStroke(linewidth=3, foreground="#f6fafa")],
            )
    axes.set_ylabel("failed requests, %")
    axes.set_ylim(0, 1.3 * max(axes.get_ylim()[1], 5.0))
    axes.grid(axis="y", color="#e8e8e8")
    axes.set_axisbelow(True)


def _evidence(axes: Any, incident: Incident) -> None:
    bar = -log(incident.error_rate)
    points = sorted((weight.at, weight.nats) for weight in incident.weights if weight.change == incident.change)
    at = [(moment - incident.harm) / 1_000 for moment, _ in points]
    nats = [value for _, value in points]
    axes.step([*at, _end(incident)], [*nats, nats[-1]] if nats else [0.0], where="post", color=_INK, linewidth=2)
    axes.axhline(bar, color=_FREEZE, linewidth=1.2, linestyle=(0, (1, 2)))
    axes.annotate(
        f"enough to freeze: p ≤ {incident.error_rate:g}",
        (_end(incident), bar),
        xytext=(-2, 5),
        textcoords="offset points",
        ha="right",
        color=_FREEZE,
        fontsize=10,
    )
    top = _BARS_HIGH * bar
    if nats and nats[-1] > top:
        beyond = next(moment for moment, value in zip(at, nats, strict=True) if value > top)
        axes.annotate(
            f"and on to {nats[-1]:.0f}",
            (beyond, top),
            xytext=(7, -14),
            textcoords="offset points",
            color=_INK,
            fontsize=10,
        )
    axes.set_ylabel("evidence, ln(1/p)")
    axes.set_ylim(0, top)
    axes.grid(axis="y", color="#e8e8e8")
    axes.set_axisbelow(True)


def _moments(above: Any, below: Any, incident: Incident) -> None:
    frozen, healthy, unfrozen = (
        (moment - incident.harm) / 1_000 for moment in (incident.frozen, incident.healthy, incident.unfrozen)
    )
    for axes in (above, below):
        axes.axvspan(frozen, unfrozen, color=_FREEZE, alpha=0.08, linewidth=0)
        axes.axvline(0, color=_HARM, linewidth=1.6, linestyle=(0, (4, 2)))
        axes.axvline(frozen, color=_FREEZE, linewidth=1.6)
        axes.axvline(healthy, color="#888888", linewidth=1, linestyle=(0, (1, 2)))
    where = above.get_xaxis_transform()
    bold = {"transform": where, "fontweight": "bold", "va": "bottom"}
    above.text(0, 1.015, "harm began ", ha="right", color=_HARM, **bold)
    above.text(frozen, 1.015, f" frozen after {frozen:.1f} s", color=_FREEZE, **bold)
    quiet = {"transform": where, "fontsize": 10, "va": "top"}
    above.text(healthy, 0.97, f" reverted, {healthy:.1f} s", color="#666666", **quiet)
    above.text(unfrozen, 0.97, "unfrozen by a person ", ha="right", color=_FREEZE, **quiet)
