from __future__ import annotations

import asyncio

import pandas as pd
import pytest

import taxidask as td
from taxidask.app.farecharts import PartsChart, outlines
from taxidask.app.farerecord import record_html, spread
from taxidask.app.pages.fares import Fares
from taxidask.app.state import AppState
from taxidask.results import Store
from taxidask.settings import Settings

RUN = "20160201T081500Z-ab12cd"
MIDTOWN, JFK = "Midtown Center (161)", "JFK Airport (132)"


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, pd.DataFrame]:
    """A lake with a fare model in it, and the model's backtest."""
    folder = tmp_path_factory.mktemp("fares")
    sample = td.make_sample(folder / "csv", start="2016-01", trips_per_month=6000)
    home = td.Lake(folder / "lake")
    home.ingest(sample)
    trips = home.trips()
    model = td.FareModel(rounds=30, num_threads=1)
    backtest = td.backtest(model, trips, folds=2)
    model.fit(trips).save(f"{home.url}/models/fare")
    return home.url, backtest


@pytest.fixture
def published(filled: Store, lake: tuple[str, pd.DataFrame]) -> Store:
    filled.put_latest({**filled.get_latest(), "lake": lake[0]})
    filled.put_metrics(RUN, "fare", lake[1])
    return filled


def asking(store: Store, **asked: object) -> Fares:
    """A page whose visitor followed a link."""
    page = Fares(AppState(store, Settings()))
    asyncio.run(changed(page, **asked))
    return page


async def changed(page: Fares, **asked: object) -> None:
    for name, value in asked.items():
        page.asks[name.rstrip("_")].value = value
    await page.refresh()


def test_a_quote_is_the_models(published: Store, lake: tuple[str, pd.DataFrame]) -> None:
    page = asking(published, from_=MIDTOWN, to="jfk airport", at="2016-01-20T09:00", passengers=2)
    model = td.FareModel.load(f"{lake[0]}/models/fare")
    quote = model.quote(pickup=161, dropoff=132, at="2016-01-20 09:00", passengers=2)
    assert not page.notice.visible
    for text in (f"{quote.price:.2f}", f"{quote.low:.2f} to {quote.high:.2f}", f"{quote.tolls:.2f}", "52.00", MIDTOWN):
        assert text in page.answer.object
    assert page.parts.source.data["part"][-1] == "price"
    assert page.parts.source.data["end"][-1] == pytest.approx(quote.price, abs=0.005)
    assert page.map.ends.data["letter"] == ["A", "B"]
    assert (page.begin.value, page.end.value) == (MIDTOWN, JFK)
    assert page.why_card.visible
    assert {page.why_card, page.spread_card, page.record_card} <= set(page.cards())
    assert len(page.map.zones.data["xs"]) > 263
    page.page()


def test_a_link_without_a_time_asks_about_the_first_moment_after_the_data(published: Store) -> None:
    page = asking(published, from_=MIDTOWN, to=JFK)
    assert "Mon 1 Feb 2016 00:00, 1 passenger<" in page.answer.object
    assert page.at.value == pd.Timestamp("2016-02-01")


def test_two_clicks_are_a_ride_and_a_third_begins_anew(published: Store) -> None:
    page = asking(published)
    assert "two clicks on the map" in page.answer.object
    assert not page.why_card.visible

    async def click(*points: tuple[float, float]) -> None:
        for point in points:
            page.tapped(*point)
        await page.refresh()

    asyncio.run(click((-73.985, 40.758), (-73.9776, 40.7527)))
    assert page.begin.value == "-73.9850,40.7580"
    assert "(-73.9850, 40.7580) to (-73.9776, 40.7527)" in page.answer.object
    asyncio.run(click((-74.0, 40.72)))
    assert page.asks["from"].text() == "-74.0000,40.7200"
    assert page.asks["to"].text() == "-73.9776,40.7527"


@pytest.mark.parametrize(
    ("asked", "field", "message"),
    [
        ({"from_": "-73.90,40.50", "to": JFK}, "from", "lies in no taxi zone: the nearest is"),
        ({"from_": "-0.13,51.5", "to": JFK}, "from", "lies in no taxi zone"),
        ({"from_": MIDTOWN, "to": "Corona"}, "to", "several zones are called"),
        ({"from_": MIDTOWN, "to": "Midtwn"}, "to", "no taxi zone is called 'Midtwn': did you mean"),
        ({"from_": 264, "to": JFK}, "from", "264 is the TLC"),
        ({"from_": [1], "to": JFK}, "from", "no taxi zone is called '[1]'"),
        ({"from_": MIDTOWN, "to": "nan,nan"}, "to", "is no point"),
        ({"from_": "40.758,-73.985", "to": JFK}, "from", "has its latitude first"),
        ({"from_": "-73.98,40.75", "to": "-73.98,40.75"}, "to", "the very point where the ride begins"),
        ({"from_": MIDTOWN, "to": JFK, "at": "1900-01-01T08:00"}, "at", "no quote at 1900-01-01 08:00:00"),
        ({"from_": MIDTOWN, "to": JFK, "at": "soon"}, "at", "give New York time"),
        ({"from_": MIDTOWN, "to": JFK, "at": 99999999999999999999}, "at", "give New York time"),
        ({"from_": MIDTOWN, "to": JFK, "passengers": 50}, "passengers", "from 1 to 9"),
        ({"from_": MIDTOWN, "to": JFK, "passengers": "<b>"}, "passengers", "from 1 to 9"),
    ],
)
def test_nonsense_is_told_at_its_field(published: Store, asked: dict, field: str, message: str) -> None:
    page = asking(published, **asked)
    told = {name: page.widgets[name].helper_text for name in ("from", "to", "at") if page.widgets[name].error_state}
    told |= {"passengers": page.mistaken.object} if page.mistaken.visible else {}
    assert list(told) == [field]
    assert message in told[field]
    assert not page.why_card.visible
    assert "No quote yet" in page.answer.object
    assert not page.notice.visible


