from __future__ import annotations

from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taxidask.demand.calendar import clock_factor

DIVISORS = [seconds for seconds in range(60, 86_401) if 86_400 % seconds == 0]


def minutes_lived(start: pd.Timestamp, slot: pd.Timedelta, zone: str) -> int:
    """Minutes whose wall clock shows a time in the slot, found by walking through two days of UTC."""
    utc = pd.date_range(start - pd.Timedelta("1D"), start + pd.Timedelta("2D"), freq="1min", tz="UTC")
    wall = utc.tz_convert(ZoneInfo(zone)).tz_localize(None)
    return int(((wall >= start) & (wall < start + slot)).sum())


@given(
    seconds=st.sampled_from(DIVISORS),
    day=st.sampled_from(
        [("2015-03-08", 23), ("2015-11-01", 25), ("2016-03-13", 23), ("2016-11-06", 25), ("2015-07-04", 24)]
    ),
)
def test_the_slots_of_a_day_have_its_hours(seconds, day):
    slot = pd.Timedelta(seconds=seconds)
    times = pd.date_range(day[0], periods=86_400 // seconds, freq=slot)
    factor = clock_factor(times, slot, "America/New_York").astype(float)
    assert factor.sum() * seconds / 3600 == pytest.approx(day[1], abs=1e-4)


@pytest.mark.parametrize("slot", ["36min", "40min", "45min", "90min", "3h"])
@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("America/New_York", "2015-03-08"), ("America/New_York", "2015-11-01"), ("America/Sao_Paulo", "2015-10-18"),
        ("America/Sao_Paulo", "2015-02-21"), ("Australia/Lord_Howe", "2015-10-04"), ("Asia/Kathmandu", "2015-10-04"),
    ],
)  # fmt: skip
def test_each_slot_has_the_minutes_that_were_lived_in_it(slot, zone, day):
    length = pd.Timedelta(slot)
    times = pd.date_range(day, periods=int(pd.Timedelta("1D") / length), freq=length)
    expected = [minutes_lived(time, length, zone) / (length / pd.Timedelta("1min")) for time in times]
    np.testing.assert_allclose(clock_factor(times, length, zone), expected, rtol=1e-6)
