"""The app's pods behind their Service: pages and sockets at any of them, one that goes, one more under load."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsers import ARGUMENTS, CHROMIUM, needs_chromium
from kube import Drivers, Kubectl, pod, until

from taxidask.results.summary import volume

VISITOR = "visitor"

SOCKET = """
import asyncio, json, re, sys, urllib.request
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

sender, other = sys.argv[1:]
page = urllib.request.urlopen(f"http://{sender}:5006/", timeout=20).read().decode()
token = re.search(r'"token":\\s*"([^"]+)"', page)[1]

async def main():
    request = HTTPRequest(f"ws://{other}:5006/ws", headers={"Origin": "http://app.taxidask"})
    socket = await websocket_connect(request, subprotocols=["bokeh", token])
    while '"ACK"' not in await socket.read_message():
        pass
    for part in ({"msgid": "1", "msgtype": "PULL-DOC-REQ"}, {}, {}):
        await socket.write_message(json.dumps(part))
    while True:
        message = await socket.read_message()
        if '"doc"' in message:
            print(json.loads(message)["doc"]["title"])
            return

asyncio.run(asyncio.wait_for(main(), 30))
"""

VISIT = """
import json, os, pathlib, sys, threading, time, urllib.error, urllib.request
seconds, readers = float(sys.argv[1]), int(sys.argv[2])
end, visits, stop = time.time() + seconds, [], pathlib.Path("/tmp/stop")
stop.unlink(missing_ok=True)

def read():
    while time.time() < end and not stop.exists():
        began = time.time()
        try:
            with urllib.request.urlopen("http://app.taxidask/", timeout=20) as page:
                found = "page" if b"Overview" in page.read() else "not our page"
        except urllib.error.HTTPError as error:
            found = f"status {error.code}"
        except OSError as error:
            found = "connection"
        visits.append((began, found))

threads = [threading.Thread(target=read) for _ in range(readers)]
[t.start() for t in threads]
[t.join() for t in threads]
print(json.dumps(visits))
"""


@pytest.fixture(scope="module")
def visitor(cluster: Kubectl) -> Iterator[Kubectl]:
    """A pod that the app's policy lets in."""
    cluster("delete", "pod", VISITOR, "--ignore-not-found")
    cluster.apply(pod(VISITOR, "driver", labels={"taxidask.access": "app"}))
    # a driver's policies let it out to nothing of the app
    out = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": VISITOR},
        "spec": {
            "podSelector": {"matchLabels": {"taxidask.access": "app"}},
            "policyTypes": ["Egress"],
            "egress": [{"ports": [{"port": 5006}]}],
        },
    }
    cluster.apply(out)
    cluster.wait_ready(VISITOR)
    yield cluster
    cluster("delete", "networkpolicy", VISITOR)
    cluster("delete", "pod", VISITOR, "--wait=false")


def ready(kubectl: Kubectl) -> list[dict[str, Any]]:
    found = kubectl.get("pods", "-l", "app.kubernetes.io/component=app")["items"]
    return [
        one
        for one in found
        if "deletionTimestamp" not in one["metadata"]
        and any(c["type"] == "Ready" and c["status"] == "True" for c in one["status"].get("conditions", ()))
    ]


def test_socket_at_another_pod_than_the_page(visitor: Kubectl) -> None:
    """The Service needs no affinity."""
    addresses = [one["status"]["podIP"] for one in ready(visitor)]
    assert len(addresses) >= 2
    assert "Overview" in visitor.python(VISITOR, SOCKET, *addresses[:2])


def test_load_adds_a_pod(visitor: Kubectl) -> None:
    reading = visitor.start("exec", VISITOR, "--", "python", "-c", VISIT, "240", "6")
    try:
        until(lambda: len(ready(visitor)) > 2, "a third pod under load", 200)
    finally:
        visitor("exec", VISITOR, "--", "touch", "/tmp/stop")
        out, _ = reading.communicate(timeout=60)
    [scaler] = visitor.get("horizontalpodautoscalers")["items"]
    assert scaler["status"]["desiredReplicas"] > scaler["spec"]["minReplicas"] == 2
    assert {found for _, found in json.loads(out)} == {"page"}


@pytest.mark.parametrize("force", [False, True], ids=["stopped", "killed"])
def test_a_pod_that_goes_under_requests_fails_no_page_but_its_own(visitor: Kubectl, force: bool) -> None:
    until(lambda: len(ready(visitor)) >= 2, "two pods of the app", 120)
    victim = ready(visitor)[0]["metadata"]["name"]
    reading = visitor.start("exec", VISITOR, "--", "python", "-c", VISIT, "20", "4")
    time.sleep(6)
    went = time.time()
    visitor("delete", "pod", victim, *(("--force", "--grace-period=0") if force else ("--wait=false",)))
    out, err = reading.communicate(timeout=60)
    assert reading.returncode == 0, err
    visits = json.loads(out)
    failed = [(round(began - went, 1), found) for began, found in visits if found != "page"]
    assert len(visits) - len(failed) > 20
    assert [began for began, _ in visits if began > went + 8], "reading went on"
    if force:  # what was sent to it when it died, or before the Service knew: within a few seconds, no error page
        assert {found for _, found in failed} <= {"connection"}, failed
        assert all(-6 < began < 5 for began, _ in failed), failed
    else:
        assert failed == []
    until(lambda: len(ready(visitor)) >= 2, "the pod that takes its place", 120)


