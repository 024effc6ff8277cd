"""URLs to bytes: local paths, ``s3://`` and ``memory://`` behind one small interface with conditional writes.

Every call passes through ``Storage._call``: retries are bounded there, errors of services and of the operating system
become :class:`~taxidask.errors.StorageError` with a remedy there, and tests count or kill there.
"""

from __future__ import annotations

import contextlib
import copy
import fnmatch
import functools
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO, TypeVar, cast

from taxidask.credentials import REMEDY, credential_in
from taxidask.errors import RegionDarkError, StorageError
from taxidask.storage.backends import LOCAL, MEMORY, MIB, Backend, Closed, s3
from taxidask.storage.errors import ConditionLost, MissingError, retried, told
from taxidask.storage.failover import Failover
from taxidask.storage.regions import Regions, regions_in_use, regions_of
from taxidask.storage.urls import absolute, check_bucket, scheme, text_of

T = TypeVar("T")
_TEMPORARY = re.compile(r"\.tmp-\d+-[0-9a-f]+$")
_MAGIC = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Stat:
    """What a URL holds: its size in bytes and a version that changes whenever its bytes may have changed.

    The version is empty of what a list names and nobody can look at; `Storage.stat` says why.
    """

    url: str
    size: int
    version: str
    modified: float = field(default=0.0, compare=False)  # seconds since 1970


Stats = list[Stat]


def default_storage(regions: Regions | None = None) -> Storage:
    """Storage set up from this process's environment: the AWS chain, ``AWS_ENDPOINT_URL_S3``, the setting `regions`."""
    from taxidask.settings import regions_are_set, resolve

    if regions is None and (used := regions_in_use()) is not None:
        return Storage(regions=used)
    if regions is None and regions_are_set():
        regions = regions_of(resolve({})[0])
    return Storage(regions=regions, moves=True)


