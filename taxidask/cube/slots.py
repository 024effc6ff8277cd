"""Slots: fixed lengths of time of which a day is a whole number."""

from __future__ import annotations

import pandas as pd

from taxidask.errors import CubeError

DAY = pd.Timedelta(days=1)


def parse_slot(slot: str | pd.Timedelta) -> pd.Timedelta:
    """Return a slot's length, checked: whole seconds, and a day is a whole number of slots.

    Examples
    --------
    >>> parse_slot("30min")
    Timedelta('0 days 00:30:00')
    >>> parse_slot("7min")
    Traceback (most recent call last):
    taxidask.errors.CubeError: a day is no whole number of slots of '7min'; use a slot such as 15min, 30min, 60min or 1D
    """
    remedy = "use a slot such as 15min, 30min, 60min or 1D"
    try:
        length = pd.Timedelta(slot)
    except (ValueError, TypeError) as error:
        raise CubeError(f"{slot!r} is no length of a slot", remedy) from error
    if pd.isna(length) or length <= pd.Timedelta(0) or length % pd.Timedelta(seconds=1):
        raise CubeError(f"{slot!r} is no length of a slot", remedy)
    if DAY % length:
        raise CubeError(f"a day is no whole number of slots of {slot!r}", remedy)
    return length.as_unit("s")


def slot_name(slot: pd.Timedelta) -> str:
    """Return a slot's length as text that `parse_slot` reads.

    Examples
    --------
    >>> slot_name(pd.Timedelta("0.5h")), slot_name(pd.Timedelta("90s")), slot_name(pd.Timedelta("1D"))
    ('30min', '90s', '1440min')
    """
    seconds = int(slot.total_seconds())
    return f"{seconds}s" if seconds % 60 else f"{seconds // 60}min"


def slot_start(name: str, value: str | pd.Timestamp, slot: pd.Timedelta) -> pd.Timestamp:
    """Return the start of a slot, checked; `name` is what messages call it."""
    try:
        moment = pd.Timestamp(value)
    except (ValueError, TypeError) as error:
        raise CubeError(f"{name}={value!r} is no time", "write it like 2015-01-31 14:30") from error
    if pd.isna(moment):
        raise CubeError(f"{name}={value!r} is no time", "write it like 2015-01-31 14:30")
    if moment.tzinfo is not None:
        raise CubeError(
            f"{name} {moment} has a time zone",
            "cubes count New York wall-clock time: moment.tz_convert('America/New_York').tz_localize(None)",
        )
    if moment != moment.floor(slot):
        raise CubeError(
            f"{name} {moment} is not the start of a slot of {slot_name(slot)}",
            f"use {moment_text(moment.floor(slot))} or {moment_text(moment.ceil(slot))}",
        )
    return moment.as_unit("us")


def moment_text(moment: pd.Timestamp) -> str:
    """Return a time as people write it, without seconds where there are none."""
    return f"{moment:%Y-%m-%d %H:%M}" if moment.second == 0 else f"{moment:%Y-%m-%d %H:%M:%S}"


def slot_seconds_of(slot: str | pd.Timedelta) -> int:
    """Return a slot's length in seconds, checked as `parse_slot` does.

    Examples
    --------
    >>> slot_seconds_of("30min")
    1800
    """
    return int(parse_slot(slot).total_seconds())
