from __future__ import annotations

import hashlib
import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import taxidask as td
from taxidask.errors import ModelError, SpaceError
from taxidask.fare import tariff_fare
from taxidask.fare.bands import Band
from taxidask.fare.rides import POINTS
from taxidask.models import files as modelfiles

TIMES_SQUARE, JFK, SOHO = (-73.985, 40.758), (-73.782, 40.644), (-74.000, 40.723)
ASKED = [
    *("pickup_datetime", "passenger_count"),
    *("pickup_longitude", "pickup_latitude", "dropoff_longitude", "dropoff_latitude"),
]


def scores(model: td.FareModel, trips: pd.DataFrame, **space: Any) -> dict[str, float]:
    predicted = model.predict(trips)
    good = predicted["fare"].notna() & trips["fare_amount"].between(0.01, 500)
    fare = trips.loc[good, "fare_amount"]
    error, naive = predicted.loc[good, "fare"] - fare, tariff_fare(trips, **space)[good] - fare
    paid = fare + (trips.loc[good, "tolls_amount"] if model.card["data"]["tolls_known"] else 0)
    inside = (paid >= predicted.loc[good, "low"] - 1e-9) & (paid <= predicted.loc[good, "high"] + 1e-9)
    return {
        "mae": error.abs().mean(),
        "rmse": float(np.sqrt((error**2).mean())),
        "tariff_mae": naive.abs().mean(),
        "tariff_rmse": float(np.sqrt((naive**2).mean())),
        "coverage": inside.mean(),
    }


def test_beats_the_tariff_on_fares_to_come(fares: pd.DataFrame) -> None:
    cut = int(len(fares) * 0.8)
    model = td.FareModel(rounds=150).fit(fares.iloc[:cut])
    score = scores(model, fares.iloc[cut:])
    assert score["mae"] < 0.5 * score["tariff_mae"]
    assert score["rmse"] < 0.65 * score["tariff_rmse"]
    assert 0.75 < score["coverage"] < 0.85
    card = model.card
    assert card["metrics"]["mae"] < 0.5 * card["metrics"]["tariff_mae"]
    assert 0.75 < card["metrics"]["coverage"] < 0.85
    aside = card["data"]["set_aside"]
    assert set(aside) <= {"outside_city", "passenger_count", "fare_out_of_range"}
    assert aside["outside_city"] > 500
    assert card["data"]["usable"] + sum(aside.values()) == card["data"]["rows"] == cut
    assert not card["data"]["tolls_known"]
    assert (model.predict(fares.head(50))["tolls"].dropna() == 0).all()


def test_tolls_are_learned_where_they_are_known(model: td.FareModel, march: pd.DataFrame) -> None:
    assert model.card["data"]["tolls_known"]
    predicted = model.predict(march)
    pd.testing.assert_series_equal(predicted["price"], predicted["fare"] + predicted["tolls"], check_names=False)
    airport = march["pickup_longitude"].between(-73.80, -73.76) & march["dropoff_longitude"].between(-74.0, -73.96)
    within = march["pickup_longitude"].between(-74.0, -73.97) & march["dropoff_longitude"].between(-74.0, -73.97)
    assert predicted.loc[airport, "tolls"].mean() > 2
    assert predicted.loc[within, "tolls"].mean() < 0.3
    score = scores(model, march)
    assert score["mae"] < 0.6 * score["tariff_mae"]


def test_shape_order_and_index(model: td.FareModel, march: pd.DataFrame) -> None:
    trips = march.sample(300, random_state=1)
    whole = model.predict(trips)
    assert whole.columns.tolist() == ["fare", "tolls", "price", "low", "high"]
    assert whole.index.equals(trips.index)
    assert whole.notna().all(axis=None)
    assert (whole["low"] <= whole["price"]).all()
    assert (whole["price"] <= whole["high"]).all()
    assert (whole["fare"] >= 2.5).all()
    assert (whole["low"] >= 2.5).all()
    pd.testing.assert_frame_equal(model.predict(trips.iloc[::-1]).iloc[::-1], whole)
    pd.testing.assert_frame_equal(model.predict(trips.iloc[[5]]), whole.iloc[[5]])
    twice = trips.iloc[[0, 0, 1]].set_axis(["a", "a", "b"])
    assert model.predict(twice).index.tolist() == ["a", "a", "b"]
    assert model.predict(pa.Table.from_pandas(trips, preserve_index=False)).to_numpy().tolist() == (
        whole.to_numpy().tolist()
    )


