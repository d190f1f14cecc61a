"""The compiled pass by which a column's values enter the hash of each row's body (body.py says what for).

A step multiplies two mixed words to 128 bits and folds them, as wyhash does: https://github.com/wangyi-fudan/wyhash.
"""

# numba compiles this file: its functions carry no types and are written out flat.
# mypy: ignore-errors
# ruff: noqa: ARG001, PLR0917

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fraud_core.contracts.memory import byte_at, half_at, word_at

_SIGN = np.int64(-(1 << 63))
_ABSENT = np.uint64(0xA0761D6478BD642F)
_NOT_A_NUMBER = np.int64(0x7FF8000000000000)
_INFINITE = np.int64(0x7FF0000000000000)
_INLINE = 12

_compiled = numba.njit(cache=True, nogil=True)


@intrinsic
def _fold(typing, one, other):
    """Both halves of the product of two words, put together."""

    def generate(context, builder, signature, arguments):
        wide, word = ir.IntType(128), ir.IntType(64)
        product = builder.mul(*(builder.zext(each, wide) for each in arguments))
        upper = builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), word)
        return builder.xor(upper, builder.trunc(product, word))

    return types.uint64(types.uint64, types.uint64), generate


@_compiled
def _is_there(present, place):
    return not present or (byte_at(present + (place >> 3)) >> (place & 7)) & 1


@_compiled
def mix_numbers(present, values, bits, offset, real, secret, hashes):
    """Let a column of numbers of `bits` (1, 32, 64) into `hashes`; -0.0 and 0.0 are one number, and so is every NaN.

    `present` is the address of the bitmap of what is no null, 0 where there is none; `values` that of the values.
    """
    first, second = secret[0], secret[1]
    for row in range(hashes.size):
        place = offset + row
        word = _ABSENT
        if _is_there(present, place):
            if bits == 64:
                number = word_at(values + 8 * place)
                if real and number == _SIGN:
                    number = 0
                elif real and number & ~_SIGN > _INFINITE:
                    number = _NOT_A_NUMBER
            elif bits == 32:
                number = np.int64(half_at(values + 4 * place))
            else:
                number = np.int64((byte_at(values + (place >> 3)) >> (place & 7)) & 1)
            word = np.uint64(number)
        hashes[row] = _fold(hashes[row] ^ first, word ^ second)


@_compiled
def mix_texts(present, views, buffers, offset, secret, hashes):
    """Let a column of texts (Arrow's string views) into `hashes`; `buffers` is the address of the addresses of the longer texts."""
    first, second = secret[0], secret[1]
    for row in range(hashes.size):
        place = offset + row
        mixed = hashes[row] ^ first
        if not _is_there(present, place):
            hashes[row] = _fold(mixed, _ABSENT ^ second)
            continue
        view = views + 16 * place
        size = np.int64(half_at(view))
        if size <= _INLINE:
            hashes[row] = _fold(mixed ^ np.uint64(word_at(view)), np.uint64(word_at(view + 8)) ^ second)
            continue
        at = word_at(buffers + 8 * np.int64(half_at(view + 8))) + np.int64(half_at(view + 12))
        last = at + size - 8
        mixed = _fold(mixed, np.uint64(size) ^ second)
        while at + 8 < last:
            mixed = _fold(mixed ^ first ^ np.uint64(word_at(at)), np.uint64(word_at(at + 8)) ^ second)
            at += 16
        if at < last:
            mixed = _fold(mixed ^ first ^ np.uint64(word_at(at)), np.uint64(word_at(last)) ^ second)
        else:
            mixed = _fold(mixed ^ first, np.uint64(word_at(last)) ^ second)
        hashes[row] = mixed
