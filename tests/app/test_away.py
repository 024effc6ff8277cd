"""A store that goes away and comes back, on every page: it stays as it was, says so, and goes on by itself."""

from __future__ import annotations

import asyncio
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import boto3
import panel as pn
import pytest
from app.conftest import fill
from links import Link

import taxidask as td
from taxidask.app.shell import PAGES, AppPage
from taxidask.app.state import AppState
from taxidask.results import Store, sqlite
from taxidask.settings import Settings


def opened(path: str, store: Store, lake: Path) -> AppPage:
    page: AppPage = getattr(import_module(f"taxidask.app.pages.{path[1:]}"), PAGES[path])(
        AppState(store, Settings(lake=str(lake), store=store.url))
    )
    look(page)
    return page


def look(page: AppPage) -> None:
    """Look at the store, as the page does every few seconds: by then nothing that was read is new enough."""
    page.app._kept.clear()
    asyncio.run(page.refresh())


@contextmanager
def moved(store: Any) -> Iterator[None]:
    away = store.path.with_suffix(".away")
    store.path.rename(away)
    try:
        yield
    finally:
        away.rename(store.path)


@contextmanager
def locked(store: Any) -> Iterator[None]:
    store.close()
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    td.Lake(tmp_path / "lake").ingest(td.make_sample(tmp_path / "csv", start="2015-03", trips_per_month=300))
    return tmp_path / "lake"


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("away", [moved, locked])
def test_a_file_that_goes_away_and_comes_back(
    path: str, away: Any, filled: Store, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "_BUSY_SECONDS", 0.05)
    page = opened(path, filled, lake)
    before = seen(page)
    with away(filled):
        for _ in range(2):
            look(page)
            stays(page, before)
    look(page)
    assert seen(page) == before


def test_a_link_to_dynamodb_that_is_cut_and_mended(aws: Any, lake: Path) -> None:
    table = f"taxidask-{uuid.uuid4().hex[:12]}"
    with Link(aws.dynamodb["us-east-1"]) as link:
        store = td.open_store(f"dynamodb://{table}?endpoint={link.url}&write_units=100000")
        fill(store)
        pages = [opened(path, store, lake) for path in PAGES]
        before = [seen(page) for page in pages]
        link.off()
        for page, was in zip(pages, before, strict=True):
            look(page)
            stays(page, was)
        link.on()
        for page, was in zip(pages, before, strict=True):
            look(page)
            assert seen(page) == was
        boto3.client("dynamodb", region_name="us-east-1").delete_table(TableName=table)


def seen(page: AppPage) -> list[str]:
    """What stands on the page, from the notice downwards."""
    cards = pn.Column(*page.cards())
    texts = [one.object for one in (page.notice, *cards.select(pn.pane.HTML)) if one.visible]
    return [*texts, *(str(card.visible) for card in cards)]


def stays(page: AppPage, before: list[str]) -> None:
    """The page says that the store cannot be read, and all else stands as it did."""
    notice, *rest = seen(page)
    assert "role='alert'" in notice
    assert f"{page.title} cannot be read: " in notice
    assert rest == [text for text in before if "class='notice" not in text]
