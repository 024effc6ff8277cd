"""The Fares page: what a ride will cost, why, and how far such prices can be trusted."""

from __future__ import annotations

import html
import json
from collections.abc import Hashable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

import pandas as pd
import panel as pn
import panel_material_ui as pmui
import param

from taxidask.app import style
from taxidask.app.farecharts import PartsChart, RideMap, SpreadChart
from taxidask.app.farerecord import Spread, record_html, spread
from taxidask.app.quoting import FIELDS, Answer, Loaded, ask, lakes_of, load_fares, no_model
from taxidask.app.shell import AppPage
from taxidask.clock import wall_clock
from taxidask.errors import TaxidaskError
from taxidask.fare import Quote
from taxidask.fare.why import in_cents
from taxidask.words import command

_RUN = "taxidask run --sources 'trips/*.csv'"
_PICKER_CSS = ".MuiFormControl-root { width: 100%; } .MuiIconButton-root { color: inherit; }"
_PASSENGERS = {str(n): str(n) for n in range(1, 10)}
_HINT = "Choose where the ride begins and where it ends: two clicks on the map, or two zones by name."


class _Text(param.Parameterized):
    """What the address holds of one field, be it nonsense."""

    value = param.Parameter(default=None)

    def text(self) -> str:
        if isinstance(self.value, str):
            return "" if self.value == "null" else self.value.strip()
        return "" if self.value is None else json.dumps(self.value)


@dataclass(frozen=True)
class Found:
    """What the page shows.

    Attributes
    ----------
    latest : dict
        Of the last publishing run; empty before the first.
    fares : Loaded or None
        None where `trouble` says why.
    trouble : TaxidaskError or None
    answer : Answer
    backtest, prices : DataFrame
        The run's metrics of its fare model, by fold, and how many trips were told which price and paid which.
    """

    latest: dict[str, Any]
    fares: Loaded | None = None
    trouble: TaxidaskError | None = None
    answer: Answer = field(default_factory=Answer)
    backtest: pd.DataFrame = field(default_factory=pd.DataFrame)
    prices: pd.DataFrame = field(default_factory=pd.DataFrame)


