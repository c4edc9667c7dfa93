"""What a bench reports: rates with an interval bootstrapped by series, recall, delays in which a miss is infinite."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from bench.cases import SEED
from bench.run_replay import Outcome, Replayed

DRAWS = 4_000


@dataclass(frozen=True)
class Rate:
    """Freezes of harmless changes: count, share, and a 95 % interval that draws whole series."""

    frozen: int
    changes: int
    per_1000: float
    low: float
    high: float
    harmful_verdicts: int
    unsure: int

    def text(self) -> str:
        return f"{self.per_1000:.1f} [{self.low:.1f}, {self.high:.1f}]"


@dataclass(frozen=True)
class Recall:
    """Harmful changes caught: how many of how many, and the delays of the caught; `early` froze before the harm began.

    Samples of harm seen count the deciding one, so 1 is the first sample that showed it. `all_p50` and `all_p90` count
    a miss as infinite. `unsure` are those whose verdict ended without an answer.
    """

    caught: int
    harmful: int
    harmful_verdicts: int
    early: int
    unsure: int
    samples_from_change: tuple[float, float]
    samples_of_harm: tuple[float, float]
    seconds_from_change: tuple[float, float]
    seconds_from_onset: tuple[float, float]
    all_p50: float
    all_p90: float

    @property
    def share(self) -> float:
        return self.caught / self.harmful if self.harmful else math.nan


def rate(runs: Sequence[Replayed]) -> Rate:
    """Over the harmless changes of these replays."""
    by_series: dict[str, list[int]] = {}
    harmful = unsure = 0
    for ident, outcome, run in _each(runs):
        if run.truth[ident].onset_ms is None:
            counts = by_series.setdefault(run.truth[ident].series, [0, 0])
            counts[0] += outcome.frozen_ms is not None
            counts[1] += 1
            harmful += outcome.state == "harmful"
            unsure += outcome.state in {"inconclusive", "warming", "none"}
    table = np.array([by_series[name] for name in sorted(by_series)], dtype=np.float64).reshape(-1, 2)
    frozen, changes = (int(total) for total in table.sum(axis=0))
    if not changes:
        return Rate(0, 0, math.nan, math.nan, math.nan, 0, 0)
    rng = np.random.default_rng(SEED)
    drawn = table[rng.integers(len(table), size=(DRAWS, len(table)))].sum(axis=1)
    low, high = np.percentile(1000 * drawn[:, 0] / drawn[:, 1], [2.5, 97.5])
    return Rate(frozen, changes, 1000 * frozen / changes, float(low), float(high), harmful, unsure)


def recall(runs: Sequence[Replayed], *, early_counts: bool = True, without: frozenset[str] = frozenset()) -> Recall:
    """Over the harmful changes of these replays, leaving out the moments named in `without`.

    A freeze before labelled harm counts as caught, as labels begin where people saw it; before injected harm it does
    not.
    """
    caught = harmful = said = early = unsure = 0
    delays: dict[str, list[float]] = {"change": [], "harm": [], "change_s": [], "onset_s": []}
    for ident, outcome, run in _each(runs):
        truth = run.truth[ident]
        if truth.onset_ms is None or truth.moment in without:
            continue
        harmful += 1
        said += outcome.state == "harmful"
        unsure += outcome.state in {"inconclusive", "warming", "none"}
        if outcome.frozen_ms is None:
            continue
        before = outcome.frozen_ms < truth.onset_ms
        early += before
        if before and not early_counts:
            continue
        caught += 1
        since_change, since_onset = outcome.frozen_ms - truth.change_ms, outcome.frozen_ms - truth.onset_ms
        delays["change"].append(math.ceil(since_change / truth.period_ms))
        delays["harm"].append(math.floor(since_onset / truth.period_ms) + 1)
        delays["change_s"].append(since_change / 1000)
        delays["onset_s"].append(since_onset / 1000)
    everyone = delays["harm"] + [math.inf] * (harmful - caught)
    return Recall(
        caught,
        harmful,
        said,
        early,
        unsure,
        _middle_and_p90(delays["change"]),
        _middle_and_p90(delays["harm"]),
        _middle_and_p90(delays["change_s"]),
        _middle_and_p90(delays["onset_s"]),
        *_middle_and_p90(everyone),
    )


def frozen_moments(runs: Sequence[Replayed]) -> frozenset[str]:
    """The moments whose change was frozen."""
    return frozenset(run.truth[ident].moment for ident, outcome, run in _each(runs) if outcome.frozen_ms is not None)


def unfelt_moments(runs: Sequence[Replayed]) -> frozenset[str]:
    """The moments whose harm changed no number."""
    return frozenset(truth.moment for run in runs for truth in run.truth.values() if not truth.felt)


def plain(value: object) -> object:
    """A figure as JSON can hold it: an infinite or undefined number becomes null."""
    if isinstance(value, Rate | Recall):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _middle_and_p90(values: Sequence[float]) -> tuple[float, float]:
    """Median and 90 % point, each a value that occurred (so that infinite ones stay apart); nan of nothing."""
    if not values:
        return math.nan, math.nan
    ordered = sorted(values)
    return ordered[math.ceil(0.5 * len(ordered)) - 1], ordered[math.ceil(0.9 * len(ordered)) - 1]


def _each(runs: Sequence[Replayed]) -> list[tuple[str, Outcome, Replayed]]:
    return [(ident, outcome, run) for run in runs for ident, outcome in run.outcomes.items()]
