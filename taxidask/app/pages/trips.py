"""The Trips page: ask by six filters and dates, look, take along what matches, and add trips."""

from __future__ import annotations

import asyncio
import html
import io
import logging
import tempfile
from collections.abc import Callable, Hashable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import panel as pn
import panel_material_ui as pmui

from taxidask.app import style
from taxidask.app.adding import LONGEST, Form, Upload, flow, payment_select, text_input
from taxidask.app.shell import AppPage
from taxidask.asking import Answer, ask_trips, question, save_trips
from taxidask.asking.filters import PAYMENTS
from taxidask.errors import TaxidaskError
from taxidask.lake import Lake
from taxidask.words import command, quantity

log = logging.getLogger(__name__)

ROWS = 25
"""Trips of a page of the table."""
PAGES = 400
"""Pages that can be leafed through: the first 10,000 trips; a download has all."""
MOST_SAVED = 1_000_000
"""Trips of a download, which passes through the visitor's connection; the command writes more."""
KEEP_SECONDS = 30.0
"""How long an answer serves those who only look on; who asks gets one of that moment."""
LAKE_SECONDS = 600.0
"""How long what the lake has of a question serves, while its files are the same."""
MOST_KEPT = 1_000
"""Trips of the lake that are kept for that; whoever leafs further waits."""
_HINT = (
    "<p>Numbers are a value or a range with its ends: <code>2</code>, <code>1..3</code>, <code>20..</code>, "
    "<code>..5</code>. Times are New York’s: <code>2015-01-31</code> or <code>2015-01-31 18:00</code>.</p>"
)
FILTERS = {
    "start": ("From", "2015-01-31 18:00"),
    "end": ("Before", "2015-02-01"),
    "passengers": ("Passengers", "2 or 1..3"),
    "tip": ("Tip, USD", "5.. or 0"),
    "distance": ("Distance, miles", "..2.5"),
    "fare": ("Fare, USD", "20..50"),
    "vendor": ("Vendor", "1 or CMT, VTS"),
}
"""Filters that are typed, by their name in the address: what they are called, and an example."""
COLUMNS = [
    *("pickup_datetime", "dropoff_datetime", "passenger_count", "trip_distance", "fare_amount", "tip_amount"),
    *("payment_type", "vendor_id", "pickup_location_id", "dropoff_location_id"),
    *("pickup_longitude", "pickup_latitude", "dropoff_longitude", "dropoff_latitude"),
]


