"""The compiled pass of the screen (screen.py says what for): every byte of every text of a column, once."""

# numba compiles this file: its functions carry no types and are written out flat.
# mypy: ignore-errors
# ruff: noqa: PLR0917

import numba
import numpy as np

from fraud_core.contracts.memory import byte_at, half_at, word_at

ALLOWED, CARD = 1, 2

_compiled = numba.njit(cache=True, nogil=True)


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
