"""The objects of a lake in several regions: what manifests name, claims, the manifests, and what else lies beside.

Of the folders of parts only what a manifest names is compared: other files are left over, or those of a run at work.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import xxhash

from taxidask.errors import LakeError
from taxidask.lake.manifest import Manifest, Part
from taxidask.lake.parts import footer_of
from taxidask.replicas.differences import CLAIM, FILE, MANIFEST, PART, Difference, There, differing
from taxidask.replicas.places import Place
from taxidask.storage import MissingError, Stat, join

PARTS = ("trips", "rejects", "cube")
ASIDE = ("blocks", "regions")  # of runs at work, and marks
READERS = 8
ROUNDS = 10  # of copying what changes meanwhile


@dataclass
class Objects:
    """What the lakes of some regions hold.

    Attributes
    ----------
    compared : dict
        How many things of each kind there are.
    differences : list of Difference
        In the order in which they are to be mended: parts and files, then claims, then manifests.
    unnamed : dict
        By region, files of parts that no manifest names.
    """

    compared: dict[str, int] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    unnamed: dict[str, int] = field(default_factory=dict)


def compare_objects(places: Sequence[Place]) -> Objects:
    """Compare the lakes of some regions by listings, and by their bytes where these do not tell."""
    with ThreadPoolExecutor(READERS) as pool:
        listed = dict(zip([place.name for place in places], pool.map(_listed, places), strict=True))
        paths = sorted({path for files in listed.values() for path in files})
        kinds = {path: _kind(path) for path in paths}
        by_path = {path: {place.name: listed[place.name].get(path) for place in places} for path in paths}

        manifests = [path for path in paths if kinds[path] == MANIFEST]
        read = dict(
            zip(manifests, pool.map(lambda path: _manifests(path, by_path[path], places), manifests), strict=True)
        )
        found = Objects()
        late = []
        wanted: dict[str, tuple[Manifest, Part | None]] = {}
        counts: dict[str, list[str]] = {}
        for path in paths:
            if path.startswith("cube/"):
                counts.setdefault(path.rpartition("/")[2].removesuffix(".parquet"), []).append(path)
        for path, (there, told) in read.items():
            newest = _newest(there, told)
            late += differing(MANIFEST, path, there, of=newest.url if newest else "")
            if newest:
                wanted |= {part.path: (newest, part) for part in (*newest.parts, *newest.rejects)}
            if newest and newest.duplicate_of is None and not newest.removed:  # not told, and made anew where they lack
                wanted |= dict.fromkeys(counts.get(newest.id, ()), (newest, None))

        parts = sorted(wanted)
        looked = pool.map(
            lambda path: _part(path, wanted[path][1], by_path.get(path, dict.fromkeys(listed)), places), parts
        )
        for path, whole in zip(parts, looked, strict=True):
            found.differences += differing(PART, path, whole, of=wanted[path][0].url, either=True)

        others = [path for path in paths if kinds[path] in (FILE, CLAIM)]
        compared = list(pool.map(lambda path: _there(path, by_path[path], places), others))
    for path, there in zip(others, compared, strict=True):
        (found.differences if kinds[path] == FILE else late).extend(differing(kinds[path], path, there))
    late.sort(key=lambda one: one.kind == MANIFEST)
    found.differences += late
    found.compared = {
        "part": len(wanted),
        **{kind: sum(one == kind for one in kinds.values()) for kind in (FILE, CLAIM, MANIFEST)},
    }
    found.unnamed = {
        region: sum(kinds[path] == PART and path not in wanted for path in files) for region, files in listed.items()
    }
    return found


def _listed(place: Place) -> dict[str, Stat]:
    """The objects of a lake by their path below it."""
    start = len(place.lake) + 1
    return {stat.url[start:]: stat for stat in place.storage.list(place.lake) if _kind(stat.url[start:])}


def _kind(path: str) -> str:
    """What a file of a lake is; empty for those that are not compared."""
    folder, _, rest = path.partition("/")
    if folder in ASIDE or (not rest and path.startswith("doctor-")):
        return ""
    if folder in PARTS:
        return PART
    if folder == "manifests":
        return CLAIM if rest.startswith("by-content/") else MANIFEST
    return FILE


def _part(
    path: str, part: Part | None, stats: dict[str, Stat | None], places: Sequence[Place]
) -> dict[str, There | None]:
    """What each region has of a part: whole if it is as its manifest says, for which bytes are read only where versions
    differ."""
    differ = len({stat.version for stat in stats.values() if stat is not None}) > 1
    found: dict[str, There | None] = {}
    for place in places:
        stat = stats[place.name]
        whole = stat is not None and (part is None or stat.size == part.bytes)
        if whole and differ and part is not None and part.footer:
            try:
                whole = footer_of(place.storage.read(join(place.lake, path))) == part.footer
            except (MissingError, ValueError):
                whole = False
        found[place.name] = None if stat is None else There(stat.version, whole=whole, version=stat.version)
    return found


def _there(path: str, stats: dict[str, Stat | None], places: Sequence[Place]) -> dict[str, There | None]:
    """What each region has at a path; bytes are read where versions differ."""
    if len({stat.version for stat in stats.values() if stat is not None}) <= 1:
        return {
            region: None if one is None else There(one.version, version=one.version) for region, one in stats.items()
        }
    bodies = {}
    for place in places:
        if stats[place.name] is not None:
            with contextlib.suppress(MissingError):  # removed since it was listed
                bodies[place.name] = place.storage.read(join(place.lake, path))
    found: dict[str, There | None] = {}
    for place in places:
        body, stat = bodies.get(place.name), stats[place.name]
        found[place.name] = None
        if body is not None and stat is not None:
            seal = xxhash.xxh3_128_hexdigest(body)
            found[place.name] = There(seal, stat.modified, version=stat.version, body=body)
    return found


def _manifests(
    path: str, stats: dict[str, Stat | None], places: Sequence[Place]
) -> tuple[dict[str, There | None], dict[str, Manifest]]:
    """What each region has of a manifest, and what the readable ones say."""
    there = _there(path, stats, places)
    told: dict[str, Manifest] = {}
    once: dict[str, Manifest | None] = {}
    for place in places:
        one = there[place.name]
        if one is None:
            continue
        if one.seal not in once:
            url = join(place.lake, path)
            try:
                data = place.storage.read(url) if one.body is None else one.body
                once[one.seal] = Manifest.from_json(data, where=url)
            except (LakeError, MissingError):
                once[one.seal] = None
        manifest = once[one.seal]
        there[place.name] = replace(one, whole=manifest is not None)
        if manifest is not None:
            told[place.name] = manifest
    return there, told


def _newest(there: dict[str, There | None], told: dict[str, Manifest]) -> Manifest | None:
    if not told:
        return None
    return told[max(told, key=lambda region: (there[region] or There("")).at or 0.0)]


def copy_object(source: Place, target: Place, one: Difference) -> Difference:
    """Bring an object to where it is missing, older or damaged: nothing but the version that was compared is replaced.

    What changes in the source meanwhile is copied once more, so that the copy, which is the last write there, is not of
    what was before.
    """
    theirs, here = (join(place.lake, one.name) for place in (source, target))
    there = one.version
    for _ in range(ROUNDS):
        try:
            version = source.storage.stat(theirs).version
            data = source.storage.read(theirs)
        except MissingError:
            return one.left(f"gone from {source.name} meanwhile")
        won = target.storage.replace(here, data, there) if there else target.storage.create(here, data)
        if not won:
            return one.left(f"written in {target.name} meanwhile: check again")
        try:
            if source.storage.stat(theirs).version == version:
                return one.copied()
            there = target.storage.stat(here).version
            if target.storage.read(here) != data:
                return one.left(f"written in {target.name} meanwhile: check again")
        except MissingError:
            return one.left(f"gone from {source.name} meanwhile")
    return one.left(f"changes in {source.name} again and again")
