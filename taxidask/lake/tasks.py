"""The work of an ingest, as tasks: read one block into parts, and make a source of finished blocks visible.

Both are pure functions of small picklable arguments, so they run in threads, processes and pods alike. A task writes
its own output and returns a small dictionary.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from taxidask.errors import LakeError, SourceError, StorageError
from taxidask.space import Space
from taxidask.storage import MissingError, Storage, join
from taxidask.trips.read import RESULT_BYTES, BlockResult, add_up, read_block
from taxidask.trips.rules import Rules, check_order
from taxidask.trips.schema import PLACES
from taxidask.trips.sources import Block, Source

from .layout import load_space
from .manifest import Manifest, Manifests, OvertakenError, Part, named
from .names import cube_url, part_id, version_key, work_folder
from .parts import DamagedError, footer_of, read_part, to_parquet
from .sweeping import delete
from .tally import Tally, merge, read_tally

SECOND = "another driver read it at the same time"
ROW_GROUP = 1 << 14  # rows: about a day of a 64 MiB block, so that a day's query reads two of thirty


@dataclass(frozen=True)
class Job:
    """What all tasks of one source share."""

    lake: str
    storage: Storage
    source: Source
    rules: Rules
    space_key: str
    slot_seconds: int
    generation: int = 0

    @property
    def part(self) -> str:
        """What its manifest is known by: the source and everything that decides what is in its parts."""
        return part_id(self.source, self.rules)

    @property
    def stem(self) -> str:
        """What the names of its parts begin with; another after files of the source were cleared."""
        cleared = f"g{self.generation}" if self.generation else ""
        return f"{self.part}-{version_key(self.source.version)}{cleared}"

    @property
    def count_key(self) -> str:
        """Name of the space and slot that its trips are counted in."""
        return f"{self.space_key}-{self.slot_seconds}s"

    @property
    def work(self) -> str:
        """Where the summaries of its finished blocks are."""
        return work_folder(self.lake, self.stem)

    def summary_url(self, start: int, stop: int) -> str:
        """Where the summary of a block is: once it is there, the block is finished."""
        return join(self.work, f"{start}-{stop}.json")

    def counts_url(self, start: int, stop: int) -> str:
        """Where the counts of a block wait to be added up."""
        return join(self.work, f"{start}-{stop}.parquet")

    def space(self) -> Space:
        """The lake's space, loaded once in each process."""
        return load_space(self.lake, self.space_key, self.storage)


@dataclass(frozen=True)
class BlockTask:
    """Read the rows that start in ``[start, stop)``, of a stream `result_bytes` of text at a time."""

    job: Job
    start: int
    stop: int
    result_bytes: int = RESULT_BYTES


@dataclass(frozen=True)
class FinishTask:
    """Make a source visible whose blocks are all finished, `earlier` ones by another ingest."""

    job: Job
    ranges: tuple[tuple[int, int], ...]
    earlier: frozenset[tuple[int, int]] = frozenset()


def run_task(task: BlockTask | FinishTask) -> dict[str, Any]:
    """Run either task; a source that cannot be read is a result (``error``), so that it does not stop the others."""
    try:
        return ingest_block(task) if isinstance(task, BlockTask) else finish_source(task)
    except SourceError as error:
        return {"error": error}


