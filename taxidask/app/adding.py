"""Cards of the Trips page that write: a form for one trip, and files."""

from __future__ import annotations

import asyncio
import html
import io
import logging
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd
import panel as pn
import panel_material_ui as pmui

from taxidask.app import style
from taxidask.app.spool import Arrived, FileInput
from taxidask.app.state import LOCAL_USER
from taxidask.asking import FormError, Loaded, add_trip, load_file
from taxidask.asking.filters import PAYMENTS
from taxidask.errors import TaxidaskError
from taxidask.lake import Lake
from taxidask.runs.stages import rules_of
from taxidask.trips.schema import PLACES
from taxidask.words import command, shortened

if TYPE_CHECKING:
    from taxidask.app.shell import AppPage

log = logging.getLogger(__name__)

LARGEST = 256 << 20
"""Bytes of a file that may be uploaded, and that lie in the server's temporary folder meanwhile."""
LONGEST = 200
"""Letters of a text that is typed."""
_FIT: dict[str, Any] = {"width": 142, "margin": (6, 4)}  # two beside each other on a phone
FIELDS = {
    "pickup_datetime": ("Pickup", "2016-02-01 18:30"),
    "dropoff_datetime": ("Drop-off", "2016-02-01 18:45"),
    "passenger_count": ("Passengers", "1"),
    "trip_distance": ("Distance, miles", "2.5"),
    "fare_amount": ("Fare, USD", "12"),
    "tip_amount": ("Tip, USD", "0"),
    "vendor_id": ("Vendor", ""),
    "pickup_location_id": ("From zone", "1 to 263"),
    "dropoff_location_id": ("To zone", "1 to 263"),
    "pickup_longitude": ("From longitude", "-73.98"),
    "pickup_latitude": ("From latitude", "40.75"),
    "dropoff_longitude": ("To longitude", "-73.98"),
    "dropoff_latitude": ("To latitude", "40.75"),
}
"""Fields of the form: what they are called, and an example."""
_LABELS = {name: label for name, (label, _) in FIELDS.items()} | {"payment_type": "Payment"}


def flow(*widgets: Any) -> pn.FlexBox:
    """Widgets side by side, as many as there is room for."""
    return pn.FlexBox(*widgets, sizing_mode="stretch_width", gap="2px 8px", align_items="flex-start")


def text_input(label: str, example: str) -> pmui.TextInput:
    """A field for a short text."""
    return pmui.TextInput(label=label, placeholder=example, max_length=LONGEST, size="small", **_FIT)


def payment_select(nothing: str) -> pn.widgets.Select:
    """A list of kinds of payment, whose values are codes; first that nothing is chosen."""
    options = {nothing: "", **{name: str(code) for code, name in PAYMENTS.items()}}
    select = style.choice("Payment", options, width=_FIT["width"])
    select.margin = _FIT["margin"]
    return select


