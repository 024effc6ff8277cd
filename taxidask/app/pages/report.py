"""The Report page: the newest report to be read, kept, and built anew."""

from __future__ import annotations

import asyncio
import hashlib
import html
from dataclasses import dataclass
from functools import partial
from typing import Any

import panel as pn
import panel_material_ui as pmui

from taxidask.app import style
from taxidask.app.reportfile import ADDRESS, Place, place_of
from taxidask.app.shell import AppPage
from taxidask.errors import TaxidaskError
from taxidask.results.summary import volume
from taxidask.runs.starting import Started, in_a_pod
from taxidask.words import command

BUILD_SECONDS = 900.0
_RUN = "taxidask run --sources 'trips/*.csv'"
_CSS = "object { width: 100%; height: min(80vh, 1100px); border: 0; border-radius: 6px; display: block; }"


@dataclass(frozen=True)
class Found:
    """The report's place; the process that builds it, whoever began that, and the end of its log."""

    place: Place
    building: Started | None = None
    log: str | None = None


class Report(AppPage):
    """What goes to those who do not open the app."""

    path = "/report"
    refresh_ms = 3_000

    def __init__(self, app: Any) -> None:
        super().__init__(app)
        self.found: Found | None = None
        self._building: Started | None = None
        self._mine = False  # whether this visitor began it
        self._stale = True  # what the notice says is not of what the visitor did
        refusal = in_a_pod()
        self._may_build = app.may_write(self.user) and refusal is None
        self.build = pmui.Button(label="Build it anew", variant="outlined", size="small", disabled=not self._may_build)
        self.build.on_click(self._build)
        self.told, self.log, self.preview = style.pane(inset=True), style.pane(inset=True), style.pane(inset=True)
        self.preview.stylesheets = [*self.preview.stylesheets, _CSS]
        why = "" if self._may_build else "<p>Only operators build the report.</p>"
        if refusal is not None:
            why = style.notice("info", refusal.message, refusal.remedy or "")
        self.why_not = style.pane(why, inset=True)
        self.card = style.card("Report", self.told, pn.Row(self.build), self.why_not, self.log)
        self.preview_card = style.card("Preview", self.preview)
        self.card.visible = self.preview_card.visible = False

    def cards(self) -> list[Any]:
        return [self.card, self.preview_card]

    def read(self, _asked: Any) -> Found:
        starter = self.app.starter
        at_work = next((one for one in starter.at_work() if one.command == "report"), None)
        building = self._building or at_work
        place = self.app.shared("report", lambda: place_of(self.app.store), seconds=2)
        return Found(place, building, starter.tail(building.log, 4_000) if building else None)

    def show_error(self, error: TaxidaskError) -> None:
        self._stale = True
        super().show_error(error)

    def show(self, found: Found) -> None:
        self.found = found
        self.card.visible = bool(found.place.run)
        self.preview_card.visible = bool(found.place.size)
        if not found.place.run:
            self.say("info", f"Nothing has been published in {self.app.store.url} yet, so there is no report.",
                     f"start a run: {command(_RUN, store=self.app.store.url)} – or try: taxidask demo")  # fmt: skip
            self._stale = True
            return
        if self._stale:
            self.say(None)
        self._stale = False
        style.put(self.told, place_html(found.place))
        if found.place.size:
            style.put(self.preview, preview_html(found.place))
        building = found.building
        if building is None:
            return
        if self._building is None and building.code is None:
            self._follow(building, mine=False)
        if building.code is None:
            style.put(self.log, f"<pre tabindex='0' aria-label='Log'>{html.escape((found.log or '').strip())}</pre>")
            return
        mine = self._mine
        self._building, self._mine = None, False
        self._free()
        style.put(self.log, "")
        if building.code == 0:
            self.app.forget("report")
            self.say("done", "The report is built.")
        elif not mine:
            self.say("info", "What another visitor began came to nothing: the report is what it was.")
        else:
            why = (found.log or "").strip().splitlines()[-1:] or [f"it ended with code {building.code}"]
            late = f"it took more than {BUILD_SECONDS / 60:.0f} min" if building.overdue else why[0]
            self.say("error", f"The report could not be built: {late}")

    def _follow(self, building: Started, *, mine: bool) -> None:
        self._building, self._mine = building, mine
        self.build.param.update(loading=True, disabled=True)
        self.say("info", "The report is being built, which takes a minute or two …")

    def _free(self) -> None:
        self.build.param.update(loading=False, disabled=not self._may_build)

    async def _build(self, _: Any) -> None:
        run = self.found.place.run if self.found else ""
        if not run or self._building is not None:
            return
        self.build.param.update(loading=True, disabled=True)
        try:
            self.app.write(self.user, f"build the report of run {run}")
            building = await asyncio.to_thread(self.app.starter.report, self.app.store, run, seconds=BUILD_SECONDS)
        except TaxidaskError as error:
            self.apply(partial(self.say, "error", error.message, error.remedy or ""))
            self.apply(self._free)
            await self.refresh()  # another may have begun it at the same moment
            return
        self.apply(partial(self._follow, building, mine=True))
        await self.refresh()


def place_html(place: Place) -> str:
    """Where the report is, and a link to keep it."""
    told = f"Of run <code>{html.escape(place.run)}</code>, at <code>{html.escape(place.url)}</code>"
    if not place.size:
        return f"<p>{told}: there is no file. Build it.</p>"
    return (
        f"<p>{told}, {volume(place.size)}. <a href='.{ADDRESS}?download' download='taxidask-report.pdf'>Download</a> · "
        f"<a href='.{ADDRESS}' target='_blank' rel='noopener'>Open in a tab of its own</a></p>"
    )


def preview_html(place: Place) -> str:
    """The PDF in the page, where the browser shows such; another version has another address."""
    version = hashlib.sha256(f"{place.url} {place.version}".encode()).hexdigest()[:12]
    return (
        f"<object data='.{ADDRESS}?version={version}' type='application/pdf' aria-label='The report'>"
        "<p>This browser shows no PDF in a page: download it, or open it in a tab of its own.</p></object>"
    )


if __name__.startswith("bokeh_app"):
    from taxidask.app.server import settings_state

    Report(settings_state()).served().servable()
