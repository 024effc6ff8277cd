"""Two regions of one bucket with a link before each server, and what AWS does between them: copies, late and shuffled.

Objects are copied in the servers' own folders: S3's replication keeps the time at which an object was written, and no
request can set it. Per key the last write wins.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from links import Link

from taxidask.settings import Region
from taxidask.storage import Regions, Storage

SIDES = ("east", "west")
NAMES = {"east": "us-east-1", "west": "us-west-2"}


@dataclass
class Pair:
    """A bucket in two regions, home in the east; its URLs are of the bucket of home."""

    bucket: str
    east: Link
    west: Link
    root: Path

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}"

    def regions(self, *, active: str = "east", between: tuple[Link, Link] | None = None) -> Regions:
        east, west = between or (self.east, self.west)
        home = Region(name="us-east-1", s3_endpoint=east.url)
        other = Region(name="us-west-2", s3_endpoint=west.url, places={self.url: f"{self.url}-west"})
        return Regions([home, other], active=NAMES[active])

    def storage(self, *, active: str = "east", moves: bool = False) -> Storage:
        return Storage(regions=self.regions(active=active), moves=moves, attempts=3)

    def only(self, side: str) -> Storage:
        """What one region has, under home's names: asked without any fault between."""
        link = Link(f"http://{getattr(self, side).behind}")
        self._opened.append(link)
        return _OneSide(self, side, link.url)

    def __post_init__(self) -> None:
        self._opened: list[Link] = [self.east, self.west]

    def close(self) -> None:
        for link in self._opened:
            link.__exit__()

    def folder(self, side: str) -> Path:
        name = self.bucket if side == "east" else f"{self.bucket}-west"
        return self.root / f"s3-{side}" / "objects" / name

    def keys(self, side: str) -> dict[str, tuple[int, bytes]]:
        """When each object of a side was last written, and its ETag."""
        folder, found = self.folder(side), {}
        for at, folders, names in os.walk(folder):
            folders[:] = [name for name in folders if not name.startswith(".sgwtmp")]
            for name in names:
                path = Path(at) / name
                found[str(path.relative_to(folder))] = path.stat().st_mtime_ns, os.getxattr(path, "user.etag")
        return found

    def copy(
        self, *, seed: int, share: float = 1.0, only: Callable[[str, str], bool] = lambda side, key: True
    ) -> Iterator[tuple[str, str]]:
        """Copy what differs, in both directions and any order, one object for each step of the iteration.

        `only` takes a side and a key, and says whether that copy has been made yet; `share` of the others has.
        """
        drawn = random.Random(seed)
        planned = [(side, key) for side in SIDES for key in self.keys(side) if only(side, key)]
        planned.sort()
        drawn.shuffle(planned)
        for side, key in planned[: round(len(planned) * share)]:
            other = SIDES[1 - SIDES.index(side)]
            source, target = self.folder(side) / key, self.folder(other) / key
            there, here = self.keys_of(target), self.keys_of(source)
            if here is None or (there is not None and there >= here):
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = self.root / f"{self.bucket}.tmp"
            shutil.copyfile(source, temporary)
            for name in os.listxattr(source):
                os.setxattr(temporary, name, os.getxattr(source, name))
            os.utime(temporary, ns=(here[0], here[0]))
            temporary.rename(target)
            yield side, key

    @staticmethod
    def keys_of(path: Path) -> tuple[int, bytes] | None:
        with contextlib.suppress(FileNotFoundError):
            return path.stat().st_mtime_ns, os.getxattr(path, "user.etag")
        return None

    def settle(self, *, seed: int = 0) -> None:
        """Copy everything, until both sides hold the same."""
        for _ in self.copy(seed=seed):
            pass
        assert self.keys("east") == self.keys("west")


class _OneSide(Storage):
    """The objects of one region by home's names."""

    def __init__(self, pair: Pair, side: str, endpoint: str) -> None:
        super().__init__(endpoint=endpoint, region=NAMES[side])
        self._bucket = pair.bucket if side == "east" else f"{pair.bucket}-west"
        self._home = pair.bucket

    def _backend(self, url: str) -> tuple[Any, str]:
        backend, path = super()._backend(url)
        bucket, slash, key = path.partition("/")
        return (backend, self._bucket + slash + key) if bucket == self._home else (backend, path)

    def list(self, url: str, **options: Any) -> Any:
        from dataclasses import replace

        found = super().list(url, **options)
        return [replace(one, url=one.url.replace(f"s3://{self._bucket}/", f"s3://{self._home}/", 1)) for one in found]
