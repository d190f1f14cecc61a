"""The compiled passes of the scanner (scanner.py says what for).

No position is checked against the end of the text: every row is followed by a newline, which no inner loop steps over, and
the text by padding that is longer than any look-ahead. Texts and keys are looked at eight bytes at a time.
"""

# numba compiles this file: its functions carry no types and are written out flat.
# mypy: ignore-errors
# ruff: noqa: ARG001, C901, PLR0917, PLR1714, SIM109

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fraud_core.contracts.scanner import ABSENT, CAREFUL, CLEAN, CLEAN_IF_UTF8, NUMBERS

_QUOTE, _COMMA, _COLON, _BACKSLASH, _NEWLINE = 34, 44, 58, 92, 10
_OPEN, _CLOSE, _OPEN_LIST, _CLOSE_LIST = 123, 125, 91, 93
_MINUS, _PLUS, _POINT, _ZERO, _NINE, _LOWER_E, _UPPER_E = 45, 43, 46, 48, 57, 101, 69

_ONES = np.uint64(0x0101010101010101)
_HIGH = np.uint64(0x8080808080808080)
_QUOTES = np.uint64(0x2222222222222222)
_BACKSLASHES = np.uint64(0x5C5C5C5C5C5C5C5C)
_SPACES = np.uint64(0x2020202020202020)

_POWERS = np.array([10.0**power for power in range(23)])
"""All powers of ten that a float64 holds exactly."""
_EXACT = 1 << 53

_compiled = numba.njit(cache=True, nogil=True)


@intrinsic
def _eight(typing, data, at):
    """Eight bytes of an array as a little-endian word, wherever they lie."""

    def generate(context, builder, signature, arguments):
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        address = builder.bitcast(builder.gep(array.data, [arguments[1]]), ir.IntType(64).as_pointer())
        return builder.load(address, align=1)

    return types.uint64(data, types.int64), generate


@intrinsic
def _put_eight(typing, data, at, word):
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


@_compiled
def _blank(data, at):
    while data[at] == 32 or data[at] == 9 or data[at] == 13:
        at += 1
    return at


@_compiled
def _plain_end(data, at):
    """Position of the first byte from `at` on that does not mean only itself in a text."""
    while True:
        word = _eight(data, at)
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


@_compiled
def _text_end(data, at):
    """Position after the closing quote of a text that begins at `at`, negative where it needs care; high bytes; escapes."""
    high = False
    escapes = False
    at += 1
    while True:
        at = _plain_end(data, at)
        byte = data[at]
        if byte == _QUOTE:
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


@_compiled
def _digits(data, at):
    while _ZERO <= data[at] <= _NINE:
        at += 1
    return at


@_compiled
def _whole(data, at):
    """A whole number and the position after it, negative where it needs care: leading zeros, more than 18 digits."""
    negative = data[at] == _MINUS
    if negative:
        at += 1
    start = at
    value = np.int64(0)
    while _ZERO <= data[at] <= _NINE:
        value = value * 10 + np.int64(data[at] - _ZERO)
        at += 1
    count = at - start
    if count == 0 or count > 18 or (count > 1 and data[start] == _ZERO):
        return np.int64(0), -1
    return -value if negative else value, at


@_compiled
def _real(data, at):
    """A number, whether it is exact, and the position after it, negative where it needs care.

    One product or quotient of a mantissa up to 2^53 and a power up to 10^22 is rounded once, hence correctly (Clinger 1990); all
    others are read by somebody else.
    """
    negative = data[at] == _MINUS
    if negative:
        at += 1
    start = at
    mantissa = np.int64(0)
    while _ZERO <= data[at] <= _NINE:
        mantissa = mantissa * 10 + np.int64(data[at] - _ZERO)
        at += 1
    count = at - start
    if count == 0 or count > 18 or (count > 1 and data[start] == _ZERO):
        return 0.0, False, -1
    power = 0
    fraction = False
    exact = True
    if data[at] == _POINT:
        fraction = True
        start = at + 1
        at = start
        while _ZERO <= data[at] <= _NINE:
            if mantissa < _EXACT:
                mantissa = mantissa * 10 + np.int64(data[at] - _ZERO)
            else:
                exact = False
            at += 1
        if at == start or at - start > 24:
            return 0.0, False, -1
        power = start - at
    if data[at] == _LOWER_E or data[at] == _UPPER_E:
        fraction = True
        at += 1
        minus = data[at] == _MINUS
        if minus or data[at] == _PLUS:
            at += 1
        start = at
        exponent = 0
        while _ZERO <= data[at] <= _NINE:
            exponent = exponent * 10 + np.int64(data[at] - _ZERO)
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


