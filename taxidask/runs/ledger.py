"""The run ledger: who drives a run, how far it is, and whether its driver still lives."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from taxidask.errors import RegionDarkError, RunError, StoreError
from taxidask.results import Store, open_store
from taxidask.results.notes import LONGEST, keep_notes, keep_sources
from taxidask.settings import Settings
from taxidask.storage import absolute
from taxidask.words import command, shortened

STAGES = ("ingest", "demand", "fare", "publish", "report")
UNFINISHED = ("starting", "running", "failed", "interrupted")
LIVELY = ("starting", "running")
LEASE_SHARE = 0.75
"""Of the heartbeat timeout: how old its own last heartbeat may be before a driver lets go."""

# What decides a run's numbers. Where it runs and how it is cut into tasks does not.
_SAME_JOB = (
    *("sources", "lake", "store", "report", "space", "slot", "horizon", "max_duration_hours", "max_distance_miles"),
    *("max_fare", "min_passengers", "max_passengers", "west", "east", "south", "north"),
)

# Fields that may differ between the attempts at one run: they say where it runs, not what it computes.
WHERE = (
    *("compute", "workers", "worker_memory", "block_size", "heartbeat_timeout", "namespace", "image", "cluster_name"),
    *("worker_cpus", "scheduler_cpus", "scheduler_memory", "idle_timeout", "prices", "regions", "active_region"),
    "queue",
)


def settings_key(settings: Settings) -> str:
    """A short hash that two runs share when they do the same job."""
    values = settings.model_dump(mode="json", include=set(_SAME_JOB))
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def placed(settings: Settings) -> Settings:
    """The settings with absolute places: a run is known by them, and resumed from any folder."""
    from taxidask.space import AUTO, NAMED  # which takes a while to load, and the app looks at runs without

    return settings.model_copy(
        update={
            "sources": [absolute(source) for source in settings.sources],
            "lake": absolute(settings.lake),
            "store": open_store(settings.store).url,
            "report": absolute(settings.report),
            "space": settings.space if settings.space in (AUTO, *NAMED) else absolute(settings.space),
        }
    )


def digest(*parts: Any) -> str:
    """A short hash of JSON-able values; stages use it to name their inputs."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def is_alive(item: dict[str, Any], timeout: float, now: float) -> bool:
    """Whether a run's driver has been heard of within `timeout` seconds."""
    return item["state"] in LIVELY and now - float(item["heartbeat"]) <= timeout


def driver_state(item: dict[str, Any], timeout: float, now: float) -> str:
    """The run's state as a reader should see it: a running one without a heartbeat is ``dead``."""
    return "dead" if item["state"] in LIVELY and not is_alive(item, timeout, now) else str(item["state"])


def told(what: str, item: dict[str, Any]) -> str:
    """The line for a shell that shows, resumes or cancels a run, in whichever folder."""
    return command(f"taxidask runs {what}", item["id"], store=(item.get("settings") or {}).get("store"))


def resume_line(item: dict[str, Any]) -> str:
    """The line for a shell that goes on with a run, in whichever folder, on the workers that it was begun with."""
    kept = item.get("settings") or {}
    usual = {name: Settings.model_fields[name].default for name in WHERE if name not in ("prices", "regions")}
    where = {name: kept[name] for name, value in usual.items() if kept.get(name, value) != value}
    return command("taxidask run", resume=item["id"], store=kept.get("store"), **where)


