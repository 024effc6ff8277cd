"""A region goes dark under runs and comes back: rehearsed as the README tells, on real servers of two regions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from halves import halves
from links import Link

import taxidask as td
from taxidask.compute.executors import ThreadExecutor
from taxidask.replicas import compare, look, places_of, repair
from taxidask.replicas.differences import ITEM, MANIFEST, PART
from taxidask.runs import stages
from taxidask.storage import default_storage


class Threads(ThreadExecutor):
    dashboard_link = ""


@pytest.fixture
def home(two: Any, aws: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Link, Link]]:
    """Home's two servers behind links that can be cut; the environment names both regions."""
    with Link(aws.s3["us-east-1"]) as s3, Link(aws.dynamodb["us-east-1"]) as table:
        bucket, there = (place.lake.removesuffix("/lake") for place in two.places)
        regions = [
            {"name": "us-east-1", "s3_endpoint": s3.url, "dynamodb_endpoint": table.url},
            {
                "name": "us-west-2",
                "s3_endpoint": aws.s3["us-west-2"],
                "dynamodb_endpoint": aws.dynamodb["us-west-2"],
                "places": {bucket: there},
            },
        ]
        for name, value in {
            "REGIONS": json.dumps(regions), "LAKE": two.settings.lake, "STORE": two.settings.store,
            "SOURCES": f"{bucket}/trips/*.csv", "REPORT": f"{bucket}/reports/report.pdf", "SLOT": "4h", "HORIZON": "6",
        }.items():  # fmt: skip
            monkeypatch.setenv(f"TAXIDASK_{name}", value)
        yield s3, table


def answers(two: Any, place: Any) -> tuple[pd.DataFrame, pd.DataFrame, Any]:
    """What a region says by itself: trips, sources and counted demand."""
    lake = two.lake(place)
    trips = lake.trips()
    shown = lake.sources()[["url", "rows", "kept", "rejected", "content"]]
    cube = lake.cube()
    return trips.sort_values(list(trips.columns[:6])).reset_index(drop=True), shown, cube.counts


@pytest.mark.timeout(600)
def test_over_and_back(
    two: Any, home: tuple[Link, Link], months: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(*, out: str, **_: Any) -> str:
        default_storage().write(out, b"%PDF")
        return out

    zones = tmp_path / "zones.geojson"
    zones.write_text(json.dumps(halves()))
    monkeypatch.setenv("TAXIDASK_SPACE", str(zones))
    for model in (td.DemandModel, td.FareModel):
        monkeypatch.setitem(model.__init__.__kwdefaults__, "rounds", 5)
    monkeypatch.setattr("taxidask.report.build", build)  # it takes half a minute, and reads what the pages read
    monkeypatch.setattr(stages, "backtest", lambda *_, **__: pd.DataFrame({"mae": [1.5]}))
    places = two.places
    bucket, there = (place.lake.removesuffix("/lake") for place in places)

    def upload(file: str, *urls: str) -> None:
        for place, url in zip(places, (bucket, there), strict=True):
            if url in urls:
                place.storage.write(f"{url}/trips/{Path(file).name}", Path(file).read_bytes())

    upload(months[0], bucket, there)  # S3 has copied it
    first = td.run(client=Threads(2), progress=False)
    assert first.state == "done"
    assert repair(places, compare(places), young=0).left == [], "as if all had been copied"
    assert {one["id"] for one in places[1].table.list_runs()} == {first.id}

    for link in home:
        link.off()
    upload(months[1], there)
    assert [state.reachable for state in look(places_of(td.load_settings()), td.load_settings())].count(False) == 2
    second = td.run(client=Threads(2), progress=False)
    assert second.state == "done"
    assert len(td.Lake(two.settings.lake).sources()) == 2, "also read while home is dark"
    assert len(two.lake(places[0]).sources()) == 1

    for link in home:
        link.on()
    upload(months[1], bucket)
    found = compare(places)
    missing = {(one.kind, one.how, one.region) for one in found.left}
    assert {(kind, "missing", "us-east-1") for kind in (PART, MANIFEST, ITEM)} <= missing
    assert {region for *_, region in missing} == {"us-east-1"}, "nothing was written in home meanwhile"
    assert repair(places, found, young=0).left == []
    assert compare(places).left == []

    (trips, sources, counts), (_, *others) = (answers(two, place) for place in places)
    pd.testing.assert_frame_equal(trips, answers(two, places[1])[0])
    pd.testing.assert_frame_equal(sources, others[0])
    assert (counts == others[1]).all()
    alone = td.Lake(f"memory://{first.id}")
    alone.ingest(months, slot="4h", space=td.Zones(str(zones)))
    assert (alone.cube().counts == counts).all(), "as if nothing had happened"
    for place in places:
        assert {one["id"] for one in place.table.list_runs()} == {first.id, second.id}
