"""One sample of one series taken into its row: the own past learned while it happens.

The same statistics, shadows, odd moments and settling as in `detectors.shadow`, with four differences that make a row
small: shadows of five samples follow each other, those of fifteen begin every five and those of sixty every twenty
samples; of a bucket of 290 samples only the largest excursions are kept, around the baseline that had proved best when
they happened; the season is a profile of the day in slots of five minutes that moves a fifth of the way to what each
day shows, no further than six times the usual surprise; the level of 60 is the mean of the medians of two times 30
samples, that of 360 the median of the medians of twelve times 30.

Windows are counted in samples that came; one in which more than half of the moments are missing does not count. The
season used at a moment was learned before that day, and nothing is learned for it while a change is watched: what a
shadow sees is what a watch would have seen.

In the compiled code a row is four flat arrays and where it begins in each: ``w[o + …]`` words, ``b[p + …]`` bytes,
``x[q + …]`` reals, ``m[g + …]`` marks. Slices would be counted and freed at every sample.
"""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from detectors import online_row as at
from detectors import online_transform, shadow
from detectors.bank import COUNT, RING, SIGNS

# numba takes globals of this module as constants of the compiled code.
forward, facts_of, fit = online_transform.forward, online_transform.facts_of, online_transform.fit
form_of, unit_of, inverse = online_transform.form_of, online_transform.unit_of, online_transform.inverse
median = online_transform.median
LOG, STRANGE = online_transform.LOG, online_transform.STRANGE

Floats = NDArray[np.float64]

SIGN = np.array(SIGNS, dtype=np.int64)
CELL_STATISTIC = np.array([statistic for _, statistic in at.CELLS], dtype=np.int64)
CELL_EDGES = np.searchsorted([window for window, _ in at.CELLS], np.arange(4)).astype(np.int64)
WINDOWS, BLOCKS = np.array(at.WINDOWS, dtype=np.int64), np.array(at.BLOCKS, dtype=np.int64)
RUNNING, PHASES = np.array(at.RUNNING, dtype=np.int64), np.array(at.PHASES, dtype=np.int64)
RUNS = len(at.RUNNING)
AGES = (np.arange(12)[:, None] - PHASES) % BLOCKS[RUNNING]
"""How many blocks each running shadow has behind it at each of twelve blocks."""
CHOOSING = np.array([1, 1, 1, 2, 1, 1, 1, 2, 1], dtype=np.int64)
"""The window whose shadows choose the baseline of each statistic."""
ODD_LIMIT, LEAST_AWAY, SETTLE, GAIN = shadow.ODD, shadow.LEAST_AWAY * at.UNIT, shadow.SETTLE, shadow.SEASON_GAIN
NEAR = 0.95
"""A plain level replaces another only if its quantile is below so much of it."""
GAP = 60
"""Missing moments after which no shadow goes on."""
TRIED = 12
"""Shadows needed before a baseline is chosen."""
YOUNG = 3
"""Buckets in which it is learned fast how far a series goes from its level."""
HUBER = 6.0
LEAST_PULL = 100.0
DAYS = 5
"""Days after which the profile moves no slower."""

