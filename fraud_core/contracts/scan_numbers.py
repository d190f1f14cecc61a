"""Numbers as JSON writes them, read in compiled passes: what is not exact, or not written plainly, is left to the careful reader."""

# numba compiles this file: its functions carry no types and are written out flat.
# mypy: ignore-errors
# ruff: noqa: C901

import numpy as np

from fraud_core.contracts.scan_bytes import MINUS, NINE, PLUS, POINT, ZERO, compiled

_LOWER_E, _UPPER_E = 101, 69
_POWERS = np.array([10.0**power for power in range(23)])
"""All powers of ten that a float64 holds exactly."""
_EXACT = 1 << 53


@compiled
def digits_end(data, at):
    """Position of the first byte from `at` on that is no digit."""
    while ZERO <= data[at] <= NINE:
        at += 1
    return at


@compiled
def _unsigned(data, at):
    """A whole number without a sign and the position after it, negative where it needs care: leading zeros, more than 18 digits."""
    start = at
    value = np.int64(0)
    while ZERO <= data[at] <= NINE:
        value = value * 10 + np.int64(data[at] - ZERO)
        at += 1
    count = at - start
    if count == 0 or count > 18 or (count > 1 and data[start] == ZERO):
        return np.int64(0), -1
    return value, at


@compiled
def whole(data, at):
    """A whole number and the position after it, negative where it needs care: leading zeros, more than 18 digits."""
    negative = data[at] == MINUS
    if negative:
        at += 1
    value, at = _unsigned(data, at)
    return -value if negative else value, at


@compiled
def real(data, at):
    """A number, whether it is exact, and the position after it, negative where it needs care.

    One product or quotient of a mantissa up to 2^53 and a power up to 10^22 is rounded once, hence correctly (Clinger 1990); all
    others are read by somebody else.
    """
    negative = data[at] == MINUS
    if negative:
        at += 1
    mantissa, at = _unsigned(data, at)
    if at < 0:
        return 0.0, False, -1
    power = 0
    fraction = False
    exact = True
    if data[at] == POINT:
        fraction = True
        start = at + 1
        at = start
        while ZERO <= data[at] <= NINE:
            if mantissa < _EXACT:
                mantissa = mantissa * 10 + np.int64(data[at] - ZERO)
            else:
                exact = False
            at += 1
        if at == start or at - start > 24:
            return 0.0, False, -1
        power = start - at
    if data[at] == _LOWER_E or data[at] == _UPPER_E:
        fraction = True
        at += 1
        minus = data[at] == MINUS
        if minus or data[at] == PLUS:
            at += 1
        start = at
        exponent = 0
        while ZERO <= data[at] <= NINE:
            exponent = exponent * 10 + np.int64(data[at] - ZERO)
            at += 1
        if at == start or at - start > 2:
            return 0.0, False, -1
        power += -exponent if minus else exponent
    if mantissa > _EXACT or power > 22 or power < -22:
        exact = False
    if not exact:
        return 0.0, False, at
    value = np.float64(mantissa)
    value = value * _POWERS[power] if power >= 0 else value / _POWERS[-power]
    # A whole zero has no sign, as in Python: -0 is 0, -0.0 is not.
    return -value if negative and (fraction or mantissa != 0) else value, True, at


@compiled
def number_end(data, at):
    """Position after a number, negative where it needs care."""
    _, _, at = real(data, at)
    return at
