"""The compiled pass of the screen (screen.py says what for): every byte of every text of a column, once."""

# numba compiles this file: its functions carry no types and are written out flat.
# mypy: ignore-errors
# ruff: noqa: PLR0917

import numba
import numpy as np

from fraud_core.contracts.memory import byte_at, half_at, word_at

ALLOWED, CARD = 1, 2

_INLINE = 12
"""Bytes of a text that lie in its view."""
_SPREAD = np.uint64(0x9E3779B97F4A7C15)

_compiled = numba.njit(cache=True, nogil=True)


@_compiled
def choices(views):
    """A table by which `screen_choices` knows the texts of these views (rows of two words): open, and half empty."""
    size = 2
    while size < 2 * len(views):
        size *= 2
    table = np.zeros((size, 3), dtype=np.uint64)
    for row in range(len(views)):
        slot = _slot(views[row, 0], views[row, 1], size)
        while table[slot, 2]:
            slot = (slot + 1) & (size - 1)
        table[slot, 0], table[slot, 1], table[slot, 2] = views[row, 0], views[row, 1], 1
    return table


@_compiled
def _slot(low, high, size):
    return np.int64(((low ^ (high * _SPREAD)) * _SPREAD) >> np.uint64(40)) & (size - 1)


@_compiled
def screen_choices(present, views, offset, table, suspect):
    """Mark in `suspect` each text (Arrow's string views) that is none of those that `table` was made of."""
    size = len(table)
    for row in range(suspect.size):
        place = offset + row
        if present and not (byte_at(present + (place >> 3)) >> (place & 7)) & 1:
            continue
        view = views + 16 * place
        low, high = np.uint64(word_at(view)), np.uint64(word_at(view + 8))
        known = False
        if half_at(view) <= _INLINE:
            slot = _slot(low, high, size)
            while table[slot, 2] and not known:
                known = table[slot, 0] == low and table[slot, 1] == high
                slot = (slot + 1) & (size - 1)
        if not known:
            suspect[row] = True


@_compiled
def screen_texts(present, views, buffers, offset, kinds, card_from, least, most, suspect):
    """Mark in `suspect` each text (Arrow's string views) that is not `least` to `most` bytes long, or holds a byte without ALLOWED
    in `kinds`, or has `card_from` bytes or more, all with CARD.

    `present` is the address of the bitmap of what is no null, 0 where there is none; `views` that of the views; `buffers`
    that of the addresses of the buffers.
    """
    for row in range(suspect.size):
        place = offset + row
        if present and not (byte_at(present + (place >> 3)) >> (place & 7)) & 1:
            continue
        view = views + 16 * place
        size = np.int64(half_at(view))
        if size < least or size > most:
            suspect[row] = True
            continue
        at = view + 4
        if size > 12:
            at = word_at(buffers + 8 * np.int64(half_at(view + 8))) + np.int64(half_at(view + 12))
        common = np.uint8(ALLOWED | CARD)
        for each in range(size):
            common &= kinds[byte_at(at + each)]
        if not common & ALLOWED or (common & CARD and size >= card_from):
            suspect[row] = True
