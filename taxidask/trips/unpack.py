"""The unpacked bytes of gzip and zstd, across members and frames, in bounded memory whatever they unpack to."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from taxidask.errors import SourceError

_PIECE = 256 << 10
_UNPACKED = 1 << 20
_SKIPPABLE = b"\x2a\x4d\x18"  # after a byte from 0x50 to 0x5f: a zstd frame without data, with which some begin


@dataclass(frozen=True)
class UnpackLimit:
    """How much a packed file may unpack to: both have to be exceeded for it to be refused.

    Parameters
    ----------
    size : int
        Bytes.
    ratio : float
        Times the bytes that it has packed; trips packed by gzip or zstd have about ten.
    """

    size: int = 1 << 30
    ratio: float = 200.0

    def check(self, url: str, given: int, packed: int) -> None:
        """Raise for a file of which so many bytes became so many."""
        if given > self.size and given > self.ratio * packed:
            raise SourceError(
                f"{url} unpacks to more than {self.ratio:g} times its bytes and {self.size:,} bytes: {packed:,} of its "
                f"bytes became {given:,}",
                "unpack it and look what it is; if it is trips, raise the setting unpack_ratio or unpack_size",
            )


UNPACK_LIMIT = UnpackLimit()


class Packed(Protocol):
    """Bytes in order, and how far they were read."""

    url: str
    size: int
    at: int

    def read_into(self, view: memoryview) -> int:
        """Fill a view as far as bytes are at hand; 0 at the end."""


def compression_of(head: bytes) -> str | None:
    """What a file is packed with, by its first bytes."""
    if head[:2] == b"\x1f\x8b":
        return "gzip"
    skippable = head[1:4] == _SKIPPABLE and 0x50 <= head[0] <= 0x5F
    return "zstd" if skippable or head[:4] == b"\x28\xb5\x2f\xfd" else None


class Unpacked:
    """The unpacked bytes of a gzip or zstd source, of all its members.

    Parameters
    ----------
    packed : Packed
        The compressed bytes.
    compression : {"gzip", "zstd"}
    limit : UnpackLimit
        How much they may become.
    """

    def __init__(self, packed: Packed, compression: str, limit: UnpackLimit = UNPACK_LIMIT) -> None:
        self._packed, self._compression, self._limit = packed, compression, limit
        self._members = _Gzip(packed) if compression == "gzip" else _Zstd(packed)
        self.given = 0

    def read_into(self, view: memoryview) -> int:
        """Fill a view as far as bytes are at hand; 0 at the end of the last member."""
        try:
            count = self._members.read_into(view)
        except (zlib.error, EOFError, OSError, pa.ArrowException) as error:
            raise SourceError(
                f"{self._packed.url} is a truncated or damaged {self._compression} file: readable to byte "
                f"{self._packed.at:,} of {self._packed.size:,} ({self.given:,} bytes unpacked), then: {error}",
                "download it again",
            ) from error
        self.given += count
        self._limit.check(self._packed.url, self.given, self._packed.at)
        return count

    def skip(self, stop: int) -> None:
        """Unpack up to an offset without handing out the bytes."""
        scratch = memoryview(bytearray(1 << 16))
        while self.given < stop and self.read_into(scratch[: stop - self.given]):
            pass


class _Gzip:
    """Members one after another; bytes of zero after the last are padding."""

    def __init__(self, packed: Packed) -> None:
        self._packed = packed
        self._buffer = memoryview(bytearray(_PIECE))
        self._tail = b""
        self._ready = memoryview(b"")
        self._member: Any = None

    def read_into(self, view: memoryview) -> int:
        while not self._ready:
            if not self._tail:
                count = self._packed.read_into(self._buffer)
                self._tail = bytes(self._buffer[:count])
                if not count:
                    if self._member is not None:
                        raise EOFError("it ends before its last member does")
                    return 0
            if self._member is None:
                if not self._tail.strip(b"\0"):
                    self._tail = b""
                    continue
                self._member = zlib.decompressobj(31)
            self._ready = memoryview(self._member.decompress(self._tail, _UNPACKED))
            self._tail = self._member.unconsumed_tail
            if self._member.eof:
                self._tail = self._member.unused_data
                self._member = None
        count = min(len(view), len(self._ready))
        view[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count


class _Zstd:
    """Frames one after another, as Arrow unpacks them: piece by piece also where a few bytes unpack to very many."""

    def __init__(self, packed: Packed) -> None:
        self._stream = pa.CompressedInputStream(pa.PythonFile(_File(packed), "r"), "zstd")

    def read_into(self, view: memoryview) -> int:
        return int(self._stream.readinto(view))


class _File:
    """Packed bytes as Arrow reads them."""

    closed = False

    def __init__(self, packed: Packed) -> None:
        self._packed = packed

    def read(self, size: int = _PIECE) -> bytes:
        buffer = bytearray(min(size, _PIECE))
        return bytes(memoryview(buffer)[: self._packed.read_into(memoryview(buffer))])

    def close(self) -> None:
        """Whoever opened it closes it."""
