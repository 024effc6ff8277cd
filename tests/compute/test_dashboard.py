"""A scheduler's state from its dashboard, whatever answers there."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from taxidask.compute import dashboard
from taxidask.compute.dashboard import ask
from taxidask.errors import ComputeError


def test_workers_memory_and_tasks_of_a_real_scheduler(cluster: Any) -> None:
    futures = cluster.map(lambda number: time.sleep(20) or number, range(7), pure=False)
    try:
        end = time.monotonic() + 30
        while (told := ask(cluster.dashboard_link)).tasks["processing"] == 0:
            assert time.monotonic() < end
            time.sleep(0.2)
    finally:
        cluster.cancel(futures, force=True)
    assert told.address == cluster.scheduler.address
    assert told.dashboard == cluster.dashboard_link
    assert [worker["memory_limit"] for worker in told.workers] == [2**30, 2**30]
    assert all(worker["memory"] > 2**20 and worker["host"] == "127.0.0.1" for worker in told.workers)
    assert told.tasks["tasks"] == 7
    assert told.wanted > 0


@contextlib.contextmanager
def answering(body: bytes, *, status: int = 200, pause: float = 0.0) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Location", "http://127.0.0.1:1/")
            self.end_headers()
            with contextlib.suppress(OSError):
                for byte in body:
                    self.wfile.write(bytes([byte]))
                    time.sleep(pause)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"<html>", 200), (b"{}", 200), (b'{"workers": 3, "address": ""}', 200), (b"[]", 200), (b"{}", 404), (b"{}", 302)],
)
def test_what_is_no_scheduler_is_told(body: bytes, status: int) -> None:
    with answering(body, status=status) as url, pytest.raises(ComputeError, match="is no Dask scheduler's dashboard"):
        ask(url)


def test_an_answer_without_end_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboard, "_MOST_BYTES", 1000)
    with answering(b" " * 2000) as url, pytest.raises(ComputeError, match="is of more than"):
        ask(url)


def test_one_that_is_slow_or_silent_or_not_there_is_waited_for_no_longer_than_told() -> None:
    with answering(b" " * 100, pause=0.1) as url, pytest.raises(ComputeError, match="within 1 s"):
        ask(url, seconds=1)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(ComputeError, match=r"within 0\.5 s"):
            ask(f"http://127.0.0.1:{silent.getsockname()[1]}", seconds=0.5)
    with pytest.raises(ComputeError, match="no Dask dashboard answered"):
        ask("http://127.0.0.1:1")


@pytest.mark.parametrize("address", ["", "ftp://host", "http://", "http://host:x", "file:///etc/passwd"])
def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises(ComputeError, match="is no address of a dashboard"):
        ask(address)
