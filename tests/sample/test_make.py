"""The sample generator against the published files' own bytes and a slow reader of its own."""

from __future__ import annotations

import hashlib
import re
import tracemalloc
from collections import Counter
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import taxidask.sample.make as sample
from taxidask.errors import SettingsError, SourceError, StorageError
from taxidask.sample.city import PARTS, city
from taxidask.sample.make import layout, make_sample
from taxidask.sample.text import write_degrees

# One month of every layout and of every habit within a layout.
MONTHS = [
    *("2009-02", "2009-11", "2010-03", "2010-08", "2012-09", "2014-06", "2015-02", "2015-11", "2016-05"),
    *("2016-07", "2016-12", "2017-06", "2018-12", "2019-01", "2019-02", "2020-06"),
]
REASONS = (
    *("malformed", "bad_datetime", "outside_month", "negative_duration", "duration_over_24h"),
    *("non_positive_distance", "distance_over_100mi", "fare_out_of_range", "passenger_count", "outside_city"),
)


def body(raw: bytes) -> list[list[str]]:
    return [line.rstrip("\r").split(",") for line in raw.decode().split("\n")[1:] if line.strip()]


def reason(row: list[str], month: str) -> str | None:
    """Why a row is rejected: the design's rules, one by one."""
    zones = month >= "2016-07"
    width = 19 if "2015" <= month < "2017" else 18 if month < "2015" or month >= "2019" else 17
    if len(row) != width:
        return "malformed"
    places = row[7:9] if zones else row[5:7] + row[9:11]
    money = row[10] if zones else row[12]
    try:
        miles, fare = float(row[4]), float(money)
        points = [float(value) for value in places]
        passengers = int(row[3]) if row[3] else None
    except ValueError:
        return "malformed"
    try:
        begin, end = (datetime.strptime(text, "%Y-%m-%d %H:%M:%S") for text in row[1:3])
    except ValueError:
        return "bad_datetime"
    if row[1][:7] != month:
        return "outside_month"
    if end < begin:
        return "negative_duration"
    if end - begin > timedelta(hours=24):
        return "duration_over_24h"
    if miles <= 0:
        return "non_positive_distance"
    if miles > 100:
        return "distance_over_100mi"
    if not 0 < fare <= 500:
        return "fare_out_of_range"
    if passengers is not None and not 1 <= passengers <= 9:
        return "passenger_count"
    if zones:
        inside = all(1 <= value <= 263 for value in points)
    else:
        inside = all(-74.3 <= x <= -73.7 for x in points[::2]) and all(40.5 <= y <= 41.0 for y in points[1::2])
    return None if inside else "outside_city"


