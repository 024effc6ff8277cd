"""Hourly weather brought to the slots of a cube."""

from __future__ import annotations

import numpy as np
import pandas as pd

from taxidask.errors import ModelError

COLUMNS = {
    "temp_F": "°F",
    "liq_precp_1hr": "inches in the last hour",
    "snow_depth_in": "inches",
    "wind_spd": "mph",
    "visib_mile": "miles",
}
CARRY = pd.Timedelta(hours=3)  # how long an hour's weather stands in for hours that are not there


def align_weather(weather: pd.DataFrame, times: pd.DatetimeIndex) -> np.ndarray:
    """Weather at each of `times`, as a float32 array (times, 5) of the columns in `COLUMNS`.

    Parameters
    ----------
    weather : DataFrame
        One row per hour, by a `DatetimeIndex` or a column `time` or `pickup_dt` (New York wall-clock time), with the
        columns `temp_F`, `liq_precp_1hr`, `snow_depth_in`, `wind_spd` and `visib_mile`. Others are left aside. It must
        cover every slot, those to be forecast too (there a weather forecast belongs); an hour that is not there or
        holds no value is filled from up to 3 hours before, or after.
    times : DatetimeIndex

    Raises
    ------
    ModelError
        If a column or an hour is missing.
    """
    if not isinstance(weather, pd.DataFrame):
        raise ModelError(f"weather is a {type(weather).__name__}", "give a DataFrame with one row per hour")
    index: pd.Index = weather.index
    if not isinstance(index, pd.DatetimeIndex):
        name = next((name for name in ("time", "pickup_dt") if name in weather.columns), None)
        if name is None:
            raise ModelError(
                "weather has no times", "give it a DatetimeIndex or a column `time` (New York wall-clock time)"
            )
        index = pd.DatetimeIndex(weather[name])
    absent = [name for name in COLUMNS if name not in weather.columns]
    if absent:
        wanted = ", ".join(f"{name} ({unit})" for name, unit in COLUMNS.items())
        raise ModelError(f"weather has no column {', '.join(absent)}", f"its columns must be {wanted}")
    values = weather[list(COLUMNS)].astype("float64").set_axis(pd.DatetimeIndex(index), axis=0)
    values = values[~values.index.duplicated(keep="last")].sort_index().dropna(how="all").ffill()
    out = np.full((len(times), len(COLUMNS)), np.nan, np.float32)
    if len(values):
        keys = np.asarray(pd.DatetimeIndex(values.index).as_unit("ns").asi8)
        wanted_at = np.asarray(times.as_unit("ns").asi8)
        before = np.searchsorted(keys, wanted_at, "right") - 1
        after = np.minimum(before + 1, len(keys) - 1)
        limit = CARRY.as_unit("ns").value
        use = np.where((before >= 0) & (wanted_at - keys[np.maximum(before, 0)] <= limit), before, after)
        near = np.abs(keys[use] - wanted_at) <= limit
        out[near] = values.to_numpy(np.float32)[use[near]]
    bad = np.flatnonzero(np.isnan(out).any(1))
    if len(bad):
        raise ModelError(
            f"weather is missing for {len(bad):,} of {len(times):,} slots, from {times[bad[0]]} to {times[bad[-1]]}",
            "add those hours (for slots to be forecast: from a weather forecast), or fit a model without weather",
        )
    return out
