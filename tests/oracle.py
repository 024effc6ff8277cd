"""An independent, slow and obvious reader and counter: csv or str.split, float(), datetime.strptime, loops."""

from __future__ import annotations

import csv
import math
import re
from bisect import bisect_right
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa

from taxidask.trips import TRIP_SCHEMA

COLUMN = {name: name for name in TRIP_SCHEMA.names} | {
    "vendorid": "vendor_id",
    "vendor_name": "vendor_id",
    "surcharge": "extra",
    "store_and_forward": "store_and_fwd_flag",
    "trip_pickup_datetime": "pickup_datetime",
    "trip_dropoff_datetime": "dropoff_datetime",
    "tpep_pickup_datetime": "pickup_datetime",
    "tpep_dropoff_datetime": "dropoff_datetime",
    "lpep_pickup_datetime": "pickup_datetime",
    "lpep_dropoff_datetime": "dropoff_datetime",
    "start_lon": "pickup_longitude",
    "start_lat": "pickup_latitude",
    "end_lon": "dropoff_longitude",
    "end_lat": "dropoff_latitude",
    "rate_code": "rate_code_id",
    "ratecodeid": "rate_code_id",
    "pulocationid": "pickup_location_id",
    "dolocationid": "dropoff_location_id",
    "fare_amt": "fare_amount",
    "tip_amt": "tip_amount",
    "tolls_amt": "tolls_amount",
    "total_amt": "total_amount",
}
AMOUNTS = [
    "extra",
    "mta_tax",
    "tip_amount",
    "tolls_amount",
    "improvement_surcharge",
    "congestion_surcharge",
    "airport_fee",
    "cbd_congestion_fee",
    "total_amount",
]
DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
RETURN = "\ue000"
WORDS = {"cre": 1, "crd": 1, "cas": 2, "csh": 2, "dis": 4, "unk": 5}


class UnreadableError(Exception):
    pass


def number(text):
    if text == "":
        return None
    if not DECIMAL.fullmatch(text) or math.isinf(float(text)):
        raise UnreadableError
    return float(text)


def whole(text, low=-32768, high=32767):
    value = number(text)
    if value is None:
        return None
    if not math.isfinite(value) or value != int(value) or not low <= value <= high:
        raise UnreadableError
    return int(value)


def payment(text):
    if text.lower().startswith("no"):
        return 3
    return WORDS[text[:3].lower()] if text[:3].lower() in WORDS else whole(text, 0, 6)


def word(text):
    raw = text.encode("latin-1")
    if len(raw) > 64:
        raise UnreadableError
    with suppress(UnicodeDecodeError):
        text = raw.decode()
    return re.sub(r"^(-?[0-9]+)\.0+$", r"\1", text) or None


CLOCK = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]+))?)?(?:[ \t]*([AaPp])(?:[Mm]|\.[Mm]\.))?")
PACKED = re.compile(CLOCK.pattern.replace("{1,2}):", "{2})").replace("(?::(", "(?:("))
ZONE = re.compile(r"(?i:z|ut|utc|gmt)|[+-][0-9]{2}(?::?[0-9]{2})?|(?i:est|edt)")
DATES = [
    r"(?P<y>[0-9]{4})(?P<m>[0-9]{2})(?P<d>[0-9]{2})",
    r"(?P<name>[A-Za-z]{3,})[ \t]*(?P<d>[0-9]{1,2})(?:,[ \t]*|[ \t]+)(?P<y>[0-9]{4})",
    r"(?P<y>[0-9]{4})([-/.])(?P<m>[0-9]{1,2})\2(?P<d>[0-9]{1,2})",
    r"(?P<m>[0-9]{1,2})/(?P<d>[0-9]{1,2})/(?P<y>[0-9]{4}|[0-9]{2})",
    r"(?P<y>[0-9]{4})([- /])(?P<name>[A-Za-z]{3,})\2(?P<d>[0-9]{1,2})",
    r"(?P<d>[0-9]{1,2})([- /])(?P<name>[A-Za-z]{3,})\2(?P<y>[0-9]{4}|[0-9]{2})",
]
NAMES = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]


