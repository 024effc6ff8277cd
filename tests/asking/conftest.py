from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pandas as pd
import pytest

import taxidask as td
from taxidask.results import Store

HEADER = (
    "vendor_id,pickup_datetime,dropoff_datetime,passenger_count,trip_distance,pickup_longitude,pickup_latitude,"
    "rate_code,store_and_fwd_flag,dropoff_longitude,dropoff_latitude,payment_type,fare_amount,surcharge,mta_tax,"
    "tip_amount,tolls_amount,total_amount"
)


@pytest.fixture
def dynamodb(aws: Any) -> Iterator[Store]:
    name = f"asking-{uuid.uuid4().hex}"
    with td.open_store(f"dynamodb://{name}?write_units=100000") as store:
        store.create()
        try:
            yield store
        finally:
            client = boto3.client("dynamodb", region_name="us-east-1", endpoint_url=aws.dynamodb["us-east-1"])
            with contextlib.suppress(client.exceptions.ResourceNotFoundException):
                client.delete_table(TableName=name)
            client.close()


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Store]:
    with td.open_store(f"sqlite:///{tmp_path}/results.db") as store:
        store.create()
        yield store


@pytest.fixture(params=["sqlite", "dynamodb"])
def store(request: pytest.FixtureRequest) -> Store:
    return request.getfixturevalue(request.param)


@pytest.fixture
def lake(tmp_path: Path) -> td.Lake:
    return td.Lake(tmp_path / "lake")


def _line(
    pickup: str = "2013-02-03 10:00:00",
    *,
    minutes: int = 10,
    passengers: Any = 1,
    distance: Any = 2.0,
    fare: Any = 10.0,
    tip: Any = 1.0,
    vendor: str = "CMT",
    payment: str = "CRD",
    longitude: Any = -73.98,
) -> str:
    dropoff = str(pd.Timestamp(pickup) + pd.Timedelta(minutes=minutes))
    return (
        f"{vendor},{pickup},{dropoff},{passengers},{distance},{longitude},40.75,1,N,-73.97,40.76,"
        f"{payment},{fare},0,0.5,{tip},0,{fare}"
    )


@pytest.fixture
def line() -> Any:
    return _line


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(name: str, lines: list[str]) -> str:
        path = tmp_path / name
        path.write_text("\n".join([HEADER, "", *lines]) + "\n")
        return str(path)

    return write


@pytest.fixture
def form() -> dict[str, Any]:
    """A trip as people type it."""
    return {
        "pickup_datetime": "2013-02-03 18:30",
        "dropoff_datetime": "2013-02-03 18:45:30",
        "passenger_count": "2",
        "trip_distance": "2.5",
        "fare_amount": "12",
        "tip_amount": "2",
        "vendor_id": "CMT",
        "payment_type": "cash",
        "pickup_longitude": "-73.98",
        "pickup_latitude": "40.75",
        "dropoff_longitude": "-73.97",
        "dropoff_latitude": "40.76",
    }
