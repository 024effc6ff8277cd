"""What fits and forecasts take along to wherever they run: tasks, with the part of the cube they look at."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from taxidask.compute import executor
from taxidask.demand.calendar import slots_per_day
from taxidask.demand.features import History, neighbour_table
from taxidask.demand.gaps import kept_slots
from taxidask.demand.training import Group, Options, ask, fit_group, lead_groups
from taxidask.demand.weather import align_weather

if TYPE_CHECKING:
    from distributed import Client

    from taxidask.cube.cube import Cube

_LOOK_BACK_WEEKS = 15  # what a forecast may look at: nine weeks for a base, five to doubt those by, and a spare one


_MAKING = threading.Lock()
_KEPT = 2  # histories: tasks come in no order, and of one fold and the next most often


@dataclass(frozen=True)
class Parcel:
    """What tasks need of a cube; `counts` are those of the slots that are not missing."""

    counts: np.ndarray
    missing: np.ndarray
    start: pd.Timestamp
    slot: pd.Timedelta
    neighbours: np.ndarray
    weather: np.ndarray | None
    _made: dict[Any, History] = field(default_factory=dict, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_made": {}}

    def history(
        self, options: Options, *, slots: int, weekly: bool, ahead: int = 0, since: int | None = None
    ) -> History:
        """The first `slots` slots made ready; the last ones made are kept for the next tasks that want the same.

        Long gaps before slot `since` (by default, all) are shortened.
        """
        wanted = (slots, weekly, ahead, since)
        with _MAKING:
            if wanted not in self._made:
                whole = slots if since is None else since
                kept = kept_slots(self.missing[:whole], slots_per_day(self.slot), options.horizon)
                kept = np.concatenate([kept, np.arange(whole, slots)])
                at = np.concatenate([kept, np.arange(slots, slots + ahead)])
                made = History(
                    self._dense(kept),
                    missing=self.missing[kept],
                    start=self.start,
                    at=at,
                    slot=self.slot,
                    neighbours=self.neighbours,
                    calendar=options.holidays,
                    timezone=options.timezone,
                    ahead=ahead,
                    weather=None if self.weather is None else self.weather[at],
                    weekly=weekly,
                )
                while len(self._made) >= _KEPT:
                    del self._made[next(iter(self._made))]
                self._made[wanted] = made
            return self._made[wanted]

    def _dense(self, slots: np.ndarray) -> np.ndarray:
        """The counts of `slots`, in order; 0 where they are missing."""
        known = ~self.missing
        if known.all():
            return self.counts[slots]
        row, known = np.cumsum(known)[slots] - 1, known[slots]
        counts = np.zeros((len(slots), *self.counts.shape[1:]), self.counts.dtype)
        counts[known] = self.counts[row[known]]
        return counts


def pack(cube: Cube, weather: pd.DataFrame | None, ahead: int = 0) -> Parcel:
    """A whole cube, and the weather until `ahead` slots after it."""
    times = pd.date_range(cube.start, periods=len(cube) + ahead, freq=cube.slot)
    missing = np.asarray(cube.missing, bool)
    counts = cube.counts[~missing] if missing.any() else cube.counts
    if len(counts) and counts.max() < 2**16:
        counts = counts.astype(np.uint16)  # half the way to a worker
    return Parcel(
        counts,
        missing,
        cube.start,
        cube.slot,
        neighbour_table(cube.space),
        None if weather is None else align_weather(weather, times),
    )


def tail_of(cube: Cube, at: int, horizon: int, weather: pd.DataFrame | None, ahead: int) -> tuple[Parcel, int]:
    """The part of a cube that forecasts from slot `at` on look at, and its first slot (whole days are left out)."""
    day = round(pd.Timedelta(days=1) / cube.slot)
    back = (_LOOK_BACK_WEEKS * 7 + 1) * day + horizon
    first = max(0, (at - back) // day * day)
    part = cube.between(cube.times[first], cube.end) if first else cube
    return pack(part, weather, ahead), first


@dataclass(frozen=True)
class Past:
    """The slots that a model is fitted on: how many from the first one of a parcel, and whether they carry weeks."""

    slots: int
    weekly: bool


class FitDemand:
    """Fits the group of leads of a past; those of all pasts at once, for each takes one core."""

    __name__ = "fit_demand"

    def __init__(self, parcel: Parcel, options: Options, threads: int) -> None:
        self.parcel, self.options, self.threads = parcel, options, threads

    def __call__(self, numbered: tuple[int, tuple[Past, int]]) -> tuple[Group, list[dict[str, Any]]]:
        past, number = numbered[1]
        history = self.parcel.history(self.options, slots=past.slots, weekly=past.weekly)
        return fit_group(history, self.options, number, _at_most(self.threads))


class AskDemand:
    """Forecasts after a past, by what was learned from it."""

    __name__ = "ask_demand"

    def __init__(self, parcel: Parcel, options: Options, threads: int) -> None:
        self.parcel, self.options, self.threads = parcel, options, threads

    def __call__(self, numbered: tuple[int, Question]) -> tuple[np.ndarray, ...]:
        """What `training.ask` answers, and which of the pairs cannot be asked (then nothing else)."""
        question = numbered[1]
        past, origin, lead = question.past, question.origin, question.lead
        ahead = max(0, int((origin + lead).max()) + 1 - past.slots)
        since = max(0, min(past.slots, int(origin.min())))
        history = self.parcel.history(self.options, slots=past.slots, weekly=past.weekly, ahead=ahead, since=since)
        origin = origin - (past.slots - history.slots)
        bad = np.flatnonzero(~history.usable(origin, lead))
        if len(bad):
            return (*(np.empty(0, np.float32) for _ in range(5)), bad)
        boosters = question.boosters or load_boosters(question.groups, history.names, "the fitted model")
        return (*ask(history, question.groups, boosters, origin, lead, _at_most(self.threads)), bad)


@dataclass(frozen=True, eq=False)
class Question:
    """What to forecast: pairs of an origin and a lead, after a past."""

    past: Past
    groups: list[Group]
    boosters: list[Any] | None
    origin: np.ndarray
    lead: np.ndarray


def fit_pasts(
    client: Client | None, parcel: Parcel, options: Options, pasts: Sequence[Past]
) -> list[tuple[list[Group], list[dict[str, Any]]]]:
    """For each past, what was learned and its metrics."""
    numbers = range(len(lead_groups(options.horizon)))
    found = _spread(client, FitDemand, parcel, options, [(past, number) for past in pasts for number in numbers])
    out = []
    for at in range(0, len(found), len(numbers)):
        groups, scores = zip(*found[at : at + len(numbers)], strict=True)
        out.append((list(groups), [row for rows in scores for row in rows]))
    return out


def ask_all(
    client: Client | None, parcel: Parcel, options: Options, questions: Sequence[Question]
) -> list[tuple[np.ndarray, ...]]:
    """The answers, in order."""
    return _spread(client, AskDemand, parcel, options, questions)


def _spread(
    client: Client | None,
    task: type[FitDemand] | type[AskDemand],
    parcel: Parcel,
    options: Options,
    items: Sequence[Any],
) -> list[Any]:
    """Run `task` on every item, on `client`, the current client or threads, and wait for all."""
    run = executor(client)
    call = task(parcel, options, options.num_threads or max(1, run.threads // len(items)))
    results = {number: result for (number, _), result in run.map_unordered(call, enumerate(items))}
    return [results[number] for number in range(len(items))]


def _at_most(threads: int) -> int:
    """As many threads, and no more than this machine's cores."""
    from dask.system import CPU_COUNT

    return min(threads, CPU_COUNT)


def load_boosters(groups: list[Group], names: list[str], where: str) -> list[Any]:
    """The boosters of groups of leads; None where the base is all."""
    from taxidask.models.boosting import load_booster

    return [
        load_booster(group.text, names, f"{where}, for leads from {group.first},") if group.text else None
        for group in groups
    ]
