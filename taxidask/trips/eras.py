"""The layouts TLC has published trips in, as one table, and which of them a file has."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice

from taxidask.errors import SourceError, UnknownHeaderError
from taxidask.words import shortened

_POINTS = [
    "vendor_id",
    "pickup_datetime",
    "dropoff_datetime",
    "passenger_count",
    "trip_distance",
    "pickup_longitude",
    "pickup_latitude",
    "rate_code_id",
    "store_and_fwd_flag",
    "dropoff_longitude",
    "dropoff_latitude",
    "payment_type",
    "fare_amount",
    "extra",
    "mta_tax",
    "tip_amount",
    "tolls_amount",
]
_ZONES = [
    "vendor_id",
    "pickup_datetime",
    "dropoff_datetime",
    "passenger_count",
    "trip_distance",
    "rate_code_id",
    "store_and_fwd_flag",
    "pickup_location_id",
    "dropoff_location_id",
    "payment_type",
    "fare_amount",
    "extra",
    "mta_tax",
    "tip_amount",
    "tolls_amount",
]
_GREEN = [
    "vendor_id",
    "pickup_datetime",
    "dropoff_datetime",
    "store_and_fwd_flag",
    "rate_code_id",
    "pickup_location_id",
    "dropoff_location_id",
    "passenger_count",
    "trip_distance",
    "fare_amount",
    "extra",
    "mta_tax",
    "tip_amount",
    "tolls_amount",
]
_TPEP_ZONES = (
    "VendorID,tpep_pickup_datetime,tpep_dropoff_datetime,passenger_count,trip_distance,RatecodeID,store_and_fwd_flag,"
    "PULocationID,DOLocationID,payment_type,fare_amount,extra,mta_tax,tip_amount,tolls_amount,improvement_surcharge,"
    "total_amount"
)
_SNAKE = (
    "vendor_id,pickup_datetime,dropoff_datetime,passenger_count,trip_distance,pickup_longitude,pickup_latitude,"
    "rate_code,store_and_fwd_flag,dropoff_longitude,dropoff_latitude,payment_type,fare_amount,surcharge,mta_tax,"
    "tip_amount,tolls_amount,total_amount"
)
_SURCHARGE = ["improvement_surcharge", "total_amount"]

# One line per layout: name, places, the header as published, the canonical column of each field ("" is left out).
_LAYOUTS: list[tuple[str, str, str, list[str]]] = [
    (
        "2009",
        "points",
        "vendor_name,Trip_Pickup_DateTime,Trip_Dropoff_DateTime,Passenger_Count,Trip_Distance,Start_Lon,Start_Lat,"
        "Rate_Code,store_and_forward,End_Lon,End_Lat,Payment_Type,Fare_Amt,surcharge,mta_tax,Tip_Amt,Tolls_Amt,Total_Amt",
        [*_POINTS, "total_amount"],
    ),
    ("2010 to 2013", "points", _SNAKE, [*_POINTS, "total_amount"]),
    ("2014", "points", _SNAKE.replace(",", ", "), [*_POINTS, "total_amount"]),
    (
        "2015-01 to 2015-06",
        "points",
        "VendorID,tpep_pickup_datetime,tpep_dropoff_datetime,passenger_count,trip_distance,pickup_longitude,"
        "pickup_latitude,RateCodeID,store_and_fwd_flag,dropoff_longitude,dropoff_latitude,payment_type,fare_amount,"
        "extra,mta_tax,tip_amount,tolls_amount,improvement_surcharge,total_amount",
        [*_POINTS, *_SURCHARGE],
    ),
    (
        "2015-07 to 2016-06",
        "points",
        "VendorID,tpep_pickup_datetime,tpep_dropoff_datetime,passenger_count,trip_distance,pickup_longitude,"
        "pickup_latitude,RatecodeID,store_and_fwd_flag,dropoff_longitude,dropoff_latitude,payment_type,fare_amount,"
        "extra,mta_tax,tip_amount,tolls_amount,improvement_surcharge,total_amount",
        [*_POINTS, *_SURCHARGE],
    ),
    ("2016-07 to 2018", "zones", _TPEP_ZONES, [*_ZONES, *_SURCHARGE]),
    (
        "2019 to 2020",
        "zones",
        _TPEP_ZONES + ",congestion_surcharge",
        [*_ZONES, *_SURCHARGE, "congestion_surcharge"],
    ),
    (
        "Parquet",
        "zones",
        _TPEP_ZONES + ",congestion_surcharge,airport_fee",
        [*_ZONES, *_SURCHARGE, "congestion_surcharge", "airport_fee"],
    ),
    (
        "Parquet from 2025",
        "zones",
        _TPEP_ZONES + ",congestion_surcharge,Airport_fee,cbd_congestion_fee",
        [*_ZONES, *_SURCHARGE, "congestion_surcharge", "airport_fee", "cbd_congestion_fee"],
    ),
    (
        "green",
        "zones",
        "VendorID,lpep_pickup_datetime,lpep_dropoff_datetime,store_and_fwd_flag,RatecodeID,PULocationID,DOLocationID,"
        "passenger_count,trip_distance,fare_amount,extra,mta_tax,tip_amount,tolls_amount,ehail_fee,"
        "improvement_surcharge,total_amount,payment_type,trip_type,congestion_surcharge",
        [*_GREEN, "", *_SURCHARGE, "payment_type", "", "congestion_surcharge"],
    ),
    (
        "snake case with zones",
        "zones",
        "vendor_id,pickup_datetime,dropoff_datetime,passenger_count,trip_distance,rate_code_id,store_and_fwd_flag,"
        "pickup_location_id,dropoff_location_id,payment_type,fare_amount,extra,mta_tax,tip_amount,tolls_amount,"
        "improvement_surcharge,total_amount,congestion_surcharge",
        [*_ZONES, *_SURCHARGE, "congestion_surcharge"],
    ),
]
# Fees that came one by one: a file of a layout may have them or not.
_OPTIONAL = {"improvement_surcharge", "congestion_surcharge", "airport_fee", "cbd_congestion_fee"}
# Fields that carry no trip data: an unnamed index of whoever exported the file, pandas' index in TLC's Parquet.
_INDEX = {"", "__index_level_0__", "unnamed: 0"}
HEAD_BYTES = 1 << 16
"""How much of a file's beginning is enough to tell its era, if its first rows are not odd ones."""
LONGEST_ROW = 16 << 20
"""Bytes of the longest row; a file with a longer one is no CSV."""
_TELLING_ROWS, _MOST_ROWS = 8, 50_000
_ROW = re.compile(rb"[^\r\n][^\n]*+")
_NO_ROWS = re.compile(rb"(?:\r?\n)*+")
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Era:
    """The layout of one file.

    Parameters
    ----------
    name : str
        The line of the table of eras it belongs to.
    locations : {"points", "zones"}
        Whether places are coordinates or taxi zone ids.
    columns : tuple of (str or None)
        The canonical column of each named field, None for one that is left out.
    header : tuple of str
        The names as the file has them.
    extra_fields : int
        Unnamed fields after the last named one (two in 2016-07 to 2016-12).
    """

    name: str
    locations: str
    columns: tuple[str | None, ...]
    header: tuple[str, ...]
    extra_fields: int = 0

    @property
    def fields(self) -> int:
        """How many fields a row has."""
        return len(self.columns) + self.extra_fields

    def position(self, column: str) -> int:
        """Which field holds a canonical column; -1 where the era lacks it."""
        return self.columns.index(column) if column in self.columns else -1


