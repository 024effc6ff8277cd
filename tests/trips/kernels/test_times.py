"""Times of any form against patterns, datetime and zoneinfo."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import taxidask as td
from taxidask.trips.eras import ERAS
from taxidask.trips.kernels.times import AS_WRITTEN, CONVERTED, NO_TIME, new_york, parse_any_time
from taxidask.trips.kernels.times import UTC as MARKED_UTC

ROW = "1,{},{},1,1.59,1,N,161,162,1,12,1,0.5,3.25,0,0.3,17.05"
EPOCH = datetime(1970, 1, 1)


def parsed(text: str) -> tuple[datetime | None, int]:
    raw = text.encode()
    room = np.frombuffer(b"9" + raw + b"9" * 64, np.uint8)  # what stands around it is not read
    stamp, form = parse_any_time(room.ctypes.data, 1, 1 + len(raw))
    return (EPOCH + timedelta(microseconds=int(stamp)) if form else None), form


HONEST = {
    "2018-01-04T00:21:05.000": datetime(2018, 1, 4, 0, 21, 5),
    "2018-01-04 00:21:05.25": datetime(2018, 1, 4, 0, 21, 5, 250_000),
    "2018-01-04 00:21:05.123456789": datetime(2018, 1, 4, 0, 21, 5, 123_456),
    "2018-01-04 00:21": datetime(2018, 1, 4, 0, 21),
    "2018-1-4 0:21:05": datetime(2018, 1, 4, 0, 21, 5),
    "2018/01/04 00:21:05": datetime(2018, 1, 4, 0, 21, 5),
    "1/4/2018 0:21": datetime(2018, 1, 4, 0, 21),
    "1/4/18 0:21": datetime(2018, 1, 4, 0, 21),
    "01/04/2018 12:21:05 PM": datetime(2018, 1, 4, 12, 21, 5),
    '"1/4/2018, 12:21:05 AM"': datetime(2018, 1, 4, 0, 21, 5),
    "2017 Jan 01 12:21:05 AM": datetime(2017, 1, 1, 0, 21, 5),
    "04-JAN-18 12:21:05 p.m.": datetime(2018, 1, 4, 12, 21, 5),
    "Jan 4, 2018 11:21 PM": datetime(2018, 1, 4, 23, 21),
    "20180104T002105": datetime(2018, 1, 4, 0, 21, 5),
    " 2018-01-04 00:21:05\t": datetime(2018, 1, 4, 0, 21, 5),
}


@pytest.mark.parametrize("text", HONEST)
def test_honest_times(text):
    assert parsed(text) == (HONEST[text], AS_WRITTEN)


@pytest.mark.parametrize("mark", [" UTC", "Z", "z", " GMT", "+00:00", " +0000", "-00"])
def test_what_is_marked_utc_is_taken_as_it_stands(mark):
    assert parsed("2019-03-07 16:00:22" + mark) == (datetime(2019, 3, 7, 16, 0, 22), MARKED_UTC)


@pytest.mark.parametrize(
    ("text", "hour"),
    [
        ("2019-03-07 16:00:22-05:00", 16),
        ("2019-07-07 16:00:22-0500", 17),
        ("2019-07-07T16:00:22 EDT", 16),
        ("2019-03-07 16:00:22+01", 10),
    ],
)
def test_what_has_another_zone_becomes_new_yorks_clock(text, hour):
    moment, form = parsed(text)
    assert (moment.hour, form) == (hour, CONVERTED)


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "2018-01-04", "1/4/2018", "43104.0146", "1514766065", "20180104", "2018-02-29 00:00:00"),
        *("31/1/2018 0:21", "04-01-2018 00:21", "2018-01-04 24:00:00", "2018-01-04 00:60", "2018-01-04 0:21:05 AM"),
        *("2018-01-04 13:21 PM", "2018-01-04 00:21:05.", "2018-01-04 00:21 PST", "2018-01-04 00:21+16:00"),
        *("2018-01-04 00:21 junk", "2018-01-04_00:21", "2018-01-0400:21", "1985-01-04 00:21:05-05:00", "T00:21"),
        "2018-01-04 00:21:05" + " " * 60 + "x",
    ],
)
def test_what_could_mean_several_things_or_none_is_no_time(text):
    assert parsed(text) == (None, NO_TIME)


@given(st.datetimes(datetime(1987, 1, 2), datetime(2100, 1, 1)))
def test_new_yorks_clock(moment):
    stamp = (moment - EPOCH) // timedelta(microseconds=1)
    wall = moment.replace(tzinfo=UTC).astimezone(ZoneInfo("America/New_York")).replace(tzinfo=None)
    assert EPOCH + timedelta(microseconds=int(new_york(stamp))) == wall


@st.composite
def texts(draw: st.DrawFn) -> str:
    moment = draw(st.datetimes(datetime(1990, 1, 1), datetime(2060, 12, 31)))
    date = draw(
        st.sampled_from(
            [
                "%Y-%m-%d",
                "%m/%d/%Y",
                "%m/%d/%y",
                "%Y %b %d",
                "%d-%b-%Y",
                "%d %B %Y",
                "%Y.%m.%d",
                "%d/%m/%Y",
                "%Y%m%d",
                "%b %d, %Y",
                "%Y%m",
                "%Y",
            ]
        )
    )
    clock = draw(
        st.sampled_from(["%H:%M:%S", "%H:%M", "%I:%M:%S %p", "%I:%M%p", "%H:%M:%S.%f", "%H", "%H%M%S", "%H:%M:%S,%f"])
    )
    zone = draw(st.sampled_from(["", "", "Z", " UTC", "+00:00", "-05:00", " -0400", "+0530", " EST", "+1", " X"]))
    text = moment.strftime(date + draw(st.sampled_from([" ", " ", "T", "  ", ", ", "", "-"])) + clock) + zone
    if draw(st.booleans()):
        text = text.replace("/0", "/").replace(" 0", " ").removeprefix("0")
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.sampled_from(["", *"09:/-. TaZ,+"])) + text[at + draw(st.integers(0, 1)) :]
    return text


@settings(max_examples=300, deadline=None)
@given(texts())
def test_any_text_is_read_as_the_slow_reader_does_or_refused_alike(text):
    try:
        expected = oracle.time(text.strip(" \t"))
    except ValueError:
        expected = None
    assert parsed(text)[0] == expected


def test_a_file_of_unusual_times_says_what_it_took_and_what_it_could_not_read(tmp_path):
    forms = [
        ("2019-01-04T00:21:05.000", "2019-01-04T00:31:05.000"),
        ("1/4/2019 0:21", "1/4/19 12:31 AM"),
        ("2019-01-04 00:21:05 UTC", "2019-01-04T00:31:05Z"),
        ("2019-01-04 06:21:05+01:00", "2019-01-04 00:31:05-05:00"),
        ("2019-01-04 00:21:05", "4. Januar 2019"),
        ("2019-01-04 00:21:05", "\x1b[2J"),
    ]
    rows = "\n".join(ROW.format(*times) for times in forms)
    path = tmp_path / "yellow_tripdata_2019-01.csv"
    path.write_text(",".join(ERAS[5].header) + "\n" + rows + "\n")
    trips, rejects = td.read_trips(path)
    assert trips["pickup_datetime"].dt.strftime("%d %H:%M").tolist() == ["04 00:21"] * 4
    assert rejects["reason"].tolist() == ["bad_datetime"] * 2
    lake = td.Lake(tmp_path / "lake")
    for ingest in (lake.ingest(path), td.count_trips(path).ingest):
        [source] = ingest.sources
        assert source.zoned == {"utc": 2, "converted": 2, "either_order": 2}
        assert source.note == (
            "2 times are marked UTC and were taken as they stand, as New York's clock; 2 times of other zones were "
            "converted to New York's clock; there are times that cannot be read, like '4. Januar 2019'"
        )
    assert "like '4. Januar 2019'" in lake.sources()["note"][0]
    assert lake.ingest(path).sources[0].note == ""  # nothing was read
    path.write_text(",".join(ERAS[5].header) + "\n" + ROW.format("\x1b[2J", "x" * 99) + "\n")
    with pytest.raises(td.errors.SourceError, match=r"can be kept: bad_datetime 1 \(.*, like '\\x1b\[2J'\)"):
        lake.ingest(path)