class Ledger:
    """One driver's hold on one run.

    A thread writes a heartbeat and looks for a cancellation. Every write is conditional on this driver still owning
    the run; when the condition fails, another has taken over. Each heartbeat that was written is a lease: others may
    take over once it is older than the timeout, so this driver lets go when it is older than three quarters of it,
    whatever the store does meanwhile; the clock is looked at whenever somebody asks, not only by the thread, which may
    be waiting for a call that hangs.

    Every write notes what the run has cost so far, as `spent` says (at once: the heartbeat asks it too): a driver that
    is killed takes only what it used since its last heartbeat with it.
    """

    def __init__(
        self, store: Store, item: dict[str, Any], timeout: float, spent: Callable[[], dict[str, Any]] | None = None
    ) -> None:
        self.store = store
        self.id: str = item["id"]
        self.item = item
        self._owner = item["owner"]
        self._timeout = timeout
        self._spent = spent
        self._writing = threading.RLock()  # else a figure could be written over a later one
        self._reason: str | None = None
        self._trouble = ""
        self._leased(float(item["heartbeat"]))
        self._progress: dict[str, Any] = {}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"heartbeat-{self.id}", daemon=True)

    def __enter__(self) -> Ledger:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join(timeout=30)

    # -- heartbeat ---------------------------------------------------------------------------------------------------

    def _beat(self) -> None:
        pause = min(2.0, self._timeout / 6)
        while not self._done.wait(pause) and self.reason is None:
            try:
                if self._age() >= self._timeout / 6:
                    self._write({"progress": dict(self._progress)})
                item = self.store.get_run(self.id)
                if item is None or item["owner"] != self._owner:
                    self._lost()
                elif item.get("cancel"):
                    self._let_go("cancelled")
                self._trouble = ""
            except Exception as error:  # whatever it is, the lease goes on running out
                self._trouble = error.message if isinstance(error, StoreError) else f"{type(error).__name__}: {error}"

    def _write(self, changes: dict[str, Any]) -> None:
        """Write with a heartbeat, if this driver still owns the run."""
        with self._writing:
            beat = time.time()  # of before the write: what others read is never younger than the lease
            if self.store.update_run(
                self.id, {**self._cost(), **changes, "heartbeat": beat}, expect={"owner": self._owner}
            ):
                self._leased(beat)
            else:
                self._let_go("taken over")

    def _lost(self) -> None:
        """The store has the run as another's, or not at all."""
        self._let_go("taken over")

    def _leased(self, beat: float) -> None:
        self._beat_at = beat, time.monotonic() - max(0.0, time.time() - beat)

    def _age(self) -> float:
        """Seconds since the last heartbeat that is known to be written, by the clock that went further: one may have
        been set back, the other stands still while a machine sleeps."""
        beat, steady = self._beat_at
        return max(time.time() - beat, time.monotonic() - steady)

    def _let_go(self, reason: str) -> None:
        self._reason = self._reason or reason

    def interrupt(self) -> None:
        """Stop before the next block, as Ctrl-C does."""
        self._let_go("interrupted")

    @property
    def reason(self) -> str | None:
        """Why this driver has to stop, or None."""
        if self._reason is None and (age := self._age()) > LEASE_SHARE * self._timeout:
            self._let_go(f"out of touch with the store for {age:.0f} s" + (self._trouble and f": {self._trouble}"))
        return self._reason

    def should_stop(self) -> bool:
        return self.reason is not None

    def check(self) -> None:
        """Raise RunError when this driver has to stop."""
        if reason := self.reason:
            raise RunError(f"run {self.id} was {reason}", f"go on with: {resume_line(self.item)}")

    def has_moved(self) -> RegionDarkError | None:
        """Why the run is elsewhere than where its stage began; None where it is not."""
        return None

    def moved_on(self, dark: RegionDarkError) -> str:
        """Go on elsewhere, where there is an elsewhere."""
        raise dark

    # -- writing -----------------------------------------------------------------------------------------------------

    def _cost(self) -> dict[str, Any]:
        return {} if self._spent is None else {"cost": self._spent()}

    def _update(self, changes: dict[str, Any]) -> None:
        self._write({**changes, "updated": _stamp(time.time())})
        if self._reason == "taken over":
            self.check()

    def note(self, **values: Any) -> None:
        """Write something about the run as a whole."""
        self._update(values)
        self.item.update(values)

    def progress(self, **figures: Any) -> None:
        """Figures of the stage at work; they travel with the next heartbeat."""
        self._progress.update(figures)

    def stage(self, name: str) -> dict[str, Any]:
        return dict(self.item["stages"].get(name, {}))

    def set_stage(self, name: str, **values: Any) -> None:
        record = {**self.stage(name), **values}
        self.item["stages"][name] = record
        self._update({f"stages.{name}": record})

    def start_stage(self, name: str, inputs: str) -> None:
        self._progress = {"stage": name}
        # outputs of an earlier attempt stay: a resumed stage may build on them
        attempts = self.stage(name).get("attempts", 0) + 1
        self.set_stage(name, state="running", inputs=inputs, started=_stamp(time.time()), ended=None, attempts=attempts)

    def keep_stage(self, name: str, record: dict[str, Any], since: str) -> None:
        """Note that a stage was not done, as run `since` has done the same."""
        names = ("inputs", "rows", "kept", "bytes", "detail", "left_out", "left_out_run", "outputs")
        now = _stamp(time.time())
        kept = {key: record[key] for key in names if key in record}
        self.set_stage(name, **kept, state="done", started=now, ended=now, unchanged_since=since)

    def end_stage(self, name: str, *, left_out: Sequence[str] = (), **values: Any) -> None:
        notes = keep_notes(self.store, self.id, name, left_out)
        self.set_stage(name, ended=_stamp(time.time()), **notes, **values)

    def close(self, state: str, *, error: str | None = None, **values: Any) -> None:
        """Write the run's last state, also as that of the stage at work.

        A cancelled run forgets the cancellation, so that it can be resumed.
        """
        for name, record in self.item["stages"].items():
            if record["state"] == "running":
                self.item["stages"][name] = {**record, "state": state, "ended": _stamp(time.time())}
        with self._writing:
            self.note(
                state=state,
                error=error and shortened(error, LONGEST),
                cancel=False,
                stages=self.item["stages"],
                **values,
            )
            self._spent = None  # the last heartbeats leave the figure as it is


