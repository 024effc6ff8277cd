"""How much better than the city's tariff the fare model tells what a trip will cost.

Fits on the older trips of a table and predicts the newer ones, several origins in a row, and prints a Markdown table
with the tariff on the straight line, worked out for the same trips, beside it. Then it times a fit on all trips.

    python benchmarks/fares.py FARES.parquet [FOLDS]

FARES.parquet holds pickup_datetime, four coordinates, passenger_count and fare_amount.
"""

from __future__ import annotations

import sys
import time

import pandas as pd

import taxidask as td


def main(path: str, folds: int) -> None:
    trips = pd.read_parquet(path)
    table = td.backtest(td.FareModel(), trips, folds=folds)
    print(
        "| trips from | to | fitted on | predicted | MAE, USD | tariff | ratio | RMSE, USD | tariff | ratio | in band |"
    )
    print("|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for row in table.itertuples():
        print(
            f"| {row.origin:%Y-%m-%d} | {row.end:%Y-%m-%d} | {row.fitted_on:,} | {row.rows:,} "
            f"| {row.mae:.2f} | {row.tariff_mae:.2f} | {row.tariff_mae / row.mae:.1f} × "
            f"| {row.rmse:.2f} | {row.tariff_rmse:.2f} | {row.tariff_rmse / row.rmse:.1f} × | {row.coverage:.1%} |"
        )
    begin, cpu = time.perf_counter(), time.process_time()
    model = td.FareModel().fit(trips)
    seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
    print(f"\nFit on {model.card['data']['fitted_on']:,} trips: {seconds:.1f} s, {cpu:.1f} s of processor time.")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 3)
