"""Results in several regions: the replicas of one DynamoDB table, read from the first region that answers.

What a region does not have is looked for in the others before it is called missing. Until all of them were seen to hold
the same of an item or a partition, all that answer are asked, and of each key the item with the latest stamp counts.
Writes go to the active region alone, and a condition is judged there, after the newest item that is known of was
brought there. What is removed leaves a mark, as else a copy that another region still has would come back.
"""

from __future__ import annotations

import contextlib
import heapq
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeVar

from taxidask.errors import StoreError
from taxidask.results import keys, wire
from taxidask.results.batch import UnwrittenError
from taxidask.results.dynamodb import DynamoDBStore
from taxidask.results.explain import is_dark
from taxidask.results.keys import Key
from taxidask.results.store import Item, Progress, Store
from taxidask.storage import Regions
from taxidask.storage.regions import UnansweredError

if TYPE_CHECKING:
    from taxidask.settings import Region

T = TypeVar("T")
PATIENCE = 3.5  # seconds that a region is tried before the next one is asked
PAUSE = 0.25
_GONE_DAYS = 30  # for which what was removed is remembered: no copy is that late
_ROUNDS = 5
_SERVICE: Any = "dynamodb"


class RegionalStore(Store):
    """Results in the replicas of a DynamoDB table.

    Parameters
    ----------
    stores : dict of str to DynamoDBStore
        The replica of each region, by its name.
    regions : Regions
    moves : bool
        Whether a write goes over to another region when the active one is dark; else it is a RegionDarkError.
    """

    cost_class = DynamoDBStore.cost_class
    _readers = DynamoDBStore._readers

    def __init__(self, stores: Mapping[str, DynamoDBStore], regions: Regions, *, url: str, moves: bool = True) -> None:
        super().__init__(url, ttl_days=stores[regions.home.name].ttl_days)
        self.regions = self._regions = regions
        self.moves = moves
        self._stores = dict(stores)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(RegionalStore, url=self.url), (self._stores, self._regions)

    @property
    def table(self) -> str:
        """The name of the table, which is the same in every region."""
        return self._stores[self._regions.home.name].table

    @property
    def usage(self) -> dict[str, float]:
        spent = [store.usage for store in self._stores.values()]
        return {name: sum(one[name] for one in spent) for name in spent[0]}

    def staying(self) -> RegionalStore:
        return RegionalStore(self._stores, self._regions, url=self.url, moves=False)

    def close(self) -> None:
        for store in self._stores.values():
            store.close()

    # -- the tables ----------------------------------------------------------------------------------------------------

    def create(self) -> bool:
        """Make the table in every region; copying between them is AWS's, as k8s/aws sets it up."""
        made = [self._each(region, DynamoDBStore.create, "create the table") for region in self._regions.regions]
        return any(made)

    def _each(self, region: Region, do: Callable[[DynamoDBStore], T], doing: str) -> T:
        try:
            return self._ask(region, do)
        except UnansweredError as error:
            raise StoreError(
                f"cannot {doing} in {region.name}, which does not answer: {error}", "try again when it does"
            ) from error

    def check(self) -> None:
        """Raise StoreError when the table of the first region that answers cannot be used."""
        self._first("check the store", DynamoDBStore.check)

    def look_over(self) -> None:
        """The same of every region that answers."""
        self.check()
        for region in self._regions.order(_SERVICE):
            with contextlib.suppress(UnansweredError):
                self._ask(region, DynamoDBStore.check)

    # -- asking --------------------------------------------------------------------------------------------------------

    def _ask(self, region: Region, do: Callable[[DynamoDBStore], T]) -> T:
        try:
            answer = do(self._stores[region.name])
        except StoreError as error:
            cause = error.__cause__
            if isinstance(error, UnwrittenError) or (isinstance(cause, Exception) and is_dark(cause)):
                self._regions.failed(region, _SERVICE, error.message)
                raise UnansweredError(error.message) from error
            self._regions.answered(region, _SERVICE)
            raise
        self._regions.answered(region, _SERVICE)
        return answer

    def _orders(self, doing: str) -> Iterator[list[Region]]:
        """Whom to ask, and again where nobody answered; where all are dark, it takes a while until that is told."""
        until = time.monotonic() + PATIENCE
        while True:
            if order := self._regions.order(_SERVICE):
                yield order
            known = [one for one in self._regions.status() if one.service == _SERVICE]
            if time.monotonic() > until and all(one.state != "closed" for one in known):
                raise StoreError(
                    f"cannot {doing}: no region answers: " + "; ".join(f"{one.region}: {one.error}" for one in known),
                    "check the network, then: taxidask regions",
                )
            time.sleep(0 if order else PAUSE)

    def _first(self, doing: str, do: Callable[[DynamoDBStore], T]) -> T:
        for order in self._orders(doing):
            for region in order:
                try:
                    return self._ask(region, do)
                except UnansweredError:
                    continue
        raise AssertionError("unreachable")

    # -- reading -------------------------------------------------------------------------------------------------------

    def _get(self, key: Key) -> Item | None:
        place = f"{self.table} {key}"
        if self._regions.settled(_SERVICE, place):
            item = self._first(f"read {key}", lambda store: store.stamped(key))
            if item is not None:
                return wire.bare(item)
        newest, _ = self._look(key)
        return None if newest is None else wire.bare(newest)

    def _look(self, key: Key) -> tuple[Item | None, dict[str, Item | None]]:
        """The newest of an item, and what each region that answers has of it."""
        found: dict[str, Item | None] = {}
        epoch = self._regions.epoch(_SERVICE)
        for order in self._orders(f"read {key}"):
            for region in order:
                with contextlib.suppress(UnansweredError):
                    found[region.name] = self._ask(region, lambda store: store.stamped(key))
            if found:
                break
        stamps = {item and wire.stamp_of(item) for item in found.values()}
        if len(found) == len(self._regions.regions) and len(stamps) == 1:
            self._regions.caught_up(_SERVICE, epoch, f"{self.table} {key}")
        there = [item for item in found.values() if item is not None]
        return max(there, key=wire.stamp_of, default=None), found

    def _query(self, pk: str, **which: Any) -> Iterator[Item]:
        place = f"{self.table} {pk} {sorted(which.items())}"
        past: str | None = None  # what was given already, where the query had to begin anew
        everywhere = False
        for order in self._orders(f"read {pk}"):
            epoch = self._regions.epoch(_SERVICE)
            settled = not everywhere and self._regions.settled(_SERVICE, place)
            given, alike = 0, not settled and len(order) == len(self._regions.regions)
            try:
                for sk, copies in self._merged(pk, order[:1] if settled else order, which):
                    given += 1
                    alike = alike and len(copies) == len(order) and len({*map(wire.stamp_of, copies)}) == 1
                    if alike and given == which.get("limit"):  # few ask on
                        self._regions.caught_up(_SERVICE, epoch, place)
                    if past is None or (sk < past if which.get("newest_first") else sk > past):
                        past = sk
                        if (item := wire.bare(max(copies, key=wire.stamp_of))) is not None:
                            yield item
            except UnansweredError:
                continue
            if settled and not given:
                everywhere = True  # it may be in another region
                continue
            if alike:
                self._regions.caught_up(_SERVICE, epoch, place)
            return

    def _merged(self, pk: str, order: list[Region], which: dict[str, Any]) -> Iterator[tuple[str, list[Item]]]:
        """What regions have of a partition, by sort key."""
        parts = [self._part(region, pk, which) for region in order]
        sorted_key: Callable[[Item], str] = lambda item: item["sk"]  # noqa: E731
        merged = heapq.merge(*parts, key=sorted_key, reverse=which.get("newest_first", False))
        return ((sk, list(copies)) for sk, copies in groupby(merged, sorted_key))

    def _part(self, region: Region, pk: str, which: dict[str, Any]) -> Iterator[Item]:
        found = self._stores[region.name].stamped_query(pk, **which)
        done: Any = object()
        while (item := self._ask(region, lambda _: next(found, done))) is not done:
            yield item

    def newest(self) -> tuple[str, float | None]:
        def look(store: DynamoDBStore) -> tuple[str, float | None]:
            found = [
                store.stamped(Key(keys.LATEST, keys.LATEST)),
                next(store.stamped_query(keys.RUNS, limit=1, newest_first=True), None),
            ]
            stamps = [wire.stamp_of(item) for item in found if item is not None]
            return str(store.region), max(stamps, default=0) / 1e9 or None

        return self._first("see how old the store is", look)

    # -- writing -------------------------------------------------------------------------------------------------------

    def _write(self, doing: str, do: Callable[[DynamoDBStore], T]) -> T:
        """Do something in the active region; if it is dark go over to the next, where the store may.

        Raises
        ------
        RegionDarkError
            If the active region is dark, and the store stays with it or there is no other.
        """
        return self._regions.in_active(_SERVICE, doing, lambda region: self._ask(region, do), moves=self.moves)

    def _put(self, items: Iterable[Item], total: int, progress: Progress | None = None) -> int:
        # a region that is gone over to gets all of them: what the other took may never be copied
        kept = list(items) if self.moves else items
        return self._write(f"write to {self.url}", lambda store: store._put(iter(kept), total, progress))

    def _delete(self, doomed: Iterable[Key]) -> int:
        until = int(time.time()) + _GONE_DAYS * 86_400
        marks = [{**key._asdict(), wire.GONE: True, "expires_at": until} for key in doomed]
        return self._put(marks, len(marks)) if marks else 0

    def _insert(self, item: Item) -> bool:
        key = Key(item["pk"], item["sk"])
        return self._write(f"write {key}", lambda store: self._bring(store, key) and store._insert(item))

    def _update(self, key: Key, changes: dict[tuple[str, ...], Any], expect: dict[tuple[str, ...], Any]) -> bool:
        return self._write(
            f"write {key}", lambda store: self._bring(store, key) and store._update(key, changes, expect)
        )

    def _bring(self, store: DynamoDBStore, key: Key) -> bool:
        """See that a region has the newest of an item that is known of, before a condition is judged there."""
        for _ in range(_ROUNDS):  # others may be writing
            if self._regions.settled(_SERVICE, f"{self.table} {key}"):
                break
            own, (newest, _) = store.stamped(key), self._look(key)
            if newest is None or (own is not None and wire.stamp_of(own) >= wire.stamp_of(newest)):
                break
            if store.bring(newest, over=own):
                break
        return True

    # -- runs ----------------------------------------------------------------------------------------------------------

    def ask_to_stop(self, run: str, item: Mapping[str, Any]) -> bool:
        # an item of its own: were it the run's, the driver's next word in another region would undo it
        return self._publish(iter([{**keys.stop_key(run)._asdict(), "owner": item["owner"]}]), 1, run=run) == 1

    def get_run(self, run: str) -> dict[str, Any] | None:
        item = super().get_run(run)
        if item is not None and item.get("state") in ("starting", "running") and not item.get("cancel"):
            asked = self._read(keys.stop_key(run))
            item["cancel"] = asked is not None and asked["owner"] == item.get("owner")
        return item