def test_frames_of_other_libraries(model: td.FareModel, march: pd.DataFrame) -> None:
    dd, pl = pytest.importorskip("dask.dataframe"), pytest.importorskip("polars")
    trips = march[ASKED].head(100)
    told = model.predict(trips)
    pd.testing.assert_frame_equal(model.predict(pl.from_pandas(trips)), told.reset_index(drop=True))
    lazy = model.predict(dd.from_pandas(trips, npartitions=3))
    assert not isinstance(lazy, pd.DataFrame)
    pd.testing.assert_frame_equal(lazy.compute(), told)


def test_passengers_that_are_not_told_are_one(model: td.FareModel, march: pd.DataFrame) -> None:
    trips = march.head(100).assign(passenger_count=1)
    told = model.predict(trips)
    pd.testing.assert_frame_equal(model.predict(trips.assign(passenger_count=None)), told)
    pd.testing.assert_frame_equal(model.predict(trips.drop(columns="passenger_count")), told)


@pytest.mark.parametrize(
    ("pickup", "dropoff", "note"),
    [
        ((-73.93, 40.52), TIMES_SQUARE, "the pick-up lies in no taxi zone"),
        (TIMES_SQUARE, (-73.93, 40.52), "the drop-off lies in no taxi zone"),
        (SOHO, SOHO, "it ends at the very point where it begins"),
    ],
)
def test_a_place_of_which_little_is_known(model: td.FareModel, march: pd.DataFrame, pickup, dropoff, note: str) -> None:
    quote = model.quote(pickup=pickup, dropoff=dropoff, at="2015-03-30 09:00")
    assert note in quote.note
    paid = march["fare_amount"] + march["tolls_amount"]
    assert quote.low < paid.quantile(0.2)
    assert quote.high > paid.quantile(0.8)
    assert "band" not in model.quote(pickup=TIMES_SQUARE, dropoff=SOHO, at="2015-03-30 09:00").note


def test_no_rows(model: td.FareModel, march: pd.DataFrame) -> None:
    empty = model.predict(march.iloc[:0])
    assert empty.shape == (0, 5)
    assert (empty.dtypes == np.float64).all()


def test_looks_at_nothing_but_what_is_known_before(model: td.FareModel, march: pd.DataFrame) -> None:
    trips = march.head(200)
    told = model.predict(trips)
    pd.testing.assert_frame_equal(model.predict(trips[ASKED]), told)
    lied = trips.assign(
        trip_distance=99.0, dropoff_datetime=pd.Timestamp("2030-01-01"), fare_amount=1.0, tolls_amount=99.0
    )
    pd.testing.assert_frame_equal(model.predict(lied), told)


def test_bad_rows_are_nan_and_harm_nobody(model: td.FareModel, march: pd.DataFrame) -> None:
    good = march[ASKED].head(6).reset_index(drop=True)
    bad = good.astype(object)
    bad.loc[1, "pickup_datetime"] = "when?"
    bad.loc[2, "pickup_longitude"] = "here"
    bad.loc[3, "dropoff_latitude"] = None
    bad.loc[4, ["pickup_longitude", "pickup_latitude"]] = 0.0
    told = model.predict(bad)
    assert told["price"].isna().tolist() == [False, True, True, True, True, False]
    pd.testing.assert_frame_equal(told.iloc[[0, 5]], model.predict(good).iloc[[0, 5]])
    bad.loc[:, "passenger_count"] = None
    assert model.predict(bad)["price"].isna().tolist() == [False, True, True, True, True, False]


def test_the_same_for_any_number_of_threads(march: pd.DataFrame, model: td.FareModel) -> None:
    again = td.FareModel(rounds=60, num_threads=2).fit(march)
    pd.testing.assert_frame_equal(again.predict(march.head(500)), model.predict(march.head(500)), rtol=1e-9)
    shuffled = td.FareModel(rounds=60, num_threads=1).fit(march.sample(frac=1, random_state=3))
    assert shuffled.card["metrics"]["rows"] == model.card["metrics"]["rows"]


