"""Trips that people add: from a form one by one, from files of up to some ten thousand rows, until a lake has them.

Rows of a file count once all of them are there: its load says ``loading`` until then, and ``there`` from then on. It
also names the attempt whose rows count, as each of them does: what a load that was killed, or is overtaken, has written
or still writes is not among them, whatever rules or month it was told. A trip from the form is one item, whose key is
made of its values: adding the same trip twice adds nothing.

A store never counts as added what is being moved or was moved into a lake: `taxidask.asking.moving` says how.

Of a file's rows neighbours are written to different days where they can be, so that a second's writes are spread over
the partitions; of one day's a second takes no more than a partition's share (see `taxidask.results.batch`).
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from taxidask.errors import StoreError
from taxidask.results import keys
from taxidask.results.keys import ADDED_DAYS, BATCHES, LOADS, Key
from taxidask.results.values import plain
from taxidask.trips.schema import TRIP_SCHEMA

Item = dict[str, Any]
Conditions = Sequence[tuple[str, str, Any]]
"""(attribute, op, value) that must hold, op one of ``>= <= in``; values of the attribute's own kind."""

Progress = Callable[[int, int], None]

LOADING, THERE, MOVED = "loading", "there", "lake"
MOST_BYTES = 32 << 20
"""Bytes of a file that a store keeps until a lake has them."""
_FILE_PART = 300 * 1024  # letters of an item


class AddedTrips:
    """What a store can do with added trips."""

    _readers: int

    if TYPE_CHECKING:

        def _get(self, key: Key) -> Item | None: ...
        def _query(
            self,
            pk: str,
            *,
            first: str | None = None,
            last: str | None = None,
            prefix: str | None = None,
            newest_first: bool = False,
            limit: int | None = None,
            where: Conditions = (),
        ) -> Iterator[Item]: ...
        def _put(
            self, items: Iterable[Item], total: int, progress: Callable[[int, int], None] | None = None
        ) -> int: ...
        def _delete(self, doomed: Iterable[Key]) -> int: ...
        def _insert(self, item: Item) -> bool: ...
        def _update(
            self, key: Key, changes: dict[tuple[str, ...], Any], expect: dict[tuple[str, ...], Any]
        ) -> bool: ...

    # -- one trip ------------------------------------------------------------------------------------------------------

    def add_trip(self, trip: Mapping[str, Any], *, who: str) -> bool:
        """Add a trip; False where the very same has been added before, also if it is in a lake by now.

        Parameters
        ----------
        trip : dict
            Its columns, as `TRIP_SCHEMA` names them, judged before; those without a value are left out.
        who : str
            Kept with it, and the time.
        """
        body = _body(trip)
        digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:32]
        key = keys.trip_key(trip["pickup_datetime"], digest)
        if key in self.batched():
            return False
        self._mark([trip["pickup_datetime"].date().isoformat()])
        return self._insert({**key._asdict(), **body, "who": plain(who), "at": _now()})

    # -- a file of them ------------------------------------------------------------------------------------------------

    def get_load(self, content: str) -> Item | None:
        """What is known of a file of that content; its ``state`` is loading, there, or lake once it has been moved."""
        return self._get(keys.load_key(content))

    def loads(self) -> dict[str, Item]:
        """Every file that was added, by content."""
        return {item["sk"]: item for item in self._query(LOADS)}

    def load_trips(
        self,
        content: str,
        trips: pa.Table,
        data: bytes,
        about: Mapping[str, Any],
        *,
        progress: Progress | None = None,
    ) -> bool:
        """Add a file's trips and keep its bytes; False where another has done so meanwhile.

        Parameters
        ----------
        content : str
            What the lake knows the file's content by.
        trips : Table
            The kept rows.
        data : bytes
            The file itself: a lake will read it.
        about : dict
            Kept with it: ``name``, ``month``, ``who``, ``rows``, ``rejected`` and the like.
        """
        days = sorted({moment.date().isoformat() for moment in trips["pickup_datetime"].to_pylist()})
        attempt = secrets.token_hex(8)
        body = {
            **plain(about),
            "kept": trips.num_rows,
            "days": days,
            "state": LOADING,
            "at": _now(),
            "attempt": attempt,
        }
        if not self._begin(keys.load_key(content), body):
            return False
        parts = list(_parts(content, data))
        self._put(iter(parts), len(parts))
        self._mark(days)
        self._put(_spread(content, attempt, trips), trips.num_rows, progress)
        mine: dict[tuple[str, ...], Any] = {("state",): LOADING, ("attempt",): attempt}
        return self._update(keys.load_key(content), {("state",): THERE}, mine)

    def _begin(self, key: Key, body: Item) -> bool:
        """Take a file for this attempt; False where it is there already. What a former attempt wrote is removed."""
        while not self._insert({**key._asdict(), **body}):
            former = self._get(key) or {}
            if former.get("state") == THERE:
                return False
            # days of former attempts, too: whoever forgets the file's rows looks through all
            days = sorted({*body["days"], *former.get("days", ())})
            changes: dict[tuple[str, ...], Any] = {(name,): value for name, value in {**body, "days": days}.items()}
            expected: dict[tuple[str, ...], Any] = {(name,): former.get(name) for name in ("state", "attempt")}
            if self._update(key, changes, expected):
                self._forget_rows(key.sk, former.get("days", ()), but=body["attempt"])
                break
        return True

    def _forget_rows(self, content: str, days: Iterable[str], *, but: str | None = None) -> None:
        for day in days:
            found = self._query(keys.trips_pk(day), where=[("load", "in", [content])])
            self._delete([Key(item["pk"], item["sk"]) for item in found if but is None or item.get("attempt") != but])

    def load_bytes(self, content: str) -> bytes | None:
        """The bytes of a file that was added and not moved yet; None where they are not whole."""
        parts = list(self._query(keys.file_pk(content)))
        if not parts or len(parts) != parts[0]["parts"]:
            return None
        unpacker = zlib.decompressobj()
        try:  # as many at most as were ever written: an item is not to fill the memory
            data = unpacker.decompress(base64.b85decode("".join(part["text"] for part in parts)), MOST_BYTES + 1)
        except (ValueError, zlib.error):
            return None
        return data if unpacker.eof and len(data) <= MOST_BYTES else None

    def end_load(self, load: Item) -> None:
        """Forget the rows and bytes of a file that a lake has; what it was stays known."""
        content = load["sk"]
        self._forget_rows(content, load["days"])
        self._delete([Key(item["pk"], item["sk"]) for item in self._query(keys.file_pk(content))])
        self._update(keys.load_key(content), {("state",): MOVED}, {("state",): THERE})

    # -- asking --------------------------------------------------------------------------------------------------------

    def added_days(self, first: str | None = None, last: str | None = None) -> list[str]:
        """Days that had added trips."""
        return [item["sk"] for item in self._query(ADDED_DAYS, first=first, last=last)]

    def added_trips(
        self, start: datetime | None = None, end: datetime | None = None, where: Conditions = ()
    ) -> Iterator[Item]:
        """Items of added trips with a pickup in ``[start, end)``, in order of pickup: one query a day.

        Also those of files that are not wholly there, of attempts that came to nothing, or in a lake already: what
        counts is for who asks to say.
        """
        first, last = (None if moment is None else moment.date().isoformat() for moment in (start, end))
        if start is not None and end is not None and end <= start:
            return

        def look(day: str) -> list[Item]:
            # a sort key is longer than its time, so that those of `end` itself come after it
            low = f"{start:%H:%M:%S.%f}" if start is not None and day == first else None
            high = f"{end:%H:%M:%S.%f}" if end is not None and day == last else None
            return list(self._query(keys.trips_pk(day), first=low, last=high, where=where))

        with ThreadPoolExecutor(self._readers) as pool:
            for items in pool.map(look, self.added_days(first, last)):
                yield from items

    # -- moving what came from the form --------------------------------------------------------------------------------

    def batches(self) -> list[Item]:
        """The batches in which trips from the form went into lakes, by number."""
        return list(self._query(BATCHES))

    def batched(self) -> set[Key]:
        """Keys of all trips from the form that are in a batch."""
        return {key for batch in self.batches() for key in batch_keys(batch)}

    def begin_batch(self, number: int, *, lake: str, url: str, locations: str, trips: Sequence[Key]) -> bool:
        """Say which trips are to be in a lake's source; False where there is a batch of that number."""
        listed = [[key.pk, key.sk] for key in trips]
        return self._insert(
            {"pk": BATCHES, "sk": f"{number:08d}", "lake": lake, "url": url, "locations": locations, "trips": listed}
        )

    def end_batch(self, batch: Item) -> None:
        """Forget the trips of a batch that a lake has; their keys stay known."""
        self._delete(batch_keys(batch))
        self._update(Key(batch["pk"], batch["sk"]), {("moved",): True}, {})

    def _mark(self, days: Sequence[str]) -> None:
        """Note days before they get trips: a note is never taken back, as others may be adding just now."""
        self._put(({"pk": ADDED_DAYS, "sk": day} for day in days), len(days))


