"""A page's web socket may be opened at another pod than the one that sent the page: the Service needs no affinity."""

from __future__ import annotations

from kube import Kubectl, pod

OPEN = """
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


def test_socket_at_another_pod_than_the_page(cluster: Kubectl) -> None:
    cluster("delete", "pod", "socket-test", "--ignore-not-found")
    cluster.apply(pod("socket-test", "driver", labels={"taxidask.access": "app"}))
    # the driver's policies let it out to nothing of the app: this pod is let in, but must also be let out
    out = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "socket-test"},
        "spec": {
            "podSelector": {"matchLabels": {"taxidask.access": "app"}},
            "policyTypes": ["Egress"],
            "egress": [{"ports": [{"port": 5006}]}],
        },
    }
    cluster.apply(out)
    try:
        cluster.wait_ready("socket-test")
        found = cluster.get("pods", "-l", "app.kubernetes.io/component=app", "--field-selector=status.phase=Running")
        addresses = [one["status"]["podIP"] for one in found["items"]]
        assert len(addresses) >= 2
        assert "Overview" in cluster.python("socket-test", OPEN, *addresses[:2])
    finally:
        cluster("delete", "networkpolicy", "socket-test")
        cluster("delete", "pod", "socket-test", "--wait=false")