class Form:
    """Adds one trip.

    Parameters
    ----------
    page : AppPage
    """

    def __init__(self, page: AppPage) -> None:
        self.page = page
        self.fields: dict[str, Any] = {name: text_input(label, example) for name, (label, example) in FIELDS.items()}
        self.fields["payment_type"] = payment_select("not said")
        self.places = pmui.RadioButtonGroup(options=["Zones", "Coordinates"], value="Zones", size="small")
        self.add = pmui.Button(label="Add the trip", color="primary")
        self.told = style.pane(inset=True)
        self.told.visible = False
        self.add.on_click(self.submit)
        self.places.param.watch(self._choose, "value")
        self._choose()
        order = [name for name in self.fields if name not in (*PLACES["zones"], *PLACES["points"])]
        places = [self.fields[name] for name in (*PLACES["zones"], *PLACES["points"])]
        self.card = style.card(
            "Add one trip",
            flow(*(self.fields[name] for name in order)),
            self.places,
            flow(*places),
            self.add,
            self.told,
        )

    def _choose(self, *_: Any) -> None:
        for kind, label in (("zones", "Zones"), ("points", "Coordinates")):
            for name in PLACES[kind]:
                self.fields[name].visible = self.places.value == label

    def values(self) -> dict[str, str]:
        """What is typed in the fields that can be seen."""
        return {name: field.value for name, field in self.fields.items() if field.visible and field.value}

    async def submit(self, *_: Any) -> None:
        """Add what is typed, or say field by field what is wrong."""
        page, typed = self.page, self.values()
        self.add.disabled = True
        try:
            trip, added = await asyncio.to_thread(self._write, typed)
        except FormError as error:
            page.apply(partial(self._show_wrong, error.fields))
        except TaxidaskError as error:
            page.apply(partial(self._say, "error", error.message, error.remedy or ""))
        except Exception as error:
            log.exception("a trip could not be added")
            page.apply(partial(self._say, "error", f"{type(error).__name__}: {error}", "the server's log has more"))
        else:
            when = f"{pd.Timestamp(trip['pickup_datetime']):%-d %b %Y %H:%M}"
            text = f"The trip of {when} was added." if added else f"The trip of {when} was there before: nothing added."
            page.apply(partial(self._say, "done", text, "it is in answers at once, and in counts with the next run"))
            await page.refresh()
        finally:
            page.apply(partial(setattr, self.add, "disabled", False))

    def _write(self, typed: dict[str, str]) -> tuple[dict[str, Any], bool]:
        app, user = self.page.app, self.page.user
        app.write(user, f"add a trip of {shortened(typed.get('pickup_datetime', 'no time'), 60)}")
        done = add_trip(typed, store=app.store, who=user or LOCAL_USER, rules=rules_of(app.settings))
        app.forget_all("trips")
        return done

    def _mark(self, wrong: dict[str, str]) -> None:
        """Put what is wrong beside each field, or take it away."""
        for name, field in self.fields.items():
            if name != "payment_type":  # of which nothing wrong can be chosen
                field.error_state = name in wrong
                field.helper_text = wrong.get(name, "")

    def _show_wrong(self, wrong: dict[str, str]) -> None:
        self._mark(wrong)
        listed = "; ".join(f"{_LABELS.get(name, name)} {text}" for name, text in wrong.items())
        self._say("error", f"The trip was not added: {listed}", "", keep=True)

    def _say(self, kind: str, text: str, remedy: str, *, keep: bool = False) -> None:
        if not keep:
            self._mark({})
        self.told.visible = True
        style.put(self.told, style.notice(kind, text, remedy))


