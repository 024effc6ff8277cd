"""What every store does: the same tests over SQLite and DynamoDB."""

from __future__ import annotations

import pickle
import threading
import time
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from taxidask.errors import StoreError
from taxidask.results import open_store

SPACE = "grid-2x2_-74.05_40.63_-73.75_40.85"


# -- forecasts ---------------------------------------------------------------------------------------------------------


def test_forecast_comes_back(store, make_forecast):
    forecast = make_forecast(slots=96)
    assert store.put_forecast(forecast, model="demand", run="r1") == 4 * 2
    for cell in range(4):
        frame = store.get_forecast(SPACE, cell)
        assert list(frame.columns) == ["time", "direction", "mean", "low", "high"]
        assert (frame["time"].to_numpy() == np.repeat(forecast.times, 2)).all()
        assert frame["direction"].tolist() == ["pickup", "dropoff"] * 96
        for name in ("mean", "low", "high"):
            np.testing.assert_allclose(frame[name], getattr(forecast, name)[:, cell].ravel(), rtol=5.1e-6)


def test_forecast_span_leaves_out_its_end(store, make_forecast):
    store.put_forecast(make_forecast(slots=144), model="demand", run="r1")
    frame = store.get_forecast(SPACE, 2, "2016-02-01 23:00", "2016-02-02 01:00")
    assert frame["time"].drop_duplicates().dt.strftime("%d %H:%M").tolist() == [
        "01 23:00",
        "01 23:30",
        "02 00:00",
        "02 00:30",
    ]
    assert len(store.get_forecast(SPACE, 2, "2016-02-03")) == 96
    assert len(store.get_forecast(SPACE, 2, None, pd.Timestamp("2016-02-01 00:30"))) == 2
    assert len(store.get_forecast(SPACE, 2, "2016-02-02", "2016-02-02")) == 0
    assert len(store.get_forecast(SPACE, 2, "2016-02-02", "2016-02-01")) == 0


def test_forecast_that_begins_at_noon_has_an_item_for_each_day_it_touches(store, make_forecast):
    forecast = make_forecast("2016-02-28 12:00", slots=48)
    assert store.put_forecast(forecast, model="demand", run="r1") == 4 * 2
    assert (store.get_forecast(SPACE, 0)["time"].drop_duplicates().to_numpy() == forecast.times.to_numpy()).all()


def test_newer_forecast_of_a_day_replaces_the_older(store, make_forecast):
    store.put_forecast(make_forecast(seed=1), model="demand", run="r1")
    newer = make_forecast(seed=2)
    store.put_forecast(newer, model="demand", run="r2")
    np.testing.assert_allclose(store.get_forecast(SPACE, 3)["mean"], newer.mean[:, 3].ravel(), rtol=5.1e-6)


def test_unknown_numbers_of_a_forecast_come_back_as_nan(store, make_forecast):
    forecast = make_forecast()
    forecast.mean[3, 1, 0] = np.nan
    forecast.high[4, 1, 1] = np.inf
    store.put_forecast(forecast, model="demand", run="r1")
    frame = store.get_forecast(SPACE, 1)
    assert np.flatnonzero(frame["mean"].isna()).tolist() == [6]
    assert np.flatnonzero(frame["high"].isna()).tolist() == [9]


@pytest.mark.parametrize(("slot", "slots"), [("15min", 96), ("60min", 24), ("1D", 3), ("45min", 40)])
def test_forecast_in_other_slots(store, make_forecast, slot, slots):
    forecast = make_forecast(slots=slots, slot=slot)
    store.put_forecast(forecast, model="demand", run="r1")
    frame = store.get_forecast(SPACE, 0, slot=slot)
    assert (frame["time"].to_numpy() == np.repeat(forecast.times, 2)).all()


def test_city_totals_have_their_own_band(store, make_forecast):
    forecast = make_forecast()
    store.put_forecast(forecast, model="demand", run="r1")
    assert store.put_total_forecast(forecast, model="demand", run="r1") == 1
    frame = store.get_total_forecast(SPACE)
    pd.testing.assert_frame_equal(
        frame, forecast.total(), check_exact=False, rtol=5.1e-6, check_dtype=False, check_column_type=False
    )
    pd.testing.assert_frame_equal(frame, store.get_forecast(SPACE, "city"))


