"""The Overview page: key numbers, demand and its forecast, rejects, runs. ``panel serve`` this file, or `serve` it.

``panel serve taxidask/app/overview.py`` reads the store from the settings (``TAXIDASK_STORE``, ``taxidask.toml``).
"""

from __future__ import annotations

import asyncio
import html
import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd
import panel as pn
import panel_material_ui as pmui
import param
from panel.util import edit_readonly

from taxidask.app import charts
from taxidask.app.data import CITY, Curves, Snapshot, cell_names, read_curves, read_snapshot
from taxidask.errors import TaxidaskError
from taxidask.words import command, quantity

if TYPE_CHECKING:
    from taxidask.results import Store

log = logging.getLogger(__name__)

REFRESH = 10_000  # milliseconds between looks at the store
_FONT = "Roboto, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif"
_RUN = "taxidask run --sources 'trips/*.csv'"
_STATES = {
    "done": ("#137333", "✓"),
    "running": ("#0b57d0", "●"),
    "failed": ("#b3261e", "✕"),
    "dead": ("#b3261e", "✕"),
    "interrupted": ("#8a5000", "❚❚"),
    "cancelled": ("#5f6368", "■"),
}
_CSS = """
:host { font-family: FONT; color: #202124; }
.numbers { display: grid; grid-template-columns: repeat(auto-fit, minmax(170px, 1fr)); gap: 14px; margin: 0; }
.numbers div { border: 1px solid #dadce0; border-radius: 8px; padding: 12px 16px; background: #fff; }
.numbers dt { font-size: 13px; color: #4d5156; margin: 0 0 4px; }
.numbers dd { font-size: 25px; margin: 0; line-height: 1.2; font-variant-numeric: tabular-nums; }
.numbers small { display: block; font-size: 12px; color: #4d5156; margin-top: 3px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; }
th { text-align: left; font-weight: 600; color: #4d5156; border-bottom: 1px solid #80868b; padding: 6px 12px 6px 0; }
td { border-bottom: 1px solid #e8eaed; padding: 6px 12px 6px 0; vertical-align: top; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
td.error { color: #b3261e; max-width: 32em; overflow-wrap: anywhere; }
.state { white-space: nowrap; font-weight: 600; }
.notice { border: 1px solid #0b57d0; border-left-width: 6px; border-radius: 6px; padding: 12px 16px; font-size: 15px; }
.notice.error { border-color: #b3261e; }
.notice small { display: block; margin-top: 6px; font: 13px/1.5 'Roboto Mono', Menlo, Consolas, monospace; }
.notice { overflow-wrap: anywhere; background: #fff; }
h2 { margin: 6px 0; font-size: 17px; font-weight: 600; }
p { margin: 0 0 8px; font-size: 14px; line-height: 1.5; }
code { background: #f1f3f4; padding: 1px 5px; border-radius: 4px; }
""".replace("FONT", _FONT)


class _Idle(param.Parameterized):
    busy = param.Boolean(default=False)


