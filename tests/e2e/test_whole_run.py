"""`taxidask run` over 15 real months: on local files and SQLite, and on real S3 and DynamoDB servers."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pandas as pd
import pytest
from finished import COMMAND, Finished, assert_same_numbers, run
from oracle import slow_cube, slow_read
from pdfs import text_of

import taxidask as td

pytestmark = pytest.mark.timeout(1200)

STAGES = ["ingest", "demand", "fare", "publish", "report"]


@pytest.fixture(scope="module")
def local(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    home = tmp_path_factory.mktemp("local")
    return run(f"{data}/trips/*.csv", str(home / "lake"), f"sqlite:///{home / 'results.db'}", home / "report.pdf")


@pytest.fixture(scope="module")
def truth(data: Path) -> dict[str, tuple]:
    """What the slow reader finds in each file, by name."""
    return {path.name: slow_read(path.read_bytes(), path.stem[-7:]) for path in sorted((data / "trips").glob("*.csv"))}


def test_every_stage_is_done_and_said(local: Finished) -> None:
    assert local.run["state"] == "done"
    assert [local.run["stages"][name]["state"] for name in STAGES] == ["done"] * 5
    for number in range(1, 6):
        assert f"[{number}/5]" in local.said
    assert "estimate:" in local.said
    assert "cost:" in local.said


def test_lake_holds_what_the_slow_reader_finds(local: Finished, truth: dict[str, tuple]) -> None:
    sources = local.lake.sources().assign(name=lambda frame: frame["url"].str.rsplit("/", n=1).str[1])
    assert sources["name"].to_list() == sorted(truth)
    for row in sources.to_dict("records"):
        kept, rejects, _ = truth[row["name"]]
        assert row["kept"] == len(kept)
        assert row["rows"] == len(kept) + len(rejects)
        reasons = Counter(reason for *_, reason in rejects)
        assert {reason: row[reason] for reason in reasons} == dict(reasons)
    assert len(local.lake.rejects()) == sum(len(rejects) for _, rejects, _ in truth.values())
    assert len(local.lake.trips(columns=["fare_amount"])) == sum(len(kept) for kept, _, _ in truth.values())


def test_cube_counts_what_the_slow_reader_counts(local: Finished, truth: dict[str, tuple]) -> None:
    cube = local.lake.cube()
    expected: Counter = Counter()
    for kept, _, _ in truth.values():
        expected.update(slow_cube(kept))
    frame = cube.to_pandas().melt(["time", "cell"], ["pickups", "dropoffs"])
    frame = frame[frame["value"] > 0]
    direction = (frame["variable"] == "dropoffs").astype(int)
    found = dict(zip(zip(frame["time"], frame["cell"], direction, strict=True), frame["value"], strict=True))
    covered = {key: count for key, count in expected.items() if cube.start <= key[0] < cube.end}
    assert found == {(pd.Timestamp(slot), cell, end): count for (slot, cell, end), count in covered.items()}


def test_store_holds_what_the_saved_models_say(local: Finished) -> None:
    latest = local.store.get_latest()
    assert latest["run"] == local.run["id"]
    cube = local.lake.cube()
    forecast = td.DemandModel.load(f"{local.lake.url}/models/demand").forecast(cube, horizon=48)
    for cell in latest["cells"][:5]:
        stored = local.store.get_forecast(latest["space"], cell, slot=latest["slot"])
        for direction, name in enumerate(("pickup", "dropoff")):
            one = stored[stored["direction"] == name]
            np.testing.assert_allclose(one["mean"], forecast.mean[:, cell, direction], rtol=1e-5, atol=1e-9)
            assert (one["low"] <= one["mean"]).all()
            assert (one["mean"] <= one["high"]).all()
    demand = local.store.get_demand(latest["space"], "city", slot=latest["slot"])
    assert demand["pickups"].sum() == cube.counts[:, :, 0].sum()
    fares = td.FareModel.load(f"{local.lake.url}/models/fare")
    assert local.store.get_card("fare")["metrics"] == fares.card["metrics"]
    assert len(local.store.get_ingest(local.lake.url)) == 15


def test_models_beat_their_baselines(local: Finished) -> None:
    demand = local.store.get_metrics(local.run["id"], "demand")
    assert demand["rmse"].mean() < demand["last_week_rmse"].mean()
    assert demand["rmse"].mean() < demand["four_weeks_rmse"].mean()
    fare = local.store.get_metrics(local.run["id"], "fare")
    assert (fare["mae"] < fare["tariff_mae"]).all()


def test_report_shows_the_numbers_of_the_run(local: Finished, truth: dict[str, tuple]) -> None:
    text = text_of(local.report.read_bytes())
    kept = sum(len(kept) for kept, _, _ in truth.values())
    rejected = sum(len(rejects) for _, rejects, _ in truth.values())
    for figure in (kept + rejected, kept, rejected):
        assert f"{figure:,}" in text
    assert local.run["id"] in text


def test_s3_and_dynamodb_give_the_same_numbers(
    local: Finished, aws_servers: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in aws_servers.environment.items():
        monkeypatch.setenv(key, value)
    name = f"taxidask-{uuid.uuid4().hex[:12]}"
    s3 = boto3.client("s3", region_name="us-east-1")
    s3.create_bucket(Bucket=name)
    for path in (data / "trips").glob("*.csv"):
        s3.upload_file(str(path), name, f"trips/{path.name}")
    store = f"dynamodb://{name}"
    subprocess.run([COMMAND, "store", "create", "--store", store], check=True, timeout=120, env=os.environ.copy())
    cloud = run(f"s3://{name}/trips/*.csv", f"s3://{name}/lake", store, tmp_path / "report.pdf")

    assert_same_numbers(local, cloud)
    item = cloud.store.get_run(cloud.run["id"])
    for what in ("puts", "gets", "writes"):  # the report goes to a local file
        assert 0.6 < item["estimate"][what] / item["cost"][what] < 1.7, (what, item["estimate"], item["cost"])
