"""The Demand page in a real browser: on zones and on a grid, by mouse and by keyboard, on a phone, light and dark."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pandas as pd
import pytest
from browsers import Watched, needs_chromium, photograph, served, watched

import taxidask as td

pytestmark = needs_chromium

_spec = importlib.util.spec_from_file_location("app_fixtures", Path(__file__).parents[1] / "app" / "conftest.py")
fixtures = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fixtures)

# what the map's colours stand for, squared again
SHADES = """() => Bokeh.documents.flatMap(d => [...d._all_models.values()])
    .filter(m => m.type === 'ColumnDataSource' && m.data.shade)
    .map(m => Array.from(m.data.shade, s => s * Math.abs(s)))[0]"""


@pytest.fixture
def store(tmp_path: Path) -> str:
    """The URL of a store that is not there yet."""
    return f"sqlite:///{tmp_path}/taxidask.db"


@pytest.fixture
def app(tmp_path: Path, store: str) -> Iterator[Watched]:
    with served(tmp_path, store) as address, watched(address) as browser:
        yield browser


def fill_zones(store: Any) -> td.Cube:
    """Publish four weeks in the city's zones; a Friday night is busiest in the East Village (79)."""
    zones = td.Zones()
    middle, hour = zones.centers(), np.arange(48 * 28) / 2
    away = np.hypot((middle[:, 0] + 73.98) * 84, (middle[:, 1] - 40.755) * 111)
    level = np.round(100 * np.exp(-away / 2.5))
    rhythm = 1 + 0.6 * np.sin((hour % 24 - 10) / 24 * 2 * np.pi)
    counts = np.round(rhythm[:, None, None] * level[:, None] * [1, 0.9]).astype(np.int32)
    cube_start = pd.Timestamp("2016-01-04")  # a Monday
    times = pd.date_range(cube_start, periods=len(counts), freq="30min")
    counts[(times.day_of_week == 4) & (times.hour >= 21), zones.ids.tolist().index(79)] = 333
    cube = td.Cube(counts, start=cube_start, slot="30min", space=zones)
    mean = cube.counts[-7 * 48 : -5 * 48].astype(np.float32)
    ahead = td.Forecast(
        pd.date_range(cube.end, periods=96, freq="30min"), mean, mean * np.float32(0.8), mean * np.float32(1.2),
        zones, cube.slot, mean.sum(1) * np.float32(0.9), mean.sum(1) * np.float32(1.1),
    )  # fmt: skip
    back = td.Forecast(cube.times[-96:], mean, mean * np.float32(0.8), mean * np.float32(1.2), zones, cube.slot)
    store.create()
    store.create_run(fixtures.run_item())
    store.put_demand(cube)
    store.put_forecast(ahead, model="demand", run=fixtures.RUN)
    store.put_total_forecast(ahead, model="demand", run=fixtures.RUN)
    store.put_geometry(zones)
    store.put_demand_map(cube)
    store.put_forecast_map(back, model="demand", run=fixtures.RUN, backtest=True)
    store.put_forecast_map(ahead, model="demand", run=fixtures.RUN)
    store.put_latest(
        {
            "run": fixtures.RUN,
            "lake": "/data/lake",
            "space": zones.key,
            "slot": "30min",
            "cube_start": cube.start.isoformat(),
            "cube_end": cube.end.isoformat(),
            "forecast_start": ahead.times[0].isoformat(),
            "forecast_end": ahead.end.isoformat(),
            "trips": int(cube.counts[:, :, 0].sum()),
            "cells": [],
        }
    )
    return cube


