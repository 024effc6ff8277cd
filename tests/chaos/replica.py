"""Stands in for what AWS does between two regions: copies come late, in any order, and per key the last write wins.

Objects are copied in the servers' own folders, with the time of their last write, as S3's replication keeps it and
none of its requests can set it. Of items the time of the last write is when it was seen here, as DynamoDB heeds its own
clock and not the writers'. While a region is off, nothing is copied from or to it, and what it took before is copied
once it is on again.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import threading
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SIDES = ("east", "west")
STAMP = "stamp"


@dataclass(frozen=True)
class Delays:
    """Seconds that copies take: of most, of a `share` that is late."""

    usual: tuple[float, float] = (0.05, 0.5)
    late: tuple[float, float] = (1.0, 5.0)
    share: float = 0.1


@dataclass
class Replica:
    """A thread that copies between two buckets and two tables of one name.

    `deletes`: whether removals of objects are copied too, which S3 does where it is told to.
    """

    root: Path  # of the S3 servers: s3-east/objects, s3-west/objects
    bucket: str
    clients: dict[str, Any]  # of DynamoDB, by side
    seed: int
    delays: Delays = Delays()
    deletes: bool = False
    off: set[str] = field(default_factory=set)
    stopped: bool = False  # nothing is copied, as if AWS's own replication stood still
    copied: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(f"replica {self.seed}")
        self._objects: dict[str, dict[str, int]] = {side: {} for side in SIDES}
        self._items: dict[str, dict[tuple[str, str], Any]] = {side: {} for side in SIDES}
        self._written: dict[str, dict[tuple[str, str], float]] = {side: {} for side in SIDES}  # items, by side
        self._due: dict[tuple[str, ...], float] = {}  # what is to be copied, and when
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="replica", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._end.set()
        self._thread.join(30)

    @property
    def waiting(self) -> int:
        return len(self._due)

    def settle(self, seconds: float = 60.0) -> bool:
        """Wait until both sides hold the same; whether they do."""
        deadline = time.monotonic() + seconds
        quiet = 0
        while time.monotonic() < deadline:
            rounds = self.copied["rounds"]
            while self.copied["rounds"] < rounds + 2 and time.monotonic() < deadline:
                time.sleep(0.05)
            quiet = quiet + 1 if not self._due else 0
            if quiet >= 2:
                return True
        return False

    def _run(self) -> None:
        while not self._end.wait(0.2):
            try:
                self._look()
                self._copy()
            except Exception:
                self.errors.append(traceback.format_exc())
            self.copied["rounds"] += 1

    # -- what is new ---------------------------------------------------------------------------------------------------

    def _folder(self, side: str) -> Path:
        return self.root / f"s3-{side}" / "objects" / (self.bucket if side == "east" else f"{self.bucket}-{side}")

    def _look(self) -> None:
        for side in SIDES:
            found = self._files(side)
            known = self._objects[side]
            for key in found.keys() - known.keys() | {
                key for key in found.keys() & known.keys() if found[key] != known[key]
            }:
                self._plan("object", side, key)
            if self.deletes:
                for key in known.keys() - found.keys():
                    self._plan("removal", side, key)
            self._objects[side] = found
            items = self._scan(side)
            before = self._items[side]
            for key, item in items.items():
                if key not in before or before[key] != item:
                    self._written[side][key] = time.monotonic()
                    self._plan("item", side, *key)
            self._items[side] = items

    def _plan(self, *what: str) -> None:
        late = self._random.random() < self.delays.share
        self._due[what] = time.monotonic() + self._random.uniform(*(self.delays.late if late else self.delays.usual))

    def _files(self, side: str) -> dict[str, int]:
        folder, found = str(self._folder(side)), {}
        for at, folders, names in os.walk(folder):
            folders[:] = [name for name in folders if not name.startswith(".sgwtmp")]
            for name in names:
                path = f"{at}/{name}"
                with contextlib.suppress(FileNotFoundError):
                    if "user.etag" in os.listxattr(path):
                        found[path[len(folder) + 1 :]] = os.stat(path).st_mtime_ns
        return found

    def _scan(self, side: str) -> dict[tuple[str, str], Any]:
        pages = self.clients[side].get_paginator("scan").paginate(TableName=self.bucket, ConsistentRead=True)
        return {(item["pk"]["S"], item["sk"]["S"]): item for page in pages for item in page["Items"]}

    # -- copies --------------------------------------------------------------------------------------------------------

    def _copy(self) -> None:
        if self.stopped or self.off:
            return
        now = time.monotonic()
        ready = [what for what, due in self._due.items() if due <= now]
        self._random.shuffle(ready)
        for what in ready:
            del self._due[what]
            kind, side, *key = what
            other = SIDES[1 - SIDES.index(side)]
            if kind == "object":
                self._copy_object(side, other, key[0])
            elif kind == "removal":
                self._copy_removal(side, other, key[0])
            elif kind == "item":
                self._copy_item(side, other, (key[0], key[1]))

    def _copy_object(self, side: str, other: str, key: str) -> None:
        source, target = self._folder(side) / key, self._folder(other) / key
        temporary = self._folder(other).parent.parent / f"chaos-{os.getpid()}-{threading.get_ident()}.tmp"
        try:
            written = _copy_file(source, temporary)
            target.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                there = target.stat().st_mtime_ns
                if (there, _etag(target)) >= (written, _etag(temporary)):
                    return
            temporary.rename(target)
            self._objects[other][key] = written
            self.copied["objects"] += 1
        except FileNotFoundError:  # written anew or removed just now: it is seen in the next round
            self._objects[side].pop(key, None)
        finally:
            temporary.unlink(missing_ok=True)

    def _copy_removal(self, side: str, other: str, key: str) -> None:
        target = self._folder(other) / key
        if (self._folder(side) / key).exists():
            return
        known = self._objects[other].get(key)
        with contextlib.suppress(FileNotFoundError):
            if target.stat().st_mtime_ns == known:
                target.unlink()
                self._objects[other].pop(key, None)
                self.copied["removals"] += 1

    def _copy_item(self, side: str, other: str, key: tuple[str, str]) -> None:
        item, there = self._items[side].get(key), self._items[other].get(key)
        written = self._written[side].get(key, 0.0)
        if item is None or item == there or self._written[other].get(key, 0.0) >= written:
            return
        request: dict[str, Any] = {"TableName": self.bucket, "Item": item}
        if there is None:
            request["ConditionExpression"] = "attribute_not_exists(pk)"
        elif STAMP in there:  # nothing was written there since it was looked at
            names, values = {"#s": STAMP}, {":s": there[STAMP]}
            request |= {"ExpressionAttributeNames": names, "ExpressionAttributeValues": values}
            request["ConditionExpression"] = "#s = :s"
        client = self.clients[other]
        try:
            client.put_item(**request)
        except client.exceptions.ConditionalCheckFailedException:
            return
        self._items[other][key], self._written[other][key] = item, written
        self.copied["items"] += 1


def _copy_file(source: Path, target: Path) -> int:
    """With the time of its last write and its attributes, among them the ETag; of one version, whatever comes since."""
    with source.open("rb") as file, target.open("wb") as copy:
        info = os.fstat(file.fileno())
        shutil.copyfileobj(file, copy)
        for name in os.listxattr(file.fileno()):
            os.setxattr(copy.fileno(), name, os.getxattr(file.fileno(), name))
    os.utime(target, ns=(info.st_mtime_ns, info.st_mtime_ns))
    return info.st_mtime_ns


def _etag(path: Path) -> bytes:
    return os.getxattr(path, "user.etag")
