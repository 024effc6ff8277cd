"""The kinds of storage behind :mod:`taxidask.storage`: files, S3 and memory, each with conditional writes."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import xxhash

from taxidask.storage.errors import ConditionLost, WrongRegionError, service_code
from taxidask.storage.requests import on_send

MIB = 2**20
READ_PART = 16 * MIB  # a longer range is fetched from S3 over several connections
WRITE_PART = 64 * MIB  # a larger object goes to S3 as a multipart upload
TIMEOUTS = 5.0, 60.0  # seconds to connect to S3, and to wait for some bytes of an answer

Entries = list[tuple[str, int, str, float]]  # path, size, version and when it was written
Closed = list[str] | None  # folders further down that may not be listed are added to it instead of raised


class Backend:
    """One kind of storage. Methods raise what the system below raises; `_call` explains it."""

    def stat(self, path: str) -> tuple[int, str, float]:
        raise NotImplementedError

    def list(self, path: str, depth: int | None = None, closed: Closed = None) -> Entries:
        raise NotImplementedError

    def read(self, path: str, start: int, stop: int | None, version: str = "") -> bytes:
        raise NotImplementedError

    def put(self, path: str, data: bytes | memoryview, *, absent: bool = False, version: str | None = None) -> None:
        raise NotImplementedError

    def delete(self, path: str) -> None:
        raise NotImplementedError


class _Local(Backend):
    """Files: durable (fsync before and after the rename), whole (temporary file and rename), one writer at a time."""

    def stat(self, path: str) -> tuple[int, str, float]:
        return self._version(os.stat(path), path)  # noqa: PTH116

    @staticmethod
    def _version(info: os.stat_result, path: str) -> tuple[int, str, float]:
        if (info.st_mode & 0o170000) == 0o040000:
            raise IsADirectoryError(errno.EISDIR, "is a directory", path)
        return info.st_size, f"{info.st_size}-{info.st_mtime_ns}-{info.st_ino}", info.st_mtime

    def list(self, path: str, depth: int | None = None, closed: Closed = None) -> Entries:
        found: Entries = []
        above: dict[str, frozenset[tuple[int, int]]] = {path: frozenset()}  # of each folder, those it lies in

        def unlisted(error: OSError) -> None:
            if closed is not None and isinstance(error, PermissionError) and str(error.filename) != path:
                closed.append(str(error.filename))
            elif not isinstance(error, (FileNotFoundError, NotADirectoryError)):
                raise error

        for folder, folders, names in os.walk(path, onerror=unlisted, followlinks=True):
            before = above.pop(folder)
            try:
                info = os.stat(folder)  # noqa: PTH116
            except FileNotFoundError:  # a folder that has gone since
                continue
            me = info.st_dev, info.st_ino
            if me in before:  # a link to a folder that it lies in
                folders.clear()
                continue
            if depth is not None and len(before) + 1 >= depth:
                folders.clear()
            for name in folders:
                above[os.path.join(folder, name)] = before | {me}  # noqa: PTH118
            for name in names:
                file = f"{folder.rstrip('/')}/{name}"
                try:
                    found.append((file, *self.stat(file)))
                except OSError as error:
                    if isinstance(error, FileNotFoundError) and not os.path.islink(file):  # noqa: PTH114
                        continue  # a temporary file that has gone since
                    found.append(
                        (file, 0, "", 0.0)
                    )  # a link to nothing or to itself: the others are listed all the same
        return found

    def read(self, path: str, start: int, stop: int | None, version: str = "") -> bytes:  # noqa: ARG002
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123
            if start:
                file.seek(start)
            want = (os.fstat(file.fileno()).st_size if stop is None else stop) - start
            data = file.read(max(want, 0)) or b""
            while len(data) < want and (more := file.read(want - len(data))):
                data += more
            return data

    def put(self, path: str, data: bytes | memoryview, *, absent: bool = False, version: str | None = None) -> None:
        folder = os.path.dirname(path)  # noqa: PTH120
        os.makedirs(folder, exist_ok=True)  # noqa: PTH103
        temporary = f"{path}.tmp-{os.getpid()}-{os.urandom(6).hex()}"
        handle = os.open(folder, os.O_RDONLY)
        try:
            with open(temporary, "xb", buffering=0) as file:  # noqa: PTH123
                view = memoryview(data)
                while view:
                    view = view[file.write(view) :]
                os.fsync(file.fileno())
            # The lock of the folder makes look-and-rename one step among processes and threads.
            fcntl.flock(handle, fcntl.LOCK_EX)
            if absent and os.path.lexists(path):
                raise ConditionLost
            if version is not None:
                try:
                    if self.stat(path)[1] != version:
                        raise ConditionLost
                except FileNotFoundError:
                    raise ConditionLost from None
            os.rename(temporary, path)  # noqa: PTH104
            os.fsync(handle)
        finally:
            with contextlib.suppress(OSError):
                os.unlink(temporary)  # noqa: PTH108
            os.close(handle)

    @contextlib.contextmanager
    def writing(self, path: str) -> Iterator[BinaryIO]:
        """A file that takes the path's place when all of it is written."""
        folder = os.path.dirname(path)  # noqa: PTH120
        os.makedirs(folder, exist_ok=True)  # noqa: PTH103
        temporary = f"{path}.tmp-{os.getpid()}-{os.urandom(6).hex()}"
        try:
            with open(temporary, "xb") as file:  # noqa: PTH123
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.rename(temporary, path)  # noqa: PTH104
        finally:
            with contextlib.suppress(OSError):
                os.unlink(temporary)  # noqa: PTH108

    def delete(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)  # noqa: PTH108


