"""What a storage is asked: of files that were listed nothing twice, of files that the lake has nothing at all."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import pytest

import taxidask as td
from taxidask.compute.executors import ThreadExecutor
from taxidask.errors import StorageError
from taxidask.lake import Lake
from taxidask.lake import lake as module
from taxidask.storage import Storage, counted
from taxidask.trips import find_sources
from taxidask.trips.rules import Rules

MONTHS = 4


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    return td.make_sample(folder, start="2015-01", months=MONTHS, trips_per_month=50, faults=0)


@pytest.fixture(params=["file", "s3"])
def folder(request, pristine, tmp_path):
    """The months in a folder; its URL."""
    url = request.getfixturevalue("bucket") + "/in" if request.param == "s3" else str(tmp_path / "in")
    for file in pristine:
        Storage().write(f"{url}/{Path(file).name}", Path(file).read_bytes())
    return url


def asked(url, do):
    """Operations on files below a URL."""
    seen: list = []
    with counted(Storage(), seen) as storage:
        do(storage)
    return sorted(op for op, name, _ in seen if name.startswith(f"{url}/"))


def ingest(url, sources, storage=None, **options):
    return Lake(url, storage=storage).ingest(sources, client=ThreadExecutor(2), **options)


def test_of_listed_files_only_the_beginning_is_read(folder):
    assert asked(folder, lambda storage: find_sources(folder, storage=storage)) == ["read"] * MONTHS


def test_files_that_the_lake_has_are_not_asked_for(folder, tmp_path):
    lake = str(tmp_path / "lake")
    ingest(lake, folder)
    assert asked(folder, lambda storage: ingest(lake, folder, storage)) == []
    assert asked(folder, lambda storage: Lake(lake, storage=storage).find(folder)) == []
    # under other rules or another month they are other sources
    assert len(asked(folder, lambda storage: Lake(lake, storage=storage).find(folder, month="2015-02"))) == MONTHS - 1
    again = asked(folder, lambda storage: Lake(lake, storage=storage).find(folder, rules=Rules(max_fare=1)))
    assert again == ["read"] * MONTHS


def test_a_file_that_leaves_the_lake_after_it_was_found_is_looked_at_and_read(folder, tmp_path, monkeypatch):
    lake = Lake(tmp_path / "lake")
    ingest(lake.url, folder)
    expected = lake.trips(), lake.cube()
    find = Lake.find

    def meanwhile(self, *arguments, **options):
        found = find(self, *arguments, **options)
        for url in lake.sources()["url"][:2]:
            lake.remove(url)
        return found

    monkeypatch.setattr(module.Lake, "find", meanwhile)
    result = ingest(lake.url, folder)
    assert [one.skipped for one in result.sources] == [False] * 2 + [True] * (MONTHS - 2)
    assert lake.trips().equals(expected[0])
    assert lake.cube() == expected[1]


def test_and_one_that_is_bad_by_then_is_a_line_of_the_report(pristine, tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    files = [shutil.copy(file, str(tmp_path / "in")) for file in pristine]
    lake = Lake(tmp_path / "lake")
    ingest(lake.url, files)
    find = Lake.find

    def meanwhile(self, *arguments, **options):
        found = find(self, *arguments, **options)
        lake.remove(files[0])
        os.truncate(files[0], 0)
        return found

    monkeypatch.setattr(module.Lake, "find", meanwhile)
    result = ingest(lake.url, files, errors="report")
    assert [one.url for one in result.failed] == files[:1]
    assert "is empty" in str(result.failed[0].error)


def test_files_are_looked_at_together(pristine, tmp_path):
    """Each look waits until all have begun: one after the other would never end."""
    (tmp_path / "in").mkdir()
    for file in pristine:
        shutil.copy(file, tmp_path / "in")
    barrier = threading.Barrier(MONTHS)

    class Slow(Storage):
        def _call(self, op, url, fn, *, needs=0):
            if op == "read":
                try:
                    barrier.wait(20)
                except threading.BrokenBarrierError:
                    raise StorageError("nobody else looks") from None
            return super()._call(op, url, fn, needs=needs)

    assert len(find_sources(tmp_path / "in", storage=Slow())) == MONTHS
