"""The app in a real browser: Debian's chromium, driven by Playwright."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from taxidask.results import open_store

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason="needs chromium at /usr/bin/chromium")


def _fill(store) -> None:
    """The same store as the app's other tests use."""
    path = Path(__file__).parents[1] / "app" / "conftest.py"
    spec = importlib.util.spec_from_file_location("app_fixtures", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.fill(store)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A server over a store that is not there yet: its address and the store's URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"sqlite:///{tmp_path}/taxidask.db"
    code = f"import taxidask.app; taxidask.app.serve({url!r}, port={port})"
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen([sys.executable, "-c", code], stdout=log, stderr=log) as process,
    ):
        try:
            address = f"http://127.0.0.1:{port}"
            deadline = time.monotonic() + 90
            while True:
                try:
                    urllib.request.urlopen(f"{address}/healthz", timeout=10).close()
                    break
                except OSError:
                    if process.poll() is not None or time.monotonic() > deadline:
                        pytest.fail(f"the server did not come up: {(tmp_path / 'log').read_text()}")
                    time.sleep(0.2)
            yield address, url
        finally:
            process.kill()


def test_the_overview_in_a_browser(served: tuple[str, str], tmp_path: Path) -> None:
    from playwright.sync_api import expect, sync_playwright

    address, url = served
    complaints: list[str] = []
    elsewhere: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 1500})
        page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request",
            lambda asked: (
                elsewhere.append(asked.url)
                if not asked.url.startswith((address, "ws://127.0.0.1", "data:", "blob:"))
                else None
            ),
        )

        page.goto(f"{address}/", timeout=60_000)
        alert = page.get_by_role("alert")
        expect(alert).to_contain_text("Overview cannot be read", timeout=60_000)
        expect(alert).to_contain_text(f"taxidask store create --store {url}")

        _fill(open_store(url))  # the page finds it by itself
        expect(page.get_by_text("Trips in the lake")).to_be_visible(timeout=60_000)
        expect(alert).to_be_hidden()
        for text in ("1,029", "98.00%", "21 of 1,050 rejected", "11 Jan 2016", "to 31 Jan 2016", "2 Feb 2016"):
            expect(page.get_by_text(text, exact=True)).to_be_visible()
        expect(page.get_by_text("1,029 kept + 21 rejected = 1,050 rows")).to_be_visible()
        expect(page.get_by_role("cell", name="20160201T081500Z-ab12cd")).to_be_visible()
        expect(page.get_by_role("cell", name="✓ done")).to_be_visible()
        for heading in ("Demand and forecast", "Rejected rows by reason", "Runs"):
            expect(page.get_by_role("heading", name=heading)).to_be_visible()

        drawn = """() => Bokeh.documents.flatMap(d => [...d._all_models.values()])
            .filter(m => m.type === 'ColumnDataSource' && m.data.trips)
            .map(m => [m.data.trips.length, Math.max(...m.data.trips)])"""
        page.wait_for_function(f"({drawn})().some(([count, top]) => count === 336 && top > 0)", timeout=30_000)
        highest = max(top for _, top in page.evaluate(drawn))
        page.get_by_role("combobox").click()
        page.get_by_role("menuitem", name="Cell 4").click()
        page.wait_for_function(f"Math.max(...({drawn})().map(([, top]) => top)) < {highest}", timeout=30_000)

        page.screenshot(path=tmp_path / "overview.png", full_page=True)
        runs = page.get_by_role("table").bounding_box()
        assert runs is not None
        assert runs["width"] > 1000
        page.set_viewport_size({"width": 390, "height": 844})
        page.wait_for_timeout(500)
        page.screenshot(path=tmp_path / "narrow.png")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        browser.close()
    assert complaints == []
    assert elsewhere == []
    assert "Traceback" not in (tmp_path / "log").read_text()