class _Memory(Backend):
    """fsspec's memory file system: one store per process, for tests and for trying things out."""

    _lock = threading.RLock()

    @property
    def _fs(self) -> Any:
        import fsspec

        return fsspec.filesystem("memory")

    def stat(self, path: str) -> tuple[int, str, float]:
        data = self.read(path, 0, None)
        written = self._fs.store[f"/{path}"].modified.timestamp()
        return len(data), f"{len(data)}-{xxhash.xxh3_128_hexdigest(data)}", written

    def list(self, path: str, depth: int | None = None, closed: Closed = None) -> Entries:  # noqa: ARG002
        with self._lock:
            prefix = f"/{path}/" if path else "/"
            names = [name for name in self._fs.store if name.startswith(prefix)]
            names = [name for name in names if depth is None or name[len(prefix) :].count("/") < depth]
            return [(name.lstrip("/"), *self.stat(name.lstrip("/"))) for name in names]

    def read(self, path: str, start: int, stop: int | None, version: str = "") -> bytes:  # noqa: ARG002
        with self._lock:
            data = self._fs.store.get(f"/{path}")
            if data is None:
                raise FileNotFoundError(errno.ENOENT, "no such object", path)
            return data.getvalue()[start:stop]

    def put(self, path: str, data: bytes | memoryview, *, absent: bool = False, version: str | None = None) -> None:
        with self._lock:
            there = f"/{path}" in self._fs.store
            if (absent and there) or (version is not None and (not there or self.stat(path)[1] != version)):
                raise ConditionLost
            self._fs.pipe_file(f"/{path}", bytes(data))

    def delete(self, path: str) -> None:
        with self._lock:
            self._fs.store.pop(f"/{path}", None)


