"""The Fares page in a real browser: by keyboard, by clicks on the map, by a link, on a phone, light and dark."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pandas as pd
import pytest
from browsers import Watched, needs_chromium, photograph, watched
from browsers import served as serving

import taxidask as td
from taxidask.results import open_store

pytestmark = needs_chromium

_spec = importlib.util.spec_from_file_location("app_fixtures", Path(__file__).parents[1] / "app" / "conftest.py")
fixtures = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fixtures)

PATIENCE = 60_000


def publish(folder: Path, url: str) -> td.FareModel:
    """A lake with a fare model, and a store with its backtest."""
    home = td.Lake(folder / "lake")
    home.ingest(td.make_sample(folder / "csv", start="2016-01", trips_per_month=12_000))
    trips = home.trips()
    model = td.FareModel(rounds=60, num_threads=1)
    backtest = td.backtest(model, trips, folds=2)
    model.fit(trips).save(f"{home.url}/models/fare")
    store = open_store(url)
    fixtures.fill(store)
    store.put_latest({**store.get_latest(), "lake": home.url})
    store.put_metrics(fixtures.RUN, "fare", backtest)
    said, paid = model.predict(trips), trips["fare_amount"] + trips["tolls_amount"]
    cells = pd.DataFrame(
        {"paid": paid // 1, "price": said["price"] // 1, "held": paid.between(said["low"], said["high"])}
    )
    counts = (
        cells.dropna()
        .astype(int)
        .groupby(["paid", "price"], as_index=False)
        .agg(trips=("held", "size"), held=("held", "sum"))
    )
    store.put_metrics(fixtures.RUN, "fare-prices", counts)
    return model


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, td.FareModel]]:
    """A server over a published run: its address, and the model that the run saved."""
    folder = tmp_path_factory.mktemp("fares")
    url = f"sqlite:///{folder}/taxidask.db"
    model = publish(folder, url)
    with serving(folder, url) as address:
        yield address, model


@pytest.fixture
def app(served: tuple[str, td.FareModel]) -> Iterator[Watched]:
    with watched(served[0]) as browser:
        yield browser


def opened(app: Watched, path: str, width: int = 1280, height: int = 2000) -> Any:
    """A page that shows the form."""
    page = app.page(path, width=width, height=height)
    page.get_by_role("heading", name="Where").wait_for(timeout=PATIENCE)
    return page


def serious(page: Any) -> list[str]:
    """What axe-core finds to be hard to use."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [
        f"{rule['id']}: {rule['nodes'][0]['html'][:300]}" for rule in found if rule["impact"] in ("serious", "critical")
    ]


def query(page: Any) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


def test_zones_by_keyboard_only_and_a_link_shows_the_same(
    served: tuple[str, td.FareModel], app: Watched, tmp_path: Path
) -> None:
    from playwright.sync_api import expect

    model = served[1]
    page = opened(app, "/fares?at=2016-01-20T09:00")
    page.get_by_role("combobox", name="Pickup (A)").focus()
    for words in ("midtown cent", "jfk"):
        page.keyboard.type(words, delay=30)
        page.get_by_role("option").first.wait_for(timeout=PATIENCE)
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        for _ in range(9):  # past the field's own buttons, to the next one
            if words != "jfk" and not at_drop_off(page):
                page.keyboard.press("Tab")
    quote = model.quote(pickup="Midtown Center", dropoff="JFK Airport", at="2016-01-20 09:00")
    expect(page.locator(f"dd:text-is('{quote.price:.2f}')")).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_text(f"80% of such rides: {quote.low:.2f} to {quote.high:.2f}")).to_be_visible()
    expect(page.get_by_role("heading", name="What the price is made of")).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_role("heading", name="What such rides paid")).to_be_visible(timeout=PATIENCE)
    assert query(page)["from"] == ["Midtown Center (161)"]
    assert query(page)["to"] == ["JFK Airport (132)"]
    page.wait_for_timeout(1500)  # figures that have just become visible are drawn
    photograph(page, "fares-light", tmp_path)
    other = opened(app, page.url.removeprefix(app.address) + "&theme=dark")
    expect(other.locator(f"dd:text-is('{quote.price:.2f}')")).to_be_visible(timeout=PATIENCE)
    expect(other.get_by_role("combobox", name="Drop-off (B)")).to_have_value("JFK Airport (132)")
    other.wait_for_timeout(1500)
    photograph(other, "fares-dark", tmp_path)
    assert serious(page) == serious(other) == []


