"""The offline twin of the state functions: one replay of each entity's events, in order, linear in their number.

Rules that both twins obey: the clock is the running maximum of event time; a window (t - W, t] looks at the events
whose clock lies in it, the current one included; only the newest `cap` events within the horizon are remembered, and
an older one counts as absent, the previous event too: else a value would depend on where the replay began.
One compiled kernel serves every declaration: what to compute is data (`slots`), not code.
"""

from typing import Any

import numpy as np
from numba import njit

from fraud_core.features.plan import LIMB_BITS, LIMB_MASK, NULL, SlotKind

_CLOCK, _PREVIOUS, _COUNT, _FILLED = (
    int(kind) for kind in (SlotKind.CLOCK, SlotKind.PREVIOUS, SlotKind.COUNT, SlotKind.FILLED)
)
_SUM, _HIGH, _LOW, _MAX = (
    int(kind) for kind in (SlotKind.SUM, SlotKind.SQUARES_HIGH, SlotKind.SQUARES_LOW, SlotKind.MAX)
)
_DISTINCT, _SEEN, _CARRIED = (int(kind) for kind in (SlotKind.DISTINCT, SlotKind.SEEN, SlotKind.CARRIED))
_CLEAN, _ORDER_LOW, _ORDER_HIGH = (
    int(kind) for kind in (SlotKind.CLEAN, SlotKind.ORDER_LOW, SlotKind.ORDER_HIGH)
)
_LABELS = (int(SlotKind.FRAUDS), int(SlotKind.FRAUD_NEWEST), int(SlotKind.FRAUD_OLDEST))

KIND, WINDOW, INPUT, FILTER, LENGTH, OTHER, RANK, PAST = range(8)
"""Columns of `slots`: kind, index of the window or -1, index of number/hash/carried or -1, filter or -1, window ms;
of order statistics the row of `orders`, of high limbs the slot of the low ones, else -1; then thousandths, and whether
the event itself is left out."""
ORDER_WINDOW, ORDER_INPUT, ORDER_FILTER = range(3)
"""Columns of `orders`, each a window's values kept sorted: index of the window, index of the number, filter or -1."""
_FEWEST_PLACES = 16


@njit(cache=True)  # type: ignore[misc, untyped-decorator, unused-ignore]  # numba has no types
def clocks(starts: Any, times: Any) -> Any:
    """Running maximum of event time within each entity."""
    clock = times.copy()
    for e in range(len(starts) - 1):
        for i in range(starts[e] + 1, starts[e + 1]):
            clock[i] = max(clock[i], clock[i - 1])
    return clock


@njit(cache=True)  # type: ignore[misc, untyped-decorator, unused-ignore]  # numba has no types
def local_codes(starts: Any, hashes: Any) -> Any:
    """Number the different values of each entity from 0, in order of appearance; NULL gets -1.

    hashes: int64[n], equal where values are. Returns int32[n]. An entity's values stand in a table of twice as many places as it has events,
    each at the first free place from the one that its hash names.
    """
    local = np.full(len(hashes), -1, np.int32)
    longest = 0
    for e in range(len(starts) - 1):
        longest = max(longest, starts[e + 1] - starts[e])
    size = _FEWEST_PLACES
    while size < 2 * longest:
        size *= 2
    held = np.zeros(size, np.int64)
    owner = np.full(size, -1, np.int32)
    number = np.zeros(size, np.int32)
    for e in range(len(starts) - 1):
        size = _FEWEST_PLACES
        while size < 2 * (starts[e + 1] - starts[e]):
            size *= 2
        used = 0
        for i in range(starts[e], starts[e + 1]):
            if hashes[i] == NULL:
                continue
            place = (hashes[i] ^ (hashes[i] >> 15)) & (size - 1)
            while owner[place] == e and held[place] != hashes[i]:
                place = (place + 1) & (size - 1)
            if owner[place] != e:
                owner[place] = e
                held[place] = hashes[i]
                number[place] = used
                used += 1
            local[i] = number[place]
    return local


