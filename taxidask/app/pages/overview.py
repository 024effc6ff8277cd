"""The Overview page: key numbers, demand and its forecast, rejects, runs."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import pandas as pd

from taxidask.app import charts, style
from taxidask.app.days import DIRECTIONS, Day
from taxidask.app.shell import AppPage
from taxidask.app.snapshot import (
    CITY,
    Curves,
    Snapshot,
    cell_names,
    last_day_told,
    read_curves,
    read_last_day,
    read_snapshot,
)
from taxidask.app.told import runs_html
from taxidask.results.summary import lasted
from taxidask.words import command, quantity

_RUN = "taxidask run --sources 'trips/*.csv'"


class Overview(AppPage):
    """How things stand: what is in the lake, what is expected, how the last runs went."""

    path = "/overview"

    def __init__(self, app: Any) -> None:
        super().__init__(app)
        self.snapshot: Snapshot | None = None
        self._drawn: Curves | None = None
        self.numbers = style.pane()
        self.place = style.choice("Place", {"Whole area": CITY}, width=260)
        self.pickups, self.dropoffs = charts.DemandChart("pickup"), charts.DemandChart("dropoff")
        self.reasons = charts.ReasonsChart()
        self.rejects, self.runs = style.pane(inset=True), style.pane(inset=True)
        self.demand_card = style.card("Demand and forecast", self.place, self.pickups.plot, self.dropoffs.plot)
        self.rejects_card = style.card("Rejected rows by reason", self.rejects, self.reasons.plot)
        self.runs_card = style.card("Runs", self.runs)
        self.place.param.watch(self.refresh, "value")
        self._show_only()

    def cards(self) -> list[Any]:
        return [self.numbers, self.demand_card, self.rejects_card, self.runs_card]

    def _show_only(self, *cards: Any) -> None:
        for card in (self.demand_card, self.rejects_card, self.runs_card):
            card.visible = card in cards

    def asked(self) -> Hashable:
        return self.place.value

    def read(self, asked: int | str) -> tuple[Snapshot, Curves | None, Day | None]:
        snapshot = self.app.shared("snapshot", lambda: read_snapshot(self.app.store), seconds=5)
        latest = snapshot.latest
        if not latest.get("forecast_start"):
            return snapshot, None, None
        run = (latest.get("run"), latest["forecast_start"], latest.get("cube_end"))
        store, shared = self.app.store, self.app.shared
        curves = shared(("curves", *run, asked), lambda: read_curves(store, latest, asked), seconds=3600)
        day = shared(("last day", *run), lambda: read_last_day(store, latest), seconds=3600)
        return snapshot, curves, day

    def show(self, found: tuple[Snapshot, Curves | None, Day | None]) -> None:
        snapshot, curves, day = found
        before, self.snapshot = self.snapshot, snapshot
        if snapshot.empty:
            self._show_only()
            style.put(self.numbers, "")
            first = f"start a run: {command(_RUN, store=self.app.store.url)} – or try: taxidask demo"
            self.say("info", f"Nothing has been published in {self.app.store.url} yet.", first)
            return
        style.put(self.runs, runs_html(snapshot.runs, theme=self.theme))
        style.put(self.numbers, numbers_html(snapshot, day))
        if not snapshot.latest:
            self._show_only(self.runs_card)
            self.say("info", "The first run has not published its forecasts yet; they will appear here.")
            return
        self.say(None)
        self._show_only(self.demand_card, self.rejects_card, self.runs_card)
        names = cell_names(snapshot.latest)
        if self.place.options != names:
            first_time = before is None or not before.latest
            self.place.options = names
            if first_time:
                self.link(self.place, "place")
        if before is None or before.reasons != snapshot.reasons or before.totals != snapshot.totals:
            style.put(self.rejects, rejects_html(snapshot))
            self.reasons.update(snapshot.reasons, rows=snapshot.totals["rows"])
        if curves is not None and curves is not self._drawn:
            self._drawn = curves
            cell = self.place.value if self.place.value != CITY else None
            for chart, direction in zip((self.pickups, self.dropoffs), DIRECTIONS, strict=True):
                earlier = None if day is None else _forecast_of(day, direction, cell)
                chart.update(curves.observed, curves.expected, earlier)


def _forecast_of(day: Day, direction: str, cell: int | None) -> pd.Series:
    """What was expected of a day, by time."""
    mean = day.curve("mean", direction, cell)
    return pd.Series(mean, pd.Timestamp(day.day) + pd.Timedelta(days=1) / len(mean) * pd.RangeIndex(len(mean)))


def numbers_html(snapshot: Snapshot, day: Day | None = None) -> str:
    """The key numbers as a list of terms; a day's forecast beside its counts."""
    latest, sums = snapshot.latest, snapshot.totals
    entries: list[tuple[str, str, str]] = []
    if latest:
        share = sums["kept"] / sums["rows"] if sums["rows"] else 0.0
        entries = [
            ("Trips in the lake", f"{latest.get('trips', sums['kept']):,}", quantity(snapshot.sources, "file")),
            *([("Fares", _usd(snapshot.fares), "without tips and tolls")] if snapshot.fares is not None else []),
            ("Rows kept", f"{share:.2%}", f"{sums['rejected']:,} of {sums['rows']:,} rejected"),
            ("Data from", _day(latest.get("cube_start")), f"to {_day(latest.get('cube_end'), last=True)}"),
            ("Published", _ago(snapshot.published), f"{_utc(snapshot.published or '–')} UTC"),
            *(last_day_told(day, latest) if day is not None else []),
            ("Forecast to", _forecast_to(latest), f"in slots of {_slot(latest)}"),
            *snapshot.health,
        ]
    if not snapshot.runs.empty:
        run = snapshot.runs.iloc[0]
        entries.append(("Last run", run["state"], f"started {_utc(run['created'])} UTC"))
    return style.numbers(entries)


