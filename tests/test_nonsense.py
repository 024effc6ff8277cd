"""Every public function raises a TaxidaskError for whatever it cannot use."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest

import taxidask as td
from taxidask.errors import TaxidaskError

NONSENSE: list[Any] = [
    None, 5, -1, 2.5, float("nan"), float("inf"), 1e23, 10**400, True, b"bytes", b"\xff", 1j,
    "", " ", "\0", "a\0b", "x" * 5000, "9" * 400, "\ud800", "\udcff", "~nobody/x", "/dev/null", "/root/\n", "[" * 200,
    "s3://", "s3://A_B!/x", "s3://a..b/x", "s3://-/x", "s3://b/\0", "s3://" + "b" * 300, "http://[", "ftp://x/y",
    "file://", "memory://", "sqlite://", "dynamodb://", "dynamodb://a b!",
    [], [None], ["\0"], [[]], (), {}, {"a": 1}, object(), int, lambda: 1, np.array([1, 2]), pd.DataFrame(), pd.NaT,
]  # fmt: skip
GRID = td.Grid(2, 2, west=-74.05, south=40.63, east=-73.75, north=40.85)
COUNTS = np.zeros((48, 4, 2), np.int32)
TABLE = pd.DataFrame({"mae": [1.0]})
RIDE = {"pickup": (-73.98, 40.75), "dropoff": (-73.9, 40.76), "at": "2015-01-05 08:00"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A lake of a sample, the sample, its cube and a store, models of both and a forecast."""
    folder = tmp_path_factory.mktemp("nonsense")
    [file] = td.make_sample(folder, start="2015-01", trips_per_month=2000, seed=1)
    lake = td.Lake(folder / "lake")
    lake.ingest(file, space=GRID)
    store = td.open_store(f"sqlite:///{folder}/store.db")
    store.create()
    store.create_run({"id": "r"})
    cube = lake.cube(start="2015-01-01", end="2015-01-05")
    demand = td.DemandModel(horizon=2, rounds=2).fit(cube)
    fare = td.FareModel(rounds=2).fit(lake.trips())
    yield lake, file, cube, store, demand.forecast(cube, horizon=2), demand, fare
    store.close()