@_compiled
def _number_end(data, at):
    """Position after a number, negative where it needs care."""
    _, _, at = _real(data, at)
    return at


@_compiled
def _pair(data, at):
    tens, ones = data[at], data[at + 1]
    if _ZERO <= tens <= _NINE and _ZERO <= ones <= _NINE:
        return (tens - _ZERO) * 10 + (ones - _ZERO)
    return -1


@_compiled
def _day(data, at):
    """Days since 1970 of `YYYY-MM-DD`, ABSENT where it needs care (Howard Hinnant's days_from_civil)."""
    century, years = _pair(data, at), _pair(data, at + 2)
    month, day = _pair(data, at + 5), _pair(data, at + 8)
    if century < 0 or years < 0 or data[at + 4] != _MINUS or data[at + 7] != _MINUS:
        return ABSENT
    year = century * 100 + years
    if year < 1 or month < 1 or month > 12 or day < 1:
        return ABSENT
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    longest = 30 if month in (4, 6, 9, 11) else 31
    if month == 2:
        longest = 29 if leap else 28
    if day > longest:
        return ABSENT
    if month <= 2:
        year -= 1
    era = year // 400
    year_of_era = year - era * 400
    day_of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    day_of_era = year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year
    return np.int64(era * 146097 + day_of_era - 719468)


@_compiled
def _instant(data, at):
    """Microseconds since 1970 of `…T…Z` and the position after it; ABSENT where it needs care."""
    day = _day(data, at)
    hour, minute, second = _pair(data, at + 11), _pair(data, at + 14), _pair(data, at + 17)
    shaped = data[at + 10] == 84 and data[at + 13] == _COLON and data[at + 16] == _COLON
    if (
        day == ABSENT
        or not shaped
        or hour < 0
        or hour > 23
        or minute < 0
        or minute > 59
        or second < 0
        or second > 59
    ):
        return ABSENT, at
    at += 19
    micros, unit = 0, 100_000
    if data[at] == _POINT:
        start = at + 1
        at = _digits(data, start)
        if at == start or at - start > 6:
            return ABSENT, at
        for place in range(start, at):
            micros += (data[place] - _ZERO) * unit
            unit //= 10
    if data[at] != 90:
        return ABSENT, at
    return day * 86_400_000_000 + (hour * 3600 + minute * 60 + second) * 1_000_000 + micros, at + 1


@_compiled
def _nested_end(data, at, end):
    """Position after a balanced object; the reader that follows checks what is inside."""
    depth, high = 0, False
    while at < end:
        byte = data[at]
        if byte == _QUOTE:
            at, more, _ = _text_end(data, at)
            high = high or more
            if at < 0:
                return -1, high
            continue
        if byte == _OPEN or byte == _OPEN_LIST:
            depth += 1
            if depth > 64:
                return -1, high
        elif byte == _CLOSE or byte == _CLOSE_LIST:
            depth -= 1
            if depth == 0:
                return at + 1, high
        elif byte == _NEWLINE or byte >= 128:
            return -1, high
        at += 1
    return -1, high


@_compiled
def _list_end(data, at, kind):
    high = False
    at = _blank(data, at + 1)
    if data[at] == _CLOSE_LIST:
        return at + 1, high
    while True:
        if data[at] == 110:
            at = _null_end(data, at)
        elif kind == NUMBERS:
            at = _number_end(data, at)
        elif data[at] == _QUOTE:
            at, more, _ = _text_end(data, at)
            high = high or more
        else:
            return -1, high
        if at < 0:
            return -1, high
        at = _blank(data, at)
        if data[at] == _CLOSE_LIST:
            return at + 1, high
        if data[at] != _COMMA:
            return -1, high
        at = _blank(data, at + 1)


@_compiled
def _null_end(data, at):
    return at + 4 if data[at + 1] == 117 and data[at + 2] == 108 and data[at + 3] == 108 else -1


@_compiled
def _boolean_end(data, at):
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


@_compiled
def _is_key(data, at, words, masks, first, last):
    """Whether the key that begins at `at` is this name, written plainly, with its closing quote."""
    for word in range(first, last):
        if (_eight(data, at) & masks[word]) != words[word]:
            return False
        at += 8
    return True


