"""A DynamoDB that cannot be reached for a while, under all pages: each says so, stays, and goes on by itself."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from app.conftest import fill
from browsers import Watched, needs_chromium, photograph, served, watched
from links import Link

import taxidask as td
from taxidask.app.shell import PAGES

pytestmark = needs_chromium
WAIT = 240_000
RIDE = {
    "Pickup": "2015-03-04 18:30", "Drop-off": "2015-03-04 18:45", "From zone": "132", "To zone": "1",
    "Distance, miles": "2.5", "Fare, USD": "187.5",
}  # fmt: skip


@pytest.fixture
def link(aws: Any) -> Iterator[Link]:
    with Link(aws.dynamodb["us-east-1"]) as link:
        yield link


@pytest.fixture
def app(link: Link, tmp_path: Path) -> Iterator[Watched]:
    table = f"taxidask-{uuid.uuid4().hex[:12]}"
    store, lake = f"dynamodb://{table}?endpoint={link.url}&write_units=100000", tmp_path / "lake"
    fill(td.open_store(store))
    td.Lake(lake).ingest(td.make_sample(tmp_path / "csv", start="2015-03", trips_per_month=300), space="new_york")
    with served(tmp_path, store, "--lake", str(lake)) as address, watched(address) as browser:
        yield browser
    boto3.client("dynamodb", region_name="us-east-1").delete_table(TableName=table)


def away(path: str) -> str:
    return f"{PAGES[path]} cannot be read: the store dynamodb://"


def shown(page: Any) -> list[str]:
    """The titles of the parts, and all figures."""
    return [part.inner_text() for part in page.locator("h2:visible, dl.numbers:visible").all()]


@pytest.mark.timeout(1200)
def test_a_dynamodb_that_goes_away_under_all_pages_and_comes_back(app: Watched, link: Link, tmp_path: Path) -> None:
    from playwright.sync_api import expect

    pages = {}
    for path in PAGES:
        pages[path] = page = app.page(path)
        expect(page.locator("nav a[aria-current=page]")).to_be_visible(timeout=WAIT)
        expect(page.get_by_text("Reading the store")).to_be_hidden(timeout=WAIT)
        page.evaluate("window.neverLeft = true")
    trips, before = pages["/trips"], {path: shown(page) for path, page in pages.items()}
    for label, text in RIDE.items():
        trips.get_by_label(label, exact=True).last.fill(text)
    trips.keyboard.press("Tab")
    add = trips.get_by_role("button", name="Add the trip")

    link.off()
    for path, page in pages.items():
        alert = page.get_by_role("alert").filter(has_text=away(path))
        expect(alert).to_contain_text(f"{link.url} in us-east-1 does not answer", timeout=WAIT)
        assert shown(page) == before[path], "what was there stays"
        photograph(page, f"away-dynamodb-{path[1:]}", tmp_path)
    add.click()
    expect(trips.get_by_role("alert")).to_have_count(2, timeout=WAIT)  # the page's, and the form's
    assert trips.get_by_label("Fare, USD", exact=True).last.input_value() == "187.5", "what was typed stays"

    link.on()
    for path, page in pages.items():
        expect(page.get_by_role("alert").filter(has_text=away(path))).to_have_count(0, timeout=WAIT)
        assert shown(page) == before[path]
        assert page.evaluate("window.neverLeft")
    add.click()
    expect(trips.get_by_text("1 added and not in the lake yet")).to_be_visible(timeout=WAIT)
    for page in pages.values():
        page.close()
