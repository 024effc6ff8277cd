from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from taxidask.compute.executors import ThreadExecutor
from taxidask.errors import LakeError
from taxidask.lake import Lake, sampling, tasks
from taxidask.sample import make_sample
from taxidask.trips import sources, streams

COLUMNS = ["fare_amount", "pickup_datetime"]


@pytest.fixture(scope="module")
def lake(tmp_path_factory) -> Lake:
    """Two months of trips, one without a month in its name that holds a pickup of years before."""
    folder = tmp_path_factory.mktemp("sampling")
    first, second = map(Path, make_sample(folder, start="2015-01", months=2, trips_per_month=4000, faults=0, seed=3))
    lines = second.read_text().splitlines(keepends=True)
    stray = lines[1].replace("2015-02-", "2003-02-")
    assert stray != lines[1]
    (folder / "more trips.csv").write_text("".join([lines[0], stray, *lines[2:]]))
    lake = Lake(folder / "lake")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "ROW_GROUP", 50)
        lake.ingest([first, folder / "more trips.csv"], client=ThreadExecutor(2), errors="report")
    assert lake.trips(columns=COLUMNS)["pickup_datetime"].min().year == 2003
    return lake


def test_all_of_few(lake):
    pd.testing.assert_frame_equal(lake.sample(8000, columns=COLUMNS), lake.trips(columns=COLUMNS))
    pd.testing.assert_frame_equal(lake.sample(10**9), lake.trips())


def test_a_share_of_all(lake):
    some = lake.sample(800, columns=COLUMNS)
    assert 650 <= len(some) <= 950
    pd.testing.assert_frame_equal(some, lake.sample(800, columns=COLUMNS))
    assert some.columns.tolist() == COLUMNS
    assert some["pickup_datetime"].is_monotonic_increasing
    day = some["pickup_datetime"].dt.strftime("%Y-%m-%d").value_counts()
    assert day.reindex(pd.date_range("2015-01-01", "2015-02-28").strftime("%Y-%m-%d")).min() >= 3
    assert day.get("2003-02-01", 0) <= 1


def test_some_groups_of_many(lake, monkeypatch):
    """As of a large lake: few of its row groups are read, of all days, in step with the trips of each."""
    monkeypatch.setattr(sampling, "ROW_GROUP", 50)
    monkeypatch.setattr(sampling, "FEWEST_GROUPS", 40)
    opened, read = [], sampling.read_part
    monkeypatch.setattr(sampling, "read_part", lambda *given: opened.append(given[2].path) or read(*given))
    some = lake.sample(400, columns=COLUMNS)
    assert 300 <= len(some) <= 500
    assert len(opened) == len(set(opened)) <= 3
    every = lake.trips(columns=COLUMNS)
    assert some.merge(every.drop_duplicates(), how="left", indicator=True)["_merge"].eq("both").all()
    half = [np.mean(frame["pickup_datetime"] < "2015-02-01") for frame in (some, every)]
    assert abs(half[0] - half[1]) < 0.1
    assert some["pickup_datetime"].dt.day_of_week.nunique() == 7
    assert some["pickup_datetime"].dt.date.nunique() >= 30
    assert some["pickup_datetime"].dt.year.eq(2003).sum() <= 1


@pytest.mark.parametrize("rows", [0, -1, 1.5, "many", True, None])
def test_no_number_of_rows(lake, rows):
    with pytest.raises(LakeError, match="rows is"):
        lake.sample(rows)


def test_the_same_trips_whatever_blocks_they_were_read_in(lake, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "RANGE_BYTES", 1 << 16)
    monkeypatch.setattr(streams, "RANGE_BYTES", 1 << 16)
    other = Lake(tmp_path / "lake")
    other.ingest(lake.sources()["url"].tolist(), client=ThreadExecutor(2), errors="report", block_size=1 << 16)
    pd.testing.assert_frame_equal(other.sample(800), lake.sample(800))
