"""What a run costs: the same few quantities, estimated before it starts and counted (`meter`) once it runs, priced."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from taxidask.results.drawing.maps import DEMAND_DAYS
from taxidask.results.values import write_units
from taxidask.settings import Settings
from taxidask.units import DAY, slot_seconds_of

#: CSV bytes that one core turns into lake parts each second; measured by benchmarks/read.py on a 2-core machine.
INGEST_BYTES_PER_CORE_SECOND = 60e6
#: Seconds of one core that models, forecast and report take besides the ingest, for about one month of trips.
FIXED_CORE_SECONDS = 90.0
#: Seconds more for every further month with data: a history to fit on is so much longer.
MONTH_CORE_SECONDS = 5.0
#: Bytes of a cell's day of forecast or of demand: each number (mean, low and high, or a count), and keys and names.
FORECAST_ITEM_BYTES, DEMAND_ITEM_BYTES = (5.9, 200), (3.3, 110)
#: Bytes of items that one number of a map takes: a cell's count in a slot and direction, and a bound of its forecast.
COUNT_BYTES, FORECAST_BYTES = 0.6, 4.3
#: The same of one cell's outline.
OUTLINE_BYTES = 256


@dataclass(frozen=True)
class Cost:
    """Quantities, estimated or counted, and their price.

    Attributes
    ----------
    core_seconds : float
        Cores held times seconds held: of pods, what they ask for, the driver's own not counted.
    bytes : int
        Bytes of sources read.
    puts, gets : int
        S3 requests: PUT, POST and lists; GET and HEAD. 0 with local files.
    writes : int
        DynamoDB write units.
    usd : float
        Price in US dollars at `Settings.prices`; what runs on this machine's own cores and files costs nothing.
    busy, lost : int
        Of S3's and DynamoDB's requests those that were sent again: the service was busy, or its answer did not come.
    """

    core_seconds: float
    bytes: int
    puts: int
    gets: int
    writes: int
    usd: float
    busy: int = 0
    lost: int = 0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        s3 = f", {self.puts:,} S3 puts, {self.gets:,} gets" if self.puts or self.gets else ""
        writes = f", {self.writes:,} DynamoDB write units" if self.writes else ""
        again = [f"{self.busy:,} refused as busy"] * bool(self.busy) + [f"{self.lost:,} unanswered"] * bool(self.lost)
        told = f" (requests sent again: {', '.join(again)})" if again else ""
        used = f"{self.core_seconds:.0f} core seconds, {self.bytes / 1e6:,.0f} MB read{s3}{writes}"
        return f"{used}: {self.usd:.4f} USD{told}"


def price(
    settings: Settings,
    *,
    core_seconds: float,
    bytes_read: int,
    puts: int,
    gets: int,
    writes: int,
    busy: int = 0,
    lost: int = 0,
) -> Cost:
    """Price quantities; only rented cores, S3 and DynamoDB have a price."""
    prices = settings.prices
    usd = core_seconds / 3600 * prices.vcpu_hour if settings.compute != "local" else 0.0
    usd += puts / 1000 * prices.thousand_puts + gets / 1000 * prices.thousand_gets
    if settings.store.startswith("dynamodb://"):
        usd += writes / 1e6 * prices.million_writes
    return Cost(core_seconds, bytes_read, puts, gets, writes, round(usd, 6), busy, lost)


def requests(*, blocks: int, sources: int) -> tuple[int, int]:
    """About how many puts and gets a run on S3 takes, counted on small runs.

    A block reads its range and writes trips, counts, rejects and summary, which are looked at again when the source is
    committed; models and report read counts and trips, and write what they make.
    """
    return 40 + 4 * blocks + 4 * sources, 32 + 12 * blocks + 8 * sources


def day_writes(*, slot: float) -> tuple[int, int]:
    """About how many write units a cell's day of forecast takes, and a day of counted demand.

    Examples
    --------
    >>> day_writes(slot=1800), day_writes(slot=300)
    ((2, 1), (11, 2))
    """
    numbers = 2 * DAY / slot
    (forecast, keys), (count, names) = FORECAST_ITEM_BYTES, DEMAND_ITEM_BYTES
    return write_units(math.ceil(3 * numbers * forecast + keys)), write_units(math.ceil(numbers * count + names))


def map_writes(*, cells: int, slot: float, days: int) -> int:
    """About how many write units the maps take: `days` of forecast and the backtest's two, counts, and outlines."""
    numbers = cells * 2 * DAY / slot  # of a day
    size = numbers * (DEMAND_DAYS * COUNT_BYTES + 3 * (days + 2) * FORECAST_BYTES) + cells * OUTLINE_BYTES
    return round(size / 1024)


def estimate(
    settings: Settings, *, bytes_to_read: int, blocks: int, sources: int, months: int, cells: int, cores: float
) -> Cost:
    """The cost of a run before it starts; `months` are those with data, however far apart."""
    puts, gets = requests(blocks=blocks, sources=sources) if settings.lake.startswith("s3://") else (0, 0)
    slot = slot_seconds_of(settings.slot)
    days = -(-settings.horizon * slot // DAY) + 1
    models = FIXED_CORE_SECONDS * max(1, cores) + MONTH_CORE_SECONDS * max(0, months - 1)
    core_seconds = bytes_to_read / INGEST_BYTES_PER_CORE_SECOND + models
    writes = 0
    if settings.store.startswith("dynamodb://"):
        forecast, demand = day_writes(slot=slot)
        # every cell's days of forecast and of demand, the city's days, and maps
        writes = cells * (days * forecast + DEMAND_DAYS * demand) + 31 * months * demand
        writes += map_writes(cells=cells, slot=slot, days=days)
    return price(settings, core_seconds=core_seconds, bytes_read=bytes_to_read, puts=puts, gets=gets, writes=writes)
