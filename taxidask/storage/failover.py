"""What a storage does that has regions: reads from the first that answers, and of what may be old from all of them.

A URL of home's has a counterpart in each region. A region is asked for a few seconds only, so that a caller goes on
soon after it went dark. What a region does not have is looked for in the others before it is called missing. Until all
of them were seen to hold the same of an object or a folder, all that answer are asked and the newest of it counts, by
the time at which it was written first, which S3 keeps in its copies. Writes go to the active region alone; a
conditional one looks at the others first, as its condition would else hold in one region only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from taxidask.errors import StorageError
from taxidask.storage.backends import Backend, Closed, Entries, s3
from taxidask.storage.errors import ChangedError, ConditionLost, MissingError, retried, service_code, worth_retrying
from taxidask.storage.regions import Regions, UnansweredError

if TYPE_CHECKING:
    from taxidask.settings import Region
    from taxidask.storage.store import Storage

T = TypeVar("T")
Ask = Callable[[Backend, str], T]
Seen = tuple[int, str, float]  # size, version and when it was written
TIMEOUTS = 1.5, 3.0  # seconds to connect, and to wait for some bytes of an answer
DEADLINE = 1.5  # seconds within which a region is asked again: with what that takes, less than 5 until the next one is
TOTAL = 4.0  # seconds that are waited for any to answer
TRIES = 2  # of a region on trial: the first may take a connection that was left from before it went dark
PAUSE = 0.25


class Failover:
    """The calls of a storage for URLs that have counterparts in several regions.

    Parameters
    ----------
    storage : Storage
        Its `_call` is the door to the outside.
    regions : Regions
    """

    def __init__(self, storage: Storage, regions: Regions) -> None:
        self.storage = storage
        self.regions = regions

    def covers(self, url: str) -> bool:
        """Whether a URL is one of home's that other regions have a counterpart of."""
        return self.regions.counterpart(url, self.regions.home) is not None

    def settled(self, url: str) -> bool:
        """Whether the first region's word is enough for an object: all were seen to hold the same of it, or its folder.

        See `Regions.settled`.
        """
        folder = url.rpartition("/")[0]
        return any(self.regions.settled("s3", place) for place in (url, f"{url}/", f"{folder}/"))

    def level(self, folder: str) -> bool:
        """Whether all regions answer and hold the same objects in a folder, looked at now."""
        self.regions.written("s3", *_lists_of(folder))
        self.listed(folder, 1, None)
        return self.regions.settled("s3", f"{folder}/")

    # --- reading ----------------------------------------------------------------------------------------------

    def stat(self, url: str) -> Seen:
        """Size, version and time of the newest of an object that is known of."""
        if self.settled(url):
            return self._first("stat", url, lambda backend, path: backend.stat(path))
        return self._newest("stat", url)[1]

    def read(self, url: str, start: int, stop: int | None, version: str) -> bytes:
        """Bytes of an object: of one version, or of the newest; ranges of others are of what never changes."""
        if start == 0 and stop is None and not version and not self.settled(url):
            region, (_, version, _) = self._newest("read", url)
            try:
                return self._ask("read", url, region, lambda backend, path: backend.read(path, 0, None))
            except (MissingError, UnansweredError):  # since
                pass
        return self._first("read", url, lambda backend, path: backend.read(path, start, stop, version))

    def listed(self, url: str, depth: int | None, closed: Closed) -> Entries:
        """What is below a URL, by home's names: of the first region, or of all, the newest of each."""
        place = f"{url}/*{depth or ''}"
        if self.regions.settled("s3", place):
            return self._first("list", url, lambda backend, path: self._below(url, backend, path, depth, closed))
        epoch = self.regions.epoch("s3")
        found = self._every("list", url, lambda backend, path: self._below(url, backend, path, depth, closed))
        newest: dict[str, tuple[tuple[int, bool, str], tuple[str, int, str, float]]] = {}
        for region, entries in found:
            for one in entries or ():
                last = self._last(region, one[1:])
                if one[0] not in newest or newest[one[0]][0] < last:
                    newest[one[0]] = last, one
        held = [{(name, version) for name, _, version, _ in entries or ()} for _, entries in found]
        if self._complete(url, found) and all(one == held[0] for one in held):
            for known in (place, f"{url}/"):
                self.regions.caught_up("s3", epoch, known)
        return [one for _, one in newest.values()]

    def _below(self, url: str, backend: Backend, path: str, depth: int | None, closed: Closed) -> Entries:
        home, skipped = url.partition("://")[2].rstrip("/"), len(path.rstrip("/"))
        return [(home + one[0][skipped:], *one[1:]) for one in backend.list(path, depth, closed)]

    def _newest(self, op: str, url: str) -> tuple[Region, Seen]:
        """Where the newest of an object is, and its size, version and time."""
        region, seen, _ = self._look(op, url)
        if region is None or seen is None:
            raise MissingError(f"cannot {op} {url}: nothing is stored there{self._unasked(url)}", _CHECK)
        return region, seen

    def _look(self, op: str, url: str) -> tuple[Region | None, Seen | None, dict[str, Seen | None]]:
        """The newest of an object, and what each region that answers has of it; None where it is not."""
        epoch = self.regions.epoch("s3")
        found = self._every(op, url, lambda backend, path: backend.stat(path))
        if self._complete(url, found) and len({seen and seen[1] for _, seen in found}) == 1:
            self.regions.caught_up("s3", epoch, url)
        there = [(region, seen) for region, seen in found if seen is not None]
        region, seen = max(there, key=lambda one: self._last(*one), default=(None, None))
        return region, seen, {one.name: seen for one, seen in found}

    # --- writing ----------------------------------------------------------------------------------------------

    def write(self, op: str, url: str, put: Ask[T], needs: int = 0) -> T:
        """Do something in the active region; if it is dark go over to the next, where the storage may.

        Raises
        ------
        RegionDarkError
            If the active region is dark, and the storage stays with it or there is no other.
        """

        def ask(region: Region) -> T:
            try:
                return self._ask(op, url, region, put, needs)
            finally:
                self.regions.written("s3", url, *_lists_of(url.rpartition("/")[0]))

        return self.regions.in_active("s3", f"{op} {url}", ask, moves=self.storage.moves)

    def create(self, url: str, put: Callable[[str | None, bool], Ask[bool]], needs: int) -> bool:
        """Write an object where there is none in any region that answers; whether this call wrote it.

        `put` makes the write, from the version that it replaces and whether nothing is to be there.
        """
        _, newest, _ = self._look("create", url)
        return newest is None and self.write("create", url, put(None, True), needs)

    def replace(self, url: str, version: str, put: Callable[[str | None, bool], Ask[bool]], needs: int) -> bool:
        """Write an object over a version that is the newest of all regions that answer; whether this call wrote it."""
        _, newest, found = self._look("replace", url)
        if newest is None or newest[1] != version:
            return False
        own = found.get(self.regions.active.name)  # may be one that this version has not been copied over yet
        return self.write("replace", url, put(own[1], False) if own else put(None, True), needs)

    # --- asking -----------------------------------------------------------------------------------------------

    def _first(self, op: str, url: str, ask: Ask[T]) -> T:
        """Of the first region that has it; missing is what none of those has that answer."""
        missing, other = None, False
        for region in self._order(url):
            try:
                return self._ask(op, url, region, ask)
            except MissingError as error:
                missing = error
            except ConditionLost:
                other = True
            except UnansweredError:
                continue
        if other:
            raise ChangedError(
                f"cannot {op} {url}: it is of another version now, or not copied yet{self._unasked(url)}", "try again"
            )
        if missing:
            raise MissingError(missing.message + self._unasked(url), missing.remedy)
        raise self._all_dark(op, url)

    def _every(self, op: str, url: str, ask: Ask[T]) -> list[tuple[Region, T | None]]:
        """Of every region that answers; None where it is missing."""
        found: list[tuple[Region, T | None]] = []
        for region in self._order(url):
            try:
                found.append((region, self._ask(op, url, region, ask)))
            except MissingError:
                found.append((region, None))
            except UnansweredError:
                continue
        if not found:
            raise self._all_dark(op, url)
        return found

    def _order(self, url: str) -> Iterator[Region]:
        """Whom to ask, until one has answered; while all are dark, those that are tried again, for some seconds."""
        until = time.monotonic() + TOTAL
        every = [region for region in self.regions.regions if self.regions.counterpart(url, region) is not None]
        while True:
            yield from (region for region in self.regions.order("s3") if region in every)
            if len(self.dark(url)) < len(every) or time.monotonic() > until:
                return
            time.sleep(PAUSE)

    def _ask(self, op: str, url: str, region: Region, ask: Ask[T], needs: int = 0) -> T:
        place = self.regions.counterpart(url, region)
        if place is None:
            raise StorageError(
                f"cannot {op} {url}: the region {region.name} has no place for it", "give it one in regions: places"
            )
        backend = s3(region.s3_endpoint or self.storage.endpoint, region.name, TIMEOUTS)
        path = place.partition("://")[2]
        attempts = TRIES if self.regions.on_trial(region, "s3") else self.storage.attempts

        def answer() -> T:
            return retried(
                lambda: ask(backend, path), op, url, needs=needs, attempts=attempts, deadline=DEADLINE
            )  # fmt: skip

        try:
            result: T = self.storage._call(op, url, answer, needs=needs)
        except StorageError as error:
            if error.__cause__ is not None and worth_retrying(error.__cause__):
                self.regions.failed(region, "s3", error)
                raise UnansweredError(str(error)) from error
            if error.__cause__ is not None and service_code(error.__cause__) is not None:
                self.regions.answered(region, "s3")
            raise
        except ConditionLost:
            self.regions.answered(region, "s3")
            raise
        self.regions.answered(region, "s3")
        return result

    def _last(self, region: Region, seen: Seen) -> tuple[int, bool, str]:
        """What orders writes of one key; of one second, in which S3 tells no order, the active region's counts."""
        _, version, written = seen
        return int(written), region.name == self.regions.active.name, version.partition("-")[2]

    def _complete(self, url: str, found: list[tuple[Region, Any]]) -> bool:
        asked = [region for region in self.regions.regions if self.regions.counterpart(url, region) is not None]
        return len(found) == len(asked)

    def dark(self, url: str) -> list[str]:
        """Names of the regions that have a counterpart of a URL, and do not answer."""
        states = {one.region: one for one in self.regions.status() if one.service == "s3" and one.state != "closed"}
        return [name for name in states if self.regions.counterpart(url, self.regions.named(name)) is not None]

    def _unasked(self, url: str) -> str:
        dark = self.dark(url)
        return f"; {', '.join(dark)}, which may have it, is dark" if dark else ""

    def _all_dark(self, op: str, url: str) -> StorageError:
        errors = "; ".join(f"{one.region}: {one.error}" for one in self.regions.status() if one.service == "s3")
        return StorageError(
            f"cannot {op} {url}: no region answers: {errors}", "check the network, then: taxidask regions"
        )


def _lists_of(folder: str) -> tuple[str, str, str]:
    """What is known by the names of a folder: that of its objects, and its lists with and without those below."""
    return f"{folder}/", f"{folder}/*", f"{folder}/*1"


_CHECK = "check the name; list its folder"
