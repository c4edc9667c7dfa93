"""The own past, plain and slow: every shadow is watched sample by sample with sorted lists, as the textbook says.

Shares no code with the fast path but the transform, the seasons and the constants.
"""

import math
import statistics

import numpy as np

from detectors.own_past import BELOW, LASTING, LEAST, LEAST_BOUNDED, LEAST_YOUNG, ROOM, SOON, SPAN, STAYS, TAIL_LASTING
from detectors.season import seasons
from detectors.shadow import (
    ALIKE,
    EARNED,
    ENOUGH,
    KAPPA,
    LEAST_AWAY,
    LEVELS,
    ODD,
    RECENT,
    SEASON_GAIN,
    SETTLE,
    SHRINK,
    STILL,
    TAILS,
    WHITE,
    grow,
    prices_of,
    shares_of,
    stride_of,
    windows_of,
)
from detectors.transform import fit

LENGTHS = (1, 3, 10, 30, 1, 3, 10, 30, 10)


def bank_of(deviations):
    """The nine statistics after these deviations (a list, oldest first); None where there are too few."""
    out = []
    for sign in (1.0, -1.0):
        turned = [sign * d for d in deviations]
        for length, rank in ((1, 0), (3, 0), (10, 2), (30, 10)):
            out.append(sorted(turned[-length:])[rank] if len(turned) >= length else None)
    last = deviations[-10:]
    if len(last) == 10:
        middle = statistics.median(last)
        out.append(sorted(abs(d - middle) for d in last)[6])
    else:
        out.append(None)
    return out


def maxima(deviations):
    """Running maxima at the end of a watch; None where a statistic never had enough samples."""
    best = [None] * 9
    for k in range(1, len(deviations) + 1):
        for j, value in enumerate(bank_of(deviations[max(0, k - 30) : k])):
            if value is not None and (best[j] is None or value > best[j]):
                best[j] = value
    return best


def level_of(present, length):
    return statistics.median(present[-length:]) if len(present) >= length else math.nan


def quantile(values):
    return sorted(values)[math.ceil(0.9 * len(values)) - 1]


def choose(shadows, j, fallback):
    """Which of the nine baselines predicts statistic ``j`` best; ``shadows`` is a list of {(j, b): value}."""

    def ratio(b, plain):
        both = [(s[j, b], s[j, plain]) for s in shadows if (j, b) in s and (j, plain) in s]
        total = sum((j, 0) in s for s in shadows)
        if len(both) < ENOUGH or 2 * len(both) < total:
            return math.inf
        below = quantile([p for _, p in both])
        return quantile([o for o, _ in both]) / below if below > 0.0 else math.inf

    if sum((j, 0) in s for s in shadows) < ENOUGH:
        return fallback
    level, least = 0, 1.0
    for b in (1, 2):
        if ratio(b, 0) < least:
            level, least = b, ratio(b, 0)
    best, least = level, SEASON_GAIN
    for b in range(3, 9):
        if ratio(b, level) < least:
            best, least = b, ratio(b, level)
    return best


def is_odd(y):
    """For each moment: far from where the series usually is, when at the last moment it is not; still, when now not."""
    away, still = [], []
    for moment in range(len(y)):
        before = [v for v in y[: moment + 1] if not math.isnan(v)]
        away.append(abs(level_of(before, LEVELS[0]) - level_of(before, LEVELS[-1])))
        still.append(len(before) > STILL and len(set(before[-STILL - 1 :])) == 1)
    present = [i for i, v in enumerate(y) if not math.isnan(v)]
    usual = [away[i] for i in present if not math.isnan(away[i])]
    odd = [False] * len(y)
    if usual:
        here = 0.0 if math.isnan(away[-1]) else away[-1]
        limit = max(ODD * statistics.median(usual), 1.5 * here, LEAST_AWAY)
        odd = [a > limit for a in away]
        if sum(odd[i] for i in present) >= (1.0 - ALIKE) * len(present):
            odd = [False] * len(y)
    return odd if still[-1] else [o or s for o, s in zip(odd, still, strict=True)]


