"""One trip from a form: read field by field as a file's texts are, judged by the rules of a file's rows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from taxidask.errors import QuestionError, TaxidaskError
from taxidask.results import Store
from taxidask.trips.rules import Rules, faults
from taxidask.trips.schema import PLACES, TRIP_SCHEMA, trip_schema
from taxidask.trips.typed import column, floats, times
from taxidask.words import shortened

from .filters import payment_code

_TIMES = ("pickup_datetime", "dropoff_datetime")
_NEEDED = (*_TIMES, "trip_distance", "fare_amount")
_OTHER = {"trip_distance", "fare_amount", *PLACES["points"]}  # numbers that rows are judged by
_MOST_USD = 10_000  # a slip of the hand beyond it would be all that a sum of tips shows
FIRST = datetime(2009, 1, 1)
"""When the records begin that trips are added to: one of another century would stretch all that is counted by time."""


def latest() -> datetime:
    """Until when a trip may have begun: a day from now, as clocks differ."""
    return datetime.now() + timedelta(days=1)


class FormError(TaxidaskError):
    """A trip that cannot be added; `fields` says of each field that is at fault what is wrong with it."""

    def __init__(self, fields: dict[str, str]) -> None:
        told = "; ".join(f"{name} {text}" for name, text in fields.items())
        super().__init__(f"the trip cannot be added: {told}", "mend these fields and add it again")
        self.fields = fields


def read_form(fields: Mapping[str, Any], *, rules: Rules = Rules()) -> dict[str, Any]:
    """The trip that fields describe, in the types of `TRIP_SCHEMA`, without those that are empty.

    Parameters
    ----------
    fields : dict
        Texts or values by column. Both times, the distance, the fare and both places are needed: longitudes and
        latitudes, or taxi zones.
    rules : Rules
        What a row must pass.

    Raises
    ------
    FormError
        With all that is wrong, by field.
    """
    trip_schema(fields)  # no others
    texts = {name: _text(value) for name, value in fields.items()}
    texts = {name: text for name, text in texts.items() if text}
    wrong: dict[str, str] = {}
    trip: dict[str, Any] = {}
    for name, text in texts.items():
        value = _value(name, text)
        if value is None:
            wrong[name] = f"is {shortened(repr(text), 80)}, which is no {_kind(name)}"
        else:
            trip[name] = value
    zones = not any(name in texts for name in PLACES["points"])
    if not zones and any(name in texts for name in PLACES["zones"]):
        wrong |= dict.fromkeys(
            (name for name in PLACES["zones"] if name in texts), "is a zone beside a point: give one of both"
        )
    for name in (*_NEEDED, *PLACES["zones" if zones else "points"]):
        if name not in texts:
            wrong[name] = "is missing"
    if "pickup_datetime" in trip and not FIRST <= trip["pickup_datetime"] <= latest():
        wrong["pickup_datetime"] = f"is not from {FIRST.year} to today"
    for name, value in trip.items():
        if isinstance(value, float) and name not in _OTHER and not 0 <= value <= _MOST_USD:
            wrong[name] = f"is not 0 to {_MOST_USD:,} USD"
    wrong |= {name: text for name, text in _judged(trip, zones, rules).items() if name not in wrong}
    if wrong:
        raise FormError(wrong)
    return {name: trip[name] for name in TRIP_SCHEMA.names if name in trip}


def add_trip(
    fields: Mapping[str, Any], *, store: Store, who: str, rules: Rules = Rules()
) -> tuple[dict[str, Any], bool]:
    """Add a trip to a store; the trip as it was read, and False where the very same had been added before."""
    trip = read_form(fields, rules=rules)
    return trip, store.add_trip(trip, who=who)


def _text(value: Any) -> str:
    return "" if value is None or value != value else str(value).strip()


def _kind(name: str) -> str:
    kind = TRIP_SCHEMA.field(name).type
    if pa.types.is_timestamp(kind):
        return "time (write it as 2016-02-01 18:30)"
    if name == "payment_type":
        return "kind of payment (write its code, or its name as credit card)"
    if pa.types.is_string(kind):
        return "short text (64 bytes at most)"
    return "whole number" if pa.types.is_integer(kind) else "number"


def _value(name: str, text: str) -> Any:
    """A field's value as the reader of files reads it; None for what it cannot read."""
    kind = TRIP_SCHEMA.field(name)
    try:
        array = pa.array([text])
    except UnicodeEncodeError:  # bytes of a command line that are no text
        return None
    if name in _TIMES:
        found = times(array)
        return None if found.missing[0] else found.stamps.view("datetime64[us]")[0].astype(datetime)
    if name == "payment_type":
        try:
            return payment_code(text)
        except QuestionError:
            return None
    return column(array, kind, name)[0][0].as_py()


def _judged(trip: dict[str, Any], zones: bool, rules: Rules) -> dict[str, str]:
    """What the rules of rows have against a trip, by the field that is at fault."""
    places = PLACES["zones" if zones else "points"]
    columns: dict[str, Any] = {}
    for name in _TIMES:
        stamp = trip.get(name)
        columns[f"{name.partition('_')[0]}_missing"] = np.array([stamp is None])
        columns[name] = np.array([stamp or 0], "datetime64[us]").astype(np.int64)
    for name in ("passenger_count", "trip_distance", "fare_amount", *places):
        columns[name] = floats(pa.array([trip.get(name)], pa.float64()), name)[0]
    found = {name for name, rows in faults(columns, zones=zones, month=None, rules=rules).items() if rows[0]}
    wrong: dict[str, str] = {}
    if trip.keys() >= set(_TIMES):
        if "negative_duration" in found:
            wrong["dropoff_datetime"] = "is before the pickup"
        elif "duration_over_24h" in found:
            wrong["dropoff_datetime"] = f"is more than {rules.max_duration_hours:g} hours after the pickup"
    if "non_positive_distance" in found:
        wrong["trip_distance"] = "is not over 0 miles"
    if "distance_over_100mi" in found:
        wrong["trip_distance"] = f"is over {rules.max_distance_miles:g} miles"
    if "fare_out_of_range" in found:
        wrong["fare_amount"] = f"is not over 0 and at most {rules.max_fare:g} USD"
    if "passenger_count" in found:
        wrong["passenger_count"] = f"is not {rules.min_passengers} to {rules.max_passengers}"
    if "outside_city" in found:
        wrong |= {name: text for name in places if name in trip and (text := _outside(name, trip[name], rules))}
    return wrong


def _outside(name: str, value: float, rules: Rules) -> str:
    if name in PLACES["zones"]:
        low, high, unit = 1.0, float(rules.zones), "taxi zones"
    elif name.endswith("longitude"):
        low, high, unit = rules.west, rules.east, "degrees"
    else:
        low, high, unit = rules.south, rules.north, "degrees"
    return "" if low <= value <= high else f"is outside of the city: {low:g} to {high:g} {unit}"
