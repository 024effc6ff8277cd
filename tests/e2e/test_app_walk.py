"""What a person who has never seen the project does in their first ten minutes, by what they see: labels and roles."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsers import Watched, needs_chromium, photograph, served, watched

import taxidask as td

pytestmark = needs_chromium
WAIT = 180_000
COMMAND = Path(sys.executable).with_name("taxidask")


@pytest.mark.timeout(1800)
def test_from_the_demo_to_the_printed_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("TAXIDASK_WORKERS", "1")
    command = [COMMAND, "demo", "demo", "--trips", "20000"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=900)
    assert ended.returncode == 0, ended.stderr
    (line,) = re.findall(r"^app +taxidask app (.*?)   \(", ended.stdout, re.MULTILINE)
    store, lake = (shlex.split(line)[at] for at in (1, 3))
    more = td.make_sample(str(tmp_path / "more"), start="2015-04", trips_per_month=3000, seed=9, faults=0.02)[0]
    with served(tmp_path, store, *shlex.split(line)[2:]) as address, watched(address) as browser:
        walk(browser, td.Lake(lake), Path(more), tmp_path)


def walk(app: Watched, lake: td.Lake, more: Path, folder: Path) -> None:
    page = app.page("/")
    for number, step in enumerate((overview, friday, fare, load, rejected, run, report), 1):
        step(page, lake, more)
        page.wait_for_timeout(1000)  # figures that have just become visible are drawn
        photograph(page, f"walk-{number}-{step.__name__}", folder)
        phone = app.page(page.url.removeprefix(app.address), width=390, height=844, color_scheme="dark")
        settled(phone, "")
        phone.wait_for_timeout(2000)
        photograph(phone, f"walk-{number}-{step.__name__}-phone-dark", folder)
        assert phone.evaluate("document.documentElement.scrollWidth") <= 390
        phone.close()
    page.close()


def go(page: Any, title: str) -> None:
    page.get_by_role("navigation", name="Pages").get_by_role("link", name=title).click()
    settled(page, title)


def settled(page: Any, title: str) -> None:
    page.locator("nav a[aria-current=page]", has_text=title).wait_for(timeout=WAIT)
    page.get_by_text("Reading the store").wait_for(state="hidden", timeout=WAIT)


def overview(page: Any, lake: td.Lake, more: Path) -> None:
    from playwright.sync_api import expect

    expect(page.get_by_text("Trips in the lake")).to_be_visible(timeout=WAIT)
    expect(page.get_by_role("definition").filter(has_text=f"{len(lake.trips()):,}").first).to_be_visible()


def friday(page: Any, lake: td.Lake, more: Path) -> None:
    """The busiest cell of a Friday night."""
    from playwright.sync_api import expect

    cube = lake.cube()
    go(page, "Demand")
    expect(page.get_by_text("pickups in all")).to_be_visible(timeout=WAIT)
    page.get_by_label("Day").select_option("Fri 27 Mar 2015")
    expect(page.get_by_text("Fri 27 Mar 2015, 18:00 – 18:30")).to_be_visible(timeout=WAIT)
    page.get_by_role("slider", name="Time").focus()
    for _ in range(8):
        page.keyboard.press("ArrowRight")
    expect(page.get_by_text("Fri 27 Mar 2015, 22:00 – 22:30")).to_be_visible(timeout=WAIT)
    night = cube.counts[int(np.flatnonzero(cube.times == np.datetime64("2015-03-27T22:00"))[0]), :, 0]
    busiest = page.get_by_role("row").nth(1)
    expect(busiest).to_contain_text(f"{night.max()}", timeout=WAIT)
    assert night[int(re.search(r"Cell (\d+)", busiest.inner_text())[1])] == night.max()


def fare(page: Any, lake: td.Lake, more: Path) -> None:
    """A quote from Times Square to Kennedy Airport."""
    from playwright.sync_api import expect

    go(page, "Fares")
    for label, typed in (("Pickup (A)", "times sq"), ("Drop-off (B)", "jfk")):
        page.get_by_role("combobox", name=label).click()
        page.keyboard.type(typed, delay=30)
        page.get_by_role("option").first.click(timeout=WAIT)
    quote = td.FareModel.load(f"{lake.url}/models/fare").quote(
        pickup="Times Sq/Theatre District", dropoff="JFK Airport", at="2015-04-01 00:00"
    )
    expect(page.get_by_text(f"{quote.price:.2f}", exact=True).first).to_be_visible(timeout=WAIT)
    expect(page.get_by_role("heading", name="What the price is made of")).to_be_visible(timeout=WAIT)


def load(page: Any, lake: td.Lake, more: Path) -> None:
    """A CSV of a month that the lake does not have."""
    from playwright.sync_api import expect

    go(page, "Trips")
    expect(page.get_by_text("Trips that match")).to_be_visible(timeout=WAIT)
    with page.expect_file_chooser() as chooser:
        page.get_by_text("Choose a file of trips").click()
    chooser.value.set_files(more)
    expect(page.get_by_text("trips of 3,000 rows added to the store")).to_be_visible(timeout=WAIT)
    expect(page.get_by_text("of 3,000 rows were rejected")).to_be_visible()
    with page.expect_download(timeout=WAIT) as download:
        page.get_by_role("button", name="Download the rejected rows").click()
    assert "fare_out_of_range" in Path(download.value.path()).read_text()


def rejected(page: Any, lake: td.Lake, more: Path) -> None:
    """Why rows were set aside, and how they look."""
    from playwright.sync_api import expect

    go(page, "Data")
    page.get_by_label("Reason").select_option("fare out of range")
    page.get_by_role("button", name="Show some").click()
    expect(page.get_by_text("In the order of the lake")).to_be_visible(timeout=WAIT)
    assert page.get_by_role("cell", name="fare out of range").count() > 3


def run(page: Any, lake: td.Lake, more: Path) -> None:
    """A run of what was added, started and cancelled."""
    from playwright.sync_api import expect

    go(page, "Runs")
    page.get_by_role("button", name="New run").click()
    expect(page.get_by_label("Sources")).to_have_value(re.compile("yellow_tripdata_2015-03.csv"), timeout=WAIT)
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.get_by_text("Started: a new run")).to_be_visible(timeout=WAIT)
    cancel = page.get_by_role("button", name="Cancel this run")
    expect(page.get_by_text("● running").first).to_be_visible(timeout=WAIT)
    cancel.click(timeout=WAIT)
    expect(page.get_by_text("■ cancelled").first).to_be_visible(timeout=WAIT)
    expect(page.get_by_text("has stopped: it is cancelled")).to_be_visible(timeout=WAIT)


def report(page: Any, lake: td.Lake, more: Path) -> None:
    """The report, to be printed."""
    go(page, "Report")
    page.get_by_role("link", name="Open in a tab of its own").wait_for(timeout=WAIT)
    with page.expect_download(timeout=WAIT) as download:
        page.get_by_role("link", name="Download").click()
    assert Path(download.value.path()).read_bytes().startswith(b"%PDF-")
