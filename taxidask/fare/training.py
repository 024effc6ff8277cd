"""Fitting the boosters: arrays in order of time in, LightGBM's text, bands and metrics out.

The fare is learned in units of the meter, (fare - flag) / unit, which a new tariff leaves as they are; tolls in
multiples of the day's E-ZPass toll at the city's crossings. The newest rides, the tail, are held out: on its first half
the number of rounds is decided and the band calibrated, on its second half the metrics are taken, so that these are of
rides that nothing was decided on. Then the band is calibrated on the whole tail.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taxidask.errors import ModelError
from taxidask.fare.features import categorical
from taxidask.models import metrics
from taxidask.models.options import check_common
from taxidask.units import is_whole

MIN_ROWS = 1_000
_TAIL_SHARE, _TAIL_ROWS = 0.2, 60_000
_MOST_ROWS = 100_000  # the edges of a band and tolls need fewer rides than its middle
_CHECK_ROWS = 30_000  # that say how many rounds are of use
_HUBER = 15.0  # units, about 7 USD: beyond, an error is a detour or a slip and counts in proportion only
_PATIENCE = 25
_TOLD = 100  # rides whose tolls are known, without which a part of them says nothing about tolls
_REACH = 10.0  # units, added so that the shortest trip has a band too
_BINS = 4


@dataclass(frozen=True)
class Options:
    """What `FareModel` can be told; see there."""

    interval: float = 0.8
    rounds: int = 300
    learning_rate: float = 0.12
    leaves: int = 63
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
    """

    x: NDArray[np.float32]
    names: list[str]
    fare: NDArray[np.float64]
    tolls: NDArray[np.float64]
    flag: NDArray[np.float64]
    unit: NDArray[np.float64]
    crossing: NDArray[np.float64]
    naive: NDArray[np.float64]


