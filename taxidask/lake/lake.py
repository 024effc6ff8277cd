"""The lake: clean trips, rejects and counts of many sources, in one folder or bucket."""

from __future__ import annotations

import hashlib
import html
import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import pandas as pd
import pyarrow as pa

from taxidask.errors import LakeError, QuestionError, TaxidaskError
from taxidask.progress import say
from taxidask.space import AUTO, Choice, Space, SpaceLike, choose_space
from taxidask.storage import Regions, Storage, absolute, default_storage
from taxidask.trips.outcome import Ingest, SourceIngest, raise_failures
from taxidask.trips.rules import Rules, check_rules
from taxidask.trips.schema import REASONS
from taxidask.trips.sources import UNPACK_LIMIT, Source, UnpackLimit, Unusable, survey
from taxidask.units import is_whole, parse_seconds, slot_seconds_of
from taxidask.words import escaped

from .checking import Check, Mending, look
from .cube import cube_of, recount
from .filters import Where
from .ingest import Driver, OnBlock, block_bytes, check_blocks, shown
from .layout import Layout, load_space, read_layout, save_space, set_aside, settle, write_layout
from .listing import described, known_sources, named_sources, sources_table
from .manifest import Manifest, Manifests
from .parts import GoneError
from .query import query_rejects, query_trips, to_pandas
from .sampling import sample_trips
from .sweeping import SAFE_AGE, Removed, Tidied, clear_removed, remove_source, tidy
from .tasks import Job

if TYPE_CHECKING:
    from distributed import Client

    from taxidask.cube import Cube

T = TypeVar("T")
ROUNDS = 5  # of a read against sources that are replaced while it lasts


