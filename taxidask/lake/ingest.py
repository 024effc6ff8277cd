"""Driving an ingest: which blocks are left to read, a task for each, and what came of every source."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from taxidask.errors import LakeError, RunError, SettingsError, SourceError, TaxidaskError
from taxidask.storage import join
from taxidask.trips.outcome import NO_ROWS, SourceIngest, remarks
from taxidask.trips.read import RESULT_BYTES
from taxidask.trips.sources import Source, look_at
from taxidask.units import parse_bytes

from .manifest import Manifest, Manifests
from .sweeping import sweep
from .tasks import BlockTask, FinishTask, Job, outcome, run_task

if TYPE_CHECKING:
    from taxidask.compute import Executor

OnBlock = Callable[[dict[str, Any]], object]
ROUNDS = 3  # of looking whether what a second name refers to is still there


@dataclass
class _Progress:
    """A source on its way: blocks to read and blocks running."""

    job: Job
    ranges: tuple[tuple[int, int], ...]
    left: int
    earlier: frozenset[tuple[int, int]]
    again: int = 0
    error: TaxidaskError | None = None


def block_bytes(size: str | int) -> int:
    """A size of blocks as a number."""
    try:
        return parse_bytes(size)
    except SettingsError as error:
        raise LakeError(f"block_size {error.message}", error.remedy) from error


def check_blocks(source: Source, size: int) -> None:
    """Refuse a size of blocks that no source can be cut into."""
    try:
        source.blocks(size)
    except ValueError as error:
        raise LakeError(str(error), 'use "64MiB" or another multiple of 8 MiB') from error


@contextlib.contextmanager
def shown(progress: bool, on_block: OnBlock | None) -> Iterator[OnBlock]:
    """Who hears of finished blocks: a display, and the caller."""
    from taxidask.progress import Progress

    with Progress(progress) as show:

        def tell(block: dict[str, Any]) -> None:
            show(block)
            if on_block is not None:
                on_block(block)

        yield tell


class Driver:
    """Reads sources that are not in the lake yet, block by block, resuming where an earlier driver stopped.

    Parameters
    ----------
    jobs : list of Job
        One per source.
    block_size : int
        Bytes of a block.
    executor : Executor
        Runs the tasks.
    on_block, should_stop : callable, optional
        Called with the numbers of every finished block; asked whether to stop.
    manifests : Manifests, optional
        The lake's, of which some may have been read already.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        *,
        block_size: int,
        executor: Executor,
        on_block: OnBlock | None = None,
        should_stop: Callable[[], bool] | None = None,
        manifests: Manifests | None = None,
    ) -> None:
        self.jobs = jobs
        self.manifests = manifests or Manifests(jobs[0].lake, jobs[0].storage)
        self.block_size = block_size
        self.executor = executor
        self.on_block = on_block
        self.should_stop = should_stop
        self.results: dict[str, dict[str, Any]] = {}
        self._ready: list[BlockTask | FinishTask] = []
        self._total = 0
        by_size: dict[int, list[str]] = {}
        for job in jobs:
            by_size.setdefault(job.source.size, []).append(job.source.url)
        self._alike = {size: sorted(urls) for size, urls in by_size.items() if len(urls) > 1}
        self._second_names: dict[str, dict[str, Manifest]] = {}
        self._stopped = False

    def run(self) -> list[SourceIngest]:
        """Read all of them; what came of each, in their order."""
        todo = list(self.jobs)
        for _ in range(ROUNDS):
            self._round(todo)
            todo = [job for job in self.jobs if self._left_alone(job)]
            if not todo:
                break
        self._settle()
        self._sweep()
        for job in self.jobs:
            self._tell_second_names(job)
        return [self._result(job) for job in self.jobs]

    def _settle(self) -> None:
        """Of sources of one size look again what became of them: one may have become another's second name since."""
        sizes = Counter(result.get("bytes") for result in self.results.values())
        for job in self.jobs:
            result = self.results[job.source.url]
            if "error" in result or result.get("duplicate_of") or sizes[result.get("bytes")] == 1:
                continue
            manifest = self.manifests.get(job.source.url)
            if manifest is not None and manifest.duplicate_of:
                self.results[job.source.url] = outcome(manifest, note=result["note"], skipped=result["skipped"])

    def _sweep(self) -> None:
        read = {job.source.url: job.part for job in self.jobs if "error" not in self.results[job.source.url]}
        if read:
            sweep(self.manifests, read)

    def _tell_second_names(self, job: Job) -> None:
        """Say which other names of the content this source had count nowhere now that it has another."""
        manifests = self.manifests
        left = [
            one.url for one in self._second_names.get(job.source.url, {}).values() if not manifests.duplicate_holds(one)
        ]
        if left and "error" not in self.results[job.source.url]:
            note = f"its former content counts nowhere now, ingest again what has it: {', '.join(left)}"
            result = self.results[job.source.url]
            result["note"] = f"{result['note']}; {note}" if result["note"] else note

    def _left_alone(self, job: Job) -> bool:
        """Whether this source counts nowhere, because the one it is a second name of has other content by now."""
        original = self.results[job.source.url].get("duplicate_of")
        if not original:
            return False
        manifests = self.manifests
        manifest = manifests.get(job.source.url)
        return manifest is not None and bool(manifest.duplicate_of) and not manifests.duplicate_holds(manifest)

    def _round(self, jobs: Sequence[Job]) -> None:
        if not jobs:
            return
        lake, storage = jobs[0].lake, jobs[0].storage
        manifests = self.manifests
        every = manifests.every()
        there = {manifest.url: manifest for manifest in every if not manifest.removed}
        generations = {manifest.url: manifest.generation for manifest in every}
        finished = {stat.url for stat in storage.list(join(lake, "blocks")) if stat.url.endswith(".json")}
        ours = {job.source.url for job in self.jobs}
        for one in there.values():
            if one.duplicate_of in ours and one.url not in ours:
                self._second_names.setdefault(one.duplicate_of or "", {})[one.url] = one
        states: list[_Progress] = []
        plans: list[tuple[_Progress, list[tuple[int, int]]]] = []
        lacking = manifests.copies.lacking(there.values())
        same = Counter(one.content for one in there.values() if not one.duplicate_of)
        for job in jobs:
            manifest = there.get(job.source.url)
            current = manifest is not None and self._is_current(manifest, job, manifests)
            if manifest is not None and current and manifest.url not in lacking:
                seen = manifests.as_counted(manifest) if same[manifest.content] > 1 else manifest
                self.results[job.source.url] = outcome(seen, skipped=True)
                continue
            job = replace(job, generation=generations.get(job.source.url, 0))
            if not job.source.era.columns:  # it was in the lake when it was found
                try:
                    stat = storage.stat(job.source.url)
                    source = look_at(stat, storage=storage, month=job.source.month, unpack=job.source.unpack)
                    job = replace(job, source=source)
                except TaxidaskError as error:
                    self.results[job.source.url] = {"url": job.source.url, "month": job.source.month, "error": error}
                    continue
            ranges = tuple((block.start, block.stop) for block in job.source.blocks(self.block_size))
            todo = [one for one in ranges if job.summary_url(*one) not in finished]
            states.append(_Progress(job, ranges, len(todo), frozenset(ranges) - frozenset(todo)))
            plans.append((states[-1], todo))
        self._total = sum(stop - start for _, todo in plans for start, stop in todo)
        by_url = {state.job.source.url: state for state in states}
        tasks = self._tasks(plans)
        while True:
            for task, result in self.executor.map_unordered(
                run_task, tasks, should_stop=self._asked_to_stop, describe=_describe
            ):
                self._collect(task, result, by_url[task.job.source.url])
            if self._stopped:
                read = sum(len(state.ranges) - state.left for state in states)
                raise RunError(
                    f"the ingest into {lake} was cancelled with {read:,} of "
                    f"{sum(len(state.ranges) for state in states):,} blocks read",
                    "ingest again to go on: finished blocks are not read again",
                )
            if not self._ready:
                break
            tasks = self._late()

    @staticmethod
    def _is_current(manifest: Manifest, job: Job, manifests: Manifests) -> bool:
        return manifest.id == job.part and (not manifest.duplicate_of or manifests.duplicate_holds(manifest))

    def _asked_to_stop(self) -> bool:
        self._stopped = self._stopped or (self.should_stop is not None and self.should_stop())
        return self._stopped

    def _tasks(self, plans: list[tuple[_Progress, list[tuple[int, int]]]]) -> Iterator[BlockTask | FinishTask]:
        for state, todo in plans:
            if not todo:
                self._ready.append(FinishTask(state.job, state.ranges, state.earlier))
            for start, stop in todo:
                yield from self._late()
                if state.error is not None:
                    break
                yield self._block(state, start, stop)
        yield from self._late()

    def _late(self) -> Iterator[BlockTask | FinishTask]:
        """Sources all of whose blocks are there by now and which need not wait for another; blocks to read again."""
        while task := next((one for one in self._ready if not self._waits(one)), None):
            self._ready.remove(task)
            yield task

    def _waits(self, task: BlockTask | FinishTask) -> bool:
        """Whether a source of the same size, and so perhaps of the same content, comes first by name: that one is to
        count, whichever is read first."""
        alike = self._alike.get(task.job.source.size, []) if isinstance(task, FinishTask) else []
        return any(url < task.job.source.url and url not in self.results for url in alike)

    def _collect(self, task: BlockTask | FinishTask, result: dict[str, Any], state: _Progress) -> None:
        url = task.job.source.url
        if "error" in result:
            state.error = result["error"]
            self.results[url] = {"url": url, "month": task.job.source.month, "error": state.error}
        elif "again" in result:
            if "generation" in result:
                state.job, state.earlier = replace(state.job, generation=result["generation"]), frozenset()
            self._read_again(state, result["again"])
        elif isinstance(task, FinishTask):
            self.results[url] = result
        else:
            state.left -= 1
            if state.left == 0 and state.error is None:
                self._ready.append(FinishTask(state.job, state.ranges, state.earlier))
            if self.on_block is not None:
                self.on_block({"source": url, **result, "total_bytes": self._total})

    def _block(self, state: _Progress, start: int, stop: int) -> BlockTask:
        return BlockTask(state.job, start, stop, min(self.block_size, RESULT_BYTES))

    def _read_again(self, state: _Progress, blocks: list[tuple[int, int]]) -> None:
        """Blocks that were finished, by this ingest or before, and whose parts are gone or not what was written."""
        state.again += 1
        if state.again > ROUNDS:
            raise LakeError(
                f"what was read of {state.job.source.url} is gone or damaged again and again",
                "look after the disk, and whether something else deletes files of the lake; then ingest again",
            )
        state.left = len(blocks)
        state.earlier -= frozenset(blocks)
        self._total += sum(stop - start for start, stop in blocks)
        self._ready.extend(self._block(state, start, stop) for start, stop in blocks)

    def _result(self, job: Job) -> SourceIngest:
        result = SourceIngest(**self.results[job.source.url])
        notes = [note for note in (result.mostly_rejected, result.note) if note]
        if not result.skipped:
            notes += remarks(result.zoned, result.examples, result.left_out, job.source.month)
        if result.empty:
            notes.append(NO_ROWS)
        if job.source.month is None and not result.duplicate_of and result.error is None:
            notes.append("no month in its name, so outside_month was not checked")
        if result.rows and not result.kept:
            reasons = ", ".join(f"{reason} {count:,}" for reason, count in result.rejected.items() if count)
            message = f"not one of the {result.rows:,} rows of {result.url} can be kept: {reasons}"
            message += "".join(f" ({remark})" for remark in remarks({}, result.examples))
            remedy = (
                "the rows are set aside: look at lake.rejects(); is it the right file, and the month in its name right?"
            )
            return _with(result, note="; ".join(notes), error=SourceError(message, remedy))
        return _with(result, note="; ".join(notes))


def _with(result: SourceIngest, **changes: Any) -> SourceIngest:
    return replace(result, **changes)


def _describe(task: BlockTask | FinishTask) -> str:
    url = task.job.source.url
    return f"{url}, bytes {task.start:,} to {task.stop:,}" if isinstance(task, BlockTask) else f"the manifest of {url}"
