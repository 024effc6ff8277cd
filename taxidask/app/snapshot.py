"""What the Overview page shows, read from the store: a few GetItem and Query calls, no lake, nothing computed anew."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from taxidask.app.days import Day, read_day
from taxidask.results.summary import reasons, totals
from taxidask.runs.look import RUN_COLUMNS, runs_table

if TYPE_CHECKING:
    from taxidask.results import Store

CITY = "city"
DAYS = 7  # of observations beside a forecast
RUNS = 20


@dataclass(frozen=True)
class Snapshot:
    """The store at one moment.

    Attributes
    ----------
    latest : dict
        What the last publishing run left: run, lake, space, spans, busiest cells; empty before the first.
    runs : DataFrame
        Newest first, as `taxidask.runs.look.runs_table` makes it.
    totals : dict of str to int
        Rows, kept and rejected over the lake's sources.
    reasons : dict of str to int
        Rejected rows by reason.
    sources : int
        Files in the lake.
    fares : float or None
        What the meters showed in all, USD; None where a source does not tell.
    health : list
        How good the run's models would have been, beside their baselines: term, figure, note.
    published : str or None
        When the run of `latest` had published, in UTC.
    """

    latest: dict[str, Any] = field(default_factory=dict)
    runs: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=RUN_COLUMNS))
    totals: dict[str, int] = field(default_factory=lambda: {"rows": 0, "kept": 0, "rejected": 0})
    reasons: dict[str, int] = field(default_factory=dict)
    sources: int = 0
    fares: float | None = None
    health: list[tuple[str, str, str]] = field(default_factory=list)
    published: str | None = None

    @property
    def empty(self) -> bool:
        """Whether the store holds nothing to show yet."""
        return not self.latest and self.runs.empty


def read_snapshot(store: Store) -> Snapshot:
    """Read everything but the curves: one GetItem and four Queries.

    Raises
    ------
    StoreError
        When the store is missing, denies access or cannot be reached.
    """
    latest = store.get_latest()
    items = store.list_runs(limit=RUNS)
    ingest = store.get_ingest(latest["lake"]) if latest.get("lake") else pd.DataFrame()
    known = "fares" in ingest and ingest["fares"].notna().all()
    fares = float(ingest["fares"].sum()) if known else None
    run = latest.get("run")
    health = model_health(store.get_metrics(run, "demand"), store.get_metrics(run, "fare")) if run else []
    item = next((item for item in items if item["id"] == run), None) or (store.get_run(run) if run else None) or {}
    published = ((item.get("stages") or {}).get("publish") or {}).get("ended") or item.get("created")
    runs = runs_table(items)
    return Snapshot(latest, runs, totals(ingest), reasons(ingest), len(ingest), fares, health, published)


_BASELINES = {"last_week": "last week's same slot", "yesterday": "yesterday's same slot"}


def model_health(demand: pd.DataFrame, fare: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Each model's error in the run's backtest beside that of its baseline: term, figure, note.

    Demand's is the root of the mean square over all folds, leads and both directions; the fare's a mean absolute error,
    each fold as heavy as its trips.

    Examples
    --------
    >>> demand = pd.DataFrame({"first_lead": [1, 1], "last_lead": [1, 48], "rmse": [9.0, 3.0],
    ...                        "last_week_rmse": [9.0, 4.0]})
    >>> fare = pd.DataFrame({"rows": [10, 30], "mae": [1.0, 2.0], "tariff_mae": [4.0, 4.0]})
    >>> model_health(demand, fare)[0]
    ('Demand model', '25 % less error', "than last week's same slot")
    >>> model_health(demand, fare)[1]
    ('Fare model', '1.75 USD off', 'on average; the tariff alone 4.00 USD')
    """
    told = []
    if len(demand):
        whole = demand[(demand["first_lead"] == 1) & (demand["last_lead"] == demand["last_lead"].max())]
        for name, words in _BASELINES.items():
            both = whole[["rmse", f"{name}_rmse"]].dropna() if f"{name}_rmse" in whole else whole.iloc[:0]
            if len(both) and both[f"{name}_rmse"].any():
                share = float(((both["rmse"] ** 2).mean() / (both[f"{name}_rmse"] ** 2).mean()) ** 0.5) - 1
                told.append(
                    ("Demand model", f"{abs(share):.0%}".replace("%", " %") + f" {_more(share)} error", f"than {words}")
                )
                break
    if len(fare) and fare["rows"].sum():
        mae, tariff = ((fare[name] * fare["rows"]).sum() / fare["rows"].sum() for name in ("mae", "tariff_mae"))
        told.append(("Fare model", f"{mae:.2f} USD off", f"on average; the tariff alone {tariff:.2f} USD"))
    return told


