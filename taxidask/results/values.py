"""Values as a store keeps them: plain, finite, alike in every store; and how many bytes DynamoDB counts for them.

A value is None, bool, str, int, float, or a list or dict of those. DynamoDB knows one kind of number, so a float that
is a whole number comes back as an int (``2.0 == 2``); every other float comes back exactly, bit for bit. NaN and
infinity are no numbers to DynamoDB and become None. Times become ISO strings as they are (New York wall-clock time),
lengths of time become seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, is_dataclass
from datetime import date, timedelta
from enum import Enum
from pathlib import PurePath
from typing import Any

import numpy as np
import pandas as pd

from taxidask.errors import StoreError

MAX_ITEM_BYTES = 400 * 1024
_MAX_INT = 2**63
_MAX_DEPTH = 28  # DynamoDB takes 32, and an item wraps a value in a few
# DynamoDB keeps magnitudes from 1E-130 to 9.99…E+125
_TINY, _HUGE = 1e-130, 1e125
_SCALARS = (str, bool, int, float, type(None))


def plain(value: Any, where: str = "value") -> Any:
    """The value as a store keeps it.

    Parameters
    ----------
    value : Any
        Scalars of Python, NumPy and pandas, times, paths, dataclasses, and sequences and mappings of them.
    where : str
        How messages call it.

    Raises
    ------
    StoreError
        A type no store can keep, a number out of range, or an empty or doubled name.

    Examples
    --------
    >>> plain({"rows": np.int64(3), "share": float("nan"), "start": pd.Timestamp("2016-01-01 00:30")})
    {'rows': 3, 'share': None, 'start': '2016-01-01T00:30:00'}
    """
    result = _plain(value, where)
    if depth(result) > _MAX_DEPTH:
        raise StoreError(f"{where} is nested deeper than {_MAX_DEPTH} levels", "flatten it: DynamoDB takes 32 levels")
    return result


def _plain(value: Any, where: str) -> Any:
    if value is None or type(value) is bool:
        return value
    if isinstance(value, str) and not isinstance(value, Enum):
        return str(value).encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Enum):
        return _plain(value.value, where)
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return _integer(int(value), where)
    if isinstance(value, (float, np.floating)):
        return _float(float(value), where)
    return _other(value, where)


def _integer(number: int, where: str) -> int:
    if not -_MAX_INT <= number < _MAX_INT:
        raise StoreError(f"{where} is {number}, more than the 64 bits a store keeps", "write it as text")
    return number


def _float(number: float, where: str) -> float | int | None:
    if not math.isfinite(number):
        return None
    if abs(number) < _TINY:
        return 0
    if abs(number) > _HUGE:
        raise StoreError(f"{where} is {number!r}, more than the 1e125 a store keeps", "write it as text")
    if number.is_integer() and -_MAX_INT <= number < _MAX_INT:
        return int(number)
    return number


def _other(value: Any, where: str) -> Any:
    if value is pd.NaT or value is pd.NA:
        return None
    if isinstance(value, np.datetime64):
        return _plain(pd.Timestamp(value), where)
    if isinstance(value, np.timedelta64):
        return _plain(pd.Timedelta(value), where)
    if isinstance(value, date):  # and so datetime and pandas.Timestamp
        return value.isoformat()
    if isinstance(value, timedelta):
        return _float(value.total_seconds(), where)
    if isinstance(value, PurePath):
        return _plain(str(value), where)
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value), where)
    if isinstance(value, Mapping):
        return _mapping(value, where)
    if isinstance(value, (np.ndarray, pd.Series, pd.Index)):
        return _plain(value.tolist(), where)
    if isinstance(value, (list, tuple)):
        return [_plain(entry, f"{where}[{i}]") for i, entry in enumerate(value)]
    if isinstance(value, (set, frozenset)):
        return sorted((_plain(entry, where) for entry in value), key=lambda entry: (str(type(entry)), str(entry)))
    raise StoreError(
        f"{where} is a {type(value).__name__}, which no store can keep",
        "use numbers, text, times, and lists and dicts of them",
    )


def _mapping(value: Mapping[Any, Any], where: str) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, entry in value.items():
        name = _plain(key, f"a name in {where}")
        if not isinstance(name, str):
            name = str(name)
        if not name:
            raise StoreError(f"{where} has an empty name", "give every entry a name")
        if name in result:
            raise StoreError(f"{where} has two entries called {name!r}", "give every entry its own name")
        result[name] = _plain(entry, f"{where}.{name}")
    return result


def same(a: Any, b: Any) -> bool:
    """Whether two plain values are equal as DynamoDB compares them: by kind and value, so True is not 1."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def six_digits(values: Any) -> np.ndarray:
    """Round to six significant digits; below 1e-9 is zero, NaN and infinity are NaN.

    Six digits are more than any forecast of trips knows, and keep its items small.

    Examples
    --------
    >>> six_digits([12.3456789, 0.1 + 0.2, 1234567.8, 1e-12]).tolist()
    [12.3457, 0.3, 1234570.0, 0.0]
    """
    array = np.asarray(values, dtype=np.float64)
    result = np.full(array.shape, np.nan)
    known = np.isfinite(array)
    result[known] = 0.0
    some = known & (np.abs(np.where(known, array, 0.0)) >= 1e-9)
    x = array[some]
    places = 5 - np.floor(np.log10(np.abs(x))).astype(np.int64)
    up, down = np.clip(places, 0, 15), np.clip(-places, 0, 22)
    # powers of ten up to 22 are exact, so that the division gives the float nearest to the decimal
    result[some] = np.rint(x * 10.0**up / 10.0**down) / 10.0**up * 10.0**down
    return result


