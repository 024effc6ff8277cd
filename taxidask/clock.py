"""New York wall-clock time of whatever comes in: naive, with a zone, or text."""

from __future__ import annotations

import re
from numbers import Number
from typing import Any

import pandas as pd

ZONE = "America/New_York"
# pandas fills in what a text leaves out, and guesses: "08:00" is today's, "15-01-02" of 2002, "25/12/2018" Christmas
_DATED = re.compile(
    r"\s*(\d{4}\s*$|\d{4}[-/]\d{1,2}([-/]\d{1,2})?(?!\d)|\d{8}(?!\d)|(0?[1-9]|1[0-2])/\d{1,2}/\d{4}(?!\d)"
    r"|\d{4} [A-Za-z]{3,9} \d{1,2}(?!\d)|[A-Za-z]{3,9} \d{1,2},? \d{4}(?!\d)|\d{1,2}[ -][A-Za-z]{3,9}[ -]\d{4}(?!\d))"
)


def wall_clock(value: Any) -> pd.Timestamp:
    """A moment as New York's clocks show it: one with a zone is converted, one without is taken as it stands.

    Raises
    ------
    ValueError, TypeError
        If it is no time, or none at all; also for numbers, and for texts without a whole date: seconds, hours of what?

    Examples
    --------
    >>> wall_clock("2015-03-07 20:00"), wall_clock("2015-03-07T20:00:00Z")
    (Timestamp('2015-03-07 20:00:00'), Timestamp('2015-03-07 15:00:00'))
    """
    if isinstance(value, Number):
        raise TypeError("a number is no time")
    if isinstance(value, str) and not _DATED.match(value):
        raise ValueError(f"{value!r:.100} names no year, month and day")
    moment = pd.Timestamp(value)
    if moment is pd.NaT:
        raise ValueError("no time")
    return moment.tz_convert(ZONE).tz_localize(None) if moment.tz is not None else moment


def wall_clocks(column: pd.Series[Any]) -> pd.Series[Any]:
    """The same for a column of times, texts or both; NaT for what is no time, also for numbers: seconds of what?"""
    if not pd.api.types.is_datetime64_any_dtype(column.dtype):
        if pd.api.types.is_numeric_dtype(column.dtype):
            return pd.Series(pd.NaT, index=column.index, dtype="datetime64[s]")
        return _parsed(column)
    if getattr(column.dtype, "tz", None) is not None:
        return column.dt.tz_convert(ZONE).dt.tz_localize(None)
    return column


def _parsed(column: pd.Series[Any]) -> pd.Series[Any]:
    """Times of texts and objects: as published at once, all others one by one."""
    if pd.api.types.is_string_dtype(column.dtype) and column.dtype != object:
        quick = pd.to_datetime(column, errors="coerce", format="%Y-%m-%d %H:%M:%S")
        quick = quick.mask(column.isin(["now", "today"]))  # which pandas takes whatever the format
        other = quick.isna() & column.notna()
        if other.any():
            quick[other] = pd.to_datetime(column[other].astype(object).map(_plain), errors="coerce", format="mixed")
        return quick
    return pd.to_datetime(column.astype(object).map(_plain), errors="coerce", format="mixed")


def _plain(value: Any) -> pd.Timestamp | None:
    """One object as something `to_datetime` takes without failing for its neighbours."""
    if isinstance(value, (bytes, int, float, bool, complex)):
        return None
    try:
        return wall_clock(value)
    except (ValueError, TypeError, OverflowError):
        return None
