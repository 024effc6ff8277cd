"""Maps and outlines: all cells of a day, over SQLite and DynamoDB."""

from __future__ import annotations

import json
import zlib
from base64 import b64encode
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import taxidask as td
from taxidask.errors import StoreError
from taxidask.results.drawing import maps, packing
from taxidask.results.values import MAX_ITEM_BYTES, six_digits, sized, write_units
from taxidask.runs.cost import day_writes, map_writes

SPACE = "grid-2x2_-74.05_40.63_-73.75_40.85"
over_stores = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


# -- counts ------------------------------------------------------------------------------------------------------------


def test_a_day_s_counts_come_back(store, make_cube):
    cube = make_cube()
    assert store.put_demand_map(cube) == 10 + 1
    assert store.map_days(SPACE) == {"actual": [f"2016-01-{d:02}" for d in range(1, 11)], "forecast": []}
    day = store.get_map(SPACE, "2016-01-03", "actual")
    assert (day.day, day.kind, day.slot, day.backtest) == ("2016-01-03", "actual", pd.Timedelta("30min"), False)
    assert (day.times == pd.date_range("2016-01-03", periods=48, freq="30min")).all()
    assert (day.numbers["trips"] == cube.counts[96:144]).all()
    assert store.get_map(SPACE, "2016-01-11", "actual") is None
    assert store.get_map(SPACE, "2016-01-03", "forecast") is None
    assert store.get_map(SPACE, pd.Timestamp("2016-01-03 17:00"), "actual").day == "2016-01-03"


def test_a_cell_of_a_map_is_what_its_series_says(store, make_cube, make_forecast):
    cube, forecast = make_cube(), make_forecast()
    store.put_demand(cube), store.put_demand_map(cube)
    store.put_forecast(forecast, model="demand", run="r"), store.put_forecast_map(forecast, model="demand", run="r")
    series = store.get_demand(SPACE, 2, "2016-01-05", "2016-01-06")
    shown = store.get_map(SPACE, "2016-01-05", "actual").numbers["trips"][:, 2]
    assert series["pickups"].tolist() == shown[:, 0].tolist()
    assert series["dropoffs"].tolist() == shown[:, 1].tolist()
    day = store.get_map(SPACE, "2016-02-01", "forecast")
    expected = store.get_forecast(SPACE, 3)
    for name in ("mean", "low", "high"):
        assert day.numbers[name][:, 3].ravel().tolist() == expected[name].tolist()


def test_slots_without_data_are_no_zeros_and_days_of_nothing_else_no_maps(store, make_cube):
    missing = np.zeros(480, dtype=bool)
    missing[3] = missing[48:96] = True
    store.put_demand_map(make_cube(missing=missing))
    trips = store.get_map(SPACE, "2016-01-01", "actual").numbers["trips"]
    assert np.isnan(trips[3]).all()
    assert np.isfinite(np.delete(trips, 3, axis=0)).all()
    assert store.get_map(SPACE, "2016-01-02", "actual") is None
    assert "2016-01-02" not in store.map_days(SPACE)["actual"]


def test_only_what_changed_is_written_and_what_is_no_more_removed(store, make_cube, contents):
    cube = make_cube()
    assert store.put_demand_map(cube, days=5) == 5 + 1
    before = contents(store)
    assert store.put_demand_map(cube, days=5) == 0
    assert contents(store) == before
    cube.counts[-1, 0, 0] += 1
    assert store.put_demand_map(cube, days=5) == 1
    later = make_cube("2016-01-02")
    later.counts[:] = np.concatenate([cube.counts[48:], cube.counts[:48]])
    assert store.put_demand_map(later, days=5) == 1 + 1  # the new day and the list
    assert store.map_days(SPACE)["actual"] == [f"2016-01-{d:02}" for d in range(7, 12)]
    assert store.get_map(SPACE, "2016-01-06", "actual") is None
    assert len(contents(store)) == len(before)


