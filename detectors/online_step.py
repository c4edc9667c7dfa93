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
"""

import numba
import numpy as np

from detectors import online_row as at
from detectors import online_transform, shadow
from detectors.bank import COUNT, LENGTHS, RING, SIGNS

forward, facts_of, fit = online_transform.forward, online_transform.facts_of, online_transform.fit
form_of, unit_of, inverse = online_transform.form_of, online_transform.unit_of, online_transform.inverse
LOG, ASINH, STRANGE = online_transform.LOG, online_transform.ASINH, online_transform.STRANGE

SIGN = np.array(SIGNS, dtype=np.int64)
FIRST_BLOCK = np.array([0, 0, 2, 6, 0, 0, 2, 6, 2], dtype=np.int64)
"""The block of a window from which each statistic counts: its first row is the last of the block before."""
CELL_WINDOW = np.array([window for window, _ in at.CELLS], dtype=np.int64)
CELL_STATISTIC = np.array([statistic for _, statistic in at.CELLS], dtype=np.int64)
WINDOWS, BLOCKS = np.array(at.WINDOWS, dtype=np.int64), np.array(at.BLOCKS, dtype=np.int64)
RUNNING, PHASES = np.array(at.RUNNING, dtype=np.int64), np.array(at.PHASES, dtype=np.int64)
CHOOSING = np.array([1, 1, 1, 2, 1, 1, 1, 2, 1], dtype=np.int64)
"""The window whose shadows choose the baseline of each statistic."""
ODD_LIMIT, LEAST_AWAY, SETTLE, GAIN = shadow.ODD, shadow.LEAST_AWAY * at.UNIT, shadow.SETTLE, shadow.SEASON_GAIN
NEAR = 0.95
"""A plain level replaces another only if its quantile is below so much of it."""
GAP = 60
"""Missing moments after which no shadow goes on."""
TRIED = 12
HUBER = 6.0
LEAST_PULL = 100.0
DAYS = 5

UNIT, FINE, REACH, UNSET, PAD = at.UNIT, at.FINE, at.REACH, at.UNSET, at.PAD
BUCKET, BUCKETS, WARM, SLOTS, SLOT, KEPT, BASELINES = (
    at.BUCKET, at.BUCKETS, at.WARM, at.SLOTS, at.SLOT, at.KEPT, at.BASELINES,
)  # fmt: skip
BLOCK, STEPPED, SHADOW_SIZE, BEST_SIZE, BANK = at.BLOCK, at.STEPS, at.SHADOW, at.BEST_SIZE, at.BANK
PROFILE, BANKS, BEST, LEVELS, SHADOWS = at.PROFILE, at.BANKS, at.BEST, at.LEVELS, at.SHADOWS
HALVES, THIRTIES, NOW, PENDING, ODD = at.HALVES, at.THIRTIES, at.NOW, at.PENDING, at.ODD
QUANTILES, AWAY, SURPRISE, SPAN, WORDS, BYTES = at.QUANTILES, at.AWAY, at.SURPRISE, at.SPAN, at.WORDS, at.BYTES
CODES, COUNTS, ODD_CODES, ODD_COUNTS = at.CODES, at.COUNTS, at.ODD_CODES, at.ODD_COUNTS
NOW_COUNTS, PENDING_COUNTS, CHOSEN, AGES, TAINTS = at.NOW_COUNTS, at.PENDING_COUNTS, at.CHOSEN, at.AGES, at.TAINTS
SPANS, FORM, KIND, STATE, FACTS, SINCE = at.SPANS, at.FORM, at.KIND, at.STATE, at.FACTS, at.SINCE
IN_BLOCK, BLOCK_SPAN, BLOCK_TAINT, BLOCK_COUNT = at.IN_BLOCK, at.BLOCK_SPAN, at.BLOCK_TAINT, at.BLOCK_COUNT
IN_BUCKET, BUCKET_AT, BUCKETS_DONE, SETTLING = at.IN_BUCKET, at.BUCKET_AT, at.BUCKETS_DONE, at.SETTLING
PLACES, FULL, LONG_AT, LONG_SEEN = at.PLACES, at.FULL, at.LONG_AT, at.LONG_SEEN
SLOT_SEEN, SLOT_TAINT = at.SLOT_SEEN, at.SLOT_TAINT
SCALE_UNIT, SCALE_TOP, SCALE_OFFSET, SLOT_MEAN = at.SCALE_UNIT, at.SCALE_TOP, at.SCALE_OFFSET, at.SLOT_MEAN
USUAL, PERIOD, LAST, SEEN, SLOT_NOW, SLOT_FIRST = at.USUAL, at.PERIOD, at.LAST, at.SEEN, at.SLOT_NOW, at.SLOT_FIRST
FITTED, WATCHED, IDLE = at.FITTED, at.WATCHED, at.IDLE
TOUCHED, DEAD, ODDLY, SEASONLESS = at.TOUCHED, at.DEAD, at.ODDLY, at.SEASONLESS
CODE_LEAST, CODE_STEPS = at.CODE_LEAST, at.CODE_STEPS
RUNS = len(at.RUNNING)


@numba.njit(cache=True, nogil=True)
def clip(value):  # type: ignore[no-untyped-def]
    """Within what a word holds."""
    return min(max(value, -REACH), REACH)


@numba.njit(cache=True, nogil=True)
def _renew_thirty(ordered, old, new, spare):  # type: ignore[no-untyped-def]
    """Replace ``old`` by ``new`` in 30 ascending words with a PAD behind; see ``bank._renew``."""
    for k in range(RING):
        spare[k] = ordered[k] if ordered[k] < old else ordered[k + 1]
    ordered[0] = min(spare[0], new)
    for k in range(1, RING):
        ordered[k] = max(spare[k - 1], min(spare[k], new))


@numba.njit(cache=True, nogil=True)
def _renew_ten(ordered, old, new, spare):  # type: ignore[no-untyped-def]
    """The same in ten."""
    for k in range(10):
        spare[k] = ordered[k] if ordered[k] < old else ordered[k + 1]
    ordered[0] = min(spare[0], new)
    for k in range(1, 10):
        ordered[k] = max(spare[k - 1], min(spare[k], new))


@numba.njit(cache=True, nogil=True)
def _lasting(ten, thirty, best):  # type: ignore[no-untyped-def]
    """Raise the long statistics of ``best`` to what the last ten and thirty values say."""
    best[2] = max(best[2], ten[2])
    best[6] = max(best[6], -ten[7])
    best[3] = max(best[3], thirty[10])
    best[7] = max(best[7], -thirty[19])
    twice = np.int64(ten[4]) + np.int64(ten[5])
    spread = np.int64(2 * PAD)
    for i in range(4):
        spread = min(spread, max(twice - 2 * np.int64(ten[i]), 2 * np.int64(ten[i + 6]) - twice))
    best[8] = max(best[8], min(spread >> 1, PAD))


@numba.njit(cache=True, nogil=True)
def _push(w, b, s, value, in_block, spare):  # type: ignore[no-untyped-def]
    """Take one residual of season ``s`` into its bank and into the largest of the block under way."""
    start = BANKS + s * BANK
    ring, thirty, ten = (
        w[start : start + RING],
        w[start + RING : start + 2 * RING + 1],
        w[start + 2 * RING + 1 : start + BANK],
    )
    place = np.int64(b[PLACES + s])
    _renew_thirty(thirty, ring[place], value, spare)
    _renew_ten(ten, ring[place + 20 if place < 10 else place - 10], value, spare)
    before = ring[place - 1 if place >= 1 else RING - 1]
    third = ring[place - 2 if place >= 2 else place + RING - 2]
    ring[place] = value
    b[PLACES + s] = place + 1 if place < RING - 1 else 0
    best = w[BEST + s * BEST_SIZE : BEST + (s + 1) * BEST_SIZE]
    low, high = min(value, min(before, third)), max(value, max(before, third))
    best[0] = max(best[0], value)
    best[4] = max(best[4], -value)
    best[1] = max(best[1], low)
    best[5] = max(best[5], -high)
    if in_block >= 2:
        best[9] = max(best[9], low)
        best[10] = max(best[10], -high)
    _lasting(ten, thirty, best)


@numba.njit(cache=True, nogil=True)
def _follow(w, place, value, shift):  # type: ignore[no-untyped-def]
    """Move a running median one step towards ``value``."""
    now = np.int64(w[place])
    value = min(value, PAD)
    if now == 0:
        w[place] = value
    else:
        step = max(now >> shift, 1)
        w[place] = min(now + step, PAD) if value > now else max(now - step, 1)


@numba.njit(cache=True, nogil=True)
def level(w, b, s, n):  # type: ignore[no-untyped-def]
    """The level of 10, 60 or 360 (``n`` 0, 1, 2) of season ``s`` now; UNSET where it is not known."""
    start = BANKS + s * BANK
    thirty, ten = w[start + RING : start + 2 * RING + 1], w[start + 2 * RING + 1 : start + BANK]
    if n == 0:
        return (np.int64(ten[4]) + np.int64(ten[5])) >> 1 if b[FULL + s] >= 2 else UNSET
    if n == 1:
        if b[FULL + s] < 12:
            return UNSET
        half = (np.int64(thirty[14]) + np.int64(thirty[15])) >> 1
        return (half + np.int64(w[HALVES + 7 * s + (b[FULL + s] + 1) % 7])) >> 1
    if b[LONG_SEEN + s] < 12:
        return UNSET
    ordered = np.sort(w[THIRTIES + 12 * s : THIRTIES + 12 * (s + 1)])
    return (np.int64(ordered[5]) + np.int64(ordered[6])) >> 1


@numba.njit(cache=True, nogil=True)
def odd_limit(w):  # type: ignore[no-untyped-def]
    """How far the short level may be from the long one at an ordinary moment."""
    return max(ODD_LIMIT * w[AWAY], LEAST_AWAY)


@numba.njit(cache=True, nogil=True)
def _excursion(largest, levels, taint, j, baseline):  # type: ignore[no-untyped-def]
    """Largest deviation of statistic ``j`` around a baseline; -1 where it is not known."""
    s = baseline // 3
    if levels[baseline] == UNSET or (s == 1 and taint & SEASONLESS):
        return np.int64(-1)
    return min(max(np.int64(largest[s * COUNT + j]) - SIGN[j] * np.int64(levels[baseline]), 0), PAD)


@numba.njit(cache=True, nogil=True)
def _finish(w, b, window, largest, levels, taint, span):  # type: ignore[no-untyped-def]
    """Record a shadow that is over."""
    if taint & DEAD or span > 2 * WINDOWS[window]:
        return
    if taint & TOUCHED:
        if taint & ODDLY:
            return
        target, counts = PENDING, PENDING_COUNTS
    elif taint & ODDLY:
        target, counts = ODD, ODD_COUNTS + 3
    else:
        target, counts = NOW, NOW_COUNTS
    if b[counts + window] < 255:
        b[counts + window] += 1
    for cell in range(KEPT):
        if CELL_WINDOW[cell] != window:
            continue
        j = CELL_STATISTIC[cell]
        found = _excursion(largest, levels, taint, j, b[CHOSEN + j])
        if found < 0:
            found = _excursion(largest, levels, taint, j, 0)
        w[target + cell] = max(np.int64(w[target + cell]), found)
    if window == 0 or target != NOW:
        return
    shift = 5 if b[BUCKETS_DONE] < 3 else 8
    for j in range(COUNT):
        if CHOOSING[j] != window:
            continue
        for baseline in range(BASELINES):
            found = _excursion(largest, levels, taint, j, baseline)
            if found < 0:
                continue
            place = QUANTILES + BASELINES * j + baseline
            now = np.int64(w[place])
            fine = min(4 * found, PAD)
            if now == 0:
                plain = np.int64(w[QUANTILES + BASELINES * j + (baseline - 3 if baseline > 2 else 0)])
                now = plain if plain > 0 else max(fine, 1)
            step = max(now >> shift, 1)
            w[place] = min(now + 9 * step, PAD) if fine > now else max(now - step, 1)


@numba.njit(cache=True, nogil=True)
def _choose(w, b, bucket):  # type: ignore[no-untyped-def]
    """Let the baseline that predicted best judge from now on, for each statistic.

    A season takes over only between buckets, ``bucket``, and then what came before does not count any more: the largest
    excursions around the plain level say nothing of those around the season.
    """
    for j in range(COUNT):
        if b[BUCKETS_DONE] == 0 and b[NOW_COUNTS + CHOOSING[j]] < TRIED:
            b[CHOSEN + j] = 1 if 0 < w[STEPPED + 1] < w[STEPPED] else 0
            continue
        q = w[QUANTILES + BASELINES * j : QUANTILES + BASELINES * (j + 1)]
        now = np.int64(b[CHOSEN + j])
        plain = now % 3
        for n in range(3):
            if 0 < q[n] < NEAR * q[plain]:
                plain = n
        best = plain
        # The season in use keeps its place as long as it is no worse, so that none comes and goes.
        limit = GAIN * q[plain] if now < 3 else float(q[plain])
        if now >= 3 and 0 < q[now] < limit:
            best, limit = now, NEAR * q[now]
        for n in range(3, BASELINES):
            if 0 < q[n] < limit and (now >= 3 or bucket):
                best, limit = n, float(q[n])
        if best >= 3 and now < 3:
            b[SINCE + j] = 0
        b[CHOSEN + j] = best


@numba.njit(cache=True, nogil=True)
def encode(excursion):  # type: ignore[no-untyped-def]
    """An excursion as a code, rounded up."""
    if excursion <= CODE_LEAST:
        return 0
    return min(int(np.ceil(CODE_STEPS * np.log2(excursion / CODE_LEAST))), 255)


@numba.njit(cache=True, nogil=True)
def clear(w, b, x, m):  # type: ignore[no-untyped-def]
    """Forget everything that was learned of a series but the kind of its metric."""
    kind = b[KIND]
    w[:] = 0
    b[:] = 0
    b[KIND] = kind
    x[:] = 0.0
    m[:] = 0


@numba.njit(cache=True, nogil=True)
def _begin(w, b):  # type: ignore[no-untyped-def]
    """An empty past, the transform being known."""
    w[:] = 0
    w[PROFILE : PROFILE + SLOTS] = UNSET
    w[BANKS : BANKS + 2 * BANK] = PAD
    w[BEST : BEST + 2 * BEST_SIZE] = UNSET
    w[LEVELS : LEVELS + BASELINES] = UNSET
    kind, form, state, facts = b[KIND], b[FORM], b[STATE], b[FACTS]
    b[:] = 0
    b[KIND], b[FORM], b[STATE], b[FACTS] = kind, form, state | FITTED, facts
    b[AGES : AGES + RUNS] = IDLE
    b[SINCE : SINCE + COUNT] = BUCKETS
    # No shadow begins before a level is known.
    b[BLOCK_TAINT] = DEAD


@numba.njit(cache=True, nogil=True)
def _refit(w, b, x, m):  # type: ignore[no-untyped-def]
    """At the end of a bucket: does the transform still fit? A series of another kind or size begins anew."""
    period = np.int64(w[SPAN]) / (BLOCK * BUCKET)
    w[SPAN] = 0
    if period > 2.0:
        # It comes so much less often than it did: what was a gap is its period.
        x[PERIOD] *= np.rint(period)
    here = level(w, b, 0, 2)
    if here == UNSET:
        return
    own = inverse(b[FORM], x[SCALE_UNIT], x[SCALE_TOP], here / UNIT - x[SCALE_OFFSET])
    if b[BUCKETS_DONE] == 2 or x[USUAL] == 0.0:
        x[USUAL] = own
    else:
        x[USUAL] += (own - x[USUAL]) / 8.0
    if b[STATE] & WATCHED or b[BUCKETS_DONE] < 2:
        return
    form, top = form_of(b[KIND], b[FACTS], x[USUAL])
    if form == b[FORM]:
        unit = unit_of(form, b[KIND], b[FACTS], x[USUAL])
        same = form != LOG or x[USUAL] <= 0.0 or x[SCALE_UNIT] / STRANGE <= unit <= x[SCALE_UNIT] * STRANGE
        if same and (top == 0.0 or top <= x[SCALE_TOP]):
            return
    unit = unit_of(form, b[KIND], b[FACTS], x[USUAL])
    b[FORM] = form
    x[SCALE_UNIT], x[SCALE_TOP] = unit, top
    x[SCALE_OFFSET] = -forward(form, unit, top, x[USUAL])
    _begin(w, b)
    m[SEEN] = 0
    m[SLOT_FIRST] = m[SLOT_NOW]


@numba.njit(cache=True, nogil=True)
def _close_bucket(w, b, x, m):  # type: ignore[no-untyped-def]
    """Keep the largest excursions of the bucket, and drop the oldest."""
    at_bucket = np.int64(b[BUCKET_AT])
    for cell in range(KEPT):
        b[CODES + at_bucket * KEPT + cell] = encode(w[NOW + cell])
        w[NOW + cell] = 0
    for window in range(3):
        b[COUNTS + 3 * at_bucket + window] = b[NOW_COUNTS + window]
        b[NOW_COUNTS + window] = 0
    b[IN_BUCKET] = 0
    b[BUCKET_AT] = (at_bucket + 1) % BUCKETS
    b[BUCKETS_DONE] = min(np.int64(b[BUCKETS_DONE]) + 1, 255)
    for j in range(COUNT):
        b[SINCE + j] = min(np.int64(b[SINCE + j]) + 1, BUCKETS)
    _choose(w, b, True)
    if b[BUCKET_AT] % 7 == 0:
        for cell in range(KEPT):
            b[ODD_CODES + cell] = encode(w[ODD + cell])
            w[ODD + cell] = 0
        for window in range(3):
            b[ODD_COUNTS + window] = b[ODD_COUNTS + 3 + window]
            b[ODD_COUNTS + 3 + window] = 0
    _refit(w, b, x, m)


@numba.njit(cache=True, nogil=True)
def _open_block(w, b):  # type: ignore[no-untyped-def]
    """Begin a block, and the shadows that begin with it."""
    for s in range(2):
        best = w[BEST + s * BEST_SIZE : BEST + (s + 1) * BEST_SIZE]
        best[:] = UNSET
        start = BANKS + s * BANK
        if b[FULL + s] >= 2:
            # The tenth sample is the last of the second block, the thirtieth that of the sixth.
            _lasting(w[start + 2 * RING + 1 : start + BANK], w[start + RING : start + 2 * RING + 1], best)
        for n in range(3):
            w[LEVELS + 3 * s + n] = level(w, b, s, n) if n < 2 else w[LEVELS + 3 * s + n]
    taint = 0
    short, far = np.int64(w[LEVELS]), np.int64(w[LEVELS + 2])
    if short == UNSET or b[SETTLING] > 0:
        taint |= DEAD
    elif far != UNSET:
        away = abs(short - far)
        if away > odd_limit(w):
            taint |= ODDLY
        _follow(w, AWAY, away, 4 if b[BUCKETS_DONE] < 3 else 7)
    b[IN_BLOCK] = 0
    b[BLOCK_SPAN] = 0
    b[BLOCK_TAINT] = taint
    for k in range(RUNS):
        if b[BLOCK_COUNT] % BLOCKS[RUNNING[k]] == PHASES[k]:
            b[AGES + k], b[TAINTS + k], b[SPANS + k] = 0, taint, 0
            start = SHADOWS + k * SHADOW_SIZE
            w[start : start + 2 * COUNT] = UNSET
            w[start + 2 * COUNT : start + SHADOW_SIZE] = w[LEVELS : LEVELS + BASELINES]


@numba.njit(cache=True, nogil=True)
def _close_block(w, b, x, m):  # type: ignore[no-untyped-def]
    """Five samples came: carry them into the running shadows, and end those that are over."""
    taint, span = b[BLOCK_TAINT], np.int64(b[BLOCK_SPAN])
    w[SPAN] = min(np.int64(w[SPAN]) + span, PAD)
    largest = np.empty(2 * COUNT, dtype=np.int16)
    for s in range(2):
        best = w[BEST + s * BEST_SIZE : BEST + (s + 1) * BEST_SIZE]
        for j in range(COUNT):
            largest[s * COUNT + j] = best[j]
        largest[s * COUNT + 1], largest[s * COUNT + 5] = best[9], best[10]
    _finish(w, b, 0, largest, w[LEVELS : LEVELS + BASELINES], taint, span)
    for k in range(RUNS):
        age = np.int64(b[AGES + k])
        if age == IDLE:
            continue
        start = SHADOWS + k * SHADOW_SIZE
        so_far = w[start : start + 2 * COUNT]
        for s in range(2):
            best = w[BEST + s * BEST_SIZE : BEST + (s + 1) * BEST_SIZE]
            for j in range(COUNT):
                if age >= FIRST_BLOCK[j]:
                    # Three samples after its beginning a shadow has a smallest of three.
                    value = best[9 if j == 1 else 10] if age == 0 and j % 4 == 1 else best[j]
                    so_far[s * COUNT + j] = max(so_far[s * COUNT + j], value)
        b[TAINTS + k] |= taint & (TOUCHED | SEASONLESS)
        b[SPANS + k] = min(np.int64(b[SPANS + k]) + span, 255)
        b[AGES + k] = age + 1
        if age + 1 == BLOCKS[RUNNING[k]]:
            levels = w[start + 2 * COUNT : start + SHADOW_SIZE]
            _finish(w, b, RUNNING[k], so_far, levels, b[TAINTS + k], np.int64(b[SPANS + k]))
            b[AGES + k] = IDLE
    for s in range(2):
        if s == 1 and taint & SEASONLESS:
            continue
        start = BANKS + s * BANK
        thirty = w[start + RING : start + 2 * RING + 1]
        half = (np.int64(thirty[14]) + np.int64(thirty[15])) >> 1
        full = np.int64(b[FULL + s])
        # Counted on in a circle that keeps its place among seven halves and six blocks.
        full = full + 1 if full < 251 else 210
        b[FULL + s] = full
        w[HALVES + 7 * s + full % 7] = half
        if full % 6 == 0:
            w[THIRTIES + 12 * s + b[LONG_AT + s]] = half
            b[LONG_AT + s] = (b[LONG_AT + s] + 1) % 12
            b[LONG_SEEN + s] = min(np.int64(b[LONG_SEEN + s]) + 1, 12)
            w[LEVELS + 3 * s + 2] = level(w, b, s, 2)
    b[BLOCK_COUNT] = (b[BLOCK_COUNT] + 1) % 12
    b[IN_BUCKET] += 1
    if b[IN_BUCKET] == BUCKET:
        _close_bucket(w, b, x, m)
    elif b[BLOCK_COUNT] == 0:
        _choose(w, b, False)
    _open_block(w, b)


@numba.njit(cache=True, nogil=True)
def _close_slot(w, b, x, m):  # type: ignore[no-untyped-def]
    """Five minutes are over: the profile learns what this slot shows today, if no change was being watched."""
    place = PROFILE + m[SLOT_NOW] % SLOTS
    if b[SLOT_SEEN] == 0 or b[SLOT_TAINT]:
        return
    if w[place] == UNSET:
        w[place] = np.int64(np.rint(x[SLOT_MEAN]))
        return
    away = x[SLOT_MEAN] - w[place]
    days = (m[SLOT_NOW] - m[SLOT_FIRST]) // SLOTS + 1
    if days > 2:
        pull = max(HUBER * w[SURPRISE], LEAST_PULL)
        away = min(max(away, -pull), pull)
    w[place] = clip(np.int64(np.rint(w[place] + away / min(days, DAYS))))
    _follow(w, SURPRISE, np.int64(abs(away)), 5)


@numba.njit(cache=True, nogil=True)
def _take(w, b, x, m, time, value, spare):  # type: ignore[no-untyped-def]
    """One sample, later than all before it, of a row whose transform is known."""
    elapsed = min(np.int64((time - m[LAST]) / x[PERIOD] + 0.5), 250)
    m[LAST] = time
    m[SEEN] += 1
    b[FACTS] |= facts_of(value)
    y = (forward(b[FORM], x[SCALE_UNIT], x[SCALE_TOP], value) + x[SCALE_OFFSET]) * UNIT
    plain = np.int64(np.rint(min(max(y, -float(REACH)), float(REACH))))
    slot = time // SLOT
    if slot != m[SLOT_NOW]:
        _close_slot(w, b, x, m)
        m[SLOT_NOW] = slot
        b[SLOT_SEEN], b[SLOT_TAINT] = 0, 0
        x[SLOT_MEAN] = 0.0
    if elapsed > GAP:
        b[AGES : AGES + RUNS] = IDLE
        _open_block(w, b)
    b[BLOCK_SPAN] = min(np.int64(b[BLOCK_SPAN]) + max(elapsed, 1), 250)
    if b[STATE] & WATCHED:
        b[BLOCK_TAINT] |= TOUCHED
        b[SLOT_TAINT] = 1
    expected = np.int64(w[PROFILE + slot % SLOTS])
    seasonal = clip(plain - expected)
    first = b[IN_BLOCK] == 0
    if first:
        shift = 3 if m[SEEN] < 300 else 5
        for n in range(3):
            if w[LEVELS + n] != UNSET:
                _follow(w, STEPPED + n, 4 * abs(plain - np.int64(w[LEVELS + n])), shift)
            if expected != UNSET and w[LEVELS + 3 + n] != UNSET:
                _follow(w, STEPPED + 3 + n, 4 * abs(seasonal - np.int64(w[LEVELS + 3 + n])), shift)
    _push(w, b, 0, np.int16(plain), b[IN_BLOCK], spare)
    if expected != UNSET:
        _push(w, b, 1, np.int16(seasonal), b[IN_BLOCK], spare)
    else:
        b[BLOCK_TAINT] |= SEASONLESS
    if b[SETTLING] > 0:
        b[SETTLING] -= 1
    b[SLOT_SEEN] = min(np.int64(b[SLOT_SEEN]) + 1, 255)
    x[SLOT_MEAN] += (plain - x[SLOT_MEAN]) / b[SLOT_SEEN]
    b[IN_BLOCK] += 1
    if b[IN_BLOCK] == BLOCK:
        _close_block(w, b, x, m)


@numba.njit(cache=True, nogil=True)
def _warm(w, b, x, m, time, value, spare):  # type: ignore[no-untyped-def]
    """One of the first samples: kept as it is, until there are enough to choose transform and period by."""
    values, steps = w[: 4 * WARM].view(np.float64), w[4 * WARM : 6 * WARM].view(np.int32)
    seen = m[SEEN]
    values[seen] = value
    steps[seen] = min(time - m[LAST], 2_000_000_000) if seen else 0
    m[LAST] = time
    m[SEEN] += 1
    b[FACTS] |= facts_of(value)
    if m[SEEN] < WARM:
        return
    early, gaps = values.copy(), steps.copy()
    x[PERIOD] = max(np.median(gaps[1:]), 1.0)
    form, unit, top = fit(b[KIND], b[FACTS], early)
    b[FORM] = form
    x[SCALE_UNIT], x[SCALE_TOP] = unit, top
    sizes = np.empty(WARM)
    for i in range(WARM):
        sizes[i] = forward(form, unit, top, early[i])
    x[SCALE_OFFSET] = -np.median(sizes)
    _begin(w, b)
    m[SEEN] = 0
    when = time
    for i in range(1, WARM):
        when -= gaps[i]
    m[SLOT_NOW] = m[SLOT_FIRST] = when // SLOT
    m[LAST] = when - np.int64(x[PERIOD])
    for i in range(WARM):
        when += gaps[i] if i else 0
        _take(w, b, x, m, when, early[i], spare)


@numba.njit(cache=True, nogil=True)
def advance(words, small, reals, marks, first, rows, times, values):  # type: ignore[no-untyped-def]
    """Take samples, in the order given, into the rows ``first`` … of one chunk; rows of other chunks are passed over.

    ``rows`` int64[n], ``times`` int64[n] Unix ms, ``values`` float64[n]. Values that are not finite and times that are
    not later than the last one of their row are dropped. Returns how many were taken.
    """
    spare = np.empty(RING, dtype=np.int16)
    taken = 0
    for i in range(len(rows)):
        row = rows[i] - first
        if row < 0 or row >= len(words) or not np.isfinite(values[i]):
            continue
        m = marks[row]
        fitted = small[row, STATE] & FITTED
        if (fitted or m[SEEN] > 0) and times[i] <= m[LAST]:
            continue
        taken += 1
        if fitted:
            _take(words[row], small[row], reals[row], m, times[i], values[i], spare)
        else:
            _warm(words[row], small[row], reals[row], m, times[i], values[i], spare)
    return taken


@numba.njit(cache=True, nogil=True)
def settle(w, b, calm):  # type: ignore[no-untyped-def]
    """End a watched stretch: what it held counts if it was ``calm``, and is forgotten if not."""
    if calm:
        for cell in range(KEPT):
            w[NOW + cell] = max(w[NOW + cell], w[PENDING + cell])
        for window in range(3):
            b[NOW_COUNTS + window] = min(np.int64(b[NOW_COUNTS + window]) + b[PENDING_COUNTS + window], 255)
    w[PENDING : PENDING + KEPT] = 0
    b[PENDING_COUNTS : PENDING_COUNTS + 3] = 0
    for k in range(RUNS + 1):
        place = TAINTS + k if k < RUNS else BLOCK_TAINT
        if b[place] & TOUCHED:
            b[place] = b[place] & ~TOUCHED if calm else b[place] | DEAD
    if not calm:
        b[AGES : AGES + RUNS] = IDLE
        b[BLOCK_TAINT] |= DEAD
        b[SETTLING] = SETTLE
    b[STATE] &= ~WATCHED
