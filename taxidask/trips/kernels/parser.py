"""The compiled pass over CSV bytes: where fields lie, which rows are kept, and the values the rules look at.

A chunk of whole rows is first indexed (the position of every comma and line end, 64 bytes at a time), then judged: only
the fields the rules need are looked at. `columns` reads further fields of the kept rows, where they are asked for. A
chunk, its index and its rows together fit a core's second-level cache.

Every array of text has `PADDING` bytes after its last row, so that words can be read past the end.
"""

from __future__ import annotations

import numpy as np

from taxidask.compiled import kernel

from .bits import load8, load64, match64, set_bits, trailing_zeros
from .numbers import parse_any, parse_float
from .times import DAY, NO_DAY, NO_TIME, days_since_1970, parse_any_time, slash_order

PADDING = 64
CHUNK_BYTES = 384 << 10
"""Bytes parsed at a time: with index and output well inside 2 MiB."""

_U0, _U1 = np.uint64(0), np.uint64(1)
_COLONS = np.uint64(0x00003A00003A0000)
_COLON_PLACES = np.uint64(0x0000FF0000FF0000)
_DIGIT_PLACES = np.uint64(0xFFFF00FFFF00FFFF)
_ZEROS = np.uint64(0x3030303030303030)
_OVER_NINE = np.uint64(0x7676767676767676)
_HIGH_BITS = np.uint64(0x8080808080808080)


@kernel
def last_line_end(text, start, stop):
    """The offset after the last line end in [start, stop); -1 where there is none."""
    for i in range(stop - 1, start - 1, -1):
        if load8(text + i) == 10:
            return i + 1
    return -1


@kernel
def index_rows(text, stop, ends, row_start, row_first, row_last):
    """Index the rows of text[:stop], which ends with a line end; the number of rows, or -1 if it meets a quote.

    `ends` gets the end of every field, `row_first` and `row_last` the entries of a row's first and last field. Lines
    without a byte are no rows; a carriage return before the line end is not part of the row.
    """
    rows, count, start, first = 0, 0, 0, 0
    for at in range(0, stop, 64):
        commas, lines, quotes = match64(text + at)
        left = stop - at
        if left < 64:
            mask = (_U1 << np.uint64(left)) - _U1
            commas &= mask
            lines &= mask
            quotes &= mask
        if quotes != _U0:
            return -1
        both = commas | lines
        before = count
        count += set_bits(both)
        word = both
        # the number of fields in 64 bytes varies: writing a few entries too many is cheaper than asking each time
        for step in range(12):
            ends[before + step] = np.uint32(at + trailing_zeros(word))
            word &= word - _U1
        entry = before + 12
        while word != _U0:
            ends[entry] = np.uint32(at + trailing_zeros(word))
            word &= word - _U1
            entry += 1
        while lines != _U0:
            bit = trailing_zeros(lines)
            entry = before + set_bits(both & ((_U1 << np.uint64(bit)) - _U1))
            end = at + bit
            follows = end + 1
            if end > start and load8(text + end - 1) == 13:
                end -= 1
                ends[entry] = np.uint32(end)
            if end > start:
                row_start[rows] = np.uint32(start)
                row_first[rows] = np.uint32(first)
                row_last[rows] = np.uint32(entry)
                rows += 1
            first = entry + 1
            start = follows
            lines &= lines - _U1
    return rows


@kernel
def index_quoted_rows(text, stop, ends, row_start, row_first, row_last):
    """As `index_rows`, where commas inside quotes end no field.

    A field is quoted if it begins with a quote; it ends at the next quote that is not doubled. A row that goes on
    otherwise after that, or ends before, is marked with `row_last` below `row_first`.
    """
    rows, count, start = 0, 0, 0
    while start < stop:
        line = start
        while load8(text + line) != 10:
            line += 1
        end = line - 1 if line > start and load8(text + line - 1) == 13 else line
        first, at, good = count, start, True
        while end > start:
            if at < end and load8(text + at) == 34:
                at += 1
                while at < end:
                    if load8(text + at) != 34:
                        at += 1
                    elif at + 1 < end and load8(text + at + 1) == 34:
                        at += 2
                    else:
                        break
                good = good and at < end
                at += 1
                good = good and (at >= end or load8(text + at) == 44)
                if not good:
                    break
            else:
                while at < end and load8(text + at) != 44:
                    at += 1
            ends[count] = np.uint32(min(at, end))
            count += 1
            if at >= end:
                break
            at += 1
        if end > start:
            if not good:
                ends[first] = np.uint32(end)  # keeps the raw row findable
                count = first + 1
            row_start[rows] = np.uint32(start)
            row_first[rows] = np.uint32(first if good else first + 1)
            row_last[rows] = np.uint32(count - 1)
            rows += 1
        start = line + 1
    return rows


@kernel
def _number(text, start, stop):
    """Digits in [start, stop) as a whole number, -1 for anything else."""
    value = np.int64(0)
    for i in range(start, stop):
        digit = np.int64(load8(text + i)) - 48
        if digit < 0 or digit > 9:
            return -1
        value = value * 10 + digit
    return value if stop > start else -1


@kernel(inline="always")
def _clock(word):
    """Microseconds of `HH:MM:SS`, given as a little-endian word; -1 for anything else."""
    value = (word ^ _ZEROS) & _DIGIT_PLACES
    digits = (((value + _OVER_NINE) | value) & _HIGH_BITS) == _U0
    pairs = (value * np.uint64(10) + (value >> np.uint64(8))) & np.uint64(0x00FF0000FF0000FF)
    hour, minute = np.int64(pairs & np.uint64(0xFF)), np.int64((pairs >> np.uint64(24)) & np.uint64(0xFF))
    second = np.int64(pairs >> np.uint64(48))
    good = digits and (word & _COLON_PLACES) == _COLONS and hour < 24 and minute < 60 and second < 60
    return (hour * 3600 + minute * 60 + second) * 1_000_000 if good else -1