def test_a_day_in_several_parts(store, make_cube, monkeypatch, contents):
    cube = make_cube()
    store.put_demand_map(cube)
    whole = len(contents(store))
    monkeypatch.setattr(packing, "_PART_CHARS", 50)
    store.put_demand_map(cube)
    assert len(contents(store)) > 2 * whole
    assert (store.get_map(SPACE, "2016-01-03", "actual").numbers["trips"] == cube.counts[96:144]).all()
    monkeypatch.undo()
    store.put_demand_map(cube)
    assert len(contents(store)) == whole


@over_stores
@given(
    st.sampled_from(["15min", "30min", "60min", "1D"]),
    st.integers(0, 95),
    hnp.arrays(
        np.int32, st.tuples(st.integers(1, 60), st.integers(1, 3), st.just(2)), elements=st.integers(0, 2**31 - 1)
    ),
    st.data(),
)
def test_any_counts_come_back_day_by_day(store, slot, offset, counts, data):
    start = pd.Timestamp("2016-01-01") + offset * pd.Timedelta(slot)
    missing = data.draw(hnp.arrays(bool, len(counts)))
    times = pd.date_range(start, periods=len(counts), freq=slot)
    space = SimpleNamespace(key="any")
    cube = SimpleNamespace(times=times, counts=counts, slot=pd.Timedelta(slot), space=space, missing=missing)
    store.put_demand_map(cube, days=None)
    known = np.where(missing[:, None, None], np.nan, counts)
    for day in times.normalize().unique():
        here = times.normalize() == day
        found = store.get_map("any", day, "actual", slot=slot)
        if missing[here].all():
            assert found is None
        else:
            np.testing.assert_array_equal(found.numbers["trips"], known[here])
            assert (found.times == times[here]).all()
    assert store.map_days("any", slot)["actual"] == sorted({f"{t:%Y-%m-%d}" for t in times[~missing]})


# -- forecasts ---------------------------------------------------------------------------------------------------------


@over_stores
@given(hnp.arrays(np.float32, (3, 7, 2, 2), elements=st.floats(width=32)))
def test_any_forecast_comes_back_to_six_digits(store, bands):
    mean, low, high = bands
    times = pd.date_range("2016-02-01 22:00", periods=7, freq="30min")
    forecast = SimpleNamespace(
        times=times, mean=mean, low=low, high=high, slot=pd.Timedelta("30min"), space=SimpleNamespace(key="any")
    )
    store.put_forecast_map(forecast, model="demand", run="r")
    for day, here in (("2016-02-01", slice(0, 4)), ("2016-02-02", slice(4, 7))):
        found = store.get_map("any", day, "forecast")
        for name in ("mean", "low", "high"):
            with np.errstate(over="ignore"):
                expected = six_digits(six_digits(getattr(forecast, name)[here]).astype(np.float32))
            np.testing.assert_array_equal(found.numbers[name], expected)


def test_a_forecast_says_what_made_it(store, make_forecast):
    store.put_forecast_map(make_forecast(slots=72), model="demand", run="r1")
    day = store.get_map(SPACE, "2016-02-02", "forecast")
    assert (day.model, day.run, day.backtest, len(day.times)) == ("demand", "r1", False, 24)
    assert store.map_days(SPACE)["forecast"] == ["2016-02-01", "2016-02-02"]


def test_a_forecast_made_before_the_day_outlives_a_backtest_and_what_knows_less(store, make_forecast):
    def shown(day):
        found = store.get_map(SPACE, day, "forecast")
        return (found.run, found.backtest, len(found.times))

    store.put_forecast_map(make_forecast("2016-01-30", slots=96), model="demand", run="r0", backtest=True)
    store.put_forecast_map(make_forecast("2016-02-01", slots=96), model="demand", run="r1")
    # the next day's run: what it backtests was foretold by then
    store.put_forecast_map(make_forecast("2016-01-31", slots=96), model="demand", run="r2", backtest=True)
    store.put_forecast_map(make_forecast("2016-02-02", slots=72), model="demand", run="r2")
    assert shown("2016-01-30") == ("r0", True, 48)
    assert shown("2016-01-31") == ("r2", True, 48)
    assert shown("2016-02-01") == ("r1", False, 48)
    assert shown("2016-02-02") == ("r2", False, 48)
    assert shown("2016-02-03") == ("r2", False, 24)
    store.put_forecast_map(make_forecast("2016-02-02", slots=24), model="demand", run="r3")
    assert shown("2016-02-02") == ("r2", False, 48)
    assert store.get_map(SPACE, "2016-02-03", "forecast") is None  # after the newest forecast's end


