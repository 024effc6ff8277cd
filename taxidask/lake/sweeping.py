"""Files of a lake that nobody refers to: which of them no living driver can need, and how they are cleared."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from taxidask.errors import LakeError
from taxidask.storage import Stat, Storage, join
from taxidask.words import escaped, quantity

from .manifest import ROUNDS, Manifest, Manifests, named
from .names import source_key, version_key

SAFE_AGE = 86_400
"""Seconds for which nothing that a manifest does not name is taken for left over."""
WRONG_CLOCK = 300  # seconds that a file may be from the future
_NOTHING: dict[str, Any] = {
    "removed": True, "id": "removed", "content": "removed", "rows": 0, "kept": 0, "bytes": 0, "rejected": {},
    "unreadable": {}, "outside": (0, 0), "parts": (), "rejects": (), "duplicate_of": None, "first": None, "last": None,
}  # fmt: skip
FOLDERS = ("trips", "rejects", "cube", "blocks")
_NAME = re.compile(
    r"(?P<part>(?P<source>[0-9a-f]{16})-[0-9a-f]{12})(?:-(?P<version>[0-9a-f]{8}))?(?:g(?P<generation>\d+))?(?![0-9a-f])"
)


def sweep(manifests: Manifests, wanted: dict[str, str]) -> None:
    """Clear what earlier versions, killed drivers and other block sizes left of sources.

    Deleting is slow, and a driver may at any moment make files visible that it finds finished. So the manifest is first
    written again, over the one that was looked at, with the next generation: whoever planned with the one before cannot
    commit any more, and reads its blocks again, into files of other names.

    With several regions nothing is cleared unless all answer and have the same manifests, and no file of the last day:
    what a manifest that is still to be copied names is left alone.

    Parameters
    ----------
    manifests : Manifests
        Those of the lake.
    wanted : dict
        Of each source by URL the id of the manifest it has as the caller knows it; another's is left alone.
    """
    if not _may_clear(manifests):
        return
    found = _files(manifests.lake, manifests.storage, wanted)
    unnamed: list[str] = []
    for manifest in manifests.every():
        if wanted.get(manifest.url) != manifest.id:
            continue
        mine = found.get(source_key(manifest.url), [])
        working = _at_work(mine, manifest)
        left = [path for path in mine if not _needed(path, manifest, working)]
        if left and manifests.advance(manifest) is not None:
            unnamed += left
    delete(manifests.lake, manifests.storage, unnamed)


@dataclass(frozen=True)
class Removed:
    """A source that was taken out of a lake.

    Attributes
    ----------
    url : str
    trips : int
        How many of its trips the lake had.
    second_names : list of str
        Sources of the same content, which counted under this one's name; they count nowhere until they are ingested
        again.
    """

    url: str
    trips: int
    second_names: list[str]


def remove_source(manifests: Manifests, url: str) -> Removed:
    """Make a source invisible at once, then clear its files; with several regions those that `sweep` would."""
    for _ in range(ROUNDS):
        there = manifests.get(url)
        if there is None:
            raise LakeError(f"{url} was removed by another at the same time", "nothing is left to do")
        seconds = [one.url for one in manifests.all() if one.duplicate_of == url]
        if manifests.advance(there, **_NOTHING) is not None:
            break
    else:
        raise LakeError(f"the manifest of {url} is written by others again and again", "end its ingest, then try again")
    clear_removed(manifests, url)
    return Removed(url, there.kept, seconds)


def clear_removed(manifests: Manifests, url: str) -> None:
    """Clear the files of a source that was removed, also of one whose removal was killed; of no other."""
    there = manifests.at(url)
    if there is not None and there.removed and _may_clear(manifests):
        left = _files(manifests.lake, manifests.storage, [url]).get(source_key(url), [])
        delete(manifests.lake, manifests.storage, left)


def removed_manifest(url: str, generation: int) -> Manifest:
    """What says that a source was removed, where nobody knows what it was."""
    return Manifest(
        url=url, version="", size=0, month=None, era="", locations="points", rules={"max_duration_hours": 24.0},
        count_key="", seconds=0.0, generation=generation, **_NOTHING,
    )  # fmt: skip


def generation_of(manifests: Manifests, url: str) -> int:
    """The latest generation that the names of a source's files tell."""
    paths = _files(manifests.lake, manifests.storage, [url], young=True).get(source_key(url), [])
    return max((int(match["generation"] or 0) for path in paths if (match := _name(path))), default=0)


@dataclass(frozen=True)
class Tidied:
    """What a lake had that no manifest names and no living run can need.

    Attributes
    ----------
    lake : str
    files : list of Stat
        URL, size and time of each.
    removed : bool
        Whether they were removed; else nothing was touched.
    """

    lake: str
    files: list[Stat]
    removed: bool

    @property
    def bytes(self) -> int:
        """How much they take."""
        return sum(stat.size for stat in self.files)

    def __repr__(self) -> str:
        what = f"{quantity(len(self.files), 'file')}, {self.bytes:,} bytes"
        head = f"{escaped(self.lake)}: {what} {'removed' if self.removed else 'would be removed'}"
        return "\n".join([head, *(f"{stat.size:>15,}  {escaped(stat.url)}" for stat in self.files)])


