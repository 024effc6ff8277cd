"""Hourly weather brought to the slots of a cube."""

from __future__ import annotations

import numpy as np
import pandas as pd

from taxidask.clock import wall_clocks
from taxidask.errors import ModelError

COLUMNS = {
    "temp_F": "°F",
    "liq_precp_1hr": "inches in the last hour",
    "snow_depth_in": "inches",
    "wind_spd": "mph",
    "visib_mile": "miles",
}
# what no hour of New York has come near; beyond it a number is in another unit or stands for "unknown"
BOUNDS = {
    "temp_F": (-60.0, 140.0),
    "liq_precp_1hr": (0.0, 100.0),
    "snow_depth_in": (0.0, 200.0),
    "wind_spd": (0.0, 250.0),
    "visib_mile": (0.0, 200.0),
}
CARRY = pd.Timedelta(hours=3)  # how long an hour's weather stands in for hours that are not there


def align_weather(weather: pd.DataFrame, times: pd.DatetimeIndex) -> np.ndarray:
    """Weather at each of `times`, as a float32 array (times, 5) of the columns in `COLUMNS`.

    Parameters
    ----------
    weather : DataFrame
        One row per hour, by a `DatetimeIndex` or a column `time` or `pickup_dt` (New York wall-clock time; times with a
        zone are converted), with the columns `temp_F`, `liq_precp_1hr`, `snow_depth_in`, `wind_spd` and `visib_mile`.
        Others are left aside. It must cover every slot, those to be forecast too (there a weather forecast belongs);
        what an hour does not hold is filled, column by column, from up to 3 hours before, or after.
    times : DatetimeIndex

    Raises
    ------
    ModelError
        If a column is missing, or an hour of one, a time cannot be read, or a number is far from any weather.
    """
    if not isinstance(weather, pd.DataFrame):
        raise ModelError(f"weather is a {type(weather).__name__}", "give a DataFrame with one row per hour")
    if not weather.columns.is_unique:
        twice = weather.columns[weather.columns.duplicated()][0]
        raise ModelError(f"weather has more than one column {twice}", "rename or drop all but one")
    index: pd.Index = weather.index
    if not isinstance(index, pd.DatetimeIndex):
        name = next((name for name in ("time", "pickup_dt") if name in weather.columns), None)
        if name is None:
            raise ModelError("weather has no times", "give it a DatetimeIndex or a column `time`")
        index = pd.Index(weather[name])
    hours = wall_clocks(pd.Series(index))
    if hours.isna().any():
        value = index[int(np.flatnonzero(hours.isna())[0])]
        raise ModelError(f"weather has a time {value!r}, which is none", 'write them like "2015-01-31 14:00"')
    absent = [name for name in COLUMNS if name not in weather.columns]
    if absent:
        wanted = ", ".join(f"{name} ({unit})" for name, unit in COLUMNS.items())
        raise ModelError(f"weather has no column {', '.join(absent)}", f"its columns must be {wanted}")
    try:
        numbers = weather[list(COLUMNS)].astype("float64")
    except (ValueError, TypeError) as error:
        raise ModelError(f"weather holds what is no number: {error}", "leave unknown values empty") from error
    for name, (least, most) in BOUNDS.items():
        far = np.flatnonzero((numbers[name] < least) | (numbers[name] > most))
        if len(far):
            raise ModelError(
                f"weather has {name} {numbers[name].iloc[far[0]]:g} at {hours.iloc[far[0]]} "
                f"and {len(far):,} such in all: it is given in {COLUMNS[name]}, from {least:g} to {most:g}",
                "convert the column, or leave unknown values empty",
            )
    values = numbers.set_axis(pd.DatetimeIndex(hours).as_unit("s"), axis=0)
    values = values[~values.index.duplicated(keep="last")].sort_index()
    wanted_at = times.as_unit("s")
    out = np.stack([_carried(values[name].dropna(), wanted_at) for name in COLUMNS], axis=1)
    bad = np.isnan(out)
    if bad.any():
        slots = np.flatnonzero(bad.any(1))
        lacking = [name for name, lacks in zip(COLUMNS, bad.any(0), strict=True) if lacks]
        which = "" if len(lacking) == len(COLUMNS) else f" ({', '.join(lacking)})"
        raise ModelError(
            f"weather is missing for {len(slots):,} of {len(times):,} slots, "
            f"from {times[slots[0]]} to {times[slots[-1]]}{which}",
            "add those hours (for slots to be forecast: from a weather forecast), or fit a model without weather",
        )
    return out


def _carried(values: pd.Series, times: pd.DatetimeIndex) -> np.ndarray:
    """One column at each of `times`: the last value of up to 3 hours before, else the next of up to 3 hours after."""
    before = values.reindex(times, method="ffill", tolerance=CARRY)
    return before.fillna(values.reindex(times, method="bfill", tolerance=CARRY)).to_numpy(np.float32)
