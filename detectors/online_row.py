"""One row of the online past: what is kept of a series while nothing is asked, in two kilobytes.

Transformed values are whole numbers of 1/2048 around the series' first median: a step of 0.05 % on the scale of the
detector, a hundredth of its least effect. A row is four runs of plain numbers:

* ``words`` int16[784]: the day's profile in slots of five minutes; for the plain and the seasonal residual the last 30
  values, in order of arrival and ascending; the block of five samples under way; six running shadows; largest
  excursions of the bucket under way, of a watched stretch not yet judged and of shadows with an odd beginning; running
  quantiles;
* ``bytes`` uint8[415]: the largest excursions of the last 14 buckets, rounded up by at most 2.5 %, and small counters;
* ``reals`` float64[5]: unit, top and offset of the transform, the running mean of the slot, the period (ms);
* ``marks`` int64[3]: time of the last sample (ms), samples so far, first slot.
"""

import numpy as np
from numpy.typing import NDArray

from detectors.bank import COUNT, RING

WINDOWS = (5, 15, 60)
"""Samples of the shadow watches that are kept. Longer ones are extrapolated."""
BLOCK = 5
"""Samples of a block: shadows begin and end at its edges."""
BLOCKS = (1, 3, 12)
STRIDES = (5, 5, 20)
"""Samples between the beginnings of neighbouring shadows of each window."""
RUNNING = (1, 1, 1, 2, 2, 2)
"""Which window each of the running shadows is of; the shortest is the block itself."""
PHASES = (0, 1, 2, 0, 4, 8)
"""The block, counted within its window, at which each running shadow begins."""

UNIT = 2048.0
FINE = 8192.0
"""Running quantiles are in finer units, up to 4: small steps must not be lost to rounding."""
REACH = 32_000
UNSET = -32_768
PAD = 32_767

BUCKETS = 14
BUCKET = 58
"""Blocks in a bucket: fourteen hold the 4,032 samples in which the shadows of a past are taken."""
WARM = 60
"""Samples after which the transform and the period are fixed."""
SLOTS = 288
SLOT = 300_000
"""Slots in a day, and milliseconds in a slot."""

CELLS = ((0, 0), (0, 1), (0, 4), (0, 5), *((1, j) for j in (0, 1, 2, 4, 5, 6, 8)), *((2, j) for j in range(COUNT)))
"""Window and statistic of each excursion that is kept: a short window has no long statistics."""
KEPT = len(CELLS)
BASELINES = 6
"""Season none or day, each with the level of 10, 60 and 360 samples."""

# Offsets into the words.
PROFILE = 0
BANKS = PROFILE + SLOTS
ORDERED = 50
"""The last 30 values ascending between a floor and three PADs, then the last ten between a floor and five PADs: so many
words are renewed together."""
BANK = RING + ORDERED
THIRTY = RING + 1
TEN = RING + 35
BEST = BANKS + 2 * BANK
BEST_SIZE = COUNT + 2
LEVELS = BEST + 2 * BEST_SIZE
SHADOWS = LEVELS + BASELINES
SHADOW = 2 * COUNT + BASELINES
HALVES = SHADOWS + len(RUNNING) * SHADOW
THIRTIES = HALVES + 2 * 7
NOW = THIRTIES + 2 * 12
PENDING = NOW + KEPT
ODD = PENDING + KEPT
QUANTILES = ODD + KEPT
STEPS = QUANTILES + COUNT * BASELINES
AWAY = STEPS + BASELINES
SURPRISE = AWAY + 1
USUAL = SURPRISE + 1
SPAN = USUAL + 1
WORDS = 784

# Offsets into the bytes.
CODES = 0
COUNTS = CODES + BUCKETS * KEPT
ODD_CODES = COUNTS + BUCKETS * 3
ODD_COUNTS = ODD_CODES + KEPT
NOW_COUNTS = ODD_COUNTS + 6
PENDING_COUNTS = NOW_COUNTS + 3
CHOSEN = PENDING_COUNTS + 3
TAINTS = CHOSEN + COUNT
SPANS = TAINTS + len(RUNNING)
FORM = SPANS + len(RUNNING)
KIND = FORM + 1
STATE = KIND + 1
IN_BLOCK = STATE + 1
BLOCK_SPAN = IN_BLOCK + 1
BLOCK_TAINT = BLOCK_SPAN + 1
BLOCK_COUNT = BLOCK_TAINT + 1
IN_BUCKET = BLOCK_COUNT + 1
BUCKET_AT = IN_BUCKET + 1
BUCKETS_DONE = BUCKET_AT + 1
SETTLING = BUCKETS_DONE + 1
PLACES = SETTLING + 1
FULL = PLACES + 2
LONG_AT = FULL + 2
LONG_SEEN = LONG_AT + 2
SLOT_SEEN = LONG_SEEN + 2
SLOT_TAINT = SLOT_SEEN + 1
FACTS = SLOT_TAINT + 1
SINCE = FACTS + 1
QUIET = SINCE + COUNT
"""Samples since the series last moved."""
STILL_BLOCKS = QUIET + 1
"""Blocks of the bucket under way at whose beginning the series lay still."""
STILL = STILL_BLOCKS + 1
"""The same of the buckets that are over, two in a byte, in fifteenths of them all."""
BYTES = STILL + BUCKETS // 2

SCALE_UNIT, SCALE_TOP, SCALE_OFFSET, SLOT_MEAN, PERIOD = range(5)
REALS = 5
LAST, SEEN, SLOT_FIRST = range(3)
MARKS = 3

# State of a row.
FITTED, WATCHED = 1, 2
# Facts about its values, which decide the transform.
BELOW_ZERO, FRACTION, OVER_HUNDRED, OVER_ONE, AT_HUNDRED, AT_ONE, UNDER_HUNDRED, UNDER_ONE = 1, 2, 4, 8, 16, 32, 64, 128
# What taints a shadow or a block.
TOUCHED, DEAD, ODDLY, SEASONLESS, IDLE = 1, 2, 4, 8, 16

CODE_LEAST = 61
"""Excursions up to this (3 %) are below every floor and are kept as zero."""
CODE_STEPS = 28.0
"""Steps of a code in a doubling."""

SIZE = 2 * WORDS + BYTES + 8 * REALS + 8 * MARKS
"""Bytes of one row."""


def still(bytes_of_row: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Share of each bucket in which the series lay still, from the bytes of its row: float64[14]."""
    pairs = bytes_of_row[STILL:BYTES]
    return np.column_stack([pairs & 15, pairs >> 4]).reshape(-1) / 15.0


def decode(codes: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Upper ends of the excursions behind ``codes`` (uint8, any shape), on the scale of the detector; 0 for none.

    >>> np.round(decode(np.array([0, 28, 253], dtype=np.uint8)), 3)
    array([ 0.   ,  0.06 , 15.632])
    """
    return np.where(codes > 0, CODE_LEAST / UNIT * np.exp2(codes / CODE_STEPS), 0.0)
