"""How near the demand model comes to what was counted, beside baselines, peers and published figures.

The next 30 minutes on the NYC-Taxi benchmark of Yao et al. (AAAI 2019): fitted on its first 30 days, scored on the 10
after them, over counts above 10, as its papers do. Then how much of what was counted the bands hold by how far ahead
they look, and the next hour of all of Manhattan's flows of 2010 to 2014, by year.

    python benchmarks/demand.py DATA [--test FILE]

DATA holds demand/nyctaxi_10x20_30min_train.npz and demand/taxinyc_16x8_60min_2010_2014/*.h5. FILE is the benchmark's
test half, an .npz with the same key, `volume`, of the 20 days that follow: then the model is fitted on all 40 days and
asked about those alone. Peers are compared with where their packages are installed: mlforecast, statsforecast.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

import taxidask as td
from taxidask.demand import baselines
from taxidask.models import metrics

LEARNED, DAY = 30, 48
LEADS = (1, 2, 4, 8, 16, 32, 48)
BUSY = 10
NAIVE = {"last_week": "last week", "four_weeks": "mean of four weeks"}
LAGS = [1, 2, 3, 4, 48, 336]
# RMSE and MAPE of starts on the test half, as published; the first two in Yao et al., AAAI 2019, TGNet by Lee et al.,
# arXiv 1905.10709.
PUBLISHED = {
    "XGBoost": ("26.07", "19.35%"),
    "STDN": ("24.10", "16.30%"),
    "TGNet": ("22.75", "14.83%"),
}
# The benchmark's grid has no known place: this one only says which cells lie beside each other.
SPACE = td.Grid(10, 20, west=-74.05, south=40.63, east=-73.75, north=40.85)


def half_hours(path: Path) -> np.ndarray:
    with np.load(path) as file:
        return file["volume"].reshape(-1, SPACE.cells, 2).astype(np.int32)


def of_busy(actual: np.ndarray, mean: np.ndarray) -> str:
    """RMSE and MAPE by direction over counts above 10."""
    cells = []
    for direction in (0, 1):
        y, m = actual[..., direction], mean[..., direction]
        busy = y > BUSY
        cells += [f"{metrics.rmse(y[busy], m[busy]):.2f}", f"{np.mean(np.abs(m[busy] - y[busy]) / y[busy]):.2%}"]
    return " | ".join(cells)


def naive(cube: td.Cube, target: np.ndarray) -> dict[str, np.ndarray]:
    """The baselines' forecasts of slots, each from the one before."""
    lead, day = np.ones_like(target), round(pd.Timedelta(days=1) / cube.slot)
    return baselines.naive(cube.counts, cube.missing, target, lead, day=day, weekly=True)


def boosted(cube: td.Cube, first: int) -> np.ndarray:
    """LightGBM through mlforecast: lags and the clock, one model of all cells, one step ahead."""
    import lightgbm as lgb
    from mlforecast import MLForecast

    slots, cells, _ = cube.counts.shape
    series = cube.counts.reshape(slots, -1).T
    table = pd.DataFrame(
        {
            "unique_id": np.repeat(np.arange(len(series)), slots),
            "ds": np.tile(cube.times, len(series)),
            "y": series.ravel().astype(float),
        }
    )
    learner = lgb.LGBMRegressor(n_estimators=300, num_leaves=63, learning_rate=0.1, verbosity=-1, random_state=0)
    model = MLForecast({"boosted": learner}, "30min", lags=LAGS, date_features=["hour", "minute", "dayofweek"])
    prepared = model.preprocess(table, static_features=[])
    learn = prepared["ds"] < cube.times[first]
    names = [name for name in prepared.columns if name not in ("unique_id", "ds", "y")]
    learner.fit(prepared.loc[learn, names], prepared.loc[learn, "y"])
    asked = prepared[~learn].sort_values(["unique_id", "ds"])
    found = np.maximum(learner.predict(asked[names]), 0).reshape(len(series), -1)
    return found.T.reshape(-1, cells, 2)


def smoothed(counts: np.ndarray, times: pd.DatetimeIndex, first: int) -> np.ndarray:
    """AutoETS of statsforecast, fitted once, then each next slot (slots,)."""
    from statsforecast import StatsForecast
    from statsforecast.models import AutoETS

    table = pd.DataFrame({"unique_id": 0, "ds": times, "y": counts.astype(float)})
    model = StatsForecast([AutoETS(season_length=DAY)], "30min")
    found = model.cross_validation(1, table, n_windows=len(table) - first, step_size=1, refit=False)
    return found["AutoETS"].to_numpy()