def test_the_package_s_own_forecast_and_cube(store):
    from taxidask import Cube, Forecast, Grid

    space = Grid(2, 2, west=-74.05, south=40.63, east=-73.75, north=40.85)
    counts = np.random.default_rng(0).poisson(3, (96, 4, 2)).astype(np.int32)
    cube = Cube(counts, start="2016-01-30", slot="30min", space=space)
    mean = counts[:48].astype(np.float32)
    forecast = Forecast(
        times=pd.date_range("2016-02-01", periods=48, freq="30min"),
        mean=mean,
        low=mean * np.float32(0.8),
        high=mean * np.float32(1.2),
        space=space,
        slot=pd.Timedelta("30min"),
    )
    store.put_forecast(forecast, model="demand", run="r1")
    store.put_total_forecast(forecast, model="demand", run="r1")
    store.put_demand(cube)
    assert store.get_forecast(space.key, 1)["mean"].tolist() == mean[:, 1].ravel().tolist()
    assert store.get_total_forecast(space.key)["mean"].tolist() == mean.sum(axis=1).ravel().tolist()
    assert store.get_demand(space.key)["pickups"].tolist() == counts[:, :, 0].sum(axis=1).tolist()


def test_nothing_published_gives_empty_frames_of_the_same_columns(store, make_forecast, make_cube):
    empty, demand = store.get_forecast("grid-9x9", 0), store.get_demand("grid-9x9", 0)
    assert len(empty) == len(demand) == 0
    store.put_forecast(make_forecast(), model="demand", run="r1")
    store.put_demand(make_cube())
    assert empty.dtypes.equals(store.get_forecast(SPACE, 0).dtypes)
    assert demand.dtypes.equals(store.get_demand(SPACE, 0).dtypes)
    assert store.get_latest() == {}
    assert store.get_card("demand") is None
    assert store.get_run("20261123T081500Z-ab12cd") is None
    assert store.get_metrics("r", "demand").empty
    assert store.get_ingest("/lake").empty
    assert store.list_runs() == []


@pytest.mark.parametrize("cell", [-1, 1.5, "downtown"])
def test_a_cell_that_is_none(store, cell):
    with pytest.raises(StoreError, match="cell is"):
        store.get_forecast(SPACE, cell)


def test_times_of_a_zone_become_new_york_s(store, make_forecast):
    forecast = make_forecast()
    forecast.times = forecast.times.tz_localize("America/New_York").tz_convert("UTC")
    store.put_forecast(forecast, model="demand", run="r1")
    everything = store.get_forecast(SPACE, 0)
    assert list(everything["time"].unique()) == list(pd.date_range("2016-02-01", periods=48, freq="30min"))
    half = store.get_forecast(SPACE, 0, pd.Timestamp("2016-02-01 17:00", tz="UTC"), "2016-02-01T19:00:00+01:00")
    assert list(half["time"].unique()) == [pd.Timestamp("2016-02-01 12:00"), pd.Timestamp("2016-02-01 12:30")]
    for nonsense in ("soon", 20160201, float("nan")):
        with pytest.raises(StoreError, match="no time"):
            store.get_forecast(SPACE, 0, nonsense)


def test_slots_in_which_clocks_go_back_are_refused(store, make_forecast):
    forecast = make_forecast()
    forecast.times = pd.date_range("2016-11-06 04:00", periods=48, freq="30min", tz="UTC")
    with pytest.raises(StoreError, match="not one 0 days 00:30:00 after the other"):
        store.put_forecast(forecast, model="demand", run="r1")
    forecast.times = list(range(48))
    with pytest.raises(StoreError, match="after the other"):
        store.put_forecast(forecast, model="demand", run="r1")


def test_times_with_a_hole_and_arrays_of_another_shape_are_refused(store, make_forecast):
    forecast = make_forecast()
    forecast.low = forecast.low[:-1]
    with pytest.raises(StoreError, match="low has shape"):
        store.put_forecast(forecast, model="demand", run="r1")
    forecast = make_forecast()
    forecast.times = forecast.times.delete(5).append(pd.DatetimeIndex(["2016-02-03"]))
    with pytest.raises(StoreError, match="one 0 days 00:30:00 after the other"):
        store.put_forecast(forecast, model="demand", run="r1")


