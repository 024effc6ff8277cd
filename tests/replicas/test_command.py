"""`taxidask regions` as people and scripts use it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from taxidask.cli import main


@pytest.fixture
def regions(two: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The command, whose settings come from the environment; its exit code."""
    monkeypatch.setenv("TAXIDASK_LAKE", two.settings.lake)
    monkeypatch.setenv("TAXIDASK_STORE", two.settings.store)
    monkeypatch.setenv("TAXIDASK_REGIONS", json.dumps([region.model_dump() for region in two.settings.regions]))

    def run(*arguments: str) -> int:
        with pytest.raises(SystemExit) as caught:
            main(["regions", *arguments])
        return int(str(caught.value.code))

    return run


def test_check_repair_and_exit_codes(
    two: Any, months: list[str], regions: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taxidask.replicas.checking.YOUNG", 0.0)
    two.lake(two.east).ingest(months)
    two.east.table.put_card("demand", {"mae": 1.5})
    assert regions("--wait", "0") == 0
    assert capsys.readouterr().out.count("ok ") == 4
    assert regions("--wait", "0.2") == 3
    assert "object us-east-1 -> us-west-2: not copied within 0.2 s" in capsys.readouterr().out

    assert regions("--check", "--wait", "0") == 3
    out = capsys.readouterr().out
    assert "item card#demand / latest: missing in us-west-2, us-east-1 has it" in out
    assert f" of {months[0]}: missing in us-west-2" in out
    assert "2 manifests missing in us-west-2" in out
    assert list(two.objects(two.west)) == ["regions/lag/us-west-2.json"]

    assert regions("--repair", "--wait", "0", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert {one["mended"] for one in told["differences"]} == {True}
    assert {one["reachable"] for one in told["states"]} == {True}
    assert regions("--check", "--wait", "0") == 0
    assert "the same in all regions" in capsys.readouterr().out


def test_a_region_that_does_not_answer_is_a_failure(
    two: Any, regions: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    there = {**two.settings.regions[1].model_dump(), "dynamodb_endpoint": "http://127.0.0.1:9"}
    monkeypatch.setenv("TAXIDASK_REGIONS", json.dumps([two.settings.regions[0].model_dump(), there]))
    assert regions("--check", "--wait", "0") == 1
    told = capsys.readouterr()
    assert "BAD  us-west-2" in told.out
    assert "remedy: " in told.out
    assert "not compared" in told.err


def test_without_regions_it_says_what_to_set(regions: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert regions("--regions", "[]") == 2
    assert "TAXIDASK_REGIONS=" in capsys.readouterr().err