class Lake:
    """Trips of many sources as Parquet, with the rows set aside and the demand counts.

    A source becomes visible whole or not at all, and once: reading it again changes nothing, and an interrupted ingest
    goes on where it stopped. A lake has one space and one slot, those of its first ingest.

    Parameters
    ----------
    url : str or path
        A folder, ``s3://bucket/key`` or ``memory://name``; it need not exist.
    storage : Storage, optional
        Where the URL is; this process's environment decides by default.
    regions : Regions, optional
        AWS regions that have copies of it; by default those of the setting.

    Examples
    --------
    >>> lake = Lake("memory://docs/lake")
    >>> lake.trips(columns=["pickup_datetime", "fare_amount"])
    Empty DataFrame
    Columns: [pickup_datetime, fare_amount]
    Index: []
    """

    def __init__(
        self, url: str | os.PathLike[str], *, storage: Storage | None = None, regions: Regions | None = None
    ) -> None:
        self.url = absolute(url)
        self.storage = storage or default_storage(regions)
        self._manifests = Manifests(self.url, self.storage)

    # --- what it is -------------------------------------------------------------------------------------------

    def _layout(self) -> Layout:
        layout = read_layout(self.url, self.storage)
        if layout is None:
            raise LakeError(f"there is no lake at {self.url} yet", "ingest into it first: lake.ingest(sources)")
        return layout

    @property
    def space(self) -> Space:
        """The cells that trips are counted in."""
        return load_space(self.url, self._layout().space_key, self.storage)

    @property
    def slot(self) -> pd.Timedelta:
        """The length of time that trips are counted by."""
        return pd.Timedelta(seconds=self._layout().slot_seconds)

    def fingerprint(self) -> str:
        """Changes if and only if what queries see changes."""
        layout = read_layout(self.url, self.storage)
        seen = [[one.url, one.content, one.month, one.rules] for one in self._manifests.counted()]
        state = [layout.count_key if layout else None, seen]
        return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()

    # --- writing ----------------------------------------------------------------------------------------------

    def ingest(
        self,
        sources: str | os.PathLike[str] | Iterable[str | os.PathLike[str] | Source | Unusable],
        *,
        space: SpaceLike = AUTO,
        slot: str | pd.Timedelta | None = None,
        client: Client | None = None,
        block_size: str | int = "64MiB",
        rules: Rules | None = None,
        month: str | None = None,
        on_block: OnBlock | None = None,
        should_stop: Callable[[], bool] | None = None,
        progress: bool = False,
        errors: Literal["raise", "report"] = "raise",
    ) -> Ingest:
        """Read sources that are not in the lake yet.

        Parameters
        ----------
        sources : str, path or iterable of them
            Files, folders and patterns; CSV (plain, gzip, zstd) and Parquet of any TLC era. One that is missing, empty,
            forbidden or no trips keeps none of the others from being read: see `errors`.
        space : Space, str or path
            "auto": the lake's own; a new lake gets the taxi zones as soon as one of these sources names zones, else the
            grid, and the result says which and why. Or "zones", "new_york" (a grid), the URL of zones as GeoJSON, a
            `Grid` or `Zones`. Another than the lake's is an error.
        slot : str, optional
            That of the lake; in a new lake "30min". Another than the lake's is an error.
        client : distributed.Client, optional
            Its workers read; else those of the current client, else threads of this process.
        block_size : str or int
            A task's share of a file, a multiple of 8 MiB; a task needs up to six times as much memory, and 64 MiB.
        rules : Rules, optional
            Which rows are kept. A source that was read under other rules is read again.
        month : str, optional
            Month of all sources, ``YYYY-MM``, instead of the one in their name.
        on_block : callable, optional
            Gets a dictionary for every finished block: source, start, stop, rows, kept, rejected, bytes, seconds,
            total_bytes.
        should_stop : callable, optional
            Asked between blocks; once true, running blocks are finished, no other is started, and RunError is raised.
        progress : bool
            Show rows, bytes, rejects and time left.
        errors : {"raise", "report"}
            What to do, after all others are in the lake, about sources that cannot be read or have no valid row.

        Returns
        -------
        Ingest
            What became of every source; ``failed`` are those that could not be read.
        """
        if not isinstance(errors, str) or errors not in ("raise", "report"):
            raise LakeError(f"errors is {errors!r:.100}", 'use "raise" or "report"')
        rules = Rules() if rules is None else rules
        check_rules(rules)
        began = time.monotonic()
        size = block_bytes(block_size)
        found = self.find(sources, month=month, rules=rules, space=space)
        usable = [one for one in found if isinstance(one, Source)]
        if not usable:  # nothing is written, least of all a lake's space and slot
            results: list[SourceIngest] = []
            choice = Choice(self.choose_space(space, []).space)
        else:
            check_blocks(usable[0], size)
            layout, choice = settle(self.url, self.storage, lambda layout: self._choose(space, usable, layout), slot)
            if progress and choice.reason:
                say(f"ingest: a new lake, {choice}")
            storage = self.storage.staying()
            jobs = [Job(self.url, storage, source, rules, layout.space_key, layout.slot_seconds) for source in usable]
            from taxidask.compute import executor

            with shown(progress, on_block) as hook:

                def work(anew: bool) -> list[SourceIngest]:
                    if anew:  # in another region, to which not even the layout may have been copied
                        settle(self.url, self.storage, lambda _: choice, f"{layout.slot_seconds}s")
                    return Driver(
                        jobs, block_size=size, executor=executor(client), on_block=hook, should_stop=should_stop,
                        manifests=self._manifests,
                    ).run()  # fmt: skip

                results = self.storage.going_over(work)
        read = iter(results)
        rows = [next(read) if isinstance(one, Source) else SourceIngest(one.url, error=one.error) for one in found]
        result = Ingest(rows, time.monotonic() - began, choice)
        if errors == "raise":
            raise_failures(result)
        return result

    def find(
        self,
        sources: str | os.PathLike[str] | Iterable[str | os.PathLike[str] | Source | Unusable],
        *,
        month: str | None = None,
        rules: Rules = Rules(),
        space: SpaceLike = AUTO,
        unpack: UnpackLimit = UNPACK_LIMIT,
    ) -> list[Source | Unusable]:
        """What `ingest` would read; at files that the lake has in this version nobody looks."""
        known = known_sources(self._manifests.all(), month=month, rules=rules)
        found = survey(sources, storage=self.storage, month=month, known=known, unpack=unpack)
        return set_aside(found, space, self.url, self.storage)

    def choose_space(self, space: SpaceLike, found: Sequence[Source]) -> Choice:
        """The space that `ingest` would count these sources in, and why; nothing is written."""
        return self._choose(space, found, read_layout(self.url, self.storage))

    def _choose(self, space: SpaceLike, found: Sequence[Source], layout: Layout | None) -> Choice:
        own = load_space(self.url, layout.space_key, self.storage) if layout else None
        return choose_space(space, [(one.url, one.era.locations) for one in found], own=own)

    def recount(
        self, *, space: SpaceLike | None = None, slot: str | pd.Timedelta | None = None, client: Client | None = None
    ) -> pd.DataFrame:
        """Count the lake's trips again in another space or slot; readers see the old counts until all are there.

        Parameters
        ----------
        space : Space, str or path, optional
            A `Grid`, `Zones`, "zones", "new_york" or the URL of zones as GeoJSON; by default the lake's.
        slot : str, optional
            By default the lake's.
        client : distributed.Client, optional
            Its workers count; else those of the current client, else threads of this process.

        Returns
        -------
        DataFrame
            Per source: trips, and how many pickups and drop-offs lie in no cell.
        """
        layout = self._layout()
        own = load_space(self.url, layout.space_key, self.storage) if space is None else space
        seconds = layout.slot_seconds if slot is None else slot_seconds_of(slot)
        manifests = self._manifests.counted()
        target = choose_space(own, [(one.url, one.locations) for one in manifests]).space
        save_space(self.url, target, self.storage)
        report = recount(self.url, self.storage, manifests, target.key, seconds, client=client)
        new = (target.key, seconds) != (layout.space_key, layout.slot_seconds)
        if new and write_layout(self.url, self.storage, target, seconds, over=layout) is None:
            raise LakeError(
                f"the lake {self.url} was given another space or slot meanwhile", "look at lake.space, try again"
            )
        return report

    # --- reading ----------------------------------------------------------------------------------------------

    def trips(
        self,
        *,
        start: Any = None,
        end: Any = None,
        where: Where = None,
        columns: Sequence[str] | None = None,
        limit: int | None = None,
    ) -> pd.DataFrame:
        """Trips with a pickup in ``[start, end)``, in order of pickup.

        Only the months, parts, row groups and columns that can hold what is asked for are read.

        Parameters
        ----------
        start, end : str or Timestamp, optional
            New York wall-clock time.
        where : str or list of (column, op, value), optional
            Conditions, like ``"fare_amount > 20 and passenger_count == 1"`` or ``[("fare_amount", ">", 20)]``. A null
            fulfils neither a condition nor its negation, as in SQL; ``passenger_count is null`` asks for it.
        columns : list of str, optional
            Those wanted, in this order; all by default.
        limit : int, optional
            Rows at most: the first ones.
        """

        def read(manifests: list[Manifest]) -> pa.Table:
            return query_trips(
                self.url, self.storage, manifests,
                start=start, end=end, where=where, columns=columns, limit=limit,
            )  # fmt: skip

        return to_pandas(self._read(read))

    def _read(self, read: Callable[[list[Manifest]], T]) -> T:
        """Read what is visible; again where a source was replaced meanwhile, and its former parts are gone."""
        manifests = self._manifests.counted()
        for _ in range(ROUNDS):
            try:
                return read(manifests)
            except GoneError:
                before, manifests = manifests, self._manifests.counted()
                if manifests == before:
                    raise
        return read(manifests)

    def sample(self, rows: int, *, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """About `rows` trips, spread evenly over all of them, in order of pickup; all where there are no more.

        The same lake gives the same trips. Of many trips only some row groups are read, not the whole lake.

        Parameters
        ----------
        rows : int
            How many, give or take some per cent.
        columns : list of str, optional
            Those wanted, in this order; all by default.
        """
        if not is_whole(rows):
            raise QuestionError(f"rows is {rows!r}", "give a number of rows, 1 or more")
        return to_pandas(self._read(partial(sample_trips, self.url, self.storage, rows=int(rows), columns=columns)))

    def cube(self, *, start: Any = None, end: Any = None) -> Cube:
        """Trips counted by slot, cell and direction.

        Parameters
        ----------
        start, end : str or Timestamp, optional
            Which slots: ``[start, end)``; by default the covered months, from the first to the last.

        Returns
        -------
        Cube
            Slots that no source covers are marked missing and hold zeros.
        """
        layout = self._layout()
        space = load_space(self.url, layout.space_key, self.storage)
        return self._read(
            lambda manifests: cube_of(self.url, self.storage, manifests, space, layout.slot_seconds, start, end)
        )

    def rejects(
        self,
        source: str | os.PathLike[str] | None = None,
        reason: str | Sequence[str] | None = None,
        limit: int | None = None,
    ) -> pd.DataFrame:
        """Rows set aside: source, byte offset, raw line and reason.

        Parameters
        ----------
        source : str or path, optional
            Only of this source.
        reason : str or list of str, optional
            Only for these reasons.
        limit : int, optional
            Rows at most.
        """
        reasons: list[Any] | None = None
        if reason is not None:
            reasons = list(reason) if isinstance(reason, (list, tuple, set)) else [reason]
        for one in reasons or ():
            if not isinstance(one, str) or one not in REASONS:
                raise QuestionError(f"there is no reason {one!r:.100}", f"reasons are {', '.join(REASONS)}")

        def read(manifests: list[Manifest]) -> pa.Table:
            chosen = manifests if source is None else named_sources(source, manifests, self.url)
            return query_rejects(self.url, self.storage, chosen, reasons=reasons, limit=limit)

        return to_pandas(self._read(read))

    def sources(self) -> pd.DataFrame:
        """What the lake was made of: one row per source, with its rows, kept and rejected by reason."""
        there = self._manifests.all()
        return sources_table(there, self._manifests.claimant, self._manifests.copies.lacking(there))

    def remove(self, source: str | os.PathLike[str]) -> Removed:
        """Take a source out again: its trips, rejects and counts; what remains is as if it had never been read.

        The file itself is left alone; ingesting it again brings it back.

        Parameters
        ----------
        source : str or path
            As ``sources()`` lists it, or the last part of that where only one source has it.

        Returns
        -------
        Removed
            Its URL and trips, and the other names of its content, which count nowhere until they are ingested again.
        """
        every = self._manifests.every()
        for one in every:
            if one.removed and one.url == absolute(source):  # its removal may have been killed
                clear_removed(self._manifests, one.url)
        chosen = named_sources(source, [one for one in every if not one.removed], self.url)
        if len(chosen) > 1:
            listed = ", ".join(one.url for one in chosen)
            raise LakeError(f"{source} may be any of {listed}", "give the whole URL")
        return remove_source(self._manifests, chosen[0].url)

    def check(
        self,
        *,
        sample: int | None = None,
        mend: bool = False,
        rules: Rules = Rules(),
        client: Client | None = None,
        progress: bool = False,
    ) -> Check:
        """Whether every file of the lake is what was written; each finding with its source and its remedy.

        Parameters
        ----------
        sample : int, optional
            How many parts to read, chosen anew each time; all by default. Sizes and small files are always looked at.
        mend : bool
            Read the sources again whose parts, rejects, counts or manifest are damaged; one that is gone is left as is.
        rules, client, progress
            As of `ingest`; the rules are for sources of which nothing tells any more under which they were read.
        """
        if sample is not None and not is_whole(sample):
            raise QuestionError(f"sample is {sample!r:.100}", "give a number of parts, 1 or more")
        check = look(self.url, self.storage, sample=sample, progress=progress)
        if check.well and not check.sources:
            self._layout()  # whose absence is an error
        if not mend or check.well:
            return check
        mending = Mending(
            self._manifests, partial(self.ingest, client=client, progress=progress, errors="report"), rules
        )
        mending.mend(check.found)
        check = look(self.url, self.storage, sample=sample, progress=progress)
        check.mended, check.left = mending.mended, mending.left
        return check

    def tidy(self, *, older_than: str | float = SAFE_AGE, apply: bool = False) -> Tidied:
        """Find what interrupted and former ingests left, which no manifest names and no living run can need.

        All such files of a source have at least the age `older_than`, like "1day" or seconds. By default nothing is
        touched; `apply` removes them.
        """
        return tidy(self._manifests, seconds=parse_seconds(older_than), apply=apply, now=time.time())

    def __repr__(self) -> str:
        return f"Lake {escaped(self.url)}: {described(self.url, self.storage, self._manifests)}"

    def _repr_html_(self) -> str:
        head = f"<p>{html.escape(repr(self))}</p>"
        try:
            return head + self.sources()[["url", "month", "rows", "kept", "rejected", "note"]]._repr_html_()  # type: ignore[operator]
        except TaxidaskError:
            return head