def rejects_html(snapshot: Snapshot) -> str:
    """How the rows add up, in a sentence."""
    sums = snapshot.totals
    if not sums["rejected"]:
        return f"<p>All {sums['rows']:,} rows were kept.</p>"
    return (
        f"<p>{sums['kept']:,} kept + {sums['rejected']:,} rejected = {sums['rows']:,} rows. "
        "A row counts under the first reason that applies.</p>"
    )


def _forecast_to(latest: dict[str, Any]) -> str:
    """The last day of the forecast; of too few days there is none."""
    end = latest.get("forecast_end")
    return _day(None if end == latest.get("forecast_start") else end, last=True)


def _day(text: str | None, *, last: bool = False) -> str:
    if not text:
        return "–"
    stamp = pd.Timestamp(text) - pd.Timedelta(seconds=1 if last else 0)
    return f"{stamp:%-d %b %Y}"


def _slot(latest: dict[str, Any]) -> str:
    return str(latest.get("slot", "–")).replace("min", " min")


def _ago(moment: str | None) -> str:
    """How long ago something was, for a glance.

    Examples
    --------
    >>> _ago("2015-03-01T00:00:00Z").endswith(" days ago"), _ago(None)
    (True, '–')
    """
    if not moment:
        return "–"
    seconds = (pd.Timestamp.now("UTC") - pd.Timestamp(moment)).total_seconds()
    if seconds >= 2 * 86_400:
        return f"{seconds / 86_400:,.0f} days ago"
    return "just now" if seconds < 60 else f"{lasted(seconds // 60 * 60).removesuffix(' 0 s')} ago"


def _usd(amount: float) -> str:
    """Dollars for a glance.

    Examples
    --------
    >>> _usd(950.6), _usd(1_234_567), _usd(2.5e9)
    ('951 USD', '1.23 M USD', '2.50 B USD')
    """
    for size, sign in ((1e9, " B"), (1e6, " M")):
        if amount >= size:
            return f"{amount / size:.2f}{sign} USD"
    return f"{amount:,.0f} USD"


def _utc(text: str) -> str:
    return text[:16].replace("T", " ")


if __name__.startswith("bokeh_app"):
    from taxidask.app.server import settings_state

    Overview(settings_state()).served().servable()
