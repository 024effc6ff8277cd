"""The start of a slot, checked and told."""

from __future__ import annotations

import pandas as pd

from taxidask.clock import wall_clock
from taxidask.errors import CubeError
from taxidask.units import slot_name


def slot_start(name: str, value: str | pd.Timestamp, slot: pd.Timedelta) -> pd.Timestamp:
    """Return the start of a slot, checked; `name` is what messages call it."""
    try:
        moment = wall_clock(value)
    except (ValueError, TypeError) as error:
        raise CubeError(f"{name}={value!r} is no time", "write it like 2015-01-31 14:30") from error
    if moment != moment.floor(slot):
        raise CubeError(
            f"{name} {moment} is not the start of a slot of {slot_name(slot)}",
            f"use {moment_text(moment.floor(slot))} or {moment_text(moment.ceil(slot))}",
        )
    return moment.as_unit("us")


def moment_text(moment: pd.Timestamp) -> str:
    """Return a time as people write it, without seconds where there are none."""
    return f"{moment:%Y-%m-%d %H:%M}" if moment.second == 0 else f"{moment:%Y-%m-%d %H:%M:%S}"
