"""The Data page: what was read, what was set aside and why, and for which days there is data."""

from __future__ import annotations

import asyncio
import html
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pandas as pd
import panel as pn
import panel_material_ui as pmui

from taxidask.app import style
from taxidask.app.calendar import Calendar, by_day
from taxidask.app.shell import AppPage
from taxidask.errors import LakeError, TaxidaskError
from taxidask.results.summary import percent, reasons, short, totals, volume
from taxidask.storage import absolute
from taxidask.trips.rules import REASONS
from taxidask.words import command, escaped, quantity

LISTED = 300  # sources
SAMPLE = 20  # rejected lines
_RUN = "taxidask run --sources 'trips/*.csv'"


@dataclass(frozen=True)
class Found:
    """What the store says of a lake."""

    lake: str = ""
    sources: pd.DataFrame = field(default_factory=pd.DataFrame)
    days: pd.Series = field(default_factory=lambda: pd.Series(dtype="float64"))


class Data(AppPage):
    """Where the numbers come from."""

    path = "/data"

    def __init__(self, app: Any) -> None:
        super().__init__(app)
        self._drawn: Found | None = None
        self.numbers = style.pane()
        self.calendar = Calendar()
        self.covered, self.by_month, self.sources = (style.pane(inset=True) for _ in range(3))
        self.sample = style.pane(inset=True)
        self.reason = style.choice("Reason", {"Any reason": ""}, width=220)
        self.source = style.choice("Source", {"Any source": ""}, width=320)
        self.look = pmui.Button(label="Show some", variant="outlined", size="small")
        self.look.on_click(self._look)
        ask = pn.FlexBox(self.reason, self.source, self.look, align_items="center")
        self.calendar_card = style.card("Days with data", self.covered, self.calendar.plot)
        self.months_card = style.card("Rejected rows by month and reason", self.by_month)
        self.sample_card = style.card("Rejected lines", ask, self.sample)
        self.sources_card = style.card("Sources", self.sources)
        self._cards = [self.calendar_card, self.months_card, self.sample_card, self.sources_card]
        for card in self._cards:
            card.visible = False

    def cards(self) -> list[Any]:
        return [self.numbers, *self._cards]

    def read(self, _asked: Any) -> Found:
        store = self.app.store
        latest = self.app.shared("latest", store.get_latest, seconds=5)
        if not latest.get("lake"):
            return Found()
        key = ("data", latest.get("run"), latest["lake"])

        def look() -> Found:
            observed = store.get_demand(latest["space"], slot=latest.get("slot", "30min"))
            days = by_day(observed, latest.get("cube_start"), latest.get("cube_end"))
            return Found(latest["lake"], store.get_ingest(latest["lake"]), days)

        return self.app.shared(key, look, seconds=60)

    def show(self, found: Found) -> None:
        for card in self._cards:
            card.visible = bool(found.lake)
        if not found.lake:
            self.say("info", f"Nothing has been published in {self.app.store.url} yet.",
                     f"start a run: {command(_RUN, store=self.app.store.url)} – or try: taxidask demo")  # fmt: skip
            return
        self.say(None)
        if found is self._drawn:
            return
        first, self._drawn = self._drawn is None, found
        style.put(self.numbers, numbers_html(found))
        style.put(self.covered, covered_html(found.days))
        self.calendar.update(found.days)
        style.put(self.by_month, by_month_html(found.sources))
        style.put(self.sources, sources_html(found.sources))
        there = reasons(found.sources)
        self.reason.options = {"Any reason": "", **{name.replace("_", " "): name for name in REASONS if name in there}}
        rejected = found.sources[found.sources["rejected"].fillna(0) > 0] if len(found.sources) else found.sources
        self.source.options = {"Any source": "", **{escaped(short(url)): url for url in rejected.get("url", [])}}
        if first:
            self.link(self.reason, "reason")
            self.link(self.source, "source")
        if not there:
            style.put(self.sample, "<p>No row was rejected.</p>")

    async def _look(self, _: Any) -> None:
        """Read a few rejected lines from the lake, which nothing else on this page asks."""
        found = self._drawn
        if found is None:
            return
        self.look.loading = True
        try:
            lines = await asyncio.to_thread(self._lines, found.lake, self.reason.value, self.source.value)
            text = sample_html(lines)
        except TaxidaskError as error:
            text = style.notice("error", error.message, error.remedy or "")
        finally:
            self.apply(partial(setattr, self.look, "loading", False))
        self.apply(partial(style.put, self.sample, text))

    def _lines(self, lake: str, reason: str, source: str) -> pd.DataFrame:
        from taxidask.lake import Lake  # loads compiled code, for the few who ask

        mine = absolute(self.app.settings.lake)
        if mine != lake:
            raise LakeError(
                f"rejected lines are in the lake {lake}, and this app was told of {mine}",
                f"serve it with: {command('taxidask app', store=self.app.store.url, lake=lake)}",
            )
        return Lake(mine).rejects(source=source or None, reason=reason or None, limit=SAMPLE)


