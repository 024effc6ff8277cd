"""The newest report, served as it is: one file, to those who may see the pages, and no other file."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bokeh.server.views.auth_request_handler import AuthRequestHandler
from tornado.web import authenticated

from taxidask.errors import ReportError, TaxidaskError
from taxidask.storage import MissingError, default_storage

if TYPE_CHECKING:
    from taxidask.app.state import AppState
    from taxidask.results import Store

ADDRESS = "/report.pdf"
_SECONDS = 30.0
_MOST_BYTES = 64 << 20


@dataclass(frozen=True)
class Place:
    """Where the report is of the run that published last, and in which version.

    Attributes
    ----------
    run : str
        Empty where none has published.
    url : str
    size : int
        0 where there is no file.
    version : str
    """

    run: str = ""
    url: str = ""
    size: int = 0
    version: str = ""


def place_of(store: Store) -> Place:
    """Look where the report is.

    Raises
    ------
    StoreError, StorageError
        When the store or the report's place cannot be asked.
    """
    run = store.get_latest().get("run")
    item = store.get_run(run) if run else None
    if item is None:
        return Place()
    made = ((item.get("stages") or {}).get("report") or {}).get("outputs") or {}
    url = made.get("report") or (item.get("settings") or {}).get("report") or ""
    try:
        found = default_storage().stat(url) if url.lower().endswith(".pdf") else None
    except MissingError:
        found = None
    return Place(item["id"], url, found.size if found else 0, found.version if found else "")


def read(store: Store) -> bytes:
    """The report's bytes.

    Raises
    ------
    ReportError
        When there is none, or the file at its place is no PDF.
    """
    place = place_of(store)
    if not place.size:
        raise ReportError("there is no report yet", "build it on the Report page, or with: taxidask report")
    if place.size > _MOST_BYTES:
        raise ReportError(f"the report is larger than {_MOST_BYTES >> 20} MiB", f"open it at {place.url}")
    found = default_storage().read(place.url)
    if not found.startswith(b"%PDF-"):
        raise ReportError(f"the file {place.url} is no PDF", "build the report anew")
    return found


class ReportFile(AuthRequestHandler):
    """The PDF, to be seen or (with ``?download``) kept."""

    def initialize(self, state: Callable[[], AppState]) -> None:
        """Take what knows the store."""
        self._state = state

    @authenticated
    async def get(self) -> None:
        """Send it."""
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("X-Frame-Options", "SAMEORIGIN")
        try:
            pdf = await asyncio.wait_for(asyncio.to_thread(read, self._state().store), _SECONDS)
        except (TaxidaskError, TimeoutError) as error:
            self.set_status(404 if isinstance(error, ReportError) else 503)
            self.set_header("Content-Type", "text/plain; charset=utf-8")
            self.finish(f"{error or 'the report could not be read in time'}\n")
            return
        self.set_header("Content-Type", "application/pdf")
        kind = "attachment" if self.get_query_argument("download", None) is not None else "inline"
        self.set_header("Content-Disposition", f'{kind}; filename="taxidask-report.pdf"')
        self.finish(pdf)


def route(state: Callable[[], AppState]) -> tuple[str, Any, dict[str, Any]]:
    """What the server has to know to serve it."""
    return ADDRESS, ReportFile, {"state": state}
