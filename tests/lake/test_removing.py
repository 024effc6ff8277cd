"""A source taken out again leaves no trace in what the lake answers; a lake that is not what it says is told."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

import pytest

import taxidask as td
from taxidask import cli
from taxidask.compute.executors import ThreadExecutor
from taxidask.doctor import Finding, examine
from taxidask.errors import LakeError
from taxidask.lake import Lake, layout, tasks
from taxidask.lake.checking import check_lake
from taxidask.sample import make_sample
from taxidask.storage import Storage, join


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    return make_sample(folder, start="2015-01", months=3, trips_per_month=300, faults=0.1)


@pytest.fixture
def files(pristine, tmp_path):
    (tmp_path / "in").mkdir()
    return [shutil.copy(file, tmp_path / "in") for file in pristine]


def ingest(lake, files, **options):
    return lake.ingest(files, client=ThreadExecutor(1), **options)


def answers(lake):
    return (
        lake.trips().to_csv(), lake.rejects().to_csv(), lake.cube().counts.tobytes(), str(lake.cube().start),
        lake.sources().drop(columns=["seconds"]).to_csv(), lake.fingerprint(),
    )  # fmt: skip


def data_files(lake):
    listed = [stat.url.removeprefix(lake.url + "/") for stat in lake.storage.list(lake.url)]
    return sorted(path for path in listed if path.startswith(("trips/", "rejects/", "cube/", "blocks/")))


@pytest.fixture(params=["file", "s3"])
def lake(request, tmp_path):
    return Lake(request.getfixturevalue("bucket") + "/lake" if request.param == "s3" else tmp_path / "lake")


def test_a_source_is_taken_out_exactly_and_comes_back(lake, files, tmp_path):
    ingest(lake, files)
    ingest(expected := Lake(tmp_path / "expected"), [files[0], files[2]])
    ingest(whole := Lake(tmp_path / "whole"), files)
    removed = lake.remove(files[1])
    assert (removed.url, removed.second_names) == (files[1], [])
    assert removed.trips == whole.sources()["kept"][1]
    assert answers(Lake(lake.url)) == answers(lake) == answers(expected)
    assert data_files(lake) == data_files(expected)
    assert Path(files[1]).exists()
    with pytest.raises(LakeError, match="has no source"):
        lake.remove(files[1])
    ingest(lake, files)
    assert answers(lake) == answers(whole)
    lake.remove("yellow_tripdata_2015-02.csv")
    assert answers(lake) == answers(expected)


def test_the_last_source_and_one_of_two_with_a_name(lake, files, tmp_path):
    (tmp_path / "other").mkdir()
    other = shutil.copy(files[1], tmp_path / "other" / Path(files[0]).name)
    ingest(lake, [files[0], other])
    with pytest.raises(LakeError, match=r"may be any of .*in/yellow.*other/yellow.*; give the whole URL"):
        lake.remove(Path(other).name)
    lake.remove(other)
    lake.remove(files[0])
    assert lake.sources().empty
    assert data_files(lake) == []


def test_names_of_one_content(lake, files, tmp_path):
    second = shutil.copy(files[0], str(tmp_path / "z-2015-01.csv"))
    ingest(lake, [files[0], second])
    expected = answers(lake)
    assert lake.remove(second).second_names == []
    ingest(lake, [second])
    assert answers(lake) == expected
    assert lake.remove(files[0]).second_names == [second]
    assert lake.sources()["note"].tolist() == [f"counts nowhere since {files[0]} was removed: ingest it again"]
    ingest(lake, [second])
    assert len(lake.trips()) == lake.sources()["kept"].sum() > 0
    assert lake.sources()["url"].tolist() == [second]


def test_a_second_name_whose_first_comes_back_is_told_as_that_and_not_as_another_driver(lake, files, tmp_path):
    copy = shutil.copy(files[0], tmp_path / "in" / "z-2015-01.csv")
    ingest(lake, [files[0], copy])
    lake.remove(files[0])
    first, second = ingest(lake, [files[0], copy]).sources
    assert (first.rows, second.rows, second.duplicate_of) == (300, 0, files[0])
    assert second.note == f"same content as {files[0]}, counted there"


def test_killed_at_every_step(files, tmp_path, monkeypatch):
    """A source is there whole or not at all, and the next call ends the work."""

    class Killed(BaseException):
        pass

    ingest(pristine := Lake(tmp_path / "lake"), files[:2])
    ingest(without := Lake(tmp_path / "without"), files[:1])
    there, gone = answers(pristine), answers(without)
    step, seen = 0, set()
    while True:
        step += 1
        lake = Lake(shutil.copytree(pristine.url, tmp_path / f"lake-{step}"))
        left, call = [step], Storage._call

        def mortal(self, op, url, fn, *, needs=0, left=left, call=call):
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return call(self, op, url, fn, needs=needs)

        with monkeypatch.context() as patch:
            patch.setattr(Storage, "_call", mortal)
            try:
                lake.remove(files[1])
                break
            except Killed:
                pass
        found = answers(Lake(lake.url))
        assert found in (there, gone)
        seen.add(found == gone)
        if found == gone:
            with pytest.raises(LakeError, match="has no source"):
                lake.remove(files[1])
        else:
            lake.remove(files[1])
        assert answers(lake) == gone
        assert data_files(lake) == data_files(without)
    assert seen == {True, False}


def test_a_driver_that_reads_it_meanwhile_brings_it_back_whole(files, tmp_path, monkeypatch):
    ingest(lake := Lake(tmp_path / "lake"), files[:1])
    ingest(expected := Lake(tmp_path / "expected"), files[:1])
    os.utime(files[0])
    merge, seen = tasks.merge, []

    def meanwhile(*arguments):
        if not seen:
            seen.append(1)
            Lake(lake.url).remove(files[0])
        return merge(*arguments)

    monkeypatch.setattr(tasks, "merge", meanwhile)
    ingest(lake, files[:1])
    assert lake.trips().equals(expected.trips())
    assert lake.cube() == expected.cube()
    assert len(data_files(lake)) == len(data_files(expected))


# --- what doctor says -------------------------------------------------------------------------------------------------


def doctor(lake, **given) -> dict[str, Finding]:
    return {finding.subject: finding for finding in examine({"lake": lake.url, **given})}


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 4
    path.write_bytes(data)


@pytest.mark.parametrize("folder", ["trips", "rejects", "cube"])
@pytest.mark.parametrize("harm", [lambda path: path.unlink(), lambda path: path.write_bytes(b"PAR1"), flip])
def test_a_damaged_lake_is_not_ok_and_mended_as_doctor_says(files, tmp_path, folder, harm, capsys):
    ingest(lake := Lake(tmp_path / "lake"), files[:2])
    expected = answers(lake)
    harm(path := sorted(Path(lake.url, folder).rglob("*.parquet"))[0])
    finding = doctor(lake)["lake"]
    if folder == "cube" and not path.exists():
        assert finding.ok, "counts that lack are made of the trips"
        return
    assert not finding.ok
    assert str(path) in finding.found
    if folder == "cube":
        assert "lake.recount()" in finding.remedy
        lake.recount()
    else:
        command = finding.remedy.partition("again: ")[2].partition(" (in Python")[0]
        for line in command.split(" && "):  # as printed, whatever lake is the default
            with pytest.raises(SystemExit, match="0"):
                cli.main(shlex.split(line)[1:])
    assert doctor(lake)["lake"].ok
    assert answers(lake) == expected


def test_a_whole_lake_and_none(files, tmp_path):
    lake = Lake(tmp_path / "lake")
    assert check_lake(lake.url, lake.storage) == (0, 0)
    found = doctor(lake)["lake"]
    assert (found.ok, found.found.endswith("0 sources, 0 trips")) == (True, True)
    assert not (tmp_path / "lake").exists()
    ingest(lake, files)
    assert check_lake(lake.url, lake.storage) == (6, 6)
    assert check_lake(lake.url, lake.storage, sample=2) == (6, 2)
    assert doctor(lake)["lake"].found.endswith("; 6 parts, all read")


def test_a_lake_without_its_description_is_mended_as_the_message_says(files, tmp_path):
    ingest(lake := Lake(tmp_path / "lake"), files[:2], slot="60min")
    expected = answers(lake)
    for harm in ("garbage", "{}", "[]", ""):
        Path(lake.url, "lake.json").write_text(harm)
        finding = doctor(lake)["lake"]
        assert "lake.json is damaged" in finding.found
        assert "delete it and ingest" in finding.remedy
    Path(lake.url, "lake.json").unlink()
    ingest(lake, files[:1], slot="60min", space="new_york")
    assert answers(lake) == expected


def test_a_damaged_space_is_mended_as_the_message_says(files, tmp_path, monkeypatch):
    ingest(lake := Lake(tmp_path / "lake"), files[:1])
    expected = answers(lake)
    [path] = Path(lake.url, "spaces").glob("*.json")
    path.write_text("garbage")
    monkeypatch.setattr(layout, "_spaces", {})
    finding = doctor(lake)["lake"]
    assert str(path) in finding.found
    assert "delete it and give the lake its space again: lake.recount(space=…)" in finding.remedy
    path.unlink()
    lake.recount(space="new_york")
    monkeypatch.setattr(layout, "_spaces", {})
    assert doctor(lake)["lake"].ok
    assert answers(lake) == expected


def test_a_damaged_manifest_is_not_ok(files, tmp_path):
    ingest(lake := Lake(tmp_path / "lake"), files[:1])
    [path] = Path(lake.url, "manifests").glob("*.json")
    path.write_text(path.read_text().replace('"kept": ', '"kept": 1'))
    finding = doctor(lake)["lake"]
    assert not finding.ok
    assert "its seal does not fit" in finding.found
    path.write_text("garbage")
    assert "delete it and ingest its source again" in doctor(lake)["lake"].remedy


def test_a_damaged_database_is_not_ok(tmp_path):
    lake, store = Lake(tmp_path / "lake"), f"sqlite:///{tmp_path / 'x.db'}"
    opened = td.open_store(store)
    opened.create()
    opened.put_ingest("lake", [{"url": f"{n:04d}.csv", "rows": 1, "kept": 1, "note": "x" * 200} for n in range(500)])
    opened.close()
    path = tmp_path / "x.db"
    shutil.copy(path, tmp_path / "whole.db")
    assert doctor(lake, store=f"sqlite:///{tmp_path / 'whole.db'}")["store"].ok
    data = bytearray(path.read_bytes())
    assert len(data) > 3 * 4096
    data[-4096:-3996] = b"\xff" * 100
    path.write_bytes(data)
    finding = doctor(lake, store=store)["store"]
    assert not finding.ok
    assert "move it away and run again" in finding.remedy


def test_the_commands(files, tmp_path, capsys, monkeypatch):
    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            cli.main([*arguments, "--lake", str(tmp_path / "lake")])
        return ended.value.code, *capsys.readouterr()

    code, _, err = run("lake", "sources")
    assert code == 1
    assert "no lake" in err
    ingest(lake := Lake(tmp_path / "lake"), files[:2])
    code, out, _ = run("lake", "sources")
    assert code == 0
    assert all(file in out for file in files[:2])
    kept = lake.sources()["kept"].tolist()
    code, out, _ = run("lake", "remove", files[0])
    assert (code, out) == (0, f"removed {files[0]}: {kept[0]:,} trips\n")
    code, out, _ = run("lake", "sources", "--json")
    assert files[1] in out.replace("\\/", "/")
    assert files[0] not in out.replace("\\/", "/")
    code, _, err = run("lake", "remove", files[0])
    assert code == 1
    assert "has no source" in err
    assert join(lake.url, "x") not in err


def test_a_manifest_that_is_gone_is_missed(files, tmp_path):
    ingest(lake := Lake(tmp_path / "lake"), files)
    expected = answers(lake)
    assert doctor(lake)["lake"].ok
    Path(lake._manifests.path(files[1])).unlink()
    finding = doctor(Lake(lake.url))["lake"]
    assert not finding.ok
    assert f"the manifest of {files[1]} is not there" in finding.found
    with pytest.raises(SystemExit, match="0"):
        cli.main(shlex.split(finding.remedy.partition("again: ")[2])[1:])
    assert doctor(Lake(lake.url))["lake"].ok
    assert answers(Lake(lake.url)) == expected
    lake.remove(files[1])
    assert doctor(lake)["lake"].ok, "it was removed"