def test_large_tables_are_thinned_evenly(march: pd.DataFrame) -> None:
    model = td.FareModel(rounds=5, max_rows=3000).fit(march)
    data = model.card["data"]
    assert data["fitted_on"] == 3000
    assert data["usable"] == len(march)
    assert data["start"][:10] == "2015-03-01"
    assert data["end"][:10] == "2015-03-31"


@pytest.fixture(scope="module")
def zoned_model(zoned: pd.DataFrame) -> td.FareModel:
    return td.FareModel(rounds=60).fit(zoned)


def test_zone_trips(zoned: pd.DataFrame, zoned_model: td.FareModel) -> None:
    assert zoned_model.card["features"][-2:] == ["zone0", "zone1"]
    assert zoned_model.card["data"]["zones"] == td.Zones().key
    score = scores(zoned_model, zoned)
    assert score["mae"] < 0.6 * score["tariff_mae"]
    with pytest.raises(ModelError, match="pickup_location_id"):
        zoned_model.predict(zoned.drop(columns="pickup_location_id"))


def test_a_place_is_a_point_an_id_or_a_name(zoned_model: td.FareModel, model: td.FareModel) -> None:
    for asked, year in ((zoned_model, 2018), (model, 2015)):
        by_name = asked.quote(pickup="midtown center", dropoff="JFK Airport", at=f"{year}-05-30 10:00")
        assert (by_name.pickup, by_name.dropoff) == ("Midtown Center (161)", "JFK Airport (132)")
        for ends in ({"pickup": np.int16(161), "dropoff": "132"}, {"pickup": "161", "dropoff": 132}):
            assert asked.quote(**ends, at=f"{year}-05-30 10:00") == by_name
        assert by_name.tariff == 52.0
    by_point = zoned_model.quote(pickup=td.Zones().center(160), dropoff=JFK, at="2018-05-30 10:00")
    by_name = zoned_model.quote(pickup=161, dropoff=132, at="2018-05-30 10:00")
    assert by_point.price == by_name.price
    assert by_point.dropoff == "(-73.7820, 40.6440) in JFK Airport (132)"
    middle = np.round(td.Zones().center(160), 5)
    by_point = model.quote(pickup=middle, dropoff=JFK, at="2015-03-30")
    assert model.quote(pickup=161, dropoff=JFK, at="2015-03-30") == replace(by_point, pickup="Midtown Center (161)")


def test_a_place_in_no_zone(zoned_model: td.FareModel) -> None:
    with pytest.raises(SpaceError, match=r"in no taxi zone; the nearest is Breezy Point.* \(27\), 2\.\d miles away"):
        zoned_model.quote(pickup=(-73.95, 40.5), dropoff=132, at="2018-05-30")
    with pytest.raises(SpaceError, match="264 is the TLC's id of trips whose place is unknown"):
        zoned_model.quote(pickup=264, dropoff=132, at="2018-05-30")


def test_predict_takes_either_kind_of_place(
    zoned_model: td.FareModel, model: td.FareModel, zoned: pd.DataFrame, march: pd.DataFrame
) -> None:
    middle = td.Zones().centers()
    rows = zoned.head(300)
    points = rows.drop(columns=["pickup_location_id", "dropoff_location_id"])
    for end in ("pickup", "dropoff"):
        cells = rows[f"{end}_location_id"].to_numpy(int) - 1
        points[f"{end}_longitude"], points[f"{end}_latitude"] = middle[cells].T
    pd.testing.assert_frame_equal(zoned_model.predict(points), zoned_model.predict(rows))
    rounded = points.assign(**points[list(POINTS)].round(5))  # as models keep the zones' middles
    ids = rows[["pickup_datetime", "pickup_location_id", "dropoff_location_id", "passenger_count"]]
    pd.testing.assert_frame_equal(model.predict(ids), model.predict(rounded))
    unknown = rows.assign(pickup_location_id=264)
    assert model.predict(unknown).isna().all(axis=None)
    assert zoned_model.predict(march.head(300))["price"].notna().mean() > 0.95  # but for points in the water