class Fares(AppPage):
    """Quotes between two points or zones, what they are made of, and the fare model's record."""

    path = "/fares"

    def __init__(self, app: Any) -> None:
        super().__init__(app)
        self.asks = {name: _Text(value=1 if name == "passengers" else None) for name in FIELDS}
        place: dict[str, Any] = {"restrict": False, "search_strategy": "includes", "case_sensitive": False}
        place |= {"min_characters": 1, "placeholder": "Zone, or LON,LAT", "sizing_mode": "stretch_width"}
        self.begin = pmui.AutocompleteInput(label="Pickup (A)", **place)
        self.end = pmui.AutocompleteInput(label="Drop-off (B)", **place)
        self.at = pmui.DatetimePicker(
            label="Pickup time, New York",
            enable_seconds=False,
            format="YYYY-MM-DD HH:mm",
            sizing_mode="stretch_width",
            stylesheets=[_PICKER_CSS],
        )
        self.passengers = style.choice("Passengers", _PASSENGERS, width=120)
        self.mistaken = style.pane(inset=True)  # of passengers, who have no place for it as Material's fields do
        self.widgets: dict[str, Any] = dict(zip(FIELDS, (self.begin, self.end, self.at, self.passengers), strict=True))
        self.next = pmui.RadioButtonGroup(
            label="The next click sets",
            options={"A · Pickup": "from", "B · Drop-off": "to"},
            value="from",
            size="small",
            sizing_mode="stretch_width",
            max_width=330,
        )
        self.map = RideMap(self.tapped)
        self.answer = style.pane(f"<p>{_HINT}</p>", inset=True)
        self.parts, self.why = PartsChart(), style.pane(inset=True)
        self.spread, self.spread_words = SpreadChart(), style.pane(inset=True)
        self.record = style.pane(inset=True)
        self.map_card = style.card("Where", self.next, self.map.plot)
        self.form_card = style.card("Ride", *self.widgets.values(), self.mistaken)
        self.quote_card = style.card("Quote", self.answer)
        self.why_card = style.card("What the price is made of", self.parts.plot, self.why)
        self.spread_card = style.card("What such rides paid", self.spread_words, self.spread.plot)
        self.record_card = style.card("How far such prices can be trusted", self.record)
        self._drawn: Loaded | None = None
        self._filling = False
        self._first: datetime | None = None  # what is asked about unless the visitor says when
        self._quoted: Quote | None = None
        self._spread: Spread | None = None
        for name, entry in self.asks.items():
            self.link(entry, name)
            entry.param.watch(self._entered(name), "value")
            self.widgets[name].param.watch(self._chosen(name), "value")
        self._show_only()

    def cards(self) -> list[Any]:
        left = pn.Column(self.form_card, self.quote_card, sizing_mode="stretch_width", styles={"gap": "14px"})
        for part, least in ((left, 380), (self.map_card, 480)):  # side by side where there is room for both
            part.styles = {**part.styles, "flex": f"1 1 {least}px", "min-width": f"min(100%, {least}px)"}
        return [
            pn.FlexBox(left, self.map_card, gap="14px", sizing_mode="stretch_width"),
            self.why_card,
            self.spread_card,
            self.record_card,
        ]

    def _show_only(self, *cards: Any) -> None:
        for card in (self.map_card, self.form_card, self.quote_card, self.why_card, self.spread_card, self.record_card):
            card.visible = card in cards

    # -- fields, address and map ---------------------------------------------------------------------------------------

    def _fill(self, name: str) -> None:
        """Show in its widget what the address says, as far as the widget can."""
        if self._drawn is None:  # a field without options forgets what it is told
            return
        text = self.asks[name].text()
        value: Any
        if name == "at" and not text:
            value = self._first
        elif name == "at":
            try:
                value = wall_clock(text).to_pydatetime().replace(second=0, microsecond=0)
            except (ValueError, TypeError):
                value = None
        elif name == "passengers":
            value = text if text in _PASSENGERS else ""
            self._filling = True
            self.passengers.options = _PASSENGERS if value else {"–": "", **_PASSENGERS}  # else 1 could not be chosen
            self._filling = False
        else:
            value = text
        self._put(name, value)

    def _put(self, name: str, value: Any) -> None:
        """Tell a widget its value, which is no choice of the visitor's."""
        if self.widgets[name].value != value:
            self._filling = True
            try:
                self.widgets[name].value = value
                if name in ("from", "to"):
                    self.widgets[name].value_input = value  # what is in no list is shown only so
            finally:
                self._filling = False

    def _entered(self, name: str) -> Any:
        async def entered(*_: Any) -> None:
            self._fill(name)
            await self.refresh()

        return entered

    def _chosen(self, name: str) -> Any:
        def chosen(event: Any) -> None:
            if self._filling or self._drawn is None:
                return
            if name == "at":
                if event.new is not None:  # else it is what the picker cannot show
                    self.asks[name].value = f"{event.new:%Y-%m-%dT%H:%M}"
            elif event.new or name != "passengers":
                self.asks[name].value = str(event.new or "").strip()

        return chosen

    def tapped(self, lon: float, lat: float) -> None:
        """A click on the map: the other end is next."""
        name = self.next.value
        self.next.value = "to" if name == "from" else "from"
        self.asks[name].value = f"{lon:.4f},{lat:.4f}"

    # -- reading and showing -------------------------------------------------------------------------------------------

    def asked(self) -> Hashable:
        return tuple(self.asks[name].text() for name in FIELDS)

    def read(self, asked: Any) -> Found:
        latest = self.app.shared("latest", self.app.store.get_latest, seconds=5)
        run = latest.get("run")
        if not run:
            return Found({})
        backtest, prices = (
            self.app.shared((kind, run), partial(self.app.store.get_metrics, run, kind), seconds=3600)
            for kind in ("fare", "fare-prices")
        )
        lakes = lakes_of(latest, self.app.settings)
        try:
            fares = self.app.shared(("fares", run), lambda: load_fares(lakes), seconds=3600)
        except TaxidaskError as error:
            return Found(latest, trouble=no_model(error, lakes), backtest=backtest, prices=prices)
        told = dict(zip(FIELDS, asked, strict=True))
        told["at"] = told["at"] or _first_moment(latest)
        return Found(latest, fares, None, ask(fares, told), backtest, prices)

    def show(self, found: Found) -> None:
        if not found.latest:
            self._show_only()
            first = f"start a run: {command(_RUN, store=self.app.store.url)} – or try: taxidask demo"
            self.say("info", f"Nothing has been published in {self.app.store.url} yet.", first)
            return
        if not found.backtest.empty:
            style.put(self.record, record_html(found.backtest, found.prices))
        if found.fares is None:
            self._show_only(*([self.record_card] if not found.backtest.empty else []))
            if found.trouble is not None:
                self.say("error", found.trouble.message, found.trouble.remedy or "")
            return
        self.say(None)
        if self._drawn is not found.fares:
            self._drawn = found.fares
            self.map.draw(found.fares.shapes)
            self._filling = True
            self.begin.options = self.end.options = list(found.fares.names)
            self._filling = False
            self._first = pd.Timestamp(_first_moment(found.latest)).to_pydatetime()
            for name in FIELDS:
                self._fill(name)
        answer = found.answer
        self.map.mark(answer.ends)
        for name, place in answer.places.items():
            self._put(name, place)
        for name in ("from", "to", "at"):
            wrong = {"error_state": name in answer.wrong, "helper_text": answer.wrong.get(name, "")}
            self.widgets[name].param.update(**wrong)
        mistaken = answer.wrong.get("passengers")
        self.mistaken.visible = mistaken is not None
        style.put(self.mistaken, style.notice("error", f"Passengers: {mistaken}") if mistaken else "")
        if answer.quote is None:
            style.put(self.answer, f"<p>{_WRONG if answer.wrong else _HINT}</p>")
        else:
            style.put(self.answer, quote_html(answer.quote))
            if answer.quote != self._quoted:
                self.parts.update(answer.quote.parts)
                style.put(self.why, why_html(answer.quote))
                self._show_spread(found.prices, answer.quote)
        self._quoted = answer.quote
        cards = [self.map_card, self.form_card, self.quote_card]
        cards += [self.why_card] if answer.quote is not None else []
        cards += [self.spread_card] if answer.quote is not None and self._spread is not None else []
        self._show_only(*cards, *([self.record_card] if not found.backtest.empty else []))

    def _show_spread(self, prices: pd.DataFrame, quote: Quote) -> None:
        self._spread = spread(prices, quote.price)
        if self._spread is not None:
            self.spread.update(self._spread, quote)
            style.put(self.spread_words, f"<p>{self._spread.words()} The line is this quote, the shade its band.</p>")


