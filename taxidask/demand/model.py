"""The demand model: fitted on a cube, asked for the slots after one."""

from __future__ import annotations

import html
from dataclasses import fields
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from taxidask.clock import wall_clock
from taxidask.demand.bands import Bands
from taxidask.demand.calendar import days_told
from taxidask.demand.features import feature_names
from taxidask.demand.forecast import Forecast
from taxidask.demand.gaps import kept_slots
from taxidask.demand.tasks import Parcel, Past, Question, ask_all, fit_pasts, load_boosters, pack, tail_of
from taxidask.demand.training import Group, Options, is_weekly, least_slots, slots_needed
from taxidask.errors import ModelError, TooFewError
from taxidask.units import is_whole, slot_name

if TYPE_CHECKING:
    from distributed import Client

    from taxidask.cube.cube import Cube


class DemandModel:
    """Forecasts pickups and dropoffs of every cell, with a band that holds a stated share of the counts.

    Parameters
    ----------
    horizon : int
        How many slots ahead it learns to forecast; 48 slots of 30 minutes are a day.
    interval : float
        Share of counts the band is made to hold.
    rounds : int
        Trees of a booster at most; how many are of use is found on held-out slots.
    learning_rate, leaves : float, int
        LightGBM's.
    max_rows : int
        About how many rows are drawn to learn from: bounds time and memory whatever the cube's size.
    holidays : str or None
        Whose public holidays count: country and subdivision, "US-NY"; None for no holidays.
    timezone : str or None
        Whose clock the cube's times are on; None for one that is never set forward or back.
    seed : int
        The same seed and cube give the same model.
    num_threads : int, optional
        LightGBM's threads in each task; by default the cores that the tasks leave.

    Notes
    -----
    From 14 days and `horizon` slots with data on it knows a weekly profile. With less it forecasts by a daily profile
    and the level, with wide bands, and says so: see `note`. It takes two days, as many slots as the horizon and not
    under 24 slots; of slots as long as a day that is weeks, as they have no daily profile. Slots marked missing are
    neither learned from nor looked at. Each group of leads is fitted by a task of its own on `client`, the current
    distributed client, or threads of this process; a forecast is one task.
    """

    def __init__(
        self,
        *,
        horizon: int = 48,
        interval: float = 0.8,
        rounds: int = 300,
        learning_rate: float = 0.1,
        leaves: int = 31,
        max_rows: int = 320_000,
        holidays: str | None = "US-NY",
        timezone: str | None = "America/New_York",
        seed: int = 0,
        num_threads: int | None = None,
    ) -> None:
        self.options = Options(
            horizon, interval, rounds, learning_rate, leaves, max_rows, holidays, timezone, seed, num_threads
        )
        self._card: dict[str, Any] | None = None
        self._groups: list[Group] = []
        self._boosters: list[Any] | None = None

    @property
    def card(self) -> dict[str, Any]:
        """What it was fitted on and how, its metrics beside the baselines', versions; ModelError before `fit`."""
        if self._card is None:
            raise ModelError("this DemandModel is not fitted", "call fit(cube) first")
        return self._card

    @property
    def note(self) -> str:
        """What it could not learn for want of data, and how much would do; empty where nothing was left out."""
        return str(self.card.get("note", ""))

    @property
    def _weekly(self) -> bool:
        return bool(self.card["data"].get("profile", "weekly") == "weekly")

    @property
    def metrics(self) -> pd.DataFrame:
        """Metrics on the held-out tail, by direction and leads (slots ahead), beside the naive baselines'."""
        rows = self.card["metrics"]
        return pd.DataFrame([{key: np.nan if value is None else value for key, value in row.items()} for row in rows])

    def fit(
        self,
        cube: Cube,
        weather: pd.DataFrame | None = None,
        client: Client | None = None,
        *,
        created: str | None = None,
    ) -> DemandModel:
        """Learn from a cube.

        Parameters
        ----------
        cube : Cube
            Empty days at its ends are left out, see `Cube.trimmed`.
        weather : DataFrame, optional
            Hourly weather over the cube's time, see `taxidask.demand.weather.align_weather`. A model fitted with
            weather wants it for every forecast, over the slots to be forecast too.
        client : distributed.Client, optional
            Whose worker fits it.
        created : str, optional
            When and by whom, for the card.

        Returns
        -------
        DemandModel
            Itself.
        """
        _check_cube(cube)
        cube = cube.trimmed()
        past = past_of(cube, len(cube), self.options)
        parcel = pack(cube, weather)
        ((self._groups, scores),) = fit_pasts(client, parcel, self.options, [past])
        self._boosters = None
        pickups, dropoffs = cube.total()
        self._card = {
            "created": created,
            "data": {
                "start": str(cube.start),
                "end": str(cube.end),
                "slot": slot_name(cube.slot),
                "slots": len(cube),
                "missing": int(cube.missing.sum()),
                "space": cube.space.key,
                "space_label": cube.space.label,
                "cells": cube.space.cells,
                "pickups": int(pickups),
                "dropoffs": int(dropoffs),
                "weather": weather is not None,
                "profile": "weekly" if past.weekly else "daily",
            },
            "note": "" if past.weekly else _note(cube, self.options, self._groups),
            "settings": self.options.to_dict(),
            "features": feature_names(weather=weather is not None, weekly=past.weekly),
            "metrics": [{key: _plain(value) for key, value in row.items()} for row in scores],
            "versions": {name: version(name) for name in ("taxidask", "lightgbm", "numpy", "holidays")},
        }
        return self

    def forecast(
        self,
        cube: Cube,
        *,
        horizon: int | None = None,
        weather: pd.DataFrame | None = None,
        client: Client | None = None,
    ) -> Forecast:
        """Forecast the slots after the cube's end.

        Parameters
        ----------
        cube : Cube
            Of the space and slot the model was fitted on, with a week and a day of data before its end at least, or two
            days for a model without a weekly profile.
        horizon : int, optional
            How many slots, the model's own horizon at most and by default.
        weather : DataFrame, optional
            For a model fitted with weather: over the last four weeks of the cube and the slots to be forecast.
        client : distributed.Client, optional
            Whose worker makes it.
        """
        horizon = self._check(cube, self.options.horizon if horizon is None else horizon, weather)
        if not len(cube):
            raise ModelError("the cube is empty", "give one with a week and a day of data at least")
        if (known := cube.trimmed()).end < cube.end:
            raise ModelError(
                f"the cube ends at {cube.end}, and no trip begins in it from {known.end} on: that is no demand to "
                "forecast from",
                "give cube.trimmed(), and have the slots after its end forecast",
            )
        parcel, first = tail_of(cube, len(cube), horizon, weather, horizon)
        last = len(cube) - first - 1
        lead = np.arange(1, horizon + 1)
        return self._ask(parcel, np.full(horizon, last), lead, cube, cube.end, client)

    def predict_rolling(
        self,
        cube: Cube,
        *,
        start: str | pd.Timestamp,
        horizon: int = 1,
        weather: pd.DataFrame | None = None,
        client: Client | None = None,
    ) -> Forecast:
        """Forecast every slot of the cube from `start`, each made only from the slots up to `horizon` before it.

        What was learned stays as it is; profiles, levels and recent demand are those known at each origin.

        Parameters
        ----------
        cube : Cube
        start : str or Timestamp
            First slot to forecast.
        horizon : int
            Slots between the last one looked at and the one forecast: 1 looks at everything before it.
        weather, client
            As for `forecast`.
        """
        horizon = self._check(cube, horizon, weather)
        try:
            moment = wall_clock(start)
        except (ValueError, TypeError) as error:
            raise ModelError(f"start={start!r} is no time", 'write it like "2015-03-29 18:00"') from error
        if not cube.start <= moment < cube.end or (moment - cube.start) % cube.slot:
            raise ModelError(
                f"start={start} is no start of a slot of the cube, which goes from {cube.start} to {cube.end}",
                f"give a multiple of {slot_name(cube.slot)} within it",
            )
        at = int((moment - cube.start) // cube.slot)
        parcel, first = tail_of(cube, at, horizon, weather, 0)
        target = np.arange(at - first, len(cube) - first)
        return self._ask(parcel, target - horizon, np.full(len(target), horizon), cube, moment, client)

    def _check(self, cube: Cube, horizon: int, weather: pd.DataFrame | None) -> int:
        data = self.card["data"]
        _check_cube(cube)
        if not is_whole(horizon):
            raise ModelError(f"horizon={horizon!r} is not a number of slots", "give 1 or more")
        if horizon > self.options.horizon:
            raise ModelError(
                f"a horizon of {horizon} slots was asked of a model fitted for {self.options.horizon}",
                f"fit DemandModel(horizon={horizon}) (TAXIDASK_HORIZON={horizon} taxidask fit demand), "
                f"or ask for {self.options.horizon} at most",
            )
        if cube.space.key != data["space"]:
            raise ModelError(
                f"the cube counts in {cube.space.label} ({cube.space.key}) and the model was fitted on "
                f"{data['space_label']} ({data['space']}): it has never seen these cells",
                "count the cube in the model's space, or fit a model on it",
            )
        if slot_name(cube.slot) != data["slot"]:
            raise ModelError(
                f"the cube has slots of {slot_name(cube.slot)} and the model was fitted on slots of {data['slot']}",
                f"bring the cube to the model's slots, cube.reslot({data['slot']!r}), or fit a model on it",
            )
        if data["weather"] and weather is None:
            raise ModelError(
                "the model was fitted with weather and none is given",
                "give weather over the last weeks and the slots to be forecast, or fit a model without it",
            )
        if weather is not None and not data["weather"]:
            raise ModelError(
                "weather is given and the model was fitted without it", "leave weather out, or fit a model with it"
            )
        return int(horizon)

    def _ask(
        self, parcel: Parcel, origin: Any, lead: Any, cube: Cube, start: pd.Timestamp, client: Client | None
    ) -> Forecast:
        past = Past(len(parcel.missing), self._weekly)
        question = Question(past, self._groups, self._boosters, np.asarray(origin), np.asarray(lead))
        ((mean, low, high, total_low, total_high, bad),) = ask_all(client, parcel, self.options, [question])
        times = pd.date_range(start, periods=len(lead), freq=cube.slot, name="time")
        if len(bad):
            before, days = ("a week and a day", 8) if self._weekly else ("two days", 2)
            raise ModelError(
                f"there is too little before {times[bad[0]]} to forecast it: the cube has no data {before} before it "
                f"or earlier (it starts at {cube.start})",
                f"give a cube that begins at least {days} days and the horizon before the first slot to be forecast",
            )
        return Forecast(
            times, mean, low, high, cube.space, cube.slot, total_low, total_high, interval=self.options.interval
        )

    def save(self, url: str) -> str:
        """Write the model to a folder, local or s3://: LightGBM's own text and card.json, never a pickle."""
        from taxidask.models.files import save_texts

        groups = [
            {"first_lead": group.first, "last_lead": group.last, "rounds": group.rounds, "bands": group.bands.to_dict()}
            for group in self._groups
        ]
        texts = {_text_name(group.first, group.last): group.text for group in self._groups if group.text}
        return save_texts(url, {**self.card, "groups": groups}, texts, kind="demand")

    @classmethod
    def load(cls, url: str) -> DemandModel:
        """Read a saved model; ModelError if it is none, of another format, or any byte of it was changed."""
        from taxidask.models.files import load_texts

        card, texts = load_texts(url, kind="demand")
        try:
            groups = []
            for group in card.pop("groups"):
                first, last = group["first_lead"], group["last_lead"]
                text = texts[_text_name(first, last)] if group["rounds"] else ""
                groups.append(Group(first, last, text, group["rounds"], Bands(**group["bands"])))
            model = cls(**{field.name: card["settings"][field.name] for field in fields(Options)})
            features = card["features"]
            weekly = card["data"].get("profile", "weekly") == "weekly"
            expected = feature_names(weather=card["data"]["weather"], weekly=weekly)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"the card at {url} is damaged: {error!r}", "save the model again") from error
        if features != expected:
            raise ModelError(
                f"the model at {url} looks at {len(features)} features and this taxidask makes other ones",
                "fit and save the model with this version",
            )
        model._card, model._groups = card, groups
        model._boosters = load_boosters(groups, features, url)
        return model

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_boosters": None}

    def __repr__(self) -> str:
        if self._card is None:
            return f"DemandModel(horizon={self.options.horizon}), not fitted"
        data = self.card["data"]
        best = self.metrics
        names = {"yesterday_mae": "yesterday", "last_week_mae": "last week", "four_weeks_mae": "four weeks"}
        text = ", ".join(
            f"{row['direction']}s {row['mae']:.3g} ("
            + ", ".join(f"{label} {row[name]:.3g}" for name, label in names.items() if row.get(name, np.nan) >= 0)
            + ")"
            for row in best[best.first_lead == 1].to_dict("records")
        )
        return (
            f"DemandModel(horizon={self.options.horizon}) fitted on {data['slots']:,} slots of {data['slot']} from "
            f"{data['start']} to {data['end']}, {data['cells']} cells; mean absolute error one slot ahead: {text}"
            + (f". {self.note}" if self.note else "")
        )

    def _repr_html_(self) -> str:
        if self._card is None:
            return f"<p>{html.escape(repr(self))}</p>"
        table = self.metrics.to_html(index=False, float_format="{:,.2f}".format, border=0, na_rep="–")
        return f"<p>{html.escape(repr(self))}</p>{table}"


