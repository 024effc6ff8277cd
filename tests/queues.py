"""As much of SQS as `taxidask watch` asks for, on this machine: AWS's JSON protocol over HTTP, messages in memory.

```
with FakeSqs() as sqs:
    sqs.send("words")
    sqs.url                      # of the queue
    sqs.asked, sqs.messages()    # a Counter of operations; bodies of the messages that are not deleted
```
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

PATH = "/111122223333/taxidask-files"


@dataclass
class _Message:
    body: str
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    receipts: set[str] = field(default_factory=set)
    seen_again: float = 0.0  # when it can be received


class FakeSqs:
    """A queue; what was received and not deleted comes again after `visibility` seconds."""

    def __init__(self, *, visibility: float = 30.0) -> None:
        self.visibility = visibility
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.refusal: str | None = None  # a code that every request is refused with
        self._messages: dict[str, _Message] = {}
        self._changed = threading.Condition()
        self._server = _Server(self)
        self.url = f"http://127.0.0.1:{self._server.server_port}{PATH}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def send(self, body: str) -> None:
        with self._changed:
            message = _Message(body)
            self._messages[message.id] = message
            self._changed.notify_all()

    def messages(self) -> list[str]:
        with self._changed:
            return [message.body for message in self._messages.values()]

    def answer(self, operation: str, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        with self._changed:
            self.asked[operation] += 1
            self._changed.notify_all()
        if self.refusal or not asked.get("QueueUrl", "").endswith(PATH):
            code = self.refusal or "QueueDoesNotExist"
            return 400, {"__type": f"com.amazonaws.sqs#{code}", "message": "refused"}
        if operation == "ReceiveMessage":
            return 200, {"Messages": found} if (found := self._receive(asked)) else {}
        if operation == "DeleteMessageBatch":
            entries = asked["Entries"]
            assert 1 <= len(entries) <= 10
            assert len({entry["Id"] for entry in entries}) == len(entries)
            with self._changed:
                for entry in entries:
                    self._messages = {
                        name: one for name, one in self._messages.items() if entry["ReceiptHandle"] not in one.receipts
                    }
            return 200, {"Successful": [{"Id": entry["Id"]} for entry in entries], "Failed": []}
        return 400, {"__type": "com.amazonaws.sqs#UnsupportedOperation", "message": operation}

    def _receive(self, asked: dict[str, Any]) -> list[dict[str, Any]]:
        until = time.monotonic() + asked.get("WaitTimeSeconds", 0)
        with self._changed:
            while True:
                now = time.monotonic()
                ready = [one for one in self._messages.values() if one.seen_again <= now]
                if ready or now >= until:
                    break
                self._changed.wait(min(0.05, until - now))
            taken = ready[: asked.get("MaxNumberOfMessages", 1)]
            given = []
            for one in taken:
                one.seen_again = time.monotonic() + self.visibility
                one.receipts.add(receipt := uuid.uuid4().hex)
                digest = hashlib.md5(one.body.encode(), usedforsecurity=False).hexdigest()
                given.append({"MessageId": one.id, "ReceiptHandle": receipt, "MD5OfBody": digest, "Body": one.body})
            return given


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, queue: FakeSqs) -> None:
        self.queue = queue
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, *_: Any) -> None:
        """Whoever asked has gone."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        service, _, operation = self.headers["X-Amz-Target"].partition(".")
        assert service == "AmazonSQS"
        status, answer = self.server.queue.answer(operation, asked)
        self.server.queue.answered[operation] += 1
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass
