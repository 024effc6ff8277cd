"""Decimal text to float64, compiled and exact: the same bits as Python's `float()` for any decimal text.

Three ways, the first that applies:

1. up to 2**53 times or over a power of ten up to 10**22: one multiplication or division of exact floats;
2. up to 19 digits: the algorithm of Eisel and Lemire (Lemire, "Number parsing at a gigabyte per second", 2021; that it
   needs no fallback: Mushtak and Lemire, "Fast number parsing without fallback", 2023);
3. more digits: the first 19 leave at most two neighbouring floats, and whole-number arithmetic compares the text with
   the middle between them.
"""

from __future__ import annotations

import numpy as np

from taxidask.compiled import kernel

from .bits import bits_of_float, float_of_bits, leading_zeros, load8, load64, multiply128, trailing_zeros

SMALLEST_POWER, LARGEST_POWER = -342, 308
_MAX_DIGITS = 800  # a middle between two floats has at most 767 significant digits
_LIMBS = 160  # 32 bits each: 800 digits, or 10**_MAX_DIGITS, or a middle scaled by 2**1100, with room


def _powers_of_five() -> tuple[np.ndarray, np.ndarray]:
    """The upper 128 bits of 5**q, q from -342 to 308: high and low words (for q < 0 of the reciprocal, rounded up)."""
    high, low = [], []
    for q in range(SMALLEST_POWER, LARGEST_POWER + 1):
        power = 5 ** abs(q)
        if q < 0:
            bits = (power - 1).bit_length()
            value = (1 << (bits + 127 if q >= -27 else 2 * bits + 128)) // power + 1
            value >>= max(value.bit_length() - 128, 0)
        else:
            shift = power.bit_length() - 128
            value = power >> shift if shift > 0 else power << -shift
        high.append(value >> 64)
        low.append(value & (2**64 - 1))
    return np.array(high, dtype=np.uint64), np.array(low, dtype=np.uint64)


_FIVES_HIGH, _FIVES_LOW = _powers_of_five()
_TENS = np.array([10.0**k for k in range(23)])
_WHOLE_TENS = np.array([10**k for k in range(20)], dtype=np.uint64)
_ZEROS = np.uint64(0x3030303030303030)
_HIGH_BITS = np.uint64(0x8080808080808080)
_DOTS = np.uint64(0x2E2E2E2E2E2E2E2E)
_ONES = np.uint64(0x0101010101010101)
_OVER_NINE = np.uint64(0x7676767676767676)
_U0, _U1, _U63 = np.uint64(0), np.uint64(1), np.uint64(63)


@kernel(inline="always")
def _digits(text, start, count):
    """The word of up to eight digits (at least one) from an offset, the last one highest, zeros before the first."""
    gap = np.uint64(64 - 8 * count)
    word = (load64(text + start) << gap) | ((_ZEROS >> np.uint64(8)) >> (np.uint64(56) - gap))
    return word ^ _ZEROS


@kernel(inline="always")
def _beyond_nine(word):
    """A word of eight digits with high bits where one is none."""
    return (word + _OVER_NINE) | word


@kernel(inline="always")
def _value(word):
    """The number that eight digits make: neighbours are joined to pairs, pairs to fours, fours to one."""
    word = word * np.uint64(10) + (word >> np.uint64(8))
    return (
        ((word & np.uint64(0x000000FF000000FF)) * np.uint64(0x000F424000000064))
        + (((word >> np.uint64(16)) & np.uint64(0x000000FF000000FF)) * np.uint64(0x0000271000000001))
    ) >> np.uint64(32)


@kernel(inline="always")
def _over_ten_to(whole, places):
    """whole / 10**places for 1 to 22 places: the middle of `eisel_lemire`, which has the rare cases."""
    if whole != _U0:
        zeros = leading_zeros(whole)
        high, low = multiply128(whole << np.uint64(zeros), _FIVES_HIGH[-SMALLEST_POWER - places])
        if (high & np.uint64(0x1FF)) != np.uint64(0x1FF) and low > _U1:
            upper = high >> _U63
            mantissa = high >> (upper + np.uint64(9))
            exponent = ((-217706 * places) >> 16) + 63 + np.int64(upper) - zeros + 1023
            # the mantissa's highest bit, and a carry out of it, count the exponent up by one
            return float_of_bits((np.uint64(exponent - 1) << np.uint64(52)) + ((mantissa + (mantissa & _U1)) >> _U1))
    return eisel_lemire(whole, -places)