def _text_name(first: int, last: int) -> str:
    return f"{first:04d}-{last:04d}"


def _check_cube(cube: Any) -> None:
    from taxidask.cube.cube import Cube

    if not isinstance(cube, Cube):
        raise ModelError(f"cube is a {type(cube).__name__}", "give a td.Cube, such as lake.cube()")


def past_of(cube: Cube, slots: int, options: Options) -> Past:
    """The first `slots` of a cube, to be fitted on; ModelError if they carry no model at all."""
    missing, day = cube.missing[:slots], round(pd.Timedelta(days=1) / cube.slot)
    seen, needed = int((~missing).sum()), least_slots(day, options.horizon)
    if seen < needed:
        shorter = seen >= least_slots(day, 1)
        raise TooFewError(
            f"the cube has {seen:,} slots ({days_told(seen, day)} days) with data; a demand model for a horizon of "
            f"{options.horizon} slots needs {needed:,} ({needed / day:.1f} days)",
            "ingest more trips" + (f", or give a shorter horizon: DemandModel(horizon={seen})" if shorter else ""),
        )
    return Past(slots, is_weekly(missing[kept_slots(missing, day, options.horizon)], day, options.horizon))


def _note(cube: Cube, options: Options, groups: list[Group]) -> str:
    """What a model without a weekly profile is."""
    day = round(pd.Timedelta(days=1) / cube.slot)
    seen, needed = int((~cube.missing).sum()), slots_needed(day, options.horizon)
    learned = "daily profile, level and recent demand" if any(g.rounds for g in groups) else "daily profile and level"
    return (
        f"{days_told(seen, day)} days of data{', with gaps' if seen >= needed else ''}: {learned} only; bands are "
        f"wide; {needed / day:.3g} days or more{' without long gaps' if seen >= needed else ''} add a weekly profile"
    )


def _plain(value: Any) -> Any:
    """JSON knows no NaN."""
    return None if isinstance(value, float) and not np.isfinite(value) else value