def at_drop_off(page: Any) -> bool:
    return page.get_by_role("combobox", name="Drop-off (B)").evaluate("box => box.getRootNode().activeElement === box")


def test_two_clicks_on_the_map_are_a_ride(served: tuple[str, td.FareModel], app: Watched, tmp_path: Path) -> None:
    from playwright.sync_api import TimeoutError as Late
    from playwright.sync_api import expect

    page = opened(app, "/fares?at=2016-01-20T09:00")
    expect(page.get_by_text("two clicks on the map")).to_be_visible()
    plot = page.locator(".bk-Figure").first
    plot.wait_for(timeout=PATIENCE)
    page.wait_for_function(
        """() => Bokeh.documents.flatMap(d => [...d._all_models.values()])
            .some(m => m.type === 'ColumnDataSource' && m.data.xs && m.data.xs.length > 263)""",
        timeout=PATIENCE,
    )
    page.wait_for_timeout(1500)
    for name, (across, down) in (("from", (0.23, 0.5)), ("to", (0.45, 0.52))):
        for left in (2, 1, 0):  # a click on a map that is still being laid out may come to nothing, as to a visitor
            box = plot.bounding_box()
            plot.click(position={"x": box["width"] * across, "y": box["height"] * down})
            try:
                page.wait_for_function(f"new URLSearchParams(location.search).get('{name}')", timeout=PATIENCE / 3)
                break
            except Late:
                if not left:
                    raise
    begin, end = (tuple(map(float, query(page)[name][0].split(","))) for name in ("from", "to"))
    assert -74.02 < begin[0] < -73.95
    assert -73.95 < end[0] < -73.87
    quote = served[1].quote(pickup=begin, dropoff=end, at="2016-01-20 09:00")
    expect(page.locator(f"dd:text-is('{quote.price:.2f}')")).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_role("heading", name="What the price is made of")).to_be_visible(timeout=PATIENCE)
    page.wait_for_function(
        """() => Bokeh.documents.flatMap(d => [...d._all_models.values()])
            .some(m => m.type === 'ColumnDataSource' && Array.from(m.data.letter ?? []).join() === 'A,B')""",
        timeout=PATIENCE,
    )
    page.wait_for_timeout(1000)
    photograph(page, "fares-clicked", tmp_path)


def test_nonsense_is_told_at_its_field_and_a_phone_has_room_for_all(
    served: tuple[str, td.FareModel], app: Watched, tmp_path: Path
) -> None:
    from playwright.sync_api import expect

    sea = "from=-73.90,40.50&to=Midtown Center (161)&at=1900-01-01&passengers=50"
    page = opened(app, f"/fares?{sea}", 390, 844)
    expect(page.get_by_text("lies in no taxi zone: the nearest is")).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_text("give a number from 1 to 9")).to_be_visible()
    expect(page.get_by_role("combobox", name="Pickup (A)")).to_have_value("-73.90,40.50")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    photograph(page, "fares-phone-wrong", tmp_path)
    link = "/fares?from=161&to=132&at=2016-01-20T09:00&passengers=4&theme=dark"
    page = opened(app, link, 390, 3000)
    expect(page.get_by_text("4 passengers")).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_role("combobox", name="Pickup (A)")).to_have_value("Midtown Center (161)")
    page.wait_for_timeout(1500)
    photograph(page, "fares-phone", tmp_path)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
