"""``td.connect``: a Dask client on a cluster of this machine or on a scheduler that is already there."""

from __future__ import annotations

import asyncio
import logging
import warnings
from typing import TYPE_CHECKING

from distributed import Client
from distributed.comm import CommClosedError

from taxidask.errors import ComputeError

from .local import START_SECONDS, LocalClient, size

if TYPE_CHECKING:
    from taxidask.compute.kubernetes.status import Status
    from taxidask.settings import Settings

CONNECT_SECONDS = 20.0


def connect(settings: Settings | None = None, *, timeout: float | None = None, status: Status | None = None) -> Client:
    """Connect to the workers that the settings name.

    Parameters
    ----------
    settings : Settings, optional
        ``compute`` is "local" (the default: a cluster on this machine, reachable from this machine only, with
        ``workers`` processes of ``worker_memory`` each, or as many as the machine carries), the address of a running
        scheduler, ``tcp://host:port`` or ``tls://host:port``, or "kubernetes": the cluster called ``cluster_name`` in
        ``namespace`` if there is one, else a new one of ``workers`` pods (2) that run ``image``.
    timeout : float, optional
        Seconds to wait for the cluster or the scheduler; 60 for a local cluster, 20 for an existing scheduler, 300 for
        pods. What cannot start ends the wait earlier.
    status : Status, optional
        Of pods: filled in from the first second on, to be looked at from another thread; without it, what is waited
        for is printed. Later it is ``client.cluster.status``.

    Returns
    -------
    distributed.Client
        A context manager. Leaving it closes what this call started and nothing else; so does the end of the driver,
        however it ends (pods that a killed driver leaves go with its own pod, or after ``idle_timeout``). It becomes
        the current client, which calls with ``client=None`` use.

    Raises
    ------
    ComputeError
        If no cluster answers in time, or ``compute`` names something else.

    Examples
    --------
    >>> import taxidask as td
    >>> with td.connect() as client:  # doctest: +SKIP
    ...     lake.ingest("trips/*.csv")
    """
    if settings is not None and not hasattr(settings, "compute"):  # an address of a scheduler is a natural slip
        given = repr(settings) if isinstance(settings, str) else '"local"'
        raise ComputeError(f"connect takes Settings, not {settings!r:.100}", f"write td.load_settings(compute={given})")
    for name in ("distributed.client", "distributed.batched"):
        logging.getLogger(name).addFilter(_wanted)
    compute = settings.compute if settings is not None else "local"
    if compute == "local":
        workers = settings.workers if settings is not None else None
        memory = settings.worker_memory if settings is not None else None
        return LocalClient(*size(workers, memory), timeout=START_SECONDS if timeout is None else timeout)
    if compute.startswith(("tcp://", "tls://")):
        return _existing(compute, CONNECT_SECONDS if timeout is None else timeout)
    if settings is not None and compute == "kubernetes":
        from taxidask.compute.kubernetes.client import connect as connect_pods
        from taxidask.compute.kubernetes.status import Status, show

        if status is None:
            show(status := Status())
        return connect_pods(settings, timeout=timeout, status=status)
    raise ComputeError(
        f"compute = {compute!r} is unknown", 'use "local" or a scheduler\'s address, tcp://host:port or tls://host:port'
    )


def _wanted(record: logging.LogRecord) -> bool:
    """Not the tracebacks of a client whose scheduler is gone: the call that waits for it says so."""
    return not (record.exc_info and record.exc_info[0] in (asyncio.CancelledError, CommClosedError))


def _client(address: str, timeout: float) -> Client:
    client = Client.__new__(Client)
    try:
        client.__init__(address, timeout=timeout)  # type: ignore[misc]
    except BaseException:
        client.close()  # else distributed takes what never connected for the current client
        raise
    return client


def _existing(address: str, timeout: float) -> Client:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            return _client(address, timeout)
    except (OSError, TimeoutError) as error:
        raise ComputeError(
            f"waited {timeout:.0f} s for a Dask scheduler at {address}: {error}",
            "check the address, that the scheduler runs and that its port is reachable from here",
        ) from error
    except (TypeError, ValueError) as error:
        raise ComputeError(
            f"cannot connect to {address}: {error}",
            "a tls:// scheduler needs certificates: set distributed.comm.tls in Dask's configuration"
            if address.startswith("tls://")
            else "write the address as tcp://host:port",
        ) from error