def numbers_or_none(values: np.ndarray) -> list[Any]:
    """The array as a list, NaN as None."""
    out = values.tolist()
    if values.dtype.kind == "f" and np.isnan(values).any():
        return [None if x != x else x for x in out]
    return out


# -- sizes -------------------------------------------------------------------------------------------------------------


def number_bytes(text: str) -> int:
    """At most how many bytes DynamoDB counts for a number: one for two digits, one more, one for a minus.

    Examples
    --------
    >>> number_bytes("12.3457"), number_bytes("-3")
    (5, 3)
    """
    minus = text[0] == "-"
    if "e" in text or minus:
        text = text.lstrip("-").partition("e")[0]
    return len(text.replace(".", "").strip("0")) // 2 + 2 + minus


def value_bytes(value: Any) -> int:
    """At most how many bytes DynamoDB counts for a plain value.

    Text counts its UTF-8 bytes, true, false and null one byte, a list or map three bytes and one more per entry.
    """
    if type(value) is float:  # by far the most
        return number_bytes(repr(value))
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode())
    if value is None or value is True or value is False:
        return 1
    if isinstance(value, int):
        return number_bytes(repr(value))
    if isinstance(value, list):
        return 3 + len(value) + sum(map(value_bytes, value))
    return 3 + len(value) + item_bytes(value)


def item_bytes(item: Mapping[str, Any]) -> int:
    """At most how many bytes DynamoDB counts for an item: names and values."""
    return sum(len(name.encode()) + value_bytes(value) for name, value in item.items())


def sized(item: dict[str, Any]) -> int:
    """The item's bytes as DynamoDB counts them; an error when they are too many for it."""
    size = item_bytes(item)
    if size > MAX_ITEM_BYTES:
        raise StoreError(
            f"{item['pk']} / {item['sk']} has {size / 1024:,.0f} KB, an item may have {MAX_ITEM_BYTES // 1024} KB",
            "publish less in one piece: larger slots, shorter lists",
        )
    return size


def write_units(size: int) -> int:
    """Write units of an item: one for each started KiB."""
    return max(1, -(-size // 1024))


def depth(value: Any) -> int:
    """How deep lists and maps are nested."""
    if isinstance(value, _SCALARS):
        return 0
    inner: Iterable[Any] = value.values() if isinstance(value, dict) else value
    return 1 + max(map(depth, inner), default=0)
