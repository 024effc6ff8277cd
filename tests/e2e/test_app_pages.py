"""Every page of the app over what a real run published: light, dark and on a phone, by the eyes of axe-core too."""

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


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    home = tmp_path_factory.mktemp("published")
    trips = td.make_sample(str(home / "trips"), start="2015-03", trips_per_month=40_000, seed=5)
    store, lake = f"sqlite:///{home}/taxidask.db", str(home / "lake")
    td.run(td.load_settings(sources=trips, store=store, lake=lake, report=str(home / "report.pdf")), progress=False)
    with served(home, store, "--lake", lake) as address, watched(address) as browser:
        yield browser


@pytest.mark.timeout(600)
@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize(("theme", "width"), [("default", 1280), ("dark", 1280), ("default", 390)])
def test_a_page_stands(app: Watched, path: str, theme: str, width: int, tmp_path: Path) -> None:
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import expect

    page = app.page(f"{path}?theme={theme}", width=width)
    try:
        current = page.locator("nav a[aria-current=page]")
        expect(current).to_have_text(PAGES[path], timeout=60_000)
        expect(page.get_by_text("Reading the store")).to_be_hidden(timeout=60_000)
        expect(page.get_by_role("alert")).to_have_count(0)
        assert page.locator("h2").count(), "a page has titled parts"
        page.wait_for_timeout(1000)
        look = "phone" if width < 500 else "dark" if theme == "dark" else "light"
        photograph(page, f"page-{path[1:]}-{look}", tmp_path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        found = Axe().run(page)
        serious = [
            f"{rule['id']}: {rule['help']}: {[node['html'][:200] for node in rule['nodes'][:3]]}"
            for rule in found.response["violations"]
            if rule["impact"] in ("serious", "critical")
        ]
        assert serious == []
    finally:
        page.close()


def test_links_lead_to_every_page_and_keep_the_theme(app: Watched) -> None:
    page = app.page("/?theme=dark")
    links = page.locator("nav a")
    links.first.wait_for(timeout=60_000)
    assert [link.inner_text() for link in links.all()] == list(PAGES.values())
    assert all(link.get_attribute("href").endswith("?theme=dark") for link in links.all())
    links.last.click()
    page.wait_for_url(f"**{list(PAGES)[-1]}?theme=dark*", timeout=60_000)
    page.close()


@pytest.mark.parametrize(("path", "name"), [("/overview", "20"), ("/runs", "20"), ("/cluster", "Start a run")])
def test_links_on_a_page_keep_the_theme_of_its_address_and_of_the_button(app: Watched, path: str, name: str) -> None:
    from playwright.sync_api import expect

    page = app.page(f"{path}?theme=dark")
    link = page.locator("a[href^='./']:not(nav a)").filter(has_text=name).first
    expect(link).to_have_attribute("href", re.compile(r"[?&]theme=dark$"), timeout=60_000)
    page.get_by_role("button", name="Toggle theme").click()
    expect(link).to_have_attribute("href", re.compile(r"[?&]theme=default$"), timeout=60_000)
    page.get_by_role("button", name="Toggle theme").click()
    expect(link).to_have_attribute("href", re.compile(r"[?&]theme=dark$"), timeout=60_000)
    link.click()
    page.wait_for_url(re.compile("/runs[?].*theme=dark"), timeout=60_000)
    expect(page.get_by_role("heading", name="One run")).to_be_visible(timeout=60_000)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == DARK
    page.close()


BACKGROUNDS = """() => [document.documentElement, document.body, document.querySelector('.bk-panel-models-esm-Page')]
    .filter(Boolean).map(element => getComputedStyle(element).backgroundColor)"""
DARK, LIGHT, NONE = "rgb(18, 18, 18)", "rgb(255, 255, 255)", "rgba(0, 0, 0, 0)"


def test_the_systems_theme_is_followed_unless_the_address_or_the_button_says_otherwise(app: Watched) -> None:
    def shown(page: Any) -> str:
        page.locator("nav a[aria-current=page]").wait_for(timeout=60_000)
        page.wait_for_function("Bokeh.index.roots[0].is_idle", timeout=60_000)
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    page = app.page("/data", color_scheme="dark")
    assert shown(page) == DARK
    assert "theme" not in page.url
    # a page is never light, not even for a moment
    page.add_init_script(
        f"seen = []; const look = () => {{ seen.push(...({BACKGROUNDS})()); requestAnimationFrame(look) }}; look()"
    )
    page.goto(f"{app.address}/trips")
    assert shown(page) == DARK
    assert DARK in set(page.evaluate("seen")) <= {DARK, NONE}
    page.goto(f"{app.address}/trips?theme=default")
    assert shown(page) == LIGHT

    page.goto(f"{app.address}/data")
    assert shown(page) == DARK
    page.get_by_role("button", name="Toggle theme").click()
    page.wait_for_url("**theme=default*", timeout=60_000)
    page.reload()
    assert shown(page) == LIGHT
    page.locator("nav a").last.click()
    page.wait_for_url(f"**{list(PAGES)[-1]}?theme=default*", timeout=60_000)

    page.emulate_media(color_scheme="light")
    page.goto(f"{app.address}/data")
    assert shown(page) == LIGHT
    page.close()


NONSENSE = (
    "place=nowhere&day=2015-02-31&vs=1&time=99:99&show=zzz&direction=up&cell=999999&from=x&to=y&at=1900&passengers=50"
    "&fare=abc&payment=9&vendor=%3Cb%3E&run=none&with=none&of=x&source=x&reason=y&start=never&end="
)


@pytest.mark.parametrize("path", PAGES)
def test_nonsense_in_the_address_breaks_no_page(app: Watched, path: str) -> None:
    from playwright.sync_api import expect

    page = app.page(f"{path}?{NONSENSE}")
    expect(page.get_by_text("Reading the store")).to_be_hidden(timeout=60_000)
    page.wait_for_timeout(3000)
    assert page.locator("h2").count()
    page.close()
    assert app.complaints == []
