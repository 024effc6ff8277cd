from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import taxidask as td
from taxidask.cube import Cube
from taxidask.demand import Forecast
from taxidask.results import Store, open_store

RUN = "20160201T081500Z-ab12cd"


def run_item(name: str = RUN, **changes: Any) -> dict[str, Any]:
    item = {
        "id": name,
        "created": "2016-02-01T08:15:00Z",
        "updated": "2016-02-01T08:19:00Z",
        "state": "done",
        "settings": {"lake": "/data/lake", "heartbeat_timeout": 60.0},
        "settings_key": "0",
        "owner": "here",
        "heartbeat": 0.0,
        "cancel": False,
        "stages": {
            "ingest": {
                "state": "done",
                "started": "2016-02-01T08:15:00Z",
                "ended": "2016-02-01T08:15:30Z",
                "rows": 1050,
            },
            "publish": {"state": "done", "started": "2016-02-01T08:16:00Z", "ended": "2016-02-01T08:17:05Z", "rows": 9},
        },
        "cost": {},
        "error": None,
    }
    return item | changes


def fill(store: Store) -> Cube:
    """Publish three weeks of demand in six cells, a forecast, two sources and a run."""
    grid = td.Grid(2, 3, west=-74.02, south=40.70, east=-73.96, north=40.74)
    hour = np.arange(21 * 48) % 48
    counts = (20 + 15 * np.sin(hour / 48 * 2 * np.pi))[:, None, None] * np.array(
        [[1, 2], [2, 1], [3, 3], [0, 1], [5, 4], [1, 1]]
    )
    cube = Cube(counts.astype(np.int32), start="2016-01-11", slot="30min", space=grid)
    mean = cube.counts[-7 * 48 : -5 * 48].astype(np.float32)
    total = mean.sum(axis=1)
    times = pd.date_range(cube.end, periods=len(mean), freq="30min")
    forecast = Forecast(times, mean, mean * 0.8, mean * 1.2, grid, cube.slot, total * 0.9, total * 1.1)
    store.create()
    store.create_run(run_item())
    store.put_ingest(
        "/data/lake",
        [
            {"url": "/data/a.csv", "rows": 600, "kept": 580, "rejected": 20, "malformed": 5, "outside_city": 15},
            {"url": "/data/b.csv", "rows": 450, "kept": 449, "rejected": 1, "malformed": 1, "outside_city": 0},
        ],
    )
    store.put_demand(cube)
    store.put_forecast(forecast, model="demand", run=RUN)
    store.put_total_forecast(forecast, model="demand", run=RUN)
    store.put_geometry(cube.space)
    store.put_demand_map(cube)
    store.put_forecast_map(forecast, model="demand", run=RUN)
    store.put_latest(
        {
            "run": RUN,
            "lake": "/data/lake",
            "space": grid.key,
            "slot": "30min",
            "cube_start": cube.start.isoformat(),
            "cube_end": cube.end.isoformat(),
            "forecast_start": times[0].isoformat(),
            "forecast_end": forecast.end.isoformat(),
            "trips": 1029,
            "cells": [4, 2, 1],
        }
    )
    return cube


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store that does not exist yet."""
    return open_store(f"sqlite:///{tmp_path}/taxidask.db")


@pytest.fixture
def filled(store: Store) -> Store:
    fill(store)
    return store