@njit(cache=True)  # type: ignore[misc, untyped-decorator, unused-ignore]  # numba has no types
def fold(  # noqa: C901, PLR0917
    starts: Any, clock: Any, numbers: Any, values: Any, carried: Any, bits: Any, rows: Any,
    windows: Any, slots: Any, orders: Any, cap: int, horizon: int, newest: Any, out: Any,
) -> None:  # fmt: skip
    """Replay every entity and write its slots, but those of labels.

    starts: int64[e+1] into the sorted rows; clock, bits, rows: int64[n], rows = place in `out`; numbers: int64[·, n];
    values: int32[·, n] local codes; carried: int64[·, n]; windows: int64[w] ascending; slots: int64[s, 8]; orders:
    int64[o, 3]; newest: int64[n] time of the newest known fraud. out: int64[s, all rows], written at rows[i].
    """
    n_slots = slots.shape[0]
    longest = 0
    for e in range(len(starts) - 1):
        longest = max(longest, starts[e + 1] - starts[e])
    low_edge = np.zeros(len(windows), np.int64)
    total = np.zeros(n_slots, np.int64)
    # Rows of these three tables belong to slots that need them.
    n_max, n_distinct = 0, 0
    place = np.zeros(n_slots, np.int64)
    for s in range(n_slots):
        if slots[s, KIND] == _MAX:
            place[s] = n_max
            n_max += 1
        elif slots[s, KIND] == _DISTINCT:
            place[s] = n_distinct
            n_distinct += 1
    queue = np.zeros((n_max, cap), np.int64)
    head = np.zeros(n_max, np.int64)
    tail = np.zeros(n_max, np.int64)
    times_seen = np.zeros((n_distinct, longest), np.int32)
    last_with = np.full((values.shape[0], longest), -1, np.int64)
    ordered = np.zeros((len(orders), cap + 1), np.int64)
    filled = np.zeros(len(orders), np.int64)

    for e in range(len(starts) - 1):
        begin, end = starts[e], starts[e + 1]
        size = end - begin
        low_edge[:] = begin
        total[:] = 0
        head[:] = 0
        tail[:] = 0
        times_seen[:, :size] = 0
        last_with[:, :size] = -1
        filled[:] = 0
        for i in range(begin, end):
            t = clock[i]
            row = rows[i]
            # 1. what leaves each window
            for w in range(len(windows)):
                j = low_edge[w]
                while j < i and (clock[j] <= t - windows[w] or j <= i - cap):
                    for s in range(n_slots):
                        if slots[s, WINDOW] != w:
                            continue
                        where = slots[s, FILTER]
                        if where >= 0 and not (bits[j] >> where) & 1:
                            continue
                        kind = slots[s, KIND]
                        field = slots[s, INPUT]
                        if kind == _COUNT:
                            total[s] -= 1
                        elif kind == _DISTINCT:
                            code = values[field, j]
                            if code >= 0:
                                times_seen[place[s], code] -= 1
                                if times_seen[place[s], code] == 0:
                                    total[s] -= 1
                        elif kind == _MAX:
                            m = place[s]
                            if head[m] < tail[m] and queue[m, head[m] % cap] == j:
                                head[m] += 1
                        elif kind in (_FILLED, _SUM, _HIGH, _LOW):
                            x = numbers[field, j]
                            if x != NULL:
                                total[s] -= _part(kind, x)
                    for o in range(len(orders)):
                        x = numbers[orders[o, ORDER_INPUT], j]
                        if orders[o, ORDER_WINDOW] != w or x == NULL:
                            continue
                        if orders[o, ORDER_FILTER] < 0 or (bits[j] >> orders[o, ORDER_FILTER]) & 1:
                            filled[o] -= 1
                            k = np.searchsorted(ordered[o, : filled[o] + 1], x)
                            for m in range(k, filled[o]):
                                ordered[o, m] = ordered[o, m + 1]
                    j += 1
                low_edge[w] = j
            # 2. the values of order statistics, sorted
            for o in range(len(orders)):
                x = numbers[orders[o, ORDER_INPUT], i]
                if x != NULL and (orders[o, ORDER_FILTER] < 0 or (bits[i] >> orders[o, ORDER_FILTER]) & 1):
                    k = filled[o]
                    while k > 0 and ordered[o, k - 1] > x:
                        ordered[o, k] = ordered[o, k - 1]
                        k -= 1
                    ordered[o, k] = x
                    filled[o] += 1
            # 3. what this event adds, and the answer
            follows = i > begin and clock[i - 1] > t - horizon
            for s in range(n_slots):
                kind = slots[s, KIND]
                field = slots[s, INPUT]
                counted = slots[s, FILTER] < 0 or (bits[i] >> slots[s, FILTER]) & 1
                answer = NULL
                if kind in _LABELS:
                    continue
                if kind == _CLOCK:
                    answer = t
                elif kind == _PREVIOUS:
                    answer = clock[i - 1] if follows else NULL
                elif kind == _COUNT:
                    if counted:
                        total[s] += 1
                    answer = total[s]
                elif kind == _DISTINCT:
                    code = values[field, i]
                    if counted and code >= 0:
                        if times_seen[place[s], code] == 0:
                            total[s] += 1
                        times_seen[place[s], code] += 1
                    answer = total[s]
                elif kind == _MAX:
                    x = numbers[field, i]
                    m = place[s]
                    if counted and x != NULL:
                        while head[m] < tail[m] and numbers[field, queue[m, (tail[m] - 1) % cap]] <= x:
                            tail[m] -= 1
                        queue[m, tail[m] % cap] = i
                        tail[m] += 1
                    if head[m] < tail[m]:
                        answer = numbers[field, queue[m, head[m] % cap]]
                elif kind in (_FILLED, _SUM, _HIGH, _LOW):
                    x = numbers[field, i]
                    if counted and x != NULL:
                        total[s] += _part(kind, x)
                    answer = total[s]
                elif kind == _SEEN:
                    code = values[field, i]
                    if code >= 0:
                        j = last_with[field, code]
                        if j > i - cap and j >= begin and clock[j] > t - horizon:
                            answer = clock[j]
                elif kind == _CARRIED:
                    answer = carried[field, i - 1] if follows else NULL
                elif kind in (_ORDER_LOW, _ORDER_HIGH):
                    o = slots[s, OTHER]
                    count = filled[o]
                    own = count  # place of the event's own value where that is left out
                    if slots[s, PAST] and counted and numbers[field, i] != NULL:
                        own = np.searchsorted(ordered[o, :count], numbers[field, i])
                        count -= 1
                    if count:
                        rank = (count - 1) * slots[s, RANK]
                        k = rank // 1000
                        if kind == _ORDER_HIGH and rank % 1000:
                            k += 1
                        answer = ordered[o, k if k < own else k + 1]
                elif kind == _CLEAN and newest[i] != NULL:
                    first = max(begin, i - cap + 1)
                    after = max(newest[i], t - horizon)
                    lower = first + np.searchsorted(clock[first : i + 1], after, side="right")
                    upper = first + np.searchsorted(clock[first : i + 1], t - slots[s, LENGTH], side="right")
                    answer = max(upper - lower, 0)
                out[s, row] = answer
            for s in range(n_slots):
                if slots[s, KIND] == _HIGH:
                    low = slots[s, OTHER]
                    out[s, row] += out[low, row] >> LIMB_BITS
                    out[low, row] &= LIMB_MASK
            for field in range(values.shape[0]):
                code = values[field, i]
                if code >= 0:
                    last_with[field, code] = i


@njit(cache=True)  # type: ignore[misc, untyped-decorator, unused-ignore]  # numba has no types
def _part(kind: int, x: int) -> int:
    """What one value adds to a slot: squares as limbs of 2^40, see plan.LIMB."""
    if kind == _FILLED:
        return 1
    if kind == _SUM:
        return x
    size = abs(x)
    p = size >> 20
    q = size & 0xFFFFF
    cross = 2 * p * q
    if kind == _HIGH:
        return p * p + (cross >> 20)
    return ((cross & 0xFFFFF) << 20) + q * q