class Storage:
    """Bytes at URLs.

    Cheap to construct, safe in several threads, picklable, and usable after a fork: connections belong to the process
    and are opened on first use.

    Parameters
    ----------
    endpoint : str, optional
        Address of the S3 service; the default is the AWS chain (``AWS_ENDPOINT_URL_S3``, profile, region).
    region : str, optional
        Region of the S3 service; the default is the AWS chain.
    attempts : int
        How often one call is tried where a retry can help.
    deadline : float
        Seconds after which a call gives up, retries included.
    regions : Regions, optional
        Where each URL of home's has counterparts: a region that does not answer is stepped over. Other URLs are as
        they are without.
    moves : bool
        Whether a write goes over to another region when the active one is dark; else it is a RegionDarkError. Where a
        storage is sent, as to a worker, it stays.

    Examples
    --------
    >>> storage = Storage()
    >>> storage.create("memory://docs/a.txt", b"one"), storage.create("memory://docs/a.txt", b"two")
    (True, False)
    >>> storage.read("memory://docs/a.txt", 1, 3)
    b'ne'
    """

    def __init__(
        self,
        *,
        endpoint: str | None = None,
        region: str | None = None,
        attempts: int = 5,
        deadline: float = 120.0,
        regions: Regions | None = None,
        moves: bool = False,
    ) -> None:
        if told := credential_in(endpoint or ""):
            raise StorageError(told, REMEDY)
        self.endpoint = endpoint
        self.region = region
        self.attempts = attempts
        self.deadline = deadline
        self.regions = regions
        self.moves = moves
        self._failover = Failover(self, regions) if regions else None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "moves": False}

    def __repr__(self) -> str:
        regions = f", regions={self.regions!r}" if self.regions else ""
        return f"Storage(endpoint={self.endpoint!r}, region={self.region!r}{regions})"

    def staying(self) -> Storage:
        """This storage, with its regions, for work that is begun anew when its active region goes dark."""
        if self.regions is None:
            return self
        other = copy.copy(self)
        other._failover = Failover(other, self.regions)
        return other

    def going_over(self, work: Callable[[bool], T]) -> T:
        """Do work; anew, which it is told, in the next region when the active one goes dark, if this storage moves."""
        anew = False
        while True:
            try:
                return work(anew)
            except RegionDarkError as error:
                if not (self.moves and self.regions):
                    raise
                self.regions.go_over(error)
                anew = True

    def settled(self, url: str) -> bool:
        """Whether nothing newer than what a read of this object or folder gives can be known of in another region."""
        over = self._over(url)
        return over is None or over.settled(url)

    def spread(self, url: str) -> bool:
        """Whether other regions have counterparts of a URL."""
        return self._over(url) is not None

    def level(self, folder: str) -> bool:
        """Whether all regions answer and hold the same objects in a folder, looked at now."""
        over = self._over(folder)
        return over is None or over.level(folder)

    def dark(self, url: str) -> list[str]:
        """Names of the regions that may have a URL, and do not answer."""
        over = self._over(url)
        return [] if over is None else over.dark(url)

    def _over(self, url: str) -> Failover | None:
        """Who sees to a URL that has counterparts in other regions."""
        over = self._failover
        return over if over is not None and scheme(text_of(url)) == "s3" and over.covers(url) else None

    def _backend(self, url: str) -> tuple[Backend, str]:
        kind = scheme(text_of(url))
        if kind == "file":
            return LOCAL, absolute(url)
        path = url.split("://", 1)[1]
        if kind == "s3":
            check_bucket(url, path.split("/", 1)[0])
        return (MEMORY, path.strip("/")) if kind == "memory" else (s3(self.endpoint, self.region), path)

    def _call(self, op: str, url: str, fn: Callable[[], T], *, needs: int = 0) -> T:
        """Run one storage operation: the only door to the outside.

        `needs` is the number of bytes about to be written, for the message of a full disk.
        """
        return retried(fn, op, url, needs=needs, attempts=self.attempts, deadline=self.deadline)

    def stat(self, url: str) -> Stat:
        """Size and version of an object; MissingError where there is none."""
        if over := self._over(url):
            return Stat(url, *over.stat(url))
        backend, path = self._backend(url)
        return Stat(url, *self._call("stat", url, lambda: backend.stat(path)))

    def exists(self, url: str) -> bool:
        """Whether an object is at the URL."""
        try:
            self.stat(url)
        except MissingError:
            return False
        return True

    def list(self, url: str, *, depth: int | None = None, closed: Closed = None) -> Stats:
        """Every object below a URL, sorted by URL; empty where there is nothing.

        With a `depth`, folders further down need not be looked into: 1 is the folder alone. With `closed`, those that
        may not be listed are added to it, and no error.
        """
        if over := self._over(url):
            entries = over.listed(url, depth, closed)
        else:
            backend, path = self._backend(url)
            entries = self._call("list", url, lambda: backend.list(path, depth, closed))
        return [
            Stat(_named(url, name), size, version, modified)
            for name, size, version, modified in sorted(entries)
            if not _TEMPORARY.search(name)
        ]

    def glob(self, pattern: str, *, closed: Closed = None) -> Stats:
        """Objects whose URL matches a pattern of ``*``, ``?``, ``[…]`` (within one folder) and ``**`` (any folders).

        What is `closed` is as in `list`.
        """
        pattern = absolute(pattern)
        match = _MAGIC.search(pattern)
        if match is None:
            return [self.stat(pattern)] if self.exists(pattern) else []
        fixed = pattern[: match.start()].rpartition("/")[0] or "/"
        expression = _glob_expression(pattern)
        depth = None if "**" in pattern else pattern[len(fixed.rstrip("/")) :].count("/")
        return [stat for stat in self.list(fixed, depth=depth, closed=closed) if expression.fullmatch(stat.url)]

    def read(self, url: str, start: int = 0, stop: int | None = None, *, version: str = "") -> bytes:
        """Bytes ``[start, stop)`` of an object, fewer where it ends before.

        With a `version`, what several regions have of it is not mixed: from one that has another, nothing is read.
        """
        over = self._over(url)
        if stop is not None and stop <= start:
            return b""
        if over:
            return over.read(url, start, stop, version)
        backend, path = self._backend(url)
        return self._call("read", url, lambda: backend.read(path, start, stop))

    def open(self, url: str, *, read_ahead: int = 4 * MIB, size: int | None = None, version: str = "") -> BinaryIO:
        """Open an object for reading, seekable.

        Parameters
        ----------
        url : str
            What to read.
        read_ahead : int
            Bytes to read at a time; 0 reads exactly the ranges asked for.
        size : int, optional
            Its size, where that is known already: it is not asked for then.
        version : str
            The one to read, as in `read`.
        """
        raw = RangeFile(self, self.stat(url) if size is None else Stat(url, size, version))
        return cast(BinaryIO, io.BufferedReader(raw, read_ahead) if read_ahead else raw)

    def write(self, url: str, data: bytes | memoryview) -> None:
        """Write an object whole or not at all, over whatever was there."""
        if over := self._over(url):
            return over.write("write", url, lambda backend, path: backend.put(path, data), len(data))
        backend, path = self._backend(url)
        return self._call("write", url, lambda: backend.put(path, data), needs=len(data))

    @contextlib.contextmanager
    def writing(self, url: str) -> Iterator[BinaryIO]:
        """A file to write to; it becomes the object when the block ends, and does not when the block fails.

        On a disk it is written beside and renamed, elsewhere it is held in memory until then.
        """
        backend, path = self._backend(url)
        if backend is LOCAL:
            with told("write", path), LOCAL.writing(path) as file:
                yield file
        else:
            buffer = io.BytesIO()
            yield buffer
            self.write(url, buffer.getbuffer())

    def create(self, url: str, data: bytes) -> bool:
        """Write an object only where there is none; whether this call wrote it."""
        if over := self._over(url):
            return over.create(url, functools.partial(_conditional, data), len(data))
        put, (backend, path) = _conditional(data, None, True), self._backend(url)
        return self._call("create", url, lambda: put(backend, path), needs=len(data))

    def replace(self, url: str, data: bytes, version: str) -> bool:
        """Write an object only over the given version of it; whether this call wrote it."""
        if over := self._over(url):
            return over.replace(url, version, functools.partial(_conditional, data), len(data))
        put, (backend, path) = _conditional(data, version, False), self._backend(url)
        return self._call("replace", url, lambda: put(backend, path), needs=len(data))

    def delete(self, url: str) -> None:
        """Remove an object; nothing happens where there is none."""
        if over := self._over(url):
            return over.write("delete", url, lambda backend, path: backend.delete(path))
        backend, path = self._backend(url)
        return self._call("delete", url, lambda: backend.delete(path))


