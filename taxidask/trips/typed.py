"""Arrow columns of any type as those of trips: cast where no value changes, refused by name where one would."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from taxidask.errors import SourceError
from taxidask.trips.kernels.columns import LONGEST_TEXT, MOST_TEXTS, PAYMENT_TYPES
from taxidask.trips.kernels.times import DAY, FORMS, NO_TIME, days_since_1970
from taxidask.trips.kernels.values import numbers_of, payments_of, times_of

from .eras import Era
from .schema import TRIP_SCHEMA

_TICKS = {"s": 1_000_000, "ms": 1000, "us": 1, "ns": -1000}  # microseconds of one, or how many of it make one
_UTC = re.compile(r"(etc/)?(utc|uct|gmt([+-]?0)?|zulu|universal|greenwich)|z|[+-]00(:?00)?", re.IGNORECASE)
_days = days_since_1970.py_func  # an import compiles nothing
_FIRST, _LAST = _days(1, 1, 1) * DAY, (_days(9999, 12, 31) + 1) * DAY
_STRANGE = (
    (pa.types.is_boolean, "true or false"),
    (pa.types.is_date, "a date without a time of day"),
    (pa.types.is_time, "a time of day without a date"),
    (pa.types.is_duration, "a length of time"),
)
_WHOLE = re.compile(r"(-?[0-9]+)\.0+")


def check_types(schema: pa.Schema, era: Era, url: str) -> None:
    """Refuse a file of which a column's type has no values of trips; the message names it."""
    for column, name in zip(era.columns, era.header, strict=False):
        if column is None:
            continue
        kind = values_of(schema.field(name).type)
        wanted = TRIP_SCHEMA.field(column).type
        if pa.types.is_timestamp(wanted):
            good, what = pa.types.is_timestamp(kind), "dates with a time of day: timestamps, or texts"
        elif column == "store_and_fwd_flag":
            good, what = _is_number(kind) or pa.types.is_boolean(kind), "Y and N, numbers or true and false"
        else:
            good, what = _is_number(kind), "numbers, or texts" if wanted == pa.string() else "numbers, or texts of them"
        if not (good or is_text(kind) or pa.types.is_null(kind)):
            holds = next((f", {words}," for is_one, words in _STRANGE if is_one(kind)), "")
            raise SourceError(
                f"the column {name!r} of {url} is of type {kind}{holds} where {column} has {what}",
                "write the column as one of these, and read the file again",
            )


def values_of(kind: pa.DataType) -> pa.DataType:
    """The type of a category's values, or of a column's."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def is_text(kind: pa.DataType) -> bool:
    """Whether a type holds text: strings, or bytes that nobody said are UTF-8."""
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
        or pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)
        or pa.types.is_fixed_size_binary(kind)
    )  # fmt: skip


@dataclass
class _Distinct:
    """A column as its different values and each row's number among them, -1 for none."""

    entries: pa.Array
    codes: np.ndarray

    @classmethod
    def of(cls, array: pa.Array) -> _Distinct:
        if not pa.types.is_dictionary(array.type):
            if pa.types.is_string_view(array.type) or pa.types.is_binary_view(array.type):
                array = array.cast(pa.large_binary())
            array = array.dictionary_encode()
        codes = pc.fill_null(array.indices.cast(pa.int64()), -1).to_numpy(zero_copy_only=False)
        return cls(array.dictionary, codes)

    def texts(self) -> tuple[pa.Array, int, np.ndarray]:
        """The different texts: what holds them, the address of the bytes, and where each begins and ends."""
        held = pc.fill_null(self.entries.cast(pa.large_binary()), b"")
        _, ends, data = held.buffers()
        offsets = np.frombuffer(ends, np.int64)[held.offset : held.offset + len(held) + 1]
        return held, data.address if data is not None else 0, offsets

    def spread(self, values: np.ndarray, missing: Any) -> np.ndarray:
        """A value for each row, of the values' ones."""
        if not len(values):
            return np.full(len(self.codes), missing)
        return np.where(self.codes < 0, missing, values[np.maximum(self.codes, 0)])


def _plain(array: pa.Array) -> pa.Array:
    """Without the dictionary of a category that is no text; decimals as text, which is exact."""
    if pa.types.is_dictionary(array.type) and not is_text(array.type.value_type):
        array = array.dictionary_decode()
    return array.cast(pa.string()) if pa.types.is_decimal(array.type) else array


def text_lengths(array: pa.Array) -> np.ndarray:
    """Bytes of each row's text."""
    distinct = _Distinct.of(array)
    return distinct.spread(np.diff(distinct.texts()[2]), 0)


@dataclass
class Times:
    """Microseconds of New York's clock, which of them are none, and how many are of which of the parser's `FORMS`."""

    stamps: np.ndarray
    missing: np.ndarray
    zoned: dict[str, int]


