"""``td.backtest`` of either model."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pandas as pd

from taxidask.demand import DemandModel, Forecast, backtest_demand
from taxidask.errors import ModelError
from taxidask.fare import FareModel, backtest_fare

if TYPE_CHECKING:
    from distributed import Client

    from taxidask.cube import Cube


def backtest(
    model: DemandModel | FareModel,
    data: Cube | pd.DataFrame,
    *,
    folds: int = 5,
    horizon: int | None = None,
    weather: pd.DataFrame | None = None,
    client: Client | None = None,
    on_forecast: Callable[[Forecast], None] | None = None,
) -> pd.DataFrame:
    """Fit and predict again and again, each time only from what was known before.

    Parameters
    ----------
    model : DemandModel or FareModel
        Whose options count, fitted or not; it is left as it is.
    data : Cube or DataFrame
        A cube for a DemandModel; trips, as for `FareModel.fit`, for a FareModel.
    folds : int
        Origins, the last of which is `horizon` before the data's end.
    horizon : int, optional
        How far each fold reaches. For demand, slots of the cube; 48 by default. For fares, half hours; by default
        the newer half of the trips is divided into folds of equal numbers.
    weather : DataFrame, optional
        For demand, see `DemandModel.fit`.
    client : distributed.Client, optional
        Whose workers fit.
    on_forecast : callable, optional
        For demand: called once, with what all folds forecast.

    Returns
    -------
    DataFrame
        For demand see `taxidask.demand.backtest_demand`, for fares `taxidask.fare.backtest_fare`: a row per fold with
        the errors of the model beside those of the naive baselines.
    """
    if isinstance(model, FareModel):
        if weather is not None:
            raise ModelError(
                "weather was given to the backtest of a FareModel", "leave it out: fares do not look at it"
            )
        if on_forecast is not None:
            raise ModelError(
                "on_forecast was given to the backtest of a FareModel", "leave it out: fares are no forecast"
            )
        return backtest_fare(model, data, folds=folds, horizon=horizon, client=client)
    if not isinstance(model, DemandModel):
        raise ModelError(
            f"a {type(model).__name__} is no model", "give a DemandModel and a cube, or a FareModel and trips"
        )
    if isinstance(data, pd.DataFrame) or not hasattr(data, "counts"):
        raise ModelError(f"data is a {type(data).__name__}", "give a DemandModel's backtest a Cube")
    return backtest_demand(
        model,
        data,
        folds=folds,
        horizon=48 if horizon is None else horizon,
        weather=weather,
        client=client,
        on_forecast=on_forecast,
    )
