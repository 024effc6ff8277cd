"""Runs, workers, data and the report in a real browser: a run is started, watched, cancelled and resumed there."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from app.conftest import run_item
from browsers import Watched, needs_chromium, photograph, served, watched

import taxidask as td
from taxidask.results import Store, open_store

pytestmark = needs_chromium
WAIT = 120_000
FOCUSED = """() => {
  let at = document.activeElement;
  while (at?.shadowRoot?.activeElement) at = at.shadowRoot.activeElement;
  return (at?.getAttribute('aria-label') || at?.labels?.[0]?.innerText || at?.innerText || '').trim();
}"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where logs go, so that no test sees another's."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("TAXIDASK_WORKERS", "1")
    monkeypatch.setenv("TAXIDASK_REPORT", str(tmp_path / "report.pdf"))
    return tmp_path


@pytest.fixture
def store(home: Path) -> Store:
    made = open_store(f"sqlite:///{home}/taxidask.db")
    made.create()
    return made


@pytest.fixture
def app(home: Path, store: Store) -> Iterator[Watched]:
    with served(home, store.url, "--lake", str(home / "lake")) as address, watched(address) as browser:
        yield browser


def opened(app: Watched, path: str, **size: int) -> Any:
    from playwright.sync_api import expect

    page = app.page(path, **size)
    expect(page.locator("nav a[aria-current=page]")).to_be_visible(timeout=WAIT)
    expect(page.get_by_text("Reading the store")).to_be_hidden(timeout=WAIT)
    return page


def press_until(page: Any, key: str, words: str) -> None:
    """With the keyboard only: to whatever is called so."""
    for _ in range(60):
        page.keyboard.press(key)
        focused = page.evaluate(FOCUSED)
        if focused.startswith(words):
            return
    pytest.fail(f"{words!r} cannot be reached with {key}")


@pytest.mark.timeout(900)
def test_a_run_is_started_watched_cancelled_and_resumed(app: Watched, home: Path, store: Store) -> None:
    from playwright.sync_api import expect

    trips = td.make_sample(str(home / "trips"), start="2015-03", trips_per_month=20_000, seed=5)
    page = opened(app, "/runs")
    expect(page.get_by_text("There is no run yet")).to_be_visible(timeout=WAIT)
    page.get_by_role("button", name="New run").click()
    sources, slot = page.get_by_label("Sources"), page.get_by_label("Slot", exact=True)
    expect(sources).to_be_visible(timeout=WAIT)
    slot.fill("7min")
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.get_by_text("a day is no whole number of slots of '7min'").first).to_be_visible(timeout=WAIT)
    expect(slot).to_have_attribute("aria-invalid", "true")
    photograph(page, "runs-form", home)
    slot.fill("30min")
    sources.fill(trips[0])
    page.get_by_label("Space", exact=True).fill("new_york")
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.get_by_text("Started: a new run")).to_be_visible(timeout=WAIT)
    stages = page.get_by_role("table").nth(1)
    expect(stages).to_contain_text("● running", timeout=WAIT)
    expect(page.locator("progress")).to_be_visible()
    (item,) = store.list_runs()
    expect(page.get_by_label("End of the log")).to_contain_text(f"run {item['id']}: 1 source", timeout=WAIT)
    photograph(page, "runs-running", home)

    other = opened(app, "/cluster")  # its workers, meanwhile
    expect(other.get_by_role("heading", name=f"Run {item['id']}")).to_be_visible(timeout=WAIT)
    expect(other.get_by_role("row")).to_have_count(2, timeout=WAIT)
    photograph(other, "runs-workers", home)
    other.close()

    page.get_by_role("button", name="Cancel this run").click()
    expect(page.get_by_text(re.compile("will stop before its next block|has stopped"))).to_be_visible(timeout=WAIT)
    expect(page.get_by_text("■ cancelled").first).to_be_visible(timeout=WAIT)
    assert store.get_run(item["id"])["state"] == "cancelled"
    photograph(page, "runs-cancelled", home)

    page.get_by_role("button", name="Resume this run").click()
    expect(page.get_by_text(f"Started: run {item['id']} resumed")).to_be_visible(timeout=WAIT)
    expect(page.get_by_label("End of the log")).to_contain_text(f"resuming run {item['id']}", timeout=WAIT)
    expect(page).to_have_url(
        re.compile(rf"[?&]run={item['id']}"), timeout=WAIT
    )  # what a colleague sees with the same link
    log = (home / "log").read_text()
    assert f"local did 'cancel run {item['id']}'" in log
    assert f"local did 'resume run {item['id']}'" in log
    end = time.monotonic() + 600
    while store.get_run(item["id"])["state"] != "done":
        assert time.monotonic() < end
        time.sleep(0.5)
    page.close()

    page = opened(app, "/data")
    expect(page.get_by_text(re.compile(r"[\d,]+ kept \+ [\d,]+ rejected"))).to_be_visible(timeout=WAIT)
    page.get_by_role("button", name="Show some").click()
    expect(page.get_by_text("In the order of the lake")).to_be_visible(timeout=WAIT)
    photograph(page, "runs-data", home)
    page.close()

    page = opened(app, "/report")
    with page.expect_download(timeout=WAIT) as download:
        page.get_by_role("link", name="Download").click()
    assert Path(download.value.path()).read_bytes() == (home / "report.pdf").read_bytes()
    (home / "report.pdf").unlink()
    expect(page.get_by_text("there is no file")).to_be_visible(timeout=WAIT)
    page.get_by_role("button", name="Build it anew").click()
    expect(page.get_by_text("The report is built")).to_be_visible(timeout=300_000)
    assert (home / "report.pdf").read_bytes().startswith(b"%PDF-")
    page.close()


