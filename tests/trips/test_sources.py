from __future__ import annotations

import gzip
import pickle

import pytest

from taxidask.errors import SettingsError, SourceError, UnknownHeaderError
from taxidask.storage import Storage
from taxidask.trips import ERAS, find_sources
from taxidask.trips.eras import detect, detect_columns
from taxidask.trips.sources import RANGE_BYTES, month_of

HEADER = ",".join(ERAS[4].header) + "\n"


def test_every_published_header_belongs_to_its_era(data):
    found = {}
    for path in (data / "headers").glob("*.csv"):
        source = find_sources(path)[0]
        assert source.month == path.stem[-7:]
        found[source.month] = (source.era.name, source.era.extra_fields, source.era.locations)
        rest = path.read_bytes()[source.data_start :]
        assert rest[:1] not in b"\r\n"
    assert len(found) == 138
    for month, (name, extra, places) in found.items():
        expected = (
            "2009" if month < "2010" else "2010 to 2013" if month < "2014" else "2014" if month < "2015"
            else "2015-01 to 2015-06" if month < "2015-07" else "2015-07 to 2016-06" if month < "2016-07"
            else "2016-07 to 2018" if month < "2019" else "2019 to 2020"
        )  # fmt: skip
        assert name == expected, month
        assert extra == (2 if "2016-07" <= month <= "2016-12" else 0), month
        assert places == ("points" if month < "2016-07" else "zones"), month


def test_the_second_line_is_blank_in_2009_to_2014_and_2017_to_2018(data):
    for path in (data / "headers").glob("*.csv"):
        month, raw = path.stem[-7:], path.read_bytes()
        lines = raw[: find_sources(path)[0].data_start].count(b"\n")
        assert lines == (2 if month < "2015" or "2017" <= month < "2019" else 1), month


@pytest.mark.parametrize("era", ERAS, ids=lambda era: era.name)
def test_header_variants(era):
    raw, quoted = ",".join(era.header), ",".join(f'"{name}"' for name in era.header)
    for text in (
        raw + "\n", "\ufeff" + raw + "\r\n", raw, raw.upper() + "\n", quoted + "\n",
        "\n" + raw + "\n", "," + raw + "\n", ",".join(reversed(era.header)) + "\n",
    ):  # fmt: skip
        found, start = detect(text.encode(), "x.csv")
        assert found.locations == era.locations
        assert {name for name in found.columns if name} == {name for name in era.columns if name}
        assert start == len(text.encode())
    assert detect_columns(era.header, "x.csv").name == era.name


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda names: [name.replace("tip_amount", "tip_amout") for name in names],
            ["'tip_amout'", "missing: tip_amount"],
        ),
        (lambda names: names[:-5], ["missing: ", "tolls_amount"]),
        (lambda names: [*names, "fare_amount"], ["given twice: fare_amount"]),
        (lambda names: [*names, "PULocationID", "DOLocationID"], ["no known era"]),
        (lambda names: ["a", "b"], ["unknown: 'a', 'b'"]),
    ],
)
def test_unknown_headers_show_themselves_and_the_nearest_era(change, words):
    names = change(list(ERAS[4].header))
    with pytest.raises(UnknownHeaderError) as info:
        detect((",".join(names) + "\n").encode(), "s3://b/month.csv")
    message = str(info.value)
    for word in ["s3://b/month.csv", ",".join(names), "the nearest era is", *words]:
        assert word in message
    if len(names) > 10:
        assert ERAS[4].name in message