def test_forecasts_of_days_whose_counts_are_gone_are_removed(store, make_forecast):
    store.put_forecast_map(make_forecast("2016-01-03", slots=96), model="demand", run="r1")
    store.put_forecast_map(make_forecast("2016-02-01"), model="demand", run="r2")
    assert store.map_days(SPACE)["forecast"] == ["2016-01-04", "2016-02-01"]


def test_the_same_forecast_of_the_same_run_is_not_written_again(store, make_forecast, contents):
    assert store.put_forecast_map(make_forecast(), model="demand", run="r1") == 2
    before = contents(store)
    assert store.put_forecast_map(make_forecast(), model="demand", run="r1") == 0
    assert contents(store) == before


def test_forecasts_are_forgotten_with_their_run_and_counts_are_not(tmp_path, make_forecast, make_cube):
    with td.open_store(f"sqlite:///{tmp_path}/a.db?ttl_days=1") as store:
        store.create()
        store.put_forecast_map(make_forecast(), model="demand", run="20160201T000000Z-ab12cd")
        store.put_demand_map(make_cube())
        assert store.get_map(SPACE, "2016-02-01", "forecast") is None
        assert store.map_days(SPACE)["forecast"] == []
        assert store.get_map(SPACE, "2016-01-01", "actual") is not None


def test_what_no_page_could_draw_is_not_published(sqlite, make_cube, make_forecast, monkeypatch, contents):
    monkeypatch.setattr(maps, "MAP_CELLS", 3)
    assert sqlite.put_demand_map(make_cube()) == 0
    assert sqlite.put_forecast_map(make_forecast(), model="demand", run="r") == 0
    assert sqlite.put_geometry(td.Grid(2, 2, west=0, south=0, east=1, north=1)) == 0
    assert contents(sqlite) == {}


def test_kinds_and_days_that_are_none(sqlite):
    with pytest.raises(StoreError, match="kind is 'error'"):
        sqlite.get_map(SPACE, "2016-01-01", "error")
    with pytest.raises(StoreError, match="no time"):
        sqlite.get_map(SPACE, "soon", "actual")
    with pytest.raises(StoreError, match="day is None"):
        sqlite.get_map(SPACE, None, "actual")


# -- outlines ----------------------------------------------------------------------------------------------------------


def test_the_city_s_zones_come_back(store):
    zones = td.Zones()
    assert store.get_geometry(zones.key) is None
    assert store.put_geometry(zones) == 1
    assert store.put_geometry(zones) == 0
    geometry = store.get_geometry(zones.key)
    assert geometry.cells == 263
    assert (geometry.ids, geometry.names, geometry.boroughs) == (zones.ids.tolist(), zones.names, zones.boroughs)
    assert geometry.label(131) == "JFK Airport (132)"
    assert geometry.bounds == pytest.approx(zones.bounds, abs=2e-5)
    np.testing.assert_allclose(geometry.centres, zones.centers(), atol=1e-5)
    outlines = [ring for polygons in geometry.shapes for rings in polygons for ring in rings]
    assert [len(polygons) for polygons in geometry.shapes] == [len(cell) for cell in zones.polygons()]
    assert sum(map(len, outlines)) < 20_000
    (item,) = store._query(f"geometry#{zones.key}")
    assert sized(item) < MAX_ITEM_BYTES / 4