def test_the_busiest_zone_of_a_friday_night(app: Watched, store: str, tmp_path: Path) -> None:
    from playwright.sync_api import expect

    page = app.page("/demand", height=1900)
    expect(page.get_by_role("alert")).to_contain_text("Demand cannot be read", timeout=60_000)
    cube = fill_zones(td.open_store(store))  # the page finds it by itself
    expect(page.get_by_text("Sun 31 Jan 2016, 18:00 – 18:30")).to_be_visible(timeout=60_000)
    expect(page.get_by_role("alert")).to_be_hidden()

    def wait_for(day: int, slot: int, direction: int = 0) -> None:
        wanted = cube.counts[day * 48 + slot, :, direction].tolist()
        page.wait_for_function(
            f"wanted => {{ const got = ({SHADES})(); return wanted.every((n, i) => Math.abs(n - got[i]) < 1e-3) }}",
            arg=wanted,
            timeout=30_000,
        )

    wait_for(27, 36)
    photograph(page, "demand-light", tmp_path)
    page.get_by_role("combobox", name="Day").select_option("Fri 29 Jan 2016")
    wait_for(25, 36)
    page.get_by_role("button", name="Next frame").click()
    wait_for(25, 37)
    page.get_by_role("slider").focus()
    for _ in range(6):
        page.keyboard.press("ArrowRight")
    wait_for(25, 43)
    expect(page.get_by_text("Fri 29 Jan 2016, 21:30 – 22:00")).to_be_visible()
    expect(page.get_by_role("row").nth(1)).to_contain_text("East Village (79)")
    expect(page.get_by_role("row").nth(1)).to_contain_text("333")

    # a click on the map chooses the zone that lies there
    east_village = cube.space.ids.tolist().index(79)
    place = page.evaluate(
        """cell => {
            const views = []
            const walk = view => { views.push(view); for (const child of view.child_views ?? []) walk(child) }
            for (const index of Object.values(Bokeh.index)) walk(index)
            const map = views.find(view => view.model.name === 'map')
            const {frame} = map
            const source = map.model.renderers[0].data_source
            const ring = i => source.data[i][cell][0][0]
            const mean = r => r.reduce((a, b) => a + b, 0) / r.length
            const box = map.el.getBoundingClientRect()
            return [box.x + frame.x_scale.compute(mean(ring('xs'))), box.y + frame.y_scale.compute(mean(ring('ys')))]
        }""",
        east_village,
    )
    page.mouse.click(*place)
    expect(page.get_by_role("combobox", name="Cell")).to_have_value("East Village (79)", timeout=30_000)
    expect(page.get_by_text("East Village (79) on Fri 29 Jan 2016")).to_be_visible()

    # and a link shows a colleague the same
    page.wait_for_function(f"location.search.includes('cell={east_village}')")
    asked = parse_qs(urlsplit(page.url).query)
    assert asked["day"] == ["2016-01-29"]
    assert asked["time"] == ["21:30"]
    colleague = app.page(page.url.removeprefix(app.address))
    expect(colleague.get_by_text("Fri 29 Jan 2016, 21:30 – 22:00")).to_be_visible(timeout=60_000)
    expect(colleague.get_by_text("East Village (79) on Fri 29 Jan 2016")).to_be_visible()

    # playing goes on by itself
    page.get_by_role("button", name="Play").click()
    expect(page.get_by_text("Fri 29 Jan 2016, 22:30 – 23:00")).to_be_visible(timeout=30_000)
    page.get_by_role("button", name="Pause").click()


def test_forecast_error_and_another_day_in_the_dark_and_on_a_phone(app: Watched, store: str, tmp_path: Path) -> None:
    from playwright.sync_api import expect

    fill_zones(td.open_store(store))
    page = app.page("/demand?theme=dark&day=2016-01-31&show=error&cell=131", height=1900)
    expect(page.get_by_text("The forecast is the backtest's")).to_be_visible(timeout=60_000)
    expect(page.get_by_text("expected than counted, in all")).to_be_visible()
    photograph(page, "demand-dark", tmp_path)
    page.get_by_role("button", name="Forecast").click()
    expect(page.get_by_text("pickups expected in all")).to_be_visible()
    page.get_by_role("button", name="Drop-offs").click()
    expect(page.get_by_text("drop-offs expected in all")).to_be_visible()
    page.get_by_role("button", name="Counted").click()

    phone = app.page("/demand?day=2016-01-29&vs=2016-01-28&time=21:30&cell=78", width=390, height=844)
    expect(phone.get_by_text("more pickups in all than on Thu 28 Jan 2016")).to_be_visible(timeout=60_000)
    expect(phone.get_by_role("columnheader", name="Thu 28 Jan")).to_be_visible()
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    phone.set_viewport_size({"width": 390, "height": 2400})
    phone.wait_for_timeout(500)
    photograph(phone, "demand-phone", tmp_path)


def test_a_grid_by_keyboard_only(app: Watched, store: str, tmp_path: Path) -> None:
    from playwright.sync_api import expect

    fixtures.fill(td.open_store(store))
    page = app.page("/demand", height=1900)
    expect(page.get_by_text("pickups in all")).to_be_visible(timeout=60_000)

    def press_until(what: Any, *keys: str) -> None:
        """Tab until a control has the focus, and use it."""
        for _ in range(60):
            page.keyboard.press("Tab")
            if what.evaluate("e => e === e.getRootNode().activeElement"):
                break
        else:
            pytest.fail("the keyboard does not get there")
        for key in keys:
            page.keyboard.press(key)

    press_until(page.get_by_role("button", name="Pickups"), "ArrowRight", "Enter")
    expect(page.get_by_text("drop-offs in all")).to_be_visible(timeout=30_000)
    press_until(page.get_by_role("slider"), "ArrowLeft")
    expect(page.get_by_text("17:30 – 18:00")).to_be_visible(timeout=30_000)
    press_until(page.get_by_role("combobox", name="Cell"), *["ArrowDown"] * 5)
    expect(page.get_by_text("Cell 4 on Sun 31 Jan 2016")).to_be_visible(timeout=30_000)
    photograph(page, "demand-grid", tmp_path)
