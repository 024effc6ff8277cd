"""A link to a real server that can fail: a proxy for HTTP on a port that stays the same, with faults to be played.

```
with Link(aws.s3["us-east-1"]) as east:
    east.off()                                            # refuses connections, resets those that are open
    east.on()
    east.play(Fault("slow", seconds=0.5), Fault("error", status=503, share=0.2), seed=7)
    east.play()                                           # none any more
    east.asked, east.played                               # Counters of requests and of faults
```
"""

from __future__ import annotations

import contextlib
import http.client
import random
import re
import socket
import struct
import threading
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Self
from urllib.parse import urlsplit

Kind = Literal["hang", "slow", "error", "throttle", "reset", "lost", "cut"]
_PASSED_ON = ("transfer-encoding", "connection", "content-length", "keep-alive")


@dataclass
class Fault:
    """What happens to some requests.

    hang: nothing is answered while the fault is played. slow: answered `seconds` later. error: answered `status`, not
    passed on. throttle: refused as S3 (SlowDown) or DynamoDB does. reset: the connection is, and nothing passed on.
    lost: passed on and done, then the connection is reset before the answer. cut: half of the answer's body comes.
    """

    kind: Kind
    share: float = 1.0  # of the requests
    times: int | None = None  # at most
    only: str = ""  # a pattern of "PUT /bucket/key" or "POST / DynamoDB_20120810.PutItem"
    seconds: float = 0.2
    status: int = 503
    _over: threading.Event = field(default_factory=threading.Event, repr=False)


class Link:
    """A proxy before `behind`, the URL of a server; ask at `url` instead."""

    def __init__(self, behind: str) -> None:
        self.behind = urlsplit(behind).netloc
        self.asked: Counter[str] = Counter()
        self.played: Counter[str] = Counter()
        self._faults: list[Fault] = []
        self._random = random.Random(0)
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._server: _Server | None = _Server(self, 0)
        self._held: list[socket.socket] = []
        self.port: int = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        self._serve()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.play()
        self._stop()
        self._let_go()

    def off(self, how: Literal["refuse", "drop"] = "refuse") -> None:
        """Cut the link: what is open is reset, what is new refused, or left without any answer (drop)."""
        self._stop()
        self._let_go()
        held = socket.socket()
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", self.port))
        self._held = [held]  # so that nobody else gets the port
        if how == "drop":
            held.listen(0)
            for _ in range(3):  # once its queue is full, Linux leaves a request for a connection unanswered
                one = socket.socket()
                one.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    one.connect(("127.0.0.1", self.port))
                self._held.append(one)

    def on(self) -> None:
        """Mend the link."""
        if self._server is None:
            self._let_go()
            self._server = _Server(self, self.port)
            self._serve()

    def play(self, *faults: Fault, seed: int = 0) -> None:
        """Play these faults from now on instead of the former ones; of several the first that applies."""
        with self._lock:
            former, self._faults, self._random = self._faults, list(faults), random.Random(seed)
        for one in former:
            one._over.set()

    def _serve(self) -> None:
        assert self._server is not None
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def _stop(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
        with self._lock:
            still, self._open = self._open, set()
        for one in still:
            _reset(one)

    def _let_go(self) -> None:
        for one in reversed(self._held):
            one.close()
        self._held = []

    def _drawn(self, request: str) -> Fault | None:
        with self._lock:
            self.asked[request.split(" ", 1)[0]] += 1
            for one in self._faults:
                if re.search(one.only, request) and one.times != 0 and self._random.random() < one.share:
                    if one.times is not None:
                        one.times -= 1
                    self.played[one.kind] += 1
                    return one
        return None


def _reset(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, link: Link, port: int) -> None:
        self.link = link
        super().__init__(("127.0.0.1", port), _Handler)

    def handle_error(self, *_: Any) -> None:
        pass  # a connection that a fault has reset

    def shutdown_request(self, request: Any) -> None:
        with self.link._lock:
            self.link._open.discard(request)
        super().shutdown_request(request)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        super().setup()
        with self.server.link._lock:
            self.server.link._open.add(self.connection)

    def forward(self) -> None:
        link = self.server.link
        body = self._body()
        fault = link._drawn(f"{self.command} {self.path} {self.headers.get('X-Amz-Target', '')}")
        kind = fault.kind if fault else None
        if fault and kind == "hang":
            fault._over.wait(600)
            self._drop()
            return
        if fault and kind == "slow":
            fault._over.wait(fault.seconds)
        if kind == "reset":
            self._drop()
            return
        if fault and kind in ("error", "throttle"):
            self._refuse(fault)
            return
        try:
            status, headers, data, length = self._pass_on(body)
        except (OSError, http.client.HTTPException):  # what is behind does not answer
            self._drop()
            return
        if kind == "lost":
            self._drop()
            return
        self._answer(status, headers, data, length, cut=kind == "cut")

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = forward  # noqa: N815 - http.server's names

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        whole = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            whole += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return whole

    def _pass_on(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes, str]:
        upstream = http.client.HTTPConnection(self.server.link.behind, timeout=60)
        try:
            left_out = ("expect", "transfer-encoding", "connection")
            headers = {name: value for name, value in self.headers.items() if name.lower() not in left_out}
            upstream.request(self.command, self.path, body, headers)
            answer = upstream.getresponse()
            data = answer.read()
            length = answer.getheader("Content-Length", "0") if self.command == "HEAD" else str(len(data))
            passed = [(name, value) for name, value in answer.getheaders() if name.lower() not in _PASSED_ON]
            return answer.status, passed, data, length
        finally:
            upstream.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], data: bytes, length: str, *, cut: bool) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", length)
        self.end_headers()
        if cut and self.command != "HEAD":
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
        elif self.command != "HEAD":
            self.wfile.write(data)

    def _refuse(self, fault: Fault) -> None:
        if target := self.headers.get("X-Amz-Target", ""):
            kind = "ProvisionedThroughputExceededException" if fault.kind == "throttle" else "InternalServerError"
            namespace = f"com.amazonaws.{target.split('_')[0].lower()}.v20120810"
            data = f'{{"__type": "{namespace}#{kind}", "message": "played"}}'.encode()
            status, content = 400 if fault.kind == "throttle" else fault.status, "application/x-amz-json-1.0"
        else:
            status = 503 if fault.kind == "throttle" else fault.status
            codes = {403: "AccessDenied", 500: "InternalError", 503: "ServiceUnavailable"}
            code = "SlowDown" if fault.kind == "throttle" else codes.get(status, "InternalError")
            data = f"<Error><Code>{code}</Code><Message>played</Message></Error>".encode()
            content = "application/xml"
        self._answer(status, [("Content-Type", content)], data, str(len(data)), cut=False)

    def _drop(self) -> None:
        self.close_connection = True
        _reset(self.connection)

    def log_message(self, *_: Any) -> None:
        pass
