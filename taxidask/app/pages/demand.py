"""The Demand page: a map by cell through a day, counted, expected and how far apart; a cell's curves; two days."""

from __future__ import annotations

import html
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import panel as pn
import panel_material_ui as pmui

from taxidask.app import charts, style
from taxidask.app.citymap import CityMap, zones_of_centres
from taxidask.app.days import Day, clock, read_day, told
from taxidask.app.shell import AppPage
from taxidask.app.snapshot import CITY, Curves, Snapshot, read_curves, read_snapshot
from taxidask.results.summary import slot_of
from taxidask.words import command

if TYPE_CHECKING:
    from taxidask.results.drawing.geometry import Geometry

_RUN = "taxidask run --sources 'trips/*.csv'"
_WORDS = {"pickup": "pickups", "dropoff": "drop-offs"}
_WHATS = {"Counted": "actual", "Forecast": "forecast", "Error": "error"}
_NONE = "–"
_BUTTONS = {"& button": {"whiteSpace": "nowrap", "textTransform": "none"}}
TOP = 10  # cells in the table


@dataclass(frozen=True)
class View:
    """What was read for a visitor."""

    snapshot: Snapshot
    geometry: Geometry | None = None
    days: dict[str, list[str]] | None = None
    day: Day | None = None
    other: Day | None = None
    curves: Curves | None = None
    cell: int | None = None
    around: list[str] | None = None  # for cells of a grid: the taxi zone that each one's centre is in

    def same(self, other: View) -> bool:
        """Whether another shows the same: what all visitors share is one object until it is read anew."""
        parts = ("geometry", "days", "day", "other", "curves")
        return self.cell == other.cell and all(getattr(self, part) is getattr(other, part) for part in parts)