def _normal(name: str) -> str:
    return name.strip().lower()


_ALIASES = {
    _normal(name): column
    for _, _, header, columns in _LAYOUTS
    for name, column in zip(header.split(","), columns, strict=True)
} | dict.fromkeys(_INDEX, "")
ERAS: tuple[Era, ...] = tuple(
    Era(name, places, tuple(column or None for column in columns), tuple(header.split(",")))
    for name, places, header, columns in _LAYOUTS
)
"""The table of eras."""


def detect_columns(names: Sequence[str], url: str) -> Era:
    """The era of a list of column names: a known layout in any order, with or without later fees.

    Parameters
    ----------
    names : sequence of str
        The names as the file has them.
    url : str
        The file, for the message.

    Raises
    ------
    UnknownHeaderError
        A name is unknown, given twice or missing; the message shows the header and the nearest era.

    Examples
    --------
    >>> detect_columns(ERAS[0].header, "month.csv").name
    '2009'
    """
    columns = [_ALIASES.get(_normal(name)) for name in names]
    known = [column for column in columns if column]
    nearest = max(ERAS, key=lambda era: _likeness(names, known, era))
    needed = {column for column in nearest.columns if column} - _OPTIONAL
    unknown = [name for name, column in zip(names, columns, strict=True) if column is None]
    twice = [column for column, count in Counter(known).items() if count > 1]
    missing = sorted(needed - set(known))
    places = {"longitude", "location_id"} & {place for place in ("longitude", "location_id") if _any(known, place)}
    if unknown or twice or missing or len(places) != 1:
        raise UnknownHeaderError(
            f"{url} has a header of no known era: {shortened(','.join(names), 400)!r}; "
            + "; ".join(
                text
                for text in (
                    unknown and f"unknown: {shortened(', '.join(map(repr, unknown)), 400)}",
                    twice and f"given twice: {', '.join(twice)}",
                    missing and f"missing: {', '.join(missing)}",
                )
                if text
            )
            + f"; the nearest era is {nearest.name!r} with {','.join(nearest.header)!r}",
            "check that this is a TLC trip file, or rename its columns",
        )
    return Era(nearest.name, nearest.locations, tuple(column or None for column in columns), tuple(names))


