"""Plays a schedule against real servers and processes, and says what was wrong."""

from __future__ import annotations

import contextlib
import json
import pickle
import re
import shutil
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chaos import world
from chaos.children import Child, Nursery
from chaos.schedule import LENGTH, Driver, Fault, Schedule
from chaos.small import make_small
from chaos.stage import Stage
from links import Fault as Played
from links import Link

import taxidask as td
from taxidask.errors import TaxidaskError
from taxidask.runs.ledger import LIVELY, UNFINISHED

# or what a machine that does much else is too slow for, with the seconds that a request has where there are regions
EXCUSED = re.compile(r"there is no (lake|store) at|the lake's space, is |[Rr]ead timeout|timed out|TimeoutError")
RUN = re.compile(r"^run (\S+): \d+ source", re.MULTILINE)
MANY = 5
"""Faults of requests of which one at least is met while there is a run to tell of it."""
PATIENCE = 90.0
"""Seconds that a driver may take once it is quiet, on a machine that does much else."""


@dataclass
class Outcome:
    """What came of a schedule."""

    seed: int
    kind: str
    violations: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    looks: int = 0
    refused: int = 0
    seconds: float = 0.0
    went_on: list[float] = field(default_factory=list)


class Player:
    """Plays schedules one after the other.

    Parameters
    ----------
    folder : Path
        For the files of the world and of each schedule; what failed stays there.
    aws : dict, optional
        ``east`` and ``west``: addresses of ``s3`` and ``dynamodb``; ``environment``; ``root``, the servers' folder.
        Without it only schedules on a disk can be played.
    """

    def __init__(self, folder: Path, aws: dict[str, Any] | None = None) -> None:
        self.folder, self.aws = folder, aws
        folder.mkdir(parents=True, exist_ok=True)
        self._large_again = make_small()
        world.build(folder)
        self.nursery = Nursery(folder)
        self.expected = self._expected()
        (folder / "expected.json").write_text(json.dumps(self.expected.to_json()))

    def close(self) -> None:
        self.nursery.close()
        self._large_again()

    def _expected(self) -> world.Expected:
        """What an undisturbed run leaves."""
        home = Path(tempfile.mkdtemp(prefix="undisturbed-", dir=self.folder))
        lake, store = str(home / "lake"), f"sqlite:///{home / 'results.db'}"
        root = str(self.folder / "trips") + "/"
        sources = [root + name for name in world.names(self.folder)]
        settings = world.settings(self.folder, str(home), sources, lake=lake, store=store, timeout=60)
        child = self.nursery.fork({"do": "drive", "settings": settings, "block": 1 << 17}, home / "driver")
        if not child.wait(300) or (child.ended or {}).get("code") != 0:
            raise RuntimeError(f"an undisturbed run failed: {child.ended}\n{child.said}")
        return world.Expected.of(td.Lake(lake), td.open_store(store))

    def play(self, schedule: Schedule) -> Outcome:
        began = time.monotonic()
        outcome = Outcome(schedule.seed, schedule.kind)
        home = Path(tempfile.mkdtemp(prefix=f"seed-{schedule.seed}-", dir=self.folder))
        (home / "schedule.txt").write_text(str(schedule))
        stage = Stage(schedule, self.folder, home, self.aws)
        try:
            _Playing(self, schedule, stage, outcome).all()
        finally:
            stage.close()
            outcome.seconds = time.monotonic() - began
            (home / "outcome.txt").write_text(repr(outcome))
        if not outcome.violations:
            shutil.rmtree(home, ignore_errors=True)
        else:
            outcome.violations = [f"{one} [{home}]" for one in outcome.violations]
        return outcome