UNIT, FINE, REACH, UNSET, PAD = at.UNIT, at.FINE, at.REACH, at.UNSET, at.PAD
BUCKET, BUCKETS, WARM, SLOTS, SLOT = at.BUCKET, at.BUCKETS, at.WARM, at.SLOTS, at.SLOT
KEPT, BASELINES, WORDS, BYTES, REALS, MARKS = at.KEPT, at.BASELINES, at.WORDS, at.BYTES, at.REALS, at.MARKS
BLOCK, SHADOW_SIZE, BEST_SIZE, BANK, THIRTY, TEN = at.BLOCK, at.SHADOW, at.BEST_SIZE, at.BANK, at.THIRTY, at.TEN
PROFILE, BANKS, BEST, LEVELS, SHADOWS = at.PROFILE, at.BANKS, at.BEST, at.LEVELS, at.SHADOWS
HALVES, THIRTIES, NOW, PENDING, ODD = at.HALVES, at.THIRTIES, at.NOW, at.PENDING, at.ODD
QUANTILES, STEPS, AWAY, SURPRISE, USUAL, SPAN = at.QUANTILES, at.STEPS, at.AWAY, at.SURPRISE, at.USUAL, at.SPAN
CODES, COUNTS, ODD_CODES, ODD_COUNTS = at.CODES, at.COUNTS, at.ODD_CODES, at.ODD_COUNTS
NOW_COUNTS, PENDING_COUNTS, CHOSEN, TAINTS = at.NOW_COUNTS, at.PENDING_COUNTS, at.CHOSEN, at.TAINTS
SPANS, FORM, KIND, STATE, FACTS, SINCE = at.SPANS, at.FORM, at.KIND, at.STATE, at.FACTS, at.SINCE
IN_BLOCK, BLOCK_SPAN, BLOCK_TAINT, BLOCK_COUNT = at.IN_BLOCK, at.BLOCK_SPAN, at.BLOCK_TAINT, at.BLOCK_COUNT
IN_BUCKET, BUCKET_AT, BUCKETS_DONE, SETTLING = at.IN_BUCKET, at.BUCKET_AT, at.BUCKETS_DONE, at.SETTLING
PLACES, FULL, LONG_AT, LONG_SEEN = at.PLACES, at.FULL, at.LONG_AT, at.LONG_SEEN
SLOT_SEEN, SLOT_TAINT = at.SLOT_SEEN, at.SLOT_TAINT
QUIET, STILL_BLOCKS, STILL, STILL_AFTER = at.QUIET, at.STILL_BLOCKS, at.STILL, shadow.STILL
SCALE_UNIT, SCALE_TOP, SCALE_OFFSET, SLOT_MEAN = at.SCALE_UNIT, at.SCALE_TOP, at.SCALE_OFFSET, at.SLOT_MEAN
PERIOD, LAST, SEEN, SLOT_FIRST = at.PERIOD, at.LAST, at.SEEN, at.SLOT_FIRST
FITTED, WATCHED, IDLE = at.FITTED, at.WATCHED, at.IDLE
TOUCHED, DEAD, ODDLY, SEASONLESS = at.TOUCHED, at.DEAD, at.ODDLY, at.SEASONLESS
CODE_LEAST, CODE_STEPS = at.CODE_LEAST, at.CODE_STEPS
STEP = SHADOW_SIZE
SPARE = 160
"""Words of working space: for twelve medians, then four rows of what a block adds to a shadow of some age."""
ADDED = 64

compiled = numba.njit(**online_transform.OPTIONS)
inlined = numba.njit(**online_transform.OPTIONS, forceinline=True)
whole: Any = np.int64
"""Words and bytes are widened before they are calculated with."""


@inlined
def _renew(w, o, oldest, older, new):  # type: ignore[no-untyped-def]
    """Replace ``oldest`` among the thirty and ``older`` among the ten ordered words that begin at ``o``.

    An ordered run loses one value, ``x``, and takes in another by ``max(x[k - 1], min(x[k], new))``: without a branch,
    so that the processor takes all places of both runs at a time. Its floor is below and its PADs are above any value.
    """
    low, here = w[np.uint64(o)], w[np.uint64(o + 1)]
    for k in range(48):
        old = oldest if k < 34 else older
        high = w[np.uint64(o + k + 2)]
        w[np.uint64(o + k + 1)] = max(low if low < old else here, min(here if here < old else high, new))
        low, here = here, high
    w[o + 34] = UNSET


@inlined
def _lasting(w, bank, best):  # type: ignore[no-untyped-def]
    """Raise the long statistics at ``best`` to what the last ten and thirty values of a ``bank`` say."""
    ten, thirty = bank + TEN, bank + THIRTY
    w[best + 2] = max(w[best + 2], w[ten + 2])
    w[best + 6] = max(w[best + 6], -w[ten + 7])
    w[best + 3] = max(w[best + 3], w[thirty + 10])
    w[best + 7] = max(w[best + 7], -w[thirty + 19])
    twice = whole(w[ten + 4]) + whole(w[ten + 5])
    spread = whole(2 * PAD)
    for i in range(4):
        spread = min(spread, max(twice - 2 * whole(w[ten + i]), 2 * whole(w[ten + i + 6]) - twice))
    w[best + 8] = max(whole(w[best + 8]), spread >> 1)


