"""Where a nested object ends in the compiled pass, told strictly: what the pass lets through nobody reads again.

Whatever is not plainly JSON needs care, and so does what is nested deeper than DEEPEST, which is fewer levels than a word has bits.
"""

# numba compiles this file: its functions carry no types and are written out flat.
# mypy: ignore-errors
# ruff: noqa: C901, PLR1714, SIM109

import numpy as np

from fraud_core.contracts.scan_bytes import (
    CLOSE,
    CLOSE_LIST,
    COLON,
    COMMA,
    OPEN,
    OPEN_LIST,
    QUOTE,
    blank,
    compiled,
    text_end,
)
from fraud_core.contracts.scan_numbers import number_end
from fraud_core.contracts.scanner import DEEPEST

_FIRST_KEY, _KEY, _FIRST_VALUE, _VALUE, _AFTER = 0, 1, 2, 3, 4
"""What comes next: a key or the end of an empty object, a key, a value or the end of an empty list, a value, a comma or an end."""


@compiled
def null_end(data, at):
    """Position after `null`, negative where it is not that."""
    return at + 4 if data[at + 1] == 117 and data[at + 2] == 108 and data[at + 3] == 108 else -1


@compiled
def boolean_end(data, at):
    """Position after `true` or `false`, negative where it is neither."""
    if data[at] == 116:
        return at + 4 if data[at + 1] == 114 and data[at + 2] == 117 and data[at + 3] == 101 else -1
    if (
        data[at] != 102
        or data[at + 1] != 97
        or data[at + 2] != 108
        or data[at + 3] != 115
        or data[at + 4] != 101
    ):
        return -1
    return at + 5


@compiled
def nested_end(data, at):
    """Position after the object that begins at `at`, negative where it needs care; whether it has high bytes."""
    objects = np.uint64(0)  # a bit per level: an object there, else a list
    depth, high, following = 0, False, _VALUE
    while True:
        at = blank(data, at)
        byte = data[at]
        if following == _AFTER and byte == COMMA:
            following = _KEY if objects & np.uint64(1) else _VALUE
            at += 1
        elif (
            byte == CLOSE and objects & np.uint64(1) and (following == _AFTER or following == _FIRST_KEY)
        ) or (
            byte == CLOSE_LIST
            and not objects & np.uint64(1)
            and (following == _AFTER or following == _FIRST_VALUE)
        ):
            depth -= 1
            objects >>= np.uint64(1)
            following = _AFTER
            at += 1
            if depth == 0:
                return at, high
        elif following == _AFTER:
            return -1, high
        elif byte == QUOTE:
            at, more, _ = text_end(data, at)
            high = high or more
            if at < 0:
                return -1, high
            if following <= _KEY:
                at = blank(data, at)
                if data[at] != COLON:
                    return -1, high
                at += 1
                following = _VALUE
            else:
                following = _AFTER
        elif following <= _KEY:
            return -1, high
        elif byte == OPEN or byte == OPEN_LIST:
            depth += 1
            if depth > DEEPEST:
                return -1, high
            objects = objects << np.uint64(1) | np.uint64(byte == OPEN)
            following = _FIRST_KEY if byte == OPEN else _FIRST_VALUE
            at += 1
        else:
            if byte == 110:
                at = null_end(data, at)
            elif byte == 116 or byte == 102:
                at = boolean_end(data, at)
            else:
                at = number_end(data, at)
            if at < 0:
                return -1, high
            following = _AFTER
