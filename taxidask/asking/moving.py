"""Added trips on their way into a lake: a run makes sources of what a store has, and the store forgets them after.

A file's rows become a source that is the file itself, byte for byte, under ``<lake>/uploads``; the lake counts a
content once, whichever way it came. Trips from the form go together, in batches, as one Parquet file each under
``<lake>/added``.

Each trip once, wherever a driver is killed and however many there are:

- A batch is an item that lists its trips, and is written on condition that there is none of its number. Who writes
  batch n has read all before it *after* reading the trips, and takes none that is in one of them: no trip is in two.
- It never changes afterwards, nor do its trips, so that any driver makes the same source of it; the source is created
  on condition that there is none. Trips are removed after their source has become visible, and so after it was made:
  a driver that wakes late and finds them gone cannot put less in its place.
- A source becomes visible whole or not at all: its manifest is the one moment at which its trips stop being the
  store's and become the lake's. `taxidask.asking.answer` reads in an order that sees each on one side.
- What was killed before that is found by the next run, which does it again; what was killed after it is only removed.
- A file that was loading when a run began is not moved: it is moved by the next one, whole.

A source that the lake refuses, as taxi zones in a grid, stays the store's: it is in every answer, and tried again.
The trips of a store go into the lake of the first run that uses that store.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from taxidask.errors import SpaceError
from taxidask.lake import Lake
from taxidask.lake.names import added_url
from taxidask.lake.totals import visible
from taxidask.results import Store
from taxidask.results.added import THERE, Item, batch_keys, table_of
from taxidask.results.keys import Key
from taxidask.space import Grid, Space
from taxidask.trips.schema import PLACES, TRIP_SCHEMA
from taxidask.trips.sources import Source, Unusable

from .loading import upload_url

BATCH = 3_000  # keys that an item holds


def waits(store: Store, lake: Lake) -> bool:
    """Whether there are added trips that are to go into the lake."""
    if any(load["state"] == THERE for load in store.loads().values()):
        return True
    return bool(_open_batches(store, lake) or _unbatched(store)[0])


def bring(store: Store, lake: Lake, space: Space) -> tuple[list[Source | Unusable], list[str]]:
    """Sources that an ingest into the lake is to read, of all that was added; and what of it `space` cannot place."""
    urls, left = [], []
    for content, load in store.loads().items():
        if load["state"] == THERE:
            url = upload_url(lake.url, content, load["month"], load["suffix"])
            if not lake.storage.exists(url):
                data = store.load_bytes(content)
                if data is None:
                    if (store.get_load(content) or load)["state"] == THERE:  # and not moved by another driver meanwhile
                        left.append(f"{load['name']}: its bytes are not whole in the store: its trips stay there")
                    continue
                lake.storage.create(url, data)
            urls.append(url)
    _begin_batches(store, lake)
    for batch in _open_batches(store, lake):
        if not lake.storage.exists(batch["url"]):
            table = _trips_of(store, batch)
            if table.num_rows < len(batch["trips"]):  # likewise
                continue
            lake.storage.create(batch["url"], _to_parquet(table, batch["locations"]))
        urls.append(batch["url"])
    sources: list[Source | Unusable] = []
    for one in lake.find(urls) if urls else ():
        if isinstance(one, Unusable):
            unplaced = isinstance(one.error, SpaceError)  # by the space that the lake has
        else:
            unplaced = one.era.locations == "zones" and isinstance(space, Grid)
        if unplaced:
            left.append(f"{one.url}: added trips with taxi zones, which {space!r} cannot place: they stay in the store")
        else:
            sources.append(one)
    return sources, left


def settle(store: Store, lake: Lake) -> int:
    """Have the store forget what the lake has; how many files and batches that were."""
    done = 0
    manifests = visible(lake)
    contents, urls = {one.content for one in manifests}, {one.url for one in manifests}
    for content, load in store.loads().items():
        if load["state"] == THERE and content in contents:
            store.end_load(load)
            done += 1
    for batch in _open_batches(store, lake):
        if batch["url"] in urls:
            store.end_batch(batch)
            done += 1
    return done


def _open_batches(store: Store, lake: Lake) -> list[Item]:
    return [batch for batch in store.batches() if not batch.get("moved") and batch["lake"] == lake.url]


def _unbatched(store: Store) -> tuple[list[Item], int]:
    """Trips from the form that are in no batch, and the number that the next batch has."""
    items = [item for item in store.added_trips() if "load" not in item]
    batches = store.batches()  # after the trips
    taken = {key for batch in batches for key in batch_keys(batch)}
    left = [item for item in items if Key(item["pk"], item["sk"]) not in taken]
    return left, 1 + max((int(batch["sk"]) for batch in batches), default=0)


def _begin_batches(store: Store, lake: Lake) -> None:
    """Put all trips from the form that are in no batch into new ones."""
    while True:
        left, number = _unbatched(store)
        if not left:
            return
        zones = "pickup_location_id" in left[0]
        chosen = [item for item in left if ("pickup_location_id" in item) == zones][:BATCH]
        keys = [Key(item["pk"], item["sk"]) for item in chosen]
        digest = xxhash.xxh3_128_hexdigest("\n".join(map(str, keys)).encode())
        url = added_url(lake.url, f"{number:08d}-{digest}.parquet")
        store.begin_batch(number, lake=lake.url, url=url, locations="zones" if zones else "points", trips=keys)


def _trips_of(store: Store, batch: Item) -> pa.Table:
    wanted = set(batch_keys(batch))
    days = sorted({key.pk for key in wanted})
    items = [item for day in days for item in store._query(day) if Key(item["pk"], item["sk"]) in wanted]
    return table_of(items)


def _to_parquet(table: pa.Table, locations: str) -> bytes:
    others = PLACES["points" if locations == "zones" else "zones"]
    sink = pa.BufferOutputStream()
    pq.write_table(table.select([name for name in TRIP_SCHEMA.names if name not in others]), sink)
    return sink.getvalue().to_pybytes()
