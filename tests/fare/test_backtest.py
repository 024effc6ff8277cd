from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import taxidask as td
from taxidask.errors import ModelError, TooFewError
from taxidask.fare import fit_and_backtest, tariff_fare
from taxidask.fare.told import count_errors, count_prices

QUICK: dict[str, Any] = {"rounds": 15, "num_threads": 1}


def test_each_fold_knows_only_what_was_before(march: pd.DataFrame) -> None:
    model = td.FareModel(**QUICK)
    table = td.backtest(model, march.sample(frac=1, random_state=0), folds=3)
    assert table["fold"].tolist() == [0, 1, 2]
    assert (table["end"] >= table["origin"]).all()
    assert (table["origin"].to_numpy()[1:] >= table["end"].to_numpy()[:-1]).all()
    times = np.sort(march["pickup_datetime"].to_numpy())
    for row in table.itertuples():
        assert row.fitted_on == (times < np.datetime64(row.origin)).sum()
    assert table["rows"].sum() == pytest.approx(len(march) / 2, abs=5)
    assert (table["mae"] < 0.7 * table["tariff_mae"]).all()
    assert table["coverage"].between(0.7, 0.9).all()
    assert "not fitted" in repr(model)


def test_figures_are_those_of_a_model_fitted_by_hand(march: pd.DataFrame) -> None:
    table = td.backtest(td.FareModel(**QUICK), march, folds=1, horizon=48)
    origin = table.loc[0, "origin"]
    before = march[march["pickup_datetime"] <= march["pickup_datetime"].max() - pd.Timedelta(hours=24)]
    after = march.drop(before.index)
    assert origin == after["pickup_datetime"].min()
    assert table.loc[0, "rows"] == len(after)
    model = td.FareModel(**QUICK).fit(before)
    error = model.predict(after)["fare"] - after["fare_amount"]
    naive = tariff_fare(after) - after["fare_amount"]
    assert table.loc[0, "mae"] == pytest.approx(error.abs().mean())
    assert table.loc[0, "rmse"] == pytest.approx(np.sqrt((error**2).mean()))
    assert table.loc[0, "tariff_mae"] == pytest.approx(naive.abs().mean())


def test_fitted_beside_its_backtest_it_is_the_model_that_is_fitted_alone(march: pd.DataFrame) -> None:
    march = march.sample(frac=1, random_state=0)
    both = td.FareModel(**QUICK)
    found = fit_and_backtest(both, march, folds=2)
    pd.testing.assert_frame_equal(found.table, td.backtest(td.FareModel(**QUICK), march, folds=2))
    alone = td.FareModel(**QUICK).fit(march)
    assert both.card == alone.card
    pd.testing.assert_frame_equal(both.predict(march), alone.predict(march))


