"""Each region by itself: its lake and its table, and whether they answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import cast

from taxidask.errors import SettingsError, StoreError, TaxidaskError
from taxidask.results import open_store
from taxidask.results.dynamodb import DynamoDBStore
from taxidask.settings import Region, Settings
from taxidask.storage import Storage, absolute, join, regions_of, scheme
from taxidask.words import escaped

PATIENCE = 15.0  # seconds that a region has for an answer, tries included
_HOW = (
    'name two or more, home first: TAXIDASK_REGIONS=\'[{"name": "us-east-1"}, '
    '{"name": "us-west-2", "places": {"s3://my-lake": "s3://my-lake-west"}}]\''
)


@dataclass(frozen=True)
class Place:
    """A region's own lake and table.

    Attributes
    ----------
    name : str
    active : bool
        Whether it is the one that is written to.
    lake : str
        URL of its lake; empty where that is no object store's, which has no copies.
    storage : Storage
    store : DynamoDBStore or None
        None where results are in a file.
    """

    name: str
    active: bool
    lake: str
    storage: Storage
    store: DynamoDBStore | None

    @property
    def table(self) -> DynamoDBStore:
        """Its store, where there is one."""
        if self.store is None:
            raise StoreError(f"{self.name} has no table", "name one: --store dynamodb://taxidask")
        return self.store


@dataclass(frozen=True)
class State:
    """Whether a service of a region answers; `error` and `remedy` if it does not.

    `breaker` is what this process thinks of it: closed, open (it is stepped over) or half-open.
    """

    region: str
    service: str
    place: str
    active: bool
    reachable: bool
    error: str = ""
    remedy: str = ""
    breaker: str = "closed"

    def __str__(self) -> str:
        name = f"{self.region}{' (active)' if self.active else ''}"
        text = f"{'ok ' if self.reachable else 'BAD'}  {name:<20} {self.service:<9} {escaped(self.place)}"
        if not self.reachable:
            text += f": {self.error}" + (f"\n{'':5}remedy: {self.remedy}" if self.remedy else "")
        if self.breaker != "closed":
            text += f"\n{'':5}{self.breaker}: stepped over by this process"
        return text


def places_of(settings: Settings) -> list[Place]:
    """The regions of the settings, each by itself, home first.

    Raises
    ------
    SettingsError
        Without two regions, or with neither a lake nor a table that could have copies.
    """
    known = regions_of(settings)
    if known is None or len(known.regions) < 2:
        named = f"only the region {settings.regions[0].name} is set" if settings.regions else "no regions are set"
        raise SettingsError(f"{named}: there is nothing to compare", _HOW)
    lake = absolute(settings.lake)
    if scheme(lake) != "s3" and not settings.store.startswith("dynamodb://"):
        raise SettingsError(
            f"the lake {lake} and the store {settings.store} are of this machine and have no copies",
            "name a lake in S3 or a table: --lake s3://…, --store dynamodb://…",
        )
    return [
        Place(
            region.name,
            region.name == known.active.name,
            lake_in(settings, region) if scheme(lake) == "s3" else "",
            Storage(endpoint=region.s3_endpoint, region=region.name, attempts=3, deadline=PATIENCE),
            _store_in(region, settings.store),
        )
        for region in known.regions
    ]


def lake_in(settings: Settings, region: Region) -> str:
    """Where a region has the lake of the settings; the lake itself where it has no counterpart."""
    known = regions_of(settings)
    there = known and known.counterpart(absolute(settings.lake), known.named(region.name))
    return absolute(there or region.lake or settings.lake)


def _store_in(region: Region, url: str) -> DynamoDBStore | None:
    if not url.startswith("dynamodb://"):
        return None
    store = open_store(url, region=region.name, endpoint=region.dynamodb_endpoint)
    # where the process's own settings name regions, too, it is a store of all of them
    own = cast(DynamoDBStore, getattr(store, "_stores", {region.name: store})[region.name])
    own.patience = None  # which gives each of them up after seconds, as another can be asked: here none can
    return own


def look(places: Sequence[Place], settings: Settings) -> list[State]:
    """Ask every service of every region, all at once and whatever this process thinks of them."""
    known = regions_of(settings)
    breakers = {(one.region, str(one.service)): str(one.state) for one in (known.status() if known else ())}

    def ask(place: Place, service: str, where: str, question: Callable[[], object]) -> State:
        error, remedy = "", ""
        try:
            question()
        except TaxidaskError as wrong:
            error, remedy = wrong.message, wrong.remedy or ""
        breaker = breakers[place.name, service]
        return State(place.name, service, where, place.active, not error, error, remedy, breaker)

    questions: list[tuple[Place, str, str, Callable[[], object]]] = []
    for place in places:
        if place.lake:
            marks = join(place.lake, "regions")
            questions.append((place, "s3", place.lake, partial(place.storage.list, marks, depth=1)))
        if place.store is not None:
            questions.append((place, "dynamodb", place.store.url, place.store.check))
    with ThreadPoolExecutor(len(questions)) as pool:
        return list(pool.map(lambda one: ask(*one), questions))
