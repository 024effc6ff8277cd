"""Which region is asked: the active one first, those that are dark not at all, until one request finds one back.

A region's service is closed (asked as usual), open (it failed beyond its retries: stepped over for a while) or
half-open (its time has come: one request of one caller tries it, all others go on elsewhere). There is one such state
in each process, whatever number of storages and stores look at it; a process that was forked begins with its parent's.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from taxidask.errors import RegionDarkError, SettingsError

if TYPE_CHECKING:
    from taxidask.settings import Region, Settings

Service = Literal["s3", "dynamodb"]
State = Literal["closed", "open", "half-open"]
SERVICES: tuple[Service, ...] = ("s3", "dynamodb")
FIRST_WAIT, LONGEST_WAIT = 10.0, 120.0  # seconds that a dark region is stepped over, doubled each time it still is
TRIAL = 10.0  # seconds after which a trial of which nothing was heard is given to another
BETWEEN_TRIALS = 1.0  # where every region is dark, there is nowhere else to go on
LEVEL = 30.0  # seconds for which regions that were seen to hold the same are taken to do so

T = TypeVar("T")
logger = logging.getLogger(__name__)


@dataclass
class _Breaker:
    state: State = "closed"
    since: datetime | None = None
    error: str = ""
    wait: float = 0.0
    until: float = 0.0  # when open: its next trial; when half-open: when that is given up
    tried: float = 0.0


@dataclass(frozen=True)
class RegionStatus:
    """What this process knows of one service of one region.

    Attributes
    ----------
    region, service : str
    state : {"closed", "open", "half-open"}
    since : datetime or None
        Since when, UTC; None if it never was other than closed.
    error : str
        What it failed with last; empty while closed.
    active : bool
        Whether writes go to this region.
    next_trial : float or None
        Seconds until it is tried again; None while closed.
    """

    region: str
    service: Service
    state: State
    since: datetime | None
    error: str
    active: bool
    next_trial: float | None

    def __str__(self) -> str:
        text = f"{self.region} {self.service}{' (active)' if self.active else ''}: {self.state}"
        if self.state == "closed":
            return text
        return f"{text} since {self.since:%H:%M:%SZ}, tried again in {self.next_trial:.0f} s: {self.error}"


@dataclass
class Breakers:
    """The states of all regions' services in a process; `clock` gives seconds, `spread` a factor of each wait."""

    clock: Callable[[], float] = time.monotonic
    spread: Callable[[], float] = lambda: random.uniform(0.75, 1.0)  # noqa: S311 - not all processes at once
    lock: threading.RLock = field(default_factory=threading.RLock)
    of: dict[tuple[str, str, Service], _Breaker] = field(default_factory=dict)
    changes: dict[Service, int] = field(default_factory=lambda: dict.fromkeys(SERVICES, 0))
    level: dict[tuple[Any, ...], float] = field(default_factory=dict)  # until when places are taken to be caught up

    def get(self, key: tuple[str, str, Service]) -> _Breaker:
        return self.of.setdefault(key, _Breaker())

    def turn(self, service: Service, breaker: _Breaker, state: State) -> None:
        breaker.state, breaker.since = state, datetime.now(UTC)
        self.look_again(service)

    def look_again(self, service: Service) -> None:
        """What was seen caught up may not be any more."""
        self.changes[service] += 1
        self.level = {key: until for key, until in self.level.items() if key[0] != service}

    def allows(self, service: Service, breaker: _Breaker, *, least: float = 0.0) -> bool:
        """Whether the caller may ask; whoever is the first to be told so after a wait makes the trial.

        With `least`, a trial is due that many seconds after the last one, whatever its wait.
        """
        now = self.clock()
        if breaker.state == "closed":
            return True
        due = min(breaker.until, breaker.tried + least) if least and breaker.state == "open" else breaker.until
        if now < due:
            return False
        if breaker.state == "open":
            self.turn(service, breaker, "half-open")
        breaker.tried, breaker.until = now, now + TRIAL
        return True


