"""The home region ends for all pods, under a run and under the app: both go on in the other one."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from browsers import ARGUMENTS, CHROMIUM, needs_chromium
from finished import COMMAND, Finished, assert_same_numbers, run
from kube import Job, Kubectl, put

import taxidask as td
from taxidask.replicas import compare, places_of, repair
from taxidask.settings import Region
from taxidask.storage import Regions, Storage
from taxidask.storage.regions import Breakers

BUCKET = "taxidask"
STORE = "dynamodb://taxidask"  # which the app's pods read
HOME, OTHER = "us-east-1", "us-west-2"
PLACES = {f"s3://{BUCKET}": f"s3://{BUCKET}-west"}
DARK = """
table ip taxidask_dark {
  chain input {
    type filter hook input priority -10; policy accept;
    iifname != "lo" ip daddr 172.30.0.1 tcp dport { 9101, 8101 } drop
  }
}
"""


@pytest.fixture
def home_answers() -> Iterator[Callable[[bool], None]]:
    """Lets home's servers answer pods, or not: what pods send there is lost, also on connections that are open."""

    def nft(*arguments: str, rules: str = "", check: bool = True) -> None:
        subprocess.run(["nft", *arguments], input=rules, text=True, check=check, capture_output=True, timeout=30)

    def switch(on: bool, *, check: bool = True) -> None:
        if on:
            nft("delete", "table", "ip", "taxidask_dark", check=check)
        else:
            nft("-f", "-", rules=DARK)

    yield switch
    switch(True, check=False)


def alone(aws: Any, name: str) -> Regions:
    """The regions for somebody who reaches one of them only."""
    nowhere = "http://127.0.0.1:9"
    places = [
        Region(
            name=one,
            places=PLACES if one == OTHER else {},
            s3_endpoint=aws.s3[one] if one == name else nowhere,
            dynamodb_endpoint=aws.dynamodb[one] if one == name else nowhere,
        )
        for one in (HOME, OTHER)
    ]
    return Regions(places, active=name, breakers=Breakers())


def seen(aws: Any, name: str, job: Job, folder: str, run_id: str, tmp_path: Path) -> Finished:
    """What the run left, as a region has it."""
    regions = alone(aws, name)
    storage, store = Storage(regions=regions), td.open_store(STORE, regions=regions)
    report = tmp_path / f"{name}.pdf"
    report.write_bytes(storage.read(f"{folder}/report.pdf"))
    return Finished(store.get_run(run_id), job.log(), td.Lake(f"{folder}/lake", storage=storage), store, report)


def answers(address: str, stop: threading.Event) -> list[str]:
    """What a visitor who never stops asking is answered."""
    found = []
    while not stop.wait(0.5):
        for path in ("readyz", "overview"):
            try:
                with urllib.request.urlopen(f"http://{address}/{path}", timeout=20) as answer:
                    found.append(str(answer.status))
            except OSError as error:
                found.append(f"{path}: {error}")
    return found


def pods_of_the_app(kubectl: Kubectl) -> dict[str, int]:
    """Those that are ready, and how often each was started again."""
    found = kubectl.get("pods", "-l", "app.kubernetes.io/component=app")["items"]
    statuses = {one["metadata"]["name"]: one["status"].get("containerStatuses", []) for one in found}
    return {name: told[0]["restartCount"] for name, told in statuses.items() if told and told[0]["ready"]}


