from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from taxidask.cli.command import app
from taxidask.compute.kubernetes import look, start
from taxidask.errors import ComputeError, SettingsError


def test_all_of_ones_own_is_not_all_when_nobody_says_who_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(start, "whoami", lambda kube: "")
    monkeypatch.setattr(start, "all_clusters", lambda kube, owner: asked.append(owner) or [])
    with pytest.raises(ComputeError, match="does not say whose clusters are yours"):
        look.down(SimpleNamespace(), [], every=True)
    assert asked == []
    assert look.down(SimpleNamespace(), [], every=False, anyones=True) == []
    assert asked == [None]


def test_limits_without_a_number_between_them_are_refused_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(look, "up", lambda *_, **__: pytest.fail("it was started"))
    with pytest.raises(SettingsError, match="between 5 and 2 workers"):
        app(["cluster", "up", "anna", "--adapt", "5", "2"], exit_on_error=False)
