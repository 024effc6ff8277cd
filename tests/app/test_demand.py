from __future__ import annotations

import asyncio
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

import taxidask as td
from taxidask.app.citymap import COUNTS, DIFFERENCES, CityMap
from taxidask.app.days import read_day
from taxidask.app.pages.demand import Demand
from taxidask.app.state import AppState
from taxidask.demand import Forecast
from taxidask.results import Store
from taxidask.settings import Settings


def shown(store: Store, **values: Any) -> Demand:
    """The page of a visitor who chose something."""
    page = Demand(AppState(store, Settings()))

    async def visit() -> None:
        await page.refresh()
        for name, value in values.items():
            getattr(page, name).value = value
        await page.refresh()

    asyncio.run(visit())
    return page


def coloured(page: Demand) -> list[float]:
    """The numbers that the colours stand for."""
    shades = np.array(page.map.source.data["shade"])
    return (np.sign(shades) * shades**2).round(3).tolist()


@pytest.fixture
def cube(filled: Store) -> td.Cube:
    """What the filled store was filled with; its last two days are as forecast by a backtest, one trip too many."""
    space = td.Grid(2, 3, west=-74.02, south=40.70, east=-73.96, north=40.74)
    frames = [filled.get_demand(space.key, cell) for cell in range(6)]
    counts = np.stack([frame[["pickups", "dropoffs"]].to_numpy() for frame in frames], axis=1).astype(np.int32)
    cube = td.Cube(counts, start=frames[0]["time"][0], slot="30min", space=space)
    mean = counts[-96:].astype(np.float32) + np.float32(1)
    back = Forecast(cube.times[-96:], mean, mean * np.float32(0.5), mean * np.float32(2), space, cube.slot)
    filled.put_forecast_map(back, model="demand", run="r", backtest=True)
    return cube


def test_the_last_day_is_shown_as_counted(filled: Store, cube: td.Cube) -> None:
    page = shown(filled)
    assert not page.notice.visible
    assert page.day.value == "2016-01-31"
    assert coloured(page) == cube.counts[-48 + 36, :, 0].tolist()
    assert f"{cube.counts[-12, :, 0].sum()} pickups in all" in page.told.object
    assert page.map.mapper.palette == COUNTS
    assert page.map.bar.title == "Pickups in 30 min"
    # the same colours all day, up to the busiest slot's
    assert page.map.mapper.high**2 == pytest.approx(cube.counts[-48:, :, 0].max())
    assert page.table.object.index("Cell 4") < page.table.object.index("Cell 2") < page.table.object.index("Cell 0")
    assert re.findall(r"Cell \d</td><td class='text'>([^<]*)", page.table.object)[0] == "East Village"
    assert list(page.day.options)[:3] == ["Tue 2 Feb 2016, forecast", "Mon 1 Feb 2016, forecast", "Sun 31 Jan 2016"]
    page.page()


def test_time_direction_and_what_is_shown_change_the_colours(filled: Store, cube: td.Cube) -> None:
    counts = cube.counts[-48:]
    assert coloured(shown(filled, time="06:30")) == counts[13, :, 0].tolist()
    page = shown(filled, time="06:30", direction="dropoff")
    assert coloured(page) == counts[13, :, 1].tolist()
    assert "drop-offs in all" in page.told.object
    assert coloured(shown(filled, what="forecast", time="06:30")) == (counts[13, :, 0] + 1).tolist()
    page = shown(filled, what="error", time="06:30")
    assert coloured(page) == [1.0] * 6
    assert page.map.mapper.palette == DIFFERENCES
    assert page.map.mapper.low == -page.map.mapper.high
    assert "6 more pickups expected than counted" in page.told.object
    assert "had not seen that day" in page.told.object


def test_a_day_ahead_is_shown_as_expected_and_says_that_it_is_not_counted(filled: Store) -> None:
    page = shown(filled, day="2016-02-01")
    assert np.isnan(coloured(page)).all()
    assert "nothing is counted of Mon 1 Feb 2016 yet" in page.told.object
    page = shown(filled, day="2016-02-01", what="forecast")
    expected = [
        filled.get_forecast(page.view.geometry.space, c, "2016-02-01 18:00", "2016-02-01 18:30") for c in range(6)
    ]
    assert coloured(page) == pytest.approx([frame["mean"][0] for frame in expected], abs=1e-3)
    assert "expected in all" in page.told.object
    assert "backtest" not in page.told.object


