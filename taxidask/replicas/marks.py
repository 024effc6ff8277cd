"""How far one region is behind another: a mark is written in each and waited for in the others."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

from taxidask.errors import TaxidaskError
from taxidask.replicas.differences import Say, silent
from taxidask.replicas.places import Place
from taxidask.results import wire
from taxidask.results.keys import Key
from taxidask.storage import MissingError, join

WAIT = 60.0
FOLDER = "regions/lag"  # below the lake
PARTITION = "regions#lag"
_LOOK_AGAIN = 0.5  # seconds


@dataclass(frozen=True)
class Lag:
    """How long a mark that was written in one region took to another, in seconds; None if it was not seen there."""

    written: str
    read: str
    service: str
    seconds: float | None
    error: str = ""

    def __str__(self) -> str:
        what = "object" if self.service == "s3" else "item"
        if self.seconds is None:
            return f"{what} {self.written} -> {self.read}: {self.error}"
        return f"{what} {self.written} -> {self.read}: copied within {self.seconds:.1f} s"


def measure_lag(
    places: Sequence[Place],
    *,
    wait: float = WAIT,
    say: Say = silent,
    clock: Callable[[], float] = time.monotonic,
) -> list[Lag]:
    """Write a mark in every region and look for it in the others, in all directions at once.

    Parameters
    ----------
    wait : float
        Seconds until a mark that has not come is given up.
    say : callable
        Told every few seconds what is still waited for.
    """
    mark = uuid.uuid4().hex
    pairs = [(a, b, service) for a in places for b in places if a is not b for service in ("s3", "dynamodb")]
    pairs = [pair for pair in pairs if all(_has(place, pair[2]) for place in pair[:2])]
    writers = list({(a.name, service): (a, service) for a, _, service in pairs}.values())
    with ThreadPoolExecutor(max(len(pairs), 1)) as pool:
        written = dict(
            zip(
                [(place.name, service) for place, service in writers],
                pool.map(lambda one: _write(one[0], one[1], mark, clock), writers),
                strict=True,
            )
        )
        began = max((moment for moment in written.values() if isinstance(moment, float)), default=clock())
        found: dict[int, Lag] = {}
        for number, (a, b, service) in enumerate(pairs):
            if isinstance(moment := written[a.name, service], str):
                found[number] = Lag(a.name, b.name, service, None, f"could not be written: {moment}")
        told = began
        while left := [number for number in range(len(pairs)) if number not in found]:
            for number, (seen, at) in zip(left, pool.map(lambda n: _look(*pairs[n], mark, clock), left), strict=True):
                a, b, service = pairs[number]
                if seen is True:
                    found[number] = Lag(a.name, b.name, service, max(at - float(written[a.name, service]), 0.0))
                elif isinstance(seen, str):
                    found[number] = Lag(a.name, b.name, service, None, f"could not be read: {seen}")
                elif at - began >= wait:
                    found[number] = Lag(a.name, b.name, service, None, f"not copied within {wait:g} s")
            if len(found) < len(pairs):
                if clock() - told >= 5:
                    told = clock()
                    say(f"lag: {len(found)} of {len(pairs)} marks seen, waiting for {wait - (told - began):.0f} s more")
                time.sleep(_LOOK_AGAIN)
    return [found[number] for number in range(len(pairs))]


def _has(place: Place, service: str) -> bool:
    return bool(place.lake) if service == "s3" else place.store is not None


def _write(place: Place, service: str, mark: str, clock: Callable[[], float]) -> float | str:
    """When it was written, or why not."""
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    try:
        if service == "s3":
            place.storage.write(_url(place, place), json.dumps({"mark": mark, "at": at}).encode())
        else:
            item = {"pk": PARTITION, "sk": place.name, "mark": mark, "at": at}
            place.table._call("put_item", TableName=place.table.table, Item=wire.encode_item(item))
    except TaxidaskError as error:
        return str(error)
    return clock()


def _look(
    writer: Place, reader: Place, service: str, mark: str, clock: Callable[[], float]
) -> tuple[bool | str, float]:
    """Whether the mark is there, or why that cannot be said; and when."""
    try:
        if service == "s3":
            there = json.loads(reader.storage.read(_url(writer, reader)))
        else:
            there = reader.table._get(Key(PARTITION, writer.name)) or {}
    except MissingError:
        there = {}
    except (TaxidaskError, ValueError) as error:
        return str(error), clock()
    return there.get("mark") == mark, clock()


def _url(writer: Place, reader: Place) -> str:
    return join(reader.lake, FOLDER, f"{writer.name}.json")
