from __future__ import annotations

import asyncio

from taxidask.app.pages.overview import Overview, numbers_html
from taxidask.app.snapshot import read_snapshot
from taxidask.app.state import AppState
from taxidask.app.style import notice
from taxidask.app.told import runs_html
from taxidask.results import Store
from taxidask.runs.look import runs_table
from taxidask.settings import Settings


def refreshed(store: Store) -> Overview:
    page = Overview(AppState(store, Settings()))
    asyncio.run(page.refresh())
    return page


def test_a_full_page_shows_the_stores_numbers(filled: Store) -> None:
    page = refreshed(filled)
    assert not page.notice.visible
    for text in ("1,029", "98.00%", "21 of 1,050 rejected", "11 Jan 2016", "31 Jan 2016", "2 Feb 2016", "done"):
        assert text in page.numbers.object
    assert "1,029 kept + 21 rejected = 1,050 rows" in page.rejects.object
    assert "<a href='./runs?run=20160201T081500Z-ab12cd'>" in page.runs.object
    assert page.demand_card.visible
    assert list(page.place.options) == ["Whole area", "Cell 4", "Cell 2", "Cell 1"]
    assert len(page.pickups.ahead.data["time"]) == 96
    page.page()


def test_choosing_a_cell_reads_that_cell(filled: Store) -> None:
    page = refreshed(filled)
    whole = page.pickups.past.data["trips"].sum()

    async def choose() -> None:
        page.place.value = 4
        await page.refresh()

    asyncio.run(choose())
    assert 0 < page.pickups.past.data["trips"].sum() < whole


def test_what_did_not_change_is_not_drawn_again(filled: Store, monkeypatch) -> None:
    page = refreshed(filled)
    monkeypatch.setattr(page.pickups, "update", lambda *_: (_ for _ in ()).throw(AssertionError("drawn again")))
    asyncio.run(page.refresh())


def test_an_empty_store_says_how_to_start(store: Store) -> None:
    store.create()
    page = refreshed(store)
    assert "Nothing has been published" in page.notice.object
    assert f"--store {store.url}" in page.notice.object
    assert not page.demand_card.visible


def test_a_store_that_is_not_there_says_what_to_do(store: Store) -> None:
    page = refreshed(store)
    assert "Overview cannot be read" in page.notice.object
    assert "store create" in page.notice.object
    assert "role='alert'" in page.notice.object


def test_a_first_run_shows_before_anything_is_published(store: Store, filled: Store) -> None:
    filled.put_latest({})
    page = refreshed(filled)
    assert page.runs_card.visible
    assert not page.demand_card.visible
    assert "not published its forecasts yet" in page.notice.object


def test_numbers_stay_when_the_store_goes_away_and_the_notice_goes_when_it_is_back(filled: Store, monkeypatch) -> None:
    from taxidask.errors import StoreError

    page = refreshed(filled)
    with monkeypatch.context() as away:
        away.setattr(filled, "get_latest", lambda: (_ for _ in ()).throw(StoreError("it is gone", "bring it back")))
        page.app.forget("snapshot")
        asyncio.run(page.refresh())
        assert page.notice.visible
        assert "1,029" in page.numbers.object
    page.app.forget("snapshot")
    asyncio.run(page.refresh())
    assert not page.notice.visible


def test_a_surprise_is_shown_and_logged(filled: Store, monkeypatch, caplog) -> None:
    monkeypatch.setattr(filled, "get_latest", lambda: {"lake": "/data/lake", "forecast_start": "no time"})
    page = refreshed(filled)
    assert "ValueError" in page.notice.object or "Error" in page.notice.object
    assert "server&#x27;s log" in page.notice.object
    assert "could not be read" in caplog.text


def test_nothing_from_the_store_is_taken_for_html(filled: Store) -> None:
    evil = "<script>alert(1)</script>"
    runs = runs_table(
        [{"id": evil, "state": evil, "created": evil, "heartbeat": 0, "error": evil, "stages": {}}], now=0
    )
    snapshot = read_snapshot(filled)
    snapshot.latest["slot"] = evil
    for text in (runs_html(runs), numbers_html(snapshot), notice("info", evil, evil)):
        assert "<script" not in text
        assert "&lt;script" in text