def test_zones_by_id_and_what_was_mended_are_quoted(published: Store) -> None:
    page = asking(published, from_=161, to="nowhere at all", at="2016-01-20T09:00")
    assert page.end.error_state
    asyncio.run(changed(page, to="132"))
    assert not page.end.error_state
    assert not page.end.helper_text
    assert f"{MIDTOWN} to {JFK}" in page.answer.object


def test_the_record_is_what_the_backtest_found(published: Store, lake: tuple[str, pd.DataFrame]) -> None:
    page = asking(published)
    backtest = lake[1]
    mae = (backtest["mae"] * backtest["rows"]).sum() / backtest["rows"].sum()
    assert f"off by {mae:.2f} USD on average" in page.record.object
    assert f"{backtest['origin'][0]:%-d\u00a0%b\u00a0%Y}" in page.record.object
    silent = backtest.assign(coverage=float("nan"), tariff_mae=float("nan"))
    assert "–" in record_html(silent, pd.DataFrame())


def counted() -> pd.DataFrame:
    """A run's counts of prices told and paid."""
    rows = [(paid, price, 60 - 10 * abs(paid - price), 50 - 10 * abs(paid - price))
            for price in range(4, 70) for paid in range(price - 4, price + 5)]  # fmt: skip
    return pd.DataFrame(rows, columns=["paid", "price", "trips", "held"])


def test_what_such_rides_paid_is_shown_where_the_run_counted_it(published: Store) -> None:
    page = asking(published, from_=MIDTOWN, to=JFK)
    assert not page.spread_card.visible
    published.put_metrics(RUN, "fare-prices", counted())
    page = asking(published, from_=MIDTOWN, to=JFK)
    assert page.spread_card.visible
    price = page._quoted.price
    assert f"said {int(price)} to {int(price) + 1} USD" in page.spread_words.object
    assert page.spread.price.location == price
    assert page.spread.source.data["trips"].sum() == 340
    for text in ("Price told", "45\u00a0and\u00a0more\u00a0USD"):
        assert text in page.record.object


def test_a_spread_looks_farther_for_trips_and_says_nothing_of_few() -> None:
    prices = counted()
    assert spread(prices, 20.3).trips == 340
    wide = spread(prices.assign(trips=prices["trips"] // 4, held=prices["held"] // 4), 20.3)
    assert (wide.low, wide.high) == (19, 22)
    assert spread(prices, 500.0).high is None
    assert "had said 69 USD or more" in spread(prices, 500.0).words()
    assert spread(prices.assign(trips=1), 4.0) is None
    assert spread(pd.DataFrame(), 20.0) is None


def test_an_empty_store_says_how_to_start(store: Store) -> None:
    store.create()
    page = asking(store)
    assert "Nothing has been published" in page.notice.object
    assert not page.map_card.visible


def test_a_lake_out_of_reach_says_what_to_do_and_the_record_stays(
    filled: Store, lake: tuple[str, pd.DataFrame]
) -> None:
    filled.put_metrics(RUN, "fare", lake[1])
    page = asking(filled, from_=MIDTOWN, to=JFK)
    assert "the fare model cannot be read" in page.notice.object
    assert "or with --lake" in page.notice.object
    assert page.record_card.visible
    assert not page.map_card.visible
    page.app.settings = Settings(lake=lake[0])  # the same lake, by the name that this server knows it by
    asyncio.run(page.refresh())
    assert not page.notice.visible
    assert page.quote_card.visible


def test_the_model_is_read_once_for_all_visitors(published: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    app, loaded = AppState(published, Settings()), []
    load = td.FareModel.load
    monkeypatch.setattr(td.FareModel, "load", lambda *a, **k: loaded.append(1) or load(*a, **k))
    for _ in range(3):
        page = Fares(app)
        asyncio.run(page.refresh())
        asyncio.run(page.refresh())
    assert len(loaded) == 1


def test_what_a_visitor_typed_is_not_taken_for_html(published: Store) -> None:
    page = asking(published, from_="<script>alert(1)</script>", to=JFK)
    assert "<script" not in page.answer.object
    page = asking(published, from_=MIDTOWN, to=JFK, at="<img src=x>")
    assert "<img" not in page.answer.object


def test_outlines_keep_every_zone_and_few_points() -> None:
    shapes = outlines(td.Zones())
    assert len(set(shapes["name"])) == 263
    assert sum(map(len, shapes["xs"])) < 12_000  # of 98,000


def test_parts_stand_one_on_the_other_and_add_up() -> None:
    chart = PartsChart()
    chart.update({"flag fall": 2.5, "average ride": 9.0, "distance and direction": -4.2, "date": 0.001, "tolls": 1.0})
    assert chart.source.data["part"] == ["flag fall", "average ride", "distance and direction", "tolls", "price"]
    assert chart.source.data["start"] == pytest.approx([0, 2.5, 11.5, 7.3, 0])
    assert chart.source.data["end"] == pytest.approx([2.5, 11.5, 7.3, 8.3, 8.3])
    assert chart.source.data["label"] == ["2.50", "+9.00", "-4.20", "+1.00", "8.30"]
    assert chart.names.factors[0] == "price"
