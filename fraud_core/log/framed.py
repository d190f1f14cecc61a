"""The compiled pass over the entries of an XRANGE reply (range_reply.py says what for)."""

# numba compiles this file: its functions carry no types and are written out flat.
# mypy: ignore-errors
# ruff: noqa: PLR0917

import numba

_compiled = numba.njit(cache=True, nogil=True)
_INCOMPLETE, _STRANGE = -1, -2


@_compiled
def _length(data, filled, at, mark):
    """The number in a line that begins with `mark`, and where the next line does; negative: incomplete, or strange."""
    if at >= filled:
        return 0, _INCOMPLETE
    if data[at] != mark:
        return 0, _STRANGE
    at += 1
    value = 0
    while at < filled and 48 <= data[at] <= 57:
        value = value * 10 + data[at] - 48
        at += 1
    if at + 1 >= filled:
        return 0, _INCOMPLETE
    if data[at] != 13 or data[at + 1] != 10:
        return 0, _STRANGE
    return value, at + 2


@_compiled
def _entry(data, filled, at, row, ids, spans):
    """One entry; where the next one begins (negative: incomplete, or strange), and whether it is a plain JSON event."""
    size, at = _length(data, filled, at, 42)
    if at < 0 or size != 2:
        return at if at < 0 else _STRANGE, False
    size, at = _length(data, filled, at, 36)
    if at < 0 or at + size + 2 > filled:
        return min(at, _INCOMPLETE), False
    part = 0
    ids[0, row] = 0
    ids[1, row] = 0
    for place in range(at, at + size):
        if data[place] == 45:
            part += 1
        else:
            ids[part & 1, row] = ids[part & 1, row] * 10 + data[place] - 48
    at += size + 2
    items, at = _length(data, filled, at, 42)
    if at < 0:
        return at, False
    plain = items == 2
    for item in range(items):
        size, at = _length(data, filled, at, 36)
        if at < 0:
            return at, False
        if at + size + 2 > filled:
            return _INCOMPLETE, False
        if item == 0:
            plain = plain and size == 2 and data[at] == 106 and data[at + 1] == 49  # j1: framing.JSON_FIELD
        elif item == 1:
            spans[0, row] = at
            spans[1, row] = at + size
        at += size + 2
    return at, plain


@_compiled
def frame(data, filled, at, done, ids, spans):
    """Frame complete entries from `at` on, into the columns from `done` on.

    Returns how many there are then (negative: this is no list of entries), where the next one begins, and whether those
    framed now are all single JSON events.
    """
    plain = True
    while done < ids.shape[1]:
        following, ordinary = _entry(data, filled, at, done, ids, spans)
        if following == _INCOMPLETE:
            break
        if following < 0:
            return -1, at, False
        plain = plain and ordinary
        at = following
        done += 1
    return done, at, plain
