"""A lake's own files name files of the lake and no others."""

from __future__ import annotations

import json
import shutil

import pytest

import taxidask as td
from taxidask.errors import LakeError


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    files = td.make_sample(folder, start="2015-01", trips_per_month=300, faults=0.1)
    td.Lake(folder / "lake").ingest(files)
    return folder / "lake"


PATHS = [
    "../outside.parquet", "trips/../../outside.parquet", "/etc/outside.parquet", "s3://bucket/outside.parquet",
    "trips/year=2015/month=01/../../../../outside.parquet", "rejects/..", "rejects/a\\..\\outside.parquet", "",
    "rejects/\x00.parquet", "manifests/outside.json",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", ["parts", "rejects"])
def test_a_part_outside_of_the_lake_is_not_read(tmp_path, made, name, path):
    lake = shutil.copytree(made, tmp_path / "lake")
    [manifest] = (lake / "manifests").glob("*.json")
    fields = json.loads(manifest.read_text())
    shutil.copy(lake / fields[name][0]["path"], tmp_path / "outside.parquet")
    fields[name][0]["path"] = path
    del fields["seal"]
    manifest.write_text(json.dumps(fields))
    for ask in (td.Lake(lake).trips, td.Lake(lake).rejects, td.Lake(lake).sources):
        with pytest.raises(LakeError, match=rf"manifests/{manifest.name} is no manifest: .*{name}.0.path"):
            ask()


@pytest.mark.parametrize(("name", "value"), [("id", "../../outside"), ("count_key", ".."), ("count_key", "a/../../b")])
def test_names_of_counts_are_names(tmp_path, made, name, value):
    lake = shutil.copytree(made, tmp_path / "lake")
    [manifest] = (lake / "manifests").glob("*.json")
    fields = json.loads(manifest.read_text()) | {name: value}
    del fields["seal"]
    manifest.write_text(json.dumps(fields))
    with pytest.raises(LakeError, match=f"is no manifest: {name}"):
        td.Lake(lake).cube()


def test_the_space_of_a_lake_lies_in_it(tmp_path, made):
    lake = shutil.copytree(made, tmp_path / "lake")
    fields = json.loads((lake / "lake.json").read_text())
    (lake / "lake.json").write_text(json.dumps(fields | {"space_key": "../../outside"}))
    with pytest.raises(LakeError, match=r"lake.json is damaged: space_key is '../../outside'"):
        td.Lake(lake).cube()
