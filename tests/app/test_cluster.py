"""The Cluster page: whom it asks, and what it shows of them."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

import pytest
from app.conftest import run_item

from taxidask.app.pages import cluster as pages
from taxidask.app.pages.cluster import Cluster, Place, numbers_html, place_html
from taxidask.app.state import AppState
from taxidask.compute.dashboard import Scheduler
from taxidask.errors import ComputeError
from taxidask.results import Store
from taxidask.settings import Settings

EVIL = "<img src=x onerror=alert(1)>"
WORKER = {"name": "0", "host": "10.0.0.1", "threads": 2, "memory": 500_000_000, "memory_limit": 2_000_000_000,
          "cpu": 97.0, "executing": 2, "spilled": 0}  # fmt: skip
THERE = Scheduler("tcp://10.0.0.1:8786", "http://10.0.0.1:8787/status", [WORKER, WORKER], {"processing": 7}, 4)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The dashboards that were asked."""
    addresses: list[str] = []
    monkeypatch.setattr(pages, "ask", lambda address, **_: addresses.append(address) or THERE)
    return addresses


def looked(store: Store, **settings: Any) -> Cluster:
    page = Cluster(AppState(store, Settings(store=store.url, **settings)))
    asyncio.run(page.refresh())
    return page


def test_a_scheduler_of_the_settings_is_asked(filled: Store, asked: list[str]) -> None:
    page = looked(filled, compute="tcp://10.0.0.1:8786")
    assert asked == ["http://10.0.0.1:8787"]
    for text in ("<dd>2</dd>", "<dd>4</dd>", "<dd>7</dd>", "1.0 GB", "of 4.0 GB", "the load would keep 4 busy"):
        assert text in page.numbers.object
    assert "href='http://10.0.0.1:8787/status'" in page.told.object
    assert "500.0 MB of 2.0 GB" in page.told.object


def test_of_local_runs_only_those_that_live_here_are_asked(filled: Store, asked: list[str]) -> None:
    here, now = f"{socket.gethostname()}:1:ab", time.time()
    for number, (owner, dashboard, heartbeat) in enumerate(
        [
            (here, "http://127.0.0.1:4001/status", now),
            (here, "http://127.0.0.1:4002/status", 0.0),  # dead
            ("elsewhere:1:ab", "http://127.0.0.1:4003/status", now),
            (here, "http://169.254.169.254/latest", now),  # whatever a store may hold
            (here, None, now),
        ]
    ):
        filled.create_run(
            run_item(f"r{number}", state="running", heartbeat=heartbeat, owner=owner, dashboard=dashboard)
        )
    page = looked(filled)
    assert asked == ["http://127.0.0.1:4001/status"]
    assert "Run r0" in page.told.object


def test_nothing_at_work_is_told(filled: Store, asked: list[str]) -> None:
    page = looked(filled)
    assert "a run starts its own workers" in page.told.object
    assert not page.numbers.object
    assert not page.which.visible


def test_one_that_does_not_answer_is_told_beside_the_others(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def silent(address: str, **_: Any) -> Scheduler:
        asked.append(address)
        monkeypatch.setattr(pages, "LOOK_SECONDS", 0)
        raise ComputeError("it is silent", "start it")

    monkeypatch.setattr(pages, "ask", silent)
    page = looked(filled, compute="tcp://10.0.0.1:8786")
    asyncio.run(page.refresh())
    assert len(asked) == 1  # not again and again
    assert "it is silent" in page.told.object
    assert not page.notice.visible


def test_nothing_that_a_scheduler_says_is_taken_for_html() -> None:
    told = Scheduler(EVIL, f"http://x/{EVIL}'", [{**WORKER, "name": EVIL, "host": EVIL}])
    pods = {
        "state": EVIL, "workers": 1, "workers_wanted": 1, "memory": 1, "memory_used": None, "cost": 0.0,
        "cost_hour": 0.0, "dashboard": EVIL, "namespace": EVIL, "name": EVIL, "problems": [EVIL],
        "pods": [{"name": EVIL, "state": EVIL, "cpus": 1.0, "memory": 1, "restarts": 0, "node": EVIL}],
    }  # fmt: skip
    for place in (
        Place(EVIL, told),
        Place(EVIL, pods=pods),
        Place(EVIL, told, pods),
        Place(EVIL, error=ComputeError(EVIL, EVIL)),
    ):
        assert "<img" not in place_html(place)


def test_a_cluster_of_pods_is_counted_once_by_its_scheduler_where_that_answers() -> None:
    pods = {"workers": 3, "workers_wanted": 4, "memory": 8_000_000_000, "memory_used": None}
    text = numbers_html([Place("a", THERE, pods)])
    for part in ("<dd>2</dd>", "4 asked for, the load would keep 4 busy", "<dd>7</dd>", "1.0 GB", "of 4.0 GB"):
        assert part in text
    text = numbers_html([Place("a", THERE, pods), Place("b", pods=pods)])
    for part in ("<dd>5</dd>", "8 asked for", "of 12.0 GB"):
        assert part in text