def batch_keys(batch: Item) -> list[Key]:
    """Keys of the trips of a batch."""
    return [Key(pk, sk) for pk, sk in batch["trips"]]


def table_of(items: Iterable[Item]) -> pa.Table:
    """Items of added trips as a table of trips."""
    rows = []
    for item in items:
        row = {name: item.get(name) for name in TRIP_SCHEMA.names}
        for name in ("pickup_datetime", "dropoff_datetime"):
            row[name] = datetime.fromisoformat(item[name])
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=TRIP_SCHEMA)


def _body(trip: Mapping[str, Any]) -> Item:
    strange = sorted(set(trip) - set(TRIP_SCHEMA.names))
    if strange:
        raise StoreError(f"trips have no column {strange[0]!r:.100}", f"they have {', '.join(TRIP_SCHEMA.names)}")
    return {name: plain(value, name) for name, value in trip.items() if value is not None}


def _spread(content: str, attempt: str, trips: pa.Table) -> Iterator[Item]:
    """A file's rows as items: the first of every day, then the second of every day, and so on."""
    seen: Counter[str] = Counter()
    ranks = []
    for position, moment in enumerate(trips["pickup_datetime"].to_pylist()):
        day = moment.date().isoformat()
        ranks.append((seen[day], position))
        seen[day] += 1
    order = [position for _, position in sorted(ranks)]
    for at in range(0, len(order), 1000):
        some = order[at : at + 1000]
        for position, row in zip(some, trips.take(pa.array(some)).to_pylist(), strict=True):
            key = keys.trip_key(row["pickup_datetime"], f"{content[:16]}-{attempt}-{position:06d}")
            yield {**key._asdict(), **_body(row), "load": content, "attempt": attempt}


def _parts(content: str, data: bytes) -> Iterator[Item]:
    """A file's bytes as text in items, compressed."""
    text = base64.b85encode(zlib.compress(data, 6)).decode()
    cuts = range(0, len(text), _FILE_PART)
    for number, at in enumerate(cuts):
        piece = text[at : at + _FILE_PART]
        yield {"pk": keys.file_pk(content), "sk": f"{number:04d}", "parts": len(cuts), "text": piece}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