class Demand(AppPage):
    """Where trips begin and end, slot by slot: counted, expected, and the difference."""

    path = "/demand"

    def __init__(self, app: Any) -> None:
        super().__init__(app)
        self.view: View | None = None
        self._linked = False
        self._space: str | None = None
        self._slot = "30min"
        self._drawn: Curves | None = None
        self._day_drawn: tuple[View, str] | None = None
        self.day = style.choice("Day", {_NONE: ""})
        self.other = style.choice("Compare with", {_NONE: ""})
        self.cell = style.choice("Cell", {"Whole area": CITY}, width=300)
        self.direction = pmui.RadioButtonGroup(
            label="Direction",
            options={"Pickups": "pickup", "Drop-offs": "dropoff"},
            value="pickup",
            size="small",
            sx=_BUTTONS,
        )
        self.what = pmui.RadioButtonGroup(label="Shown", options=_WHATS, value="actual", size="small", sx=_BUTTONS)
        self.time = pmui.DiscretePlayer(
            label="Time",
            options=clock("30min"),
            value="18:00",
            interval=600,
            loop_policy="loop",
            show_loop_controls=False,
            show_value=True,
            visible_buttons=["previous", "play", "pause", "next"],
            sizing_mode="stretch_width",
            height=96,
            sx={"& .MuiIconButton-root": {"color": "inherit"}},
        )
        self.map, self.day_chart = CityMap(), charts.DayChart()
        self.ahead = {name: charts.DemandChart(name) for name in _WORDS}
        self.told, self.table, self.cell_told = (style.pane(inset=True) for _ in range(3))
        self.map_card = style.card(
            "Demand by cell",
            pn.FlexBox(self.day, self.other, self.what, self.direction, align_items="end", gap="0 8px"),
            self.told,
            pn.FlexBox(
                pn.Column(self.map.plot, self.time, styles={"flex": "1 1 560px", "min-width": "0"}),
                pn.Column(self.table, styles={"flex": "1 1 300px", "min-width": "0"}),
                gap="14px",
                sizing_mode="stretch_width",
            ),
        )
        self.cell_card = style.card(
            "One cell", self.cell, self.cell_told, self.day_chart.plot, *(chart.plot for chart in self.ahead.values())
        )
        for place in (self.day, self.other, self.cell):
            place.param.watch(self.refresh, "value")
        for shown in (self.what, self.direction, self.time):
            shown.param.watch(self._redraw, "value")
        self.map.on_tap(self._tapped)
        self._show_only()

    def cards(self) -> list[Any]:
        return [self.map_card, self.cell_card]

    def _show_only(self, *cards: Any) -> None:
        for card in self.cards():
            card.visible = card in cards

    def _tapped(self, cell: int) -> None:
        self.cell.value = cell

    # -- reading -------------------------------------------------------------------------------------------------------

    def asked(self) -> Hashable:
        return self.day.value, self.other.value, self.cell.value

    def read(self, asked: tuple[str, str, int | str]) -> View:
        store, shared = self.app.store, self.app.shared
        snapshot = shared("snapshot", lambda: read_snapshot(store), seconds=5)
        latest = snapshot.latest
        if not latest.get("forecast_start"):
            return View(snapshot)
        space, slot = latest["space"], latest.get("slot", "30min")
        run = (latest.get("run"), space, slot, latest.get("cube_end"))
        geometry = shared(("geometry", space), lambda: store.get_geometry(space), seconds=600)
        days = shared(("map days", *run), lambda: store.map_days(space, slot), seconds=600)
        known = sorted({*days["actual"], *days["forecast"]})
        if geometry is None or not known:
            return View(snapshot)

        def whole(day: str) -> Day:
            return shared(
                ("map", *run, day), lambda: read_day(store, space, day, geometry.cells, slot=slot), seconds=600
            )

        day, other, cell = asked
        if day not in known:
            day = (days["actual"] or known)[-1]
        chosen = cell if isinstance(cell, int) and 0 <= cell < geometry.cells else None
        place: int | str = CITY if chosen is None else chosen
        curves = shared(("curves", *run, place), lambda: read_curves(store, latest, place), seconds=3600)
        beside = whole(other) if other in known else None
        around = None
        if geometry.ids is None:
            around = shared(("around", space), lambda: zones_of_centres(geometry), seconds=86_400)
        return View(snapshot, geometry, days, whole(day), beside, curves, chosen, around)

    # -- showing -------------------------------------------------------------------------------------------------------

    def show(self, found: View) -> None:
        snapshot = found.snapshot
        if found.day is None or found.geometry is None or found.days is None:
            self.view = None
            self._show_only()
            again = command(_RUN, store=self.app.store.url)
            if snapshot.empty:
                text = f"Nothing has been published in {self.app.store.url} yet."
                self.say("info", text, f"start a run: {again} – or try: taxidask demo")
            elif not snapshot.latest:
                self.say("info", "The first run has not published its forecasts yet; they will appear here.")
            else:
                self.say("info", "There are no maps of the last run.", f"the next one publishes them: {again}")
            return
        self.say(None)
        if self.view is not None and found.same(self.view):
            return
        self.view = found
        self._options(found)
        self.map.choose(found.cell)
        if found.curves is not None and found.curves is not self._drawn:
            self._drawn = found.curves
            for chart in self.ahead.values():
                chart.update(found.curves.observed, found.curves.expected)
        self._redraw()
        self._show_only(*self.cards())  # at last: a chart without numbers has no range to draw

    def _options(self, found: View) -> None:
        """What can be chosen, from what the store has."""
        assert found.geometry is not None and found.days is not None and found.day is not None  # noqa: S101, PT018
        self._slot = found.snapshot.latest.get("slot", "30min")
        if self._space != found.geometry.space:
            self.map.draw(found.geometry)
            self._space = found.geometry.space
            names = sorted((found.geometry.label(cell), cell) for cell in range(found.geometry.cells))
            if found.geometry.ids is None:
                names.sort(key=lambda named: named[1])
            self.cell.options = {"Whole area": CITY, **dict(names)}
        times = clock(self._slot)
        if self.time.options != times:
            self.time.options = times
            self.time.value = times[len(times) * 3 // 4]
        self.time.visible = len(times) > 1
        ahead = set(found.days["forecast"]) - set(found.days["actual"])
        days = sorted({*found.days["actual"], *ahead}, reverse=True)
        named = {told(day) + (", forecast" if day in ahead else ""): day for day in days}
        if self.day.options != named:
            self.day.options = named
            self.other.options = {_NONE: "", **named}
        if self.day.value != found.day.day:
            self.day.value = found.day.day
        if not self._linked:
            self._linked = True
            for widget, name in (
                (self.day, "day"), (self.other, "vs"), (self.time, "time"), (self.what, "show"),
                (self.direction, "direction"), (self.cell, "cell"),
            ):  # fmt: skip
                self.link(widget, name)

    def _redraw(self, *_: Any) -> None:
        """Draw the slot that is chosen of what was read."""
        view = self.view
        if view is None or view.day is None or view.geometry is None:
            return
        times: list[str] = list(self.time.options)
        slot = times.index(self.time.value) if self.time.value in times else 0
        what, direction = self.what.value, self.direction.value
        whole = view.day.shown(what, direction)
        if view.other is not None:
            whole = whole - view.other.shown(what, direction)
        values = whole[slot]
        signed = what == "error" or view.other is not None
        top = float(np.nanmax(np.abs(whole), initial=0.0, where=np.isfinite(whole)))
        unit = _unit(self._slot)
        title = _title(what, direction, view.other) + f" in {unit}"
        texts = [_text(value, signed=signed) for value in values.tolist()]
        self.map.colour(values, texts, top=top, signed=signed, title=title)
        style.put(self.told, told_html(view, slot, times, what, direction, values))
        style.put(self.table, top_html(view, slot, what, direction, values, caption=title))
        self._draw_cell(view, slot, direction, unit)

    def _draw_cell(self, view: View, slot: int, direction: str, unit: str) -> None:
        assert view.day is not None and view.geometry is not None  # noqa: S101, PT018
        if self._day_drawn is None or self._day_drawn[0] is not view or self._day_drawn[1] != direction:
            self._day_drawn = view, direction
            curves = {name: view.day.curve(name, direction, view.cell) for name in ("trips", "mean", "low", "high")}
            foreseen = "expected (backtest)" if view.day.backtest else "expected"
            names = {"trips": told(view.day.day, year=False), "mean": foreseen, "other": ""}
            if view.other is not None:
                counted = view.other.curve("trips", direction, view.cell)
                ahead = not np.isfinite(counted).any()
                curves["other"] = view.other.curve("mean", direction, view.cell) if ahead else counted
                names["other"] = told(view.other.day, year=False) + (", expected" if ahead else "")
            self.day_chart.update(curves, names=names, direction=direction, unit=unit)
            name = "The whole area" if view.cell is None else view.geometry.label(view.cell)
            around = "" if view.cell is None or view.around is None else view.around[view.cell]
            style.put(self.cell_told, cell_html(name, view.day.day, around))
            for chart in self.ahead.values():
                chart.plot.visible = chart.direction == direction
        self.day_chart.mark(slot)


def _unit(slot: str) -> str:
    return slot_of(pd.Series([pd.Timestamp("2000-01-01"), pd.Timestamp("2000-01-01") + pd.Timedelta(slot)]))


def _title(what: str, direction: str, other: Day | None) -> str:
    word = _WORDS[direction].capitalize()
    titles = {"actual": word, "forecast": f"Expected {_WORDS[direction]}", "error": f"{word}, expected less counted,"}
    return titles[what] + (f", less those of {told(other.day, year=False)}," if other is not None else "")


def _text(value: float, *, signed: bool = False) -> str:
    if value != value:
        return "no data"
    if value == round(value):
        return f"{value:+,.0f}" if signed and value else f"{value:,.0f}"
    return f"{value:+,.1f}" if signed else f"{value:,.1f}"


def told_html(view: View, slot: int, times: list[str], what: str, direction: str, values: np.ndarray) -> str:
    """When, how many in all, and what is missing, in a sentence."""
    assert view.day is not None  # noqa: S101
    day = view.day
    until = times[slot + 1] if slot + 1 < len(times) else "24:00"
    when = f"{told(day.day)}, {times[slot]} – {until}"
    known = values[np.isfinite(values)]
    if len(known):
        said = _sum_told(float(known.sum()), what, _WORDS[direction], view.other)
    else:
        said = next((why for one in (day, view.other) if one is not None and (why := _nothing(one, what))), "no data")
    note = ""
    if what != "actual" and day.backtest:
        note = " The forecast is the backtest's: made by a model that had not seen that day."
    return f"<p><strong>{when}</strong>: {said}.{note}</p>"


def _nothing(day: Day, what: str) -> str:
    """Why a day has nothing of what is asked for; empty if it has."""
    if what != "forecast" and not np.isfinite(day.trips).any():
        return f"nothing is counted of {told(day.day)} yet: choose Forecast, or another day"
    if what != "actual" and day.backtest is None:
        return f"no forecast was made of {told(day.day)}: choose Counted, or another day"
    return ""


def _sum_told(total: float, what: str, word: str, other: Day | None) -> str:
    size = _text(abs(round(total, 1)))
    if other is None and what != "error":
        return f"{size} {word} {'expected ' if what == 'forecast' else ''}in all"
    more = "more" if total >= 0 else "fewer"
    if other is None:
        return f"{size} {more} {word} expected than counted, in all"
    than = {"actual": "", "forecast": " expected", "error": " expected than counted"}[what]
    return f"{size} {more} {word}{than} in all than on {told(other.day)}"


def top_html(view: View, slot: int, what: str, direction: str, values: np.ndarray, *, caption: str) -> str:
    """The cells with the largest numbers; of differences, either way."""
    assert view.day is not None and view.geometry is not None  # noqa: S101, PT018
    geometry = view.geometry
    size = np.where(np.isfinite(values), np.abs(values), -1.0)
    order = [int(cell) for cell in np.argsort(-size, kind="stable")[:TOP] if size[cell] > 0]
    if not order:
        return "<p>No trips in this slot.</p>"
    columns: dict[str, np.ndarray]
    if view.other is not None:
        columns = {told(day.day, year=False): day.shown(what, direction)[slot] for day in (view.day, view.other)} | {
            "Difference": values
        }
    else:
        whole = {name: view.day.shown(name, direction)[slot] for name in ("actual", "forecast", "error")}
        columns = {head: whole[name] for head, name in _WHATS.items() if np.isfinite(whole[name]).any()}
    around = view.around if view.around is not None and any(view.around) else None
    rows = [
        [geometry.label(cell), *([] if around is None else [around[cell] or "–"]),
         *(_text(float(column[cell]), signed=head in ("Error", "Difference")) for head, column in columns.items())]
        for cell in order
    ]  # fmt: skip
    heads = ["Cell", *([] if around is None else ["Centre in"]), *columns]
    return style.table(heads, rows, numeric=list(columns), caption=caption)


def cell_html(name: str, day: str, around: str = "") -> str:
    """What the curves below are of."""
    centre = f" The centre of the cell is in {html.escape(around)}." if around else ""
    return (
        f"<p><strong>{html.escape(name)}</strong> on {told(day)}, and below it in the last days with what is expected "
        f"next.{centre} Click a cell on the map for its curves, or choose one here.</p>"
    )


if __name__.startswith("bokeh_app"):
    from taxidask.app.server import settings_state

    Demand(settings_state()).served().servable()
