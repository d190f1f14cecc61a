"""The label part of the fold: what is known about an entity's frauds at each of its events, for either layout.

What is in force changes only when an effect's hour comes or a fraud leaves a window; until then the last answer holds,
here as in the state functions.
"""

from typing import Any

import numpy as np
from numba import njit

from fraud_core.features.layout import LABEL_BYTES
from fraud_core.features.plan import NULL, SlotKind

_FRAUDS, _NEWEST, _OLDEST = (
    int(kind) for kind in (SlotKind.FRAUDS, SlotKind.FRAUD_NEWEST, SlotKind.FRAUD_OLDEST)
)

_SIZE = LABEL_BYTES
KIND, LENGTH, PLACE = range(3)
"""Columns of `columns`: kind, window ms, row of `out` or -1."""


@njit(cache=True)  # type: ignore[misc, untyped-decorator, unused-ignore]  # numba has no types
def fold_labels(  # noqa: C901, PLR0917
    starts: Any, clock: Any, rows: Any, columns: Any, horizon: int, cap: int,
    label_starts: Any, effect: Any, happened: Any, sign: Any, following: Any, newest: Any, out: Any,
) -> None:  # fmt: skip
    """Write the label slots of every event.

    starts: int64[e+1] into the sorted rows; clock, rows: int64[n], rows = place in `out`; columns: int64[c, 3]. Labels,
    per entity sorted: effect and happened in ms, sign ±1, following = index of the next effect of the same event or -1.
    newest: int64[n], written: the newest known fraud, for CLEAN. out: int64[s, all rows], written at rows[i].
    """
    answer = np.zeros(len(columns), np.int64)
    for e in range(len(starts) - 1):
        first, last = label_starts[e], label_starts[e + 1]
        known = first
        until = np.int64(-1)
        latest = NULL
        for i in range(starts[e], starts[e + 1]):
            t = clock[i]
            if t >= until:
                while known < last and effect[known] <= t:
                    known += 1
                until = effect[known] if known < last else np.int64(2**62)
                latest = NULL
                for c in range(len(columns)):
                    answer[c] = 0 if columns[c, KIND] == _FRAUDS else NULL
                for j in range(max(first, known - cap), known):
                    h = happened[j]
                    if h > t:
                        until = min(until, h)
                        continue
                    if h <= t - horizon:
                        continue
                    until = min(until, h + horizon)
                    stands = sign[j] > 0 and not 0 <= following[j] < known
                    if stands:
                        latest = max(latest, h)
                    for c in range(len(columns)):
                        kind = columns[c, KIND]
                        if kind == _NEWEST:
                            answer[c] = latest
                        elif h > t - columns[c, LENGTH]:
                            until = min(until, h + columns[c, LENGTH])
                            if kind == _FRAUDS:
                                answer[c] += sign[j]
                            elif stands and (answer[c] == NULL or h < answer[c]):
                                answer[c] = h
            newest[i] = latest
            for c in range(len(columns)):
                if columns[c, PLACE] >= 0:
                    out[columns[c, PLACE], rows[i]] = answer[c]


@njit(cache=True)  # type: ignore[misc, untyped-decorator, unused-ignore]  # numba has no types
def newest_labels(  # noqa: PLR0917 (numba takes no keywords)
    effects: Any, t: int, columns: Any, horizon: int, cap: int, out: Any
) -> Any:
    """Write the label slots of an event at `t` (the entity's clock); returns the newest known fraud, or NULL.

    effects: uint8[bytes], label effects as they are stored (layout.LABEL_FORMAT), sorted; columns: int64[c, 3];
    out: int64[s].
    """
    count = len(effects) // _SIZE
    times = np.zeros((2, count), np.int64)
    hashes = np.zeros(count, np.int64)
    sign = np.zeros(count, np.int64)
    following = np.full(count, -1, np.int64)
    for j in range(count):
        at = j * _SIZE
        for k in range(6):
            times[0, j] |= np.int64(effects[at + k]) << (8 * k)
            times[1, j] |= np.int64(effects[at + 6 + k]) << (8 * k)
        for k in range(4):
            hashes[j] |= np.int64(effects[at + 12 + k]) << (8 * k)
        sign[j] = -1 if effects[at + 16] % 2 else 1
        for before in range(j - 1, -1, -1):
            if hashes[before] == hashes[j]:
                following[before] = j
                break
    newest = np.zeros(1, np.int64)
    answers = np.full((len(out), 1), NULL, np.int64)
    fold_labels(
        np.array([0, 1]), np.array([t]), np.array([0]), columns, horizon, cap, np.array([0, count]), times[0], times[1],
        sign, following, newest, answers,
    )  # fmt: skip
    for c in range(len(columns)):
        if columns[c, PLACE] >= 0:
            out[columns[c, PLACE]] = answers[columns[c, PLACE], 0]
    return newest[0]
