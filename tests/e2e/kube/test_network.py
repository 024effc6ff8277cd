"""Who reaches whom, by real connections: every flow that is needed, and no other."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
from kube import Kubectl, pod

OUTSIDE = "taxidask-strangers"
LISTEN = """
import socket, threading
def serve(port):
    s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("", port)); s.listen()
    while True: s.accept()[0].close()
for port in (8786, 8787, 8788, 8789): threading.Thread(target=serve, args=(port,)).start()
"""
CONNECT = """
import json, os, socket, sys
os.environ["RES_OPTIONS"] = "timeout:2 attempts:1"
from concurrent.futures import ThreadPoolExecutor
def reach(item):
    name, (host, port) = item
    try:
        socket.create_connection((host, port), timeout=2).close()
        return name, True
    except OSError:
        return name, False
def resolve():
    try:
        return bool(socket.getaddrinfo("app.taxidask", 80))
    except OSError:
        return False
with ThreadPoolExecutor(20) as pool:
    dns = pool.submit(resolve)
    found = dict(pool.map(reach, json.loads(sys.argv[1]).items()))
print(json.dumps([name for name, open in {**found, "dns": dns.result()}.items() if open]))
"""
AWS = {"s3", "dynamodb", "s3 of the other region", "dynamodb of the other region"}
DASK = {"scheduler:8786", "worker:8788", "worker:8789"}
NEEDED = {
    # who: what it reaches; it reaches nothing else
    "driver": {"dns", "api", "scheduler:8787"} | AWS | DASK,
    "worker": {"dns"} | AWS | DASK,
    "scheduler": {"dns", "worker:8788", "worker:8789"},
    "operator": {"dns", "api", "scheduler:8787"},
    "app": {"dns", "api", "scheduler:8787"} | AWS,
    "stranger": set(),  # in our namespace, without our labels
    "outsider": {"dns", "api"} | AWS,  # in a namespace of its own, where nothing is forbidden
    "friend": {"dns", "api", "app:5006"} | AWS,  # that lets itself in
}


@pytest.fixture(scope="module")
def targets(cluster: Kubectl) -> Iterator[dict[str, tuple[str, int]]]:
    """Where everything is, once all the pods are there."""
    listen = {"args": ["python", "-c", LISTEN]}
    own = [pod("net-scheduler", "scheduler", container=listen), pod("net-worker", "worker", container=listen)]
    own += [pod("net-other-worker", "worker"), pod("net-driver", "driver"), pod("net-stranger")]
    cluster.apply(*own)
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": OUTSIDE}})
    outside = [pod("outsider"), pod("friend", labels={"taxidask.access": "app"})]
    cluster.apply(*outside, namespace=OUTSIDE)
    cluster.wait_ready(*(one["metadata"]["name"] for one in own))
    cluster.wait_ready(*(one["metadata"]["name"] for one in outside), namespace=OUTSIDE)

    def ip(*what: str) -> str:
        found = cluster.get("pod", *what)
        return (found["items"][0] if "items" in found else found)["status"]["podIP"]

    app = ip("-l", "app.kubernetes.io/component=app", "--field-selector=status.phase=Running")
    operator = ip("-l", "app.kubernetes.io/component=operator", "--field-selector=status.phase=Running")
    yield {
        **{f"scheduler:{port}": (ip("net-scheduler"), port) for port in (8786, 8787)},
        **{f"worker:{port}": (ip("net-worker"), port) for port in (8788, 8789)},
        "app:5006": (app, 5006),
        "operator:8080": (operator, 8080),
        "api": ("10.96.0.1", 443),
        "s3": ("172.30.0.1", 9101),
        "dynamodb": ("172.30.0.1", 8101),
        "s3 of the other region": ("172.30.0.1", 9102),
        "dynamodb of the other region": ("172.30.0.1", 8102),
    }
    cluster("delete", "namespace", OUTSIDE, "--wait=false")
    cluster("delete", "pod", *(one["metadata"]["name"] for one in own), "--wait=false")


@pytest.mark.parametrize("who", NEEDED)
def test_reaches_what_it_needs_and_nothing_else(
    cluster: Kubectl, targets: dict[str, tuple[str, int]], who: str
) -> None:
    place = {"worker": "net-other-worker", "app": "deploy/app", "operator": "deploy/dask-operator"}.get(who)
    outside = who in ("outsider", "friend")
    place = place or (who if outside else f"net-{who}")
    namespace = OUTSIDE if outside else "taxidask"
    mine = {name: where for name, where in targets.items() if not (who in ("app", "operator") and name.startswith(who))}
    if who == "scheduler":
        mine = {name: where for name, where in mine.items() if not name.startswith("scheduler")}

    # a new pod's rules come a moment after it
    for _ in range(8):
        reached = set(json.loads(cluster.python(place, CONNECT, json.dumps(mine), namespace=namespace)))
        if reached == NEEDED[who]:
            break
        time.sleep(1)
    assert reached == NEEDED[who]


def test_app_answers_behind_its_service(cluster: Kubectl, targets: dict[str, tuple[str, int]]) -> None:
    code = "import urllib.request as u; print(u.urlopen('http://app.taxidask/readyz', timeout=10).status)"
    assert cluster.python("friend", code, namespace=OUTSIDE).strip() == "200"