def unknown_run(store: Store, run: str) -> RunError:
    """There is no run of that id."""
    newest = [item["id"] for item in store.list_runs(limit=3)]
    return RunError(
        f"there is no run {run!r} in {store.url}",
        f"the newest are {', '.join(newest)}" if newest else "the store holds no run yet",
    )


# -- opening ---------------------------------------------------------------------------------------------------------


def _owner() -> str:
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


LOG = "TAXIDASK_RUN_LOG"
"""The variable that tells a driver what its log is called: whoever starts it as a process keeps its words there."""


def _new_item(settings: Settings) -> dict[str, Any]:
    now = time.time()
    return {
        "id": datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ-") + secrets.token_hex(3),
        "created": _stamp(now),
        "updated": _stamp(now),
        "state": "starting",
        "settings": settings.model_dump(mode="json"),
        "settings_key": settings_key(settings),
        "owner": _owner(),
        "log": os.environ.get(LOG),
        "heartbeat": now,
        "cancel": False,
        "stages": {},
        "estimate": {},
        "cost": {},
        "error": None,
    }


def _refusal(item: dict[str, Any], now: float) -> RunError:
    return RunError(
        f"run {item['id']} does this job already: driven by {item['owner']}, "
        f"last heard of {max(0.0, now - float(item['heartbeat'])):.0f} s ago",
        f"wait for it or follow it with: {resume_line(item)}; stop it with: {told('cancel', item)}",
    )


def _beats(store: Store, item: dict[str, Any], timeout: float) -> bool:
    """Whether a driver whose clock is ahead lives: heartbeats of tomorrow say so only by becoming others."""
    if float(item["heartbeat"]) - time.time() <= timeout:
        return True
    deadline = time.monotonic() + timeout
    while time.monotonic() <= deadline:
        time.sleep(timeout / 10)
        if (store.get_run(item["id"]) or item)["heartbeat"] != item["heartbeat"]:
            return True
    return False


