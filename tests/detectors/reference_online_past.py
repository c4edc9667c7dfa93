"""The online past, plain and slow: one series as lists of what came, every shadow watched again from its raw samples.

Shares no code with the fast path but the transform's choice and the constants.
"""

import math
import statistics

import numpy as np

from detectors import online_row as at
from detectors import online_step as step
from detectors.transform import fit

LENGTHS = (1, 3, 10, 30, 1, 3, 10, 30, 10)
SIGNS = (1, 1, 1, 1, -1, -1, -1, -1, 0)
WINDOW_BLOCKS = (1, 3, 12)
#: Window and the block, counted within it, at which its shadows begin.
STARTS = ((1, 0), (1, 1), (1, 2), (2, 0), (2, 4), (2, 8))


def bank_of(values):
    """The nine statistics of whole numbers, oldest first; None where there are too few."""
    out = []
    for sign in (1, -1):
        turned = [sign * v for v in values]
        for length, rank in ((1, 0), (3, 0), (10, 2), (30, 10)):
            out.append(sorted(turned[-length:])[rank] if len(turned) >= length else None)
    last = values[-10:]
    if len(last) == 10:
        # Twice everything, so that the median is whole.
        middle = sum(sorted(last)[4:6])
        out.append(sorted(abs(2 * v - middle) for v in last)[6] // 2)
    else:
        out.append(None)
    return out


def largest(values, begin):
    """The largest of each statistic over the samples from index ``begin`` on."""
    best = [None] * 9
    for i in range(begin, len(values)):
        for j, value in enumerate(bank_of(values[max(0, i - 29) : i + 1])):
            if i - begin + 1 >= LENGTHS[j] and value is not None and (best[j] is None or value > best[j]):
                best[j] = value
    return best


def moved(now, value, shift):
    """A running median after one more value."""
    value = min(value, at.PAD)
    if now == 0:
        return value
    size = max(now >> shift, 1)
    return min(now + size, at.PAD) if value > now else max(now - size, 1)


class Shadow:
    def __init__(self, window, begins, levels, taint):
        self.window, self.begins, self.levels = window, begins, levels
        self.dead, self.odd, self.touched, self.seasonless = *taint, False, False
        self.blocks = self.span = 0


class Past:
    """One series."""

    def __init__(self, kind="value"):
        self.kind = kind
        self.early = []
        self.fitted = False
        self.watched = False
        self.last = None
        self.seen = 0
        self.known = []

    def begin(self):
        self.fitted = True
        self.profile = [None] * 288
        self.values = [[], []]
        self.full = [0, 0]
        self.halves = [[], []]
        self.longs = [[], []]
        self.levels = [None] * 6
        self.running = []
        self.now, self.pending, self.odd, self.odd_codes = [0] * 20, [0] * 20, [0] * 20, [0] * 20
        self.counts, self.pending_counts, self.odd_counts, self.odd_old = [0] * 3, [0] * 3, [0] * 3, [0] * 3
        self.buckets = []
        self.quantiles = [[0] * 6 for _ in range(9)]
        self.chosen, self.since = [0] * 9, [14] * 9
        self.steps = [0] * 6
        self.away = self.surprise = self.block = self.in_bucket = self.spans = self.settling = 0
        self.quiet = self.still_blocks = 0
        self.still = []
        self.usual = None
        self.slot_values, self.slot_touched = [], False
        self.here = Shadow(0, [0, 0], [None] * 6, (True, False))
        self.in_block = 0

    def take(self, time, value):
        if not math.isfinite(value) or (self.last is not None and time <= self.last):
            return
        self.known.append(value)
        if self.fitted:
            self.one(time, value)
            return
        self.early.append((time, value))
        self.last = time
        if len(self.early) < at.WARM:
            return
        times = [t for t, _ in self.early]
        values = np.array([v for _, v in self.early])
        self.period = max(statistics.median(np.diff(times).tolist()), 1.0)
        self.transform = fit(values, self.kind)
        self.offset = -statistics.median(self.forward(v) for v in values.tolist())
        self.begin()
        self.first_slot = times[0] // at.SLOT
        self.last = times[0] - int(self.period)
        for moment, number in self.early:
            self.one(moment, number)

    def forward(self, value):
        t = self.transform
        if t.form == "bounded":
            return -math.log(max(t.top - value, 0.0) / t.top + t.unit)
        size = min(abs(value) / t.unit, 1e300)
        if t.form == "asinh":
            return math.copysign(math.asinh(size), value)
        return math.copysign(math.log(1.0 + size), value) + (0.0 if t.form == "ratio" else math.log(t.unit))

    def one(self, time, value):
        waited = float(time - self.last)
        elapsed = 1 if waited < 1.5 * self.period else int(min(waited / self.period + 0.5, 250.0))
        before, slot = self.last // at.SLOT, time // at.SLOT
        self.last = time
        self.seen += 1
        plain = round(min(max((self.forward(value) + self.offset) * 2048.0, -32000.0), 32000.0))
        if slot != before:
            self.close_slot(before)
        if elapsed > step.GAP:
            self.running = []
            self.open_block()
        self.here.span = min(self.here.span + elapsed, 250)
        if self.watched:
            self.here.touched = self.slot_touched = True
        expected = self.profile[slot % 288]
        seasonal = None if expected is None else min(max(plain - expected, -32000), 32000)
        if self.in_block == 0:
            for n in range(3):
                shift = 3 if self.seen < 300 else 5
                for b, residual in ((n, plain), (n + 3, seasonal)):
                    if residual is not None and self.levels[b] is not None:
                        self.steps[b] = moved(self.steps[b], 4 * abs(residual - self.levels[b]), shift)
        self.quiet = min(self.quiet + 1, 255) if self.values[0] and self.values[0][-1] == plain else 0
        self.values[0].append(plain)
        if seasonal is None:
            self.here.seasonless = True
        else:
            self.values[1].append(seasonal)
        self.settling = max(self.settling - 1, 0)
        self.slot_values.append(plain)
        self.in_block += 1
        if self.in_block == 5:
            self.close_block()

    def close_slot(self, slot):
        values, touched = self.slot_values, self.slot_touched
        self.slot_values, self.slot_touched = [], False
        if not values or touched:
            return
        mean = 0.0
        for n, value in enumerate(values, 1):
            mean += (value - mean) / min(n, 255)
        place = slot % 288
        if self.profile[place] is None:
            self.profile[place] = round(mean)
            return
        away = mean - self.profile[place]
        days = (slot - self.first_slot) // 288 + 1
        if days > 2:
            pull = max(6.0 * self.surprise, 100.0)
            away = min(max(away, -pull), pull)
        self.profile[place] = round(min(max(self.profile[place] + away / min(days, 5), -32000.0), 32000.0))
        self.surprise = moved(self.surprise, int(abs(away)), 5)

    def half(self, s):
        return sum(sorted(self.values[s][-30:])[14:16]) >> 1 if len(self.values[s]) >= 30 else None

    def level(self, s, n):
        if n == 0:
            return sum(sorted(self.values[s][-10:])[4:6]) >> 1 if self.full[s] >= 2 else None
        if n == 1:
            return (self.half(s) + self.halves[s][-7]) >> 1 if self.full[s] >= 12 else None
        return sum(sorted(self.longs[s][-12:])[5:7]) >> 1 if len(self.longs[s]) >= 12 else None

    def open_block(self):
        self.levels = [self.level(s, n) for s in range(2) for n in range(3)]
        dead, odd = self.levels[0] is None or self.settling > 0, False
        if not dead and self.levels[2] is not None:
            away = abs(self.levels[0] - self.levels[2])
            odd = away > max(3.0 * self.away, 0.05 * 2048.0)
            self.away = moved(self.away, away, 4 if len(self.buckets) < 3 else 7)
        self.still_blocks += self.quiet >= 60
        self.in_block = 0
        begins = [len(v) for v in self.values]
        self.here = Shadow(0, begins, self.levels, (dead, odd))
        for window, phase in STARTS:
            if self.block % WINDOW_BLOCKS[window] == phase:
                shadow = Shadow(window, begins, self.levels, (dead, odd))
                shadow.phase = phase
                self.running.append(shadow)

    def close_block(self):
        block = self.here
        self.spans = min(self.spans + block.span, at.PAD)
        self.finish(block, teach=False)
        going = []
        for shadow in sorted(self.running, key=lambda r: STARTS.index((r.window, r.phase))):
            shadow.touched |= block.touched
            shadow.seasonless |= block.seasonless
            shadow.span += block.span
            shadow.blocks += 1
            if shadow.blocks == WINDOW_BLOCKS[shadow.window]:
                self.finish(shadow, teach=(shadow.window, shadow.phase) == (1, 0) or shadow.window == 2)
            else:
                going.append(shadow)
        self.running = going
        for s in range(2):
            if s == 1 and block.seasonless:
                continue
            self.full[s] += 1
            self.halves[s].append(self.half(s))
            if self.full[s] % 6 == 0:
                self.longs[s].append(self.halves[s][-1])
        self.block = (self.block + 1) % 12
        self.in_bucket += 1
        if self.in_bucket == at.BUCKET:
            self.close_bucket()
        elif self.block == 0:
            self.choose(bucket=False)
        self.open_block()

    def finish(self, shadow, *, teach):
        if shadow.dead or min(shadow.span, 505) > 2 * at.WINDOWS[shadow.window]:
            return
        if shadow.touched and shadow.odd:
            return
        target, counts = self.now, self.counts
        if shadow.touched:
            target, counts = self.pending, self.pending_counts
        elif shadow.odd:
            target, counts = self.odd, self.odd_counts
        counts[shadow.window] = min(counts[shadow.window] + 1, 255)
        tops = [largest(self.values[s], shadow.begins[s]) for s in range(2)]

        def excursion(j, b):
            if shadow.levels[b] is None or (b >= 3 and shadow.seasonless):
                return None
            return min(max(tops[b // 3][j] - SIGNS[j] * shadow.levels[b], 0), at.PAD)

        for cell, (window, j) in enumerate(at.CELLS):
            if window == shadow.window:
                found = excursion(j, self.chosen[j])
                target[cell] = max(target[cell], excursion(j, 0) if found is None else found)
        if not teach or shadow.touched or shadow.odd:
            return
        for j in range(9):
            if (2 if j in (3, 7) else 1) != shadow.window:
                continue
            for b in range(6):
                found = excursion(j, b)
                if found is None:
                    continue
                now, fine = self.quantiles[j][b], min(4 * found, at.PAD)
                if now == 0:
                    now = self.quantiles[j][b - 3 if b > 2 else 0] or max(fine, 1)
                done = len(self.buckets)
                size = max(now >> (4 if done < 5 else 5 if done < 10 else 6 if done < 20 else 8), 1)
                self.quantiles[j][b] = min(now + 9 * size, at.PAD) if fine > now else max(now - size, 1)

    def choose(self, *, bucket):
        for j in range(9):
            if not self.buckets and self.counts[2 if j in (3, 7) else 1] < 12:
                self.chosen[j] = 1 if 0 < self.steps[1] < self.steps[0] else 0
                continue
            q, now = self.quantiles[j], self.chosen[j]
            plain = now % 3
            for n in range(3):
                if 0 < q[n] < 0.95 * q[plain]:
                    plain = n
            best, limit = plain, 0.9 * q[plain] if now < 3 else q[plain]
            if now >= 3 and 0 < q[now] < limit:
                best, limit = now, 0.95 * q[now]
            for n in range(3, 6):
                if 0 < q[n] < limit and (now >= 3 or bucket):
                    best, limit = n, q[n]
            if best >= 3 > now:
                self.since[j] = 0
            self.chosen[j] = best

    def close_bucket(self):
        codes = [encode(e) for e in self.now]
        self.since = [min(n + 1, 14) for n in self.since]
        self.choose(bucket=True)
        self.buckets.append((codes, self.counts))
        self.now, self.counts, self.in_bucket = [0] * 20, [0] * 3, 0
        self.still.append(min(math.ceil(15 * self.still_blocks / at.BUCKET), 15))
        self.still_blocks = 0
        if len(self.buckets) % 7 == 0:
            self.odd_codes, self.odd = [encode(e) for e in self.odd], [0] * 20
            self.odd_old, self.odd_counts = self.odd_counts, [0] * 3
        self.refit()

    def refit(self):
        period, self.spans = self.spans / (5 * at.BUCKET), 0
        if period > 2.0:
            self.period *= round(period)
        here = self.level(0, 2)
        if here is None or len(self.buckets) < 2:
            return
        self.usual = here if len(self.buckets) == 2 else self.usual + ((here - self.usual) >> 3)
        usual = float(self.transform.inverse(np.array([self.usual / 2048.0 - self.offset]))[0])
        wanted = self.wanted(usual)
        same = wanted.form == self.transform.form and wanted.top <= self.transform.top
        near = self.transform.unit / 5.0 <= wanted.unit <= self.transform.unit * 5.0
        if (same and (wanted.form != "log" or usual <= 0.0 or near)) or self.watched:
            return
        self.transform = wanted
        self.offset = -self.forward(usual)
        self.begin()
        self.seen = 0
        self.first_slot = self.last // at.SLOT

    def wanted(self, usual):
        """The transform that `fit` would choose for a series of all values so far with this usual one."""
        known = np.array(self.known)
        if self.kind in ("ratio", "bounded"):
            return fit(np.minimum(known, 100.0) if self.kind == "bounded" else known, self.kind)
        low, high = known.min(), known.max()
        form, top = "asinh" if low < 0.0 else "log", 0.0
        if self.kind == "value" and high in (1.0, 100.0) and 0.0 <= low < high and usual > 0.9 * high:
            form, top = "bounded", high
        unit = 0.01 if form == "bounded" else 0.1 * abs(usual) or 1.0
        if form == "log" and (self.kind == "count" or np.all(known == np.floor(known))):
            unit = max(unit, 1.0)
        return type(self.transform)(form, unit, top)

    def accept(self):
        self.now = [max(a, b) for a, b in zip(self.now, self.pending, strict=True)]
        self.counts = [min(a + b, 255) for a, b in zip(self.counts, self.pending_counts, strict=True)]
        for shadow in (*self.running, self.here):
            shadow.touched = False
        self.settled()

    def forget(self):
        self.running, self.here.dead, self.settling = [], True, 10
        self.settled()

    def settled(self):
        self.pending, self.pending_counts, self.watched = [0] * 20, [0] * 3, False


def encode(excursion):
    return min(math.ceil(28.0 * math.log2(excursion / 61)), 255) if excursion > 61 else 0
