from __future__ import annotations

import asyncio
import io
import logging
import tempfile
import threading
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import taxidask as td
from taxidask.app.pages.trips import ROWS, Trips
from taxidask.app.state import AppState
from taxidask.asking import add_trip, load_file
from taxidask.lake import totals
from taxidask.results import Store, open_store
from taxidask.settings import Settings

HOSTILE = "<img src=x onerror=alert(1)>"
HEADER = (
    "vendor_id,pickup_datetime,dropoff_datetime,passenger_count,trip_distance,pickup_longitude,pickup_latitude,"
    "rate_code,store_and_fwd_flag,dropoff_longitude,dropoff_latitude,payment_type,fare_amount,surcharge,mta_tax,"
    "tip_amount,tolls_amount,total_amount"
)


def line(number: int, *, fare: float = 10.0, vendor: str = "CMT") -> str:
    at = f"2013-02-03 10:{number // 60:02d}:{number % 60:02d}"
    return f"{vendor},{at},2013-02-03 11:00:00,1,2,-73.98,40.75,1,N,-73.97,40.76,CSH,{fare},0,0,1.5,0,{fare}"


def write(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join([HEADER, "", *lines]) + "\n")
    return path


@pytest.fixture
def state(store: Store, tmp_path: Path) -> AppState:
    store.create()
    return AppState(store, Settings(lake=str(tmp_path / "lake")))


@pytest.fixture
def page(state: AppState, tmp_path: Path) -> Trips:
    lines = [*(line(i) for i in range(58)), line(58, fare=50, vendor=HOSTILE), line(59, fare=60)]
    td.Lake(state.settings.lake).ingest(write(tmp_path / "a.csv", lines))
    return refreshed(Trips(state))


def refreshed(page: Trips) -> Trips:
    asyncio.run(page.refresh())
    return page


def ask(page: Trips, *, number: int = 0, **filters: str) -> Trips:
    async def choose() -> None:
        for name, value in filters.items():
            page.filters[name].value = value
        page.pager.value = number
        await page.refresh()

    asyncio.run(choose())
    return page


def fill(page: Trips, **changes: str) -> None:
    values = {
        "pickup_datetime": "2013-02-03 18:30", "dropoff_datetime": "2013-02-03 18:45", "trip_distance": "2.5",
        "fare_amount": "77", "tip_amount": "3", "vendor_id": HOSTILE, "payment_type": "1",
    }  # fmt: skip
    page.form.places.value = "Coordinates"
    values |= {"pickup_longitude": "-73.98", "pickup_latitude": "40.75"}
    values |= {"dropoff_longitude": "-73.97", "dropoff_latitude": "40.76"}
    for name, value in (values | changes).items():
        page.form.fields[name].value = value


def test_figures_and_rows_of_the_lake(page):
    for text in ("60", "11.50 USD", "90.00 USD", "all of them in the lake"):
        assert text in page.numbers.object
    assert "Trips 1 to 25 of 60, in order of pickup" in page.table.object
    assert page.table.object.count("<tr>") == ROWS + 1
    assert (page.pager.count, page.pager.visible) == (3, True)
    ask(page, number=2)
    assert "Trips 51 to 60 of 60" in page.table.object
    page.page()


def test_filters_ask_and_what_a_file_says_is_no_markup(page):
    ask(page, fare="40..55", payment="2", start="2013-02-03", end="2013-02-04")
    assert "Trips 1 to 1 of 1" in page.table.object
    assert HOSTILE not in page.table.object
    assert "&lt;img src=x onerror=alert(1)&gt;" in page.table.object
    assert not page.pager.visible
    ask(page, fare="400..")
    assert "No trip matches" in page.table.object
    assert page.csv.disabled


def test_what_is_no_filter_is_said_and_is_no_markup(page):
    ask(page, fare=HOSTILE)
    assert page.notice.visible
    assert "fare is a number" in page.notice.object
    assert HOSTILE not in page.notice.object
    ask(page, fare="")
    assert not page.notice.visible


def test_another_filter_begins_at_the_first_page(page):
    ask(page, number=2)

    async def change() -> None:
        page.filters["fare"].value = "..20"
        await asyncio.sleep(0)
        while page.answer is None or page.answer.count != 58:
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(change(), 30))
    assert page.pager.value == 0


