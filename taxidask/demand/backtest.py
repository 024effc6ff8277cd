"""How good a demand model would have been: rolling origins, never a random split."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from taxidask.demand.baselines import naive
from taxidask.demand.calendar import days_told
from taxidask.demand.forecast import DIRECTIONS, Forecast
from taxidask.demand.model import DemandModel, past_of
from taxidask.demand.tasks import Question, ask_all, fit_pasts, pack
from taxidask.demand.training import Options, lead_groups, least_slots
from taxidask.errors import ModelError
from taxidask.models.metrics import coverage, mae, mape, rmse, width
from taxidask.units import is_whole

if TYPE_CHECKING:
    from distributed import Client

    from taxidask.cube.cube import Cube


def backtest_demand(
    model: DemandModel,
    cube: Cube,
    *,
    folds: int = 5,
    horizon: int = 48,
    weather: pd.DataFrame | None = None,
    client: Client | None = None,
    on_forecast: Callable[[Forecast], None] | None = None,
) -> pd.DataFrame:
    """Fit and forecast again and again, each time only from the slots before.

    The last `folds` × `horizon` slots are forecast in turn: for each fold a model with the options of `model` is
    fitted on all slots before it, and forecasts its `horizon` slots at once. `model` itself is left as it is.

    Parameters
    ----------
    model : DemandModel
        Whose options count; fitted or not.
    cube : Cube
        Empty days at its ends are left out, see `Cube.trimmed`.
    folds : int
    horizon : int
        Slots of a fold.
    weather : DataFrame, optional
        See `DemandModel.fit`.
    client : distributed.Client, optional
        Whose workers fit and forecast.
    on_forecast : callable, optional
        Called once, with what all folds forecast, one after the other: slots that are there, as a model foresaw them
        that had been shown those before its fold only.

    Returns
    -------
    DataFrame
        One row per fold, direction and group of leads (`first_lead` … `last_lead` slots ahead; the last row of each
        holds all leads): origin, profile ("weekly", or "daily" where there is too little before it for weeks), mae,
        rmse, mape (percent, where 10 and more were counted), coverage and width of the band, and mae, rmse and mape of
        the same slot last week (`last_week_…`) and of the mean of the last four weeks' same slot (`four_weeks_…`).
        Beside a daily profile stands the same slot yesterday (`yesterday_…`), and NaN where weeks have no answer for
        some slot. Missing slots are left out; a fold of nothing else has NaN.

    Raises
    ------
    ModelError
        If there is too little before the first fold to fit on.
    """
    for name, value in (("folds", folds), ("horizon", horizon)):
        if not is_whole(value):
            raise ModelError(f"{name}={value!r} is not a whole number of at least 1", "give such a number")
    cube = cube.trimmed()
    day = round(pd.Timedelta(days=1) / cube.slot)
    first = len(cube) - folds * horizon
    options = Options(**{**model.options.to_dict(), "horizon": horizon})
    needed = least_slots(day, horizon)
    seen = int((~cube.missing[: max(first, 0)]).sum())
    if seen < needed:
        most = folds_of(cube, horizon)
        raise ModelError(
            f"a backtest of {folds} folds of {horizon} slots leaves {seen:,} slots ({days_told(seen, day)} days) with "
            f"data to fit the first on; it takes {needed:,} ({needed / day:.1f} days)",
            f"give folds={most}" if most else "give a shorter horizon, or a longer cube",
        )
    origins = [first + fold * horizon for fold in range(folds)]
    pasts = [past_of(cube, at, options) for at in origins]
    parcel, lead = pack(cube, weather), np.arange(1, horizon + 1)
    learned = fit_pasts(client, parcel, options, pasts)
    questions = [
        Question(past, groups, None, np.full(horizon, past.slots - 1), lead)
        for past, (groups, _) in zip(pasts, learned, strict=True)
    ]
    answers = ask_all(client, parcel, options, questions)
    if on_forecast is not None:
        mean, lower, upper, *totals = list(map(np.concatenate, zip(*answers, strict=True)))[:5]
        space, slot, interval = cube.space, cube.slot, options.interval
        on_forecast(Forecast(cube.times[first:], mean, lower, upper, space, slot, totals[0], totals[1], interval))
    rows: list[dict[str, object]] = []
    for fold, (past, (mean, lower, upper, *_)) in enumerate(zip(pasts, answers, strict=True)):
        target = np.arange(past.slots, past.slots + horizon)
        others = naive(cube.counts, cube.missing, target, lead, day=day, weekly=past.weekly)
        known = ~cube.missing[target] & np.isfinite(next(iter(others.values()))).all((1, 2))
        for number, direction in enumerate(DIRECTIONS):
            for low, high in dict.fromkeys([*lead_groups(horizon), (1, horizon)]):
                at_lead = np.flatnonzero(known & (lead >= low) & (lead <= high))
                actual = cube.counts[target[at_lead], :, number]
                band = lower[at_lead, :, number], upper[at_lead, :, number]
                row: dict[str, object] = {
                    "fold": fold,
                    "origin": cube.times[past.slots],
                    "profile": "weekly" if past.weekly else "daily",
                    "direction": direction,
                    "first_lead": low,
                    "last_lead": high,
                    "slots": len(at_lead),
                    "mae": mae(actual, mean[at_lead, :, number]),
                    "rmse": rmse(actual, mean[at_lead, :, number]),
                    "mape": mape(actual, mean[at_lead, :, number]),
                    "coverage": coverage(actual, *band),
                    "width": width(*band),
                }
                for name, values in others.items():
                    other = values[at_lead, :, number]
                    row |= {
                        f"{name}_mae": mae(actual, other),
                        f"{name}_rmse": rmse(actual, other),
                        f"{name}_mape": mape(actual, other),
                    }
                rows.append(row)
    return pd.DataFrame(rows)


def folds_of(cube: Cube, horizon: int) -> int:
    """How many folds of `horizon` slots a cube's end can be divided into, with enough before the first to fit on."""
    cube = cube.trimmed()
    day = round(pd.Timedelta(days=1) / cube.slot)
    seen = np.cumsum(~cube.missing)
    enough = int(np.searchsorted(seen, least_slots(day, horizon))) + 1
    return max(0, (len(cube) - enough) // horizon)