WORK = """
def figures(dask_scheduler):
    workers = dask_scheduler.workers.values()
    return {
        "workers": len(workers),
        "threads": sum(worker.nthreads for worker in workers),
        "limit": sum(worker.memory_limit for worker in workers),
        "processing": sum(len(worker.processing) for worker in workers),
        "held": sum(task.state == "memory" for task in dask_scheduler.tasks.values()),
    }

with td.connect(settings(workers=2, cluster_name=NAME), timeout=150) as client:
    held = client.submit(sum, [1, 2])
    wait(held)
    working = [client.submit(time.sleep, 1200, key=f"sleep-{number}", pure=False) for number in range(2)]
    until(lambda: client.run_on_scheduler(figures)["processing"] == 2, "both workers to be at work")
    tell(**client.run_on_scheduler(figures), pods=[pod["metadata"]["name"] for pod in client.cluster.pods()])
    until(lambda: os.path.exists(f"{FOLDER}/scale"), "the page to be read", 120)
    client.cluster.scale(3)
    until(lambda: client.run_on_scheduler(figures)["workers"] == 3, "a third worker", 150)
    tell(**client.run_on_scheduler(figures))
    until(lambda: os.path.exists(f"{FOLDER}/end"), "the page to be read", 120)
    del working
"""


def numbers(page: Any) -> dict[str, tuple[str, str]]:
    """The key numbers of the page, each with the note below it."""
    found = page.locator("dl.numbers > div").all_inner_texts()
    parts = [[line for line in text.splitlines() if line.strip()] for text in found]
    return {term.title(): (number, note) for term, number, note in (part for part in parts if len(part) == 3)}


@needs_chromium
@pytest.mark.timeout(600)
def test_the_cluster_page_says_what_the_scheduler_says(
    cluster: Kubectl, drive: Drivers, name: str, app_address: str, tmp_path: Path
) -> None:
    from playwright.sync_api import sync_playwright

    complaints: list[str] = []
    with sync_playwright() as play:
        rules = f"--host-resolver-rules=MAP app.taxidask:80 {app_address}"
        browser = play.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS, rules])
        page = browser.new_page(viewport={"width": 1280, "height": 1500})
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.goto("http://app.taxidask/cluster", timeout=90_000)
        page.get_by_text("No cluster is up").wait_for(timeout=60_000)

        driver = drive.start(f"NAME, FOLDER = {name!r}, {str(tmp_path)!r}\n{WORK}")
        told = drive.first(driver)
        until(lambda: numbers(page).get("Tasks At Work", ("",))[0] == "2", "the page to show both tasks", 60)
        shown = numbers(page)
        assert shown["Workers"][0] == str(told["workers"]) == "2"
        assert shown["Workers"][1].startswith("2 asked for")
        assert shown["Threads"][0] == str(told["threads"])
        assert shown["Memory"][1] == f"of {volume(told['limit'])}"
        assert not shown["Memory"][0].startswith("0 ")
        assert shown["Results Held"][0] == str(told["held"]) == "1"
        text = page.locator("body").inner_text()
        for one in told["pods"]:
            assert page.get_by_role("cell", name=one, exact=True).count(), text
        command = f"kubectl -n taxidask port-forward service/{name}-scheduler 8787"
        assert page.get_by_text(command, exact=True).count() == 1
        link = page.get_by_role("link", name="http://localhost:8787")
        assert link.get_attribute("href") == "http://localhost:8787/status"
        page.screenshot(path=tmp_path / "cluster.png", full_page=True)

        # the link leads somewhere once the port is forwarded, and workers have no token of Kubernetes
        [forwarded] = [pod for pod in told["pods"] if "scheduler" in pod]
        look = "import urllib.request as u; print(u.urlopen('http://localhost:8787/status', timeout=20).status)"
        assert cluster.python(forwarded, look).strip() == "200"
        token = "import pathlib; print(pathlib.Path('/var/run/secrets/kubernetes.io/serviceaccount/token').exists())"
        assert cluster.python(told["pods"][-1], token).strip() == "False"

        (tmp_path / "scale").touch()
        until(lambda: numbers(page)["Workers"][1].startswith("3 asked for"), "the page to show the new scale", 60)
        assert drive.first(driver)["workers"] == 3
        until(lambda: numbers(page)["Workers"][0] == "3", "the page to show the third worker", 60)

        (tmp_path / "end").touch()
        page.get_by_text("No cluster is up").wait_for(timeout=120_000)
        assert driver.wait(60) == 0, driver.stderr and driver.stderr.read()
        assert not re.search(r"Workers\s+3", page.locator("body").inner_text())
        browser.close()
    assert complaints == []
