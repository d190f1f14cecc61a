"""The compiled pass that gathers texts from JSON bytes into string views, their escapes undone."""

# numba compiles this file: its functions carry no types and are written out flat.
# mypy: ignore-errors
# ruff: noqa: C901

import numpy as np

from fraud_core.contracts.scan_bytes import BACKSLASH, compiled, eight, put_eight


@compiled
def _unescaped(data, begin, end, text, at):
    """Write a text that holds escapes, as UTF-8, and return the position after it; surrogates never come here."""
    while begin < end:
        byte = data[begin]
        if byte != BACKSLASH:
            text[at] = byte
            at += 1
            begin += 1
            continue
        escaped = data[begin + 1]
        begin += 2
        if escaped == 117:
            code = 0
            for offset in range(4):
                digit = np.int64(data[begin + offset])
                code = code * 16 + (digit - 48 if digit <= 57 else (digit & 7) + 9)
            begin += 4
            if code < 0x80:
                text[at] = code
                at += 1
            elif code < 0x800:
                text[at] = 0xC0 | (code >> 6)
                text[at + 1] = 0x80 | (code & 0x3F)
                at += 2
            else:
                text[at] = 0xE0 | (code >> 12)
                text[at + 1] = 0x80 | ((code >> 6) & 0x3F)
                text[at + 2] = 0x80 | (code & 0x3F)
                at += 3
            continue
        if escaped == 98:
            escaped = 8
        elif escaped == 102:
            escaped = 12
        elif escaped == 110:
            escaped = 10
        elif escaped == 114:
            escaped = 13
        elif escaped == 116:
            escaped = 9
        text[at] = escaped
        at += 1
    return at


@compiled
def text_size(spans):
    """Bytes that `gather` may write for these spans."""
    total = 16
    for row in range(spans.shape[0]):
        begin, end = spans[row, 0], spans[row, 1]
        if begin == -1:
            continue
        if begin < -1:
            begin = -2 - begin
        if end - begin > 12:
            total += end - begin
    return total


@compiled
def gather(data, more, spans, views, text):
    """String views (Arrow's: length and twelve bytes, or length, four bytes, buffer and place) of spans of `data`.

    A span beyond the end of `data` means `more`. Returns the bytes written and the number of nulls.
    """
    at = 0
    nulls = 0
    for row in range(spans.shape[0]):
        begin, end = spans[row, 0], spans[row, 1]
        if begin == -1:
            views[row, 0] = 0
            views[row, 1] = 0
            nulls += 1
            continue
        source = data
        escapes = begin < -1
        if escapes:
            begin = -2 - begin
        if begin >= data.size:
            begin -= data.size
            end -= data.size
            source = more
        if escapes:
            size = _unescaped(source, begin, end, text, at) - at
        else:
            size = end - begin
            if size <= 12:  # up to twelve bytes stand in the view itself
                low = eight(source, begin)
                if size <= 4:
                    keep = (np.uint64(1) << np.uint64(8 * size)) - np.uint64(1)
                    views[row, 0] = np.uint64(size) | ((low & keep) << np.uint64(32))
                    views[row, 1] = 0
                else:
                    views[row, 0] = np.uint64(size) | (low << np.uint64(32))
                    rest = eight(source, begin + 4)
                    if size < 12:
                        rest &= (np.uint64(1) << np.uint64(8 * (size - 4))) - np.uint64(1)
                    views[row, 1] = rest
                continue
            for offset in range(0, size, 8):
                put_eight(text, at + offset, eight(source, begin + offset))
        word = np.uint64(0)
        if size <= 12:  # escapes have made it short
            for offset in range(min(size, 4)):
                word |= np.uint64(text[at + offset]) << np.uint64(8 * offset)
            views[row, 0] = np.uint64(size) | (word << np.uint64(32))
            word = np.uint64(0)
            for offset in range(4, size):
                word |= np.uint64(text[at + offset]) << np.uint64(8 * (offset - 4))
            views[row, 1] = word
            continue
        views[row, 0] = np.uint64(size) | (eight(text, at) << np.uint64(32))
        views[row, 1] = np.uint64(at) << np.uint64(32)
        at += size
    return at, nulls
