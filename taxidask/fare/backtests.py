"""How good a model would have been: rolling origins, never a random split."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from taxidask.errors import ModelError
from taxidask.fare.model import FareModel
from taxidask.fare.naive import naive_fare
from taxidask.fare.tasks import Past, fit_pasts
from taxidask.fare.told import count_errors, count_prices
from taxidask.fare.training import MIN_ROWS, measure
from taxidask.units import is_whole

if TYPE_CHECKING:
    from distributed import Client


_SLOT = pd.Timedelta(minutes=30)
_TESTED_SHARE = 0.5  # of the trips, where no horizon is given


def backtest_fare(
    model: FareModel,
    trips: Any,
    *,
    folds: int = 5,
    horizon: int | None = None,
    client: Client | None = None,
) -> pd.DataFrame:
    """Fit on all trips before an origin, predict those after it, and move the origin on.

    Parameters
    ----------
    model, trips, folds, client
        See `backtest`.
    horizon : int, optional
        Half hours of each fold. By default the newer half of the usable trips is divided into folds of equal numbers.

    Returns
    -------
    DataFrame
        One row per fold: origin and end, fitted_on and rows (trips), mae and rmse of the fare (USD) beside
        tariff_mae and tariff_rmse of the tariff on the straight line, coverage and width (USD) of the price's band.

    Raises
    ------
    ModelError
        If there are too few trips before the first fold to fit on, or none in a fold.
    """
    return _backtest(model, trips, folds=folds, horizon=horizon, client=client, final=False).table


@dataclass(frozen=True)
class Backtest:
    """What a backtest found: the table of `backtest_fare`, and what `count_prices` and `count_errors` make of the trips
    of all folds whose price is known."""

    table: pd.DataFrame
    prices: pd.DataFrame
    errors: pd.DataFrame


def fit_and_backtest(model: FareModel, trips: Any, *, folds: int, client: Client | None = None) -> Backtest:
    """Fit a model on all trips and backtest it, all of it at once.

    See `FareModel.fit` and `backtest_fare` for what is asked. Of the folds, those are left out, the first ones, that
    have too few trips before them to fit on; with few trips all are, and the tables have no rows.
    """
    return _backtest(model, trips, folds=folds, horizon=None, client=client, final=True)


def _backtest(
    model: FareModel,
    trips: Any,
    *,
    folds: int,
    horizon: int | None,
    client: Client | None,
    final: bool,
) -> Backtest:
    for name, value in (("folds", folds), ("horizon", 1 if horizon is None else horizon)):
        if not is_whole(value):
            raise ModelError(f"{name}={value!r} is not a whole number of at least 1", "give such a number")
    lessons = model.lessons(trips)
    rides, usable = lessons.rides, len(lessons.rides)
    cuts = _cuts(rides.time, folds, horizon)
    if final:
        lessons.check_enough()
        cuts = np.unique(cuts[cuts >= MIN_ROWS])
    if cuts[0] < MIN_ROWS:
        raise ModelError(
            f"a backtest of {folds} folds leaves {cuts[0]:,} of {usable:,} usable trips to fit the first on; "
            f"it takes {MIN_ROWS:,}",
            "give fewer folds, a shorter horizon, or more trips",
        )
    for fold, (begin, end) in enumerate(pairwise(cuts.tolist())):
        if begin == end:
            raise ModelError(
                f"fold {fold} of {folds}, from {rides.time[min(begin, usable - 1)]}, has no usable trip",
                "give fewer folds or a longer horizon",
            )
    pasts = [Past(begin, end) for begin, end in pairwise(cuts.tolist())]
    found = fit_pasts(
        client, rides, lessons.places, model.options, [*pasts, *([Past(usable, usable)] if final else [])]
    )
    if final:
        model.adopt(lessons, found.pop()[0])
    rows, compared = [], []
    for fold, (past, (learned, said)) in enumerate(zip(pasts, found, strict=True)):
        actual = rides.take(slice(past.known, past.end))
        paid = actual.fare + (actual.tolls if "tolls" in learned.texts else 0.0)
        known = np.isfinite(paid)
        fare = said[:, 0]
        paid, price, low, high = paid[known], *said[known, 2:].T
        score = measure(actual.fare, fare, naive_fare(actual), paid, low, high)
        compared.append((paid, price, low, high))
        origin = {"fold": fold, "origin": pd.Timestamp(actual.time[0]), "end": pd.Timestamp(actual.time[-1])}
        rows.append({**origin, "fitted_on": min(past.known, model.options.max_rows), **score})
    told = [np.column_stack(part) for part in compared]
    paid, price, low, high = np.concatenate([np.empty((0, 4)), *told]).T
    return Backtest(pd.DataFrame(rows), count_prices(paid, price, low, high), count_errors(paid, price))


def _cuts(time: np.ndarray, folds: int, horizon: int | None) -> np.ndarray:
    """Positions at which the folds begin, and the end of the last."""
    n = len(time)
    if n == 0:
        return np.zeros(folds + 1, np.int64)
    if horizon is None:
        tested = int(n * _TESTED_SHARE)
        cuts = n - tested + np.arange(folds + 1, dtype=np.int64) * tested // folds
        # Trips of one second stay together: none is predicted from one of the same moment.
        cuts[:-1] = np.searchsorted(time, time[np.minimum(cuts[:-1], n - 1)])
        return cuts
    last = time[-1] + np.timedelta64(1, "s")
    edges = last - np.arange(folds, -1, -1) * np.timedelta64(int(horizon * _SLOT.total_seconds()), "s")
    return np.searchsorted(time, edges)
