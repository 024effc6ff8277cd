"""`td.watch`: new and changed files are taken in as they come, until it is stopped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from taxidask.credentials import hidden
from taxidask.errors import RunError, SettingsError, TaxidaskError
from taxidask.lake import Lake
from taxidask.progress import say as say_line
from taxidask.results import Store, open_store
from taxidask.runs.ledger import _owner, _stamp, placed, settings_key
from taxidask.runs.look import is_watching
from taxidask.runs.pipeline import run
from taxidask.runs.stages import rules_of
from taxidask.runs.waking import Queue
from taxidask.settings import Settings, resolve
from taxidask.storage import regions_of
from taxidask.trips import Source
from taxidask.trips.sources import Unusable
from taxidask.units import is_whole, parse_seconds
from taxidask.words import escaped, quantity

if TYPE_CHECKING:
    from distributed import Client

SETTLE = 10.0
"""Seconds for which a file has to stay as it is: one that is still being written grows."""
LISTED = 20  # of sources and files that its item shows


class Watch:
    """What is looked for, and what was found; told in the store, with the time, for those who look on.

    A file is new where the lake does not have it in this version. It is taken once it looked the same at two looks,
    `SETTLE` seconds apart or more; what a run was given and could not take is left until it changes.
    """

    def __init__(self, settings: Settings, every: float, stopped: threading.Event, say: Callable[[str], None]) -> None:
        self.settings, self.every, self.stopped, self.say = settings, every, stopped, say
        regions = regions_of(settings)
        self.store: Store = open_store(settings.store, regions=regions)
        self.lake = Lake(settings.lake, regions=regions)
        self.queue = Queue(settings.queue, say) if settings.queue else None
        self.key = settings_key(settings)
        self.owner = _owner()
        self.taken_over = False
        self._told: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._before: dict[str, str] = {}  # versions at the last look
        self._given: dict[str, str] = {}  # versions that a run was given
        self._unusable: dict[str, str] = {}  # what is wrong, as it was said last

    def begin(self) -> bool:
        """Take the place of a watch that has ended, once one that may live is silent; False where that is stopped."""
        last: dict[str, Any] | None = None
        while (there := self.store.get_watch(self.key)) is not None and is_watching(there):
            if last is None:
                self.say(f"{there['owner']} watched this a moment ago: looking whether it still lives")
                last = there
            elif there["heartbeat"] != last["heartbeat"]:
                break
            if self.stopped.wait(1.0):
                return False
        self._told = {
            "owner": self.owner,
            "sources": self.settings.sources[:LISTED],
            "lake": self.settings.lake,
            "every": self.every,
            "listens": self.queue is not None,
            "timeout": self.settings.heartbeat_timeout,
            "since": _stamp(time.time()),
            "state": "looking",
            "waiting": [],
            "run": None,
            "error": None,
        }
        if (there is not None and is_watching(there)) or not self.store.put_watch(
            self.key, {**self._told, "heartbeat": time.time()}, former=None if there is None else there["owner"]
        ):
            who = "another" if there is None else there["owner"]
            raise RunError(f"{who} watches this already", "one is enough: leave it to that, or stop it first")
        return True

    def tell(self, **values: Any) -> None:
        """Note what is being done."""
        with self._lock:
            self._told |= values
            if not self.store.put_watch(self.key, {**self._told, "heartbeat": time.time()}, former=self.owner):
                self.taken_over = True
                self.stopped.set()

    def beat(self, done: threading.Event) -> None:
        """Say again and again that this one lives."""
        while not done.wait(self.settings.heartbeat_timeout / 4):
            try:
                self.tell()
            except TaxidaskError as error:
                self.say(f"the watch could not be noted: {error.message}")

    def look(self) -> tuple[list[str], list[str], bool]:
        """New files that stay as they are, those that may still be written, and whether there is any file at all."""
        have = self.lake.sources()
        there = dict(zip(have["url"], have["version"], strict=True))
        found = self.lake.find(self.settings.sources, rules=rules_of(self.settings), space=self.settings.space)
        files = {one.url: one.version for one in found if isinstance(one, Source)}
        wrong = {one.url: str(one.error) for one in found if isinstance(one, Unusable)} if files else {}
        for url, error in wrong.items():
            if self._unusable.get(url) != error:
                self.say(f"left out: {error}")
        self._unusable = wrong
        new = {url: ver for url, ver in files.items() if ver not in (there.get(url), self._given.get(url))}
        steady = [url for url, version in new.items() if self._before.get(url) == version]
        self._before = new
        return steady, [url for url in new if url not in steady], bool(files)

    def take(self, steady: list[str], moving: list[str], client: Client | None, progress: bool) -> None:
        """One run over what is there, without what may still be written."""
        self.tell(state="running", waiting=moving[:LISTED], error=None)
        self._given |= {url: self._before[url] for url in steady}
        done = run(self.settings, client=client, resume="last", refit="drift", progress=progress, without=moving)
        self.tell(state="looking", run=done.id, error="; ".join(done.left_out[:3]) or None)


def watch(
    settings: Settings | None = None,
    *,
    every: float | str = "5min",
    looks: int | None = None,
    client: Client | None = None,
    progress: bool = True,
    stopped: threading.Event | None = None,
) -> None:
    """Take new and changed files in as they come: a run for each look that finds some.

    What was counted is published at once, then the forecast. The models are kept as long as what they last forecast was
    about as good as in their backtest, and better than last week's counts, and fitted anew otherwise. A file that is
    still being written waits. What the watch does is told in the store, and shown by the app.

    Where the settings name a `queue` of S3 events, each of its messages wakes a look; what is taken is found by the
    look alone, so that nothing depends on what messages say, or on whether they come.

    Parameters
    ----------
    settings : Settings, optional
        Default: what ``TAXIDASK_*`` variables and taxidask.toml say.
    every : float or str, default "5min"
        Seconds, or a length of time, from one look at the sources to the next.
    looks : int, optional
        Stop after so many; by default only when stopped: by Ctrl-C or SIGTERM (a run under way ends within one block,
        and the next watch goes on with it), or by `stopped`.
    client : distributed.Client, optional
        See :func:`taxidask.run`.
    progress : bool
        Say on standard error what is being done.
    stopped : threading.Event, optional
        Set it to stop before the next look; with a queue this is seen within 20 s.

    Raises
    ------
    SettingsError
        No sources are named, or `every` is no length of time.
    RunError
        Another watch of the same settings is at work.
    StoreError
        The store cannot be used at the start; later such an error is told, and the next look tries again.
    """
    seconds = _seconds(every)
    if looks is not None and not is_whole(looks):
        raise SettingsError(f"looks is {looks!r}", "give a whole number from 1, or leave it out")
    settings = placed(resolve({})[0] if settings is None else settings)
    if not settings.sources:
        raise SettingsError("the settings name no sources", "pass some, e.g. taxidask watch --sources 'trips/*.csv'")
    say: Callable[[str], None] = say_line if progress else lambda _: None
    it = Watch(settings, seconds, stopped or threading.Event(), say)
    if settings.store.startswith("sqlite"):
        it.store.create()
    it.store.check()
    done = threading.Event()
    beating = threading.Thread(target=it.beat, args=(done,), name="watch", daemon=True)
    begun = False
    try:
        if begun := it.begin():
            beating.start()
            heard = f" and after each message in {escaped(settings.queue)}" if settings.queue else ""
            say(f"watching {', '.join(map(escaped, settings.sources[:5]))}, a look every {seconds:g} s{heard}")
            _go_round(it, looks, client, progress)
    except KeyboardInterrupt:
        say("stopping")
    finally:
        done.set()
        if begun:
            beating.join(timeout=30)
            _end(it)
    if it.taken_over:
        raise RunError("another watch has taken the place of this one", "one is enough: leave it to that")


def _go_round(it: Watch, looks: int | None, client: Client | None, progress: bool) -> None:
    first = True  # whatever an earlier run left unfinished is gone on with
    said = ""
    while not it.stopped.is_set():
        pause = it.every
        moving: list[str] = []
        try:
            steady, moving, some = it.look()
            if moving:
                pause = SETTLE  # also where looks come faster
                now = f"waiting until {quantity(len(moving), 'file')} stay as they are: {_names(moving)}"
            else:
                now = "nothing new" if some else f"no file of trips yet behind {_names(it.settings.sources)}"
            if steady or (first and some and not moving):
                if steady:
                    it.say(f"{quantity(len(steady), 'new file')}: {_names(steady)}")
                it.take(steady, moving, client, progress)
                first, said = False, ""
            else:
                it.tell(state="waiting" if moving else "looking", waiting=moving[:LISTED])
            if now != said:
                it.say(now)
            said = now
            if it.queue:
                it.queue.looked()
        except TaxidaskError as error:
            it.say(f"error: {error}; looking again in {pause:g} s")
            said = ""
            _trouble(it, error)
        if looks is not None:
            looks -= 1
            if looks <= 0:
                return
        if it.queue and not moving:
            it.queue.wait(pause, it.stopped)
        else:
            it.stopped.wait(pause)


def _names(urls: list[str]) -> str:
    more = f" and {len(urls) - 5} more" if len(urls) > 5 else ""
    return ", ".join(map(escaped, urls[:5])) + more


def _trouble(it: Watch, error: TaxidaskError) -> None:
    try:
        it.tell(state="looking", error=hidden(str(error)))
    except TaxidaskError as second:
        it.say(f"it could not be noted either: {second.message}")


def _end(it: Watch) -> None:
    try:
        it.tell(state="stopped", waiting=[])
    except TaxidaskError as error:
        it.say(f"the end of the watch could not be noted: {error.message}")
    it.say("the watch has ended")


def _seconds(every: float | str) -> float:
    seconds = parse_seconds(every)
    if not 0.1 <= seconds <= 7 * 86_400:
        raise SettingsError(f"every is {every!r}", "give a length of time from 0.1 s to a week, like 5min")
    return seconds