def log_p(history, future, *, period, end, usable=None, kind="value"):
    """Running log p of each look at ``future`` (float64[watch]) after ``history``, both directions."""
    watch = len(future)
    tail = min(len(history), max(SPAN, 24 * watch) + max(LEVELS))
    recent = history[len(history) - tail :]
    transform = fit(recent, kind)
    y = transform.forward(history)
    season = np.vstack([np.zeros(tail + watch), seasons(y, period=period, end=end, watch=watch, tail=tail)])
    y = y[len(y) - tail :]
    ahead = transform.forward(future)
    free = np.ones(tail, dtype=bool) if usable is None else usable[len(usable) - tail :]

    levels, sigmas, errors = {}, {}, {}
    for b in range(9):
        s, length = b // 3, LEVELS[b % 3]
        here = [v for v in y - season[s, :tail] if not math.isnan(v)]
        steps = [abs(here[i] - level_of(here[:i], length)) for i in range(max(1, len(here) - RECENT), len(here))]
        steps = [v for v in steps if not math.isnan(v)]
        levels[b] = level_of(here, length)
        sigmas[b] = 1.4826 * statistics.median(steps) if steps else 0.0
        errors[b] = sigmas[b] if len(steps) >= ENOUGH else math.inf
    fallback = 1 if errors[1] < errors[0] else 0
    floor = LEAST if len(history) * period >= 86_400 else LEAST_YOUNG
    if transform.form == "bounded":
        floor = LEAST_BOUNDED
    elif all(v == math.floor(v) for v in recent if math.isfinite(v)):
        own = float(transform.inverse(np.array([levels[0]]))[0])
        one_more = transform.forward(np.array([own, own + 1.0]))
        floor = max(floor, float(one_more[1] - one_more[0]))
    prices = [0.0] * 9 if transform.form == "bounded" else prices_of(watch).tolist()
    odd = is_odd(y)

    judged = []
    for window, share in zip(windows_of(watch), shares_of(windows_of(watch)), strict=True):
        shadows = []
        oldest = max(SETTLE - 1, tail - 1 - max(SPAN, 24 * watch))
        for moment in range(tail - 1 - window, oldest - 1, -stride_of(window)):
            if odd[moment] or not free[max(moment + 1 - SETTLE, 0) : moment + window + 1].all():
                continue
            found = {}
            for s in range(3):
                u = y - season[s, :tail]
                before = [v for v in u[: moment + 1] if not math.isnan(v)]
                after = [v for v in u[moment + 1 : moment + window + 1] if not math.isnan(v)]
                if not before or 2 * len(after) < window:
                    continue
                for n, length in enumerate(LEVELS):
                    level, b = level_of(before, length), 3 * s + n
                    if math.isnan(level) or math.isnan(levels[b]):
                        continue
                    for j, value in enumerate(maxima([v - level for v in after])):
                        if value is not None:
                            found[j, b] = value
            shadows.append(found)
        chosen = [choose(shadows, j, fallback) for j in range(9)]
        counts = [sum((j, chosen[j]) in s for s in shadows) for j in range(9)]
        if not counts[0]:
            continue
        disjoint = [n * min(1.0, stride_of(window) / window) for n in counts]
        q = []
        for j in range(9):
            own = max((s[j, chosen[j]] for s in shadows if (j, chosen[j]) in s), default=-math.inf)
            n = disjoint[j] * max(1.0, window / 10.0)
            w = n / (n + SHRINK)
            scale = KAPPA[j] * grow(window) * sigmas[chosen[j]]
            q.append(math.exp(w * math.log(max(own, 1e-12)) + (1 - w) * math.log(max(scale, 1e-12))))
        sharp = [q[0]] * 4 + [q[4]] * 4 + [max(q[0], q[4])]
        q = [max(q[j], WHITE[j] * sharp[j], floor) for j in range(9)]

        steep = [1.5 + (TAILS[j] - 1.5) * disjoint[j] / (disjoint[j] + EARNED) for j in range(9)]

        def surprise(values, q=q, disjoint=disjoint, steep=steep):
            return max(
                (
                    steep[j] * math.log(v / q[j]) + math.log(disjoint[j] + 1.0) + prices[j]
                    for j, v in enumerate(values)
                    if v is not None and v > 0.0
                ),
                default=-math.inf,
            )

        known = [surprise([s.get((j, chosen[j])) for j in range(9)]) for s in shadows if (0, chosen[0]) in s]
        judged.append((window, share, chosen, q, disjoint, steep, known))

    room = next((w for w, one in enumerate(judged) if one[0] >= ROOM), None)
    left = 1.0 if room is None else 1.0 - LASTING
    out, running, sudden = [], 0.0, [None, None]
    for k in range(1, watch + 1):
        if not math.isnan(ahead[k - 1]):
            tops = []
            for s in range(3):
                u = ahead[:k] - season[s, tail : tail + k]
                tops.append(maxima([v for v in u if not math.isnan(v)]))
            for window, share, chosen, q, disjoint, steep, known in judged:
                if k > window:
                    continue
                strongest, which = -math.inf, None
                for j in range(9):
                    top = tops[chosen[j] // 3][j]
                    if top is None or math.isnan(levels[chosen[j]]):
                        continue
                    sign = 1.0 if j < 4 else -1.0 if j < 8 else 0.0
                    deviation = top - sign * levels[chosen[j]]
                    if deviation <= 0.0:
                        continue
                    value = steep[j] * math.log(deviation / q[j]) + math.log(disjoint[j] + 1.0) + prices[j]
                    if value > strongest:
                        strongest, which = value, j
                if which is None:
                    continue
                p = -strongest
                above = sum(v >= strongest for v in known)
                if above:
                    p = max(p, math.log(above / len(known) + 1.0 / (disjoint[which] + 1.0)))
                running = min(running, p - math.log(share * left))
            if room is not None:
                for side in (0, 1):
                    if k <= judged[room][0]:
                        sudden[side] = excess(judged[room], tops, levels, 4 * side + 1)
                        tenth = excess(judged[room], tops, levels, 4 * side + 2)
                        running = min(running, lasting(sudden[side], tenth, judged[room][4][4 * side + 1], SOON))
                    if room + 1 < len(judged) and k <= judged[room + 1][0]:
                        stays = excess(judged[room + 1], tops, levels, 4 * side + 3)
                        count = judged[room + 1][4][4 * side + 3]
                        running = min(running, lasting(sudden[side], stays, count, STAYS))
        out.append(running)
    return np.array(out)


def excess(judged, tops, levels, j):
    """How many times its largest excursion statistic ``j`` went out in a window; None for not at all."""
    _, _, chosen, q, _, _, _ = judged
    top, level, sign = tops[chosen[j] // 3][j], levels[chosen[j]], 1.0 if j < 4 else -1.0
    if top is None or math.isnan(level) or top - sign * level <= 0.0:
        return None
    return (top - sign * level) / q[j]


def lasting(one, other, n, share):
    """Log p of what goes out at two scales alike, by the geometric mean of both and ``n`` disjoint shadows."""
    if one is None or other is None:
        return 0.0
    log_g = (math.log(one) + math.log(other)) / 2.0
    tail = 1.5 + (TAIL_LASTING - 1.5) * n / (n + EARNED) if log_g > 0.0 else BELOW
    return -tail * log_g - math.log(n + 1.0) - math.log(share)
