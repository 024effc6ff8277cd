"""How near the fare model comes to what trips cost, beside the city's tariff on the straight line for the same trips.

Three splits: the meter on random rows of `fares`, fitted on the others; the meter on `trips` of the newest year, fitted
on all before; the price, tolls included, on random rows of `trips`, fitted on the others. Each year and both airports
apart, then how many prices the bands hold, then the seconds of each fit and the prices told in a second.

    python benchmarks/fare.py DATA [--only fares|newest|trips | --test FILE]

DATA holds fares/*.parquet and trips/*.csv with TLC's columns. FILE, Parquet or CSV, is a table that a reader has: then
the model is fitted on all of DATA and asked about that one alone; its price counts where tolls_amount is known, and
where there is no such column, fare_amount is taken to hold the tolls.

Scored are rows with a fare of 2.50 to 200 USD and both ends within longitude -74.3 to -73.7 and latitude 40.5 to 41.0,
however implausible otherwise.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

import taxidask as td
from taxidask.fare import tariff_fare
from taxidask.fare.landmarks import AIRPORTS, taxi_zones

COLUMNS = [
    *("pickup_datetime", "pickup_longitude", "pickup_latitude", "dropoff_longitude", "dropoff_latitude"),
    *("passenger_count", "fare_amount", "tolls_amount"),
]
BANDS = [0, 6, 10, 25, 45, np.inf]
SHARE = 0.2  # of rows, held out at random
# MAE, RMSE and median of a chain of boosters tried out before this model was made, on splits made alike (other random
# rows): an L2 trunk and an L1 head in units of the meter. No published table has these rows; the nearest, Kaggle's New
# York City Taxi Fare Prediction, scores by RMSE alone, of prices whose tolls are included.
EXPLORED = {"fares": (1.35, 3.22, 0.67), "newest": (1.41, 3.06, 0.78), "trips": (1.51, 3.18, 0.84)}


@dataclass(frozen=True)
class Split:
    """What is fitted on, what is scored, and whether by the meter or by the price."""

    name: str
    title: str
    train: pd.DataFrame
    test: pd.DataFrame
    by: str


def read(path: Path) -> pd.DataFrame:
    """A table in TLC's columns, every row of it; tolls are NaN where there are none."""
    trips = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    trips.columns = trips.columns.str.strip().str.lower().str.replace("^[tl]pep_", "", regex=True)
    trips["pickup_datetime"] = pd.to_datetime(trips["pickup_datetime"])
    return trips.reindex(columns=COLUMNS)


def scored(trips: pd.DataFrame) -> pd.DataFrame:
    """The rows that count."""
    good = trips["fare_amount"].between(2.5, 200)
    for end in ("pickup", "dropoff"):
        good &= trips[f"{end}_longitude"].between(-74.3, -73.7) & trips[f"{end}_latitude"].between(40.5, 41.0)
    return trips[good]


def splits(data: Path) -> list[Split]:
    fares = pd.concat([read(path) for path in sorted((data / "fares").glob("*.parquet"))], ignore_index=True)
    trips = pd.concat([read(path) for path in sorted((data / "trips").glob("*.csv"))], ignore_index=True)
    draw = np.random.default_rng(0)
    of_fares, of_trips = draw.random(len(fares)) < SHARE, draw.random(len(trips)) < SHARE
    newest = trips["pickup_datetime"].dt.year == trips["pickup_datetime"].dt.year.max()
    year = trips.loc[newest, "pickup_datetime"].dt.year.iloc[0]
    both = pd.concat([fares, trips[~newest]], ignore_index=True)
    return [
        Split("fares", "the meter, random rows of `fares`", fares[~of_fares], fares[of_fares], "fare"),
        Split("newest", f"the meter, `trips` of {year}, from all before", both, trips[newest], "fare"),
        Split("trips", "the price, random rows of `trips`", trips[~of_trips], trips[of_trips], "price"),
    ]