def test_a_day_that_nobody_forecast_says_so(filled: Store) -> None:
    page = shown(filled, day="2016-01-12", what="error")
    assert "no forecast was made of Tue 12 Jan 2016" in page.told.object
    page = shown(filled, day="2016-02-01", other="2016-01-12", what="forecast")
    assert "no forecast was made of Tue 12 Jan 2016" in page.told.object
    assert "No trips" in page.table.object


def test_two_days_are_compared(filled: Store, cube: td.Cube) -> None:
    counts = cube.counts.copy()
    counts[-96:-48] //= 2
    cube = td.Cube(counts, start=cube.start, slot="30min", space=cube.space)
    filled.put_demand_map(cube)
    page = shown(filled, day="2016-01-31", other="2016-01-30", time="12:00", cell=4)
    late, early = cube.counts[-48 + 24], cube.counts[-96 + 24]
    assert coloured(page) == (late - early)[:, 0].tolist()
    assert page.map.mapper.palette == DIFFERENCES
    assert "less those of Sat 30 Jan, in 30 min" in page.map.bar.title
    for text in ("Sun 31 Jan", "Sat 30 Jan", "Difference"):
        assert text in page.table.object
    data = page.day_chart.source.data
    assert data["trips"].tolist() == cube.counts[-48:, 4, 0].tolist()
    assert data["other"].tolist() == cube.counts[-96:-48, 4, 0].tolist()


def test_a_click_and_the_list_choose_the_same_cell(filled: Store, cube: td.Cube) -> None:
    page = shown(filled)
    assert page.day_chart.source.data["trips"].tolist() == cube.counts[-48:, :, 0].sum(1).tolist()
    assert np.isnan(page.day_chart.source.data["low"]).all()  # the whole's band is not the sum of theirs

    async def click() -> None:
        page.map.source.selected.indices = [4]
        await page.refresh()

    asyncio.run(click())
    assert page.cell.value == 4
    assert page.map.source.selected.indices == []
    assert page.map.chosen.data["xs"] == [page.map.source.data["xs"][4]]
    assert page.day_chart.source.data["trips"].tolist() == cube.counts[-48:, 4, 0].tolist()
    assert (page.day_chart.source.data["low"] < page.day_chart.source.data["high"]).all()
    assert len(page.ahead["pickup"].ahead.data["time"]) == 96
    assert (page.ahead["pickup"].plot.visible, page.ahead["dropoff"].plot.visible) == (True, False)
    assert "Cell 4" in page.cell_told.object