def _conditional(data: bytes, version: str | None, absent: bool) -> Callable[[Backend, str], bool]:
    """A write over a version or where nothing is, which may be tried again; whether it wrote."""
    tries = 0

    def put(backend: Backend, path: str) -> bool:
        nonlocal tries
        tries += 1
        try:
            backend.put(path, data, absent=absent, version=version)
        except ConditionLost:
            # An earlier try whose answer got lost may have been the one that wrote.
            try:
                return tries > 1 and backend.read(path, 0, None) == data
            except FileNotFoundError:  # removed since: the condition is lost all the same
                return False
        return True

    return put


class RangeFile(io.RawIOBase):
    """A read-only file whose every read is one range read of the storage."""

    def __init__(self, storage: Storage, stat: Stat) -> None:
        self._storage, self._stat, self._at = storage, stat, 0
        self.name = stat.url

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def size(self) -> int:
        return self._stat.size

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = max(0, offset + {0: 0, 1: self._at, 2: self._stat.size}[whence])
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        stop = self._stat.size if size is None or size < 0 else min(self._at + size, self._stat.size)
        data = self.range(self._at, stop)
        self._at += len(data)
        return data

    def range(self, start: int, stop: int) -> bytes:
        """Bytes ``[start, stop)``, wherever they come from."""
        return self._storage.read(self._stat.url, start, stop, version=self._stat.version)

    def readall(self) -> bytes:
        return self.read()

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)


def _named(base: str, path: str) -> str:
    return path if scheme(base) == "file" else f"{scheme(base)}://{path}"


def _glob_expression(pattern: str) -> re.Pattern[str]:
    pieces = []
    for part in re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]]+\])", pattern):
        known = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}.get(part)
        if known is None:
            bracket = part.startswith("[") and part.endswith("]")
            known = fnmatch.translate(part).removesuffix(")\\Z").removeprefix("(?s:") if bracket else re.escape(part)
        pieces.append(known)
    return re.compile("".join(pieces))


@contextlib.contextmanager
def counted(storage: Storage, seen: list[tuple[str, str, int]]) -> Iterator[Storage]:
    """Record (operation, URL, bytes) of every call of a storage, for tests and benchmarks.

    Examples
    --------
    >>> seen = []
    >>> with counted(Storage(), seen) as storage:
    ...     storage.write("memory://docs/b.txt", b"four")
    ...     _ = storage.read("memory://docs/b.txt", 1)
    >>> seen
    [('write', 'memory://docs/b.txt', 4), ('read', 'memory://docs/b.txt', 3)]
    """
    inner = storage._call

    def record(op: str, url: str, fn: Callable[[], Any], *, needs: int = 0) -> Any:
        result = inner(op, url, fn, needs=needs)
        seen.append((op, url, len(result) if isinstance(result, bytes) else needs))
        return result

    storage._call = record  # type: ignore[method-assign]
    try:
        yield storage
    finally:
        del storage._call
