from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import taxidask as td
from taxidask.demand import training
from taxidask.errors import ModelError
from taxidask.models import files as modelfiles


def same(a: td.Forecast, b: td.Forecast) -> None:
    pd.testing.assert_index_equal(a.times, b.times)
    for name in ("mean", "low", "high", "total_low", "total_high"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def sound(forecast: td.Forecast, slots: int, cells: int) -> None:
    assert forecast.mean.shape == forecast.low.shape == forecast.high.shape == (slots, cells, 2)
    assert len(forecast.times) == slots
    for array in (forecast.mean, forecast.low, forecast.high, forecast.total_low, forecast.total_high):
        assert np.isfinite(array).all()
    assert (forecast.low >= 0).all()
    assert (forecast.low <= forecast.mean).all()
    assert (forecast.mean <= forecast.high).all()
    total = forecast.total()
    assert (total.low <= total["mean"] + 1e-3).all()
    assert (total["mean"] <= total.high + 1e-3).all()


def test_the_next_slots(fitted, month):
    forecast = fitted.forecast(month)
    sound(forecast, 24, 12)
    assert forecast.times[0] == month.end
    assert forecast.slot == month.slot
    assert forecast.space == month.space
    same(fitted.forecast(month, horizon=5), td.Forecast(
        forecast.times[:5], forecast.mean[:5], forecast.low[:5], forecast.high[:5], month.space, month.slot,
        forecast.total_low[:5], forecast.total_high[:5],
    ))  # fmt: skip


def test_the_same_seed_gives_the_same_model(fitted, month, quick):
    again = td.DemandModel(horizon=24, **quick).fit(month)
    same(again.forecast(month), fitted.forecast(month))
    assert [g.text for g in again._groups] == [g.text for g in fitted._groups]
    other = td.DemandModel(horizon=24, seed=1, **quick).fit(month)
    assert not np.array_equal(other.forecast(month).mean, fitted.forecast(month).mean)


def test_rolling_is_made_from_the_slots_before(fitted, month):
    """Whatever comes after the origin: the forecasts made from it stay."""
    start, horizon = month.times[500], 6
    rolled = fitted.predict_rolling(month, start=start, horizon=horizon)
    sound(rolled, len(month) - 500, 12)
    counts = month.counts.copy()
    counts[550:] = 777
    changed = td.Cube(counts, start=month.start, slot=month.slot, space=month.space)
    other = fitted.predict_rolling(changed, start=start, horizon=horizon)
    same_until = 550 + horizon - 500
    np.testing.assert_array_equal(rolled.mean[:same_until], other.mean[:same_until])
    np.testing.assert_array_equal(rolled.high[:same_until], other.high[:same_until])
    assert not np.array_equal(rolled.mean[same_until], other.mean[same_until])


def test_rolling_equals_forecasts_one_by_one(fitted, month):
    for horizon in (1, 24):
        rolled = fitted.predict_rolling(month, start=month.times[600], horizon=horizon)
        for at in (0, 17, 71):
            past = month.between(
                month.start, month.times[600 + at - horizon + 1] if at + 1 - horizon < 72 else month.end
            )
            alone = fitted.forecast(past, horizon=horizon)
            assert alone.times[-1] == rolled.times[at]
            np.testing.assert_allclose(alone.mean[-1], rolled.mean[at], rtol=1e-5)
            np.testing.assert_allclose(alone.total_high[-1], rolled.total_high[at], rtol=1e-5)


def test_a_long_past_is_not_needed(make_cube, quick):
    """Forecasts look back fifteen weeks: what lies before changes nothing, so long cubes cost no more."""
    cube = make_cube(150)
    model = td.DemandModel(horizon=12, **quick).fit(cube)
    late = cube.between(cube.times[30 * 24], cube.end)
    np.testing.assert_allclose(model.forecast(late).mean, model.forecast(cube).mean, rtol=1e-5)


@pytest.mark.parametrize("slot", ["15min", "30min", "120min"])
def test_any_slot(make_cube, quick, slot):
    cube = make_cube(17, slot=slot)
    model = td.DemandModel(horizon=8, **quick).fit(cube)
    sound(model.forecast(cube), 8, 12)


def test_gaps_in_the_history(make_cube, quick):
    whole = make_cube(35)
    missing = np.zeros(len(whole), bool)
    missing[100:148] = missing[400:450] = missing[-5:] = True
    counts = whole.counts.copy()
    counts[missing] = 0
    cube = td.Cube(counts, start=whole.start, slot=whole.slot, space=whole.space, missing=missing)
    model = td.DemandModel(horizon=24, **quick).fit(cube)
    assert model.card["data"]["missing"] == 103
    forecast = model.forecast(cube)
    sound(forecast, 24, 12)
    # Zeros taken for counts would pull it far down.
    usual = whole.counts[-7 * 24 : -6 * 24].sum()
    assert 0.7 < forecast.mean.sum() / usual < 1.4


def test_weeks_ahead(make_cube, quick):
    cube = make_cube(35)
    horizon = 9 * 24
    model = td.DemandModel(horizon=horizon, **quick).fit(cube)
    sound(model.forecast(cube), horizon, 12)


def test_it_beats_the_naive_baselines(fitted):
    row = fitted.metrics.query("first_lead == 1 and direction == 'dropoff'").iloc[0]
    assert row.mae < 0.95 * row.four_weeks_mae
    assert row.mae < 0.95 * row.last_week_mae
    assert 0.7 < row.coverage <= 1


def test_next_to_no_trips(make_cube, quick):
    cube = make_cube(16)
    empty = td.Cube(np.zeros_like(cube.counts), start=cube.start, slot="60min", space=cube.space)
    with pytest.raises(ModelError, match="0 trip ends in 384 slots of 12 cells"):
        td.DemandModel(horizon=24, **quick).fit(empty)
    one_way = td.Cube(cube.counts * np.array([1, 0]), start=cube.start, slot="60min", space=cube.space)
    forecast = td.DemandModel(horizon=24, **quick).fit(one_way).forecast(one_way)
    sound(forecast, 24, 12)
    assert forecast.mean[:, :, 1].max() < 0.1


def test_other_things_than_cubes(fitted, quick):
    for thing in (None, pd.DataFrame()):
        with pytest.raises(ModelError, match=f"cube is a {type(thing).__name__}"):
            td.DemandModel(**quick).fit(thing)
        with pytest.raises(ModelError, match=r"give a td\.Cube"):
            fitted.forecast(thing)


def test_too_little_to_forecast_from(fitted, month):
    with pytest.raises(ModelError, match="too little before 2015-04-07 00:00:00"):
        fitted.forecast(month.between("2015-04-02", month.end))
    with pytest.raises(ModelError, match="too little before 2015-03-11"):
        fitted.predict_rolling(month, start="2015-03-11")
    with pytest.raises(ModelError, match="is no start of a slot"):
        fitted.predict_rolling(month, start="2016-01-01")
    with pytest.raises(ModelError, match="is no start of a slot"):
        fitted.predict_rolling(month, start="2015-04-01 00:10")


def test_cells_and_slots_it_has_not_seen(fitted, month):
    other = td.Grid(4, 3, west=-74.0, south=40.7, east=-73.96, north=40.73)
    cube = td.Cube(month.counts, start=month.start, slot=month.slot, space=other)
    with pytest.raises(ModelError, match="never seen these cells") as error:
        fitted.forecast(cube)
    assert other.key in str(error.value)
    assert month.space.key in str(error.value)
    with pytest.raises(ModelError, match="slots of 120min and the model was fitted on slots of 60min"):
        fitted.forecast(month.reslot("120min"))
    with pytest.raises(
        ModelError,
        match=r"horizon of 25 slots was asked of a model fitted for 24; fit DemandModel.*taxidask fit demand",
    ):
        fitted.forecast(month, horizon=25)
    for horizon in (0, 1.5, True):
        with pytest.raises(ModelError, match="is not a number of slots"):
            fitted.forecast(month, horizon=horizon)


def test_not_fitted(month):
    model = td.DemandModel()
    assert "not fitted" in repr(model)
    assert "not fitted" in model._repr_html_()
    for call in (lambda: model.card, lambda: model.metrics, lambda: model.forecast(month), lambda: model.save("x")):
        with pytest.raises(ModelError, match="not fitted"):
            call()


@pytest.mark.parametrize(
    "options",
    [{"horizon": 0}, {"rounds": 2.5}, {"max_rows": 10}, {"interval": 1.0}, {"leaves": 1}, {"learning_rate": 0}],
)
def test_options_that_make_no_sense(options):
    with pytest.raises(ModelError, match=next(iter(options))):
        td.DemandModel(**options)


def test_weather_goes_all_the_way(make_cube, quick):
    cube = make_cube(17)
    rng = np.random.default_rng(0)
    hours = pd.date_range(cube.start, periods=len(cube) + 24, freq="h")
    columns = ("temp_F", "liq_precp_1hr", "snow_depth_in", "wind_spd", "visib_mile")
    weather = pd.DataFrame({name: rng.random(len(hours)) for name in columns}, index=hours)
    model = td.DemandModel(horizon=12, **quick).fit(cube, weather=weather)
    assert "rain" in model.card["features"]
    sound(model.forecast(cube, weather=weather), 12, 12)
    with pytest.raises(ModelError, match="fitted with weather"):
        model.forecast(cube)
    with pytest.raises(ModelError, match="weather is missing for 9 of"):  # three hours are carried on
        model.forecast(cube, weather=weather[:-24])
    with pytest.raises(ModelError, match="fitted without it"):
        td.DemandModel(horizon=12, **quick).fit(cube).forecast(cube, weather=weather)


def test_card_and_repr(fitted, month):
    card = fitted.card
    assert card["data"]["start"] == "2015-03-10 00:00:00"
    assert card["data"]["pickups"] == month.total().pickups
    assert card["settings"]["horizon"] == 24
    assert set(card["versions"]) >= {"taxidask", "lightgbm"}
    assert json.loads(json.dumps(card, allow_nan=False)) == card
    metrics = fitted.metrics
    assert metrics[["first_lead", "last_lead"]].drop_duplicates().to_numpy().tolist() == [
        [1, 1],
        [2, 4],
        [5, 16],
        [17, 24],
    ]
    assert {"mae", "rmse", "mape", "coverage", "width", "last_week_mae", "four_weeks_rmse"} <= set(metrics)
    assert "672 slots of 60min" in repr(fitted)
    assert "<table" in fitted._repr_html_()


def test_forecast_as_tables(fitted, month):
    forecast = fitted.forecast(month, horizon=3)
    table = forecast.to_pandas()
    assert list(table) == ["time", "cell", "direction", "mean", "low", "high"]
    assert len(table) == 3 * 12 * 2
    row = table.query("time == @month.end and cell == 11 and direction == 'dropoff'").iloc[0]
    assert row["mean"] == forecast.mean[0, 11, 1]
    total = forecast.total()
    assert total["mean"].sum() == pytest.approx(forecast.mean.sum(), rel=1e-6)
    assert "3 of 60 min from 2015-04-07 00:00 to 2015-04-07 03:00" in repr(forecast)
    assert "All cells together" in forecast._repr_html_()
    assert len(forecast) == 3


class TestFiles:
    @pytest.fixture
    def folder(self, fitted, tmp_path) -> Path:
        fitted.save(str(tmp_path / "model"))
        return tmp_path / "model"

    def test_there_and_back(self, fitted, month, folder):
        again = td.DemandModel.load(str(folder))
        same(again.forecast(month), fitted.forecast(month))
        assert again.card["data"] == fitted.card["data"]
        assert again.options == fitted.options
        pd.testing.assert_frame_equal(again.metrics, fitted.metrics)
        again.save(str(folder / "again"))
        same(td.DemandModel.load(str(folder / "again")).forecast(month), fitted.forecast(month))

    def test_texts_and_a_card_and_nothing_else(self, fitted, month, folder, make_cube, quick):
        names = sorted(path.name for path in folder.iterdir())
        assert names[0] == "card.json"
        assert all(name.startswith("model-") and name.endswith(".txt") for name in names[1:])
        assert (folder / names[1]).read_text().startswith("tree\n")
        td.DemandModel(horizon=4, **quick).fit(month).save(str(folder))
        assert len(list(folder.iterdir())) == 3  # the former model's files are gone
        assert td.DemandModel.load(str(folder)).options.horizon == 4

    def test_tampered_texts(self, folder):
        path = next(folder.glob("model-*.txt"))
        path.write_text(path.read_text().replace("leaf_value=", "leaf_value=9", 1))
        with pytest.raises(ModelError, match=rf"{path.name} was changed after it was saved"):
            td.DemandModel.load(str(folder))
        path.unlink()
        with pytest.raises(ModelError, match="not whole"):
            td.DemandModel.load(str(folder))

    def test_tampered_card(self, folder):
        path = folder / "card.json"
        card = json.loads(path.read_text())
        card["metrics"][0]["mae"] = 0.001
        path.write_text(json.dumps(card))
        with pytest.raises(ModelError, match=r"card.json was changed"):
            td.DemandModel.load(str(folder))

    @pytest.mark.parametrize("change", [{"files": {}}, {"groups": [{"first_lead": 1}]}, {"settings": None}])
    def test_a_card_that_does_not_fit_its_texts(self, folder, change):
        path = folder / "card.json"
        card = json.loads(path.read_text()) | change
        path.write_text(json.dumps(card | {"sha256": modelfiles._seal(card)}))
        with pytest.raises(ModelError, match="is damaged"):
            td.DemandModel.load(str(folder))

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("no json", "is no card of a model"),
            ("[]", "is no card of a model"),
            ('{"kind": "fare", "format": 1}', "'fare' model"),
            ('{"kind": "demand", "format": 99}', "format 99"),
            ('{"kind": "demand", "format": 1}', "is damaged"),
        ],
    )
    def test_other_files(self, folder, text, words):
        (folder / "card.json").write_text(text)
        with pytest.raises(ModelError, match=words):
            td.DemandModel.load(str(folder))

    def test_nothing_there(self, tmp_path):
        with pytest.raises(ModelError, match="no model at"):
            td.DemandModel.load(str(tmp_path / "nowhere"))

    def test_on_s3(self, fitted, month, bucket):
        fitted.save(f"{bucket}/models/demand")
        same(td.DemandModel.load(f"{bucket}/models/demand").forecast(month), fitted.forecast(month))


