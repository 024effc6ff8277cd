"""Which files are trips: from names, patterns and folders to sources with their era, month and blocks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from os import PathLike, fsencode, fspath
from os.path import isdir
from typing import cast

import pyarrow.parquet as pq

from taxidask.errors import SettingsError, SourceError, StorageError, TaxidaskError
from taxidask.storage import MissingError, Stat, Storage, absolute, default_storage

from .eras import HEAD_BYTES, LONGEST_ROW, Era, detect, detect_columns, tells
from .typed import check_types
from .unpack import UNPACK_LIMIT, Unpacked, UnpackLimit, compression_of

RANGE_BYTES = 8 << 20
"""Bytes of one range of the content hash; block sizes are multiples of it."""
LAKE = "lake.json"
"""What a folder has that is a lake: its parts are no sources."""
LOOKS = 16  # files looked at at the same time: all of the time is waiting
# also what has to be unpacked first, and is told so
_SUFFIX = re.compile(r"\.(csv|csv\.(gz|zst|bz2|xz|zip)|parquet)$", re.IGNORECASE)
_MONTH = re.compile(r"(?<!\d)(?<!\d-)((?:19|20)\d\d)-(0[1-9]|1[0-2])(?!\d)(?!-\d)")
_FOREIGN = {
    b"PK\x03\x04": ("a zip archive", "unpack it: unzip FILE"),
    b"BZh": ("bzip2", "unpack it: bunzip2 FILE, or compress with gzip or zstd"),
    b"\xfd7zXZ": ("xz", "unpack it: unxz FILE, or compress with gzip or zstd"),
    b"\xff\xfe": ("UTF-16 text", "save it as UTF-8"),
    b"\xfe\xff": ("UTF-16 text", "save it as UTF-8"),
}


@dataclass(frozen=True)
class Source:
    """One input file.

    Parameters
    ----------
    url : str
        Where it is.
    size : int
        Its bytes.
    version : str
        Changes whenever its bytes may have changed.
    month : str or None
        `YYYY-MM` of its name or as given; None leaves the month unchecked.
    era : Era
        Its layout.
    format : {"csv", "parquet"}
    compression : {None, "gzip", "zstd"}
    data_start : int
        The byte after header and blank line (after decompression).
    unpack : UnpackLimit
        How much it may unpack to.
    """

    url: str
    size: int
    version: str
    month: str | None
    era: Era
    format: str
    compression: str | None
    data_start: int
    unpack: UnpackLimit = UNPACK_LIMIT

    @property
    def splittable(self) -> bool:
        """Whether byte ranges of it can be read on their own."""
        return self.format == "csv" and self.compression is None

    def blocks(self, block_size: int = 64 << 20) -> list[Block]:
        """Byte ranges that together cover the file; one for a file that cannot be split.

        Parameters
        ----------
        block_size : int
            Bytes of a block, a multiple of 8 MiB.
        """
        if block_size <= 0 or block_size % RANGE_BYTES:
            raise ValueError(f"block_size must be a multiple of 8 MiB, not {block_size} bytes")
        if not self.splittable:
            return [Block(self, 0, self.size)]
        return [Block(self, start, min(start + block_size, self.size)) for start in range(0, self.size, block_size)]


@dataclass(frozen=True)
class Block:
    """A byte range of a source: the rows that start in it, the unit of work."""

    source: Source
    start: int
    stop: int


@dataclass(frozen=True)
class Unusable:
    """A file or a name behind which there are no trips that can be read, and why."""

    url: str
    error: TaxidaskError


Name = str | PathLike[str]


def month_of(url: str) -> str | None:
    """The one `YYYY-MM` in a file's name; None where there is none, or several.

    Examples
    --------
    >>> month_of("s3://trips/2014/yellow_tripdata_2015-01.csv.gz"), month_of("trips.csv")
    ('2015-01', None)
    """
    found = {"-".join(match) for match in _MONTH.findall(url.replace("\\", "/").rpartition("/")[2])}
    return found.pop() if len(found) == 1 else None


def find_sources(
    sources: str | PathLike[str] | Iterable[str | PathLike[str]],
    *,
    storage: Storage | None = None,
    month: str | None = None,
) -> list[Source]:
    """Find the files of trips behind names, patterns and folders, and look at the beginning of each.

    Parameters
    ----------
    sources : str, path or iterable of them
        URLs, patterns (`*`, `?`, `**`) and folders (their `.csv`, `.csv.gz`, `.csv.zst` and `.parquet`, at any depth).
    storage : Storage, optional
        Where the URLs are read; this process's environment decides by default.
    month : str, optional
        The month of every source, `YYYY-MM`; by default the one in its name.

    Returns
    -------
    list of Source
        In the order given; a folder's or pattern's files by name; a file named twice is listed once.

    Raises
    ------
    SourceError
        A file is missing, empty, a web page or no trips; a folder or pattern holds none.
    SettingsError
        `month` is no month.
    """
    found = survey(sources, storage=storage, month=month)
    raise_unusable([one.error for one in found if isinstance(one, Unusable)], len(found))
    return [one for one in found if isinstance(one, Source)]


def survey(
    sources: Name | Iterable[Name | Source | Unusable],
    *,
    storage: Storage | None = None,
    month: str | None = None,
    known: Callable[[Stat], Source | None] | None = None,
    unpack: UnpackLimit = UNPACK_LIMIT,
) -> list[Source | Unusable]:
    """Like `find_sources`, but what cannot be used stands among the others, with its error; none is raised for it.

    What an earlier call found may be among the names, and is taken as it is. At a file that is `known`, by the version
    that a listing gave, nobody looks again.
    """
    storage = storage or default_storage()
    if month is not None and not (isinstance(month, str) and re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", month)):
        raise SettingsError(f"month is {month!r:.100}", "write it as YYYY-MM, like 2015-01")
    if not isinstance(sources, Iterable) or isinstance(sources, (str, bytes, PathLike)):
        sources = [cast("Name", sources)]
    names = list(sources)
    if not names:
        raise SourceError("no source was named", "name files, patterns or folders of trips")

    def expand(name: Name | Source | Unusable) -> list[Stat | Source | Unusable]:
        if isinstance(name, (Source, Unusable)):
            return [name]
        if not isinstance(name, (str, PathLike)) or not isinstance(text := fspath(name), str):
            raise SourceError(
                f"{name!r:.100} is no name of a source", "name files, patterns or folders of trips as text"
            )
        try:
            _check_name(text)
            return list(_expand(text, storage))
        except TaxidaskError as error:
            return [Unusable(_printable(text), error)]

    def look(one: Stat | Source | Unusable) -> Source | Unusable:
        if not isinstance(one, Stat):
            return one
        try:
            _check_name(one.url)
            if known is not None and (source := known(one)) is not None:
                return replace(source, unpack=unpack)
            return look_at(one, storage=storage, month=month, unpack=unpack)
        except TaxidaskError as error:
            return Unusable(_printable(one.url), error)

    with ThreadPoolExecutor(LOOKS) as pool:
        distinct: dict[str, Stat | Source | Unusable] = {}
        for one in (one for several in pool.map(expand, names) for one in several):
            distinct.setdefault(one.url, one)
        return list(pool.map(look, distinct.values()))


def raise_unusable(errors: list[TaxidaskError], of: int, remedy: str = "mend them or leave them out") -> None:
    """Raise what is wrong with some of so many sources; nothing if nothing is."""
    if len(errors) == 1:
        raise errors[0]
    if errors:
        listed = "; ".join(str(error) for error in errors)
        raise SourceError(f"{len(errors)} of {of} sources cannot be used: {listed}", remedy)


def _printable(name: str) -> str:
    """A name with the bytes that are not UTF-8 as escapes: the others' reports and stores take text only."""
    try:
        return fsencode(name).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half of a pair, which stands for no byte either
        return name.encode("utf-8", "backslashreplace").decode()