def time(text):
    """A time as naive New York time, by patterns, datetime and zoneinfo; 1987 and later where it has an offset."""
    for pattern in DATES:
        if not (found := re.match(pattern + r"(?:[Tt]|,?[ \t]+)", text)):
            continue
        part = found.groupdict()
        month = NAMES.index(part["name"][:3].lower()) + 1 if "name" in part else int(part["m"])
        year = int(part["y"])
        if len(part["y"]) == 2:
            year += 1900 if year >= 69 else 2000
        rest = text[found.end() :]
        clock = CLOCK.match(rest) or (pattern == DATES[0] and PACKED.match(rest))
        if not clock:
            break
        hour, minute, second, fraction, half = clock.groups()
        hour = int(hour)
        if half:
            if not 1 <= hour <= 12:
                break
            hour = hour % 12 + 12 * (half in "pP")
        moment = datetime(year, month, int(part["d"]), hour, int(minute), int(second or 0))
        moment += timedelta(microseconds=int((fraction or "0")[:6].ljust(6, "0")))
        zone = rest[clock.end() :].strip(" \t")
        if not zone:
            return moment
        if not ZONE.fullmatch(zone):
            break
        if zone[0] not in "+-":
            hours = {"est": -5, "edt": -4}.get(zone.lower(), 0)
            minutes = 0
        else:
            hours, minutes = int(zone[:3]), int(zone[0] + (zone[3:].strip(":") or "0"))
            if abs(hours) > 15 or abs(minutes) > 59:
                break
        if (hours, minutes) == (0, 0):
            return moment
        if not datetime(1987, 1, 2) <= moment < datetime(9999, 12, 30):
            break
        shifted = (moment - timedelta(hours=hours, minutes=minutes)).replace(tzinfo=UTC)
        return shifted.astimezone(ZoneInfo("America/New_York")).replace(tzinfo=None)
    raise ValueError(text)


def judge(row, month, zones):
    """A row as a dict of texts: its reason or None, and its values."""
    place = ("location_id",) if zones else ("longitude", "latitude")
    places = [f"{end}_{axis}" for end in ("pickup", "dropoff") for axis in place]
    value = {}
    try:
        for name in ["trip_distance", "fare_amount", *places]:
            value[name] = number(row[name])
            if value[name] is None or (zones and name in places and value[name] % 1 not in (0.0,)):
                return "malformed", None
        value["passenger_count"] = people = number(row["passenger_count"])
        if people is not None and people % 1 != 0 and math.isfinite(people):
            return "malformed", None
    except UnreadableError:
        return "malformed", None
    try:
        value["pickup_datetime"] = begin = time(row["pickup_datetime"])
        value["dropoff_datetime"] = end = time(row["dropoff_datetime"])
    except ValueError:
        return "bad_datetime", None
    if month and begin.strftime("%Y-%m") != month:
        return "outside_month", None
    if end < begin:
        return "negative_duration", None
    if end - begin > timedelta(hours=24):
        return "duration_over_24h", None
    if value["trip_distance"] <= 0:
        return "non_positive_distance", None
    if value["trip_distance"] > 100:
        return "distance_over_100mi", None
    if not 0 < value["fare_amount"] <= 500:
        return "fare_out_of_range", None
    if people is not None and not 1 <= people <= 9:
        return "passenger_count", None
    for name in places:
        low, high = {"id": (1, 263), "de": (-74.3, -73.7)}[name[-2:]]
        if name.endswith("latitude"):
            low, high = 40.5, 41.0
        if not low <= value[name] <= high:
            return "outside_city", None
    return None, value


def fields_of(line):
    text = line.decode("latin-1")
    if '"' not in text:
        return text.split(",")
    # within a line a carriage return is a character like others, which csv refuses
    return [field.replace(RETURN, "\r") for field in next(csv.reader([text.replace("\r", RETURN)], strict=True))]


def count_of(row):
    """How many fields a row has; of one whose quotes are out of order, by its commas."""
    try:
        return len(next(csv.reader([row.decode("latin-1").replace("\r", RETURN)]), []))
    except csv.Error:
        return row.count(b",") + 1