@kernel
def eisel_lemire(whole, power):
    """The float64 nearest to whole * 10**power, ties to even; whole below 2**64."""
    if whole == _U0 or power < SMALLEST_POWER:
        return 0.0
    if power > LARGEST_POWER:
        return np.inf
    zeros = leading_zeros(whole)
    shifted = whole << np.uint64(zeros)
    entry = power - SMALLEST_POWER
    high, low = multiply128(shifted, _FIVES_HIGH[entry])
    if (high & np.uint64(0x1FF)) == np.uint64(0x1FF):
        more, _ = multiply128(shifted, _FIVES_LOW[entry])
        low += more
        if more > low:
            high += _U1
    upper = high >> _U63
    shift = upper + np.uint64(9)
    mantissa = high >> shift
    exponent = ((217706 * power) >> 16) + 63 + np.int64(upper) - zeros + 1023
    if exponent <= 0:
        if 1 - exponent >= 64:
            return 0.0
        mantissa >>= np.uint64(1 - exponent)
        mantissa += mantissa & _U1
        mantissa >>= _U1
        return float_of_bits(mantissa)  # a carry into bit 52 is the smallest normal number, as it should be
    if low <= _U1 and -4 <= power <= 23 and (mantissa & np.uint64(3)) == _U1 and (mantissa << shift) == high:
        mantissa &= ~_U1  # exactly in the middle: down to even
    mantissa += mantissa & _U1
    mantissa >>= _U1
    if mantissa >= np.uint64(1 << 53):
        mantissa = np.uint64(1 << 52)
        exponent += 1
    if exponent >= 0x7FF:
        return np.inf
    return float_of_bits((mantissa & np.uint64((1 << 52) - 1)) | (np.uint64(exponent) << np.uint64(52)))


@kernel
def _multiply_small(limbs, count, factor, carry):
    """limbs = limbs * factor + carry; the new number of limbs."""
    carry = np.uint64(carry)
    for i in range(count):
        value = np.uint64(limbs[i]) * np.uint64(factor) + carry
        limbs[i] = np.uint32(value & np.uint64(0xFFFFFFFF))
        carry = value >> np.uint64(32)
    if carry > _U0:
        limbs[count] = np.uint32(carry)
        count += 1
    return count


@kernel
def _shift_left(limbs, count, bits):
    words, rest = bits // 32, bits % 32
    if rest:
        count = _multiply_small(limbs, count, 1 << rest, 0)
    if words and count:
        for i in range(count - 1, -1, -1):
            limbs[i + words] = limbs[i]
        for i in range(words):
            limbs[i] = np.uint32(0)
        count += words
    return count


@kernel
def _times_ten_to(limbs, count, power):
    while power >= 9:
        count = _multiply_small(limbs, count, 1000000000, 0)
        power -= 9
    for _ in range(power):
        count = _multiply_small(limbs, count, 10, 0)
    return count


@kernel
def _against_middle(text, start, stop, power, lower):
    """Compare the digits in [start, stop) times 10**power with the middle above a float: -1, 0 or 1."""
    left, right = np.zeros(_LIMBS, np.uint32), np.zeros(_LIMBS, np.uint32)
    digits, count, more = 0, 0, False
    for i in range(start, stop):
        if load8(text + i) == 46:
            continue
        if digits < _MAX_DIGITS:
            if digits or load8(text + i) != 48:
                count = _multiply_small(left, count, 10, np.int64(load8(text + i)) - 48)
                digits += 1
        else:
            more = more or load8(text + i) != 48
            power += 1
    bits = bits_of_float(lower)
    exponent = np.int64(bits >> np.uint64(52))
    mantissa = bits & np.uint64((1 << 52) - 1)
    if exponent:
        mantissa |= np.uint64(1 << 52)
    else:
        exponent = np.int64(1)
    middle = mantissa * np.uint64(2) + _U1
    twos = exponent - 1076
    right[0] = np.uint32(middle & np.uint64(0xFFFFFFFF))
    right[1] = np.uint32(middle >> np.uint64(32))
    size = 2 if right[1] else 1
    if power >= 0:
        count = _times_ten_to(left, count, power)
    else:
        size = _times_ten_to(right, size, -power)
    # the twos common to both sides need not be written out
    if twos >= 0:
        size = _shift_left(right, size, twos)
    else:
        count = _shift_left(left, count, -twos)
    if count != size:
        return 1 if count > size else -1
    for i in range(count - 1, -1, -1):
        if left[i] != right[i]:
            return 1 if left[i] > right[i] else -1
    return 1 if more else 0


