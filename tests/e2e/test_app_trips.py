"""The Trips page in a real browser: asking, adding, a file, by keyboard, on a phone, and for who may only look."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from browsers import needs_chromium, photograph, served, watched

import taxidask as td
from taxidask.trips.rules import REASONS

pytestmark = needs_chromium

HOSTILE = "<img src=x onerror=alert(1)>"
HEADER = (
    "vendor_id,pickup_datetime,dropoff_datetime,passenger_count,trip_distance,pickup_longitude,pickup_latitude,"
    "rate_code,store_and_fwd_flag,dropoff_longitude,dropoff_latitude,payment_type,fare_amount,surcharge,mta_tax,"
    "tip_amount,tolls_amount,total_amount"
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A store, and a lake of a month."""
    folder = tmp_path_factory.mktemp("trips")
    store, lake = f"sqlite:///{folder}/taxidask.db", str(folder / "lake")
    td.open_store(store).create()
    td.Lake(lake).ingest(td.make_sample(str(folder / "files"), start="2015-03", trips_per_month=3000))
    return store, lake


def counted(page: Any) -> int:
    text = page.locator("dl.numbers").inner_text()
    return int(text.split("Trips that match")[1].split()[0].replace(",", ""))


def test_asking_adding_and_a_file(place: tuple[str, str], tmp_path: Path) -> None:
    from playwright.sync_api import expect

    store, lake = place
    with served(tmp_path, store, "--lake", lake) as address, watched(address) as browser:
        _walk(browser.page("/trips?passengers=2&fare=10.."), td.Lake(lake).trips(), tmp_path, expect)
    log = (tmp_path / "log").read_text()
    assert "local did 'add a trip of 2015-03-04 18:30'" in log
    assert "local did 'add the file <b>more.csv of" in log


def _walk(page: Any, trips: pd.DataFrame, tmp_path: Path, expect: Any) -> None:
    want = trips[(trips["passenger_count"] == 2) & (trips["fare_amount"] >= 10)]
    expect(page.get_by_label("Passengers").first).to_have_value("2", timeout=60_000)
    expect(page.get_by_text(f"Trips 1 to 25 of {len(want):,}, in order of pickup")).to_be_visible(timeout=60_000)
    photograph(page, "trips-asked-light", tmp_path)

    # by keyboard alone: another filter, which stands in the address, and the second page
    page.get_by_label("Distance, miles").first.focus()
    page.keyboard.type("2..")
    page.keyboard.press("Enter")
    want = want[want["trip_distance"] >= 2]
    expect(page.get_by_text(f"Trips 1 to 25 of {len(want):,}, in order of pickup")).to_be_visible(timeout=30_000)
    assert "distance=2.." in page.url
    page.get_by_role("button", name="Go to page 2").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text(f"Trips 26 to 50 of {len(want):,}")).to_be_visible(timeout=30_000)
    for kind, read in (("CSV", pd.read_csv), ("Parquet", pd.read_parquet)):
        with page.expect_download(timeout=60_000) as download:
            page.get_by_role("button", name=f"Download as {kind}").click()
        table = read(download.value.path())
        assert len(table) == len(want)
        assert table["fare_amount"].sum() == pytest.approx(want["fare_amount"].sum())

    page.get_by_label("Fare, USD").first.fill("cheap")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert").first).to_contain_text("fare is a number", timeout=30_000)
    page.get_by_role("button", name="Clear").click()
    expect(page.get_by_text(f"of {len(trips):,}, in order of pickup")).to_be_visible(timeout=30_000)
    expect(page.get_by_role("alert")).to_have_count(0)

    # one trip by the form: first wrong, then right, then the same again
    for label, text in (("Pickup", "2015-03-04 18:30"), ("Drop-off", "2015-03-04 18:45"), ("Vendor", HOSTILE)):
        page.get_by_label(label, exact=True).last.fill(text)
    for label, text in (("Distance, miles", "2.5"), ("Fare, USD", "900"), ("From zone", "132"), ("To zone", "264")):
        page.get_by_label(label, exact=True).last.fill(text)
    page.keyboard.press("Tab")
    add = page.get_by_role("button", name="Add the trip")
    add.click()
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("Fare, USD is not over 0 and at most 500 USD", timeout=30_000)
    expect(alert).to_contain_text("To zone is outside of the city")
    page.get_by_label("Fare, USD", exact=True).last.fill("487.5")
    page.get_by_label("To zone", exact=True).last.fill("1")
    page.keyboard.press("Tab")
    add.click()
    expect(page.get_by_text("The trip of 4 Mar 2015 18:30 was added")).to_be_visible(timeout=30_000)
    expect(page.get_by_text("1 added and not in the lake yet")).to_be_visible(timeout=30_000)
    assert counted(page) == len(trips) + 1
    add.click()
    expect(page.get_by_text("was there before: nothing added")).to_be_visible(timeout=30_000)
    page.get_by_label("Fare, USD", exact=True).first.fill("487.5")
    page.keyboard.press("Enter")
    expect(page.get_by_role("cell", name=HOSTILE)).to_be_visible(timeout=30_000)
    expect(page.get_by_role("cell", name="zone 132")).to_be_visible()

    # a file: some rows are rejected; the same again adds nothing
    rows = [
        f"CMT,2015-03-05 10:{i:02d}:00,2015-03-05 11:00:00,1,2,-73.98,40.75,1,N,-73.97,40.76,CSH,{488 + 20 * (i > 29)}"
        ",0,0,1.5,0,10"
        for i in range(40)
    ]
    path = tmp_path / "<b>more.csv"
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    page.locator("input[type=file]").set_input_files(path)
    expect(page.get_by_text("30 trips of 40 rows added to the store")).to_be_visible(timeout=60_000)
    expect(page.get_by_role("cell", name="fare out of range")).to_be_visible()
    with page.expect_download(timeout=60_000) as download:
        page.get_by_role("button", name="Download the rejected rows").click()
    rejects = pd.read_csv(download.value.path())
    assert rejects["reason"].tolist() == ["fare_out_of_range"] * 10
    page.locator("input[type=file]").set_input_files(path)
    expect(page.get_by_text("nothing added: the same content was added at")).to_be_visible(timeout=60_000)
    page.get_by_label("Fare, USD", exact=True).first.fill("488")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Trips 1 to 25 of 30, in order of pickup")).to_be_visible(timeout=30_000)
    photograph(page, "trips-asked-added", tmp_path)

    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_timeout(500)
    photograph(page, "trips-asked-phone", tmp_path)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.timeout(900)
