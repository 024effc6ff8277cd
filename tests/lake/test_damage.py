"""A lake whose files changed under it: an error that names the file and its cure, never another number."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import taxidask as td
from taxidask.compute.executors import ThreadExecutor
from taxidask.errors import LakeError, SpaceError
from taxidask.lake import Lake, layout
from taxidask.storage import Storage, counted


def answers(lake):
    cube = lake.cube()
    part = lake.cube(start="2015-01-10", end="2015-01-12")
    some = lake.trips(start="2015-01-10", end="2015-01-12", where="fare_amount > 10", columns=["tip_amount"])
    return (
        lake.trips().to_csv(), lake.trips(limit=5).to_csv(), some.to_csv(), lake.rejects().to_csv(),
        cube.counts.tobytes(), cube.missing.tobytes(), part.counts.tobytes(),
    )  # fmt: skip


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A lake of one month, and what it answers."""
    folder = tmp_path_factory.mktemp("damage")
    files = td.make_sample(folder, start="2015-01", trips_per_month=2000, faults=0.05)
    lake = Lake(folder / "lake")
    lake.ingest(files, client=ThreadExecutor(2))
    return lake, files, answers(lake)


def parts(lake, kind):
    return sorted(path for path in Path(lake.url, kind).rglob("*.parquet"))


@pytest.fixture
def whole(written):
    """The same, put back as it was after the test."""
    lake = written[0]
    before = {path: path.read_bytes() for path in Path(lake.url).rglob("*") if path.is_file()}
    yield written
    for path, data in before.items():
        if not path.exists() or path.read_bytes() != data:
            path.write_bytes(data)


