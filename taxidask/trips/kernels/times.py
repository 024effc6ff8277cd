"""Times as people and programs write them, to microseconds of New York's clock. The usual form is read by the parser.

Read are dates with the year first (`2018-01-04`, `2018/1/4`, `20180104`, `2018 Jan 04`), of the United States
(`1/4/2018`, `1/4/18`) and with the month's name (`04-JAN-2018`, `Jan 4, 2018`); then blanks or a `T`; then a clock with
or without seconds and fractions of them, AM or PM; then a zone or none. A time without a zone, and one marked UTC, is
taken as it stands: the data portal and others mark New York's clock so. One of any other zone is converted. A date
alone, a number alone, and two digits by two digits without a slash are no time: what they mean would be a guess.
"""

from __future__ import annotations

import numpy as np

from taxidask.compiled import kernel

from .bits import load8

DAY = 86_400_000_000
NO_DAY = -(1 << 40)
NO_TIME, AS_WRITTEN, UTC, CONVERTED = 0, 1, 2, 3
"""What a text is: no time, one without a zone, one marked UTC that was taken as it stands, one of another zone."""
FORMS = {"utc": UTC, "converted": CONVERTED, "either_order": 4, "month_first": 5, "day_first": 6}
"""What is counted of texts that are not of the usual form: their zones, and the order of dates with slashes."""
_EITHER, _MONTH_FIRST, _DAY_FIRST = FORMS["either_order"], FORMS["month_first"], FORMS["day_first"]
_HOUR, _MINUTE, _SECOND = 3_600_000_000, 60_000_000, 1_000_000
_LONGEST = 64
_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTHS = np.array([int.from_bytes(name.encode(), "little") for name in _NAMES])
_Z, _UT, _UTC, _GMT, _EST, _EDT = (
    int.from_bytes(word, "little") for word in (b"z", b"ut", b"utc", b"gmt", b"est", b"edt")
)


@kernel
def days_since_1970(year, month, day):
    """Days from 1970-01-01 to a date of the Gregorian calendar; a very negative number for no such date."""
    if not (1 <= year <= 9999 and 1 <= month <= 12 and day >= 1):
        return NO_DAY
    leap = (year % 4 == 0 and year % 100 != 0) or year % 400 == 0
    longest = 31
    if month == 2:
        longest = 29 if leap else 28
    elif month == 4 or month == 6 or month == 9 or month == 11:
        longest = 30
    if day > longest:
        return NO_DAY
    y = year - 1 if month <= 2 else year
    m = month + 9 if month <= 2 else month - 3
    return 365 * y + y // 4 - y // 100 + y // 400 + (153 * m + 2) // 5 + day - 1 - 719468


@kernel
def _number(text, start, stop):
    """The digits from an offset on as a number, and how many they are."""
    value, at = np.int64(0), start
    while at < stop and 48 <= load8(text + at) <= 57:
        if at - start < 9:
            value = value * 10 + np.int64(load8(text + at)) - 48
        at += 1
    return value, at - start


@kernel
def _word(text, start, stop):
    """The first three letters from an offset on, in lower case, as a little-endian number, and how many there are."""
    value, at = np.int64(0), start
    while at < stop and 97 <= (load8(text + at) | 32) <= 122:
        if at - start < 3:
            value |= np.int64(load8(text + at) | 32) << (8 * (at - start))
        at += 1
    return value, at - start


@kernel
def _blanks(text, start, stop):
    """The offset after blanks."""
    while start < stop and (load8(text + start) == 32 or load8(text + start) == 9):
        start += 1
    return start


@kernel
def _month(text, start, stop):
    """A month's number by its name, 0 for another word, and the offset after it."""
    word, letters = _word(text, start, stop)
    for i in range(12):
        if letters >= 3 and _MONTHS[i] == word:
            return i + 1, start + letters
    return 0, start


@kernel
def _year(value, digits):
    """A year of four digits, or of two: those from 69 on are of the last century."""
    if digits == 4:
        return value
    return value + (1900 if value >= 69 else 2000) if digits == 2 else -1


