from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from taxidask.runs import stages
from taxidask.runs.ledger import placed
from taxidask.settings import Settings
from taxidask.storage import default_storage


@pytest.mark.parametrize("where", ["path", "memory://test-stages", "bucket"])
def test_a_report_is_ready_where_it_was_written(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    home = {"path": str(tmp_path), "bucket": ""}.get(where, where) or request.getfixturevalue("bucket")
    url, storage = f"{home}/reports/report.pdf", default_storage()

    def build(*, out: str, **_: Any) -> str:
        storage.write(out, b"%PDF, 12 B, ")
        return out

    monkeypatch.setattr("taxidask.report.build", build)
    settings, ledger = SimpleNamespace(report=url), SimpleNamespace(id="r1", stage=lambda _: {})
    job: Any = SimpleNamespace(storage=storage, settings=settings, ledger=ledger, store=None, lake=None)
    assert not stages.report_ready(job, {})
    assert not stages.report_ready(job, {"report": url})
    done = stages.report(job)
    assert done == {"bytes": 12, "detail": url, "outputs": {"report": url}}
    assert stages.report_ready(job, done["outputs"])
    storage.delete(url)
    assert not stages.report_ready(job, done["outputs"])


def test_a_run_is_known_by_its_space_wherever_it_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for given, kept in (("auto", "auto"), ("zones", "zones"), ("mine.geojson", str(tmp_path / "mine.geojson"))):
        settings = Settings(sources=["trips"], store="sqlite:///a.db", space=given)
        assert placed(settings).space == kept
