"""Rows of sample trips, written as bytes by one compiled loop.

Every row draws from its own counter-based stream (splitmix64 of seed, month and row number), and floats meet only
``+ - * /`` and comparisons, so a row's bytes depend on nothing but the seed, the month and its number.
"""

from __future__ import annotations

import numpy as np
from numba import uint64

from taxidask.compiled import kernel
from taxidask.sample.city import (
    CONGESTION,
    COS_GRID,
    ELSEWHERE,
    JFK,
    LAGUARDIA,
    MILES_EAST,
    MILES_NORTH,
    NEWARK,
    SIN_GRID,
)
from taxidask.sample.text import (
    COMMA,
    write_integer,
    write_money,
    write_point,
    write_text,
    write_time,
    write_zero,
)

ROW_BYTES = 512  # more than any row takes

# How fields are written, by era.
WORDS, CODES_2015, ZONES = 0, 1, 2  # 2009 to 2014; 2015 to 2016-06; from 2016-07
# Positions in the array of settings of one month.
(
    STYLE, YEAR_2009, STORE_N, WORDS_OF, EXTRA_FIELDS, CONGESTION_FIELD, MONTH_DAYS,
    ROWS, FAULTS, WINDOW, CARD_SHARE, FIRST_WEEKDAY, SETTINGS,
) = range(13)  # fmt: skip
# Columns of the table of prices, one row per day: the fields of `Prices`.
(
    FLAG, UNIT, JFK_FLAT, NEWARK_EXTRA, NIGHT, RUSH, JFK_RUSH, MTA, IMPROVEMENT, CONGESTION_CHARGE, CROSSING, HUDSON,
) = range(12)  # fmt: skip
# Positions in the table of words.
VENDOR_WORDS, PAY_WORDS, OTHER_PAY_WORDS, BAD_TIMES, BAD_MILES, BAD_FARE = 0, 3, 21, 30, 34, 35

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_S27, _S30, _S31 = np.uint64(27), np.uint64(30), np.uint64(31)
_S16, _S32 = np.uint64(16), np.uint64(32)
_U0, _U1 = np.uint64(0), np.uint64(1)
_LOW16, _LOW12, _LOW32 = np.uint64(0xFFFF), np.uint64(0xFFF), np.uint64(0xFFFFFFFF)


@kernel(inline="always")
def _mix(x):
    x = (x ^ (x >> _S30)) * _MIX_1
    x = (x ^ (x >> _S27)) * _MIX_2
    return x ^ (x >> _S31)


@kernel(inline="always")
def _below(bits, n):
    """An integer in [0, n) from 32 random bits."""
    return np.int64(((bits & _LOW32) * uint64(n)) >> _S32)


@kernel(inline="always")
def _find(cumulative, value):
    """First index whose cumulative share is above the value."""
    low, high = 0, cumulative.shape[0] - 1
    while low < high:
        middle = (low + high) >> 1
        if cumulative[middle] > value:
            high = middle
        else:
            low = middle + 1
    return low