def test_a_large_file_goes_into_the_lake_and_says_how_far_it_is(place: tuple[str, str], tmp_path: Path) -> None:
    from playwright.sync_api import expect

    store, lake = place
    (path,) = td.make_sample(str(tmp_path / "large"), start="2015-05", trips_per_month=380_000, faults=0.01)
    assert Path(path).stat().st_size > 55_000_000
    with served(tmp_path, store, "--lake", lake) as address, watched(address) as browser:
        page = browser.page("/trips")
        expect(page.get_by_text("Trips that match")).to_be_visible(timeout=60_000)
        before = counted(page)
        page.locator("input[type=file]").set_input_files(path)
        expect(page.get_by_text(re.compile(r"Uploaded [\d.]+ MB of yellow"))).to_be_visible(timeout=120_000)
        expect(page.get_by_role("progressbar", name="How much of the file is added")).to_be_visible()
        photograph(page, "trips-uploading", tmp_path)
        expect(page.get_by_text("376,200 trips of 380,000 rows added to the lake")).to_be_visible(timeout=300_000)
        expect(page.get_by_text("3,800 of 380,000 rows were rejected")).to_be_visible()
        with page.expect_download(timeout=60_000) as download:
            page.get_by_role("button", name="Download the rejected rows").click()
        assert pd.read_csv(download.value.path())["reason"].value_counts().to_dict() == dict.fromkeys(REASONS, 380)
        expect(page.get_by_text(f"of {before + 376_200:,}, in order of pickup")).to_be_visible(timeout=60_000)
        page.locator("input[type=file]").set_input_files(path)
        expect(page.get_by_text("nothing added: the lake has the same content")).to_be_visible(timeout=300_000)
        page.close()
    assert len(td.Lake(lake).trips(start="2015-05-01", end="2015-06-01", columns=["fare_amount"])) == 376_200


def test_who_may_only_look_sees_no_form(place: tuple[str, str], tmp_path: Path) -> None:
    from playwright.sync_api import expect

    users = tmp_path / "users.json"
    users.write_text(json.dumps({"ann": "a-word", "bob": "b-word"}))
    store, lake = place
    options = ("--lake", lake, "--auth", "basic", "--users", str(users), "--operator", "ann")
    with served(tmp_path, store, *options) as address, watched(address) as browser:
        for name, word, shown in (("ann", "a-word", 1), ("bob", "b-word", 0)):
            page = browser.page("/trips")
            page.locator("input[type=text], input[name=username]").first.fill(name)
            page.locator("input[type=password]").fill(word)
            page.keyboard.press("Enter")
            expect(page.get_by_text("Trips that match")).to_be_visible(timeout=60_000)
            browser.complaints.clear()  # Panel's own page to sign in asks for a picture from elsewhere
            browser.elsewhere.clear()
            expect(page.get_by_role("button", name="Add the trip")).to_have_count(shown)
            expect(page.get_by_text("Trips are added by operators only")).to_have_count(1 - shown)
            page.close()
