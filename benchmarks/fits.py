"""Where the time of fitting goes: the fare model with its backtest, as `taxidask demo` does them.

Makes the demo's month, reads it, and does the fits of the run's fare stage, each on one thread. Prints a Markdown table
of the processor seconds of each part, by which the machine's other work hardly matters.

    python benchmarks/fits.py [TRIPS]

TRIPS, 300,000 unless given, is how many trips are made.
"""

from __future__ import annotations

import functools
import sys
import tempfile
import threading
import time
from collections import defaultdict
from typing import Any

import taxidask as td
from taxidask.fare import backtests, fit_and_backtest, model, tasks, training
from taxidask.models.boosting import lightgbm
from taxidask.runs.stages import BACKTEST_FOLDS, fare_trips

PARTS: list[tuple[Any, str, str]] = [
    (model, "read_rides", "rides of the table"),
    (tasks, "features", "features"),
    (tasks, "naive_fare", "the tariff beside it"),
    (backtests, "naive_fare", "the tariff beside it"),
    (lightgbm.Dataset, "construct", "sorting features into bins"),
    (lightgbm, "train", "boosting"),
    (training, "walk", "prediction"),
    (tasks, "walk", "prediction"),
    (lightgbm.Booster, "model_to_string", "models as text"),
    (tasks, "forest_of", "models of text"),
    (training, "forest_of", "models of text"),
    (training.Band, "calibrate", "calibration"),
]
NAMES = {
    "huber": "of fares, to the mean",
    "l1": "of fares, to the median",
    "regression": "of tolls",
    "quantile": "of an edge of the band",
}


def main(trips: int) -> None:
    seconds: dict[str, float] = defaultdict(float)
    calls: dict[str, int] = defaultdict(int)
    here = threading.local()

    def timed(function: Any, part: str) -> Any:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if getattr(here, "inside", False):  # then it is part of another one's
                return function(*args, **kwargs)
            name = f"{part} {NAMES[args[0]['objective']]}" if part == "boosting" else part
            here.inside, begin = True, time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                here.inside = False
                seconds[name] += time.thread_time() - begin
                calls[name] += 1

        return call

    with tempfile.TemporaryDirectory() as folder:
        lake = td.Lake(f"{folder}/lake")
        lake.ingest(td.make_sample(f"{folder}/trips", start="2015-03", trips_per_month=trips, seed=1))
        frame, space = fare_trips(lake), lake.space
    td.FareModel(rounds=1, num_threads=1).fit(frame.iloc[:2000])  # what is imported and compiled once
    for place, name, part in PARTS:
        setattr(place, name, timed(getattr(place, name), part))
    begin = time.process_time()
    fit_and_backtest(td.FareModel(space=space, num_threads=1), frame, folds=BACKTEST_FOLDS)
    whole = time.process_time() - begin
    seconds["the rest"] = whole - sum(seconds.values())
    print(f"| {len(frame):,} trips, {BACKTEST_FOLDS} folds and the fit on all | calls | processor seconds | share |")
    print("|---|---:|---:|---:|")
    for name, taken in sorted(seconds.items(), key=lambda item: -item[1]):
        print(f"| {name} | {calls[name] or ''} | {taken:.2f} | {taken / whole:.0%} |")
    print(f"| all | | {whole:.2f} | |")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 300_000)