def test_what_did_not_change_is_not_drawn_again(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    page = shown(filled)
    for chart in (page.map, page.day_chart):
        for name in ("colour", "draw", "update", "choose"):
            if hasattr(chart, name):
                monkeypatch.setattr(chart, name, lambda *_, **__: pytest.fail("drawn again"))
    asyncio.run(page.refresh())
    monkeypatch.undo()
    page.time.value = "03:00"
    assert "03:00" in page.told.object


def test_visitors_share_what_is_read(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    app, asked = AppState(filled, Settings()), []
    read = filled.get_map
    monkeypatch.setattr(filled, "get_map", lambda *a, **o: asked.append(a) or read(*a, **o))
    for _ in range(3):
        asyncio.run(Demand(app).refresh())
    assert len(asked) == 2  # as counted and as forecast, once


def test_a_time_with_no_data_is_no_zero(filled: Store, cube: td.Cube) -> None:
    missing = np.zeros(len(cube), bool)
    missing[-48 + 36] = True
    gap = td.Cube(cube.counts, start=cube.start, slot="30min", space=cube.space, missing=missing)
    filled.put_demand_map(gap)
    page = shown(filled)
    assert np.isnan(coloured(page)).all()
    assert set(page.map.source.data["text"]) == {"no data"}
    assert "no data" in page.told.object


def test_an_empty_store_and_one_without_maps_say_what_to_run(store: Store, filled: Store) -> None:
    bare = td.open_store(store.url.replace("taxidask.db", "bare.db"))
    bare.create()
    page = shown(bare)
    assert "Nothing has been published" in page.notice.object
    assert f"--store {bare.url}" in page.notice.object
    assert not page.map_card.visible
    bare.put_latest(filled.get_latest())
    page = shown(bare)
    assert "no maps of the last run" in page.notice.object
    assert "taxidask run" in page.notice.object


def test_zones_are_called_by_name_and_no_name_is_taken_for_html(store: Store) -> None:
    evil = "<img src=x onerror=alert(1)>"
    square = [[[-74.0, 40.7], [-73.99, 40.7], [-73.99, 40.71], [-74.0, 40.71], [-74.0, 40.7]]]
    features = [
        {
            "properties": {"LocationID": number, "zone": name, "borough": evil},
            "geometry": {"type": "Polygon", "coordinates": square},
        }
        for number, name in ((7, evil), (9, "Astoria"))
    ]
    zones = td.Zones.from_geojson({"type": "FeatureCollection", "features": features})
    cube = td.Cube(np.full((48, 2, 2), 3, np.int32), start="2016-01-01", slot="30min", space=zones)
    store.create()
    store.put_demand(cube), store.put_geometry(zones), store.put_demand_map(cube)
    store.put_latest({"run": "r", "space": zones.key, "slot": "30min", "cube_end": "2016-01-02T00:00:00",
                      "forecast_start": "2016-01-02T00:00:00", "forecast_end": "2016-01-03T00:00:00"})  # fmt: skip
    page = shown(store, cell=0)
    assert "Astoria (9)" in page.cell.options
    for pane in (page.table, page.told, page.cell_told):
        assert "<img" not in pane.object
    assert "&lt;img" in page.table.object
    assert "&lt;img" in page.cell_told.object


@pytest.mark.parametrize(("slot", "slots"), [("15min", 96), ("60min", 24), ("1D", 1)])
def test_other_slots(store: Store, slot: str, slots: int) -> None:
    space = td.Grid(1, 2, west=-74.0, south=40.7, east=-73.9, north=40.8)
    counts = np.arange(slots * 2 * 4, dtype=np.int32).reshape(slots * 2, 2, 2)
    cube = td.Cube(counts, start="2016-01-01", slot=slot, space=space)
    store.create()
    store.put_demand(cube), store.put_geometry(space), store.put_demand_map(cube)
    store.put_latest({"run": "r", "space": space.key, "slot": slot, "cube_end": "2016-01-03T00:00:00",
                      "forecast_start": "2016-01-03T00:00:00", "forecast_end": "2016-01-04T00:00:00"})  # fmt: skip
    page = shown(store)
    assert len(page.time.options) == slots
    assert page.time.visible == (slots > 1)
    assert coloured(page) == counts[slots + slots * 3 // 4, :, 0].tolist()


def test_a_forecast_that_begins_within_the_day_leaves_the_morning_unknown(store: Store) -> None:
    space = td.Grid(1, 1, west=-74.0, south=40.7, east=-73.9, north=40.8)
    mean = np.ones((4, 1, 2), np.float32)
    times = pd.date_range("2016-01-01 22:00", periods=4, freq="30min")
    store.create()
    store.put_forecast_map(Forecast(times, mean, mean, mean, space, pd.Timedelta("30min")), model="d", run="r")
    day = read_day(store, space.key, "2016-01-01", 1, slot="30min")
    assert np.flatnonzero(np.isfinite(day.mean[:, 0, 0])).tolist() == [44, 45, 46, 47]
    assert np.isnan(day.trips).all()


def test_east_is_as_long_as_north(filled: Store) -> None:
    city = CityMap()
    city.draw(filled.get_geometry(filled.get_latest()["space"]))
    ((xs,),), ((ys,),) = city.source.data["xs"][0], city.source.data["ys"][0]
    assert max(xs) == pytest.approx(0.02 * 111.195 * np.cos(np.radians(40.72)), abs=2e-3)  # kilometres
    assert max(ys) == pytest.approx(0.02 * 111.195, abs=2e-3)
