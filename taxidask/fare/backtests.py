"""How good a model would have been: rolling origins, never a random split."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from taxidask.errors import ModelError
from taxidask.fare.model import FareModel
from taxidask.fare.naive import naive_fare
from taxidask.fare.rides import as_frame
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
    for name, value in (("folds", folds), ("horizon", 1 if horizon is None else horizon)):
        if not is_whole(value):
            raise ModelError(f"{name}={value!r} is not a whole number of at least 1", "give such a number")
    frame = as_frame(trips)
    _, _, rides = model.lessons(frame)
    order = np.flatnonzero(rides.usable)
    order = order[np.argsort(rides.time[order], kind="stable")]
    time = rides.time[order]
    cuts = _cuts(time, folds, horizon)
    if cuts[0] < MIN_ROWS:
        raise ModelError(
            f"a backtest of {folds} folds leaves {cuts[0]:,} of {len(order):,} usable trips to fit the first on; "
            f"it takes {MIN_ROWS:,}",
            "give fewer folds, a shorter horizon, or more trips",
        )
    rows = []
    for fold in range(folds):
        begin, end = int(cuts[fold]), int(cuts[fold + 1])
        if begin == end:
            raise ModelError(
                f"fold {fold} of {folds}, from {time[min(begin, len(time) - 1)]}, has no usable trip",
                "give fewer folds or a longer horizon",
            )
        fresh = model.unfitted().fit(frame.iloc[order[:begin]], client=client)
        predicted = fresh.predict(frame.iloc[order[begin:end]])
        actual = rides.take(order[begin:end])
        price = actual.fare + (actual.tolls if fresh.card["data"]["tolls_known"] else 0.0)
        told = np.isfinite(price)
        score = measure(
            actual.fare,
            predicted["fare"].to_numpy(),
            naive_fare(actual),
            price[told],
            predicted["low"].to_numpy()[told],
            predicted["high"].to_numpy()[told],
        )
        origin = {"fold": fold, "origin": pd.Timestamp(time[begin]), "end": pd.Timestamp(time[end - 1])}
        rows.append({**origin, "fitted_on": fresh.card["data"]["fitted_on"], **score})
    return pd.DataFrame(rows)


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
