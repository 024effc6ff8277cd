"""Sample months: made-up trips in exactly the bytes that TLC would have published them in."""

from __future__ import annotations

import datetime as dt
import filecmp
import os
import uuid
from dataclasses import astuple, dataclass
from functools import lru_cache
from numbers import Real
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from taxidask.errors import SettingsError, SourceError
from taxidask.sample import rows as kernel
from taxidask.sample.city import PARTS, city
from taxidask.storage import absolute, told
from taxidask.tariff import prices
from taxidask.units import is_whole

FIRST, LAST = pd.Period("2009-01", "M"), pd.Period("2020-06", "M")
_CHUNK = 4 << 20
_MASK = (1 << 64) - 1

_NAMES_2009 = (
    "vendor_name,Trip_Pickup_DateTime,Trip_Dropoff_DateTime,Passenger_Count,Trip_Distance,Start_Lon,Start_Lat,Rate_Code,"
    "store_and_forward,End_Lon,End_Lat,Payment_Type,Fare_Amt,surcharge,mta_tax,Tip_Amt,Tolls_Amt,Total_Amt"
)
_NAMES_2010 = (
    "vendor_id,pickup_datetime,dropoff_datetime,passenger_count,trip_distance,pickup_longitude,pickup_latitude,rate_code,"
    "store_and_fwd_flag,dropoff_longitude,dropoff_latitude,payment_type,fare_amount,surcharge,mta_tax,tip_amount,"
    "tolls_amount,total_amount"
)
_NAMES_2015 = (
    "VendorID,tpep_pickup_datetime,tpep_dropoff_datetime,passenger_count,trip_distance,pickup_longitude,pickup_latitude,"
    "RateCodeID,store_and_fwd_flag,dropoff_longitude,dropoff_latitude,payment_type,fare_amount,extra,mta_tax,tip_amount,"
    "tolls_amount,improvement_surcharge,total_amount"
)
_NAMES_ZONES = (
    "VendorID,tpep_pickup_datetime,tpep_dropoff_datetime,passenger_count,trip_distance,RatecodeID,store_and_fwd_flag,"
    "PULocationID,DOLocationID,payment_type,fare_amount,extra,mta_tax,tip_amount,tolls_amount,improvement_surcharge,"
    "total_amount"
)


@dataclass(frozen=True)
class Layout:
    """How the file of one month begins and which of the era's peculiarities its rows have."""

    head: bytes
    style: int
    extra_fields: int = 0
    congestion_field: int = 0


def layout(month: pd.Period) -> Layout:
    """The layout of a month's yellow CSV as TLC published it, 2009-01 to 2020-06."""
    if month < pd.Period("2015-01", "M"):
        names = _NAMES_2009 if month.year == 2009 else _NAMES_2010
        if month.year == 2014:
            names = names.replace(",", ", ")
        return Layout(f"{names}\n\r\n".encode(), kernel.WORDS)
    if month < pd.Period("2016-07", "M"):
        names = _NAMES_2015 if month < pd.Period("2015-07", "M") else _NAMES_2015.replace("RateCodeID", "RatecodeID")
        return Layout(f"{names}\r\n".encode(), kernel.CODES_2015)
    if month.year == 2016:
        return Layout(f"{_NAMES_ZONES}\r\n".encode(), kernel.ZONES, extra_fields=2)
    if month.year < 2019:
        return Layout(f"{_NAMES_ZONES}\n\r\n".encode(), kernel.ZONES)
    empty = month == pd.Period("2019-01", "M")  # the surcharge began in February
    return Layout(f"{_NAMES_ZONES},congestion_surcharge\r\n".encode(), kernel.ZONES, congestion_field=1 if empty else 2)


