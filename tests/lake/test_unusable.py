"""One file that is no trips keeps none of the others out of the lake, and is named."""

from __future__ import annotations

import bz2
import os
from pathlib import Path

import pytest

import taxidask as td
from taxidask.compute.executors import ThreadExecutor
from taxidask.errors import SourceError, SpaceError, StorageError
from taxidask.lake import Lake
from taxidask.runs.stages import left_out
from taxidask.storage import Storage

BAD = {
    "a-2015-07.csv": (b"", "is empty"),
    "b-2015-08.csv": (b"<html><body>404</body></html>", "is HTML or XML"),
    "c-2015-09.csv": (b"one,two\n1,2\n", "header"),
    "d-2015-10.csv": (b"PK\x03\x04 and more", "a zip archive"),
    "e-2015-11.parquet": (b"PAR1 and no more", "no readable Parquet"),
    "f-2015-12.csv.gz": (b"\x1f\x8b\x08 and no more", "gzip file"),
}


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    return td.make_sample(tmp_path_factory.mktemp("pristine"), start="2015-01", months=2, trips_per_month=200)


@pytest.fixture
def folder(tmp_path, pristine):
    """Two good months, and every kind of file that is none."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name, (content, _) in BAD.items():
        (folder / name).write_bytes(content)
    for file in pristine:
        (folder / Path(file).name).write_bytes(Path(file).read_bytes())
    return folder


class Forbidding(Storage):
    """A storage that gives none of the bytes of some files."""

    def __init__(self, what: str, after: int = 0) -> None:
        super().__init__()
        self.what, self.left = what, after

    def _call(self, op, url, fn, *, needs=0):
        if self.what in url and op in ("read", "stat"):
            self.left -= 1
            if self.left < 0:
                raise StorageError(f"cannot {op} {url}: permission denied", "check the owner and mode")
        return super()._call(op, url, fn, needs=needs)


def ingest(lake, files, **options):
    return lake.ingest(files, client=ThreadExecutor(2), **options)


def test_a_bad_file_is_a_line_of_the_report_and_the_others_are_read(tmp_path, folder, pristine):
    lake = Lake(tmp_path / "lake")
    result = ingest(lake, [folder, tmp_path / "missing.csv", tmp_path / "none" / "*.csv"], errors="report")
    told = {Path(one.url).name: str(one.error) for one in result.failed}
    assert told.keys() == {*BAD, "missing.csv", "*.csv"}
    for name, (_, says) in BAD.items():
        assert says in told[name]
        assert str(folder / name) in told[name]
    assert "does not exist" in told["missing.csv"]
    assert "no file matches" in told["*.csv"]
    assert len(result.sources) == len(BAD) + 4
    assert result.rows == result.kept + sum(result.rejected.values()) == 400
    expected = Lake(tmp_path / "expected")
    ingest(expected, pristine)
    assert lake.cube() == expected.cube()
    for name in told:
        assert name in repr(result)


def test_raise_comes_after_the_others_are_in_the_lake(tmp_path, folder):
    lake = Lake(tmp_path / "lake")
    with pytest.raises(SourceError, match=f"{len(BAD)} of {len(BAD) + 2} sources .*is empty.*the rest is in the lake"):
        ingest(lake, folder)
    assert lake.sources()["rows"].tolist() == [200, 200]


def test_a_name_that_is_not_utf8_is_told_with_escapes(tmp_path, pristine):
    odd = os.path.join(os.fsencode(tmp_path), b"caf\xe9-2015-03.csv")
    Path(os.fsdecode(odd)).write_bytes(Path(pristine[0]).read_bytes())
    for given in (tmp_path, [os.fsdecode(odd)], [tmp_path / "*.csv"]):
        result = ingest(Lake(tmp_path / "lake"), [*pristine, *(given if isinstance(given, list) else [given])],
                        errors="report")  # fmt: skip
        assert result.rows == 400
        [bad] = result.failed
        assert bad.url.endswith(r"caf\xe9-2015-03.csv")
        assert str(bad.error).endswith("is not UTF-8; rename it")
        repr(result).encode()
        result.to_pandas().to_json()


@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_a_file_that_is_forbidden_sooner_or_later(tmp_path, pristine, after):
    """When it is looked for, when it is looked at, when it is read, when its version is asked for again."""
    lake = Lake(tmp_path / "lake", storage=Forbidding("2015-02", after))
    result = ingest(lake, pristine, errors="report")
    assert "permission denied" in str(result.sources[1].error)
    assert result.sources[0].kept > 0
    assert [Path(url).name for url in lake.sources()["url"]] == [Path(pristine[0]).name]


def test_a_file_deleted_while_it_is_read(tmp_path, pristine, monkeypatch):
    gone = tmp_path / "gone-2015-03.csv"
    gone.write_bytes(Path(pristine[0]).read_bytes() * 3)
    read = Storage.read

    def deleting(self, url, start=0, stop=None, **version):
        data = read(self, url, start, stop, **version)
        if url == str(gone):
            gone.unlink(missing_ok=True)
        return data

    monkeypatch.setattr(Storage, "read", deleting)
    result = ingest(Lake(tmp_path / "lake"), [gone, *pristine], errors="report")
    assert [Path(one.url).name for one in result.failed] == [gone.name]
    assert result.rows == 400


def test_links_to_nothing_and_to_themselves(tmp_path, folder):
    (folder / "dangling-2015-05.csv").symlink_to("nowhere.csv")
    (folder / "loop-2015-06.csv").symlink_to("loop-2015-06.csv")
    result = ingest(Lake(tmp_path / "lake"), folder, errors="report")
    told = {Path(one.url).name: str(one.error) for one in result.failed}
    assert "nothing is stored there" in told["dangling-2015-05.csv"]
    assert "symbolic links" in told["loop-2015-06.csv"]
    assert result.rows == 400


def test_a_count_names_all_that_cannot_be_used(folder):
    with pytest.raises(SourceError, match=rf"{len(BAD)} of {len(BAD) + 2} sources .*a-2015-07.*f-2015-12"):
        td.count_trips(folder)


def test_what_a_folder_has_and_cannot_be_read_is_named(tmp_path):
    """A header without rows, a file to be unpacked first, a header of a thousand names: none is left out in silence."""
    folder = tmp_path / "trips"
    (good,) = map(Path, td.make_sample(folder, start="2015-01", trips_per_month=100))
    header = good.read_text().splitlines()[0]
    (folder / "yellow_tripdata_2015-02.csv").write_text(f"{header}\n")
    (folder / "yellow_tripdata_2015-03.csv.bz2").write_bytes(bz2.compress(good.read_bytes()))
    (folder / "yellow_tripdata_2015-04.csv").write_text(",".join(f"name{n}" for n in range(1000)) + "\n1\n")
    result = Lake(tmp_path / "lake").ingest(folder, client=ThreadExecutor(1), errors="report")
    assert [source.kept > 0 for source in result.sources] == [True, False, False, False]
    assert "it has a header and no rows" in result.sources[1].note
    assert "is bzip2" in str(result.sources[2].error)
    assert "no known era" in str(result.sources[3].error)
    assert len(str(result.sources[3].error)) < 1800
    notes = left_out(result)
    assert [sum(source.url in note for note in notes) for source in result.sources] == [0, 1, 1, 1]


@pytest.mark.parametrize("pattern", ["", "/**/*.csv"])
def test_a_folder_that_may_not_be_listed_is_one_line_and_the_others_are_read(tmp_path, pristine, monkeypatch, pattern):
    (tmp_path / "in" / "locked").mkdir(parents=True)
    (tmp_path / "in" / "open").mkdir()
    for name, file in zip(("locked", "open"), pristine, strict=True):
        (tmp_path / "in" / name / Path(file).name).write_bytes(Path(file).read_bytes())
    scandir = os.scandir

    def forbid(folder):  # root may list everything
        if Path(folder).name == "locked":
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", forbid)
    lake, source = Lake(tmp_path / "lake"), f"{tmp_path}/in{pattern}"
    good, bad = lake.ingest(source, errors="report").sources
    assert (Path(good.url).name, good.rows) == ("yellow_tripdata_2015-02.csv", 200)
    assert bad.url == str(tmp_path / "in" / "locked")
    assert "may not be listed" in str(bad.error)
    with pytest.raises(SourceError, match=r"locked may not be listed; allow it, chmod u\+rx"):
        td.count_trips(source)


def test_zones_in_a_lake_with_a_grid_are_one_line_and_the_others_are_read(tmp_path, pristine):
    [zoned] = td.make_sample(tmp_path, start="2018-01", trips_per_month=200)
    own, new = Lake(tmp_path / "own"), Lake(tmp_path / "new")
    own.ingest(pristine[0])
    for lake, space, remedy in ((own, "auto", "lake.recount(space=td.Zones())"), (new, "new_york", "space=td.Zones()")):
        bad, *good = lake.ingest([zoned, *pristine], space=space, errors="report").sources
        assert [one.rows for one in good] == [200, 200]
        assert isinstance(bad.error, SpaceError)
        assert "which Grid(24, 25" in str(bad.error)
        assert remedy in str(bad.error)
        assert set(lake.sources()["url"]) == set(map(str, pristine))
    with pytest.raises(SpaceError):
        own.ingest([zoned, *pristine])
    nothing = Lake(tmp_path / "nothing")
    with pytest.raises(SpaceError):
        nothing.ingest(zoned, space="new_york")
    assert not (tmp_path / "nothing").exists()
