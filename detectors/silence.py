"""Silence: a series that stays away, a version that never reports, instances that run but get no traffic.

Silence counts only where there was regularity: low traffic is no silence, and a metric that never told instances apart
was never missed. Three kinds, each calibrated on what is its like:

* a regular series stays away for three of its intervals: rank and excess of the gap among its own past gaps;
* the new version is not seen though the old one is regular: against how long others took to show themselves;
* the new instances run but get no requests while the old ones do: requests over instances, as counts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isfinite, log, log1p

import numpy as np
from numpy.typing import NDArray

from detectors.counts import CountsTest, calibrate_counts

Floats = NDArray[np.float64]

INTERVALS = 3.0
"""A regular series is silent once it stays away for so many of its intervals."""
REGULAR = 0.9
"""Share of the past gaps that must be no longer than one and a half intervals."""
LEAST_GAPS = 10
GAP_TAIL = 4.0
"""p falls with this power of the excess over the longest past gap: outages of collectors are rare, not impossible."""
START_TAIL, IDLE_TAIL = 3.0, 4.0
"""With this power of the excess over the slowest start-up; the second where the instance is known to run."""
START_TAIL_MOST = 6.0
LEAST_PRESENCE = 0.6
SHUNNED = 4.0
"""New instances with a quarter of their fair share of requests are served less, not shunned."""


@dataclass(frozen=True, slots=True)
class SilenceEvidence:
    """How improbable the silence is, and the numbers behind it (seconds, or whatever unit the gaps came in)."""

    log_p: float
    gap: float
    reference: float
    """The gap that is not yet odd."""
    samples: int
    reason: str


def gap_log_p(
    gaps: Floats, current_gap: float, period: float, *, watch: float = 30.0, intervals: float = INTERVALS
) -> SilenceEvidence:
    """Judge a series that has been away for ``current_gap``, by its past ``gaps`` between samples, float64[n].

    ``watch``: how many intervals the change is watched, for n gaps hold n / watch independent watches. The gap only
    grows until the series returns, so the caller keeps the smallest log p.

    >>> regular, bursty = np.full(400, 1.0), np.random.default_rng(0).exponential(1.0, 400)
    >>> [round(gap_log_p(regular, gap, 1.0).log_p, 1) for gap in (1.0, 2.0, 3.0, 4.0, 6.0)]
    [0.0, 0.0, -8.2, -9.8, -11.9]
    >>> gap_log_p(bursty, 6.0, 1.0).reason
    'irregular: 73 % of 400 gaps within 1.5 intervals'
    """
    past = gaps[np.isfinite(gaps) & (gaps > 0)]
    n = int(past.size)

    def says(log_p: float, reference: float, reason: str) -> SilenceEvidence:
        return SilenceEvidence(log_p, current_gap, reference, n, reason)

    if n < LEAST_GAPS or not (period > 0 and isfinite(current_gap)):
        return says(0.0, intervals * period, f"too short a past: {n} gaps")
    regular = float((past <= 1.5 * period).mean())
    if regular < REGULAR:
        return says(0.0, float(past.max()), f"irregular: {regular * 100:.0f} % of {n} gaps within 1.5 intervals")
    # One gap in a thousand does not count: an outage of the collector would blind the series for as long as it is kept.
    rank = 1 + n // 1000
    longest = float(np.sort(past)[-rank])
    missed, usual = current_gap / period - 1.0, max(longest / period - 1.0, 0.5)
    if current_gap < intervals * period or missed <= usual:
        return says(0.0, longest, f"away {current_gap:.3g}, longest of {n} gaps {longest:.3g}")
    reached = rank if longest > 1.5 * period else 1
    log_p = min(0.0, log(reached) - log1p(n / watch) - GAP_TAIL * log(missed / usual))
    return says(
        log_p,
        longest,
        f"away {current_gap:.3g} = {current_gap / period:.1f} intervals, longest of {n} gaps {longest:.3g}",
    )


def never_reported_log_p(
    waited: float, period: float, start_ups: Floats, *, old_presence: float, instances: int = 1, runs: bool = False
) -> SilenceEvidence:
    """Judge a new version (or instance) not seen for ``waited`` since its change.

    ``start_ups``, float64[m]: how long the other new instances, and those of earlier changes, took until their first
    sample. ``old_presence``: share of bins in which the old ones report the metric (0 to 1); ``instances``: how many
    new ones there should be; ``runs``: they report other metrics, so that no start-up can explain it. Only metrics that
    carry the version or the instance may be missed this way.

    >>> known = np.array([20.0, 35.0, 30.0, 25.0, 40.0, 30.0])
    >>> evidence = never_reported_log_p(240.0, 10.0, known, old_presence=1.0)
    >>> round(evidence.log_p, 1), evidence.reason
    (-10.4, 'not seen for 240, slowest of 6 start-ups 40')
    >>> round(never_reported_log_p(240.0, 10.0, known, old_presence=0.2).log_p, 1)
    0.0
    """
    known = start_ups[np.isfinite(start_ups) & (start_ups >= 0)]
    m = int(known.size)
    reference = max(2.0 * period, float(known.max()) if m else 0.0)
    if old_presence < LEAST_PRESENCE:
        return SilenceEvidence(0.0, waited, reference, m, f"the old ones report in {old_presence * 100:.0f} % of bins")
    reason = f"not seen for {waited:.3g}, slowest of {m} start-ups {reference:.3g}"
    if waited <= reference:
        return SilenceEvidence(0.0, waited, reference, m, reason)
    # Start-ups that are alike make a late one odder: Hill's exponent of their upper half, shrunk to the default.
    tail = IDLE_TAIL if runs else START_TAIL
    upper = known[known >= np.median(known)] if m else known
    if m >= 2 and upper.min() > 0:
        hill = 1.0 / max(float(np.log(upper / upper.min()).mean()), 1.0 / START_TAIL_MOST)
        tail = (m * hill + 5.0 * tail) / (m + 5.0)
    log_p = -log(2.0 + m) - tail * log(waited / reference)
    # Nor may it be odder than the old ones missing as many bins by their own irregularity.
    bins = instances * waited / period
    return SilenceEvidence(max(log_p, bins * log1p(-0.6 * old_presence)), waited, reference, m, reason)


def traffic_shun(requests: Floats, *, warm_up: int = 3) -> CountsTest:
    """Make the test of "the new instances run but get no requests", from ``requests``, float64[bins, old instances].

    Requests are the events, instances (times their share, where a router gives weights) the exposure, harm is down, and
    its null is a quarter of the fair share. Update it with bins in which the new instances are known to run.

    >>> rng = np.random.default_rng(2)
    >>> test = traffic_shun(rng.poisson(50.0, (60, 3)).astype(float))
    >>> old = rng.poisson(150.0, 5).astype(float)
    >>> evidence = test.update(np.zeros(5), np.ones(5), old, np.full(5, 3.0))
    >>> evidence.log_e_max[-1] > 8.0
    np.True_
    """
    calibration = calibrate_counts(requests, np.where(np.isfinite(requests), 1.0, np.nan), burst=0.0)
    # The level of traffic wanders by nature, so only what the old ones get now is a control.
    shunned = replace(calibration, tolerance=max(SHUNNED, calibration.tolerance), past_share=0.0)
    return CountsTest(shunned, harm="down", warm_up=warm_up)