class _S3(Backend):
    """An S3 service through s3fs's session and event loop; conditional writes are If-None-Match and If-Match."""

    def __init__(self, endpoint: str | None, region: str | None, timeouts: tuple[float, float]) -> None:
        from aiobotocore.session import AioSession
        from s3fs import S3FileSystem

        session = AioSession()
        session.register("before-send.s3", on_send)
        self._fs = S3FileSystem(
            session=session,
            endpoint_url=endpoint,
            client_kwargs={"region_name": region} if region else {},
            # One place retries, `_call`: here a failure comes back at once.
            config_kwargs={
                "retries": {"total_max_attempts": 1},
                "connect_timeout": timeouts[0],
                "read_timeout": timeouts[1],
                "max_pool_connections": 32,
            },
            skip_instance_cache=True,
            use_listings_cache=False,
        )
        self._fs.retries = 1

    def _run(self, function: Callable[..., Any], *args: Any) -> Any:
        from fsspec.asyn import sync

        return sync(self._fs.loop, function, *args)

    def _split(self, path: str) -> tuple[str, str]:
        bucket, _, key = path.partition("/")
        return bucket, key

    def stat(self, path: str) -> tuple[int, str, float]:
        bucket, key = self._split(path)
        if not key:
            raise IsADirectoryError(errno.EISDIR, "is a bucket", path)
        try:
            head = self._fs.call_s3("head_object", Bucket=bucket, Key=key)
        except OSError as error:
            if service_code(error) in ("301", "400", "403", "404"):
                self._ask(bucket, key, elsewhere=service_code(error) in ("301", "400"))
            raise
        size = head["ContentLength"]
        return size, _s3_version(size, head["ETag"]), head["LastModified"].timestamp()

    def _ask(self, bucket: str, key: str, *, elsewhere: bool) -> None:
        """Raise what a HEAD, whose answer has no body to say it, refused an object for; its own error if nothing."""
        try:
            self._fs.call_s3("get_object", Bucket=bucket, Key=key, Range="bytes=0-0")["Body"].close()
        except OSError as told:
            if service_code(told) not in ("NoSuchKey", "InvalidRange", "416"):
                raise
        if elsewhere:  # botocore has sent that on to the right region
            region, asked = (
                self._fs.call_s3("head_bucket", Bucket=bucket).get("BucketRegion"),
                self._fs.s3.meta.region_name,
            )
            if region and region != asked:
                raise WrongRegionError(region, asked)

    def list(self, path: str, depth: int | None = None, closed: Closed = None) -> Entries:  # noqa: ARG002
        bucket, key = self._split(path)
        found: Entries = []
        more: dict[str, str] = {}
        while True:
            prefix = f"{key.rstrip('/')}/" if key else ""
            flat = {"Delimiter": "/"} if depth == 1 else {}
            page = self._fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, **flat, **more)
            for item in page.get("Contents", ()):
                if not item["Key"].endswith("/"):
                    version = _s3_version(item["Size"], item["ETag"])
                    written = item["LastModified"].timestamp()
                    found.append((f"{bucket}/{item['Key']}", item["Size"], version, written))
            if not page.get("IsTruncated"):
                return found
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def read(self, path: str, start: int, stop: int | None, version: str = "") -> bytes:
        try:
            return self._run(self._read, *self._split(path), start, stop, _matching(version))
        except OSError as error:
            if version and service_code(error) in ("PreconditionFailed", "412"):
                raise ConditionLost from None
            raise

    async def _read(self, bucket: str, key: str, start: int, stop: int | None, match: dict[str, str]) -> bytes:
        import asyncio

        if stop is None or stop - start <= READ_PART:
            try:
                answer = await self._get(bucket, key, start, stop, **match)
            except OSError as error:
                if service_code(error) in ("InvalidRange", "416"):
                    return b""
                raise
            async with answer["Body"] as body:
                return await body.read()
        first = await self._get(bucket, key, start, start + READ_PART, **match)
        size = int(first["ContentRange"].rpartition("/")[2])
        stop = min(stop, size)
        whole = io.BytesIO()
        whole.truncate(0)
        whole.seek(stop - start - 1)
        whole.write(b"\0")
        match = {"IfMatch": first["ETag"]}
        with whole.getbuffer() as view:

            async def fill(at: int, answer: Any = None) -> None:
                end = min(at + READ_PART, stop)
                answer = answer or await self._get(bucket, key, at, end, **match)
                while at < end and (piece := await answer["Body"].read(MIB)):
                    view[at - start : at - start + len(piece)] = piece
                    at += len(piece)
                if at < end:
                    raise ConnectionError(f"the answer ended {end - at:,} bytes early")

            parts = [fill(start, first)]
            parts += [fill(at) for at in range(start + READ_PART, stop, READ_PART)]
            for batch in range(0, len(parts), 8):
                await asyncio.gather(*parts[batch : batch + 8])
        return whole.getvalue()

    async def _get(self, bucket: str, key: str, start: int, stop: int | None, **match: str) -> Any:
        if start or stop is not None:
            match["Range"] = f"bytes={start}-{'' if stop is None else stop - 1}"
        return await self._fs._call_s3("get_object", Bucket=bucket, Key=key, **match)

    def put(self, path: str, data: bytes | memoryview, *, absent: bool = False, version: str | None = None) -> None:
        bucket, key = self._split(path)
        match = {"IfNoneMatch": "*"} if absent else {}
        if version is not None:
            match = _matching(version)
        try:
            if len(data) <= WRITE_PART or match:
                self._fs.call_s3("put_object", Bucket=bucket, Key=key, Body=bytes(data), **match)
            else:
                self._fs.pipe_file(path, bytes(data), chunksize=WRITE_PART // 2)
        except OSError as error:
            code = service_code(error)
            missing = version is not None and code in ("NoSuchKey", "404")
            if missing or code in ("PreconditionFailed", "412", "ConditionalRequestConflict", "409"):
                raise ConditionLost from None
            raise

    def delete(self, path: str) -> None:
        bucket, key = self._split(path)
        self._fs.call_s3("delete_object", Bucket=bucket, Key=key)


LOCAL, MEMORY = _Local(), _Memory()
_S3_OF_PROCESS: dict[tuple[object, ...], _S3] = {}
_S3_LOCK = threading.Lock()
_AWS_VARIABLES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL",
    "AWS_DEFAULT_REGION",
)


def s3(endpoint: str | None, region: str | None, timeouts: tuple[float, float] = TIMEOUTS) -> _S3:
    """The connection of this process: a session and its sockets do not survive a fork."""
    # A hash, so that no secret is kept here.
    key = (os.getpid(), endpoint, region, timeouts, hash(tuple(os.environ.get(name) for name in _AWS_VARIABLES)))
    with _S3_LOCK:
        if key not in _S3_OF_PROCESS:
            _S3_OF_PROCESS[key] = _S3(endpoint, region, timeouts)
        return _S3_OF_PROCESS[key]


def _after_fork() -> None:
    global _S3_LOCK
    _S3_LOCK = threading.Lock()
    _Memory._lock = threading.RLock()


os.register_at_fork(after_in_child=_after_fork)


def _matching(version: str) -> dict[str, str]:
    return {"IfMatch": f'"{version.partition("-")[2]}"'} if version else {}


def _s3_version(size: int, etag: str) -> str:
    return f"{size}-{etag.strip(chr(34))}"
