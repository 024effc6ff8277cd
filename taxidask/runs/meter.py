"""What a run uses, counted while it runs: cores over time, bytes of sources, requests."""

from __future__ import annotations

import contextlib
import operator
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from taxidask.compute import executor
from taxidask.compute.kubernetes.spec import Shape
from taxidask.runs.cost import Cost, price
from taxidask.settings import Settings
from taxidask.storage.requests import Requests, take

if TYPE_CHECKING:
    from distributed import Client

    from taxidask.results import Store

LOOK_SECONDS = 5.0


def cores_of(settings: Settings, client: Client | None) -> float:
    """Cores that the work holds: what pods ask for, the scheduler's among them, or threads."""
    if settings.compute != "kubernetes":
        return executor(client).threads
    if client is None:
        return Shape.of(settings, "run", image="").cpus
    cpus = getattr(getattr(client, "cluster", None), "cpus", None)  # another client than ours may have other clusters
    return executor(client).threads if cpus is None else cpus


class Meter:
    """Sums up what a run uses; `cost` may be asked at any time, from any thread, and waits for nobody.

    The figure goes on from what earlier attempts noted in the ledger. They note it with every heartbeat and stage, so a
    driver that is killed loses what it used since its last heartbeat, and requests of tasks that its workers had not
    finished. Requests are counted by process: whatever else this one asks S3 for during the run is among them.

    Parameters
    ----------
    settings : Settings
        Of the run.
    store : Store
        The object that the run writes its results with.
    earlier : dict
        The cost that was noted last; empty for a new run.
    """

    def __init__(self, settings: Settings, store: Store, earlier: dict[str, Any]) -> None:
        self.read = {"bytes": 0}  # in this attempt
        self._settings = settings
        self._store = store
        self._earlier = dict(earlier)
        self._lock = threading.Lock()
        self._since = time.monotonic()
        self._cores = 1.0 if settings.compute == "local" else 0.0  # a driver without workers
        self._core_seconds = 0.0
        self._sent = Requests()

    def hold(self, cores: float) -> None:
        """From now on that many cores are held."""
        with self._lock:
            self._core_seconds += self._until_now()
            self._cores = cores

    def _until_now(self) -> float:
        since, self._since = self._since, time.monotonic()
        return self._cores * (self._since - since)

    @contextlib.contextmanager
    def follow(self, client: Client) -> Iterator[None]:
        """Look every few seconds how many cores the client's workers hold, in a thread: no answer holds up nobody."""
        done = threading.Event()
        thread = threading.Thread(target=self._look, args=(client, done), name="cores-held", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join(1)

    def _look(self, client: Client, done: threading.Event) -> None:
        wanted = getattr(getattr(client, "cluster", None), "wanted", None)
        while not done.is_set():
            with contextlib.suppress(Exception):  # until it answers again, what it held last
                if wanted is not None:
                    wanted()  # an autoscaler's number is found nowhere else
                self.hold(cores_of(self._settings, client))
            done.wait(LOOK_SECONDS)

    def cost(self) -> Cost:
        """What the run has cost so far."""
        with self._lock:
            self._core_seconds += self._until_now()
            self._sent = Requests(*map(operator.add, self._sent, take()))
            return price(
                self._settings,
                core_seconds=round(self._core_seconds + self._earlier.get("core_seconds", 0.0), 1),
                bytes_read=self.read["bytes"] + self._earlier.get("bytes", 0),
                **{name: number + self._earlier.get(name, 0) for name, number in self._sent._asdict().items()},
                writes=round(self._store.usage["write_units"]) + self._earlier.get("writes", 0),
            )