@inlined
def _push(w, o, b, p, s, value, in_block):  # type: ignore[no-untyped-def]
    """Take one residual of season ``s`` into its bank and into the largest of the block under way."""
    bank, best = o + BANKS + s * BANK, o + BEST + s * BEST_SIZE
    place = whole(b[p + PLACES + s])
    oldest = w[bank + place]
    older = w[bank + (place + 20 if place < 10 else place - 10)]
    before = w[bank + (place - 1 if place >= 1 else RING - 1)]
    third = w[bank + (place - 2 if place >= 2 else place + RING - 2)]
    w[bank + place] = value
    b[p + PLACES + s] = place + 1 if place < RING - 1 else 0
    _renew(w, bank + RING, oldest, older, value)
    low, high = min(value, before, third), max(value, before, third)
    w[best] = max(w[best], value)
    w[best + 4] = max(w[best + 4], -value)
    w[best + 1] = max(w[best + 1], low)
    w[best + 5] = max(w[best + 5], -high)
    if in_block >= 2:
        w[best + 9] = max(w[best + 9], low)
        w[best + 10] = max(w[best + 10], -high)
    _lasting(w, bank, best)


@inlined
def _follow(w, place, value, shift):  # type: ignore[no-untyped-def]
    """Move a running median one step towards ``value``."""
    now = whole(w[place])
    value = min(value, PAD)
    step = max(now >> shift, 1)
    moved = min(now + step, PAD) if value > now else max(now - step, 1)
    w[place] = moved if now > 0 else value


@inlined
def level(w, o, b, p, s, n, spare):  # type: ignore[no-untyped-def]
    """The level of 10, 60 or 360 (``n`` 0, 1, 2) of season ``s`` now; UNSET where it is not known."""
    bank = o + BANKS + s * BANK
    if n == 0:
        ten = bank + TEN
        return (whole(w[ten + 4]) + whole(w[ten + 5])) >> 1 if b[p + FULL + s] >= 2 else UNSET
    if n == 1:
        if b[p + FULL + s] < 12:
            return UNSET
        half = (whole(w[bank + THIRTY + 14]) + whole(w[bank + THIRTY + 15])) >> 1
        return (half + whole(w[o + HALVES + 7 * s + (b[p + FULL + s] + 1) % 7])) >> 1
    if b[p + LONG_SEEN + s] < 12:
        return UNSET
    for i in range(12):
        value = w[o + THIRTIES + 12 * s + i]
        k = i
        while k > 0 and spare[k - 1] > value:
            spare[k] = spare[k - 1]
            k -= 1
        spare[k] = value
    return (whole(spare[5]) + whole(spare[6])) >> 1


@inlined
def odd_limit(w, o):  # type: ignore[no-untyped-def]
    """How far the short level may be from the long one at an ordinary moment."""
    return max(ODD_LIMIT * w[o + AWAY], LEAST_AWAY)


@inlined
def _excursion(largest, f, levels, taint, j, baseline, w):  # type: ignore[no-untyped-def]
    """Largest deviation of statistic ``j`` around a baseline; -1 where it is not known.

    ``largest[f + …]`` are the largest of the two seasons, ``w[levels + …]`` the levels at the beginning.
    """
    level = whole(w[levels + baseline])
    if level == UNSET or (baseline >= 3 and taint & SEASONLESS):
        return whole(-1)
    found = whole(largest[f + (COUNT + j if baseline >= 3 else j)]) - SIGN[j] * level
    return min(max(found, 0), PAD)


@inlined
def _finish(w, o, b, p, window, largest, f, levels, taint, span, teach):  # type: ignore[no-untyped-def]
    """Record a shadow that is over; with ``teach`` let it have a say in the choice of baselines.

    Of time in which a change was watched only shadows with an ordinary beginning are kept.
    """
    if taint & DEAD or span > 2 * WINDOWS[window]:
        return
    target, counts = o + NOW, p + NOW_COUNTS
    if taint & TOUCHED:
        if taint & ODDLY:
            return
        target, counts = o + PENDING, p + PENDING_COUNTS
    elif taint & ODDLY:
        target, counts = o + ODD, p + ODD_COUNTS + 3
    b[counts + window] = min(whole(b[counts + window]) + 1, 255)
    for cell in range(CELL_EDGES[window], CELL_EDGES[window + 1]):
        j = CELL_STATISTIC[cell]
        found = _excursion(largest, f, levels, taint, j, whole(b[p + CHOSEN + j]), w)
        if found < 0:
            found = _excursion(largest, f, levels, taint, j, whole(0), w)
        w[target + cell] = max(whole(w[target + cell]), found)
    if not teach or taint & (TOUCHED | ODDLY):
        return
    # A season shows what it is worth only after some days, and must not be kept out by what it was before.
    done = b[p + BUCKETS_DONE]
    shift = 4 if done < 5 else 5 if done < 10 else 6 if done < 20 else 8
    for j in range(COUNT):
        if CHOOSING[j] != window:
            continue
        here = o + QUANTILES + BASELINES * j
        for baseline in range(BASELINES):
            found = _excursion(largest, f, levels, taint, j, baseline, w)
            if found < 0:
                continue
            now, fine = whole(w[here + baseline]), min(4 * found, PAD)
            if now == 0:
                plain = whole(w[here + (baseline - 3 if baseline > 2 else 0)])
                now = plain if plain > 0 else max(fine, 1)
            step = max(now >> shift, 1)
            w[here + baseline] = min(now + 9 * step, PAD) if fine > now else max(now - step, 1)


