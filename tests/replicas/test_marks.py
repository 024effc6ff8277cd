"""What each region is asked by itself: whether it answers, and how far it is behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from links import Link

import taxidask as td
from taxidask.replicas import look, measure_lag, places_of
from taxidask.replicas.marks import PARTITION


@pytest.fixture
def copier(two: Any) -> Iterator[threading.Thread]:
    """Copies marks from east to west, as AWS does, and nothing the other way."""
    over = threading.Event()

    def copy() -> None:
        while not over.wait(0.05):
            for path, data in two.objects(two.east).items():
                two.west.storage.write(f"{two.west.lake}/{path}", data)
            for (pk, _), item in two.items(two.east).items():
                if pk == PARTITION:
                    two.tables["us-west-2"].put_item(TableName=two.west.table.table, Item=item)

    thread = threading.Thread(target=copy)
    thread.start()
    yield thread
    over.set()
    thread.join()


def test_lag_in_every_direction(two: Any, copier: threading.Thread) -> None:
    said: list[str] = []
    ticks = iter(range(0, 10_000, 6))  # each look at the clock is 6 s later
    lags = measure_lag(two.places, wait=300, say=said.append, clock=lambda: float(next(ticks)))
    found = {(lag.written, lag.read, lag.service): lag for lag in lags}
    assert len(found) == len(lags) == 4
    for service in ("s3", "dynamodb"):
        there = found["us-east-1", "us-west-2", service]
        assert there.seconds is not None, there
        back = found["us-west-2", "us-east-1", service]
        assert (back.seconds, back.error) == (None, "not copied within 300 s")
    assert any("marks seen, waiting for" in line for line in said)


def test_a_region_that_is_out_is_named_with_its_remedy(two: Any, aws: Any) -> None:
    with Link(aws.s3["us-west-2"]) as link:
        there = two.settings.regions[1].model_copy(update={"s3_endpoint": link.url})
        settings = two.settings.model_copy(update={"regions": [two.settings.regions[0], there]})
        places = [replace(place, storage=place.storage) for place in places_of(settings)]
        assert [state.reachable for state in look(places, settings)] == [True] * 4
        link.off()
        for place in places:
            place.storage.attempts = 1
        states = {(state.region, state.service): state for state in look(places, settings)}
        lags = {(lag.written, lag.read, lag.service): lag for lag in measure_lag(places, wait=0.2)}
    dark = states.pop(("us-west-2", "s3"))
    assert not dark.reachable
    assert "cannot be reached" in dark.error
    assert dark.remedy
    assert all(state.reachable for state in states.values())
    assert [state.active for state in states.values()] == [True, True, False]
    assert "could not be written" in lags["us-west-2", "us-east-1", "s3"].error
    assert "could not be read" in lags["us-east-1", "us-west-2", "s3"].error
    assert "not copied within" in lags["us-east-1", "us-west-2", "dynamodb"].error


def test_a_lake_of_this_machine_has_no_copies_but_its_table_has(two: Any) -> None:
    settings = two.settings.model_copy(update={"lake": "/data/lake"})
    assert {state.service for state in look(places_of(settings), settings)} == {"dynamodb"}
    settings = two.settings.model_copy(update={"store": "sqlite:///taxidask.db"})
    assert {state.service for state in look(places_of(settings), settings)} == {"s3"}


def test_places_are_counterparts_as_well() -> None:
    regions = [{"name": "a"}, {"name": "b", "places": {"s3://east": "s3://x/y"}}]
    settings = td.Settings(lake="s3://east/lake", regions=regions, active_region="b")
    places = places_of(settings)
    assert [(place.lake, place.active) for place in places] == [("s3://east/lake", False), ("s3://x/y/lake", True)]
