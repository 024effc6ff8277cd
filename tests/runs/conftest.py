from __future__ import annotations

from typing import Any

import pytest

import taxidask as td
from taxidask.storage import default_storage


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small models, and a stand-in for the report."""
    monkeypatch.setitem(td.DemandModel.__init__.__kwdefaults__, "rounds", 5)
    monkeypatch.setitem(td.FareModel.__init__.__kwdefaults__, "rounds", 5)

    def build(*, out: str, run_id: str, **_: Any) -> str:
        default_storage().write(out, run_id.encode())
        return out

    monkeypatch.setattr("taxidask.report.build", build)
