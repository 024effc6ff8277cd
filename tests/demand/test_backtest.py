from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import taxidask as td
from taxidask.demand import backtest_demand
from taxidask.errors import ModelError


def test_a_row_per_fold_direction_and_leads(make_cube, quick):
    cube = make_cube(18)
    model = td.DemandModel(**quick)
    table = backtest_demand(model, cube, folds=2, horizon=12)
    assert "not fitted" in repr(model)
    assert len(table) == 2 * 2 * 4
    assert table.groupby(["fold", "direction"]).slots.max().eq(12).all()
    assert table.origin.unique().tolist() == [cube.times[-24], cube.times[-12]]
    whole = table.query("first_lead == 1 and last_lead == 12")
    assert (whole.last_week_mae > 0).all()
    assert whole.coverage.between(0.5, 1).all()
    pd.testing.assert_frame_equal(td.backtest(model, cube, folds=2, horizon=12), table)


def test_what_the_folds_forecast_is_handed_out(make_cube, quick):
    cube, seen = make_cube(18), []
    table = backtest_demand(td.DemandModel(**quick), cube, folds=2, horizon=12, on_forecast=seen.append)
    (forecast,) = seen
    assert (forecast.times == cube.times[-24:]).all()
    whole = table.query("first_lead == 1 and last_lead == 12").set_index(["fold", "direction"])
    for fold, part in enumerate((slice(0, 12), slice(12, 24))):
        off = abs(forecast.mean[part] - cube.counts[-24:][part]).mean(axis=(0, 1))
        assert [whole.mae[fold, "pickup"], whole.mae[fold, "dropoff"]] == pytest.approx(off, rel=1e-5)
    assert ((forecast.low <= forecast.mean) & (forecast.mean <= forecast.high)).all()
    assert np.isfinite(forecast.total()[["low", "high"]]).all(axis=None)
    with pytest.raises(ModelError, match="on_forecast was given"):
        td.backtest(td.FareModel(), pd.DataFrame(), on_forecast=seen.append)


def test_folds_know_nothing_of_what_comes_after(make_cube, quick):
    cube = make_cube(18)
    counts = cube.counts.copy()
    counts[-12:] = 99
    changed = td.Cube(counts, start=cube.start, slot=cube.slot, space=cube.space)
    model = td.DemandModel(**quick)
    a, b = (backtest_demand(model, c, folds=2, horizon=12).query("fold == 0") for c in (cube, changed))
    pd.testing.assert_frame_equal(a, b)


def test_missing_slots_are_left_out(make_cube, quick):
    cube = make_cube(18)
    missing = np.zeros(len(cube), bool)
    missing[-5:] = True
    gap = td.Cube(cube.counts, start=cube.start, slot=cube.slot, space=cube.space, missing=missing)
    table = backtest_demand(td.DemandModel(**quick), gap, folds=1, horizon=12)
    assert table.query("last_lead == 12 and first_lead == 1").slots.eq(7).all()


def test_folds_that_are_none(make_cube, quick):
    with pytest.raises(ModelError, match="folds=0"):
        backtest_demand(td.DemandModel(**quick), make_cube(14), folds=0)