def ingest_block(task: BlockTask) -> dict[str, Any]:
    """Read a block into parts of trips and rejects and its counts, then write its summary."""
    began = time.monotonic()
    job = task.job
    space = job.space()
    counts = Tally(job.slot_seconds, space.cells)
    summary: dict[str, Any] = {
        "start": task.start, "stop": task.stop, "rows": 0, "kept": 0, "rejected": {}, "unreadable": {}, "bytes": 0,
        "zoned": {}, "examples": {}, "left_out": 0, "fares": 0, "content": [],
        "count_key": job.count_key, "parts": [], "rejects": [],
    }  # fmt: skip
    block = Block(job.source, task.start, task.stop)
    results = _read(block, job, task.result_bytes)
    # two drivers may cut one stream in different places: neither is to overwrite the other's parts
    cut = "" if job.source.splittable or task.result_bytes == RESULT_BYTES else f"{task.result_bytes >> 20}M-"
    if job.source.splittable:
        results = iter(list(results))  # there is one: the reader and its buffers are let go before it is written
    for number, result in enumerate(results):
        for name in ("rows", "kept", "bytes"):
            summary[name] += getattr(result, name)
        for name in ("rejected", "unreadable", "zoned"):
            add_up(summary[name], getattr(result, name))
        summary["examples"] = result.examples | summary["examples"]
        summary["left_out"] += sum(result.rejected.values()) - result.rejects.num_rows
        summary["content"] += result.content
        name = f"{job.stem}-{task.start:012d}-{task.stop:012d}-{cut}{number:04d}.parquet"
        if result.rejects.num_rows:
            path, data = f"rejects/{name}", to_parquet([result.rejects], result.rejects.schema)
            job.storage.write(join(job.lake, path), data)
            summary["rejects"].append(asdict(Part(path, result.rejects.num_rows, len(data), footer=footer_of(data))))
        trips = result.trips
        del result
        summary["fares"] += _cents(trips)
        counts.add_trips(trips, space, job.source.era.locations)
        _release_memory()
        summary["parts"] += [asdict(part) for part in _write_trips(job, trips, name)]
        del trips
    job.storage.write(job.counts_url(task.start, task.stop), counts.to_bytes())
    summary["outside"] = counts.outside
    # Else rows of another version would be trusted should this one come back: on S3 equal bytes are equal versions.
    _check_version(job)
    summary["seconds"] = time.monotonic() - began
    job.storage.write(job.summary_url(task.start, task.stop), json.dumps(summary).encode())
    _release_memory()
    return {name: summary[name] for name in ("start", "stop", "rows", "kept", "rejected", "bytes", "seconds")}


def _cents(trips: pa.Table) -> int:
    """What the meters of these trips showed, each in whole cents so that no order of adding changes the sum."""
    fares = pc.fill_null(trips["fare_amount"], 0).to_numpy()
    return int(np.rint(fares * 100).astype(np.int64).sum())


def _read(block: Block, job: Job, result_bytes: int) -> Iterator[BlockResult]:
    """Read a block; a storage that does not give its bytes fails this source and none of the others."""
    try:
        yield from read_block(block, storage=job.storage, rules=job.rules, result_bytes=result_bytes)
    except StorageError as error:
        raise _unreadable(error) from error


def _unreadable(error: StorageError) -> SourceError:
    return SourceError(error.message, error.remedy)


def _check_version(job: Job) -> None:
    source = job.source
    try:
        now = job.storage.stat(source.url).version
    except StorageError as error:  # deleted or forbidden meanwhile
        raise _unreadable(error) from error
    if now != source.version:
        raise SourceError(
            f"{source.url} changed while it was read (version {source.version} became {now})",
            "ingest it again once it is written; what the lake held of it is still there",
        )


def _release_memory() -> None:
    """Give freed memory back to the system: allocators keep it, and blocks would pile up in each thread's share."""
    pa.default_memory_pool().release_unused()
    with contextlib.suppress(OSError, AttributeError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)


def _write_trips(job: Job, trips: pa.Table, name: str) -> Iterator[Part]:
    """Write trips sorted by pickup (rows of equal time in file order), a part for each month."""
    trips = trips.combine_chunks()
    order = pc.sort_indices(trips["pickup_datetime"])
    pickups = trips["pickup_datetime"].take(order).combine_chunks().to_numpy(zero_copy_only=False)
    months = pickups.astype("datetime64[M]")
    edges = [0, *(np.flatnonzero(months[1:] != months[:-1]) + 1).tolist(), len(months)]
    for low, high in pairwise(edges):
        if low == high:
            continue
        year, month = str(months[low]).split("-")
        slices = (trips.take(order.slice(at, min(ROW_GROUP, high - at))) for at in range(low, high, ROW_GROUP))
        data = to_parquet(slices, trips.schema)
        path = f"trips/year={year}/month={month}/{name}"
        job.storage.write(join(job.lake, path), data)
        first, last = (int(pickups[at].astype("datetime64[us]").astype(np.int64)) for at in (low, high - 1))
        yield Part(path, high - low, len(data), first, last, footer_of(data))


