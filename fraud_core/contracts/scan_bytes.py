"""Bytes of JSON looked at eight at a time, and where a text ends: the ground of the scanner's compiled passes.

No position is checked against the end of the text: every row is followed by a newline, which no inner loop steps over, and
the text by padding that is longer than any look-ahead.
"""

# numba compiles this file: its functions carry no types and are written out flat.
# mypy: ignore-errors
# ruff: noqa: ARG001

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

QUOTE, COMMA, COLON, BACKSLASH, NEWLINE = 34, 44, 58, 92, 10
OPEN, CLOSE, OPEN_LIST, CLOSE_LIST = 123, 125, 91, 93
MINUS, PLUS, POINT, ZERO, NINE = 45, 43, 46, 48, 57

_ONES = np.uint64(0x0101010101010101)
_HIGH = np.uint64(0x8080808080808080)
_QUOTES = np.uint64(0x2222222222222222)
_BACKSLASHES = np.uint64(0x5C5C5C5C5C5C5C5C)
_SPACES = np.uint64(0x2020202020202020)

compiled = numba.njit(cache=True, nogil=True)


@intrinsic
def eight(typing, data, at):
    """Eight bytes of an array as a little-endian word, wherever they lie."""

    def generate(context, builder, signature, arguments):
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        address = builder.bitcast(builder.gep(array.data, [arguments[1]]), ir.IntType(64).as_pointer())
        return builder.load(address, align=1)

    return types.uint64(data, types.int64), generate


@intrinsic
def put_eight(typing, data, at, word):
    """Write a little-endian word into an array of bytes."""

    def generate(context, builder, signature, arguments):
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        address = builder.bitcast(builder.gep(array.data, [arguments[1]]), ir.IntType(64).as_pointer())
        builder.store(arguments[2], address, align=1)
        return context.get_dummy_value()

    return types.void(data, types.int64, types.uint64), generate


@intrinsic
def _trailing_zeros(typing, word):
    def generate(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), generate


@compiled
def blank(data, at):
    """Position of the first byte from `at` on that is no blank."""
    while data[at] == 32 or data[at] == 9 or data[at] == 13:
        at += 1
    return at


@compiled
def _plain_end(data, at):
    """Position of the first byte from `at` on that does not mean only itself in a text."""
    while True:
        word = eight(data, at)
        quote, backslash = word ^ _QUOTES, word ^ _BACKSLASHES
        # The classic tests for a byte that is zero, or below 32; exact up to the lowest byte found, which is all that counts.
        found = (
            ((quote - _ONES) & ~quote)
            | ((backslash - _ONES) & ~backslash)
            | ((word - _SPACES) & ~word)
            | word
        )
        found &= _HIGH
        if found:
            return at + np.int64(_trailing_zeros(found) >> np.uint64(3))
        at += 8


@compiled
def text_end(data, at):
    """Position after the closing quote of a text that begins at `at`, negative where it needs care; high bytes; escapes."""
    high = False
    escapes = False
    at += 1
    while True:
        at = _plain_end(data, at)
        byte = data[at]
        if byte == QUOTE:
            return at + 1, high, escapes
        if byte < 32:
            return -1, high, escapes
        if byte >= 128:
            high = True
            at += 1
            continue
        escapes = True
        at += 1
        escaped = data[at]
        if escaped == 117:  # \u: the surrogates D800-DFFF need care, so does anything that is not hexadecimal
            for offset in range(1, 5):
                digit = data[at + offset]
                if not (48 <= digit <= 57 or 65 <= digit <= 70 or 97 <= digit <= 102):
                    return -1, high, escapes
            if data[at + 1] in (68, 100) and data[at + 2] >= 56:
                return -1, high, escapes
            at += 4
        elif escaped not in (34, 92, 47, 98, 102, 110, 114, 116):
            return -1, high, escapes
        at += 1