@_compiled
def _row(data, at, end, row, names, wholes, reals, places, spans, seen):
    words, masks, firsts, lengths, kinds, slots = names
    count = kinds.size
    expected = 0
    high = False
    at = _blank(data, at)
    if data[at] != _OPEN:
        return CAREFUL
    at = _blank(data, at + 1)
    if data[at] == _CLOSE:
        return CLEAN if _blank(data, at + 1) == end else CAREFUL
    while True:
        if data[at] != _QUOTE:
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
        if data[at] != _COLON:
            at = _blank(data, at)
            if data[at] != _COLON:
                return CAREFUL
        at += 1
        if data[at] <= 32:
            at = _blank(data, at)
        kind = kinds[field]
        slot = slots[field]
        if data[at] == 110:
            at = _null_end(data, at)
        elif kind == 0:
            if data[at] != _QUOTE:
                return CAREFUL
            begin = at + 1
            at, more, escapes = _text_end(data, at)
            high = high or more
            # Escapes are marked by the sign of where the text begins; -1 stands for none at all.
            spans[slot, row, 0] = -2 - begin if escapes else begin
            spans[slot, row, 1] = at - 1
        elif kind == 1:
            wholes[slot, row], at = _whole(data, at)
        elif kind == 2:
            begin = at
            number, exact, at = _real(data, at)
            reals[slot, row] = number if exact else np.inf
            if not exact:
                places[slot, row] = begin
        elif kind == 3:
            truth = data[at] == 116
            at = _boolean_end(data, at)
            wholes[slot, row] = np.int64(truth)
        elif kind == 4 or kind == 5:
            if data[at] != _QUOTE:
                return CAREFUL
            if kind == 4:
                moment, at = _instant(data, at + 1)
            else:
                moment = _day(data, at + 1)
                at += 11
            if moment == ABSENT or data[at] != _QUOTE:
                return CAREFUL
            wholes[slot, row] = moment
            at += 1
        else:
            begin = at
            if kind == 6:
                if data[at] != _OPEN:
                    return CAREFUL
                at, more = _nested_end(data, at, end)
            else:
                if data[at] != _OPEN_LIST:
                    return CAREFUL
                at, more = _list_end(data, at, kind)
            high = high or more
            spans[slot, row, 0] = begin
            spans[slot, row, 1] = at
        if at < 0:
            return CAREFUL
        if data[at] <= 32:
            at = _blank(data, at)
        if data[at] == _CLOSE:
            if _blank(data, at + 1) != end:
                return CAREFUL
            return CLEAN_IF_UTF8 if high else CLEAN
        if data[at] != _COMMA:
            return CAREFUL
        at += 1
        if data[at] <= 32:
            at = _blank(data, at)


@_compiled
def scan_rows(data, starts, ends, names, wholes, reals, places, spans):
    """Scan every row; fills the arrays where a value is given (scanner.py describes them) and returns each row's status."""
    count = starts.size
    status = np.empty(count, dtype=np.uint8)
    seen = np.full(names[4].size, -1, dtype=np.int64)
    for row in range(count):
        # The newline after a row (or the padding after the last) ends every inner loop: no row reads into the next.
        end = ends[row]
        if (
            data[end] == 13 and data[end + 1] == _NEWLINE
        ):  # a carriage return before the newline is only blank
            end += 1
        status[row] = _row(data, starts[row], end, row, names, wholes, reals, places, spans, seen)
        if status[row] == CAREFUL:
            wholes[:, row] = ABSENT
            reals[:, row] = np.nan
            spans[:, row, 0] = -1
    return status


@_compiled
def _unescaped(data, begin, end, text, at):
    """Write a text that holds escapes, as UTF-8, and return the position after it; surrogates never come here."""
    while begin < end:
        byte = data[begin]
        if byte != _BACKSLASH:
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


@_compiled
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


@_compiled
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
                low = _eight(source, begin)
                if size <= 4:
                    keep = (np.uint64(1) << np.uint64(8 * size)) - np.uint64(1)
                    views[row, 0] = np.uint64(size) | ((low & keep) << np.uint64(32))
                    views[row, 1] = 0
                else:
                    views[row, 0] = np.uint64(size) | (low << np.uint64(32))
                    rest = _eight(source, begin + 4)
                    if size < 12:
                        rest &= (np.uint64(1) << np.uint64(8 * (size - 4))) - np.uint64(1)
                    views[row, 1] = rest
                continue
            for offset in range(0, size, 8):
                _put_eight(text, at + offset, _eight(source, begin + offset))
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
        views[row, 0] = np.uint64(size) | (_eight(text, at) << np.uint64(32))
        views[row, 1] = np.uint64(at) << np.uint64(32)
        at += size
    return at, nulls
