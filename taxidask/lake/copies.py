"""Sources of which copies are still to come: with several regions a manifest may be there before its parts are."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from taxidask.storage import Storage, join
from taxidask.words import quantity

if TYPE_CHECKING:
    from .manifest import Manifest

logger = logging.getLogger(__name__)


class Copies:
    """Tells which sources are whole in the regions that answer.

    It is looked for only while regions are dark or may not hold the same; what was seen whole is not looked at again
    until other regions answer than did.

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
        self._whole: set[tuple[str, str]] = set()
        self._dark: list[str] = []
        self._said: set[tuple[str, str]] = set()

    def lacking(self, manifests: Iterable[Manifest]) -> dict[str, int]:
        """Of sources that are not whole, by URL, how many of their parts no region has that answers."""
        if self.storage.settled(join(self.lake, "manifests")):
            return {}
        dark = self.storage.dark(self.lake)
        if dark != self._dark:
            self._dark, self._whole = dark, set()
        todo = [one for one in manifests if _paths(one) and (one.url, one.storage_version) not in self._whole]
        if not todo:
            return {}
        stats = [stat for folder in ("trips", "rejects") for stat in self.storage.list(join(self.lake, folder))]
        there = {stat.url[len(self.lake) + 1 :] for stat in stats}
        missing = {one.url: len(_paths(one) - there) for one in todo}
        self._whole |= {(one.url, one.storage_version) for one in todo if not missing[one.url]}
        for one in todo:
            if missing[one.url] and (one.url, one.storage_version) not in self._said:
                self._said.add((one.url, one.storage_version))
                logger.warning("lake %s: %s is left out: %s", self.lake, one.url, lacks(missing[one.url]))
        return {url: count for url, count in missing.items() if count}


def lacks(parts: int) -> str:
    """Why a source is left out."""
    return f"{quantity(parts, 'part')} not copied yet to a region that answers"


def _paths(manifest: Manifest) -> set[str]:
    return {part.path for part in (*manifest.parts, *manifest.rejects)}
