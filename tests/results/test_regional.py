"""A store over the replicas of a table, before real servers in two regions whose links are cut."""

from __future__ import annotations

import pickle
import random
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from links import Fault
from replica_items import Tables, tables

from taxidask.errors import RegionDarkError, StoreError
from taxidask.results import open_store
from taxidask.results.keys import Key
from taxidask.storage import regions as module

GO_ON = 5.0  # seconds within which a request goes on after a region's end: what is promised, and asserted below
SPACE = "grid-2x2_-74.05_40.63_-73.75_40.85"


@pytest.fixture
def pair(aws: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tables]:
    monkeypatch.setattr(module, "_process", module.Breakers())
    with tables(aws) as made:
        yield made


def over() -> None:
    """Time goes by: dark regions are tried by the next request, and what was seen alike may not be any more."""
    module._process.level.clear()
    for breaker in module._process.of.values():
        breaker.until = 0.0


def test_reads_and_writes_go_on_in_the_other_region(pair, make_forecast, caplog):
    store = pair.store()
    store.put_forecast(make_forecast(), model="demand", run="r1")
    pair.settle()
    before = store.get_forecast(SPACE, 0)
    pair.east.off()
    assert store.get_forecast(SPACE, 0).equals(before)
    assert "region us-east-1: dynamodb is dark" in caplog.text
    store.put_latest({"run": "r1"})
    assert store.get_latest() == {"run": "r1"}
    assert store.regions.active.name == "us-west-2"
    assert "gone over from us-east-1 to us-west-2" in caplog.text
    assert ("latest", "latest") not in pair.items("east")
    assert ("latest", "latest") in pair.items("west")
    store.close()


@pytest.mark.parametrize("how", ["refuse", "drop", "hang", "error", "throttle", "reset", "lost"])
def test_a_request_goes_on_within_5_s_however_a_region_ends(pair, how):
    store = pair.store()
    store.put_latest({"n": 1})
    pair.settle()
    store.get_latest()  # over a connection that stays open
    if how in ("refuse", "drop"):
        pair.east.off(how)
    else:
        pair.east.play(Fault(how))
    for ask in (store.get_latest, lambda: store.put_card("fare", {})):
        began = time.monotonic()
        ask()
        assert time.monotonic() - began < GO_ON
    assert store.get_latest() == {"n": 1}


def test_what_a_throttled_table_leaves_is_waited_for(pair):
    store = pair.store()
    pair.east.play(Fault("throttle", times=4, only="BatchWriteItem"))
    store.put_latest({"n": 1})
    assert pair.items("east")
    assert not pair.items("west")
    assert store.regions.active.name == "us-east-1"


def test_an_item_that_has_not_been_copied_yet_is_not_missing(pair, run_item):
    east, west = pair.store(), pair.store(active="west")
    assert east.get_run(run_item["id"]) is None
    assert east.get_metrics("r1", "fare").empty
    west.create_run(run_item)
    assert east.get_run(run_item["id"]) == run_item
    assert [run["id"] for run in east.list_runs()] == [run_item["id"]]
    pair.settle()
    assert east.get_run(run_item["id"]) == run_item


def test_what_is_old_is_not_preferred_to_what_is_known_to_be_newer(pair):
    east = pair.store()
    east.put_latest({"n": 1})
    east.put_ingest("lake", [{"url": "a", "rows": 1}, {"url": "b", "rows": 1}])
    pair.settle()
    assert east.get_latest() == {"n": 1}
    pair.east.off()
    east.put_latest({"n": 2})
    east.put_ingest("lake", [{"url": "a", "rows": 2}])
    pair.east.on()
    over()
    for store in (east, pair.store(), pair.store(active="west")):  # also who never saw a region dark
        assert store.get_latest() == {"n": 2}
        assert store.get_ingest("lake")["rows"].tolist() == [2, 1]
    pair.settle()
    for _ in range(2):
        assert east.get_latest() == {"n": 2}
        assert east.get_ingest("lake")["rows"].tolist() == [2, 1]


def test_where_all_were_seen_to_hold_the_same_one_is_asked(pair, run_item):
    store = pair.store()
    store.put_latest({"n": 1})
    store.create_run(run_item)
    pair.settle()
    empty = store.get_ingest
    for read, more in ((store.get_latest, 0), (partial(store.list_runs, limit=1), 0), (partial(empty, "lake"), 1)):
        read()
        before = pair.west.asked["POST"]
        read()
        assert pair.west.asked["POST"] - before == more  # what is not there is looked for


def test_what_was_removed_does_not_come_back_from_a_copy(pair):
    store = pair.store()
    store.put_ingest("lake", [{"url": "a", "rows": 1}, {"url": "b", "rows": 1}])
    pair.settle()
    store.put_ingest("lake", [{"url": "a", "rows": 1}], replace=True)
    for active in ("east", "west"):
        assert pair.store(active=active).get_ingest("lake")["url"].tolist() == ["a"]
    pair.settle()
    pair.east.off()
    assert store.get_ingest("lake")["url"].tolist() == ["a"]
    store.put_ingest("lake", [{"url": "a", "rows": 1}, {"url": "b", "rows": 3}])
    assert store.get_ingest("lake")["rows"].tolist() == [1, 3]


def test_a_filter_does_not_hide_that_something_was_removed(pair):
    store, day = pair.store(), "trips#2016-01-01"
    store._put([{"pk": day, "sk": "08:00", "load": "a"}, {"pk": day, "sk": "09:00", "load": "a"}], 2)
    pair.settle()
    store._delete([Key(day, "08:00")])
    assert [item["sk"] for item in store._query(day, where=[("load", "in", ["a"])])] == ["09:00"]


