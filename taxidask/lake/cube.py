"""The lake's cube: counts of all sources over the months they cover; and counted again in another space or slot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from taxidask.cube import MAX_COUNT
from taxidask.errors import CubeError, LakeError
from taxidask.progress import say
from taxidask.space import Space
from taxidask.storage import Storage
from taxidask.trips.rules import month_bounds
from taxidask.units import DAY, LONGEST_SPAN
from taxidask.words import quantity

from .filters import naive
from .layout import load_space
from .manifest import Manifest, Manifests
from .names import added_url, cube_url
from .parts import DamagedError, GoneError
from .tally import Tally, read_tally
from .tasks import count_parts

if TYPE_CHECKING:
    from taxidask.cube import Cube

READERS = 4  # sources read at the same time


def covered(manifest: Manifest) -> tuple[int, int]:
    """Seconds since 1970 between which a source says what happened: its month, else the days of its pickups."""
    if manifest.month is not None:
        low, high = month_bounds(manifest.month)
        return low // 1_000_000, high // 1_000_000
    first, last = (manifest.first or 0) // 1_000_000, (manifest.last or 0) // 1_000_000
    return first - first % DAY, last - last % DAY + DAY


def cube_of(
    lake: str,
    storage: Storage,
    manifests: Sequence[Manifest],
    space: Space,
    slot_seconds: int,
    start: Any = None,
    end: Any = None,
) -> Cube:
    """Add up the counts of all sources.

    A source none of whose rows was kept covers nothing; nor do single trips that people added, beside other sources:
    the day of one would else be a day on which no other was made.
    """
    from taxidask.cube import Cube

    useful = [manifest for manifest in manifests if manifest.kept]
    telling = [one for one in useful if not one.url.startswith(added_url(lake))] or useful
    every, spans = ([covered(manifest) for manifest in some] for some in (useful, telling))

    def load(manifest: Manifest, **slots: int) -> Tally:
        try:
            url = cube_url(lake, f"{space.key}-{slot_seconds}s", manifest.id)
            return read_tally(
                storage, url, manifest.url, kept=manifest.kept, slot_seconds=slot_seconds, cells=space.cells, **slots
            )
        except GoneError:  # committed while the lake was recounted
            parts = list(manifest.parts)
            return count_parts(lake, storage, parts, space, slot_seconds, manifest.locations, manifest.url)

    whole = (start is None or end is None) and bool(spans)
    if whole and max(stop for _, stop in spans) - min(begin for begin, _ in spans) > LONGEST_SPAN:
        spans = _without_strays(telling, load)
    if not spans and (start is None or end is None):
        raise LakeError(f"the lake {lake} has no trips yet", "ingest some: lake.ingest(sources)")
    low = min(span[0] for span in spans) if start is None else _slot_start("start", start, slot_seconds)
    high = max(span[1] for span in spans) if end is None else _slot_start("end", end, slot_seconds)
    if high <= low:
        raise LakeError(
            f"the cube would end at {pd.Timestamp(high, unit='s')}, before it starts at {pd.Timestamp(low, unit='s')}",
            "give a start before the end, within the months that lake.sources() lists",
        )
    if high - low > LONGEST_SPAN and (start is None or end is None):
        wide = max(telling, key=lambda one: covered(one)[1] - covered(one)[0])
        one, other, early, late = (
            pd.Timestamp(moment, unit="s").strftime("%Y-%m-%d") for moment in (low, high, *covered(wide))
        )
        raise LakeError(
            f"the cube would go from {one} to {other}; {wide.url} has pickups from {early} to {late}",
            "give both start and end, or ingest it again with its month: lake.ingest(…, month='2015-01')",
        )
    first, slots = low // slot_seconds, (high - low) // slot_seconds
    missing = np.ones(slots, bool)
    for begin, stop in spans:
        missing[max(begin // slot_seconds - first, 0) : max(stop // slot_seconds - first, 0)] = False
    counts = np.zeros((slots, space.cells, 2), np.int32)

    # A trip ends at most as long after it begins as its rules allow, so other sources have nothing in these slots.
    longest = [int(one.rules["max_duration_hours"] * 3600) + 1 for one in useful]
    near = [
        one for one, span, most in zip(useful, every, longest, strict=True) if span[0] < high and span[1] + most > low
    ]
    with ThreadPoolExecutor(READERS) as pool:
        for at in range(0, len(near), READERS):
            for part in pool.map(lambda one: load(one, first=first, last=first + slots - 1), near[at : at + READERS]):
                _add(counts, part, first, missing)
    return Cube(
        counts, start=pd.Timestamp(low, unit="s"), slot=pd.Timedelta(seconds=slot_seconds), space=space, missing=missing
    )


def _without_strays(telling: Sequence[Manifest], load: Callable[[Manifest], Tally]) -> list[tuple[int, int]]:
    """What sources cover where they reach over longer than any cube: without single trips years from all others.

    Such are typing errors in files of no month. Days are taken together that lie within a year of each other; those
    together that have less than a hundredth of all trips are strays, unless a source of that month is among them.
    """
    days: list[tuple[int, int, int, Manifest]] = []
    for one in telling:
        if one.month is not None:
            days.append((*covered(one), one.kept, one))
            continue
        tally = load(one)
        keys, pickups, _ = tally.entries()
        day, at = np.unique(keys // tally.cells * tally.slot_seconds // DAY, return_inverse=True)
        sums = np.bincount(at, pickups).astype(np.int64)
        days += [(DAY * d, DAY * d + DAY, n, one) for d, n in zip(day.tolist(), sums.tolist(), strict=True) if n]
    days.sort(key=lambda one: one[:2])
    together: list[list[tuple[int, int, int, Manifest]]] = []
    for one_day in days:
        if not together or one_day[0] - max(day[1] for day in together[-1]) > 366 * DAY:
            together.append([])
        together[-1].append(one_day)
    total = sum(count for _, _, count, _ in days)
    spans: dict[str, tuple[int, int]] = {}
    strays: list[tuple[int, int, int, Manifest]] = []
    for some in together:
        if 100 * sum(count for _, _, count, _ in some) < total and all(one.month is None for *_, one in some):
            strays += some
            continue
        for begin, stop, _, one in some:
            before = spans.get(one.url, (begin, stop))
            spans[one.url] = min(before[0], begin), max(before[1], stop)
    if strays:
        listed = ", ".join(sorted({one.url for *_, one in strays})[:3])
        dates = sorted({f"{pd.Timestamp(begin, unit='s'):%Y-%m-%d}" for begin, *_ in strays})
        say(
            f"cube: {quantity(sum(count for _, _, count, _ in strays), 'trip')} of {listed} began years from all "
            f"others, on {', '.join(dates[:5])}{' …' if len(dates) > 5 else ''}: they are outside of the cube's span "
            "(to count them give start and end; to reject them ingest the file with its month)"
        )
    return list(spans.values())


def _add(counts: np.ndarray, part: Tally, first: int, missing: np.ndarray) -> None:
    """Add what lies in slots that are not missing; the others are not touched, so that they take no memory."""
    keys, pickups, dropoffs = part.entries()
    cells = counts.shape[1]
    at = keys - first * cells
    keep = (at >= 0) & (at < counts.shape[0] * cells)
    keep[keep] = ~missing[at[keep] // cells]
    flat, at = counts.reshape(-1, 2), at[keep]
    for direction, ends in enumerate((pickups, dropoffs)):
        sums = flat[at, direction] + ends[keep]  # of int64: nothing wraps
        if sums.max(initial=0) > MAX_COUNT:
            raise CubeError(
                f"a slot and cell have {sums.max():,} trips, above {MAX_COUNT:,}, the most a cube can hold",
                "use shorter slots or smaller cells: lake.recount(space=…, slot=…)",
            )
        flat[at, direction] = sums


def _slot_start(name: str, value: Any, slot_seconds: int) -> int:
    moment = naive(name, value)
    seconds = int(moment.as_unit("s").to_numpy().astype("int64"))
    if seconds % slot_seconds or moment != pd.Timestamp(seconds, unit="s"):
        raise LakeError(f"{name} {value} is not the beginning of a slot of {slot_seconds // 60} min", "round it")
    return seconds


@dataclass(frozen=True)
class RecountTask:
    """Count the trips of one source in a space and slot."""

    lake: str
    storage: Storage
    url: str
    space_key: str
    slot_seconds: int


def recount_source(task: RecountTask) -> dict[str, Any]:
    """Write the counts of one source, unless an earlier attempt did."""
    manifests = Manifests(task.lake, task.storage)
    manifest = manifests.get(task.url)
    if manifest is None:  # removed meanwhile
        return {"url": task.url, "trips": 0, "outside_pickups": 0, "outside_dropoffs": 0}
    url = cube_url(task.lake, f"{task.space_key}-{task.slot_seconds}s", manifest.id)
    space = load_space(task.lake, task.space_key, task.storage)
    try:
        counts = read_tally(
            task.storage, url, task.url, kept=manifest.kept, slot_seconds=task.slot_seconds, cells=space.cells, last=-1
        )
    except DamagedError:  # or not there yet
        parts = list(manifest.parts)
        try:
            counts = count_parts(task.lake, task.storage, parts, space, task.slot_seconds, manifest.locations, task.url)
        except GoneError:
            if manifests.get(task.url) == manifest:
                raise
            return recount_source(task)  # it was replaced meanwhile
        task.storage.write(url, counts.to_bytes())
    pickups, dropoffs = counts.outside
    return {"url": task.url, "trips": manifest.kept, "outside_pickups": pickups, "outside_dropoffs": dropoffs}


def recount(
    lake: str, storage: Storage, manifests: Sequence[Manifest], space_key: str, slot_seconds: int, *, client: Any = None
) -> pd.DataFrame:
    """Count every source again, one task each; the lake's own counts stay what they are."""
    from taxidask.compute import executor

    tasks = [RecountTask(lake, storage, manifest.url, space_key, slot_seconds) for manifest in manifests]
    results = executor(client).map_unordered(recount_source, tasks, describe=lambda task: task.url)
    rows = {task.url: row for task, row in results}
    names = ["url", "trips", "outside_pickups", "outside_dropoffs"]
    return pd.DataFrame([rows[url] for url in sorted(rows)], columns=names)