def _more(share: float) -> str:
    return "more" if share > 0 else "less"


@dataclass(frozen=True)
class Curves:
    """One place's last days and what is expected next.

    Attributes
    ----------
    observed : DataFrame
        time, pickups, dropoffs; NaN where there is no data.
    expected : DataFrame
        time, direction, mean, low, high.
    """

    observed: pd.DataFrame
    expected: pd.DataFrame


def read_curves(store: Store, latest: dict[str, Any], cell: int | str = CITY, *, days: int = DAYS) -> Curves:
    """Read the last `days` of a cell, or of the whole area, and its forecast: two Queries."""
    begin = pd.Timestamp(latest["forecast_start"])
    end = pd.Timestamp(latest["forecast_end"])
    last = pd.Timestamp(latest.get("cube_end", begin))
    slot = latest.get("slot", "30min")
    observed = store.get_demand(latest["space"], cell, last - pd.Timedelta(days=days), last, slot=slot)
    return Curves(observed, store.get_forecast(latest["space"], cell, begin, end, slot=slot))


def read_last_day(store: Store, latest: dict[str, Any]) -> Day | None:
    """The last day that was counted, beside what was forecast of it before, or by the backtest: two Queries."""
    last = pd.Timestamp(latest["cube_end"]) - pd.Timedelta(latest.get("slot", "30min"))
    geometry = store.get_geometry(latest["space"])
    if geometry is None:
        return None
    day = read_day(store, latest["space"], f"{last:%Y-%m-%d}", geometry.cells, slot=latest.get("slot", "30min"))
    return day if day.backtest is not None else None


def last_day_told(day: Day, latest: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Pickups of the last counted slot, and of its day, beside what was expected of the same slots."""
    counted, mean = (day.curve(name, "pickup", None) for name in ("trips", "mean"))
    both = np.flatnonzero(np.isfinite(counted) & np.isfinite(mean))
    if not len(both):
        return []
    last, by = both[-1], " by the backtest" if day.backtest else ""
    at = pd.Timestamp(day.day) + last * pd.Timedelta(latest.get("slot", "30min"))
    total, expected = counted[both].sum(), mean[both].sum()
    off = f", {_share(total / expected - 1)}" if expected else ""
    return [
        (f"Pickups at {at:%H:%M}", f"{counted[last]:,.0f}", f"{mean[last]:,.1f} expected{by}, {at:%-d %b %Y}"),
        (f"Pickups on {at:%-d %b}", f"{total:,.0f}", f"{expected:,.0f} expected{by}{off}"),
    ]


def _share(share: float) -> str:
    return "as many" if abs(share) < 0.0005 else f"{abs(share):.1%} {'more' if share > 0 else 'fewer'} counted"


def cell_names(latest: dict[str, Any]) -> dict[str, int | str]:
    """Places to choose from, the whole area first, then the busiest cells.

    Examples
    --------
    >>> cell_names({"space": "grid-24x25_-74.05", "cells": [351]})
    {'Whole area': 'city', 'Cell 351': 351}
    """
    names = latest.get("cell_names") or {}
    chosen: dict[str, int | str] = {"Whole area": CITY}
    for cell in latest.get("cells") or []:
        chosen[str(names.get(str(cell)) or f"Cell {int(cell)}")] = int(cell)
    return chosen