@compiled
def _choose(w, o, b, p, bucket):  # type: ignore[no-untyped-def]
    """Let the baseline that predicted best judge from now on, for each statistic.

    A season takes over only between buckets, ``bucket``, and then what came before does not count any more: the largest
    excursions around the plain level say nothing of those around the season.
    """
    for j in range(COUNT):
        if b[p + BUCKETS_DONE] == 0 and b[p + NOW_COUNTS + CHOOSING[j]] < TRIED:
            b[p + CHOSEN + j] = 1 if 0 < w[o + STEPS + 1] < w[o + STEPS] else 0
            continue
        here = o + QUANTILES + BASELINES * j
        now = whole(b[p + CHOSEN + j])
        plain = now % 3
        for n in range(3):
            if 0 < w[here + n] < NEAR * w[here + plain]:
                plain = n
        best = plain
        # The season in use keeps its place as long as it is no worse, so that none comes and goes.
        limit = GAIN * w[here + plain] if now < 3 else float(w[here + plain])
        if now >= 3 and 0 < w[here + now] < limit:
            best, limit = now, NEAR * w[here + now]
        for n in range(3, BASELINES):
            if 0 < w[here + n] < limit and (now >= 3 or bucket):
                best, limit = n, float(w[here + n])
        if best >= 3 and now < 3:
            b[p + SINCE + j] = 0
        b[p + CHOSEN + j] = best


@compiled
def encode(excursion):  # type: ignore[no-untyped-def]
    """An excursion as a code, rounded up."""
    if excursion <= CODE_LEAST:
        return 0
    return min(int(np.ceil(CODE_STEPS * np.log2(excursion / CODE_LEAST))), 255)


@compiled
def clear(w, b, x, m):  # type: ignore[no-untyped-def]
    """Forget everything that was learned of one row but the kind of its metric."""
    kind = b[KIND]
    w[:] = 0
    b[:] = 0
    b[KIND] = kind
    x[:] = 0.0
    m[:] = 0


@compiled
def _begin(w, o, b, p):  # type: ignore[no-untyped-def]
    """An empty past, the transform being known."""
    w[o : o + WORDS] = 0
    w[o + PROFILE : o + PROFILE + SLOTS] = UNSET
    for s in range(2):
        bank = o + BANKS + s * BANK
        w[bank : bank + BANK] = PAD
        w[bank + THIRTY - 1] = w[bank + TEN - 1] = UNSET
    w[o + BEST : o + BEST + 2 * BEST_SIZE] = UNSET
    w[o + LEVELS : o + LEVELS + BASELINES] = UNSET
    kind, form, state, facts = b[p + KIND], b[p + FORM], b[p + STATE], b[p + FACTS]
    b[p : p + BYTES] = 0
    b[p + KIND], b[p + FORM], b[p + STATE], b[p + FACTS] = kind, form, state | FITTED, facts
    b[p + TAINTS : p + TAINTS + RUNS] = IDLE
    b[p + SINCE : p + SINCE + COUNT] = BUCKETS
    # No shadow begins before a level is known.
    b[p + BLOCK_TAINT] = DEAD


