"""Serve the app, with addresses for a cluster's probes. On this machine only, unless told otherwise.

`ROUTES` also makes this module a plugin of ``panel serve``: ``panel serve taxidask/app/pages/[a-z]*.py --plugins
taxidask.app.server`` answers at the same addresses, with the store and the lake of the settings.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import json
import logging
import os
import secrets
import socket
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tornado.web import RequestHandler

from taxidask.app.reportfile import route
from taxidask.app.state import AppState, audit_log
from taxidask.errors import SettingsError, TaxidaskError

if TYPE_CHECKING:
    from taxidask.app.shell import AppPage
    from taxidask.results import Store
    from taxidask.settings import Settings

HEALTH, READY = "/healthz", "/readyz"
_READY_SECONDS = 5.0  # a probe must not wait for a store that hangs
# Visitors who wait for such a store take one each; asyncio's own are 6 on two cores, and then nobody else is served
_THREADS = 64


class Health(RequestHandler):
    """200 as long as the server answers at all."""

    def get(self) -> None:
        """Answer a liveness probe."""
        self.set_header("Cache-Control", "no-store")
        self.finish("ok\n")

    head = get


class Ready(RequestHandler):
    """200 when the store can be read, else 503 with the reason."""

    def initialize(self, store: Store | None = None) -> None:
        """Take the store; without one, that of the settings is opened at the first request."""
        self.store = store

    async def get(self) -> None:
        """Answer a readiness probe."""
        self.set_header("Cache-Control", "no-store")
        self.set_header("Content-Type", "application/json")
        try:
            store = self.store or settings_state().store
            await asyncio.wait_for(asyncio.to_thread(store.check), _READY_SECONDS)
        except TaxidaskError as error:
            self._refuse(str(error))
        except TimeoutError:
            self._refuse(f"the store did not answer within {_READY_SECONDS:.0f} s")
        else:
            self.finish(json.dumps({"ready": True}) + "\n")

    def _refuse(self, reason: str) -> None:
        self.set_status(503)
        self.finish(json.dumps({"ready": False, "reason": reason}) + "\n")


@cache
def settings_state() -> AppState:
    """What visitors of ``panel serve`` share: the store and the lake of the settings.

    They only read: where it listens and who signs in is its own affair, and not known here.
    """
    return _state(None, None, local=False)


ROUTES: list[tuple[str, Any, dict[str, Any]]] = [(HEALTH, Health, {}), (READY, Ready, {}), route(settings_state)]


def origins(address: str, port: int, extra: Sequence[str] = ()) -> list[str]:
    """Hosts that pages may open a web socket from.

    Examples
    --------
    >>> origins("127.0.0.1", 5006)
    ['127.0.0.1:5006', 'localhost:5006']
    """
    hosts = ["127.0.0.1", "localhost"]
    if not _is_loopback(address):
        hosts += [socket.gethostname(), socket.getfqdn()]
        if not _is_any(address) and ":" not in address:  # Bokeh knows no IPv6 origins
            hosts.append(address)
    return list(dict.fromkeys([*(f"{host}:{port}" for host in hosts), *extra]))


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _is_any(address: str) -> bool:
    return address in ("", "0.0.0.0", "::")  # noqa: S104 - compared, not bound


def _try_port(address: str, port: int) -> None:
    """Raise OSError when the port is taken, before a half-made server has to be taken apart."""
    for family, kind, protocol, _, place in socket.getaddrinfo(address or None, port, type=socket.SOCK_STREAM):
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
            probe.bind(place)


def page(name: str = "overview", *, store: Store | str | None = None, settings: Settings | None = None) -> Any:
    """One of the app's pages, to be shown in a notebook's cell.

    Parameters
    ----------
    name : str, default "overview"
        As in its address.
    store, settings
        See `serve`.

    Returns
    -------
    panel_material_ui.Page
    """
    from taxidask.app.shell import PAGES

    if f"/{name}" not in PAGES:
        raise SettingsError(f"{name!r} is no page", f"pages are {', '.join(path[1:] for path in PAGES)}")
    return _pages(_state(store, settings))[f"/{name}"]()


def _state(store: Store | str | None, settings: Settings | None, **access: Any) -> AppState:
    from taxidask.results import open_store
    from taxidask.settings import resolve
    from taxidask.storage import regions_of

    settings = settings or resolve({})[0]
    url = store or settings.store
    opened = open_store(url, regions=regions_of(settings)) if isinstance(url, str) else url
    return AppState(opened, settings, **access)


def _pages(state: AppState) -> dict[str, Callable[[], Any]]:
    """What makes a visitor's page, by path; the first is also what the bare address shows."""
    from taxidask.app.shell import PAGES

    def maker(path: str) -> Callable[[], Any]:
        def make() -> Any:  # Panel knows functions, and no partial ones
            module = import_module(f"taxidask.app.pages.{path[1:]}")
            page: AppPage = getattr(module, PAGES[path])(state)
            return page.served()

        return make

    makers = {path: maker(path) for path in PAGES}
    return {"/": next(iter(makers.values())), **makers}


AUTH = ("basic", "auth0", "azure", "bitbucket", "github", "gitlab", "google", "okta")


