"""``td.count_trips``: from sources straight to a cube, without a lake."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np
import xxhash

from taxidask.compute.executors import executor
from taxidask.cube import add_counts
from taxidask.errors import CubeError, RunError, SourceError
from taxidask.progress import Progress, say
from taxidask.space import AUTO, Space, SpaceLike, choose_space
from taxidask.storage import Storage, default_storage
from taxidask.trips.blockcounts import BlockCounts
from taxidask.trips.read import add_up, count_block
from taxidask.trips.rules import Rules, check_order, check_rules, month_bounds
from taxidask.trips.sources import RANGE_BYTES, Block, Source, find_sources
from taxidask.units import DAY, LONGEST_SPAN, slot_seconds_of

if TYPE_CHECKING:
    import pandas as pd
    from distributed import Client

    from taxidask.cube import Cube
    from taxidask.trips.outcome import SourceIngest

SMALLEST, LARGEST = 4 * RANGE_BYTES, 16 * RANGE_BYTES
"""Bytes of a block: counts of a whole month come with each, so small blocks cost more than they bring."""


def count_trips(
    sources: str | PathLike[str] | Iterable[str | PathLike[str]],
    *,
    space: SpaceLike = AUTO,
    slot: str | pd.Timedelta = "30min",
    client: Client | None = None,
    rules: Rules = Rules(),
    month: str | None = None,
    storage: Storage | None = None,
    progress: bool = False,
    should_stop: Callable[[], bool] | None = None,
) -> Cube:
    """Count the trips of sources by slot, cell and direction; the cube equals that of a lake with the same sources.

    Parameters
    ----------
    sources : str, path or iterable of them
        Files, folders and patterns; CSV (plain, gzip, zstd) and Parquet of any TLC era.
    space : Space, str or path
        The cells: a `Grid`, `Zones`, "new_york", "zones", or the URL of zones as GeoJSON. "auto" takes the taxi zones
        as soon as one source names zones, else the grid; ``cube.ingest`` says why.
    slot : str
        Length of a slot; it divides a day.
    client : distributed.Client, optional
        Its workers read; else those of the current client, else threads of this process.
    rules : Rules
        Which rows are kept.
    month : str, optional
        Month of all sources, ``YYYY-MM``, instead of the one in their name.
    storage : Storage, optional
        How URLs are read.
    progress : bool
        Show rows, bytes, rejects and time left.
    should_stop : callable, optional
        Asked between blocks; once true, running blocks are finished, no other is started, and RunError is raised.

    Returns
    -------
    Cube
        Of the months that the sources cover; one without a month in its name covers the days from its first pickup to
        its last. Slots between that no source covers are ``missing``. Two sources of the same content count once.
        ``cube.ingest`` says, source by source, how many rows were kept and rejected, how many ends lie in no cell, and
        which source is a second name of another.

    Raises
    ------
    SourceError
        If a source cannot be read, or not one of its rows can be kept.

    Examples
    --------
    >>> import tempfile, taxidask as td
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     files = td.make_sample(folder, start="2015-01", trips_per_month=1000)
    ...     cube = td.count_trips(files)
    >>> cube.start, len(cube), cube.ingest.rows
    (Timestamp('2015-01-01 00:00:00'), 1488, 1000)
    """
    # Here and below: workers import this module too, and have no use for pandas.
    from taxidask.trips.outcome import Ingest, raise_failures

    began = time.monotonic()
    storage = storage or default_storage()
    check_rules(rules)
    seconds = slot_seconds_of(slot)
    found = find_sources(sources, storage=storage, month=month)
    choice = choose_space(space, [(source.url, source.era.locations) for source in found])
    if progress and choice.reason:
        say(f"count: {choice}")
    chosen = choice.space
    workers = executor(client)
    size = _block_size(sum(source.size for source in found), workers.threads)
    blocks = [source.blocks(size) for source in found]
    # Only sources of the same size can have the same content; all others are added up as they come.
    sizes = [source.size for source in found]
    parts = [_Part(source, len(mine), sizes.count(source.size) > 1) for source, mine in zip(found, blocks, strict=True)]
    total, total_bytes = _Sum(chosen.cells, seconds), sum(sizes)
    task = CountTask(storage, rules, chosen, seconds, frozenset(size for size in sizes if sizes.count(size) > 1))
    done = 0
    with Progress(progress, label="count") as show:
        for (index, block), counted in workers.map_unordered(
            task, _in_turn(blocks), should_stop=should_stop, describe=_describe
        ):
            done += 1
            part = parts[index]
            part.take(block, counted, total)
            show(
                {"rows": counted.rows, "rejected": counted.rejected, "bytes": counted.bytes, "total_bytes": total_bytes}
            )
            if not part.left:
                part.check(storage)
    if done < sum(map(len, blocks)):
        raise RunError(f"counting was cancelled after {done:,} of {sum(map(len, blocks)):,} blocks", "count again")
    report = Ingest(_settle(parts, total), time.monotonic() - began, choice)
    raise_failures(report)
    cube = _cube(total, [part.covered() for part in parts if part.kept], chosen, seconds)
    cube.ingest = report
    return cube


@dataclass(frozen=True)
class CountTask:
    """What all blocks of a count share; called with ``(index of the source, block)``."""

    storage: Storage
    rules: Rules
    space: Space
    slot_seconds: int
    twins: frozenset[int]  # sizes that several sources have: only these are hashed

    def __call__(self, item: tuple[int, Block]) -> BlockCounts:
        return count_block(
            item[1],
            storage=self.storage,
            rules=self.rules,
            space=self.space,
            slot_seconds=self.slot_seconds,
            content=item[1].source.size in self.twins,
        )


class _Sum:
    """Counts that grow to either side; a slot is the number of slot lengths since 1970."""

    def __init__(self, cells: int, seconds: int) -> None:
        self.first = 0
        self.seconds = seconds
        self.counts = np.zeros((0, cells, 2), np.int32)

    def add(self, part: BlockCounts | _Sum) -> None:
        first, stop = part.slots if isinstance(part, BlockCounts) else (part.first, part.first + len(part.counts))
        if first == stop:
            return
        self._cover(first, stop)
        if isinstance(part, BlockCounts):
            part.add_to(self.counts, self.first)
        else:
            add_counts(self.counts, part.counts, first - self.first)

    def _cover(self, first: int, stop: int) -> None:
        if not len(self.counts):
            self.first = first
        end = self.first + len(self.counts)
        if self.first <= first and stop <= end:
            return
        if (max(end, stop) - min(self.first, first)) * self.seconds > LONGEST_SPAN:
            one, other = (
                np.datetime64(slot * self.seconds, "s").astype("datetime64[D]")
                for slot in (min(self.first, first), max(end, stop))
            )
            raise CubeError(
                f"the cube would go from {one} to {other}: a source without a month has a pickup that is far away",
                "name the month, month='2015-01' or in the file's name, so that rows of other times are set aside",
            )
        # Half as much again, so that a hundred months one by one are not copied a hundred times; a day for the
        # blocks of one month, which all begin and end a little differently.
        spare = min(max(len(self.counts) // 2, DAY // self.seconds), LONGEST_SPAN // self.seconds // 30)
        low = first - spare if first < self.first or not len(self.counts) else self.first
        high = stop + spare if stop > end else end
        grown = np.zeros((high - low, *self.counts.shape[1:]), np.int32)
        grown[self.first - low : end - low] = self.counts
        self.first, self.counts = low, grown


class _Part:
    """One source as its blocks come in."""

    def __init__(self, source: Source, blocks: int, alone: bool) -> None:
        self.source, self.left = source, blocks
        self.rows = self.kept = 0
        self.rejected: dict[str, int] = {}
        self.zoned: dict[str, int] = {}
        self.examples: dict[str, str] = {}
        self.outside = (0, 0)
        self.first: int | None = None
        self.last: int | None = None
        self.seconds = 0.0
        self.alone: _Sum | None = None
        self._alone = alone
        self._content: dict[int, list[str]] = {}

    def take(self, block: Block, counted: BlockCounts, total: _Sum) -> None:
        self.left -= 1
        self.rows += counted.rows
        self.kept += counted.kept
        add_up(self.rejected, counted.rejected)
        add_up(self.zoned, counted.zoned)
        self.examples = counted.examples | self.examples
        self.outside = (self.outside[0] + counted.outside[0], self.outside[1] + counted.outside[1])
        if counted.first_pickup is not None and counted.last_pickup is not None:
            self.first = counted.first_pickup if self.first is None else min(self.first, counted.first_pickup)
            self.last = counted.last_pickup if self.last is None else max(self.last, counted.last_pickup)
        if self._alone:
            self.alone = self.alone or _Sum(counted.counts.shape[1], total.seconds)
            self.alone.add(counted)
            self._content[block.start] = counted.content
        else:
            total.add(counted)

    def check(self, storage: Storage) -> None:
        """Once all blocks are read, the file must still be the one whose first was."""
        now = storage.stat(self.source.url).version
        if now != self.source.version:
            raise SourceError(
                f"{self.source.url} changed while it was read (version {self.source.version} became {now})",
                "count it again once it is written",
            )

    @property
    def content(self) -> str | None:
        """The hash of the content, for those that may have it in common."""
        if not self._alone:
            return None
        ranges = [bytes.fromhex(digest) for start in sorted(self._content) for digest in self._content[start]]
        return xxhash.xxh3_128_hexdigest(b"".join(ranges))

    def covered(self) -> tuple[int, int]:
        """Seconds since 1970 between which the source says what happened: its month, else the days of its pickups."""
        if self.source.month is not None:
            low, high = month_bounds(self.source.month)
            return low // 1_000_000, high // 1_000_000
        first, last = self.first or 0, self.last or 0
        return first - first % DAY, last - last % DAY + DAY


def _settle(parts: list[_Part], total: _Sum) -> list[SourceIngest]:
    """Add what waited, the first of each content only, and say what became of every source."""
    from taxidask.trips.outcome import SourceIngest, remarks

    seen: dict[str, str] = {}
    results = []
    for part in parts:
        url, content = part.source.url, part.content
        if content is not None and content in seen:
            note = f"same content as {seen[content]}, counted there"
            results.append(SourceIngest(url, part.source.month, note=note, duplicate_of=seen[content]))
            part.kept = 0
            continue
        if content is not None:
            seen[content] = url
        if part.alone is not None:
            total.add(part.alone)
        error = None
        if not part.kept:
            reasons = ", ".join(f"{reason} {count:,}" for reason, count in part.rejected.items() if count)
            error = SourceError(
                f"not one of the {part.rows:,} rows of {url} can be kept: {reasons or 'there are none'}"
                + "".join(f" ({remark})" for remark in remarks({}, part.examples)),
                "is it the right file, and the month in its name right? td.read_trips(url) shows the rejects",
            )
        check_order(url, part.source.month, part.zoned)
        notes = remarks(part.zoned, part.examples, month=part.source.month)
        if part.source.month is None:
            notes.append("no month in its name, so outside_month was not checked")
        results.append(
            SourceIngest(
                url,
                part.source.month,
                part.rows,
                part.kept,
                part.rejected,
                outside=part.outside,
                bytes=part.source.size,
                note="; ".join(notes),
                zoned=part.zoned,
                examples=part.examples,
                error=error,
            )
        )
    return results


def _cube(total: _Sum, spans: list[tuple[int, int]], space: Space, seconds: int) -> Cube:
    import pandas as pd

    from taxidask.cube import Cube

    first = min(low for low, _ in spans) // seconds
    slots = max(high for _, high in spans) // seconds - first
    missing = np.ones(slots, bool)
    for low, high in spans:
        missing[low // seconds - first : high // seconds - first] = False
    total._cover(first, first + slots)
    counts = total.counts[first - total.first :][:slots]
    if len(counts) < len(total.counts):
        counts = counts.copy()
    counts[missing] = 0  # drop-offs after midnight of a month whose successor is not there
    return Cube(
        counts,
        start=pd.Timestamp(first * seconds, unit="s"),
        slot=pd.Timedelta(seconds=seconds),
        space=space,
        missing=missing,
    )


def _block_size(total: int, threads: int) -> int:
    """A size of which every thread gets several blocks, within bounds."""
    wanted = -(-total // (threads * 4) // RANGE_BYTES) * RANGE_BYTES
    return min(max(wanted, SMALLEST), LARGEST)


def _in_turn(blocks: list[list[Block]]) -> Iterator[tuple[int, Block]]:
    for index, mine in enumerate(blocks):
        for block in mine:
            yield index, block


def _describe(item: tuple[int, Block]) -> str:
    return f"{item[1].source.url}, bytes {item[1].start:,} to {item[1].stop:,}"
