"""On real counts of New York: ahead of both naive baselines, with bands that hold what they say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import taxidask as td
from taxidask.demand.baselines import mean_four_weeks, same_slot_last_week
from taxidask.models import metrics


@pytest.fixture(scope="module")
def forty_days(data) -> td.Cube:
    """Half-hourly, from 2015-01-01, a blizzard on the 26th and 27th day."""
    with np.load(data / "demand" / "nyctaxi_10x20_30min_train.npz") as file:
        counts = file["volume"].reshape(-1, 200, 2).astype(np.int32)
    space = td.Grid(10, 20, west=-74.05, south=40.65, east=-73.75, north=40.85)
    return td.Cube(counts, start="2015-01-01", slot="30min", space=space)


@pytest.fixture(scope="module")
def hourly_2014(data) -> td.Cube:
    """Hourly, without September. Some hours stand there twice, the second time with zeros."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(data / "demand" / "taxinyc_16x8_60min_2010_2014" / "NYC14_Taxi_M16x8_T60_InOut.h5") as file:
        times = pd.to_datetime(file["date"][:].astype(str), format="%Y%m%d%H")
        flows = file["data"][:].astype(np.int32).reshape(len(times), 2, 128).transpose(0, 2, 1)
    start = pd.Timestamp("2014-01-01")
    counts = np.zeros((365 * 24, 128, 2), np.int32)
    np.maximum.at(counts, np.asarray((times - start) // pd.Timedelta("1h")), flows)
    space = td.Grid(16, 8, west=-74.05, south=40.65, east=-73.75, north=40.85)
    return td.Cube(counts, start=start, slot="60min", space=space, missing=counts.sum((1, 2)) == 0)


def errors(cube: td.Cube, forecasts: list[td.Forecast], lead: np.ndarray) -> dict[str, float]:
    """Root mean squared errors of forecasts and of the baselines, and the share of counts inside the bands."""
    target = np.concatenate([np.asarray((f.times - cube.start) // cube.slot) for f in forecasts])
    lead = np.tile(lead, len(forecasts)) if len(forecasts) > 1 else lead
    ok = ~cube.missing[target]
    actual = cube.counts[target[ok]]
    mean, low, high, total_low, total_high = (
        np.concatenate([getattr(f, name) for f in forecasts])[ok]
        for name in ("mean", "low", "high", "total_low", "total_high")
    )
    week = round(pd.Timedelta(days=7) / cube.slot)
    return {
        "model": metrics.rmse(actual, mean),
        "last_week": metrics.rmse(actual, same_slot_last_week(cube.counts, cube.missing, target, lead, week=week)[ok]),
        "four_weeks": metrics.rmse(actual, mean_four_weeks(cube.counts, cube.missing, target, lead, week=week)[ok]),
        "coverage": metrics.coverage(actual, low, high),
        "total_coverage": metrics.coverage(actual.sum(1), total_low, total_high),
    }


@pytest.fixture(scope="module")
def winter(forty_days) -> td.DemandModel:
    return td.DemandModel(max_rows=240_000, rounds=120).fit(forty_days.between("2015-01-01", "2015-01-31"))


def test_the_next_half_hour(winter, forty_days):
    """Goal: a third off the better baseline (one slot ahead over the last ten days)."""
    found = errors(forty_days, [winter.predict_rolling(forty_days, start="2015-01-31")], np.ones(480, int))
    assert found["model"] < 0.67 * found["four_weeks"], found
    assert found["model"] < 0.40 * found["last_week"], found
    assert 0.75 < found["coverage"] < 0.95, found
    assert 0.75 < found["total_coverage"] < 0.98, found


def test_the_next_day(winter, forty_days):
    origins = pd.date_range("2015-01-31", "2015-02-09", freq="18h")
    forecasts = [winter.forecast(forty_days.between("2015-01-01", origin)) for origin in origins]
    found = errors(forty_days, forecasts, np.arange(1, 49))
    assert found["model"] < 0.95 * found["four_weeks"], found
    assert found["model"] < 0.60 * found["last_week"], found
    assert 0.75 < found["coverage"] < 0.95, found


def test_an_hour_of_autumn_after_a_missing_month(hourly_2014):
    cube = hourly_2014.between("2014-05-01", "2014-11-26")
    model = td.DemandModel(max_rows=240_000, rounds=120, horizon=24).fit(cube.between("2014-05-01", "2014-11-12"))
    rolled = errors(cube, [model.predict_rolling(cube, start="2014-11-12")], np.ones(14 * 24, int))
    assert rolled["model"] < 0.7 * rolled["four_weeks"], rolled
    assert rolled["model"] < 0.7 * rolled["last_week"], rolled
    assert 0.75 < rolled["coverage"] < 0.95, rolled
    origins = pd.date_range("2014-11-12", "2014-11-25", freq="17h")
    ahead = errors(cube, [model.forecast(cube.between("2014-05-01", origin)) for origin in origins], np.arange(1, 25))
    assert ahead["model"] < 0.95 * ahead["four_weeks"], ahead
    assert ahead["model"] < 0.95 * ahead["last_week"], ahead
