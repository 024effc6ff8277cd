"""URLs to bytes: local paths, ``s3://`` and ``memory://`` behind one small interface with conditional writes.

Every call passes through ``Storage._call``: retries are bounded there, errors of services and of the operating system
become :class:`~taxidask.errors.StorageError` with a remedy there, and tests count or kill there.
"""

from __future__ import annotations

import contextlib
import fnmatch
import io
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeVar, cast

from taxidask.credentials import REMEDY, credential_in
from taxidask.errors import StorageError
from taxidask.storage.backends import LOCAL, MEMORY, MIB, Backend, Closed, ConditionLost, s3
from taxidask.storage.errors import MissingError, explained, told, worth_retrying

__all__ = ["MissingError", "Stat", "Storage", "absolute", "counted", "default_storage", "join", "scheme"]

T = TypeVar("T")
_TEMPORARY = re.compile(r"\.tmp-\d+-[0-9a-f]+$")
# Old buckets have capital letters, underscores and up to 255 characters; what has colons is an access point.
_BUCKET = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{,253}[A-Za-z0-9])?|arn:aws[a-z-]*:s3[a-z-]*:[A-Za-z0-9:.-]+")
_LOST_SLASH = re.compile(r"(file|s3[an]?|memory|https?|gs|ftp):/(?!/)", re.IGNORECASE)
_MAGIC = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Stat:
    """What a URL holds: its size in bytes and a version that changes whenever its bytes may have changed.

    The version is empty of what a list names and nobody can look at; `Storage.stat` says why.
    """

    url: str
    size: int
    version: str


Stats = list[Stat]


def scheme(url: str) -> str:
    """Protocol of a URL: ``file``, ``s3`` or ``memory``.

    Examples
    --------
    >>> scheme("s3://bucket/lake"), scheme("/data/lake")
    ('s3', 'file')
    """
    if told := credential_in(url):
        raise StorageError(told, REMEDY)
    match = re.match(r"([a-z][a-z0-9+.-]*)://", url, re.IGNORECASE)
    name = match.group(1).lower() if match else "file"
    name = {"s3a": "s3", "s3n": "s3"}.get(name, name)
    if name not in ("file", "s3", "memory"):
        raise StorageError(
            f"{url} is of an unknown kind {name}://", "use a local path, s3://bucket/key or memory://name"
        )
    return name


def absolute(url: str | os.PathLike[str]) -> str:
    """One canonical name for a URL or path: an absolute path for local files, the URL itself elsewhere.

    Examples
    --------
    >>> absolute("s3://bucket/lake/"), absolute("file:///data/lake"), absolute("/data/../lake")
    ('s3://bucket/lake', '/data/lake', '/lake')
    """
    text = _text(url)
    if _LOST_SLASH.match(text):
        raise StorageError(f"{text!a:.100} has one slash after its colon", "write two, as text: a Path keeps one only")
    kind = scheme(text)
    if kind == "file":
        path = re.sub(r"^file://", "", text, flags=re.IGNORECASE)
        if not path.strip():  # which would be the current folder
            raise StorageError(f"{text!r} names no file and no folder", "give a path, ./ for the current folder")
        return os.path.abspath(os.path.expanduser(path))  # noqa: PTH100, PTH111 - `..` is resolved, links are not
    rest = text.split("://", 1)[1]
    rest = rest.strip("/") if kind == "memory" else rest.rstrip("/")
    if kind == "s3":
        _check_bucket(text, rest.split("/", 1)[0])
    return f"{kind}://{rest}"


def _text(url: str | os.PathLike[str]) -> str:
    """A URL or path as text that a file system or S3 can be asked for."""
    text = os.fspath(url) if isinstance(url, (str, os.PathLike)) else url
    remedy = "give text, like trips/2015-01.csv or s3://bucket/key"
    if not isinstance(text, str):
        raise StorageError(f"{text!r:.100} is no path or URL", remedy)
    try:
        data = text.encode() if "://" in text else os.fsencode(text)
        wrong = "a zero byte" if b"\0" in data else ""
    except UnicodeEncodeError as error:
        wrong = f"the character {text[error.start]!a}, which no file name has"
    if wrong:
        raise StorageError(f"{text!a:.100} is no path or URL: it has {wrong}", remedy)
    return text


def _check_bucket(text: str, bucket: str) -> None:
    if not bucket:
        raise StorageError(f"{text} names no bucket", "write s3://bucket/key")
    if not _BUCKET.fullmatch(bucket) or ".." in bucket:
        raise StorageError(
            f"{text!a:.100} names the bucket {bucket!a:.70}, which S3 does not allow",
            "a bucket has 3 to 63 small letters, digits, hyphens and dots, a letter or digit at either end",
        )


