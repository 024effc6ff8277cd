"""Dates of spreadsheets: month/day/year, unless the file itself says otherwise; never a wrong date in silence."""

from __future__ import annotations

import io

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import taxidask as td
from taxidask.errors import SourceError
from taxidask.trips.eras import ERAS

HEADER = ",".join(ERAS[4].header)
ROW = "1,{0} 19:05,{0} 19:23,1,1.59,-73.99,40.75,1,N,-73.97,40.75,1,12,1,0.5,3.25,0,0.3,17.05"


def content(dates, kind):
    text = "\n".join([HEADER, *(ROW.format(date) for date in dates), ""]).encode()
    if kind == "csv":
        return text
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pandas(pd.read_csv(io.BytesIO(text)), preserve_index=False), sink)
    return sink.getvalue().to_pybytes()


@pytest.fixture(params=["csv", "parquet"])
def source(request, tmp_path):
    def write(dates, name="trips"):
        path = tmp_path / f"{name}.{request.param}"
        path.write_bytes(content(dates, request.param))
        return path

    return write


def test_where_no_row_tells_the_order_it_is_said_which_was_taken(source, tmp_path):
    lake, path = td.Lake(tmp_path / "lake"), source(["1/4/2015", "2/2/2015", "5/6/2015"])
    said = "4 times are like 1/4/2018 and none tells the order: they were taken as month/day/year"
    assert said in lake.ingest(path).sources[0].note
    assert said in lake.sources()["note"][0]
    assert said in td.count_trips(path).ingest.sources[0].note
    assert [f"{time:%m-%d}" for time in lake.trips()["pickup_datetime"]] == ["01-04", "02-02", "05-06"]


@pytest.mark.parametrize("dates", [["1/4/2015", "1/13/2015"], ["2/2/2015", "3/3/2015"], ["2015-01-04", "2015-05-06"]])
def test_nothing_is_said_where_it_is_known(source, tmp_path, dates):
    assert "month/day" not in td.Lake(tmp_path / "lake").ingest(source(dates)).sources[0].note


def test_a_month_in_the_name_tells(source, tmp_path):
    [one] = td.Lake(tmp_path / "lake").ingest(source(["1/4/2015", "4/1/2015", "1/5/2015"], "2015-01")).sources
    assert (one.kept, one.rejected["outside_month"]) == (2, 1)
    assert "month/day" not in one.note


@pytest.mark.parametrize("dates", [["13/1/2015", "1/4/2015"], ["13/1/2015", "1/13/2015", "1/4/2015"]])
def test_days_before_months_are_refused_and_nothing_is_left(source, tmp_path, dates):
    lake, good = td.Lake(tmp_path / "lake"), source(["2015-01-04"], "good")
    path = source(dates)
    first, second = lake.ingest([path, good], errors="report").sources
    assert (first.rows, second.kept) == (0, 1)
    assert "2 times like 13/1/2018" in str(first.error)
    assert lake.sources()["url"].tolist() == [str(good)]
    assert len(list((tmp_path / "lake").glob("[tr]*s/**/*.parquet"))) == 1
    for read in (td.read_trips, td.count_trips):
        with pytest.raises(SourceError, match="with the day before the month"):
            read(path)


def test_few_rows_that_contradict_most_are_set_aside_and_said(source, tmp_path):
    dates = ["1/13/2015"] * 3 + ["13/1/2015", "1/4/2015"]
    [one] = td.Lake(tmp_path / "lake").ingest(source(dates)).sources
    assert (one.kept, one.rejected["bad_datetime"]) == (4, 1)
    assert "6 times are like 1/13/2018 and 2 like 13/1/2018, which are not read: the 2 that may be either" in one.note
