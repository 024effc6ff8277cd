"""Visitors at the app: how long they wait, and what they leave behind in the server's memory.

Serves the app over a store in which a run has published, and lets visitors open pages and click for three minutes. A
visitor speaks Bokeh's protocol over a web socket as a browser does, and draws nothing, so that the server is measured
and not thirty browsers beside it. They come one a second, look for 1 to 5 s after each answer, and in one of eight
clicks go to another page, which is a new session. A request is a page that was opened, from the first byte asked for
until the store's data are there, or a click, until what it changes has arrived and the server is free again.

    python benchmarks/app.py STORE [--lake LAKE] [--visitors 30] [--seconds 180]

Then a browser opens each page of a server that has just started, and again: how long until it is drawn.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import re
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.websocket import websocket_connect

PAGES = ("overview", "demand", "fares", "trips", "runs", "cluster", "data", "report")
ARRIVAL = 1.0  # seconds between two visitors
LEAVING = 1 / 8  # of clicks that lead to another page
PATIENCE = 60.0  # seconds
AWAY = 45.0  # Bokeh looks every 17 s for visitors who have been away for 15
SLOW = 1.0
READY = {"type": "event", "name": "document_ready", "values": {"type": "map"}}
SHOWN = re.compile(r'"attr":"(text|data)"')  # what a click brings: words, or numbers of a figure
# As titles or labels of widgets; what is chosen or typed is another one each time
CHOSEN = {"overview": ["Place"], "demand": ["Day", "Cell"], "trips": ["Fare, USD"]}
ZONES = (132, 138, 161, 230, 79, 48, 236, 170)  # airports, and where most rides begin


def objects(part: Any) -> Iterator[dict[str, Any]]:
    """All models of a document's JSON."""
    if isinstance(part, dict):
        if part.get("type") == "object" and "id" in part:
            yield part
        for value in part.values():
            yield from objects(value)
    elif isinstance(part, list):
        for value in part:
            yield from objects(value)


