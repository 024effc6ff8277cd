"""Fields of sample trips as bytes: each function writes at a place of the buffer and returns the place after it."""

from __future__ import annotations

import numpy as np
from numba import uint64

from taxidask.compiled import kernel

COMMA = np.uint8(44)
_U0, _U1, _U10, _U100K = np.uint64(0), np.uint64(1), np.uint64(10), np.uint64(100_000)


@kernel
def write_text(buffer, at, texts, lengths, which):
    for k in range(lengths[which]):
        buffer[at + k] = texts[which, k]
    return at + lengths[which]


@kernel
def write_integer(buffer, at, value):
    if value >= 100:
        buffer[at] = np.uint8(48 + value // 100)
        at += 1
    if value >= 10:
        buffer[at] = np.uint8(48 + value // 10 % 10)
        at += 1
    buffer[at] = np.uint8(48 + value % 10)
    return at + 1


@kernel
def write_two(buffer, at, value):
    buffer[at] = np.uint8(48 + value // 10)
    buffer[at + 1] = np.uint8(48 + value % 10)
    return at + 2


@kernel
def write_money(buffer, at, cents, texts, lengths):
    if cents < 0:
        buffer[at] = np.uint8(45)
        at += 1
        cents = -cents
    return write_text(buffer, at, texts, lengths, cents)


@kernel
def write_time(buffer, at, days, day, second):
    """``2015-01-31 23:59:59``; a second past midnight belongs to the days after."""
    day += second // 86400
    second %= 86400
    for k in range(10):
        buffer[at + k] = days[day, k]
    buffer[at + 10] = np.uint8(32)
    at = write_two(buffer, at + 11, second // 3600)
    buffer[at] = np.uint8(58)
    at = write_two(buffer, at + 1, second // 60 % 60)
    buffer[at] = np.uint8(58)
    return write_two(buffer, at + 1, second % 60)


@kernel
def write_degrees(buffer, at, value):
    """A coordinate between 32 and 100 degrees with 17 significant digits, trailing zeros cut: C's ``%.17g``, halves up.

    Exact: the 47 bits behind the binary point are multiplied by 10⁵ three times within 64 bits.
    """
    if value < 0:
        buffer[at] = np.uint8(45)
        at += 1
        value = -value
    whole = uint64(value)
    bits = uint64((value - np.float64(whole)) * 140737488355328.0)  # 2**47
    mask = uint64(140737488355327)
    digits = _U0
    for _ in range(3):
        bits *= _U100K
        digits = digits * _U100K + (bits >> uint64(47))
        bits &= mask
    if bits >= uint64(70368744177664):
        digits += _U1
        if digits == uint64(1_000_000_000_000_000):
            digits = _U0
            whole += _U1
    at = write_two(buffer, at, np.int64(whole))
    if digits == _U0:
        return at
    buffer[at] = np.uint8(46)
    last = at
    for k in range(15, 0, -1):
        digit = digits % _U10
        digits //= _U10
        buffer[at + k] = np.uint8(48 + np.int64(digit))
        if last == at and digit != _U0:
            last = at + k
    return last + 1


@kernel
def write_zero(buffer, at):
    buffer[at] = np.uint8(48)
    return at + 1


@kernel
def write_point(buffer, at, x, y, single):
    """Longitude and latitude: six decimals as a double until 2014, as a 32-bit float from 2015."""
    x = np.float64(np.int64(x * 1e6 - 0.5)) / 1e6  # New York is west and north: truncation after ∓0.5 rounds
    y = np.float64(np.int64(y * 1e6 + 0.5)) / 1e6
    if single:
        x = np.float64(np.float32(x))
        y = np.float64(np.float32(y))
    at = write_degrees(buffer, at, x)
    buffer[at] = COMMA
    return write_degrees(buffer, at + 1, y)