def make_sample(
    folder: str | os.PathLike[str],
    *,
    start: str | dt.date | pd.Timestamp | pd.Period,
    months: int = 1,
    trips_per_month: int,
    seed: int = 0,
    faults: float = 0.01,
    overwrite: bool = False,
) -> list[str]:
    """Write months of made-up yellow taxi trips as ``yellow_tripdata_YYYY-MM.csv``.

    A file has the layout of its date to the byte: names, line endings, blank second line, empty fields, the words of
    the payment types, 17 digits of a double until 2014 and of a 32-bit float in 2015 and 2016, zone ids afterwards.
    The trips follow the city's week, its busy places and its tariff of the day. The same arguments give the same bytes
    on every machine.

    Parameters
    ----------
    folder : path
        Local folder for the files; made if it is not there.
    start : str, date, Timestamp or Period
        First month, as in ``"2015-01"``; 2009-01 to 2020-06, the time in which TLC published CSV.
    months : int
        Number of months, one file each.
    trips_per_month : int
        Rows of each file, faulty ones included. A real month of 2015 has 12.7 million (1.9 GB).
    seed : int
        Another seed gives other trips.
    faults : float
        Share of faulty rows, 0 to 1. The reasons of `taxidask.trips.REASONS` take turns, so ten faulty rows have one
        of each; all other rows pass every rule.
    overwrite : bool
        Replace a file of the same name that holds something else. Without it such a file is an error; a file that
        already holds exactly this sample stays as it is in either case.

    Returns
    -------
    list of str
        The files, in order of time.

    Examples
    --------
    >>> import tempfile, taxidask as td
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     [path] = td.make_sample(folder, start="2009-03", trips_per_month=1000)
    ...     lines = Path(path).read_text().splitlines()
    >>> lines[0][:61]
    'vendor_name,Trip_Pickup_DateTime,Trip_Dropoff_DateTime,Passen'
    >>> len(lines)  # a header and a blank line first, as in 2009
    1002
    """
    periods = _months(start, months)
    if not is_whole(trips_per_month):
        raise SettingsError(
            f"trips_per_month={trips_per_month!r:.100} is no number of rows", "give a whole number from 1"
        )
    if not is_whole(seed, -(2**63)):
        raise SettingsError(f"seed={seed!r:.100} is no whole number", "give one of at most 64 bits, as in 7")
    if isinstance(faults, bool) or not isinstance(faults, Real) or not 0.0 <= faults <= 1.0:
        raise SettingsError(f"faults={faults!r:.100} is no share of the rows", "give a number from 0 to 1, as in 0.01")
    if isinstance(folder, str) and not folder.strip():
        raise SettingsError("no folder was given for the sample", 'give one, as in make_sample("trips", …)')
    place = absolute(folder)
    if "://" in os.fspath(folder):
        raise SettingsError(f"{folder} is not a local folder", "make the sample locally, then copy it there")
    with told("make", place):
        Path(place).mkdir(parents=True, exist_ok=True)
    return [
        str(_write(Path(folder), month, int(trips_per_month), int(seed), float(faults), overwrite)) for month in periods
    ]


def _months(start: Any, months: int) -> list[pd.Period]:
    try:
        first = start.asfreq("M") if isinstance(start, pd.Period) else pd.Period(pd.Timestamp(start), "M")
        if first is pd.NaT:
            raise ValueError
    except (ValueError, TypeError) as error:
        raise SettingsError(f"start={start!r:.100} is no month", 'give one as in start="2015-01"') from error
    if not is_whole(months):
        raise SettingsError(f"months={months!r:.100} is no number of months", "give a whole number from 1")
    last = first + min(int(months) - 1, 12_000)  # more end outside all the same
    if first < FIRST or last > LAST:
        outside = first if first < FIRST else last
        raise SettingsError(
            f"no sample of {outside}: TLC published yellow trips as CSV from {FIRST} to {LAST} only",
            f"choose start and months between {FIRST} and {LAST}",
        )
    return list(pd.period_range(first, last, freq="M"))


def _write(folder: Path, month: pd.Period, rows: int, seed: int, faults: float, overwrite: bool) -> Path:
    target = folder / f"yellow_tripdata_{month}.csv"
    with told("write", str(target)):
        return _written(target, month, rows, seed, faults, overwrite)


def _written(target: Path, month: pd.Period, rows: int, seed: int, faults: float, overwrite: bool) -> Path:
    temporary = target.parent / f"{target.name}.tmp-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    try:
        with temporary.open("xb") as file:
            _fill(file, month, rows, seed, faults)
        if target.exists():
            if filecmp.cmp(temporary, target, shallow=False):
                return target  # left alone, so that whoever has read it need not read it again
            if not overwrite:
                raise SourceError(
                    f"{target} is there already and holds other rows than this sample",
                    "choose another folder, or give overwrite=True to replace it",
                )
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return target


def _fill(file: BinaryIO, month: pd.Period, rows: int, seed: int, faults: float) -> None:
    """Header and rows of one month, in chunks of constant size."""
    plan = layout(month)
    town = city()
    first_day = np.datetime64(month.start_time.date(), "D")
    calendar = np.arange(first_day, first_day + month.days_in_month)
    key = np.uint64(_mixed(_mixed(seed & _MASK) + month.year * 12 + month.month))
    early = plan.style == kernel.WORDS

    setting = np.zeros(kernel.SETTINGS, dtype=np.int64)
    setting[kernel.STYLE] = plan.style
    setting[kernel.YEAR_2009] = month.year == 2009
    setting[kernel.STORE_N] = month >= pd.Period("2010-08", "M")
    setting[kernel.WORDS_OF] = 0 if month.year == 2009 else 1 if month < pd.Period("2010-08", "M") else 2
    setting[kernel.EXTRA_FIELDS] = plan.extra_fields
    setting[kernel.CONGESTION_FIELD] = plan.congestion_field
    setting[kernel.MONTH_DAYS] = len(calendar)
    setting[kernel.ROWS] = rows
    setting[kernel.FAULTS] = round(faults * rows)
    setting[kernel.WINDOW] = 16384 if month < pd.Period("2015-07", "M") else 256
    setting[kernel.CARD_SHARE] = _CARDS[month.year]
    setting[kernel.FIRST_WEEKDAY] = month.start_time.day_of_week

    days = np.array([str(day) for day in np.arange(first_day - 40, first_day + 80)], dtype="S10")
    tariff = np.array([astuple(prices(day)) for day in calendar], dtype=np.int64)
    money, money_lengths = _money_texts(early)
    miles, miles_lengths = _miles_texts(early)
    words, word_lengths = _words()
    slots = _slots(rows, calendar, key)
    buffer = np.empty(_CHUNK, dtype=np.uint8)
    file.write(plan.head)
    row = 0
    while row < rows:
        size, row = kernel.fill(
            buffer, row, key, setting, slots, days.view(np.uint8).reshape(-1, 10), tariff,
            money, money_lengths, miles, miles_lengths, words, word_lengths, town.zone, town.lon, town.lat, town.east,
            town.north, town.area, town.pickup, town.dropoff, PARTS, town.speed, town.faster, town.normal, town.spread,
            _PASSENGERS,
        )  # fmt: skip
        file.write(buffer[:size].data)