class Upload:
    """Adds a file of trips.

    Parameters
    ----------
    page : AppPage
    """

    def __init__(self, page: AppPage) -> None:
        self.page = page
        self.file = FileInput(
            on_begin=partial(self._begin, "The file is on its way", 0),
            on_piece=self._coming,
            on_refused=self._refused,
            label=f"Choose a file of trips: CSV, .gz, .zst or Parquet of any TLC layout, up to {LARGEST >> 20} MiB",
            uploaded_label="Choose another file of trips",
            largest=LARGEST,
            sizing_mode="stretch_width",
        )
        self.doing = style.pane(inset=True)
        self.told = style.pane(inset=True)
        self.reasons = style.pane(inset=True)
        self.rejects = pmui.FileDownload(
            callback=self._rejects, filename="rejects.csv", label="Download the rejected rows", visible=False
        )
        for pane in (self.doing, self.told, self.reasons):
            pane.visible = False
        self.loaded: Loaded | None = None
        self._read = 0
        self._lock = threading.Lock()
        self.file.param.watch(self.load, "arrived")
        self.card = style.card("Add a file", self.file, self.doing, self.told, self.reasons, self.rejects)

    async def load(self, *_: Any) -> None:
        """Add the file that was uploaded."""
        arrived, page = self.file.arrived, self.page
        if arrived is None:
            return
        if self.file.disabled:  # chosen before the browser was told that it is
            arrived.file.close()
            self._say("error", "The file was not taken: another one is being added", "choose it again after that")
            return
        self.file.disabled = True
        self._read = 0
        self._begin(f"Looking whether {shortened(arrived.name, 200)} is there already", 0)
        try:
            loaded = await asyncio.to_thread(self._write, arrived)
        except TaxidaskError as error:
            page.apply(partial(self._say, "error", error.message, error.remedy or ""))
        except Exception as error:
            log.exception("a file could not be added")
            page.apply(partial(self._say, "error", f"{type(error).__name__}: {error}", "the server's log has more"))
        else:
            page.apply(partial(self._show, loaded))
        finally:
            page.apply(partial(self._end, arrived))
        await page.refresh()

    def _coming(self, arrived: Arrived, pieces: int) -> None:
        """Say how much of a file has arrived."""
        words = f"Uploaded {arrived.bytes / 1e6:,.1f} MB of {shortened(arrived.name, 200)}"
        self._begin(words, min(100, round(100 * arrived.pieces / max(pieces, 1))))

    def _refused(self, why: str) -> None:
        self.doing.visible = self.file.disabled
        self._say("error", f"The file was not taken: {why}", command("taxidask trips load", "FILE", **self._places()))

    def _places(self) -> dict[str, str]:
        return {"lake": str(self.page.app.settings.lake), "store": self.page.app.store.url}

    def _begin(self, words: str, share: int) -> None:
        self.told.visible = self.reasons.visible = self.rejects.visible = False
        self.doing.visible = True
        self._show_progress(share, words)

    def _end(self, arrived: Arrived) -> None:
        arrived.file.close()  # which deletes it
        self.doing.visible = self.file.disabled = False
        self.file.arrived = None

    def _write(self, arrived: Arrived) -> Loaded:
        app, user = self.page.app, self.page.user
        app.write(user, f"add the file {shortened(arrived.name, 200)} of {arrived.bytes:,} bytes")
        try:
            loaded = load_file(
                arrived.file.name,
                store=app.store,
                lake=Lake(app.settings.lake),
                name=arrived.name,
                who=user or LOCAL_USER,
                rules=rules_of(app.settings),
                progress=self._tell,
            )
        except TaxidaskError as error:  # where it lies here says nothing to who sent it
            error.message = error.message.replace(arrived.file.name, shortened(arrived.name, 200))
            raise
        app.forget_all("trips")
        return loaded

    def _tell(self, block: dict[str, Any]) -> None:
        with self._lock:  # blocks are read in several threads
            if "bytes" in block:
                self._read += block["bytes"]
                share, text = self._read / max(block["total_bytes"], 1), f"Read {self._read / 1e6:,.1f} MB"
            else:
                share = block["written"] / max(block["total"], 1)
                text = f"Added {block['written']:,} of {block['total']:,} trips"
        self.page.apply(partial(self._show_progress, min(100, round(100 * share)), text))

    def _show_progress(self, share: int, text: str) -> None:
        bar = f"<progress max='100' value='{share}' aria-label='How much of the file is added'></progress>"
        style.put(self.doing, f"<p role='status'>{bar} {html.escape(text)} …</p>")

    def _show(self, loaded: Loaded) -> None:
        self.loaded = loaded
        rejected = {reason: count for reason, count in loaded.rejected.items() if count}
        text = loaded.summary.partition(f", {sum(rejected.values()):,} rejected (")[0]  # of which there is a table
        text += f"; {loaded.note}" if rejected and loaded.place and loaded.note else ""
        later = "they are in answers at once, and in counts and forecasts with the next run" if loaded.place else ""
        self._say("done" if loaded.kept else "error", text, later)
        self.reasons.visible = self.rejects.visible = bool(rejected)
        ordered = sorted(rejected.items(), key=lambda one: -one[1])
        rows = [[reason.replace("_", " "), f"{count:,}"] for reason, count in ordered]
        caption = f"{sum(rejected.values()):,} of {loaded.rows:,} rows were rejected"
        if len(loaded.rejects) < sum(rejected.values()):
            caption += f"; the file of them has a sample of {len(loaded.rejects):,}"
        style.put(self.reasons, style.table(["Reason", "Rows"], rows, numeric=["Rows"], caption=caption))

    def _say(self, kind: str, text: str, remedy: str) -> None:
        self.told.visible = True
        style.put(self.told, style.notice(kind, text, remedy))

    def _rejects(self) -> io.BytesIO:
        table = io.BytesIO()
        if self.loaded is not None:
            self.loaded.rejects.assign(source=self.loaded.name).to_csv(table, index=False)
        table.seek(0)
        return table
