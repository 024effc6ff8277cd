"""What a trip is: the columns of every table of trips and of rejects, whatever the era of the file."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

import pyarrow as pa

from taxidask.errors import SourceError

TRIP_SCHEMA = pa.schema(
    [
        ("vendor_id", pa.string()),
        ("pickup_datetime", pa.timestamp("us")),
        ("dropoff_datetime", pa.timestamp("us")),
        ("passenger_count", pa.int16()),
        ("trip_distance", pa.float64()),
        ("pickup_longitude", pa.float64()),
        ("pickup_latitude", pa.float64()),
        ("rate_code_id", pa.int16()),
        ("store_and_fwd_flag", pa.string()),
        ("dropoff_longitude", pa.float64()),
        ("dropoff_latitude", pa.float64()),
        ("pickup_location_id", pa.int16()),
        ("dropoff_location_id", pa.int16()),
        ("payment_type", pa.int8()),
        ("fare_amount", pa.float64()),
        ("extra", pa.float64()),
        ("mta_tax", pa.float64()),
        ("tip_amount", pa.float64()),
        ("tolls_amount", pa.float64()),
        ("improvement_surcharge", pa.float64()),
        ("congestion_surcharge", pa.float64()),
        ("airport_fee", pa.float64()),
        ("cbd_congestion_fee", pa.float64()),
        ("total_amount", pa.float64()),
    ]
)
"""Columns of trips, in this order. Times are New York wall-clock time as published, distances miles, amounts USD."""

REASONS: tuple[str, ...] = (
    "malformed",
    "bad_datetime",
    "outside_month",
    "negative_duration",
    "duration_over_24h",
    "non_positive_distance",
    "distance_over_100mi",
    "fare_out_of_range",
    "passenger_count",
    "outside_city",
)
"""Why a row is rejected: the first that applies, in this order."""

REJECT_SCHEMA = pa.schema(
    [
        ("source", pa.dictionary(pa.int8(), pa.string())),
        ("offset", pa.int64()),
        ("line", pa.string()),
        ("reason", pa.dictionary(pa.int8(), pa.string())),
    ]
)
"""Columns of rejects. `offset` is the byte at which the row starts (after decompression; in Parquet the row's number),
`line` the raw row without its line end, each byte as the Latin-1 character of the same number, so nothing is lost."""


def trip_schema(columns: Iterable[str] | None = None) -> pa.Schema:
    """The schema of the columns asked for, in their order; all of them by default.

    Parameters
    ----------
    columns : list of str, optional
        Names out of `TRIP_SCHEMA`.

    Examples
    --------
    >>> trip_schema(["fare_amount", "pickup_datetime"]).names
    ['fare_amount', 'pickup_datetime']
    """
    if columns is None:
        return TRIP_SCHEMA
    if isinstance(columns, (str, bytes)) or not isinstance(columns, Iterable):
        raise SourceError(f"columns is {columns!r:.100}, no list of names", 'like ["pickup_datetime", "fare_amount"]')
    unknown = [name for name in columns if not isinstance(name, str) or name not in TRIP_SCHEMA.names]
    if unknown:
        near = get_close_matches(str(unknown[0]), TRIP_SCHEMA.names, n=3, cutoff=0.3)
        listed = ", ".join(near or TRIP_SCHEMA.names)
        raise SourceError(f"trips have no column {unknown[0]!r:.100}", f"the nearest are {listed}")
    return pa.schema([TRIP_SCHEMA.field(name) for name in columns])


PLACES = {
    "points": ("pickup_longitude", "pickup_latitude", "dropoff_longitude", "dropoff_latitude"),
    "zones": ("pickup_location_id", "dropoff_location_id"),
}
"""The columns that say where a trip begins and ends, by era."""
