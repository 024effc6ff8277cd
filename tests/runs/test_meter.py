"""What a run is said to cost is what it used: requests that a server was really asked, cores while they were held."""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from links import Fault, Link

import taxidask as td
from taxidask.demand import DemandModel
from taxidask.fare import FareModel
from taxidask.runs import meter
from taxidask.runs.cost import price
from taxidask.runs.meter import Meter
from taxidask.settings import Settings
from taxidask.storage import Storage, absolute, backends
from taxidask.storage.requests import Requests, take

STORE: Any = SimpleNamespace(usage={"write_units": 0.0})


class Server(ThreadingHTTPServer):
    """Stands before an S3 server and counts what it is asked."""

    daemon_threads = True

    def __init__(self, behind: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.behind = urlsplit(behind).netloc
        self.asked: Counter[str] = Counter()
        self.lock = threading.Lock()

    @property
    def requests(self) -> Requests:
        """As S3 would charge them."""
        with self.lock:
            asked = self.asked
            return Requests(asked["PUT"] + asked["POST"] + asked["list"], asked["GET"] + asked["HEAD"])


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def forward(self) -> None:
        kind = "list" if self.command == "GET" and "list-type=2" in self.path else self.command
        with self.server.lock:
            self.server.asked[kind] += 1
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        upstream = http.client.HTTPConnection(self.server.behind, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "expect"}
        upstream.request(self.command, self.path, body, headers)
        answer = upstream.getresponse()
        data = answer.read()
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(name, value)
        length = answer.getheader("Content-Length", "0") if self.command == "HEAD" else str(len(data))
        if answer.status != 204:
            self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(data)
        upstream.close()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = forward  # noqa: N815 - http.server's names

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(aws: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server(aws.s3["us-east-1"]) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{server.server_port}")
        yield server
        server.shutdown()


def test_every_part_page_and_thread_counts(bucket: str, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "WRITE_PART", 16 << 20)
    storage = Storage()
    take()
    large = b"x" * (18 << 20)
    storage.write(f"{bucket}/large", large)  # begun, three parts, completed
    assert take()[:2] == server.requests[:2] == (5, 0)
    assert storage.read(f"{bucket}/large", 0, len(large)) == large  # two ranges
    assert not storage.exists(f"{bucket}/none")  # and whether the bucket is there
    storage.delete(f"{bucket}/large")
    assert take()[:2] == (0, 4)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda n: storage.write(f"{bucket}/many/{n}", b""), range(1001)))
    assert take()[:2] == (1001, 0)
    assert len(storage.list(f"{bucket}/many")) == 1001  # two pages
    assert take()[:2] == (2, 0)
    assert server.requests[:2] == (5 + 1001 + 2, 4)


def test_files_cost_no_requests(tmp_path: Path) -> None:
    take()
    Storage().write(str(tmp_path / "a"), b"one")
    assert take()[:2] == (0, 0)


def ask(url: str) -> None:
    storage = Storage()
    storage.write(url, b"x")
    storage.read(url)
    if url.endswith("/3"):
        raise ValueError(url)


