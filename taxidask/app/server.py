"""Serve the app, with addresses for a cluster's probes. On this machine only, unless told otherwise.

`ROUTES` also makes this module a plugin of ``panel serve``: ``panel serve taxidask/app/overview.py --plugins
taxidask.app.server`` answers at the same addresses.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tornado.web import RequestHandler

from taxidask.errors import SettingsError, TaxidaskError

if TYPE_CHECKING:
    from taxidask.results import Store

HEALTH, READY = "/healthz", "/readyz"
_READY_SECONDS = 5.0  # a probe must not wait for a store that hangs


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
            store = self.store or _settings_store()
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


ROUTES: list[tuple[str, Any, dict[str, Any]]] = [(HEALTH, Health, {}), (READY, Ready, {})]


def _settings_store() -> Store:
    from taxidask.results import open_store
    from taxidask.settings import resolve

    return open_store(resolve({})[0].store)


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


def serve(
    store: Store | str,
    *,
    port: int = 5006,
    address: str = "127.0.0.1",
    show: bool = False,
    allow_origins: Sequence[str] = (),
    start: bool = True,
) -> Any:
    """Serve the Overview page until Ctrl-C.

    Parameters
    ----------
    store : Store or str
        A store, or its URL. It need not exist yet: the page says what is missing.
    port : int, default 5006
        Where to listen.
    address : str, default "127.0.0.1"
        On which interface: only this machine's own unless told; ``"0.0.0.0"`` in a container.
    show : bool, default False
        Open the page in this machine's browser.
    allow_origins : sequence of str
        Further HOST or HOST:PORT that the page is reached by, as behind a load balancer.
    start : bool, default True
        Block until Ctrl-C. False returns the server without starting it.

    Returns
    -------
    panel server
        ``/healthz`` answers while it lives; ``/readyz`` answers 503 while the store cannot be read.

    Raises
    ------
    TaxidaskError
        When the port is taken.
    """
    import panel as pn

    from taxidask.app.overview import overview_page
    from taxidask.results import open_store

    if not 0 < port < 65536:
        raise SettingsError(f"port {port} is no port", "give a number from 1 to 65535")
    opened = open_store(store) if isinstance(store, str) else store
    routes = [(HEALTH, Health, {}), (READY, Ready, {"store": opened})]
    try:
        _try_port(address, port)
        server = pn.serve(
            {"/": lambda: overview_page(opened)},
            port=port,
            address=address,
            websocket_origin=origins(address, port, allow_origins),
            title="taxidask – Overview",
            show=show,
            start=False,
            verbose=False,
            extra_patterns=routes,
        )
    except OSError as error:
        raise TaxidaskError(
            f"the app cannot listen on {address}, port {port}: {error.strerror or error}",
            "another program may hold that port: choose one with --port",
        ) from error
    except ValueError as error:
        raise TaxidaskError(
            f"the app cannot be reached by {', '.join(allow_origins)}: {error}", "give HOST or HOST:PORT"
        ) from error
    if start:
        host = "localhost" if _is_loopback(address) or _is_any(address) else address
        print(f"the app is at http://{host}:{port}/", flush=True)  # also where the output goes to a file
        server.start()
        try:
            server.io_loop.start()
        except KeyboardInterrupt:
            server.stop()
    return server