def finish_source(task: FinishTask) -> dict[str, Any]:
    """Check that the blocks are whole, add up their counts and write the manifest; then clear the work folder."""
    began = time.monotonic()
    job, source = task.job, task.job.source
    manifests = Manifests(job.lake, job.storage)
    _check_version(job)
    summaries, lost = _summaries(job, task)
    if not lost:
        manifest = _manifest(job, summaries)
        try:
            check_order(source.url, source.month, manifest.zoned)
        except SourceError:
            work = [stat.url[len(job.lake) + 1 :] for stat in job.storage.list(job.work)]
            delete(job.lake, job.storage, [*work, *named(manifest)])
            raise
        space = job.space()

        def tally_of(summary: dict[str, Any]) -> Tally:
            try:
                return _tally_of(job, summary, space)
            except DamagedError:
                block = summary["start"], summary["stop"]
                job.storage.delete(job.summary_url(*block))
                lost.append(block)
                return Tally(job.slot_seconds, space.cells)

        tallies = ((lambda one=one: tally_of(one)) for one in summaries)
        tally = merge(tallies, job.slot_seconds, space.cells)
    if lost:
        # Another driver that was first cleared the work folder after its commit.
        there = manifests.get(source.url)
        return outcome(there, note=_second(there)) if there is not None and there.id == job.part else {"again": lost}
    job.storage.write(cube_url(job.lake, job.count_key, job.part), tally.to_bytes())
    seconds = manifest.seconds + time.monotonic() - began
    new = replace(manifest, outside=tally.outside, seconds=seconds)
    try:
        visible, won = manifests.commit(new, check=lambda: _check_version(job))
    except OvertakenError as error:
        return {"again": list(task.ranges), "generation": error.generation}
    delete(job.lake, job.storage, [stat.url[len(job.lake) + 1 :] for stat in job.storage.list(job.work)])
    return outcome(visible, note="" if won else _second(visible))


def _second(manifest: Manifest) -> str:
    """That another made a source visible first; of a second name nobody need have: what it refers to came back."""
    return "" if manifest.duplicate_of else SECOND


def outcome(manifest: Manifest, *, note: str = "", skipped: bool = False) -> dict[str, Any]:
    """What became of a source, small enough to send back."""
    if manifest.duplicate_of:
        second = f"same content as {manifest.duplicate_of}, counted there"
        note = f"{note}; {second}" if note else second
    fields = (
        "url", "month", "rows", "kept", "rejected", "unreadable", "outside", "bytes", "seconds", "duplicate_of",
        "zoned", "examples", "left_out",
    )  # fmt: skip
    return {name: getattr(manifest, name) for name in fields} | {"note": note, "skipped": skipped}


def _summaries(job: Job, task: FinishTask) -> tuple[list[dict[str, Any]], list[tuple[int, int]]]:
    """The blocks' summaries in file order, and the blocks to read again: their parts are not what the summary says.

    Those that this ingest wrote need only be there, in their size; of earlier ones the rows are looked at as well.
    """

    def load(block: tuple[int, int]) -> dict[str, Any] | None:
        url = job.summary_url(*block)
        try:
            summary = json.loads(job.storage.read(url))
            if block in task.earlier:
                _check_summary(summary)
            for part in (Part(**part) for part in (*summary["parts"], *summary["rejects"])):
                if block in task.earlier:
                    with read_part(job.lake, job.storage, part, job.source.url):
                        pass
                elif job.storage.stat(join(job.lake, part.path)).size != part.bytes:
                    raise ValueError(part.path)
        except (MissingError, DamagedError, ValueError, KeyError, TypeError, AttributeError):
            job.storage.delete(url)
            return None
        return summary

    with ThreadPoolExecutor(8) as pool:
        loaded = list(pool.map(load, task.ranges))
    lost = [block for block, summary in zip(task.ranges, loaded, strict=True) if summary is None]
    return [summary for summary in loaded if summary is not None], lost


