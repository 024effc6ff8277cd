"""Whether a lake is what its manifests say, file by file; and reading again what is not, where its source is there."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, fields

import pandas as pd

from taxidask.errors import LakeError, StorageError, TaxidaskError
from taxidask.progress import Progress
from taxidask.space import Space
from taxidask.storage import MissingError, Stat, Storage, join
from taxidask.trips.outcome import Ingest
from taxidask.trips.rules import Rules
from taxidask.trips.sources import LAKE, month_of
from taxidask.words import command, escaped, quantity

from .cube import recount
from .layout import Layout, read_layout, read_space
from .manifest import Manifest, Manifests, NewerError, Part, json_object
from .names import cube_url, source_key
from .parts import DamagedError, GoneError, mend, read_part
from .sweeping import generation_of, removed_manifest
from .tally import read_tally

SAMPLE = 8
SHOWN = 3
READERS = 4
_HARMLESS = ("no counts", "block")
_URL = re.compile(rb'"url": ("[^"\n]*")')


@dataclass(frozen=True)
class Damage:
    """Something in a lake that is not as it should be.

    Attributes
    ----------
    kind : str
        lake, space, manifest, part, rejects, counts, no counts (they are made of the trips then), claim or block (of an
        ingest that has not ended).
    file : str
        Its URL.
    source : str
        URL of the source it belongs to; empty where it belongs to none, or nobody can tell.
    wrong, remedy : str
        What is wrong, and what to do.
    """

    kind: str
    file: str
    source: str
    wrong: str
    remedy: str


@dataclass
class Check:
    """What a look at every file of a lake found.

    Attributes
    ----------
    lake : str
    sources, parts : int
        How many there are.
    read : int
        Parts that were read whole.
    found : list of Damage
        All that is wrong; empty where the lake is well.
    mended : list of str
        Sources that were read again.
    left : list of str
        What could not be mended, and why.
    """

    lake: str
    sources: int = 0
    parts: int = 0
    read: int = 0
    found: list[Damage] = field(default_factory=list)
    mended: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    @property
    def well(self) -> bool:
        """Whether nothing is wrong."""
        return not self.found

    def to_pandas(self) -> pd.DataFrame:
        """One row per finding."""
        return pd.DataFrame([asdict(one) for one in self.found], columns=[one.name for one in fields(Damage)])

    def __repr__(self) -> str:
        read = "all" if self.read == self.parts else f"{self.read:,}"
        whole = f"{quantity(self.sources, 'source')}, {quantity(self.parts, 'part')}, {read} read"
        state = "well" if self.well else quantity(len(self.found), "finding")
        lines = [f"{escaped(self.lake)}: {state}; {whole}"]
        lines += [f"{one.kind}: {escaped(one.wrong)}\n  to do: {escaped(one.remedy)}" for one in self.found]
        lines += [f"read again: {escaped(url)}" for url in self.mended]
        return "\n".join([*lines, *(f"not mended: {escaped(text)}" for text in self.left)])

    def _repr_html_(self) -> str:
        import html

        return f"<pre>{html.escape(repr(self))}</pre>"


def check_lake(lake: str, storage: Storage, *, sample: int = SAMPLE) -> tuple[int, int]:
    """Look at every manifest and the sizes of all parts, and read some of them, chosen anew each time.

    Parameters
    ----------
    lake : str
        URL of the lake; there need not be one.
    storage : Storage
        Where it is.
    sample : int
        Parts that are read whole, checksums and all, with the counts of their sources.

    Returns
    -------
    tuple of int
        How many parts there are, and how many were read.

    Raises
    ------
    LakeError
        Something is missing or damaged: which files, and how they are mended.
    """
    check = look(lake, storage, sample=sample)
    if wrong := [one for one in check.found if one.kind not in _HARMLESS]:
        listed = "; ".join(one.wrong for one in wrong[:SHOWN])
        more = f"; and {len(wrong) - SHOWN:,} more findings" if len(wrong) > SHOWN else ""
        raise DamagedError(f"{listed}{more}", wrong[0].remedy)
    return check.parts, check.read


def look(lake: str, storage: Storage, *, sample: int | None = None, progress: bool = False) -> Check:
    """Look at all that a lake has; read all parts and counts, or a `sample` of them. Nothing is written."""
    check, manifests = Check(lake), Manifests(lake, storage)
    every = sorted(_load(manifests, check.found), key=lambda one: one.url)
    check.sources = len(every)
    layout, space = _layout(lake, storage, every, check.found)
    if layout is None and not every and not check.found:
        return check
    sizes = {
        stat.url: stat.size for folder in ("trips", "rejects", "cube") for stat in storage.list(join(lake, folder))
    }
    parts = [(one, part) for one in every for part in (*one.parts, *one.rejects)]
    found = [damage for one in every for damage in _wrong(one, lake, sizes)]
    known = {damage.file for damage in found}
    chosen = parts if sample is None else random.sample(parts, min(sample, len(parts)))
    check.parts, check.read = len(parts), len(chosen)
    some = {one.url: one for one, _ in chosen} if sample is not None else {one.url: one for one in every if one.kept}
    total = sum(part.bytes for _, part in chosen)
    with Progress(progress, label="check") as show, ThreadPoolExecutor(READERS) as pool:

        def read(one: Manifest, part: Part) -> Damage | None:
            url = join(lake, part.path)
            wrong = None if url in known else _read(lake, storage, one, part)
            show({"rows": part.rows, "rejected": 0, "bytes": part.bytes, "total_bytes": total})
            return wrong

        found += filter(None, pool.map(lambda pair: read(*pair), chosen))
        if layout is not None and space is not None:
            counts = pool.map(lambda one: _counts(lake, storage, one, layout, space, sizes), some.values())
            found += filter(None, counts)
    # What was replaced since it was listed is another driver's work, and no damage.
    now = {url: manifests.get(url) for url in {damage.source for damage in found}}
    there = {one.url: one for one in every}
    check.found += [damage for damage in found if now[damage.source] == there[damage.source]]
    check.found += _claims(manifests, every)
    check.found += _blocks(lake, storage, every)
    return check


def _load(manifests: Manifests, found: list[Damage]) -> Iterator[Manifest]:
    """Manifests that can be read, of sources that were not removed; the others are findings."""

    def load(stat: Stat) -> Manifest | Damage | None:
        try:
            return manifests.load(stat.url, stat.version)
        except LakeError as error:
            url = "" if isinstance(error, NewerError) else _told(manifests, stat.url) or ""
            return Damage("manifest", stat.url, url, error.message, error.remedy or "")

    with ThreadPoolExecutor(8) as pool:
        for one in pool.map(load, manifests.listed()):
            if isinstance(one, Damage):
                found.append(one)
            elif one is not None and not one.removed:
                yield one


def _told(manifests: Manifests, path: str) -> str | None:
    """Whose a manifest is that cannot be read: what it still says of that, or a claim does."""
    candidates = []
    try:
        if told := _URL.search(manifests.storage.read(path)):
            candidates.append(json.loads(told[1]))
    except (MissingError, ValueError):
        pass
    for stat in manifests.storage.list(join(manifests.lake, "manifests", "by-content")):
        try:
            candidates.append(json_object(manifests.storage.read(stat.url)).get("url"))
        except (MissingError, ValueError):
            continue
    return next((url for url in candidates if isinstance(url, str) and manifests.path(url) == path), None)


def _layout(
    lake: str, storage: Storage, every: list[Manifest], found: list[Damage]
) -> tuple[Layout | None, Space | None]:
    url = join(lake, LAKE)
    try:
        layout = read_layout(lake, storage)
    except LakeError as error:
        found.append(Damage("lake", url, "", error.message, error.remedy or ""))
        return None, None
    if layout is None:
        if every:
            remedy = "restore it from a copy, or ingest any source with the space= and slot= that the lake had"
            found.append(Damage("lake", url, "", f"{url} is not there", f"{remedy} (its folder cube/ names them)"))
        return None, None
    try:
        return layout, read_space(lake, layout.space_key, storage)
    except TaxidaskError as error:
        found.append(Damage("space", join(lake, "spaces"), "", error.message, error.remedy or ""))
        return layout, None


def _wrong(one: Manifest, lake: str, sizes: dict[str, int]) -> Iterator[Damage]:
    """Parts that are not there or of another size, and numbers that do not add up."""
    remedy = mend(lake, one.url)
    for kind, parts in (("part", one.parts), ("rejects", one.rejects)):
        for part in parts:
            url = join(lake, part.path)
            if url not in sizes:
                yield Damage(kind, url, one.url, f"{url} of {one.url} is not there", remedy)
            elif sizes[url] != part.bytes:
                text = f"{url} of {one.url} has {sizes[url]:,} bytes of {part.bytes:,}"
                yield Damage(kind, url, one.url, text, remedy)
    rejected, rows = sum(one.rejected.values()), one.rows - one.left_out
    found = tuple(sum(part.rows for part in parts) for parts in (one.parts, one.rejects))
    if (one.kept, rejected - one.left_out, rows) != (*found, sum(found)):
        yield Damage(
            "part", "", one.url,
            f"the manifest of {one.url} says {one.rows:,} rows, {one.kept:,} kept, {rejected:,} rejected; "
            f"parts {found}",
            remedy,
        )  # fmt: skip


def _read(lake: str, storage: Storage, one: Manifest, part: Part) -> Damage | None:
    try:
        with read_part(lake, storage, part, one.url) as reader:
            for group in range(reader.num_row_groups):
                reader.read_row_group(group)
    except DamagedError as error:
        kind = "part" if part in one.parts else "rejects"
        return Damage(kind, join(lake, part.path), one.url, error.message, error.remedy or "")
    return None


def _counts(
    lake: str, storage: Storage, one: Manifest, layout: Layout, space: Space, sizes: dict[str, int]
) -> Damage | None:
    url = cube_url(lake, layout.count_key, one.id)
    if not one.kept or (one.duplicate_of and url not in sizes):
        return None
    try:
        read_tally(storage, url, one.url, kept=one.kept, slot_seconds=layout.slot_seconds, cells=space.cells)
    except GoneError as error:
        text = f"{error.message}: they are made of its trips each time"
        return Damage("no counts", url, one.url, text, "count it again: lake.recount()")
    except DamagedError as error:
        return Damage("counts", url, one.url, error.message, error.remedy or "")
    return None


def _claims(manifests: Manifests, every: list[Manifest]) -> Iterator[Damage]:
    """Claims of contents that cannot be read, or by sources that have no manifest, nor one that says it was removed."""
    known = {one.content for one in every}
    for stat in manifests.storage.list(join(manifests.lake, "manifests", "by-content")):
        content = stat.url.rpartition("/")[2].removesuffix(".json")
        try:
            url = manifests.claimant(content)
        except LakeError as error:
            yield Damage("claim", stat.url, "", error.message, error.remedy or "")
            continue
        if content in known or url is None:
            continue
        try:
            if manifests.at(url) is not None:
                continue
        except LakeError:  # told already
            continue
        text = f"the manifest of {url} is not there, and its trips count nowhere"
        again = command("taxidask ingest", url, lake=manifests.lake)
        yield Damage(
            "claim", stat.url, url, text,
            f"restore {manifests.path(url)} from a copy, or read the source again: {again}",
        )  # fmt: skip


def _blocks(lake: str, storage: Storage, every: list[Manifest]) -> Iterator[Damage]:
    """Summaries of blocks that wait for their manifest and are not what was written: nothing of them counts yet."""
    urls = {source_key(one.url): one.url for one in every}
    for stat in storage.list(join(lake, "blocks")):
        if not stat.url.endswith(".json"):
            continue
        try:
            summary = json_object(storage.read(stat.url))
            wrong = next(
                (
                    f"{part['path']} is not there"
                    for part in (*summary["parts"], *summary["rejects"])
                    if not storage.exists(join(lake, part["path"]))
                ),
                "",
            )
        except MissingError:  # its source has become visible meanwhile
            continue
        except (ValueError, KeyError, TypeError) as error:
            wrong = f"it is no summary of a block: {error}"
        if wrong:
            key = stat.url[len(lake) + 1 :].split("/")[1][:16]
            remedy = "nothing is lost: the next ingest of its source reads that block again"
            yield Damage("block", stat.url, urls.get(key, ""), f"{stat.url}: {wrong}", remedy)


# --- mending ------------------------------------------------------------------------------------------------------


@dataclass
class Mending:
    """What is done about the findings of a look.

    Parameters
    ----------
    manifests : Manifests
        Those of the lake.
    ingest : callable
        The lake's, which reports errors.
    rules : Rules
        For sources of which nothing tells under which they were read.
    """

    manifests: Manifests
    ingest: Callable[..., Ingest]
    rules: Rules
    mended: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    _again: list[tuple[str, str | None, Rules]] = field(default_factory=list)

    def mend(self, found: Iterable[Damage]) -> None:
        """Read again what is damaged; readers see what is whole of it until that is there."""
        found = list(found)
        for one in found:
            if one.kind == "manifest":
                self._manifest(one)
        if self.left:  # of what a manifest says that cannot be read, or that another version wrote, nothing is known
            self.left.append("nothing else is mended before all manifests can be read")
            found = []
        counts: dict[str, Manifest] = {}
        for one in found:
            if one.kind == "manifest" or one.source in [url for url, *_ in self._again]:
                continue
            if one.kind in ("part", "rejects"):
                self._part(one)
            elif one.kind == "claim":
                self._claim(one)
            elif one.kind in ("counts", "no counts"):
                if (there := self.manifests.get(one.source)) is not None:
                    counts[one.source] = there
            elif one.kind == "block":
                self.manifests.storage.delete(one.file)
            else:
                self.left.append(f"{one.wrong}: {one.remedy}")
        for month, rules in dict.fromkeys((month, rules) for _, month, rules in self._again):
            urls = [url for url, *rest in self._again if rest == [month, rules]]
            for source in self.ingest(urls, month=month, rules=rules).sources:
                if source.error is None:
                    self.mended.append(source.url)
                else:
                    self.left.append(f"{source.url} cannot be read again: {source.error}")
        again = {url for url, *_ in self._again}
        lake, storage = self.manifests.lake, self.manifests.storage
        if (left := [one for url, one in counts.items() if url not in again]) and (
            layout := read_layout(lake, storage)
        ):
            recount(lake, storage, left, layout.space_key, layout.slot_seconds)

    def _there(self, url: str) -> bool:
        """Whether a source can be read again; said where it cannot."""
        try:
            self.manifests.storage.stat(url)
        except MissingError:
            remedy = command("taxidask lake remove", url, lake=self.manifests.lake)
            self.left.append(f"{url} is gone, and cannot be read again: put it back there, or take it out: {remedy}")
        except StorageError as error:
            self.left.append(f"{url} cannot be read again: {error}")
        else:
            return True
        return False

    def _part(self, one: Damage) -> None:
        there = self.manifests.get(one.source)
        if there is None or not self._there(one.source):
            return
        # Of another name than any ingest gives, so that the next one does not take it for read; in the next generation,
        # so that what it writes has other names, and readers go on with what is whole.
        if self.manifests.advance(there, id="damaged") is None:
            self.left.append(f"{one.source}: another driver is at work on it")
            return
        month = None if there.month == month_of(there.url) else there.month
        known = {one.name for one in fields(Rules)}
        rules = Rules(**{name: value for name, value in there.rules.items() if name in known})  # type: ignore[arg-type]
        self._again.append((one.source, month, rules))

    def _manifest(self, one: Damage) -> None:
        storage = self.manifests.storage
        if not one.source:
            self.left.append(f"{one.wrong}: {one.remedy}")
        elif self._there(one.source):
            stat, data = storage.stat(one.file), storage.read(one.file)
            told = re.search(rb'"generation": (\d+)', data)
            generation = max(int(told[1]) if told else 0, generation_of(self.manifests, one.source)) + 1
            tombstone = removed_manifest(one.source, generation)
            if storage.replace(one.file, tombstone.to_json(), stat.version):
                self._again.append((one.source, None, self.rules))

    def _claim(self, one: Damage) -> None:
        if one.source:
            if self._there(one.source):
                self._again.append((one.source, None, self.rules))
            return
        storage, content = self.manifests.storage, one.file.rpartition("/")[2].removesuffix(".json")
        version = storage.stat(one.file).version
        holder = next((there.url for there in self.manifests.all() if there.content == content and there.kept), None)
        if holder is None:
            storage.delete(one.file)
        else:
            storage.replace(one.file, json.dumps({"url": holder}).encode(), version)