class Trips(AppPage):
    """What trips there are, of the lake and of those that were added since its last run."""

    path = "/trips"
    refresh_ms = 5_000

    def __init__(self, app: Any) -> None:
        super().__init__(app)
        self.filters: dict[str, Any] = {name: text_input(label, example) for name, (label, example) in FILTERS.items()}
        self.filters["payment"] = payment_select("any")
        self.clear = pmui.Button(label="Clear", variant="outlined", size="small", margin=(0, 10))
        self.numbers, self.table = style.pane(), style.pane(inset=True)
        self.table.stylesheets = [*self.table.stylesheets, "td { white-space: nowrap; }"]
        self.pager = pmui.Pagination(count=1, value=0, visible=False, margin=(6, 10))
        self.csv, self.parquet = (
            pmui.FileDownload(
                callback=partial(self.save, kind), filename=f"trips.{kind}", label=f"Download as {label}", size="small"
            )
            for kind, label in (("csv", "CSV"), ("parquet", "Parquet"))
        )  # fmt: skip
        self.told = style.pane(inset=True)
        self.told.visible = False
        self.form, self.upload = Form(self), Upload(self)
        self.answer: Answer | None = None
        self._answered: Hashable = None  # what was asked for last
        self.clear.on_click(self._clear)
        for name, widget in self.filters.items():
            self._take(widget, name)
            widget.param.watch(self._changed, "value")
            self.link(widget, name)
        self.pager.param.watch(self.refresh, "value")

    def _take(self, widget: Any, name: str) -> None:
        """What the address has of a filter, as text: a link alone would make a number of it, which a text is not."""
        given = pn.state.session_args.get(name, [b""])[0].decode("utf-8", "replace")[:LONGEST]
        if given and (not hasattr(widget, "options") or given in widget.options.values()):
            widget.value = given

    def cards(self) -> list[Any]:
        found = style.card("Trips", self.table, self.pager, flow(self.csv, self.parquet), self.told)
        ask = style.card("Filters", flow(*self.filters.values()), style.pane(_HINT, inset=True), self.clear)
        if self.app.may_write(self.user):
            return [ask, self.numbers, found, self.form.card, self.upload.card]
        why = "Trips are added by operators only; you may look at them and take them along."
        return [ask, self.numbers, found, style.card("Add trips", style.pane(f"<p>{why}</p>", inset=True))]

    def _clear(self, *_: Any) -> None:
        for widget in self.filters.values():
            widget.value = ""

    async def _changed(self, *_: Any) -> None:
        if self.pager.value:
            self.pager.value = 0  # which reads anew
        else:
            await self.refresh()

    def asked(self) -> Hashable:
        return (*((name, widget.value or "") for name, widget in self.filters.items()), ("page", self.pager.value))

    def read(self, asked: Any) -> Answer:
        values = dict(asked)
        page = values.pop("page")
        values["payment_type"] = values.pop("payment")
        posed = question(**values)

        def of_lake(files: str, read: Callable[[], Any]) -> Any:
            return self.app.shared(("trips of the lake", posed, page, files), read, seconds=LAKE_SECONDS)

        def ask() -> Answer:
            return ask_trips(
                posed, lake=Lake(self.app.settings.lake), store=self.app.store, columns=COLUMNS,
                skip=page * ROWS, limit=ROWS, kept=of_lake if (page + 1) * ROWS <= MOST_KEPT else None,
            )  # fmt: skip

        seconds = KEEP_SECONDS if asked == self._answered else 0.0
        answer = self.app.shared(("trips", posed, page), ask, seconds=seconds)
        self._answered = asked
        return answer

    def show(self, found: Answer) -> None:
        self.say(None)
        if found is self.answer:
            return
        self.answer = found
        style.put(self.numbers, numbers_html(found))
        self.csv.disabled = self.parquet.disabled = not found.count
        pages = -(-found.count // ROWS)
        pages_shown = max(1, min(pages, PAGES))
        if (self.pager.value or 0) >= pages_shown:  # there were more when it was chosen
            self.pager.value = 0
        self.pager.count = pages_shown
        self.pager.visible = pages > 1
        if not found.count:
            filtered = any(widget.value for widget in self.filters.values())
            hint = "" if filtered else f" Read some: {command('taxidask ingest', 'trips/*.csv', lake=self._lake())}"
            style.put(self.table, f"<p>No trip {'matches' if filtered else 'is there yet'}.{html.escape(hint)}</p>")
            return
        style.put(self.table, table_html(found))

    def _lake(self) -> str:
        return str(self.app.settings.lake)

    async def save(self, kind: str) -> io.BytesIO:
        """A file of all trips that match."""
        asked = self.asked()
        self.told.visible = False
        try:
            return await asyncio.to_thread(self._save, kind, dict(asked))  # type: ignore[call-overload]
        except TaxidaskError as error:
            self._tell(error.message, error.remedy or "")
        except Exception as error:
            log.exception("trips could not be saved")
            self._tell(f"{type(error).__name__}: {error}", "the server's log has more")
        return io.BytesIO()

    def _tell(self, text: str, remedy: str) -> None:
        self.told.visible = True
        style.put(self.told, style.notice("error", text, remedy))

    def _save(self, kind: str, values: dict[str, Any]) -> io.BytesIO:
        values.pop("page")
        values["payment_type"] = values.pop("payment")
        posed, lake = question(**values), Lake(self.app.settings.lake)
        count = self.read(self.asked()).count
        if count > MOST_SAVED:
            given = {name: value for name, value in values.items() if value}
            line = command("taxidask trips query", lake=lake.url, limit=0, out=f"trips.{kind}", **given)
            raise TaxidaskError(f"{count:,} trips match, and a download has {MOST_SAVED:,} at most", line)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"trips.{kind}"
            save_trips(str(path), posed, lake=lake, store=self.app.store)
            return io.BytesIO(path.read_bytes())


def numbers_html(answer: Answer) -> str:
    """The figures of an answer."""
    added = f"{answer.added:,} added and not in the lake yet" if answer.added else "all of them in the lake"
    fare = "–" if answer.average_fare is None else f"{answer.average_fare:,.2f} USD"
    return style.numbers(
        [
            ("Trips that match", f"{answer.count:,}", added if answer.count else ""),
            ("Average fare", fare, "by the meter"),
            ("Total tip", f"{answer.total_tip:,.2f} USD", "cash tips are not recorded"),
        ]
    )


def table_html(answer: Answer) -> str:
    """A page of trips."""
    first, last = answer.skipped + 1, answer.skipped + len(answer.rows)
    caption = f"Trips {first:,} to {last:,} of {answer.count:,}, in order of pickup"
    if answer.count > ROWS * PAGES:
        caption += f"; {quantity(ROWS * PAGES, 'trip')} can be leafed through, a download has the others, too"
    heads = ["Pickup", "Minutes", "Passengers", "Miles", "Fare", "Tip", "Payment", "Vendor", "From", "To"]
    rows = [
        [
            f"{row['pickup_datetime']:%Y-%m-%d %H:%M:%S}",
            f"{(row['dropoff_datetime'] - row['pickup_datetime']).total_seconds() / 60:,.0f}",
            _some(row["passenger_count"], "d"),
            _some(row["trip_distance"], ".2f"),
            _some(row["fare_amount"], ".2f"),
            _some(row["tip_amount"], ".2f"),
            "–" if pd.isna(row["payment_type"]) else PAYMENTS.get(int(row["payment_type"]), row["payment_type"]),
            "–" if pd.isna(row["vendor_id"]) else row["vendor_id"],
            _place(row, "pickup"),
            _place(row, "dropoff"),
        ]
        for row in answer.rows.to_dict("records")
    ]
    return style.table(heads, rows, numeric=["Minutes", "Passengers", "Miles", "Fare", "Tip"], caption=caption)


def _some(value: Any, form: str) -> str:
    return "–" if pd.isna(value) else format(int(value) if form == "d" else value, form)


def _place(row: dict[Any, Any], end: str) -> str:
    if not pd.isna(row[f"{end}_location_id"]):
        return f"zone {int(row[f'{end}_location_id'])}"
    return f"{row[f'{end}_latitude']:.4f}, {row[f'{end}_longitude']:.4f}"


if __name__.startswith("bokeh_app"):
    from taxidask.app.server import settings_state

    Trips(settings_state()).served().servable()
