"""Requests to S3, and what of all services' requests failed and was survived, counted in the process that sends them.

A count lies in one place only: where the request was sent, until `take` fetches it from there. A task on a worker takes
what its process has sent since the last one did, other threads' requests among them, and its result brings that to the
driver, which has `add` put it to its own; a report's kernel is asked at its end. So it adds up whichever thread sends.
What a worker has not brought back when it dies is lost, and so is what comes with a result that nobody waits for any
more; of two runs at once on the same workers, or in one process, one may be told the other's.
"""

from __future__ import annotations

import operator
import os
import threading
from typing import Any, NamedTuple


class Requests(NamedTuple):
    """Requests by what S3 charges: a put is a PUT, a POST or a list, a get is a GET or a HEAD; deletes are free.

    And those, of S3 and of DynamoDB, that had to be sent again: the service was busy, or its answer did not come whole.
    """

    puts: int = 0
    gets: int = 0
    busy: int = 0
    lost: int = 0


_sent = Requests()
_lock = threading.Lock()


def take() -> Requests:
    """What was counted here since the last call."""
    global _sent
    with _lock:
        taken, _sent = _sent, Requests()
    return taken


def add(more: Requests) -> None:
    """Count these as well."""
    global _sent
    with _lock:
        _sent = Requests(*map(operator.add, _sent, more))


def on_send(request: Any, event_name: str, **_: Any) -> None:
    """Count a request: botocore's event ``before-send.s3.OPERATION``, for every try, part and page."""
    operation = event_name.rpartition(".")[2]
    if request.method in ("PUT", "POST") or operation.startswith("List"):
        add(Requests(puts=1))
    elif request.method in ("GET", "HEAD"):
        add(Requests(gets=1))


def _after_fork() -> None:
    global _lock, _sent
    _lock, _sent = threading.Lock(), Requests()  # what the parent sent is the parent's


os.register_at_fork(after_in_child=_after_fork)