def next_half_hour(cube: td.Cube, first: int) -> td.DemandModel:
    begin, cpu = time.perf_counter(), time.process_time()
    model = td.DemandModel().fit(cube.between(cube.start, cube.times[first - 1] + cube.slot))
    took, spent = time.perf_counter() - begin, time.process_time() - cpu
    begin = time.perf_counter()
    forecast = model.predict_rolling(cube, start=cube.times[first])
    asking = (time.perf_counter() - begin) / (len(cube) - first)
    actual, naively = cube.counts[first:], naive(cube, np.arange(first, len(cube)))
    print("| next 30 minutes, counts above 10 | start RMSE | MAPE | end RMSE | MAPE |\n|---|---:|---:|---:|---:|")
    print(f"| DemandModel() | {of_busy(actual, forecast.mean)} |")
    for name, mean in naively.items():
        print(f"| {NAIVE[name]} | {of_busy(actual, mean)} |")
    peer("LightGBM, mlforecast", lambda: of_busy(actual, boosted(cube, first)))
    for name, figures in PUBLISHED.items():
        print(f"| {name}, as published, on the test half | {' | '.join(figures)} | | |")
    print(f"\nfitted in {took:.1f} s ({spent:.1f} processor seconds), a slot asked for in {1000 * asking:.0f} ms\n")

    print("| the city's total | pickups RMSE | dropoffs RMSE |\n|---|---:|---:|")
    total = actual.sum(1)
    print(f"| DemandModel() | {of_total(total, forecast.mean.sum(1))} |")
    for name, mean in naively.items():
        print(f"| {NAIVE[name]} | {of_total(total, mean.sum(1))} |")
    each = [cube.counts[..., direction].sum(1) for direction in (0, 1)]
    peer(
        "AutoETS, statsforecast",
        lambda: of_total(total, np.stack([smoothed(counts, cube.times, first) for counts in each], 1)),
    )
    print()
    return model


def of_total(actual: np.ndarray, mean: np.ndarray) -> str:
    return " | ".join(f"{metrics.rmse(actual[:, direction], mean[:, direction]):.0f}" for direction in (0, 1))


def peer(name: str, ask: Callable[[], str]) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # theirs
            print(f"| {name} | {ask()} |")
    except ImportError as error:
        print(f"(without {name}: {error})")


def bands(model: td.DemandModel, cube: td.Cube, first: int) -> None:
    print("| slots ahead | RMSE | held where 5 or more are expected | width | held elsewhere | width | city held |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    for lead in LEADS:
        f = model.predict_rolling(cube, start=cube.times[first], horizon=lead)
        y = cube.counts[first:]
        held, width = (y >= np.floor(f.low)) & (y <= np.ceil(f.high)), np.ceil(f.high) - np.floor(f.low)
        many = f.mean >= 5
        total = y.sum(1)
        city = np.mean((total >= f.total_low) & (total <= f.total_high))
        print(
            f"| {lead} | {metrics.rmse(y, f.mean):.2f} | {held[many].mean():.1%} | {width[many].mean():.1f} | "
            f"{held[~many].mean():.1%} | {width[~many].mean():.2f} | {city:.1%} |"
        )
    print()


def hourly(folder: Path, year: int) -> td.Cube:
    """The flows of a year; hours that are not there are missing. Some stand there twice, once with zeros."""
    import h5py

    with h5py.File(folder / f"NYC{year % 100}_Taxi_M16x8_T60_InOut.h5") as file:
        times = pd.to_datetime(file["date"][:].astype(str), format="%Y%m%d%H")
        flows = file["data"][:].astype(np.int32).reshape(len(times), 2, 128).transpose(0, 2, 1)
    start = pd.Timestamp(year, 1, 1)
    counts = np.zeros(((pd.Timestamp(year + 1, 1, 1) - start) // pd.Timedelta("1h"), 128, 2), np.int32)
    inside = (times >= start) & (times < pd.Timestamp(year + 1, 1, 1))
    np.maximum.at(counts, np.asarray((times[inside] - start) // pd.Timedelta("1h")), flows[inside])
    space = td.Grid(16, 8, west=-74.05, south=40.63, east=-73.75, north=40.85)
    return td.Cube(counts, start=start, slot="60min", space=space, missing=counts.sum((1, 2)) == 0)


def years(folder: Path) -> None:
    print("| the next hour | fitted on | scored from | RMSE | last week | four weeks | held | fit, s |")
    print("|---|---|---|---:|---:|---:|---:|---:|")
    for path in sorted(folder.glob("NYC*_Taxi_M16x8_T60_InOut.h5")):
        year = 2000 + int(path.name[3:5])
        cube = hourly(folder, year)
        start = pd.Timestamp(year, 11, 1)
        begin = time.perf_counter()
        model = td.DemandModel(horizon=24).fit(cube.between(cube.start, start))
        took = time.perf_counter() - begin
        f = model.predict_rolling(cube, start=start)
        target = np.asarray((f.times - cube.start) // cube.slot)
        seen = ~cube.missing[target]
        week = [metrics.rmse(cube.counts[target][seen], mean[seen]) for mean in naive(cube, target).values()]
        y = cube.counts[target][seen]
        held = np.mean((y >= f.low[seen]) & (y <= f.high[seen]))
        print(
            f"| {year} | January to October | {start:%-d %B} | {metrics.rmse(y, f.mean[seen]):.2f} | {week[0]:.2f} | "
            f"{week[1]:.2f} | {held:.1%} | {took:.0f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--test", type=Path)
    given = parser.parse_args()
    print(f"{os.cpu_count()} cores\n")
    counts, first = half_hours(given.data / "demand" / "nyctaxi_10x20_30min_train.npz"), LEARNED * DAY
    if given.test:
        first = len(counts)
        counts = np.concatenate([counts, half_hours(given.test)])
    cube = td.Cube(counts, start="2015-01-01", slot="30min", space=SPACE)
    bands(next_half_hour(cube, first), cube, first)
    if not given.test:
        years(given.data / "demand" / "taxinyc_16x8_60min_2010_2014")


if __name__ == "__main__":
    main()
