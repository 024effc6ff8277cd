"""Fitting and asking the boosters: arrays in, arrays and text out.

Leads are taken in groups (1, 2–4, 5–16, 17–64 … slots), each with a booster of its own that multiplies the base of
`taxidask.demand.features` by what it has learned. How long each may learn is decided on a held-out tail, the last fifth
of the history, on which bands are calibrated and metrics taken too; then it learns as long from all of it. Nothing in
the tail is ever forecast from an origin before the slots it was learned from. Where the history is too short for that,
the base alone is the forecast: it is made of earlier slots only, so all days after the first are held out.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taxidask.demand import baselines
from taxidask.demand.bands import Bands
from taxidask.demand.features import History, categorical
from taxidask.demand.forecast import DIRECTIONS
from taxidask.errors import ModelError
from taxidask.models import metrics
from taxidask.models.options import check_common
from taxidask.units import is_whole

_TAIL_SHARE = 0.2
_TAIL_DAYS = 28
_LEARN_DAYS = 3
_TAIL_ROWS = 100_000
_LEAST_SLOTS = 24
_PATIENCE = 20  # rounds without gain after which no more are tried
_ODD = 0.5  # a log factor of the whole city at which a slot counts half in what is learned,
_ODD_BAND = 0.25  # and in how wide the bands are


@dataclass(frozen=True)
class Options:
    """What `DemandModel` can be told; see there."""

    horizon: int = 48
    interval: float = 0.8
    rounds: int = 300
    learning_rate: float = 0.1
    leaves: int = 31
    max_rows: int = 320_000
    holidays: str | None = "US-NY"
    timezone: str | None = "America/New_York"
    seed: int = 0
    num_threads: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("horizon", 1), ("rounds", 1), ("leaves", 2), ("max_rows", 10_000)):
            value = getattr(self, name)
            if not is_whole(value, least):
                raise ModelError(
                    f"{name}={value!r:.100} is not a whole number of at least {least}", "give such a number"
                )
        for name in ("holidays", "timezone"):
            if not isinstance(value := getattr(self, name), str | None):
                raise ModelError(f"{name}={value!r:.100} is no name", "give one as text, or None for none")
        check_common(self, usual_rate=0.05)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Group:
    """What was learned for a group of leads."""

    first: int
    last: int
    text: str
    rounds: int
    bands: Bands


def lead_groups(horizon: int) -> list[tuple[int, int]]:
    """First and last lead of each group.

    >>> lead_groups(48)
    [(1, 1), (2, 4), (5, 16), (17, 48)]
    """
    groups, first, last = [], 1, 1
    while first <= horizon:
        groups.append((first, min(last, horizon)))
        first, last = last + 1, last * 4
    return groups


def slots_needed(day: int, horizon: int) -> int:
    """Slots with data that a weekly profile takes: a week to look back on, days to learn from, and a held-out tail.

    >>> slots_needed(48, 48) / 48
    15.0
    """
    return 14 * day + horizon


def least_slots(day: int, horizon: int) -> int:
    """Slots with data that any fit takes: two days, as many slots as shall be forecast, and not under 24.

    Of slots as long as a day there are no two whose difference says how far a third may lie: those take weeks.

    >>> [least_slots(day, 48) / day for day in (96, 48, 24, 1)]
    [2.0, 2.0, 2.0, 48.0]
    """
    return min(max(2 * day, _LEAST_SLOTS, horizon), slots_needed(day, horizon))


def is_weekly(missing: NDArray[np.bool_], day: int, horizon: int) -> bool:
    """Whether the slots with data carry a weekly profile: enough of them, and after the first week not all in gaps."""
    seen, tail = ~missing, len(missing) - tail_slots(len(missing), day, horizon)
    parts = seen[7 * day + horizon : tail], seen[tail:]
    return int(seen.sum()) >= slots_needed(day, horizon) and all(part.sum() >= day for part in parts)


def tail_slots(slots: int, day: int, horizon: int) -> int:
    """How many slots at the end are held out."""
    return int(np.clip(_TAIL_SHARE * slots, horizon + 2 * day, _TAIL_DAYS * day + horizon))


def _pairs(
    history: History, start: int, stop: int, leads: tuple[int, int], *, origin_from: int, most: int, seed: list[int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """At most `most` pairs of origin and lead with targets in [start, stop), one per target, spread evenly."""
    rng = np.random.default_rng(seed)
    target = np.arange(start, stop)
    lead = rng.integers(leads[0], leads[1] + 1, len(target))
    ok = (target - lead >= origin_from) & (history.seen[target] > 0)
    ok[ok] &= history.usable((target - lead)[ok], lead[ok])
    target, lead = target[ok], lead[ok]
    if len(target) > most:
        chosen = np.sort(rng.choice(len(target), most, replace=False))
        target, lead = target[chosen], lead[chosen]
    return target - lead, lead


def _rows(
    history: History, origin: NDArray[np.int64], lead: NDArray[np.int64], rows: int, seed: list[int]
) -> dict[str, NDArray[Any]]:
    """At most about `rows` rows of features to learn from; busy cells are drawn more often and weigh less for it."""
    rng = np.random.default_rng(seed)
    share = min(1.0, rows / max(1, len(origin) * history.series))
    parts: list[tuple[NDArray[Any], ...]] = []
    for part, features, base in history.blocks(origin, lead):
        target = origin[part] + lead[part]
        wanted = np.float32(0.2) + np.sqrt(base)
        chance = np.minimum(wanted * np.float32(share) / wanted.mean(), 1) if share < 1 else np.ones_like(base)
        kept = rng.random(base.shape, np.float32) < chance
        weight = _usual(history, target)[:, None] / chance
        parts.append((features[kept], history.y[target][kept], base[kept], weight[kept].astype(np.float32)))
    x, y, base, weight = (np.concatenate(column) for column in zip(*parts, strict=True))
    return {"x": x, "y": y, "base": base, "weight": weight}


def _usual(history: History, target: NDArray[np.int64], odd: float = _ODD) -> NDArray[np.float32]:
    """How much slots count: less where the city was unlike itself, as in a blizzard, of which nothing can be learned
    for other days. They are counted in full in every metric.
    """
    return (1 / (1 + (history.oddity[target] / odd) ** 2)).astype(np.float32)


def _dataset(rows: dict[str, NDArray[Any]], names: list[str], parameters: dict[str, Any]) -> Any:
    from taxidask.models.boosting import lightgbm as lgb

    return lgb.Dataset(
        rows["x"],
        rows["y"],
        weight=rows["weight"],
        init_score=np.log(rows["base"]),
        feature_name=names,
        categorical_feature=categorical(names),
        params=parameters,
    )


def _parameters(options: Options, group: int, threads: int) -> dict[str, Any]:
    return {
        "objective": "poisson",
        "metric": "poisson",
        "learning_rate": options.learning_rate,
        "num_leaves": options.leaves,
        "min_data_in_leaf": 200,
        "min_sum_hessian_in_leaf": 100.0,
        "lambda_l2": 20.0,
        "max_delta_step": 0.7,  # no leaf more than doubles: a glitch in the counts must not blow up the exponent
        "max_bin": 63,
        "bin_construct_sample_cnt": 20_000,
        "cat_smooth": 50.0,
        "cat_l2": 50.0,
        "feature_fraction": 0.6,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "seed": options.seed + group,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": threads,
        "verbosity": -1,
    }


def fit_group(history: History, options: Options, number: int, threads: int) -> tuple[Group, list[dict[str, Any]]]:
    """Learn the booster of one group of leads; what was learned, and its metrics on the tail beside the baselines'."""
    leads = lead_groups(options.horizon)[number]
    budget = options.max_rows // len(lead_groups(options.horizon))
    seed = [options.seed, number]
    held = history.slots - tail_slots(history.slots, history.day, options.horizon)
    most = max(700, 3 * budget // history.series)
    origin, lead = _pairs(history, 0, held, leads, origin_from=0, most=most, seed=[*seed, 0])
    tail = max(100, _TAIL_ROWS // history.series)
    least = min(_LEARN_DAYS * history.day, tail)
    learns = history.weekly or len(origin) >= least
    if not learns:
        held, origin, lead = 0, origin[:0], lead[:0]
    t_origin, t_lead = _pairs(
        history, held, history.slots, leads, origin_from=max(0, held - 1), most=tail, seed=[*seed, 1]
    )
    if not learns and len(t_origin) < _LEAST_SLOTS:
        # The base of a lead is that of shorter ones, but for the days it steps over: those say how far it strays.
        near = 1, max(1, min(leads[1], (history.slots - history.day) // 2))
        t_origin, t_lead = _pairs(history, 0, history.slots, near, origin_from=0, most=tail, seed=[*seed, 1])
    if len(t_origin) < (least if learns else _LEAST_SLOTS) // 3 or (learns and len(origin) < least // 3):
        raise ModelError(
            f"only {len(origin):,} slots are left to learn from and {len(t_origin):,} to check it on at leads of "
            f"{leads[0]} to {leads[1]} slots, because of missing slots",
            "ingest more trips, without gaps in the last weeks",
        )
    target = t_origin + t_lead
    text, rounds, booster, learned = "", 0, None, history.y[target].any()
    if learns:
        learn = _rows(history, origin, lead, budget, [*seed, 2])
        check = _rows(history, t_origin, t_lead, budget // 4, [*seed, 3])
        learned = learn["y"].any() and check["y"].any()
    if not learned:
        raise ModelError(
            f"there is next to nothing to learn from: {int(history.y[: history.slots].sum()):,} trip ends in "
            f"{history.slots:,} slots of {history.cells:,} cells",
            "ingest more trips, or count them in fewer and larger cells",
        )
    if learns:
        text, rounds, booster = _boost(learn, check, history.names, options, number, threads)
    mean = _mean(booster, history, t_origin, t_lead, threads, rounds)
    bands = _bands(history, options, target, mean)
    if learns and not history.weekly:
        # The tail may hold no weekend: how far all days together strayed from their base says what one may do.
        origin, lead = _pairs(history, 0, history.slots, leads, origin_from=0, most=tail, seed=[*seed, 4])
        wide = _bands(history, options, origin + lead, history.bases(origin, lead))
        bands.total_low = [min(pair) for pair in zip(bands.total_low, wide.total_low, strict=True)]
        bands.total_high = [max(pair) for pair in zip(bands.total_high, wide.total_high, strict=True)]
    scores = score(history, t_origin, t_lead, mean, *bands.around(mean), leads=leads)
    return Group(leads[0], leads[1], text, rounds, bands), scores


def _bands(history: History, options: Options, target: NDArray[np.int64], mean: NDArray[np.float32]) -> Bands:
    # Slots of a day err together: of few days, others will differ more than these did among themselves.
    days = len(np.unique(target // history.day))
    return Bands.calibrate(
        history.y[target],
        mean,
        share=options.interval,
        weight=_usual(history, target, _ODD_BAND),
        total_weight=_usual(history, target),
        widen=1.0 if history.weekly else 1 + 2 / days,
    )


def _boost(
    learn: dict[str, NDArray[Any]],
    check: dict[str, NDArray[Any]],
    names: list[str],
    options: Options,
    number: int,
    threads: int,
) -> tuple[str, int, Any]:
    """What is learned from both parts as text, in how many rounds, and the booster that has seen the first only.

    As many rounds as are best for the second part when every other row of the first is learned from, which says as
    much in half the time; none if the base is best.
    """
    from taxidask.models.boosting import lightgbm as lgb

    parameters = _parameters(options, number, threads)
    both = _dataset({key: np.concatenate([learn[key], check[key]]) for key in learn}, names, parameters).construct()
    cut, end = len(learn["y"]), len(learn["y"]) + len(check["y"])  # binned once, for all three
    booster = lgb.train(
        parameters,
        both.subset(np.arange(0, cut, 2), parameters),
        options.rounds,
        valid_sets=[both.subset(np.arange(cut, end), parameters)],
        callbacks=[lgb.early_stopping(_PATIENCE, verbose=False)],
    )
    loss = np.average(check["base"] - check["y"] * np.log(check["base"]), weights=check["weight"])
    if not booster.best_score["valid_0"]["poisson"] < loss:
        return "", 0, None
    rounds = booster.best_iteration
    return lgb.train(parameters, both, rounds).model_to_string(), rounds, booster


def _mean(
    booster: Any, history: History, origin: NDArray[np.int64], lead: NDArray[np.int64], threads: int, rounds: int
) -> NDArray[np.float32]:
    if booster is None:
        return history.bases(origin, lead)
    mean = np.empty((len(origin), history.series), np.float32)
    for part, features, base in history.blocks(origin, lead):
        raw = booster.predict(
            features.reshape(-1, features.shape[2]), raw_score=True, num_iteration=rounds, num_threads=threads
        )
        mean[part] = base * np.exp(raw.reshape(base.shape))
    return mean


def ask(
    history: History, groups: list[Group], boosters: list[Any], origin: Any, lead: Any, threads: int
) -> tuple[NDArray[np.float32], ...]:
    """Mean, low, high (n, cells, 2), total_low and total_high (n, 2) for pairs of origin and lead."""
    origin, lead = np.asarray(origin, np.int64), np.asarray(lead, np.int64)
    shape = (len(origin), history.series)
    mean, low, high = (np.empty(shape, np.float32) for _ in range(3))
    total_low, total_high = (np.empty((len(origin), 2), np.float32) for _ in range(2))
    # After a gap a forecast is really made from the last slot seen, and as uncertain as that.
    real = np.minimum(origin + lead - history.last_seen[origin], groups[-1].last)
    for group, booster in zip(groups, boosters, strict=True):
        chosen = np.flatnonzero((real >= group.first) & (real <= group.last))
        if not len(chosen):
            continue
        m = _mean(booster, history, origin[chosen], lead[chosen], threads, group.rounds)
        clock = history.clock[origin[chosen] + lead[chosen], None]
        total = m.reshape(len(chosen), -1, 2).sum(1)
        mean[chosen] = m * clock
        for out, band in zip((low, high), group.bands.around(m), strict=True):
            out[chosen] = band * clock
        for out, band in zip((total_low, total_high), group.bands.around_total(total), strict=True):
            out[chosen] = band * clock
    cells = (len(origin), -1, 2)
    return mean.reshape(cells), low.reshape(cells), high.reshape(cells), total_low, total_high


def score(
    history: History,
    origin: NDArray[np.int64],
    lead: NDArray[np.int64],
    mean: NDArray[np.float32],
    low: NDArray[np.float32],
    high: NDArray[np.float32],
    *,
    leads: tuple[int, int],
) -> list[dict[str, Any]]:
    """Metrics by direction for forecasts (pairs, series), beside those of the naive baselines at the same slots."""
    target = origin + lead
    missing = history.seen[: history.slots] == 0
    naive = baselines.naive(history.y[: history.slots], missing, target, lead, day=history.day, weekly=history.weekly)
    # Compared where the nearest baseline has an answer.
    ok = np.flatnonzero((history.seen[target] > 0) & np.isfinite(next(iter(naive.values()))).all(1))
    rows = []
    for number, direction in enumerate(DIRECTIONS):
        actual = history.y[target][ok, number::2]
        model = mean[ok, number::2]
        row: dict[str, Any] = {
            "direction": direction,
            "first_lead": leads[0],
            "last_lead": leads[1],
            "slots": len(ok),
            "mae": metrics.mae(actual, model),
            "rmse": metrics.rmse(actual, model),
            "mape": metrics.mape(actual, model),
            "coverage": metrics.coverage(actual, low[ok, number::2], high[ok, number::2]),
            "width": metrics.width(low[ok, number::2], high[ok, number::2]),
        }
        for name, values in naive.items():
            other = values[ok, number::2]
            row |= {
                f"{name}_mae": metrics.mae(actual, other),
                f"{name}_rmse": metrics.rmse(actual, other),
                f"{name}_mape": metrics.mape(actual, other),
            }
        rows.append(row)
    return rows
