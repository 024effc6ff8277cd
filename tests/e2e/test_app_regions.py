"""The served app over two regions of real servers, in a real browser: home goes dark, and comes back."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from app.conftest import fill
from browsers import Watched, needs_chromium, photograph, served, watched
from replica import Pair
from replica_items import NAMES, Tables, tables

import taxidask as td

pytestmark = needs_chromium
WAIT = 90_000
TRIP = {
    "Pickup": "2015-03-04 18:30",
    "Drop-off": "2015-03-04 18:45",
    "Distance, miles": "2.5",
    "Fare, USD": "487.5",
    "From zone": "132",
    "To zone": "1",
}


@pytest.mark.timeout(600)
def test_pages_go_on_without_home_and_forms_write_to_the_other_region(
    pair: Pair, aws: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = td.make_sample(str(tmp_path / "csv"), start="2015-03", trips_per_month=3000)
    lake = td.Lake(f"{pair.url}/lake", storage=pair.storage())
    lake.ingest(path)
    pair.settle()
    with tables(aws) as made:
        fill(made.store())
        made.settle()
        places = {"east": {}, "west": {pair.url: f"{pair.url}-west"}}
        regions = [
            {
                "name": NAMES[side],
                "places": places[side],
                "s3_endpoint": getattr(pair, side).url,
                "dynamodb_endpoint": made.links[side].url,
            }
            for side in NAMES
        ]
        monkeypatch.setenv("TAXIDASK_REGIONS", json.dumps(regions))
        passengers = lake.trips(columns=["passenger_count"])["passenger_count"].value_counts().to_dict()
        with served(tmp_path, made.url, "--lake", lake.url) as address, watched(address) as browser:
            _walk(browser, pair, made, passengers, tmp_path)
        log = (tmp_path / "log").read_text()
    assert "gone over from us-east-1 to us-west-2" in log
    assert "gone back from us-west-2 to us-east-1" in log


def _walk(browser: Watched, pair: Pair, made: Tables, passengers: dict[int, int], folder: Path) -> None:
    from playwright.sync_api import expect

    trips, runs = browser.page("/trips"), browser.page("/runs")
    for page in (trips, runs):
        expect(page.get_by_text("Reading the store")).to_be_hidden(timeout=WAIT)
        expect(page.get_by_text(re.compile("not answer"))).to_have_count(0)

    def filtered(count: int) -> float:
        begun = time.monotonic()
        trips.get_by_label("Passengers").first.fill(str(count))
        trips.keyboard.press("Enter")
        words = f"of {passengers[count]:,}, in order of pickup"
        expect(trips.get_by_text(words)).to_be_visible(timeout=WAIT)
        return time.monotonic() - begun

    usual = filtered(2)
    pair.east.off()
    made.east.off()
    dark = filtered(1)
    print(f"an answer took {usual:.1f} s before, and {dark:.1f} s after home's end")
    told = re.compile(r"us-east-1 does not answer\. This page is read from us-west-2, whose newest item is .* s old\.")
    for page in (runs, trips):
        expect(page.get_by_text(told)).to_be_visible(timeout=WAIT)
    demand = browser.page("/demand")  # a visitor who comes now
    expect(demand.get_by_text(told)).to_be_visible(timeout=WAIT)
    expect(demand.get_by_text("Reading the store")).to_be_hidden(timeout=WAIT)
    demand.close()

    before = {side: set(made.items(side)) for side in NAMES}
    for label, text in TRIP.items():
        trips.get_by_label(label, exact=True).last.fill(text)
    trips.keyboard.press("Tab")
    trips.get_by_role("button", name="Add the trip").click()
    expect(trips.get_by_text("The trip of 4 Mar 2015 18:30 was added")).to_be_visible(timeout=WAIT)
    expect(trips.get_by_text("what is entered here is written to us-west-2")).to_be_visible(timeout=WAIT)
    photograph(trips, "regions-dark", folder)
    assert set(made.items("west")) > before["west"]
    assert set(made.items("east")) == before["east"]

    pair.east.on()
    made.east.on()
    for page in (runs, trips):
        expect(page.get_by_text(re.compile("not answer|is written to"))).to_have_count(0, timeout=4 * WAIT)
    # nothing was copied yet, and home is asked first again
    trips.get_by_role("button", name="Add the trip").click()
    expect(trips.get_by_text("was there before: nothing added")).to_be_visible(timeout=WAIT)
    trips.get_by_role("button", name="Clear").click()
    trips.get_by_label("Fare, USD", exact=True).first.fill("487.5")
    trips.keyboard.press("Enter")
    expect(trips.get_by_role("cell", name="zone 132")).to_be_visible(timeout=WAIT)
    runs.close()
    trips.close()