def test_a_grid_comes_back(store):
    grid = td.Grid.new_york()
    store.put_geometry(grid)
    geometry = store.get_geometry(grid.key)
    assert geometry.grid == grid
    assert (geometry.cells, geometry.label(351), geometry.ids) == (600, "Cell 351", None)
    assert [[ring.tolist() for ring in rings] for ((rings),) in geometry.shapes[:2]] == [
        [[list(p) for p in ring] for ring in cell] for cell in grid.polygons()[:2]
    ]
    np.testing.assert_array_equal(geometry.centres, grid.centers())


def test_holes_stay_holes(sqlite):
    outline, hole = ([[x, y] for x, y in ((0, 0), (s, 0), (s, s), (0, s), (0, 0))] for s in (4, 1))
    hole = [[x + 1, y + 1] for x, y in hole]
    features = [
        {
            "properties": {"LocationID": 7},
            "geometry": {"type": "MultiPolygon", "coordinates": [[outline, hole], [hole]]},
        }
    ]
    zones = td.Zones.from_geojson({"type": "FeatureCollection", "features": features})
    sqlite.put_geometry(zones)
    geometry = sqlite.get_geometry(zones.key)
    assert [[len(ring) for ring in rings] for rings in geometry.shapes[0]] == [[5, 5], [5]]
    assert geometry.label(0) == "Zone 7"


# -- what is damaged ---------------------------------------------------------------------------------------------------


def test_damaged_maps_are_said_to_be(sqlite, make_cube):
    sqlite.put_demand_map(make_cube())
    pk = f"map#{SPACE}#1800s#actual"
    (item,) = [i for i in sqlite._query(pk) if i["sk"].startswith("2016-01-03")]

    def again(**changes):
        return {**item, **changes}

    def text_of(raw):
        (body,) = packing.packed(raw)
        return body

    bomb = text_of(bytes(50_000_000))
    cases = {
        "partly there": [again(part=1), again(parts=2), again(parts="x"), again(part=None), again(text=None)],
        "do not belong together": [again(text=item["text"][:-4]), again(text="é")],
        "no text": [again(text=5), again(text=["x"])],
        "slots of": [again(slots="48"), again(slots=0), again(cells=None), again(slots=10**9), again(slot_seconds=0)],
        "bytes": [again(slots=47), again(**bomb), again(**text_of(b"123"))],
        "slots are not those": [again(start="2016-01-04T00:00:00"), again(slot_seconds=7200)],
        "damaged": [
            again(start=None),
            again(start="soon"),
            again(slot_seconds={}),
            again(slot_seconds="x"),
            again(start=[]),
        ],
    }
    for said, items in cases.items():
        for damage in items:
            sqlite._put(iter([damage]), 1)
            with pytest.raises(StoreError, match=said) as caught:
                sqlite.get_map(SPACE, "2016-01-03", "actual")
            assert "--refit" in str(caught.value.remedy)
    sqlite.put_demand_map(make_cube())
    assert sqlite.get_map(SPACE, "2016-01-03", "actual") is not None


@given(st.binary(max_size=200))
def test_foreign_bytes_are_an_error(raw):
    for text in (b64encode(raw).decode(), raw.decode("latin-1"), b64encode(zlib.compress(raw)[:-1]).decode()):
        body = {"part": 0, "parts": 1, "digest": packing._digest(text), "text": text}
        with pytest.raises(StoreError):
            packing.unpacked([body], "it", most=1)


@given(st.binary(max_size=2000), st.integers(0, 3))
def test_what_is_packed_comes_back_whole_or_not_at_all(raw, more):
    bodies = packing.packed(raw)
    assert packing.unpacked(bodies[::-1], "it", most=len(raw) + more) == raw
    if raw:
        with pytest.raises(StoreError, match="more than"):
            packing.unpacked(bodies, "it", most=len(raw) - 1)