@pytest.mark.parametrize("kind", ["trips", "rejects", "cube"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_is_an_error_or_changes_nothing(written, kind, place, bit):
    lake, files, expected = written
    [path] = parts(lake, kind)
    data = path.read_bytes()
    at = int(place * len(data))
    path.write_bytes(data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :])
    told = None
    try:
        assert answers(Lake(lake.url)) == expected
    except LakeError as error:
        told = error
    finally:
        path.write_bytes(data)
    if told is not None:
        assert str(path) in told.message
        assert files[0] in told.message
        assert ("lake.recount()" if kind == "cube" else "lake check --mend ") in told.remedy


@pytest.mark.parametrize("kind", ["trips", "rejects", "cube"])
@pytest.mark.parametrize("length", [0, 3, 200, -1])
def test_a_truncated_or_longer_file_is_an_error(whole, kind, length):
    lake, _, _ = whole
    [path] = parts(lake, kind)
    data = path.read_bytes()
    for wrong in (data[:length], data + b"more"):
        path.write_bytes(wrong)
        with pytest.raises(LakeError, match="is damaged") as told:
            answers(Lake(lake.url))
        assert str(path) in told.value.message


def test_a_missing_file_is_an_error_but_for_counts_which_are_made_of_the_trips(whole):
    lake, _, expected = whole
    parts(lake, "cube")[0].unlink()
    assert answers(Lake(lake.url)) == expected
    parts(lake, "trips")[0].unlink()
    with pytest.raises(LakeError, match="is not there"):
        Lake(lake.url).trips()


def test_damaged_counts_are_mended_as_the_message_says(whole):
    lake, _, expected = whole
    [path] = parts(lake, "cube")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(LakeError, match=r"lake\.recount\(\)"):
        lake.cube()
    lake.recount()
    assert answers(lake) == expected


def test_two_parts_exchanged_are_noticed(tmp_path):
    """Both are whole, and as long as each other or not: the manifest knows which is which."""
    files = td.make_sample(tmp_path, start="2015-01", months=2, trips_per_month=300, faults=0)
    lake = Lake(tmp_path / "lake")
    lake.ingest(files, client=ThreadExecutor(1))
    one, other = parts(lake, "trips")
    data = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(data)
    with pytest.raises(LakeError, match="is damaged"):
        lake.trips()


def test_a_lake_of_before_has_no_checksums_and_is_read(whole):
    lake, files, expected = whole
    for path in parts(lake, "trips") + parts(lake, "rejects") + parts(lake, "cube"):
        table = pq.read_table(path)
        pq.write_table(table, path, compression="zstd")
    [path] = Path(lake.url, "manifests").glob("*.json")
    old = lake._manifests.all()[0].to_json().decode()
    fields = json.loads(old)
    del fields["seal"]
    for part in fields["parts"] + fields["rejects"]:
        del part["footer"]
        part["bytes"] = os.path.getsize(Path(lake.url, part["path"]))
    path.write_text(json.dumps(fields))
    assert answers(Lake(lake.url)) == expected
    assert all(source.skipped for source in Lake(lake.url).ingest(files, client=ThreadExecutor(1)).sources)


def test_checking_costs_no_request(whole):
    """One for the footer, which Arrow asks for as well, and one for the pages."""
    lake, _, _ = whole
    seen: list = []
    with counted(Storage(), seen) as storage:
        Lake(lake.url, storage=storage).trips(columns=["fare_amount"])
    assert len([url for op, url, _ in seen if "/trips/" in url]) <= 2


NO_JSON = [b"", b"null", b"5", b"[]", b"{}", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 100_000, b'{"format": 1}']
SPACES = [
    b'{"kind": "grid"}',
    b'{"kind": "grid", "rows": "a", "cols": 1, "west": 0, "south": 0, "east": 1, "north": 1}',
    b'{"kind": "grid", "rows": 2, "cols": 2, "west": 0, "south": 0, "east": 1, "north": 1}',
    b'{"kind": "zones", "geojson": 5}',
    b'{"kind": "zones", "geojson": "AAAA"}',
    b'{"kind": "zones", "url": 5}',
]


@pytest.mark.parametrize("kind", ["lake.json", "spaces/*.json", "manifests/*.json"])
def test_a_small_file_that_holds_something_else_is_an_error_that_names_it(whole, kind):
    lake, files, _ = whole
    [path] = Path(lake.url).glob(kind)
    for wrong in NO_JSON + (SPACES if kind.startswith("spaces") else []):
        path.write_bytes(wrong)
        layout._spaces.clear()
        for ask in (Lake(lake.url).cube, lambda: Lake(lake.url).ingest(files)):
            with pytest.raises((LakeError, SpaceError)) as told:
                ask()
            assert str(path) in told.value.message
            assert told.value.remedy
        assert str(path) in repr(Lake(lake.url)), "shown in a notebook too"
        assert str(path) in Lake(lake.url)._repr_html_()


@given(place=st.integers(0, 1000), value=st.sampled_from([None, True, -1, 1.5, 10**30, "x", "1e5", [], [5], {}]))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_manifest_with_a_value_of_another_type_is_an_error_or_changes_nothing(written, place, value):
    lake, _, _ = written
    [path] = Path(lake.url, "manifests").glob("*.json")
    before = path.read_bytes()
    fields = json.loads(before)
    del fields["seal"]
    within = [fields, fields["parts"][0], fields["rules"], fields["rejected"]]
    places = [(one, name) for one in within for name in one]
    one, name = places[place % len(places)]
    one[name] = value
    path.write_text(json.dumps(fields))
    told = str(path)
    try:
        answers(Lake(lake.url))
        Lake(lake.url).sources()
    except LakeError as error:
        told = error.message
    finally:
        path.write_bytes(before)
    assert lake.url in told, "the manifest, or what it names instead of a part"


@given(bit=st.integers(0, 10**6))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flipped_bit_of_a_manifest_is_an_error_or_changes_nothing(written, bit):
    lake, _, expected = written
    [path] = Path(lake.url, "manifests").glob("*.json")
    before = path.read_bytes()
    harmed = bytearray(before)
    harmed[bit // 8 % len(harmed)] ^= 1 << bit % 8
    path.write_bytes(bytes(harmed))
    told = ""
    try:
        assert answers(Lake(lake.url)) == expected
    except LakeError as error:
        told = error.message
    finally:
        path.write_bytes(before)
    assert not told or str(path) in told