class _Playing:
    def __init__(self, player: Player, schedule: Schedule, stage: Stage, outcome: Outcome) -> None:
        self.player, self.schedule, self.stage, self.outcome = player, schedule, stage, outcome
        self.home = stage.home
        self.drivers: list[Child] = []
        self.windows: list[tuple[float, float]] = []  # in which a fault was at work
        self.off: list[float] = []  # when a region was switched off

    def wrong(self, what: str) -> None:
        if what not in self.outcome.violations:
            self.outcome.violations.append(what)

    def all(self) -> None:
        stop = self.home / "stop"
        reader = self.player.nursery.fork(self._reader_order(stop), self.home / "reader")
        try:
            self._faults()
            self._end()
            self._finish()
        finally:
            for child in self.drivers:
                child.kill()
            stop.touch()
            if not reader.wait(30):
                self.wrong("the reader does not come back")
                reader.kill()
        self._reader(reader)
        self._named(reader)
        self._compare()

    def _reader_order(self, stop: Path) -> dict[str, Any]:
        return {
            "do": "read",
            "lake": self.stage.lake,
            "store": self.stage.store,
            "expected": str(self.player.folder / "expected.json"),
            "found": str(self.home / "found.jsonl"),
            "stop": str(stop),
            "environment": self.stage.environment("reader"),
        }

    # -- while it goes wrong -------------------------------------------------------------------------------------------

    def _faults(self) -> None:
        start = time.time() + 0.3
        events: list[tuple[float, int, Any]] = []
        for number, driver in enumerate(self.schedule.drivers):
            order = self.stage.order(driver, start, str(number))
            child = self.player.nursery.fork(order, self.home / f"driver-{number}")
            self.drivers.append(child)
            if driver.clock:
                self.outcome.faults["clock step"] += 1
            if driver.killed is not None:
                events.append((driver.killed, len(events), lambda child=child: self._kill(child)))
        for fault in self.schedule.faults:
            on, off = self._switches(fault)
            events.append((fault.at, len(events), on))
            if off is not None:
                events.append((fault.at + fault.seconds, len(events), off))
            self.windows.append((start + fault.at, start + fault.at + fault.seconds))
        for at, _, act in sorted(events, key=lambda one: one[:2]):
            time.sleep(max(0.0, start + at - time.time()))
            act()
        time.sleep(max(0.0, start + LENGTH - time.time()) if events else 0)

    def _kill(self, child: Child) -> None:
        if child.kill():
            self.outcome.faults["driver killed"] += 1

    def _switches(self, fault: Fault) -> tuple[Any, Any]:
        def lines(who: int | None = None) -> list[Link]:
            return [
                link
                for (whose, service, side), link in self.stage.links.items()
                if side == fault.side and fault.service in ("", service) and who in (None, whose)
            ]

        def switch(on: bool, who: Any = None) -> None:
            for link in lines(who):
                (link.on if on else link.off)()
            if who is None and (replica := self.stage.replica):
                (replica.off.discard if on else replica.off.add)(fault.side)

        def off() -> None:
            self.outcome.faults[fault.what] += 1
            if fault.driver is None:
                self.off.append(time.time())
            switch(False, None if fault.driver is None else str(fault.driver))

        def stop(stopped: bool) -> None:
            self.outcome.faults[fault.what] += int(stopped)
            assert self.stage.replica is not None
            self.stage.replica.stopped = stopped

        if fault.what == "disk full":
            return self._fill, self._empty
        if fault.what == "worker killed":
            return self._kill_worker, None
        if fault.what in ("region off", "region cut"):
            return off, lambda: switch(True, None if fault.driver is None else str(fault.driver))
        if fault.what == "copies stop":
            return lambda: stop(True), lambda: stop(False)
        return lambda: [self._weather(link, fault) for link in lines()], lambda: [link.play() for link in lines()]

    def _weather(self, link: Link, fault: Fault) -> None:
        share = 1 - (1 - fault.share) ** (1 / len(fault.kinds))
        played = []
        for kind in fault.kinds:
            name, _, status = kind.partition(" ")
            played.append(Played(name, share=share, status=int(status or 503), seconds=0.3))  # type: ignore[arg-type]
        link.play(*played, seed=self.schedule.seed)

    def _ballast(self) -> Path:
        assert self.stage.disk is not None
        return self.stage.disk / "ballast"

    def _fill(self) -> None:
        if self.stage.mounted:
            with contextlib.suppress(OSError), self._ballast().open("ab", buffering=0) as file:
                while file.write(b"\0" * 65536):
                    pass
            with contextlib.suppress(OSError), self._ballast().open("ab", buffering=0) as file:
                while file.write(b"\0" * 512):
                    pass
            self.outcome.faults["disk full"] += 1

    def _empty(self) -> None:
        self._ballast().unlink(missing_ok=True)

    def _kill_worker(self) -> None:
        import psutil

        for child in self.drivers:
            with contextlib.suppress(psutil.NoSuchProcess):
                for process in psutil.Process(child.pid).children(recursive=True):
                    if "multiprocessing" in " ".join(process.cmdline()) and "spawn_main" in " ".join(process.cmdline()):
                        process.kill()
                        self.outcome.faults["worker killed"] += 1
                        return

    # -- once it is quiet ----------------------------------------------------------------------------------------------

    def _end(self) -> None:
        for number, child in enumerate(self.drivers):
            if not child.wait(PATIENCE):
                self.wrong(f"driver {number} is still at it {PATIENCE:.0f} s after the last fault")
                child.kill()
            ended = child.ended
            if ended is None and not child.killed:
                self.wrong(f"driver {number} ended without a word: {child.said[-500:]}")
            elif ended is not None:
                self.outcome.ends[_short(ended)] += 1
                if ended["code"] == 2:
                    self.wrong(f"driver {number} ended with a raw error: {ended['error']}")
                if "please report" in ended.get("error", ""):
                    self.wrong(f"driver {number}: {ended['error']}")

    def _finish(self) -> None:
        """Whatever was begun can be finished: first all that there is to read, then each run that is left."""
        self._copied()
        store = self.stage.opened()[1]
        self._resume("last", None, "the run that finishes all")
        self._copied()
        for item in [one for one in store.list_runs(limit=200) if one["state"] in UNFINISHED]:
            self._resume(item["id"], None, f"run {item['id']}")
        left = [(one["id"], one["state"]) for one in store.list_runs(limit=200) if one["state"] in (*LIVELY, "failed")]
        if left:
            self.wrong(f"runs that nobody can finish: {left}")
        if any(one.sources is not None for one in self.schedule.drivers):
            self._resume(None, None, "the last run")  # the whole job is to have the last word
        self._copied()

    def _copied(self) -> None:
        replica = self.stage.replica
        if replica is not None and not replica.settle():
            self.wrong(f"the copies do not come to an end: {replica.waiting} wait; {replica.errors[-1:]}")

    def _resume(self, resume: str | None, sources: Any, name: str) -> None:
        """Three times at most: on a busy machine a driver may be late with its heartbeat, and says so."""
        child = Child(0, self.home, self.home)
        for _ in range(3):
            order = self.stage.order(Driver(0.0, resume, sources), time.time(), "finish")
            order["settings"]["heartbeat_timeout"] = 15  # to be finished it must not be refused for the machine's load
            if resume not in (None, "last"):
                order["settings"] = {key: order["settings"][key] for key in ("store", "heartbeat_timeout")}
            child = self.player.nursery.fork(order, self.home / f"finish-{uuid.uuid4().hex[:6]}")
            if not child.wait(PATIENCE):
                child.kill()
                self.wrong(f"{name} is stuck: {child.said[-500:]}")
                return
            ended = child.ended or {}
            if ended.get("code") == 0:
                return
            resume = resume or "last"
            if "out of touch" not in ended.get("error", ""):
                break
        self.wrong(f"{name} cannot be finished: {child.ended or child.said[-1000:]}")

    def _compare(self) -> None:
        for side in self.stage.sides if self.schedule.kind != "files" else ("",):
            try:
                mine = world.answers(*self.stage.opened(side or "east"), name=self.stage.lake)
            except TaxidaskError as error:
                self.wrong(f"at the end nothing can be read {side}: {type(error).__name__}: {error}")
                continue
            wrong = world.differences(self.player.expected.answers, mine)
            for one in wrong:
                self.wrong(f"at the end not what an undisturbed run gives {side}: {one}")
            if wrong:
                (self.home / f"answers{side}.pickle").write_bytes(pickle.dumps(mine))

    def _reader(self, reader: Child) -> None:
        if "Traceback" in reader.said:
            self.wrong(f"the reader met a raw error: {reader.said[-1000:]}")
        known: set[str] = set()
        for line in _lines(self.home / "found.jsonl"):
            self.outcome.looks += 1
            for wrong in line.get("wrong", ()):
                self.wrong(f"the reader was shown: {wrong}")
            months = set(line.get("months", ()))
            if "error" in line:
                self.outcome.refused += 1
                if not self._excused(line["at"], line["took"]) and not EXCUSED.search(line["error"]):
                    self.wrong(f"the reader was refused when nothing was wrong: {line['error']}")
            elif known - months and self.schedule.kind != "regions":
                self.wrong(f"the reader does not see {sorted(known - months)} any more")
            known |= months
        looks = [line for line in _lines(self.home / "found.jsonl") if "error" not in line]
        for at in self.off:
            ends = [line["at"] + line["took"] - at for line in looks if line["at"] > at]  # begun when it was dark
            self.outcome.went_on += [round(min(ends), 2)] if ends else []
        for (_, service, _), link in self.stage.links.items():
            for name, times in link.played.items():
                self.outcome.faults[f"{service} {name}"] += times

    def _named(self, reader: Child) -> None:
        """Every fault that was survived is named, in the ledger or by who survived it."""
        said = "\n".join(path.read_text() for path in self.home.glob("*.log"))
        runs = self.stage.opened()[1].list_runs(limit=200)
        for number, child in enumerate(self.drivers):
            for run in RUN.findall(child.said) if child.killed else ():
                if f"run {run}: done" not in child.said and f"resuming run {run}" not in said:
                    self.wrong(f"driver {number} was killed in run {run}, and nobody says that it was resumed")
        met = sum(
            times
            for (who, _, _), link in self.stage.links.items()
            for name, times in link.played.items()
            if who != "reader" and name != "slow"
        )
        told = sum(int((run.get("cost") or {}).get(name, 0)) for run in runs for name in ("busy", "lost"))
        if met >= MANY and not told and not any(child.killed for child in self.drivers):
            self.wrong(f"drivers met {met} faults of requests, and no run's ledger tells of one")
        # home is asked first; what is back within a few seconds may answer a request that was sent again
        off = [one for one in self.schedule.faults if one.what == "region off" and one.side == "east"]
        if any(one.seconds > 4 for one in off) and "is dark" not in reader.said:
            self.wrong("the home region was off, and the reader's log does not say so")

    def _excused(self, at: float, took: float) -> bool:
        if self.schedule.kind == "regions":  # what one region does not give the other does
            return False
        return any(begin <= at + took and at <= end + 0.5 for begin, end in self.windows)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if path.exists():
        for line in path.read_text().splitlines():
            yield json.loads(line)


def _short(ended: dict[str, Any]) -> str:
    if ended["code"] == 0:
        return "done"
    text = re.sub(r"\d{8}T\d{6}Z-\w+", "ID", ended["error"])
    text = re.sub(r"/\S+|\S+://\S+|[0-9a-f]{8,}|\d+", "…", text)
    return f"{ended['kind']}: {text[:110]}"
