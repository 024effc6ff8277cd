"""What every page is: a header with links to all pages, a place for what is the matter, and a loop that looks at the
store without holding up other visitors.

A page says in `asked` what its visitor wants to see, reads it in a thread (`read`) and shows it (`show`). Nothing that
takes time happens in the server's own thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import panel as pn
import panel_material_ui as pmui
import param
from jinja2 import Template
from panel.util import edit_readonly
from panel_material_ui.template.base import BASE_TEMPLATE

from taxidask.app import style
from taxidask.app.told import banner
from taxidask.errors import TaxidaskError

if TYPE_CHECKING:
    from taxidask.app.state import AppState

log = logging.getLogger(__name__)

PAGES = {
    "/overview": "Overview",
    "/demand": "Demand",
    "/fares": "Fares",
    "/trips": "Trips",
    "/runs": "Runs",
    "/cluster": "Cluster",
    "/data": "Data",
    "/report": "Report",
}
"""Every page's path and title, in the order of the header."""


_TEMPLATE: Template = BASE_TEMPLATE.environment.from_string(style.HEAD, globals={"base": BASE_TEMPLATE})


class _Idle(param.Parameterized):
    busy = param.Boolean(default=False)


class AppPage:
    """One visitor's page; subclasses say what is on it.

    Parameters
    ----------
    app : AppState
        What all visitors share.

    Attributes
    ----------
    path, title : str
        As in `PAGES`.
    refresh_ms : int
        Milliseconds between looks at the store.
    user : str or None
        Who signed in.
    """

    path: ClassVar[str]
    refresh_ms: ClassVar[int] = 10_000

    def __init__(self, app: AppState) -> None:
        if "theme" not in pn.state.session_args and pn.state.cookies.get(style.THEME) == "dark":
            pn.config.theme = "dark"  # type: ignore[misc] # it may be set, of this session only
        self.app = app
        self.title = PAGES[self.path]
        self.user: str | None = pn.state.user if app.signed_in else None
        self.notice = style.pane(style.notice("info", "Reading the store …"))
        self.banner = style.pane()
        self.banner.visible = False
        self._nav = pn.pane.HTML(
            style.nav(PAGES.items(), self.path), stylesheets=[style.NAV_CSS], sizing_mode="stretch_width", margin=0
        )
        self.theme = ""  # which the address names, or the visitor chose: links keep it
        self._document: Any = pn.state.curdoc
        self._shown_once = False

    # -- what a page has to say ----------------------------------------------------------------------------------------

    def cards(self) -> list[Any]:
        """What is on the page, from top to bottom."""
        raise NotImplementedError

    def asked(self) -> Hashable:
        """What the visitor wants to see: the values of the page's widgets, as `read` takes them."""
        return None

    def read(self, asked: Any) -> Any:
        """Read what was asked for, in a thread; TaxidaskError is shown to the visitor.

        What is the same for all visitors goes through `AppState.shared`.
        """
        raise NotImplementedError

    def show(self, found: Any) -> None:
        """Put what `read` gave on the page; what did not change is better left alone."""
        raise NotImplementedError

    # -- the loop ------------------------------------------------------------------------------------------------------

    async def refresh(self, *_: Any) -> None:
        """Read and show; also what a widget's watcher calls."""
        asked = self.asked()
        try:
            found = await asyncio.to_thread(self.read, asked)
        except TaxidaskError as error:
            self.apply(partial(self.show_error, error))
        except Exception as error:  # a page that stays silent helps nobody
            log.exception("%s could not be read from %s", self.path, self.app.store.url)
            told = TaxidaskError(f"{type(error).__name__}: {error}", "the server's log has more")
            self.apply(partial(self.show_error, told))
        else:
            if asked == self.asked():  # else the visitor asked for something else meanwhile, which is on its way
                self.apply(partial(self._show, found))
        await self.look_at_regions()

    async def look_at_regions(self) -> None:
        """Say which regions are dark; a page that is read anew more seldom has to be told so as well."""
        if self.app.store.regions is not None:
            self.apply(partial(self._tell_regions, await asyncio.to_thread(banner, self.app)))

    def _tell_regions(self, text: str) -> None:
        self.banner.visible = bool(text)
        style.put(self.banner, text)

    def _show(self, found: Any) -> None:
        try:
            with nullcontext() if self._shown_once else self._together():
                self.show(found)
            self._shown_once = True
        except Exception as error:
            log.exception("%s could not be shown", self.path)
            self.say("error", f"The page cannot be shown: {type(error).__name__}: {error}", "the server's log has more")

    @contextmanager
    def _together(self) -> Iterator[None]:
        """Count the models that the browser knows once, and not at each change.

        Panel gives each pane other style sheets when its text first changes, upon which Bokeh goes through all models.
        """
        if self._document is None:
            yield
            return
        # what is sent names the models that are new, so that they are counted before
        with pn.io.hold(self._document), self._document.models.freeze():
            yield

    def apply(self, change: Callable[[], None]) -> None:
        """Change the page while holding its lock, which an awaited read has let go of."""
        if self._document is None or self._document.session_context is None:
            change()
        elif not self._document.session_context.destroyed:  # the visitor may have left meanwhile
            self._document.add_next_tick_callback(change)

    def say(self, kind: str | None, text: str = "", remedy: str = "") -> None:
        """Show above all else what is the matter ("info", "error" or "done"), or nothing (None)."""
        self.notice.visible = kind is not None
        if kind is not None:
            style.put(self.notice, style.notice(kind, text, remedy))

    def show_error(self, error: TaxidaskError) -> None:
        """Say what is wrong and what to do; what was shown before stays."""
        self.say("error", f"{self.title} cannot be read: {error.message}", error.remedy or "")

    # -- the address ---------------------------------------------------------------------------------------------------

    def link(self, widget: Any, name: str) -> None:
        """Keep a widget's value in the address, and take it from there: a link shows a colleague the same.

        A value there that the widget does not know is left alone, so a widget whose options are read from the store is
        linked once it has them.
        """
        if pn.state.location is None:
            return
        options, given = getattr(widget, "options", None), pn.state.location.query_params
        if options and name in given:
            known = list(options.values() if isinstance(options, dict) else options)
            if given[name] not in known:  # not every widget minds, and a browser's may not stand it
                pn.state.location.update_query(**{name: widget.value})
        pn.state.location.sync(widget, {"value": name}, on_error=lambda *_: None)

    # -- the page ------------------------------------------------------------------------------------------------------

    def page(self) -> pmui.Page:
        """The page, to be served or shown in a notebook."""
        body = pn.Column(
            self.banner,
            self.notice,
            *self.cards(),
            sizing_mode="stretch_width",
            styles={
                "width": "100%",
                "max-width": "1180px",
                "margin": "0 auto",
                "gap": "14px",
                "padding": "14px",
                "box-sizing": "border-box",
                "max-height": "none",
            },
        )
        page = pmui.Page(
            title="taxidask",
            meta_title=f"taxidask – {self.title}",
            header=[self._nav],
            main=[body],
            sx={
                # busy_indicator=None does not reach the browser, where a bar without a name would be read out
                "& .MuiLinearProgress-root": {"display": "none"},
                # on a phone the links scroll, and do not push the theme's button out of sight
                "& .MuiToolbar-root > .MuiBox-root:last-of-type": {"minWidth": 0},
            },
            site_url="./",
            template=_TEMPLATE,
        )
        # a Page listens to the state of the whole server, which would keep it, and all that is its visitor's, for ever
        with edit_readonly(page):
            page.busy = _Idle().param.busy
        page.param.watch(self._choose_theme, "dark_theme")
        self._page = page
        return page

    def _themed(self) -> None:
        """Links lead to pages of the theme that was chosen, and so does loading this one again."""
        self.theme = "dark" if self._page.dark_theme else "default"
        style.put(self._nav, style.nav(PAGES.items(), self.path, self.theme))
        if pn.state.location is not None:
            named: dict[str, Any] = {"theme": self.theme}
            pn.state.location.update_query(**named)

    async def _choose_theme(self, *_: Any) -> None:
        self._themed()
        await self.refresh()  # what is shown has links, too

    async def _begin(self) -> None:
        # not before the browser is ready: what is changed while it still asks for the page may never reach it
        again: Any = self.refresh  # coroutine functions are welcome, whatever the annotation says
        pn.state.add_periodic_callback(again, period=self.refresh_ms)
        if self.app.store.regions is not None and self.refresh_ms > AppPage.refresh_ms:
            look: Any = self.look_at_regions
            pn.state.add_periodic_callback(look, period=AppPage.refresh_ms)
        await self.refresh()

    def served(self) -> pmui.Page:
        """The page of a visitor of the server: it reads at once, and again every `refresh_ms`."""
        pn.extension(notifications=False)
        pn.state.onload(self._begin)
        page = self.page()
        if "theme" in pn.state.session_args:
            self._themed()
        return page
