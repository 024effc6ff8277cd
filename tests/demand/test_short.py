"""A week of trips, or two days: what the data carries is fitted, and what it does not is said."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import taxidask as td
from taxidask.demand.backtest import folds_of
from taxidask.errors import ModelError
from taxidask.models import metrics


def sound(forecast: td.Forecast, slots: int) -> None:
    assert len(forecast) == slots
    for array in (forecast.mean, forecast.low, forecast.high, forecast.total_low, forecast.total_high):
        assert np.isfinite(array).all()
    assert (forecast.low >= 0).all()
    assert (forecast.low <= forecast.mean).all()
    assert (forecast.mean <= forecast.high).all()


def with_missing(cube: td.Cube, missing: np.ndarray) -> td.Cube:
    return td.Cube(cube.counts, start=cube.start, slot=cube.slot, space=cube.space, missing=missing)


@pytest.mark.parametrize(("slot", "day"), [("15min", 96), ("30min", 48), ("60min", 24)])
def test_two_days_are_enough_with_default_arguments(make_cube, slot, day):
    cube = make_cube(2, slot=slot)
    model = td.DemandModel().fit(cube)
    sound(model.forecast(cube), 48)
    assert model.note == (
        "2 days of data: daily profile and level only; bands are wide; "
        f"{14 + 48 / day:.3g} days or more add a weekly profile"
    )
    assert model.note in repr(model)
    assert model.note in model._repr_html_()
    assert model.card["note"] == model.note
    with pytest.raises(
        ModelError, match=rf"has {2 * day - 1} slots .* needs {2 * day} \(2.0 days\); ingest more trips$"
    ):
        td.DemandModel().fit(make_cube(2 - 1 / day, slot=slot))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(days=st.integers(2, 14), gap=st.integers(0, 30), at=st.floats(0, 1), seed=st.integers(0, 3))
def test_any_short_past_with_any_gap(make_cube, quick, days, gap, at, seed):
    """From two days of slots with data on there is a forecast; with less there is an error that counts them."""
    whole = make_cube(days, seed=seed)
    missing = np.zeros(len(whole), bool)
    first = round(at * (len(whole) - gap))
    missing[first : first + gap] = True
    cube = with_missing(whole, missing)
    model = td.DemandModel(horizon=12, **quick)
    if len(cube) - gap < 48:
        with pytest.raises(ModelError, match=f"has {len(cube) - gap} slots"):
            model.fit(cube)
    else:
        sound(model.fit(cube).forecast(cube), 12)


def test_fifteen_days_know_weeks(make_cube, quick):
    model, least = td.DemandModel(horizon=24, **quick), make_cube(15)
    assert model.fit(least).note == ""
    assert model.card["data"]["profile"] == "weekly"
    sound(model.forecast(least), 24)
    missing = np.arange(len(least)) == 50
    assert "14.9 days of data: daily profile" in model.fit(with_missing(least, missing)).note
    most = make_cube(34)
    at = np.arange(len(most))
    assert model.fit(with_missing(most, at < 19 * 24 + 1)).card["data"]["profile"] == "daily"
    gap = (at >= 8 * 24) & (at < 27 * 24)  # nothing is left between the first week and the tail
    assert model.fit(with_missing(most, gap)).note.startswith("15 days of data, with gaps: ")
    sound(model.forecast(most), 24)


def test_a_horizon_longer_than_the_data(make_cube, quick):
    cube = make_cube(3)
    with pytest.raises(
        ModelError,
        match=r"has 72 slots \(3 days\) .* of 96 slots needs 96 .* shorter horizon: DemandModel\(horizon=72\)",
    ):
        td.DemandModel(horizon=96, **quick).fit(cube)
    sound(td.DemandModel(horizon=72, **quick).fit(cube).forecast(cube), 72)


def test_slots_of_a_day_take_weeks(make_cube, quick):
    """They have no daily profile, and of two counts nothing can be learned."""
    with pytest.raises(ModelError, match=r"has 14 slots \(14 days\) .* horizon of 7 slots needs 21"):
        td.DemandModel(horizon=7, **quick).fit(make_cube(14, slot="1D"))
    cube = make_cube(60, slot="1D")
    model = td.DemandModel(horizon=7, **quick).fit(cube)
    assert model.note == ""
    sound(model.forecast(cube), 7)


def test_it_learns_of_recent_demand_where_days_are_left_for_it(make_cube, quick):
    model = td.DemandModel(horizon=24, **quick).fit(make_cube(10))
    assert model.note.startswith("10 days of data: daily profile, level and recent demand only; ")
    row = model.metrics.query("first_lead == 1 and direction == 'pickup'").iloc[0]
    assert row.mae < row.yesterday_mae
    assert "lag1d" in model.card["features"]
    assert "lag1w" not in model.card["features"]


@pytest.mark.parametrize("days", [2, 10])
def test_there_and_back(make_cube, quick, tmp_path, days):
    cube = make_cube(days)
    model = td.DemandModel(horizon=24, **quick).fit(cube)
    model.save(str(tmp_path))
    again = td.DemandModel.load(str(tmp_path))
    assert again.note == model.note
    np.testing.assert_array_equal(again.forecast(cube).high, model.forecast(cube).high)
    pd.testing.assert_frame_equal(again.metrics, model.metrics)
    more = make_cube(days + 2)
    sound(again.predict_rolling(more, start=more.times[days * 24], horizon=3), 48)
    with pytest.raises(ModelError, match=r"no data two days before it .* begins at least 2 days and"):
        again.predict_rolling(more, start=more.times[5])


def test_rolling_is_made_from_the_slots_before(make_cube, quick):
    cube = make_cube(9)
    model = td.DemandModel(horizon=24, **quick).fit(cube)
    counts = cube.counts.copy()
    counts[150:] = 777
    changed = td.Cube(counts, start=cube.start, slot=cube.slot, space=cube.space)
    for horizon in (1, 24):
        a, b = (model.predict_rolling(c, start=cube.times[100], horizon=horizon).mean for c in (cube, changed))
        np.testing.assert_array_equal(a[: 50 + horizon], b[: 50 + horizon])


class TestBacktest:
    def test_yesterday_stands_in_for_last_week(self, make_cube, quick):
        table = td.backtest(td.DemandModel(**quick), make_cube(5), folds=2, horizon=24)
        assert table.profile.eq("daily").all()
        assert table.slots.gt(0).all()
        assert table.yesterday_rmse.gt(0).all()
        assert table[["last_week_mae", "four_weeks_rmse"]].isna().all(axis=None)

    def test_each_fold_knows_what_its_past_carries(self, make_cube, quick):
        table = td.backtest(td.DemandModel(**quick), make_cube(16), folds=2, horizon=24)
        assert table.groupby("fold").profile.first().tolist() == ["daily", "weekly"]
        assert table.query("fold == 1").yesterday_mae.isna().all()
        assert table.last_week_mae.gt(0).all()

    def test_too_few_days_name_the_folds_that_would_do(self, make_cube, quick):
        with pytest.raises(ModelError, match=r"5 folds of 24 slots leaves 0 slots .* takes 48 .*; give folds=3"):
            td.backtest(td.DemandModel(**quick), make_cube(5), horizon=24)
        with pytest.raises(ModelError, match="give a shorter horizon, or a longer cube"):
            td.backtest(td.DemandModel(**quick), make_cube(2), folds=1, horizon=24)

    @pytest.mark.parametrize("days", [2, 3, 4, 15, 16, 17])
    def test_as_many_folds_as_there_are(self, make_cube, quick, days):
        cube = make_cube(days)
        assert folds_of(cube, 24) == days - 2


def test_a_week_in_a_month_of_nothing(make_cube, quick):
    """What a file holds that is named for a month: nobody would have driven for weeks."""
    week = make_cube(7, start="2015-03-01")
    counts = np.zeros((31 * 24, *week.counts.shape[1:]), np.int32)
    counts[3 * 24 : 10 * 24] = week.counts
    cube = td.Cube(counts, start="2015-02-26", slot="60min", space=week.space)
    assert cube.trimmed() == week
    assert week.trimmed() is week
    model = td.DemandModel(horizon=24, **quick).fit(cube)
    assert model.note.startswith("7 days of data")
    assert model.card["data"]["start"] == "2015-03-01 00:00:00"
    with pytest.raises(ModelError, match=r"no trip begins in it from 2015-03-08 00:00:00 on: .* give cube.trimmed\(\)"):
        model.forecast(cube)
    assert model.forecast(cube.trimmed()).times[0] == pd.Timestamp("2015-03-08")
    missing = np.ones(len(cube), bool)
    missing[3 * 24 : 10 * 24] = False
    assert with_missing(cube, missing).trimmed() == with_missing(cube, missing)
    quiet = td.Cube((counts > 1000).astype(np.int32), start="2015-02-26", slot="60min", space=week.space)
    assert quiet.trimmed() is quiet  # where next to nobody drives, a day of nothing is a count


@pytest.mark.parametrize("days", [3, 5, 7, 10, 13])
def test_bands_hold_what_comes_on_real_counts(data, days):
    """Two days after the first of 2015, and after a Wednesday: 80 % bands hold three quarters and more."""
    with np.load(data / "demand" / "nyctaxi_10x20_30min_train.npz") as file:
        counts = file["volume"].reshape(-1, 200, 2).astype(np.int32)
    space = td.Grid(10, 20, west=-74.05, south=40.65, east=-73.75, north=40.85)
    cube = td.Cube(counts, start="2015-01-01", slot="30min", space=space)
    for first in (0, 6 * 48):
        end = first + days * 48
        part, more = (cube.between(cube.times[first], cube.times[stop]) for stop in (end, end + 96))
        model = td.DemandModel(max_rows=80_000).fit(part)
        for horizon in (1, 48):
            forecast = model.predict_rolling(more, start=part.end, horizon=horizon)
            sound(forecast, 96)
            held = metrics.coverage(counts[end : end + 96], forecast.low, forecast.high)
            assert held >= 0.75, (first, horizon, held)