def _start_new(store: Store, settings: Settings) -> dict[str, Any]:
    key = settings_key(settings)
    silent: set[str] = set()

    def rivals(but: str | None = None) -> list[dict[str, Any]]:
        now = time.time()
        return [
            item
            for item in store.list_runs(limit=200)
            if item["settings_key"] == key and item["id"] != but and is_alive(item, settings.heartbeat_timeout, now)
            if item["id"] not in silent
        ]

    for item in rivals():
        if _beats(store, item, settings.heartbeat_timeout):
            raise _refusal(item, time.time())
        silent.add(item["id"])
    item = keep_sources(store, _new_item(settings))
    if not store.create_run(item):
        raise RunError(f"a run called {item['id']} exists already", "start again")
    # Drivers that start at once all see each other here. One that sees a running rival, or a starting one with a
    # smaller id, gives way; one that sees only starting rivals with larger ids waits until they have decided.
    while others := rivals(but=item["id"]):
        for other in others:
            if other["state"] == "running" or other["id"] < item["id"]:
                gone = {"state": "cancelled", "error": f"gave way to run {other['id']}"}
                store.update_run(item["id"], gone, expect={"owner": item["owner"]})
                raise _refusal(other, time.time())
        time.sleep(0.05)
    if not store.update_run(item["id"], {"state": "running"}, expect={"owner": item["owner"], "state": "starting"}):
        raise RunError(
            f"another driver took over run {item['id']} at the same moment", f"follow it with: {told('show', item)}"
        )
    return {**item, "state": "running"}


def _take_over(store: Store, item: dict[str, Any], timeout: float, say: Callable[[str], None]) -> dict[str, Any] | None:
    """Own `item`, waiting for its driver to be silent long enough, by its heartbeats or, as its clock may be ahead, by
    this one's; None when that driver finished the run."""
    heard = time.monotonic()
    give_up = heard + 3 * timeout
    said = False
    while is_alive(item, timeout, time.time()) and time.monotonic() <= heard + timeout:
        if not said:
            age = max(0.0, time.time() - float(item["heartbeat"]))
            say(
                f"run {item['id']} is driven by {item['owner']}, last heard of {age:.0f} s ago; "
                f"waiting up to {3 * timeout:.0f} s for it"
            )
            said = True
        if time.monotonic() > give_up:
            raise _refusal(item, time.time())
        time.sleep(min(1.0, timeout / 10))
        fresh = store.get_run(item["id"])
        if fresh is None:
            raise RunError(f"run {item['id']} is gone from the store", "start anew without --resume")
        if fresh["heartbeat"] != item["heartbeat"]:
            heard = time.monotonic()
        item = fresh
    if item["state"] == "done":
        return None
    mine = {
        "owner": _owner(),
        "log": os.environ.get(LOG),
        "state": "running",
        "heartbeat": time.time(),
        "dashboard": None,
        "cancel": False,
        "error": None,
    }
    if not store.update_run(item["id"], mine, expect={"owner": item["owner"], "state": item["state"]}):
        raise RunError(
            f"another driver took over run {item['id']} at the same moment", f"follow it with: {told('show', item)}"
        )
    return {**item, **mine}


def open_run(
    store: Store, settings: Settings, resume: str | None, say: Callable[[str], None]
) -> tuple[dict[str, Any], bool]:
    """Begin or take over a run.

    Parameters
    ----------
    resume : str or None
        None for a new run; an id; or ``"last"`` for the newest unfinished run of the same settings, else a new one.
    say : callable
        Told, in a sentence, what is being waited for.

    Returns
    -------
    item : dict
        The run as it is in the store.
    mine : bool
        False when the run turned out to be finished: there is nothing left to drive.

    Raises
    ------
    RunError
        The run lives and `resume` is None, there is no run of that id, or the wait for its driver took too long.
    """
    if resume is None:
        return _start_new(store, settings), True
    if resume == "last":
        key = settings_key(settings)
        mine = [i for i in store.list_runs(limit=200) if i["settings_key"] == key and i["state"] in UNFINISHED]
        if not mine:
            say("no unfinished run of these settings: starting a new one")
            return _start_new(store, settings), True
        item = mine[0]
    else:
        found = store.get_run(resume)
        if found is None:
            raise unknown_run(store, resume)
        item = found
    if item["state"] == "done":
        return item, False
    taken = _take_over(store, item, settings.heartbeat_timeout, say)
    if taken is None:
        return store.get_run(item["id"]) or item, False
    say(f"resuming run {taken['id']}")
    return taken, True
