"""The offline twin of the state functions: one replay of each entity's events, in order, linear in their number.

Rules that both twins obey: the clock is the running maximum of event time; a window (t - W, t] looks at the events
whose clock lies in it, the current one included; only the newest `cap` events within the horizon are remembered, and
an older one counts as absent, the previous event too: else a value would depend on where the replay began.
One compiled kernel serves every declaration: what to compute is data (`slots`), not code.
"""

from typing import Any

import numpy as np
from numba import njit

from fraud_core.features.plan import NULL, SlotKind

_CLOCK, _PREVIOUS, _COUNT, _FILLED = (
    int(kind) for kind in (SlotKind.CLOCK, SlotKind.PREVIOUS, SlotKind.COUNT, SlotKind.FILLED)
)
_SUM, _HIGH, _LOW, _MAX = (
    int(kind) for kind in (SlotKind.SUM, SlotKind.SQUARES_HIGH, SlotKind.SQUARES_LOW, SlotKind.MAX)
)
_DISTINCT, _SEEN, _CARRIED, _FRAUDS = (
    int(kind) for kind in (SlotKind.DISTINCT, SlotKind.SEEN, SlotKind.CARRIED, SlotKind.FRAUDS)
)
_NEWEST, _OLDEST, _CLEAN = (
    int(kind) for kind in (SlotKind.FRAUD_NEWEST, SlotKind.FRAUD_OLDEST, SlotKind.CLEAN)
)

KIND, WINDOW, INPUT, FILTER, LENGTH = range(5)
"""Columns of `slots`: kind, index of the window or -1, index of number/hash/carried or -1, filter or -1, window ms."""


@njit(cache=True)  # type: ignore[misc, untyped-decorator, unused-ignore]
def clocks(starts: Any, times: Any) -> Any:
    """Running maximum of event time within each entity."""
    clock = times.copy()
    for e in range(len(starts) - 1):
        for i in range(starts[e] + 1, starts[e + 1]):
            clock[i] = max(clock[i], clock[i - 1])
    return clock


@njit(cache=True)  # type: ignore[misc, untyped-decorator, unused-ignore]
def local_codes(starts: Any, codes: Any) -> Any:
    """Number the different values of each entity from 0, in order of appearance; -1 stays (null).

    codes: int64[n] dense codes over all entities. Returns int32[n].
    """
    local = np.full(len(codes), -1, np.int32)
    owner = np.full(codes.max() + 1 if len(codes) else 0, -1, np.int64)
    number = np.zeros(len(owner), np.int32)
    for e in range(len(starts) - 1):
        used = 0
        for i in range(starts[e], starts[e + 1]):
            code = codes[i]
            if code >= 0:
                if owner[code] != e:
                    owner[code] = e
                    number[code] = used
                    used += 1
                local[i] = number[code]
    return local


@njit(cache=True)  # type: ignore[misc, untyped-decorator, unused-ignore]
def fold(  # noqa: C901, PLR0917
    starts: Any, clock: Any, numbers: Any, values: Any, carried: Any, bits: Any, rows: Any,
    windows: Any, slots: Any, cap: int, horizon: int,
    label_starts: Any, effect: Any, happened: Any, sign: Any, following: Any, label_cap: int, out: Any,
) -> None:  # fmt: skip
    """Replay every entity and write its slots.

    starts: int64[e+1] into the sorted rows; clock, bits, rows: int64[n], rows = place in `out`; numbers: int64[·, n];
    values: int32[·, n] local codes; carried: int64[·, n]; windows: int64[w] ascending; slots: int64[s, 5].
    Labels, per entity sorted: effect and happened in ms, sign ±1, following = index of the next effect of the same
    event or -1. out: int64[s, all rows], written at rows[i].
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

    for e in range(len(starts) - 1):
        begin, end = starts[e], starts[e + 1]
        size = end - begin
        low_edge[:] = begin
        total[:] = 0
        head[:] = 0
        tail[:] = 0
        times_seen[:, :size] = 0
        last_with[:, :size] = -1
        known = label_starts[e]
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
                    j += 1
                low_edge[w] = j
            # 2. label effects in force
            while known < label_starts[e + 1] and effect[known] <= t:
                known += 1
            oldest_known = max(label_starts[e], known - label_cap)
            newest = NULL
            for j in range(known - 1, oldest_known - 1, -1):
                if t - horizon < happened[j] <= t and sign[j] > 0 and not 0 <= following[j] < known:
                    newest = max(newest, happened[j])
            # 3. what this event adds, and the answer
            for s in range(n_slots):
                kind = slots[s, KIND]
                field = slots[s, INPUT]
                counted = slots[s, FILTER] < 0 or (bits[i] >> slots[s, FILTER]) & 1
                answer = NULL
                if kind == _CLOCK:
                    answer = t
                elif kind == _PREVIOUS:
                    if i > begin and clock[i - 1] > t - horizon:
                        answer = clock[i - 1]
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
                    if i > begin and clock[i - 1] > t - horizon:
                        answer = carried[field, i - 1]
                elif kind == _FRAUDS:
                    answer = 0
                    for j in range(oldest_known, known):
                        if t - slots[s, LENGTH] < happened[j] <= t:
                            answer += sign[j]
                elif kind == _NEWEST:
                    answer = newest
                elif kind == _OLDEST:
                    for j in range(oldest_known, known):
                        if (
                            t - slots[s, LENGTH] < happened[j] <= t
                            and sign[j] > 0
                            and not 0 <= following[j] < known
                            and (answer == NULL or happened[j] < answer)
                        ):
                            answer = happened[j]
                elif kind == _CLEAN and newest != NULL:
                    first = max(begin, i - cap + 1)
                    after = max(newest, t - horizon)
                    lower = first + np.searchsorted(clock[first : i + 1], after, side="right")
                    upper = first + np.searchsorted(clock[first : i + 1], t - slots[s, LENGTH], side="right")
                    answer = max(upper - lower, 0)
                out[s, row] = answer
            for field in range(values.shape[0]):
                code = values[field, i]
                if code >= 0:
                    last_with[field, code] = i


@njit(cache=True)  # type: ignore[misc, untyped-decorator, unused-ignore]
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