def test_progress_is_told(store, make_forecast):
    told = []
    store.put_forecast(make_forecast(slots=96, cells=30), model="demand", run="r1", progress=lambda *a: told.append(a))
    assert told[-1] == (60, 60)


# -- counted demand ----------------------------------------------------------------------------------------------------


def test_demand_comes_back_with_gaps_as_nan(store, make_cube):
    missing = np.zeros(480, dtype=bool)
    missing[470:475] = True
    cube = make_cube(missing=missing)
    assert store.put_demand(cube, days=2) == 10 + 2 * 4
    frame = store.get_demand(SPACE, 3)
    assert len(frame) == 96
    assert frame["pickups"].isna().sum() == 5
    known = frame.dropna()
    assert known["dropoffs"].tolist() == cube.counts[-96:, 3, 1][~missing[-96:]].tolist()


def test_city_demand_covers_all_days_and_sums_all_cells(store, make_cube):
    cube = make_cube()
    store.put_demand(cube, cells=[2], days=1)
    frame = store.get_demand(SPACE)
    assert (frame["time"].to_numpy() == cube.times.to_numpy()).all()
    assert frame["pickups"].tolist() == cube.counts[:, :, 0].sum(axis=1).tolist()
    assert len(store.get_demand(SPACE, 2)) == 48
    assert len(store.get_demand(SPACE, 1)) == 0


def test_demand_of_days_is_made_of_whole_days(store, make_cube):
    cube = make_cube("2016-01-01 12:00", slots=48 * 3)  # ends at noon
    store.put_demand(cube, days=2)
    assert store.get_demand(SPACE, 0)["time"].iloc[0] == pd.Timestamp("2016-01-03")
    store.put_demand(cube, days=None)
    assert len(store.get_demand(SPACE, 0)) == 48 * 3
    assert len(store.get_demand(SPACE, 0, "2016-01-02", "2016-01-03")) == 48


def test_demand_of_a_cell_outside_is_refused(store, make_cube):
    with pytest.raises(StoreError, match="from 0 to 3"):
        store.put_demand(make_cube(), cells=[4])


# -- cards and metrics -------------------------------------------------------------------------------------------------


def test_card_comes_back_exactly(store):
    card = {
        "kind": "demand",
        "created": None,
        "data": {"rows": 2**62, "start": "2016-01-01T00:00:00", "empty": {}, "none": [], "text": "", "ünïcode": "☃"},
        "metrics": {"mae": 0.1 + 0.2, "tiny": 5e-124, "big": 1.7976e100, "negative": -1 / 3, "whole": 2.0},
        "settings": {"leaves": [7, 15, 31.5, None, True, False, "x"], "deep": [[[{"a": [1]}]]]},
    }
    store.put_card("demand", card)
    assert store.get_card("demand") == card
    assert store.get_card("fare") is None


def test_card_of_a_run_stays_when_a_newer_one_comes(store):
    store.put_card("demand", {"n": 1}, run="r1")
    store.put_card("demand", {"n": 2}, run="r2")
    assert store.get_card("demand") == {"n": 2}
    assert store.get_card("demand", run="r1") == {"n": 1}


def test_what_is_no_number_becomes_null(store):
    store.put_card("demand", {"nan": float("nan"), "inf": np.inf, "nat": pd.NaT, "list": [np.float32("nan")]})
    assert store.get_card("demand") == {"nan": None, "inf": None, "nat": None, "list": [None]}


def test_too_large_a_card_is_refused_with_its_size(store):
    with pytest.raises(StoreError, match=r"card#demand / latest has 4\d\d KB, an item may have 400 KB"):
        store.put_card("demand", {"text": "x" * 450_000})
    assert store.get_card("demand") is None


@pytest.mark.parametrize(
    ("value", "said"),
    [({"a": object()}, "a is a object"), ({"": 1}, "empty name"), ({"n": 2**70}, "64 bits"), ({"x": 1e200}, "1e125")],
)
def test_what_no_store_can_keep_is_named(store, value, said):
    with pytest.raises(StoreError, match=said):
        store.put_card("demand", value)


