"""A simulated day of many changes: after how many harmful ones a bad tool release is accused, and who else is.

Outcomes are drawn, everything after them is the product: `deploy.classes.Classes` with the policy's defaults, harm
told minutes after a change started, health when its watch of 30 minutes ends. Two calm days come before each day that
counts.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np

from bench import OUT
from bench.tables import short, table
from deploy.change import Change, Origin, Provenance
from deploy.classes import Classes, Standing
from deploy.policy import Classes as Rules
from deploy.policy import Policy, Service

DAY = 86_400_000
BASE, HARM = 0.01, 0.30
CALM_DAYS = 2
WATCH = 30 * 60_000
BAD = "tool=t0"
TOOLS, TEAMS, SERVICES = 8, 12, 60
#: The goals: at most so many harmful changes, and so many harmless classes accused in a day.
HARMFUL_GOAL, ACCUSED_GOAL = 5, 0.01


@dataclass(frozen=True)
class Day:
    """What one simulated day is made of; the release turns bad as the day begins, a wave hits everybody in it."""

    changes: int = 500
    share: float = 0.10
    bad: bool = False
    wave: bool = False
    error_rate: float = Rules().error_rate


USUAL = Day(bad=True)
RELEASES = (
    Day(changes=200, bad=True),
    Day(share=0.05, bad=True),
    USUAL,
    Day(share=0.30, bad=True),
    Day(changes=2000, bad=True),
    Day(bad=True, error_rate=0.01),
)


@dataclass(frozen=True)
class Seen:
    """What became of it: harmful changes and minutes until the tool was accused, and the classes accused."""

    harmful: int | None
    minutes: float | None
    accused: frozenset[str]
    classes: int


@dataclass(frozen=True)
class Noticed:
    """Over many days with a bad release."""

    changes: int
    share: float
    error_rate: float
    days: int
    median: float
    p90: float
    within_goal: float
    missed: int
    minutes: float
    others: float


@dataclass(frozen=True)
class Harmless:
    """Over many days without one: class-days and days with an accusation, and the upper 95 % bound of the former."""

    what: str
    days: int
    class_days: int
    accused: int
    a_class_a_day: float
    upper: float
    days_with_one: float


@cache
def simulate(day: Day, seed: int) -> Seen:
    """One day after two calm ones, through the product."""
    rng = np.random.default_rng(seed)
    services = {f"s{number}": Service(tier=1 + number % 3) for number in range(SERVICES)}
    classes = Classes(Policy(services=services, classes=Rules(error_rate=day.error_rate)))
    begin = CALM_DAYS * DAY
    accused: set[str] = set()
    harmful = 0
    found: tuple[int, float] | None = None
    for at, change, harm in _events(rng, day):
        if harm is None:
            classes.started(change)
            continue
        of_tool = f"tool={change.provenance.tools[0]}" == BAD if change.provenance.tools else False
        harmful += harm and of_tool and change.time >= begin
        now = classes.ended(change.id, at, harmful=harm)
        if at >= begin:
            accused |= set(now)
            if BAD in now and found is None:
                found = harmful, (at - begin) / 60_000
                if day.bad:
                    break
    standing = [one for one in classes.views() if one.standing is not Standing.TOO_FEW]
    count, minutes = found or (None, None)
    return Seen(count, minutes, frozenset(accused), len(standing))


def _events(rng: np.random.Generator, day: Day) -> Iterator[tuple[int, Change, bool | None]]:
    """Starts (None) and outcomes in the order of time."""
    days = CALM_DAYS + 1
    count = rng.poisson(day.changes * days)
    times = np.sort(rng.integers(0, days * DAY, count)).tolist()
    wave = CALM_DAYS * DAY + int(rng.integers(0, DAY - 2 * 3_600_000))
    events: list[tuple[int, int, Change, bool | None]] = []
    for number, at in enumerate(times):
        change = _change(rng, day, number, at)
        rate = BASE
        if day.wave and wave <= at < wave + 3_600_000:
            rate = 10 * BASE
        if day.bad and at >= CALM_DAYS * DAY and change.provenance.tools == ("t0",):
            rate = HARM
        harm = bool(rng.random() < rate)
        known = at + (int(rng.integers(60_000, 10 * 60_000)) if harm else WATCH)
        events += [(at, number, change, None), (known, number, change, harm)]
    for known_at, _, change, outcome in sorted(events, key=lambda event: event[:2]):
        yield known_at, change, outcome


def _change(rng: np.random.Generator, day: Day, number: int, at: int) -> Change:
    """A change of the bad tool with its share, else half by people alone and half with one of the other tools."""
    tool = 0 if rng.random() < day.share else -1 if rng.random() < 0.5 else int(rng.integers(1, TOOLS))
    origin = Origin.HUMAN if tool < 0 else Origin.AI if rng.random() < 0.7 else Origin.MIXED
    provenance = Provenance(
        origin=origin,
        autonomy="" if tool < 0 else "agent" if tool % 2 else "assistant",
        tools=() if tool < 0 else (f"t{tool}",),
        models=() if tool < 0 else (f"m{rng.integers(0, 4)}",),
    )
    return Change(
        id=f"c{number}",
        service=f"s{rng.integers(0, SERVICES)}",
        time=at,
        provenance=provenance,
        labels={"team": f"team{rng.integers(0, TEAMS)}"},
    )


def truly_worse(name: str) -> bool:
    """Whether a class holds more of the bad tool's changes than the rest does."""
    return name in {BAD, "origin=ai", "origin=mixed", "autonomy=assistant"} or name.startswith("model=")