def _slots(rows: int, calendar: NDArray[np.datetime64], key: np.uint64) -> NDArray[np.int64]:
    """Row numbers up to the end of each quarter hour: the week's rhythm, good and bad days, and chance."""
    town = city()
    weekday = (calendar.astype("datetime64[D]").astype(np.int64) + 3) % 7
    hours = town.week[(weekday[:, None] * 24 + np.arange(24)).ravel()]
    following = np.append(hours[1:], hours[-1])
    rate = np.concatenate(
        [((hours * (8 - k) + following * k) / 8)[:, None] for k in (0, 2, 4, 6)], axis=1
    )  # from hour to hour in four steps
    mood = 1.0 + 0.05 * town.normal[_random(key, len(calendar), 1) >> np.uint64(52)]
    expected = (rate.reshape(len(calendar), 96) * mood[:, None]).ravel()
    expected = expected * (rows / np.cumsum(expected)[-1])
    drawn = expected + np.sqrt(expected) * town.normal[_random(key, len(expected), 2) >> np.uint64(52)]
    share = np.cumsum(np.maximum(drawn, 0.0) + 1e-9)
    return np.floor(np.round(share / share[-1], 12) * rows).astype(np.int64)


def _mixed(x: int) -> int:
    x = (x + 0x9E3779B97F4A7C15) & _MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)


def _random(key: np.uint64, size: int, stream: int) -> NDArray[np.uint64]:
    base = _mixed(int(key) ^ stream)
    return np.array([_mixed((base + k * 0x9E3779B97F4A7C15) & _MASK) for k in range(size)], dtype=np.uint64)


# Trips paid by card, per mille.
_CARDS = {
    2009: 250, 2010: 360, 2011: 450, 2012: 520, 2013: 540, 2014: 580,
    2015: 630, 2016: 660, 2017: 680, 2018: 700, 2019: 720, 2020: 730,
}  # fmt: skip
_PASSENGERS = np.array([3019, 3638, 3814, 3900, 4136, 4295], dtype=np.uint64) * np.uint64(1_000_000)
_PASSENGERS[-1] = np.uint64(1 << 32)


def _padded(texts: list[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    array = np.array(texts, dtype="S")
    lengths = np.array([len(text) for text in texts], dtype=np.int64)
    return array.view(np.uint8).reshape(len(texts), array.itemsize), lengths


@lru_cache(maxsize=2)
def _money_texts(early: bool) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Every sum from 0 to 799.99 USD: 17 significant digits until 2014, then as short as it goes."""
    return _padded([f"{cents / 100:.17g}" if early else f"{cents / 100:.10g}" for cents in range(80_000)])


@lru_cache(maxsize=2)
def _miles_texts(early: bool) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Every distance from 0 to 199.99 miles: 17 digits until 2014, then two decimals and no leading zero."""
    if early:
        return _padded([f"{hundredths / 100:.17g}" for hundredths in range(20_000)])
    return _padded([f"{hundredths / 100:.2f}".removeprefix("0") for hundredths in range(20_000)])


@lru_cache(maxsize=1)
def _words() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    texts = [""] * 36
    texts[kernel.VENDOR_WORDS : kernel.VENDOR_WORDS + 3] = ["CMT", "VTS", "DDS"]
    texts[kernel.PAY_WORDS : kernel.PAY_WORDS + 18] = [
        *("Credit", "Cash", "Credit", "CASH", "CREDIT", "CASH"),  # 2009, vendor by vendor
        *("Cre", "Cas", "Cre", "CAS", "CRE", "CAS"),  # 2010-01 to 07
        *("CRD", "CSH", "CRD", "CSH", "CRD", "CSH"),
    ]
    texts[kernel.OTHER_PAY_WORDS : kernel.OTHER_PAY_WORDS + 6] = ["No Charge", "Dispute", "No ", "Dis", "NOC", "DIS"]
    texts[kernel.BAD_TIMES : kernel.BAD_TIMES + 4] = ["0000-00-00 00:00:00", "2015-02-30 08:15:00", "", "12:61"]
    texts[kernel.BAD_MILES], texts[kernel.BAD_FARE] = "1.2.3", "n/a"
    return _padded(texts)