def _sign_in(auth: str | None, users: str | os.PathLike[str] | None) -> dict[str, Any]:
    """What Panel is told about signing in."""
    if auth is None:
        if users is not None:
            raise SettingsError("users are given, but nobody signs in", "give auth='basic' with them")
        return {}
    if auth not in AUTH:
        raise SettingsError(f"auth is {auth!r}", f"use one of {', '.join(AUTH)}")
    # A secret of this process only: who signed in does so again when the server starts anew, unless one is given
    told: dict[str, Any] = {"cookie_secret": os.environ.get("PANEL_COOKIE_SECRET") or secrets.token_hex(32)}
    if auth == "basic":
        if users is None:
            raise SettingsError("auth is 'basic', but no users are given", "name a JSON file of names and passwords")
        try:
            known = json.loads(Path(users).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise SettingsError(f"the users cannot be read from {users}: {error}", "give a JSON file") from error
        if not (isinstance(known, dict) and known and all(isinstance(word, str) and word for word in known.values())):
            raise SettingsError(f"{users} holds no users", 'write it as {"name": "password", …}')
        return {**told, "basic_auth": known}
    if users is not None:
        raise SettingsError(f"users are given, but {auth} knows them", "leave the file out")
    missing = [name for name in ("PANEL_OAUTH_KEY", "PANEL_OAUTH_SECRET") if not os.environ.get(name)]
    if missing:
        raise SettingsError(f"auth is {auth!r}, and {' and '.join(missing)} are not set", "set them in the environment")
    return {**told, "oauth_provider": auth}


@cache
def _refuse_scripts() -> None:
    """Have the scripts that embed a page elsewhere refused to who has not signed in; Panel's handler fails on them."""
    from bokeh.server.urls import per_app_patterns
    from panel.io.server import AutoloadJsHandler

    handler: Any = AutoloadJsHandler

    class Script(handler):
        async def prepare(self) -> None:
            await super().prepare()
            if self.current_user is None:
                self.set_status(403)
                self.finish()

    patterns: Any = per_app_patterns
    patterns[:] = [tuple(Script if part is handler else part for part in one) for one in patterns]


def serve(
    store: Store | str | None = None,
    *,
    settings: Settings | None = None,
    port: int = 5006,
    address: str = "127.0.0.1",
    show: bool = False,
    allow_origins: Sequence[str] = (),
    auth: str | None = None,
    users: str | os.PathLike[str] | None = None,
    operators: Sequence[str] = (),
    start: bool = True,
) -> Any:
    """Serve the app until Ctrl-C.

    Parameters
    ----------
    store : Store or str, optional
        A store, or its URL (default: the settings'). It need not exist yet: the pages say what is missing.
    settings : Settings, optional
        Whose lake is asked, and with which runs begin; by default `load_settings`' without a word.
    port : int, default 5006
        Where to listen.
    address : str, default "127.0.0.1"
        On which interface: only this machine's own unless told; ``"0.0.0.0"`` in a container.
    show : bool, default False
        Open the app in this machine's browser.
    allow_origins : sequence of str
        Further HOST or HOST:PORT that the app is reached by, as behind a load balancer.
    auth : {"basic", "auth0", "azure", "bitbucket", "github", "gitlab", "google", "okta"}, optional
        How visitors sign in. OAuth's key and secret are taken from ``PANEL_OAUTH_KEY`` and ``PANEL_OAUTH_SECRET``,
        and the secret that cookies are signed with from ``PANEL_COOKIE_SECRET``, if it is set.
    users : path, optional
        With ``auth="basic"``: a JSON file, names to passwords.
    operators : sequence of str
        Who of them may add trips, start and cancel runs, and build the report; all others only read. Where nobody
        signs in, the user of this machine may, and on another address than this machine's own nobody.
    start : bool, default True
        Block until Ctrl-C. False returns the server without starting it.

    Returns
    -------
    panel server
        ``/healthz`` answers while it lives; ``/readyz`` answers 503 while the store cannot be read.

    Raises
    ------
    TaxidaskError
        When the port is taken, or an option makes no sense.
    """
    import panel as pn

    from taxidask.app.shell import PAGES

    if not 0 < port < 65536:
        raise SettingsError(f"port {port} is no port", "give a number from 1 to 65535")
    signing = _sign_in(auth, users)
    if operators and not signing:
        raise SettingsError("operators are named, but nobody signs in", "give auth with them")
    state = _state(
        store, settings, signed_in=bool(signing), operators=frozenset(operators), local=_is_loopback(address)
    )
    routes = [(HEALTH, Health, {}), (READY, Ready, {"store": state.store}), route(lambda: state)]
    _refuse_scripts()
    try:
        _try_port(address, port)
        server = pn.serve(
            _pages(state),
            port=port,
            address=address,
            websocket_origin=origins(address, port, allow_origins),
            title={path: f"taxidask – {title}" for path, title in {"/": "Overview", **PAGES}.items()},
            show=show,
            start=False,
            verbose=False,
            extra_patterns=routes,
            **signing,
        )
    except OSError as error:
        foreign = isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL
        raise TaxidaskError(
            f"the app cannot listen on {address}, port {port}: {error.strerror or error}",
            "give an address of this machine, as 127.0.0.1, or 0.0.0.0 for all of them"
            if foreign
            else "another program may hold that port: choose one with --port",
        ) from error
    except ValueError as error:
        raise TaxidaskError(
            f"the app cannot be reached by {', '.join(allow_origins)}: {error}", "give HOST or HOST:PORT"
        ) from error
    server.io_loop.asyncio_loop.set_default_executor(ThreadPoolExecutor(_THREADS, thread_name_prefix="taxidask-app"))
    if start:
        _log_writes()
        host = "localhost" if _is_loopback(address) or _is_any(address) else address
        print(f"the app is at http://{host}:{port}/", flush=True)  # also where the output goes to a file
        server.start()
        try:
            server.io_loop.start()
        except KeyboardInterrupt:
            server.stop()
    return server


def _log_writes() -> None:
    """Who wrote what goes to standard error, with the time, whatever else is logged there."""
    if not audit_log.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
        audit_log.addHandler(handler)
        audit_log.setLevel(logging.INFO)
        audit_log.propagate = False