def test_folds_and_fit_are_of_as_many_trips_as_a_model_may_have(march: pd.DataFrame) -> None:
    model = td.FareModel(**QUICK, max_rows=12_000)
    table = fit_and_backtest(model, march, folds=2).table
    assert table["fitted_on"].tolist() == [len(march) // 2, 12_000]
    assert model.card["data"]["fitted_on"] == 12_000


@pytest.mark.parametrize(("trips", "fitted"), [(2_000, [1_000, 1_500]), (1_400, [1_050]), (1_100, [])])
def test_few_trips_make_fewer_folds(march: pd.DataFrame, trips: int, fitted: list[int]) -> None:
    some = march.sample(trips, random_state=0)
    model = td.FareModel(**QUICK)
    found = fit_and_backtest(model, some, folds=2)
    assert found.table.get("fitted_on", pd.Series()).tolist() == pytest.approx(fitted, abs=5)
    assert found.prices["trips"].sum() == found.errors["trips"].sum() == found.table.get("rows", pd.Series()).sum()
    assert model.card["data"]["fitted_on"] == trips


def test_too_few_trips_are_an_error_of_their_own(march: pd.DataFrame) -> None:
    with pytest.raises(TooFewError, match=r"needs 1,000 usable trips and 999 of 999 are"):
        fit_and_backtest(td.FareModel(**QUICK), march.head(999), folds=2)


def test_the_prices_told_are_counted_of_all_folds(march: pd.DataFrame) -> None:
    found = fit_and_backtest(td.FareModel(**QUICK), march, folds=2)
    trips = found.table["rows"].sum()
    assert found.prices["trips"].sum() == found.errors["trips"].sum() == trips
    held = (found.table["coverage"] * found.table["rows"]).sum()
    assert found.prices["held"].sum() == pytest.approx(held, abs=0.5)


USD = st.lists(st.floats(0.01, 700), min_size=1, max_size=60)


@settings(deadline=None)
@given(USD, st.randoms())
def test_every_price_is_in_one_cell_and_one_bar(usd: list[float], shuffle: Random) -> None:
    paid, price = np.array(usd), np.array(shuffle.sample(usd, len(usd)))
    prices = count_prices(paid, price, np.minimum(paid, price), price)
    assert prices["trips"].sum() == len(paid)
    assert prices["held"].sum() == (paid <= price).sum()
    top = max(prices["paid"].max(), prices["price"].max())
    assert top < 200
    for cell in prices.itertuples():
        there = [(np.minimum(np.floor(usd), top) == edge) for usd, edge in ((paid, cell.paid), (price, cell.price))]
        assert np.logical_and(*there).sum() == cell.trips
    errors = count_errors(paid, price)
    assert errors["trips"].sum() == len(paid)
    inner = errors.iloc[1:-1]
    for bar in zip(inner["from"], inner["to"], inner["trips"], strict=True):
        assert ((price - paid >= bar[0]) & (price - paid < bar[1])).sum() == bar[2]


def test_what_is_published_of_prices_is_small_whatever_they_are() -> None:
    draw = np.random.default_rng(0)
    paid, price = draw.uniform(0, 500, 400_000), draw.uniform(0, 500, 400_000)
    prices, errors = count_prices(paid, price, price, price), count_errors(paid, price)
    assert len(prices) <= 200 * 200
    assert len(errors) == 40
    assert count_prices(paid[:0], price[:0], price[:0], price[:0]).empty
    assert count_errors(paid[:0], price[:0])["trips"].sum() == 0


def test_real_fares(fares: pd.DataFrame) -> None:
    table = td.backtest(td.FareModel(rounds=40), fares, folds=2)
    assert (table["mae"] < 0.5 * table["tariff_mae"]).all()
    assert table["coverage"].between(0.72, 0.88).all()


def test_zone_trips_are_placed_in_the_zones_of_the_package(zoned: pd.DataFrame) -> None:
    table = td.backtest(td.FareModel(**QUICK), zoned, folds=1)
    pd.testing.assert_frame_equal(table, td.backtest(td.FareModel(**QUICK, space=td.Zones()), zoned, folds=1))
    assert (table["mae"] < table["tariff_mae"]).all()


def test_demand_goes_to_demand(monkeypatch: pytest.MonkeyPatch) -> None:
    import taxidask.backtests

    asked: dict[str, Any] = {}

    def fake(model: Any, cube: Any, **options: Any) -> str:
        asked.update(options, model=model, cube=cube)
        return "a table"

    monkeypatch.setattr(taxidask.backtests, "backtest_demand", fake)
    cube = td.Cube(np.zeros((2, 600, 2), np.int32), start="2015-01-01", space=td.Grid.new_york())
    model = td.DemandModel()
    assert td.backtest(model, cube, folds=2) == "a table"
    left = {"weather": None, "client": None, "on_forecast": None}
    assert asked == {"folds": 2, "horizon": 48, "model": model, "cube": cube, **left}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"folds": 0}, "folds=0"),
        ({"horizon": 1.5}, "horizon=1.5"),
        ({"horizon": 48 * 40}, "to fit the first on; it takes 1,000"),
        ({"weather": pd.DataFrame()}, "weather"),
    ],
)
def test_refusals(march: pd.DataFrame, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        td.backtest(td.FareModel(**QUICK), march, **arguments)


def test_wrong_pairs(march: pd.DataFrame) -> None:
    with pytest.raises(ModelError, match="a str is no model"):
        td.backtest("fare", march)
    with pytest.raises(ModelError, match="give a DemandModel's backtest a Cube"):
        td.backtest(td.DemandModel(), march)
    with pytest.raises(ModelError, match="give a DataFrame"):
        td.backtest(td.FareModel(), 3)


def test_a_fold_without_trips(march: pd.DataFrame) -> None:
    early = march[march["pickup_datetime"] < "2015-03-20"]
    late = march[march["pickup_datetime"] > "2015-03-31"]
    with pytest.raises(ModelError, match=r"fold \d of 8, .* has no usable trip"):
        td.backtest(td.FareModel(**QUICK), pd.concat([early, late]), folds=8, horizon=48)


def test_the_function_is_no_module() -> None:
    import taxidask.backtests

    assert td.backtest is taxidask.backtests.backtest
