"""The Runs page: all runs; one of them live, with its log; start, cancel, resume; two of them compared."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pandas as pd
import panel as pn
import panel_material_ui as pmui

from taxidask.app import style
from taxidask.app.forms import SettingsForm
from taxidask.app.shell import AppPage
from taxidask.app.told import LISTED, compared_html, log_html, regions_html, run_html, runs_html, watches_html
from taxidask.errors import SettingsError, TaxidaskError
from taxidask.results.notes import whole
from taxidask.runs.ledger import LIVELY
from taxidask.runs.look import compare_metrics, find, request_cancel, runs_table
from taxidask.runs.starting import Started, in_a_pod
from taxidask.settings import Settings
from taxidask.words import command

RESUMABLE = ("dead", "failed", "interrupted", "cancelled")


@dataclass(frozen=True)
class Found:
    """What the page shows at one moment."""

    runs: pd.DataFrame
    run: dict[str, Any] | None = None
    log: str | None = None
    compared: pd.DataFrame | None = None
    ended: list[tuple[Started, str]] = field(default_factory=list)  # those that came to no run, with their last words
    became: str | None = None  # the run of the process that was started here last
    watches: list[dict[str, Any]] = field(default_factory=list)
    newest: dict[str, Any] | None = None  # settings of the newest run


class Runs(AppPage):
    """What ran, what runs, and what shall."""

    path = "/runs"
    refresh_ms = 2_000

    def __init__(self, app: Any) -> None:
        super().__init__(app)
        self.may_write = app.may_write(self.user)
        self.found: Found | None = None
        self.form: SettingsForm | None = None
        self._following: Started | None = None
        self._stopping = ""  # the run that the visitor cancelled
        self._linked = False  # to the address, once there are runs to choose from
        self._stale = True  # what the notice says is not of what the visitor did
        self.new = pmui.Button(label="New run", color="primary", size="small")
        self.start = pmui.Button(label="Start", color="primary", size="small")
        self.close = pmui.Button(label="Not now", variant="text", size="small")
        self.cancel = pmui.Button(label="Cancel this run", color="error", variant="outlined", size="small")
        self.resume = pmui.Button(label="Resume this run", variant="outlined", size="small")
        self.chosen = style.choice("Run", {"The newest": ""}, width=340)
        self.other = style.choice("Compare with", {"No other": ""}, width=340)
        self.why_not = style.pane(inset=True)
        self.table, self.told, self.log = (style.pane(inset=True) for _ in range(3))
        self.compared = style.pane(inset=True)
        self._form_at = pn.Column(sizing_mode="stretch_width", stylesheets=[style.WHOLE])
        self.form_card = style.card("New run", self._form_at, pn.Row(self.start, self.close))
        self.form_card.visible = False
        self.watched = style.pane(inset=True)
        self.watch_card = style.card("Watching for new files", self.watched)
        self.watch_card.visible = False
        self.runs_card = style.card("Runs", self.new, self.why_not, self.table)
        self.run_card = style.card(
            "One run", pn.FlexBox(self.chosen, self.cancel, self.resume, align_items="center"), self.told
        )
        self.log_card = style.card("Log", self.log)
        self.compare_card = style.card("Compare two runs", self.other, self.compared)
        self.regions = style.pane(inset=True)
        self.regions_card = style.card("Regions, as this app sees them", self.regions)
        self.regions_card.visible = app.store.regions is not None
        self.new.on_click(self._open_form)
        self.close.on_click(self._close_form)
        self.start.on_click(self._start)
        self.cancel.on_click(self._cancel)
        self.resume.on_click(self._resume)
        for widget in (self.chosen, self.other):
            widget.param.watch(self.refresh, "value")
        refusal = in_a_pod()
        self.new.disabled = refusal is not None or not self.may_write
        if refusal is not None:
            style.put(self.why_not, style.notice("info", refusal.message, refusal.remedy or ""))
        elif not self.may_write:
            style.put(self.why_not, "<p>Only operators start, cancel and resume runs.</p>")
        self._show_only()

    def cards(self) -> list[Any]:
        cards = [self.form_card, self.watch_card, self.runs_card, self.run_card, self.log_card, self.compare_card]
        return [*cards, self.regions_card]

    def _show_only(self, *cards: Any) -> None:
        for card in (self.run_card, self.log_card, self.compare_card):
            card.visible = card in cards

    # -- reading -------------------------------------------------------------------------------------------------------

    def asked(self) -> tuple[str, str]:
        return self.chosen.value or "", self.other.value or ""

    def read(self, asked: tuple[str, str]) -> Found:
        store, starter = self.app.store, self.app.starter
        items = self.app.shared("runs", lambda: store.list_runs(limit=LISTED), seconds=1)
        drivers = {item.get("log") for item in items}
        ended = [(one, starter.tail(one.log, 4_000) or "") for one in starter.ended() if one.log not in drivers]
        following = self._following
        became = None
        if following is not None:
            became = next((item["id"] for item in items if item.get("log") == following.log), None)
        runs = runs_table(items)
        watches = self.app.shared("watches", store.list_watches, seconds=2)
        run_id, other = asked
        if not run_id and runs.empty:
            return Found(runs, ended=ended, watches=watches)
        run_id = run_id or str(runs["id"].iloc[0])
        run = self.app.shared(("run", run_id), lambda: whole(store, find(store, run_id)), seconds=1)
        compared = None
        if other and other != run_id:
            key = ("compared", run_id, other, run["state"])
            compared = self.app.shared(key, lambda: compare_metrics(store, run_id, other), seconds=60)
        newest = items[0].get("settings") if items else None
        return Found(runs, run, starter.tail(run.get("log")), compared, ended, became, watches, newest)

    # -- showing -------------------------------------------------------------------------------------------------------

    def show_error(self, error: TaxidaskError) -> None:
        self._stale = True
        super().show_error(error)

    def show(self, found: Found) -> None:
        self.found = found
        if self.app.store.regions is not None:
            style.put(self.regions, regions_html(self.app.store.regions))
        if found.became is not None:
            self._following = None
            self.chosen.value = found.became if self._offer(found.runs) else self.chosen.value
        elif self._following is not None and self._following.code is not None:
            ended, self._following = self._following, None
            words = next((words for one, words in found.ended if one is ended), "")
            last = words.strip().splitlines()[-1:] or [f"it ended with code {ended.code}"]
            self.say("error", f"No run came of it: {last[0]}")
        elif found.run is not None and found.run["id"] == self._stopping and found.run["state"] not in LIVELY:
            self.say("done", f"Run {self._stopping} has stopped: it is {found.run['state']}, and what it did is kept.")
            self._stopping = ""
        elif self._stale:
            self.say(None)
        self._stale = False
        self.watch_card.visible = bool(found.watches)
        style.put(self.watched, watches_html(found.watches, self.theme))
        if found.runs.empty:
            self._show_only()
            style.put(self.table, "<p>There is no run yet.</p>")
            if not self.may_write or self.new.disabled:
                first = command("taxidask run --sources 'trips/*.csv'", store=self.app.store.url)
                self.say("info", f"{self.app.store.url} holds no run yet.", f"start one: {first}")
            return
        self._offer(found.runs)
        chosen = found.run["id"] if found.run else None
        style.put(self.table, runs_html(found.runs, chosen, ended=found.ended, theme=self.theme))
        if found.run is None:
            return
        self._show_only(self.run_card, self.log_card, self.compare_card)
        style.put(self.told, run_html(found.run))
        style.put(self.log, log_html(found.run, found.log))
        style.put(self.compared, compared_html(found.compared, found.run["id"], self.other.value))
        state = found.run["state"]
        self.cancel.disabled = not self.may_write or state not in (*LIVELY, "dead") or bool(found.run.get("cancel"))
        self.resume.disabled = self.new.disabled or state not in RESUMABLE
        self.cancel.visible, self.resume.visible = state in (*LIVELY, "dead"), state in RESUMABLE
        if not self._linked:
            self._linked = True
            self.link(self.chosen, "run")
            self.link(self.other, "with")

    def _offer(self, runs: pd.DataFrame) -> bool:
        """Runs to choose from; one of the address that is older than the listed is kept."""
        named = {f"{run['id']} ({run['state']})": run["id"] for run in runs.to_dict("records")}
        for widget, first in ((self.chosen, "The newest"), (self.other, "No other")):
            options = {first: "", **named}
            if widget.value and widget.value not in options.values():
                options[widget.value] = widget.value
            if widget.options != options:
                widget.options = options
        return True

    # -- doing ---------------------------------------------------------------------------------------------------------

    def _open_form(self, _: Any) -> None:
        if self.form is None:
            self.form = SettingsForm(self._base(), self.app.store.url)
            self._form_at.append(self.form.view)
        self.form_card.visible = True

    def _base(self) -> Settings:
        """What a form begins with: the server's settings, and where these name no sources, what the last run read."""
        settings, newest = self.app.settings, (self.found.newest if self.found else None) or {}
        if settings.sources or not newest.get("sources"):
            return settings
        return settings.model_copy(update={name: newest[name] for name in ("sources", "report") if newest.get(name)})

    def _close_form(self, _: Any = None) -> None:
        self.form_card.visible = False

    async def _start(self, _: Any) -> None:
        form = self.form
        if form is None:
            return
        try:
            settings: Settings = form.settings()
        except SettingsError as error:
            form.show_errors(error)
            self.say("error", f"The run was not started: {error.message}", error.remedy or "")
            return
        form.show_errors(None)
        what = f"start a run of {', '.join(settings.sources)} into {settings.lake}"
        await self._do(self.start, what, partial(self.app.starter.run, settings))

    async def _resume(self, _: Any) -> None:
        if run := self._shown():
            await self._do(self.resume, f"resume run {run}", partial(self.app.starter.resume, self.app.store, run))

    async def _cancel(self, _: Any) -> None:
        if run := self._shown():
            self._stopping = run
            await self._do(self.cancel, f"cancel run {run}", partial(request_cancel, self.app.store, run))

    def _shown(self) -> str | None:
        return self.found.run["id"] if self.found and self.found.run else None

    async def _do(self, button: Any, what: str, work: Callable[[], Started | str]) -> None:
        """Do something that an operator asked for, once, and say what came of it."""
        button.loading = button.disabled = True
        try:
            self.app.write(self.user, what)
            done = await asyncio.to_thread(work)
        except TaxidaskError as error:
            self.apply(partial(self.say, "error", error.message, error.remedy or ""))
        else:
            self.apply(partial(self._done, done))
        finally:
            self.apply(partial(button.param.update, loading=False, disabled=False))
        for key in ("runs", ("run", self._shown())):
            self.app.forget(key)
        await self.refresh()

    def _done(self, done: Started | str) -> None:
        if isinstance(done, str):
            self.say("done", f"{done[0].upper()}{done[1:]}.")
            return
        self._following = done
        self._close_form()
        self.say("done", f"Started: {done.what}.", "it goes on when this page is closed; its log is below once it runs")


if __name__.startswith("bokeh_app"):
    from taxidask.app.server import settings_state

    Runs(settings_state()).served().servable()