class Overview:
    """One visitor's page.

    Parameters
    ----------
    store : Store
        Where everything on the page comes from.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.snapshot: Snapshot | None = None
        self._drawn: Any = None  # which run's curves, and of which place, are on the page
        self._document: Any = pn.state.curdoc
        self.notice = _html(notice_html("info", "Reading the store …"))
        self.numbers = _html("")
        self.place = pmui.Select(label="Place", options={"Whole area": CITY}, value=CITY, width=260, size="small")
        self.pickups, self.dropoffs = charts.DemandChart("pickup"), charts.DemandChart("dropoff")
        self.reasons = charts.ReasonsChart()
        self.rejects = _html("", inset=True)
        self.runs = _html("", inset=True)
        self.demand_card = _card("Demand and forecast", self.place, self.pickups.plot, self.dropoffs.plot)
        self.rejects_card = _card("Rejected rows by reason", self.rejects, self.reasons.plot)
        self.runs_card = _card("Runs", self.runs)
        self.place.param.watch(self._chosen, "value")
        self._show_only()

    def page(self) -> pmui.Page:
        """The page, to be served."""
        body = pn.Column(
            self.notice,
            self.numbers,
            self.demand_card,
            self.rejects_card,
            self.runs_card,
            sizing_mode="stretch_width",
            styles={
                "width": "100%",
                "max-width": "1180px",
                "margin": "0 auto",
                "gap": "14px",
                "padding": "14px",
                "box-sizing": "border-box",
            },
        )
        page = pmui.Page(title="taxidask – Overview", main=[body], theme_toggle=False, busy_indicator=None)
        # a Page listens to the state of the whole server, which would keep it, and all that is its visitor's, for ever
        with edit_readonly(page):
            page.busy = _Idle().param.busy
        return page

    def _show_only(self, *cards: Any) -> None:
        for card in (self.demand_card, self.rejects_card, self.runs_card):
            card.visible = card in cards

    # -- reading -------------------------------------------------------------------------------------------------------

    async def refresh(self) -> None:
        """Look at the store, without holding up other visitors, and show what changed."""
        place = self.place.value
        try:
            snapshot, curves, drawn = await asyncio.to_thread(self._read, place)
        except TaxidaskError as error:
            self._apply(partial(self.show_error, error))
            return
        except Exception as error:  # a page that stays silent helps nobody
            log.exception("the Overview could not be read from %s", self.store.url)
            told = TaxidaskError(f"{type(error).__name__}: {error}", "the server's log has more")
            self._apply(partial(self.show_error, told))
            return
        self._apply(partial(self.show, snapshot))
        if curves is not None and place == self.place.value:
            self._drawn = drawn
            self._apply(partial(self.show_curves, curves))

    def _read(self, place: int | str) -> tuple[Snapshot, Curves | None, Any]:
        snapshot = read_snapshot(self.store)
        wanted = (snapshot.latest.get("run"), snapshot.latest.get("forecast_start"), place)
        if not snapshot.latest.get("forecast_start") or wanted == self._drawn:
            return snapshot, None, wanted
        return snapshot, read_curves(self.store, snapshot.latest, place), wanted

    async def _chosen(self, _event: Any) -> None:
        await self.refresh()

    def _apply(self, change: Callable[[], None]) -> None:
        """Change the page while holding its lock, which an awaited read has let go of."""
        if self._document is None or self._document.session_context is None:
            change()
        elif not self._document.session_context.destroyed:  # the visitor may have left meanwhile
            self._document.add_next_tick_callback(change)

    # -- showing -------------------------------------------------------------------------------------------------------

    def show(self, snapshot: Snapshot) -> None:
        """Put a snapshot on the page; what did not change is left alone."""
        before, self.snapshot = self.snapshot, snapshot
        if snapshot.empty:
            self._show_only()
            _set(self.numbers, "")
            first = f"start a run: {command(_RUN, store=self.store.url)} – or try: taxidask demo"
            self._say("info", f"Nothing has been published in {self.store.url} yet.", first)
            return
        _set(self.runs, runs_html(snapshot.runs))
        _set(self.numbers, numbers_html(snapshot))
        if not snapshot.latest:
            self._show_only(self.runs_card)
            self._say("info", "The first run has not published its forecasts yet; they will appear here.")
            return
        self._say(None, "")
        self._show_only(self.demand_card, self.rejects_card, self.runs_card)
        names = cell_names(snapshot.latest)
        if self.place.options != names:
            self.place.options = names
        if before is None or before.reasons != snapshot.reasons or before.totals != snapshot.totals:
            rows = snapshot.totals["rows"]
            _set(self.rejects, rejects_html(snapshot))
            self.reasons.update(snapshot.reasons, rows=rows)

    def show_curves(self, curves: Curves) -> None:
        """Draw a place's last days and its forecast."""
        for chart in (self.pickups, self.dropoffs):
            chart.update(curves.observed, curves.expected)

    def show_error(self, error: TaxidaskError) -> None:
        """Say what is wrong with the store and what to do; what was shown before stays."""
        self._say("error", f"The store cannot be read: {error.message}", error.remedy or "")

    def _say(self, kind: str | None, text: str, remedy: str = "") -> None:
        self.notice.visible = kind is not None
        if kind is not None:
            _set(self.notice, notice_html(kind, text, remedy))


def notice_html(kind: str, text: str, remedy: str = "") -> str:
    """What is the matter, and below it what to do; an error is announced to screen readers at once."""
    role = "alert" if kind == "error" else "status"
    below = f"<small>{html.escape(remedy)}</small>" if remedy else ""
    return f"<div class='notice {kind}' role='{role}'>{html.escape(text)}{below}</div>"