@pytest.mark.timeout(600)
def test_two_visitors_look_at_the_workers_of_two_runs(app: Watched, home: Path, store: Store) -> None:
    from distributed import LocalCluster
    from playwright.sync_api import expect

    def workers(page: Any) -> Any:
        return page.locator("tbody tr")

    quiet: Any = {"threads_per_worker": 1, "processes": False, "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(n_workers=1, **quiet) as one, LocalCluster(n_workers=2, **quiet) as two:
        here = f"{socket.gethostname()}:1:ab"
        for name, cluster in (("one", one), ("two", two)):
            dashboard = f"http://127.0.0.1:{cluster.scheduler.services['dashboard'].port}/status"
            lives = {"state": "running", "owner": here, "heartbeat": time.time() + 3600, "dashboard": dashboard}
            store.create_run(run_item(name, **lives))
        ann, bob = opened(app, "/cluster"), opened(app, "/cluster")
        for page in (ann, bob):
            expect(workers(page)).to_have_count(3, timeout=WAIT)
        ann.get_by_role("combobox", name="Workers of").select_option("run one")
        expect(workers(ann)).to_have_count(1, timeout=WAIT)
        expect(ann).to_have_url(re.compile("[?&]of=run"))
        one.scale(3)
        expect(workers(ann)).to_have_count(3, timeout=WAIT)
        expect(workers(bob)).to_have_count(5, timeout=WAIT)
        assert "of=run" not in bob.url
        photograph(ann, "cluster-one", home)
        photograph(bob, "cluster-all", home)
        two.close()
        expect(bob.get_by_role("alert")).to_contain_text("no Dask dashboard answered at", timeout=WAIT)
        expect(workers(bob)).to_have_count(3)
        expect(workers(ann)).to_have_count(3)
        expect(ann.get_by_role("alert")).to_have_count(0)
        photograph(bob, "cluster-silent", home)
        for page in (ann, bob):
            page.close()


@pytest.mark.timeout(600)
def test_with_the_keyboard_on_a_phone(app: Watched, home: Path, store: Store) -> None:
    from playwright.sync_api import expect

    page = opened(app, "/runs", width=390, height=844)
    expect(page.get_by_text("There is no run yet")).to_be_visible(timeout=WAIT)
    press_until(page, "Tab", "New run")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Sources")).to_be_visible(timeout=WAIT)
    press_until(page, "Shift+Tab", "Sources")
    page.keyboard.type(str(home / "there-is-none.csv"))
    press_until(page, "Tab", "Start")
    page.keyboard.press("Enter")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("No run came of it: error:", timeout=WAIT)
    expect(alert).to_contain_text("there-is-none.csv")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    photograph(page, "runs-phone", home)
    page.close()
    for path in ("/cluster", "/data", "/report"):
        page = opened(app, path, width=390, height=844)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.close()
