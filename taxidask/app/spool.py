"""A file from a visitor's browser, kept on disk as it arrives: however large it is, the server holds a piece of it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import panel_material_ui as pmui
import param

PIECE = 5 << 20
"""Bytes of a piece; they have to pass through the web socket, which takes 20 MB at once."""


@dataclass
class Arrived:
    """A file as far as it has arrived.

    Attributes
    ----------
    name : str
        What its owner calls it, which is no path of ours.
    file : temporary file
        Deleted when it is closed.
    bytes, pieces : int
        That have arrived.
    """

    name: str
    file: Any
    bytes: int = 0
    pieces: int = 0


class FileInput(pmui.FileInput):
    """Material's, but its pieces go to disk instead of memory, and the server minds the limit, not the browser alone.

    Parameters
    ----------
    on_begin : callable
        Called when a file is on its way.
    on_piece : callable
        Called with an `Arrived` and the pieces it will have.
    on_refused : callable
        Called with why a file is not taken.
    largest : int
        Bytes.
    """

    arrived = param.Parameter(default=None, doc="The last file that is there as a whole, an `Arrived`.")

    _rename = {"arrived": None}  # noqa: RUF012 - Panel's

    def __init__(
        self,
        *,
        on_begin: Callable[[], None],
        on_piece: Callable[[Arrived, int], None],
        on_refused: Callable[[str], None],
        largest: int,
        **params: Any,
    ) -> None:
        super().__init__(chunk_size=PIECE, max_file_size=largest, **params)
        self.largest = largest
        self._on_begin, self._on_piece, self._on_refused = on_begin, on_piece, on_refused
        self._coming: Arrived | None = None
        self._refused = False

    def _handle_msg(self, msg: Any) -> None:
        if msg["status"] == "initializing":
            self._drop()
            self._refused = False
            self._on_begin()
        elif msg["status"] == "error":  # the browser refused it
            self._refuse(str(msg.get("error"))[:500])
        elif not self._refused:
            super()._handle_msg(msg)

    def _process_chunk(self, msg: dict[str, Any]) -> None:
        data = bytes(msg["data"])
        if self._coming is None:
            self._coming = Arrived(str(msg["name"]), tempfile.NamedTemporaryFile())  # noqa: SIM115 - closed later
        coming = self._coming
        if coming.bytes + len(data) > self.largest:
            self._refuse(f"it has more than {self.largest >> 20} MiB")
        elif msg["chunk"] != coming.pieces + 1 or msg["name"] != coming.name:
            self._refuse("its pieces did not arrive in order")
        else:
            coming.file.write(data)
            coming.bytes, coming.pieces = coming.bytes + len(data), coming.pieces + 1
            self._on_piece(coming, int(msg["total_chunks"]))

    def _flush_buffer(self) -> None:
        coming, self._coming = self._coming, None
        if coming is None:
            self._refuse("it is empty")
            return
        coming.file.flush()
        self.arrived = coming

    def _drop(self) -> None:
        if self._coming is not None:
            self._coming.file.close()
        self._coming = None

    def _refuse(self, why: str) -> None:
        self._drop()
        self._refused = True
        self._send_msg({"status": "error", "error": why})
        self._on_refused(why)