def slow_read(raw, month):
    """Kept rows (as TRIP_SCHEMA), rejects (offset, line, reason) and unreadable values by column."""
    offset, names, kept, rejects, unreadable = 0, None, [], [], Counter()
    if raw.startswith(b"\xef\xbb\xbf"):
        raw, offset = raw[3:], 3
    lines = raw.split(b"\n")
    for number_, line in enumerate(lines):
        row = line.removesuffix(b"\r")
        start, offset = offset, offset + len(line) + 1
        if row == b"":
            continue
        if names is None:
            header = row.decode("utf-8", "replace")
            names = next(csv.reader([header]), []) if '"' in header else header.split(",")
            names = [COLUMN.get(name.strip().lower(), "") for name in names]
            zones = "pickup_location_id" in names
            # what most rows do that have either number of fields is the file's layout
            filled = filter(None, (row.removesuffix(b"\r") for row in lines[number_ + 1 :]))
            told = [count for count in map(count_of, filled) if count in (len(names), len(names) + 2)]
            extra = 2 if 2 * told.count(len(names) + 2) > len(told) else 0
            continue
        try:
            fields = [field.strip(" \t") for field in fields_of(row)]
        except csv.Error:
            fields = []
        reason = "malformed"
        if len(fields) == len(names) + extra:
            texts = dict(zip(names, fields, strict=False))
            reason, value = judge(texts, month, zones)
        if reason:
            rejects.append((start, row.decode("latin-1"), reason))
            continue
        words = [("vendor_id", word), ("store_and_fwd_flag", word), ("rate_code_id", whole), ("payment_type", payment)]
        for name, read in [*words, *((name, number) for name in AMOUNTS)]:
            try:
                value[name] = read(texts.get(name, ""))
            except UnreadableError:
                value[name] = None
                unreadable[name] += 1
        kept.append(tuple(value.get(name) for name in TRIP_SCHEMA.names))
    return kept, rejects, unreadable


def bits(values):
    """Floats by their bits: -0.0 is not 0.0."""
    return [np.float64(value).tobytes() if isinstance(value, float) else value for value in values]


def assert_same(results, expected):
    kept, rejects, unreadable = expected
    trips = pa.concat_tables([result.trips for result in results])
    found = pa.concat_tables([result.rejects for result in results])
    trips.validate(full=True)
    found.validate(full=True)
    assert sum(result.rows for result in results) == len(kept) + len(rejects)
    assert sum(result.kept for result in results) == trips.num_rows
    assert list(zip(*(found[name].to_pylist() for name in ("offset", "line", "reason")), strict=True)) == rejects
    by_reason, by_column = Counter(), Counter()
    for result in results:
        by_reason.update(result.rejected)
        by_column.update(result.unreadable)
    assert +by_reason == Counter(reason for _, _, reason in rejects)
    assert +by_column == unreadable
    for position, name in enumerate(TRIP_SCHEMA.names):
        values = [row[position] for row in kept]
        if TRIP_SCHEMA.field(name).type == pa.float64():
            assert bits(trips[name].to_pylist()) == bits(None if v is None else float(v) for v in values), name
        else:
            assert trips[name].to_pylist() == values, name


def slow_cube(kept):
    """Counts by (slot start, row, col, direction) on the grid of New York, edges from exact fractions."""
    xs = [float(Fraction("-74.05") + (Fraction("-73.75") - Fraction("-74.05")) * k / 25) for k in range(26)]
    ys = [float(Fraction("40.63") + (Fraction("40.85") - Fraction("40.63")) * k / 24) for k in range(25)]
    at = {name: position for position, name in enumerate(TRIP_SCHEMA.names)}
    counts = Counter()
    for row in kept:
        for direction, end in enumerate(("pickup", "dropoff")):
            moment = row[at[f"{end}_datetime"]]
            slot = moment.replace(minute=moment.minute // 30 * 30, second=0)
            x, y = row[at[f"{end}_longitude"]], row[at[f"{end}_latitude"]]
            if xs[0] <= x < xs[-1] and ys[0] <= y < ys[-1]:
                cell = (bisect_right(ys, y) - 1) * 25 + bisect_right(xs, x) - 1
                counts[slot, cell, direction] += 1
    return counts
