from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import taxidask as td
from taxidask.cube import Cube
from taxidask.demand import Forecast
from taxidask.fare.told import count_errors, count_prices
from taxidask.results import Store, open_store

RUN = "20160201T081500Z-ab12cd"


@dataclass(frozen=True)
class Published:
    """A small lake and the store of a run over it."""

    lake: td.Lake
    store: Store
    cube: Cube
    forecast: Forecast
    run: str = RUN


def stages() -> dict[str, dict[str, object]]:
    names = ("ingest", "demand", "fare", "publish", "report")
    return {
        name: {
            "state": "running" if name == "report" else "done",
            "started": f"2016-02-01T08:{15 + place}:00Z",
            "ended": None if name == "report" else f"2016-02-01T08:{15 + place}:42Z",
            "rows": 1000 * place,
            "detail": f"what {name} did",
        }
        for place, name in enumerate(names)
    }


def naive_forecast(cube: Cube, slots: int = 48) -> Forecast:
    """Last week's same slots, with a band around them: enough to be drawn."""
    week = round(pd.Timedelta("7D") / cube.slot)
    mean = cube.counts[len(cube) - week : len(cube) - week + slots].astype(np.float32)
    total = mean.sum(axis=1)
    times = pd.date_range(cube.end, periods=slots, freq=cube.slot)
    return Forecast(times, mean, mean * 0.5, mean * 1.5 + 1, cube.space, cube.slot, total * 0.8, total * 1.2)


def demand_metrics() -> pd.DataFrame:
    rows = []
    for fold in range(2):
        for direction in ("pickup", "dropoff"):
            for first, last in ((1, 4), (5, 48), (1, 48)):
                errors = {
                    f"{of}{name}": 1.0 + fold for of in ("", "last_week_", "four_weeks_") for name in ("mae", "rmse")
                }
                mapes = {f"{of}mape": 20.0 for of in ("", "last_week_", "four_weeks_")}
                about = {"fold": fold, "direction": direction, "first_lead": first, "last_lead": last}
                rows.append({**about, "slots": 48, "coverage": 0.81, "width": 3.0, **errors, **mapes})
    return pd.DataFrame(rows)


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    folder = tmp_path_factory.mktemp("published")
    files = td.make_sample(folder / "trips", start="2016-01", months=1, trips_per_month=6000, seed=3, faults=0.05)
    lake = td.Lake(folder / "lake")
    lake.ingest(files)
    cube = lake.cube()
    forecast = naive_forecast(cube)
    store = open_store(f"sqlite:///{folder}/taxidask.db")
    store.create()
    store.put_ingest(lake.url, lake.sources().to_dict("records"))
    store.put_metrics(RUN, "demand", demand_metrics())
    paid = np.random.default_rng(0).gamma(2, 6, 3000) + 2.5
    told = paid * np.linspace(0.8, 1.2, 3000)
    store.put_metrics(RUN, "fare-prices", count_prices(paid, told, told - 2, told + 2))
    store.put_metrics(RUN, "fare-errors", count_errors(paid, told))
    store.put_forecast(forecast, model="demand", run=RUN)
    store.put_total_forecast(forecast, model="demand", run=RUN)
    store.put_demand(cube)
    volume = cube.counts.sum(axis=(0, 2))
    store.put_latest(
        {
            "run": RUN,
            "lake": lake.url,
            "space": cube.space.key,
            "slot": "30min",
            "cube_start": cube.start.isoformat(),
            "cube_end": cube.end.isoformat(),
            "forecast_start": forecast.times[0].isoformat(),
            "forecast_end": forecast.end.isoformat(),
            "trips": int(lake.sources()["kept"].sum()),
            "cells": [int(cell) for cell in volume.argsort(kind="stable")[::-1][:10]],
        }
    )
    settings = td.Settings(sources=files, lake=lake.url, store=store.url).model_dump(mode="json")
    store.create_run(
        {
            "id": RUN,
            "created": "2016-02-01T08:15:00Z",
            "updated": "2016-02-01T08:19:00Z",
            "state": "running",
            "settings": settings,
            "settings_key": "0",
            "owner": "here",
            "heartbeat": 0.0,
            "cancel": False,
            "stages": stages(),
            "cost": {},
            "error": None,
        }
    )
    return Published(lake, store, cube, forecast)


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch")