def style(row: list[str], month: str) -> list[str]:
    """What each field of a row looks like, told from the field alone."""
    points = set() if month >= "2016-07" else {5, 6, 9, 10}
    fares = set(range(10, 17)) if month >= "2016-07" else set(range(12, 19 if month >= "2015" else 18))
    seen = []
    for position, text in enumerate(row):
        if text in ("", "0"):
            seen.append("")
        elif position in points and month < "2015":
            seen.append("double" if text == f"{float(text):.17g}" else f"not a double: {text}")
        elif position in points:
            exact = Decimal(float(np.float32(text)))
            near = abs(Decimal(text) - exact) <= Decimal("5.1e-16")
            seen.append("single" if near and not text.endswith("0") else f"not a single: {text}")
        elif position == 4 and month >= "2015":
            seen.append("miles" if re.fullmatch(r"([1-9]\d*)?\.\d\d", text) else f"not miles: {text}")
        elif position in fares or position == 4:
            digits = 17 if month < "2015" else 10
            seen.append("decimal" if text == f"{float(text):.{digits}g}" else f"not a decimal: {text}")
        elif position in (1, 2):
            seen.append("time" if re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", text) else f"no time: {text}")
        else:
            seen.append("code" if re.fullmatch(r"\d{1,3}", text) else "word")
    return seen


@pytest.mark.parametrize("month", [str(m) for m in pd.period_range("2009-01", "2020-06", freq="M")])
def test_head_is_the_published_one(data: Path, month: str) -> None:
    head = layout(pd.Period(month)).head
    published = (data / "headers" / f"yellow_tripdata_{month}.csv").read_bytes()
    assert published.startswith(head)
    assert published[len(head) :][:1].isalnum()  # a row follows at once


@pytest.mark.parametrize("month", MONTHS)
def test_fields_look_like_the_published_ones(data: Path, tmp_path: Path, month: str) -> None:
    published = (data / "headers" / f"yellow_tripdata_{month}.csv").read_bytes()
    published = published[: published.rindex(b"\n") + 1]
    ours = Path(make_sample(tmp_path, start=month, trips_per_month=3000, faults=0)[0]).read_bytes()
    begin = len(layout(pd.Period(month)).head)
    for raw in (published, ours):
        assert raw.count(b"\n", begin) == raw.count(b"\r\n", begin) > 0
    real = [style(row, month) for row in body(published)]
    made = [style(row, month) for row in body(ours)]
    for position in range(len(real[0])):
        looks, like = {row[position] for row in made}, {row[position] for row in real}
        assert not any("no" in look for look in looks | like), (position, looks, like)
        if position not in (8, 6):  # stored-and-forwarded flags differ by vendor
            assert looks & like, (position, looks, like)
    assert {len(row) for row in made} == {len(real[0])}
    real_words = {row[0] for row in body(published)}
    assert real_words <= {row[0] for row in body(ours)}


@pytest.mark.parametrize("month", MONTHS)
@pytest.mark.parametrize("faults", [0.0, 0.05])
def test_faulty_rows_are_the_share_asked_for(tmp_path: Path, month: str, faults: float) -> None:
    raw = Path(make_sample(tmp_path, start=month, trips_per_month=4000, faults=faults)[0]).read_bytes()
    found = Counter(reason(row, month) for row in body(raw))
    kept = found.pop(None)
    assert kept == 4000 - round(4000 * faults)
    assert found == (dict.fromkeys(REASONS, 20) if faults else {})


@pytest.mark.parametrize("rows", [10, 97, 1000])
def test_ten_faulty_rows_have_every_reason(tmp_path: Path, rows: int) -> None:
    raw = Path(make_sample(tmp_path, start="2013-01", trips_per_month=rows, faults=10 / rows)[0]).read_bytes()
    assert Counter(reason(row, "2013-01") for row in body(raw)) == dict.fromkeys(REASONS, 1) | (
        {None: rows - 10} if rows > 10 else {}
    )


@pytest.mark.parametrize("month", MONTHS)
def test_the_reader_agrees(tmp_path: Path, month: str) -> None:
    from taxidask.trips import read_trips

    path = make_sample(tmp_path, start=month, trips_per_month=2000, faults=0.1)[0]
    trips, rejects = read_trips(path)
    assert len(trips) == 1800
    assert rejects["reason"].value_counts().to_dict() == dict.fromkeys(REASONS, 20)


@pytest.mark.parametrize(
    ("month", "digest"),
    [("2011-04", "ceebcb748177df1d"), ("2015-04", "8205b7fbfa34b46c"), ("2019-04", "721be8fe5eb03c74")],
)
def test_the_same_bytes_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, month: str, digest: str) -> None:
    """Pinned: whatever the machine, its vector units and the size of the chunks."""
    monkeypatch.setattr(sample, "_CHUNK", 7001)
    path = make_sample(tmp_path, start=month, trips_per_month=20_000, seed=7, faults=0.02)[0]
    assert hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16] == digest


def test_seed_and_month_change_the_trips(tmp_path: Path) -> None:
    def rows(start: str, seed: int) -> list[str]:
        path = make_sample(tmp_path / f"{seed}", start=start, trips_per_month=500, seed=seed)[0]
        return [",".join(row[3:]) for row in body(Path(path).read_bytes())]

    a, b, c, d = rows("2015-01", 0), rows("2015-01", 1), rows("2015-02", 0), rows("2015-01", -1)
    assert len(set(a) & set(b)) < 5
    assert len(set(a) & set(c)) < 5
    assert len(set(a) & set(d)) < 5


