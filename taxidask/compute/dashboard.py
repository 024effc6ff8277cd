"""What a Dask scheduler says of itself on its dashboard's JSON pages.

Asked so, and not over Dask's own protocol: that would unpickle whatever answers.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from taxidask.errors import ComputeError

SECONDS = 5.0
PORT = 8787
"""Where Dask puts the dashboard unless told."""

_MOST_BYTES = 32 << 20


@dataclass(frozen=True)
class Scheduler:
    """A scheduler and its workers at one moment.

    Attributes
    ----------
    address, dashboard : str
        Where it is asked for tasks, and for its pages.
    workers : list of dict
        name, host, threads, memory and memory_limit (bytes), cpu (percent of a core), executing (tasks), spilled
        (bytes).
    tasks : dict of str to int
        How many it knows, and how many are processing, waiting, in memory, erred, unrunnable.
    wanted : int
        Workers that the load would keep busy.
    """

    address: str
    dashboard: str
    workers: list[dict[str, Any]] = field(default_factory=list)
    tasks: dict[str, int] = field(default_factory=dict)
    wanted: int = 0


def dashboard_of(compute: str) -> str:
    """Where the dashboard of a scheduler is, unless it was put elsewhere.

    Examples
    --------
    >>> dashboard_of("tcp://10.0.0.7:8786"), dashboard_of("tls://[::1]:8786")
    ('http://10.0.0.7:8787', 'http://[::1]:8787')
    """
    host = urlsplit(compute).hostname or ""
    return f"http://{f'[{host}]' if ':' in host else host}:{PORT}"


def ask(dashboard: str, *, seconds: float = SECONDS) -> Scheduler:
    """Ask a scheduler for its workers and tasks.

    Parameters
    ----------
    dashboard : str
        Its dashboard's address; of the path nothing counts.
    seconds : float
        How long both questions may take together.

    Raises
    ------
    ComputeError
        If nothing answers in time, or what answers is no Dask scheduler.
    """
    try:
        parts = urlsplit(dashboard)
        host, port = parts.hostname, parts.port or 80
    except ValueError:
        host = None
    if not host or parts.scheme != "http":
        raise ComputeError(f"{dashboard} is no address of a dashboard", f"it looks like http://10.0.0.7:{PORT}")
    base = f"http://{parts.netloc.rpartition('@')[2]}"
    deadline = time.monotonic() + seconds
    try:
        identity = _get(host, port, "/json/identity.json", deadline)
        counts = _get(host, port, "/json/counts.json", deadline)
        workers = [_worker(one) for one in identity["workers"].values()]
        names = ("tasks", "processing", "waiting", "memory", "erred", "unrunnable")
        return Scheduler(
            str(identity["address"]),
            f"{base}/status",
            sorted(workers, key=lambda one: (len(one["name"]), one["name"])),
            {name: int(counts.get(name, 0)) for name in names},
            int(counts.get("desired_workers", 0)),
        )
    except (OSError, http.client.HTTPException) as error:
        raise ComputeError(
            f"no Dask dashboard answered at {base} within {seconds:g} s: {error or type(error).__name__}",
            "check that the scheduler runs and that its dashboard's port is reachable from here",
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ComputeError(
            f"what answers at {base} is no Dask scheduler's dashboard: {type(error).__name__}: {error}",
            "name the scheduler's own address in the setting compute",
        ) from error


def _get(host: str, port: int, path: str, deadline: float) -> Any:
    """JSON, whoever sends it: so many bytes until the deadline, no redirects, no proxies."""
    with contextlib.closing(http.client.HTTPConnection(host, port, timeout=_left(deadline))) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        if answer.status != 200:
            raise ValueError(f"{path} was answered by {answer.status} {answer.reason}")
        body = b""
        while piece := answer.read1(1 << 20):
            body += piece
            if len(body) > _MOST_BYTES:
                raise ValueError(f"{path} is of more than {_MOST_BYTES >> 20} MiB")
            if connection.sock is not None:
                connection.sock.settimeout(_left(deadline))
            else:
                _left(deadline)
    return json.loads(body)


def _left(deadline: float) -> float:
    if (left := deadline - time.monotonic()) <= 0:
        raise TimeoutError("the time is over")
    return left


def _worker(one: dict[str, Any]) -> dict[str, Any]:
    metrics = one.get("metrics") or {}
    return {
        "name": str(one.get("name", one.get("id", ""))),
        "host": str(one.get("host", "")),
        "threads": int(one.get("nthreads", 0)),
        "memory": int(metrics.get("memory") or 0),
        "memory_limit": int(one.get("memory_limit") or 0),
        "cpu": float(metrics.get("cpu") or 0.0),
        "executing": int((metrics.get("task_counts") or {}).get("executing", metrics.get("executing", 0))),
        "spilled": int((metrics.get("spilled_bytes") or {}).get("disk", 0)),
    }