def times(array: pa.Array) -> Times:
    """Times of a column; UTC is taken as it stands, any other zone becomes New York's clock."""
    array = _plain(array)
    if pa.types.is_null(array.type):
        return Times(np.zeros(len(array), np.int64), np.ones(len(array), bool), {})
    if is_text(values_of(array.type)):
        return _times_of_texts(array)
    missing = array.is_null().to_numpy(zero_copy_only=False)
    ticks = pc.fill_null(array.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
    size = _TICKS[array.type.unit]
    low, high = (_FIRST // size, _LAST // size) if size > 0 else (_FIRST * -size, _LAST * -size)
    missing |= (ticks < max(low, -(2**63))) | (ticks >= min(high, 2**63 - 1))
    ticks = np.where(missing, 0, ticks)
    stamps = ticks * size if size > 0 else ticks // -size
    zone = array.type.tz
    if zone is None:
        return Times(stamps, missing, {})
    if _UTC.fullmatch(zone):
        return Times(stamps, missing, {"utc": int((~missing).sum())})
    import pandas as pd

    from taxidask.clock import wall_clocks

    moments = pd.Series(stamps.astype("datetime64[us]")).dt.tz_localize("UTC").dt.tz_convert("America/New_York")
    walls = wall_clocks(moments).to_numpy().astype("datetime64[us]").astype(np.int64)
    return Times(np.where(missing, 0, walls), missing, {"converted": int((~missing).sum())})


def _times_of_texts(array: pa.Array) -> Times:
    distinct = _Distinct.of(array)
    held, address, offsets = distinct.texts()
    stamps, forms, orders = (np.zeros(len(held), np.int64) for _ in range(3))
    times_of(address, offsets, stamps, forms, orders)
    form = distinct.spread(forms, NO_TIME)
    counts = np.bincount(np.concatenate([form, distinct.spread(orders, 0)]), minlength=max(FORMS.values()) + 1)
    zoned = {name: int(counts[of]) for name, of in FORMS.items() if counts[of]}
    return Times(distinct.spread(stamps, 0), form == NO_TIME, zoned)


def floats(array: pa.Array, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Values as float64, NaN where missing or unreadable, and which are unreadable; infinite ones are."""
    array = _plain(array)
    if pa.types.is_null(array.type):
        return np.full(len(array), np.nan), np.zeros(len(array), bool)
    if is_text(values_of(array.type)):
        distinct = _Distinct.of(array)
        held, address, offsets = distinct.texts()
        values, states = np.zeros(len(held)), np.zeros(len(held), np.int64)
        numbers_of(address, offsets, values, states)
        state = distinct.spread(states, 0)
        return np.where(state == 1, distinct.spread(values, np.nan), np.nan), state < 0
    try:
        cast = array.cast(pa.float64())
    except pa.ArrowInvalid as error:
        raise SourceError(f"{where} has a value that a float64 cannot hold: {error}", "write it as text") from error
    values = pc.fill_null(cast, np.nan).to_numpy(zero_copy_only=False)
    infinite = np.isinf(values)
    return np.where(infinite, np.nan, values), infinite


def column(array: pa.Array, field: pa.Field, where: str) -> tuple[pa.Array, int]:
    """A column in its canonical type, and how many values were unreadable."""
    if field.type == pa.string():
        return _short_texts(array)
    if field.name == "payment_type" and is_text(values_of(_plain(array).type)):
        distinct = _Distinct.of(_plain(array))
        held, address, offsets = distinct.texts()
        codes = np.zeros(len(held), np.int64)
        payments_of(address, offsets, codes)
        code = distinct.spread(codes, -1)
        return pa.array(np.maximum(code, 0).astype(np.int8), pa.int8(), mask=code < 0), int((code == -2).sum())
    values, strange = floats(array, where)
    known = ~np.isnan(values)
    if field.type == pa.float64():
        return pa.array(values, pa.float64(), mask=~known), int(strange.sum())
    low, high = (0, PAYMENT_TYPES) if field.name == "payment_type" else (-32768, 32767)
    fits = known & (np.floor(values) == values) & (values >= low) & (values <= high)
    whole = np.where(fits, values, 0).astype(field.type.to_pandas_dtype())
    return pa.array(whole, field.type, mask=~fits), int((known & ~fits).sum() + strange.sum())


def _short_texts(array: pa.Array) -> tuple[pa.Array, int]:
    """Texts as the CSV parser keeps them: trimmed, short ones, and so many different ones only."""
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), pa.string()), 0
    distinct = _Distinct.of(_plain(array))
    values = distinct.entries.cast(pa.large_binary()) if is_text(distinct.entries.type) else distinct.entries
    used, first = np.unique(distinct.codes, return_index=True)
    words: list[str] = []
    numbers = np.full(len(distinct.entries), -1, np.int64)  # each value's number in words; -2 for one that is not kept
    for code in used[np.argsort(first)].tolist():
        if code < 0:
            continue
        word = _word(values[code].as_py())
        if word is None or (word and len(words) == MOST_TEXTS):
            numbers[code] = -2
        elif word:
            numbers[code] = len(words)
            words.append(word)
    number = distinct.spread(numbers, -1)
    taken = pa.array(words, pa.string()).take(pa.array(np.maximum(number, 0), mask=number < 0))
    return taken, int((number == -2).sum())


def _word(value: Any) -> str | None:
    """A value as a short text, empty where it is missing; None for one that is none."""
    if value is None or value != value:
        return ""
    if isinstance(value, bool):
        return "Y" if value else "N"
    if isinstance(value, float):
        if np.isinf(value):
            return None
        value = int(value) if value == int(value) else repr(value)
    if isinstance(value, bytes):
        value = decoded(value)
    text = plain_word(str(value).strip(" \t"))
    return text if len(text.encode()) <= LONGEST_TEXT else None


def decoded(raw: bytes) -> str:
    """Bytes as UTF-8, or as Latin-1 where they are none."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def plain_word(word: str) -> str:
    """`1` for the `1.0` that programs make of codes where some are missing."""
    whole = _WHOLE.fullmatch(word)
    return whole[1] if whole else word
