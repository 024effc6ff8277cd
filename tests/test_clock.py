from __future__ import annotations

import pandas as pd
import pytest

from taxidask.clock import wall_clock, wall_clocks


@pytest.mark.parametrize(
    "text",
    [
        "2015-03-07 20:00:00", "2015-03-07T20:00", "2015-3-7 20:00", "20150307T200000", "2015/03/07 20:00",
        "3/7/2015 8:00 PM", "03/07/2015 20:00:00", "2015 Mar 07 08:00:00 PM", "7 March 2015 20:00",
        "2015-03-08T01:00:00Z", "2015-03-07 20:00:00-05:00", " 2015-03-07 20:00 ", "March 7, 2015 20:00",
    ],
)  # fmt: skip
def test_a_whole_date_is_read(text):
    assert wall_clock(text) == wall_clocks(pd.Series([text]))[0] == pd.Timestamp("2015-03-07 20:00")


def test_a_year_or_a_month_is_its_beginning():
    assert wall_clock("2015") == pd.Timestamp("2015-01-01")
    assert wall_clock("2015-03") == pd.Timestamp("2015-03-01")


@pytest.mark.parametrize(
    "text",
    [
        "08:00",
        "8 pm",
        "now",
        "today",
        "March",
        "Sat",
        "15-01-02",
        "1/2/15",
        "25/12/2018",
        "12",
        "201503",
        "",
        "March 2015",
    ],
)
def test_what_would_be_guessed_is_no_time(text):
    with pytest.raises(ValueError, match="names no year, month and day"):
        wall_clock(text)
    assert wall_clocks(pd.Series([text, "2015-03-07 20:00:00"])).isna().tolist() == [True, False]