@pytest.mark.parametrize(("kind", "read"), [("csv", pd.read_csv), ("parquet", pd.read_parquet)])
def test_all_that_match_are_downloaded(page, kind, read):
    ask(page, fare="..20")
    table = read(io.BytesIO(asyncio.run(page.save(kind)).getvalue()))
    assert len(table) == 58
    assert set(table["fare_amount"]) == {10.0}


def test_a_download_that_is_too_large_names_the_command(page, monkeypatch):
    monkeypatch.setattr("taxidask.app.pages.trips.MOST_SAVED", 3)
    ask(page, fare="..20")
    assert asyncio.run(page.save("csv")).getvalue() == b""
    assert "58 trips match, and a download has 3 at most" in page.told.object
    assert "taxidask trips query" in page.told.object
    assert "--fare ..20" in page.told.object


def test_a_trip_is_added_and_seen_at_once(page, caplog):
    caplog.set_level(logging.INFO, "taxidask.audit")
    fill(page)
    asyncio.run(page.form.submit())
    assert "was added" in page.form.told.object
    assert "1 added and not in the lake yet" in page.numbers.object
    assert caplog.messages == ["local did 'add a trip of 2013-02-03 18:30'"]
    ask(page, fare="77")
    assert "&lt;img" in page.table.object
    asyncio.run(page.form.submit())
    assert "nothing added" in page.form.told.object
    (item,) = page.app.store.added_trips()
    assert item["who"] == "local"


def test_a_trip_that_was_added_elsewhere_is_in_whatever_is_asked_for_then(page, store, monkeypatch):
    scans = []
    monkeypatch.setattr(totals, "_totals", lambda *asked, scan=totals._totals: scans.append(asked) or scan(*asked))
    ride = {
        "pickup_datetime": "2013-02-03 18:30", "dropoff_datetime": "2013-02-03 18:45", "trip_distance": "2.5",
        "fare_amount": "77", "pickup_location_id": "1", "dropoff_location_id": "2",
    }  # fmt: skip
    add_trip(ride, store=open_store(store.url), who="ann")  # as by another process
    refreshed(page)
    assert "all of them in the lake" in page.numbers.object
    other = refreshed(Trips(page.app))
    assert "1 added and not in the lake yet" in other.numbers.object
    assert scans == [], "the lake is what it was"
    refreshed(page)  # what another has asked for serves who looks on
    assert "<dd>61</dd>" in page.numbers.object
    ask(page, fare="60..")
    assert "<dd>2</dd>" in page.numbers.object
    assert len(scans) == 1
    add_trip(ride | {"fare_amount": "78"}, store=open_store(store.url), who="ann")
    monkeypatch.setattr("taxidask.app.pages.trips.KEEP_SECONDS", 0)
    assert "<dd>3</dd>" in refreshed(page).numbers.object
    td.Lake(page.app.settings.lake).ingest(write(Path(store.path).parent / "b.csv", [line(1, fare=61)]))
    assert "<dd>4</dd>" in refreshed(page).numbers.object
    assert len(scans) == 2


def test_a_trip_that_is_wrong_is_said_field_by_field(page):
    fill(page, fare_amount="900", pickup_latitude=HOSTILE)
    asyncio.run(page.form.submit())
    assert "Fare, USD is not over 0 and at most 500 USD" in page.form.told.object
    assert HOSTILE not in page.form.told.object
    wrong = [name for name, field in page.form.fields.items() if getattr(field, "error_state", False)]
    assert wrong == ["fare_amount", "pickup_latitude"]
    assert page.form.fields["fare_amount"].value == "900", "what was typed stays"
    fill(page)
    asyncio.run(page.form.submit())
    assert not any(getattr(field, "error_state", False) for field in page.form.fields.values())


def upload(page: Trips, data: bytes, name: str, *, pieces: int = 3, order: tuple[int, ...] = (1, 2, 3)) -> list[str]:
    """Send a file as the browser does, piece by piece; what the visitor is shown meanwhile."""
    seen: list[str] = []
    file, size = page.upload.file, -(-len(data) // pieces) or 1

    async def choose() -> None:
        file._handle_msg({"status": "initializing"})
        for at in order if data else ():
            part = data[(at - 1) * size : at * size]
            about = {"name": name, "chunk": at, "total_chunks": pieces, "mime_type": "text/csv"}
            file._handle_msg({"status": "upload_event", "data": part, **about})
            seen.append(page.upload.doing.object)
        file._handle_msg({"status": "finished"})
        while file.arrived is not None:
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(choose(), 60))
    return seen


