"""A line of the table of goals: what was promised, what was measured, and whether that keeps it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.figures import Rate, Recall
from bench.judged import share
from bench.run_replay import Replayed
from bench.tables import short

MET = {True: "met", False: "missed", None: "-"}
#: Words by which a freeze for silence can be told in its reason.
SILENT = (" silent for ", "not seen for ")


@dataclass(frozen=True)
class Line:
    """One figure beside its goal, and the arguments of `python -m bench` that print it in full.

    `met` is None where nothing was measured, nothing was promised, or there is too little to tell.
    """

    row: str
    goal: str
    figure: str
    met: bool | None
    command: str
    numbers: Mapping[str, float] = field(default_factory=dict)


def placebo_line(row: str, found: Rate, most: float, upper: float, command: str, silent: int = 0) -> Line:
    """Freezes per 1,000 harmless changes against a goal for the rate and one for the upper end of its interval.

    An interval bootstrapped over series that never froze is empty; there the upper end is that of 0 of n, 3 / n.
    """
    if not found.changes:
        return Line(row, f"<= {most:g}, upper <= {upper:g}", "no harmless change fits", None, command)
    high = max(found.high, 3000 / found.changes) if not found.frozen else found.high
    kept = None if lone(found.frozen, found.changes, most) else found.per_1000 <= most
    kept = None if kept and high > upper else kept
    figure = f"{found.per_1000:.1f} [{found.low:.1f}, {high:.1f}] {found.frozen} of {found.changes}"
    numbers = {"frozen": found.frozen, "changes": found.changes, "low": found.low, "high": high, "silent": silent}
    goal = f"<= {most:g}, upper <= {upper:g}"
    return Line(row, goal, figure + (", too few to tell" if kept is None else ""), kept, command, numbers)


def lone(hits: int, n: int, most: float) -> bool:
    """Whether one hit alone, or none, decides: in so few cases that a single one is above `most` per 1,000.

    >>> lone(1, 100, 4), lone(2, 100, 4), lone(1, 1000, 4)
    (True, False, False)
    """
    return hits == 1 and 1000 / n > most


def share_line(row: str, hits: int, n: int, least: float, command: str, *, also: str = "") -> Line:
    """A share that should be at least `least`, with the interval of Wilson; `also` is said behind it."""
    kept = None if not n else hits / n >= least
    goal = f">= {least:.2f}".replace("0.", ".")
    return Line(row, goal, share(hits, n) + also, kept, command, {"hits": hits, "n": n})


def recall_line(row: str, found: Recall, least: float, command: str, felt: Recall | None = None) -> Line:
    """A recall that should be at least `least`, with the median delay of the caught in samples of harm.

    `felt` is the recall where the harm changed a number at all.
    """
    middle = found.samples_of_harm[0]
    also = "" if math.isnan(middle) else f", median {short(middle)} samples"
    if felt is not None and felt.harmful < found.harmful:
        also += f"; {felt.share:.3f} of the {felt.harmful} that are not at rest".replace(" 0.", " .")
    return share_line(row, found.caught, found.harmful, least, command, also=also)


def within(runs: Sequence[Replayed], samples: int) -> tuple[int, int]:
    """How many harmful changes were frozen by the `samples`-th sample of their harm, and not before it; of how many."""
    hits = n = 0
    for run in runs:
        for ident, outcome in run.outcomes.items():
            truth = run.truth[ident]
            if truth.onset_ms is None:
                continue
            n += 1
            if outcome.frozen_ms is not None and outcome.frozen_ms >= truth.onset_ms:
                hits += (outcome.frozen_ms - truth.onset_ms) // truth.period_ms + 1 <= samples
    return hits, n


def silent_freezes(runs: Sequence[Replayed]) -> int:
    """Harmless changes that were frozen for a silence."""
    return sum(
        outcome.frozen_ms is not None and any(words in outcome.reason for words in SILENT)
        for run in runs
        for ident, outcome in run.outcomes.items()
        if run.truth[ident].onset_ms is None
    )