def test_it_travels_to_a_worker(fitted, month):
    same(pickle.loads(pickle.dumps(fitted)).forecast(month), fitted.forecast(month))


def test_threads_change_nothing(make_cube, quick):
    cube, texts = make_cube(17), []
    for threads in (1, 2, None):
        model = td.DemandModel(horizon=12, **{**quick, "num_threads": threads}).fit(cube)
        texts.append([group.text.split("\n\nparameters:")[0] for group in model._groups])
    assert texts[0] == texts[1] == texts[2]


def test_fit_and_forecast_as_tasks(fitted, month, quick):
    from taxidask.settings import Settings

    with td.connect(Settings(workers=1, worker_memory="1GiB")) as client:
        model = td.DemandModel(horizon=24, **quick).fit(month, client=client)
        forecast = model.forecast(month, client=client)
        ran = client.run_on_scheduler(lambda dask_scheduler: set(dask_scheduler.task_prefixes))
    same(forecast, fitted.forecast(month))
    assert {"fit_demand", "ask_demand"} <= ran


@pytest.mark.parametrize("horizon", ["x", None, float("nan"), float("inf"), [1], True, 0, 1.5, 10**9])
def test_a_horizon_that_is_none_is_refused_by_name(fitted, month, horizon):
    if horizon is not None:
        with pytest.raises(ModelError, match="horizon"):
            fitted.forecast(month, horizon=horizon)
    with pytest.raises(ModelError, match="horizon"):
        fitted.predict_rolling(month, start=month.times[-10], horizon=horizon)


