"""Fits as tasks: those of a backtest and the one on all trips take their rides from one table, and run at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from taxidask.compute import executor
from taxidask.errors import TooFewError
from taxidask.fare.bands import Band, reach
from taxidask.fare.doubts import doubts
from taxidask.fare.features import feature_names, features
from taxidask.fare.naive import meter_prices, naive_fare
from taxidask.fare.rides import Rides
from taxidask.fare.training import MIN_ROWS, Learned, Lesson, Options, learn, spread
from taxidask.models.forest import Forest, forest_of, walk

if TYPE_CHECKING:
    from distributed import Client

    from taxidask.space import Zones


_CHUNK = 50_000  # rides asked about at once, by each thread


@dataclass(frozen=True)
class Lessons:
    """What a table of trips has to teach.

    Attributes
    ----------
    places : str
        Whether its places are "points" or "zones".
    zones : Zones, optional
        Those, if they are zones.
    rides : Rides
        The usable ones, in order of time.
    rows : int
        Of the table.
    set_aside : dict
        Unusable rows by reason.
    """

    places: str
    zones: Zones | None
    rides: Rides
    rows: int
    set_aside: dict[str, int]

    def check_enough(self) -> None:
        """Raise TooFewError where there are fewer than a model takes."""
        if (usable := len(self.rides)) < MIN_ROWS:
            aside = ", ".join(f"{count:,} {why}" for why, count in self.set_aside.items()) or "none set aside"
            raise TooFewError(
                f"a fare model needs {MIN_ROWS:,} usable trips and {usable:,} of {self.rows:,} are ({aside})",
                "give more trips",
            )


@dataclass(frozen=True)
class Past:
    """How many rides, from the first one on, a fit knows, and up to which of those after them it tells the price."""

    known: int
    end: int


class FitFares:
    """Learns from a past and tells the prices after it."""

    __name__ = "fit_fares"

    def __init__(self, rides: Rides, names: list[str], options: Options, threads: int) -> None:
        self.rides, self.names, self.options, self.threads = rides, names, options, threads

    def __call__(self, numbered: tuple[int, Past]) -> tuple[Learned, NDArray[np.float64]]:
        from dask.system import CPU_COUNT

        past, threads = numbered[1], min(self.threads, CPU_COUNT)
        rides = self.rides.take(spread(np.arange(past.known), self.options.max_rows))
        of = meter_prices(rides)
        x, naive = features(rides, self.names), naive_fare(rides)
        day = rides.time.astype("datetime64[D]")
        lesson = Lesson(x, self.names, rides.fare, rides.tolls, of.flag, of.unit, of.crossing, naive, day)
        learned = learn(lesson, self.options, threads)
        forests = load_forests(learned.texts) if past.end > past.known else {}
        return learned, ask(forests, self.names, learned.band, self.rides.take(slice(past.known, past.end)), threads)


def fit_pasts(
    client: Client | None, rides: Rides, places: str, options: Options, pasts: Sequence[Past]
) -> list[tuple[Learned, NDArray[np.float64]]]:
    """For each past, what was learned, and what `ask` says of the rides after it; the longest begin first."""
    run = executor(client)
    threads = options.num_threads or max(1, run.threads // len(pasts))
    call = FitFares(rides, feature_names(places), options, threads)
    longest = sorted(enumerate(pasts), key=lambda item: -item[1].known)
    results = {number: result for (number, _), result in run.map_unordered(call, longest)}
    return [results[number] for number in range(len(pasts))]


def ask(forests: Mapping[str, Forest], names: list[str], band: Band, rides: Rides, threads: int) -> NDArray[np.float64]:
    """Fare, tolls, price, low and high of rides, a column each, in USD."""
    edges = range(0, len(rides), _CHUNK)
    parts = (rides.take(slice(begin, begin + _CHUNK)) for begin in edges)
    if len(edges) < 2 or threads < 2:
        said = [_ask(forests, names, band, part) for part in parts]
    else:
        with ThreadPoolExecutor(threads) as pool:
            said = list(pool.map(lambda part: _ask(forests, names, band, part), parts))
    return np.concatenate([np.empty((0, 5)), *said])


def _ask(forests: Mapping[str, Forest], names: list[str], band: Band, rides: Rides) -> NDArray[np.float64]:
    x = features(rides, names)
    of = meter_prices(rides)
    units = dict(zip(forests, walk(list(forests.values()), x, 1), strict=True))
    toll = np.clip(units["tolls"], 0, None) * of.crossing if "tolls" in units else np.zeros(len(rides))
    toll[toll < 0.005] = 0.0
    fare = np.clip(units["fare"] + units["median"], 0, None)
    middle = fare + toll / of.unit
    low, high = (middle + units[name] * reach(middle) for name in ("low", "high"))
    low, high = band.apply(middle, low, high, np.any(list(doubts(rides).values()), axis=0))
    usd = of.flag + fare * of.unit
    edges = [of.flag + np.clip(edge, 0, None) * of.unit for edge in (low, high)]
    return np.column_stack([usd, toll, usd + toll, *edges])


def load_forests(texts: Mapping[str, str]) -> dict[str, Forest]:
    """The boosters of their texts, by name, as they are asked."""
    return {name: forest_of(text) for name, text in texts.items()}


def load_boosters(texts: dict[str, str], names: list[str], where: str) -> dict[str, Any]:
    """The boosters of their texts, by name; `where` is how errors call the model."""
    from taxidask.models.boosting import load_booster

    return {name: load_booster(text, names, f"the booster {name} of {where}") for name, text in texts.items()}