@compiled
def _refit(w, o, b, p, x, q, m, g, spare):  # type: ignore[no-untyped-def]
    """At the end of a bucket: does the transform still fit? A series of another kind or size begins anew."""
    period = w[o + SPAN] / (BLOCK * BUCKET)
    w[o + SPAN] = 0
    if period > 2.0:
        # It comes so much less often than it did: what was a gap is its period.
        x[q + PERIOD] *= np.rint(period)
    here = level(w, o, b, p, 0, 2, spare)
    if here == UNSET or b[p + BUCKETS_DONE] < 2:
        return
    if b[p + BUCKETS_DONE] == 2:
        w[o + USUAL] = here
    else:
        w[o + USUAL] += (here - w[o + USUAL]) >> 3
    form, unit = b[p + FORM], x[q + SCALE_UNIT]
    usual = inverse(form, unit, x[q + SCALE_TOP], w[o + USUAL] / UNIT - x[q + SCALE_OFFSET])
    kind, facts = b[p + KIND], b[p + FACTS]
    wanted, top = form_of(kind, facts, usual)
    fitting = unit_of(wanted, kind, facts, usual)
    same = wanted == form and (top == 0.0 or top <= x[q + SCALE_TOP])
    if same and (form != LOG or usual <= 0.0 or unit / STRANGE <= fitting <= unit * STRANGE):
        return
    if b[p + STATE] & WATCHED:
        return
    b[p + FORM] = wanted
    x[q + SCALE_UNIT], x[q + SCALE_TOP] = fitting, top
    x[q + SCALE_OFFSET] = -forward(wanted, fitting, top, usual)
    _begin(w, o, b, p)
    m[g + SEEN] = 0
    m[g + SLOT_FIRST] = m[g + LAST] // SLOT


