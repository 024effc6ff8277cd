"""Bytes of a source in order: byte ranges with their content hash, chunks of whole rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import xxhash

from taxidask.errors import SourceError
from taxidask.storage import Storage
from taxidask.trips.kernels.parser import CHUNK_BYTES, PADDING, last_line_end

from .eras import LONGEST_ROW
from .sources import RANGE_BYTES, Block

ReadInto = Callable[[memoryview], int]
_BEYOND_BYTES = 64 << 10


class RangeReader:
    """The bytes of a block in order, hashed on the way, and as many after it as are asked for.

    Parameters
    ----------
    block : Block
        What to read and hash.
    storage : Storage
        Where.
    start : int
        The first byte to read: the block's, or one before it, which is not hashed.
    hashed : bool
        Whether to hash at all.

    Attributes
    ----------
    content : list of str
        xxh3_128 of every 8 MiB range of the block read so far to its end.
    """

    def __init__(self, block: Block, storage: Storage, *, start: int, hashed: bool = True) -> None:
        self.url, self.size, self.version = block.source.url, block.source.size, block.source.version
        self.start, self.stop, self.at = block.start, block.stop, start
        self.content: list[str] = []
        self._storage, self._hashed = storage, hashed
        self._hash = xxhash.xxh3_128()
        self._piece = memoryview(b"")
        local = "://" not in self.url
        try:
            self._file = Path(self.url).open("rb", buffering=0) if local else None  # noqa: SIM115 - closed by close()
        except OSError as error:
            raise SourceError(f"{self.url} cannot be read: {error.strerror}", "check the file") from error
        if self._file:
            self._file.seek(start)

    def close(self) -> None:
        """Let go of the file."""
        if self._file:
            self._file.close()

    def read_into(self, view: memoryview) -> int:
        """Fill a view as far as bytes are at hand; 0 at the end of the file."""
        want = min(len(view), self.size - self.at)
        if want <= 0:
            return 0
        if self._file:
            count = self._file.readinto(view[:want]) or 0
        else:
            if not self._piece:
                # to the next border of the hash's ranges: few requests, each of them whole
                border = self.at - self.at % RANGE_BYTES + RANGE_BYTES
                stop = min(border, self.size) if self.at < self.stop else min(self.at + _BEYOND_BYTES, self.size)
                self._piece = memoryview(self._storage.read(self.url, self.at, stop, version=self.version))
            count = min(want, len(self._piece))
            view[:count] = self._piece[:count]
            self._piece = self._piece[count:]
        if count == 0:
            raise SourceError(
                f"{self.url} ends at byte {self.at:,} of {self.size:,}", "it changed while it was read; read it again"
            )
        if self._hashed:
            self._update(view[:count])
        self.at += count
        return count

    def skip(self, stop: int) -> None:
        """Read and hash up to an offset without handing out the bytes."""
        scratch = memoryview(bytearray(min(1 << 20, max(stop - self.at, 0))))
        while self.at < stop and self.read_into(scratch[: stop - self.at]):
            pass

    def finish(self) -> None:
        """Read and hash what is left of the block."""
        if self._hashed:
            self.skip(self.stop)

    def _update(self, view: memoryview) -> None:
        first, last = max(self.at, self.start), min(self.at + len(view), self.stop)
        while first < last:
            border = min(first - first % RANGE_BYTES + RANGE_BYTES, self.stop)
            cut = min(border, last)
            self._hash.update(view[first - self.at : cut - self.at])
            if cut == border:
                self.content.append(self._hash.hexdigest())
                self._hash.reset()
            first = cut


def row_chunks(
    read_into: ReadInto, at: int, *, seek: bool, limit: int | None, url: str
) -> Iterator[tuple[np.ndarray, int, int]]:
    """Cut a stream of bytes into chunks of whole rows.

    Parameters
    ----------
    read_into : callable
        Fills a view with the bytes that follow, at the start those at offset `at`; 0 at the end.
    at : int
        Offset of the first byte.
    seek : bool
        Whether the first bytes, up to and with a line end, belong to a row that starts before.
    limit : int or None
        Rows that start from here on are not ours.
    url : str
        The file, for messages.

    Yields
    ------
    tuple
        The buffer, how many of its bytes are whole rows, and the offset of its first one; valid until the next.
    """
    size = CHUNK_BYTES
    text = np.empty(size + PADDING, np.uint8)
    filled, base = 0, at
    while True:
        beyond = limit is not None and base + filled >= limit
        if beyond and (seek or not filled):
            return
        if filled == size:
            if size >= LONGEST_ROW:
                raise SourceError(
                    f"{url} has a row of more than {size >> 20} MiB at byte {base:,}", "trips are CSV with short rows"
                )
            size *= 2
            text = np.concatenate([text[:filled], np.empty(size - filled + PADDING, np.uint8)])
        # where it is larger for a long row, what follows that row is not for the same chunk
        room = min(size, filled + (_BEYOND_BYTES if beyond else CHUNK_BYTES))
        if limit is not None and not beyond:
            room = min(room, limit - base)
        # the room is filled before anything is parsed: a slow source hands out small pieces
        before = filled
        view = text.data
        while filled < room and (count := read_into(view[filled:room])):
            filled += count
        ended = filled < room
        if ended and filled and not seek and text[filled - 1] != 10:
            text[filled] = 10  # a last line without a line end; the padding has room for it
            filled += 1
        if seek:
            found = bytes(text[:filled]).find(b"\n") + 1
            if not found:
                if ended:
                    return
                base, filled = base + filled, 0
                continue
            text[: filled - found] = text[found:filled]
            base, filled, seek, before = base + found, filled - found, False, 0
            if ended and filled and text[filled - 1] != 10:
                text[filled] = 10
                filled += 1
            if limit is not None and base >= limit:
                return
        if beyond:
            cut = bytes(text[before:filled]).find(b"\n") + 1 + before
            cut = -1 if cut == before else cut
        else:
            cut = last_line_end(text.ctypes.data, before, filled)
        if cut > 0:
            yield text, cut, base
            if beyond:
                return
            rest = filled - cut
            left = text[cut:filled].copy()
            if size > CHUNK_BYTES and rest < CHUNK_BYTES:  # it was larger for one long row
                size = CHUNK_BYTES
                text = np.empty(size + PADDING, np.uint8)
            text[:rest] = left
            base, filled = base + cut, rest
        if ended:
            return
