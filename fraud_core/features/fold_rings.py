"""The offline twin of the state functions over rings of buckets; see rings.py for what a window means there.

Per ring, measures live in one table of buckets with their totals; a bucket that leaves is taken off the totals.
"""

from typing import Any

import numpy as np
from numba import njit

from fraud_core.features.plan import (
    LIMB_BITS,
    LIMB_MASK,
    MAX_BIAS,
    NULL,
    SATURATION,
    SKETCH_CELLS,
    SKETCH_DIGIT,
    SKETCH_DIGITS,
    SKETCH_LEVELS,
    SlotKind,
)

_CLOCK, _PREVIOUS, _CARRIED, _CLEAN = (
    int(kind) for kind in (SlotKind.CLOCK, SlotKind.PREVIOUS, SlotKind.CARRIED, SlotKind.CLEAN)
)
_COUNT, _FILLED, _SUM, _MAX = (
    int(kind) for kind in (SlotKind.COUNT, SlotKind.FILLED, SlotKind.SUM, SlotKind.MAX)
)
_HIGH = int(SlotKind.SQUARES_HIGH)
_LABELS = (int(SlotKind.FRAUDS), int(SlotKind.FRAUD_NEWEST), int(SlotKind.FRAUD_OLDEST))

RING_WIDTH, RING_BUCKETS, RING_FIRST, RING_END = range(4)
"""Columns of `rings`: bucket ms, buckets, numbers of the first measure and of the one after the last."""
KIND, RING, INPUT, FILTER = range(4)
"""Columns of `measures`: kind, ring, index of the number or -1, filter or -1."""
SKETCH_RING, SKETCH_FIRST, SKETCH_INPUT, SKETCH_FILTER = range(4)
"""Columns of `sketches`: ring, measure of part 0, index of the cells, filter or -1."""
SLOT_KIND, SLOT_MEASURE, SLOT_INPUT, SLOT_LENGTH = range(4)
"""Columns of `slots`: kind, measure or -1, index of the carried value or -1, window ms."""
NEVER_MET = 255
"""Instead of a number of buckets, of which a ring has fewer."""