def test_several_months(tmp_path: Path) -> None:
    paths = make_sample(tmp_path / "new" / "folder", start="2016-06", months=2, trips_per_month=10)
    assert [Path(path).name for path in paths] == ["yellow_tripdata_2016-06.csv", "yellow_tripdata_2016-07.csv"]
    assert sorted(p.name for p in (tmp_path / "new" / "folder").iterdir()) == [Path(path).name for path in paths]


@pytest.fixture(scope="module")
def march(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    path = make_sample(tmp_path_factory.mktemp("march"), start="2015-03", trips_per_month=200_000, faults=0)[0]
    trips = pd.read_csv(path, parse_dates=[1, 2])
    return trips.rename(columns={"tpep_pickup_datetime": "begin", "tpep_dropoff_datetime": "end"})


def test_rhythm_of_day_and_week(march: pd.DataFrame) -> None:
    per_hour = pd.crosstab(march["begin"].dt.date, march["begin"].dt.hour)
    weekday = pd.to_datetime(per_hour.index).day_of_week
    work, weekend = per_hour[weekday < 5].mean(), per_hour[weekday >= 5].mean()
    assert work[19] > 5 * work[4]  # evening rush against the dead of night
    assert work[8] > 2 * weekend[8]
    assert weekend[1] > 2 * work[1]
    assert per_hour.shape == (31, 24)
    # Counts of equal hours vary at least as chance would have it: they are drawn, not dealt out.
    noon = per_hour.loc[weekday < 5, 12]
    assert 0.5 * noon.mean() < noon.var() < 20 * noon.mean()


def test_places_and_fares(march: pd.DataFrame) -> None:
    x, y = march["pickup_longitude"], march["pickup_latitude"]
    jfk = x.between(-73.80, -73.765) & y.between(40.635, 40.66)
    laguardia = x.between(-73.89, -73.855) & y.between(40.765, 40.782)
    assert 0.01 < jfk.mean() < 0.04
    assert 0.01 < laguardia.mean() < 0.05
    assert (x.between(-74.02, -73.93) & y.between(40.70, 40.82)).mean() > 0.8
    flat = march["RateCodeID"] == 2
    assert (march.loc[flat, "fare_amount"] == 52).all()
    metered = march[march["RateCodeID"] == 1]
    assert ((metered["fare_amount"] - 2.5) % 0.5 == 0).all()
    assert 11 < march["fare_amount"].mean() < 14
    assert 1.4 < march["trip_distance"].median() < 2.0
    minutes = (march["end"] - march["begin"]).dt.total_seconds() / 60
    assert 8 < minutes.median() < 13
    assert (march.loc[march["payment_type"] == 2, "tip_amount"] == 0).all()
    parts = march[[*march.columns[12:18]]].sum(axis=1)
    np.testing.assert_allclose(parts, march["total_amount"], atol=0.006)
    assert set(march.loc[march["begin"] < "2015-03-22", "tolls_amount"]) == {0, 5.33, 11.75}
    assert set(march.loc[march["begin"] >= "2015-03-22", "tolls_amount"]) == {0, 5.54, 11.75}


def test_the_tariff_rises_on_its_day(tmp_path: Path) -> None:
    path = make_sample(tmp_path, start="2012-09", trips_per_month=30_000, faults=0)[0]
    rows = body(Path(path).read_bytes())
    metered = [(row[1] >= "2012-09-04", round(float(row[12]) * 100) - 250) for row in rows if row[7] == "1"]
    assert all(cents % (50 if new else 40) == 0 for new, cents in metered)
    assert {float(row[12]) for row in rows if row[7] == "2"} == {45.0, 52.0}


def test_congestion_surcharge(tmp_path: Path) -> None:
    path = make_sample(tmp_path, start="2019-02", trips_per_month=30_000, faults=0)[0]
    rows = body(Path(path).read_bytes())
    assert {row[-1] for row in rows if row[1] < "2019-02-02"} == {"0"}
    later = Counter(row[-1] for row in rows if row[1] >= "2019-02-02")
    assert set(later) == {"0", "2.5"}
    assert later["2.5"] > 4 * later["0"]


def test_tables_are_distributions() -> None:
    town = city()
    for table in (town.pickup, town.dropoff):
        assert (np.diff(table.astype(np.int64), axis=-1) >= 0).all()
        assert (table[..., -1] == 2**32 - 1).all()
    assert np.bincount(PARTS).sum() == 24
    assert set(town.zone) <= set(range(1, 264))


@given(st.integers(32_000_000, 99_000_000), st.booleans(), st.booleans())
def test_degrees_are_written_exactly(millionths: int, single: bool, negative: bool) -> None:
    value = millionths / 1e6
    if single:
        value = float(np.float32(value))
    buffer = np.zeros(32, dtype=np.uint8)
    written = bytes(buffer[: write_degrees(buffer, 0, -value if negative else value)]).decode()
    expected = Decimal(value).quantize(Decimal("1e-15"), ROUND_HALF_UP)
    text = f"{expected:f}".rstrip("0").rstrip(".")
    assert written == ("-" + text if negative else text)


def test_memory_stays_flat(tmp_path: Path) -> None:
    make_sample(tmp_path, start="2018-01", trips_per_month=100)
    tracemalloc.start()
    path = make_sample(tmp_path, start="2018-01", trips_per_month=400_000, overwrite=True)[0]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert Path(path).stat().st_size > 30e6
    assert peak < 20e6


def test_another_file_is_not_overwritten(tmp_path: Path) -> None:
    target = tmp_path / "yellow_tripdata_2015-01.csv"
    target.write_text("the only copy of something\n")
    with pytest.raises(SourceError, match="overwrite=True"):
        make_sample(tmp_path, start="2015-01", trips_per_month=10)
    assert target.read_text() == "the only copy of something\n"
    assert list(tmp_path.iterdir()) == [target]
    make_sample(tmp_path, start="2015-01", trips_per_month=10, overwrite=True)
    before = target.stat()
    make_sample(tmp_path, start="2015-01", trips_per_month=10)
    assert (target.stat().st_mtime_ns, target.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_nothing_is_left_of_a_failed_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sample.kernel, "fill", full)
    with pytest.raises(StorageError, match=r"cannot write .*/yellow_tripdata_2015-01.csv: the disk is full"):
        make_sample(tmp_path, start="2015-01", trips_per_month=10)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"start": "2020-07"}, "no sample of 2020-07.*2009-01 to 2020-06"),
        ({"start": "2020-05", "months": 3}, "no sample of 2020-07"),
        ({"start": "2008-12"}, "no sample of 2008-12"),
        ({"start": "soon"}, "start='soon' is no month"),
        ({"start": None}, "is no month"),
        ({"start": "2015-01", "months": 0}, "months=0"),
        ({"start": "2015-01", "trips_per_month": 0}, "trips_per_month=0"),
        ({"start": "2015-01", "trips_per_month": 1.5}, "trips_per_month=1.5"),
        ({"start": "2015-01", "faults": 1.5}, "faults=1.5"),
        ({"start": "2015-01", "folder": "s3://bucket/sample"}, "s3://bucket/sample is not a local folder"),
    ],
)
def test_refusals(tmp_path: Path, arguments: dict, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        make_sample(**({"folder": tmp_path / "new", "trips_per_month": 10} | arguments))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("start", ["2015-03", "2015-03-17", pd.Timestamp("2015-03-31"), pd.Period("2015-03-05", "D")])
def test_any_day_of_the_month_will_do(tmp_path: Path, start: object) -> None:
    assert make_sample(tmp_path, start=start, trips_per_month=10)[0].endswith("2015-03.csv")
