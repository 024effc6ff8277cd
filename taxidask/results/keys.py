"""Where each thing lies: a partition key and a sort key, the same in every store.

====================================  ====================  =====================================================
partition key (pk)                    sort key (sk)         item
====================================  ====================  =====================================================
``forecast#<space>#<slot>#<cell>``    ``2016-02-01``        the day's forecast of a cell, both directions
``forecast#<space>#<slot>#city``      ``2016-02-01``        the same of the whole city
``demand#<space>#<slot>#<cell>``      ``2016-02-01``        the day's counted trips of a cell (or ``city``)
``map#<space>#<slot>#actual``         ``2016-02-01#0000``   all cells' counted trips of a day, in parts if it is large
``map#<space>#<slot>#forecast``       ``2016-02-01#0000``   the same of the day's forecast
``map#<space>#<slot>#<kind>``         ``days``              which days there are
``geometry#<space>``                  ``0000``              how the cells are drawn, in parts if it is large
``card#<kind>``                       ``latest``            a model's card; ``run#<id>`` keeps that run's
``metrics#<run>``                     ``<kind>#0000``       a table of metrics, in parts if it is large
``ingest#<lake>``                     ``<sha256 of URL>``   what ingesting one source found
``latest``                            ``latest``            what the Overview shows first
``runs``                              ``20160201T…-ab12cd`` a run; ids sort by time
``runs#stop``                         as ``runs``           whom of its drivers a run was asked to stop
``trips#<day>``                       ``<time>#<digest>``   a trip that was added and is not in the lake yet
``added#days``                        ``2016-02-01``        a day that had added trips
``added#loads``                       ``<content>``         a file of added trips: who, when, how far
``added#file#<content>``              ``0000``              its bytes, in parts, until they are in the lake
``added#batches``                     ``00000001``          trips from the form that went into the lake together
====================================  ====================  =====================================================

Every read knows its pk, so it is a GetItem or a Query. Cells are partitions of their own, which spreads a month's
forecasts evenly: see `taxidask.results.batch` for the arithmetic.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pandas as pd

from taxidask.errors import StoreError
from taxidask.units import is_whole

CITY = "city"
RUNS = "runs"
LATEST = "latest"
ADDED_DAYS = "added#days"
LOADS = "added#loads"
BATCHES = "added#batches"
RESERVED = ("pk", "sk", "expires_at", "stamp", "gone")

# a key may have 2,048 (pk) and 1,024 bytes (sk); three such parts fit into either
_LONGEST = 300
_RUN_ID = re.compile(r"(\d{8}T\d{6})Z-[0-9A-Za-z_-]+")


class Key(NamedTuple):
    """Partition key and sort key of one item."""

    pk: str
    sk: str

    def __str__(self) -> str:
        return f"{self.pk} / {self.sk}"


def part(text: object) -> str:
    """One part of a key: without ``#``, and of bounded length.

    Examples
    --------
    >>> part("a#b"), len(part("x" * 5000))
    ('a%23b', 300)
    """
    quoted = str(text).encode("utf-8", "backslashreplace").decode().replace("%", "%25").replace("#", "%23")
    if not quoted:
        raise StoreError("a part of a key is empty", "give every space, run, kind and lake a name")
    if len(quoted.encode()) <= _LONGEST:
        return quoted
    digest = hashlib.sha256(quoted.encode()).hexdigest()[:32]
    return quoted.encode()[: _LONGEST - 33].decode("utf-8", "ignore") + "~" + digest


def forecast_pk(space_key: str, slot: Any, cell: int | str) -> str:
    """Partition of a cell's forecasts."""
    return f"forecast#{part(space_key)}#{_slot(slot)}#{_cell(cell)}"


def demand_pk(space_key: str, slot: Any, cell: int | str) -> str:
    """Partition of a cell's counted trips."""
    return f"demand#{part(space_key)}#{_slot(slot)}#{_cell(cell)}"


def map_pk(space_key: str, slot: Any, kind: str) -> str:
    """Partition of a kind's days of all cells."""
    return f"map#{part(space_key)}#{_slot(slot)}#{part(kind)}"


def geometry_pk(space_key: str) -> str:
    """Partition of how the cells of a space are drawn."""
    return f"geometry#{part(space_key)}"


def card_key(kind: str, run: str | None = None) -> Key:
    """A model's card: the latest, or that of a run."""
    return Key(f"card#{part(kind)}", LATEST if run is None else f"run#{part(run)}")


def metrics_key(run: str, kind: str, number: int) -> Key:
    """One part of a table of metrics."""
    return Key(f"metrics#{part(run)}", f"{metrics_prefix(kind)}{number:04d}")


def metrics_prefix(kind: str) -> str:
    """What the sort keys of all parts of a table of metrics begin with."""
    return f"{part(kind)}#"


def ingest_pk(lake_url: str) -> str:
    """Partition of a lake's ingest summaries."""
    return f"ingest#{part(lake_url)}"


def ingest_key(lake_url: str, url: str) -> Key:
    """One source's summary, named as its manifest is."""
    return Key(ingest_pk(lake_url), hashlib.sha256(url.encode("utf-8", "backslashreplace")).hexdigest())


def run_key(run: str) -> Key:
    """A run's row."""
    return Key(RUNS, part(run))


def stop_key(run: str) -> Key:
    """Of a run in several regions, that it was asked to stop."""
    return Key(f"{RUNS}#stop", part(run))


def trips_pk(day: str) -> str:
    """Partition of the trips that were added of a day."""
    return f"trips#{part(day)}"


def trip_key(pickup: datetime, digest: str) -> Key:
    """An added trip: of its day, by the time of its pickup."""
    return Key(trips_pk(pickup.date().isoformat()), f"{pickup:%H:%M:%S.%f}#{digest}")


def load_key(content: str) -> Key:
    """What became of a file of added trips."""
    return Key(LOADS, part(content))


def file_pk(content: str) -> str:
    """Partition of a file's bytes."""
    return f"added#file#{part(content)}"


def run_time(run: str) -> datetime | None:
    """When a run was created, from its id; None when the id does not say.

    Examples
    --------
    >>> run_time("20261123T081500Z-ab12cd").isoformat()
    '2026-11-23T08:15:00+00:00'
    """
    match = _RUN_ID.fullmatch(run)
    if not match:
        return None
    try:
        return datetime.strptime(match[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None


def _slot(slot: Any) -> str:
    """A length of slots: hours counted in another are other numbers.

    Examples
    --------
    >>> _slot("30min"), _slot("0.5h"), _slot("7.5min")
    ('1800s', '1800s', '450s')
    """
    try:
        return f"{pd.Timedelta(slot).total_seconds():g}s"
    except (ValueError, TypeError) as error:
        raise StoreError(f"slot is {slot!r}, which is no length of time", "write it as 30min") from error


def _cell(cell: Any) -> str:
    if isinstance(cell, str):
        if cell != CITY:
            raise StoreError(f"cell is {cell!r}", f"give the number of a cell, or {CITY!r} for the whole city")
        return CITY
    if not is_whole(cell, 0):
        raise StoreError(f"cell is {cell!r}", f"cells are counted from 0; {CITY!r} is the whole city")
    return str(int(cell))