@pytest.mark.parametrize("start", ["x", None, pd.NaT, "1999-01-01", [1]])
def test_a_start_that_is_none_is_refused_by_name(fitted, month, start):
    with pytest.raises(ModelError, match="start="):
        fitted.predict_rolling(month, start=start)


def test_months_years_apart_are_fitted_and_forecast_by_what_has_data(make_cube, quick):
    month = make_cube(70, start="2009-03-02")
    half, gap = 35 * 24, 300 * 7 * 24
    counts = np.insert(month.counts, [half] * gap, 0, axis=0)
    missing = np.zeros(len(counts), bool)
    missing[half : half + gap] = True
    cube = td.Cube(counts, start=month.start, slot=month.slot, space=month.space, missing=missing)
    model = td.DemandModel(horizon=24, **quick).fit(cube)
    assert model.card["data"]["profile"] == "weekly"
    assert model.card["data"]["missing"] == gap
    after = model.forecast(cube)
    assert after.times[0] == cube.end
    # the years between are nothing that a forecast of the month after them looks at
    short = td.Cube(
        np.delete(counts, slice(half, half + gap - 20 * 7 * 24), axis=0),
        start=cube.end - pd.Timedelta(days=70 + 20 * 7),
        slot=cube.slot,
        space=cube.space,
        missing=np.delete(missing, slice(half, half + gap - 20 * 7 * 24)),
    )
    np.testing.assert_array_equal(model.forecast(short).mean, after.mean)
    rolled = model.predict_rolling(cube, start=cube.end - pd.Timedelta(days=2), horizon=3)
    np.testing.assert_array_equal(
        rolled.mean, model.predict_rolling(short, start=cube.end - pd.Timedelta(days=2), horizon=3).mean
    )
    in_gap = model.predict_rolling(cube, start=cube.times[half + 30], horizon=3)
    assert len(in_gap.times) == len(cube) - half - 30
    frame = td.backtest(td.DemandModel(**quick), cube, folds=2, horizon=24)
    assert np.isfinite(frame["mae"]).all()


def test_as_many_rows_are_learned_from_as_was_said(month, monkeypatch):
    learned = []
    boost = training._boost
    monkeypatch.setattr(training, "_boost", lambda learn, *rest: learned.append(len(learn["y"])) or boost(learn, *rest))
    td.DemandModel(horizon=24, rounds=2, max_rows=10_000, num_threads=1).fit(month)
    assert len(learned) == 4
    assert 8_000 < sum(learned) < 10_500