def test_metrics_keep_their_column_types(store):
    frame = pd.DataFrame(
        {
            "fold": [0, 1, 2],
            "start": pd.to_datetime(["2016-01-01 00:00", "2016-01-08 00:30", None]),
            "horizon": pd.to_timedelta(["30min", "1h", "90s"]),
            "direction": pd.Categorical(["pickup", "dropoff", "pickup"]),
            "mae": [0.1, 1 / 3, np.nan],
            "small": np.array([1.5, 2.25, 3.125], dtype=np.float32),
            "better": [True, False, True],
            "name": ["a", None, "ü"],
            "maybe": pd.array([1, None, 3], dtype="Int64"),
        }
    )
    store.put_metrics("r1", "demand", frame)
    expected = frame.assign(direction=frame["direction"].astype("str"))
    pd.testing.assert_frame_equal(store.get_metrics("r1", "demand"), expected)
    assert store.get_metrics("r1", "fare").empty
    assert store.get_metrics("r2", "demand").empty


def test_a_named_index_of_metrics_becomes_a_column(store):
    store.put_metrics("r1", "demand", pd.DataFrame({"mae": [1.5, 2.5]}, index=pd.Index(["a", "b"], name="model")))
    assert store.get_metrics("r1", "demand").to_dict("list") == {"model": ["a", "b"], "mae": [1.5, 2.5]}


def test_empty_metrics_keep_their_columns(store):
    store.put_metrics("r1", "demand", pd.DataFrame({"a": pd.Series(dtype="int64"), "b": pd.Series(dtype="float64")}))
    frame = store.get_metrics("r1", "demand")
    assert frame.dtypes.astype(str).to_dict() == {"a": "int64", "b": "float64"}


def test_large_metrics_go_in_parts_and_shorter_ones_replace_them(store):
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(8_000, 4)), columns=list("abcd"))  # about 400 KB
    store.put_metrics("r1", "demand", frame)
    pd.testing.assert_frame_equal(store.get_metrics("r1", "demand"), frame)
    store.put_metrics("r1", "demand", frame.head(10))
    pd.testing.assert_frame_equal(store.get_metrics("r1", "demand"), frame.head(10))


# -- ingest, latest ----------------------------------------------------------------------------------------------------


@dataclass
class Found:
    url: str
    rows: int
    rejected: dict[str, int]


def test_ingest_summaries_come_back_by_url_in_their_columns(store):
    store.put_ingest("/lake", [{"url": "s3://b/2.csv", "rows": 5, "rejected": {"malformed": 1}, "seconds": 0.25}])
    store.put_ingest("/lake", [Found("s3://b/1.csv", 7, {})])
    frame = store.get_ingest("/lake")
    assert frame["url"].tolist() == ["s3://b/1.csv", "s3://b/2.csv"]
    assert list(frame.columns)[:3] == ["url", "rows", "rejected"]
    assert frame["rejected"].tolist() == [{}, {"malformed": 1}]
    assert store.get_ingest("/other").empty


def test_ingest_can_replace_what_was_there(store):
    store.put_ingest("/lake", [{"url": "a"}, {"url": "b"}])
    store.put_ingest("/lake", [{"url": "b"}, {"url": "c"}], replace=True)
    assert store.get_ingest("/lake")["url"].tolist() == ["b", "c"]


def test_an_ingest_summary_without_url_is_refused(store):
    with pytest.raises(StoreError, match="no url"):
        store.put_ingest("/lake", [{"rows": 3}])


def test_very_long_and_odd_names(store):
    lake, url = "s3://bucket/" + "x" * 5000, "s3://b/#" + "é" * 3000
    store.put_ingest(lake, [{"url": url, "rows": 1}])
    assert store.get_ingest(lake)["url"].tolist() == [url]
    store.put_card("a#b", {"n": 1})
    store.put_card("a", {"n": 2})
    assert store.get_card("a#b") == {"n": 1}


def test_latest(store):
    store.put_latest({"run": "r1", "cells": [3, 1, 2], "start": pd.Timestamp("2016-01-01 00:30")})
    store.put_latest({"run": "r2", "cells": [3], "start": pd.Timestamp("2016-01-01 00:30")})
    assert store.get_latest() == {"run": "r2", "cells": [3], "start": "2016-01-01T00:30:00"}


