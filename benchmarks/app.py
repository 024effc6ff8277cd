"""Visitors at the app: how long they wait, and what they leave behind in the server's memory.

``python benchmarks/app.py STORE`` serves the app over a store in which a run has published, lets 30 visitors at once
open pages and choose places for three minutes, and prints: the share of requests that took over a second, the median
and the slowest, how long the first page took, and the server's memory before, with all, and after they have left.

A visitor speaks Bokeh's protocol over a web socket as a browser does, but draws nothing: the server is measured.
"""

from __future__ import annotations

import argparse
import random
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections import defaultdict

import psutil
from bokeh.client import ClientSession

PAGES = ("overview", "demand", "fares", "runs", "data")
PATIENCE = 30.0  # seconds


class Visitor:
    """A page that is open; everything it does is timed."""

    def __init__(self, address: str, page: str, waits: dict[str, list[float]]) -> None:
        self.page, self.waits = page, waits
        began = time.monotonic()
        self.session = ClientSession(websocket_url=f"{address}/{page}/ws")
        self.session.connect()
        self.session.pull()
        self._until(lambda: "Reading the store" not in self._texts())
        waits[f"{page} opened"].append(time.monotonic() - began)

    def _texts(self) -> str:
        shown = [m for m in self.session.document.models if getattr(m, "text", None) and getattr(m, "visible", True)]
        return " ".join(str(model.text) for model in shown)

    def _until(self, condition) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.page}: waited {PATIENCE:.0f} s")
            self.session.force_roundtrip()
            time.sleep(0.02)

    def choose(self, chance: random.Random) -> None:
        """Choose another place, and wait until its curve is there."""
        found = [m for m in self.session.document.models if getattr(m, "label", "") == "Place" and hasattr(m, "data")]
        drawn = [m for m in self.session.document.models if m.__class__.__name__ == "ColumnDataSource"]
        if not found or not drawn:
            return
        before = [id(model.data) for model in drawn]
        select = found[0]
        others = [value for value in dict(select.data.options).values() if value != select.data.value]
        began = time.monotonic()
        select.data.value = chance.choice(others)
        self._until(lambda: [id(model.data) for model in drawn] != before)
        self.waits[f"{self.page} place chosen"].append(time.monotonic() - began)

    def leave(self) -> None:
        self.session.close()


def visit(address: str, until: float, number: int, waits: dict[str, list[float]], failed: list[str]) -> None:
    chance = random.Random(number)
    while time.monotonic() < until:
        try:
            visitor = Visitor(address, chance.choice(PAGES), waits)
            for _ in range(chance.randint(1, 6)):
                time.sleep(chance.uniform(1, 4))
                if time.monotonic() > until:
                    break
                visitor.choose(chance)
            visitor.leave()
        except (TimeoutError, OSError, RuntimeError) as error:
            failed.append(f"{type(error).__name__}: {error}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store")
    parser.add_argument("--lake")
    parser.add_argument("--visitors", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=180)
    given = parser.parse_args()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = "import sys; from taxidask.cli import main; sys.exit(main())"
    lake = ["--lake", given.lake] if given.lake else []
    command = [sys.executable, "-c", code, "app", "--store", given.store, "--port", str(port), *lake]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            while True:
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10).close()
                    break
                except OSError:
                    time.sleep(0.2)
            process, address = psutil.Process(server.pid), f"ws://127.0.0.1:{port}"
            memory = {}
            first: dict[str, list[float]] = defaultdict(list)
            for _ in range(2):
                for page in PAGES:
                    Visitor(address, page, first).leave()
            time.sleep(20)
            memory["before"] = process.memory_info().rss
            waits: dict[str, list[float]] = defaultdict(list)
            failed: list[str] = []
            until = time.monotonic() + given.seconds
            threads = [
                threading.Thread(target=visit, args=(address, until, number, waits, failed))
                for number in range(given.visitors)
            ]
            for thread in threads:
                thread.start()
            time.sleep(given.seconds * 0.9)
            memory["with all"] = process.memory_info().rss
            for thread in threads:
                thread.join()
            time.sleep(40)  # Bokeh looks every 17 s for visitors who have been away for 15
            memory["after"] = process.memory_info().rss
        finally:
            server.kill()
    print(f"first page: {first['overview opened'][0]:.2f} s, the second time {first['overview opened'][1]:.2f} s")
    every = [wait for many in waits.values() for wait in many]
    for name, many in sorted(waits.items()):
        print(f"{name:<24} {len(many):>5}  median {statistics.median(many):5.2f} s  slowest {max(many):5.2f} s")
    print(f"{len(every)} requests, {sum(wait > 1 for wait in every) / len(every):.1%} over 1 s, {len(failed)} failed")
    for name, size in memory.items():
        print(f"memory {name:<9} {size / 2**20:6.0f} MiB")
    each = (memory["with all"] - memory["before"]) / given.visitors / 2**20
    print(f"{each:.1f} MiB a visitor; after they left {memory['after'] / memory['before'] - 1:+.1%}")
    for text in sorted(set(failed))[:5]:
        print(text, file=sys.stderr)


if __name__ == "__main__":
    main()