def join(url: str, *parts: str) -> str:
    """Append path parts to a URL.

    Examples
    --------
    >>> join("s3://bucket/lake/", "manifests", "a.json")
    's3://bucket/lake/manifests/a.json'
    """
    return "/".join([url.rstrip("/"), *(part.strip("/") for part in parts)])


def default_storage() -> Storage:
    """Storage set up from this process's environment (the AWS chain, ``AWS_ENDPOINT_URL_S3``)."""
    return Storage()


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
    ) -> None:
        if told := credential_in(endpoint or ""):
            raise StorageError(told, REMEDY)
        self.endpoint = endpoint
        self.region = region
        self.attempts = attempts
        self.deadline = deadline

    def __repr__(self) -> str:
        return f"Storage(endpoint={self.endpoint!r}, region={self.region!r})"

    def _backend(self, url: str) -> tuple[Backend, str]:
        kind = scheme(_text(url))
        if kind == "file":
            return LOCAL, absolute(url)
        path = url.split("://", 1)[1]
        if kind == "s3":
            _check_bucket(url, path.split("/", 1)[0])
        return (MEMORY, path.strip("/")) if kind == "memory" else (s3(self.endpoint, self.region), path)

    def _call(self, op: str, url: str, fn: Callable[[], T], *, needs: int = 0) -> T:
        """Run one storage operation: the only door to the outside.

        `needs` is the number of bytes about to be written, for the message of a full disk.
        """
        started = time.monotonic()
        for attempt in range(1, self.attempts + 1):
            try:
                return fn()
            except (StorageError, ConditionLost):
                raise
            except Exception as error:
                wait = min(0.1 * 2**attempt, 5.0) * random.uniform(0.5, 1.0)  # noqa: S311 - spreads retries
                late = time.monotonic() - started + wait > self.deadline
                if attempt == self.attempts or late or not worth_retrying(error):
                    raise explained(error, op, url, needs=needs, attempts=attempt) from error
                time.sleep(wait)
        raise AssertionError("unreachable")

    def stat(self, url: str) -> Stat:
        """Size and version of an object; MissingError where there is none."""
        backend, path = self._backend(url)
        size, version = self._call("stat", url, lambda: backend.stat(path))
        return Stat(url, size, version)

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
        backend, path = self._backend(url)
        entries = self._call("list", url, lambda: backend.list(path, depth, closed))
        return [
            Stat(_named(url, name), size, version)
            for name, size, version in sorted(entries)
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

    def read(self, url: str, start: int = 0, stop: int | None = None) -> bytes:
        """Bytes ``[start, stop)`` of an object, fewer where it ends before."""
        backend, path = self._backend(url)
        if stop is not None and stop <= start:
            return b""
        return self._call("read", url, lambda: backend.read(path, start, stop))

    def open(self, url: str, *, read_ahead: int = 4 * MIB, size: int | None = None) -> BinaryIO:
        """Open an object for reading, seekable.

        Parameters
        ----------
        url : str
            What to read.
        read_ahead : int
            Bytes to read at a time; 0 reads exactly the ranges asked for.
        size : int, optional
            Its size, where that is known already: it is not asked for then.
        """
        raw = RangeFile(self, self.stat(url) if size is None else Stat(url, size, ""))
        return cast(BinaryIO, io.BufferedReader(raw, read_ahead) if read_ahead else raw)

    def write(self, url: str, data: bytes | memoryview) -> None:
        """Write an object whole or not at all, over whatever was there."""
        backend, path = self._backend(url)
        self._call("write", url, lambda: backend.put(path, data), needs=len(data))

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
        backend, path = self._backend(url)
        return self._conditional("create", url, data, lambda: backend.put(path, data, absent=True))

    def replace(self, url: str, data: bytes, version: str) -> bool:
        """Write an object only over the given version of it; whether this call wrote it."""
        backend, path = self._backend(url)
        return self._conditional("replace", url, data, lambda: backend.put(path, data, version=version))

    def _conditional(self, op: str, url: str, data: bytes, put: Callable[[], None]) -> bool:
        tries = 0

        def attempt() -> bool:
            nonlocal tries
            tries += 1
            try:
                put()
            except ConditionLost:
                # An earlier try whose answer got lost may have been the one that wrote.
                backend, path = self._backend(url)
                try:
                    return tries > 1 and backend.read(path, 0, None) == data
                except FileNotFoundError:  # removed since: the condition is lost all the same
                    return False
            return True

        return self._call(op, url, attempt, needs=len(data))

    def delete(self, url: str) -> None:
        """Remove an object; nothing happens where there is none."""
        backend, path = self._backend(url)
        self._call("delete", url, lambda: backend.delete(path))


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
        return self._storage.read(self._stat.url, start, stop)

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