def test_a_model_of_zones_of_ones_own(tmp_path: Path, zoned: pd.DataFrame) -> None:
    """The TLC's zones, moved: their names mean other places than those of the package."""
    document = json.loads(td.Zones().geojson)
    for feature in document["features"]:
        feature["properties"]["zone"] = f"Zone {feature['properties']['LocationID']}"
        shape = feature["geometry"]["coordinates"]
        for rings in [shape] if feature["geometry"]["type"] == "Polygon" else shape:
            rings[:] = [[[x + 0.01, y] for x, y in ring] for ring in rings]
    own = td.Zones.from_geojson(document)
    model = td.FareModel(rounds=20, space=own).fit(zoned)
    assert model.quote(pickup="zone 161", dropoff=132, at="2018-05-30").pickup == "Zone 161 (161)"
    model.save(str(tmp_path / "fare"))
    loaded = td.FareModel.load(str(tmp_path / "fare"))
    for place in (161, np.int16(161), " 161"):
        assert loaded.quote(pickup=place, dropoff=132, at="2018-05-30").pickup == "zone 161"
    for place in ("JFK Airport", JFK):
        with pytest.raises(ModelError, match=r"not those of the TLC; .*load\(url, space=td\.Zones"):
            loaded.quote(pickup=161, dropoff=place, at="2018-05-30")
    with pytest.raises(ModelError, match=r"was fitted on other zones \(zones-263-\w+\) than Zones\(\)"):
        td.FareModel.load(str(tmp_path / "fare"), space=td.Zones())
    loaded = td.FareModel.load(str(tmp_path / "fare"), space=own)
    assert loaded.quote(pickup=JFK, dropoff="Zone 161", at="2018-05-30").dropoff == "Zone 161 (161)"


def test_zone_model_saved_with_its_centres(tmp_path: Path, zoned: pd.DataFrame, zones: td.Zones) -> None:
    model = td.FareModel(rounds=20, space=zones).fit(zoned)
    model.save(str(tmp_path / "fare"))
    loaded = td.FareModel.load(str(tmp_path / "fare"))
    pd.testing.assert_frame_equal(loaded.predict(zoned.head(200)), model.predict(zoned.head(200)))
    assert loaded.quote(pickup=161, dropoff=132, at="2018-05-30").tariff == 52.0
    with_space = td.FareModel.load(str(tmp_path / "fare"), space=zones)
    assert with_space.quote(pickup=SOHO, dropoff=JFK, at="2018-05-30").tariff == 52.0


def test_quote(model: td.FareModel) -> None:
    quote = model.quote(pickup=TIMES_SQUARE, dropoff=JFK, at="2015-03-30 09:00", passengers=2)
    assert quote.fare + quote.tolls == pytest.approx(quote.price)
    assert quote.low <= quote.price <= quote.high
    assert 45 < quote.fare < 55
    assert quote.tariff == 52.0
    assert "USD" in repr(quote)
    assert "80%" in repr(quote)
    assert "<table>" in quote._repr_html_()
    aware = model.quote(pickup=TIMES_SQUARE, dropoff=JFK, at="2015-03-30T13:00Z", passengers=2)
    assert aware.price == quote.price
    later = model.quote(pickup=TIMES_SQUARE, dropoff=SOHO, at="2023-06-01 09:00")
    assert "to 2015-03-31; the tariff is that of the day" in later.note
    assert later.fare > model.quote(pickup=TIMES_SQUARE, dropoff=SOHO, at="2015-06-01 09:00").fare


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pickup": (40.758, -73.985)}, "latitude first"),
        ({"pickup": (0.0, 0.0)}, "outside_city"),
        (
            {"pickup": "Times Square"},
            r"called 'Times Square'; did you mean Times Sq/Theatre District \(230",
        ),
        ({"dropoff": "Corona"}, r"several zones .* Corona \(56, Queens\), Corona \(57, Queens\)"),
        ({"dropoff": None}, "is no place"),
        ({"dropoff": True}, "is no place"),
        ({"dropoff": 265}, "265 is the TLC's id of all that is outside the city"),
        ({"at": "noonish"}, "is no time"),
        ({"at": None}, "is no time"),
        ({"at": "1900-01-01 08:00"}, "no quote at 1900-01-01 08:00:00; give New York time between 2000 and 2100"),
        ({"at": "2150-01-01 08:00"}, "between 2000 and 2100"),
        *[({"passengers": odd}, "do not fit") for odd in (12, 0, -1, 1.5, True, "two", None, float("nan"))],
    ],
)
def test_quotes_refused(model: td.FareModel, change: dict[str, Any], message: str) -> None:
    with pytest.raises((ModelError, SpaceError), match=message):
        model.quote(**({"pickup": TIMES_SQUARE, "dropoff": JFK, "at": "2015-03-30"} | change))