@kernel
def parse_any(text, start, stop):
    """Any decimal text in [start, stop), blanks and one pair of quotes around it allowed.

    Returns the float64 and a state: 1 a number, 0 nothing there, -1 something else. Names like `nan` and `inf`, and
    numbers beyond the largest float, are something else.
    """
    if stop - start >= 2 and load8(text + start) == 34 and load8(text + stop - 1) == 34:
        start += 1
        stop -= 1
    while start < stop and (load8(text + start) == 32 or load8(text + start) == 9):
        start += 1
    while start < stop and (load8(text + stop - 1) == 32 or load8(text + stop - 1) == 9):
        stop -= 1
    if start >= stop:
        return 0.0, 0
    negative = load8(text + start) == 45
    if negative or load8(text + start) == 43:
        start += 1
    whole, taken, dropped, power, seen, dot, rest = _U0, 0, False, 0, False, False, 0
    i = start
    while i < stop:
        c = load8(text + i)
        if c == 46 and not dot:
            dot = True
        elif 48 <= c <= 57:
            seen = True
            if taken < 19:
                whole = whole * np.uint64(10) + np.uint64(c - 48)
                taken += 1 if whole > _U0 else 0
                power -= 1 if dot else 0
            else:
                dropped = dropped or c != 48
                power += 0 if dot else 1
            rest += 1 if dot else 0
        else:
            break
        i += 1
    end = i
    if not seen:
        return 0.0, -1
    shown, sign = np.int64(0), 1
    if i < stop:
        if load8(text + i) != 101 and load8(text + i) != 69:
            return 0.0, -1
        i += 1
        down = i < stop and load8(text + i) == 45
        if i < stop and (load8(text + i) == 45 or load8(text + i) == 43):
            i += 1
        if i >= stop:
            return 0.0, -1
        while i < stop:
            if load8(text + i) < 48 or load8(text + i) > 57:
                return 0.0, -1
            if shown < 100_000_000:
                shown = shown * 10 + np.int64(load8(text + i)) - 48
            i += 1
        sign = -1 if down else 1
    shown *= sign
    tens = power + shown
    if whole <= np.uint64(1 << 53) and not dropped and -22 <= tens <= 22:
        value = np.float64(np.int64(whole))
        value = value / _TENS[-tens] if tens < 0 else value * _TENS[tens]
    else:
        value = eisel_lemire(whole, tens)
        if dropped and value != eisel_lemire(whole + _U1, tens):
            order = _against_middle(text, start, end, shown - rest, value)
            odd = bits_of_float(value) & _U1
            if order > 0 or (order == 0 and odd):
                value = float_of_bits(bits_of_float(value) + _U1)
    if np.isinf(value):
        return 0.0, -1
    return -value if negative else value, 1


@kernel(error_model="numpy")
def parse_float(text, start, stop):
    """A field as float64 and its state, as `parse_any`; plain decimals take a path of a few words.

    Eight bytes after `stop` must be there to read.
    """
    a = start
    negative = load8(text + a) == 45
    if negative:
        a += 1
    length = stop - a
    if 0 < length <= 8:
        # the field ends the word; what stands before the dot, if there is one, moves up into its place
        word = load64(text + a) << np.uint64(64 - 8 * length)
        found = word ^ _DOTS
        found = (found - _ONES) & ~found & _HIGH_BITS
        dot = np.int64(found != _U0)
        lowest = found & (_U0 - found)
        to_dot = (lowest ^ (lowest - _U1)) & (_U0 - np.uint64(dot))
        word = (word & ~to_dot) | ((word & (to_dot >> np.uint64(8))) << np.uint64(8))
        after = ((63 - trailing_zeros(found)) >> 3) + 1 - dot
        digits = length - dot
        if digits > 0:
            word = (word | ((_ZEROS >> np.uint64(8)) >> np.uint64(8 * digits - 8))) ^ _ZEROS
            if not _beyond_nine(word) & _HIGH_BITS:
                value = np.float64(np.int64(_value(word))) / _TENS[after]
                return -value if negative else value, 1
    elif 0 < length <= 20:
        found = load64(text + a) ^ _DOTS
        found = (found - _ONES) & ~found & _HIGH_BITS
        ahead = trailing_zeros(found) >> 3  # digits before the dot, 8 where there is none so soon
        after = length - ahead - 1
        if 0 < ahead < 8 and 0 < after <= 16 and ahead + after <= 19:
            word = _digits(text, a, ahead)
            strange = _beyond_nine(word)
            whole = _value(word)
            dot = a + ahead + 1
            if after > 8:
                word, last = _digits(text, dot, 8), _digits(text, dot + 8, after - 8)
                strange |= _beyond_nine(word) | _beyond_nine(last)
                whole = (whole * np.uint64(100_000_000) + _value(word)) * _WHOLE_TENS[after - 8] + _value(last)
                # whether a shorter way would do differs from row to row: asking costs more than the long way
                value = _over_ten_to(whole, after)
            else:
                word = _digits(text, dot, after)
                strange |= _beyond_nine(word)
                value = np.float64(np.int64(whole * _WHOLE_TENS[after] + _value(word))) / _TENS[after]
            if not strange & _HIGH_BITS:
                return -value if negative else value, 1
    return parse_any(text, start, stop)