def _check_summary(summary: dict[str, Any]) -> None:
    """That a summary says everything, and that its numbers add up."""
    if missing := {"start", "stop", "unreadable", "bytes", "content", "count_key", "outside", "seconds"} - set(summary):
        raise KeyError(*missing)
    rejected = sum(summary["rejected"].values())
    found = tuple(sum(part["rows"] for part in summary[name]) for name in ("parts", "rejects"))
    left_out = summary.get("left_out", 0)
    if (summary["kept"], rejected - left_out, summary["rows"] - left_out) != (*found, sum(found)):
        raise ValueError(f"{summary['rows']} rows, {summary['kept']} kept, {rejected} rejected, in parts {found}")


def _manifest(job: Job, summaries: list[dict[str, Any]]) -> Manifest:
    source = job.source
    rejected: dict[str, int] = {}
    unreadable: dict[str, int] = {}
    zoned: dict[str, int] = {}
    examples: dict[str, str] = {}
    left_out = 0
    known = all(isinstance(summary.get("fares"), int) for summary in summaries)
    for summary in summaries:
        for total, name in ((rejected, "rejected"), (unreadable, "unreadable"), (zoned, "zoned")):
            add_up(total, summary.get(name, {}))
        examples = summary.get("examples", {}) | examples
        left_out += summary.get("left_out", 0)
    rows, kept, size = (sum(summary[name] for summary in summaries) for name in ("rows", "kept", "bytes"))
    parts = tuple(Part(**part) for summary in summaries for part in summary["parts"])
    rejects = tuple(Part(**part) for summary in summaries for part in summary["rejects"])
    checks = {
        "rows": (rows, kept + sum(rejected.values())),
        "kept rows": (kept, sum(part.rows for part in parts)),
        "rejected rows": (sum(rejected.values()), sum(part.rows for part in rejects) + left_out),
        "bytes": (source.size, size),
    }
    for what, (said, found) in checks.items():
        if said != found:
            raise LakeError(f"{source.url}: {said:,} {what} read, but {found:,} accounted for", "please report this")
    ranges = [bytes.fromhex(digest) for summary in summaries for digest in summary["content"]]
    return Manifest(
        url=source.url,
        id=job.part,
        version=source.version,
        size=source.size,
        month=source.month,
        era=source.era.name,
        locations=source.era.locations,
        rules=asdict(job.rules),
        content=xxhash.xxh3_128_hexdigest(b"".join(ranges)),
        rows=rows,
        kept=kept,
        rejected=rejected,
        unreadable=unreadable,
        outside=(0, 0),
        count_key=job.count_key,
        bytes=size,
        seconds=sum(summary["seconds"] for summary in summaries),
        first=min((part.first for part in parts if part.first is not None), default=None),
        last=max((part.last for part in parts if part.last is not None), default=None),
        parts=parts,
        rejects=rejects,
        zoned=zoned,
        examples=examples,
        generation=job.generation,
        left_out=left_out,
        fares=sum(summary["fares"] for summary in summaries) if known else None,
    )


def _tally_of(job: Job, summary: dict[str, Any], space: Space) -> Tally:
    if summary["count_key"] == job.count_key:
        url = job.counts_url(summary["start"], summary["stop"])
        with contextlib.suppress(MissingError, DamagedError):
            return read_tally(
                job.storage, url, job.source.url,
                kept=summary["kept"], slot_seconds=job.slot_seconds, cells=space.cells,
            )  # fmt: skip
    # The lake was recounted since the block was read, another driver cleared up, or the disk failed.
    return count_parts(job.lake, job.storage, [Part(**part) for part in summary["parts"]], space, job.slot_seconds,
                       job.source.era.locations, job.source.url)  # fmt: skip


def count_parts(
    lake: str, storage: Storage, parts: list[Part], space: Space, slot_seconds: int, locations: str, source: str
) -> Tally:
    """Count the trips of a source's parts anew, a few row groups at a time."""
    counts = Tally(slot_seconds, space.cells)
    columns = ["pickup_datetime", "dropoff_datetime", *PLACES[locations]]
    for part in parts:
        with read_part(lake, storage, part, source) as reader:
            for group in range(0, reader.num_row_groups, 16):
                groups = list(range(group, min(group + 16, reader.num_row_groups)))
                counts.add_trips(reader.read_row_groups(groups, columns=columns), space, locations)
    return counts
