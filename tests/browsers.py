"""The app served in a process of its own, and Debian's chromium, driven by Playwright, that notes what went wrong."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]
needs_chromium = pytest.mark.skipif(not CHROMIUM.exists(), reason="needs chromium at /usr/bin/chromium")

# a visitor who leaves while the server writes to them, which Bokeh does not mind, nobody awaits in Tornado
_LEFT = re.compile(
    r"^Task exception was never retrieved\nfuture:.*WebSocketClosedError\(\)>\n"
    r"(?s:.*?)^tornado\.websocket\.WebSocketClosedError\n(?!\n)",
    re.MULTILINE,
)


@contextmanager
def served(folder: Path, store: str, *more: str) -> Iterator[str]:
    """The address of ``taxidask app`` over a store, once it answers; what it logs is in the folder's ``log``."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = folder / "log"
    main = "import sys; from taxidask.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", main, "app", "--store", store, "--port", str(port), *more]
    with log.open("w") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:
        try:
            deadline = time.monotonic() + 90
            while True:
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10).close()
                    break
                except OSError:
                    if process.poll() is not None or time.monotonic() > deadline:
                        pytest.fail(f"the server did not come up: {log.read_text()}")
                    time.sleep(0.2)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()
    assert "Traceback" not in _LEFT.sub("", log.read_text())


def photograph(page: Any, name: str, folder: Path) -> None:
    """Keep a picture of the whole page, to be looked at: where `APP_SCREENSHOTS` says, else in the test's folder."""
    kept = Path(os.environ.get("APP_SCREENSHOTS") or folder)
    kept.mkdir(parents=True, exist_ok=True)
    size, content = page.viewport_size, page.locator(".main-content")
    if content.count():  # it scrolls within the window, which full_page does not know
        tall = min(6000, 80 + content.first.evaluate("content => content.scrollHeight"))
        page.set_viewport_size({**size, "height": max(size["height"], tall)})
        page.wait_for_timeout(500)
    page.screenshot(path=kept / f"{name}.png", full_page=True)
    page.set_viewport_size(size)


class Watched:
    """A browser's pages; when it closes, none may have complained in its console or asked elsewhere than the app."""

    def __init__(self, browser: Any, address: str) -> None:
        self.browser, self.address = browser, address
        self.complaints: list[str] = []
        self.elsewhere: list[str] = []

    def page(self, path: str, *, width: int = 1280, height: int = 1500, **visitor: Any) -> Any:
        page = self.browser.new_page(viewport={"width": width, "height": height}, **visitor)
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", self._asked)
        page.goto(f"{self.address}{path}", timeout=90_000)
        return page

    def _said(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _asked(self, request: Any) -> None:
        # the last two are what Chromium shows PDFs with
        own = (self.address, "ws://127.0.0.1", "data:", "blob:", "chrome:", "chrome-extension:")
        if not request.url.startswith(own):
            self.elsewhere.append(request.url)


@contextmanager
def watched(address: str) -> Iterator[Watched]:
    """A browser over the app at an address."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        watch = Watched(browser, address)
        yield watch
        browser.close()
    assert not watch.complaints, watch.complaints
    assert not watch.elsewhere, watch.elsewhere