def tidy(manifests: Manifests, *, seconds: float, apply: bool, now: float) -> Tidied:
    """Remove what no manifest names, of any source, once all that is left of that source has such an age.

    A driver that planned with such files cannot commit any more: as in `sweep`, the manifest is written again first. Of
    a source that never had a manifest the age says that nobody reads it; its summaries go first, so that whoever comes
    back reads its blocks again. Files of a source that claims a content and has no manifest are left: it may be damage.
    """
    lake, storage = manifests.lake, manifests.storage
    if storage.spread(lake):
        if apply and not _may_clear(manifests):
            raise LakeError(
                f"the regions of {lake} do not all answer, or their manifests differ: what to remove cannot be told",
                "see taxidask regions --check; tidy once they are the same again",
            )
        seconds = max(seconds, SAFE_AGE)
    with ThreadPoolExecutor(len(FOLDERS)) as pool:
        listed = list(pool.map(lambda folder: storage.list(join(lake, folder)), FOLDERS))
    found: dict[str, list[Stat]] = {}
    for stat in (stat for stats in listed for stat in stats):
        if match := _name(stat.url[len(lake) + 1 :]):
            found.setdefault(match["source"], []).append(stat)
    # after the files: what was committed since is named
    known = {source_key(one.url): one for one in manifests.every()}
    # a manifest that is gone may be had back, and its source may be gone as well: see Lake.check
    claimed = {source_key(url) for url in manifests.claimants()} - known.keys()
    gone: list[Stat] = []
    for key, stats in sorted(found.items()):
        one = known.get(key)
        if one is not None:
            stats = [stat for stat in stats if not _needed(stat.url[len(lake) + 1 :], one, set())]
        if any(stat.modified > now + WRONG_CLOCK or not stat.modified for stat in stats):
            raise LakeError(
                f"{stats[0].url} is from the future, or nobody knows when it was written: its age cannot be told",
                "set this machine's clock right, and tidy again",
            )
        if not stats or key in claimed or max(stat.modified for stat in stats) > now - seconds:
            continue
        if apply and one is not None and manifests.advance(one) is None:
            continue  # a driver is at work on it
        if apply and one is None and any(stat.url.rpartition("/")[2].startswith(key) for stat in manifests.listed()):
            continue  # it has a manifest by now
        if apply:
            delete(lake, storage, [stat.url[len(lake) + 1 :] for stat in stats])
        gone += stats
    return Tidied(lake, gone, apply)


def _may_clear(manifests: Manifests) -> bool:
    return manifests.storage.level(join(manifests.lake, "manifests"))


def delete(lake: str, storage: Storage, paths: Iterable[str]) -> None:
    """Delete files; summaries first, as they vouch for the others."""
    with ThreadPoolExecutor(8) as pool:
        for late in (False, True):
            chosen = [join(lake, path) for path in paths if path.endswith(".json") is not late]
            list(pool.map(storage.delete, chosen))


def _files(lake: str, storage: Storage, urls: Iterable[str], *, young: bool = False) -> dict[str, list[str]]:
    """Paths below the lake of all files of some sources, by the key of the source.

    With several regions a file may wait for the copy of its manifest: those of the last day only if asked for.
    """
    keys = {source_key(url) for url in urls}
    found: dict[str, list[str]] = {}
    latest = time.time() - SAFE_AGE if storage.spread(lake) and not young else math.inf
    with ThreadPoolExecutor(len(FOLDERS)) as pool:
        listed = list(pool.map(lambda folder: storage.list(join(lake, folder)), FOLDERS))
    for stats in listed:
        for stat in stats:
            path = stat.url[len(lake) + 1 :]
            if (match := _name(path)) and match["source"] in keys and stat.modified < latest:
                found.setdefault(match["source"], []).append(path)
    return found


def _name(path: str) -> re.Match[str] | None:
    folders = path.split("/")
    return _NAME.match(folders[1] if folders[0] == "blocks" else folders[-1])


def _at_work(paths: list[str], manifest: Manifest) -> set[str]:
    """Parts with finished blocks that may still become visible: of the same version, under other rules.

    A driver of another version finds that its source has changed, one of the same rules that it is read already. Of one
    that has finished no block yet nothing is known: it reads its first again.
    """
    blocks = (match for path in paths if path.startswith("blocks/") and (match := _name(path)))
    current = version_key(manifest.version)
    return {match["part"] for match in blocks if match["version"] == current} - {manifest.id}


def _needed(path: str, manifest: Manifest, working: set[str]) -> bool:
    match = _name(path)
    if match is None or match["part"] in working or path in named(manifest):
        return True
    return path.startswith("cube/") and match["part"] == manifest.id and not manifest.duplicate_of
