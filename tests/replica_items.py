"""A table in two regions with a link before each server, and what AWS does between them: copies, late and shuffled.

Of each key the item with the later stamp stays, as of a global table the last write does.
"""

from __future__ import annotations

import contextlib
import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import boto3
from links import Link

from taxidask.results import open_store
from taxidask.settings import Region
from taxidask.storage import Regions

NAMES = {"east": "us-east-1", "west": "us-west-2"}
SIDES = tuple(NAMES)


@dataclass
class Tables:
    """The replicas of a table, home in the east; `clients` ask each without the link between."""

    name: str
    links: dict[str, Link]
    clients: dict[str, Any]
    lake: str | None = None

    @property
    def url(self) -> str:
        return f"dynamodb://{self.name}?write_units=100000"

    @property
    def east(self) -> Link:
        return self.links["east"]

    @property
    def west(self) -> Link:
        return self.links["west"]

    def regions(self, *, active: str = "east") -> Regions:
        places = [Region(name=NAMES[side], dynamodb_endpoint=self.links[side].url) for side in SIDES]
        return Regions(places, active=NAMES[active])

    def store(self, *, active: str = "east") -> Any:
        return open_store(self.url, regions=self.regions(active=active))

    def items(self, side: str) -> dict[tuple[str, str], dict[str, Any]]:
        """What a side holds, as the server keeps it."""
        pages = self.clients[side].get_paginator("scan").paginate(TableName=self.name)
        return {(item["pk"]["S"], item["sk"]["S"]): item for page in pages for item in page["Items"]}

    def copy(self, *, seed: int = 0, share: float = 1.0) -> None:
        """Copy a share of what differs, in both directions and any order."""
        held = {side: self.items(side) for side in SIDES}
        planned = [(side, key) for side in SIDES for key in held[side]]
        drawn = random.Random(seed)
        drawn.shuffle(planned)
        for side, key in planned[: round(len(planned) * share)]:
            other = SIDES[1 - SIDES.index(side)]
            item, there = held[side][key], held[other].get(key)
            if there is None or stamp_of(there) < stamp_of(item):
                late = {
                    "ConditionExpression": "attribute_not_exists(stamp) OR stamp < :stamp",
                    "ExpressionAttributeValues": {":stamp": item.get("stamp", {"N": "0"})},
                }
                with contextlib.suppress(self.clients[other].exceptions.ConditionalCheckFailedException):
                    self.clients[other].put_item(TableName=self.name, Item=item, **late)

    def settle(self) -> None:
        """Copy everything, until both sides hold the same."""
        self.copy()
        assert self.items("east") == self.items("west")


def stamp_of(item: dict[str, Any]) -> int:
    return int(item.get("stamp", {"N": "0"})["N"])


@contextlib.contextmanager
def tables(aws: Any) -> Iterator[Tables]:
    """A table of its own in each region, removed afterwards."""
    name = f"regional-{uuid.uuid4().hex[:12]}"
    with contextlib.ExitStack() as stack:
        links = {side: stack.enter_context(Link(aws.dynamodb[region])) for side, region in NAMES.items()}
        clients = {
            side: boto3.client("dynamodb", region_name=region, endpoint_url=aws.dynamodb[region])
            for side, region in NAMES.items()
        }
        for side, region in NAMES.items():
            with open_store(f"dynamodb://{name}?region={region}&endpoint={aws.dynamodb[region]}") as store:
                store.create()
            stack.callback(clients[side].delete_table, TableName=name)
        yield Tables(name, links, clients)
