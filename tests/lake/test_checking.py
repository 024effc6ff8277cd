"""A lake says what is wrong with it, file by file, and reads again what it can; nothing that is whole is touched."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from taxidask import cli
from taxidask.compute.executors import ThreadExecutor
from taxidask.errors import LakeError, RunError
from taxidask.lake import Lake
from taxidask.lake.manifest import Manifests
from taxidask.sample import make_sample
from taxidask.trips.rules import Rules

DAY = 86_400


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    """A lake of two months, and its sources."""
    folder = tmp_path_factory.mktemp("checking")
    files = make_sample(folder / "in", start="2015-01", months=2, trips_per_month=300, faults=0.1)
    Lake(folder / "lake").ingest(files, client=ThreadExecutor(1), rules=Rules(max_fare=300))
    return folder


@pytest.fixture
def made(pristine, tmp_path_factory):
    """A lake in its place, as it was written: manifests name the places of their sources."""
    before = {path: path.read_bytes() for path in pristine.rglob("*") if path.is_file()}
    yield Lake(pristine / "lake"), sorted(str(path) for path in (pristine / "in").iterdir())
    for path in pristine.rglob("*"):
        if path.is_file() and path not in before:
            path.unlink()
    for path, data in before.items():
        if not path.exists() or path.read_bytes() != data:
            path.write_bytes(data)


def answers(lake):
    lake = Lake(lake.url)
    return (
        lake.trips().to_csv(), lake.rejects().to_csv(), lake.cube().counts.tobytes(),
        lake.sources().drop(columns=["seconds", "version"]).to_csv(),
    )  # fmt: skip


def files_of(lake, pattern):
    return sorted(path for path in Path(lake.url).glob(pattern) if path.is_file())


def cut(path):
    path.write_bytes(path.read_bytes()[:-40])


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 4
    path.write_bytes(data)


def test_a_whole_lake_is_well(made):
    lake, _ = made
    check = lake.check()
    assert (check.well, check.sources, check.parts, check.read) == (True, 2, 4, 4)
    assert "well; 2 sources, 4 parts, all read" in repr(check)
    assert lake.check(sample=1).read == 1


@pytest.mark.parametrize(
    ("pattern", "kind"),
    [
        ("trips/**/*.parquet", "part"), ("rejects/*.parquet", "rejects"), ("cube/*/*.parquet", "counts"),
        ("manifests/*.json", "manifest"), ("manifests/by-content/*.json", "claim"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("harm", [flip, cut, lambda path: path.write_bytes(b"PAR1"), Path.unlink])
def test_what_is_damaged_is_found_and_mended(made, pattern, kind, harm):
    lake, files = made
    expected = answers(lake)
    rules = Rules(max_fare=300)
    for path in files_of(lake, pattern):
        harm(path)
    if harm is flip and kind == "claim" and lake.check().well:
        pytest.skip("the bit is one of another URL, which no manifest has")
    check = lake.check()
    if kind == "claim" and harm is Path.unlink:
        assert check.well, "whoever comes next with this content claims it"
        return
    if kind == "counts" and harm is Path.unlink:
        kind = "no counts"
    if kind == "manifest" and harm is Path.unlink:
        kind = "claim"
    assert {one.kind for one in check.found} == {kind}
    assert len(check.found) == 2
    assert all(one.remedy for one in check.found)
    if kind not in ("claim", "manifest"):
        assert [one.source for one in check.found] == files
    mended = lake.check(mend=True, rules=rules, client=ThreadExecutor(1))
    assert (mended.found, mended.left) == ([], [])
    assert answers(lake) == expected
    assert lake.check().well


def test_readers_go_on_with_what_is_whole_until_it_is_read_again(made, monkeypatch):
    lake, _ = made
    trips = lake.trips()
    flip(files_of(lake, "rejects/*.parquet")[0])
    seen = []
    ingest = Lake.ingest

    def looking(self, *arguments, **options):
        seen.append((len(Lake(lake.url).trips()), len(Lake(lake.url).sources())))
        return ingest(self, *arguments, **options)

    monkeypatch.setattr(Lake, "ingest", looking)
    assert lake.check(mend=True, client=ThreadExecutor(1)).well
    assert seen == [(len(trips), 2)]
    assert lake.trips().equals(trips)


def test_a_source_that_is_gone_is_said_and_what_there_is_of_it_stays(made):
    lake, files = made
    part = files_of(lake, "trips/**/*.parquet")[0]
    flip(part)
    Path(files[0]).unlink()
    before = {path: path.read_bytes() for path in files_of(lake, "**/*")}
    check = lake.check(mend=True, client=ThreadExecutor(1))
    assert not check.well
    assert f"{files[0]} is gone, and cannot be read again" in check.left[0]
    assert {path: path.read_bytes() for path in files_of(lake, "**/*")} == before


def test_what_a_newer_version_wrote_is_refused_and_never_written_over(made):
    lake, _ = made
    path = files_of(lake, "manifests/*.json")[0]
    newer = path.read_text().replace('"format": 1', '"format": 2')
    path.write_text(newer)
    flip(files_of(lake, "rejects/*.parquet")[1])
    before = {path: path.read_bytes() for path in files_of(lake, "**/*")}
    check = lake.check(mend=True, client=ThreadExecutor(1))
    assert "is of lake format 2, this version reads 1" in check.left[0]
    assert {path: path.read_bytes() for path in files_of(lake, "**/*")} == before
    for act in (lake.tidy, lambda: lake.tidy(apply=True)):
        with pytest.raises(LakeError, match="is of lake format 2"):
            act()


def test_a_lake_without_its_head_and_one_of_a_damaged_space(made):
    lake, _ = made
    head, [space] = Path(lake.url, "lake.json"), files_of(lake, "spaces/*.json")
    told = head.read_bytes()
    head.unlink()
    [one] = lake.check().found
    assert (one.kind, one.file) == ("lake", str(head))
    head.write_bytes(told.replace(b'"format": 1', b'"format": 9'))
    assert "format 9" in lake.check().found[0].wrong
    head.write_bytes(told)
    cut(space)
    [one] = lake.check().found
    assert (one.kind, str(space) in one.wrong) == ("space", True)


def test_rejects_that_are_counted_only_are_no_damage(tmp_path, monkeypatch):
    monkeypatch.setattr("taxidask.trips.read.LEAST_REJECTS", 0)
    monkeypatch.setattr("taxidask.trips.streams.CHUNK_BYTES", 1 << 16)
    [file] = make_sample(tmp_path, start="2015-01", trips_per_month=10, faults=0)
    with Path(file).open("ab") as end:
        end.write(b"x\n" * 200_000)
    lake = Lake(tmp_path / "lake")
    assert lake.ingest(file, client=ThreadExecutor(1)).sources[0].left_out
    assert lake.check().well


def test_blocks_of_an_interrupted_ingest(tmp_path, made, monkeypatch):
    from taxidask.trips import sources, streams

    monkeypatch.setattr(sources, "RANGE_BYTES", 4096)
    monkeypatch.setattr(streams, "RANGE_BYTES", 4096)
    file = shutil.copy(made[1][0], tmp_path / "yellow_tripdata_2015-01.csv")
    lake, done = Lake(tmp_path / "lake"), []
    with pytest.raises(RunError):
        lake.ingest(
            file, client=ThreadExecutor(1), block_size=8192, on_block=done.append, should_stop=lambda: len(done) > 1
        )
    assert lake.check().well
    summaries = files_of(lake, "blocks/*/*.json")
    files_of(lake, "trips/**/*.parquet")[0].unlink()
    [one] = lake.check().found
    assert one.kind == "block"
    assert lake.check(mend=True).well
    assert len(files_of(lake, "blocks/*/*.json")) == len(summaries) - 1

    left = files_of(lake, "trips/**/*.parquet") + files_of(lake, "rejects/*") + files_of(lake, "blocks/*/*")
    assert lake.tidy().files == [], "an ingest may go on with them"
    for path in left:
        os.utime(path, (time.time() - 2 * DAY,) * 2)
    found = lake.tidy()
    assert sorted(stat.url for stat in found.files) == sorted(map(str, left))
    assert (found.removed, found.bytes) == (False, sum(path.stat().st_size for path in left))
    os.utime(left[0])
    assert lake.tidy(apply=True).files == [], "one of them is young: somebody is at work"
    os.utime(left[0], (time.time() - 2 * DAY,) * 2)
    assert lake.tidy(apply=True).removed
    assert not any(path.exists() for path in left)
    lake.ingest(file, client=ThreadExecutor(1))
    assert lake.check().well


def leftover(lake, age):
    """A part of a former generation, as a killed driver leaves it."""
    [*_, part] = files_of(lake, "trips/**/*.parquet")
    left = part.with_name(part.name[:30] + "0" * 8 + "g7-000000000000-000000000001-0000.parquet")
    shutil.copy(part, left)
    os.utime(left, (time.time() - age,) * 2)
    return left


def test_only_what_is_old_and_not_named_is_tidied_and_its_planner_cannot_commit(made):
    lake, _ = made
    expected = answers(lake)
    left = leftover(lake, DAY / 2)
    assert lake.tidy(apply=True).files == []
    os.utime(left, (time.time() - 2 * DAY,) * 2)
    planned = Manifests(lake.url, lake.storage).all()
    assert [stat.url for stat in lake.tidy().files] == [str(left)]
    assert left.exists()
    assert "1 file, " in repr(lake.tidy(apply=True))
    assert not left.exists()
    now = Manifests(lake.url, lake.storage).all()
    assert sorted(b.generation - a.generation for a, b in zip(planned, now, strict=True)) == [0, 1]
    assert answers(lake) == expected
    assert [str(path) for path in files_of(lake, "spaces/*.json")], "of a name that is no part's: left alone"


def test_what_a_source_has_whose_manifest_is_gone_is_not_tidied(made):
    lake, (source, _) = made
    before = sorted(Path(lake.url, "trips").rglob("*.parquet"))
    Path(Manifests(lake.url, lake.storage).path(source)).unlink()
    assert [one.kind for one in lake.check().found] == ["claim"]
    for path in Path(lake.url).rglob("*.*"):
        os.utime(path, (0, 1))
    assert lake.tidy(apply=True).files == []
    assert sorted(Path(lake.url, "trips").rglob("*.parquet")) == before


def test_no_lake_and_nonsense_are_errors(made, tmp_path):
    with pytest.raises(LakeError, match=r"there is no lake at .* yet"):
        Lake(tmp_path / "nowhere").check()
    for sample in (-3, 0, 1.5):
        with pytest.raises(LakeError, match="give a number of parts"):
            made[0].check(sample=sample)


def test_nothing_is_tidied_by_a_wrong_clock(made):
    lake, _ = made
    left = leftover(lake, -2 * DAY)
    with pytest.raises(LakeError, match="is from the future"):
        lake.tidy(apply=True)
    assert left.exists()


def test_nothing_is_tidied_while_another_driver_writes_its_manifest(made, monkeypatch):
    lake, _ = made
    left = leftover(lake, 2 * DAY)
    monkeypatch.setattr(Manifests, "advance", lambda *_, **__: None)
    assert lake.tidy(apply=True).files == []
    assert left.exists()


def test_the_commands(made, capsys):
    lake, files = made

    def call(*words):
        with pytest.raises(SystemExit) as ended:
            cli.main(["lake", *words, "--lake", lake.url])
        return ended.value.code, capsys.readouterr().out

    assert call("check", "--sample", "2")[0] == 0
    flip(files_of(lake, "trips/**/*.parquet")[0])
    code, out = call("check", "--json")
    assert code == 3
    assert [one["source"] for one in json.loads(out)["found"]] == files[:1]
    code, out = call("check", "--mend")
    assert (code, f"read again: {files[0]}" in out) == (0, True)
    left = leftover(lake, 2 * DAY)
    assert "1 file, " in call("tidy")[1]
    assert left.exists()
    assert json.loads(call("tidy", "--apply", "--json")[1])["files"][0]["url"] == str(left)
    assert call("tidy", "--older-than", "soon")[0] == 2
    with pytest.raises(SystemExit, match="1"):
        cli.main(["lake", "check", "--lake", "memory://checking/a\0b"])
