"""What the clock and the calendar say of a cube's slots: slots of a day, holidays, hours lived twice or not at all."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from taxidask.errors import ModelError

DAY_SECONDS = 86_400
_QUARTER = 900


def slots_per_day(slot: pd.Timedelta) -> int:
    """Slots in a day; a slot that does not divide a day cannot have a daily profile.

    >>> slots_per_day(pd.Timedelta("30min"))
    48
    """
    seconds = int(slot.total_seconds())
    if seconds <= 0 or DAY_SECONDS % seconds:
        raise ModelError(f"a slot of {slot} does not divide a day", "count in slots of 15, 30 or 60 minutes")
    return DAY_SECONDS // seconds


def days_told(slots: int, day: int) -> str:
    """How many days slots are, in words: never more than they are.

    >>> days_told(719, 48), days_told(720, 48), days_told(95, 48)
    ('14.9', '15', '1.9')
    """
    return f"{slots * 10 // day / 10:g}"


# Public holidays on which New York drives as on any day: taxi trips of 2010 to 2014 were 0.91 to 1.09 of those on the
# same weekday of four weeks before and after, as on most ordinary days (0.90 to 1.05). Of the others the mildest are
# Columbus Day (0.91 to 0.95) and Washington's Birthday (0.89 to 0.93).
_ORDINARY = {"Election Day", "Lincoln's Birthday", "Susan B. Anthony Day", "Veterans Day"}


def holiday_days(days: pd.DatetimeIndex, calendar: str | None) -> np.ndarray:
    """Which of `days` are public holidays of `calendar` ("US-NY": country, subdivision) that change the traffic; none
    if it is None.

    >>> holiday_days(pd.DatetimeIndex(["2015-02-12", "2015-02-16", "2015-07-03"]), "US-NY").tolist()
    [False, True, True]
    """
    if calendar is None:
        return np.zeros(len(days), bool)
    import holidays

    country, _, part = calendar.partition("-")
    try:
        known = holidays.country_holidays(country, subdiv=part or None, years=sorted(set(days.year)))
    except NotImplementedError as error:
        raise ModelError(f"no holidays are known for {calendar!r:.100}", "name them like 'US-NY', or None") from error
    names = [known.get_list(day) for day in days.date]
    return np.array([any(name.removesuffix(" (observed)") not in _ORDINARY for name in day) for day in names], bool)


def clock_factor(times: pd.DatetimeIndex, slot: pd.Timedelta, timezone: str | None) -> np.ndarray:
    """How much of each slot there really was on the clock of `timezone`; 1 on all but two nights of a year.

    >>> times = pd.date_range("2015-03-08 01:00", periods=3, freq="60min")
    >>> clock_factor(times, pd.Timedelta("60min"), "America/New_York").tolist()
    [1.0, 0.0, 1.0]
    >>> clock_factor(times + pd.Timedelta(days=238), pd.Timedelta("60min"), "America/New_York").tolist()
    [2.0, 1.0, 1.0]
    """
    factor = np.ones(len(times), np.float32)
    if timezone is None or not len(times):
        return factor
    try:
        odd = _odd_days(times, timezone)
        where = np.flatnonzero(times.normalize().isin(odd))
        seconds = int(slot.total_seconds())
        # Clocks change at quarters of an hour: a part of this length lies on one side of each.
        step = math.gcd(seconds, _QUARTER)
        at = times[where].repeat(seconds // step) + pd.to_timedelta(
            np.tile(np.arange(0, seconds, step), len(where)), unit="s"
        )
        twice = at.tz_localize(timezone, ambiguous="NaT", nonexistent="shift_forward").isna()
        never = at.tz_localize(timezone, ambiguous=np.ones(len(at), bool), nonexistent="NaT").isna()
    except (KeyError, ValueError, IndexError, OSError) as error:  # what zoneinfo raises for an unknown key
        raise ModelError(f"no time zone is known by the name {timezone!r:.100}", "America/New_York is one") from error
    lived = 1.0 + np.asarray(twice, float) - np.asarray(never, float)
    factor[where] = lived.reshape(len(where), seconds // step).mean(axis=1)
    return factor


def _odd_days(times: pd.DatetimeIndex, timezone: str) -> pd.DatetimeIndex:
    """Days of `times` that have more or fewer than 24 hours."""
    days = times.normalize().unique()
    begin, end = (
        at.tz_localize(timezone, ambiguous=np.ones(len(at), bool), nonexistent="shift_forward")
        for at in (days, days + pd.Timedelta(days=1))
    )
    return days[(end - begin) != pd.Timedelta(days=1)]
