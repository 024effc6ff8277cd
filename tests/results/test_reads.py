"""Every read is a GetItem or a Query, and pages are followed to the end."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from taxidask.results.dynamodb import DynamoDBStore
from taxidask.space import Grid
from taxidask.trips.schema import TRIP_SCHEMA


def _newest_map(store):
    day = store.map_days(SPACE, "30min")["actual"][-1]
    return store.get_map(SPACE, day, "actual", slot="30min")


SPACE = "grid-2x2_-74.05_40.63_-73.75_40.85"
READS = {
    "get_forecast": lambda s: s.get_forecast(SPACE, 1, "2016-02-01", "2016-02-04"),
    "get_total_forecast": lambda s: s.get_total_forecast(SPACE),
    "get_demand": lambda s: s.get_demand(SPACE, 2, "2016-01-01", "2016-02-01"),
    "get_card": lambda s: s.get_card("demand"),
    "get_metrics": lambda s: s.get_metrics("20160201T000000Z-aaaaaa", "demand"),
    "get_ingest": lambda s: s.get_ingest("/lake"),
    "get_latest": lambda s: s.get_latest(),
    "get_run": lambda s: s.get_run("20160201T000000Z-aaaaaa"),
    "list_runs": lambda s: s.list_runs(20),
    "get_map": lambda s: np.nan_to_num(_newest_map(s).numbers["trips"]).ravel().tolist(),
    "get_geometry": lambda s: s.get_geometry(SPACE).bounds,
    "get_load": lambda s: s.get_load("c" * 32),
    "added_days": lambda s: s.added_days("2016-01-31", "2016-02-02"),
    "get_watch": lambda s: s.get_watch("a"),
    "list_watches": lambda s: s.list_watches(),
    "added_trips": lambda s: list(s.added_trips(where=[("fare_amount", ">=", 5)])),
}


@pytest.fixture
def filled(dynamodb, make_forecast, make_cube, run_item):
    dynamodb.put_forecast(make_forecast(slots=48 * 5), model="demand", run="r")
    dynamodb.put_total_forecast(make_forecast(slots=48 * 5), model="demand", run="r")
    dynamodb.put_demand(make_cube())
    dynamodb.put_watch("a", {"owner": "here", "state": "looking"})
    dynamodb.put_demand_map(make_cube())
    dynamodb.put_geometry(Grid(2, 2, west=-74.05, south=40.63, east=-73.75, north=40.85))
    dynamodb.put_card("demand", {"n": 1})
    dynamodb.put_metrics("20160201T000000Z-aaaaaa", "demand", pd.DataFrame(np.ones((8000, 4)) / 3))
    dynamodb.put_ingest("/lake", [{"url": f"u{i:02d}"} for i in range(30)])
    dynamodb.put_latest({"run": "r"})
    for i in range(30):
        dynamodb.create_run({**run_item, "id": f"20160201T0000{i:02d}Z-aaaaaa"})
    trip = {"pickup_datetime": datetime(2016, 2, 1), "dropoff_datetime": datetime(2016, 2, 1), "fare_amount": 10.0}
    trips = pa.Table.from_pylist([trip], TRIP_SCHEMA)
    dynamodb.load_trips("c" * 32, trips, b"bytes", {"name": "a.csv", "who": "ann", "rows": 1, "rejected": {}})
    return dynamodb


@pytest.fixture
def calls(filled):
    """Names of the operations sent, as botocore itself reports them."""
    names: list[str] = []
    filled._client.meta.events.register(
        "before-call.dynamodb", lambda model, **_: names.append(model.name), unique_id="recorder"
    )
    return names


def test_the_recorder_sees_a_scan(filled, calls):
    filled._client.scan(TableName=filled.table, Limit=1)
    assert calls == ["Scan"]


def test_no_read_ever_scans(filled, calls):
    methods = {name for name in dir(DynamoDBStore) if name.startswith(("get_", "list_", "added_"))}
    assert methods == set(READS), "a new read method: name it here"
    for name, read in READS.items():
        calls.clear()
        assert len(read(filled)) > 0
        assert set(calls) <= {"GetItem", "Query"}, name
    calls.clear()
    filled.check()
    assert "Scan" not in calls


def test_no_write_ever_scans(filled, calls, make_forecast, make_cube, run_item):
    filled.put_forecast(make_forecast(), model="demand", run="r")
    filled.put_demand(make_cube())
    filled.put_ingest("/lake", [{"url": "u01"}], replace=True)
    filled.update_run("20160201T000000Z-aaaaaa", {"heartbeat": 1.5}, expect={"owner": "host:1:aa"})
    filled.end_load(filled.get_load("c" * 32))
    filled.create()
    assert set(calls) <= {"BatchWriteItem", "Query", "UpdateItem", "GetItem", "DescribeTable", "DescribeTimeToLive"}


def test_a_heartbeat_is_one_small_call(filled):
    bodies = []
    filled._client.meta.events.register("before-call.dynamodb", lambda params, **_: bodies.append(params["body"]))
    filled.update_run("20160201T000000Z-aaaaaa", {"heartbeat": 1.5}, expect={"owner": "host:1:aa"})
    assert len(bodies) == 1
    assert len(bodies[0]) < 600


def test_pages_are_followed_to_the_end(filled, monkeypatch):
    whole = {name: read(filled) for name, read in READS.items()}
    raw = filled._raw
    queries = []

    def small_pages(operation, **request):
        if operation == "query":
            queries.append(request)
            request["Limit"] = 2
        return raw(operation, **request)

    monkeypatch.setattr(filled, "_raw", small_pages)
    for name, read in READS.items():
        result = read(filled)
        if isinstance(result, pd.DataFrame):
            pd.testing.assert_frame_equal(result, whole[name])
        else:
            assert result == whole[name]
    assert len(queries) > 30


def test_one_page_of_runs_reads_no_more_runs_than_asked(filled):
    before = filled.usage["read_units"]
    assert len(filled.list_runs(3)) == 3
    assert filled.usage["read_units"] - before <= 1.0  # 3 items of 400 bytes, read consistently