_WRONG = "No quote yet: see what the marked field says."


def _first_moment(latest: dict[str, Any]) -> str:
    """The first moment after the data, which is what the run's forecasts begin with too."""
    return f"{pd.Timestamp(latest['forecast_start']):%Y-%m-%dT%H:%M}"


def quote_html(quote: Quote) -> str:
    """A quote's numbers; what is new is told to screen readers."""
    tariff = "unknown" if quote.tariff != quote.tariff else f"{quote.tariff:.2f}"
    shown = style.numbers(
        [
            (
                "Price, USD",
                f"{quote.price:.2f}",
                f"{quote.interval:.0%} of such rides: {quote.low:.2f} to {quote.high:.2f}",
            ),
            ("Fare, USD", f"{quote.fare:.2f}", "what the meter shows"),
            ("Tolls, USD", f"{quote.tolls:.2f}", "as such rides pay on average"),
            ("Tariff, USD", tariff, "on the straight line, without waiting"),
        ]
    )
    way = f"{quote.pickup} to {quote.dropoff}, {quote.at:%a %-d %b %Y %H:%M}, {quote.passengers} "
    way += "passenger" if quote.passengers == 1 else "passengers"
    notes = [note for note in ("Without surcharges, taxes and tip.", f"{quote.note}." if quote.note else "") if note]
    return (
        f"<div role='status'><p>{html.escape(way)}</p>{shown}</div><p class='below'>{html.escape(' '.join(notes))}</p>"
    )


def why_html(quote: Quote) -> str:
    """The parts of a price as a table, for whoever does not look at the chart."""
    rows = [[part, f"{usd:+.2f}"] for part, usd in zip(quote.parts, in_cents(quote.parts), strict=True)]
    table = style.table(["Part", "USD"], [*rows, ["price", f"{quote.price:.2f}"]], numeric=["USD"])
    said = (
        "From the flag fall and what the meter adds for an average ride, each part raises or lowers the price by what "
        "is known of this ride. The parts add up to the price."
    )
    return f"<p>{said}</p><details><summary>As a table</summary>{table}</details>"


if __name__.startswith("bokeh_app"):
    from taxidask.app.server import settings_state

    Fares(settings_state()).served().servable()