@pytest.mark.parametrize(
    ("name", "raw", "words"),
    [
        ("empty.csv", b"", "empty (0 bytes)"),
        ("blank.csv", b"\n\n  \n", "is empty"),
        ("page.csv", b"<!DOCTYPE html><html><body>404</body></html>", "is HTML or XML"),
        ("page.csv", b"\n <?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "is HTML or XML"),
        ("a.csv", b"PK\x03\x04rest", "a zip archive"),
        ("a.csv", b"\xff\xfeV\0e\0n\0", "UTF-16"),
        ("a.csv", b"x" * 100_000, "no line end"),
        ("a.csv.gz", b"\x1f\x8bgarbage", "truncated or damaged gzip"),
        ("a.csv.zst", b"\x28\xb5\x2f\xfdgarbage garbage", "truncated or damaged zstd"),
        ("a.parquet", b"PAR1garbagePAR1", "no readable Parquet"),
    ],
)
def test_files_that_are_no_trips(tmp_path, name, raw, words):
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(SourceError) as info:
        find_sources(tmp_path / name)
    assert words in str(info.value)
    assert str(tmp_path / name) in str(info.value)
    assert info.value.remedy


def test_names_that_lead_nowhere(tmp_path):
    for name, words in [
        (tmp_path / "none.csv", "does not exist"),
        (tmp_path / "*.csv", "no file matches"),
        (tmp_path, "has no trip files"),
        ([], "no source was named"),
    ]:
        with pytest.raises(SourceError, match=words):
            find_sources(name)
    (tmp_path / "readme.txt").write_text("hello")
    with pytest.raises(SourceError, match=r"has no trip files \(1 other files\)"):
        find_sources(tmp_path)
    with pytest.raises(SettingsError, match="YYYY-MM"):
        find_sources(tmp_path, month="January")


def test_folders_patterns_lists_and_storages(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "b-2015-02.csv").write_text(HEADER)
    (tmp_path / "a-2015-01.csv").write_text(HEADER)
    (tmp_path / "c.csv.gz").write_bytes(gzip.compress(HEADER.encode()))
    (tmp_path / "notes.txt").write_text("hello")
    found = find_sources(tmp_path)
    assert [source.url.removeprefix(f"{tmp_path}/") for source in found] == [
        "a-2015-01.csv",
        "c.csv.gz",
        "deep/b-2015-02.csv",
    ]
    assert [source.month for source in found] == ["2015-01", None, "2015-02"]
    assert [source.compression for source in found] == [None, "gzip", None]
    assert find_sources(f"{tmp_path}/*2015*.csv") == found[:1]
    assert find_sources([tmp_path / "a-2015-01.csv", tmp_path, str(tmp_path / "a-2015-01.csv")]) == found
    assert {source.month for source in find_sources(tmp_path, month="2016-03")} == {"2016-03"}
    assert pickle.loads(pickle.dumps(found)) == found
    storage = Storage()
    storage.write("memory://in/2015-05.csv", HEADER.encode())
    assert find_sources("memory://in", storage=storage)[0].month == "2015-05"


def test_a_folder_with_brackets_is_a_folder_first(tmp_path):
    folder = tmp_path / "trips [2015]?"
    folder.mkdir()
    (folder / "a.csv").write_text(HEADER)
    assert [source.url for source in find_sources(folder)] == [str(folder / "a.csv")]


def test_a_name_with_brackets_is_a_name_first(tmp_path):
    (tmp_path / "trips[1].csv").write_text(HEADER)
    assert len(find_sources(tmp_path / "trips[1].csv")) == 1


@pytest.mark.parametrize(
    ("name", "month"),
    [
        ("yellow_tripdata_2015-01.csv", "2015-01"),
        ("s3://2014-01/2014-02/x.csv", None),
        ("2015-13.csv", None),
        ("2015-01-15.csv", None),
        ("2015-01_2015-02.csv", None),
        ("2015-01_part_2015-01.csv.gz", "2015-01"),
        ("12015-01.csv", None),
        ("2015-012.csv", None),
    ],
)
def test_the_month_of_a_name(name, month):
    assert month_of(name) == month


def test_blocks_cover_the_file(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(HEADER.encode() + b"\n" * (20 << 20))
    [source] = find_sources(path)
    blocks = source.blocks(8 << 20)
    assert [(block.start, block.stop) for block in blocks] == [
        (0, RANGE_BYTES), (RANGE_BYTES, 2 * RANGE_BYTES), (2 * RANGE_BYTES, source.size)
    ]  # fmt: skip
    for bad in (0, -8 << 20, 12 << 20, 1000):
        with pytest.raises(ValueError, match="multiple of 8 MiB"):
            source.blocks(bad)


def test_an_empty_folder_in_a_bucket_is_called_so(bucket):
    Storage().write(f"{bucket}/trips/", b"")  # as consoles mark a folder
    with pytest.raises(SourceError, match=r"the folder \S+/trips is empty"):
        find_sources(f"{bucket}/trips")
    with pytest.raises(SourceError, match=r"the folder \S+/trips/ is empty"):
        find_sources(f"{bucket}/trips/")
    with pytest.raises(SourceError, match="/rides does not exist"):
        find_sources(f"{bucket}/rides")
    Storage().write(f"{bucket}/trips/a.csv", HEADER.encode())
    assert [source.url for source in find_sources(f"{bucket}/trips/")] == [f"{bucket}/trips/a.csv"]


def test_a_lake_within_a_folder_is_no_source(tmp_path):
    lake = tmp_path / "results" / "lake"
    (lake / "trips" / "year=2015").mkdir(parents=True)
    (lake / "lake.json").write_text("{}")
    (lake / "trips" / "year=2015" / "part.parquet").write_bytes(b"PAR1")
    (tmp_path / "2015-01.csv").write_text(HEADER)
    (tmp_path / "results" / "2015-02.csv").write_text(HEADER)
    found = [source.url.rpartition("/")[2] for source in find_sources(tmp_path)]
    assert found == ["2015-01.csv", "2015-02.csv"]