@kernel
def _date(text, start, stop):
    """Days since 1970 and the offset after a date; `NO_DAY` for anything else."""
    value, digits = _number(text, start, stop)
    at = start + digits
    if digits == 0:  # Jan 4, 2018
        month, at = _month(text, start, stop)
        day, digits = _number(text, _blanks(text, at, stop), stop)
        at = _blanks(text, at, stop) + digits
        if digits == 0 or digits > 2:
            return NO_DAY, start
        if at < stop and load8(text + at) == 44:
            at += 1
        at = _blanks(text, at, stop)
        year, digits = _number(text, at, stop)
        return days_since_1970(year if digits == 4 else -1, month, day), at + digits
    if digits == 8:
        return days_since_1970(value // 10000, value // 100 % 100, value % 100), at
    if at + 1 >= stop or digits == 3 or digits > 4:
        return NO_DAY, start
    mark = load8(text + at)
    if mark != 45 and mark != 47 and mark != 32 and not (mark == 46 and digits == 4):  # - / blank .
        return NO_DAY, start
    at += 1
    named, after = _month(text, at, stop)
    if named:
        if after >= stop or load8(text + after) != mark:
            return NO_DAY, start
        at = after + 1
        other, more = _number(text, at, stop)
        if digits == 4:
            return days_since_1970(value, named, other if more <= 2 else -1), at + more
        return days_since_1970(_year(other, more), named, value), at + more
    middle, more = _number(text, at, stop)
    at += more
    # 04-01-2018 is of April or of January
    if more == 0 or more > 2 or mark == 32 or (digits < 4 and mark != 47) or at >= stop or load8(text + at) != mark:
        return NO_DAY, start
    last, more = _number(text, at + 1, stop)
    at += 1 + more
    if digits == 4:
        return days_since_1970(value, middle, last if more <= 2 else -1), at
    return days_since_1970(_year(last, more), value, middle), at


@kernel
def _clock(text, start, stop, packed):
    """Microseconds of a day and the offset after a clock, AM or PM included; -1 for anything else."""
    hour, digits = _number(text, start, stop)
    at = start + digits
    minute, second, fraction = np.int64(0), np.int64(0), np.int64(0)
    if packed and (digits == 4 or digits == 6):  # 002105
        minute, second = hour % 100, np.int64(0)
        if digits == 6:
            second, minute, hour = hour % 100, hour // 100 % 100, hour // 100
        hour //= 100
        seconds = digits == 6
    else:
        if digits == 0 or digits > 2 or at >= stop or load8(text + at) != 58:
            return -1, start
        minute, digits = _number(text, at + 1, stop)
        at += 1 + digits
        if digits != 2:
            return -1, start
        seconds = at < stop and load8(text + at) == 58
        if seconds:
            second, digits = _number(text, at + 1, stop)
            at += 1 + digits
            if digits != 2:
                return -1, start
    if seconds and at < stop and (load8(text + at) == 46 or load8(text + at) == 44):
        _, digits = _number(text, at + 1, stop)
        if digits == 0:
            return -1, start
        fraction, taken = _number(text, at + 1, min(at + 7, stop))
        for _ in range(6 - taken):
            fraction *= 10
        at += 1 + digits
    after = _blanks(text, at, stop)
    half = load8(text + after) | 32 if after < stop else np.uint8(0)
    if half == 97 or half == 112:  # a, p
        after += 1
        dotted = after < stop and load8(text + after) == 46
        after += 1 if dotted else 0
        if after >= stop or load8(text + after) | 32 != 109 or hour < 1 or hour > 12:
            return -1, start
        at = after + 1
        if dotted:
            if at >= stop or load8(text + at) != 46:
                return -1, start
            at += 1
        hour = hour % 12 + (12 if half == 112 else 0)
    if hour > 23 or minute > 59 or second > 59:
        return -1, start
    return hour * _HOUR + minute * _MINUTE + second * _SECOND + fraction, at


@kernel
def _sunday(year, month, day):
    """The first Sunday from a date on, in days since 1970."""
    days = days_since_1970(year, month, day)
    return days + (3 - days) % 7  # 1970-01-01 was a Thursday


@kernel
def new_york(stamp):
    """New York's clock at a moment of UTC, in microseconds; the moment's year must be 1987 or later."""
    winter = stamp - 5 * _HOUR
    year = 1970 + np.int64(np.floor((winter // DAY) / 365.2425))
    while days_since_1970(year + 1, 1, 1) * DAY <= winter:
        year += 1
    while days_since_1970(year, 1, 1) * DAY > winter:
        year -= 1
    if year >= 2007:
        first, last = _sunday(year, 3, 8), _sunday(year, 11, 1)
    else:
        first, last = _sunday(year, 4, 1), _sunday(year, 10, 25)
    summer = first * DAY + 2 * _HOUR <= winter < last * DAY + _HOUR
    return winter + (_HOUR if summer else 0)


@kernel
def slash_order(text, start, stop):
    """Which order of `FORMS` a date like `1/4/2018` has; 0 if it is none, or the same both ways."""
    while start < stop and (load8(text + start) == 34 or load8(text + start) == 32 or load8(text + start) == 9):
        start += 1
    first, digits = _number(text, start, stop)
    at = start + digits
    if digits == 0 or digits > 2 or at >= stop or load8(text + at) != 47:
        return 0
    second, digits = _number(text, at + 1, stop)
    at += 1 + digits
    if digits == 0 or digits > 2 or at >= stop or load8(text + at) != 47:
        return 0
    if not (1 <= first <= 31 and 1 <= second <= 31 and (first <= 12 or second <= 12)) or first == second:
        return 0
    return _DAY_FIRST if first > 12 else _MONTH_FIRST if second > 12 else _EITHER


@kernel
def parse_any_time(text, start, stop):
    """A text with blanks or quotes around it as microseconds of New York's clock, and what it is (`NO_TIME` …)."""
    if stop - start >= 2 and load8(text + start) == 34 and load8(text + stop - 1) == 34:
        start += 1
        stop -= 1
    start = _blanks(text, start, stop)
    while start < stop and (load8(text + stop - 1) == 32 or load8(text + stop - 1) == 9):
        stop -= 1
    if stop - start > _LONGEST:
        return 0, NO_TIME
    days, at = _date(text, start, stop)
    if days == NO_DAY:
        return 0, NO_TIME
    packed = _number(text, start, stop)[1] == 8
    if at + 1 < stop and load8(text + at) | 32 == 116:  # T
        at += 1
    else:
        if at < stop and load8(text + at) == 44:
            at += 1
        if at >= stop or (load8(text + at) != 32 and load8(text + at) != 9):
            return 0, NO_TIME
        at = _blanks(text, at, stop)
    clock, at = _clock(text, at, stop, packed)
    if clock < 0:
        return 0, NO_TIME
    stamp = days * DAY + clock
    at = _blanks(text, at, stop)
    if at == stop:
        return stamp, AS_WRITTEN
    word, letters = _word(text, at, stop)
    if letters:
        if at + letters != stop or letters > 3:
            return 0, NO_TIME
        if word in (_Z, _UT, _UTC, _GMT):
            return stamp, UTC
        if word != _EST and word != _EDT:
            return 0, NO_TIME
        shift = -5 * _HOUR if word == _EST else -4 * _HOUR
    else:
        sign = load8(text + at)
        if sign != 43 and sign != 45:
            return 0, NO_TIME
        hours, digits = _number(text, at + 1, stop)
        at += 1 + digits
        minutes = np.int64(0)
        if digits == 4:
            hours, minutes = hours // 100, hours % 100
        elif digits == 2:
            if at < stop and load8(text + at) == 58:
                minutes, digits = _number(text, at + 1, stop)
                at += 1 + digits
                minutes = minutes if digits == 2 else np.int64(60)
        else:
            return 0, NO_TIME
        if at != stop or hours > 15 or minutes > 59:
            return 0, NO_TIME
        if hours == 0 and minutes == 0:
            return stamp, UTC
        shift = (hours * _HOUR + minutes * _MINUTE) * (-1 if sign == 45 else 1)
    if days < days_since_1970(1987, 1, 2) or days > days_since_1970(9999, 12, 29):  # before, clocks had other rules
        return 0, NO_TIME
    return new_york(stamp - shift), CONVERTED
