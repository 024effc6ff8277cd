"""A schedule of faults, made from its seed alone: data, so that a seed that fails can be replayed.

Times are seconds from the beginning. An undisturbed run takes about four of them.
"""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, field
from typing import Any

LENGTH = 8.0
"""Seconds in which faults begin and end; afterwards it is quiet."""
KINDS = ("files", "aws", "regions", "regions")
"""What a schedule plays on: a disk with SQLite; S3 and DynamoDB of one region, or of two that are copied."""
SIDES = ("east", "west")
WEATHER = ("slow", "error 500", "error 503", "throttle", "reset", "lost", "cut")


@dataclass(frozen=True)
class Driver:
    """A driver process: when it begins, what it is told, when it is killed.

    `sources` are numbers of files, all if None; `clock` are steps of its clock, after how many seconds and by how many.
    """

    at: float
    resume: str | None = None
    sources: tuple[int, ...] | None = None
    killed: float | None = None
    clock: tuple[tuple[float, float], ...] = ()
    workers: int = 0


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong from `at` for `seconds`.

    A disk that is full; requests to a service that meet `kinds` (weather); a worker that is killed; a region that is
    off, for all or for one `driver` only; copies between regions that stand still.
    """

    what: str
    at: float
    seconds: float = 0.0
    service: str = ""
    kinds: tuple[str, ...] = ()
    share: float = 1.0
    side: str = "east"
    driver: int | None = None


@dataclass(frozen=True)
class Schedule:
    """All that is going to happen.

    `late` is the share of copies between regions that take seconds, `removals` whether these are copied too.
    """

    seed: int
    kind: str
    block: int
    timeout: float
    drivers: tuple[Driver, ...]
    faults: tuple[Fault, ...]
    late: float = 0.0
    removals: bool = False

    def __str__(self) -> str:
        lines = [f"seed {self.seed}: {self.kind}, blocks of {self.block >> 10} KiB, heartbeats {self.timeout:g} s"]
        events = [(one.at, f"driver {number}: {_said(one)}") for number, one in enumerate(self.drivers)]
        events += [
            (one.killed, f"driver {n} is killed") for n, one in enumerate(self.drivers) if one.killed is not None
        ]
        events += [(one.at, _said(one)) for one in self.faults]
        return "\n".join([*lines, *(f"  {at:5.2f} s  {text}" for at, text in sorted(events))])


def _said(one: Any) -> str:
    usual = {"share": 1.0, "side": "east", "driver": None, "what": ""}
    told = {
        name: value
        for name, value in asdict(one).items()
        if name not in ("at", "killed") and value not in (None, (), "") and value != usual.get(name, 0)
    }
    return ", ".join(f"{name} {value}" for name, value in told.items()) or "begins"


@dataclass
class _Making:
    seed: int
    kind: str | None
    workers: bool
    draw: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.draw = random.Random(f"chaos {self.seed}")

    def made(self) -> Schedule:
        drawn = self.draw.choice(KINDS)  # also where a kind is asked for, so that the rest stays the same
        kind = self.kind or drawn
        drivers = self._drivers()
        faults = {
            "files": lambda: self._disk(),
            "aws": lambda: self._weather(SIDES[:1]),
            "regions": lambda: self._regions(len(drivers)),
        }[kind]()
        if any(one.workers for one in drivers):
            faults += [Fault("worker killed", self._moment(3.0, 12.0)) for _ in range(self.draw.choice((1, 1, 2)))]
        block = self.draw.choice((1, 2, 2, 16)) << 16
        late, removals = (self.draw.choice((0.1, 0.5)), self.draw.random() < 0.5) if kind == "regions" else (0.0, False)
        ordered = tuple(sorted(faults, key=lambda one: one.at))
        return Schedule(self.seed, kind, block, 4.0, tuple(drivers), ordered, late, removals)

    def _moment(self, low: float, high: float) -> float:
        return round(self.draw.uniform(low, high), 2)

    def _drivers(self) -> list[Driver]:
        draw = self.draw
        shape = draw.choice(("one", "twins", "twins", "two"))
        first = [self._driver(0.0)]
        if shape == "twins":  # the same job in the same second
            first.append(self._driver(draw.choice((0.0, 0.0, self._moment(0.0, 0.3)))))
        elif shape == "two":
            some = draw.choice((None, (0, 1), (1, 2), (2, 3)))
            first.append(self._driver(self._moment(0.0, 3.0), sources=some))
        drivers = list(first)
        for one in first:
            before = one
            while before.killed is not None and len(drivers) < 6:
                begins = before.killed + self._moment(0.0, 1.5)
                before = self._driver(begins, resume="last", sources=before.sources, often=0.3)
                drivers.append(before)
        return drivers

    def _driver(self, at: float, *, resume: str | None = "", sources: Any = None, often: float = 0.6) -> Driver:
        draw = self.draw
        if resume == "":
            resume = draw.choice((None, "last"))
        killed = round(at + draw.uniform(0.2, 5.5), 2) if draw.random() < often else None
        clock: tuple[tuple[float, float], ...] = ()
        if draw.random() < 0.2:
            clock = ((self._moment(0.0, 4.0), float(draw.choice((-3600, -30, -4, 4, 30, 3600)))),)
        workers = 1 if draw.random() < 0.08 and self.workers else 0
        return Driver(round(at, 2), resume, sources, killed, clock, workers)

    def _disk(self) -> list[Fault]:
        if self.draw.random() < 0.3:
            return []
        return [Fault("disk full", self._moment(0.0, 5.0), self._moment(0.2, 3.0))]

    def _weather(self, sides: tuple[str, ...]) -> list[Fault]:
        draw = self.draw
        found = []
        for _ in range(draw.choice((1, 2, 3))):
            kinds = tuple(draw.sample(WEATHER, draw.choice((1, 2, 3))))
            begins, lasts = self._moment(0.0, 6.0), self._moment(0.3, 4.0)
            share = draw.choice((0.02, 0.1, 0.3, 0.6))
            service = draw.choice(("s3", "dynamodb"))
            found.append(Fault("weather", begins, lasts, service, kinds, share, draw.choice(sides)))
        return found

    def _regions(self, drivers: int) -> list[Fault]:
        """Never all regions at once for the same driver: then there would be nothing to go on with."""
        draw = self.draw
        found = self._weather(SIDES)[:1] if draw.random() < 0.3 else []
        what = draw.choice(("off", "off", "off twice", "cut", "cut", "off and cut"))
        side = draw.choice(("east", "east", "east", "west"))
        if what.startswith("off"):
            begins, lasts = self._moment(0.0, 6.0), self._moment(1.0, 6.0)
            found.append(Fault("region off", begins, lasts, side=side))
            if what == "off twice":
                begins += lasts + self._moment(0.5, 2.0)
                found.append(Fault("region off", round(begins, 2), self._moment(1.0, 4.0), side=draw.choice(SIDES)))
        if what.endswith("cut"):
            found.append(
                Fault(
                    "region cut",
                    self._moment(0.0, 4.0),
                    self._moment(2.0, 8.0),
                    side=side,
                    driver=draw.randrange(drivers),
                )
            )
        if draw.random() < 0.4:
            found.append(Fault("copies stop", self._moment(0.0, 5.0), self._moment(2.0, 6.0)))
        return found


def schedule_of(seed: int, *, kind: str | None = None, workers: bool = True) -> Schedule:
    """The schedule of a seed; of a kind, if that is not to be left to the seed."""
    return _Making(seed, kind, workers).made()
