"""Two runs' metrics side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from taxidask.errors import RunError
from taxidask.results import Store, open_store
from taxidask.runs.look import compare_metrics


def demand(mae: float) -> pd.DataFrame:
    rows = [
        {"fold": fold, "direction": direction, "first_lead": first, "last_lead": last, "slots": 9, "profile": "weekly",
         "mae": mae + fold + (direction == "dropoff") * 10 + (last == 4) * 100, "last_week_mae": 7.0}
        for fold in (0, 1) for direction in ("pickup", "dropoff") for first, last in ((1, 4), (1, 48))
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = open_store(f"sqlite:///{tmp_path}/taxidask.db")
    made.create()
    stages: dict[str, Any] = {"demand": {"state": "done"}}
    for run, more in (("a", stages), ("b", stages), ("c", {"demand": {"unchanged_since": "a"}})):
        made.create_run({"id": run, "state": "done", "heartbeat": 0.0, "stages": more, "settings": {}})
    made.put_metrics("a", "demand", demand(2.0))
    made.put_metrics("b", "demand", demand(1.5))
    made.put_metrics("b", "fare", pd.DataFrame({"fold": [0, 1], "mae": [3.0, 4.0]}))
    return made


def test_means_over_folds_of_the_whole_horizon_side_by_side(store: Store) -> None:
    table = compare_metrics(store, "a", "b").set_index(["model", "measure"])
    assert table.loc[("demand, pickups", "mae"), ["one", "other", "difference"]].tolist() == [2.5, 2.0, -0.5]
    assert table.loc[("demand, dropoffs", "mae"), ["one", "other"]].tolist() == [12.5, 12.0]
    assert table.loc[("demand, pickups", "last_week_mae"), "difference"] == 0
    assert table.loc[("fare", "mae"), "other"] == 3.5
    assert table.loc[("fare", "mae"), ["one", "difference"]].isna().all()
    assert len(table) == 5


def test_a_run_that_found_nothing_new_has_the_metrics_of_the_run_before(store: Store) -> None:
    assert (compare_metrics(store, "a", "c")["difference"] == 0).all()


def test_no_metrics_and_no_run(store: Store) -> None:
    store.create_run({"id": "d", "state": "failed", "heartbeat": 0.0, "stages": {}, "settings": {}})
    assert compare_metrics(store, "d", "d").empty
    with pytest.raises(RunError, match="there is no run 'x'"):
        compare_metrics(store, "a", "x")
