from __future__ import annotations

import asyncio
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application

import taxidask.app
from taxidask.app.server import origins, serve
from taxidask.app.shell import PAGES
from taxidask.errors import SettingsError, TaxidaskError
from taxidask.results import Store


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@contextmanager
def command(*arguments: str, port: int, **environment: str) -> Iterator[str]:
    """A server in a process of its own, once it answers."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 90
        while True:
            try:
                get(f"{address}/healthz")
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    process.kill()
                    pytest.fail(f"the server did not come up: {process.communicate()[0]}")
                time.sleep(0.2)
        yield address
    finally:
        process.kill()
        said = process.communicate(timeout=30)[0]
    assert "Traceback" not in said


def test_health_and_readiness_over_the_life_of_a_store(store: Store, tmp_path: Path) -> None:
    port = free_port()
    code = f"import taxidask.app; taxidask.app.serve({store.url!r}, port={port})"
    with command("-c", code, port=port) as address:
        assert get(f"{address}/healthz") == (200, "ok\n")
        status, body = get(f"{address}/readyz")
        assert status == 503
        assert "taxidask store create" in json.loads(body)["reason"]
        store.create()
        assert get(f"{address}/readyz") == (200, '{"ready": true}\n')
        status, page = get(f"{address}/")
        assert status == 200
        assert "taxidask – Overview" in page
        assert "https://cdn" not in page
        assert web_socket(port, "http://evil.example") == 403


def web_socket(port: int, origin: str) -> int:
    """The status a page of `origin` gets when it asks for a web socket."""
    headers = {
        "Origin": origin,
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "x3JJHMbDL1EzLkh9GBhXDw==",
    }
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.request("GET", "/ws", headers=headers)
        with connection.getresponse() as answer:
            return answer.status


def test_panel_serve_shows_the_page_and_answers_probes(filled: Store, tmp_path: Path) -> None:
    port = free_port()
    page = str(Path(taxidask.app.__file__).parent / "pages" / "overview.py")
    arguments = ["-m", "panel", "serve", page, "--port", str(port), "--plugins", "taxidask.app.server"]
    with command(*arguments, port=port, TAXIDASK_STORE=filled.url) as address:
        assert get(f"{address}/healthz") == (200, "ok\n")
        assert get(f"{address}/readyz")[0] == 200
        status, body = get(f"{address}/overview")
        assert status == 200
        assert "taxidask – Overview" in body


def test_a_port_that_is_taken_is_an_error_with_the_remedy(filled: Store) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(TaxidaskError, match=r"cannot listen on 127.0.0.1, port \d+: .*choose one with --port"):
            serve(filled, port=taken.getsockname()[1])


@pytest.mark.parametrize("address", ["300.1.1.1", "192.0.2.1"])
def test_an_address_that_is_not_this_machines_is_told_as_that(filled: Store, address: str) -> None:
    with pytest.raises(TaxidaskError, match=f"cannot listen on {address}.*give an address of this machine"):
        serve(filled, port=free_port(), address=address)


def test_web_sockets_are_open_to_this_machine_only_unless_told() -> None:
    assert origins("127.0.0.1", 80) == ["127.0.0.1:80", "localhost:80"]
    wide = origins("0.0.0.0", 80, ["taxi.example.org"])
    assert wide[-1] == "taxi.example.org"
    assert f"{socket.gethostname()}:80" in wide
    assert "10.0.0.5:80" in origins("10.0.0.5", 80)


def test_a_store_that_hangs_does_not_hold_up_the_readiness_probe(
    filled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    import taxidask.app.server as module

    release = threading.Event()
    monkeypatch.setattr(filled, "check", lambda: release.wait(20))
    monkeypatch.setattr(module, "_READY_SECONDS", 0.05)

    async def asked() -> tuple[int, str]:
        server = HTTPServer(
            Application([(module.READY, module.Ready, {"store": filled}), (module.HEALTH, module.Health)])
        )
        sockets = bind_sockets(0, "127.0.0.1")
        server.add_sockets(sockets)
        client = AsyncHTTPClient(force_instance=True)
        try:
            address = f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
            answer = await client.fetch(address + module.READY, raise_error=False)
            assert (await client.fetch(address + module.HEALTH)).body == b"ok\n"
            return answer.code, answer.body.decode()
        finally:
            release.set()
            client.close()
            server.stop()
            await server.close_all_connections()

    status, body = asyncio.run(asked())
    assert status == 503
    assert "did not answer within" in body


def test_those_who_wait_for_a_store_that_hangs_do_not_hold_up_the_others(filled: Store) -> None:
    server, release = serve(filled, port=free_port(), start=False), threading.Event()

    async def asked() -> bool:
        waiting = [asyncio.create_task(asyncio.to_thread(release.wait, 60)) for _ in range(40)]
        try:
            await asyncio.sleep(0)
            return await asyncio.wait_for(asyncio.to_thread(filled.check), 30) is None
        finally:
            release.set()
            await asyncio.gather(*waiting)

    try:
        assert server.io_loop.asyncio_loop.run_until_complete(asked())
    finally:
        server.stop()


VISITORS = '''
import gc, sys, time
import panel as pn
from bokeh.client import ClientSession
from bokeh.document import Document
from panel.io.state import state
from taxidask.app.pages.overview import Overview
from taxidask.app.server import _pages, _state
from taxidask.app.shell import AppPage

AppPage.refresh_ms = 100
drawn = []
show = Overview.show
Overview.show = lambda page, found: (drawn.append(1), show(page, found))
served = AppPage.served

def begun(page):
    """These visitors have no browser that says when it is ready."""
    made = served(page)
    pn.state.add_periodic_callback(page._begin, period=100, count=1)
    return made

AppPage.served = begun
soon = {"websocket_origin": "*", "check_unused_sessions_milliseconds": 200, "unused_session_lifetime_milliseconds": 200}
pages = _pages(_state(sys.argv[1], None))
pn.serve(pages, port=0, threaded=True, show=False, verbose=False, **soon)
while not state._servers:
    time.sleep(0.1)
address = f"ws://127.0.0.1:{next(iter(state._servers.values()))[0].port}"
paths = list(pages)[1:]

def documents():
    gc.collect()
    return sum(type(one) is Document for one in gc.get_objects())

before = documents()
for visitor in range(30):
    session = ClientSession(websocket_url=f"{address}{paths[max(0, visitor - 3) % len(paths)]}/ws")
    session.connect()
    deadline = time.monotonic() + 60
    while visitor < 3 and len(drawn) <= visitor and time.monotonic() < deadline:
        time.sleep(0.05)
    session.close()
del session
deadline = time.monotonic() + 60
while (left := documents() - before) and time.monotonic() < deadline:
    time.sleep(0.5)
print(f"{left} of 30 left, {len(drawn)} drawn", flush=True)
import os
os._exit(0)
'''


def test_visitors_who_have_left_leave_no_document_behind(filled: Store) -> None:
    out = subprocess.run(
        [sys.executable, "-c", VISITORS, filled.url], check=True, capture_output=True, text=True, timeout=300
    )
    left, drawn = out.stdout.split("\n")[-2].split(", ")
    assert left == "0 of 30 left"
    assert int(drawn.split()[0]) >= 3, "of those some had come as far as their curves"


def test_whoever_signs_in_sees_the_app_and_nobody_else_does(filled: Store, tmp_path: Path) -> None:
    users = tmp_path / "users.json"
    users.write_text('{"ann": "s3cret"}')
    port = free_port()
    more = f"port={port}, auth='basic', users={str(users)!r}, operators=['ann']"
    with command("-c", f"import taxidask.app; taxidask.app.serve({filled.url!r}, {more})", port=port) as address:
        assert get(f"{address}/healthz") == (200, "ok\n"), "probes do not sign in"
        for path in ("/", *PAGES):
            status, body = get(address + path)
            assert (status, "1,029" in body, "password" in body) == (200, False, True), "shown is where to sign in"
            script = f"{address}{path.rstrip('/')}/autoload.js?bokeh-autoload-element=1000"
            assert get(script) == (403, "")
        assert web_socket(port, address) in (400, 401, 403)
        for word, inside in (("wrong", False), ("s3cret", True)):
            browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
            form = urllib.parse.urlencode({"username": "ann", "password": word}).encode()
            with suppress(urllib.error.HTTPError):
                browser.open(f"{address}/login", form, timeout=20).close()
            with browser.open(f"{address}/overview", timeout=20) as answer:
                assert ("taxidask – Overview" in answer.read().decode()) is inside
        with browser.open(f"{address}/overview/autoload.js?bokeh-autoload-element=1000", timeout=20) as answer:
            assert b"Bokeh" in answer.read()


@pytest.mark.parametrize(
    ("access", "message"),
    [
        ({"auth": "basic"}, "no users are given"),
        ({"auth": "basic", "users": "missing.json"}, "cannot be read from missing.json"),
        ({"auth": "password"}, "auth is 'password'; use one of basic, "),
        ({"auth": "github"}, "PANEL_OAUTH_KEY and PANEL_OAUTH_SECRET are not set"),
        ({"users": "users.json"}, "nobody signs in"),
        ({"operators": ["ann"]}, "operators are named, but nobody signs in"),
    ],
)
def test_what_makes_no_sense_about_signing_in_is_refused(
    filled: Store, access: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PANEL_OAUTH_KEY", "PANEL_OAUTH_SECRET"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SettingsError, match=message):
        serve(filled, port=free_port(), **access)


@pytest.mark.parametrize("text", ["[]", "{}", '{"ann": 1}', '{"ann": ""}', "{", "\xff"])
def test_a_file_that_holds_no_users_is_refused(filled: Store, tmp_path: Path, text: str) -> None:
    users = tmp_path / "users.json"
    users.write_bytes(text.encode("latin-1"))
    with pytest.raises(SettingsError, match=r"users\.json"):
        serve(filled, port=free_port(), auth="basic", users=users)