# -- runs --------------------------------------------------------------------------------------------------------------


def test_run_is_created_once_and_comes_back(store, run_item):
    assert store.create_run(run_item) is True
    assert store.create_run({**run_item, "owner": "other"}) is False
    assert store.get_run(run_item["id"]) == run_item


def test_update_is_conditional(store, run_item):
    store.create_run(run_item)
    run = run_item["id"]
    assert store.update_run(run, {"heartbeat": 2.5}, expect={"owner": "host:1:aa", "state": "running"}) is True
    assert store.update_run(run, {"heartbeat": 9.5}, expect={"owner": "another"}) is False
    assert store.update_run(run, {"heartbeat": 9.5}, expect={"owner": "host:1:aa", "state": "done"}) is False
    assert store.update_run("20990101T000000Z-none", {"heartbeat": 1.0}, expect={}) is False
    assert store.get_run(run) == {**run_item, "heartbeat": 2.5}
    assert store.get_run("20990101T000000Z-none") is None


def test_expecting_none_is_met_by_null_and_by_absence(store, run_item):
    store.create_run(run_item)
    run = run_item["id"]
    assert store.update_run(run, {"a": 1}, expect={"error": None, "never": None, "stages.ingest": None})
    assert not store.update_run(run, {"a": 2}, expect={"owner": None})
    assert not store.update_run(run, {"a": 2}, expect={"never": 1})
    assert store.get_run(run)["a"] == 1


def test_true_is_not_one(store, run_item):
    store.create_run({**run_item, "count": 1})
    assert not store.update_run(run_item["id"], {"a": 1}, expect={"cancel": 0})
    assert not store.update_run(run_item["id"], {"a": 1}, expect={"count": True})
    assert store.update_run(run_item["id"], {"a": 1}, expect={"cancel": False, "count": 1.0})


def test_dicts_and_lists_can_be_expected(store, run_item):
    store.create_run(run_item)
    assert store.update_run(run_item["id"], {"a": 1}, expect={"settings": run_item["settings"]})
    assert not store.update_run(run_item["id"], {"a": 2}, expect={"settings": {"workers": 2}})


def test_stages_are_set_one_by_one(store, run_item):
    store.create_run(run_item)
    run = run_item["id"]
    store.update_run(run, {"stages.ingest": {"state": "running", "rows": 0}}, expect={})
    store.update_run(run, {"stages.demand": {"state": "waiting"}, "stages.ingest.rows": 12}, expect={})
    assert store.update_run(run, {"stages.ingest.state": "done"}, expect={"stages.ingest.rows": 12})
    stages = store.get_run(run)["stages"]
    assert stages == {"ingest": {"state": "done", "rows": 12}, "demand": {"state": "waiting"}}


def test_an_update_into_what_is_no_dict_is_refused(store, run_item):
    store.create_run(run_item)
    for name in ("nowhere.ingest", "state.ingest", "stages.ingest.rows"):
        with pytest.raises(StoreError, match="no dict"):
            store.update_run(run_item["id"], {name: 1}, expect={})
    assert store.update_run(run_item["id"], {"nowhere.ingest": 1}, expect={"owner": "another"}) is False
    assert store.get_run(run_item["id"]) == run_item


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"id": "x"}, "changes its id"),
        ({"pk": "x"}, "called 'pk'"),
        ({"stages..x": 1}, "names no attribute"),
        ({"stages": {}, "stages.ingest": {}}, "both stages and stages.ingest"),
    ],
)
def test_updates_that_make_no_sense(store, run_item, changes, said):
    store.create_run(run_item)
    with pytest.raises(StoreError, match=said):
        store.update_run(run_item["id"], changes, expect={})


def test_names_that_are_words_of_the_query_language(store, run_item):
    store.create_run(run_item)
    run = run_item["id"]
    assert store.update_run(run, {"size": 1, "values": [], "stages.order": {"by": 2}}, expect={"size": None})
    assert store.get_run(run)["stages"]["order"] == {"by": 2}


