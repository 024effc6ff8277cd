"""The app's pods behind their Service: pages and sockets at any of them, one that goes, one more under load."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from kube import Kubectl, pod, until

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
