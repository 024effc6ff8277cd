"""What goes wrong below the storage, as one table: a reason and a remedy for each code, exception and errno."""

from __future__ import annotations

import contextlib
import errno
import random
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from taxidask.errors import StorageError
from taxidask.storage.requests import Requests, add

T = TypeVar("T")


class MissingError(StorageError):
    """Nothing is stored at the URL."""


class ChangedError(StorageError):
    """What is stored at the URL is not of the version that was asked for."""


class ConditionLost(Exception):  # noqa: N818 - not an error: the answer "no" of a conditional write
    """The object is not in the state that a conditional call asked for."""


class WrongRegionError(Exception):
    """A bucket is in another region than the one that was asked."""

    def __init__(self, region: str, asked: str) -> None:
        super().__init__(region, asked)
        self.region, self.asked = region, asked


_CREDENTIALS = "no credentials", "set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run on a role"
_DENIED = (
    "access denied",
    "check whose credentials are set and ask for s3:GetObject, s3:PutObject and s3:ListBucket on it",
)
_REJECTED = (
    "credentials not accepted",
    "check AWS_PROFILE, AWS_ACCESS_KEY_ID and the secret key, then log in again",
)
_EXPIRED = "credentials expired", "log in again (aws sso login) or renew the session token"
_CLOCK = "this machine's clock is off", "set its time, then try again"
_BUCKET = "no such bucket", "check the bucket's name, or make it: aws s3 mb s3://NAME"
_REGION = (
    "the bucket is in another region",
    "set AWS_DEFAULT_REGION to the bucket's region (and AWS_ENDPOINT_URL_S3, where it is set, to that region's)",
)
_BUSY = "the service is busy", "try again later, or use fewer workers"
_UNREACHABLE = "the service cannot be reached", "check the network, AWS_ENDPOINT_URL_S3 and the region"
_MISSING = "nothing is stored there", "check the name; list its folder"
_NO_FILES = "its folder takes no new files", "choose another folder"  # which is there, or was made just before
_WRITES = ("write", "create", "replace")
_FORBIDDEN = "permission denied", "check the owner and mode of the file and of its folder"

_SERVICE_CODES: dict[str, tuple[str, str]] = {
    "AccessDenied": _DENIED,
    "AllAccessDisabled": _DENIED,
    "AccountProblem": _DENIED,
    "403": _DENIED,
    "InvalidAccessKeyId": _REJECTED,
    "SignatureDoesNotMatch": _REJECTED,
    "XAdminUserNotFound": _REJECTED,  # versitygw's name for it
    "InvalidToken": _REJECTED,
    "ExpiredToken": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "RequestTimeTooSkewed": _CLOCK,
    "NoSuchBucket": _BUCKET,
    "InvalidBucketName": _BUCKET,
    "NoSuchKey": _MISSING,
    "404": _MISSING,
    "PermanentRedirect": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "301": _REGION,
    "SlowDown": _BUSY,
    "ServiceUnavailable": _BUSY,
    "InternalError": _BUSY,
    "RequestTimeout": _BUSY,
    "OperationAborted": _BUSY,
    "500": _BUSY,
    "502": _BUSY,
    "503": _BUSY,
    "504": _BUSY,
}
_ELSEWHERE = {code for code, cause in _SERVICE_CODES.items() if cause is _REGION} | {"400"}
_EXCEPTIONS: dict[str, tuple[str, str]] = {
    "NoCredentialsError": _CREDENTIALS,
    "PartialCredentialsError": _CREDENTIALS,
    "CredentialRetrievalError": _CREDENTIALS,
    "ProfileNotFound": ("the AWS profile does not exist", "check AWS_PROFILE and ~/.aws/config"),
    "ParamValidationError": ("S3 takes no such bucket or key", "check the URL: s3://bucket/key"),
    "NoRegionError": ("no region is set", "set AWS_DEFAULT_REGION"),
    "EndpointConnectionError": _UNREACHABLE,
    "ConnectTimeoutError": _UNREACHABLE,
    "ReadTimeoutError": _UNREACHABLE,
    "ConnectionClosedError": _UNREACHABLE,
    "HTTPClientError": _UNREACHABLE,
    "FSTimeoutError": _UNREACHABLE,
    "ClientPayloadError": _UNREACHABLE,
    "ServerDisconnectedError": _UNREACHABLE,
    "IncompleteRead": _UNREACHABLE,
    "ResponseParserError": _UNREACHABLE,
    "ConnectionError": _UNREACHABLE,
    "TimeoutError": _UNREACHABLE,
}
_ERRNOS: dict[int, tuple[str, str]] = {
    errno.ENOENT: _MISSING,
    errno.ENOTDIR: ("a part of its path is a file, not a folder", "check the path"),
    errno.EEXIST: ("a part of its path is a file, not a folder", "check the path"),
    errno.EISDIR: ("it is a folder, not a file", "name a file in it, or use folder/*.csv"),
    errno.EACCES: _FORBIDDEN,
    errno.EPERM: _FORBIDDEN,
    errno.EROFS: ("the disk is read-only", "choose a folder that can be written"),
    errno.ENOSPC: ("the disk is full", "free some space or choose another disk; nothing was lost"),
    errno.EDQUOT: ("the disk quota is used up", "free some space or choose another disk; nothing was lost"),
    errno.EFBIG: ("the file is larger than is allowed here", "raise the limit: ulimit -f unlimited; nothing was lost"),
    errno.EMFILE: ("too many open files", "raise the limit: ulimit -n 4096"),
    errno.ENAMETOOLONG: ("the name is too long", "use a shorter name"),
    errno.EIO: ("the disk failed", "check the disk and its log"),
}