def test_too_few_trips_says_how_many(march: pd.DataFrame) -> None:
    few = march.head(900).copy()
    few.loc[few.index[:10], "fare_amount"] = -1.0
    with pytest.raises(ModelError, match=r"needs 1,000 usable trips and 890 of 900 are \(10 fare_out_of_range\)"):
        td.FareModel().fit(few)
    with pytest.raises(ModelError, match="0 of 0"):
        td.FareModel().fit(march.iloc[:0])


def test_missing_columns_are_named(model: td.FareModel, march: pd.DataFrame) -> None:
    with pytest.raises(ModelError, match=r"fare_amount \(there is 'Fare_Amt'\)"):
        td.FareModel().fit(march.rename(columns={"fare_amount": "Fare_Amt"}))
    with pytest.raises(ModelError, match="dropoff_latitude"):
        model.predict(march.drop(columns="dropoff_latitude"))


def test_not_fitted(tmp_path: Path, march: pd.DataFrame) -> None:
    model = td.FareModel()
    for ask in (lambda: model.card, lambda: model.predict(march), lambda: model.save(str(tmp_path))):
        with pytest.raises(ModelError, match="not fitted"):
            ask()
    assert "not fitted" in repr(model)


@pytest.mark.parametrize(
    "options", [{"interval": 1.0}, {"rounds": 0}, {"leaves": 1}, {"learning_rate": 0.0}, {"max_rows": 10}]
)
def test_options_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match=next(iter(options))):
        td.FareModel(**options)


def test_space_of_a_lake() -> None:
    assert td.FareModel(space=td.Grid.new_york()).space is None
    with pytest.raises(ModelError, match="space is a str"):
        td.FareModel(space="zones.geojson")


def test_reprs(model: td.FareModel) -> None:
    assert "tariff on the straight line" in repr(model)
    assert "<table" in model._repr_html_()
    assert model.metrics.loc[0, "mae"] == model.card["metrics"]["mae"]


@pytest.mark.parametrize("where", ["path", "memory://test-fare-model", "bucket"])
def test_save_and_load(
    where: str, model: td.FareModel, march: pd.DataFrame, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if where == "bucket":
        where = request.getfixturevalue("bucket") + "/models/fare"
    url = str(tmp_path / "fare") if where == "path" else where
    card_url = model.save(url)
    assert card_url.endswith("/card.json")
    loaded = td.FareModel.load(url)
    pd.testing.assert_frame_equal(loaded.predict(march.head(300)), model.predict(march.head(300)))
    card = {key: value for key, value in loaded.card.items() if key not in ("sha256", "kind", "format")}
    assert card == json.loads(json.dumps(model.card))


def test_files_are_text(model: td.FareModel, tmp_path: Path) -> None:
    model.save(str(tmp_path))
    names = sorted(path.name.split("-")[1] if "-" in path.name else path.name for path in tmp_path.iterdir())
    assert names == ["card.json", "fare", "high", "low", "median", "tolls"]
    for path in tmp_path.glob("model-*.txt"):
        assert path.read_text().startswith("tree\nversion=")
    model.save(str(tmp_path))  # of the same again, the former files go
    assert len(list(tmp_path.iterdir())) == len(names)


def test_a_new_model_replaces_the_former(model: td.FareModel, march: pd.DataFrame, tmp_path: Path) -> None:
    model.save(str(tmp_path))
    other = td.FareModel(rounds=5, seed=1).fit(march)
    other.save(str(tmp_path))
    assert len(list(tmp_path.glob("model-*.txt"))) == 5
    pd.testing.assert_frame_equal(
        td.FareModel.load(str(tmp_path)).predict(march.head(50)), other.predict(march.head(50))
    )


def test_pickles_for_workers(model: td.FareModel, march: pd.DataFrame) -> None:
    copy = pickle.loads(pickle.dumps(model))
    pd.testing.assert_frame_equal(copy.predict(march.head(50)), model.predict(march.head(50)))


def reseal(folder: Path, change: dict[str, Any]) -> None:
    path = folder / "card.json"
    card = json.loads(path.read_text()) | change
    card["sha256"] = modelfiles._seal(card)
    path.write_text(json.dumps(card))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda d: (d / "card.json").unlink(), "there is no model"),
        (lambda d: (d / "card.json").write_text("{"), "is no card"),
        (lambda d: (d / "card.json").write_text("[]"), "is no card"),
        (lambda d: next(d.glob("model-low-*")).unlink(), "not whole"),
        (lambda d: next(d.glob("model-low-*")).write_text("tree\nversion=v4\n"), "was changed"),
        (lambda d: (d / "card.json").write_text((d / "card.json").read_text().replace("0.8", "0.9")), "was changed"),
        (lambda d: reseal(d, {"kind": "demand"}), "'demand' model"),
        (lambda d: reseal(d, {"format": 99}), "format 99"),
        (lambda d: reseal(d, {"features": ["hour"]}), "other ones"),
        (lambda d: reseal(d, {"band": {}}), "damaged"),
        (lambda d: reseal(d, {"files": {}}), "names no file for fare"),
        (lambda d: reseal(d, {"files": {"fare": {"file": "../model-x.txt", "sha256": ""}}}), "no file of a model"),
        (lambda d: reseal(d, {"files": [1]}), "damaged"),
        (lambda d: reseal(d, {"settings": {}}), "damaged"),
    ],
)
def test_harmed_files_are_refused(model: td.FareModel, tmp_path: Path, harm: Any, message: str) -> None:
    model.save(str(tmp_path))
    harm(tmp_path)
    with pytest.raises(ModelError, match=message):
        td.FareModel.load(str(tmp_path))