@needs_chromium
@pytest.mark.timeout(1200)
def test_a_run_and_the_app_go_on_when_the_home_region_ends(
    cluster: Kubectl, aws: Any, folder: str, home_answers: Any, app_address: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from playwright.sync_api import sync_playwright

    small = {"space": f"{folder}/zones.geojson", "slot": "4h", "horizon": "6"}
    for name, value in small.items():
        monkeypatch.setenv(f"TAXIDASK_{name.upper()}", value)
    sources, lake = f"{folder}/trips/*.csv", f"{folder}/lake"
    for month in map(Path, td.make_sample(tmp_path, start="2015-03", months=2, trips_per_month=15_000, seed=5)):
        put(aws, folder.rpartition("/")[2], f"trips/{month.name}", month.read_bytes())
    store = td.open_store(STORE)  # of home alone
    stop, before = threading.Event(), pods_of_the_app(cluster)
    with ThreadPoolExecutor() as pool, sync_playwright() as play:
        visits = pool.submit(answers, app_address, stop)
        job = Job(
            cluster, f"regions-{uuid.uuid4().hex[:5]}", sources=sources, lake=lake, report=f"{folder}/report.pdf",
            **small,
        )  # fmt: skip
        try:
            rules = f"--host-resolver-rules=MAP app.taxidask:80 {app_address}"
            browser = play.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS, rules])
            page = browser.new_page(viewport={"width": 1280, "height": 1500})
            page.goto("http://app.taxidask/runs", timeout=90_000)

            def mine() -> dict[str, Any] | None:
                found = (one for one in store.list_runs() if one["settings"]["lake"] == lake)
                return next((one for one in found if "ingest" in one["stages"]), None)

            begun = job.wait(mine, "the run to begin", 240)
            home_answers(False)
            assert begun["region"] == HOME
            assert begun["stages"]["ingest"]["state"] == "running"
            banner = page.get_by_text(f"{HOME} does not answer. This page is read from {OTHER}")
            banner.wait_for(timeout=60_000)
            job.wait(lambda: job.state() == "Complete", "the Job to be complete", 600)
            row = page.get_by_role("row").filter(has_text=begun["id"])
            row.filter(has_text="done").wait_for(timeout=60_000)
            banner.wait_for()
            browser.close()
            assert store.get_run(begun["id"])["state"] == "running", "home has not heard of its end"
        finally:
            stop.set()
            cluster("delete", "job", job.name, "--wait=false", check=False)
        there = seen(aws, OTHER, job, folder, begun["id"], tmp_path)
        assert (there.run["state"], there.run["region"]) == ("done", OTHER)
        assert any(f"went over from {HOME} to {OTHER}" in fault for fault in there.run["faults"])
        told = visits.result(timeout=60)
    local = tmp_path / "local"
    local.mkdir()
    undisturbed = run(sources, str(local / "lake"), f"sqlite:///{local}/results.db", local / "report.pdf")
    assert_same_numbers(undisturbed, there)
    assert set(told) == {"200"}, told
    after = pods_of_the_app(cluster)  # of which the autoscaler may have changed the number
    assert len(after) >= 2
    assert all(before[name] == after[name] for name in before.keys() & after.keys()), "none was started again"

    home_answers(True)
    monkeypatch.setenv("TAXIDASK_REGIONS", json.dumps([
        {"name": HOME, "s3_endpoint": aws.s3[HOME], "dynamodb_endpoint": aws.dynamodb[HOME]},
        {"name": OTHER, "places": PLACES, "s3_endpoint": aws.s3[OTHER], "dynamodb_endpoint": aws.dynamodb[OTHER]},
    ]))  # fmt: skip
    places = places_of(td.Settings(lake=lake, store=STORE, regions=json.loads(os.environ["TAXIDASK_REGIONS"])))
    found = compare(places)
    assert {one.region for one in found.left if one.how == "missing"} >= {HOME}
    assert repair(places, found, young=0).left == []
    put(aws, folder.rpartition("/")[2], "report.pdf", there.report.read_bytes())  # S3 copies it; it is beside the lake
    checked = subprocess.run(
        [COMMAND, "regions", "--check", "--wait", "0", "--lake", lake, "--store", STORE],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert checked.stdout.endswith("the same in all regions\n")
    assert_same_numbers(undisturbed, seen(aws, HOME, job, folder, begun["id"], tmp_path))
