"""The compiled pass over one more field of the kept rows: amounts, whole numbers, payment types, short texts.

Where a field lies is written out in every loop: a function that is handed the arrays counts references to them.
"""

from __future__ import annotations

import numpy as np

from taxidask.compiled import kernel

from .bits import load8
from .numbers import parse_any, parse_float

MOST_TEXTS = 1000
"""How many different texts a column of a block may hold; what comes after is unreadable."""
LONGEST_TEXT = 64
"""Bytes of the longest text kept."""
PAYMENT_TYPES = 6  # the data dictionary's highest code


@kernel
def read_floats(text, ends, row_start, row_first, kept, count, field, at, out, known):
    """Amounts of kept rows from position `at` on; how many are known and how many unreadable."""
    good, bad = 0, 0
    for i in range(count):
        first = np.int64(row_first[kept[i]])
        a, b = (
            np.int64(ends[first + field - 1]) + 1 if field else np.int64(row_start[kept[i]]),
            np.int64(ends[first + field]),
        )
        n = at + i
        digit = np.int64(load8(text + a)) - 48
        if b - a == 1 and 0 <= digit <= 9:
            value, state = np.float64(digit), 1
        else:
            value, state = parse_float(text, a, b)
        out[n] = value
        if state == 1:
            known[n >> 3] |= np.uint8(1 << (n & 7))
            good += 1
        elif state < 0:
            bad += 1
    return good, bad


@kernel
def read_wholes(text, ends, row_start, row_first, kept, count, field, at, out, known):
    """Whole numbers of kept rows (`1`, and `1.0` as pandas writes it); how many are known and how many unreadable."""
    good, bad = 0, 0
    for i in range(count):
        first = np.int64(row_first[kept[i]])
        a, b = (
            np.int64(ends[first + field - 1]) + 1 if field else np.int64(row_start[kept[i]]),
            np.int64(ends[first + field]),
        )
        n = at + i
        digit = np.int64(load8(text + a)) - 48
        if b - a == 1 and 0 <= digit <= 9:
            value, state = np.float64(digit), 1
        else:
            value, state = parse_any(text, a, b)
            if state == 1 and not (np.floor(value) == value and -32768.0 <= value <= 32767.0):
                value, state = np.float64(0.0), -1
        out[n] = np.int16(value)
        if state == 1:
            known[n >> 3] |= np.uint8(1 << (n & 7))
            good += 1
        elif state < 0:
            bad += 1
    return good, bad


@kernel
def payment_code(text, start, stop):
    """The data dictionary's code of a payment type, given as number or word; -1 where empty, -2 where neither."""
    if stop - start >= 2 and load8(text + start) == 34 and load8(text + stop - 1) == 34:
        start += 1
        stop -= 1
    while start < stop and (load8(text + start) == 32 or load8(text + start) == 9):
        start += 1
    while start < stop and (load8(text + stop - 1) == 32 or load8(text + stop - 1) == 9):
        stop -= 1
    if start == stop:
        return -1
    if stop - start >= 2:
        a, b = load8(text + start) | 32, load8(text + start + 1) | 32
        c = load8(text + start + 2) | 32 if stop - start > 2 else 32
        if a == 99:  # c
            if b == 114 and (c == 101 or c == 100):  # cre, crd
                return 1
            if (b == 97 and c == 115) or (b == 115 and c == 104):  # cas, csh
                return 2
        elif a == 110 and b == 111:  # no
            return 3
        elif a == 100 and b == 105 and c == 115:  # dis
            return 4
        elif a == 117 and b == 110 and c == 107:  # unk
            return 5
    value, state = parse_any(text, start, stop)
    if state == 1 and np.floor(value) == value and 0.0 <= value <= PAYMENT_TYPES:
        return np.int64(value)
    return -2


@kernel
def read_payments(text, ends, row_start, row_first, kept, count, field, at, out, known):
    """Payment types of kept rows; how many are known and how many unreadable."""
    good, bad = 0, 0
    for i in range(count):
        first = np.int64(row_first[kept[i]])
        a, b = (
            np.int64(ends[first + field - 1]) + 1 if field else np.int64(row_start[kept[i]]),
            np.int64(ends[first + field]),
        )
        n = at + i
        digit = np.int64(load8(text + a)) - 48
        code = digit if b - a == 1 and 0 <= digit <= PAYMENT_TYPES else payment_code(text, a, b)
        out[n] = np.int8(max(code, 0))
        if code >= 0:
            known[n >> 3] |= np.uint8(1 << (n & 7))
            good += 1
        elif code == -2:
            bad += 1
    return good, bad


@kernel
def read_texts(text, ends, row_start, row_first, kept, count, field, at, out, pool, lengths, used):
    """Short texts of kept rows as numbers of the texts in `pool` (-1 for none); the pool's last row is scratch.

    Returns the number of texts in the pool, of rows with a text, and of rows whose text did not fit (null).
    """
    good, bad, code = 0, 0, -1
    # where a quoted text is written without its quotes
    scratch = pool[MOST_TEXTS]
    plain = pool.ctypes.data + MOST_TEXTS * pool.shape[1]
    for i in range(count):
        first = np.int64(row_first[kept[i]])
        a, b = (
            np.int64(ends[first + field - 1]) + 1 if field else np.int64(row_start[kept[i]]),
            np.int64(ends[first + field]),
        )
        letters = text
        if b - a >= 2 and load8(text + a) == 34 and load8(text + b - 1) == 34:
            size = np.int64(0)
            at_quote = False
            for k in range(a + 1, b - 1):
                if load8(text + k) == 34 and not at_quote:
                    at_quote = True
                    continue
                at_quote = False
                if size <= LONGEST_TEXT:
                    scratch[size] = load8(text + k)
                    size += 1
            letters, a, b = plain, np.int64(0), np.int64(size)
        while a < b and (load8(letters + a) == 32 or load8(letters + a) == 9):
            a += 1
        while a < b and (load8(letters + b - 1) == 32 or load8(letters + b - 1) == 9):
            b -= 1
        size = b - a
        if size == 0:
            out[at + i] = -1
            continue
        if size > LONGEST_TEXT:
            out[at + i] = -1
            bad += 1
            continue
        found = -1
        for step in range(-1, used):
            # the row before's text is the likeliest
            entry = code if step < 0 else step
            if entry < 0 or lengths[entry] != size:
                continue
            k = 0
            while k < size and pool[entry, k] == load8(letters + a + k):
                k += 1
            if k == size:
                found = entry
                break
        if found < 0:
            if used == MOST_TEXTS:
                out[at + i] = -1
                bad += 1
                continue
            for k in range(size):
                pool[used, k] = load8(letters + a + k)
            lengths[used] = size
            found = used
            used += 1
        code = found
        out[at + i] = np.int16(found)
        good += 1
    return used, good, bad


@kernel
def copy_lines(text, ends, row_start, row_last, rejects, count, out, offsets):
    """Raw rows as UTF-8, each byte as the character of its number; their ends in `offsets[1:]`, the size returned."""
    size = 0
    for i in range(count):
        row = rejects[i]
        for k in range(np.int64(row_start[row]), np.int64(ends[row_last[row]])):
            c = load8(text + k)
            if c < 128:
                out[size] = c
                size += 1
            else:
                out[size] = np.uint8(0xC0 | (c >> 6))
                out[size + 1] = np.uint8(0x80 | (c & 0x3F))
                size += 2
        offsets[i + 1] = size
    return size