class Visitor:
    """Someone with one page open at a time."""

    def __init__(self, address: str, number: int, waits: dict[str, list[float]]) -> None:
        self.address, self.waits, self.chance = address, waits, random.Random(number)
        self.page, self.numbers, self.bytes = "", itertools.count(1), 0

    async def open(self, page: str) -> None:
        began, self.page = time.monotonic(), page
        found = await AsyncHTTPClient().fetch(f"{self.address}/{page}", request_timeout=PATIENCE)
        token = re.search(r'"token":"([^"]+)"', found.body.decode())[1]  # type: ignore[index]
        request = HTTPRequest(f"{self.address.replace('http', 'ws')}/{page}/ws", headers={"Origin": self.address})
        self.socket = await websocket_connect(request, subprotocols=["bokeh", token], max_message_size=2**30)
        await self._receive(lambda kind, *_: kind == "ACK")
        await self._send("PULL-DOC-REQ", {})
        text = await self._receive(lambda kind, *_: kind == "PULL-DOC-REPLY")
        self.models = {one["id"]: {"attributes": {}, **one} for one in objects(json.loads(text))}
        notice = next(
            one["id"] for one in self.models.values() if "Reading the store" in str(one["attributes"].get("text"))
        )
        await self._patch({"kind": "MessageSent", "msg_type": "bokeh_event", "msg_data": READY})
        await self._receive(lambda kind, text, _: kind == "PATCH-DOC" and notice in text)
        await self._settle()
        self.waits[f"{page}, opened"].append(time.monotonic() - began)

    async def click(self) -> None:
        """Choose something else, or ask for something else, and wait for what comes of it."""
        if self.page not in ("fares", *CHOSEN):
            return
        change = self._change()
        began = time.monotonic()
        await self._patch({"kind": "ModelChanged", **change})
        await self._receive(lambda kind, text, _: kind == "PATCH-DOC" and SHOWN.search(text) is not None)
        await self._settle()
        self.waits[f"{self.page}, clicked"].append(time.monotonic() - began)

    def _change(self) -> dict[str, Any]:
        if self.page == "fares":
            place = next(one for one in self.models.values() if one["name"].endswith(".Location"))
            begin, end = self.chance.sample(ZONES, 2)
            at = f"2016-04-{self.chance.randint(1, 28):02d}T{self.chance.randint(0, 23):02d}:00"
            return {"model": {"id": place["id"]}, "attr": "search", "new": f"?from={begin}&to={end}&at={at}"}
        named = [
            one
            for one in self.models.values()
            if any(one["attributes"].get(name) in CHOSEN.get(self.page, ()) for name in ("title", "label"))
        ]
        widget = self.chance.choice(named)
        if self.page == "trips":  # the first of them filters, the other is of a trip to be added
            widget, options = named[0], [f"{usd / 2:g}.." for usd in range(6, 90)]
        else:
            options = [one[0] if isinstance(one, list) else one for one in widget["attributes"].get("options", ())]
        value = self.chance.choice([one for one in options if one != widget["attributes"].get("value")])
        widget["attributes"]["value"] = value
        return {"model": {"id": widget["id"]}, "attr": "value", "new": value}

    async def _send(self, kind: str, content: Any) -> str:
        number = str(next(self.numbers))
        for part in ({"msgid": number, "msgtype": kind}, {}, content):
            await self.socket.write_message(json.dumps(part))
        return number

    async def _patch(self, event: dict[str, Any]) -> None:
        await self._send("PATCH-DOC", {"events": [event]})

    async def _settle(self) -> None:
        """Until the server has nothing of this visitor's before it."""
        number = await self._send("SERVER-INFO-REQ", {})
        await self._receive(lambda _kind, _text, reply: reply == number)

    async def _receive(self, wanted: Callable[[str, str, str], bool]) -> str:
        """The text of the first message that is wanted; the models learn of what others tell."""
        async with asyncio.timeout(PATIENCE):
            while True:
                parts = [await self.socket.read_message() for _ in range(3)]
                if None in parts:
                    raise OSError("the server hung up")
                header, text = json.loads(parts[0]), parts[2]
                for _ in range(2 * header.get("num_buffers", 0)):
                    self.bytes += len(await self.socket.read_message())
                self.bytes += len(text)
                if header["msgtype"] == "PATCH-DOC":
                    for event in json.loads(text)["events"]:
                        if event["kind"] == "ModelChanged" and event["model"]["id"] in self.models:
                            self.models[event["model"]["id"]]["attributes"][event["attr"]] = event["new"]
                if wanted(header["msgtype"], text, header.get("reqid", "")):
                    return str(text)

    def leave(self) -> None:
        self.socket.close()

    async def stay(self, until: float, failed: list[str]) -> None:
        """Open a page, click, go to another, until it is time."""
        while time.monotonic() < until:
            try:
                await self.open(self.chance.choice(PAGES))
                while time.monotonic() < until:
                    await asyncio.sleep(self.chance.uniform(1, 5))
                    if self.chance.random() < LEAVING:
                        break
                    await self.click()
                self.leave()
            except Exception as error:  # whatever it is, it is told, and the visitor comes again
                failed.append(f"{self.page}: {type(error).__name__} {error}")


@contextmanager
def serving(store: str, lake: str | None, port: int) -> Iterator[tuple[str, psutil.Process]]:
    """The app in a process of its own, once it answers."""
    command = [sys.executable, "-c", "import sys; from taxidask.cli import main; sys.exit(main())", "app"]
    command += ["--store", store, "--port", str(port), *(["--lake", lake] if lake else [])]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            address, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 120
            while True:
                try:
                    urllib.request.urlopen(f"{address}/healthz", timeout=10).close()
                    break
                except OSError:
                    if server.poll() is not None or time.monotonic() > deadline:
                        raise
                    time.sleep(0.2)
            yield address, psutil.Process(server.pid)
        finally:
            server.kill()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def used(process: psutil.Process) -> float:
    """Processor seconds of the server."""
    times = process.cpu_times()
    return float(times.user + times.system)


