"""Names of what is stored: what kind a URL is of, its one canonical form, and which no storage can be asked for."""

from __future__ import annotations

import os
import re

from taxidask.credentials import REMEDY, credential_in
from taxidask.errors import StorageError

# Old buckets have capital letters, underscores and up to 255 characters; what has colons is an access point.
_BUCKET = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{,253}[A-Za-z0-9])?|arn:aws[a-z-]*:s3[a-z-]*:[A-Za-z0-9:.-]+")
_LOST_SLASH = re.compile(r"(file|s3[an]?|memory|https?|gs|ftp):/(?!/)", re.IGNORECASE)


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
    text = text_of(url)
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
        check_bucket(text, rest.split("/", 1)[0])
    return f"{kind}://{rest}"


def text_of(url: str | os.PathLike[str]) -> str:
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


def check_bucket(text: str, bucket: str) -> None:
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
