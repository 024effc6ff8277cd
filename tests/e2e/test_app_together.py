"""Two visitors at once on every page, and a store that goes away under all pages and comes back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsers import Watched, needs_chromium, photograph, served, watched

import taxidask as td
from taxidask.app.shell import PAGES

pytestmark = needs_chromium
WAIT = 120_000
TRIPS = 10_000


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a run has published."""
    home = tmp_path_factory.mktemp("together")
    trips = td.make_sample(str(home / "trips"), start="2015-03", trips_per_month=TRIPS, seed=5)
    store, lake = f"sqlite:///{home}/taxidask.db", str(home / "lake")
    td.run(td.load_settings(sources=trips, store=store, lake=lake, report=str(home / "report.pdf")), progress=False)
    return home


@pytest.fixture
def app(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("TAXIDASK_WORKERS", "1")
    monkeypatch.setenv("TAXIDASK_REPORT", str(tmp_path / "report.pdf"))
    with (
        served(tmp_path, f"sqlite:///{home}/taxidask.db", "--lake", str(home / "lake")) as address,
        watched(address) as browser,
    ):
        yield browser


def opened(app: Watched, path: str) -> Any:
    """A page in a browser window of its own, as another visitor's is: they share no cookies and no storage."""
    from playwright.sync_api import expect

    page = app.page(path)
    expect(page.locator("nav a[aria-current=page]")).to_be_visible(timeout=WAIT)
    expect(page.get_by_text("Reading the store")).to_be_hidden(timeout=WAIT)
    return page


@pytest.mark.timeout(900)
def test_a_store_that_goes_away_under_all_pages_and_comes_back(app: Watched, home: Path, tmp_path: Path) -> None:
    from playwright.sync_api import expect

    pages = {path: opened(app, path) for path in PAGES}
    before = {path: heads(page) for path, page in pages.items()}
    assert all(before.values())
    store = home / "taxidask.db"
    store.rename(home / "away.db")
    try:
        for path, page in pages.items():
            expect(page.get_by_role("alert")).to_contain_text(f"{PAGES[path]} cannot be read: ", timeout=2 * WAIT)
            expect(page.get_by_role("alert")).to_contain_text("there is no store at")
            assert heads(page) == before[path], "what was there stays"
            photograph(page, f"away-{path[1:]}", tmp_path)
    finally:
        (home / "away.db").rename(store)
    for path, page in pages.items():
        expect(page.get_by_role("alert")).to_have_count(0, timeout=2 * WAIT)
        assert heads(page) == before[path]
        page.close()


def heads(page: Any) -> list[str]:
    return [head.inner_text() for head in page.locator("h2:visible").all()]


@pytest.mark.timeout(900)
def test_neither_of_two_visitors_sees_what_the_other_has_chosen(app: Watched) -> None:
    from playwright.sync_api import expect

    def both(path: str) -> tuple[Any, Any]:
        return opened(app, path), opened(app, path)

    def chosen(page: Any, label: str) -> str:
        box = page.get_by_role("combobox", name=label, exact=True)
        return str(box.evaluate("box => box.selectedOptions[0].label"))

    ann, bob = both("/overview")
    place = ann.get_by_role("combobox", name="Place").locator("option").nth(1).inner_text()
    ann.get_by_role("combobox", name="Place").select_option(index=1)
    ann.wait_for_url("**place=*", timeout=WAIT)
    assert (chosen(ann, "Place"), chosen(bob, "Place")) == (place, "Whole area")
    leave(ann, bob)

    ann, bob = both("/demand")
    ann.get_by_role("button", name="Drop-offs").click()
    bob.get_by_role("combobox", name="Cell").select_option(index=3)
    expect(ann.get_by_text("drop-offs in all")).to_be_visible(timeout=WAIT)
    bob.wait_for_url(re.compile("cell=[0-9]"), timeout=WAIT)
    expect(bob.get_by_text("pickups in all")).to_be_visible()
    assert chosen(ann, "Cell") == "Whole area"
    assert "direction=dropoff" in ann.url
    assert "direction=dropoff" not in bob.url
    leave(ann, bob)

    ann, bob = both("/fares")
    for page, begin, end in ((ann, "Midtown Center", "JFK Airport"), (bob, "East Village", "LaGuardia Airport")):
        for label, words in (("Pickup (A)", begin), ("Drop-off (B)", end)):
            page.get_by_role("combobox", name=label).fill(words)
            page.get_by_role("option").first.click(timeout=WAIT)
    for page, begin, end in ((ann, "Midtown Center", "JFK Airport"), (bob, "East Village", "LaGuardia Airport")):
        expect(page.get_by_text(re.compile(rf"^{begin}.* to {end}"))).to_be_visible(timeout=WAIT)
    leave(ann, bob)

    ann, bob = both("/data")
    ann.get_by_role("combobox", name="Reason").select_option(index=1)
    ann.wait_for_url(re.compile("reason=[a-z]"), timeout=WAIT)
    assert chosen(bob, "Reason") == "Any reason"
    leave(ann, bob)


def leave(*pages: Any) -> None:
    for page in pages:
        page.close()


def count(page: Any) -> int:
    text = page.locator("dl.numbers").inner_text()
    return int(text.split("Trips that match")[1].split()[0].replace(",", ""))


@pytest.mark.timeout(900)
def test_a_trip_that_one_visitor_adds_is_there_for_both(app: Watched) -> None:
    from playwright.sync_api import expect

    ann, bob = opened(app, "/trips?fare=90.."), opened(app, "/trips?passengers=2")
    at_first = count(ann), count(bob)
    assert at_first[0] != at_first[1]
    ride = {"Pickup": "2015-03-04 18:30", "Drop-off": "2015-03-04 18:45", "Passengers": "2", "From zone": "132"}
    for label, text in {**ride, "To zone": "1", "Distance, miles": "2.5", "Fare, USD": "187.5"}.items():
        ann.get_by_label(label, exact=True).last.fill(text)
    ann.keyboard.press("Tab")
    ann.get_by_role("button", name="Add the trip").click()
    expect(ann.get_by_text("1 added and not in the lake yet")).to_be_visible(timeout=WAIT)
    assert count(ann) == at_first[0] + 1
    bob.get_by_label("Fare, USD", exact=True).first.fill("..500")
    bob.keyboard.press("Enter")
    expect(bob.get_by_text("1 added and not in the lake yet")).to_be_visible(timeout=WAIT)
    assert count(bob) == at_first[1] + 1
    assert "passengers" not in ann.url
    assert ann.get_by_label("Passengers", exact=True).first.input_value() == ""
    assert bob.get_by_label("Fare, USD", exact=True).last.input_value() == "", "what one types in a form stays there"
    leave(ann, bob)


@pytest.mark.timeout(900)
def test_a_report_that_one_visitor_builds_is_whole_for_the_other_before_and_after(app: Watched, home: Path) -> None:
    from playwright.sync_api import expect

    def kept(page: Any) -> bytes:
        with page.expect_download(timeout=WAIT) as download:
            page.get_by_role("link", name="Download").click()
        return Path(download.value.path()).read_bytes()

    def previewed(page: Any) -> str:
        return str(page.locator("object").get_attribute("data"))

    file = home / "report.pdf"
    first = file.read_bytes()
    ann, bob = opened(app, "/report"), opened(app, "/report")
    before = previewed(ann)
    assert previewed(bob) == before
    builds = [page.get_by_role("button", name="Build it anew") for page in (ann, bob)]
    builds[0].click()
    for page, build in zip((ann, bob), builds, strict=True):
        expect(page.get_by_text("The report is being built")).to_be_visible(timeout=WAIT)
        expect(build).to_be_disabled()
        expect(page.get_by_role("alert")).to_have_count(0)
    photograph(bob, "report-being-built", home)
    assert kept(bob) == first, "until the new one is whole"
    for page, build in zip((ann, bob), builds, strict=True):
        expect(page.get_by_text("The report is built.")).to_be_visible(timeout=3 * WAIT)
        expect(build).to_be_enabled()
        expect(page.locator("object")).not_to_have_attribute("data", before, timeout=WAIT)
        new = kept(page)
        assert new.startswith(b"%PDF-")
        assert new == file.read_bytes()
    assert previewed(ann) == previewed(bob)

    for build in builds:  # both at once
        build.evaluate("button => button.click()")
    for page in (ann, bob):
        expect(page.get_by_text("The report is being built")).to_be_visible(timeout=WAIT)
        expect(page.get_by_role("alert")).to_have_count(0, timeout=WAIT)
    for page in (ann, bob):
        expect(page.get_by_text("The report is built.")).to_be_visible(timeout=3 * WAIT)
        expect(page.get_by_role("alert")).to_have_count(0)
        assert kept(page) == file.read_bytes()
    leave(ann, bob)


@pytest.mark.timeout(900)
def test_a_run_that_one_visitor_starts_is_cancelled_by_another(app: Watched, home: Path) -> None:
    from playwright.sync_api import expect

    trips = td.make_sample(str(home / "more"), start="2015-04", trips_per_month=2 * TRIPS, seed=6)
    ann, bob = opened(app, "/runs"), opened(app, "/runs")
    ann.get_by_role("button", name="New run").click()
    ann.get_by_label("Sources").fill(trips[0])
    expect(bob.get_by_label("Sources")).to_have_count(0)
    ann.get_by_role("button", name="Start", exact=True).click()
    expect(ann.get_by_text("Started: a new run")).to_be_visible(timeout=WAIT)
    expect(bob.get_by_role("table").first.get_by_text("● running")).to_be_visible(timeout=WAIT)
    expect(bob.get_by_text("Started: a new run")).to_have_count(0)
    bob.get_by_role("button", name="Cancel this run").click()
    expect(bob.get_by_text("will stop before its next block")).to_be_visible(timeout=WAIT)
    for page in (ann, bob):
        expect(page.get_by_role("table").first.get_by_text("■ cancelled")).to_be_visible(timeout=WAIT)
    expect(ann.get_by_text("will stop before its next block")).to_have_count(0)
    leave(ann, bob)