def _check_name(name: str) -> None:
    if (shown := _printable(name)) != name:
        raise SourceError(f"the name of {shown} is not UTF-8", "rename it")


def _expand(name: str, storage: Storage) -> list[Stat | Unusable]:
    """The files behind a name, and folders among them that may not be listed: these keep none of the others out."""
    closed: list[str] = []
    found = _files(name, storage, closed)
    return [*found, *(Unusable(_printable(folder), _closed(folder)) for folder in dict.fromkeys(closed))]


def _closed(folder: str) -> SourceError:
    return SourceError(f"the folder {folder} may not be listed", f"allow it, chmod u+rx {folder}, or leave it out")


def _files(name: str, storage: Storage, closed: list[str]) -> list[Stat]:
    url = absolute(name)
    if re.search(r"[*?\[]", name) and not _is_folder(url):
        try:
            return [storage.stat(url)]  # a name may hold these characters itself
        except (MissingError, StorageError):
            found = storage.glob(url, closed=closed)
        if not found and not closed:
            raise SourceError(f"no file matches {name}", "check the pattern; quote it from the shell")
        return found
    try:
        return [storage.stat(url)]
    except MissingError:
        pass
    except StorageError:
        if not _is_folder(url):
            raise
    listed = storage.list(url, closed=closed)
    lakes = {stat.url.removesuffix(LAKE) for stat in listed if stat.url.endswith(f"/{LAKE}")}
    if lakes:
        listed = [stat for stat in listed if not any(stat.url.startswith(lake) for lake in lakes)]
    found = [stat for stat in listed if _SUFFIX.search(stat.url)]
    if found or closed:
        return found
    if listed or _is_folder(url):
        raise SourceError(
            f"the folder {name} has no trip files ({len(listed)} other files)",
            "it needs .csv, .csv.gz, .csv.zst or .parquet files",
        )
    if storage.exists(f"{url}/"):  # what consoles make for a folder in a bucket
        raise SourceError(f"the folder {name} is empty", "copy trip files there, or check its name")
    raise SourceError(f"{name} does not exist", "check its name, or download the month first")