def noticed(day: Day, days: int, seed: int) -> Noticed:
    """How soon the bad tool is accused."""
    seen = [simulate(day, seed + number) for number in range(days)]
    harmful = sorted(math.inf if one.harmful is None else one.harmful for one in seen)
    minutes = sorted(math.inf if one.minutes is None else one.minutes for one in seen)
    return Noticed(
        changes=day.changes,
        share=day.share,
        error_rate=day.error_rate,
        days=days,
        median=harmful[len(harmful) // 2],
        p90=harmful[math.ceil(0.9 * len(harmful)) - 1],
        within_goal=sum(one <= HARMFUL_GOAL for one in harmful) / days,
        missed=sum(one.harmful is None for one in seen),
        minutes=minutes[len(minutes) // 2],
        others=sum(any(not truly_worse(name) for name in one.accused) for one in seen) / days,
    )


def harmless(what: str, day: Day, days: int, seed: int) -> Harmless:
    """How often a class is accused where none is worse than the rest."""
    seen = [simulate(day, seed + number) for number in range(days)]
    accused, class_days = sum(len(one.accused) for one in seen), sum(one.classes for one in seen)
    return Harmless(
        what=what,
        days=days,
        class_days=class_days,
        accused=accused,
        a_class_a_day=accused / class_days,
        upper=_upper(accused) / class_days,
        days_with_one=sum(bool(one.accused) for one in seen) / days,
    )


def _upper(count: int) -> float:
    """The mean of a Poisson count of which `count` or fewer come with 2.5 %: the upper end of a 95 % interval."""
    low, high = float(count), count + 10.0 * math.sqrt(count + 1.0) + 10.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        term = total = math.exp(-middle)
        for number in range(1, count + 1):
            term *= middle / number
            total += term
        low, high = (middle, high) if total > 0.025 else (low, middle)
    return high


def main(argv: list[str]) -> int:
    """Print both tables, write JSON and a plot; 1 where a goal is missed on the day of 500 changes."""
    parser = argparse.ArgumentParser(prog="python -m bench classes", description=__doc__)
    parser.add_argument("--days", type=int, default=200, help="simulated days of each row (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=OUT, help="where classes.json and .png go (default: %(default)s)")
    given = parser.parse_args(argv)
    began = time.monotonic()
    releases = [noticed(day, given.days, 10_000) for day in RELEASES]
    calm: dict[str, Callable[[str], Harmless]] = {
        "500 changes": lambda what: harmless(what, Day(), given.days, 20_000),
        "2,000 changes": lambda what: harmless(what, Day(changes=2000), max(1, given.days // 4), 30_000),
        "500, a wave of ten times the harm for an hour": lambda what: harmless(
            what, Day(wave=True), given.days, 40_000
        ),
    }
    quiet = [measure(what) for what, measure in calm.items()]
    rows = [
        [
            f"{one.changes:,} changes, {one.share:.0%} by the tool, error_rate {one.error_rate:.2g}",
            short(one.median),
            short(one.p90),
            f"{one.within_goal:.0%}",
            str(one.missed),
            short(one.minutes),
            f"{one.others:.1%}",
        ]
        for one in releases
    ]
    header = ["a day of", "harmful p50", "p90", f"<= {HARMFUL_GOAL}", "missed", "minutes p50", "others accused first"]
    print(table(f"one bad tool release, {BASE:.0%} -> {HARM:.0%} harmful, {given.days} days each", header, rows))
    print()
    header = ["a day of", "days", "class-days", "accused", "of class-days", "upper 95 %", "of days"]
    rows = [
        [
            one.what,
            str(one.days),
            f"{one.class_days:,}",
            str(one.accused),
            f"{one.a_class_a_day:.3%}",
            f"{one.upper:.3%}",
            f"{one.days_with_one:.1%}",
        ]
        for one in quiet
    ]
    title = f"harmless classes accused; promised: all together at most {Rules().error_rate:.0%} of days without a wave"
    print(table(title, header, rows))
    usual = releases[RELEASES.index(USUAL)]
    kept = usual.median <= HARMFUL_GOAL and quiet[0].a_class_a_day <= ACCUSED_GOAL
    said = f"at most {HARMFUL_GOAL} harmful changes (median), a harmless class in at most {ACCUSED_GOAL:.0%} of days"
    print(f"\ngoals, 500 changes: {said}: {'kept' if kept else 'missed'}; took {time.monotonic() - began:.0f} s")
    given.out.mkdir(parents=True, exist_ok=True)
    document = {"releases": [asdict(one) for one in releases], "harmless": [asdict(one) for one in quiet]}
    text = json.dumps(_plain(document), indent=1)
    (given.out / "classes.json").write_text(text + "\n", encoding="utf-8")
    _plot(given.out / "classes.png", given.days)
    return 0 if kept else 1


def _plain(value: object) -> object:
    """An infinite number becomes null."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _plot(path: Path, days: int) -> None:
    """Of the bad releases on a day of 500 changes: the share accused after each harmful change, by the tool's share."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    for share in (0.05, 0.10, 0.30):
        counts = [simulate(Day(500, share, bad=True), 10_000 + seed).harmful for seed in range(days)]
        reach = range(13)
        known = [sum(count is not None and count <= most for count in counts) / days for most in reach]
        axes.step(list(reach), known, where="post", label=f"{share:.0%} of the changes are the tool's")
    axes.axvline(HARMFUL_GOAL, color="0.6", linestyle=":", label="goal of the median")
    axes.set(
        xlabel="harmful changes of the tool since its release",
        ylabel="share of days on which it is accused",
        ylim=(0, 1.02),
        title=f"One bad tool release, {BASE:.0%} to {HARM:.0%} harmful, 500 changes a day",
    )
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
