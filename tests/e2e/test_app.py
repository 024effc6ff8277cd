"""The app in a real browser: Debian's chromium, driven by Playwright."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from browsers import needs_chromium, photograph, served, watched

from taxidask.results import open_store

pytestmark = needs_chromium


def _fill(store) -> None:
    """The same store as the app's other tests use."""
    path = Path(__file__).parents[1] / "app" / "conftest.py"
    spec = importlib.util.spec_from_file_location("app_fixtures", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.fill(store)


def test_the_overview_in_a_browser(tmp_path: Path) -> None:
    from playwright.sync_api import expect

    url = f"sqlite:///{tmp_path}/taxidask.db"
    with served(tmp_path, url) as address, watched(address) as browser:
        page = browser.page("/")
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
        page.get_by_role("combobox", name="Place").select_option("Cell 4")
        page.wait_for_function(f"Math.max(...({drawn})().map(([, top]) => top)) < {highest}", timeout=30_000)

        photograph(page, "overview-found", tmp_path)
        runs = page.get_by_role("table").bounding_box()
        assert runs is not None
        assert runs["width"] > 1000
        page.set_viewport_size({"width": 390, "height": 844})
        page.wait_for_timeout(500)
        photograph(page, "overview-found-phone", tmp_path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