@compiled
def _close_bucket(w, o, b, p, x, q, m, g, spare):  # type: ignore[no-untyped-def]
    """Keep the largest excursions of the bucket, and drop the oldest."""
    place = whole(b[p + BUCKET_AT])
    for cell in range(KEPT):
        b[p + CODES + place * KEPT + cell] = encode(w[o + NOW + cell])
        w[o + NOW + cell] = 0
    for j in range(COUNT):
        b[p + SINCE + j] = min(whole(b[p + SINCE + j]) + 1, BUCKETS)
    _choose(w, o, b, p, True)
    for window in range(3):
        b[p + COUNTS + 3 * place + window] = b[p + NOW_COUNTS + window]
        b[p + NOW_COUNTS + window] = 0
    # Rounded up: a bucket that lay still throughout counts for nothing, one that seldom did a little less.
    pair, high = p + STILL + place // 2, 4 * (place % 2)
    part = min((15 * whole(b[p + STILL_BLOCKS]) + BUCKET - 1) // BUCKET, 15)
    b[pair] = (whole(b[pair]) & (240 >> high)) | (part << high)
    b[p + STILL_BLOCKS] = 0
    b[p + IN_BUCKET] = 0
    b[p + BUCKET_AT] = (place + 1) % BUCKETS
    b[p + BUCKETS_DONE] = min(whole(b[p + BUCKETS_DONE]) + 1, 255)
    if b[p + BUCKET_AT] % (BUCKETS // 2) == 0:
        for cell in range(KEPT):
            b[p + ODD_CODES + cell] = encode(w[o + ODD + cell])
            w[o + ODD + cell] = 0
        for window in range(3):
            b[p + ODD_COUNTS + window] = b[p + ODD_COUNTS + 3 + window]
            b[p + ODD_COUNTS + 3 + window] = 0
    _refit(w, o, b, p, x, q, m, g, spare)


@inlined
def _open_block(w, o, b, p, spare):  # type: ignore[no-untyped-def]
    """Begin a block, and the shadows that begin with it."""
    for s in range(2):
        best = o + BEST + s * BEST_SIZE
        for k in range(BEST_SIZE):
            w[best + k] = UNSET
        if b[p + FULL + s] >= 2:
            # The tenth sample is the last of the second block, the thirtieth that of the sixth.
            _lasting(w, o + BANKS + s * BANK, best)
        w[o + LEVELS + 3 * s] = level(w, o, b, p, s, 0, spare)
        w[o + LEVELS + 3 * s + 1] = level(w, o, b, p, s, 1, spare)
    taint = 0
    short, far = whole(w[o + LEVELS]), whole(w[o + LEVELS + 2])
    if short == UNSET or b[p + SETTLING] > 0:
        taint |= DEAD
    elif far != UNSET:
        away = abs(short - far)
        if away > odd_limit(w, o):
            taint |= ODDLY
        _follow(w, o + AWAY, away, 4 if b[p + BUCKETS_DONE] < YOUNG else 7)
    if b[p + QUIET] >= STILL_AFTER:
        b[p + STILL_BLOCKS] = min(whole(b[p + STILL_BLOCKS]) + 1, 255)
    b[p + IN_BLOCK] = 0
    b[p + BLOCK_SPAN] = 0
    b[p + BLOCK_TAINT] = taint
    count = whole(b[p + BLOCK_COUNT])
    for run in range(RUNS):
        if AGES[count, run] == 0:
            b[p + TAINTS + run], b[p + SPANS + run] = taint, 0
            start = o + SHADOWS + run * SHADOW_SIZE
            for k in range(2 * COUNT):
                w[start + k] = UNSET
            for k in range(BASELINES):
                w[start + 2 * COUNT + k] = w[o + LEVELS + k]


@inlined
def _add(w, o, spare):  # type: ignore[no-untyped-def]
    """What the block adds to shadows in their first, second, third to sixth and later blocks: rows of ``spare``.

    A statistic counts from the sample at which all it looks at came after the beginning.
    """
    for s in range(2):
        best = o + BEST + s * BEST_SIZE
        for j in range(COUNT):
            value = w[best + j]
            row = ADDED + s * COUNT + j
            lasting, longest = j == 2 or j == 6 or j == 8, j == 3 or j == 7
            spare[row] = UNSET if lasting or longest else w[best + (9 if j == 1 else 10)] if j == 1 or j == 5 else value
            spare[row + STEP] = UNSET if lasting or longest else value
            spare[row + 2 * STEP] = UNSET if longest else value
            spare[row + 3 * STEP] = value


@inlined
def _close_block(w, o, b, p, x, q, m, g, spare):  # type: ignore[no-untyped-def]
    """Five samples came: carry them into the running shadows, and end those that are over."""
    taint, span = whole(b[p + BLOCK_TAINT]), whole(b[p + BLOCK_SPAN])
    count = whole(b[p + BLOCK_COUNT])
    w[o + SPAN] = min(whole(w[o + SPAN]) + span, PAD)
    _add(w, o, spare)
    _finish(w, o, b, p, 0, spare, ADDED, o + LEVELS, taint, span, False)
    for run in range(RUNS):
        state = whole(b[p + TAINTS + run])
        if state & IDLE:
            continue
        window, age = RUNNING[run], AGES[count, run]
        row = ADDED + STEP * (0 if age == 0 else 1 if age == 1 else 2 if age < 6 else 3)
        start = o + SHADOWS + run * SHADOW_SIZE
        # The levels stand behind the largest, and nothing is larger than what is added to them.
        for k in range(SHADOW_SIZE):
            w[np.uint64(start + k)] = max(w[np.uint64(start + k)], spare[np.uint64(row + k)])
        state |= taint & (TOUCHED | SEASONLESS)
        lasted = whole(b[p + SPANS + run]) + span
        if age + 1 == BLOCKS[window]:
            teach = run == 0 or window == 2
            _finish(w, o, b, p, window, w, start, start + 2 * COUNT, state, lasted, teach)
            state = IDLE
        b[p + TAINTS + run], b[p + SPANS + run] = state, min(lasted, 255)
    for s in range(2):
        if s == 1 and taint & SEASONLESS:
            continue
        bank = o + BANKS + s * BANK
        half = (whole(w[bank + THIRTY + 14]) + whole(w[bank + THIRTY + 15])) >> 1
        full = whole(b[p + FULL + s])
        # Counted on in a circle that keeps its place among seven halves and six blocks.
        full = full + 1 if full < 251 else 210
        b[p + FULL + s] = full
        w[o + HALVES + 7 * s + full % 7] = half
        if full % 6 == 0:
            place = whole(b[p + LONG_AT + s])
            w[o + THIRTIES + 12 * s + place] = half
            b[p + LONG_AT + s] = (place + 1) % 12
            b[p + LONG_SEEN + s] = min(whole(b[p + LONG_SEEN + s]) + 1, 12)
            w[o + LEVELS + 3 * s + 2] = level(w, o, b, p, s, 2, spare)
    b[p + BLOCK_COUNT] = count + 1 if count < 11 else 0
    b[p + IN_BUCKET] += 1
    if b[p + IN_BUCKET] == BUCKET:
        _close_bucket(w, o, b, p, x, q, m, g, spare)
    elif count == 11:
        _choose(w, o, b, p, False)
    _open_block(w, o, b, p, spare)


@inlined
def _close_slot(w, o, b, p, x, q, slot, first):  # type: ignore[no-untyped-def]
    """Five minutes are over: the profile learns what this slot shows today, if no change was being watched."""
    place = o + PROFILE + slot % SLOTS
    if b[p + SLOT_SEEN] == 0 or b[p + SLOT_TAINT]:
        return
    if w[place] == UNSET:
        w[place] = whole(np.rint(x[q + SLOT_MEAN]))
        return
    away = x[q + SLOT_MEAN] - w[place]
    days = (slot - first) // SLOTS + 1
    if days > 2:
        pull = max(HUBER * w[o + SURPRISE], LEAST_PULL)
        away = min(max(away, -pull), pull)
    moved = np.rint(w[place] + away / min(days, DAYS))
    w[place] = whole(min(max(moved, -float(REACH)), float(REACH)))
    _follow(w, o + SURPRISE, whole(abs(away)), 5)


@inlined
def _take(w, o, b, p, x, q, m, g, time, value, spare):  # type: ignore[no-untyped-def]
    """One sample, later than all before it, of a row whose transform is known."""
    last = m[g + LAST]
    waited = np.float64(time - last)
    # To divide is dear, and nearly every sample comes when it should.
    elapsed = 1 if waited < 1.5 * x[q + PERIOD] else whole(min(waited / x[q + PERIOD] + 0.5, 250.0))
    m[g + LAST] = time
    m[g + SEEN] += 1
    b[p + FACTS] |= facts_of(value)
    y = (forward(b[p + FORM], x[q + SCALE_UNIT], x[q + SCALE_TOP], value) + x[q + SCALE_OFFSET]) * UNIT
    plain = whole(np.rint(min(max(y, -float(REACH)), float(REACH))))
    slot, before = time // SLOT, last // SLOT
    if slot != before:
        _close_slot(w, o, b, p, x, q, before, m[g + SLOT_FIRST])
        b[p + SLOT_SEEN] = b[p + SLOT_TAINT] = 0
        x[q + SLOT_MEAN] = 0.0
    if elapsed > GAP:
        for run in range(RUNS):
            b[p + TAINTS + run] = IDLE
        _open_block(w, o, b, p, spare)
    b[p + BLOCK_SPAN] = min(whole(b[p + BLOCK_SPAN]) + elapsed, 250)
    if b[p + STATE] & WATCHED:
        b[p + BLOCK_TAINT] |= TOUCHED
        b[p + SLOT_TAINT] = 1
    expected = whole(w[o + PROFILE + slot % SLOTS])
    seasonal = min(max(plain - expected, -REACH), REACH)
    in_block = whole(b[p + IN_BLOCK])
    if in_block == 0:
        shift = 3 if m[g + SEEN] < 300 else 5
        for n in range(3):
            if w[o + LEVELS + n] != UNSET:
                _follow(w, o + STEPS + n, 4 * abs(plain - whole(w[o + LEVELS + n])), shift)
            if expected != UNSET and w[o + LEVELS + 3 + n] != UNSET:
                _follow(w, o + STEPS + 3 + n, 4 * abs(seasonal - whole(w[o + LEVELS + 3 + n])), shift)
    place = whole(b[p + PLACES])
    unmoved = plain == w[o + BANKS + (place - 1 if place >= 1 else RING - 1)]
    b[p + QUIET] = min(whole(b[p + QUIET]) + 1, 255) if unmoved else 0
    _push(w, o, b, p, 0, np.int16(plain), in_block)
    if expected != UNSET:
        _push(w, o, b, p, 1, np.int16(seasonal), in_block)
    else:
        b[p + BLOCK_TAINT] |= SEASONLESS
    if b[p + SETTLING] > 0:
        b[p + SETTLING] -= 1
    seen = min(whole(b[p + SLOT_SEEN]) + 1, 255)
    b[p + SLOT_SEEN] = seen
    x[q + SLOT_MEAN] += (plain - x[q + SLOT_MEAN]) / seen
    b[p + IN_BLOCK] = in_block + 1
    if in_block + 1 == BLOCK:
        _close_block(w, o, b, p, x, q, m, g, spare)


@compiled
def _warm(w, o, b, p, x, q, m, g, time, value, spare, early, real, bits):  # type: ignore[no-untyped-def]
    """One of the first samples: kept as it is, until there are enough to choose transform and period by.

    Numbers are put into words four by four: ``bits`` int16[4] is the same memory as ``real`` float64[1].
    """
    seen = m[g + SEEN]
    for half in range(2):
        real[0] = value if half == 0 else np.float64(time - m[g + LAST] if seen else 0)
        for k in range(4):
            w[o + 4 * (half * WARM + seen) + k] = bits[k]
    m[g + LAST] = time
    m[g + SEEN] = seen + 1
    b[p + FACTS] |= facts_of(value)
    if seen + 1 < WARM:
        return
    for i in range(2 * WARM):
        for k in range(4):
            bits[k] = w[o + 4 * i + k]
        early[i] = real[0]
    x[q + PERIOD] = max(median(early, WARM + 1, 2 * WARM, early[2 * WARM :], 0), 1.0)
    form, unit, top = fit(b[p + KIND], b[p + FACTS], early, WARM, early[2 * WARM :])
    b[p + FORM] = form
    x[q + SCALE_UNIT], x[q + SCALE_TOP] = unit, top
    for i in range(WARM):
        early[2 * WARM + i] = forward(form, unit, top, early[i])
    x[q + SCALE_OFFSET] = -median(early, 2 * WARM, 3 * WARM, early[3 * WARM :], 0)
    _begin(w, o, b, p)
    m[g + SEEN] = 0
    when = time
    for i in range(WARM + 1, 2 * WARM):
        when -= whole(early[i])
    m[g + SLOT_FIRST] = when // SLOT
    m[g + LAST] = when - whole(x[q + PERIOD])
    for i in range(WARM):
        when += whole(early[WARM + i])
        _take(w, o, b, p, x, q, m, g, when, early[i], spare)


@compiled
def advance(  # type: ignore[no-untyped-def]
    words, small, reals, marks, first, rows, times, values, spare, early, real, bits
):
    """Take samples, in the order given, into the rows ``first`` … of one chunk; rows of other chunks are passed over.

    The chunk is four flat arrays. ``rows`` int64[n], ``times`` int64[n] Unix ms, ``values`` float64[n]. Values that are
    not finite and times that are not later than the last one of their row are dropped. Returns how many were taken.
    The last four arguments are working space, see ``room``.
    """
    taken, count = 0, len(small) // BYTES
    for i in range(len(rows)):
        row = rows[i] - first
        if row < 0 or row >= count or not np.isfinite(values[i]):
            continue
        o, p, q, g = row * WORDS, row * BYTES, row * REALS, row * MARKS
        fitted = small[p + STATE] & FITTED
        if (fitted or marks[g + SEEN] > 0) and times[i] <= marks[g + LAST]:
            continue
        taken += 1
        if fitted:
            _take(words, o, small, p, reals, q, marks, g, times[i], values[i], spare)
        else:
            _warm(words, o, small, p, reals, q, marks, g, times[i], values[i], spare, early, real, bits)
    return taken


def room() -> tuple[NDArray[np.int16], Floats, Floats, NDArray[np.int16]]:
    """Working space for ``advance``."""
    real = np.zeros(1)
    return np.full(SPARE, UNSET, dtype=np.int16), np.zeros(5 * WARM), real, real.view(np.int16)


@compiled
def settle(w, b, calm):  # type: ignore[no-untyped-def]
    """End the watched stretch of one row: what it held counts if it was ``calm``, and is forgotten if not."""
    for cell in range(KEPT):
        if calm:
            w[NOW + cell] = max(w[NOW + cell], w[PENDING + cell])
        w[PENDING + cell] = 0
    for window in range(3):
        if calm:
            b[NOW_COUNTS + window] = min(whole(b[NOW_COUNTS + window]) + b[PENDING_COUNTS + window], 255)
        b[PENDING_COUNTS + window] = 0
    if calm:
        for run in range(RUNS):
            b[TAINTS + run] &= ~TOUCHED
        b[BLOCK_TAINT] &= ~TOUCHED
    else:
        b[TAINTS : TAINTS + RUNS] = IDLE
        b[BLOCK_TAINT] |= DEAD
        b[SETTLING] = SETTLE
    b[STATE] &= ~WATCHED