def test_text_that_is_no_booster(model: td.FareModel, tmp_path: Path) -> None:
    model.save(str(tmp_path))
    card = json.loads((tmp_path / "card.json").read_text())
    text = "no booster at all"
    (tmp_path / "model-fare-x.txt").write_text(text)
    card["files"]["fare"] = {"file": "model-fare-x.txt", "sha256": hashlib.sha256(text.encode()).hexdigest()}
    reseal(tmp_path, {"files": card["files"]})
    with pytest.raises(ModelError, match=r"model-fare-x.txt is no model: it does not begin as a LightGBM model"):
        td.FareModel.load(str(tmp_path))


def test_fit_on_a_dask_worker(march: pd.DataFrame, model: td.FareModel) -> None:
    from distributed import Client

    with Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=None) as client:
        there = td.FareModel(rounds=60, num_threads=1).fit(march, client=client)
    pd.testing.assert_frame_equal(there.predict(march.head(100)), model.predict(march.head(100)))


def test_band_holds_what_it_says() -> None:
    rng = np.random.default_rng(0)

    def draw(n: int) -> tuple[np.ndarray, ...]:
        middle = rng.uniform(5, 50, n)
        price = middle + rng.normal(size=n) * middle * 0.2
        return price, middle, middle * 0.95, middle * 1.05  # far too narrow

    band = Band.calibrate(*draw(8000), 0.8)
    price, middle, low, high = draw(20_000)
    low, high = band.apply(middle, low, high)
    inside = (price >= low) & (price <= high)
    assert 0.78 < inside.mean() < 0.82
    for small in (True, False):
        assert 0.76 < inside[(middle < 20) == small].mean() < 0.84
    few = Band.calibrate(*draw(30), 0.8)
    assert few.edges == []


@pytest.mark.parametrize(
    ("share", "learned"),
    [
        (slice(0.0, 0.5), False),
        (slice(0.85, 1.0), False),
        (slice(0.5, 1.0), True),
        (slice(0.0, 0.97), True),
        (slice(0.0, 0.01), False),
        (slice(0.999, 1.0), False),
    ],
)
def test_tolls_known_for_a_part_of_the_time(march: pd.DataFrame, share: slice, learned: bool) -> None:
    trips = march.sort_values("pickup_datetime", ignore_index=True)
    place = np.arange(len(trips)) / len(trips)
    told = (place >= share.start) & (place < share.stop)
    model = td.FareModel(rounds=40, num_threads=1).fit(trips.assign(tolls_amount=trips["tolls_amount"].where(told)))
    assert model.card["data"]["tolls_known"] is learned
    priced = model.predict(trips)
    assert priced.notna().all(axis=None)
    assert bool(priced["tolls"].sum() > 0) is learned
    assert 0.72 < model.card["metrics"]["coverage"] < 0.88
    known = trips["fare_amount"] + (trips["tolls_amount"] if learned else 0.0)
    assert 0.72 < ((known >= priced["low"]) & (known <= priced["high"])).mean() < 0.9
