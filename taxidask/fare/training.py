"""Fitting the boosters: arrays in order of time in, LightGBM's text, bands and metrics out.

The fare is learned in units of the meter, (fare - flag) / unit, which a new tariff leaves as they are; tolls in
multiples of the day's E-ZPass toll at the city's crossings. The newest rides, and whole days before them, are held
out at first: on half of them the number of rounds is decided and the edges of the band are learned, on others these are
calibrated, and on the newest the metrics are taken, of rides that nothing was decided on. Then the band is calibrated
on both, and fares and tolls are learned anew, for as many rounds, of all rides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taxidask.errors import ModelError
from taxidask.fare.bands import Band, reach
from taxidask.fare.features import categorical
from taxidask.models import metrics
from taxidask.models.forest import forest_of, walk
from taxidask.models.options import check_common
from taxidask.units import is_whole

MIN_ROWS = 1_000
_TAIL_SHARE, _TAIL_ROWS = 0.2, 60_000
_MOST_ROWS = 200_000  # tolls need fewer rides than fares
_DAYS = 60  # of which some may be held out from among the others
_CHECK_ROWS = 30_000  # that say how many rounds are of use
_HUBER = 15.0  # units, about 7 USD: beyond, an error is a detour or a slip and counts in proportion only
_PATIENCE = 25
_TOLD = 100  # rides whose tolls are known, without which a part of them says nothing about tolls
_SMALL, _EDGE_ROUNDS = 31, 60  # trees of tolls and of the edges of a band: little is left to tell
MIDDLE = ("fare", "median", "tolls")


@dataclass(frozen=True)
class Options:
    """What `FareModel` can be told; see there."""

    interval: float = 0.8
    rounds: int = 200
    learning_rate: float = 0.1
    leaves: int = 255
    max_rows: int = 1_500_000
    seed: int = 0
    num_threads: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("rounds", 1), ("leaves", 2), ("max_rows", MIN_ROWS)):
            value = getattr(self, name)
            if not is_whole(value, least):
                raise ModelError(
                    f"{name}={value!r:.100} is not a whole number of at least {least:,}", "give such a number"
                )
        check_common(self, usual_rate=0.1)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Lesson:
    """What is learned from, in order of time.

    Attributes
    ----------
    x : float32 array (rides, features)
    names : list of str
    fare, tolls : float arrays
        USD; tolls NaN where unknown.
    flag, unit, crossing : float arrays
        The tariff of each ride's day in USD.
    naive : float array
        The tariff on straight-line distance, USD; NaN where it cannot be told.
    day : datetime64[D] array
    """

    x: NDArray[np.float32]
    names: list[str]
    fare: NDArray[np.float64]
    tolls: NDArray[np.float64]
    flag: NDArray[np.float64]
    unit: NDArray[np.float64]
    crossing: NDArray[np.float64]
    naive: NDArray[np.float64]
    day: NDArray[np.datetime64]

    def take(self, which: NDArray[np.int64]) -> Lesson:
        """The rides of an index."""
        parts: dict[str, Any] = {
            part.name: getattr(self, part.name)[which] for part in fields(self) if part.name != "names"
        }
        return Lesson(names=self.names, **parts)


@dataclass(frozen=True)
class Learned:
    """Boosters as text by name (fare, median, low, high, and tolls if known), their rounds, the band, the metrics."""

    texts: dict[str, str]
    rounds: dict[str, int]
    band: Band
    metrics: dict[str, Any]


def learn(lesson: Lesson, options: Options, threads: int) -> Learned:
    """Decide, calibrate and measure on rides held out what was fitted on the others; then fit as much on all."""
    n = len(lesson.fare)
    order, first, half, late = held_out(lesson.day)
    lesson = lesson.take(order)
    edged = np.arange(first, half)
    known = np.isfinite(lesson.tolls)
    # Tolls are learned where enough of them are known in every part; else a price is the fare alone.
    parts = (np.arange(first), edged, np.arange(half, late), np.arange(late, n))
    with_tolls = known.sum() >= MIN_ROWS and all(known[part].sum() >= _TOLD for part in parts)
    priced = known if with_tolls else np.ones(n, bool)
    tolls = np.where(priced & known, lesson.tolls, 0.0)
    price = (lesson.fare - lesson.flag + tolls) / lesson.unit
    before = _Trainer(lesson, first, options, threads)
    texts, rounds = before.middle(known[:first] if with_tolls else None, edged)
    rest = np.arange(first, n)
    x = lesson.x[rest]
    fare, toll = told(texts, x, lesson.crossing[rest], threads)
    middle = np.full(n, np.nan)
    middle[rest] = fare + toll / lesson.unit[rest]

    # The edges of the band are learned of rides that the middle was not, as distances from it.
    alpha = (1 - options.interval) / 2
    rows = edged[priced[edged]]
    away = (price - middle) / reach(middle)
    for name, share in (("low", alpha), ("high", 1 - alpha)):
        texts[name], rounds[name] = before.edge(rows, away, share)
    kept = half + np.flatnonzero(priced[half:])
    paid, between = price[kept], middle[kept]
    outward = walk([forest_of(texts[name]) for name in ("low", "high")], lesson.x[kept], threads)
    low, high = (between + edge * reach(between) for edge in outward)
    cut = int(priced[half:late].sum())
    early = Band.calibrate(paid[:cut], between[:cut], low[:cut], high[:cut], options.interval)
    tested, scored = np.arange(late, n), kept[cut:]
    edges = early.apply(between[cut:], low[cut:], high[cut:])
    measured = measure(
        lesson.fare[tested],
        lesson.flag[tested] + fare[late - first :] * lesson.unit[tested],
        lesson.naive[tested],
        lesson.fare[scored] + tolls[scored],
        *(lesson.flag[scored] + np.clip(edge, 0, None) * lesson.unit[scored] for edge in edges),
    )
    after = _Trainer(lesson, n, options, threads)
    texts |= after.middle(known if with_tolls else None, rounds=rounds)[0]
    return Learned(texts, rounds, Band.calibrate(paid, between, low, high, options.interval), measured)


def held_out(day: NDArray[np.datetime64]) -> tuple[NDArray[np.int64], int, int, int]:
    """An order of rides given in order of time, and where in it those begin that the edges of the band are learned of,
    that they are calibrated on, and that the metrics are of.

    The last are the newest. The others are whole days, so that none is told by rides of the same hour: a third of all
    that are held out is of the newest, the rest evenly spread over the time, whose streets and prices may have been
    others. Of less than `_DAYS` days, all are the newest.
    """
    n = len(day)
    held = min(int(n * _TAIL_SHARE), _TAIL_ROWS)
    days, number = np.unique(day, return_inverse=True)
    if len(days) < _DAYS:
        return np.arange(n), n - held, n - held // 2, n - held // 4
    newest, late = n - held // 3, n - held // 6
    every = max(2, newest // (held - held // 3))
    out = (number % every == every // 2) | (np.arange(n) >= newest)
    turn = np.where(np.arange(n) < newest, number // every, number) % 2
    before = np.arange(n) < late
    parts = [np.flatnonzero(part) for part in (~out, out & before & (turn == 0), out & before & (turn == 1), ~before)]
    first, half, last = np.cumsum([len(part) for part in parts[:3]]).tolist()
    return np.concatenate(parts), first, half, last


def told(
    texts: Mapping[str, str], x: NDArray[np.float32], crossing: NDArray[np.float64], threads: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The fare in units and the tolls in USD."""
    trunk, head, *toll = walk([forest_of(texts[name]) for name in MIDDLE if name in texts], x, threads)
    return np.clip(trunk + head, 0, None), np.clip(toll[0], 0, None) * crossing if toll else np.zeros(len(x))


