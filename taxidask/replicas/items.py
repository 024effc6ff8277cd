"""The items of a table in several regions.

A table is read whole here, by Scan, and nowhere else: Queries find the items of partitions that one knows of, and a
check is for those that nobody expects, as of a run or a space that only one region has heard of. A gigabyte costs 0.03
USD (a read unit for 4 KB), and no pod is allowed to.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from taxidask.errors import StoreError
from taxidask.replicas.differences import ITEM, Difference, Say, There, differing, silent
from taxidask.replicas.places import Place
from taxidask.results.explain import code_of
from taxidask.results.keys import Key
from taxidask.results.wire import GONE, STAMP

ROUNDS = 10  # of copying what changes meanwhile
ASIDE = "regions"  # partitions of marks
_GONE = "gone"


def compare_items(places: Sequence[Place], *, say: Say = silent) -> tuple[int, list[Difference]]:
    """How many items there are, and what regions have otherwise."""
    with ThreadPoolExecutor(len(places)) as pool:
        tables = dict(
            zip([place.name for place in places], pool.map(lambda place: _read(place, say), places), strict=True)
        )
    keys = sorted({key for items in tables.values() for key in items})
    found: list[Difference] = []
    for key in keys:
        there = {region: items.get(key) for region, items in tables.items()}
        if any(one is not None and one.seal != _GONE for one in there.values()):
            found += [replace(one, key=tuple(key)) for one in differing(ITEM, str(key), there)]
    return len(keys), found


def _read(place: Place, say: Say) -> dict[Key, There]:
    found: dict[Key, There] = {}
    now = told = time.time()
    for item in _scan(place):
        key = _key(item)
        if key.pk.startswith(ASIDE) or _number(item, "expires_at", now) < now:
            continue
        # two runs may have written the same
        kept = {name: value for name, value in item.items() if name != STAMP and not name.startswith("aws:rep:")}
        text = json.dumps(kept, sort_keys=True, separators=(",", ":"))
        seal = hashlib.blake2b(text.encode("utf-8", "backslashreplace"), digest_size=16).hexdigest()
        found[key] = There(_GONE if GONE in item else seal, _number(item, STAMP, 0) / 1e9)
        if time.time() - told >= 5:
            told = time.time()
            say(f"items: {len(found):,} read in {place.name}")
    return found


def _scan(place: Place) -> Iterator[dict[str, Any]]:
    request: dict[str, Any] = {"TableName": place.table.table, "ConsistentRead": True}
    while True:
        answer = place.table._call("scan", **request)
        yield from answer.get("Items", ())
        if not answer.get("LastEvaluatedKey"):
            return
        request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]


def _key(item: dict[str, Any]) -> Key:
    return Key(item["pk"]["S"], item["sk"]["S"])


def _number(item: dict[str, Any], name: str, default: Any) -> Any:
    value = item.get(name, {}).get("N")
    return default if value is None else float(value)


def copy_item(source: Place, target: Place, one: Difference) -> Difference:
    """Bring an item to where it is missing or older; one that is as new there is left alone, by a condition.

    What changes in the source meanwhile is copied once more: the copy is the last write there, which the table's own
    copies would bring back.
    """
    key = {name: {"S": value} for name, value in zip(("pk", "sk"), one.key, strict=True)}
    condition = "attribute_not_exists(pk)"
    for _ in range(ROUNDS):
        found = _get(source, key)
        if found is None:
            return one.left(f"gone from {source.name} meanwhile")
        request: dict[str, Any] = {"TableName": target.table.table, "Item": found, "ConditionExpression": condition}
        if STAMP in found:
            request["ConditionExpression"] += " OR attribute_not_exists(#s) OR #s < :s"
            request |= {"ExpressionAttributeNames": {"#s": STAMP}, "ExpressionAttributeValues": {":s": found[STAMP]}}
        try:
            target.table._call("put_item", **request)
        except StoreError as error:
            if code_of(error.__cause__ or error) != "ConditionalCheckFailedException":  # type: ignore[arg-type]
                raise
            return one.left(f"written in {target.name} meanwhile: check again")
        if _get(source, key) == found:
            return one.copied()
    return one.left(f"changes in {source.name} again and again")


def _get(place: Place, key: dict[str, Any]) -> dict[str, Any] | None:
    item = place.table._call("get_item", TableName=place.table.table, Key=key, ConsistentRead=True).get("Item")
    return None if item is None else {name: value for name, value in item.items() if not name.startswith("aws:rep:")}