def service_code(error: BaseException) -> str | None:
    """Code of a service's answer; s3fs keeps the original as the cause of a builtin error."""
    for one in (error, error.__cause__):
        response = getattr(one, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code", ""))
    return None


def _status(error: BaseException) -> int:
    """HTTP status of a service's answer; 0 where there is none."""
    for one in (error, error.__cause__):
        response = getattr(one, "response", None)
        if isinstance(response, dict):
            return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    return 0


def _cause(error: BaseException) -> tuple[str, str] | None:
    code = service_code(error)
    if code is not None:
        status = _status(error)
        busy = status == 429 or (500 <= status < 600 and status != 501)  # services have names of their own for it
        return _SERVICE_CODES.get(code, _BUSY if busy else None)
    for one in filter(None, (error, error.__cause__)):
        for kind in type(one).__mro__:
            if kind.__name__ in _EXCEPTIONS:
                return _EXCEPTIONS[kind.__name__]
    return _ERRNOS.get(error.errno or 0) if isinstance(error, OSError) else None


def worth_retrying(error: BaseException) -> bool:
    return _cause(error) in (_BUSY, _UNREACHABLE)


def retried(fn: Callable[[], T], op: str, url: str, *, needs: int = 0, attempts: int, deadline: float) -> T:
    """Do something, again where that can help, as long as attempts and seconds last; what is wrong then is explained.

    `needs` is the number of bytes about to be written, for the message of a full disk.
    """
    started = time.monotonic()
    for attempt in range(1, attempts + 1):
        try:
            return fn()
        except (StorageError, ConditionLost):
            raise
        except Exception as error:
            wait = min(0.1 * 2**attempt, 5.0) * random.uniform(0.5, 1.0)  # noqa: S311 - spreads retries
            late = time.monotonic() - started + wait > deadline
            if attempt == attempts or late or not worth_retrying(error):
                raise explained(error, op, url, needs=needs, attempts=attempt) from error
            add(Requests(busy=1) if _cause(error) is _BUSY else Requests(lost=1))
            time.sleep(wait)
    raise AssertionError("unreachable")


def explained(error: Exception, op: str, url: str, *, needs: int, attempts: int) -> Exception:
    cause = _cause(error)
    if cause in (None, _REGION) and (region := _region(error)):
        cause = f"the bucket is in {region[0]}{region[1]}", f"set AWS_DEFAULT_REGION={region[0]}"
    if cause is None and isinstance(error, ValueError) and str(error).startswith("Invalid endpoint"):
        cause = (
            f"its service has no such address: {error}",
            "write AWS_ENDPOINT_URL_S3 as http://host:port, or unset it",
        )
    if cause is None:
        if not isinstance(error, OSError) and service_code(error) is None:
            return error  # a mistake in the program, not of the storage
        code = service_code(error)
        return StorageError(f"cannot {op} {url}: {code + ': ' if code else ''}{error}")
    if cause is _MISSING and op in _WRITES and service_code(error) is None:
        cause = _NO_FILES
    reason, remedy = cause
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        free, disk = _disk(url)
        if disk and needs > free:
            reason += f": {needs:,} bytes needed, {free:,} free"
        elif disk:  # what was written of it has been removed again
            reason += f", or was with a part of this file: {free:,} bytes are free now"
        remedy = remedy.replace("free some space", f"free some space on {disk}") if disk else remedy
    if cause is _UNREACHABLE:
        reason += f" ({error})"
    if attempts > 1:
        reason += f", tried {attempts} times"
    kind = MissingError if cause is _MISSING else StorageError
    return kind(f"cannot {op} {url}: {reason}", remedy)


@contextlib.contextmanager
def told(op: str, url: str) -> Iterator[None]:
    """Explain what goes wrong with a file that is not reached through a `Storage`."""
    try:
        yield
    except OSError as error:
        raise explained(error, op, url, needs=0, attempts=1) from error


def _region(error: BaseException) -> tuple[str, str] | None:
    """The region that a bucket is in, as the service or a look at it told, and which was asked."""
    if isinstance(error, WrongRegionError):
        return error.region, f", and {error.asked} was asked"
    for one in (error, error.__cause__):
        response = getattr(one, "response", None)
        if isinstance(response, dict):
            headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
            told = response.get("Error", {}).get("Region") or headers.get("x-amz-bucket-region")
            if told and service_code(error) in _ELSEWHERE:
                return str(told), ""
    return None


def _disk(url: str) -> tuple[int, str]:
    """Bytes free on the disk that a local file is or would be on, and where that is mounted; 0 and "" of others."""
    path = Path(url.removeprefix("file://"))
    if not path.is_absolute():
        return 0, ""
    folder = next(one for one in path.parents if one.exists())
    disk = next(one for one in (folder, *folder.parents) if one.is_mount())
    return shutil.disk_usage(folder).free, str(disk)
