"""The Data page: what the store says of the lake, and lines of the lake itself when they are asked for."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import taxidask as td
from taxidask.app.calendar import Calendar, by_day
from taxidask.app.pages.data import Data, by_month_html, covered_html, sample_html, sources_html
from taxidask.app.state import AppState
from taxidask.results import Store
from taxidask.settings import Settings

EVIL = "<img src=x onerror=alert(1)>.csv"


def looked(store: Store, lake: str = "lake") -> Data:
    page = Data(AppState(store, Settings(store=store.url, lake=lake)))
    asyncio.run(page.refresh())
    return page


def test_rows_add_up_and_every_day_is_a_square(filled: Store) -> None:
    page = looked(filled)
    assert not page.notice.visible
    assert "1,029 kept + 21 rejected" in page.numbers.object
    assert "11 Jan 2016 to 31 Jan 2016" in page.covered.object
    assert len(page.calendar.source.data["day"]) == 21
    day = filled.get_demand(filled.get_latest()["space"]).groupby(lambda _: 0)["pickups"].sum()[0]
    assert sum(page.calendar.source.data["trips"]) == day
    assert "outside city" in page.by_month.object
    assert "b.csv" in page.sources.object
    assert list(page.source.options) == ["Any source", "a.csv", "b.csv"]


def test_an_empty_store_says_how_to_start(store: Store) -> None:
    store.create()
    page = looked(store)
    assert "taxidask run" in page.notice.object
    assert not page.sources_card.visible


def test_rejected_lines_are_read_from_the_apps_lake_only_when_asked(filled: Store, tmp_path: Path) -> None:
    files = td.make_sample(str(tmp_path / "trips"), start="2015-03", trips_per_month=2000)
    lake = td.Lake(str(tmp_path / "lake"))
    lake.ingest(files, space="new_york")
    filled.put_ingest(lake.url, lake.sources().to_dict("records"))
    filled.put_latest({**filled.get_latest(), "lake": lake.url})
    page = looked(filled)  # of another lake
    asyncio.run(page._look(None))
    assert f"taxidask app --store {filled.url} --lake {lake.url}" in page.sample.object
    page = looked(filled, lake.url)
    page.reason.value = "outside_city"
    asyncio.run(page._look(None))
    assert "<td class='text'>outside city</td>" in page.sample.object
    assert page.sample.object.count("<tr>") == 1 + len(lake.rejects(reason="outside_city", limit=20))
    assert "<th scope='col' class='number'>malformed</th>" in page.by_month.object


def test_months_are_summed_and_hostile_names_are_text() -> None:
    sources = pd.DataFrame(
        {
            "url": [f"/x/{EVIL}", "/x/b.csv", "/x/c.csv"],
            "month": [EVIL, "2015-02", "2015-02"],
            "rows": [10, 20, 30],
            "kept": [9, 18, 30],
            "rejected": [1, 2, 0],
            "malformed": [1, 2, 0],
            "note": [EVIL, None, ""],
            "bytes": [1.0, 2.0, None],
        }
    )
    months = by_month_html(sources)
    assert (
        "2015-02</span></td><td class='number'>50</td><td class='number'>2</td><td class='number'>4.00%</td>" in months
    )
    lines = pd.DataFrame(
        {"reason": ["malformed"], "source": [EVIL], "offset": [7], "line": [EVIL + "\x1b[2J" + "x" * 600]}
    )
    for text in (months, sources_html(sources), sample_html(lines)):
        assert "<img" not in text
    assert "\x1b" not in sample_html(lines)
    assert "characters)" in sample_html(lines)
    many = pd.concat([sources] * 150)
    assert "150 more are not listed here" in sources_html(many)


def test_gaps_are_told_in_words_and_drawn_as_outlines() -> None:
    times = pd.date_range("2014-12-30", "2015-01-05", freq="12h", inclusive="left")
    observed = pd.DataFrame({"time": times, "pickups": np.arange(len(times), dtype=float)})
    observed.loc[observed["time"].dt.day.isin([1, 2]), "pickups"] = np.nan
    days = by_day(observed, "2014-12-29", "2015-01-06")
    assert len(days) == 8
    assert days["2014-12-30"] == 1.0
    assert days[["2014-12-29", "2015-01-01", "2015-01-02", "2015-01-05"]].isna().all()
    text = covered_html(days)
    assert "4 days without data" in text
    assert "29 Dec 2014, 1 Jan 2015 – 2 Jan 2015, 5 Jan 2015" in text
    calendar = Calendar()
    calendar.update(days)
    data = calendar.source.data
    assert [fill is None for fill in data["fill"]] == days.isna().tolist()
    assert data["told"][0] == "no data"
    assert set(data["week"]) <= set(range(54))
    # 1 January 2015 was a Thursday: the fourth row of the newer year, which is on top
    assert (data["week"][3], data["row"][3]) == (0, -4)
    calendar.update(by_day(observed.iloc[:0], None, None))
    assert len(data["week"]) == 8


@pytest.mark.parametrize("first", ["2015-01-01", "2012-12-31"])
def test_every_week_of_every_year_has_its_column(first: str) -> None:
    calendar = Calendar()
    days = pd.Series(1.0, index=pd.date_range(first, periods=800))
    calendar.update(days)
    places = list(zip(calendar.source.data["week"], calendar.source.data["row"], strict=True))
    assert len(set(places)) == 800
