"""The lake's commit rule: names of its files, manifests that make a source's parts visible, claims on contents."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from typing import Annotated, Any

from pydantic import Field, FiniteFloat, TypeAdapter, ValidationError

from taxidask.errors import LakeError
from taxidask.storage import ChangedError, MissingError, Stat, Storage, join

from .copies import Copies
from .names import FORMAT, sha

Bytes = bytes
ROUNDS = 50  # of a conditional write against others that write the same object


Name = Annotated[str, Field(pattern=r"^([A-Za-z0-9_-][A-Za-z0-9_.-]*)?$")]  # none of a source that was removed
Below = Annotated[str, Field(pattern=r"^(trips/year=[0-9]+/month=[0-9]+|rejects)/[A-Za-z0-9_-][A-Za-z0-9_.-]*$")]
"""Paths and names of files: a manifest that names others would have readers read outside of the lake."""
Count = Annotated[int, Field(ge=0, lt=2**63)]
Month = Annotated[str, Field(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])$")]
Micros = Annotated[int, Field(ge=-62_135_596_800_000_000, lt=253_402_300_800_000_000)]
"""Microseconds since 1970, of the years 1 to 9999."""


@dataclass(frozen=True)
class Part:
    """One Parquet file.

    Its path below the lake, rows, bytes, first and last pickup (microseconds since 1970), and a checksum of its footer,
    which older lakes lack: pages have checksums of their own.
    """

    path: Below
    rows: Count
    bytes: Count
    first: Micros | None = None
    last: Micros | None = None
    footer: str | None = None


@dataclass(frozen=True)
class Manifest:
    """What the lake holds of one source. Readers see what manifests name and nothing else.

    `fares` are those of the kept trips in cents, without tips, tolls and surcharges; older manifests do not tell them.

    A source that was removed keeps a manifest that says so: its generation tells drivers that were at work meanwhile.
    """

    url: str
    id: Name
    version: str
    size: Count
    month: Month | None
    era: str
    locations: Annotated[str, Field(pattern="^(points|zones)$")]
    rules: dict[str, int | FiniteFloat]
    content: str
    rows: Count
    kept: Count
    rejected: dict[str, Count]
    unreadable: dict[str, Count]
    outside: tuple[Count, Count]
    count_key: Name
    bytes: Count
    seconds: FiniteFloat
    first: Micros | None
    last: Micros | None
    parts: tuple[Part, ...] = ()
    rejects: tuple[Part, ...] = ()
    duplicate_of: str | None = None
    generation: int = 0
    removed: bool = False
    format: int = FORMAT
    zoned: dict[str, Count] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)
    left_out: Count = 0
    fares: Count | None = None
    storage_version: str = field(default="", compare=False)

    def to_json(self) -> Bytes:
        """As JSON, sealed, without what the storage knows itself."""
        fields = asdict(self)
        del fields["storage_version"]
        return json.dumps({**fields, "seal": _seal(fields)}, indent=1).encode()

    @classmethod
    def from_json(cls, data: Bytes, *, where: str, storage_version: str = "") -> Manifest:
        """Read a manifest; an error names the file `where` it stood."""
        try:
            fields = json_object(data)
            there = fields.get("format")
            if there is None:
                raise ValueError("it names no format")
            if there != FORMAT:
                raise NewerError(
                    f"{where} is of lake format {there}, this version reads {FORMAT}",
                    "use the version of taxidask that wrote the lake",
                )
            if fields.get("seal", _seal(fields)) != _seal(fields):  # manifests of before have none
                raise ValueError("it is not what was written: its seal does not fit")
            manifest = _adapter().validate_json(data, strict=True)
            if "max_duration_hours" not in manifest.rules:
                raise ValueError("its rules have no max_duration_hours")
            return replace(manifest, storage_version=storage_version)
        except ValueError as error:
            wrong = str(error)
            if isinstance(error, ValidationError):
                first = error.errors(include_url=False)[0]
                wrong = f"{'.'.join(map(str, first['loc']))} is {first['input']!r:.100}: {first['msg']}"
            told = re.search(rb'"url": "([^"]+)"', data)
            of = f" (it was that of {told[1].decode(errors='replace')})" if told else ""
            raise LakeError(
                f"{where} is no manifest: {wrong}{of}",
                "delete it and ingest its source again; nothing else is affected",
            ) from error

    def duplicate(self, original: str) -> Manifest:
        """The manifest of a second name of a content that already counts under `original`."""
        return replace(
            self, duplicate_of=original, parts=(), rejects=(), rows=0, kept=0, rejected={}, unreadable={},
            outside=(0, 0), zoned={}, examples={}, left_out=0, fares=0,
        )  # fmt: skip


def _seal(fields: dict[str, Any]) -> str:
    """A checksum of all that a manifest says."""
    rest = {name: value for name, value in fields.items() if name != "seal"}
    return sha(json.dumps(rest, sort_keys=True))[:16]


@cache
def _adapter() -> TypeAdapter[Manifest]:
    return TypeAdapter(Manifest)


def json_object(data: Bytes) -> dict[str, Any]:
    """What a small file of the lake says; ValueError for whatever is no JSON object."""
    try:
        fields = json.loads(data)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if not isinstance(fields, dict):
        raise ValueError(f"it holds {fields!r:.100}")
    return fields


def named(manifest: Manifest) -> set[str]:
    """Paths of the trips and rejects that a manifest makes visible."""
    return {part.path for part in (*manifest.parts, *manifest.rejects)}


class NewerError(LakeError):
    """A manifest of another version of the layout: nothing is wrong with it, and nothing is to be written over it."""


class OvertakenError(Exception):
    """Files of this source were cleared since its blocks were planned, and perhaps some of these."""

    def __init__(self, generation: int) -> None:
        super().__init__(generation)
        self.generation = generation


class Manifests:
    """The manifests of a lake.

    Parameters
    ----------
    lake : str
        URL of the lake.
    storage : Storage
        Where it is.
    """

    def __init__(self, lake: str, storage: Storage) -> None:
        self.lake = lake
        self.storage = storage
        self.copies = Copies(lake, storage)
        self._known: dict[tuple[str, str], Manifest] = {}

    def path(self, url: str) -> str:
        """Where the manifest of a source is."""
        return join(self.lake, "manifests", f"{sha(url)}.json")

    def claim_path(self, content: str) -> str:
        """Where a content is claimed."""
        return join(self.lake, "manifests", "by-content", f"{content}.json")

    def get(self, url: str) -> Manifest | None:
        """The manifest of a source, or None."""
        there = self.at(url)
        return None if there is None or there.removed else there

    def at(self, url: str) -> Manifest | None:
        """What stands where the manifest of a source is, also if it was removed."""
        return self.load(self.path(url))

    def load(self, path: str, version: str | None = None) -> Manifest | None:
        """The manifest at a path, which is read once in each of its versions; None where there is none."""
        for _ in range(ROUNDS):
            try:
                # The version first: a manifest that changes in between then fails a conditional write, and is read
                # again.
                version = version or self.storage.stat(path).version
                if (path, version) not in self._known:
                    data = self.storage.read(path, version=version)
                    self._known[path, version] = Manifest.from_json(data, where=path, storage_version=version)
                return self._known[path, version]
            except MissingError:
                return None
            except ChangedError:
                version = None
        raise LakeError(f"{path} is written by others again and again", "try again")

    def all(self) -> list[Manifest]:
        """Every manifest, by URL of its source."""
        return [manifest for manifest in self.every() if not manifest.removed]

    def listed(self) -> list[Stat]:
        """The files that manifests are in."""
        folder = join(self.lake, "manifests")
        return [stat for stat in self.storage.list(folder, depth=1) if stat.url.rpartition("/")[0] == folder]

    def every(self) -> list[Manifest]:
        """Every manifest, also of sources that were removed."""
        found = self.listed()
        known = {(stat.url, stat.version) for stat in found}
        self._known = {key: value for key, value in self._known.items() if key in known}
        if len(found) - len(self._known) > 4:
            with ThreadPoolExecutor(8) as pool:
                loaded = list(pool.map(lambda stat: self.load(stat.url, stat.version), found))
        else:
            loaded = [self.load(stat.url, stat.version) for stat in found]
        return sorted((manifest for manifest in loaded if manifest is not None), key=lambda manifest: manifest.url)

    def counted(self) -> list[Manifest]:
        """The manifests whose rows count: of sources that are whole, each content once, by URL of its source."""
        there = self.all()
        lacking = self.copies.lacking(there)
        return counted([one for one in there if one.url not in lacking], self.claimant)

    def claimant(self, content: str) -> str | None:
        """URL of the source that claims a content."""
        try:
            return self._holder(self.claim_path(content))
        except MissingError:
            return None

    def claimants(self) -> list[str]:
        """URLs of all sources that claim a content."""
        claims = self.storage.list(join(self.lake, "manifests", "by-content"))
        with ThreadPoolExecutor(16) as pool:
            return list(pool.map(self._holder, [stat.url for stat in claims]))

    def _holder(self, path: str) -> str:
        """URL of the source that a claim names."""
        try:
            return str(json_object(self.storage.read(path)).get("url"))
        except ValueError as error:
            raise LakeError(f"{path} is no claim: {error}", "delete it and ingest again") from error

    def duplicate_holds(self, manifest: Manifest) -> bool:
        """Whether the source a duplicate refers to still counts that content."""
        return self._counts(manifest.duplicate_of or "", manifest.content) is not None

    def claim(self, url: str, content: str) -> tuple[str, str | None]:
        """Claim a content for a source.

        Returns
        -------
        tuple of str and (str or None)
            URL of the source that has it, which is another if that one counts it; and of the one that had claimed it
            before without counting it.
        """
        path, body = self.claim_path(content), json.dumps({"url": url}).encode()
        for _ in range(ROUNDS):
            if self.storage.create(path, body):
                return url, None
            try:
                version = self.storage.stat(path).version
                holder = self._holder(path)
            except MissingError:
                continue
            if holder == url:
                return url, None
            if self._counts(holder, content):
                return holder, None
            # Its manifest never came, or came with another content since: whoever comes next takes it.
            if self.storage.replace(path, body, version):
                return url, holder
        raise LakeError(f"the content {content} of {url} is claimed by others again and again", "ingest again")

    def _counts(self, url: str, content: str) -> Manifest | None:
        """The manifest of a source if it counts that content: one that kept no row, as of a month that its name told
        wrong, leaves it to others."""
        there = self.get(url)
        if there is None or there.content != content or there.duplicate_of is not None or not there.kept:
            return None
        return there

    def _may_stand_behind(self, url: str, original: str) -> bool:
        """Whether a source may become a second name of another.

        With several regions, of one that comes first by name alone: else each of two may become the other's, on either
        side of a cut, and count nowhere. Where it may not, both keep their rows, and readers count the claimant's.
        """
        return original < url or not self.storage.spread(self.lake)

    def as_counted(self, manifest: Manifest) -> Manifest:
        """A manifest as readers take it: a second name's, where another that claims its content counts it."""
        if manifest.duplicate_of or not manifest.kept or not self.storage.spread(self.lake):
            return manifest
        holder = self.claimant(manifest.content)
        another = holder not in (None, manifest.url) and self._counts(holder or "", manifest.content)
        return manifest.duplicate(holder or "") if another else manifest

    def _demote(self, url: str, content: str, original: str) -> None:
        """Make a source that counts a content a second name of another that claims it."""
        if not self._may_stand_behind(url, original):
            return
        if there := self._counts(url, content):
            self.storage.replace(self.path(url), there.duplicate(original).to_json(), there.storage_version)

    def advance(self, manifest: Manifest, **changes: Any) -> Manifest | None:
        """Write a manifest again as the next generation; None if it is another by now."""
        new = replace(manifest, generation=manifest.generation + 1, **changes)
        won = self.storage.replace(self.path(manifest.url), new.to_json(), manifest.storage_version)
        return new if won else None

    def commit(self, manifest: Manifest, *, check: Callable[[], None] | None = None) -> tuple[Manifest, bool]:
        """Make a source visible, at once and instead of what was visible of it before.

        Parameters
        ----------
        manifest : Manifest
            What to make visible.
        check : callable, optional
            Raises if the source is of another version by now. Asked after looking at what it would replace: a driver
            that was asleep meanwhile cannot put an old version over a newer one.

        Returns
        -------
        tuple of Manifest and bool
            What is visible now, and whether this call made it so: False when another driver was first.

        Raises
        ------
        OvertakenError
            If files of the source were cleared since its blocks were planned.
        """
        path = self.path(manifest.url)
        former: str | None = None
        for _ in range(ROUNDS):
            there = self.at(manifest.url)
            if (
                there is not None
                and there.id == manifest.id
                and (not there.duplicate_of or self.duplicate_holds(there))
                and not self.copies.lacking([there])
            ):
                return self.as_counted(there), False
            generation = 0 if there is None else there.generation
            if generation != manifest.generation:
                raise OvertakenError(generation)
            if check is not None:
                check()
            holder, taken_from = self.claim(manifest.url, manifest.content)
            former = taken_from or former
            behind = holder != manifest.url and self._may_stand_behind(manifest.url, holder)
            new = manifest.duplicate(holder) if behind else manifest
            if there is None:
                won = self.storage.create(path, new.to_json())
            else:
                won = self.storage.replace(path, new.to_json(), there.storage_version)
            if not won:
                continue
            if new.duplicate_of is None:
                # Two drivers may each have taken the content for theirs. Readers count only the claimant's, so the
                # other has to become a second name: one driver looks at the claim after writing its manifest, the
                # other at the manifest after writing both, so that one of them sees it.
                holder = self.claimant(manifest.content) or manifest.url
                if holder != manifest.url:
                    self._demote(manifest.url, manifest.content, holder)
                    return self.as_counted(self.get(manifest.url) or new), True
                if former is not None:
                    self._demote(former, manifest.content, manifest.url)
            return new, True
        raise LakeError(f"the manifest of {manifest.url} is written by others again and again", "ingest again")


def counted(manifests: Iterable[Manifest], claimant: Any) -> list[Manifest]:
    """Leave out second names: of sources with the same content only the one that claims it counts."""
    by_content: dict[str, list[Manifest]] = {}
    for manifest in manifests:
        if manifest.duplicate_of is None:
            by_content.setdefault(manifest.content, []).append(manifest)
    chosen = []
    for content, same in by_content.items():
        if len(same) > 1:
            holder = claimant(content)
            same = [manifest for manifest in same if manifest.url == holder] or same[:1]
        chosen.append(same[0])
    return sorted(chosen, key=lambda manifest: manifest.url)