def test_a_region_that_goes_dark_in_the_middle_of_a_query(pair):
    store = pair.store()
    text = "x" * 100_000
    items = [{"pk": "big", "sk": f"{n:04d}", "text": text} for n in range(40)]  # four pages
    store._put(items, 40)
    pair.settle()
    list(store._query("big"))
    for backwards in (False, True):
        found = store._query("big", newest_first=backwards)
        first = [next(found)["sk"] for _ in range(3)]
        pair.east.off()
        assert [*first, *(item["sk"] for item in found)] == sorted([item["sk"] for item in items], reverse=backwards)
        pair.east.on()
        over()
        list(store._query("big"))


def test_a_condition_is_judged_on_the_newest_that_is_known_of(pair, run_item):
    store, run = pair.store(), run_item["id"]
    store.create_run(run_item)
    pair.settle()
    pair.east.off()
    assert store.update_run(run, {"state": "done"}, expect={"state": "running"})
    pair.east.on()
    over()
    home = pair.store()
    assert not home.update_run(run, {"state": "failed"}, expect={"state": "running"})
    assert not home.create_run(run_item)
    assert home.update_run(run, {"error": "none"}, expect={"state": "done"})
    assert home.get_run(run)["state"] == "done"
    pair.settle()
    assert pair.store(active="west").get_run(run) == {**run_item, "state": "done", "error": "none"}


def test_an_older_item_without_stamp_gives_way(pair):
    item = {"pk": {"S": "card#fare"}, "sk": {"S": "latest"}, "card": {"M": {"a": {"N": "1"}}}}
    for client in pair.clients.values():
        client.put_item(TableName=pair.name, Item=item)
    assert pair.store().get_card("fare") == {"a": 1}
    pair.store(active="west").put_card("fare", {"a": 2})
    over()
    assert pair.store().get_card("fare") == {"a": 2}
    pair.settle()
    assert pair.items("east")["card#fare", "latest"]["card"]["M"] == {"a": {"N": "2"}}


def test_a_store_that_stays_says_which_region_is_dark(pair):
    store = pair.store().staying()
    pair.east.off()
    with pytest.raises(RegionDarkError, match="us-east-1, the active region, is dark") as caught:
        store.put_latest({"n": 1})
    assert (caught.value.region, caught.value.service) == ("us-east-1", "dynamodb")
    assert store.regions.active.name == "us-east-1"
    copy = pickle.loads(pickle.dumps(pair.store(active="west")))
    copy.put_latest({"n": 2})
    assert store.get_latest() == copy.get_latest() == {"n": 2}
    assert copy.regions.active.name == "us-west-2"


def test_where_no_region_answers(pair):
    store = pair.store()
    pair.east.off()
    pair.west.off()
    with pytest.raises(StoreError, match=r"no region answers: us-east-1: .*us-west-2: "):
        store.get_latest()
    with pytest.raises(RegionDarkError, match="no region is left to go over to from us-east-1"):
        store.put_latest({"n": 1})
    pair.east.on()
    over()
    store.put_latest({"n": 2})
    assert store.get_latest() == {"n": 2}


def test_a_driver_is_asked_to_stop_from_another_region(pair, run_item):
    run = run_item["id"]
    east, west = pair.store(), pair.store(active="west")
    east.create_run(run_item)
    pair.settle()
    pair.east.off()  # for who asks, not for the driver
    assert west.ask_to_stop(run, run_item)
    pair.east.on()
    over()
    east.update_run(run, {"heartbeat": 1795421710.5})  # the driver's next word, later than the request
    pair.settle()
    assert east.get_run(run)["cancel"] is True
    east.update_run(run, {"owner": "host:2:bb"})  # who goes on with it was not asked
    assert east.get_run(run)["cancel"] is False


def test_copies_in_any_order_agree_in_the_end(pair):
    drawn, stores = random.Random(5), [pair.store(), pair.store(active="west")]
    last: dict[str, int] = {}
    for n in range(120):
        url = f"{drawn.randrange(12)}"
        if drawn.random() < 0.25:
            drawn.choice(stores)._delete([Key("some", url)])
            last.pop(url, None)
        else:
            drawn.choice(stores)._put([{"pk": "some", "sk": url, "n": n}], 1)
            last[url] = n
        if drawn.random() < 0.2:
            pair.copy(seed=n, share=0.5)
        if n % 10 == 0:
            assert {item["sk"]: item["n"] for item in drawn.choice(stores)._query("some")} == last
    pair.settle()
    for store in stores:
        assert {item["sk"]: item["n"] for item in store._query("some")} == last


def test_which_stores_have_regions(pair, monkeypatch, tmp_path):
    east = pair.east.url
    assert type(open_store(f"sqlite:///{tmp_path}/a.db", regions=pair.regions())).__name__ == "SQLiteStore"
    alone = [f"{pair.url}&region=us-west-2", f"{pair.url}&endpoint=http://127.0.0.1:9"]
    assert {type(open_store(url, regions=pair.regions())).__name__ for url in alone} == {"DynamoDBStore"}
    both = f"{pair.url}&region=us-east-1&endpoint={east}"
    assert type(open_store(both, regions=pair.regions())).__name__ == "RegionalStore"
    monkeypatch.setenv("TAXIDASK_REGIONS", '[{"name": "us-east-1"}, {"name": "us-west-2"}]')
    assert repr(open_store("dynamodb://taxidask")) == "RegionalStore('dynamodb://taxidask')"
