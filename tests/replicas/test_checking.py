"""Regions compared and mended, on real servers of two regions."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from links import Fault, Link

import taxidask as td
from taxidask.errors import SettingsError
from taxidask.lake.manifest import Manifests
from taxidask.replicas import compare, places_of, repair
from taxidask.replicas.differences import CLAIM, FILE, ITEM, MANIFEST, PART
from taxidask.replicas.objects import copy_object
from taxidask.results import dynamodb
from taxidask.storage import Storage, counted, join


def told(comparison: Any) -> set[tuple[str, str, str]]:
    return {(one.kind, one.how, one.region) for one in comparison.left}


def test_without_two_regions_it_says_what_to_set() -> None:
    for settings, said in (
        (td.Settings(), "no regions are set"),
        (td.Settings(regions=[{"name": "us-east-1"}]), "only the region us-east-1 is set"),
    ):
        with pytest.raises(SettingsError, match=said) as caught:
            places_of(settings)
        assert "TAXIDASK_REGIONS=" in str(caught.value)
    regions = [{"name": "us-east-1"}, {"name": "us-west-2"}]
    with pytest.raises(SettingsError, match="have no copies"):
        places_of(td.Settings(regions=regions))


def test_a_slow_table_is_waited_for_wherever_the_regions_are_named(
    two: Any, aws: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dynamodb, "_ANSWER", 0.2)  # which a call has that could ask another region
    with Link(aws.dynamodb["us-east-1"]) as slow:
        home, other = (one.model_dump(exclude_none=True) for one in two.settings.regions)
        regions = [home | {"dynamodb_endpoint": slow.url}, other]
        named = {"LAKE": two.settings.lake, "STORE": two.settings.store, "REGIONS": json.dumps(regions)}
        for name, value in named.items():
            monkeypatch.setenv(f"TAXIDASK_{name}", value)
        slow.play(Fault("slow", seconds=1.0, only="Scan"))
        assert compare(places_of(td.load_settings())).left == []
        assert slow.played["slow"] == 1


def test_what_is_missing_is_named_and_copied_manifests_last(two: Any, months: list[str]) -> None:
    lake = two.lake(two.east)
    lake.ingest(months)
    two.east.table.put_card("demand", {"mae": 1.5})
    two.east.table.put_ingest(two.settings.lake, [{"url": "a.csv", "rows": 3}])
    found = compare(two.places)
    assert told(found) == {(kind, "missing", "us-west-2") for kind in (PART, FILE, CLAIM, MANIFEST, ITEM)}
    assert {one.of for one in found.left if one.kind == MANIFEST} == set(months)
    assert found.compared[MANIFEST] == found.compared[CLAIM] == 2
    assert found.compared[ITEM] == 2
    seen: list[tuple[str, str, int]] = []
    with counted(two.west.storage, seen):
        mended = repair(two.places, found, young=0)
    assert mended.left == []
    written = [url for op, url, _ in seen if op == "create"]
    last = [number for number, url in enumerate(written) if "/manifests/" not in url][-1]
    assert all("/manifests/" in url for url in written[last + 1 :])
    assert not any("by-content" in url for url in written[-2:])
    assert {path: data for path, data in two.objects(two.east).items() if not path.startswith("blocks/")} == (
        two.objects(two.west)
    )
    assert two.items(two.east) == two.items(two.west)
    pd.testing.assert_frame_equal(two.lake(two.west).trips(), lake.trips())

    again = compare(two.places)
    assert again.left == []
    assert again.compared == found.compared
    assert "the same in all regions" in str(again)


def test_both_directions_at_once_and_nothing_is_deleted(two: Any, months: list[str]) -> None:
    two.lake(two.east).ingest(months[:1])
    two.lake(two.west).ingest(months[1:])
    two.east.table.put_card("demand", {"mae": 1.5})
    two.west.table.put_card("fare", {"mae": 2.5})
    before = [set(two.objects(place)) | set(two.items(place)) for place in two.places]
    found = compare(two.places)
    assert {(one.kind, one.region) for one in found.left} >= {
        (kind, region) for kind in (PART, MANIFEST, ITEM) for region in ("us-east-1", "us-west-2")
    }
    assert repair(two.places, found, young=0).left == []
    for place, there in zip(two.places, before, strict=True):
        assert there < set(two.objects(place)) | set(two.items(place))
        assert sorted(two.lake(place).sources()["url"]) == sorted(months)
    east, west = (two.lake(place) for place in two.places)
    pd.testing.assert_frame_equal(east.trips(), west.trips())
    assert compare(two.places).left == []


def test_the_newest_wins_and_only_over_what_was_compared(two: Any, months: list[str]) -> None:
    two.lake(two.east).ingest(months[:1])
    repair(two.places, compare(two.places), young=0)
    manifests = Manifests(two.west.lake, two.west.storage)
    (path,) = [path for path in two.objects(two.west) if path.startswith("manifests/") and "by-content" not in path]
    older = two.objects(two.east)[path]
    _later()
    two.lake(two.west).remove(months[0])
    found = compare(two.places)
    (manifest,) = [one for one in found.left if one.kind == MANIFEST]
    assert (manifest.how, manifest.region, manifest.like) == ("older", "us-east-1", "us-west-2")
    assert "removed" not in {one.kind for one in found.left if one.kind == PART}

    _later()
    two.east.storage.write(join(two.east.lake, path), older + b" ")  # a driver's, meanwhile
    left = repair(two.places, found, young=0).left
    assert [one.note for one in left if one.kind == MANIFEST] == ["written in us-east-1 meanwhile: check again"]
    assert two.objects(two.east)[path] == older + b" "
    assert manifests.every()[0].removed
    (manifest,) = [one for one in compare(two.places).left if one.kind == MANIFEST]
    assert (manifest.how, manifest.region) == ("older", "us-west-2")


def test_a_source_that_was_removed_stays_so_and_its_parts_are_not_brought_back(two: Any, months: list[str]) -> None:
    two.lake(two.east).ingest(months)
    repair(two.places, compare(two.places), young=0)
    _later()
    two.lake(two.east).remove(months[0])
    found = compare(two.places)
    assert told(found) == {(MANIFEST, "older", "us-west-2")}
    assert found.unnamed["us-west-2"] > 0
    assert found.unnamed["us-east-1"] == 0
    assert repair(two.places, found, young=0).left == []
    for place in two.places:
        assert list(two.lake(place).sources()["url"]) == months[1:]


def test_what_was_written_just_now_is_left_alone_but_parts(two: Any, months: list[str]) -> None:
    two.lake(two.east).ingest(months[:1])
    two.east.table.put_card("demand", {"mae": 1.5})
    repair(two.places, compare(two.places), young=0)
    _later()
    two.lake(two.west).remove(months[0])
    left = repair(two.places, compare(two.places)).left
    assert [(one.kind, "on its way" in one.note) for one in left] == [(MANIFEST, True)]


def test_a_part_that_is_damaged_in_one_region_is_copied_from_the_other(two: Any, months: list[str]) -> None:
    two.lake(two.east).ingest(months[:1])
    repair(two.places, compare(two.places), young=0)
    path = next(path for path in two.objects(two.west) if path.startswith("trips/"))
    good = two.objects(two.west)[path]
    two.west.storage.write(join(two.west.lake, path), good[:-20] + bytes(20))
    (one,) = compare(two.places).left
    assert (one.kind, one.how, one.region, one.of) == (PART, "damaged", "us-west-2", months[0])
    assert repair(two.places, compare(two.places)).left == []
    assert two.objects(two.west)[path] == good


def test_a_part_that_no_region_has_keeps_its_manifest_back(two: Any, months: list[str]) -> None:
    two.lake(two.east).ingest(months[:1])
    path = next(path for path in two.objects(two.east) if path.startswith("trips/"))
    two.east.storage.delete(join(two.east.lake, path))
    left = repair(two.places, compare(two.places), young=0).left
    assert {(one.kind, one.how) for one in left} == {(PART, "lost"), (MANIFEST, "missing")}
    assert [one.note for one in left if one.kind == MANIFEST] == ["its parts are not all there"]
    assert not [path for path in two.objects(two.west) if path.startswith("manifests/") and "by-content" not in path]


def test_a_manifest_that_changes_while_it_is_copied_is_copied_again(
    two: Any, months: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    two.lake(two.east).ingest(months[:1])
    found = compare(two.places)
    (one,) = [one for one in found.left if one.kind == MANIFEST]
    manifests = Manifests(two.east.lake, two.east.storage)
    create = Storage.create

    def created(self: Storage, url: str, data: bytes) -> bool:
        won = create(self, url, data)
        if url.startswith(two.west.lake):
            manifests.advance(manifests.all()[0])
        return won

    monkeypatch.setattr(Storage, "create", created)
    assert copy_object(two.east, two.west, one).mended
    assert two.objects(two.west)[one.name] == two.objects(two.east)[one.name]
    assert json.loads(two.objects(two.west)[one.name])["generation"] == 1


def test_items_newest_wins_by_their_stamps(two: Any) -> None:
    def put(place: Any, value: int, stamp: int | None) -> None:
        stamped = {} if stamp is None else {"stamp": {"N": str(stamp)}}
        item = {"pk": {"S": "card#x"}, "sk": {"S": "latest"}, "card": {"N": str(value)}, **stamped}
        two.tables[place.name].put_item(TableName=place.table.table, Item=item)

    put(two.east, 1, 10**9)
    put(two.west, 2, 2 * 10**9)
    found = compare(two.places)
    assert [(one.how, one.region, one.key) for one in found.left] == [("older", "us-east-1", ("card#x", "latest"))]
    put(two.east, 3, 3 * 10**9)  # meanwhile
    assert [one.note for one in repair(two.places, found, young=0).left] == [
        "written in us-east-1 meanwhile: check again"
    ]
    assert repair(two.places, compare(two.places), young=0).left == []
    assert {two.items(place)["card#x", "latest"]["card"]["N"] for place in two.places} == {"3"}

    put(two.west, 3, 4 * 10**9)
    assert compare(two.places).left == [], "the same, written twice"
    put(two.east, 4, None)
    assert [one.region for one in compare(two.places).left] == ["us-east-1"], "without a stamp it is older"
    put(two.west, 5, None)
    (one,) = repair(two.places, compare(two.places), young=0).left
    assert (one.how, one.mended) == ("differs", False)
    assert "not known" in one.note


def test_a_mark_of_what_is_gone_is_none_of_its_own_and_wins_over_what_is_older(two: Any) -> None:
    def put(place: Any, stamp: int, **more: Any) -> None:
        item = {"pk": {"S": "card#x"}, "sk": {"S": "latest"}, "stamp": {"N": str(stamp)}, **more}
        two.tables[place.name].put_item(TableName=place.table.table, Item=item)

    put(two.east, 5 * 10**9, gone={"BOOL": True})
    assert compare(two.places).left == []
    put(two.west, 4 * 10**9, card={"N": "1"})
    assert [(one.how, one.region) for one in compare(two.places).left] == [("older", "us-west-2")]
    assert repair(two.places, compare(two.places), young=0).left == []
    assert "gone" in two.items(two.west)["card#x", "latest"]


def test_marks_blocks_and_what_has_run_out_are_not_compared(two: Any) -> None:
    for path in ("regions/lag/us-east-1.json", "blocks/x/0.json", "doctor-1.json"):
        two.east.storage.write(join(two.east.lake, path), b"{}")
    for pk, more in (("regions#lag", {}), ("card#x", {"expires_at": {"N": "1000"}})):
        item = {"pk": {"S": pk}, "sk": {"S": "latest"}, **more}
        two.tables["us-east-1"].put_item(TableName=two.east.table.table, Item=item)
    assert compare(two.places).left == []


def test_nothing_else_reads_a_whole_table() -> None:
    """No pod's role allows it."""
    found = [
        str(file.relative_to(house.parent))
        for house in [Path(td.__file__).parent]
        for file in house.rglob("*.py")
        if re.search(r"""["'.]scan\b""", file.read_text())
    ]
    assert found == ["taxidask/replicas/items.py"]


def _later() -> None:
    """S3 knows when an object was written to the second."""
    time.sleep(1.1)


def test_a_small_table_is_read_in_pages(two: Any, tmp_path: Path) -> None:
    two.east.table.put_ingest("lake", [{"url": f"{number}.csv", "text": "x" * 300_000} for number in range(5)])
    found = compare(two.places)
    assert found.compared[ITEM] == 5
    assert repair(two.places, found, young=0).left == []