@pytest.mark.parametrize(
    "described",
    [
        [], 5, {}, {"kind": "grid"}, {"kind": "grid", "rows": 1},
        {"kind": "grid", "rows": 10**6, "cols": 10**6, "west": 0, "south": 0, "east": 1, "north": 1},
        {"kind": "grid", "rows": -1, "cols": -1, "west": 0, "south": 0, "east": 1, "north": 1},
        {"kind": "zones", "rings": [[[0, 1, 2, 3]]], "centres": [[0, 0]], "names": [None],
         "boroughs": [None], "ids": [1]},
        {"kind": "zones", "rings": [[[1, 1, 2, 3, 4, 5, 6, 7, 8]]], "centres": [[0, 0]], "names": [None],
         "boroughs": [None], "ids": [1]},
        {"kind": "zones", "rings": [[[0, 1, 2, 3, 4, 5, 6, 7, 8]]], "centres": [], "names": [None], "boroughs": [None],
         "ids": [1]},
        {"kind": "zones", "rings": [[[0, 10**9, 2, 3, 4, 5, 6, 7, 8]]], "centres": [[0, 0]], "names": [None],
         "boroughs": [None], "ids": [1]},
        {"kind": "zones", "rings": [], "centres": [], "names": [], "boroughs": [], "ids": []},
    ],
)  # fmt: skip
def test_damaged_outlines_are_said_to_be(sqlite, described):
    (body,) = packing.packed(json.dumps(described).encode())
    sqlite._put(iter([{"pk": "geometry#x", "sk": "0000", **body}]), 1)
    with pytest.raises(StoreError, match="the geometry of x is damaged"):
        sqlite.get_geometry("x")


# -- what it takes -----------------------------------------------------------------------------------------------------


def test_a_run_s_maps_take_about_as_many_write_units_as_estimated(sqlite):
    """The figures of `taxidask.results.drawing.maps` and of the README, from counts and bands of all sizes."""
    zones, random = td.Zones(), np.random.default_rng(0)
    rhythm = 1 + 0.8 * np.sin(np.arange(48 * 28) / 48 * 2 * np.pi)
    level = rhythm[:, None, None] * random.lognormal(0, 2, (263, 2))
    cube = td.Cube(random.poisson(level).astype(np.int32), start="2016-01-01", slot="30min", space=zones)
    mean = (level * random.lognormal(0, 0.1, level.shape)).astype(np.float32)[: 48 * 3]
    high = mean * random.uniform(1.1, 1.6, mean.shape).astype(np.float32)
    low = mean * random.uniform(0.3, 0.9, mean.shape).astype(np.float32)
    times = pd.date_range(cube.end, periods=len(mean), freq="30min")
    forecast = td.Forecast(times, mean, low, high, zones, cube.slot)
    sqlite.put_geometry(zones)
    sqlite.put_demand_map(cube)
    sqlite.put_forecast_map(forecast, model="demand", run="r")
    back = replace(forecast, times=times[:96] - pd.Timedelta("2D"), mean=mean[:96], low=low[:96], high=high[:96])
    sqlite.put_forecast_map(back, model="demand", run="r", backtest=True)
    sqlite.put_forecast(forecast, model="demand", run="20261123T081500Z-ab12cd34")
    sqlite.put_demand(cube)

    def units(pk):
        return [write_units(sized(item)) for item in sqlite._query(pk)]

    counts, ahead = (units(f"map#{zones.key}#1800s#{kind}") for kind in ("actual", "forecast"))
    assert np.mean(counts[:-1]) == pytest.approx(15, abs=1.5)
    assert sum(ahead[:-1]) / 5 == pytest.approx(320, rel=0.05)
    outlines = sum(units(f"geometry#{zones.key}"))
    assert outlines == pytest.approx(66, abs=4)
    ahead_of, counted_of = (
        {size for cell in range(263) for size in units(f"{kind}#{zones.key}#1800s#{cell}")}
        for kind in ("forecast", "demand")
    )
    assert (ahead_of, counted_of) == ({2}, {1})
    assert day_writes(slot=1800) == (2, 1)
    guess = map_writes(cells=263, slot=1800, days=3)
    assert sum(counts) + sum(ahead) + outlines == pytest.approx(guess, rel=0.1)