@kernel
def judge(
    text, ends, row_start, row_first, row_last, rows, fields, zones, low, high, limits, zoned,
    pickup, dropoff, passengers, known, at, distance, x1, y1, x2, y2, fare, id1, id2, kept, rejects, codes,
):  # fmt: skip
    """Judge the rows of a chunk and write what the rules look at, of the kept rows.

    Bits of `known`, from `at` on, tell whether the passengers were given. `kept` and `rejects` get row numbers, `codes`
    the rejected rows' reasons; `zoned` counts times of unusual form by what `parse_any_time` says they are. The number
    of kept rows is returned.
    """
    max_duration, max_distance, max_fare = limits[0], limits[1], limits[2]
    few, many = limits[3], limits[4]
    west, east, south, north, last_zone = limits[5], limits[6], limits[7], limits[8], limits[9]
    wanted = fields[0]
    month_word, month_days, month_first = _U0, 28, np.int64(0)
    n, bad = 0, 0
    ax = ay = bx = by = 0.0
    for row in range(rows):
        first = np.int64(row_first[row])
        code = -1
        if np.int64(row_last[row]) - first + 1 != wanted:
            code = 0
        else:
            start = np.int64(row_start[row])
            f = fields[4]
            miles, state = parse_float(
                text, np.int64(ends[first + f - 1]) + 1 if f else start, np.int64(ends[first + f])
            )
            good = state == 1
            f = fields[5]
            usd, state = parse_float(text, np.int64(ends[first + f - 1]) + 1 if f else start, np.int64(ends[first + f]))
            good = good and state == 1
            for place in range(2 if zones else 4):
                f = fields[6 + place]
                a, b = np.int64(ends[first + f - 1]) + 1 if f else start, np.int64(ends[first + f])
                value, state = parse_float(text, a, b)
                good = good and state == 1
                if place == 0:
                    ax = value
                elif place == 1:
                    ay = value
                elif place == 2:
                    bx = value
                else:
                    by = value
            if zones:
                good = good and np.floor(ax) == ax and np.floor(ay) == ay
            f = fields[3]
            a, b = np.int64(ends[first + f - 1]) + 1 if f else start, np.int64(ends[first + f])
            digit = np.int64(load8(text + a)) - 48
            if b - a == 1 and 0 <= digit <= 9:
                people, state = np.float64(digit), 1
            else:
                people, state = parse_any(text, a, b)
                good = good and state >= 0 and np.floor(people) == people
            if not good:
                code = 0
            else:
                day, stamp = np.int64(0), np.int64(0)
                begin = np.int64(0)
                valid = True
                for which in range(2):
                    f = fields[1 + which]
                    a, b = np.int64(ends[first + f - 1]) + 1 if f else start, np.int64(ends[first + f])
                    clock = np.int64(-1)
                    if b - a == 19 and load8(text + a + 10) == 32:
                        # rows come in any order of days, but of one month
                        word = load64(text + a)
                        if word != month_word and load8(text + a + 4) == 45 and load8(text + a + 7) == 45:
                            year, month = _number(text, a, a + 4), _number(text, a + 5, a + 7)
                            first_day = days_since_1970(year, month, 1)
                            if first_day > NO_DAY:
                                month_word, month_first, month_days = word, first_day, 28
                                while month_days < 31 and days_since_1970(year, month, month_days + 1) > NO_DAY:
                                    month_days += 1
                        tens, units = np.int64(load8(text + a + 8)) - 48, np.int64(load8(text + a + 9)) - 48
                        date = tens * 10 + units
                        good = 0 <= units <= 9 and tens >= 0 and 1 <= date <= month_days
                        if good and word == month_word:
                            clock = _clock(load64(text + a + 11))
                            day = month_first + date - 1
                    if clock >= 0:
                        stamp = day * DAY + clock
                    else:
                        stamp, form = parse_any_time(text, a, b)
                        valid = valid and form != NO_TIME
                        zoned[form] += 1
                        zoned[slash_order(text, a, b)] += 1
                    if which == 0:
                        begin = stamp
                if not valid:
                    code = 1
                elif begin < low or begin >= high:
                    code = 2
                elif stamp < begin:
                    code = 3
                elif stamp - begin > max_duration:
                    code = 4
                elif not miles > 0.0:
                    code = 5
                elif miles > max_distance:
                    code = 6
                elif not (usd > 0.0 and usd <= max_fare):
                    code = 7
                elif state == 1 and not (few <= people <= many):
                    code = 8
                elif zones:
                    if not (1.0 <= ax <= last_zone and 1.0 <= ay <= last_zone):
                        code = 9
                elif not (west <= ax <= east and south <= ay <= north and west <= bx <= east and south <= by <= north):
                    code = 9
                if code < 0:
                    pickup[n] = begin
                    dropoff[n] = stamp
                    distance[n] = miles
                    fare[n] = usd
                    passengers[n] = np.int16(people)
                    if state == 1:
                        known[(at + n) >> 3] |= np.uint8(1 << ((at + n) & 7))
                    if zones:
                        id1[n] = np.int16(ax)
                        id2[n] = np.int16(ay)
                    else:
                        x1[n] = ax
                        y1[n] = ay
                        x2[n] = bx
                        y2[n] = by
                    kept[n] = np.uint32(row)
                    n += 1
        if code >= 0:
            rejects[bad] = np.uint32(row)
            codes[bad] = np.int8(code)
            bad += 1
    return n
