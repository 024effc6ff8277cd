"""What visitors are told where a region does not answer."""

from __future__ import annotations

import time
from types import SimpleNamespace

from taxidask.app import told
from taxidask.app.state import AppState
from taxidask.app.told import banner, regions_html, run_html
from taxidask.errors import StoreError
from taxidask.settings import Region
from taxidask.storage import Regions
from taxidask.storage.regions import Breakers


def made(newest: object) -> tuple[AppState, Regions]:
    regions = Regions([Region(name="us-east-1"), Region(name="us-west-2")], breakers=Breakers())
    return AppState(SimpleNamespace(regions=regions, newest=newest), None), regions


def test_the_banner_says_from_where_is_read_and_how_old_that_is():
    app, regions = made(lambda: ("us-west-2", time.time() - 95))
    assert banner(app) == ""
    assert banner(AppState(SimpleNamespace(regions=None), None)) == ""
    regions.failed(regions.home, "dynamodb", "refused")
    text = banner(app)
    assert "us-east-1 does not answer. This page is read from us-west-2, whose newest item is 1 min 35 s old." in text
    assert "is written to us-east-1" in text
    regions.go_over("refused")
    assert "is written to us-west-2" in banner(app)


def test_home_is_gone_back_to_when_it_answers_again_and_the_banner_leaves():
    app, regions = made(lambda: ("us-west-2", time.time()))
    regions.failed(regions.home, "dynamodb", "refused")
    regions.go_over("refused")
    assert not regions.go_back()
    clock = regions._breakers.clock() + 60
    regions._breakers.clock = lambda: clock
    assert regions.order("dynamodb")[0] is regions.home  # the trial
    assert "is written to us-west-2" in banner(app)
    regions.answered(regions.home, "dynamodb")
    assert banner(app) == ""
    assert regions.active is regions.home


def test_a_region_chosen_by_hand_is_stayed_in_without_a_banner():
    app, _ = made(None)
    app.store.regions = regions = Regions(app.store.regions.regions, active="us-west-2", breakers=Breakers())
    assert banner(app) == ""
    assert regions.active.name == "us-west-2"


def test_s3_alone_is_named_and_tried_again_by_the_banner(monkeypatch):
    app, regions = made(lambda: ("us-east-1", time.time()))
    app.settings = SimpleNamespace(lake="s3://taxis/lake")
    regions.failed(regions.home, "s3", "refused")
    asked: list[str] = []

    def exists(url: str) -> bool:
        asked.append(url)
        regions.answered(regions.home, "s3")
        return True

    monkeypatch.setattr(told, "default_storage", lambda _: SimpleNamespace(exists=exists))
    assert "S3 in us-east-1 does not answer. This page is read from us-east-1, whose" in banner(app)
    assert asked == []
    clock = regions._breakers.clock() + 60
    regions._breakers.clock = lambda: clock
    regions.order("s3")
    clock += 60  # whoever had that trial is silent
    assert banner(app) == ""
    assert asked == ["s3://taxis/lake/lake.json"]


def test_the_banner_stands_where_no_region_can_be_read():
    def newest() -> None:
        raise StoreError("no region answers")

    app, regions = made(newest)
    for region in regions.regions:
        regions.failed(region, "dynamodb", "refused")
    assert "us-east-1 and us-west-2 do not answer. No region can be read." in banner(app)


def test_the_states_of_regions_are_a_table():
    _, regions = made(None)
    regions.failed(regions.home, "s3", "<refused>")
    text = regions_html(regions)
    for words in ("us-east-1 (home)", "closed", "open", "writes go here", "&lt;refused&gt;"):
        assert words in text
    assert str(regions.status()[0]).startswith("us-east-1 s3 (active): open since ")
    assert str(regions.status()[1]) == "us-east-1 dynamodb (active): closed"


def test_a_run_tells_its_region_and_what_it_survived():
    run = {"id": "r", "state": "done", "region": "us-west-2", "faults": ["us-east-1: s3 went dark"]}
    assert "In region us-west-2" in run_html(run)
    assert "us-east-1: s3 went dark" in run_html(run)
