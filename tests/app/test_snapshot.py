from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from app.conftest import RUN, fill

import taxidask as td
from taxidask.app import charts
from taxidask.app.snapshot import cell_names, last_day_told, read_curves, read_last_day, read_snapshot, runs_table
from taxidask.errors import StoreError
from taxidask.results import Store


def item(**changes):
    return {
        "id": "r",
        "state": "running",
        "heartbeat": 1000.0,
        "created": "2016-02-01T08:15:00Z",
        "stages": {},
        "settings": {},
    } | changes


def test_a_snapshot_adds_up_the_sources(filled: Store) -> None:
    snapshot = read_snapshot(filled)
    assert snapshot.totals == {"rows": 1050, "kept": 1029, "rejected": 21}
    assert snapshot.reasons == {"malformed": 6, "outside_city": 15}
    assert snapshot.sources == 2
    assert snapshot.latest["trips"] == 1029
    assert not snapshot.empty


def test_an_empty_store_is_empty_and_one_that_is_not_there_is_an_error(store: Store) -> None:
    with pytest.raises(StoreError):
        read_snapshot(store)
    store.create()
    assert read_snapshot(store).empty


def test_the_store_is_asked_by_key_only(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    for name in ("_get", "_query"):
        inner = getattr(filled, name)
        monkeypatch.setattr(
            filled, name, lambda *a, _inner=inner, _name=name, **k: asked.append(_name) or _inner(*a, **k)
        )
    snapshot = read_snapshot(filled)
    read_curves(filled, snapshot.latest)
    assert sorted(asked) == ["_get", *["_query"] * 6]


def test_the_last_counted_slots_stand_beside_what_was_forecast_of_them(filled: Store) -> None:
    snapshot = read_snapshot(filled)
    assert snapshot.published == "2016-02-01T08:17:05Z"
    latest = snapshot.latest
    assert read_last_day(filled, latest) is None, "nobody had forecast it"
    cube = fill(filled)
    mean = cube.counts[-96:].astype(np.float32) * np.float32(1.25)
    back = td.Forecast(cube.times[-96:], mean, mean * np.float32(0.8), mean * np.float32(1.2), cube.space, cube.slot)
    filled.put_forecast_map(back, model="demand", run=RUN, backtest=True)
    day = read_last_day(filled, latest)
    counted = cube.counts[-48:, :, 0].sum(axis=1)
    assert last_day_told(day, latest) == [
        ("Pickups at 23:30", f"{counted[-1]}", f"{counted[-1] * 1.25:,.1f} expected by the backtest, 31 Jan 2016"),
        (
            "Pickups on 31 Jan",
            f"{counted.sum():,}",
            f"{counted.sum() * 1.25:,.0f} expected by the backtest, 20.0% fewer counted",
        ),
    ]


def test_curves_end_where_the_forecast_begins(filled: Store) -> None:
    latest = read_snapshot(filled).latest
    whole, cell = read_curves(filled, latest), read_curves(filled, latest, 4, days=2)
    begin = pd.Timestamp(latest["forecast_start"])
    assert len(whole.observed) == 7 * 48
    assert whole.observed["time"].max() == begin - pd.Timedelta("30min")
    assert whole.expected["time"].min() == begin
    assert len(whole.expected) == 2 * 96
    assert len(cell.observed) == 2 * 48
    assert cell.observed["pickups"].sum() < whole.observed["pickups"].sum()


def test_a_running_run_without_a_heartbeat_is_dead() -> None:
    table = runs_table([item(), item(state="done"), item(heartbeat=940.0)], now=1030.0)
    assert table["state"].tolist() == ["running", "done", "dead"]
    patient = item(heartbeat=940.0, settings={"heartbeat_timeout": 120})
    assert runs_table([patient], now=1030.0)["state"].tolist() == ["running"]


def test_a_run_shows_its_newest_stage_its_time_and_its_rows() -> None:
    stages = {
        "ingest": {"started": "2016-02-01T08:15:00Z", "ended": "2016-02-01T08:16:00Z", "rows": 80, "kept": 77},
        "demand": {"started": "2016-02-01T08:16:00Z", "ended": "2016-02-01T08:18:30Z"},
        "fare": {"started": None},
    }
    (row,) = runs_table([item(stages=stages, error="boom")], now=0.0).to_dict("records")
    assert (row["stage"], row["took"], row["trips"], row["error"]) == ("demand", "3 min 30 s", 77, "boom")
    (row,) = runs_table([item(progress={"rows": 15, "kept": 12})], now=0.0).to_dict("records")
    assert (row["stage"], row["took"], row["trips"], row["error"]) == ("", "–", 12, "")


def test_cells_are_named() -> None:
    assert cell_names({"cells": [3, 1], "cell_names": {"3": "Astoria"}}) == {
        "Whole area": "city",
        "Astoria": 3,
        "Cell 1": 1,
    }
    assert cell_names({}) == {"Whole area": "city"}


def test_the_demand_chart_shows_the_band_and_the_gap(filled: Store) -> None:
    latest = read_snapshot(filled).latest
    curves = read_curves(filled, latest)
    chart = charts.DemandChart("dropoff")
    chart.update(curves.observed, curves.expected)
    assert len(chart.past.data["time"]) == 7 * 48
    assert len(chart.ahead.data["low"]) == 96
    assert not len(chart.before.data["mean"])
    earlier = pd.Series([1.0, np.nan, 900.0], pd.date_range("2016-01-31 22:30", periods=3, freq="30min"))
    chart.update(curves.observed, curves.expected, earlier)
    assert chart.before.data["mean"].tolist() == [1.0, 900.0]
    assert [one.label["value"] for one in chart._legend.items][-1] == "Forecast before"
    assert chart.range.end > 900
    chart.update(curves.observed, curves.expected)
    assert chart.range.end > curves.expected.loc[curves.expected["direction"] == "dropoff", "high"].max()
    assert chart.plot.yaxis.axis_label == "Drop-offs per 30 min"


def test_charts_of_nothing_and_of_gaps() -> None:
    chart = charts.DemandChart("pickup")
    times = pd.date_range("2016-01-01", periods=3, freq="h")
    nothing = pd.DataFrame({"time": times[:0], "direction": [], "mean": [], "low": [], "high": []})
    chart.update(pd.DataFrame({"time": times, "pickups": [1, np.nan, 3], "dropoffs": 0.0}), nothing)
    assert chart.plot.yaxis.axis_label == "Pickups per hour"
    chart.update(pd.DataFrame({"time": times[:0], "pickups": [], "dropoffs": []}), nothing)
    assert chart.range.end > 0


def test_reasons_are_ordered_with_shares() -> None:
    chart = charts.ReasonsChart()
    chart.update({"malformed": 1, "outside_city": 2500, "bad_datetime": 0}, rows=1_000_000)
    assert list(chart.names.factors) == ["malformed", "outside city"]
    assert chart.source.data["label"] == ["1 (<0.01%)", "2,500 (0.25%)"]
