from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

import taxidask as td
from taxidask.replicas import Place, places_of
from taxidask.storage import Storage

REGIONS = ("us-east-1", "us-west-2")


@dataclass
class Two:
    """Settings of two regions, each with a bucket and a table of its own."""

    settings: td.Settings
    places: list[Place]
    s3: dict[str, Any]
    tables: dict[str, Any]

    @property
    def east(self) -> Place:
        return self.places[0]

    @property
    def west(self) -> Place:
        return self.places[1]

    def lake(self, place: Place) -> td.Lake:
        """A region's lake by itself."""
        return td.Lake(place.lake, storage=Storage(endpoint=place.storage.endpoint, region=place.name))

    def objects(self, place: Place) -> dict[str, bytes]:
        """Every object of a region's lake, by its path."""
        client, (bucket, _, folder) = self.s3[place.name], place.lake.removeprefix("s3://").partition("/")
        found = client.list_objects_v2(Bucket=bucket, Prefix=f"{folder}/").get("Contents", ())
        keys = [one["Key"] for one in found]
        return {key[len(folder) + 1 :]: client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}

    def items(self, place: Place) -> dict[tuple[str, str], Any]:
        """Every item of a region's table."""
        pages = self.tables[place.name].get_paginator("scan").paginate(TableName=place.table.table)
        return {(one["pk"]["S"], one["sk"]["S"]): one for page in pages for one in page["Items"]}


@pytest.fixture
def two(aws: Any) -> Iterator[Two]:
    name = f"taxidask-{uuid.uuid4().hex[:10]}"
    s3, tables, regions = {}, {}, []
    for region in REGIONS:
        s3[region] = boto3.client("s3", region_name=region, endpoint_url=aws.s3[region])
        tables[region] = boto3.client("dynamodb", region_name=region, endpoint_url=aws.dynamodb[region])
        s3[region].create_bucket(
            Bucket=f"{name}-{region}", CreateBucketConfiguration={"LocationConstraint": region}
        ) if region != "us-east-1" else s3[region].create_bucket(Bucket=f"{name}-{region}")
        place = {"name": region, "s3_endpoint": aws.s3[region], "dynamodb_endpoint": aws.dynamodb[region]}
        regions.append({**place, "lake": f"s3://{name}-{region}/lake"})
    settings = td.Settings(lake=f"s3://{name}-us-east-1/lake", store=f"dynamodb://{name}", regions=regions)
    places = places_of(settings)
    for place in places:
        place.table.create()
    yield Two(settings, places, s3, tables)
    for region in REGIONS:
        tables[region].delete_table(TableName=name)
        tables[region].close()
        s3[region].close()
    for place in places:
        place.table.close()


@pytest.fixture
def months(tmp_path: Path) -> list[str]:
    """Two small months of trips."""
    return td.make_sample(tmp_path, start="2015-03", months=2, trips_per_month=400)