def measure(
    fare: NDArray[np.float64],
    predicted: NDArray[np.float64],
    naive: NDArray[np.float64],
    price: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
) -> dict[str, Any]:
    """Errors of the fare in USD beside the tariff's, and the share of prices inside the band, of rides whose price is
    known: these may be fewer."""
    known = np.isfinite(naive)
    return {
        "rows": len(fare),
        "mae": metrics.mae(fare, predicted),
        "rmse": metrics.rmse(fare, predicted),
        "tariff_mae": metrics.mae(fare[known], naive[known]),
        "tariff_rmse": metrics.rmse(fare[known], naive[known]),
        "coverage": metrics.coverage(price, low, high),
        "width": metrics.width(low, high),
    }


def spread(rows: NDArray[Any], most: int) -> NDArray[Any]:
    """At most `most` of rows, evenly spread over time."""
    if len(rows) <= most:
        return rows
    return rows[np.arange(most, dtype=np.int64) * len(rows) // most]


class _Trainer:
    """Boosters of several targets on the first so many rides, whose features are sorted into bins once."""

    def __init__(self, lesson: Lesson, learnt: int, options: Options, threads: int) -> None:
        from taxidask.models.boosting import lightgbm as lgb

        self._lesson, self._learnt, self._options, self._threads = lesson, learnt, options, threads
        self._units = (lesson.fare - lesson.flag) / lesson.unit
        self._bins = {
            "verbosity": -1,
            "max_bin": 255,
            "bin_construct_sample_cnt": 50_000,
            "num_threads": threads,
            "seed": options.seed,
        }
        self._columns: Any = {"feature_name": lesson.names, "categorical_feature": categorical(lesson.names)}
        self._data = lgb.Dataset(lesson.x[:learnt], params=self._bins, **self._columns).construct()

    def middle(
        self,
        tolled: NDArray[np.bool_] | None,
        checked: NDArray[np.int64] | None = None,
        rounds: Mapping[str, int] | None = None,
    ) -> tuple[dict[str, str], dict[str, int]]:
        """What a ride will cost, with its tolls where it is told of which rides they are known: in as many rounds as
        are told, or as are of use on rides that are `checked`.

        Of the fare, trees come near the mean, which far-off rides pull, and others go on from there to the median.
        """
        told = rounds or {}
        texts, found = {}, {}
        if tolled is not None:  # before the others: what these begin from would stay with the data
            target = self._lesson.tolls / self._lesson.crossing
            rows = spread(np.flatnonzero(tolled), _MOST_ROWS)
            data = self._data.subset(rows.tolist()).construct()
            data.set_label(target[rows])
            held = None
            if checked is not None:
                some = checked[np.isfinite(target[checked])]
                held = self._held(spread(some, _CHECK_ROWS), target)
            of_tolls = {"objective": "regression", "num_leaves": _SMALL}
            texts["tolls"], found["tolls"] = self._boost(data, of_tolls, held, told.get("tolls"))
        base, held = np.zeros(len(self._units)), None
        for name, objective in (("fare", {"objective": "huber", "alpha": _HUBER}), ("median", {"objective": "l1"})):
            self._data.set_label(self._units[: self._learnt])
            if name == "median":
                [base] = walk([forest_of(texts["fare"])], self._lesson.x, self._threads)
                self._data.set_init_score(base[: self._learnt])
            if checked is not None:
                held = self._held(spread(checked, _CHECK_ROWS), self._units, base if name == "median" else None)
            texts[name], found[name] = self._boost(self._data, objective, held, told.get(name))
        return texts, found

    def edge(self, rows: NDArray[np.int64], target: NDArray[np.float64], share: float) -> tuple[str, int]:
        """Below what this share of the targets of these rides lies."""
        data = self._held(rows, target)
        few = {"num_leaves": _SMALL, "min_data_in_leaf": max(20, min(200, len(rows) // 50)), "learning_rate": 0.1}
        return self._boost(data, {"objective": "quantile", "alpha": share, **few}, None, _EDGE_ROUNDS)

    def _held(
        self, rows: NDArray[np.int64], target: NDArray[np.float64], base: NDArray[np.float64] | None = None
    ) -> Any:
        from taxidask.models.boosting import lightgbm as lgb

        return lgb.Dataset(
            self._lesson.x[rows],
            target[rows],
            init_score=None if base is None else base[rows],
            reference=self._data,
            params=self._bins,
            **self._columns,
        ).construct()

    def _boost(self, data: Any, objective: dict[str, Any], held: Any, rounds: int | None) -> tuple[str, int]:
        from taxidask.models.boosting import lightgbm as lgb

        # Few rides are soon learnt by heart: smaller trees, each on a share of them.
        options, few = self._options, data.num_data() < 20_000
        parameters = {
            **self._bins,
            "metric": "l1" if objective["objective"] == "huber" else objective["objective"],
            "learning_rate": options.learning_rate,
            "num_leaves": min(options.leaves, 31) if few else options.leaves,
            "min_data_in_leaf": 20 if few else 40,
            "lambda_l2": 1.0,
            "bagging_fraction": 0.8 if few else 1.0,
            "bagging_freq": 1 if few else 0,
            "feature_fraction": 0.6,
            "cat_smooth": 20.0,
            "deterministic": True,  # together with row-wise histograms: the same model for any number of threads
            "force_row_wise": True,
            **objective,
        }
        stop: list[Any] = [lgb.early_stopping(_PATIENCE, verbose=False, min_delta=0.0)] if held is not None else []
        booster = lgb.train(
            parameters,
            data,
            min(rounds or options.rounds, options.rounds),
            valid_sets=[held] if held is not None else None,
            callbacks=stop,
        )
        best = booster.best_iteration if held is not None else booster.current_iteration()
        return booster.model_to_string(num_iteration=best), best