def given(data: Path, path: Path) -> Split:
    everything = [read(file) for file in (*(data / "fares").glob("*.parquet"), *(data / "trips").glob("*.csv"))]
    return Split(path.name, f"the price, `{path.name}`", pd.concat(everything, ignore_index=True), read(path), "price")


def errors(paid: pd.Series, told: pd.Series) -> str:
    off = (told - paid).abs()
    return f"{off.mean():.3f} | {np.sqrt((off**2).mean()):.2f} | {off.median():.2f}"


def parts(test: pd.DataFrame) -> dict[str, pd.Series]:
    """Rows of each year, and those that begin or end at an airport."""
    year = test["pickup_datetime"].dt.year
    ends = [taxi_zones(test[f"{end}_longitude"], test[f"{end}_latitude"]) for end in ("pickup", "dropoff")]
    named = {str(one): year == one for one in sorted(year.unique())}
    for name, title in (("jfk", "JFK"), ("laguardia", "LaGuardia")):
        zone = AIRPORTS[name].zone
        named[title] = pd.Series((ends[0] == zone) | (ends[1] == zone), index=test.index)
    return {"all": pd.Series(True, index=test.index), **named}


def main(splits: list[Split], models: int) -> None:
    bands, fits = [], []
    print("| | rows | MAE | RMSE | median | tariff: MAE | RMSE | median |\n|---|---:|---:|---:|---:|---:|---:|---:|")
    for split in splits:
        begin, cpu = time.perf_counter(), time.process_time()
        model = td.FareModel().fit(split.train)
        fits.append((split, len(split.train), time.perf_counter() - begin, time.process_time() - cpu))
        test = scored(split.test)
        if test["tolls_amount"].notna().any():
            test = test[test["tolls_amount"].notna()]
        told, tariff = model.predict(test), tariff_fare(test)
        price = test["fare_amount"] + (test["tolls_amount"].fillna(0) if model.card["data"]["tolls_known"] else 0)
        paid = test["fare_amount"] if split.by == "fare" else price
        for name, which in parts(test).items():
            if which.any():
                title = f"**{split.title}**" if name == "all" else name
                ours, naive = errors(paid[which], told.loc[which, split.by]), errors(paid[which], tariff[which])
                print(f"| {title} | {which.sum():,} | {ours} | {naive} |")
        if split.name in EXPLORED:
            print("| explored before | | {:.2f} | {:.2f} | {:.2f} | | | |".format(*EXPLORED[split.name]))
        held = (price >= told["low"]) & (price <= told["high"])
        of_band = (held[told["price"].between(a, b, inclusive="left")] for a, b in pairwise(BANDS))
        inside = [held.mean(), *(some.mean() for some in of_band)]
        shares = " | ".join(f"{share:.1%}" for share in inside)
        bands.append(f"| {split.title} | {shares} | {(told['high'] - told['low']).mean():.2f} |")
    print("\n| price inside the 80 % band | all | < 6 | 6–10 | 10–25 | 25–45 | > 45 USD | width, USD |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|", *bands, sep="\n")
    print("\n| fit | rows | seconds | processor seconds |\n|---|---:|---:|---:|")
    for split, rows, seconds, cpu in fits:
        print(f"| {split.title} | {rows:,} | {seconds:.1f} | {cpu:.1f} |")
    asked = pd.concat([test] * (models // len(test) + 1), ignore_index=True).head(models).drop(columns=["fare_amount"])
    model.predict(asked.head(1000))
    begin, cpu = time.perf_counter(), time.process_time()
    model.predict(asked)
    seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
    print(
        f"\n{models / seconds:,.0f} prices with bands a second on {os.cpu_count()} cores; "
        f"{models / cpu:,.0f} a second of processor time."
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--only", choices=EXPLORED, help="one of the splits: each takes minutes")
    which.add_argument("--test", type=Path)
    parser.add_argument("--prices", type=int, default=500_000, help="how many are asked for to see how many a second")
    asked = parser.parse_args()
    of_data = [given(asked.data, asked.test)] if asked.test else splits(asked.data)
    main([split for split in of_data if asked.only in (None, split.name)], asked.prices)