@pytest.mark.timeout(300)
def test_a_run_on_s3_counts_what_the_server_was_asked(
    bucket: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for model in (DemandModel, FareModel):  # what they learn does not matter here
        monkeypatch.setitem(model.__init__.__kwdefaults__, "rounds", 5)
        monkeypatch.setitem(model.__init__.__kwdefaults__, "max_rows", 10_000)
    for path in map(Path, td.make_sample(str(tmp_path / "trips"), start="2015-03", trips_per_month=60_000)):
        Storage().write(f"{bucket}/trips/{path.name}", path.read_bytes())
    before = server.requests
    settings = td.Settings(
        sources=[f"{bucket}/trips/*.csv"],
        lake=f"{bucket}/lake",
        store=f"sqlite:///{tmp_path / 'results.db'}",
        report=f"{bucket}/report.pdf",
        block_size="8MiB",
        horizon=2,
        workers=1,  # of several threads
    )
    run = td.run(settings, progress=False)
    asked = server.requests
    assert (run.cost["puts"], run.cost["gets"]) == (asked.puts - before.puts, asked.gets - before.gets)
    assert run.cost["puts"] > 10
    paid = run.cost["puts"] / 1000 * settings.prices.thousand_puts
    paid += run.cost["gets"] / 1000 * settings.prices.thousand_gets
    assert run.cost["usd"] == pytest.approx(paid, abs=1e-6)


def test_a_task_that_fails_on_a_worker_leaves_its_requests_to_the_next(bucket: str, server: Server) -> None:
    with td.connect(td.Settings(workers=1, worker_memory="1GiB")) as client:
        runs = td.compute.executor(client)
        take()
        with pytest.raises(ValueError, match="/3"):
            runs.submit(ask, f"{bucket}/3").result()
        assert take()[:2] == (0, 0)
        assert len(list(runs.map_unordered(ask, [f"{bucket}/{n}" for n in (4, 5)]))) == 2
    assert take()[:2] == server.requests[:2] == (3, 3)


def test_core_seconds_follow_the_size_of_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter, "LOOK_SECONDS", 0.02)
    now = [100.0]
    monkeypatch.setattr(meter, "time", SimpleNamespace(monotonic=lambda: now[0]))
    looked = threading.Semaphore(0)

    class Cluster:
        """One that an autoscaler changes: only who asks knows its size."""

        size = cpus = 2.5

        def wanted(self) -> None:
            self.cpus = self.size
            looked.release()
            if not self.size:
                raise td.ComputeError("the API does not answer")

    def look() -> None:
        for _ in range(2):  # the second begins after the first has been noted
            assert looked.acquire(timeout=10)

    cluster: Any = Cluster()
    client: Any = SimpleNamespace(cluster=cluster)
    pods = td.Settings(compute="kubernetes")
    used = Meter(pods, STORE, {"core_seconds": 1000.0, "puts": 7})
    now[0] += 5  # nothing runs yet
    with used.follow(client):
        look()
        now[0] += 10
        assert used.cost().core_seconds == 1025.0
        cluster.size = 8.5
        while cluster.cpus != 8.5:
            time.sleep(0.01)
        while looked.acquire(blocking=False):
            pass
        look()
        now[0] += 100
        assert used.cost().core_seconds == 1875.0
        cluster.size = 0
        while cluster.cpus:
            time.sleep(0.01)
        now[0] += 10  # who does not answer is taken to be as it was
        total = used.cost()
    assert total.core_seconds == 1960.0
    assert total.puts == 7
    paid = 1960 / 3600 * pods.prices.vcpu_hour + 7 / 1000 * pods.prices.thousand_puts
    assert total.usd == pytest.approx(paid, abs=1e-6)


def test_nothing_is_paid_for_a_run_on_files() -> None:
    local = td.Settings(sources=[absolute("trips.csv")])
    guess = td.runs.cost.estimate(local, bytes_to_read=10**9, blocks=15, sources=1, months=1, cells=100, cores=4)
    assert (guess.puts, guess.gets, guess.usd) == (0, 0, 0)


def test_requests_that_are_sent_again_are_counted_and_told(
    aws: Any, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    take()
    with Link(aws.s3["us-east-1"]) as link:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", link.url)
        link.play(Fault("error", times=2), Fault("cut", times=1, only="GET"))
        Storage().write(f"{bucket}/object", b"content")
        assert Storage().read(f"{bucket}/object") == b"content"
    assert take()[2:] == (2, 1)
    with Link(aws.dynamodb["us-east-1"]) as link:
        store = td.open_store(f"dynamodb://{bucket.removeprefix('s3://')}", endpoint=link.url)
        store.create()
        link.play(Fault("throttle", times=1), Fault("reset", times=1))
        store.put_latest({"run": "1"})
        assert store.get_latest() == {"run": "1"}
    assert take()[2:] == (1, 1)
    used = price(Settings(), core_seconds=1, bytes_read=0, puts=0, gets=0, writes=0, busy=3, lost=1)
    assert str(used).endswith("USD (requests sent again: 3 refused as busy, 1 unanswered)")