@dataclass(frozen=True)
class Band:
    """How far the band's edges move outward, in shares of its width, by the size of the price."""

    edges: list[float]
    widen: list[float]

    def apply(
        self, middle: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Calibrated edges; the middle always lies between them."""
        low, high = np.minimum(low, high), np.maximum(low, high)
        move = np.asarray(self.widen)[np.searchsorted(self.edges, middle, side="right")] * (high - low + 1.0)
        return np.minimum(low - move, middle), np.maximum(high + move, middle)

    @classmethod
    def calibrate(
        cls,
        price: NDArray[np.float64],
        middle: NDArray[np.float64],
        low: NDArray[np.float64],
        high: NDArray[np.float64],
        interval: float,
    ) -> Band:
        """The smallest widening that would have held `interval` of these prices (split conformal prediction)."""
        low, high = np.minimum(low, high), np.maximum(low, high)
        score = np.maximum(low - price, price - high) / (high - low + 1.0)
        bins = _BINS if len(price) >= 500 * _BINS else 1
        edges = np.quantile(middle, np.arange(1, bins) / bins)
        group = np.searchsorted(edges, middle, side="right")
        widen = []
        for number in range(bins):
            scores = np.sort(score[group == number])
            rank = min(int(np.ceil((len(scores) + 1) * interval)), len(scores))
            widen.append(float(scores[rank - 1]) if len(scores) else 0.0)
        return cls(edges.tolist(), widen)


@dataclass(frozen=True)
class Learned:
    """Boosters as text by name (fare, low, high, and tolls if known), their rounds, the band, the metrics."""

    texts: dict[str, str]
    rounds: dict[str, int]
    band: Band
    metrics: dict[str, Any]


def learn(lesson: Lesson, options: Options, threads: int) -> Learned:
    """Fit on everything before the tail; calibrate and measure on the tail."""
    n = len(lesson.fare)
    tail = min(int(n * _TAIL_SHARE), _TAIL_ROWS)
    first = n - tail
    half = first + tail // 2
    learnt, tested = np.arange(first), np.arange(half, n)
    checked = first + spread(np.arange(half - first), _CHECK_ROWS)
    known = np.isfinite(lesson.tolls)
    # Tolls are learned where enough of them are known in every part; else a price is the fare alone.
    with_tolls = known.sum() >= MIN_ROWS and all(known[part].sum() >= _TOLD for part in (learnt, checked, tested))
    priced = known if with_tolls else np.ones(n, bool)
    tolls = np.where(priced & known, lesson.tolls, 0.0)
    units = (lesson.fare - lesson.flag) / lesson.unit
    price = units + tolls / lesson.unit
    trainer = _Trainer(lesson, learnt, checked, options, threads)
    few = spread(learnt[priced[learnt]], _MOST_ROWS)
    boosters = {"fare": trainer.boost(units, {"objective": "huber", "alpha": _HUBER}, learnt)}
    if with_tolls:
        boosters["tolls"] = trainer.boost(tolls / lesson.crossing, {"objective": "regression"}, few, priced)

    def ask(name: str, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        return boosters[name].predict(lesson.x[rows], num_threads=threads)

    # The edges of the band are learned as distances from its middle: little is then left to learn about the price.
    wanted = np.concatenate([few, np.arange(first, n)])
    fare = np.full(n, np.nan)
    fare[wanted] = np.clip(ask("fare", wanted), 0, None)
    middle = fare.copy()
    if "tolls" in boosters:
        toll = np.clip(ask("tolls", wanted), 0, None) * lesson.crossing[wanted]
        middle[wanted] += toll / lesson.unit[wanted]
    alpha = (1 - options.interval) / 2
    for name, share in (("low", alpha), ("high", 1 - alpha)):
        boosters[name] = trainer.boost(
            (price - middle) / reach(middle), {"objective": "quantile", "alpha": share}, few, priced
        )

    kept = first + np.flatnonzero(priced[first:])
    low, high = (middle[kept] + ask(name, kept) * reach(middle[kept]) for name in ("low", "high"))
    paid, between = price[kept], middle[kept]
    cut = int(priced[first:half].sum())
    early = Band.calibrate(paid[:cut], between[:cut], low[:cut], high[:cut], options.interval)
    late = kept[cut:]
    edges = early.apply(between[cut:], low[cut:], high[cut:])
    measured = measure(
        lesson.fare[tested],
        lesson.flag[tested] + fare[tested] * lesson.unit[tested],
        lesson.naive[tested],
        lesson.fare[late] + tolls[late],
        *(lesson.flag[late] + np.clip(edge, 0, None) * lesson.unit[late] for edge in edges),
    )
    return Learned(
        {name: booster.model_to_string() for name, booster in boosters.items()},
        {name: booster.num_trees() for name, booster in boosters.items()},
        Band.calibrate(paid, between, low, high, options.interval),
        measured,
    )


def reach(middle: NDArray[np.float64]) -> NDArray[np.float64]:
    """In what the edges of a band are told: the dearer a trip, the farther its price may be from the expected one."""
    return middle + _REACH


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
    """Boosters of several targets on the same rides, whose features are sorted into bins once."""

    def __init__(
        self,
        lesson: Lesson,
        learnt: NDArray[np.int64],
        checked: NDArray[np.int64],
        options: Options,
        threads: int,
    ) -> None:
        from taxidask.models.boosting import lightgbm as lgb

        self._learnt, self._checked, self._options = learnt, checked, options
        self._bins = {
            "verbosity": -1,
            "max_bin": 127,
            "bin_construct_sample_cnt": 50_000,
            "num_threads": threads,
        }
        columns: Any = {"feature_name": lesson.names, "categorical_feature": categorical(lesson.names)}
        self._data = lgb.Dataset(lesson.x[learnt], params=self._bins, **columns).construct()
        self._held = lgb.Dataset(lesson.x[checked], reference=self._data, params=self._bins, **columns).construct()

    def boost(
        self,
        target: NDArray[np.float64],
        objective: dict[str, Any],
        rows: NDArray[np.int64],
        told: NDArray[np.bool_] | None = None,
    ) -> Any:
        """Fit one target on these of the rides learnt; where it is `told`, held-out rides say how many rounds."""
        from taxidask.models.boosting import lightgbm as lgb

        # Few rides are soon learnt by heart: smaller trees, each on a share of them.
        options, few = self._options, len(rows) < 20_000
        parameters = {
            **objective,
            **self._bins,
            "metric": "l1" if objective["objective"] == "huber" else objective["objective"],
            "learning_rate": options.learning_rate,
            "num_leaves": min(options.leaves, 31) if few else options.leaves,
            "min_data_in_leaf": 20 if few else 60,
            "lambda_l2": 1.0,
            "bagging_fraction": 0.8 if few else 1.0,
            "bagging_freq": 1 if few else 0,
            "feature_fraction": 0.8,
            "cat_smooth": 20.0,
            "seed": options.seed,
            "deterministic": True,  # together with row-wise histograms: the same model for any number of threads
            "force_row_wise": True,
        }
        data, held, check = self._data, self._held, self._checked
        if told is not None and not told[check].all():
            held, check = held.subset(np.flatnonzero(told[check]).tolist()).construct(), check[told[check]]
        if len(rows) < len(self._learnt):
            data = data.subset(np.searchsorted(self._learnt, rows).tolist()).construct()
        data.set_label(target[rows])
        held.set_label(target[check])
        stop = lgb.early_stopping(_PATIENCE, verbose=False, min_delta=0.0)
        return lgb.train(parameters, data, options.rounds, valid_sets=[held], callbacks=[stop])