def test_a_file_is_added_once_and_tells_what_it_rejected(page, tmp_path):
    data = write(tmp_path / "b.csv", [line(1, fare=33), line(2, fare=33), line(3, fare=900)]).read_bytes()
    seen = upload(page, data, f"{HOSTILE}.csv")
    assert [f"value='{share}'" in text for share, text in zip((33, 67, 100), seen, strict=True)] == [True] * 3
    assert "2 trips of 3 rows added to the store" in page.upload.told.object
    assert HOSTILE not in page.upload.told.object
    assert "fare out of range" in page.upload.reasons.object
    assert page.upload.rejects.visible
    rejects = pd.read_csv(page.upload._rejects())
    assert rejects["reason"].tolist() == ["fare_out_of_range"]
    assert not page.upload.doing.visible
    assert "2 added and not in the lake yet" in refreshed(page).numbers.object
    upload(page, data, "again.csv")
    assert "nothing added: the same content was added at" in page.upload.told.object
    assert HOSTILE not in page.upload.told.object
    assert not page.upload.rejects.visible
    upload(page, b"what is this?", f"x{HOSTILE}.csv")
    assert "error" in page.upload.told.object
    assert "x&lt;img" in page.upload.told.object
    assert tempfile.gettempdir() not in page.upload.told.object
    assert not page.upload.file.disabled


def test_a_file_that_comes_while_another_is_being_added_is_refused_in_words(page, store, tmp_path, monkeypatch):
    of = threading.Event()

    def held(*given, **more):
        assert of.wait(30)
        return load_file(*given, **more)

    monkeypatch.setattr("taxidask.app.adding.load_file", held)
    data = [write(tmp_path / f"{at}.csv", [line(at, fare=33)]).read_bytes() for at in (1, 2)]

    async def choose() -> None:
        file = page.upload.file
        for each in data:
            about = {"name": "a.csv", "chunk": 1, "total_chunks": 1, "mime_type": "text/csv"}
            for message in ({"status": "initializing"}, {"status": "upload_event", "data": each, **about}):
                file._handle_msg(message)
            file._handle_msg({"status": "finished"})
            while not file.disabled:
                await asyncio.sleep(0.01)
        while "another one is being added" not in page.upload.told.object:
            await asyncio.sleep(0.01)
        of.set()
        while file.disabled:
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(choose(), 60))
    assert "1 trip of 1 row added to the store" in page.upload.told.object
    assert [str(item["pickup_datetime"]) for item in store.added_trips()] == ["2013-02-03T10:00:01"]


@pytest.mark.parametrize(
    ("data", "order", "why"),
    [
        (b"x" * 31, (1, 2, 3), "it has more than 0 MiB"),
        (b"x" * 30, (1, 3, 2), "its pieces did not arrive in order"),
        (b"", (), "it is empty"),
    ],
)
def test_a_file_that_is_not_taken_is_named_with_the_command(page, store, data, order, why):
    page.upload.file.largest = 30
    upload(page, data, "a.csv", order=order)
    assert f"The file was not taken: {why}" in page.upload.told.object
    assert "taxidask trips load" in page.upload.told.object
    page.upload.file._handle_msg({"status": "error", "error": "the browser's <b> words"})
    assert "the browser&#x27;s &lt;b&gt; words" in page.upload.told.object
    assert not page.upload.doing.visible
    assert not list(store.added_trips())


def test_who_may_only_look_finds_no_form(state: AppState, store: Store) -> None:
    viewer = Trips(AppState(store, state.settings, signed_in=True, operators=frozenset({"ann"})))
    shown: Any = viewer.cards()
    assert viewer.form.card not in shown
    assert viewer.upload.card not in shown
    fill(viewer)
    asyncio.run(viewer.form.submit())
    assert "only operators may do this" in viewer.form.told.object
    upload(viewer, b"anything", "a.csv")
    assert "only operators may do this" in viewer.upload.told.object
    assert not list(store.added_trips())


def test_an_empty_store_and_no_lake_say_how_to_begin(state):
    page = refreshed(Trips(state))
    assert not page.notice.visible
    assert "No trip is there yet" in page.table.object
    assert "taxidask ingest" in page.table.object