CALLS = {
    "Lake": lambda p, v: td.Lake(v).sources(),
    "Lake.trips start": lambda p, v: p[0].trips(start=v, limit=1),
    "Lake.trips end": lambda p, v: p[0].trips(end=v, limit=1),
    "Lake.trips limit": lambda p, v: p[0].trips(limit=v),
    "Lake.trips columns": lambda p, v: p[0].trips(columns=v),
    "Lake.trips a column": lambda p, v: p[0].trips(columns=[v]),
    "Lake.trips where": lambda p, v: p[0].trips(where=v),
    "Lake.trips a condition": lambda p, v: p[0].trips(where=[v]),
    "Lake.trips a condition's column": lambda p, v: p[0].trips(where=[(v, "==", 1)]),
    "Lake.trips a condition's op": lambda p, v: p[0].trips(where=[("fare_amount", v, 1)]),
    "Lake.trips a number": lambda p, v: p[0].trips(where=[("fare_amount", "==", v)]),
    "Lake.trips a whole number": lambda p, v: p[0].trips(where=[("passenger_count", "<", v)]),
    "Lake.trips a text": lambda p, v: p[0].trips(where=[("vendor_id", ">=", v)]),
    "Lake.trips a time": lambda p, v: p[0].trips(where=[("pickup_datetime", "!=", v)]),
    "Lake.trips a list": lambda p, v: p[0].trips(where=[("passenger_count", "in", v)]),
    "Lake.trips a list's value": lambda p, v: p[0].trips(where=[("passenger_count", "not in", [1, v])]),
    "Lake.cube start": lambda p, v: p[0].cube(start=v),
    "Lake.cube end": lambda p, v: p[0].cube(end=v),
    "Lake.sample": lambda p, v: p[0].sample(v),
    "Lake.sample columns": lambda p, v: p[0].sample(10, columns=v),
    "Lake.rejects": lambda p, v: p[0].rejects(v),
    "Lake.rejects reason": lambda p, v: p[0].rejects(reason=v),
    "Lake.rejects a reason": lambda p, v: p[0].rejects(reason=[v]),
    "Lake.rejects limit": lambda p, v: p[0].rejects(limit=v),
    "Lake.remove": lambda p, v: p[0].remove(v),
    "Lake.recount space": lambda p, v: p[0].recount(space=v),
    "Lake.recount slot": lambda p, v: p[0].recount(slot=v),
    "Lake.ingest": lambda p, v: p[0].ingest(v),
    "Lake.ingest a source": lambda p, v: p[0].ingest([v], errors="report"),
    "Lake.ingest space": lambda p, v: p[0].ingest(p[1], space=v),
    "Lake.ingest slot": lambda p, v: p[0].ingest(p[1], slot=v),
    "Lake.ingest block_size": lambda p, v: p[0].ingest(p[1], block_size=v),
    "Lake.ingest month": lambda p, v: p[0].ingest(p[1], month=v),
    "Lake.ingest errors": lambda p, v: p[0].ingest(p[1], errors=v),
    "Lake.ingest rules": lambda p, v: p[0].ingest(p[1], rules=v),
    "read_trips": lambda p, v: td.read_trips(v),
    "read_trips columns": lambda p, v: td.read_trips(p[1], columns=v),
    "read_trips a column": lambda p, v: td.read_trips(p[1], columns=[v]),
    "read_trips rules": lambda p, v: td.read_trips(p[1], rules=v),
    "count_trips": lambda p, v: td.count_trips(v),
    "count_trips a source": lambda p, v: td.count_trips([v]),
    "count_trips space": lambda p, v: td.count_trips(p[1], space=v),
    "count_trips slot": lambda p, v: td.count_trips(p[1], slot=v),
    "count_trips rules": lambda p, v: td.count_trips(p[1], rules=v),
    "make_sample": lambda p, v: td.make_sample(v, start="2015-01", trips_per_month=10),
    "make_sample start": lambda p, v: td.make_sample("s", start=v, trips_per_month=10),
    "make_sample months": lambda p, v: td.make_sample("s", start="2015-01", months=v, trips_per_month=10),
    "make_sample seed": lambda p, v: td.make_sample("s", start="2015-01", trips_per_month=10, seed=v, overwrite=True),
    "make_sample faults": lambda p, v: td.make_sample(
        "t", start="2015-01", trips_per_month=10, faults=v, overwrite=True
    ),
    "open_store": lambda p, v: td.open_store(v),
    "open_store a file": lambda p, v: isinstance(v, str) and td.open_store(f"sqlite:///{v}"),
    "Store.get_forecast": lambda p, v: p[3].get_forecast(v, 0),
    "Store.get_forecast cell": lambda p, v: p[3].get_forecast("a", v),
    "Store.get_forecast start": lambda p, v: p[3].get_forecast("a", 0, v),
    "Store.get_run": lambda p, v: p[3].get_run(v),
    "Store.list_runs": lambda p, v: p[3].list_runs(v),
    "load_settings lake": lambda p, v: td.load_settings(lake=v),
    "load_settings store": lambda p, v: td.load_settings(store=v),
    "load_settings sources": lambda p, v: td.load_settings(sources=v),
    "load_settings workers": lambda p, v: td.load_settings(workers=v),
    "connect": lambda p, v: v is None or td.connect(v),
    "run": lambda p, v: v is None or td.run(v),
    "Grid rows": lambda p, v: td.Grid(v, 2, west=0, south=0, east=1, north=1),
    "Grid.locate": lambda p, v: GRID.locate(v, v),
    "Grid west": lambda p, v: td.Grid(2, 2, west=v, south=0, east=1, north=1),
    "Zones": lambda p, v: td.Zones(v),
    "Cube": lambda p, v: td.Cube(v, start="2015-01-01", space=GRID),
    "Cube start": lambda p, v: td.Cube(COUNTS, start=v, space=GRID),
    "Cube slot": lambda p, v: td.Cube(COUNTS, start="2015-01-01", slot=v, space=GRID),
    "Cube space": lambda p, v: td.Cube(COUNTS, start="2015-01-01", space=v),
    "Cube missing": lambda p, v: td.Cube(COUNTS, start="2015-01-01", space=GRID, missing=v),
    "Cube.between": lambda p, v: p[2].between("2015-01-01", v),
    "Cube.reslot": lambda p, v: p[2].reslot(v),
    "DemandModel horizon": lambda p, v: td.DemandModel(horizon=v),
    "DemandModel.fit": lambda p, v: td.DemandModel().fit(v),
    "DemandModel.load": lambda p, v: td.DemandModel.load(v),
    "FareModel space": lambda p, v: td.FareModel(space=v),
    "FareModel.fit": lambda p, v: td.FareModel().fit(v),
    "FareModel.load": lambda p, v: td.FareModel.load(v),
    "open_store ttl_days": lambda p, v: td.open_store("sqlite:///x.db", ttl_days=v),
    "Store.put_forecast": lambda p, v: p[3].put_forecast(v, model="m", run="r"),
    "Store.put_forecast model": lambda p, v: p[3].put_forecast(p[4], model=v, run="r"),
    "Store.put_forecast run": lambda p, v: p[3].put_forecast(p[4], model="m", run=v),
    "Store.put_total_forecast": lambda p, v: p[3].put_total_forecast(v, model="m", run="r"),
    "Store.put_total_forecast run": lambda p, v: p[3].put_total_forecast(p[4], model="m", run=v),
    "Store.get_total_forecast": lambda p, v: p[3].get_total_forecast(v, slot=v),
    "Store.put_demand": lambda p, v: p[3].put_demand(v),
    "Store.put_demand cells": lambda p, v: p[3].put_demand(p[2], cells=v),
    "Store.put_demand a cell": lambda p, v: p[3].put_demand(p[2], cells=[v]),
    "Store.put_demand days": lambda p, v: p[3].put_demand(p[2], days=v),
    "Store.get_demand": lambda p, v: p[3].get_demand(v),
    "Store.get_demand cell": lambda p, v: p[3].get_demand("a", v),
    "Store.get_demand slot": lambda p, v: p[3].get_demand("a", 0, slot=v),
    "Store.put_card": lambda p, v: p[3].put_card("fare", v),
    "Store.put_card kind": lambda p, v: p[3].put_card(v, {"a": 1}),
    "Store.put_card run": lambda p, v: p[3].put_card("fare", {"a": 1}, run=v),
    "Store.get_card": lambda p, v: p[3].get_card(v, run=v),
    "Store.put_metrics": lambda p, v: p[3].put_metrics("r", "fare", v),
    "Store.put_metrics run": lambda p, v: p[3].put_metrics(v, "fare", TABLE),
    "Store.put_metrics kind": lambda p, v: p[3].put_metrics("r", v, TABLE),
    "Store.get_metrics": lambda p, v: p[3].get_metrics(v, v),
    "Store.put_ingest": lambda p, v: p[3].put_ingest("lake", v),
    "Store.put_ingest lake": lambda p, v: p[3].put_ingest(v, [{"url": "a"}]),
    "Store.put_ingest a source": lambda p, v: p[3].put_ingest("lake", [v]),
    "Store.put_ingest a url": lambda p, v: p[3].put_ingest("lake", [{"url": v}]),
    "Store.put_latest": lambda p, v: p[3].put_latest(v),
    "Store.create_run": lambda p, v: p[3].create_run(v),
    "Store.create_run id": lambda p, v: p[3].create_run({"id": v}),
    "Store.update_run": lambda p, v: p[3].update_run(v, {"a": 1}),
    "Store.update_run changes": lambda p, v: p[3].update_run("r", v),
    "Store.update_run a name": lambda p, v: p[3].update_run("r", {v if getattr(v, "__hash__", None) else (): 1}),
    "Store.update_run a value": lambda p, v: p[3].update_run("r", {"a": v}),
    "Store.update_run expect": lambda p, v: p[3].update_run("r", {"a": 1}, expect=v),
    "Store.list_runs before": lambda p, v: p[3].list_runs(before=v),
    "DemandModel options": lambda p, v: [
        td.DemandModel(**{name: v}) for name in ("interval", "rounds", "learning_rate", "seed", "num_threads")
    ],
    "DemandModel timezone": lambda p, v: td.DemandModel(horizon=2, rounds=2, timezone=v).fit(p[2]),
    "DemandModel holidays": lambda p, v: td.DemandModel(horizon=2, rounds=2, holidays=v).fit(p[2]),
    "DemandModel.forecast": lambda p, v: p[5].forecast(v, horizon=2),
    "DemandModel.forecast horizon": lambda p, v: p[5].forecast(p[2], horizon=v),
    "DemandModel.forecast weather": lambda p, v: p[5].forecast(p[2], horizon=2, weather=v),
    "DemandModel.predict_rolling": lambda p, v: p[5].predict_rolling(v, start="2015-01-04"),
    "DemandModel.predict_rolling start": lambda p, v: p[5].predict_rolling(p[2], start=v),
    "DemandModel.predict_rolling horizon": lambda p, v: p[5].predict_rolling(p[2], start="2015-01-04", horizon=v),
    "DemandModel.save": lambda p, v: p[5].save(v),
    "FareModel options": lambda p, v: [
        td.FareModel(**{name: v}) for name in ("interval", "rounds", "learning_rate", "seed", "num_threads")
    ],
    "FareModel.predict": lambda p, v: p[6].predict(v),
    "FareModel.quote a place": lambda p, v: p[6].quote(**{**RIDE, "pickup": v}),
    "FareModel.quote a longitude": lambda p, v: p[6].quote(**{**RIDE, "dropoff": (v, 40.7)}),
    "FareModel.quote at": lambda p, v: p[6].quote(**{**RIDE, "at": v}),
    "FareModel.quote passengers": lambda p, v: p[6].quote(**RIDE, passengers=v),
    "FareModel.save": lambda p, v: p[6].save(v),
    "backtest": lambda p, v: td.backtest(td.DemandModel(), v),
    "backtest model": lambda p, v: td.backtest(v, p[2]),
}


@pytest.mark.parametrize("name", CALLS)
def test_nonsense_is_refused_with_words(place, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for value in NONSENSE:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                CALLS[name](place, value)
        except TaxidaskError:
            pass
        except Exception as error:
            raise AssertionError(f"{name} of {value!r:.60} ends in {error!r:.200}") from error
