"""The compiled walk says what LightGBM's own predictor says, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from taxidask.models.boosting import lightgbm
from taxidask.models.forest import forest_of, walk

ROWS = 3_000


def table(*, holes: bool) -> np.ndarray:
    random = np.random.default_rng(0)
    x = np.column_stack([random.normal(size=ROWS), random.integers(0, 80, ROWS), random.normal(size=(ROWS, 2))])
    x = x.astype(np.float32)
    if holes:
        x[::7, 0] = np.nan
        x[::11, 1] = np.nan
    return x


def booster(x: np.ndarray, *, names: bool, leaves: int = 63, rounds: int = 20, objective: str = "huber") -> object:
    told = np.nan_to_num(x)
    y = np.abs(told[:, 0]) * 10 + told[:, 1] % 7 + told[:, 2] * (told[:, 3] > 0)
    data = lightgbm.Dataset(x, y, categorical_feature=[1] if names else [], params={"verbose": -1})
    given = {"objective": objective, "num_leaves": leaves, "verbose": -1, "num_threads": 1, "min_data_in_leaf": 5}
    return lightgbm.train(given, data, rounds)


@pytest.mark.parametrize("names", [False, True])
@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize("objective", ["huber", "l1", "quantile"])
def test_the_same_to_the_last_bit(names: bool, holes: bool, objective: str) -> None:
    fitted = booster(table(holes=holes), names=names, objective=objective)
    forest = forest_of(fitted.model_to_string())
    asked = table(holes=True)
    asked[::13, 1] = np.random.default_rng(1).integers(-9, 5_000, len(asked[::13]))  # names that no ride had
    asked[::17, 2] = np.inf
    for x in (table(holes=False), asked, asked[:1], asked[:0]):
        [said] = walk([forest], x, 1)
        np.testing.assert_array_equal(said, fitted.predict(x) if len(x) else np.empty(0))


def test_borders_are_where_they_were() -> None:
    """Values right at, below and above each threshold, which is no float32."""
    fitted = booster(table(holes=False), names=False)
    forest = forest_of(fitted.model_to_string())
    near = np.unique(forest.most[np.isfinite(forest.most)])
    near = np.concatenate([near, np.nextafter(near, np.float32(np.inf)), np.nextafter(near, np.float32(-np.inf))])
    x = np.column_stack([near] * 4)
    np.testing.assert_array_equal(walk([forest], x, 1)[0], fitted.predict(x))


def test_trees_of_one_leaf_and_several_forests() -> None:
    x = table(holes=False)
    stump = booster(x, names=False, leaves=2, rounds=1)
    alone = lightgbm.train({"verbose": -1, "num_threads": 1}, lightgbm.Dataset(x, np.ones(ROWS)), 3)
    said = walk([forest_of(one.model_to_string()) for one in (stump, alone)], x, 1)
    np.testing.assert_array_equal(said[0], stump.predict(x))
    np.testing.assert_array_equal(said[1], alone.predict(x))


def test_the_same_on_several_threads() -> None:
    x = np.tile(table(holes=False), (12, 1))
    forest = forest_of(booster(x[:ROWS], names=False).model_to_string())
    np.testing.assert_array_equal(walk([forest], x, 3)[0], walk([forest], x, 1)[0])