@njit(cache=True)  # type: ignore[misc, untyped-decorator, unused-ignore]  # numba has no types
def fold_rings(  # noqa: C901, PLR0917
    starts: Any, clock: Any, numbers: Any, cells: Any, carried: Any, bits: Any, rows: Any,
    rings: Any, measures: Any, sketches: Any, slots: Any, horizon: int, clean_ring: int, newest: Any, out: Any,
    begun: Any, begun_totals: Any, begun_buckets: Any, begun_ages: Any,
    kept_totals: Any, kept_buckets: Any, kept_cells: Any,
) -> None:  # fmt: skip
    """Replay every entity and write its slots, but those of labels.

    starts: int64[e+1] into the sorted rows; clock, bits, rows, newest: int64[n], rows = place in `out`; numbers, cells,
    carried: int64[·, n]; rings: int64[r, 4]; measures: int64[m, 4]; sketches: int64[k, 4]; slots: int64[s, 4];
    clean_ring: its number or -1. out: int64[s, all rows], written at rows[i]. begun: int64[e], per entity the row of the
    begun_… that holds what its first event has left behind, itself included, or -1: totals [·, m], buckets [·, m, most
    buckets], and by how many buckets its cells were last met before it, uint8 [·, k, cells], NEVER_MET for none.
    kept_…: with e > 0 rows they receive each entity's last totals [e, m], buckets [e, m, most buckets] and the buckets
    that met its cells last [e, k, cells].
    """
    most = 1
    for r in range(len(rings)):
        most = max(most, rings[r, RING_BUCKETS])
    bucket = np.zeros((len(measures), most), np.int64)
    total = np.zeros(len(measures), np.int64)
    newest_bucket = np.zeros(len(rings), np.int64)
    met = np.full((len(sketches), SKETCH_CELLS * SKETCH_LEVELS), -1, np.int64)
    for e in range(len(starts) - 1):
        begin, end = starts[e], starts[e + 1]
        if begin == end:
            continue
        bucket[:] = 0
        total[:] = 0
        met[:] = -1
        for r in range(len(rings)):
            newest_bucket[r] = clock[begin] // rings[r, RING_WIDTH]
        first = begin
        known = begun[e]
        if known >= 0:
            first = begin + 1
            bucket[:] = begun_buckets[known]
            total[:] = begun_totals[known]
            for k in range(len(sketches)):
                for cell in range(SKETCH_CELLS * SKETCH_LEVELS):
                    age = np.int64(begun_ages[known, k, cell])
                    if age != NEVER_MET:
                        met[k, cell] = newest_bucket[sketches[k, SKETCH_RING]] - age
        for i in range(first, end):
            t = clock[i]
            # 1. what leaves each ring
            for r in range(len(rings)):
                n = rings[r, RING_BUCKETS]
                was = newest_bucket[r]
                b = t // rings[r, RING_WIDTH]
                newest_bucket[r] = b
                if b == was:
                    continue
                for m in range(rings[r, RING_FIRST], rings[r, RING_END]):
                    if b - was >= n:
                        bucket[m, :n] = 0
                        total[m] = 0
                        continue
                    redo = False
                    for j in range(was + 1, b + 1):
                        gone = bucket[m, j % n]
                        bucket[m, j % n] = 0
                        if measures[m, KIND] == _MAX:
                            redo |= gone != 0 and gone == total[m]
                        else:
                            total[m] -= gone
                    if redo:
                        total[m] = bucket[m, :n].max()
            # 2. what this event adds
            for m in range(len(measures)):
                kind = measures[m, KIND]
                if measures[m, FILTER] >= 0 and not (bits[i] >> measures[m, FILTER]) & 1:
                    continue
                r = measures[m, RING]
                p = newest_bucket[r] % rings[r, RING_BUCKETS]
                if kind == _COUNT:
                    bucket[m, p] += 1
                    total[m] += 1
                elif measures[m, INPUT] >= 0:
                    x = numbers[measures[m, INPUT], i]
                    if x == NULL:
                        continue
                    if kind == _FILLED:
                        bucket[m, p] += 1
                        total[m] += 1
                    elif kind == _SUM:
                        grown = min(max(bucket[m, p] + x, -SATURATION), SATURATION)
                        total[m] += grown - bucket[m, p]
                        bucket[m, p] = grown
                    elif kind == _MAX:
                        bucket[m, p] = max(bucket[m, p], x + MAX_BIAS)
                        total[m] = max(total[m], x + MAX_BIAS)
                    elif kind == _HIGH:  # the low limbs follow
                        size = abs(x)
                        high = size >> 20
                        low = size & 0xFFFFF
                        cross = 2 * high * low
                        low = bucket[m + 1, p] + ((cross & 0xFFFFF) << 20) + low * low
                        high = bucket[m, p] + high * high + (cross >> 20) + (low >> LIMB_BITS)
                        high = min(high, SATURATION)
                        low &= LIMB_MASK
                        total[m] += high - bucket[m, p]
                        total[m + 1] += low - bucket[m + 1, p]
                        bucket[m, p] = high
                        bucket[m + 1, p] = low
            for k in range(len(sketches)):
                if sketches[k, SKETCH_FILTER] >= 0 and not (bits[i] >> sketches[k, SKETCH_FILTER]) & 1:
                    continue
                cell = cells[sketches[k, SKETCH_INPUT], i]
                if cell == NULL:
                    continue
                r = sketches[k, SKETCH_RING]
                n = rings[r, RING_BUCKETS]
                b = newest_bucket[r]
                level = cell // SKETCH_CELLS
                m = sketches[k, SKETCH_FIRST] + level // SKETCH_DIGITS
                one = SKETCH_DIGIT ** (level % SKETCH_DIGITS)
                was = met[k, cell]
                if was != b:
                    if was >= 0 and b - was < n:
                        bucket[m, was % n] -= one
                        total[m] -= one
                    bucket[m, b % n] += one
                    total[m] += one
                    met[k, cell] = b
            # 3. the answer
            follows = i > begin and clock[i - 1] > t - horizon
            for s in range(len(slots)):
                kind = slots[s, SLOT_KIND]
                answer = NULL
                if kind in _LABELS:
                    continue
                if kind == _CLOCK:
                    answer = t
                elif kind in (_PREVIOUS, _CARRIED):
                    if follows and kind == _PREVIOUS:
                        answer = clock[i - 1]
                    elif follows:
                        answer = carried[slots[s, SLOT_INPUT], i - 1]
                elif kind == _CLEAN:
                    if newest[i] != NULL:
                        width, n = rings[clean_ring, RING_WIDTH], rings[clean_ring, RING_BUCKETS]
                        m = rings[clean_ring, RING_FIRST]
                        answer = 0
                        after = max(newest[i] // width, newest_bucket[clean_ring] - n)
                        before = max((t - slots[s, SLOT_LENGTH]) // width, after)
                        for b in range(after + 1, before):
                            answer += bucket[m, b % n]
                elif kind == _MAX:
                    if total[slots[s, SLOT_MEASURE]]:
                        answer = total[slots[s, SLOT_MEASURE]] - MAX_BIAS
                else:
                    answer = total[slots[s, SLOT_MEASURE]]
                out[s, rows[i]] = answer
        if len(kept_totals):
            kept_totals[e] = total
            kept_buckets[e] = bucket
            kept_cells[e] = met
