"""The report's figures and tables about fares: their distribution, and what models say of trips they have not seen."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from taxidask.report.display import Figure, Table, Text
from taxidask.report.figures import DROPOFF, PICKUP, canvas, counted

if TYPE_CHECKING:
    from taxidask.report.data import RunData


def bars(fares: pd.Series) -> tuple[pd.Series, np.ndarray]:
    """What a histogram of fares shows, and its edges: of 1 or 2 USD, to where a hundredth lies above, which is in the
    last bar."""
    top = max(5.0, float(np.ceil(fares.quantile(0.99) / 5) * 5))
    width = 1.0 if top <= 80 else 2.0
    edges = np.arange(0, top + width, width)
    return fares.clip(upper=edges[-1]), edges


def distribution(trips: pd.DataFrame) -> Figure | Text:
    """How often which fare is paid, and what is paid by hour of the day."""
    fares = trips["fare_amount"].dropna()
    if fares.empty:
        return Text("*No trip has a fare.*")
    shown, edges = bars(fares)
    hours = pd.DatetimeIndex(trips.loc[fares.index, "pickup_datetime"]).hour
    by_hour = fares.groupby(np.asarray(hours)).quantile(np.array([0.25, 0.5, 0.75])).rename("fare").reset_index()
    by_hour.columns = ["hour", "share", "fare"]
    table = by_hour.pivot_table(values="fare", index="hour", columns="share").reindex(range(24))
    with canvas(2.3, ncols=2) as (sheet, (left, right)):
        left.hist(shown, bins=edges, color=PICKUP)
        middle = float(fares.median())
        left.axvline(middle, color="black", lw=0.8, ls="--")
        left.annotate(
            f"median {middle:.2f} USD", (middle, 1), xycoords=("data", "axes fraction"), xytext=(4, -4),
            textcoords="offset points", va="top", fontsize=7.5,
        )  # fmt: skip
        left.set_xlabel("fare, USD")
        left.set_ylabel("trips")
        left.set_title("How often which fare")
        left.grid(axis="y")
        counted(left.yaxis)
        right.fill_between(table.index, table[0.25], table[0.75], color=PICKUP, alpha=0.25, lw=0, label="middle half")
        right.plot(table.index, table[0.5], color=PICKUP, label="median")
        right.set_ylim(bottom=0)
        right.set_xlim(0, 23)
        right.set_xticks(range(0, 24, 6), [f"{hour}:00" for hour in range(0, 24, 6)])
        right.set_ylabel("fare, USD")
        right.set_title("By hour of pickup")
        right.grid(axis="y")
        right.legend(loc="lower right")
        return Figure(
            sheet,
            caption=f"Fares (without tip and tolls) of {len(fares):,} trips. Those above {edges[-1]:.0f} USD, at most "
            "a hundredth, stand in the last bar.",
            alt=f"Histogram of fares with the median at {middle:.2f} USD; line of the median fare by hour",
        )


def predicted(data: RunData) -> Figure | Text:
    """What was paid beside what the backtest's models had said, and how far they were off."""
    prices, errors = data.metrics("fare-prices"), data.metrics("fare-errors")
    if prices.empty or errors.empty:
        return Text("*The run published no comparison of the prices its models said with those that were paid.*")
    from matplotlib.colors import LogNorm

    top = int(max(prices["paid"].max(), prices["price"].max())) + 1
    trips = np.zeros((top, top))
    trips[prices["price"], prices["paid"]] = prices["trips"]
    count, span = int(prices["trips"].sum()), float(errors["to"].max())
    with canvas(2.75, ncols=2) as (sheet, (left, right)):
        norm = LogNorm(0.4, max(trips.max(), 10))  # from below 1, so that a single trip is seen
        cells = left.pcolormesh(
            np.arange(top + 1), np.arange(top + 1), np.ma.masked_equal(trips, 0), norm=norm, cmap="Blues",
            edgecolor="face", lw=0.2,
        )  # fmt: skip
        left.plot([0, top], [0, top], color=DROPOFF, lw=0.9, ls="--")
        left.set_aspect("equal")
        left.set_xlabel("paid, USD")
        left.set_ylabel("said before the trip, USD")
        left.set_title("Price")
        bar = sheet.colorbar(cells, ax=left, shrink=0.85)
        bar.ax.set_ylim(bottom=1)
        bar.ax.set_title("trips", fontsize=7.5, fontweight="normal", loc="left")
        bar.minorticks_off()
        bar.outline.set_visible(False)
        counted(bar.ax.yaxis)
        right.stairs(errors["trips"], [*errors["from"], span], fill=True, color=PICKUP)
        right.axvline(0, color="black", lw=0.8, ls="--")
        right.set_xlabel("said − paid, USD")
        right.set_ylabel("trips")
        right.set_title("Error")
        right.grid(axis="y")
        counted(right.yaxis)
        return Figure(
            sheet,
            caption=f"Price said before the trip and paid (fare and tolls) for {count:,} trips, each said by a model "
            f"of the table below, which knew earlier trips only. The 80 % interval held "
            f"{prices['held'].sum() / count:.1%} of them. The outermost cells and bars hold all beyond them.",
            alt=f"Left, density of said against paid prices along the diagonal; right, histogram of errors within "
            f"{span:g} USD",
        )


def metrics(data: RunData) -> Table | Text:
    """The fare model's backtest beside the city's tariff, by fold and over all trips."""
    frame = data.metrics("fare")
    if frame.empty:
        return Text("*The run published no backtest of the fare model.*")
    rows = pd.DataFrame(
        {
            "Fitted on trips before": [f"{moment:%Y-%m-%d}" for moment in frame["origin"]],
            "Trips": frame["rows"].astype("int64"),
            "Model MAE": frame["mae"],
            "Tariff MAE": frame["tariff_mae"],
            "Model RMSE": frame["rmse"],
            "Tariff RMSE": frame["tariff_rmse"],
            "In the 80 % band": frame["coverage"],
            "Width": frame["width"],
        }
    )
    squared = {"Model RMSE", "Tariff RMSE"}
    whole = {name: overall(rows[name], rows["Trips"], squared=name in squared) for name in rows.columns[2:]}
    last = pd.DataFrame([{"Fitted on trips before": "All", "Trips": int(rows["Trips"].sum()), **whole}])
    errors = dict.fromkeys(["Model MAE", "Tariff MAE", "Model RMSE", "Tariff RMSE", "Width"], "{:.2f}")
    return Table(
        pd.concat([rows, last], ignore_index=True),
        "Errors of the fare, USD, of the model and of the city's tariff on the straight line, on trips the model had "
        "not seen; how many prices lie in its 80 % band, and the band's mean width, USD.",
        {"Trips": "{:,}", "In the 80 % band": "{:.1%}", **errors},
        total=True,
    )


def overall(values: pd.Series, trips: pd.Series, *, squared: bool) -> float:
    """The mean of folds by their trips, or the root of that of their squares; of those that are known, NaN of none."""
    known = values.notna()
    if not known.any():
        return float("nan")
    part = values[known] ** 2 if squared else values[known]
    mean = float(np.average(part, weights=trips[known]))
    return math.sqrt(mean) if squared else mean