def _is_folder(url: str) -> bool:
    return "://" not in url and isdir(url)  # noqa: PTH112 - which says no of a name that no file can have


def look_at(stat: Stat, *, storage: Storage, month: str | None = None, unpack: UnpackLimit = UNPACK_LIMIT) -> Source:
    """The source a file is: its format, compression and era, told from its first bytes and never from its name."""
    url = stat.url
    if not stat.version:
        stat = storage.stat(url)
    if stat.size == 0:
        raise SourceError(f"{url} is empty (0 bytes)", "download it again")
    head = storage.read(url, 0, min(stat.size, HEAD_BYTES), version=stat.version)
    month = month or month_of(url)
    if head.startswith(b"PAR1"):
        return Source(url, stat.size, stat.version, month, _parquet_era(stat, storage), "parquet", None, 0)
    for magic, (what, remedy) in _FOREIGN.items():
        if head.startswith(magic):
            raise SourceError(f"{url} is {what}", remedy)
    compression = compression_of(head)
    text, ended = _beginning(_Pieces(stat, storage, head), compression)
    for magic, (what, _) in {b"PAR1": ("Parquet", ""), **_FOREIGN}.items():
        if compression and text.startswith(magic):
            raise SourceError(f"{url} is {what} inside {compression}", "unpack it")
    era, start = detect(text, url, ended=ended)
    return Source(url, stat.size, stat.version, month, era, "csv", compression, start, unpack)


class _Pieces:
    """A file's bytes from its beginning, the first of which are there already; each piece larger than the last."""

    def __init__(self, stat: Stat, storage: Storage, head: bytes) -> None:
        self.url, self.size, self.version, self.at = stat.url, stat.size, stat.version, 0
        self._storage = storage
        self._piece, self._start = head, 0

    def read_into(self, view: memoryview) -> int:
        if self.at == self._start + len(self._piece) and self.at < self.size:
            stop = min(self.at + min(4 * len(self._piece), RANGE_BYTES), self.size)
            self._start = self.at
            self._piece = self._storage.read(self.url, self.at, stop, version=self.version)
        piece = self._piece[self.at - self._start :][: len(view)]
        view[: len(piece)] = piece
        self.at += len(piece)
        return len(piece)


def _beginning(pieces: _Pieces, compression: str | None) -> tuple[bytes, bool]:
    """The first bytes, unpacked, enough to tell the layout; and whether these are all."""
    source = Unpacked(pieces, compression) if compression else pieces
    text, filled = bytearray(HEAD_BYTES), 0
    while True:
        while filled < len(text):
            try:
                count = source.read_into(memoryview(text)[filled:])
            except SourceError:
                if b"\n" not in text[:filled].strip():
                    raise
                return bytes(text[:filled]), False  # what breaks after the header is said when it is read
            if not count:
                return bytes(text[:filled]), True
            filled += count
        if tells(bytes(text), pieces.url) or filled > LONGEST_ROW:
            return bytes(text), False
        text += bytes(min(7 * filled, LONGEST_ROW + HEAD_BYTES - filled))


def _parquet_era(stat: Stat, storage: Storage) -> Era:
    url = stat.url
    try:
        with storage.open(url, size=stat.size, version=stat.version) as file:
            schema = pq.read_schema(file)
    except (OSError, ValueError) as error:
        raise SourceError(f"{url} is no readable Parquet file: {error}", "download it again") from error
    era = detect_columns(schema.names, url)
    check_types(schema, era, url)
    return era