def numbers_html(snapshot: Snapshot) -> str:
    """The key numbers as a list of terms."""
    latest, sums = snapshot.latest, snapshot.totals
    entries: list[tuple[str, str, str]] = []
    if latest:
        share = sums["kept"] / sums["rows"] if sums["rows"] else 0.0
        entries = [
            ("Trips in the lake", f"{latest.get('trips', sums['kept']):,}", quantity(snapshot.sources, "file")),
            ("Rows kept", f"{share:.2%}", f"{sums['rejected']:,} of {sums['rows']:,} rejected"),
            ("Data from", _day(latest.get("cube_start")), f"to {_day(latest.get('cube_end'), last=True)}"),
            ("Forecast to", _day(latest.get("forecast_end"), last=True), f"in slots of {latest.get('slot', '–')}"),
        ]
    if not snapshot.runs.empty:
        run = snapshot.runs.iloc[0]
        entries.append(("Last run", run["state"], f"started {_utc(run['created'])}"))
    items = "".join(
        f"<div><dt>{html.escape(term)}</dt><dd>{html.escape(text)}</dd><small>{html.escape(note)}</small></div>"
        for term, text, note in entries
    )
    return f"<dl class='numbers'>{items}</dl>"


def rejects_html(snapshot: Snapshot) -> str:
    """How the rows add up, in a sentence."""
    sums = snapshot.totals
    if not sums["rejected"]:
        return f"<p>All {sums['rows']:,} rows were kept.</p>"
    return (
        f"<p>{sums['kept']:,} kept + {sums['rejected']:,} rejected = {sums['rows']:,} rows. "
        "A row counts under the first reason that applies.</p>"
    )


def runs_html(runs: pd.DataFrame) -> str:
    """Runs as a table, newest first."""
    lines = []
    for run in runs.to_dict("records"):
        colour, sign = _STATES.get(run["state"], ("#5f6368", "○"))
        lines.append(
            f"<tr><td><code>{html.escape(run['id'])}</code></td>"
            f"<td class='state' style='color: {colour}'>{sign} {html.escape(run['state'])}</td>"
            f"<td>{_utc(run['created'])}</td><td class='number'>{html.escape(run['took'])}</td>"
            f"<td>{html.escape(run['stage'])}</td><td class='number'>{run['trips']:,}</td>"
            f"<td class='error'>{html.escape(run['error'])}</td></tr>"
        )
    head = (
        "<th scope='col'>Run</th><th scope='col'>State</th><th scope='col'>Started (UTC)</th>"
        "<th scope='col' class='number'>Took</th><th scope='col'>Stage</th>"
        "<th scope='col' class='number'>Trips</th><th scope='col'>Error</th>"
    )
    return f"<div class='scroll'><table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"


def _day(text: str | None, *, last: bool = False) -> str:
    if not text:
        return "–"
    stamp = pd.Timestamp(text) - pd.Timedelta(seconds=1 if last else 0)
    return f"{stamp:%-d %b %Y}"


def _utc(text: str) -> str:
    return html.escape(text[:16].replace("T", " "))


def _html(text: str, *, inset: bool = False) -> pn.pane.HTML:
    return pn.pane.HTML(text, stylesheets=[_CSS], sizing_mode="stretch_width", margin=(0, 10) if inset else 0)


def _card(title: str, *objects: Any) -> pn.Column:
    # no Paper of Material's: it walks all models below it each time it is made, and a figure has dozens
    return pn.Column(
        _html(f"<h2>{html.escape(title)}</h2>", inset=True),
        *objects,
        sizing_mode="stretch_width",
        styles={"background": "#fff", "border": "1px solid #dadce0", "border-radius": "8px", "padding": "10px 16px"},
    )


def _set(pane: Any, text: str) -> None:
    if pane.object != text:
        pane.object = text


def overview_page(store: Store | str) -> pmui.Page:
    """Build the Overview page for one visitor.

    Parameters
    ----------
    store : Store or str
        A store, or its URL.

    Returns
    -------
    panel_material_ui.Page
        Shows a notice at once and fills itself when the store has answered.
    """
    from taxidask.results import open_store

    pn.extension(notifications=False)
    page = Overview(open_store(store) if isinstance(store, str) else store)
    pn.state.onload(page.refresh)
    again: Any = page.refresh  # coroutine functions are welcome, whatever the annotation says
    pn.state.add_periodic_callback(again, period=REFRESH)
    return page.page()


if __name__.startswith("bokeh_app"):
    from taxidask.settings import resolve

    overview_page(resolve({})[0].store).servable()