_process = Breakers()


def _after_fork() -> None:
    _process.lock = threading.RLock()


os.register_at_fork(after_in_child=_after_fork)


class UnansweredError(Exception):
    """A region did not answer."""


class Regions:
    """The regions of a lake or a store, home first, and which of them is active: where writes go.

    Picklable: what is sent is the regions and which is active; what is dark each process finds out itself.

    Parameters
    ----------
    regions : sequence of Region
        Home first.
    active : str, optional
        Name of the active one; home by default.
    breakers : Breakers, optional
        By default those of this process.

    Examples
    --------
    >>> from taxidask.settings import Region
    >>> west = Region(name="us-west-2", places={"s3://taxis-east": "s3://taxis-west"})
    >>> regions = Regions([Region(name="us-east-1"), west])
    >>> [region.name for region in regions.order("s3")]
    ['us-east-1', 'us-west-2']
    >>> regions.counterpart("s3://taxis-east/lake/lake.json", west)
    's3://taxis-west/lake/lake.json'
    """

    def __init__(
        self, regions: Sequence[Region], *, active: str | None = None, breakers: Breakers | None = None
    ) -> None:
        self.regions = tuple(regions)
        if not self.regions:
            raise SettingsError("there is no region among regions", "name one, home first, or leave the setting out")
        self._breakers = _process if breakers is None else breakers
        self.active = self.chosen = self.named(active or self.regions[0].name)

    def __getstate__(self) -> dict[str, Any]:
        return {"regions": self.regions, "active": self.active, "chosen": self.chosen}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _breakers=_process)

    def __repr__(self) -> str:
        return f"Regions({', '.join(region.name for region in self.regions)}; active {self.active.name})"

    @property
    def home(self) -> Region:
        """The region whose URLs all others' stand for."""
        return self.regions[0]

    def named(self, name: str) -> Region:
        """The region of a name."""
        for region in self.regions:
            if region.name == name:
                return region
        known = ", ".join(region.name for region in self.regions)
        raise SettingsError(f"{name!r} is none of the regions", f"they are {known}: add it to the setting regions")

    def counterpart(self, url: str, region: Region) -> str | None:
        """What a URL of home's is called in a region; None where that has none of it."""
        for theirs, here in sorted(self._places(region).items(), key=lambda pair: -len(pair[0])):
            if url == theirs or url.startswith(f"{theirs}/"):
                return here + url[len(theirs) :]
        return None

    def _places(self, region: Region) -> dict[str, str]:
        if region is not self.home and region.name != self.home.name:
            lake = {self.home.lake.rstrip("/"): region.lake.rstrip("/")} if self.home.lake and region.lake else {}
            return {**region.places, **lake}
        every = [theirs for other in self.regions[1:] for theirs in self._places(other)]
        return {theirs: theirs for theirs in every}

    # --- whom to ask ------------------------------------------------------------------------------------------

    def order(self, service: Service) -> list[Region]:
        """Whom to ask, one after the other; say of each one asked whether it `answered` or `failed`.

        The active one comes first, those that are dark are left out. One whose time has come is given to one caller,
        before all others: what it answers may be old, which `settled` tells. Where all are dark, one of them is tried
        every second; where nobody is to be tried yet, nobody is in it.
        """
        with self._breakers.lock:
            regions = sorted(self.regions, key=lambda region: region.name != self.active.name)
            before = {region.name: self._of(region, service).state for region in regions}
            chosen = [region for region in regions if self._breakers.allows(service, self._of(region, service))]
            if not chosen:
                last = min(regions, key=lambda region: self._of(region, service).tried)
                chosen = [last] if self._breakers.allows(service, self._of(last, service), least=BETWEEN_TRIALS) else []
            return sorted(chosen, key=lambda region: before[region.name] == "closed")

    def allows(self, region: Region, service: Service) -> bool:
        """Whether a request may go to this region now; one that is half-open is given to one caller."""
        with self._breakers.lock:
            alone = all(self._of(one, service).state != "closed" for one in self.regions)
            return self._breakers.allows(service, self._of(region, service), least=BETWEEN_TRIALS if alone else 0.0)

    def on_trial(self, region: Region, service: Service) -> bool:
        """Whether this region was dark and is being tried."""
        with self._breakers.lock:
            return self._of(region, service).state == "half-open"

    def failed(self, region: Region, service: Service, error: BaseException | str) -> None:
        """A region refused, timed out, or was busy beyond its retries: it is stepped over for a while."""
        with self._breakers.lock:
            breaker = self._of(region, service)
            breaker.error = str(error)
            if breaker.state == "open":
                return
            again = breaker.state == "half-open"
            breaker.wait = min(breaker.wait * 2, LONGEST_WAIT) if again else FIRST_WAIT
            wait = breaker.wait * self._breakers.spread()
            breaker.tried = self._breakers.clock()
            breaker.until = breaker.tried + wait
            self._breakers.turn(service, breaker, "open")
        logger.warning(
            "region %s: %s %s, stepped over for %.0f s: %s",
            region.name, service, "is still dark" if again else "is dark", wait, error,
        )  # fmt: skip

    def answered(self, region: Region, service: Service) -> None:
        """A region answered, be it that something is forbidden or not there."""
        with self._breakers.lock:
            breaker = self._of(region, service)
            if breaker.state != "half-open":  # what was sent before it went dark says nothing of now
                return
            breaker.error = ""
            self._breakers.turn(service, breaker, "closed")
        logger.warning("region %s: %s answers again", region.name, service)

    # --- what they know ---------------------------------------------------------------------------------------

    def settled(self, service: Service, place: str = "") -> bool:
        """Whether the first region of `order` can be taken at its word.

        That is so while all of them answer and, since the last change of that, were seen to hold the same not long ago:
        what a region took before it went dark, and what others took meanwhile, is copied some time after it is back. A
        process that has not looked yet does not know. `place` is what was compared, such as a folder's URL.
        """
        with self._breakers.lock:
            until = self._breakers.level.get(self._level_key(service, place), -1.0)
            return len(self.regions) == 1 or (not self._dark(service) and self._breakers.clock() < until)

    def epoch(self, service: Service) -> int:
        """A number that changes with any region's state: take it before comparing them, for `caught_up`."""
        with self._breakers.lock:
            return -1 if self._dark(service) else self._breakers.changes[service]

    def caught_up(self, service: Service, epoch: int, place: str = "") -> None:
        """All regions were seen to hold the same of a place, with the `epoch` that was taken before looking."""
        with self._breakers.lock:
            if epoch == self.epoch(service) >= 0:
                self._breakers.level[self._level_key(service, place)] = self._breakers.clock() + LEVEL

    def written(self, service: Service, *places: str) -> None:
        """Places were written to in one region, and so the others cannot hold the same yet."""
        with self._breakers.lock:
            for place in places:
                self._breakers.level.pop(self._level_key(service, place), None)

    def _level_key(self, service: Service, place: str) -> tuple[Any, ...]:
        return service, place, *(_key(region, service) for region in self.regions)

    def _dark(self, service: Service) -> list[Region]:
        return [region for region in self.regions if self._of(region, service).state != "closed"]

    def go_over(self, why: BaseException | str) -> Region:
        """Make the next region that is not dark the active one.

        Parameters
        ----------
        why : Exception or str
            Said in the log. If it is a RegionDarkError of a region that is not active any more, another caller has gone
            over already.

        Raises
        ------
        RegionDarkError
            If there is no other.
        """
        with self._breakers.lock:
            left = self.active
            if isinstance(why, RegionDarkError) and why.region not in ("", left.name):
                return left
            at = [region.name for region in self.regions].index(left.name)
            for region in (*self.regions[at + 1 :], *self.regions[:at]):
                if all(self._of(region, service).state == "closed" for service in SERVICES):
                    self.active = region
                    for service in SERVICES:
                        self._breakers.look_again(service)
                    break
            else:
                raise RegionDarkError(
                    f"no region is left to go over to from {left.name}: {why}",
                    "look at each with: taxidask regions; what was written is not lost, try again when one is back",
                    region=left.name,
                )
        logger.warning("regions: gone over from %s to %s, which is active now: %s", left.name, region.name, why)
        return region

    def go_back(self) -> bool:
        """Make the region the active one again that was chosen to be, if it answers; whether that is active now.

        Not for work that must stay in one region. What other regions took meanwhile is copied by AWS some time later,
        and until then is read from them and brought over before a condition is judged.
        """
        with self._breakers.lock:
            left = self.active
            if left.name == self.chosen.name:
                return True
            if any(self._of(self.chosen, service).state != "closed" for service in SERVICES):
                return False
            self.active = self.chosen
            for service in SERVICES:
                self._breakers.look_again(service)
        logger.warning("regions: gone back from %s to %s, which answers again", left.name, self.chosen.name)
        return True

    def in_active(self, service: Service, doing: str, do: Callable[[Region], T], *, moves: bool) -> T:
        """Do something in the active region; if it is dark go over to the next, where that `moves`.

        Parameters
        ----------
        do : callable
            Raises UnansweredError where the region does not answer.

        Raises
        ------
        RegionDarkError
            If the active region is dark, and nothing moves or there is no other.
        """
        while True:
            region, why = self.active, ""
            if self.allows(region, service):
                try:
                    return do(region)
                except UnansweredError as error:
                    why = str(error)
            dark = self.dark(service, doing, why)
            if not moves:
                raise dark
            self.go_over(dark)

    def dark(self, service: Service, doing: str, error: BaseException | str = "") -> RegionDarkError:
        """The error of a write that the active region did not take."""
        name = self.active.name
        with self._breakers.lock:
            why = str(error) or self._of(self.active, service).error or "it is being tried by another request"
        return RegionDarkError(
            f"cannot {doing}: {name}, the active region, is dark: {why}",
            "go over to another region (a run does so itself: taxidask run --resume last), or wait until it is back",
            region=name, service=service,
        )  # fmt: skip

    def status(self) -> list[RegionStatus]:
        """Of every region and service what this process knows."""
        with self._breakers.lock:
            now = self._breakers.clock()
            found = []
            for region in self.regions:
                for service in SERVICES:
                    one = self._of(region, service)
                    left = None if one.state == "closed" else max(one.until - now, 0.0)
                    active = region.name == self.active.name
                    found.append(
                        RegionStatus(region.name, service, one.state, one.since, one.error, active, left)
                    )  # fmt: skip
            return found

    def _of(self, region: Region, service: Service) -> _Breaker:
        return self._breakers.get(_key(region, service))


def regions_of(settings: Settings, *, active: str | None = None) -> Regions | None:
    """The regions of some settings, None where they name none; home's lake is that of the settings.

    `active` is by default the setting `active_region`, and home without it.
    """
    if not settings.regions:
        return None
    home, *others = settings.regions
    home = home.model_copy(update={"lake": home.lake or settings.lake})
    return Regions([home, *others], active=active or settings.active_region)


_in_use: list[Regions] = []


@contextlib.contextmanager
def in_use(regions: Regions | None) -> Iterator[None]:
    """Within it, a storage or store that is opened without regions has these, and stays in the active one."""
    if regions is None:
        yield
        return
    _in_use.append(regions)
    try:
        yield
    finally:
        _in_use.remove(regions)


def regions_in_use() -> Regions | None:
    """The regions of the work that this process is at, if it has said so."""
    return _in_use[-1] if _in_use else None


def _key(region: Region, service: Service) -> tuple[str, str, Service]:
    return region.name, (region.s3_endpoint if service == "s3" else region.dynamodb_endpoint) or "", service