def numbers_html(found: Found) -> str:
    """How the rows add up."""
    sums = totals(found.sources)
    known = found.days.notna()
    return style.numbers(
        [
            ("Sources", f"{len(found.sources):,}", volume(float(found.sources.get("bytes", pd.Series([0])).sum()))),
            ("Rows", f"{sums['rows']:,}", f"{sums['kept']:,} kept + {sums['rejected']:,} rejected"),
            ("Rejected", percent(sums["rejected"] / max(1, sums["rows"])), "under the first reason that applies"),
            ("Days with data", f"{int(known.sum()):,}", f"of {len(found.days):,} from the first to the last"),
        ]
    )


def covered_html(days: pd.Series) -> str:
    """The calendar in words, for those who do not see it."""
    gaps = pd.DatetimeIndex(days.index[days.isna()])
    if days.empty:
        return "<p>No day has data.</p>"
    text = f"{days.index[0]:%-d %b %Y} to {days.index[-1]:%-d %b %Y}"
    if not len(gaps):
        return f"<p>Every day has data, {text}. A darker day has more pickups.</p>"
    runs = (pd.Series(gaps).diff() != pd.Timedelta(1, "D")).cumsum()
    spans = [(part.iloc[0], part.iloc[-1]) for _, part in pd.Series(gaps).groupby(runs.to_numpy())]
    told = ", ".join(f"{a:%-d %b %Y}" if a == b else f"{a:%-d %b %Y} – {b:%-d %b %Y}" for a, b in spans[:12])
    more = f" and {quantity(len(spans) - 12, 'gap')} more" if len(spans) > 12 else ""
    return f"<p>{text}; {quantity(len(gaps), 'day')} without data, outlined only: {told}{more}.</p>"


def by_month_html(sources: pd.DataFrame) -> str:
    """Rejected rows of each month by reason, months in order."""
    there = list(reasons(sources))
    if not there:
        return "<p>No row was rejected.</p>"
    frame = sources.assign(month=sources["month"].fillna("–") if "month" in sources else "–")
    sums = frame.groupby("month")[["rows", "rejected", *there]].sum()
    rows = [
        [
            style.Markup(f"<span style='white-space: nowrap'>{html.escape(str(month))}</span>"),
            *(f"{int(line[name]):,}" for name in ("rows", "rejected")),
            percent(line["rejected"] / max(1, line["rows"])),
            *(f"{int(line[name]):,}" if line[name] else "" for name in there),
        ]
        for month, line in sums.iterrows()
    ]
    heads = ["Month", "Rows", "Rejected", "Share", *(name.replace("_", " ") for name in there)]
    return style.table(heads, rows, numeric=heads[1:])


def sources_html(sources: pd.DataFrame) -> str:
    """What was read, file by file."""
    shown = sources.head(LISTED).astype(object)
    rows = [
        [
            style.Markup(f"<span title='{html.escape(escaped(one['url']))}'>{_name(one['url'])}</span>"),
            one.get("month") or "–",
            one.get("era") or "–",
            *(f"{int(one.get(name) or 0):,}" for name in ("rows", "kept", "rejected")),
            volume(float(one.get("bytes") or 0)),
            escaped(str(one.get("note") or "")),
        ]
        for one in shown.where(shown.notna(), None).to_dict("records")
    ]
    heads = ["Source", "Month", "Layout", "Rows", "Kept", "Rejected", "Size", "Note"]
    text = style.table(heads, rows, numeric=heads[3:7])
    if len(sources) > len(rows):
        more = len(sources) - len(rows)
        text += f"<p>{more:,} more are not listed here: <code>taxidask lake sources</code> lists all.</p>"
    return text


def _name(url: str) -> str:
    return html.escape(escaped(short(url)))


def sample_html(lines: pd.DataFrame) -> str:
    """A few rejected lines as they stand in their file."""
    if lines.empty:
        return "<p>No line was rejected for that reason in that source.</p>"
    rows = [
        [
            str(one["reason"]).replace("_", " "), escaped(short(str(one["source"]))), f"{int(one['offset']):,}",
            style.Markup(f"<code>{html.escape(escaped(_text(one['line'])))}</code>"),
        ]
        for one in lines.to_dict("records")
    ]  # fmt: skip
    heads = ["Reason", "Source", "At byte", "Line"]
    told = f"the first {SAMPLE}" if len(lines) == SAMPLE else f"all {len(lines)}"
    return style.table(heads, rows, numeric=["At byte"], caption=f"In the order of the lake, {told}")


def _text(line: Any) -> str:
    text = line.decode(errors="replace") if isinstance(line, bytes) else str(line)
    return text if len(text) <= 500 else f"{text[:500]}… ({len(text):,} characters)"


if __name__.startswith("bokeh_app"):
    from taxidask.app.server import settings_state

    Data(settings_state()).served().servable()
