"""What a fit or a forecast takes along to wherever it runs: one task, with the part of the cube it looks at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from taxidask.demand import features
from taxidask.demand.features import History, neighbour_table
from taxidask.demand.training import Group, Options, ask, fit
from taxidask.demand.weather import align_weather
from taxidask.errors import ModelError

if TYPE_CHECKING:
    from distributed import Client

    from taxidask.cube.cube import Cube

_LOOK_BACK_WEEKS = 15  # what a forecast may look at: nine weeks for a base, five to doubt those by, and a spare one


@dataclass(frozen=True)
class Parcel:
    """What a task needs of a cube."""

    counts: np.ndarray
    missing: np.ndarray
    start: pd.Timestamp
    slot: pd.Timedelta
    neighbours: np.ndarray
    ahead: int
    weather: np.ndarray | None

    def history(self, options: Options) -> History:
        return History(
            self.counts,
            missing=self.missing,
            start=self.start,
            slot=self.slot,
            neighbours=self.neighbours,
            calendar=options.holidays,
            timezone=options.timezone,
            ahead=self.ahead,
            weather=self.weather,
        )

    def names(self) -> list[str]:
        return feature_names(weather=self.weather is not None)


def feature_names(*, weather: bool) -> list[str]:
    """What the boosters look at, in order."""
    always = [*features.CALENDAR, *features.CELL, *features.SAME_SLOT, *features.RECENT]
    return [*always, *features.WEATHER] if weather else always


def pack(cube: Cube, weather: pd.DataFrame | None, ahead: int) -> Parcel:
    """A whole cube, with `ahead` slots after it."""
    times = pd.date_range(cube.start, periods=len(cube) + ahead, freq=cube.slot)
    counts = cube.counts
    if len(counts) and counts.max() < 2**16:
        counts = counts.astype(np.uint16)  # half the way to a worker
    return Parcel(
        counts,
        np.asarray(cube.missing, bool),
        cube.start,
        cube.slot,
        neighbour_table(cube.space),
        ahead,
        None if weather is None else align_weather(weather, times),
    )


def tail_of(cube: Cube, at: int, horizon: int, weather: pd.DataFrame | None, *, ahead: int) -> tuple[Parcel, int]:
    """The part of a cube that forecasts from slot `at` on look at, and its first slot (whole days are left out)."""
    day = round(pd.Timedelta(days=1) / cube.slot)
    back = (_LOOK_BACK_WEEKS * 7 + 1) * day + horizon
    first = max(0, (at - back) // day * day)
    part = cube.between(cube.times[first], cube.end) if first else cube
    return pack(part, weather, ahead), first


def run_task(client: Client | None, task: Any, *arguments: Any) -> Any:
    """Run one task on `client`, the current client or a thread, and wait for it."""
    from taxidask.compute import executor

    return executor(client).submit(task, *arguments).result()


def fit_demand(parcel: Parcel, options: Options) -> tuple[list[Group], list[dict[str, Any]]]:
    """What `training.fit` finds in a parcel."""
    return fit(parcel.history(options), options)


def ask_demand(
    parcel: Parcel, groups: list[Group], boosters: list[Any] | None, origin: Any, lead: Any, options: Options
) -> tuple[np.ndarray, ...]:
    """What `training.ask` answers, and which of the pairs cannot be asked (then nothing else)."""
    history = parcel.history(options)
    bad = np.flatnonzero(~history.usable(origin, lead))
    if len(bad):
        return (*(np.empty(0, np.float32) for _ in range(5)), bad)
    boosters = boosters or load_boosters(groups, history.names, "the fitted model")
    return (*ask(history, groups, boosters, origin, lead, options), bad)


def load_boosters(groups: list[Group], names: list[str], where: str) -> list[Any]:
    """LightGBM boosters of text, checked against the features they will be given."""
    from taxidask.models.boosting import lightgbm as lgb

    boosters = []
    for group in groups:
        try:
            booster = lgb.Booster(model_str=group.text)
        except lgb.basic.LightGBMError as error:
            raise ModelError(f"{where} holds no LightGBM model for leads from {group.first}: {error}") from error
        if booster.feature_name() != names:
            raise ModelError(f"the boosters of {where} look at other features than its card says", "fit it again")
        boosters.append(booster)
    return boosters
