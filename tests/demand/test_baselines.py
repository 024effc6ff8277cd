from __future__ import annotations

import numpy as np
import pytest

from taxidask.demand.baselines import mean_four_weeks, same_slot_last_week
from taxidask.models import metrics


@pytest.fixture
def weeks() -> np.ndarray:
    """Slot s of week w holds 100 w + s; weeks of 7 slots."""
    return (np.arange(6)[:, None] * 100 + np.arange(7)).ravel().astype(np.int32)


def test_same_slot_last_week(weeks):
    missing = np.zeros(42, bool)
    assert same_slot_last_week(weeks, missing, [38], [1], week=7) == [403]
    assert same_slot_last_week(weeks, missing, [38], [7], week=7) == [403]
    assert same_slot_last_week(weeks, missing, [38], [8], week=7) == [303]  # last week's is after the origin
    assert same_slot_last_week(weeks, missing, [45], [4], week=7) == [503]  # after the end
    missing[31] = True
    assert same_slot_last_week(weeks, missing, [38], [1], week=7) == [303]
    assert np.isnan(same_slot_last_week(weeks, missing, [3], [1], week=7))


def test_mean_of_four_weeks(weeks):
    missing = np.zeros(42, bool)
    assert mean_four_weeks(weeks, missing, [38], [1], week=7) == [253]
    assert mean_four_weeks(weeks, missing, [17], [1], week=7) == [53]  # as many as there are
    missing[31] = missing[24] = True
    assert mean_four_weeks(weeks, missing, [38], [1], week=7) == [153]
    assert mean_four_weeks(np.stack([weeks, weeks], 1), missing, [38, 41], [1, 1], week=7).shape == (2, 2)


def test_metrics_of_nothing():
    nothing = np.empty((0, 3))
    for value in (
        metrics.mae(nothing, nothing),
        metrics.rmse(nothing, nothing),
        metrics.mape([1.0], [2.0]),
        metrics.coverage(nothing, nothing, nothing),
        metrics.width(nothing, nothing),
    ):
        assert np.isnan(value)
    with pytest.raises(ValueError, match=r"shape \(1,\)"):
        metrics.mae([1], [1, 2])