def test_an_update_may_only_ask(store, run_item):
    store.create_run(run_item)
    assert store.update_run(run_item["id"], {}, expect={"owner": "host:1:aa"}) is True
    assert store.update_run(run_item["id"], {}, expect={"owner": "another"}) is False


def test_a_run_needs_an_id_and_proper_names(store):
    with pytest.raises(StoreError, match="no id"):
        store.create_run({"state": "running"})
    with pytest.raises(StoreError, match=r"called 'a\.b'"):
        store.create_run({"id": "r", "a.b": 1})


def test_runs_are_listed_newest_first_page_by_page(store, run_item):
    ids = [f"202611{day:02d}T000000Z-aaaaa{day % 10}" for day in range(1, 11)]
    for name in [*ids[5:], *ids[:5]]:
        store.create_run({**run_item, "id": name})
    assert [run["id"] for run in store.list_runs()] == ids[::-1]
    first = [run["id"] for run in store.list_runs(3)]
    then = [run["id"] for run in store.list_runs(3, before=first[-1])]
    assert first + then == ids[:3:-1]
    assert [run["id"] for run in store.list_runs(3, before="20261104")] == ids[2::-1]
    assert store.list_runs(0) == []


def test_one_of_many_threads_takes_over(store, run_item):
    store.create_run(run_item)
    won, gate = [], threading.Barrier(8)

    def take(name: str) -> None:
        gate.wait(30)
        if store.update_run(run_item["id"], {"owner": name}, expect={"owner": "host:1:aa"}):
            won.append(name)

    threads = [threading.Thread(target=take, args=(f"t{i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(won) == 1
    assert store.get_run(run_item["id"])["owner"] == won[0]


def test_heartbeats_go_on_while_forecasts_are_published(store, run_item, make_forecast):
    store.create_run(run_item)
    done, beats, failed = threading.Event(), [], []

    def beat() -> None:
        while not done.wait(0.02):
            try:
                beats.append(store.update_run(run_item["id"], {"heartbeat": float(len(beats))}, expect={}))
            except StoreError as error:
                failed.append(error)

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        deadline = time.monotonic() + 60
        while len(beats) < 5 and not failed and time.monotonic() < deadline:
            store.put_forecast(make_forecast(slots=48 * 4, cells=50), model="demand", run="r1")
    finally:
        done.set()
        thread.join(60)
    assert not failed
    assert len(beats) >= 5
    assert all(beats)


# -- keeping and forgetting --------------------------------------------------------------------------------------------


def test_writing_twice_changes_nothing(store, make_forecast, make_cube, contents):
    def publish() -> None:
        forecast = make_forecast(slots=96)
        store.put_forecast(forecast, model="demand", run="r1")
        store.put_total_forecast(forecast, model="demand", run="r1")
        store.put_demand(make_cube())
        store.put_card("demand", {"a": [1.5, None]}, run="r1")
        store.put_metrics("r1", "demand", pd.DataFrame({"mae": [1.5, 2.5]}))
        store.put_ingest("/lake", [{"url": "a", "rows": 1}])
        store.put_latest({"run": "r1"})

    publish()
    once = contents(store)
    assert len(once) == 8 + 2 + 50 + 2 + 1 + 1 + 1
    publish()
    assert contents(store) == once


def test_what_has_run_out_is_not_read(store, run_item, make_forecast):
    store.ttl_days = 30
    old, new = "20160101T000000Z-aaaaaa", "29990101T000000Z-aaaaaa"
    store.put_forecast(make_forecast(), model="demand", run=old)
    store.put_metrics(old, "demand", pd.DataFrame({"mae": [1.5]}))
    store.put_card("demand", {"metrics": {"mae": 1.5}}, run=old)
    store.create_run({**run_item, "id": old})
    store.create_run({**run_item, "id": new})
    assert store.get_forecast(SPACE, 0).empty
    assert store.get_metrics(old, "demand").empty
    assert store.get_card("demand", run=old) is None
    assert store.get_card("demand") == {"metrics": {"mae": 1.5}}, "the latest stays"
    assert store.get_run(old) is None
    assert [run["id"] for run in store.list_runs()] == [new]
    assert store.get_run(new) == {**run_item, "id": new}
    store.put_forecast(make_forecast(), model="demand", run=new)
    assert len(store.get_forecast(SPACE, 0)) == 96


def test_a_store_can_be_sent_elsewhere_and_used_after_close(store):
    store.put_latest({"n": 1})
    store.close()
    copy = pickle.loads(pickle.dumps(store))
    assert type(copy) is type(store)
    assert copy.ttl_days == store.ttl_days
    assert copy.get_latest() == store.get_latest() == {"n": 1}
    assert repr(copy) == repr(store)
    copy.close()


def test_create_and_check_can_be_repeated(store):
    store.put_latest({"n": 1})
    store.create()
    store.check()
    again = open_store(store.url)
    again.create()
    again.check()
    assert again.get_latest() == {"n": 1}
    again.close()


def test_cost_class_is_said(store):
    assert "free of charge" in store.cost_class or "PAY_PER_REQUEST" in store.cost_class


def test_only_what_is_new_or_changed_is_written(store, make_cube):
    cube = make_cube()
    missing = np.zeros(480, bool)
    missing[-5:] = True
    cube.missing = missing
    assert store.put_demand(cube) == 10 + 10 * 4
    assert store.put_demand(cube) == 0
    later = make_cube(slots=480 + 48)
    later.counts[:480], later.missing = cube.counts, np.zeros(528, bool)
    later.counts[3, 1, 1] += 1  # a trip of the first day was found
    # of the new day and of the last before it, whose gap is filled, all cells and the city; of the first day one cell
    assert store.put_demand(later) == 2 * 5 + 2
    frame = store.get_demand(SPACE, 1)
    assert frame["dropoffs"].tolist() == later.counts[:, 1, 1].tolist()
    source = {"url": "a.csv", "rows": 5, "share": 0.1 + 0.2, "first": pd.Timestamp("2016-01-01"), "note": None}
    other = {**source, "url": "b.csv"}
    assert store.put_ingest("lake", [source, other]) == 2
    assert store.put_ingest("lake", [source, {**other, "rows": 6}], replace=True) == 1
    assert store.put_ingest("lake", [source], replace=True) == 0
    assert store.get_ingest("lake")["url"].tolist() == ["a.csv"]


def test_days_without_data_are_not_published(store, make_cube):
    cube = make_cube()
    assert store.put_demand(cube, days=3) == 10 + 3 * 4
    missing = np.zeros(480, bool)
    missing[48 : 8 * 48 + 7] = True  # seven whole days, and a part of the ninth
    missing[-48:] = True
    cube.missing = missing
    assert store.put_demand(cube, days=3) == 5  # the ninth; the others are no items any more
    city = store.get_demand(SPACE)
    # one slot stands for the seven days, so that no line goes across them
    assert city["time"].dt.day.value_counts().to_dict() == {1: 48, 9: 48, 2: 1}
    assert city["pickups"].isna().sum() == 1 + 7
    assert set(store.get_demand(SPACE, 2)["time"].dt.day) == {9}
    cube.missing = np.ones(480, bool)
    assert store.put_demand(cube) == 0
    assert store.get_demand(SPACE).empty


def test_what_is_counted_in_another_slot_lies_apart(store, make_cube, make_forecast):
    half_hours, hours = make_cube(), make_cube(slots=240)
    hours.slot, hours.times = pd.Timedelta("60min"), pd.date_range("2016-01-01", periods=240, freq="60min")
    store.put_demand(half_hours)
    assert store.put_demand(hours) == 10 + 10 * 4
    store.put_forecast(make_forecast(), model="demand", run="r1")
    store.put_forecast(make_forecast(slots=24, slot="60min"), model="demand", run="r2")
    for slot, cube, n in ((pd.Timedelta("30min"), half_hours, 48), ("1h", hours, 24)):
        frame = store.get_demand(SPACE, slot=slot)
        assert (frame["time"].to_numpy() == cube.times.to_numpy()).all()
        assert frame["pickups"].tolist() == cube.counts[:, :, 0].sum(axis=1).tolist()
        assert len(store.get_forecast(SPACE, 1, slot=slot)) == 2 * n
    assert len(store.get_demand(SPACE)) == 480  # half hours are the usual ones
    with pytest.raises(StoreError, match="slot is 'soon'"):
        store.get_demand(SPACE, slot="soon")