async def alone(address: str, process: psutil.Process) -> None:
    """What each page takes of the server's processor when nobody else is there; the second time, as most meet it."""
    print("| page | opened, processor seconds | sent, KB | a click, processor seconds |\n|---|---:|---:|---:|")
    waits: dict[str, list[float]] = defaultdict(list)
    for page in PAGES:
        for _ in range(2):
            visitor = Visitor(address, 0, waits)
            before = used(process)
            await visitor.open(page)
            opened, sent = used(process) - before, visitor.bytes
            before, clicks = used(process), 0
            while clicks < 5 and page in ("fares", *CHOSEN):
                await visitor.click()
                clicks += 1
            clicked = (used(process) - before) / clicks if clicks else None
            visitor.leave()
        print(f"| {page} | {opened:.2f} | {sent / 1000:.0f} | {'–' if clicked is None else f'{clicked:.3f}'} |")


async def crowd(address: str, process: psutil.Process, visitors: int, seconds: float) -> None:
    """Many visitors at once, and the server's memory before, with and after them."""
    await asyncio.sleep(AWAY)
    memory = {"before": process.memory_info().rss}
    waits: dict[str, list[float]] = defaultdict(list)
    failed: list[str] = []
    begin, before = time.monotonic(), used(process)

    async def come(number: int) -> None:
        await asyncio.sleep(number * ARRIVAL)
        await Visitor(address, number, waits).stay(begin + seconds, failed)

    async def look() -> None:
        await asyncio.sleep(seconds * 0.9)
        memory["with all"] = process.memory_info().rss

    await asyncio.gather(look(), *(come(number) for number in range(visitors)))
    busy = (used(process) - before) / (time.monotonic() - begin)
    await asyncio.sleep(AWAY)
    memory["after"] = process.memory_info().rss
    print("\n| request | times | median, s | 99 % within, s | over 1 s |\n|---|---:|---:|---:|---:|")
    every = {"all": sorted(itertools.chain(*waits.values()))}
    for name, many in sorted(waits.items()) + list(every.items()):
        many = sorted(many)
        late = sum(wait > SLOW for wait in many) / len(many)
        middle, last = statistics.median(many), many[int(len(many) * 0.99)]
        print(f"| {name} | {len(many):,} | {middle:.2f} | {last:.2f} | {late:.1%} |")
    each = (memory["with all"] - memory["before"]) / visitors / 1e6
    print(f"\nThe server used {busy:.0%} of a processor. Memory: " + ", ".join(
        f"{name} {size / 1e6:.0f} MB" for name, size in memory.items()
    ) + f"; {each:.1f} MB a visitor, {memory['after'] / memory['before'] - 1:+.1%} after they left.")  # fmt: skip
    for text in failed:
        print(text, file=sys.stderr)


def drawn(store: str, lake: str | None) -> None:
    """How long a browser takes to draw each page of a server that has just started, and the next time."""
    from playwright.sync_api import sync_playwright

    print("\n| page drawn in a browser | first, s | again, s | server's processor, first |\n|---|---:|---:|---:|")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        for path in PAGES:
            with serving(store, lake, free_port()) as (address, process):
                took, before, first = [], used(process), 0.0
                for _ in range(2):
                    page = browser.new_page(viewport={"width": 1280, "height": 1500})
                    began = time.monotonic()
                    page.goto(f"{address}/{path}")
                    page.locator("nav a[aria-current=page]").wait_for(timeout=PATIENCE * 1000)
                    page.get_by_text("Reading the store").wait_for(state="hidden", timeout=PATIENCE * 1000)
                    page.wait_for_function("Bokeh.documents.every(one => one.is_idle)")
                    took.append(time.monotonic() - began)
                    first = first or used(process) - before
                    page.close()
                print(f"| {path} | {took[0]:.2f} | {took[1]:.2f} | {first:.2f} |", flush=True)
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store")
    parser.add_argument("--lake")
    parser.add_argument("--visitors", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=180)
    given = parser.parse_args()
    with serving(given.store, given.lake, free_port()) as (address, process):
        asyncio.run(alone(address, process))
        if given.visitors:
            asyncio.run(crowd(address, process, given.visitors, given.seconds))
    drawn(given.store, given.lake)


if __name__ == "__main__":
    main()
