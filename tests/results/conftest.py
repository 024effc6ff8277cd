from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import numpy as np
import pandas as pd
import pytest

from taxidask.results import Store, open_store


@pytest.fixture(scope="session")
def east(aws_servers: Any) -> Iterator[Any]:
    """A client of the home region apart from the package's: making one takes a while."""
    client = boto3.client(
        "dynamodb",
        region_name="us-east-1",
        endpoint_url=aws_servers.dynamodb["us-east-1"],
        aws_access_key_id=aws_servers.environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=aws_servers.environment["AWS_SECRET_ACCESS_KEY"],
    )
    yield client
    client.close()


@pytest.fixture
def table(aws: Any, east: Any) -> Iterator[str]:
    """The name of a table of its own, removed afterwards."""
    name = f"results-{uuid.uuid4().hex}"
    yield name
    with contextlib.suppress(east.exceptions.ResourceNotFoundException):
        east.delete_table(TableName=name)


@pytest.fixture
def dynamodb(table: str) -> Iterator[Store]:
    """A created DynamoDB store; tests that do not count time publish as fast as they can."""
    with open_store(f"dynamodb://{table}?write_units=100000") as store:
        store.create()
        yield store


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Store]:
    with open_store(f"sqlite:///{tmp_path}/results.db") as store:
        store.create()
        yield store


@pytest.fixture(params=["sqlite", "dynamodb"])
def store(request: pytest.FixtureRequest) -> Store:
    return request.getfixturevalue(request.param)


def _forecast(
    start: str = "2016-02-01",
    slots: int = 48,
    cells: int = 4,
    *,
    slot: str = "30min",
    seed: int = 0,
    scale: float = 20.0,
) -> SimpleNamespace:
    """What a store needs of a Forecast, with values of all sizes."""
    random = np.random.default_rng(seed)
    times = pd.date_range(start, periods=slots, freq=slot)
    mean = random.gamma(0.7, scale, (slots, cells, 2))
    total = pd.DataFrame(
        {
            "time": np.repeat(times, 2),
            "direction": ["pickup", "dropoff"] * slots,
            "mean": mean.sum(axis=1).ravel(),
            "low": mean.sum(axis=1).ravel() * 0.9,
            "high": mean.sum(axis=1).ravel() * 1.1,
        }
    )
    return SimpleNamespace(
        times=times,
        mean=mean,
        low=mean * 0.7,
        high=mean * 1.4,
        slot=pd.Timedelta(slot),
        space=SimpleNamespace(key="grid-2x2_-74.05_40.63_-73.75_40.85"),
        total=lambda: total,
    )


def _cube(start: str = "2016-01-01", slots: int = 480, cells: int = 4, *, missing: Any = None) -> SimpleNamespace:
    """What a store needs of a Cube."""
    counts = np.random.default_rng(1).poisson(5, (slots, cells, 2)).astype(np.int32)
    return SimpleNamespace(
        times=pd.date_range(start, periods=slots, freq="30min"),
        counts=counts,
        slot=pd.Timedelta("30min"),
        space=SimpleNamespace(key="grid-2x2_-74.05_40.63_-73.75_40.85"),
        missing=missing,
    )


@pytest.fixture
def make_forecast() -> Any:
    return _forecast


@pytest.fixture
def make_cube() -> Any:
    return _cube


@pytest.fixture
def run_item() -> dict[str, Any]:
    return {
        "id": "20261123T081500Z-ab12cd",
        "created": "2026-11-23T08:15:00Z",
        "state": "running",
        "settings": {"sources": ["a.csv"], "workers": 2, "note": ""},
        "owner": "host:1:aa",
        "heartbeat": 1795421700.123456,
        "cancel": False,
        "stages": {},
        "cost": {},
        "error": None,
    }


@pytest.fixture
def contents(request: pytest.FixtureRequest) -> Any:
    """Everything in a store, for comparing; without the stamps of when it was written."""

    def read(store: Any) -> dict[tuple[str, str], Any]:
        if hasattr(store, "path"):
            rows = store._connect().execute("SELECT pk, sk, expires_at, item FROM items").fetchall()
            return {(row[0], row[1]): row[2:] for row in rows}
        pages = request.getfixturevalue("east").get_paginator("scan").paginate(TableName=store.table)
        items = [{n: v for n, v in i.items() if n != "stamp"} for page in pages for i in page["Items"]]
        return {(i["pk"]["S"], i["sk"]["S"]): i for i in items}

    return read