@kernel
def fill(
    buffer, first, key, setting, slots, days, prices, money, money_lengths, miles_text, miles_lengths, words,
    word_lengths, zone, lon, lat, east, north, area, pickup, dropoff, parts, speeds, faster, normal, spread, passengers,
):  # fmt: skip
    """Write rows from number `first` on until the buffer is full; returns (bytes written, next row number)."""
    rows, faults = setting[ROWS], setting[FAULTS]
    style, words_of = setting[STYLE], setting[WORDS_OF]
    window = setting[WINDOW]
    at = 0
    row = first
    stop = buffer.shape[0] - ROW_BYTES
    while row < rows and at <= stop:
        state = _mix(key + uint64(row) * _GOLDEN)
        a = _mix(state + _GOLDEN)
        b = _mix(a + _GOLDEN)
        c = _mix(b + _GOLDEN)
        d = _mix(c + _GOLDEN)
        e = _mix(d + _GOLDEN)
        f = _mix(e + _GOLDEN)
        g = _mix(f + _GOLDEN)

        # Which fault, if any: one faulty row in each of `faults` equal strata, the reasons dealt ten at a time.
        fault = -1
        if faults > 0:
            stratum = row * faults // rows
            begin = (stratum * rows + faults - 1) // faults
            end = ((stratum + 1) * rows + faults - 1) // faults
            here = _mix(key ^ (uint64(stratum + 1) * _MIX_1))
            if row == begin + _below(here, end - begin):
                deal = _mix(key ^ (uint64(stratum // 10 + 1) * _MIX_2))
                fault = (stratum * 3 + _below(deal, 10)) % 10
        variant = np.int64(f & uint64(3))

        # When. Files are in order of time only at large: rows of one window are shuffled among themselves.
        block = row // window * window
        place = row
        if block + window <= rows:  # a window is a power of two, so each step is one-to-one
            place = ((row - block) * 1103 + 571) % window
            place ^= place >> 4
            place = block + (place * 2477 + 131) % window
        low, high = 0, slots.shape[0] - 1
        while low < high:
            middle = (low + high) >> 1
            if slots[middle] > place:
                high = middle
            else:
                low = middle + 1
        second = low * 900 + _below(a, 900)
        day = second // 86400
        second -= day * 86400
        hour = second // 3600
        weekend = 1 if (setting[FIRST_WEEKDAY] + day) % 7 >= 5 else 0
        part = parts[hour]

        # From where to where.
        start = _find(pickup[part], a >> _S32)
        stop_at = _find(dropoff[part, start], b & _LOW32)
        b >>= _S32
        x0 = lon[start] + east[start] * ((np.int64(c & _LOW16) + np.int64((c >> _S16) & _LOW16) - 65535) / 32768.0)
        c >>= _S32
        y0 = lat[start] + north[start] * ((np.int64(c & _LOW16) + np.int64((c >> _S16) & _LOW16) - 65535) / 32768.0)
        x1 = lon[stop_at] + east[stop_at] * ((np.int64(d & _LOW16) + np.int64((d >> _S16) & _LOW16) - 65535) / 32768.0)
        d >>= _S32
        y1 = lat[stop_at] + north[stop_at] * ((np.int64(d & _LOW16) + np.int64((d >> _S16) & _LOW16) - 65535) / 32768.0)
        dx, dy = (x1 - x0) * MILES_EAST, (y1 - y0) * MILES_NORTH
        along = dx * SIN_GRID + dy * COS_GRID
        across = dx * COS_GRID - dy * SIN_GRID
        straight = (along if along > 0 else -along) + (across if across > 0 else -across)
        detour = 1.06 + 0.1 * normal[b & _LOW12]
        miles = 0.08 + straight * (detour if detour > 0.88 else 0.88)
        one_decimal = (e & uint64(1)) == _U0  # vendor 1 (CMT) reports tenths of a mile, the others hundredths
        e >>= _U1
        tenth = 10 if one_decimal else 1
        hundredths = np.int64(miles * (100 // tenth) + 0.5) * tenth
        if hundredths < 10:
            hundredths = 10
        if hundredths > 9990:
            hundredths = 9990
        miles = hundredths / 100.0

        # How long, and what the meter makes of it: a fifth of a mile at speed or a minute without.
        quarter = np.int64(miles * 4)
        speed = speeds[weekend, hour] * faster[quarter if quarter < 159 else 159]
        speed *= spread[(b >> uint64(12)) & _LOW12]
        speed = 3.0 if speed < 3.0 else 45.0 if speed > 45.0 else speed
        seconds = np.int64(miles * 3600.0 / speed) + 20
        if seconds > 14400:
            seconds = 14400
        minutes_slow = seconds / 60.0 - miles * 60.0 / 22.0
        units = np.int64(miles * 5.0 + (0.85 * minutes_slow if minutes_slow > 0 else 0.0))
        price = prices[day]
        mta, improvement = price[MTA], price[IMPROVEMENT]
        start_zone, stop_zone = zone[start], zone[stop_at]
        rate = 1
        fare = price[FLAG] + price[UNIT] * units
        if (start_zone == JFK and area[stop_at] != ELSEWHERE) or (stop_zone == JFK and area[start] != ELSEWHERE):
            rate, fare = 2, price[JFK_FLAT]
        elif stop_zone == NEWARK:
            rate = 3
            fare += price[NEWARK_EXTRA]
        fare = min(fare, 49900)
        extra = 0
        if rate == 1:
            if hour >= 20 or hour < 6:
                extra = price[NIGHT]
            elif hour >= 16 and weekend == 0:
                extra = price[RUSH]
        elif rate == 2 and hour >= 16 and hour < 20 and weekend == 0:
            extra = price[JFK_RUSH]
        tolls = 0
        odds = _below(e, 1000)
        airport = start_zone in (JFK, LAGUARDIA) or stop_zone in (JFK, LAGUARDIA)
        manhattan_ends = (1 if area[start] != ELSEWHERE else 0) + (1 if area[stop_at] != ELSEWHERE else 0)
        if rate == 3:
            tolls = price[HUDSON]
        elif manhattan_ends == 1 and odds < (640 if airport else 30):
            tolls = price[CROSSING]
        congestion = 0
        if area[start] == CONGESTION or area[stop_at] == CONGESTION:
            congestion = price[CONGESTION_CHARGE]

        # Who pays how.
        pay = 0  # card, cash, no charge, dispute
        pay_odds = _below(e >> _S16, 1000)
        if pay_odds >= setting[CARD_SHARE]:
            pay = 1
        if pay_odds >= 997:
            pay = 3 if pay_odds == 999 else 2
        tip = 0
        if pay == 0:
            due = fare + extra + mta + improvement + congestion
            habit = _below(g >> _S16, 100)
            percent = 20 if habit < 55 else 25 if habit < 65 else 30 if habit < 70 else 15 if habit < 80 else 18
            tip = (due * percent + 50) // 100
            if habit >= 80:
                tip = tip // 100 * 100
            if habit >= 96:
                tip = 0
        count = _find(passengers, f >> _S32)
        total = fare + extra + mta + improvement + tip + tolls + congestion

        vendor = 0 if one_decimal else 1
        if style == WORDS:
            if not one_decimal and setting[WORDS_OF] < 2 and (f & uint64(0xF0)) == _U0:
                vendor = 2  # DDS, a vendor of the first years
            if vendor == 1:  # VTS reports whole minutes
                second -= second % 60
                seconds -= seconds % 60
        else:
            if congestion > 0 and one_decimal:
                extra += congestion  # vendor 1 counts it twice, under both names

        # What is wrong with this row.
        pickup_day = day + 40
        out_lon0, out_lat0, out_lon1, out_lat1 = x0, y0, x1, y1
        id0, id1 = start_zone, stop_zone
        if _below(f >> uint64(8), 1000) < 4:
            id1 = 1 + _below(f >> _S16, 263)  # some go where few go
        lost = 0
        passenger_value = count + 1
        if fault == 2:  # outside_month: a few days off, as meters with a wrong clock are
            off = 1 + _below(f >> uint64(8), 20)
            pickup_day = 40 - off if variant < 2 else 40 + setting[MONTH_DAYS] - 1 + off
        elif fault == 3:
            seconds = -(60 + seconds)
        elif fault == 4:
            seconds = 86400 + 60 + seconds * 3
        elif fault == 5:
            hundredths = 0 if variant < 3 else -hundredths
        elif fault == 6:
            hundredths = 10010 + hundredths % 9900
        elif fault == 7:
            fare = 0 if variant == 0 else -fare if variant < 3 else 50050 + fare % 10000
            total = fare + extra + mta + improvement + tip + tolls + congestion
        elif fault == 8:
            passenger_value = 0 if variant < 3 else 10 + _below(f >> uint64(8), 90)
        elif fault == 9:
            lost = 1 + variant % 3  # pick-up, drop-off or both
            if lost & 1:
                id0 = 264 + (variant & 1)
            if lost & 2:
                id1 = 264 + (variant >> 1)

        begin_row = at
        if style == WORDS:
            at = write_text(buffer, at, words, word_lengths, VENDOR_WORDS + vendor)
        else:
            at = write_integer(buffer, at, vendor + 1)
        buffer[at] = COMMA
        at += 1
        if fault == 1 and variant < 2:
            at = write_text(buffer, at, words, word_lengths, BAD_TIMES + variant)
        else:
            at = write_time(buffer, at, days, pickup_day, second)
        buffer[at] = COMMA
        at += 1
        if fault == 1 and variant >= 2:
            at = write_text(buffer, at, words, word_lengths, BAD_TIMES + variant)
        elif second + seconds < 0:
            at = write_time(buffer, at, days, pickup_day - 1, second + seconds + 86400)
        else:
            at = write_time(buffer, at, days, pickup_day, second + seconds)
        buffer[at] = COMMA
        at = write_integer(buffer, at + 1, passenger_value)
        buffer[at] = COMMA
        at += 1
        if fault == 0 and variant == 2:
            at = write_text(buffer, at, words, word_lengths, BAD_MILES)
        elif hundredths < 0:
            buffer[at] = np.uint8(45)
            at = write_text(buffer, at + 1, miles_text, miles_lengths, -hundredths)
        else:
            at = write_text(buffer, at, miles_text, miles_lengths, hundredths)
        buffer[at] = COMMA
        at += 1

        if style != ZONES:
            if lost & 1:
                at = write_zero(buffer, at)
                buffer[at] = COMMA
                at = write_zero(buffer, at + 1)
            else:
                at = write_point(buffer, at, out_lon0, out_lat0, style == CODES_2015)
            buffer[at] = COMMA
            at += 1
        if setting[YEAR_2009] == 0:
            at = write_integer(buffer, at, rate)
        buffer[at] = COMMA
        at += 1
        if style != WORDS or (setting[STORE_N] != 0 and vendor == 0):
            buffer[at] = np.uint8(89 if (f & uint64(0x7F000)) == _U0 else 78)  # one in 128 was held in the car
            at += 1
        elif vendor == 0:
            at = write_zero(buffer, at)
        buffer[at] = COMMA
        at += 1
        if style != ZONES:
            if lost & 2:
                at = write_zero(buffer, at)
                buffer[at] = COMMA
                at = write_zero(buffer, at + 1)
            else:
                at = write_point(buffer, at, out_lon1, out_lat1, style == CODES_2015)
        else:
            at = write_integer(buffer, at, id0)
            buffer[at] = COMMA
            at = write_integer(buffer, at + 1, id1)
        buffer[at] = COMMA
        at += 1
        middle_row = at
        if style == WORDS:
            pay_word = PAY_WORDS + (words_of * 3 + vendor) * 2 + pay
            if pay >= 2:
                pay_word = OTHER_PAY_WORDS + words_of * 2 + pay - 2
            at = write_text(buffer, at, words, word_lengths, pay_word)
        else:
            at = write_integer(buffer, at, pay + 1)
        buffer[at] = COMMA
        at += 1
        if fault == 0 and variant == 3:
            at = write_text(buffer, at, words, word_lengths, BAD_FARE)
        else:
            at = write_money(buffer, at, fare, money, money_lengths)
        buffer[at] = COMMA
        at = write_money(buffer, at + 1, extra, money, money_lengths)
        buffer[at] = COMMA
        at += 1
        if mta > 0:
            at = write_money(buffer, at, mta, money, money_lengths)
        buffer[at] = COMMA
        at = write_money(buffer, at + 1, tip, money, money_lengths)
        buffer[at] = COMMA
        at = write_money(buffer, at + 1, tolls, money, money_lengths)
        buffer[at] = COMMA
        at += 1
        if style != WORDS:
            at = write_money(buffer, at, improvement, money, money_lengths)
            buffer[at] = COMMA
            at += 1
        at = write_money(buffer, at, total, money, money_lengths)
        if setting[CONGESTION_FIELD] != 0:
            buffer[at] = COMMA
            at += 1
            if setting[CONGESTION_FIELD] == 2:
                at = write_money(buffer, at, congestion, money, money_lengths)
        for _ in range(setting[EXTRA_FIELDS]):
            buffer[at] = COMMA
            at += 1
        if fault == 0:
            if variant == 0:  # the row breaks off in the middle
                at = begin_row + 24 + (middle_row - begin_row - 24) // 2
                buffer[at] = np.uint8(48)
                at += 1
            elif variant == 1:  # another row's tail sticks to it
                for _ in range(5):
                    buffer[at] = COMMA
                    at = write_zero(buffer, at + 1)
        buffer[at] = np.uint8(13)
        buffer[at + 1] = np.uint8(10)
        at += 2
        row += 1
    return at, row
