"""The compiled pass over rows of JSON (scanner.py says what for): where each value stands, and what numbers and times mean.

Keys are compared eight bytes at a time. How positions are kept within a row: scan_bytes.py.
"""

# numba compiles this file: its functions carry no types and are written out flat.
# mypy: ignore-errors
# ruff: noqa: C901, PLR0917, PLR1714

import numpy as np

from fraud_core.contracts.scan_bytes import (
    CLOSE,
    CLOSE_LIST,
    COLON,
    COMMA,
    NEWLINE,
    OPEN,
    OPEN_LIST,
    QUOTE,
    blank,
    compiled,
    eight,
    text_end,
)
from fraud_core.contracts.scan_nested import boolean_end, nested_end, null_end
from fraud_core.contracts.scan_numbers import number_end, real, whole
from fraud_core.contracts.scan_times import day_of, instant
from fraud_core.contracts.scanner import ABSENT, CAREFUL, CLEAN, CLEAN_IF_UTF8, NUMBERS


@compiled
def _list_end(data, at, kind):
    high = False
    at = blank(data, at + 1)
    if data[at] == CLOSE_LIST:
        return at + 1, high
    while True:
        if data[at] == 110:
            at = null_end(data, at)
        elif kind == NUMBERS:
            at = number_end(data, at)
        elif data[at] == QUOTE:
            at, more, _ = text_end(data, at)
            high = high or more
        else:
            return -1, high
        if at < 0:
            return -1, high
        at = blank(data, at)
        if data[at] == CLOSE_LIST:
            return at + 1, high
        if data[at] != COMMA:
            return -1, high
        at = blank(data, at + 1)


@compiled
def _is_key(data, at, words, masks, first, last):
    """Whether the key that begins at `at` is this name, written plainly, with its closing quote."""
    for word in range(first, last):
        if (eight(data, at) & masks[word]) != words[word]:
            return False
        at += 8
    return True


@compiled
def _row(data, at, end, row, names, wholes, reals, places, spans, seen):
    words, masks, firsts, lengths, kinds, slots = names
    count = kinds.size
    expected = 0
    high = False
    at = blank(data, at)
    if data[at] != OPEN:
        return CAREFUL
    at = blank(data, at + 1)
    if data[at] == CLOSE:
        return CLEAN if blank(data, at + 1) == end else CAREFUL
    while True:
        if data[at] != QUOTE:
            return CAREFUL
        at += 1
        field = -1
        for step in range(count):  # keys mostly come in the contract's order: the expected one is tried first
            candidate = expected + step
            if candidate >= count:
                candidate -= count
            if _is_key(data, at, words, masks, firsts[candidate], firsts[candidate + 1]):
                field = candidate
                break
        if field < 0 or seen[field] == row:
            return CAREFUL
        seen[field] = row
        expected = field + 1
        at += lengths[field]
        if data[at] != COLON:
            at = blank(data, at)
            if data[at] != COLON:
                return CAREFUL
        at += 1
        if data[at] <= 32:
            at = blank(data, at)
        kind = kinds[field]
        slot = slots[field]
        if data[at] == 110:
            at = null_end(data, at)
        elif kind == 0:
            if data[at] != QUOTE:
                return CAREFUL
            begin = at + 1
            at, more, escapes = text_end(data, at)
            high = high or more
            # Escapes are marked by the sign of where the text begins; -1 stands for none at all.
            spans[slot, row, 0] = -2 - begin if escapes else begin
            spans[slot, row, 1] = at - 1
        elif kind == 1:
            wholes[slot, row], at = whole(data, at)
        elif kind == 2:
            begin = at
            number, exact, at = real(data, at)
            reals[slot, row] = number if exact else np.inf
            if not exact:
                places[slot, row] = begin
        elif kind == 3:
            truth = data[at] == 116
            at = boolean_end(data, at)
            wholes[slot, row] = np.int64(truth)
        elif kind == 4 or kind == 5:
            if data[at] != QUOTE:
                return CAREFUL
            if kind == 4:
                moment, at = instant(data, at + 1)
            else:
                moment = day_of(data, at + 1)
                at += 11
            if moment == ABSENT or data[at] != QUOTE:
                return CAREFUL
            wholes[slot, row] = moment
            at += 1
        else:
            begin = at
            if kind == 6:
                if data[at] != OPEN:
                    return CAREFUL
                at, more = nested_end(data, at)
            else:
                if data[at] != OPEN_LIST:
                    return CAREFUL
                at, more = _list_end(data, at, kind)
            high = high or more
            spans[slot, row, 0] = begin
            spans[slot, row, 1] = at
        if at < 0:
            return CAREFUL
        if data[at] <= 32:
            at = blank(data, at)
        if data[at] == CLOSE:
            if blank(data, at + 1) != end:
                return CAREFUL
            return CLEAN_IF_UTF8 if high else CLEAN
        if data[at] != COMMA:
            return CAREFUL
        at += 1
        if data[at] <= 32:
            at = blank(data, at)


@compiled
def scan_rows(data, starts, ends, names, wholes, reals, places, spans):
    """Scan every row; fills the arrays where a value is given (scanner.py describes them) and returns each row's status."""
    count = starts.size
    status = np.empty(count, dtype=np.uint8)
    seen = np.full(names[4].size, -1, dtype=np.int64)
    for row in range(count):
        # The newline after a row (or the padding after the last) ends every inner loop: no row reads into the next.
        end = ends[row]
        if data[end] == 13 and data[end + 1] == NEWLINE:  # a carriage return before the newline is only blank
            end += 1
        status[row] = _row(data, starts[row], end, row, names, wholes, reals, places, spans, seen)
        if status[row] == CAREFUL:
            wholes[:, row] = ABSENT
            reals[:, row] = np.nan
            spans[:, row, 0] = -1
    return status
