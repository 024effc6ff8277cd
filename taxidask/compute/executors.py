"""One way to run many tasks: threads of this process or the workers of a Dask client."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from .base import Executor
from .threads import ThreadExecutor

if TYPE_CHECKING:
    from distributed import Client


def executor(client: Client | Executor | None = None) -> Executor:
    """What runs the tasks of a call.

    Parameters
    ----------
    client : distributed.Client, optional
        Its workers run the tasks. Without one it is the current distributed client, also inside a task on a worker;
        if there is none, threads of this process, one per core. No process is ever started here.

    Examples
    --------
    >>> sorted(executor().map_unordered(abs, [-3, 1]))
    [(-3, 3), (1, 1)]
    """
    if isinstance(client, Executor):
        return client
    if client is None:
        client = _current()
        if client is None:
            return ThreadExecutor()
    from taxidask.compute.workers import DaskExecutor

    return DaskExecutor(client)


def _current() -> Client | None:
    if "distributed" not in sys.modules:  # then nobody can have made a client
        return None
    from distributed import get_client

    try:
        return get_client()  # inside a task: the worker's own
    except ValueError:
        return None