def _any(columns: list[str], word: str) -> bool:
    return any(column.endswith(word) for column in columns)


def _likeness(names: Sequence[str], known: list[str], era: Era) -> tuple[float, int]:
    theirs = {column for column in era.columns if column}
    stripped = {name.strip() for name in names}
    alike = 2 * sum(name.strip() in stripped for name in era.header)
    return alike + len(theirs & set(known)) - 0.5 * len(theirs ^ set(known)), sum(name in names for name in era.header)


def detect(head: bytes, url: str, *, ended: bool | None = None) -> tuple[Era, int]:
    """The era of a CSV file and the byte at which its rows start.

    Parameters
    ----------
    head : bytes
        The file's first bytes (unpacked, where it is packed): enough that `tells` says so, or all.
    url : str
        The file, for messages.
    ended : bool, optional
        Whether these are all bytes; by default if they are fewer than `HEAD_BYTES`.

    Examples
    --------
    >>> era, start = detect(",".join(ERAS[3].header).encode() + b"\\r\\n", "month.csv")
    >>> era.name, era.locations, era.fields
    ('2015-01 to 2015-06', 'points', 19)
    """
    ended = len(head) < HEAD_BYTES if ended is None else ended
    names, start = _names(head, url, ended)
    era = detect_columns(names, url)
    extra = [count for count in _extra_fields(head, start, len(names), ended) if count is not None]
    if empty := _NO_ROWS.match(head, min(start, len(head))):
        start = empty.end()
    # two fields more than names, both empty, in most rows: a layout, not a fault
    return replace(era, extra_fields=2 if sum(extra) > len(extra) else 0), start


def tells(head: bytes, url: str) -> bool:
    """Whether a file's first bytes tell its layout, or that it has none: the first rows may be odd ones."""
    if not head.removeprefix(_BOM).strip():
        return False
    try:
        names, start = _names(head, url, False)
        detect_columns(names, url)
    except SourceError:
        return True
    extra = list(_extra_fields(head, start, len(names), False))
    return len(extra) == _MOST_ROWS or len(extra) - extra.count(None) >= _TELLING_ROWS


def _names(head: bytes, url: str, ended: bool) -> tuple[list[str], int]:
    """The header's names and the byte after its line."""
    text = head.removeprefix(_BOM).lstrip()
    if not text:
        raise SourceError(f"{url} is empty ({len(head):,} bytes, none but blanks)", "download it again")
    if text[:1] == b"<":
        raise SourceError(
            f"{url} is HTML or XML, not trips: it begins with {text[:60].decode('latin-1')!r}",
            "the download was answered with a web page or an error; fetch the file again",
        )
    begin = len(head) - len(text)
    end = head.find(b"\n", begin)
    if end < 0:
        end = len(head)
        if not ended:
            raise UnknownHeaderError(
                f"{url} has no line end in its first {end:,} bytes: {text[:60]!r}", "trips are CSV or Parquet"
            )
    line = head[begin:end].rstrip(b"\r").decode("utf-8", "replace")
    try:
        return next(csv.reader([line], strict=True)), end + 1
    except csv.Error:
        return line.split(","), end + 1


def _extra_fields(head: bytes, start: int, names: int, ended: bool) -> Iterator[int | None]:
    """How many fields more than names the first whole rows have; None for what is a row of no layout."""
    stop = len(head) if ended else head.rfind(b"\n") + 1  # the last row may be cut short by us
    for found in islice(_ROW.finditer(head, start, max(start, stop)), _MOST_ROWS):
        row = found[0]
        count = row.count(b",") + 1
        if b'"' in row:
            with suppress(csv.Error):
                count = len(next(csv.reader([row.decode("latin-1")]), []))
        yield count - names if count in (names, names + 2) else None
