"""The ledger of a run in two regions: heartbeats that go over, and drivers on either side of a cut."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from drivers import until
from links import Link
from replica_items import NAMES, Tables, tables

from taxidask.errors import RegionDarkError, RunError
from taxidask.results import open_store
from taxidask.runs import moving
from taxidask.runs.ledger import Ledger, open_run
from taxidask.runs.look import describe, find, request_cancel
from taxidask.runs.moving import MovingLedger, ledger_of
from taxidask.settings import Region, Settings
from taxidask.storage import Regions
from taxidask.storage import regions as module

SETTINGS = Settings(sources=["trips.csv"], heartbeat_timeout=8.0)


@pytest.fixture
def made(aws: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tables]:
    monkeypatch.setattr(module, "_process", module.Breakers())
    with tables(aws) as found:
        yield found


def quiet(_: str) -> None: ...


def held(store: Any, item: dict[str, Any], settings: Settings = SETTINGS) -> MovingLedger:
    ledger = ledger_of(store.staying(), item, settings.heartbeat_timeout, dict, store.regions)
    assert isinstance(ledger, MovingLedger)
    return ledger


@pytest.fixture
def sides(made: Tables, aws: Any) -> Iterator[dict[str, Any]]:
    """Of each side of a cut a store that reaches its own region only."""
    stores = {}
    dead = {side: Link(aws.dynamodb[region]) for side, region in NAMES.items()}
    for side in NAMES:
        dead[side].off()
    for own in NAMES:
        ends = {side: made.links[side] if side == own else dead[side] for side in NAMES}
        places = [Region(name=NAMES[side], dynamodb_endpoint=ends[side].url) for side in NAMES]
        stores[own] = open_store(made.url, regions=Regions(places, active=NAMES[own]))
    yield stores
    for one in dead.values():
        one.__exit__()


def test_a_heartbeat_takes_the_run_along_though_nothing_was_copied(made: Tables):
    store = made.store()
    item, _ = open_run(store, SETTINGS, None, quiet)
    with held(store, item) as ledger:
        assert made.items("east")["runs", item["id"]]["region"] == {"S": "us-east-1"}
        ledger.start_stage("ingest", "x")
        made.east.off()
        until(lambda: ("runs", item["id"]) in made.items("west"), "the run in the west", 30)
        until(ledger.should_stop, "the stage to be told", 10)
        with pytest.raises(RegionDarkError, match="us-east-1"):
            ledger.check()
        with pytest.raises(RegionDarkError, match="us-east-1"):
            ledger.end_stage("ingest", state="done")  # some of what it wrote is in the east only
        assert "goes on in us-west-2" in ledger.moved_on(RegionDarkError("again", region="us-east-1"))
        assert not ledger.should_stop()
        ledger.end_stage("ingest", state="done")
        ledger.close("done")
    told = describe(find(store, item["id"]))
    assert "region   us-west-2" in told
    assert "us-east-1: dynamodb went dark" in told
    assert "went over from us-east-1 to us-west-2" in told
    made.east.on()
    made.settle()
    assert made.items("east")["runs", item["id"]]["state"] == {"S": "done"}


def test_a_region_that_was_dark_and_not_needed_is_named_too(made: Tables):
    store = made.store()
    item, _ = open_run(store, SETTINGS, None, quiet)
    with held(store, item) as ledger:
        made.west.off()
        store.get_metrics("none", "fare")
        ledger.note(some="thing")
        assert store.regions.active.name == "us-east-1"
        ledger.close("done")
    (fault,) = store.get_run(item["id"])["faults"]
    assert "us-west-2: dynamodb went dark, went on without it" in fault


def test_where_no_other_region_is_left_the_last_one_is_waited_for(made: Tables, monkeypatch: pytest.MonkeyPatch):
    store, patient = made.store(), SETTINGS.model_copy(update={"heartbeat_timeout": 60.0})
    item, _ = open_run(store, patient, None, quiet)
    with held(store, item, patient) as ledger:
        made.east.off()
        ledger.start_stage("ingest", "x")
        ledger.moved_on(RegionDarkError("again", region="us-east-1"))
        made.west.off()
        with pytest.raises(RegionDarkError) as busy:
            store.staying().put_card("demand", {"mae": 1.5})
        threading.Timer(2.0, made.west.on).start()
        assert "goes on in us-west-2" in ledger.moved_on(busy.value)
        ledger.end_stage("ingest", state="done")
        made.west.off()
        monkeypatch.setattr(moving, "PATIENCE", 1.0)
        with pytest.raises(RegionDarkError, match="no region is left to go over to from us-west-2"):
            ledger.moved_on(busy.value)
        made.west.on()
        until(lambda: store.put_card("demand", {"mae": 1.5}) or True, "the west", 20)
        ledger.close("done")
    faults = store.get_run(item["id"])["faults"]
    assert any("waited until us-west-2, the last that was left, answered again" in fault for fault in faults)


def test_both_sides_of_a_cut_finish_and_the_last_state_is_a_finished_one(made: Tables, sides: dict[str, Any]):
    item, _ = open_run(sides["east"], SETTINGS, None, quiet)
    with held(sides["east"], item) as east:
        made.settle()  # and from now on nothing goes through
        taken, mine = open_run(sides["west"], SETTINGS, item["id"], quiet)
        assert mine
        with held(sides["west"], taken) as west:
            for ledger in (east, west):
                ledger.start_stage("ingest", "x")
                ledger.end_stage("ingest", state="done", outputs={"fingerprint": "f"})
            west.close("done")
        assert not east.should_stop()
        east.close("done")
    made.settle()
    for side in NAMES:
        found = sides[side].get_run(item["id"])
        assert (found["state"], found["owner"], found["region"]) == ("done", item["owner"], "us-east-1")
        assert found["stages"]["ingest"]["outputs"] == {"fingerprint": "f"}
    # whoever resumes it finds nothing to do
    assert open_run(made.store(), SETTINGS, item["id"], quiet)[1] is False


def test_where_copies_go_through_again_one_of_two_drivers_goes_on(made: Tables, sides: dict[str, Any]):
    item, _ = open_run(sides["east"], SETTINGS, None, quiet)
    east = held(sides["east"], item)
    made.settle()
    taken, _ = open_run(sides["west"], SETTINGS, item["id"], quiet)
    west = held(sides["west"], taken)
    west.start_stage("ingest", "x")
    east._beat_at = time.time(), time.monotonic()
    east.start_stage("ingest", "x")
    made.settle()  # the east's word was the last
    with pytest.raises(RunError, match="taken over"):
        west.start_stage("demand", "x")
    east.close("done")
    made.settle()
    assert made.store(active="west").get_run(item["id"])["state"] == "done"


def test_a_driver_that_comes_over_to_another_s_region_lets_go(made: Tables, sides: dict[str, Any]):
    store = made.store()
    item, _ = open_run(store, SETTINGS, None, quiet)
    ledger = held(store, item)
    made.settle()
    open_run(sides["west"], SETTINGS, item["id"], quiet)  # it took the first one for dead
    ledger._beat_at = time.time(), time.monotonic()
    made.east.off()
    with pytest.raises(RunError, match="taken over"):
        ledger.start_stage("ingest", "x")


def test_a_driver_that_comes_over_finds_an_old_copy_of_its_run(made: Tables, sides: dict[str, Any]):
    item, _ = open_run(made.store(), SETTINGS, None, quiet)
    made.settle()
    time.sleep(SETTINGS.heartbeat_timeout)
    store = made.store()
    taken, _ = open_run(store, SETTINGS, item["id"], quiet)  # in the east; the west still has the first driver's
    ledger = held(store, taken)
    made.east.off()
    ledger.start_stage("ingest", "x")
    assert sides["west"].get_run(item["id"])["owner"] == taken["owner"]
    ledger.close("done")


def test_cancelling_reaches_the_driver_from_the_other_side(made: Tables, sides: dict[str, Any]):
    patient = SETTINGS.model_copy(update={"heartbeat_timeout": 60.0})
    item, _ = open_run(sides["east"], patient, None, quiet)
    made.settle()
    with held(sides["east"], item, patient) as ledger:
        assert "will stop" in request_cancel(sides["west"], item["id"])
        made.copy()
        until(ledger.should_stop, "the driver to stop", 20)
        with pytest.raises(RunError, match="cancelled"):
            ledger.check()
        ledger.close("cancelled")
    made.settle()
    assert made.store().get_run(item["id"])["state"] == "cancelled"


def test_without_regions_nothing_of_this_is_there(made: Tables):
    store = open_store(f"{made.url}&endpoint={made.east.url}")
    item, _ = open_run(store, SETTINGS, None, quiet)
    ledger = ledger_of(store, item, 8.0, dict, None)
    assert type(ledger) is Ledger
    assert "region" not in store.get_run(item["id"])
